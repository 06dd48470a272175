//! Looks at the places where a daemon would find its identity file and its peers.

use std::{
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, DiskError, QUARANTINE_DIR};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use super::findings::PlaceState;
use crate::{
    file::{Identity, inspect},
    paths::{Home, IdentityPaths},
};

/// An identity file has about two hundred bytes. A file above this limit is not one.
pub(super) const FILE_LIMIT: u64 = 1 << 20;
pub(super) const TOO_LARGE: &str = "the file is far too large for a key";

/// Reads and judges an identity file. A file that is too large for a key is damaged, and not read.
///
/// # Errors
/// Fails if the file cannot be read.
pub fn read_identity(disk: &dyn Disk, path: &Path) -> Result<(Vec<u8>, Identity), DiskError> {
    match disk.read(path, FILE_LIMIT) {
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            Ok((Vec::new(), Identity::damaged(TOO_LARGE)))
        }
        read => read.map(|bytes| {
            let identity = inspect(&bytes);
            (bytes, identity)
        }),
    }
}

pub(super) fn place_state(disk: &dyn Disk, home: &Home, is_daemon: bool) -> PlaceState {
    match file_at(disk, home.identity.as_std_path()) {
        PlaceState::Absent => {}
        found => return found,
    }
    // `file_at` also reports a name below a broken symlink, or below a file, as absent.
    let mut has_secrets = true;
    for dir in [home.secrets(), &home.path] {
        let meta = match disk.stat(dir.as_std_path()) {
            Ok(meta) => meta,
            Err(error) if error.is_absent() => {
                has_secrets = false;
                continue;
            }
            Err(error) => return PlaceState::Unreadable(error),
        };
        match disk.stat_follow(dir.as_std_path()) {
            // The directories above it exist too.
            Ok(meta) if meta.is_dir() => break,
            Ok(_) if is_daemon => {
                return PlaceState::NotAFile { path: dir.to_owned().into(), what: "no directory" };
            }
            Ok(_) => return PlaceState::Absent,
            Err(error) if meta.is_symlink() && leads_nowhere(&error) => {
                return dangling(disk, dir.as_std_path());
            }
            Err(error) if error.is_absent() => {}
            Err(error) => return PlaceState::Unreadable(error),
        }
    }
    match has_secrets.then(|| quarantined(disk, home)).transpose().map(Option::flatten) {
        Ok(Some(identity)) => PlaceState::Quarantined(identity),
        Err(error) if !error.is_absent() => PlaceState::Unreadable(error),
        _ => PlaceState::Absent,
    }
}

/// Returns true for the error of a broken symlink or of a symlink loop.
pub(super) fn leads_nowhere(error: &DiskError) -> bool {
    error.is_absent() || error.is_symlink_loop()
}

/// Returns the target of a broken symlink or of a symlink loop; `None` for any other entry.
pub(super) fn dangling_target(disk: &dyn Disk, path: &Path) -> Result<Option<PathBuf>, DiskError> {
    match disk.stat(path) {
        Ok(meta) if meta.is_symlink() => {}
        Err(error) if !error.is_absent() => return Err(error),
        _ => return Ok(None),
    }
    match disk.stat_follow(path) {
        Err(error) if leads_nowhere(&error) => disk.read_link(path).map(Some),
        other => other.map(|_| None),
    }
}

/// Returns the first broken symlink or symlink loop on the way from a home to its rosters and
/// states, and its target. Such a symlink hides the peers, for example on an unplugged disk.
pub(crate) fn dangling_peers(disk: &dyn Disk, home: &Home) -> Result<Option<(PathBuf, PathBuf)>, DiskError> {
    for path in ways(home, [&home.states, &home.rosters, &home.legacy_roster]) {
        match dangling_target(disk, path.as_std_path()) {
            Ok(None) => {}
            Ok(Some(target)) => return Ok(Some((path.into(), target))),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Returns the entries on the way from a home to these places of it, from above.
fn ways<'h>(
    home: &'h Home,
    places: impl IntoIterator<Item = &'h Utf8PathBuf>,
) -> impl Iterator<Item = &'h Utf8Path> {
    places.into_iter().flat_map(|place| {
        let way: Vec<_> = place.ancestors().take_while(|above| *above != home.path).collect();
        way.into_iter().rev()
    })
}

/// Returns the symlinks on the way to the secrets, rosters and states of the homes that lead out of
/// the app's home to an empty directory, each with its target; those of the secrets first. The
/// mount point of a missing disk is such a directory, and so is one that the user has just made.
///
/// # Errors
/// Fails if a symlink, or the directory behind it, cannot be looked at.
pub fn empty_targets(disk: &dyn Disk, places: &IdentityPaths) -> Result<Vec<(PathBuf, PathBuf)>, DiskError> {
    let leads_out_to_nothing = |symlink: &Path| -> Result<bool, DiskError> {
        if !disk.stat(symlink)?.is_symlink() {
            return Ok(false);
        }
        let real = disk.canonicalize(symlink)?;
        let mut is_empty = !real.starts_with(disk.canonicalize(places.app.path.as_std_path())?);
        disk.for_each_entry(&real, &mut |_| {
            is_empty = false;
            ControlFlow::Break(())
        })?;
        Ok(is_empty)
    };
    let secrets = places.homes().map(Home::secrets);
    let peers = places.homes().map(|home| ways(home, [&home.rosters, &home.states]));
    let mut found = Vec::new();
    for symlink in secrets.into_iter().chain(peers.into_iter().flatten()).map(Utf8Path::as_std_path) {
        match leads_out_to_nothing(symlink) {
            Ok(true) => found.push((symlink.to_owned(), disk.read_link(symlink)?)),
            Err(error) if !error.is_absent() => return Err(error),
            _ => {}
        }
    }
    found.dedup();
    Ok(found)
}

fn dangling(disk: &dyn Disk, symlink: &Path) -> PlaceState {
    match disk.read_link(symlink) {
        Ok(target) => PlaceState::Dangling { symlink: symlink.to_owned(), target },
        Err(error) => PlaceState::Unreadable(error),
    }
}

/// Returns the state of a path that may hold an identity file.
fn file_at(disk: &dyn Disk, path: &Path) -> PlaceState {
    let error = match read_identity(disk, path) {
        Ok((_, identity)) => return PlaceState::File(identity),
        Err(error) => error,
    };
    let meta = match disk.stat(path) {
        Ok(meta) => meta,
        Err(gone) if gone.is_absent() => return PlaceState::Absent,
        Err(_) => return PlaceState::Unreadable(error),
    };
    match disk.stat_follow(path) {
        Err(gone) if meta.is_symlink() && leads_nowhere(&gone) => dangling(disk, path),
        Ok(leads_to) if !leads_to.is_file() => {
            let what = match (meta.is_symlink(), leads_to.is_dir()) {
                (false, true) => "a directory",
                (true, true) => "a symlink to a directory",
                (false, false) => "neither a file nor a directory",
                (true, false) => "a symlink to what is neither a file nor a directory",
            };
            PlaceState::NotAFile { path: path.to_owned(), what }
        }
        _ => PlaceState::Unreadable(error),
    }
}

/// Returns the identity file that a killed move has quarantined.
fn quarantined(disk: &dyn Disk, home: &Home) -> Result<Option<Identity>, DiskError> {
    let Some(name) = home.identity.file_name() else { return Ok(None) };
    let path = home.secrets().join(QUARANTINE_DIR).join(name).into_std_path_buf();
    // A relative symlink is resolved from its original place.
    let path = match disk.stat(&path)? {
        meta if meta.is_symlink() => home.secrets().as_std_path().join(disk.read_link(&path)?),
        meta if meta.is_file() => path,
        _ => return Ok(None),
    };
    read_identity(disk, &path).map(|(_, identity)| Some(identity))
}
