//! Ending a daemon that we did not start.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{Endpoint, error::look_at};

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
            Self::Unsupported { pid, .. } => {
                pid.map(|pid| format!("{} {pid}", if cfg!(windows) { "taskkill /pid" } else { "kill" }))
            }
            Self::ForeignOwner { pid, .. } | Self::NoDaemon { pid, .. } => look_at(*pid),
            Self::Unreachable { endpoint, .. } => {
                endpoint.path().map(|path| format!("ls -ld {}", myownllm_durable_fs::quote(path)))
            }
            Self::Signal { pid, .. } => look_at(Some(*pid)),
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
pub struct Stray {
    /// Its process id.
    pub pid: u32,
    /// Its program, where it can be read.
    pub program: Option<PathBuf>,
    /// [`spawn`](crate::spawn) started it, here or in another program, and it does not listen yet.
    pub starting: bool,
}

impl Stray {
    /// A process that was found in another way than by [`strays_of`].
    #[must_use]
    pub fn new(pid: u32, program: Option<PathBuf>) -> Self {
        Self { pid, program, starting: false }
    }

    /// Whether it started that process, or one that did: a script that waits for the daemon is no second daemon. Linux alone
    /// tells.
    #[must_use]
    pub fn stands_above(&self, pid: u32) -> bool {
        #[cfg(target_os = "linux")]
        return crate::process::above(pid).any(|above| above == self.pid);
        #[cfg(not(target_os = "linux"))]
        {
            let _ = pid;
            false
        }
    }
}

/// Sends SIGTERM to whoever listens at `endpoint`, and waits, at most `within`, until it has ended and its socket is
/// silent.
///
/// The process is the one that the kernel names for the socket. Where the kernel can hold on to a process (Linux, since
/// 5.3) the signal cannot reach another one that got the number meanwhile; elsewhere the connection is looked at just
/// before, and a moment remains.
///
/// # Errors
/// It is not known who that is; it is somebody else's; it does not end; or there is no polite way (Windows).
pub fn stop_daemon(endpoint: &Endpoint, within: Duration) -> Result<StoppedDaemon, StopError> {
    platform::stop_daemon(endpoint, within)
}

/// Processes that serve `home`: their environment names it in `home_variable`, and they run `serve`. Linux alone tells;
/// the list is empty elsewhere. Only processes whose environment we may read are seen: one's own, or all for root.
pub fn strays_of(home: &Path, home_variable: &str) -> Vec<Stray> {
    let [found] = strays_of_each([home], home_variable);
    found
}

/// [`strays_of`] for each of these homes, with one look at all processes.
pub fn strays_of_each<const N: usize>(homes: [&Path; N], home_variable: &str) -> [Vec<Stray>; N] {
    platform::strays_of_each(homes, home_variable)
}

/// As [`stop_daemon`], for a process that [`strays_of`] found: it is looked at again once the kernel holds on to it.
///
/// # Errors
/// It does not end, or the system would not deliver the signal.
pub fn stop_stray(
    stray: &Stray,
    home: &Path,
    home_variable: &str,
    within: Duration,
) -> Result<StoppedDaemon, StopError> {
    platform::stop_stray(stray, home, home_variable, within)
}

#[cfg(target_os = "linux")]
pub(crate) use platform::{is_same_folder, names_home};

#[cfg(windows)]
mod platform {
    use super::*;
    use crate::{Probe, probe};

    pub(super) fn stop_daemon(endpoint: &Endpoint, within: Duration) -> Result<StoppedDaemon, StopError> {
        match probe(endpoint, within) {
            Probe::Absent { .. } => Ok(StoppedDaemon::WasAbsent),
            found => Err(StopError::Unsupported { endpoint: endpoint.clone(), pid: found.pid() }),
        }
    }

    pub(super) fn strays_of_each<const N: usize>(_: [&Path; N], _: &str) -> [Vec<Stray>; N] {
        [const { Vec::new() }; N]
    }

    pub(super) fn stop_stray(
        stray: &Stray,
        home: &Path,
        _: &str,
        _: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        Err(StopError::Unsupported { endpoint: Endpoint::unix(home), pid: Some(stray.pid) })
    }
}

#[cfg(unix)]
mod platform {
    use std::time::Instant;

    use rustix::{io::Errno, process::Signal};

    use super::*;
    #[cfg(not(target_os = "linux"))]
    use crate::process::signal_one;
    use crate::{
        probe::millis,
        process::Pause,
        transport::{self, NoConnection, deadline_in},
    };

    /// How long the connection may take that tells us who it is.
    const LOOK: Duration = Duration::from_millis(800);

    pub(super) fn stop_daemon(endpoint: &Endpoint, within: Duration) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_in(within);
        let here = || endpoint.clone();
        let (connection, pid) = match transport::connect(endpoint, deadline.min(deadline_in(LOOK))) {
            Ok(connection) => {
                let pid = connection.peer().pid;
                (Some(connection), pid)
            }
            Err(NoConnection::Full { pid }) => (None, pid),
            Err(NoConnection::Absent { .. } | NoConnection::PathTooLong { .. }) => {
                return Ok(StoppedDaemon::WasAbsent);
            }
            Err(NoConnection::ForeignOwner { uid, pid }) => {
                return Err(StopError::ForeignOwner { endpoint: here(), uid, pid });
            }
            Err(NoConnection::Failed { source } | NoConnection::NoMeans { source }) => {
                return Err(StopError::Unreachable { endpoint: here(), source });
            }
        };
        let Some(pid) = pid else { return Err(StopError::UnknownProcess { endpoint: here() }) };
        if pid == std::process::id() {
            let source = std::io::Error::other("it is this very program");
            return Err(StopError::Signal { endpoint: here(), pid, source });
        }
        let mut gone = Gone::of(pid);
        // Only now, with the process held, does this say that the number is still the daemon's.
        let is_still_it = match (&connection, endpoint.path()) {
            (Some(connection), _) => !connection.is_hung_up(),
            (None, Some(path)) => transport::listener_pid(path) == Some(pid),
            (None, None) => false,
        };
        if is_still_it {
            match gone.signal(pid) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(e) => return Err(StopError::Signal { endpoint: here(), pid, source: e.into() }),
            }
        }
        // A connection of ours must not keep it from ending.
        drop(connection);
        let mut pause = Pause::new(Duration::from_millis(10));
        loop {
            let ended = gone.is_so(pid);
            let now = match transport::connect(endpoint, Instant::now()) {
                Err(NoConnection::Absent { .. }) if ended => {
                    return Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) });
                }
                Ok(connection) => connection.peer().pid,
                Err(NoConnection::ForeignOwner { pid, .. }) => pid,
                Err(_) => None,
            };
            if let Some(now) = now.filter(|now| ended && *now != pid) {
                return Err(StopError::CameBack { endpoint: here(), before: pid, now });
            }
            if Instant::now() >= deadline {
                return Err(StopError::StillThere { endpoint: here(), pid, waited: within });
            }
            gone.wait(&mut pause, deadline);
        }
    }

    /// Whether a process has gone.
    #[derive(Debug)]
    struct Gone {
        #[cfg(target_os = "linux")]
        held: Result<crate::process::Held, Errno>,
        seen: bool,
    }

    impl Gone {
        fn of(pid: u32) -> Self {
            Self {
                #[cfg(target_os = "linux")]
                held: crate::process::Held::new(pid),
                #[cfg(not(target_os = "linux"))]
                seen: {
                    let _ = pid;
                    false
                },
                #[cfg(target_os = "linux")]
                seen: false,
            }
        }

        fn signal(&self, pid: u32) -> Result<(), Errno> {
            #[cfg(target_os = "linux")]
            {
                let _ = pid;
                self.held.as_ref().map_err(|errno| *errno)?.signal(Signal::TERM)
            }
            #[cfg(not(target_os = "linux"))]
            signal_one(pid, Signal::TERM)
        }

        fn is_so(&mut self, pid: u32) -> bool {
            if !self.seen {
                self.seen = self.look(pid);
            }
            self.seen
        }

        fn look(&self, pid: u32) -> bool {
            #[cfg(target_os = "linux")]
            {
                let _ = pid;
                self.held.as_ref().map_or(true, |held| held.wait(Instant::now()).unwrap_or(false))
            }
            #[cfg(not(target_os = "linux"))]
            match crate::process::pid_of(pid) {
                Some(pid) => rustix::process::test_kill_process(pid) == Err(Errno::SRCH),
                None => true,
            }
        }

        fn wait(&mut self, pause: &mut Pause, deadline: Instant) {
            #[cfg(target_os = "linux")]
            if let (false, Ok(held)) = (self.seen, &self.held) {
                // Woken by its end, and not by the clock.
                self.seen = held.wait(deadline).unwrap_or(false);
                return;
            }
            pause.wait(deadline);
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn strays_of_each<const N: usize>(_: [&Path; N], _: &str) -> [Vec<Stray>; N] {
        [const { Vec::new() }; N]
    }

    #[cfg(target_os = "linux")]
    pub(super) fn strays_of_each<const N: usize>(homes: [&Path; N], home_variable: &str) -> [Vec<Stray>; N] {
        let ourselves = std::process::id();
        let mut all: Vec<u32> = crate::process::all().filter(|pid| *pid != ourselves).collect();
        all.sort_unstable();
        let mut found = [const { Vec::new() }; N];
        for pid in all {
            let Some(program) = told_to_serve(pid) else { continue };
            for (home, found) in homes.iter().zip(&mut found) {
                if program.serves(home, home_variable) {
                    found.push(Stray {
                        pid,
                        program: std::fs::read_link(format!("/proc/{pid}/exe")).ok(),
                        starting: was_spawned(pid) && !crate::process::listens_on_a_named_socket(pid),
                    });
                }
            }
        }
        found
    }

    /// A process that is told to `serve`.
    #[cfg(target_os = "linux")]
    struct ToldToServe {
        pid: u32,
        named_like_a_daemon: bool,
    }

    #[cfg(target_os = "linux")]
    fn told_to_serve(pid: u32) -> Option<ToldToServe> {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
        let last = words.iter().skip(1).position(|word| *word == b"serve")?;
        // A script's name stands behind that of what runs it.
        let named_like_a_daemon = words[..=last].iter().any(|word| is_named_like_a_daemon(word));
        Some(ToldToServe { pid, named_like_a_daemon })
    }

    #[cfg(target_os = "linux")]
    impl ToldToServe {
        /// Whether it serves this home. A process that the daemon started has the daemon's environment too, but hardly its
        /// argument. Where the variable is exported, other programs that are told to `serve` have both: a daemon also has
        /// the daemon's name, or a socket that it listens on, or the mark of those that we start.
        fn serves(&self, home: &Path, home_variable: &str) -> bool {
            let pid = self.pid;
            crate::process::has_in_environment(pid, |entry| names_home(entry, home, home_variable))
                && (self.named_like_a_daemon
                    || was_spawned(pid)
                    || crate::process::listens_on_a_named_socket(pid))
        }
    }

    /// Whether it bears the mark of a program that we started as a daemon: it may not listen yet.
    #[cfg(target_os = "linux")]
    fn was_spawned(pid: u32) -> bool {
        crate::process::has_in_environment(pid, |entry| {
            entry.strip_prefix(crate::spawn::MARK.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        })
    }

    #[cfg(target_os = "linux")]
    fn is_named_like_a_daemon(program: &[u8]) -> bool {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let name = Path::new(OsStr::from_bytes(program)).file_name();
        name.is_some_and(|name| name.as_bytes().starts_with(crate::candidates::NAME.as_bytes()))
    }

    /// Whether an entry of an environment tells a daemon that this is its home.
    #[cfg(target_os = "linux")]
    pub(crate) fn names_home(entry: &[u8], home: &Path, home_variable: &str) -> bool {
        use std::{ffi::OsStr, os::unix::ffi::OsStrExt};

        let value = entry.strip_prefix(home_variable.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        value.is_some_and(|value| is_same_folder(Path::new(OsStr::from_bytes(value)), home))
    }

    #[cfg(target_os = "linux")]
    pub(crate) fn is_same_folder(a: &Path, b: &Path) -> bool {
        a == b || matches!((std::fs::canonicalize(a), std::fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn stop_stray(
        stray: &Stray,
        home: &Path,
        _: &str,
        _: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        Err(StopError::Unsupported { endpoint: Endpoint::unix(home), pid: Some(stray.pid) })
    }

    #[cfg(target_os = "linux")]
    pub(super) fn stop_stray(
        stray: &Stray,
        home: &Path,
        home_variable: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_in(within);
        let pid = stray.pid;
        let here = || Endpoint::unix(home);
        let mut gone = Gone::of(pid);
        if !told_to_serve(pid).is_some_and(|program| program.serves(home, home_variable)) {
            return Ok(StoppedDaemon::WasAbsent);
        }
        match gone.signal(pid) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(e) => return Err(StopError::Signal { endpoint: here(), pid, source: e.into() }),
        }
        let mut pause = Pause::new(Duration::from_millis(10));
        while !gone.is_so(pid) {
            if Instant::now() >= deadline {
                return Err(StopError::StillThere { endpoint: here(), pid, waited: within });
            }
            gone.wait(&mut pause, deadline);
        }
        Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) })
    }
}
