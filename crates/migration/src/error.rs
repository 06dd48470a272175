//! Why something was not moved.

use crate::{Direction, Keep};
use std::{
    error::Error as _,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{DiskError, move_aside, quote, replace_symlink, trust::OwnershipProblem};
pub use myownllm_identity::Class;
use myownllm_identity::{KeyInfo, Refusal};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::plan::lossy;

/// One side of a choice between two keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Side {
    /// The key file.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Whose key it is.
    pub key: KeyInfo,
    /// How many rosters lie on this side.
    pub rosters: usize,
    /// How many states.
    pub states: usize,
}

impl Side {
    /// Nothing lies there but the key.
    fn is_bare(&self) -> bool {
        self.rosters == 0 && self.states == 0
    }
}

/// A daemon that still writes one of the homes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LiveDaemon {
    /// Where it answers, or is busy.
    #[serde(serialize_with = "lossy")]
    pub socket: PathBuf,
    /// Its process id, where the platform tells.
    pub pid: Option<u32>,
    /// What it said of itself: its version, or that it is busy.
    pub note: String,
    /// What it is to the homes.
    pub kind: LiveKind,
    /// The command to begin with, where the daemon cannot be asked to end as it is; the note says why.
    #[serde(skip)]
    pub hint: Option<String>,
}

/// What a daemon is to the homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LiveKind {
    /// It does not belong there: it serves the old location, or no socket leads to it. It may be stopped
    /// ([`crate::Options::stop_legacy_daemon`]).
    Legacy,
    /// The daemon that belongs there: it serves the daemon home, at its socket.
    Own,
    /// It cannot be told whether there is one.
    Unknown,
}

impl LiveDaemon {
    /// A daemon at this socket that does not belong there.
    pub fn new(socket: impl Into<PathBuf>, pid: Option<u32>, note: impl Into<String>) -> Self {
        Self { socket: socket.into(), pid, note: note.into(), kind: LiveKind::Legacy, hint: None }
    }

    /// It is the daemon of the daemon home, at its socket.
    #[must_use]
    pub fn own(self) -> Self {
        Self { kind: LiveKind::Own, ..self }
    }

    /// It cannot be told whether there is one; the note says why.
    #[must_use]
    pub fn unknown(self) -> Self {
        Self { kind: LiveKind::Unknown, ..self }
    }

    /// With a command that has to come before any other.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Why nothing may be changed while it runs. `command` ends it where nothing has to come before; `stop_failed` is why
    /// it could not be stopped, when that was asked for.
    pub fn refusal(self, command: impl Into<String>, stop_failed: Option<String>) -> MigrationError {
        let command = match (&self.hint, &stop_failed) {
            (Some(hint), None) => hint.clone(),
            _ => command.into(),
        };
        match self.kind {
            LiveKind::Legacy => MigrationError::LegacyDaemon { daemon: self, command, stop_failed },
            LiveKind::Own => MigrationError::OwnDaemon { daemon: self, command },
            LiveKind::Unknown => MigrationError::UnknownDaemon { daemon: self, command },
        }
    }
}

/// Why something was not moved, or nothing was.
///
/// `Display` says what and where; the cause is the source. [`code`](Self::code) is stable, [`hint`](Self::hint) a command.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrationError {
    /// It is there, but cannot be read or looked at. Unreadable is not absent.
    #[error("{} is there but cannot be read", .path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// A step failed.
    #[error("the move failed at {}", .path.display())]
    Failed {
        /// What should have been moved, made or removed.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// A flush failed. That is final: what was to be removed after it is kept.
    #[error("what was written to {} could not be made durable", .path.display())]
    FlushFailed {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// It changed while it was copied, so the copy was thrown away.
    #[error("{} changed while it was being moved", .path.display())]
    Changed {
        /// What.
        path: PathBuf,
    },
    /// It was there a moment ago.
    #[error("{} went away while the move ran", .path.display())]
    Vanished {
        /// What.
        path: PathBuf,
    },
    /// The key stays where it is until all that belongs with it has moved: its presence at the new place means "done".
    #[error("the key {} stays until everything that belongs with it has moved", .path.display())]
    IdentityHeldBack {
        /// The key.
        path: PathBuf,
    },
    /// Both homes hold a sound key, and they differ.
    #[error(
        "two different identities: {} in {} and {} in {}",
        .source_side.key.device_id, .source_side.path.display(),
        .destination_side.key.device_id, .destination_side.path.display()
    )]
    TwoIdentities {
        /// The one at the source.
        source_side: Box<Side>,
        /// The one at the destination.
        destination_side: Box<Side>,
        /// The command that settles it, with `source` or `destination` to be added.
        command: String,
        /// Which way it was to move.
        direction: Direction,
    },
    /// A key file that is no sound key. It is kept, and never replaced by a new one.
    #[error("the key {} is damaged: {why}", .path.display())]
    IdentityDamaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The command that puts a sound one in its place.
        remedy: Option<String>,
    },
    /// The identity file is missing, and a sound one lies elsewhere, or peers know the device by it. Nothing is moved before it is back.
    #[error(transparent)]
    Identity(Box<Refusal>),
    /// A key file of a newer version.
    #[error("the key {} is of version {version}, newer than this program knows", .path.display())]
    IdentityNewer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The key is a link that leads to nothing that can be seen now: an unplugged disk, say.
    #[error("the key {} is a link to {}, where there is no file", .path.display(), .target.display())]
    IdentityUnreachable {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A folder of the destination is a link out of the app's home.
    #[error("{} is a link that leads out of the app's home, to {}", .path.display(), .target.display())]
    DestinationOutside {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Where a folder belongs there is something else.
    #[error("{} is not a folder", .path.display())]
    DestinationNotFolder {
        /// What is in the way.
        path: PathBuf,
    },
    /// The folder that holds the key is a link: taking the key out of wherever it leads is not ours to decide.
    #[error("{} is a link to {}, and the key lies behind it", .path.display(), .target.display())]
    SourceLink {
        /// The link.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// Source and destination are one folder under two names.
    #[error("{} and {} are the same folder", .source_folder.display(), .destination_folder.display())]
    SameFolder {
        /// Its name at the source.
        source_folder: PathBuf,
        /// Its name at the destination.
        destination_folder: PathBuf,
    },
    /// Others may write here, so what lies here cannot be trusted with a key.
    #[error("{} {why}", .path.display())]
    UnsafePermissions {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
        /// The command that mends it.
        command: String,
    },
    /// The file system has neither a rename that cannot replace nor hard links.
    #[error("the file system of {} can neither rename without replacing nor link", .path.display())]
    NoExclusiveRename {
        /// A folder on it.
        path: PathBuf,
    },
    /// A daemon still writes one of the homes.
    #[error("a daemon is still running at {}{}{}{}", .daemon.socket.display(), Pid(.daemon.pid), Obstacle(.daemon), StopFailed(.stop_failed.as_deref()))]
    LegacyDaemon {
        /// Which.
        daemon: LiveDaemon,
        /// The command that ends it.
        command: String,
        /// Why it could not be stopped, when that was asked for.
        stop_failed: Option<String>,
    },
    /// The daemon that belongs to the daemon home runs, and would go on writing there.
    #[error("the daemon of the daemon home runs at {}{}, and would go on writing{}", .daemon.socket.display(), Pid(.daemon.pid), Obstacle(.daemon))]
    OwnDaemon {
        /// Which.
        daemon: LiveDaemon,
        /// The command that ends it.
        command: String,
    },
    /// It cannot be told whether a daemon still writes one of the homes.
    #[error("whether a daemon runs at {} cannot be told: {}", .daemon.socket.display(), .daemon.note)]
    UnknownDaemon {
        /// Where it would be, and why it cannot be told.
        daemon: LiveDaemon,
        /// The command that shows more.
        command: String,
    },
    /// The lock that was passed does not lock the app's home.
    #[error(transparent)]
    OutsideLock(DiskError),
    /// A refusal of the caller's own, such as a socket path that would be too long: see [`crate::Plan::refuse`].
    #[error("{message}")]
    Caller {
        /// Its stable code.
        code: &'static str,
        /// What is wrong.
        message: String,
        /// What it is about.
        path: PathBuf,
        /// The command that mends it.
        hint: Option<String>,
    },
}

/// Why something is still running that was to end.
struct StopFailed<'a>(Option<&'a str>);

impl std::fmt::Display for StopFailed<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |why| write!(f, ", and was not ended: {why}"))
    }
}

/// What keeps a daemon from ending as it is.
struct Obstacle<'a>(&'a LiveDaemon);

impl std::fmt::Display for Obstacle<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.hint.as_ref().map_or(Ok(()), |_| write!(f, ": {}", self.0.note))
    }
}

struct Pid(Option<u32>);

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(pid) => write!(f, " (process {pid})"),
            None => Ok(()),
        }
    }
}

impl From<OwnershipProblem> for MigrationError {
    fn from(problem: OwnershipProblem) -> Self {
        let (why, command) = (problem.reason(), problem.command());
        Self::UnsafePermissions { path: problem.path, why, command }
    }
}

impl MigrationError {
    /// It says that something of the source's could not be got at, so that there may be something to move after all.
    pub(crate) fn is_about_source(&self) -> bool {
        matches!(self, Self::SourceLink { .. })
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "migration.unreadable",
            Self::Failed { .. } => "migration.failed",
            Self::FlushFailed { .. } => "migration.flush-failed",
            Self::Changed { .. } => "migration.changed",
            Self::Vanished { .. } => "migration.vanished",
            Self::IdentityHeldBack { .. } => "migration.identity-held-back",
            Self::TwoIdentities { .. } => "migration.two-identities",
            Self::IdentityDamaged { .. } => "migration.identity-damaged",
            Self::Identity(refusal) => refusal.code(),
            Self::IdentityNewer { .. } => "migration.identity-newer",
            Self::IdentityUnreachable { .. } => "migration.identity-unreachable",
            Self::DestinationOutside { .. } => "migration.destination-outside",
            Self::DestinationNotFolder { .. } => "migration.destination-not-folder",
            Self::SourceLink { .. } => "migration.source-link",
            Self::SameFolder { .. } => "migration.same-folder",
            Self::UnsafePermissions { .. } => "migration.unsafe-permissions",
            Self::NoExclusiveRename { .. } => "migration.no-exclusive-rename",
            Self::LegacyDaemon { .. } => "daemon.legacy-running",
            Self::OwnDaemon { .. } => "daemon.own-running",
            Self::UnknownDaemon { .. } => "daemon.unreachable",
            Self::OutsideLock(error) => error.code(),
            Self::Caller { code, .. } => code,
        }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. }
            | Self::Failed { .. }
            | Self::FlushFailed { .. }
            | Self::Changed { .. }
            | Self::Vanished { .. }
            | Self::IdentityHeldBack { .. }
            | Self::IdentityUnreachable { .. }
            | Self::OutsideLock(_) => Class::Failed,
            Self::Identity(refusal) => refusal.class(),
            Self::IdentityDamaged { .. }
            | Self::TwoIdentities { .. }
            | Self::DestinationOutside { .. }
            | Self::DestinationNotFolder { .. }
            | Self::SourceLink { .. }
            | Self::SameFolder { .. }
            | Self::UnsafePermissions { .. }
            | Self::NoExclusiveRename { .. }
            | Self::LegacyDaemon { .. }
            | Self::OwnDaemon { .. }
            | Self::UnknownDaemon { .. }
            | Self::Caller { .. } => Class::Refused,
            Self::IdentityNewer { .. } => Class::Newer,
        }
    }

    /// Whether it refuses because a daemon writes one of the homes, or may.
    pub fn is_about_a_daemon(&self) -> bool {
        matches!(self, Self::LegacyDaemon { .. } | Self::OwnDaemon { .. } | Self::UnknownDaemon { .. })
    }

    /// What it is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Unreadable { path, .. }
            | Self::Failed { path, .. }
            | Self::FlushFailed { path, .. }
            | Self::Changed { path }
            | Self::Vanished { path }
            | Self::IdentityHeldBack { path }
            | Self::IdentityDamaged { path, .. }
            | Self::IdentityNewer { path, .. }
            | Self::IdentityUnreachable { path, .. }
            | Self::DestinationOutside { path, .. }
            | Self::DestinationNotFolder { path }
            | Self::SourceLink { path, .. }
            | Self::UnsafePermissions { path, .. }
            | Self::NoExclusiveRename { path }
            | Self::Caller { path, .. } => path,
            Self::TwoIdentities { source_side, .. } => &source_side.path,
            Self::Identity(refusal) => refusal.path(),
            Self::SameFolder { destination_folder, .. } => destination_folder,
            Self::LegacyDaemon { daemon, .. }
            | Self::OwnDaemon { daemon, .. }
            | Self::UnknownDaemon { daemon, .. } => &daemon.socket,
            Self::OutsideLock(error) => error.path(),
        }
    }

    /// A command that settles it, or shows what is wrong; ready to be copied.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { path, .. } => Some(format!("ls -ld {}", quote(path))),
            Self::Failed { source, path } => {
                source.hint().or_else(|| Some(format!("ls -ld {}", quote(path))))
            }
            Self::FlushFailed { path, .. } => Some(format!("df -h {}", quote(path))),
            Self::Changed { path } => Some(format!("fuser -v {}", quote(path))),
            Self::Vanished { path } => Some(format!("ls -la {}", quote(path.parent().unwrap_or(path)))),
            Self::IdentityHeldBack { .. } | Self::IdentityNewer { .. } | Self::OutsideLock(_) => None,
            Self::TwoIdentities { source_side, destination_side, command, direction } => {
                // A key that lies with nothing was just made. Where that does not tell, both are shown, and none is chosen.
                let keep = match (source_side.is_bare(), destination_side.is_bare()) {
                    (false, true) => Keep::Source,
                    (true, false) => Keep::Destination,
                    _ => return Some(format!("{command} --dry-run")),
                };
                Some(format!("{command} --keep-identity {}", keep.place(*direction)))
            }
            Self::IdentityDamaged { path, remedy, .. } => Some(match remedy {
                Some(command) => command.clone(),
                None => format!("ls -la {}", quote(path.parent().unwrap_or(path))),
            }),
            Self::Identity(refusal) => refusal.hint(),
            Self::IdentityUnreachable { path, .. } => Some(format!("readlink -f {}", quote(path))),
            Self::DestinationOutside { path, .. } => {
                Some(format!("test -L {0} && rm {0} && mkdir -m 700 {0}", quote(path)))
            }
            Self::DestinationNotFolder { path } => Some(move_aside(path, "aside")),
            Self::SourceLink { path, .. } => Some(replace_symlink(path)),
            Self::SameFolder { source_folder, destination_folder } => {
                Some(format!("ls -lid {} {}", quote(source_folder), quote(destination_folder)))
            }
            Self::UnsafePermissions { command, .. } => Some(command.clone()),
            Self::NoExclusiveRename { path } => Some(format!("findmnt --target {}", quote(path))),
            Self::LegacyDaemon { command, .. }
            | Self::OwnDaemon { command, .. }
            | Self::UnknownDaemon { command, .. } => Some(command.clone()),
            Self::Caller { hint, .. } => hint.clone(),
        }
    }
}

impl Serialize for MigrationError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut causes = Vec::new();
        let mut next = self.source();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        let mut out = serializer.serialize_struct("MigrationError", 7)?;
        out.serialize_field("code", self.code())?;
        out.serialize_field("class", &self.class())?;
        out.serialize_field("message", &self.to_string())?;
        out.serialize_field("path", &self.path().to_string_lossy())?;
        out.serialize_field("hint", &self.hint())?;
        out.serialize_field("causes", &causes)?;
        match self {
            Self::TwoIdentities { source_side, destination_side, .. } => {
                out.serialize_field("sides", &Some((source_side, destination_side)))?;
            }
            _ => out.skip_field("sides")?,
        }
        out.end()
    }
}
