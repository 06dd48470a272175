//! Judges a file in the daemon home as the daemon's own parser does. That parser takes less than
//! [`Document::parse`]: no byte order mark, no duplicate member, no member of another type.

// The members are read for their types alone.
#![allow(dead_code)]

use std::collections::BTreeMap;

use myownllm_json_document::{Document, ValueRef, recover};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::daemon_config::{NEWEST_VERSION, version_of};
use crate::path::{Path, child};

/// A file of which a daemon that cannot read it keeps one copy, `*.corrupt`: it renames the file
/// over the former copy, and starts without the content.
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

/// The answers of [`DaemonFile::judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct JudgedFile {
    /// See [`DaemonFile::is_readable`].
    pub is_readable: bool,
    /// See [`DaemonFile::is_newer`].
    pub is_newer: bool,
    /// See [`DaemonFile::unknown_word`].
    pub unknown_word: Option<String>,
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

    /// Returns the JSON Pointer of a kind of network, a topology or a role that the daemons that
    /// this crate knows do not know. Such a daemon drops the whole file.
    ///
    /// ```
    /// use myownllm_config_model::DaemonFile;
    /// let config = br#"{"networks": [{"id": "n", "network_id": "home", "topology": {"kind": "tree"}}]}"#;
    /// assert_eq!(DaemonFile::Config.unknown_word(config).unwrap(), "/networks/0/topology/kind");
    /// ```
    pub fn unknown_word(self, bytes: &[u8]) -> Option<String> {
        self.judge(bytes).unknown_word
    }

    /// Returns true if a daemon wrote the file that is newer than the daemons that this crate
    /// knows. Such a daemon reads all of the file; an older one drops what it does not know when it
    /// writes the file again.
    pub fn is_newer(self, bytes: &[u8]) -> bool {
        self.judge(bytes).is_newer
    }

    /// Gives all answers about a file at once: each start of a daemon judges every file.
    pub fn judge(self, bytes: &[u8]) -> JudgedFile {
        let newest = match self {
            Self::Config => NEWEST_VERSION,
            Self::Roster => 1,
            Self::State => 2,
        };
        let document = Document::parse(bytes).ok().map(|parsed| parsed.document);
        let is_accepted = std::str::from_utf8(bytes).is_ok_and(|text| self.accepts(text));
        let accepted = document.as_ref().filter(|_| is_accepted);
        let Spelling { mended, unknown } = accepted.map(Spelling::of).unwrap_or_default();
        let version = document.as_ref().and_then(version_of);
        let is_newer = unknown.is_some() || version.is_some_and(|version| version > newest);
        let is_readable = (is_accepted && mended.is_empty()) || is_newer;
        JudgedFile { is_readable, is_newer, unknown_word: unknown }
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
        let spelling = Spelling::of(&document);
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
}

impl DaemonFile {
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
struct Spelling {
    /// The JSON Pointers of words in capitals, which no daemon reads, each with the right word.
    mended: Vec<(String, String)>,
    /// The JSON Pointer of a word that is of no list. A newer daemon may know it.
    unknown: Option<String>,
}

impl Spelling {
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
///
/// ```
/// use myownllm_config_model::refused_members;
/// let network = serde_json::json!({"id": "n", "network_id": "home", "stun_servers": [{"urls": [5]}]});
/// assert_eq!(refused_members(&network), ["/stun_servers/0"]);
/// ```
pub fn refused_members(network: &Value) -> Vec<String> {
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
        Spelling::of(&parsed.document).mend(&mut config);
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
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct $name { $($member: $kind),* }
    )*};
}

/// Declares objects whose members, up to the `;`, must be there.
macro_rules! required {
    ($($name:ident { $($must:ident: $kind:ty),*; $($may:ident: $optional:ty),* })*) => {$(
        #[derive(Deserialize)]
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
#[derive(Deserialize)]
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
#[derive(Default, Deserialize)]
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
    use rstest::rstest;

    use super::*;

    const ROSTER: &str = r#"{"version":1,"network_id":"home","authorized_devices":[
        {"device_id":"b","label":"laptop","approved_at":1,"role":"member"}]}"#;

    #[rstest]
    #[case::byte_order_mark(format!("\u{feff}{ROSTER}").into_bytes(), true)]
    #[case::trailing_bytes(format!("{ROSTER}\0\0\0").into_bytes(), true)]
    #[case::duplicate_member(ROSTER.replace(r#""version":1"#, r#""version":1,"version":1"#).into_bytes(),
        true)]
    #[case::latin1(ROSTER.replace("laptop", "caf?").bytes()
        .map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect(), true)]
    #[case::utf16(format!("\u{feff}{ROSTER}").encode_utf16().flat_map(u16::to_le_bytes).collect(), true)]
    #[case::empty(Vec::new(), false)]
    #[case::no_member(b"{}".to_vec(), false)]
    #[case::torn(ROSTER.as_bytes()[..30].to_vec(), false)]
    fn damaged_roster_keeps_its_peers_where_they_are_whole(
        #[case] damaged: Vec<u8>,
        #[case] is_mended: bool,
    ) {
        assert!(DaemonFile::Roster.is_readable(ROSTER.as_bytes()));
        assert!(!DaemonFile::Roster.is_readable(&damaged));
        let mended = DaemonFile::Roster.mend(&damaged);
        assert_eq!(mended.is_some(), is_mended);
        if let Some((mended, _)) = mended {
            assert!(DaemonFile::Roster.is_readable(&mended.to_bytes()));
            assert!(mended.get(&["authorized_devices", "0", "device_id"]).is_some());
        }
    }

    /// One device costs no other its approval.
    #[rstest]
    #[case::label(r#"{"device_id":"c","label":null,"approved_at":1}"#)]
    #[case::no_time(r#"{"device_id":"c","label":"tablet"}"#)]
    fn device_that_no_daemon_reads_is_left_out_alone(#[case] odd: &str) {
        let roster = ROSTER.replace(
            r#"[
        "#,
            &format!("[{odd},"),
        );
        let (mended, left_out) = DaemonFile::Roster.mend(roster.as_bytes()).expect("a device is sound");
        assert_eq!(left_out, ["/authorized_devices/0"]);
        assert!(mended.get(&["authorized_devices", "0", "device_id"]).is_some_and(|id| id.is_str("b")));
        let alone = format!(r#"{{"version":1,"network_id":"home","authorized_devices":[{odd}]}}"#);
        assert!(DaemonFile::Roster.mend(alone.as_bytes()).is_none());
    }

    #[rstest]
    #[case::absent(r#""member_log":[]"#)]
    #[case::null(r#""pending":null,"splits":null,"member_log":null"#)]
    fn state_without_an_empty_member_is_mended(#[case] members: &str) {
        let state = format!(
            r#"{{"version":2,"network_id":"home","kind":"closed","roles":{{"b":"owner"}},
            "transitions":[],{members}}}"#
        );
        assert!(!DaemonFile::State.is_readable(state.as_bytes()));
        let (mended, _) = DaemonFile::State.mend(state.as_bytes()).expect("all that counts is there");
        assert!(DaemonFile::State.is_readable(&mended.to_bytes()));
        assert!(mended.get(&["roles", "b"]).is_some_and(|role| role.is_str("owner")));
    }

    /// No daemon reads a state with a transition that lacks a member of its kind.
    #[rstest]
    #[case::kind_change(r#"{"kind":"kind_change","to":"closed"}"#, "to")]
    #[case::role_grant(r#"{"kind":"role_grant","target":"b","role":"owner"}"#, "target")]
    #[case::granted_role(r#"{"kind":"role_grant","target":"b","role":"owner"}"#, "role")]
    #[case::role_revoke(r#"{"kind":"role_revoke","target":"b"}"#, "target")]
    #[case::evict(r#"{"kind":"evict","target":"b"}"#, "target")]
    #[case::split(r#"{"kind":"split","new_network_id":"n","members":["b"]}"#, "new_network_id")]
    #[case::split_members(r#"{"kind":"split","new_network_id":"n","members":["b"]}"#, "members")]
    #[case::topology_change(r#"{"kind":"topology_change","to":{"kind":"ring"}}"#, "to")]
    fn transition_has_the_members_of_its_kind(#[case] variant: &str, #[case] member: &str) {
        let state = |variant: &Value| {
            let transition = json!({"at": 1, "variant": variant, "signers": [], "signatures": []});
            json!({"version": 2, "network_id": "home", "kind": "closed", "roles": {"b": "owner"},
                "transitions": [transition], "pending": [], "splits": []})
            .to_string()
        };
        let is_readable = |variant: &Value| DaemonFile::State.is_readable(state(variant).as_bytes());
        let mut variant: Value = serde_json::from_str(variant).expect("JSON");
        assert!(is_readable(&variant));
        variant["later"] = json!({"a": 1});
        assert!(is_readable(&variant), "a member of a newer daemon's");
        for odd in [Value::Null, json!(5), json!({})] {
            variant[member] = odd;
            assert!(!is_readable(&variant), "{variant}");
        }
        variant.as_object_mut().expect("an object").remove(member);
        assert!(!is_readable(&variant));
        assert!(DaemonFile::State.mend(state(&variant).as_bytes()).is_none(), "signed as it is");
        variant["kind"] = "later".into();
        assert!(is_readable(&variant), "a kind of a newer daemon's");
    }

    #[rstest]
    #[case::kind(DaemonFile::Config, r#"{"networks":[{"id":"a","network_id":"home","kind":"Closed"}]}"#)]
    #[case::role(DaemonFile::Roster, &ROSTER.replace("member", "Member"))]
    fn word_in_capitals_is_mended(#[case] file: DaemonFile, #[case] text: &str) {
        assert!(!file.is_readable(text.as_bytes()) && !file.is_newer(text.as_bytes()));
        let (mended, left_out) = file.mend(text.as_bytes()).expect("the words are known");
        assert!(left_out.is_empty() && file.is_readable(&mended.to_bytes()));
        let former: Value = serde_json::from_str(&text.to_lowercase()).expect("JSON");
        assert_eq!(mended.root().to_value(), former);
    }

    #[test]
    fn network_of_the_app_has_the_words_of_the_daemon() {
        let network = json!({"kind": "Closed", "topology": {"kind": "Ring"}, "label": "Closed"});
        let known = json!({"kind": "closed", "topology": {"kind": "ring"}, "label": "Closed"});
        assert_eq!(with_known_words(network), known);
    }

    #[rstest]
    #[case::kind("kind", r#""moderated""#, "/kind")]
    #[case::role("roles", r#"{"b":"admin"}"#, "/roles/b")]
    #[case::topology("topology", r#"{"kind":"tree"}"#, "/topology/kind")]
    #[case::transition(
        "transitions",
        r#"[{"at":1,"variant":{"kind":"kind_change","to":"moderated"},
        "signers":[],"signatures":[]}]"#,
        "/transitions/0/variant/to"
    )]
    fn word_that_no_known_daemon_knows_is_of_a_newer_one(
        #[case] member: &str,
        #[case] value: &str,
        #[case] at: &str,
    ) {
        let state = r#"{"version":2,"network_id":"home","kind":"closed","roles":{"b":"owner"},
            "transitions":[{"at":1,"variant":{"kind":"later"},"signers":[],"signatures":[]}],
            "pending":[],"splits":[],"topology":{"kind":"ring"}}"#;
        assert!(DaemonFile::State.is_readable(state.as_bytes()));
        assert_eq!(DaemonFile::State.unknown_word(state.as_bytes()), None);
        let mut newer: Value = serde_json::from_str(state).expect("JSON");
        newer[member] = serde_json::from_str(value).expect("JSON");
        let newer = newer.to_string();
        assert_eq!(DaemonFile::State.unknown_word(newer.as_bytes()).as_deref(), Some(at));
        assert!(DaemonFile::State.is_newer(newer.as_bytes()));
    }

    #[rstest]
    #[case::version(r#"{"version":"3","daemon":{}}"#, &["/version"])]
    #[case::log_level(r#"{"version":3,"daemon":{"log_level":5,"enabled":true}}"#, &["/daemon/log_level"])]
    #[case::member_of_a_network(
        r#"{"networks":[{"id":"a","network_id":"home","kind":"silent","label":null}]}"#,
        &["/networks/0/label"]
    )]
    #[case::one_network(r#"{"networks":[{"id":"a"},{"id":"a","network_id":"home"}]}"#, &["/networks/0"])]
    #[case::null(r#"{"auto_update":null,"version":3}"#, &["/auto_update"])]
    fn member_of_another_type_is_left_out_alone(#[case] config: &str, #[case] left_out: &[&str]) {
        assert!(!DaemonFile::Config.is_readable(config.as_bytes()));
        let (mended, removed) = DaemonFile::Config.mend(config.as_bytes()).expect("a part is whole");
        assert_eq!(removed, left_out);
        assert!(DaemonFile::Config.is_readable(&mended.to_bytes()));
    }
}
