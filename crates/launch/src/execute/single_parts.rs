//! One part of the sequence on its own: the repair of the config, the repair of the rosters and
//! states, or the move of the daemon's state.

use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_config_store::{Applied, Loaded, Step};
use myownllm_identity::{Answer, Refusal};
use myownllm_migration::{
    Direction, Keep, LiveDaemon, LiveKind, MoveReport, Options as MoveOptions, Plan as MovePlan,
};

use crate::context::{Context, Options, lock_home};
use crate::daemons::RunningDaemon;
use crate::execute::outcome::Outcome;
use crate::execute::sequence::{Watch, execute_file_step, run, stop_daemon, stop_daemons};
use crate::files::identity::{ensure_home, protect_held_key, scan_identity};
use crate::files::losses::lost_settings;
use crate::files::moves::{forward_plan, move_diagnostics, plan_diagnostics};
use crate::files::peers::unsettled_states;
use crate::homes::checked_layout;
use crate::homes::trust::{ensure_permitted, wrote_where_others_can};
use crate::plan::checks::{Mark, checks};
use crate::plan::foreseen::{blocked_change, blocked_repair, changed_dirs, full_dir, no_room, unwritable};
use crate::plan::plan;
use crate::plan::stage::{daemons_blocking_repair, ensure_usable_home, live_refusal, state_steps};
use crate::plan::start::{check_socket, socket_named_by_config};
use crate::words::diagnostic::{Diagnostic, add_new, add_unreported, config_diagnostics};

/// A repair of the config on its own.
#[derive(Debug)]
#[non_exhaustive]
pub struct ConfigRepair {
    /// The config before the repair.
    pub loaded: Loaded,
    /// The steps that were done; `None` if nothing was written.
    pub applied: Option<Applied>,
    /// True if a running daemon forbade the repair.
    pub is_refused: bool,
    /// The daemons that were ended first.
    pub stopped: Vec<LiveDaemon>,
    /// The diagnostics of the repair.
    pub diagnostics: Vec<Diagnostic>,
}

/// Repairs the config. With `is_dry`, only looks at what a repair would do.
///
/// # Errors
/// Fails if the config cannot be read, if the home may not be changed, or if the repair failed.
pub fn repair_config(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    is_dry: bool,
) -> Result<ConfigRepair, Diagnostic> {
    checked_layout(context)?;
    let loaded = context.store.load(ids)?;
    let path = &context.layout.app_config;
    let diagnostics = config_diagnostics(&loaded, path);
    // A killed repair may have left its own files beside a config that is whole by now.
    let is_unfinished = loaded.pending.steps.iter().any(|step| matches!(step, Step::ClearLeftover { .. }));
    let repairs = loaded.pending.repairs();
    let mut repair =
        ConfigRepair { loaded, applied: None, is_refused: false, stopped: Vec::new(), diagnostics };
    if is_dry || !(repairs || is_unfinished) {
        if repairs {
            // The report of a repair includes whatever would prevent it.
            let dry = Options { stop_legacy_daemon: false, ..*options };
            let live = beside(context, &repair.loaded)?;
            repair.diagnostics.extend(live.iter().find_map(|live| live_refusal(live, &dry)));
            let dirs = [&context.layout.app_home, &context.layout.backups].map(Clone::clone);
            let fixed = unwritable(context, options.run_as, &dirs).map(Diagnostic::as_error);
            let blocked = fixed.or_else(|| blocked_repair(context, &repair.loaded));
            repair.diagnostics.extend(blocked.or_else(|| full_dir(&dirs)));
        } else if !is_dry && context.disk.stat(path.as_std_path()).is_ok() {
            // A killed repair may have put the config in place without syncing it.
            lock_home(context, options)?.ensure_durable()?;
        }
        let Loaded { document, report, newer, .. } = &repair.loaded;
        let lost = lost_settings(context, options, document, report, false);
        // A config of a newer version is never written.
        repair.diagnostics.extend(lost.filter(|_| newer.is_none()));
        return Ok(repair);
    }
    ensure_permitted(context, options)?;
    ensure_home(context)?;
    let lock = lock_home(context, options)?;
    let live = beside(context, &repair.loaded)?;
    if let Err(refused) = stop_daemons(context.daemons, &live, options, &mut repair.stopped) {
        return Ok(ConfigRepair { is_refused: true, diagnostics: vec![refused], ..repair });
    }
    let applied = lock.apply(ids)?;
    // If another run repaired the config meanwhile, what this run saw first is no longer so.
    repair.diagnostics = applied.diagnostics.iter().map(Diagnostic::from).collect();
    if !applied.steps.is_empty() {
        repair.diagnostics.extend(wrote_where_others_can(context));
    }
    let is_written = applied.steps.iter().any(Step::writes_config);
    let Applied { document, report, .. } = &applied;
    repair.diagnostics.extend(lost_settings(context, options, document, report, is_written));
    Ok(ConfigRepair { applied: Some(applied), ..repair })
}

/// Returns the daemons in whose presence this repair is not made.
fn beside(context: &Context<'_>, loaded: &Loaded) -> Result<Vec<RunningDaemon>, Diagnostic> {
    let config_socket = socket_named_by_config(context)?;
    Ok(daemons_blocking_repair(context, &loaded.report, config_socket.as_deref()))
}

/// Puts right what a launch and a start of a daemon put right, and uses no daemon. Reports each
/// problem that is left as an error.
pub fn repair(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> Outcome {
    let mut outcome = run(context, &Options { daemon: false, ..*options }, ids, false);
    if outcome.class().is_none() {
        // A home in which nothing can be changed is not healthy although nothing is to be repaired.
        let failed = repair_states(context, options, &mut outcome);
        let is_moved = outcome.migration.is_some();
        let synced = if is_moved { Ok(()) } else { ensure_move_durable(context) };
        outcome.diagnostics.extend(failed.and(synced).err());
    }
    if outcome.class().is_none() {
        let left = checks(context, options, &plan(context, options, ids)).list.into_iter();
        let left = left.filter(|check| check.result == Mark::Problem).filter_map(|check| check.diagnostic);
        left.for_each(|left| add_new(&mut outcome.diagnostics, left));
    }
    outcome
}

/// Does what a launch does with the rosters and states before it starts a daemon, unless one runs.
/// Adds the steps and their diagnostics to `outcome`.
/// Fails if no daemon could work in the daemon home, if another process holds the lock, or if a
/// file cannot be set aside or copied.
fn repair_states(
    context: &Context<'_>,
    options: &Options<'_>,
    outcome: &mut Outcome,
) -> Result<(), Diagnostic> {
    let migration = forward_plan(context);
    ensure_usable_home(context, options.run_as, &migration)?;
    let steps = state_steps(context, &migration, &[])?;
    if steps.is_empty() || !context.daemons.live(None).is_empty() {
        return Ok(());
    }
    let lock = lock_home(context, options)?;
    for step in steps {
        outcome.diagnostics.extend(execute_file_step(context, &*lock, &step)?);
        outcome.file_steps.push(step);
    }
    Ok(())
}

/// Syncs the move of an earlier run, as `Migrator::ensure_durable` does. Does not wait for another
/// process: that process syncs what it moves.
fn ensure_move_durable(context: &Context<'_>) -> Result<(), Diagnostic> {
    let Ok(lock) = context.store.lock(Duration::ZERO) else { return Ok(()) };
    Ok(context.migrator.ensure_durable(lock.home_lock())?)
}

/// A move of the daemon's state on its own.
#[derive(Debug)]
pub struct StateMove {
    /// The plan or the report of the move.
    pub result: MoveResult,
    /// The diagnostics of the move.
    pub diagnostics: Vec<Diagnostic>,
}

/// The plan or the report of a move.
#[derive(Debug)]
pub enum MoveResult {
    /// Nothing was moved: there was nothing to move, or the caller only looked.
    Planned(Box<MovePlan>),
    /// The move was made.
    Made(Box<MoveReport>),
}

/// Moves the daemon's state, or moves it back. With `is_dry`, only looks at what a move would do.
///
/// # Errors
/// Fails if the homes are not apart, if another user controls them, if the identity file is
/// missing, or if another process holds the lock.
pub fn move_state(
    context: &Context<'_>,
    options: &Options<'_>,
    wanted: &MoveOptions,
    is_dry: bool,
) -> Result<StateMove, Diagnostic> {
    checked_layout(context)?;
    let config_socket = socket_named_by_config(context)?;
    let is_forward = wanted.direction == Direction::Forward;
    let look = || context.migrator.plan(&context.migrator.inspect(wanted.direction), wanted);
    let mut plan = look();
    if !is_dry && plan.is_empty() && !plan.errors.is_empty() {
        // Another process may have moved the files during the look: waits until that process has
        // released the lock, and looks again.
        if lock_home(context, options).is_ok() {
            plan = look();
        }
    }
    // Every command reports what is wrong with the identity file. After an undo, the file is the
    // older app's.
    let refused = |is_decided: bool| match scan_identity(context).answer() {
        Answer::Refused(refusal) if is_forward && !(is_decided && refusal.is_missing()) => Some(refusal),
        _ => None,
    };
    // A run that was killed may have set the other identity aside, and not moved the chosen one
    // yet.
    let is_decided = wanted.keep_identity == Some(Keep::Source) && !plan.identity_steps.is_empty();
    // A key that stays behind an undo would leave its peers, and the older app would make another
    // one. A move forward attempts each file, and a dry run tells what would fail.
    let fails = || {
        let changed = changed_dirs(context.layout, &plan, false);
        let blocked = blocked_change(context, options, &changed, &plan).map(Diagnostic::as_error);
        blocked.or_else(|| no_room(context, &changed, &plan).filter(|_| is_dry))
    };
    let stops = || {
        let socket = check_socket(context).err().filter(|_| is_forward);
        socket.or_else(|| fails().filter(|_| is_dry || !is_forward))
    };
    // A refused move looks at nothing more.
    let is_tried = !plan.is_empty() && plan.refusals.is_empty();
    let stop = is_tried.then(stops).flatten();
    if is_dry || plan.is_empty() {
        // With nothing to move, takes no lock, and still reports what waits for a decision.
        let mut live = if is_tried { context.daemons.live(config_socket.as_deref()) } else { Vec::new() };
        live.retain(|daemon| plan.touches_files() || !daemon.is_own());
        let dry = Options { stop_legacy_daemon: false, ..*options };
        let live = live.iter().find_map(|live| live_refusal(live, &dry));
        let more = refused(is_decided).as_ref().map(Diagnostic::from).into_iter();
        let mut diagnostics = plan_diagnostics(context.disk, &plan, options.program);
        add_unreported(&mut diagnostics, more.chain(stop).chain(live));
        protect_held_key(context, &mut diagnostics);
        if !is_dry && !diagnostics.iter().any(Diagnostic::is_error) {
            diagnostics.extend(ensure_move_durable(context).err());
        }
        return Ok(StateMove { result: MoveResult::Planned(Box::new(plan)), diagnostics });
    }
    // Without the identity file, nothing is moved: the user has to bring the file back first.
    if plan.refusals.is_empty()
        && let Some(gone) = refused(is_decided).filter(Refusal::is_missing)
    {
        return Err(gone.into());
    }
    ensure_permitted(context, options)?;
    if let Some(refusal) = stop {
        return Err(refusal);
    }
    let lock = lock_home(context, options)?;
    // The move itself asks only whether a daemon is live, and nothing more.
    if let Some(refusal) = context.daemons.live_legacy().and_then(|live| live.resource_exhausted()) {
        return Err(refusal.into());
    }
    let inventory = context.migrator.inspect_locked(lock.home_lock(), wanted.direction);
    let mut plan = context.migrator.plan(&inventory, wanted);
    let mut stopped = Vec::new();
    if options.stop_legacy_daemon && plan.refusals.is_empty() && !plan.is_empty() {
        // The daemon of the daemon home does not serve the old location, and stays.
        let is_legacy = |live: &RunningDaemon| LiveDaemon::from(live).kind == LiveKind::Legacy;
        for live in context.daemons.live(config_socket.as_deref()).iter().filter(|live| is_legacy(live)) {
            if let Err(refusal) = stop_daemon(context.daemons, live, &mut stopped) {
                plan.refuse(refusal);
            }
        }
    }
    let watch = Watch { daemons: context.daemons, config_socket: config_socket.as_deref() };
    let mut report = context.migrator.execute(lock.home_lock(), plan, &watch);
    report.stopped = stopped;
    let mut diagnostics: Vec<Diagnostic> = move_diagnostics(context.disk, &report, options.program).collect();
    add_unreported(&mut diagnostics, refused(false).as_ref().map(Diagnostic::from));
    if is_forward && wanted.keep.is_some() {
        // The user may have kept the damaged side.
        let (damaged, _) = unsettled_states(context, &forward_plan(context), &[]).unwrap_or_default();
        diagnostics.extend(damaged.iter().map(|state| state.damaged_diagnostic(context)));
    }
    Ok(StateMove { result: MoveResult::Made(Box::new(report)), diagnostics })
}
