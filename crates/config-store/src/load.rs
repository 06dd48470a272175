//! The operations without the lock: they read, and change nothing but the missing home.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use myownllm_config_model::app_config::OwnSettings;
use myownllm_config_model::{Document, Ids};
use myownllm_durable_fs::{DiskError, LockError, Timestamp};
use myownllm_paths::LayoutPaths;
use myownllm_salvage::{AppSchema, Rebased};

use crate::backup_id::content_hash;
use crate::store::{Locked, Reader};
use crate::traits::{ConfigStore, LockedStore};
use crate::wipe::{WIPED, recommend};
use crate::{BackupId, BackupKind, FileShape, HistoryEntry, Loaded, Misplaced, Pending, Store, StoreError};

impl ConfigStore for Store<'_> {
    fn load(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError> {
        let _span = tracing::debug_span!("load").entered();
        let loaded = self.plan(ids)?.loaded;
        tracing::debug!(shape = ?loaded.shape, pending = loaded.pending.steps.len(), "loaded the config");
        Ok(loaded)
    }

    fn fallback(&self, ids: &mut dyn Ids) -> Loaded {
        let mut plan = self.plan_without_backups(ids).unwrap_or_else(|| {
            let mut diagnostics = Vec::new();
            let (source, _) = self.readable_source(&self.list_backups(), &mut diagnostics);
            self.complete_source(source, FileShape::Unknown, diagnostics, ids)
        });
        // What could not be read, the file or a backup, may hold the settings: none is known to be
        // lost.
        plan.loaded.report.reset_keys.clear();
        plan.loaded.diagnostics.retain(|found| found.code != WIPED);
        Loaded { pending: Pending::default(), ..plan.loaded }
    }

    fn check_backups(&self) -> Result<(), StoreError> {
        let listing = self.check_backup_dir()?;
        self.lack_of_room(&listing, &[(BackupKind::Kept, b"")])
            .map_or(Ok(()), |full| Err(self.backups_full(full)))
    }

    fn check_apply(&self, loaded: &Loaded) -> Result<(), StoreError> {
        if loaded.pending.writes_config() {
            self.check_replacing(&loaded.document.to_bytes(), true)?;
        }
        self.check_backup_dir()?;
        loaded.full.map_or(Ok(()), |full| Err(self.backups_full(full)))
    }

    fn schema(&self) -> Option<&dyn AppSchema> {
        self.keeps_config.then_some(self.schema)
    }

    fn ensure_home(&self) -> Result<(), StoreError> {
        let LayoutPaths { user_home, app_home, .. } = &*self.paths;
        if self.check_trust()?.exists {
            return Ok(());
        }
        let owner = match self.disk.stat_follow(user_home.as_ref()) {
            Ok(meta) => meta.owner,
            Err(error) if error.is_not_found() => return Err(StoreError::NoHome { path: user_home.clone() }),
            Err(error) => return Err(StoreError::disk("look at the user's home", user_home)(error)),
        };
        self.disk
            .make_home_dir(user_home.as_ref(), app_home.as_ref(), owner)
            .map_err(StoreError::disk("make the app's home", app_home))
    }

    fn stale_paths(&self, app: &Document, arrives: &dyn Fn(&Path) -> bool) -> Vec<Rebased> {
        let arrives = |_: &str, new: &str| arrives(Path::new(new));
        let mut found = self.read_stale_paths(&arrives).map_or_else(Vec::new, |(_, _, found)| found);
        if self.schema.has_paths(app) {
            let of_app = self.rebase_where(&mut app.clone(), None, &arrives);
            found.extend(of_app.into_iter().filter(|path| path.rebased));
        }
        found
    }

    fn lock(&self, wait: Duration) -> Result<Box<dyn LockedStore + '_>, LockError> {
        let _span = tracing::debug_span!("lock").entered();
        let dir = Arc::new(self.disk.lock(self.paths.app_home.as_ref(), wait)?);
        Ok(Box::new(Locked { store: Self { disk: Reader::Locked(dir.clone()), ..self.clone() }, dir }))
    }

    fn misplaced(&self) -> Option<Misplaced> {
        self.judge_daemon_config().map(|judged| judged.misplaced)
    }

    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        let listing = self.list_backups().map_err(|error| self.listing_failed(error))?;
        let live = self.live_bytes().map(|bytes| content_hash(&bytes));
        let (mut entries, mut measured) = (Vec::new(), Vec::new());
        for id in listing.backups.into_iter().rev() {
            let path = self.backup_path(&id);
            let meta = match self.disk.stat(path.as_ref()) {
                Ok(meta) => meta,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(self.listing_failed(error)),
            };
            let read = self.backup_bytes(&id);
            let readable = read.is_ok();
            let bytes = read.ok().flatten();
            let intact = bytes.as_ref().is_some_and(|bytes| content_hash(bytes) == id.hash);
            let unread = if readable { FileShape::Corrupt } else { FileShape::Unknown };
            let shape = bytes.as_ref().map_or(unread, |bytes| self.shape_of(bytes));
            let corrupt = bytes.as_ref().filter(|_| shape == FileShape::Corrupt);
            let found = corrupt.and_then(|bytes| self.recover_config(bytes));
            let found = found.filter(|found| self.is_restorable(found));
            let own = match &found {
                Some(found) => Some(self.schema.own_settings(&found.document)),
                None => bytes.as_ref().and_then(|bytes| self.own_settings_of(&id, bytes)),
            };
            entries.push(HistoryEntry {
                made_ms: milliseconds(meta.modified),
                readable,
                shape,
                intact,
                recoverable: found.is_some(),
                current: intact && live.as_ref() == Some(&id.hash),
                settings: own.as_ref().map(OwnSettings::count),
                ..HistoryEntry::new(id, meta.len, path)
            });
            measured.push(own);
        }
        recommend(&mut entries, &measured);
        Ok(entries)
    }

    fn find_backup(&self, name: &str) -> Result<BackupId, StoreError> {
        let listing = self.list_backups().map_err(|error| self.listing_failed(error))?;
        let wanted = name.strip_suffix(".json").unwrap_or(name);
        let number = wanted.parse::<u64>().ok().filter(|_| wanted.len() <= 12);
        // The content of a removed backup may have come back as a newer backup.
        let removed = wanted.parse::<BackupId>().ok();
        let rules: [&dyn Fn(&BackupId) -> bool; 4] = [
            &|id| id.to_string() == wanted,
            &|id| number == Some(id.sequence),
            &|id| wanted.len() >= 4 && id.hash.starts_with(wanted),
            &|id| removed.as_ref().is_some_and(|removed| removed.hash == id.hash),
        ];
        for rule in rules {
            let mut found = listing.backups.iter().filter(|id| rule(id));
            if let Some(id) = found.next() {
                // Several backups of one content count as one: the newest.
                let is_one = found.clone().all(|other| other.hash == id.hash);
                return match is_one {
                    true => Ok(found.last().unwrap_or(id).clone()),
                    false => Err(self.no_such_backup(name, true)),
                };
            }
        }
        Err(self.no_such_backup(name, false))
    }

    fn read_backup(&self, id: &BackupId) -> Result<Vec<u8>, StoreError> {
        self.read_backup_if(id, &|_| false)
    }
}

impl Store<'_> {
    /// Returns the bytes of a backup. Those of one that another program changed have to be
    /// `acceptable`.
    pub(crate) fn read_backup_if(
        &self,
        id: &BackupId,
        acceptable: &dyn Fn(&[u8]) -> bool,
    ) -> Result<Vec<u8>, StoreError> {
        let path = self.backup_path(id);
        match self.backup_bytes(id) {
            Ok(Some(bytes)) if content_hash(&bytes) == id.hash || acceptable(&bytes) => Ok(bytes),
            Ok(_) => Err(StoreError::BadBackup { path, why: "its bytes are not those that its name says" }),
            Err(error) if error.is_not_found() => Err(self.no_such_backup(&id.to_string(), false)),
            Err(error) => Err(StoreError::disk("read the backup", &path)(error)),
        }
    }

    fn no_such_backup(&self, name: &str, several: bool) -> StoreError {
        let (path, program) = (self.paths.backups.clone(), self.paths.program.clone());
        StoreError::NoSuchBackup { path, id: name.to_owned(), several, program }
    }

    fn listing_failed(&self, source: DiskError) -> StoreError {
        StoreError::at_backups("list the backups in", &self.paths.backups, source)
    }
}

fn milliseconds(time: Timestamp) -> u64 {
    u64::try_from(time.seconds).unwrap_or(0).saturating_mul(1000) + u64::from(time.nanoseconds / 1_000_000)
}
