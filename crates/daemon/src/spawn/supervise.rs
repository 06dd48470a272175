//! A child of ours, with whatever it started: how they are known, and how they are ended.

use std::{
    io,
    process::ExitStatus,
    sync::Mutex,
    time::{Duration, Instant},
};

use super::{DaemonExit, StopOutcome, child::ChildProcess};
use crate::process::Backoff;
#[cfg(unix)]
use crate::transport::deadline_after;

/// How long a script around a daemon may take to end after it: it has the daemon's status.
#[cfg(target_os = "linux")]
const SCRIPT_EXIT_TIMEOUT: Duration = Duration::from_millis(200);

/// Children that nobody could be found to wait for.
static UNREAPED: Mutex<Vec<ChildProcess>> = Mutex::new(Vec::new());

/// Lets go of a child in such a way that its end leaves no zombie behind.
pub(super) fn release(mut child: ChildProcess) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    let orphans = || UNREAPED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    orphans().retain_mut(|orphan| matches!(orphan.try_wait(), Ok(None)));
    // Handed over by a channel, and not in the closure, because a closure is lost when the thread cannot be made.
    let (hand_over, take_over) = std::sync::mpsc::channel::<ChildProcess>();
    let thread =
        std::thread::Builder::new().name("daemon-reaper".to_owned()).stack_size(64 * 1024).spawn(move || {
            if let Ok(mut child) = take_over.recv() {
                let _ = child.wait();
            }
        });
    let left = match thread {
        Ok(_) => hand_over.send(child).err().map(|std::sync::mpsc::SendError(child)| child),
        Err(_) => Some(child),
    };
    orphans().extend(left);
}

/// What marks, in their environment, a child of ours and whatever it starts: one that goes into the background leaves its
/// process group, and is found by this alone.
pub(crate) const SPAWN_MARK: &str = "MYOWNMESH_STARTED_BY";

/// A mark that no other start has, of whatever program: a process id comes again.
pub(super) fn new_mark() -> String {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{}-{:016x}", std::process::id(), RandomState::new().build_hasher().finish())
}

/// A child that has not been let go of.
#[derive(Debug)]
pub(super) struct SupervisedChild {
    pub(super) child: ChildProcess,
    /// Whether another process than our child answers for it: a script that started the real program and waits for it.
    pub(super) wrapped: bool,
    /// The value of [`SPAWN_MARK`]; none in a child that was not started here.
    #[cfg_attr(
        not(target_os = "linux"),
        allow(dead_code, reason = "looked for where environments can be read")
    )]
    mark: Option<String>,
    #[cfg(target_os = "linux")]
    held: Option<crate::process::ProcessHandle>,
    /// The process that answered, where it is another one than our child.
    #[cfg(target_os = "linux")]
    daemon: Option<crate::process::ProcessHandle>,
}

impl SupervisedChild {
    pub(super) fn new(child: ChildProcess, mark: Option<String>) -> Self {
        Self {
            mark,
            #[cfg(target_os = "linux")]
            held: crate::process::ProcessHandle::new(child.id()).ok(),
            #[cfg(target_os = "linux")]
            daemon: None,
            child,
            wrapped: cfg!(unix),
        }
    }

    /// Our child itself answers.
    pub(super) fn answers_itself(&mut self) {
        self.wrapped = false;
        #[cfg(target_os = "linux")]
        {
            self.daemon = None;
        }
    }

    /// A process that our child started answers; which, where the system tells.
    pub(super) fn answers_by(&mut self, pid: Option<u32>) {
        self.wrapped = true;
        #[cfg(target_os = "linux")]
        {
            self.daemon = pid.and_then(|pid| crate::process::ProcessHandle::new(pid).ok());
        }
        #[cfg(not(target_os = "linux"))]
        let _ = pid;
    }

    /// A wait for the end of the daemon where that is not our child, so that no SIGCHLD tells of it.
    pub(super) fn exit_watch(&self) -> Option<Box<dyn FnOnce() + Send>> {
        #[cfg(target_os = "linux")]
        {
            let daemon = self.daemon.as_ref()?.try_clone().ok()?;
            Some(Box::new(move || drop(daemon.wait_for_exit())))
        }
        #[cfg(not(target_os = "linux"))]
        None
    }

    /// Waits for the end of the daemon. A script around it may end before it, and may outlive it.
    pub(super) fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<DaemonExit>> {
        #[cfg(target_os = "linux")]
        if let Some(daemon) = &self.daemon {
            if !daemon.wait(deadline)? {
                return Ok(None);
            }
            let status = self.wait_for_child(deadline_after(SCRIPT_EXIT_TIMEOUT))?;
            return Ok(Some(status.map_or(DaemonExit::Unknown, DaemonExit::Status)));
        }
        Ok(self.wait_for_child(deadline)?.map(DaemonExit::Status))
    }

    fn wait_for_child(&mut self, deadline: Instant) -> io::Result<Option<ExitStatus>> {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            return if held.wait(deadline)? { self.child.wait().map(Some) } else { self.child.try_wait() };
        }
        let mut pause = Backoff::new(Duration::from_millis(20));
        loop {
            match self.child.try_wait()? {
                Some(status) => return Ok(Some(status)),
                None if Instant::now() >= deadline => return Ok(None),
                None => pause.wait(deadline),
            }
        }
    }

    /// Waits a moment, or until the child's end.
    pub(super) fn pause(&self, pause: &mut Backoff, deadline: Instant) {
        #[cfg(target_os = "linux")]
        if let Some(held) = &self.held {
            let _ = held.wait(pause.next_end(deadline));
            return;
        }
        pause.wait(deadline);
    }

    /// Whether our child started that process, or one that did: it bears our mark; or, where its environment was cleared, one
    /// of those above it is our child.
    #[cfg(target_os = "linux")]
    fn started(&self, pid: u32) -> bool {
        let Some(mark) = &self.mark else { return false };
        let entry = format!("{SPAWN_MARK}={mark}");
        let child = self.child.id();
        crate::process::has_in_environment(pid, |there| there == entry.as_bytes())
            || crate::process::ancestors(pid).any(|above| above == child)
                // ProbeAttempt it is reaped, its number may be anybody's.
                && crate::process::child_has_exited(child).is_ok()
    }

    /// What the child started, in its process group and out of it. Nobody tells elsewhere.
    #[cfg(unix)]
    pub(super) fn descendants(&self) -> Vec<u32> {
        #[cfg(target_os = "linux")]
        {
            let child = self.child.id();
            crate::process::all_pids().filter(|pid| *pid != child && self.started(*pid)).collect()
        }
        #[cfg(not(target_os = "linux"))]
        Vec::new()
    }

    /// Takes hold of what the child started, before a signal takes away what they are known by: an end makes orphans.
    #[cfg(unix)]
    fn hold_descendants(&self) -> Descendants {
        Descendants {
            #[cfg(target_os = "linux")]
            held: self
                .descendants()
                .into_iter()
                // ProcessHandle first and looked at again: the number may be somebody else's by now.
                .filter_map(|pid| crate::process::ProcessHandle::new(pid).ok().filter(|_| self.started(pid)))
                .collect(),
        }
    }

    /// Ends the child, and with a wrapped one what it started; politely until the grace is over.
    #[cfg(unix)]
    pub(super) fn end(mut self, grace: Duration) -> io::Result<StopOutcome> {
        use rustix::process::Signal;

        use crate::process::{child_has_exited, group_has_members, signal_group, signal_one};

        let pid = self.child.id();
        // The child may have been reaped by an earlier look; then its number is no longer ours to signal, and what it left
        // behind is told by its mark alone.
        let reaped = self.child.try_wait_unreaped()?;
        let deadline = deadline_after(grace);
        #[cfg_attr(not(target_os = "linux"), allow(unused_mut, reason = "the daemon is not known there"))]
        let mut known = self.wrapped.then(|| self.hold_descendants());
        #[cfg(target_os = "linux")]
        if let Some(known) = &mut known {
            // Nothing else may tell of it, once the script has gone.
            known.held.extend(self.daemon.take());
        }
        let send = |signal| {
            // Whatever came since is held now; more cannot be done for what comes still later.
            let since = self.wrapped.then(|| self.hold_descendants());
            match (reaped, self.wrapped) {
                (Some(_), _) => {}
                (None, true) => signal_group(pid, signal),
                // It has not been reaped, so it is there, at least as a zombie; a zombie takes no harm.
                (None, false) => drop(signal_one(pid, signal)),
            }
            known.iter().chain(&since).for_each(|others| others.signal(signal));
        };
        let descendants_live = || {
            let is_left = |others: &Descendants| others.are_left();
            self.wrapped
                && (reaped.is_none() && group_has_members(pid)
                    || known.as_ref().is_some_and(is_left)
                    || !self.descendants().is_empty())
        };
        send(Signal::TERM);
        let mut pause = Backoff::new(Duration::from_millis(5));
        let mut killed = false;
        while !(reaped.is_some() || child_has_exited(pid)?) || descendants_live() {
            if Instant::now() >= deadline {
                killed = true;
                send(Signal::KILL);
                break;
            }
            pause.wait(deadline);
        }
        let status = match reaped {
            Some(status) => status,
            // After the kill this is short: nothing can refuse that signal.
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

/// Processes that a child of ours started, held for their end. Nobody tells which they are elsewhere.
#[cfg(unix)]
struct Descendants {
    #[cfg(target_os = "linux")]
    held: Vec<crate::process::ProcessHandle>,
}

#[cfg(unix)]
impl Descendants {
    fn signal(&self, signal: rustix::process::Signal) {
        #[cfg(target_os = "linux")]
        for held in &self.held {
            // One that has ended in between is what we want.
            let _ = held.signal(signal);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = signal;
    }

    fn are_left(&self) -> bool {
        #[cfg(target_os = "linux")]
        return self.held.iter().any(|held| !held.wait(Instant::now()).unwrap_or(true));
        #[cfg(not(target_os = "linux"))]
        false
    }
}

/// Whether an earlier look has reaped a child already.
#[cfg(unix)]
trait Reaped {
    fn try_wait_unreaped(&mut self) -> io::Result<Option<ExitStatus>>;
}

#[cfg(unix)]
impl Reaped for ChildProcess {
    fn try_wait_unreaped(&mut self) -> io::Result<Option<ExitStatus>> {
        match crate::process::child_has_exited(self.id()) {
            // There, alive or not: not reaped.
            Ok(_) => Ok(None),
            // No such child (any more): the standard library kept its status.
            Err(_) => self.try_wait(),
        }
    }
}

#[cfg(unix)]
pub(super) fn has_ended(child: &mut ChildProcess) -> bool {
    crate::process::child_has_exited(child.id()).unwrap_or(true)
}

#[cfg(not(unix))]
pub(super) fn has_ended(child: &mut ChildProcess) -> bool {
    !matches!(child.try_wait(), Ok(None))
}
