//! Whether a file is complete: a writer that truncates it and writes it anew may be in the middle.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use myownllm_durable_fs::{Disk, FileId, OpenForWriting, Timestamp};

/// A file that has not changed for so long is at rest; the app's config waits as long.
const STABLE_FOR: Duration = Duration::from_millis(250);
/// The time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// A writer that is not done after so many looks (2 s) is not waited for.
const MAX_LOOKS: u32 = 80;
/// What is larger is no roster, state or identity file, and is not read.
const LIMIT: u64 = 16 << 20;

/// What is known of a file that is waited for.
struct Waiting<'f> {
    file: &'f Path,
    complete: bool,
    /// What changes when somebody writes it, and how many looks in a row have shown the same.
    known: Option<(u64, Timestamp, Option<FileId>)>,
    same: u128,
}

/// Waits until no program is seen to have these files open for writing, and until those that are not `complete` do not change
/// any more. Returns those for which 2 s are not enough. All are waited for together.
///
/// Copying such a file and removing it would take it from a writer that has truncated it and still holds it open.
pub(super) fn not_at_rest<'f>(
    disk: &dyn Disk,
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
        waiting.retain_mut(|waiting| !waiting.rests(disk, answers.next() == Some(OpenForWriting::Yes)));
        if !waiting.is_empty() {
            disk.pause(POLL_INTERVAL);
        }
    }
    waiting.into_iter().map(|waiting| waiting.file.to_owned()).collect()
}

impl Waiting<'_> {
    fn rests(&mut self, disk: &dyn Disk, is_open: bool) -> bool {
        if is_open {
            (self.complete, self.known) = (false, None);
            return false;
        }
        if self.complete {
            return true;
        }
        // The copy says what is wrong with a file that cannot be looked at.
        let Ok(meta) = disk.stat(self.file) else { return true };
        let now = Some((meta.len, meta.modified, meta.id));
        if self.known == now {
            self.same += 1;
        } else {
            (self.known, self.same, self.complete) = (now, 0, is_complete(disk, self.file));
        }
        self.complete || self.same >= STABLE_FOR.as_millis().div_ceil(POLL_INTERVAL.as_millis())
    }
}

/// Whether a file is whole JSON, as far as it can be read.
pub(super) fn is_complete(disk: &dyn Disk, file: &Path) -> bool {
    let read = disk.read(file, LIMIT);
    read.map_or(true, |bytes| serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_ok())
}
