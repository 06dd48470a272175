//! The files and answers of the daemon, with members in the order of the real daemon.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Version;

/// `config.json`. A read drops every key that is not named here: that is the bug.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Config {
    #[serde(default)]
    pub(crate) version: Option<u64>,
    #[serde(default)]
    pub(crate) identity_path: Option<String>,
    #[serde(default)]
    pub(crate) auto_update: AutoUpdate,
    #[serde(default)]
    pub(crate) auto_cleanup: AutoCleanup,
    #[serde(default)]
    pub(crate) daemon: DaemonSection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) services: Option<Services>,
    #[serde(default)]
    pub(crate) networks: Vec<Network>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct AutoUpdate {
    enabled: bool,
    channel: String,
    auto_apply: Option<String>,
    check_interval_hours: u64,
    stable_url: Option<String>,
    beta_url: Option<String>,
}

impl Default for AutoUpdate {
    fn default() -> Self {
        Self {
            enabled: true,
            channel: "stable".to_owned(),
            auto_apply: None,
            check_interval_hours: 6,
            stable_url: None,
            beta_url: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct AutoCleanup {
    updates: bool,
}

impl Default for AutoCleanup {
    fn default() -> Self {
        Self { updates: true }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct DaemonSection {
    enabled: bool,
    pub(crate) control_socket: Option<String>,
    log_level: String,
}

impl Default for DaemonSection {
    fn default() -> Self {
        Self { enabled: true, control_socket: None, log_level: "info".to_owned() }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Services {
    node: Node,
    relay: Relay,
    signaling: SignalingService,
    stun: StunService,
    turn: TurnService,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct Node {
    enabled: bool,
}

impl Default for Node {
    fn default() -> Self {
        Self { enabled: true }
    }
}

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Relay {
    enabled: bool,
    max_fanout: u64,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct SignalingService {
    enabled: bool,
    bind: String,
    port: u16,
    limits: Limits,
}

impl Default for SignalingService {
    fn default() -> Self {
        Self { enabled: false, bind: "0.0.0.0".to_owned(), port: 4848, limits: Limits::default() }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct Limits {
    max_event_rate: u64,
    max_req_rate: u64,
    max_subscriptions: u64,
    max_filters_per_req: u64,
    max_message_bytes: u64,
    max_connections_per_ip: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_event_rate: 50,
            max_req_rate: 20,
            max_subscriptions: 64,
            max_filters_per_req: 16,
            max_message_bytes: 65536,
            max_connections_per_ip: 64,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct StunService {
    enabled: bool,
    bind: String,
    port: u16,
}

impl Default for StunService {
    fn default() -> Self {
        Self { enabled: false, bind: "0.0.0.0".to_owned(), port: 3478 }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct TurnService {
    enabled: bool,
    tcp_enabled: bool,
    bind: String,
    port: u16,
    public_ip: String,
    realm: String,
    credentials: Vec<TurnUser>,
    max_bps_per_connection: u64,
    relay_port_min: u16,
    relay_port_max: u16,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct TurnUser {
    username: String,
    password: String,
}

impl Default for TurnService {
    fn default() -> Self {
        let guest = TurnUser { username: "guest".to_owned(), password: "theguestpassword".to_owned() };
        Self {
            enabled: false,
            tcp_enabled: false,
            bind: "0.0.0.0".to_owned(),
            port: 3478,
            public_ip: String::new(),
            realm: "myownmesh".to_owned(),
            credentials: vec![guest],
            max_bps_per_connection: 0,
            relay_port_min: 0,
            relay_port_max: 0,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Network {
    pub(crate) id: String,
    pub(crate) network_id: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) topology: Option<Topology>,
    #[serde(default)]
    signaling: Signaling,
    #[serde(default)]
    stun_servers: Option<Vec<Stun>>,
    #[serde(default)]
    turn_servers: Option<Vec<Turn>>,
    #[serde(default)]
    pub(crate) roster_path: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned_peers: Option<Vec<String>>,
    #[serde(default)]
    auto_approve: bool,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    #[default]
    Open,
    Closed,
    Silent,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Topology {
    Ring {
        #[serde(default)]
        n_preferred: Option<u32>,
    },
    Star {
        hub: String,
    },
    FullMesh,
    Hubs {
        hubs: Vec<String>,
        #[serde(default)]
        spoke_redundancy: u32,
    },
}

#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default)]
struct Signaling {
    strategy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    mdns: Option<bool>,
    servers: Vec<String>,
    redundancy: u32,
    denylist: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_fallback: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listen_only: Option<bool>,
}

impl Default for Signaling {
    fn default() -> Self {
        Self {
            strategy: "nostr".to_owned(),
            mdns: None,
            servers: Vec::new(),
            redundancy: 5,
            denylist: vec!["relay.damus.io".to_owned(), "chorus.pjv.me".to_owned()],
            public_fallback: None,
            listen_only: None,
        }
    }
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Stun {
    urls: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct Turn {
    urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<String>,
}

impl Config {
    /// Parses a config as a daemon of this version does.
    pub(crate) fn parse(bytes: &[u8], version: Version) -> Result<Self, String> {
        let mut config: Self = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        if config.version.is_some_and(|found| found > version.config()) {
            let (found, newest) = (config.version.unwrap_or_default(), version.config());
            return Err(match version {
                Version::V012 => {
                    format!("config: config version {found} unsupported (this build expects v{newest})")
                }
                _ => format!("config version {found} is newer than this daemon's {newest}"),
            });
        }
        config.fill(version)?;
        Ok(config)
    }

    /// Returns the config of a daemon that finds none.
    pub(crate) fn fresh(version: Version) -> Self {
        let mut config = Self {
            version: None,
            identity_path: None,
            auto_update: AutoUpdate::default(),
            auto_cleanup: AutoCleanup::default(),
            daemon: DaemonSection::default(),
            services: None,
            networks: Vec::new(),
        };
        // Cannot fail: there is no network that `fill` could refuse.
        let _ = config.fill(version);
        config
    }

    fn fill(&mut self, version: Version) -> Result<(), String> {
        self.version = Some(version.config());
        let auto_apply = match version {
            Version::V012 => "patch",
            Version::V038 => "all",
        };
        self.auto_update.auto_apply.get_or_insert_with(|| auto_apply.to_owned());
        self.services = match version {
            Version::V012 => None,
            Version::V038 => Some(self.services.take().unwrap_or_default()),
        };
        self.networks.iter_mut().try_for_each(|network| network.fill(version))
    }
}

impl Network {
    /// Parses a network from a request.
    pub(crate) fn parse(value: Value, version: Version) -> Result<Self, String> {
        let mut network: Self = serde_json::from_value(value).map_err(|e| e.to_string())?;
        network.fill(version)?;
        Ok(network)
    }

    /// Fills in the defaults of the version, and drops members that it does not know. Fails for an
    /// unknown variant.
    fn fill(&mut self, version: Version) -> Result<(), String> {
        let urls = |urls: &[&str]| urls.iter().map(|url| (*url).to_owned()).collect::<Vec<_>>();
        let signaling = &mut self.signaling;
        match version {
            Version::V012 => {
                if self.kind == Kind::Silent {
                    return Err("unknown variant `silent`, expected `open` or `closed`".to_owned());
                }
                if matches!(self.topology, Some(Topology::Hubs { .. })) {
                    return Err(
                        "unknown variant `hubs`, expected one of `ring`, `star`, `full_mesh`".to_owned()
                    );
                }
                self.topology.get_or_insert(Topology::Ring { n_preferred: None });
                self.stun_servers.get_or_insert_with(|| {
                    vec![Stun {
                        urls: urls(&[
                            "stun:stun.l.google.com:19302",
                            "stun:stun1.l.google.com:19302",
                            "stun:stun.cloudflare.com:3478",
                        ]),
                    }]
                });
                self.turn_servers.get_or_insert_with(Vec::new);
                self.pinned_peers = None;
                (signaling.mdns, signaling.public_fallback, signaling.listen_only) = (None, None, None);
            }
            Version::V038 => {
                self.topology.get_or_insert(Topology::FullMesh);
                self.stun_servers
                    .get_or_insert_with(|| vec![Stun { urls: urls(&["stun:stun.myownmesh.com:3478"]) }]);
                self.turn_servers.get_or_insert_with(|| {
                    vec![Turn {
                        urls: urls(&[
                            "turn:turn.myownmesh.com:3478",
                            "turn:turn.myownmesh.com:3478?transport=tcp",
                            "turns:turn.myownmesh.com:5349?transport=tcp",
                        ]),
                        username: Some("guest".to_owned()),
                        credential: Some("theguestpassword".to_owned()),
                    }]
                });
                self.pinned_peers.get_or_insert_with(Vec::new);
                signaling.mdns.get_or_insert(true);
                signaling.public_fallback.get_or_insert(true);
                signaling.listen_only.get_or_insert(false);
            }
        }
        Ok(())
    }

    pub(crate) fn counts(&self) -> (usize, usize) {
        let stun = self.stun_servers.iter().flatten().map(|group| group.urls.len()).sum();
        let turn = self.turn_servers.iter().flatten().map(|group| group.urls.len()).sum();
        (stun, turn)
    }

    pub(crate) fn auto_approve(&self) -> bool {
        self.auto_approve
    }
}

/// `.secrets/identity.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct IdentityFile {
    pub(crate) version: u32,
    pub(crate) created_at: String,
    pub(crate) secret_key: String,
    pub(crate) public_key: String,
    pub(crate) label: String,
}

/// `mesh/rosters/ID.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Roster {
    pub(crate) version: u64,
    pub(crate) network_id: String,
    pub(crate) authorized_devices: Vec<Device>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Device {
    pub(crate) device_id: String,
    #[serde(default)]
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) approved_at: u64,
    #[serde(default = "member")]
    pub(crate) role: String,
}

fn member() -> String {
    "member".to_owned()
}

/// `mesh/states/ID.json`.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct State {
    pub(crate) version: u64,
    pub(crate) network_id: String,
    pub(crate) kind: Kind,
    pub(crate) roles: BTreeMap<String, String>,
    pub(crate) transitions: Vec<Transition>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) member_log: Option<Vec<Value>>,
    pub(crate) pending: Vec<Proposal>,
    pub(crate) splits: Vec<Value>,
    /// The outer `Option` says whether the version has the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) topology: Option<Option<Value>>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Variant {
    pub(crate) kind: String,
    pub(crate) to: Kind,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Transition {
    pub(crate) at: u64,
    pub(crate) variant: Variant,
    pub(crate) signers: Vec<String>,
    pub(crate) signatures: Vec<String>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Proposal {
    pub(crate) id: String,
    pub(crate) created_at: u64,
    pub(crate) proposer: String,
    pub(crate) variant: Variant,
    pub(crate) signers: Vec<String>,
    pub(crate) signatures: Vec<String>,
    pub(crate) deniers: Vec<String>,
    pub(crate) split_spawned: bool,
}

impl State {
    pub(crate) fn fresh(network: &Network, version: Version) -> Self {
        let newer = version == Version::V038;
        Self {
            version: if newer { 2 } else { 1 },
            network_id: network.network_id.clone(),
            kind: network.kind,
            roles: BTreeMap::new(),
            transitions: Vec::new(),
            member_log: newer.then(Vec::new),
            pending: Vec::new(),
            splits: Vec::new(),
            topology: newer.then_some(None),
        }
    }
}
