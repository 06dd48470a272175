//! The daemon of a home outside of a launch: its state, and its end.

use myownllm_daemon::{Endpoint, Probe, Role, Spawned, StoppedDaemon, process_serves};
use myownllm_durable_fs::quote;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::{Context, Options};
use crate::diagnostic::{Class, Diagnostic};
use crate::home::live_refusal;
use crate::trust::ensure_changeable;
use crate::waiting::lock_home;
use crate::words::daemon_words;

/// A daemon that was ended.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct EndedDaemon {
    /// The process id.
    pub pid: u32,
    /// The socket, or the home of a daemon without a reachable socket.
    pub place: Utf8PathBuf,
    /// The duration in milliseconds.
    pub took_ms: u64,
}

/// Ends the daemon of the daemon home, and processes that serve that home without a socket.
///
/// # Errors
/// Fails if the home may not be changed, if another process holds the lock, or if a daemon stays;
/// and if the only daemon serves the old location: a launch or a repair ends that one.
pub fn stop_daemon(context: &Context<'_>, options: &Options<'_>) -> Result<Vec<EndedDaemon>, Diagnostic> {
    let running = || context.daemons.live(None).into_iter().filter(|live| !live.legacy);
    let mut ended = Vec::new();
    let live = context.daemons.live(None);
    if live.iter().all(|live| live.legacy) {
        return live_refusal(live, options).map_or(Ok(ended), Err);
    }
    ensure_changeable(context)?;
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
            ended.push(EndedDaemon { pid, place: daemon.place(), took_ms });
        }
    }
    Ok(ended)
}

/// Reports that the daemon of a home does not answer at `endpoint`; `None` if it answers.
#[must_use]
pub fn probe_diagnostic(endpoint: &Endpoint, probe: &Probe, options: &Options<'_>) -> Option<Diagnostic> {
    let diagnostic = match probe {
        Probe::Answered { .. } => return None,
        Probe::Absent { .. } => Diagnostic::error("daemon.not-running", "no daemon of this home runs")
            .hint(format!("{} launch --detach", options.program)),
        _ => {
            let message = match probe.unknown() {
                Some(problem) => format!("cannot check for a daemon at {endpoint}: {problem}"),
                None => format!("the daemon {}", daemon_words(probe, options.user_name)),
            };
            let hint = end_command(Role::Own, endpoint, probe, options.program);
            Diagnostic { hint, ..Diagnostic::error(probe.code(), message) }
        }
    };
    Some(diagnostic.class(Class::Daemon))
}

/// Returns the command that ends the process that listens at `endpoint`, if the process is seen to
/// serve it; or a command that shows the process, or the owner of the socket.
pub(crate) fn end_command(role: Role, endpoint: &Endpoint, probe: &Probe, program: &str) -> Option<String> {
    match probe.pid() {
        Some(pid) if !matches!(probe, Probe::Suspended { .. }) && process_serves(endpoint, pid) => {
            Some(match role {
                Role::Own => format!("{program} daemon restart"),
                Role::Shared => format!("kill {pid}"),
            })
        }
        _ => probe.hint(endpoint),
    }
}

const LOG_LINES: usize = 10;

/// Reports that a daemon that this process started has ended.
#[must_use]
pub fn died_diagnostic(spawned: &Spawned, status: &str) -> Diagnostic {
    let message = format!("the daemon (process {}) ended: {status}", spawned.pid());
    Diagnostic::error("daemon.died", message)
        .at(spawned.log())
        .hint(log_hint(spawned.log()))
        .class(Class::Daemon)
        .causes(spawned.log_tail(LOG_LINES))
}

/// Reports that a daemon that this process started could not be stopped.
#[must_use]
pub fn not_stopped_diagnostic(error: &std::io::Error) -> Diagnostic {
    Diagnostic::from_error(error, "daemon.not-stopped", None).class(Class::Daemon)
}

/// Returns the command that shows the end of a daemon's log.
pub fn log_hint(log: &Utf8Path) -> String {
    format!("tail -n 50 {}", quote(log))
}
