//! The CI workflows: each parses, and calls only verbs and scripts that exist. No test stands where
//! they build none.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code that reads the repository")]

use std::path::{Path, PathBuf};

use saphyr::{LoadableYamlNode as _, Yaml};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Returns the file name and the text of each workflow.
fn workflows() -> Vec<(String, String)> {
    let mut found: Vec<_> = std::fs::read_dir(root().join(".github/workflows"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    found.sort();
    assert!(found.len() >= 2, "{found:?}");
    found
}

/// Returns the steps of every job of a workflow.
fn steps<'a>(workflow: &'a Yaml<'a>, name: &str) -> Vec<&'a Yaml<'a>> {
    let jobs = workflow.as_mapping_get("jobs").and_then(Yaml::as_mapping);
    let jobs = jobs.unwrap_or_else(|| panic!("{name} has no jobs"));
    jobs.iter()
        .flat_map(|(job, body)| {
            let has = |key| body.as_mapping_get(key).is_some();
            assert!(has("runs-on") && has("timeout-minutes"), "{name}: {job:?} lacks a runner or a limit");
            body.as_mapping_get("steps")
                .and_then(Yaml::as_sequence)
                .unwrap_or_else(|| panic!("{name}: {job:?}"))
        })
        .collect()
}

/// Returns the verbs of `cargo xtask` as the command line spells them, from the list in the source.
fn verbs() -> Vec<String> {
    let source = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    let list = source.split("enum Verb {").nth(1).unwrap().split("\n}").next().unwrap();
    list.lines()
        .filter(|line| line.contains("::Args)"))
        .filter_map(|line| Some(line.trim().split_once('(')?.0.to_lowercase()))
        .collect()
}

/// Returns the Rust sources below a directory.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

#[test]
fn library_without_a_test_harness_has_no_tests() {
    let packages = std::fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut without_harness = 0;
    for package in packages.chain(["tests", "bench"].map(|dir| root().join(dir))) {
        let manifest = std::fs::read_to_string(package.join("Cargo.toml")).unwrap();
        let library = manifest.split("[lib]").nth(1).and_then(|rest| rest.split("\n[").next());
        if library.is_some_and(|library| library.contains("test = false")) {
            without_harness += 1;
            for source in sources(&package.join("src")) {
                let text = std::fs::read_to_string(&source).unwrap();
                assert!(!text.contains("#[test]") && !text.contains("#[rstest]"), "{}", source.display());
            }
        }
    }
    assert!(without_harness > 0);
}

#[test]
fn every_workflow_parses_and_every_step_runs_or_uses_something() {
    for (name, text) in workflows() {
        let parsed = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        for step in steps(&parsed[0], &name) {
            let action = step.as_mapping_get("uses").and_then(Yaml::as_str);
            let command = step.as_mapping_get("run").and_then(Yaml::as_str);
            assert!(action.is_some() != command.is_some(), "{name}: {step:?}");
            assert!(action.is_none_or(|action| action.contains("@v")), "{name}: {action:?} is not pinned");
        }
    }
}

#[test]
fn every_verb_that_a_workflow_calls_exists() {
    let verbs = verbs();
    assert!(verbs.iter().any(|verb| verb == "scenario"), "{verbs:?}");
    let mut called = 0;
    for (name, text) in workflows() {
        for (at, _) in text.match_indices("cargo xtask ") {
            let line = text[at..].lines().next().unwrap();
            let mut words = line.split_whitespace().skip(2);
            let verb = words.next().unwrap();
            assert!(verbs.iter().any(|known| known == verb), "{name} calls {line:?}; there are {verbs:?}");
            let sources = ["xtask/src", "tests/rig"].map(|dir| root().join(dir).join(format!("{verb}.rs")));
            let source = sources.iter().find_map(|path| std::fs::read_to_string(path).ok()).unwrap();
            for option in words.filter_map(|word| word.strip_prefix("--")) {
                assert!(source.contains(&format!("    {}: ", option.replace('-', "_"))), "{name}: {line:?}");
            }
            called += 1;
        }
        for script in text.match_indices("bash ").map(|(at, _)| text[at..].split_whitespace().nth(1).unwrap())
        {
            assert!(root().join(script).metadata().is_ok(), "{name} runs {script}, which does not exist");
        }
    }
    assert!(called >= 3, "{called}");
}
