//! Moves files to another file system: copies to temporary names, syncs, compares, publishes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{
    FileMove, MoveKind, PendingRemoval, Published, SyncFailed, Transfer, TransferMethod, TransferProgress,
    at_rest::unstable_files, parallel::map_parallel, parent,
};
use crate::{Disk, DiskError, rename::Named, with_temp};

/// A complete copy under a temporary name.
type Copied = (FileMove, PathBuf);

type Outcomes<'o> = &'o mut Vec<(FileMove, Published)>;

impl Transfer<'_> {
    /// Copies these files and gives the copies their names.
    pub(super) fn copy(&self, files: Vec<FileMove>, published: Outcomes<'_>) -> Result<(), SyncFailed> {
        let files = self.remake_links(files, published);
        if files.is_empty() {
            return Ok(());
        }
        let copied = self.copy_to_temporaries(files, published);
        if let Err(failed) = self.sync_temporaries(&copied) {
            // A failed sync is final: the kernel may have dropped the data from memory too, and a
            // second sync would report success.
            for (_, temp) in copied {
                let _ = self.disk.unlink(&temp);
            }
            return Err(failed);
        }
        self.name_copies(copied, published);
        Ok(())
    }

    /// Makes the symlinks at the destination, and returns the files, which need more steps. Fails
    /// each file whose directory would keep a temporary name forever.
    fn remake_links(&self, files: Vec<FileMove>, published: Outcomes<'_>) -> Vec<FileMove> {
        let mut keeps: BTreeMap<PathBuf, Option<DiskError>> = BTreeMap::new();
        let mut regular = Vec::with_capacity(files.len());
        for file in files {
            let keeps = keeps
                .entry(parent(&file.to))
                .or_insert_with_key(|dir| self.disk.ensure_entries_removable(dir).err());
            let outcome = match (keeps, &file.kind) {
                (Some(error), _) => Published::Failed(error.clone()),
                (None, MoveKind::Symlink { .. }) => self.relink(&file),
                (None, MoveKind::File) => {
                    regular.push(file);
                    continue;
                }
            };
            (self.on_progress)(TransferProgress::Files(1));
            published.push((file, outcome));
        }
        regular
    }

    fn copy_to_temporaries(&self, files: Vec<FileMove>, published: Outcomes<'_>) -> Vec<Copied> {
        let (disk, judge) = (self.disk, self.is_complete);
        let look_at = |file: FileMove| {
            let complete = super::at_rest::is_complete(disk, judge, &file.from);
            (file, complete)
        };
        let files = map_parallel(disk, files, look_at, |_| {});
        let looked = files.iter().map(|(file, complete)| (file.from.as_path(), *complete));
        let unstable = unstable_files(disk, judge, looked);
        let copy_one = |(file, _): (FileMove, bool)| {
            let mode = file.copy_is_private.then_some(0o600);
            let copy = match unstable.contains(&file.from) {
                true => Ok(None),
                false => with_temp(&parent(&file.to), |temp| disk.copy_new(&file.from, temp, mode)).map(Some),
            };
            (file, copy)
        };
        let on_progress = self.on_progress;
        let tried = map_parallel(disk, files, copy_one, |more| on_progress(TransferProgress::Files(more)));
        let mut copied = Vec::with_capacity(tried.len());
        for (file, copy) in tried {
            let outcome = match copy {
                Ok(Some(temp)) => {
                    copied.push((file, temp));
                    continue;
                }
                // The file stays, and the next run tries again.
                Ok(None) => Published::Changed,
                Err(error) if error.is_not_found() => match disk.stat(&file.from) {
                    Err(gone) if gone.is_not_found() => Published::Vanished,
                    _ => Published::Failed(error),
                },
                Err(error) => Published::Failed(error),
            };
            published.push((file, outcome));
        }
        copied
    }

    fn sync_temporaries(&self, copied: &[Copied]) -> Result<(), SyncFailed> {
        // Syncs a private copy by itself too, in case a sync of the whole file system does not
        // reach it: it may be an identity file.
        for (file, temp) in copied.iter().filter(|(file, _)| file.copy_is_private) {
            let failed = |source| SyncFailed { path: file.to.clone(), source };
            self.disk.sync_file(temp).map_err(failed)?;
        }
        // Very many copies lie in very few directories.
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        for (file, _) in copied {
            let dir = file.to.parent().unwrap_or(&file.to);
            if !dirs.contains(dir) {
                dirs.insert(dir.to_owned());
            }
        }
        self.sync(&dirs, |_| copied.iter().map(|(_, temp)| temp.clone()).collect())
    }

    /// Compares each copy with its original, and gives it its name.
    fn name_copies(&self, copied: Vec<Copied>, published: Outcomes<'_>) {
        let (disk, renamer) = (self.disk, &self.renamer);
        let name_one = |(file, temp): Copied| {
            let same = disk.same_content(&file.from, &temp);
            let named = matches!(same, Ok(true)).then(|| renamer.name(&temp, &file.to));
            (file, temp, same, named)
        };
        let on_compared = self.phase(copied.len(), |done, total| TransferProgress::Comparing { done, total });
        for (file, temp, same, named) in map_parallel(disk, copied, name_one, on_compared) {
            let outcome = match (same, named) {
                (_, Some(Ok(named))) => {
                    let second = (named == Named::Linked).then(|| temp.clone());
                    Published::SourceRemains(PendingRemoval::of(&file, Some(TransferMethod::Copy), second))
                }
                (_, Some(Err(error))) => {
                    // The temporary name is not needed, whether the call took effect or not.
                    let is_named = matches!(disk.stat(&temp), Err(error) if error.is_not_found());
                    if !is_named {
                        let _ = disk.unlink(&temp);
                    }
                    match error {
                        error if error.is_no_exclusive_rename() => Published::Unsupported(error),
                        error if error.is_already_exists() || is_named => self.taken(&file),
                        error => Published::Failed(error),
                    }
                }
                (same, None) => {
                    let _ = disk.unlink(&temp);
                    same.map_or_else(Published::Failed, |_| Published::Changed)
                }
            };
            published.push((file, outcome));
        }
    }
}
