//! What a person, or a program, should know of a run: one shape for the findings and errors of all crates.

use std::error::Error;
use std::path::Path;

use myownllm_config_model::secrets::shown_pointer;
use myownllm_config_model::{Diagnostic, ParseError, Place};
use myownllm_config_store::StoreError;
use myownllm_daemon::{ControlError, Failure, Probe, Refusal, SpawnError, StopError, Tried};
use myownllm_durable_fs::LockError;
use myownllm_migration::{Class, MigrationError};
use myownllm_paths::PathsError;
use serde::Serialize;

use crate::exit::ExitCode;

/// How much a notice matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the curious (`-v`).
    Info,
    /// Worth a look; the command went on.
    Warning,
    /// The reason why the exit code is not 0.
    Error,
}

/// One thing that a person, or a program, should know of a run.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Notice {
    /// Stable, for programs: `migration.collision`.
    pub code: String,
    /// How much it matters.
    pub severity: Severity,
    /// What happened, to what.
    pub message: String,
    /// The file, or the place in a document, that it is about.
    pub path: Option<String>,
    /// A command that mends it, to be copied.
    pub hint: Option<String>,
    /// What caused it, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// The place in a text that is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
    /// How the program ends on it; counts for errors alone.
    #[serde(skip)]
    pub exit: ExitCode,
}

impl Notice {
    /// A notice without path, hint or causes.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            path: None,
            hint: None,
            causes: Vec::new(),
            place: None,
            exit: ExitCode::Failed,
        }
    }

    /// An error.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// A warning.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A remark.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, message)
    }

    /// An error from a library's error and what it knows of itself.
    pub fn from_error(error: &(dyn Error + 'static), code: &str, hint: Option<String>) -> Self {
        let mut causes = Vec::new();
        let place_of = |error: &ParseError| Box::new(Place::from(error));
        let mut place = error.downcast_ref().map(place_of);
        let mut next = error.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            place = place.or_else(|| cause.downcast_ref().map(place_of));
            next = cause.source();
        }
        Self { causes, place, hint, ..Self::error(code, error.to_string()) }
    }

    /// Adds the path that it is about.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        self.path = Some(path.display().to_string());
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Ends the program with this code.
    #[must_use]
    pub fn exits(mut self, exit: ExitCode) -> Self {
        self.exit = exit;
        self
    }

    /// Goes on in spite of it.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Whether it is the reason for an exit code.
    #[must_use]
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// The exit code that these notices ask for: that of the gravest error.
///
/// Where several errors meet, the one that waits for the user wins over the one that the next run may mend.
#[must_use]
pub fn exit_of(notices: &[Notice]) -> ExitCode {
    notices
        .iter()
        .filter(|notice| notice.is_error())
        .map(|notice| notice.exit)
        .max()
        .unwrap_or(ExitCode::Done)
}

impl From<&Diagnostic> for Notice {
    fn from(found: &Diagnostic) -> Self {
        let severity = match found.severity {
            myownllm_config_model::Severity::Info => Severity::Info,
            // A finding in a document never fails a run by itself: the document was read.
            _ => Severity::Warning,
        };
        Self {
            path: Some(shown_pointer(&found.path)).filter(|path| !path.is_empty()),
            hint: found.hint.clone(),
            place: found.place.clone().map(Box::new),
            ..Self::new(severity, found.code, found.message.clone())
        }
    }
}

impl From<&PathsError> for Notice {
    fn from(error: &PathsError) -> Self {
        let exit = if error.is_refusal() { ExitCode::Refused } else { ExitCode::Failed };
        let notice = Self::from_error(error, error.code(), error.hint()).exits(exit);
        match error.path() {
            Some(path) => notice.at(path),
            None => notice,
        }
    }
}

impl From<&LockError> for Notice {
    fn from(error: &LockError) -> Self {
        let exit = match error {
            LockError::Held { .. } => ExitCode::Locked,
            _ => ExitCode::Failed,
        };
        Self::from_error(error, error.code(), error.hint()).exits(exit).at(error.home())
    }
}

impl From<&MigrationError> for Notice {
    fn from(error: &MigrationError) -> Self {
        let exit = match error.class() {
            Class::Failed => ExitCode::Failed,
            Class::Refused => ExitCode::Refused,
            Class::Newer => ExitCode::Newer,
        };
        Self::from_error(error, error.code(), error.hint()).exits(exit).at(error.path())
    }
}

impl From<&StoreError> for Notice {
    fn from(error: &StoreError) -> Self {
        let exit = match error {
            StoreError::Newer { .. } => ExitCode::Newer,
            StoreError::BackupsFull { .. }
            | StoreError::CopiesUnsafe { .. }
            | StoreError::ConfigIsACopy { .. }
            | StoreError::Shared { .. }
            | StoreError::ForeignLink { .. } => ExitCode::Refused,
            _ => ExitCode::Failed,
        };
        Self::from_error(error, error.code(), error.hint()).exits(exit).at(error.path())
    }
}

impl From<&ControlError> for Notice {
    fn from(error: &ControlError) -> Self {
        if let ControlError::Cancelled { .. } = error {
            return Self::info(error.code(), error.to_string());
        }
        let exit = match error {
            ControlError::Refused { .. }
            | ControlError::NoMeans { .. }
            | ControlError::UnknownOp { .. }
            | ControlError::BadRequest { .. } => ExitCode::Failed,
            ControlError::ForeignOwner { .. } | ControlError::PathTooLong { .. } => ExitCode::Refused,
            _ => ExitCode::Daemon,
        };
        Self::from_error(error, error.code(), error.hint()).exits(exit)
    }
}

impl From<&Refusal> for Notice {
    fn from(refusal: &Refusal) -> Self {
        let exit = match refusal {
            Refusal::ForeignOwner { .. } | Refusal::ForeignIdentity { .. } | Refusal::PathTooLong { .. } => {
                ExitCode::Refused
            }
            Refusal::NoMeans { .. } => ExitCode::Failed,
            _ => ExitCode::Daemon,
        };
        Self { hint: refusal.hint(), ..Self::error(refusal.code(), refusal.to_string()) }.exits(exit)
    }
}

impl From<&SpawnError> for Notice {
    fn from(error: &SpawnError) -> Self {
        if let SpawnError::Cancelled = error {
            // Who asked for it knows it, and got what was asked for.
            return Self::info(error.code(), error.to_string());
        }
        let exit = match error {
            SpawnError::HomeNotText { .. } | SpawnError::DanglingIdentity { .. } => ExitCode::Refused,
            SpawnError::Occupied { found, .. } if matches!(**found, Probe::ForeignOwner { .. }) => {
                ExitCode::Refused
            }
            SpawnError::IdentityUnreadable { .. } | SpawnError::Log { .. } | SpawnError::NoMeans { .. } => {
                ExitCode::Failed
            }
            _ => ExitCode::Daemon,
        };
        let mut notice = Self::from_error(error, error.code(), error.hint()).exits(exit);
        notice.causes.extend(error.tried().iter().flat_map(tried_lines));
        notice
    }
}

/// What became of a program that was tried: a line, and the last lines of its log.
fn tried_lines(tried: &Tried) -> Vec<String> {
    let (why, log) = match &tried.failure {
        None => return Vec::new(),
        Some(Failure::Skipped { reason }) => (reason.clone(), &[][..]),
        Some(Failure::NotStarted { problem }) => (format!("did not start: {problem}"), &[][..]),
        Some(Failure::Ended { status, log }) => (format!("ended: {status}"), &log[..]),
        Some(Failure::Silent { waited_ms, log }) => {
            (format!("did not answer within {waited_ms} ms"), &log[..])
        }
        Some(Failure::Unusable { problem, log }) => (format!("is no daemon: {problem}"), &log[..]),
        Some(Failure::ForeignIdentity { found, .. }) => {
            (format!("came up with another key, {found}"), &[][..])
        }
        Some(_) => ("failed".to_owned(), &[][..]),
    };
    let first = format!("{}: {why}", tried.candidate.path.display());
    std::iter::once(first).chain(log.iter().map(|line| format!("  log: {line}"))).collect()
}

impl From<&StopError> for Notice {
    fn from(error: &StopError) -> Self {
        Self::from_error(error, error.code(), error.hint()).exits(ExitCode::Refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_outweighs_a_failure_and_a_warning_weighs_nothing() {
        let failed = Notice::error("a", "a");
        let refused = Notice::error("b", "b").exits(ExitCode::Refused);
        let warned = Notice::warning("c", "c").exits(ExitCode::Newer);
        assert_eq!(exit_of(std::slice::from_ref(&warned)), ExitCode::Done);
        assert_eq!(exit_of(&[failed, refused, warned]), ExitCode::Refused);
    }
}
