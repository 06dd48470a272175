//! Judges a file in the daemon home as the daemon's own parser does. That parser takes less than
//! [`Document::parse`]: no byte order mark, no duplicate member, no member of another type.

// The members are read for their types alone.
#![allow(dead_code)]

use std::collections::BTreeMap;

use myownllm_json_document::{Document, ValueRef, recover};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::daemon_config::{NEWEST_VERSION, is_default_signaling, version_of};
use crate::path::{Path, child};

/// A file of which a daemon that cannot read it keeps one copy, `*.corrupt`: it renames the file
/// over the previous copy, and starts without the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DaemonFile {
    /// The daemon's config.
    Config,
    /// The approved peers of a network.
    Roster,
    /// The governance of a network.
    State,
}

/// Returns true if the bytes are those of an identity file or a custody file, whole or torn.
pub fn is_key_or_custody(bytes: &[u8]) -> bool {
    has(bytes, "secret_key") || has(bytes, "secret_b32")
}

/// Returns true if the bytes are those of a file that a daemon keeps beside its config, whole or
/// torn; of a governance state only whole ones.
pub fn is_daemon_state(bytes: &[u8]) -> bool {
    let is_state = || {
        let value = serde_json::from_slice::<Value>(bytes);
        value.is_ok_and(|value| value.get("network_id").is_some())
    };
    is_key_or_custody(bytes) || has(bytes, "authorized_devices") || is_state()
}

/// Returns true if the name of a member stands in the bytes.
fn has(bytes: &[u8], member: &str) -> bool {
    let name = format!("\"{member}\"");
    bytes.windows(name.len()).any(|part| part == name.as_bytes())
}

/// Returns the JSON Pointers of the settings in a daemon's config that a daemon may drop when it
/// writes the file again: those that no known daemon version (0.1.2 to 0.3.8) reads, and in a
/// config of version 1 also those that the first daemons do not know.
///
/// ```
/// use myownllm_config_model::{Document, droppable_settings};
/// let droppable = |text: &str| droppable_settings(&Document::parse(text.as_bytes()).unwrap().document);
/// let config = r#"{"version": 3, "acl": {"deny": ["x"]}, "services": {"turn": {"realm": "r"}},
///     "networks": [{"id": "n", "network_id": "home", "pinned_peers": ["p"], "new": 1}]}"#;
/// assert_eq!(droppable(config), ["/acl", "/networks/0/new"]);
/// let first = config.replace("\"version\": 3", "\"version\": 1");
/// assert_eq!(droppable(&first), ["/acl", "/networks/0/new", "/networks/0/pinned_peers"]);
/// ```
pub fn droppable_settings(config: &Document) -> Vec<String> {
    let file = config.root().to_value();
    let known = Config::deserialize(&file).ok().and_then(|known| serde_json::to_value(known).ok());
    let Some(mut known) = known else { return Vec::new() };
    if version_of(config).is_none_or(|version| version < 2) {
        let mut remove = |at: &str, key: &str| {
            known.pointer_mut(at).and_then(Value::as_object_mut).map(|members| members.remove(key));
        };
        let credentials = config.get(&["services", "turn", "credentials"]);
        let mut users = credentials.into_iter().flat_map(|credentials| credentials.items());
        // The user of the default credentials.
        if !users.all(|user| user.get("username").is_some_and(|name| name.is_str("guest"))) {
            remove("/services/turn", "credentials");
        }
        let networks = config.get(&["networks"]).into_iter().flat_map(|networks| networks.items());
        for (number, network) in networks.enumerate() {
            let at = format!("/networks/{number}");
            remove(&at, "pinned_peers");
            let signaling = network.get("signaling").into_iter().flat_map(|signaling| signaling.members());
            for (key, _) in signaling.filter(|(key, value)| !is_default_signaling(key, *value)) {
                let is_later = ["mdns", "public_fallback", "listen_only"].contains(&&*key);
                is_later.then(|| remove(&format!("{at}/signaling"), &key));
            }
        }
    }
    let mut found = Vec::new();
    add_missing(&file, &known, "", &mut found);
    found
}

/// Adds the JSON Pointers of the members of `value` that `known` does not have.
fn add_missing(value: &Value, known: &Value, at: &str, found: &mut Vec<String>) {
    for (key, member) in value.as_object().into_iter().flatten() {
        let at = child(at, key);
        match known.get(key) {
            Some(known) => add_missing(member, known, &at, found),
            None if member.is_null() || *member == json!([]) || *member == json!({}) => {}
            None => found.push(at),
        }
    }
    for (number, item) in value.as_array().into_iter().flatten().enumerate() {
        add_missing(item, &known[number], &child(at, &number.to_string()), found);
    }
}

/// The answers of [`DaemonFile::judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadCheck {
    /// See [`DaemonFile::is_readable`].
    pub is_readable: bool,
    /// True if a daemon wrote the file that is newer than the daemons that this crate knows. Such a
    /// daemon reads all of the file; an older one drops what it does not know when it writes the
    /// file again.
    pub is_newer: bool,
    /// The JSON Pointer of a kind of network, a topology or a role that no known daemon version
    /// (0.1.2 to 0.3.8) reads. Such a daemon drops the whole file.
    pub unknown_value: Option<String>,
}

impl DaemonFile {
    /// Returns true if a daemon can read the file. A file of a newer version counts as readable:
    /// only the daemon that wrote it can tell.
    ///
    /// ```
    /// use myownllm_config_model::DaemonFile;
    /// assert!(DaemonFile::Config.is_readable(br#"{"version": 3, "later": 1}"#));
    /// assert!(!DaemonFile::Config.is_readable(br#"{"version": "3"}"#));
    /// assert!(!DaemonFile::Config.is_readable(b"\xef\xbb\xbf{}"));
    /// assert!(!DaemonFile::Config.is_readable(
    ///     br#"{"networks": [{"id": "n", "network_id": "home", "kind": "Closed"}]}"#
    /// ));
    /// ```
    pub fn is_readable(self, bytes: &[u8]) -> bool {
        self.judge(bytes).is_readable
    }

    /// Gives all answers about a file at once: each start of a daemon judges every file.
    ///
    /// ```
    /// use myownllm_config_model::DaemonFile;
    /// let config = br#"{"networks": [{"id": "n", "network_id": "home", "topology": {"kind": "tree"}}]}"#;
    /// let judged = DaemonFile::Config.judge(config);
    /// assert_eq!(judged.unknown_value.unwrap(), "/networks/0/topology/kind");
    /// ```
    pub fn judge(self, bytes: &[u8]) -> ReadCheck {
        let newest = match self {
            Self::Config => NEWEST_VERSION,
            Self::Roster => 1,
            Self::State => 2,
        };
        let document = Document::parse(bytes).ok().map(|parsed| parsed.document);
        let is_accepted = std::str::from_utf8(bytes).is_ok_and(|text| self.accepts(text));
        let accepted = document.as_ref().filter(|_| is_accepted);
        let EnumValues { mended, unknown } = accepted.map(EnumValues::of).unwrap_or_default();
        let version = document.as_ref().and_then(version_of);
        let is_newer = unknown.is_some() || version.is_some_and(|version| version > newest);
        let is_readable = (is_accepted && mended.is_empty()) || is_newer;
        ReadCheck { is_readable, is_newer, unknown_value: unknown }
    }

    fn accepts(self, text: &str) -> bool {
        fn is<'t, T: Deserialize<'t>>(text: &'t str) -> bool {
            serde_json::from_str::<T>(text).is_ok()
        }
        match self {
            Self::Config => is::<Config>(text),
            Self::Roster => is::<Roster>(text),
            Self::State => is::<State>(text),
        }
    }

    /// Returns the part of a damaged file that a daemon can read, in plain UTF-8, and the JSON
    /// Pointers of the members that are left out. Returns `None` if a daemon can read nothing of
    /// it.
    ///
    /// ```
    /// use myownllm_config_model::DaemonFile;
    /// let damaged = b"\xef\xbb\xbf{\"version\": 3, \
    ///     \"services\": {\"turn\": {\"port\": \"x\", \"realm\": \"r\"}}}";
    /// let (mended, left_out) = DaemonFile::Config.mend(damaged).unwrap();
    /// assert_eq!(mended.get(&["services", "turn", "realm"]).unwrap().as_str().unwrap(), "r");
    /// assert_eq!(left_out, ["/services/turn/port"]);
    /// ```
    pub fn mend(self, damaged: &[u8]) -> Option<(Document, Vec<String>)> {
        let document = match Document::parse(damaged) {
            Ok(parsed) => parsed.document,
            Err(_) => recover(damaged)?.document,
        };
        let document = document.into_utf8();
        let spelling = EnumValues::of(&document);
        if spelling.mended.is_empty() && self.accepts(&document.to_text()) {
            return Some((document, Vec::new()));
        }
        // Of several members of one name, the value holds the last.
        let mut value = document.root().to_value();
        spelling.mend(&mut value);
        let left_out = self.remove_refused(&mut value);
        if self == Self::Roster && !left_out.is_empty() && value["authorized_devices"] == json!([]) {
            return None;
        }
        let text = serde_json::to_string_pretty(&value).ok()?;
        let mended = Document::parse(text.as_bytes()).ok().filter(|_| self.accepts(&text))?;
        Some((mended.document, left_out))
    }

    /// Removes what no daemon reads, and as little else as possible: of a network its members
    /// alone, of a roster whole devices, of a state what holds nothing. Returns the JSON Pointers.
    fn remove_refused(self, file: &mut Value) -> Vec<String> {
        let mut left_out = Vec::new();
        match (self, file.as_object_mut()) {
            (Self::Config, Some(members)) => {
                let networks = members.get_mut("networks").and_then(Value::as_array_mut);
                for (number, network) in networks.into_iter().flatten().enumerate() {
                    let at = format!("/networks/{number}");
                    let network = network.as_object_mut().into_iter();
                    network.for_each(|network| remove_refused(network, &at, &is_network, &mut left_out));
                }
                let is_accepted = |part: Value| self.accepts(&part.to_string());
                remove_refused(members, "", &is_accepted, &mut left_out);
            }
            (Self::Roster, Some(members)) => {
                let is_peer = |peer: &Value| serde_json::from_value::<Peer>(peer.clone()).is_ok();
                let peers = members.get_mut("authorized_devices").and_then(Value::as_array_mut);
                peers.into_iter().for_each(|peers| {
                    retain_items(peers, "/authorized_devices", &is_peer, &mut left_out);
                });
            }
            // The signed members stay as they are.
            (Self::State, Some(members)) => {
                for key in ["pending", "splits"] {
                    let member = members.entry(key).or_insert(Value::Null);
                    *member = if member.is_null() { json!([]) } else { member.take() };
                }
                members.retain(|key, member| key != "member_log" || !member.is_null());
            }
            _ => {}
        }
        left_out
    }
}

/// The words of a file that are of a closed list, and are not in it: kinds of networks, topologies
/// and roles.
#[derive(Default)]
struct EnumValues {
    /// The JSON Pointers of words in capitals, which no daemon reads, each with the right word.
    mended: Vec<(String, String)>,
    /// The JSON Pointer of a word that is of no list. A newer daemon may know it.
    unknown: Option<String>,
}

impl EnumValues {
    fn of(document: &Document) -> Self {
        let mut spelling = Self::default();
        spelling.visit(document.root(), "", &Path::Root);
        spelling
    }

    /// Visits a member of the name `name`.
    fn visit(&mut self, value: ValueRef<'_>, name: &str, at: &Path<'_>) {
        let known: &[&str] = match name {
            "kind" | "to" => &["open", "closed", "silent"],
            "topology_kind" => &["ring", "star", "hubs", "full_mesh"],
            "role" => &["member", "controller", "owner"],
            _ => &[],
        };
        if let Some(word) = value.as_str().filter(|word| !known.is_empty() && !known.contains(&&**word)) {
            let lower = word.to_lowercase();
            match known.contains(&&*lower) {
                true => self.mended.push((at.pointer(), lower)),
                false => self.unknown = Some(at.pointer()),
            }
        }
        for (number, item) in value.items().enumerate() {
            self.visit(item, name, &at.item(number));
        }
        for (key, member) in value.members() {
            let name = match (name, &*key) {
                ("topology" | "to", "kind") => "topology_kind",
                ("roles", _) => "role",
                // The kinds of transitions are no closed list.
                ("variant", "kind") => continue,
                (_, name @ ("kind" | "networks" | "topology" | "to" | "role" | "roles")) => name,
                (_, name @ ("authorized_devices" | "transitions" | "variant")) => name,
                _ => continue,
            };
            self.visit(member, name, &at.key(&key));
        }
    }

    /// Writes the words in lower case. Of several members of one name, the last one is in `value`,
    /// and may have another word.
    fn mend(&self, value: &mut Value) {
        for (at, word) in &self.mended {
            let place = value.pointer_mut(at);
            if let Some(place) =
                place.filter(|place| place.as_str().is_some_and(|is| is.to_lowercase() == *word))
            {
                *place = word.as_str().into();
            }
        }
    }
}

/// Returns the JSON Pointers of the members of a network, in the daemon's shape, that no daemon
/// takes.
pub(crate) fn refused_members(network: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    if let Some(members) = network.clone().as_object_mut() {
        remove_refused(members, "", &is_network, &mut refused);
    }
    refused
}

/// Returns a network in the daemon's shape with the words in lower case that a daemon knows so
/// alone.
pub(crate) fn with_known_words(network: Value) -> Value {
    let mut config = json!({ "networks": [network] });
    if let Ok(parsed) = Document::parse(config.to_string().as_bytes()) {
        EnumValues::of(&parsed.document).mend(&mut config);
    }
    config["networks"][0].take()
}

/// Returns true if a daemon takes these members of a network.
fn is_network(mut part: Value) -> bool {
    for id in ["id", "network_id"] {
        part[id] = part.get(id).cloned().unwrap_or_else(|| "".into());
    }
    serde_json::from_value::<Network>(part).is_ok()
}

fn retain_items(
    items: &mut Vec<Value>,
    at: &str,
    is_accepted: &dyn Fn(&Value) -> bool,
    left_out: &mut Vec<String>,
) {
    let mut number = 0;
    items.retain(|item| {
        let is_kept = is_accepted(item);
        left_out.extend((!is_kept).then(|| child(at, &number.to_string())));
        number += 1;
        is_kept
    });
}

/// Removes the members of `members`, at `path`, that `is_accepted` refuses, and as little else as
/// possible.
fn remove_refused(
    members: &mut Map<String, Value>,
    path: &str,
    is_accepted: &dyn Fn(Value) -> bool,
    left_out: &mut Vec<String>,
) {
    members.retain(|key, member| {
        let at = child(path, key);
        let alone = |member: Value| is_accepted(Value::Object(Map::from_iter([(key.clone(), member)])));
        if alone(member.clone()) {
            return true;
        }
        match member {
            Value::Object(inner) => remove_refused(inner, &at, &alone, left_out),
            Value::Array(items) => {
                let is_accepted = |item: &Value| alone(Value::Array(vec![item.clone()]));
                retain_items(items, &at, &is_accepted, left_out);
            }
            _ => {}
        }
        let is_kept = alone(member.clone());
        left_out.extend((!is_kept).then_some(at));
        is_kept
    });
}

/// Declares objects whose members may be absent.
macro_rules! optional {
    ($($name:ident { $($member:ident: $kind:ty),* })*) => {$(
        #[derive(Default, Deserialize, Serialize)]
        #[serde(default)]
        struct $name { $($member: $kind),* }
    )*};
}

/// Declares objects whose members, up to the `;`, must be there.
macro_rules! required {
    ($($name:ident { $($must:ident: $kind:ty),*; $($may:ident: $optional:ty),* })*) => {$(
        #[derive(Deserialize, Serialize)]
        struct $name { $($must: $kind,)* $(#[serde(default)] $may: $optional),* }
    )*};
}

optional! {
    Config {
        version: u32, identity_path: Option<String>, auto_update: Update, auto_cleanup: Cleanup,
        daemon: Process, services: Services, networks: Vec<Network>
    }
    Update {
        enabled: bool, channel: String, auto_apply: String, check_interval_hours: u32,
        stable_url: Option<String>, beta_url: Option<String>
    }
    Cleanup { updates: bool }
    Process { enabled: bool, control_socket: Option<String>, log_level: String }
    Services { node: Node, relay: Relay, signaling: SignalingService, stun: Stun, turn: Turn }
    Node { enabled: bool }
    Relay { enabled: bool, max_fanout: u32 }
    SignalingService { enabled: bool, bind: String, port: u16, limits: Limits }
    Limits {
        max_event_rate: u32, max_req_rate: u32, max_subscriptions: u32, max_filters_per_req: u32,
        max_message_bytes: u32, max_connections_per_ip: u32
    }
    Stun { enabled: bool, bind: String, port: u16 }
    Turn {
        enabled: bool, tcp_enabled: bool, bind: String, port: u16, public_ip: String, realm: String,
        credentials: Vec<Credential>, max_bps_per_connection: u64, relay_port_min: u16, relay_port_max: u16
    }
    Signaling {
        strategy: String, mdns: bool, servers: Vec<String>, redundancy: u32, denylist: Vec<String>,
        public_fallback: bool, listen_only: bool
    }
}

required! {
    Credential { username: String, password: String; }
    Network {
        id: String, network_id: String;
        label: String, kind: String, topology: Topology, signaling: Signaling, stun_servers: Vec<StunServer>,
        turn_servers: Vec<TurnServer>, roster_path: Option<String>, pinned_peers: Vec<String>,
        auto_approve: bool
    }
    StunServer { urls: Vec<String>; }
    TurnServer { urls: Vec<String>; username: Option<String>, credential: Option<String> }
    Roster { version: u32, network_id: String, authorized_devices: Vec<Peer>; }
    Peer { device_id: String, label: String, approved_at: u64; role: String }
    State {
        version: u32, network_id: String, kind: String, roles: BTreeMap<String, String>,
        transitions: Vec<Transition>, pending: Vec<Proposal>, splits: Vec<Split>;
        member_log: Vec<Transition>, topology: Option<Topology>
    }
    Transition { at: u64, variant: Variant, signers: Vec<String>, signatures: Vec<String>; }
    Proposal {
        id: String, created_at: u64, proposer: String, variant: Variant, signers: Vec<String>,
        signatures: Vec<String>, deniers: Vec<String>, split_spawned: bool;
    }
    Split { new_network_id: String, spawned_at: u64, spawned_by: String, members: Vec<String>; }
}

/// A change of a network's governance. A kind that this crate does not know may be one of a newer
/// daemon's.
#[derive(Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Variant {
    KindChange {
        to: String,
    },
    RoleGrant {
        target: String,
        role: String,
    },
    RoleRevoke {
        target: String,
    },
    Evict {
        target: String,
    },
    Split {
        new_network_id: String,
        members: Vec<String>,
    },
    TopologyChange {
        to: Topology,
    },
    #[serde(other)]
    Other,
}

/// A kind that this crate does not know may be one of a newer daemon's.
#[derive(Default, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Topology {
    Ring {
        #[serde(default)]
        n_preferred: Option<u32>,
    },
    Star {
        hub: String,
    },
    Hubs {
        hubs: Vec<String>,
        #[serde(default)]
        spoke_redundancy: Option<u32>,
    },
    #[default]
    #[serde(other)]
    Other,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_of_a_network_that_no_daemon_takes_is_refused() {
        let network = json!({"id": "n", "network_id": "home", "stun_servers": [{"urls": [5]}]});
        assert_eq!(refused_members(&network), ["/stun_servers/0"]);
    }

    #[test]
    fn network_of_the_app_has_the_words_of_the_daemon() {
        let network = json!({"kind": "Closed", "topology": {"kind": "Ring"}, "label": "Closed"});
        let known = json!({"kind": "closed", "topology": {"kind": "ring"}, "label": "Closed"});
        assert_eq!(with_known_words(network), known);
    }
}
