//! The identity file in force, as a launch sees it.

use myownllm_durable_fs::LockedDir;
use myownllm_identity::{Answer, Expected, IdentityPaths, Refusal, Scan, StartPermit, scan};

use crate::context::Context;

/// Decides whether a daemon may be started in this home, and with which key. Every command gives
/// this same answer.
#[must_use]
pub fn identity_answer(context: &Context<'_>) -> Answer {
    scan_identity(context).answer()
}

/// Looks at the identity file.
#[must_use]
pub fn scan_identity(context: &Context<'_>) -> Scan {
    scan(context.disk, &IdentityPaths::of(context.layout))
}

/// Returns the permit to start a daemon in this home.
pub(crate) fn start_permit<'lock>(
    context: &Context<'_>,
    lock: &'lock LockedDir,
) -> Result<StartPermit<'lock>, Refusal> {
    myownllm_identity::start_permit(lock, &IdentityPaths::of(context.layout))
}

/// Returns the key that a running daemon must have.
///
/// # Errors
/// Fails if no daemon may be used.
pub fn expected_key(answer: &Answer) -> Result<Expected, Refusal> {
    answer.expected()
}
