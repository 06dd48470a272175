//! Root in the home of another user.
//!
//! A file that a run makes there must belong to the owner of the home, and a run must not touch
//! with root's rights anything that the owner may not touch: so a command that writes runs as the
//! owner of the home. A command that only looks stays root.

use std::io;
use std::path::Path;

use myownllm_durable_fs::trust::{HomeTrust, look_behind};
use myownllm_durable_fs::{Disk as _, Owner, Runner, quote};
use myownllm_launch::{Class, Diagnostic, PROGRAM};
use myownllm_paths::Layout;

use crate::context::Context;
use crate::users::calling_user;

/// Changes user and group of this process, for good. Only the program's `main` can do so: a library
/// that changes the user of its process takes rights away from every other thread.
pub type BecomeUser<'a> = &'a dyn Fn(u32, u32) -> io::Result<()>;

/// Returns the owner of the home if root has to become that user to write there. Returns `None` if
/// the home, or the place where its config leads, cannot be trusted: the command then refuses to
/// write.
pub(crate) fn user_to_become(context: &Context) -> Option<Owner> {
    let runner = context.disk.runner().filter(|runner| runner.is_root())?;
    let Layout { app_home, app_config, .. } = &context.layout;
    let is_another = |owner: &Owner| owner.uid != runner.uid && Some(owner.uid) != runner.unmapped;
    // Root's own home needs no further checks.
    context.owner.filter(is_another)?;
    let trust = HomeTrust::look(&context.disk, app_home.as_std_path()).ok()?;
    let is_trusted = trust.is_reachable
        && trust.forbids_change().is_none()
        && look_behind(&context.disk, app_config.as_std_path()).is_ok_and(|problem| problem.is_none());
    trust.owner.filter(is_another).filter(|_| is_trusted)
}

/// Says why root cannot write in the home of another user.
pub(crate) fn refusal(context: &Context, owner: Owner, error: &io::Error) -> Diagnostic {
    let home = &context.layout.user_home;
    let message = format!("cannot become user {}, who owns the app's home, to write in {}", owner.uid, home);
    Diagnostic::error("paths.foreign-home", message)
        .at(home)
        .causes(vec![error.to_string()])
        .hint(format!("ls -ld {0} {1}", quote(home), quote(&context.layout.app_home)))
        .class(Class::Refused)
}

/// Returns the error of [`refusal`] without an attempt, if the process lacks the right to change
/// its user and groups.
pub(crate) fn foreseen_refusal(context: &Context) -> Option<Diagnostic> {
    let owner = user_to_become(context)?;
    (!may_change_user()).then(|| refusal(context, owner, &io::ErrorKind::PermissionDenied.into()))
}

/// Under `sudo` and similar programs, root's empty home is usually not the home that the user
/// meant: the user who called `sudo` has another home.
pub(crate) fn sudo_home(context: &Context, home: Option<&Path>) -> Option<Diagnostic> {
    let is_root = context.disk.runner().is_some_and(Runner::is_root);
    let app_home = &context.layout.app_home;
    if !is_root
        || home.is_some()
        || !context.disk.stat(app_home.as_std_path()).is_err_and(|error| error.is_not_found())
    {
        return None;
    }
    let (user, theirs) = calling_user()?;
    let is_theirs = theirs != context.layout.user_home;
    let holds_app = context.disk.stat(&theirs.join(context.layout.app.app_dir.as_ref())).is_ok();
    let message = format!(
        "there is no {} of root's; that of {user}, who called this program, is in {}",
        app_home,
        theirs.display()
    );
    let hint = format!("{PROGRAM} --home {} status", quote(&theirs));
    (is_theirs && holds_app)
        .then(|| Diagnostic::error("paths.sudo-home", message).at(app_home).hint(hint).class(Class::Refused))
}

/// True if the process may change its user and groups. `CAP_SETGID` and `CAP_SETUID` of the kernel
/// are bits 6 and 7. If the kernel does not tell, an attempt does.
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
