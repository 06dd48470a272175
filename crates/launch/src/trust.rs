//! Who else can change the homes, asked before anything is made in them.

use myownllm_durable_fs::trust::{HomeTrust, OwnershipProblem, OwnershipProblemKind, look_inside};
use myownllm_durable_fs::{DiskError, quote};

use crate::notice::{Class, Notice};
use crate::sequence::Parts;

/// Checks that what is changed in the app's home is changed for its owner, and nowhere else.
///
/// # Errors
/// Somebody else decides where the app's home is, or its owner could not use what this process makes there.
pub fn ensure_changeable(parts: &Parts<'_>) -> Result<(), Notice> {
    look(parts)?.forbids_change().map_or(Ok(()), |problem| Err(refusal(parts, problem)))
}

/// Checks that nobody but the owner or root can put anything in the place of what a daemon is to work with.
///
/// # Errors
/// The topmost directory or symlink of which that is not so.
pub fn trusted_home(parts: &Parts<'_>) -> Result<(), Notice> {
    let trust = look(parts)?;
    if let Some(problem) = trust.forbids_change().or(trust.problems.first()) {
        return Err(refusal(parts, problem));
    }
    let layout = parts.layout;
    let directories = [Some(layout.daemon_home.as_path()), layout.daemon_identity.parent()];
    for directory in directories.into_iter().flatten() {
        if let Some(problem) = look_inside(parts.disk, &layout.app_home, directory).map_err(|e| failed(&e))? {
            return Err(refusal(parts, &problem));
        }
    }
    Ok(())
}

/// The same as a warning, of a run that wrote there: others may read what it wrote, or put something else in its place.
pub fn wrote_where_others_can(parts: &Parts<'_>) -> Option<Notice> {
    trusted_home(parts).err().map(Notice::as_warning)
}

/// Checks that a daemon of this process is one of the home's owner: what root's daemon writes, the owner cannot read.
///
/// # Errors
/// Root runs this process, and the home is another user's.
pub(crate) fn ensure_own_daemon(parts: &Parts<'_>) -> Result<(), Notice> {
    let trust = look(parts)?;
    let (Some(owner), Some(runner)) = (trust.owner, parts.disk.runner()) else { return Ok(()) };
    if !runner.is_root() || owner.uid == runner.uid || Some(owner.uid) == runner.unmapped {
        return Ok(());
    }
    let home = &parts.layout.app_home;
    let message =
        format!("{} belongs to user {}, and no daemon of root's is started there", home.display(), owner.uid);
    Err(Notice::error("paths.foreign-home", message)
        .at(home)
        .hint(as_user(parts, owner.uid, "launch --no-daemon"))
        .class(Class::Refused))
}

fn look(parts: &Parts<'_>) -> Result<HomeTrust, Notice> {
    HomeTrust::look(parts.disk, &parts.layout.app_home).map_err(|error| match parts.checked {
        // The guard of the paths has met the same, and names what it was looking for.
        Err(error) => Notice::from(error),
        Ok(_) => failed(&error),
    })
}

fn failed(error: &DiskError) -> Notice {
    Notice::from_error(error, error.code(), error.hint()).at(error.path())
}

fn refusal(parts: &Parts<'_>, problem: &OwnershipProblem) -> Notice {
    let hint = match &problem.kind {
        OwnershipProblemKind::NotTheRunners { owner, .. } => as_user(parts, owner.uid, "launch --no-daemon"),
        _ => problem.command(),
    };
    let message = format!("{} {}", problem.path.display(), problem.reason());
    Notice::error("homes.unsafe-permissions", message).at(&problem.path).hint(hint).class(Class::Refused)
}

/// The command that runs the program as another user, on this home.
fn as_user(parts: &Parts<'_>, uid: u32, command: &str) -> String {
    let layout = parts.layout;
    format!("sudo -u '#{uid}' {} --home {} {command}", layout.app.program, quote(&layout.user_home))
}
