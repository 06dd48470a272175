use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File,
    /// A symlink.
    Symlink,
    /// A socket, a pipe, a device.
    Other,
}

/// The facts about a name that [`CheckedLayout::new`](crate::CheckedLayout::new) needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileInfo {
    /// The kind of the entry.
    pub kind: Kind,
    /// Device and inode, if the platform has them. Two names with the same pair are the same entry.
    pub id: Option<(u64, u64)>,
}

/// The read-only disk operations of this crate.
///
/// A trait, because a test has a lookup of its own that plays a case-insensitive file system, a
/// mount, or an error; [`RealLookup`] is the real disk.
pub trait Lookup: Send + Sync {
    /// Looks at the name itself; a symlink is a [`Kind::Symlink`].
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if no entry has that name.
    fn stat(&self, path: &Path) -> io::Result<FileInfo>;

    /// Looks at the target of the name, through symlinks.
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if the target does not exist.
    fn stat_follow(&self, path: &Path) -> io::Result<FileInfo>;

    /// Returns the target of a symlink, as it is written there.
    ///
    /// # Errors
    /// The error of the system.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns the one spelling of an existing path: no symlinks, no `..`, letter case as stored.
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if the path does not exist.
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf>;

    /// Returns the content of a regular file, through symlinks.
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if the file does not exist,
    /// [`io::ErrorKind::InvalidInput`] if it is not a regular file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealLookup;

impl Lookup for RealLookup {
    fn stat(&self, path: &Path) -> io::Result<FileInfo> {
        std::fs::symlink_metadata(path).map(|m| file_info(&m))
    }

    fn stat_follow(&self, path: &Path) -> io::Result<FileInfo> {
        std::fs::metadata(path).map(|m| file_info(&m))
    }

    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        std::fs::read_link(path)
    }

    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        // People, and the config of the daemon, spell a path without `\\?\`.
        #[cfg(windows)]
        return dunce::canonicalize(path);
        #[cfg(not(windows))]
        std::fs::canonicalize(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Reading a pipe would block.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        std::fs::read(path)
    }
}

fn file_info(meta: &Metadata) -> FileInfo {
    let kind = match meta.file_type() {
        t if t.is_symlink() => Kind::Symlink,
        t if t.is_dir() => Kind::Dir,
        t if t.is_file() => Kind::File,
        _ => Kind::Other,
    };
    FileInfo { kind, id: id(meta) }
}

#[cfg(unix)]
fn id(meta: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((meta.dev(), meta.ino()))
}

// Windows keeps the file index behind an open handle, so canonical spellings are compared
// there.
#[cfg(not(unix))]
fn id(_: &Metadata) -> Option<(u64, u64)> {
    None
}
