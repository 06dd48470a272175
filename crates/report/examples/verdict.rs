//! Prints how a new home is, as `myownllm-mesh` does without a command: as a page, and as JSON.
//!
//! `cargo run -p myownllm-report --example verdict`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::error::Error;

use myownllm_config_store::{MyOwnLlm, Store, StorePaths, SystemClock};
use myownllm_durable_fs::RealDisk;
use myownllm_launch::myownllm_migration::{Homes, Migrator};
use myownllm_launch::{Context, LocalDaemons, Options, ProgramSearch, checks, fresh_ids, plan};
use myownllm_paths::{CheckedLayout, Env, PathResolver, RealLookup, Resolver};
use myownllm_report::{HomeView, Screen, verdict};

fn main() -> Result<(), Box<dyn Error>> {
    let home = tempfile::tempdir()?;
    let layout = Resolver::default().resolve(&Env::explicit(home.path().canonicalize()?))?;
    let checked = CheckedLayout::new(layout.clone(), &RealLookup);
    let (search, clock) = (ProgramSearch::default(), SystemClock::default());
    let schema = MyOwnLlm::new(layout.conversations.as_str());
    let context = Context {
        layout: &layout,
        checked: checked.as_ref(),
        disk: &RealDisk,
        migrator: &Migrator::new(&RealDisk, Homes::of(&layout)),
        store: &Store::new(&RealDisk, &clock, StorePaths::of(&layout), &schema),
        daemons: &LocalDaemons::new(&RealDisk, &layout, &search),
    };
    let options = Options::default();
    let plan = plan(&context, &options, &mut fresh_ids());
    let checks = checks(&context, &options, &plan);
    let (page, data) = verdict(&HomeView::new(&context, &options, 0), &plan, &checks);
    print!("{}", page.plain(Screen { width: 80, unicode: true, wraps: true }));
    println!("{data:#}");
    Ok(())
}
