//! Errors: the reasons why a file was not moved.

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{DiskError, move_aside, quote, replace_symlink, trust::OwnershipProblem};
pub use myownllm_identity::Class;
use myownllm_identity::{KeyInfo, Refusal};
use myownllm_paths::{FailureData, impl_failure};
use serde::{Serialize, Serializer};

use crate::{Direction, Keep, lossy::lossy};

/// One side of a choice between two identities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "IdentitySide"))]
#[non_exhaustive]
pub struct Side {
    /// The identity file.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The identity.
    pub key: KeyInfo,
    /// The number of rosters on this side.
    pub rosters: usize,
    /// The number of states on this side.
    pub states: usize,
    /// True if the home is known to have had this identity, and not the other one.
    #[serde(skip)]
    pub is_known: bool,
}

impl Side {
    /// Returns true if this side holds nothing but the identity file.
    fn is_bare(&self) -> bool {
        self.rosters == 0 && self.states == 0
    }
}

/// A daemon that still writes one of the homes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct LiveDaemon {
    /// The socket at which the daemon answers, or is busy.
    #[serde(serialize_with = "lossy")]
    pub socket: PathBuf,
    /// The process id, where the platform tells it.
    pub pid: Option<u32>,
    /// The daemon's own answer: its version, or that it is busy.
    pub note: String,
    /// The relation of the daemon to the homes.
    pub kind: LiveKind,
    /// The command that the user must run first if the daemon cannot be asked to end in its present
    /// state; the note says why.
    #[serde(skip)]
    pub hint: Option<String>,
}

/// The relation of a daemon to the homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LiveKind {
    /// The daemon does not belong to the daemon home: it serves the old location, or no socket
    /// leads to it. It may be stopped before a move.
    Legacy,
    /// The daemon of the daemon home: it serves the daemon home, at its socket.
    Own,
    /// The check for a daemon failed.
    Unknown,
}

impl LiveDaemon {
    /// Creates a daemon at this socket that may be asked to end.
    pub fn new(
        socket: impl Into<PathBuf>,
        pid: Option<u32>,
        note: impl Into<String>,
        kind: LiveKind,
    ) -> Self {
        Self { socket: socket.into(), pid, note: note.into(), kind, hint: None }
    }

    /// Returns the error that nothing may be changed while the daemon runs. `command` ends the
    /// daemon if no other command must come first; `stop_failed` is the reason why the daemon could
    /// not be stopped, if the user asked for that.
    pub fn refusal(self, command: impl Into<String>, stop_failed: Option<String>) -> MigrationError {
        let command = match (&self.hint, &stop_failed) {
            (Some(hint), None) => hint.clone(),
            _ => command.into(),
        };
        MigrationError::Daemon { daemon: self, command, stop_failed }
    }

    fn message(&self, stop_failed: Option<&str>) -> String {
        let Self { socket, note, .. } = self;
        let socket = socket.display();
        let process = self.pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        // The obstacle that keeps the daemon from ending in its present state.
        let obstacle = self.hint.as_ref().map_or_else(String::new, |_| format!(": {note}"));
        let failed = stop_failed.map_or_else(String::new, |why| format!(", and was not ended: {why}"));
        match self.kind {
            LiveKind::Legacy => format!("a daemon is still running at {socket}{process}{obstacle}{failed}"),
            LiveKind::Own => format!(
                "the daemon of the daemon home runs at {socket}{process}, and would go on writing{obstacle}"
            ),
            LiveKind::Unknown => format!("cannot check for a daemon at {socket}: {note}"),
        }
    }
}

/// The reason why a file was not moved, or why nothing was.
///
/// `Display` tells the problem and the path; the cause is the source. [`code`](Self::code) is
/// stable, [`hint`](Self::hint) is a command.
#[derive(Clone, Debug, thiserror::Error)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "ErrorData<'static>", description = "The reason why a file was not moved.")
)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum MigrationError {
    /// A file exists, but cannot be read or inspected. Unreadable is not absent.
    #[error("cannot read {}", .path.display())]
    Unreadable { path: PathBuf, source: DiskError },
    /// A step failed.
    #[error("cannot finish the move at {}", .path.display())]
    Failed { path: PathBuf, source: DiskError },
    /// A sync failed. That is final: files whose removal depended on it are kept.
    #[error("cannot sync {} to the disk", .path.display())]
    FlushFailed { path: PathBuf, source: DiskError },
    /// A file changed during its copy, so the copy was removed.
    #[error("cannot move {}: it changed meanwhile", .path.display())]
    Changed { path: PathBuf },
    /// A file existed at the inspection and is gone now.
    #[error("cannot move {}: it went away meanwhile", .path.display())]
    Vanished { path: PathBuf },
    /// The identity file stays in its place until everything that belongs to it has moved: its
    /// presence at the destination means "done".
    #[error("cannot move the identity file {} before everything that belongs with it", .path.display())]
    IdentityHeldBack { path: PathBuf },
    /// Both homes hold a valid identity file, and the identities differ.
    #[error(
        "two different identities: {} in {} and {} in {}",
        .source_side.key.device_id, .source_side.path.display(),
        .destination_side.key.device_id, .destination_side.path.display()
    )]
    TwoIdentities {
        source_side: Box<Side>,
        destination_side: Box<Side>,
        /// The command that settles the choice, to which the user adds `source` or `destination`.
        command: String,
        direction: Direction,
    },
    /// An identity file that is not valid. It is kept, and never replaced by a new one.
    #[error("the identity file {} is damaged: {why}", .path.display())]
    IdentityDamaged { path: PathBuf, why: String, remedy: Option<String> },
    /// The identity file is missing, and a valid one lies elsewhere or peers know the device by it.
    /// Nothing moves until the file is back.
    #[error(transparent)]
    Identity(Box<Refusal>),
    /// An identity file of a newer version.
    #[error("the identity file {} is of version {version}, newer than this program knows", .path.display())]
    IdentityNewer { path: PathBuf, version: u64 },
    /// The identity file is a symlink whose target does not exist at present, for example on an
    /// unplugged disk.
    #[error(
        "the identity file {} is a symlink to {}, where there is no file",
        .path.display(),
        .target.display()
    )]
    IdentityUnreachable {
        path: PathBuf,
        target: PathBuf,
        /// The command that keeps the sound key of the other home.
        remedy: Option<String>,
    },
    /// A directory of the daemon home is a symlink that leads out of the app's home. The state
    /// neither moves there nor back from there.
    #[error("{} is a symlink that leads out of the app's home, to {}", .path.display(), .target.display())]
    DestinationOutside {
        path: PathBuf,
        target: PathBuf,
        /// True if the target can be copied into the symlink's place: it is there, as it is not on
        /// a disk that is missing, and it does not hold the app's home.
        is_there: bool,
    },
    /// Something other than a directory has the name of a directory.
    #[error("{} is not a directory", .path.display())]
    DestinationNotDir { path: PathBuf },
    /// The directory that holds the identity file is a symlink: only the user may decide to move
    /// the file out of the symlink's target.
    #[error("{} is a symlink to {}, and the identity file is behind it", .path.display(), .target.display())]
    SourceSymlink { path: PathBuf, target: PathBuf },
    /// Source and destination are one directory under two names.
    #[error("{} and {} are the same directory", .source_dir.display(), .destination_dir.display())]
    SameDir {
        source_dir: PathBuf,
        destination_dir: PathBuf,
        /// The command that takes the symlink away that gives the directory its second name, if a
        /// symlink does.
        command: Option<String>,
    },
    /// Other users may write to this directory, so it must not hold an identity file.
    #[error("{} {why}", .path.display())]
    UnsafePermissions { path: PathBuf, why: String, command: String },
    /// The file system has neither a rename that cannot replace nor hard links.
    #[error("the file system of {} can neither rename without replacing nor link", .path.display())]
    NoExclusiveRename { path: PathBuf },
    /// A daemon still writes one of the homes, or the check for one failed.
    #[error("{}", .daemon.message(.stop_failed.as_deref()))]
    Daemon {
        daemon: LiveDaemon,
        command: String,
        /// The reason why the daemon could not be stopped, if the user asked for that.
        stop_failed: Option<String>,
    },
    /// The lock that was passed does not lock the app's home.
    #[error("cannot move the state: the given lock is not that of {}", .0.path().display())]
    OutsideLock(#[source] DiskError),
    /// The daemons that the caller passed are those of other homes, so that a daemon of these homes
    /// may run.
    #[error("cannot move the state in {}: the caller looks for the daemons of other homes", path.display())]
    OtherDaemons { path: PathBuf },
}

impl From<OwnershipProblem> for MigrationError {
    fn from(problem: OwnershipProblem) -> Self {
        let (why, command) = (problem.reason(), problem.command());
        Self::UnsafePermissions { path: problem.path, why, command }
    }
}

impl MigrationError {
    pub(crate) fn unreadable(path: &Path, source: DiskError) -> Self {
        Self::Unreadable { path: path.to_owned(), source }
    }

    /// Returns a stable code.
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
            Self::Unreadable { .. } => ("migration.unreadable", Failed),
            Self::Failed { .. } => ("migration.failed", Failed),
            Self::FlushFailed { .. } => ("migration.flush-failed", Failed),
            Self::Changed { .. } => ("migration.changed", Failed),
            Self::Vanished { .. } => ("migration.vanished", Failed),
            Self::IdentityHeldBack { .. } => ("migration.identity-held-back", Failed),
            Self::TwoIdentities { .. } => ("migration.two-identities", Refused),
            Self::IdentityDamaged { .. } => ("migration.identity-damaged", Refused),
            Self::Identity(refusal) => (refusal.code(), refusal.class()),
            Self::IdentityNewer { .. } => ("migration.identity-newer", Newer),
            Self::IdentityUnreachable { .. } => ("migration.identity-unreachable", Failed),
            Self::DestinationOutside { .. } => ("migration.destination-outside", Refused),
            Self::DestinationNotDir { .. } => ("migration.destination-not-folder", Refused),
            Self::SourceSymlink { .. } => ("migration.source-link", Refused),
            Self::SameDir { .. } => ("migration.same-folder", Refused),
            Self::UnsafePermissions { .. } => ("migration.unsafe-permissions", Refused),
            Self::NoExclusiveRename { .. } => ("migration.no-exclusive-rename", Refused),
            Self::Daemon { daemon, .. } => match daemon.kind {
                LiveKind::Legacy => ("daemon.legacy-running", Refused),
                LiveKind::Own => ("daemon.own-running", Refused),
                LiveKind::Unknown => ("daemon.unreachable", Refused),
            },
            Self::OutsideLock(error) => (error.code(), Failed),
            Self::OtherDaemons { .. } => ("migration.other-daemons", Failed),
        }
    }

    /// Returns true if the error refuses because a daemon writes one of the homes, or may write it.
    pub fn is_about_a_daemon(&self) -> bool {
        matches!(self, Self::Daemon { .. })
    }

    /// Returns the path of the problem.
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
            | Self::DestinationNotDir { path }
            | Self::SourceSymlink { path, .. }
            | Self::UnsafePermissions { path, .. }
            | Self::NoExclusiveRename { path }
            | Self::OtherDaemons { path } => path,
            Self::TwoIdentities { source_side, .. } => &source_side.path,
            Self::Identity(refusal) => refusal.path(),
            Self::SameDir { destination_dir, .. } => destination_dir,
            Self::Daemon { daemon, .. } => &daemon.socket,
            Self::OutsideLock(error) => error.path(),
        }
    }

    /// Returns a command that settles the problem, or shows it; ready to be copied.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { source, path } | Self::Failed { source, path } => {
                source.hint().or_else(|| Some(format!("ls -ld {}", quote(path))))
            }
            Self::FlushFailed { path, .. } => Some(format!("df -h {}", quote(path))),
            Self::Changed { path } => Some(format!("fuser -v {}", quote(path))),
            Self::IdentityHeldBack { .. }
            | Self::IdentityNewer { .. }
            | Self::OutsideLock(_)
            | Self::OtherDaemons { .. } => None,
            Self::TwoIdentities { source_side, destination_side, command, direction } => {
                // An identity file without rosters and states was just made. If that does not
                // decide, the hint shows both and chooses none.
                let keep = match (source_side.is_bare(), destination_side.is_bare()) {
                    (false, true) => Keep::Source,
                    (true, false) => Keep::Destination,
                    _ => return Some(format!("{command} --dry-run")),
                };
                Some(format!("{command} --keep-identity {}", keep.place(*direction)))
            }
            Self::IdentityDamaged { remedy: Some(command), .. }
            | Self::IdentityUnreachable { remedy: Some(command), .. } => Some(command.clone()),
            Self::Vanished { path } | Self::IdentityDamaged { path, .. } => {
                Some(format!("ls -la {}", quote(path.parent().unwrap_or(path))))
            }
            Self::Identity(refusal) => refusal.hint(),
            Self::IdentityUnreachable { path, .. } => Some(format!("readlink {}", quote(path))),
            // The target may hold peers that the user has approved, also on a disk that is missing.
            Self::DestinationOutside { path, is_there: true, .. } | Self::SourceSymlink { path, .. } => {
                Some(replace_symlink(path))
            }
            Self::DestinationOutside { path, .. } => {
                let (symlink, aside) = (quote(path), move_aside(path, "aside"));
                Some(format!("test -L {symlink} && {aside} && mkdir -m 700 {symlink}"))
            }
            Self::DestinationNotDir { path } => Some(move_aside(path, "aside")),
            Self::SameDir { source_dir, destination_dir, command: None } => {
                Some(format!("ls -lid {} {}", quote(source_dir), quote(destination_dir)))
            }
            Self::NoExclusiveRename { path } => Some(format!("findmnt --target {}", quote(path))),
            Self::SameDir { command: Some(command), .. }
            | Self::UnsafePermissions { command, .. }
            | Self::Daemon { command, .. } => Some(command.clone()),
        }
    }
}

/// Returns the command that removes a symlink, and nothing else.
pub(crate) fn remove_symlink(path: &Path) -> String {
    format!("test -L {0} && rm {0}", quote(path))
}

/// Returns the command that replaces a symlink by an empty directory.
pub(crate) fn replace_symlink_by_dir(path: &Path) -> String {
    format!("{} && mkdir -m 700 {}", remove_symlink(path), quote(path))
}

impl_failure!(MigrationError);

/// The reason why a file was not moved, or why nothing was, as data.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MoveError"))]
struct ErrorData<'e> {
    #[serde(flatten)]
    failure: FailureData,
    /// The two identities, if they are the reason: the source's, then the destination's.
    #[serde(skip_serializing_if = "Option::is_none")]
    sides: Option<(&'e Side, &'e Side)>,
}

impl Serialize for MigrationError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let sides = match self {
            Self::TwoIdentities { source_side, destination_side, .. } => {
                Some((&**source_side, &**destination_side))
            }
            _ => None,
        };
        ErrorData { failure: FailureData::of(self), sides }.serialize(serializer)
    }
}
