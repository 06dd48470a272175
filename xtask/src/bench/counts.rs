//! Counts, which a busy machine does not disturb: instructions (callgrind), system calls (strace),
//! and the heap.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::table::{Aim, Line, Unit};
use super::{Args, Programs, said};
use crate::Fallible;

/// Returns the counts, and the reasons for those that could not be taken.
pub(super) fn measure(args: &Args, programs: &Programs) -> Fallible<(Vec<Line>, Vec<String>)> {
    let megabytes = if args.quick { 1 } else { 10 };
    let bench = Counter { programs, lines: Vec::new(), missing: Vec::new(), megabytes };
    let mut bench = bench;
    if args.wants("instructions") {
        bench.instructions()?;
    }
    if args.wants("calls") {
        bench.calls()?;
    }
    if args.wants("heap") {
        bench.heap()?;
    }
    Ok((bench.lines, bench.missing))
}

struct Counter<'a> {
    programs: &'a Programs,
    lines: Vec<Line>,
    missing: Vec<String>,
    megabytes: usize,
}

/// Cargo sets a library path for its children; a user's start does not search there.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

impl Counter<'_> {
    fn instructions(&mut self) -> Fallible<()> {
        let count = |program: &Path, args: &[&str]| -> Fallible<Option<f64>> {
            let mut valgrind = Command::new("valgrind");
            valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(program).args(args);
            valgrind.env_remove(LIBRARIES);
            let Ok(output) = valgrind.output() else { return Ok(None) };
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let counted =
                text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
            counted.map(Some).ok_or_else(|| format!("valgrind says: {text}"))
        };
        let (home, config) = self.home("networks", 500, 1)?;
        let (path, file) =
            (home.path().to_string_lossy().into_owned(), config.to_string_lossy().into_owned());
        let start = ["--home", &path, "launch", "--no-daemon"];
        let Some(ours) = count(&self.programs.mesh, &start)? else {
            self.missing.push("instructions: there is no valgrind".to_owned());
            return Ok(());
        };
        let theirs = count(&self.programs.reader, &[&file])?.unwrap_or(f64::NAN);
        let what = "launch --no-daemon, the process".to_owned();
        let against = "an empty program that reads the config";
        self.lines.push(Line { what, against, ours, theirs, unit: Unit::Instructions, aim: Aim::None });
        self.lines.push(self.foreign_files(|home| count(&self.programs.mesh, &["--home", home, "migrate"]))?);
        for heavy in ["prompts", "networks"] {
            let (home, config) = self.home(heavy, self.megabytes * 1_000_000, 1)?;
            let probe = |what: &str, path: &Path| {
                count(&self.programs.probe, &[what, &path.to_string_lossy()]).map(|n| n.unwrap_or(f64::NAN))
            };
            let read = probe("read", &config)?;
            let ours = probe("load", home.path())? - read;
            let others = [("value", "serde_json::Value", 1.0), ("ignored", "serde_json, validating", 2.0)];
            for (name, against, aim) in others {
                let theirs = probe(name, &config)? - read;
                let what = format!("load, {heavy}, {} MB", self.megabytes);
                let aim = Aim::AtMost(aim);
                self.lines.push(Line { what, against, ours, theirs, unit: Unit::Instructions, aim });
            }
        }
        Ok(())
    }

    /// Compares the move of a roster past many foreign files with the same past half as many: each
    /// file may be looked at, but not once for each of the others.
    fn foreign_files(&self, count: impl Fn(&str) -> Fallible<Option<f64>>) -> Fallible<Line> {
        let files = if self.megabytes > 1 { 10_000 } else { 2_000 };
        let moved = |files: usize| {
            let (home, _) = self.home("networks", 500, 1)?;
            let mut fill = Command::new(&self.programs.probe);
            said(fill.args(["foreign", &files.to_string()]).arg(home.path()))?;
            count(&home.path().to_string_lossy()).map(|count| count.unwrap_or(f64::NAN))
        };
        let what = format!("migrate, {files} foreign files, the process");
        let (ours, theirs) = (moved(files)?, moved(files / 2)?);
        let against = "the same with half as many";
        Ok(Line { what, against, ours, theirs, unit: Unit::Instructions, aim: Aim::AtMost(2.2) })
    }

    fn calls(&mut self) -> Fallible<()> {
        let (home, config) = self.home("networks", 500, 1)?;
        let count = |program: &Path, args: &[&str]| {
            let mut strace = Command::new("strace");
            strace.args(["-f", "-c"]).arg(program).args(args).env_remove(LIBRARIES);
            let output = strace.output().ok()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let total = text.lines().rfind(|line| line.ends_with("total"))?;
            total.split_whitespace().nth(3)?.parse().ok()
        };
        let (path, file) =
            (home.path().to_string_lossy().into_owned(), config.to_string_lossy().into_owned());
        let ours = count(&self.programs.mesh, &["--home", &path, "launch", "--no-daemon"]);
        let theirs = count(&self.programs.reader, &[&file]);
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            self.missing.push("calls of the system: there is no strace, or it may not watch".to_owned());
            return Ok(());
        };
        let what = "launch --no-daemon, the process".to_owned();
        let against = "an empty program that reads the config";
        self.lines.push(Line { what, against, ours, theirs, unit: Unit::Calls, aim: Aim::None });
        Ok(())
    }

    fn heap(&mut self) -> Fallible<()> {
        // The peak of the heap in bytes, and the number of blocks.
        let taken = |what: &str, path: &Path| -> Fallible<(f64, f64)> {
            let text = said(Command::new(&self.programs.heap).arg(what).arg(path))?;
            let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
            numbers.next().zip(numbers.next()).ok_or_else(|| format!("bench-heap says: {text}"))
        };
        let mut lines = Vec::new();
        for heavy in ["prompts", "networks"] {
            let (home, config) = self.home(heavy, self.megabytes * 1_000_000, 1)?;
            let bytes =
                std::fs::metadata(&config).map_err(|e| format!("{}: {e}", config.display()))?.len() as f64;
            let ours = taken("load", home.path())?.0;
            let what = format!("load, {heavy}, {} MB: most heap at a time", self.megabytes);
            lines.push((what.clone(), "the file's size", ours, bytes, Unit::Bytes, Aim::None));
            lines.push((what, "serde_json::Value", ours, taken("value", &config)?.0, Unit::Bytes, Aim::None));
        }
        let (few, _) = self.home("networks", 500, 1)?;
        let (many, _) = self.home("networks", 500, if self.megabytes > 1 { 10_000 } else { 1_000 })?;
        let (few, many) = (taken("start", few.path())?.1, taken("start", many.path())?.1);
        let what = "launch(), nothing to do, many rosters: blocks of heap".to_owned();
        lines.push((what, "the same with one", many, few, Unit::Blocks, Aim::AtMost(1.0)));
        for (what, against, ours, theirs, unit, aim) in lines {
            self.lines.push(Line { what, against, ours, theirs, unit, aim });
        }
        Ok(())
    }

    /// Makes a home on which a start has nothing to do. Returns the home and its config.
    fn home(&self, heavy: &str, bytes: usize, rosters: usize) -> Fallible<(tempfile::TempDir, PathBuf)> {
        let home = tempfile::tempdir().map_err(|e| format!("cannot make a directory: {e}"))?;
        let mut make = Command::new(&self.programs.probe);
        make.args(["home", heavy, &bytes.to_string(), &rosters.to_string()]).arg(home.path());
        said(&mut make)?;
        let config = home.path().join(".myownllm/config.json");
        Ok((home, config))
    }
}
