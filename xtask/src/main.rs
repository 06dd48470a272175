//! `cargo xtask`: every developer verb of this workspace in one list.
//!
//! What a verb does is in the module of its name; here is only the list. `xtask` orchestrates (it builds, starts real
//! processes, breaks things on purpose and shows what came of it) and links none of the crates that it tries, so that
//! it compiles in seconds and can only see what a user could see.

mod bench;
mod ci;
mod control;
mod crash;
mod dist;
// Names and marks alone: the one file that is shared with what is tried here, so that trees look alike.
#[path = "../../crates/app/src/draw.rs"]
#[allow(dead_code, reason = "the program asks more of it")]
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

/// Every verb there is. A new one needs a line here, a module of its own, and nothing else.
#[derive(Subcommand)]
enum Verb {
    /// The main job, before your eyes: whole stories with real homes, the real program and a real daemon process
    Scenario(scenario::Args),
    /// All tests: nextest for everything, then the examples in the docs
    Test(test::Args),
    /// What has to be green before a change goes in: format, lints, dependencies, features, tests, scenarios, a short crash sweep
    Ci(ci::Args),
    /// Kill, fail and unplug real runs at every file-system call, and see whether anything is lost
    Crash(crash::Args),
    /// The release program, its manual pages and completions, laid out under dist/ as a packager wants them
    Dist(dist::Args),
    /// How fast it is, beside the straightforward way to do the same: a table of ratios, each with its aim
    Bench(bench::Args),
    /// Take away each line that carries a guarantee, one at a time, and see whether a test goes red
    Mutants(mutants::Args),
}

/// What a verb's inner workings answer: a value, or a sentence that says why not.
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

/// Says `what` on standard output; a closed pipe is no reason to fail.
fn say(what: std::fmt::Arguments<'_>) {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    let _ = out.write_fmt(what).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
}

/// Says one line on standard output.
#[macro_export]
macro_rules! say {
    ($($part:tt)*) => { $crate::say(format_args!($($part)*)) };
}
