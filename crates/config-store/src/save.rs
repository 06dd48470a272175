//! Putting bytes in the config's place without losing what somebody else puts there meanwhile.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use myownllm_config_model::{Diagnostic, Document, Severity};
use myownllm_durable_fs::trust::{HomeTrust, OwnershipProblem, OwnershipProblemKind, look_behind};
use myownllm_durable_fs::{
    DiskError, Displaced, Metadata, Permissions, ReplaceMethod, Replaced, SWAP_SUFFIX, is_ours, put_in_place,
    rename_back, rename_or_link, replace, stale_temps, temp_name,
};

use crate::copies::{Copies, CopyKind, WritableCopies, hash, publish};
use crate::locked::Locked;
use crate::{CopyId, Places, Step, Store, StoreError};

/// How often a whole operation starts again because somebody else wrote meanwhile.
pub(crate) const TRIES: u32 = 32;
/// How often what came out of the place is exchanged back, when each time something newer comes out: some microseconds each, so
/// whoever is faster than this for that long does not stop. It is also how many copies one save can make of what it met.
const RETURNS: u32 = 8;

/// What came of one attempt to save.
pub(crate) enum Saved {
    /// The bytes are in place, on the disk.
    Done {
        /// Set when the platform cannot exchange: then a foreign write in the last moment would have gone unseen.
        unseen_possible: bool,
        /// What it has of the rights of what was there.
        rights: Permissions,
    },
    /// Somebody else wrote; their bytes are in place. Read again.
    Foreign,
}

/// What came out of the place, and where it was noted down before it went back.
struct TakenOut {
    bytes: Vec<u8>,
    note: Option<PathBuf>,
}

impl Store<'_> {
    pub(crate) fn copies(&self) -> Copies<'_> {
        let places = &self.places;
        Copies {
            disk: &*self.disk,
            folder: &places.backups,
            app_home: &places.app_home,
            config: &places.config,
            limits: self.limits,
            conversation_dir: &places.conversation_dir,
        }
    }

    pub(crate) fn owner(&self) -> Option<myownllm_durable_fs::Owner> {
        self.disk.stat_follow(&self.places.app_home).ok().and_then(|meta| meta.owner)
    }

    /// Nobody but the home's owner and root must decide where a change of the home goes.
    pub(crate) fn check_trust(&self) -> Result<HomeTrust, StoreError> {
        let home = &self.places.app_home;
        let trust = HomeTrust::look(&*self.disk, home).map_err(|source| StoreError::Disk {
            doing: "looking at the app's home",
            path: home.clone(),
            source,
        })?;
        match trust.forbids_change() {
            Some(problem) => Err(StoreError::Untrusted { problem: problem.clone() }),
            None => Ok(trust),
        }
    }

    /// The app's config must not be the daemon's, nor lie in its home, by a link: each program would write over what is the other's.
    /// Nor must another user decide where a link leads: where root runs, that could be anywhere.
    pub(crate) fn check_apart(&self) -> Result<(), StoreError> {
        let Places { config, daemon_config, daemon_home, .. } = &self.places;
        match look_behind(&*self.disk, config) {
            Ok(None) => {}
            Ok(Some(problem)) => return Err(self.foreign_link(problem)),
            Err(source) => return Err(StoreError::Unreadable { path: config.clone(), source }),
        }
        let shared = |link: &Path| StoreError::Shared { path: config.clone(), link: link.to_owned() };
        if let (Some(config_at), Some(home)) = (self.goal_of(config), self.real(daemon_home))
            && config_at.starts_with(&home)
        {
            return Err(shared(config));
        }
        if self.goal_of(daemon_config).is_some_and(|at| self.real(config) == Some(at)) {
            return Err(shared(daemon_config));
        }
        Ok(())
    }

    fn foreign_link(&self, problem: OwnershipProblem) -> StoreError {
        let path = self.places.config.clone();
        let file = self.disk.stat_follow(&path).ok().and_then(|meta| meta.owner);
        match (&problem.kind, file) {
            (&OwnershipProblemKind::ForeignSymlink { uid: by }, Some(file)) => {
                StoreError::ForeignLink { path, by, of: file.uid }
            }
            _ => StoreError::Untrusted { problem },
        }
    }

    /// What a link leads to; nothing for what is no link, or leads nowhere.
    fn goal_of(&self, path: &Path) -> Option<PathBuf> {
        self.disk.stat(path).ok().filter(Metadata::is_symlink).and_then(|_| self.real(path))
    }

    fn real(&self, path: &Path) -> Option<PathBuf> {
        self.disk.canonicalize(path).ok()
    }

    /// Whether the config may be replaced by `bytes`; asked before anything is done about it.
    ///
    /// # Errors
    /// [`StoreError::ConfigIsACopy`], [`StoreError::Shared`], [`StoreError::ForeignLink`]; [`StoreError::TooMuch`] where nobody could
    /// read `bytes` again.
    pub(crate) fn check_replacing(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_replaceable(bytes)?;
        let too_much = |why| StoreError::TooMuch { path: self.places.config.clone(), why };
        Document::parse(bytes).map(drop).map_err(|error| too_much(error.kind.to_string()))
    }

    /// The same without a look at what would be written, which may be no JSON.
    pub(crate) fn check_replaceable(&self, bytes: &[u8]) -> Result<(), StoreError> {
        self.check_apart()?;
        let limit = self.limits.config_bytes;
        let too_much = |why| StoreError::TooMuch { path: self.places.config.clone(), why };
        if bytes.len() as u64 > limit {
            return Err(too_much(format!("it would have more than {} MiB", limit >> 20)));
        }
        let Places { config, backups, .. } = &self.places;
        if let (Some(copy), Some(folder)) = (self.goal_of(config), self.real(backups))
            && copy.parent() == Some(&*folder)
        {
            return Err(StoreError::ConfigIsACopy { path: config.clone(), copy });
        }
        Ok(())
    }
}

impl Locked<'_> {
    /// The same, to write with: what is made belongs to the owner of the home.
    pub(crate) fn copies_to_write(&self) -> WritableCopies<'_> {
        WritableCopies { copies: self.copies(), dir: &self.dir, owner: self.owner() }
    }

    /// One attempt at a compare-and-swap of the config from `former` (`None`: it is missing) to `bytes`.
    pub(crate) fn save(&self, former: Option<&[u8]>, bytes: &[u8]) -> Result<Saved, StoreError> {
        let path = &self.places.config;
        let failed = |source| self.saving_failed(source);
        let Some(former) = former else {
            // The app's home may have been made by a run that was killed right then.
            self.dir.sync_own_name().map_err(|source| StoreError::Disk {
                doing: "flushing the user's home",
                path: self.places.user_home.clone(),
                source,
            })?;
            return match publish(&self.dir, path, bytes, self.owner()) {
                Ok(()) => Ok(Saved::Done { unseen_possible: false, rights: Permissions::Kept }),
                Err(error) if error.is_already_exists() => Ok(Saved::Foreign),
                Err(error) => Err(failed(error)),
            };
        };
        let limit = self.limits.config_bytes;
        match replace(&self.dir, path, bytes, former, limit) {
            Ok(Replaced::Expected { method, displaced, rights }) => {
                // A writer that had the old file open may have gone on writing it where it lies now.
                match self.disk.read(&displaced.path, limit) {
                    Ok(now) if now != former => {
                        self.put_back(bytes, Displaced { bytes: now, ..displaced })?;
                        return Ok(Saved::Foreign);
                    }
                    // Its content is among the copies. When it cannot be removed, the next run does it.
                    Ok(_) => drop(displaced.discard(&self.dir)),
                    // So does it when that cannot be told.
                    Err(_) => {}
                }
                Ok(Saved::Done { unseen_possible: method == ReplaceMethod::CheckedRename, rights })
            }
            Ok(Replaced::Conflict { theirs: displaced, .. }) => {
                self.put_back(bytes, displaced)?;
                Ok(Saved::Foreign)
            }
            Ok(_) => Ok(Saved::Foreign),
            // Removed meanwhile.
            Err(error) if error.is_not_found() => Ok(Saved::Foreign),
            Err(error) => Err(failed(error)),
        }
    }

    /// Puts `bytes` in the place of a config that is larger than any that is read. That one is set aside as the file that it is, and
    /// is never read: it goes to the folder of copies, or stays beside the config where that is on another file system. Returns its
    /// path, and how it was replaced; `None` when somebody else replaced it meanwhile.
    pub(crate) fn replace_too_large(
        &self,
        bytes: &[u8],
    ) -> Result<Option<(PathBuf, ReplaceMethod)>, StoreError> {
        let copies = self.copies_to_write();
        copies.make_folder()?;
        let replace = || {
            let place = self.dir.admit_target(&self.places.config)?;
            let folder = place.parent().unwrap_or(&place);
            self.disk.ensure_entries_removable(folder)?;
            // Of all names this is one that no run ever clears away without a copy, and so large a file gets none.
            let swap = temp_name(folder, &format!(".{}{SWAP_SUFFIX}", hash(bytes)));
            self.dir.create(&swap, bytes, 0o600)?;
            let exchange = || {
                if let Some(owner) = self.disk.stat(&place)?.owner {
                    // Only root may give it away.
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
                self.put_back(bytes, Displaced { path: swap, place, bytes: theirs })?;
                return Ok(None);
            }
        }
        self.dir.sync_dir(place.parent().unwrap_or(&place)).map_err(|source| self.saving_failed(source))?;
        for number in 1.. {
            let aside = self.places.backups.join(format!("too-large-{number}.json"));
            match rename_or_link(&self.dir, &swap, &aside) {
                Ok(_) => {
                    copies.flush_folders()?;
                    return Ok(Some((aside, method)));
                }
                Err(error) if error.is_already_exists() => {}
                Err(_) => break,
            }
        }
        Ok(Some((swap, method)))
    }

    fn saving_failed(&self, source: DiskError) -> StoreError {
        let path = self.places.config.clone();
        match source.kind() {
            ErrorKind::ResourceBusy => StoreError::Mounted { path, source },
            _ => StoreError::Disk { doing: "saving the config", path, source },
        }
    }

    /// Puts somebody else's file back in the place from which we took it: the very file, with its mode and owner. `ours` is
    /// what is in the place now. When something newer comes out in exchange, that goes back instead.
    ///
    /// Whatever came out is among the copies in the end, also what is back: until it was, others read what we had put there
    /// instead, and what they make of that is written over it.
    pub(crate) fn put_back(&self, ours: &[u8], displaced: Displaced) -> Result<(), StoreError> {
        let Displaced { path: aside, place, bytes } = displaced;
        let failed = |source| StoreError::Disk { doing: "saving the config", path: place.clone(), source };
        let mut taken_out = vec![TakenOut { bytes, note: None }];
        let settled = self.exchange_until_settled(&aside, &place, ours, &mut taken_out);
        let flushed = self.dir.sync_dir(place.parent().unwrap_or(&place));
        // Each of them, whatever becomes of the others.
        let keep = |out: &TakenOut| {
            if out.bytes != ours {
                self.keep_taken_out(&out.bytes)?;
            }
            out.note.as_ref().map(|note| self.dir.unlink(note));
            Ok(())
        };
        let kept = taken_out.iter().map(keep).fold(Ok(()), Result::and);
        let settled = settled.map_err(failed)?;
        flushed.map_err(failed)?;
        kept?;
        let _ = self.dir.unlink(&aside);
        // To try again after all that would be to pile up copies.
        if settled { Ok(()) } else { Err(StoreError::Conflict { path: place }) }
    }

    /// Exchanges until what comes out is what we had put there; `false` when that does not come about. Nothing that takes long may
    /// be done here.
    fn exchange_until_settled(
        &self,
        aside: &Path,
        place: &Path,
        ours: &[u8],
        taken_out: &mut Vec<TakenOut>,
    ) -> Result<bool, DiskError> {
        let mut expected = ours.to_vec();
        for _ in 0..RETURNS {
            if let Some(out) = taken_out.last_mut() {
                out.note = self.note_down(place, &out.bytes);
            }
            match self.dir.exchange(aside, place) {
                Ok(()) => {}
                Err(error) if error.may_be_unsupported() => {
                    self.rename_over(aside, place, &expected, taken_out)?;
                    return Ok(true);
                }
                // Nothing to exchange with: whoever removed the file has seen ours, not theirs.
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(error),
            }
            let out = self.disk.read(aside, self.limits.config_bytes)?;
            if out == expected {
                return Ok(true);
            }
            if let Some(returned) = taken_out.last() {
                expected.clone_from(&returned.bytes);
            }
            taken_out.push(TakenOut { bytes: out, note: None });
        }
        Ok(false)
    }

    /// Puts the last file that was taken out back where names cannot be exchanged, unless something newer is in the place.
    fn rename_over(
        &self,
        aside: &Path,
        place: &Path,
        expected: &[u8],
        taken_out: &mut Vec<TakenOut>,
    ) -> Result<(), DiskError> {
        let bytes = taken_out.last().map(|out| out.bytes.clone()).unwrap_or_default();
        let displaced = Displaced { path: aside.to_owned(), place: place.to_owned(), bytes };
        if let Some(second) = rename_back(&self.dir, &displaced, expected)? {
            // Ours, and what another program may have written into it in place.
            let bytes = self.disk.read(&second, self.limits.config_bytes)?;
            taken_out.push(TakenOut { bytes, note: Some(second) });
        }
        Ok(())
    }

    /// Writes what is about to go back under a name by which the next run makes it a copy, should this one be killed before it does: by
    /// then somebody who has seen ours may have written over it. Not flushed, as after a power cut nobody is left who has. Where it
    /// cannot be, it goes back all the same.
    fn note_down(&self, place: &Path, bytes: &[u8]) -> Option<PathBuf> {
        let note = temp_name(place.parent()?, SWAP_SUFFIX);
        self.dir.create(&note, bytes, 0o600).ok().map(|()| note)
    }

    /// Puts what came out of the place among the copies that are never removed, as long as those have room to spare: a program
    /// that writes all the time must not use up what a repair needs. After that it becomes a routine copy, if it can be one.
    fn keep_taken_out(&self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut copies = self.copies_to_write();
        copies.copies.limits.kept_count /= 2;
        copies.copies.limits.kept_bytes /= 2;
        let kept = match copies.put(CopyKind::Kept, bytes) {
            Err(StoreError::BackupsFull { .. }) if self.usable(bytes).is_some() => {
                copies.put(CopyKind::Good, bytes)
            }
            Err(StoreError::BackupsFull { .. }) => self.copies_to_write().put(CopyKind::Kept, bytes),
            other => other,
        };
        kept.map(drop)
    }

    /// Removes what killed runs left beside the config, among the copies and in the daemon's home. What may hold the only
    /// copy of something is put among the copies first.
    pub(crate) fn clear_leftovers(&self, diagnostics: &mut Vec<Diagnostic>) -> Vec<Step> {
        let places = &self.places;
        let mut folders = vec![places.app_home.clone(), places.backups.clone(), places.daemon_home.clone()];
        folders.extend(places.config.parent().map(Path::to_owned));
        folders.extend(
            self.dir.admit_target(&places.config).ok().and_then(|real| real.parent().map(Path::to_owned)),
        );
        folders.sort();
        folders.dedup();
        let mut steps = Vec::new();
        for folder in folders {
            let found = stale_temps(&*self.dir, &folder).unwrap_or_default();
            // A killed run may not have synced the names that it made. They must be durable before the trace of it goes, and
            // that it is gone must be durable before anybody says that all is done.
            let sync = |diagnostics: &mut Vec<Diagnostic>| {
                let synced = self.dir.sync_dir(&folder);
                synced.map_err(|error| diagnostics.push(leftover_note(&folder, &error))).is_ok()
            };
            if found.is_empty() || !sync(diagnostics) {
                continue;
            }
            let before = steps.len();
            for leftover in found {
                if leftover.may_be_only_copy
                    && let Err(error) = self.keep_leftover(&leftover.path, diagnostics)
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
                match self.dir.unlink(&leftover.path) {
                    Ok(()) => steps.push(Step::ClearLeftover { path: leftover.path }),
                    Err(error) => diagnostics.push(leftover_note(&leftover.path, &error)),
                }
            }
            if steps.len() > before {
                sync(diagnostics);
            }
        }
        steps
    }

    /// Makes sure that the content of a displaced file is somewhere else too. What a run was about to put in place when it was
    /// killed was never anybody's config: a loop of such runs, each of which makes up other ids, must not pile it up.
    fn keep_leftover(&self, path: &Path, diagnostics: &mut Vec<Diagnostic>) -> Result<(), StoreError> {
        debug_assert!(path.to_string_lossy().ends_with(SWAP_SUFFIX), "only these may be only copies");
        let failed = |source| StoreError::Disk { doing: "keeping", path: path.into(), source };
        let bytes = self.disk.read(path, self.limits.config_bytes).map_err(failed)?;
        if is_ours(path, &bytes) || self.disk.content_eq(&self.places.config, &bytes).unwrap_or(false) {
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

    /// Puts bytes among the copies as `kind`, unless one of `kinds` holds them that the next copies do not push out. `None` when
    /// one did.
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

fn leftover_note(path: &Path, error: &DiskError) -> Diagnostic {
    Diagnostic {
        code: "store.leftover",
        severity: Severity::Warning,
        message: format!("what a killed run left could not be removed: {error}: {}", error.io()),
        path: crate::read::shown(path),
        hint: error.hint(),
        place: None,
    }
}
