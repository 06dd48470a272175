//! A child process together with the processes that it started.

use std::{
    fmt, io,
    process::ExitStatus,
    time::{Duration, Instant},
};

#[cfg(unix)]
use rustix::process::Signal;

use super::child::ChildProcess;
use crate::{process::ProcessHandle, wait::Backoff};
#[cfg(unix)]
use crate::{
    process::{SPAWN_MARK, child_has_exited, group_of, signal_group, signal_one},
    procfs,
    serving::socket_of,
    wait::deadline_after,
};

/// The time that a script gets to exit after its daemon: the script knows the daemon's status.
const SCRIPT_EXIT_TIMEOUT: Duration = Duration::from_millis(200);

/// Returns a mark that no other start has, in this program or in another one. A PID alone may be
/// reused.
pub(super) fn new_mark() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// Reaps a child in a thread once it exits, so that it leaves no zombie behind.
pub(super) fn reap_in_background(mut child: ChildProcess) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let pid = child.id();
    #[cfg(not(unix))]
    if let Err(error) = child.release() {
        tracing::warn!(pid, %error, "the daemon will end with this program");
    }
    let thread = std::thread::Builder::new().name("daemon-reaper".to_owned()).stack_size(64 * 1024);
    if let Err(error) = thread.spawn(move || child.wait()) {
        tracing::warn!(pid, %error,
            "the daemon stays a zombie after its exit: no thread can be started to reap it");
    }
}

/// The result of [`Spawned::stop`](super::Spawned::stop).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOutcome {
    /// The exit status of the child.
    pub status: ExitStatus,
    /// Set if the daemon ignored SIGTERM and was killed.
    pub killed: bool,
}

/// The exit of a daemon that was not told to exit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonExit {
    /// The status of the daemon, or of the script that started it and exited with it.
    Status(ExitStatus),
    /// The daemon exited, and the script that started it, which alone knows the status, is still
    /// running.
    Unknown,
}

impl fmt::Display for DaemonExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            Self::Unknown => {
                f.write_str("its exit status is unknown: the script that started it is still running")
            }
        }
    }
}

/// A wait for the exit of a daemon that is not a child of this program. See
/// [`Spawned::exit_watch`](super::Spawned::exit_watch).
#[derive(Debug)]
pub struct ExitWatch {
    daemon: ProcessHandle,
}

impl ExitWatch {
    /// Blocks until the daemon has exited.
    pub fn wait(self) -> io::Result<()> {
        self.daemon.wait_for_exit()
    }
}

/// A child process that this program still has to end or to release.
#[derive(Debug)]
pub(super) struct SupervisedChild {
    pub(super) child: ChildProcess,
    /// Set if another process than the child is, or may be, the daemon: a script started the
    /// program and waits for it.
    wrapped: bool,
    /// The value of [`SPAWN_MARK`].
    #[cfg_attr(not(unix), allow(dead_code, reason = "the job finds all processes there"))]
    mark: String,
    /// A handle of the child, where the system has handles: its exit ends a wait at once.
    handle: Option<ProcessHandle>,
    /// The process that answered, if it is not the child.
    daemon: Option<ProcessHandle>,
}

impl SupervisedChild {
    pub(super) fn new(child: ChildProcess, mark: String) -> Self {
        let handle = ProcessHandle::new(child.id());
        Self { wrapped: cfg!(unix), mark, handle, daemon: None, child }
    }

    /// Records the process that answered: the child, or a process that the child started. `None` is
    /// a process that the system does not show.
    pub(super) fn set_daemon(&mut self, pid: Option<u32>) {
        self.wrapped = pid != Some(self.child.id());
        self.daemon = pid.filter(|_| self.wrapped).and_then(ProcessHandle::new);
    }

    /// Returns a wait for the exit of a daemon that is not the child, so that no SIGCHLD reports
    /// its exit.
    pub(super) fn exit_watch(&self) -> Option<ExitWatch> {
        Some(ExitWatch { daemon: self.daemon.as_ref()?.try_clone().ok()? })
    }

    /// Waits for the exit of the daemon. A script around the daemon may exit before it, or outlive
    /// it.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<DaemonExit>> {
        if let Some(daemon) = &self.daemon {
            if !daemon.wait(deadline)? {
                return Ok(None);
            }
            let status = self.wait_for_child(Instant::now() + SCRIPT_EXIT_TIMEOUT)?;
            return Ok(Some(status.map_or(DaemonExit::Unknown, DaemonExit::Status)));
        }
        Ok(self.wait_for_child(deadline)?.map(DaemonExit::Status))
    }

    fn wait_for_child(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        if let Some(handle) = &self.handle {
            return if handle.wait(deadline)? { self.child.wait().map(Some) } else { self.child.try_wait() };
        }
        let mut backoff = Backoff::new(Duration::from_millis(20));
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => backoff.wait(deadline),
            }
        }
    }

    /// Waits for the next pause, or until the child exits.
    pub(super) fn pause(&self, backoff: &mut Backoff, deadline: Instant) {
        if let Some(handle) = &self.handle {
            let _ = handle.wait(backoff.next_end(deadline));
            return;
        }
        backoff.wait(deadline);
    }

    /// Returns true if the child has exited. On Unix it stays unreaped.
    pub(super) fn has_exited(&mut self) -> bool {
        #[cfg(unix)]
        return child_has_exited(self.child.id()).unwrap_or(true);
        #[cfg(not(unix))]
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Returns true if the child started the process: it is in the child's process group, or bears
    /// the mark, or, if its environment was cleared, has the child among its ancestors. Windows
    /// does not show this; there the Device ID decides.
    #[cfg(not(unix))]
    pub(super) fn has_started(&self, _: u32) -> bool {
        true
    }

    #[cfg(unix)]
    pub(super) fn has_started(&self, pid: u32) -> bool {
        let child = self.child.id();
        // After the child is reaped, its PID may belong to another process.
        let owns_pid = || child_has_exited(child).is_ok();
        if group_of(pid) == Some(child) && owns_pid() {
            return true;
        }
        procfs::has_in_environment(pid, &[SPAWN_MARK], |mark| mark == self.mark.as_bytes())
            || procfs::ancestors(pid).any(|ancestor| ancestor == child) && owns_pid()
    }

    /// Returns the processes of the child's program that the child has started and that listen. The
    /// child called `listen` before, so it is the child that the credentials of a connection name.
    #[cfg(unix)]
    fn forked_servers(&self) -> Vec<ProcessHandle> {
        let child = self.child.id();
        let Some(own) = procfs::program(child).filter(|_| !self.wrapped) else { return Vec::new() };
        let is_own = |pid: &u32| *pid != child && procfs::program(*pid).as_ref() == Some(&own);
        let others = procfs::all_pids().filter(is_own);
        let servers = others.filter(|pid| self.has_started(*pid) && socket_of(*pid).is_some());
        servers.filter_map(ProcessHandle::new).collect()
    }

    /// Ends the child and all that it started: for a candidate that failed.
    pub(super) fn end_with_descendants(mut self, grace: Duration) -> io::Result<StopOutcome> {
        self.wrapped = cfg!(unix);
        self.end(grace)
    }

    /// Ends the child, and, if a script was started, all that it started: SIGTERM, and SIGKILL
    /// after `grace`.
    #[cfg(unix)]
    pub(super) fn end(mut self, grace: Duration) -> io::Result<StopOutcome> {
        let pid = self.child.id();
        let reaped = self.child.reaped_status()?;
        let deadline = deadline_after(grace);
        let mut descendants =
            Descendants(self.daemon.take().into_iter().chain(self.forked_servers()).collect());
        let send = |descendants: &mut Descendants, signal| {
            // Finds them before the child exits: its exit takes the ancestor away by which some of
            // them are known.
            descendants.find(&self);
            match (reaped, self.wrapped) {
                (Some(_), _) => {}
                (None, true) => signal_group(pid, signal),
                (None, false) => drop(signal_one(pid, signal)),
            }
            descendants.signal(signal);
        };
        send(&mut descendants, Signal::TERM);
        let mut backoff = Backoff::new(Duration::from_millis(5));
        let mut killed = false;
        while !(reaped.is_some() || child_has_exited(pid)?) || descendants.are_alive(&self) {
            if Instant::now() >= deadline {
                killed = true;
                send(&mut descendants, Signal::KILL);
                break;
            }
            backoff.wait(deadline);
        }
        let status = match reaped {
            Some(status) => status,
            // After SIGKILL the wait is short.
            None => self.child.wait()?,
        };
        Ok(StopOutcome { status, killed })
    }

    #[cfg(not(unix))]
    pub(super) fn end(mut self, _grace: Duration) -> io::Result<StopOutcome> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(StopOutcome { status, killed: false });
        }
        self.child.kill()?;
        Ok(StopOutcome { status: self.child.wait()?, killed: true })
    }
}

/// The processes that a child started. Linux alone shows them; elsewhere the process group stands
/// for them.
#[cfg(unix)]
struct Descendants(Vec<ProcessHandle>);

#[cfg(unix)]
impl Descendants {
    /// Opens a handle for each process that the child has started since the last call, and returns
    /// the new handles.
    fn find(&mut self, child: &SupervisedChild) -> &[ProcessHandle] {
        let known = self.0.len();
        for pid in procfs::all_pids().filter(|pid| child.wrapped && *pid != child.child.id()) {
            if self.0.iter().any(|handle| handle.pid == pid) || !child.has_started(pid) {
                continue;
            }
            // Checks the process again while the handle is open: the PID may have been reused.
            let handle = ProcessHandle::new(pid);
            self.0.extend(handle.filter(|handle| handle.is_alive() && child.has_started(pid)));
        }
        &self.0[known..]
    }

    fn signal(&self, signal: Signal) {
        for handle in &self.0 {
            // Fails with ESRCH for a process that has exited meanwhile.
            let _ = handle.signal(signal);
        }
    }

    /// Returns true if a descendant is alive. Sends SIGTERM to those that were started since the
    /// last call.
    fn are_alive(&mut self, child: &SupervisedChild) -> bool {
        for late in self.find(child) {
            let _ = late.signal(Signal::TERM);
        }
        self.0.iter().any(ProcessHandle::is_alive)
    }
}
