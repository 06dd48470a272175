//! `cargo xtask scenario` and `cargo xtask crash`: build the programs, and run the rig of the
//! package `integration-tests` on them. The rig plays, checks and reports.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use crate::Fallible;
use crate::workspace::{build_programs, built_beside_this};

#[derive(clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// The options of the rig: see `--help`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<OsString>,
}

pub(crate) fn run(verb: &str, args: &Args) -> Fallible<bool> {
    let packages = ["--package=myownllm-mesh", "--package=integration-tests"];
    let [rig, _, _] = build_programs(&packages, ["rig", "myownllm-mesh", "stand-in-daemon"])?;
    start(&rig, verb, &args.options)
}

/// Runs the rig on the programs that the tests have built. Another build of them would have other
/// features, and would build all crates once more.
pub(crate) fn run_as_built(verb: &str, options: &[&str]) -> Fallible<bool> {
    start(&built_beside_this("rig")?, verb, &options.iter().map(OsString::from).collect::<Vec<_>>())
}

fn start(rig: &Path, verb: &str, options: &[OsString]) -> Fallible<bool> {
    let status = Command::new(rig).arg(verb).args(options).status();
    Ok(status.map_err(|e| format!("cannot run {}: {e}", rig.display()))?.success())
}
