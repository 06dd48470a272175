//! The operations under the lock: a repair, an edit, a restore.

use std::time::Duration;

use myownllm_config_model::{Diagnostic, Document, Ids, SeededIds, daemon_config};
use myownllm_durable_fs::{LockedDir, Permissions, SYNC_UNCONFIRMED, quote, sync_unconfirmed_message};
use myownllm_salvage::Rebased;

use crate::backup_id::content_hash;
use crate::plan::Plan;
use crate::read::ConfigFile;
use crate::save::{MAX_ATTEMPTS, SaveOutcome, Saved};
use crate::store::{Locked, warning_at};
use crate::traits::{EditError, LockedStore};
use crate::wipe::WIPED;
use crate::{
    Accepted, Applied, BackupId, BackupKind, DaemonHalf, Loaded, Restored, SetAside, Step, StoreError,
    Updated,
};

impl LockedStore for Locked<'_> {
    fn home_lock(&self) -> &LockedDir {
        &self.dir
    }

    fn ensure_durable(&self) -> Result<(), StoreError> {
        self.sync_config()
    }

    fn apply(&self, ids: &mut dyn Ids) -> Result<Applied, StoreError> {
        let _span = tracing::info_span!("repair").entered();
        self.check_trust()?;
        let mut diagnostics = Vec::new();
        let mut cleared: Option<Vec<Step>> = None;
        for _ in 0..MAX_ATTEMPTS {
            let plan = self.plan_known_version(ids)?;
            // Clears only if a step is pending: an apply with nothing to do must not write.
            if cleared.is_none() && !plan.loaded.pending.is_empty() {
                self.check_apart()?;
                let steps = self.clear_leftovers(Some(&plan), &mut diagnostics);
                let is_source_cleared = steps.iter().any(|step| step.clears(plan.source()));
                cleared = Some(steps);
                if is_source_cleared || !diagnostics.is_empty() {
                    // A leftover is a backup now: the source of the plan, under another name, or
                    // one that has settings which the config has lost.
                    continue;
                }
            }
            if let Some(mut applied) = self.carry_out(plan, ids)? {
                applied.steps.splice(0..0, cleared.unwrap_or_default());
                let is_routine = |step: &Step| matches!(step, Step::KeepLastGood { .. });
                if !applied.steps.iter().all(is_routine) {
                    // A killed run may have put the config in place without a sync. Also, until
                    // this sync a power cut would bring back the displaced file that was removed.
                    self.sync_config()?;
                }
                applied.diagnostics.extend(diagnostics);
                for step in &applied.steps {
                    tracing::info!(?step, "took a step of the repair");
                }
                return Ok(applied);
            }
        }
        Err(StoreError::conflict(&self.paths.app_config))
    }

    fn update(
        &self,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError> {
        let _span = tracing::info_span!("save").entered();
        self.check_trust()?;
        self.ensure_keeps_config()?;
        let path = &self.paths.app_config;
        for conflicts in 0..MAX_ATTEMPTS {
            let Plan { loaded, previous, config, .. } = self.plan_known_version(ids)?;
            if loaded.pending.repairs() {
                return Err(self.repair_pending());
            }
            let Loaded { document: before, mut diagnostics, pending, report, .. } = loaded;
            let mut document = before.clone();
            let is_edited =
                edit(&mut document).map_err(|source| StoreError::Edit { path: path.clone(), source })?;
            // Only a complete config becomes the last good backup. Without that backup, the next
            // load would take a setting that the edit removed for a lost one.
            diagnostics.extend(self.schema.complete(&mut document, ids));
            let bytes = document.to_bytes();
            let has_leftovers = pending.steps.iter().any(|step| matches!(step, Step::ClearLeftover { .. }));
            if !is_edited || bytes == before.to_bytes() {
                if has_leftovers {
                    self.clear_leftovers(None, &mut diagnostics);
                }
                self.sync_config()?;
                return Ok(Updated { conflicts, diagnostics, ..Updated::new(before, false) });
            }
            self.check_replacing(&bytes, true)?;
            if conflicts == 0 && has_leftovers {
                self.clear_leftovers(None, &mut diagnostics);
            }
            let previous = previous.bytes();
            if let Some(previous) = previous {
                let is_healthy = config.is_none() && report.wiped.is_none();
                let kind = if is_healthy { BackupKind::Good } else { BackupKind::Kept };
                self.keep(previous, &[BackupKind::Good, BackupKind::Kept], kind)?;
            }
            match self.save(previous, &bytes)? {
                Saved::Done(outcome) => {
                    self.add_save_warnings(outcome, &mut diagnostics);
                    self.keep_saved(ids, &mut diagnostics);
                    tracing::info!(%path, conflicts, "saved the config");
                    let gone_keys = report.gone_keys;
                    return Ok(Updated { document, changed: true, conflicts, gone_keys, diagnostics });
                }
                // Waits longer each time: the other program may be in the middle of several writes.
                Saved::Conflict => self.clock.sleep(Duration::from_millis(u64::from(conflicts) + 1)),
            }
        }
        Err(StoreError::conflict(&self.paths.app_config))
    }

    fn rebase_daemon_config(&self) -> Result<Vec<Rebased>, StoreError> {
        self.rebase_daemon_paths()
    }

    fn keep_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        self.back_up_misplaced()
    }

    fn set_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError> {
        self.move_misplaced_aside()
    }

    fn keep_droppable(&self) -> Result<Option<(BackupId, Vec<String>)>, StoreError> {
        self.back_up_droppable()
    }

    fn keep_networks(&self, networks: &[serde_json::Value]) -> Result<BackupId, StoreError> {
        self.check_trust()?;
        let config = serde_json::json!({
            "version": daemon_config::NEWEST_VERSION, "daemon": {}, "networks": networks
        });
        self.put(BackupKind::Kept, format!("{config:#}").as_bytes())
    }

    fn accept(&self) -> Result<Accepted, StoreError> {
        self.check_trust()?;
        self.ensure_keeps_config()?;
        let bytes = match self.read_file()? {
            ConfigFile::Json { document, .. } if !self.has_daemon_half(&document) => {
                document.bytes_read().to_vec()
            }
            _ => {
                self.plan_known_version(&mut SeededIds::new(0, 0))?;
                return Err(self.repair_pending());
            }
        };
        self.sync_config()?;
        let known = self.list_backups().map_err(|error| self.backup_failed(error))?;
        let backup = self.put(BackupKind::Good, &bytes)?;
        Ok(Accepted { changed: known.newest_good() != Some(&backup), backup })
    }

    fn restore(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        self.restore_backup(ids, id, false)
    }

    fn restore_as_is(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        self.restore_backup(ids, id, true)
    }
}

impl Locked<'_> {
    fn plan_known_version(&self, ids: &mut dyn Ids) -> Result<Plan, StoreError> {
        let plan = self.plan(ids)?;
        match plan.loaded.newer_error(&self.paths.app_config) {
            Some(newer) => Err(newer),
            None => Ok(plan),
        }
    }

    /// Carries out the plan. Returns `None` if another program wrote meanwhile, so that the caller
    /// must plan again.
    fn carry_out(&self, plan: Plan, ids: &mut dyn Ids) -> Result<Option<Applied>, StoreError> {
        let Plan { loaded, previous, config, daemon_half, .. } = plan;
        let Loaded { document, mut report, mut diagnostics, pending, .. } = loaded;
        if let Some(bytes) = &config {
            self.check_replacing(bytes, true)?;
        }
        let daemon_half = daemon_half.as_deref().unwrap_or_default();
        let (mut done, mut previous_id) = (Vec::new(), None);
        for step in pending.steps {
            match &step {
                Step::ClearLeftover { path } if self.is_brought_back(path) => {
                    if let Err(found) = self.clear_brought_back(path) {
                        diagnostics.push(found);
                        continue;
                    }
                }
                // The others were cleared before the plan was carried out, and are reported with
                // that.
                Step::ClearLeftover { .. } => continue,
                Step::KeepPrevious { .. } => {
                    let id = self.put(BackupKind::Kept, previous.bytes().unwrap_or_default())?;
                    report.backup = Some(id.to_string());
                    previous_id = Some(id);
                }
                Step::PublishDaemonHalf { .. } => {
                    if !self.publish_daemon_half(daemon_half)? {
                        return Ok(None);
                    }
                }
                Step::KeepDaemonHalf { .. } => {
                    let id = self.put(BackupKind::DaemonPart, daemon_half)?;
                    report.daemon_half_backup = Some(id.to_string());
                    let message = format!(
                        "the daemon has a config already, which stays; its part of this config is backup {}",
                        id.sequence()
                    );
                    diagnostics.push(self.warning("store.daemon-half-kept", message));
                }
                Step::ReplaceConfig { .. } | Step::WriteConfig { .. } => {
                    if report.daemon_half == Some(DaemonHalf::Exists) {
                        // A killed run may have written the daemon's half without syncing it.
                        self.sync_daemon_half()?;
                    }
                    match self.save(previous.bytes(), config.as_deref().unwrap_or_default())? {
                        Saved::Done(outcome) => self.add_save_warnings(outcome, &mut diagnostics),
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
        self.complete_hints(&report.lost_networks, previous_id.as_ref(), &mut diagnostics);
        if let (Some(wipe), Some(previous)) = (&report.wiped, &report.backup) {
            let found = self.wiped_diagnostic(wipe, report.shape, Some(previous));
            diagnostics.iter_mut().filter(|old| old.code == found.code).for_each(|old| *old = found.clone());
        } else if report.backup.is_some() {
            // The repair has replaced the wiped config, so the warning about it is out of date.
            diagnostics.retain(|old| old.code != WIPED);
        }
        Ok(Some(Applied { document, steps: done, report, diagnostics }))
    }

    /// Restores a backup; with `as_is`, also one that is not of the app's shape.
    fn restore_backup(&self, ids: &mut dyn Ids, id: &BackupId, as_is: bool) -> Result<Restored, StoreError> {
        self.check_trust()?;
        self.ensure_keeps_config()?;
        let (document, bytes, diagnostics) = self.restorable(id, ids, as_is)?;
        let (from, backup) = (id.clone(), None);
        let mut restored = Restored { document, from, backup, changed: true, diagnostics };
        for _ in 0..MAX_ATTEMPTS {
            let diagnostics = &mut restored.diagnostics;
            let file = match self.read_file() {
                Err(StoreError::TooLarge { .. }) => {
                    self.check_replacing(&bytes, !as_is)?;
                    let Some((aside, outcome)) = self.replace_too_large(&bytes)? else { continue };
                    let message =
                        format!("the previous config is too large to be read: it is {} now", aside.display());
                    diagnostics.push(self.warning("store.set-aside", message));
                    self.add_save_warnings(outcome, diagnostics);
                    self.keep_restored(&bytes, diagnostics);
                    return Ok(restored);
                }
                read => read?,
            };
            let previous = file.bytes();
            if previous == Some(&*bytes) {
                self.clear_leftovers(None, diagnostics);
                self.sync_config()?;
                if self.detect_wipe(&restored.document, &self.list_backups())?.is_some() {
                    self.keep_restored(&bytes, diagnostics);
                }
                restored.changed = false;
                return Ok(restored);
            }
            if self.holds_daemon_half(&file) {
                // The file still holds the daemon's half, which must reach the daemon first.
                self.plan_known_version(ids)?;
                return Err(self.repair_pending());
            }
            self.check_replacing(&bytes, !as_is)?;
            self.clear_leftovers(None, diagnostics);
            if let Some(previous) = previous {
                restored.backup = Some(self.put(BackupKind::Kept, previous)?);
            }
            if let Saved::Done(outcome) = self.save(previous, &bytes)? {
                self.add_save_warnings(outcome, diagnostics);
                self.keep_restored(&bytes, diagnostics);
                tracing::info!(backup = %id, as_is, "restored a backup");
                return Ok(restored);
            }
        }
        Err(StoreError::conflict(&self.paths.app_config))
    }

    /// Returns the config that a backup holds, and the bytes to write. With `as_is`, returns the
    /// backup's own bytes, whatever their shape.
    fn restorable(
        &self,
        id: &BackupId,
        ids: &mut dyn Ids,
        as_is: bool,
    ) -> Result<(Document, Vec<u8>, Vec<Diagnostic>), StoreError> {
        let path = self.backup_path(id);
        let bytes = self.read_backup_if(id, &|bytes| self.usable_config(bytes).is_some())?;
        let is_changed = content_hash(&bytes) != id.hash;
        let changed = is_changed.then(|| self.changed_diagnostic(id, true));
        let parsed = Document::parse(&bytes).map(|parsed| parsed.document);
        let is_daemons = parsed.as_ref().is_ok_and(|document| self.has_daemon_half(document));
        if id.kind == BackupKind::DaemonPart || (is_daemons && !as_is) {
            return Err(StoreError::BadBackup { path, why: "it is not a config of the app's" });
        }
        match parsed {
            Ok(document) => Ok((document, bytes, changed.into_iter().collect())),
            Err(_) if as_is => Ok((Document::empty(), bytes, changed.into_iter().collect())),
            Err(error) => {
                let found = self.recover_backup(&bytes, ids);
                let (document, diagnostic) = found.ok_or(StoreError::TornBackup { path, error })?;
                let bytes = document.to_bytes();
                Ok((document, bytes, changed.into_iter().chain([diagnostic]).collect()))
            }
        }
    }

    fn add_save_warnings(&self, outcome: SaveOutcome, diagnostics: &mut Vec<Diagnostic>) {
        let config = &self.paths.app_config;
        let mut warn = |code, message, hint| {
            diagnostics.push(Diagnostic { hint, ..self.warning(code, message) });
        };
        if outcome.permissions == Permissions::Narrowed {
            let message = "others could use the config by its group or its access list, which the new file \
                           could not be given: they cannot any more";
            let hint = format!("getfacl {}", quote(config));
            warn("store.rights-narrowed", message.to_owned(), Some(hint));
        }
        if outcome.unseen_possible {
            let message = "this file system cannot exchange two files, so a write of another program in the \
                           last microseconds before ours would have gone unseen";
            warn("store.no-exchange", message.to_owned(), None);
        }
        if !self.disk.confirms_sync(config.as_ref()) {
            let hint = format!("findmnt --target {}", quote(config));
            warn(SYNC_UNCONFIRMED, sync_unconfirmed_message(config), Some(hint));
        }
    }

    /// Keeps the current config as the last good backup, if it is healthy. Returns true if it did.
    fn keep_saved(&self, ids: &mut dyn Ids, diagnostics: &mut Vec<Diagnostic>) -> bool {
        self.keep_current(&mut |bytes| self.is_healthy(bytes, ids), diagnostics)
    }

    /// Keeps a restored backup as the last good one, whatever it lacks, because its user asked for
    /// it.
    fn keep_restored(&self, restored: &[u8], diagnostics: &mut Vec<Diagnostic>) {
        let is_the_apps =
            Document::parse(restored).is_ok_and(|parsed| !self.has_daemon_half(&parsed.document));
        self.keep_current(&mut |bytes| is_the_apps && bytes == restored, diagnostics);
    }

    /// Keeps the current config as the last good backup, if `is_good` accepts it. A failure adds a
    /// warning only, because the config itself is in place.
    fn keep_current(
        &self,
        is_good: &mut dyn FnMut(&[u8]) -> bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let path = &self.paths.app_config;
        let mut keep = || {
            let bytes = self
                .disk
                .read(path.as_ref(), self.limits.config_bytes)
                .map_err(|source| StoreError::Unreadable { path: path.clone(), source })?;
            if !is_good(&bytes) {
                return Ok(false);
            }
            self.sync_config()?;
            self.put(BackupKind::Good, &bytes).map(|_| true)
        };
        keep().unwrap_or_else(|error| {
            let reason = chain(&error);
            let message =
                format!("the config is in place, but no routine backup of it could be made: {reason}");
            diagnostics.push(warning_at(&self.paths.backups, "store.copy-failed", message, error.hint()));
            false
        })
    }
}

/// Joins an error with its causes, for a message that is not itself an error.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
