//! Why no daemon may be started, and the ways out.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{DiskError, quote};
use serde::{Serialize, Serializer, ser::SerializeStruct};

use crate::{file::KeyInfo, look::KnownBy};

/// What kind of trouble an error is: what the exit code of a program tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Something went wrong; the next run tries again.
    Failed,
    /// It needs a decision of the user's, or something put in order by hand.
    Refused,
    /// Data of a newer version: not ours to touch.
    Newer,
}

/// One of the two homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The app's home, in which the daemon kept its files before.
    OldLocation,
    /// The daemon's own.
    DaemonHome,
}

/// An identity file, its key, and who knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The identity file.
    pub path: PathBuf,
    /// Its key.
    pub key: KeyInfo,
    /// Who lies on this side.
    pub known_by: KnownBy,
}

/// What is wrong.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// There is no identity file where it belongs, and there was one: a sound one lies elsewhere, or rosters or states know the device.
    #[error("the identity file {} is missing{}", .place.display(), Missing { found, known_by })]
    Gone {
        /// Where it belongs.
        place: PathBuf,
        /// Sound files elsewhere, with the Device ID and the config that names them.
        found: Vec<FoundElsewhere>,
        /// Who knows the device: a home with its rosters and states.
        known_by: Vec<(PathBuf, KnownBy)>,
    },
    /// The config of the daemon names an identity file that no daemon can use.
    #[error("the identity file {}, which {} names, {why}", .named.display(), .config.display())]
    NamedElsewhere {
        /// The config.
        config: PathBuf,
        /// What it names.
        named: PathBuf,
        /// What is wrong with that, in words that follow it.
        why: String,
    },
    /// The identity file is not a sound one.
    #[error("the identity file {} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something else than a file is where the identity file belongs.
    #[error("{} is {what}, where the identity file belongs", .path.display())]
    Odd {
        /// Where.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Both homes hold a sound identity file, and the keys differ.
    #[error(
        "there are two different identities: {} in {} and {} in {}",
        .old_location.key.device_id, .old_location.path.display(), .daemon_home.key.device_id, .daemon_home.path.display()
    )]
    TwoIdentities {
        /// The one at the old location.
        old_location: Box<Candidate>,
        /// The one in the daemon's home.
        daemon_home: Box<Candidate>,
    },
    /// The identity file is of a newer version.
    #[error("the identity file {} is of version {version}, newer than this program knows", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// The identity file is a symlink that leads to nothing that can be seen now: an unplugged disk, say.
    #[error("the identity file is behind {}, a symlink to {}, where there is nothing", .path.display(), .target.display())]
    Unreachable {
        /// The symlink.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// Something that is, or may hold, the identity file cannot be read. Unreadable is not absent.
    #[error("{} cannot be read, and may be or name the identity file", .path.display())]
    Unreadable {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: DiskError,
    },
    /// The identity file has not arrived in the daemon's home.
    #[error("the identity file is still at {}, and has to move to {}", .path.display(), .place.display())]
    Pending {
        /// Where it is.
        path: PathBuf,
        /// Where it belongs.
        place: PathBuf,
    },
    /// Another identity file is in force than a moment ago, or none.
    #[error("the identity file {} is not the one any more for which the permit was given", .path.display())]
    Changed {
        /// Where it belongs.
        path: PathBuf,
    },
    /// The lock that was passed does not lock the app's home.
    #[error(transparent)]
    OutsideLock(DiskError),
}

/// A sound identity file elsewhere, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundElsewhere {
    /// Where.
    pub path: PathBuf,
    /// Its Device ID; `None` for a file of a newer version.
    pub device_id: Option<String>,
    /// The config that names it.
    pub named_by: Option<PathBuf>,
}

/// A way out of a refusal. The first of a refusal brings the key back wherever that is possible; only the last gives the peers up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "action", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum WayOut {
    /// Put a sound identity file that was found where it belongs.
    BringBack {
        /// The file.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// Where it belongs.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// The command.
        command: String,
    },
    /// Write the identity file anew as the daemon reads it, with a copy of the former one.
    Rewrite {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The command.
        command: String,
    },
    /// Take one of the two identity files; the other is set aside.
    Keep {
        /// The home whose file stays; `None` where nothing tells which one the peers know.
        side: Option<Side>,
    },
    /// Take the name of the identity file out of the daemon's config, so that it uses the one in its home.
    MendConfig {
        /// The config.
        #[serde(serialize_with = "lossy")]
        config: PathBuf,
        /// The command.
        command: String,
    },
    /// Restore the file from a backup of the user's own: the command holds a path to fill in.
    Restore {
        /// Where it belongs.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// The command.
        command: String,
    },
    /// Set aside what is in the place of the identity file.
    SetAside {
        /// What.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The command.
        command: String,
    },
    /// Look at it: what it needs cannot be told from here.
    Look {
        /// What.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The command that shows it.
        command: String,
    },
    /// Run the move.
    Migrate,
    /// Use a newer version of the program.
    Update,
    /// Give up what knows the device: a daemon makes a new identity then, and every peer has to approve it anew.
    GiveUpPeers {
        /// The command.
        command: String,
    },
}

pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl WayOut {
    /// The command, where it does not depend on how a program is called.
    pub fn command(&self) -> Option<&str> {
        match self {
            Self::BringBack { command, .. }
            | Self::Rewrite { command, .. }
            | Self::MendConfig { command, .. }
            | Self::Restore { command, .. }
            | Self::SetAside { command, .. }
            | Self::Look { command, .. }
            | Self::GiveUpPeers { command } => Some(command),
            Self::Keep { .. } | Self::Migrate | Self::Update => None,
        }
    }
}

/// Why no daemon may be started: a daemon that does not find its identity file makes a new one, and is a stranger to every peer.
///
/// `Display` says what is wrong; the cause is the source. [`code`](Self::code) is stable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Refusal {
    /// What is wrong.
    pub problem: Problem,
    /// The ways out, the best first.
    pub ways_out: Vec<WayOut>,
}

impl Refusal {
    pub(crate) fn new(problem: Problem, ways_out: Vec<WayOut>) -> Self {
        Self { problem, ways_out }
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        match &self.problem {
            Problem::Gone { .. } => "identity.gone",
            Problem::NamedElsewhere { .. } => "identity.named-elsewhere",
            Problem::Damaged { .. } | Problem::Odd { .. } => "migration.identity-damaged",
            Problem::TwoIdentities { .. } => "migration.two-identities",
            Problem::Newer { .. } => "migration.identity-newer",
            Problem::Unreachable { .. } => "migration.identity-unreachable",
            Problem::Unreadable { .. } => "migration.unreadable",
            Problem::Pending { .. } => "migration.identity-pending",
            Problem::Changed { .. } => "identity.changed",
            Problem::OutsideLock(error) => error.code(),
        }
    }

    /// What kind of trouble it is.
    pub fn class(&self) -> Class {
        match self.problem {
            Problem::Unreachable { .. }
            | Problem::Unreadable { .. }
            | Problem::Changed { .. }
            | Problem::OutsideLock(_) => Class::Failed,
            Problem::Newer { .. } => Class::Newer,
            _ => Class::Refused,
        }
    }

    /// What it is about.
    pub fn path(&self) -> &Path {
        match &self.problem {
            Problem::Gone { place: path, .. }
            | Problem::NamedElsewhere { config: path, .. }
            | Problem::Damaged { path, .. }
            | Problem::Odd { path, .. }
            | Problem::Newer { path, .. }
            | Problem::Unreachable { path, .. }
            | Problem::Unreadable { path, .. }
            | Problem::Pending { path, .. }
            | Problem::Changed { path } => path,
            Problem::OutsideLock(error) => error.path(),
            Problem::TwoIdentities { old_location, .. } => &old_location.path,
        }
    }

    /// The command of the first way out, where it does not depend on how a program is called.
    pub fn hint(&self) -> Option<String> {
        self.ways_out.first()?.command().map(str::to_owned)
    }

    /// There is no identity file in its place. Nothing is moved then: what is wrong has to be put right before anything changes.
    pub fn is_gone(&self) -> bool {
        matches!(self.problem, Problem::Gone { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot start a daemon: {}", self.problem)?;
        let given_up = self.ways_out.iter().find_map(|way| match way {
            WayOut::GiveUpPeers { command } => Some(command),
            _ => None,
        });
        match (&self.problem, given_up) {
            (Problem::Gone { found, .. }, Some(command)) if found.is_empty() => write!(
                f,
                "; restore it from a backup; only if it is lost for good, give up the peers, who will have to approve this device \
                 anew: {command}"
            ),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.problem.source()
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Refusal", 5)?;
        out.serialize_field("code", self.code())?;
        out.serialize_field("class", &self.class())?;
        out.serialize_field("message", &self.to_string())?;
        out.serialize_field("path", &self.path().to_string_lossy())?;
        out.serialize_field("ways_out", &self.ways_out)?;
        out.end()
    }
}

/// What tells that a missing identity file was there.
struct Missing<'a> {
    found: &'a [FoundElsewhere],
    known_by: &'a [(PathBuf, KnownBy)],
}

impl fmt::Display for Missing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, found) in self.found.iter().enumerate() {
            f.write_str(if number == 0 { ", and a sound one lies at " } else { ", and another at " })?;
            write!(f, "{}", found.path.display())?;
            match &found.device_id {
                Some(device_id) => write!(f, " (Device ID {device_id})")?,
                None => f.write_str(" (of a newer version)")?,
            }
            if let Some(config) = &found.named_by {
                write!(f, ", which {} names", config.display())?;
            }
        }
        if !self.found.is_empty() {
            return Ok(());
        }
        for (number, (home, known_by)) in self.known_by.iter().enumerate() {
            f.write_str(if number == 0 { ", and " } else { " and " })?;
            write!(f, "{known_by} in {}", home.display())?;
        }
        f.write_str(" know this device by it")
    }
}

impl fmt::Display for KnownBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count =
            |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
        match (self.rosters, self.states) {
            (rosters, 0) => f.write_str(&count(rosters, "roster")),
            (0, states) => f.write_str(&count(states, "state")),
            (rosters, states) => write!(f, "{} and {}", count(rosters, "roster"), count(states, "state")),
        }
    }
}

/// `mkdir` for a directory that is not there, to stand before a command.
pub(crate) fn make_dir(dir: Option<&Path>) -> String {
    dir.map_or_else(String::new, |dir| format!("mkdir -p -m 700 {} && ", quote(dir)))
}
