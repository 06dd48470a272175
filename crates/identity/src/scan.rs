//! Looks for the identity file: at its places first, then at every other place where a sound one
//! may lie.

mod findings;
mod names;
mod peers;
mod place;
mod previous;
mod renamed;
mod run_log;
mod search;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

pub(crate) use findings::RenamedHome;
pub use findings::{HomeScan, KnownBy, Misplaced, PlaceState, Scan};
use myownllm_durable_fs::{Disk, SET_ASIDE, trust::unprotect};
use myownllm_paths::camino::Utf8Path;
use names::{free_beside, free_name, is_archived_copy, suggests_identity};
use peers::owners_in;
pub(crate) use place::dangling_peers;
use place::{FILE_LIMIT, dangling_target, place_state};
pub use place::{empty_targets, read_identity};
pub use previous::{PreviousIdentity, is_device_of_home, previous_identity};
pub use renamed::{archived_homes, renamed_homes};
use search::{GIVEN_UP, MAX_LEVELS, Search};

use crate::{
    file::{Identity, KeyInfo, is_id_of, is_lost},
    paths::{Home, IdentityPaths, Side},
};

/// Looks for the identity file. Takes no lock, writes nothing.
///
/// If a sound file is active, the scan needs a handful of calls. Otherwise it searches every place
/// where a file may lie, up to a bound.
pub fn scan(disk: &dyn Disk, places: &IdentityPaths) -> Scan {
    let mut scan = inspect_places(disk, places);
    if !scan.answer().is_active() || has_damaged_file(&scan) {
        search(disk, &mut scan);
    }
    scan
}

/// [`scan`], and searches every place even if a sound file is active, for [`Scan::better_known`].
pub fn scan_everywhere(disk: &dyn Disk, places: &IdentityPaths) -> Scan {
    let mut scan = inspect_places(disk, places);
    search(disk, &mut scan);
    scan
}

/// Returns true if the file at the old location is damaged: it may be the key of this home, and a
/// sound one in the daemon home that of another.
fn has_damaged_file(scan: &Scan) -> bool {
    matches!(scan.app.state.identity(), Some(Identity::Damaged { .. }))
}

fn inspect_places(disk: &dyn Disk, places: &IdentityPaths) -> Scan {
    let seen = |home: &Home, state: PlaceState| HomeScan {
        home: home.clone(),
        state,
        known_by: KnownBy::default(),
        evidence: Vec::new(),
        has_secrets: true,
        has_peers_dir: true,
        blocked: None,
        aside: PathBuf::new(),
        given_up: PathBuf::new(),
    };
    let daemon = place_state(disk, &places.daemon, true);
    // At a start with nothing to do the app's home has no secrets directory any more. One call is
    // enough to find that out, because the daemon home lies in the app's home, which therefore
    // exists.
    let is_inside = places.daemon.path.starts_with(&places.app.path) && matches!(daemon, PlaceState::File(_));
    let app = match disk.stat(places.app.secrets().as_std_path()) {
        Err(error) if is_inside && error.is_not_found() => PlaceState::Absent,
        _ => place_state(disk, &places.app, false),
    };
    // Another process may have moved the file from the second place to the first between the looks.
    let daemon = match (&daemon, &app) {
        (PlaceState::Absent, PlaceState::Absent) => place_state(disk, &places.daemon, true),
        _ => daemon,
    };
    Scan {
        places: places.clone(),
        daemon: seen(&places.daemon, daemon),
        app: seen(&places.app, app),
        misplaced: Vec::new(),
        unreadable: Vec::new(),
        dangling: Vec::new(),
        dangling_peers: Vec::new(),
        owners: BTreeSet::new(),
        logged: None,
        renamed: Vec::new(),
        unprotect: None,
        known_side: None,
        used_config: None,
        empty: Vec::new(),
    }
}

/// Searches every place where an identity file may lie under another name, and counts the files
/// that know the device. There may be many such files, so they are not counted where they decide
/// nothing: beside a key that waits for a move and is the one that the run log shows, and beside a
/// sound key if neither another key nor a damaged file is found (for a key that waits, if there is
/// no run log either).
fn search(disk: &dyn Disk, scan: &mut Scan) {
    let answer = scan.answer();
    let waits = answer.has_key() && !answer.is_active();
    let places = scan.places.clone();
    let mut search = Search::new(disk, &places);
    let mut logged = search.last_logged_ids(answer.has_key());
    let is_other = |key: &KeyInfo| answer.key().is_some_and(|known| known.public_key != key.public_key);
    let is_logged =
        |key: &KeyInfo| logged.first().is_some_and(|(_, device_id)| is_id_of(device_id, &key.public_key));
    if waits && answer.key().is_some_and(is_logged) {
        return;
    }
    for home in places.homes() {
        search.collect_home(home);
    }
    search.collect_backups();
    if search.was_given_up {
        // A log of the daemon may be of the time before the user gave the key up.
        logged.retain(|(log, _)| !log.starts_with(&places.daemon.path));
    }
    let mut misplaced: Vec<Misplaced> = Vec::new();
    let mut files = std::mem::take(&mut search.files);
    files.sort();
    files.dedup();
    for file in &files {
        misplaced.extend(search.identify(file, None));
    }
    let mut rosters = Vec::new();
    for config in std::mem::take(&mut search.configs) {
        let (identities, named_rosters) = search.read_config(&config);
        rosters.extend(named_rosters);
        for file in identities {
            if !misplaced.iter().any(|known| known.path == file) {
                misplaced.extend(search.identify(&file, Some(&config)));
            }
        }
    }
    let has_file = scan.daemon.state.identity().is_some();
    let renamed_homes = search.find_renamed_homes(!logged.is_empty(), has_file);
    let without_key = identify_in(&mut search, renamed_homes, has_file, &mut misplaced);
    let has_other =
        has_damaged_file(scan) || misplaced.iter().filter_map(|found| found.key.as_ref()).any(is_other);
    if answer.has_key() && !has_other && (!waits || logged.is_empty()) {
        return;
    }
    for peers in misplaced.iter().filter_map(|found| found.peers.as_ref()) {
        search.count_stray_peers(peers, MAX_LEVELS, &mut KnownBy::default());
    }
    for seen in [&mut scan.daemon, &mut scan.app] {
        search.count_known_by(&files, seen);
        inspect_directories(disk, seen);
    }
    count_named_rosters(&mut search, scan, rosters);
    scan.owners = std::mem::take(&mut search.owners);
    scan.logged = logged.first().cloned();
    scan.used_config = search.used_config.take().filter(|_| !search.was_given_up);
    for (log, _) in logged {
        let is_of_daemon = log.starts_with(&places.daemon.path);
        let seen = if is_of_daemon { &mut scan.daemon } else { &mut scan.app };
        seen.evidence.push(log);
    }
    scan.misplaced = misplaced;
    let saves_networks = search.saves_networks && !search.was_given_up;
    let at_places = scan.homes().into_iter().filter_map(HomeScan::key);
    let found = scan.misplaced.iter().filter_map(|found| found.key.as_ref());
    let has_key = at_places.chain(found).next().is_some();
    let is_used = saves_networks || scan.is_known() || !(without_key.is_empty() && scan.misplaced.is_empty());
    if !has_key && is_used {
        search_used_home(&mut search, scan, &files);
    }
    if scan.misplaced.is_empty() && !scan.is_known() {
        scan.renamed = without_key;
    }
    let mut misplaced = std::mem::take(&mut scan.misplaced);
    for found in &mut misplaced {
        found.is_named = found.key.as_ref().is_some_and(|key| scan.knows_key(&key.public_key));
    }
    misplaced.sort_by_key(rank);
    scan.misplaced = misplaced;
    (scan.unprotect, scan.known_side) = (unprotect_files(disk, scan), known_side(disk, scan));
    (scan.dangling, scan.dangling_peers) = (search.dangling, search.dangling_peers);
    scan.unreadable = search.unreadable;
}

/// Returns the place of the one of two sound keys that the home is known to have had.
fn known_side(disk: &dyn Disk, scan: &Scan) -> Option<Side> {
    let (app, daemon) = (scan.app.key()?, scan.daemon.key()?);
    let is_known = |key: &KeyInfo, other| is_device_of_home(disk, &scan.places, &key.device_id, other);
    match (is_known(app, daemon), is_known(daemon, app)) {
        (true, false) => Some(Side::OldLocation),
        (false, true) => Some(Side::DaemonHome),
        _ => None,
    }
}

fn count_named_rosters(search: &mut Search<'_>, scan: &mut Scan, mut rosters: Vec<PathBuf>) {
    rosters.sort();
    rosters.dedup();
    for roster in rosters {
        let bytes = search.disk.read(&roster, FILE_LIMIT).unwrap_or_default();
        search.owners.extend(owners_in(&bytes));
        let Scan { places, app, daemon, .. } = &mut *scan;
        let is_old = roster.starts_with(&places.app.path) && !roster.starts_with(&places.daemon.path);
        let seen = if is_old { app } else { daemon };
        if !seen.evidence.iter().any(|known| roster.starts_with(known)) {
            seen.known_by.rosters += 1;
            seen.evidence.push(roster);
        }
    }
}

/// Searches a home that was in use and in which no key was found: by content, and for the symlinks
/// behind which the key may lie on a missing disk. Saved networks alone are no proof of a key, but
/// beside such a symlink, or such a file, a new key would most likely be a second one.
fn search_used_home(search: &mut Search<'_>, scan: &mut Scan, files: &[PathBuf]) {
    let shared = search.find_in_shared_home(scan);
    scan.misplaced.extend(shared);
    search.find_by_content(scan, files);
    if scan.misplaced.iter().any(|found| found.key.is_some()) {
        return;
    }
    match empty_targets(search.disk, search.places) {
        Ok(empty) => scan.empty = empty,
        Err(error) => search.unreadable.push(error),
    }
    // Rosters or states that are there belong to a key that was not behind a symlink to others.
    if !scan.homes_with_peers().is_empty() {
        scan.empty.retain(|(symlink, _)| search.places.homes().iter().any(|home| symlink == home.secrets()));
    }
}

/// Adds the identity files of renamed homes to `misplaced`. Returns the homes that have rosters or
/// states, and no file with a key.
fn identify_in(
    search: &mut Search<'_>,
    renamed_homes: Vec<(RenamedHome, Vec<PathBuf>)>,
    has_file: bool,
    misplaced: &mut Vec<Misplaced>,
) -> Vec<RenamedHome> {
    let mut without_key = Vec::new();
    for (renamed, files) in renamed_homes {
        let found = files.iter().filter_map(|file| search.identify(file, None));
        let may_hold_key = |found: &Misplaced| match is_lost(&found.identity) {
            true => !has_file && is_archived_copy(&found.path),
            false => true,
        };
        let found: Vec<Misplaced> = found.filter(may_hold_key).collect();
        // A renamed daemon home lies in the app's home, which was searched.
        misplaced.retain(|known| found.iter().all(|found| known.path != found.path));
        without_key.extend((found.is_empty() && !renamed.known_by.is_empty()).then(|| renamed.clone()));
        let of_home = |found| Misplaced { renamed_home: Some(renamed.clone()), ..found };
        misplaced.extend(found.into_iter().map(of_home));
    }
    without_key
}

/// Returns the command that lifts the protection of the identity files in the homes, and of their
/// directories.
fn unprotect_files(disk: &dyn Disk, scan: &Scan) -> Option<String> {
    let found = scan.misplaced.iter().map(|found| found.path.as_path());
    let in_homes = found.filter(|path| scan.home_of(path).is_some());
    let files = scan.places.homes().map(|home| home.identity.as_std_path()).into_iter().chain(in_homes);
    let changed: BTreeSet<&Path> = files.flat_map(|file| file.parent().into_iter().chain([file])).collect();
    unprotect(disk, &changed.into_iter().collect::<Vec<_>>())
}

/// Looks for the directories of a home, and for the free names that the ways out take.
fn inspect_directories(disk: &dyn Disk, seen: &mut HomeScan) {
    let home = &seen.home;
    let is_dir = |dir: &Path| disk.stat_follow(dir).ok().map(|meta| meta.is_dir());
    seen.has_secrets = is_dir(home.secrets().as_std_path()) == Some(true);
    let peers = home.rosters.parent().unwrap_or(&home.path);
    seen.has_peers_dir = disk.stat(peers.as_std_path()).is_ok();
    let blocked = [home.secrets(), &home.path].map(Utf8Path::as_std_path);
    let is_broken = |dir: &Path| dangling_target(disk, dir).is_ok_and(|target| target.is_some());
    let blocked = blocked.into_iter().find(|dir| is_dir(dir) == Some(false) || is_broken(dir));
    seen.blocked = blocked.map(|dir| (dir.to_owned(), free_beside(disk, dir)));
    seen.aside = match &seen.state {
        PlaceState::NotAFile { path, .. } => free_beside(disk, path),
        _ => free_beside(disk, home.identity.as_std_path()),
    };
    seen.given_up = free_name(disk, |number| home.path.join(format!("{GIVEN_UP}{number}")).into());
}

/// Returns the rank of a found file: the file to bring back comes first.
fn rank(found: &Misplaced) -> impl Ord + use<> {
    let name = found.path.file_name().unwrap_or_default().to_string_lossy();
    let lost_before = name.contains(SET_ASIDE);
    let newest = std::cmp::Reverse(found.modified);
    (
        is_lost(&found.identity),
        !found.is_named,
        !matches!(found.identity, Identity::Valid(_) | Identity::Newer { .. }),
        lost_before,
        found.named_by.is_some(),
        found.renamed_home.is_some(),
        !suggests_identity(&found.path),
        newest,
        found.path.clone(),
    )
}
