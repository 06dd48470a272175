//! Uses a daemon for a launch: attaches to one or starts one, brings its networks in line, tries again
//! if it ends meanwhile, and reports why none came up.
//!
//! The loop of `Run::use_daemon`; each way back to the top is marked `continue`, with its reason:
//!
//! ```text
//!  ┌─▶ detect ── the connection was lost, too often or after its reconciliation ─▶ end
//!  │     │
//!  │   attach, or refuse ──────────────────────────────────────────────────────────┐
//!  │     │ spawn                                                                     │
//!  │     ├ the last start found the socket taken, and nobody is there now ─▶ end: the error
//!  │◀────┤ no lock yet: take it       continue: its previous holder may have started the daemon
//!  │◀────┤ a daemon is starting: wait (once)   continue: it answers now, or has ended
//!  │     │                                                                           │
//!  │     └────────────▶ Stage::of_daemon, execute: stop, start or attach, reconcile ◀┘
//!  │                       │
//!  │◀──────────────────────┤ only the stops were executed (once)   a daemon that exits unlinks its socket
//!  │◀──────────────────────┤ the socket was taken at the start     attach to the daemon that took it
//!  │◀──────────────────────┤ the daemon closed the connection      attach again, or start another one
//!  │                       └▶ end
//! ```

use std::sync::Arc;
use std::time::Duration;

use myownllm_daemon::{CandidateFailure, DaemonControl, Decision, Role, SpawnError, Status, reconcile};
use myownllm_durable_fs::make_dirs;
use myownllm_identity::{Answer, start_permit};
use myownllm_paths::Mode;

use crate::context::{Context, lock_home};
use crate::daemons::networks::{
    ConnectedDaemon, Reconciled, Reconciliation, plan_for, reconcile_diagnostics, reconcile_networks,
    unreconciled,
};
use crate::daemons::{REQUEST_TIMEOUT, STOP_TIMEOUT, not_stopped_diagnostic};
use crate::execute::outcome::Daemon;
use crate::execute::sequence::{LostConnection, Run};
use crate::files::daemon_config::{keep_droppable, refused_config, unknown_value_diagnostic};
use crate::files::identity::{ensure_home, known_identity, swap_without_daemon};
use crate::files::losses::may_have_lost_networks;
use crate::files::misnamed::misnamed_states;
use crate::files::moves::forward_plan;
use crate::homes::trust::close_secrets;
use crate::plan::foreseen::{is_full, no_room_diagnostic, unusable_log};
use crate::plan::stage::{ConfigInUse, Stage};
use crate::plan::start::{NOT_FOUND, failed_override, name_program};
use crate::step::LaunchStep;
use crate::words::diagnostic::{Class, Diagnostic};
use crate::words::hints::edit;

/// The largest number of daemons that may exit while one launch uses them, one after the other:
/// parallel `launch --once` runs each stop the daemon that they started.
const MAX_EXITED_DAEMONS: usize = 32;
/// The largest number of probes of a daemon that keeps closing its connections.
const MAX_PROBES_OF_ONE_DAEMON: usize = 4;
const REPROBE_PAUSE: Duration = Duration::from_millis(50);

impl Run<'_, '_> {
    /// Attaches to a daemon or starts one, and brings the daemon's networks in line. Looks again
    /// whenever the answer may have changed, and takes the lock before it starts a daemon.
    /// `identity` is the active identity file after the move.
    pub(super) fn use_daemon(&mut self, identity: &Answer) -> Result<(), Diagnostic> {
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
            if starts && let Some(error) = self.start_conflict.take() {
                return Err(failed_start(context, &error, &mut self.outcome.diagnostics));
            }
            if starts && self.lock.is_none() {
                // Without a schema nothing was pending in a home that is missing.
                ensure_home(context)?;
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
            if !looks_again && self.start_conflict.is_none() && self.lost_connection.is_none() {
                return Ok(());
            }
        }
    }

    /// Prepares another connection after a daemon closed the previous one: pauses, and forgets what
    /// that daemon did. Returns false, and reports the errors, if this launch must not connect
    /// again. A daemon closes its connections before it exits, so it may still answer.
    fn prepare_reconnect(&mut self, lost: LostConnection, decision: &Decision) -> bool {
        let is_same_daemon = |pid| lost.pid.is_none() || pid == lost.pid;
        let still_runs = matches!(decision, Decision::Attach { pid, .. } if is_same_daemon(*pid));
        self.probes_after_disconnect += usize::from(still_runs);
        // A second reconciliation of one daemon would report its network changes twice.
        let is_reconciled = still_runs && self.outcome.reconciled.is_some();
        let is_over =
            self.probes_after_disconnect > MAX_PROBES_OF_ONE_DAEMON || self.exits > MAX_EXITED_DAEMONS;
        if is_reconciled || is_over {
            self.outcome.diagnostics.extend(lost.errors);
            return false;
        }
        if still_runs {
            std::thread::sleep(REPROBE_PAUSE);
        } else {
            self.exits += 1;
        }
        (self.outcome.daemon, self.outcome.reconciled) = (Daemon::None, None);
        true
    }

    /// Starts a daemon in the daemon home, and brings its networks in line.
    pub(super) fn start(&mut self) -> Result<(), Diagnostic> {
        let context = self.context;
        let home = &context.layout.daemon_home;
        let Some(lock) = self.lock.as_deref() else { return Ok(()) };
        make_dirs(lock.home_lock(), context.layout.app_home.as_ref(), home.as_ref(), 0o700, None)
            .map_err(|error| Diagnostic::from(error).at(home))?;
        self.outcome.diagnostics.extend(close_secrets(context, lock.home_lock()));
        self.outcome.diagnostics.extend(known_identity(context).map(swap_without_daemon));
        self.outcome.diagnostics.extend(unknown_value_diagnostic(context));
        self.outcome.diagnostics.extend(misnamed_states(context, &self.outcome.document, true));
        self.ensure_move_durable()?;
        let Some(lock) = self.lock.as_deref() else { return Ok(()) };
        self.outcome.diagnostics.extend(keep_droppable(lock, &context.layout.daemon_config)?);
        let permit = start_permit(lock.home_lock(), context.checked?)?;
        let mut spawned = match context.daemons.spawn(permit, &|| self.options.is_cancelled()) {
            Ok(spawned) => spawned,
            Err(error) => {
                self.outcome.tried = error.tried().to_vec();
                if let SpawnError::Occupied { .. } = error {
                    // Looks for the daemon that took the socket.
                    self.start_conflict = Some(error);
                    return Ok(());
                }
                return Err(failed_start(context, &error, &mut self.outcome.diagnostics));
            }
        };
        self.outcome.diagnostics.extend(failed_override(spawned.tried()));
        let client = spawned.take_client(REQUEST_TIMEOUT);
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
            && let Err(error) = spawned.stop(STOP_TIMEOUT)
        {
            self.outcome.diagnostics.push(not_stopped_diagnostic(&error));
        }
        reconciled
    }

    /// Attaches to the daemon that was found, and brings its networks in line. The daemon may end
    /// meanwhile, for example if another `launch --once` started it and stops it.
    pub(super) fn attach(&mut self) -> Result<(), Diagnostic> {
        const ENDED: [&str; 3] = ["daemon.closed", "daemon.replaced", "daemon.unreachable"];
        self.start_conflict = None;
        let decision = self.outcome.detection.as_ref().map(|detection| detection.decision.clone());
        let Some(Decision::Attach { role, endpoint, status, pid, rule }) = decision else { return Ok(()) };
        let daemon = ConnectedDaemon::new(role, endpoint.clone(), pid);
        self.outcome.daemon = Daemon::Attached { role, endpoint, status: status.clone(), pid, rule };
        let reported = self.outcome.diagnostics.len();
        let failed = self.reconcile_daemon(daemon, status).err();
        let more = self.outcome.diagnostics.get(reported..).unwrap_or_default();
        let is_closed = failed
            .iter()
            .chain(more)
            .any(|diagnostic| diagnostic.is_error() && ENDED.contains(&&*diagnostic.code));
        if is_closed {
            let mut errors = self.outcome.diagnostics.split_off(reported);
            errors.extend(failed);
            self.lost_connection = Some(LostConnection { pid, errors });
        } else if let Some(failed) = failed {
            return Err(failed);
        } else if role == Role::Shared {
            let found = self.context.daemons.survey(None);
            let found = unreconciled(self.context, &found, &self.outcome.document, self.options.program);
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
        self.outcome.diagnostics.extend(reconcile_diagnostics(
            self.context,
            &reconciled,
            self.options.program,
        ));
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
                let wanted = Reconciliation { context, document: &mut self.outcome.document, is_in_doubt };
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
        let mut wanted = Reconciliation { context, document: &mut self.outcome.document, is_in_doubt };
        reconcile_networks(&mut wanted, (lock, &mut *self.ids), client, daemon, status)
    }

    fn has_lost_networks(&self) -> bool {
        may_have_lost_networks(&self.outcome.config, &self.outcome.findings)
    }
}

/// Returns the failed start. Adds a likelier reason for it to `diagnostics`, if there is one.
fn failed_start(context: &Context<'_>, error: &SpawnError, diagnostics: &mut Vec<Diagnostic>) -> Diagnostic {
    if let SpawnError::Log { .. } = error
        && let Some(log) = unusable_log(context)
    {
        return log;
    }
    // The programs that ended before they answered say why in their logs.
    let ended = error.tried().iter().filter_map(|tried| match &tried.failure {
        Some(CandidateFailure::Ended { log, .. }) => Some(log.as_slice()),
        _ => None,
    });
    let logs: Vec<&[String]> = ended.collect();
    let likelier = no_room(context, &logs).or_else(|| refused_config(context, &logs));
    diagnostics.extend(likelier.or_else(|| no_socket(context, error)));
    match Diagnostic::from(error) {
        failed if failed.code == NOT_FOUND => name_program(context, failed),
        failed => failed,
    }
}

/// Reports that the file system refused the daemon's socket, as sshfs does. A socket can be anywhere.
fn no_socket(context: &Context<'_>, error: &SpawnError) -> Option<Diagnostic> {
    /// Not permitted, not implemented, not supported.
    const SAID: [&str; 3] = ["(os error 1)", "(os error 38)", "(os error 95)"];
    let is_of_socket = |line: &str| line.contains("daemon.sock") || line.contains("control socket");
    let says = |line: &String| is_of_socket(line) && SAID.iter().any(|said| line.contains(said));
    // The real daemons go on without a socket.
    let failures = error.tried().iter().filter_map(|tried| tried.failure.as_ref());
    let is_refused = failures.flat_map(CandidateFailure::log).any(says);
    let endpoint = context.daemons.endpoint(Mode::OwnLlm);
    let socket = endpoint.path().filter(|_| is_refused)?;
    let config = &context.layout.daemon_config;
    let message = format!(
        "the file system of {socket} takes no socket; name a short path on another one at \
         /daemon/control_socket in {config}"
    );
    let diagnostic = Diagnostic::error("paths.control-socket", message).at(config).class(Class::Daemon);
    Some(diagnostic.hint(edit(config, None)))
}

/// Reports that the daemon can write nothing in its home: the program ends, and the program is not
/// at fault.
fn no_room(context: &Context<'_>, logs: &[&[String]]) -> Option<Diagnostic> {
    /// The message of the system as the C library and as Rust's library print it: no space, no
    /// quota, a read-only file system.
    const SAID: [(&str, &str, &str); 3] = [
        ("No space left on device", "(os error 28)", "df -h"),
        ("Disk quota exceeded", "(os error 122)", "df -h"),
        ("Read-only file system", "(os error 30)", "findmnt --target"),
    ];
    let home = &context.layout.daemon_home;
    let says = |(words, number, _): &&(&str, &str, &str)| {
        logs.iter().copied().flatten().any(|line| line.contains(words) || line.contains(number))
    };
    // On a full disk, the log may be empty as well.
    let full = || SAID.first().filter(|_| !logs.is_empty() && is_full(home));
    let (what, _, command) = SAID.iter().find(says).or_else(full)?;
    Some(no_room_diagnostic(home, what, command, home))
}
