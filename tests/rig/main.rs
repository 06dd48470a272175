//! The rig: scenarios and crash sweeps with the real program and a daemon process. `cargo xtask
//! scenario` and `cargo xtask crash` build the programs and run it.
//!
//! The rig starts real processes, injects faults, checks the outcomes and shows them. It links none
//! of the crates under test but the one that draws, so that it sees only what a user could see.

mod crash;
mod fixture;
mod guard;
mod scenario;
mod style;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Scenarios and crash sweeps")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Whole stories with real homes, the real program and a real daemon process
    Scenario(scenario::Args),
    /// Kill, fail and unplug real runs at every file-system call, and check that nothing is lost
    Crash(crash::Args),
}

pub(crate) use integration_tests::testkit::Fallible;

fn main() -> ExitCode {
    guard::install();
    let outcome = match Cli::parse().verb {
        Verb::Scenario(args) => scenario::run(&args),
        Verb::Crash(args) => crash::run(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            let mut err = anstream::stderr().lock();
            let _ = std::io::Write::write_fmt(&mut err, format_args!("cargo xtask: {why}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Returns a program that was built together with the rig.
pub(crate) fn program(name: &str) -> Fallible<PathBuf> {
    let this = std::env::current_exe().map_err(|e| format!("cannot find myself: {e}"))?;
    let program = this.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let found = program.symlink_metadata();
    found.map_err(|e| format!("cannot find {}: {e}", program.display()))?;
    Ok(program)
}

/// Prints a line on stdout. A closed pipe is no failure.
fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    let _ = out.write_fmt(what).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Prints a formatted line on stdout.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => { $crate::say(format_args!($($part)*)) };
}
