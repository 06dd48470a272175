//! Tells why no daemon came up, if more is known than that its program failed.

use myownllm_config_model::daemon_config::{DaemonConfig, NEWEST_VERSION};
use myownllm_daemon::{CandidateFailure, CandidateOutcome, SpawnError};

use crate::context::Context;
use crate::daemon_config::{older_daemon, says_newer};
use crate::daemons::read_document;
use crate::diagnostic::{Diagnostic, unless_failed};
use crate::foreseen::{is_full, no_room_diagnostic, unusable_log};
use crate::start::{NOT_FOUND, name_program};

/// Returns the failed start. Adds a likelier reason for it to `diagnostics`, if there is one.
pub(crate) fn diagnostic(
    context: &Context<'_>,
    error: &SpawnError,
    diagnostics: &mut Vec<Diagnostic>,
) -> Diagnostic {
    if let SpawnError::Log { .. } = error
        && let Some(log) = unusable_log(context)
    {
        return log;
    }
    diagnostics.extend(no_room(context, error).or_else(|| newer_config(context, error)));
    match Diagnostic::from(error) {
        failed if failed.code == NOT_FOUND => name_program(context, failed),
        failed => failed,
    }
}

/// Returns the logs of the programs that ended before they answered.
fn last_log_lines(error: &SpawnError) -> Vec<&[String]> {
    let ended = |tried: &'_ CandidateOutcome| matches!(tried.failure, Some(CandidateFailure::Ended { .. }));
    error
        .tried()
        .iter()
        .filter(|tried| ended(tried))
        .filter_map(|tried| Some(tried.failure.as_ref()?.log()))
        .collect()
}

/// Reports that the daemon can write nothing in its home: the program ends, and the program is not
/// at fault.
fn no_room(context: &Context<'_>, error: &SpawnError) -> Option<Diagnostic> {
    /// The message of the system as the C library and as Rust's library print it: no space, no
    /// quota, a read-only file system.
    const SAID: [(&str, &str, &str); 3] = [
        ("No space left on device", "(os error 28)", "df -h"),
        ("Disk quota exceeded", "(os error 122)", "df -h"),
        ("Read-only file system", "(os error 30)", "findmnt --target"),
    ];
    let home = &context.layout.daemon_home;
    let logs = last_log_lines(error);
    let says = |(words, number, _): &&(&str, &str, &str)| {
        logs.iter().copied().flatten().any(|line| line.contains(words) || line.contains(number))
    };
    // On a full disk, the log may be empty as well.
    let full = || SAID.first().filter(|_| !logs.is_empty() && is_full(home));
    let (what, _, command) = SAID.iter().find(says).or_else(full)?;
    Some(no_room_diagnostic(home, what, command))
}

/// Reports a config that is newer than the daemon, as it is after a downgrade: the daemon refuses
/// such a config. The daemon's log says so; if the log does not say so in known words, it is enough
/// that the config is newer than every known daemon.
fn newer_config(context: &Context<'_>, error: &SpawnError) -> Option<Diagnostic> {
    let logs = last_log_lines(error);
    let said = logs.iter().copied().flatten().any(|line| says_newer(line));
    let path = &context.layout.daemon_config;
    let document = unless_failed(read_document(context.disk, path), "the look at the daemon's config")??;
    let version = DaemonConfig::view(&document).version?;
    let is_newer = (version > 1 && said) || (!logs.is_empty() && version > NEWEST_VERSION);
    is_newer.then(|| older_daemon(context, version))
}
