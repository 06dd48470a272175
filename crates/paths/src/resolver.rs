use std::path::{Component, Path, PathBuf};

use crate::env::Home;
use crate::guard::{is_same_or_inside, plain};
use crate::{Env, HostApp, Layout, MYOWNLLM, PathsError, Platform, Rule};

/// From an environment to a layout. The crate's front door, so that an app can bring its own rules.
pub trait PathResolver {
    /// Computes every path. Looks at nothing on disk.
    ///
    /// # Errors
    /// [`PathsError::NoHome`], [`PathsError::RelativeHome`], [`PathsError::HostApp`].
    fn resolve(&self, env: &Env) -> Result<Layout, PathsError>;
}

/// The rules of this crate, for one host app.
#[derive(Debug, Clone)]
pub struct Resolver {
    app: HostApp,
    platform: Platform,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(MYOWNLLM)
    }
}

impl Resolver {
    /// The rules for that app, on the platform that this program was built for.
    #[must_use]
    pub fn new(app: HostApp) -> Self {
        Self { app, platform: Platform::current() }
    }

    /// The same by the rules of another platform.
    #[must_use]
    pub fn for_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    fn user_home(env: &Env) -> Result<(PathBuf, Rule), PathsError> {
        let (home, rule, by) = match env.home() {
            Home::Explicit(path) if path.as_os_str().is_empty() => {
                return Err(PathsError::RelativeHome { home: path.clone(), rule: "--home" });
            }
            Home::Explicit(path) => (path.clone(), Rule::ExplicitHome, "--home"),
            Home::System { variable, value } => match value.as_deref().filter(|v| !v.is_empty()) {
                Some(value) => (PathBuf::from(value), Rule::SystemHome, *variable),
                None => return Err(PathsError::NoHome { variable }),
            },
        };
        if !is_absolute(&home) {
            return Err(PathsError::RelativeHome { home, rule: by });
        }
        // Takes away trailing and doubled slashes and `.`, and leaves `..`: after a link it means something else than
        // its spelling says, and only the system knows what.
        Ok((home.components().collect(), rule))
    }

    fn shared_home(&self, env: &Env, user_home: &Path, app_home: &Path) -> (PathBuf, Rule) {
        let default = |rule| (user_home.join(self.app.shared_folder.as_ref()), rule);
        let Some(value) = env.variable(&self.app.home_variable) else { return default(Rule::InUserHome) };
        if value.to_str().is_none() {
            return default(Rule::MeshHomeVariableNotText);
        }
        let given = Path::new(value);
        if !is_absolute(given) {
            return default(Rule::MeshHomeVariableRelative);
        }
        if is_same_or_inside(&plain(given), &plain(app_home), self.platform.usually_ignores_case()) {
            return default(Rule::MeshHomeVariableInsideApp);
        }
        (given.components().collect(), Rule::MeshHomeVariable)
    }
}

impl PathResolver for Resolver {
    fn resolve(&self, env: &Env) -> Result<Layout, PathsError> {
        check_names(&self.app)?;
        let app = &self.app;
        let files = &app.daemon_files;
        let (user_home, user_home_rule) = Self::user_home(env)?;
        let app_home = user_home.join(app.app_folder.as_ref());
        let daemon_home = app_home.join(app.daemon_folder.as_ref());
        let (shared_home, shared_home_rule) = self.shared_home(env, &user_home, &app_home);
        let in_app = |name: &str| app_home.join(name);
        let in_daemon = |name: &str| daemon_home.join(name);
        Ok(Layout {
            platform: self.platform,
            app_config: in_app(&app.config_file),
            backups: in_app(&app.backups_folder),
            conversations: in_app(&app.conversations_folder),
            legacy_identity: in_app(&files.identity),
            legacy_custody: in_app(&files.custody),
            legacy_rosters: in_app(&files.rosters),
            legacy_states: in_app(&files.states),
            legacy_roster: in_app(&files.legacy_roster),
            legacy_socket: in_app(&files.socket),
            daemon_config: in_daemon(&files.config),
            daemon_identity: in_daemon(&files.identity),
            daemon_custody: in_daemon(&files.custody),
            daemon_rosters: in_daemon(&files.rosters),
            daemon_states: in_daemon(&files.states),
            daemon_updates: in_daemon(&files.updates),
            daemon_socket: in_daemon(&files.socket),
            shared_config: shared_home.join(files.config.as_ref()),
            shared_socket: shared_home.join(files.socket.as_ref()),
            app: self.app.clone(),
            user_home,
            app_home,
            daemon_home,
            shared_home,
            user_home_rule,
            shared_home_rule,
        })
    }
}

fn check_names(app: &HostApp) -> Result<(), PathsError> {
    let files = &app.daemon_files;
    let names = [
        ("app_folder", &app.app_folder),
        ("daemon_folder", &app.daemon_folder),
        ("shared_folder", &app.shared_folder),
        ("config_file", &app.config_file),
        ("backups_folder", &app.backups_folder),
        ("conversations_folder", &app.conversations_folder),
        ("daemon_files.config", &files.config),
        ("daemon_files.secrets", &files.secrets),
        ("daemon_files.identity", &files.identity),
        ("daemon_files.custody", &files.custody),
        ("daemon_files.mesh", &files.mesh),
        ("daemon_files.rosters", &files.rosters),
        ("daemon_files.states", &files.states),
        ("daemon_files.legacy_roster", &files.legacy_roster),
        ("daemon_files.updates", &files.updates),
        ("daemon_files.socket", &files.socket),
    ];
    for (field, value) in names {
        let mut parts = Path::new(value.as_ref()).components();
        if value.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
            return Err(PathsError::HostApp { field, value: value.to_string() });
        }
    }
    Ok(())
}

/// Whether a path names the same thing from every working directory. `Path::is_absolute` says no to everything where the
/// platform has no file system of its own (wasm32), where such paths come from another machine.
pub(crate) fn is_absolute(path: &Path) -> bool {
    if cfg!(windows) { path.is_absolute() } else { path.has_root() }
}
