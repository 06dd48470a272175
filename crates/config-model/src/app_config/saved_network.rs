//! The structs of a saved network.

use myownllm_json_document::ValueRef;
use myownllm_json_document::masking::{MaskedText, Secret};
use serde::{Deserialize, Deserializer};

use crate::config_structs::config_structs;
use crate::daemon_config::{Signaling, TurnGroup};
use crate::lenient::{self, non_empty, non_empty_secret, whole_or_fraction};
use crate::topology::{self, Topology};

config_structs! {
    /// A saved network.
    pub struct Network(rename = "network", extend("required" = ["id", "network_id"])) {
        /// The internal id; unique in this file.
        pub id: String,
        /// The id that all peers share: 3 to 64 of a-z, 0-9, _ and -.
        pub network_id: String,
        /// The name that the user sees.
        #[serde(deserialize_with = "non_empty")]
        pub label: Option<String> as "String",
        /// `open`, `closed`, or a kind of a newer daemon.
        #[serde(deserialize_with = "non_empty")]
        #[cfg_attr(
            feature = "schema",
            schemars(length(min = 1), extend("examples" = ["open", "closed", "silent"]))
        )]
        pub kind: Option<String> as "String",
        /// The connections between the peers.
        #[serde(deserialize_with = "topology::read")]
        pub topology: Option<Topology> as "topology::Members",
        /// True if new peers join without a question; without it false.
        #[cfg_attr(feature = "schema", schemars(extend("default" = false)))]
        pub auto_approve: Option<bool> as "bool",
        /// Signaling relays; empty for the daemon's own choice.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub signaling_servers: Vec<MaskedText>,
        /// STUN servers.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub stun_servers: Vec<MaskedText> =
            ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"].map(MaskedText::from).to_vec(),
        /// TURN servers.
        #[serde(deserialize_with = "with_url")]
        pub turn_servers: Vec<TurnServer>,
        /// The load that this node accepts: `available`, `limited`, `busy`.
        #[cfg_attr(feature = "schema", schemars(extend("enum" = ["available", "limited", "busy"])))]
        pub accepting: String = "available".to_owned(),
        /// True if this node passes gossip on.
        pub auto_gossip: bool = true,
        /// The tools that agents may use.
        pub agent_permissions: Option<AgentPermissions> as "AgentPermissions",
        /// Saved prompts.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub prompts: Vec<Prompt>,
        /// Settings that only the daemon knows, in its own words, where they differ from its defaults.
        pub daemon_settings: Option<DaemonSettings> as "DaemonSettings",
    }

    /// A TURN server.
    pub struct TurnServer(rename = "turn_server", extend("required" = ["url"])) {
        /// The address.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        pub url: MaskedText,
        /// The user, if the server wants one.
        #[serde(deserialize_with = "non_empty")]
        pub username: Option<String> as "String",
        /// The password, if the server wants one. Secret.
        #[serde(deserialize_with = "non_empty_secret")]
        pub credential: Option<Secret> as "String",
    }

    /// The tools that agents of other peers may use.
    pub struct AgentPermissions(inline) {
        /// Commands in a shell.
        pub shell: ToolPermission,
        /// Writing files.
        pub write_file: ToolPermission,
    }

    /// The permission of one tool.
    pub struct ToolPermission(rename = "permission") {
        /// `ask`, `accept_all`, `denied`.
        #[cfg_attr(feature = "schema", schemars(extend("enum" = ["ask", "accept_all", "denied"])))]
        pub mode: String = "ask".to_owned(),
        /// Commands or paths that are accepted without asking.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub always_accept: Vec<MaskedText>,
        /// Milliseconds since the Unix epoch.
        #[serde(serialize_with = "whole_or_fraction")]
        #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
        pub updated_at: f64,
    }

    /// A saved prompt.
    pub struct Prompt(rename = "prompt", extend("required" = ["id"])) {
        /// The id.
        #[cfg_attr(feature = "schema", schemars(length(min = 1)))]
        pub id: String,
        /// The name that the user sees.
        pub name: String,
        /// The instructions for the model.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        pub system_prompt: MaskedText,
        /// The question.
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        pub user_prompt: MaskedText,
        /// The tools that the prompt may use; without it, all that this version knows.
        pub tools: Vec<String> = ["networks", "read_file", "write_file", "shell"].map(str::to_owned).to_vec(),
        /// Milliseconds since the Unix epoch.
        #[serde(serialize_with = "whole_or_fraction")]
        #[cfg_attr(feature = "schema", schemars(range(min = 0)))]
        pub updated_at: f64,
    }

    /// The settings of a saved network that only the daemon knows.
    pub struct DaemonSettings(inline) {
        /// The search for peers, without its servers.
        pub signaling: Option<Signaling> as "Signaling",
        /// The TURN groups with more than one URL, as a whole.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub turn_servers: Vec<TurnGroup>,
        /// The Device IDs of peers that the daemon dials regardless of the topology.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        pub pinned_peers: Vec<String>,
        /// The path of the roster.
        #[serde(deserialize_with = "non_empty")]
        pub roster_path: Option<String> as "String",
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
    servers.retain(|server| !server.url.expose().is_empty());
    Ok(servers)
}
