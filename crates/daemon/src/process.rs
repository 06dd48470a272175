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

/// Every process that there is.
#[cfg(target_os = "linux")]
pub(crate) fn all() -> impl Iterator<Item = u32> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| process.file_name().to_str()?.parse().ok())
}

/// Whether an entry of a process's environment is as wanted. Only of one's own processes it can be read (of all, for
/// root), and of none that has ended.
#[cfg(target_os = "linux")]
pub(crate) fn has_in_environment(pid: u32, is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environment.split(|byte| *byte == 0).any(is_wanted)
}

/// Whether a process listens on a Unix socket that was given a name in a folder; that the name may be gone since makes no
/// difference. Only of one's own processes it can be told (of all, for root).
#[cfg(target_os = "linux")]
pub(crate) fn listens_on_a_named_socket(pid: u32) -> bool {
    let sockets = std::fs::read(format!("/proc/{pid}/net/unix")).unwrap_or_default();
    let listening: Vec<String> =
        sockets.split(|byte| *byte == b'\n').filter_map(listener_in_folder).collect();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let mut targets = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets
        .any(|target| target.to_str().is_some_and(|target| listening.iter().any(|socket| socket == target)))
}

/// The listening socket that a line of `/proc/net/unix` tells of, as `/proc/PID/fd` names it. The line: number, references,
/// protocol, flags, type, state, inode, path.
#[cfg(target_os = "linux")]
fn listener_in_folder(line: &[u8]) -> Option<String> {
    /// `__SO_ACCEPTCON` of the kernel: `listen` was called.
    const LISTENS: u32 = 1 << 16;

    let line = String::from_utf8_lossy(line);
    let mut fields = line.split_ascii_whitespace().skip(3);
    let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
    let inode: u64 = fields.nth(2)?.parse().ok()?;
    (flags & LISTENS != 0 && fields.next()?.starts_with('/')).then(|| format!("socket:[{inode}]"))
}

/// What `/proc` says of a process in `stat`, from its state on: state, parent, group. (`getpgid` would do for the group, but
/// for a process whose group is in another pid namespace it answers 0, which rustix does not expect.)
#[cfg(target_os = "linux")]
fn stat(pid: u32) -> Option<(char, u32, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid pgrp …; the name may hold anything, so the fields are counted from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The parent of a process; none for the first one, and for one whose parent is in another pid namespace.
#[cfg(target_os = "linux")]
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    stat(pid).map(|(_, parent, _)| parent).filter(|parent| *parent != 0)
}

/// Whether a process group still has a living member besides its leader, who has ended and is not reaped.
#[cfg(target_os = "linux")]
pub(crate) fn group_lives_on(leader: u32) -> bool {
    all()
        .filter(|pid| *pid != leader)
        .any(|pid| stat(pid).is_some_and(|(state, _, group)| group == leader && !matches!(state, 'Z' | 'X')))
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
#[cfg(target_os = "linux")]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    stat(pid).map(|(_, _, group)| group)
}

/// The process group of a process.
#[cfg(all(unix, not(target_os = "linux")))]
pub(crate) fn group_of(pid: u32) -> Option<u32> {
    let group = rustix::process::getpgid(Some(pid_of(pid)?)).ok()?;
    u32::try_from(group.as_raw_pid()).ok()
}
