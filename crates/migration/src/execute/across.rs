//! Moves files to another file system: copies to temporary names, syncs, compares, publishes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use myownllm_durable_fs::{Disk as _, DiskError, NoReplaceSupport, with_temp};

use super::{
    Go, Job, Mover, Retire, Stop, What,
    each::each,
    note, parent,
    rest::{is_complete, not_at_rest},
};
use crate::{
    error::MigrationError,
    report::{MoveMethod, Phase},
};

/// A complete copy under a temporary name.
type Copied = (Job, PathBuf);

impl Mover<'_> {
    /// Copies these files and gives the copies their names. Adds the sources that can be removed
    /// once that is durable. Returns `false` if the file system cannot do it.
    pub(super) fn copy(&mut self, jobs: Vec<Job>, retire: &mut Vec<Retire>) -> Result<bool, Stop> {
        let files = self.remake_links(jobs, retire);
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
            return Err(Stop);
        }
        Ok(self.name_copies(copied, retire))
    }

    /// Makes the symlinks at the destination, and returns the files, which need more steps. Fails
    /// each job whose directory would keep a temporary name forever.
    fn remake_links(&mut self, jobs: Vec<Job>, retire: &mut Vec<Retire>) -> Vec<Job> {
        let mut keeps: BTreeMap<PathBuf, Option<DiskError>> = BTreeMap::new();
        let mut files = Vec::with_capacity(jobs.len());
        for job in jobs {
            let folder = parent(&job.to);
            let keeps = keeps
                .entry(folder)
                .or_insert_with_key(|folder| self.disk.ensure_entries_removable(folder).err());
            match (keeps, &job.what) {
                (Some(error), _) => {
                    let error = error.clone();
                    self.went_on(1);
                    self.fail(&job.from, error);
                }
                (None, What::Link { .. }) => {
                    self.went_on(1);
                    self.relink(&job, retire);
                }
                (None, _) => files.push(job),
            }
        }
        files
    }

    fn copy_to_temporaries(&mut self, files: Vec<Job>) -> Vec<Copied> {
        let disk = self.disk;
        let look_at = |job: Job| {
            let complete = is_complete(disk, &job.from);
            (job, complete)
        };
        let files = each(disk, files, look_at, |_| {});
        let restless = not_at_rest(disk, files.iter().map(|(job, complete)| (job.from.as_path(), *complete)));
        let copy_one = |(job, _): (Job, bool)| {
            let mode = job.private.then_some(0o600);
            let copy = match restless.contains(&job.from) {
                true => Ok(None),
                false => with_temp(&parent(&job.to), |temp| disk.copy_new(&job.from, temp, mode)).map(Some),
            };
            (job, copy)
        };
        let tried = each(disk, files, copy_one, |more| self.went_on(more));
        let mut copied = Vec::with_capacity(tried.len());
        for (job, copy) in tried {
            match copy {
                Ok(Some(temp)) => copied.push((job, temp)),
                // The file stays, and the next run tries again.
                Ok(None) => self.report.errors.push(MigrationError::Changed { path: job.from }),
                Err(error) if error.is_not_found() => match disk.stat(&job.from) {
                    Err(gone) if gone.is_not_found() => {
                        self.report.errors.push(MigrationError::Vanished { path: job.from });
                    }
                    _ => self.fail(&job.from, error),
                },
                Err(error) => self.fail(&job.from, error),
            }
        }
        copied
    }

    fn flush_temporaries(&mut self, copied: &[Copied]) -> Go {
        // Syncs the copy of an identity file by itself too, in case a sync of the whole file system
        // does not reach it.
        for (job, temp) in copied.iter().filter(|(job, _)| job.private) {
            if let Err(source) = self.disk.sync_file(temp) {
                self.report.errors.push(MigrationError::FlushFailed { path: job.to.clone(), source });
                return Err(Stop);
            }
        }
        let mut folders = BTreeSet::new();
        for (job, _) in copied {
            note(&mut folders, &job.to);
        }
        self.flush(&folders, |_| copied.iter().map(|(_, temp)| temp.clone()).collect())
    }

    /// Compares each copy with its original, and gives it its name. Returns `false` if the file
    /// system cannot do that.
    fn name_copies(&mut self, copied: Vec<Copied>, retire: &mut Vec<Retire>) -> bool {
        let (disk, support) = (self.disk, &self.support);
        let name_one = |(job, temp): Copied| {
            let same = disk.same_content(&job.from, &temp);
            let renames = support.get(&parent(&job.to)) != Some(&NoReplaceSupport::Link);
            let renamed =
                (renames && matches!(same, Ok(true))).then(|| disk.rename_noreplace(&temp, &job.to));
            (job, temp, same, renamed)
        };
        let mut refused = false;
        let told = self.phase(Phase::Comparing, copied.len());
        for (job, temp, same, renamed) in each(disk, copied, name_one, told) {
            match same {
                Ok(true) => {}
                other => {
                    let _ = disk.unlink(&temp);
                    match other {
                        Ok(_) => self.report.errors.push(MigrationError::Changed { path: job.from }),
                        Err(error) => self.fail(&job.from, error),
                    }
                    continue;
                }
            }
            let link = || disk.hard_link(&temp, &job.to).map(|()| Some(temp.clone()));
            let named = match renamed {
                Some(Err(error)) if error.may_be_unsupported() => match self.support(&parent(&job.to)) {
                    Ok(NoReplaceSupport::Rename) => disk.rename_noreplace(&temp, &job.to).map(|()| None),
                    Ok(NoReplaceSupport::Link) => link(),
                    Ok(NoReplaceSupport::Neither) => {
                        let _ = disk.unlink(&temp);
                        self.refuse_neither(&job.to);
                        refused = true;
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Some(renamed) => renamed.map(|()| None),
                None => link(),
            };
            match named {
                Ok(second) => {
                    let item = self.retire_of(&job, Some(MoveMethod::Copy), second);
                    retire.push(item);
                }
                Err(error) => {
                    // The temporary name is not needed, whether the call took effect or not.
                    let published = matches!(disk.stat(&temp), Err(error) if error.is_not_found());
                    if !published {
                        let _ = disk.unlink(&temp);
                    }
                    if error.is_already_exists() || published {
                        self.taken(&job, retire);
                    } else {
                        self.fail(&job.from, error);
                    }
                }
            }
        }
        !refused
    }
}
