//! Times: criterion measures and leaves a file for each benchmark. The minimum time in the file
//! counts.

use std::path::Path;
use std::time::Duration;

use super::table::{Aim, Line, Unit};
use super::{Args, Programs};
use crate::Fallible;
use crate::workspace::cargo;

/// Two ways to the same result, at several sizes.
struct Comparison {
    /// The file under `bench/benches`, and the group in it.
    bench: &'static str,
    group: &'static str,
    what: &'static str,
    /// The unit of the sizes; empty if there is only one size.
    sizes: (&'static [usize], &'static str),
    /// The benchmark on the other side of the comparison, and its description.
    theirs: (&'static str, &'static str),
    aim: Aim,
}

const READ: (&str, &str) = ("read", "reading the config");
const VALUE: (&str, &str) = ("value", "serde_json::Value");
const IGNORED: (&str, &str) = ("ignored", "serde_json, validating");
const READ_IGNORED: (&str, &str) = ("read-ignored", "reading, and serde_json, validating");
const STRAIGHTFORWARD: (&str, &str) = ("straightforward", "a look and a rename a file, no flush");
const BARE: (&str, &str) = ("bare", "a rename a file, no flush");
const MB: (&[usize], &str) = (&[1, 10], "MB");

#[rustfmt::skip]
const COMPARISONS: [Comparison; 19] = [
    Comparison { bench: "launch", group: "launch", what: "launch(), nothing to do",
        sizes: (&[1, 100, 10_000], "rosters"), theirs: READ, aim: Aim::Beyond(Duration::from_micros(50)) },
    Comparison { bench: "launch", group: "process", what: "launch --no-daemon, the process",
        sizes: (&[], ""), theirs: ("reader", "an empty program that reads the config"),
            aim: Aim::AtMost(2.0) },
    Comparison { bench: "config", group: "load-prompts", what: "load, long prompts", sizes: MB,
        theirs: VALUE, aim: Aim::AtMost(1.0) },
    Comparison { bench: "config", group: "load-prompts", what: "load, long prompts", sizes: MB,
        theirs: IGNORED, aim: Aim::AtMost(2.0) },
    Comparison { bench: "config", group: "load-prompts", what: "load, long prompts", sizes: MB,
        theirs: READ_IGNORED, aim: Aim::None },
    Comparison { bench: "config", group: "load-networks", what: "load, many networks", sizes: MB,
        theirs: VALUE, aim: Aim::AtMost(1.0) },
    Comparison { bench: "config", group: "load-networks", what: "load, many networks", sizes: MB,
        theirs: IGNORED, aim: Aim::AtMost(2.0) },
    Comparison { bench: "config", group: "load-networks", what: "load, many networks", sizes: MB,
        theirs: READ_IGNORED, aim: Aim::None },
    Comparison { bench: "config", group: "load-grown", what: "load, growing",
        sizes: (&[1, 100, 1_000, 10_000], "networks"), theirs: VALUE, aim: Aim::None },
    Comparison { bench: "config", group: "load-leaked",
        what: "load and repair in memory, a daemon's config",
            sizes: (&[1, 100, 1_000, 10_000], "networks"), theirs: VALUE, aim: Aim::None },
    Comparison { bench: "config", group: "edit", what: "edit of one network, bytes to bytes", sizes: MB,
        theirs: VALUE, aim: Aim::AtMost(1.0) },
    Comparison { bench: "daemon", group: "attach", what: "attach to a daemon", sizes: (&[], ""),
        theirs: ("ask", "a connection, a line there, a line back"), aim: Aim::AtMost(2.0) },
    Comparison { bench: "migration", group: "move-whole", what: "move, all ours",
        sizes: (&[1, 100, 1_000], "x 2 files"), theirs: BARE, aim: Aim::None },
    Comparison { bench: "migration", group: "move-whole", what: "move, all ours",
        sizes: (&[10_000, 100_000], "x 2 files"), theirs: BARE, aim: Aim::AtMost(0.1) },
    Comparison { bench: "migration", group: "move-whole", what: "move, all ours",
        sizes: (&[10_000, 100_000], "x 2 files"), theirs: ("mv", "mv, no flush"), aim: Aim::None },
    Comparison { bench: "migration", group: "move-foreign", what: "move, a foreign file in the way",
        sizes: (&[100], "x 2 files"), theirs: STRAIGHTFORWARD, aim: Aim::None },
    Comparison { bench: "migration", group: "move-foreign", what: "move, a foreign file in the way",
        sizes: (&[1_000, 10_000], "x 2 files"), theirs: STRAIGHTFORWARD, aim: Aim::AtMost(1.0) },
    Comparison { bench: "migration", group: "move-foreign", what: "move, a foreign file in the way",
        sizes: (&[100, 1_000, 10_000], "x 2 files"), theirs: BARE, aim: Aim::None },
    Comparison { bench: "migration", group: "move-across", what: "move to another file system",
        sizes: (&[1, 100, 1_000], "x 2 files"), theirs: ("copy", "cp -a, sync, rm"), aim: Aim::AtMost(1.0) },
];

/// Runs the wanted benchmarks and compares them.
pub(super) fn measure(args: &Args, programs: &Programs) -> Fallible<Vec<Line>> {
    let wanted: Vec<&Comparison> =
        COMPARISONS.iter().filter(|c| args.wants(c.group) || args.wants(c.what)).collect();
    let results = tempfile::tempdir().map_err(|e| format!("cannot make a directory: {e}"))?;
    for bench in ["launch", "config", "daemon", "migration"] {
        let mut groups: Vec<&str> = wanted.iter().filter(|c| c.bench == bench).map(|c| c.group).collect();
        groups.dedup();
        if groups.is_empty() {
            continue;
        }
        let mut cargo = cargo();
        cargo.args(["bench", "--quiet", "--package=bench", "--bench", bench, "--"]);
        cargo.arg(format!("^({})/", groups.join("|"))).arg("--noplot");
        if args.quick {
            cargo.args(["--sample-size=10", "--warm-up-time=0.1", "--measurement-time=0.3"]);
            cargo.env("BENCH_QUICK", "1");
        } else {
            cargo.args(["--sample-size=50", "--warm-up-time=0.5", "--measurement-time=3"]);
        }
        cargo.env("CRITERION_HOME", results.path()).env("BENCH_MESH", &programs.mesh);
        cargo.env("BENCH_STAND_IN", &programs.stand_in);
        // Criterion's progress is for a person who watches; stdout is for the table.
        cargo.stdout(std::io::stderr());
        let status = cargo.status().map_err(|e| format!("cannot run cargo: {e}"))?;
        if !status.success() {
            return Err(format!("cargo bench --bench {bench} ended with {status}"));
        }
    }
    let mut lines = Vec::new();
    for comparison in wanted {
        let (sizes, unit) = comparison.sizes;
        let group = results.path().join(comparison.group);
        let of = |name: &str, size: Option<usize>| {
            let mut dir = group.join(name);
            if let Some(size) = size {
                dir.push(size.to_string());
            }
            least(&dir)
        };
        let sizes: Vec<Option<usize>> =
            if sizes.is_empty() { vec![None] } else { sizes.iter().copied().map(Some).collect() };
        for size in sizes {
            // A quick run omits the large sizes.
            let (Some(ours), Some(theirs)) = (of("ours", size), of(comparison.theirs.0, size)) else {
                continue;
            };
            let what = match size {
                Some(size) => format!("{}, {size} {unit}", comparison.what),
                None => comparison.what.to_owned(),
            };
            let against = comparison.theirs.1;
            lines.push(Line { what, against, ours, theirs, unit: Unit::Nanoseconds, aim: comparison.aim });
        }
    }
    Ok(lines)
}

/// Returns the minimum time of one run, in nanoseconds.
fn least(dir: &Path) -> Option<f64> {
    let text = std::fs::read_to_string(dir.join("new/sample.json")).ok()?;
    let sample: serde_json::Value = serde_json::from_str(&text).ok()?;
    let numbers =
        |key: &str| sample[key].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64);
    numbers("times").zip(numbers("iters")).map(|(time, times)| time / times).min_by(f64::total_cmp)
}
