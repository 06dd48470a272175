//! The store under the lock of the app's home: every operation that changes something.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use myownllm_config_model::{Diagnostic, Document, Ids, Severity, daemon_config};
use myownllm_durable_fs::{LockedDir, Permissions, ReplaceMethod, make_private_dir};
use myownllm_salvage::Rebased;

use crate::backups::publish;
use crate::plan::Plan;
use crate::read::shown;
use crate::save::{MAX_ATTEMPTS, Saved};
use crate::{
    Accepted, Applied, BackupId, BackupKind, DaemonHalf, EditError, FileShape, Loaded, Restored, SetAside,
    Step, Store, StoreError, StorePaths, Updated,
};

/// A [`ConfigStore`](crate::ConfigStore) that holds the lock of the app's home until it is dropped.
///
/// Without the lock nothing can be changed:
///
/// ```compile_fail
/// use myownllm_config_model::SeededIds;
/// use myownllm_config_store::{ConfigStore, LockedStore};
///
/// fn repair(store: &dyn ConfigStore) {
///     let _ = store.apply(&mut SeededIds::new(0, 0)); // wanted: store.lock(wait)?.apply(…)
/// }
/// ```
pub trait LockedStore {
    /// Returns the lock, for other changes of the home under the same lock.
    fn home_lock(&self) -> &LockedDir;

    /// Syncs the config and its directory. A command that finds its change already made calls this:
    /// the killed run, or the other program, that made the change may not have synced it. Writes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`]. A missing config is not an error.
    fn ensure_durable(&self) -> Result<(), StoreError>;

    /// Looks again, under the lock, and carries out the pending steps, in this order: the backup of
    /// the previous file, the daemon's half, the config, the routine backup. Each step is on the
    /// disk before the next starts, and a run after a killed one finds the completed steps done.
    ///
    /// # Errors
    /// Any. The completed steps stay, and the next run continues from there.
    fn apply(&self, ids: &mut dyn Ids) -> Result<Applied, StoreError>;

    /// Reads the config, calls `edit` to change it, and saves a changed config. `edit` returns
    /// whether it changed anything. `edit` may be called again, on the content that another program
    /// wrote meanwhile. An unchanged config is synced: a killed run may have made the same change
    /// without syncing it.
    ///
    /// # Errors
    /// [`StoreError::Edit`] with the caller's error; [`RepairPending`](StoreError::RepairPending)
    /// if the config needs a repair; [`Newer`](StoreError::Newer);
    /// [`Conflict`](StoreError::Conflict); and the errors of reading and writing.
    fn update(
        &self,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError>;

    /// Replaces the [read_stale_paths paths](crate::ConfigStore::stale_paths) in the daemon's config by the
    /// current ones. Call it while no daemon runs, because a daemon keeps its config in memory. The
    /// previous config becomes a backup first.
    ///
    /// # Errors
    /// The errors of writing; [`StoreError::Conflict`] if another program wrote the config
    /// meanwhile.
    fn mend_stale_paths(&self) -> Result<Vec<Rebased>, StoreError>;

    /// Makes a backup of a [misplaced](crate::ConfigStore::misplaced) file, and leaves the file in
    /// its place. Call it while a daemon runs: the daemon keeps its config in memory and writes it
    /// over the file.
    ///
    /// # Errors
    /// The errors of writing a backup.
    fn keep_misplaced(&self) -> Result<Option<SetAside>, StoreError>;

    /// Makes a backup of a [misplaced](crate::ConfigStore::misplaced) file, and removes the file
    /// from its place. Call it while no daemon runs. The daemon's own part stays in the place;
    /// without one, the newest daemon's half among the backups takes the place, if there is one.
    ///
    /// # Errors
    /// The errors of writing; [`StoreError::Shared`] if a symlink makes the file the app's config
    /// as well.
    fn set_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError>;

    /// Makes a backup of networks of a daemon that the config does not keep, before the daemon
    /// leaves them. A restore of the backup [as it is](Self::restore_as_is), and the repair after
    /// it, bring the networks back to the config.
    ///
    /// # Errors
    /// The errors of writing a backup.
    fn keep_networks(&self, networks: &[serde_json::Value]) -> Result<BackupId, StoreError>;

    /// Records the current config as the newest good backup. A user who intends a loss that
    /// [`load`](crate::ConfigStore::look) reports ([`Report::wiped`](crate::Report)) calls this
    /// once. Saving an edit, and restoring a backup, record the same.
    ///
    /// # Errors
    /// [`StoreError::RepairPending`] if the config is not the app's; the errors of reading and of
    /// writing a backup.
    fn accept(&self) -> Result<Accepted, StoreError>;

    /// Puts a backup in the config's place. The current config becomes a backup first, so a restore
    /// can be undone. From a backup that is not JSON, restores the complete part: a document with
    /// trailing bytes, a text whose typing errors can be corrected, or the members before the place
    /// where the text breaks off, which are put into the current config.
    ///
    /// # Errors
    /// [`StoreError::BadBackup`] if the backup is not intact or not of the app's shape;
    /// [`StoreError::TornBackup`] if it has no complete member.
    fn restore(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError>;

    /// [`restore`](Self::restore) for a backup of any shape: undoes a change of a config that was
    /// not sound before. The next launch repairs the config.
    ///
    /// # Errors
    /// [`StoreError::BadBackup`] if the backup is not intact, or is the daemon's half.
    fn restore_as_is(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError>;
}

/// A [`Store`] whose home is locked.
pub(crate) struct Locked<'s> {
    /// The store, which reads through the lock.
    pub(crate) store: Store<'s>,
    pub(crate) dir: Arc<LockedDir>,
}

impl<'s> Deref for Locked<'s> {
    type Target = Store<'s>;

    fn deref(&self) -> &Store<'s> {
        &self.store
    }
}

impl LockedStore for Locked<'_> {
    fn home_lock(&self) -> &LockedDir {
        &self.dir
    }

    fn ensure_durable(&self) -> Result<(), StoreError> {
        self.sync_config()
    }

    fn apply(&self, ids: &mut dyn Ids) -> Result<Applied, StoreError> {
        self.check_trust()?;
        let mut diagnostics = Vec::new();
        let mut cleared: Option<Vec<Step>> = None;
        for _ in 0..MAX_ATTEMPTS {
            let plan = self.plan(ids)?;
            if let Some(version) = plan.loaded.newer {
                return Err(StoreError::Newer { path: self.paths.config.clone(), version });
            }
            // Clears only if a step is pending: an apply with nothing to do must not write.
            if cleared.is_none() && !plan.loaded.pending.is_empty() {
                self.check_apart()?;
                let steps = self.clear_leftovers(Some(&plan), &mut diagnostics);
                let is_source_cleared = steps.iter().any(|step| step.clears(plan.source()));
                cleared = Some(steps);
                if is_source_cleared {
                    // The source of the repair is a backup by now.
                    continue;
                }
            }
            if let Some(mut applied) = self.carry_out(plan, ids)? {
                applied.steps.splice(0..0, cleared.unwrap_or_default());
                let is_routine = |step: &Step| matches!(step, Step::KeepLastGood { .. });
                if !applied.steps.iter().all(is_routine) {
                    // A killed run may have put in place a file that this run only found there.
                    // Also, a power cut would bring back the displaced file, which is removed by
                    // now.
                    self.sync_config()?;
                }
                applied.diagnostics.extend(diagnostics);
                for step in &applied.steps {
                    tracing::info!(?step, "took a step of the repair");
                }
                return Ok(applied);
            }
        }
        Err(StoreError::Conflict { path: self.paths.config.clone() })
    }

    fn update(
        &self,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError> {
        self.check_trust()?;
        self.ensure_keeps_config()?;
        let path = &self.paths.config;
        for conflicts in 0..MAX_ATTEMPTS {
            let plan = self.plan(ids)?;
            let loaded = plan.loaded;
            if let Some(version) = loaded.newer {
                return Err(StoreError::Newer { path: path.clone(), version });
            }
            if loaded.pending.repairs() {
                return Err(self.repair_pending());
            }
            let mut diagnostics = loaded.diagnostics;
            let before = loaded.document;
            let mut document = before.clone();
            let said =
                edit(&mut document).map_err(|source| StoreError::Edit { path: path.clone(), source })?;
            let bytes = document.to_bytes();
            let unfinished =
                loaded.pending.steps.iter().any(|step| matches!(step, Step::ClearLeftover { .. }));
            if !said || bytes == before.to_bytes() {
                if unfinished {
                    self.clear_leftovers(None, &mut diagnostics);
                }
                self.sync_config()?;
                return Ok(Updated { document: before, changed: false, conflicts, diagnostics });
            }
            self.check_replacing(&bytes)?;
            if conflicts == 0 && unfinished {
                self.clear_leftovers(None, &mut diagnostics);
            }
            let previous = plan.previous.bytes();
            if let Some(previous) = previous {
                self.keep_routinely(previous, plan.config.is_none() && loaded.report.wiped.is_none())?;
            }
            match self.save(previous, &bytes)? {
                Saved::Done { unseen_possible, rights } => {
                    self.add_save_warnings(unseen_possible, rights, &mut diagnostics);
                    self.keep_saved(ids, &mut diagnostics);
                    tracing::info!(path = %path.display(), conflicts, "saved the config");
                    return Ok(Updated { document, changed: true, conflicts, diagnostics });
                }
                // Waits longer each time: the other program may be in the middle of several writes.
                Saved::Conflict => self.clock.sleep(Duration::from_millis(u64::from(conflicts) + 1)),
            }
        }
        Err(StoreError::Conflict { path: path.clone() })
    }

    fn mend_stale_paths(&self) -> Result<Vec<Rebased>, StoreError> {
        self.mend_paths()
    }

    fn keep_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        self.back_up_misplaced()
    }

    fn set_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError> {
        self.clear_misplaced()
    }

    fn keep_networks(&self, networks: &[serde_json::Value]) -> Result<BackupId, StoreError> {
        self.check_trust()?;
        let config = serde_json::json!({
            "version": daemon_config::NEWEST_VERSION, "daemon": {}, "networks": networks
        });
        self.writable_backups().put(BackupKind::Kept, format!("{config:#}").as_bytes())
    }

    fn accept(&self) -> Result<Accepted, StoreError> {
        self.accept_config()
    }

    fn restore(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        self.restore_backup(ids, id, false)
    }

    fn restore_as_is(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        self.restore_backup(ids, id, true)
    }
}

impl Locked<'_> {
    /// Syncs the config and its directory. A config that is recorded as good, or reported as in
    /// place, must survive a power cut, and its writer (another program, or a killed run) may not
    /// have synced it. A missing config is not an error.
    pub(crate) fn sync_config(&self) -> Result<(), StoreError> {
        let path = &self.paths.config;
        let flush = || {
            let real = match self.dir.admit_target(path) {
                Err(error) if error.is_not_found() => return Ok(()),
                real => real?,
            };
            self.dir.sync_file(&real)?;
            self.dir.sync_dir(real.parent().unwrap_or(&real))
        };
        flush().map_err(|source| StoreError::Disk { doing: "flush the config", path: path.clone(), source })
    }

    /// Restores a backup; with `as_is`, also one that is not of the app's shape.
    fn restore_backup(&self, ids: &mut dyn Ids, id: &BackupId, as_is: bool) -> Result<Restored, StoreError> {
        self.check_trust()?;
        self.ensure_keeps_config()?;
        let (document, bytes, mut diagnostics) = self.restorable(id, ids, as_is)?;
        let check =
            |bytes: &[u8]| if as_is { self.check_replaceable(bytes) } else { self.check_replacing(bytes) };
        let mut backup = None;
        for _ in 0..MAX_ATTEMPTS {
            let file = match self.read_file() {
                Err(StoreError::TooLarge { .. }) => {
                    check(&bytes)?;
                    let Some((aside, method)) = self.replace_too_large(&bytes)? else { continue };
                    let message =
                        format!("the previous config is too large to be read: it is {} now", aside.display());
                    diagnostics.push(self.diagnostic("store.set-aside", Severity::Warning, message));
                    let unseen_possible = method == ReplaceMethod::CheckedRename;
                    self.add_save_warnings(unseen_possible, Permissions::Kept, &mut diagnostics);
                    self.keep_restored(&bytes, &mut diagnostics);
                    return Ok(Restored { document, from: id.clone(), backup, changed: true, diagnostics });
                }
                read => read?,
            };
            let previous = file.bytes();
            if previous == Some(&*bytes) {
                self.clear_leftovers(None, &mut diagnostics);
                self.sync_config()?;
                if self.find_loss(&document, &self.backups().list())?.is_some() {
                    self.keep_restored(&bytes, &mut diagnostics);
                }
                return Ok(Restored { document, from: id.clone(), backup, changed: false, diagnostics });
            }
            if self.has_daemon_half(&file) {
                // The file still holds the daemon's half, which must reach the daemon first.
                return Err(match self.plan(ids)?.loaded.newer {
                    Some(version) => StoreError::Newer { path: self.paths.config.clone(), version },
                    None => self.repair_pending(),
                });
            }
            check(&bytes)?;
            self.clear_leftovers(None, &mut diagnostics);
            if let Some(previous) = previous {
                backup = Some(self.writable_backups().put(BackupKind::Kept, previous)?);
            }
            if let Saved::Done { unseen_possible, rights } = self.save(previous, &bytes)? {
                self.add_save_warnings(unseen_possible, rights, &mut diagnostics);
                self.keep_restored(&bytes, &mut diagnostics);
                tracing::info!(backup = %id, as_is, "restored a backup");
                return Ok(Restored { document, from: id.clone(), backup, changed: true, diagnostics });
            }
        }
        Err(StoreError::Conflict { path: self.paths.config.clone() })
    }

    /// Carries out the plan. Returns `None` if another program wrote meanwhile, so that the caller
    /// must look again.
    fn carry_out(&self, plan: Plan, ids: &mut dyn Ids) -> Result<Option<Applied>, StoreError> {
        let Plan { loaded, previous, config, daemon, .. } = plan;
        let Loaded { document, mut report, mut diagnostics, pending, .. } = loaded;
        if let Some(bytes) = &config {
            self.check_replacing(bytes)?;
        }
        let (mut done, mut previous_id) = (Vec::new(), None);
        for step in pending.steps {
            match &step {
                // The leftovers were cleared before the plan was carried out, and are reported with
                // that.
                Step::ClearLeftover { .. } => continue,
                Step::KeepPrevious { .. } => {
                    let id = self
                        .writable_backups()
                        .put(BackupKind::Kept, previous.bytes().unwrap_or_default())?;
                    report.backup = Some(id.to_string());
                    previous_id = Some(id);
                }
                Step::PublishDaemonHalf { .. } => {
                    if !self.publish_daemon_half(daemon.as_deref().unwrap_or_default())? {
                        return Ok(None);
                    }
                }
                Step::KeepDaemonHalf { .. } => {
                    let half = daemon.as_deref().unwrap_or_default();
                    let id = self.writable_backups().put(BackupKind::DaemonPart, half)?;
                    report.daemon_half_backup = Some(id.to_string());
                    diagnostics.push(self.diagnostic(
                        "store.daemon-half-kept",
                        Severity::Warning,
                        format!(
                            "the daemon has a config already, which stays; its half of this config is the \
                            backup {id}"
                        ),
                    ));
                }
                Step::ReplaceConfig { .. } | Step::WriteConfig { .. } => {
                    if report.daemon_half == Some(DaemonHalf::Exists) {
                        // A killed run may have written the daemon's half without syncing it.
                        self.sync_daemon_half()?;
                    }
                    let bytes = config.as_deref().unwrap_or_default();
                    match self.save(previous.bytes(), bytes)? {
                        Saved::Done { unseen_possible, rights } => {
                            self.add_save_warnings(unseen_possible, rights, &mut diagnostics)
                        }
                        Saved::Conflict => return Ok(None),
                    }
                }
                Step::KeepLastGood { .. } => {
                    if !self.keep_saved(ids, &mut diagnostics) {
                        continue;
                    }
                }
            }
            done.push(step);
        }
        self.complete_hints(&document, previous_id.as_ref(), &mut diagnostics);
        if let (Some(wipe), Some(previous)) = (&report.wiped, &report.backup) {
            let diagnostic = self.wiped_diagnostic(wipe, report.shape, Some(previous));
            diagnostics
                .iter_mut()
                .filter(|found| found.code == diagnostic.code)
                .for_each(|found| *found = diagnostic.clone());
        }
        Ok(Some(Applied { document, steps: done, report, diagnostics }))
    }

    /// Returns `false` if a config of the daemon's has appeared meanwhile.
    fn publish_daemon_half(&self, half: &[u8]) -> Result<bool, StoreError> {
        let StorePaths { app_home, daemon_home, daemon_config, .. } = &self.paths;
        let failed = |source| StoreError::Disk {
            doing: "write the daemon's config",
            path: daemon_config.clone(),
            source,
        };
        let owner = self.owner();
        make_private_dir(&self.dir, app_home, daemon_home, owner).map_err(failed)?;
        match publish(&self.dir, daemon_config, half, owner) {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn sync_daemon_half(&self) -> Result<(), StoreError> {
        let StorePaths { app_home, daemon_home, daemon_config, .. } = &self.paths;
        self.dir
            .sync_file(daemon_config)
            .and_then(|()| self.dir.sync_dir(daemon_home))
            .and_then(|()| self.dir.sync_dir(app_home))
            .map_err(|source| StoreError::Disk {
                doing: "flush the daemon's config",
                path: daemon_config.clone(),
                source,
            })
    }

    /// Keeps the current config as the last good backup, if it is healthy. Returns whether it did.
    /// A failure adds a warning only, because the config itself is in place.
    fn keep_saved(&self, ids: &mut dyn Ids, diagnostics: &mut Vec<Diagnostic>) -> bool {
        self.keep_current(&mut |bytes| self.is_healthy(bytes, ids), diagnostics)
    }

    /// Keeps a restored backup as the last good one, whatever it lacks, because its user asked for
    /// it.
    fn keep_restored(&self, restored: &[u8], diagnostics: &mut Vec<Diagnostic>) {
        let is_the_apps = matches!(self.shape_of(restored), FileShape::App | FileShape::Unknown);
        self.keep_current(&mut |bytes| is_the_apps && bytes == restored, diagnostics);
    }

    fn keep_current(
        &self,
        is_good: &mut dyn FnMut(&[u8]) -> bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let read = self.disk.read(&self.paths.config, self.limits.config_bytes);
        let kept = match read {
            Ok(bytes) if is_good(&bytes) => self
                .sync_config()
                .and_then(|()| self.writable_backups().put(BackupKind::Good, &bytes))
                .map(|_| true),
            Ok(_) => Ok(false),
            Err(source) => Err(StoreError::Unreadable { path: self.paths.config.clone(), source }),
        };
        kept.unwrap_or_else(|error| {
            diagnostics.push(Diagnostic {
                code: "store.copy-failed",
                severity: Severity::Warning,
                message: format!(
                    "the config is in place, but no routine backup of it could be made: {}",
                    chain(&error)
                ),
                path: shown(&self.paths.backups),
                hint: error.hint(),
                place: None,
            });
            false
        })
    }
}

/// Joins an error with its causes, for a message that is not itself an error.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
