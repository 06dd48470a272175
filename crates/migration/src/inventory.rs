//! The contents of the two homes that matter to the move: what an inspection finds, and the planner
//! reads.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Metadata, Owner};
use myownllm_identity::{Answer, Identity};

use crate::{
    error::MigrationError,
    homes::{Direction, Keep},
    plan::{MoveStep, Retarget, SkippedEntry},
};

/// The relation of a source to its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DestinationState {
    /// Nothing has the name at the destination.
    Free,
    /// The destination has the same bytes, in a regular file of its own or under a second name of
    /// the same file.
    Same,
    /// The destination has something else.
    Differs {
        /// The place beside the destination for the source, if it loses.
        aside_source: Aside,
        /// The same for the file at the destination.
        aside_destination: Aside,
        /// One of the two is a symlink that leads to the other, so whichever side the user keeps,
        /// this file is kept.
        target_side: Option<Keep>,
    },
}

/// The place for a file that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// A name that no program reads.
    pub(crate) to: PathBuf,
    /// The targets, if the file is a symlink.
    pub(crate) symlink: Option<Retarget>,
}

impl Aside {
    pub(crate) fn step(&self, from: &Path) -> MoveStep {
        MoveStep::SetAside { from: from.to_owned(), to: self.to.clone(), symlink: self.symlink.clone() }
    }
}

/// One of our files in a source directory.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: OsString,
    pub(crate) destination_state: DestinationState,
}

/// A directory of `.json` files that can be read.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) items: Vec<Item>,
    /// Every file in it is ours, and nothing has its name at the destination: one rename moves it.
    pub(crate) moves_as_whole: bool,
    pub(crate) mode: u32,
}

/// One file that moves by itself.
#[derive(Clone, Debug)]
pub(crate) struct SingleFile {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) destination_state: DestinationState,
    /// True for the second-factor lock, which belongs with the identity file.
    pub(crate) is_secret: bool,
    pub(crate) mode: u32,
    /// The mode of the file at the destination, if there is one.
    pub(crate) destination_mode: Option<u32>,
}

#[derive(Clone, Debug)]
pub(crate) struct IdentityFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
    pub(crate) meta: Metadata,
    /// The target, if the file is a symlink.
    pub(crate) symlink_target: Option<PathBuf>,
}

/// The contents of the two homes that matter to the move. Made by
/// [`Migrator::inspect`](crate::Migrator::inspect), read by
/// [`Migrator::plan`](crate::Migrator::plan).
#[derive(Debug)]
#[non_exhaustive]
pub struct Inventory {
    /// The direction of the move.
    pub direction: Direction,
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) dirs: Vec<StateDir>,
    pub(crate) files: Vec<SingleFile>,
    pub(crate) source_identity: Option<IdentityFile>,
    pub(crate) destination_identity: Option<IdentityFile>,
    /// The broken symlink in the place of the source's identity file, and the place for it if the
    /// user keeps the other side.
    pub(crate) dangling_identity: Option<(PathBuf, Aside)>,
    /// The relation of the two identity files if both sides have one, and the destination of the
    /// identity file.
    pub(crate) identity_destination_state: DestinationState,
    pub(crate) identity_destination: PathBuf,
    /// The target of the symlink that leads to the identity file, once the symlink has moved.
    pub(crate) moved_symlink_target: Option<PathBuf>,
    /// There is a problem with the identity file itself.
    pub(crate) identity_failed: bool,
    /// Tells if a daemon may be started, and with which identity.
    pub(crate) answer: Answer,
    /// A file that may be ours to move, or the active identity file, belongs to another user.
    pub(crate) foreign: bool,
    /// The temporary files of killed runs that are not needed.
    pub(crate) leftovers: Vec<PathBuf>,
    /// The sources that a killed run quarantined, each with its own name.
    pub(crate) quarantines: Vec<(PathBuf, PathBuf)>,
    pub(crate) quarantine_dirs: Vec<PathBuf>,
    /// The existing directories of the source, parents first, with the number of names in them that
    /// stay.
    pub(crate) source_dirs: Vec<(PathBuf, usize)>,
    /// The directories of the destination that do not exist, parents first.
    pub(crate) missing_dirs: Vec<PathBuf>,
    /// The directories of the destination that exist.
    pub(crate) destination_dirs: Vec<PathBuf>,
    /// The source directories to which other users can write until their mode is tightened.
    pub(crate) writable_by_others: Vec<PathBuf>,
    pub(crate) modes: Vec<(PathBuf, u32)>,
    pub(crate) owners: Vec<(PathBuf, Owner)>,
    pub(crate) owner: Option<Owner>,
    pub(crate) left: Vec<SkippedEntry>,
    pub(crate) errors: Vec<MigrationError>,
    pub(crate) refusals: Vec<MigrationError>,
}

impl Inventory {
    /// Returns the path of the source's identity file at the time of its move: its own name, even
    /// if a killed run had quarantined it.
    pub(crate) fn source_identity_path(&self, file: &IdentityFile) -> PathBuf {
        self.quarantines
            .iter()
            .find(|(quarantined, _)| *quarantined == file.path)
            .map_or_else(|| file.path.clone(), |(_, own)| own.clone())
    }
}
