//! The end of a daemon that this program did not start.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use myownllm_paths::{Class, camino::Utf8Path, impl_failure};
use serde::Serialize;

pub(crate) use self::platform::stop_daemon_of;
pub use self::platform::stop_serving_process;
use crate::{
    Endpoint,
    error::{foreign_owner_command, show_process_command},
    probe::PROBE_TIMEOUT,
    process::HOME_VARIABLE,
    procfs,
    serving::{self, SocketQuery, Unverified},
    transport::{self, ConnectError, Transport},
    wait::{Backoff, deadline_after},
};

/// The reason why a daemon was not ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum StopError {
    /// The system does not show the process.
    #[error("the process behind {endpoint} is not known")]
    UnknownProcess { endpoint: Endpoint },
    /// No process is verified to serve the socket. The credentials of a connection are no proof:
    /// they name the process that called `listen`. `command` shows more.
    #[error("no process is seen to serve {endpoint}, so none is signalled: {why}")]
    Unverified { endpoint: Endpoint, why: String, command: String },
    /// The kernel gives no pidfd, so that a signal could reach another process.
    #[error("the daemon at {endpoint} (process {pid}) is not signalled: the kernel gives no handle for it")]
    NoHandle { endpoint: Endpoint, pid: u32, source: std::io::Error },
    /// The process that listens does not answer as a daemon, and no other evidence makes it one.
    #[error("the process at {endpoint} does not answer as a daemon does, so it is not ended")]
    NoDaemon { endpoint: Endpoint, pid: Option<u32> },
    /// The platform has no signal that asks a process to exit.
    #[error("the daemon at {endpoint} cannot be asked to end on this platform")]
    Unsupported { endpoint: Endpoint, pid: Option<u32> },
    /// The daemon belongs to another user.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner { endpoint: Endpoint, uid: u32, pid: Option<u32> },
    /// The system denies the connection, so that the process stays unknown.
    #[error("cannot reach the daemon at {endpoint}")]
    Unreachable { endpoint: Endpoint, source: std::io::Error },
    /// The system denies the signal.
    #[error("cannot signal the daemon at {endpoint} (process {pid})")]
    Signal { endpoint: Endpoint, pid: u32, source: std::io::Error },
    /// The daemon was asked to exit and still runs.
    #[error("the daemon at {endpoint} (process {pid}) did not end within {} ms", waited.as_millis())]
    StillThere { endpoint: Endpoint, pid: u32, waited: Duration },
    /// The daemon exited, and a process still holds its listening socket, which it inherited.
    #[error(
        "the daemon at {endpoint} (process {pid}) ended, and {} still holds its socket open",
        holder.map_or_else(|| "another process".to_owned(), |holder| format!("process {holder}"))
    )]
    SocketHeld { endpoint: Endpoint, pid: u32, holder: Option<u32> },
    /// The daemon exited, and another process listens now: something restarts it.
    #[error("the daemon at {endpoint} (process {before}) ended, and process {now} has taken its place")]
    CameBack { endpoint: Endpoint, before: u32, now: u32 },
}

impl StopError {
    /// Returns the stable code of this error.
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
            Self::SocketHeld { .. } => "daemon.socket-held",
            Self::CameBack { .. } => "daemon.came-back",
        }
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        Class::Refused
    }

    /// Returns the path of the daemon's socket.
    pub fn path(&self) -> Option<&std::path::Path> {
        let (Self::UnknownProcess { endpoint }
        | Self::Unverified { endpoint, .. }
        | Self::NoHandle { endpoint, .. }
        | Self::NoDaemon { endpoint, .. }
        | Self::Unsupported { endpoint, .. }
        | Self::ForeignOwner { endpoint, .. }
        | Self::Unreachable { endpoint, .. }
        | Self::Signal { endpoint, .. }
        | Self::StillThere { endpoint, .. }
        | Self::SocketHeld { endpoint, .. }
        | Self::CameBack { endpoint, .. }) = self;
        endpoint.path().map(Utf8Path::as_std_path)
    }

    /// Returns the command that shows or mends the cause, unless only a command of the app does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownProcess { .. } => Some("pgrep -af 'myownmesh serve'".to_owned()),
            Self::Unverified { command, .. } => Some(command.clone()),
            Self::NoHandle { pid, .. } => Some(format!("kill {pid}")),
            Self::Unsupported { pid, .. } => {
                pid.map(|pid| format!("{} {pid}", if cfg!(windows) { "taskkill /f /pid" } else { "kill" }))
            }
            Self::ForeignOwner { endpoint, uid, pid } => foreign_owner_command(*uid, *pid, endpoint),
            Self::NoDaemon { pid, .. } => show_process_command(*pid),
            Self::Unreachable { endpoint, .. } => {
                endpoint.path().map(|path| format!("ls -ld {}", myownllm_durable_fs::quote(path)))
            }
            Self::SocketHeld { endpoint, holder, .. } => show_process_command(*holder).or_else(|| {
                endpoint.path().map(|path| format!("sudo fuser -v {}", myownllm_durable_fs::quote(path)))
            }),
            Self::Signal { pid, .. } => show_process_command(Some(*pid)),
            Self::StillThere { pid, .. } => Some(format!("kill -KILL {pid}")),
            Self::CameBack { now, .. } => Some(format!("ps -o ppid= -p {now}")),
        }
    }
}

impl_failure!(StopError, serialize);

/// The result of a stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum StoppedDaemon {
    /// No daemon was there.
    WasAbsent,
    /// The daemon exited, and no process listens on its socket. `took_ms` is the duration in
    /// milliseconds.
    Stopped { pid: u32, took_ms: u64 },
}

/// A process that serves a home. Its socket may be unreachable, because the socket file was
/// unlinked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ServingProcess {
    /// The process ID.
    pub pid: u32,
    /// The path of the program, if it is readable.
    pub program: Option<PathBuf>,
    /// Set if [`spawn`](crate::spawn) started it, here or in another program, and it does not
    /// listen yet.
    pub starting: bool,
    /// The socket at which it listens, if the socket file is still there: it may lie outside of the
    /// home.
    pub socket: Option<PathBuf>,
    /// Set if it is the daemon's program, or listens on a socket that was bound in the home, or
    /// listens at all and [`spawn`](crate::spawn) started it. Otherwise it may be a helper of a
    /// script that [`spawn`](crate::spawn) started.
    #[serde(skip)]
    is_verified: bool,
}

impl ServingProcess {
    /// Creates a process that was found in another way than by [`serving_processes`].
    pub fn new(pid: u32, program: Option<PathBuf>) -> Self {
        Self { pid, program, starting: false, socket: None, is_verified: false }
    }

    /// Returns the process if its environment names the home, and it serves the home or is about to.
    fn of(pid: u32, is_daemon: bool, home: &Utf8Path, home_variable: &str) -> Option<Self> {
        if !serving::names_home(pid, home, home_variable)
            && !serving::is_default_home(pid, home, home_variable)
        {
            return None;
        }
        let is_marked = serving::has_spawn_mark(pid);
        let listens = is_marked && serving::listens_in(pid, None);
        let is_verified = is_daemon || listens || serving::listens_in(pid, Some(home.as_ref()));
        let starting = is_marked && !listens;
        let (program, socket) = (procfs::program(pid), serving::socket_of(pid));
        (is_verified || starting).then_some(Self { pid, program, starting, socket, is_verified })
    }

    /// Returns true if this process is an ancestor of `pid`, such as a script that waits for the
    /// daemon that it started. Only Linux shows ancestors.
    fn is_ancestor_of(&self, pid: u32) -> bool {
        procfs::ancestors(pid).any(|ancestor| ancestor == self.pid)
    }

    /// Returns true if this process belongs to the daemon `pid`: it is that process or its
    /// ancestor, or holds the same listening socket, as after a fork. Only Linux shows this.
    pub(crate) fn is_part_of(&self, pid: u32) -> bool {
        self.pid == pid || self.is_ancestor_of(pid) || serving::share_listening_socket(self.pid, pid)
    }
}

/// Sends SIGTERM to the daemon that serves the socket `endpoint` in its home, and waits, at most
/// `within`, until it has exited and no process listens on the socket. A suspended daemon is
/// continued too, so that it can exit.
///
/// Linux alone: the daemon is verified by its open files, and is signalled through a pidfd, so that
/// the signal cannot reach another process.
///
/// # Errors
/// No process is verified to serve the socket; the daemon belongs to another user; it does not
/// exit; or the platform shows no processes.
pub fn stop_daemon(endpoint: &Endpoint, within: Duration) -> Result<StoppedDaemon, StopError> {
    stop_daemon_of(endpoint, home_of(endpoint), HOME_VARIABLE, within)
}

/// Returns true if the process is verified to serve the socket `endpoint` now, so that
/// [`stop_daemon`] would signal it. Only Linux shows this.
pub fn process_serves(endpoint: &Endpoint, pid: u32) -> bool {
    process_serves_home(endpoint, home_of(endpoint), HOME_VARIABLE, pid)
}

/// Returns the home of a daemon whose socket lies in it.
fn home_of(endpoint: &Endpoint) -> &Utf8Path {
    endpoint.path().and_then(Utf8Path::parent).unwrap_or(Utf8Path::new(""))
}

/// Does the same as [`process_serves`] for a socket that may lie outside of its daemon's home.
pub(crate) fn process_serves_home(
    endpoint: &Endpoint,
    home: &Utf8Path,
    home_variable: &str,
    pid: u32,
) -> bool {
    if !procfs::shows_our_namespace() {
        return false;
    }
    let deadline = deadline_after(PROBE_TIMEOUT);
    // The connection stays open: an accepted connection is the evidence of the process that serves.
    let (Some(socket), Ok(Some(Listening { connection: _connection, listener }))) =
        (endpoint.path(), connect(endpoint, deadline))
    else {
        return false;
    };
    let served = SocketQuery { socket, home, home_variable };
    let mut pause = Backoff::new(Duration::from_millis(20));
    loop {
        match served.process(listener) {
            Ok(server) => return server == pid,
            Err(Unverified::OtherNamespace) => return false,
            Err(_) if Instant::now() >= deadline => return false,
            Err(_) => pause.wait(deadline),
        }
    }
}

/// A socket on which a process listens.
struct Listening {
    /// The connection; `None` if the queue of the socket is full.
    connection: Option<Box<dyn Transport>>,
    /// The process that called `listen`, if the system shows it.
    listener: Option<u32>,
}

/// Connects to the socket. Returns `None` if no process listens.
fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Option<Listening>, StopError> {
    let endpoint = endpoint.clone();
    match transport::connect(&endpoint, deadline.min(deadline_after(PROBE_TIMEOUT))) {
        Ok(connection) => {
            let listener = connection.peer_pid();
            Ok(Some(Listening { connection: Some(connection), listener }))
        }
        Err(ConnectError::Full { pid }) => Ok(Some(Listening { connection: None, listener: pid })),
        Err(ConnectError::Absent { .. } | ConnectError::PathTooLong { .. }) => Ok(None),
        Err(ConnectError::ForeignOwner { uid, pid }) => Err(StopError::ForeignOwner { endpoint, uid, pid }),
        Err(
            ConnectError::Failed { source }
            | ConnectError::Denied { source, .. }
            | ConnectError::ResourceExhausted { source },
        ) => Err(StopError::Unreachable { endpoint, source }),
    }
}

/// Returns the processes with the argument `serve` whose environment names `home` in
/// `home_variable`, and which run the daemon's program, were started by [`spawn`](crate::spawn), or
/// listen on a socket in the home, reachable or not. Only Linux shows them, and only to
/// their own user and to root; otherwise the list is empty.
pub fn serving_processes(home: &Utf8Path, home_variable: &str) -> Vec<ServingProcess> {
    let [found] = serving_processes_of_each([home], home_variable, &[]);
    found
}

/// Does the same as [`serving_processes`] for several homes with one scan of all processes.
/// `programs` are daemon programs that may have other names.
pub(crate) fn serving_processes_of_each<const N: usize>(
    homes: [&Utf8Path; N],
    home_variable: &str,
    programs: &[PathBuf],
) -> [Vec<ServingProcess>; N] {
    let ourselves = std::process::id();
    let mut all: Vec<u32> = procfs::all_pids().filter(|pid| *pid != ourselves).collect();
    all.sort_unstable();
    let mut found = [const { Vec::new() }; N];
    for (pid, is_daemon) in all.into_iter().filter_map(|pid| Some((pid, serve_command(pid, programs)?))) {
        for (home, found) in homes.iter().zip(&mut found) {
            found.extend(ServingProcess::of(pid, is_daemon, home, home_variable));
        }
    }
    for found in &mut found {
        // A script that has started a daemon for the home is no second daemon that starts.
        let serving: Vec<u32> = found
            .iter()
            .filter(|process: &&ServingProcess| !process.starting)
            .map(|process| process.pid)
            .collect();
        found.retain(|process| !process.starting || !serving.iter().any(|pid| process.is_ancestor_of(*pid)));
    }
    found
}

/// Returns whether the daemon's program runs its command `serve`; `None` for a process without this
/// argument, which alone proves nothing: an editor may have it too.
fn serve_command(pid: u32, programs: &[PathBuf]) -> Option<bool> {
    let command = std::fs::read(procfs::entry(pid, "cmdline")).unwrap_or_default();
    let mut arguments = command.split(|byte| *byte == 0).skip(1);
    let position = arguments.position(|argument| argument == b"serve")?;
    Some(position == 0 && serving::runs_daemon(pid, programs))
}

#[cfg(not(target_os = "linux"))]
mod platform {
    use super::*;
    use crate::{Probe, probe};

    pub(crate) fn stop_daemon_of(
        endpoint: &Endpoint,
        _: &Utf8Path,
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
            // These platforms do not show the process that serves a socket.
            found if found.pid().is_none() && cfg!(unix) => Err(StopError::UnknownProcess { endpoint }),
            found => Err(StopError::Unsupported { endpoint, pid: found.pid() }),
        }
    }

    /// Fails: these platforms do not show that a process serves a home.
    pub fn stop_serving_process(
        process: &ServingProcess,
        home: &Utf8Path,
        _: &str,
        _: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        Err(StopError::Unsupported { endpoint: Endpoint::unix(home), pid: Some(process.pid) })
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use rustix::{io::Errno, process::Signal};

    use super::*;
    use crate::{process::ProcessHandle, wait::millis};

    /// Does the same as [`stop_daemon`] for a socket that may lie outside of its daemon's home: the
    /// process must be verified to serve `home`.
    pub(crate) fn stop_daemon_of(
        endpoint: &Endpoint,
        home: &Utf8Path,
        home_variable: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_after(within);
        let Some(Listening { connection, listener }) = connect(endpoint, deadline)? else {
            return Ok(StoppedDaemon::WasAbsent);
        };
        let endpoint = endpoint.clone();
        let socket = endpoint.path().unwrap_or(Utf8Path::new(""));
        let served = SocketQuery { socket, home, home_variable };
        let (handle, pid) = verified_server(&served, &endpoint, listener, deadline)?;
        ask_to_exit(&handle, pid, &endpoint)?;
        // An open connection could keep the daemon from exiting.
        drop(connection);
        let mut pause = Backoff::new(Duration::from_millis(10));
        let mut ended = false;
        loop {
            ended = ended || handle.wait(Instant::now()).unwrap_or(false);
            let is_late = Instant::now() >= deadline;
            let listening_pid = match transport::connect(&endpoint, Instant::now()) {
                Err(ConnectError::Absent { .. }) if ended => {
                    return Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) });
                }
                Ok(connection) => connection.peer_pid(),
                Err(ConnectError::ForeignOwner { pid, .. }) => pid,
                Err(ConnectError::Failed { source } | ConnectError::ResourceExhausted { source })
                    if ended && is_late =>
                {
                    return Err(StopError::Unreachable { endpoint, source });
                }
                Err(_) => None,
            };
            // The credentials name the process that called `listen`. The one from before the stop
            // (an activator, a parent) may keep the socket open without a daemon, so it counts as a
            // new daemon only at the deadline.
            let is_other = |now: &u32| *now != pid && (is_late || Some(*now) != listener);
            if let Some(now) = listening_pid.filter(|now| ended && is_other(now)) {
                return Err(StopError::CameBack { endpoint, before: pid, now });
            }
            if is_late && ended {
                let holder = serving::sole_listener(socket);
                return Err(StopError::SocketHeld { endpoint, pid, holder });
            }
            if is_late {
                return Err(StopError::StillThere { endpoint, pid, waited: within });
            }
            if ended {
                pause.wait(deadline);
            } else {
                // Waits for the exit, then looks at the socket again.
                ended = handle.wait(deadline).unwrap_or(false);
            }
        }
    }

    /// Verifies the process that serves the socket, and opens a handle. A daemon needs a moment to
    /// accept the connection by which it is verified.
    fn verified_server(
        served: &SocketQuery<'_>,
        endpoint: &Endpoint,
        listener: Option<u32>,
        deadline: Instant,
    ) -> Result<(ProcessHandle, u32), StopError> {
        let deadline = deadline.min(deadline_after(PROBE_TIMEOUT));
        let mut pause = Backoff::new(Duration::from_millis(20));
        loop {
            let unverified = match served.process(listener) {
                Ok(pid) if pid == std::process::id() => {
                    let source = std::io::Error::other("it is this very program");
                    return Err(StopError::Signal { endpoint: endpoint.clone(), pid, source });
                }
                Ok(pid) => {
                    let handle = open_handle(pid, endpoint)?;
                    // The check proves something only while the handle is open: before, the PID
                    // could have been reused.
                    if let Some(handle) = handle.filter(|_| served.evidence(pid).is_some()) {
                        return Ok((handle, pid));
                    }
                    Unverified::NoServer
                }
                Err(unverified) => unverified,
            };
            if unverified == Unverified::OtherNamespace || Instant::now() >= deadline {
                return Err(unverified_error(endpoint, &unverified));
            }
            pause.wait(deadline);
        }
    }

    /// Opens a pidfd, or returns `None` if the process has exited.
    fn open_handle(pid: u32, endpoint: &Endpoint) -> Result<Option<ProcessHandle>, StopError> {
        match ProcessHandle::open_pidfd(pid) {
            Ok(handle) => Ok(Some(handle)),
            Err(Errno::SRCH) => Ok(None),
            Err(e) => Err(StopError::NoHandle { endpoint: endpoint.clone(), pid, source: e.into() }),
        }
    }

    /// Sends SIGTERM. A suspended process must be continued to receive it.
    fn ask_to_exit(handle: &ProcessHandle, pid: u32, endpoint: &Endpoint) -> Result<(), StopError> {
        let sent = handle.signal(Signal::TERM).and_then(|()| match procfs::is_suspended(pid) {
            true => handle.signal(Signal::CONT),
            false => Ok(()),
        });
        match sent {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(e) => Err(StopError::Signal { endpoint: endpoint.clone(), pid, source: e.into() }),
        }
    }

    fn unverified_error(endpoint: &Endpoint, unverified: &Unverified) -> StopError {
        let place = endpoint.path().map(myownllm_durable_fs::quote).unwrap_or_default();
        let (why, command) = match unverified {
            Unverified::OtherNamespace => (
                "no visible process holds its socket: it may run in another pid namespace, as in a container"
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

    /// Ends a process that [`serving_processes`] found, after it was verified through an open pidfd.
    ///
    /// # Errors
    /// The process does not exit, or the system denies the signal.
    pub fn stop_serving_process(
        process: &ServingProcess,
        home: &Utf8Path,
        home_variable: &str,
        within: Duration,
    ) -> Result<StoppedDaemon, StopError> {
        let began = Instant::now();
        let deadline = deadline_after(within);
        let pid = process.pid;
        let endpoint = Endpoint::unix(home);
        let Some(handle) = open_handle(pid, &endpoint)? else { return Ok(StoppedDaemon::WasAbsent) };
        // The search may have accepted this program as a daemon under another name.
        let programs = process.program.clone().filter(|_| !process.starting);
        let now = serve_command(pid, programs.as_slice())
            .and_then(|is_daemon| ServingProcess::of(pid, is_daemon, home, home_variable));
        let Some(now) = now else { return Ok(StoppedDaemon::WasAbsent) };
        if !now.is_verified {
            let why = format!("process {pid} was started for this home, and is not seen to serve it");
            let command = format!("ps -fp {pid}");
            return Err(StopError::Unverified { endpoint, why, command });
        }
        ask_to_exit(&handle, pid, &endpoint)?;
        while !handle.wait(deadline).unwrap_or(false) {
            if Instant::now() >= deadline {
                return Err(StopError::StillThere { endpoint, pid, waited: within });
            }
        }
        Ok(StoppedDaemon::Stopped { pid, took_ms: millis(began.elapsed()) })
    }
}
