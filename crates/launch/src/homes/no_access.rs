//! Directories and files of the homes that the runner may not use: one cause for all failures in
//! them.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use myownllm_daemon::{DetectRefusal, Detection, Probe, Role};
use myownllm_durable_fs::trust::chown_command;
use myownllm_durable_fs::{Disk, DiskError, FileKind, Owner, move_aside, quote, run_first};
use myownllm_paths::Layout;
use myownllm_paths::camino::Utf8Path;

use crate::daemons::CONFIG_LIMIT;
use crate::homes::owner::named_home;
use crate::words::diagnostic::{Diagnostic, PROGRAM};
use crate::words::in_a_line;

pub(crate) const UNWRITABLE: &str = "paths.unwritable";

/// The directories and files that the runner may not use, and the one command that gives access
/// back.
#[derive(Clone, Debug)]
pub(crate) struct NoAccess {
    /// The topmost directories and files that may not be read or searched.
    unreadable: Vec<PathBuf>,
    /// The directories in which nothing may be changed.
    unwritable: Vec<PathBuf>,
    /// The one problem that stands for all errors.
    pub(crate) diagnostic: Diagnostic,
}

/// Gives an error about a path that the runner may not use the command that gives access back.
/// Replaces several such errors by one problem. Keeps the first of several errors that one failure
/// of the system causes: on a full or a read-only disk, each change fails.
pub fn merge_access_errors(disk: &dyn Disk, layout: &Layout, diagnostics: &mut Vec<Diagnostic>) {
    diagnostics.iter_mut().for_each(|diagnostic| adapt_hint_to_runner(disk, layout, diagnostic));
    let mut causes = Vec::new();
    diagnostics.retain(|diagnostic| {
        let (true, Some(number), Some(hint)) = (diagnostic.is_error(), diagnostic.os_error, &diagnostic.hint)
        else {
            return true;
        };
        let cause = (number, diagnostic.class, hint.clone());
        let is_first = !causes.contains(&cause);
        causes.push(cause);
        is_first
    });
    let Some(closed) = NoAccess::of(disk, layout, diagnostics.iter()) else { return };
    let mut covered = diagnostics.iter_mut().filter(|diagnostic| closed.covers(diagnostic));
    if let (Some(single), None) = (covered.next(), covered.next()) {
        single.hint = closed.diagnostic.hint;
        return;
    }
    diagnostics.retain(|diagnostic| !closed.covers(diagnostic));
    diagnostics.insert(0, closed.diagnostic);
}

/// Gives an error about a path of another user the command that gives the path to the runner: only
/// root can change the mode of that user's file. Lets other hints do what this user may not.
pub(crate) fn adapt_hint_to_runner(disk: &dyn Disk, layout: &Layout, diagnostic: &mut Diagnostic) {
    let path = diagnostic.path.as_deref().filter(|_| diagnostic.is_denied);
    let of_other = path.and_then(|path| chown_of_other_user(disk, layout, path.as_ref()));
    diagnostic.hint = of_other
        .or_else(|| Some(with_access(disk, layout, diagnostic.file.as_deref(), diagnostic.hint.take()?)));
}

/// Returns a command about `file` that the runner may carry out: `chmod` of another user's file needs
/// root, and a command that makes or renames a file needs a directory that the runner may write to.
pub fn with_access(disk: &dyn Disk, layout: &Layout, file: Option<&Path>, command: String) -> String {
    let Some(runner) = disk.runner().filter(|runner| !runner.is_root()) else { return command };
    let is_of = |path: &Path, is_own: bool| {
        owner(disk, path).is_some_and(|owner| (owner.uid == runner.uid) == is_own)
    };
    let mode_of_other = |file: &Path| command.ends_with(&quote(file)) && is_of(file, false);
    if command.starts_with("chmod ") && file.is_some_and(mode_of_other) {
        return format!("sudo {command}");
    }
    if !command.split(' ').next().is_some_and(|verb| ["mv", "cp", "mkdir", "test", "sh"].contains(&verb)) {
        return command;
    }
    let is_named = |dir: &&Path| {
        let below = format!("{}/", dir.display());
        let mut entries = command.match_indices(&below).map(|(at, _)| &command[at + below.len()..]);
        entries.any(|entry| entry.find(['/', ' ', '\'']).is_none_or(|end| !entry[end..].starts_with('/')))
    };
    let is_closed = |dir: &&Path| {
        let is_dir = disk.stat_follow(dir).is_ok_and(|meta| meta.is_dir());
        is_dir && is_of(dir, true) && !disk.may_write(dir) && !disk.is_protected(dir)
    };
    let mut dirs: Vec<PathBuf> = places(disk, layout).into_iter().map(Path::to_owned).collect();
    // A renamed directory may hold what the command moves.
    for home in [&layout.app_home, &layout.daemon_home] {
        let entries = disk.list(home.as_ref()).unwrap_or_default().into_iter();
        dirs.extend(entries.map(|entry| home.as_std_path().join(entry.name)));
    }
    dirs.sort();
    dirs.dedup();
    let dirs = dirs.iter().map(PathBuf::as_path);
    let closed: Vec<String> = dirs.filter(is_named).filter(is_closed).map(quote).collect();
    match closed.is_empty() {
        true => command,
        false => run_first(&format!("chmod u+rwx {}", closed.join(" ")), &command),
    }
}

impl NoAccess {
    /// Looks for the cause of errors, if an error is about a path that the runner may not use.
    pub(crate) fn of<'n>(
        disk: &dyn Disk,
        layout: &Layout,
        errors: impl Iterator<Item = &'n Diagnostic> + Clone,
    ) -> Option<Self> {
        // Most runs have nothing to explain, and look at nothing more.
        errors.clone().find(|diagnostic| diagnostic.is_error() || diagnostic.is_denied)?;
        let mut unreadable: Vec<PathBuf> = Vec::new();
        let places = places_and_states(disk, layout);
        for path in &places {
            if !unreadable.iter().any(|closed| path.starts_with(closed)) && is_closed(disk, layout, path) {
                unreadable.push(path.clone());
            }
        }
        let is_fixed = |path: &PathBuf| {
            let is_dir = disk.stat_follow(path).is_ok_and(|meta| meta.is_dir());
            let is_seen = !unreadable.iter().any(|closed| path.starts_with(closed));
            // A mode does not open an immutable directory.
            is_dir && is_seen && !disk.may_write(path) && !disk.is_protected(path)
        };
        let unwritable = match errors.clone().any(|error| error.is_denied) {
            true => places.into_iter().filter(is_fixed).collect(),
            false => Vec::new(),
        };
        let is_file = disk.stat_follow(layout.user_home.as_ref()).is_ok_and(|meta| !meta.is_dir());
        let diagnostic = match named_home(disk, layout, None).filter(|_| is_file) {
            Some(no_home) => {
                unreadable.push(layout.user_home.clone().into());
                no_home.as_error()
            }
            None => diagnostic(disk, layout, disk.runner()?.uid, &unreadable, &unwritable)?,
        };
        let mut closed = Self { unreadable, unwritable, diagnostic };
        let covered: Vec<_> = errors.filter(|error| closed.covers(error)).collect();
        covered.iter().find(|diagnostic| diagnostic.is_error() || diagnostic.is_denied)?;
        // The one problem is as grave as the gravest of the errors that it stands for.
        closed.diagnostic.class = covered.iter().map(|error| error.class).max()?;
        if !covered.iter().any(|error| error.is_error()) {
            closed.diagnostic = closed.diagnostic.as_warning();
        }
        Some(closed)
    }

    pub(crate) fn covers(&self, diagnostic: &Diagnostic) -> bool {
        let below = |closed: &[PathBuf]| {
            let path = diagnostic.path.as_deref().map(Path::new);
            path.is_some_and(|path| closed.iter().any(|closed| path.starts_with(closed)))
        };
        below(&self.unreadable) || (diagnostic.is_denied && below(&self.unwritable))
    }
}

/// Returns the paths of the homes. Each directory comes before its entries. The user's home comes
/// first if the app's home has yet to be made, or cannot be looked at.
fn places<'l>(disk: &dyn Disk, layout: &'l Layout) -> Vec<&'l Path> {
    let files = [&layout.app_config, &layout.backups, &layout.legacy_socket]
        .into_iter()
        .chain([&layout.legacy_identity, &layout.legacy_custody, &layout.legacy_rosters])
        .chain([&layout.legacy_states, &layout.legacy_roster, &layout.daemon_config])
        .chain([&layout.daemon_identity, &layout.daemon_custody, &layout.daemon_rosters])
        .chain([&layout.daemon_states, &layout.daemon_socket]);
    let top = match disk.stat_follow(layout.app_home.as_ref()) {
        Ok(_) => &layout.app_home,
        Err(_) => &layout.user_home,
    };
    let mut places: Vec<&Path> =
        files.flat_map(|file| file.as_std_path().ancestors()).filter(|path| path.starts_with(top)).collect();
    places.sort_by_key(|path| (path.components().count(), path.to_path_buf()));
    places.dedup();
    places
}

/// Returns the paths of the homes, as [`places`], with each roster and state.
fn places_and_states(disk: &dyn Disk, layout: &Layout) -> Vec<PathBuf> {
    let states =
        [&layout.legacy_rosters, &layout.legacy_states, &layout.daemon_rosters, &layout.daemon_states];
    let entries = states.into_iter().flat_map(|dir| {
        let entries = disk.list(dir.as_ref()).unwrap_or_default().into_iter();
        entries.map(move |entry| dir.as_std_path().join(entry.name))
    });
    let mut all: Vec<PathBuf> = places(disk, layout).into_iter().map(Path::to_owned).chain(entries).collect();
    all.sort_by_key(|path| (path.components().count(), path.clone()));
    all.dedup();
    all
}

fn is_closed(disk: &dyn Disk, layout: &Layout, path: &Path) -> bool {
    let denied = |kind| kind == ErrorKind::PermissionDenied;
    match disk.stat_follow(path).map(|meta| meta.kind) {
        Ok(FileKind::Dir) => {
            let search = disk.stat(&path.join("config.json"));
            // Nothing lists the user's home.
            (path != layout.user_home && disk.list(path).is_err_and(|error| denied(error.kind())))
                || search.is_err_and(|error| denied(error.kind()))
        }
        Ok(FileKind::File) => disk.read(path, 0).is_err_and(|error| denied(error.kind())),
        _ => false,
    }
}

/// Warns that this user may not look for the shared daemon, with the command that gives access to
/// its home in the user's own one. A launch goes on without the shared daemon.
pub(crate) fn unknown_shared(disk: &dyn Disk, layout: &Layout, found: &Detection) -> Option<Diagnostic> {
    let shared = found.attempts.iter().find(|attempt| attempt.role == Role::Shared)?;
    let Probe::Unknown { problem } = &shared.probe else { return None };
    let refusal = DetectRefusal::Unknown { endpoint: shared.endpoint.clone(), problem: problem.clone() };
    let warning = Diagnostic::from(&refusal).as_warning();
    let paths = [shared.endpoint.path(), Some(&*layout.shared_config)].into_iter().flatten();
    let mut paths: Vec<&Path> = paths.flat_map(|path| path.as_std_path().ancestors()).collect();
    paths.retain(|path| path.starts_with(&layout.user_home));
    paths.sort_by_key(|path| path.components().count());
    let closed = paths.into_iter().find(|path| is_closed(disk, layout, path));
    let cause = closed
        .zip(disk.runner())
        .and_then(|(closed, runner)| diagnostic(disk, layout, runner.uid, &[closed.to_owned()], &[]));
    Some(match cause {
        Some(Diagnostic { path, file, hint, .. }) => Diagnostic { path, file, hint, ..warning },
        None => warning,
    })
}

/// Returns the topmost directories of another owner above the closed paths.
fn paths_of_others(disk: &dyn Disk, layout: &Layout, user: u32, closed: &[&PathBuf]) -> Vec<PathBuf> {
    let is_other = |path: &&Path| owner(disk, path).is_some_and(|owner| owner.uid != user);
    let is_inside = |path: &&Path| path.starts_with(&layout.app_home);
    let topmost = closed.iter().filter_map(|path| path.ancestors().filter(is_inside).filter(is_other).last());
    let mut others: Vec<PathBuf> = topmost.map(Path::to_owned).collect();
    others.sort();
    others.dedup();
    others
}

fn owner(disk: &dyn Disk, path: &Path) -> Option<Owner> {
    disk.stat_follow(path).ok()?.owner
}

/// Returns the one problem of the paths that the user with the id `user` may not use.
pub(crate) fn diagnostic(
    disk: &dyn Disk,
    layout: &Layout,
    user: u32,
    unreadable: &[PathBuf],
    unwritable: &[PathBuf],
) -> Option<Diagnostic> {
    let closed: Vec<&PathBuf> = unreadable.iter().chain(unwritable).collect();
    let others = paths_of_others(disk, layout, user, &closed);
    let is_topmost =
        |path: &&&PathBuf| !closed.iter().any(|above| *above != **path && path.starts_with(above));
    let topmost: Vec<&Path> = match others.is_empty() {
        true => closed.iter().filter(is_topmost).map(|path| path.as_path()).collect(),
        false => others.iter().map(PathBuf::as_path).collect(),
    };
    let first = topmost.first()?;
    let meta = disk.stat_follow(first).ok();
    let is_dir = meta.as_ref().is_some_and(|meta| meta.is_dir());
    let shown = in_a_line(topmost.iter().map(|path| path.display().to_string()).collect());
    let (whose, hint) = match owner(disk, first).filter(|owner| owner.uid != user) {
        Some(owner) => {
            let is_one = topmost.len() == 1 && (unreadable.is_empty() || !is_dir);
            let them = if is_one { "it" } else { "them" };
            let whose = format!("user {} owns {them}, and not user {user}", owner.uid);
            (whose, chown_for(disk, layout, user, &topmost))
        }
        None => {
            let mode = meta.map_or(0, |meta| meta.mode & 0o7777);
            let whose = match topmost.len() {
                1 => format!("its owner may not (mode {mode:04o})"),
                _ => "their owner may not".to_owned(),
            };
            (whose, open(layout, &closed, !unreadable.is_empty(), is_dir)?)
        }
    };
    let denied = match (unreadable.is_empty(), topmost.len(), is_dir) {
        (true, ..) => Diagnostic::error(UNWRITABLE, format!("cannot change anything in {shown}: {whose}"))
            .causes(vec!["Permission denied".to_owned()]),
        (false, 1, true) => {
            Diagnostic::error("homes.no-access", format!("cannot use the files in {shown}: {whose}"))
        }
        _ => Diagnostic::error("homes.no-access", format!("cannot use {shown}: {whose}")),
    };
    Some(Diagnostic { is_denied: true, ..denied.at(first).hint(hint) })
}

/// Returns the command by which the owner of the closed paths gives access back. Changes the modes
/// of a whole tree only if several paths in it are closed, or if its content cannot be seen.
fn open(layout: &Layout, closed: &[&PathBuf], is_unreadable: bool, is_dir: bool) -> Option<String> {
    let first = closed.first()?;
    Some(match closed {
        [home] if **home == layout.user_home => format!("chmod u+rwx {}", quote(home)),
        [file] if !is_dir => format!("chmod u+rw {}", quote(file)),
        [dir] if !is_unreadable => format!("chmod u+w {}", quote(dir)),
        _ => {
            let holds_all = |above: &&Path| closed.iter().all(|path| path.starts_with(above));
            format!("chmod -R u+rwX {}", quote(first.ancestors().find(holds_all)?))
        }
    })
}

/// Returns the kind of an entry that a daemon cannot read as a file; `None` for a file or a missing
/// entry.
pub(crate) fn not_a_file(disk: &dyn Disk, path: &Path) -> Result<Option<&'static str>, DiskError> {
    Ok(match disk.stat_follow(path) {
        Ok(meta) if meta.is_file() => None,
        Ok(meta) if meta.is_dir() => Some("a directory"),
        Ok(_) => Some("not a regular file"),
        Err(error) if error.is_symlink_loop() => Some("a symlink loop"),
        Err(error) if !error.is_absent() => return Err(error),
        Err(_) if disk.stat(path).is_err_and(|error| error.is_absent()) => None,
        Err(_) => Some("a broken symlink"),
    })
}

/// Reports a file that cannot be read, with the command that lets the runner read it.
pub(crate) fn unreadable_file(disk: &dyn Disk, layout: &Layout, error: &DiskError) -> Diagnostic {
    let (diagnostic, file) = (Diagnostic::from(error), error.path());
    let hint = match error.kind() {
        ErrorKind::PermissionDenied if disk.runner().is_some() => {
            let chmod = || format!("chmod u+rw {}", quote(file));
            Some(chown_of_other_user(disk, layout, file).unwrap_or_else(chmod))
        }
        ErrorKind::IsADirectory => Some(move_aside(file, "aside")),
        _ => diagnostic.hint.clone(),
    };
    Diagnostic { hint, ..diagnostic }
}

/// Returns a warning if a log, or the one before it, exists and cannot be read.
pub fn unreadable_log(disk: &dyn Disk, layout: &Layout, log: &Utf8Path) -> Option<Diagnostic> {
    let logs = [log.to_owned(), format!("{log}.1").into()];
    let mut errors = logs.iter().filter_map(|log| disk.read(log.as_ref(), CONFIG_LIMIT).err());
    let error = errors.find(|error| !error.is_absent() && error.kind() != ErrorKind::FileTooLarge)?;
    let diagnostic = unreadable_file(disk, layout, &error).as_warning();
    Some(Diagnostic { code: "log.unreadable".to_owned(), ..diagnostic })
}

/// Returns the command that gives a file of another user to the runner.
fn chown_of_other_user(disk: &dyn Disk, layout: &Layout, file: &Path) -> Option<String> {
    let user = disk.runner()?.uid;
    owner(disk, file).filter(|owner| owner.uid != user)?;
    Some(chown_for(disk, layout, user, &[file]))
}

/// Returns the command that gives the paths of another owner in the user's own home to the user; in
/// another user's home, the command that looks at it with root's rights.
fn chown_for(disk: &dyn Disk, layout: &Layout, user: u32, paths: &[&Path]) -> String {
    let home = &layout.user_home;
    match owner(disk, home.as_ref()).filter(|owner| owner.uid == user) {
        Some(owner) => chown_command(disk, owner, paths),
        // Root made the home for this user, and the app's home has yet to be made there.
        None if paths == [home.as_std_path()]
            && owner(disk, home.as_ref()).is_some_and(|owner| owner.uid == 0) =>
        {
            format!("sudo install -d -m 700 -o {user} {}", quote(&layout.app_home))
        }
        None => format!("sudo {PROGRAM} --home {} status", quote(home)),
    }
}
