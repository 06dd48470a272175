//! A process and its end.

#[cfg(unix)]
use std::io;
use std::time::{Duration, Instant};

#[cfg(unix)]
use rustix::process::{Pid, Signal};

/// Waits longer and longer between two looks, where the system cannot wake us.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { next: Duration::from_millis(1), longest }
    }

    /// Sleeps, but not beyond the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) {
        let end = self.next_end(deadline);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// When the next pause is over, for who waits for something else meanwhile.
    pub(crate) fn next_end(&mut self, deadline: Instant) -> Instant {
        let end = deadline.min(Instant::now() + self.next);
        self.next = (self.next * 3 / 2).min(self.longest);
        end
    }
}

#[cfg(unix)]
pub(crate) fn pid_of(raw: u32) -> Option<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw)
}

/// A process that cannot be mistaken for a later one with the same number.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) enum ProcessHandle {
    /// By the kernel.
    Pidfd(std::os::fd::OwnedFd),
    /// By its number and the time of its start, where the kernel is too old to hold a process, or forbids it: looked at
    /// right before whatever is done, so that a moment remains.
    StartTime { pid: u32, start: u64 },
}

#[cfg(target_os = "linux")]
impl ProcessHandle {
    /// Takes hold of a process; one that is gone is an error (`ESRCH`).
    pub(crate) fn new(pid: u32) -> Result<Self, rustix::io::Errno> {
        match Self::open_pidfd(pid) {
            Err(e) if e != rustix::io::Errno::SRCH => Self::open_by_start_time(pid),
            held => held,
        }
    }

    /// [`ProcessHandle::new`] by the kernel alone: for a process that we did not start.
    pub(crate) fn open_pidfd(pid: u32) -> Result<Self, rustix::io::Errno> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let pid = pid_of(pid).ok_or(rustix::io::Errno::SRCH)?;
        pidfd_open(pid, PidfdFlags::empty()).map(Self::Pidfd)
    }

    fn open_by_start_time(pid: u32) -> Result<Self, rustix::io::Errno> {
        let stat = stat(pid).ok_or(rustix::io::Errno::SRCH)?;
        Ok(Self::StartTime { pid, start: stat.start })
    }

    /// Sends it a signal; to one that has ended, `ESRCH`.
    pub(crate) fn signal(&self, signal: Signal) -> Result<(), rustix::io::Errno> {
        match self {
            Self::Pidfd(held) => rustix::process::pidfd_send_signal(held, signal),
            Self::StartTime { pid, .. } if !self.has_exited() => signal_one(*pid, signal),
            Self::StartTime { .. } => Err(rustix::io::Errno::SRCH),
        }
    }

    /// Waits for its end; `false` when the deadline came first, or, where the kernel holds it, when a signal handler of ours
    /// ran: the caller may want to know what the signal was.
    pub(crate) fn wait(&self, deadline: Instant) -> io::Result<bool> {
        match self {
            Self::Pidfd(held) => wait_for_exit(held, deadline),
            Self::StartTime { .. } => {
                let mut pause = Backoff::new(Duration::from_millis(20));
                while !self.has_exited() {
                    if Instant::now() >= deadline {
                        return Ok(false);
                    }
                    pause.wait(deadline);
                }
                Ok(true)
            }
        }
    }

    /// The same process once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Pidfd(held) => Self::Pidfd(held.try_clone()?),
            Self::StartTime { pid, start } => Self::StartTime { pid: *pid, start: *start },
        })
    }

    /// Waits for its end, however many signals come meanwhile.
    pub(crate) fn wait_for_exit(&self) -> io::Result<()> {
        /// As good as for ever: a wait needs a deadline.
        const LONG: Duration = Duration::from_secs(24 * 3600);
        while !self.wait(Instant::now() + LONG)? {}
        Ok(())
    }

    /// Whether it has ended, reaped or not, by what `/proc` says.
    fn has_exited(&self) -> bool {
        match self {
            Self::Pidfd(_) => false,
            Self::StartTime { pid, start } => {
                stat(*pid).is_none_or(|stat| stat.start != *start || stat.has_ended())
            }
        }
    }
}

#[cfg(target_os = "linux")]
fn wait_for_exit(held: &std::os::fd::OwnedFd, deadline: Instant) -> io::Result<bool> {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        io::Errno,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(held, PollFlags::IN)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// Whether a child of ours has ended. It is not reaped: its number stays taken until it is, so that nothing that is sent
/// to the number meets another process.
#[cfg(unix)]
pub(crate) fn child_has_exited(child: u32) -> io::Result<bool> {
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

/// Whether `/proc` shows our own pid namespace. If not, its numbers are those of other processes than ours are.
#[cfg(target_os = "linux")]
pub(crate) fn proc_shows_our_namespace() -> bool {
    let ourselves = std::fs::read_link("/proc/self");
    ourselves.is_ok_and(|number| number.to_str() == Some(&std::process::id().to_string()))
}

/// Every process that there is.
#[cfg(target_os = "linux")]
pub(crate) fn all_pids() -> impl Iterator<Item = u32> {
    let processes = proc_shows_our_namespace()
        .then(|| std::fs::read_dir("/proc"))
        .into_iter()
        .flatten()
        .flatten()
        .flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// Whether an entry of a process's environment is as wanted. Only of one's own processes it can be read (of all, for
/// root), and of none that has ended.
#[cfg(target_os = "linux")]
pub(crate) fn has_in_environment(pid: u32, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(is_wanted)
}

/// What `/proc` says of a process in `stat`. (`getpgid` would do for the group, but for a process whose group is in another
/// pid namespace it answers 0, which rustix does not expect.)
#[cfg(target_os = "linux")]
struct Stat {
    state: char,
    parent: u32,
    group: u32,
    /// In ticks since the system's start.
    start: u64,
}

#[cfg(target_os = "linux")]
impl Stat {
    /// Whether only its number is left, until it is reaped.
    fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid pgrp …, and the start as the 22nd; the name may hold anything, so the fields are counted from its
    // end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        start: fields.nth(16)?.parse().ok()?,
    })
}

/// When a process started, in ticks since the system's start: with it a number means one process for ever.
#[cfg(target_os = "linux")]
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn start_time(_pid: u32) -> Option<u64> {
    None
}

/// Whether a process was stopped (SIGSTOP, Ctrl-Z) and not continued: it does nothing until then, not even end.
#[cfg(target_os = "linux")]
pub(crate) fn is_suspended(pid: u32) -> bool {
    proc_shows_our_namespace() && stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// The parent of a process; none for the first one, and for one whose parent is in another pid namespace.
#[cfg(target_os = "linux")]
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent).filter(|parent| *parent != 0)
}

/// The parent of a process, that one's parent, and so on.
#[cfg(target_os = "linux")]
pub(crate) fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    /// Parents that end while we look could lead round in a circle of numbers.
    const DEEPEST: usize = 1000;
    std::iter::successors(parent_of(pid), |pid| parent_of(*pid)).take(DEEPEST)
}

/// Whether a process group still has a living member besides its leader, who has ended and is not reaped.
#[cfg(target_os = "linux")]
pub(crate) fn group_has_members(leader: u32) -> bool {
    all_pids()
        .filter(|pid| *pid != leader)
        .any(|pid| stat(pid).is_some_and(|stat| stat.group == leader && !stat.has_ended()))
}

/// Elsewhere the leader itself, ended and not reaped, counts as a member: so there is nothing to learn.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn group_has_members(_leader: u32) -> bool {
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
#[cfg(target_os = "linux")]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.group)
}

/// The process group of a process.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    let group = rustix::process::getpgid(Some(pid_of(pid)?)).ok()?;
    u32::try_from(group.as_raw_pid()).ok()
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn sleeper() -> std::process::Child {
        std::process::Command::new("sleep").arg("600").spawn().unwrap()
    }

    fn long_ago() -> Instant {
        Instant::now()
    }

    /// A kernel that cannot hold a process is told by its errors alone; so this asks for the other way.
    #[test]
    fn a_process_is_held_by_its_start_where_the_kernel_does_not_hold_it() {
        let mut child = sleeper();
        for held in
            [ProcessHandle::new(child.id()).unwrap(), ProcessHandle::open_by_start_time(child.id()).unwrap()]
        {
            assert!(!held.wait(long_ago()).unwrap());
        }
        let held = ProcessHandle::open_by_start_time(child.id()).unwrap();
        held.signal(Signal::TERM).unwrap();
        // A zombie has ended; so has one that was reaped.
        assert!(held.wait(Instant::now() + Duration::from_secs(10)).unwrap());
        child.wait().unwrap();
        assert!(held.wait(long_ago()).unwrap());
        assert_eq!(held.signal(Signal::TERM), Err(rustix::io::Errno::SRCH));
    }

    #[test]
    fn another_process_with_the_same_number_is_not_signalled() {
        let mut child = sleeper();
        let ProcessHandle::StartTime { pid, start } = ProcessHandle::open_by_start_time(child.id()).unwrap()
        else {
            unreachable!()
        };
        let former = ProcessHandle::StartTime { pid, start: start - 1 };
        assert_eq!(former.signal(Signal::KILL), Err(rustix::io::Errno::SRCH));
        assert!(former.wait(long_ago()).unwrap(), "that one has ended");
        assert!(!child_has_exited(child.id()).unwrap());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
