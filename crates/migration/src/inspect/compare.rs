//! Compares a source with the file at its destination.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use myownllm_durable_fs::{Disk, DiskError, Metadata, Op, Owner, trust::foreign_part};

use super::{
    DestinationState,
    classify::{rebase, set_aside_as},
    is_absent, unreadable,
};
use crate::{error::MigrationError, homes::Keep};

/// Returns the path to which `target` leads from a directory that is named without symlinks. The
/// entry at that path may be a symlink.
fn next_on_the_way(disk: &dyn Disk, dir: &Path, target: &Path) -> Result<PathBuf, DiskError> {
    let mut at = dir.to_owned();
    for part in target.parent().unwrap_or(target).components() {
        match part {
            Component::ParentDir => {
                at.pop();
            }
            Component::Normal(name) => at = disk.canonicalize(&at.join(name))?,
            part => at.push(part),
        }
    }
    Ok(at.join(target.file_name().unwrap_or_default()))
}

/// True if a symlink leads to the entry with this name, directly or through other symlinks.
fn leads_to(disk: &dyn Disk, link: &Path, name: &Path) -> Result<bool, MigrationError> {
    let leads = || {
        let name = next_on_the_way(disk, Path::new(""), name)?;
        let mut at = next_on_the_way(disk, Path::new(""), link)?;
        // Linux follows as many symlinks.
        for _ in 0..40 {
            if !disk.stat(&at)?.is_symlink() {
                break;
            }
            at = next_on_the_way(disk, at.parent().unwrap_or(&at), &disk.read_link(&at)?)?;
            if at == name {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match leads() {
        Err(error) if is_absent(&error) => Ok(false),
        other => other.map_err(|error| unreadable(link, error)),
    }
}

/// Returns a name beside `path` that no program reads, for `loser`: `roster.json.set-aside-1`. The
/// name is free, or a killed run has begun to set the same file or symlink aside under it.
pub(super) fn aside_name(disk: &dyn Disk, path: &Path, loser: &Path) -> Result<PathBuf, MigrationError> {
    let dir = path.parent().unwrap_or(path);
    let mut number = 1_u64;
    loop {
        let aside = set_aside_as(path, number);
        match disk.stat(&aside) {
            Err(error) if error.is_not_found() => return Ok(aside),
            Err(error) => return Err(unreadable(&aside, error)),
            Ok(there) => {
                let at_loser = |error| unreadable(loser, error);
                let begun = match disk.stat(loser).map_err(at_loser)? {
                    meta if meta.is_file() => is_same(disk, loser, &aside, &there)?,
                    meta if meta.is_symlink() && there.is_symlink() => {
                        let says = disk.read_link(loser).map_err(at_loser)?;
                        let says = rebase(&says, loser.parent().unwrap_or(loser), dir);
                        disk.read_link(&aside).is_ok_and(|begun| begun == says)
                    }
                    _ => false,
                };
                if begun {
                    return Ok(aside);
                }
                number += 1;
            }
        }
    }
}

/// Returns both names for a file that is set aside, and the side that wins if the user has no
/// choice.
pub(super) fn differs(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Path,
) -> Result<DestinationState, MigrationError> {
    Ok(DestinationState::Differs {
        aside_source: aside_name(disk, destination, source)?,
        aside_destination: aside_name(disk, destination, there)?,
        file: if leads_to(disk, there, source)? {
            Some(Keep::Source)
        } else {
            leads_to(disk, source, there)?.then_some(Keep::Destination)
        },
    })
}

/// Compares a regular file with the file at its destination, which is at `there`, or was there
/// before a killed run claimed it.
pub(super) fn pair(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Path,
    home: Option<Owner>,
) -> Result<DestinationState, MigrationError> {
    let meta = match disk.stat(there) {
        Err(error) if is_absent(&error) => return Ok(DestinationState::Free),
        Err(error) => return Err(unreadable(there, error)),
        Ok(meta) => meta,
    };
    if is_copy(disk, source, there, &meta, home)? {
        return Ok(DestinationState::Same);
    }
    differs(disk, source, destination, there)
}

/// [`is_same`], for a destination in the home. Fails for a file of another user, who may write to
/// it, so it is no copy.
pub(super) fn is_copy(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Metadata,
    home: Option<Owner>,
) -> Result<bool, MigrationError> {
    match home.and_then(|home| foreign_part(destination, there, home)) {
        Some(found) => Err(found.into()),
        None => is_same(disk, source, destination, there),
    }
}

/// Fails for a file that is mounted: it may be the source, and it disappears when it is unmounted,
/// so it is no copy.
pub(super) fn no_mount(disk: &dyn Disk, file: &Path) -> Result<(), MigrationError> {
    if !disk.is_mount_point(file) {
        return Ok(());
    }
    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "something else is mounted over this file");
    let source = DiskError::new(Op::CompareCopy, file, busy);
    Err(MigrationError::Failed { path: file.to_owned(), source })
}

/// True if the destination holds the source's bytes in such a way that the source can be removed:
/// in a regular file that is another file or has at least two names. (A symlink may lead to the
/// source itself.)
pub(crate) fn is_same(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Metadata,
) -> Result<bool, MigrationError> {
    if !there.is_file() {
        return Ok(false);
    }
    no_mount(disk, destination)?;
    let here = disk.stat(source).map_err(|error| unreadable(source, error))?;
    if here.is_same_file(there) {
        // One name seen at two paths (a bind mount) is not two names.
        return Ok(there.links > 1);
    }
    disk.same_content(source, destination).map_err(|error| {
        let about = if error.path() == source { source } else { destination };
        unreadable(about, error)
    })
}
