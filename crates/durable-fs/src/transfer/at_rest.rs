//! Checks if a file is complete: a writer that truncates and rewrites it may not have finished.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{Disk, FileId, Timestamp};

/// A file that has not changed for this time is at rest; the app's config has the same wait.
const STABLE_FOR: Duration = Duration::from_millis(250);
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The number of checks (2 s) after which the run stops waiting for a writer.
const MAX_LOOKS: u32 = 80;
/// The size limit of a file that is judged: a larger one is not read, and counts as complete.
const LIMIT: u64 = 16 << 20;

pub(super) type IsComplete<'j> = &'j (dyn Fn(&[u8]) -> bool + Sync);

/// The state of a file for which the run waits.
struct Waiting<'f> {
    file: &'f Path,
    complete: bool,
    /// The metadata that change when a program writes the file, and the number of checks in a row
    /// that have found the same.
    known: Option<(u64, Timestamp, Option<FileId>)>,
    same: u128,
}

/// Waits until no program is seen to have these files open for writing, and until those that are
/// not `complete` stop changing. Waits for all files together. Returns the files for which 2 s are
/// not enough.
///
/// Copying and removing such a file would lose the data of a writer that has truncated it and still
/// holds it open.
pub(super) fn unstable_files<'f>(
    disk: &dyn Disk,
    is_complete: IsComplete<'_>,
    files: impl Iterator<Item = (&'f Path, bool)>,
) -> BTreeSet<PathBuf> {
    let mut waiting: Vec<_> =
        files.map(|(file, complete)| Waiting { file, complete, known: None, same: 0 }).collect();
    for _ in 0..MAX_LOOKS {
        if waiting.is_empty() {
            break;
        }
        let files: Vec<&Path> = waiting.iter().map(|waiting| waiting.file).collect();
        let mut answers = disk.open_for_writing(&files).into_iter();
        waiting.retain_mut(|waiting| !waiting.is_stable(disk, is_complete, answers.next() == Some(true)));
        if !waiting.is_empty() {
            disk.pause(POLL_INTERVAL);
        }
    }
    waiting.into_iter().map(|waiting| waiting.file.to_owned()).collect()
}

impl Waiting<'_> {
    fn is_stable(&mut self, disk: &dyn Disk, check: IsComplete<'_>, is_open: bool) -> bool {
        if is_open {
            (self.complete, self.known) = (false, None);
            return false;
        }
        if self.complete {
            return true;
        }
        // The copy reports the error of a file that cannot be inspected.
        let Ok(meta) = disk.stat(self.file) else { return true };
        let now = Some((meta.len, meta.modified, meta.id));
        if self.known == now {
            self.same += 1;
        } else {
            (self.known, self.same, self.complete) = (now, 0, is_complete(disk, check, self.file));
        }
        self.complete || self.same >= STABLE_FOR.as_millis().div_ceil(POLL_INTERVAL.as_millis())
    }
}

/// Returns true if a file is complete, or cannot be read.
pub(super) fn is_complete(disk: &dyn Disk, check: IsComplete<'_>, file: &Path) -> bool {
    disk.read(file, LIMIT).map_or(true, |bytes| check(&bytes))
}
