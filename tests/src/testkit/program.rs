//! The programs under test.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    time::SystemTime,
};

use serde_json::Value;

use super::process::run;

/// Returns the root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the path of a program of the build to which the running program belongs.
fn built(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let dir = own.ancestors().skip(1).find(|dir| !dir.ends_with("deps")).unwrap();
    dir.join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Returns the stand-in daemon.
pub fn stand_in() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| built("stand-in-daemon").into_os_string().into_string().unwrap())
}

/// Returns the program, and builds it if it is missing or older than its sources: cargo does not
/// build another package's program for a test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let program = built("myownllm-mesh");
        let made =
            std::fs::metadata(&program).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if newest_source(&root().join("crates")) > made {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.current_dir(root()).args([
                "build",
                "--quiet",
                "--package=myownllm-mesh",
                "--bin=myownllm-mesh",
            ]);
            if program.parent().unwrap().ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success(), "the program does not build");
        }
        program
    })
}

fn newest_source(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let newest = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            newest_source(&path)
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        } else {
            SystemTime::UNIX_EPOCH
        }
    });
    newest.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// `PATH` with the directory of the program in front, so that a hint that names the program works
/// in a shell.
pub fn path_with_program() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directory = program().parent().unwrap().to_owned();
    std::env::join_paths(std::iter::once(directory).chain(std::env::split_paths(&path))).unwrap()
}

/// Returns whether a program of this machine answers `--version`.
pub fn is_installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Returns a command that runs `wrapper` with the command behind its arguments.
pub fn wrapped(wrapper: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(inner.get_program()).args(inner.get_args());
    for (name, value) in inner.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    if let Some(dir) = inner.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

/// Runs a hint as a person would, and checks that it succeeds.
#[track_caller]
pub fn follow(hint: &Value) {
    let hint = hint.as_str().unwrap();
    run(Command::new("sh").args(["-c", hint]).env("PATH", path_with_program())).ends_with(0);
}
