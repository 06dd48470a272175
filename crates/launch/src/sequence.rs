//! The app's start-up sequence: migrates, loads and if need be repairs the config, attaches to a
//! daemon or starts one, and brings its networks in line.
//!
//! [`launch`] works on traits, so a sibling app can replace one part, and a test all of them. It
//! never fails: the app must come up whatever the disk says, so the outcome always holds a config
//! to run on, beside the diagnostics. The plans of `home` and `daemon_plan` decide what is done;
//! [`plan`](crate::plan()) combines these plans for a caller that only asks. The sequence makes the
//! plans again under the lock, and carries them out.

use std::sync::Arc;
use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_config_store::{
    Applied, FileShape, LOST_NETWORKS, Loaded, LockedStore, Loss, Pending, Step, StoreError,
};
use myownllm_daemon::{
    DaemonControl, Decision, Detection, Expected, Role, SpawnError, Spawned, Status, reconcile,
};
use myownllm_durable_fs::{LockError, SYNC_UNCONFIRMED, make_dirs};
use myownllm_identity::Answer;
use myownllm_migration::{Direction, MigrationError, Options as MoveOptions};

use crate::closed::name_one_cause;
use crate::context::{Context, Options};
use crate::daemon_config::settle_daemon_config;
use crate::daemon_plan::{Preparation, undecided};
use crate::daemons::{OPERATION, abandoned_diagnostic};
use crate::diagnostic::{Diagnostic, add_untold};
use crate::home::{HomePlan, Work, ensure_permitted, stop_daemons};
use crate::identity::{ensure_no_new_home, identity_answer, start_permit};
use crate::losses::lost_settings;
use crate::moves::{COLLISION, Watch, move_diagnostics};
use crate::networks::{ConnectedDaemon, Reconciled, Wanted, plan_for, reconcile, reconcile_diagnostics};
use crate::no_daemon;
use crate::outcome::{Daemon, Outcome};
use crate::peers::{keep_corrupt_files, settle_states};
use crate::relapse::Relapse;
use crate::start::{LEAKED, refusal_diagnostic};
use crate::trust::{close_secrets, ensure_changeable, wrote_where_others_can};
use crate::waiting::{LOCK_STEP, lock_home};

/// Runs the sequence.
///
/// A start with nothing pending takes no lock, writes nothing, and looks at a handful of names.
pub fn launch(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> Outcome {
    let options = &options.of(context);
    let (outcome, pending) = load(context, ids);
    let writes = pending.as_ref().is_some_and(|pending| {
        pending.repairs() || (pending.writes_config() && outcome.shape == FileShape::Missing)
    });
    let mut run = Run { context, options, ids, lock: None, writes, outcome };
    match run.settle(pending) {
        Ok(routine) => {
            let answer = identity_answer(context);
            add_untold(&mut run.outcome.diagnostics, answer.refusal().map(Diagnostic::from));
            // A daemon is used only if nothing in the home is in doubt: a daemon that starts beside
            // an identity file that could not be moved would make a second one.
            if options.daemon && run.outcome.class().is_none() {
                let used = expected_of(context, &answer).and_then(|expected| run.use_daemon(&expected));
                run.outcome.diagnostics.extend(used.err().into_iter().flatten());
            }
            run.outcome.diagnostics.extend(routine);
        }
        // If the config cannot be read, the run has reported that: the socket that the config may
        // name adds nothing.
        Err(diagnostic) if run.outcome.stand_in && diagnostic.code == LEAKED => {}
        Err(diagnostic) => run.outcome.diagnostics.push(diagnostic),
    }
    let mut outcome = run.outcome;
    complete(context, options, &mut outcome);
    outcome
}

/// Adds the diagnostics of the run as a whole.
fn complete(context: &Context<'_>, options: &Options<'_>, outcome: &mut Outcome) {
    if options.daemon {
        // Looks for abandoned sockets after the start of a daemon, which removes a socket in its
        // way.
        let abandoned = context.daemons.abandoned_sockets();
        outcome.diagnostics.extend(abandoned.iter().map(abandoned_diagnostic));
    }
    name_one_cause(context.disk, context.layout, &mut outcome.diagnostics);
    // The error that a newer config is for a launch tells what the look at it found.
    let is_told = |code: &str| outcome.diagnostics.iter().any(|told| told.is_error() && told.code == code);
    let is_newer = is_told("store.newer");
    let findings = outcome.findings.iter().filter(|found| !is_told(found.code));
    let findings: Vec<Diagnostic> = findings.map(Diagnostic::from).collect();
    outcome.diagnostics.extend(findings);
    // The losses come last, where a person reads them last.
    let is_written = outcome.config_steps.iter().any(Step::writes_config);
    let is_myownllm = context.is_myownllm();
    let lost = lost_settings(
        &outcome.document,
        &outcome.config,
        context.layout.app_config.as_std_path(),
        is_written,
        is_myownllm,
    );
    // A config of a newer version is never written.
    outcome.diagnostics.extend(lost.filter(|_| !is_newer));
    outcome.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.complete_hint(options.program));
}

/// Returns the config to run on, whatever the file is, and the steps that are to write it: `None`
/// if the file must not be touched.
fn load(context: &Context<'_>, ids: &mut dyn Ids) -> (Outcome, Option<Pending>) {
    let (loaded, failed) = match context.store.load(ids) {
        Ok(loaded) => {
            let newer = loaded.newer_error(&context.layout.app_config);
            (loaded, newer)
        }
        Err(error) => (context.store.fallback(ids), Some(error)),
    };
    let Loaded { document, shape, pending, report, diagnostics: findings, .. } = loaded;
    let pending = failed.is_none().then_some(pending);
    let stand_in = matches!(&failed, Some(error) if !matches!(error, StoreError::Newer { .. }));
    let diagnostics = failed.iter().map(Diagnostic::from).collect();
    let outcome = Outcome {
        document,
        stand_in,
        shape,
        is_settled_by_another: false,
        config: report,
        config_steps: Vec::new(),
        relapse: None,
        stopped: Vec::new(),
        migration: None,
        daemon: Daemon::None,
        tried: Vec::new(),
        detection: None,
        reconciled: None,
        findings,
        diagnostics,
    };
    (outcome, pending)
}

/// One run of the sequence.
struct Run<'r, 'a> {
    context: &'r Context<'a>,
    options: &'r Options<'r>,
    ids: &'r mut dyn Ids,
    /// The lock, if it had to be taken.
    lock: Option<Box<dyn LockedStore + 'a>>,
    /// True if the first look found a config to write anew or to repair.
    writes: bool,
    outcome: Outcome,
}

/// The result of the look for a daemon, and the connection over which the daemon answered.
type Found = (Detection, Option<Box<dyn DaemonControl>>);

impl<'a> Run<'_, 'a> {
    /// Moves and repairs what is pending. Returns the diagnostic of a routine backup, or of
    /// defaults, that could not be written: the launch reports this failure and goes on.
    fn settle(&mut self, pending: Option<Pending>) -> Result<Option<Diagnostic>, Diagnostic> {
        ensure_permitted(self.context, self.options)?;
        let touches = pending.is_some();
        let Some(lock) = self.lock_to_work(pending)? else { return Ok(None) };
        // Under the lock, no other launch changes the home any more: looks again.
        ensure_changeable(self.context)?;
        let pending = self.look_again(touches)?;
        let work = Work::look(self.context, pending);
        let plan = HomePlan::new(self.context, self.options, &work, Some(&self.outcome.config));
        add_untold(&mut self.outcome.diagnostics, plan.unknown_processes.clone());
        // Looks for a relapse before the launch ends a daemon that may be the cause, and reports it
        // even if nothing may be repaired.
        if work.pending.as_ref().is_some_and(Pending::repairs)
            && let Some(relapse) = Relapse::of(self.context, self.options, self.outcome.shape, &plan.live)
        {
            self.outcome.diagnostics.push(relapse.diagnostic(self.context, self.options));
            self.outcome.relapse = Some(relapse);
        }
        self.stop(&plan)?;
        add_untold(&mut self.outcome.diagnostics, plan.missing_key.clone());
        let lock = &**self.lock.insert(lock);
        if plan.moves && !migrate(self.context, self.options, lock, &plan, &mut self.outcome) {
            return Ok(None);
        }
        let routine = match &work.pending {
            Some(pending) => apply(self.context, self.ids, lock, pending, &mut self.outcome),
            None => None,
        };
        // Runs after the repair: if the misplaced file holds the app's config, the repair reads it.
        if self.outcome.class().is_none() {
            settle_daemon_config(self.context, self.options, lock, &mut self.outcome)?;
        }
        Ok(routine)
    }

    /// Takes the lock. Returns `None` if there is nothing to do, or if another process does it
    /// meanwhile.
    fn lock_to_work(
        &mut self,
        mut pending: Option<Pending>,
    ) -> Result<Option<Box<dyn LockedStore + 'a>>, Diagnostic> {
        let mut waited = Duration::ZERO;
        let touches = pending.is_some();
        loop {
            let work = Work::look(self.context, pending);
            if work.is_done() {
                let plan = HomePlan::new(self.context, self.options, &work, None);
                return self.stop(&plan).map(|()| None);
            }
            ensure_no_new_home(self.context)?;
            self.context.store.ensure_home().map_err(|error| Diagnostic::from(&error))?;
            let step = LOCK_STEP.min(self.options.lock_wait.saturating_sub(waited));
            match self.context.store.lock(step) {
                Ok(lock) => return Ok(Some(lock)),
                Err(LockError::Held { .. }) if self.options.is_cancelled() => {
                    return Err(Diagnostic::from(&SpawnError::Cancelled));
                }
                Err(LockError::Held { .. }) if waited + step < self.options.lock_wait => {
                    self.options.tell_of_wait(&self.context.layout.app_home, waited);
                    waited += step;
                }
                Err(LockError::Held { home, .. }) => {
                    return Err(Diagnostic::from(&LockError::Held { home, waited: waited + step }));
                }
                Err(error) => return Err(Diagnostic::from(&error)),
            }
            // The process that holds the lock may be doing the same work. Then there is nothing to
            // wait for.
            pending = self.look_again(touches)?;
        }
    }

    /// Ends the daemons that the plan names, then stops at its refusal.
    fn stop(&mut self, plan: &HomePlan) -> Result<(), Diagnostic> {
        stop_daemons(self.context.daemons, &plan.stops, &mut self.outcome.stopped)?;
        plan.refusal.clone().map_or(Ok(()), Err)
    }

    /// Loads the config once more, after time has passed. `touches` is false if the file must not
    /// be touched at all.
    ///
    /// A file that could be read before and cannot be read now is a failure, and never "nothing to
    /// do".
    fn look_again(&mut self, touches: bool) -> Result<Option<Pending>, Diagnostic> {
        if !touches {
            return Ok(None);
        }
        let loaded = self.context.store.load(self.ids).map_err(|error| Diagnostic::from(&error))?;
        self.outcome.document = loaded.document;
        if loaded.pending.repairs() {
            self.outcome.shape = loaded.shape;
            self.outcome.config = loaded.report;
        } else if self.writes && !loaded.pending.writes_config() {
            // What the first look found is no longer so.
            self.outcome.is_settled_by_another = true;
            self.outcome.config = loaded.report;
            self.outcome.findings = loaded.diagnostics;
        }
        Ok(loaded.newer.is_none().then_some(loaded.pending))
    }

    /// Attaches to a daemon or starts one, and brings the daemon's networks in line.
    fn use_daemon(&mut self, expected: &Expected) -> Result<(), Vec<Diagnostic>> {
        let (found, spawned) = self.find_or_start(expected)?;
        let (detection, mut client) = found;
        let decision = detection.decision.clone();
        self.outcome.detection = Some(detection);
        let (asked, status) = match (spawned, decision) {
            (Some(mut spawned), _) => {
                client =
                    spawned.take_client(OPERATION).map(|client| Box::new(client) as Box<dyn DaemonControl>);
                let asked = ConnectedDaemon::new(Role::Own, spawned.endpoint().clone(), Some(spawned.pid()));
                let known = (asked, spawned.status().clone());
                self.outcome.daemon = Daemon::Spawned(spawned);
                known
            }
            (None, Decision::Attach { role, endpoint, status, pid, rule }) => {
                let known = (ConnectedDaemon::new(role, endpoint.clone(), pid), status.clone());
                self.outcome.daemon = Daemon::Attached { role, endpoint, status, pid, rule };
                known
            }
            (None, Decision::Refuse(refusal)) => return Err(one(refusal_diagnostic(self.context, &refusal))),
            (None, other) => return Err(one(undecided(&other))),
        };
        let mut client = match client {
            Some(client) => client,
            None => {
                let connected = self.context.daemons.connect(&asked.socket);
                connected.map_err(|error| one(Diagnostic::from(&error)))?
            }
        };
        if let Some(cancelled) = self.options.cancelled {
            client.set_cancel_flag(Arc::clone(cancelled));
        }
        let reconciled = self.bring_in_line(&mut *client, asked, status).map_err(one)?;
        let diagnostics = reconcile_diagnostics(&reconciled, self.options.program);
        self.outcome.reconciled = Some(reconciled);
        if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
    }

    /// Looks for a daemon, and starts one if none runs.
    fn find_or_start(&mut self, expected: &Expected) -> Result<(Found, Option<Spawned>), Vec<Diagnostic>> {
        let detect = |run: &Self| run.context.daemons.detect(expected);
        let mut found = detect(self);
        if let Decision::Attach { pid, .. } = found.0.decision {
            let beside = Preparation::of_attach(self.context, self.options, pid);
            let stops = !beside.stops.is_empty();
            self.prepare(beside)?;
            if stops {
                // A daemon unlinks its socket path on exit, even if another daemon has bound it
                // since: detects again.
                found = detect(self);
            }
        }
        if starts(&found) && self.lock.is_none() {
            self.lock = Some(lock_home(self.context, self.options).map_err(one)?);
            // The process that held the lock may have started the daemon that this launch wants.
            found = detect(self);
        }
        let options = self.options;
        // Under the lock, no other process starts a daemon now: a daemon on its way up was left
        // behind by a killed start.
        if starts(&found) && self.context.daemons.await_starting(&|| options.is_cancelled()) {
            if options.is_cancelled() {
                return Err(one(Diagnostic::from(&SpawnError::Cancelled)));
            }
            found = detect(self);
        }
        if !starts(&found) {
            return Ok((found, None));
        }
        self.outcome.detection = Some(found.0.clone());
        match self.start()? {
            Ok(started) => Ok((found, Some(started))),
            Err(error) => {
                self.outcome.tried = error.tried().to_vec();
                let found = come_up_meanwhile(self.context, expected, &error);
                found.map(|found| (found, None)).ok_or_else(|| no_daemon::diagnostics(self.context, &error))
            }
        }
    }

    /// Ends the daemons that are in the way, and adds the warnings before a daemon is used.
    fn prepare(&mut self, preparation: Preparation) -> Result<(), Vec<Diagnostic>> {
        let Preparation { stops, refusal, warnings } = preparation;
        add_untold(&mut self.outcome.diagnostics, warnings);
        stop_daemons(self.context.daemons, &stops, &mut self.outcome.stopped).map_err(one)?;
        let Some(refusal) = refusal else { return Ok(()) };
        // Removes diagnostics with the code of the refusal, so that the refusal is not reported
        // twice.
        self.outcome.diagnostics.retain(|told| told.code != refusal.code);
        Err(one(refusal))
    }

    /// Starts a daemon in the daemon home, unless something forbids it. The inner error is that no
    /// daemon came up.
    fn start(&mut self) -> Result<Result<Spawned, SpawnError>, Vec<Diagnostic>> {
        self.prepare(Preparation::of_start(self.context, self.options))?;
        let context = self.context;
        let home = &context.layout.daemon_home;
        let lock = self.lock.as_deref().ok_or_else(Vec::new)?;
        make_dirs(lock.home_lock(), context.layout.app_home.as_ref(), home.as_ref(), 0o700, None)
            .map_err(|error| one(Diagnostic::of_disk(&error).at(home)))?;
        keep_corrupt_files(context, lock.home_lock()).map_err(one)?;
        self.outcome.diagnostics.extend(settle_states(context, lock.home_lock()).map_err(one)?);
        self.outcome.diagnostics.extend(close_secrets(context, lock.home_lock()));
        tell_where_the_key_is(context, lock, &mut self.outcome).map_err(one)?;
        let permit =
            start_permit(context, lock.home_lock()).map_err(|refusal| one(Diagnostic::from(&refusal)))?;
        Ok(context.daemons.spawn(permit, &|| self.options.is_cancelled()))
    }

    /// Brings the daemon's networks in line with the config on the disk.
    ///
    /// Plans and executes under the lock, from the config as it is then: otherwise two processes
    /// that change the active network at once would each leave the daemon with their own network.
    /// If there is nothing to do, takes no lock: a process that changes the config meanwhile brings
    /// the daemon in line with it.
    fn bring_in_line(
        &mut self,
        daemon: &mut dyn DaemonControl,
        asked: ConnectedDaemon,
        mut status: Status,
    ) -> Result<Reconciled, Diagnostic> {
        let store = self.context.store;
        let is_in_doubt = self.may_have_lost_networks();
        let lock = match self.lock.take() {
            Some(lock) => lock,
            None => {
                let wanted = Wanted { store, document: &self.outcome.document, is_in_doubt };
                let (plan, _) = plan_for(&wanted, daemon, status, asked.role)?;
                if plan.is_empty() {
                    let outcome = reconcile::Outcome::default();
                    return Ok(Reconciled { daemon: asked, plan, outcome, backup: None });
                }
                let lock = lock_home(self.context, self.options)?;
                status = daemon.status().map_err(|error| Diagnostic::from(&error))?;
                lock
            }
        };
        let lock = &**self.lock.insert(lock);
        let loaded = store.load(self.ids).map_err(|error| Diagnostic::from(&error))?;
        self.outcome.document = loaded.document;
        let wanted = Wanted { store, document: &self.outcome.document, is_in_doubt };
        reconcile(&wanted, lock, daemon, asked, status)
    }

    /// True if the config has lost networks, as far as this run knows.
    fn may_have_lost_networks(&self) -> bool {
        let is_wiped = self.outcome.config.wiped.as_ref().is_some_and(|wipe| wipe.loss == Loss::Networks);
        is_wiped || self.outcome.findings.iter().any(|found| found.code == LOST_NETWORKS)
    }
}

fn one(diagnostic: Diagnostic) -> Vec<Diagnostic> {
    vec![diagnostic]
}

fn starts(found: &Found) -> bool {
    matches!(found.0.decision, Decision::Spawn)
}

/// Repairs and completes the config. Returns the failure of a routine backup, or of defaults; adds
/// the failure of a repair to the outcome.
fn apply(
    context: &Context<'_>,
    ids: &mut dyn Ids,
    lock: &dyn LockedStore,
    pending: &Pending,
    outcome: &mut Outcome,
) -> Option<Diagnostic> {
    let repairs = pending.repairs() || pending.daemon_half();
    let mut routine = None;
    match lock.apply(ids) {
        Ok(Applied { document, steps, report, diagnostics: findings, .. }) => {
            outcome.document = document;
            // If another launch repaired the file meanwhile, keeps the report of what this launch
            // saw first, and adds the new diagnostics.
            if !steps.is_empty() {
                outcome.diagnostics.extend(wrote_where_others_can(context));
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
        Err(error) => {
            let diagnostic = Diagnostic::from(&error);
            if repairs {
                outcome.diagnostics.push(diagnostic);
            } else if pending.is_housekeeping() {
                // The config lies where nothing can be written, for example behind a symlink into a
                // read-only store.
                routine = Some(diagnostic.as_warning());
            } else {
                routine = Some(diagnostic);
            }
        }
    }
    routine
}

/// Makes the move under the lock, and reports what went wrong. Returns false if a daemon turned up
/// that forbids the repair as well.
fn migrate(
    context: &Context<'_>,
    options: &Options<'_>,
    lock: &dyn LockedStore,
    plan: &HomePlan,
    outcome: &mut Outcome,
) -> bool {
    let watch = Watch { daemons: context.daemons, leaked: plan.leaked.as_deref() };
    let wanted = MoveOptions::forward().stopping_legacy_daemon(options.stop_legacy_daemon);
    let report = context.migrator.run(lock.home_lock(), &wanted, &watch);
    // Files that differ wait for the user's decision. The app goes on without them.
    outcome.diagnostics.extend(
        move_diagnostics(&report, options.program).map(|diagnostic| {
            if diagnostic.code == COLLISION { diagnostic.as_warning() } else { diagnostic }
        }),
    );
    let is_quiet = !report.refusals.iter().any(MigrationError::is_about_a_daemon);
    outcome.stopped.extend(report.stopped.iter().cloned());
    outcome.migration = Some(report);
    is_quiet
}

/// Looks once for the daemon that took the place of the daemon that was being started, which has
/// been ended by now.
fn come_up_meanwhile(
    context: &Context<'_>,
    expected: &Expected,
    error: &SpawnError,
) -> Option<(Detection, Option<Box<dyn DaemonControl>>)> {
    let SpawnError::Occupied { .. } = error else { return None };
    let found = context.daemons.detect(expected);
    (!matches!(found.0.decision, Decision::Spawn)).then_some(found)
}

/// Returns the key that a daemon must have. Every problem that keeps the move from being complete
/// is an error, even if nothing is left to be moved: a daemon would work beside it.
fn expected_of(context: &Context<'_>, answer: &Answer) -> Result<Expected, Vec<Diagnostic>> {
    let plan = context.migrator.plan(&context.migrator.inspect(Direction::Forward), &MoveOptions::forward());
    let doubts: Vec<Diagnostic> = plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from).collect();
    if !doubts.is_empty() {
        return Err(doubts);
    }
    answer.expected().map_err(|refusal| vec![Diagnostic::from(&refusal)])
}

/// Corrects the path of the identity file in the daemon's config: a repair that was made before the
/// move left the old location in it.
fn tell_where_the_key_is(
    context: &Context<'_>,
    lock: &dyn LockedStore,
    outcome: &mut Outcome,
) -> Result<(), Diagnostic> {
    for path in lock.mend_stale_paths().map_err(|error| Diagnostic::from(&error))? {
        let message =
            format!("{} of the daemon's config was {}, and is {} now", path.pointer, path.from, path.to);
        outcome
            .diagnostics
            .push(Diagnostic::info("daemon.path-rebased", message).at(&context.layout.daemon_config));
    }
    Ok(())
}
