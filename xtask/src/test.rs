//! `cargo xtask test`: every test. Nextest runs the tests, and cargo runs the examples in the docs,
//! which nextest cannot run.

use crate::Fallible;
use crate::tools;
use crate::workspace::{cargo, step};

#[derive(clap::Args, Default)]
pub(crate) struct Args {
    /// Only tests whose name contains one of these words; without the examples in the docs
    filters: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    tools::provide("nextest", "runs the tests")?;
    // Many tests wait for a daemon or a clock, so three for each core keep it busy.
    let at_once = 3 * std::thread::available_parallelism().map_or(1, usize::from);
    let mut nextest = cargo();
    nextest.args(["nextest", "run", "--workspace", "--all-features"]);
    nextest.args(["--test-threads", &at_once.to_string()]).args(&args.filters);
    if !step(&mut nextest)? {
        return Ok(false);
    }
    if !args.filters.is_empty() {
        return Ok(true);
    }
    step(cargo().args(["test", "--doc", "--workspace", "--all-features", "--quiet"]))
}
