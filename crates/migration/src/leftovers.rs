//! Temporary files of a killed run, and which of them hold content that exists elsewhere too.
//!
//! On a disk whose syncs work, a temporary file is a copy of its source. Where the sync of a
//! directory has no effect (FUSE), a power cut can leave only the temporary file, which is then the
//! only copy.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsStr,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, FileKind, QUARANTINE_DIR, TEMP_PREFIX};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{classify::network_id, homes::Homes, identity};

/// A temporary file of ours that is larger than this is kept unread: identity files, rosters and
/// states are far smaller.
const LIMIT: u64 = 64 << 20;

pub(crate) const ONLY_COPY: &str =
    "it is a temporary file of an interrupted run, and no other file is known to hold its content";

/// The value of a temporary file of a killed run to the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Leftover {
    /// The content also exists elsewhere, or the file is empty.
    Superfluous,
    /// The file is a complete roster, state or identity file, no other file holds its content, and
    /// this name of it is free in both homes.
    OnlyCopyOf(Utf8PathBuf),
    /// No other file is known to hold the content.
    MayBeOnlyCopy,
}

/// The length of the part of a file by which the files of a directory are sorted.
const HEAD: usize = 4096;

/// The files of a directory, sorted by their heads.
type Index = Vec<(Vec<u8>, PathBuf)>;

/// Judges temporary files. A killed run can leave one for each file that it copied, so the other
/// files of each directory are read once, and not again for each temporary file.
pub(crate) struct LeftoverClassifier<'a> {
    disk: &'a dyn Disk,
    homes: &'a Homes,
    indexes: RefCell<BTreeMap<Utf8PathBuf, Index>>,
}

impl<'a> LeftoverClassifier<'a> {
    pub(crate) fn new(disk: &'a dyn Disk, homes: &'a Homes) -> Self {
        Self { disk, homes, indexes: RefCell::default() }
    }

    /// Judges a temporary file by its content. `relative` is the directory that it lies in,
    /// relative to its home.
    pub(crate) fn judge(&self, relative: &Utf8Path, leftover: &Path) -> Leftover {
        let (disk, homes) = (self.disk, self.homes);
        match disk.stat(leftover) {
            Err(error) if error.is_not_found() => return Leftover::Superfluous,
            // A symlink holds no content, and its target stays.
            Ok(meta) if meta.is_symlink() || meta.len == 0 => return Leftover::Superfluous,
            Ok(meta) if meta.is_file() => {}
            _ => return Leftover::MayBeOnlyCopy,
        }
        let Ok(bytes) = disk.read(leftover, LIMIT) else { return Leftover::MayBeOnlyCopy };
        if self.is_elsewhere(relative, &bytes) {
            return Leftover::Superfluous;
        }
        let name = name_of(homes, relative, &bytes);
        let is_free = |name: &Utf8PathBuf| {
            [&homes.app, &homes.daemon].into_iter().all(|home| {
                let quarantined =
                    home.join(relative).join(QUARANTINE_DIR).join(name.file_name().unwrap_or_default());
                [home.join(name), quarantined]
                    .iter()
                    .all(|at| disk.stat(at.as_ref()).is_err_and(|error| error.is_not_found()))
            })
        };
        name.filter(is_free).map_or(Leftover::MayBeOnlyCopy, Leftover::OnlyCopyOf)
    }

    /// Returns true if a file of the same directory in either home begins with these bytes, so that
    /// it holds the same content or more.
    fn is_elsewhere(&self, relative: &Utf8Path, bytes: &[u8]) -> bool {
        let mut indexes = self.indexes.borrow_mut();
        let index = indexes.entry(relative.to_owned()).or_insert_with(|| self.index(relative));
        let head = &bytes[..bytes.len().min(HEAD)];
        let first = index.partition_point(|(known, _)| known.as_slice() < head);
        let mut alike = index[first..].iter().take_while(|(known, _)| known.starts_with(head));
        // The file may have changed since the index was made.
        let holds = |path: &Path| {
            self.disk.stat(path).is_ok_and(|meta| meta.len >= bytes.len() as u64)
                && self.disk.read(path, LIMIT).is_ok_and(|there| there.starts_with(bytes))
        };
        alike.any(|(_, path)| holds(path))
    }

    /// Returns the head of a file; `None` if the file cannot be read.
    fn head(&self, path: PathBuf) -> Option<(Vec<u8>, PathBuf)> {
        let mut head = self.disk.read(&path, LIMIT).ok()?;
        head.truncate(HEAD);
        head.shrink_to_fit();
        Some((head, path))
    }

    fn index(&self, relative: &Utf8Path) -> Index {
        let homes = self.homes;
        let legacy_roster = homes.legacy_roster();
        let legacy = legacy_roster.parent().unwrap_or(Utf8Path::new(""));
        let mut index = Index::new();
        for home in [&homes.app, &homes.daemon] {
            let dir = home.join(relative).into_std_path_buf();
            for dir in [dir.join(QUARANTINE_DIR), dir, homes.app.join(legacy).into()] {
                let entries = self.disk.list(&dir).unwrap_or_default().into_iter();
                let is_ours = |name: &OsStr| name.to_string_lossy().starts_with(TEMP_PREFIX);
                let files = entries.filter(|entry| entry.kind == FileKind::File && !is_ours(&entry.name));
                index.extend(files.filter_map(|entry| self.head(dir.join(entry.name))));
            }
        }
        index.sort();
        index
    }
}

/// Returns the name, relative to a home, of a complete file with this content.
fn name_of(homes: &Homes, relative: &Utf8Path, bytes: &[u8]) -> Option<Utf8PathBuf> {
    if homes.identity().parent() == Some(relative) {
        return identity::inspect(bytes).key().map(|_| homes.identity());
    }
    if !homes.dirs().iter().any(|dir| dir == relative) {
        return None;
    }
    let value: serde_json::Value = serde_json::from_slice(bytes).ok()?;
    let id = value.get("network_id")?.as_str()?;
    network_id(id).map(|id| relative.join(format!("{id}.json")))
}
