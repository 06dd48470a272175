//! A move of the daemon's state for a person and for a program: planned, or made.

use myownllm_launch::words::{count, process};
use myownllm_launch::{MoveResult, StateMove, class_of};
use myownllm_migration::{
    Collision, Direction, IdentityState, Keep, LiveDaemon, MigrationError, MoveOutcome, MoveReport, MoveStep,
    Moved, Plan, SkippedEntry,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::picture::Picture;
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::text::utc_minutes;
use crate::view::HomeView;

const NOTHING: &str = "Nothing to move.";
/// The column at which the texts begin.
const COLUMN: usize = 17;

/// A move that was made.
#[derive(Serialize, JsonSchema)]
pub(crate) struct MadeMove<'a> {
    #[serde(flatten)]
    report: &'a MoveReport,
    /// Empty: the move was made.
    pending: [MoveStep; 0],
}

/// A move that would be made, or that has nothing to move.
#[derive(Serialize, JsonSchema)]
pub(crate) struct PlannedMove<'a> {
    /// Empty: nothing was moved.
    moved: [Moved; 0],
    /// Empty: nothing was removed.
    identical_removed: [String; 0],
    /// Files that differ: both stay.
    collisions: &'a [Collision],
    /// The entries that are not ours, and stay.
    left: &'a [SkippedEntry],
    /// With `--dry-run` and `--check`: the steps that would be taken.
    pending: Vec<&'a MoveStep>,
    /// The paths that could not be inspected.
    errors: &'a [MigrationError],
    /// The reasons why nothing is moved at all.
    refusals: &'a [MigrationError],
    identity: &'a IdentityState,
    /// Empty, of a run that had nothing to move.
    #[serde(skip_serializing_if = "Option::is_none")]
    set_aside: Option<[Moved; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<MoveOutcome>,
}

impl<'a> PlannedMove<'a> {
    /// Returns the plan; without `is_dry`, as the end of a run.
    fn new(plan: &'a Plan, is_dry: bool) -> Self {
        Self {
            moved: [],
            identical_removed: [],
            collisions: &plan.collisions,
            left: &plan.left,
            pending: plan.steps().filter(|_| is_dry).collect(),
            errors: &plan.errors,
            refusals: &plan.refusals,
            identity: &plan.identity,
            set_aside: (!is_dry).then_some([]),
            outcome: (!is_dry).then_some(MoveOutcome::NothingToDo),
        }
    }
}

/// Returns a move, or with `is_dry` what a move would do.
pub fn state_move(home: &HomeView<'_>, moved: &StateMove, is_dry: bool) -> (Page, Value) {
    let is_ok = class_of(&moved.diagnostics).is_none();
    match &moved.result {
        MoveResult::Made(report) => (made(home, report, moved), json!(MadeMove { report, pending: [] })),
        MoveResult::Planned(plan) => {
            let page = if is_dry { foreseen(home, plan, is_ok) } else { unmoved(home, plan, is_ok) };
            (page, json!(PlannedMove::new(plan, is_dry)))
        }
    }
}

/// Returns the changes of a move, for the run log.
pub fn move_trace(home: &HomeView<'_>, report: &MoveReport) -> Option<Trace> {
    let command = if report.direction == Direction::Undo { "migrate --undo" } else { "migrate" };
    let did = run_log::of_stopped(&report.stopped).chain(run_log::of_move(report)).collect();
    let mut trace = Trace::of(home.layout, command, did)?.device_of(home);
    // The user may have decided for another key than the log shows.
    let decided = report.identity.key().map(|key| key.device_id.clone());
    trace.entry.device_id = decided.or(trace.entry.device_id);
    Some(trace)
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
        if home.disk.stat(home.layout.daemon_config.as_ref()).is_ok() {
            page.line("The daemon's own config.json stays in the daemon home.");
        }
        page.line("The next launch of a version that knows the daemon home moves all of this again.");
    }
    page
}

/// Shows two identity files side by side, with the facts that a person needs to choose.
pub(crate) fn choice<'a>(home: &HomeView<'_>, errors: impl Iterator<Item = &'a MigrationError>) -> Page {
    let mut page = Page::default();
    for error in errors {
        let MigrationError::TwoIdentities { source_side, destination_side, command, direction, .. } = error
        else {
            continue;
        };
        let mut sides = [(Keep::Source, source_side), (Keep::Destination, destination_side)];
        sides.sort_by_key(|(_, side)| !side.is_known);
        for (keep, side) in sides {
            page.row(keep.place(*direction), COLUMN, &side.key.device_id);
            page.row("", COLUMN, home.short(&side.path));
            let with = format!("{} and {}", count(side.rosters, "roster"), count(side.states, "state"));
            page.row("", COLUMN, format!("made {}, with {with}", key_time(side.key.created_at.as_deref())));
        }
        let (_, first) = sides[0];
        page.line(match first.is_known {
            true => {
                format!("Keep the one that your peers know. This home has known {}:", first.key.device_id)
            }
            // The rosters beside a key may be those of the other one.
            false => "Keep the one that your peers know, as a rule the one with the rosters:".to_owned(),
        });
        for (keep, _) in sides {
            page.command(2, "", format!("{command} --keep-identity {}", keep.place(*direction)));
        }
        page.line("The other one stays beside it under another name, and can be put back.");
        page.gap();
    }
    page
}

/// Returns when a key was made, as its file says: `@` and seconds since 1970.
fn key_time(created_at: Option<&str>) -> String {
    let Some(text) = created_at else { return "at an unknown time".to_owned() };
    match text.strip_prefix('@').and_then(|seconds| seconds.parse::<u64>().ok()) {
        Some(seconds) => utc_minutes(seconds.saturating_mul(1000)),
        None => text.to_owned(),
    }
}

/// Lists the daemons that were ended because they were in the way.
pub(crate) fn stopped(home: &HomeView<'_>, daemons: &[LiveDaemon], column: usize) -> Page {
    let mut page = Page::default();
    for daemon in daemons {
        let place = home.short(&daemon.socket);
        page.row(
            "stopped",
            column,
            format!("the daemon{} at {place}  ({})", process(daemon.pid), daemon.note),
        );
    }
    page
}
