//! Prints the plan of a move; executes it with `--run`; reverses the direction with `--undo`.
//!
//! `cargo run -p myownllm-migration --example migrate -- /home/u [--undo] [--run]`

#![allow(clippy::print_stdout, reason = "a program for people to look at")]

use std::{error::Error, process::ExitCode, time::Duration};

use myownllm_daemon::HomeDaemons;
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Homes, Migrator, Options};
use myownllm_paths::{CheckedLayout, Env, PathResolver, RealLookup, Resolver};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let mut arguments = std::env::args_os().skip(1);
    let Some(home) = arguments.next() else {
        println!("usage: migrate HOME [--undo] [--run]");
        return Ok(ExitCode::from(2));
    };
    let flags: Vec<_> = arguments.collect();
    let given = |flag: &str| flags.iter().any(|given| given == flag);
    let options = if given("--undo") { Options::undo() } else { Options::forward() };
    let layout = CheckedLayout::new(Resolver::default().resolve(&Env::explicit(home))?, &RealLookup)?;
    let migrator = Migrator::new(&RealDisk, Homes::of(&layout));
    if given("--run") {
        let lock = RealDisk.lock(layout.app_home.as_ref(), Duration::from_secs(5))?;
        let report = migrator.run(&lock, &options, &HomeDaemons::of(&layout)?);
        println!("{:?}", report.outcome);
        for moved in &report.moved {
            println!("moved {} to {} ({:?})", moved.from.display(), moved.to.display(), moved.method);
        }
        for error in report.refusals.iter().chain(&report.errors) {
            println!("{error} [{}] {}", error.code(), error.hint().unwrap_or_default());
        }
        return Ok(ExitCode::from(u8::from(report.class().is_some())));
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
    Ok(ExitCode::SUCCESS)
}
