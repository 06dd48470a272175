//! Moves many files and symlinks inside the locked directory: none replaces another file, and no
//! source goes before its content is durable elsewhere.
//!
//! A move has three parts: [`Transfer::publish`] gives each file its new name, the caller syncs
//! with [`Transfer::sync`], and [`Transfer::remove_sources`] removes the old names that are left.
//! The means are one ladder: an exclusive rename; a hard link; on another file system a copy that
//! is synced and compared before it gets its name; else nothing moves.

mod at_rest;
mod copy;
mod parallel;
mod remove;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::{
    Disk, DiskError, LockedDir, Metadata, Op, Owner, Result, SyncFs,
    rename::{Named, Renamer},
    with_free_name, with_temp,
};

/// One file or symlink to move.
#[derive(Clone, Debug)]
pub struct FileMove {
    /// The source.
    pub from: PathBuf,
    /// The destination.
    pub to: PathBuf,
    /// The kind of the entry.
    pub kind: MoveKind,
    /// True if a copy gets mode 0600, whatever the mode of the source.
    pub copy_is_private: bool,
    /// True if the file is set aside: its mode becomes 0600 before it moves.
    pub is_set_aside: bool,
}

/// The kind of the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum MoveKind {
    /// A regular file.
    File,
    /// A symlink, with its present target, and the target with which it leads to the same file from
    /// its new place.
    Symlink { old_target: PathBuf, target: PathBuf },
}

/// The means by which a file got its new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransferMethod {
    /// An exclusive rename.
    Rename,
    /// A hard link; the old name is removed later.
    Link,
    /// A copy on another file system; the source is removed later.
    Copy,
    /// A new symlink that leads to the same file; the old one is removed later.
    Relink,
}

/// A source to remove once its content is durable at the destination.
#[derive(Clone, Debug)]
pub struct PendingRemoval {
    /// The source.
    pub from: PathBuf,
    /// The file that stays.
    pub to: PathBuf,
    /// The target, if the source is a symlink.
    pub symlink_target: Option<PathBuf>,
    /// The means by which this move made the file at the destination; `None` if it was there.
    pub method: Option<TransferMethod>,
    /// True if the file is set aside.
    pub is_set_aside: bool,
    /// A second name of `to` in its directory, which must be removed first.
    temp: Option<PathBuf>,
}

impl PendingRemoval {
    /// Creates the removal of a source that is at the destination already.
    pub fn identical(from: PathBuf, to: PathBuf, symlink_target: Option<PathBuf>) -> Self {
        Self { from, to, symlink_target, method: None, is_set_aside: false, temp: None }
    }

    fn of(file: &FileMove, method: Option<TransferMethod>, temp: Option<PathBuf>) -> Self {
        let symlink_target = match &file.kind {
            MoveKind::Symlink { old_target, .. } => Some(old_target.clone()),
            MoveKind::File => None,
        };
        let (from, to, is_set_aside) = (file.from.clone(), file.to.clone(), file.is_set_aside);
        Self { from, to, symlink_target, method, is_set_aside, temp }
    }
}

/// The outcome of [`Transfer::publish`] for one file.
#[derive(Debug)]
#[non_exhaustive]
pub enum Published {
    /// The file was renamed.
    Renamed,
    /// The destination has the content, and the source is still there.
    SourceRemains(PendingRemoval),
    /// The destination has another file. Both stay.
    Taken,
    /// The source changed while it was copied, or a program has it open for writing. It stays.
    Changed,
    /// The source disappeared.
    Vanished,
    /// The destination is taken, and the two could not be compared.
    Incomparable(DiskError),
    /// The file could not be moved. It stays.
    Failed(DiskError),
    /// The file system of the destination supports neither an exclusive rename nor a hard link
    /// ([`DiskError::is_no_exclusive_rename`]): publishing ends here, and no later file was
    /// touched.
    Unsupported(DiskError),
}

/// A sync failed. The content since the last sync may be lost, and a second sync would report
/// success all the same, so nothing may rest on it.
#[derive(Debug)]
pub struct SyncFailed {
    /// The path that could not be synced.
    pub path: PathBuf,
    /// The cause.
    pub source: DiskError,
}

/// The outcome of [`Transfer::remove_sources`] for one source.
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum RemovalOutcome {
    /// The source is removed, and these extended attributes are lost with it.
    Removed { lost: Vec<String> },
    /// Another program removed the source.
    WasGone,
    /// The source differs from the published file. It stays.
    Differs,
    /// A program has the source open for writing, or the source is another file by now. It stays.
    InUse,
    /// The source could not be removed, or could not be compared. It stays.
    Failed(DiskError),
}

/// The result of [`Transfer::remove_sources`].
#[derive(Debug, Default)]
pub struct Removal {
    /// The outcome of each source.
    pub sources: Vec<(PendingRemoval, RemovalOutcome)>,
    /// The other paths that could not be changed, with the reasons. A quarantine directory that is
    /// not empty ([`DiskError::is_already_exists`]) holds a source that is reported elsewhere.
    pub failures: Vec<(PathBuf, DiskError)>,
    /// The directories to sync, so that the removals are durable.
    pub changed_dirs: Vec<PathBuf>,
}

/// The progress of a move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum TransferProgress {
    /// This many further files got their new names, or were copied.
    Files(usize),
    /// A sync begins. The disk does not tell how long it takes.
    Syncing,
    /// This many copies of `total` were compared with their originals.
    Comparing { done: usize, total: usize },
    /// This many sources of `total` were handled.
    Removing { done: usize, total: usize },
}

/// Moves files inside one locked directory.
pub struct Transfer<'a> {
    disk: &'a LockedDir,
    owner: Option<Owner>,
    is_complete: &'a (dyn Fn(&[u8]) -> bool + Sync),
    on_progress: &'a dyn Fn(TransferProgress),
    renamer: Renamer<'a>,
}

impl std::fmt::Debug for Transfer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transfer")
            .field("disk", &self.disk)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl<'a> Transfer<'a> {
    /// Creates a transfer. Directories that it makes belong to `owner`. `is_complete` judges the
    /// content of a file: a file that is not complete is given time, because its writer may have
    /// truncated it a moment ago.
    pub fn new(
        disk: &'a LockedDir,
        owner: Option<Owner>,
        is_complete: &'a (dyn Fn(&[u8]) -> bool + Sync),
        on_progress: &'a dyn Fn(TransferProgress),
    ) -> Self {
        Self { disk, owner, is_complete, on_progress, renamer: Renamer::new(disk) }
    }

    /// Returns a function that reports a phase over `total` files; its argument is the number of
    /// further files.
    fn phase(
        &self,
        total: usize,
        event: fn(usize, usize) -> TransferProgress,
    ) -> impl FnMut(usize) + use<'a> {
        let on_progress = self.on_progress;
        let mut done = 0;
        move |more| {
            done = total.min(done + more);
            on_progress(event(done, total));
        }
    }

    /// Syncs the file systems of these directories, or `files` where the platform cannot sync a
    /// file system; then these directories.
    pub fn sync<'p>(
        &self,
        dirs: impl IntoIterator<Item = &'p PathBuf>,
        files: impl FnOnce(&dyn Disk) -> Vec<PathBuf>,
    ) -> std::result::Result<(), SyncFailed> {
        let dirs: BTreeSet<&PathBuf> = dirs.into_iter().collect();
        if dirs.is_empty() {
            return Ok(());
        }
        (self.on_progress)(TransferProgress::Syncing);
        let mut seen = BTreeSet::new();
        let mut sync_each = false;
        for &dir in &dirs {
            let failed = |source| SyncFailed { path: dir.clone(), source };
            let device = self.disk.stat_follow(dir).map_err(failed)?.id.map(|id| id.dev);
            if device.is_none_or(|device| seen.insert(device)) {
                sync_each |= self.disk.sync_fs(dir).map_err(failed)? == SyncFs::Nothing;
            }
        }
        if sync_each {
            for file in files(self.disk) {
                self.disk.sync_file(&file).map_err(|source| SyncFailed { path: file, source })?;
            }
        }
        // Syncs each directory too: they are few, and on some file systems the call above does not
        // include directories.
        for dir in dirs {
            self.disk.sync_dir(dir).map_err(|source| SyncFailed { path: dir.clone(), source })?;
        }
        Ok(())
    }

    /// Renames a whole directory to a name that is free.
    ///
    /// # Errors
    /// The directory did not move. The files can still move one by one if the name is taken
    /// ([`DiskError::is_already_exists`]), or if the two are on different file systems, or on two
    /// layers of one ([`DiskError::is_cross_device`], `ResourceBusy`).
    pub fn rename_dir(&self, from: &Path, to: &Path) -> Result<()> {
        let result = self.renamer.rename_dir(from, to);
        // The rename may have happened before the call failed.
        let moved = result.is_err()
            && matches!(self.disk.stat(from), Err(error) if error.is_not_found())
            && self.disk.stat(to).is_ok_and(|meta| meta.is_dir());
        if moved { Ok(()) } else { result }
    }

    /// Gives each file its name at the destination, and adds the outcome of each to `published`, in
    /// no particular order. Nothing of it is durable before a [`sync`](Self::sync) of the
    /// directories.
    ///
    /// # Errors
    /// The copies could not be synced. They are removed, and their sources stay; `published` has
    /// the other files.
    pub fn publish(
        &self,
        files: Vec<FileMove>,
        published: &mut Vec<(FileMove, Published)>,
    ) -> std::result::Result<(), SyncFailed> {
        let dirs = dirs_of(files.iter().flat_map(|file| [file.from.as_path(), &file.to]));
        let _open = self.disk.keep_open(&dirs);
        let mut copies = Vec::new();
        // The pairs of directories between which the kernel renames nothing.
        let mut cross_device_pairs: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
        for file in files {
            if file.is_set_aside
                && let Err(error) = self.make_private(&file.from)
            {
                published.push((file, Published::Failed(error)));
                continue;
            }
            let changes_target =
                matches!(&file.kind, MoveKind::Symlink { old_target, target } if old_target != target);
            let pair = (parent(&file.from), parent(&file.to));
            if !changes_target && cross_device_pairs.contains(&pair) {
                copies.push(file);
                continue;
            }
            let outcome = if changes_target { self.relink(&file) } else { self.rename(&file) };
            match outcome {
                Published::Failed(error) if error.is_cross_device() && !changes_target => {
                    cross_device_pairs.insert(pair);
                    copies.push(file);
                    continue;
                }
                Published::Unsupported(error) => {
                    published.push((file, Published::Unsupported(error)));
                    return Ok(());
                }
                outcome => published.push((file, outcome)),
            }
            (self.on_progress)(TransferProgress::Files(1));
        }
        self.copy(copies, published)
    }

    /// Puts back a source that [`remove_sources`](Self::remove_sources) had taken aside. If a new
    /// file has its name, the source is removed when the bytes are the same, and else kept beside
    /// the new file.
    pub fn restore(&self, from: &Path, to: &Path) -> Result<()> {
        let restored = match self.renamer.rename(from, to) {
            Err(error) if error.is_already_exists() => self.restore_beside(from, to),
            other => other,
        };
        match restored {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    fn restore_beside(&self, from: &Path, to: &Path) -> Result<()> {
        let link = self.disk.read_link(from).ok();
        let same_link = link.is_some_and(|link| self.disk.read_link(to).is_ok_and(|there| there == link));
        match self.disk.same_content(from, to) {
            Ok(true) => return self.disk.unlink(from),
            Err(_) if same_link => return self.disk.unlink(from),
            _ => {}
        }
        with_free_name(to, |name| self.renamer.rename(from, name)).map(drop)
    }

    fn make_private(&self, path: &Path) -> Result<()> {
        match self.disk.stat(path).is_ok_and(|meta| meta.is_file() && meta.mode & 0o777 != 0o600) {
            true => self.disk.set_mode(path, 0o600),
            false => Ok(()),
        }
    }

    fn rename(&self, file: &FileMove) -> Published {
        match self.renamer.name(&file.from, &file.to) {
            Ok(Named::Renamed) => Published::Renamed,
            Ok(Named::Linked) => {
                Published::SourceRemains(PendingRemoval::of(file, Some(TransferMethod::Link), None))
            }
            Err(error) if error.is_no_exclusive_rename() => Published::Unsupported(error),
            Err(error) if error.is_cross_device() => Published::Failed(error),
            Err(error) => self.recheck(file, error),
        }
    }

    /// Determines the state after a failed rename.
    fn recheck(&self, file: &FileMove, error: DiskError) -> Published {
        if error.is_already_exists() {
            return self.taken(file);
        }
        let absent = |found: Result<Metadata>| matches!(found, Err(error) if error.is_not_found());
        match (absent(self.disk.stat(&file.from)), absent(self.disk.stat(&file.to))) {
            // The rename happened in spite of the error, or another process did it.
            (true, false) => Published::Renamed,
            (true, true) => Published::Vanished,
            (false, false) if error.is_not_found() => self.taken(file),
            (false, _) => Published::Failed(error),
        }
    }

    /// Handles a taken name. If the file there has the same bytes, the source can be removed; else
    /// both stay.
    fn taken(&self, file: &FileMove) -> Published {
        let same = self.disk.stat(&file.to).and_then(|there| match &file.kind {
            MoveKind::Symlink { target, .. } => {
                Ok(there.is_symlink() && self.disk.read_link(&file.to).is_ok_and(|link| link == *target))
            }
            MoveKind::File => is_second_copy(self.disk, &file.from, &file.to, &there),
        });
        match same {
            Ok(true) => Published::SourceRemains(PendingRemoval::of(file, None, None)),
            Ok(false) => Published::Taken,
            Err(error) => Published::Incomparable(error),
        }
    }

    /// Makes a symlink at the destination that leads to the same file.
    fn relink(&self, file: &FileMove) -> Published {
        let MoveKind::Symlink { target, .. } = &file.kind else { return Published::Vanished };
        let dir = parent(&file.to);
        let make = |target: &Path| -> Result<Option<PathBuf>> {
            self.disk.ensure_entries_removable(&dir)?;
            let temp = with_temp(&dir, |temp| self.disk.symlink(target, temp))?;
            let (old, new) = (self.disk.stat(&file.from)?, self.disk.stat(&temp)?);
            if let Some(owner) = old.owner.filter(|_| old.owner != new.owner) {
                // Only root can chown; for any other user the symlink is their own, or becomes so.
                let _ = self.disk.set_owner(&temp, owner);
            }
            let target = self.disk.stat_follow(&file.from)?;
            let same = match self.disk.stat_follow(&temp) {
                Ok(found) => Ok(found.is_same_file(&target) || found.id.is_none()),
                Err(error) if error.is_not_found() => Ok(false),
                Err(error) => Err(error),
            };
            if let Ok(true) = same {
                return Ok(Some(temp));
            }
            self.disk.unlink(&temp)?;
            same.map(|_| None)
        };
        // A directory on the way may be a symlink itself; then only the full path is certain.
        let made = make(target).and_then(|made| match made {
            Some(temp) => Ok(temp),
            None => make(&self.disk.canonicalize(&file.from)?)?.ok_or_else(|| {
                let lost = io::Error::new(io::ErrorKind::NotFound, "it would lead elsewhere");
                DiskError::with_two_paths(Op::RebaseSymlink, &file.from, target, lost)
            }),
        });
        let result = made.and_then(|temp| {
            self.renamer.rename(&temp, &file.to).inspect_err(|_| {
                let _ = self.disk.unlink(&temp);
            })
        });
        match result {
            Ok(_) => Published::SourceRemains(PendingRemoval::of(file, Some(TransferMethod::Relink), None)),
            Err(error) if error.is_already_exists() => self.taken(file),
            Err(error) if error.is_no_exclusive_rename() => Published::Unsupported(error),
            Err(error) => Published::Failed(error),
        }
    }
}

/// Returns true if the destination holds the source's bytes in such a way that the source can be
/// removed: in a regular file that is another file or has at least two names. (A symlink may lead
/// to the source itself.)
///
/// # Errors
/// A mount covers the destination ([`DiskError::is_covered_by_mount`]): the file there may be the
/// source, and it disappears when it is unmounted. Or the two could not be compared.
pub fn is_second_copy(disk: &dyn Disk, source: &Path, destination: &Path, there: &Metadata) -> Result<bool> {
    if !there.is_file() {
        return Ok(false);
    }
    if disk.is_mount_point(destination) {
        let busy = io::Error::new(io::ErrorKind::ResourceBusy, "something else is mounted over this file");
        return Err(DiskError::new(Op::CompareCopy, destination, busy));
    }
    let is_one_file = disk.stat(source)?.is_same_file(there);
    Ok((!is_one_file || are_two_names(disk, [source, destination], there)?)
        && disk.same_content(source, destination)?)
}

/// Returns true if two paths of one file are two names. One name that is seen at two paths, because
/// its directory is mounted at both, is not. A mount that hides hard links shows one link, so the
/// names and the directories decide there.
fn are_two_names(disk: &dyn Disk, paths: [&Path; 2], meta: &Metadata) -> Result<bool> {
    let [one, other] = paths.map(|path| path.file_name().map(OsStr::to_ascii_lowercase));
    if meta.links > 1 || one != other {
        return Ok(true);
    }
    let [one, other] = paths.map(|path| disk.stat_follow(&parent(path)));
    let (one, other) = (one?.id, other?.id);
    Ok(one.is_some() && other.is_some() && one != other)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Returns the directories of these paths, each once.
fn dirs_of<'p>(paths: impl Iterator<Item = &'p Path>) -> Vec<&'p Path> {
    let mut dirs: Vec<&Path> = paths.filter_map(Path::parent).collect();
    dirs.dedup();
    dirs.sort();
    dirs.dedup();
    dirs
}
