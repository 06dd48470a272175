//! `migrate`: the move on its own.

use myownllm_identity::{Answer as KeyAnswer, Refusal};
use myownllm_launch::words::count;
use myownllm_launch::{
    Diagnostic, Watch, add_untold, check_socket, ensure_changeable, identity_look, lock_home,
    move_diagnostics,
};
use myownllm_migration::{Direction, Options as MoveOptions, Outcome, Plan, Report, StateMigrator};
use serde_json::{Value, json};

use crate::cli::MigrateArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::Answer;
use crate::picture::Picture;
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::told::{choice, stopped};
use crate::world::{World, fresh_ids};

const NOTHING: &str = "Nothing to move.";
/// The column at which the texts begin.
const COLUMN: usize = 17;

pub(crate) fn run(world: &World, args: &MigrateArgs) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    context.checked.map_err(Diagnostic::from)?;
    let direction = if args.undo { Direction::Undo } else { Direction::Forward };
    // The old words of `--keep` chose the identity file as well.
    let identity = args.keep_identity.or(args.keep.filter(|side| side.is_old_word()));
    let wanted = if args.undo { MoveOptions::undo() } else { MoveOptions::forward() }
        .keeping_files(args.keep.map(|side| side.keep(direction)))
        .keeping_identity(identity.map(|side| side.keep(direction)))
        .stopping_legacy_daemon(args.stop_legacy_daemon);
    let leaked = myownllm_launch::leaked_socket(&context)?;
    let look = || wired.migrator.plan(&wired.migrator.inspect(direction), &wanted);
    let mut plan = look();
    let only_looks = args.dry_run || args.check;
    if !only_looks && plan.is_empty() && !plan.errors.is_empty() {
        // Another process may have moved the files during the look: waits until that process has
        // released the lock, and looks again.
        if lock_home(&context, &world.options()).is_ok() {
            plan = look();
        }
    }
    // Every command reports what is wrong with the identity file. After an undo, the file is the
    // older app's.
    let refused = || match identity_look(&context, &mut fresh_ids()).answer() {
        KeyAnswer::Refused(refusal) if direction == Direction::Forward => Some(refusal),
        _ => None,
    };
    let socket =
        (direction == Direction::Forward && !plan.is_empty()).then(|| check_socket(&context).err()).flatten();
    if only_looks {
        let live = if plan.is_empty() { Vec::new() } else { context.daemons.live(leaked.as_deref()) };
        let live = myownllm_launch::live_refusal(live, &world.options());
        let refused = refused().as_ref().map(Diagnostic::from);
        return Ok(dry(world, &plan, args, refused.into_iter().chain(socket).chain(live).collect()));
    }
    if plan.is_empty() {
        // With nothing to move, takes no lock, and still reports what waits for a decision.
        return Ok(told(world, &plan, refused().as_ref().map(Diagnostic::from)));
    }
    // Without the identity file, nothing is moved: the user has to bring the file back first.
    if plan.refusals.is_empty()
        && let Some(gone) = refused().filter(Refusal::is_gone)
    {
        return Err(Diagnostic::from(&gone));
    }
    ensure_changeable(&context)?;
    if let Some(refused) = socket {
        return Err(refused);
    }
    let lock = lock_home(&context, &world.options())?;
    // The move itself asks only whether a daemon is live, and nothing more.
    if let Some(refusal) = context.daemons.live_legacy().and_then(|live| live.resource_exhausted()) {
        return Err(Diagnostic::from(&refusal));
    }
    let watch = Watch { daemons: context.daemons, leaked: leaked.as_deref() };
    let report = wired.migrator.run(lock.home_lock(), &wanted, &watch);
    let refused = refused().as_ref().map(Diagnostic::from);
    Ok(done(world, &report, refused))
}

/// Returns what there is to report although nothing would be moved.
fn told(world: &World, plan: &Plan, refused: Option<Diagnostic>) -> Answer {
    let mut diagnostics = plan_diagnostics(world, plan);
    add_untold(&mut diagnostics, refused);
    let mut page = Page::default();
    if exit_of(&diagnostics).is_ok() {
        page.line(NOTHING);
    }
    page.page(choice(world, plan.refusals.iter().chain(&plan.errors)));
    page.page(Picture::from(plan).lines(world));
    let data = json!({ "moved": [], "identical_removed": [], "set_aside": [], "collisions": plan.collisions, "left": plan.left, "pending": [], "errors": plan.errors, "refusals": plan.refusals, "identity": plan.identity, "outcome": "nothing-to-do" });
    let exit = exit_of(&diagnostics);
    Answer { diagnostics, ..Answer::done(page, data) }.exit(exit)
}

fn dry(world: &World, plan: &Plan, args: &MigrateArgs, refusals: Vec<Diagnostic>) -> Answer {
    let mut diagnostics = plan_diagnostics(world, plan);
    add_untold(&mut diagnostics, refusals);
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
        page.page(picture.lines(world));
        if picture.changes() {
            page.gap();
            page.page(picture.trees(world, None));
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

fn done(world: &World, report: &Report, refused: Option<Diagnostic>) -> Answer {
    let mut diagnostics: Vec<Diagnostic> = move_diagnostics(report, &world.program).collect();
    add_untold(&mut diagnostics, refused);
    let mut page = Page::default();
    let picture = Picture::from(report);
    match report.outcome {
        Outcome::NothingToDo if diagnostics.is_empty() => page.line(NOTHING),
        Outcome::Refused => page.line("Nothing was moved."),
        _ => {}
    }
    page.page(stopped(world, &report.stopped, COLUMN));
    page.page(choice(world, report.refusals.iter().chain(&report.errors)));
    page.page(picture.lines(world));
    if let Some(key) = report.identity.key() {
        page.row("Device ID", COLUMN, &key.device_id);
    }
    if picture.changes() {
        page.gap();
        page.page(picture.trees(world, None));
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

/// Returns the problems that a plan names before anything is done.
fn plan_diagnostics(world: &World, plan: &Plan) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<Diagnostic> =
        plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from).collect();
    diagnostics.extend(
        plan.collisions
            .iter()
            .map(|both| myownllm_launch::collision_diagnostic(both, plan.direction, &world.program)),
    );
    diagnostics
}
