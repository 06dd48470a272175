//! The findings of a load, and the outcome of a repair, as data.
//!
//! The words for settings that are not where they were, and the fields of [`Report`] that list them:
//!
//! | word | means | JSON field |
//! | --- | --- | --- |
//! | reset | at its default, as no backup has it | `reset_keys` |
//! | missing | not in the document (`AppSchema::missing_keys`) | none |
//! | completed | missing in a config of the app's own, and given its default: no repair | `completed_keys` |
//! | gone | a backup has it, and the app's own config lacks it and stays so | `gone_keys` |
//! | wiped | most settings are gone at once: a repair restores them (`config.wiped`) | `wiped` |
//! | lost | reset or gone: what the user has to set again (`lost` of the run log) | none |
//!
//! A network is lost if a roster knows it and no source gave it back (`lost_networks`).

use std::ffi::OsStr;
use std::path::PathBuf;

use myownllm_config_model::app_config::Loss;
use myownllm_config_model::{Diagnostic, Document};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_salvage::{Rebased, Shape};
use serde::{Serialize, Serializer};

use crate::{BackupId, BackupKind, StoreError};

/// The kind of a config file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileShape {
    /// The app's config.
    App,
    /// The daemon's config: a daemon overwrote the app's.
    Daemon,
    /// The daemon's config, with keys of the app's.
    Mixed,
    /// An object with the marks of neither.
    Unknown,
    /// Not a JSON object.
    Corrupt,
    /// No file.
    #[default]
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

/// The result of a load. Nothing was written.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Loaded {
    /// The config to run on: repaired and completed in memory.
    pub document: Document,
    /// The kind of the file.
    pub shape: FileShape,
    /// The version of the daemon's config in the file, if it is newer than any known version. Then
    /// nothing is pending, and [`LockedStore::apply`](crate::LockedStore::apply) and
    /// [`update`](crate::LockedStore::update) refuse.
    pub newer: Option<u64>,
    /// The steps that [`LockedStore::apply`](crate::LockedStore::apply) would take.
    pub pending: Pending,
    /// The outcome for each part of the config.
    pub report: Report,
    /// The findings.
    pub diagnostics: Vec<Diagnostic>,
    /// The number of backups that are never removed, and their bytes, if the steps need room for
    /// more of them and there is none.
    pub(crate) full: Option<(usize, u64)>,
}

impl Loaded {
    /// Returns the result of a load that found nothing to write.
    pub fn new(document: Document, shape: FileShape) -> Self {
        let (pending, report) = (Pending::default(), Report { shape, ..Report::default() });
        Self { document, shape, newer: None, pending, report, diagnostics: Vec::new(), full: None }
    }

    /// Returns the error of a change of the config at `path`, if a newer version wrote the config.
    pub fn newer_error(&self, path: &Utf8Path) -> Option<StoreError> {
        self.newer.map(|version| StoreError::Newer { path: path.to_owned(), version })
    }
}

/// A plan as data: the writes, in this order. Empty if nothing is pending.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(transparent)]
#[non_exhaustive]
pub struct Pending {
    /// The steps, in the order in which they are carried out.
    pub steps: Vec<Step>,
}

impl Pending {
    /// Returns true if nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Returns true if a step writes the config itself: it is missing, damaged, overwritten by a
    /// daemon, or lacks defaults.
    pub fn writes_config(&self) -> bool {
        self.steps.iter().any(Step::writes_config)
    }

    /// Returns true if a step stores a part of the daemon's: no daemon may be started before.
    pub fn daemon_half(&self) -> bool {
        self.steps.iter().any(|s| matches!(s, Step::PublishDaemonHalf { .. } | Step::KeepDaemonHalf { .. }))
    }

    /// Returns true if no step is urgent: at most the config gains defaults, which the loaded
    /// document has already, a backup is made, or leftovers of killed runs are removed.
    pub fn is_housekeeping(&self) -> bool {
        self.steps.iter().all(|step| {
            matches!(
                step,
                Step::ClearLeftover { .. }
                    | Step::KeepPrevious { .. }
                    | Step::ReplaceConfig { repair: false, .. }
                    | Step::KeepLastGood { .. }
            )
        })
    }

    /// Returns true if the config needs a repair, and not only defaults, a first file, or a routine
    /// backup.
    pub fn repairs(&self) -> bool {
        self.steps.iter().any(|s| {
            matches!(s, Step::ReplaceConfig { repair: true, .. } | Step::WriteConfig { repair: true, .. })
        })
    }
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "ConfigStep"))]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Step {
    /// Removes the leftover of a killed run, or the config that the user brought back, once it is
    /// restored. If the content is nowhere else, it becomes a backup first.
    #[non_exhaustive]
    ClearLeftover {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Makes a backup of the file's previous bytes.
    #[serde(rename = "keep-former")]
    #[non_exhaustive]
    KeepPrevious {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        from: Utf8PathBuf,
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
        bytes: u64,
    },
    /// Writes the daemon's half as the daemon's config, which is missing.
    #[non_exhaustive]
    PublishDaemonHalf {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
    },
    /// Makes a backup of the daemon's half, because the daemon has a config already.
    #[non_exhaustive]
    KeepDaemonHalf {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        existing: Utf8PathBuf,
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
    },
    /// Exchanges the config for the repaired or completed one.
    #[non_exhaustive]
    ReplaceConfig {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        path: Utf8PathBuf,
        /// True if this is a repair. Otherwise the config only gains defaults.
        repair: bool,
    },
    /// Writes the missing config, without replacing a file that appears meanwhile.
    #[non_exhaustive]
    WriteConfig {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        path: Utf8PathBuf,
        /// True if this is a repair: the config comes from a backup, or the settings of a used home
        /// are lost. Otherwise the home is new.
        repair: bool,
        /// True if the config comes from a backup. Otherwise it holds the defaults.
        restored: bool,
    },
    /// Makes a backup of the healthy config, as the last good one.
    #[non_exhaustive]
    KeepLastGood {
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        to: Utf8PathBuf,
    },
}

impl Step {
    /// Returns true if the step writes the config itself.
    pub fn writes_config(&self) -> bool {
        matches!(self, Self::ReplaceConfig { .. } | Self::WriteConfig { .. })
    }

    pub(crate) fn clears(&self, name: Option<&str>) -> bool {
        matches!(self, Self::ClearLeftover { path } if path.file_name().and_then(OsStr::to_str) == name)
    }
}

fn lossy<S: Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The outcome (or the planned outcome) for the daemon's half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum DaemonHalf {
    /// The half is the daemon's config now.
    Written,
    /// The daemon's config holds the same bytes already.
    Exists,
    /// The daemon has another config; the half is among the backups.
    Kept,
}

/// The findings of a load and the outcome of a repair, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "RepairReport"))]
#[non_exhaustive]
pub struct Report {
    /// The kind of the file before the repair.
    pub shape: FileShape,
    /// The network ids that the daemon's half gave back.
    pub recovered_networks: Vec<String>,
    /// The network ids that rosters have, and that no source gave back.
    pub lost_networks: Vec<String>,
    /// The source of the app's half: a backup, or the name of the daemon's leftover beside the
    /// config.
    pub restored_from: Option<String>,
    /// The daemon's keys that were taken out.
    pub stripped_keys: Vec<String>,
    /// The app's keys that have their defaults because no backup has them; `section.member` if the
    /// section itself is there. For a config of the app's own: the keys that it lacks while no
    /// backup exists.
    pub reset_keys: Vec<String>,
    /// The app's keys that a config of the app's own lacks and gets with their defaults, in the
    /// same form. This is not a repair.
    pub completed_keys: Vec<String>,
    /// The user's settings and networks that the newest good backup has and a config of the app's
    /// own lacks: most of them are gone at once, or a member is gone that the app always writes. The
    /// config stays as it is. In the form of
    /// [`OwnSettings::names`](myownllm_config_model::app_config::OwnSettings::names).
    pub gone_keys: Vec<String>,
    /// The app's keys that came from the backup.
    pub restored_keys: Vec<String>,
    /// The app's keys that the file itself had.
    pub kept_keys: Vec<String>,
    /// The backup of the previous file; `None` if there was nothing to keep, or if nothing was
    /// written yet.
    pub backup: Option<String>,
    /// The outcome for the daemon's half; `None` if the file had none.
    pub daemon_half: Option<DaemonHalf>,
    /// The backup of the daemon's half, if one was made.
    pub daemon_half_backup: Option<String>,
    /// Paths into the old location that the two halves hold.
    pub rebased: Vec<Rebased>,
    /// The loss of a config that parses. Lost settings are restored from the backup; a loss of
    /// networks alone is only reported.
    pub wiped: Option<Wipe>,
}

impl Report {
    pub(crate) fn new(shape: FileShape) -> Self {
        Self { shape, ..Self::default() }
    }
}

/// A sudden loss of the user's settings, compared with the newest backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Wipe {
    /// The kind of the loss.
    pub loss: Loss,
    /// The backup (or the name of the daemon's leftover beside the config) that still holds the
    /// lost settings.
    pub backup: String,
    /// The number of settings and networks of the user's in the backup; for lost networks, the
    /// number of networks.
    pub before: usize,
    /// The number of these in the config.
    pub left: usize,
}

impl Wipe {
    /// Returns a loss of this kind: of `before` settings and networks in the backup, `left` are in
    /// the config.
    pub fn new(loss: Loss, backup: impl Into<String>, before: usize, left: usize) -> Self {
        Self { loss, backup: backup.into(), before, left }
    }
}

/// A config that was accepted as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Accepted {
    /// The backup of the current config.
    pub backup: BackupId,
    /// True if the backup was made. Otherwise it was the newest already.
    pub changed: bool,
}

impl Accepted {
    /// Returns the result of a call that made the backup, or found it.
    pub fn new(backup: BackupId, changed: bool) -> Self {
        Self { backup, changed }
    }
}

/// A file that has the name of the daemon's config and is not the daemon's, or not only the
/// daemon's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Misplaced {
    /// The kind of the file. [`FileShape::Unknown`] is an object without any key of the daemon's,
    /// [`FileShape::Daemon`] the daemon's config that no daemon can read.
    pub shape: FileShape,
    /// The daemon's own keys in the file, which stay in their place.
    pub daemon_keys: Vec<String>,
    /// The JSON Pointers of the members of the daemon's that do not stay: no daemon can read them.
    #[serde(skip)]
    pub left_out: Vec<String>,
}

impl Misplaced {
    /// Returns a file of this kind whose keys `daemon_keys` are the daemon's.
    pub fn new(shape: FileShape, daemon_keys: Vec<String>) -> Self {
        Self { shape, daemon_keys, left_out: Vec::new() }
    }
}

/// The outcome for a misplaced file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetAside {
    /// The file as it was found.
    pub misplaced: Misplaced,
    /// The backup of the file's bytes.
    pub backup: BackupId,
    /// The daemon's half among the backups that took the place.
    pub restored_from: Option<BackupId>,
}

impl SetAside {
    /// Returns the outcome for a file whose bytes are in the backup now.
    pub fn new(misplaced: Misplaced, backup: BackupId) -> Self {
        Self { misplaced, backup, restored_from: None }
    }
}

/// The result of [`LockedStore::apply`](crate::LockedStore::apply).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Applied {
    /// The config as it is on disk now.
    pub document: Document,
    /// The steps that were taken.
    pub steps: Vec<Step>,
    /// The outcome for each part of the config.
    pub report: Report,
    /// The findings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Applied {
    /// Returns the result of a call that had no step to take.
    pub fn new(document: Document) -> Self {
        Self { document, steps: Vec::new(), report: Report::default(), diagnostics: Vec::new() }
    }
}

/// The result of [`LockedStore::update`](crate::LockedStore::update).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Updated {
    /// The config as it is on disk now.
    pub document: Document,
    /// True if the file was written.
    pub changed: bool,
    /// The number of times that another program's write came in between, and the edit was repeated
    /// on top of it.
    pub conflicts: u32,
    /// The settings that were gone before the edit, as in [`Report::gone_keys`].
    pub gone_keys: Vec<String>,
    /// The findings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Updated {
    /// Returns the result of an update that no other program's write disturbed.
    pub fn new(document: Document, changed: bool) -> Self {
        Self { document, changed, conflicts: 0, gone_keys: Vec::new(), diagnostics: Vec::new() }
    }
}

/// One backup, for `config history`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The id of the backup.
    pub id: BackupId,
    /// The reason for the backup.
    pub kind: BackupKind,
    /// The size in bytes.
    pub bytes: u64,
    /// The time of the backup in milliseconds since the Unix epoch, by the clock of that time. For
    /// display only: the ids give the order.
    pub made_ms: u64,
    /// False if the file cannot be read; `shape` is then `unknown`, and `intact` false.
    pub readable: bool,
    /// The kind of the content.
    pub shape: FileShape,
    /// True if the bytes match the name.
    pub intact: bool,
    /// True if the backup is not JSON, and a restore takes its complete members.
    pub recoverable: bool,
    /// True if the config holds the same bytes now.
    pub current: bool,
    /// The number of settings and networks of the user's in the backup; `None` if the backup is not
    /// of the app's shape.
    pub settings: Option<usize>,
    /// True if this is the backup to restore: the newest that differs from the config and has not
    /// lost (nearly) everything that the richest holds.
    pub recommended: bool,
    /// The path of the file.
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub path: Utf8PathBuf,
}

impl HistoryEntry {
    /// Returns an intact backup of a config of the app, at this path.
    pub fn new(id: BackupId, bytes: u64, path: Utf8PathBuf) -> Self {
        Self {
            kind: id.kind(),
            id,
            bytes,
            made_ms: 0,
            readable: true,
            shape: FileShape::App,
            intact: true,
            recoverable: false,
            current: false,
            settings: None,
            recommended: false,
            path,
        }
    }

    /// Returns the short name of this backup among `all`: its number, or the beginning of its hash if
    /// another one has that number, as after a sync of two homes.
    pub fn short_name(&self, all: &[Self]) -> String {
        let is_other = |other: &Self| other.id.sequence == self.id.sequence && other.id.hash != self.id.hash;
        match all.iter().any(is_other) {
            true => self.id.hash.chars().take(8).collect(),
            false => self.id.sequence.to_string(),
        }
    }

    /// Returns true if the config can be restored from this backup: it is of the app's shape or
    /// recoverable. One that another program changed has to have settings of the app's.
    pub fn is_restorable(&self) -> bool {
        let is_apps = match self.shape {
            FileShape::App => true,
            FileShape::Unknown => self.intact,
            _ => self.recoverable,
        };
        is_apps && self.kind != BackupKind::DaemonPart
    }
}

/// The result of [`LockedStore::restore`](crate::LockedStore::restore).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Restored {
    /// The config as it is on disk now.
    pub document: Document,
    /// The backup that was restored.
    pub from: BackupId,
    /// The backup of the config's previous bytes; `None` if there were none.
    pub backup: Option<BackupId>,
    /// True if the file was written. It is not written if it held those bytes already.
    pub changed: bool,
    /// The findings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Restored {
    /// Returns the result of a restore that wrote the config, without a backup of its previous
    /// bytes.
    pub fn new(document: Document, from: BackupId) -> Self {
        Self { document, from, backup: None, changed: true, diagnostics: Vec::new() }
    }
}
