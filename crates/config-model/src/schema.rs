//! JSON Schemas (2020-12) of both configs.
//!
//! They describe what a completed document looks like. They are for editors and for people: the programs themselves take
//! what they can of anything (see [`complete`](crate::app_config::complete)), and unknown members are welcome everywhere.

use serde_json::{Map, Value, json};

use crate::app_config::SECTIONS;
use crate::daemon_config::{DENYLIST, NEWEST_VERSION};

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn texts(description: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string" }, "description": description })
}

fn text(description: &str) -> Value {
    json!({ "type": "string", "description": description })
}

fn flag(default: bool, description: &str) -> Value {
    json!({ "type": "boolean", "default": default, "description": description })
}

/// One of the five objects with defaults, from the table that completion uses.
fn section(name: &str, description: &str) -> Value {
    let members =
        SECTIONS.iter().find(|(section, _)| *section == name).map_or(&[][..], |(_, members)| members);
    let mut properties = Map::new();
    for (key, default) in members {
        let default: Value = serde_json::from_str(default).unwrap_or_default();
        let kind = match &default {
            Value::Bool(_) => json!("boolean"),
            Value::Number(_) => json!("number"),
            Value::Null => json!(["string", "null"]),
            _ => json!("string"),
        };
        properties.insert((*key).to_owned(), json!({ "type": kind, "default": default }));
    }
    json!({ "type": "object", "description": description, "properties": properties })
}

fn topology() -> Value {
    json!({
        "type": "object",
        "description": "Who connects to whom. Kinds of newer daemons are kept.",
        "required": ["kind"],
        "properties": {
            "kind": { "type": "string", "examples": ["ring", "star", "full_mesh", "hubs"] },
            "n_preferred": { "type": ["integer", "null"], "minimum": 1, "description": "Neighbours in a ring." },
            "hub": { "type": "string", "minLength": 1, "description": "Device ID of the hub of a star." },
            "hubs": texts("Device IDs of the hubs."),
            "spoke_redundancy": { "type": ["integer", "null"] }
        }
    })
}

/// The app's config.
pub fn app_schema() -> Value {
    let permission = json!({
        "type": "object",
        "properties": {
            "mode": { "enum": ["ask", "accept_all", "denied"], "default": "ask" },
            "always_accept": texts("Commands or paths that are accepted without asking."),
            "updated_at": { "type": "number", "minimum": 0, "description": "Milliseconds since the Unix epoch." }
        }
    });
    let prompt = json!({
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": { "type": "string", "minLength": 1 },
            "name": { "type": "string", "default": "" },
            "system_prompt": { "type": "string", "default": "" },
            "user_prompt": { "type": "string", "default": "" },
            "tools": texts("Tools that the prompt may use."),
            "updated_at": { "type": "number", "minimum": 0, "description": "Milliseconds since the Unix epoch." }
        }
    });
    let turn = json!({
        "type": "object",
        "required": ["url"],
        "properties": {
            "url": text("Address."),
            "username": text("User, if the server wants one."),
            "credential": text("Password, if the server wants one. Secret.")
        }
    });
    let network = json!({
        "type": "object",
        "required": ["id", "network_id"],
        "properties": {
            "id": text("Internal id; unique in this file."),
            "network_id": text("The id that all peers share: 3 to 64 of a-z, 0-9, _ and -."),
            "label": text("Name shown to the user."),
            "kind": { "type": "string", "minLength": 1, "examples": ["open", "closed", "silent"] },
            "topology": { "$ref": "#/$defs/topology" },
            "auto_approve": flag(false, "Whether new peers are let in without asking."),
            "signaling_servers": texts("Signaling relays; empty: the daemon's own choice."),
            "stun_servers": texts("STUN servers."),
            "turn_servers": { "type": "array", "items": { "$ref": "#/$defs/turn_server" } },
            "accepting": { "enum": ["available", "limited", "busy"], "default": "available" },
            "auto_gossip": flag(true, "Whether this node passes gossip on."),
            "agent_permissions": {
                "type": "object",
                "properties": {
                    "shell": { "$ref": "#/$defs/permission" },
                    "write_file": { "$ref": "#/$defs/permission" }
                }
            },
            "prompts": { "type": "array", "items": { "$ref": "#/$defs/prompt" } },
            "daemon_settings": {
                "type": "object",
                "description": "What only the daemon knows of this network, in its own words, where it differs from its defaults."
            }
        }
    });
    let models = json!({ "type": "object", "additionalProperties": { "type": ["string", "null"] } });
    json!({
        "$schema": DIALECT,
        "title": "MyOwnLLM config",
        "type": "object",
        "properties": {
            "active_provider": text("Name of the provider in use."),
            "active_family": { "type": "string", "minLength": 1, "default": "gemma4" },
            "active_mode": { "type": "string", "default": "transcribe" },
            "model_cleanup_days": { "type": "number", "default": 1 },
            "cleanup_warning_suppressed_families": texts("Families whose clean-up no longer warns."),
            "kept_models": texts("Models that are never cleaned up."),
            "mode_overrides": models,
            "family_overrides": { "type": "object", "additionalProperties": models },
            "tracked_modes": texts("Modes whose models are kept up to date."),
            "conversation_dir": text("Where conversations lie."),
            "auto_cleanup": section("auto_cleanup", "What is cleaned up by itself."),
            "api": section("api", "The local HTTP interface. bearer_token is secret."),
            "auto_update": section("auto_update", "Updates."),
            "remote_ui": section("remote_ui", "The remote user interface."),
            "cloud_mesh": {
                "type": "object",
                "properties": {
                    "enabled": flag(false, "Whether the mesh is switched on."),
                    "networks": { "type": "array", "items": { "$ref": "#/$defs/network" } },
                    "active_network_id": { "type": ["string", "null"], "description": "Internal id of the active network." },
                    "diag_quiet": flag(false, "Whether the mesh's diagnostics are muted.")
                }
            },
            "mic": section("mic", "The microphone."),
            "providers": {
                "type": "array",
                "items": { "type": "object", "properties": { "name": text("Name."), "url": text("Manifest.") } }
            }
        },
        "$defs": {
            "network": network,
            "topology": topology(),
            "turn_server": turn,
            "permission": permission,
            "prompt": prompt
        }
    })
}

/// The daemon's config, versions 1 to 3.
pub fn daemon_schema() -> Value {
    let ice = |extra: Value| {
        let mut group = json!({ "urls": texts("Addresses of one server.") });
        if let (Value::Object(group), Value::Object(extra)) = (&mut group, extra) {
            group.extend(extra);
        }
        json!({ "type": "array", "items": { "type": "object", "properties": group } })
    };
    let network = json!({
        "type": "object",
        "required": ["id", "network_id"],
        "properties": {
            "id": text("Config id."),
            "network_id": text("The id that all peers share: 3 to 64 of a-z, 0-9, _ and -."),
            "label": { "type": "string", "default": "" },
            "kind": { "type": "string", "default": "open", "examples": ["open", "closed", "silent"] },
            "topology": { "$ref": "#/$defs/topology" },
            "signaling": {
                "type": "object",
                "properties": {
                    "strategy": { "type": "string", "default": "nostr", "examples": ["nostr", "none"] },
                    "servers": texts("Relays; empty: chosen by the daemon."),
                    "mdns": flag(true, "Whether peers are looked for in the local network."),
                    "redundancy": { "type": "integer", "default": 5 },
                    "denylist": { "type": "array", "items": { "type": "string" }, "default": DENYLIST },
                    "public_fallback": flag(true, "Whether public relays are used when the named ones fail."),
                    "listen_only": flag(false, "Whether this node stays unannounced.")
                }
            },
            "stun_servers": ice(json!({})),
            "turn_servers": ice(json!({
                "username": { "type": ["string", "null"] },
                "credential": { "type": ["string", "null"], "description": "Secret." }
            })),
            "roster_path": { "type": ["string", "null"] },
            "pinned_peers": texts("Device IDs that are dialled whatever the topology."),
            "auto_approve": flag(false, "Whether new peers are let in without asking.")
        }
    });
    json!({
        "$schema": DIALECT,
        "title": "MyOwnMesh daemon config",
        "type": "object",
        "properties": {
            "version": { "type": "integer", "minimum": 1, "maximum": NEWEST_VERSION },
            "identity_path": { "type": ["string", "null"] },
            "auto_update": {
                "type": "object",
                "properties": {
                    "enabled": flag(true, ""),
                    "channel": text("stable, beta"),
                    "auto_apply": text("none, patch, minor, all"),
                    "check_interval_hours": { "type": "number" },
                    "stable_url": { "type": ["string", "null"] },
                    "beta_url": { "type": ["string", "null"] }
                }
            },
            "auto_cleanup": { "type": "object", "properties": { "updates": flag(true, "") } },
            "daemon": {
                "type": "object",
                "properties": {
                    "enabled": flag(true, "Whether the daemon runs."),
                    "control_socket": { "type": ["string", "null"], "description": "An absolute path." },
                    "log_level": { "type": "string", "default": "info" }
                }
            },
            "services": {
                "type": "object",
                "properties": {
                    "node": { "type": "object" },
                    "relay": { "type": "object" },
                    "signaling": { "type": "object" },
                    "stun": { "type": "object" },
                    "turn": { "type": "object", "description": "Its credentials are secret." }
                }
            },
            "networks": { "type": "array", "items": { "$ref": "#/$defs/network" } }
        },
        "$defs": { "network": network, "topology": topology() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app_config, daemon_config};

    #[test]
    fn the_schema_has_the_keys_of_a_fresh_config_and_no_other() {
        let schema = app_schema();
        let fresh = app_config::defaults("/c").root().to_value();
        fn check(schema: &Value, value: &Value, path: &str) {
            if let (Some(properties), Value::Object(value)) = (schema["properties"].as_object(), value) {
                let keys: Vec<_> = value.keys().collect();
                assert_eq!(properties.keys().collect::<Vec<_>>(), keys, "{path}");
                for (key, value) in value {
                    check(&properties[key], value, &format!("{path}/{key}"));
                    if let Some(default) = properties[key].get("default") {
                        assert_eq!(default, value, "{path}/{key}");
                    }
                }
            }
        }
        check(&schema, &fresh, "");
    }

    #[test]
    fn the_daemons_schema_has_the_keys_that_the_bridge_knows() {
        let schema = daemon_schema();
        let network = schema["$defs"]["network"]["properties"].as_object().unwrap();
        assert!(daemon_config::NETWORK_KEYS.iter().all(|key| network.contains_key(*key)));
        assert_eq!(network.len(), daemon_config::NETWORK_KEYS.len());
        let signaling = network["signaling"]["properties"].as_object().unwrap();
        for (key, default) in daemon_config::SIGNALING {
            assert_eq!(signaling[key]["default"].to_string(), default);
        }
        assert!(daemon_config::OWN_KEYS.iter().all(|key| schema["properties"].get(key).is_some()));
    }
}
