//! The users of the system, and root in the home of another user.
//!
//! A file that a run makes there must belong to the owner of the home, and a run must not touch
//! with root's rights anything that the owner may not touch: so a command that writes runs as the
//! owner of the home, and so does one that says what a launch would do. Other looks stay root's.

use std::io;
use std::path::PathBuf;

/// Changes user and group of this process, for good. Only the program's `main` can do so: a library
/// that changes the user of its process takes rights away from every other thread.
pub type BecomeUser<'a> = &'a dyn Fn(u32, u32) -> io::Result<()>;

/// Returns true if the process may change its user and groups. `CAP_SETGID` and `CAP_SETUID` of the
/// kernel are bits 6 and 7. If the kernel does not tell, an attempt does.
#[cfg(target_os = "linux")]
pub(crate) fn may_change_user() -> bool {
    const NEEDED: u64 = 1 << 6 | 1 << 7;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok());
    effective.is_none_or(|effective| effective & NEEDED == NEEDED)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn may_change_user() -> bool {
    true
}

/// Returns the user who called this program through another program, and that user's home.
#[cfg(unix)]
pub(crate) fn calling_user() -> Option<(String, PathBuf)> {
    use nix::unistd::{Uid, User};
    let variable = |name| std::env::var(name).ok().filter(|value: &String| !value.is_empty());
    let by_name = |name: String| User::from_name(&name).ok().flatten();
    let by_uid = |uid: String| User::from_uid(Uid::from_raw(uid.parse().ok()?)).ok().flatten();
    let user = variable("SUDO_USER")
        .or_else(|| variable("DOAS_USER"))
        .and_then(by_name)
        .or_else(|| variable("SUDO_UID").or_else(|| variable("PKEXEC_UID")).and_then(by_uid))?;
    (!user.uid.is_root()).then_some((user.name, user.dir))
}

#[cfg(not(unix))]
pub(crate) fn calling_user() -> Option<(String, PathBuf)> {
    None
}

/// Returns the name of a user, or the number if the system has no name.
#[cfg(unix)]
pub(crate) fn user_name(uid: u32) -> String {
    nix::unistd::User::from_uid(uid.into()).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Returns the number of a user.
#[cfg(not(unix))]
pub(crate) fn user_name(uid: u32) -> String {
    uid.to_string()
}
