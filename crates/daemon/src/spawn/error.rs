//! What became of the programs that were tried, and why no daemon runs.

use std::{fmt, io, path::PathBuf};

use myownllm_identity::Refusal;
use serde::Serialize;

use crate::{Candidate, Endpoint, Probe};

/// A candidate, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CandidateOutcome {
    /// Which.
    pub candidate: Candidate,
    /// Why it is not the daemon that runs now; `None` for the one that does.
    pub failure: Option<CandidateFailure>,
}

impl fmt::Display for CandidateOutcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.candidate.path.display(), self.candidate.origin)?;
        match &self.failure {
            Some(failure) => write!(f, "{failure}"),
            None => f.write_str("taken"),
        }
    }
}

/// Why a candidate failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
pub enum CandidateFailure {
    /// It is no program that we can start, or one before it was taken.
    Skipped {
        /// Why, in words.
        reason: String,
    },
    /// The system would not start it.
    NotStarted {
        /// The cause, in words.
        problem: String,
        /// The command that mends it, where there is one.
        hint: Option<String>,
    },
    /// It ended before it answered.
    Ended {
        /// How, in words.
        status: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It did not answer in time; it was ended and reaped.
    Silent {
        /// How long we waited, in milliseconds.
        waited_ms: u64,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It answered something else than a daemon would; it was ended and reaped.
    Unusable {
        /// What, in words.
        problem: String,
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// It answered with another key than the home's; it was ended and reaped.
    ForeignIdentity {
        /// The home's.
        expected: String,
        /// Its own.
        found: String,
    },
}

impl CandidateFailure {
    /// The last lines of its log, when it came so far as to write one.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Ended { log, .. } | Self::Silent { log, .. } | Self::Unusable { log, .. } => log,
            Self::Skipped { .. } | Self::NotStarted { .. } | Self::ForeignIdentity { .. } => &[],
        }
    }
}

impl fmt::Display for CandidateFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skipped { reason } => f.write_str(reason),
            Self::NotStarted { problem, .. } => write!(f, "could not be started: {problem}"),
            Self::Ended { status, .. } => write!(f, "ended before it answered ({status})"),
            Self::Silent { waited_ms, .. } => write!(f, "did not answer within {waited_ms} ms"),
            Self::Unusable { problem, .. } => write!(f, "answered what no daemon would: {problem}"),
            Self::ForeignIdentity { expected, found } => {
                write!(f, "has the Device ID {found} instead of {expected}")
            }
        }
    }
}

/// Why no daemon runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Somebody listens where the daemon would: a second one would take the socket's name away from the first.
    #[error("somebody already listens at {endpoint}")]
    Occupied {
        /// Where.
        endpoint: Endpoint,
        /// What was found.
        found: Box<Probe>,
    },
    /// We ourselves have not what it takes to look who listens there: no file handle, no memory.
    #[error(
        "whether a daemon is at {endpoint} cannot be told: this program lacks the means to look: {problem}"
    )]
    ResourceExhausted {
        /// Where.
        endpoint: Endpoint,
        /// The system's words.
        problem: String,
    },
    /// The socket's path is too long for this platform.
    #[error("the socket path {endpoint} is {length} bytes long, and {limit} are possible")]
    SocketTooLong {
        /// Where.
        endpoint: Endpoint,
        /// Its length in bytes.
        length: usize,
        /// The platform's limit in bytes.
        limit: usize,
    },
    /// Something that is no socket lies where the daemon would bind; the daemon would remove it.
    #[error("{} is in the daemon's way: it is no socket", path.display())]
    NotASocket {
        /// Which.
        path: PathBuf,
    },
    /// The home is not UTF-8; the daemon would silently use another one.
    #[error("the daemon's home {} is not UTF-8", home.display())]
    HomeNotUtf8 {
        /// Which.
        home: PathBuf,
    },
    /// The home is not absolute; the daemon would look for it where it stands.
    #[error("the daemon's home {} is not absolute", home.display())]
    HomeRelative {
        /// Which.
        home: PathBuf,
    },
    /// The home cannot be looked at or made.
    #[error("the daemon's home {} cannot be used", home.display())]
    Home {
        /// Which.
        home: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// No daemon may be started any more: what the permit was given for has changed.
    #[error(transparent)]
    Identity(Box<Refusal>),
    /// The log file cannot be made, or nothing can be written to it: what is wrong is the home, or its disk.
    #[error("the daemon's log {} cannot be written", path.display())]
    Log {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The caller changed its mind while one was starting.
    #[error("the start of a daemon was broken off")]
    Cancelled,
    /// There is no program to start.
    #[error("no daemon program was found")]
    NoCandidate {
        /// What was looked at.
        tried: Vec<CandidateOutcome>,
    },
    /// Every program failed.
    #[error("no daemon program came up for {}", home.display())]
    AllFailed {
        /// For which home.
        home: PathBuf,
        /// Each with its reason.
        tried: Vec<CandidateOutcome>,
    },
}

impl SpawnError {
    /// A stable name for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Occupied { found, .. } => match **found {
                Probe::Answered { .. } => "daemon.already-running",
                ref other => other.code(),
            },
            Self::ResourceExhausted { .. } => "daemon.no-means",
            Self::SocketTooLong { .. } => "daemon.socket-too-long",
            Self::NotASocket { .. } => "daemon.not-a-socket",
            Self::HomeNotUtf8 { .. } => "daemon.home-not-utf8",
            Self::HomeRelative { .. } => "daemon.home-relative",
            Self::Home { .. } => "daemon.home",
            Self::Identity(refusal) => refusal.code(),
            Self::Log { .. } => "daemon.log",
            Self::Cancelled => "daemon.cancelled",
            Self::NoCandidate { .. } => "daemon.not-found",
            Self::AllFailed { .. } => "daemon.not-started",
        }
    }

    /// The command that shows or mends it, where there is one that is no app's own.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Occupied { found, .. } => crate::error::inspect_process_command(found.pid()),
            Self::NotASocket { path } => Some(myownllm_durable_fs::move_aside(path, "aside")),
            Self::Identity(refusal) => refusal.hint(),
            Self::Home { home: path, source } | Self::Log { path, source } => {
                Some(crate::error::inspect_path_command(path, source))
            }
            Self::SocketTooLong { .. }
            | Self::HomeNotUtf8 { .. }
            | Self::HomeRelative { .. }
            | Self::Cancelled
            | Self::ResourceExhausted { .. }
            | Self::NoCandidate { .. } => None,
            Self::AllFailed { tried, .. } => tried.iter().find_map(|tried| match &tried.failure {
                Some(CandidateFailure::NotStarted { hint, .. }) => hint.clone(),
                _ => None,
            }),
        }
    }

    /// Each program that was looked at, with its reason.
    pub fn tried(&self) -> &[CandidateOutcome] {
        match self {
            Self::NoCandidate { tried } | Self::AllFailed { tried, .. } => tried,
            _ => &[],
        }
    }
}
