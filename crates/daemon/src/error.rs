//! Errors of a conversation with a daemon, and the commands that show their causes.

use std::{io, path::Path, time::Duration};

use myownllm_durable_fs::{quote, show_path};
use myownllm_paths::{Class, camino::Utf8Path, impl_failure};

use crate::Endpoint;

/// A daemon did not do what it was asked to do.
///
/// Requests and answers may hold secrets (TURN credentials), so no variant quotes their bytes. The
/// daemon's error text is kept, with the secrets of the request masked in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum ControlError {
    /// No process listens at the endpoint, or the system denies the connection.
    #[error("cannot reach a daemon at {endpoint}")]
    Unreachable { endpoint: Endpoint, source: io::Error },
    /// This process has no file descriptor or no memory left for the connection.
    #[error("cannot check for a daemon at {endpoint}")]
    ResourceExhausted { endpoint: Endpoint, source: io::Error },
    /// A process listens at the endpoint and did not answer in time. `op` is `connect` if it did
    /// not even accept the connection.
    #[error("the daemon at {endpoint} did not answer `{op}` within {} ms", waited.as_millis())]
    Busy { endpoint: Endpoint, op: String, waited: Duration, pid: Option<u32> },
    /// The daemon closed the connection before it answered. It may or may not have done what it was
    /// asked to do.
    #[error("the daemon at {endpoint} closed the connection during `{op}`")]
    Closed { endpoint: Endpoint, op: String },
    /// The process behind the socket belongs to another user. It was sent nothing.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner { endpoint: Endpoint, uid: u32, pid: Option<u32> },
    /// Another process answers at the endpoint than the one that this client was connected to.
    #[error("the daemon at {endpoint} was replaced: process {before} has become {now}")]
    Replaced { endpoint: Endpoint, before: u32, now: u32 },
    /// The path of the socket is longer than the platform can connect to.
    #[error("cannot connect to {endpoint}: the path has {length} bytes, and the platform allows {limit}")]
    PathTooLong { endpoint: Endpoint, length: usize, limit: usize },
    /// The daemon sent something that is no answer of this protocol, or no answer to this op.
    #[error("the daemon's answer to `{op}` cannot be used: {problem}")]
    Protocol { op: String, problem: String },
    /// The daemon understood the request and refused it.
    #[error("the daemon refused `{op}`: {message}")]
    Refused { op: String, message: String },
    /// The daemon refused because a file of the network, such as its roster, has a version that the
    /// daemon does not read.
    #[error("the daemon refused `{op}`: {message}")]
    UnsupportedVersion { op: String, message: String },
    /// The daemon is older than this op. `message` is the daemon's error text.
    #[error("the daemon does not know `{op}`")]
    UnknownOp { op: String, message: String },
    /// The caller cancelled the request. The daemon may or may not have done what it was asked to
    /// do.
    #[error("the request `{op}` was broken off")]
    Cancelled { op: String },
    /// The request cannot be encoded.
    #[error("the request `{op}` cannot be sent: {problem}")]
    BadRequest { op: String, problem: String },
}

impl ControlError {
    /// Returns the stable code of this error.
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
            Self::UnsupportedVersion { .. } => "daemon.unsupported-version",
            Self::UnknownOp { .. } => "daemon.unknown-op",
            Self::Cancelled { .. } => "daemon.cancelled",
            Self::BadRequest { .. } => "daemon.bad-request",
        }
    }

    /// Returns the command that shows or mends the cause, unless only a command of the app does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { pid, .. } => show_process_command(*pid),
            Self::ForeignOwner { endpoint, uid, pid } => foreign_owner_command(*uid, *pid, endpoint),
            _ => None,
        }
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Refused { .. }
            | Self::UnsupportedVersion { .. }
            | Self::ResourceExhausted { .. }
            | Self::UnknownOp { .. }
            | Self::Cancelled { .. }
            | Self::BadRequest { .. } => Class::Failed,
            Self::ForeignOwner { .. } | Self::PathTooLong { .. } => Class::Refused,
            _ => Class::Daemon,
        }
    }

    /// Returns the path of the socket, if the error is about a socket.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Unreachable { endpoint, .. }
            | Self::ResourceExhausted { endpoint, .. }
            | Self::Busy { endpoint, .. }
            | Self::Closed { endpoint, .. }
            | Self::ForeignOwner { endpoint, .. }
            | Self::Replaced { endpoint, .. }
            | Self::PathTooLong { endpoint, .. } => endpoint.path().map(Utf8Path::as_std_path),
            _ => None,
        }
    }

    /// Returns true if the connection is broken, so that the next request may fail as well.
    /// Otherwise the daemon answered and refused.
    pub fn breaks_connection(&self) -> bool {
        !matches!(
            self,
            Self::Refused { .. }
                | Self::UnsupportedVersion { .. }
                | Self::UnknownOp { .. }
                | Self::BadRequest { .. }
        )
    }
}

impl_failure!(ControlError, serialize);

/// Returns the command that shows why `path` cannot be created or written: a full disk, a read-only
/// file system, or the permissions of its directory.
pub(crate) fn show_path_command(path: &Utf8Path, error: &io::Error) -> String {
    let dir = path.parent().unwrap_or(path);
    let command = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "df -h",
        io::ErrorKind::ReadOnlyFilesystem => "findmnt --target",
        io::ErrorKind::PermissionDenied => "ls -ld",
        _ => return format!("ls -ld {}", quote(path)),
    };
    format!("{command} {}", quote(dir))
}

pub(crate) fn show_process_command(pid: Option<u32>) -> Option<String> {
    let pid = pid?;
    Some(if cfg!(windows) { format!("tasklist /fi \"PID eq {pid}\"") } else { format!("ps -fp {pid}") })
}

/// Returns the command that shows the owner of a socket, or of the closest ancestor that this user
/// may look at.
pub(crate) fn show_socket_command(endpoint: &Endpoint) -> Option<String> {
    endpoint.path().map(show_path)
}

/// Returns the command that shows the process that listens: by its id, if the system tells that,
/// else by its socket, or the containers in which it may run.
pub(crate) fn show_listener_command(pid: Option<u32>, endpoint: &Endpoint) -> Option<String> {
    show_process_command(pid).or_else(|| {
        let socket = endpoint.path().filter(|_| cfg!(target_os = "linux"))?;
        Some(format!("sudo fuser -v {} || lsns -t pid", quote(socket)))
    })
}

/// Returns the command that stops a daemon that `sudo` started in a user's home, and else the
/// command that shows another user's process. The system may hide the process; then the socket
/// shows its owner.
pub(crate) fn foreign_owner_command(uid: u32, pid: Option<u32>, endpoint: &Endpoint) -> Option<String> {
    match (endpoint.path(), pid) {
        (Some(socket), Some(pid)) if is_started_by_sudo(uid, socket) => Some(format!("sudo kill {pid}")),
        (Some(socket), None) if is_started_by_sudo(uid, socket) => {
            Some(format!("sudo fuser -k -TERM {}", quote(socket)))
        }
        _ => show_process_command(pid).or_else(|| show_socket_command(endpoint)),
    }
}

/// Returns true for a daemon of root's that listens in another user's directory. A daemon that root
/// runs for the whole machine listens in a directory of root's.
#[cfg(target_os = "linux")]
fn is_started_by_sudo(uid: u32, socket: &Utf8Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let is_of_other = |dir: &Utf8Path| dir.metadata().is_ok_and(|dir| dir.uid() != 0);
    uid == 0 && socket.parent().is_some_and(is_of_other)
}

#[cfg(not(target_os = "linux"))]
fn is_started_by_sudo(_: u32, _: &Utf8Path) -> bool {
    false
}
