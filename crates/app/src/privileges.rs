//! Root in the home of another user.
//!
//! A file that a run makes there must belong to the owner of the home, and a run must not touch
//! with root's rights anything that the owner may not touch: so a command that writes runs as the
//! owner of the home, and so does one that says what a launch would do. Other looks stay root's.

use std::io;

use myownllm_durable_fs::Owner;
use myownllm_launch::{Diagnostic, foreign_home};

use crate::context::Context;

/// Changes user and group of this process, for good. Only the program's `main` can do so: a library
/// that changes the user of its process takes rights away from every other thread.
pub type BecomeUser<'a> = &'a dyn Fn(u32, u32) -> io::Result<()>;

/// Returns the owner of the home if root has to become that user to write there.
pub(crate) fn user_to_become(context: &Context) -> Option<Owner> {
    myownllm_launch::user_to_become(&context.disk, &context.layout, context.owner)
}

/// Returns the error of a change of the user without an attempt, if the process lacks the right to
/// change its user and groups.
pub(crate) fn foreseen_refusal(context: &Context) -> Option<Diagnostic> {
    let owner = user_to_become(context)?;
    (!may_change_user())
        .then(|| foreign_home(&context.layout, owner, &io::ErrorKind::PermissionDenied.into()))
}

/// Returns true if the process may change its user and groups. `CAP_SETGID` and `CAP_SETUID` of the
/// kernel are bits 6 and 7. If the kernel does not tell, an attempt does.
#[cfg(target_os = "linux")]
fn may_change_user() -> bool {
    const NEEDED: u64 = 1 << 6 | 1 << 7;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_none_or(|effective| effective & NEEDED == NEEDED)
}

#[cfg(not(target_os = "linux"))]
fn may_change_user() -> bool {
    true
}
