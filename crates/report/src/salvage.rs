//! A repair of the config for a person and for a program: planned, or made.

use myownllm_config_model::{Document, masking, networks};
use myownllm_config_store::{Applied, DaemonHalf, FileShape, Loaded, Report, Step};
use myownllm_durable_fs::trust::read_for_display;
use myownllm_launch::words::{at_defaults, backup, count, listed, state_words, use_first_network};
use myownllm_launch::{ConfigRepair, Diagnostic, LOSSES, lost_keys};
use myownllm_migration::LiveDaemon;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::moves::stopped;
use crate::run_log::{self, Trace};
use crate::screen::{Page, escape_json_controls, unified_diff};
use crate::text::{ago, utc_minutes};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 17;

/// A repair of the config, planned or made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RepairedConfig<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// The steps that were taken.
    steps: &'a [Step],
    /// With `--dry-run` and `--check`: the steps that would be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pending: Option<&'a [Step]>,
    /// The daemons of the old location, or without a socket, that were ended.
    stopped: &'a [LiveDaemon],
}

/// Returns a repair of the config, or what a repair would do: `shows_diff` adds the changes of the
/// file.
pub fn config_repair(home: &HomeView<'_>, repair: &ConfigRepair, shows_diff: bool) -> (Page, Value) {
    let stopped_page = stopped(home, &repair.stopped, COLUMN);
    let report = &repair.loaded.report;
    let (page, report, steps, pending) = match &repair.applied {
        _ if repair.is_refused => (stopped_page, report, &[][..], None),
        Some(applied) => {
            (made(home, repair, applied, stopped_page), &applied.report, &applied.steps[..], None)
        }
        None => {
            let pending = &repair.loaded.pending;
            let steps = if pending.repairs() { &pending.steps[..] } else { &[] };
            (foreseen(home, repair, shows_diff), report, &[][..], Some(steps))
        }
    };
    (page, json!(RepairedConfig { report, steps, pending, stopped: &repair.stopped }))
}

/// Returns the page of a repair that was made; `stopped` tells which daemons were ended before.
fn made(home: &HomeView<'_>, repair: &ConfigRepair, applied: &Applied, stopped: Page) -> Page {
    let Applied { report, steps, document, .. } = applied;
    let diagnostics = &repair.diagnostics;
    let mut page = Page::default();
    page.line(headline(&repair.loaded, applied));
    page.page(stopped);
    page.page(report_lines(home, &Repair { report, steps, document, done: true, diagnostics }));
    page
}

/// Returns the changes of a repair, for the run log.
pub fn repair_trace(home: &HomeView<'_>, repair: &ConfigRepair) -> Option<Trace> {
    let applied = repair.applied.as_ref();
    let steps = applied.map_or(&[][..], |applied| &applied.steps);
    let repaired = applied.map(|applied| &applied.report);
    let repaired = repaired.filter(|report| repair.loaded.pending.repairs() || !report.gone_keys.is_empty());
    let did = run_log::of_stopped(&repair.stopped).chain(run_log::of_config(steps));
    let did = did.chain(repaired.and_then(run_log::of_losses)).collect();
    let mut trace = Trace::of(home.layout, "salvage", did)?;
    trace.entry.before = applied.and_then(|applied| applied.report.backup.clone());
    trace.entry.lost = repaired.map(lost_keys).unwrap_or_default();
    Some(match applied {
        Some(applied) => trace.decided(home, &applied.document, &applied.report.restored_keys),
        None => trace,
    })
}

fn headline(found: &Loaded, applied: &Applied) -> &'static str {
    let repairs = found.pending.repairs();
    if repairs && !applied.steps.iter().any(Step::writes_config) {
        return "Another process repaired the config meanwhile.";
    }
    match (repairs, &found.report.wiped) {
        (true, Some(_)) => "The config has its settings again.",
        (true, None) => "The config is the app's again.",
        (false, _) => "The config is the app's. What a killed run had left was cleared away.",
    }
}

fn foreseen(home: &HomeView<'_>, repair: &ConfigRepair, shows_diff: bool) -> Page {
    let mut page = Page::default();
    let loaded = &repair.loaded;
    let repairs = loaded.pending.repairs();
    if repairs {
        let Loaded { report, document, pending, .. } = loaded;
        let (steps, diagnostics) = (&pending.steps, &repair.diagnostics);
        page.page(report_lines(home, &Repair { report, steps, document, done: false, diagnostics }));
        if shows_diff {
            page.gap();
            page.raw(escape_json_controls(&diff(home, &loaded.document)));
        }
    } else if loaded.newer.is_none() {
        page.line(match loaded.shape {
            FileShape::App => "The config is the app's. Nothing to repair.",
            FileShape::Missing => "There is no config yet. Nothing to repair.",
            _ => "Nothing to repair.",
        });
        completion(loaded).into_iter().for_each(|line| page.line(line));
    }
    page
}

/// Returns what would change in the file, with secrets masked on both sides.
fn diff(home: &HomeView<'_>, after: &Document) -> String {
    let name = home.short(&home.layout.app_config);
    let read = read_for_display(home.disk, home.layout.app_config.as_std_path(), u64::MAX).ok();
    let before = read.and_then(|bytes| Document::parse(&bytes).ok());
    // A text that is not JSON cannot be masked, so the diff does not show it.
    let before = before.map(|parsed| pretty(&parsed.document)).unwrap_or_default();
    unified_diff(&before, &pretty(after), &name, &name)
}

/// A repair of the config, planned or made.
pub(crate) struct Repair<'a> {
    pub(crate) report: &'a Report,
    pub(crate) steps: &'a [Step],
    pub(crate) document: &'a Document,
    /// True if the changes were made.
    pub(crate) done: bool,
    /// The diagnostics of the run. A warning about lost settings lists them below the page.
    pub(crate) diagnostics: &'a [Diagnostic],
}

/// Describes a repair in a few lines: what came from which source, and what could not be recovered.
pub(crate) fn report_lines(home: &HomeView<'_>, repair: &Repair<'_>) -> Page {
    let Repair { report, steps, document, done: is_done, diagnostics } = *repair;
    let path = |path| home.short(path);
    let verb = |done: &'static str, would: &'static str| if is_done { done } else { would };
    let mut page = Page::default();
    let mut row = |label: &str, text: String| page.row(format!("  {label}"), COLUMN, text);
    row("config", format!("{}  ({})", path(&home.layout.app_config), state_words(report)));
    let all = |keys: &[String]| keys.join(", ");
    if !report.recovered_networks.is_empty() {
        row(verb("recovered", "recovers"), listed(&report.recovered_networks));
    }
    if let Some(copy) = &report.restored_from {
        row(verb("restored", "restores"), format!("{}  (from {})", all(&report.restored_keys), backup(copy)));
    }
    if !report.reset_keys.is_empty() && !are_losses_reported(diagnostics) {
        row("at defaults", format!("{}  (no good backup has them)", all(&report.reset_keys)));
    }
    let kept = match report.shape {
        FileShape::Daemon if report.restored_from.is_none() => Some("as the daemon has them"),
        FileShape::Corrupt => Some("complete in the damaged file"),
        _ => None,
    };
    if let Some(why) = kept.filter(|_| !report.kept_keys.is_empty()) {
        row(verb("kept", "keeps"), format!("{}  ({why})", all(&report.kept_keys)));
    }
    if !report.stripped_keys.is_empty() {
        row(verb("taken out", "takes out"), format!("{}  (the daemon's)", all(&report.stripped_keys)));
    }
    if let Some(half) = report.daemon_half {
        let there = path(&home.layout.daemon_config);
        row(
            "daemon's part",
            match half {
                DaemonHalf::Written => format!("{} {there}", verb("is now", "becomes")),
                DaemonHalf::Exists => format!("is in {there} already"),
                _ => format!("{} with the backups, as the daemon has a config", verb("was kept", "is kept")),
            },
        );
    }
    match &report.backup {
        Some(copy) => {
            row("previous file", format!("kept as {} in {}", backup(copy), path(&home.layout.backups)))
        }
        None if steps.iter().any(|step| matches!(step, Step::KeepPrevious { .. })) => {
            row(
                "previous file",
                format!("{} in {}", verb("kept", "would be kept"), path(&home.layout.backups)),
            );
        }
        None => {}
    }
    if !report.recovered_networks.is_empty()
        && networks::active(document).is_none()
        && let Some(command) = use_first_network(document, home.program)
    {
        row("next", "choose the active network:".to_owned());
        page.command(COLUMN, "", command);
    }
    page
}

/// Returns true if a warning tells the settings that no backup has, and the consequences.
pub(crate) fn are_losses_reported(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.code == LOSSES)
}

/// Describes what a launch would do to a config that needs no repair but that a launch would still
/// write.
pub fn completion(loaded: &Loaded) -> Option<String> {
    let pending = &loaded.pending;
    if loaded.shape == FileShape::Missing || pending.repairs() || !pending.writes_config() {
        return None;
    }
    Some(match loaded.report.completed_keys.as_slice() {
        [] => "A launch would bring it up to date.".to_owned(),
        keys => format!("A launch would complete it, {}: {}.", at_defaults(keys), keys.join(", ")),
    })
}

/// Returns a document for a diff: laid out, with secrets masked.
pub fn pretty(document: &Document) -> String {
    format!("{}\n", masking::mask(document).to_indented_text())
}

/// Returns what a repair recovers, or has recovered; `None` if it recovers nothing.
pub(crate) fn recovered(home: &HomeView<'_>, report: &Report) -> Option<String> {
    let mut parts = Vec::new();
    if let Some(from) = report.restored_from.as_deref().filter(|_| !report.restored_keys.is_empty()) {
        let entries = home.backups();
        let entry = entries.iter().find(|entry| entry.id.to_string() == from);
        let age = |ms| match ago(ms, home.now_ms).as_str() {
            "" => format!(" (made {} UTC)", utc_minutes(ms)),
            ago => format!(" (made {} UTC, {ago})", utc_minutes(ms)),
        };
        let made = entry.map_or_else(String::new, |entry| age(entry.made_ms));
        parts.push(format!("{} from {}{made}", count(report.restored_keys.len(), "setting"), backup(from)));
    }
    let networks = &report.recovered_networks;
    if !networks.is_empty() {
        parts.push(format!("{} ({})", count(networks.len(), "network"), listed(networks)));
    }
    if !report.kept_keys.is_empty() && report.restored_from.is_none() {
        let settings = count(report.kept_keys.len(), "setting");
        parts.push(match report.shape {
            FileShape::Corrupt => format!("{settings} that the damaged file still had"),
            _ => format!("{settings} that the daemon kept"),
        });
    }
    let last = parts.pop()?;
    Some(if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) })
}
