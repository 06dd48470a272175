//! Compares a source with the file at its destination.

use std::{
    io,
    path::{Component, Path, PathBuf},
};

use myownllm_durable_fs::{
    Disk, DiskError, Metadata, Op, Owner, QUARANTINE_DIR, is_second_copy, set_aside_name, trust::foreign_part,
};

use crate::{
    classify::rebase,
    error::MigrationError,
    homes::Keep,
    inventory::{Aside, DestinationState},
    plan::Retarget,
};

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

/// Returns true if a symlink leads to the entry with this name, directly or through other symlinks.
fn leads_to(disk: &dyn Disk, link: &Path, name: &Path) -> Result<bool, MigrationError> {
    let leads = || -> Result<bool, DiskError> {
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
        Err(error) if error.is_absent() => Ok(false),
        other => other.map_err(|error| MigrationError::unreadable(link, error)),
    }
}

/// Returns the place beside `path` for `loser`: `roster.json.set-aside-1`. The name is free, or a
/// killed run has begun to set the same file or symlink aside under it.
pub(crate) fn aside_name(disk: &dyn Disk, path: &Path, loser: &Path) -> Result<Aside, MigrationError> {
    let dir = path.parent().unwrap_or(path);
    let at_loser = |error| MigrationError::unreadable(loser, error);
    let meta = disk.stat(loser).map_err(at_loser)?;
    let symlink = if meta.is_symlink() {
        let old_target = disk.read_link(loser).map_err(at_loser)?;
        let target = rebase(&old_target, original_dir(loser), dir);
        Some(Retarget { old_target, target })
    } else {
        None
    };
    let mut number = 1_u64;
    loop {
        let to = set_aside_name(path, number);
        match disk.stat(&to) {
            Err(error) if error.is_not_found() => return Ok(Aside { to, symlink }),
            Err(error) => return Err(MigrationError::unreadable(&to, error)),
            Ok(there) => {
                let begun = match &symlink {
                    Some(Retarget { target, .. }) => {
                        there.is_symlink() && disk.read_link(&to).is_ok_and(|begun| begun == *target)
                    }
                    None => meta.is_file() && is_same(disk, loser, &to, &there)?,
                };
                if begun {
                    return Ok(Aside { to, symlink });
                }
                number += 1;
            }
        }
    }
}

/// Returns the directory of a file, as it was before a killed run took the file aside.
fn original_dir(file: &Path) -> &Path {
    match file.parent() {
        Some(dir) if dir.ends_with(QUARANTINE_DIR) => dir.parent().unwrap_or(dir),
        dir => dir.unwrap_or(file),
    }
}

/// Returns both names for a file that is set aside, and the side that wins if the user has no
/// choice.
pub(crate) fn differs(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Path,
) -> Result<DestinationState, MigrationError> {
    Ok(DestinationState::Differs {
        aside_source: aside_name(disk, destination, source)?,
        aside_destination: aside_name(disk, destination, there)?,
        target_side: if leads_to(disk, there, source)? {
            Some(Keep::Source)
        } else {
            leads_to(disk, source, there)?.then_some(Keep::Destination)
        },
    })
}

/// Compares a regular file with the file at its destination, which is at `there`, or was there
/// before a killed run quarantined it.
pub(crate) fn destination_state(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Path,
    home: Option<Owner>,
) -> Result<DestinationState, MigrationError> {
    let meta = match disk.stat(there) {
        Err(error) if error.is_absent() => return Ok(DestinationState::Free),
        Err(error) => return Err(MigrationError::unreadable(there, error)),
        Ok(meta) => meta,
    };
    if is_copy(disk, source, there, &meta, home)? {
        return Ok(DestinationState::Same);
    }
    differs(disk, source, destination, there)
}

/// [`is_same`], for a destination in the home. Fails for a file of another user, who may write to
/// it, so it is no copy.
pub(crate) fn is_copy(
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
pub(crate) fn refuse_mounted_file(disk: &dyn Disk, file: &Path) -> Result<(), MigrationError> {
    if !disk.is_mount_point(file) {
        return Ok(());
    }
    let busy = io::Error::new(io::ErrorKind::ResourceBusy, "something else is mounted over this file");
    let source = DiskError::new(Op::CompareCopy, file, busy);
    Err(MigrationError::Failed { path: file.to_owned(), source })
}

/// [`is_second_copy`], with the error of this crate.
pub(crate) fn is_same(
    disk: &dyn Disk,
    source: &Path,
    destination: &Path,
    there: &Metadata,
) -> Result<bool, MigrationError> {
    is_second_copy(disk, source, destination, there).map_err(|error| incomparable(source, destination, error))
}

/// Returns the error of two files that could not be compared.
pub(crate) fn incomparable(source: &Path, destination: &Path, error: DiskError) -> MigrationError {
    if error.is_covered_by_mount() {
        return MigrationError::Failed { path: destination.to_owned(), source: error };
    }
    MigrationError::unreadable(if error.path() == source { source } else { destination }, error)
}
