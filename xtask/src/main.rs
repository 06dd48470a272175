//! `cargo xtask`: every developer verb of this workspace in one list.
//!
//! The module of a verb has the verb's name; this file holds only the list. `xtask` builds
//! programs, starts real processes, injects faults and shows the outcomes. It links none of the
//! crates under test, so that it compiles in seconds and sees only what a user could see.

mod bench;
mod ci;
mod control;
mod crash;
mod dist;
// The one file that xtask shares with the program, so that trees look alike. It draws names and
// marks, and decides nothing.
#[path = "../../crates/report/src/draw.rs"]
#[allow(dead_code, unreachable_pub, reason = "the program asks more of it")]
mod draw;
mod fixture;
mod guard;
mod mutants;
mod process;
mod scenario;
mod style;
mod test;
mod tools;
mod tree;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The developer verbs of this workspace")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

/// Every verb. A new verb needs a line here and a module of its own.
#[derive(Subcommand)]
enum Verb {
    /// Whole stories with real homes, the real program and a real daemon process
    Scenario(scenario::Args),
    /// All tests: nextest for everything, then the examples in the docs
    Test(test::Args),
    /// The checks before a change goes in: format, lints, dependencies, features, tests, scenarios,
    /// a short crash sweep
    Ci(ci::Args),
    /// Kill, fail and unplug real runs at every file-system call, and check that nothing is lost
    Crash(crash::Args),
    /// The release program, its manual pages and completions, laid out under dist/ for a packager
    Dist(dist::Args),
    /// The speed beside the straightforward way to do the same: a table of ratios, each with its
    /// aim
    Bench(bench::Args),
    /// Remove each line that carries a guarantee, one at a time, and check that a test goes red
    Mutants(mutants::Args),
}

/// The result of a step: a value, or a sentence with the reason of the failure.
pub(crate) type Fallible<T> = Result<T, String>;

fn main() -> ExitCode {
    guard::install();
    let outcome = match Cli::parse().verb {
        Verb::Scenario(args) => scenario::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Ci(args) => ci::run(&args),
        Verb::Crash(args) => crash::run(&args),
        Verb::Dist(args) => dist::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Mutants(args) => mutants::run(&args),
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
