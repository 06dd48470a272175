use std::fmt;
use std::ops::Deref;

use camino::{Utf8Path, Utf8PathBuf};

use crate::socket::invalid_address_reason;
use crate::{ControlSocket, HostApp, Mode, Platform, Socket};

/// The directories in the user's home to which desktops move what the user throws away.
pub const TRASH: [&str; 2] = [".local/share/Trash/files", ".Trash"];

/// The rule that chose a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "kebab-case"))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "PathRule"))]
#[non_exhaustive]
pub enum Rule {
    /// The caller named the path with `--home`.
    ExplicitHome,
    /// The system names the user's home (`HOME`, on Windows the profile).
    SystemHome,
    /// A fixed name in the user's home.
    InUserHome,
    /// A fixed name in the app's home.
    InAppHome,
    /// A fixed name in the daemon home.
    InDaemonHome,
    /// A fixed name in the stand-alone daemon's home.
    InSharedHome,
    /// The old location of the daemon's file, in the app's home.
    LegacyPlace,
    /// The daemon's own variable (only in shared mode).
    MeshHomeVariable,
    /// The default, because the daemon's variable names the app's home or a path inside it.
    MeshHomeVariableInsideApp,
    /// The default, because the daemon's variable is relative.
    MeshHomeVariableRelative,
    /// The default, because the daemon's variable is not UTF-8, which the daemon ignores too.
    MeshHomeVariableNotText,
    /// The `daemon.control_socket` of the daemon's own config.
    ControlSocket,
    /// The platform's one pipe, for every mode.
    Pipe,
}

impl Rule {
    /// Returns the rule as a clause for people.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ExplicitHome => "given with --home",
            Self::SystemHome => "the home of this user",
            Self::InUserHome => "in the user's home",
            Self::InAppHome => "in the app's home",
            Self::InDaemonHome => "in the daemon home",
            Self::InSharedHome => "in the shared daemon's home",
            Self::LegacyPlace => "at the old location in the app's home",
            Self::MeshHomeVariable => "given with the daemon's home variable",
            Self::MeshHomeVariableInsideApp => {
                "the default: the daemon's home variable leads to the app's home or inside it"
            }
            Self::MeshHomeVariableRelative => "the default: the daemon's home variable is a relative path",
            Self::MeshHomeVariableNotText => "the default: the daemon's home variable is not UTF-8",
            Self::ControlSocket => "daemon.control_socket of the daemon's config",
            Self::Pipe => "the named pipe, one for every mode",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.describe())
    }
}

/// One line of [`Layout::entries`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathEntry<'a> {
    /// The field's name in [`Layout`].
    pub name: &'static str,
    /// The path.
    pub path: &'a Utf8Path,
    /// The rule that chose the path.
    pub rule: Rule,
}

/// Every path of the app and its daemon, computed from names alone, without a look at the disk.
///
/// Only [`Resolver::layout`](crate::Resolver::layout) creates a layout, and nothing changes its
/// [`LayoutPaths`]: with one changed path, the crates would look for one file in two homes.
///
/// ```compile_fail,E0594
/// # use myownllm_paths::Layout;
/// fn secure(mut layout: Layout) {
///     layout.daemon_identity = "/media/stick/identity.json".into(); // wanted: Resolver::new(app).layout(…)
/// }
/// ```
///
/// With the feature `serde` it serializes as an object with one member per path: `{"app_home":
/// {"path": …, "rule": …, "why": …}, …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout(pub(crate) LayoutPaths);

impl Deref for Layout {
    type Target = LayoutPaths;

    fn deref(&self) -> &LayoutPaths {
        &self.0
    }
}

/// The paths of a [`Layout`], and the names and rules that they follow from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LayoutPaths {
    /// The names that the layout was computed from.
    pub app: HostApp,
    /// The program that the hints name, with `--home` and the user's home if the caller named it:
    /// a copied hint leads to this home.
    pub program: String,
    /// The platform whose rules apply.
    pub platform: Platform,
    /// The user's home directory.
    pub user_home: Utf8PathBuf,
    /// The app's home.
    pub app_home: Utf8PathBuf,
    /// The app's config.
    pub app_config: Utf8PathBuf,
    /// Backups of configs.
    pub backups: Utf8PathBuf,
    /// The default directory of conversations.
    pub conversations: Utf8PathBuf,
    /// The old location of the identity file.
    pub legacy_identity: Utf8PathBuf,
    /// The old location of the custody file, which locks the second factor.
    pub legacy_custody: Utf8PathBuf,
    /// The old location of the rosters.
    pub legacy_rosters: Utf8PathBuf,
    /// The old location of the states.
    pub legacy_states: Utf8PathBuf,
    /// The one roster from the time before several networks.
    pub legacy_roster: Utf8PathBuf,
    /// The socket of a daemon that still runs in the app's home.
    pub legacy_socket: Utf8PathBuf,
    /// The daemon home (own mode).
    pub daemon_home: Utf8PathBuf,
    /// The daemon's config.
    pub daemon_config: Utf8PathBuf,
    /// The daemon's identity file.
    pub daemon_identity: Utf8PathBuf,
    /// The custody file, which locks the second factor.
    pub daemon_custody: Utf8PathBuf,
    /// The rosters.
    pub daemon_rosters: Utf8PathBuf,
    /// The states.
    pub daemon_states: Utf8PathBuf,
    /// The daemon's updates.
    pub daemon_updates: Utf8PathBuf,
    /// The daemon's socket, unless its config names another.
    pub daemon_socket: Utf8PathBuf,
    /// The stand-alone daemon's home (shared mode). The app never changes it.
    pub shared_home: Utf8PathBuf,
    /// The stand-alone daemon's config.
    pub shared_config: Utf8PathBuf,
    /// The stand-alone daemon's socket, unless its config names another.
    pub shared_socket: Utf8PathBuf,
    /// The rule that chose [`user_home`](Self::user_home).
    pub user_home_rule: Rule,
    /// The rule that chose [`shared_home`](Self::shared_home).
    pub shared_home_rule: Rule,
}

impl Layout {
    /// Reads the control socket from the config of the daemon of that mode.
    ///
    /// # Errors
    /// [`PathsError::Lookup`](crate::PathsError::Lookup) if the config exists and cannot be read. A
    /// config that is not a regular file, or not JSON, names no socket: the daemon then listens in
    /// its home.
    #[cfg(feature = "control-socket")]
    pub fn control_socket(
        &self,
        mode: Mode,
        lookup: &dyn crate::Lookup,
    ) -> Result<ControlSocket, crate::PathsError> {
        ControlSocket::read(self.config_for_mode(mode), lookup)
    }

    /// Returns the address of the daemon of that mode, and the rule that chose it.
    ///
    /// `control_socket` is the value in *that* daemon's own config. An absolute path wins. A path
    /// that is not an address does not count: [`check_control_socket`](crate::check_control_socket)
    /// refuses such a path before a daemon is started on it. `CheckedLayout::socket` (feature
    /// `control-socket`) reads the config and checks the address in one call.
    pub fn socket_for_mode(&self, mode: Mode, control_socket: &ControlSocket) -> (Socket, Rule) {
        if self.platform == Platform::Windows {
            return (Socket::Pipe(self.app.pipe.clone().into_owned()), Rule::Pipe);
        }
        if let Some(path) = control_socket.named().filter(|path| invalid_address_reason(path).is_none()) {
            return (Socket::Path(path.to_path_buf()), Rule::ControlSocket);
        }
        match mode {
            Mode::OwnLlm => (Socket::Path(self.daemon_socket.clone()), Rule::InDaemonHome),
            Mode::Shared => (Socket::Path(self.shared_socket.clone()), Rule::InSharedHome),
        }
    }

    /// Returns the log of what the program changed in the app's home.
    pub fn run_log(&self) -> Utf8PathBuf {
        self.app_home.join(self.app.run_log_name())
    }

    /// Returns the home of the daemon of that mode.
    pub fn home_for_mode(&self, mode: Mode) -> &Utf8Path {
        match mode {
            Mode::OwnLlm => &self.daemon_home,
            Mode::Shared => &self.shared_home,
        }
    }

    /// Returns the config of the daemon of that mode, which may have a `daemon.control_socket`.
    pub fn config_for_mode(&self, mode: Mode) -> &Utf8Path {
        match mode {
            Mode::OwnLlm => &self.daemon_config,
            Mode::Shared => &self.shared_config,
        }
    }

    /// Returns every path with its rule, in the order for display.
    pub fn entries(&self) -> Vec<PathEntry<'_>> {
        let at = |name, path, rule| PathEntry { name, path, rule };
        vec![
            at("user_home", &self.user_home, self.user_home_rule),
            at("app_home", &self.app_home, Rule::InUserHome),
            at("app_config", &self.app_config, Rule::InAppHome),
            at("backups", &self.backups, Rule::InAppHome),
            at("conversations", &self.conversations, Rule::InAppHome),
            at("daemon_home", &self.daemon_home, Rule::InAppHome),
            at("daemon_config", &self.daemon_config, Rule::InDaemonHome),
            at("daemon_identity", &self.daemon_identity, Rule::InDaemonHome),
            at("daemon_custody", &self.daemon_custody, Rule::InDaemonHome),
            at("daemon_rosters", &self.daemon_rosters, Rule::InDaemonHome),
            at("daemon_states", &self.daemon_states, Rule::InDaemonHome),
            at("daemon_updates", &self.daemon_updates, Rule::InDaemonHome),
            at("daemon_socket", &self.daemon_socket, Rule::InDaemonHome),
            at("shared_home", &self.shared_home, self.shared_home_rule),
            at("shared_config", &self.shared_config, Rule::InSharedHome),
            at("shared_socket", &self.shared_socket, Rule::InSharedHome),
            at("legacy_identity", &self.legacy_identity, Rule::LegacyPlace),
            at("legacy_custody", &self.legacy_custody, Rule::LegacyPlace),
            at("legacy_rosters", &self.legacy_rosters, Rule::LegacyPlace),
            at("legacy_states", &self.legacy_states, Rule::LegacyPlace),
            at("legacy_roster", &self.legacy_roster, Rule::LegacyPlace),
            at("legacy_socket", &self.legacy_socket, Rule::LegacyPlace),
        ]
    }
}
