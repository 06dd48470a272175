//! The attempt with one candidate: starts it, waits for its first answer, and ends it if it fails.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use super::{
    child::{ChildCommand, ChildProcess},
    error::CandidateFailure,
    request::SpawnRequest,
    supervise::{SupervisedChild, new_mark},
};
use crate::{
    Candidate, Probe, Status,
    connection::{Connection, ReceiveError},
    log,
    obstacle::{StartObstacle, obstacle},
    probe::{read_status, send_status_request},
    process::{HOME_VARIABLE, SPAWN_MARK},
    secrets::Secrets,
    transport::{self, ConnectError},
    wait::{Backoff, deadline_after, millis},
};

/// The longest wait for an answer before the child itself is checked again.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// The longest pause between two connection attempts: it bounds the delay after the daemon begins
/// to listen.
const MAX_READY_BACKOFF: Duration = Duration::from_millis(2);
/// The time that a failed candidate gets to exit after SIGTERM: it may hold files open.
const FAILED_GRACE: Duration = Duration::from_millis(500);
/// The size of the log above which a program that has not answered yet is ended: it would fill the
/// disk.
const MAX_START_LOG: u64 = 64 << 20;
const LOG_TAIL_LINES: usize = 20;

pub(super) struct Attempt<'a> {
    pub(super) request: &'a SpawnRequest<'a>,
    pub(super) candidate: &'a Candidate,
    pub(super) log_file: &'a File,
    pub(super) log_from: u64,
    pub(super) is_cancelled: &'a dyn Fn() -> bool,
}

/// A candidate that answered, with the connection over which it answered.
pub(super) struct StartedDaemon {
    pub(super) child: SupervisedChild,
    pub(super) status: Status,
    pub(super) connection: Connection,
}

pub(super) enum StartFailure {
    Failed(CandidateFailure),
    Cancelled,
    /// Another process listens at the endpoint meanwhile, so that no further candidate can succeed.
    Occupied(Probe),
}

/// The end of the wait for the first answer.
enum WaitOutcome {
    Ready(Status, Connection),
    Cancelled,
    Exited,
    Silent,
    Unusable(String),
    Occupied(Probe),
}

impl Attempt<'_> {
    pub(super) fn run(&self) -> Result<StartedDaemon, StartFailure> {
        let mark = new_mark();
        let child = self.start(&mark).map_err(|error| {
            // The system answers "not found" for a missing interpreter too.
            let known = obstacle(&self.candidate.path, None);
            let StartObstacle { problem, hint } =
                known.unwrap_or_else(|| StartObstacle::new(error.to_string()));
            StartFailure::Failed(CandidateFailure::NotStarted { problem, hint })
        })?;
        let mut child = SupervisedChild::new(child, mark);
        let expected = self.request.permit.expected();
        let outcome = match self.wait(&mut child) {
            WaitOutcome::Ready(status, connection) if expected.admits(&status.device_id) => {
                return Ok(StartedDaemon { child, status, connection });
            }
            other => other,
        };
        let ended = child.end_with_descendants(FAILED_GRACE).map(|ended| ended.status);
        let permit = &self.request.permit;
        let secrets = Secrets::of(permit.lock(), permit.places());
        let log = log::tail(&self.request.log, self.log_from, LOG_TAIL_LINES, &secrets);
        Err(StartFailure::Failed(match outcome {
            WaitOutcome::Cancelled => return Err(StartFailure::Cancelled),
            WaitOutcome::Occupied(found) => return Err(StartFailure::Occupied(found)),
            WaitOutcome::Ready(status, _) => {
                let expected = expected.device_id().unwrap_or_default().to_owned();
                CandidateFailure::ForeignIdentity { expected, found: status.device_id }
            }
            WaitOutcome::Exited => {
                let status = ended.map_or_else(|e| e.to_string(), |status| status.to_string());
                CandidateFailure::Ended { status, log }
            }
            WaitOutcome::Unusable(problem) => CandidateFailure::Unusable { problem, log },
            WaitOutcome::Silent => {
                CandidateFailure::Silent { waited_ms: millis(self.request.ready_within), log }
            }
        }))
    }

    fn start(&self, mark: &str) -> io::Result<ChildProcess> {
        let request = self.request;
        let mut environment = request.env.clone();
        for variable in [HOME_VARIABLE.into(), request.home_variable.clone()] {
            environment.push((variable, request.home().as_str().into()));
        }
        environment.push((SPAWN_MARK.into(), mark.into()));
        let command = ChildCommand {
            program: &self.candidate.path,
            directory: request.home().as_ref(),
            environment: &environment,
            log: self.log_file,
        };
        let deadline = deadline_after(Duration::from_millis(200));
        let mut backoff = Backoff::new(Duration::from_millis(20));
        loop {
            match command.start() {
                // Another process writes the program at this moment, for example an updater.
                Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < deadline => {
                    backoff.wait(deadline);
                }
                other => return other,
            }
        }
    }

    /// Waits until the child answers, exits, or runs out of time. Checks the child between any two
    /// waits, so that its exit ends the wait even while another process holds its socket open.
    fn wait(&self, child: &mut SupervisedChild) -> WaitOutcome {
        let deadline = deadline_after(self.request.ready_within);
        let mut connection: Option<Connection> = None;
        let mut was_closed = false;
        let mut backoff = Backoff::new(MAX_READY_BACKOFF);
        loop {
            if (self.is_cancelled)() {
                return WaitOutcome::Cancelled;
            }
            if child.has_exited() {
                return WaitOutcome::Exited;
            }
            if Instant::now() >= deadline {
                return match was_closed {
                    true => WaitOutcome::Unusable("it closes the connection without an answer".to_owned()),
                    false => WaitOutcome::Silent,
                };
            }
            if self.log_file.metadata().is_ok_and(|log| log.len() > self.log_from + MAX_START_LOG) {
                return WaitOutcome::Unusable("it writes into its log without end".to_owned());
            }
            let until = deadline.min(Instant::now() + POLL_INTERVAL);
            let Some(mut open) = connection.take() else {
                match self.connect(child, until) {
                    Ok(Some(open)) => connection = Some(open),
                    Ok(None) => child.pause(&mut backoff, deadline),
                    Err(outcome) => return outcome,
                }
                continue;
            };
            match read_status(&mut open, until) {
                Ok(Ok(status)) => return WaitOutcome::Ready(status, open),
                Ok(Err(problem)) => return WaitOutcome::Unusable(problem),
                Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => connection = Some(open),
                Err(ReceiveError::NotDelivered | ReceiveError::Closed { .. } | ReceiveError::Failed(_)) => {
                    was_closed = true;
                    child.pause(&mut backoff, deadline);
                }
                Err(ReceiveError::Bad(bad)) => return WaitOutcome::Unusable(bad.to_string()),
            }
        }
    }

    /// Connects and asks for the status. Returns `None` while no process listens.
    fn connect(
        &self,
        child: &mut SupervisedChild,
        until: Instant,
    ) -> Result<Option<Connection>, WaitOutcome> {
        let mut connection = match transport::connect(&self.request.endpoint, until) {
            Ok(transport) => Connection::new(transport),
            Err(ConnectError::ForeignOwner { uid, pid }) => {
                return Err(WaitOutcome::Occupied(Probe::ForeignOwner { uid, pid }));
            }
            Err(ConnectError::ResourceExhausted { source }) => {
                return Err(WaitOutcome::Occupied(Probe::ResourceExhausted { problem: source.to_string() }));
            }
            Err(ConnectError::Failed { source } | ConnectError::Denied { source, .. }) => {
                return Err(WaitOutcome::Unusable(format!("cannot connect to its socket: {source}")));
            }
            Err(_) => return Ok(None),
        };
        let pid = connection.peer_pid();
        if pid.is_some_and(|pid| pid != child.child.id() && !child.has_started(pid)) {
            let problem = "it came up while ours was starting".to_owned();
            return Err(WaitOutcome::Occupied(Probe::Unusable { pid, problem }));
        }
        child.set_daemon(pid);
        Ok(send_status_request(&mut connection, until).is_ok().then_some(connection))
    }
}
