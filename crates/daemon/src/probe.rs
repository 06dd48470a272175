//! The probe of an endpoint: only an answered `status` proves a daemon. A socket file outlives a
//! killed daemon, and a PID may be reused.

use std::time::{Duration, Instant};

use myownllm_config_model::shorten::shortened;
use serde::Serialize;

use crate::{
    ControlError, Endpoint, Status,
    connection::{Connection, MAX_ANSWER_CHARS, ReceiveError, receive_error},
    error::{foreign_owner_command, show_listener_command, show_socket_command},
    procfs, serving,
    transport::{self, Absence, ConnectError},
    wait::{Backoff, deadline_after, millis},
};

/// The longest wait for an answer: a healthy daemon answers within milliseconds.
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_millis(800);

/// The result of a probe.
///
/// Only `absent` means that no daemon is there. Beside any other result no daemon may be started at
/// this endpoint: it would unlink the socket of the old one, which would go on writing its home.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "found", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the types of the fields explain them")]
pub enum Probe {
    /// No process listens.
    Absent { why: Absence },
    /// A daemon answered `status`.
    Answered { status: Status, pid: Option<u32> },
    /// A process listens and did not answer in time.
    Busy { pid: Option<u32>, waited_ms: u64 },
    /// The process that listens is stopped (SIGSTOP, Ctrl-Z).
    Suspended { pid: u32 },
    /// A process of another user listens. It was sent nothing.
    ForeignOwner { uid: u32, pid: Option<u32> },
    /// The path is too long for a socket on this platform, so no daemon can be there.
    PathTooLong { length: usize, limit: usize },
    /// A process listens and does not answer as a daemon does, or closes the connection.
    Unusable { pid: Option<u32>, problem: String },
    /// The system does not show whether a process listens, for example for lack of permission.
    Unknown { problem: String },
    /// This process has no file descriptor or no memory left to look. The daemon is unknown.
    #[serde(rename = "no_means")]
    ResourceExhausted { problem: String },
}

impl Probe {
    /// Returns true if no process listens.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// Returns the process behind the socket, if the system shows it.
    pub fn pid(&self) -> Option<u32> {
        match self {
            Self::Answered { pid, .. }
            | Self::Busy { pid, .. }
            | Self::ForeignOwner { pid, .. }
            | Self::Unusable { pid, .. } => *pid,
            Self::Suspended { pid } => Some(*pid),
            Self::Absent { .. }
            | Self::PathTooLong { .. }
            | Self::Unknown { .. }
            | Self::ResourceExhausted { .. } => None,
        }
    }

    /// Returns the answer of the daemon, if it gave one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Answered { status, .. } => Some(status),
            _ => None,
        }
    }

    /// Returns the system's error if it is unknown whether a process listens.
    pub fn unknown(&self) -> Option<&str> {
        match self {
            Self::Unknown { problem } | Self::ResourceExhausted { problem } => Some(problem),
            _ => None,
        }
    }

    /// Returns the command that continues a suspended process at `endpoint`, or that shows the
    /// process or its socket, unless only a command of the app does.
    pub fn hint(&self, endpoint: &Endpoint) -> Option<String> {
        match self {
            Self::Suspended { pid } => Some(format!("kill -CONT {pid}")),
            Self::Busy { pid, .. } | Self::Answered { pid, .. } | Self::Unusable { pid, .. } => {
                show_listener_command(*pid, endpoint)
            }
            Self::ForeignOwner { uid, pid } => foreign_owner_command(*uid, *pid, endpoint),
            Self::Unknown { .. } => show_socket_command(endpoint),
            Self::Absent { .. } | Self::PathTooLong { .. } | Self::ResourceExhausted { .. } => None,
        }
    }

    /// Returns the stable code of this result.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absent { .. } => "daemon.absent",
            Self::Answered { .. } => "daemon.answered",
            Self::Busy { .. } => "daemon.busy",
            Self::Suspended { .. } => "daemon.suspended",
            Self::ForeignOwner { .. } => "daemon.foreign-owner",
            Self::PathTooLong { .. } => "daemon.socket-too-long",
            Self::Unusable { .. } => "daemon.protocol",
            Self::Unknown { .. } => "daemon.unreachable",
            Self::ResourceExhausted { .. } => "daemon.no-means",
        }
    }
}

/// Asks the process that listens at `endpoint` for its status. Never writes to disk, and takes at
/// most `within`.
///
/// A daemon that is exiting closes the connection and is gone a moment later, so a close is probed
/// again until the time is up.
pub fn probe(endpoint: &Endpoint, within: Duration) -> Probe {
    let began = Instant::now();
    let found = probe_keeping_connection(endpoint, within).0;
    let took_ms = began.elapsed().as_millis();
    tracing::debug!(%endpoint, found = found.code(), pid = found.pid(), took_ms, "looked for a daemon");
    found
}

/// Does the same as [`probe`], and returns the connection on which a daemon answered.
pub(crate) fn probe_keeping_connection(endpoint: &Endpoint, within: Duration) -> (Probe, Option<Connection>) {
    let deadline = deadline_after(within);
    let mut backoff = Backoff::new(Duration::from_millis(20));
    let mut closed = None;
    loop {
        match (probe_once(endpoint, within, deadline), closed) {
            // The deadline cut this attempt off, so the close before it says more.
            (Ok((Probe::Busy { .. } | Probe::Suspended { .. }, _)), Some(closed)) => return (closed, None),
            (Ok(found), _) => return found,
            (Err(probe), _) => closed = Some(probe),
        }
        if let (true, Some(closed)) = (Instant::now() >= deadline, &closed) {
            return (closed.clone(), None);
        }
        backoff.wait(deadline);
    }
}

/// Fails if the process closed the connection without an answer.
fn probe_once(
    endpoint: &Endpoint,
    within: Duration,
    deadline: Instant,
) -> Result<(Probe, Option<Connection>), Probe> {
    let transport = match transport::connect(endpoint, deadline) {
        Ok(transport) => transport,
        Err(error) => return Ok((from_connect_error(error, within), None)),
    };
    let mut connection = Connection::new(transport);
    let answer =
        send_status_request(&mut connection, deadline).and_then(|()| read_status(&mut connection, deadline));
    let listener = connection.peer_pid();
    // The process that called `listen` may have handed the socket over.
    let pid = endpoint.path().map_or(listener, |socket| serving::likely_server(socket, listener));
    let found = match answer {
        Ok(Ok(status)) => return Ok((Probe::Answered { status, pid }, Some(connection))),
        Ok(Err(problem)) => Probe::Unusable { pid, problem },
        Err(ReceiveError::TimedOut) => busy_or_suspended(pid, within),
        Err(error @ (ReceiveError::NotDelivered | ReceiveError::Closed { partial: 0 })) => {
            return Err(unusable(endpoint, within, pid, error));
        }
        Err(error) => unusable(endpoint, within, pid, error),
    };
    Ok((found, None))
}

/// Classifies a process that listens and does not answer.
fn busy_or_suspended(pid: Option<u32>, within: Duration) -> Probe {
    match pid.filter(|pid| procfs::is_suspended(*pid)) {
        Some(pid) => Probe::Suspended { pid },
        None => Probe::Busy { pid, waited_ms: millis(within) },
    }
}

fn unusable(endpoint: &Endpoint, within: Duration, pid: Option<u32>, error: ReceiveError) -> Probe {
    let error = receive_error(endpoint, "status", within, pid, error);
    let problem = match &error {
        ControlError::Protocol { problem, .. } => problem.clone(),
        ControlError::Unreachable { source, .. } => source.to_string(),
        ControlError::Closed { .. } => "it closes the connection without an answer".to_owned(),
        other => other.to_string(),
    };
    Probe::Unusable { pid, problem }
}

pub(crate) fn send_status_request(
    connection: &mut Connection,
    deadline: Instant,
) -> Result<(), ReceiveError> {
    connection.send(b"{\"op\":\"status\"}\n", deadline)
}

/// Receives the answer to a status request. The inner error is an answer that no daemon gives.
pub(crate) fn read_status(
    connection: &mut Connection,
    deadline: Instant,
) -> Result<Result<Status, String>, ReceiveError> {
    Ok(match connection.answer(deadline)? {
        Ok(data) => {
            Status::from_data(data).map_err(|problem| format!("its status cannot be used: {problem}"))
        }
        Err(message) => {
            let message = shortened(&message, MAX_ANSWER_CHARS);
            Err(format!("it refuses to tell its status: {}", message.escape_debug()))
        }
    })
}

fn from_connect_error(error: ConnectError, within: Duration) -> Probe {
    match error {
        ConnectError::Absent { why, .. } => Probe::Absent { why },
        ConnectError::Full { pid } => busy_or_suspended(pid, within),
        ConnectError::Denied { pid, source } => {
            Probe::Unusable { pid, problem: format!("it lets us not connect: {source}") }
        }
        ConnectError::ForeignOwner { uid, pid } => Probe::ForeignOwner { uid, pid },
        ConnectError::PathTooLong { length, limit } => Probe::PathTooLong { length, limit },
        ConnectError::Failed { source } => Probe::Unknown { problem: source.to_string() },
        ConnectError::ResourceExhausted { source } => {
            Probe::ResourceExhausted { problem: source.to_string() }
        }
    }
}
