//! The changes that this program made in the home, and the log that the daemon wrote.

use myownllm_daemon::{Endpoint, Probe, last_log_lines};
use myownllm_durable_fs::trust::check_symlink_target;
use myownllm_identity::IdentityPaths;
use myownllm_launch::words::own_daemon_words;
use myownllm_launch::{Diagnostic, unreadable_log};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use textwrap::core::display_width;

use crate::run_log::{self, Entry};
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

/// The runs of this program that changed something.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Runs<'a> {
    /// The path of the run log.
    path: String,
    /// Oldest first.
    entries: &'a [Entry],
}

/// The log of the daemon.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DaemonLog {
    /// The path of the log.
    path: String,
    /// The last lines, oldest first.
    lines: Vec<String>,
}

/// The daemon of a home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct DaemonState {
    /// The socket of the daemon.
    socket: String,
    #[schemars(with = "Probe")]
    probe: Value,
    /// The daemon home.
    home: String,
    /// The path of the daemon's log.
    log: String,
}

/// Returns the last `most` entries of the run log.
pub fn runs(home: &HomeView<'_>, most: usize) -> (Page, Value, Vec<Diagnostic>) {
    let path = home.layout.run_log();
    let entries = run_log::read(path.as_ref());
    let entries = &entries[entries.len().saturating_sub(most)..];
    let unreadable = unreadable_log(home.disk, home.layout, &path);
    let mut page = Page::default();
    if entries.is_empty() && unreadable.is_none() {
        page.line(format!(
            "This program has changed nothing here: {} is empty, or not there.",
            home.short(&path)
        ));
    }
    let column = 2 + entries.iter().map(|entry| display_width(&head(entry))).max().unwrap_or(0);
    for entry in entries {
        let mut text = entry.did.join("; ");
        if entry.exit != 0 {
            text.push_str(&format!("  [exit {}: {}]", entry.exit, entry.codes.join(", ")));
        }
        page.row(head(entry), column, text);
    }
    (page, json!(Runs { path: long(&path), entries }), unreadable.into_iter().collect())
}

/// Returns the time to the second, and the command.
fn head(entry: &Entry) -> String {
    format!("{}  {}", entry.at.get(..19).unwrap_or(&entry.at).replace('T', " "), entry.command)
}

/// Returns the last lines of the daemon's log, without secrets.
pub fn daemon_log_lines(home: &HomeView<'_>, most: usize) -> (Page, Value, Vec<Diagnostic>) {
    let path = myownllm_daemon::log_path(&home.layout.daemon_home);
    let shown = home.short(&path);
    let mut page = Page::default();
    let mut diagnostics = Vec::new();
    // Root reads the log of another user, who may have put a symlink to a file of root in its
    // place.
    let problem = check_symlink_target(home.disk, path.as_ref()).ok().flatten();
    let lines = match &problem {
        Some(_) => Vec::new(),
        None => last_log_lines(home.disk, &IdentityPaths::of(home.layout), &path, most),
    };
    if let Some(problem) = problem {
        let message = format!("{shown} is not read: {}", problem.reason());
        diagnostics.push(Diagnostic::warning("daemon.log-place", message).at(&path).hint(problem.command()));
    } else if lines.is_empty() {
        diagnostics.extend(unreadable_log(home.disk, home.layout, &path));
        if diagnostics.is_empty() {
            page.line(format!(
                "No daemon that this program started wrote anything: {shown} is empty, or not there."
            ));
        }
    } else {
        diagnostics.push(Diagnostic::info("daemon.log-place", format!("the daemon's log is {shown}")));
    }
    lines.iter().for_each(|line| page.raw(format!("{line}\n")));
    (page, json!(DaemonLog { path: long(&path), lines }), diagnostics)
}

/// Returns the state of the daemon of this home, which `probe` found at `endpoint`.
pub fn daemon_status(
    home: &HomeView<'_>,
    endpoint: &Endpoint,
    probe: &Probe,
    beside: &[Diagnostic],
) -> (Page, Value) {
    const COLUMN: usize = 12;
    let log = myownllm_daemon::log_path(&home.layout.daemon_home);
    let mut page = Page::default();
    let words = own_daemon_words(&home.layout.daemon_home, probe, home.user_name, beside);
    page.row("daemon", COLUMN, words);
    if let Some(status) = probe.status() {
        page.row("Device ID", COLUMN, &status.device_id);
    }
    page.row("socket", COLUMN, endpoint.path().map_or_else(|| endpoint.to_string(), |path| home.short(path)));
    page.row("home", COLUMN, home.short(&home.layout.daemon_home));
    page.row("log", COLUMN, home.short(&log));
    let document = DaemonState {
        socket: endpoint.to_string(),
        probe: bounded(probe),
        home: long(&home.layout.daemon_home),
        log: long(&log),
    };
    (page, json!(document))
}
