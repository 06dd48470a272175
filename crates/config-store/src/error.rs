use std::path::{Path, PathBuf};

use myownllm_config_model::ParseError;
use myownllm_durable_fs::{
    DiskError, Untrusted, move_aside, quote, replace_symlink, trust::OwnershipProblem,
};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{Class, PathsError, impl_failure};
use thiserror::Error;

use crate::BackupId;

/// Says why a config could not be read, written or restored. Nothing was lost: the previous content
/// is in place or among the backups.
#[derive(Debug, Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum StoreError {
    /// The config exists but could not be read. Unreadable is not "missing": nothing is written.
    #[error("cannot read the config {path}")]
    Unreadable { path: Utf8PathBuf, source: DiskError },
    /// An entry that is not a regular file has the config's name: a directory, a pipe, a device.
    #[error("cannot read the config {path}: it is {what}")]
    NotRegular { path: Utf8PathBuf, what: &'static str },
    /// The config is larger than the limit.
    #[error("cannot read the config {path}: it has more than {} MiB", limit >> 20)]
    TooLarge { path: Utf8PathBuf, limit: u64 },
    /// Another program keeps writing the file, and its content never parses.
    #[error("cannot read the config {path}: another program keeps writing it")]
    Unstable { path: Utf8PathBuf },
    /// A newer version of the daemon wrote the config. The config is read and never written.
    #[error(
        "cannot change the config {path}: it has format {version}, and this program knows up to {}: \
        update this program",
        myownllm_config_model::daemon_config::NEWEST_VERSION
    )]
    Newer { path: Utf8PathBuf, version: u64 },
    /// The app of this store gives no schema, or MyOwnLLM's although it is another app.
    #[error("cannot use the config {path}: the store has no schema of {app}")]
    NoSchema { path: Utf8PathBuf, app: String },
    /// The config needs a repair before it can be edited.
    #[error("cannot edit the config {path}: it needs a repair first")]
    RepairPending { path: Utf8PathBuf, program: String },
    /// Another program wrote the config at every attempt of this one. The other program's last
    /// write is in place.
    #[error("cannot save the config {path}: another program keeps writing it")]
    Conflict { path: PathBuf },
    /// The new content could not be read again: it is too large or nested too deep. Nothing is
    /// written.
    #[error("cannot change the config {path}: the result could not be read again: {why}")]
    TooMuch { path: Utf8PathBuf, why: String },
    /// The config is a mount point, so no other file can take its place. The store does not write
    /// it in place: a crash in the middle of the write would leave half a config.
    #[error(
        "cannot save the config {path}: something is mounted on the file, so that no other file \
        can take its place: mount its directory instead"
    )]
    Mounted { path: Utf8PathBuf, source: DiskError },
    /// The config is a symlink to one of the backups: a write would overwrite the backup.
    #[error("cannot change the config {path}: it is a symlink to the backup {backup}")]
    ConfigIsBackup { path: Utf8PathBuf, backup: PathBuf },
    /// There is no room for another backup that is never removed.
    #[error("cannot keep a backup of the config in {path}: it holds {} already",
        amount(*count, *bytes))]
    BackupsFull { path: Utf8PathBuf, count: usize, bytes: u64 },
    /// The entry with the name of the backup directory is not a directory, or belongs to another
    /// user: a backup there would not be safe.
    #[error("cannot {doing} {path}: it is not a directory of the home's owner")]
    BackupsUnsafe { doing: &'static str, path: Utf8PathBuf, source: DiskError },
    /// No backup, or more than one, has that id.
    #[error("cannot find backup {id} in {path}: {}",
        if *.several { "several match" } else { "there is none" })]
    NoSuchBackup {
        path: Utf8PathBuf,
        id: String,
        /// True if several match, false if none does.
        several: bool,
        program: String,
    },
    /// The newest backup, or a config that a daemon renamed, exists and cannot be read. A repair does
    /// not use an older backup instead, because the older one would become the newest.
    #[error("cannot repair the config: {} cannot be read, and an older backup does not stand in for \
        it", source.path().display())]
    BackupUnreadable { source: DiskError },
    /// The bytes of a backup do not match its name, or are not a config of the app's.
    #[error("cannot use the backup {path}: {why}")]
    BadBackup { path: Utf8PathBuf, why: &'static str },
    /// A backup is not JSON, and has no complete member.
    #[error("cannot use the backup {path}: nothing in it can be restored: {}, at line {}, column {}",
        error.kind, error.line, error.column)]
    TornBackup { path: Utf8PathBuf, error: ParseError },
    /// A symlink makes the configs of the app and of the daemon one file: a write to one changes
    /// the other.
    #[error("cannot change the config {path}: {}", match path == link {
        true => "it is a symlink into the daemon home".to_owned(),
        false => format!("by the symlink {link} it is the daemon's as well"),
    })]
    Shared { path: Utf8PathBuf, link: Utf8PathBuf },
    /// The daemon home is, by a symlink or a mount, the app's home or outside of it.
    #[error(transparent)]
    Homes(PathsError),
    /// The config is a symlink of one user to a file of another. A user who may make symlinks could
    /// make this program write, and show, another user's file.
    #[error("cannot change the config {path}: it is a symlink of user {by} to a file of user {of}")]
    ForeignLink { path: Utf8PathBuf, by: u32, of: u32 },
    /// Another user decides where the app's home is, or the owner of the home could not use the
    /// files that this process creates there.
    #[error("cannot change anything in the app's home: {} {}", .problem.path.display(), .problem.reason())]
    Untrusted { problem: OwnershipProblem },
    /// The caller's edit failed. Nothing was written.
    #[error("cannot edit the config {path}")]
    Edit { path: Utf8PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    /// The user's home does not exist. It is not created, because the path may be mistyped.
    #[error("cannot make the app's home: the user's home {path} does not exist")]
    NoHome { path: Utf8PathBuf },
    /// A disk operation failed.
    #[error("cannot {doing} {path}")]
    Disk { doing: &'static str, path: PathBuf, source: DiskError },
}

impl StoreError {
    pub(crate) fn conflict(path: impl Into<PathBuf>) -> Self {
        Self::Conflict { path: path.into() }
    }

    /// Returns a function that makes an error of an operation on `path`.
    pub(crate) fn disk(doing: &'static str, path: impl AsRef<Path>) -> impl Fn(DiskError) -> Self {
        move |source| Self::Disk { doing, path: path.as_ref().to_owned(), source }
    }

    /// Classifies an error at the backup directory.
    pub(crate) fn at_backups(doing: &'static str, dir: &Utf8Path, source: DiskError) -> Self {
        if source.untrusted().is_some() || source.kind() == std::io::ErrorKind::NotADirectory {
            Self::BackupsUnsafe { doing, path: dir.to_owned(), source }
        } else {
            Self::disk(doing, dir)(source)
        }
    }

    /// Returns a stable code, for programs: `store.unreadable`, `store.newer`, …
    pub fn code(&self) -> &'static str {
        self.code_and_class().0
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        self.code_and_class().1
    }

    fn code_and_class(&self) -> (&'static str, Class) {
        use Class::{Failed, Newer, Refused};
        match self {
            Self::Unreadable { .. } => ("store.unreadable", Failed),
            Self::NotRegular { .. } => ("store.not-regular", Failed),
            Self::TooLarge { .. } => ("store.too-large", Failed),
            Self::Unstable { .. } => ("store.unstable", Failed),
            Self::Newer { .. } => ("store.newer", Newer),
            Self::NoSchema { .. } => ("store.no-schema", Failed),
            Self::RepairPending { .. } => ("store.repair-pending", Failed),
            Self::Conflict { .. } => ("store.conflict", Failed),
            Self::TooMuch { .. } => ("store.too-much", Failed),
            Self::Mounted { .. } => ("store.mounted", Failed),
            Self::ConfigIsBackup { .. } => ("store.config-is-a-copy", Refused),
            Self::BackupsFull { .. } => ("store.backups-full", Refused),
            Self::BackupsUnsafe { .. } => ("store.copies-unsafe", Refused),
            Self::NoSuchBackup { .. } => ("store.no-such-copy", Failed),
            Self::BackupUnreadable { .. } => ("store.copy-unreadable", Failed),
            Self::BadBackup { .. } | Self::TornBackup { .. } => ("store.bad-copy", Failed),
            Self::Shared { .. } => ("store.shared", Refused),
            Self::Homes(error) => (error.code(), error.class()),
            Self::ForeignLink { .. } => ("store.foreign-link", Refused),
            Self::Untrusted { .. } => ("homes.unsafe-permissions", Refused),
            Self::Edit { .. } => ("store.edit", Failed),
            Self::NoHome { .. } => ("store.no-home", Failed),
            Self::Disk { .. } => ("store.disk", Failed),
        }
    }

    /// Returns the path that the error is about.
    pub fn path(&self) -> &Path {
        let path = match self {
            Self::Conflict { path } | Self::Disk { path, .. } => return path,
            Self::BackupUnreadable { source } => return source.path(),
            Self::Untrusted { problem } => return &problem.path,
            Self::Homes(error) => return error.path().unwrap_or_else(|| Path::new("")),
            Self::Unreadable { path, .. }
            | Self::NotRegular { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Unstable { path }
            | Self::Newer { path, .. }
            | Self::NoSchema { path, .. }
            | Self::RepairPending { path, .. }
            | Self::TooMuch { path, .. }
            | Self::Mounted { path, .. }
            | Self::ConfigIsBackup { path, .. }
            | Self::BackupsFull { path, .. }
            | Self::BackupsUnsafe { path, .. }
            | Self::NoSuchBackup { path, .. }
            | Self::BadBackup { path, .. }
            | Self::TornBackup { path, .. }
            | Self::Shared { path, .. }
            | Self::ForeignLink { path, .. }
            | Self::Edit { path, .. }
            | Self::NoHome { path } => path,
        };
        path.as_std_path()
    }

    /// Returns the remedy: a command that can be copied if there is one, else a sentence.
    pub fn hint(&self) -> Option<String> {
        let path = self.path();
        let quoted = quote(path);
        let list = || format!("ls -ld {quoted}");
        let is_denied = |source: &DiskError| source.kind() == std::io::ErrorKind::PermissionDenied;
        Some(match self {
            Self::Unreadable { source, .. } if is_denied(source) => format!("chmod u+rw {quoted}"),
            Self::BackupUnreadable { source } if is_denied(source) => format!("chmod u+r {quoted}"),
            Self::Unreadable { source, .. } | Self::Disk { source, .. } => source.hint().unwrap_or_else(list),
            Self::BackupsUnsafe { source, .. } => mend_backup_dir(path, source),
            Self::NotRegular { .. } | Self::TooLarge { .. } | Self::BackupUnreadable { .. } => {
                move_aside(path, "aside")
            }
            Self::Mounted { .. } => format!("findmnt {quoted}"),
            Self::TooMuch { .. } => format!("ls -lh {quoted}"),
            Self::Unstable { .. } | Self::Conflict { .. } => {
                format!("see which program has it open, end that one, and start again: fuser -v {quoted}")
            }
            Self::Newer { .. } => "use the newest version of this program".to_owned(),
            Self::RepairPending { program, .. } => format!("{program} repair"),
            Self::BackupsFull { .. } => {
                format!("look through it and move away what you do not need: ls -l {quoted}")
            }
            Self::NoSuchBackup { program, .. } => format!("{program} config history"),
            Self::BadBackup { .. } | Self::ForeignLink { .. } => list(),
            Self::TornBackup { error, .. } => format!("sed -n {}p {quoted}", error.line),
            // Replaces the symlink by a regular file with its current content.
            Self::Shared { link, .. } | Self::ConfigIsBackup { path: link, .. } => replace_symlink(link),
            Self::NoHome { .. } => format!("mkdir {quoted}"),
            Self::Homes(error) => return error.hint(),
            Self::Untrusted { problem } => problem.command(),
            Self::NoSchema { app, .. } => {
                format!("correct the program: it passes the `AppSchema` of {app} to `Store::new`")
            }
            Self::Edit { .. } => return None,
        })
    }
}

impl_failure!(StoreError, serialize);

/// Returns the command that makes the backup directory usable. Backups in it stay where a repair
/// finds them. A symlink of another user may lead anywhere.
fn mend_backup_dir(path: &Path, source: &DiskError) -> String {
    let names = || path.read_dir().into_iter().flatten().flatten().map(|entry| entry.file_name());
    match source.untrusted() {
        Some(Untrusted::Foreign { path, owner, .. })
            if path.symlink_metadata().is_ok_and(|meta| meta.is_dir()) =>
        {
            format!("sudo chown -h {owner} {}", quote(path))
        }
        Some(Untrusted::Foreign { .. }) => move_aside(path, "aside"),
        _ if path.is_symlink() && names().any(|name| name.to_str().and_then(BackupId::of_file).is_some()) => {
            replace_symlink(path)
        }
        _ => move_aside(path, "aside"),
    }
}

fn amount(count: usize, bytes: u64) -> String {
    let backups = if count == 1 { "backup" } else { "backups" };
    format!("{count} {backups} of {bytes} bytes")
}
