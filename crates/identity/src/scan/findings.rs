//! The findings of a scan.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{DiskError, Timestamp};
use myownllm_paths::camino::Utf8PathBuf;

use crate::{
    file::{Identity, KeyInfo},
    paths::{Home, IdentityPaths, Side},
};

/// The state of the place of an identity file.
#[derive(Clone, Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum PlaceState {
    /// No entry.
    Absent,
    /// A file, with symlinks followed.
    File(Identity),
    /// A file that a killed move has quarantined beside its place. The next move puts it back.
    Quarantined(Identity),
    /// The path, or a directory on the way to it, is a broken symlink.
    Dangling { symlink: PathBuf, target: PathBuf },
    /// An entry that exists and cannot be read.
    Unreadable(DiskError),
    /// An entry at `path` that is not a file, but `what`.
    NotAFile { path: PathBuf, what: &'static str },
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
    /// The renamed home of the app that contains the file, if one does.
    pub(crate) renamed_home: Option<RenamedHome>,
    /// The rosters and states of a directory that was a home and is none any more.
    pub(crate) peers: Option<PathBuf>,
    /// The custody file beside the file, if a daemon finds neither there.
    pub(crate) custody: Option<PathBuf>,
    pub(crate) modified: Timestamp,
    /// True for a symlink: after a rename it could lead elsewhere.
    pub(crate) is_symlink: bool,
    /// A free name beside the file.
    pub(crate) aside: PathBuf,
}

/// A directory that was a home, or is a copy of one; or a secrets directory or an identity file in
/// the trash.
#[derive(Clone, Debug)]
pub(crate) struct RenamedHome {
    pub(crate) path: PathBuf,
    /// The path of the home.
    pub(crate) original: Utf8PathBuf,
    /// True if nothing is at the path of the home any more.
    pub(crate) is_gone: bool,
    pub(crate) known_by: KnownBy,
}

impl RenamedHome {
    /// Returns true if a file in the renamed home was in the secrets directory of the home `app`.
    pub(crate) fn was_in_secrets_of(&self, app: &Home, file: &Path) -> bool {
        let below = file.strip_prefix(&self.path);
        below.is_ok_and(|below| {
            self.original.as_std_path().join(below).parent() == Some(app.secrets().as_std_path())
        })
    }
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
    pub(crate) home: Home,
    /// The state of the place of the identity file.
    pub state: PlaceState,
    /// The rosters and states that know the device. Counted only if no sound identity file is
    /// active.
    pub known_by: KnownBy,
    /// The paths that hold these files: the directories in the home, or the files themselves.
    pub(crate) evidence: Vec<PathBuf>,
    pub(crate) has_secrets: bool,
    /// True if the directory above the rosters and states exists.
    pub(crate) has_peers_dir: bool,
    /// The entry in the place of the secrets directory that is none, and a free name beside it.
    pub(crate) blocked: Option<(PathBuf, PathBuf)>,
    /// A free name beside the place of the identity file, for the entry in that place.
    pub(crate) aside: PathBuf,
    /// A free name in the home, for given-up files.
    pub(crate) given_up: PathBuf,
}

/// The findings about the identity file, in every place. [`scan`](crate::scan()) makes them;
/// [`Scan::answer`] derives the answer.
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
    /// The public keys that rosters and states name as owners or controllers. The rosters of an
    /// open network name only the peers, so a plain member proves nothing.
    pub(crate) owners: BTreeSet<String>,
    /// The run log that shows the Device ID of the home, and the Device ID.
    pub(crate) logged: Option<(PathBuf, String)>,
    /// Renamed homes with rosters or states and without a key. Known only if nothing else shows
    /// that the home had a key.
    pub(crate) renamed: Vec<RenamedHome>,
    /// The command that lifts the protection of the files and directories that the ways out change;
    /// `None` if none is immutable or append-only.
    pub(crate) unprotect: Option<String>,
    /// The place of the one of two sound keys that the home is known to have had.
    pub(crate) known_side: Option<Side>,
    /// The config that only a daemon with a key can have written.
    pub(crate) used_config: Option<PathBuf>,
    /// The symlinks to empty directories that may hide the key of a home that was in use, and their
    /// targets.
    pub(crate) empty: Vec<(PathBuf, PathBuf)>,
}

impl HomeScan {
    /// Returns the sound key in the place of the identity file, quarantined or not.
    pub(crate) fn key(&self) -> Option<&KeyInfo> {
        self.state.identity()?.key()
    }
}

impl Scan {
    /// Returns true if rosters, states, custody files, the run log or a config show that a home had a
    /// key.
    pub(crate) fn is_known(&self) -> bool {
        !self.homes_with_peers().is_empty() || self.logged.is_some() || self.used_config.is_some()
    }

    /// Returns both homes, the daemon home first: it lies in the app's home.
    pub(crate) fn homes(&self) -> [&HomeScan; 2] {
        [&self.daemon, &self.app]
    }
}
