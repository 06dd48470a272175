//! `cargo xtask mutants`: removes each line that carries a guarantee, one at a time, and checks
//! that a test goes red.
//!
//! A green test suite says little until it is known which changes turn it red. The lines are listed
//! in `xtask/mutants.txt`. They are changed in a copy of the work tree, never in the tree itself.
//! The copy and its build stay in `target/mutants`, so that the next run builds only changed files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use crate::style::{self, paint, took};
use crate::{Fallible, tools, workspace};

/// The list, relative to the root of the workspace.
const LIST: &str = "xtask/mutants.txt";

/// The entries of a list that a commit can keep in step with the code.
#[cfg(test)]
const MAX_ENTRIES: usize = 110;

/// A test that takes this long hangs, which counts as red.
const TEST_LIMIT: &str = "\
[profile.default]
fail-fast = true
slow-timeout = { period = \"30s\", terminate-after = 3 }
";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only mutants whose name contains one of these words
    names: Vec<String>,
    /// Only mutants of this crate (`durable-fs`, say)
    #[arg(long = "crate", value_name = "CRATE")]
    of: Option<String>,
    /// List the mutants, and run nothing
    #[arg(long)]
    list: bool,
}

/// One entry of the list: lines that carry a guarantee.
#[derive(Debug, Default)]
struct Mutant {
    name: String,
    /// The guarantee, in a sentence.
    guarantee: String,
    file: String,
    lines: String,
    /// The replacement of the lines, without the guarantee.
    replacement: String,
    /// The package of the tests.
    package: String,
    /// The tests, as a filter expression of nextest. At least one has to go red.
    tests: String,
}

/// The outcome of a mutant.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    /// A test went red.
    Killed(String),
    /// A test hung.
    Hung(String),
    /// All tests stayed green.
    Survived,
    /// The mutant did not compile, so no test ran.
    NotBuilt(String),
    /// The entry does not match the code, or its tests do not exist.
    Misfit(String),
}

impl Fate {
    fn is_good(&self) -> bool {
        matches!(self, Self::Killed(_) | Self::Hung(_))
    }
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    let wanted = |mutant: &&Mutant| {
        args.of.as_ref().is_none_or(|of| mutant.dir() == of.trim_start_matches("myownllm-"))
            && (args.names.is_empty() || args.names.iter().any(|name| mutant.name.contains(name.as_str())))
    };
    let all = read()?;
    let mutants: Vec<&Mutant> = all.iter().filter(wanted).collect();
    if mutants.is_empty() {
        return Err("no mutant of that name; `cargo xtask mutants --list` names all".to_owned());
    }
    if args.list {
        for mutant in &mutants {
            crate::say!("{}  {}", paint(style::TITLE, &mutant.name), paint(style::DIM, &mutant.file));
            crate::say!("    {}", mutant.guarantee);
        }
        return Ok(true);
    }
    tools::provide("nextest", "runs the tests")?;
    let started = Instant::now();
    let tree = Tree::new()?;
    let mut good = 0;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    tree.all_green(&mutants)?;
    for mutant in &mutants {
        let began = Instant::now();
        let fate = tree.try_one(mutant)?;
        let (word, more) = match &fate {
            Fate::Killed(test) => ("killed", format!("by {test}")),
            Fate::Hung(test) => ("killed", format!("by {test}, which hangs")),
            Fate::Survived => ("SURVIVED", mutant.guarantee.clone()),
            Fate::NotBuilt(why) => ("did not build", why.clone()),
            Fate::Misfit(why) => ("does not apply", why.clone()),
        };
        *counts.entry(word).or_default() += 1;
        good += usize::from(fate.is_good());
        let (sign, colour) = if fate.is_good() { ("ok", style::GOOD) } else { ("NOT OK", style::BAD) };
        let time = paint(style::DIM, format!("({})", took(began.elapsed())));
        crate::say!("{} {}: {word} {more} {time}", paint(colour, sign), mutant.name);
    }
    let counted: Vec<String> = counts.iter().map(|(word, count)| format!("{count} {word}")).collect();
    crate::say!("{} mutants: {} ({})", mutants.len(), counted.join(", "), took(started.elapsed()));
    Ok(good == mutants.len())
}

/// The copy of the work tree.
struct Tree {
    root: PathBuf,
    target: PathBuf,
    limits: PathBuf,
    /// Keeps a second run out of the copy.
    _lock: File,
}

/// Takes the lock without waiting. `File::try_lock` is newer than the oldest supported Rust.
#[cfg(unix)]
fn try_lock(file: &File) -> std::io::Result<()> {
    Ok(rustix::fs::flock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
}

#[cfg(not(unix))]
fn try_lock(_: &File) -> std::io::Result<()> {
    Ok(())
}

#[allow(
    clippy::disallowed_methods,
    reason = "a throw-away copy of the work tree below our own target directory"
)]
impl Tree {
    /// Makes the copy, or updates the copy of the last run. Unchanged files are not touched, so
    /// that cargo does not rebuild them.
    fn new() -> Fallible<Self> {
        let base = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| workspace::root().join("target"), |target| workspace::root().join(target))
            .join("mutants");
        let (root, target, limits) = (base.join("tree"), base.join("target"), base.join("nextest.toml"));
        std::fs::create_dir_all(&root).map_err(|e| format!("cannot make {}: {e}", root.display()))?;
        let lock = File::create(base.join("lock")).map_err(|e| format!("cannot lock the copy: {e}"))?;
        try_lock(&lock).map_err(|_| format!("another run is at work in {}", base.display()))?;
        put(&limits, TEST_LIMIT.as_bytes())?;
        let tree = Self { root, target, limits, _lock: lock };
        tree.refresh()?;
        Ok(tree)
    }

    fn refresh(&self) -> Fallible<()> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let output =
            git.current_dir(workspace::root()).output().map_err(|e| format!("cannot run git: {e}"))?;
        if !output.status.success() {
            return Err(format!("git ls-files ended with {}", output.status));
        }
        let names = String::from_utf8(output.stdout).map_err(|_| "a file's name is not UTF-8".to_owned())?;
        let mut wanted = BTreeSet::new();
        for name in names.split('\0').filter(|name| !name.is_empty()) {
            // Git lists a file that was deleted but not committed.
            let Ok(bytes) = std::fs::read(workspace::root().join(name)) else { continue };
            let at = self.root.join(name);
            if std::fs::read(&at).ok().as_ref() != Some(&bytes) {
                put(&at, &bytes)?;
            }
            wanted.insert(at);
        }
        discard_others(&self.root, &wanted)
    }

    /// Runs the tests. The end-to-end tests need the program, which is built first: the build then
    /// takes none of their time, and a build failure does not count as a red test.
    fn nextest(&self, package: &str, filter: &str) -> Fallible<Output> {
        let run = |cargo: &mut Command| cargo.output().map_err(|e| format!("cannot run cargo: {e}"));
        if package == "integration-tests" {
            let mut build = self.cargo();
            build.args(["build", "--quiet", "--package=myownllm-mesh", "--bin=myownllm-mesh"]);
            let built = run(&mut build)?;
            if !built.status.success() {
                return Ok(built);
            }
        }
        let mut cargo = self.cargo();
        cargo.args(["nextest", "run", "--all-features", "--package", package, "-E", filter]);
        cargo.args(["--color", "never", "--status-level", "fail", "--final-status-level", "none"]);
        cargo.args(["--failure-output", "never", "--no-input-handler"]);
        run(cargo.arg("--config-file").arg(&self.limits))
    }

    /// Returns cargo for the copy, with a target directory of its own.
    fn cargo(&self) -> Command {
        let mut cargo = workspace::cargo();
        cargo.current_dir(&self.root);
        cargo.env("CARGO_TARGET_DIR", &self.target).env("CARGO_PROFILE_DEV_DEBUG", "0");
        cargo.env("CARGO_TERM_COLOR", "never");
        // These variables would lead the copy's build back to the work tree.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(&*name);
            }
        }
        cargo
    }

    /// Checks that the tests are green without a mutant: a red test proves nothing.
    fn all_green(&self, mutants: &[&Mutant]) -> Fallible<()> {
        let mut filters: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for mutant in mutants {
            filters.entry(&mutant.package).or_default().insert(&mutant.tests);
        }
        for (package, filters) in filters {
            let any: Vec<String> = filters.into_iter().map(|filter| format!("({filter})")).collect();
            let started = Instant::now();
            let ran = self.nextest(package, &any.join(" | "))?;
            match judge(&ran) {
                Fate::Survived => {
                    crate::say!("{package}: green as it is ({})", took(started.elapsed()));
                }
                fate => {
                    let told = String::from_utf8_lossy(&ran.stderr);
                    return Err(format!("{package} is not green as it is: {fate:?}\n{told}"));
                }
            }
        }
        Ok(())
    }

    fn try_one(&self, mutant: &Mutant) -> Fallible<Fate> {
        let path = self.root.join(&mutant.file);
        let Ok(text) = std::fs::read_to_string(&path) else {
            return Ok(Fate::Misfit(format!("there is no {}", mutant.file)));
        };
        let changed = match mutant.apply(&text) {
            Ok(changed) => changed,
            Err(why) => return Ok(Fate::Misfit(why)),
        };
        put(&path, changed.as_bytes())?;
        let ran = self.nextest(&mutant.package, &mutant.tests);
        // Restores the file after any outcome. If this run is killed first, the next run restores
        // it.
        put(&path, text.as_bytes())?;
        ran.map(|ran| judge(&ran))
    }
}

/// Writes a file of the copy.
#[allow(clippy::disallowed_methods, reason = "a throw-away copy of the work tree")]
fn put(path: &Path, bytes: &[u8]) -> Fallible<()> {
    let failed = |e: std::io::Error| format!("cannot write {}: {e}", path.display());
    std::fs::create_dir_all(path.parent().unwrap_or(path)).map_err(failed)?;
    std::fs::write(path, bytes).map_err(failed)
}

/// Removes files that the work tree no longer has; cargo would build a stale test file.
#[allow(clippy::disallowed_methods, reason = "a throw-away copy of the work tree")]
fn discard_others(dir: &Path, wanted: &BTreeSet<PathBuf>) -> Fallible<()> {
    let failed = |e: std::io::Error| format!("cannot tidy {}: {e}", dir.display());
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            discard_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            std::fs::remove_file(&path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Reads the list.
fn read() -> Fallible<Vec<Mutant>> {
    let text = std::fs::read_to_string(workspace::root().join(LIST)).map_err(|e| format!("{LIST}: {e}"))?;
    text.split("\n\n").filter(|entry| !entry.starts_with('#')).map(Mutant::parse).collect()
}

impl Mutant {
    fn parse(entry: &str) -> Fallible<Self> {
        let mut lines = entry.lines();
        let mut next = || lines.next().ok_or_else(|| format!("{LIST}: an entry breaks off: {entry:?}"));
        let (name, guarantee) =
            next()?.split_once(": ").ok_or_else(|| format!("{LIST}: an entry has no name: {entry:?}"))?;
        let file = next()?;
        let tests = next()?;
        let mut mutant = Self {
            name: name.to_owned(),
            guarantee: guarantee.to_owned(),
            file: file.to_owned(),
            ..Self::default()
        };
        let own = if mutant.dir() == "app" { "mesh" } else { mutant.dir() };
        let (package, tests) = tests.split_once(": ").unwrap_or(("", tests));
        (mutant.package, mutant.tests) = match package {
            "" => (format!("myownllm-{own}"), tests.to_owned()),
            package => (package.to_owned(), tests.to_owned()),
        };
        for line in lines {
            let (kept, text) = match line.split_at_checked(1) {
                Some(("-", text)) => (&mut mutant.lines, text),
                Some(("+", text)) => (&mut mutant.replacement, text),
                _ => return Err(format!("{LIST}: {name}: a line begins with neither - nor +: {line:?}")),
            };
            kept.push_str(text.strip_prefix(' ').unwrap_or(text));
            kept.push('\n');
        }
        Ok(mutant)
    }

    /// Returns the directory of the mutant's crate.
    fn dir(&self) -> &str {
        self.file.split('/').nth(1).unwrap_or_default()
    }

    /// Returns the text of the file without the guarantee. White space does not count, so that no
    /// formatting of the code loses the lines.
    fn apply(&self, text: &str) -> Result<String, String> {
        let (dense, places) = dense(text);
        let (wanted, _) = self::dense(&self.lines);
        let mut found = dense.match_indices(&wanted);
        match (found.next(), found.count()) {
            (Some((at, _)), 0) if !wanted.is_empty() => {
                let (first, last) = (places[at], places[at + wanted.len() - 1]);
                let end = last + text[last..].chars().next().map_or(0, char::len_utf8);
                Ok(format!("{}{}{}", &text[..first], self.replacement, &text[end..]))
            }
            (Some(_), more) => {
                Err(format!("the code moved: {} holds the lines {} times", self.file, more + 1))
            }
            (None, _) => Err(format!("the code moved: {} does not hold the lines any more", self.file)),
        }
    }
}

/// Returns the text without white space, and for each of its bytes the place in the text of the
/// character that it belongs to.
fn dense(text: &str) -> (String, Vec<usize>) {
    let (mut dense, mut places) = (String::new(), Vec::new());
    for (at, character) in text.char_indices().filter(|(_, character)| !character.is_whitespace()) {
        dense.push(character);
        places.resize(dense.len(), at);
    }
    (dense, places)
}

/// Judges a run of nextest. Its exit codes are part of its interface: 4, no such test; 100, a test
/// failed; 101, no build.
fn judge(ran: &Output) -> Fate {
    let stderr = String::from_utf8_lossy(&ran.stderr);
    match ran.status.code() {
        Some(0) => Fate::Survived,
        Some(4) => Fate::Misfit("the tests that it names are not there".to_owned()),
        Some(100) => {
            let hung = stderr.lines().find(|line| line.trim_start().starts_with("TIMEOUT"));
            match (stderr.lines().find(|line| is_red(line)), hung) {
                (Some(red), _) => Fate::Killed(test_of(red)),
                (None, Some(hung)) => Fate::Hung(test_of(hung)),
                (None, None) => Fate::Killed("a test that nextest does not name".to_owned()),
            }
        }
        // Nextest and cargo both use this code.
        Some(101) => {
            let error = stderr.lines().find(|line| line.starts_with("error"));
            Fate::NotBuilt(error.unwrap_or("cargo does not say why").to_owned())
        }
        code => Fate::Misfit(format!("nextest ended with {code:?}: {}", stderr.trim_end())),
    }
}

/// Returns true if a line of nextest names a test that failed or was ended by a signal.
fn is_red(line: &str) -> bool {
    let line = line.trim_start();
    (line.starts_with("FAIL") || line.starts_with("SIG") || line.starts_with("LEAK-FAIL"))
        && line.contains('[')
}

/// Returns the test in `FAIL [   0.012s] (1/9) myownllm-durable-fs::publish
/// nothing_replaces_what_is_there`.
fn test_of(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    words[words.len().saturating_sub(2)..].join(" ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "reads the sources")]
    fn every_mutant_fits_the_code_once_and_has_a_name_of_its_own() {
        let mut names = BTreeSet::new();
        let mut astray = Vec::new();
        for mutant in &read().unwrap() {
            let text = std::fs::read_to_string(workspace::root().join(&mutant.file)).unwrap();
            match mutant.apply(&text) {
                Ok(changed) => assert_ne!(changed, text, "{} changes nothing", mutant.name),
                Err(why) => astray.push(format!("{}: {why}", mutant.name)),
            }
            assert!(names.insert(mutant.name.clone()), "{} is there twice", mutant.name);
            assert!(mutant.guarantee.ends_with('.'), "{}", mutant.name);
        }
        assert!(astray.is_empty(), "{}", astray.join("\n"));
        assert!(names.len() <= MAX_ENTRIES, "{} entries: see the head of {LIST}", names.len());
    }

    #[test]
    fn output_of_nextest_is_parsed() {
        let red = "        FAIL [   0.012s] (1/9) myownllm-durable-fs::publish nothing_replaces";
        assert!(is_red(red) && !is_red("     Summary [   1.0s] 2 tests run: 1 passed, 1 failed"));
        assert_eq!(test_of(red), "myownllm-durable-fs::publish nothing_replaces");
        assert!(is_red("     SIGABRT [   0.100s] (2/9) a::b c"));
    }
}
