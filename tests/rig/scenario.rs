//! `cargo xtask scenario`: the main job as stories that a person can watch. Each story builds a
//! home in a temporary directory, runs the real program and a real daemon process on it, and shows
//! the outcome.

mod daemon_stories;
mod show;
mod stage;
mod stories;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use integration_tests::testkit::wait_for;
use serde_json::{Value, json};

use crate::crash::strace;
use crate::guard::{Dir, start};
use crate::{Fallible, fixture, style};
use stage::{Record, Stage, Stop};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The scenarios to play; all by default
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List the scenarios with their stories, and play none
    #[arg(long)]
    list: bool,
    /// Keep the homes, and print their paths
    #[arg(long)]
    keep: bool,
    /// Print one JSON document on stdout instead of the report
    #[arg(long)]
    json: bool,
}

/// A scenario: its name, its story in a sentence, and its steps.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) story: &'static str,
    pub(crate) play: fn(&mut Stage<'_>) -> Result<(), Stop>,
}

/// The programs of the scenarios.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) mesh: PathBuf,
    pub(crate) daemon: PathBuf,
    /// True for a real `myownmesh`, false for the stand-in.
    pub(crate) real: bool,
    /// The version that the daemon reports.
    pub(crate) version: String,
    pub(crate) strace: bool,
}

impl Tools {
    /// Builds the programs, finds the daemon, and asks the daemon for its version.
    fn prepare() -> Fallible<Self> {
        let chosen = std::env::var_os("MYOWNMESH_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
        let real = chosen.is_some();
        let daemon = match chosen {
            Some(path) => {
                path.canonicalize().map_err(|e| format!("MYOWNMESH_BIN={}: {e}", path.display()))?
            }
            None => crate::program("stand-in-daemon")?,
        };
        let mut tools = Self {
            mesh: crate::program("myownllm-mesh")?,
            daemon,
            real,
            version: String::new(),
            strace: strace::there(),
        };
        let dir = Dir::new(None)?;
        let home = dir.path().join("home");
        fixture::dir(&home)?;
        let mut daemon = start(&mut tools.daemon_command(&dir, &home))?;
        let status = wait_for(&home.join("daemon.sock"), Duration::from_secs(10), || daemon.is_running())
            .map_err(|e| {
                format!(
                    "{} does not work as a daemon: {e}\n{}",
                    tools.daemon.display(),
                    daemon.errors_so_far()
                )
            })?;
        tools.version = status["version"].as_str().unwrap_or("unknown").to_owned();
        daemon.stop()?;
        Ok(tools)
    }

    /// Returns the daemon on `home`, with the environment that an app gives it.
    fn daemon_command(&self, dir: &Dir, home: &std::path::Path) -> std::process::Command {
        let mut command = std::process::Command::new(&self.daemon);
        command.arg("serve").env("MYOWNMESH_HOME", home).env("HOME", dir.path()).current_dir(dir.path());
        command
    }

    /// Returns the fixture versions that this daemon can read: a daemon refuses the files of a
    /// newer one.
    pub(crate) fn readable(&self) -> Vec<&'static str> {
        let number =
            |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
        let newest = number(&self.version);
        let readable =
            fixture::VERSIONS.into_iter().filter(|version| !self.real || number(version) <= newest);
        readable.collect()
    }

    fn name(&self) -> String {
        let what = if self.real { "the real daemon" } else { "the stand-in daemon" };
        format!("{what} {} at {}", self.version, self.daemon.display())
    }
}

/// The outcome of a scenario.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Passed,
    Failed,
    Skipped(String),
}

/// Returns every scenario, in playing order.
fn all() -> impl Iterator<Item = &'static Scenario> {
    stories::ALL.iter().chain(&daemon_stories::ALL)
}

pub(crate) fn run(args: &Args) -> Fallible<bool> {
    if args.list {
        return Ok(list(args.json));
    }
    let chosen = choose(&args.names)?;
    let signs = style::signs();
    let tools = Tools::prepare()?;
    if !args.json {
        show::opening(&tools, signs);
    }
    let started = Instant::now();
    let mut played = Vec::new();
    for scenario in chosen {
        let (record, ending, took) = play(scenario, &tools, args.keep);
        if !args.json {
            show::scenario(scenario, &record, &ending, took, signs);
        }
        played.push((scenario, record, ending, took));
    }
    let good = played.iter().all(|(_, _, ending, _)| *ending != Ending::Failed);
    if args.json {
        let scenarios: Vec<Value> = played
            .iter()
            .map(|(scenario, record, ending, took)| show::as_json(scenario, record, ending, *took))
            .collect();
        let daemon =
            json!({ "path": tools.daemon.to_string_lossy(), "version": tools.version, "real": tools.real });
        let seconds = started.elapsed().as_secs_f64();
        crate::say!(
            "{}",
            json!({ "schema": "xtask.scenario/1", "ok": good, "daemon": daemon, "seconds": seconds,
                "scenarios": scenarios })
        );
    } else {
        let endings: Vec<_> =
            played.iter().map(|(scenario, record, ending, _)| (scenario.name, record, ending)).collect();
        show::closing(&endings, started.elapsed(), signs);
    }
    Ok(good)
}

fn list(json: bool) -> bool {
    if json {
        let all: Vec<Value> = all().map(|s| json!({ "name": s.name, "story": s.story })).collect();
        crate::say!("{}", json!({ "schema": "xtask.scenario-list/1", "scenarios": all }));
        return true;
    }
    for scenario in all() {
        crate::say!("{}", style::paint(style::TITLE, scenario.name));
        for line in style::wrap(scenario.story, style::width().min(100) - 4) {
            crate::say!("    {line}");
        }
    }
    true
}

fn choose(names: &[String]) -> Fallible<Vec<&'static Scenario>> {
    if names.is_empty() {
        return Ok(all().collect());
    }
    let find = |name: &String| {
        let known = || all().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        let found = all().find(|scenario| scenario.name == name);
        found.ok_or_else(|| format!("there is no scenario {name:?}; there are {}", known()))
    };
    names.iter().map(find).collect()
}

/// Plays one scenario. After any outcome its processes are ended, and its home is removed or kept.
fn play(scenario: &Scenario, tools: &Tools, keep: bool) -> (Record, Ending, Duration) {
    let started = Instant::now();
    let mut stage = match Stage::new(tools) {
        Ok(stage) => stage,
        Err(why) => return (Record::failed(why), Ending::Failed, started.elapsed()),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&mut stage)));
    let stop = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(stop)) => Some(stop),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Some(Stop::Failed(format!("the scenario itself panicked: {}", text.unwrap_or_default())))
        }
    };
    let record = stage.finish(keep, stop.is_none());
    let ending = match stop {
        Some(Stop::Skipped(why)) => Ending::Skipped(why),
        Some(Stop::Failed(why)) => return (record.stopped(why), Ending::Failed, started.elapsed()),
        None if record.all_good() => Ending::Passed,
        None => Ending::Failed,
    };
    (record, ending, started.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_typos_are_answered_with_the_list() {
        assert_eq!(choose(&[]).map(|all| all.len()), Ok(all().count()));
        let why = choose(&["upgrad".to_owned()]).map(|_| ()).unwrap_err();
        assert!(why.contains("upgrade-after-the-bug"), "{why}");
    }

    #[test]
    fn a_real_daemon_is_not_given_the_files_of_a_newer_one() {
        let tools = |real, version: &str| Tools {
            mesh: PathBuf::new(),
            daemon: PathBuf::new(),
            real,
            version: version.to_owned(),
            strace: false,
        };
        assert_eq!(tools(true, "0.1.2").readable(), ["0.1.2"]);
        assert_eq!(tools(true, "0.3.10").readable(), ["0.1.2", "0.3.8"]);
        assert_eq!(tools(false, "0.1.2").readable(), ["0.1.2", "0.3.8"]);
    }
}
