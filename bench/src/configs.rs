//! Configs of any size, in the form of the app and of the daemon.

use std::fmt::Write as _;

use myownllm_config_model::{Document, SeededIds, app_config};
use serde_json::{Value, json};

/// The part that makes a config large.
#[derive(Clone, Copy, Debug)]
pub enum Heavy {
    /// Few networks with long prompts.
    Prompts,
    /// Many networks, without prompts.
    Networks,
}

/// Returns the app's config with about this number of bytes, complete and in order: a load changes
/// nothing.
#[must_use]
pub fn of_bytes(heavy: Heavy, bytes: usize, conversation_dir: &str) -> Vec<u8> {
    let of = |networks| of_networks(heavy, networks, conversation_dir);
    let sample = of(100).len() - of(0).len();
    of(bytes * 100 / sample)
}

/// Returns the app's config with this number of networks.
#[must_use]
pub fn of_networks(heavy: Heavy, networks: usize, conversation_dir: &str) -> Vec<u8> {
    let list: Vec<String> = (0..networks).map(|n| network(heavy, n)).collect();
    let text = format!(r#"{{"networks":[{}]}}"#, list.join(","));
    let list = Document::parse(text.as_bytes()).expect("JSON").document;
    let mut document = app_config::defaults(conversation_dir);
    if let Some(list) = list.get(&["networks"]) {
        document.set(&["cloud_mesh", "networks"], list);
    }
    if networks > 0 {
        document.set(&["cloud_mesh", "active_network_id"], "net-0");
    }
    let before = document.to_bytes();
    let mut complete = document.clone();
    app_config::complete(&mut complete, conversation_dir, &mut SeededIds::new(0, 0));
    assert!(complete.to_bytes() == before, "what is made here needs no completion");
    before
}

/// Returns the same networks in the daemon's form, as a daemon overwrites the app's file.
#[must_use]
pub fn leaked(networks: usize) -> Vec<u8> {
    let list: Vec<Value> = (0..networks)
        .map(|n| {
            json!({
                "id": format!("net-{n}"), "network_id": format!("network-{n}"),
                "label": format!("Network {n}"),
                "signaling": { "strategy": "nostr",
                "relays": ["wss://relay.example.org", "wss://relay.example.net"] },
                "stun_servers": [{ "urls": ["stun:stun.example.org:3478"] }], "turn_servers": [],
                "auto_approve": false,
            })
        })
        .collect();
    let document = json!({ "version": 2, "identity_path": null, "daemon": {}, "networks": list });
    serde_json::to_vec_pretty(&document).expect("a Value is JSON")
}

/// Returns one network, with its members in the app's order.
fn network(heavy: Heavy, n: usize) -> String {
    let prompts: Vec<String> = match heavy {
        Heavy::Prompts => (0..4).map(|p| prompt(n, p)).collect(),
        Heavy::Networks => Vec::new(),
    };
    let prompts = prompts.join(",");
    format!(
        r#"{{
            "id": "net-{n}", "network_id": "network-{n}", "label": "Network {n}", "kind": "closed",
            "topology": {{ "kind": "ring", "n_preferred": 4 }},
            "signaling_servers": ["wss://relay.example.org", "wss://relay.example.net"],
            "stun_servers": ["stun:stun.example.org:3478", "stun:stun.example.net:3478"],
            "turn_servers": [{{ "url": "turn:turn.example.org:3478",
                "username": "guest", "credential": "password" }}],
            "accepting": "available", "auto_gossip": true, "prompts": [{prompts}]
        }}"#
    )
}

fn prompt(network: usize, n: usize) -> String {
    let mut system = String::from("You are a careful assistant.\n");
    for line in 0..6 {
        let _ = writeln!(
            system,
            "{line}. Say \u{201c}I do not know\u{201d} where you do not, and name the \"source\" of what \
                you do."
        );
    }
    let system = Value::from(system);
    format!(
        r#"{{
            "id": "prompt-{network}-{n}", "name": "Prompt {n} of network {network}",
                "system_prompt": {system},
            "user_prompt": "Summarise what was said since yesterday in three sentences, and list the open questions.",
            "tools": ["read_file", "shell"], "updated_at": 1700000000000
        }}"#
    )
}
