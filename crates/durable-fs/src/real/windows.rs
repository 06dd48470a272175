//! The disk on Windows (and on every other system that is no Unix).
//!
//! Differences from Unix: a rename is `MoveFileExW`, which replaces a file only with a flag and is
//! written through; directories cannot be synced, and with written-through renames need no sync;
//! names cannot be exchanged; modes and owners are left to the directory's ACL.

#![allow(clippy::disallowed_methods)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    ops::ControlFlow,
    path::{Path, PathBuf},
    time::{Duration, Instant, SystemTime},
};

use super::{RealDisk, copy_bytes, same_bytes, threads};
use crate::{
    DirEntry, Disk, DiskError, FileKind, LockError, LockedDir, LockedDisk, Metadata, Op, Owner, Permissions,
    Result, SyncFs, Timestamp, publish::make_private_dir,
};

const POLL: Duration = Duration::from_millis(10);

/// The pauses between tries, in milliseconds: a scanner or indexer that has a file open makes a
/// rename or removal fail for a moment.
const PAUSES: [u64; 4] = [50, 100, 250, 500];

fn retry_on_sharing_violation<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for pause in PAUSES {
        match action() {
            // ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
            Err(error) if matches!(error.raw_os_error(), Some(5 | 32 | 33)) => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            other => return other,
        }
    }
    action()
}

fn kind_of(file_type: std::fs::FileType) -> FileKind {
    if file_type.is_symlink() {
        FileKind::Symlink
    } else if file_type.is_dir() {
        FileKind::Dir
    } else if file_type.is_file() {
        FileKind::File
    } else {
        FileKind::Other
    }
}

fn meta_of(meta: &std::fs::Metadata) -> Metadata {
    let modified = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map(|since| Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(0),
            nanoseconds: since.subsec_nanos(),
        })
        .unwrap_or_default();
    Metadata {
        kind: kind_of(meta.file_type()),
        len: meta.len(),
        mode: if meta.is_dir() { 0o700 } else { 0o600 },
        id: None,
        links: 1,
        owner: None,
        modified,
        changed: modified,
    }
}

fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok(meta)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

#[cfg(windows)]
fn move_file(from: &Path, to: &Path, replace: bool) -> io::Result<()> {
    use winsafe::co::MOVEFILE;
    let text = |path: &Path| {
        path.to_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "the name is not valid Unicode"))
    };
    if replace {
        return retry_on_sharing_violation(|| std::fs::rename(from, to));
    }
    let (from, to) = (text(from)?, text(to)?);
    retry_on_sharing_violation(|| {
        winsafe::MoveFileEx(&from, Some(&to), MOVEFILE::WRITE_THROUGH).map_err(|error| match error.raw() {
            // ERROR_NOT_SAME_DEVICE, ERROR_FILE_EXISTS, ERROR_ALREADY_EXISTS
            17 => io::ErrorKind::CrossesDevices.into(),
            80 | 183 => io::ErrorKind::AlreadyExists.into(),
            code => io::Error::from_raw_os_error(code as i32),
        })
    })
}

#[cfg(not(windows))]
fn move_file(_from: &Path, _to: &Path, _replace: bool) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for RealDisk {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        std::fs::symlink_metadata(path)
            .map(|meta| meta_of(&meta))
            .map_err(|e| DiskError::new(Op::Stat, path, e))
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        std::fs::metadata(path).map(|meta| meta_of(&meta)).map_err(|e| DiskError::new(Op::Stat, path, e))
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let failed = |e: io::Error| DiskError::new(Op::ForEachEntry, dir, e);
        if std::fs::symlink_metadata(dir).map_err(failed)?.file_type().is_symlink() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        for entry in std::fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = kind_of(entry.file_type().map_err(failed)?);
            if each(DirEntry { name: entry.file_name(), kind }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let inner = || -> io::Result<Vec<u8>> {
            let file = File::open(path)?;
            if regular(&file)?.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = Vec::new();
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
        };
        inner().map_err(|e| DiskError::new(Op::Read, path, e))
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        let open_one = |path: &Path| -> Result<(File, u64)> {
            let failed = |e: io::Error| DiskError::new(Op::Read, path, e);
            let meta = self.stat(path)?;
            if !meta.is_file() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
            }
            Ok((File::open(path).map_err(failed)?, meta.len))
        };
        let ((file_a, len_a), (file_b, len_b)) = (open_one(a)?, open_one(b)?);
        Ok(len_a == len_b && same_bytes((a, file_a), (b, file_b), len_a)?)
    }

    #[cfg(windows)]
    fn open_for_writing(&self, files: &[&Path]) -> Vec<crate::OpenForWriting> {
        use crate::OpenForWriting::{No, Unknown, Yes};
        use std::os::windows::fs::OpenOptionsExt;
        // FILE_SHARE_READ | FILE_SHARE_DELETE: with this share mode the system refuses to open a
        // file that a program has open for writing.
        const READERS_ALONE: u32 = 1 | 4;
        const SHARING_VIOLATION: i32 = 32;
        let ask = |path: &&Path| match OpenOptions::new().read(true).share_mode(READERS_ALONE).open(path) {
            Ok(_) => No,
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => Yes,
            Err(_) => Unknown,
        };
        files.iter().map(ask).collect()
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        std::fs::read_link(link).map_err(|e| DiskError::new(Op::ReadLink, link, e))
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        std::fs::canonicalize(path).map_err(|e| DiskError::new(Op::Canonicalize, path, e))
    }

    fn threads(&self) -> usize {
        threads()
    }

    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
        let unlocked = LockedDir::new(root, root, RealDisk, Changes { _lock: None });
        make_private_dir(&unlocked, root, dir, owner)
    }

    fn lock(&self, home: &Path, wait: Duration) -> Result<LockedDir, LockError> {
        let failed = |source: io::Error| LockError::Failed { home: home.to_owned(), source };
        // Windows cannot lock a directory, so the lock is on a file. The file stays: a file that is
        // unlinked while another process waits for it protects nothing.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(home.join(".lock"))
            .map_err(failed)?;
        let real = std::fs::canonicalize(home).map_err(failed)?;
        let start = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(LockedDir::new(home, &real, RealDisk, Changes { _lock: Some(file) })),
                Err(std::fs::TryLockError::WouldBlock) => {
                    let waited = start.elapsed();
                    let Some(rest) = wait.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                        return Err(LockError::Held { home: home.to_owned(), waited });
                    };
                    std::thread::sleep(POLL.min(rest));
                }
                Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
            }
        }
    }
}

/// The changes of a locked directory, by path; `None` for the change that needs no lock.
struct Changes {
    _lock: Option<File>,
}

impl LockedDisk for Changes {
    fn make_dir(&self, dir: &Path, _mode: u32) -> Result<()> {
        std::fs::create_dir(dir).map_err(|e| DiskError::new(Op::MakeDir, dir, e))
    }

    fn set_mode(&self, _path: &Path, _mode: u32) -> Result<()> {
        Ok(())
    }

    fn set_owner(&self, _path: &Path, _owner: Owner) -> Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path, bytes: &[u8], _mode: u32) -> Result<()> {
        let failed = |e: io::Error| DiskError::new(Op::Create, path, e);
        let mut file = OpenOptions::new().write(true).create_new(true).open(path).map_err(failed)?;
        file.write_all(bytes).map_err(|source| {
            let _ = std::fs::remove_file(path);
            failed(source)
        })
    }

    fn copy_new(&self, from: &Path, to: &Path, _mode: Option<u32>) -> Result<()> {
        let failed = |e: io::Error| DiskError::two(Op::CopyNew, from, to, e);
        if !RealDisk.stat(from)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let mut source = File::open(from).map_err(failed)?;
        let meta = regular(&source).map_err(failed)?;
        let modified = meta.modified().map_err(failed)?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(to)
            .map_err(|e| DiskError::new(Op::Create, to, e))?;
        let copied = copy_bytes(&mut source, &mut file, meta.len());
        copied.and_then(|()| file.set_modified(modified)).map_err(|source| {
            let _ = std::fs::remove_file(to);
            failed(source)
        })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        move_file(from, to, false).map_err(|e| DiskError::two(Op::RenameNoReplace, from, to, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        // A directory never replaces anything on Windows, and the flag would make the call fail.
        let replace = !std::fs::symlink_metadata(from).is_ok_and(|meta| meta.is_dir());
        move_file(from, to, replace).map_err(|e| DiskError::two(Op::Rename, from, to, e))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        Err(DiskError::two(Op::Exchange, a, b, io::ErrorKind::Unsupported.into()))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::hard_link(from, to).map_err(|e| DiskError::two(Op::HardLink, from, to, e))
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        #[cfg(windows)]
        let made = std::os::windows::fs::symlink_file(target, at);
        #[cfg(not(windows))]
        let made = Err(io::ErrorKind::Unsupported.into());
        made.map_err(|e| DiskError::two(Op::Symlink, at, target, e))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        retry_on_sharing_violation(|| std::fs::remove_file(path))
            .map_err(|e| DiskError::new(Op::Unlink, path, e))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        retry_on_sharing_violation(|| std::fs::remove_dir(dir))
            .map_err(|e| DiskError::new(Op::RemoveDir, dir, e))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        // FlushFileBuffers requires a handle with write access.
        OpenOptions::new()
            .write(true)
            .open(path)
            .and_then(|file| file.sync_all())
            .map_err(|e| DiskError::new(Op::SyncFile, path, e))
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        // Renames are written through, and NTFS keeps its directories in its journal.
        Ok(())
    }

    fn sync_fs(&self, _path: &Path) -> Result<SyncFs> {
        Ok(SyncFs::Nothing)
    }

    fn copy_permissions(&self, from: &Path, _to: &Path) -> Result<Permissions> {
        RealDisk.stat(from).map(|_| Permissions::Kept)
    }
}
