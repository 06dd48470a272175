//! `cargo xtask ci`: the checks that have to be green before a change goes in.

use std::process::Command;
use std::time::Instant;

use crate::workspace::{cargo, root, step};
use crate::{Fallible, codegen, rig, style, test, tools};

#[derive(clap::Args)]
pub(crate) struct Args {}

/// The outcome of a step.
enum Ended {
    Good,
    Bad,
    /// The step cannot run here, for this reason. That is no failure, but it is reported.
    NotRun(String),
}

impl From<bool> for Ended {
    fn from(good: bool) -> Self {
        if good { Self::Good } else { Self::Bad }
    }
}

type Step = (&'static str, fn() -> Fallible<Ended>);

const STEPS: [Step; 13] = [
    ("format", || Ok(step(cargo().args(["fmt", "--all", "--check"]))?.into())),
    // The lint `incompatible_msrv` finds features that the oldest supported Rust lacks.
    ("lints", || {
        let clippy =
            ["clippy", "--workspace", "--all-targets", "--all-features", "--quiet", "--", "-D", "warnings"];
        Ok(step(cargo().args(clippy))?.into())
    }),
    ("licences, bans, sources", || {
        with_tool("deny", "judges the dependencies", || deny("licenses bans sources"))
    }),
    ("advisories", advisories),
    ("unused dependencies", || {
        with_tool("machete", "finds unused dependencies", || step(cargo().arg("machete")))
    }),
    ("each feature by itself", || {
        with_tool("hack", "builds each feature by itself", || {
            // The lints build all features together.
            let check = ["hack", "check", "--each-feature", "--exclude-all-features", "--workspace"];
            step(cargo().args(check).arg("--quiet"))
        })
    }),
    ("oldest supported Rust", oldest_rust),
    // The example apps are outside the workspace, so no other step builds them as an app does, from
    // their own lock files. They share the target directory, and take seconds. The tests run them.
    ("sibling app", || app_builds("examples/sibling-app/Cargo.toml")),
    ("Tauri back end", || app_builds("examples/tauri-backend/Cargo.toml")),
    ("tests", || Ok(test::run(&test::Args::default())?.into())),
    ("files from the code", || Ok(codegen::check_as_built()?.map_or_else(Ended::NotRun, Ended::from))),
    ("scenarios", || Ok(rig::run_as_built("scenario", &[])?.into())),
    ("crash sweep, short", || Ok(rig::run_as_built("crash", &["--short"])?.into())),
];

fn app_builds(manifest: &str) -> Fallible<Ended> {
    let check = ["check", "--locked", "--quiet", "--target-dir", "target", "--manifest-path", manifest];
    Ok(step(cargo().args(check))?.into())
}

/// Runs `what` if the tool is installed or can be installed.
fn with_tool(name: &str, purpose: &str, what: fn() -> Fallible<bool>) -> Fallible<Ended> {
    match tools::provide(name, purpose) {
        Ok(()) => Ok(what()?.into()),
        Err(why) => Ok(Ended::NotRun(why)),
    }
}

fn deny(checks: &str) -> Fallible<bool> {
    // Without this option cargo-deny also prints warnings that do not fail the step.
    step(
        cargo()
            .args(["deny", "--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(checks.split(' ')),
    )
}

/// Checks for known vulnerabilities. Their list is a repository of its own, which not every machine
/// can reach.
fn advisories() -> Fallible<Ended> {
    if let Err(why) = tools::provide("deny", "judges the dependencies") {
        return Ok(Ended::NotRun(why));
    }
    if !tools::answers(cargo().args(["deny", "fetch", "db"])) {
        let why = "the list of advisories (github.com/RustSec/advisory-db) cannot be fetched from here";
        return Ok(Ended::NotRun(why.to_owned()));
    }
    Ok(deny("advisories")?.into())
}

/// Builds with the oldest Rust that the manifests promise, if that toolchain is installed.
fn oldest_rust() -> Fallible<Ended> {
    let manifest =
        std::fs::read_to_string(root().join("Cargo.toml")).map_err(|e| format!("Cargo.toml: {e}"))?;
    let version = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap_or_default();
    let version = version.trim_matches('"');
    if !tools::answers(Command::new("rustup").args(["run", version, "cargo", "--version"])) {
        return Ok(Ended::NotRun(format!(
            "no toolchain {version} here (`rustup toolchain install {version}` brings it); the lints looked \
                for newer features"
        )));
    }
    let mut check = Command::new("rustup");
    check.current_dir(root()).args([
        "run",
        version,
        "cargo",
        "check",
        "--workspace",
        "--all-targets",
        "--quiet",
    ]);
    check.args(["--target-dir", "target/oldest"]).env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    Ok(step(&mut check)?.into())
}

pub(crate) fn run(_: &Args) -> Fallible<bool> {
    let mut failed = Vec::new();
    let mut not_run = Vec::new();
    for (name, step) in STEPS {
        crate::say!("\n{}", style::paint(style::TITLE, format!("== {name}")));
        let started = Instant::now();
        // Runs all steps: a reader of the log wants every finding, not only the first.
        let ended = step().unwrap_or_else(|why| {
            crate::say!("{why}");
            Ended::Bad
        });
        let (style, sign) = match &ended {
            Ended::Good => (style::GOOD, "ok"),
            Ended::Bad => (style::BAD, "NOT OK"),
            Ended::NotRun(_) => (style::CHANGED, "not run"),
        };
        crate::say!("{} {name} ({})", style::paint(style, sign), style::took(started.elapsed()));
        match ended {
            Ended::Good => {}
            Ended::Bad => failed.push(name),
            Ended::NotRun(why) => not_run.push((name, why)),
        }
    }
    crate::say!("");
    for (name, why) in &not_run {
        crate::say!("{}", style::paint(style::CHANGED, format!("not run: {name}: {why}")));
    }
    match (failed.is_empty(), not_run.is_empty()) {
        (true, true) => crate::say!("{}", style::paint(style::GOOD, "all green")),
        (true, false) => crate::say!("{}", style::paint(style::GOOD, "green, but for what was not run")),
        _ => crate::say!("{}", style::paint(style::BAD, format!("not green: {}", failed.join(", ")))),
    }
    Ok(failed.is_empty())
}
