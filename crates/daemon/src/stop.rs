//! StopOutcome a daemon that we did not start.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{Endpoint, error::inspect_process_command, home_daemons::HOME_VARIABLE};

/// How long a look may take that tells which process it is.
const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// Why a daemon was not ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The system does not tell which process it is.
    #[error("the process behind {endpoint} is not known")]
    UnknownProcess {
        /// Where.
        endpoint: Endpoint,
    },
    /// No process is seen to serve the socket now. The connection's credentials are no proof: they name the process that
    /// called `listen`.
    #[error("no process is seen to serve {endpoint}, so none is signalled: {why}")]
    Unverified {
        /// Where.
        endpoint: Endpoint,
        /// What is known instead, in words.
        why: String,
        /// The command that shows more.
        command: String,
    },
    /// The kernel cannot hold on to the process, so that a signal might reach another one with its number.
    #[error("the daemon at {endpoint} (process {pid}) is not signalled: the kernel gives no handle for it")]
    NoHandle {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        pid: u32,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Whoever listens there does not speak as a daemon, and nothing else says that it is one.
    #[error("what listens at {endpoint} does not answer as a daemon does, so it is not ended")]
    NoDaemon {
        /// Where.
        endpoint: Endpoint,
        /// Who, where the system tells.
        pid: Option<u32>,
    },
    /// There is no polite way here.
    #[error("the daemon at {endpoint} cannot be asked to end on this platform")]
    Unsupported {
        /// Where.
        endpoint: Endpoint,
        /// Who, where the system tells.
        pid: Option<u32>,
    },
    /// It belongs to another user.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner {
        /// Where.
        endpoint: Endpoint,
        /// Whose.
        uid: u32,
        /// Who, where the system tells.
        pid: Option<u32>,
    },
    /// The system does not let us connect, so that we cannot tell who it is.
    #[error("the daemon at {endpoint} cannot be reached")]
    Unreachable {
        /// Where.
        endpoint: Endpoint,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The system would not deliver the signal.
    #[error("the daemon at {endpoint} (process {pid}) cannot be signalled")]
    Signal {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        pid: u32,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It was asked and is still there.
    #[error("the daemon at {endpoint} (process {pid}) did not end within {} ms", waited.as_millis())]
    StillThere {
        /// Where.
        endpoint: Endpoint,
        /// Who.
        pid: u32,
        /// How long we waited.
        waited: Duration,
    },
    /// It ended, and another one listens there now: something starts it again.
    #[error("the daemon at {endpoint} (process {before}) ended, and process {now} has taken its place")]
    CameBack {
        /// Where.
        endpoint: Endpoint,
        /// Who it was.
        before: u32,
        /// Who it is now.
        now: u32,
    },
}

impl StopError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnknownProcess { .. } => "daemon.unknown-process",
            Self::Unverified { .. } => "daemon.not-seen",
            Self::NoHandle { .. } => "daemon.signal",
            Self::NoDaemon { .. } => "daemon.not-one",
            Self::Unsupported { .. } => "daemon.stop-unsupported",
            Self::ForeignOwner { .. } => "daemon.foreign-owner",
            Self::Unreachable { .. } => "daemon.unreachable",
            Self::Signal { .. } => "daemon.signal",
            Self::StillThere { .. } => "daemon.still-running",
            Self::CameBack { .. } => "daemon.came-back",
        }
    }

    /// The command that shows or mends it, where there is one that is no app's own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownProcess { .. } => Some("pgrep -af 'myownmesh serve'".to_owned()),
            Self::Unverified { command, .. } => Some(command.clone()),
            Self::NoHandle { pid, .. } => Some(format!("kill {pid}")),
            Self::Unsupported { pid, .. } => {
                pid.map(|pid| format!("{} {pid}", if cfg!(windows) { "taskkill /pid" } else { "kill" }))
            }
            Self::ForeignOwner { pid, .. } | Self::NoDaemon { pid, .. } => inspect_process_command(*pid),
            Self::Unreachable { endpoint, .. } => {
                endpoint.path().map(|path| format!("ls -ld {}", myownllm_durable_fs::quote(path)))
            }
            Self::Signal { pid, .. } => inspect_process_command(Some(*pid)),
            Self::StillThere { pid, .. } => Some(format!("kill -KILL {pid}")),
            Self::CameBack { now, .. } => Some(format!("ps -o ppid= -p {now}")),
        }
    }
}

/// What became of a daemon that was asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoppedDaemon {
    /// Nobody was there.
    WasAbsent,
    /// It ended, and its socket is silent.
    Stopped {
        /// Who.
        pid: u32,
        /// How long it took, in milliseconds.
        took_ms: u64,
    },
}

/// A process that serves a home although no socket may lead to it: a daemon whose socket file was removed under it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct OrphanDaemon {
    /// Its process id.
    pub pid: u32,
    /// Its program, where it can be read.
    pub program: Option<PathBuf>,
    /// [`spawn`](crate::spawn) started it, here or in another program, and it does not listen yet.
    pub starting: bool,
}

impl OrphanDaemon {
    /// A process that was found in another way than by [`orphans_of`].
    #[must_use]
    pub fn new(pid: u32, program: Option<PathBuf>) -> Self {
        Self { pid, program, starting: false }
    }

    /// Whether it started that process, or one that did: a script that waits for the daemon is no second daemon. Linux alone
    /// tells.
    #[must_use]
    pub fn stands_above(&self, pid: u32) -> bool {
        #[cfg(target_os = "linux")]
        return crate::process::ancestors(pid).any(|above| above == self.pid);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = pid;
            false
        }
    }

    /// Whether it is no daemon beside the process `pid`: it is that process, stands above it, or holds the same listening
    /// socket, as a process does that forked after `listen`. Linux alone tells.
    pub(crate) fn is_part_of(&self, pid: u32) -> bool {
        #[cfg(target_os = "linux")]
        if crate::serving::share_listening_socket(self.pid, pid) {
            return true;
        }
        self.pid == pid || self.stands_above(pid)
    }
}

/// Sends SIGTERM to the daemon that serves the socket `endpoint` in its home, and waits, at most `within`, until it has
/// ended and its socket is silent. A suspended daemon is also continued, because it could not end.
///
/// Linux alone: a process is signalled only if it is seen to serve the socket now, by its open descriptors, and through a
/// handle of the kernel, so that the signal cannot reach another process that got its number meanwhile.
///
/// # Errors
/// No process is seen to serve it; it belongs to another user; it does not end; or the platform does not tell.
pub fn stop_daemon(endpoint: &Endpoint, within: Duration) -> Result<StoppedDaemon, StopError> {
    let home = endpoint.path().and_then(Path::parent).unwrap_or(Path::new(""));
    stop_daemon_of(endpoint, &[home], HOME_VARIABLE, within)
}

/// Whether a process is seen to serve the socket `endpoint` now, so that [`stop_daemon`] would signal it. Linux alone tells.
#[must_use]
pub fn process_serves(endpoint: &Endpoint, pid: u32) -> bool {
    let home = endpoint.path().and_then(Path::parent).unwrap_or(Path::new(""));
    process_serves_home(endpoint, &[home], HOME_VARIABLE, pid)
}

/// [`process_serves`] for a socket that may lie outside of its daemon's home.
pub(crate) fn process_serves_home(
    endpoint: &Endpoint,
    homes: &[&Path],
    home_variable: &str,
    pid: u32,
) -> bool {
    #[cfg(target_os = "linux")]
    return platform::seen(endpoint, homes, home_variable) == Some(pid);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = (endpoint, homes, home_variable, pid);
        false
    }
}

/// [`stop_daemon`] for a socket that may lie outside of its daemon's home, because a config names it: the process has to
/// be seen to serve one of the `homes`, too.
pub(crate) fn stop_daemon_of(
    endpoint: &Endpoint,
    homes: &[&Path],
    home_variable: &str,
    within: Duration,
) -> Result<StoppedDaemon, StopError> {
    platform::stop_daemon(endpoint, homes, home_variable, within)
}

/// Processes that serve `home`: their environment names it in `home_variable`, and they run `serve`. Linux alone tells;
/// the list is empty elsewhere. Only processes whose environment we may read are seen: one's own, or all for root.
pub fn orphans_of(home: &Path, home_variable: &str) -> Vec<OrphanDaemon> {
    let [found] = orphans_of_each([home], home_variable);
    found
}

/// [`orphans_of`] for each of these homes, with one look at all processes.
pub fn orphans_of_each<const N: usize>(homes: [&Path; N], home_variable: &str) -> [Vec<OrphanDaemon>; N] {
    platform::orphans_of_each(homes, home_variable)
}

/// As [`stop_daemon`], for a process that [`orphans_of`] found: it is looked at again once the kernel holds on to it.
///
/// # Errors
/// It does not end, or the system would not deliver the signal.
pub fn stop_orphan(
    stray: &OrphanDaemon,
    home: &Path,
    home_variable: &str,
    within: Duration,
) -> Result<StoppedDaemon, StopError> {
    platform::stop_orphan(stray, home, home_variable, within)
}

#[cfg(target_os = "linux")]
pub(crate) use platform::is_same_dir;

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;
    use crate::{Probe, probe};

    pub(super) fn stop_daemon(
        endpoint: &Endpoint,
        _: &[&Path],
        _: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let endpoint = endpoint.clone();
        match probe(&endpoint, within.min(PROBE_TIMEOUT)) {
            Probe::Absent { .. } | Probe::PathTooLong { .. } => Ok(StoppedDaemon::WasAbsent),
            Probe::ForeignOwner { uid, pid } => Err(StopError::ForeignOwner { endpoint, uid, pid }),
            Probe::Unknown { problem } | Probe::ResourceExhausted { problem } => {
                Err(StopError::Unreachable { endpoint, source: std::io::Error::other(problem) })
            }
            // Nothing here shows which process serves a socket now.
            found if found.pid().is_none() && cfg!(unix) => Err(StopError::UnknownProcess { endpoint }),
            found => Err(StopError::Unsupported { endpoint, pid: found.pid() }),
        }
    }

    pub(super) fn orphans_of_each<const N: usize>(_: [&Path; N], _: &str) -> [Vec<OrphanDaemon>; N] {
        [const { Vec::new() }; N]
    }

    pub(super) fn stop_orphan(
        stray: &OrphanDaemon,
        home: &Path,
        _: &str,
        _: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        Err(StopError::Unsupported { endpoint: Endpoint::unix(home), pid: Some(stray.pid) })
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use std::time::Instant;

    use rustix::{io::Errno, process::Signal};

    use super::*;
    use crate::{
        probe::millis,
        process::{self, Backoff, ProcessHandle},
        serving::{self, SocketQuery, Unverified},
        transport::{self, ConnectError, Transport, deadline_after},
    };

    pub(super) fn stop_daemon(
        endpoint: &Endpoint,
        homes: &[&Path],
        home_variable: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_after(within);
        let here = || endpoint.clone();
        let Some((connection, listener)) = connected(endpoint, deadline)? else {
            return Ok(StoppedDaemon::WasAbsent);
        };
        let socket = endpoint.path().unwrap_or(Path::new(""));
        let served = SocketQuery { socket, homes, home_variable };
        let (held, pid) = hold(&served, endpoint, listener, deadline)?;
        end(&held, pid, endpoint)?;
        // A connection of ours must not keep it from ending.
        drop(connection);
        let mut pause = Backoff::new(Duration::from_millis(10));
        let mut ended = false;
        loop {
            ended = ended || held.wait(Instant::now()).unwrap_or(false);
            let now = match transport::connect(endpoint, Instant::now()) {
                Err(ConnectError::Absent { .. }) if ended => {
                    return Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) });
                }
                Ok(connection) => connection.peer().pid,
                Err(ConnectError::ForeignOwner { pid, .. }) => pid,
                Err(_) => None,
            };
            let is_late = Instant::now() >= deadline;
            // The process that called `listen` was another one than the daemon all the time, if they differ.
            if let Some(now) = now.filter(|now| ended && *now != pid && (is_late || Some(*now) != listener)) {
                return Err(StopError::CameBack { endpoint: here(), before: pid, now });
            }
            if is_late {
                return Err(StopError::StillThere { endpoint: here(), pid, waited: within });
            }
            if ended {
                pause.wait(deadline);
            } else {
                // Woken by its end, and not by the clock.
                ended = held.wait(deadline).unwrap_or(false);
            }
        }
    }

    /// A connection to the socket, if one can be had, and the process that called `listen`; `None` if nobody listens.
    #[expect(clippy::type_complexity, reason = "an optional pair")]
    fn connected(
        endpoint: &Endpoint,
        deadline: Instant,
    ) -> Result<Option<(Option<Box<dyn Transport>>, Option<u32>)>, StopError> {
        let here = || endpoint.clone();
        match transport::connect(endpoint, deadline.min(deadline_after(PROBE_TIMEOUT))) {
            Ok(connection) => {
                let listener = connection.peer().pid;
                Ok(Some((Some(connection), listener)))
            }
            Err(ConnectError::Full { pid }) => Ok(Some((None, pid))),
            Err(ConnectError::Absent { .. } | ConnectError::PathTooLong { .. }) => Ok(None),
            Err(ConnectError::ForeignOwner { uid, pid }) => {
                Err(StopError::ForeignOwner { endpoint: here(), uid, pid })
            }
            Err(
                ConnectError::Failed { source }
                | ConnectError::Closed { source, .. }
                | ConnectError::ResourceExhausted { source },
            ) => Err(StopError::Unreachable { endpoint: here(), source }),
        }
    }

    /// The process that is seen to serve the socket.
    pub(super) fn seen(endpoint: &Endpoint, homes: &[&Path], home_variable: &str) -> Option<u32> {
        let deadline = deadline_after(PROBE_TIMEOUT);
        let (_connection, listener) = connected(endpoint, deadline).ok()??;
        let served = SocketQuery { socket: endpoint.path()?, homes, home_variable };
        let mut pause = Backoff::new(Duration::from_millis(20));
        loop {
            match served.process(listener) {
                Ok(pid) => return Some(pid),
                Err(Unverified::OtherNamespace) => return None,
                Err(_) if Instant::now() >= deadline => return None,
                Err(_) => pause.wait(deadline),
            }
        }
    }

    /// Finds the process that serves the socket, and takes hold of it. A daemon needs a moment to accept the connection by
    /// which it is seen.
    fn hold(
        served: &SocketQuery<'_>,
        endpoint: &Endpoint,
        listener: Option<u32>,
        deadline: Instant,
    ) -> Result<(ProcessHandle, u32), StopError> {
        let deadline = deadline.min(deadline_after(PROBE_TIMEOUT));
        let mut pause = Backoff::new(Duration::from_millis(20));
        loop {
            let unseen = match served.process(listener) {
                Ok(pid) if pid == std::process::id() => {
                    let source = std::io::Error::other("it is this very program");
                    return Err(StopError::Signal { endpoint: endpoint.clone(), pid, source });
                }
                Ok(pid) => {
                    let held = hold_process(pid, endpoint)?;
                    // Only now, with the process held, does this say that the number is still the daemon's.
                    if let Some(held) = held.filter(|_| served.evidence(pid).is_some()) {
                        return Ok((held, pid));
                    }
                    Unverified::NoServer
                }
                Err(unseen) => unseen,
            };
            if unseen == Unverified::OtherNamespace || Instant::now() >= deadline {
                return Err(not_seen(endpoint, &unseen));
            }
            pause.wait(deadline);
        }
    }

    /// A handle on a process that cannot come to mean another one; `None` if it has ended.
    fn hold_process(pid: u32, endpoint: &Endpoint) -> Result<Option<ProcessHandle>, StopError> {
        match ProcessHandle::open_pidfd(pid) {
            Ok(held) => Ok(Some(held)),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(StopError::NoHandle { endpoint: endpoint.clone(), pid, source: e.into() }),
        }
    }

    /// Asks a process to end. A suspended one would not hear it.
    fn end(held: &ProcessHandle, pid: u32, endpoint: &Endpoint) -> Result<(), StopError> {
        let sent = held.signal(Signal::TERM).and_then(|()| match process::is_suspended(pid) {
            true => held.signal(Signal::CONT),
            false => Ok(()),
        });
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(StopError::Signal { endpoint: endpoint.clone(), pid, source: e.into() }),
        }
    }

    fn not_seen(endpoint: &Endpoint, unseen: &Unverified) -> StopError {
        let place = endpoint.path().map(myownllm_durable_fs::quote).unwrap_or_default();
        let (why, command) = match unseen {
            Unverified::OtherNamespace => (
                "it runs in another pid namespace, a container for example, and has to be ended there"
                    .to_owned(),
                "lsns -t pid".to_owned(),
            ),
            Unverified::Hidden(pid) => (
                format!("the system does not show which files process {pid} has open"),
                format!("sudo fuser -v {place}"),
            ),
            Unverified::NoServer => (
                "the process that holds its socket is not seen to be the daemon of this home".to_owned(),
                format!("sudo fuser -v {place}"),
            ),
            Unverified::Several(pids) => {
                let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
                (
                    format!("processes {} hold its socket, and nothing tells them apart", pids.join(" and ")),
                    format!("ps -fp {}", pids.join(",")),
                )
            }
        };
        StopError::Unverified { endpoint: endpoint.clone(), why, command }
    }

    pub(super) fn orphans_of_each<const N: usize>(
        homes: [&Path; N],
        home_variable: &str,
    ) -> [Vec<OrphanDaemon>; N] {
        let ourselves = std::process::id();
        let mut all: Vec<u32> = process::all_pids().filter(|pid| *pid != ourselves).collect();
        all.sort_unstable();
        let mut found = [const { Vec::new() }; N];
        for pid in all {
            let Some(program) = serve_process(pid) else { continue };
            for (home, found) in homes.iter().zip(&mut found) {
                if program.may_serve(home, home_variable) {
                    found.push(OrphanDaemon {
                        pid,
                        program: std::fs::read_link(format!("/proc/{pid}/exe")).ok(),
                        starting: serving::has_spawn_mark(pid) && !serving::listens_in(pid, None),
                    });
                }
            }
        }
        found
    }

    /// A process that is told to `serve`.
    struct ServeProcess {
        pid: u32,
        has_daemon_name: bool,
    }

    fn serve_process(pid: u32) -> Option<ServeProcess> {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let last = words.iter().skip(1).position(|word| *word == b"serve")?;
        // A script's name stands behind that of what runs it.
        let has_daemon_name =
            words[..=last].iter().any(|word| serving::has_daemon_name(serving::as_path(word)));
        Some(ServeProcess { pid, has_daemon_name })
    }

    impl ServeProcess {
        /// Whether it may serve this home. A process that the daemon started has the daemon's environment too, but hardly
        /// its argument. Where the variable is exported, other programs that are told to `serve` have both: a daemon also
        /// has the daemon's name, or a socket that it listens on, or the mark of those that we start.
        fn may_serve(&self, home: &Path, home_variable: &str) -> bool {
            serving::names_home(self.pid, home, home_variable)
                && (self.is_a_daemon() || serving::listens_in(self.pid, None))
        }

        /// Whether it is seen to serve this home: another program that listens elsewhere may have all the rest.
        fn serves(&self, home: &Path, home_variable: &str) -> bool {
            serving::names_home(self.pid, home, home_variable)
                && (self.is_a_daemon()
                    || serving::has_working_dir(self.pid, home)
                    || serving::listens_in(self.pid, Some(home)))
        }

        fn is_a_daemon(&self) -> bool {
            self.has_daemon_name || serving::has_spawn_mark(self.pid)
        }
    }

    pub(crate) fn is_same_dir(a: &Path, b: &Path) -> bool {
        a == b || matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
    }

    pub(super) fn stop_orphan(
        stray: &OrphanDaemon,
        home: &Path,
        home_variable: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_after(within);
        let pid = stray.pid;
        let here = || Endpoint::unix(home);
        let Some(held) = hold_process(pid, &here())? else { return Ok(StoppedDaemon::WasAbsent) };
        let Some(program) = serve_process(pid).filter(|program| program.may_serve(home, home_variable))
        else {
            return Ok(StoppedDaemon::WasAbsent);
        };
        if !program.serves(home, home_variable) {
            let why = format!("process {pid} is told of this home, and may be no daemon");
            return Err(StopError::Unverified { endpoint: here(), why, command: format!("ps -fp {pid}") });
        }
        end(&held, pid, &here())?;
        while !held.wait(deadline).unwrap_or(false) {
            if Instant::now() >= deadline {
                return Err(StopError::StillThere { endpoint: here(), pid, waited: within });
            }
        }
        Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) })
    }
}
