use std::path::Path;

use camino::{Utf8Component, Utf8Path, Utf8PathBuf};

use crate::command::quote;
use crate::env::Home;
use crate::spelling::{inside, is_absolute, is_same, is_same_or_inside, normalize_lexically};
use crate::{DaemonFiles, Env, HostApp, Layout, LayoutPaths, MYOWNLLM, PathsError, Platform, Rule};

/// Computes a layout from an environment. An app with rules of its own for the homes implements
/// this trait, and gets the layout of the homes from [`Resolver::layout`].
pub trait PathResolver: Send + Sync {
    /// Computes every path, without a look at the disk.
    ///
    /// # Errors
    /// [`PathsError::NoHome`], [`PathsError::HomeNotUtf8`], [`PathsError::RelativeHome`],
    /// [`PathsError::HostApp`].
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
    /// Returns the rules for that app, on the platform that this program was built for.
    pub fn new(app: HostApp) -> Self {
        Self { app, platform: Platform::current() }
    }

    /// Returns the same rules for another platform.
    #[must_use]
    pub fn for_platform(mut self, platform: Platform) -> Self {
        self.platform = platform;
        self
    }

    /// Computes every path from the user's home and the stand-alone daemon's, each with the rule
    /// that chose it. `shared_home` counts as a wish if its rule is [`Rule::MeshHomeVariable`]:
    /// [`CheckedLayout::new`](crate::CheckedLayout::new) puts the default in its place if it leads
    /// into the app's home.
    ///
    /// # Errors
    /// [`PathsError::HostApp`]; [`PathsError::RelativeHome`] for either home.
    pub fn layout(
        &self,
        user_home: (Utf8PathBuf, Rule),
        shared_home: (Utf8PathBuf, Rule),
    ) -> Result<Layout, PathsError> {
        let app = &self.app;
        check_names(app, self.platform.usually_ignores_case())?;
        if let Some((home, _)) = [&user_home, &shared_home].into_iter().find(|(home, _)| !is_absolute(home)) {
            let (home, program) = (home.clone(), app.program.clone().into_owned());
            return Err(PathsError::RelativeHome { home, rule: "the resolver", program });
        }
        let files = &app.daemon_files;
        let ((user_home, user_home_rule), (shared_home, shared_home_rule)) = (user_home, shared_home);
        let app_home = inside(&user_home, &app.app_dir);
        let daemon_home = inside(&app_home, &app.daemon_dir);
        let in_app = |name: &str| inside(&app_home, name);
        let in_daemon = |name: &str| inside(&daemon_home, name);
        let program = match user_home_rule {
            Rule::ExplicitHome => format!("{} --home {}", app.program, quote(&user_home)),
            _ => app.program.clone().into_owned(),
        };
        Ok(Layout(LayoutPaths {
            program,
            platform: self.platform,
            app_config: in_app(&app.config_file),
            backups: in_app(&app.backups_dir),
            conversations: in_app(&app.conversations_dir),
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
            shared_config: inside(&shared_home, &files.config),
            shared_socket: inside(&shared_home, &files.socket),
            app: app.clone(),
            user_home,
            app_home,
            daemon_home,
            shared_home,
            user_home_rule,
            shared_home_rule,
        }))
    }

    fn user_home(&self, env: &Env) -> Result<(Utf8PathBuf, Rule), PathsError> {
        let program = self.app.program.clone().into_owned();
        let (home, rule, by) = match env.home() {
            Home::Explicit(path) => (path.as_path(), Rule::ExplicitHome, "--home"),
            Home::System { variable, value } => match value.as_deref().filter(|v| !v.is_empty()) {
                Some(value) => (Path::new(value), Rule::SystemHome, *variable),
                None => return Err(PathsError::NoHome { variable, program }),
            },
        };
        let Some(home) = Utf8Path::from_path(home) else {
            return Err(PathsError::HomeNotUtf8 { home: home.into(), program });
        };
        if !is_absolute(home) {
            return Err(PathsError::RelativeHome { home: home.into(), rule: by, program });
        }
        // Removes trailing and doubled slashes and `.`. Keeps `..`, because only the system knows
        // its target after a symlink.
        Ok((home.components().collect(), rule))
    }

    fn shared_home(&self, env: &Env, user_home: &Utf8Path) -> (Utf8PathBuf, Rule) {
        let default = |rule| (inside(user_home, &self.app.shared_dir), rule);
        let Some(value) = env.variable(&self.app.home_variable) else { return default(Rule::InUserHome) };
        let Some(given) = value.to_str().map(Utf8Path::new) else {
            return default(Rule::MeshHomeVariableNotText);
        };
        if !is_absolute(given) {
            return default(Rule::MeshHomeVariableRelative);
        }
        let homes = app_homes(&self.app, user_home);
        if is_in_one(given, &homes, self.platform.usually_ignores_case()) {
            return default(Rule::MeshHomeVariableInsideApp);
        }
        (given.components().collect(), Rule::MeshHomeVariable)
    }
}

/// Returns the homes in which no stand-alone daemon may live, because it rewrites the config there:
/// that of the app, and that of MyOwnLLM.
pub(crate) fn app_homes(app: &HostApp, user_home: &Utf8Path) -> Vec<Utf8PathBuf> {
    let mut homes = [&app.app_dir, &MYOWNLLM.app_dir].map(|dir| inside(user_home, dir)).to_vec();
    homes.dedup();
    homes
}

/// Returns true if a path is one of these homes or inside one, by spelling.
pub(crate) fn is_in_one(path: &Utf8Path, homes: &[Utf8PathBuf], ignore_case: bool) -> bool {
    let normal = |path: &Utf8Path| normalize_lexically(path.as_std_path());
    homes.iter().any(|home| is_same_or_inside(normal(path), normal(home), ignore_case))
}

impl PathResolver for Resolver {
    fn resolve(&self, env: &Env) -> Result<Layout, PathsError> {
        let user_home = self.user_home(env)?;
        let shared_home = self.shared_home(env, &user_home.0);
        self.layout(user_home, shared_home)
    }
}

/// Checks that the names of an app are plain, and that no two of them have the same place. The
/// files that the daemon kept in the app's home move away, and a directory that holds more than
/// these files would be treated as a part of the daemon's state, or could not stay behind.
fn check_names(app: &HostApp, ignore_case: bool) -> Result<(), PathsError> {
    let files = &app.daemon_files;
    let (run_log, daemon_log) = (app.run_log_name().into(), DaemonFiles::LOG.into());
    let apps = [
        ("daemon_dir", &app.daemon_dir),
        ("config_file", &app.config_file),
        ("backups_dir", &app.backups_dir),
        ("conversations_dir", &app.conversations_dir),
        ("program", &run_log),
    ];
    let daemons = [
        ("daemon_files.config", &files.config),
        ("daemon_files.identity", &files.identity),
        ("daemon_files.custody", &files.custody),
        ("daemon_files.rosters", &files.rosters),
        ("daemon_files.states", &files.states),
        ("daemon_files.legacy_roster", &files.legacy_roster),
        ("daemon_files.updates", &files.updates),
        ("daemon_files.socket", &files.socket),
        ("the log of the daemon", &daemon_log),
    ];
    // Directories that hold only files of the daemon's.
    let dirs = [("daemon_files.secrets", &files.secrets), ("daemon_files.mesh", &files.mesh)];
    let homes = [("app_dir", &app.app_dir), ("shared_dir", &app.shared_dir)];
    for (field, value) in apps.into_iter().chain(daemons).chain(dirs).chain(homes) {
        let mut parts = Utf8Path::new(value.as_ref()).components();
        if value.is_empty() || !parts.all(|part| matches!(part, Utf8Component::Normal(_))) {
            return Err(invalid_name(field, value, "which is not a plain relative path"));
        }
    }
    // The daemon's move and the app's schema would be applied to MyOwnLLM's files, or the messages
    // and the commands of the hints would lead to MyOwnLLM.
    let ours = MYOWNLLM;
    let is_at_home = is_same_or_inside(&*app.app_dir, &*ours.app_dir, ignore_case);
    let is_myownllm = app.name == ours.name;
    // A home of MyOwnLLM inside its home would get a key of its own.
    if is_at_home && !(is_myownllm && is_same(&*app.app_dir, &*ours.app_dir, ignore_case)) {
        let why = format!("the home of MyOwnLLM, or inside it, and the app is {:?}", app.name);
        return Err(invalid_name("app_dir", &app.app_dir, &why));
    }
    let names = [("name", is_myownllm, &app.name), ("program", app.program == ours.program, &app.program)];
    if let Some((field, _, value)) = names.into_iter().find(|(_, is_taken, _)| *is_taken && !is_at_home) {
        let why =
            format!("as for MyOwnLLM, and app_dir is {:?}: HostApp::new names another app", app.app_dir);
        return Err(invalid_name(field, value, &why));
    }
    let variable = &app.home_variable;
    if variable.is_empty() || variable.contains(['=', '\0']) {
        return Err(invalid_name("home_variable", variable, "which is no name of a variable"));
    }
    let nested =
        |a: &str, b: &str| is_same_or_inside(a, b, ignore_case) || is_same_or_inside(b, a, ignore_case);
    // App and daemon use the same name for their configs; this is the collision that this crate
    // resolves.
    let is_shared_name = |one: &str, other: &str| one == "config_file" && other == "daemon_files.config";
    let pairs = |one: usize| {
        let own = apps[one + 1..].iter().chain(&daemons).chain(&dirs);
        own.map(move |other| (apps[one], *other))
    };
    let among_daemons =
        (0..daemons.len()).flat_map(|one| daemons[one + 1..].iter().map(move |other| (daemons[one], *other)));
    let of_others = [
        (homes[0], homes[1]),
        (homes[0], ("the shared_dir of MyOwnLLM", &ours.shared_dir)),
        (homes[1], ("the app_dir of MyOwnLLM", &ours.app_dir)),
    ];
    let mut all = (0..apps.len()).flat_map(pairs).chain(among_daemons).chain(of_others);
    let clash = all.find(|((one, a), (other, b))| !is_shared_name(one, other) && nested(a, b));
    match clash {
        Some(((field, value), (other, taken))) => Err(invalid_name(
            field,
            value,
            &format!("and {other} is {taken:?}: each needs a place of its own"),
        )),
        None => Ok(()),
    }
}

pub(crate) fn invalid_name(field: &'static str, value: &str, why: &str) -> PathsError {
    PathsError::HostApp { field, value: value.to_owned(), why: why.to_owned() }
}
