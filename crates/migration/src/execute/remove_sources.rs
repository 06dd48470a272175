//! Removes the sources of published files.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    io,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{
    CopyComparison, Disk, DiskError, LockedDir, Metadata, Op, OpenForWriting, QUARANTINE_DIR,
};

use super::{
    Aborted, Flow, Mover, PendingRemoval, dirs_of,
    parallel::each,
    parent,
    rest::{is_complete, not_at_rest},
};
use crate::{
    error::MigrationError,
    plan::Collision,
    report::{AttributesLost, MoveMethod, Phase},
};

/// The outcome of removing a source.
enum RemovalOutcome {
    /// The source is removed, and these attributes are lost with it.
    Removed { lost: Vec<String> },
    /// Another program removed the source.
    WasGone,
    /// The source could not be renamed aside, or could not be removed there.
    Failed(DiskError),
    /// The source differs from the published file, or could not be compared (`why`). It is still
    /// aside unless it has its name back.
    Kept { why: Option<DiskError>, back: bool },
    /// A program has the source open for writing. It is still aside unless it has its name back.
    InUse { back: bool },
}

/// The result of checking a source that was renamed aside.
enum Checked {
    /// The source equals the published file, with the metadata `seen`; the attributes `lost` are
    /// lost with it.
    Removable { lost: Vec<String>, seen: Box<Metadata>, complete: bool },
    /// The source stays, or is gone.
    Ended(RemovalOutcome),
}

/// The time before the rename within which a later write may get the same timestamp: the coarsest
/// file systems count in 2 s.
const TIMESTAMP_STEP: i64 = 2;

impl Mover<'_> {
    /// Removes the remaining sources of files that are durable at the destination. Returns the
    /// directories that must be synced for that.
    pub(super) fn remove(&mut self, retire: Vec<PendingRemoval>) -> Result<Vec<PathBuf>, Aborted> {
        let mut by_dir: BTreeMap<PathBuf, Vec<PendingRemoval>> = BTreeMap::new();
        let mut second_names = BTreeSet::new();
        for item in retire {
            if let Some(temp) = &item.temp {
                // The source stays until the second name is removed: it is the next run's reason to
                // remove that name.
                match self.disk.unlink(temp) {
                    Ok(()) => second_names.extend(temp.parent().map(Path::to_owned)),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        self.fail(temp, error);
                        continue;
                    }
                }
            }
            by_dir.entry(parent(&item.from)).or_default().push(item);
        }
        if !second_names.is_empty() {
            self.flush(&second_names, |_| Vec::new())?;
        }
        if by_dir.is_empty() {
            return Ok(Vec::new());
        }
        let sources: Vec<PathBuf> = by_dir.keys().cloned().collect();
        for dir in &sources {
            if let Err(error) = self.make_dir(&dir.join(QUARANTINE_DIR)) {
                self.fail(dir, error);
                by_dir.remove(dir);
            }
        }
        self.flush(by_dir.keys(), |_| Vec::new())?;
        self.remove_sources(by_dir)?;
        Ok(sources)
    }

    /// Removes sources. Each is renamed aside and checked there, where no other program can write
    /// between the check and the removal. A source that differs from the published file gets its
    /// name back.
    fn remove_sources(&mut self, by_dir: BTreeMap<PathBuf, Vec<PendingRemoval>>) -> Flow {
        let mut quarantines = BTreeMap::new();
        let mut sources = Vec::new();
        for (dir, items) in by_dir {
            let quarantined = dir.join(QUARANTINE_DIR);
            // A file of a killed run that could not be restored must not be replaced.
            match self.names_in(&quarantined) {
                Ok(there) => {
                    for item in items {
                        match item.from.file_name().map(|name| (there.contains(name), quarantined.join(name)))
                        {
                            Some((false, quarantined)) => sources.push((item, quarantined)),
                            _ => self.report.errors.push(MigrationError::Changed { path: item.from }),
                        }
                    }
                    quarantines.insert(dir, quarantined);
                }
                Err(error) => self.fail(&dir, error),
            }
        }
        let targets = dirs_of(sources.iter().map(|(item, _)| item.to.as_path()));
        let aside = quarantines.iter().flat_map(|(dir, quarantined)| [dir.as_path(), quarantined]);
        let held = self.hold(&aside.chain(targets).collect::<Vec<_>>());
        let disk = self.disk;
        let check_one = |(item, quarantined): (PendingRemoval, PathBuf)| {
            let checked = check(disk, &item, &quarantined);
            (item, quarantined, checked)
        };
        let checked = each(disk, sources, check_one, |_| {});
        let in_use = in_use(disk, &checked);
        let remove_one = |(item, quarantined, checked): (PendingRemoval, PathBuf, Checked)| {
            let fate = match checked {
                Checked::Ended(fate) => fate,
                Checked::Removable { .. } if in_use.contains(&quarantined) => {
                    RemovalOutcome::InUse { back: give_back(disk, &item, &quarantined) }
                }
                Checked::Removable { lost, seen, .. } => remove(disk, &item, &quarantined, lost, &seen),
            };
            (item, quarantined, fate)
        };
        let mut restored = BTreeSet::new();
        let told = self.phase(Phase::Removing, checked.len());
        for (item, quarantined, fate) in each(disk, checked, remove_one, told) {
            if let RemovalOutcome::Kept { back, .. } | RemovalOutcome::InUse { back } = &fate {
                if !back {
                    self.restore_quarantine(&quarantined, &item.from);
                }
                restored.insert(parent(&item.from));
            }
            match fate {
                RemovalOutcome::Removed { lost } => {
                    self.touched = true;
                    if !lost.is_empty() {
                        self.report
                            .attributes_lost
                            .push(AttributesLost { path: item.to.clone(), names: lost });
                    }
                    match item.method {
                        Some(method) => self.moved(item.from, item.to, method, item.aside),
                        None => self.report.identical_removed.push(item.from),
                    }
                }
                RemovalOutcome::WasGone => {}
                RemovalOutcome::InUse { .. } => {
                    self.report.errors.push(MigrationError::Changed { path: item.from })
                }
                RemovalOutcome::Kept { why: None, .. } => {
                    self.report.collisions.push(Collision { source: item.from, destination: item.to });
                }
                RemovalOutcome::Failed(error) | RemovalOutcome::Kept { why: Some(error), .. } => {
                    self.fail(&item.from, error);
                }
            }
        }
        drop(held);
        if !restored.is_empty() {
            self.flush(&restored, |_| Vec::new())?;
        }
        for quarantines in quarantines.values() {
            match self.disk.remove_dir(quarantines) {
                Ok(()) => {}
                Err(error) if error.is_not_found() => {}
                // The remaining files have been reported.
                Err(error) if error.is_already_exists() && !self.report.errors.is_empty() => {}
                Err(error) => self.fail(quarantines, error),
            }
        }
        Ok(())
    }

    fn names_in(&self, dir: &Path) -> Result<BTreeSet<OsString>, DiskError> {
        Ok(self.disk.list(dir)?.into_iter().map(|entry| entry.name).collect())
    }
}

/// Renames a source aside and checks if it can be removed. A source that stays gets its name back.
fn check(disk: &LockedDir, item: &PendingRemoval, quarantined: &Path) -> Checked {
    // Only for a file at the destination that this run has not put there.
    let before = item.method.is_none().then(|| disk.stat(&item.to).ok()).flatten();
    if let Err(error) = disk.rename(&item.from, quarantined)
        && disk.stat(quarantined).is_err()
    {
        // The source is gone already, so there is nothing to remove.
        let gone = matches!(disk.stat(&item.from), Err(error) if error.is_not_found());
        return Checked::Ended(if gone { RemovalOutcome::WasGone } else { RemovalOutcome::Failed(error) });
    }
    let looked = disk.stat(quarantined).and_then(|seen| {
        // Runs the mount check after the comparison: opening the destination makes NFS refresh the
        // ctime compared here.
        let lost = verify_removable(disk, item, quarantined)?;
        verify_not_same_file(disk, item, quarantined, before)?;
        Ok(lost.map(|lost| (lost, seen)))
    });
    match looked {
        Ok(Some((lost, seen))) => {
            let complete = item.link.is_some() || is_complete(disk, quarantined);
            Checked::Removable { lost, seen: Box::new(seen), complete }
        }
        kept => {
            Checked::Ended(RemovalOutcome::Kept { why: kept.err(), back: give_back(disk, item, quarantined) })
        }
    }
}

/// Gives a source its name back at once, because other programs look for it under that name.
fn give_back(disk: &LockedDir, item: &PendingRemoval, quarantined: &Path) -> bool {
    disk.rename_noreplace(quarantined, &item.from).is_ok()
}

/// Returns the sources, by their names aside, that a program has open for writing, or that go on
/// changing. Such a program may not have finished, and its later writes would be lost with the
/// source. No program opens a file anew that is aside, so a source that is not in use now has its
/// last content.
fn in_use(disk: &dyn Disk, checked: &[(PendingRemoval, PathBuf, Checked)]) -> BTreeSet<PathBuf> {
    let asked = checked.iter().filter_map(|(item, quarantined, checked)| {
        let Checked::Removable { seen, complete, .. } = checked else { return None };
        // A symlink has no content. A write to a file whose second name is at the destination is
        // not lost.
        let is_second_name =
            || seen.links > 1 && disk.stat(&item.to).is_ok_and(|there| there.is_same_file(seen));
        (item.link.is_none() && !is_second_name()).then_some((quarantined.as_path(), *complete))
    });
    let (files, complete): (Vec<_>, Vec<_>) = asked.unzip();
    if files.is_empty() {
        return BTreeSet::new();
    }
    let open = disk.open_for_writing(&files).into_iter().map(|answer| answer == OpenForWriting::Yes);
    let (mut in_use, mut torn) = (BTreeSet::new(), Vec::new());
    for ((file, complete), is_open) in files.into_iter().zip(complete).zip(open) {
        match (is_open, complete) {
            (true, _) => drop(in_use.insert(file.to_owned())),
            (false, false) => torn.push((file, false)),
            (false, true) => {}
        }
    }
    // Where a writer cannot be seen, an incomplete file is given time.
    in_use.extend(not_at_rest(disk, torn.into_iter()));
    in_use
}

/// Removes a source that is not in use. Compares it once more if a program may have written and
/// closed it since it was `seen`.
fn remove(
    disk: &LockedDir,
    item: &PendingRemoval,
    quarantined: &Path,
    lost: Vec<String>,
    seen: &Metadata,
) -> RemovalOutcome {
    let is_as_seen = |now: &Metadata| {
        (now.len, now.modified) == (seen.len, seen.modified)
            && seen.changed.seconds - seen.modified.seconds > TIMESTAMP_STEP
    };
    let may_go = disk.stat(quarantined).and_then(|now| match item.link.is_some() || is_as_seen(&now) {
        true => Ok(Some(lost)),
        false => verify_removable(disk, item, quarantined),
    });
    match may_go {
        Ok(Some(lost)) => match disk.unlink(quarantined) {
            Ok(()) => RemovalOutcome::Removed { lost },
            Err(error) if error.is_not_found() => RemovalOutcome::WasGone,
            Err(error) => RemovalOutcome::Failed(error),
        },
        kept => RemovalOutcome::Kept { why: kept.err(), back: give_back(disk, item, quarantined) },
    }
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
    if let Some(target) = &item.link {
        return nothing_lost(disk.stat(&item.to).is_ok() && disk.read_link(quarantined)? == *target);
    }
    let compare = || {
        Ok(match disk.compare_copy(quarantined, &item.to)? {
            CopyComparison::Differs => None,
            CopyComparison::Identical { missing_xattrs } => Some(missing_xattrs),
        })
    };
    if item.method == Some(MoveMethod::Copy)
        && let Ok(likeness) = compare()
    {
        // The copy is a separate file, so no further check is needed. If the two cannot be
        // compared, the checks below return the reason.
        return Ok(likeness);
    }
    let (here, there) = (disk.stat(quarantined)?, disk.stat(&item.to)?);
    if !here.is_file() || !there.is_file() || disk.is_mount_point(&item.to) {
        return nothing_lost(false);
    }
    if here.is_same_file(&there) {
        return nothing_lost(there.links > 1);
    }
    compare()
}
