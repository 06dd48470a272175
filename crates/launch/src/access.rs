//! Tells, without a change, which directories nothing can be changed in.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::close::closest;
use myownllm_config_store::StoreError;
#[cfg(unix)]
use myownllm_durable_fs::trust::unprotect;
use myownllm_durable_fs::{Disk, Owner, quote};
use myownllm_migration::{MoveStep, Plan as MovePlan};
use myownllm_paths::Layout;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

#[cfg(unix)]
use crate::closed::{self, UNWRITABLE};
use crate::context::Context;
use crate::diagnostic::{Diagnostic, PROGRAM};

/// Reports that the user's home does not exist (a mistyped path, a disk that is not mounted):
/// nothing can be done in it.
pub(crate) fn missing_home(context: &Context<'_>) -> Option<StoreError> {
    let path = &context.layout.user_home;
    let is_missing = context.disk.stat_follow(path.as_ref()).is_err_and(|error| error.is_not_found());
    is_missing.then(|| StoreError::NoHome { path: path.into() })
}

/// Returns the command with the home that the user probably meant, if a directory of a similar name
/// holds a home of the app; else a command that lists the directories that exist.
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
    match closest(&mistyped, names.iter().map(String::as_str)) {
        Some(name) => format!("{PROGRAM} --home {} status", quote(home_of(name))),
        None => format!("ls -la {}", quote(above)),
    }
}

/// Reports the directories that exist and in which nothing can be changed: on a disk that is
/// mounted read-only, for example. `run_as` is the user that is to write there, if that is not the
/// user of this process.
#[cfg(unix)]
#[must_use]
pub fn unwritable(
    context: &Context<'_>,
    run_as: Option<Owner>,
    directories: &[Utf8PathBuf],
) -> Option<Diagnostic> {
    use rustix::io::Errno;

    let layout = context.layout;
    let is_there = |path: &Utf8Path| path == layout.user_home || context.disk.stat(path.as_ref()).is_ok();
    let mut seen = BTreeSet::new();
    let refused: Vec<(&Path, Errno)> = directories
        .iter()
        // A launch makes a home that is missing in the directory above it.
        .filter_map(|path| match [&layout.app_home, &layout.daemon_home].contains(&path) {
            true => path.ancestors().find(|path| is_there(path)).map(Utf8Path::as_std_path),
            false => Some(path.as_std_path()),
        })
        .filter(|path| seen.insert(*path))
        // A device or a file in the place of a directory has diagnostics of its own, and nobody
        // should change its mode.
        .filter(|path| !context.disk.stat_follow(path).is_ok_and(|meta| !meta.is_dir()))
        .filter_map(|path| Some((path, refusal_to_change(context, run_as, path)?)))
        .collect();
    let Some((directory, refusal)) = refused.iter().find(|(_, refusal)| *refusal != Errno::ACCESS) else {
        let denied: Vec<PathBuf> = refused.iter().map(|(path, _)| (*path).to_owned()).collect();
        let user = run_as.map(|user| user.uid).or_else(|| Some(context.disk.runner()?.uid))?;
        return closed::diagnostic(context.disk, context.layout, user, &[], &denied)
            .map(Diagnostic::as_warning);
    };
    // The mode would allow the change: the directory is immutable, which `ls` does not show.
    let shows = if *refusal == Errno::PERM { "lsattr -d" } else { "findmnt --target" };
    let message = format!("cannot change anything in {}", directory.display());
    let causes = vec![std::io::Error::from(*refusal).to_string()];
    let hint =
        unprotect(context.disk, &[directory]).unwrap_or_else(|| format!("{shows} {}", quote(directory)));
    Some(Diagnostic::warning(UNWRITABLE, message).hint(hint).at(directory).causes(causes))
}

/// Returns `None`: without a change, this system does not tell what may be changed in a directory.
#[cfg(not(unix))]
#[must_use]
pub fn unwritable(_: &Context<'_>, _: Option<Owner>, _: &[Utf8PathBuf]) -> Option<Diagnostic> {
    None
}

/// Returns the error of a change in a directory that exists.
#[cfg(unix)]
fn refusal_to_change(
    context: &Context<'_>,
    run_as: Option<Owner>,
    directory: &Path,
) -> Option<rustix::io::Errno> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;

    match access(directory, Access::WRITE_OK | Access::EXEC_OK) {
        Err(Errno::NOENT | Errno::NOTDIR) => None,
        Err(refused) => Some(refused),
        Ok(()) => run_as.filter(|user| !may_write(context, directory, *user)).map(|_| Errno::ACCESS),
    }
}

/// Returns the directories in which a launch changes something: those in which a step of the move
/// makes, renames or removes a name, and, if there is something to repair, the backups. Leaves out
/// the directories that a step makes writable.
pub(crate) fn changed_dirs(layout: &Layout, plan: &MovePlan, repairs: bool) -> Vec<Utf8PathBuf> {
    let mut changed: BTreeSet<&Path> = BTreeSet::from([layout.app_home.as_ref()]);
    changed.extend(Some(layout.backups.as_std_path()).filter(|_| repairs));
    for step in plan.steps() {
        match step {
            MoveStep::MoveFiles { from, to, .. } => changed.extend([from.as_path(), to.as_path()]),
            MoveStep::MoveDir { from, to, .. }
            | MoveStep::MoveFile { from, to }
            | MoveStep::MoveSymlink { from, to, .. }
            | MoveStep::SetAside { from, to, .. }
            | MoveStep::RestoreQuarantined { from, to } => changed.extend([from, to].map(|path| above(path))),
            MoveStep::MakeDir { path }
            | MoveStep::RemoveDir { path }
            | MoveStep::RemoveLeftover { path }
            | MoveStep::RemoveIdentical { source: path, .. } => {
                changed.insert(above(path));
            }
            _ => {}
        }
    }
    let opened = plan.steps().filter(|step| matches!(step, MoveStep::SetMode { .. }));
    opened.for_each(|step| {
        changed.remove(step.path());
    });
    // The directories of the state have UTF-8 names: only the files in them may have others.
    changed.into_iter().filter_map(Utf8Path::from_path).map(Utf8Path::to_owned).collect()
}

fn above(path: &Path) -> &Path {
    path.parent().unwrap_or(path)
}

/// Returns true if the mode of a directory lets a user change what is in it.
#[cfg(unix)]
fn may_write(context: &Context<'_>, directory: &Path, user: Owner) -> bool {
    context.disk.stat_follow(directory).is_ok_and(|meta| {
        let needed = match meta.owner {
            Some(owner) if owner.uid == user.uid => 0o300,
            Some(owner) if owner.gid == user.gid => 0o030,
            _ => 0o003,
        };
        meta.mode & needed == needed
    })
}
