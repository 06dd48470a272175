//! Counts the files that know the device.

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{DiskError, FileKind};
use serde_json::Value;

use super::{
    findings::{HomeScan, KnownBy},
    names::name_of,
    place::{FILE_LIMIT, dangling_peers, dangling_target},
    run_log::contains,
    search::{GIVEN_UP, MAX_LEVELS, MAX_NAMES, Search},
};
use crate::{file::public_key_of, paths::Home};

impl Search<'_> {
    /// Counts the files in a home that know the device. `files` are the files that were searched
    /// for the identity.
    pub(super) fn count_known_by(&mut self, files: &[PathBuf], seen: &mut HomeScan) {
        let home = &seen.home;
        let dangling = dangling_peers(self.disk, home);
        self.note_dangling_peers(dangling);
        let mut known_by = KnownBy {
            rosters: self.count_peer_files(home.rosters.as_std_path(), MAX_LEVELS),
            states: self.count_peer_files(home.states.as_std_path(), MAX_LEVELS),
            custody: 0,
        };
        match self.disk.stat_follow(home.legacy_roster.as_std_path()) {
            Ok(_) => known_by.rosters += 1,
            Err(error) if error.is_absent() => {}
            Err(error) => self.unreadable.push(error),
        }
        let peers = home.rosters.parent().unwrap_or(&home.path).as_std_path();
        let mut evidence = Vec::new();
        if !known_by.is_empty() {
            evidence.push(peers.to_owned());
        }
        let name_of_peers = name_of(peers);
        for (path, kind) in self.names(home.path.as_std_path()) {
            let is_home = self.places.homes().iter().any(|other| other.path == path);
            let is_dir = matches!(kind, FileKind::Dir | FileKind::Symlink);
            if path == peers && self.is_no_dir(&path) {
                known_by.rosters += 1;
                evidence.push(path);
            } else if is_dir && (path == peers || !is_home && name_of(&path).contains(&name_of_peers)) {
                let dangling = dangling_target(self.disk, &path);
                self.note_dangling_peers(dangling.map(|target| target.map(|target| (path.clone(), target))));
                let before = known_by.clone();
                self.count_copied_peers(&path, MAX_LEVELS, &mut known_by);
                if known_by != before && !evidence.contains(&path) {
                    evidence.push(path);
                }
            }
        }
        // The daemon home comes first: it lies in the app's home.
        let strays: Vec<_> = self.peer_dirs.extract_if(.., |dir| dir.starts_with(&home.path)).collect();
        self.count_strays(strays, &mut evidence, &mut known_by);
        let stem = name_of(home.custody.as_std_path());
        let stem = stem.strip_suffix(".json").unwrap_or(&stem);
        let is_custody = |file: &&PathBuf| file.starts_with(home.secrets()) && name_of(file).contains(stem);
        let custody = files.iter().filter(is_custody).cloned();
        evidence.extend(custody.inspect(|_| known_by.custody += 1));
        (seen.known_by, seen.evidence) = (known_by, evidence);
    }

    fn note_dangling_peers(&mut self, dangling: Result<Option<(PathBuf, PathBuf)>, DiskError>) {
        match dangling {
            Ok(dangling) => self.dangling_peers.extend(dangling),
            Err(error) => self.unreadable.push(error),
        }
    }

    /// Counts the rosters and states in copies of their directories, and the rosters beside the
    /// directories.
    fn count_copied_peers(&mut self, dir: &Path, levels: usize, known_by: &mut KnownBy) {
        for (path, kind) in self.names(dir) {
            let name = name_of(&path);
            let is_counted =
                |home: &&Home| path == home.rosters || path == home.legacy_roster || path == home.states;
            if name.starts_with(GIVEN_UP) || self.places.homes().iter().any(is_counted) {
                continue;
            }
            let is_file = match kind {
                FileKind::Symlink => self.leads_to_file(&path),
                kind => kind == FileKind::File,
            };
            match (is_file, name.contains("roster"), name.contains("state")) {
                (true, true, _) => known_by.rosters += usize::from(self.is_peer_file(&path)),
                (true, _, _) => {}
                (false, true, _) => known_by.rosters += self.count_peer_files(&path, levels),
                (false, _, true) => known_by.states += self.count_peer_files(&path, levels),
                _ if kind == FileKind::Dir && levels > 0 => {
                    self.count_copied_peers(&path, levels - 1, known_by)
                }
                _ => {}
            }
        }
    }

    /// Counts the rosters and states in `dirs`, without those in a directory of `evidence`. Adds
    /// the directories that have some to `evidence`.
    pub(super) fn count_strays(
        &mut self,
        dirs: Vec<PathBuf>,
        evidence: &mut Vec<PathBuf>,
        known_by: &mut KnownBy,
    ) {
        for dir in dirs {
            let before = known_by.clone();
            if !evidence.iter().any(|known| dir.starts_with(known)) {
                self.count_stray_peers(&dir, MAX_LEVELS, known_by);
            }
            if *known_by != before {
                evidence.push(dir);
            }
        }
    }

    /// Counts the rosters and states in a directory of another one of the home, by their content
    /// alone: an app may have directories and files of the same names.
    pub(super) fn count_stray_peers(&mut self, dir: &Path, levels: usize, known_by: &mut KnownBy) {
        for (path, kind) in self.list(dir, MAX_NAMES).0 {
            if kind != FileKind::Dir && name_of(&path).contains(".json") {
                let bytes = self.disk.read(&path, FILE_LIMIT).unwrap_or_default();
                if contains(&bytes, b"\"network_id\"") {
                    known_by.rosters += usize::from(contains(&bytes, b"\"authorized_devices\""));
                    known_by.states += usize::from(contains(&bytes, b"\"transitions\""));
                    self.owners.extend(owners_in(&bytes));
                }
            } else if kind == FileKind::Dir && levels > 0 {
                self.count_stray_peers(&path, levels - 1, known_by);
            }
        }
    }

    /// Counts the rosters or states in a directory. Includes copies, the files that a daemon could
    /// not parse or was writing when it died, and the files that a killed move has quarantined. An
    /// entry of another kind under the name of a roster, or of the directory, counts too: it is no
    /// proof that there was none.
    fn count_peer_files(&mut self, dir: &Path, levels: usize) -> usize {
        let mut count = usize::from(self.is_no_dir(dir));
        for (path, kind) in self.names(dir) {
            match kind {
                FileKind::File | FileKind::Symlink => count += usize::from(self.is_peer_file(&path)),
                _ if name_of(&path).ends_with(".json") => count += 1,
                FileKind::Dir if levels > 0 => count += self.count_peer_files(&path, levels - 1),
                _ => {}
            }
        }
        count
    }

    fn is_no_dir(&self, path: &Path) -> bool {
        self.disk.stat_follow(path).is_ok_and(|meta| !meta.is_dir())
    }

    /// Returns true if a file among the rosters and states is one of them, by its name or, under
    /// the name of a temporary or of a copy, by its content.
    fn is_peer_file(&mut self, path: &Path) -> bool {
        let bytes = self.disk.read(path, FILE_LIMIT).unwrap_or_default();
        let holds = |member: &[u8]| contains(&bytes, member);
        self.owners.extend(owners_in(&bytes));
        name_of(path).contains(".json") || holds(b"authorized_devices") || holds(b"network_id")
    }
}

/// Returns the public keys that a roster or state names as owners or controllers, and those that
/// signed its transitions.
pub(super) fn owners_in(bytes: &[u8]) -> Vec<String> {
    let Ok(peers) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rules = |role: &Value| matches!(role.as_str(), Some("owner" | "controller"));
    let devices = array(&peers["authorized_devices"]).into_iter().filter(|device| rules(&device["role"]));
    let roles = peers["roles"].as_object().into_iter().flatten().filter(|(_, role)| rules(role));
    let signers = array(&peers["transitions"]).into_iter().flat_map(|step| array(&step["signers"]));
    let named = devices.map(|device| device["device_id"].clone()).chain(signers);
    let named = named.filter_map(|key| key.as_str().map(str::to_owned));
    let named = named.chain(roles.map(|(key, _)| key.clone()));
    named.map(|key| public_key_of(&key)).collect()
}
