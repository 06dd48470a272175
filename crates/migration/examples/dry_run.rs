//! Says what a move would do, and does nothing.
//!
//! `cargo run -p myownllm-migration --example dry_run -- ~/.myownllm`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::path::PathBuf;

use myownllm_durable_fs::RealDisk;
use myownllm_migration::{Homes, Migrator, Options, StateMigrator};

fn main() {
    let Some(app) = std::env::args_os().nth(1).map(PathBuf::from) else {
        println!("usage: dry_run APP_HOME");
        return;
    };
    let migrator = Migrator::new(&RealDisk, Homes::new(&app, app.join(".myownmesh")));
    let options = Options::forward();
    let plan = migrator.plan(&migrator.inspect(options.direction), &options);
    print!("{plan}");
    for collision in &plan.collisions {
        println!("{} and {} differ", collision.source.display(), collision.destination.display());
    }
    for left in &plan.left {
        println!("{} stays: {}", left.path.display(), left.reason);
    }
    for error in plan.refusals.iter().chain(&plan.errors) {
        println!("{error} [{}] {}", error.code(), error.hint().unwrap_or_default());
    }
    if plan.is_empty() {
        println!("nothing to do");
    }
}
