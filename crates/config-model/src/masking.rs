//! Masks the parts of both configs that are not known to be harmless.
//!
//! The allow-list names every string and number of both schemas that anybody may see. A new member
//! of a schema stays masked until the list names it.

use myownllm_json_document::Document;
use myownllm_json_document::masking::Shown::{self, Entries, Items, Members, Scalar};
use serde_json::Value;

pub use myownllm_json_document::masking::{
    MASK, MaskedText, Secret, is_secret_name, mask_line, mask_pointer, mask_text, secrets_in, strip_secrets,
};

/// Lists the members of an object that are shown: a `name` for a string or a number, `name: SHOWN`
/// for another value.
macro_rules! members {
    ($($name:ident $(: $shown:expr)?),* $(,)?) => {
        Members(&[$((stringify!($name), members!(@ $($shown)?))),*])
    };
    (@) => { Scalar };
    (@ $shown:expr) => { $shown };
}

const STRINGS: Shown = Items(&Scalar);

/// Either config: the keys that both have mean the same.
const CONFIG: Shown = members![
    // The app's.
    active_provider, active_family, active_mode, model_cleanup_days,
    cleanup_warning_suppressed_families: STRINGS,
    kept_models: STRINGS,
    mode_overrides: Entries(&Scalar),
    family_overrides: Entries(&Entries(&Scalar)),
    tracked_modes: STRINGS,
    conversation_dir,
    api: members![host, port],
    remote_ui: members![port],
    cloud_mesh: CLOUD_MESH,
    mic: members![device_name, sample_rate, whisper_model],
    providers: Items(&members![name, url]),
    agent_permissions: PERMISSIONS,
    // Both have this one.
    auto_update: members![channel, auto_apply, check_interval_hours, stable_url, beta_url],
    // The daemon's.
    version, identity_path,
    daemon: members![control_socket, log_level],
    services: SERVICES,
    networks: Items(&DAEMON_NETWORK),
];

const CLOUD_MESH: Shown = members![
    networks: Items(&NETWORK),
    active_network_id,
    // The single-network form.
    network_id,
    signaling_servers: STRINGS,
    stun_servers: STRINGS,
    turn_servers: Items(&TURN_SERVER),
    accepting,
];

const NETWORK: Shown = members![
    id, network_id, label, kind,
    topology: TOPOLOGY,
    signaling_servers: STRINGS,
    stun_servers: STRINGS,
    turn_servers: Items(&TURN_SERVER),
    accepting,
    agent_permissions: PERMISSIONS,
    prompts: Items(&members![id, name, system_prompt, user_prompt, tools: STRINGS, updated_at]),
    daemon_settings: members![
        signaling: SIGNALING,
        turn_servers: Items(&TURN_GROUP),
        pinned_peers: STRINGS,
        roster_path,
    ],
];

/// Newer apps have permissions of further tools.
const PERMISSIONS: Shown = Entries(&members![mode, always_accept: STRINGS, updated_at]);

const TURN_SERVER: Shown = members![url, username];

const DAEMON_NETWORK: Shown = members![
    id, network_id, label, kind,
    topology: TOPOLOGY,
    signaling: SIGNALING,
    stun_servers: Items(&TURN_GROUP),
    turn_servers: Items(&TURN_GROUP),
    roster_path,
    pinned_peers: STRINGS,
];

const TURN_GROUP: Shown = members![urls: STRINGS, username];

const TOPOLOGY: Shown = members![kind, n_preferred, hub, hubs: STRINGS, spoke_redundancy];

const SIGNALING: Shown = members![strategy, servers: STRINGS, redundancy, denylist: STRINGS];

const SERVICES: Shown = members![
    relay: members![max_fanout],
    signaling: members![bind, port, limits: Entries(&Scalar)],
    stun: members![bind, port],
    turn: members![
        bind, port, public_ip, realm,
        credentials: Items(&members![username]),
        max_bps_per_connection, relay_port_min, relay_port_max,
    ],
];

/// Returns a masked copy of a config, the app's or the daemon's.
///
/// ```
/// use myownllm_config_model::{Document, masking};
/// let text = br#"{"active_mode": "text", "api": {"bearer_token": "abc"}, "newer": 7}"#;
/// let config = Document::parse(text).unwrap().document;
/// assert_eq!(
///     masking::mask(&config).to_text(),
///     r#"{"active_mode": "text", "api": {"bearer_token": "********"}, "newer": "********"}"#
/// );
/// ```
pub fn mask(config: &Document) -> Document {
    myownllm_json_document::masking::mask(config, &CONFIG)
}

/// Returns true for the members of a topology that hold no secret.
pub(crate) fn is_known_in_topology(key: &str) -> bool {
    matches!(TOPOLOGY, Members(members) if members.iter().any(|(name, _)| *name == key))
}

/// Masks a network in the daemon's shape, in place.
pub fn mask_daemon_network(network: &mut Value) {
    myownllm_json_document::masking::mask_value(network, &DAEMON_NETWORK);
}
