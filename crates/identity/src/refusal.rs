//! The reasons why no daemon may be started, and the ways out.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use myownllm_durable_fs::{DiskError, for_any_shell, run_first};
use myownllm_paths::{FailureData, PathsError, TRASH, camino::Utf8PathBuf, impl_failure};
use serde::{Serialize, Serializer};

use crate::{file::KeyInfo, paths::Side, scan::KnownBy};

pub use myownllm_paths::Class;

/// An identity file, its key, and the files that know the key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KnownIdentity {
    /// The identity file.
    pub path: Utf8PathBuf,
    /// Its key.
    pub key: KeyInfo,
    /// The files in this home that know the device.
    pub known_by: KnownBy,
    /// True if the rosters and states, or the run log, show that the app's home had this key and not
    /// the other one.
    pub is_known: bool,
}

/// The reason of a [`Refusal`].
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum Problem {
    /// The identity file is not in its place, although one existed: a sound one lies elsewhere, or
    /// rosters or states know the device.
    #[error("the identity file {place} is missing{}",
        evidence_words(found, known_by, logged.as_ref(), used_config.as_deref()))]
    Missing {
        place: Utf8PathBuf,
        found: Vec<FoundElsewhere>,
        known_by: Vec<(Utf8PathBuf, KnownBy)>,
        logged: Option<(PathBuf, String)>,
        used_config: Option<PathBuf>,
    },
    /// The identity file is not a sound one.
    #[error("the identity file {path} is damaged: {why}")]
    Damaged { path: Utf8PathBuf, why: String },
    /// An entry that is not a file has the place of the identity file.
    #[error("{} is {what}, where the identity file belongs", .path.display())]
    NotAFile { path: PathBuf, what: &'static str },
    /// Both homes hold a sound identity file, and the keys differ.
    #[error(
        "there are two different identities: {} in {} and {} in {}{}",
        .old_location.key.device_id, .old_location.path, .daemon_home.key.device_id, .daemon_home.path,
        known_words([old_location, daemon_home])
    )]
    TwoIdentities { old_location: Box<KnownIdentity>, daemon_home: Box<KnownIdentity> },
    /// The identity file has a newer version.
    #[error("the identity file {} is of version {version}, newer than this program knows", .path.display())]
    Newer { path: PathBuf, version: u64 },
    /// The identity file is a symlink whose target does not exist now, for example on an unplugged
    /// disk.
    #[error("the identity file is behind {}, a broken symlink to {}", .path.display(), .target.display())]
    Unreachable { path: PathBuf, target: PathBuf },
    /// A broken symlink is on the way to rosters and states, so that this program cannot check
    /// whether peers know this device.
    #[error(
        "cannot check whether peers know this device: its rosters and states are behind {}, a broken \
         symlink to {}",
        .path.display(), .target.display()
    )]
    PeersUnreachable { path: PathBuf, target: PathBuf },
    /// A home that was in use has no identity file, and a symlink on the way to it, or to the rosters
    /// and states, leads to an empty directory, as the mount point of a missing disk is.
    #[error("{} leads to an empty directory, {}; its disk may be missing", .path.display(), .target.display())]
    DiskMissing { path: PathBuf, target: PathBuf },
    /// The identity file, or an entry that may hold it, cannot be read. Unreadable is not absent.
    #[error("{} cannot be read, and may be the identity file, or name it", .path.display())]
    Unreadable { path: PathBuf, source: DiskError },
    /// The identity file has not arrived in the daemon home.
    #[error("the identity file is still at {}, and has to move to {place}", .path.display())]
    Pending { path: PathBuf, place: Utf8PathBuf },
    /// Another identity file is active than a moment ago, or none is.
    #[error("the identity file {path} has changed while this program prepared the start")]
    Changed { path: Utf8PathBuf },
    /// The daemon home is no directory of its own inside the app's home.
    #[error(transparent)]
    Homes(Arc<PathsError>),
    /// The lock that the caller passed is not the lock of the app's home.
    #[error("the given lock is not that of {}", .0.path().display())]
    OutsideLock(#[source] DiskError),
}

/// An identity file elsewhere, as a message shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundElsewhere {
    /// The path of the file.
    pub path: PathBuf,
    /// Its Device ID; `None` for a file that holds no readable key, or is of a newer version.
    pub device_id: Option<String>,
    /// The reason why no daemon can read the file.
    pub damaged: Option<String>,
    /// The config that names it.
    pub named_by: Option<PathBuf>,
}

impl FoundElsewhere {
    fn is_in_trash(&self) -> bool {
        self.path.ancestors().any(|dir| TRASH.iter().any(|trash| dir.ends_with(trash)))
    }
}

/// A way out of a refusal. The first way out of a refusal brings the key back if possible; only the
/// last gives up the peers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "action", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum WayOut {
    /// Put a found sound identity file in its place.
    BringBack {
        /// The file that was found.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// The place where the file belongs.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
        /// The Device ID of the file that was found.
        #[serde(skip_serializing_if = "Option::is_none")]
        device_id: Option<String>,
        command: String,
    },
    /// Choose one of the identity files that the next ways out bring back: their keys differ, and
    /// the rosters and states do not tell the right one.
    Choose,
    /// Write the identity file anew in the encoding that the daemon reads, and keep a copy of the
    /// previous one.
    Rewrite {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        path: Utf8PathBuf,
        command: String,
    },
    /// Choose one of the two identity files. The other one is set aside.
    Keep {
        /// The home whose file stays; `None` if the peers do not decide it.
        side: Option<Side>,
    },
    /// Restore the file from the user's own backup. The command has a path to fill in.
    Restore {
        /// The place where the file belongs.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
        command: String,
    },
    /// Set aside the entry in the place of the identity file, or of the daemon home.
    SetAside {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        command: String,
    },
    /// Look at the entry: its remedy cannot be determined from here.
    #[serde(rename = "look")]
    ShowEntry {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        command: String,
    },
    /// Run the move.
    Migrate,
    /// Use a newer version of the program.
    Update,
    /// Give up the files that know the device. A daemon then creates a new identity, and every peer
    /// must approve it anew.
    GiveUpPeers { command: String },
}

pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// Returns the command of a way out, as `&` or `&mut` like the argument.
macro_rules! command_in {
    ($way:expr) => {
        match $way {
            WayOut::BringBack { command, .. }
            | WayOut::Rewrite { command, .. }
            | WayOut::Restore { command, .. }
            | WayOut::SetAside { command, .. }
            | WayOut::ShowEntry { command, .. }
            | WayOut::GiveUpPeers { command } => Some(command),
            WayOut::Choose | WayOut::Keep { .. } | WayOut::Migrate | WayOut::Update => None,
        }
    };
}

impl WayOut {
    /// Returns the command; one of this app's program begins with `program`.
    pub fn command_of(&self, program: &str) -> Option<String> {
        let ours = |rest: &str| Some(format!("{program} {rest}"));
        match self {
            Self::Keep { side: Some(Side::OldLocation) } => ours("migrate --keep-identity old-location"),
            Self::Keep { side: Some(Side::DaemonHome) } => ours("migrate --keep-identity daemon-home"),
            Self::Keep { side: None } | Self::Migrate => ours("migrate --dry-run"),
            // Lists the found identity files, and a command for each.
            Self::Choose => ours("identity"),
            Self::Update => ours("--version"),
            _ => self.command().map(str::to_owned),
        }
    }

    /// Returns the command, if it does not depend on the name of a program.
    pub fn command(&self) -> Option<&str> {
        command_in!(self).map(String::as_str)
    }

    fn command_mut(&mut self) -> Option<&mut String> {
        command_in!(self)
    }
}

/// The reason why no daemon may be started. A daemon that does not find its identity file creates a
/// new one, and is a stranger to every peer.
///
/// `Display` gives the problem; the cause is the source. [`code`](Self::code) is stable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// The reason.
    pub problem: Problem,
    /// The ways out, the best first.
    pub ways_out: Vec<WayOut>,
}

impl Refusal {
    pub(crate) fn new(problem: Problem, mut ways_out: Vec<WayOut>) -> Self {
        for command in ways_out.iter_mut().filter_map(WayOut::command_mut) {
            *command = for_any_shell(std::mem::take(command));
        }
        Self { problem, ways_out }
    }

    /// Adds a command before each command that changes something.
    pub(crate) fn begin_commands_with(&mut self, first: &str) {
        let changing = self.ways_out.iter_mut().filter(|way| !matches!(way, WayOut::ShowEntry { .. }));
        for command in changing.filter_map(WayOut::command_mut) {
            *command = run_first(first, command);
        }
    }

    /// Returns a stable code.
    pub fn code(&self) -> &'static str {
        self.code_and_class().0
    }

    /// Returns the class of the error.
    pub fn class(&self) -> Class {
        self.code_and_class().1
    }

    fn code_and_class(&self) -> (&'static str, Class) {
        use Class::{Failed, Newer, Refused};
        match &self.problem {
            Problem::Missing { .. } => ("identity.gone", Refused),
            Problem::Damaged { .. } | Problem::NotAFile { .. } => ("migration.identity-damaged", Refused),
            Problem::TwoIdentities { .. } => ("migration.two-identities", Refused),
            Problem::Newer { .. } => ("migration.identity-newer", Newer),
            Problem::Unreachable { .. } => ("migration.identity-unreachable", Failed),
            Problem::PeersUnreachable { .. } => ("identity.peers-unreachable", Failed),
            Problem::DiskMissing { .. } => ("identity.disk-missing", Failed),
            Problem::Unreadable { .. } => ("migration.unreadable", Failed),
            Problem::Pending { .. } => ("migration.identity-pending", Refused),
            Problem::Changed { .. } => ("identity.changed", Failed),
            Problem::Homes(error) => (error.code(), error.class()),
            Problem::OutsideLock(error) => (error.code(), Failed),
        }
    }

    /// Returns the path that the refusal is about.
    pub fn path(&self) -> &Path {
        match &self.problem {
            Problem::Missing { place: path, .. }
            | Problem::Damaged { path, .. }
            | Problem::Changed { path } => path.as_std_path(),
            Problem::NotAFile { path, .. }
            | Problem::Newer { path, .. }
            | Problem::Unreachable { path, .. }
            | Problem::PeersUnreachable { path, .. }
            | Problem::DiskMissing { path, .. }
            | Problem::Unreadable { path, .. }
            | Problem::Pending { path, .. } => path,
            // An error of this check names a path.
            Problem::Homes(error) => error.path().unwrap_or(Path::new("")),
            Problem::OutsideLock(error) => error.path(),
            Problem::TwoIdentities { old_location, .. } => old_location.path.as_std_path(),
        }
    }

    /// Returns the command of the first way out, if it does not depend on the name of a program.
    pub fn hint(&self) -> Option<String> {
        self.ways_out.first()?.command().map(str::to_owned)
    }

    /// Returns the one of two identities that has this public key.
    pub fn identity_with(&self, public_key: &str) -> Option<&KnownIdentity> {
        let Problem::TwoIdentities { old_location, daemon_home } = &self.problem else { return None };
        [&**old_location, daemon_home].into_iter().find(|side| side.key.public_key == public_key)
    }

    /// Returns true if the identity file is missing, or if the rosters and states that would show
    /// that one existed are unreachable. A move is refused then: the user has to solve the problem
    /// before anything changes.
    pub fn is_missing(&self) -> bool {
        matches!(self.problem, Problem::Missing { .. }) || self.is_hidden()
    }

    /// Returns true if the refusal names this file as one that holds, or held, a key.
    pub fn finds(&self, file: &Path) -> bool {
        matches!(&self.problem, Problem::Missing { found, .. } if found.iter().any(|found| found.path == file))
    }

    /// Returns true if the identity file, or what would show that one existed, may lie behind a
    /// symlink.
    pub fn is_hidden(&self) -> bool {
        matches!(self.problem, Problem::PeersUnreachable { .. } | Problem::DiskMissing { .. })
    }

    /// Returns the message without its beginning "cannot start a daemon: ".
    pub fn reason(&self) -> String {
        // The screen breaks sentences into lines, and a broken command cannot be copied: commands
        // are in `ways_out`.
        let advice = match (&self.problem, self.ways_out.first()) {
            (Problem::Missing { .. }, Some(WayOut::Restore { .. })) => {
                "; restore it from a backup, or, if it is lost for good, give up the peers"
            }
            // Nothing but the trash shows that there was a key.
            (Problem::Missing { found, known_by, logged: None, used_config: None, .. }, _)
                if known_by.is_empty()
                    && !found.is_empty()
                    && found.iter().all(FoundElsewhere::is_in_trash) =>
            {
                "; bring it back, or, to start anew, empty the trash"
            }
            _ if self.is_hidden() => "; bring the target back, or, if it is lost for good, give up the peers",
            _ => "",
        };
        format!("{}{advice}", self.problem)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start a daemon: {}", self.reason())
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

impl_failure!(Refusal);

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Data<'r> {
            #[serde(flatten)]
            failure: FailureData,
            ways_out: &'r [WayOut],
        }
        Data { failure: FailureData::of(self), ways_out: &self.ways_out }.serialize(serializer)
    }
}

/// Returns which of two keys the home is known to have had, as the end of a sentence.
fn known_words(sides: [&KnownIdentity; 2]) -> String {
    let known = sides.into_iter().find(|side| side.is_known);
    known.map_or_else(String::new, |side| format!("; this home has known {}", side.key.device_id))
}

/// Returns the evidence that a missing identity file existed, as the end of a sentence.
fn evidence_words(
    found: &[FoundElsewhere],
    known_by: &[(Utf8PathBuf, KnownBy)],
    logged: Option<&(PathBuf, String)>,
    used_config: Option<&Path>,
) -> String {
    let mut words = String::new();
    for (number, found) in found.iter().enumerate() {
        words += match (number, &found.damaged, &found.device_id) {
            (0, None, Some(_)) => ", and a sound one lies at ",
            (0, None, None) => ", and one of a newer version lies at ",
            (0, Some(_), _) => ", and a damaged one lies at ",
            _ => ", and another at ",
        };
        words += &found.path.to_string_lossy();
        words += &match (&found.device_id, &found.damaged) {
            (Some(device_id), None) => format!(" (Device ID {device_id})"),
            (Some(device_id), Some(why)) => format!(" (Device ID {device_id}; {why})"),
            (None, Some(why)) => format!(" ({why})"),
            (None, None) if number == 0 => String::new(),
            (None, None) => " (of a newer version)".to_owned(),
        };
        if let Some(config) = &found.named_by {
            words += &format!(", which {} names", config.display());
        }
    }
    let has_sound = found.iter().any(|found| found.damaged.is_none());
    let is_found = |id: &str| found.iter().any(|found| found.device_id.as_deref() == Some(id));
    let logged = logged.filter(|(_, id)| !is_found(id));
    words
        + &match (logged, used_config) {
            _ if !has_sound && !known_by.is_empty() => {
                let known: Vec<_> = known_by.iter().map(|(home, by)| format!("{by} in {home}")).collect();
                format!(", and {} know this device", known.join(" and "))
            }
            (Some((log, id)), _) => {
                format!(", and {} shows that this home had the Device ID {id}", log.display())
            }
            (None, Some(config)) if found.is_empty() => {
                format!(", and {} shows that a daemon with a key has run here", config.display())
            }
            _ => String::new(),
        }
}

impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        let counts = [(self.rosters, "roster"), (self.states, "state"), (self.custody, "custody file")];
        let counts = counts.into_iter().filter(|(number, _)| *number > 0);
        let counts: Vec<String> = counts.map(|(number, what)| count(number, what)).collect();
        f.write_str(&counts.join(" and "))
    }
}
