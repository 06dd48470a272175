//! The app's start-up sequence: moves the daemon's files, loads the config and repairs it if need
//! be, attaches to a daemon or starts one, and brings its networks in line.
//!
//! [`launch`] works on traits, so a sibling app can replace one part, and a test all of them. It
//! never fails: the app must come up whatever the disk says, so the outcome always holds a config
//! to run on, beside the diagnostics. The module `stage` decides the steps of each of the two stages;
//! [`plan`](crate::plan()) returns both stages without executing them; [`launch`] decides each again
//! under the lock, then executes its steps.

use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_config_store::{Applied, FileShape, Loaded, LockedStore, Pending, Step, StoreError};
use myownllm_daemon::{DaemonControl, SpawnError, StoppedDaemon};
use myownllm_durable_fs::{LockedDir, SYNC_UNCONFIRMED, quote};
use myownllm_migration::{Homes, LiveDaemon, LiveDaemons, MigrationError, Plan as MovePlan};
use myownllm_paths::camino::Utf8Path;

use crate::context::{Context, Options, try_lock};
use crate::daemons::networks::keep_settings_in;
use crate::daemons::{
    CONFIG_LIMIT, Daemons, EXIT_AFTER_ANSWER, EXIT_AFTER_UNLINK, RunningDaemon, abandoned_diagnostic,
    died_diagnostic,
};
use crate::execute::outcome::{Daemon, Outcome, Recurrence};
use crate::files::corrupt_files::{corrupt_config_path, keep_corrupt_file};
use crate::files::daemon_config::{back_up_daemon_config, rebase_paths, set_daemon_config_aside};
use crate::files::identity::{ends_daemon, ensure_home, identity_answer, protect_held_key};
use crate::files::losses::lost_settings;
use crate::files::moves::{collision_as_warning, locked_forward_plan, move_diagnostics};
use crate::files::peers::{copy_newer_state, mend_state};
use crate::homes::no_access::{merge_access_errors, unknown_shared};
use crate::homes::trust::{ensure_changeable, ensure_permitted, wrote_where_others_can};
use crate::plan::stage::{HomeInspection, Stage, ensure_startable};
use crate::plan::start::{CONFIG_SOCKET_UNREADABLE, missing_program, stop_alone};
use crate::step::LaunchStep;
use crate::words::diagnostic::{Diagnostic, PROGRAM, add_new, add_unreported};

/// Runs the start-up sequence.
///
/// Takes no lock and writes nothing if nothing is pending and a daemon runs (or none is wanted);
/// then it reads one file, lists two directories, and connects to one socket.
///
/// If no daemon is wanted, a launch that changed something, or that found a home which others can
/// change, also reports what would keep a daemon from starting: the caller may run nothing else.
pub fn launch(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> Outcome {
    run(context, options, ids, !options.daemon)
}

/// Does what [`launch`] does. With `looks_ahead`, also looks for what keeps a daemon from starting.
pub(super) fn run(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    looks_ahead: bool,
) -> Outcome {
    let options = &options.of(context);
    let (outcome, look) = load(context, ids);
    let config_was_pending = look.pending.as_ref().is_some_and(|pending| {
        pending.repairs() || (pending.writes_config() && outcome.shape == FileShape::Missing)
    });
    let mut run = Run {
        context,
        options,
        ids,
        lock: None,
        config_was_pending,
        migration: None,
        is_move_durable: false,
        unwritten_backup: None,
        client: None,
        start_conflict: None,
        lost_connection: None,
        is_open_to_others: false,
        probes_after_disconnect: 0,
        exits: 0,
        outcome,
    };
    match run.change_home(look) {
        Ok(()) => {
            let identity = identity_answer(context);
            add_unreported(&mut run.outcome.diagnostics, identity.refusal().map(Diagnostic::from));
            if options.daemon {
                let used = run.use_daemon(&identity);
                run.outcome.diagnostics.extend(used.err());
            }
            // A launch with nothing to do looks at nothing more.
            let looks_ahead = looks_ahead && (run.lock.is_some() || run.is_open_to_others);
            if looks_ahead
                && run.outcome.class().is_none()
                && let Err(refusal) = ensure_startable(context, options)
            {
                add_new(&mut run.outcome.diagnostics, refusal);
            }
            run.outcome.diagnostics.extend(run.unwritten_backup.take());
        }
        // The run has reported the unreadable config. The failure to read its control socket has
        // the same cause.
        Err(diagnostic) if run.outcome.is_fallback && diagnostic.code == CONFIG_SOCKET_UNREADABLE => {}
        Err(diagnostic) => run.outcome.diagnostics.push(diagnostic),
    }
    let mut outcome = run.outcome;
    add_closing_diagnostics(context, options, &mut outcome);
    outcome
}

/// Adds the diagnostics of the run as a whole.
fn add_closing_diagnostics(context: &Context<'_>, options: &Options<'_>, outcome: &mut Outcome) {
    if options.daemon {
        // Comes after the start of a daemon: the start removes an abandoned socket at its own path.
        let abandoned = context.daemons.abandoned_sockets();
        outcome.diagnostics.extend(abandoned.iter().map(abandoned_diagnostic));
    }
    let found = outcome.detection.as_ref();
    let unknown = found.and_then(|found| unknown_shared(context.disk, context.layout, found));
    add_unreported(&mut outcome.diagnostics, unknown);
    if outcome.diagnostics.iter().any(ends_daemon) {
        let hints = outcome.diagnostics.iter_mut().map(|diagnostic| &mut diagnostic.hint);
        stop_alone(missing_program(context).as_ref(), hints);
    }
    protect_held_key(context, &mut outcome.diagnostics);
    merge_access_errors(context.disk, context.layout, &mut outcome.diagnostics);
    // A launch reports a newer config as an error: the finding with the same code would repeat it.
    let is_reported = |code: &str| {
        outcome.diagnostics.iter().any(|diagnostic| diagnostic.is_error() && diagnostic.code == code)
    };
    let is_newer = is_reported("store.newer");
    let findings = outcome.findings.iter().filter(|found| !is_reported(found.code));
    let findings: Vec<Diagnostic> = findings.map(Diagnostic::from).collect();
    outcome.diagnostics.extend(findings);
    // The losses come last, so that they stay on the screen.
    let is_written = outcome.config_steps.iter().any(Step::writes_config);
    let lost = lost_settings(context, options, &outcome.document, &outcome.config, is_written);
    // Reports no loss for a newer config: this launch did not write it.
    outcome.diagnostics.extend(lost.filter(|_| !is_newer));
    let within = if outcome.has_lost_daemon() { EXIT_AFTER_UNLINK } else { EXIT_AFTER_ANSWER };
    if let Daemon::Spawned(spawned) = &mut outcome.daemon
        && let Ok(Some(status)) = spawned.wait_within(within)
    {
        // The daemon came up and died on the first requests: this is the reason for everything else
        // that went wrong.
        outcome.diagnostics.push(died_diagnostic(spawned, &status.to_string()));
    }
    outcome.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.complete_hint(options.program));
}

/// Loads the config, or a fallback if the file cannot be read, and inspects the home for pending
/// changes.
fn load(context: &Context<'_>, ids: &mut dyn Ids) -> (Outcome, HomeInspection) {
    let loaded = context.store.load(ids);
    let look = HomeInspection::new(context, loaded.as_ref());
    let (loaded, failed) = match loaded {
        Ok(loaded) => {
            let newer = loaded.newer_error(&context.layout.app_config);
            (loaded, newer)
        }
        Err(error) => (context.store.fallback(ids), Some(error)),
    };
    let Loaded { document, shape, report, diagnostics: findings, .. } = loaded;
    let is_fallback = matches!(&failed, Some(error) if !matches!(error, StoreError::Newer { .. }));
    let diagnostics = failed.iter().map(Diagnostic::from).collect();
    let outcome = Outcome {
        document,
        is_fallback,
        shape,
        steps: Vec::new(),
        is_repaired_by_another: false,
        config: report,
        config_steps: Vec::new(),
        recurrence: None,
        stopped: Vec::new(),
        migration: None,
        daemon: Daemon::None,
        file_steps: Vec::new(),
        tried: Vec::new(),
        detection: None,
        reconciled: None,
        findings,
        diagnostics,
    };
    (outcome, look)
}

/// A daemon that closed the connection of this launch, and the errors that this caused.
pub(super) struct LostConnection {
    /// The process of the daemon, if the system tells it.
    pub(super) pid: Option<u32>,
    pub(super) errors: Vec<Diagnostic>,
}

/// A launch that runs.
pub(super) struct Run<'r, 'a> {
    pub(super) context: &'r Context<'a>,
    pub(super) options: &'r Options<'r>,
    pub(super) ids: &'r mut dyn Ids,
    /// The lock, if it had to be taken.
    pub(super) lock: Option<Box<dyn LockedStore + 'a>>,
    /// True if the first look found a config to write anew or to repair.
    config_was_pending: bool,
    migration: Option<MovePlan>,
    /// True once this run has synced what an earlier run moved.
    is_move_durable: bool,
    /// The diagnostic of a routine backup, or of defaults, that could not be written: the launch
    /// reports this failure and goes on.
    unwritten_backup: Option<Diagnostic>,
    /// The connection over which a daemon answered.
    pub(super) client: Option<Box<dyn DaemonControl>>,
    /// The error of a start during which another process took the socket.
    pub(super) start_conflict: Option<SpawnError>,
    /// The daemon that closed the connection last.
    pub(super) lost_connection: Option<LostConnection>,
    /// True if others can change the home.
    is_open_to_others: bool,
    /// The daemons that closed a connection and ran on, and those that exited.
    pub(super) probes_after_disconnect: usize,
    pub(super) exits: usize,
    pub(super) outcome: Outcome,
}

impl Run<'_, '_> {
    fn change_home(&mut self, look: HomeInspection) -> Result<(), Diagnostic> {
        self.is_open_to_others = !ensure_permitted(self.context, self.options)?.problems.is_empty();
        let look = self.lock_if_pending(look)?;
        self.plan_move(look.moves);
        let config = (&self.outcome.document, Some(&self.outcome.config));
        let stage = Stage::of_home(self.context, self.options, &look, self.migration.as_ref(), config);
        // Looks for a recurrence before the launch ends a daemon that may be the cause, and reports
        // it even if nothing may be repaired.
        if self.lock.is_some()
            && look.pending.as_ref().is_some_and(Pending::repairs)
            && let Some(recurrence) =
                Recurrence::of(self.context, self.options, self.outcome.shape, &stage.live)
        {
            self.outcome.diagnostics.push(recurrence.diagnostic(self.context, self.options));
            self.outcome.recurrence = Some(recurrence);
        }
        self.execute(stage)?;
        self.ensure_move_durable()
    }

    /// Plans the move under the lock, if something is to be moved.
    fn plan_move(&mut self, moves: bool) {
        let lock = self.lock.as_deref().filter(|_| moves);
        self.migration = lock.map(|lock| locked_forward_plan(self.context, lock.home_lock()));
    }

    /// Syncs what an earlier run moved, once, unless this run has moved the files itself. A launch
    /// without the lock changes nothing and starts no daemon, so nothing relies on the move.
    pub(super) fn ensure_move_durable(&mut self) -> Result<(), Diagnostic> {
        let is_due = self.outcome.migration.is_none() && !self.is_move_durable;
        let Some(lock) = self.lock.as_deref().filter(|_| is_due) else { return Ok(()) };
        self.is_move_durable = true;
        Ok(self.context.migrator.ensure_durable(lock.home_lock())?)
    }

    /// Takes the lock if there is something to do, and if no other process does it meanwhile. Looks
    /// again once the lock is held: no other launch changes the home any more.
    fn lock_if_pending(&mut self, mut look: HomeInspection) -> Result<HomeInspection, Diagnostic> {
        let mut waited = Duration::ZERO;
        while !look.is_done() {
            ensure_home(self.context)?;
            if let Some(lock) = try_lock(self.context, self.options, &mut waited)? {
                self.lock = Some(lock);
                ensure_changeable(self.context)?;
                return self.inspect_again(look);
            }
            // The process that holds the lock may be doing the same work. Then there is nothing to
            // wait for.
            look = self.inspect_again(look)?;
        }
        Ok(look)
    }

    /// Inspects the home again. Does not load a config of which the first inspection knows no
    /// pending step: it is unreadable, or of a newer version.
    ///
    /// Fails if the file was readable before and is not now: that must not look like "nothing to
    /// do".
    fn inspect_again(&mut self, before: HomeInspection) -> Result<HomeInspection, Diagnostic> {
        if before.pending.is_none() {
            let (moves, misplaced) = (self.context.migrator.is_pending(), self.context.store.misplaced());
            return Ok(HomeInspection { moves, misplaced, ..before });
        }
        let loaded = self.context.store.load(self.ids)?;
        let look = HomeInspection::new(self.context, Ok(&loaded));
        self.outcome.document = loaded.document;
        if loaded.pending.repairs() {
            self.outcome.shape = loaded.shape;
            self.outcome.config = loaded.report;
        } else if self.config_was_pending && !loaded.pending.writes_config() {
            // Another process has written or repaired the config since the first inspection.
            self.outcome.is_repaired_by_another = true;
            self.outcome.config = loaded.report;
            self.outcome.findings = loaded.diagnostics;
        }
        Ok(look)
    }

    /// Carries out the steps in order, and stops at the first that fails.
    pub(super) fn execute(&mut self, stage: Stage) -> Result<(), Diagnostic> {
        add_unreported(&mut self.outcome.diagnostics, stage.warnings);
        // A plan with refusals moves nothing: its execution puts the refusals into the report. The
        // config is repaired all the same.
        if stage.is_move_refused {
            self.migrate(stage.config_socket.as_deref());
        }
        for step in stage.steps {
            let touches_daemon_config =
                matches!(step, LaunchStep::BackUpDaemonConfig | LaunchStep::SetDaemonConfigAside);
            // After an error no daemon is used, so its config stays as it is.
            if touches_daemon_config && self.outcome.class().is_some() {
                return Ok(());
            }
            tracing::debug!(step = step.code(), "takes a step");
            self.outcome.steps.push(step.clone());
            match step {
                LaunchStep::StopDaemon { daemon } => {
                    stop_daemon(self.context.daemons, &daemon, &mut self.outcome.stopped)?;
                }
                LaunchStep::Move { .. } if self.migration.is_some() => {
                    if !self.migrate(stage.config_socket.as_deref()) {
                        return Ok(());
                    }
                }
                LaunchStep::RestoreConfig { .. }
                | LaunchStep::RepairConfig
                | LaunchStep::CompleteConfig
                | LaunchStep::WriteDefaultConfig
                | LaunchStep::BackUpConfig => self.apply_config_steps(&stage.pending),
                LaunchStep::Move { .. }
                | LaunchStep::BackUpDaemonConfig
                | LaunchStep::SetDaemonConfigAside
                | LaunchStep::KeepCorruptFile { .. }
                | LaunchStep::MendState { .. }
                | LaunchStep::CopyNewerState { .. }
                | LaunchStep::RebasePaths { .. } => {
                    let Some(lock) = self.lock.as_deref() else { continue };
                    self.outcome.diagnostics.extend(execute_file_step(self.context, lock, &step)?);
                    if matches!(step, LaunchStep::MendState { .. }) {
                        // A damaged file that was set aside has left its place to the file that
                        // moves.
                        self.plan_move(self.migration.is_some());
                    }
                    self.outcome.file_steps.push(step);
                }
                LaunchStep::StartDaemon { .. } => return self.start(),
                LaunchStep::AttachToSharedDaemon { .. } | LaunchStep::AttachToOwnDaemon { .. } => {
                    return self.attach();
                }
                LaunchStep::RunOnFallback
                | LaunchStep::LeaveNewerConfig
                | LaunchStep::Refuse
                | LaunchStep::Fail
                | LaunchStep::StartNoDaemon { .. } => {}
            }
        }
        let Some(refusal) = stage.refusal else { return Ok(()) };
        // Reports the refusal once.
        self.outcome.diagnostics.retain(|diagnostic| diagnostic.code != refusal.code);
        Err(refusal)
    }

    /// Moves the state under the lock, and reports each failure. Returns false if a daemon prevents
    /// the repair of the config too.
    fn migrate(&mut self, config_socket: Option<&Utf8Path>) -> bool {
        let (Some(plan), Some(lock)) = (self.migration.take(), &self.lock) else { return true };
        let watch = Watch { daemons: self.context.daemons, config_socket };
        let report = self.context.migrator.execute(lock.home_lock(), plan, &watch);
        let diagnostics = move_diagnostics(self.context.disk, &report, self.options.program);
        self.outcome.diagnostics.extend(diagnostics.map(collision_as_warning));
        let may_repair = !report.refusals.iter().any(MigrationError::is_about_a_daemon);
        self.outcome.migration = Some(report);
        may_repair
    }

    /// Repairs and completes the config. Stores the failure to write a routine backup or the
    /// defaults for the end of the run, and reports the failure of a repair at once.
    fn apply_config_steps(&mut self, pending: &Pending) {
        let Some(lock) = &self.lock else { return };
        let outcome = &mut self.outcome;
        match lock.apply(self.ids) {
            Ok(Applied { document, steps, report, diagnostics: findings, .. }) => {
                outcome.document = document;
                // If another launch repaired the file meanwhile, keeps the report of what this
                // launch saw first, and adds the new diagnostics.
                if !steps.is_empty() {
                    outcome.diagnostics.extend(wrote_where_others_can(self.context));
                    outcome.config = report;
                    outcome.config_steps = steps;
                    outcome.findings = findings;
                } else {
                    let more = findings.into_iter().filter(|found| !outcome.findings.contains(found));
                    let more: Vec<_> = more.collect();
                    outcome.findings.extend(more);
                }
                if outcome.diagnostics.iter().any(|diagnostic| diagnostic.code == SYNC_UNCONFIRMED) {
                    outcome.findings.retain(|found| found.code != SYNC_UNCONFIRMED);
                }
            }
            Err(error) if pending.repairs() || pending.daemon_half() => {
                outcome.diagnostics.push(Diagnostic::from(&error));
            }
            Err(error) => {
                let diagnostic = Diagnostic::from(&error);
                // The config may lie where nothing can be written, for example behind a symlink
                // into a read-only store.
                self.unwritten_backup = Some(match pending.is_housekeeping() {
                    true => diagnostic.as_warning(),
                    false => diagnostic,
                });
            }
        }
    }
}

/// Carries out a step about a file that a daemon reads when it starts.
pub(super) fn execute_file_step(
    context: &Context<'_>,
    lock: &dyn LockedStore,
    step: &LaunchStep,
) -> Result<Vec<Diagnostic>, Diagnostic> {
    let diagnostic = match step {
        LaunchStep::BackUpDaemonConfig => back_up_daemon_config(context, lock)?,
        LaunchStep::SetDaemonConfigAside => return set_daemon_config_aside(context, lock),
        LaunchStep::KeepCorruptFile { path } => {
            if *path == corrupt_config_path(context) {
                let previous = context.disk.read(path, CONFIG_LIMIT).unwrap_or_default();
                keep_settings_in(context, lock, &previous);
            }
            keep_corrupt_file(context, lock.home_lock(), path)?
        }
        LaunchStep::MendState { path } => mend_state(context, lock.home_lock(), path)?,
        LaunchStep::CopyNewerState { path } => copy_newer_state(context, lock.home_lock(), path)?,
        LaunchStep::RebasePaths { .. } => return rebase_paths(context, lock),
        LaunchStep::Move { .. } => return restore_names(context, lock.home_lock()),
        _ => None,
    };
    Ok(diagnostic.into_iter().collect())
}

/// Gives the files their names back that a launch with nothing to move does not look for: the only
/// copies of rosters and states, in temporary files in the daemon home.
/// Fails if a file cannot get its name back. No daemon may be started then.
fn restore_names(context: &Context<'_>, lock: &LockedDir) -> Result<Vec<Diagnostic>, Diagnostic> {
    let plan = locked_forward_plan(context, lock);
    let watch = Watch { daemons: context.daemons, config_socket: None };
    let report = context.migrator.execute(lock, plan, &watch);
    let diagnostics = move_diagnostics(context.disk, &report, PROGRAM).map(collision_as_warning);
    let (errors, warnings): (Vec<_>, Vec<_>) = diagnostics.partition(Diagnostic::is_error);
    errors.into_iter().next().map_or(Ok(warnings), Err)
}

/// Looks for daemons again right before the move begins.
pub(super) struct Watch<'a> {
    pub(super) daemons: &'a dyn Daemons,
    /// The control socket that an overwritten config names.
    pub(super) config_socket: Option<&'a Utf8Path>,
}

impl LiveDaemons for Watch<'_> {
    fn live(&self) -> Vec<LiveDaemon> {
        self.daemons.live(self.config_socket).iter().map(LiveDaemon::from).collect()
    }

    fn are_of(&self, homes: &Homes) -> bool {
        self.daemons.are_of(homes)
    }
}

/// Ends a daemon. Adds it to `stopped` if it ran.
pub(super) fn stop_daemon(
    daemons: &dyn Daemons,
    found: &RunningDaemon,
    stopped: &mut Vec<LiveDaemon>,
) -> Result<(), MigrationError> {
    let daemon = LiveDaemon::from(found);
    match daemons.stop(found) {
        Ok(StoppedDaemon::WasAbsent) => {}
        Ok(_) => stopped.push(daemon),
        Err(error) => {
            // Replaces the hint: its command, which ends the daemon, has just failed.
            let command = error.hint().unwrap_or_else(|| format!("ls -ld {}", quote(&daemon.socket)));
            return Err(daemon.refusal(command, Some(error.to_string())));
        }
    }
    Ok(())
}

/// Ends the daemons in `live`, in order, up to one that it may not end, and adds them to `stopped`.
pub(super) fn stop_daemons(
    daemons: &dyn Daemons,
    live: &[RunningDaemon],
    options: &Options<'_>,
    stopped: &mut Vec<LiveDaemon>,
) -> Result<(), Diagnostic> {
    let Stage { steps, refusal, .. } = Stage::stopping(live, options);
    live.iter().take(steps.len()).try_for_each(|daemon| stop_daemon(daemons, daemon, stopped))?;
    refusal.map_or(Ok(()), Err)
}
