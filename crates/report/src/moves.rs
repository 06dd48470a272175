//! A move of the daemon's state for a person and for a program: planned, or made.

use myownllm_launch::words::count;
use myownllm_launch::{MoveResult, StateMove, class_of};
use myownllm_migration::{Direction, MoveOutcome, MoveReport, Plan};
use serde_json::{Value, json};

use crate::launches::{choice, stopped};
use crate::picture::Picture;
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::view::HomeView;

const NOTHING: &str = "Nothing to move.";
/// The column at which the texts begin.
const COLUMN: usize = 17;

/// Returns a move, or with `is_dry` what a move would do.
#[must_use]
pub fn state_move(home: &HomeView<'_>, moved: &StateMove, is_dry: bool) -> (Page, Value) {
    let is_ok = class_of(&moved.diagnostics).is_none();
    match &moved.result {
        MoveResult::Made(report) => (made(home, report, moved), report_data(report)),
        MoveResult::Planned(plan) if is_dry => (foreseen(home, plan, is_ok), plan_data(plan)),
        MoveResult::Planned(plan) => (unmoved(home, plan, is_ok), unmoved_data(plan)),
    }
}

/// Returns the changes of a move, for the run log.
#[must_use]
pub fn move_trace(home: &HomeView<'_>, report: &MoveReport) -> Option<Trace> {
    let command = if report.direction == Direction::Undo { "migrate --undo" } else { "migrate" };
    let did = run_log::of_stopped(&report.stopped).chain(run_log::of_move(report)).collect();
    Some(Trace::of(home.layout, command, did)?.device_of(home))
}

/// Returns what there is to report although nothing would be moved.
fn unmoved(home: &HomeView<'_>, plan: &Plan, is_ok: bool) -> Page {
    let mut page = Page::default();
    if is_ok {
        page.line(NOTHING);
    }
    page.page(choice(home, plan.refusals.iter().chain(&plan.errors)));
    page.page(Picture::from(plan).lines(home));
    page
}

fn unmoved_data(plan: &Plan) -> Value {
    let mut data = plan_data(plan);
    data["set_aside"] = json!([]);
    data["pending"] = json!([]);
    data["outcome"] = json!("nothing-to-do");
    data
}

/// Returns what a move would do.
fn foreseen(home: &HomeView<'_>, plan: &Plan, is_ok: bool) -> Page {
    let mut page = Page::default();
    page.page(choice(home, plan.refusals.iter().chain(&plan.errors)));
    let picture = Picture::from(plan);
    if !plan.refusals.is_empty() {
        page.line("Nothing would be moved before this is settled.");
    } else if plan.is_empty() && is_ok {
        page.line(NOTHING);
    } else if !plan.is_empty() && !picture.changes() {
        page.line(format!("Would finish an interrupted move: {}.", count(plan.changes(), "step")));
    }
    if plan.refusals.is_empty() {
        page.page(picture.lines(home));
        if picture.changes() {
            page.gap();
            page.page(picture.trees(home, None));
        }
    }
    page
}

fn plan_data(plan: &Plan) -> Value {
    json!({
        "moved": [],
        "identical_removed": [],
        "collisions": plan.collisions,
        "left": plan.left,
        "pending": plan.steps().collect::<Vec<_>>(),
        "errors": plan.errors,
        "refusals": plan.refusals,
        "identity": plan.identity,
    })
}

fn made(home: &HomeView<'_>, report: &MoveReport, moved: &StateMove) -> Page {
    let mut page = Page::default();
    let picture = Picture::from(report);
    match report.outcome {
        MoveOutcome::NothingToDo if moved.diagnostics.is_empty() => page.line(NOTHING),
        MoveOutcome::Refused => page.line("Nothing was moved."),
        _ => {}
    }
    page.page(stopped(home, &report.stopped, COLUMN));
    page.page(choice(home, report.refusals.iter().chain(&report.errors)));
    page.page(picture.lines(home));
    if let Some(key) = report.identity.key() {
        page.row("Device ID", COLUMN, &key.device_id);
    }
    if picture.changes() {
        page.gap();
        page.page(picture.trees(home, None));
    }
    if report.direction == Direction::Undo && class_of(&moved.diagnostics).is_none() {
        page.gap();
        page.line("The daemon's own config.json stays in the daemon home.");
        page.line("The next launch of a version that knows the daemon home moves all of this again.");
    }
    page
}

/// Returns a report as `data`: the members that are a contract for programs, and the rest of the
/// report.
fn report_data(report: &MoveReport) -> Value {
    let mut data = serde_json::to_value(report).unwrap_or(Value::Null);
    data["pending"] = json!([]);
    data
}
