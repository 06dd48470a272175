use std::path::PathBuf;

use myownllm_paths::Layout;

/// The paths that a store works on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorePaths {
    /// The user's home. It must exist; the app's home is created in it.
    pub user_home: PathBuf,
    /// The app's home.
    pub app_home: PathBuf,
    /// The app's config.
    pub config: PathBuf,
    /// The backup directory.
    pub backups: PathBuf,
    /// The daemon home.
    pub daemon_home: PathBuf,
    /// The daemon's config, which a repair may write if there is none.
    pub daemon_config: PathBuf,
    /// The identity file: in the daemon home, and at the old location.
    pub identities: [PathBuf; 2],
    /// The directory of the rosters, in both homes.
    pub rosters: [PathBuf; 2],
    /// The directory of the signed states, in both homes.
    pub states: [PathBuf; 2],
    /// The program that the hints name.
    pub program: String,
}

impl StorePaths {
    /// Returns the paths of a layout.
    #[must_use]
    pub fn of(layout: &Layout) -> Self {
        Self {
            user_home: layout.user_home.clone().into(),
            app_home: layout.app_home.clone().into(),
            config: layout.app_config.clone().into(),
            backups: layout.backups.clone().into(),
            daemon_home: layout.daemon_home.clone().into(),
            daemon_config: layout.daemon_config.clone().into(),
            identities: [layout.daemon_identity.clone().into(), layout.legacy_identity.clone().into()],
            rosters: [layout.daemon_rosters.clone().into(), layout.legacy_rosters.clone().into()],
            states: [layout.daemon_states.clone().into(), layout.legacy_states.clone().into()],
            program: layout.app.program.clone().into_owned(),
        }
    }
}
