//! The start-up of an app that keeps its config by its own schema, in a temporary home: moves,
//! repairs, and looks for a daemon. No program is given, so it ends without a daemon, and says so.
//!
//! `cargo run -p myownllm-launch --example start`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::error::Error;

use myownllm_launch::myownllm_config_model::Document;
use myownllm_launch::myownllm_config_store::{AppSchema, Store, StorePaths, SystemClock};
use myownllm_launch::myownllm_durable_fs::RealDisk;
use myownllm_launch::myownllm_migration::{Homes, Migrator};
use myownllm_launch::myownllm_paths::{CheckedLayout, Env, HostApp, PathResolver, RealLookup, Resolver};
use myownllm_launch::{Context, LocalDaemons, Options, ProgramSearch, fresh_ids, launch};

#[derive(Debug)]
struct Notes;

impl AppSchema for Notes {
    fn defaults(&self) -> Document {
        Document::parse(br#"{"font": "serif", "zoom": 1}"#).expect("JSON").document
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let app = HostApp::new("Notes", "notes-mesh", ".notes", "mesh-home");
    let layout = Resolver::new(app).resolve(&Env::explicit(home.path().canonicalize()?))?;
    let checked = CheckedLayout::new(layout.clone(), &RealLookup);
    let (search, clock) = (ProgramSearch::default(), SystemClock::default());
    let context = Context {
        layout: &layout,
        checked: checked.as_ref(),
        disk: &RealDisk,
        migrator: &Migrator::new(&RealDisk, Homes::of(&layout)).with_progress(&|step| println!("{step:?}")),
        store: &Store::new(&RealDisk, &clock, StorePaths::of(&layout), &Notes),
        daemons: &LocalDaemons::new(&RealDisk, &layout, &search),
    };
    let outcome = launch(&context, &Options::default(), &mut fresh_ids());
    println!("runs on {}", outcome.document.to_text());
    for diagnostic in &outcome.diagnostics {
        println!("{}: {} ({:?})", diagnostic.code, diagnostic.message, diagnostic.hint);
    }
    Ok(())
}
