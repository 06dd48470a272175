//! The backup directory: the names of the backups, and the operations on them.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fmt;
use std::io::ErrorKind;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use data_encoding::HEXLOWER;
use myownllm_config_model::Document;
use myownllm_config_model::app_config::OwnSettings;
use myownllm_durable_fs::{
    Disk, DiskError, FileKind, LockedDir, Metadata, Owner, make_private_dir, publish_new,
};
use myownllm_salvage::AppSchema;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::StoreError;

/// Says why a backup was made; part of the backup's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackupKind {
    /// A config that a launch or a save of this crate found healthy. Bounded: the oldest are
    /// removed first, the newest never.
    Good,
    /// A config that was set aside: before a repair, before it was completed, or because it was
    /// corrupt. This crate never removes it.
    Kept,
    /// A daemon's half that could not become the daemon's config because the daemon had one. This
    /// crate never removes it.
    #[serde(rename = "daemon")]
    DaemonPart,
}

impl BackupKind {
    const ALL: [Self; 3] = [Self::Good, Self::Kept, Self::DaemonPart];

    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Kept => "kept",
            Self::DaemonPart => "daemon",
        }
    }
}

/// The name of a backup without its extension: `good-00000012-3fa9…`.
///
/// The sequence number orders the backups, because the clock may go backwards. The hash of the
/// content finds an existing backup of the same bytes without a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BackupId {
    pub(crate) kind: BackupKind,
    pub(crate) sequence: u64,
    pub(crate) hash: String,
}

/// Up to this size, hashing the bytes costs no more than opening a file.
const CHEAP_TO_HASH: usize = 32 << 10;

/// The mode of a backup.
const SYNCED: u32 = 0o600;
/// The mode of a routine backup until its name is synced. A launch syncs nothing if it finds the
/// routine backup that it needs. So a run that is killed before it syncs the name must leave a
/// trace; a mode is a trace that leaves no extra file behind.
const UNSYNCED: u32 = 0o400;

/// Digits of a hash in a name: 128 bits of SHA-256, enough to rule out a collision by chance.
const HASH_DIGITS: usize = 32;
/// The most digits of a sequence number. A name with more digits is not a backup: a planted huge
/// number must not use up the sequence.
const SEQUENCE_DIGITS: usize = 12;
/// A larger gap between two consecutive numbers cannot come from saving: the backup after the gap,
/// and all behind it, were put there by another program.
const MAX_SEQUENCE_GAP: u64 = 1_000_000_000;
/// The first number that no name can have.
const END_OF_SEQUENCE: u64 = 10u64.pow(SEQUENCE_DIGITS as u32);

impl BackupId {
    /// Returns why the backup was made.
    #[must_use]
    pub fn kind(&self) -> BackupKind {
        self.kind
    }

    /// Returns the position of the backup in the order in which the backups were made.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the hash of the content, in hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub(crate) fn file_name(&self) -> String {
        format!("{self}.json")
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08}-{}", self.kind.word(), self.sequence, self.hash)
    }
}

/// The text is not the id of a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the id of a backup: it is not of the form KIND-NUMBER-HASH")]
pub struct InvalidBackupId;

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, InvalidBackupId> {
        let mut parts = text.split('-');
        let (Some(word), Some(number), Some(hash), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidBackupId);
        };
        let kind = BackupKind::ALL.into_iter().find(|k| k.word() == word).ok_or(InvalidBackupId)?;
        let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
        if !(8..=SEQUENCE_DIGITS).contains(&number.len()) || !digits(number) {
            return Err(InvalidBackupId);
        }
        if hash.len() != HASH_DIGITS
            || !hash.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        {
            return Err(InvalidBackupId);
        }
        let sequence = number.parse().map_err(|_| InvalidBackupId)?;
        Ok(Self { kind, sequence, hash: hash.to_owned() })
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Limits the room that backups take, and the size of a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest config that is read, in bytes.
    pub config_bytes: u64,
    /// The most routine backups. At least one is always kept.
    pub good_count: usize,
    /// The most bytes of routine backups. The newest is kept whatever its size.
    pub good_bytes: u64,
    /// The most backups that were set aside. A repair that needs one more is refused.
    pub kept_count: usize,
    /// The most bytes of backups that were set aside.
    pub kept_bytes: u64,
}

impl Default for Limits {
    /// A config has some kilobytes. These limits are far above a lifetime of ordinary use, and far
    /// below the size of a disk.
    fn default() -> Self {
        Self {
            config_bytes: 16 << 20,
            good_count: 20,
            good_bytes: 32 << 20,
            kept_count: 500,
            kept_bytes: 256 << 20,
        }
    }
}

/// Creates a new file with mode 0600. The file belongs to `owner` if the process may give it away
/// (only root may).
pub(crate) fn publish(
    disk: &LockedDir,
    path: &Path,
    bytes: &[u8],
    owner: Option<Owner>,
) -> Result<(), DiskError> {
    publish_with_mode(disk, path, bytes, SYNCED, owner)
}

fn publish_with_mode(
    disk: &LockedDir,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<(), DiskError> {
    match publish_new(disk, path, bytes, mode, owner) {
        // Retries only this refusal: after any other error the file may exist already.
        Err(error) if error.is_about_the_owner() => publish_new(disk, path, bytes, mode, None).map(drop),
        done => done.map(drop),
    }
}

/// Returns the hash of a content, in the form that the names of backups use.
pub(crate) fn hash(bytes: &[u8]) -> String {
    let mut text = HEXLOWER.encode(&Sha256::digest(bytes));
    text.truncate(HASH_DIGITS);
    text
}

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
    /// Returns the newest routine backup.
    pub(crate) fn newest_good(&self) -> Option<&BackupId> {
        self.backups.iter().rfind(|c| c.kind == BackupKind::Good)
    }

    fn next_sequence(&self) -> u64 {
        self.backups.iter().skip(self.beyond_gap).next_back().map_or(1, |c| c.sequence + 1)
    }
}

/// The backup directory.
pub(crate) struct Backups<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: &'a Path,
    pub(crate) app_home: &'a Path,
    pub(crate) config: &'a Path,
    pub(crate) limits: Limits,
    /// Measures the settings of the user's.
    pub(crate) schema: &'a dyn AppSchema,
}

/// The backup directory for writing under the lock. New files belong to `owner`.
pub(crate) struct WritableBackups<'a> {
    pub(crate) backups: Backups<'a>,
    pub(crate) lock: &'a LockedDir,
    pub(crate) owner: Option<Owner>,
}

impl<'a> Deref for WritableBackups<'a> {
    type Target = Backups<'a>;

    fn deref(&self) -> &Backups<'a> {
        &self.backups
    }
}

impl Backups<'_> {
    /// Lists the directory. A missing directory is empty.
    pub(crate) fn list(&self) -> Result<Listing, DiskError> {
        let entries = match self.disk.list(self.dir) {
            Ok(entries) => entries,
            Err(error) if error.is_not_found() => return Ok(Listing::default()),
            Err(error) => return Err(error),
        };
        let mut listing = Listing::default();
        for entry in entries {
            let Some(name) = entry.name.to_str() else { continue };
            if crate::read::is_temporary(&entry) {
                let leftover = self.dir.join(name);
                if !crate::read::is_daemon_state(self.disk, &leftover) {
                    listing.leftovers.push(leftover);
                }
            } else if entry.kind == FileKind::File
                && let Some(id) = name.strip_suffix(".json").and_then(|stem| stem.parse().ok())
            {
                listing.backups.push(id);
            }
        }
        listing.backups.sort_by(|a: &BackupId, b| (a.sequence, &a.hash).cmp(&(b.sequence, &b.hash)));
        let mut before = 0;
        let beyond_gap =
            |id: &BackupId| id.sequence - std::mem::replace(&mut before, id.sequence) > MAX_SEQUENCE_GAP;
        if let Some(near) = listing.backups.iter().position(beyond_gap) {
            listing.beyond_gap = listing.backups.len() - near;
            listing.backups.rotate_left(near);
        }
        Ok(listing)
    }

    /// Returns whether the backup is the only name of its file. Through a hard link (a
    /// deduplication tool may make one) or a symlink from the config, a program that writes into
    /// the other name changes the backup.
    fn has_single_name(&self, id: &BackupId) -> bool {
        self.disk.stat(&self.path(id)).is_ok_and(|meta| self.is_separate(&meta))
    }

    fn is_separate(&self, backup: &Metadata) -> bool {
        backup.links <= 1 && !self.is_the_config(backup)
    }

    fn is_the_config(&self, backup: &Metadata) -> bool {
        self.disk.stat_follow(self.config).is_ok_and(|config| config.is_same_file(backup))
    }

    pub(crate) fn path(&self, id: &BackupId) -> PathBuf {
        self.dir.join(OsStr::new(&id.file_name()))
    }

    /// Returns the bytes of a backup, and whether they match the hash in its name. A file that is
    /// larger than any config does not match and is not read.
    pub(crate) fn read(&self, id: &BackupId) -> Result<(Vec<u8>, bool), DiskError> {
        let bytes = match self.disk.read(&self.path(id), self.limits.config_bytes) {
            Err(error) if error.kind() == ErrorKind::FileTooLarge => return Ok((Vec::new(), false)),
            read => read?,
        };
        let intact = hash(&bytes) == id.hash;
        Ok((bytes, intact))
    }

    /// Returns whether a backup holds these bytes and is known to be durable.
    pub(crate) fn is_of(&self, id: &BackupId, bytes: &[u8]) -> bool {
        // Reading many bytes costs a fraction of hashing them.
        let same = (bytes.len() > CHEAP_TO_HASH && self.holds(id, bytes)) || id.hash == hash(bytes);
        let is_durable = |meta: Metadata| meta.mode != UNSYNCED && self.is_separate(&meta);
        same && self.disk.stat(&self.path(id)).is_ok_and(is_durable)
    }

    fn holds(&self, id: &BackupId, bytes: &[u8]) -> bool {
        self.disk.content_eq(&self.path(id), bytes).unwrap_or(false)
    }

    /// Returns the routine backups that no later one may displace: the one with the most settings
    /// of the user's, the one with the most networks, the last one before a config that had lost
    /// (nearly) all of either, and those that cannot be read. `good` starts with the oldest.
    fn pinned<'l>(&self, good: &[&'l BackupId]) -> Vec<&'l BackupId> {
        let (mut pinned, mut measured) = (Vec::new(), Vec::new());
        for id in good {
            match self.read(id) {
                Ok((bytes, true)) => measured.extend(
                    Document::parse(&bytes).map(|parsed| (*id, self.schema.own_settings(&parsed.document))),
                ),
                Ok(_) => {}
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
        pinned.extend(kept.map(|(id, _)| *id));
        pinned
    }

    fn check_room(&self, listing: &Listing, more: u64) -> Result<(), StoreError> {
        let kept: Vec<&BackupId> = listing.backups.iter().filter(|c| c.kind != BackupKind::Good).collect();
        let mut bytes = 0;
        for id in &kept {
            match self.disk.stat(&self.path(id)) {
                Ok(meta) => bytes += meta.len,
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        if kept.len() < self.limits.kept_count && bytes + more <= self.limits.kept_bytes {
            return Ok(());
        }
        Err(StoreError::BackupsFull { path: self.dir.into(), count: kept.len(), bytes })
    }

    pub(crate) fn failed(&self, source: DiskError) -> StoreError {
        StoreError::at_backups("keep a backup in", self.dir, source)
    }
}

impl WritableBackups<'_> {
    /// Gives a backup its final mode, without a sync. If a power cut undoes the change, the next
    /// launch syncs the backup again.
    fn mark_synced(&self, id: &BackupId) {
        let path = self.path(id);
        if self.disk.stat(&path).is_ok_and(|meta| meta.mode == UNSYNCED) {
            let _ = self.lock.set_mode(&path, SYNCED);
        }
    }

    /// Returns an existing intact backup of these bytes, and syncs it: a killed run may have made
    /// it.
    ///
    /// `kinds` lists the accepted kinds. Of the routine backups only the newest counts. An older
    /// one may be the next to be removed, and "the same as a backup of last month" is not
    /// "unchanged".
    pub(crate) fn find(
        &self,
        listing: &Listing,
        bytes: &[u8],
        kinds: &[BackupKind],
    ) -> Result<Option<BackupId>, StoreError> {
        let wanted = hash(bytes);
        let newest = listing.newest_good();
        let lasts = |id: &BackupId| id.kind != BackupKind::Good || newest == Some(id);
        let of_it = |id: &&BackupId| id.hash == wanted && kinds.contains(&id.kind) && lasts(id);
        for id in listing.backups.iter().rev().filter(of_it) {
            if !self.holds(id, bytes) || !self.has_single_name(id) {
                continue;
            }
            self.lock.sync_file(&self.path(id)).map_err(|e| self.failed(e))?;
            self.sync_dirs()?;
            self.mark_synced(id);
            return Ok(Some(id.clone()));
        }
        Ok(None)
    }

    /// Adds a backup of these bytes, unless an intact one of that kind holds them already. On
    /// return the backup is on the disk.
    pub(crate) fn put(&self, kind: BackupKind, bytes: &[u8]) -> Result<BackupId, StoreError> {
        let mut listing = self.list().map_err(|e| self.failed(e))?;
        if let Some(id) = self.find(&listing, bytes, &[kind])? {
            return Ok(id);
        }
        if kind != BackupKind::Good {
            self.check_room(&listing, bytes.len() as u64)?;
        }
        let full = StoreError::BackupsFull { path: self.dir.into(), count: listing.backups.len(), bytes: 0 };
        self.ensure_dir()?;
        let mut sequence = listing.next_sequence();
        let id = loop {
            if sequence >= END_OF_SEQUENCE {
                return Err(full);
            }
            let id = BackupId { kind, sequence, hash: hash(bytes) };
            let mode = if kind == BackupKind::Good { UNSYNCED } else { SYNCED };
            match publish_with_mode(self.lock, &self.path(&id), bytes, mode, self.owner) {
                Ok(_) => break id,
                // An entry that is not a backup (a directory, for example) has the name.
                Err(error) if error.is_already_exists() && sequence < listing.next_sequence() + 16 => {
                    sequence += 1
                }
                Err(error) => return Err(self.failed(error)),
            }
        };
        if kind == BackupKind::Good {
            self.mark_synced(&id);
            listing.backups.push(id.clone());
            self.evict(&listing);
        }
        Ok(id)
    }

    /// Removes routine backups over the limits: first those whose content a newer backup holds, the
    /// oldest first, then the oldest. Never removes the newest, which was just made, or a backup
    /// that [`pinned`](Self::pinned) names. A backup that cannot be removed stays, and the next run
    /// tries again.
    fn evict(&self, listing: &Listing) {
        let good = listing.backups.iter().filter(|c| c.kind == BackupKind::Good);
        let mut seen = HashSet::new();
        let (mut distinct, again): (Vec<&BackupId>, Vec<&BackupId>) =
            good.rev().partition(|id| seen.insert(&id.hash));
        let (mut count, mut bytes) = (0, 0);
        // After the first backup that does not fit, no smaller, older one may survive.
        let fits = |id: &&&BackupId| {
            count += 1;
            bytes += self.disk.stat(&self.path(id)).map_or(0, |m| m.len);
            count <= self.limits.good_count.max(1) && (count == 1 || bytes <= self.limits.good_bytes)
        };
        let fitting = distinct.iter().chain(&again).take_while(fits).count();
        let over: Vec<&BackupId> = distinct.iter().chain(&again).skip(fitting).copied().collect();
        if over.is_empty() {
            return;
        }
        distinct.reverse();
        let pinned = self.pinned(&distinct);
        for id in over.into_iter().filter(|id| !pinned.contains(id)) {
            let path = self.path(id);
            let in_use = || self.disk.stat(&path).is_ok_and(|backup| self.is_the_config(&backup));
            // Keeps the file that the config leads to.
            if !in_use()
                && let Err(error) = self.lock.unlink(&path)
            {
                tracing::debug!(path = %path.display(), %error, "an old backup was not removed");
            }
        }
    }

    /// Makes the directory, with mode 0700, and syncs its name in any case: a killed run may have
    /// made the directory.
    pub(crate) fn ensure_dir(&self) -> Result<(), StoreError> {
        make_private_dir(self.lock, self.app_home, self.dir, self.owner).map_err(|e| self.failed(e))
    }

    pub(crate) fn sync_dirs(&self) -> Result<(), StoreError> {
        self.lock.sync_dir(self.dir).map_err(|e| self.failed(e))?;
        self.lock.sync_dir(self.app_home).map_err(|e| self.failed(e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_kind_order_and_content() {
        let id = BackupId { kind: BackupKind::Kept, sequence: 12, hash: hash(b"x") };
        assert_eq!(id.to_string(), "kept-00000012-2d711642b726b04401627ca9fbac32f5");
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_names_are_not_ours() {
        let hash = hash(b"x");
        for name in [
            String::new(),
            "good".into(),
            format!("good-1-{hash}"),
            format!("good-99999999999999999999-{hash}"),
            format!("good-+0000001-{hash}"),
            format!("bad-00000001-{hash}"),
            format!("good-00000001-{}", hash.to_uppercase()),
            format!("good-00000001-{hash}0"),
            format!("good-00000001-{hash}-x"),
        ] {
            assert!(name.parse::<BackupId>().is_err(), "{name}");
        }
    }
}
