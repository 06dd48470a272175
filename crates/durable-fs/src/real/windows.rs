//! The disk on Windows.
//!
//! Differences from Unix: a rename is `MoveFileExW`, which replaces a file only with a flag, and is
//! written through; directories cannot be synced, and with written-through renames need no sync;
//! names cannot be exchanged; modes and owners are left to the directory's ACL. A junction counts
//! as a symlink.

#![allow(clippy::disallowed_methods)]

use std::{
    borrow::Cow,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write},
    ops::ControlFlow,
    os::windows::fs::{FileTypeExt, OpenOptionsExt},
    path::{Component, Path, PathBuf, Prefix},
    time::{Duration, Instant, SystemTime},
};

use super::{RealDisk, copy_bytes, lock_within, read_whole, same_bytes, threads};
use crate::{
    DirEntry, Disk, DiskError, FileId, FileKind, LockError, LockedDir, LockedDisk, Metadata, Op, Owner,
    Permissions, Result, SyncFs, Timestamp, publish::make_private_dir,
};

/// The pauses between tries, in milliseconds: a scanner or indexer that has a file open makes an
/// open, a rename or a removal fail for a moment.
const PAUSES: [u64; 5] = [20, 50, 100, 250, 500];

/// ERROR_ACCESS_DENIED: also the answer for a file that another program removes at this moment.
const ACCESS_DENIED: i32 = 5;
/// ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION
const VIOLATIONS: [i32; 2] = [32, 33];

const FILE_FLAG_OPEN_REPARSE_POINT: u32 = 0x0020_0000;
/// Without this flag, no directory can be opened.
const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;

fn retry_if<T>(
    is_temporary: impl Fn(i32) -> bool,
    mut action: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    for pause in PAUSES {
        match action() {
            Err(error) if error.raw_os_error().is_some_and(&is_temporary) => {
                std::thread::sleep(Duration::from_millis(pause));
            }
            other => return other,
        }
    }
    action()
}

/// Repeats the opening of a file that another program has open without sharing it.
fn retry_open<T>(action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_if(|code| VIOLATIONS.contains(&code), action)
}

/// Repeats the change of a name whose file another program has open, or is removing.
fn retry_on_sharing_violation<T>(action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    retry_if(|code| code == ACCESS_DENIED || VIOLATIONS.contains(&code), action)
}

/// Removes an entry, and waits for a moment until its name is gone: on some file systems the name
/// stays, and keeps the directory from being removed, until each program that has the entry open
/// has closed it.
fn remove(path: &Path, call: impl Fn() -> io::Result<()>) -> io::Result<()> {
    retry_on_sharing_violation(call)?;
    let _ = retry_on_sharing_violation(|| match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        _ => Err(io::Error::from_raw_os_error(VIOLATIONS[0])),
    });
    Ok(())
}

/// Returns the path in its verbatim form, `\\?\C:\…`, in which Windows takes each name as it is
/// listed: a path of more than 260 characters, `con.json`, a name with a dot at its end. Returns a
/// relative path, and a path with `..`, as it is.
fn verbatim(path: &Path) -> Cow<'_, Path> {
    let mut parts = path.components();
    let mut out = match parts.next() {
        Some(Component::Prefix(prefix)) if path.has_root() => match prefix.kind() {
            Prefix::Disk(letter) => OsString::from(format!(r"\\?\{}:", char::from(letter))),
            Prefix::UNC(server, share) => {
                [r"\\?\UNC\".as_ref(), server, r"\".as_ref(), share].into_iter().collect()
            }
            _ => return path.into(),
        },
        _ => return path.into(),
    };
    for part in parts {
        match part {
            Component::RootDir => out.push(r"\"),
            Component::Normal(name) => {
                if !out.as_encoded_bytes().ends_with(br"\") {
                    out.push(r"\");
                }
                out.push(name);
            }
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => return path.into(),
        }
    }
    PathBuf::from(out).into()
}

fn open(path: &Path) -> io::Result<File> {
    retry_open(|| File::open(verbatim(path)))
}

fn create_new(path: &Path) -> io::Result<File> {
    retry_open(|| OpenOptions::new().write(true).create_new(true).open(verbatim(path)))
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

/// Returns the metadata of the entry with this name, or of the file that the name leads to.
fn metadata(path: &Path, follow: bool) -> io::Result<Metadata> {
    let path = verbatim(path);
    let flags = FILE_FLAG_BACKUP_SEMANTICS | if follow { 0 } else { FILE_FLAG_OPEN_REPARSE_POINT };
    // Access to neither content nor attributes: no sharing mode of another program forbids it.
    let found = OpenOptions::new().access_mode(0).custom_flags(flags).open(&path);
    let (meta, id) =
        match found.and_then(|file| Ok((file.metadata()?, winapi_util::file::information(&file)))) {
            Ok((meta, id)) => (meta, id.ok()),
            Err(_) if follow => (std::fs::metadata(&path)?, None),
            Err(_) => (std::fs::symlink_metadata(&path)?, None),
        };
    let modified = meta
        .modified()
        .ok()
        .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
        .map(|since| Timestamp {
            seconds: i64::try_from(since.as_secs()).unwrap_or(0),
            nanoseconds: since.subsec_nanos(),
        })
        .unwrap_or_default();
    Ok(Metadata {
        kind: kind_of(meta.file_type()),
        len: meta.len(),
        mode: if meta.is_dir() { 0o700 } else { 0o600 },
        id: id.as_ref().map(|id| FileId { dev: id.volume_serial_number(), ino: id.file_index() }),
        links: id.map_or(1, |id| id.number_of_links()),
        owner: None,
        modified,
        changed: modified,
    })
}

fn regular(file: &File) -> io::Result<std::fs::Metadata> {
    let meta = file.metadata()?;
    if meta.is_file() {
        Ok(meta)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use winsafe::co::MOVEFILE;
    let text = |path: &Path| {
        verbatim(path)
            .to_str()
            .map(str::to_owned)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidFilename, "the name is not valid Unicode"))
    };
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

/// Renames a file over another one, also over a read-only one. The standard library does not write
/// the rename through, so the file is flushed, and with it the journal that holds the rename.
fn rename_over(from: &Path, to: &Path) -> io::Result<()> {
    retry_on_sharing_violation(|| std::fs::rename(verbatim(from), verbatim(to)))?;
    open_to_sync(to)?.sync_all()
}

/// Does what the read-only attribute of a file forbids: the file loses the attribute meanwhile.
fn despite_read_only<T>(path: &Path, action: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let denied = match action() {
        Err(error) if error.raw_os_error() == Some(ACCESS_DENIED) => error,
        other => return other,
    };
    let read_only = std::fs::symlink_metadata(path)?.permissions();
    if !read_only.readonly() {
        return Err(denied);
    }
    let mut writable = read_only.clone();
    #[allow(clippy::permissions_set_readonly_false, reason = "it is an attribute here, not a mode")]
    writable.set_readonly(false);
    std::fs::set_permissions(path, writable)?;
    let done = action();
    // Fails for a file that is removed by now.
    let _ = std::fs::set_permissions(path, read_only);
    done
}

/// Opens a file for FlushFileBuffers, which requires a handle with write access.
fn open_to_sync(path: &Path) -> io::Result<File> {
    let path = verbatim(path);
    despite_read_only(&path, || retry_open(|| OpenOptions::new().write(true).open(&path)))
}

impl Disk for RealDisk {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        metadata(path, false).map_err(|e| DiskError::new(Op::Stat, path, e))
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        metadata(path, true).map_err(|e| DiskError::new(Op::Stat, path, e))
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let failed = |e: io::Error| DiskError::new(Op::ForEachEntry, dir, e);
        let exact = verbatim(dir);
        if std::fs::symlink_metadata(&exact).map_err(failed)?.file_type().is_symlink() {
            return Err(failed(io::ErrorKind::NotADirectory.into()));
        }
        for entry in std::fs::read_dir(&exact).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = kind_of(entry.file_type().map_err(failed)?);
            if each(DirEntry { name: entry.file_name(), kind }).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>> {
        Op::Read.on(path, || {
            let file = open(path)?;
            let len = regular(&file)?.len();
            read_whole(file, len, limit)
        })
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        let open_one = |path: &Path| -> Result<(File, u64)> {
            let failed = |e: io::Error| DiskError::new(Op::Read, path, e);
            let meta = self.stat(path)?;
            if !meta.is_file() {
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
            }
            Ok((open(path).map_err(failed)?, meta.len))
        };
        let ((file_a, len_a), (file_b, len_b)) = (open_one(a)?, open_one(b)?);
        Ok(len_a == len_b && same_bytes((a, file_a), (b, file_b), len_a)?)
    }

    fn open_for_writing(&self, files: &[&Path]) -> Vec<bool> {
        // FILE_SHARE_READ | FILE_SHARE_DELETE: with this share mode the system refuses to open a
        // file that a program has open for writing.
        const READERS_ALONE: u32 = 1 | 4;
        const SHARING_VIOLATION: i32 = 32;
        let open = |path: &Path| OpenOptions::new().read(true).share_mode(READERS_ALONE).open(verbatim(path));
        let is_open =
            |path: &&Path| open(path).is_err_and(|error| error.raw_os_error() == Some(SHARING_VIOLATION));
        files.iter().map(is_open).collect()
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        std::fs::read_link(verbatim(link)).map_err(|e| DiskError::new(Op::ReadLink, link, e))
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        // People, and the daemon's config, spell a path without `\\?\`.
        dunce::canonicalize(verbatim(path)).map_err(|e| DiskError::new(Op::Canonicalize, path, e))
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
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let path = home.join(".lock");
        let file = retry_open(|| options.open(verbatim(&path))).map_err(failed)?;
        let real = dunce::canonicalize(verbatim(home)).map_err(failed)?;
        lock_within(home, wait, Instant::now(), || match fs4::FileExt::try_lock(&file) {
            Ok(()) => Ok(true),
            Err(fs4::TryLockError::WouldBlock) => Ok(false),
            Err(fs4::TryLockError::Error(error)) => Err(error),
        })?;
        Ok(LockedDir::new(home, &real, RealDisk, Changes { _lock: Some(file) }))
    }
}

/// The changes of a locked directory, by path; `None` for the change that needs no lock.
struct Changes {
    _lock: Option<File>,
}

impl LockedDisk for Changes {
    fn make_dir(&self, dir: &Path, _mode: u32) -> Result<()> {
        std::fs::create_dir(verbatim(dir)).map_err(|e| DiskError::new(Op::MakeDir, dir, e))
    }

    fn set_mode(&self, _path: &Path, _mode: u32) -> Result<()> {
        Ok(())
    }

    fn set_owner(&self, _path: &Path, _owner: Owner) -> Result<()> {
        Ok(())
    }

    fn create(&self, path: &Path, bytes: &[u8], _mode: u32) -> Result<()> {
        let failed = |e: io::Error| DiskError::new(Op::Create, path, e);
        let mut file = create_new(path).map_err(failed)?;
        file.write_all(bytes).map_err(|source| {
            let _ = std::fs::remove_file(verbatim(path));
            failed(source)
        })
    }

    fn copy_new(&self, from: &Path, to: &Path, _mode: Option<u32>) -> Result<()> {
        let failed = |e: io::Error| DiskError::with_two_paths(Op::CopyNew, from, to, e);
        if !RealDisk.stat(from)?.is_file() {
            return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
        }
        let mut source = open(from).map_err(failed)?;
        let meta = regular(&source).map_err(failed)?;
        let modified = meta.modified().map_err(failed)?;
        let mut file = create_new(to).map_err(|e| DiskError::new(Op::Create, to, e))?;
        let copied = copy_bytes(&mut source, &mut file, meta.len());
        copied.and_then(|()| file.set_modified(modified)).map_err(|source| {
            let _ = std::fs::remove_file(verbatim(to));
            failed(source)
        })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        rename_noreplace(from, to).map_err(|e| DiskError::with_two_paths(Op::RenameNoReplace, from, to, e))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        // A directory never replaces anything on Windows.
        let is_dir = std::fs::symlink_metadata(verbatim(from)).is_ok_and(|meta| meta.is_dir());
        let renamed = if is_dir { rename_noreplace(from, to) } else { rename_over(from, to) };
        renamed.map_err(|e| DiskError::with_two_paths(Op::Rename, from, to, e))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        Err(DiskError::with_two_paths(Op::Exchange, a, b, io::ErrorKind::Unsupported.into()))
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        std::fs::hard_link(verbatim(from), verbatim(to))
            .map_err(|e| DiskError::with_two_paths(Op::HardLink, from, to, e))
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        std::os::windows::fs::symlink_file(target, verbatim(at))
            .map_err(|e| DiskError::with_two_paths(Op::Symlink, at, target, e))
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        let exact = verbatim(path);
        // The call for a directory removes a junction, and only the junction.
        let is_dir = std::fs::symlink_metadata(&exact).is_ok_and(|meta| meta.file_type().is_symlink_dir());
        let call = if is_dir { std::fs::remove_dir } else { std::fs::remove_file };
        remove(&exact, || despite_read_only(&exact, || call(&exact)))
            .map_err(|e| DiskError::new(Op::Unlink, path, e))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        let exact = verbatim(dir);
        if std::fs::symlink_metadata(&exact).is_ok_and(|meta| meta.file_type().is_symlink()) {
            return Err(DiskError::new(Op::RemoveDir, dir, io::ErrorKind::NotADirectory.into()));
        }
        remove(&exact, || std::fs::remove_dir(&exact)).map_err(|e| DiskError::new(Op::RemoveDir, dir, e))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        open_to_sync(path).and_then(|file| file.sync_all()).map_err(|e| DiskError::new(Op::SyncFile, path, e))
    }

    fn sync_dir(&self, _dir: &Path) -> Result<()> {
        // Renames are written through, and NTFS keeps its directories in its journal.
        Ok(())
    }

    fn sync_fs(&self, _path: &Path) -> Result<SyncFs> {
        Ok(SyncFs::Nothing)
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions> {
        // This is the read-only attribute; the access list comes from the directory.
        std::fs::metadata(verbatim(from))
            .and_then(|meta| std::fs::set_permissions(verbatim(to), meta.permissions()))
            .map(|()| Permissions::Kept)
            .map_err(|e| DiskError::with_two_paths(Op::CopyPermissions, from, to, e))
    }
}
