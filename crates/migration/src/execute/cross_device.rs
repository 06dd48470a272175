//! Moves files to another file system: copies to temporary names, syncs, compares, publishes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use myownllm_durable_fs::{Disk as _, DiskError, NoReplaceSupport, with_temp};

use super::{
    Aborted, FileMove, Flow, MoveKind, Mover, PendingRemoval, note,
    parallel::each,
    parent,
    rest::{is_complete, not_at_rest},
};
use crate::{
    error::MigrationError,
    report::{MoveMethod, Phase},
};

/// A complete copy under a temporary name.
type Copied = (FileMove, PathBuf);

impl Mover<'_> {
    /// Copies these files and gives the copies their names. Adds the sources that can be removed
    /// once that is durable. Returns `false` if the file system cannot do it.
    pub(super) fn copy(
        &mut self,
        file_moves: Vec<FileMove>,
        retire: &mut Vec<PendingRemoval>,
    ) -> Result<bool, Aborted> {
        let files = self.remake_links(file_moves, retire);
        if files.is_empty() {
            return Ok(true);
        }
        let copied = self.copy_to_temporaries(files);
        if self.flush_temporaries(&copied).is_err() {
            // A failed sync is final: the kernel may have dropped the data from memory too, and a
            // second sync would report success.
            for (_, temp) in copied {
                let _ = self.disk.unlink(&temp);
            }
            return Err(Aborted);
        }
        Ok(self.name_copies(copied, retire))
    }

    /// Makes the symlinks at the destination, and returns the files, which need more steps. Fails
    /// each job whose directory would keep a temporary name forever.
    fn remake_links(&mut self, file_moves: Vec<FileMove>, retire: &mut Vec<PendingRemoval>) -> Vec<FileMove> {
        let mut keeps: BTreeMap<PathBuf, Option<DiskError>> = BTreeMap::new();
        let mut files = Vec::with_capacity(file_moves.len());
        for file_move in file_moves {
            let dir = parent(&file_move.to);
            let keeps =
                keeps.entry(dir).or_insert_with_key(|dir| self.disk.ensure_entries_removable(dir).err());
            match (keeps, &file_move.kind) {
                (Some(error), _) => {
                    let error = error.clone();
                    self.went_on(1);
                    self.fail(&file_move.from, error);
                }
                (None, MoveKind::Link { .. }) => {
                    self.went_on(1);
                    self.relink(&file_move, retire);
                }
                (None, _) => files.push(file_move),
            }
        }
        files
    }

    fn copy_to_temporaries(&mut self, files: Vec<FileMove>) -> Vec<Copied> {
        let disk = self.disk;
        let look_at = |file_move: FileMove| {
            let complete = is_complete(disk, &file_move.from);
            (file_move, complete)
        };
        let files = each(disk, files, look_at, |_| {});
        let restless = not_at_rest(
            disk,
            files.iter().map(|(file_move, complete)| (file_move.from.as_path(), *complete)),
        );
        let copy_one = |(file_move, _): (FileMove, bool)| {
            let mode = file_move.private.then_some(0o600);
            let copy = match restless.contains(&file_move.from) {
                true => Ok(None),
                false => with_temp(&parent(&file_move.to), |temp| disk.copy_new(&file_move.from, temp, mode))
                    .map(Some),
            };
            (file_move, copy)
        };
        let tried = each(disk, files, copy_one, |more| self.went_on(more));
        let mut copied = Vec::with_capacity(tried.len());
        for (file_move, copy) in tried {
            match copy {
                Ok(Some(temp)) => copied.push((file_move, temp)),
                // The file stays, and the next run tries again.
                Ok(None) => self.report.errors.push(MigrationError::Changed { path: file_move.from }),
                Err(error) if error.is_not_found() => match disk.stat(&file_move.from) {
                    Err(gone) if gone.is_not_found() => {
                        self.report.errors.push(MigrationError::Vanished { path: file_move.from });
                    }
                    _ => self.fail(&file_move.from, error),
                },
                Err(error) => self.fail(&file_move.from, error),
            }
        }
        copied
    }

    fn flush_temporaries(&mut self, copied: &[Copied]) -> Flow {
        // Syncs the copy of an identity file by itself too, in case a sync of the whole file system
        // does not reach it.
        for (file_move, temp) in copied.iter().filter(|(file_move, _)| file_move.private) {
            if let Err(source) = self.disk.sync_file(temp) {
                self.report.errors.push(MigrationError::FlushFailed { path: file_move.to.clone(), source });
                return Err(Aborted);
            }
        }
        let mut dirs = BTreeSet::new();
        for (file_move, _) in copied {
            note(&mut dirs, &file_move.to);
        }
        self.flush(&dirs, |_| copied.iter().map(|(_, temp)| temp.clone()).collect())
    }

    /// Compares each copy with its original, and gives it its name. Returns `false` if the file
    /// system cannot do that.
    fn name_copies(&mut self, copied: Vec<Copied>, retire: &mut Vec<PendingRemoval>) -> bool {
        let (disk, support) = (self.disk, &self.support);
        let name_one = |(file_move, temp): Copied| {
            let same = disk.same_content(&file_move.from, &temp);
            let renames = support.get(&parent(&file_move.to)) != Some(&NoReplaceSupport::Link);
            let renamed =
                (renames && matches!(same, Ok(true))).then(|| disk.rename_noreplace(&temp, &file_move.to));
            (file_move, temp, same, renamed)
        };
        let mut refused = false;
        let told = self.phase(Phase::Comparing, copied.len());
        for (file_move, temp, same, renamed) in each(disk, copied, name_one, told) {
            match same {
                Ok(true) => {}
                other => {
                    let _ = disk.unlink(&temp);
                    match other {
                        Ok(_) => self.report.errors.push(MigrationError::Changed { path: file_move.from }),
                        Err(error) => self.fail(&file_move.from, error),
                    }
                    continue;
                }
            }
            let link = || disk.hard_link(&temp, &file_move.to).map(|()| Some(temp.clone()));
            let named = match renamed {
                Some(Err(error)) if error.may_be_unsupported() => {
                    match self.support(&parent(&file_move.to)) {
                        Ok(NoReplaceSupport::Rename) => {
                            disk.rename_noreplace(&temp, &file_move.to).map(|()| None)
                        }
                        Ok(NoReplaceSupport::Link) => link(),
                        Ok(NoReplaceSupport::Neither) => {
                            let _ = disk.unlink(&temp);
                            self.refuse_neither(&file_move.to);
                            refused = true;
                            continue;
                        }
                        Err(error) => Err(error),
                    }
                }
                Some(renamed) => renamed.map(|()| None),
                None => link(),
            };
            match named {
                Ok(second) => {
                    let item = self.retire_of(&file_move, Some(MoveMethod::Copy), second);
                    retire.push(item);
                }
                Err(error) => {
                    // The temporary name is not needed, whether the call took effect or not.
                    let published = matches!(disk.stat(&temp), Err(error) if error.is_not_found());
                    if !published {
                        let _ = disk.unlink(&temp);
                    }
                    if error.is_already_exists() || published {
                        self.taken(&file_move, retire);
                    } else {
                        self.fail(&file_move.from, error);
                    }
                }
            }
        }
        !refused
    }
}
