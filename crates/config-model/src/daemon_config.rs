//! The daemon's config, versions 1 to 3: its defaults, and a typed view.

use crate::app_config::Topology;
use crate::{Document, Kind, ValueRef};

/// The newest version of the daemon's config that this crate knows. A daemon refuses a file of a newer version than its
/// own; so do we refuse to write one.
pub const NEWEST_VERSION: u64 = 3;

/// The top-level keys that only the daemon has. `auto_update` and `auto_cleanup` are in both schemas.
pub const OWN_KEYS: [&str; 5] = ["version", "identity_path", "daemon", "services", "networks"];

/// The relays that the daemon leaves out by itself.
pub(crate) const DENYLIST: [&str; 2] = ["relay.damus.io", "chorus.pjv.me"];

/// The members of `signaling` and the daemon's own defaults, without `servers`.
pub(crate) const SIGNALING: [(&str, &str); 6] = [
    ("strategy", "\"nostr\""),
    ("mdns", "true"),
    ("redundancy", "5"),
    ("denylist", "[\"relay.damus.io\",\"chorus.pjv.me\"]"),
    ("public_fallback", "true"),
    ("listen_only", "false"),
];

/// The members of a network that the daemon's schema has.
pub(crate) const NETWORK_KEYS: [&str; 11] = [
    "id",
    "network_id",
    "label",
    "kind",
    "topology",
    "signaling",
    "stun_servers",
    "turn_servers",
    "roster_path",
    "pinned_peers",
    "auto_approve",
];

/// What callers read from the daemon's config: a member that is absent or of a wrong type reads as its default.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DaemonConfig {
    /// Schema version, when it is a whole number.
    pub version: Option<u64>,
    /// Where the identity lies, when set.
    pub identity_path: Option<String>,
    /// `daemon.enabled`.
    pub enabled: bool,
    /// `daemon.control_socket`, when it is a text; an empty one, at which no daemon can be found, is one too.
    pub control_socket: Option<String>,
    /// `daemon.log_level`.
    pub log_level: String,
    /// The networks.
    pub networks: Vec<DaemonNetwork>,
}

/// One network of the daemon's.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct DaemonNetwork {
    /// Config id.
    pub id: String,
    /// The id that all peers share.
    pub network_id: String,
    /// The name shown to the user.
    pub label: String,
    /// `open`, `closed`, `silent`, or a newer one.
    pub kind: String,
    /// Who connects to whom. Absent in the file, it is a ring in version 1 and a full mesh from version 2 on.
    pub topology: Topology,
    /// `signaling.strategy`.
    pub strategy: String,
    /// `signaling.servers`.
    pub servers: Vec<String>,
    /// `signaling.mdns`.
    pub mdns: bool,
    /// `signaling.redundancy`.
    pub redundancy: u64,
    /// `signaling.denylist`.
    pub denylist: Vec<String>,
    /// `signaling.public_fallback`.
    pub public_fallback: bool,
    /// `signaling.listen_only`.
    pub listen_only: bool,
    /// Where its roster lies, when set.
    pub roster_path: Option<String>,
    /// Peers that are dialled whatever the topology.
    pub pinned_peers: Vec<String>,
    /// Whether new peers are let in without asking.
    pub auto_approve: bool,
}

fn text(value: Option<ValueRef<'_>>) -> Option<String> {
    Some(value?.as_str()?.into_owned())
}

fn texts(value: Option<ValueRef<'_>>) -> Option<Vec<String>> {
    let list = value.filter(|v| v.kind() == Kind::Array)?;
    Some(list.items().filter_map(|i| text(Some(i))).collect())
}

/// The version that a document of the daemon's says it has, when that is a whole number.
pub fn version_of(doc: &Document) -> Option<u64> {
    let version = doc.get(&["version"])?.as_f64()?;
    (version.fract() == 0.0 && (0.0..1e15).contains(&version)).then_some(version as u64)
}

/// The topology of a network that names none.
pub(crate) fn default_topology(version: Option<u64>) -> Topology {
    match version {
        Some(2..) => Topology::FullMesh,
        _ => Topology::Ring { n_preferred: None },
    }
}

impl DaemonConfig {
    /// Reads the view; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let version = version_of(doc);
        let daemon = |key: &str| doc.get(&["daemon", key]);
        let networks = doc.get(&["networks"]).into_iter().flat_map(|n| n.items());
        Self {
            version,
            identity_path: text(doc.get(&["identity_path"])).filter(|p| !p.is_empty()),
            enabled: daemon("enabled").and_then(|e| e.as_bool()).unwrap_or(true),
            control_socket: text(daemon("control_socket")),
            log_level: text(daemon("log_level")).unwrap_or_else(|| "info".to_owned()),
            networks: networks
                .filter(|n| n.kind() == Kind::Object)
                .map(|n| DaemonNetwork::view(n, version))
                .collect(),
        }
    }
}

impl DaemonNetwork {
    /// Reads one network; `version` is that of the file, for what it leaves to the default.
    pub fn view(network: ValueRef<'_>, version: Option<u64>) -> Self {
        let get = |key: &str| network.get(key);
        let signaling = |key: &str| get("signaling").and_then(|s| s.get(key));
        let flag = |value: Option<ValueRef<'_>>, default| value.and_then(|v| v.as_bool()).unwrap_or(default);
        Self {
            id: text(get("id")).unwrap_or_default(),
            network_id: text(get("network_id")).unwrap_or_default(),
            label: text(get("label")).unwrap_or_default(),
            kind: text(get("kind")).unwrap_or_else(|| "open".to_owned()),
            topology: get("topology").and_then(Topology::view).unwrap_or_else(|| default_topology(version)),
            strategy: text(signaling("strategy")).unwrap_or_else(|| "nostr".to_owned()),
            servers: texts(signaling("servers")).unwrap_or_default(),
            mdns: flag(signaling("mdns"), true),
            redundancy: signaling("redundancy").and_then(|r| r.as_f64()).map_or(5, |r| r as u64),
            denylist: texts(signaling("denylist")).unwrap_or_else(|| DENYLIST.map(str::to_owned).to_vec()),
            public_fallback: flag(signaling("public_fallback"), true),
            listen_only: flag(signaling("listen_only"), false),
            roster_path: text(get("roster_path")).filter(|p| !p.is_empty()),
            pinned_peers: texts(get("pinned_peers")).unwrap_or_default(),
            auto_approve: flag(get("auto_approve"), false),
        }
    }
}
