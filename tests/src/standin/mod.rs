//! A daemon that stands in for the real one.
//!
//! It speaks the control protocol of 0.1.2 or 0.3.8, keeps identity, rosters, states and config in
//! the formats of the real daemon, and has its bug: on `network_add` it reads any `config.json` in
//! its home, drops unknown keys, and writes its own shape back. It connects to no peer.
//!
//! `stand-in-daemon serve` reads, besides `MYOWNMESH_HOME`:
//! - `STAND_IN_VERSION`: `0.3.8` (default) or `0.1.2`;
//! - `STAND_IN_MODE`: its faults (see `mode.rs`);
//! - `STAND_IN_THEN`: the faults of the other stand-in, to which this one hands its socket over
//!   (mode `hands-over`);
//! - `STAND_IN_TRACE`: a file to which each request line is appended. Beside the file,
//!   `.connections` gets a line for each connection, and `.ready` holds the time at which the
//!   stand-in began to listen, in nanoseconds since 1970.

mod key;
mod mode;
mod ops;
#[cfg(windows)]
mod pipe;
mod server;
mod shape;
mod store;

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Map, Value, json};

use self::{
    key::Key,
    mode::Modes,
    ops::{Ops012, Ops038},
    shape::{Config, Device, Kind, Network, Proposal, Roster, State, Transition, Variant},
    store::Store,
};

/// The daemon version that the stand-in imitates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// The oldest version in use: writes in place, config version 1.
    V012,
    /// The newest version: writes through a temporary file, config version 3, knows
    /// `network_update`.
    V038,
}

impl Version {
    /// Parses the version's name, if it is one of the two.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "0.1.2" => Some(Self::V012),
            "0.3.8" => Some(Self::V038),
            _ => None,
        }
    }

    /// Returns the version's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::V012 => "0.1.2",
            Self::V038 => "0.3.8",
        }
    }

    /// Returns the config version that this daemon writes.
    fn config(self) -> u64 {
        match self {
            Self::V012 => 1,
            Self::V038 => 3,
        }
    }
}

/// The settings of a stand-in, from the environment.
#[derive(Clone, Debug)]
pub struct Settings {
    home: PathBuf,
    version: Version,
    modes: Modes,
    trace: Option<PathBuf>,
}

impl Settings {
    /// Reads the settings from variables, as the program gets them. As in the real daemon, a
    /// `MYOWNMESH_HOME` that is not UTF-8 counts as unset, and unset means `~/.myownmesh`.
    ///
    /// # Errors
    /// Fails for an unknown version or mode, or if no home is named.
    pub fn from_vars(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let home = match (var("MYOWNMESH_HOME"), var("HOME")) {
            (Some(home), _) if !home.is_empty() => PathBuf::from(home),
            (_, Some(user)) => Path::new(&user).join(".myownmesh"),
            (_, None) => return Err("neither MYOWNMESH_HOME nor HOME is set".to_owned()),
        };
        let version = match var("STAND_IN_VERSION").filter(|version| !version.is_empty()) {
            Some(version) => Version::parse(&version)
                .ok_or_else(|| format!("STAND_IN_VERSION: no such version: {version}"))?,
            None => Version::V038,
        };
        let modes = Modes::parse(&var("STAND_IN_MODE").unwrap_or_default())?;
        let trace = var("STAND_IN_TRACE").filter(|trace| !trace.is_empty()).map(PathBuf::from);
        Ok(Self { home, version, modes, trace })
    }
}

/// Runs the daemon until a signal or a fault ends it. Returns the exit code.
pub fn serve(settings: Settings) -> u8 {
    server::serve(settings)
}

/// The daemon's state, apart from its socket.
struct Daemon {
    version: Version,
    modes: Modes,
    store: Store,
    key: Key,
    config: Config,
    joined: Vec<Network>,
    states: Vec<State>,
    /// The events that wait to be pushed.
    events: Vec<Value>,
    clients: AtomicU64,
}

/// Rewrites addresses into another form with the same meaning.
fn reword(value: &mut Value) {
    const PORTS: [(&str, &str); 3] = [("wss://", ":443/"), ("stun:", ":3478"), ("turn:", ":3478")];
    match value {
        Value::Object(members) => members.values_mut().for_each(reword),
        Value::Array(items) => items.iter_mut().for_each(reword),
        Value::String(text) => {
            if let Some((scheme, port)) = PORTS.iter().find(|(scheme, _)| text.starts_with(scheme)) {
                let has_port = text[scheme.len()..].contains(':');
                *text = text.to_uppercase() + if has_port { "" } else { port };
            }
        }
        _ => {}
    }
}

/// The outcome of a request: `data` or `error`.
type Answer = Result<Value, String>;

impl Daemon {
    fn start(settings: &Settings) -> Result<Self, String> {
        let Settings { version, modes, .. } = settings.clone();
        let store = Store::open(&settings.home, version).map_err(|e| format!("home: {e}"))?;
        let config = load_config(&store, version)?;
        // The released daemons parse `identity_path` and never read it.
        let identity = store.identity();
        let key = match store.read(&identity).map_err(|e| format!("identity: {e}"))? {
            Some(bytes) => Key::parse(&bytes).map_err(|e| format!("identity: {e}"))?,
            None => {
                let key = Key::mint().map_err(|e| format!("identity: {e}"))?;
                let text = serde_json::to_string_pretty(&key.file).map_err(|e| e.to_string())?;
                store.write_private(&identity, &text).map_err(|e| format!("identity: {e}"))?;
                key
            }
        };
        let key = if modes.has("other-key") { Key::mint().map_err(|e| e.to_string())? } else { key };
        let joined = config.networks.clone();
        let clients = AtomicU64::new(0);
        let mut daemon = Self {
            version,
            modes,
            store,
            key,
            config,
            joined,
            states: Vec::new(),
            events: Vec::new(),
            clients,
        };
        for network in daemon.joined.clone() {
            daemon.load_state(&network)?;
        }
        Ok(daemon)
    }

    /// Answers one request line.
    fn answer(&mut self, line: &str) -> Value {
        match self.ask(line) {
            Ok(data) => json!({"ok": true, "data": data}),
            Err(error) => json!({"ok": false, "error": error}),
        }
    }

    fn ask(&mut self, line: &str) -> Answer {
        let parse = |e: serde_json::Error| format!("parse: {e}");
        match self.version {
            Version::V038 if !self.modes.has("no-update") => {
                serde_json::from_str::<Ops038>(line).map(drop).map_err(parse)?;
            }
            _ => serde_json::from_str::<Ops012>(line).map(drop).map_err(parse)?,
        }
        let request: Map<String, Value> = serde_json::from_str(line).map_err(parse)?;
        let field = |name: &str| match request.get(name) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("parse: invalid type for `{name}`, expected a string")),
            None => Err(format!("parse: missing field `{name}`")),
        };
        match request.get("op").and_then(Value::as_str).unwrap_or_default() {
            "status" => Ok(self.status()),
            "identity_show" => Ok(self.identity()),
            "identity_set_label" => {
                self.key.file.label = field("label")?;
                self.save_identity()?;
                Ok(self.identity())
            }
            "networks_list" => Ok(self.networks_list()),
            "config_show" => Ok(json!({"config": self.config})),
            "network_add" => self.network_add(&request),
            "network_update" => self.network_update(&request),
            "network_remove" => self.network_remove(&field("network")?),
            "network_id_generate" => {
                key::random_name(8).map(|id| json!({"network_id": id})).map_err(|e| e.to_string())
            }
            "network_id_normalize" => normalize(&field("input")?).map(|id| json!({"network_id": id})),
            "roster_list" => {
                let network = self.find(&field("network")?)?;
                Ok(json!({"roster": self.roster(&network)?.authorized_devices}))
            }
            "roster_approve" => {
                let network = self.find(&field("network")?)?;
                let device_id = field("device_id")?;
                let label = field("label").unwrap_or_default();
                self.approve(&network, &device_id, &label, "member")?;
                Ok(json!({"approved": device_id}))
            }
            "roster_remove" => {
                let network = self.find(&field("network")?)?;
                let device_id = field("device_id")?;
                let mut roster = self.roster(&network)?;
                roster.authorized_devices.retain(|device| device.device_id != device_id);
                self.save_roster(&network, &roster)?;
                Ok(json!({"removed": device_id}))
            }
            "governance_state" => {
                let network = self.find(&field("network")?)?;
                let state = self.state(&network);
                Ok(match self.version {
                    Version::V012 => json!({"state": state}),
                    Version::V038 => json!({"evicted": [], "state": state}),
                })
            }
            "governance_propose_kind_change" => {
                let network = self.find(&field("network")?)?;
                let to = match field("to")?.as_str() {
                    "open" => Kind::Open,
                    "closed" => Kind::Closed,
                    other => {
                        return Err(format!("parse: unknown variant `{other}`, expected `open` or `closed`"));
                    }
                };
                self.propose_kind_change(&network, to)
            }
            "events_subscribe" => {
                let client = self.clients.fetch_add(1, Ordering::Relaxed);
                Ok(json!({"subscribed": true, "client_id": format!("c{client}")}))
            }
            other => Err(format!("{other}: not played by the stand-in")),
        }
    }

    fn status(&self) -> Value {
        let version = match self.modes.has("wrong-version") {
            true => self.modes.argument("wrong-version").unwrap_or("0.0.1"),
            false => self.version.name(),
        };
        let joined: Vec<&str> = self.joined.iter().map(|network| network.network_id.as_str()).collect();
        let mut status =
            json!({"version": version, "device_id": self.key.device_id(), "joined_networks": joined});
        if self.version == Version::V038 {
            status["media_lanes"] = 8.into();
            status["media_pipes"] = true.into();
        }
        status
    }

    fn identity(&self) -> Value {
        let file = &self.key.file;
        json!({"device_id": self.key.device_id(), "pubkey": file.public_key, "label": file.label})
    }

    fn networks_list(&self) -> Value {
        let mut networks: Vec<&Network> = self.joined.iter().collect();
        networks.sort_by(|a, b| a.id.cmp(&b.id));
        let networks: Vec<Value> = networks
            .into_iter()
            .map(|network| {
                let mut entry = summary(network);
                if self.version == Version::V038 {
                    entry["traffic"] = traffic();
                }
                entry
            })
            .collect();
        json!({"networks": networks})
    }

    fn network_add(&mut self, request: &Map<String, Value>) -> Answer {
        let mut network = self.network_in(request)?;
        if self.joined.iter().any(|joined| joined.id == network.id) {
            return Err(format!("config id '{}' already in use", network.id));
        }
        if self.joined.iter().any(|joined| joined.network_id == network.network_id) {
            return Err(format!(
                "network id '{}' already joined under a different config",
                network.network_id
            ));
        }
        network.network_id = normalize(&network.network_id).map_err(|e| format!("join: {e}"))?;
        if let Some(text) = self.modes.refusal("refuse-add") {
            return Err(text);
        }
        let added = network.clone();
        self.change_config(|config| config.networks.push(added))?;
        self.load_state(&network)?;
        self.joined.push(network.clone());
        self.tell_about(&network);
        Ok(json!({"added": summary(&network)}))
    }

    fn network_update(&mut self, request: &Map<String, Value>) -> Answer {
        let network = self.network_in(request)?;
        if let Some(text) = self.modes.refusal("refuse-update") {
            return Err(text);
        }
        let found = self.joined.iter_mut().find(|joined| joined.id == network.id);
        let found = found.ok_or_else(|| format!("unknown network: {}", network.id))?;
        if self.modes.has("lying-update") {
            return Ok(json!({"updated": summary(found)}));
        }
        *found = network.clone();
        let updated = network.clone();
        self.change_config(|config| match config.networks.iter_mut().find(|entry| entry.id == updated.id) {
            Some(entry) => *entry = updated,
            None => config.networks.push(updated),
        })?;
        Ok(json!({"updated": summary(&network)}))
    }

    fn network_remove(&mut self, name: &str) -> Answer {
        let network = self.find(name)?;
        if let Some(text) = self.modes.refusal("refuse-remove") {
            return Err(text);
        }
        self.joined.retain(|joined| joined.id != network.id);
        self.states.retain(|state| state.network_id != network.network_id);
        self.change_config(|config| config.networks.retain(|entry| entry.id != network.id))?;
        Ok(json!({"removed": network.id}))
    }

    fn network_in(&self, request: &Map<String, Value>) -> Result<Network, String> {
        let mut config = request.get("config").cloned().ok_or("parse: missing field `config`")?;
        if self.modes.has("rewords") {
            reword(&mut config);
        }
        Network::parse(config, self.version).map_err(|e| format!("parse: {e}"))
    }

    /// Finds a network by its config id or network id.
    fn find(&self, name: &str) -> Result<Network, String> {
        let by_id = self.joined.iter().find(|network| network.id == name);
        let found = by_id.or_else(|| self.joined.iter().find(|network| network.network_id == name));
        found.cloned().ok_or_else(|| format!("unknown network: {name}"))
    }

    /// The bug: reads any `config.json` in the home, drops unknown keys, and writes the daemon's
    /// shape back.
    fn change_config(&mut self, change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = load_config(&self.store, self.version)?;
        change(&mut config);
        let text = serde_json::to_string_pretty(&config).map_err(|e| e.to_string())?;
        if let Some(bytes) = self.modes.number("dies-writing") {
            self.store.write_torn_config(&text, bytes);
            std::process::exit(3);
        }
        self.store.write_config(&text).map_err(|e| format!("config: {e}"))?;
        self.config = config;
        Ok(())
    }

    fn save_identity(&self) -> Result<(), String> {
        let identity = self.store.identity();
        let text = serde_json::to_string_pretty(&self.key.file).map_err(|e| e.to_string())?;
        self.store.write_private(&identity, &text).map_err(|e| format!("identity: {e}"))
    }

    fn roster_path(&self, network: &Network) -> PathBuf {
        match &network.roster_path {
            Some(path) => PathBuf::from(path),
            None => self.store.roster(&network.network_id),
        }
    }

    fn roster(&self, network: &Network) -> Result<Roster, String> {
        let path = self.roster_path(network);
        let empty =
            || Roster { version: 1, network_id: network.network_id.clone(), authorized_devices: Vec::new() };
        read_or_set_aside(&self.store, self.version, &path, "roster")
            .map(|roster| roster.unwrap_or_else(empty))
    }

    fn save_roster(&self, network: &Network, roster: &Roster) -> Result<(), String> {
        let text = serde_json::to_string_pretty(roster).map_err(|e| e.to_string())?;
        self.store.write_private(&self.roster_path(network), &text).map_err(|e| format!("roster: {e}"))
    }

    fn approve(&self, network: &Network, device_id: &str, label: &str, role: &str) -> Result<(), String> {
        let mut roster = self.roster(network)?;
        roster.authorized_devices.retain(|device| device.device_id != device_id);
        roster.authorized_devices.push(Device {
            device_id: device_id.to_owned(),
            label: label.to_owned(),
            approved_at: key::now(),
            role: role.to_owned(),
        });
        self.save_roster(network, &roster)
    }

    fn load_state(&mut self, network: &Network) -> Result<(), String> {
        let path = self.store.state(&network.network_id);
        let found: Option<State> = read_or_set_aside(&self.store, self.version, &path, "state")?;
        let mut state = found.unwrap_or_else(|| State::fresh(network, self.version));
        if self.version == Version::V038 {
            state.version = 2;
            state.topology.get_or_insert(None);
            state.member_log.get_or_insert_with(Vec::new);
        }
        self.states.push(state);
        Ok(())
    }

    fn state(&self, network: &Network) -> State {
        let found = self.states.iter().find(|state| state.network_id == network.network_id);
        found.cloned().unwrap_or_else(|| State::fresh(network, self.version))
    }

    /// Version 0.1.2 waits for other signatures; 0.3.8 needs only its own, and becomes the owner.
    fn propose_kind_change(&mut self, network: &Network, to: Kind) -> Answer {
        let mut noise = [0; 8];
        key::random(&mut noise).map_err(|e| e.to_string())?;
        let id = format!("prop_{:016x}", u64::from_be_bytes(noise));
        let us = self.key.file.public_key.clone();
        let variant = Variant { kind: "kind_change".to_owned(), to };
        let message = format!("{}:{id}", network.network_id);
        let (signers, signatures) = (vec![us.clone()], vec![self.key.sign(message.as_bytes())]);
        let at = key::now();
        let mut state = self.state(network);
        match self.version {
            Version::V012 => state.pending.push(Proposal {
                id: id.clone(),
                created_at: at,
                proposer: us,
                variant,
                signers,
                signatures,
                deniers: Vec::new(),
                split_spawned: false,
            }),
            Version::V038 => {
                state.kind = to;
                state.roles.insert(us.clone(), "owner".to_owned());
                state.transitions.push(Transition { at, variant, signers, signatures });
                self.approve(network, &us, "", "owner")?;
            }
        }
        let text = serde_json::to_string_pretty(&state).map_err(|e| e.to_string())?;
        self.store
            .write_private(&self.store.state(&network.network_id), &text)
            .map_err(|e| format!("state: {e}"))?;
        self.states.retain(|other| other.network_id != state.network_id);
        self.states.push(state);
        Ok(json!({"proposal_id": id}))
    }

    /// Queues the events that a real daemon pushes when it has joined a network.
    fn tell_about(&mut self, network: &Network) {
        let (stun, turn) = network.counts();
        let driver = match self.version {
            Version::V012 => "engine driver starting",
            Version::V038 => "driver starting",
        };
        let servers = match turn {
            0 => format!(
                "ICE servers: {stun} STUN URL(s), no TURN configured (CGNAT / phone-hotspot will fail to \
                    connect)"
            ),
            _ => format!("ICE servers: {stun} STUN URL(s), {turn} TURN URL(s)"),
        };
        let detail = json!({"auto_approve": network.auto_approve(), "stun_count": stun, "turn_count": turn});
        let mut said = vec![
            (
                "info",
                "signaling",
                "online — listening for peers in room 0523f85888e6… (5 relays)".to_owned(),
                Value::Null,
            ),
            ("info", "engine", driver.to_owned(), Value::Null),
            ("info", "engine", servers, detail),
        ];
        if self.version == Version::V038 {
            let tickers = [
                "ice-watchdog",
                "network-watch",
                "reconnect-supervisor",
                "reliable-send",
                "topology-shape",
                "media-renegotiation",
            ];
            let registry = format!("state-watch tick registry: {tickers:?}");
            said.push(("debug", "engine", registry, json!({"tickers": tickers})));
            let lan = "LAN signaling online — advertising on this network via mDNS".to_owned();
            said.push(("info", "signaling", lan, Value::Null));
        }
        for (level, category, message, detail) in said {
            self.events.push(json!({"kind": "event", "event": {
                "event_kind": "diag",
                "ts": key::now() * 1000,
                "network_id": network.network_id,
                "level": level,
                "category": category,
                "message": message,
                "detail": detail,
            }}));
        }
    }
}

fn load_config(store: &Store, version: Version) -> Result<Config, String> {
    let path = store.config();
    let Some(bytes) = store.read(&path).map_err(|e| format!("config: {e}"))? else {
        return Ok(Config::fresh(version));
    };
    match Config::parse(&bytes, version) {
        Ok(config) => Ok(config),
        // A newer config is an error. A broken one is an error in 0.1.2; 0.3.8 renames it.
        Err(e) if version == Version::V012 || e.contains("is newer than") => Err(format!("config: {e}")),
        Err(_) => {
            store.set_aside_corrupt(&path).map_err(|e| format!("config: {e}"))?;
            Ok(Config::fresh(version))
        }
    }
}

fn read_or_set_aside<T: serde::de::DeserializeOwned>(
    store: &Store,
    version: Version,
    path: &Path,
    what: &str,
) -> Result<Option<T>, String> {
    let Some(bytes) = store.read(path).map_err(|e| format!("{what}: {e}"))? else { return Ok(None) };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(e) if version == Version::V012 => Err(format!("{what}: {e}")),
        Err(_) => {
            store.set_aside_corrupt(path).map_err(|e: io::Error| format!("{what}: {e}"))?;
            Ok(None)
        }
    }
}

fn summary(network: &Network) -> Value {
    json!({
        "config_id": network.id,
        "network_id": network.network_id,
        "label": network.label,
        "phase": "joining",
        "topology": network.topology,
    })
}

fn traffic() -> Value {
    let mut traffic = Map::new();
    for counter in [
        "announces_rx",
        "announces_tx",
        "negotiation_rx",
        "negotiation_tx",
        "relayed_forwarded",
        "reliable_pending",
    ] {
        traffic.insert(counter.to_owned(), 0.into());
    }
    for pair in ["app", "control", "gossip", "keepalive", "other"] {
        for way in ["rx", "tx"] {
            traffic.insert(format!("{pair}_{way}"), json!({"bytes": 0, "frames": 0}));
        }
    }
    Value::Object(traffic)
}

/// Returns a network id in its normal form, or the error text of the real daemon.
fn normalize(id: &str) -> Result<String, String> {
    let id = id.trim().to_lowercase();
    if let Some(bad) = id.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_')) {
        return Err(format!(
            "identity: network id contains '{bad}'; only letters, digits, '-', and '_' are allowed"
        ));
    }
    match id.len() {
        3..=64 => Ok(id),
        length => Err(format!("identity: network id must be 3 to 64 characters, not {length}")),
    }
}
