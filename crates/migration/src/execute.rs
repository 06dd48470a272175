//! Executes the plan in phases: prepare, sync; publish, sync; only then remove sources; the
//! identity file last.
//!
//! No step here can replace or remove a file that it has not just checked. A source is removed only
//! if the destination holds its bytes, in a file and under a name that were synced. A failed step
//! is recorded and the other steps go on, but a failed sync ends the run, and after any failure the
//! identity file stays.

mod cross_device;
mod parallel;
mod remove_sources;
mod rest;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::trust::{OwnershipProblem, foreign_file, unchangeable_part};
use myownllm_durable_fs::{
    DirHandles, Disk, DiskError, LockedDir, Metadata, NoReplaceSupport, Op, SyncFs, no_replace_support,
    quote, with_temp,
};

use crate::{
    LiveDaemons, LiveKind,
    error::MigrationError,
    homes::Options,
    inspect::{EntryClass, inspect, rebase, set_aside_as, whose},
    plan::{Collision, IdentityState, Plan, SkippedEntry, Step},
    report::{MoveMethod, Moved, Outcome, Phase, Progress, Report},
};

/// A sync failed, or the file system lacks a required operation: this run must not move anything
/// more.
struct Aborted;

type Flow = Result<(), Aborted>;

/// One file to move.
struct FileMove {
    from: PathBuf,
    to: PathBuf,
    kind: MoveKind,
    /// True if the file ends with mode 0600.
    private: bool,
    /// True if the file is set aside instead of moved.
    aside: bool,
}

#[derive(Clone)]
enum MoveKind {
    File,
    Link { old_target: PathBuf, target: PathBuf },
}

/// A source that can be removed once its published copy is durable.
struct PendingRemoval {
    from: PathBuf,
    to: PathBuf,
    /// The target, if the source is a symlink.
    link: Option<PathBuf>,
    /// `None` if the file was at the destination already.
    method: Option<MoveMethod>,
    aside: bool,
    /// A second name of `to` in its directory that must be removed first.
    temp: Option<PathBuf>,
}

pub(crate) fn execute(
    disk: &LockedDir,
    plan: Plan,
    daemons: &dyn LiveDaemons,
    on_progress: &dyn Fn(Progress),
) -> Report {
    let mut report = Report::new(plan.direction, plan.identity.clone());
    report.left.clone_from(&plan.left);
    report.collisions.clone_from(&plan.collisions);
    report.errors.clone_from(&plan.errors);
    report.refusals.clone_from(&plan.refusals);
    if report.refusals.is_empty()
        && !plan.is_empty()
        && let Err(refusals) = check_preconditions(disk, &plan, daemons, &mut report)
    {
        report.refusals = refusals;
    }
    if !report.refusals.is_empty() {
        report.outcome = Outcome::Refused;
        return report;
    }
    if plan.is_empty() {
        report.outcome = if report.errors.is_empty() { Outcome::NothingToDo } else { Outcome::Partial };
        return report;
    }
    let mut mover = Mover {
        disk,
        plan: &plan,
        report,
        support: BTreeMap::new(),
        touched: false,
        emptied: Vec::new(),
        not_made: BTreeSet::new(),
        on_progress,
        progress: Progress::new(Phase::Moving, 0, plan.files()),
    };
    let stopped = mover.all().is_err();
    let mut report = mover.report;
    if stopped && report.moved.is_empty() && report.errors.is_empty() {
        report.outcome = Outcome::Refused;
    } else {
        verify_outcome(disk, &plan, &mut report);
    }
    let has_changed =
        !(report.moved.is_empty() && report.set_aside.is_empty() && report.identical_removed.is_empty());
    for home in [&plan.homes.app, &plan.homes.daemon].into_iter().filter(|_| has_changed) {
        if !disk.confirms_sync(home) {
            report.sync_unconfirmed.push(home.clone());
        }
    }
    report
}

/// Checks that the right lock is held and that no daemon writes the homes.
fn check_preconditions(
    disk: &LockedDir,
    plan: &Plan,
    daemons: &dyn LiveDaemons,
    report: &mut Report,
) -> Result<(), Vec<MigrationError>> {
    disk.ensure_locks(&plan.app_home).map_err(|error| vec![MigrationError::OutsideLock(error)])?;
    let refusal = |daemon: crate::LiveDaemon, stop_failed: Option<String>| {
        // The hint must not repeat a command that has just failed.
        let command = match (daemon.pid, &daemon.hint) {
            (_, Some(hint)) if stop_failed.is_some() => hint.clone(),
            (Some(pid), _) if stop_failed.is_some() && !cfg!(windows) => format!("kill -KILL {pid}"),
            (Some(pid), _) if !cfg!(windows) => format!("kill {pid}"),
            _ if stop_failed.is_some() => format!("ls -ld {}", quote(&daemon.socket)),
            _ => format!("{} migrate --stop-legacy-daemon", plan.homes.program),
        };
        daemon.refusal(command, stop_failed)
    };
    let live = daemons.live();
    if live.is_empty() {
        return Ok(());
    }
    if !plan.stop_legacy_daemon {
        return Err(live.into_iter().map(|daemon| refusal(daemon, None)).collect());
    }
    let mut refusals = Vec::new();
    for daemon in live {
        // The daemon of the daemon home does not serve the old location, and stays.
        if daemon.kind != LiveKind::Legacy {
            refusals.push(refusal(daemon, None));
            continue;
        }
        match daemons.stop(&daemon) {
            Ok(()) => report.stopped.push(daemon),
            Err(why) => refusals.push(refusal(daemon, Some(why))),
        }
    }
    // A stopped daemon may not have ended, or another program may have restarted it.
    if refusals.is_empty() {
        refusals.extend(daemons.live().into_iter().map(|daemon| refusal(daemon, None)));
    }
    if refusals.is_empty() { Ok(()) } else { Err(refusals) }
}

/// Determines the outcome of the run by a second inspection: another program may have added files,
/// a call may have reported success without effect, and a second identity file may have appeared.
fn verify_outcome(disk: &dyn Disk, plan: &Plan, report: &mut Report) {
    let after = inspect(disk, &plan.homes, plan.direction);
    let rest = crate::planner::plan(&plan.homes, &after, &Options::default());
    report.identity = rest.identity;
    let is_gone = matches!(report.identity, IdentityState::Absent | IdentityState::Unusable { .. });
    if plan.identity.key().is_some() && is_gone {
        // A daemon that is started now would make a second identity.
        let path = plan.source.join(&plan.homes.names.identity);
        report.identity = IdentityState::Blocked { why: "the key went away while the move ran".to_owned() };
        report.errors.push(MigrationError::Vanished { path });
    }
    let new = |known: &[MigrationError], error: &MigrationError| {
        !known.iter().any(|known| known.code() == error.code() && known.path() == error.path())
    };
    for error in rest.errors.into_iter().chain(rest.refusals) {
        if new(&report.errors, &error) {
            report.errors.push(error);
        }
    }
    for collision in rest.collisions {
        if !report.collisions.contains(&collision) {
            report.collisions.push(collision);
        }
    }
    for left in rest.left {
        if !report.left.contains(&left) {
            report.left.push(left);
        }
    }
    // An empty directory that could not be removed has been reported, and its parents stay with it.
    let is_said = |step: &&Step| report.left.iter().any(|left| left.path.starts_with(step.path()));
    let empty = rest.tidy.iter().filter(|step| !is_said(step));
    let mut steps = rest.prepare.iter().chain(&rest.state).chain(&rest.identity_steps).chain(empty);
    let unfinished = steps.find(|step| !step.is_barrier()).cloned();
    if let Some(step) = unfinished.filter(|_| report.errors.is_empty()) {
        report.errors.push(MigrationError::Changed { path: step.path().to_owned() });
    }
    report.outcome = if report.errors.is_empty() { Outcome::Done } else { Outcome::Partial };
}

struct Mover<'a> {
    /// The locked home, for every read and change.
    disk: &'a LockedDir,
    plan: &'a Plan,
    report: Report,
    /// The known support for a rename that cannot replace, by directory.
    support: BTreeMap<PathBuf, NoReplaceSupport>,
    /// True if anything has moved.
    touched: bool,
    /// Directories that could not be renamed as a whole: their files move one by one, and the
    /// directories still exist at the end.
    emptied: Vec<PathBuf>,
    /// Directories of the destination that could not be made.
    not_made: BTreeSet<PathBuf>,
    /// The function that receives the progress.
    on_progress: &'a dyn Fn(Progress),
    progress: Progress,
}

/// Returns the files to move that can be synced one by one: a source that cannot be read can still
/// be renamed.
fn sources(disk: &dyn Disk, plan: &Plan) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for step in plan.state.iter().chain(&plan.identity_steps) {
        match step {
            Step::MoveDir { from, .. } => files.extend(ours_in(disk, from).unwrap_or_default()),
            Step::MoveFiles { from, names, .. } => files.extend(names.iter().map(|name| from.join(name))),
            Step::MoveFile { from, .. } | Step::SetAside { from, .. } => files.push(from.clone()),
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

/// Returns our files in a source directory, as they are now.
fn ours_in(disk: &dyn Disk, dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let mut files = Vec::new();
    disk.for_each_entry(dir, &mut |entry| {
        if matches!(whose(&entry.name, entry.kind), EntryClass::Ours) {
            files.push(dir.join(entry.name));
        }
        ControlFlow::Continue(())
    })?;
    files.sort();
    Ok(files)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Returns the directories of these paths, each once.
fn dirs_of<'p>(paths: impl Iterator<Item = &'p Path>) -> Vec<&'p Path> {
    let mut dirs: Vec<&Path> = paths.filter_map(Path::parent).collect();
    dirs.dedup();
    dirs.sort();
    dirs.dedup();
    dirs
}

/// Returns the files that a barrier must sync where the platform cannot sync a whole file system:
/// the files that got their name at the destination now, and the files that were there already and
/// replace a source that is removed next, whoever wrote them.
fn published_files(disk: &dyn Disk, retire: &[PendingRemoval], steps: &[Step]) -> Vec<PathBuf> {
    let published = retire.iter().filter(|item| item.link.is_none()).map(|item| item.to.clone());
    let identical = steps.iter().filter_map(|step| match step {
        Step::RemoveIdentical { destination, .. } => {
            disk.stat(destination).is_ok_and(|there| there.is_file()).then(|| destination.clone())
        }
        _ => None,
    });
    published.chain(identical).collect()
}

/// Adds the directory of a path. A phase has very many paths in very few directories.
fn note(dirs: &mut BTreeSet<PathBuf>, path: &Path) {
    let dir = path.parent().unwrap_or(path);
    if !dirs.contains(dir) {
        dirs.insert(dir.to_owned());
    }
}

impl<'a> Mover<'a> {
    /// Keeps directories open until the returned value is dropped. None of them may be renamed or
    /// removed meanwhile.
    fn hold(&self, dirs: &[&Path]) -> DirHandles<'a> {
        self.disk.keep_open(dirs)
    }

    /// Reports that `files` more files were processed.
    fn went_on(&mut self, files: usize) {
        let Progress { done, total, .. } = self.progress;
        self.progress = Progress::new(Phase::Moving, total.min(done + files), total);
        (self.on_progress)(self.progress);
    }

    /// Returns a function that reports the progress of a phase over files that were processed
    /// before; its argument is the number of further files.
    fn phase(&self, phase: Phase, phase_total: usize) -> impl FnMut(usize) + use<'a> {
        let on_progress = self.on_progress;
        let mut progress = Progress { phase, phase_done: 0, phase_total, ..self.progress };
        move |more| {
            progress.phase_done = phase_total.min(progress.phase_done + more);
            on_progress(progress);
        }
    }

    fn fail(&mut self, path: &Path, source: DiskError) {
        let denied = source.kind() == io::ErrorKind::PermissionDenied;
        let error = match denied.then(|| self.not_ours(path)).flatten() {
            Some(found) => found.into(),
            None => MigrationError::Failed { path: path.to_owned(), source },
        };
        // One error for a directory covers every file in it.
        let is_told = matches!(error, MigrationError::UnsafePermissions { .. })
            && self.report.errors.iter().any(|known| known.path() == error.path());
        if !is_told {
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

    /// Carries out a barrier of the plan. Skips a directory that does not exist because its move
    /// failed.
    fn barrier(&mut self, directories: &[PathBuf], files: impl FnOnce(&dyn Disk) -> Vec<PathBuf>) -> Flow {
        let there: Vec<&PathBuf> = directories.iter().filter(|dir| !self.not_made.contains(*dir)).collect();
        self.flush(there, files)
    }

    /// Syncs the file systems of these directories, or these files where the platform cannot sync a
    /// file system; then these directories.
    fn flush<'p>(
        &mut self,
        dirs: impl IntoIterator<Item = &'p PathBuf>,
        files: impl FnOnce(&dyn Disk) -> Vec<PathBuf>,
    ) -> Flow {
        let dirs: BTreeSet<&PathBuf> = dirs.into_iter().collect();
        if dirs.is_empty() {
            return Ok(());
        }
        self.phase(Phase::Syncing, 0)(0);
        let inner = || -> Result<(), (PathBuf, DiskError)> {
            let mut seen = BTreeSet::new();
            let mut each = false;
            for &dir in &dirs {
                let at = |error| (dir.clone(), error);
                let device = self.disk.stat_follow(dir).map_err(at)?.id.map(|id| id.dev);
                if device.is_none_or(|device| seen.insert(device)) {
                    each |= self.disk.sync_fs(dir).map_err(at)? == SyncFs::Nothing;
                }
            }
            if each {
                for file in files(self.disk) {
                    self.disk.sync_file(&file).map_err(|error| (file, error))?;
                }
            }
            // Syncs each directory too: they are few, and on some file systems the call above does
            // not include directories.
            for &dir in &dirs {
                self.disk.sync_dir(dir).map_err(|error| (dir.clone(), error))?;
            }
            Ok(())
        };
        inner().map_err(|(path, source)| {
            self.report.errors.push(MigrationError::FlushFailed { path, source });
            Aborted
        })
    }

    fn all(&mut self) -> Flow {
        self.prepare()?;
        self.trust_what_came()?;
        self.batch(&self.plan.state)?;
        let held_back = !self.report.errors.iter().all(|error| {
            // A damaged identity file that stays at the source keeps nothing else from moving.
            matches!(error, MigrationError::IdentityDamaged { .. })
        });
        match self.plan.identity_steps.first() {
            Some(_) if held_back => {
                let path = self.plan.source.join(&self.plan.homes.names.identity);
                self.report.errors.push(MigrationError::IdentityHeldBack { path });
            }
            _ => self.batch(&self.plan.identity_steps)?,
        }
        self.tidy()
    }

    /// Handles leftovers, directories and modes. All of it is durable before anything moves, and so
    /// are the sources themselves: a name at the destination must not appear before its content is
    /// safe.
    fn prepare(&mut self) -> Flow {
        let plan = self.plan;
        for (number, step) in plan.prepare.iter().enumerate() {
            match step {
                Step::RemoveLeftover { path } => match self.disk.unlink(path) {
                    Ok(()) => self.report.leftovers_removed.push(path.clone()),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => self.fail(path, error),
                },
                Step::RestoreQuarantined { from, to } => self.restore_quarantine(from, to),
                Step::RemoveDir { path } => match self.disk.remove_dir(path) {
                    Ok(()) => {}
                    Err(error) if error.is_not_found() || error.is_already_exists() => {}
                    Err(error) => self.fail(path, error),
                },
                Step::MakeDir { path } => {
                    if let Err(error) = self.make_dir(path) {
                        self.fail(path, error);
                        return Err(Aborted);
                    }
                }
                Step::Sync { directories } => {
                    // The last barrier before the move also syncs the sources.
                    let is_last = number + 1 == plan.prepare.len();
                    let files = |disk: &dyn Disk| if is_last { sources(disk, plan) } else { Vec::new() };
                    self.barrier(directories, files)?;
                }
                Step::SetMode { path, mode } => match self.disk.set_mode(path, *mode) {
                    Ok(()) => {}
                    Err(error) if error.is_not_found() => {}
                    Err(error) => {
                        // The mode may be right in spite of the error.
                        if !self.disk.stat(path).is_ok_and(|meta| meta.mode & 0o777 == *mode) {
                            self.fail(path, error);
                            return Err(Aborted);
                        }
                    }
                },
                Step::SetOwner { path, uid, gid } => {
                    let owner = myownllm_durable_fs::Owner { uid: *uid, gid: *gid };
                    if let Err(error) = self.disk.set_owner(path, owner) {
                        self.fail(path, error);
                        return Err(Aborted);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Refuses files of another user in a directory whose mode was tightened: until then other
    /// users could put files into it, even after the inspection.
    fn trust_what_came(&mut self) -> Flow {
        for dir in &self.plan.loose {
            let files = ours_in(self.disk, dir).unwrap_or_default().into_iter();
            if let Some(found) = foreign_file(self.disk, dir, files, self.plan.owner) {
                self.report.errors.push(found.into());
                return Err(Aborted);
            }
        }
        Ok(())
    }

    fn make_dir(&mut self, path: &Path) -> Result<(), DiskError> {
        match self.disk.make_dir(path, 0o700) {
            Ok(()) => {}
            Err(error) => {
                // A daemon may have made the directory at the same moment, or the call may have
                // made it and then failed.
                if !self.disk.stat(path).is_ok_and(|meta| meta.is_dir()) {
                    return Err(error);
                }
            }
        }
        let made = self.disk.stat(path)?;
        if made.owner.is_some() && made.mode & 0o777 != 0o700 {
            self.disk.set_mode(path, 0o700)?;
        }
        match self.plan.owner {
            // Root made the directory in another user's home.
            Some(owner) if made.owner.is_some_and(|made| made.uid != owner.uid) => {
                self.disk.set_owner(path, owner)
            }
            _ => Ok(()),
        }
    }

    /// Gives a source its name back that a killed run was about to remove. The plan then treats it
    /// like any other source.
    fn restore_quarantine(&mut self, from: &Path, to: &Path) {
        let result = match self.rename_new(from, to) {
            Err(error) if error.is_already_exists() => {
                // A new file has the name. The claimed file is removed if the bytes are the same,
                // and else kept beside the new one.
                let links = self
                    .disk
                    .read_link(from)
                    .ok()
                    .filter(|says| self.disk.read_link(to).is_ok_and(|s| s == *says));
                match self.disk.same_content(from, to) {
                    Ok(true) => self.disk.unlink(from),
                    Err(_) if links.is_some() => self.disk.unlink(from),
                    _ => {
                        let mut number = 1;
                        loop {
                            match self.rename_new(from, &set_aside_as(to, number)) {
                                Err(error) if error.is_already_exists() && number < 1000 => number += 1,
                                other => break other.map(|_| ()),
                            }
                        }
                    }
                }
            }
            other => other.map(|_| ()),
        };
        match result {
            Ok(()) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => self.fail(from, error),
        }
    }

    /// Returns the known support of the file system of this path's directory.
    fn known_support(&self, path: &Path) -> Option<NoReplaceSupport> {
        self.support.get(path.parent()?).copied()
    }

    /// Returns the support of a directory's file system for a rename that cannot replace.
    fn support(&mut self, dir: &Path) -> Result<NoReplaceSupport, DiskError> {
        if let Some(&known) = self.support.get(dir) {
            return Ok(known);
        }
        let found = no_replace_support(self.disk, dir)?;
        self.support.insert(dir.to_owned(), found);
        Ok(found)
    }

    /// Renames without replacing, within one file system; with a hard link and an unlink where
    /// necessary. For our temporary and claimed files: a crash between the two calls loses nothing,
    /// because the content exists elsewhere or the next run finds the file.
    fn rename_new(&mut self, from: &Path, to: &Path) -> Result<bool, DiskError> {
        let dir = parent(to);
        if self.support.get(&dir) != Some(&NoReplaceSupport::Link) {
            match self.disk.rename_noreplace(from, to) {
                Ok(()) => return Ok(false),
                Err(error) if error.may_be_unsupported() => match self.support(&dir)? {
                    NoReplaceSupport::Rename => return self.disk.rename_noreplace(from, to).map(|()| false),
                    NoReplaceSupport::Neither => return Err(error),
                    NoReplaceSupport::Link => {}
                },
                Err(error) => return Err(error),
            }
        }
        self.disk.hard_link(from, to)?;
        self.disk.sync_dir(&dir)?;
        self.disk.unlink(from)?;
        Ok(true)
    }

    fn is_private(&self, to: &Path) -> bool {
        self.plan.secret_dirs.iter().any(|dir| to.parent() == Some(dir))
    }

    fn file_move(&self, from: PathBuf, to: PathBuf, kind: MoveKind) -> FileMove {
        FileMove { private: self.is_private(&to), aside: false, from, to, kind }
    }

    /// Executes moving steps, those up to each barrier together.
    fn batch(&mut self, steps: &[Step]) -> Flow {
        let (mut file_moves, mut retire) = (Vec::new(), Vec::new());
        let mut made = BTreeSet::new();
        let mut removes = false;
        for step in steps {
            match step {
                Step::MoveDir { from, to, files } => {
                    file_moves.extend(self.move_dir(from, to, *files, &mut made)?);
                }
                Step::MoveFiles { from, to, names } => {
                    file_moves.extend(
                        names
                            .iter()
                            .map(|name| self.file_move(from.join(name), to.join(name), MoveKind::File)),
                    );
                }
                Step::MoveFile { from, to } => {
                    file_moves.push(self.file_move(from.clone(), to.clone(), MoveKind::File))
                }
                Step::MoveLink { from, to, old_target, target } => {
                    let kind = MoveKind::Link { old_target: old_target.clone(), target: target.clone() };
                    file_moves.push(self.file_move(from.clone(), to.clone(), kind));
                }
                Step::SetAside { from, to } => {
                    let kind = match self.disk.read_link(from) {
                        Ok(old_target) => {
                            let target = rebase(&old_target, &parent(from), &parent(to));
                            MoveKind::Link { old_target, target }
                        }
                        Err(_) => MoveKind::File,
                    };
                    let file_move = self.file_move(from.clone(), to.clone(), kind);
                    file_moves.push(FileMove { aside: true, private: true, ..file_move });
                }
                Step::RemoveIdentical { source, destination } => {
                    self.went_on(1);
                    removes = true;
                    retire.push(self.identical(source, destination));
                }
                Step::Sync { directories } if removes => {
                    let sources = self.remove(std::mem::take(&mut retire))?;
                    self.flush(directories.iter().chain(&sources), |_| Vec::new())?;
                }
                Step::Sync { directories } => {
                    if !made.is_empty() {
                        self.flush(&std::mem::take(&mut made), |_| Vec::new())?;
                    }
                    // A name is durably free before the winner gets it.
                    let gives_way = file_moves
                        .iter()
                        .any(|file_move| file_move.aside && file_move.from.parent() == file_move.to.parent());
                    let refused = !self.publish(std::mem::take(&mut file_moves), &mut retire)?;
                    self.barrier(directories, |disk| published_files(disk, &retire, steps))?;
                    if gives_way || refused {
                        let sources = self.remove(std::mem::take(&mut retire))?;
                        self.flush(&sources, |_| Vec::new())?;
                    }
                    if refused {
                        return Err(Aborted);
                    }
                }
                _ => {}
            }
        }
        // Removes the sources of files that had to be copied or linked, for which the plan has no
        // barrier.
        let sources = self.remove(retire)?;
        self.flush(&sources, |_| Vec::new())
    }

    /// Returns the removal of a source that is at the destination already.
    fn identical(&self, source: &Path, destination: &Path) -> PendingRemoval {
        let link = self.disk.read_link(source).ok();
        PendingRemoval {
            from: source.to_owned(),
            to: destination.to_owned(),
            link,
            method: None,
            aside: false,
            temp: None,
        }
    }

    /// Renames a whole directory. Where that is not possible, its files move one by one, into a
    /// directory that is made for them and must be durable first.
    fn move_dir(
        &mut self,
        from: &Path,
        to: &Path,
        files: usize,
        made: &mut BTreeSet<PathBuf>,
    ) -> Result<Vec<FileMove>, Aborted> {
        let mut result = self.disk.rename_noreplace(from, to);
        if let Err(error) = &result
            && error.may_be_unsupported()
        {
            result = match self.support(&parent(to)) {
                Ok(NoReplaceSupport::Rename) => self.disk.rename_noreplace(from, to),
                // A plain rename never replaces a directory that is not empty.
                Ok(NoReplaceSupport::Link) => match self.disk.stat(to) {
                    Err(error) if error.is_not_found() => self.disk.rename(from, to),
                    Err(error) => Err(error),
                    Ok(_) => {
                        let taken = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
                        Err(DiskError::two(Op::Rename, from, to, taken))
                    }
                },
                Ok(NoReplaceSupport::Neither) => return Err(self.refuse_neither(to)),
                Err(error) => Err(error),
            };
        }
        let moved = match &result {
            Ok(()) => true,
            // The rename may have happened before the call failed.
            Err(_) => {
                matches!(self.disk.stat(from), Err(error) if error.is_not_found())
                    && self.disk.stat(to).is_ok_and(|meta| meta.is_dir())
            }
        };
        if moved {
            self.touched = true;
            let (from, to) = (from.to_owned(), to.to_owned());
            self.report.moved.push(Moved { from, to, method: MoveMethod::RenameDir, files });
            self.went_on(files);
            return Ok(Vec::new());
        }
        let Err(error) = result else { return Ok(Vec::new()) };
        let busy = error.kind() == std::io::ErrorKind::ResourceBusy;
        if !error.is_already_exists() && !error.is_cross_device() && !busy {
            self.not_made.insert(to.to_owned());
            self.fail(from, error);
            return Ok(Vec::new());
        }
        self.emptied.push(from.to_owned());
        // The destination exists by now, or the two are on different file systems (or on two layers
        // of one).
        let prepared = self.make_dir(to).and_then(|()| ours_in(self.disk, from));
        match prepared {
            Ok(files) => {
                made.extend([to.to_owned(), parent(to)]);
                Ok(files
                    .into_iter()
                    .filter_map(|file| {
                        let destination = to.join(file.file_name()?);
                        Some(self.file_move(file, destination, MoveKind::File))
                    })
                    .collect())
            }
            Err(error) => {
                self.not_made.insert(to.to_owned());
                self.fail(from, error);
                Ok(Vec::new())
            }
        }
    }

    fn refuse_neither(&mut self, to: &Path) -> Aborted {
        let error = MigrationError::NoExclusiveRename { path: parent(to) };
        let known = |known: &MigrationError| known.code() == error.code() && known.path() == error.path();
        if self.report.errors.iter().chain(&self.report.refusals).any(known) {
            return Aborted;
        }
        if self.touched || !self.report.errors.is_empty() {
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

    /// Handles a taken name. If the file there has the same bytes, the source can be removed; else
    /// both stay.
    fn taken(&mut self, file_move: &FileMove, retire: &mut Vec<PendingRemoval>) {
        let same = self
            .disk
            .stat(&file_move.to)
            .map_err(|error| MigrationError::Unreadable { path: file_move.to.clone(), source: error });
        let same = same.and_then(|there| match &file_move.kind {
            MoveKind::Link { target, .. } => {
                Ok(there.is_symlink() && self.disk.read_link(&file_move.to).is_ok_and(|says| says == *target))
            }
            _ => crate::inspect::is_same(self.disk, &file_move.from, &file_move.to, &there),
        });
        match same {
            Ok(true) => retire.push(self.retire_of(file_move, None, None)),
            Ok(false) => self
                .report
                .collisions
                .push(Collision { source: file_move.from.clone(), destination: file_move.to.clone() }),
            Err(error) => self.report.errors.push(error),
        }
    }

    fn retire_of(
        &self,
        file_move: &FileMove,
        method: Option<MoveMethod>,
        temp: Option<PathBuf>,
    ) -> PendingRemoval {
        let link = match &file_move.kind {
            MoveKind::Link { old_target, .. } => Some(old_target.clone()),
            MoveKind::File => None,
        };
        PendingRemoval {
            from: file_move.from.clone(),
            to: file_move.to.clone(),
            link,
            method,
            aside: file_move.aside,
            temp,
        }
    }

    /// Gives each file its name at the destination. Adds the sources that can be removed once that
    /// is durable. Returns `false` if the file system cannot do it: the caller then finishes the
    /// published files and begins no more.
    fn publish(
        &mut self,
        file_moves: Vec<FileMove>,
        retire: &mut Vec<PendingRemoval>,
    ) -> Result<bool, Aborted> {
        let mut copies = Vec::new();
        let mut across: Vec<(PathBuf, PathBuf)> = Vec::new();
        let held = self.hold(&dirs_of(
            file_moves.iter().flat_map(|file_move| [file_move.from.as_path(), &file_move.to]),
        ));
        for file_move in file_moves {
            let is_across = across.iter().any(|(from, to)| {
                (file_move.from.parent(), file_move.to.parent()) == (Some(from.as_path()), Some(to.as_path()))
            });
            if !is_across {
                self.went_on(1);
            }
            if file_move.aside {
                self.make_private(&file_move.from);
            }
            if let MoveKind::Link { old_target, target } = &file_move.kind
                && old_target != target
            {
                self.relink(&file_move, retire);
                continue;
            }
            if is_across {
                copies.push(file_move);
                continue;
            }
            let mut linked = self.known_support(&file_move.to) == Some(NoReplaceSupport::Link);
            let mut result =
                if linked { Ok(()) } else { self.disk.rename_noreplace(&file_move.from, &file_move.to) };
            if let Err(error) = &result
                && error.may_be_unsupported()
            {
                match self.support(&parent(&file_move.to)) {
                    Ok(NoReplaceSupport::Rename) => {
                        result = self.disk.rename_noreplace(&file_move.from, &file_move.to)
                    }
                    Ok(NoReplaceSupport::Link) => {
                        linked = true;
                        result = Ok(());
                    }
                    Ok(NoReplaceSupport::Neither) => {
                        self.refuse_neither(&file_move.to);
                        return Ok(false);
                    }
                    Err(error) => result = Err(error),
                }
            }
            if linked && result.is_ok() {
                result = self.disk.hard_link(&file_move.from, &file_move.to);
                if result.is_ok() {
                    let item = self.retire_of(&file_move, Some(MoveMethod::Link), None);
                    retire.push(item);
                    continue;
                }
            }
            match result {
                Ok(()) => {
                    self.touched = true;
                    self.moved(file_move.from, file_move.to, MoveMethod::Rename, file_move.aside);
                }
                Err(error) if error.is_cross_device() => {
                    // The file is counted again when it is copied.
                    self.progress.done = self.progress.done.saturating_sub(1);
                    across.push((parent(&file_move.from), parent(&file_move.to)));
                    copies.push(file_move);
                }
                Err(error) => self.recheck(file_move, error, retire),
            }
        }
        let copied = self.copy(copies, retire);
        drop(held);
        copied
    }

    fn make_private(&mut self, path: &Path) {
        if self.disk.stat(path).is_ok_and(|meta| meta.is_file() && meta.mode & 0o777 != 0o600)
            && let Err(error) = self.disk.set_mode(path, 0o600)
        {
            self.fail(path, error);
        }
    }

    /// Determines the state after a failed rename.
    fn recheck(&mut self, file_move: FileMove, error: DiskError, retire: &mut Vec<PendingRemoval>) {
        if error.is_already_exists() {
            return self.taken(&file_move, retire);
        }
        let absent = |found: Result<Metadata, DiskError>| matches!(found, Err(error) if error.is_not_found());
        match (absent(self.disk.stat(&file_move.from)), absent(self.disk.stat(&file_move.to))) {
            // The rename happened in spite of the error, or another process did it.
            (true, false) => self.moved(file_move.from, file_move.to, MoveMethod::Rename, file_move.aside),
            (true, true) => self.report.errors.push(MigrationError::Vanished { path: file_move.from }),
            (false, false) if error.is_not_found() => self.taken(&file_move, retire),
            (false, _) => self.fail(&file_move.from, error),
        }
    }

    /// Makes a symlink at the destination that leads to the same file.
    fn relink(&mut self, file_move: &FileMove, retire: &mut Vec<PendingRemoval>) {
        let MoveKind::Link { target, .. } = &file_move.kind else { return };
        let dir = parent(&file_move.to);
        let make = |target: &Path| -> Result<Option<PathBuf>, DiskError> {
            self.disk.ensure_entries_removable(&dir)?;
            let temp = with_temp(&dir, |temp| self.disk.symlink(target, temp))?;
            let (old, new) = (self.disk.stat(&file_move.from)?, self.disk.stat(&temp)?);
            if let Some(owner) = old.owner.filter(|_| old.owner != new.owner) {
                // Only root can chown; for any other user the symlink is their own, or becomes so.
                let _ = self.disk.set_owner(&temp, owner);
            }
            let target = self.disk.stat_follow(&file_move.from)?;
            let same = match self.disk.stat_follow(&temp) {
                Ok(found) => Ok(found.is_same_file(&target) || found.id.is_none()),
                Err(error) if error.is_not_found() => Ok(false),
                Err(error) => Err(error),
            };
            if let Ok(true) = same {
                return Ok(Some(temp));
            }
            self.disk.unlink(&temp)?;
            same.map(|_| None)
        };
        // A directory on the way may be a symlink itself; then only the full path is certain.
        let made = make(target).and_then(|made| match made {
            Some(temp) => Ok(temp),
            None => make(&self.disk.canonicalize(&file_move.from)?)?.ok_or_else(|| {
                let lost = std::io::Error::new(std::io::ErrorKind::NotFound, "it would lead elsewhere");
                DiskError::two(Op::RebaseLink, &file_move.from, target, lost)
            }),
        });
        let result = made.and_then(|temp| {
            self.rename_new(&temp, &file_move.to).inspect_err(|_| {
                let _ = self.disk.unlink(&temp);
            })
        });
        match result {
            Ok(_) => {
                let item = self.retire_of(file_move, Some(MoveMethod::Relink), None);
                retire.push(item);
            }
            Err(error) if error.is_already_exists() => self.taken(file_move, retire),
            Err(error) => self.fail(&file_move.from, error),
        }
    }

    /// Removes the directories that are empty now.
    fn tidy(&mut self) -> Flow {
        let mut parents = BTreeSet::new();
        let mut gone = BTreeSet::new();
        let (barriers, removals): (Vec<_>, Vec<_>) =
            self.plan.tidy.iter().partition(|step| step.is_barrier());
        let planned = removals.into_iter().map(|step| step.path().to_owned());
        for path in &std::mem::take(&mut self.emptied).into_iter().chain(planned).collect::<Vec<_>>() {
            match self.disk.remove_dir(path) {
                Ok(()) => {
                    parents.insert(parent(path));
                    gone.insert(path.clone());
                    self.report.dirs_removed.push(path.clone());
                }
                Err(error) if error.is_not_found() || error.is_already_exists() => {}
                // A file system is mounted there, from the same device, or another program uses the
                // directory: an empty directory does no harm.
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {
                    let reason = "it is empty, and busy".to_owned();
                    self.report.left.push(SkippedEntry { path: path.clone(), reason });
                }
                Err(error) => self.fail(path, error),
            }
        }
        let mut left: BTreeSet<PathBuf> = parents.difference(&gone).cloned().collect();
        if left.is_empty() {
            return Ok(());
        }
        for barrier in barriers {
            if let Step::Sync { directories } = barrier {
                left.extend(directories.iter().cloned());
            }
        }
        self.flush(&left, |_| Vec::new())
    }
}
