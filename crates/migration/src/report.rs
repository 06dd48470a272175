//! What was done, as plain data.

use std::path::PathBuf;

use serde::{Serialize, Serializer};

use crate::{
    error::{Class, LiveDaemon, MigrationError},
    homes::Direction,
    plan::{Collision, IdentityState, Left, lossy},
};

fn lossy_paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

/// How something got to its new place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum MoveMethod {
    /// A whole folder by one rename.
    RenameFolder,
    /// One rename that cannot replace.
    Rename,
    /// A second link, then the first removed.
    Link,
    /// A copy to another file system, then the original removed.
    Copy,
    /// A new link that leads to the same file, then the old link removed.
    Relink,
}

/// Something that has moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Moved {
    /// From here.
    #[serde(serialize_with = "lossy")]
    pub from: PathBuf,
    /// To here.
    #[serde(serialize_with = "lossy")]
    pub to: PathBuf,
    /// How.
    pub method: MoveMethod,
    /// How many files: more than one only for a whole folder.
    pub files: usize,
}

/// Attributes that the user had noted on a file, and that its copy does not have: the other file system does not take them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AttributesLost {
    /// The file at its new place.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Their names.
    pub names: Vec<String>,
}

/// What a move is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// Files are renamed, or copied to another file system.
    Moving,
    /// The disk confirms what it was given. How long that takes it does not say.
    Syncing,
    /// Copies are compared with their originals and get their names.
    Comparing,
    /// Originals of which a durable copy is in place are removed.
    Removing,
}

/// How far a move is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// Files that were dealt with: renamed, copied, or found to be there already.
    pub done: usize,
    /// Files that the plan names.
    pub total: usize,
    /// What is being done.
    pub phase: Phase,
    /// Files that this phase has dealt with.
    pub phase_done: usize,
    /// Files that this phase has to deal with; 0 where that cannot be told.
    pub phase_total: usize,
}

impl Progress {
    /// How far a phase is: for a mover of one's own, and for tests.
    #[must_use]
    pub fn new(phase: Phase, phase_done: usize, phase_total: usize) -> Self {
        Self { done: phase_done, total: phase_total, phase, phase_done, phase_total }
    }
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Outcome {
    /// There was nothing to do, and nothing was touched.
    NothingToDo,
    /// All is in place, and durable.
    Done,
    /// Some of it is; the rest is in `errors`.
    Partial,
    /// Nothing was touched; why is in `refusals`.
    Refused,
}

/// What a run did.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// Which way.
    pub direction: Direction,
    /// How it ended.
    pub outcome: Outcome,
    /// What has moved.
    pub moved: Vec<Moved>,
    /// Sources that were removed because the same bytes were at the destination.
    #[serde(serialize_with = "lossy_paths")]
    pub identical_removed: Vec<PathBuf>,
    /// What files lost on their way to another file system.
    pub attributes_lost: Vec<AttributesLost>,
    /// What was set aside by the user's decision.
    pub set_aside: Vec<Moved>,
    /// Files that differ: both stay.
    pub collisions: Vec<Collision>,
    /// What is not ours, and stays.
    pub left: Vec<Left>,
    /// Emptied folders that were removed.
    #[serde(serialize_with = "lossy_paths")]
    pub folders_removed: Vec<PathBuf>,
    /// What killed runs had left and this one removed.
    #[serde(serialize_with = "lossy_paths")]
    pub leftovers_removed: Vec<PathBuf>,
    /// What went wrong.
    pub errors: Vec<MigrationError>,
    /// Why nothing was done at all.
    pub refusals: Vec<MigrationError>,
    /// Daemons that were stopped.
    pub stopped: Vec<LiveDaemon>,
    /// Where the key is now.
    pub identity: IdentityState,
}

impl Report {
    pub(crate) fn new(direction: Direction, identity: IdentityState) -> Self {
        Self {
            direction,
            outcome: Outcome::NothingToDo,
            moved: Vec::new(),
            identical_removed: Vec::new(),
            attributes_lost: Vec::new(),
            set_aside: Vec::new(),
            collisions: Vec::new(),
            left: Vec::new(),
            folders_removed: Vec::new(),
            leftovers_removed: Vec::new(),
            errors: Vec::new(),
            refusals: Vec::new(),
            stopped: Vec::new(),
            identity,
        }
    }

    /// The gravest of its errors, refusals and collisions: `None` when all is well. A collision is of the class
    /// [`Refused`](Class::Refused): both files stay until somebody decides.
    pub fn class(&self) -> Option<Class> {
        let worst = self.errors.iter().chain(&self.refusals).map(MigrationError::class).max();
        let collision = (!self.collisions.is_empty()).then_some(Class::Refused);
        // A failure that the next run may mend hides nothing: the decision is asked for all the same.
        worst.max(collision)
    }

    /// How many files have moved.
    pub fn files_moved(&self) -> usize {
        self.moved.iter().map(|moved| moved.files).sum()
    }
}
