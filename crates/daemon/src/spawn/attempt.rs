//! One program's try: it is started, waited for, and ended where it does not come up.

use std::{
    fs::File,
    io,
    process::ExitStatus,
    time::{Duration, Instant},
};

use super::{
    Cancelled, CandidateFailure, SpawnRequest,
    child::{ChildCommand, ChildProcess, variable},
    interpreter,
    supervise::{SPAWN_MARK, SupervisedChild, has_ended, new_mark},
};
use crate::{
    Candidate, Probe, Status,
    client::Limits,
    connection::{Connection, ReceiveError},
    log,
    probe::{millis, read_status, send_status_request},
    process::Backoff,
    transport::{self, ConnectError, deadline_after},
};

/// How long one wait for an answer lasts before the child itself is looked at again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The longest pause between two looks whether it listens: so much later at most it is noticed.
const MAX_READY_BACKOFF: Duration = Duration::from_millis(2);
/// How long a candidate that failed may take to end politely: it may hold files open.
const FAILED_GRACE: Duration = Duration::from_millis(500);
/// How many lines of the log go into an error.
const LOG_TAIL_LINES: usize = 20;

/// One candidate's try.
pub(super) struct Attempt<'a> {
    pub(super) request: &'a SpawnRequest<'a>,
    pub(super) home: &'a str,
    pub(super) candidate: &'a Candidate,
    pub(super) log_file: &'a File,
    pub(super) log_from: u64,
    pub(super) cancelled: Cancelled<'a>,
}

/// A candidate that came up, with the connection over which it said so.
pub(super) struct StartedDaemon {
    pub(super) running: SupervisedChild,
    pub(super) status: Status,
    pub(super) wire: Connection,
}

/// Why a candidate did not come up.
pub(super) enum StartFailure {
    Failed(CandidateFailure),
    Cancelled,
    /// Somebody else listens there meanwhile: trying further would be of no use.
    Occupied(Probe),
}

/// What the wait for the first answer ended with.
enum WaitOutcome {
    Ready(Status, Connection),
    Cancelled,
    Ended,
    Silent,
    Unusable(String),
    Occupied(Probe),
}

impl Attempt<'_> {
    pub(super) fn run(&self) -> Result<StartedDaemon, StartFailure> {
        let mark = new_mark();
        let child = self.start(&mark).map_err(|e| {
            let (problem, hint) = interpreter::explain(&self.candidate.path, &e);
            StartFailure::Failed(CandidateFailure::NotStarted { problem, hint })
        })?;
        let mut running = SupervisedChild::new(child, Some(mark));
        match self.wait(&mut running) {
            WaitOutcome::Ready(status, wire) if self.request.permit.expected().admits(&status.device_id) => {
                Ok(StartedDaemon { running, status, wire })
            }
            WaitOutcome::Cancelled => {
                let _ = self.abandon(running);
                Err(StartFailure::Cancelled)
            }
            WaitOutcome::Ready(status, _) => {
                let expected = self.request.permit.expected().device_id().unwrap_or_default().to_owned();
                let _ = self.abandon(running);
                Err(StartFailure::Failed(CandidateFailure::ForeignIdentity {
                    expected,
                    found: status.device_id,
                }))
            }
            WaitOutcome::Ended => {
                let status =
                    self.abandon(running).map_or_else(|e| e.to_string(), |status| status.to_string());
                Err(StartFailure::Failed(CandidateFailure::Ended { status, log: self.tail() }))
            }
            WaitOutcome::Silent => {
                let _ = self.abandon(running);
                let waited_ms = millis(self.request.ready_within);
                Err(StartFailure::Failed(CandidateFailure::Silent { waited_ms, log: self.tail() }))
            }
            WaitOutcome::Unusable(problem) => {
                let _ = self.abandon(running);
                Err(StartFailure::Failed(CandidateFailure::Unusable { problem, log: self.tail() }))
            }
            WaitOutcome::Occupied(found) => {
                let _ = self.abandon(running);
                Err(StartFailure::Occupied(found))
            }
        }
    }

    fn start(&self, mark: &str) -> io::Result<ChildProcess> {
        let request = self.request;
        let mut environment = request.env.clone();
        environment.extend([variable(&request.home_variable, self.home), variable(SPAWN_MARK, mark)]);
        let start = ChildCommand {
            program: &self.candidate.path,
            directory: request.home(),
            environment: &environment,
            log: self.log_file,
            run_as: request.run_as,
        };
        let deadline = deadline_after(Duration::from_millis(200));
        let mut pause = Backoff::new(Duration::from_millis(20));
        loop {
            match start.run() {
                // It is being written this very moment, by an updater say, or was a moment ago.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    pause.wait(deadline);
                }
                other => return other,
            }
        }
    }

    /// Waits until the child answers, ends, or the time is up. The child is looked at between any two waits, so that its
    /// end is noticed at once even when somebody else holds its socket open.
    fn wait(&self, running: &mut SupervisedChild) -> WaitOutcome {
        let deadline = deadline_after(self.request.ready_within);
        let mut wire: Option<Connection> = None;
        let mut closed = false;
        let mut pause = Backoff::new(MAX_READY_BACKOFF);
        loop {
            if self.cancelled.is_some_and(|cancelled| cancelled()) {
                return WaitOutcome::Cancelled;
            }
            if has_ended(&mut running.child) {
                return WaitOutcome::Ended;
            }
            if Instant::now() >= deadline {
                return match closed {
                    true => WaitOutcome::Unusable("it closes the connection without an answer".to_owned()),
                    false => WaitOutcome::Silent,
                };
            }
            let until = deadline.min(Instant::now() + POLL_INTERVAL);
            let Some(open) = &mut wire else {
                match transport::connect(&self.request.endpoint, until) {
                    Ok(transport) => {
                        let mut fresh = Connection::new(transport, Limits::default().max_line_len);
                        let pid = fresh.peer().pid;
                        match self.peer_relation(running, pid) {
                            PeerRelation::Child => running.answers_itself(),
                            PeerRelation::Descendant => running.answers_by(pid),
                            PeerRelation::Stranger(pid) => {
                                let problem = "it came up while ours was starting".to_owned();
                                return WaitOutcome::Occupied(Probe::Unusable { pid: Some(pid), problem });
                            }
                        }
                        if send_status_request(&mut fresh, until).is_ok() {
                            wire = Some(fresh);
                        }
                    }
                    Err(ConnectError::ForeignOwner { uid, pid }) => {
                        return WaitOutcome::Occupied(Probe::ForeignOwner { uid, pid });
                    }
                    Err(ConnectError::ResourceExhausted { source }) => {
                        return WaitOutcome::Occupied(Probe::ResourceExhausted {
                            problem: source.to_string(),
                        });
                    }
                    Err(ConnectError::Failed { source } | ConnectError::Closed { source, .. }) => {
                        let problem = format!("its socket cannot be reached: {source}");
                        return WaitOutcome::Unusable(problem);
                    }
                    Err(_) => running.pause(&mut pause, deadline),
                }
                continue;
            };
            match read_status(open, until) {
                Ok(Ok(status)) => {
                    return wire.take().map_or(WaitOutcome::Silent, |wire| WaitOutcome::Ready(status, wire));
                }
                Ok(Err(problem)) => return WaitOutcome::Unusable(problem),
                Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => {}
                Err(ReceiveError::NotDelivered | ReceiveError::Closed { .. } | ReceiveError::Failed(_)) => {
                    closed = true;
                    wire = None;
                    running.pause(&mut pause, deadline);
                }
                Err(ReceiveError::Bad(bad)) => return WaitOutcome::Unusable(bad.to_string()),
            }
        }
    }

    /// Whether it is our child that listens, a process that it started, or a stranger.
    fn peer_relation(&self, running: &SupervisedChild, pid: Option<u32>) -> PeerRelation {
        let child = running.child.id();
        #[cfg(unix)]
        return match pid {
            Some(pid) if pid == child => PeerRelation::Child,
            Some(pid) if !self.is_ours(running, pid) => PeerRelation::Stranger(pid),
            // Not told, or a process that our child started.
            _ => PeerRelation::Descendant,
        };
        #[cfg(not(unix))]
        return match pid {
            Some(pid) if pid == child => PeerRelation::Child,
            // A program that starts another one cannot be told from a stranger here: the key decides.
            _ => PeerRelation::Descendant,
        };
    }

    /// Whether our child started that process.
    #[cfg(unix)]
    fn is_ours(&self, running: &SupervisedChild, pid: u32) -> bool {
        crate::process::group_of(pid) == Some(running.child.id()) || running.descendants().contains(&pid)
    }

    /// Ends and reaps a candidate that failed, with whatever it started.
    fn abandon(&self, mut running: SupervisedChild) -> io::Result<ExitStatus> {
        running.wrapped = cfg!(unix);
        running.end(FAILED_GRACE).map(|ending| ending.status)
    }

    fn tail(&self) -> Vec<String> {
        log::tail(&self.request.log, self.log_from, LOG_TAIL_LINES)
    }
}

enum PeerRelation {
    Child,
    Descendant,
    #[cfg_attr(not(unix), allow(dead_code, reason = "not to be told there"))]
    Stranger(u32),
}
