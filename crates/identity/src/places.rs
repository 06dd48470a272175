//! Where an identity file can be, and where the files of those who know it are.

use std::path::{Path, PathBuf};

use myownllm_paths::Layout;

/// What one home may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Home {
    /// The home itself.
    pub path: PathBuf,
    /// The identity file.
    pub identity: PathBuf,
    /// The config: a daemon's config may name an identity file elsewhere.
    pub config: PathBuf,
    /// The directory of the rosters.
    pub rosters: PathBuf,
    /// The directories of the signed states.
    pub states: Vec<PathBuf>,
    /// The one roster of the time before there were several networks.
    pub legacy_roster: PathBuf,
}

impl Home {
    /// The home at this path, with the file names of the daemon `myownmesh`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            identity: path.join(".secrets").join("identity.json"),
            config: path.join("config.json"),
            rosters: path.join("mesh").join("rosters"),
            states: vec![path.join("mesh").join("states")],
            legacy_roster: path.join("mesh").join("roster.json"),
            path,
        }
    }

    /// The directory of the secrets.
    pub(crate) fn secrets(&self) -> &Path {
        self.identity.parent().unwrap_or(&self.path)
    }
}

/// The two homes in which the daemon of an app may have kept its identity file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Places {
    /// The app's home, in which the daemon kept its files before it had a home of its own. Its lock guards the start of a daemon.
    pub app: Home,
    /// The daemon's home.
    pub daemon: Home,
    /// The backups of configs: one of them may name an identity file.
    pub backups: PathBuf,
    /// The config on which the daemon will start: its own, unless a repair is about to write it.
    pub daemon_config: PathBuf,
}

impl Places {
    /// These two homes, with the file names of the daemon `myownmesh`. Both paths must be absolute.
    pub fn new(app_home: impl Into<PathBuf>, daemon_home: impl Into<PathBuf>) -> Self {
        let (app, daemon) = (Home::new(app_home), Home::new(daemon_home));
        Self { backups: app.path.join("config-backups"), daemon_config: daemon.config.clone(), app, daemon }
    }

    /// The homes of a layout.
    #[must_use]
    pub fn of(layout: &Layout) -> Self {
        let roster: PathBuf = layout.app.daemon_files.legacy_roster.split('/').collect();
        let app = Home {
            path: layout.app_home.clone(),
            identity: layout.legacy_identity.clone(),
            config: layout.app_config.clone(),
            rosters: layout.legacy_rosters.clone(),
            states: vec![layout.legacy_states.clone()],
            legacy_roster: layout.legacy_roster.clone(),
        };
        let daemon = Home {
            path: layout.daemon_home.clone(),
            identity: layout.daemon_identity.clone(),
            config: layout.daemon_config.clone(),
            rosters: layout.daemon_rosters.clone(),
            states: vec![layout.daemon_states.clone()],
            legacy_roster: layout.daemon_home.join(roster),
        };
        Self { backups: layout.backups.clone(), daemon_config: daemon.config.clone(), app, daemon }
    }

    /// With another config on which the daemon will start: the app's config, while a repair is about to give the daemon its part
    /// of it.
    #[must_use]
    pub fn with_daemon_config(mut self, config: impl Into<PathBuf>) -> Self {
        self.daemon_config = config.into();
        self
    }

    pub(crate) fn homes(&self) -> [&Home; 2] {
        [&self.daemon, &self.app]
    }
}
