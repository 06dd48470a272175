//! Foresees the failures of a launch that only an attempt would show: directories in which nothing
//! can be changed, files that nobody may rename or change, and a full disk.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use myownllm_config_store::Loaded;
use myownllm_daemon::{SpawnError, log_path};
use myownllm_durable_fs::trust::{unchangeable_part, unprotect};
use myownllm_durable_fs::{Disk, DiskError, FileKind, Op, Owner, Untrusted, move_aside, quote};
use myownllm_migration::{MigrationError, MoveStep, Plan as MovePlan};
use myownllm_paths::Layout;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::{Context, Options};
use crate::files::corrupt_files::corrupt_files;
use crate::files::moves::moved_files;
use crate::files::peers::{names_after_move, unsettled_states};
use crate::homes::no_access::UNWRITABLE;
use crate::words::diagnostic::{Class, Diagnostic};

/// Reports that a change would fail: a directory in `changed` cannot be changed, or a file or
/// directory that is to move.
pub(crate) fn blocked_change(
    context: &Context<'_>,
    options: &Options<'_>,
    changed: &[Utf8PathBuf],
    plan: &MovePlan,
) -> Option<Diagnostic> {
    unwritable(context, options.run_as, changed).or_else(|| blocked_move(context, options, plan))
}

/// Reports the first file or directory that a move could not rename or change: it is immutable or
/// append-only, a mount of its own, or belongs to a user whose file the runner cannot change.
fn blocked_move(context: &Context<'_>, options: &Options<'_>, plan: &MovePlan) -> Option<Diagnostic> {
    let disk = context.disk;
    let runner = options.run_as.map(|owner| owner.uid).or_else(|| Some(disk.runner()?.uid));
    // Root may change every file.
    let home = disk.stat_follow(context.layout.app_home.as_ref()).ok().and_then(|home| home.owner);
    let home = home.filter(|_| runner != Some(0));
    let foreign = |path: &Path| {
        let meta = disk.stat(path).ok()?;
        unchangeable_part(path, &meta, home?).filter(|_| meta.owner.map(|owner| owner.uid) != runner)
    };
    // A file with a secret becomes private.
    let layout = context.layout;
    let secrets = [&layout.daemon_identity, &layout.daemon_custody]
        .into_iter()
        .chain([&layout.legacy_identity, &layout.legacy_custody]);
    let secrets: Vec<&Path> = secrets.map(|path| path.as_std_path()).collect();
    let is_open =
        |path: &Path| disk.stat(path).is_ok_and(|meta| meta.is_file() && meta.mode & 0o777 != 0o600);
    let blocked = plan.steps().find_map(|step| {
        let is_changed = match step {
            MoveStep::MoveDir { .. } | MoveStep::SetMode { .. } => true,
            MoveStep::MoveFile { from, .. } => secrets.contains(&from.as_path()) && is_open(from),
            _ => false,
        };
        if let Some(problem) = is_changed.then(|| foreign(step.path())).flatten() {
            return Some(Diagnostic::from(&MigrationError::from(problem)));
        }
        match step {
            MoveStep::MoveFiles { from, names, .. } => protected_dir(disk, from)
                .or_else(|| names.iter().find_map(|name| unmovable(disk, &from.join(name)))),
            MoveStep::MoveDir { from: path, .. }
            | MoveStep::MoveFile { from: path, .. }
            | MoveStep::MoveSymlink { from: path, .. }
            | MoveStep::RemoveIdentical { source: path, .. } => {
                protected_dir(disk, path.parent().unwrap_or(path)).or_else(|| unmovable(disk, path))
            }
            MoveStep::RemoveDir { path } => protected_dir(disk, path.parent().unwrap_or(path)),
            _ => None,
        }
    });
    blocked.or_else(|| {
        let copied = moved_files(plan).into_iter().filter(|(from, to)| is_copied(disk, from, to));
        copied
            .map(|(from, _)| from)
            .find_map(|from| unmovable(disk, &from).or_else(|| unreadable(disk, &from)))
    })
}

/// Returns true if a file moves to another file system: it is read, and removed from its directory.
fn is_copied(disk: &dyn Disk, from: &Path, to: &Path) -> bool {
    let there = to.ancestors().find_map(|dir| device(disk, dir));
    device(disk, from).zip(there).is_some_and(|(from, there)| from != there)
}

/// Returns the file system of a path.
fn device(disk: &dyn Disk, path: &Path) -> Option<u64> {
    disk.stat_follow(path).ok()?.id.map(|id| id.dev)
}

/// Reports a file that this user may not read.
fn unreadable(disk: &dyn Disk, path: &Path) -> Option<Diagnostic> {
    let denied = disk.read(path, 0).err().filter(|error| error.kind() == io::ErrorKind::PermissionDenied)?;
    Some(Diagnostic::from(&MigrationError::Failed { path: path.to_owned(), source: denied }))
}

/// Reports a directory from which no name can be removed.
fn protected_dir(disk: &dyn Disk, dir: &Path) -> Option<Diagnostic> {
    unprotect(disk, &[dir]).map(|hint| not_moved(dir, protected_error()).hint(hint))
}

/// Reports a config, in the home `home`, that a launch cannot replace or set aside: it, or its
/// directory, is immutable or append-only, or it is a mount of its own.
pub(crate) fn fixed_config(context: &Context<'_>, home: &Utf8Path, config: &Utf8Path) -> Option<Diagnostic> {
    let fixed = |path: &Utf8Path| {
        let real = context.disk.canonicalize(path.as_ref()).unwrap_or_else(|_| path.into());
        let (why, hint) = irreplaceable(context.disk, &real)?;
        let error = DiskError::new(Op::Rename, path.as_std_path(), why);
        Some(Diagnostic::from(&error).at(path).hint(hint))
    };
    [home, config].into_iter().find_map(fixed)
}

/// Returns the reason why no other file can take the place of a path, and the command that mends or
/// shows it.
fn irreplaceable(disk: &dyn Disk, path: &Path) -> Option<(io::Error, String)> {
    if let Some(hint) = unprotect(disk, &[path]) {
        return Some((protected_error(), hint));
    }
    let mounted = || io::Error::new(io::ErrorKind::ResourceBusy, "it is a mount of its own");
    is_mounted_file(disk, path).then(|| (mounted(), format!("findmnt --target {}", quote(path))))
}

/// Reports that the repair that a load found would be refused, or would fail.
pub(crate) fn blocked_repair(context: &Context<'_>, loaded: &Loaded) -> Option<Diagnostic> {
    let layout = context.layout;
    fixed_config(context, &layout.app_home, &layout.app_config)
        .or_else(|| context.store.check_apply(loaded).err().map(Diagnostic::from))
}

/// Reports that no backup can be kept. `run_as` is the user that is to write there, if that is not
/// the user of this process.
pub(crate) fn blocked_backup(context: &Context<'_>, run_as: Option<Owner>) -> Option<Diagnostic> {
    let dir = std::slice::from_ref(&context.layout.backups);
    let refused = context.store.check_backups().err().map(Diagnostic::from);
    let fixed = || unwritable(context, run_as, dir).map(Diagnostic::as_error);
    refused.or_else(fixed).or_else(|| full_dir(dir))
}

/// Warns of a config, a roster, a state or a custody file that no program can replace, although it
/// is sound: the next change of it would fail. The daemon saves the networks that it joins in its
/// own config.
pub(crate) fn fixed_file(context: &Context<'_>) -> Option<Diagnostic> {
    let disk = context.disk;
    let layout = context.layout;
    let single = [&layout.app_config, &layout.daemon_config, &layout.daemon_custody];
    let dirs = [&layout.daemon_rosters, &layout.daemon_states].into_iter();
    let states = dirs.flat_map(|dir| names_after_move(context, dir, ".json", &[])).map(|(path, _)| path);
    single.map(|path| path.clone().into()).into_iter().chain(states).find_map(|path| {
        let (why, hint) = irreplaceable(disk, &path)?;
        let found = Diagnostic::warning(UNWRITABLE, format!("cannot replace {}: {why}", path.display()));
        Some(found.at(&path).hint(hint))
    })
}

/// Reports a roster or state that a launch could not mend, copy or set aside.
pub(crate) fn unmendable_peers(context: &Context<'_>, migration: &MovePlan) -> Option<Diagnostic> {
    let moved = moved_files(migration);
    let (damaged, newer) = unsettled_states(context, migration, &moved).ok()?;
    let corrupt = corrupt_files(context, &moved);
    let renamed: Vec<&PathBuf> = damaged.iter().map(|damaged| &damaged.path).chain(&corrupt).collect();
    let copied = newer.iter().filter(|newer| newer.needs_copy(context.disk));
    let mut changed = renamed.iter().copied().chain(copied.map(|newer| &newer.path_after_move));
    let out = changed.find_map(|path| behind_symlink(context, path));
    out.or_else(|| renamed.into_iter().find_map(|path| unmovable(context.disk, path)))
}

/// Reports a file in a directory behind a symlink that leads out of the app's home: nothing is
/// changed there.
fn behind_symlink(context: &Context<'_>, file: &Path) -> Option<Diagnostic> {
    let disk = context.disk;
    let home = disk.canonicalize(context.layout.app_home.as_ref()).ok()?;
    let is_symlink = |dir: &&Path| disk.stat(dir).is_ok_and(|meta| meta.is_symlink());
    let leads_out = |dir: &&Path| disk.canonicalize(dir).is_ok_and(|real| !real.starts_with(&home));
    let dirs = file.ancestors().skip(1).take_while(|dir| *dir != context.layout.app_home);
    let path = dirs.filter(is_symlink).find(leads_out)?.to_owned();
    Some(Diagnostic::from(&DiskError::new(Op::Rename, file, Untrusted::LeadsOut { path }.into())))
}

fn not_moved(path: &Path, source: io::Error) -> Diagnostic {
    let source = DiskError::new(Op::Rename, path, source);
    Diagnostic::from(&MigrationError::Failed { path: path.to_owned(), source })
}

/// Reports a path that can be neither renamed nor removed.
fn unmovable(disk: &dyn Disk, path: &Path) -> Option<Diagnostic> {
    if let Some(hint) = unprotect(disk, &[path]) {
        return Some(not_moved(path, protected_error()).hint(hint));
    }
    let why = "it is a mount of its own: unmount it, and put the file itself in its place";
    let source = || io::Error::new(io::ErrorKind::ResourceBusy, why);
    is_mounted_file(disk, path).then(|| Diagnostic { hint: None, ..not_moved(path, source()) })
}

/// Returns true for a file that is a mount of its own. A directory that is a mount moves file by
/// file.
fn is_mounted_file(disk: &dyn Disk, path: &Path) -> bool {
    disk.stat(path).is_ok_and(|meta| meta.is_file()) && disk.is_mount_point(path)
}

fn protected_error() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "it is immutable or append-only")
}

/// Reports that no daemon could be started because its log could not be written.
pub(crate) fn unusable_log(context: &Context<'_>) -> Option<Diagnostic> {
    let home = &context.layout.daemon_home;
    let path = log_path(home);
    let refused = |source: io::Error, hint: String| {
        Diagnostic::from(&SpawnError::Log { path: path.clone(), source }).hint(hint)
    };
    // A start renames the log, and the previous ones up to a free number.
    let previous = (1..).map(|number| format!("{path}.{number}").into());
    let is_there = |log: &Utf8PathBuf| context.disk.stat(log.as_ref()).is_ok();
    let logs = std::iter::once(path.clone()).chain(previous).take_while(is_there);
    for renamed in std::iter::once(home.clone()).chain(logs) {
        let renamed = renamed.as_std_path();
        if let Some((why, hint)) = irreplaceable(context.disk, renamed) {
            return Some(refused(why, hint));
        }
    }
    match context.disk.stat(path.as_ref()).ok()?.kind {
        FileKind::File | FileKind::Symlink => None,
        _ => {
            let no_file = format!("{path} is no file");
            let source = io::Error::new(io::ErrorKind::AlreadyExists, no_file);
            Some(refused(source, move_aside(&path, "aside")))
        }
    }
}

/// Reports that the disk of the daemon home is full: not even the daemon's log could be written.
pub(crate) fn full_disk(context: &Context<'_>) -> Option<Diagnostic> {
    let home = &context.layout.daemon_home;
    let there = home.ancestors().find(|above| context.disk.stat_follow(above.as_ref()).is_ok())?;
    is_full(there).then(|| no_room_diagnostic(home, "No space left on device", "df -h", there))
}

/// The files that a move copies to a file system, and the directories that it makes there.
struct Needed<'p> {
    /// A directory that exists there.
    there: &'p Path,
    sizes: Vec<u64>,
    dirs: BTreeSet<&'p Path>,
}

/// Reports that a change finds no room: the disk of a directory in `changed` is full, or the files
/// that move to another file system, and the new directories, do not fit there.
pub(crate) fn no_room(context: &Context<'_>, changed: &[Utf8PathBuf], plan: &MovePlan) -> Option<Diagnostic> {
    let (disk, layout) = (context.disk, context.layout);
    // Files can leave a full disk.
    let is_made = |dir: &&Utf8PathBuf| {
        [&layout.app_home, &layout.backups].contains(dir) || dir.starts_with(&layout.daemon_home)
    };
    let made: Vec<Utf8PathBuf> = changed.iter().filter(is_made).cloned().collect();
    if let Some(full) = full_dir(&made) {
        return Some(full);
    }
    let is_there = |path: &&Path| disk.stat_follow(path).is_ok();
    let mut needs: BTreeMap<u64, Needed<'_>> = BTreeMap::new();
    let moved = moved_files(plan);
    let copied = moved.iter().filter(|(from, to)| is_copied(disk, from, to));
    let files = copied.filter_map(|(from, to)| Some((to.parent()?, Some(disk.stat(from).ok()?.len))));
    for (dir, size) in files.chain(made.iter().map(|dir| (dir.as_std_path(), None))) {
        let Some(there) = dir.ancestors().find(is_there) else { continue };
        let Some(dev) = device(disk, there) else { continue };
        let new = || Needed { there, sizes: Vec::new(), dirs: BTreeSet::new() };
        let needed = needs.entry(dev).or_insert_with(new);
        needed.sizes.extend(size);
        needed.dirs.extend(dir.ancestors().take_while(|dir| *dir != there));
    }
    needs.into_values().find_map(|Needed { there, sizes, dirs }| {
        let (blocks, size, files) = free_room(Utf8Path::from_path(there)?)?;
        let needed: u64 = sizes.iter().map(|bytes| bytes.div_ceil(size.max(1))).sum();
        let lacks_files = files.is_some_and(|files| files < (sizes.len() + dirs.len()) as u64);
        let (what, command) = match (needed > blocks, lacks_files) {
            (true, _) => ("the files that are to move do not fit", "df -h"),
            (false, true) => ("too many files are to move", "df -i"),
            (false, false) => return None,
        };
        let message = format!("nothing can be moved to {}: {what}", there.display());
        let diagnostic = Diagnostic::error(UNWRITABLE, message).at(there);
        Some(diagnostic.hint(format!("{command} {}", quote(there))))
    })
}

/// Reports that a directory in which a move or a repair makes files is on a full disk.
pub(crate) fn full_dir(dirs: &[Utf8PathBuf]) -> Option<Diagnostic> {
    let full = dirs.iter().find(|dir| is_full(dir))?;
    let message = format!("nothing can be made in {full}: No space left on device");
    Some(Diagnostic::error(UNWRITABLE, message).at(full).hint(format!("df -h {}", quote(full))))
}

/// The limit of open files below which no daemon is started: the start alone needs 16.
#[cfg(unix)]
const FEWEST_FILES: u64 = 24;

/// Reports that this process, and so the daemon that it starts, may open too few files.
#[cfg(unix)]
pub(crate) fn open_file_limit() -> Option<Diagnostic> {
    use rustix::process::{Resource, getrlimit};
    let limit = getrlimit(Resource::Nofile).current.filter(|limit| *limit < FEWEST_FILES)?;
    let message = format!(
        "cannot start a daemon: too many open files: only {limit} are allowed; allow {FEWEST_FILES} or more"
    );
    Some(Diagnostic::error("daemon.no-means", message))
}

#[cfg(not(unix))]
pub(crate) fn open_file_limit() -> Option<Diagnostic> {
    None
}

/// Reports that the app's home cannot be opened, and so not be locked.
pub(crate) fn unlockable_home(context: &Context<'_>) -> Option<Diagnostic> {
    let home = &context.layout.app_home;
    let opened = context.disk.for_each_entry(home.as_ref(), &mut |_| std::ops::ControlFlow::Break(()));
    let error = opened.err().filter(|error| error.kind() == io::ErrorKind::PermissionDenied)?;
    Some(Diagnostic::from_error(&error, "durable-fs.lock-failed", error.hint()).at(home))
}

/// Reports that nothing can be written in the daemon home. The command shows the disk of `there`: the
/// home may have yet to be made.
pub(crate) fn no_room_diagnostic(home: &Utf8Path, what: &str, command: &str, there: &Utf8Path) -> Diagnostic {
    let message = format!("the daemon's program can write nothing in {home}: {what}");
    let diagnostic = Diagnostic::error("daemon.no-room", message).at(home);
    diagnostic.hint(format!("{command} {}", quote(there))).class(Class::Daemon)
}

/// Returns true if the disk of a directory has no free block, or no free file, for this user.
pub(crate) fn is_full(dir: &Utf8Path) -> bool {
    free_room(dir).is_some_and(|(blocks, _, files)| blocks == 0 || files == Some(0))
}

/// Returns the free blocks of a disk for this user, their size, and the free files; no number of
/// files if the file system has no limit.
#[cfg(unix)]
fn free_room(dir: &Utf8Path) -> Option<(u64, u64, Option<u64>)> {
    let disk = rustix::fs::statvfs(dir.as_std_path()).ok()?;
    let blocks = if rustix::process::geteuid().is_root() { disk.f_bfree } else { disk.f_bavail };
    Some((blocks, disk.f_frsize, Some(disk.f_ffree).filter(|_| disk.f_files > 0)))
}

#[cfg(not(unix))]
fn free_room(_: &Utf8Path) -> Option<(u64, u64, Option<u64>)> {
    None
}

/// Reports the directories in which nothing can be changed: on a disk that is mounted read-only, for
/// example. A directory that does not exist is made in the one above it. `run_as` is the user that
/// is to write there, if that is not the user of this process.
#[cfg(unix)]
pub(crate) fn unwritable(
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
        .filter_map(|path| path.ancestors().find(|path| is_there(path)).map(Utf8Path::as_std_path))
        .filter(|path| seen.insert(*path))
        // A device or a file in the place of a directory has diagnostics of its own, and nobody
        // should change its mode.
        .filter(|path| !context.disk.stat_follow(path).is_ok_and(|meta| !meta.is_dir()))
        .filter_map(|path| Some((path, refusal_to_change(context, run_as, path)?)))
        .collect();
    let Some((directory, refusal)) = refused.iter().find(|(_, refusal)| *refusal != Errno::ACCESS) else {
        let denied: Vec<PathBuf> = refused.iter().map(|(path, _)| (*path).to_owned()).collect();
        let user = run_as.map(|user| user.uid).or_else(|| Some(context.disk.runner()?.uid))?;
        return crate::homes::no_access::diagnostic(context.disk, context.layout, user, &[], &denied)
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
pub(crate) fn unwritable(_: &Context<'_>, _: Option<Owner>, _: &[Utf8PathBuf]) -> Option<Diagnostic> {
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
/// makes, renames or removes a name, and, if the launch keeps a backup first, the backups. Leaves
/// out the directories that a step makes writable, and those in them.
pub(crate) fn changed_dirs(layout: &Layout, plan: &MovePlan, keeps_backup: bool) -> Vec<Utf8PathBuf> {
    let mut changed: BTreeSet<&Path> = BTreeSet::from([layout.app_home.as_ref()]);
    changed.extend(Some(layout.backups.as_std_path()).filter(|_| keeps_backup));
    let dirs: Vec<PathBuf> = plan.steps().flat_map(MoveStep::changed_dirs).collect();
    changed.extend(dirs.iter().map(PathBuf::as_path));
    changed.retain(|dir| !is_opened(plan, dir));
    // The directories of the state have UTF-8 names: only the files in them may have others.
    changed.into_iter().filter_map(Utf8Path::from_path).map(Utf8Path::to_owned).collect()
}

/// Returns true if a step of the move makes a directory writable, or one above it: what is below may
/// have yet to be made.
pub(crate) fn is_opened(plan: &MovePlan, dir: impl AsRef<Path>) -> bool {
    let mut opened = plan.steps().filter(|step| matches!(step, MoveStep::SetMode { .. }));
    opened.any(|step| dir.as_ref().starts_with(step.path()))
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
