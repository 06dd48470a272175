//! `logs`: the changes that this program made in the home, or the log that the daemon wrote.

use myownllm_launch::Diagnostic;
use myownllm_launch::words::short;
use serde_json::json;

use crate::cli::LogsArgs;
use crate::output::{Answer, long};
use crate::run_log::{self, Entry};
use crate::world::World;
use myownllm_report::Page;

pub(crate) fn run(world: &World, args: &LogsArgs) -> Answer {
    if args.daemon { of_daemon(world, args.lines) } else { of_runs(world, args.lines) }
}

fn of_runs(world: &World, most: usize) -> Answer {
    let path = run_log::path(&world.layout);
    let entries = run_log::read(&path);
    let entries = &entries[entries.len().saturating_sub(most)..];
    let mut page = Page::default();
    if entries.is_empty() {
        page.line(format!(
            "This program has changed nothing here, as {} tells.",
            short(&path, &world.layout.user_home)
        ));
    }
    let column = 2 + entries.iter().map(|entry| head(entry).chars().count()).max().unwrap_or(0);
    for entry in entries {
        let mut text = entry.did.join("; ");
        if entry.exit != 0 {
            text.push_str(&format!("  [exit {}: {}]", entry.exit, entry.codes.join(", ")));
        }
        page.row(head(entry), column, text);
    }
    Answer::data(page, json!({ "path": long(&path), "entries": entries }))
}

/// Returns the time to the second, and the command.
fn head(entry: &Entry) -> String {
    format!("{}  {}", entry.at.get(..19).unwrap_or(&entry.at).replace('T', " "), entry.command)
}

/// Returns the log of a daemon that this program starts.
pub(crate) fn daemon_log(world: &World) -> std::path::PathBuf {
    world.layout.daemon_home.join("daemon.log")
}

/// Returns the last lines of the daemon's log, without secrets.
pub(crate) fn of_daemon(world: &World, most: usize) -> Answer {
    let path = daemon_log(world);
    let lines = myownllm_daemon::last_log_lines(&path, most);
    let shown = short(&path, &world.layout.user_home);
    let mut page = Page::default();
    let mut diagnostics = Vec::new();
    if lines.is_empty() {
        page.line(format!(
            "No daemon that this program started wrote anything: {shown} is empty, or not there."
        ));
    } else {
        diagnostics.push(Diagnostic::info("daemon.log-place", format!("the daemon's log is {shown}")));
    }
    lines.iter().for_each(|line| page.raw(format!("{line}\n")));
    Answer { diagnostics, ..Answer::data(page, json!({ "path": long(&path), "lines": lines })) }
}
