//! The help: examples of every command, and the exit codes.

#![allow(clippy::unwrap_used, reason = "test code")]

use clap::Command;
use myownllm_mesh::command_line;
use myownllm_mesh::exit::{ExitCode, exit_code_table};

const TEXTS: &str = include_str!("../src/help.txt");

/// Returns the rows of a section of the texts.
fn rows_of(section: &str) -> Vec<(&'static str, &'static str)> {
    let head = format!("[{section}]");
    let lines = TEXTS.lines().skip_while(|line| *line != head).skip(1);
    lines.map_while(|line| line.split_once(" # ")).collect()
}

fn commands(command: &Command, name: &str, found: &mut Vec<String>) {
    for sub in command.get_subcommands() {
        let name = format!("{name} {}", sub.get_name()).trim_start().to_owned();
        commands(sub, &name, found);
        found.push(name);
    }
}

/// The commands that have examples.
fn sections() -> impl Iterator<Item = &'static str> {
    let heads = TEXTS.lines().filter_map(|line| line.strip_prefix('[')?.strip_suffix(']'));
    heads.filter(|name| !["files", "environment"].contains(name))
}

#[test]
fn every_line_is_a_heading_a_row_or_a_remark() {
    for line in TEXTS.lines() {
        let is_heading = line.starts_with('[') && line.ends_with(']');
        let is_row = line.split_once(" # ").is_some_and(|(name, meaning)| {
            !name.is_empty() && name == name.trim() && !meaning.is_empty() && meaning == meaning.trim()
        });
        assert!(line.is_empty() || line.starts_with("//") || is_heading || is_row, "{line:?}");
    }
}

#[test]
fn every_example_is_a_command_line_of_its_command() {
    for command in sections() {
        for (line, _) in rows_of(command) {
            let words = line.split(' ').take_while(|word| !["<", ">"].contains(word));
            let words: Vec<&str> = words.collect();
            let parsed = command_line().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{line}: {parsed:?}");
            let is_its = words[1..].join(" ").starts_with(command);
            assert!(is_its, "{line} is no example of {command}");
        }
    }
}

#[test]
fn every_command_has_examples_or_is_a_filter() {
    let mut all = Vec::new();
    commands(&command_line(), "", &mut all);
    let without: Vec<&String> = all.iter().filter(|name| rows_of(name).is_empty()).collect();
    assert_eq!(without, ["network to-daemon", "network to-envelope", "network from-envelope", "completions"]);
    for command in sections().filter(|name| !name.is_empty()) {
        assert!(all.iter().any(|name| name == command), "{command} is no command");
    }
}

#[test]
fn every_exit_code_is_listed_once_under_its_number() {
    for (number, code) in ExitCode::ALL.iter().enumerate() {
        assert_eq!(usize::from(code.number()), number, "{code:?} is out of order");
        assert!(
            exit_code_table().contains(&format!("  {number}  {}\n", code.meaning())),
            "{code:?} is not in the table"
        );
    }
}

/// Returns `data` of `man --json`.
fn man(words: &[&str]) -> serde_json::Value {
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_myownllm-mesh"));
    let out = program.arg("man").args(words).arg("--json").output().unwrap();
    serde_json::from_slice::<serde_json::Value>(&out.stdout).unwrap()["data"].take()
}

#[test]
fn every_command_has_a_manual_page_with_its_options_and_all_exit_codes() {
    let data = man(&[]);
    let names: Vec<&str> =
        data["commands"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["launch", "config", "config restore", "network from-envelope", "man"] {
        assert!(names.contains(&name), "{name} is not among {names:?}");
    }
    for name in names {
        let data = man(&name.split(' ').collect::<Vec<_>>());
        let page = data["page"].as_str().unwrap();
        assert!(page.contains(&format!(".TH myownllm-mesh-{} 1", name.replace(' ', "-"))), "{page}");
        assert!(page.contains("\\-\\-json") && page.contains("SEE ALSO"), "{page}");
        for code in ExitCode::ALL {
            assert!(page.contains(&format!("\n{}\n{}", code.number(), &code.meaning()[..4])), "{page}");
        }
    }
}
