//! Whether a file is complete: a writer that truncates it and writes it anew may be in the middle.

use std::{path::Path, time::Duration};

use myownllm_durable_fs::{Disk, DiskError};

/// A file that has not changed for so long is at rest; the app's config waits as long.
const STABLE_FOR: Duration = Duration::from_millis(250);
/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// A writer that is not done after so many looks (2 s) is not waited for.
const MAX_LOOKS: u32 = 80;
/// What is larger is no roster, state or identity file, and is not read.
const LIMIT: u64 = 16 << 20;

/// Waits until a file that is empty, or no whole JSON, does not change any more. Returns false if it goes on changing.
///
/// Copying such a file and removing it would take it from a writer that has truncated it and still holds it open.
///
/// # Errors
///
/// The file cannot be looked at.
pub(super) fn comes_to_rest(disk: &dyn Disk, file: &Path) -> Result<bool, DiskError> {
    let looks_for = STABLE_FOR.as_millis().div_ceil(POLL_INTERVAL.as_millis());
    let (mut known, mut same) = (None, 0);
    for _ in 0..MAX_LOOKS {
        if is_complete(disk, file)? {
            return Ok(true);
        }
        let meta = disk.stat(file)?;
        let now = Some((meta.len, meta.modified, meta.id));
        same = if known == now { same + 1 } else { 0 };
        if same >= looks_for {
            return Ok(true);
        }
        known = now;
        disk.pause(POLL_INTERVAL);
    }
    Ok(false)
}

fn is_complete(disk: &dyn Disk, file: &Path) -> Result<bool, DiskError> {
    match disk.read(file, LIMIT) {
        Ok(bytes) => Ok(serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok()),
        // Too large, or no regular file: the copy says what is wrong with it.
        Err(error) if error.is_not_found() => Err(error),
        Err(_) => Ok(true),
    }
}
