//! The results of a start: one for each candidate, and the error if no daemon runs.

use std::{fmt, io, path::Path};

use myownllm_identity::Refusal;
use myownllm_paths::{
    Class,
    camino::{Utf8Path, Utf8PathBuf},
    impl_failure,
};
use serde::Serialize;

use crate::{
    Candidate, Endpoint, Probe,
    error::{show_path_command, show_process_command},
};

/// A candidate and the result of the attempt with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct CandidateOutcome {
    /// The candidate.
    pub candidate: Candidate,
    /// The reason why it is not the running daemon, or `None` if it is.
    pub failure: Option<CandidateFailure>,
}

impl CandidateOutcome {
    /// Returns the result of the attempt with a candidate: `None` if it is the running daemon.
    pub fn new(candidate: Candidate, failure: Option<CandidateFailure>) -> Self {
        Self { candidate, failure }
    }
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

/// The reason why a candidate is not the running daemon. `log` holds the last lines of its log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "failure", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum CandidateFailure {
    /// It is no executable program, or an earlier candidate runs.
    #[error("{reason}")]
    Skipped { reason: String },
    /// The system did not start it.
    #[error("could not be started: {problem}")]
    NotStarted { problem: String, hint: Option<String> },
    /// It exited before it answered.
    #[error("ended before it answered ({status})")]
    Ended { status: String, log: Vec<String> },
    /// It did not answer in time. It was ended and reaped.
    #[error("did not answer within {waited_ms} ms")]
    Silent { waited_ms: u64, log: Vec<String> },
    /// It gave an answer that no daemon gives. It was ended and reaped.
    #[error("answered what no daemon would: {problem}")]
    Unusable { problem: String, log: Vec<String> },
    /// It answered with another Device ID than the one of the home. It was ended and reaped.
    #[error("has the Device ID {found} instead of {expected}")]
    ForeignIdentity { expected: String, found: String },
}

impl CandidateFailure {
    /// Returns the last lines of the candidate's log.
    pub fn log(&self) -> &[String] {
        match self {
            Self::Ended { log, .. } | Self::Silent { log, .. } | Self::Unusable { log, .. } => log,
            Self::Skipped { .. } | Self::NotStarted { .. } | Self::ForeignIdentity { .. } => &[],
        }
    }
}

/// The reason why no daemon was started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum SpawnError {
    /// A process listens at the endpoint: a second daemon would unlink its socket.
    #[error("cannot start a daemon at {endpoint}: a process already listens there")]
    Occupied { endpoint: Endpoint, found: Box<Probe> },
    /// This process has no file descriptor or no memory left to look at the endpoint.
    #[error("cannot check for a daemon at {endpoint}: {problem}")]
    ResourceExhausted { endpoint: Endpoint, problem: String },
    /// The path of the socket is too long for this platform.
    #[error("cannot bind {endpoint}: the path has {length} bytes, and the platform allows {limit}")]
    SocketTooLong { endpoint: Endpoint, length: usize, limit: usize },
    /// Something that is no socket lies at the path of the socket: the daemon would unlink it.
    #[error("cannot bind {path}: it exists and is no socket")]
    NotASocket { path: Utf8PathBuf },
    /// The daemon would listen at another socket than the caller named.
    #[error("cannot start a daemon at {endpoint}: it would listen at {socket}")]
    OtherSocket { endpoint: Endpoint, socket: Utf8PathBuf },
    /// The daemon's config, which may name a socket, cannot be read.
    #[error("cannot read the daemon's config {path}: {problem}")]
    Config { path: Utf8PathBuf, problem: String },
    /// The request sets a variable that tells the daemon its home, which the permit names alone: in
    /// another home the daemon would make a new key.
    #[error("cannot start a daemon with the variable {variable} of the caller")]
    HomeVariable { variable: String },
    /// The home can neither be read nor created.
    #[error("cannot use the daemon home {home}")]
    Home { home: Utf8PathBuf, source: io::Error },
    /// The facts changed on which the permit stood.
    #[error(transparent)]
    Identity(Box<Refusal>),
    /// The log cannot be created or written: the cause is the home or its disk.
    #[error("cannot write the daemon log {path}")]
    Log { path: Utf8PathBuf, source: io::Error },
    /// The caller cancelled the start.
    #[error("the start of a daemon was broken off")]
    Cancelled,
    /// No candidate is an executable program.
    #[error("no daemon program was found")]
    NoCandidate { tried: Vec<CandidateOutcome> },
    /// Every candidate failed.
    #[error("no daemon program came up for {home}")]
    AllFailed { home: Utf8PathBuf, tried: Vec<CandidateOutcome> },
}

impl SpawnError {
    /// Returns the stable code of this error.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Occupied { found, .. } => match **found {
                Probe::Answered { .. } => "daemon.already-running",
                ref other => other.code(),
            },
            Self::ResourceExhausted { .. } => "daemon.no-means",
            Self::SocketTooLong { .. } => "daemon.socket-too-long",
            Self::NotASocket { .. } => "daemon.not-a-socket",
            Self::OtherSocket { .. } => "daemon.other-socket",
            Self::Config { .. } => "daemon.config-unreadable",
            Self::HomeVariable { .. } => "daemon.home-variable",
            Self::Home { .. } => "daemon.home",
            Self::Identity(refusal) => refusal.code(),
            Self::Log { .. } => "daemon.log",
            Self::Cancelled => "daemon.cancelled",
            Self::NoCandidate { .. } => "daemon.not-found",
            Self::AllFailed { .. } => "daemon.not-started",
        }
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        match self {
            Self::Identity(refusal) => refusal.class(),
            Self::Occupied { found, .. } if matches!(**found, Probe::ForeignOwner { .. }) => Class::Refused,
            Self::Log { .. } | Self::ResourceExhausted { .. } | Self::Cancelled => Class::Failed,
            _ => Class::Daemon,
        }
    }

    /// Returns the path that the error is about.
    pub fn path(&self) -> Option<&Path> {
        let path = match self {
            Self::Identity(refusal) => return Some(refusal.path()),
            Self::Occupied { endpoint, .. }
            | Self::ResourceExhausted { endpoint, .. }
            | Self::SocketTooLong { endpoint, .. }
            | Self::OtherSocket { endpoint, .. } => endpoint.path(),
            Self::NotASocket { path } | Self::Config { path, .. } | Self::Log { path, .. } => Some(&**path),
            Self::Home { home, .. } | Self::AllFailed { home, .. } => Some(&**home),
            Self::Cancelled | Self::HomeVariable { .. } | Self::NoCandidate { .. } => None,
        };
        path.map(Utf8Path::as_std_path)
    }

    /// Returns the command that shows or mends the cause, unless only a command of the app does.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Occupied { found, .. } => show_process_command(found.pid()),
            Self::Config { path, .. } => Some(format!("ls -ld {}", myownllm_durable_fs::quote(path))),
            Self::NotASocket { path } => Some(myownllm_durable_fs::move_aside(path, "aside")),
            Self::Identity(refusal) => refusal.hint(),
            Self::Home { home: path, source } | Self::Log { path, source } => {
                Some(show_path_command(path, source))
            }
            Self::AllFailed { tried, .. } => tried.iter().find_map(|tried| match &tried.failure {
                Some(CandidateFailure::NotStarted { hint, .. }) => hint.clone(),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Returns the candidates, each with its reason.
    pub fn tried(&self) -> &[CandidateOutcome] {
        match self {
            Self::NoCandidate { tried } | Self::AllFailed { tried, .. } => tried,
            _ => &[],
        }
    }
}

impl_failure!(SpawnError, serialize);
