//! The lock of a directory, and with it the right to change what is below that directory.

use std::{
    any::Any,
    marker::PhantomData,
    ops::ControlFlow,
    path::{Component, Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use crate::{
    CopyComparison, DirEntry, Disk, DiskError, LockError, Metadata, Op, OpenForWriting, OutsideLock, Owner,
    Permissions, Result, SyncFs, trust::Runner,
};

/// What an implementation of [`Disk`] carries out for a [`LockedDir`], which documents each call. [`LockedDir`] passes only paths
/// that it has checked. No caller reaches an implementation but through a [`LockedDir`].
#[allow(missing_docs, reason = "LockedDir documents each call")]
pub trait LockedDisk: Send + Sync {
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()>;
    fn set_mode(&self, path: &Path, mode: u32) -> Result<()>;
    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()>;
    fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()>;
    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()>;
    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions>;
    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    fn exchange(&self, a: &Path, b: &Path) -> Result<()>;
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;
    fn symlink(&self, target: &Path, at: &Path) -> Result<()>;
    fn unlink(&self, path: &Path) -> Result<()>;
    fn remove_dir(&self, dir: &Path) -> Result<()>;
    fn sync_file(&self, file: &Path) -> Result<()>;
    fn sync_dir(&self, dir: &Path) -> Result<()>;
    fn sync_fs(&self, path: &Path) -> Result<SyncFs>;

    /// Opens a directory outside of the locked one, so that names in it can be changed from now on
    /// ([`LockedDir::admit_target`]).
    fn admit(&self, dir: &Path) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Opens directories for [`LockedDir::keep_open`]; the answer closes them when it is dropped. `None`: this disk finds a
    /// directory as fast by its path.
    fn keep_open(&self, dirs: &[&Path]) -> Option<Box<dyn Any>> {
        let _ = dirs;
        None
    }
}

/// A directory that this value locks, and the right to change what is below it: exclusive among all processes until the value
/// is dropped.
///
/// On Unix the lock is a `flock` on the directory itself: nothing is written, nothing is left behind, a child does not inherit
/// the lock, and the kernel releases it when the process dies. On Windows the lock is on `<dir>/.lock`, which stays.
///
/// The value reads the disk as well ([`Disk`]). On Unix it reaches everything below the directory through the very handle
/// that holds the lock, so read through this value while you hold it.
///
/// Every change wants a path below the directory, by the name that was locked or by its canonical path, without `..`. Any
/// other path is an error ([`OutsideLock`], [`DiskError::outside_lock`]), and nothing changes. No operation but
/// [`rename`](Self::rename) can replace or remove what it was not asked about; nothing is recursive; nothing is durable
/// unless a `sync_…` says so.
#[must_use = "dropping this value releases the lock"]
pub struct LockedDir {
    path: PathBuf,
    real: PathBuf,
    /// Directories outside, in which names may be changed: those of files that symlinks below lead to.
    admitted: RwLock<Vec<PathBuf>>,
    reader: Box<dyn Disk>,
    changes: Box<dyn LockedDisk>,
}

impl std::fmt::Debug for LockedDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockedDir").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Directories that stay open for a run of calls, see [`LockedDir::keep_open`].
#[must_use = "dropping this value closes the directories"]
pub struct DirHandles<'lock> {
    _lock: PhantomData<&'lock LockedDir>,
    _open: Option<Box<dyn Any>>,
}

impl std::fmt::Debug for DirHandles<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DirHandles").finish_non_exhaustive()
    }
}

impl LockedDir {
    /// For implementors of [`Disk`]. `real` is the canonical path of the locked directory; dropping `changes` releases the lock.
    pub fn new(
        path: &Path,
        real: &Path,
        reader: impl Disk + 'static,
        changes: impl LockedDisk + 'static,
    ) -> Self {
        Self {
            path: path.to_owned(),
            real: real.to_owned(),
            admitted: RwLock::default(),
            reader: Box::new(reader),
            changes: Box::new(changes),
        }
    }

    /// The locked directory, by the name that was locked.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails unless `dir` is the very directory that this value locks, under any name. For a caller that is given a lock and
    /// knows by itself which directory is to be locked: a lock of the directory above would let every change pass.
    ///
    /// # Errors
    ///
    /// [`DiskError::outside_lock`].
    pub fn ensure_locks(&self, dir: &Path) -> Result<()> {
        if dir == self.path || self.reader.canonicalize(dir).is_ok_and(|real| real == self.real) {
            return Ok(());
        }
        Err(self.refusal(Op::Use, dir))
    }

    fn refusal(&self, op: Op, path: &Path) -> DiskError {
        DiskError::new(op, path, OutsideLock { dir: self.path.clone() }.into())
    }

    /// The path below the locked directory; empty for the directory itself.
    fn below<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let below = path.strip_prefix(&self.path).or_else(|_| path.strip_prefix(&self.real)).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
    }

    fn is_admitted(&self, path: &Path) -> bool {
        let admitted = self.admitted.read().unwrap_or_else(PoisonError::into_inner);
        path.file_name().is_some()
            && path.parent().is_some_and(|dir| admitted.iter().any(|known| known == dir))
    }

    /// Checks a path whose name is to change: the name of the locked directory itself is not below it.
    fn check_name(&self, op: Op, path: &Path) -> Result<()> {
        let is_below = self.below(path).is_some_and(|below| !below.as_os_str().is_empty());
        if is_below || self.is_admitted(path) { Ok(()) } else { Err(self.refusal(op, path)) }
    }

    /// Checks a path of which something else than its name is to change.
    fn check(&self, op: Op, path: &Path) -> Result<()> {
        let is_admitted =
            || self.admitted.read().unwrap_or_else(PoisonError::into_inner).iter().any(|dir| dir == path);
        if self.below(path).is_some() || is_admitted() { Ok(()) } else { self.check_name(op, path) }
    }

    /// Follows a symlink below the locked directory to a file. Where that file lies outside, names in its directory can be
    /// changed through this value from now on: a config that its user has linked into a directory of their own is written
    /// through the symlink. Returns the canonical path of the file.
    ///
    /// # Errors
    ///
    /// The symlink is not below the directory, belongs to another user ([`DiskError::untrusted`]), or leads nowhere.
    pub fn admit_target(&self, symlink: &Path) -> Result<PathBuf> {
        self.check_name(Op::Follow, symlink)?;
        let target = self.reader.canonicalize(symlink)?;
        if self.check_name(Op::Follow, &target).is_err()
            && let Some(dir) = target.parent()
        {
            self.changes.admit(dir)?;
            self.admitted.write().unwrap_or_else(PoisonError::into_inner).push(dir.to_owned());
        }
        Ok(target)
    }

    /// Keeps these directories open, for many calls on names in them: as long as the answer lives, the way to them is not
    /// walked again for each call. Skips a directory that cannot be opened, or is not to be trusted: each call on a name
    /// in it fails as ever.
    ///
    /// The directory stays open, not its name: should another program rename it meanwhile, the calls go where it is then. So
    /// keep none open that is itself renamed or removed before the answer is dropped.
    pub fn keep_open(&self, dirs: &[&Path]) -> DirHandles<'_> {
        let dirs: Vec<_> = dirs.iter().copied().filter(|dir| self.check(Op::Use, dir).is_ok()).collect();
        DirHandles { _lock: PhantomData, _open: self.changes.keep_open(&dirs) }
    }

    /// Makes one directory with exactly this mode. Its parent must exist.
    pub fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        self.check_name(Op::MakeDir, dir)?;
        self.changes.make_dir(dir, mode)
    }

    /// Sets the permission bits of a file or directory; fails for a symlink. Does nothing on Windows.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.check(Op::SetMode, path)?;
        self.changes.set_mode(path, mode)
    }

    /// Sets the owner of a file, directory or symlink (not of its target). Does nothing on Windows.
    pub fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        self.check(Op::SetOwner, path)?;
        self.changes.set_owner(path, owner)
    }

    /// Writes a new file with exactly this mode. Fails if the name exists.
    pub fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.check_name(Op::Create, file)?;
        self.changes.create(file, bytes, mode)
    }

    /// Copies a regular file (not a symlink), which may lie anywhere, to a new name. The copy is 0600 while it grows; then it
    /// gets the modification time and, when `mode` is `None`, mode and access list of the original (see
    /// [`copy_permissions`](Self::copy_permissions)); the owner of the original, when this process is root; and the user's own
    /// attributes (`user.…`), as far as the file system takes them: [`Disk::compare_copy`] tells. Labels are not copied.
    /// Fails if the name exists. Removes a copy that could not be completed.
    pub fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        self.check_name(Op::CopyNew, to)?;
        self.changes.copy_new(from, to, mode)
    }

    /// Gives the file `to`, which is 0600 so far, what `from` has: permission bits, access list, and the user's own attributes
    /// (`user.…`) as far as the file system takes them. Where the file system does not take the list, the file is its
    /// owner's alone, and the answer says so: with a list, the group's bits mean something else, and without it they would
    /// let others in.
    pub fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions> {
        self.check(Op::CopyPermissions, to)?;
        self.changes.copy_permissions(from, to)
    }

    /// Renames a file, symlink or directory. Fails if the destination exists, even if it appears in the very moment. Where the
    /// file system or the platform has no such rename, [`DiskError::may_be_unsupported`] holds for the error.
    pub fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        self.check_pair(Op::RenameNoReplace, from, to)?;
        self.changes.rename_noreplace(from, to)
    }

    /// The plain rename, which **replaces** a file (never a directory that is not empty). For names that nobody else can hold:
    /// directories, and files under names of ours.
    ///
    /// Beware: when both are names of one file, a Unix system reports success and leaves both.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.check_pair(Op::Rename, from, to)?;
        self.changes.rename(from, to)
    }

    /// Swaps two names in one step. Where there is no such thing, [`DiskError::may_be_unsupported`] holds for the error.
    pub fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        self.check_pair(Op::Exchange, a, b)?;
        self.changes.exchange(a, b)
    }

    /// Gives a file a second name; fails if the name exists. A symlink gets the second name itself.
    pub fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.check_pair(Op::HardLink, from, to)?;
        self.changes.hard_link(from, to)
    }

    /// Makes a symlink. Fails if the name exists.
    pub fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        self.check_name(Op::Symlink, at)?;
        self.changes.symlink(target, at)
    }

    /// Removes one name of a file or symlink.
    pub fn unlink(&self, path: &Path) -> Result<()> {
        self.check_name(Op::Unlink, path)?;
        self.changes.unlink(path)
    }

    /// Removes an empty directory; any other is an error ([`DirectoryNotEmpty`](std::io::ErrorKind::DirectoryNotEmpty)).
    pub fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.check_name(Op::RemoveDir, dir)?;
        self.changes.remove_dir(dir)
    }

    /// Syncs content, length and mode of a regular file (not its name). A failure is final: the system may have dropped what
    /// it could not write.
    pub fn sync_file(&self, file: &Path) -> Result<()> {
        self.check(Op::SyncFile, file)?;
        self.changes.sync_file(file)
    }

    /// Syncs the names in a directory, and its mode (not its own name). A failure is final.
    pub fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.check(Op::SyncDir, dir)?;
        self.changes.sync_dir(dir)
    }

    /// Syncs the directory that holds the locked one, so that the name of the locked one is durable. A failure is final.
    pub fn sync_own_name(&self) -> Result<()> {
        self.changes.sync_dir(self.path.parent().unwrap_or(&self.path))
    }

    /// Syncs the whole file system that `path` is on, where the platform can (Linux). A failure is final.
    pub fn sync_fs(&self, path: &Path) -> Result<SyncFs> {
        self.check(Op::SyncFs, path)?;
        self.changes.sync_fs(path)
    }

    fn check_pair(&self, op: Op, a: &Path, b: &Path) -> Result<()> {
        self.check_name(op, a)?;
        self.check_name(op, b)
    }
}

/// Reads: below the locked directory through its handle (Unix), elsewhere by path.
impl Disk for LockedDir {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        self.reader.stat(path)
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        self.reader.stat_follow(path)
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        self.reader.for_each_entry(dir, each)
    }

    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>> {
        self.reader.read(file, limit)
    }

    fn content_eq(&self, file: &Path, bytes: &[u8]) -> Result<bool> {
        self.reader.content_eq(file, bytes)
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        self.reader.same_content(a, b)
    }

    fn compare_copy(&self, original: &Path, copy: &Path) -> Result<CopyComparison> {
        self.reader.compare_copy(original, copy)
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        self.reader.read_link(link)
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        self.reader.canonicalize(path)
    }

    fn open_for_writing(&self, files: &[&Path]) -> Vec<OpenForWriting> {
        self.reader.open_for_writing(files)
    }

    fn runner(&self) -> Option<Runner> {
        self.reader.runner()
    }

    fn may_write(&self, dir: &Path) -> bool {
        self.reader.may_write(dir)
    }

    fn is_mount_point(&self, path: &Path) -> bool {
        self.reader.is_mount_point(path)
    }

    fn ensure_entries_removable(&self, dir: &Path) -> Result<()> {
        self.reader.ensure_entries_removable(dir)
    }

    fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError> {
        self.reader.lock(dir, wait)
    }

    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
        self.reader.make_home_dir(root, dir, owner)
    }

    fn pause(&self, time: Duration) {
        self.reader.pause(time);
    }

    fn threads(&self) -> usize {
        self.reader.threads()
    }
}
