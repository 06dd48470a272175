//! Ends the daemon of a home outside of a launch, tells its state, and judges a restart before it
//! ends a daemon.

use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_daemon::{
    Absence, Attempt, Candidate, ControlError, DaemonControl, Decision, Detection, Endpoint, Expected, Probe,
    Role, SpawnError, Spawned, StartPermit, StopError, StoppedDaemon, Target, decide,
};
use myownllm_migration::Homes;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{Mode, PathsError};

use crate::context::{Context, Options, lock_home};
use crate::daemons::{Daemons, RunningDaemon, end_command};
use crate::files::identity::{HELD, held_key_diagnostic, protect_held_key};
use crate::homes::checked_layout;
use crate::homes::trust::ensure_changeable;
use crate::plan::stage::{live_refusal, orphan_diagnostic};
use crate::plan::start::{missing_program, stop_alone};
use crate::plan::{LaunchPlan, plan};
use crate::words::daemon_words;
use crate::words::diagnostic::{Class, Diagnostic, add_new};

/// A daemon that was ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DaemonStopped {
    /// The process id.
    pub pid: u32,
    /// The socket, or the home of a daemon without a reachable socket.
    pub place: Utf8PathBuf,
    /// The time that the daemon took to end, in milliseconds.
    pub took_ms: u64,
}

/// Ends the daemon of the daemon home, and processes that serve that home without a socket.
///
/// # Errors
/// Fails if the home may not be changed, if another process holds the lock, or if a daemon stays;
/// and if the only daemon serves the old location: a launch or a repair ends that one.
pub fn stop_daemon(context: &Context<'_>, options: &Options<'_>) -> Result<Vec<DaemonStopped>, Diagnostic> {
    let running = || context.daemons.live(None).into_iter().filter(|live| !live.legacy);
    let mut ended = Vec::new();
    let live = context.daemons.live(None);
    // The daemon in an overlapping home may be another program's.
    if let Err(PathsError::Overlap { .. }) = context.checked
        && !live.is_empty()
    {
        checked_layout(context)?;
    }
    if live.iter().all(|live| live.legacy) {
        return live.iter().find_map(|live| live_refusal(live, options)).map_or(Ok(ended), Err);
    }
    ensure_changeable(context)?;
    // The home was renamed under the daemon: there is no directory to lock.
    if context.disk.stat(context.layout.app_home.as_ref()).is_err()
        && let Some(held) = held_key_diagnostic(context)
    {
        return Err(held);
    }
    // While this run holds the lock, no other process starts a daemon.
    let _lock = lock_home(context, options)?;
    for daemon in running() {
        let stopped = context.daemons.stop(&daemon).map_err(|error| {
            let diagnostic = Diagnostic::from(&error).at(daemon.place());
            match daemon.hint() {
                Some(hint) => diagnostic.hint(hint),
                None => diagnostic,
            }
        })?;
        if let StoppedDaemon::Stopped { pid, took_ms } = stopped {
            ended.push(DaemonStopped { pid, place: daemon.place(), took_ms });
        }
    }
    Ok(ended)
}

/// The code of a home whose daemon does not run.
pub const NOT_RUNNING: &str = "daemon.not-running";

/// Returns the diagnostics of the daemons of a home. The last one says why the daemon of the daemon
/// home does not work; `probe` is the result of the probe of its `endpoint`.
pub fn daemon_diagnostics(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
    endpoint: &Endpoint,
    probe: &Probe,
) -> Vec<Diagnostic> {
    let orphans = context.daemons.orphans(probe.pid());
    let orphan = orphans.iter().find(|orphan| !orphan.legacy && probe.is_absent());
    let mut diagnostics: Vec<Diagnostic> =
        orphans.iter().map(|orphan| orphan_diagnostic(orphan, options).as_warning()).collect();
    let state = match (context.daemons.live_legacy().filter(|_| probe.is_absent()), orphan) {
        (Some(legacy), _) => live_refusal(&legacy, options),
        (None, Some(orphan)) => Some(orphan_diagnostic(orphan, options).class(Class::Daemon)),
        (None, None) if probe.is_absent() => {
            Some(absent_diagnostic(&plan(context, options, ids), options.program))
        }
        (None, None) => probe_diagnostic(endpoint, probe, options),
    };
    state.into_iter().for_each(|state| add_new(&mut diagnostics, state));
    stop_alone(
        missing_program(context).as_ref(),
        diagnostics.iter_mut().map(|diagnostic| &mut diagnostic.hint),
    );
    protect_held_key(context, &mut diagnostics);
    diagnostics
}

/// Reports that the daemon of a home does not run. The hint starts the daemon, or mends the cause
/// for which a launch would start none. There is no hint if a launch uses the shared daemon: then
/// nothing is to be mended.
fn absent_diagnostic(plan: &LaunchPlan, program: &str) -> Diagnostic {
    let absent = |message| Diagnostic::error(NOT_RUNNING, message).class(Class::Daemon);
    let message = "no daemon of this home runs";
    match (plan.obstacle(), &plan.detection.decision) {
        (Some(Diagnostic { message: cause, causes, hint, .. }), _) => {
            Diagnostic { hint, ..absent(message).causes([vec![cause], causes].concat()) }
        }
        (None, Decision::Attach { .. }) => {
            absent("no daemon of this home runs: a launch uses the shared daemon")
        }
        _ => absent(message).hint(format!("{program} launch --detach")),
    }
}

/// Reports that the daemon of a home does not answer at `endpoint`; `None` if it answers.
fn probe_diagnostic(endpoint: &Endpoint, probe: &Probe, options: &Options<'_>) -> Option<Diagnostic> {
    let diagnostic = match probe {
        Probe::Answered { .. } => return None,
        _ => {
            let words = || daemon_words(probe, options.user_name);
            let message = match probe.unknown() {
                Some(problem) => format!("cannot check for a daemon at {endpoint}: {problem}"),
                None if matches!(probe, Probe::Unusable { .. }) => {
                    format!("cannot use {endpoint}: {}", words())
                }
                None => format!("the daemon {}", words()),
            };
            let hint = end_command(Role::Own, endpoint, probe, options.program);
            Diagnostic { hint, ..Diagnostic::error(probe.code(), message) }
        }
    };
    Some(diagnostic.class(Class::Daemon))
}

/// Checks that a launch could start a daemon in the place of the one that runs. Otherwise a restart
/// would end a daemon, and leave the user without any.
///
/// # Errors
/// Fails with the reason why a launch would start none, or if the daemon may have the only copy of
/// its key.
pub fn ensure_restartable(
    context: &Context<'_>,
    options: &Options<'_>,
    ids: &mut dyn Ids,
) -> Result<(), Diagnostic> {
    let live = context.daemons.live(None);
    let Some(own) = live.iter().find(|live| !live.legacy) else { return Ok(()) };
    let ended = Ended(context.daemons);
    let plan = plan(&Context { daemons: &ended, ..*context }, options, ids);
    let Some(mut error) = held_key_diagnostic(context).or_else(|| plan.obstacle()) else { return Ok(()) };
    error.complete_hint(options.of(context).program);
    if error.code != HELD {
        let process = own.pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
        error.message.push_str(&format!("; the daemon{process} was left running"));
    }
    Err(error.as_error())
}

/// The daemons of a home after those of the daemon home have ended.
struct Ended<'a>(&'a dyn Daemons);

impl Daemons for Ended<'_> {
    fn are_of(&self, homes: &Homes) -> bool {
        self.0.are_of(homes)
    }

    fn live(&self, config_socket: Option<&Utf8Path>) -> Vec<RunningDaemon> {
        self.0.live(config_socket).into_iter().filter(|live| live.legacy).collect()
    }

    fn live_legacy(&self) -> Option<RunningDaemon> {
        self.0.live_legacy()
    }

    fn orphans(&self, known: Option<u32>) -> Vec<RunningDaemon> {
        self.0.orphans(known).into_iter().filter(|live| live.legacy).collect()
    }

    fn detect(&self, expected: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>) {
        (self.survey(Some(expected)), None)
    }

    fn survey(&self, expected: Option<&Expected>) -> Detection {
        let mut found = self.0.survey(expected);
        for attempt in found.attempts.iter_mut().filter(|attempt| attempt.role == Role::Own) {
            attempt.probe = Probe::Absent { why: Absence::NoSocket };
        }
        let pairs = found.attempts.iter().map(|Attempt { role, endpoint, probe, .. }| {
            let (role, endpoint) = (*role, endpoint.clone());
            (Target { role, endpoint, expected: None, within: Duration::ZERO }, probe.clone())
        });
        let decision = decide(&pairs.collect::<Vec<_>>());
        Detection::new(found.attempts, decision)
    }

    fn endpoint(&self, mode: Mode) -> Endpoint {
        self.0.endpoint(mode)
    }

    fn programs(&self) -> Option<Vec<Candidate>> {
        self.0.programs()
    }

    fn spawn(&self, permit: StartPermit<'_>, cancelled: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
        self.0.spawn(permit, cancelled)
    }

    fn connect(&self, endpoint: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError> {
        self.0.connect(endpoint)
    }

    fn stop(&self, daemon: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        self.0.stop(daemon)
    }
}
