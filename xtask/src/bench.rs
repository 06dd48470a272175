//! `cargo xtask bench`: the speed of the program, beside the straightforward way to do the same,
//! measured in one run.
//!
//! Times are the minimum of many runs: a disturbance only adds to a time. On a machine that is too
//! busy for times, the instructions that callgrind counts tell more.

mod counts;
mod daemon;
mod table;
mod times;
mod weights;

use std::process::Command;

use crate::Fallible;
use crate::workspace::{build_programs, replace_between_marks, root};

use table::{Line, Table};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only lines whose name contains one of these words
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Small sizes and few repetitions: a preview, not a measurement
    #[arg(long)]
    quick: bool,
    /// Print the table as a JSON document
    #[arg(long)]
    json: bool,
    /// Measure the packages and the first build of each library, and no speed; needs an idle
    /// machine
    #[arg(long, conflicts_with_all = ["quick", "names", "json"])]
    weights: bool,
    /// Write the table into docs/performance.md
    #[arg(long, conflicts_with_all = ["quick", "names"])]
    write: bool,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|word| name.contains(word.as_str()))
    }
}

/// The programs that are measured, or that measure.
struct Programs {
    /// The shipped program.
    mesh: std::path::PathBuf,
    /// Reads the config, and does nothing else.
    reader: std::path::PathBuf,
    probe: std::path::PathBuf,
    heap: std::path::PathBuf,
    /// Starts daemons and sends requests to them.
    daemon: std::path::PathBuf,
    stand_in: std::path::PathBuf,
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    if args.weights {
        let table = weights::table()?;
        if args.write {
            write("bench --weights --write", &table)?;
        }
        return Ok(true);
    }
    let [mesh] = build_programs(&["--release", "--package=myownllm-mesh"], ["myownllm-mesh"])?;
    let [reader, probe, heap, daemon, stand_in] = build_programs(
        &["--profile=bench", "--package=bench", "--package=integration-tests"],
        ["bench-reader", "bench-probe", "bench-heap", "bench-daemon", "stand-in-daemon"],
    )?;
    let programs = Programs { mesh, reader, probe, heap, daemon, stand_in };
    let mut lines: Vec<Line> = times::measure(args, &programs)?;
    let (counted, missing) = counts::measure(args, &programs)?;
    lines.extend(daemon::measure(args, &programs)?);
    lines.extend(counted);
    let size =
        std::fs::metadata(&programs.mesh).map_err(|e| format!("cannot look at the program: {e}"))?.len();
    let table = Table { lines, missing, machine: machine(), program_bytes: size };
    if args.json {
        crate::say!("{}", table.json());
    } else {
        crate::say!("{}", table.text());
    }
    if args.write {
        write("bench --write", &table.text())?;
    }
    Ok(true)
}

/// Replaces a table in the document.
#[allow(clippy::disallowed_methods, reason = "a document in the work tree, under version control")]
fn write(verb: &str, table: &str) -> Fallible<()> {
    let document = std::path::Path::new("docs/performance.md");
    let new = replace_between_marks(document, verb, table)?;
    std::fs::write(root().join(document), new)
        .map_err(|e| format!("cannot write {}: {e}", document.display()))
}

/// Returns the stdout of a program.
fn said(command: &mut Command) -> Fallible<String> {
    let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
    }
}

/// Describes the machine in a sentence.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let said = |program: &str, args: &[&str]| {
        let output = Command::new(program).args(args).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned()).filter(|text| !text.is_empty())
    };
    let target = root().join("target");
    let parts = [
        Some(format!("{model}, {cores} cores")),
        said("uname", &["-sr"]),
        said("stat", &["-f", "-c", "%T", &target.to_string_lossy()])
            .map(|fs| format!("{fs} under the build")),
        said("rustc", &["--version"]),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
}
