//! A disk in memory that keeps synced data apart from written data, and fails or crashes on demand.
//!
//! The model is a journaling file system in the worst case:
//!
//! - Content, mode and owner of a file survive a crash once the file was synced; before that the
//!   content may be complete, half there, or gone, whatever happened to the name.
//! - Each change of a name survives once its directory was synced; before that any subset of the
//!   changes may survive, in no order, with two exceptions that every journaling file system keeps:
//!   a rename never loses the old name without keeping the new one, and the rename of a directory
//!   and the exchange of two names are all or nothing.
//! - Syncing a directory does not sync its own name in the parent directory.
//!
//! ```
//! use myownllm_durable_fs::{Disk, sim::SimDisk};
//! use std::{path::Path, time::Duration};
//!
//! let disk = SimDisk::new();
//! disk.put("/home/a", b"one");
//! disk.flush_all();
//! let home = disk.lock(Path::new("/home"), Duration::ZERO)?;
//! home.create(Path::new("/home/b"), b"two", 0o600)?; // written, not flushed
//! for after in disk.crash_states(100, 1) {
//!     assert_eq!(after.content("/home/a").as_deref(), Some(&b"one"[..]), "flushed: always there");
//! }
//! assert!(disk.crash_states(100, 1).iter().any(|after| after.content("/home/b").is_none()));
//! assert!(disk.crash_states(100, 1).iter().any(|after| after.content("/home/b").as_deref() == Some(b"")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod crash;
mod disk;
mod fault;
mod file_system;
mod operations;
mod other_program;
mod survey;

pub use disk::{Entry, SimDisk};
pub use fault::{Fault, OpRecord, Weakening};
pub use other_program::OtherProgram;
pub use survey::{Survey, Sweep};

/// Spells a path of the simulated disk as an absolute path of this platform: `/home/u` becomes
/// `C:/home/u` on Windows, where a path without a drive is not absolute.
///
/// [`SimDisk`](crate::sim::SimDisk) finds an entry by both spellings, and returns its path in the
/// absolute one.
#[macro_export]
macro_rules! sim_path {
    ($path:literal) => {
        if cfg!(windows) { concat!("C:", $path) } else { $path }
    };
}
