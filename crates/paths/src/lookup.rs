use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// The kind of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A directory.
    Folder,
    /// A regular file.
    File,
    /// A symlink.
    Link,
    /// A socket, a pipe, a device.
    Other,
}

/// The facts about a name that the guard needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// The kind of the entry.
    pub kind: Kind,
    /// Device and inode, if the platform has them. Two names with the same pair are the same entry.
    pub id: Option<(u64, u64)>,
}

/// The read-only disk operations of this crate.
///
/// A trait, because a test has a lookup of its own that plays a case-insensitive file system, a
/// mount, or an error; [`RealLookup`] is the real disk.
pub trait Lookup {
    /// Looks at the name itself; a symlink is a [`Kind::Link`].
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if no entry has that name.
    fn look(&self, path: &Path) -> io::Result<Node>;

    /// Looks at the target of the name, through symlinks.
    ///
    /// # Errors
    /// The error of the system; [`io::ErrorKind::NotFound`] if the target does not exist.
    fn look_through(&self, path: &Path) -> io::Result<Node>;

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
    fn look(&self, path: &Path) -> io::Result<Node> {
        std::fs::symlink_metadata(path).map(|m| node(&m))
    }

    fn look_through(&self, path: &Path) -> io::Result<Node> {
        std::fs::metadata(path).map(|m| node(&m))
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

fn node(meta: &Metadata) -> Node {
    let kind = match meta.file_type() {
        t if t.is_symlink() => Kind::Link,
        t if t.is_dir() => Kind::Folder,
        t if t.is_file() => Kind::File,
        _ => Kind::Other,
    };
    Node { kind, id: id(meta) }
}

#[cfg(unix)]
fn id(meta: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((meta.dev(), meta.ino()))
}

// Windows keeps the file index behind an open handle, so the guard compares canonical spellings
// there.
#[cfg(not(unix))]
fn id(_: &Metadata) -> Option<(u64, u64)> {
    None
}
