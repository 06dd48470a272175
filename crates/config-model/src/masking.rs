//! Masks the parts of both configs that are not known to be harmless.
//!
//! The allow-list names every string and number of both schemas that anybody may see. A new member of
//! a schema stays masked until the list names it.

use myownllm_json_document::Document;
use myownllm_json_document::masking::Shown::{self, Entries, Items, Members, Scalar};
use serde_json::Value;

pub use myownllm_json_document::masking::{
    MASK, Secret, is_secret_name, mask_line, mask_pointer, mask_text, secrets_in, strip_secrets,
};

pub use self::mask_daemon_network as mask_value;
pub use self::mask_pointer as shown_pointer;
pub use self::secrets_in as found_in;

const STRINGS: Shown = Items(&Scalar);

/// Either config: the keys that both have mean the same.
const CONFIG: Shown = Members(&[
    // The app's.
    ("active_provider", Scalar),
    ("active_family", Scalar),
    ("active_mode", Scalar),
    ("model_cleanup_days", Scalar),
    ("cleanup_warning_suppressed_families", STRINGS),
    ("kept_models", STRINGS),
    ("mode_overrides", Entries(&Scalar)),
    ("family_overrides", Entries(&Entries(&Scalar))),
    ("tracked_modes", STRINGS),
    ("conversation_dir", Scalar),
    ("api", Members(&[("host", Scalar), ("port", Scalar)])),
    ("remote_ui", Members(&[("port", Scalar)])),
    ("cloud_mesh", CLOUD_MESH),
    ("mic", Members(&[("device_name", Scalar), ("sample_rate", Scalar), ("whisper_model", Scalar)])),
    ("providers", Items(&Members(&[("name", Scalar), ("url", Scalar)]))),
    ("agent_permissions", PERMISSIONS),
    // Both have this one.
    (
        "auto_update",
        Members(&[
            ("channel", Scalar),
            ("auto_apply", Scalar),
            ("check_interval_hours", Scalar),
            ("stable_url", Scalar),
            ("beta_url", Scalar),
        ]),
    ),
    // The daemon's.
    ("version", Scalar),
    ("identity_path", Scalar),
    ("daemon", Members(&[("control_socket", Scalar), ("log_level", Scalar)])),
    ("services", SERVICES),
    ("networks", Items(&DAEMON_NETWORK)),
]);

const CLOUD_MESH: Shown = Members(&[
    ("networks", Items(&NETWORK)),
    ("active_network_id", Scalar),
    // The single-network form.
    ("network_id", Scalar),
    ("signaling_servers", STRINGS),
    ("stun_servers", STRINGS),
    ("turn_servers", Items(&TURN_SERVER)),
    ("accepting", Scalar),
]);

const NETWORK: Shown = Members(&[
    ("id", Scalar),
    ("network_id", Scalar),
    ("label", Scalar),
    ("kind", Scalar),
    ("topology", TOPOLOGY),
    ("signaling_servers", STRINGS),
    ("stun_servers", STRINGS),
    ("turn_servers", Items(&TURN_SERVER)),
    ("accepting", Scalar),
    ("agent_permissions", PERMISSIONS),
    (
        "prompts",
        Items(&Members(&[
            ("id", Scalar),
            ("name", Scalar),
            ("system_prompt", Scalar),
            ("user_prompt", Scalar),
            ("tools", STRINGS),
            ("updated_at", Scalar),
        ])),
    ),
    (
        "daemon_settings",
        Members(&[
            ("signaling", SIGNALING),
            ("turn_servers", Items(&TURN_GROUP)),
            ("pinned_peers", STRINGS),
            ("roster_path", Scalar),
        ]),
    ),
]);

/// Newer apps have permissions of further tools.
const PERMISSIONS: Shown =
    Entries(&Members(&[("mode", Scalar), ("always_accept", STRINGS), ("updated_at", Scalar)]));

const TURN_SERVER: Shown = Members(&[("url", Scalar), ("username", Scalar)]);

const DAEMON_NETWORK: Shown = Members(&[
    ("id", Scalar),
    ("network_id", Scalar),
    ("label", Scalar),
    ("kind", Scalar),
    ("topology", TOPOLOGY),
    ("signaling", SIGNALING),
    ("stun_servers", Items(&TURN_GROUP)),
    ("turn_servers", Items(&TURN_GROUP)),
    ("roster_path", Scalar),
    ("pinned_peers", STRINGS),
]);

const TURN_GROUP: Shown = Members(&[("urls", STRINGS), ("username", Scalar)]);

const TOPOLOGY: Shown = Members(&[
    ("kind", Scalar),
    ("n_preferred", Scalar),
    ("hub", Scalar),
    ("hubs", STRINGS),
    ("spoke_redundancy", Scalar),
]);

const SIGNALING: Shown =
    Members(&[("strategy", Scalar), ("servers", STRINGS), ("redundancy", Scalar), ("denylist", STRINGS)]);

const SERVICES: Shown = Members(&[
    ("relay", Members(&[("max_fanout", Scalar)])),
    ("signaling", Members(&[("bind", Scalar), ("port", Scalar), ("limits", Entries(&Scalar))])),
    ("stun", Members(&[("bind", Scalar), ("port", Scalar)])),
    (
        "turn",
        Members(&[
            ("bind", Scalar),
            ("port", Scalar),
            ("public_ip", Scalar),
            ("realm", Scalar),
            ("credentials", Items(&Members(&[("username", Scalar)]))),
            ("max_bps_per_connection", Scalar),
            ("relay_port_min", Scalar),
            ("relay_port_max", Scalar),
        ]),
    ),
]);

/// Returns a masked copy of a config, the app's or the daemon's.
///
/// ```
/// use myownllm_config_model::{Document, masking};
/// let config = Document::parse(br#"{"active_mode": "text", "api": {"bearer_token": "abc"}, "newer": 7}"#).unwrap().document;
/// assert_eq!(
///     masking::mask(&config).to_text(),
///     r#"{"active_mode": "text", "api": {"bearer_token": "********"}, "newer": "********"}"#
/// );
/// ```
pub fn mask(config: &Document) -> Document {
    myownllm_json_document::masking::mask(config, &CONFIG)
}

/// Masks a network in the daemon's shape, in place.
pub fn mask_daemon_network(network: &mut Value) {
    myownllm_json_document::masking::mask_value(network, &DAEMON_NETWORK);
}
