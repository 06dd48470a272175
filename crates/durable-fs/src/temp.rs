//! Temporary names.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{DiskError, Op, PART_SUFFIX, Result, TEMP_PREFIX};

/// The number of names to try for a temporary file. If all are taken, another program makes them on
/// purpose.
const NAME_TRIES: usize = 1000;

pub(crate) fn dir_of(path: &Path) -> Result<&Path> {
    path.parent()
        .ok_or_else(|| DiskError::new(Op::FindDir, path, io::Error::from(io::ErrorKind::InvalidInput)))
}

/// Returns a fresh name for a temporary file in `dir`. Another program may still use the name, so
/// the call that makes the file must be exclusive.
pub fn temp_name(dir: &Path, suffix: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{TEMP_PREFIX}{}-{number}{suffix}", std::process::id()))
}

/// Makes a temporary file in `dir` with `make`, under the first free name. Call
/// [`Disk::ensure_entries_removable`](crate::Disk::ensure_entries_removable) first.
pub fn with_temp(dir: &Path, mut make: impl FnMut(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut tries = 0;
    loop {
        let temp = temp_name(dir, PART_SUFFIX);
        match make(&temp) {
            Ok(()) => return Ok(temp),
            // The name is taken: a process with the same id left the file, or another program
            // guesses our names.
            Err(error) if error.is_already_exists() && error.path() == temp && tries < NAME_TRIES => {
                tries += 1
            }
            Err(error) => return Err(error),
        }
    }
}
