//! The operations on the backup directory.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use myownllm_config_model::Document;
use myownllm_config_model::app_config::OwnSettings;
use myownllm_durable_fs::{DiskError, FileKind, Metadata, Op, Owner, Untrusted, make_private_dir};
use myownllm_paths::camino::Utf8PathBuf;

use crate::backup_id::{END_OF_SEQUENCE, content_hash};
use crate::store::{Locked, PRIVATE};
use crate::{BackupId, BackupKind, Limits, Store, StoreError};

/// Up to this size, hashing the bytes costs no more than opening a file.
const CHEAP_TO_HASH: usize = 32 << 10;
/// The mode of a routine backup until its name is synced. A launch syncs nothing if it finds the
/// routine backup that it needs. So a run that is killed before it syncs the name must leave a
/// trace; a mode is a trace that leaves no extra file behind.
const UNSYNCED: u32 = 0o400;
/// A larger gap between two consecutive numbers cannot come from saving: the backup after the gap,
/// and all behind it, were put there by another program.
const MAX_SEQUENCE_GAP: u64 = 1_000_000_000;
/// The numbers that a new backup tries if entries that are not backups have its name.
const MAX_TAKEN_NAMES: u64 = 16;

/// The content of the backup directory, by names alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listing {
    /// All backups, the oldest first. Backups behind a gap that saving cannot make count as the
    /// oldest, so that they use up no numbers.
    pub(crate) backups: Vec<BackupId>,
    /// The number of backups behind such a gap.
    beyond_gap: usize,
    /// Temporary files of killed runs.
    pub(crate) leftovers: Vec<PathBuf>,
}

impl Listing {
    pub(crate) fn good_newest_first(&self) -> impl Iterator<Item = &BackupId> {
        self.backups.iter().rev().filter(|id| id.kind == BackupKind::Good)
    }

    pub(crate) fn newest_good(&self) -> Option<&BackupId> {
        self.good_newest_first().next()
    }

    fn next_sequence(&self) -> u64 {
        self.backups.iter().skip(self.beyond_gap).next_back().map_or(1, |id| id.sequence + 1)
    }
}

impl Store<'_> {
    /// Lists the backup directory. A missing directory is empty.
    pub(crate) fn list_backups(&self) -> Result<Listing, DiskError> {
        let dir = self.paths.backups.as_std_path();
        let entries = match self.disk.list(dir) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => return Ok(Listing::default()),
            Err(error) => return Err(error),
        };
        let mut listing = Listing::default();
        let files = entries.iter().filter(|entry| entry.kind == FileKind::File);
        listing.backups.extend(files.filter_map(|entry| BackupId::of_file(entry.name.to_str()?)));
        listing.leftovers = self.temps_among(dir, entries);
        listing.backups.sort_by(|a: &BackupId, b| (a.sequence, &a.hash).cmp(&(b.sequence, &b.hash)));
        let mut before = 0;
        let is_beyond_gap =
            |id: &BackupId| id.sequence - std::mem::replace(&mut before, id.sequence) > MAX_SEQUENCE_GAP;
        if let Some(near) = listing.backups.iter().position(is_beyond_gap) {
            listing.beyond_gap = listing.backups.len() - near;
            listing.backups.rotate_left(near);
        }
        Ok(listing)
    }

    pub(crate) fn backup_path(&self, id: &BackupId) -> Utf8PathBuf {
        self.paths.backups.join(format!("{id}.json"))
    }

    /// Returns the bytes of a backup, changed or not; `None` if the file is larger than any config.
    pub(crate) fn backup_bytes(&self, id: &BackupId) -> Result<Option<Vec<u8>>, DiskError> {
        match self.read(self.backup_path(id)) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => Ok(None),
            read => read.map(Some),
        }
    }

    /// Returns the bytes of a backup; `None` if they do not match the hash in its name.
    pub(crate) fn intact_bytes(&self, id: &BackupId) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.backup_bytes(id)?.filter(|bytes| content_hash(bytes) == id.hash))
    }

    /// Returns true if a backup holds these bytes and is known to be durable.
    pub(crate) fn is_durable_backup_of(&self, id: &BackupId, bytes: &[u8]) -> bool {
        // Reading many bytes costs a fraction of hashing them.
        let is_hashed = bytes.len() <= CHEAP_TO_HASH;
        if is_hashed && id.hash != content_hash(bytes) {
            return false;
        }
        let Ok(meta) = self.disk.stat(self.backup_path(id).as_ref()) else { return false };
        // A damaged backup keeps its name. The final mode was set after the content was written, so
        // the times show a later write, unless a program restores them, and a start need not read
        // the backup.
        let is_untouched = meta.len == bytes.len() as u64 && meta.changed > meta.modified;
        meta.mode != UNSYNCED
            && self.has_single_name(&meta)
            && (is_hashed && is_untouched || self.backup_has(id, bytes))
    }

    fn backup_has(&self, id: &BackupId, bytes: &[u8]) -> bool {
        self.disk.content_eq(self.backup_path(id).as_ref(), bytes).unwrap_or(false)
    }

    /// Returns true if the backup is the only name of its file. Through a hard link (a
    /// deduplication tool may make one) or a symlink from the config, a program that writes into
    /// the other name changes the backup.
    fn has_single_name(&self, backup: &Metadata) -> bool {
        backup.links <= 1 && !self.is_behind_config(backup)
    }

    fn is_behind_config(&self, backup: &Metadata) -> bool {
        self.disk.stat_follow(self.paths.app_config.as_ref()).is_ok_and(|config| config.is_same_file(backup))
    }

    /// Returns the routine backups that no later one may displace: the one with the most settings
    /// of the user's, the one with the most networks, the last one before a config that had lost
    /// (nearly) all of either, the newest that another program changed, and those that cannot be
    /// read. `good` starts with the oldest.
    fn pinned<'l>(&self, good: &[&'l BackupId]) -> Vec<&'l BackupId> {
        let (mut pinned, mut measured, mut changed) = (Vec::new(), Vec::new(), None);
        for id in good {
            match self.backup_bytes(id) {
                Ok(Some(bytes)) if content_hash(&bytes) == id.hash => measured.extend(
                    Document::parse(&bytes).map(|parsed| (*id, self.schema.own_settings(&parsed.document))),
                ),
                Ok(bytes) => {
                    changed = bytes.and_then(|bytes| self.whole_config(&bytes)).map(|_| *id).or(changed)
                }
                Err(error) if error.is_not_found() => {}
                Err(_) => pinned.push(*id),
            }
        }
        let richest = [
            measured.iter().max_by_key(|(_, own)| own.settings_rank()),
            measured.iter().max_by_key(|(_, own)| own.networks_rank()),
        ];
        // A config that has lost its networks is no good state: the next good one has others.
        let last = |is_loss: &dyn Fn(&OwnSettings, &OwnSettings) -> bool| {
            measured.windows(2).rev().find(|pair| is_loss(&pair[1].1, &pair[0].1)).map(|pair| &pair[0])
        };
        let before_loss =
            [last(&|now, before| now.loss_since(before).is_some()), last(&OwnSettings::lacks_networks_of)];
        let kept = richest.into_iter().chain(before_loss).flatten();
        pinned.extend(kept.map(|(id, _)| *id).chain(changed));
        pinned
    }

    /// Returns the number and the size of the backups that are never removed, if there is no room
    /// for these in addition.
    pub(crate) fn lack_of_room(
        &self,
        listing: &Listing,
        more: &[(BackupKind, &[u8])],
    ) -> Option<(usize, u64)> {
        let is_new = |(kind, bytes): &&(BackupKind, &[u8])| {
            let hash = content_hash(bytes);
            !listing.backups.iter().any(|id| id.kind == *kind && id.hash == hash)
        };
        let new: Vec<_> = more.iter().filter(is_new).collect();
        let more: u64 = new.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        let (count, bytes) = self.kept(listing).ok()?;
        let Limits { kept_count, kept_bytes, .. } = self.limits;
        let fits = count + new.len() <= kept_count && bytes + more <= kept_bytes;
        (!fits && !new.is_empty()).then_some((count, bytes))
    }

    /// Returns the number and the size of the backups that are never removed.
    fn kept(&self, listing: &Listing) -> Result<(usize, u64), StoreError> {
        let (mut count, mut bytes) = (0, 0);
        for id in listing.backups.iter().filter(|id| id.kind != BackupKind::Good) {
            count += 1;
            match self.disk.stat(self.backup_path(id).as_ref()) {
                Ok(meta) => bytes += meta.len,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(self.backup_failed(error)),
            }
        }
        Ok((count, bytes))
    }

    /// Returns the content of the backup directory. Fails if no backup could be kept there, as far
    /// as a look shows.
    pub(crate) fn check_backup_dir(&self) -> Result<Listing, StoreError> {
        let (home, dir) = (self.paths.app_home.as_std_path(), self.paths.backups.as_std_path());
        let owner = |path| self.disk.stat_follow(path).ok().and_then(|meta| meta.owner);
        if let (Some(runner), Some(home), Some(Owner { uid: user, .. })) =
            (self.disk.runner(), owner(home), owner(dir))
            && !runner.trusts(user, Some(home.uid))
        {
            let foreign = Untrusted::Foreign { path: dir.to_owned(), user, owner: home.uid };
            return Err(self.backup_failed(DiskError::new(Op::MakeDir, dir, foreign.into())));
        }
        self.list_backups().map_err(|error| self.backup_failed(error))
    }

    /// Returns the error of a backup directory that holds `count` backups of `bytes` bytes that are
    /// never removed.
    pub(crate) fn backups_full(&self, (count, bytes): (usize, u64)) -> StoreError {
        StoreError::BackupsFull { path: self.paths.backups.clone(), count, bytes }
    }

    pub(crate) fn backup_failed(&self, source: DiskError) -> StoreError {
        StoreError::at_backups("keep a backup in", &self.paths.backups, source)
    }
}

impl Locked<'_> {
    /// Adds a backup of these bytes, unless an intact one of that kind holds them already. On
    /// return the backup is on the disk.
    pub(crate) fn put(&self, kind: BackupKind, bytes: &[u8]) -> Result<BackupId, StoreError> {
        self.put_within(&self.limits, kind, bytes)
    }

    pub(crate) fn put_within(
        &self,
        limits: &Limits,
        kind: BackupKind,
        bytes: &[u8],
    ) -> Result<BackupId, StoreError> {
        let mut listing = self.list_backups().map_err(|error| self.backup_failed(error))?;
        if let Some(id) = self.find_durable(&listing, bytes, &[kind])? {
            let dir = self.disk.stat_follow(self.paths.backups.as_ref());
            if dir.is_ok_and(|dir| dir.mode & 0o077 != 0) {
                self.ensure_backup_dir()?;
            }
            return Ok(id);
        }
        if kind != BackupKind::Good {
            let (count, kept) = self.kept(&listing)?;
            if count >= limits.kept_count || kept + bytes.len() as u64 > limits.kept_bytes {
                return Err(self.backups_full((count, kept)));
            }
        }
        self.ensure_backup_dir()?;
        let first = listing.next_sequence();
        let mut sequence = first;
        let id = loop {
            if sequence >= END_OF_SEQUENCE {
                return Err(self.backups_full((listing.backups.len(), 0)));
            }
            let id = BackupId { kind, sequence, hash: content_hash(bytes) };
            let mode = if kind == BackupKind::Good { UNSYNCED } else { PRIVATE };
            match self.publish(&self.backup_path(&id), bytes, mode) {
                Ok(()) => break id,
                Err(error) if error.is_already_exists() && sequence < first + MAX_TAKEN_NAMES => {
                    sequence += 1
                }
                Err(error) => return Err(self.backup_failed(error)),
            }
        };
        if kind == BackupKind::Good {
            self.mark_synced(&id);
            listing.backups.push(id.clone());
            self.evict(&listing);
        }
        Ok(id)
    }

    /// Makes a backup of the bytes as `kind`, unless an existing backup of one of `kinds` holds
    /// them and the next backups do not displace it. Returns `None` in that case.
    pub(crate) fn keep(
        &self,
        bytes: &[u8],
        kinds: &[BackupKind],
        kind: BackupKind,
    ) -> Result<Option<BackupId>, StoreError> {
        let listing = self.list_backups().map_err(|error| self.backup_failed(error))?;
        match self.find_durable(&listing, bytes, kinds)? {
            Some(_) => Ok(None),
            None => self.put(kind, bytes).map(Some),
        }
    }

    /// Returns an existing intact backup of these bytes, and syncs it: a killed run may have made
    /// it.
    ///
    /// `kinds` lists the accepted kinds. Of the routine backups only the newest counts. An older
    /// one may be the next to be removed, and "the same as a backup of last month" is not
    /// "unchanged".
    fn find_durable(
        &self,
        listing: &Listing,
        bytes: &[u8],
        kinds: &[BackupKind],
    ) -> Result<Option<BackupId>, StoreError> {
        let wanted = content_hash(bytes);
        let newest = listing.newest_good();
        let lasts = |id: &BackupId| id.kind != BackupKind::Good || newest == Some(id);
        let is_candidate = |id: &&BackupId| id.hash == wanted && kinds.contains(&id.kind) && lasts(id);
        let is_intact = |id: &&BackupId| {
            self.backup_has(id, bytes)
                && self.disk.stat(self.backup_path(id).as_ref()).is_ok_and(|meta| self.has_single_name(&meta))
        };
        let Some(id) = listing.backups.iter().rev().filter(is_candidate).find(is_intact) else {
            return Ok(None);
        };
        self.dir.sync_file(self.backup_path(id).as_ref()).map_err(|error| self.backup_failed(error))?;
        self.sync_backup_dirs()?;
        self.mark_synced(id);
        Ok(Some(id.clone()))
    }

    /// Gives a backup its final mode, without a sync. If a power cut undoes the change, the next
    /// launch syncs the backup again.
    fn mark_synced(&self, id: &BackupId) {
        let path = self.backup_path(id);
        if self.disk.stat(path.as_ref()).is_ok_and(|meta| meta.mode == UNSYNCED)
            && let Err(error) = self.dir.set_mode(path.as_ref(), PRIVATE)
        {
            tracing::debug!(%path, %error, "a synced backup was not marked");
        }
    }

    /// Removes routine backups over the limits: first those whose content a newer backup holds, the
    /// oldest first, then the oldest. Never removes the newest, which was just made, or a backup
    /// that [`pinned`](Store::pinned) names. A backup that cannot be removed stays, and the next
    /// run tries again.
    fn evict(&self, listing: &Listing) {
        let good = listing.backups.iter().filter(|id| id.kind == BackupKind::Good);
        let mut seen = HashSet::new();
        let (mut distinct, repeated): (Vec<&BackupId>, Vec<&BackupId>) =
            good.rev().partition(|id| seen.insert(&id.hash));
        let (mut count, mut bytes) = (0, 0);
        // After the first backup that does not fit, no smaller, older one may survive.
        let fits = |id: &&BackupId| {
            count += 1;
            bytes += self.disk.stat(self.backup_path(id).as_ref()).map_or(0, |meta| meta.len);
            count <= self.limits.good_count.max(1) && (count == 1 || bytes <= self.limits.good_bytes)
        };
        let over: Vec<&BackupId> = distinct.iter().chain(&repeated).copied().skip_while(fits).collect();
        if over.is_empty() {
            return;
        }
        distinct.reverse();
        let pinned = self.pinned(&distinct);
        for id in over.into_iter().filter(|id| !pinned.contains(id)) {
            let path = self.backup_path(id);
            let in_use = || self.disk.stat(path.as_ref()).is_ok_and(|backup| self.is_behind_config(&backup));
            if !in_use()
                && let Err(error) = self.dir.unlink(path.as_ref())
            {
                tracing::debug!(%path, %error, "an old backup was not removed");
            }
        }
    }

    /// Makes the directory, with mode 0700, and syncs its name in any case: a killed run may have
    /// made the directory.
    pub(crate) fn ensure_backup_dir(&self) -> Result<(), StoreError> {
        make_private_dir(&self.dir, self.paths.app_home.as_ref(), self.paths.backups.as_ref(), self.owner())
            .map_err(|error| self.backup_failed(error))
    }

    pub(crate) fn sync_backup_dirs(&self) -> Result<(), StoreError> {
        let sync = || {
            self.dir.sync_dir(self.paths.backups.as_ref())?;
            self.dir.sync_dir(self.paths.app_home.as_ref())
        };
        sync().map_err(|error| self.backup_failed(error))
    }
}
