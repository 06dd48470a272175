//! Which program is the daemon?

use std::{ffi::OsString, path::PathBuf};

use serde::Serialize;

/// Where to look. All of it is passed in: this crate reads no environment.
#[derive(Clone, Debug, Default)]
pub struct CandidateSearch {
    /// Explicit overrides in order: the variable's name and its value. Unset ones are left out.
    pub overrides: Vec<(String, OsString)>,
    /// The running program; the bundled daemon lies beside it.
    pub program: Option<PathBuf>,
    /// The target triple under which a bundled daemon may also be named.
    pub triple: Option<String>,
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// The working directory, for overrides that are relative.
    pub working_dir: Option<PathBuf>,
}

/// A program that may be the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The program.
    pub path: PathBuf,
    /// What led to it.
    pub origin: Origin,
    /// Whether it will be tried.
    pub verdict: Verdict,
}

/// What led to a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// An environment variable names it.
    Override(String),
    /// It lies beside the running program.
    Beside,
    /// It was found on `PATH`.
    Path,
}

/// Whether a candidate will be tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// An executable program file.
    Usable,
    /// Not tried, for this reason.
    Skipped(String),
}

/// Every candidate in the order in which it is tried, the skipped ones with the reason.
pub fn candidates(_search: &CandidateSearch) -> Vec<Candidate> {
    todo!()
}
