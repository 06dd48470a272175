//! What can go wrong in a conversation with a daemon.

use std::{io, time::Duration};

use crate::Endpoint;

/// Why a daemon did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nothing listens there.
    #[error("no daemon answers at {endpoint}")]
    Unreachable {
        /// Who was called.
        endpoint: Endpoint,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Somebody listens there but did not answer in time.
    #[error("the daemon at {endpoint} did not answer `{op}` within {} ms", waited.as_millis())]
    Busy {
        /// Who was called.
        endpoint: Endpoint,
        /// The op that got no answer; `connect` when the connection itself was not accepted.
        op: String,
        /// How long we waited.
        waited: Duration,
        /// The process behind the socket, where the system tells.
        pid: Option<u32>,
    },
    /// The daemon closed the connection, before or in the middle of an answer.
    #[error("the daemon at {endpoint} closed the connection during `{op}`")]
    Closed {
        /// Who was called.
        endpoint: Endpoint,
        /// The op without an answer.
        op: String,
    },
    /// The process behind the socket belongs to another user.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner {
        /// Who was called.
        endpoint: Endpoint,
        /// The user it runs as.
        uid: u32,
        /// Its process id, where the system tells.
        pid: Option<u32>,
    },
    /// The socket's path is longer than the platform can connect to.
    #[error("the socket path {endpoint} is {length} bytes long, {limit} are possible")]
    PathTooLong {
        /// Who was to be called.
        endpoint: Endpoint,
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// What came back is not an answer of this protocol.
    #[error("the answer of the daemon at {endpoint} to `{op}` cannot be read: {problem}")]
    Protocol {
        /// Who was called.
        endpoint: Endpoint,
        /// The op that was asked.
        op: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The daemon understood and said no.
    #[error("the daemon refused `{op}`: {message}")]
    Refused {
        /// The op that was asked.
        op: String,
        /// The daemon's words.
        message: String,
    },
    /// The daemon does not know this op: it is older than the op.
    #[error("the daemon does not know `{op}`")]
    UnknownOp {
        /// The op that was asked.
        op: String,
        /// The daemon's words.
        message: String,
    },
    /// The request cannot be sent as it is: it holds its own `op`, or is longer than the daemon would take.
    #[error("the request `{op}` cannot be sent: {problem}")]
    BadRequest {
        /// The op.
        op: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl ControlError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What a person can do about it, where something can be done.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, _f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        todo!()
    }
}
