//! Carries out the steps of a plan, and records each outcome in the report.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use myownllm_durable_fs::trust::{OwnershipProblem, foreign_file, unchangeable_part};
use myownllm_durable_fs::{
    DirEntry, Disk, DiskError, FileMove, LockedDir, MoveKind, Op, Owner, PendingRemoval, Published, Removal,
    RemovalOutcome, SyncFailed, Transfer, TransferProgress, ensure_private_dir, may_be_only_copy,
};

use crate::classify::{EntryClass, classify_entry};
use crate::compare::incomparable;
use crate::error::MigrationError;
use crate::plan::{Collision, MoveStep, Plan, Retarget, SkippedEntry, parent};
use crate::report::{AttributesLost, MoveMethod, MoveReport, Moved};

/// A sync failed, or the file system lacks a required operation: this run must not move anything
/// more.
pub(super) struct Aborted;

type Flow = Result<(), Aborted>;

/// Carries out the plan. Fails if the run ended before all steps were tried.
pub(super) fn carry_out(
    disk: &LockedDir,
    plan: &Plan,
    report: &mut MoveReport,
    on_progress: &dyn Fn(TransferProgress),
) -> Flow {
    let is_complete = |bytes: &[u8]| serde_json::from_slice::<serde::de::IgnoredAny>(bytes).is_ok();
    let mut executor = Executor {
        disk,
        plan,
        report,
        transfer: Transfer::new(disk, plan.owner, &is_complete, on_progress),
        on_progress,
        has_moved: false,
        unrenamed_dirs: Vec::new(),
        unmade_dirs: BTreeSet::new(),
    };
    executor.run()
}

struct Executor<'a> {
    /// The locked home, for every read and change.
    disk: &'a LockedDir,
    plan: &'a Plan,
    report: &'a mut MoveReport,
    transfer: Transfer<'a>,
    on_progress: &'a dyn Fn(TransferProgress),
    /// True if anything has moved.
    has_moved: bool,
    /// Directories that could not be renamed as a whole: they remain when their files have moved.
    unrenamed_dirs: Vec<PathBuf>,
    /// Directories of the destination that could not be made.
    unmade_dirs: BTreeSet<PathBuf>,
}

/// Returns the files to move that can be synced one by one: a source that cannot be read can still
/// be renamed.
fn readable_sources(disk: &dyn Disk, plan: &Plan) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for step in plan.state.iter().chain(&plan.identity_steps) {
        match step {
            MoveStep::MoveDir { from, names, .. } | MoveStep::MoveFiles { from, names, .. } => {
                files.extend(names.iter().map(|name| from.join(name)));
            }
            MoveStep::MoveFile { from, .. } | MoveStep::SetAside { from, .. } => files.push(from.clone()),
            _ => {}
        }
    }
    let cannot = |kind| matches!(kind, std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::NotFound);
    files.retain(|file| {
        disk.stat(file).is_ok_and(|meta| meta.is_file())
            && !matches!(disk.read(file, 0), Err(error) if cannot(error.kind()))
    });
    files
}

/// Returns the files that a barrier must sync where the platform cannot sync a whole file system:
/// the files that got their name at the destination now, and the files that were there already and
/// replace a source that is removed next, whoever wrote them.
fn published_files(disk: &dyn Disk, pending: &[PendingRemoval], steps: &[MoveStep]) -> Vec<PathBuf> {
    let published = pending.iter().filter(|item| item.symlink_target.is_none()).map(|item| item.to.clone());
    let identical = steps.iter().filter_map(|step| match step {
        MoveStep::RemoveIdentical { destination, .. } => {
            disk.stat(destination).is_ok_and(|there| there.is_file()).then(|| destination.clone())
        }
        _ => None,
    });
    published.chain(identical).collect()
}

impl Executor<'_> {
    fn fail(&mut self, path: &Path, source: DiskError) {
        let denied = source.kind() == io::ErrorKind::PermissionDenied;
        let error = match denied.then(|| self.not_ours(path)).flatten() {
            Some(found) => found.into(),
            None => MigrationError::Failed { path: path.to_owned(), source },
        };
        // One error for a directory covers every file in it.
        let is_reported = matches!(error, MigrationError::UnsafePermissions { .. })
            && self.report.errors.iter().any(|known| known.path() == error.path());
        if !is_reported {
            self.report.errors.push(error);
        }
    }

    /// Returns the problem if the path or its directory belongs to another user than the owner of
    /// the home: usually to root, after the app once ran as root.
    fn not_ours(&self, path: &Path) -> Option<OwnershipProblem> {
        let home = self.plan.owner?;
        let dir = path.parent()?;
        let found = |path: &Path| unchangeable_part(path, &self.disk.stat(path).ok()?, home);
        [path, dir].into_iter().find_map(found)
    }

    fn sync<'p>(
        &mut self,
        dirs: impl IntoIterator<Item = &'p PathBuf>,
        files: impl FnOnce(&dyn Disk) -> Vec<PathBuf>,
    ) -> Flow {
        let synced = self.transfer.sync(dirs, files);
        self.proceed(synced)
    }

    /// Ends the run after a failed sync.
    fn proceed(&mut self, result: Result<(), SyncFailed>) -> Flow {
        result.map_err(|SyncFailed { path, source }| {
            self.report.errors.push(MigrationError::FlushFailed { path, source });
            Aborted
        })
    }

    fn run(&mut self) -> Flow {
        tracing::info_span!("prepare").in_scope(|| self.walk(&self.plan.prepare))?;
        self.refuse_foreign_files()?;
        tracing::info_span!("move-state").in_scope(|| self.walk(&self.plan.state))?;
        if self.plan.identity_steps.is_empty() || self.report.errors.is_empty() {
            tracing::info_span!("move-identity").in_scope(|| self.walk(&self.plan.identity_steps))?;
        } else {
            let path = self.plan.source.join(self.plan.homes.identity());
            self.report.errors.push(MigrationError::IdentityHeldBack { path });
        }
        tracing::info_span!("tidy").in_scope(|| self.walk(&self.plan.tidy))
    }

    /// Refuses files of another user in a directory whose mode was tightened: until then other
    /// users could put files into it, even after the inspection.
    fn refuse_foreign_files(&mut self) -> Flow {
        for dir in &self.plan.writable_by_others {
            let entries = self.disk.list(dir).unwrap_or_default().into_iter();
            let ours = |entry: &DirEntry| matches!(classify_entry(&entry.name, entry.kind), EntryClass::Ours);
            let files = entries.filter(ours).map(|entry| dir.join(entry.name));
            if let Some(found) = foreign_file(self.disk, dir, files, self.plan.owner) {
                self.report.errors.push(found.into());
                return Err(Aborted);
            }
        }
        Ok(())
    }

    fn file_move(&self, from: &Path, to: &Path, symlink: Option<&Retarget>) -> FileMove {
        let kind = symlink.cloned().map_or(MoveKind::File, |Retarget { old_target, target }| {
            MoveKind::Symlink { old_target, target }
        });
        FileMove {
            from: from.to_owned(),
            to: to.to_owned(),
            kind,
            copy_is_private: self.plan.secret_dirs.iter().any(|dir| to.parent() == Some(dir)),
            is_set_aside: false,
        }
    }

    fn file_moves(&self, from: &Path, to: &Path, names: &[OsString]) -> Vec<FileMove> {
        names.iter().map(|name| self.file_move(&from.join(name), &to.join(name), None)).collect()
    }

    /// Carries out steps in order. The files up to each barrier move together.
    fn walk(&mut self, steps: &[MoveStep]) -> Flow {
        let plan = self.plan;
        let (mut files, mut pending) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                MoveStep::MoveDir { from, to, names } => files.extend(self.move_dir(from, to, names)?),
                MoveStep::MoveFiles { from, to, names } => files.extend(self.file_moves(from, to, names)),
                MoveStep::MoveFile { from, to } => files.push(self.file_move(from, to, None)),
                MoveStep::MoveSymlink { from, to, symlink } => {
                    files.push(self.file_move(from, to, Some(symlink)))
                }
                MoveStep::SetAside { from, to, symlink } => {
                    let file = self.file_move(from, to, symlink.as_ref());
                    files.push(FileMove { is_set_aside: true, copy_is_private: true, ..file });
                }
                MoveStep::RemoveIdentical { source, destination, symlink_target } => {
                    (self.on_progress)(TransferProgress::Files(1));
                    let (from, to) = (source.clone(), destination.clone());
                    pending.push(PendingRemoval::identical(from, to, symlink_target.clone()));
                }
                MoveStep::Sync { directories, sources } => {
                    let published = self.publish(std::mem::take(&mut files), &mut pending)?;
                    // A directory is missing if its move failed.
                    let there: Vec<&PathBuf> =
                        directories.iter().filter(|dir| !self.unmade_dirs.contains(*dir)).collect();
                    self.sync(there, |disk| match sources {
                        true => readable_sources(disk, plan),
                        false => published_files(disk, &pending, steps),
                    })?;
                    if published.is_err() {
                        // Completes what was published, and begins no more.
                        self.remove(pending)?;
                        return published;
                    }
                }
                MoveStep::RemoveSources { .. } => self.remove(std::mem::take(&mut pending))?,
                step => self.change(step)?,
            }
        }
        Ok(())
    }

    /// Carries out a step that changes one name, mode or owner.
    fn change(&mut self, step: &MoveStep) -> Flow {
        let path = step.path();
        let changed = match step {
            // No other name is a leftover's, whatever the plan says.
            MoveStep::RemoveLeftover { .. } if path.file_name().and_then(may_be_only_copy) != Some(false) => {
                Err(DiskError::new(Op::Unlink, path, ErrorKind::InvalidInput.into()))
            }
            MoveStep::RemoveLeftover { .. } => self.disk.unlink(path).map(|()| {
                self.report.leftovers_removed.push(path.to_owned());
            }),
            // The plan then treats the file like any other source.
            MoveStep::RestoreQuarantined { from, to } => self.transfer.restore(from, to),
            MoveStep::RemoveDir { .. } => {
                self.remove_dir(path);
                Ok(())
            }
            MoveStep::MakeDir { .. } => ensure_private_dir(self.disk, path, self.plan.owner),
            MoveStep::SetMode { mode, .. } => match self.disk.set_mode(path, *mode) {
                // The mode may be right in spite of the error.
                Err(_) if self.disk.stat(path).is_ok_and(|meta| meta.mode & 0o777 == *mode) => Ok(()),
                set => set,
            },
            MoveStep::SetOwner { uid, gid, .. } => self.disk.set_owner(path, Owner { uid: *uid, gid: *gid }),
            _ => Ok(()),
        };
        match (changed, step) {
            (Ok(()), _) => Ok(()),
            (Err(error), MoveStep::RemoveLeftover { .. } | MoveStep::SetMode { .. })
                if error.is_not_found() =>
            {
                Ok(())
            }
            (Err(error), step) => {
                self.fail(path, error);
                let is_needed = matches!(
                    step,
                    MoveStep::MakeDir { .. } | MoveStep::SetMode { .. } | MoveStep::SetOwner { .. }
                );
                if is_needed { Err(Aborted) } else { Ok(()) }
            }
        }
    }

    /// Removes a directory if it is empty. Returns true if it was removed.
    fn remove_dir(&mut self, path: &Path) -> bool {
        match self.disk.remove_dir(path) {
            Ok(()) => {
                self.report.dirs_removed.push(path.to_owned());
                return true;
            }
            Err(error) if error.is_not_found() || error.is_already_exists() => {}
            // A file system is mounted there, from the same device, or another program uses the
            // directory: an empty directory does no harm.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                let reason = "it is empty, and busy".to_owned();
                self.report.left.push(SkippedEntry { path: path.to_owned(), reason });
            }
            Err(error) => self.fail(path, error),
        }
        false
    }

    /// Renames a whole directory. Where that is not possible, its files move one by one, into a
    /// directory that is made for them and must be durable first.
    fn move_dir(&mut self, from: &Path, to: &Path, names: &[OsString]) -> Result<Vec<FileMove>, Aborted> {
        let error = match self.transfer.rename_dir(from, to) {
            Ok(()) => {
                self.has_moved = true;
                let (from, to, files) = (from.to_owned(), to.to_owned(), names.len());
                self.report.moved.push(Moved { from, to, method: MoveMethod::RenameDir, files });
                (self.on_progress)(TransferProgress::Files(files));
                return Ok(Vec::new());
            }
            Err(error) if error.is_no_exclusive_rename() => return Err(self.refuse(to)),
            Err(error) => error,
        };
        let busy = error.kind() == io::ErrorKind::ResourceBusy;
        let prepared = if error.is_already_exists() || error.is_cross_device() || busy {
            self.unrenamed_dirs.push(from.to_owned());
            ensure_private_dir(self.disk, to, self.plan.owner)
        } else {
            Err(error)
        };
        if let Err(error) = prepared {
            self.unmade_dirs.insert(to.to_owned());
            self.fail(from, error);
            return Ok(Vec::new());
        }
        self.sync(&[to.to_owned(), parent(to)], |_| Vec::new())?;
        Ok(self.file_moves(from, to, names))
    }

    /// Reports that the file system of this path has no way to move a file without the danger of
    /// replacing another.
    fn refuse(&mut self, to: &Path) -> Aborted {
        let error = MigrationError::NoExclusiveRename { path: parent(to) };
        let known = |known: &MigrationError| known.code() == error.code() && known.path() == error.path();
        if self.report.errors.iter().chain(&self.report.refusals).any(known) {
            return Aborted;
        }
        if self.has_moved || !self.report.errors.is_empty() {
            self.report.errors.push(error);
        } else {
            self.report.refusals.push(error);
        }
        Aborted
    }

    fn moved(&mut self, from: PathBuf, to: PathBuf, method: MoveMethod, aside: bool) {
        let moved = Moved { from, to, method, files: 1 };
        if aside {
            self.report.set_aside.push(moved);
        } else {
            self.report.moved.push(moved);
        }
    }

    /// Gives each file its name at the destination. Adds the sources that can be removed once that
    /// is durable. The inner error: the file system cannot do it; the caller then finishes the
    /// published files and begins no more.
    fn publish(&mut self, files: Vec<FileMove>, pending: &mut Vec<PendingRemoval>) -> Result<Flow, Aborted> {
        let mut published = Vec::new();
        let copied = self.transfer.publish(files, &mut published);
        let mut flow = Ok(());
        for (file, outcome) in published {
            match outcome {
                Published::Renamed => {
                    self.has_moved = true;
                    self.moved(file.from, file.to, MoveMethod::Rename, file.is_set_aside);
                }
                Published::SourceRemains(item) => pending.push(item),
                Published::Taken => {
                    self.report.collisions.push(Collision { source: file.from, destination: file.to });
                }
                // The file stays, and the next run tries again.
                Published::Changed => self.report.errors.push(MigrationError::Changed { path: file.from }),
                Published::Vanished => self.report.errors.push(MigrationError::Vanished { path: file.from }),
                Published::Incomparable(error) => {
                    self.report.errors.push(incomparable(&file.from, &file.to, error));
                }
                Published::Unsupported(_) => flow = Err(self.refuse(&file.to)),
                Published::Failed(error) => self.fail(&file.from, error),
                _ => self.report.errors.push(MigrationError::Changed { path: file.from }),
            }
        }
        self.proceed(copied)?;
        Ok(flow)
    }

    /// Removes the remaining sources of files that are durable at the destination, and the
    /// directories that they leave empty where none could be renamed as a whole. Syncs the
    /// directories.
    fn remove(&mut self, pending: Vec<PendingRemoval>) -> Flow {
        let mut removal = Removal::default();
        let removed = self.transfer.remove_sources(pending, &mut removal);
        for (item, outcome) in removal.sources {
            match outcome {
                RemovalOutcome::Removed { lost } => {
                    self.has_moved = true;
                    if !lost.is_empty() {
                        let lost = AttributesLost { path: item.to.clone(), names: lost };
                        self.report.attributes_lost.push(lost);
                    }
                    match item.method {
                        Some(method) => self.moved(item.from, item.to, method.into(), item.is_set_aside),
                        None => self.report.identical_removed.push(item.from),
                    }
                }
                RemovalOutcome::WasGone => {}
                RemovalOutcome::Differs => {
                    self.report.collisions.push(Collision { source: item.from, destination: item.to });
                }
                RemovalOutcome::Failed(error) => self.fail(&item.from, error),
                _ => self.report.errors.push(MigrationError::Changed { path: item.from }),
            }
        }
        for (path, error) in removal.failures {
            // A source that stays in its quarantine has been reported.
            if !error.is_already_exists() || self.report.errors.is_empty() {
                self.fail(&path, error);
            }
        }
        self.proceed(removed)?;
        let mut changed: BTreeSet<PathBuf> = removal.changed_dirs.into_iter().collect();
        for dir in std::mem::take(&mut self.unrenamed_dirs) {
            if self.remove_dir(&dir) {
                changed.remove(&dir);
                changed.insert(parent(&dir));
            }
        }
        self.sync(&changed, |_| Vec::new())
    }
}
