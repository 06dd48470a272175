//! Tells if there is anything to do. Called at every start, so it inspects as little as possible.

use std::{ffi::OsStr, io, ops::ControlFlow, path::Path};

use myownllm_durable_fs::{Disk, FileKind, QUARANTINE_DIR};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{
    classify::{EntryClass, LEGACY_ROSTER_LIMIT, classify_entry, legacy_network, relative_dirs},
    compare::is_same,
    error::MigrationError,
    homes::{Direction, Homes, Options},
    inspect::{inspect, key_targets},
    leftovers::{Judge, Leftover},
    planner::plan,
};

/// True if a run would have anything to do. Makes six calls if there is nothing, and a few more if
/// there are foreign files. Takes no lock, writes nothing, stops at the first file of ours.
///
/// # Errors
///
/// [`MigrationError::Unreadable`]: a path could not be inspected. The caller must treat this as
/// pending: unreadable is not absent.
pub fn is_pending(disk: &dyn Disk, homes: &Homes) -> Result<bool, MigrationError> {
    if key_in_temporary(disk, homes) {
        return Ok(true);
    }
    let dirs = relative_dirs(homes);
    let mut leaves = homes.dirs().into_iter().chain(homes.identity().parent().map(Utf8Path::to_owned));
    if leaves.any(|dir| holds_claimed(disk, homes.daemon.join(dir).as_std_path())) {
        return Ok(true);
    }
    let top: Vec<_> = dirs.iter().filter(|dir| dir.components().count() == 1).collect();
    for dir in top {
        if dir_pending(disk, homes, &dirs, dir)? {
            // A file that looks like ours may be the target of an identity file symlink; only the
            // plan tells.
            return Ok(key_targets(disk, homes)?.is_empty() || is_planned(disk, homes));
        }
    }
    Ok(false)
}

/// True if the daemon home lacks its identity file and has the content under the name of a
/// temporary file of ours. Makes one `stat` if the identity file exists.
fn key_in_temporary(disk: &dyn Disk, homes: &Homes) -> bool {
    let identity = homes.identity();
    let key = homes.daemon.join(&identity);
    let relative = identity.parent().unwrap_or(Utf8Path::new(""));
    let dir = homes.daemon.join(relative).into_std_path_buf();
    let judge = Judge::new(disk, homes);
    let is_temporary = |name: &OsStr, kind| matches!(classify_entry(name, kind), EntryClass::Leftover);
    disk.stat(key.as_ref()).is_err_and(|error| error.is_not_found())
        && disk.list(&dir).unwrap_or_default().into_iter().any(|entry| {
            let path = dir.join(&entry.name);
            is_temporary(&entry.name, entry.kind)
                && matches!(judge.judge(relative, &path), Leftover::OnlyCopyOf(_))
        })
}

/// True if a killed undo has claimed a file in a directory of the daemon home, and nothing has the
/// name of the file there. Makes one call if there is none.
fn holds_claimed(disk: &dyn Disk, dir: &Path) -> bool {
    let is_free = |name: &OsStr| disk.stat(&dir.join(name)).is_err_and(|error| error.is_not_found());
    let claimed = disk.list(&dir.join(QUARANTINE_DIR)).unwrap_or_default();
    claimed.iter().any(|entry| is_free(&entry.name))
}

/// True if a run would do or report anything.
fn is_planned(disk: &dyn Disk, homes: &Homes) -> bool {
    let plan = plan(homes, &inspect(disk, homes, Direction::Forward), &Options::default());
    !(plan.is_empty() && plan.collisions.is_empty() && plan.errors.is_empty() && plan.refusals.is_empty())
}

fn dir_pending(
    disk: &dyn Disk,
    homes: &Homes,
    dirs: &[Utf8PathBuf],
    relative: &Utf8Path,
) -> Result<bool, MigrationError> {
    let (identity, custody, legacy_roster) = (homes.identity(), homes.custody(), homes.legacy_roster());
    let path = homes.app.join(relative).into_std_path_buf();
    let is_leaf = homes.dirs().iter().any(|dir| dir == relative);
    let (mut pending, mut foreign, mut below, mut legacy) = (false, false, Vec::new(), false);
    let mut unusable = Vec::new();
    let mut temporaries = Vec::new();
    let visited = disk.for_each_entry(&path, &mut |entry| {
        let at = relative.as_std_path().join(&entry.name);
        if at == identity || at == custody {
            match entry.kind {
                FileKind::File => pending = true,
                // A directory or a pipe with that name is not ours; for a symlink, its target
                // decides.
                FileKind::Symlink if at == identity => unusable.push(at),
                _ => foreign = true,
            }
        } else if at == legacy_roster {
            legacy = entry.kind == FileKind::File;
            foreign |= !legacy;
        } else if entry.kind == FileKind::Dir
            && let Some(dir) = dirs.iter().find(|dir| at == **dir)
        {
            below.push(dir);
        } else {
            match classify_entry(&entry.name, entry.kind) {
                EntryClass::Ours if is_leaf => pending = true,
                EntryClass::Quarantines => pending = true,
                EntryClass::Leftover => temporaries.push(path.join(&entry.name)),
                _ => foreign = true,
            }
        }
        if pending { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match visited {
        Ok(()) => {}
        Err(error) if error.is_not_found() => return Ok(false),
        Err(error) => {
            return match disk.stat(&path) {
                Err(error) if error.is_not_found() => Ok(false),
                // A symlink has the name of the directory: the files behind it stay, but an
                // identity file there must not count as absent.
                Ok(meta) if meta.is_symlink() => match identity.strip_prefix(relative) {
                    Ok(rest) => match disk.stat(&path.join(rest)) {
                        Ok(_) => Ok(true),
                        Err(error) if error.is_not_found() => Ok(false),
                        Err(error) => Err(MigrationError::unreadable(&path, error)),
                    },
                    Err(_) => Ok(false),
                },
                Ok(meta) if !meta.is_dir() => Ok(false),
                Ok(_) | Err(_) => Err(MigrationError::unreadable(&path, error)),
            };
        }
    }
    if pending {
        return Ok(true);
    }
    let judge = Judge::new(disk, homes);
    for leftover in temporaries {
        match judge.judge(relative, &leftover) {
            Leftover::MayBeOnlyCopy => foreign = true,
            Leftover::Superfluous | Leftover::OnlyCopyOf(_) => return Ok(true),
        }
    }
    for link in unusable {
        match disk.stat_follow(&homes.app.as_std_path().join(&link)) {
            Ok(meta) if !meta.is_file() => foreign = true,
            // The symlink leads to a file or to nothing: the run must handle this identity file.
            _ => return Ok(true),
        }
    }
    if legacy {
        if legacy_pending(disk, homes)? {
            return Ok(true);
        }
        foreign = true;
    }
    let mut kept = foreign;
    for dir in below {
        if dir_pending(disk, homes, dirs, dir)? {
            return Ok(true);
        }
        kept = true;
    }
    // A killed run may have left an empty directory. A mount point stays.
    Ok(!kept && !disk.is_mount_point(&path))
}

/// True if the legacy roster would move, or has moved except for its removal.
fn legacy_pending(disk: &dyn Disk, homes: &Homes) -> Result<bool, MigrationError> {
    let path = homes.app.join(homes.legacy_roster()).into_std_path_buf();
    let bytes = match disk.read(&path, LEGACY_ROSTER_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() || error.kind() == io::ErrorKind::FileTooLarge => {
            return Ok(false);
        }
        Err(error) => return Err(MigrationError::unreadable(&path, error)),
    };
    let Ok(id) = legacy_network(&bytes) else { return Ok(false) };
    let name = homes.rosters().join(format!("{id}.json"));
    for home in [&homes.daemon, &homes.app] {
        let roster = home.join(&name).into_std_path_buf();
        match disk.stat(&roster) {
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(MigrationError::unreadable(&roster, error)),
            Ok(there) => return is_same(disk, &path, &roster, &there),
        }
    }
    Ok(true)
}
