//! A daemon that was started and answers, until somebody lets go of it.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use super::{
    CandidateOutcome, SpawnRequest,
    attempt::StartedDaemon,
    child::ChildProcess,
    supervise::{SupervisedChild, release},
};
use crate::{
    Client, Endpoint, Status, client::Limits, connection::Connection, log, transport::deadline_after,
};

/// How a daemon of ours ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StopOutcome {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// How a daemon ended that nobody had told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonExit {
    /// With this status: its own, or that of the script which had started it and ended with it.
    Status(ExitStatus),
    /// Its status went to the script that had started it, which goes on.
    Unknown,
}

impl fmt::Display for DaemonExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => status.fmt(f),
            DaemonExit::Unknown => {
                f.write_str("how, only the script knows that had started it, and that goes on")
            }
        }
    }
}

/// A daemon that we started and that answers.
///
/// Dropping it neither ends the daemon nor leaves a zombie behind: it is as [`Spawned::detach`]. StopOutcome it is a decision
/// that somebody takes, not something that an early return does.
#[derive(Debug)]
#[must_use = "a daemon that nobody stops goes on running"]
pub struct Spawned {
    /// `None` only between the last call and the drop.
    child: Option<SupervisedChild>,
    pid: u32,
    endpoint: Endpoint,
    status: Status,
    took: Duration,
    tried: Vec<CandidateOutcome>,
    log: PathBuf,
    log_from: u64,
    /// Boxed: a small value to hand on is worth more than one call to the allocator.
    wire: Option<Box<Connection>>,
}

impl Spawned {
    /// A daemon that the caller started in a way of its own and that answered `status`. Its output is at `log`.
    ///
    /// The child counts as the daemon itself: what it started is not ended with it.
    pub fn of(
        child: Child,
        endpoint: Endpoint,
        status: Status,
        took: Duration,
        log: impl Into<PathBuf>,
    ) -> Self {
        let mut running = SupervisedChild::new(ChildProcess::Std(child), None);
        running.wrapped = false;
        Self {
            pid: running.child.id(),
            child: Some(running),
            endpoint,
            status,
            took,
            tried: Vec::new(),
            log: log.into(),
            log_from: 0,
            wire: None,
        }
    }

    /// One that came up at the end of a start.
    pub(super) fn up(
        request: &SpawnRequest<'_>,
        up: StartedDaemon,
        took: Duration,
        tried: Vec<CandidateOutcome>,
        log_from: u64,
    ) -> Self {
        let StartedDaemon { running, status, wire } = up;
        Self {
            pid: running.child.id(),
            child: Some(running),
            endpoint: request.endpoint.clone(),
            status,
            took,
            tried,
            log: request.log.clone(),
            log_from,
            wire: Some(Box::new(wire)),
        }
    }

    /// The process id of the program that we started.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What it answered when it was ready.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// How long it took until it answered.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// The connection over which it answered that it is ready, for the first requests; once. Each whole answer has to come
    /// within `answer_within`.
    pub fn take_client(&mut self, answer_within: Duration) -> Option<Client> {
        let limits = Limits { answer_timeout: answer_within, ..Limits::default() };
        Some(Client::over(*self.wire.take()?, &self.endpoint, limits))
    }

    /// Every candidate, with the reason why it was taken or not.
    pub fn tried(&self) -> &[CandidateOutcome] {
        &self.tried
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The last lines of its log, at most `lines`.
    pub fn log_tail(&self, lines: usize) -> Vec<String> {
        log::tail(&self.log, self.log_from, lines)
    }

    /// Its end, when it has ended. Where a script started the program that answers, it is that program's end (on Linux; elsewhere
    /// the script's), whether the script lives on or has gone before.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn try_wait(&mut self) -> io::Result<Option<DaemonExit>> {
        self.wait_until(Instant::now())
    }

    /// Waits at most `within` for its end, as [`Spawned::try_wait`]. On Linux it is woken by the end itself, and comes back
    /// early, with `None`, when a signal handler of the program has run: look at what the handler noted, and call again.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn wait_within(&mut self, within: Duration) -> io::Result<Option<DaemonExit>> {
        self.wait_until(deadline_after(within))
    }

    fn wait_until(&mut self, deadline: Instant) -> io::Result<Option<DaemonExit>> {
        match &mut self.child {
            Some(running) => running.wait_until(deadline),
            None => Ok(None),
        }
    }

    /// What waits, in a thread say, for an end of which no SIGCHLD tells: that of a program that a script started. `None` where
    /// the program that answers is our child itself, and where the system does not tell.
    pub fn exit_watch(&self) -> Option<Box<dyn FnOnce() + Send>> {
        self.child.as_ref()?.exit_watch()
    }

    /// Ends it: politely, and after `grace` by force. It is reaped when this returns.
    ///
    /// On Windows there is no polite way.
    ///
    /// # Errors
    /// The system does not let us, or does not tell.
    pub fn stop(mut self, grace: Duration) -> io::Result<StopOutcome> {
        self.end(grace)
    }

    /// [`Spawned::stop`], after which what was known of it can still be told.
    ///
    /// # Errors
    /// As [`Spawned::stop`]; and it was ended before.
    pub fn end(&mut self, grace: Duration) -> io::Result<StopOutcome> {
        match self.child.take() {
            Some(running) => running.end(grace),
            None => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    }

    /// Leaves it running beyond us; returns its process id.
    ///
    /// As long as this program lives, a thread waits for the daemon's end, so that it leaves no zombie; it uses no time.
    pub fn detach(self) -> u32 {
        self.pid
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        if let Some(running) = self.child.take() {
            release(running.child);
        }
    }
}
