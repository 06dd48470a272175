//! Judges a restart before it ends a daemon.

use std::time::Duration;

use myownllm_config_model::Ids;
use myownllm_daemon::{
    Absence, Candidate, ControlError, DaemonControl, Detection, Endpoint, Expected, Probe, Role, SpawnError,
    Spawned, StartPermit, StopError, StoppedDaemon, Target, decide,
};
use myownllm_migration::Homes;
use myownllm_paths::Mode;
use myownllm_paths::camino::Utf8Path;

use crate::context::{Context, Options};
use crate::daemons::{Daemons, RunningDaemon};
use crate::diagnostic::Diagnostic;
use crate::identity::{HELD, key_holder};
use crate::plan::plan;

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
    let starts = plan.wants_start();
    let program = plan.program.filter(|_| starts);
    let error = key_holder(context).or_else(|| plan.diagnostics.into_iter().find(Diagnostic::is_error));
    let Some(mut error) = error.or(program) else { return Ok(()) };
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
        let target = |role, endpoint: &Endpoint| Target {
            role,
            endpoint: endpoint.clone(),
            expected: None,
            within: Duration::ZERO,
        };
        let pairs: Vec<(Target, Probe)> = found
            .attempts
            .iter()
            .map(|attempt| (target(attempt.role, &attempt.endpoint), attempt.probe.clone()))
            .collect();
        Detection::new(found.attempts, decide(&pairs))
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
