use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::socket::no_address;
use crate::{ControlSocket, HostApp, Lookup, Mode, PathsError, Platform, Socket};

/// Why a path is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Rule {
    /// Named by the caller with `--home`.
    ExplicitHome,
    /// The system's idea of the user's home (`HOME`, on Windows the profile).
    SystemHome,
    /// A fixed name in the user's home.
    InUserHome,
    /// A fixed name in the app's home.
    InAppHome,
    /// A fixed name in the daemon's home.
    InDaemonHome,
    /// A fixed name in the stand-alone daemon's home.
    InSharedHome,
    /// Where the daemon kept it while it still lived in the app's home.
    LegacyPlace,
    /// The daemon's own variable (shared mode alone).
    MeshHomeVariable,
    /// The default, as the daemon's variable is set to the app's home or inside it.
    MeshHomeVariableInsideApp,
    /// The default, as the daemon's variable is relative.
    MeshHomeVariableRelative,
    /// The default, as the daemon's variable is not UTF-8, which the daemon itself passes over.
    MeshHomeVariableNotText,
    /// The `daemon.control_socket` of the daemon's own config.
    ControlSocket,
    /// The platform's one pipe, whatever the mode.
    Pipe,
}

impl Rule {
    /// The rule as a clause that people read.
    #[must_use]
    pub const fn describe(self) -> &'static str {
        match self {
            Self::ExplicitHome => "given with --home",
            Self::SystemHome => "the system's home folder",
            Self::InUserHome => "in the user's home",
            Self::InAppHome => "in the app's home",
            Self::InDaemonHome => "in the daemon's home",
            Self::InSharedHome => "in the shared daemon's home",
            Self::LegacyPlace => "where the daemon kept it in the app's home",
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
pub struct Located<'a> {
    /// The field's name in [`Layout`].
    pub name: &'static str,
    /// The path.
    pub path: &'a Path,
    /// The rule that chose it.
    pub rule: Rule,
}

/// Every path that the app and its daemon use, computed from names alone: nothing was looked at yet.
///
/// Serialises as an object, one member a path: `{"app_home": {"path": …, "rule": …, "why": …}, …}`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Layout {
    /// The names that it was computed from.
    pub app: HostApp,
    /// The platform whose rules count.
    pub platform: Platform,
    /// The user's home folder.
    pub user_home: PathBuf,
    /// The app's home.
    pub app_home: PathBuf,
    /// The app's config.
    pub app_config: PathBuf,
    /// Copies of former configs.
    pub backups: PathBuf,
    /// The default place of conversations.
    pub conversations: PathBuf,
    /// Where the key was while the daemon lived in the app's home.
    pub legacy_identity: PathBuf,
    /// Where the second factor's lock was.
    pub legacy_custody: PathBuf,
    /// Where the rosters were.
    pub legacy_rosters: PathBuf,
    /// Where the states were.
    pub legacy_states: PathBuf,
    /// The one roster of the time before there were several networks.
    pub legacy_roster: PathBuf,
    /// Where a daemon that still runs in the app's home listens.
    pub legacy_socket: PathBuf,
    /// The daemon's home (own mode).
    pub daemon_home: PathBuf,
    /// The daemon's config.
    pub daemon_config: PathBuf,
    /// The daemon's key.
    pub daemon_identity: PathBuf,
    /// The second factor's lock.
    pub daemon_custody: PathBuf,
    /// The rosters.
    pub daemon_rosters: PathBuf,
    /// The states.
    pub daemon_states: PathBuf,
    /// The daemon's updates.
    pub daemon_updates: PathBuf,
    /// The daemon's socket, unless its config names another.
    pub daemon_socket: PathBuf,
    /// The stand-alone daemon's home (shared mode). Never touched by us.
    pub shared_home: PathBuf,
    /// The stand-alone daemon's config.
    pub shared_config: PathBuf,
    /// The stand-alone daemon's socket, unless its config names another.
    pub shared_socket: PathBuf,
    /// The rule that chose [`user_home`](Self::user_home).
    pub user_home_rule: Rule,
    /// The rule that chose [`shared_home`](Self::shared_home).
    pub shared_home_rule: Rule,
}

impl Layout {
    /// Reads what the config of the daemon of that mode says of its control socket.
    ///
    /// # Errors
    /// [`PathsError::Lookup`]: the config exists and cannot be read. One that is no regular file, or no JSON, says nothing: the daemon
    /// listens in its home then.
    pub fn control_socket(&self, mode: Mode, lookup: &dyn Lookup) -> Result<ControlSocket, PathsError> {
        let path = self.config_for_mode(mode);
        match lookup.read(path) {
            Ok(bytes) => Ok(ControlSocket::of_config(&bytes)),
            Err(error) => match error.kind() {
                ErrorKind::NotFound
                | ErrorKind::NotADirectory
                | ErrorKind::InvalidInput
                | ErrorKind::IsADirectory => Ok(ControlSocket::InHome),
                _ => Err(PathsError::Lookup { path: path.to_path_buf(), source: error }),
            },
        }
    }

    /// Where the daemon of that mode listens, and the rule that says so.
    ///
    /// `control_socket` is what *that* daemon's own config says. An absolute path wins; one that is no address at all does not
    /// count: see [`check_control_socket`](crate::check_control_socket), which refuses it before a daemon is started on it. To read
    /// the config and check the address in one call, see [`CheckedLayout::socket`](crate::CheckedLayout::socket).
    #[must_use]
    pub fn socket_for_mode(&self, mode: Mode, control_socket: &ControlSocket) -> (Socket, Rule) {
        if self.platform == Platform::Windows {
            return (Socket::Pipe(self.app.pipe.clone().into_owned()), Rule::Pipe);
        }
        if let Some(path) = control_socket.named().filter(|path| no_address(path).is_none()) {
            return (Socket::Path(path.to_path_buf()), Rule::ControlSocket);
        }
        match mode {
            Mode::OwnLlm => (Socket::Path(self.daemon_socket.clone()), Rule::InDaemonHome),
            Mode::Shared => (Socket::Path(self.shared_socket.clone()), Rule::InSharedHome),
        }
    }

    /// The home of the daemon of that mode.
    #[must_use]
    pub fn home_for_mode(&self, mode: Mode) -> &Path {
        match mode {
            Mode::OwnLlm => &self.daemon_home,
            Mode::Shared => &self.shared_home,
        }
    }

    /// The config of the daemon of that mode, in which a `daemon.control_socket` may stand.
    #[must_use]
    pub fn config_for_mode(&self, mode: Mode) -> &Path {
        match mode {
            Mode::OwnLlm => &self.daemon_config,
            Mode::Shared => &self.shared_config,
        }
    }

    /// Every path with its rule, in the order in which people want to read them.
    #[must_use]
    pub fn entries(&self) -> Vec<Located<'_>> {
        let at = |name, path, rule| Located { name, path, rule };
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

impl Serialize for Layout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries = self.entries();
        let mut map = serializer.serialize_map(Some(entries.len()))?;
        for entry in &entries {
            map.serialize_entry(entry.name, entry)?;
        }
        map.end()
    }
}

impl Serialize for Located<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("path", &self.path.to_string_lossy())?;
        map.serialize_entry("rule", &self.rule)?;
        map.serialize_entry("why", self.rule.describe())?;
        map.end()
    }
}
