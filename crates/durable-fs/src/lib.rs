#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod disk;
mod error;
mod locked;
mod op;
mod publish;
mod real;
#[cfg(feature = "sim")]
pub mod sim;
pub mod trust;

pub use disk::{
    CopyComparison, DirEntry, Disk, FileId, FileKind, Metadata, OpenForWriting, Owner, Permissions,
    RenameMethod, SyncFs, Timestamp,
};
pub use error::{
    DiskError, LockError, OutsideLock, Result, Untrusted, free_name, move_aside, quote, replace_symlink,
};
pub use locked::{DirHandles, LockedDir, LockedDisk};
pub use op::Op;
pub use publish::{
    Displaced, NoReplaceSupport, ReplaceMethod, Replaced, StaleTemp, is_ours, make_dirs, make_private_dir,
    may_be_only_copy, no_replace_support, publish_new, put_in_place, rename_back, rename_or_link, replace,
    stale_temps, temp_name, with_temp,
};
pub use real::RealDisk;

/// How the names of our temporary files begin.
pub const TEMP_PREFIX: &str = ".durable-fs.";
/// The directory, beside the sources of a move, into which a source is renamed before it is removed. It keeps the file's own
/// name, so that the next run knows what a killed one had in its hands.
pub const CLAIM_DIR: &str = ".durable-fs.claimed";
/// What the name of a file that was set aside has before its number: `roster.json.set-aside-1`.
pub const SET_ASIDE: &str = ".set-aside-";
/// How those end that hold nothing that is not elsewhere too.
pub const PART_SUFFIX: &str = ".part";
/// How those end that may hold the only copy of something: what [`replace()`] took out of its place.
pub const SWAP_SUFFIX: &str = ".swap";
