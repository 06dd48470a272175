//! The daemon's config, versions 1 to 3: a typed view, and its defaults.

use std::sync::LazyLock;

use myownllm_json_document::masking::{MaskedText, Secret};
use myownllm_json_document::{Document, Fragment, Kind, ValueRef};
use serde::Deserializer;

use crate::config_structs::config_structs;
use crate::lenient::{self, non_empty, non_empty_secret};
use crate::topology::{self, Topology};

/// The newest version of the daemon's config that this crate knows. A daemon refuses a file of a
/// newer version than its own, and this workspace refuses to write one.
pub const NEWEST_VERSION: u64 = 3;

/// The top-level keys that only the daemon has. Both schemas have `auto_update` and `auto_cleanup`.
pub const OWN_KEYS: [&str; 5] = ["version", "identity_path", "daemon", "services", "networks"];

config_structs! {
    /// The daemon's config, as callers read it: an absent member, or one of a wrong type, reads as
    /// its default.
    pub struct DaemonConfig(title = "MyOwnMesh daemon config", description = "Unknown members are kept.") {
        /// The version of the schema.
        #[cfg_attr(feature = "schema", schemars(range(min = 1, max = NEWEST_VERSION)))]
        pub version: Option<u64> as "u64",
        /// The path of the identity file; without it, the file in the daemon home.
        #[serde(deserialize_with = "non_empty")]
        pub identity_path: Option<String>,
        /// Updates of the daemon.
        pub auto_update: DaemonAutoUpdate,
        /// Automatic deletions.
        pub auto_cleanup: DaemonAutoCleanup,
        /// The process.
        pub daemon: DaemonProcess,
        /// Services for other nodes.
        pub services: Services,
        /// The networks.
        pub networks: Vec<DaemonNetwork>,
    }

    /// Updates of the daemon.
    pub struct DaemonAutoUpdate(inline) {
        /// True if the daemon checks for updates.
        pub enabled: bool = true,
        /// `stable`, `beta`.
        pub channel: Option<String> as "String",
        /// `none`, `patch`, `minor`, `all`.
        pub auto_apply: Option<String> as "String",
        /// The hours between two checks.
        pub check_interval_hours: Option<f64> as "f64",
        /// The source of stable versions.
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        pub stable_url: Option<MaskedText>,
        /// The source of beta versions.
        #[cfg_attr(feature = "schema", schemars(with = "Option<String>"))]
        pub beta_url: Option<MaskedText>,
    }

    /// Automatic deletions of the daemon.
    pub struct DaemonAutoCleanup(inline) {
        /// Downloaded updates.
        pub updates: bool = true,
    }

    /// The daemon's process.
    pub struct DaemonProcess(inline) {
        /// True if the daemon runs.
        pub enabled: bool = true,
        /// The path of the socket, an absolute one. The daemon takes an empty string for a path, too;
        /// no client can connect there.
        pub control_socket: Option<String>,
        /// The level of the log.
        pub log_level: String = "info".to_owned(),
    }

    /// Services for other nodes. The typed view tells only which of them the file configures.
    pub struct Services(inline) {
        /// The node.
        pub node: Option<Unread> as "Unread",
        /// The relay.
        pub relay: Option<Unread> as "Unread",
        /// The signaling server.
        pub signaling: Option<Unread> as "Unread",
        /// The STUN server.
        pub stun: Option<Unread> as "Unread",
        /// The TURN server. Its credentials are secret.
        pub turn: Option<Unread> as "Unread",
    }

    /// An object whose members this crate does not read.
    pub struct Unread(inline) {}

    /// A network of the daemon.
    pub struct DaemonNetwork(rename = "network", extend("required" = ["id", "network_id"])) {
        /// The id in this config.
        pub id: String,
        /// The id that all peers share: 3 to 64 of a-z, 0-9, _ and -.
        pub network_id: String,
        /// The name that the user sees.
        pub label: String,
        /// `open`, `closed`, `silent`, or a kind of a newer daemon.
        #[cfg_attr(feature = "schema", schemars(extend("examples" = ["open", "closed", "silent"])))]
        pub kind: String = "open".to_owned(),
        /// The connections between the peers. Without it, a ring in version 1 and a full mesh from
        /// version 2 on.
        #[serde(deserialize_with = "or_default_topology")]
        #[cfg_attr(
            feature = "schema",
            schemars(with = "topology::Members", transform = crate::schema_transforms::without_default)
        )]
        pub topology: Topology = default_topology(None),
        /// The search for peers.
        pub signaling: Signaling,
        /// STUN servers; without it, the daemon's defaults.
        pub stun_servers: Option<Vec<StunGroup>> as "Vec<StunGroup>",
        /// TURN servers; without it, the daemon's defaults.
        pub turn_servers: Option<Vec<TurnGroup>> as "Vec<TurnGroup>",
        /// The path of the roster.
        #[serde(deserialize_with = "non_empty")]
        pub roster_path: Option<String>,
        /// The Device IDs of peers that the daemon dials regardless of the topology.
        pub pinned_peers: Vec<String>,
        /// True if new peers join without a question.
        pub auto_approve: bool,
    }

    /// The search for peers.
    pub struct Signaling(inline) {
        /// `nostr`, `none`, or a strategy of a newer daemon.
        #[cfg_attr(feature = "schema", schemars(extend("examples" = ["nostr", "none"])))]
        pub strategy: String = "nostr".to_owned(),
        /// True if the daemon searches the local network.
        pub mdns: bool = true,
        /// Relays; empty for the daemon's own choice.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub servers: Vec<MaskedText>,
        /// The number of relays in use.
        pub redundancy: u64 = 5,
        /// Relays that the daemon does not use.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub denylist: Vec<MaskedText> = ["relay.damus.io", "chorus.pjv.me"].map(MaskedText::from).to_vec(),
        /// True if the daemon uses public relays when `servers` fail.
        pub public_fallback: bool = true,
        /// True if this node stays unannounced.
        pub listen_only: bool,
    }

    /// The addresses of a STUN server.
    pub struct StunGroup(inline) {
        /// The addresses.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub urls: Vec<MaskedText>,
    }

    /// The addresses of a TURN server, and the login there.
    pub struct TurnGroup(inline) {
        /// The addresses.
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        pub urls: Vec<MaskedText>,
        /// The user.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub username: Option<String>,
        /// The password. Secret.
        #[serde(deserialize_with = "non_empty_secret")]
        pub credential: Option<Secret> as "Option<String>",
    }
}

/// Returns the version of a daemon's document, if it is a whole number.
pub(crate) fn version_of(doc: &Document) -> Option<u64> {
    let version = doc.get(&["version"])?.as_f64()?;
    (version.fract() == 0.0 && (0.0..1e15).contains(&version)).then_some(version as u64)
}

/// Returns the topology of a network that names none.
fn default_topology(version: Option<u64>) -> Topology {
    match version {
        Some(2..) => Topology::FullMesh,
        _ => Topology::Ring { n_preferred: None },
    }
}

fn or_default_topology<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Topology, D::Error> {
    Ok(topology::read(deserializer)?.unwrap_or_else(|| default_topology(None)))
}

static SIGNALING: LazyLock<Document> =
    LazyLock::new(|| Document::of(Fragment::serialize(&Signaling::default())));

/// Returns true if `signaling` has a member of that name.
pub(crate) fn is_of_signaling(key: &str) -> bool {
    SIGNALING.get(&[key]).is_some()
}

/// Returns true if `value` is the daemon's own default for a member of `signaling`.
pub(crate) fn is_default_signaling(key: &str, value: ValueRef<'_>) -> bool {
    // Most files spell the defaults as serde_json does.
    SIGNALING.get(&[key]).is_some_and(|default| value.raw() == default.raw() || value.same_json(&default))
}

impl DaemonConfig {
    /// Reads the config; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let mut config: Self = lenient::read(doc.root());
        let entries = doc.get(&["networks"]).into_iter().flat_map(|networks| networks.items());
        let entries = entries.filter(|entry| entry.kind() == Kind::Object);
        for (network, entry) in config.networks.iter_mut().zip(entries) {
            if entry.get("topology").and_then(Topology::view).is_none() {
                network.topology = default_topology(config.version);
            }
        }
        config
    }
}
