//! `cargo xtask test`: every test there is. Nextest runs the tests, cargo the examples in the docs, which nextest cannot.

use std::process::{Command, Stdio};

use crate::Fallible;
use crate::workspace::{cargo, step};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only tests whose name holds one of these words; the docs' examples are left out then
    filters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    provide_nextest()?;
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--workspace", "--all-features"]).args(&args.filters);
    if !step(&mut nextest)? {
        return Ok(false);
    }
    if !args.filters.is_empty() {
        return Ok(true);
    }
    step(cargo().args(["test", "--doc", "--workspace", "--all-features", "--quiet"]))
}

/// Installs cargo-nextest when it is not there.
pub(crate) fn provide_nextest() -> Fallible<()> {
    let there = |command: &mut Command| {
        command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    if there(cargo().args(["nextest", "--version"])) {
        return Ok(());
    }
    crate::say!(
        "cargo-nextest, which runs the tests, is not installed. Installing it (once; this takes some minutes)."
    );
    // Without optimisation it is there in a fraction of the time, and just as good at running tests.
    if step(cargo().args(["install", "cargo-nextest", "--locked", "--debug"]))? {
        return Ok(());
    }
    Err("cargo-nextest could not be installed; see https://nexte.st for other ways".to_owned())
}
