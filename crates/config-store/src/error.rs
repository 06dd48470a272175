use std::path::{Path, PathBuf};

use myownllm_config_model::ParseError;
use myownllm_durable_fs::{DiskError, move_aside, quote, replace_symlink, trust::OwnershipProblem};
use thiserror::Error;

/// Why a config could not be read, written or restored. Nothing was lost: what was there is there, or among the copies.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The config is there but could not be read. That is not "missing": nothing is written.
    #[error("reading the config {}", path.display())]
    Unreadable {
        /// The config.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// Something that is not a regular file has the config's name: a folder, a pipe, a device.
    #[error("reading the config {}: it is {what}", path.display())]
    NotRegular {
        /// The config.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The config is larger than any that we read.
    #[error("reading the config {}: it has more than {} MiB", path.display(), limit >> 20)]
    TooLarge {
        /// The config.
        path: PathBuf,
        /// The most that is read.
        limit: u64,
    },
    /// Somebody keeps writing the file, and what is there is no config.
    #[error("reading the config {}: somebody keeps writing it", path.display())]
    Unstable {
        /// The config.
        path: PathBuf,
    },
    /// The config was written by a newer version of the daemon. It is read, and never written.
    #[error("changing the config {}: it is of the daemon's version {version}, which is newer than this program", path.display())]
    Newer {
        /// The config.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The config needs a repair before it can be edited.
    #[error("editing the config {}: it needs a repair first", path.display())]
    RepairPending {
        /// The config.
        path: PathBuf,
        /// The program that repairs it.
        program: String,
    },
    /// Somebody else wrote the config again and again while we did. Their last write is in place.
    #[error("saving the config {}: somebody else keeps writing it", path.display())]
    Conflict {
        /// The config.
        path: PathBuf,
    },
    /// What would be written is more than is ever read: larger, or nested deeper. Nothing is written.
    #[error("changing the config {}: what would be written could not be read again: {why}", path.display())]
    TooMuch {
        /// The config.
        path: PathBuf,
        /// What of it is too much.
        why: String,
    },
    /// Something is mounted on the very file, so that no other can take its place. It is not written in place: who is cut off in the
    /// middle of that leaves half a config.
    #[error("saving the config {}: something is mounted on that very file, so that no other can take its place: mount the folder that it is in instead", path.display())]
    Mounted {
        /// The config.
        path: PathBuf,
        /// What the disk said.
        #[source]
        source: DiskError,
    },
    /// The config is a link to one of the copies: to write it would be to write over the copy.
    #[error("changing the config {}: it is a link to the copy {}", path.display(), copy.display())]
    ConfigIsACopy {
        /// The config.
        path: PathBuf,
        /// What it leads to.
        copy: PathBuf,
    },
    /// There is no room for another copy that is never to be removed.
    #[error("keeping a copy of the config in {}: it holds {} already", path.display(), amount(*count, *bytes))]
    BackupsFull {
        /// The folder of copies.
        path: PathBuf,
        /// How many were set aside.
        count: usize,
        /// How large they are together.
        bytes: u64,
    },
    /// What has the name of the folder of copies is none, or is another user's: a copy there is in nobody's safe keeping.
    #[error("{doing} {}: it is no folder of the home's owner", path.display())]
    CopiesUnsafe {
        /// What was being done.
        doing: &'static str,
        /// The folder of copies.
        path: PathBuf,
        /// What was met.
        #[source]
        source: DiskError,
    },
    /// No copy, or more than one, has that id.
    #[error("finding the copy {id} in {}: {}", path.display(), if *.several { "several match" } else { "there is none" })]
    NoSuchCopy {
        /// The folder of copies.
        path: PathBuf,
        /// What was asked for.
        id: String,
        /// Several match.
        several: bool,
        /// The program that lists them.
        program: String,
    },
    /// The newest copy is there and cannot be read. A repair does not go on with an older one, of which it would make the newest.
    #[error("repairing the config: the newest copy {} cannot be read, and an older one does not stand in for it", path.display())]
    CopyUnreadable {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// A copy does not hold the bytes that its name says, or no config of the app's.
    #[error("using the copy {}: {why}", path.display())]
    BadCopy {
        /// The copy.
        path: PathBuf,
        /// Why it cannot be used.
        why: &'static str,
    },
    /// A copy is not JSON, and has no complete member.
    #[error("using the copy {}: nothing in it can be restored: {}, at line {}, column {}", path.display(), error.kind, error.line, error.column)]
    TornCopy {
        /// The copy.
        path: PathBuf,
        /// Where it stops being JSON.
        error: ParseError,
    },
    /// The configs of the app and of the daemon are one file, by a link: what is written into the one is written into the other.
    #[error("changing the config {}: by the link {} it is the daemon's as well", path.display(), link.display())]
    Shared {
        /// The config that was to be written.
        path: PathBuf,
        /// The link that makes them one.
        link: PathBuf,
    },
    /// The config is a link that leads to a file of another user than the one who made the link: whoever may make links could have us
    /// write, and show, what is not theirs.
    #[error("changing the config {}: it is a link of user {by} to a file of user {of}", path.display())]
    ForeignLink {
        /// The config.
        path: PathBuf,
        /// Whose the link is.
        by: u32,
        /// Whose the file is.
        of: u32,
    },
    /// Somebody else decides where the app's home is, or its owner could not use what this process makes there.
    #[error("cannot change anything in the app's home: {} {}", .problem.path.display(), .problem.reason())]
    Untrusted {
        /// What is wrong, with which directory or symlink.
        problem: OwnershipProblem,
    },
    /// The caller's edit failed. Nothing was written.
    #[error("editing the config {}", path.display())]
    Edit {
        /// The config.
        path: PathBuf,
        /// The caller's error.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The user's home is not there; a mistyped one is not made.
    #[error("making the app's home: the user's home {} is not there", path.display())]
    NoHome {
        /// The user's home.
        path: PathBuf,
    },
    /// A step on the disk failed.
    #[error("{doing} {}", path.display())]
    Disk {
        /// What was being done: "keeping a copy in", "saving the config".
        doing: &'static str,
        /// To which path.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: DiskError,
    },
}

impl StoreError {
    /// What an error at the folder of copies means.
    pub(crate) fn at_copies(doing: &'static str, folder: &Path, source: DiskError) -> Self {
        let path = folder.to_owned();
        if source.untrusted().is_some() || source.kind() == std::io::ErrorKind::NotADirectory {
            Self::CopiesUnsafe { doing, path, source }
        } else {
            Self::Disk { doing, path, source }
        }
    }

    /// A code that stays, for programs: `store.unreadable`, `store.newer`, …
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "store.unreadable",
            Self::NotRegular { .. } => "store.not-regular",
            Self::TooLarge { .. } => "store.too-large",
            Self::Unstable { .. } => "store.unstable",
            Self::Newer { .. } => "store.newer",
            Self::RepairPending { .. } => "store.repair-pending",
            Self::Conflict { .. } => "store.conflict",
            Self::TooMuch { .. } => "store.too-much",
            Self::Mounted { .. } => "store.mounted",
            Self::ConfigIsACopy { .. } => "store.config-is-a-copy",
            Self::BackupsFull { .. } => "store.backups-full",
            Self::CopiesUnsafe { .. } => "store.copies-unsafe",
            Self::NoSuchCopy { .. } => "store.no-such-copy",
            Self::CopyUnreadable { .. } => "store.copy-unreadable",
            Self::BadCopy { .. } | Self::TornCopy { .. } => "store.bad-copy",
            Self::Shared { .. } => "store.shared",
            Self::ForeignLink { .. } => "store.foreign-link",
            Self::Untrusted { .. } => "homes.unsafe-permissions",
            Self::Edit { .. } => "store.edit",
            Self::NoHome { .. } => "store.no-home",
            Self::Disk { .. } => "store.disk",
        }
    }

    /// The path that the error is about.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::NotRegular { path, .. }
            | Self::TooLarge { path, .. }
            | Self::Unstable { path }
            | Self::Newer { path, .. }
            | Self::RepairPending { path, .. }
            | Self::Conflict { path }
            | Self::TooMuch { path, .. }
            | Self::Mounted { path, .. }
            | Self::ConfigIsACopy { path, .. }
            | Self::BackupsFull { path, .. }
            | Self::CopiesUnsafe { path, .. }
            | Self::NoSuchCopy { path, .. }
            | Self::CopyUnreadable { path, .. }
            | Self::BadCopy { path, .. }
            | Self::TornCopy { path, .. }
            | Self::Shared { path, .. }
            | Self::ForeignLink { path, .. }
            | Self::Edit { path, .. }
            | Self::NoHome { path }
            | Self::Disk { path, .. } => path,
            Self::Untrusted { problem } => &problem.path,
        }
    }

    /// What a person can do about it: a command that can be copied where there is one, else a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { path, source } => source.hint().unwrap_or_else(|| list(path)),
            Self::NotRegular { path, .. } | Self::CopiesUnsafe { path, .. } => move_aside(path, "aside"),
            Self::Mounted { path, .. } => {
                format!("findmnt {}", quote(path))
            }
            Self::TooLarge { path, .. } | Self::TooMuch { path, .. } => format!("ls -lh {}", quote(path)),
            Self::Unstable { path } | Self::Conflict { path } => {
                format!(
                    "see which program has it open, end that one, and start again: fuser -v {}",
                    quote(path)
                )
            }
            Self::Newer { .. } => "use the newest version of this program".to_owned(),
            Self::RepairPending { program, .. } => format!("{program} salvage"),
            Self::BackupsFull { path, .. } => {
                format!("look through it and move away what you do not need: ls -l {}", quote(path))
            }
            Self::NoSuchCopy { program, .. } => format!("{program} config history"),
            Self::CopyUnreadable { path, source } => {
                if source.kind() == std::io::ErrorKind::PermissionDenied {
                    format!("chmod u+r {}", quote(path))
                } else {
                    move_aside(path, "aside")
                }
            }
            Self::BadCopy { path, .. } | Self::ForeignLink { path, .. } => list(path),
            Self::TornCopy { path, error } => format!("sed -n {}p {}", error.line, quote(path)),
            // A file of its own, with what it shows now.
            Self::Shared { link, .. } | Self::ConfigIsACopy { path: link, .. } => replace_symlink(link),
            Self::NoHome { path } => format!("mkdir {}", quote(path)),
            Self::Disk { path, source, .. } => source.hint().unwrap_or_else(|| list(path)),
            Self::Untrusted { problem } => problem.command(),
            Self::Edit { .. } => return None,
        })
    }
}

fn amount(count: usize, bytes: u64) -> String {
    let copies = if count == 1 { "copy" } else { "copies" };
    format!("{count} {copies} of {bytes} bytes")
}

fn list(path: &Path) -> String {
    format!("ls -ld {}", quote(path))
}
