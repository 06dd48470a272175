//! Putting bytes in the config's place without losing what somebody else puts there meanwhile.

use std::path::PathBuf;

use myownllm_config_model::{Diagnostic, Severity};
use myownllm_durable_fs::{Displaced, HomeLock, ReplaceMethod, Replaced, SWAP_SUFFIX, leftovers, replace};

use crate::copies::{Copies, CopyKind, publish};
use crate::{CopyId, Step, Store, StoreError};

/// How often a whole operation starts again because somebody else wrote meanwhile.
pub(crate) const TRIES: u32 = 16;
/// How often what came out of the place is exchanged back, when each time something newer comes out.
const RETURNS: u32 = 64;

/// What came of one attempt to save.
pub(crate) enum Saved {
    /// The bytes are in place, on the disk.
    Done {
        /// Set when the platform cannot exchange: then a foreign write in the last moment would have gone unseen.
        unseen_possible: bool,
    },
    /// Somebody else wrote; their bytes are in place. Read again.
    Foreign,
}

impl Store<'_> {
    pub(crate) fn copies(&self) -> Copies<'_> {
        let places = &self.places;
        Copies {
            disk: self.disk,
            folder: &places.backups,
            app_home: &places.app_home,
            owner: None,
            limits: self.limits,
        }
    }

    /// The same, to write with: what is made belongs to the owner of the home.
    pub(crate) fn copies_to_write(&self) -> Copies<'_> {
        Copies { owner: self.owner(), ..self.copies() }
    }

    pub(crate) fn owner(&self) -> Option<myownllm_durable_fs::Owner> {
        self.disk.stat_follow(&self.places.app_home).ok().and_then(|meta| meta.owner)
    }

    /// The lock must be that of this store's home: another one would keep nobody away.
    pub(crate) fn check_lock(&self, lock: &HomeLock) -> Result<(), StoreError> {
        let home = &self.places.app_home;
        let same = lock.home() == home
            || matches!(
                (self.disk.canonicalize(lock.home()), self.disk.canonicalize(home)),
                (Ok(a), Ok(b)) if a == b
            );
        if same {
            return Ok(());
        }
        Err(StoreError::WrongLock { path: self.places.config.clone(), locked: lock.home().to_owned() })
    }

    /// One attempt at a compare-and-swap of the config from `former` (`None`: it is missing) to `bytes`.
    pub(crate) fn save(&self, former: Option<&[u8]>, bytes: &[u8]) -> Result<Saved, StoreError> {
        let path = &self.places.config;
        let failed = |source| StoreError::Disk { doing: "saving the config", path: path.clone(), source };
        let Some(former) = former else {
            return match publish(self.disk, path, bytes, self.owner()) {
                Ok(()) => Ok(Saved::Done { unseen_possible: false }),
                Err(error) if error.is_taken() => Ok(Saved::Foreign),
                Err(error) => Err(failed(error)),
            };
        };
        match replace(self.disk, path, bytes, former) {
            Ok(Replaced::Expected { method, displaced }) => {
                // A writer that had the old file open may have gone on writing it where it lies now.
                if matches!(self.disk.read(&displaced.path, u64::MAX), Ok(now) if now != former) {
                    self.put_back(bytes, displaced)?;
                    return Ok(Saved::Foreign);
                }
                // Its content is among the copies. When it cannot be removed, the next run does it.
                let _ = displaced.discard(self.disk);
                Ok(Saved::Done { unseen_possible: method == ReplaceMethod::CheckedRename })
            }
            Ok(Replaced::Foreign { displaced, .. }) => {
                self.put_back(bytes, displaced)?;
                Ok(Saved::Foreign)
            }
            Ok(_) => Ok(Saved::Foreign),
            // Removed meanwhile.
            Err(error) if error.is_not_found() => Ok(Saved::Foreign),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts somebody else's file back in the place from which we took it: the very file, with its mode and owner. `ours` is
    /// what is in the place now. When something newer comes out in exchange, that goes back instead.
    fn put_back(&self, ours: &[u8], displaced: Displaced) -> Result<(), StoreError> {
        let path = &self.places.config;
        let failed = |source| StoreError::Disk { doing: "saving the config", path: path.clone(), source };
        let real: PathBuf = self.disk.canonicalize(path).map_err(failed)?;
        let aside = displaced.path.clone();
        let mut expected = ours.to_vec();
        let mut theirs = displaced.bytes;
        for _ in 0..RETURNS {
            match self.disk.exchange(&aside, &real) {
                Ok(()) => {}
                // Nothing to exchange with (whoever removed the file has seen ours, not theirs), or no such operation.
                Err(error) if error.is_not_found() || error.may_be_unsupported() => break,
                Err(error) => return Err(failed(error)),
            }
            let out = self.disk.read(&aside, u64::MAX).map_err(failed)?;
            self.disk.sync_dir(real.parent().unwrap_or(&real)).map_err(failed)?;
            if out == expected {
                let _ = self.disk.unlink(&aside);
                return Ok(());
            }
            expected = std::mem::replace(&mut theirs, out);
        }
        // Theirs cannot go back, so it goes where nothing is removed. To try again now would be to pile up copies.
        self.copies_to_write().put(CopyKind::Kept, &theirs)?;
        let _ = self.disk.unlink(&aside);
        Err(StoreError::Conflict { path: path.clone() })
    }

    /// Removes what killed runs left beside the config, among the copies and in the daemon's home. What may hold the only
    /// copy of something is put among the copies first.
    ///
    /// `ours` is what is about to be written: a run that was killed just before the exchange left these very bytes, which
    /// were never anybody's config.
    pub(crate) fn clear_leftovers(&self, ours: &[u8], diagnostics: &mut Vec<Diagnostic>) -> Vec<Step> {
        let places = &self.places;
        let mut folders = vec![places.app_home.clone(), places.backups.clone(), places.daemon_home.clone()];
        folders.extend(places.config.parent().map(PathBuf::from));
        folders.extend(
            self.disk.canonicalize(&places.config).ok().and_then(|real| real.parent().map(PathBuf::from)),
        );
        folders.sort();
        folders.dedup();
        let mut steps = Vec::new();
        for folder in folders {
            let found = leftovers(self.disk, &folder).unwrap_or_default();
            // A run that was killed after the exchange may not have flushed it: what is in place must be there to stay
            // before what came out goes.
            if found.iter().any(|l| l.precious)
                && let Err(error) = self.disk.sync_dir(&folder)
            {
                diagnostics.push(leftover_note(&folder, &error));
                continue;
            }
            for leftover in found {
                if leftover.precious
                    && let Err(error) = self.keep_leftover(&leftover.path, ours, diagnostics)
                {
                    diagnostics.push(Diagnostic {
                        code: error.code(),
                        severity: Severity::Warning,
                        message: format!("what a killed run left stays where it is: {error}"),
                        path: crate::read::shown(&leftover.path),
                        hint: error.hint(),
                        place: None,
                    });
                    continue;
                }
                match self.disk.unlink(&leftover.path) {
                    Ok(()) => steps.push(Step::ClearLeftover { path: leftover.path }),
                    Err(error) => diagnostics.push(leftover_note(&leftover.path, &error)),
                }
            }
        }
        steps
    }

    /// Makes sure that the content of a displaced file is somewhere else too.
    fn keep_leftover(
        &self,
        path: &std::path::Path,
        ours: &[u8],
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<(), StoreError> {
        debug_assert!(path.to_string_lossy().ends_with(SWAP_SUFFIX), "only these are precious");
        let failed = |source| StoreError::Disk { doing: "keeping", path: path.into(), source };
        let bytes = self.disk.read(path, u64::MAX).map_err(failed)?;
        if bytes == ours || self.disk.holds(&self.places.config, &bytes).unwrap_or(false) {
            return Ok(());
        }
        if let Some(id) = self.keep(&bytes, &[CopyKind::Good, CopyKind::Kept], CopyKind::Kept)? {
            diagnostics.push(self.note(
                "store.displaced-kept",
                Severity::Warning,
                format!("a killed run had taken a config out of its place; it is the copy {id}"),
            ));
        }
        Ok(())
    }

    /// Puts bytes among the copies as `kind`, unless one of `kinds` holds them. `None` when one did.
    pub(crate) fn keep(
        &self,
        bytes: &[u8],
        kinds: &[CopyKind],
        kind: CopyKind,
    ) -> Result<Option<CopyId>, StoreError> {
        let copies = self.copies_to_write();
        let listing = copies.list().map_err(|e| copies.failed(e))?;
        if copies.find(&listing, bytes, kinds)?.is_some() {
            return Ok(None);
        }
        copies.put(kind, bytes).map(Some)
    }

    /// Makes sure that the bytes of a healthy config that is about to be replaced by a newer edit are among the copies.
    pub(crate) fn keep_routinely(&self, bytes: &[u8], healthy: bool) -> Result<(), StoreError> {
        let kind = if healthy { CopyKind::Good } else { CopyKind::Kept };
        self.keep(bytes, &[CopyKind::Good, CopyKind::Kept], kind).map(drop)
    }
}

fn leftover_note(path: &std::path::Path, error: &myownllm_durable_fs::DiskError) -> Diagnostic {
    Diagnostic {
        code: "store.leftover",
        severity: Severity::Warning,
        message: format!("what a killed run left could not be removed: {error}: {}", error.io()),
        path: crate::read::shown(path),
        hint: error.hint(),
        place: None,
    }
}
