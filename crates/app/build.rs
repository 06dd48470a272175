//! Tells the program what it is built from: the target triple, which a bundled daemon carries in
//! its name, and the commit.
use std::path::Path;
use std::process::Command;

fn main() {
    let target = std::env::var("TARGET").unwrap_or_default();
    let (commit, date) = packaged().or_else(checked_out).unwrap_or_default();
    let known = format!("{} {date}", commit.get(..9).unwrap_or(&commit));
    let from = if commit.is_empty() { "commit unknown" } else { known.trim_end() };
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    println!("cargo::rustc-env=MYOWNLLM_TARGET={target}");
    println!("cargo::rustc-env=MYOWNLLM_COMMIT={}", if commit.is_empty() { "unknown" } else { &commit });
    println!("cargo::rustc-env=MYOWNLLM_VERSION={version} ({from}, {target})");
    println!("cargo::rerun-if-changed=build.rs");
}

/// The commit that `cargo package` notes in the package. The repository around an unpacked package
/// is somebody else's.
fn packaged() -> Option<(String, String)> {
    let noted = std::fs::read_to_string(".cargo_vcs_info.json").ok()?;
    println!("cargo::rerun-if-changed=.cargo_vcs_info.json");
    let (_, commit) = noted.split_once("\"sha1\"")?;
    Some((commit.split('"').nth(1)?.to_owned(), String::new()))
}

/// The commit that is checked out, and its date.
fn checked_out() -> Option<(String, String)> {
    Path::new("../../.git").symlink_metadata().ok()?;
    let git = |args: &[&str]| {
        let ran = Command::new("git").args(args).output().ok().filter(|ran| ran.status.success())?;
        String::from_utf8(ran.stdout).ok()
    };
    // The log of HEAD grows with each commit and each checkout.
    for name in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", name])?;
        if Path::new(path.trim_end()).symlink_metadata().is_ok() {
            println!("cargo::rerun-if-changed={}", path.trim_end());
        }
    }
    let said = git(&["log", "-1", "--format=%H %cs"])?;
    let (commit, date) = said.trim_end().split_once(' ')?;
    Some((commit.to_owned(), date.to_owned()))
}
