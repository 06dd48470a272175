//! Where the workspace lies, and how its binaries are built.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Fallible;

/// The workspace's root folder.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Cargo itself, in the workspace's root: the very one that runs us, when one does.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo.current_dir(root());
    cargo
}

/// The programs that scenarios and crash sweeps run.
#[derive(Debug, Clone)]
pub(crate) struct Binaries {
    pub(crate) mesh: PathBuf,
    pub(crate) stand_in: PathBuf,
}

/// Builds both programs and says where they are.
pub(crate) fn build() -> Fallible<Binaries> {
    const PROGRAMS: [&str; 2] = ["myownllm-mesh", "stand-in-daemon"];
    let mut cargo = cargo();
    cargo.args(["build", "--message-format=json-render-diagnostics"]);
    cargo.args(["--package=myownllm-mesh", "--package=integration-tests"]);
    cargo.args(["--bin", PROGRAMS[0], "--bin", PROGRAMS[1]]);
    // Cargo speaks JSON on stdout, one message a line; what people should see goes to stderr.
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo build ended with {}", output.status));
    }
    let built = String::from_utf8_lossy(&output.stdout);
    let find = |name: &str| -> Fallible<PathBuf> {
        built
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
            .filter(|message| message["target"]["name"] == name)
            .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
            .next_back()
            .ok_or_else(|| format!("cargo built no program of the name {name}"))
    };
    Ok(Binaries { mesh: find(PROGRAMS[0])?, stand_in: find(PROGRAMS[1])? })
}

/// Runs one step of a longer job, showing what is run; true when it succeeded.
pub(crate) fn step(command: &mut Command) -> Fallible<bool> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let name =
        Path::new(&shown[0]).file_name().map_or_else(|| shown[0].clone(), |n| n.to_string_lossy().into());
    crate::say!("\n$ {name} {}", shown[1..].join(" "));
    let status = command.status().map_err(|e| format!("cannot run {name}: {e}"))?;
    Ok(status.success())
}
