#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod disk;
mod error;
#[cfg(feature = "failure")]
mod failure;
mod locked;
mod op;
mod publish;
mod real;
mod rename;
mod runner;
#[cfg(feature = "sim")]
pub mod sim;
mod temp;
mod transfer;
pub mod trust;

pub use disk::{DirEntry, Disk, FileId, FileKind, Metadata, Owner, Permissions, SyncFs, Timestamp};
pub use error::{
    DiskError, LockError, OutsideLock, Result, SYNC_UNCONFIRMED, Untrusted, for_any_shell, mkdir_prefix,
    rename_unless_taken, run_first, show_path, sync_unconfirmed_message,
};
#[cfg(feature = "failure")]
pub use failure::DiskLookup;
pub use locked::{LockedDir, LockedDisk};
pub use myownllm_paths::command::{free_name, is_control, move_aside, quote, replace_symlink};
pub use op::Op;
pub use publish::{
    Displaced, ReplaceMethod, Replaced, StaleTemp, ensure_private_dir, is_new_content, make_dirs,
    make_private_dir, may_be_only_copy, publish_new, put_in_place, rename_back, replace, set_aside_name,
    stale_temps, swap_name, with_free_name,
};
pub use real::RealDisk;
pub use rename::rename_or_link;
pub use runner::Runner;
pub use temp::{temp_name, with_temp};
pub use transfer::{
    FileMove, MoveKind, PendingRemoval, Published, Removal, RemovalOutcome, SyncFailed, Transfer,
    TransferMethod, TransferProgress, is_second_copy,
};

/// The prefix of the names of our temporary files.
pub const TEMP_PREFIX: &str = ".durable-fs.";
/// The directory, beside the sources of a move, into which a source is renamed before it is
/// removed. The source keeps its own name there, so that the next run recognizes a source that a
/// killed run was about to remove.
pub const QUARANTINE_DIR: &str = ".durable-fs.claimed";
/// The part of the name of a file that was set aside before its number: `roster.json.set-aside-1`.
pub const SET_ASIDE: &str = ".set-aside-";
/// The suffix of a temporary file whose content also exists elsewhere.
pub const PART_SUFFIX: &str = ".part";
/// The suffix of a temporary file that may be the only copy of its content: the file that
/// [`replace()`] took out of its place.
pub const SWAP_SUFFIX: &str = ".swap";
