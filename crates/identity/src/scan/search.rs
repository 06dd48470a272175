//! Searches the homes for identity files under other names.

use std::{
    collections::BTreeSet,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, DiskError, FileKind, Op, PART_SUFFIX, SET_ASIDE, TEMP_PREFIX};
use myownllm_paths::camino::Utf8Path;
use serde_json::Value;

use super::{
    findings::{Misplaced, Scan},
    names::{
        IDENTITY, SECRETS, free_beside, is_archive_name, is_archived_copy, is_in_secrets, name_of,
        suggests_identity,
    },
    place::{FILE_LIMIT, TOO_LARGE},
    run_log::{contains, daemon_logs, device_ids, run_logs},
};
use crate::{
    file::{Identity, KeyInfo, inspect, is_lost, key_of_seed, readable_key},
    paths::{Home, IdentityPaths},
};

/// The limit for a file under another name, because there may be many.
const OTHER_FILE_LIMIT: u64 = 64 << 10;
/// The size limit of a config that is searched for the paths of identity files. A larger file is
/// skipped.
const CONFIG_LIMIT: u64 = 16 << 20;
/// The size limit of a log of the daemon, a multiple of the size at which a start rotates it.
const DAEMON_LOG_LIMIT: u64 = 64 << 20;
/// The number of backups of configs that are searched, the newest first: more than the number of
/// routine backups.
const MAX_BACKUPS: usize = 64;
/// The number of files of a directory of a home that are searched by their content alone.
const MAX_OTHERS: usize = 64;
/// The directories of the app with very many or large files. None is searched by content.
const BULK: [&str; 6] = ["cache", "conversations", "logs", "models", "transcribe_buffer", "updates"];
/// The number of names that are read from one directory.
pub(super) const MAX_NAMES: usize = 4096;
/// The number of directory levels in which rosters and states are counted.
pub(super) const MAX_LEVELS: usize = 2;
/// The number of directory levels that are searched for the identity file below a directory of a
/// home; more if the daemon home lies deeper in the app's home.
const MAX_KEY_LEVELS: usize = 4;
/// The reason why a compressed file is no sound identity file.
const MAY_HOLD_KEY: &str = "it is an archive, which may hold a sound one";
/// The prefix of the directories that receive given-up peers and keys.
pub(super) const GIVEN_UP: &str = "given-up-";

pub(super) struct Search<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) places: &'a IdentityPaths,
    /// Files that may be identity files.
    pub(super) files: Vec<PathBuf>,
    /// Files that are identity files only if they hold a sound key: their names tell nothing.
    others: Vec<PathBuf>,
    /// Files that may be configs of the app or of the daemon.
    pub(super) configs: Vec<PathBuf>,
    /// Broken symlinks that may lead to an identity file, and their targets.
    pub(super) dangling: Vec<(PathBuf, PathBuf)>,
    /// Broken symlinks that may lead to rosters and states, and their targets.
    pub(super) dangling_peers: Vec<(PathBuf, PathBuf)>,
    /// Directories whose names resemble those of the directories of rosters and states.
    pub(super) peer_dirs: Vec<PathBuf>,
    /// The public keys that rosters and states name as owners or controllers.
    pub(super) owners: BTreeSet<String>,
    pub(super) unreadable: Vec<DiskError>,
    /// A config that only a daemon with a key can have written.
    pub(super) used_config: Option<PathBuf>,
    pub(super) saves_networks: bool,
    /// True if the user has given up a key before: from then on, a config proves nothing.
    pub(super) was_given_up: bool,
    /// The number of names that may still be read in secrets directories.
    budget: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(disk: &'a dyn Disk, places: &'a IdentityPaths) -> Self {
        Self {
            disk,
            places,
            files: Vec::new(),
            others: Vec::new(),
            configs: Vec::new(),
            dangling: Vec::new(),
            dangling_peers: Vec::new(),
            peer_dirs: Vec::new(),
            owners: BTreeSet::new(),
            unreadable: Vec::new(),
            used_config: None,
            saves_networks: false,
            was_given_up: false,
            budget: MAX_NAMES,
        }
    }

    /// Returns the names in a directory, up to a bound; none if the directory is missing.
    pub(super) fn names(&mut self, dir: &Path) -> Vec<(PathBuf, FileKind)> {
        let (names, error) = self.list(dir, MAX_NAMES);
        self.unreadable.extend(error);
        names
    }

    /// Returns the names in a directory, up to a bound, and the error if the list is not complete.
    pub(super) fn list(&self, dir: &Path, limit: usize) -> (Vec<(PathBuf, FileKind)>, Option<DiskError>) {
        let real = match self.disk.stat(dir) {
            Ok(meta) if meta.is_symlink() => self.disk.canonicalize(dir),
            Ok(_) => Ok(dir.to_owned()),
            Err(error) => Err(error),
        };
        let mut names = Vec::new();
        let mut is_whole = true;
        let visited = real.and_then(|real| {
            self.disk.for_each_entry(&real, &mut |entry| {
                is_whole = names.len() < limit;
                if !is_whole {
                    return ControlFlow::Break(());
                }
                names.push((dir.join(entry.name), entry.kind));
                ControlFlow::Continue(())
            })
        });
        let error = match visited {
            Ok(()) if !is_whole => {
                let why = io::Error::other(format!("it holds more than {limit} names"));
                Some(DiskError::new(Op::ForEachEntry, dir, why))
            }
            Ok(()) => None,
            Err(error) if error.is_absent() => None,
            Err(error) => Some(error),
        };
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        (names, error)
    }

    /// Collects the files that may be an identity file: every file in the home itself and in
    /// secrets directories; in other directories every file with `identity` in its name.
    pub(super) fn collect_home(&mut self, home: &Home) {
        let config = home.config.file_stem().unwrap_or_default().to_lowercase();
        for (path, kind) in self.names(home.path.as_std_path()) {
            let name = name_of(&path);
            let is_known =
                path == home.secrets() || self.places.homes().iter().any(|other| path == other.path);
            match kind {
                FileKind::Symlink if self.leads_to_file(&path) && (is_known || name.contains(SECRETS)) => {
                    self.files.push(path);
                }
                FileKind::Dir | FileKind::Symlink if is_known => {}
                FileKind::Dir | FileKind::Symlink if name.contains(SECRETS) => {
                    self.collect_secrets(&path, MAX_KEY_LEVELS)
                }
                FileKind::Dir if name.starts_with(TEMP_PREFIX) => self.collect_secrets(&path, MAX_KEY_LEVELS),
                // Given-up files must not be found again.
                FileKind::Dir if name.starts_with(GIVEN_UP) => self.was_given_up = true,
                FileKind::Dir => {
                    let is_bulk = BULK.contains(&&*name);
                    let others = self.others.len() + if is_bulk { 0 } else { MAX_OTHERS };
                    let levels = MAX_KEY_LEVELS.max(self.daemon_levels());
                    self.collect_by_name(&path, levels, &mut { MAX_NAMES });
                    self.others.truncate(others);
                }
                FileKind::File | FileKind::Symlink if name.starts_with(&config) => self.configs.push(path),
                FileKind::File | FileKind::Symlink => self.files.push(path),
                _ => {}
            }
        }
        self.collect_secrets(home.secrets().as_std_path(), MAX_KEY_LEVELS);
    }

    /// Collects from any other directory of a home the files whose names contain `identity`, and
    /// apart from them those whose names tell nothing. Skips a directory that cannot be read or holds
    /// too many names: the directory is most likely not the daemon's, and must not block the first
    /// start.
    pub(super) fn collect_by_name(&mut self, dir: &Path, levels: usize, budget: &mut usize) {
        self.collect_peers_dir(dir);
        let (names, _) = self.list(dir, *budget);
        *budget -= names.len();
        let has_peers = self.places.homes().iter().any(|home| dir == home.rosters || dir == home.states);
        for (path, kind) in names {
            let name = name_of(&path);
            match kind {
                FileKind::Dir if name.contains(SECRETS) || name.starts_with(TEMP_PREFIX) => {
                    self.collect_secrets(&path, MAX_KEY_LEVELS);
                }
                FileKind::Dir if name.starts_with(GIVEN_UP) => {}
                FileKind::Dir if levels > 0 => self.collect_by_name(&path, levels - 1, budget),
                FileKind::Dir => self.collect_peers_dir(&path),
                FileKind::File | FileKind::Symlink
                    if name.contains(IDENTITY) || name.starts_with(TEMP_PREFIX) =>
                {
                    self.files.push(path);
                }
                // Each file among the rosters and states shows that there was a key.
                FileKind::File if !has_peers => self.others.push(path),
                _ => {}
            }
        }
    }

    /// Collects a directory if its name resembles that of a directory of rosters and states.
    fn collect_peers_dir(&mut self, dir: &Path) {
        let home = &self.places.daemon;
        let dirs = [home.rosters.parent().unwrap_or(&home.path), &home.rosters, &home.states];
        if dirs.iter().any(|known| name_of(dir).contains(&name_of(known.as_std_path()))) {
            self.peer_dirs.push(dir.to_owned());
        }
    }

    /// Returns the number of directory levels from the app's home to the daemon home.
    pub(super) fn daemon_levels(&self) -> usize {
        let IdentityPaths { app, daemon, .. } = self.places;
        daemon.path.strip_prefix(&app.path).map_or(1, |below| below.components().count())
    }

    pub(super) fn leads_to_file(&self, path: &Path) -> bool {
        self.disk.stat_follow(path).is_ok_and(|meta| meta.is_file())
    }

    /// Collects every file of a secrets directory, and of the directories in it.
    fn collect_secrets(&mut self, dir: &Path, levels: usize) {
        // The error of the directory that used the budget up says that the search is not complete.
        if self.budget == 0 {
            return;
        }
        self.collect_peers_dir(dir);
        let (names, error) = self.list(dir, self.budget);
        self.budget -= names.len();
        self.unreadable.extend(error);
        for (path, kind) in names {
            match kind {
                FileKind::File | FileKind::Symlink
                    if self.places.homes().iter().all(|home| path != home.identity) =>
                {
                    self.files.push(path);
                }
                FileKind::Dir if levels > 0 => self.collect_secrets(&path, levels - 1),
                _ => {}
            }
        }
    }

    /// Collects the backups of configs, the newest first, by the number in their names.
    pub(super) fn collect_backups(&mut self) {
        let number =
            |path: &Path| name_of(path).split('-').nth(1).and_then(|number| number.parse::<u64>().ok());
        let mut backups = self.names(self.places.backups.clone().as_std_path());
        backups.retain(|(_, kind)| *kind == FileKind::File);
        let others = backups.iter().filter(|(path, _)| number(path).is_none());
        self.files.extend(others.map(|(path, _)| path.clone()));
        backups.sort_by_key(|(path, _)| std::cmp::Reverse(number(path)));
        self.configs.extend(backups.into_iter().take(MAX_BACKUPS).map(|(path, _)| path));
    }

    /// Returns the places of the identity file in a copy of `original` with the path `copy`.
    pub(super) fn usual_places(&self, copy: &Path, original: &Utf8Path) -> impl Iterator<Item = PathBuf> {
        let below =
            move |home: &Home| home.identity.strip_prefix(original).map(|below| copy.join(below)).ok();
        self.places.homes().into_iter().filter_map(below)
    }

    pub(super) fn is_sound(&self, file: &Path) -> bool {
        let bytes = self.disk.read(file, OTHER_FILE_LIMIT).unwrap_or_default();
        matches!(inspect(&bytes), Identity::Valid(_))
    }

    /// Returns the run logs that show a Device ID of the home, the newest first, and the last
    /// Device ID in each. In a home without a key (`has_key`), the logs of the daemon follow.
    pub(super) fn last_logged_ids(&mut self, has_key: bool) -> Vec<(PathBuf, String)> {
        let mut shown = self.ids_in(run_logs(self.places), FILE_LIMIT);
        if !has_key {
            let known = self.unreadable.len();
            shown.extend(self.ids_in(daemon_logs(self.places), DAEMON_LOG_LIMIT));
            // A log grows without bound while its daemon runs, may be a device, and holds no key.
            let failed = self.unreadable.split_off(known);
            self.unreadable.extend(failed.into_iter().filter(|error| !error.is_no_file()));
        }
        shown
    }

    fn ids_in(&mut self, logs: [PathBuf; 2], limit: u64) -> Vec<(PathBuf, String)> {
        let shown = logs.into_iter().filter_map(|log| {
            let read = self.disk.read(&log, limit);
            self.unreadable.extend(read.as_ref().err().filter(|error| !error.is_absent()).cloned());
            let device_id = device_ids(&read.ok()?).next()?;
            Some((log, device_id))
        });
        shown.collect()
    }

    /// Records a file that exists and cannot be read, because it may be the identity file. Ignores
    /// an entry that is not a file, or is far too large.
    pub(super) fn record_unreadable(&mut self, path: &Path, error: DiskError) {
        if error.is_absent()
            && self.disk.stat(path).is_ok_and(|meta| meta.is_symlink())
            && let Ok(target) = self.disk.read_link(path)
        {
            return self.dangling.push((path.to_owned(), target));
        }
        if !error.is_no_file() && !error.is_absent() {
            self.unreadable.push(error);
        }
    }

    /// Returns the file if it is an identity file, or seems to be what is left of one.
    pub(super) fn identify(&mut self, path: &Path, named_by: Option<&Path>) -> Option<Misplaced> {
        let is_expected = named_by.is_some() || self.has_key_name(path);
        let limit = if is_expected { FILE_LIMIT } else { OTHER_FILE_LIMIT };
        let archive = || Identity::damaged(MAY_HOLD_KEY);
        let mut key = None;
        let identity = match self.disk.read(path, limit) {
            // Unrelated JSON with a `version` above 1 would pass as a newer identity file, and
            // trying every encoding of many large files would take minutes.
            Ok(bytes) if !(is_expected || holds_key_fields(&bytes)) => return None,
            Ok(bytes) => match inspect(&bytes) {
                Identity::Damaged { flaw: None, .. }
                    if name_of(path).contains(SET_ASIDE) || is_empty_temporary(path, &bytes) =>
                {
                    return None;
                }
                identity if is_lost(&identity) && is_archive_name(&name_of(path)) => archive(),
                identity => {
                    key = readable_key(&identity, &bytes);
                    identity
                }
            },
            Err(error) if is_expected && error.kind() == io::ErrorKind::FileTooLarge => {
                match is_archive_name(&name_of(path)) {
                    true => archive(),
                    false => Identity::damaged(TOO_LARGE),
                }
            }
            Err(error) => {
                if is_expected || suggests_identity(path) {
                    self.record_unreadable(path, error);
                }
                return None;
            }
        };
        Some(Misplaced { named_by: named_by.map(Path::to_owned), ..self.misplaced(path, identity, key) })
    }

    /// Returns the identity file in the home of the stand-alone daemon, to which the user may have
    /// moved the daemon home: only if it has the key that this home is known to have had.
    pub(super) fn find_in_shared_home(&self, scan: &Scan) -> Option<Misplaced> {
        let daemon = &self.places.daemon.path;
        let home = self.places.app.path.parent()?.join(daemon.file_name()?);
        let file = self.usual_places(home.as_std_path(), daemon).next()?;
        let identity = inspect(&self.disk.read(&file, OTHER_FILE_LIMIT).ok()?);
        let key = identity.key().filter(|key| scan.knows_key(&key.public_key))?.clone();
        Some(self.misplaced(&file, identity, Some(key)))
    }

    fn misplaced(&self, path: &Path, identity: Identity, key: Option<KeyInfo>) -> Misplaced {
        Misplaced {
            identity,
            key,
            is_named: false,
            named_by: None,
            renamed_home: None,
            peers: self.peers_beside(path),
            custody: self.custody_beside(path),
            modified: self.disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default(),
            is_symlink: self.disk.stat(path).is_ok_and(|meta| meta.is_symlink()),
            aside: free_beside(self.disk, path),
            path: path.to_owned(),
        }
    }

    /// Adds the files with a key under names that tell nothing: every sound identity file, and in a
    /// secrets directory the seed alone of a key that this home knows. If the home had a key for
    /// certain, adds the compressed files there too. Other tokens of that length prove nothing.
    pub(super) fn find_by_content(&mut self, scan: &mut Scan, files: &[PathBuf]) {
        for file in std::mem::take(&mut self.others) {
            scan.misplaced.extend(self.identify(&file, None).filter(|found| found.key.is_some()));
        }
        for file in files.iter().filter(|file| is_in_secrets(file)) {
            let bytes = self.disk.read(file, OTHER_FILE_LIMIT).unwrap_or_default();
            let is_found = scan.misplaced.iter().any(|found| found.path == *file);
            let seed = key_of_seed(&bytes).filter(|key| scan.knows_key(&key.public_key));
            let why = match seed {
                Some(_) => "it holds the seed of the key alone",
                None if !is_found && scan.is_known() && bytes.starts_with(b"\x1f\x8b") => MAY_HOLD_KEY,
                None => continue,
            };
            scan.misplaced.retain(|found| found.path != *file);
            scan.misplaced.push(self.misplaced(file, Identity::damaged(why), seed));
        }
    }

    /// Returns the custody file beside a file that is not in a secrets directory of the homes.
    fn custody_beside(&self, file: &Path) -> Option<PathBuf> {
        let dir = file.parent()?;
        let custody = dir.join(self.places.daemon.custody.file_name()?);
        let is_other = self.places.homes().iter().all(|home| dir != home.secrets());
        (is_other && self.leads_to_file(&custody)).then_some(custody)
    }

    /// Returns the rosters and states beside a secrets directory that belongs to neither home.
    fn peers_beside(&self, file: &Path) -> Option<PathBuf> {
        let secrets = file.parent()?;
        let home = &self.places.daemon;
        let dir =
            secrets.parent().filter(|_| secrets.file_name() == home.secrets().as_std_path().file_name())?;
        let peers = dir.join(home.rosters.parent()?.file_name()?);
        let is_other = self.places.homes().iter().all(|home| dir != home.path);
        (is_other && self.disk.stat_follow(&peers).is_ok_and(|meta| meta.is_dir())).then_some(peers)
    }

    /// Returns true if the name contains `identity` and the file lies in a secrets directory, or,
    /// with `json` in its name, directly in a home or among the backups; or if the file lies
    /// there and is an archive with the name of a secrets directory or of the daemon home, or
    /// beside the app's home, or in the trash, and is the archive of a home. Elsewhere the name
    /// proves nothing: a directory of models may have such files.
    fn has_key_name(&self, path: &Path) -> bool {
        let name = name_of(path);
        let mut dirs = self.places.homes().map(|home| &home.path).into_iter().chain([&self.places.backups]);
        let is_top = dirs.any(|dir| path.parent() == Some(dir.as_std_path()));
        let is_secret = path.parent().is_some_and(is_in_secrets);
        let is_key = name.contains(IDENTITY) && (is_secret || is_top && name.contains("json"));
        let is_beside = || self.dirs_of_copies().iter().any(|dir| path.parent() == Some(dir.as_std_path()));
        is_key || is_top && self.is_archive(&name) || is_archived_copy(path) && is_beside()
    }

    fn is_archive(&self, name: &str) -> bool {
        let home = self.places.daemon.path.file_name().unwrap_or_default();
        let is_of_dir = name.trim_start_matches('.').starts_with(SECRETS) || name.starts_with(home);
        is_of_dir && is_archive_name(name)
    }

    /// Reads a config, or a copy of one. Returns the paths that its `identity_path` members name,
    /// without the two places, and the existing files that its `roster_path` members name. Resolves
    /// a relative path against every directory that its writer may have meant. Records in
    /// `used_config` and `saves_networks` what the config proves.
    pub(super) fn read_config(&mut self, text: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let bytes = match self.disk.read(text, CONFIG_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                if !error.is_absent() {
                    self.record_unreadable(text, error);
                }
                return (Vec::new(), Vec::new());
            }
        };
        let content = String::from_utf8_lossy(&bytes);
        let mut identities = self.paths_of_member(&content, "identity_path");
        let is_place = |path: &PathBuf| self.places.homes().iter().any(|home| *path == home.identity);
        let is_absent = |path: &PathBuf| self.disk.stat(path).is_err_and(|error| error.is_absent());
        let names_missing = self.places.homes().iter().any(|home| home.config == *text)
            && !identities.is_empty()
            && identities.iter().all(|path| !is_place(path) && is_absent(path));
        identities.retain(|path| !is_place(path));
        let config: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if names_missing || has_networks(&config) {
            self.used_config.get_or_insert_with(|| text.to_owned());
        }
        self.saves_networks |=
            config["cloud_mesh"]["networks"].as_array().is_some_and(|saved| !saved.is_empty());
        let mut rosters = self.paths_of_member(&content, "roster_path");
        rosters.retain(|path| self.leads_to_file(path));
        (identities, rosters)
    }

    fn paths_of_member(&self, text: &str, member: &str) -> Vec<PathBuf> {
        let IdentityPaths { app, daemon, user_home, .. } = self.places;
        let bases = [&app.path, &daemon.path, user_home].map(|base| base.as_std_path());
        let resolve = |named: PathBuf| match named.strip_prefix("~") {
            Ok(rest) => vec![user_home.as_std_path().join(rest)],
            Err(_) if named.as_os_str().is_empty() => Vec::new(),
            Err(_) => bases.iter().map(|base| base.join(&named)).collect(),
        };
        let mut paths: Vec<PathBuf> = paths_named_in(text, member).into_iter().flat_map(resolve).collect();
        paths.dedup();
        paths
    }
}

/// Returns true if the bytes, in any encoding, have the members of an identity file.
fn holds_key_fields(bytes: &[u8]) -> bool {
    let text: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
    contains(&text, b"\"version\"") && contains(&text, b"\"secret_key\"")
}

/// Returns true for a temporary file without content: a daemon that died while it created its first
/// key leaves one.
fn is_empty_temporary(path: &Path, bytes: &[u8]) -> bool {
    let name = name_of(path);
    (name.ends_with(".tmp") || name.ends_with(PART_SUFFIX)) && bytes.iter().all(|&byte| byte == 0)
}

/// Returns true for a config of a daemon with networks: a daemon that has joined one has a key.
fn has_networks(config: &Value) -> bool {
    config["networks"].as_array().into_iter().flatten().any(|network| network["network_id"].is_string())
}

/// Returns the strings that a text gives to a member. The text may be torn or otherwise not JSON.
fn paths_named_in(text: &str, member: &str) -> Vec<PathBuf> {
    let key = format!("\"{member}\"");
    let value = |at: usize| {
        let value = text[at + key.len()..].trim_start().strip_prefix(':')?;
        serde_json::Deserializer::from_str(value).into_iter::<String>().next()?.ok().map(PathBuf::from)
    };
    text.match_indices(&key).filter_map(|(at, _)| value(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_identity_files_are_found_in_text_that_is_not_json() {
        let text = concat!(
            r#"{"a": 1, "identity_path" : "/k/\u0069d.json", "b": {"identity_path": null}, "#,
            r#""identity_path": "/other", "c": "#
        );
        assert_eq!(paths_named_in(text, "identity_path"), [Path::new("/k/id.json"), Path::new("/other")]);
        assert!(paths_named_in(r#"{"identity_path": "/cut"#, "identity_path").is_empty());
    }
}
