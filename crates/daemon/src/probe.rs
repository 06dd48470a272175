//! Is there a daemon?
//!
//! The answer is an answered `status`, never a file or a process id: a socket file outlives a killed daemon, and a
//! process id is soon somebody else's.

use std::time::{Duration, Instant};

use myownllm_config_model::shorten::shortened;
use serde::Serialize;

use crate::{
    ControlError, Endpoint, Status,
    client::{Limits, MAX_ANSWER_CHARS, lost},
    connection::{Connection, ReceiveError},
    transport::{self, ConnectError, deadline_after},
};

/// What was found at an endpoint.
///
/// Only [`Probe::Absent`] means that no daemon is there; whatever else was found, nothing may be spawned beside it: the
/// new daemon would take the socket's name away from the old one, which would go on writing its home unseen.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "found", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Probe {
    /// Nobody listens.
    Absent {
        /// How we know.
        why: Absence,
    },
    /// A daemon answered `status`.
    Answered {
        /// Its answer.
        status: Status,
        /// Its process id, where the system tells.
        pid: Option<u32>,
    },
    /// Somebody listens and did not answer in time.
    Busy {
        /// Its process id, where the system tells.
        pid: Option<u32>,
        /// How long we waited, in milliseconds.
        waited_ms: u64,
    },
    /// It listens and cannot answer: its process was suspended (SIGSTOP, Ctrl-Z).
    Suspended {
        /// Its process id.
        pid: u32,
    },
    /// Somebody else's process listens; it was not asked anything.
    ForeignOwner {
        /// The user it runs as.
        uid: u32,
        /// Its process id, where the system tells.
        pid: Option<u32>,
    },
    /// The socket's path is too long for this platform; no daemon can be there, and none can be started there.
    PathTooLong {
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// Somebody listens and answers something else than a daemon would, or closes.
    Unusable {
        /// Its process id, where the system tells.
        pid: Option<u32>,
        /// What is wrong, in words.
        problem: String,
    },
    /// The system does not let us look (no permission, say).
    Unknown {
        /// The system's words.
        problem: String,
    },
    /// We ourselves have not what it takes to look: no file handle, no memory. It says nothing about a daemon.
    #[serde(rename = "no_means")]
    ResourceExhausted {
        /// The system's words.
        problem: String,
    },
}

/// How we know that nobody listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Absence {
    /// There is no such file (or pipe).
    NoSocket,
    /// The file is there and nobody listens: what a killed daemon leaves behind.
    Refused,
    /// The file is there and lets us not connect; by the kernel's tables nobody listens on it. It is another user's, as a
    /// rule.
    Abandoned,
}

impl Probe {
    /// Whether nobody listens there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }

    /// The process behind the socket, where the system tells.
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

    /// The daemon's answer, when there was one.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Self::Answered { status, .. } => Some(status),
            _ => None,
        }
    }

    /// A stable name for programs.
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

/// Asks whoever listens at `endpoint` for its status. Never writes to disk, and takes no longer than `within`.
///
/// A daemon that is just ending closes the connection, and is gone a moment later: so a close is asked about again
/// until the time is up.
pub fn probe(endpoint: &Endpoint, within: Duration) -> Probe {
    let began = Instant::now();
    let found = probe_keeping_connection(endpoint, within).0;
    let took_ms = began.elapsed().as_millis();
    tracing::debug!(%endpoint, found = found.code(), pid = found.pid(), took_ms, "looked for a daemon");
    found
}

/// [`probe`], with the connection over which a daemon answered.
pub(crate) fn probe_keeping_connection(endpoint: &Endpoint, within: Duration) -> (Probe, Option<Connection>) {
    let deadline = deadline_after(within);
    let mut pause = Duration::from_millis(1);
    let mut closed = None;
    loop {
        match (probe_once(endpoint, within, deadline), closed) {
            // Cut off by the deadline: what it did before says more.
            (ProbeAttempt::Found(Probe::Busy { .. } | Probe::Suspended { .. }), Some(closed)) => {
                return (closed, None);
            }
            (ProbeAttempt::Found(probe), _) => return (probe, None),
            (ProbeAttempt::Answered(probe, wire), _) => return (probe, Some(wire)),
            (ProbeAttempt::Closed(probe), _) => closed = Some(probe),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if let (true, Some(closed)) = (left.is_zero(), &closed) {
            return (closed.clone(), None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

enum ProbeAttempt {
    Answered(Probe, Connection),
    Found(Probe),
    Closed(Probe),
}

fn probe_once(endpoint: &Endpoint, within: Duration, deadline: Instant) -> ProbeAttempt {
    let transport = match transport::connect(endpoint, deadline) {
        Ok(transport) => transport,
        Err(why) => return ProbeAttempt::Found(no_connection(why, within)),
    };
    let mut wire = Connection::new(transport, Limits::default().max_line_len);
    let answer = request_status(&mut wire, deadline);
    let pid = likely_server(endpoint, wire.peer().pid);
    match answer {
        Ok(Ok(status)) => ProbeAttempt::Answered(Probe::Answered { status, pid }, wire),
        Ok(Err(problem)) => ProbeAttempt::Found(Probe::Unusable { pid, problem }),
        Err(ReceiveError::TimedOut) => ProbeAttempt::Found(silent(pid, within)),
        Err(why @ (ReceiveError::NotDelivered | ReceiveError::Closed { partial: 0 })) => {
            ProbeAttempt::Closed(unusable(endpoint, within, pid, why))
        }
        Err(why) => ProbeAttempt::Found(unusable(endpoint, within, pid, why)),
    }
}

/// The process behind a connection, as far as the system shows: `listener`, which the connection names, may have handed
/// its socket to another one.
fn likely_server(endpoint: &Endpoint, listener: Option<u32>) -> Option<u32> {
    #[cfg(target_os = "linux")]
    return endpoint.path().and_then(|socket| crate::serving::likely_server(socket, listener));
    #[cfg(not(target_os = "linux"))]
    {
        let _ = endpoint;
        listener
    }
}

/// Somebody listens and does not answer.
fn silent(pid: Option<u32>, within: Duration) -> Probe {
    #[cfg(target_os = "linux")]
    if let Some(pid) = pid.filter(|pid| crate::process::is_suspended(*pid)) {
        return Probe::Suspended { pid };
    }
    Probe::Busy { pid, waited_ms: millis(within) }
}

fn unusable(endpoint: &Endpoint, within: Duration, pid: Option<u32>, why: ReceiveError) -> Probe {
    let error = lost(endpoint, "status", within, pid, why);
    let problem = match &error {
        ControlError::Protocol { problem, .. } => problem.clone(),
        ControlError::Unreachable { source, .. } => source.to_string(),
        ControlError::Closed { .. } => "it closes the connection without an answer".to_owned(),
        other => other.to_string(),
    };
    Probe::Unusable { pid, problem }
}

/// Asks for the status over a fresh connection. The inner error is a daemon that answers something else.
pub(crate) fn request_status(
    wire: &mut Connection,
    deadline: Instant,
) -> Result<Result<Status, String>, ReceiveError> {
    send_status_request(wire, deadline)?;
    read_status(wire, deadline)
}

pub(crate) fn send_status_request(wire: &mut Connection, deadline: Instant) -> Result<(), ReceiveError> {
    wire.send(b"{\"op\":\"status\"}\n", deadline)
}

pub(crate) fn read_status(
    wire: &mut Connection,
    deadline: Instant,
) -> Result<Result<Status, String>, ReceiveError> {
    Ok(match wire.answer(deadline)? {
        Ok(data) => {
            Status::from_data(data).map_err(|problem| format!("its status cannot be used: {problem}"))
        }
        Err(message) => {
            let message = shortened(&message, MAX_ANSWER_CHARS);
            Err(format!("it refuses to tell its status: {}", message.escape_debug()))
        }
    })
}

fn no_connection(why: ConnectError, within: Duration) -> Probe {
    match why {
        ConnectError::Absent { why, .. } => Probe::Absent { why },
        ConnectError::Full { pid } => silent(pid, within),
        ConnectError::Closed { pid, source } => {
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

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
