//! The one place that knows how bytes reach a daemon.
//!
//! Behind a trait, because Unix and Windows do it differently and the tests do it in memory. All waiting is done
//! against a deadline that is a point in time, never a duration that starts anew with each byte.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use crate::{Absence, Endpoint};

#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

#[cfg(unix)]
use unix as platform;
#[cfg(windows)]
use windows as platform;

/// Who is at the other end, as far as the system tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) pid: Option<u32>,
    pub(crate) uid: Option<u32>,
}

/// A connection that carries bytes.
pub(crate) trait Transport: fmt::Debug + Send {
    /// Who is at the other end.
    fn peer(&self) -> Peer;
    /// Sends all of `bytes`; `TimedOut` when the deadline comes first.
    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()>;
    /// Appends what has come to `into`, waiting for the first byte until the deadline (`TimedOut`); 0 is the end. What
    /// has come already is taken even when the deadline has passed.
    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize>;
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// Nobody listens.
    Absent { why: Absence, source: io::Error },
    /// Somebody listens and took no connection until the deadline.
    Full { pid: Option<u32> },
    /// Somebody else's process listens.
    #[cfg_attr(not(unix), allow(dead_code, reason = "a pipe does not say whose it is"))]
    ForeignOwner { uid: u32, pid: Option<u32> },
    /// Somebody listens and lets us not connect, although it may be one of ours.
    #[cfg_attr(not(unix), allow(dead_code, reason = "told as a failure there"))]
    Closed { pid: Option<u32>, source: io::Error },
    /// No socket can have such a path.
    #[cfg_attr(not(unix), allow(dead_code, reason = "the name of a pipe may be long"))]
    PathTooLong { length: usize, limit: usize },
    /// The system does not let us.
    Failed { source: io::Error },
    /// We have not what it takes: no file handle, no memory.
    #[cfg_attr(not(unix), allow(dead_code, reason = "told as a failure there"))]
    ResourceExhausted { source: io::Error },
}

/// Connects before `deadline`, and looks at whose process it is before a byte is sent.
pub(crate) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Box<dyn Transport>, ConnectError> {
    platform::connect(endpoint, deadline)
}

/// The point in time `wait` from now; a wait beyond all reason ends in thirty years.
pub(crate) fn deadline_after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(60 * 60 * 24 * 365 * 30))
}
