//! Root in the home of another user, and the home that the user meant.

use std::io;
use std::path::{Path, PathBuf};

use myownllm_config_model::similar::closest;
use myownllm_config_store::StoreError;
use myownllm_durable_fs::trust::{HomeTrust, check_symlink_target};
use myownllm_durable_fs::{Disk, Owner, Runner, quote};
use myownllm_paths::{Layout, PathsError};

use crate::context::Context;
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM};

/// Returns the owner of the home if root has to become that user to write there. Returns `None` if
/// the home, or the place where its config leads, cannot be trusted: nothing is written then.
/// `owner` is the owner of the home.
pub fn user_to_become(disk: &dyn Disk, layout: &Layout, owner: Option<Owner>) -> Option<Owner> {
    let runner = disk.runner().filter(|runner| runner.is_root())?;
    let is_another = |owner: &Owner| owner.uid != runner.uid && Some(owner.uid) != runner.unmapped;
    // Root's own home needs no further checks.
    owner.filter(is_another)?;
    let trust = HomeTrust::inspect(disk, layout.app_home.as_std_path()).ok()?;
    let is_trusted = trust.is_reachable
        && trust.forbids_change().is_none()
        && check_symlink_target(disk, layout.app_config.as_std_path()).is_ok_and(|problem| problem.is_none());
    trust.owner.filter(is_another).filter(|_| is_trusted)
}

/// Returns the reason why root, who cannot become `owner`, cannot write in the home.
pub fn foreign_home(layout: &Layout, owner: Owner, error: &io::Error) -> Diagnostic {
    let home = &layout.user_home;
    let message = format!("cannot become user {}, who owns the app's home, to write in {home}", owner.uid);
    Diagnostic::error("paths.foreign-home", message)
        .at(home)
        .causes(vec![error.to_string()])
        .hint(format!("ls -ld {0} {1}", quote(home), quote(&layout.app_home)))
        .class(Class::Refused)
}

/// Reports root's empty home if the user who called `sudo` has another one, with the app's files:
/// it is usually not the home that the user meant. `caller` is that user's name and home.
pub fn sudo_home(disk: &dyn Disk, layout: &Layout, caller: Option<(String, PathBuf)>) -> Option<Diagnostic> {
    let (user, theirs) = caller?;
    let app_home = &layout.app_home;
    let is_absent = || disk.stat(app_home.as_std_path()).is_err_and(|error| error.is_not_found());
    if !disk.runner().is_some_and(Runner::is_root) || !is_absent() {
        return None;
    }
    let is_theirs = theirs != layout.user_home;
    let holds_app = disk.stat(&theirs.join(layout.app.app_dir.as_ref())).is_ok();
    let message = format!(
        "cannot find {app_home} in root's home: {user}, who called this program, has one in {}",
        theirs.display()
    );
    let hint = format!("{PROGRAM} --home {} status", quote(&theirs));
    (is_theirs && holds_app)
        .then(|| Diagnostic::error("paths.sudo-home", message).at(app_home).hint(hint).class(Class::Refused))
}

/// Reports that the home that the user named does not exist. An empty home has no problems, so a
/// mistyped name would pass for a sound home.
pub fn named_home(disk: &dyn Disk, layout: &Layout, problem: Option<&PathsError>) -> Option<Diagnostic> {
    let home = &layout.user_home;
    let what = match disk.stat_follow(home.as_std_path()) {
        _ if matches!(problem, Some(PathsError::AppHome { .. })) => return None,
        Ok(meta) if meta.is_dir() => return None,
        Ok(_) => "it is not a directory",
        Err(error) if error.is_not_found() => "it does not exist",
        Err(_) => return None,
    };
    let diagnostic = Diagnostic::warning("paths.home-missing", format!("cannot use the home {home}: {what}"));
    Some(diagnostic.at(home).hint(missing_home_hint(disk, layout)))
}

/// Reports that the user's home does not exist (a mistyped path, a disk that is not mounted):
/// nothing can be done in it.
pub(crate) fn missing_home(context: &Context<'_>) -> Option<StoreError> {
    let path = &context.layout.user_home;
    let is_missing = context.disk.stat_follow(path.as_ref()).is_err_and(|error| error.is_not_found());
    is_missing.then(|| StoreError::NoHome { path: path.into() })
}

/// Returns the command with the home that the user probably meant, if a directory of a similar name,
/// or one above a file, holds a home of the app; else a command that lists the directories that exist.
pub fn missing_home_hint(disk: &dyn Disk, layout: &Layout) -> String {
    let home = layout.user_home.as_std_path();
    let is_there = |path: &Path| disk.stat_follow(path).is_ok_and(|meta| meta.is_dir());
    let above = home.ancestors().skip(1).find(|above| is_there(above)).unwrap_or(home);
    let mut rest = home.strip_prefix(above).unwrap_or(home).components();
    let mistyped = rest.next().map(|name| name.as_os_str().to_string_lossy()).unwrap_or_default();
    let below: PathBuf = rest.collect();
    let home_of = |name: &str| above.join(name).components().chain(below.components()).collect::<PathBuf>();
    let holds_app = |name: &String| is_there(&home_of(name).join(layout.app.app_dir.as_ref()));
    let entries = disk.list(above).unwrap_or_default().into_iter();
    let names: Vec<String> =
        entries.filter_map(|entry| entry.name.into_string().ok()).filter(holds_app).collect();
    let similar = closest(&mistyped, names.iter().map(String::as_str)).map(home_of);
    // A file inside of a home stands for the home.
    let is_file = disk.stat_follow(home).is_ok();
    let is_home = |above: &&Path| is_file && is_there(&above.join(layout.app.app_dir.as_ref()));
    match similar.or_else(|| home.ancestors().skip(1).find(is_home).map(Path::to_owned)) {
        Some(meant) => format!("{PROGRAM} --home {} status", quote(meant)),
        None => format!("ls -la {}", quote(above)),
    }
}
