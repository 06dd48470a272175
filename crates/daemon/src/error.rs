//! What can go wrong in a conversation with a daemon.

use std::{io, path::Path, time::Duration};

use myownllm_durable_fs::quote;

use crate::Endpoint;

/// Why a daemon did not do what it was asked.
///
/// What was sent, and what came back, may hold secrets (TURN credentials): no variant quotes the bytes of either. The
/// daemon's own words are kept, with the secrets of the request masked in them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nothing listens there, or the system does not let us connect.
    #[error("no daemon can be reached at {endpoint}")]
    Unreachable {
        /// Who was called.
        endpoint: Endpoint,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// We ourselves have not what it takes to connect: no file handle, no memory.
    #[error("whether a daemon is at {endpoint} cannot be told: this program lacks the means to look")]
    ResourceExhausted {
        /// Who was to be called.
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
        /// The op that got no answer; `connect` when not even the connection was taken.
        op: String,
        /// How long we waited.
        waited: Duration,
        /// The process behind the socket, where the system tells.
        pid: Option<u32>,
    },
    /// The daemon closed the connection before it had answered. Whether it did what was asked is not known.
    #[error("the daemon at {endpoint} closed the connection during `{op}`")]
    Closed {
        /// Who was called.
        endpoint: Endpoint,
        /// The op without an answer.
        op: String,
    },
    /// The process behind the socket belongs to another user. It was not asked anything.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner {
        /// Who was called.
        endpoint: Endpoint,
        /// The user it runs as.
        uid: u32,
        /// Its process id, where the system tells.
        pid: Option<u32>,
    },
    /// Another process answers there than the one that this client was connected to.
    #[error("the daemon at {endpoint} was replaced: process {before} has become {now}")]
    Replaced {
        /// Who was called.
        endpoint: Endpoint,
        /// The process that it was.
        before: u32,
        /// The process that it is.
        now: u32,
    },
    /// The socket's path is longer than the platform can connect to.
    #[error("the socket path {endpoint} is {length} bytes long, and {limit} are possible")]
    PathTooLong {
        /// Who was to be called.
        endpoint: Endpoint,
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// What came back is not an answer of this protocol, or none to this op.
    #[error("the daemon's answer to `{op}` cannot be used: {problem}")]
    Protocol {
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
    /// The caller changed its mind while the answer was waited for. Whether the daemon did what was asked is not known.
    #[error("the request `{op}` was broken off")]
    Cancelled {
        /// The op without an answer.
        op: String,
    },
    /// The request cannot be sent as it is.
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
        match self {
            Self::Unreachable { .. } => "daemon.unreachable",
            Self::ResourceExhausted { .. } => "daemon.no-means",
            Self::Busy { .. } => "daemon.busy",
            Self::Closed { .. } => "daemon.closed",
            Self::ForeignOwner { .. } => "daemon.foreign-owner",
            Self::Replaced { .. } => "daemon.replaced",
            Self::PathTooLong { .. } => "daemon.socket-too-long",
            Self::Protocol { .. } => "daemon.protocol",
            Self::Refused { .. } => "daemon.refused-op",
            Self::UnknownOp { .. } => "daemon.unknown-op",
            Self::Cancelled { .. } => "daemon.cancelled",
            Self::BadRequest { .. } => "daemon.bad-request",
        }
    }

    /// The command that shows or mends it, where there is one that is no app's own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { pid, .. } | Self::ForeignOwner { pid, .. } => inspect_process_command(*pid),
            Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::Replaced { .. }
            | Self::PathTooLong { .. }
            | Self::UnknownOp { .. }
            | Self::ResourceExhausted { .. }
            | Self::Cancelled { .. }
            | Self::Protocol { .. }
            | Self::Refused { .. }
            | Self::BadRequest { .. } => None,
        }
    }

    /// Whether the conversation is at an end, so that the next request may meet the same fate; otherwise the daemon
    /// answered, and said no.
    pub fn breaks_connection(&self) -> bool {
        !matches!(self, Self::Refused { .. } | Self::UnknownOp { .. } | Self::BadRequest { .. })
    }
}

/// The command that shows why nothing can be made or written at `path`: its disk is full, or may not be written to, or the dir
/// may not.
pub(crate) fn inspect_path_command(path: &Path, error: &io::Error) -> String {
    let dir = path.parent().unwrap_or(path);
    let command = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "df -h",
        io::ErrorKind::ReadOnlyFilesystem => "findmnt --target",
        io::ErrorKind::PermissionDenied => "ls -ld",
        _ => return format!("ls -ld {}", quote(path)),
    };
    format!("{command} {}", quote(dir))
}

/// The command that shows who it is.
pub(crate) fn inspect_process_command(pid: Option<u32>) -> Option<String> {
    let pid = pid?;
    Some(if cfg!(windows) { format!("tasklist /fi \"PID eq {pid}\"") } else { format!("ps -fp {pid}") })
}

/// The command that shows whose a socket is; or whose the directory is that does not let us look.
pub(crate) fn inspect_socket_command(endpoint: &Endpoint) -> Option<String> {
    let visible = endpoint.path()?.ancestors().find(|path| std::fs::symlink_metadata(path).is_ok())?;
    Some(format!("ls -ld {}", quote(visible)))
}
