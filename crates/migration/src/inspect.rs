//! Inspects the two homes. Writes nothing, decides nothing.

mod classify;
mod compare;
mod leftovers;
mod pending;

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io,
    ops::ControlFlow,
    path::{Path, PathBuf},
};

pub(crate) use classify::{EntryClass, classify_entry, rebase, relative_dirs};
use classify::{is_spelled_alike, legacy_network};
pub(crate) use compare::incomparable;
use compare::{differs, is_copy, no_mount, pair};
use leftovers::{Judge, Leftover};
use myownllm_durable_fs::trust::{HomeTrust, OwnershipProblem, foreign_file, foreign_part, world_writable};
use myownllm_durable_fs::{Disk, DiskError, FileKind, Metadata, Op, Owner, QUARANTINE_DIR};
use myownllm_identity::{Answer, Identity, Refusal};
use myownllm_paths::{
    camino::{Utf8Path, Utf8PathBuf},
    normalize_lexically,
};
pub use pending::is_pending;

use crate::{
    error::{MigrationError, remove_symlink, replace_symlink_by_dir},
    homes::{Direction, Homes, Keep},
    plan::{Retarget, SkippedEntry},
};

/// The size limit of an identity file, which has some two hundred bytes.
const IDENTITY_LIMIT: u64 = 1024 * 1024;

/// The size limit of a legacy roster, which would hold some hundred thousand devices.
const LEGACY_ROSTER_LIMIT: u64 = 16 * 1024 * 1024;

/// The relation of a source to its destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DestinationState {
    /// Nothing has the name at the destination.
    Free,
    /// The destination has the same bytes, in a regular file of its own or under a second name of
    /// the same file.
    Same,
    /// The destination has something else.
    Differs {
        /// The place beside the destination for the source, if it loses.
        aside_source: Aside,
        /// The same for the file at the destination.
        aside_destination: Aside,
        /// One of the two is a symlink that leads to the other, so whichever side the user keeps,
        /// this file is kept.
        file: Option<Keep>,
    },
}

/// The place for a file that is set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Aside {
    /// A name that no program reads.
    pub(crate) to: PathBuf,
    /// The targets, if the file is a symlink.
    pub(crate) symlink: Option<Retarget>,
}

/// One of our files in a source directory.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) name: OsString,
    pub(crate) pair: DestinationState,
}

/// A directory of `.json` files.
#[derive(Clone, Debug)]
pub(crate) struct StateDir {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    /// `None` if the source has no such directory, or none that can be read.
    pub(crate) items: Option<Vec<Item>>,
    /// Every file in it is ours, and nothing has its name at the destination: one rename moves it.
    pub(crate) whole: bool,
    pub(crate) mode: u32,
}

/// One file that moves by itself.
#[derive(Clone, Debug)]
pub(crate) struct SingleFile {
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) pair: DestinationState,
    pub(crate) mode: u32,
    /// The mode of the file at the destination, if there is one.
    pub(crate) mode_there: Option<u32>,
}

/// The identity file of one side.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) identity: Identity,
    pub(crate) meta: Metadata,
    /// The target, if the file is a symlink.
    pub(crate) link: Option<PathBuf>,
}

/// The contents of the two homes that matter to the move. Made by [`inspect`], read by
/// [`crate::plan()`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Inventory {
    /// The direction of the move.
    pub direction: Direction,
    pub(crate) source: PathBuf,
    pub(crate) destination: PathBuf,
    pub(crate) dirs: Vec<StateDir>,
    pub(crate) legacy_roster: Option<SingleFile>,
    pub(crate) custody: Option<SingleFile>,
    pub(crate) source_key: Option<Key>,
    pub(crate) destination_key: Option<Key>,
    /// The relation of the two identity files if both sides have one, and the destination of the
    /// identity file.
    pub(crate) key_pair: DestinationState,
    pub(crate) key_destination: PathBuf,
    /// The target of the moved symlink.
    pub(crate) key_target: Option<PathBuf>,
    /// There is a problem with the identity file itself.
    pub(crate) key_trouble: bool,
    /// Tells if a daemon may be started, and with which identity.
    pub(crate) answer: Answer,
    /// A file that may be ours to move, or the active identity file, belongs to another user.
    pub(crate) foreign: bool,
    pub(crate) leftovers: Vec<PathBuf>,
    pub(crate) quarantines: Vec<(PathBuf, PathBuf)>,
    pub(crate) quarantine_dirs: Vec<PathBuf>,
    /// The existing directories of the source, parents first, with the number of names in them that
    /// stay.
    pub(crate) source_dirs: Vec<(PathBuf, usize)>,
    pub(crate) missing_dirs: Vec<PathBuf>,
    pub(crate) destination_dirs: Vec<PathBuf>,
    /// The source directories to which other users can write until their mode is tightened.
    pub(crate) loose: Vec<PathBuf>,
    pub(crate) modes: Vec<(PathBuf, u32)>,
    pub(crate) owners: Vec<(PathBuf, Owner)>,
    pub(crate) owner: Option<Owner>,
    pub(crate) counts: [(usize, usize); 2],
    pub(crate) left: Vec<SkippedEntry>,
    pub(crate) errors: Vec<MigrationError>,
    pub(crate) refusals: Vec<MigrationError>,
}

/// The reason why the target of an identity file symlink is left.
const IS_KEY_TARGET: &str = "the key is a link to it";

/// True if a name of a directory is `known`, or another spelling of it on a file system that ignores
/// letter case: then both names lead to one entry, which has no second hard link.
fn is_one_entry(disk: &dyn Disk, dir: &Path, known: &OsStr, name: &OsStr) -> bool {
    let metadata = |name: &OsStr| disk.stat(&dir.join(name)).ok();
    known == name
        || is_spelled_alike(Path::new(known), Path::new(name))
            && metadata(known).zip(metadata(name)).is_some_and(|(known, name)| {
                known.is_same_file(&name) && (known.is_dir() || known.links == 1)
            })
}

fn unreadable(path: &Path, source: DiskError) -> MigrationError {
    MigrationError::Unreadable { path: path.to_owned(), source }
}

/// True if nothing has that name. Also if a parent of the name is no directory.
fn is_absent(error: &DiskError) -> bool {
    error.is_not_found() || error.kind() == io::ErrorKind::NotADirectory
}

/// True if other users can write to this directory, and so can put files into it.
fn is_loose(meta: &Metadata) -> bool {
    meta.owner.is_some() && meta.mode & 0o022 != 0
}

/// The state of a path that may be a directory.
enum DirState {
    Absent,
    StateDir(Metadata),
    Link(PathBuf),
    NotADirectory,
    Unreadable(DiskError),
}

fn dir_state(disk: &dyn Disk, path: &Path) -> DirState {
    match disk.stat(path) {
        Ok(meta) if meta.is_dir() => DirState::StateDir(meta),
        Ok(meta) if meta.is_symlink() => match disk.read_link(path) {
            Ok(target) => DirState::Link(target),
            Err(error) => DirState::Unreadable(error),
        },
        Ok(_) => DirState::NotADirectory,
        Err(error) if is_absent(&error) => DirState::Absent,
        Err(error) => DirState::Unreadable(error),
    }
}

/// Returns the targets of the identity files of both homes that are symlinks. Whatever name such a
/// file has, it is an identity file and no roster or state, and it stays in its place.
fn key_targets(disk: &dyn Disk, homes: &Homes) -> Result<Vec<PathBuf>, MigrationError> {
    let mut targets = Vec::new();
    for home in [&homes.app, &homes.daemon] {
        let home = home.as_std_path();
        let key = home.join(homes.identity());
        match disk.stat(&key) {
            Ok(meta) if meta.is_symlink() => {
                let target = disk.read_link(&key).map_err(|error| unreadable(&key, error))?;
                // If the symlink cannot be followed at present, its target path is used as it is.
                let by_word = || normalize_lexically(&key.parent().unwrap_or(home).join(target));
                targets.push(disk.canonicalize(&key).unwrap_or_else(|_| by_word()));
            }
            // A directory that cannot be read is reported with everything in it.
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied
                    && disk.list(key.parent().unwrap_or(home)).is_err() => {}
            Err(error) if !is_absent(&error) => return Err(unreadable(&key, error)),
            _ => {}
        }
    }
    Ok(targets)
}

/// Inspects both homes. Takes no lock, writes nothing.
pub fn inspect(disk: &dyn Disk, homes: &Homes, direction: Direction) -> Inventory {
    let mut inspector = Inspector {
        disk,
        homes,
        relative: relative_dirs(homes),
        readable: BTreeMap::new(),
        linked: BTreeMap::new(),
        there: BTreeMap::new(),
        same: BTreeSet::new(),
        key_targets: Vec::new(),
        judge: Judge::new(disk, homes),
        restored: BTreeSet::new(),
        out: Inventory {
            direction,
            source: homes.source(direction).into(),
            destination: homes.destination(direction).into(),
            dirs: Vec::new(),
            legacy_roster: None,
            custody: None,
            source_key: None,
            destination_key: None,
            key_pair: DestinationState::Free,
            key_destination: homes.destination(direction).join(homes.identity()).into(),
            key_target: None,
            key_trouble: false,
            answer: myownllm_identity::scan(disk, &homes.identity_places()).answer(),
            foreign: false,
            leftovers: Vec::new(),
            quarantines: Vec::new(),
            quarantine_dirs: Vec::new(),
            source_dirs: Vec::new(),
            missing_dirs: Vec::new(),
            destination_dirs: Vec::new(),
            loose: Vec::new(),
            modes: Vec::new(),
            owners: Vec::new(),
            owner: None,
            counts: [(0, 0); 2],
            left: Vec::new(),
            errors: Vec::new(),
            refusals: Vec::new(),
        },
    };
    inspector.homes();
    match key_targets(disk, homes) {
        Ok(targets) => inspector.key_targets = targets,
        Err(error) => inspector.out.refusals.push(error),
    }
    inspector.source_dirs();
    inspector.destination_dirs();
    inspector.same_dirs();
    inspector.contents();
    inspector.legacy_roster();
    inspector.custody();
    inspector.identity();
    inspector.out
}

/// The entries of one source directory.
#[derive(Default)]
struct SourceEntries {
    /// Our names, those in the claim directory included; and if the claim directory exists.
    ours: Vec<OsString>,
    quarantines: bool,
    /// The number of names that stay.
    foreign: usize,
}

struct Inspector<'a> {
    disk: &'a dyn Disk,
    homes: &'a Homes,
    relative: Vec<Utf8PathBuf>,
    /// The source directories that can be read.
    readable: BTreeMap<Utf8PathBuf, (Metadata, SourceEntries)>,
    /// The source directories that are symlinks to another directory in the home, with their
    /// targets.
    linked: BTreeMap<Utf8PathBuf, PathBuf>,
    /// The existing destination directories.
    there: BTreeMap<Utf8PathBuf, Metadata>,
    /// The source directories that are a directory of the destination as well.
    same: BTreeSet<Utf8PathBuf>,
    /// The targets of the identity files that are symlinks.
    key_targets: Vec<PathBuf>,
    judge: Judge<'a>,
    /// The names that sources get back.
    restored: BTreeSet<PathBuf>,
    out: Inventory,
}

impl Inspector<'_> {
    fn skip(&mut self, path: PathBuf, reason: impl Into<String>) {
        self.out.left.push(SkippedEntry { path, reason: reason.into() });
    }

    fn unreadable(&mut self, path: &Path, error: DiskError) {
        self.out.errors.push(unreadable(path, error));
    }

    /// Refuses a destination directory that cannot be inspected or read. On EACCES, reports the
    /// closest ancestor that denies access, once, instead of every entry under it.
    fn refuse_unreadable_dir(&mut self, path: &Path, error: DiskError) {
        if error.kind() != io::ErrorKind::PermissionDenied {
            return self.out.refusals.push(unreadable(path, error));
        }
        let closed = path.ancestors().find(|above| self.disk.stat(above).is_ok()).unwrap_or(path);
        let is_told =
            |told: &MigrationError| matches!(told, MigrationError::Unreadable { path, .. } if path == closed);
        if !self.out.refusals.iter().any(is_told) {
            self.out.refusals.push(unreadable(closed, error));
        }
    }

    fn homes(&mut self) {
        for home in [&self.homes.app, &self.homes.daemon].map(|home| home.as_std_path()) {
            if !home.is_absolute() {
                let unusable = DiskError::new(
                    Op::Use,
                    home,
                    io::Error::new(io::ErrorKind::InvalidInput, "not absolute"),
                );
                self.out.refusals.push(MigrationError::Failed { path: home.into(), source: unusable });
            }
        }
        match self.disk.stat_follow(self.homes.app.as_ref()) {
            Ok(meta) => self.home(&meta),
            Err(error) if error.is_not_found() => {}
            Err(error) => self.out.refusals.push(unreadable(self.homes.app.as_ref(), error)),
        }
    }

    /// Checks the app's home itself and the way to it: a user who can replace the home decides
    /// about everything in it.
    fn home(&mut self, home: &Metadata) {
        let path = self.homes.app.as_std_path();
        self.out.owner = home.owner;
        match HomeTrust::look(self.disk, path) {
            Ok(trust) => self.out.refusals.extend(trust.problems.into_iter().map(MigrationError::from)),
            Err(error) => self.out.refusals.push(unreadable(path, error)),
        }
        if home.owner.is_some() && home.mode & 0o1022 == 0o020 {
            self.out.modes.push((path.into(), 0o700));
        }
    }

    /// Adds a refusal unless the path belongs to the owner of the home or root and no other user
    /// can replace an entry in it. Returns false for a directory of another user, which is not
    /// read.
    fn trust(&mut self, path: &Path, meta: &Metadata, mend: &'static str) -> bool {
        if !self.trust_owner(path, meta) {
            return false;
        }
        self.refuse_untrusted(world_writable(path, meta, mend).map(|problem| problem.as_mounted(self.disk)));
        true
    }

    fn trust_owner(&mut self, path: &Path, meta: &Metadata) -> bool {
        let found = self.out.owner.and_then(|home| foreign_part(path, meta, home));
        !self.refuse_untrusted(found)
    }

    /// Adds the problem, if any, to the refusals. True if there was a problem.
    fn refuse_untrusted(&mut self, found: Option<OwnershipProblem>) -> bool {
        let any = found.is_some();
        self.out.refusals.extend(found.map(MigrationError::from));
        any
    }

    /// Tightens a mode that lets the group write (a umask of 002 is common), and restores
    /// permissions that a umask took from the owner.
    fn tighten(&mut self, path: &Path, meta: &Metadata, private: bool) {
        if meta.owner.is_none() {
            return;
        }
        let loose = if private { 0o077 } else { 0o022 };
        if meta.mode & loose != 0 || meta.mode & 0o700 != 0o700 {
            self.out.modes.push((path.to_owned(), 0o700));
        }
    }

    fn holds_secrets(&self, relative: &Utf8Path) -> bool {
        self.homes.identity().parent() == Some(relative) || self.homes.custody().parent() == Some(relative)
    }

    fn source_dirs(&mut self) {
        let source = self.out.source.clone();
        // The home itself may be a symlink; without a home there is nothing to move.
        match self.disk.stat_follow(&source) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return self.skip(source, "it is not a directory"),
            Err(error) if error.is_not_found() => return,
            Err(error) => return self.unreadable(&source, error),
        }
        for relative in self.relative.clone() {
            let path = source.join(&relative);
            // Below an entry that is no directory there is nothing to inspect.
            let parent = relative.parent().unwrap_or(Utf8Path::new(""));
            if !parent.as_str().is_empty() && !self.readable.contains_key(parent) {
                continue;
            }
            match dir_state(self.disk, &path) {
                DirState::Absent => {}
                DirState::StateDir(meta) => self.source_dir(relative, path.clone(), path, &meta),
                DirState::Link(target) => match self.undo_through_symlink(&path) {
                    Ok(Some((real, meta))) => {
                        self.linked.insert(relative.clone(), real.clone());
                        self.source_dir(relative, path, real, &meta);
                    }
                    Ok(None) => self.source_link(&relative, path, target),
                    Err(error) => self.unreadable(&path, error),
                },
                DirState::NotADirectory => self.skip(path, "it is a file with the name of a directory"),
                DirState::Unreadable(error) => self.unreadable(&path, error),
            }
        }
    }

    /// Handles a directory of the source that is a symlink, and stays.
    fn source_link(&mut self, relative: &Utf8Path, path: PathBuf, target: PathBuf) {
        let key = self.homes.identity().strip_prefix(relative).map(|rest| path.join(rest));
        match key.ok().map(|key| self.disk.stat(&key)) {
            Some(Ok(_)) => {
                self.out.key_trouble = true;
                self.out.refusals.push(MigrationError::SourceLink { path, target });
            }
            Some(Err(error)) if !error.is_not_found() => self.unreadable(&path, error),
            _ => self.skip(path, "it is a link"),
        }
    }

    /// Handles a directory of the source. `real` is its path without symlinks.
    fn source_dir(&mut self, relative: Utf8PathBuf, path: PathBuf, real: PathBuf, meta: &Metadata) {
        // A directory of another user is not read.
        if !self.trust(&real, meta, "chmod 700") {
            self.out.key_trouble |= self.homes.identity().starts_with(&relative);
            self.out.foreign = true;
            return;
        }
        match self.list_source_dir(&relative, &path, &real) {
            Ok(mut seen) => {
                if is_loose(meta) && self.homes.dirs().contains(&relative) {
                    self.trust_files(&path, &seen.ours);
                    self.out.loose.push(real.clone());
                }
                // The directory moves file by file, and stays itself.
                seen.foreign += usize::from(path != real || self.disk.is_mount_point(&path));
                self.readable.insert(relative, (meta.clone(), seen));
            }
            // Another process that holds the lock has moved the last entry since the first look.
            Err(error) if error.is_not_found() && matches!(dir_state(self.disk, &path), DirState::Absent) => {
            }
            Err(error) => self.unreadable(&path, error),
        }
    }

    /// Returns the target of a symlink in the daemon home if it is a directory in the app's home:
    /// the move went in through the symlink, and the undo comes out through it. Returns `None` if
    /// the target is a directory to which files move back.
    fn undo_through_symlink(&self, link: &Path) -> Result<Option<(PathBuf, Metadata)>, DiskError> {
        if self.out.direction == Direction::Forward {
            return Ok(None);
        }
        let Some((real, meta)) = self.inside(link)? else { return Ok(None) };
        let is_target = |dir: &Utf8PathBuf| {
            let dir = self.disk.stat_follow(&self.out.destination.join(dir));
            dir.is_ok_and(|dir| dir.is_same_file(&meta))
        };
        Ok((!self.relative.iter().any(is_target)).then_some((real, meta)))
    }

    /// Returns the target of a symlink if it is a directory in the app's home. Fails if the target
    /// cannot be inspected, because it may be one.
    fn inside(&self, link: &Path) -> Result<Option<(PathBuf, Metadata)>, DiskError> {
        let look = || -> Result<_, DiskError> {
            let home = self.disk.canonicalize(self.homes.app.as_ref())?;
            let real = self.disk.canonicalize(link)?;
            if real == home || !real.starts_with(&home) {
                return Ok(None);
            }
            let meta = self.disk.stat(&real)?;
            Ok(meta.is_dir().then_some((real, meta)))
        };
        match look() {
            Err(error) if is_absent(&error) || error.is_symlink_loop() => Ok(None),
            other => other,
        }
    }

    /// Refuses files of another user. In a directory to which other users can write, a file with
    /// one of our names may be theirs. In other directories nobody else can have made the file, and
    /// checking each one would cost more than the move.
    fn trust_files(&mut self, dir: &Path, names: &[OsString]) {
        let paths = names.iter().map(|name| self.current_path(dir.join(name)));
        if let Some(found) = foreign_file(self.disk, dir, paths, self.out.owner) {
            self.refuse_untrusted(Some(found));
            self.out.foreign = true;
        }
    }

    /// Lists one source directory.
    fn list_source_dir(
        &mut self,
        relative: &Utf8Path,
        path: &Path,
        real: &Path,
    ) -> Result<SourceEntries, DiskError> {
        let homes = self.homes;
        let is_leaf = homes.dirs().iter().any(|dir| dir == relative);
        let mut seen = SourceEntries::default();
        let mut foreign = Vec::new();
        let mut leftovers = Vec::new();
        let forward = self.out.direction == Direction::Forward;
        let legacy_roster = Some(homes.legacy_roster()).filter(|_| forward);
        let files = [homes.identity(), homes.custody()];
        let apart = files.iter().chain(&legacy_roster).chain(&self.relative);
        // Compares only names, because a directory may hold very many.
        let apart: Vec<&OsStr> = apart
            .filter(|at| at.parent() == Some(relative))
            .filter_map(|at| at.file_name())
            .map(OsStr::new)
            .collect();
        let targets = self.key_targets_in(path)?;
        self.disk.for_each_entry(real, &mut |entry| {
            let is_apart = |known: &&OsStr| is_one_entry(self.disk, path, known, &entry.name);
            if apart.iter().any(is_apart) {
                // These are inspected separately.
                return ControlFlow::Continue(());
            }
            match classify_entry(&entry.name, entry.kind) {
                EntryClass::Ours if targets.contains(&entry.name) => {
                    foreign.push((entry.name, IS_KEY_TARGET))
                }
                EntryClass::Ours if is_leaf => seen.ours.push(entry.name),
                EntryClass::Ours => foreign.push((entry.name, "it is not what moves")),
                EntryClass::Leftover => leftovers.push(entry.name),
                EntryClass::Quarantines => seen.quarantines = true,
                EntryClass::Foreign(why) => foreign.push((entry.name, why)),
            }
            ControlFlow::Continue(())
        })?;
        if seen.quarantines {
            let dir = path.join(QUARANTINE_DIR);
            let known: BTreeSet<OsString> = seen.ours.iter().cloned().collect();
            for entry in self.disk.list(&dir)? {
                self.restored.insert(path.join(&entry.name));
                self.out.quarantines.push((dir.join(&entry.name), path.join(&entry.name)));
                if is_leaf && !known.contains(&entry.name) {
                    seen.ours.push(entry.name);
                }
            }
            self.out.quarantine_dirs.push(dir);
        }
        seen.ours.sort();
        foreign.sort();
        seen.foreign = foreign.len();
        for (name, why) in foreign {
            self.skip(path.join(name), why);
        }
        for name in leftovers {
            let left = self.out.left.len();
            let ours = self.leftover(relative, path.join(name));
            seen.foreign += self.out.left.len() - left;
            match ours.filter(|_| is_leaf) {
                Some(name) if !seen.ours.contains(&name) => seen.ours.push(name),
                _ => {}
            }
        }
        seen.ours.sort();
        Ok(seen)
    }

    /// Classifies a temporary file of a killed run. If the content exists elsewhere, the file is
    /// removed. If the file is the only copy, it gets its name back, and that name is returned. Any
    /// other file stays, and the report names it.
    fn leftover(&mut self, relative: &Utf8Path, path: PathBuf) -> Option<OsString> {
        match self.judge.judge(relative, &path) {
            Leftover::Superfluous => self.out.leftovers.push(path),
            Leftover::OnlyCopyOf(name) => {
                let name = OsString::from(name.file_name()?);
                let plain = path.with_file_name(&name);
                if self.restored.insert(plain.clone()) {
                    self.out.quarantines.push((path, plain));
                    return Some(name);
                }
                self.skip(path, leftovers::ONLY_COPY);
            }
            Leftover::MayBeOnlyCopy => self.skip(path, leftovers::ONLY_COPY),
        }
        None
    }

    /// Returns the names in a directory to which an identity file symlink leads.
    fn key_targets_in(&self, dir: &Path) -> Result<Vec<OsString>, DiskError> {
        if self.key_targets.is_empty() {
            return Ok(Vec::new());
        }
        let dir = self.disk.canonicalize(dir)?;
        let names = self.key_targets.iter().filter_map(|target| target.strip_prefix(&dir).ok());
        Ok(names.map(|name| name.as_os_str().to_owned()).collect())
    }

    fn destination_dirs(&mut self) {
        let destination = self.out.destination.clone();
        let all: Vec<Utf8PathBuf> =
            std::iter::once(Utf8PathBuf::new()).chain(self.relative.iter().cloned()).collect();
        let mut foreign: Vec<Utf8PathBuf> = Vec::new();
        for relative in all {
            // A directory of another user is not read.
            if foreign.iter().any(|above| relative.starts_with(above)) {
                continue;
            }
            let path =
                if relative.as_str().is_empty() { destination.clone() } else { destination.join(&relative) };
            match dir_state(self.disk, &path) {
                DirState::Absent => {
                    self.out.missing_dirs.push(path);
                    continue;
                }
                DirState::StateDir(meta)
                    if path != self.homes.app && !self.trust(&path, &meta, "chmod 700") =>
                {
                    foreign.push(relative);
                }
                DirState::StateDir(meta) => self.destination_dir(&relative, path.clone(), &path, meta),
                // The app's home itself may be a symlink, and is the home in either case.
                DirState::Link(_) if path == self.homes.app => match self.disk.stat_follow(&path) {
                    Ok(meta) => self.destination_dir(&relative, path.clone(), &path, meta),
                    Err(error) => self.out.refusals.push(unreadable(&path, error)),
                },
                DirState::Link(target) => match self.inside(&path) {
                    Ok(Some((real, meta))) if self.trust(&real, &meta, "chmod 700") => {
                        if self.out.direction == Direction::Undo {
                            // In the app's home a symlink is the user's own choice, which the move
                            // leaves.
                            self.skip(path.clone(), "it is a link: what goes back behind it stays there");
                        }
                        self.destination_dir(&relative, path, &real, meta);
                    }
                    Ok(Some(_)) => foreign.push(relative),
                    Ok(None) => self.out.refusals.push(MigrationError::DestinationOutside { path, target }),
                    Err(error) => self.refuse_unreadable_dir(&path, error),
                },
                DirState::NotADirectory => self.out.refusals.push(MigrationError::DestinationNotDir { path }),
                DirState::Unreadable(error) => self.refuse_unreadable_dir(&path, error),
            }
        }
    }

    /// Handles a directory of the destination. `real` is its path without symlinks.
    fn destination_dir(&mut self, relative: &Utf8Path, path: PathBuf, real: &Path, meta: Metadata) {
        if path != self.homes.app {
            let private = self.holds_secrets(relative);
            self.tighten(real, &meta, private);
            if let (Some(owner), Some(home)) = (meta.owner, self.out.owner) {
                // Root made the directory, and was killed before giving it away.
                if owner.uid == 0 && home.uid != 0 {
                    self.out.owners.push((real.to_owned(), home));
                }
            }
            // Finds temporary files of a killed run, and sources that a killed run in the other
            // direction had claimed.
            let mut quarantines = false;
            let mut leftovers = Vec::new();
            let key = self.homes.identity();
            let visited = self.disk.for_each_entry(real, &mut |entry| {
                let at = relative.as_std_path().join(&entry.name);
                let key_name = OsStr::new(key.file_name().unwrap_or_default());
                let is_key = || is_one_entry(self.disk, real, key_name, &entry.name);
                if is_spelled_alike(&at, key.as_std_path()) && !is_key() {
                    let reason = "the daemon's spelling of that name is another".to_owned();
                    self.out.left.push(SkippedEntry { path: path.join(&entry.name), reason });
                }
                match classify_entry(&entry.name, entry.kind) {
                    EntryClass::Leftover => leftovers.push(path.join(entry.name)),
                    EntryClass::Quarantines => quarantines = true,
                    _ => {}
                }
                ControlFlow::Continue(())
            });
            for leftover in leftovers {
                self.leftover(relative, leftover);
            }
            let quarantined = path.join(QUARANTINE_DIR);
            let listed = visited
                .and_then(|()| if quarantines { self.disk.list(&quarantined) } else { Ok(Vec::new()) });
            match listed {
                Ok(entries) => {
                    self.out.quarantines.extend(
                        entries
                            .into_iter()
                            .map(|entry| (quarantined.join(&entry.name), path.join(&entry.name))),
                    );
                    if quarantines {
                        self.out.quarantine_dirs.push(quarantined);
                    }
                }
                Err(error) => self.refuse_unreadable_dir(&path, error),
            }
        }
        self.out.destination_dirs.push(path);
        self.there.insert(relative.to_owned(), meta);
    }

    /// Refuses two names of one directory: a file moved from it into it would be removed as
    /// identical.
    fn same_dirs(&mut self) {
        let mut sources: Vec<(PathBuf, Metadata)> = self
            .readable
            .iter()
            .map(|(relative, (meta, _))| (self.out.source.join(relative), meta.clone()))
            .collect();
        if let Ok(meta) = self.disk.stat_follow(&self.out.source) {
            sources.push((self.out.source.clone(), meta));
        }
        let mut same: Vec<(PathBuf, PathBuf)> = Vec::new();
        for (relative, meta) in &self.there {
            let destination_dir = self.out.destination.join(relative);
            for (source_dir, source) in &sources {
                // The directories below have the same cause.
                let is_below = |(source, destination): &(PathBuf, PathBuf)| {
                    source_dir.starts_with(source) && destination_dir.starts_with(destination)
                };
                if meta.is_same_file(source) && !same.iter().any(is_below) {
                    same.push((source_dir.clone(), destination_dir.clone()));
                }
            }
        }
        let is_same = |path: &Path| same.iter().any(|(above, _)| path.starts_with(above));
        let relative = self.readable.keys().filter(|relative| is_same(&self.out.source.join(relative)));
        self.same = relative.cloned().collect();
        for (source_dir, destination_dir) in same {
            let is_symlink =
                |path: &Path| self.disk.stat(path).is_ok_and(|meta| meta.kind == FileKind::Symlink);
            let command = if is_symlink(&destination_dir) {
                Some(replace_symlink_by_dir(&destination_dir))
            } else {
                is_symlink(&source_dir).then(|| remove_symlink(&source_dir))
            };
            self.out.refusals.push(MigrationError::SameDir { source_dir, destination_dir, command });
        }
    }

    /// Returns the present path of a file: in the claim directory, if a killed run had put it
    /// there.
    fn current_path(&self, plain: PathBuf) -> PathBuf {
        match self.out.quarantines.iter().find(|(_, name)| *name == plain) {
            // A new file under the old name takes precedence over the claimed one.
            Some((quarantined, _)) if self.disk.stat(&plain).is_err_and(|error| error.is_not_found()) => {
                quarantined.clone()
            }
            _ => plain,
        }
    }

    /// Compares a file with the entry of its name at the destination.
    fn pair_of(&self, dir: &StateDir, name: &OsStr) -> Result<DestinationState, MigrationError> {
        let source = self.current_path(dir.source.join(name));
        let destination = dir.destination.join(name);
        let there = self.current_path(destination.clone());
        pair(self.disk, &source, &destination, &there, self.out.owner)
    }

    fn contents(&mut self) {
        for relative in self.homes.dirs() {
            let (source, destination) =
                (self.out.source.join(&relative), self.out.destination.join(&relative));
            let mut dir = StateDir { source, destination, items: None, whole: false, mode: 0 };
            if let Some((meta, seen)) = self.readable.get_mut(&relative) {
                let (ours, quarantines, foreign) =
                    (std::mem::take(&mut seen.ours), seen.quarantines, seen.foreign);
                dir.mode = meta.mode;
                let free = !self.there.contains_key(&relative);
                dir.whole = free && !quarantines && foreign == 0 && !ours.is_empty();
                let mut items = Vec::with_capacity(ours.len());
                // A file does not differ from itself.
                let is_alone = free || self.same.contains(&relative);
                let taken = if is_alone { BTreeSet::new() } else { self.names_in(&dir.destination) };
                for name in ours {
                    let pair = match taken.contains(&name) {
                        true => self.pair_of(&dir, &name),
                        false => Ok(DestinationState::Free),
                    };
                    match pair {
                        Ok(pair) => items.push(Item { name, pair }),
                        Err(error) => {
                            self.out.errors.push(error);
                            self.readable.entry(relative.clone()).and_modify(|(_, seen)| seen.foreign += 1);
                        }
                    }
                }
                dir.items = Some(items);
            }
            self.out.dirs.push(dir);
        }
    }

    fn names_in(&mut self, dir: &Path) -> BTreeSet<OsString> {
        let real = if self.disk.stat(dir).is_ok_and(|meta| meta.is_symlink()) {
            self.disk.canonicalize(dir)
        } else {
            Ok(dir.to_owned())
        };
        let mut names = BTreeSet::new();
        let visited = real.and_then(|dir| {
            self.disk.for_each_entry(&dir, &mut |entry| {
                names.insert(entry.name);
                ControlFlow::Continue(())
            })
        });
        if let Err(error) = visited {
            self.out.refusals.push(unreadable(dir, error));
        }
        let quarantined = self.out.quarantines.iter().filter(|(_, plain)| plain.parent() == Some(dir));
        names.extend(quarantined.filter_map(|(_, plain)| plain.file_name()).map(OsStr::to_owned));
        names
    }

    fn stays(&mut self, dir: Option<&Utf8Path>) {
        if let Some((_, seen)) = dir.and_then(|dir| self.readable.get_mut(dir)) {
            seen.foreign += 1;
        }
    }

    /// Returns a regular file that moves by itself. Leaves anything else with that name.
    fn single(&mut self, relative: &Utf8Path) -> Option<(PathBuf, Metadata)> {
        let dir = relative.parent().unwrap_or(Utf8Path::new(""));
        self.readable.get(dir)?;
        let at = self.current_path(self.out.source.join(relative));
        match self.disk.stat(&at) {
            Err(error) if error.is_not_found() => None,
            Err(error) => {
                self.unreadable(&at, error);
                self.stays(Some(dir));
                None
            }
            Ok(meta) if meta.is_file() => match self.key_targets_in(&self.out.source.join(dir)) {
                Ok(targets) if targets.iter().any(|target| target.to_str() == relative.file_name()) => {
                    self.stays(Some(dir));
                    self.skip(at, IS_KEY_TARGET);
                    None
                }
                Ok(_) => Some((at, meta)),
                Err(error) => {
                    self.unreadable(&at, error);
                    self.stays(Some(dir));
                    None
                }
            },
            Ok(meta) => {
                self.stays(Some(dir));
                let why = match meta.kind {
                    FileKind::Symlink => "it is a link",
                    FileKind::Dir => "it is a directory with the name of a file",
                    _ => "it is neither a file nor a directory",
                };
                self.skip(at, why);
                None
            }
        }
    }

    fn legacy_roster(&mut self) {
        if self.out.direction == Direction::Undo {
            return;
        }
        let relative = self.homes.legacy_roster();
        let Some((at, meta)) = self.single(&relative) else { return };
        let dir = relative.parent();
        if !self.trust_owner(&at, &meta) {
            self.out.foreign = true;
            return self.stays(dir);
        }
        let bytes = match self.disk.read(&at, LEGACY_ROSTER_LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                self.stays(dir);
                return self.skip(at, "it is too large for a roster");
            }
            Err(error) => {
                self.stays(dir);
                return self.unreadable(&at, error);
            }
        };
        let name = match legacy_network(&bytes) {
            Ok(id) => self.homes.rosters().join(format!("{id}.json")),
            Err(why) => {
                self.stays(dir);
                return self.skip(at, why);
            }
        };
        let destination = self.out.destination.join(&name);
        let single = |pair| SingleFile {
            source: self.out.source.join(&relative),
            destination: destination.clone(),
            pair,
            mode: meta.mode,
            mode_there: None,
        };
        match self.disk.stat(&destination) {
            Ok(there) => match is_copy(self.disk, &at, &destination, &there, self.out.owner) {
                Ok(true) => self.out.legacy_roster = Some(single(DestinationState::Same)),
                Ok(false) => {
                    self.stays(dir);
                    self.skip(at, "there is a roster of that network already");
                }
                Err(error) => {
                    self.stays(dir);
                    self.out.errors.push(error);
                }
            },
            Err(error) if is_absent(&error) => {
                let beside = self.out.source.join(&name);
                match self.disk.stat(&beside) {
                    Err(error) if is_absent(&error) => {
                        self.out.legacy_roster = Some(single(DestinationState::Free))
                    }
                    Err(error) => {
                        self.stays(dir);
                        self.unreadable(&beside, error);
                    }
                    Ok(there) => match is_copy(self.disk, &at, &beside, &there, self.out.owner) {
                        // The same bytes move under the network's own name; after that this file is
                        // removed.
                        Ok(true) => self.out.legacy_roster = Some(single(DestinationState::Same)),
                        Ok(false) => {
                            self.stays(dir);
                            self.skip(at, "there is a roster of that network already");
                        }
                        Err(error) => {
                            self.stays(dir);
                            self.out.errors.push(error);
                        }
                    },
                }
            }
            Err(error) => {
                self.stays(dir);
                self.unreadable(&destination, error);
            }
        }
    }

    fn custody(&mut self) {
        let relative = self.homes.custody();
        let Some((at, meta)) = self.single(&relative) else { return };
        if !self.trust_owner(&at, &meta) {
            self.out.foreign = true;
            return self.stays(relative.parent());
        }
        let destination = self.out.destination.join(&relative);
        let there = self.current_path(destination.clone());
        match pair(self.disk, &at, &destination, &there, self.out.owner) {
            Ok(pair) => {
                let there = self.disk.stat(&there).ok().filter(Metadata::is_file);
                self.out.custody = Some(SingleFile {
                    source: self.out.source.join(&relative),
                    destination,
                    pair,
                    mode: meta.mode,
                    mode_there: there.map(|there| there.mode),
                });
            }
            Err(error) => {
                self.stays(relative.parent());
                self.out.errors.push(error);
            }
        }
    }

    /// Returns the identity file of one side, if there is a file that can be one.
    fn key(&mut self, at: &Path) -> Option<Key> {
        let meta = match self.disk.stat(at) {
            Ok(meta) => meta,
            Err(error) if is_absent(&error) => return None,
            Err(error) => {
                self.out.key_trouble = true;
                self.unreadable(at, error);
                return None;
            }
        };
        if !self.trust_owner(at, &meta) {
            self.out.key_trouble = true;
            self.out.foreign = true;
            return None;
        }
        let link = if meta.is_symlink() {
            match self.disk.read_link(at) {
                Ok(target) => Some(target),
                Err(error) => {
                    self.out.key_trouble = true;
                    self.unreadable(at, error);
                    return None;
                }
            }
        } else {
            None
        };
        // The target of a claimed symlink is relative to its original directory.
        let target = match (&link, at.parent()) {
            (Some(target), Some(dir)) if dir.ends_with(QUARANTINE_DIR) => {
                // The path has no `..`: below a locked home no path goes upwards.
                let belonged = dir.parent().unwrap_or(dir);
                normalize_lexically(
                    &self.disk.canonicalize(belonged).unwrap_or_else(|_| belonged.to_owned()).join(target),
                )
            }
            _ => at.to_owned(),
        };
        match self.disk.stat_follow(&target) {
            Ok(meta) if meta.is_file() => {}
            Ok(meta) => {
                let what = if meta.is_dir() { "a directory" } else { "no regular file" };
                let why = if link.is_some() { "it is a link to " } else { "it is " };
                self.skip(at.to_owned(), format!("{why}{what}"));
                return None;
            }
            Err(error) if error.is_not_found() => {
                self.out.key_trouble = true;
                let target = link.unwrap_or_default();
                self.out.errors.push(MigrationError::IdentityUnreachable { path: at.to_owned(), target });
                return None;
            }
            Err(error) => {
                self.out.key_trouble = true;
                self.unreadable(at, error);
                return None;
            }
        }
        let (bytes, identity) = match self.disk.read(&target, IDENTITY_LIMIT) {
            Ok(bytes) => {
                let identity = myownllm_identity::inspect(&bytes);
                (bytes, identity)
            }
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                let why = "the file is far too large for a key".to_owned();
                (Vec::new(), Identity::Damaged { why, flaw: None })
            }
            Err(error) => {
                self.out.key_trouble = true;
                self.unreadable(at, error);
                return None;
            }
        };
        Some(Key { path: at.to_owned(), bytes, identity, meta, link })
    }

    fn identity(&mut self) {
        let relative = self.homes.identity();
        let dir = relative.parent().unwrap_or(Utf8Path::new("")).to_owned();
        if self.readable.contains_key(&dir) {
            let at = self.current_path(self.out.source.join(&relative));
            let exists = self.disk.stat(&at).is_ok();
            self.out.source_key = self.key(&at);
            if exists && self.out.source_key.is_none() {
                self.stays(Some(&dir));
            }
        } else if self.out.errors.iter().any(|error| error.path() == self.out.source.join(&dir)) {
            // A directory that cannot be read may hold an identity file.
            self.out.key_trouble = true;
        }
        let destination = self.out.key_destination.clone();
        if self.there.contains_key(&dir) {
            let there = self.current_path(destination.clone());
            self.out.destination_key = self.key(&there);
            let unusable = self.out.left.iter().position(|left| left.path == destination);
            if let Some(unusable) = unusable {
                let left = self.out.left.remove(unusable);
                self.out.key_trouble = true;
                let refusal = self.out.answer.refusal().filter(|refusal| refusal.path() == destination);
                let remedy = refusal.and_then(Refusal::hint);
                let (path, why) = (destination.clone(), left.reason);
                self.out.errors.push(MigrationError::IdentityDamaged { path, why, remedy });
            }
        }
        if let Some(target) = self.out.source_key.as_ref().and_then(|key| key.link.clone()) {
            let (from, to) = (self.out.source.join(&dir), self.out.destination.join(&dir));
            self.out.key_target = Some(rebase(&target, &from, &to));
        }
        self.out.key_pair = match self.key_pair() {
            Ok(pair) => pair,
            Err(error) => {
                self.out.key_trouble = true;
                self.out.errors.push(error);
                DestinationState::Free
            }
        };
        self.counts();
        self.finish();
    }

    fn key_pair(&self) -> Result<DestinationState, MigrationError> {
        let (Some(here), Some(there)) = (&self.out.source_key, &self.out.destination_key) else {
            return Ok(DestinationState::Free);
        };
        if there.link.is_none() {
            no_mount(self.disk, &there.path)?;
        }
        let same = match (&here.link, &there.link) {
            // A killed run of ours made this symlink.
            (Some(_), Some(target)) => Some(target) == self.out.key_target.as_ref(),
            // The symlink may lead to the file at the destination, or to an equal one: the symlink
            // itself is no copy.
            (Some(_), None) => here.bytes == there.bytes,
            // A symlink at the destination may lead to the source, which is then the only copy.
            (None, Some(_)) => false,
            (None, None) if here.meta.is_same_file(&there.meta) => there.meta.links > 1,
            (None, None) => here.bytes == there.bytes,
        };
        if same {
            return Ok(DestinationState::Same);
        }
        differs(self.disk, &here.path, &self.out.key_destination, &there.path)
    }

    /// Counts the rosters and states on both sides, to describe the choice between two identities.
    fn counts(&mut self) {
        if self.out.source_key.is_none() || self.out.destination_key.is_none() {
            return;
        }
        let disk = self.disk;
        let count = |dir: &Path| {
            let mut count = 0;
            let _ = disk.for_each_entry(dir, &mut |entry| {
                if entry.kind == FileKind::File
                    && entry.name.to_str().is_some_and(|name| name.ends_with(".json"))
                {
                    count += 1;
                }
                ControlFlow::Continue(())
            });
            count
        };
        for (side, home) in [&self.out.source, &self.out.destination].into_iter().enumerate() {
            let [states, rosters] = self.homes.dirs().map(|dir| count(&home.join(dir)));
            self.out.counts[side] = (rosters, states);
        }
    }

    fn finish(&mut self) {
        for relative in &self.relative {
            let path = self.out.source.join(relative);
            if let Some((meta, seen)) = self.readable.get(relative) {
                // A group member who had write access before the move could still hold a file open
                // after it.
                if is_loose(meta) {
                    let real = self.linked.get(relative).unwrap_or(&path);
                    self.out.modes.push((real.clone(), 0o700));
                }
                if !self.linked.contains_key(relative) {
                    self.out.source_dirs.push((path, seen.foreign));
                    continue;
                }
            }
            if self.disk.stat(&path).is_ok() {
                // The entry is a symlink, or no directory that can be read, so its parent does not
                // become empty.
                let parent = relative.parent().map(|parent| self.out.source.join(parent));
                for (dir, stays) in &mut self.out.source_dirs {
                    if Some(&*dir) == parent.as_ref() {
                        *stays += 1;
                    }
                }
            }
        }
    }
}

impl Inventory {
    /// Returns the path of the source's identity file at the time of its move: its own name, even
    /// if a killed run had claimed it.
    pub(crate) fn source_key_path(&self, key: &Key) -> PathBuf {
        self.quarantines
            .iter()
            .find(|(quarantined, _)| *quarantined == key.path)
            .map_or_else(|| key.path.clone(), |(_, plain)| plain.clone())
    }
}
