//! `cargo xtask windows`: the libraries' tests, and the program with its daemon, on Windows code:
//! built here for the GNU target, and run under wine. wine is no proof about NTFS.

use std::process::Command;

use crate::Fallible;
use crate::tools::answers;
use crate::workspace::{cargo, has_target, step};

const TARGET: &str = "x86_64-pc-windows-gnu";
const LINKER: &str = "x86_64-w64-mingw32-gcc";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this package
    #[arg(long, short)]
    package: Option<String>,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    if cfg!(windows) {
        return Err("this is Windows: `cargo xtask test` runs everything".to_owned());
    }
    let missing = missing();
    if !missing.is_empty() {
        return Err(format!("cannot run Windows code here; it needs {}", missing.join(", ")));
    }
    // The tests of the program start the program, and cargo does not build it for them.
    if !step(on_windows("build").arg("--package=myownllm-mesh"))? {
        return Ok(false);
    }
    let mut libraries = on_windows("test");
    libraries.args(["--tests", "--no-fail-fast"]);
    match &args.package {
        Some(package) => libraries.args(["--package", package]),
        None => libraries.args([
            "--workspace",
            "--exclude=xtask",
            "--exclude=integration-tests",
            "--exclude=bench",
        ]),
    };
    let libraries = step(&mut libraries)?;
    let stories = args.package.is_some()
        || step(on_windows("test").args([
            "--package=integration-tests",
            "--test=windows",
            "--no-fail-fast",
        ]))?;
    Ok(libraries && stories)
}

/// Returns cargo for the target, with wine as the runner.
fn on_windows(verb: &str) -> Command {
    let mut cargo = cargo();
    cargo.args([verb, "--target", TARGET]);
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", LINKER);
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine").env("WINEDEBUG", "-all");
    cargo
}

/// Returns the parts that this machine lacks, each with the command that brings it.
fn missing() -> Vec<&'static str> {
    let answer = |program| answers(Command::new(program).arg("--version"));
    [
        (has_target(TARGET), "the target's standard library (rustup target add x86_64-pc-windows-gnu)"),
        (answer(LINKER), "the linker x86_64-w64-mingw32-gcc (Debian: gcc-mingw-w64-x86-64)"),
        (answer("wine"), "wine (Debian: wine64)"),
    ]
    .into_iter()
    .filter_map(|(is_there, what)| (!is_there).then_some(what))
    .collect()
}
