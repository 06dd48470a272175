//! What went wrong, doing what, to which path.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use crate::Op;

/// The result of one disk operation.
pub type Result<T, E = DiskError> = std::result::Result<T, E>;

/// One disk operation that failed: what was done, to which path, because of what.
///
/// `Display` names the operation and the path; the cause is the [`source`](std::error::Error::source).
#[derive(Clone, Debug)]
pub struct DiskError {
    op: Op,
    path: PathBuf,
    other: Option<PathBuf>,
    /// Shared, so that an error can be in a plan and in the report of its execution.
    source: Arc<io::Error>,
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "could not {} {}", self.op, self.path.display())?;
        match &self.other {
            Some(other) => write!(f, " (with {})", other.display()),
            None => Ok(()),
        }
    }
}

impl std::error::Error for DiskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.source)
    }
}

impl DiskError {
    /// An error of an operation on one path.
    pub fn new(op: Op, path: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_owned(), other: None, source: Arc::new(source) }
    }

    /// An error of an operation on two paths, such as a rename.
    pub fn two(op: Op, path: &Path, other: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_owned(), other: Some(other.to_owned()), source: Arc::new(source) }
    }

    /// The operation that failed.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The path that the operation was about.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The second path of a rename, a link or a comparison.
    pub fn other(&self) -> Option<&Path> {
        self.other.as_deref()
    }

    /// The kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// The cause itself.
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    /// Nothing has that name (and every folder above it could be looked into).
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Symlinks lead in a circle.
    pub fn is_symlink_loop(&self) -> bool {
        #[cfg(unix)]
        return self.source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        #[cfg(not(unix))]
        return false;
    }

    /// The name is taken.
    pub fn is_already_exists(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
    }

    /// The two paths are on different file systems, or on parts of one between which nothing can be renamed.
    pub fn is_cross_device(&self) -> bool {
        self.kind() == io::ErrorKind::CrossesDevices
    }

    /// The file system, the kernel or a sandbox may be refusing the *operation*, whatever the files: `EINVAL`, `ENOSYS`,
    /// `EOPNOTSUPP`, `EPERM`. Only a trial with a file of our own tells that from a refusal that
    /// is about the very file (one that is immutable, say).
    pub fn may_be_unsupported(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
        )
    }

    /// A file could not be given to somebody else: only root may. All else about it may have gone well.
    pub fn is_about_the_owner(&self) -> bool {
        self.op == Op::SetOwner && self.kind() == io::ErrorKind::PermissionDenied
    }

    /// What on the way was not gone through, as it is not the home's.
    pub fn untrusted(&self) -> Option<&Untrusted> {
        self.source.get_ref()?.downcast_ref()
    }

    /// The refusal of a path that is not below the locked directory, or has `..`.
    pub fn outside_lock(&self) -> Option<&OutsideLock> {
        self.source.get_ref()?.downcast_ref()
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        if self.untrusted().is_some() {
            return "durable-fs.untrusted";
        }
        if self.outside_lock().is_some() {
            return "durable-fs.outside-lock";
        }
        match self.kind() {
            io::ErrorKind::NotFound => "durable-fs.not-found",
            io::ErrorKind::PermissionDenied => "durable-fs.permission-denied",
            io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty => "durable-fs.taken",
            io::ErrorKind::CrossesDevices => "durable-fs.cross-device",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "durable-fs.full",
            io::ErrorKind::ReadOnlyFilesystem => "durable-fs.read-only",
            io::ErrorKind::Unsupported => "durable-fs.unsupported",
            io::ErrorKind::FileTooLarge => "durable-fs.too-large",
            _ => "durable-fs.failed",
        }
    }

    /// `EPERM`, which Linux tells from the `EACCES` of missing permissions.
    #[cfg(target_os = "linux")]
    fn is_not_permitted(&self) -> bool {
        self.source.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
    }

    /// A command that shows or mends what is wrong, where there is one.
    pub fn hint(&self) -> Option<String> {
        if let Some(Untrusted::Foreign { path, .. } | Untrusted::LeadsOut { path }) = self.untrusted() {
            return Some(format!("ls -ld {}", quote(path)));
        }
        match self.kind() {
            // Where the permissions would allow it: that a file is immutable, or append-only, shows in no `ls`.
            #[cfg(target_os = "linux")]
            io::ErrorKind::PermissionDenied if self.op.changes_names() && self.is_not_permitted() => {
                let folder = self.path.parent().unwrap_or(&self.path);
                let file = self.other.as_deref().unwrap_or(&self.path);
                Some(format!("lsattr -d {} {}", quote(folder), quote(file)))
            }
            io::ErrorKind::PermissionDenied if self.op == Op::MakeTemp => {
                Some(format!("lsattr -d {}", quote(&self.path)))
            }
            // What could not be made, renamed or removed is a matter of the folder that it is in.
            io::ErrorKind::PermissionDenied if self.op.changes_names() => {
                Some(format!("ls -ld {}", quote(self.path.parent().unwrap_or(&self.path))))
            }
            io::ErrorKind::PermissionDenied => Some(format!("ls -ld {}", quote(&self.path))),
            io::ErrorKind::ResourceBusy if self.op == Op::CompareCopy => {
                Some(format!("findmnt --target {}", quote(&self.path)))
            }
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Some(format!("df -h {}", quote(self.path.parent().unwrap_or(&self.path))))
            }
            io::ErrorKind::FileTooLarge if self.op == Op::Read => {
                Some(format!("ls -lh {}", quote(&self.path)))
            }
            io::ErrorKind::ReadOnlyFilesystem => {
                Some(format!("findmnt --target {}", quote(self.path.parent().unwrap_or(&self.path))))
            }
            _ => None,
        }
    }
}

/// Something on the way to a path below a locked home is not the home's, and was not gone through. It is the cause of a
/// [`DiskError`]; see [`DiskError::untrusted`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Untrusted {
    /// A folder or link belongs to another user, who can put anything behind it.
    #[error("{} belongs to user {user}, not to the owner of the home (user {owner})", .path.display())]
    Foreign {
        /// The folder or link.
        path: PathBuf,
        /// Whose it is.
        user: u32,
        /// Who owns the home.
        owner: u32,
    },
    /// A link leads out of the home, and something was to be changed behind it.
    #[error("{} is a link that leads out of the home", .path.display())]
    LeadsOut {
        /// The link.
        path: PathBuf,
    },
}

impl From<Untrusted> for io::Error {
    fn from(untrusted: Untrusted) -> Self {
        Self::other(untrusted)
    }
}

/// A path is not below the directory that is locked, or has `..`, so nothing was changed there. It is the cause of a
/// [`DiskError`]; see [`DiskError::outside_lock`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path is outside of the locked directory {}", .dir.display())]
pub struct OutsideLock {
    /// The locked directory.
    pub dir: PathBuf,
}

impl From<OutsideLock> for io::Error {
    fn from(outside: OutsideLock) -> Self {
        Self::other(outside)
    }
}

/// Why the lock of a home could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another process held it for the whole wait.
    #[error("another process holds the lock of {} (waited {:.1} s)", .home.display(), .waited.as_secs_f32())]
    Held {
        /// The home whose lock it is.
        home: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The lock could not be tried: the home is absent or unreadable, or its file system has no locks.
    #[error("could not lock {}", .home.display())]
    Failed {
        /// The home whose lock it is.
        home: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl LockError {
    /// A stable code: `durable-fs.lock-held` or `durable-fs.lock-failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Held { .. } => "durable-fs.lock-held",
            Self::Failed { .. } => "durable-fs.lock-failed",
        }
    }

    /// The home whose lock it is.
    pub fn home(&self) -> &Path {
        match self {
            Self::Held { home, .. } | Self::Failed { home, .. } => home,
        }
    }

    /// The command that shows who holds the lock.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held { home, .. } => Some(format!("fuser -v {}", quote(home))),
            Self::Failed { home, .. } => Some(format!("ls -ld {}", quote(home))),
        }
    }
}

/// A path as a shell takes it: as it is when it is plain, else in single quotes.
pub fn quote(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+:@%,~".contains(c);
    if !text.is_empty() && !text.starts_with('~') && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A name beside `path` that nothing has: with this ending, or with a number behind it. For commands that a person copies: whatever
/// lies there stays, however often they are run.
pub fn free_name(path: &Path, ending: &str) -> PathBuf {
    let beside = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{ending}"));
        if number > 1 {
            name.push(format!("-{number}"));
        }
        PathBuf::from(name)
    };
    let is_free = |path: &PathBuf| {
        std::fs::symlink_metadata(path).is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    (1..1000).map(beside).find(is_free).unwrap_or_else(|| beside(1))
}

/// The command that moves something out of the way, to a free name that ends like this. It replaces nothing.
pub fn move_aside(path: &Path, ending: &str) -> String {
    format!("mv -n {} {}", quote(path), quote(&free_name(path, ending)))
}

/// The command that puts a copy of what a symlink leads to in the symlink's place. Run again, it finds no symlink and does nothing.
pub fn replace_symlink(symlink: &Path) -> String {
    let (symlink, copy) = (quote(symlink), quote(&free_name(symlink, "copy")));
    format!("test -L {symlink} && cp -RLpn {symlink} {copy} && rm {symlink} && mv -n {copy} {symlink}")
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_hint_shows_what_is_wrong() {
        let (from, to) = (Path::new("/home/you/.swap"), Path::new("/home/you/config.json"));
        let hint = |op, errno: rustix::io::Errno| DiskError::two(op, from, to, errno.into()).hint();
        let (immutable, denied) = (rustix::io::Errno::PERM, rustix::io::Errno::ACCESS);
        assert_eq!(hint(Op::Rename, immutable).as_deref(), Some("lsattr -d /home/you /home/you/config.json"));
        assert_eq!(hint(Op::Rename, denied).as_deref(), Some("ls -ld /home/you"));
        let large = DiskError::new(Op::Read, to, io::ErrorKind::FileTooLarge.into());
        assert_eq!(large.hint().as_deref(), Some("ls -lh /home/you/config.json"));
        // The directory decides about every change of a name.
        assert_eq!(hint(Op::Exchange, denied).as_deref(), Some("ls -ld /home/you"));
        assert_eq!(hint(Op::HardLink, denied).as_deref(), Some("ls -ld /home/you"));
        // Refused to who is not the owner.
        assert_eq!(hint(Op::SetMode, immutable).as_deref(), Some("ls -ld /home/you/.swap"));
    }
}
