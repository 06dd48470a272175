//! Errors: the failed operation, its path and its cause.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use myownllm_paths::command::{move_aside, quote, replace_symlink};

use crate::Op;
#[cfg(target_os = "linux")]
use crate::real::statx::attributes;

/// The result of one disk operation.
pub type Result<T, E = DiskError> = std::result::Result<T, E>;

/// The stable code of a change on a file system that does not confirm a sync
/// ([`Disk::confirms_sync`](crate::Disk::confirms_sync)).
pub const SYNC_UNCONFIRMED: &str = "durable-fs.sync-unconfirmed";

/// Returns the message for [`SYNC_UNCONFIRMED`].
pub fn sync_unconfirmed_message(path: impl AsRef<Path>) -> String {
    format!(
        "the file system of {} (FUSE) does not confirm that a change is on the disk: a power cut may undo it",
        path.as_ref().display()
    )
}

/// A disk operation that failed, with its path and its cause.
///
/// `Display` names the operation and the path; the cause is the
/// [`source`](std::error::Error::source).
#[derive(Clone, Debug)]
pub struct DiskError {
    op: Op,
    path: PathBuf,
    other: Option<PathBuf>,
    /// Shared, so that an error can be both in a plan and in the report of its execution.
    source: Arc<io::Error>,
}

impl std::fmt::Display for DiskError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "cannot {} {}", self.op, self.path.display())?;
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

impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> Self {
        Self::new(error.kind(), error)
    }
}

impl Op {
    pub(crate) fn on<T>(self, path: &Path, action: impl FnOnce() -> io::Result<T>) -> Result<T> {
        action().map_err(|error| DiskError::new(self, path, error))
    }

    #[cfg(unix)]
    pub(crate) fn on_two<T>(
        self,
        (path, other): (&Path, &Path),
        action: impl FnOnce() -> io::Result<T>,
    ) -> Result<T> {
        action().map_err(|error| DiskError::with_two_paths(self, path, other, error))
    }
}

impl DiskError {
    /// Creates the error of an operation on one path.
    pub fn new(op: Op, path: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_owned(), other: None, source: Arc::new(source) }
    }

    /// Creates the error of an operation on two paths, such as a rename.
    pub fn with_two_paths(op: Op, path: &Path, other: &Path, source: io::Error) -> Self {
        Self { op, path: path.to_owned(), other: Some(other.to_owned()), source: Arc::new(source) }
    }

    /// Returns the operation that failed.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Returns the path of the operation.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the kind of the cause.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns the cause.
    pub fn io(&self) -> &io::Error {
        &self.source
    }

    /// Returns true if nothing has that name (and every directory above it could be read).
    pub fn is_not_found(&self) -> bool {
        self.kind() == io::ErrorKind::NotFound
    }

    /// Returns true if nothing has that name, also if a part of the path is no directory.
    pub fn is_absent(&self) -> bool {
        self.is_not_found() || self.kind() == io::ErrorKind::NotADirectory
    }

    /// Returns true if a read found something else than a regular file, or one above the limit.
    pub fn is_no_file(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
        )
    }

    /// Returns true for a symlink loop.
    pub fn is_symlink_loop(&self) -> bool {
        #[cfg(unix)]
        return self.source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        #[cfg(not(unix))]
        return false;
    }

    /// Returns true if the name is taken.
    pub fn is_already_exists(&self) -> bool {
        matches!(self.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty)
    }

    /// Returns true if the two paths are on different file systems, or on parts of one file system
    /// between which the kernel renames nothing.
    pub fn is_cross_device(&self) -> bool {
        self.kind() == io::ErrorKind::CrossesDevices
    }

    /// Returns true if the file system, the kernel or a sandbox may refuse the *operation* for
    /// every file: `EINVAL`, `ENOSYS`, `EOPNOTSUPP`, `EPERM`. The same codes also report a refusal
    /// for one file, such as an immutable file. Only a trial with a file of our own tells the two
    /// apart.
    pub fn may_be_unsupported(&self) -> bool {
        matches!(
            self.kind(),
            io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied
        )
    }

    /// Returns true if the file system supports neither an exclusive rename nor a hard link, so
    /// that nothing can be moved in that directory without the danger of replacing a file.
    pub fn is_no_exclusive_rename(&self) -> bool {
        self.op == Op::RenameOrLink && self.kind() == io::ErrorKind::Unsupported
    }

    /// Returns true if a file is no copy of another because a mount covers it.
    pub fn is_covered_by_mount(&self) -> bool {
        self.op == Op::CompareCopy && self.kind() == io::ErrorKind::ResourceBusy
    }

    /// Returns true if a file could not be given to another user, which only root may do.
    /// Everything else about the file may have succeeded.
    pub fn is_about_the_owner(&self) -> bool {
        self.op == Op::SetOwner && self.kind() == io::ErrorKind::PermissionDenied
    }

    /// Returns the directory or symlink on the way that does not belong to the home and stopped the
    /// walk.
    pub fn untrusted(&self) -> Option<&Untrusted> {
        self.source.get_ref()?.downcast_ref()
    }

    /// Returns the refusal of a path that is not below the locked directory, or that has `..`.
    pub fn outside_lock(&self) -> Option<&OutsideLock> {
        self.source.get_ref()?.downcast_ref()
    }

    /// Returns a stable code.
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

    /// Returns true for `EPERM`, which Linux distinguishes from the `EACCES` of missing
    /// permissions.
    #[cfg(target_os = "linux")]
    fn is_not_permitted(&self) -> bool {
        self.source.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
    }

    /// Returns the paths on whose attributes the operation depends.
    #[cfg(target_os = "linux")]
    fn changed_paths(&self) -> Vec<&Path> {
        let path = self.path.as_path();
        if !self.op.changes_names() {
            return vec![path];
        }
        let dir = path.parent().unwrap_or(path);
        let mut paths = vec![dir];
        match self.op {
            // The first name is a temporary one of ours.
            Op::Rename | Op::Exchange | Op::Replace => paths.extend(self.other.as_deref()),
            // The name does not exist yet.
            Op::MakeDir | Op::Create | Op::Symlink => {}
            _ => {
                let other_dir = self.other.as_deref().and_then(Path::parent);
                paths.push(path);
                paths.extend(other_dir.filter(|other| *other != dir));
            }
        }
        paths
    }

    /// Returns a command that shows or mends the problem, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self.untrusted() {
            Some(Untrusted::Foreign { path, .. }) => return Some(format!("ls -ld {}", quote(path))),
            Some(Untrusted::LeadsOut { path }) => return Some(replace_symlink(path)),
            None => {}
        }
        // The permissions may allow the change: `ls` does not show that a file is immutable or
        // append-only.
        #[cfg(target_os = "linux")]
        if self.is_not_permitted() {
            let paths = self.changed_paths();
            let is_protected = |path: &Path| attributes(rustix::fs::CWD, path).is_protected();
            let unprotect = unprotect(&paths, is_protected);
            if unprotect.is_some() || self.op.changes_names() {
                return unprotect.or_else(|| Some(format!("lsattr -d {}", quote_all(&paths))));
            }
        }
        let path = self.path.as_path();
        let is_symlink = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink());
        if self.is_symlink_loop() && is_symlink(path) {
            return Some(move_aside(path, "aside"));
        }
        let dir = path.parent().unwrap_or(path);
        let (command, path) = match self.kind() {
            io::ErrorKind::PermissionDenied if self.op == Op::MakeTemp => ("lsattr -d", path),
            // The directory decides if a name in it can be made, renamed or removed.
            io::ErrorKind::PermissionDenied if self.op.changes_names() => return Some(give_access(dir)),
            io::ErrorKind::PermissionDenied => return Some(give_access(path)),
            io::ErrorKind::ResourceBusy if self.op == Op::CompareCopy => ("findmnt --target", path),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ("df -h", dir),
            io::ErrorKind::FileTooLarge if self.op == Op::Read => ("ls -lh", path),
            io::ErrorKind::ReadOnlyFilesystem => ("findmnt --target", dir),
            _ => return None,
        };
        Some(format!("{command} {}", quote(path)))
    }
}

/// A directory or symlink on the way to a path below a locked home does not belong to the home, so
/// the call did not go through it. It is the cause of a [`DiskError`]; see
/// [`DiskError::untrusted`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum Untrusted {
    /// A directory or symlink belongs to another user, who can put anything behind it.
    #[error("{} belongs to user {user}, not to the owner of the home (user {owner})", .path.display())]
    Foreign { path: PathBuf, user: u32, owner: u32 },
    /// A symlink leads out of the home, and the operation would change something behind it.
    #[error("{} is a symlink that leads out of the home", .path.display())]
    LeadsOut { path: PathBuf },
}

impl From<Untrusted> for io::Error {
    fn from(untrusted: Untrusted) -> Self {
        Self::other(untrusted)
    }
}

/// A path is not below the locked directory, or has `..`, so nothing was changed there. It is the
/// cause of a [`DiskError`]; see [`DiskError::outside_lock`].
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

/// The reason why a home could not be locked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum LockError {
    /// Another process held it for the whole wait.
    #[error("another process holds the lock of {} (waited {:.1} s)", .home.display(), .waited.as_secs_f32())]
    Held { home: PathBuf, waited: Duration },
    /// The lock could not be tried: the home is absent or unreadable, or its file system has no
    /// locks.
    #[error("cannot lock {}", .home.display())]
    Failed { home: PathBuf, source: io::Error },
}

impl LockError {
    /// Returns a stable code: `durable-fs.lock-held` or `durable-fs.lock-failed`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Held { .. } => "durable-fs.lock-held",
            Self::Failed { .. } => "durable-fs.lock-failed",
        }
    }

    /// Returns the home.
    pub fn home(&self) -> &Path {
        match self {
            Self::Held { home, .. } | Self::Failed { home, .. } => home,
        }
    }

    /// Returns the command that shows the holder of the lock, or the home if the lock could not be
    /// tried.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Held { home, .. } => Some(format!("fuser -v {}", quote(home))),
            Self::Failed { home, .. } => Some(format!("ls -ld {}", quote(home))),
        }
    }
}

pub(crate) fn quote_all(paths: &[&Path]) -> String {
    paths.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// Returns the command that lets protected paths be renamed, given away and changed again; `None`
/// if none is protected.
pub(crate) fn unprotect(paths: &[&Path], is_protected: impl Fn(&Path) -> bool) -> Option<String> {
    let protected: Vec<_> = paths.iter().copied().filter(|path| is_protected(path)).collect();
    (!protected.is_empty()).then(|| format!("sudo chattr -ia {}", quote_all(&protected)))
}

/// Returns a command that every shell runs alike: the one that a user types into may be fish or
/// zsh, and fish has no groups in braces. A command with a group is run by `sh`.
pub fn for_any_shell(command: String) -> String {
    if command.contains("{ ") { format!("sh -c {}", quote(command)) } else { command }
}

/// Returns the command that gives the user of this process access to a path, by the topmost
/// directory that denies it. Shows what belongs to another user: only that user can decide.
fn give_access(path: &Path) -> String {
    #[cfg(unix)]
    {
        use rustix::fs::{Access, access};
        use std::os::unix::fs::MetadataExt as _;
        let denies = |dir: &&Path| access(*dir, Access::EXEC_OK) == Err(rustix::io::Errno::ACCESS);
        let closed = path.ancestors().skip(1).filter(denies).last().unwrap_or(path);
        let user = rustix::process::geteuid().as_raw();
        if user != 0 && std::fs::metadata(closed).is_ok_and(|meta| meta.uid() == user) {
            return format!("chmod u+rwX {}", quote(closed));
        }
    }
    format!("ls -ld {}", quote(path))
}

/// Returns the command that shows a path, or its closest ancestor that this user may look at.
pub fn show_path(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let visible = path.ancestors().find(|path| std::fs::symlink_metadata(path).is_ok());
    format!("ls -ld {}", quote(visible.unwrap_or(path)))
}

/// Returns the command that renames a file unless the new name is taken. The command may run twice.
pub fn rename_unless_taken(from: impl AsRef<Path>, to: impl AsRef<Path>) -> String {
    format!("test -e {1} || mv -n {0} {1}", quote(from), quote(to))
}

/// Returns a command that runs `command` if `first` succeeds: as a whole, although `command` may
/// have an alternative.
pub fn run_first(first: &str, command: &str) -> String {
    match command.contains("||") && !command.starts_with("sh -c ") {
        // fish has no groups in braces.
        true => format!("{first} && sh -c {}", quote(command)),
        false => format!("{first} && {command}"),
    }
}

/// Returns the beginning of a command that makes a directory; empty for `None`.
pub fn mkdir_prefix(dir: Option<impl AsRef<Path>>) -> String {
    dir.map_or_else(String::new, |dir| format!("mkdir -p -m 700 {} && ", quote(dir)))
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use myownllm_paths::command::is_control;

    #[test]
    fn command_with_an_alternative_runs_only_after_the_first() {
        let run = |first: &str, command: &str| {
            let command = run_first(first, command);
            let shown = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            String::from_utf8(shown.stdout).unwrap()
        };
        for command in ["false || echo \"it's\"", &for_any_shell("{ false; } || echo \"it's\"".to_owned())] {
            assert_eq!(run("true", command), "it's\n");
            assert_eq!(run("false", command), "");
            assert_eq!(run("true", &run_first("false", command)), "");
        }
        assert!(!run_first("a", "b || c").contains('{'));
    }

    #[test]
    fn quoted_path_is_the_path_to_a_shell() {
        for path in ["/a\tb", "/a\nb/c", "/\u{1b}[2J", "/a\u{202e}b", "/100% 'of'\t\\n", "/it's", "~/x y"] {
            let quoted = quote(path);
            assert!(!quoted.contains(is_control), "{quoted:?}");
            let command = format!("printf '%s' {quoted}");
            let shown = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
            assert_eq!(String::from_utf8(shown.stdout).unwrap(), path, "{quoted}");
        }
    }

    #[test]
    fn quoted_path_that_is_not_utf8_is_the_path_to_a_shell() {
        use std::os::unix::ffi::OsStrExt as _;
        let path = b"/it's 100%/\xff\xfe\xc3.json";
        let quoted = quote(std::ffi::OsStr::from_bytes(path));
        let command = format!("printf '%s' {quoted}");
        let shown = std::process::Command::new("sh").args(["-c", &command]).output().unwrap();
        assert_eq!(shown.stdout, path, "{quoted}");
    }

    #[test]
    #[allow(clippy::disallowed_methods, reason = "tests may write as they like")]
    fn rename_into_a_new_directory_replaces_nothing_and_runs_twice() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("it's"), dir.path().join("new dir/it's"));
        std::fs::write(&from, "first").unwrap();
        let command = mkdir_prefix(to.parent()) + &rename_unless_taken(&from, &to);
        for _ in 0..2 {
            assert!(std::process::Command::new("sh").args(["-c", &command]).status().unwrap().success());
            assert_eq!(std::fs::read(&to).unwrap(), b"first", "{command}");
            std::fs::write(&from, "second").unwrap();
        }
        assert_eq!(std::fs::read(&from).unwrap(), b"second", "{command}");
        assert_eq!(mkdir_prefix(None::<&Path>), "");
    }

    /// An interrupted `cp` has left a part of the copy, under each name that a run may take.
    #[test]
    #[allow(clippy::disallowed_methods, reason = "tests may write as they like")]
    fn copy_in_the_place_of_a_symlink_is_whole_after_an_interrupted_run() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("it's a link"));
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("a"), "a").unwrap();
        std::fs::write(target.join("b"), "b").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let command = replace_symlink(&link);
        let run = || std::process::Command::new("sh").args(["-c", &command]).status().unwrap();
        // `cp` fails at `b`, as it does on a full disk.
        std::fs::remove_file(target.join("b")).unwrap();
        std::os::unix::fs::symlink("nowhere", target.join("b")).unwrap();
        assert!(!run().success(), "{command}");
        std::fs::remove_file(target.join("b")).unwrap();
        std::fs::write(target.join("b"), "b").unwrap();
        assert!(run().success(), "{command}");
        assert!(!link.is_symlink(), "{command}");
        let names = std::fs::read_dir(&link).unwrap().flatten().map(|entry| entry.file_name());
        let names: std::collections::BTreeSet<_> = names.collect();
        assert_eq!(names, ["a", "b"].map(Into::into).into(), "{command}");
        assert!(!run().success(), "{command}");
    }

    #[test]
    fn a_hint_shows_what_is_wrong() {
        let (from, to) = (Path::new("/home/you/.swap"), Path::new("/home/you/config.json"));
        let hint =
            |op, errno: rustix::io::Errno| DiskError::with_two_paths(op, from, to, errno.into()).hint();
        let (immutable, denied) = (rustix::io::Errno::PERM, rustix::io::Errno::ACCESS);
        assert_eq!(hint(Op::Rename, immutable).as_deref(), Some("lsattr -d /home/you /home/you/config.json"));
        assert_eq!(hint(Op::Rename, denied).as_deref(), Some("ls -ld /home/you"));
        let large = DiskError::new(Op::Read, to, io::ErrorKind::FileTooLarge.into());
        assert_eq!(large.hint().as_deref(), Some("ls -lh /home/you/config.json"));
        // The directory decides about every change of a name.
        assert_eq!(hint(Op::Exchange, denied).as_deref(), Some("ls -ld /home/you"));
        assert_eq!(hint(Op::HardLink, denied).as_deref(), Some("ls -ld /home/you"));
        // The kernel refuses this to a user who is not the owner.
        assert_eq!(hint(Op::SetMode, immutable).as_deref(), Some("ls -ld /home/you/.swap"));
    }
}
