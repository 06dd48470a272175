//! A repair of the config for a person and for a program: planned, or made.

use myownllm_config_model::Document;
use myownllm_config_store::{Applied, FileShape, Loaded, Report, Step};
use myownllm_durable_fs::trust::read_for_display;
use myownllm_launch::{ConfigRepair, lost_keys};
use myownllm_migration::LiveDaemon;
use serde::Serialize;
use serde_json::{Value, json};

use crate::launches::{Repair, Tense, completion, pretty, report_lines, stopped};
use crate::run_log::{self, Trace};
use crate::screen::{Page, escape_json_controls, unified_diff};
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 17;

/// A repair of the config, planned or made.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
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
#[must_use]
pub fn config_repair(home: &HomeView<'_>, repair: &ConfigRepair, shows_diff: bool) -> (Page, Value) {
    let page = stopped(home, &repair.stopped, COLUMN);
    let stopped = &repair.stopped;
    let report = &repair.loaded.report;
    match &repair.applied {
        _ if repair.is_refused => {
            (page, json!(RepairedConfig { report, steps: &[], pending: None, stopped }))
        }
        Some(applied) => (
            made(home, repair, applied, page),
            json!(RepairedConfig { report: &applied.report, steps: &applied.steps, pending: None, stopped }),
        ),
        None => {
            let pending = &repair.loaded.pending;
            let steps = if pending.repairs() { &pending.steps[..] } else { &[] };
            (
                foreseen(home, repair, shows_diff),
                json!(RepairedConfig { report, steps: &[], pending: Some(steps), stopped }),
            )
        }
    }
}

/// Returns the page of a repair that was made; `stopped` tells which daemons were ended before.
fn made(home: &HomeView<'_>, repair: &ConfigRepair, applied: &Applied, stopped: Page) -> Page {
    let Applied { report, steps, document, .. } = applied;
    let diagnostics = &repair.diagnostics;
    let mut page = Page::default();
    page.line(headline(&repair.loaded, applied));
    page.page(stopped);
    page.page(report_lines(home, &Repair { report, steps, document, tense: Tense::Done, diagnostics }));
    page
}

/// Returns the changes of a repair, for the run log.
#[must_use]
pub fn repair_trace(home: &HomeView<'_>, repair: &ConfigRepair) -> Option<Trace> {
    let applied = repair.applied.as_ref();
    let steps = applied.map_or(&[][..], |applied| &applied.steps);
    let repaired = applied.map(|applied| &applied.report).filter(|_| repair.loaded.pending.repairs());
    let did = run_log::of_stopped(&repair.stopped).chain(run_log::of_config(steps));
    let did = did.chain(repaired.and_then(run_log::of_losses)).collect();
    let mut trace = Trace::of(home.layout, "salvage", did)?;
    trace.entry.before = applied.and_then(|applied| applied.report.backup.clone());
    trace.entry.lost = repaired.map(lost_keys).unwrap_or_default();
    Some(trace)
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
        page.page(report_lines(home, &Repair { report, steps, document, tense: Tense::Would, diagnostics }));
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
