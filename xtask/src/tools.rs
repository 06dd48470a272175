//! Programs that verbs need and that are not part of Rust: found, or installed from the registry.

use std::process::{Command, Stdio};

use crate::Fallible;
use crate::workspace::{cargo, root, step};

/// Makes sure that `cargo NAME` is installed.
pub(crate) fn provide(name: &str, purpose: &str) -> Fallible<()> {
    if answers(cargo().args([name, "--version"])) {
        return Ok(());
    }
    crate::say!(
        "cargo-{name}, which {purpose}, is not installed. Installing it (once; this takes some minutes)."
    );
    let package = format!("cargo-{name}");
    let mut install = cargo();
    // An unoptimised build takes a fraction of the time and works as well. The shared target
    // directory builds common dependencies once.
    install.args(["install", &package, "--locked", "--debug"]).env("CARGO_PROFILE_DEV_DEBUG", "0");
    install.arg("--target-dir").arg(root().join("target/tools"));
    if step(&mut install)? {
        Ok(())
    } else {
        Err(format!("cargo-{name} could not be installed from the registry"))
    }
}

/// Returns true if a command runs and exits with success.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
