//! Prints the plan of a move; executes it with `--run`; reverses the direction with `--undo`.
//!
//! `cargo run -p myownllm-migration --example migrate -- ~/.myownllm [--undo] [--run]`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Homes, Migrator, NoDaemons, Options, StateMigrator};

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let Some(app) = arguments.next().map(PathBuf::from) else {
        println!("usage: migrate APP_HOME [--undo] [--run]");
        return ExitCode::from(2);
    };
    let flags: Vec<_> = arguments.collect();
    let given = |flag: &str| flags.iter().any(|given| given == flag);
    let options = if given("--undo") { Options::undo() } else { Options::forward() };
    let migrator = Migrator::new(&RealDisk, Homes::new(&app, app.join(".myownmesh")));
    if given("--run") {
        let lock = match RealDisk.lock(&app, Duration::from_secs(5)) {
            Ok(lock) => lock,
            Err(error) => {
                println!("{error} [{}]", error.code());
                return ExitCode::from(6);
            }
        };
        // This example does not check if a daemon runs; an app must do that.
        let report = migrator.run(&lock, &options, &NoDaemons);
        println!("{:?}", report.outcome);
        for moved in &report.moved {
            println!("moved {} to {} ({:?})", moved.from.display(), moved.to.display(), moved.method);
        }
        for error in report.refusals.iter().chain(&report.errors) {
            println!("{error} [{}] {}", error.code(), error.hint().unwrap_or_default());
        }
        return ExitCode::from(u8::from(report.class().is_some()));
    }
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
    ExitCode::SUCCESS
}
