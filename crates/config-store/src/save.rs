//! Puts bytes in the config's place without losing the bytes that another program puts there
//! meanwhile.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{
    DiskError, Displaced, Permissions, ReplaceMethod, Replaced, SWAP_SUFFIX, put_in_place, rename_back,
    rename_or_link, replace, swap_name, temp_name,
};

use crate::store::{Locked, PRIVATE};
use crate::{BackupKind, Limits, StoreError};

/// The most restarts of a whole operation because another program wrote meanwhile.
pub(crate) const MAX_ATTEMPTS: u32 = 32;
/// The most exchanges that return a displaced file, if each exchange displaces a newer one. An
/// exchange takes some microseconds, so a program that writes faster for that long does not stop.
/// The number also limits the backups that one save makes of the files that it displaced.
const MAX_EXCHANGES: u32 = 8;

const SAVE: &str = "save the config";

/// The parts of a completed save that may deserve a warning.
#[derive(Clone, Copy)]
pub(crate) struct SaveOutcome {
    /// Set if the platform cannot exchange two names. Then the save may have overwritten another
    /// program's write of the last moment unseen.
    pub(crate) unseen_possible: bool,
    /// The permissions that the new file kept from the previous one.
    pub(crate) permissions: Permissions,
}

impl SaveOutcome {
    fn of(method: ReplaceMethod, permissions: Permissions) -> Self {
        Self { unseen_possible: method == ReplaceMethod::CheckedRename, permissions }
    }
}

pub(crate) enum Saved {
    /// The bytes are in place, and on the disk.
    Done(SaveOutcome),
    /// Another program wrote, and its bytes are in place. The caller must read again.
    Conflict,
}

/// The bytes of a displaced file, and a temporary file with the same bytes that was written before
/// the displaced file went back.
struct Intercepted {
    bytes: Vec<u8>,
    journal: Option<PathBuf>,
}

impl Locked<'_> {
    /// Makes one attempt at a compare-and-swap of the config from `previous` (`None` for a missing
    /// config) to `bytes`.
    pub(crate) fn save(&self, previous: Option<&[u8]>, bytes: &[u8]) -> Result<Saved, StoreError> {
        let path = &self.paths.app_config;
        let Some(previous) = previous else {
            // A run that was killed right after it made the app's home has not synced the name.
            self.dir
                .sync_own_name()
                .map_err(StoreError::disk("flush the user's home", &self.paths.user_home))?;
            return match self.publish(path, bytes, PRIVATE) {
                Ok(()) => {
                    Ok(Saved::Done(SaveOutcome { unseen_possible: false, permissions: Permissions::Kept }))
                }
                Err(error) if error.is_already_exists() => Ok(Saved::Conflict),
                Err(error) => Err(self.saving_failed(error)),
            };
        };
        let limit = self.limits.config_bytes;
        match replace(&self.dir, path.as_ref(), bytes, previous, limit) {
            Ok(Replaced::Expected { method, displaced, permissions }) => {
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
                Ok(Saved::Done(SaveOutcome::of(method, permissions)))
            }
            Ok(Replaced::Conflict { theirs: displaced, .. }) => {
                self.restore_displaced(bytes, displaced)?;
                Ok(Saved::Conflict)
            }
            Ok(_) => Ok(Saved::Conflict),
            // Another program removed the file meanwhile.
            Err(error) if error.is_not_found() => Ok(Saved::Conflict),
            Err(error) => Err(self.saving_failed(error)),
        }
    }

    /// Puts `bytes` in the place of a config that is larger than the limit. The large file is set
    /// aside as it is, and is never read: it goes to the backup directory, or stays beside the
    /// config if the backup directory is on another file system. Returns the path of the large file
    /// and the outcome of the save; `None` if another program replaced the config meanwhile.
    pub(crate) fn replace_too_large(
        &self,
        bytes: &[u8],
    ) -> Result<Option<(PathBuf, SaveOutcome)>, StoreError> {
        self.ensure_backup_dir()?;
        let replace = || {
            let place = self.dir.admit_target(self.paths.app_config.as_ref())?;
            let dir = place.parent().unwrap_or(&place);
            self.disk.ensure_entries_removable(dir)?;
            // Under this name no run clears the file away without a backup, and no backup is made of so
            // large a file.
            let swap = swap_name(dir, bytes);
            self.dir.create(&swap, bytes, PRIVATE)?;
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
        let outcome = SaveOutcome::of(method, Permissions::Kept);
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
            match rename_or_link(&self.dir, &swap, aside.as_ref()) {
                Ok(()) => {
                    self.sync_backup_dirs()?;
                    return Ok(Some((aside.into(), outcome)));
                }
                Err(error) if error.is_already_exists() => {}
                Err(_) => break,
            }
        }
        Ok(Some((swap, outcome)))
    }

    fn saving_failed(&self, source: DiskError) -> StoreError {
        let path = &self.paths.app_config;
        match source.kind() {
            ErrorKind::ResourceBusy => StoreError::Mounted { path: path.clone(), source },
            _ => StoreError::disk(SAVE, path)(source),
        }
    }

    /// Returns another program's file to the place that it was taken from: the same file, with its
    /// mode and owner. `ours` is the current content of the place. If the exchange displaces a
    /// newer file, the newer file is returned instead.
    ///
    /// Every displaced file ends among the backups, also one that was returned. Until the return,
    /// other programs read our file instead, and may overwrite the returned file with an edit of
    /// our file.
    pub(crate) fn restore_displaced(&self, ours: &[u8], displaced: Displaced) -> Result<(), StoreError> {
        let Displaced { path: aside, place, bytes } = displaced;
        let failed = StoreError::disk(SAVE, &place);
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
        let settled = settled.map_err(&failed)?;
        synced.map_err(&failed)?;
        kept?;
        if let Err(error) = self.dir.unlink(&aside) {
            tracing::debug!(path = %aside.display(), %error, "a displaced file was not removed");
        }
        // Another attempt after so many exchanges would pile up backups.
        if settled { Ok(()) } else { Err(StoreError::conflict(&place)) }
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

    /// Writes the bytes that are about to be returned to a temporary file, which the next run turns
    /// into a backup if this run is killed before it does. Another program that has read our file
    /// may have overwritten the returned one by then. Not synced: after a power cut no such program
    /// is left. Best effort: without the temporary file, the displaced file is returned too.
    fn journal_bytes(&self, place: &Path, bytes: &[u8]) -> Option<PathBuf> {
        let journal = temp_name(place.parent()?, SWAP_SUFFIX);
        self.dir.create(&journal, bytes, PRIVATE).ok().map(|()| journal)
    }

    /// Makes a backup of a displaced file. The backup is one of those that are never removed while
    /// these have room to spare: a program that writes all the time must not use up the room that a
    /// repair needs. After that, a config of the app's becomes a routine backup.
    fn keep_intercepted(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let Limits { kept_count, kept_bytes, .. } = self.limits;
        let spare = Limits { kept_count: kept_count / 2, kept_bytes: kept_bytes / 2, ..self.limits };
        let kept = match self.put_within(&spare, BackupKind::Kept, bytes) {
            Err(StoreError::BackupsFull { .. }) => {
                let is_the_apps = self.parse_app_config(bytes).is_some();
                self.put(if is_the_apps { BackupKind::Good } else { BackupKind::Kept }, bytes)
            }
            kept => kept,
        };
        kept.map(drop)
    }
}
