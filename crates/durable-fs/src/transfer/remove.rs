//! Removes the sources of published files.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::{
    PendingRemoval, Removal, RemovalOutcome, SyncFailed, Transfer, TransferMethod, TransferProgress,
    are_two_names,
    at_rest::{is_complete, unstable_files},
    dirs_of,
    parallel::map_parallel,
    parent,
};
use crate::{
    Disk, DiskError, LockedDir, Metadata, Op, PART_SUFFIX, QUARANTINE_DIR, ensure_private_dir, temp_name,
};

/// The result of checking a source that was renamed aside.
enum Checked {
    /// The source equals the published file, with the metadata `seen`; the attributes `lost` are
    /// lost with it.
    Removable { lost: Vec<String>, seen: Box<Metadata>, complete: bool },
    /// The source stays, or is gone.
    Ended(EndedRemoval),
}

/// The outcome for a source.
struct EndedRemoval {
    outcome: RemovalOutcome,
    /// For a source that stays: true if it has its name back.
    stays: Option<bool>,
}

impl EndedRemoval {
    fn ended(outcome: RemovalOutcome) -> Self {
        Self { outcome, stays: None }
    }

    /// Gives a source its name back at once, because other programs look for it under that name.
    fn give_back(
        disk: &LockedDir,
        item: &PendingRemoval,
        quarantined: &Path,
        outcome: RemovalOutcome,
    ) -> Self {
        Self { outcome, stays: Some(disk.rename_noreplace(quarantined, &item.from).is_ok()) }
    }
}

/// The time before the rename within which a later write may get the same timestamp: the coarsest
/// file systems count in 2 s.
const TIMESTAMP_STEP: i64 = 2;

type ByDir = BTreeMap<PathBuf, Vec<PendingRemoval>>;

impl Transfer<'_> {
    /// Removes the sources of files that are durable at the destination. Each source is renamed
    /// aside and checked there, where no other program can write between the check and the removal.
    /// A source that differs from the published file, or that a program has open for writing, gets
    /// its name back. Adds to `removal` what happened, also if the call fails.
    ///
    /// # Errors
    /// A sync failed: the other sources stay.
    pub fn remove_sources(
        &self,
        pending: Vec<PendingRemoval>,
        removal: &mut Removal,
    ) -> Result<(), SyncFailed> {
        let mut by_dir = ByDir::new();
        let mut second_names = BTreeSet::new();
        for item in pending {
            if let Some(temp) = &item.temp {
                // The source stays until the second name is removed: it is the next run's reason to
                // remove that name.
                match self.disk.unlink(temp) {
                    Ok(()) => second_names.extend(temp.parent().map(Path::to_owned)),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        removal.failures.push((temp.clone(), error));
                        continue;
                    }
                }
            }
            by_dir.entry(parent(&item.from)).or_default().push(item);
        }
        self.sync(&second_names, |_| Vec::new())?;
        if by_dir.is_empty() {
            return Ok(());
        }
        removal.changed_dirs.extend(by_dir.keys().cloned());
        let mut full = BTreeSet::new();
        by_dir.retain(|dir, _| match ensure_private_dir(self.disk, &dir.join(QUARANTINE_DIR), self.owner) {
            Ok(()) => true,
            // On a full file system a source can still be renamed: in its own directory.
            Err(error) if matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                full.insert(dir.clone())
            }
            Err(error) => {
                removal.failures.push((dir.clone(), error));
                false
            }
        });
        self.sync(by_dir.keys(), |_| Vec::new())?;
        let (quarantines, restored) = self.remove_each(by_dir, &full, removal);
        self.sync(&restored, |_| Vec::new())?;
        for quarantine in quarantines {
            match self.disk.remove_dir(&quarantine) {
                Err(error) if !error.is_not_found() => removal.failures.push((quarantine, error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Handles the sources. Those in the directories `full` get a temporary name beside their own
    /// instead of a quarantine: the next run after a killed one knows both. Returns the quarantine
    /// directories, and the directories in which a source got its name back.
    fn remove_each(
        &self,
        by_dir: ByDir,
        full: &BTreeSet<PathBuf>,
        removal: &mut Removal,
    ) -> (Vec<PathBuf>, BTreeSet<PathBuf>) {
        let disk = self.disk;
        let mut quarantines = Vec::new();
        let mut sources = Vec::new();
        for (dir, items) in by_dir {
            if full.contains(&dir) {
                sources.extend(items.into_iter().map(|item| (item, temp_name(&dir, PART_SUFFIX))));
                continue;
            }
            let quarantine = dir.join(QUARANTINE_DIR);
            // A file of a killed run that could not be restored must not be replaced.
            let there = match names_in(disk, &quarantine) {
                Ok(there) => there,
                Err(error) => {
                    removal.failures.push((dir, error));
                    continue;
                }
            };
            for item in items {
                match item.from.file_name() {
                    Some(name) if !there.contains(name) => {
                        let quarantined = quarantine.join(name);
                        sources.push((item, quarantined));
                    }
                    _ => removal.sources.push((item, RemovalOutcome::InUse)),
                }
            }
            quarantines.push(quarantine);
        }
        let targets = dirs_of(sources.iter().map(|(item, _)| item.to.as_path()));
        let dirs =
            quarantines.iter().flat_map(|quarantine| [quarantine.parent(), Some(quarantine)]).flatten();
        let _open = self.disk.keep_open(&dirs.chain(targets).collect::<Vec<_>>());
        let judge = self.is_complete;
        let check_one = |(item, quarantined): (PendingRemoval, PathBuf)| {
            let complete = || item.symlink_target.is_some() || is_complete(disk, judge, &quarantined);
            let checked = check(disk, &item, &quarantined, complete);
            (item, quarantined, checked)
        };
        let checked = map_parallel(disk, sources, check_one, |_| {});
        let in_use = self.in_use(&checked);
        let remove_one = |(item, quarantined, checked): (PendingRemoval, PathBuf, Checked)| {
            let ended = match checked {
                Checked::Ended(ended) => ended,
                Checked::Removable { .. } if in_use.contains(&quarantined) => {
                    EndedRemoval::give_back(disk, &item, &quarantined, RemovalOutcome::InUse)
                }
                Checked::Removable { lost, seen, .. } => remove(disk, &item, &quarantined, lost, &seen),
            };
            (item, quarantined, ended)
        };
        let mut restored = BTreeSet::new();
        let on_removed = self.phase(checked.len(), |done, total| TransferProgress::Removing { done, total });
        for (item, quarantined, ended) in map_parallel(disk, checked, remove_one, on_removed) {
            if ended.stays.is_some() {
                restored.insert(parent(&item.from));
            }
            if ended.stays == Some(false)
                && let Err(error) = self.restore(&quarantined, &item.from)
            {
                removal.failures.push((quarantined, error));
            }
            removal.sources.push((item, ended.outcome));
        }
        (quarantines, restored)
    }

    /// Returns the sources, by their names aside, that a program has open for writing, or that go
    /// on changing. Such a program may not have finished, and its later writes would be lost with
    /// the source. No program opens a file anew that is aside, so a source that is not in use now
    /// has its last content.
    fn in_use(&self, checked: &[(PendingRemoval, PathBuf, Checked)]) -> BTreeSet<PathBuf> {
        let disk = self.disk;
        let asked = checked.iter().filter_map(|(item, quarantined, checked)| {
            let Checked::Removable { seen, complete, .. } = checked else { return None };
            // A symlink has no content. A write to a file whose second name is at the destination
            // is not lost.
            let is_second_name = || {
                disk.stat(&item.to).is_ok_and(|there| there.is_same_file(seen))
                    && are_two_names(disk, [&item.from, &item.to], seen).unwrap_or(false)
            };
            (item.symlink_target.is_none() && !is_second_name()).then_some((quarantined.as_path(), *complete))
        });
        let (files, complete): (Vec<_>, Vec<_>) = asked.unzip();
        if files.is_empty() {
            return BTreeSet::new();
        }
        let open = disk.open_for_writing(&files);
        let (mut in_use, mut torn) = (BTreeSet::new(), Vec::new());
        for ((file, complete), is_open) in files.into_iter().zip(complete).zip(open) {
            match (is_open, complete) {
                (true, _) => drop(in_use.insert(file.to_owned())),
                (false, false) => torn.push((file, false)),
                (false, true) => {}
            }
        }
        // Where a writer cannot be seen, an incomplete file is given time.
        in_use.extend(unstable_files(disk, self.is_complete, torn.into_iter()));
        in_use
    }
}

fn names_in(disk: &LockedDir, dir: &Path) -> Result<BTreeSet<OsString>, DiskError> {
    Ok(disk.list(dir)?.into_iter().map(|entry| entry.name).collect())
}

/// Renames a source aside and checks if it can be removed. A source that stays gets its name back.
fn check(
    disk: &LockedDir,
    item: &PendingRemoval,
    quarantined: &Path,
    complete: impl FnOnce() -> bool,
) -> Checked {
    // Only for a file at the destination that this run has not put there.
    let before = item.method.is_none().then(|| disk.stat(&item.to).ok()).flatten();
    if let Err(error) = disk.rename(&item.from, quarantined)
        && disk.stat(quarantined).is_err()
    {
        // The source is gone already, so there is nothing to remove.
        let gone = matches!(disk.stat(&item.from), Err(error) if error.is_not_found());
        return Checked::Ended(EndedRemoval::ended(if gone {
            RemovalOutcome::WasGone
        } else {
            RemovalOutcome::Failed(error)
        }));
    }
    let looked = disk.stat(quarantined).and_then(|seen| {
        // Runs the mount check after the comparison: opening the destination makes NFS refresh the
        // ctime compared here.
        let lost = verify_removable(disk, item, quarantined)?;
        verify_not_same_file(disk, item, quarantined, before)?;
        Ok(lost.map(|lost| (lost, seen)))
    });
    match looked {
        Ok(Some((lost, seen))) => Checked::Removable { lost, seen: Box::new(seen), complete: complete() },
        kept => Checked::Ended(EndedRemoval::give_back(disk, item, quarantined, stays(kept.err()))),
    }
}

/// Removes a source that is not in use. Compares it once more if a program may have written and
/// closed it since it was `seen`.
fn remove(
    disk: &LockedDir,
    item: &PendingRemoval,
    quarantined: &Path,
    lost: Vec<String>,
    seen: &Metadata,
) -> EndedRemoval {
    let is_as_seen = |now: &Metadata| {
        (now.len, now.modified) == (seen.len, seen.modified)
            && seen.changed.seconds - seen.modified.seconds > TIMESTAMP_STEP
    };
    let may_go =
        disk.stat(quarantined).and_then(|now| match item.symlink_target.is_some() || is_as_seen(&now) {
            true => Ok(Some(lost)),
            false => verify_removable(disk, item, quarantined),
        });
    match may_go {
        Ok(Some(lost)) => match disk.unlink(quarantined) {
            Ok(()) => EndedRemoval::ended(RemovalOutcome::Removed { lost }),
            Err(error) if error.is_not_found() => EndedRemoval::ended(RemovalOutcome::WasGone),
            Err(error) => EndedRemoval::ended(RemovalOutcome::Failed(error)),
        },
        kept => EndedRemoval::give_back(disk, item, quarantined, stays(kept.err())),
    }
}

/// Returns the outcome of a source that stays, because it differs or could not be compared.
fn stays(why: Option<DiskError>) -> RemovalOutcome {
    why.map_or(RemovalOutcome::Differs, RemovalOutcome::Failed)
}

/// Fails if the file at the destination is another view of the source, for example through an
/// overlay over the source's directory. Device and inode need not show that, but the rename that
/// claimed the source changes the ctime of the file.
fn verify_not_same_file(
    disk: &dyn Disk,
    item: &PendingRemoval,
    quarantined: &Path,
    before: Option<Metadata>,
) -> Result<(), DiskError> {
    let Some(before) = before else { return Ok(()) };
    let now = disk.stat(&item.to)?;
    // A hard link to the source is a valid copy.
    if now.changed == before.changed || now.is_same_file(&disk.stat(quarantined)?) {
        return Ok(());
    }
    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "it is the source itself, seen through a mount");
    Err(DiskError::new(Op::CompareCopy, &item.to, busy))
}

/// Returns the attributes that are lost with the claimed source if it still equals the file at the
/// destination, else `None`.
fn verify_removable(
    disk: &dyn Disk,
    item: &PendingRemoval,
    quarantined: &Path,
) -> Result<Option<Vec<String>>, DiskError> {
    let nothing_lost = |may_go: bool| Ok(may_go.then(Vec::new));
    if let Some(target) = &item.symlink_target {
        return nothing_lost(disk.stat(&item.to).is_ok() && disk.read_link(quarantined)? == *target);
    }
    let compare = || disk.missing_xattrs(quarantined, &item.to);
    if item.method == Some(TransferMethod::Copy)
        && let Ok(missing) = compare()
    {
        // The copy is a separate file, so no further check is needed. If the two cannot be
        // compared, the checks below return the reason.
        return Ok(missing);
    }
    let (here, there) = (disk.stat(quarantined)?, disk.stat(&item.to)?);
    if !here.is_file() || !there.is_file() || disk.is_mount_point(&item.to) {
        return nothing_lost(false);
    }
    if here.is_same_file(&there) && !are_two_names(disk, [&item.from, &item.to], &there)? {
        return nothing_lost(false);
    }
    compare()
}
