//! The place of the workspace, and the build of its binaries.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Fallible;

/// Returns the root directory of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Returns cargo in the workspace's root: the cargo that runs xtask, if any.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    // With this variable, which `cargo run` sets, cargo-machete would take its own name for a
    // directory.
    cargo.current_dir(root()).env_remove("CARGO_PKG_NAME");
    cargo
}

/// Returns true if the standard library of a target is installed.
pub(crate) fn has_target(target: &str) -> bool {
    let mut rustc = Command::new("rustc");
    let said = rustc.args(["--print=target-libdir", "--target", target]).output();
    said.is_ok_and(|said| std::fs::read_dir(String::from_utf8_lossy(&said.stdout).trim()).is_ok())
}

/// Builds programs and returns their paths.
pub(crate) fn build_programs<const N: usize>(how: &[&str], names: [&str; N]) -> Fallible<[PathBuf; N]> {
    let mut cargo = cargo();
    cargo.args(["build", "--message-format=json-render-diagnostics"]).args(how);
    for name in names {
        cargo.args(["--bin", name]);
    }
    // Cargo prints JSON on stdout, one message a line; output for people goes to stderr.
    let output = cargo.stderr(Stdio::inherit()).output().map_err(|e| format!("cannot run cargo: {e}"))?;
    if !output.status.success() {
        return Err(format!("cargo build ended with {}", output.status));
    }
    let built = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<serde_json::Value> =
        built.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let find = |name: &str| {
        let named = messages.iter().filter(|message| message["target"]["name"] == name);
        named.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next_back()
    };
    if let Some(missing) = names.iter().find(|name| find(name).is_none()) {
        return Err(format!("cargo built no program of the name {missing}"));
    }
    Ok(names.map(|name| find(name).unwrap_or_default()))
}

/// Runs one step of a longer job and prints its command. Returns true if the step succeeded.
pub(crate) fn step(command: &mut Command) -> Fallible<bool> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let shown: Vec<_> = words.map(|word| word.to_string_lossy().into_owned()).collect();
    let name =
        Path::new(&shown[0]).file_name().map_or_else(|| shown[0].clone(), |n| n.to_string_lossy().into());
    crate::say!("\n$ {name} {}", shown[1..].join(" "));
    let status = command.status().map_err(|e| format!("cannot run {name}: {e}"))?;
    Ok(status.success())
}
