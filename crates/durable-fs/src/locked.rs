//! The lock of a directory, and with it the right to change what is below that directory.

use std::{
    any::Any,
    ops::ControlFlow,
    path::{Component, Path, PathBuf},
    sync::{PoisonError, RwLock},
    time::Duration,
};

use crate::{
    DirEntry, Disk, DiskError, LockError, Metadata, Op, OutsideLock, Owner, Permissions, Result, Runner,
    SyncFs,
};

/// A directory that this value locks, and the right to change what is below it: exclusive among all
/// processes until the value is dropped.
///
/// On Unix the lock is a `flock` on the directory itself: nothing is written, nothing is left
/// behind, a child does not inherit the lock, and the kernel releases it when the process dies. On
/// Windows the lock is on `<dir>/.lock`, which stays.
///
/// The value reads the disk as well ([`Disk`]). On Unix it reaches everything below the directory
/// through the very handle that holds the lock, so callers read through this value while they hold
/// the lock.
///
/// Every change requires a path below the directory, by the name that was locked or by its
/// canonical path, without `..`. Any other path is an error ([`OutsideLock`],
/// [`DiskError::outside_lock`]), and nothing changes. Only [`rename`](Self::rename) can replace or
/// remove a file that the caller did not name; nothing is recursive; nothing is durable until the
/// matching `sync_…` call.
#[must_use = "dropping this value releases the lock"]
pub struct LockedDir {
    path: PathBuf,
    real: PathBuf,
    /// Directories outside of the locked one in which names may be changed: those that hold the
    /// targets of symlinks below the locked directory.
    admitted: RwLock<Vec<PathBuf>>,
    reader: Box<dyn Disk>,
    changes: Box<dyn LockedDisk>,
}

impl std::fmt::Debug for LockedDir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockedDir").field("path", &self.path).finish_non_exhaustive()
    }
}

impl LockedDir {
    /// Creates the value. For implementors of [`Disk`]. `real` is the canonical path of the locked
    /// directory; dropping `changes` releases the lock.
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

    /// Returns the path by which the directory was locked.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Fails unless `dir` is the directory itself that this value locks, under any name. For a
    /// caller that gets a lock from elsewhere and knows which directory must be locked: a lock of
    /// the parent directory would allow every change.
    ///
    /// # Errors
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

    /// Returns the path below the locked directory; empty for the directory itself.
    fn below<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        let below = path.strip_prefix(&self.path).or_else(|_| path.strip_prefix(&self.real)).ok()?;
        below.components().all(|part| matches!(part, Component::Normal(_))).then_some(below)
    }

    fn is_admitted(&self, dir: &Path) -> bool {
        self.admitted.read().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known == dir)
    }

    /// Checks a path whose name is about to change. Refuses the locked directory itself, whose name
    /// is in the parent directory.
    fn check_name(&self, op: Op, path: &Path) -> Result<()> {
        let is_below = self.below(path).is_some_and(|below| !below.as_os_str().is_empty());
        let dir = path.parent().filter(|_| path.file_name().is_some());
        match is_below || dir.is_some_and(|dir| self.is_admitted(dir)) {
            true => Ok(()),
            false => Err(self.refusal(op, path)),
        }
    }

    /// Checks a path of which the caller changes something other than the name.
    fn check(&self, op: Op, path: &Path) -> Result<()> {
        match self.below(path).is_some() || self.is_admitted(path) {
            true => Ok(()),
            false => self.check_name(op, path),
        }
    }

    /// Follows a symlink below the locked directory to a file and returns the canonical path of the
    /// file. If the file lies outside, this value can change names in its directory from now on: a
    /// config that its user has linked into a directory of their own is written through the
    /// symlink.
    ///
    /// # Errors
    /// The symlink is not below the directory, belongs to another user ([`DiskError::untrusted`]),
    /// or its target does not exist.
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

    /// Keeps these directories open for many calls on names in them: until the returned value is
    /// dropped, a call does not walk the way to them again. Skips a directory that cannot be opened
    /// or is not trusted; each call on a name in such a directory fails with its own error.
    ///
    /// The handle follows the directory, not its name: if another program renames the directory
    /// meanwhile, the calls act on the renamed directory. Do not keep a directory open that you
    /// rename or remove before you drop the returned value.
    #[must_use = "dropping this value closes the directories"]
    pub fn keep_open<'l>(&'l self, dirs: &[&Path]) -> impl Sized + use<'l> {
        let dirs: Vec<_> = dirs.iter().copied().filter(|dir| self.check(Op::Use, dir).is_ok()).collect();
        self.changes.keep_open(&dirs)
    }

    /// Syncs the directory that holds the locked one, so that the name of the locked one is
    /// durable. A failure is final.
    pub fn sync_own_name(&self) -> Result<()> {
        self.changes.sync_dir(self.path.parent().unwrap_or(&self.path))
    }
}

/// Declares each change once: for the implementations of a disk, and as a method of [`LockedDir`]
/// that first checks the paths of which it changes something.
macro_rules! changes {
    ($($(#[$doc:meta])* [$op:ident: $check:ident($($path:ident),+)]
    fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        /// The changes that an implementation of [`Disk`] carries out for a [`LockedDir`], which
        /// passes only paths that it has checked. Callers reach an implementation only through a
        /// [`LockedDir`].
        #[allow(unused_variables, reason = "the names of the parameters of defaults are their doc")]
        pub trait LockedDisk: Send + Sync {
            $($(#[$doc])* fn $name(&self $(, $argument: $type)*) -> $result;)*

            /// Opens a directory outside of the locked one, so that names in it can be changed from
            /// now on ([`LockedDir::admit_target`]).
            fn admit(&self, dir: &Path) -> Result<()> {
                Ok(())
            }

            /// Opens directories for [`LockedDir::keep_open`]; dropping the returned value closes
            /// them. Returns `None` if this disk finds a directory as fast by its path.
            fn keep_open(&self, dirs: &[&Path]) -> Option<Box<dyn Any>> {
                None
            }
        }

        impl LockedDir {
            $($(#[$doc])* pub fn $name(&self $(, $argument: $type)*) -> $result {
                $(self.$check(Op::$op, $path)?;)+
                self.changes.$name($($argument),*)
            })*
        }
    };
}

changes! {
    /// Makes one directory with exactly this mode. Its parent must exist.
    [MakeDir: check_name(dir)]
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()>;

    /// Sets the permission bits of a file or directory; fails for a symlink. Does nothing on
    /// Windows.
    [SetMode: check(path)]
    fn set_mode(&self, path: &Path, mode: u32) -> Result<()>;

    /// Sets the owner of a file, directory or symlink (not of its target). Does nothing on Windows.
    [SetOwner: check(path)]
    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()>;

    /// Writes a new file with exactly this mode. Fails if the name exists.
    [Create: check_name(file)]
    fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()>;

    /// Copies a regular file (not a symlink), which may lie anywhere, to a new name. The copy has
    /// mode 0600 while it grows. Then the copy gets the modification time of the original; if
    /// `mode` is `None`, its mode and access list (see
    /// [`copy_permissions`](Self::copy_permissions)); if this process is root, its owner; and the
    /// user's own attributes (`user.…`), as far as the file system accepts them
    /// ([`Disk::missing_xattrs`] reports the missing ones). Labels are not copied. Fails if the
    /// name exists. Removes a copy that could not be completed.
    [CopyNew: check_name(to)]
    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()>;

    /// Gives the file `to`, which has mode 0600 so far, the permission bits, the access list and
    /// the user's own attributes (`user.…`) of `from`, as far as the file system accepts the
    /// attributes. If the file system does not accept the list, only the owner gets access and the
    /// call returns [`Permissions::Narrowed`]: with a list, the group's bits mean something else,
    /// and without the list they would give others access.
    [CopyPermissions: check(to)]
    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions>;

    /// Renames a file, symlink or directory. Fails if the destination exists, even if another
    /// program makes it at the same moment. Where the file system or the platform has no such
    /// rename, [`DiskError::may_be_unsupported`] is true for the error.
    [RenameNoReplace: check_name(from, to)]
    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()>;

    /// Renames, and **replaces** a file that has the new name (never a directory that is not
    /// empty). For names that no other program can use: directories, and files under temporary
    /// names of ours.
    ///
    /// Beware: if both are names of one file, a Unix system reports success and leaves both.
    [Rename: check_name(from, to)]
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Exchanges two names in one step. Where that is not supported,
    /// [`DiskError::may_be_unsupported`] is true for the error.
    [Exchange: check_name(a, b)]
    fn exchange(&self, a: &Path, b: &Path) -> Result<()>;

    /// Gives a file a second name; fails if the name exists. A symlink gets the second name itself.
    [HardLink: check_name(from, to)]
    fn hard_link(&self, from: &Path, to: &Path) -> Result<()>;

    /// Makes a symlink. Fails if the name exists.
    [Symlink: check_name(at)]
    fn symlink(&self, target: &Path, at: &Path) -> Result<()>;

    /// Removes one name of a file or symlink.
    [Unlink: check_name(path)]
    fn unlink(&self, path: &Path) -> Result<()>;

    /// Removes an empty directory. Fails if the directory is not empty
    /// ([`DirectoryNotEmpty`](std::io::ErrorKind::DirectoryNotEmpty)).
    [RemoveDir: check_name(dir)]
    fn remove_dir(&self, dir: &Path) -> Result<()>;

    /// Syncs content, length and mode of a regular file (not its name). A failure is final: the
    /// system may have dropped the data that it could not write.
    [SyncFile: check(file)]
    fn sync_file(&self, file: &Path) -> Result<()>;

    /// Syncs the names in a directory, and its mode (not its own name). A failure is final.
    [SyncDir: check(dir)]
    fn sync_dir(&self, dir: &Path) -> Result<()>;

    /// Syncs the whole file system that `path` is on, where the platform can (Linux). A failure is
    /// final.
    [SyncFs: check(path)]
    fn sync_fs(&self, path: &Path) -> Result<SyncFs>;
}

/// Methods that the reader of a [`LockedDir`] carries out.
macro_rules! delegate {
    ($(fn $name:ident(&self $(, $argument:ident: $type:ty)*) -> $result:ty;)*) => {
        $(fn $name(&self $(, $argument: $type)*) -> $result {
            self.reader.$name($($argument),*)
        })*
    };
}

/// Reads: below the locked directory through its handle (Unix), elsewhere by path.
impl Disk for LockedDir {
    delegate! {
        fn stat(&self, path: &Path) -> Result<Metadata>;
        fn stat_follow(&self, path: &Path) -> Result<Metadata>;
        fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()>;
        fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>>;
        fn content_eq(&self, file: &Path, bytes: &[u8]) -> Result<bool>;
        fn same_content(&self, a: &Path, b: &Path) -> Result<bool>;
        fn missing_xattrs(&self, original: &Path, copy: &Path) -> Result<Option<Vec<String>>>;
        fn read_link(&self, link: &Path) -> Result<PathBuf>;
        fn canonicalize(&self, path: &Path) -> Result<PathBuf>;
        fn open_for_writing(&self, files: &[&Path]) -> Vec<bool>;
        fn runner(&self) -> Option<Runner>;
        fn may_write(&self, dir: &Path) -> bool;
        fn confirms_sync(&self, path: &Path) -> bool;
        fn has_modes_of_mount(&self, path: &Path) -> bool;
        fn is_mount_point(&self, path: &Path) -> bool;
        fn ensure_entries_removable(&self, dir: &Path) -> Result<()>;
        fn is_protected(&self, path: &Path) -> bool;
        fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError>;
        fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()>;
        fn pause(&self, time: Duration) -> ();
        fn threads(&self) -> usize;
    }
}
