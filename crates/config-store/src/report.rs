use std::path::PathBuf;

use myownllm_config_model::app_config::Loss;
use myownllm_config_model::{Diagnostic, Document};
use myownllm_salvage::{Rebased, Shape};
use serde::{Serialize, Serializer};

use crate::{CopyId, CopyKind};

/// What a config file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileShape {
    /// The app's.
    App,
    /// The daemon's: the app's was overwritten.
    Daemon,
    /// The daemon's, with keys of the app's.
    Mixed,
    /// An object that has the marks of neither.
    Unknown,
    /// Not a JSON object.
    Corrupt,
    /// Not there.
    Missing,
}

impl From<Shape> for FileShape {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::App => Self::App,
            Shape::Daemon => Self::Daemon,
            Shape::Mixed => Self::Mixed,
            _ => Self::Unknown,
        }
    }
}

/// What a look found. Nothing was written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The config to run on: repaired and complete, in memory.
    pub document: Document,
    /// What the file is.
    pub shape: FileShape,
    /// The version of the daemon's config in the file, when it is newer than any we know. Then nothing is pending, and
    /// [`ConfigStore::apply`](crate::ConfigStore::apply) and [`update`](crate::ConfigStore::update) refuse.
    pub newer: Option<u64>,
    /// What [`ConfigStore::apply`](crate::ConfigStore::apply) would do.
    pub pending: Pending,
    /// What became of the parts.
    pub report: Report,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// A plan as data: what is to be written, in this order. Empty when there is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[non_exhaustive]
pub struct Pending {
    /// The steps, in the order in which they are taken.
    pub steps: Vec<Step>,
}

impl Pending {
    /// Nothing is to be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The config itself is to be written: it is missing, damaged, leaked, or lacks defaults.
    #[must_use]
    pub fn writes_config(&self) -> bool {
        self.steps.iter().any(Step::writes_config)
    }

    /// A part of the daemon's is to be put in place: no daemon may be started before.
    #[must_use]
    pub fn daemon_half(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::PublishDaemonHalf { .. } | Step::KeepDaemonHalf { .. }))
    }

    /// Nothing has to be written: at most the config gains defaults, which are complete in memory, or a copy, or leftovers of
    /// killed runs go.
    #[must_use]
    pub fn is_housekeeping(&self) -> bool {
        self.steps.iter().all(|step| {
            matches!(
                step,
                Step::ClearLeftover { .. }
                    | Step::KeepFormer { .. }
                    | Step::ReplaceConfig { repair: false, .. }
                    | Step::KeepLastGood { .. }
            )
        })
    }

    /// The config is in a shape that needs a repair (and not only defaults, a first file, or a routine copy).
    #[must_use]
    pub fn repairs(&self) -> bool {
        self.steps.iter().any(|s| {
            matches!(s, Step::ReplaceConfig { repair: true, .. } | Step::WriteConfig { restored: true, .. })
        })
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Something that a killed run left is kept, when it is the only one of its content, and removed.
    #[non_exhaustive]
    ClearLeftover {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// The file's former bytes are put among the copies.
    #[non_exhaustive]
    KeepFormer {
        /// The file.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// The folder of copies.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// How many bytes.
        bytes: u64,
    },
    /// The daemon's half becomes the daemon's config, which is missing.
    #[non_exhaustive]
    PublishDaemonHalf {
        /// The daemon's config.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// The daemon has a config already: its half of ours is put among the copies.
    #[non_exhaustive]
    KeepDaemonHalf {
        /// The daemon's config, which stays.
        #[serde(serialize_with = "lossy")]
        existing: PathBuf,
        /// The folder of copies.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// The config is exchanged for the repaired or completed one.
    #[non_exhaustive]
    ReplaceConfig {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// Whether this is a repair; else it only gains defaults.
        repair: bool,
    },
    /// The config is missing and is written, without replacing one that appears meanwhile.
    #[non_exhaustive]
    WriteConfig {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// Whether it comes from a copy; else it holds the defaults.
        restored: bool,
    },
    /// A copy of the healthy config is made, as the last known good one.
    #[non_exhaustive]
    KeepLastGood {
        /// The folder of copies.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
}

impl Step {
    /// It writes the config itself.
    #[must_use]
    pub fn writes_config(&self) -> bool {
        matches!(self, Self::ReplaceConfig { .. } | Self::WriteConfig { .. })
    }
}

fn lossy<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// What became (or would become) of the daemon's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DaemonHalf {
    /// It is the daemon's config now.
    Written,
    /// The daemon's config holds these very bytes already.
    Exists,
    /// The daemon has another config; ours is among the copies.
    Kept,
}

/// What a look found and what a repair did, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// What the file was.
    pub shape: FileShape,
    /// The network ids that came back from the daemon's half.
    pub recovered_networks: Vec<String>,
    /// The copy (or the name of the daemon's leftover beside the config) that the app's half came from.
    pub restored_from: Option<String>,
    /// The daemon's keys that were taken out.
    pub stripped_keys: Vec<String>,
    /// The app's keys that are at their defaults for want of a copy; `section.member` where the section itself is there. Of a
    /// config of its own, those that it lacks while there is no copy at all.
    pub reset_keys: Vec<String>,
    /// The app's keys that a config of its own lacks and is given with their defaults, in the same form: no repair.
    pub completed_keys: Vec<String>,
    /// The app's keys that came from the copy.
    pub restored_keys: Vec<String>,
    /// The app's keys that stood in the file itself.
    pub kept_keys: Vec<String>,
    /// The copy of the former file; `None` when there was nothing to keep, or nothing was written yet.
    pub backup: Option<String>,
    /// What became of the daemon's half; `None` when the file had none.
    pub daemon_half: Option<DaemonHalf>,
    /// The copy that holds the daemon's half, when it was kept.
    pub daemon_half_backup: Option<String>,
    /// Paths into the old home that the two halves hold.
    pub rebased: Vec<Rebased>,
    /// What the config has lost although it parses: it is restored from the backup, or, of networks alone, only reported.
    pub wiped: Option<Wipe>,
}

/// A config that has suddenly lost what its user had set, beside the newest backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Wipe {
    /// What is lost.
    pub loss: Loss,
    /// The backup (or the name of the daemon's leftover beside the config) that still holds it.
    pub backup: String,
    /// How many settings and networks of the user's the backup holds; of lost networks, how many networks.
    pub before: usize,
    /// How many of these the config holds.
    pub left: usize,
}

/// What [`ConfigStore::accept`](crate::ConfigStore::accept) did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Accepted {
    /// The backup of the config as it is.
    pub backup: CopyId,
    /// Whether the backup was made; else it was the newest already.
    pub changed: bool,
}

/// A file that has the name of the daemon's config and is not the daemon's, or not only the daemon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Misplaced {
    /// What it is. [`FileShape::Unknown`] is an object that has no key of the daemon's.
    pub shape: FileShape,
    /// The daemon's own keys in it, which stay in their place.
    pub daemon_keys: Vec<String>,
}

/// What became of a misplaced file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetAside {
    /// What it was.
    pub misplaced: Misplaced,
    /// The backup that holds its bytes.
    pub backup: CopyId,
    /// The part of the daemon's among the backups that is in the place now.
    pub restored_from: Option<CopyId>,
}

/// What [`ConfigStore::apply`](crate::ConfigStore::apply) did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Applied {
    /// The config as it is on disk now.
    pub document: Document,
    /// What was done.
    pub steps: Vec<Step>,
    /// What became of the parts.
    pub report: Report,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// What [`ConfigStore::update`](crate::ConfigStore::update) did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Updated {
    /// The config as it is on disk now.
    pub document: Document,
    /// Whether the file was written.
    pub changed: bool,
    /// How many times somebody else's write came in between, and the edit was made again on top of it.
    pub conflicts: u32,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// One copy, for `config history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// What names it.
    pub id: CopyId,
    /// Why it was made.
    pub kind: CopyKind,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was made, in milliseconds since the Unix epoch, as the clock of that day said. For people only: the order
    /// is that of the ids.
    pub made_ms: u64,
    /// What it holds; [`FileShape::Corrupt`] also when its bytes are not those that its name says.
    pub shape: FileShape,
    /// Whether its bytes are those that its name says.
    pub intact: bool,
    /// Whether it is not JSON, and a restore takes its complete members.
    pub recoverable: bool,
    /// Whether it is what the config holds now.
    pub current: bool,
    /// How many settings and networks of the user's it holds; `None` for what is not of the app's shape.
    pub settings: Option<usize>,
    /// Whether it is the one to restore: the newest that is not the config already and has lost nothing of what the richest one
    /// holds, as a wiped one has.
    pub recommended: bool,
    /// Where it is.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
}

/// What [`ConfigStore::restore`](crate::ConfigStore::restore) did.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// The config as it is on disk now.
    pub document: Document,
    /// The copy that was restored.
    pub from: CopyId,
    /// Where the config's former bytes are; `None` when there were none.
    pub backup: Option<CopyId>,
    /// Whether the file was written; it is not when it held those bytes already.
    pub changed: bool,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}
