//! `cargo xtask test`: every test there is. Nextest runs the tests, cargo the examples in the docs, which nextest cannot.

use crate::Fallible;
use crate::tools;
use crate::workspace::{cargo, step};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only tests whose name holds one of these words; the docs' examples are left out then
    filters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    tools::provide("nextest", "runs the tests")?;
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
