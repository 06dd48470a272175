//! Inspects the identity files of both homes.

use std::{
    io,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, QUARANTINE_DIR};
use myownllm_identity::{Identity, Refusal, read_identity};
use myownllm_paths::{camino::Utf8Path, normalize_lexically};

use super::inspector::{Inspector, SkipReason};
use crate::{
    classify::rebase,
    compare::{aside_name, differs, is_same, refuse_mounted_file},
    error::MigrationError,
    homes::{Homes, Keep},
    inventory::{DestinationState, IdentityFile, Inventory},
    planner::command,
};

/// Returns the targets of the identity files of both homes that are symlinks. Whatever name such a
/// file has, it is an identity file and no roster or state, and it stays in its place.
fn key_targets(disk: &dyn Disk, homes: &Homes) -> Result<Vec<PathBuf>, MigrationError> {
    let mut targets = Vec::new();
    for home in [&homes.app, &homes.daemon] {
        let home = home.as_std_path();
        let key = home.join(homes.identity());
        match disk.stat(&key) {
            Ok(meta) if meta.is_symlink() => {
                let target = disk.read_link(&key).map_err(|error| MigrationError::unreadable(&key, error))?;
                // If the symlink cannot be followed at present, its target path is used as it is.
                let by_word = || normalize_lexically(&key.parent().unwrap_or(home).join(target));
                targets.push(disk.canonicalize(&key).unwrap_or_else(|_| by_word()));
            }
            // A directory that cannot be read is reported with everything in it.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && disk.list(key.parent().unwrap_or(home)).is_err() => {}
            Err(error) if !error.is_absent() => return Err(MigrationError::unreadable(&key, error)),
            _ => {}
        }
    }
    Ok(targets)
}

impl Inspector<'_> {
    pub(super) fn key_targets(&mut self) {
        match key_targets(self.disk, self.homes) {
            Ok(targets) => self.key_targets = targets,
            Err(error) => self.out.refusals.push(error),
        }
    }

    /// Returns the identity file of one side, if there is a file that can be one.
    fn key(&mut self, at: &Path) -> Option<IdentityFile> {
        match self.read_key(at) {
            Ok(key) => key,
            Err(reason) => {
                self.out.identity_failed |= !matches!(reason, SkipReason::Foreign(_));
                self.record_skip(at.to_owned(), reason);
                None
            }
        }
    }

    fn read_key(&self, at: &Path) -> Result<Option<IdentityFile>, SkipReason> {
        let cannot = |error| SkipReason::Failed(MigrationError::unreadable(at, error));
        let meta = match self.disk.stat(at) {
            Err(error) if error.is_absent() => return Ok(None),
            meta => meta.map_err(cannot)?,
        };
        self.ensure_owner(at, &meta)?;
        let symlink_target = match meta.is_symlink() {
            true => Some(self.disk.read_link(at).map_err(cannot)?),
            false => None,
        };
        // The target of a quarantined symlink is relative to its original directory.
        let target = match (&symlink_target, at.parent()) {
            (Some(target), Some(dir)) if dir.ends_with(QUARANTINE_DIR) => {
                // The path has no `..`: below a locked home no path goes upwards.
                let original = dir.parent().unwrap_or(dir);
                normalize_lexically(
                    &self.disk.canonicalize(original).unwrap_or_else(|_| original.to_owned()).join(target),
                )
            }
            _ => at.to_owned(),
        };
        match self.disk.stat_follow(&target) {
            Ok(meta) if meta.is_file() => {}
            Ok(meta) => {
                let what = if meta.is_dir() { "a directory" } else { "no regular file" };
                let why = if symlink_target.is_some() { "it is a symlink to " } else { "it is " };
                return Err(SkipReason::Foreign(format!("{why}{what}")));
            }
            Err(error) if error.is_absent() || error.is_symlink_loop() => {
                let target = symlink_target.unwrap_or_default();
                let path = at.to_owned();
                return Err(MigrationError::IdentityUnreachable { path, target, remedy: None }.into());
            }
            Err(error) => return Err(cannot(error)),
        }
        let (bytes, identity) = read_identity(self.disk, &target).map_err(cannot)?;
        Ok(Some(IdentityFile { path: at.to_owned(), bytes, identity, meta, symlink_target }))
    }

    pub(super) fn identity(&mut self) {
        let relative = self.homes.identity();
        let dir = relative.parent().unwrap_or(Utf8Path::new("")).to_owned();
        if self.readable.contains_key(&dir) {
            let at = self.current_path(self.out.source.join(&relative));
            let exists = self.disk.stat(&at).is_ok();
            self.out.source_identity = self.key(&at);
            if exists && self.out.source_identity.is_none() {
                self.count_skipped(&dir);
            }
        } else if self.out.errors.iter().any(|error| error.path() == self.out.source.join(&dir)) {
            // A directory that cannot be read may hold an identity file.
            self.out.identity_failed = true;
        }
        let destination = self.out.identity_destination.clone();
        if self.there.contains_key(&dir) {
            let there = self.current_path(destination.clone());
            self.out.destination_identity = self.key(&there);
            let unusable = self.out.left.iter().position(|left| left.path == destination);
            if let Some(unusable) = unusable {
                let left = self.out.left.remove(unusable);
                self.out.identity_failed = true;
                let refusal = self.out.answer.refusal().filter(|refusal| refusal.path() == destination);
                let remedy = refusal.and_then(Refusal::hint);
                let (path, why) = (destination.clone(), left.reason);
                self.out.errors.push(MigrationError::IdentityDamaged { path, why, remedy });
            }
        }
        self.record_dangling_identity();
        if let Some(target) = self.out.source_identity.as_ref().and_then(|key| key.symlink_target.clone()) {
            let (from, to) = (self.out.source.join(&dir), self.out.destination.join(&dir));
            self.out.moved_symlink_target = Some(rebase(&target, &from, &to));
        }
        self.out.identity_destination_state = match self.identity_destination_state() {
            Ok(destination_state) => destination_state,
            Err(error) => {
                self.out.identity_failed = true;
                self.out.errors.push(error);
                DestinationState::Free
            }
        };
    }

    /// Gives the errors of broken symlinks the first way out of the identity scan. Offers to set
    /// aside a broken symlink at the source if the destination has a sound key.
    fn record_dangling_identity(&mut self) {
        let Inventory { direction, source, destination_identity, dangling_identity, errors, answer, .. } =
            &mut self.out;
        for error in &mut *errors {
            if let MigrationError::IdentityUnreachable { path, remedy, .. } = error {
                let refusal = answer.refusal().filter(|refusal| refusal.path() == path);
                let way = refusal.and_then(|refusal| refusal.ways_out.first());
                *remedy = way.and_then(|way| way.command_of(&self.homes.program));
            }
        }
        let Some(Identity::Valid(_)) = destination_identity.as_ref().map(|key| &key.identity) else { return };
        let place = source.join(self.homes.identity());
        let keep = format!(" --keep-identity {}", Keep::Destination.place(*direction));
        for error in errors {
            if let MigrationError::IdentityUnreachable { path, remedy, .. } = error
                && *path == place
                && let Ok(aside) = aside_name(self.disk, path, path)
            {
                *remedy = Some(command(self.homes, *direction) + &keep);
                *dangling_identity = Some((path.clone(), aside));
            }
        }
    }

    fn identity_destination_state(&self) -> Result<DestinationState, MigrationError> {
        let (Some(here), Some(there)) = (&self.out.source_identity, &self.out.destination_identity) else {
            return Ok(DestinationState::Free);
        };
        if there.symlink_target.is_none() {
            refuse_mounted_file(self.disk, &there.path)?;
        }
        let same = match (&here.symlink_target, &there.symlink_target) {
            // A killed run of ours made this symlink.
            (Some(_), Some(target)) => Some(target) == self.out.moved_symlink_target.as_ref(),
            // The symlink may lead to the file at the destination, or to an equal one: the symlink
            // itself is no copy.
            (Some(_), None) => here.bytes == there.bytes,
            // A symlink at the destination may lead to the source, which is then the only copy.
            (None, Some(_)) => false,
            (None, None) => is_same(self.disk, &here.path, &there.path, &there.meta)?,
        };
        if same {
            return Ok(DestinationState::Same);
        }
        differs(self.disk, &here.path, &self.out.identity_destination, &there.path)
    }
}
