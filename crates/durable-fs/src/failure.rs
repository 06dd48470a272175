//! The errors, and the reading of a disk, in the shape of `myownllm-paths`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use myownllm_paths::{Class, FileInfo, Kind, Lookup, impl_failure};

use crate::{Disk, DiskError, FileKind, LockError, Metadata};

/// A disk as the checks of `myownllm-paths` read it. Through a [`LockedDir`](crate::LockedDir), the
/// homes that a check compares are those that a change under the lock reaches.
#[derive(Clone, Copy)]
pub struct DiskLookup<'a>(pub &'a dyn Disk);

impl fmt::Debug for DiskLookup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DiskLookup").finish_non_exhaustive()
    }
}

impl Lookup for DiskLookup<'_> {
    fn stat(&self, path: &Path) -> io::Result<FileInfo> {
        Ok(file_info(self.0.stat(path)?))
    }

    fn stat_follow(&self, path: &Path) -> io::Result<FileInfo> {
        Ok(file_info(self.0.stat_follow(path)?))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.0.read_link(path)?)
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(self.0.canonicalize(path)?)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.read(path, u64::MAX)?)
    }
}

fn file_info(meta: Metadata) -> FileInfo {
    let kind = match meta.kind {
        FileKind::Dir => Kind::Dir,
        FileKind::File => Kind::File,
        FileKind::Symlink => Kind::Symlink,
        FileKind::Other => Kind::Other,
    };
    FileInfo { kind, id: meta.id.map(|id| (id.dev, id.ino)) }
}

impl_failure!(DiskError, |_| Class::Failed, |error| Some(error.path()));
impl_failure!(LockError, class_of_lock_error, |error| Some(error.home()));

fn class_of_lock_error(error: &LockError) -> Class {
    match error {
        LockError::Held { .. } => Class::Locked,
        LockError::Failed { .. } => Class::Failed,
    }
}
