//! Starting a daemon, and letting go of it.

use std::{ffi::OsString, path::PathBuf, process::ExitStatus, time::Duration};

use serde::Serialize;

use crate::{Candidate, Endpoint, Expected, Probe, Status};

/// What to start, and for which home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnRequest {
    /// The daemon's home; becomes `MYOWNMESH_HOME` of the child, and of nobody else. It has to be there.
    pub home: PathBuf,
    /// Where the daemon will listen.
    pub endpoint: Endpoint,
    /// The programs to try, in order.
    pub candidates: Vec<Candidate>,
    /// The key that the daemon has to have once it answers.
    pub expected: Expected,
    /// The identity file that must not be a dangling link; `<home>/.secrets/identity.json` by default.
    pub identity: PathBuf,
    /// The log file; `<home>/daemon.log` by default. Older ones get a number.
    pub log: PathBuf,
    /// How many older logs are kept. 4 by default.
    pub keep_logs: usize,
    /// How long one candidate may take until it answers. 8 s by default.
    pub ready_within: Duration,
    /// The name of the variable; `MYOWNMESH_HOME` by default.
    pub home_variable: OsString,
    /// Further variables for the child.
    pub env: Vec<(OsString, OsString)>,
    /// The user and group to run it as: for root, who looks after somebody else's home.
    pub run_as: Option<(u32, u32)>,
}

impl SpawnRequest {
    /// A request with the defaults that each field states.
    pub fn new(_home: impl Into<PathBuf>, _endpoint: Endpoint, _candidates: Vec<Candidate>) -> Self {
        todo!()
    }
}

/// A candidate that was tried, and what became of it.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Tried {
    /// Which.
    pub candidate: Candidate,
    /// Why it is not the daemon that runs now; `None` for the one that does.
    pub failure: Option<Failure>,
}

/// Why a candidate failed.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Failure {
    /// It was not tried at all.
    Skipped {
        /** Why. */
        reason: String,
    },
    /// The system would not start it.
    NotStarted {
        /** The system's words. */
        problem: String,
    },
    /// It ended before it answered.
    Ended {
        /** How. */
        status: String,
        /** The last lines of its log. */
        log: Vec<String>,
    },
    /// It did not answer in time; it was ended and reaped.
    Silent {
        /** In milliseconds. */
        waited_ms: u64,
        /** The last lines of its log. */
        log: Vec<String>,
    },
    /// It answered something else than a daemon would; it was ended and reaped.
    Unusable {
        /** What. */
        problem: String,
        /** The last lines of its log. */
        log: Vec<String>,
    },
    /// It answered with another key than the home's; it was ended and reaped.
    ForeignIdentity {
        /** The home's. */
        expected: String,
        /** Its own. */
        found: String,
    },
}

/// Why no daemon runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Somebody listens where the daemon would: a second one would cut it off from its socket.
    #[error("somebody already listens at {endpoint}")]
    Occupied {
        /** Where. */
        endpoint: Endpoint,
        /** What was found. */
        found: Box<Probe>,
    },
    /// The home is not UTF-8; the daemon would silently use another one.
    #[error("the daemon's home {} is not UTF-8", home.display())]
    HomeNotText {
        /** Which. */
        home: PathBuf,
    },
    /// The identity file is a link to nowhere; the daemon would make a new key.
    #[error("the identity {} is a dangling link", path.display())]
    DanglingIdentity {
        /** Which. */
        path: PathBuf,
    },
    /// The identity file cannot be looked at.
    #[error("the identity {} cannot be looked at", path.display())]
    IdentityUnreadable {
        /** Which. */
        path: PathBuf,
        /** The cause. */
        #[source]
        source: std::io::Error,
    },
    /// The log file cannot be made.
    #[error("the log {} cannot be made", path.display())]
    Log {
        /** Which. */
        path: PathBuf,
        /** The cause. */
        #[source]
        source: std::io::Error,
    },
    /// There is no program to start.
    #[error("no daemon program was found")]
    NoCandidate {
        /** What was looked at. */
        tried: Vec<Tried>,
    },
    /// Every program failed.
    #[error("no daemon program came up for {}", home.display())]
    AllFailed {
        /** For which home. */
        home: PathBuf,
        /** Each with its reason. */
        tried: Vec<Tried>,
    },
}

impl SpawnError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
    /// Each program that was looked at, with its reason.
    pub fn tried(&self) -> &[Tried] {
        todo!()
    }
}

/// How a daemon of ours ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Ending {
    /// Its status.
    pub status: ExitStatus,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// A daemon that we started and that answers.
///
/// Dropping it neither ends the daemon nor leaves a zombie: it is as [`Spawned::detach`].
#[derive(Debug)]
#[must_use = "a daemon that nobody stops goes on running"]
pub struct Spawned {}

impl Spawned {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        todo!()
    }
    /// Where it listens.
    pub fn endpoint(&self) -> &Endpoint {
        todo!()
    }
    /// What it answered when it was ready.
    pub fn status(&self) -> &Status {
        todo!()
    }
    /// How long it took until it answered.
    pub fn took(&self) -> Duration {
        todo!()
    }
    /// Every candidate, with the reason why it was taken or not.
    pub fn tried(&self) -> &[Tried] {
        todo!()
    }
    /// Its log file.
    pub fn log(&self) -> &std::path::Path {
        todo!()
    }
    /// The last lines of its log, at most `lines`.
    pub fn log_tail(&self, _lines: usize) -> Vec<String> {
        todo!()
    }
    /// Its exit status, when it has ended; reaps it then.
    pub fn try_wait(&mut self) -> std::io::Result<Option<ExitStatus>> {
        todo!()
    }
    /// Waits at most `within` for its end.
    pub fn wait_within(&mut self, _within: Duration) -> std::io::Result<Option<ExitStatus>> {
        todo!()
    }
    /// Ends it: politely, and after `grace` by force; reaped when this returns.
    pub fn stop(self, _grace: Duration) -> std::io::Result<Ending> {
        todo!()
    }
    /// Leaves it running beyond us; returns its process id.
    pub fn detach(self) -> u32 {
        todo!()
    }
}

/// Starts a daemon and waits until it answers.
pub fn spawn(_request: &SpawnRequest) -> Result<Spawned, SpawnError> {
    todo!()
}
