//! Is there a daemon?

use std::time::Duration;

use serde::Serialize;

use crate::{Endpoint, Status};

/// What was found at an endpoint.
///
/// Only [`Probe::Absent`] means that no daemon is there; whatever else was found, nothing may be spawned beside it.
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
}

impl Probe {
    /// Whether nobody listens there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent { .. })
    }
    /// The process behind the socket, where the system tells.
    pub fn pid(&self) -> Option<u32> {
        todo!()
    }
    /// The daemon's answer, when there was one.
    pub fn status(&self) -> Option<&Status> {
        todo!()
    }
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }
}

/// Asks whoever listens at `endpoint` for its status. Never writes to disk, never takes longer than `within`.
pub fn probe(_endpoint: &Endpoint, _within: Duration) -> Probe {
    todo!()
}
