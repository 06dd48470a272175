//! The state of an inspection, and what all its parts use.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
};

use myownllm_durable_fs::trust::{OwnershipProblem, foreign_part, world_writable};
use myownllm_durable_fs::{Disk, DiskError, Metadata};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{
    classify::{is_spelled_alike, relative_dirs},
    error::MigrationError,
    homes::{Direction, Homes},
    inventory::{DestinationState, Inventory},
    leftovers::{Leftover, LeftoverClassifier, ONLY_COPY},
    plan::SkippedEntry,
};

/// The entries of one source directory.
#[derive(Default)]
pub(super) struct SourceEntries {
    /// Our names, those of quarantined files included.
    pub(super) ours: Vec<OsString>,
    /// True if the quarantine directory exists.
    pub(super) quarantines: bool,
    /// The number of names that stay.
    pub(super) foreign: usize,
}

pub(super) struct Inspector<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) homes: &'a Homes,
    pub(super) relative: Vec<Utf8PathBuf>,
    /// The source directories that can be read.
    pub(super) readable: BTreeMap<Utf8PathBuf, (Metadata, SourceEntries)>,
    /// The source directories that are symlinks to another directory in the home, with their
    /// targets.
    pub(super) linked: BTreeMap<Utf8PathBuf, PathBuf>,
    /// The existing destination directories.
    pub(super) there: BTreeMap<Utf8PathBuf, Metadata>,
    /// The source directories that are a directory of the destination as well.
    pub(super) same: BTreeSet<Utf8PathBuf>,
    /// The targets of the identity files that are symlinks.
    pub(super) key_targets: Vec<PathBuf>,
    judge: LeftoverClassifier<'a>,
    /// The files that get their names back, by these names.
    quarantined: BTreeMap<PathBuf, PathBuf>,
    pub(super) out: Inventory,
}

/// The reason why a file stays that has the name of one of ours.
pub(super) enum SkipReason {
    /// The file is not what moves.
    Foreign(String),
    /// The file belongs to another user.
    Untrusted(OwnershipProblem),
    /// The file could not be inspected.
    Failed(MigrationError),
}

impl From<MigrationError> for SkipReason {
    fn from(error: MigrationError) -> Self {
        Self::Failed(error)
    }
}

impl<'a> Inspector<'a> {
    pub(super) fn new(disk: &'a dyn Disk, homes: &'a Homes, direction: Direction) -> Self {
        let out = Inventory {
            direction,
            source: homes.source(direction).into(),
            destination: homes.destination(direction).into(),
            dirs: Vec::new(),
            files: Vec::new(),
            source_identity: None,
            destination_identity: None,
            dangling_identity: None,
            identity_destination_state: DestinationState::Free,
            identity_destination: homes.destination(direction).join(homes.identity()).into(),
            moved_symlink_target: None,
            identity_failed: false,
            answer: myownllm_identity::scan(disk, &homes.identity_places).answer(),
            foreign: false,
            leftovers: Vec::new(),
            quarantines: Vec::new(),
            quarantine_dirs: Vec::new(),
            source_dirs: Vec::new(),
            missing_dirs: Vec::new(),
            destination_dirs: Vec::new(),
            writable_by_others: Vec::new(),
            modes: Vec::new(),
            owners: Vec::new(),
            owner: None,
            left: Vec::new(),
            errors: Vec::new(),
            refusals: Vec::new(),
        };
        Self {
            disk,
            homes,
            relative: relative_dirs(homes),
            readable: BTreeMap::new(),
            linked: BTreeMap::new(),
            there: BTreeMap::new(),
            same: BTreeSet::new(),
            key_targets: Vec::new(),
            judge: LeftoverClassifier::new(disk, homes),
            quarantined: BTreeMap::new(),
            out,
        }
    }

    pub(super) fn skip(&mut self, path: PathBuf, reason: impl Into<String>) {
        self.out.left.push(SkippedEntry { path, reason: reason.into() });
    }

    pub(super) fn unreadable(&mut self, path: &Path, error: DiskError) {
        self.out.errors.push(MigrationError::unreadable(path, error));
    }

    /// Records the reason why a file stays, which has the path `at`.
    pub(super) fn record_skip(&mut self, at: PathBuf, reason: SkipReason) {
        match reason {
            SkipReason::Foreign(reason) => self.skip(at, reason),
            SkipReason::Untrusted(problem) => {
                self.out.foreign = true;
                self.out.refusals.push(problem.into());
            }
            SkipReason::Failed(error) => self.out.errors.push(error),
        }
    }

    /// Counts an entry that stays in a source directory, which therefore does not become empty.
    pub(super) fn count_skipped(&mut self, dir: &Utf8Path) {
        if let Some((_, seen)) = self.readable.get_mut(dir) {
            seen.foreign += 1;
        }
    }

    /// Adds a refusal unless the path belongs to the owner of the home or root and no other user
    /// can replace an entry in it. Returns false for a directory of another user, which is not
    /// read.
    pub(super) fn trust(&mut self, path: &Path, meta: &Metadata) -> bool {
        let foreign = self.out.owner.and_then(|home| foreign_part(path, meta, home));
        let is_ours = foreign.is_none();
        let open = || world_writable(path, meta, "chmod 700").map(|problem| problem.as_mounted(self.disk));
        self.out.refusals.extend(foreign.or_else(open).map(MigrationError::from));
        is_ours
    }

    /// Fails for a file of another user.
    pub(super) fn ensure_owner(&self, path: &Path, meta: &Metadata) -> Result<(), SkipReason> {
        let found = self.out.owner.and_then(|home| foreign_part(path, meta, home));
        found.map_or(Ok(()), |found| Err(SkipReason::Untrusted(found)))
    }

    /// Returns the target of a symlink if it is a directory in the app's home. Fails if the target
    /// cannot be inspected, because it may be one.
    pub(super) fn inside(&self, link: &Path) -> Result<Option<(PathBuf, Metadata)>, DiskError> {
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
            Err(error) if error.is_absent() || error.is_symlink_loop() => Ok(None),
            other => other,
        }
    }

    /// Notes a file that gets its name back. Returns false if another file gets that name.
    pub(super) fn restore(&mut self, from: PathBuf, plain: PathBuf) -> bool {
        let is_first = !self.quarantined.contains_key(&plain);
        if is_first {
            self.quarantined.insert(plain.clone(), from.clone());
            self.out.quarantines.push((from, plain));
        }
        is_first
    }

    /// Returns the present path of a file, which a killed run may have quarantined.
    pub(super) fn current_path(&self, plain: PathBuf) -> PathBuf {
        match self.quarantined.get(&plain) {
            // A new file under the old name takes precedence over the quarantined one.
            Some(quarantined) if self.disk.stat(&plain).is_err_and(|error| error.is_not_found()) => {
                quarantined.clone()
            }
            _ => plain,
        }
    }

    /// Returns the names that files in a directory get back.
    pub(super) fn restored_in(&self, dir: &Path) -> impl Iterator<Item = OsString> {
        let restored = self.quarantined.keys().filter(move |plain| plain.parent() == Some(dir));
        restored.filter_map(|plain| plain.file_name()).map(OsStr::to_owned)
    }

    /// Classifies a temporary file of a killed run. If the content exists elsewhere, the file is
    /// removed. If the file is the only copy, it gets its name back, and that name is returned. Any
    /// other file stays, and the report names it.
    pub(super) fn leftover(&mut self, relative: &Utf8Path, path: PathBuf) -> Option<OsString> {
        match self.judge.judge(relative, &path) {
            Leftover::Superfluous => self.out.leftovers.push(path),
            Leftover::OnlyCopyOf(name) => {
                let name = OsString::from(name.file_name()?);
                if self.restore(path.clone(), path.with_file_name(&name)) {
                    return Some(name);
                }
                self.skip(path, ONLY_COPY);
            }
            Leftover::MayBeOnlyCopy => self.skip(path, ONLY_COPY),
        }
        None
    }
}

/// The state of a path that may be a directory.
pub(super) enum DirState {
    Absent,
    Dir(Metadata),
    Symlink(PathBuf),
    NotADirectory,
    Unreadable(DiskError),
}

pub(super) fn dir_state(disk: &dyn Disk, path: &Path) -> DirState {
    match disk.stat(path) {
        Ok(meta) if meta.is_dir() => DirState::Dir(meta),
        Ok(meta) if meta.is_symlink() => match disk.read_link(path) {
            Ok(target) => DirState::Symlink(target),
            Err(error) => DirState::Unreadable(error),
        },
        Ok(_) => DirState::NotADirectory,
        Err(error) if error.is_absent() => DirState::Absent,
        Err(error) => DirState::Unreadable(error),
    }
}

/// Returns true if other users can write to this directory, and so can put files into it.
pub(super) fn is_loose(meta: &Metadata) -> bool {
    meta.owner.is_some() && meta.mode & 0o022 != 0
}

/// Returns true if a name of a directory is `known`, or another spelling of it on a file system
/// that ignores letter case: then both names lead to one entry, which has no second hard link.
pub(super) fn is_one_entry(disk: &dyn Disk, dir: &Path, known: &OsStr, name: &OsStr) -> bool {
    let metadata = |name: &OsStr| disk.stat(&dir.join(name)).ok();
    known == name
        || is_spelled_alike(Path::new(known), Path::new(name))
            && metadata(known).zip(metadata(name)).is_some_and(|(known, name)| {
                known.is_same_file(&name) && (known.is_dir() || known.links == 1)
            })
}
