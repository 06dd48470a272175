//! The places of an identity file, and of the files that know it.

use myownllm_paths::{
    DaemonFiles, Layout, MYOWNLLM,
    camino::{Utf8Path, Utf8PathBuf},
    inside,
};
use serde::Serialize;

/// One of the two homes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "HomeSide"))]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The app's home, where the daemon kept its files before.
    OldLocation,
    /// The daemon home.
    DaemonHome,
}

/// The paths of one home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    pub(crate) path: Utf8PathBuf,
    pub(crate) identity: Utf8PathBuf,
    /// The config: it may name a file that was meant as the identity file.
    pub(crate) config: Utf8PathBuf,
    /// The custody file, which only a daemon with an identity file writes.
    pub(crate) custody: Utf8PathBuf,
    pub(crate) rosters: Utf8PathBuf,
    pub(crate) states: Utf8PathBuf,
    /// The one roster from the time before several networks.
    pub(crate) legacy_roster: Utf8PathBuf,
}

impl Home {
    pub(crate) fn new(path: impl Into<Utf8PathBuf>, files: &DaemonFiles) -> Self {
        let path = path.into();
        Self {
            identity: inside(&path, &files.identity),
            config: inside(&path, &files.config),
            custody: inside(&path, &files.custody),
            rosters: inside(&path, &files.rosters),
            states: inside(&path, &files.states),
            legacy_roster: inside(&path, &files.legacy_roster),
            path,
        }
    }

    /// Returns the place of the identity file.
    pub fn identity(&self) -> &Utf8Path {
        &self.identity
    }

    /// Returns the place of the config.
    pub fn config(&self) -> &Utf8Path {
        &self.config
    }

    /// Returns the place of the custody file.
    pub fn custody(&self) -> &Utf8Path {
        &self.custody
    }

    pub(crate) fn secrets(&self) -> &Utf8Path {
        self.identity.parent().unwrap_or(&self.path)
    }
}

/// The two homes in which the daemon of an app may have kept its identity file.
///
/// Nothing can be changed in it: a permit for a key in another place would let the daemon make a
/// second one in its home.
///
/// ```compile_fail,E0616
/// # use myownllm_identity::IdentityPaths;
/// # fn secure(mut places: IdentityPaths) {
/// places.daemon.identity = "/media/stick/identity.json".into();
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityPaths {
    /// The app's home, where the daemon kept its files before it had a home of its own. The lock of
    /// this home guards the start of a daemon.
    pub(crate) app: Home,
    pub(crate) daemon: Home,
    /// The backups of configs: a backup may name an identity file.
    pub(crate) backups: Utf8PathBuf,
    /// The user's home: a config may name a path relative to it, and a renamed home of the app lies
    /// in it.
    pub(crate) user_home: Utf8PathBuf,
    /// The run log of the app's home: it shows the Device ID that the home had.
    pub(crate) run_log: Utf8PathBuf,
}

impl IdentityPaths {
    /// Returns the places of these two homes, with the names of MyOwnLLM. Both paths must be
    /// absolute.
    pub fn new(app_home: impl Into<Utf8PathBuf>, daemon_home: impl Into<Utf8PathBuf>) -> Self {
        let files = &MYOWNLLM.daemon_files;
        let (app, daemon) = (Home::new(app_home, files), Home::new(daemon_home, files));
        let user_home = app.path.parent().unwrap_or(&app.path).to_owned();
        let run_log = inside(&app.path, &MYOWNLLM.run_log_name());
        Self { backups: inside(&app.path, &MYOWNLLM.backups_dir), user_home, run_log, app, daemon }
    }

    /// Returns the places of a layout.
    pub fn of(layout: &Layout) -> Self {
        let files = &layout.app.daemon_files;
        Self {
            app: Home { config: layout.app_config.clone(), ..Home::new(&layout.app_home, files) },
            daemon: Home::new(&layout.daemon_home, files),
            backups: layout.backups.clone(),
            user_home: layout.user_home.clone(),
            run_log: layout.run_log(),
        }
    }

    /// Returns the app's home, the old location of the daemon's files.
    pub fn app(&self) -> &Home {
        &self.app
    }

    /// Returns the daemon home.
    pub fn daemon(&self) -> &Home {
        &self.daemon
    }

    /// Returns the directory of the backups of configs.
    pub fn backups(&self) -> &Utf8Path {
        &self.backups
    }

    pub(crate) fn homes(&self) -> [&Home; 2] {
        [&self.daemon, &self.app]
    }
}
