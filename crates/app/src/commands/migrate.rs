//! `migrate`: the move alone.

use myownllm_identity::{Answer as KeyAnswer, Refusal};
use myownllm_launch::{
    Diagnostic, Watch, add_untold, check_socket, ensure_changeable, identity_look, lock_home,
    move_diagnostics,
};
use myownllm_migration::{
    Direction, Keep, MigrationError, Options as MoveOptions, Outcome, Plan, Report, StateMigrator,
};
use serde_json::{Value, json};

use super::launch::{count, stopped};
use super::picture::Picture;
use crate::cli::MigrateArgs;
use crate::exit::ExitCode;
use crate::exit::exit_of;
use crate::output::{Answer, short};
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::times::utc_minutes;
use crate::world::{World, fresh_ids};

const NOTHING: &str = "Nothing to move.";
/// Where the texts begin.
pub(crate) const COLUMN: usize = 17;

pub(crate) fn run(world: &World, args: &MigrateArgs) -> Result<Answer, Diagnostic> {
    let wired = world.wire();
    let context = wired.context();
    context.checked.map_err(Diagnostic::from)?;
    let direction = if args.undo { Direction::Undo } else { Direction::Forward };
    // The old words settled the keys as well.
    let identity = args.keep_identity.or(args.keep.filter(|side| side.is_old_word()));
    let wanted = if args.undo { MoveOptions::undo() } else { MoveOptions::forward() }
        .keeping_files(args.keep.map(|side| side.keep(direction)))
        .keeping_identity(identity.map(|side| side.keep(direction)))
        .stopping_legacy_daemon(args.stop_legacy_daemon);
    let leaked = myownllm_launch::leaked_socket(&context)?;
    let plan = wired.migrator.plan(&wired.migrator.inspect(direction), &wanted);
    // What is wrong with the identity file is told by every command; on the way back it is the older app's.
    let refused = || match identity_look(&context, &mut fresh_ids()).answer() {
        KeyAnswer::Refused(refusal) if direction == Direction::Forward => Some(refusal),
        _ => None,
    };
    let socket =
        (direction == Direction::Forward && !plan.is_empty()).then(|| check_socket(&context).err()).flatten();
    if args.dry_run || args.check {
        let live = if plan.is_empty() { Vec::new() } else { context.daemons.live(leaked.as_deref()) };
        let live =
            myownllm_launch::settle_live(context.daemons, live, &world.options(), &mut Vec::new()).err();
        let refused = refused().as_ref().map(Diagnostic::from);
        return Ok(dry(world, &plan, args, refused.into_iter().chain(socket).chain(live).collect()));
    }
    if plan.is_empty() {
        // Nothing to move takes no lock; what waits for a decision is told all the same.
        return Ok(told(world, &plan, refused().as_ref().map(Diagnostic::from)));
    }
    // Without the key nothing moves: it has to be brought back first.
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
    // The move itself asks whether one is live, and no more.
    if let Some(refusal) = context.daemons.live_legacy().and_then(|live| live.resource_exhausted()) {
        return Err(Diagnostic::from(&refusal));
    }
    let watch = Watch { daemons: context.daemons, leaked: leaked.as_deref() };
    let report = wired.migrator.run(lock.home_lock(), &wanted, &watch);
    let refused = refused().as_ref().map(Diagnostic::from);
    Ok(done(world, &report, refused))
}

/// What is there although nothing would be moved.
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

/// Two keys, side by side: what a person needs to know to choose.
pub(crate) fn choice<'a>(world: &World, errors: impl Iterator<Item = &'a MigrationError>) -> Page {
    let mut page = Page::default();
    for error in errors {
        let MigrationError::TwoIdentities { source_side, destination_side, command, direction, .. } = error
        else {
            continue;
        };
        let places = [Keep::Source, Keep::Destination].map(|keep| keep.place(*direction));
        for (name, side) in places.into_iter().zip([source_side, destination_side]) {
            page.row(name, COLUMN, &side.key.device_id);
            page.row("", COLUMN, short(&side.path, &world.layout.user_home));
            let with = format!("{} and {}", count(side.rosters, "roster"), count(side.states, "state"));
            page.row("", COLUMN, format!("made {}, with {with}", made(side.key.created_at.as_deref())));
        }
        page.line("Keep the one that your peers know; it is the one that lies with the rosters as a rule:");
        for place in places {
            page.copied(2, "", format!("{command} --keep-identity {place}"));
        }
        page.line("The other is set aside beside it, and can be put back.");
        page.gap();
    }
    page
}

/// When a key was made, as its file says: `@` and seconds since 1970.
fn made(created_at: Option<&str>) -> String {
    let Some(text) = created_at else { return "at an unknown time".to_owned() };
    match text.strip_prefix('@').and_then(|seconds| seconds.parse::<u64>().ok()) {
        Some(seconds) => utc_minutes(seconds.saturating_mul(1000)),
        None => text.to_owned(),
    }
}

/// A report as `data`: what was promised to programs, and the rest of it.
pub(crate) fn report_data(report: &Report) -> Value {
    let mut data = serde_json::to_value(report).unwrap_or(Value::Null);
    data["pending"] = json!([]);
    data
}

/// The troubles that a plan names before anything is done.
pub(crate) fn plan_diagnostics(world: &World, plan: &Plan) -> Vec<Diagnostic> {
    let mut diagnostics: Vec<Diagnostic> =
        plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from).collect();
    diagnostics.extend(
        plan.collisions
            .iter()
            .map(|both| myownllm_launch::collision_diagnostic(both, plan.direction, &world.program)),
    );
    diagnostics
}
