//! The transport of bytes to a daemon: a stream socket on Unix, a named pipe on Windows, memory in
//! tests.

use std::{fmt, io, time::Instant};

use serde::Serialize;

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
pub(crate) use unix::connect;
#[cfg(windows)]
pub(crate) use windows::connect;

pub(crate) trait Transport: fmt::Debug + Send + Sync {
    /// Returns the process at the other end, if the system shows it.
    fn peer_pid(&self) -> Option<u32>;
    /// Sends all bytes. Fails with `TimedOut` at the deadline.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;
    /// Appends the received bytes to `into` and returns their number, 0 at the end of the stream.
    /// Waits for the first byte until the deadline (`TimedOut`); bytes that have already arrived
    /// are returned even after it.
    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize>;
}

/// The evidence that no process listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Absence {
    /// The file or the pipe does not exist.
    NoSocket,
    /// The file exists and the connection is refused: a killed daemon leaves it behind.
    Refused,
    /// The file denies us the connection, and the kernel's tables show no listener. It usually
    /// belongs to another user.
    Abandoned,
}

/// The reason why no connection was made.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// No process listens.
    Absent {
        why: Absence,
        source: io::Error,
    },
    /// A process listens and accepted no connection until the deadline.
    Full {
        pid: Option<u32>,
    },
    /// A process of another user listens.
    #[cfg_attr(not(unix), allow(dead_code, reason = "a pipe does not show its owner"))]
    ForeignOwner {
        uid: u32,
        pid: Option<u32>,
    },
    /// A process listens and denies the connection, although it may be one of ours; or it runs as
    /// another user, who has no number on this system.
    Denied {
        pid: Option<u32>,
        source: io::Error,
    },
    /// The path is longer than a socket's path can be.
    #[cfg_attr(not(unix), allow(dead_code, reason = "the name of a pipe may be long"))]
    PathTooLong {
        length: usize,
        limit: usize,
    },
    Failed {
        source: io::Error,
    },
    /// This process has no file descriptor or no memory left.
    #[cfg_attr(not(unix), allow(dead_code, reason = "`Failed` stands for it there"))]
    ResourceExhausted {
        source: io::Error,
    },
}
