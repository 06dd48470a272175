//! Looks for the identity file: at its places first, then at every other place where a sound one
//! may lie.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{
    Disk, DiskError, FileKind, Op, PART_SUFFIX, QUARANTINE_DIR, SET_ASIDE, TEMP_PREFIX, Timestamp,
};
use myownllm_paths::camino::Utf8Path;
use serde_json::Value;

use crate::{
    file::{Identity, KeyInfo, inspect, readable_key},
    paths::{Home, IdentityPaths},
};

/// An identity file has about two hundred bytes. A file above this limit is not one.
const FILE_LIMIT: u64 = 1 << 20;
/// The limit for a file under another name, because there may be many.
const OTHER_FILE_LIMIT: u64 = 64 << 10;
/// The part of a config that is searched for the name of an identity file.
const CONFIG_LIMIT: u64 = 16 << 20;
/// The number of backups of configs that are searched, the newest first: more than the number of
/// routine backups.
const MAX_BACKUPS: usize = 64;
/// The number of names that are read from one directory.
const MAX_NAMES: usize = 4096;
/// The number of directory levels that are searched below a directory of a home that is not a
/// secrets directory.
const MAX_LEVELS: usize = 2;
/// The number of directory levels that are searched below a secrets directory, or below a directory
/// whose name resembles one.
const MAX_SECRET_LEVELS: usize = 4;
/// The common part of the names of secrets directories, and of copies of the identity file.
const SECRETS: &str = "secrets";
const IDENTITY: &str = "identity";
/// The prefix of the directories that receive given-up peers and keys.
const GIVEN_UP: &str = "given-up-";

/// The state of the place of an identity file.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PlaceState {
    /// No entry.
    Absent,
    /// A file, with symlinks followed.
    File(Identity),
    /// A file that a killed move has quarantined beside its place. The next move puts it back.
    Quarantined(Identity),
    /// The path, or a directory on the way to it, is a broken symlink.
    Dangling {
        /// The symlink.
        link: PathBuf,
        /// The target of the symlink.
        target: PathBuf,
    },
    /// An entry that exists and cannot be read.
    Unreadable(DiskError),
    /// An entry that is not a file.
    NotAFile {
        /// The path of the entry.
        path: PathBuf,
        /// The kind of the entry.
        what: &'static str,
    },
}

impl PlaceState {
    /// Returns the file there, quarantined or not.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::File(identity) | Self::Quarantined(identity) => Some(identity),
            _ => None,
        }
    }
}

/// A file that holds an identity, or held one, and lies where no daemon looks for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Misplaced {
    /// The path of the file.
    pub path: PathBuf,
    /// The state of the file.
    pub identity: Identity,
    /// The key of the file, also if a flaw keeps a daemon from reading it.
    pub key: Option<KeyInfo>,
    /// True if a roster or state names the key as an owner or controller.
    pub is_named: bool,
    /// The config that names the file, if the file was found by that name.
    pub named_by: Option<PathBuf>,
    /// The time of the last change of the content.
    pub(crate) modified: Timestamp,
    /// True for a symlink: after a rename it could lead elsewhere.
    pub(crate) is_link: bool,
    /// A free name beside the file.
    pub(crate) aside: PathBuf,
}

/// The files in one home that know the device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownBy {
    /// The number of rosters.
    pub rosters: usize,
    /// The number of signed states.
    pub states: usize,
    /// The number of custody files, which a daemon writes only beside its identity file.
    pub custody: usize,
}

impl KnownBy {
    /// Returns true if the home has no such file.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The content of one home.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HomeScan {
    /// The state of the place of the identity file.
    pub state: PlaceState,
    /// The rosters and states that know the device. Counted only if no sound identity file is
    /// active.
    pub known_by: KnownBy,
    /// The paths that hold these files: the directories in the home, or the files themselves.
    pub(crate) evidence: Vec<PathBuf>,
    /// True if the secrets directory exists.
    pub(crate) has_secrets: bool,
    /// The entry in the place of the secrets directory that is none, and a free name beside it.
    pub(crate) blocked: Option<(PathBuf, PathBuf)>,
    /// A free name beside the place of the identity file, for the entry in that place.
    pub(crate) aside: PathBuf,
    /// A free name in the home, for given-up files.
    pub(crate) given_up: PathBuf,
}

/// The findings about the identity file, in every place. [`scan`] makes them; [`Scan::answer`]
/// derives the answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scan {
    /// The places that were searched.
    pub places: IdentityPaths,
    /// The daemon home.
    pub daemon: HomeScan,
    /// The app's home: the old location.
    pub app: HomeScan,
    /// Files under other names, the usable ones first. Searched only if no sound file is active.
    pub misplaced: Vec<Misplaced>,
    /// Paths that could not be looked at and may hold an identity file.
    pub unreadable: Vec<DiskError>,
    /// Symlinks to nothing that may lead to an identity file, and their targets.
    pub(crate) dangling: Vec<(PathBuf, PathBuf)>,
    /// Symlinks to nothing that may lead to rosters and states, and their targets.
    pub(crate) dangling_peers: Vec<(PathBuf, PathBuf)>,
    /// The public keys that rosters and states name as owners or controllers. The rosters of an open
    /// network name only the peers, so a plain member proves nothing.
    pub(crate) named: BTreeSet<String>,
}

/// Looks for the identity file. Takes no lock, writes nothing.
///
/// If a sound file is active, the scan needs a handful of calls. Otherwise it searches every place
/// where a file may lie, up to a bound.
#[must_use]
pub fn scan(disk: &dyn Disk, places: &IdentityPaths) -> Scan {
    let seen = |state: PlaceState| HomeScan {
        state,
        known_by: KnownBy::default(),
        evidence: Vec::new(),
        has_secrets: true,
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
    let (daemon, app) = (seen(daemon), seen(app));
    let mut scan = Scan {
        places: places.clone(),
        daemon,
        app,
        misplaced: Vec::new(),
        unreadable: Vec::new(),
        dangling: Vec::new(),
        dangling_peers: Vec::new(),
        named: BTreeSet::new(),
    };
    if !scan.answer().has_key() {
        search(disk, &mut scan);
    }
    scan
}

/// [`scan`], and searches every place even if a sound file is active, for [`Scan::better_known`].
#[must_use]
pub fn scan_everywhere(disk: &dyn Disk, places: &IdentityPaths) -> Scan {
    let mut scan = scan(disk, places);
    if scan.answer().has_key() {
        search(disk, &mut scan);
    }
    scan
}

/// Returns true if no entry has the name, also if a part of the path is not a directory.
fn is_absent(error: &DiskError) -> bool {
    error.is_not_found() || error.kind() == io::ErrorKind::NotADirectory
}

/// Returns the state of the place of the identity file in a home.
fn place_state(disk: &dyn Disk, home: &Home, is_daemon: bool) -> PlaceState {
    match file_at(disk, home.identity.as_std_path()) {
        PlaceState::Absent => {}
        found => return found,
    }
    // `file_at` also reports a name below a broken symlink, or below a file, as absent.
    let mut has_secrets = true;
    for dir in [home.secrets(), &home.path] {
        let meta = match disk.stat(dir.as_std_path()) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => {
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
            Err(error) if meta.is_symlink() && is_absent(&error) => return dangling(disk, dir.as_std_path()),
            Err(error) if is_absent(&error) => {}
            Err(error) => return PlaceState::Unreadable(error),
        }
    }
    match has_secrets.then(|| quarantined(disk, home)).transpose().map(Option::flatten) {
        Ok(Some(bytes)) => PlaceState::Quarantined(inspect(&bytes)),
        Err(error) if !is_absent(&error) => PlaceState::Unreadable(error),
        _ => PlaceState::Absent,
    }
}

/// Returns the target of a symlink that leads nowhere, or in a circle; `None` for any other entry.
fn dangling_target(disk: &dyn Disk, path: &Path) -> Result<Option<PathBuf>, DiskError> {
    match disk.stat(path) {
        Ok(meta) if meta.is_symlink() => {}
        Err(error) if !is_absent(&error) => return Err(error),
        _ => return Ok(None),
    }
    match disk.stat_follow(path) {
        Err(error) if is_absent(&error) || error.is_symlink_loop() => disk.read_link(path).map(Some),
        other => other.map(|_| None),
    }
}

/// Returns the first symlink on the way from a home to its rosters and states that leads nowhere,
/// or in a circle, and its target. Such a symlink hides the peers, for example on an unplugged disk.
pub(crate) fn dangling_peers(disk: &dyn Disk, home: &Home) -> Result<Option<(PathBuf, PathBuf)>, DiskError> {
    for place in [&home.states, &home.rosters, &home.legacy_roster] {
        let mut way: Vec<_> = place.ancestors().take_while(|above| *above != home.path).collect();
        while let Some(path) = way.pop() {
            match dangling_target(disk, path.as_std_path()) {
                Ok(None) => {}
                Ok(Some(target)) => return Ok(Some((path.into(), target))),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(None)
}

fn dangling(disk: &dyn Disk, link: &Path) -> PlaceState {
    match disk.read_link(link) {
        Ok(target) => PlaceState::Dangling { link: link.to_owned(), target },
        Err(error) => PlaceState::Unreadable(error),
    }
}

/// Returns the state of a path that may hold an identity file.
fn file_at(disk: &dyn Disk, path: &Path) -> PlaceState {
    let error = match disk.read(path, FILE_LIMIT) {
        Ok(bytes) => return PlaceState::File(inspect(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return PlaceState::File(Identity::damaged("the file is far too large for a key"));
        }
        Err(error) => error,
    };
    let meta = match disk.stat(path) {
        Ok(meta) => meta,
        Err(gone) if is_absent(&gone) => return PlaceState::Absent,
        Err(_) => return PlaceState::Unreadable(error),
    };
    match disk.stat_follow(path) {
        Err(gone) if meta.is_symlink() && is_absent(&gone) => dangling(disk, path),
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
fn quarantined(disk: &dyn Disk, home: &Home) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(name) = home.identity.file_name() else { return Ok(None) };
    let path = home.secrets().join(QUARANTINE_DIR).join(name).into_std_path_buf();
    // A relative symlink is resolved from its original place.
    let path = match disk.stat(&path)? {
        meta if meta.is_symlink() => home.secrets().as_std_path().join(disk.read_link(&path)?),
        meta if meta.is_file() => path,
        _ => return Ok(None),
    };
    disk.read(&path, FILE_LIMIT).map(Some)
}

/// Searches every place where an identity file may lie under another name, and counts the files
/// that know the device.
fn search(disk: &dyn Disk, scan: &mut Scan) {
    let places = scan.places.clone();
    let mut search = Search {
        disk,
        places: &places,
        files: Vec::new(),
        texts: Vec::new(),
        dangling: Vec::new(),
        dangling_peers: Vec::new(),
        named: BTreeSet::new(),
        unreadable: Vec::new(),
    };
    for home in places.homes() {
        search.collect_home(home);
    }
    search.collect_backups();
    let mut misplaced: Vec<Misplaced> = Vec::new();
    let mut files = std::mem::take(&mut search.files);
    files.sort();
    files.dedup();
    for file in &files {
        misplaced.extend(search.identify(file, None));
    }
    let mut rosters = Vec::new();
    for text in std::mem::take(&mut search.texts) {
        let (identities, named_rosters) = search.named_in(&text);
        rosters.extend(named_rosters);
        for file in identities {
            if !misplaced.iter().any(|known| known.path == file) {
                misplaced.extend(search.identify(&file, Some(&text)));
            }
        }
    }
    for (home, seen) in [(&places.daemon, &mut scan.daemon), (&places.app, &mut scan.app)] {
        search.count_known_by(home, &files, seen);
        let is_dir = |dir: &Path| disk.stat_follow(dir).ok().map(|meta| meta.is_dir());
        seen.has_secrets = is_dir(home.secrets().as_std_path()) == Some(true);
        let blocked = [home.secrets(), &home.path].map(Utf8Path::as_std_path);
        let blocked = blocked.into_iter().find(|dir| is_dir(dir) == Some(false));
        seen.blocked = blocked.map(|dir| (dir.to_owned(), free_beside(disk, dir)));
        seen.aside = match &seen.state {
            PlaceState::NotAFile { path, .. } => free_beside(disk, path),
            _ => free_beside(disk, home.identity.as_std_path()),
        };
        seen.given_up = free_name(disk, |number| home.path.join(format!("{GIVEN_UP}{number}")).into());
    }
    rosters.sort();
    rosters.dedup();
    for roster in rosters {
        let bytes = disk.read(&roster, FILE_LIMIT).unwrap_or_default();
        search.named.extend(owners_in(&bytes));
        let is_old = roster.starts_with(&places.app.path) && !roster.starts_with(&places.daemon.path);
        let seen = if is_old { &mut scan.app } else { &mut scan.daemon };
        if !seen.evidence.iter().any(|known| roster.starts_with(known)) {
            seen.known_by.rosters += 1;
            seen.evidence.push(roster);
        }
    }
    for found in &mut misplaced {
        found.is_named = found.key.as_ref().is_some_and(|key| search.named.contains(&key.public_key));
    }
    misplaced.sort_by_key(|found| {
        let name = found.path.file_name().unwrap_or_default().to_string_lossy();
        let lost_before = name.contains(SET_ASIDE);
        let newest = std::cmp::Reverse(found.modified);
        (
            is_lost(&found.identity),
            !found.is_named,
            !matches!(found.identity, Identity::Valid(_) | Identity::Newer { .. }),
            lost_before,
            found.named_by.is_some(),
            !suggests_identity(&found.path),
            newest,
            found.path.clone(),
        )
    });
    scan.misplaced = misplaced;
    scan.dangling = search.dangling;
    scan.dangling_peers = search.dangling_peers;
    scan.named = search.named;
    scan.unreadable = search.unreadable;
}

/// Returns true if no command can make a sound key of the file.
pub(crate) fn is_lost(identity: &Identity) -> bool {
    matches!(identity, Identity::Damaged { flaw: None, .. })
}

/// Returns a free name beside `path` that no program reads.
fn free_beside(disk: &dyn Disk, path: &Path) -> PathBuf {
    free_name(disk, |number| {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!("{SET_ASIDE}{number}"));
        path.with_file_name(name)
    })
}

fn free_name(disk: &dyn Disk, name: impl Fn(u32) -> PathBuf) -> PathBuf {
    let is_free = |path: &PathBuf| disk.stat(path).is_err_and(|error| is_absent(&error));
    (1..1000).map(&name).find(is_free).unwrap_or_else(|| name(1000))
}

struct Search<'a> {
    disk: &'a dyn Disk,
    places: &'a IdentityPaths,
    /// Files that may be identity files.
    files: Vec<PathBuf>,
    /// Files that may be configs of the daemon.
    texts: Vec<PathBuf>,
    /// Symlinks to nothing, and their targets.
    dangling: Vec<(PathBuf, PathBuf)>,
    dangling_peers: Vec<(PathBuf, PathBuf)>,
    /// The public keys that rosters and states name as owners or controllers.
    named: BTreeSet<String>,
    unreadable: Vec<DiskError>,
}

impl Search<'_> {
    /// Returns the names in a directory, up to a bound; none if the directory is missing.
    fn names(&mut self, dir: &Path) -> Vec<(PathBuf, FileKind)> {
        let (names, error) = self.list(dir, MAX_NAMES);
        self.unreadable.extend(error);
        names
    }

    /// Returns the names in a directory, up to a bound, and the reason why they are not all.
    fn list(&self, dir: &Path, limit: usize) -> (Vec<(PathBuf, FileKind)>, Option<DiskError>) {
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
            Err(error) if is_absent(&error) => None,
            Err(error) => Some(error),
        };
        names.sort_by(|(one, _), (other, _)| one.cmp(other));
        (names, error)
    }

    /// Collects the files that may be an identity file: every file in the home itself and in
    /// secrets directories; in other directories every file with `identity` in its name.
    fn collect_home(&mut self, home: &Home) {
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
                    self.collect_secrets(&path, MAX_SECRET_LEVELS)
                }
                FileKind::Dir if name.starts_with(TEMP_PREFIX) => {
                    self.collect_secrets(&path, MAX_SECRET_LEVELS)
                }
                // Given-up files must not be found again.
                FileKind::Dir if !name.starts_with(GIVEN_UP) => {
                    let mut budget = MAX_NAMES;
                    self.collect_by_name(&path, MAX_LEVELS, &mut budget);
                }
                FileKind::File | FileKind::Symlink if name.starts_with(&config) => self.texts.push(path),
                FileKind::File | FileKind::Symlink => self.files.push(path),
                _ => {}
            }
        }
        self.collect_secrets(home.secrets().as_std_path(), MAX_SECRET_LEVELS);
    }

    /// Collects from any other directory of a home the files whose names contain `identity`. Skips
    /// a directory that cannot be read or holds too many names: the directory is most likely not
    /// the daemon's, and must not block the first start.
    fn collect_by_name(&mut self, dir: &Path, levels: usize, budget: &mut usize) {
        let (names, _) = self.list(dir, *budget);
        *budget -= names.len();
        for (path, kind) in names {
            let name = name_of(&path);
            match kind {
                FileKind::Dir if name.contains(SECRETS) || name.starts_with(TEMP_PREFIX) => {
                    self.collect_secrets(&path, MAX_SECRET_LEVELS);
                }
                FileKind::Dir if levels > 0 => self.collect_by_name(&path, levels - 1, budget),
                FileKind::File | FileKind::Symlink
                    if name.contains(IDENTITY) || name.starts_with(TEMP_PREFIX) =>
                {
                    self.files.push(path);
                }
                _ => {}
            }
        }
    }

    fn leads_to_file(&self, link: &Path) -> bool {
        self.disk.stat_follow(link).is_ok_and(|meta| meta.is_file())
    }

    /// Collects every file of a secrets directory, and of the directories in it.
    fn collect_secrets(&mut self, dir: &Path, levels: usize) {
        for (path, kind) in self.names(dir) {
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
    fn collect_backups(&mut self) {
        let number =
            |path: &Path| name_of(path).split('-').nth(1).and_then(|number| number.parse::<u64>().ok());
        let mut backups = self.names(self.places.backups.clone().as_std_path());
        backups.retain(|(_, kind)| *kind == FileKind::File);
        let others = backups.iter().filter(|(path, _)| number(path).is_none());
        self.files.extend(others.map(|(path, _)| path.clone()));
        backups.sort_by_key(|(path, _)| std::cmp::Reverse(number(path)));
        self.texts.extend(backups.into_iter().take(MAX_BACKUPS).map(|(path, _)| path));
    }

    /// Records a file that exists and cannot be read, because it may be the identity file. Ignores
    /// an entry that is not a file, or is far too large.
    fn record_unreadable(&mut self, path: &Path, error: DiskError) {
        if is_absent(&error)
            && self.disk.stat(path).is_ok_and(|meta| meta.is_symlink())
            && let Ok(target) = self.disk.read_link(path)
        {
            return self.dangling.push((path.to_owned(), target));
        }
        let is_other = matches!(
            error.kind(),
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
        );
        if !is_other && !is_absent(&error) {
            self.unreadable.push(error);
        }
    }

    /// Returns the file if it is an identity file, or seems to be what is left of one.
    fn identify(&mut self, path: &Path, named_by: Option<&Path>) -> Option<Misplaced> {
        let is_named = named_by.is_some() || self.has_key_name(path);
        let limit = if is_named { FILE_LIMIT } else { OTHER_FILE_LIMIT };
        let mut key = None;
        let identity = match self.disk.read(path, limit) {
            Ok(bytes) => match inspect(&bytes) {
                Identity::Damaged { flaw: None, .. }
                    if name_of(path).contains(SET_ASIDE)
                        || !(holds_key_fields(&bytes) || is_named && !is_empty_temporary(path, &bytes)) =>
                {
                    return None;
                }
                identity => {
                    key = readable_key(&identity, &bytes);
                    identity
                }
            },
            Err(error) if is_named && error.kind() == io::ErrorKind::FileTooLarge => {
                Identity::damaged("the file is far too large for a key")
            }
            Err(error) => {
                if named_by.is_some() || suggests_identity(path) {
                    self.record_unreadable(path, error);
                }
                return None;
            }
        };
        let modified = self.disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default();
        let is_link = self.disk.stat(path).is_ok_and(|meta| meta.is_symlink());
        let named_by = named_by.map(Path::to_owned);
        let aside = free_beside(self.disk, path);
        let path = path.to_owned();
        Some(Misplaced { path, identity, key, is_named: false, named_by, modified, is_link, aside })
    }

    /// Returns true if a file with this path can hardly be anything but an identity file. In a
    /// directory of models, for example, a name alone says nothing.
    fn has_key_name(&self, path: &Path) -> bool {
        let name = name_of(path);
        let mut dirs = self.places.homes().map(|home| &home.path).into_iter().chain([&self.places.backups]);
        let is_top = dirs.any(|dir| path.parent() == Some(dir.as_std_path()));
        let is_secret = path.parent().is_some_and(is_secrets);
        name.contains(IDENTITY) && (is_secret || is_top && name.contains("json"))
    }

    /// Returns the existing files that a text names as identity files, without the two places
    /// themselves, and as rosters. The text may be a config. A relative path is resolved against
    /// every directory that its writer may have meant.
    fn named_in(&mut self, text: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let bytes = match self.disk.read(text, CONFIG_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                if !is_absent(&error) {
                    self.record_unreadable(text, error);
                }
                return (Vec::new(), Vec::new());
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let mut identities = self.resolved(&text, "identity_path");
        identities.retain(|path| self.places.homes().iter().all(|home| *path != home.identity));
        let mut rosters = self.resolved(&text, "roster_path");
        rosters.retain(|path| self.leads_to_file(path));
        (identities, rosters)
    }

    fn resolved(&self, text: &str, member: &str) -> Vec<PathBuf> {
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

    /// Counts the files in a home that know the device. `files` are the files that were searched
    /// for the identity.
    fn count_known_by(&mut self, home: &Home, files: &[PathBuf], seen: &mut HomeScan) {
        let dangling = dangling_peers(self.disk, home);
        self.note_dangling_peers(dangling);
        let mut known_by = KnownBy {
            rosters: self.count_peer_files(home.rosters.as_std_path(), MAX_LEVELS),
            states: self.count_peer_files(home.states.as_std_path(), MAX_LEVELS),
            custody: 0,
        };
        match self.disk.stat_follow(home.legacy_roster.as_std_path()) {
            Ok(meta) => known_by.rosters += usize::from(meta.is_file()),
            Err(error) if is_absent(&error) => {}
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
            if is_dir && (path == peers || !is_home && name_of(&path).contains(&name_of_peers)) {
                let dangling = dangling_target(self.disk, &path);
                self.note_dangling_peers(dangling.map(|target| target.map(|target| (path.clone(), target))));
                let before = known_by.clone();
                self.count_copied_peers(&path, MAX_LEVELS, &mut known_by);
                if known_by != before && !evidence.contains(&path) {
                    evidence.push(path);
                }
            }
        }
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

    /// Counts the rosters or states in a directory. Includes copies, the files that a daemon could
    /// not parse or was writing when it died, and the files that a killed move has quarantined.
    fn count_peer_files(&mut self, dir: &Path, levels: usize) -> usize {
        let mut count = 0;
        for (path, kind) in self.names(dir) {
            match kind {
                FileKind::File | FileKind::Symlink => count += usize::from(self.is_peer_file(&path)),
                FileKind::Dir if levels > 0 => count += self.count_peer_files(&path, levels - 1),
                _ => {}
            }
        }
        count
    }

    /// Returns true if a file among the rosters and states is one of them, by its name or, under
    /// the name of a temporary or of a copy, by its content.
    fn is_peer_file(&mut self, path: &Path) -> bool {
        let bytes = self.disk.read(path, FILE_LIMIT).unwrap_or_default();
        let holds = |member: &[u8]| contains(&bytes, member);
        self.named.extend(owners_in(&bytes));
        name_of(path).contains(".json") || holds(b"authorized_devices") || holds(b"network_id")
    }
}

/// Returns the name of a file in lower case.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().to_lowercase()
}

/// Returns true if the name of a file, or of a directory on the way to it, suggests an identity
/// file.
fn suggests_identity(path: &Path) -> bool {
    name_of(path).contains(IDENTITY) || is_secrets(path)
}

fn is_secrets(path: &Path) -> bool {
    path.iter().any(|part| part.to_string_lossy().to_lowercase().contains(SECRETS))
}

/// Returns the public keys that a roster or state names as owners or controllers, and those that
/// signed its transitions.
fn owners_in(bytes: &[u8]) -> Vec<String> {
    let Ok(peers) = serde_json::from_slice::<Value>(bytes) else { return Vec::new() };
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let rules = |role: &Value| matches!(role.as_str(), Some("owner" | "controller"));
    let devices = array(&peers["authorized_devices"]).into_iter().filter(|device| rules(&device["role"]));
    let roles = peers["roles"].as_object().into_iter().flatten().filter(|(_, role)| rules(role));
    let signers = array(&peers["transitions"]).into_iter().flat_map(|step| array(&step["signers"]));
    let named = devices.map(|device| device["device_id"].clone()).chain(signers);
    let named = named.filter_map(|key| key.as_str().map(str::to_owned));
    let named = named.chain(roles.map(|(key, _)| key.clone()));
    named.map(|key| key.split('-').next().unwrap_or_default().to_lowercase()).collect()
}

/// Returns true if the bytes, in any encoding, have the members of an identity file.
fn holds_key_fields(bytes: &[u8]) -> bool {
    let text: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != 0).collect();
    contains(&text, b"\"version\"") && contains(&text, b"\"secret_key\"")
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Returns true for a temporary file without content: a daemon that died while it created its first
/// key leaves one.
fn is_empty_temporary(path: &Path, bytes: &[u8]) -> bool {
    let name = name_of(path);
    (name.ends_with(".tmp") || name.ends_with(PART_SUFFIX)) && bytes.iter().all(|&byte| byte == 0)
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
        let text = r#"{"a": 1, "identity_path" : "/k/\u0069d.json", "b": {"identity_path": null}, "identity_path": "/other", "c": "#;
        assert_eq!(paths_named_in(text, "identity_path"), [Path::new("/k/id.json"), Path::new("/other")]);
        assert!(paths_named_in(r#"{"identity_path": "/cut"#, "identity_path").is_empty());
    }
}
