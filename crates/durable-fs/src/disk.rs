//! The seam: what the rest of the workspace may ask of a disk.

use std::{
    ffi::OsString,
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{LockError, LockedDir, Result, trust::Runner};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A folder.
    Dir,
    /// A symbolic link (on Windows also a junction).
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// Which file it is, whatever its names: device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// The device.
    pub dev: u64,
    /// The number of the file on it.
    pub ino: u64,
}

/// Who owns a file. Unix alone.
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
    /// And nanoseconds.
    pub nanoseconds: u32,
}

/// What is known of a file without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// What it is.
    pub kind: FileKind,
    /// Its length in bytes.
    pub len: u64,
    /// The permission bits (`0o7777`); on Windows 0o700 for folders and 0o600 for files.
    pub mode: u32,
    /// Which file it is; `None` where the platform does not say (Windows).
    pub id: Option<FileId>,
    /// How many names it has; 1 where the platform does not say.
    pub links: u64,
    /// Who owns it; `None` on Windows.
    pub owner: Option<Owner>,
    /// When its content changed last.
    pub modified: Timestamp,
    /// When its content, mode, owner or names changed last; equals `modified` on Windows.
    pub changed: Timestamp,
}

impl Metadata {
    /// A regular file.
    pub fn is_file(&self) -> bool {
        self.kind == FileKind::File
    }

    /// A folder.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Dir
    }

    /// A symbolic link.
    pub fn is_symlink(&self) -> bool {
        self.kind == FileKind::Symlink
    }

    /// Both are known to be the same file, by device and inode.
    pub fn is_same_file(&self, other: &Metadata) -> bool {
        self.id.is_some() && self.id == other.id
    }
}

/// A name in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name alone.
    pub name: OsString,
    /// What it stands for (links are not followed).
    pub kind: FileKind,
}

/// How a file got its new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RenameMethod {
    /// One rename that cannot replace.
    Rename,
    /// A second link, then the first removed: where the file system refuses the rename that cannot replace.
    LinkUnlink,
}

/// What a copy has of its original.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CopyComparison {
    /// Other bytes.
    Differs,
    /// The same bytes.
    Identical {
        /// The names of those of the user's own attributes (`user.…`) that the copy lacks, or has with another value; of the
        /// access list too, where that let somebody in.
        missing_xattrs: Vec<String>,
    },
}

/// What a file got of another's rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permissions {
    /// All of them.
    Kept,
    /// Fewer: its group or its access list could not be had, and so nobody is let in by them.
    Narrowed,
}

/// How much [`LockedDir::sync_fs`] has flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncFs {
    /// Everything that was written to that file system before the call.
    Everything,
    /// Nothing: the platform has no such call. Each file and folder must be flushed by itself.
    Nothing,
}

/// Whether a program has a file open for writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpenForWriting {
    /// A program has it open: what it wrote so far need not be all that it is going to write.
    Yes,
    /// No program is seen to have it open.
    No,
    /// The platform does not tell, or the file is not there.
    Unknown,
}

/// Reads a disk. What changes one is a method of [`LockedDir`], the value that [`lock`](Self::lock) returns:
///
/// ```compile_fail,E0599
/// use myownllm_durable_fs::RealDisk;
///
/// RealDisk.unlink("/home/you/.app/config.json".as_ref()).unwrap(); // wanted: RealDisk.lock(home, wait)?.unlink(…)
/// ```
///
/// Paths are absolute. Errors carry operation and path.
///
/// [`crate::RealDisk`] is the disk; `SimDisk` (feature `sim`) one that fails and crashes on demand.
pub trait Disk: Send + Sync {
    /// What has this very name: a link is described, not followed.
    fn stat(&self, path: &Path) -> Result<Metadata>;

    /// What this name leads to, through links.
    fn stat_follow(&self, path: &Path) -> Result<Metadata>;

    /// Calls `each` for every name in the folder, in no order, until it breaks. A link to a folder is an error.
    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()>;

    /// All names in the folder, sorted.
    fn list(&self, dir: &Path) -> Result<Vec<DirEntry>> {
        let mut all = Vec::new();
        self.for_each_entry(dir, &mut |entry| {
            all.push(entry);
            ControlFlow::Continue(())
        })?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The content of a regular file, links followed. A file that is larger than `limit` is an error
    /// ([`FileTooLarge`](std::io::ErrorKind::FileTooLarge)); so is anything that is no regular file
    /// ([`InvalidInput`](std::io::ErrorKind::InvalidInput)): a pipe never makes this hang.
    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>>;

    /// Whether a regular file, links followed, holds exactly these bytes. Reads it in pieces, where the disk can.
    fn content_eq(&self, file: &Path, bytes: &[u8]) -> Result<bool> {
        match self.read(file, bytes.len() as u64) {
            Ok(there) => Ok(there == bytes),
            Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether two regular files (links are *not* followed) hold the same bytes; reads them in pieces.
    fn same_content(&self, a: &Path, b: &Path) -> Result<bool>;

    /// Whether a copy has all that its original has: like [`same_content`](Self::same_content), and for the same bytes also which
    /// attributes the copy lacks. Where the platform has none, it lacks none.
    fn compare_copy(&self, original: &Path, copy: &Path) -> Result<CopyComparison> {
        Ok(match self.same_content(original, copy)? {
            true => CopyComparison::Identical { missing_xattrs: Vec::new() },
            false => CopyComparison::Differs,
        })
    }

    /// What a link says.
    fn read_link(&self, link: &Path) -> Result<PathBuf>;

    /// The path without links, `.` and `..`.
    fn canonicalize(&self, path: &Path) -> Result<PathBuf>;

    /// Returns for each file, in order, whether a program has it open for writing. Looks once at all processes, so ask for many
    /// files at a time. Processes of other users (except for root) and of other pid namespaces are not seen.
    ///
    /// A file that was renamed first, to a name that nobody else opens, and is then seen to be open in no program, does not
    /// change any more.
    fn open_for_writing(&self, files: &[&Path]) -> Vec<OpenForWriting> {
        vec![OpenForWriting::Unknown; files.len()]
    }

    // ---- who asks

    /// The user who runs this process; `None` where the platform has no owners of files.
    fn runner(&self) -> Option<Runner> {
        None
    }

    /// Whether the file system lets this process add names to a directory. What cannot be asked counts as no.
    fn may_write(&self, dir: &Path) -> bool {
        let _ = dir;
        false
    }

    /// Whether something is mounted at this folder or over this file: it can be emptied, and neither renamed nor removed. Where the platform does not
    /// tell, only another file system counts, and not another part of the same one. What cannot be looked at is none.
    fn is_mount_point(&self, folder: &Path) -> bool {
        is_on_another_device(self, folder)
    }

    /// An error where names in this folder can be made and never be taken away again (append-only), if the platform tells: a temporary
    /// file that is made there stays for good, and every run would add one. What cannot be looked at lets go.
    fn ensure_entries_removable(&self, folder: &Path) -> Result<()> {
        let _ = folder;
        Ok(())
    }

    // ---- one at a time

    /// Locks a directory, which must exist. Waits for the lock no longer than `wait`.
    fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError>;

    /// Makes a home directory with the mode 0700, and those between it and `root` that are missing; gives each to `owner`,
    /// where this process may give a directory away, and syncs its name. One that exists gets mode and owner too: a killed
    /// run may have made it. Creates and replaces no file.
    ///
    /// The one change that is made without a lock: there is no directory to lock before it. Two processes that make the
    /// same directory at once end with the same directory.
    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()>;

    // ---- others at work

    /// Lets some time pass, in which other programs go on. A simulated disk need not wait.
    fn pause(&self, time: Duration) {
        std::thread::sleep(time);
    }

    // ---- several at a time

    /// By how many threads work on many files is done soonest. Any number of threads may call at any time; one is the answer of a disk
    /// whose calls had better come in the same order each time.
    fn threads(&self) -> usize {
        1
    }
}

/// Whether a folder is on another device than the one that it is in.
pub(crate) fn is_on_another_device(disk: &(impl Disk + ?Sized), folder: &Path) -> bool {
    let device = |path: &Path| disk.stat_follow(path).ok()?.id.map(|id| id.dev);
    match (device(folder), folder.parent().and_then(device)) {
        (Some(here), Some(above)) => here != above,
        _ => false,
    }
}
