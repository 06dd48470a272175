//! Ending a daemon that we did not start.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::Endpoint;

/// Why a daemon was not ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopError {
    /// The system does not tell which process it is.
    #[error("the process behind {endpoint} is not known")]
    UnknownProcess {
        /** Where. */
        endpoint: Endpoint,
    },
    /// There is no polite way here.
    #[error("a daemon cannot be asked to end on this platform")]
    Unsupported {
        /** Where. */
        endpoint: Endpoint,
    },
    /// It belongs to another user.
    #[error("the daemon at {endpoint} runs as another user (uid {uid})")]
    ForeignOwner {
        /** Where. */
        endpoint: Endpoint,
        /** Whose. */
        uid: u32,
        /** Who. */
        pid: Option<u32>,
    },
    /// The system would not deliver the signal.
    #[error("the daemon at {endpoint} (process {pid}) cannot be signalled")]
    Signal {
        /** Where. */
        endpoint: Endpoint,
        /** Who. */
        pid: u32,
        /** The cause. */
        #[source]
        source: std::io::Error,
    },
    /// It was asked and is still there.
    #[error("the daemon at {endpoint} (process {pid}) did not end within {} ms", waited.as_millis())]
    StillThere {
        /** Where. */
        endpoint: Endpoint,
        /** Who. */
        pid: u32,
        /** How long we waited. */
        waited: Duration,
    },
}

impl StopError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

/// What became of a daemon that was asked to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoppedDaemon {
    /// Nobody was there.
    WasAbsent,
    /// It ended.
    Stopped {
        /** Who. */
        pid: u32,
        /** In milliseconds. */
        took_ms: u64,
    },
}

/// Sends SIGTERM to whoever listens at `endpoint` and waits until its socket is silent, at most `within`.
pub fn stop_daemon(_endpoint: &Endpoint, _within: Duration) -> Result<StoppedDaemon, StopError> {
    todo!()
}

/// A process that serves a home although no socket leads to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Stray {
    /// Its process id.
    pub pid: u32,
    /// Its program, where it can be read.
    pub program: Option<PathBuf>,
}

/// Processes of this user whose environment names `home` as the daemon's home and that run `serve` (Linux; empty elsewhere).
pub fn strays_of(_home: &Path, _home_variable: &str) -> Vec<Stray> {
    todo!()
}
