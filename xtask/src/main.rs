//! `cargo xtask`: every developer verb of this workspace in one list.
//!
//! This file holds only the list. `xtask` builds programs and runs them. It asserts nothing about
//! the product, which is the matter of `tests`, and links none of its crates, so that it compiles
//! in seconds.

mod bench;
mod ci;
mod codegen;
mod dist;
mod mutants;
mod rig;
mod style;
mod test;
mod tools;
mod wasm;
mod windows;
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
    Scenario(rig::Args),
    /// All tests: nextest for everything, then the examples in the docs
    Test(test::Args),
    /// The checks before a change goes in: format, lints, dependencies, features, tests, scenarios,
    /// a short crash sweep
    Ci(ci::Args),
    /// Kill, fail and unplug real runs at every file-system call, and check that nothing is lost
    Crash(rig::Args),
    /// Write the files that come from the code: the public API of each library, the configs'
    /// schemas
    Codegen(codegen::Args),
    /// The release program, its manual pages and completions, laid out under dist/ for a packager
    Dist(dist::Args),
    /// The speed beside the straightforward way to do the same: a table of ratios, each with its
    /// aim
    Bench(bench::Args),
    /// Remove each line that carries a guarantee, one at a time, and check that a test goes red
    Mutants(mutants::Args),
    /// The tests and the scenarios as Windows code, under wine; not a part of `ci`
    Windows(windows::Args),
    /// The config for web front ends as WebAssembly, with its test in Node; not a part of `ci`
    Wasm(wasm::Args),
}

/// The result of a step: a value, or a sentence with the reason of the failure.
pub(crate) type Fallible<T> = Result<T, String>;

fn main() -> ExitCode {
    if let Some(ended) = codegen::run_rustdoc() {
        return ended;
    }
    let outcome = match Cli::parse().verb {
        Verb::Scenario(args) => rig::run("scenario", &args),
        Verb::Test(args) => test::run(&args),
        Verb::Ci(args) => ci::run(&args),
        Verb::Crash(args) => rig::run("crash", &args),
        Verb::Codegen(args) => codegen::run(&args),
        Verb::Dist(args) => dist::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Mutants(args) => mutants::run(&args),
        Verb::Windows(args) => windows::run(&args),
        Verb::Wasm(args) => wasm::run(&args),
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
