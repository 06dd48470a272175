//! Processes, their signals and their exits.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::{
    io,
    time::{Duration, Instant},
};

#[cfg(unix)]
use rustix::{
    io::Errno,
    process::{Pid, Signal},
};

#[cfg(target_os = "linux")]
use crate::wait::poll_until;
use crate::{procfs, wait::Backoff};

pub(crate) const PROGRAM_NAME: &str = "myownmesh";
/// The default variable that tells a daemon its home.
pub(crate) const HOME_VARIABLE: &str = "MYOWNMESH_HOME";
/// The daemon's home in its user's home if the variable is not set.
pub(crate) const DEFAULT_HOME: &str = ".myownmesh";
/// The variable that marks a child and every process that it starts. A daemon that goes into the
/// background leaves its process group, and is found by the mark alone.
pub(crate) const SPAWN_MARK: &str = "MYOWNMESH_STARTED_BY";

#[cfg(unix)]
pub(crate) fn pid_of(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// A process, never mistaken for a later process with the same PID. Only Linux gives handles.
#[derive(Debug)]
pub(crate) struct ProcessHandle {
    pub(crate) pid: u32,
    kind: HandleKind,
}

#[derive(Debug)]
enum HandleKind {
    #[cfg(target_os = "linux")]
    Pidfd(OwnedFd),
    /// The start time is compared right before each use, where the kernel is too old for a pidfd or
    /// forbids it. A race of a moment remains.
    StartTime(u64),
}

impl ProcessHandle {
    /// Opens a handle, unless the process has exited.
    pub(crate) fn new(pid: u32) -> Option<Self> {
        #[cfg(target_os = "linux")]
        match Self::open_pidfd(pid) {
            Err(e) if e != Errno::SRCH => {}
            handle => return handle.ok(),
        }
        Self::open_by_start_time(pid)
    }

    /// Opens a pidfd or fails: for a process that this program did not start.
    #[cfg(target_os = "linux")]
    pub(crate) fn open_pidfd(pid: u32) -> Result<Self, Errno> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let pidfd = pidfd_open(pid_of(pid).ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        Ok(Self { pid, kind: HandleKind::Pidfd(pidfd) })
    }

    fn open_by_start_time(pid: u32) -> Option<Self> {
        Some(Self { pid, kind: HandleKind::StartTime(procfs::start_time(pid)?) })
    }

    /// Sends a signal. Fails with `ESRCH` if the process has exited.
    #[cfg(unix)]
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Errno> {
        match &self.kind {
            #[cfg(target_os = "linux")]
            HandleKind::Pidfd(pidfd) => rustix::process::pidfd_send_signal(pidfd, signal),
            HandleKind::StartTime(start) if !self.has_exited(*start) => signal_one(self.pid, signal),
            HandleKind::StartTime(_) => Err(Errno::SRCH),
        }
    }

    /// Waits for the exit. Returns `false` if the deadline came first, or if a signal handler of
    /// this program ran: the caller may have to react to the signal.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        match &self.kind {
            #[cfg(target_os = "linux")]
            HandleKind::Pidfd(pidfd) => poll_until(pidfd, rustix::event::PollFlags::IN, deadline),
            HandleKind::StartTime(start) => {
                let mut backoff = Backoff::new(Duration::from_millis(20));
                while !self.has_exited(*start) {
                    if Instant::now() >= deadline {
                        return Ok(false);
                    }
                    backoff.wait(deadline);
                }
                Ok(true)
            }
        }
    }

    /// Waits for the exit without a deadline, across signals.
    pub(crate) fn wait_for_exit(&self) -> io::Result<()> {
        const ONE_DAY: Duration = Duration::from_secs(24 * 3600);
        while !self.wait(Instant::now() + ONE_DAY)? {}
        Ok(())
    }

    #[cfg(unix)]
    pub(crate) fn is_alive(&self) -> bool {
        !self.wait(Instant::now()).unwrap_or(true)
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        let kind = match &self.kind {
            #[cfg(target_os = "linux")]
            HandleKind::Pidfd(pidfd) => HandleKind::Pidfd(pidfd.try_clone()?),
            HandleKind::StartTime(start) => HandleKind::StartTime(*start),
        };
        Ok(Self { pid: self.pid, kind })
    }

    fn has_exited(&self, start: u64) -> bool {
        procfs::stat(self.pid).is_none_or(|stat| stat.start != start || stat.has_exited())
    }
}

/// Returns true if a child of this process has exited, without reaping it: until it is reaped no
/// other process gets its PID, so that a signal reaches no other process.
#[cfg(unix)]
pub(crate) fn child_has_exited(child: u32) -> io::Result<bool> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = pid_of(child) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => return Ok(status.is_some()),
            Err(Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Signals a process group. An empty group is no error: its members have exited.
#[cfg(unix)]
pub(crate) fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = pid_of(leader)
        && let Err(error) = rustix::process::kill_process_group(pid, signal)
    {
        tracing::debug!(leader, ?signal, %error, "the process group was not signalled");
    }
}

#[cfg(unix)]
pub(crate) fn signal_one(pid: u32, signal: Signal) -> Result<(), Errno> {
    rustix::process::kill_process(pid_of(pid).ok_or(Errno::SRCH)?, signal)
}

#[cfg(unix)]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    #[cfg(target_os = "linux")]
    return procfs::stat(pid).map(|stat| stat.group);
    #[cfg(not(target_os = "linux"))]
    u32::try_from(rustix::process::getpgid(Some(pid_of(pid)?)).ok()?.as_raw_pid()).ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn sleeper() -> std::process::Child {
        std::process::Command::new("sleep").arg("600").spawn().unwrap()
    }

    #[test]
    fn handle_by_start_time_serves_where_the_kernel_gives_no_pidfd() {
        let mut child = sleeper();
        for handle in
            [ProcessHandle::new(child.id()).unwrap(), ProcessHandle::open_by_start_time(child.id()).unwrap()]
        {
            assert!(handle.is_alive());
        }
        let handle = ProcessHandle::open_by_start_time(child.id()).unwrap();
        handle.signal(Signal::TERM).unwrap();
        assert!(handle.wait(Instant::now() + Duration::from_secs(10)).unwrap(), "a zombie has exited");
        child.wait().unwrap();
        assert!(!handle.is_alive(), "a reaped process has exited");
        assert_eq!(handle.signal(Signal::TERM), Err(Errno::SRCH));
    }

    #[test]
    fn handle_by_start_time_signals_no_later_process_with_the_same_pid() {
        let mut child = sleeper();
        let start = procfs::stat(child.id()).unwrap().start;
        let previous = ProcessHandle { pid: child.id(), kind: HandleKind::StartTime(start - 1) };
        assert_eq!(previous.signal(Signal::KILL), Err(Errno::SRCH));
        assert!(!previous.is_alive());
        assert!(!child_has_exited(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
