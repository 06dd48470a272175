use myownllm_paths::{Layout, camino::Utf8PathBuf};

/// The paths that a store works on.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StorePaths {
    /// The user's home. It must exist; the app's home is created in it.
    pub user_home: Utf8PathBuf,
    /// The app's home.
    pub app_home: Utf8PathBuf,
    /// The app's config.
    pub config: Utf8PathBuf,
    /// The backup directory.
    pub backups: Utf8PathBuf,
    /// The daemon home.
    pub daemon_home: Utf8PathBuf,
    /// The daemon's config, which a repair may write if there is none.
    pub daemon_config: Utf8PathBuf,
    /// The identity file: in the daemon home, and at the old location.
    pub identities: [Utf8PathBuf; 2],
    /// The directory of the rosters, in both homes.
    pub rosters: [Utf8PathBuf; 2],
    /// The directory of the signed states, in both homes.
    pub states: [Utf8PathBuf; 2],
    /// The app's name.
    pub app: String,
    /// The program that the hints name.
    pub program: String,
}

impl StorePaths {
    /// Returns the paths of a layout.
    pub fn of(layout: &Layout) -> Self {
        Self {
            user_home: layout.user_home.clone(),
            app_home: layout.app_home.clone(),
            config: layout.app_config.clone(),
            backups: layout.backups.clone(),
            daemon_home: layout.daemon_home.clone(),
            daemon_config: layout.daemon_config.clone(),
            identities: [layout.daemon_identity.clone(), layout.legacy_identity.clone()],
            rosters: [layout.daemon_rosters.clone(), layout.legacy_rosters.clone()],
            states: [layout.daemon_states.clone(), layout.legacy_states.clone()],
            app: layout.app.name.clone().into_owned(),
            program: layout.program.clone(),
        }
    }
}
