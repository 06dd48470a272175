//! The app's start-up sequence: migrate, load and if need be repair the config, attach to a daemon or start one, and
//! bring its networks in line.
//!
//! [`launch`] works on traits, so a sibling app can replace one part, and a test all of them. It never fails: the app
//! must come up whatever the disk says, so the outcome always holds a config to run on, beside what went wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use myownllm_config_model::{Document, Ids};
use myownllm_config_store::{
    Applied, ConfigStore, FileShape, Loaded, LockedStore, Pending, Step, StoreError,
};
use myownllm_daemon::reconcile;
use myownllm_daemon::{
    CandidateOutcome, DaemonControl, Decision, Detection, Endpoint, Refusal, Role, Rule, SpawnError,
    SpawnRequest, Spawned, Status, StoppedDaemon, check_socket_file,
};
use myownllm_durable_fs::{Disk, LockError, LockedDir, make_dirs, quote};
use myownllm_identity::{Answer, Expected, Pending as PendingBy};
use myownllm_migration::{
    Collision, Direction, Keep, LiveDaemon, LiveDaemons, LiveKind, MigrationError, Options as MoveOptions,
    StateMigrator,
};
use myownllm_paths::{CheckedLayout, ControlSocket, Layout, Mode, PathsError, check_control_socket};

use crate::closed::Closed;
use crate::daemon_config::{settle_daemon_config, shared_config};
use crate::daemons::{
    DaemonKind, Daemons, OPERATION, RunningDaemon, abandoned_diagnostic, endpoint_of, processes_unknown,
    read_control_socket, read_document,
};
use crate::diagnostic::{Class, Diagnostic, add_untold, class_of};
use crate::identity::{expected_key, identity_answer, start_permit};
use crate::losses::lost_settings;
use crate::networks::{ConnectedDaemon, Reconciled, plan_for, reconcile, reconcile_diagnostics};
use crate::no_daemon;
use crate::relapse::Relapse;
use crate::trust::{ensure_changeable, ensure_own_daemon, trusted_home, wrote_where_others_can};
use crate::waiting::{LOCK_STEP, OnWait, lock_home};

/// How long every command waits for another process that holds the home's lock: longer than one that is well may take.
///
/// The longest that such a one does under the lock is to start a daemon, which may take [`SpawnRequest::READY_WITHIN`] (8 s,
/// what the app of today gives it), and to have it join a network, one answer, which may take `OPERATION` (10 s: joining talks to
/// relays). Everything else, a move or a repair too, takes a fraction of a second: 2 s more are for that.
pub const LOCK_WAIT: Duration =
    SpawnRequest::READY_WITHIN.saturating_add(OPERATION).saturating_add(Duration::from_secs(2));
/// Everything that a launch needs.
#[allow(missing_debug_implementations, reason = "traits")]
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Every path.
    pub layout: &'a Layout,
    /// The layout again if the homes were found apart, else why they were not.
    pub checked: Result<&'a CheckedLayout, &'a PathsError>,
    /// The disk, for the lock.
    pub disk: &'a dyn Disk,
    /// Moves the daemon's state.
    pub migrator: &'a dyn StateMigrator,
    /// Keeps the app's config.
    pub store: &'a dyn ConfigStore,
    /// Finds and starts daemons.
    pub daemons: &'a dyn Daemons,
}

/// What a launch is to do.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Look for a daemon, and start one if there is none.
    pub daemon: bool,
    /// A daemon that runs in the old place may be ended.
    pub stop_legacy_daemon: bool,
    /// How long to wait for another process that holds the lock.
    pub lock_wait: Duration,
    /// Set, by a signal handler say, when the user has had enough: a daemon that is starting is ended, none is started, and
    /// none is asked for anything more.
    pub cancelled: Option<&'a Arc<AtomicBool>>,
    /// How the program is called in hints, with what leads to this home.
    pub program: &'a str,
    /// Whom to tell that the run waits for another one.
    pub on_wait: Option<OnWait<'a>>,
    /// A reason of the caller's why nothing may be changed: the config is loaded, and no daemon is used.
    pub refusal: Option<&'a Diagnostic>,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            daemon: true,
            stop_legacy_daemon: false,
            lock_wait: LOCK_WAIT,
            cancelled: None,
            program: "myownllm-mesh",
            on_wait: None,
            refusal: None,
        }
    }
}

impl Options<'_> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

/// What a launch came to.
#[derive(Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The config to run on: the file's when it could be read, repaired and complete; else a stand-in.
    pub document: Document,
    /// The file could not be read, and the document is a stand-in that is never to be written.
    pub stand_in: bool,
    /// What the config file was.
    pub shape: FileShape,
    /// What was found in the config, and, if it was written, what was done.
    pub config: myownllm_config_store::Report,
    /// What was written of the config, in order; empty when nothing was.
    pub config_steps: Vec<myownllm_config_store::Step>,
    /// Whether the config was healthy before, and who may have changed that.
    pub relapse: Option<Relapse>,
    /// The daemons of the old location that were ended, in order.
    pub stopped: Vec<LiveDaemon>,
    /// What the move did; `None` when nothing was pending.
    pub migration: Option<myownllm_migration::Report>,
    /// The daemon in use, if any.
    pub daemon: Daemon,
    /// The programs that were tried when none came up, each with its reason.
    pub tried: Vec<CandidateOutcome>,
    /// Which daemons were looked for and what answered.
    pub detection: Option<Detection>,
    /// What was done to the daemon's networks.
    pub reconciled: Option<Reconciled>,
    /// What was odd in the config.
    pub findings: Vec<myownllm_config_model::Diagnostic>,
    /// What went wrong or is worth knowing, the findings included; the gravest error decides the class.
    pub diagnostics: Vec<Diagnostic>,
}

impl Outcome {
    /// The class of the gravest error; `None` when the launch succeeded.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        class_of(&self.diagnostics)
    }

    /// Says, once, that a daemon may have gone unseen.
    fn note_unknown_processes(&mut self) {
        add_untold(&mut self.diagnostics, processes_unknown());
    }
}

/// The daemon that a launch ended with.
#[derive(Debug, Default)]
pub enum Daemon {
    /// None was wanted, or none may be started; the diagnostics say why.
    #[default]
    None,
    /// One ran already. Its life is not ours to end.
    Attached {
        /// Whose it is.
        role: Role,
        /// Where it listens.
        endpoint: Endpoint,
        /// What it said of itself.
        status: Status,
        /// Its process, where the system tells.
        pid: Option<u32>,
        /// Which rule chose it.
        rule: Rule,
    },
    /// We started it.
    Spawned(Spawned),
}

/// Runs the sequence.
///
/// A start at which nothing is pending takes no lock, writes nothing, and looks at a handful of names.
pub fn launch(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> Outcome {
    let (mut outcome, pending) = load(context, ids);
    match settle(context, options, ids, &mut outcome, pending) {
        Ok(Settled { lock, routine }) => {
            let answer = identity_answer(context, None);
            add_untold(&mut outcome.diagnostics, answer.refusal().map(Diagnostic::from));
            // A daemon is used only on a home where nothing is in doubt: one that starts beside a key that could not be
            // moved would make a second key.
            if options.daemon && outcome.class().is_none() {
                let used = expected_of(context, &answer)
                    .and_then(|expected| use_daemon(context, options, ids, (lock, expected), &mut outcome));
                outcome.diagnostics.extend(used.err().into_iter().flatten());
            }
            outcome.diagnostics.extend(routine);
        }
        // A config that cannot be read was told of, and that it cannot be asked for a socket says nothing more.
        Err(diagnostic) if outcome.stand_in && diagnostic.code == LEAKED => {}
        Err(diagnostic) => outcome.diagnostics.push(diagnostic),
    }
    if options.daemon {
        // After the start of a daemon, which removes one that is in its way.
        outcome.diagnostics.extend(context.daemons.abandoned_sockets().iter().map(abandoned_diagnostic));
    }
    let errors = outcome.diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    if let Some(closed) = Closed::of_errors(context.disk, context.layout, errors) {
        outcome.diagnostics.retain(|diagnostic| !(diagnostic.is_error() && closed.covers(diagnostic)));
        outcome.diagnostics.insert(0, closed.diagnostic);
    }
    let findings = outcome.findings.iter().map(Diagnostic::from);
    outcome.diagnostics.extend(findings);
    // The last that a person reads.
    let is_written = outcome.config_steps.iter().any(Step::writes_config);
    let lost = lost_settings(&outcome.document, &outcome.config, &context.layout.app_config, is_written);
    outcome.diagnostics.extend(lost);
    outcome.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.complete_hint(options.program));
    outcome
}

/// A home in which nothing is pending any more, as far as could be done.
#[derive(Default)]
struct Settled<'a> {
    /// The lock, when it had to be taken.
    lock: Option<Box<dyn LockedStore + 'a>>,
    /// A routine copy, or a default, could not be written: a failure to be told, and no reason to keep anybody from
    /// working.
    routine: Option<Diagnostic>,
}

/// The config to run on, whatever the file is, and what of it is to be written: nothing, when the file must not be
/// touched.
fn load(context: &Context<'_>, ids: &mut dyn Ids) -> (Outcome, Option<Pending>) {
    let (loaded, failed) = match context.store.look(ids) {
        Ok(loaded) => {
            let path = context.layout.app_config.clone();
            let newer = loaded.newer.map(|version| StoreError::Newer { path, version });
            (loaded, newer)
        }
        Err(error) => (context.store.stand_in(ids), Some(error)),
    };
    let Loaded { document, shape, pending, report, diagnostics: findings, .. } = loaded;
    let pending = failed.is_none().then_some(pending);
    let stand_in = matches!(&failed, Some(error) if !matches!(error, StoreError::Newer { .. }));
    let diagnostics = failed.iter().map(Diagnostic::from).collect();
    let outcome = Outcome {
        document,
        stand_in,
        shape,
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

/// Moves and repairs what is pending.
fn settle<'a>(
    context: &Context<'a>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    outcome: &mut Outcome,
    pending: Option<Pending>,
) -> Result<Settled<'a>, Diagnostic> {
    if let Some(refusal) = options.refusal {
        return Err(refusal.clone());
    }
    ensure_changeable(context)?;
    context.checked.map_err(Diagnostic::from)?;
    let mut pending = pending;
    let mut waited = Duration::ZERO;
    let lock = loop {
        let is_idle = !moves(context) && pending.as_ref().is_none_or(Pending::is_empty);
        if is_idle && context.store.misplaced().is_none() {
            if let Some(shared) = options.daemon.then(|| shared_config(context)).flatten() {
                return Err(shared);
            }
            // A daemon that still runs in the old place would make the same mess again, and one beside it a second
            // writer.
            let live = context.daemons.live_legacy().into_iter().collect();
            settle_live(context.daemons, live, options, &mut outcome.stopped)?;
            return Ok(Settled::default());
        }
        context.store.ensure_home().map_err(|error| Diagnostic::from(&error))?;
        let step = LOCK_STEP.min(options.lock_wait.saturating_sub(waited));
        match context.store.lock(step) {
            Ok(lock) => break lock,
            Err(LockError::Held { .. }) if options.is_cancelled() => {
                return Err(Diagnostic::from(&SpawnError::Cancelled));
            }
            Err(LockError::Held { .. }) if waited + step < options.lock_wait => {
                options.tell_of_wait(&context.layout.app_home, waited);
                waited += step;
            }
            Err(LockError::Held { home, .. }) => {
                return Err(Diagnostic::from(&LockError::Held { home, waited: waited + step }));
            }
            Err(error) => return Err(Diagnostic::from(&error)),
        }
        // Whoever holds the lock may be doing just what we wanted to do: then there is nothing to wait for.
        pending = look_again(context, ids, outcome, pending.is_some())?;
    };
    // Only from here does what we see stay as it is.
    ensure_changeable(context)?;
    let pending = look_again(context, ids, outcome, pending.is_some())?;
    let moves = moves(context);
    outcome.note_unknown_processes();
    let repairs = pending.as_ref().is_some_and(|pending| pending.repairs() || pending.daemon_half());
    let leaked = leaked_socket(context)?;
    let live = if moves {
        context.daemons.live(leaked.as_deref())
    } else if repairs {
        live_beside_repair(context, &outcome.config, leaked.as_deref())
    } else {
        context.daemons.live_legacy().into_iter().collect()
    };
    // Looked for before a daemon that may be the reason is ended, and told even when nothing may be repaired.
    if pending.as_ref().is_some_and(Pending::repairs)
        && let Some(relapse) = Relapse::of(context, outcome.shape, &live)
    {
        outcome.diagnostics.push(relapse.diagnostic(context, options));
        outcome.relapse = Some(relapse);
    }
    settle_live(context.daemons, live, options, &mut outcome.stopped)?;
    // Without the key nothing moves: it has to be brought back first.
    let answer = identity_answer(context, pending.as_ref());
    let gone = answer.refusal().filter(|refusal| refusal.is_gone());
    add_untold(&mut outcome.diagnostics, gone.map(Diagnostic::from));
    if moves && gone.is_none() && !migrate(context, options, lock.home_lock(), leaked.as_deref(), outcome)? {
        return Ok(Settled { lock: Some(lock), routine: None });
    }
    let routine = match pending {
        Some(pending) => apply(context, ids, &*lock, &pending, outcome),
        None => None,
    };
    // Only then: the app's config in it is a source of the repair.
    if outcome.class().is_none() {
        settle_daemon_config(context, options, &*lock, outcome)?;
    }
    Ok(Settled { lock: Some(lock), routine })
}

/// Repairs and completes the config. Returns what failed of a routine copy, or of defaults; a repair that failed is noted.
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
            // Where another launch repaired the file meanwhile, what we first saw is what there is to tell; and what failed.
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
        }
        Err(error) => {
            let diagnostic = Diagnostic::from(&error);
            if repairs {
                outcome.diagnostics.push(diagnostic);
            } else if pending.is_housekeeping() {
                // The config lies where nothing can be written, as a link into a read-only store does.
                routine = Some(diagnostic.as_warning());
            } else {
                routine = Some(diagnostic);
            }
        }
    }
    routine
}

/// Whether something of the daemon's is still to be moved. What cannot be looked at counts: the move itself then says what
/// is wrong with it.
fn moves(context: &Context<'_>) -> bool {
    context.migrator.is_pending().unwrap_or(true)
}

/// The config once more, after time has passed. `wanted` is false when the file must not be touched at all.
///
/// A file that could be read before and cannot be now is a failure, and never "nothing to do".
fn look_again(
    context: &Context<'_>,
    ids: &mut dyn Ids,
    outcome: &mut Outcome,
    wanted: bool,
) -> Result<Option<Pending>, Diagnostic> {
    if !wanted {
        return Ok(None);
    }
    let loaded = context.store.look(ids).map_err(|error| Diagnostic::from(&error))?;
    outcome.document = loaded.document;
    if loaded.pending.repairs() {
        outcome.shape = loaded.shape;
        outcome.config = loaded.report;
    }
    Ok(loaded.newer.is_none().then_some(loaded.pending))
}

/// The daemons in whose presence a repair is not made. One that restores a wiped config concerns the app alone: only a daemon that
/// would write over the config again forbids it.
pub fn live_beside_repair(
    context: &Context<'_>,
    repair: &myownllm_config_store::Report,
    leaked: Option<&Path>,
) -> Vec<RunningDaemon> {
    if repair.wiped.is_some() && repair.daemon_half.is_none() {
        context.daemons.live_legacy().into_iter().collect()
    } else {
        context.daemons.live(leaked)
    }
}

/// The stable code of a config that cannot be asked where its daemon listens.
const LEAKED: &str = "daemon.leaked-socket-unreadable";

/// The control socket that the app's config names since a daemon wrote over it: its daemon may listen there.
pub fn leaked_socket(context: &Context<'_>) -> Result<Option<PathBuf>, Diagnostic> {
    let config = &context.layout.app_config;
    read_control_socket(context.disk, config)
        .map(|said| said.named().map(Path::to_path_buf))
        .map_err(|error| Diagnostic::from_error(&error, LEAKED, error.hint()).at(config))
}

/// The move, under the lock. What went wrong is noted; `false` when a daemon turned up that forbids the repair as well.
fn migrate(
    context: &Context<'_>,
    options: &Options<'_>,
    lock: &LockedDir,
    leaked: Option<&Path>,
    outcome: &mut Outcome,
) -> Result<bool, Diagnostic> {
    check_socket(context)?;
    let watch = Watch { daemons: context.daemons, leaked };
    let wanted = MoveOptions::forward().stopping_legacy_daemon(options.stop_legacy_daemon);
    let report = context.migrator.run(lock, &wanted, &watch);
    // Files that differ wait for their owner; the app goes on without them.
    outcome.diagnostics.extend(
        move_diagnostics(&report, options.program).map(|diagnostic| {
            if diagnostic.code == COLLISION { diagnostic.as_warning() } else { diagnostic }
        }),
    );
    let quiet = !report.refusals.iter().any(MigrationError::is_about_a_daemon);
    outcome.stopped.extend(report.stopped.iter().cloned());
    outcome.migration = Some(report);
    Ok(quiet)
}

/// The stable code of files that differ.
pub const COLLISION: &str = "migration.collision";

/// What a move has to tell besides what it moved.
pub fn move_diagnostics<'a>(
    report: &'a myownllm_migration::Report,
    program: &'a str,
) -> impl Iterator<Item = Diagnostic> + 'a {
    let troubles = report.refusals.iter().chain(&report.errors).map(Diagnostic::from);
    let collisions =
        report.collisions.iter().map(move |both| collision_diagnostic(both, report.direction, program));
    let lost = report.attributes_lost.iter().map(|lost| {
        let message = format!(
            "{} was copied without its attributes {}: the file system there does not take them",
            lost.path.display(),
            lost.names.join(", ")
        );
        Diagnostic::warning("migration.attributes-lost", message).at(&lost.path)
    });
    troubles.chain(collisions).chain(lost)
}

/// Two files that differ.
pub fn collision_diagnostic(both: &Collision, direction: Direction, program: &str) -> Diagnostic {
    let message = format!(
        "{} and {} differ; both stay until you choose: --keep old-location, or --keep daemon-home",
        both.source.display(),
        both.destination.display()
    );
    let undo = if direction == Direction::Undo { " --undo" } else { "" };
    Diagnostic::error(COLLISION, message)
        .at(&both.source)
        .hint(format!("{program} migrate{undo} --keep {}", Keep::Destination.place(direction)))
        .class(Class::Refused)
}

/// Ends the daemons of the old location that are in the way, which `stopped` names then, or refuses.
///
/// # Errors
/// A daemon is in the way that may not be ended, or was not.
pub fn settle_live(
    daemons: &dyn Daemons,
    live: Vec<RunningDaemon>,
    options: &Options<'_>,
    stopped: &mut Vec<LiveDaemon>,
) -> Result<(), Diagnostic> {
    for found in live {
        if let Some(refusal) = found.resource_exhausted() {
            return Err(Diagnostic::from(&refusal));
        }
        let daemon = LiveDaemon::from(&found);
        let stop_failed = if options.stop_legacy_daemon && daemon.kind == LiveKind::Legacy {
            match daemons.stop(&found) {
                Ok(StoppedDaemon::WasAbsent) => continue,
                Ok(_) => {
                    stopped.push(daemon);
                    continue;
                }
                Err(error) => Some(error),
            }
        } else {
            None
        };
        if stop_failed.is_none() && !found.legacy && matches!(found.kind, DaemonKind::Orphan { .. }) {
            return Err(orphan_diagnostic(&found, options));
        }
        // What has just failed is no way out.
        let command = match (&stop_failed, daemon.kind, daemon.pid) {
            (Some(failed), _, _) => failed.hint(),
            (None, LiveKind::Own, Some(pid)) if !cfg!(windows) => Some(format!("kill {pid}")),
            _ => None,
        };
        let command = command.unwrap_or_else(|| match stop_failed {
            Some(_) => format!("ls -ld {}", quote(&daemon.socket)),
            None => format!("{} launch --stop-legacy-daemon", options.program),
        });
        return Err(Diagnostic::from(&daemon.refusal(command, stop_failed.map(|error| error.to_string()))));
    }
    Ok(())
}

/// A process serves a home, and no socket leads to it.
pub fn orphan_diagnostic(live: &RunningDaemon, options: &Options<'_>) -> Diagnostic {
    let home = live.place();
    let process = live.pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
    let message =
        format!("a daemon{process} serves {} and cannot be reached: {}", home.display(), live.note());
    Diagnostic::error("daemon.without-socket", message)
        .at(&home)
        .hint(format!("{} launch --stop-legacy-daemon", options.program))
        .class(Class::Refused)
}

/// One whose socket was removed under it writes the same home as the one that answers as process `known`: it is named, and
/// ended on request. Whether one was ended.
fn settle_beside(
    context: &Context<'_>,
    options: &Options<'_>,
    known: Option<u32>,
    outcome: &mut Outcome,
) -> Result<bool, Diagnostic> {
    let unseen = context.daemons.orphans(known);
    if options.stop_legacy_daemon {
        let any = !unseen.is_empty();
        return settle_live(context.daemons, unseen, options, &mut outcome.stopped).map(|()| any);
    }
    outcome.diagnostics.extend(unseen.iter().map(|live| orphan_diagnostic(live, options).as_warning()));
    Ok(false)
}

/// The eyes of the move: it looks again, right before it begins.
pub struct Watch<'a> {
    /// Finds the daemons.
    pub daemons: &'a dyn Daemons,
    /// The control socket that an overwritten config names.
    pub leaked: Option<&'a Path>,
}

impl LiveDaemons for Watch<'_> {
    fn live(&self) -> Vec<LiveDaemon> {
        self.daemons.live(self.leaked).iter().map(LiveDaemon::from).collect()
    }

    fn stop(&self, daemon: &LiveDaemon) -> Result<(), String> {
        let found = self.daemons.live(self.leaked);
        let Some(live) = found.iter().find(|live| LiveDaemon::from(*live) == *daemon) else {
            return Ok(());
        };
        self.daemons.stop(live).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// The stable code of a daemon's config that cannot be read.
const UNREADABLE: &str = "paths.lookup";

/// What the daemon's config says of its socket, and the config that says it: the app's own, which gives back what is the daemon's,
/// where the daemon has none yet.
fn named_socket<'a>(context: &Context<'a>) -> Result<(ControlSocket, &'a Path), Diagnostic> {
    let config = &context.layout.daemon_config;
    let document = read_document(context.disk, config)
        .map_err(|error| Diagnostic::from_error(&error, UNREADABLE, error.hint()).at(config))?;
    if let Some(document) = document {
        return Ok((ControlSocket::of_document(&document), config));
    }
    Ok(match leaked_socket(context)? {
        Some(leaked) => (ControlSocket::Named(leaked), &context.layout.app_config),
        None => (ControlSocket::InHome, config),
    })
}

/// The new home is deeper than the old one: a socket path that would not fit there is refused before anything moves. Only the
/// socket is judged on which the daemon will listen.
pub fn check_socket(context: &Context<'_>) -> Result<(), Diagnostic> {
    let layout = context.checked.map_err(Diagnostic::from)?;
    let (named, config) = match named_socket(context) {
        // What is closed there is told by the move, and by a start.
        Err(diagnostic) if diagnostic.code == UNREADABLE => return Ok(()),
        other => other?,
    };
    let (socket, _) = layout.socket_for_mode(Mode::OwnLlm, &named);
    myownllm_paths::check_socket(&socket, layout.platform, config).map_err(|error| Diagnostic::from(&error))
}

/// Whether a daemon that is started now could be found, and take its place: waiting for one that comes up elsewhere would be in
/// vain.
pub fn check_start(context: &Context<'_>) -> Result<(), Diagnostic> {
    let (said, config) = named_socket(context)?;
    if let Some(named) = said.named() {
        check_control_socket(named, context.layout.platform, config)
            .map_err(|error| Diagnostic::from(&error))?;
    }
    check_socket(context)?;
    let endpoint = endpoint_of(&context.layout.socket_for_mode(Mode::OwnLlm, &said).0);
    check_socket_file(&endpoint).map_err(|error| Diagnostic::from(&error))
}

/// Why no daemon is to be used. A socket that none could bind is named with the config that can name another one.
pub fn refusal_diagnostic(context: &Context<'_>, refusal: &Refusal) -> Diagnostic {
    let unbindable = match refusal {
        Refusal::PathTooLong { .. } => check_start(context).err(),
        _ => None,
    };
    unbindable.unwrap_or_else(|| Diagnostic::from(refusal))
}

/// Attaches to a daemon or starts one, and brings its networks in line.
fn use_daemon<'a>(
    context: &Context<'a>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    (mut lock, expected): (Option<Box<dyn LockedStore + 'a>>, Expected),
    outcome: &mut Outcome,
) -> Result<(), Vec<Diagnostic>> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    let (mut detection, mut client) = context.daemons.detect(&expected);
    if let Decision::Attach { pid, .. } = detection.decision
        && settle_beside(context, options, pid, outcome).map_err(one)?
    {
        // One that ends takes the socket's name away, whosever it is by then.
        (detection, client) = context.daemons.detect(&expected);
    }
    if matches!(detection.decision, Decision::Spawn) && lock.is_none() {
        lock = Some(lock_home(context, options).map_err(one)?);
        // Whoever held the lock may have started the daemon that we want.
        (detection, client) = context.daemons.detect(&expected);
    }
    let cancelled = || options.is_cancelled();
    // Nobody starts one now, so that what is on its way was left behind by a start that was killed.
    if matches!(detection.decision, Decision::Spawn) && context.daemons.await_starting(&cancelled) {
        if cancelled() {
            return Err(one(Diagnostic::from(&SpawnError::Cancelled)));
        }
        (detection, client) = context.daemons.detect(&expected);
    }
    let mut spawned = None;
    if matches!(detection.decision, Decision::Spawn)
        && let Some(lock) = &lock
    {
        outcome.detection = Some(detection.clone());
        match start_one(context, options, &**lock, outcome)? {
            Ok(started) => spawned = Some(started),
            Err(error) => {
                outcome.tried = error.tried().to_vec();
                (detection, client) = come_up_meanwhile(context, &expected, &error)
                    .ok_or_else(|| no_daemon::diagnostics(context, &error))?;
            }
        }
    }
    let decision = detection.decision.clone();
    outcome.detection = Some(detection);
    let (asked, status) = match (spawned, decision) {
        (Some(mut spawned), _) => {
            client = spawned.take_client(OPERATION).map(|client| Box::new(client) as Box<dyn DaemonControl>);
            let asked = ConnectedDaemon::new(Role::Own, spawned.endpoint().clone(), Some(spawned.pid()));
            let known = (asked, spawned.status().clone());
            outcome.daemon = Daemon::Spawned(spawned);
            known
        }
        (None, Decision::Attach { role, endpoint, status, pid, rule }) => {
            let known = (ConnectedDaemon::new(role, endpoint.clone(), pid), status.clone());
            outcome.daemon = Daemon::Attached { role, endpoint, status, pid, rule };
            known
        }
        (None, Decision::Refuse(refusal)) => return Err(one(refusal_diagnostic(context, &refusal))),
        (None, other) => {
            return Err(one(Diagnostic::error("daemon.undecided", format!("unknown decision {other:?}"))));
        }
    };
    let mut client = match client {
        Some(client) => client,
        None => connect(context, &asked.socket).map_err(one)?,
    };
    if let Some(cancelled) = options.cancelled {
        client.set_cancel_flag(Arc::clone(cancelled));
    }
    let reconciled =
        bring_in_line(context, options, ids, lock, &mut *client, asked, status, outcome).map_err(one)?;
    let diagnostics = reconcile_diagnostics(&reconciled, options.program);
    outcome.reconciled = Some(reconciled);
    if diagnostics.is_empty() { Ok(()) } else { Err(diagnostics) }
}

/// Starts a daemon in the daemon's home, where nothing speaks against it. The inner error is that none came up.
fn start_one(
    context: &Context<'_>,
    options: &Options<'_>,
    lock: &dyn LockedStore,
    outcome: &mut Outcome,
) -> Result<Result<Spawned, SpawnError>, Vec<Diagnostic>> {
    let one = |diagnostic: Diagnostic| vec![diagnostic];
    check_start(context).map_err(one)?;
    outcome.note_unknown_processes();
    // One whose socket was removed under it would write the same home, unseen by its peers and by us.
    settle_live(context.daemons, context.daemons.orphans(None), options, &mut outcome.stopped)
        .map_err(one)?;
    trusted_home(context).map_err(|unsafe_home| {
        // It need not be said twice.
        outcome.diagnostics.retain(|diagnostic| diagnostic.code != unsafe_home.code);
        one(unsafe_home)
    })?;
    ensure_own_daemon(context).map_err(one)?;
    let home = &context.layout.daemon_home;
    make_dirs(lock.home_lock(), &context.layout.app_home, home, 0o700, None)
        .map_err(|error| one(Diagnostic::from_error(&error, error.code(), error.hint()).at(home)))?;
    tell_where_the_key_is(context, lock, outcome).map_err(one)?;
    let permit =
        start_permit(context, lock.home_lock()).map_err(|refusal| one(Diagnostic::from(&refusal)))?;
    Ok(context.daemons.spawn(permit, &|| options.is_cancelled()))
}

/// Who took the place of the daemon that was being started, which has been ended by now; looked for once.
fn come_up_meanwhile(
    context: &Context<'_>,
    expected: &Expected,
    error: &SpawnError,
) -> Option<(Detection, Option<Box<dyn DaemonControl>>)> {
    let SpawnError::Occupied { .. } = error else { return None };
    let found = context.daemons.detect(expected);
    (!matches!(found.0.decision, Decision::Spawn)).then_some(found)
}

/// Brings the daemon's networks in line with the config on the disk.
///
/// What is to be done is planned and done under the lock, from the config as it is then: two that change the active network
/// at once would else each leave the daemon with its own. Where there is nothing to do, no lock is taken; whoever changes
/// the config meanwhile brings the daemon in line with it.
#[allow(clippy::too_many_arguments, reason = "what a launch knows by then")]
fn bring_in_line<'a>(
    context: &Context<'a>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    lock: Option<Box<dyn LockedStore + 'a>>,
    daemon: &mut dyn DaemonControl,
    asked: ConnectedDaemon,
    status: Status,
    outcome: &mut Outcome,
) -> Result<Reconciled, Diagnostic> {
    let (_lock, status) = match lock {
        Some(lock) => (lock, status),
        None => {
            let plan = plan_for(context.store, daemon, status, asked.role, &outcome.document)?;
            if plan.is_empty() {
                return Ok(Reconciled { daemon: asked, plan, outcome: reconcile::Outcome::default() });
            }
            let lock = lock_home(context, options)?;
            (lock, daemon.status().map_err(|error| Diagnostic::from(&error))?)
        }
    };
    let loaded = context.store.look(ids).map_err(|error| Diagnostic::from(&error))?;
    outcome.document = loaded.document;
    reconcile(context.store, daemon, asked, status, &outcome.document)
}

fn connect(context: &Context<'_>, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, Diagnostic> {
    context.daemons.connect(endpoint).map_err(|error| Diagnostic::from(&error))
}

/// Which key a daemon has to have. Whatever keeps the move from being over is an error, whether anything is left to be moved or not: a
/// daemon would work beside it.
fn expected_of(context: &Context<'_>, answer: &Answer) -> Result<Expected, Vec<Diagnostic>> {
    let plan = context.migrator.plan(&context.migrator.inspect(Direction::Forward), &MoveOptions::forward());
    let doubts: Vec<Diagnostic> = plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from).collect();
    if !doubts.is_empty() {
        return Err(doubts);
    }
    expected_key(answer).map_err(|refusal| vec![Diagnostic::from(&refusal)])
}

/// Has the daemon's config say where its key is now. A repair that was made before the move left the old place in it.
fn tell_where_the_key_is(
    context: &Context<'_>,
    lock: &dyn LockedStore,
    outcome: &mut Outcome,
) -> Result<(), Diagnostic> {
    let Answer::Pending { by: PendingBy::Config, .. } = identity_answer(context, None) else { return Ok(()) };
    for path in lock.mend_stale_paths().map_err(|error| Diagnostic::from(&error))? {
        let message =
            format!("{} of the daemon's config was {}, and is {} now", path.pointer, path.from, path.to);
        outcome
            .diagnostics
            .push(Diagnostic::info("daemon.path-rebased", message).at(&context.layout.daemon_config));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_lock_waits_longer_than_one_that_is_well_holds_it() {
        assert!(LOCK_WAIT > SpawnRequest::READY_WITHIN + OPERATION);
        assert_eq!(Options::default().lock_wait, LOCK_WAIT);
    }
}
