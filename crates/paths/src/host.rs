use std::borrow::Cow;

/// One app that embeds the daemon: its names, and nothing else.
///
/// MyOwnLLM's names are the constant [`MYOWNLLM`]. A sibling app defines its own:
///
/// ```
/// use myownllm_paths::{Env, HostApp, PathResolver, Resolver};
///
/// let other = HostApp::new("OtherApp", "otherapp-mesh", ".otherapp", "mesh-home");
/// assert_eq!(other.home_variable, "MYOWNMESH_HOME"); // it is the same daemon
/// let env = Env::explicit(std::env::temp_dir());
/// Resolver::new(other.clone()).resolve(&env)?;
///
/// // A name that means something in the app's home already is refused: the daemon kept its
/// // rosters under `mesh` there.
/// let taken = HostApp { daemon_dir: "mesh".into(), ..other };
/// assert_eq!(Resolver::new(taken).resolve(&env).unwrap_err().code(), "paths.host-app");
/// # Ok::<(), myownllm_paths::PathsError>(())
/// ```
///
/// Every directory and file name is relative and has no `..`; it may have several parts
/// (`state/mesh`). No two of them are the same place, and none lies in another; the run log, which
/// has the name of the program, is one of them. MyOwnLLM's home, and a directory in it, is no home of
/// an app with another name, nor of the stand-alone daemon. An app with another home has neither
/// MyOwnLLM's name nor its program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostApp {
    /// The name for people, as in "MyOwnLLM".
    pub name: Cow<'static, str>,
    /// The program that the hints name, as in `myownllm-mesh`: it has that program's command line.
    pub program: Cow<'static, str>,
    /// The app's home, in the user's home.
    pub app_dir: Cow<'static, str>,
    /// The daemon's home, in the app's home.
    pub daemon_dir: Cow<'static, str>,
    /// The home of the stand-alone daemon ("shared" mode), in the user's home.
    pub shared_dir: Cow<'static, str>,
    /// The variable that names the daemon's home. The daemon reads `MYOWNMESH_HOME` alone.
    pub home_variable: Cow<'static, str>,
    /// The app's config, in the app's home.
    pub config_file: Cow<'static, str>,
    /// The directory of the backups that are made before a config is changed, in the app's home.
    pub backups_dir: Cow<'static, str>,
    /// The directory of conversations, in the app's home: the config's default for
    /// `conversation_dir`.
    pub conversations_dir: Cow<'static, str>,
    /// The names of the files in the daemon's own home. The files had the same names while the
    /// daemon lived in the app's home.
    pub daemon_files: DaemonFiles,
    /// The daemon's program, without the platform's suffix.
    pub daemon_program: Cow<'static, str>,
    /// The variables that name the daemon's program, by precedence: `MYOWNLLM_MESH_BIN` and
    /// `MYOWNMESH_BIN` by default.
    pub daemon_program_variables: Cow<'static, [Cow<'static, str>]>,
    /// The daemon's named pipe on Windows, in the local namespace. All modes have the same name.
    pub pipe: Cow<'static, str>,
}

impl HostApp {
    /// Returns an app with a home of its own. Every other name is MyOwnLLM's, as it is the same
    /// daemon; the fields can be changed afterwards.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        program: impl Into<Cow<'static, str>>,
        app_dir: impl Into<Cow<'static, str>>,
        daemon_dir: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            app_dir: app_dir.into(),
            daemon_dir: daemon_dir.into(),
            ..MYOWNLLM
        }
    }

    /// Returns the name of the log of what the program changed in the app's home.
    pub fn run_log_name(&self) -> String {
        format!("{}.log", self.program)
    }
}

/// The daemon's own names for the files in its home. The paths have `/` between their parts, and
/// are relative to that home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonFiles {
    /// The daemon's config.
    pub config: Cow<'static, str>,
    /// The directory of the daemon's secrets.
    pub secrets: Cow<'static, str>,
    /// The identity file, with the daemon's ed25519 key.
    pub identity: Cow<'static, str>,
    /// The custody file, which locks the second factor.
    pub custody: Cow<'static, str>,
    /// The directory of rosters and states.
    pub mesh: Cow<'static, str>,
    /// The directory of the rosters of approved peers.
    pub rosters: Cow<'static, str>,
    /// The directory of the signed governance states.
    pub states: Cow<'static, str>,
    /// The one roster from the time before several networks.
    pub legacy_roster: Cow<'static, str>,
    /// The directory of the daemon's own updates.
    pub updates: Cow<'static, str>,
    /// The control socket on Unix.
    pub socket: Cow<'static, str>,
}

impl DaemonFiles {
    /// The log of the daemon, in its home.
    pub const LOG: &'static str = "daemon.log";
}

/// MyOwnLLM, which embeds `myownmesh`.
pub const MYOWNLLM: HostApp = HostApp {
    name: Cow::Borrowed("MyOwnLLM"),
    program: Cow::Borrowed("myownllm-mesh"),
    app_dir: Cow::Borrowed(".myownllm"),
    daemon_dir: Cow::Borrowed(".myownmesh"),
    shared_dir: Cow::Borrowed(".myownmesh"),
    home_variable: Cow::Borrowed("MYOWNMESH_HOME"),
    config_file: Cow::Borrowed("config.json"),
    backups_dir: Cow::Borrowed("config-backups"),
    conversations_dir: Cow::Borrowed("conversations"),
    daemon_files: DaemonFiles {
        config: Cow::Borrowed("config.json"),
        secrets: Cow::Borrowed(".secrets"),
        identity: Cow::Borrowed(".secrets/identity.json"),
        custody: Cow::Borrowed(".secrets/custody.json"),
        mesh: Cow::Borrowed("mesh"),
        rosters: Cow::Borrowed("mesh/rosters"),
        states: Cow::Borrowed("mesh/states"),
        legacy_roster: Cow::Borrowed("mesh/roster.json"),
        updates: Cow::Borrowed("updates"),
        socket: Cow::Borrowed("daemon.sock"),
    },
    daemon_program: Cow::Borrowed("myownmesh"),
    daemon_program_variables: Cow::Borrowed(&[
        Cow::Borrowed("MYOWNLLM_MESH_BIN"),
        Cow::Borrowed("MYOWNMESH_BIN"),
    ]),
    pipe: Cow::Borrowed("myownmesh.sock"),
};
