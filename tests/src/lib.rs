//! Cross-crate and end-to-end tests, and the stand-in daemon.
//!
//! The tests are in `tests/`. This library holds the [stand-in daemon](standin), and [`StandIn`],
//! which runs the stand-in daemon as a process of a test.

mod process;
#[cfg_attr(not(unix), allow(dead_code, unused_imports, reason = "it has sockets only"))]
pub mod standin;

pub use process::{Builder, StandIn};

/// Returns what tells a file that was written from one that was not: mode, owner, size, inode and
/// times.
#[cfg(unix)]
pub fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    use std::os::unix::fs::MetadataExt as _;
    vec![
        i64::from(meta.mode()),
        i64::from(meta.uid()),
        i64::from(meta.gid()),
        meta.size().cast_signed(),
        meta.ino().cast_signed(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ]
}

/// The same, as far as this system tells it.
#[cfg(not(unix))]
pub fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    let modified = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    vec![
        meta.len().cast_signed(),
        modified.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
    ]
}
