//! The users of the system, by name and number.

use std::path::PathBuf;

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
