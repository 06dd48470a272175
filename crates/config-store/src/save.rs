//! Puts bytes in the config's place without losing the bytes that another program puts there
//! meanwhile.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use myownllm_config_model::{Diagnostic, Document, Severity};
use myownllm_durable_fs::trust::{HomeTrust, OwnershipProblem, OwnershipProblemKind, look_behind};
use myownllm_durable_fs::{
    DiskError, Displaced, Metadata, Permissions, ReplaceMethod, Replaced, SWAP_SUFFIX, is_ours, put_in_place,
    rename_back, rename_or_link, replace, stale_temps, temp_name,
};

use crate::backups::{BackupKind, Backups, WritableBackups, hash, publish};
use crate::locked::Locked;
use crate::plan::Plan;
use crate::read::shown;
use crate::{BackupId, FileShape, Step, Store, StoreError, StorePaths};

/// The most restarts of a whole operation because another program wrote meanwhile.
pub(crate) const MAX_ATTEMPTS: u32 = 32;
/// The most exchanges that return a displaced file, if each exchange displaces a newer one. An
/// exchange takes some microseconds, so a program that writes faster for that long does not stop.
/// The number also limits the backups that one save makes of the files that it displaced.
const MAX_EXCHANGES: u32 = 8;

/// The result of one attempt to save.
pub(crate) enum Saved {
    /// The bytes are in place, and on the disk.
    Done {
        /// Set if the platform cannot exchange two names. Then the save may have overwritten
        /// another program's write of the last moment unseen.
        unseen_possible: bool,
        /// The permissions that the new file kept from the previous one.
        rights: Permissions,
    },
    /// Another program wrote, and its bytes are in place. The caller must read again.
    Conflict,
}

/// The bytes of a displaced file, and the note with the same bytes that was written before the file
/// went back.
struct Intercepted {
    bytes: Vec<u8>,
    journal: Option<PathBuf>,
}

impl Store<'_> {
    pub(crate) fn backups(&self) -> Backups<'_> {
        let paths = &self.paths;
        Backups {
            disk: &*self.disk,
            dir: &paths.backups,
            app_home: &paths.app_home,
            config: &paths.config,
            limits: self.limits,
            schema: self.schema,
        }
    }

    pub(crate) fn owner(&self) -> Option<myownllm_durable_fs::Owner> {
        self.disk.stat_follow(&self.paths.app_home).ok().and_then(|meta| meta.owner)
    }

    /// Checks that only the home's owner and root decide where a change of the home goes.
    pub(crate) fn check_trust(&self) -> Result<HomeTrust, StoreError> {
        let home = &self.paths.app_home;
        let trust = HomeTrust::look(&*self.disk, home).map_err(|source| StoreError::Disk {
            doing: "look at the app's home",
            path: home.clone(),
            source,
        })?;
        match trust.forbids_change() {
            Some(problem) => Err(StoreError::Untrusted { problem: problem.clone() }),
            None => Ok(trust),
        }
    }

    /// Checks that no symlink makes the app's config the daemon's config, or puts it into the
    /// daemon home: each program would overwrite the other's data. Also checks that no other user
    /// decides where a symlink leads: for root, the target could be anywhere.
    pub(crate) fn check_apart(&self) -> Result<(), StoreError> {
        let StorePaths { config, daemon_config, daemon_home, .. } = &self.paths;
        match look_behind(&*self.disk, config) {
            Ok(None) => {}
            Ok(Some(problem)) => return Err(self.foreign_link(problem)),
            Err(source) => return Err(StoreError::Unreadable { path: config.clone(), source }),
        }
        let shared = |link: &Path| StoreError::Shared { path: config.clone(), link: link.to_owned() };
        if let (Some(config_at), Some(home)) = (self.symlink_target(config), self.real(daemon_home))
            && config_at.starts_with(&home)
        {
            return Err(shared(config));
        }
        if self.symlink_target(daemon_config).is_some_and(|at| self.real(config) == Some(at)) {
            return Err(shared(daemon_config));
        }
        Ok(())
    }

    fn foreign_link(&self, problem: OwnershipProblem) -> StoreError {
        let path = self.paths.config.clone();
        let file = self.disk.stat_follow(&path).ok().and_then(|meta| meta.owner);
        match (&problem.kind, file) {
            (&OwnershipProblemKind::ForeignSymlink { uid: by }, Some(file)) => {
                StoreError::ForeignLink { path, by, of: file.uid }
            }
            _ => StoreError::Untrusted { problem },
        }
    }

    /// Returns the target of a symlink; `None` for any other entry, and for a broken symlink.
    fn symlink_target(&self, path: &Path) -> Option<PathBuf> {
        self.disk.stat(path).ok().filter(Metadata::is_symlink).and_then(|_| self.real(path))
    }

    fn real(&self, path: &Path) -> Option<PathBuf> {
        self.disk.canonicalize(path).ok()
    }

    /// Checks whether `bytes` may replace the config, before anything is changed.
    ///
    /// # Errors
    /// [`StoreError::ConfigIsBackup`], [`StoreError::Shared`], [`StoreError::ForeignLink`];
    /// [`StoreError::TooMuch`] if `bytes` could not be read again.
    pub(crate) fn check_replacing(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_replaceable(bytes)?;
        let too_much = |why| StoreError::TooMuch { path: self.paths.config.clone(), why };
        Document::parse(bytes).map(drop).map_err(|error| too_much(error.kind.to_string()))
    }

    /// Checks the same except that `bytes` parses: `bytes` need not be JSON.
    pub(crate) fn check_replaceable(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_apart()?;
        let limit = self.limits.config_bytes;
        let too_much = |why| StoreError::TooMuch { path: self.paths.config.clone(), why };
        if bytes.len() as u64 > limit {
            return Err(too_much(format!("it would have more than {} MiB", limit >> 20)));
        }
        let StorePaths { config, backups, .. } = &self.paths;
        if let (Some(backup), Some(dir)) = (self.symlink_target(config), self.real(backups))
            && backup.parent() == Some(&*dir)
        {
            return Err(StoreError::ConfigIsBackup { path: config.clone(), backup });
        }
        Ok(())
    }
}

impl Locked<'_> {
    /// Returns the backups for writing: new files belong to the owner of the home.
    pub(crate) fn writable_backups(&self) -> WritableBackups<'_> {
        WritableBackups { backups: self.backups(), lock: &self.dir, owner: self.owner() }
    }

    /// Makes one attempt at a compare-and-swap of the config from `previous` (`None` for a missing
    /// config) to `bytes`.
    pub(crate) fn save(&self, previous: Option<&[u8]>, bytes: &[u8]) -> Result<Saved, StoreError> {
        let path = &self.paths.config;
        let failed = |source| self.saving_failed(source);
        let Some(previous) = previous else {
            // A run that was killed right after it made the app's home has not synced the name.
            self.dir.sync_own_name().map_err(|source| StoreError::Disk {
                doing: "flush the user's home",
                path: self.paths.user_home.clone(),
                source,
            })?;
            return match publish(&self.dir, path, bytes, self.owner()) {
                Ok(()) => Ok(Saved::Done { unseen_possible: false, rights: Permissions::Kept }),
                Err(error) if error.is_already_exists() => Ok(Saved::Conflict),
                Err(error) => Err(failed(error)),
            };
        };
        let limit = self.limits.config_bytes;
        match replace(&self.dir, path, bytes, previous, limit) {
            Ok(Replaced::Expected { method, displaced, rights }) => {
                // A writer that had the old file open may have written into the displaced file.
                match self.disk.read(&displaced.path, limit) {
                    Ok(now) if now != previous => {
                        self.restore_displaced(bytes, Displaced { bytes: now, ..displaced })?;
                        return Ok(Saved::Conflict);
                    }
                    // The content is among the backups. If the file cannot be removed, the next run
                    // removes it.
                    Ok(_) => drop(displaced.discard(&self.dir)),
                    // An unreadable file waits for the next run too.
                    Err(_) => {}
                }
                Ok(Saved::Done { unseen_possible: method == ReplaceMethod::CheckedRename, rights })
            }
            Ok(Replaced::Conflict { theirs: displaced, .. }) => {
                self.restore_displaced(bytes, displaced)?;
                Ok(Saved::Conflict)
            }
            Ok(_) => Ok(Saved::Conflict),
            // Another program removed the file meanwhile.
            Err(error) if error.is_not_found() => Ok(Saved::Conflict),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts `bytes` in the place of a config that is larger than the limit. The large file is set
    /// aside as it is, and is never read: it goes to the backup directory, or stays beside the
    /// config if the backup directory is on another file system. Returns the path of the large file
    /// and the method of the replacement; `None` if another program replaced the config meanwhile.
    pub(crate) fn replace_too_large(
        &self,
        bytes: &[u8],
    ) -> Result<Option<(PathBuf, ReplaceMethod)>, StoreError> {
        let backups = self.writable_backups();
        backups.ensure_dir()?;
        let replace = || {
            let place = self.dir.admit_target(&self.paths.config)?;
            let dir = place.parent().unwrap_or(&place);
            self.disk.ensure_entries_removable(dir)?;
            // Only under this name does no run ever clear the file away without a backup, and no
            // backup is made of so large a file.
            let swap = temp_name(dir, &format!(".{}{SWAP_SUFFIX}", hash(bytes)));
            self.dir.create(&swap, bytes, 0o600)?;
            let exchange = || {
                if let Some(owner) = self.disk.stat(&place)?.owner {
                    // Ignores a refusal: only root may chown.
                    let _ = self.dir.set_owner(&swap, owner);
                }
                self.dir.sync_file(&swap)?;
                let is_too_large = |file: &Path| Ok(self.disk.stat(file)?.len > self.limits.config_bytes);
                put_in_place(&self.dir, &swap, bytes, &place, &is_too_large)
            };
            let placed = exchange().inspect_err(|_| drop(self.dir.unlink(&swap)))?;
            if placed.is_none() {
                self.dir.unlink(&swap)?;
            }
            Ok(placed.map(|(method, swap)| (method, swap, place)))
        };
        let placed = replace().map_err(|source| self.saving_failed(source))?;
        let Some((method, swap, place)) = placed else { return Ok(None) };
        match self.disk.read(&swap, self.limits.config_bytes) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => {}
            Err(error) => return Err(self.saving_failed(error)),
            Ok(theirs) => {
                self.restore_displaced(bytes, Displaced { path: swap, place, bytes: theirs })?;
                return Ok(None);
            }
        }
        self.dir.sync_dir(place.parent().unwrap_or(&place)).map_err(|source| self.saving_failed(source))?;
        for number in 1.. {
            let aside = self.paths.backups.join(format!("too-large-{number}.json"));
            match rename_or_link(&self.dir, &swap, &aside) {
                Ok(_) => {
                    backups.sync_dirs()?;
                    return Ok(Some((aside, method)));
                }
                Err(error) if error.is_already_exists() => {}
                Err(_) => break,
            }
        }
        Ok(Some((swap, method)))
    }

    fn saving_failed(&self, source: DiskError) -> StoreError {
        let path = self.paths.config.clone();
        match source.kind() {
            ErrorKind::ResourceBusy => StoreError::Mounted { path, source },
            _ => StoreError::Disk { doing: "save the config", path, source },
        }
    }

    /// Returns another program's file to the place that it was taken from: the same file, with its
    /// mode and owner. `ours` is the current content of the place. If the exchange displaces a
    /// newer file, the newer file is returned instead.
    ///
    /// Every displaced file ends among the backups, also one that was returned. Until the return,
    /// other programs read our file instead, and may overwrite the returned file with an edit of our
    /// file.
    pub(crate) fn restore_displaced(&self, ours: &[u8], displaced: Displaced) -> Result<(), StoreError> {
        let Displaced { path: aside, place, bytes } = displaced;
        let failed = |source| StoreError::Disk { doing: "save the config", path: place.clone(), source };
        let mut intercepted = vec![Intercepted { bytes, journal: None }];
        let settled = self.exchange_until_settled(&aside, &place, ours, &mut intercepted);
        let synced = self.dir.sync_dir(place.parent().unwrap_or(&place));
        // Keeps each of them, even if another fails.
        let keep = |out: &Intercepted| {
            if out.bytes != ours {
                self.keep_intercepted(&out.bytes)?;
            }
            out.journal.as_ref().map(|journal| self.dir.unlink(journal));
            Ok(())
        };
        let kept = intercepted.iter().map(keep).fold(Ok(()), Result::and);
        let settled = settled.map_err(failed)?;
        synced.map_err(failed)?;
        kept?;
        let _ = self.dir.unlink(&aside);
        // Another attempt after so many exchanges would pile up backups.
        if settled { Ok(()) } else { Err(StoreError::Conflict { path: place }) }
    }

    /// Exchanges until the displaced content is the content that was put there. Returns `false` if
    /// the attempts run out. Nothing slow may be done here.
    fn exchange_until_settled(
        &self,
        aside: &Path,
        place: &Path,
        ours: &[u8],
        intercepted: &mut Vec<Intercepted>,
    ) -> Result<bool, DiskError> {
        let mut expected = ours.to_vec();
        for _ in 0..MAX_EXCHANGES {
            if let Some(out) = intercepted.last_mut() {
                out.journal = self.journal_bytes(place, &out.bytes);
            }
            match self.dir.exchange(aside, place) {
                Ok(()) => {}
                Err(error) if error.may_be_unsupported() => {
                    self.rename_over(aside, place, &expected, intercepted)?;
                    return Ok(true);
                }
                // Another program removed the file, so there is nothing to exchange with. That
                // program has read our content, not the displaced one.
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
            }
            let out = self.disk.read(aside, self.limits.config_bytes)?;
            if out == expected {
                return Ok(true);
            }
            if let Some(returned) = intercepted.last() {
                expected.clone_from(&returned.bytes);
            }
            intercepted.push(Intercepted { bytes: out, journal: None });
        }
        Ok(false)
    }

    /// Renames the last displaced file back to its place, on a file system that cannot exchange two
    /// names, unless the place holds a newer file.
    fn rename_over(
        &self,
        aside: &Path,
        place: &Path,
        expected: &[u8],
        intercepted: &mut Vec<Intercepted>,
    ) -> Result<(), DiskError> {
        let bytes = intercepted.last().map(|out| out.bytes.clone()).unwrap_or_default();
        let displaced = Displaced { path: aside.to_owned(), place: place.to_owned(), bytes };
        if let Some(second) = rename_back(&self.dir, &displaced, expected)? {
            // The file holds our bytes, and perhaps another program's write in place.
            let bytes = self.disk.read(&second, self.limits.config_bytes)?;
            intercepted.push(Intercepted { bytes, journal: Some(second) });
        }
        Ok(())
    }

    /// Writes the bytes that are about to be returned to a note, a temporary file that the next run
    /// turns into a backup if this run is killed before it does. Another program that has read our
    /// file may have overwritten the returned one by then. Not synced: after a power cut no such
    /// program is left. Best effort: without a note the file is returned all the same.
    fn journal_bytes(&self, place: &Path, bytes: &[u8]) -> Option<PathBuf> {
        let journal = temp_name(place.parent()?, SWAP_SUFFIX);
        self.dir.create(&journal, bytes, 0o600).ok().map(|()| journal)
    }

    /// Makes a backup of a displaced file. The backup is one of those that are never removed while
    /// these have room to spare: a program that writes all the time must not use up the room that a
    /// repair needs. After that, a config of the app's becomes a routine backup.
    fn keep_intercepted(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut backups = self.writable_backups();
        backups.backups.limits.kept_count /= 2;
        backups.backups.limits.kept_bytes /= 2;
        let kept = match backups.put(BackupKind::Kept, bytes) {
            Err(StoreError::BackupsFull { .. }) if self.parse_app_config(bytes).is_some() => {
                backups.put(BackupKind::Good, bytes)
            }
            Err(StoreError::BackupsFull { .. }) => self.writable_backups().put(BackupKind::Kept, bytes),
            other => other,
        };
        kept.map(drop)
    }

    /// Removes the leftovers of killed runs beside the config, among the backups and in the daemon
    /// home. A leftover that may be the only copy of its content becomes a backup first; the one that
    /// is the source of the `repair` becomes the newest good backup.
    pub(crate) fn clear_leftovers(
        &self,
        repair: Option<&Plan>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Step> {
        let source = repair.and_then(Plan::source);
        let planned = repair.map(|repair| &repair.loaded.document);
        let paths = &self.paths;
        let mut dirs = vec![paths.app_home.clone(), paths.backups.clone(), paths.daemon_home.clone()];
        dirs.extend(paths.config.parent().map(Path::to_owned));
        dirs.extend(
            self.dir.admit_target(&paths.config).ok().and_then(|real| real.parent().map(Path::to_owned)),
        );
        dirs.sort();
        dirs.dedup();
        let mut steps = Vec::new();
        for dir in dirs {
            let mut found = stale_temps(&*self.dir, &dir).unwrap_or_default();
            found.retain(|leftover| !crate::read::is_daemon_state(&*self.dir, &leftover.path));
            // A killed run may not have synced its new names. These names must be durable before
            // the leftover is removed, and the removal must be durable before a run reports that
            // all is done.
            let sync = |diagnostics: &mut Vec<Diagnostic>| {
                let synced = self.dir.sync_dir(&dir);
                synced.map_err(|error| diagnostics.push(leftover_diagnostic(&dir, &error))).is_ok()
            };
            if found.is_empty() || !sync(diagnostics) {
                continue;
            }
            let before = steps.len();
            for leftover in found {
                let is_source = leftover.path.file_name().and_then(OsStr::to_str) == source;
                let kept = match leftover.may_be_only_copy {
                    true => self.keep_displaced(&leftover.path, is_source, diagnostics),
                    false => self.keep_unfinished(&leftover.path, is_source, planned, diagnostics),
                };
                if let Err(error) = kept {
                    diagnostics.push(Diagnostic {
                        code: error.code(),
                        severity: Severity::Warning,
                        message: format!("what a killed run left stays where it is: {error}"),
                        path: shown(&leftover.path),
                        hint: error.hint(),
                        place: None,
                    });
                    continue;
                }
                match self.dir.unlink(&leftover.path) {
                    Ok(()) => steps.push(Step::ClearLeftover { path: leftover.path }),
                    Err(error) => diagnostics.push(leftover_diagnostic(&leftover.path, &error)),
                }
            }
            if steps.len() > before {
                sync(diagnostics);
            }
        }
        steps
    }

    /// Ensures that the content of a displaced file is also elsewhere. Makes no backup of the bytes
    /// that a killed run was about to put in place, unless they are the source of a repair: they
    /// never were a config, and a loop of such runs, each with other generated ids, would pile up
    /// backups.
    fn keep_displaced(
        &self,
        path: &Path,
        is_source: bool,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), StoreError> {
        debug_assert!(path.to_string_lossy().ends_with(SWAP_SUFFIX), "only these may be only copies");
        let bytes = self.read_leftover(path)?;
        if !is_source && (is_ours(path, &bytes) || self.is_the_config(&bytes)) {
            return Ok(());
        }
        let kept = self.keep_as(&bytes, is_source)?;
        diagnostics.extend(kept.map(|id| {
            let message = format!("a killed run had taken a config out of its place; it is the backup {id}");
            self.diagnostic("store.displaced-kept", Severity::Warning, message)
        }));
        Ok(())
    }

    /// Ensures that the content of a file that a killed run did not put in its place is also
    /// elsewhere, if it is worth it: a config with settings of the user's; the daemon's config if
    /// the daemon has none; or, without any sound config, the complete part of one.
    fn keep_unfinished(
        &self,
        path: &Path,
        is_source: bool,
        planned: Option<&Document>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), StoreError> {
        let bytes = self.read_leftover(path)?;
        if !is_source && self.is_the_config(&bytes) {
            return Ok(());
        }
        let has_settings = |document: &Document| self.schema.own_settings(document).count() > 0;
        let is_worth_it = |document: &Document| has_settings(document) && !self.is_covered(document, planned);
        let kept = match self.shape_of(&bytes) {
            _ if is_source => self.keep_as(&bytes, true)?,
            FileShape::App | FileShape::Mixed
                if Document::parse(&bytes).is_ok_and(|parsed| is_worth_it(&parsed.document)) =>
            {
                self.keep_as(&bytes, false)?
            }
            FileShape::Daemon | FileShape::Mixed
                if path.parent() == Some(&*self.paths.daemon_home)
                    && self.disk.stat(&self.paths.daemon_config).is_err()
                    && !self.is_overwritten() =>
            {
                self.keep(&bytes, &[BackupKind::DaemonPart, BackupKind::Kept], BackupKind::DaemonPart)?
            }
            FileShape::Corrupt
                if !self.has_sound_config()
                    && self.recover_config(&bytes).is_some_and(|found| has_settings(&found.document)) =>
            {
                self.keep_as(&bytes, false)?
            }
            _ => None,
        };
        diagnostics.extend(kept.map(|id| {
            let message = format!("a killed run had left a config in {}; it is the backup {id}", shown(path));
            self.diagnostic("store.displaced-kept", Severity::Warning, message)
        }));
        Ok(())
    }

    fn read_leftover(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let failed = |source| StoreError::Disk { doing: "keep", path: path.into(), source };
        self.disk.read(path, self.limits.config_bytes).map_err(failed)
    }

    fn is_the_config(&self, bytes: &[u8]) -> bool {
        self.disk.content_eq(&self.paths.config, bytes).unwrap_or(false)
    }

    /// Returns the bytes of the config as it is now; none if it cannot be read.
    fn live_bytes(&self) -> Vec<u8> {
        self.disk.read(&self.paths.config, self.limits.config_bytes).unwrap_or_default()
    }

    /// Returns whether the planned config, the config, its complete part, or the newest good backup
    /// has the settings of a file that a killed run did not put in its place. Such a file is most
    /// often a repair of this config with other generated ids, and a loop of killed runs would pile
    /// up backups.
    fn is_covered(&self, unfinished: &Document, planned: Option<&Document>) -> bool {
        let unfinished = self.schema.own_settings(unfinished);
        let has_all =
            |document: &Document| self.schema.own_settings(document).loss_since(&unfinished).is_none();
        if planned.is_some_and(has_all) {
            return true;
        }
        let live = self.live_bytes();
        let live = self.parse_app_config(&live).or_else(|| Some(self.recover_config(&live)?.document));
        let (backup, _) = self.readable_source(&self.backups().list(), &mut Vec::new());
        live.as_ref().is_some_and(has_all) || backup.is_some_and(|backup| has_all(&backup.document))
    }

    /// Returns whether the app's config still holds the daemon's half, which the repair publishes.
    fn is_overwritten(&self) -> bool {
        matches!(self.shape_of(&self.live_bytes()), FileShape::Daemon | FileShape::Mixed)
    }

    /// Returns whether the config, or a backup, is of the app's shape.
    fn has_sound_config(&self) -> bool {
        self.parse_app_config(&self.live_bytes()).is_some()
            || self.backups().list().map_or(true, |listing| listing.newest_good().is_some())
    }

    /// Makes a backup of a leftover, unless there is one of its content. The `source` of a repair
    /// becomes the newest good backup in any case, so that the next run restores it if this one is
    /// killed.
    fn keep_as(&self, bytes: &[u8], is_source: bool) -> Result<Option<BackupId>, StoreError> {
        match is_source {
            true => self.writable_backups().put(BackupKind::Good, bytes).map(Some),
            false => self.keep(bytes, &[BackupKind::Good, BackupKind::Kept], BackupKind::Kept),
        }
    }

    /// Makes a backup of the bytes as `kind`, unless an existing backup of one of `kinds` holds
    /// them and the next backups do not displace it. Returns `None` in that case.
    pub(crate) fn keep(
        &self,
        bytes: &[u8],
        kinds: &[BackupKind],
        kind: BackupKind,
    ) -> Result<Option<BackupId>, StoreError> {
        let backups = self.writable_backups();
        let listing = backups.list().map_err(|e| backups.failed(e))?;
        if backups.find(&listing, bytes, kinds)?.is_some() {
            return Ok(None);
        }
        backups.put(kind, bytes).map(Some)
    }

    /// Ensures that the bytes of a config that a newer edit is about to replace are among the
    /// backups.
    pub(crate) fn keep_routinely(&self, bytes: &[u8], is_healthy: bool) -> Result<(), StoreError> {
        let kind = if is_healthy { BackupKind::Good } else { BackupKind::Kept };
        self.keep(bytes, &[BackupKind::Good, BackupKind::Kept], kind).map(drop)
    }
}

fn leftover_diagnostic(path: &Path, error: &DiskError) -> Diagnostic {
    Diagnostic {
        code: "store.leftover",
        severity: Severity::Warning,
        message: format!("what a killed run left could not be removed: {error}: {}", error.io()),
        path: shown(path),
        hint: error.hint(),
        place: None,
    }
}
