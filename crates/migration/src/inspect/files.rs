//! Inspects the files that move, and compares each with the file at its destination.

use std::{
    collections::BTreeSet,
    ffi::{OsStr, OsString},
    io,
    ops::ControlFlow,
    path::Path,
};

use myownllm_durable_fs::{FileKind, Metadata};
use myownllm_paths::camino::Utf8Path;

use super::{
    inspector::{Inspector, SkipReason},
    source::IS_IDENTITY_TARGET,
};
use crate::{
    classify::legacy_network,
    compare::{destination_state, is_copy},
    error::MigrationError,
    homes::Direction,
    inventory::{DestinationState, Item, SingleFile, StateDir},
};

/// The size limit of a legacy roster, which would hold some hundred thousand devices.
const LEGACY_ROSTER_LIMIT: u64 = 16 * 1024 * 1024;

impl Inspector<'_> {
    /// Compares a file with the entry of its name at the destination.
    fn destination_state_of(&self, dir: &StateDir, name: &OsStr) -> Result<DestinationState, MigrationError> {
        let source = self.current_path(dir.source.join(name));
        let destination = dir.destination.join(name);
        let there = self.current_path(destination.clone());
        destination_state(self.disk, &source, &destination, &there, self.out.owner)
    }

    pub(super) fn contents(&mut self) {
        for relative in self.homes.dirs() {
            let Some((meta, seen)) = self.readable.get_mut(&relative) else { continue };
            let (mode, stays) = (meta.mode, seen.quarantines || seen.foreign > 0);
            let names = std::mem::take(&mut seen.ours);
            let free = !self.there.contains_key(&relative);
            let mut dir = StateDir {
                source: self.out.source.join(&relative),
                destination: self.out.destination.join(&relative),
                items: Vec::with_capacity(names.len()),
                moves_as_whole: free && !stays && !names.is_empty(),
                mode,
            };
            // A file does not differ from itself.
            let is_alone = free || self.same.contains(&relative);
            let taken = if is_alone { BTreeSet::new() } else { self.names_in(&dir.destination) };
            for name in names {
                let destination_state = match taken.contains(&name) {
                    true => self.destination_state_of(&dir, &name),
                    false => Ok(DestinationState::Free),
                };
                match destination_state {
                    Ok(destination_state) => dir.items.push(Item { name, destination_state }),
                    Err(error) => {
                        self.out.errors.push(error);
                        self.count_skipped(&relative);
                    }
                }
            }
            self.out.dirs.push(dir);
        }
    }

    fn names_in(&mut self, dir: &Path) -> BTreeSet<OsString> {
        let real = if self.disk.stat(dir).is_ok_and(|meta| meta.is_symlink()) {
            self.disk.canonicalize(dir)
        } else {
            Ok(dir.to_owned())
        };
        let mut names = BTreeSet::new();
        let visited = real.and_then(|dir| {
            self.disk.for_each_entry(&dir, &mut |entry| {
                names.insert(entry.name);
                ControlFlow::Continue(())
            })
        });
        if let Err(error) = visited {
            self.out.refusals.push(MigrationError::unreadable(dir, error));
        }
        names.extend(self.restored_in(dir));
        names
    }

    /// Inspects a file that moves by itself, as `inspect` does.
    fn single(
        &mut self,
        relative: &Utf8Path,
        inspect: impl FnOnce(&Self, &Path, &Metadata) -> Result<SingleFile, SkipReason>,
    ) {
        let dir = relative.parent().unwrap_or(Utf8Path::new(""));
        if !self.readable.contains_key(dir) {
            return;
        }
        let at = self.current_path(self.out.source.join(relative));
        let found = match self.disk.stat(&at) {
            Err(error) if error.is_not_found() => return,
            Err(error) => Err(MigrationError::unreadable(&at, error).into()),
            Ok(meta) => self.ensure_regular(relative, &at, &meta).and_then(|()| {
                self.ensure_owner(&at, &meta)?;
                inspect(self, &at, &meta)
            }),
        };
        match found {
            Ok(single) => self.out.files.push(single),
            Err(reason) => {
                self.record_skip(at, reason);
                self.count_skipped(dir);
            }
        }
    }

    /// Fails for anything but a regular file, and for the target of an identity file symlink.
    fn ensure_regular(&self, relative: &Utf8Path, at: &Path, meta: &Metadata) -> Result<(), SkipReason> {
        let reason = match meta.kind {
            FileKind::File => {
                let dir = relative.parent().unwrap_or(Utf8Path::new(""));
                let targets = self.key_targets_in(&self.out.source.join(dir));
                let targets = targets.map_err(|error| MigrationError::unreadable(at, error))?;
                if targets.iter().all(|target| target.to_str() != relative.file_name()) {
                    return Ok(());
                }
                IS_IDENTITY_TARGET
            }
            FileKind::Symlink => "it is a symlink",
            FileKind::Dir => "it is a directory with the name of a file",
            _ => "it is neither a file nor a directory",
        };
        Err(SkipReason::Foreign(reason.to_owned()))
    }

    pub(super) fn legacy_roster(&mut self) {
        if self.out.direction == Direction::Forward {
            self.single(&self.homes.legacy_roster(), Self::legacy_roster_file);
        }
    }

    fn legacy_roster_file(&self, at: &Path, meta: &Metadata) -> Result<SingleFile, SkipReason> {
        let foreign = |reason: &str| SkipReason::Foreign(reason.to_owned());
        let bytes = match self.disk.read(at, LEGACY_ROSTER_LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                return Err(foreign("it is too large for a roster"));
            }
            bytes => bytes.map_err(|error| MigrationError::unreadable(at, error))?,
        };
        let id = legacy_network(&bytes).map_err(foreign)?;
        let name = self.homes.rosters().join(format!("{id}.json"));
        let destination = self.out.destination.join(&name);
        let mut destination_state = DestinationState::Free;
        // If the network's own roster is still at the source and has the same bytes, it moves under
        // its name, and after that this file is removed.
        for roster in [&destination, &self.out.source.join(&name)] {
            match self.disk.stat(roster) {
                Err(error) if error.is_absent() => continue,
                Err(error) => return Err(MigrationError::unreadable(roster, error).into()),
                Ok(there) if is_copy(self.disk, at, roster, &there, self.out.owner)? => {
                    destination_state = DestinationState::Same;
                }
                Ok(_) => return Err(foreign("there is a roster of that network already")),
            }
            break;
        }
        let source = self.out.source.join(self.homes.legacy_roster());
        let (is_secret, mode, destination_mode) = (false, meta.mode, None);
        Ok(SingleFile { source, destination, destination_state, is_secret, mode, destination_mode })
    }

    pub(super) fn custody(&mut self) {
        self.single(&self.homes.custody(), Self::custody_file);
    }

    fn custody_file(&self, at: &Path, meta: &Metadata) -> Result<SingleFile, SkipReason> {
        let relative = self.homes.custody();
        let (source, destination) = (self.out.source.join(&relative), self.out.destination.join(&relative));
        let there = self.current_path(destination.clone());
        let destination_state = destination_state(self.disk, at, &destination, &there, self.out.owner)?;
        let there = self.disk.stat(&there).ok().filter(Metadata::is_file);
        let destination_mode = there.map(|there| there.mode);
        let (is_secret, mode) = (true, meta.mode);
        Ok(SingleFile { source, destination, destination_state, is_secret, mode, destination_mode })
    }
}
