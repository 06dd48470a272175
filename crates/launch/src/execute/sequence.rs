//! The app's start-up sequence: moves the daemon's files, loads the config and repairs it if need
//! be, attaches to a daemon or starts one, and brings its networks in line.
//!
//! [`launch`] works on traits, so a sibling app can replace one part, and a test all of them. It
//! never fails: the app must come up whatever the disk says, so the outcome always holds a config
//! to run on, beside the diagnostics. `stage` decides the steps.
//! [`plan`](crate::plan()) returns the steps of both without executing them. The sequence decides
//! each stage again under the lock, then executes its steps.

use std::sync::Arc;
use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_config_store::{Applied, FileShape, Loaded, LockedStore, Pending, Step, StoreError};
use myownllm_daemon::{DaemonControl, Decision, Role, SpawnError, Status, reconcile};
use myownllm_durable_fs::{SYNC_UNCONFIRMED, make_dirs};
use myownllm_identity::{Answer, IdentityPaths, start_permit};
use myownllm_migration::{Direction, MigrationError, Options as MoveOptions, Plan as MovePlan};
use myownllm_paths::camino::Utf8Path;

use crate::context::{Context, Options, lock_home, try_lock};
use crate::daemons::networks::{
    ConnectedDaemon, Reconciled, Wanted, out_of_line, plan_for, reconcile_diagnostics, reconcile_networks,
};
use crate::daemons::{GRACE, LAST_BREATH, OPERATION, abandoned_diagnostic};
use crate::execute::outcome::{Daemon, Outcome};
use crate::execute::recurrence::Recurrence;
use crate::execute::stop::{died_diagnostic, not_stopped_diagnostic};
use crate::files::daemon_config::unknown_value_diagnostic;
use crate::files::identity::{ensure_home, identity_answer, other_known_identity, protect_held_key};
use crate::files::losses::{lost_settings, may_have_lost_networks};
use crate::files::misnamed::misnamed_states;
use crate::files::moves::{Watch, collision_as_warning, forward_plan, move_diagnostics};
use crate::homes::closed::{name_one_cause, unknown_shared};
use crate::homes::trust::{close_secrets, ensure_changeable, wrote_where_others_can};
use crate::plan::stage::{
    ConfigInUse, HomeInspection, Stage, ensure_permitted, execute_file_step, stop_daemon,
};
use crate::plan::start::{CONFIG_SOCKET_UNREADABLE, failed_override, failed_start};
use crate::step::LaunchStep;
use crate::words::diagnostic::{Class, Diagnostic, add_unreported};

/// Runs the start-up sequence.
///
/// Takes no lock and writes nothing if nothing is pending and a daemon runs (or none is wanted);
/// then it costs a handful of `stat` calls.
pub fn launch(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> Outcome {
    let options = &options.of(context);
    let (outcome, look) = load(context, ids);
    let found_config_to_write = look.pending.as_ref().is_some_and(|pending| {
        pending.repairs() || (pending.writes_config() && outcome.shape == FileShape::Missing)
    });
    let mut run = Run {
        context,
        options,
        ids,
        lock: None,
        found_config_to_write,
        migration: None,
        is_move_durable: false,
        unwritten_backup: None,
        client: None,
        occupied: None,
        lost_connection: None,
        reprobed: 0,
        exited: 0,
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
    protect_held_key(context, &mut outcome.diagnostics);
    name_one_cause(context.disk, context.layout, &mut outcome.diagnostics);
    // A launch reports a newer config as an error: the finding with the same code would repeat it.
    let is_reported =
        |code: &str| outcome.diagnostics.iter().any(|told| told.is_error() && told.code == code);
    let is_newer = is_reported("store.newer");
    let findings = outcome.findings.iter().filter(|found| !is_reported(found.code));
    let findings: Vec<Diagnostic> = findings.map(Diagnostic::from).collect();
    outcome.diagnostics.extend(findings);
    // The losses come last, so that they stay on the screen.
    let is_written = outcome.config_steps.iter().any(Step::writes_config);
    let lost = lost_settings(context, &outcome.document, &outcome.config, is_written);
    // Reports no loss for a newer config: this launch did not write it.
    outcome.diagnostics.extend(lost.filter(|_| !is_newer));
    let is_lost = outcome.has_lost_daemon();
    if let Daemon::Spawned(spawned) = &mut outcome.daemon
        && is_lost
        && let Ok(Some(status)) = spawned.wait_within(LAST_BREATH)
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
        is_settled_by_another: false,
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

/// The largest number of daemons that may exit while one launch uses them, one after the other:
/// parallel `launch --once` runs each stop the daemon that they started.
const MAX_EXITED_DAEMONS: usize = 32;
/// The largest number of probes of a daemon that keeps closing its connections.
const MAX_PROBES_OF_ONE_DAEMON: usize = 4;
const REPROBE_PAUSE: Duration = Duration::from_millis(50);

/// A daemon that closed the connection of this launch, and the errors that this caused.
struct LostConnection {
    /// The process of the daemon, if the system tells it.
    pid: Option<u32>,
    errors: Vec<Diagnostic>,
}

struct Run<'r, 'a> {
    context: &'r Context<'a>,
    options: &'r Options<'r>,
    ids: &'r mut dyn Ids,
    /// The lock, if it had to be taken.
    lock: Option<Box<dyn LockedStore + 'a>>,
    /// True if the first look found a config to write anew or to repair.
    found_config_to_write: bool,
    migration: Option<MovePlan>,
    /// True once this run has synced what an earlier run moved.
    is_move_durable: bool,
    /// The diagnostic of a routine backup, or of defaults, that could not be written: the launch
    /// reports this failure and goes on.
    unwritten_backup: Option<Diagnostic>,
    /// The connection over which a daemon answered.
    client: Option<Box<dyn DaemonControl>>,
    /// The error of a start during which another process took the socket.
    occupied: Option<SpawnError>,
    /// The daemon that closed the connection last.
    lost_connection: Option<LostConnection>,
    /// The daemons that closed a connection and ran on, and those that exited.
    reprobed: usize,
    exited: usize,
    outcome: Outcome,
}

impl<'a> Run<'_, 'a> {
    fn change_home(&mut self, look: HomeInspection) -> Result<(), Diagnostic> {
        ensure_permitted(self.context, self.options)?;
        let look = self.lock_if_pending(look)?;
        let migrator = self.context.migrator;
        let lock = self.lock.as_deref().filter(|_| look.moves);
        self.migration = lock.map(|lock| {
            let inventory = migrator.inspect_locked(lock.home_lock(), Direction::Forward);
            migrator.plan(&inventory, &MoveOptions::forward())
        });
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

    /// Syncs what an earlier run moved, once, unless this run has moved the files itself. A launch
    /// without the lock changes nothing and starts no daemon, so nothing relies on the move.
    fn ensure_move_durable(&mut self) -> Result<(), Diagnostic> {
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
        } else if self.found_config_to_write && !loaded.pending.writes_config() {
            // Another process has written or repaired the config since the first inspection.
            self.outcome.is_settled_by_another = true;
            self.outcome.config = loaded.report;
            self.outcome.findings = loaded.diagnostics;
        }
        Ok(look)
    }

    /// Carries out the steps in order, and stops at the first that fails.
    fn execute(&mut self, stage: Stage) -> Result<(), Diagnostic> {
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
        self.outcome.diagnostics.retain(|told| told.code != refusal.code);
        Err(refusal)
    }

    /// Moves the state under the lock, and reports each failure. Returns false if a daemon prevents
    /// the repair of the config too.
    fn migrate(&mut self, config_socket: Option<&Utf8Path>) -> bool {
        let (Some(plan), Some(lock)) = (self.migration.take(), &self.lock) else { return true };
        let watch = Watch { daemons: self.context.daemons, config_socket };
        let report = self.context.migrator.execute(lock.home_lock(), plan, &watch);
        let told = move_diagnostics(self.context.disk, &report, self.options.program);
        self.outcome.diagnostics.extend(told.map(collision_as_warning));
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
                if outcome.diagnostics.iter().any(|told| told.code == SYNC_UNCONFIRMED) {
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

    /// Attaches to a daemon or starts one, and brings the daemon's networks in line. Looks again
    /// whenever the answer may have changed, and takes the lock before it starts a daemon.
    /// `identity` is the active identity file after the move.
    fn use_daemon(&mut self, identity: &Answer) -> Result<(), Diagnostic> {
        let context = self.context;
        let migration = forward_plan(context);
        if self.outcome.class().is_none() {
            // Every problem that keeps the move from being complete is an error, even if nothing is
            // left to be moved: a daemon that starts beside an unmoved identity file would create a
            // second identity.
            let doubts = migration.refusals.iter().chain(&migration.errors).map(Diagnostic::from);
            self.outcome.diagnostics.extend(doubts);
        }
        // A daemon is used only if nothing in the home is in doubt.
        if self.outcome.class().is_some() {
            self.outcome.steps.push(LaunchStep::no_daemon());
            return Ok(());
        }
        let steps = &mut self.outcome.steps;
        let expected = identity.expected().inspect_err(|_| steps.push(LaunchStep::no_daemon()))?;
        let (mut has_waited, mut has_stopped) = (false, false);
        loop {
            let (detection, client) = context.daemons.detect(&expected);
            if let Some(lost) = self.lost_connection.take()
                && !self.prepare_reconnect(lost, &detection.decision)
            {
                return Ok(());
            }
            let starts = matches!(detection.decision, Decision::Spawn);
            if starts && let Some(error) = self.occupied.take() {
                return Err(failed_start(context, &error, &mut self.outcome.diagnostics));
            }
            if starts && self.lock.is_none() {
                self.lock = Some(lock_home(context, self.options)?);
                // The process that held the lock may have started the daemon that this launch
                // wants.
                continue;
            }
            // No other launch starts a daemon while this one holds the lock: a daemon that is
            // starting now was started by a launch that has been killed.
            if starts && !std::mem::replace(&mut has_waited, true) {
                let is_cancelled = || self.options.is_cancelled();
                if context.daemons.await_starting(&is_cancelled) {
                    if is_cancelled() {
                        return Err(Diagnostic::from(SpawnError::Cancelled));
                    }
                    continue;
                }
            }
            let (document, is_in_doubt) = (&self.outcome.document, self.has_lost_networks());
            let config = ConfigInUse { document, is_in_doubt, is_backed_up: false };
            let mut stage = Stage::of_daemon(context, self.options, &detection.decision, &migration, config);
            self.outcome.detection = Some(detection);
            self.client = client;
            let is_stop = |step: &LaunchStep| matches!(step, LaunchStep::StopDaemon { .. });
            // A daemon unlinks its socket path on exit, even if another daemon has bound it since.
            let looks_again = stage.steps.iter().any(is_stop) && !std::mem::replace(&mut has_stopped, true);
            if looks_again {
                stage.steps.retain(is_stop);
            }
            self.execute(stage)?;
            if !looks_again && self.occupied.is_none() && self.lost_connection.is_none() {
                return Ok(());
            }
        }
    }

    /// Prepares another connection after a daemon closed the former one: pauses, and forgets what
    /// that daemon did. Returns false, and reports the errors, if this launch must not connect
    /// again. A daemon closes its connections before it exits, so it may still answer.
    fn prepare_reconnect(&mut self, lost: LostConnection, decision: &Decision) -> bool {
        let is_same_daemon = |pid| lost.pid.is_none() || pid == lost.pid;
        let still_runs = matches!(decision, Decision::Attach { pid, .. } if is_same_daemon(*pid));
        self.reprobed += usize::from(still_runs);
        // A second reconciliation of one daemon would report its network changes twice.
        let is_reconciled = still_runs && self.outcome.reconciled.is_some();
        let is_over = self.reprobed > MAX_PROBES_OF_ONE_DAEMON || self.exited > MAX_EXITED_DAEMONS;
        if is_reconciled || is_over {
            self.outcome.diagnostics.extend(lost.errors);
            return false;
        }
        if still_runs {
            std::thread::sleep(REPROBE_PAUSE);
        } else {
            self.exited += 1;
        }
        (self.outcome.daemon, self.outcome.reconciled) = (Daemon::None, None);
        true
    }

    /// Starts a daemon in the daemon home, and brings its networks in line.
    fn start(&mut self) -> Result<(), Diagnostic> {
        let context = self.context;
        let home = &context.layout.daemon_home;
        let Some(lock) = self.lock.as_deref() else { return Ok(()) };
        make_dirs(lock.home_lock(), context.layout.app_home.as_ref(), home.as_ref(), 0o700, None)
            .map_err(|error| Diagnostic::from(error).at(home))?;
        self.outcome.diagnostics.extend(close_secrets(context, lock.home_lock()));
        self.outcome.diagnostics.extend(other_known_identity(context));
        self.outcome.diagnostics.extend(unknown_value_diagnostic(context));
        self.outcome.diagnostics.extend(misnamed_states(context, &self.outcome.document));
        self.ensure_move_durable()?;
        let Some(lock) = self.lock.as_deref() else { return Ok(()) };
        let permit = start_permit(lock.home_lock(), &IdentityPaths::of(context.layout))?;
        let mut spawned = match context.daemons.spawn(permit, &|| self.options.is_cancelled()) {
            Ok(spawned) => spawned,
            Err(error) => {
                self.outcome.tried = error.tried().to_vec();
                if let SpawnError::Occupied { .. } = error {
                    // Looks for the daemon that took the socket.
                    self.occupied = Some(error);
                    return Ok(());
                }
                return Err(failed_start(context, &error, &mut self.outcome.diagnostics));
            }
        };
        self.outcome.diagnostics.extend(failed_override(spawned.tried()));
        let client = spawned.take_client(OPERATION);
        self.client = client.map(|client| Box::new(client) as Box<dyn DaemonControl>);
        let daemon = ConnectedDaemon::new(Role::Own, spawned.endpoint().clone(), Some(spawned.pid()));
        let status = spawned.status().clone();
        self.outcome.daemon = Daemon::Spawned(spawned);
        let reconciled = self.reconcile_daemon(daemon, status);
        // The daemon is in the networks of its config, which the user may not have activated.
        if let Err(error) = &reconciled
            && error.is_error()
            && error.class != Class::Daemon
            && let Daemon::Spawned(spawned) = std::mem::take(&mut self.outcome.daemon)
            && let Err(error) = spawned.stop(GRACE)
        {
            self.outcome.diagnostics.push(not_stopped_diagnostic(&error));
        }
        reconciled
    }

    /// Attaches to the daemon that was found, and brings its networks in line. The daemon may end
    /// meanwhile, for example if another `launch --once` started it and stops it.
    fn attach(&mut self) -> Result<(), Diagnostic> {
        const ENDED: [&str; 3] = ["daemon.closed", "daemon.replaced", "daemon.unreachable"];
        self.occupied = None;
        let decision = self.outcome.detection.as_ref().map(|detection| detection.decision.clone());
        let Some(Decision::Attach { role, endpoint, status, pid, rule }) = decision else { return Ok(()) };
        let daemon = ConnectedDaemon::new(role, endpoint.clone(), pid);
        self.outcome.daemon = Daemon::Attached { role, endpoint, status: status.clone(), pid, rule };
        let told = self.outcome.diagnostics.len();
        let failed = self.reconcile_daemon(daemon, status).err();
        let more = self.outcome.diagnostics.get(told..).unwrap_or_default();
        let is_closed = failed.iter().chain(more).any(|told| told.is_error() && ENDED.contains(&&*told.code));
        if is_closed {
            let mut errors = self.outcome.diagnostics.split_off(told);
            errors.extend(failed);
            self.lost_connection = Some(LostConnection { pid, errors });
        } else if let Some(failed) = failed {
            return Err(failed);
        } else if role == Role::Shared {
            let found = self.context.daemons.survey(None);
            let found = out_of_line(self.context, &found, &self.outcome.document, self.options.program);
            self.outcome.diagnostics.extend(found);
        }
        Ok(())
    }

    /// Connects to the daemon unless a connection is open, and brings its networks in line with the
    /// config.
    fn reconcile_daemon(&mut self, daemon: ConnectedDaemon, status: Status) -> Result<(), Diagnostic> {
        let _span = tracing::info_span!("reconcile", socket = %daemon.socket).entered();
        let client = self.client.take().map_or_else(|| self.context.daemons.connect(&daemon.socket), Ok);
        let mut client = client?;
        if let Some(cancelled) = self.options.cancelled {
            client.set_cancel_flag(Arc::clone(cancelled));
        }
        let reconciled = self.reconcile_under_lock(&mut *client, daemon, status)?;
        self.outcome.diagnostics.extend(reconcile_diagnostics(&reconciled, self.options.program));
        self.outcome.reconciled = Some(reconciled);
        Ok(())
    }

    /// Brings the daemon's networks in line with the config on the disk.
    ///
    /// Plans and executes under the lock, from the config as it is then: otherwise two processes
    /// that change the active network at once would each leave the daemon with their own network.
    /// If there is nothing to do, takes no lock: a process that changes the config meanwhile brings
    /// the daemon in line with it.
    fn reconcile_under_lock(
        &mut self,
        client: &mut dyn DaemonControl,
        daemon: ConnectedDaemon,
        mut status: Status,
    ) -> Result<Reconciled, Diagnostic> {
        let context = self.context;
        let is_in_doubt = self.has_lost_networks();
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => {
                let wanted = Wanted { context, document: &mut self.outcome.document, is_in_doubt };
                let (plan, _) = plan_for(&wanted, client, status, daemon.role)?;
                if plan.is_empty() {
                    let outcome = reconcile::Outcome::default();
                    return Ok(Reconciled { daemon, plan, outcome, backup: None });
                }
                let lock = lock_home(self.context, self.options)?;
                status = client.status()?;
                lock
            }
        };
        let lock = &**self.lock.insert(lock);
        let loaded = context.store.load(self.ids)?;
        self.outcome.document = loaded.document;
        let mut wanted = Wanted { context, document: &mut self.outcome.document, is_in_doubt };
        reconcile_networks(&mut wanted, (lock, &mut *self.ids), client, daemon, status)
    }

    fn has_lost_networks(&self) -> bool {
        may_have_lost_networks(&self.outcome.config, &self.outcome.findings)
    }
}
