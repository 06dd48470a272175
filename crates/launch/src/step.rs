//! The steps of a launch, as data: `status` prints them, and a launch carries them out in order.

use std::fmt;
use std::path::{Path, PathBuf};

use myownllm_daemon::Endpoint;
use myownllm_migration::LiveDaemon;
use serde::{Serialize, Serializer};

use crate::daemons::RunningDaemon;
use crate::words::{backup, count, process};

/// One step of a launch.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LaunchStep {
    /// Ends a daemon that is in the way.
    StopDaemon {
        /// The daemon.
        #[serde(serialize_with = "as_live_daemon")]
        #[cfg_attr(feature = "schema", schemars(with = "LiveDaemon"))]
        daemon: RunningDaemon,
    },
    /// Refuses to change anything.
    Refuse,
    /// Fails to make the pending changes.
    Fail,
    /// Moves the daemon's state to the daemon home.
    Move {
        /// The number of files; 0 if a killed move left only empty directories or temporary files.
        files: usize,
    },
    /// Leaves the config, which cannot be read, and runs on a fallback config.
    #[serde(rename = "run-on-stand-in")]
    RunOnFallback,
    /// Leaves a config that a newer version wrote.
    LeaveNewerConfig,
    /// Writes a missing config anew.
    RestoreConfig {
        /// The backup to write from.
        from: Option<String>,
    },
    /// Repairs the config.
    RepairConfig,
    /// Adds the settings that the config lacks, and follows files that have moved.
    CompleteConfig,
    /// Writes a config where there was none.
    WriteDefaultConfig,
    /// Makes a routine backup of the config, and removes what killed runs left beside it.
    BackUpConfig,
    /// Makes a backup of the file at the path of the daemon's config, and leaves the file: the
    /// daemon that runs would write it again.
    BackUpDaemonConfig,
    /// Sets aside the file at the path of the daemon's config.
    SetDaemonConfigAside,
    /// Gives a file that a daemon has put aside a name that no daemon uses.
    KeepCorruptFile {
        /// The path of the file before the launch.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Sets a roster or a state aside that no daemon can read, and writes the part that a daemon
    /// can read in its place.
    MendState {
        /// The path of the file before the launch.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Copies a roster or a state of a newer version: an older daemon drops what it does not know
    /// of it.
    CopyNewerState {
        /// The path of the file when a daemon starts.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Corrects the paths in the daemon's config that lead to the old location.
    RebasePaths {
        /// The members, as JSON pointers.
        members: Vec<String>,
    },
    /// Uses no daemon.
    StartNoDaemon {
        /// The reason in a few words, if the diagnostics do not give it.
        why: Option<String>,
    },
    /// Uses the shared daemon, and brings its networks in line with the config.
    AttachToSharedDaemon {
        /// The endpoint at which the daemon listens.
        #[serde(serialize_with = "as_text")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        endpoint: Endpoint,
    },
    /// Uses the app's daemon, which runs, and brings its networks in line with the config.
    AttachToOwnDaemon {
        /// The endpoint at which the daemon listens.
        #[serde(serialize_with = "as_text")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        endpoint: Endpoint,
    },
    /// Starts the app's daemon, and brings its networks in line with the config.
    StartDaemon {
        /// The endpoint at which the daemon will listen.
        #[serde(serialize_with = "as_text")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        endpoint: Endpoint,
    },
}

pub(crate) fn as_text<S: Serializer>(endpoint: &Endpoint, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(endpoint)
}

fn as_live_daemon<S: Serializer>(daemon: &RunningDaemon, serializer: S) -> Result<S::Ok, S::Error> {
    LiveDaemon::from(daemon).serialize(serializer)
}

fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl LaunchStep {
    /// Returns the step of a launch that uses no daemon for a reason that a diagnostic tells.
    pub(crate) fn no_daemon() -> Self {
        Self::StartNoDaemon { why: Some(" (see below)".to_owned()) }
    }

    /// Returns the stable code of the step, for programs: the tag of its serialized form.
    pub fn code(&self) -> String {
        let step = serde_json::to_value(self).unwrap_or_default();
        step["step"].as_str().unwrap_or_default().to_owned()
    }
}

impl fmt::Display for LaunchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StopDaemon { daemon } => {
                return write!(f, "end the daemon{} of {}", process(daemon.pid()), daemon.place());
            }
            Self::Refuse => "load the config, refuse to change anything, and start no daemon (see below)",
            Self::Fail => {
                "load the config, fail to change what is to be changed, and start no daemon (see below)"
            }
            Self::Move { files: 0 } => "finish an interrupted move",
            Self::Move { files } => {
                return write!(f, "move {} to the daemon home", count(*files, "file"));
            }
            Self::RunOnFallback => "run on a fallback config, and leave the file as it is (see below)",
            Self::LeaveNewerConfig => "leave the config as it is: a newer version wrote it",
            Self::RestoreConfig { from: Some(name) } => {
                return write!(f, "write the config anew from {}", backup(name));
            }
            Self::RestoreConfig { from: None } => "write the config anew from a backup",
            Self::RepairConfig => "repair the config, and keep the present one as a backup",
            Self::CompleteConfig => "complete the config with the defaults of what it lacks",
            Self::WriteDefaultConfig => "write a config with the defaults",
            Self::BackUpConfig => "keep a backup of the config",
            Self::BackUpDaemonConfig => "keep a backup of the daemon's config, which is not the daemon's",
            Self::SetDaemonConfigAside => {
                "set the daemon's config aside, which is not the daemon's (see below)"
            }
            Self::KeepCorruptFile { path } => {
                return write!(f, "keep {}, which a daemon put aside", path.display());
            }
            Self::MendState { path } => {
                return write!(f, "mend {}, which no daemon can read", path.display());
            }
            Self::CopyNewerState { path } => {
                return write!(f, "copy {}, which is of a newer version", path.display());
            }
            Self::RebasePaths { members } => {
                return write!(f, "correct {} of the daemon's config", members.join(", "));
            }
            Self::StartNoDaemon { why: Some(why) } => return write!(f, "start no daemon{why}"),
            Self::StartNoDaemon { why: None } => "start no daemon",
            Self::AttachToSharedDaemon { .. } => "attach to the shared daemon",
            Self::AttachToOwnDaemon { .. } => "attach to the app's daemon, which runs",
            Self::StartDaemon { .. } => "start the app's daemon",
        })
    }
}
