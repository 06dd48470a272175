//! Who else can change the homes, asked before anything is made in them.

use myownllm_durable_fs::trust::{HomeTrust, OwnershipProblem, OwnershipProblemKind, look_inside};
use myownllm_durable_fs::{DiskError, Owner, quote};

use crate::context::Context;
use crate::diagnostic::{Class, Diagnostic};

/// Checks that what is changed in the app's home is changed for its owner, and nowhere else.
///
/// # Errors
/// Somebody else decides where the app's home is, or its owner could not use what this process makes there.
pub fn ensure_changeable(context: &Context<'_>) -> Result<(), Diagnostic> {
    look(context)?.forbids_change().map_or(Ok(()), |problem| Err(refusal(context, problem)))
}

/// Checks that nobody but the owner or root can put anything in the place of what a daemon is to work with.
///
/// # Errors
/// The topmost directory or symlink of which that is not so.
pub fn trusted_home(context: &Context<'_>) -> Result<(), Diagnostic> {
    let trust = look(context)?;
    if let Some(problem) = trust.forbids_change().or(trust.problems.first()) {
        return Err(refusal(context, problem));
    }
    let layout = context.layout;
    let directories = [Some(layout.daemon_home.as_path()), layout.daemon_identity.parent()];
    for directory in directories.into_iter().flatten() {
        if let Some(problem) =
            look_inside(context.disk, &layout.app_home, directory).map_err(|e| failed(&e))?
        {
            return Err(refusal(context, &problem));
        }
    }
    Ok(())
}

/// The same as a warning, of a run that wrote there: others may read what it wrote, or put something else in its place.
pub fn wrote_where_others_can(context: &Context<'_>) -> Option<Diagnostic> {
    trusted_home(context).err().map(Diagnostic::as_warning)
}

/// Checks that a daemon of this process is one of the home's owner: what root's daemon writes, the owner cannot read.
///
/// `run_as` is the user that the process becomes before.
///
/// # Errors
/// Root runs this process, and the home is another user's.
pub(crate) fn ensure_own_daemon(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    let trust = look(context)?;
    let (Some(owner), Some(runner)) = (trust.owner, context.disk.runner()) else { return Ok(()) };
    if run_as.is_some() || !runner.is_root() || owner.uid == runner.uid || Some(owner.uid) == runner.unmapped
    {
        return Ok(());
    }
    let home = &context.layout.app_home;
    let message =
        format!("{} belongs to user {}, and no daemon of root's is started there", home.display(), owner.uid);
    Err(Diagnostic::error("paths.foreign-home", message)
        .at(home)
        .hint(as_user(context, owner.uid, "launch --no-daemon"))
        .class(Class::Refused))
}

fn look(context: &Context<'_>) -> Result<HomeTrust, Diagnostic> {
    HomeTrust::look(context.disk, &context.layout.app_home).map_err(|error| match context.checked {
        // The guard of the paths has met the same, and names what it was looking for.
        Err(error) => Diagnostic::from(error),
        Ok(_) => failed(&error),
    })
}

fn failed(error: &DiskError) -> Diagnostic {
    Diagnostic::from_error(error, error.code(), error.hint()).at(error.path())
}

fn refusal(context: &Context<'_>, problem: &OwnershipProblem) -> Diagnostic {
    let hint = match &problem.kind {
        OwnershipProblemKind::NotTheRunners { owner, .. } => {
            as_user(context, owner.uid, "launch --no-daemon")
        }
        _ => problem.command(),
    };
    let message = format!("{} {}", problem.path.display(), problem.reason());
    Diagnostic::error("homes.unsafe-permissions", message).at(&problem.path).hint(hint).class(Class::Refused)
}

/// The command that runs the program as another user, on this home.
fn as_user(context: &Context<'_>, uid: u32, command: &str) -> String {
    let layout = context.layout;
    format!("sudo -u '#{uid}' {} --home {} {command}", layout.app.program, quote(&layout.user_home))
}
