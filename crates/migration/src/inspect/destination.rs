//! Inspects the destination: its directories, and what killed runs left in them.

use std::{
    ffi::OsStr,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{DiskError, FileKind, Metadata, QUARANTINE_DIR};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use super::inspector::{DirState, Inspector, dir_state, is_one_entry};
use crate::{
    classify::{EntryClass, classify_entry, is_spelled_alike},
    error::{MigrationError, remove_symlink, replace_symlink_by_dir},
    homes::Direction,
    plan::SkippedEntry,
};

impl Inspector<'_> {
    /// Refuses a destination directory that cannot be inspected or read. On EACCES, reports the
    /// closest ancestor that denies access, once, instead of every entry under it.
    fn refuse_unreadable_dir(&mut self, path: &Path, error: DiskError) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return self.out.refusals.push(MigrationError::unreadable(path, error));
        }
        let closed = path.ancestors().find(|above| self.disk.stat(above).is_ok()).unwrap_or(path);
        let is_reported =
            |seen: &MigrationError| matches!(seen, MigrationError::Unreadable { path, .. } if path == closed);
        if !self.out.refusals.iter().any(is_reported) {
            self.out.refusals.push(MigrationError::unreadable(closed, error));
        }
    }

    /// Refuses a directory of the daemon's behind a symlink that leads out of the app's home.
    pub(super) fn refuse_outside(&mut self, path: PathBuf, target: PathBuf) {
        let real = self.disk.canonicalize(&path).ok();
        let home = self.disk.canonicalize(self.homes.app.as_ref()).ok();
        // A copy of the app's home, or of a directory above it, into that home would have no end.
        let is_above = real.as_ref().is_some_and(|real| home.is_some_and(|home| home.starts_with(real)));
        let is_there = real.is_some() && !is_above;
        self.out.refusals.push(MigrationError::DestinationOutside { path, target, is_there });
    }

    /// Tightens a mode that lets the group write (a umask of 002 is common), and restores
    /// permissions that a umask took from the owner.
    fn tighten(&mut self, path: &Path, meta: &Metadata, private: bool) {
        if meta.owner.is_none() {
            return;
        }
        let loose = if private { 0o077 } else { 0o022 };
        if meta.mode & loose != 0 || meta.mode & 0o700 != 0o700 {
            self.out.modes.push((path.to_owned(), 0o700));
        }
    }

    pub(super) fn destination_dirs(&mut self) {
        let destination = self.out.destination.clone();
        let all: Vec<Utf8PathBuf> =
            std::iter::once(Utf8PathBuf::new()).chain(self.relative.iter().cloned()).collect();
        let mut foreign: Vec<Utf8PathBuf> = Vec::new();
        for relative in all {
            // A directory of another user is not read.
            if foreign.iter().any(|above| relative.starts_with(above)) {
                continue;
            }
            let path =
                if relative.as_str().is_empty() { destination.clone() } else { destination.join(&relative) };
            match dir_state(self.disk, &path) {
                DirState::Absent => {
                    self.out.missing_dirs.push(path);
                    continue;
                }
                DirState::Dir(meta) if path != self.homes.app && !self.trust(&path, &meta) => {
                    foreign.push(relative);
                }
                DirState::Dir(meta) => self.destination_dir(&relative, path.clone(), &path, meta),
                // The app's home itself may be a symlink, and is the home in either case.
                DirState::Symlink(_) if path == self.homes.app => match self.disk.stat_follow(&path) {
                    Ok(meta) => self.destination_dir(&relative, path.clone(), &path, meta),
                    Err(error) => self.out.refusals.push(MigrationError::unreadable(&path, error)),
                },
                DirState::Symlink(target) => match self.inside(&path) {
                    Ok(Some((real, meta))) if self.trust(&real, &meta) => {
                        if self.out.direction == Direction::Undo {
                            // In the app's home a symlink is the user's own choice, which the move
                            // leaves.
                            self.skip(path.clone(), "it is a symlink: files that move back stay behind it");
                        }
                        self.destination_dir(&relative, path, &real, meta);
                    }
                    Ok(Some(_)) => foreign.push(relative),
                    Ok(None) => self.refuse_outside(path, target),
                    Err(error) => self.refuse_unreadable_dir(&path, error),
                },
                DirState::NotADirectory => self.out.refusals.push(MigrationError::DestinationNotDir { path }),
                DirState::Unreadable(error) => self.refuse_unreadable_dir(&path, error),
            }
        }
    }

    /// Handles a directory of the destination. `real` is its path without symlinks.
    fn destination_dir(&mut self, relative: &Utf8Path, path: PathBuf, real: &Path, meta: Metadata) {
        if path != self.homes.app {
            let secrets = [self.homes.identity(), self.homes.custody()];
            let holds_secrets = secrets.iter().any(|file| file.parent() == Some(relative));
            self.tighten(real, &meta, holds_secrets);
            if let (Some(owner), Some(home)) = (meta.owner, self.out.owner) {
                // Root made the directory, and was killed before giving it away.
                if owner.uid == 0 && home.uid != 0 {
                    self.out.owners.push((real.to_owned(), home));
                }
            }
            // Finds temporary files of a killed run, and sources that a killed run in the other
            // direction had quarantined.
            let mut quarantines = false;
            let mut leftovers = Vec::new();
            let key = self.homes.identity();
            let visited = self.disk.for_each_entry(real, &mut |entry| {
                let at = relative.as_std_path().join(&entry.name);
                let key_name = OsStr::new(key.file_name().unwrap_or_default());
                let is_key = || is_one_entry(self.disk, real, key_name, &entry.name);
                if is_spelled_alike(&at, key.as_std_path()) && !is_key() {
                    let reason = "the daemon's spelling of that name is another".to_owned();
                    self.out.left.push(SkippedEntry { path: path.join(&entry.name), reason });
                }
                match classify_entry(&entry.name, entry.kind) {
                    // No file moves into the daemon home itself: what lies there is not a move's.
                    EntryClass::Leftover if !relative.as_str().is_empty() => {
                        leftovers.push(path.join(entry.name));
                    }
                    EntryClass::Quarantines => quarantines = true,
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            for leftover in leftovers {
                self.leftover(relative, leftover);
            }
            let quarantined = path.join(QUARANTINE_DIR);
            let listed = visited
                .and_then(|()| if quarantines { self.disk.list(&quarantined) } else { Ok(Vec::new()) });
            match listed {
                Ok(entries) => {
                    for entry in entries {
                        self.restore(quarantined.join(&entry.name), path.join(&entry.name));
                    }
                    if quarantines {
                        self.out.quarantine_dirs.push(quarantined);
                    }
                }
                Err(error) => self.refuse_unreadable_dir(&path, error),
            }
        }
        self.out.destination_dirs.push(path);
        self.there.insert(relative.to_owned(), meta);
    }

    /// Refuses two names of one directory: a file moved from it into it would be removed as
    /// identical.
    pub(super) fn same_dirs(&mut self) {
        let mut sources: Vec<(PathBuf, Metadata)> = self
            .readable
            .iter()
            .map(|(relative, (meta, _))| (self.out.source.join(relative), meta.clone()))
            .collect();
        if let Ok(meta) = self.disk.stat_follow(&self.out.source) {
            sources.push((self.out.source.clone(), meta));
        }
        let mut same: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (relative, meta) in &self.there {
            let destination_dir = self.out.destination.join(relative);
            for (source_dir, source) in &sources {
                // The directories below have the same cause.
                let is_below = |(source, destination): &(PathBuf, PathBuf)| {
                    source_dir.starts_with(source) && destination_dir.starts_with(destination)
                };
                if meta.is_same_file(source) && !same.iter().any(is_below) {
                    same.push((source_dir.clone(), destination_dir.clone()));
                }
            }
        }
        let is_same = |path: &Path| same.iter().any(|(above, _)| path.starts_with(above));
        let relative = self.readable.keys().filter(|relative| is_same(&self.out.source.join(relative)));
        self.same = relative.cloned().collect();
        for (source_dir, destination_dir) in same {
            let is_symlink =
                |path: &Path| self.disk.stat(path).is_ok_and(|meta| meta.kind == FileKind::Symlink);
            let command = if is_symlink(&destination_dir) {
                Some(replace_symlink_by_dir(&destination_dir))
            } else {
                is_symlink(&source_dir).then(|| remove_symlink(&source_dir))
            };
            self.out.refusals.push(MigrationError::SameDir { source_dir, destination_dir, command });
        }
    }
}
