//! `cargo xtask windows`: the libraries' tests, the program with its daemon, and the scenarios, as
//! Windows code: built here for the GNU target, and run under wine. wine is no proof about NTFS.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Fallible;
use crate::tools::answers;
use crate::workspace::{cargo, has_target, root, step};

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
    let wine = Wine::prepare()?;
    let mut tests = wine.cargo("test");
    tests.args(["--tests", "--no-fail-fast"]);
    if let Some(package) = &args.package {
        return step(tests.args(["--package", package]));
    }
    let others = ["--exclude=xtask", "--exclude=integration-tests", "--exclude=bench"];
    let libraries = step(tests.arg("--workspace").args(others))?;
    // The tests and the rig start these programs, and cargo does not build them for a test.
    let programs = ["--package=myownllm-mesh", "--package=integration-tests", "--bins"];
    if !step(wine.cargo("build").args(programs))? {
        return Ok(false);
    }
    let program = ["--package=integration-tests", "--test=windows", "--no-fail-fast"];
    let program = step(wine.cargo("test").args(program))?;
    let rig = ["--package=integration-tests", "--bin=rig", "--", "scenario"];
    Ok(step(wine.cargo("run").args(rig))? && program && libraries)
}

/// The directory of a wine of our own, which leaves the user's alone.
struct Wine(PathBuf);

impl Wine {
    /// Makes the directory, and in it the library that std asks for randomness: an older wine lacks
    /// it. A newer wine uses its own.
    #[allow(clippy::disallowed_methods, reason = "a build directory")]
    fn prepare() -> Fallible<Self> {
        const LIBRARY: &str = "#include <windows.h>\n\
            BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);\n\
            __declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE to, SIZE_T length)\n\
            { return SystemFunction036(to, (ULONG)length); }\n";
        let dir = root().join("target/wine");
        let say = |e: std::io::Error| format!("cannot make {}: {e}", dir.display());
        std::fs::create_dir_all(&dir).map_err(say)?;
        let mut compiler = Command::new(LINKER);
        compiler.current_dir(&dir).stdin(Stdio::piped());
        compiler.args(["-shared", "-o", "bcryptprimitives.dll", "-x", "c", "-", "-ladvapi32"]);
        let mut child = compiler.spawn().map_err(say)?;
        let sent = child.stdin.take().map_or(Ok(()), |mut input| input.write_all(LIBRARY.as_bytes()));
        let status = sent.and_then(|()| child.wait()).map_err(say)?;
        if status.success() { Ok(Self(dir)) } else { Err(format!("{LINKER} ended with {status}")) }
    }

    /// Returns cargo for the target, with wine as the runner.
    fn cargo(&self, verb: &str) -> Command {
        let libraries = format!("Z:{}", self.0.display()).replace('/', r"\");
        let mut cargo = cargo();
        cargo.args([verb, "--target", TARGET]);
        cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", LINKER);
        cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER", "wine");
        cargo.env("WINEPREFIX", self.0.join("prefix")).env("WINEPATH", libraries).env("WINEDEBUG", "-all");
        cargo
    }
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
