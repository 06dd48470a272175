use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A regular file.
    File,
    /// A symbolic link.
    Link,
    /// A socket, a pipe, a device.
    Other,
}

/// What the guard wants to know of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// Device and inode, where the platform has them: two names with the same pair are one thing.
    pub id: Option<(u64, u64)>,
}

/// The few questions that this crate asks the disk. It never writes.
///
/// A trait because there are two: the real disk ([`RealLookup`]), and the one of a test that plays a case-insensitive
/// file system, a mount, or an error.
pub trait Lookup {
    /// Looks at the name itself; a link is a [`Kind::Link`].
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::NotFound`] when nothing has that name.
    fn look(&self, path: &Path) -> io::Result<Node>;

    /// Looks at what the name leads to, through links.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::NotFound`] when nothing is there.
    fn look_through(&self, path: &Path) -> io::Result<Node>;

    /// The target of a link, as it is written there.
    ///
    /// # Errors
    /// As the system says.
    fn read_link(&self, path: &Path) -> io::Result<PathBuf>;

    /// The one spelling of what exists: no links, no `..`, the letters' case as stored.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::NotFound`] when nothing is there.
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf>;

    /// The content of a regular file, through links.
    ///
    /// # Errors
    /// As the system says; [`io::ErrorKind::NotFound`] when nothing is there, [`io::ErrorKind::InvalidInput`] when it is no regular
    /// file.
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
        std::fs::canonicalize(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // A pipe would be waited for.
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

// Windows keeps the file index behind an open handle; there the canonical spelling is compared instead.
#[cfg(not(unix))]
fn id(_: &Metadata) -> Option<(u64, u64)> {
    None
}
