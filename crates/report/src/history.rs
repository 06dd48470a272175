//! The backups of the config for a person and for a program.

use myownllm_config_store::{Accepted, BackupId, BackupKind, FileShape, HistoryEntry, Restored, StoreError};
use myownllm_launch::words::{at_defaults, backup, count};
use myownllm_launch::{Followed, lost_network};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::edits::{followed_page, reconciled};
use crate::run_log::{self, ACCEPT, Entry, Trace, last_losses};
use crate::screen::Page;
use crate::text::{ago, utc_minutes};
use crate::view::HomeView;

/// The backups of the config.
#[derive(Serialize, JsonSchema)]
pub(crate) struct History<'a> {
    /// Newest first.
    copies: Vec<HistoryRow<'a>>,
}

#[derive(Serialize, JsonSchema)]
struct HistoryRow<'a> {
    #[serde(flatten)]
    entry: &'a HistoryEntry,
    /// Why the backup was made, for a person: before which command, if the run log knows it.
    reason: String,
}

/// A restore of a backup.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RestoredConfig<'a> {
    /// The backup that was restored.
    restored: &'a BackupId,
    /// The backup of the previous config; null if nothing was changed.
    backup: Option<&'a BackupId>,
    /// True if the file was written.
    changed: bool,
    /// The changes of the daemon's networks; null if no daemon was asked.
    #[schemars(with = "Option<myownllm_launch::Reconciled>")]
    reconcile: Value,
}

/// Returns the backups, each with its age and the reason for it.
///
/// # Errors
/// Fails if the backups cannot be read.
pub fn history(home: &HomeView<'_>) -> Result<(Page, Value), StoreError> {
    const COLUMN: usize = 58;
    let entries = home.store.history()?;
    if entries.is_empty() {
        return Ok(("There are no backups yet.\n".into(), json!(History { copies: Vec::new() })));
    }
    let runs = run_log::read(home.layout.run_log().as_ref());
    let mut page = Page::default();
    let head = |[id, made, age, bytes, shape]: [&str; 5]| {
        format!("{id:>6}  {made:<18}{age:<12}{bytes:>7}  {shape:<9}")
    };
    page.row(head(["ID", "made (UTC)", "age", "bytes", "shape"]), COLUMN, "why it was kept");
    let mut rows = Vec::new();
    for entry in &entries {
        let reason = reason(entry, &runs);
        let shape = json!(entry.shape);
        let (id, bytes) = (entry.short_name(&entries), entry.bytes.to_string());
        let (made, age) = (utc_minutes(entry.made_ms), ago(entry.made_ms, home.now_ms));
        let head = head([&id, &made, &age, &bytes, shape.as_str().unwrap_or_default()]);
        let mark = match (entry.current, entry.intact, entry.is_restorable()) {
            (true, ..) => "  <- now",
            _ if !entry.readable => "  (cannot be read)",
            (_, false, true) => "  (changed after it was made)",
            (_, false, false) => "  DAMAGED",
            (.., false) => "  (only with --as-is)",
            _ if entry.recoverable => "  (its complete members can be restored)",
            _ => "",
        };
        page.row(head, COLUMN, format!("{reason}{mark}"));
        rows.push(HistoryRow { entry, reason });
    }
    page.gap();
    let others = entries.iter().any(|entry| entry.is_restorable() && !entry.current);
    match entries.iter().find(|entry| entry.recommended) {
        Some(entry) => {
            let restore = format!("{} config restore {}", home.program, entry.short_name(&entries));
            page.offer("To bring one back, by its ID:", restore);
        }
        None if others => page.line("No other backup holds as many of your settings as the config does."),
        None => page.line("Every backup that can be restored is the same as the config."),
    }
    Ok((page, json!(History { copies: rows })))
}

/// Returns why a backup was made: before which command, if the run log knows it. A later run that
/// found the same bytes made no other backup of them.
fn reason(entry: &HistoryEntry, runs: &[Entry]) -> String {
    let id = entry.id.to_string();
    let run = runs.iter().find(|run| run.before.as_ref() == Some(&id));
    match (run, entry.kind) {
        (Some(run), _) => format!("before: {}", run.command),
        (None, BackupKind::Good) => "a healthy config".to_owned(),
        (None, BackupKind::Kept) => "set aside, never removed".to_owned(),
        (None, BackupKind::DaemonPart) => "the daemon's part".to_owned(),
        _ => String::new(),
    }
}

/// Returns a restore of a backup, with the command that undoes it.
pub fn restored(home: &HomeView<'_>, restored: &Restored, followed: &Followed) -> (Page, Value) {
    let path = home.short(&home.layout.app_config);
    let from = backup(&restored.from.to_string());
    let mut page = Page::default();
    page.line(match restored.changed {
        true => format!("Restored {from} to {path}."),
        false => format!("{path} is the same as {from}: nothing to restore."),
    });
    // Most restores are none of the daemon's business.
    if !matches!(followed, Followed::NoDaemon) {
        page.page(followed_page(followed));
    }
    let backups = home.backups();
    let find = |id: &BackupId| backups.iter().find(|entry| entry.id == *id);
    if let Some(entry) = restored.backup.as_ref().and_then(find) {
        let as_is = if entry.is_restorable() { "" } else { " --as-is" };
        let restore = format!("{} config restore {}{as_is}", home.program, entry.short_name(&backups));
        // A restore refuses to replace a config that needs a repair.
        let undo = match find(&restored.from).map(|entry| entry.shape) {
            Some(FileShape::Daemon | FileShape::Mixed | FileShape::Corrupt) => {
                format!("{} repair && {restore}", home.program)
            }
            _ => restore,
        };
        page.offer("To undo this:", undo);
    }
    let document = RestoredConfig {
        restored: &restored.from,
        backup: restored.backup.as_ref(),
        changed: restored.changed,
        reconcile: reconciled(followed),
    };
    (page, json!(document))
}

/// Returns the answer to a user who accepts the config as it is, and what the run log says of it.
pub fn accepted(home: &HomeView<'_>, accepted: &Accepted) -> (String, Option<Trace>) {
    let (path, backup) = (home.short(&home.layout.app_config), backup(&accepted.backup.to_string()));
    let lost = last_losses(home.layout);
    let made = accepted.changed.then(|| format!("made {backup} of the config as it is"));
    let (networks, settings): (Vec<_>, Vec<_>) =
        lost.iter().cloned().partition(|key| lost_network(key).is_some());
    let kept = (!settings.is_empty()).then(|| format!("accepted {}", at_defaults(&settings)));
    let given_up = format!("accepted the loss of {}", count(networks.len(), "network"));
    let kept = kept.into_iter().chain((!networks.is_empty()).then_some(given_up));
    let page = match (accepted.changed, lost.is_empty()) {
        (true, _) => format!("Accepted: {path} stays as it is. It is {backup} now."),
        (false, false) => format!("Accepted: {path} stays as it is."),
        (false, true) => format!("Nothing to accept: {path} is {backup} already."),
    };
    (page, Trace::of(home.layout, ACCEPT, made.into_iter().chain(kept).collect()))
}

/// Returns the changes of a restore, for the run log. `name` is the backup as the user named it.
pub fn restore_trace(home: &HomeView<'_>, restored: &Restored, name: &str) -> Option<Trace> {
    let did = restored.changed.then(|| format!("restored backup {}", restored.from.sequence()));
    let mut trace = Trace::of(home.layout, format!("config restore {name}"), did.into_iter().collect())?;
    trace.entry.before = restored.backup.as_ref().map(ToString::to_string);
    trace.entry.restored = Some(restored.from.to_string());
    Some(trace.decided(home, &restored.document, &[]))
}
