//! The envelope of every document, and the documents of the commands that have no page here.

use myownllm_config_model::Diagnostic as Finding;
use myownllm_config_store::{BackupId, FileShape, Pending};
use myownllm_launch::{DaemonStopped, Diagnostic};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::text::long;

/// What a command prints with `--json`. Fields are only ever added within a version.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Envelope<'a> {
    /// `myownllm-mesh.COMMAND/1`. The number grows only if a field goes away or changes its
    /// meaning.
    pub schema: String,
    /// True exactly if the exit code is 0.
    pub ok: bool,
    /// The exit code; of a `launch` that stays in the foreground, the one with which it would end
    /// now.
    pub exit: u8,
    /// The build of the program.
    pub program: Build,
    /// The start of the run, RFC 3339 in UTC.
    pub at: String,
    /// The duration of the run until the document was printed, in milliseconds.
    pub took_ms: u64,
    /// The answer of the command; empty if the command failed before it had one.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub data: &'a Value,
    /// The errors, warnings and remarks, in the order in which they came up.
    pub diagnostics: Vec<&'a Diagnostic>,
}

/// A build of the program.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Build {
    /// The version.
    pub version: &'static str,
    /// The commit; `unknown` if the sources came without their history.
    pub commit: &'static str,
    /// The target triple.
    pub target: &'static str,
}

/// The output of a filter: one JSON document.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Filtered {
    /// The document.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub document: Value,
}

/// The settings of a network, to hand on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NetworkEnvelope {
    /// The envelope. An export masks the secrets in it, unless it is asked for them.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub envelope: Value,
}

/// A saved network.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NetworkShown {
    /// The network; secrets are masked, unless asked for.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub network: Value,
}

/// The config.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConfigShown {
    /// The config that a launch would run on; secrets are masked, unless asked for.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub config: Value,
    /// The shape of the file.
    pub shape: FileShape,
    /// The path of the file.
    pub path: String,
}

/// The check of the config.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConfigChecked<'a> {
    /// The path of the file.
    pub path: String,
    /// The shape of the file.
    pub shape: FileShape,
    /// The steps that a launch would take.
    pub pending: &'a Pending,
    /// The keys that a launch would add with their defaults; `section.member` if the section itself
    /// is there.
    pub completed_keys: &'a [String],
    /// The findings; `diagnostics` has them for people.
    pub findings: &'a [Finding],
}

/// A setting.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Setting<'a> {
    /// The key as it was typed.
    pub key: &'a str,
    /// The value; a secret is masked, unless asked for.
    pub value: Value,
}

/// The differences between the config and a backup.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Differences {
    /// The backup.
    pub backup: BackupId,
    /// The path of the backup.
    pub path: String,
    /// A unified diff from the config to the backup, with secrets masked; empty if they are the
    /// same.
    pub diff: String,
}

/// The schema of a config.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ConfigSchema {
    /// A JSON Schema of the app's config, or of the daemon's.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub schema: Value,
}

/// The script that completes the command line in a shell.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Script<'a> {
    /// The shell.
    pub shell: String,
    /// The script.
    pub script: &'a str,
}

/// A page of the manual.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ManualPage<'a> {
    /// The page in the format of `man`.
    pub page: &'a str,
    /// Every command, as a user types it.
    pub commands: Vec<String>,
}

/// A text about the program: its version, or a help.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ProgramText<'a> {
    /// The text for people; of the version, a line with version, commit, date and target.
    pub text: &'a str,
}

/// The daemons that were ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoppedDaemons {
    /// The daemons, in the order in which they ended.
    pub stopped: Vec<StoppedDaemon>,
}

/// A daemon that was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StoppedDaemon {
    /// The process of the daemon.
    pub pid: u32,
    /// The socket of the daemon, or its home.
    pub socket: String,
}

/// A launch after the daemon was ended.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Restarted {
    /// The document of the launch.
    #[serde(flatten)]
    #[schemars(with = "crate::launches::Launch<'static>")]
    pub launch: Value,
    /// The daemons that were ended before.
    pub stopped_before: Vec<StoppedDaemon>,
}

impl From<&DaemonStopped> for StoppedDaemon {
    fn from(daemon: &DaemonStopped) -> Self {
        Self { pid: daemon.pid, socket: long(&daemon.place) }
    }
}
