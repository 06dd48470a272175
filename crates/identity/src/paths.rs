//! The places of an identity file, and of the files that know it.

use myownllm_paths::{
    Layout,
    camino::{Utf8Path, Utf8PathBuf},
};

/// The paths of one home.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Home {
    /// The home itself.
    pub path: Utf8PathBuf,
    /// The identity file.
    pub identity: Utf8PathBuf,
    /// The config: it may name a file that was meant as the identity file.
    pub config: Utf8PathBuf,
    /// The custody file, which only a daemon with an identity file writes.
    pub custody: Utf8PathBuf,
    /// The directory of the rosters.
    pub rosters: Utf8PathBuf,
    /// The directories of the signed states.
    pub states: Vec<Utf8PathBuf>,
    /// The one roster from the time before several networks.
    pub legacy_roster: Utf8PathBuf,
}

impl Home {
    /// Returns the home at this path, with the file names of the daemon `myownmesh`.
    pub fn new(path: impl Into<Utf8PathBuf>) -> Self {
        let path = path.into();
        Self {
            identity: path.join(".secrets").join("identity.json"),
            config: path.join("config.json"),
            custody: path.join(".secrets").join("custody.json"),
            rosters: path.join("mesh").join("rosters"),
            states: vec![path.join("mesh").join("states")],
            legacy_roster: path.join("mesh").join("roster.json"),
            path,
        }
    }

    /// Returns the secrets directory.
    pub(crate) fn secrets(&self) -> &Utf8Path {
        self.identity.parent().unwrap_or(&self.path)
    }
}

/// The two homes in which the daemon of an app may have kept its identity file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityPaths {
    /// The app's home, where the daemon kept its files before it had a home of its own. The lock of
    /// this home guards the start of a daemon.
    pub app: Home,
    /// The daemon home.
    pub daemon: Home,
    /// The backups of configs: a backup may name an identity file.
    pub backups: Utf8PathBuf,
    /// The user's home: a config may name a path relative to it.
    pub user_home: Utf8PathBuf,
}

impl IdentityPaths {
    /// Returns the places of these two homes, with the file names of the daemon `myownmesh`. Both
    /// paths must be absolute.
    pub fn new(app_home: impl Into<Utf8PathBuf>, daemon_home: impl Into<Utf8PathBuf>) -> Self {
        let (app, daemon) = (Home::new(app_home), Home::new(daemon_home));
        let user_home = app.path.parent().unwrap_or(&app.path).to_owned();
        Self { backups: app.path.join("config-backups"), user_home, app, daemon }
    }

    /// Returns the places of a layout.
    #[must_use]
    pub fn of(layout: &Layout) -> Self {
        let roster: Utf8PathBuf = layout.app.daemon_files.legacy_roster.split('/').collect();
        let app = Home {
            path: layout.app_home.clone(),
            identity: layout.legacy_identity.clone(),
            config: layout.app_config.clone(),
            custody: layout.legacy_custody.clone(),
            rosters: layout.legacy_rosters.clone(),
            states: vec![layout.legacy_states.clone()],
            legacy_roster: layout.legacy_roster.clone(),
        };
        let daemon = Home {
            path: layout.daemon_home.clone(),
            identity: layout.daemon_identity.clone(),
            config: layout.daemon_config.clone(),
            custody: layout.daemon_custody.clone(),
            rosters: layout.daemon_rosters.clone(),
            states: vec![layout.daemon_states.clone()],
            legacy_roster: layout.daemon_home.join(roster),
        };
        let user_home = layout.user_home.clone();
        Self { backups: layout.backups.clone(), user_home, app, daemon }
    }

    pub(crate) fn homes(&self) -> [&Home; 2] {
        [&self.daemon, &self.app]
    }
}
