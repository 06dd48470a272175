//! The disk on Linux, macOS and other Unix systems.

// The clippy configuration forbids these calls everywhere else: only this module makes them.
#![allow(clippy::disallowed_methods)]

use std::{
    any::Any,
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    ops::ControlFlow,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use rustix::{
    fs::{
        AtFlags, CWD, Dir, FileType, FlockOperation, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid,
        fstat, statat,
    },
    io::{Errno, retry_on_intr},
};

use super::{
    RealDisk, attributes, copy_bytes,
    handles::{Handles, ResolvedName, id_of, kind_of},
    lock_within, read_whole, same_bytes,
    statx::{self, Attributes},
    sync::{FUSE, MAY_LACK_MODES, flush, flush_dir, flush_fs, is_of},
    threads,
    user_namespace::unmapped_owner,
};
use crate::{
    DirEntry, Disk, DiskError, FileKind, LockError, LockedDir, LockedDisk, Metadata, Op, Owner, Permissions,
    Result, Runner, SyncFs, Timestamp, disk::is_on_another_device, publish::make_private_dir,
};

/// The flags of every open. No child inherits a handle: a daemon that inherits the lock would hold
/// it for good. No open waits for the other end of a pipe or acquires a controlling terminal.
const COMMON: OFlags = OFlags::CLOEXEC.union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn open(at: &ResolvedName, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
    Ok(retry_on_intr(|| rustix::fs::openat(at.dir(), at.name(), flags | COMMON, mode))?)
}

fn statx_of(handles: Option<&Handles>, path: &Path) -> Attributes {
    ResolvedName::resolve(handles, path).map(|at| statx::attributes(at.dir(), at.name())).unwrap_or_default()
}

/// Opens the file with this name for reading; fails for a symlink.
fn open_name(handles: Option<&Handles>, path: &Path) -> io::Result<OwnedFd> {
    open(&ResolvedName::resolve(handles, path)?, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty())
}

/// Opens the file that this name leads to.
fn open_followed(handles: Option<&Handles>, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let at = ResolvedName::followed(handles, path)?;
    let nofollow = if at.follow() { OFlags::empty() } else { OFlags::NOFOLLOW };
    open(&at, OFlags::RDONLY | flags | nofollow, Mode::empty())
}

fn file_kind(file_type: FileType) -> FileKind {
    match file_type {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn stamp(seconds: impl TryInto<i64>, nanoseconds: impl TryInto<u32>) -> Timestamp {
    let (seconds, nanoseconds) = (seconds.try_into().unwrap_or(0), nanoseconds.try_into().unwrap_or(0));
    Timestamp { seconds, nanoseconds }
}

#[allow(clippy::unnecessary_cast, reason = "how wide these numbers are is a matter of the system")]
fn meta_of(stat: &Stat) -> Metadata {
    Metadata {
        kind: file_kind(kind_of(stat)),
        len: u64::try_from(stat.st_size).unwrap_or(0),
        mode: stat.st_mode as u32 & 0o7777,
        id: Some(id_of(stat)),
        links: stat.st_nlink as u64,
        owner: Some(Owner { uid: stat.st_uid, gid: stat.st_gid }),
        modified: stamp(stat.st_mtime, stat.st_mtime_nsec),
        changed: stamp(stat.st_ctime, stat.st_ctime_nsec),
    }
}

/// Returns the metadata of an open file; fails unless the file is regular.
fn regular(file: impl AsFd) -> io::Result<Stat> {
    let stat = fstat(file)?;
    match kind_of(&stat) {
        FileType::RegularFile => Ok(stat),
        FileType::Directory => Err(io::Error::from(io::ErrorKind::IsADirectory)),
        _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// Returns an open file with its length; fails unless the file is regular.
fn with_len(file: OwnedFd) -> io::Result<(File, u64)> {
    let len = meta_of(&regular(&file)?).len;
    Ok((file.into(), len))
}

fn rename_with(from: &ResolvedName, to: &ResolvedName, exchange: bool) -> rustix::io::Result<()> {
    use rustix::fs::RenameFlags;
    let flags = if exchange { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    retry_on_intr(|| rustix::fs::renameat_with(from.dir(), from.name(), to.dir(), to.name(), flags))
}

/// Opens two regular files and returns them if they hold the same bytes.
fn open_if_same(handles: Option<&Handles>, a: &Path, b: &Path) -> Result<Option<(File, File)>> {
    let open_one = |path: &Path| Op::Read.on(path, || with_len(open_name(handles, path)?));
    let ((file_a, len_a), (file_b, len_b)) = (open_one(a)?, open_one(b)?);
    let same = len_a == len_b && same_bytes((a, &file_a), (b, &file_b), len_a)?;
    Ok(same.then_some((file_a, file_b)))
}

fn resolve_pair<'l>(
    handles: Option<&'l Handles>,
    from: &Path,
    to: &Path,
) -> io::Result<(ResolvedName<'l>, ResolvedName<'l>)> {
    let (from, to) = (ResolvedName::change(handles, from)?, ResolvedName::change(handles, to)?);
    from.trust_dir()?;
    Ok((from, to))
}

/// Releases the lock explicitly: closing alone does not release it while a child between `fork` and
/// `exec` has the handle too.
struct LockedHandles(Handles);

impl Drop for LockedHandles {
    fn drop(&mut self) {
        let _ = rustix::fs::flock(self.0.top(), FlockOperation::Unlock);
    }
}

/// Writes a new file with `write`; removes the file if `write` fails.
fn create_exclusive(
    handles: Option<&Handles>,
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<()> {
    let failed = |source| DiskError::new(Op::Create, path, source);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
    let at = ResolvedName::change(handles, path).map_err(failed)?;
    // The file has at most mode 0600 while it grows.
    let fd = open(&at, flags, bits(0o600 & mode | 0o200)).map_err(failed)?;
    let mut file = File::from(fd);
    write(&mut file).map_err(|source| {
        let _ = rustix::fs::unlinkat(at.dir(), at.name(), AtFlags::empty());
        failed(source)
    })
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode as rustix::fs::RawMode)
}

impl<M: UnixDisk> Disk for M {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        Op::Stat.on(path, || {
            let at = ResolvedName::resolve_unfollowed(self.handles(), path)?;
            Ok(meta_of(&statat(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW)?))
        })
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        Op::Stat.on(path, || {
            let at = ResolvedName::followed(self.handles(), path)?;
            let flags = if at.follow() { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            Ok(meta_of(&statat(at.dir(), at.name(), flags)?))
        })
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let failed = |e: io::Error| DiskError::new(Op::ForEachEntry, dir, e);
        let at = ResolvedName::resolve(self.handles(), dir).map_err(failed)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let fd = open(&at, flags, Mode::empty()).map_err(failed)?;
        at.trust_open(&fd).map_err(failed)?;
        let mut entries = Dir::new(fd).map_err(|e| failed(e.into()))?;
        while let Some(entry) = entries.read() {
            let entry = entry.map_err(|e| failed(e.into()))?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not store the kind in the directory.
                FileType::Unknown => {
                    let fd = entries.fd().map_err(|e| failed(e.into()))?;
                    match statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                        Ok(stat) => kind_of(&stat),
                        Err(Errno::NOENT) => continue,
                        Err(error) => return Err(DiskError::new(Op::Stat, &dir.join(name), error.into())),
                    }
                }
                known => known,
            };
            if each(DirEntry { name: name.to_owned(), kind: file_kind(kind) }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        Op::Read.on(path, || {
            let (file, len) = with_len(open_followed(self.handles(), path, OFlags::empty())?)?;
            read_whole(file, len, limit)
        })
    }

    fn content_eq(&self, path: &Path, bytes: &[u8]) -> Result<bool> {
        let open = || with_len(open_followed(self.handles(), path, OFlags::empty())?);
        let (file, len) = Op::Read.on(path, open)?;
        Ok(len == bytes.len() as u64 && same_bytes((path, file), (path, bytes), len)?)
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        Ok(open_if_same(self.handles(), a, b)?.is_some())
    }

    fn missing_xattrs(&self, original: &Path, copy: &Path) -> Result<Option<Vec<String>>> {
        let Some((original_file, copy_file)) = open_if_same(self.handles(), original, copy)? else {
            return Ok(None);
        };
        Op::ListAttributes.on(original, || Ok(Some(attributes::missing(&original_file, &copy_file)?)))
    }

    #[cfg(target_os = "linux")]
    fn open_for_writing(&self, files: &[&Path]) -> Vec<bool> {
        let id = |path: &Path| self.stat(path).ok()?.id;
        super::writers::open_for_writing(&files.iter().map(|&path| (path, id(path))).collect::<Vec<_>>())
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        Op::ReadLink.on(link, || {
            let at = ResolvedName::resolve_unfollowed(self.handles(), link)?;
            let target = rustix::fs::readlinkat(at.dir(), at.name(), Vec::new())?;
            Ok(OsStr::from_bytes(target.to_bytes()).into())
        })
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        Op::Canonicalize.on(path, || {
            let at = ResolvedName::followed(self.handles(), path)?;
            match at.real() {
                // The file must exist, as on every other way through this call.
                Some(real) => {
                    statat(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW).map(|_| real).map_err(Into::into)
                }
                None => std::fs::canonicalize(at.path()),
            }
        })
    }

    fn is_mount_point(&self, dir: &Path) -> bool {
        let is_mount_root = statx_of(self.handles(), dir).is_mount_root;
        is_mount_root.unwrap_or_else(|| is_on_another_device(self, dir))
    }

    fn ensure_entries_removable(&self, dir: &Path) -> Result<()> {
        match statx_of(self.handles(), dir).is_append_only {
            true => Err(DiskError::new(Op::MakeTemp, dir, Errno::PERM.into())),
            false => Ok(()),
        }
    }

    fn is_protected(&self, path: &Path) -> bool {
        statx_of(self.handles(), path).is_protected()
    }

    fn runner(&self) -> Option<Runner> {
        Some(Runner { uid: rustix::process::geteuid().as_raw(), unmapped: unmapped_owner() })
    }

    fn may_write(&self, dir: &Path) -> bool {
        use rustix::fs::{Access, accessat};
        accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok()
    }

    fn confirms_sync(&self, path: &Path) -> bool {
        !is_of(path, &[FUSE])
    }

    fn has_modes_of_mount(&self, path: &Path) -> bool {
        if !is_of(path, &MAY_LACK_MODES) {
            return false;
        }
        // Where the mount decides, its top directory can be written to by everybody too.
        let device = |path: &Path| self.stat_follow(path).ok()?.id.map(|id| id.dev);
        let here = device(path);
        let top = path.ancestors().take_while(|above| device(above) == here).last();
        top.and_then(|top| self.stat_follow(top).ok()).is_some_and(|meta| meta.mode & 0o1002 == 0o002)
    }

    fn threads(&self) -> usize {
        threads()
    }

    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
        let unlocked = LockedDir::new(root, root, RealDisk, UnixLockedDisk(None));
        make_private_dir(&unlocked, root, dir, owner)
    }

    fn lock(&self, home: &Path, wait: Duration) -> Result<LockedDir, LockError> {
        let failed = |source: io::Error| LockError::Failed { home: home.to_owned(), source };
        let start = Instant::now();
        loop {
            // Opens the directory by its path: a directory that is locked already under that name
            // may have been moved away since.
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | COMMON;
            let fd = retry_on_intr(|| rustix::fs::open(home, flags, Mode::empty()))
                .map_err(|e| failed(e.into()))?;
            let flock = || rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive);
            lock_within(home, wait, start, || match retry_on_intr(flock) {
                Ok(()) => Ok(true),
                Err(Errno::WOULDBLOCK) => Ok(false),
                Err(error) => Err(error.into()),
            })?;
            // Another program may have replaced the directory during the wait; a lock on the old
            // directory protects nothing.
            if let Some(handles) = Handles::of(home, fd).map_err(failed)? {
                let real = handles.real().to_owned();
                let held = UnixLockedDisk(Some(Arc::new(LockedHandles(handles))));
                return Ok(LockedDir::new(home, &real, held.clone(), held));
            }
        }
    }
}

/// Access to the disk of this machine: by path, or through the handles of a lock.
pub(super) trait UnixDisk: Send + Sync {
    fn handles(&self) -> Option<&Handles>;
}

impl UnixDisk for RealDisk {
    fn handles(&self) -> Option<&Handles> {
        None
    }
}

/// This machine through the handles of a lock, or, to make the directory that is then locked, by
/// path.
#[derive(Clone)]
struct UnixLockedDisk(Option<Arc<LockedHandles>>);

impl UnixDisk for UnixLockedDisk {
    fn handles(&self) -> Option<&Handles> {
        self.0.as_ref().map(|held| &held.0)
    }
}

impl LockedDisk for UnixLockedDisk {
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        let made = Op::MakeDir.on(dir, || {
            let at = ResolvedName::change(self.handles(), dir)?;
            rustix::fs::mkdirat(at.dir(), at.name(), bits(mode))?;
            Ok(meta_of(&statat(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW)?))
        })?;
        // A umask may have removed bits that this process needs.
        if made.mode & 0o777 != mode & 0o777 { self.set_mode(dir, mode) } else { Ok(()) }
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        Op::SetMode.on(path, || {
            let at = ResolvedName::change(self.handles(), path)?;
            match open(&at, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(fd) => Ok(rustix::fs::fchmod(fd, bits(mode))?),
                // The owner can chmod a file that they cannot read, though not through a handle.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    match kind_of(&statat(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW)?) {
                        FileType::RegularFile | FileType::Directory => {
                            Ok(rustix::fs::chmodat(at.dir(), at.name(), bits(mode), AtFlags::empty())?)
                        }
                        _ => Err(error),
                    }
                }
                Err(error) => Err(error),
            }
        })
    }

    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        Op::SetOwner.on(path, || {
            let at = ResolvedName::change(self.handles(), path)?;
            Ok(rustix::fs::chownat(at.dir(), at.name(), Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?)
        })
    }

    fn create(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        create_exclusive(self.handles(), path, mode, |file| {
            file.write_all(bytes)?;
            // Sets exactly this mode, whatever the umask.
            Ok(rustix::fs::fchmod(&*file, bits(mode))?)
        })
    }

    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        let failed = |e: io::Error| DiskError::with_two_paths(Op::CopyNew, from, to, e);
        let mut source = File::from(open_name(self.handles(), from).map_err(failed)?);
        let stat = regular(&source).map_err(failed)?;
        create_exclusive(self.handles(), to, 0o600, |file| {
            copy_bytes(&mut source, file, meta_of(&stat).len)?;
            attributes::copy(&source, file);
            if rustix::process::geteuid().is_root() {
                let made = fstat(&*file)?;
                if (made.st_uid, made.st_gid) != (stat.st_uid, stat.st_gid) {
                    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
                    rustix::fs::fchown(&*file, Some(uid), Some(gid))?;
                }
            }
            let same = || attributes::copy_access(&source, file, meta_of(&stat).mode & 0o777);
            rustix::fs::fchmod(&*file, bits(mode.unwrap_or_else(same)))?;
            let times = Timestamps {
                last_access: Timespec { tv_sec: stat.st_atime as _, tv_nsec: stat.st_atime_nsec as _ },
                last_modification: Timespec { tv_sec: stat.st_mtime as _, tv_nsec: stat.st_mtime_nsec as _ },
            };
            Ok(rustix::fs::futimens(&*file, &times)?)
        })
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions> {
        Op::CopyPermissions.on_two((from, to), || {
            let from = File::from(open_name(self.handles(), from)?);
            let to = File::from(open(
                &ResolvedName::change(self.handles(), to)?,
                OFlags::RDONLY | OFlags::NOFOLLOW,
                Mode::empty(),
            )?);
            let mode = meta_of(&regular(&from)?).mode & 0o777;
            attributes::copy(&from, &to);
            let given = attributes::copy_access(&from, &to, mode);
            rustix::fs::fchmod(&to, bits(given))?;
            Ok(if given == mode { Permissions::Kept } else { Permissions::Narrowed })
        })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        Op::RenameNoReplace.on_two((from, to), || {
            let (from, to) = resolve_pair(self.handles(), from, to)?;
            Ok(rename_with(&from, &to, false)?)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        Op::Rename.on_two((from, to), || {
            let (from, to) = resolve_pair(self.handles(), from, to)?;
            Ok(retry_on_intr(|| rustix::fs::renameat(from.dir(), from.name(), to.dir(), to.name()))?)
        })
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        Op::Exchange.on_two((a, b), || {
            let (a, b) = resolve_pair(self.handles(), a, b)?;
            Ok(rename_with(&a, &b, true)?)
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        Op::HardLink.on_two((from, to), || {
            let (from, to) =
                (ResolvedName::change(self.handles(), from)?, ResolvedName::change(self.handles(), to)?);
            Ok(rustix::fs::linkat(from.dir(), from.name(), to.dir(), to.name(), AtFlags::empty())?)
        })
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        Op::Symlink.on_two((at, target), || {
            let at = ResolvedName::change(self.handles(), at)?;
            Ok(rustix::fs::symlinkat(target, at.dir(), at.name())?)
        })
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        Op::Unlink.on(path, || remove(self.handles(), path, AtFlags::empty()))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        Op::RemoveDir.on(dir, || remove(self.handles(), dir, AtFlags::REMOVEDIR))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        Op::SyncFile.on(path, || {
            let file = open_name(self.handles(), path)?;
            regular(&file)?;
            Ok(flush(&file)?)
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        Op::SyncDir.on(dir, || {
            let fd = open_followed(self.handles(), dir, OFlags::DIRECTORY)?;
            Ok(flush_dir(&fd)?)
        })
    }

    fn sync_fs(&self, path: &Path) -> Result<SyncFs> {
        Op::SyncFs.on(path, || Ok(flush_fs(open_followed(self.handles(), path, OFlags::empty())?)?))
    }

    fn admit(&self, dir: &Path) -> Result<()> {
        Op::Follow.on(dir, || self.handles().map_or(Ok(()), |handles| handles.admit(dir)))
    }

    fn keep_open(&self, dirs: &[&Path]) -> Option<Box<dyn Any>> {
        let handles = self.handles()?;
        Some(Box::new(dirs.iter().filter_map(|dir| handles.keep_open(dir)).collect::<Vec<_>>()))
    }
}

fn remove(handles: Option<&Handles>, path: &Path, flags: AtFlags) -> io::Result<()> {
    let at = ResolvedName::change(handles, path)?;
    Ok(rustix::fs::unlinkat(at.dir(), at.name(), flags)?)
}
