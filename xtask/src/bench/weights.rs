//! `cargo xtask bench --weights`: what each library costs an app that takes it: the packages that
//! cargo compiles for it, and the seconds of a first build.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Instant;

use super::{machine, said};
use crate::Fallible;
use crate::workspace::{cargo, libraries};

/// The load of the last minute above which other programs would slow the builds down.
const BUSY: f64 = 1.0;

/// Looks at every library, one after the other, and returns the table.
pub(super) fn table() -> Fallible<String> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|minute| minute.parse::<f64>().ok()).unwrap_or_default();
    let mut table = String::from("| crate | packages | first build |\n| --- | --- | --- |\n");
    for name in libraries()? {
        let package = format!("--package=myownllm-{name}");
        let seconds = if load < BUSY { format!("{:.1} s", first_build(&package)?) } else { "–".to_owned() };
        let line = format!("| {name} | {} | {seconds} |", packages(&package)?);
        crate::say!("{line}");
        table.push_str(&line);
        table.push('\n');
    }
    if load >= BUSY {
        return Ok(format!(
            "{table}\nThe builds were not timed, because the machine was busy (load {load}).\n"
        ));
    }
    Ok(format!("{table}\nMeasured on: {}.\n", machine()))
}

/// Returns the number of packages, with the library itself, macros and build scripts.
fn packages(package: &str) -> Fallible<usize> {
    let mut tree = cargo();
    tree.args(["tree", package, "--edges=normal,build", "--prefix=none", "--format={p}", "--locked"]);
    let listed = said(&mut tree)?;
    // A package stands in the list as often as others take it: "serde v1.0.229 (*)".
    let names = listed.lines().map(|line| line.split(" (").next().unwrap_or(line));
    Ok(names.collect::<BTreeSet<_>>().len())
}

/// Returns the seconds of an unoptimised build that finds nothing built before.
fn first_build(package: &str) -> Fallible<f64> {
    let target = tempfile::tempdir().map_err(|e| format!("cannot make a directory: {e}"))?;
    let mut build = cargo();
    build.args(["build", package, "--lib", "--locked", "--quiet", "--target-dir"]).arg(target.path());
    // As an app builds that has no profile of its own.
    build.env("CARGO_PROFILE_DEV_OPT_LEVEL", "0").env("CARGO_INCREMENTAL", "0").stdout(Stdio::null());
    let started = Instant::now();
    said(&mut build)?;
    Ok(started.elapsed().as_secs_f64())
}
