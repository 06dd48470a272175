use std::time::Duration;

use myownllm_config_model::app_config::OwnSettings;
use myownllm_config_model::{Diagnostic, Document, Ids, Severity};
use myownllm_durable_fs::{Disk, HomeLock, ReplaceMethod, Rights, quote};
use myownllm_salvage::{ConfigSalvager, Rebased, Salvager, Shape};

use crate::copies::{hash, private_folder, publish};
use crate::plan::Plan;
use crate::read::{File, shown};
use crate::save::{Saved, TRIES};
use crate::wipe::recommend;
use crate::{
    Accepted, Applied, Clock, CopyId, CopyKind, DaemonHalf, FileShape, HistoryEntry, Limits, Loaded, Pending,
    Places, Restored, Step, StoreError, Updated,
};

/// A caller's error in an edit; comes back as the source of [`StoreError::Edit`].
pub type EditError = Box<dyn std::error::Error + Send + Sync>;

/// The front door: the app's config on disk.
pub trait ConfigStore {
    /// Reads the config, repairs and completes it in memory, and says what is to be written. Writes nothing, takes no lock.
    ///
    /// # Errors
    /// Only when the file is there and cannot be told: [`StoreError::Unreadable`], [`NotRegular`](StoreError::NotRegular),
    /// [`TooLarge`](StoreError::TooLarge), [`Unstable`](StoreError::Unstable), or a folder of copies that cannot be read
    /// while a repair depends on it. [`stand_in`](Self::stand_in) gives something to run on then.
    fn look(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError>;

    /// A config to run on when [`look`](Self::look) failed: the file's own as far as it can be read (a repair that lacks its
    /// copies is made in memory), else the last known good copy, else the defaults. Nothing is pending: it is never to be
    /// written.
    fn stand_in(&self, ids: &mut dyn Ids) -> Loaded;

    /// Makes the app's home when it is missing, so that it can be locked.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::Untrusted`], [`StoreError::Disk`].
    fn ensure_home(&self) -> Result<(), StoreError>;

    /// Looks again, under the lock, and does what is pending. The order is: the copy of the former file, the daemon's half,
    /// the config, the routine copy; each is on the disk before the next begins, and each is found done when a killed run is
    /// run again.
    ///
    /// # Errors
    /// Any; what is done so far stays, and the next run goes on from there.
    fn apply(&self, lock: &HomeLock, ids: &mut dyn Ids) -> Result<Applied, StoreError>;

    /// Reads the config, has `edit` change it, and saves it when it changed. `edit` says whether it changed anything, and may
    /// be called again, on what somebody else wrote meanwhile. Where nothing changed, the config is synced: a run that was killed
    /// may have made the very change without syncing it.
    ///
    /// # Errors
    /// [`StoreError::Edit`] with the caller's error; [`RepairPending`](StoreError::RepairPending) for a config that needs a
    /// repair; [`Newer`](StoreError::Newer); [`Conflict`](StoreError::Conflict); and those of reading and writing.
    fn update(
        &self,
        lock: &HomeLock,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError>;

    /// Syncs the config and its directory. For a command that finds its change made already: the killed run, or the other
    /// program, that made it may not have synced it. Writes nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`]. A config that is missing is none.
    fn ensure_durable(&self) -> Result<(), StoreError>;

    /// Paths in the daemon's own config that lead to where its files were before they moved, and where they are now: a repair that
    /// came before the move could not know. Looks, and writes nothing.
    fn stale_paths(&self) -> Vec<Rebased>;

    /// Points them to where the files are. For a time at which no daemon runs: one keeps its config in memory. The former config is
    /// among the copies first.
    ///
    /// # Errors
    /// Those of writing; [`StoreError::Conflict`] when somebody else wrote it meanwhile.
    fn mend_stale_paths(&self, lock: &HomeLock) -> Result<Vec<Rebased>, StoreError>;

    /// Records the config as it is as the newest good backup: a user who means a loss that [`look`](Self::look) reports
    /// ([`Report::wiped`](crate::Report)) says so once. Saving an edit, and restoring a backup, say the same.
    ///
    /// # Errors
    /// [`StoreError::RepairPending`] for a config that is not the app's; those of reading and of writing a backup.
    fn accept(&self, lock: &HomeLock) -> Result<Accepted, StoreError>;

    /// All copies, the newest first.
    ///
    /// # Errors
    /// When the folder of copies is there and cannot be read.
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError>;

    /// The copy that `name` stands for: its whole id, its sequence number, or the beginning of its hash (at least 4 digits). Where
    /// there is none of that id any more, one of the same content.
    ///
    /// # Errors
    /// [`StoreError::NoSuchCopy`].
    fn find_copy(&self, name: &str) -> Result<CopyId, StoreError>;

    /// The bytes of a copy.
    ///
    /// # Errors
    /// [`StoreError::NoSuchCopy`], or that of reading it.
    fn read_copy(&self, id: &CopyId) -> Result<Vec<u8>, StoreError>;

    /// Puts a copy in the config's place. What is there is among the copies first, so this can be undone. From a copy that
    /// is not JSON, restores the complete part: a document with trailing bytes, a text whose slips can be mended, or the members
    /// before the place where the text breaks off, put into the current config.
    ///
    /// # Errors
    /// [`StoreError::BadCopy`] for one that is not intact or not of the app's shape; [`StoreError::TornCopy`] for one without a
    /// complete member.
    fn restore(&self, lock: &HomeLock, ids: &mut dyn Ids, id: &CopyId) -> Result<Restored, StoreError>;
    /// [`restore`](Self::restore) of any copy of a config, whatever its shape: for undoing what was done to a config that was no
    /// good. The next launch repairs it.
    ///
    /// # Errors
    /// [`StoreError::BadCopy`] for one that is not intact, or is the daemon's half.
    fn restore_as_is(&self, lock: &HomeLock, ids: &mut dyn Ids, id: &CopyId) -> Result<Restored, StoreError>;
}

/// The store of this crate.
pub struct Store<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) salvager: &'a dyn ConfigSalvager,
    pub(crate) places: Places,
    pub(crate) limits: Limits,
}

impl<'a> Store<'a> {
    /// A store on that disk, with the crate's own salvager and limits.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, clock: &'a dyn Clock, places: Places) -> Self {
        Self { disk, clock, salvager: &Salvager, places, limits: Limits::default() }
    }

    /// The same with another repair.
    #[must_use]
    pub fn with_salvager(mut self, salvager: &'a dyn ConfigSalvager) -> Self {
        self.salvager = salvager;
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The paths that it works on.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }
}

impl ConfigStore for Store<'_> {
    fn look(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError> {
        let loaded = self.plan(ids).map(|plan| plan.loaded)?;
        tracing::debug!(shape = ?loaded.shape, pending = loaded.pending.steps.len(), "looked at the config");
        Ok(loaded)
    }

    fn stand_in(&self, ids: &mut dyn Ids) -> Loaded {
        self.stand_in_plan(ids)
    }

    fn ensure_home(&self) -> Result<(), StoreError> {
        let Places { user_home, app_home, .. } = &self.places;
        if self.check_trust()?.exists {
            return Ok(());
        }
        let owner = match self.disk.stat_follow(user_home) {
            Ok(meta) => meta.owner,
            Err(error) if error.is_not_found() => return Err(StoreError::NoHome { path: user_home.clone() }),
            Err(source) => {
                return Err(StoreError::Disk {
                    doing: "looking at the user's home",
                    path: user_home.clone(),
                    source,
                });
            }
        };
        private_folder(self.disk, user_home, app_home, owner).map_err(|source| StoreError::Disk {
            doing: "making the app's home",
            path: app_home.clone(),
            source,
        })
    }

    fn apply(&self, lock: &HomeLock, ids: &mut dyn Ids) -> Result<Applied, StoreError> {
        self.check_lock(lock)?;
        let mut diagnostics = Vec::new();
        let mut cleared: Option<Vec<Step>> = None;
        for _ in 0..TRIES {
            let plan = self.plan(ids)?;
            if let Some(version) = plan.loaded.newer {
                return Err(StoreError::Newer { path: self.places.config.clone(), version });
            }
            // Only when there is something to do: an apply without need writes nothing either.
            if cleared.is_none() && !plan.loaded.pending.is_empty() {
                self.check_apart()?;
                cleared = Some(self.clear_leftovers(&mut diagnostics));
            }
            if let Some(mut applied) = self.carry_out(plan, ids)? {
                applied.steps.splice(0..0, cleared.unwrap_or_default());
                let is_routine = |step: &Step| matches!(step, Step::KeepLastGood { .. });
                if !applied.steps.iter().all(is_routine) {
                    // A killed run may have put in place what this run only found there. And the displaced file, which is
                    // removed by now, would be back after a power cut.
                    self.flush_config()?;
                }
                applied.diagnostics.extend(diagnostics);
                for step in &applied.steps {
                    tracing::info!(?step, "took a step of the repair");
                }
                return Ok(applied);
            }
        }
        Err(StoreError::Conflict { path: self.places.config.clone() })
    }

    fn update(
        &self,
        lock: &HomeLock,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError> {
        self.check_lock(lock)?;
        let path = &self.places.config;
        for conflicts in 0..TRIES {
            let plan = self.plan(ids)?;
            let loaded = plan.loaded;
            if let Some(version) = loaded.newer {
                return Err(StoreError::Newer { path: path.clone(), version });
            }
            if loaded.pending.repairs() {
                return Err(StoreError::RepairPending {
                    path: path.clone(),
                    program: self.places.program.clone(),
                });
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
                    self.clear_leftovers(&mut diagnostics);
                }
                self.flush_config()?;
                return Ok(Updated { document: before, changed: false, conflicts, diagnostics });
            }
            self.check_replacing(&bytes)?;
            if conflicts == 0 && unfinished {
                self.clear_leftovers(&mut diagnostics);
            }
            let former = plan.former.bytes();
            if let Some(former) = former {
                self.keep_routinely(former, plan.config.is_none() && loaded.report.wiped.is_none())?;
            }
            match self.save(former, &bytes)? {
                Saved::Done { unseen_possible, rights } => {
                    self.note_saved(unseen_possible, rights, &mut diagnostics);
                    self.keep_saved(ids, &mut diagnostics);
                    tracing::info!(path = %path.display(), conflicts, "saved the config");
                    return Ok(Updated { document, changed: true, conflicts, diagnostics });
                }
                // A little longer each time: whoever writes may be in the middle of several writes.
                Saved::Foreign => self.clock.sleep(Duration::from_millis(u64::from(conflicts) + 1)),
            }
        }
        Err(StoreError::Conflict { path: path.clone() })
    }

    fn ensure_durable(&self) -> Result<(), StoreError> {
        self.flush_config()
    }

    fn stale_paths(&self) -> Vec<Rebased> {
        self.find_stale_paths()
    }

    fn mend_stale_paths(&self, lock: &HomeLock) -> Result<Vec<Rebased>, StoreError> {
        self.mend_paths(lock)
    }

    fn accept(&self, lock: &HomeLock) -> Result<Accepted, StoreError> {
        self.accept_config(lock)
    }

    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        let copies = self.copies();
        let listing = copies.list().map_err(|e| self.listing_failed(e))?;
        let live = self.disk.read(&self.places.config, self.limits.config_bytes).ok().map(|b| hash(&b));
        let (mut entries, mut measured) = (Vec::new(), Vec::new());
        for id in listing.copies.iter().rev() {
            let path = copies.path(id);
            let meta = match self.disk.stat(&path) {
                Ok(meta) => meta,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(self.listing_failed(error)),
            };
            let (shape, intact, recoverable, own) = match copies.read(id) {
                Ok((bytes, true)) => {
                    let shape = self.shape_of(&bytes);
                    let recoverable = shape == FileShape::Corrupt && self.is_recoverable(&bytes);
                    (shape, true, recoverable, self.own_settings_of(id, &bytes))
                }
                _ => (FileShape::Corrupt, false, false, None),
            };
            let stamp = meta.modified;
            let made_ms = u64::try_from(stamp.seconds).unwrap_or(0).saturating_mul(1000)
                + u64::from(stamp.nanoseconds / 1_000_000);
            entries.push(HistoryEntry {
                current: intact && live.as_deref() == Some(id.hash()),
                kind: id.kind(),
                id: id.clone(),
                bytes: meta.len,
                made_ms,
                shape,
                intact,
                settings: own.as_ref().map(OwnSettings::count),
                recommended: false,
                recoverable,
                path,
            });
            measured.push(own);
        }
        recommend(&mut entries, &measured);
        Ok(entries)
    }

    fn find_copy(&self, name: &str) -> Result<CopyId, StoreError> {
        let listing = self.copies().list().map_err(|e| self.listing_failed(e))?;
        let wanted = name.strip_suffix(".json").unwrap_or(name);
        let none = |several| StoreError::NoSuchCopy {
            path: self.places.backups.clone(),
            id: name.to_owned(),
            several,
            program: self.places.program.clone(),
        };
        let by_number = || wanted.parse::<u64>().ok().filter(|_| wanted.len() <= 12);
        // A routine copy gets a new number when its content comes back: it is the content that was asked for.
        let of_old = wanted.parse::<CopyId>().ok();
        let rules: [&dyn Fn(&CopyId) -> bool; 4] = [
            &|id| id.to_string() == wanted,
            &|id| by_number() == Some(id.sequence),
            &|id| wanted.len() >= 4 && id.hash.starts_with(wanted),
            &|id| of_old.as_ref().is_some_and(|old| old.hash == id.hash),
        ];
        for rule in rules {
            let mut found = listing.copies.iter().filter(|id| rule(id));
            if let Some(id) = found.next() {
                // Several copies of one content are one answer: the newest.
                let same = found.clone().all(|other| other.hash == id.hash);
                return if same { Ok(found.last().unwrap_or(id).clone()) } else { Err(none(true)) };
            }
        }
        Err(none(false))
    }

    fn read_copy(&self, id: &CopyId) -> Result<Vec<u8>, StoreError> {
        let copies = self.copies();
        let path = copies.path(id);
        match copies.read(id) {
            Ok((bytes, true)) => Ok(bytes),
            Ok((_, false)) => {
                Err(StoreError::BadCopy { path, why: "its bytes are not those that its name says" })
            }
            Err(error) if error.is_not_found() => Err(StoreError::NoSuchCopy {
                path: self.places.backups.clone(),
                id: id.to_string(),
                several: false,
                program: self.places.program.clone(),
            }),
            Err(source) => Err(StoreError::Disk { doing: "reading the copy", path, source }),
        }
    }

    fn restore(&self, lock: &HomeLock, ids: &mut dyn Ids, id: &CopyId) -> Result<Restored, StoreError> {
        self.restore_copy(lock, ids, id, false)
    }

    fn restore_as_is(&self, lock: &HomeLock, ids: &mut dyn Ids, id: &CopyId) -> Result<Restored, StoreError> {
        self.restore_copy(lock, ids, id, true)
    }
}

impl Store<'_> {
    /// Restores a copy; `as_is`: also one that is not of the app's shape.
    fn restore_copy(
        &self,
        lock: &HomeLock,
        ids: &mut dyn Ids,
        id: &CopyId,
        as_is: bool,
    ) -> Result<Restored, StoreError> {
        self.check_lock(lock)?;
        let (document, bytes, mut diagnostics) = self.restorable(id, ids, as_is)?;
        let check =
            |bytes: &[u8]| if as_is { self.check_replaceable(bytes) } else { self.check_replacing(bytes) };
        let mut backup = None;
        for _ in 0..TRIES {
            let file = match self.read_file() {
                Err(StoreError::TooLarge { .. }) => {
                    check(&bytes)?;
                    let Some((aside, method)) = self.replace_too_large(&bytes)? else { continue };
                    let note =
                        format!("the former config is too large to be read: it is {} now", aside.display());
                    diagnostics.push(self.note("store.set-aside", Severity::Warning, note));
                    let unseen_possible = method == ReplaceMethod::CheckedRename;
                    self.note_saved(unseen_possible, Rights::Kept, &mut diagnostics);
                    self.keep_restored(&bytes, &mut diagnostics);
                    return Ok(Restored { document, from: id.clone(), backup, changed: true, diagnostics });
                }
                read => read?,
            };
            let former = file.bytes();
            if former == Some(&*bytes) {
                self.clear_leftovers(&mut diagnostics);
                self.flush_config()?;
                if self.find_loss(&document, &self.copies().list())?.is_some() {
                    self.keep_restored(&bytes, &mut diagnostics);
                }
                return Ok(Restored { document, from: id.clone(), backup, changed: false, diagnostics });
            }
            if self.has_daemon_half(&file) {
                // The daemon's half is still in there, and must get to the daemon first.
                return Err(match self.plan(ids)?.loaded.newer {
                    Some(version) => StoreError::Newer { path: self.places.config.clone(), version },
                    None => StoreError::RepairPending {
                        path: self.places.config.clone(),
                        program: self.places.program.clone(),
                    },
                });
            }
            check(&bytes)?;
            self.clear_leftovers(&mut diagnostics);
            if let Some(former) = former {
                backup = Some(self.copies_to_write().put(CopyKind::Kept, former)?);
            }
            if let Saved::Done { unseen_possible, rights } = self.save(former, &bytes)? {
                self.note_saved(unseen_possible, rights, &mut diagnostics);
                self.keep_restored(&bytes, &mut diagnostics);
                tracing::info!(backup = %id, as_is, "restored a backup");
                return Ok(Restored { document, from: id.clone(), backup, changed: true, diagnostics });
            }
        }
        Err(StoreError::Conflict { path: self.places.config.clone() })
    }

    /// Does what the plan says; `None` when somebody else wrote meanwhile and all is to be looked at again.
    fn carry_out(&self, plan: Plan, ids: &mut dyn Ids) -> Result<Option<Applied>, StoreError> {
        let Plan { loaded, former, config, daemon, .. } = plan;
        let Loaded { document, mut report, mut diagnostics, pending, .. } = loaded;
        if let Some(bytes) = &config {
            self.check_replacing(bytes)?;
        }
        let (mut done, mut former_id) = (Vec::new(), None);
        for step in pending.steps {
            match &step {
                // Cleared before the plan was carried out, and reported with that.
                Step::ClearLeftover { .. } => continue,
                Step::KeepFormer { .. } => {
                    let id =
                        self.copies_to_write().put(CopyKind::Kept, former.bytes().unwrap_or_default())?;
                    report.backup = Some(id.to_string());
                    former_id = Some(id);
                }
                Step::PublishDaemonHalf { .. } => {
                    if !self.publish_daemon_half(daemon.as_deref().unwrap_or_default())? {
                        return Ok(None);
                    }
                }
                Step::KeepDaemonHalf { .. } => {
                    let half = daemon.as_deref().unwrap_or_default();
                    let id = self.copies_to_write().put(CopyKind::Daemon, half)?;
                    report.daemon_half_backup = Some(id.to_string());
                    diagnostics.push(self.note(
                        "store.daemon-half-kept",
                        Severity::Warning,
                        format!("the daemon has a config already, which stays; its half of this one is the copy {id}"),
                    ));
                }
                Step::ReplaceConfig { .. } | Step::WriteConfig { .. } => {
                    if report.daemon_half == Some(DaemonHalf::Exists) {
                        // A killed run may have put it there, and not have flushed it.
                        self.flush_daemon_half()?;
                    }
                    let bytes = config.as_deref().unwrap_or_default();
                    match self.save(former.bytes(), bytes)? {
                        Saved::Done { unseen_possible, rights } => {
                            self.note_saved(unseen_possible, rights, &mut diagnostics)
                        }
                        Saved::Foreign => return Ok(None),
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
        self.complete_hints(&document, former_id.as_ref(), &mut diagnostics);
        if let (Some(wipe), Some(former)) = (&report.wiped, &report.backup) {
            let note = self.wiped_note(wipe, report.shape, Some(former));
            diagnostics
                .iter_mut()
                .filter(|found| found.code == note.code)
                .for_each(|found| *found = note.clone());
        }
        Ok(Some(Applied { document, steps: done, report, diagnostics }))
    }

    /// Whether it is in place now; not when a config of the daemon's has appeared meanwhile.
    fn publish_daemon_half(&self, half: &[u8]) -> Result<bool, StoreError> {
        let Places { app_home, daemon_home, daemon_config, .. } = &self.places;
        let failed = |source| StoreError::Disk {
            doing: "writing the daemon's config",
            path: daemon_config.clone(),
            source,
        };
        let owner = self.owner();
        private_folder(self.disk, app_home, daemon_home, owner).map_err(failed)?;
        match publish(self.disk, daemon_config, half, owner) {
            Ok(()) => Ok(true),
            Err(error) if error.is_taken() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    fn flush_daemon_half(&self) -> Result<(), StoreError> {
        let Places { app_home, daemon_home, daemon_config, .. } = &self.places;
        self.disk
            .sync_file(daemon_config)
            .and_then(|()| self.disk.sync_dir(daemon_home))
            .and_then(|()| self.disk.sync_dir(app_home))
            .map_err(|source| StoreError::Disk {
                doing: "flushing the daemon's config",
                path: daemon_config.clone(),
                source,
            })
    }

    /// Keeps what is in place now as the last known good copy, when it is healthy. Whether it did; that it failed is worth a
    /// warning, but the config itself is in place.
    fn keep_saved(&self, ids: &mut dyn Ids, diagnostics: &mut Vec<Diagnostic>) -> bool {
        self.keep_current(&mut |bytes| self.healthy(bytes, ids), diagnostics)
    }

    /// Keeps a restored backup as the last known good copy, whatever it lacks: its user has asked for it.
    fn keep_restored(&self, restored: &[u8], diagnostics: &mut Vec<Diagnostic>) {
        let is_the_apps = matches!(self.shape_of(restored), FileShape::App | FileShape::Unknown);
        self.keep_current(&mut |bytes| is_the_apps && bytes == restored, diagnostics);
    }

    fn keep_current(
        &self,
        is_good: &mut dyn FnMut(&[u8]) -> bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> bool {
        let read = self.disk.read(&self.places.config, self.limits.config_bytes);
        let kept = match read {
            Ok(bytes) if is_good(&bytes) => self
                .flush_config()
                .and_then(|()| self.copies_to_write().put(CopyKind::Good, &bytes))
                .map(|_| true),
            Ok(_) => Ok(false),
            Err(source) => Err(StoreError::Unreadable { path: self.places.config.clone(), source }),
        };
        kept.unwrap_or_else(|error| {
            diagnostics.push(Diagnostic {
                code: "store.copy-failed",
                severity: Severity::Warning,
                message: format!(
                    "the config is in place, but no routine copy of it could be made: {}",
                    chain(&error)
                ),
                path: shown(&self.places.backups),
                hint: error.hint(),
                place: None,
            });
            false
        })
    }

    /// What is recorded as good, and what a run reports as in place, is to be there after a power cut: who wrote it — another
    /// program, or a run of ours that was killed — may not have flushed it. A config that is missing is as it is.
    pub(crate) fn flush_config(&self) -> Result<(), StoreError> {
        let path = &self.places.config;
        let flush = || {
            let real = match self.disk.canonicalize(path) {
                Err(error) if error.is_not_found() => return Ok(()),
                real => real?,
            };
            self.disk.sync_file(&real)?;
            self.disk.sync_dir(real.parent().unwrap_or(&real))
        };
        flush().map_err(|source| StoreError::Disk {
            doing: "flushing the config",
            path: path.clone(),
            source,
        })
    }

    /// What a save has to tell besides that it was made.
    fn note_saved(&self, unseen_possible: bool, rights: Rights, diagnostics: &mut Vec<Diagnostic>) {
        if rights == Rights::Narrowed {
            let narrowed = self.note(
                "store.rights-narrowed",
                Severity::Warning,
                "others could use the config by its group or its access list, which the new file could not be given: \
                 they cannot any more"
                    .to_owned(),
            );
            let hint = Some(format!("getfacl {}", quote(&self.places.config)));
            diagnostics.push(Diagnostic { hint, ..narrowed });
        }
        if unseen_possible {
            diagnostics.push(self.note(
                "store.no-exchange",
                Severity::Warning,
                "this file system cannot exchange two files, so a write of another program in the last microseconds before \
                 ours would have gone unseen"
                    .to_owned(),
            ));
        }
    }

    fn stand_in_plan(&self, ids: &mut dyn Ids) -> Loaded {
        let plan = self.plan_without_copies(ids).unwrap_or_else(|| {
            let mut notes = Vec::new();
            let (source, _) = self.readable_source(&self.copies().list(), &mut notes);
            self.complete_source(source, FileShape::Unknown, notes, ids)
        });
        Loaded { pending: Pending::default(), ..plan.loaded }
    }

    /// The config that a copy holds, and the bytes to write; `as_is`: the copy's own bytes, whatever their shape.
    fn restorable(
        &self,
        id: &CopyId,
        ids: &mut dyn Ids,
        as_is: bool,
    ) -> Result<(Document, Vec<u8>, Vec<Diagnostic>), StoreError> {
        let bytes = self.read_copy(id)?;
        let path = self.copies().path(id);
        let is_daemons = matches!(self.shape_of(&bytes), FileShape::Daemon | FileShape::Mixed);
        if id.kind == CopyKind::Daemon || (is_daemons && !as_is) {
            return Err(StoreError::BadCopy { path, why: "it is not a config of the app's" });
        }
        match Document::parse(&bytes) {
            Ok(parsed) => Ok((parsed.document, bytes, Vec::new())),
            Err(_) if as_is => Ok((Document::empty(), bytes, Vec::new())),
            Err(error) => {
                let found = self.recover_copy(&bytes, ids);
                let (document, note) = found.ok_or(StoreError::TornCopy { path, error })?;
                let bytes = document.to_bytes();
                Ok((document, bytes, vec![note]))
            }
        }
    }

    /// Whether a file, or the complete part of one that is not JSON, has the daemon's shape.
    fn has_daemon_half(&self, file: &File) -> bool {
        let is_daemons = |read: &Document| matches!(self.salvager.shape(read), Shape::Daemon | Shape::Mixed);
        match file {
            File::Missing => false,
            File::Json { document, .. } => is_daemons(document),
            File::Corrupt { bytes, .. } => {
                self.recover_config(bytes).is_some_and(|found| is_daemons(&found.document))
            }
        }
    }

    pub(crate) fn shape_of(&self, bytes: &[u8]) -> FileShape {
        match Document::parse(bytes).map(|p| self.salvager.shape(&p.document)) {
            Ok(Shape::App) => FileShape::App,
            Ok(Shape::Daemon) => FileShape::Daemon,
            Ok(Shape::Mixed) => FileShape::Mixed,
            Ok(_) => FileShape::Unknown,
            Err(_) => FileShape::Corrupt,
        }
    }

    fn listing_failed(&self, source: myownllm_durable_fs::DiskError) -> StoreError {
        StoreError::at_copies("reading the copies in", &self.places.backups, source)
    }
}

/// An error with its causes, for a message that is not itself an error.
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
