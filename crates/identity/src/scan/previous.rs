//! The Device ID that a home had before another key took the place of its own.

use std::{collections::BTreeSet, path::PathBuf};

use myownllm_durable_fs::Disk;

use super::{
    peers::owners_in,
    place::FILE_LIMIT,
    run_log::{contains, device_ids, run_logs},
    search::Search,
};
use crate::{
    file::{KeyInfo, is_id_of, public_key_of},
    paths::IdentityPaths,
};

/// The Device ID that a home had before.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PreviousIdentity {
    /// The previous Device ID.
    pub device_id: String,
    /// The run log that shows it.
    pub log: PathBuf,
    /// The key in its place.
    pub active: KeyInfo,
}

/// Returns the previous Device ID of a home whose active key is `key`: the one that the run log shows
/// for the last run, if it never shows the active one; or one that it shows for an earlier run and
/// that rosters or states name as an owner, if they do not name the active one. Returns `None` if a
/// file beside the identity file has the previous key: then the user has replaced it.
pub fn previous_identity(disk: &dyn Disk, places: &IdentityPaths, key: &KeyInfo) -> Option<PreviousIdentity> {
    let mut search = Search::new(disk, places);
    let shown = shown_ids(disk, places);
    let is_other = |device_id: &str| !is_id_of(device_id, &key.public_key);
    let (log, device_id) = match shown.first()? {
        // A key that the log shows before has come back.
        (log, device_id) if shown.iter().all(|(_, shown)| is_other(shown)) => (log, device_id),
        _ => {
            let mut others = shown.iter().filter(|(_, device_id)| is_other(device_id)).peekable();
            others.peek()?;
            let named = owners(&mut search);
            if named.contains(&key.public_key) {
                return None;
            }
            let (log, device_id) = others.find(|(_, device_id)| named.contains(&public_key_of(device_id)))?;
            (log, device_id)
        }
    };
    let previous = public_key_of(device_id);
    let is_kept = places.homes().into_iter().any(|home| {
        search.names(home.secrets().as_std_path()).iter().any(|(path, _)| {
            let bytes = disk.read(path, FILE_LIMIT).unwrap_or_default();
            contains(&bytes.to_ascii_lowercase(), previous.as_bytes())
        })
    });
    (!is_kept).then(|| PreviousIdentity {
        device_id: device_id.clone(),
        log: log.clone(),
        active: key.clone(),
    })
}

/// Returns true if a daemon that runs with `device_id` is the device of this home, although `key`
/// is in the place of its key: rosters or states name the daemon's key as an owner; or they name
/// neither, and the run log shows the daemon's Device ID and begins with another one than that of
/// `key`.
pub fn is_device_of_home(disk: &dyn Disk, places: &IdentityPaths, device_id: &str, key: &KeyInfo) -> bool {
    let running = public_key_of(device_id);
    let named = owners(&mut Search::new(disk, places));
    if named.contains(&running) || named.contains(&key.public_key) {
        return named.contains(&running);
    }
    let shown: Vec<String> =
        shown_ids(disk, places).iter().map(|(_, device_id)| public_key_of(device_id)).collect();
    shown.contains(&running) && shown.last() != Some(&key.public_key)
}

/// Returns the Device IDs that the run log shows, the last first, each with the file that shows it.
fn shown_ids(disk: &dyn Disk, places: &IdentityPaths) -> Vec<(PathBuf, String)> {
    let of_log = |log: PathBuf| {
        let bytes = disk.read(&log, FILE_LIMIT).unwrap_or_default();
        device_ids(&bytes).map(|device_id| (log.clone(), device_id)).collect::<Vec<_>>()
    };
    run_logs(places).into_iter().flat_map(of_log).collect()
}

/// Returns the public keys that the rosters and states in their places name as owners.
fn owners(search: &mut Search<'_>) -> BTreeSet<String> {
    let homes = search.places.homes();
    let dirs = homes.into_iter().flat_map(|home| [home.rosters.clone(), home.states.clone()]);
    let files: Vec<PathBuf> =
        dirs.flat_map(|dir| search.names(dir.as_std_path())).map(|(path, _)| path).collect();
    let read = |file: PathBuf| search.disk.read(&file, FILE_LIMIT).unwrap_or_default();
    files.into_iter().map(read).flat_map(|bytes| owners_in(&bytes)).collect()
}
