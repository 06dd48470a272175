//! The structs of a saved network.

use myownllm_json_document::ValueRef;
use myownllm_json_document::masking::Secret;
use serde::{Deserialize, Deserializer, Serialize};

use crate::daemon_config::{Signaling, TurnGroup};
use crate::lenient::{self, non_empty, non_empty_secret, whole_or_fraction};
use crate::topology::{self, Topology};

/// A saved network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        rename = "network",
        extend("required" = ["id", "network_id"]),
        transform = crate::schema_transforms::without_required_defaults
    )
)]
#[serde(default)]
#[non_exhaustive]
pub struct Network {
    /// The internal id; unique in this file.
    pub id: String,
    /// The id that all peers share: 3 to 64 of a-z, 0-9, _ and -.
    pub network_id: String,
    /// The name that the user sees.
    #[serde(deserialize_with = "non_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub label: Option<String>,
    /// `open`, `closed`, or a kind of a newer daemon.
    #[serde(deserialize_with = "non_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(
        feature = "schema",
        schemars(with = "String", length(min = 1), extend("examples" = ["open", "closed", "silent"]))
    )]
    pub kind: Option<String>,
    /// The connections between the peers.
    #[serde(deserialize_with = "topology::read", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "topology::Members"))]
    pub topology: Option<Topology>,
    /// True if new peers join without a question; without it false.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "bool", extend("default" = false)))]
    pub auto_approve: Option<bool>,
    /// Signaling relays; empty for the daemon's own choice.
    pub signaling_servers: Vec<String>,
    /// STUN servers.
    pub stun_servers: Vec<String>,
    /// TURN servers.
    #[serde(deserialize_with = "with_url")]
    pub turn_servers: Vec<TurnServer>,
    /// The load that this node accepts: `available`, `limited`, `busy`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["available", "limited", "busy"])))]
    pub accepting: String,
    /// True if this node passes gossip on.
    pub auto_gossip: bool,
    /// The tools that agents may use.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "AgentPermissions"))]
    pub agent_permissions: Option<AgentPermissions>,
    /// Saved prompts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<Prompt>,
    /// Settings that only the daemon knows, in its own words, where they differ from its defaults.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "DaemonSettings"))]
    pub daemon_settings: Option<DaemonSettings>,
}

/// A TURN server.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        rename = "turn_server",
        extend("required" = ["url"]),
        transform = crate::schema_transforms::without_required_defaults
    )
)]
#[serde(default)]
#[non_exhaustive]
pub struct TurnServer {
    /// The address.
    pub url: String,
    /// The user, if the server wants one.
    #[serde(deserialize_with = "non_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub username: Option<String>,
    /// The password, if the server wants one. Secret.
    #[serde(deserialize_with = "non_empty_secret", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub credential: Option<Secret>,
}

/// The tools that agents of other peers may use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct AgentPermissions {
    /// Commands in a shell.
    pub shell: ToolPermission,
    /// Writing files.
    pub write_file: ToolPermission,
}

/// The permission of one tool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "permission"))]
#[serde(default)]
#[non_exhaustive]
pub struct ToolPermission {
    /// `ask`, `accept_all`, `denied`.
    #[cfg_attr(feature = "schema", schemars(extend("enum" = ["ask", "accept_all", "denied"])))]
    pub mode: String,
    /// Commands or paths that are accepted without asking.
    pub always_accept: Vec<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(serialize_with = "whole_or_fraction")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub updated_at: f64,
}

/// A saved prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(
        rename = "prompt",
        extend("required" = ["id"]),
        transform = crate::schema_transforms::without_required_defaults
    )
)]
#[serde(default)]
#[non_exhaustive]
pub struct Prompt {
    /// The id.
    #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
    pub id: String,
    /// The name that the user sees.
    pub name: String,
    /// The instructions for the model.
    pub system_prompt: String,
    /// The question.
    pub user_prompt: String,
    /// The tools that the prompt may use; without it, all that this version knows.
    pub tools: Vec<String>,
    /// Milliseconds since the Unix epoch.
    #[serde(serialize_with = "whole_or_fraction")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
    pub updated_at: f64,
}

/// The settings of a saved network that only the daemon knows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default)]
#[non_exhaustive]
pub struct DaemonSettings {
    /// The search for peers, without its servers.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "Signaling"))]
    pub signaling: Option<Signaling>,
    /// The TURN groups with more than one URL, as a whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub turn_servers: Vec<TurnGroup>,
    /// The Device IDs of peers that the daemon dials regardless of the topology.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pinned_peers: Vec<String>,
    /// The path of the roster.
    #[serde(deserialize_with = "non_empty", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    pub roster_path: Option<String>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            id: String::new(),
            network_id: String::new(),
            label: None,
            kind: None,
            topology: None,
            auto_approve: None,
            signaling_servers: Vec::new(),
            stun_servers: ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"]
                .map(str::to_owned)
                .to_vec(),
            turn_servers: Vec::new(),
            accepting: "available".to_owned(),
            auto_gossip: true,
            agent_permissions: None,
            prompts: Vec::new(),
            daemon_settings: None,
        }
    }
}

impl Default for ToolPermission {
    fn default() -> Self {
        Self { mode: "ask".to_owned(), always_accept: Vec::new(), updated_at: 0.0 }
    }
}

impl Default for Prompt {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            system_prompt: String::new(),
            user_prompt: String::new(),
            tools: ["networks", "read_file", "write_file", "shell"].map(str::to_owned).to_vec(),
            updated_at: 0.0,
        }
    }
}

impl Network {
    /// Reads a saved network; cannot fail.
    pub fn view(entry: ValueRef<'_>) -> Self {
        lenient::read(entry)
    }
}

/// Reads TURN servers, without those that have no address.
fn with_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<TurnServer>, D::Error> {
    let mut servers = Vec::<TurnServer>::deserialize(deserializer)?;
    servers.retain(|server| !server.url.is_empty());
    Ok(servers)
}
