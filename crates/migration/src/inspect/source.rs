//! Inspects the source: its directories, and the entries in them.

use std::{
    ffi::{OsStr, OsString},
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{DiskError, Metadata, QUARANTINE_DIR, trust::foreign_file};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use super::inspector::{DirState, Inspector, SkipReason, SourceEntries, dir_state, is_loose, is_one_entry};
use crate::{
    classify::{EntryClass, classify_entry},
    error::MigrationError,
    homes::Direction,
    plan::SkippedEntry,
};

pub(super) const IS_IDENTITY_TARGET: &str = "the identity file is a symlink to it";

impl Inspector<'_> {
    pub(super) fn source_dirs(&mut self) {
        let source = self.out.source.clone();
        // The home itself may be a symlink; without a home there is nothing to move.
        match self.disk.stat_follow(&source) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return self.skip(source, "it is not a directory"),
            Err(error) if error.is_not_found() => return,
            Err(error) => return self.unreadable(&source, error),
        }
        for relative in self.relative.clone() {
            let path = source.join(&relative);
            // Below an entry that is no directory there is nothing to inspect.
            let parent = relative.parent().unwrap_or(Utf8Path::new(""));
            if !parent.as_str().is_empty() && !self.readable.contains_key(parent) {
                continue;
            }
            match dir_state(self.disk, &path) {
                DirState::Absent => {}
                DirState::Dir(meta) => self.source_dir(relative, path.clone(), path, &meta),
                DirState::Symlink(target) => match self.undo_through_symlink(&path) {
                    Ok(Some((real, meta))) => {
                        self.linked.insert(relative.clone(), real.clone());
                        self.source_dir(relative, path, real, &meta);
                    }
                    Ok(None) => self.source_symlink(&relative, path, target),
                    Err(error) => self.unreadable(&path, error),
                },
                DirState::NotADirectory => self.skip(path, "it is a file with the name of a directory"),
                DirState::Unreadable(error) => self.unreadable(&path, error),
            }
        }
    }

    /// Handles a directory of the source that is a symlink, and stays.
    fn source_symlink(&mut self, relative: &Utf8Path, path: PathBuf, target: PathBuf) {
        let key = self.homes.identity().strip_prefix(relative).map(|rest| path.join(rest));
        // A symlink into the daemon home, for an older program, hides nothing.
        let own = self.disk.canonicalize(&self.out.destination.join(relative));
        let is_own = own.is_ok_and(|own| self.disk.canonicalize(&path).is_ok_and(|real| real == own));
        match key.ok().filter(|_| !is_own).map(|key| self.disk.stat(&key)) {
            Some(Ok(_)) => {
                self.out.identity_failed = true;
                self.out.refusals.push(MigrationError::SourceSymlink { path, target });
            }
            Some(Err(error)) if !error.is_not_found() => self.unreadable(&path, error),
            // The undo would take the key away from its peers, and the next move would be refused.
            _ if self.out.direction == Direction::Undo
                && self.homes.dirs().iter().any(|dir| dir.starts_with(relative))
                && matches!(self.inside(&path), Ok(None)) =>
            {
                self.refuse_outside(path, target);
            }
            _ => self.skip(path, "it is a symlink"),
        }
    }

    /// Handles a directory of the source. `real` is its path without symlinks.
    fn source_dir(&mut self, relative: Utf8PathBuf, path: PathBuf, real: PathBuf, meta: &Metadata) {
        // A directory of another user is not read.
        if !self.trust(&real, meta) {
            self.out.identity_failed |= self.homes.identity().starts_with(&relative);
            self.out.foreign = true;
            return;
        }
        match self.list_source_dir(&relative, &path, &real) {
            Ok(mut seen) => {
                if is_loose(meta) && self.homes.dirs().contains(&relative) {
                    self.trust_files(&path, &seen.ours);
                    self.out.writable_by_others.push(real.clone());
                }
                // The directory moves file by file, and stays itself.
                seen.foreign += usize::from(path != real || self.disk.is_mount_point(&path));
                self.readable.insert(relative, (meta.clone(), seen));
            }
            // Another process that holds the lock has moved the last entry since the first look.
            Err(error) if error.is_not_found() && matches!(dir_state(self.disk, &path), DirState::Absent) => {
            }
            Err(error) => self.unreadable(&path, error),
        }
    }

    /// Returns the target of a symlink in the daemon home if it is a directory in the app's home:
    /// the move went in through the symlink, and the undo comes out through it. Returns `None` if
    /// the target is a directory to which files move back.
    fn undo_through_symlink(&self, link: &Path) -> Result<Option<(PathBuf, Metadata)>, DiskError> {
        if self.out.direction == Direction::Forward {
            return Ok(None);
        }
        let Some((real, meta)) = self.inside(link)? else { return Ok(None) };
        let is_target = |dir: &Utf8PathBuf| {
            let dir = self.disk.stat_follow(&self.out.destination.join(dir));
            dir.is_ok_and(|dir| dir.is_same_file(&meta))
        };
        Ok((!self.relative.iter().any(is_target)).then_some((real, meta)))
    }

    /// Refuses files of another user. In a directory to which other users can write, a file with
    /// one of our names may be theirs. In other directories nobody else can have made the file, and
    /// checking each one would cost more than the move.
    fn trust_files(&mut self, dir: &Path, names: &[OsString]) {
        let paths = names.iter().map(|name| self.current_path(dir.join(name)));
        if let Some(found) = foreign_file(self.disk, dir, paths, self.out.owner) {
            self.record_skip(dir.to_owned(), SkipReason::Untrusted(found));
        }
    }

    fn list_source_dir(
        &mut self,
        relative: &Utf8Path,
        path: &Path,
        real: &Path,
    ) -> Result<SourceEntries, DiskError> {
        let homes = self.homes;
        let is_leaf = homes.dirs().iter().any(|dir| dir == relative);
        let mut seen = SourceEntries::default();
        let mut foreign = Vec::new();
        let mut leftovers = Vec::new();
        let forward = self.out.direction == Direction::Forward;
        let legacy_roster = Some(homes.legacy_roster()).filter(|_| forward);
        let files = [homes.identity(), homes.custody()];
        let apart = files.iter().chain(&legacy_roster).chain(&self.relative);
        // Compares only names, because a directory may hold very many.
        let apart: Vec<&OsStr> = apart
            .filter(|at| at.parent() == Some(relative))
            .filter_map(|at| at.file_name())
            .map(OsStr::new)
            .collect();
        let targets = self.key_targets_in(path)?;
        self.disk.for_each_entry(real, &mut |entry| {
            let is_apart = |known: &&OsStr| is_one_entry(self.disk, path, known, &entry.name);
            if apart.iter().any(is_apart) {
                // These are inspected separately.
                return ControlFlow::Continue(());
            }
            match classify_entry(&entry.name, entry.kind) {
                EntryClass::Ours if targets.contains(&entry.name) => {
                    foreign.push((entry.name, IS_IDENTITY_TARGET))
                }
                EntryClass::Ours if is_leaf => seen.ours.push(entry.name),
                EntryClass::Ours => foreign.push((entry.name, "it is not what moves")),
                EntryClass::Leftover => leftovers.push(entry.name),
                EntryClass::Quarantines => seen.quarantines = true,
                EntryClass::Foreign(why) => foreign.push((entry.name, why)),
            }
            ControlFlow::Continue(())
        })?;
        if seen.quarantines {
            let dir = path.join(QUARANTINE_DIR);
            for entry in self.disk.list(&dir)? {
                self.restore(dir.join(&entry.name), path.join(&entry.name));
                if is_leaf {
                    seen.ours.push(entry.name);
                }
            }
            self.out.quarantine_dirs.push(dir);
        }
        foreign.sort();
        seen.foreign = foreign.len();
        for (name, why) in foreign {
            self.skip(path.join(name), why);
        }
        for name in leftovers {
            let left = self.out.left.len();
            let ours = self.leftover(relative, path.join(name));
            seen.foreign += self.out.left.len() - left;
            seen.ours.extend(ours.filter(|_| is_leaf));
        }
        seen.ours.sort();
        seen.ours.dedup();
        Ok(seen)
    }

    /// Returns the names in a directory to which an identity file symlink leads.
    pub(super) fn key_targets_in(&self, dir: &Path) -> Result<Vec<OsString>, DiskError> {
        if self.key_targets.is_empty() {
            return Ok(Vec::new());
        }
        let dir = self.disk.canonicalize(dir)?;
        let names = self.key_targets.iter().filter_map(|target| target.strip_prefix(&dir).ok());
        Ok(names.map(|name| name.as_os_str().to_owned()).collect())
    }

    /// Keeps the target of each symlink that stays. A symlink without its target hides from a launch
    /// that the daemon lacks the file.
    pub(super) fn keep_symlink_targets(&mut self) {
        let is_symlink = |path: &Path| self.disk.stat(path).is_ok_and(|meta| meta.is_symlink());
        let symlinks = self.out.left.iter().map(|left| &left.path).filter(|path| is_symlink(path));
        let targets: Vec<_> = symlinks.filter_map(|path| self.disk.canonicalize(path).ok()).collect();
        if targets.is_empty() {
            return;
        }
        for (relative, (_, seen)) in &mut self.readable {
            let dir = self.out.source.join(relative);
            let Ok(real) = self.disk.canonicalize(&dir) else { continue };
            for target in &targets {
                let is_target = |name: &OsString| target.strip_prefix(&real).is_ok_and(|below| below == name);
                if let Some(at) = seen.ours.iter().position(is_target) {
                    let path = dir.join(seen.ours.remove(at));
                    seen.foreign += 1;
                    let reason = "a symlink that stays leads to it".to_owned();
                    self.out.left.push(SkippedEntry { path, reason });
                }
            }
        }
    }

    pub(super) fn finish_source(&mut self) {
        for relative in &self.relative {
            let path = self.out.source.join(relative);
            if let Some((meta, seen)) = self.readable.get(relative) {
                // A group member who had write access before the move could still hold a file open
                // after it.
                if is_loose(meta) {
                    let real = self.linked.get(relative).unwrap_or(&path);
                    self.out.modes.push((real.clone(), 0o700));
                }
                if !self.linked.contains_key(relative) {
                    self.out.source_dirs.push((path, seen.foreign));
                    continue;
                }
            }
            if self.disk.stat(&path).is_ok() {
                // The entry is a symlink, or no directory that can be read, so its parent does not
                // become empty.
                let parent = relative.parent().map(|parent| self.out.source.join(parent));
                for (dir, stays) in &mut self.out.source_dirs {
                    if Some(&*dir) == parent.as_ref() {
                        *stays += 1;
                    }
                }
            }
        }
    }
}
