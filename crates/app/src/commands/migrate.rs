//! `migrate`: the move on its own.

use myownllm_launch::words::count;
use myownllm_launch::{Diagnostic, MoveResult, move_state};
use myownllm_migration::{Direction, Options as MoveOptions, Outcome, Plan, Report};
use serde_json::{Value, json};

use crate::cli::MigrateArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::Answer;
use crate::run_log::{self, Trace};
use crate::told::{choice, stopped};
use crate::world::{World, fresh_ids};
use myownllm_report::Page;
use myownllm_report::Picture;

const NOTHING: &str = "Nothing to move.";
/// The column at which the texts begin.
const COLUMN: usize = 17;

pub(crate) fn run(world: &World, args: &MigrateArgs) -> Result<Answer, Diagnostic> {
    let direction = if args.undo { Direction::Undo } else { Direction::Forward };
    // The old words of `--keep` chose the identity file as well.
    let identity = args.keep_identity.or(args.keep.filter(|side| side.is_old_word()));
    let wanted = if args.undo { MoveOptions::undo() } else { MoveOptions::forward() }
        .keeping_files(args.keep.map(|side| side.keep(direction)))
        .keeping_identity(identity.map(|side| side.keep(direction)))
        .stopping_legacy_daemon(args.stop_legacy_daemon);
    let is_dry = args.dry_run || args.check;
    let wired = world.wire();
    let moved = move_state(&wired.context(), &world.options(), &mut fresh_ids(), &wanted, is_dry)?;
    Ok(match moved.result {
        MoveResult::Made(report) => done(world, &report, moved.diagnostics),
        MoveResult::Planned(plan) if is_dry => dry(world, &plan, args, moved.diagnostics),
        MoveResult::Planned(plan) => told(world, &plan, moved.diagnostics),
    })
}

/// Returns what there is to report although nothing would be moved.
fn told(world: &World, plan: &Plan, diagnostics: Vec<Diagnostic>) -> Answer {
    let mut page = Page::default();
    if exit_of(&diagnostics).is_ok() {
        page.line(NOTHING);
    }
    page.page(choice(world, plan.refusals.iter().chain(&plan.errors)));
    page.page(Picture::from(plan).lines(&world.view()));
    let data = json!({ "moved": [], "identical_removed": [], "set_aside": [], "collisions": plan.collisions, "left": plan.left, "pending": [], "errors": plan.errors, "refusals": plan.refusals, "identity": plan.identity, "outcome": "nothing-to-do" });
    let exit = exit_of(&diagnostics);
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

fn dry(world: &World, plan: &Plan, args: &MigrateArgs, diagnostics: Vec<Diagnostic>) -> Answer {
    let mut page = Page::default();
    page.page(choice(world, plan.refusals.iter().chain(&plan.errors)));
    let picture = Picture::from(plan);
    if !plan.refusals.is_empty() {
        page.line("Nothing would be moved before this is settled.");
    } else if plan.is_empty() && exit_of(&diagnostics).is_ok() {
        page.line(NOTHING);
    } else if !plan.is_empty() && !picture.changes() {
        page.line(format!("Would finish an interrupted move: {}.", count(plan.changes(), "step")));
    }
    if plan.refusals.is_empty() {
        page.page(picture.lines(&world.view()));
        if picture.changes() {
            page.gap();
            page.page(picture.trees(&world.view(), None));
        }
    }
    let data = json!({
        "moved": [],
        "identical_removed": [],
        "collisions": plan.collisions,
        "left": plan.left,
        "pending": plan.steps().collect::<Vec<_>>(),
        "errors": plan.errors,
        "refusals": plan.refusals,
        "identity": plan.identity,
    });
    let trouble = exit_of(&diagnostics);
    let exit = if args.check && trouble.is_ok() && !plan.is_empty() { ExitCode::Pending } else { trouble };
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

fn done(world: &World, report: &Report, diagnostics: Vec<Diagnostic>) -> Answer {
    let mut page = Page::default();
    let picture = Picture::from(report);
    match report.outcome {
        Outcome::NothingToDo if diagnostics.is_empty() => page.line(NOTHING),
        Outcome::Refused => page.line("Nothing was moved."),
        _ => {}
    }
    page.page(stopped(world, &report.stopped, COLUMN));
    page.page(choice(world, report.refusals.iter().chain(&report.errors)));
    page.page(picture.lines(&world.view()));
    if let Some(key) = report.identity.key() {
        page.row("Device ID", COLUMN, &key.device_id);
    }
    if picture.changes() {
        page.gap();
        page.page(picture.trees(&world.view(), None));
    }
    if report.direction == Direction::Undo && exit_of(&diagnostics).is_ok() {
        page.gap();
        page.line("The daemon's own config.json stays in its home.");
        page.line("The next launch of a version that knows the daemon's own home moves all of this again.");
    }
    let exit = exit_of(&diagnostics);
    let command = if report.direction == Direction::Undo { "migrate --undo" } else { "migrate" };
    let did = run_log::of_stopped(&report.stopped).chain(run_log::of_move(report)).collect();
    let trace = Trace::of(&world.layout, command, did);
    Answer { diagnostics, trace, ..Answer::done(page, report_data(report)) }.exit(exit)
}

/// Returns a report as `data`: the members that are a contract for programs, and the rest of the
/// report.
fn report_data(report: &Report) -> Value {
    let mut data = serde_json::to_value(report).unwrap_or(Value::Null);
    data["pending"] = json!([]);
    data
}
