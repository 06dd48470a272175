//! Who may use and change the two homes: their owner, other users, and the runner.

pub(crate) mod no_access;
pub(crate) mod owner;
pub(crate) mod trust;

use myownllm_paths::{CheckedLayout, PathsError};

use crate::context::Context;
use crate::words::diagnostic::Diagnostic;

/// Returns the checked layout.
///
/// # Errors
/// Returns the error of the check. Its hint renames a symlink, and without the symlink nothing
/// shows whose daemon a process is that found its home through it. So the hint ends such a process
/// first.
pub(crate) fn checked_layout<'a>(context: &Context<'a>) -> Result<&'a CheckedLayout, Diagnostic> {
    context.checked.map_err(|error| {
        let overlap = Diagnostic::from(error);
        let is_overlap = matches!(error, PathsError::Overlap { .. });
        let orphans = if is_overlap { context.daemons.orphans(None) } else { Vec::new() };
        match orphans.iter().filter(|orphan| orphan.legacy).find_map(|orphan| orphan.pid()) {
            Some(pid) => {
                let message =
                    format!("{}; first stop the daemon that runs there (process {pid})", overlap.message);
                Diagnostic { message, ..overlap }.hint(format!("kill {pid}"))
            }
            None => overlap,
        }
    })
}
