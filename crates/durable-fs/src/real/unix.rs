//! Linux, macOS and their like.

// This module is the one place for the calls that the house rules keep out of every other.
#![allow(clippy::disallowed_methods)]

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    ops::ControlFlow,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{AtFlags, CWD, Dir, FlockOperation, Gid, Mode, OFlags, Timespec, Timestamps, Uid},
    io::{Errno, retry_on_intr},
};

use super::RealDisk;
use crate::{
    DirEntry, Disk, DiskError, FileId, FileKind, Flushed, HomeLock, LockError, Meta, Owner, Result, Stamp,
};

/// How long to sleep between two tries of the lock: short beside any wait that a person notices.
const POLL: Duration = Duration::from_millis(10);

/// Files are compared in pieces of this size.
const PIECE: usize = 64 * 1024;

/// No handle of ours reaches a child (a daemon that inherits the lock would hold it for good), and no open of ours waits for
/// the other end of a pipe or makes a terminal ours.
const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open(path: &Path, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::open(path, flags | COMMON, mode))?)
}

fn open_file(path: &Path, follow: bool) -> io::Result<File> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    Ok(open(path, OFlags::RDONLY | nofollow, Mode::empty())?.into())
}

fn kind_of(file_type: std::fs::FileType) -> FileKind {
    if file_type.is_file() {
        FileKind::File
    } else if file_type.is_dir() {
        FileKind::Dir
    } else if file_type.is_symlink() {
        FileKind::Symlink
    } else {
        FileKind::Other
    }
}

fn stamp(seconds: i64, nanoseconds: i64) -> Stamp {
    Stamp { seconds, nanoseconds: u32::try_from(nanoseconds).unwrap_or(0) }
}

fn meta_of(meta: &std::fs::Metadata) -> Meta {
    Meta {
        kind: kind_of(meta.file_type()),
        len: meta.len(),
        mode: meta.mode() & 0o7777,
        id: Some(FileId { dev: meta.dev(), ino: meta.ino() }),
        links: meta.nlink(),
        owner: Some(Owner { uid: meta.uid(), gid: meta.gid() }),
        modified: stamp(meta.mtime(), meta.mtime_nsec()),
        changed: stamp(meta.ctime(), meta.ctime_nsec()),
    }
}

/// The metadata of an open file, which must be a regular one.
fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let meta = file.metadata()?;
    match kind_of(meta.file_type()) {
        FileKind::File => Ok(meta),
        FileKind::Dir => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(any(target_os = "macos", target_os = "ios"))]
fn flush(fd: impl AsFd) -> rustix::io::Result<()> {
    // Apple's fsync leaves the data in the drive's own cache; this one does not. File systems that lack it (network ones)
    // answer ENOTSUP and the like, and there fsync is all there is.
    match retry_on_intr(|| rustix::fs::fcntl_fullfsync(&fd)) {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::NOTTY | Errno::NODEV) => {
            retry_on_intr(|| rustix::fs::fsync(&fd))
        }
        other => other,
    }
}

#[cfg(not(any(target_os = "macos", target_os = "ios")))]
fn flush(fd: impl AsFd) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::fsync(&fd))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn flush_fs(fd: impl AsFd) -> rustix::io::Result<Flushed> {
    match retry_on_intr(|| rustix::fs::syncfs(&fd)) {
        Ok(()) => Ok(Flushed::Everything),
        Err(Errno::NOSYS) => Ok(Flushed::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn flush_fs(_fd: impl AsFd) -> rustix::io::Result<Flushed> {
    Ok(Flushed::Nothing)
}

#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
fn rename_with(from: &Path, to: &Path, exchange: bool) -> rustix::io::Result<()> {
    use rustix::fs::RenameFlags;
    let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    retry_on_intr(|| rustix::fs::renameat_with(CWD, from, CWD, to, flags))
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
fn rename_with(_from: &Path, _to: &Path, _exchange: bool) -> rustix::io::Result<()> {
    Err(Errno::NOTSUP)
}

/// Lets go of the lock by itself: closing alone would not, as long as a child between `fork` and `exec` has the handle too.
struct Held(OwnedFd);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl RealDisk {
    /// Writes a new file by `write`; what was begun is removed when that fails.
    fn begin(
        path: &Path,
        doing: &'static str,
        mode: u32,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        // Not a bit wider than 0600 while it grows.
        let fd = open(path, flags, Mode::from_raw_mode(0o600 & mode as rustix::fs::RawMode | 0o200))
            .map_err(|source| DiskError::new(doing, path, source))?;
        let mut file = File::from(fd);
        write(&mut file).map_err(|source| {
            let _ = std::fs::remove_file(path);
            DiskError::new(doing, path, source)
        })
    }
}

impl Disk for RealDisk {
    fn stat(&self, path: &Path) -> Result<Meta> {
        let meta = std::fs::symlink_metadata(path).map_err(|e| DiskError::new("look at", path, e))?;
        Ok(meta_of(&meta))
    }

    fn stat_follow(&self, path: &Path) -> Result<Meta> {
        let meta = std::fs::metadata(path).map_err(|e| DiskError::new("look at", path, e))?;
        Ok(meta_of(&meta))
    }

    fn visit(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let failed = |e: io::Error| DiskError::new("list", dir, e);
        let fd = open(dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
            .map_err(failed)?;
        let entries = Dir::new(fd).map_err(|e| failed(e.into()))?;
        for entry in entries {
            let entry = entry.map_err(|e| failed(e.into()))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                rustix::fs::FileType::RegularFile => FileKind::File,
                rustix::fs::FileType::Directory => FileKind::Dir,
                rustix::fs::FileType::Symlink => FileKind::Symlink,
                // Some file systems do not keep the kind in the folder.
                rustix::fs::FileType::Unknown => match self.stat(&dir.join(name)) {
                    Ok(meta) => meta.kind,
                    Err(error) if error.is_not_found() => continue,
                    Err(error) => return Err(error),
                },
                _ => FileKind::Other,
            };
            if each(DirEntry { name: name.to_owned(), kind }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        let inner = || -> io::Result<Vec<u8>> {
            let file = open_file(path, true)?;
            let meta = regular(&file)?;
            if meta.len() > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0).saturating_add(1));
            // It may grow while it is read.
            file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
            if bytes.len() as u64 > limit {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            Ok(bytes)
        };
        inner().map_err(|e| DiskError::new("read", path, e))
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        let open_both = |path: &Path| -> Result<(File, u64)> {
            let file = open_file(path, false).map_err(|e| DiskError::new("read", path, e))?;
            let meta = regular(&file).map_err(|e| DiskError::new("read", path, e))?;
            Ok((file, meta.len()))
        };
        let ((mut file_a, len_a), (mut file_b, len_b)) = (open_both(a)?, open_both(b)?);
        if len_a != len_b {
            return Ok(false);
        }
        let piece = usize::try_from(len_a).unwrap_or(PIECE).saturating_add(1).min(PIECE);
        let (mut buffer_a, mut buffer_b) = (vec![0; piece], vec![0; piece]);
        loop {
            let got_a = fill(&mut file_a, &mut buffer_a).map_err(|e| DiskError::new("read", a, e))?;
            let got_b = fill(&mut file_b, &mut buffer_b).map_err(|e| DiskError::new("read", b, e))?;
            if buffer_a[..got_a] != buffer_b[..got_b] {
                return Ok(false);
            }
            if got_a < piece {
                return Ok(true);
            }
        }
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        std::fs::read_link(link).map_err(|e| DiskError::new("read the link", link, e))
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        std::fs::canonicalize(path).map_err(|e| DiskError::new("resolve", path, e))
    }

    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        let failed = |e: io::Error| DiskError::new("make the folder", dir, e);
        rustix::fs::mkdirat(CWD, dir, Mode::from_raw_mode(mode as rustix::fs::RawMode))
            .map_err(|e| failed(e.into()))?;
        // A umask may have taken bits away that we need ourselves.
        let made = std::fs::symlink_metadata(dir).map_err(failed)?;
        if made.mode() & 0o777 != mode & 0o777 { self.set_mode(dir, mode) } else { Ok(()) }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        let bits = Mode::from_raw_mode(mode as rustix::fs::RawMode);
        let inner = || -> io::Result<()> {
            match open(path, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => Ok(rustix::fs::fchmod(fd, bits)?),
                // What its owner may not read can still be chmodded, though not through a handle.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    match kind_of(std::fs::symlink_metadata(path)?.file_type()) {
                        FileKind::File | FileKind::Dir => {
                            Ok(rustix::fs::chmodat(CWD, path, bits, AtFlags::empty())?)
                        }
                        _ => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        };
        inner().map_err(|e| DiskError::new("set the mode of", path, e))
    }

    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|e| DiskError::new("set the owner of", path, e.into()))
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        Self::begin(path, "write", mode, |file| {
            file.write_all(bytes)?;
            // Exactly this mode, whatever the umask.
            Ok(rustix::fs::fchmod(&*file, Mode::from_raw_mode(mode as rustix::fs::RawMode))?)
        })
    }

    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        let failed = |e: io::Error| DiskError::two("copy", from, to, e);
        let mut source = open_file(from, false).map_err(failed)?;
        let meta = regular(&source).map_err(failed)?;
        Self::begin(to, "write", 0o600, |file| {
            io::copy(&mut source, file)?;
            if rustix::process::geteuid().is_root() {
                rustix::fs::fchown(&*file, Some(Uid::from_raw(meta.uid())), Some(Gid::from_raw(meta.gid())))?;
            }
            let mode = mode.unwrap_or(meta.mode() & 0o777);
            rustix::fs::fchmod(&*file, Mode::from_raw_mode(mode as rustix::fs::RawMode))?;
            let time = |seconds, nanoseconds: i64| Timespec { tv_sec: seconds, tv_nsec: nanoseconds as _ };
            rustix::fs::futimens(
                &*file,
                &Timestamps {
                    last_access: time(meta.atime(), meta.atime_nsec()),
                    last_modification: time(meta.mtime(), meta.mtime_nsec()),
                },
            )?;
            Ok(())
        })
    }

    fn rename_exclusive(&self, from: &Path, to: &Path) -> Result<()> {
        rename_with(from, to, false).map_err(|e| DiskError::two("rename", from, to, e.into()))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        retry_on_intr(|| rustix::fs::renameat(CWD, from, CWD, to))
            .map_err(|e| DiskError::two("rename", from, to, e.into()))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        rename_with(a, b, true).map_err(|e| DiskError::two("exchange", a, b, e.into()))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        rustix::fs::linkat(CWD, from, CWD, to, AtFlags::empty())
            .map_err(|e| DiskError::two("link", from, to, e.into()))
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        rustix::fs::symlinkat(target, CWD, at)
            .map_err(|e| DiskError::two("make the link", at, target, e.into()))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        rustix::fs::unlinkat(CWD, path, AtFlags::empty())
            .map_err(|e| DiskError::new("remove", path, e.into()))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        rustix::fs::unlinkat(CWD, dir, AtFlags::REMOVEDIR)
            .map_err(|e| DiskError::new("remove the folder", dir, e.into()))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        let inner = || -> io::Result<()> {
            let file = open_file(path, false)?;
            regular(&file)?;
            Ok(flush(&file)?)
        };
        inner().map_err(|e| DiskError::new("flush", path, e))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let inner = || -> io::Result<()> {
            let fd = open(dir, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            match flush(&fd) {
                // A file system that cannot flush one folder may be able to flush itself.
                Err(Errno::INVAL) => match flush_fs(&fd)? {
                    Flushed::Everything => Ok(()),
                    Flushed::Nothing => Err(Errno::INVAL.into()),
                },
                other => Ok(other?),
            }
        };
        inner().map_err(|e| DiskError::new("flush the folder", dir, e))
    }

    fn sync_fs(&self, path: &Path) -> Result<Flushed> {
        let inner = || -> io::Result<Flushed> { Ok(flush_fs(open_file(path, true)?)?) };
        inner().map_err(|e| DiskError::new("flush the file system of", path, e))
    }

    fn lock(&self, home: &Path, wait: Duration) -> Result<HomeLock, LockError> {
        let failed = |source: io::Error| LockError::Failed { home: home.to_owned(), source };
        let start = Instant::now();
        loop {
            let fd = open(home, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?;
            loop {
                match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
                    Ok(()) => break,
                    Err(Errno::INTR) => {}
                    Err(Errno::WOULDBLOCK) => {
                        let waited = start.elapsed();
                        let Some(rest) = wait.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
                            return Err(LockError::Held { home: home.to_owned(), waited });
                        };
                        std::thread::sleep(POLL.min(rest));
                    }
                    Err(error) => return Err(failed(error.into())),
                }
            }
            let held = Held(fd);
            // The folder may have been replaced by another while we waited; a lock on the old one guards nothing.
            let locked = rustix::fs::fstat(&held.0).map_err(|e| failed(e.into()))?;
            let now = std::fs::metadata(home).map_err(failed)?;
            if (locked.st_dev as u64, locked.st_ino as u64) == (now.dev(), now.ino()) {
                return Ok(HomeLock::new(home, held));
            }
        }
    }
}
