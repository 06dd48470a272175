//! The report of a run, as plain data.

use std::path::PathBuf;

use myownllm_durable_fs as durable_fs;
use myownllm_paths::camino::Utf8PathBuf;
use serde::Serialize;

use crate::error::{Class, LiveDaemon, MigrationError};
use crate::homes::Direction;
use crate::lossy::{lossy, lossy_all};
use crate::plan::{Collision, IdentityState, SkippedEntry};

/// The method by which a file got to its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MoveMethod {
    /// A whole directory by one rename.
    #[serde(rename = "rename-folder")]
    RenameDir,
    /// One rename that cannot replace.
    Rename,
    /// A second hard link, after which the first name is removed.
    Link,
    /// A copy to another file system, then the original removed.
    Copy,
    /// A new symlink that leads to the same file, after which the old symlink is removed.
    Relink,
}

impl From<durable_fs::TransferMethod> for MoveMethod {
    fn from(method: durable_fs::TransferMethod) -> Self {
        match method {
            durable_fs::TransferMethod::Rename => Self::Rename,
            durable_fs::TransferMethod::Link => Self::Link,
            durable_fs::TransferMethod::Copy => Self::Copy,
            durable_fs::TransferMethod::Relink => Self::Relink,
        }
    }
}

/// A file or directory that has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Moved {
    /// The old path.
    #[serde(serialize_with = "lossy")]
    pub from: PathBuf,
    /// The new path.
    #[serde(serialize_with = "lossy")]
    pub to: PathBuf,
    /// The method.
    pub method: MoveMethod,
    /// The number of files: more than one only for a whole directory.
    pub files: usize,
}

/// Attributes that the user had set on a file and that its copy lacks, because the other file
/// system does not accept them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct AttributesLost {
    /// The file at its new place.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The names of the attributes.
    pub names: Vec<String>,
}

/// The present phase of a move. A move begins with a sync of what it reads, and a phase may come
/// more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Files are renamed, or copied to another file system.
    Moving,
    /// The disk syncs the written data. It does not tell how long that takes.
    Syncing,
    /// Copies are compared with their originals and get their names.
    Comparing,
    /// Originals of which a durable copy is in place are removed.
    Removing,
}

/// The progress of a move. The move is not over when `done` reaches `total`: the syncs and removals
/// that follow may take longest. It is over when
/// [`Migrator::execute`](crate::Migrator::execute) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The number of processed files: renamed, copied, or found at the destination already.
    pub done: usize,
    /// The number of files in the plan.
    pub total: usize,
    /// The present phase.
    pub phase: Phase,
    /// The number of files that this phase has processed.
    pub phase_done: usize,
    /// The number of files that this phase has to process; 0 if unknown.
    pub phase_total: usize,
}

impl Progress {
    /// Creates the progress of a phase: for another migrator, and for tests.
    pub fn new(phase: Phase, phase_done: usize, phase_total: usize) -> Self {
        Self { done: phase_done, total: phase_total, phase, phase_done, phase_total }
    }
}

/// The outcome of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MoveOutcome"))]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MoveOutcome {
    /// There was nothing to do, and nothing was changed.
    #[default]
    NothingToDo,
    /// Everything is in place and durable.
    Done,
    /// A part is in place and durable; `errors` lists the rest.
    Partial,
    /// Nothing was changed; `refusals` lists the reasons.
    Refused,
}

/// The result of a run.
#[derive(Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MoveReport"))]
#[non_exhaustive]
pub struct MoveReport {
    /// The direction.
    pub direction: Direction,
    /// The outcome.
    pub outcome: MoveOutcome,
    /// The files and directories that have moved.
    pub moved: Vec<Moved>,
    /// Sources that were removed because the same bytes were at the destination.
    #[serde(serialize_with = "lossy_all")]
    pub identical_removed: Vec<PathBuf>,
    /// The attributes that files lost on their way to another file system.
    pub attributes_lost: Vec<AttributesLost>,
    /// The files that were set aside by the user's decision.
    pub set_aside: Vec<Moved>,
    /// Files that differ: both stay.
    pub collisions: Vec<Collision>,
    /// The entries that are not ours, and stay.
    pub left: Vec<SkippedEntry>,
    /// Emptied directories that were removed.
    #[serde(serialize_with = "lossy_all")]
    #[serde(rename = "folders_removed")]
    pub dirs_removed: Vec<PathBuf>,
    /// The leftovers of killed runs that this run removed.
    #[serde(serialize_with = "lossy_all")]
    pub leftovers_removed: Vec<PathBuf>,
    /// The homes on a file system that does not confirm a sync: after a power cut, changes that
    /// were reported may be gone.
    #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
    pub sync_unconfirmed: Vec<Utf8PathBuf>,
    /// The errors.
    pub errors: Vec<MigrationError>,
    /// The reasons why nothing was done at all.
    pub refusals: Vec<MigrationError>,
    /// The daemons that the caller stopped before the move.
    pub stopped: Vec<LiveDaemon>,
    /// The present place and state of the identity file.
    pub identity: IdentityState,
}

impl MoveReport {
    pub(crate) fn new(direction: Direction, identity: IdentityState) -> Self {
        Self { direction, identity, ..Self::default() }
    }

    /// Returns the gravest class among the errors, refusals and collisions; `None` if there are
    /// none. A collision has the class [`Refused`](Class::Refused): both files stay until the user
    /// decides.
    pub fn class(&self) -> Option<Class> {
        let worst = self.errors.iter().chain(&self.refusals).map(MigrationError::class).max();
        let collision = (!self.collisions.is_empty()).then_some(Class::Refused);
        // A failure that the next run may mend must not hide a decision that the user has to make.
        worst.max(collision)
    }

    /// Returns the number of files that have moved.
    pub fn files_moved(&self) -> usize {
        self.moved.iter().map(|moved| moved.files).sum()
    }
}
