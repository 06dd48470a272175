//! `cargo xtask wasm`: the config for web front ends, `examples/web-config`: compiled to
//! WebAssembly, packed under `target/web-config`, and fed the recorded inputs in Node.

use std::path::Path;
use std::process::Command;

use crate::Fallible;
use crate::tools::answers;
use crate::workspace::{cargo, has_target, root, step};

const TARGET: &str = "wasm32-unknown-unknown";
const MANIFEST: &str = "examples/web-config/Cargo.toml";
const PACKAGE: &str = "target/web-config";
const RECORDED: &str = "crates/salvage/tests/data/recorded.jsonl";

#[derive(clap::Args)]
pub(crate) struct Args {}

#[allow(clippy::disallowed_methods, reason = "build products: whatever is lost is built again")]
pub(crate) fn run(_: &Args) -> Fallible<bool> {
    let missing = missing();
    if !missing.is_empty() {
        return Err(format!("cannot build for the web here; it needs {}", missing.join(", ")));
    }
    let shared = ["--locked", "--manifest-path", MANIFEST, "--target-dir", "target/wasm"];
    let compiled = format!("target/wasm/{TARGET}/release/web_config.wasm");
    let built = step(cargo().args(["build", "--release", "--target", TARGET]).args(shared))?
        && step(cargo().args(["run", "--package", "pack"]).args(shared).args(["--", &compiled, PACKAGE]))?;
    if !built {
        return Ok(false);
    }
    let package = root().join(PACKAGE);
    let copy = |from: &Path, name: &str| {
        std::fs::copy(from, package.join(name)).map_err(|e| format!("cannot copy {}: {e}", from.display()))
    };
    copy(&root().join("examples/web-config/config.mjs"), "config.mjs")?;
    copy(&root().join("examples/web-config/package.json"), "package.json")?;
    let test = ["examples/web-config/test.mjs", PACKAGE, RECORDED];
    let good = step(Command::new("node").current_dir(root()).args(["--test-reporter=spec"]).args(test))?;
    let size = std::fs::metadata(package.join("web_config_bg.wasm"));
    let size = size.map_err(|e| format!("cannot look at the WebAssembly: {e}"))?.len();
    crate::say!("{PACKAGE}: {} kB of WebAssembly", size / 1000);
    Ok(good)
}

/// Returns the parts that this machine lacks, each with the command that brings it.
fn missing() -> Vec<&'static str> {
    [
        (has_target(TARGET), "the target's standard library (rustup target add wasm32-unknown-unknown)"),
        (answers(Command::new("node").arg("--version")), "Node 20 or newer (nodejs.org)"),
    ]
    .into_iter()
    .filter_map(|(is_there, what)| (!is_there).then_some(what))
    .collect()
}
