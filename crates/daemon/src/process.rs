//! A process and its end.

#[cfg(unix)]
use std::io;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal};

/// Waits longer and longer between two looks, where the system cannot wake us.
pub(crate) struct Pause {
    next: Duration,
    longest: Duration,
}

impl Pause {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { next: Duration::from_millis(1), longest }
    }

    /// Sleeps, but not beyond the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) {
        std::thread::sleep(self.next.min(deadline.saturating_duration_since(Instant::now())));
        self.next = (self.next * 3 / 2).min(self.longest);
    }
}

#[cfg(unix)]
pub(crate) fn pid_of(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// A process that cannot be mistaken for a later one with the same number, on a kernel that offers such a thing.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct Held(std::os::fd::OwnedFd);

#[cfg(target_os = "linux")]
impl Held {
    /// Takes hold of a process. An older kernel, or one that forbids it, answers with an error; so does a process that
    /// is gone (`ESRCH`).
    pub(crate) fn new(pid: u32) -> Result<Self, rustix::io::Errno> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let pid = pid_of(pid).ok_or(rustix::io::Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Self)
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), rustix::io::Errno> {
        rustix::process::pidfd_send_signal(&self.0, signal)
    }

    /// Waits for its end; `false` when the deadline came first, or when a signal handler of ours ran: the caller may
    /// want to know what the signal was.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        use rustix::{
            event::{PollFd, PollFlags, Timespec, poll},
            io::Errno,
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(e) => Err(e.into()),
        }
    }
}

/// Whether a child of ours has ended. It is not reaped: its number stays taken until it is, so that nothing that is sent
/// to the number meets another process.
#[cfg(unix)]
pub(crate) fn has_ended(child: u32) -> io::Result<bool> {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let Some(pid) = pid_of(child) else { return Ok(true) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        match waitid(WaitId::Pid(pid), options) {
            Ok(status) => return Ok(status.is_some()),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(e.into()),
        }
    }
}

/// Whether a process group still has a living member besides its leader, who has ended and is not reaped.
#[cfg(target_os = "linux")]
pub(crate) fn group_lives_on(leader: u32) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    processes.flatten().any(|process| {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            return false;
        };
        let Ok(stat) = std::fs::read_to_string(process.path().join("stat")) else { return false };
        // pid (name) state ppid pgrp …; the name may hold anything, so the fields are counted from its end.
        let mut fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
        let state = fields.next();
        let group = fields.nth(1).and_then(|group| group.parse::<u32>().ok());
        pid != leader && group == Some(leader) && !matches!(state, Some("Z" | "X"))
    })
}

/// Elsewhere the leader itself, ended and not reaped, counts as a member: so there is nothing to learn.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn group_lives_on(_leader: u32) -> bool {
    false
}

#[cfg(unix)]
pub(crate) fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = pid_of(leader) {
        // Nobody left to signal is what we want; and there is nobody to tell about anything else.
        let _ = rustix::process::kill_process_group(pid, signal);
    }
}

#[cfg(unix)]
pub(crate) fn signal_one(pid: u32, signal: Signal) -> Result<(), rustix::io::Errno> {
    match pid_of(pid) {
        Some(pid) => rustix::process::kill_process(pid, signal),
        None => Err(rustix::io::Errno::SRCH),
    }
}

/// The process group of a process.
#[cfg(unix)]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    let group = rustix::process::getpgid(Some(pid_of(pid)?)).ok()?;
    u32::try_from(group.as_raw_pid()).ok()
}
