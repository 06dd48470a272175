//! The interface between the rest of the workspace and a disk.

use std::{
    ffi::OsString,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{LockError, LockedDir, Result, Runner};

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// A symlink (on Windows also a junction).
    Symlink,
    /// A pipe, a socket or a device.
    Other,
}

/// Identifies a file, whatever names it has, by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The inode number on the device.
    pub ino: u64,
}

/// The owner of a file, on Unix only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// A point in time as a file system keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Seconds since 1970.
    pub seconds: i64,
    /// Nanoseconds within the second.
    pub nanoseconds: u32,
}

/// The metadata of a file, which can be read without opening the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The kind of the file.
    pub kind: FileKind,
    /// The length in bytes.
    pub len: u64,
    /// The permission bits (`0o7777`); on Windows 0o700 for directories and 0o600 for files.
    pub mode: u32,
    /// The identity of the file; `None` where the platform does not report one (Windows).
    pub id: Option<FileId>,
    /// The number of names that the file has; 1 where the platform does not report it.
    pub links: u64,
    /// The owner; `None` on Windows.
    pub owner: Option<Owner>,
    /// The time of the last change of the content.
    pub modified: Timestamp,
    /// The time of the last change of content, mode, owner or names; equals `modified` on Windows.
    pub changed: Timestamp,
}

impl Metadata {
    /// Returns metadata with the usual mode of the kind, one name, and nothing that a platform may
    /// lack: for a [`Disk`] of one's own, which sets what it knows.
    pub fn new(kind: FileKind, len: u64) -> Self {
        let mode = if kind == FileKind::Dir { 0o700 } else { 0o600 };
        let (modified, changed) = Default::default();
        Self { kind, len, mode, id: None, links: 1, owner: None, modified, changed }
    }

    /// Returns true if this is a regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// Returns true if this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    /// Returns true if this is a symlink.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }

    /// Returns true if both are known to be the same file, by device and inode.
    pub fn is_same_file(&self, other: &Metadata) -> bool {
        self.id.is_some() && self.id == other.id
    }
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name alone.
    pub name: OsString,
    /// The kind of the entry (symlinks are not followed).
    pub kind: FileKind,
}

/// The permissions that a file got from another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permissions {
    /// The file has all permissions of the other file.
    Kept,
    /// The file has fewer permissions: its group or its access list could not be copied, so neither
    /// gives access to anybody.
    Narrowed,
}

/// The part of the file system that [`LockedDir::sync_fs`] has synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncFs {
    /// Everything that was written to the file system before the call.
    Everything,
    /// Nothing, because the platform has no such call. The caller must sync each file and directory
    /// by itself.
    Nothing,
}

/// Reads a disk. Every change is a method of [`LockedDir`], the value that [`lock`](Self::lock)
/// returns:
///
/// ```compile_fail,E0599
/// use myownllm_durable_fs::RealDisk;
///
/// // wanted: RealDisk.lock(home, wait)?.unlink(…)
/// RealDisk.unlink("/home/you/.app/config.json".as_ref()).unwrap();
/// ```
///
/// Paths are absolute. Errors carry the operation and the path.
///
/// [`crate::RealDisk`] is the disk of this machine; `SimDisk` (feature `sim`) is a disk that fails
/// and crashes on demand. A test with another disk implements the trait, and
/// [`LockedDisk`](crate::LockedDisk) if files shall change.
#[allow(unused_variables, reason = "the names of the parameters of defaults are their doc")]
pub trait Disk: Send + Sync {
    /// Returns the metadata of the entry with this name. Does not follow a symlink.
    fn stat(&self, path: &Path) -> Result<Metadata>;

    /// Returns the metadata of the file that this name leads to. Follows symlinks.
    fn stat_follow(&self, path: &Path) -> Result<Metadata>;

    /// Calls `each` for every name in the directory, in no order, until `each` breaks. Fails for a
    /// symlink to a directory.
    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()>;

    /// Returns all names in the directory, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut all = Vec::new();
        self.for_each_entry(dir, &mut |entry| {
            all.push(entry);
            ControlFlow::Continue(())
        })?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Returns the content of a regular file. Follows symlinks. Fails if the file is larger than
    /// `limit` ([`FileTooLarge`](std::io::ErrorKind::FileTooLarge)) or is no regular file
    /// ([`InvalidInput`](std::io::ErrorKind::InvalidInput)), so a pipe never makes the call hang.
    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>>;

    /// Returns true if a regular file holds exactly these bytes. Follows symlinks. Reads the file
    /// in pieces where the disk can.
    fn content_eq(&self, file: &Path, bytes: &[u8]) -> Result<bool> {
        match self.read(file, bytes.len() as u64) {
            Ok(there) => Ok(there == bytes),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Returns true if two regular files hold the same bytes. Does *not* follow symlinks. Reads the
    /// files in pieces.
    fn same_content(&self, a: &Path, b: &Path) -> Result<bool>;

    /// Compares a copy with its original: `None` if the bytes differ, else the names of the user's
    /// own attributes (`user.…`) that the copy lacks or has with another value. Includes the access
    /// list if that list gave access to anybody.
    fn missing_xattrs(&self, original: &Path, copy: &Path) -> Result<Option<Vec<String>>> {
        Ok(self.same_content(original, copy)?.then(Vec::new))
    }

    /// Returns the target of a symlink.
    fn read_link(&self, link: &Path) -> Result<PathBuf>;

    /// Returns the path without symlinks, `.` and `..`.
    fn canonicalize(&self, path: &Path) -> Result<PathBuf>;

    /// Returns for each file, in order, if a program is seen that has the file open for writing, so
    /// that the present content may be incomplete. Reads all processes once, so callers pass many
    /// files at a time. Processes of other users (except for root) and of other pid namespaces are
    /// not seen.
    ///
    /// A file does not change any more if it was first renamed to a name that no other program
    /// opens, and is then open for writing in no program.
    fn open_for_writing(&self, files: &[&Path]) -> Vec<bool> {
        vec![false; files.len()]
    }

    // ---- the user who runs this process

    /// Returns the user who runs this process; `None` where files have no owners on the platform.
    fn runner(&self) -> Option<Runner> {
        None
    }

    /// Returns true if the file system lets this process add names to a directory. Returns false if
    /// the file system cannot be asked.
    fn may_write(&self, dir: &Path) -> bool {
        false
    }

    /// False if the file system is known not to confirm a sync: FUSE passes a sync on to a server
    /// that may do nothing, and answers with success. A sync there does what is possible
    /// (`sync(2)`), without an answer. Returns true if the file system cannot be asked.
    fn confirms_sync(&self, path: &Path) -> bool {
        true
    }

    /// Returns true if the mount decides the mode of every file, so that `chmod` changes nothing:
    /// FAT, or FUSE and network mounts without a mapping of modes.
    fn has_modes_of_mount(&self, path: &Path) -> bool {
        false
    }

    /// Returns true if a file system is mounted at this directory or over this file. A mount point
    /// can be emptied, but neither renamed nor removed. Where the platform does not report mounts,
    /// only another file system counts as mounted, not another part of the same file system.
    /// Returns false if the path cannot be read.
    fn is_mount_point(&self, dir: &Path) -> bool {
        is_on_another_device(self, dir)
    }

    /// Fails if names in this directory can be made but never removed (append-only) and the
    /// platform reports that. A temporary file in such a directory stays for good, and every run
    /// would add one. Succeeds if the directory cannot be read.
    fn ensure_entries_removable(&self, dir: &Path) -> Result<()> {
        Ok(())
    }

    /// Returns true if the file or directory can be neither renamed nor removed, whoever runs: it
    /// is immutable or append-only (`chattr`). False where the platform does not report that, and
    /// if the path cannot be read.
    fn is_protected(&self, path: &Path) -> bool {
        false
    }

    // ---- one at a time

    /// Locks a directory, which must exist. Waits for the lock no longer than `wait`.
    fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError>;

    /// Makes a home directory and the missing directories between `root` and it, each with the mode
    /// 0700. Gives each directory to `owner` if this process may give directories away, and syncs
    /// its name. Sets mode and owner of an existing home directory too, because a killed run may
    /// have made it. Creates and replaces no file.
    ///
    /// This is the only change without a lock, because no directory exists yet that could be
    /// locked. If two processes make the same directory at once, both end with the same directory.
    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()>;

    // ---- other programs

    /// Waits while other programs go on. A simulated disk need not wait.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    // ---- several at a time

    /// Returns the number of threads with which work on many files ends soonest. Any number of
    /// threads may call at any time. A disk whose calls should come in the same order each time
    /// returns 1.
    fn threads(&self) -> usize {
        1
    }
}

/// Returns true if a directory is on another device than its parent.
pub(crate) fn is_on_another_device(disk: &(impl Disk + ?Sized), dir: &Path) -> bool {
    let device = |path: &Path| disk.stat_follow(path).ok()?.id.map(|id| id.dev);
    match (device(dir), dir.parent().and_then(device)) {
        (Some(here), Some(above)) => here != above,
        _ => false,
    }
}
