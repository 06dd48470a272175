//! Looking for the identity file: at its places, and, where it is at none, at every other place where a sound one may lie.

use std::{
    ffi::OsStr,
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{CLAIM_DIR, Disk, DiskError, FileKind, Op, SET_ASIDE, TEMP_PREFIX, Timestamp};

use crate::{
    file::{Identity, inspect},
    places::{Home, Places},
};

/// An identity file is some two hundred bytes. A file that is larger than this is none.
const FILE_LIMIT: u64 = 1 << 20;
/// The same of a file under another name, of which there may be many.
const OTHER_LIMIT: u64 = 64 << 10;
/// How much of a config is read for the name of an identity file.
const CONFIG_LIMIT: u64 = 16 << 20;
/// How many backups of configs are looked into, the newest first: more than are kept of the routine ones.
const BACKUPS: usize = 64;
/// How many names of one directory are looked at.
const NAMES: usize = 4096;
/// How many levels of directories are looked through below a directory of a home that is none of secrets.
const LEVELS: usize = 2;
/// What the names of directories of secrets, and of copies of the identity file, have in common.
const SECRETS: &str = "secrets";
const IDENTITY: &str = "identity";
/// The beginning of the names of directories into which peers and keys are given up.
const GIVEN_UP: &str = "given-up-";

/// What is where an identity file belongs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Spot {
    /// Nothing.
    Absent,
    /// A file, symlinks followed.
    File(Identity),
    /// A file that a killed move has quarantined beside its place; the next move puts it back.
    Quarantined(Identity),
    /// The path, or a directory on the way to it, is a symlink that leads nowhere.
    Dangling {
        /// The symlink.
        link: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// Something that is there and cannot be read.
    Unreadable(DiskError),
    /// Something else than a file.
    Odd {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
}

impl Spot {
    /// The file there, quarantined or not.
    pub fn identity(&self) -> Option<&Identity> {
        match self {
            Self::File(identity) | Self::Quarantined(identity) => Some(identity),
            _ => None,
        }
    }
}

/// Where the config of the daemon says that its identity file is.
#[derive(Clone, Debug)]
pub(crate) enum Named {
    /// In its home, or nowhere: it uses the one in its home.
    Home,
    /// The config is there and cannot be read.
    Unreadable(DiskError),
    /// At a path that is not absolute.
    Relative(PathBuf),
    /// In a file elsewhere.
    Elsewhere(PathBuf, Spot),
    /// At a path from which the file has moved to the daemon's home.
    Stale { named: PathBuf, moved: PathBuf, identity: Identity },
}

/// A sound identity file, or one of a newer version, that lies where no daemon looks for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Misplaced {
    /// Where.
    pub path: PathBuf,
    /// What it is.
    pub identity: Identity,
    /// The config that names it, where it was found by that.
    pub named_by: Option<PathBuf>,
    /// When its content changed last.
    pub(crate) modified: Timestamp,
    /// It is a symlink: renamed, it could lead elsewhere.
    pub(crate) is_link: bool,
}

/// Who knows the device, in one home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownBy {
    /// How many rosters.
    pub rosters: usize,
    /// How many signed states.
    pub states: usize,
}

impl KnownBy {
    /// Nobody there.
    pub fn is_nobody(&self) -> bool {
        *self == Self::default()
    }
}

/// What one home holds.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// What is where the identity file belongs.
    pub spot: Spot,
    /// Who knows the device. Counted where there is no sound identity file in force.
    pub known_by: KnownBy,
    /// The directory of the secrets is there.
    pub(crate) has_secrets: bool,
    /// A free name beside what is in the place of the identity file, for that.
    pub(crate) aside: PathBuf,
    /// A free name in the home, for what is given up.
    pub(crate) given_up: PathBuf,
}

/// What was seen of the identity file, in every place. Made by [`look`]; [`Look::answer`] says what follows.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Look {
    /// Where was looked.
    pub places: Places,
    /// The daemon's home.
    pub daemon: Seen,
    /// The app's home: the old location.
    pub app: Seen,
    /// Sound files under other names. Looked for where there is no sound one in force.
    pub misplaced: Vec<Misplaced>,
    /// What could not be looked at and may hold an identity file.
    pub unreadable: Vec<DiskError>,
    pub(crate) named: Named,
    /// Free names beside the config of the daemon and what that names.
    pub(crate) config_aside: PathBuf,
    pub(crate) named_aside: PathBuf,
}

/// Looks for the identity file. Takes no lock, writes nothing.
///
/// Where a sound one is in force that is a handful of calls; else every place is looked at where one may lie, up to a bound.
#[must_use]
pub fn look(disk: &dyn Disk, places: &Places) -> Look {
    let seen = |spot: Spot| Seen {
        spot,
        known_by: KnownBy::default(),
        has_secrets: true,
        aside: PathBuf::new(),
        given_up: PathBuf::new(),
    };
    let daemon = spot(disk, &places.daemon, true);
    // At a start with nothing to do the app's home has no secrets any more: one call tells, as the home is there with what is in it.
    let is_inside = places.daemon.path.starts_with(&places.app.path) && matches!(daemon, Spot::File(_));
    let app = match disk.stat(places.app.secrets()) {
        Err(error) if is_inside && error.is_not_found() => Spot::Absent,
        _ => spot(disk, &places.app, false),
    };
    let (daemon, app) = (seen(daemon), seen(app));
    let named = named(disk, places);
    let mut look = Look {
        places: places.clone(),
        daemon,
        app,
        named,
        misplaced: Vec::new(),
        unreadable: Vec::new(),
        config_aside: PathBuf::new(),
        named_aside: PathBuf::new(),
    };
    if !look.answer().is_key() {
        search(disk, &mut look);
    }
    look
}

/// Nothing has that name, also where what should be a directory on the way is none.
fn is_absent(error: &DiskError) -> bool {
    error.is_not_found() || error.kind() == io::ErrorKind::NotADirectory
}

/// What is where the identity file of a home belongs.
fn spot(disk: &dyn Disk, home: &Home, is_daemon: bool) -> Spot {
    match file_at(disk, &home.identity) {
        Spot::Absent => {}
        found => return found,
    }
    // Below a symlink that leads nowhere, or below a file, the name is as absent as can be.
    let mut has_secrets = true;
    for dir in [home.secrets(), &home.path] {
        let meta = match disk.stat(dir) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => {
                has_secrets = false;
                continue;
            }
            Err(error) => return Spot::Unreadable(error),
        };
        match disk.stat_follow(dir) {
            // What is above it is there as well.
            Ok(meta) if meta.is_dir() => break,
            Ok(_) if is_daemon => return Spot::Odd { path: dir.to_owned(), what: "no directory" },
            Ok(_) => return Spot::Absent,
            Err(error) if meta.is_symlink() && is_absent(&error) => return dangling(disk, dir),
            Err(error) if is_absent(&error) => {}
            Err(error) => return Spot::Unreadable(error),
        }
    }
    match has_secrets.then(|| quarantined(disk, home)).transpose().map(Option::flatten) {
        Ok(Some(bytes)) => Spot::Quarantined(inspect(&bytes)),
        Err(error) if !is_absent(&error) => Spot::Unreadable(error),
        _ => Spot::Absent,
    }
}

fn dangling(disk: &dyn Disk, link: &Path) -> Spot {
    match disk.read_link(link) {
        Ok(target) => Spot::Dangling { link: link.to_owned(), target },
        Err(error) => Spot::Unreadable(error),
    }
}

/// What is at a path at which an identity file may be.
fn file_at(disk: &dyn Disk, path: &Path) -> Spot {
    let error = match disk.read(path, FILE_LIMIT) {
        Ok(bytes) => return Spot::File(inspect(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
            return Spot::File(Identity::damaged("the file is far too large for a key"));
        }
        Err(error) => error,
    };
    let meta = match disk.stat(path) {
        Ok(meta) => meta,
        Err(gone) if is_absent(&gone) => return Spot::Absent,
        Err(_) => return Spot::Unreadable(error),
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
            Spot::Odd { path: path.to_owned(), what }
        }
        _ => Spot::Unreadable(error),
    }
}

/// The identity file that a killed move has quarantined.
fn quarantined(disk: &dyn Disk, home: &Home) -> Result<Option<Vec<u8>>, DiskError> {
    let Some(name) = home.identity.file_name() else { return Ok(None) };
    let path = home.secrets().join(CLAIM_DIR).join(name);
    // A relative symlink leads somewhere only from where it belongs.
    let path = match disk.stat(&path)? {
        meta if meta.is_symlink() => home.secrets().join(disk.read_link(&path)?),
        meta if meta.is_file() => path,
        _ => return Ok(None),
    };
    disk.read(&path, FILE_LIMIT).map(Some)
}

/// Where the config of the daemon says that its identity file is.
fn named(disk: &dyn Disk, places: &Places) -> Named {
    let bytes = match disk.read(&places.daemon_config, CONFIG_LIMIT) {
        Ok(bytes) => bytes,
        Err(error) => {
            return match error.kind() {
                // What is no file, or far too large, is no config that a daemon starts on.
                io::ErrorKind::NotFound
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::IsADirectory
                | io::ErrorKind::FileTooLarge => Named::Home,
                _ => Named::Unreadable(error),
            };
        }
    };
    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default)]
        identity_path: Option<serde_json::Value>,
    }
    let named = match serde_json::from_slice::<Config>(&bytes) {
        Ok(config) => config.identity_path.and_then(|named| Some(PathBuf::from(named.as_str()?))),
        // A repair takes the whole members out of a torn config, and gives the daemon its part.
        Err(_) if places.daemon_config != places.daemon.config => {
            paths_named_in(&String::from_utf8_lossy(&bytes)).into_iter().next()
        }
        // A daemon that goes on at all with a damaged config goes on with its defaults.
        Err(_) => None,
    };
    let Some(named) = named.filter(|named| !named.as_os_str().is_empty()) else { return Named::Home };
    if !named.is_absolute() {
        return Named::Relative(named);
    }
    let real = |path: &Path| disk.canonicalize(path).ok();
    if named == places.daemon.identity
        || real(&named).is_some_and(|named| real(&places.daemon.identity) == Some(named))
    {
        return Named::Home;
    }
    let is_app = named == places.app.identity
        || real(&named).is_some_and(|named| real(&places.app.identity) == Some(named));
    let named = if is_app { places.app.identity.clone() } else { named };
    let spot = file_at(disk, &named);
    if let Spot::Absent = spot
        && let Ok(relative) = named.strip_prefix(&places.app.path)
    {
        let moved = places.daemon.path.join(relative);
        if let Spot::File(identity @ Identity::Valid(_)) = file_at(disk, &moved) {
            return Named::Stale { named, moved, identity };
        }
    }
    Named::Elsewhere(named, spot)
}

/// Looks at every place where an identity file may lie under another name, and for who knows the device.
fn search(disk: &dyn Disk, look: &mut Look) {
    let places = look.places.clone();
    let mut search =
        Search { disk, places: &places, files: Vec::new(), texts: Vec::new(), unreadable: Vec::new() };
    for home in places.homes() {
        search.home(home);
    }
    search.backups();
    let mut misplaced: Vec<Misplaced> = Vec::new();
    let mut files = std::mem::take(&mut search.files);
    files.sort();
    files.dedup();
    for file in files {
        misplaced.extend(search.misplaced(&file, None));
    }
    for text in std::mem::take(&mut search.texts) {
        for file in search.named_in(&text) {
            if !misplaced.iter().any(|known| known.path == file) {
                misplaced.extend(search.misplaced(&file, Some(&text)));
            }
        }
    }
    for (home, seen) in [(&places.daemon, &mut look.daemon), (&places.app, &mut look.app)] {
        seen.known_by = search.known_by(home);
        seen.has_secrets = disk.stat_follow(home.secrets()).is_ok();
        seen.aside = match &seen.spot {
            Spot::Odd { path, .. } => free_beside(disk, path),
            _ => free_beside(disk, &home.identity),
        };
        seen.given_up = free_name(disk, |number| home.path.join(format!("{GIVEN_UP}{number}")));
    }
    misplaced.sort_by_key(|found| {
        let name = found.path.file_name().unwrap_or_default().to_string_lossy();
        let lost_before = name.contains(SET_ASIDE);
        let newest = std::cmp::Reverse(found.modified);
        (lost_before, found.named_by.is_some(), !says_identity(&found.path), newest, found.path.clone())
    });
    look.misplaced = misplaced;
    look.config_aside = free_beside(disk, &places.daemon_config);
    if let Named::Elsewhere(named, _) = &look.named {
        look.named_aside = free_beside(disk, named);
    }
    look.unreadable = search.unreadable;
}

/// A free name beside this one, which no program reads.
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
    places: &'a Places,
    /// Files that may be identity files.
    files: Vec<PathBuf>,
    /// Files that may be configs of the daemon.
    texts: Vec<PathBuf>,
    unreadable: Vec<DiskError>,
}

impl Search<'_> {
    /// The names in a directory, up to a bound; none where there is no such directory.
    fn names(&mut self, dir: &Path) -> Vec<(PathBuf, FileKind)> {
        let (names, error) = self.list(dir, NAMES);
        self.unreadable.extend(error);
        names
    }

    /// The names in a directory, up to a bound, and why these are not all.
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

    /// The files that may be an identity file: every file in the home itself and in directories of secrets, and elsewhere every file
    /// whose name says so.
    fn home(&mut self, home: &Home) {
        let config = name_of(&home.config);
        for (path, kind) in self.names(&home.path) {
            let name = name_of(&path);
            let is_known =
                path == home.secrets() || self.places.homes().iter().any(|other| path == other.path);
            match kind {
                FileKind::Dir | FileKind::Symlink if is_known => {}
                FileKind::Dir | FileKind::Symlink if name.contains(SECRETS) => self.secrets(&path, false),
                // What was given up is not to be found again.
                FileKind::Dir if !name.starts_with(GIVEN_UP) => {
                    let mut budget = NAMES;
                    self.elsewhere(&path, LEVELS, &mut budget);
                }
                FileKind::File | FileKind::Symlink if name.starts_with(&config) => self.texts.push(path),
                FileKind::File | FileKind::Symlink => self.files.push(path),
                _ => {}
            }
        }
        self.secrets(home.secrets(), true);
    }

    /// The files of any other directory of a home whose names say that they may be an identity file. A directory that cannot be
    /// looked through, or holds too much, is passed over: it is most likely not the daemon's, and must not block the first start.
    fn elsewhere(&mut self, dir: &Path, levels: usize, budget: &mut usize) {
        let (names, _) = self.list(dir, *budget);
        *budget -= names.len();
        for (path, kind) in names {
            let name = name_of(&path);
            match kind {
                FileKind::Dir if name.contains(SECRETS) => self.secrets(&path, false),
                FileKind::Dir if levels > 0 => self.elsewhere(&path, levels - 1, budget),
                FileKind::File | FileKind::Symlink if name.contains(IDENTITY) => self.files.push(path),
                _ => {}
            }
        }
    }

    /// Every file of a directory of secrets, and of the directories in it.
    fn secrets(&mut self, dir: &Path, deep: bool) {
        for (path, kind) in self.names(dir) {
            match kind {
                FileKind::File | FileKind::Symlink
                    if self.places.homes().iter().all(|home| path != home.identity) =>
                {
                    self.files.push(path);
                }
                FileKind::Dir if deep => self.secrets(&path, false),
                _ => {}
            }
        }
    }

    /// The backups of configs, the newest first, by the number in their names.
    fn backups(&mut self) {
        let number =
            |path: &Path| name_of(path).split('-').nth(1).and_then(|number| number.parse::<u64>().ok());
        let mut backups = self.names(&self.places.backups.clone());
        backups.retain(|(_, kind)| *kind == FileKind::File);
        let others = backups.iter().filter(|(path, _)| number(path).is_none());
        self.files.extend(others.map(|(path, _)| path.clone()));
        backups.sort_by_key(|(path, _)| std::cmp::Reverse(number(path)));
        self.texts.extend(backups.into_iter().take(BACKUPS).map(|(path, _)| path));
    }

    /// A file that is there and cannot be read may be what is looked for; what is none, or far too large, is not.
    fn could_not_read(&mut self, error: DiskError) {
        let is_other = matches!(
            error.kind(),
            io::ErrorKind::FileTooLarge | io::ErrorKind::InvalidInput | io::ErrorKind::IsADirectory
        );
        if !is_other && !is_absent(&error) {
            self.unreadable.push(error);
        }
    }

    /// The file, if it is a sound identity file or one of a newer version.
    fn misplaced(&mut self, path: &Path, named_by: Option<&Path>) -> Option<Misplaced> {
        let bytes = match self.disk.read(path, OTHER_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                if named_by.is_some() || says_identity(path) {
                    self.could_not_read(error);
                }
                return None;
            }
        };
        let identity = inspect(&bytes);
        if let Identity::Damaged { .. } = identity {
            return None;
        }
        let modified = self.disk.stat_follow(path).map(|meta| meta.modified).unwrap_or_default();
        let is_link = self.disk.stat(path).is_ok_and(|meta| meta.is_symlink());
        let named_by = named_by.map(Path::to_owned);
        Some(Misplaced { path: path.to_owned(), identity, named_by, modified, is_link })
    }

    /// The absolute paths that a text which may be a config names as those of identity files, but for the places themselves.
    fn named_in(&mut self, text: &Path) -> Vec<PathBuf> {
        let bytes = match self.disk.read(text, CONFIG_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.could_not_read(error);
                return Vec::new();
            }
        };
        let mut paths = paths_named_in(&String::from_utf8_lossy(&bytes));
        paths.retain(|path| {
            path.is_absolute() && self.places.homes().iter().all(|home| *path != home.identity)
        });
        paths
    }

    fn known_by(&mut self, home: &Home) -> KnownBy {
        let mut known_by = KnownBy { rosters: self.count(&home.rosters), states: 0 };
        for dir in &home.states {
            known_by.states += self.count(dir);
        }
        match self.disk.stat_follow(&home.legacy_roster) {
            Ok(meta) => known_by.rosters += usize::from(meta.is_file()),
            Err(error) if is_absent(&error) => {}
            Err(error) => self.unreadable.push(error),
        }
        known_by
    }

    /// How many rosters or states are in a directory, also those that a daemon could not parse or was writing when it died, and those
    /// that a killed move has quarantined.
    fn count(&mut self, dir: &Path) -> usize {
        let mut count = 0;
        for (path, kind) in self.names(dir) {
            let name = name_of(&path);
            let stem = name.strip_suffix(".corrupt").or_else(|| name.strip_suffix(".tmp")).unwrap_or(&name);
            match kind {
                FileKind::File | FileKind::Symlink => count += usize::from(stem.ends_with(".json")),
                FileKind::Dir if name.starts_with(TEMP_PREFIX) => count += self.count(&path),
                _ => {}
            }
        }
        count
    }
}

/// The name of a file in lower case.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().to_lowercase()
}

/// The name of a file, or of a directory on the way to it, says that it may be an identity file.
fn says_identity(path: &Path) -> bool {
    let is_secret = |part: &OsStr| part.to_string_lossy().to_lowercase().contains(SECRETS);
    name_of(path).contains(IDENTITY) || path.iter().any(is_secret)
}

/// What stands behind `"identity_path":` in a text, which may be cut off or otherwise no JSON.
fn paths_named_in(text: &str) -> Vec<PathBuf> {
    const KEY: &str = "\"identity_path\"";
    let value = |at: usize| {
        let value = text[at + KEY.len()..].trim_start().strip_prefix(':')?;
        serde_json::Deserializer::from_str(value).into_iter::<String>().next()?.ok().map(PathBuf::from)
    };
    text.match_indices(KEY).filter_map(|(at, _)| value(at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_identity_files_are_found_in_text_that_is_not_json() {
        let text = r#"{"a": 1, "identity_path" : "/k/\u0069d.json", "b": {"identity_path": null}, "identity_path": "/other", "c": "#;
        assert_eq!(paths_named_in(text), [Path::new("/k/id.json"), Path::new("/other")]);
        assert!(paths_named_in(r#"{"identity_path": "/cut"#).is_empty());
    }
}
