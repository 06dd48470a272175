//! Diagnostics, which a person or a program should know of a run: one type for the diagnostics and
//! errors of all crates.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use myownllm_config_model::convert::ConvertError;
use myownllm_config_model::envelope::EnvelopeError;
use myownllm_config_model::masking::mask_pointer;
use myownllm_config_model::networks::NetworksError;
use myownllm_config_model::{ParseError, Place};
use myownllm_config_store::{Loaded, StoreError};
use myownllm_daemon::{
    CandidateFailure, CandidateOutcome, ControlError, DetectRefusal, SpawnError, StopError,
};
use myownllm_durable_fs::{DiskError, LockError};
use myownllm_identity::{Problem, Refusal};
use myownllm_migration::MigrationError;
pub use myownllm_paths::Class;
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{Failure, PathsError};
use serde::{Serialize, Serializer};

/// The name of this program, as everybody can call it.
pub const PROGRAM: &str = "myownllm-mesh";

/// The code of a config that is not a JSON object.
pub const CORRUPT: &str = "store.corrupt";
/// The code of a daemon that serves a home and to which no socket leads.
pub(crate) const WITHOUT_SOCKET: &str = "daemon.without-socket";
/// The code of a config that has lost the user's settings.
pub(crate) const WIPED: &str = "config.wiped";
/// The code of a config that a launch would repair.
pub const NEEDS_REPAIR: &str = "config.needs-repair";

/// The longest time that a daemon can be given to start: its start holds the home's lock.
pub const LONGEST_DAEMON_WAIT: Duration = Duration::from_secs(600);

/// The severity of a diagnostic.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A detail (`-v`).
    Info,
    /// Worth a look. The command went on.
    Warning,
    /// The run failed because of it.
    Error,
}

/// One thing that a person, or a program, should know of a run.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "Data<'static>"))]
#[non_exhaustive]
pub struct Diagnostic {
    /// A stable code, for programs: `migration.collision`.
    pub code: String,
    /// The severity.
    pub severity: Severity,
    /// The event and its object, for a person.
    pub message: String,
    /// The file, or the place in a document, that the diagnostic is about.
    pub path: Option<String>,
    /// A command to copy that mends the problem.
    pub hint: Option<String>,
    /// The causes, outermost first.
    pub causes: Vec<String>,
    /// The place of a syntax error in a text that is not JSON.
    pub place: Option<Box<Place>>,
    /// The kind of failure. It counts for errors only.
    pub class: Class,
    /// True if the system does not let the user of this process use the path.
    pub is_denied: bool,
    /// The number of the system's error that is the innermost cause.
    pub(crate) os_error: Option<i32>,
    /// The file of `path`. Its name may not be UTF-8.
    pub(crate) file: Option<PathBuf>,
}

impl Diagnostic {
    /// Returns a diagnostic without path, hint or causes.
    pub fn new(severity: Severity, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            severity,
            message: message.into(),
            path: None,
            hint: None,
            causes: Vec::new(),
            place: None,
            class: Class::Failed,
            is_denied: false,
            os_error: None,
            file: None,
        }
    }

    /// Returns an error.
    pub fn error(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// Returns a warning.
    pub fn warning(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// Returns a remark.
    pub fn info(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Severity::Info, code, message)
    }

    /// Returns an error from a library's error, with the code and the hint that the library's error
    /// gives.
    pub fn from_error(error: &(dyn Error + 'static), code: &str, hint: Option<String>) -> Self {
        let message = error.to_string();
        let mut causes: Vec<String> = Vec::new();
        let place_of = |error: &ParseError| Box::new(Place::from(error));
        let mut place = error.downcast_ref().map(place_of);
        let (mut is_denied, mut os_error) = (false, None);
        let mut next = error.source();
        while let Some(cause) = next {
            let text = cause.to_string();
            if cause.source().is_none() || !repeats(causes.last().unwrap_or(&message), &text) {
                causes.push(text);
            }
            is_denied |= cause.downcast_ref().is_some_and(is_access_denied);
            os_error = cause.downcast_ref().and_then(std::io::Error::raw_os_error).or(os_error);
            place = place.or_else(|| cause.downcast_ref().map(place_of));
            next = cause.source();
        }
        Self { causes, place, hint, is_denied, os_error, ..Self::error(code, message) }
    }

    /// Returns an error from a library's error that has a class.
    fn of_failure(error: &(impl Failure + 'static)) -> Self {
        Self::from_error(error, error.code(), error.hint()).class(error.class())
    }

    /// Sets the path that the diagnostic is about.
    #[must_use]
    pub fn at(mut self, path: impl AsRef<Path>) -> Self {
        self.path = Some(path.as_ref().display().to_string());
        self.file = Some(path.as_ref().to_owned());
        self
    }

    /// Sets the hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Sets the class.
    #[must_use]
    pub fn class(mut self, class: Class) -> Self {
        self.class = class;
        self
    }

    /// Sets the causes, outermost first.
    #[must_use]
    pub fn causes(mut self, causes: Vec<String>) -> Self {
        self.causes = causes;
        self
    }

    /// Makes the diagnostic a warning: the run goes on.
    #[must_use]
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// Makes the diagnostic an error: the run fails because of it.
    #[must_use]
    pub fn as_error(mut self) -> Self {
        self.severity = Severity::Error;
        self
    }

    /// Returns true if the run failed because of this diagnostic.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

/// One thing that a person, or a program, should know of a run, as data.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Diagnostic"))]
struct Data<'d> {
    /// A stable code, for programs: `migration.collision`. docs/errors.md lists all codes.
    code: &'d str,
    severity: Severity,
    /// The kind of failure, of an error alone. The gravest class decides the exit code.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<Class>,
    /// The event and its object, for a person. The wording may change.
    message: &'d str,
    /// The file, or the place in a document (a JSON Pointer), that the diagnostic is about.
    path: Option<&'d str>,
    /// A command to copy that mends the problem, or shows its cause.
    hint: Option<&'d str>,
    /// The causes, outermost first.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'d [String],
    /// The place of a syntax error in a text that is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'d Place>,
}

impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { code, severity, message, path, hint, causes, place, class, .. } = self;
        Data {
            code,
            severity: *severity,
            class: self.is_error().then_some(*class),
            message,
            path: path.as_deref(),
            hint: hint.as_deref(),
            causes,
            place: place.as_deref(),
        }
        .serialize(serializer)
    }
}

/// Returns true if a message already says what its cause says: "cannot read the config X" what
/// "cannot read X" says.
fn repeats(message: &str, cause: &str) -> bool {
    let same_verb = || {
        let (verb, object) = cause.strip_prefix("cannot ")?.split_once(' ')?;
        let is_same = message.starts_with(&format!("cannot {verb} "))
            || (verb == "read" && message.contains("cannot be read"));
        is_same.then_some(object)
    };
    let object = cause.strip_prefix("cannot look at ").or_else(same_verb);
    object.is_some_and(|object| message.contains(object))
}

/// Returns true for `EACCES`, and not for the `EPERM` of an immutable file.
fn is_access_denied(error: &std::io::Error) -> bool {
    #[cfg(unix)]
    let is_immutable = error.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error());
    #[cfg(not(unix))]
    let is_immutable = false;
    error.kind() == std::io::ErrorKind::PermissionDenied && !is_immutable
}

/// Returns the class of the gravest error, or `None` if there is no error.
///
/// Of several errors, an error that waits for the user outweighs an error that the next run may
/// mend.
pub fn class_of(diagnostics: &[Diagnostic]) -> Option<Class> {
    diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).map(|diagnostic| diagnostic.class).max()
}

/// Returns the value; drops an error that decides nothing, and says so in the log.
pub(crate) fn unless_failed<T, E: std::fmt::Display>(result: Result<T, E>, doing: &str) -> Option<T> {
    result.inspect_err(|error| tracing::debug!(%error, "{doing} failed")).ok()
}

/// Adds the diagnostics whose code no diagnostic has yet: one part of a launch need not repeat what
/// another part reported.
pub(crate) fn add_unreported(diagnostics: &mut Vec<Diagnostic>, more: impl IntoIterator<Item = Diagnostic>) {
    for diagnostic in more {
        if !diagnostics.iter().any(|earlier| earlier.code == diagnostic.code) {
            diagnostics.push(diagnostic);
        }
    }
}

fn is_same(diagnostic: &Diagnostic, other: &Diagnostic) -> bool {
    diagnostic.code == other.code && diagnostic.message == other.message
}

/// Adds a diagnostic unless the list has it already.
pub(crate) fn add_new(diagnostics: &mut Vec<Diagnostic>, more: Diagnostic) {
    // An error replaces the same diagnostic as a warning: the launch may fail because of it.
    diagnostics.retain(|diagnostic| !is_same(diagnostic, &more) || diagnostic.is_error());
    if !diagnostics.iter().any(|diagnostic| is_same(diagnostic, &more)) {
        diagnostics.push(more);
    }
}

/// Returns the diagnostics of a look at the config at `path`. For a change, a config of a newer
/// version is an error, in the place of the remark that the look made.
pub fn config_diagnostics(loaded: &Loaded, path: &Utf8Path) -> Vec<Diagnostic> {
    let newer = loaded.newer_error(path);
    let is_reported = |code: &str| newer.as_ref().is_some_and(|newer| newer.code() == code);
    let found = loaded.diagnostics.iter().filter(|found| !is_reported(found.code)).map(Diagnostic::from);
    found.chain(newer.iter().map(Diagnostic::from)).collect()
}

impl From<&myownllm_config_model::Diagnostic> for Diagnostic {
    fn from(found: &myownllm_config_model::Diagnostic) -> Self {
        let severity = match found.severity {
            myownllm_config_model::Severity::Info => Severity::Info,
            // A diagnostic of a document never fails a run by itself: the document was read.
            _ => Severity::Warning,
        };
        Self {
            path: Some(mask_pointer(&found.path)).filter(|path| !path.is_empty()),
            hint: found.hint.clone(),
            place: found.place.clone().map(Box::new),
            ..Self::new(severity, found.code, found.message.clone())
        }
    }
}

/// Converts errors, each by a function of [`Diagnostic`].
macro_rules! from_errors {
    ($($convert:ident: $($error:ty),+;)+) => {$($(
        impl From<&$error> for Diagnostic {
            fn from(error: &$error) -> Self {
                Self::$convert(error)
            }
        }

        impl From<$error> for Diagnostic {
            fn from(error: $error) -> Self {
                Self::$convert(&error)
            }
        }
    )+)+};
}

from_errors! {
    of_failure: ParseError, ConvertError, EnvelopeError, NetworksError, DetectRefusal, StopError;
    of_failure_at_path: PathsError, DiskError, LockError, StoreError;
    of_refusal: Refusal;
    of_migration: MigrationError;
    of_control: ControlError;
    of_spawn: SpawnError;
}

impl Diagnostic {
    fn of_failure_at_path(error: &(impl Failure + 'static)) -> Self {
        let diagnostic = Self::of_failure(error);
        match error.path() {
            Some(path) => diagnostic.at(path),
            None => diagnostic,
        }
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        let hint = match refusal.problem {
            // Shows both identity files: only the user knows which one the peers know.
            Problem::TwoIdentities { .. } => Some(format!("{PROGRAM} migrate --dry-run")),
            _ => refusal.ways_out.first().and_then(|way| way.command_of(PROGRAM)),
        };
        Self { hint, ..Self::of_failure_at_path(refusal) }
    }

    fn of_migration(error: &MigrationError) -> Self {
        let mut diagnostic = Self::of_failure_at_path(error);
        match error {
            MigrationError::TwoIdentities { command, .. } => {
                diagnostic.hint = Some(format!("{command} --dry-run"));
            }
            // The owner of the home may not change what belongs to another user.
            MigrationError::UnsafePermissions { command, .. } if command.starts_with("sudo chown ") => {
                diagnostic.is_denied = true;
            }
            _ => {}
        }
        diagnostic
    }

    fn of_control(error: &ControlError) -> Self {
        match error {
            ControlError::Cancelled { .. } => Self::info(error.code(), error.to_string()),
            _ => Self::of_failure(error),
        }
    }

    fn of_spawn(error: &SpawnError) -> Self {
        match error {
            // The caller cancelled the start and knows it: this is no error.
            SpawnError::Cancelled => return Self::info(error.code(), error.to_string()),
            SpawnError::Identity(refusal) => return Self::of_refusal(refusal),
            _ => {}
        }
        let mut diagnostic = Self::of_failure(error);
        diagnostic.hint = diagnostic.hint.or_else(|| longer_wait(error));
        diagnostic.causes.extend(error.tried().iter().flat_map(tried_lines));
        diagnostic
    }
}

/// Returns the command that gives a daemon more time, if one was still on its way up when the wait
/// ended.
fn longer_wait(error: &SpawnError) -> Option<String> {
    let waited = |tried: &CandidateOutcome| match tried.failure {
        Some(CandidateFailure::Silent { waited_ms, .. }) => Some(waited_ms),
        _ => None,
    };
    let waited = error.tried().iter().filter_map(waited).max()?;
    let seconds = waited.div_ceil(1000).saturating_mul(4).min(LONGEST_DAEMON_WAIT.as_secs());
    (seconds * 1000 > waited).then(|| format!("{PROGRAM} launch --daemon-wait {seconds}"))
}

/// Returns the result of a program that was tried: a line, and the last lines of its log.
pub(crate) fn tried_lines(tried: &CandidateOutcome) -> Vec<String> {
    let Some(failure) = &tried.failure else { return Vec::new() };
    let why = match failure {
        CandidateFailure::NotStarted { problem, .. } => format!("did not start: {problem}"),
        CandidateFailure::Ended { status, .. } => format!("ended: {status}"),
        CandidateFailure::Unusable { problem, .. } => format!("is no daemon: {problem}"),
        CandidateFailure::ForeignIdentity { found, .. } => format!("came up with another key, {found}"),
        other => other.to_string(),
    };
    let first = format!("{}: {why}", tried.candidate.path.display());
    std::iter::once(first).chain(failure.log().iter().map(|line| format!("  log: {line}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_is_not_said_twice() {
        let read = "cannot read the config ~/a/config.json";
        assert!(repeats(read, "cannot read ~/a/config.json"));
        assert!(repeats("cannot read ~/a", "cannot look at ~/a"));
        assert!(repeats("cannot repair the config: ~/a cannot be read", "cannot read ~/a"));
        assert!(!repeats(read, "cannot rename ~/a/config.json"));
        assert!(!repeats(read, "cannot read ~/b/config.json"));
        assert!(!repeats(read, "Permission denied (os error 13)"));
    }

    #[test]
    fn a_decision_outweighs_a_failure_and_a_warning_weighs_nothing() {
        let failed = Diagnostic::error("a", "a");
        let refused = Diagnostic::error("b", "b").class(Class::Refused);
        let warned = Diagnostic::warning("c", "c").class(Class::Newer);
        assert_eq!(class_of(std::slice::from_ref(&warned)), None);
        assert_eq!(class_of(&[failed, refused, warned]), Some(Class::Refused));
    }
}
