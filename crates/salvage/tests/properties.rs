//! Properties: a load is final and loses nothing, a daemon's network comes back as what it was, and
//! no input panics.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::{Document, Kind, SeededIds, ValueRef, convert, masking};
use myownllm_salvage::{normalize, salvage_bytes};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const DIR: &str = "/home/u/.myownllm/conversations";

fn config() -> ProptestConfig {
    ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() }
}

fn ids() -> SeededIds {
    SeededIds::new(1_750_000_000_000, 5)
}

/// Values of every type, with words that mean something to the schemas among them.
fn any_value() -> BoxedStrategy<Value> {
    let word = prop::sample::select(vec![
        "",
        " ",
        "home",
        " Home ",
        "net-a",
        "ring",
        "star",
        "hubs",
        "ask",
        "denied",
        "open",
        "silent",
        "busy",
        "x",
        "wss://0.peerjs.com:443/",
        "turn:a",
    ]);
    let key = prop::sample::select(KEYS.to_vec());
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        prop::sample::select(vec![
            json!(0),
            json!(-1),
            json!(0.5),
            json!(2.5),
            json!(3),
            json!(1e300),
            json!(-0.0)
        ]),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|m| Value::Object(m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
    .boxed()
}

const KEYS: [&str; 52] = [
    "active_provider",
    "active_family",
    "active_mode",
    "tracked_modes",
    "mode_overrides",
    "transcribe",
    "mic",
    "whisper_model",
    "api",
    "auto_update",
    "auto_cleanup",
    "remote_ui",
    "cloud_mesh",
    "enabled",
    "networks",
    "active_network_id",
    "diag_quiet",
    "network_id",
    "id",
    "locked",
    "signaling_servers",
    "stun_servers",
    "turn_servers",
    "accepting",
    "auto_gossip",
    "label",
    "kind",
    "topology",
    "n_preferred",
    "hub",
    "auto_approve",
    "agent_permissions",
    "shell",
    "write_file",
    "by_device",
    "mode",
    "always_accept",
    "updated_at",
    "prompts",
    "name",
    "tools",
    "sources",
    "version",
    "daemon",
    "services",
    "signaling",
    "urls",
    "url",
    "username",
    "daemon_settings",
    "providers",
    "length",
];

fn any_config() -> impl Strategy<Value = Value> {
    let network = prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), any_value(), 0..10);
    let network = network.prop_map(|m| m.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>());
    let networks =
        prop::collection::vec(prop_oneof![4 => network.prop_map(Value::Object), 1 => any_value()], 0..4);
    (
        prop::collection::btree_map(prop::sample::select(KEYS.to_vec()), any_value(), 0..8),
        prop::option::of(networks.clone()),
        prop::option::of(networks),
    )
        .prop_map(|(members, saved, leaked)| {
            let mut config: Map<_, _> = members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
            if let Some(saved) = saved {
                match config.get_mut("cloud_mesh") {
                    Some(Value::Object(mesh)) => {
                        mesh.insert("networks".to_owned(), saved.into());
                    }
                    _ => {
                        config.insert("cloud_mesh".to_owned(), json!({ "networks": saved }));
                    }
                }
            }
            if let Some(leaked) = leaked {
                config.insert("networks".to_owned(), leaked.into());
            }
            Value::Object(config)
        })
}

/// A network as a daemon of versions 1 to 3 writes it: every member there, defaults or not.
fn daemon_network() -> impl Strategy<Value = Value> {
    let text = |values: &[&'static str]| prop::sample::select(values.to_vec());
    let relays =
        prop::collection::vec(text(&["wss://a", "ws://10.0.0.5:4848", "wss://relay.damus.io"]), 0..3);
    let topology = prop_oneof![
        prop::option::of(1..9u32).prop_map(|n| json!({"kind": "ring", "n_preferred": n})),
        Just(json!({"kind": "full_mesh"})),
        Just(json!({"kind": "star", "hub": "abc"})),
        prop::option::of(1..3u32)
            .prop_map(|n| json!({"kind": "hubs", "hubs": ["a", "b"], "spoke_redundancy": n})),
    ];
    let signaling = (
        text(&["nostr", "none", "mdns-only"]),
        relays,
        1..10u32,
        prop::sample::select(vec![
            json!(["relay.damus.io", "chorus.pjv.me"]),
            json!([]),
            json!(["chorus.pjv.me", "relay.damus.io"]),
        ]),
        prop::option::of((any::<bool>(), any::<bool>(), any::<bool>())),
    )
        .prop_map(|(strategy, servers, redundancy, denylist, later)| {
            let mut signaling = json!({"strategy": strategy, "servers": servers, "redundancy": redundancy,
                    "denylist": denylist});
            if let Some((mdns, public_fallback, listen_only)) = later {
                signaling["mdns"] = json!(mdns);
                signaling["public_fallback"] = json!(public_fallback);
                signaling["listen_only"] = json!(listen_only);
            }
            signaling
        });
    let stun = prop::collection::vec(
        prop::collection::vec(text(&["stun:a:1", "stun:b:2", "stun:stun.myownmesh.com:3478"]), 1..3),
        0..3,
    );
    let turn = prop::collection::vec(
        (
            prop::collection::vec(text(&["turn:a", "turn:b?transport=tcp", "turns:c"]), 1..4),
            prop::option::of(text(&["guest", "alice"])),
            prop::option::of(text(&["theguestpassword", "s3cret"])),
        ),
        0..3,
    );
    let pinned = prop::option::of(prop::collection::vec(text(&["peerA", "peerB"]), 0..3));
    (
        (
            text(&["net-a", "home-1"]),
            text(&["home", "office-mesh"]),
            text(&["", "Home"]),
            text(&["open", "closed", "silent"]),
        ),
        (topology, signaling, stun, turn),
        (pinned, prop::option::of(text(&["/r/x.json"])), any::<bool>(), prop::option::of(any_value())),
    )
        .prop_map(
            |(
                (id, network_id, label, kind),
                (topology, signaling, stun, turn),
                (pinned, roster, auto, future),
            )| {
                let stun: Vec<_> = stun.into_iter().map(|urls| json!({ "urls": urls })).collect();
                let turn: Vec<_> = turn
                .into_iter()
                .map(|(urls, username,
                    credential)| json!({"urls": urls, "username": username, "credential": credential}))
                .collect();
                let mut network = json!({"id": id, "network_id": network_id, "label": label, "kind": kind,
                "topology": topology, "signaling": signaling, "stun_servers": stun, "turn_servers": turn,
                "roster_path": roster, "auto_approve": auto});
                if let Some(pinned) = pinned {
                    network["pinned_peers"] = json!(pinned);
                }
                if let Some(future) = future {
                    network["future"] = future;
                }
                network
            },
        )
}

/// A daemon's network with everything filled in that a daemon fills in, so that two that mean the
/// same are equal: what is at its default may be left out, STUN servers are a flat list, null and
/// absent are one.
fn meaning(network: &Value) -> Value {
    let mut all =
        json!({"label": "", "kind": "open", "roster_path": null, "pinned_peers": [], "auto_approve": false});
    for (key, value) in network.as_object().unwrap() {
        all[key] = value.clone();
    }
    let mut signaling = json!({"strategy": "nostr", "servers": [], "redundancy": 5, "mdns": true,
        "public_fallback": true,
        "listen_only": false, "denylist": ["relay.damus.io", "chorus.pjv.me"]});
    for (key, value) in network["signaling"].as_object().unwrap() {
        signaling[key] = value.clone();
    }
    all["signaling"] = signaling;
    let stun = network["stun_servers"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|g| g["urls"].as_array().unwrap().clone());
    all["stun_servers"] = stun.collect();
    for group in all["turn_servers"].as_array_mut().unwrap() {
        let group = group.as_object_mut().unwrap();
        group.retain(|_, value| !value.is_null());
    }
    // Two groups that begin alike may swap places; all of them are tried at once.
    all["turn_servers"].as_array_mut().unwrap().sort_by_key(Value::to_string);
    if all["topology"]["kind"] == "ring" && all["topology"].get("n_preferred").is_none() {
        all["topology"]["n_preferred"] = json!(null);
    }
    all
}

/// The texts of all numbers and strings, and of all keys.
fn texts(value: ValueRef<'_>, into: &mut Vec<String>) {
    match value.kind() {
        Kind::Object => value.members().for_each(|(_, member)| texts(member, into)),
        Kind::Array => value.items().for_each(|item| texts(item, into)),
        Kind::Number | Kind::String => into.push(value.raw().into_owned()),
        _ => {}
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_daemons_network_that_is_recovered_completed_and_pushed_is_what_it_was(
        network in daemon_network(), version in 1..4u32
    ) {
        let file = json!({"version": version, "identity_path": null, "daemon": {"enabled": true},
            "networks": [network]});
        let loaded = normalize(file.to_string().as_bytes(), DIR, &mut ids()).unwrap().document;
        let entry = loaded.get(&["cloud_mesh", "networks", "0"]).unwrap();
        let pushed = convert::to_daemon(entry).unwrap();
        prop_assert_eq!(meaning(&pushed), meaning(&network), "by way of {}", entry.raw());
    }

    #[test]
    fn a_load_is_final(config in any_config(), now in 1u64..1 << 42) {
        let first = normalize(config.to_string().as_bytes(), DIR, &mut ids()).unwrap().document;
        let bytes = first.to_bytes();
        let again = normalize(&bytes, "/elsewhere", &mut SeededIds::new(now, now)).unwrap().document;
        prop_assert!(!again.is_modified(), "{} -> {} -> {}", config, first.to_text(), again.to_text());
        prop_assert_eq!(again.to_bytes(), bytes);
        // The document in memory equals the written one.
        prop_assert_eq!(again.root().to_value(), first.root().to_value());
    }

    #[test]
    fn recovery_and_completion_in_two_steps_are_the_same_as_in_one(config in any_config()) {
        let bytes = config.to_string().into_bytes();
        let at_once = normalize(&bytes, DIR, &mut ids()).unwrap().document;
        let mut one = ids();
        let half = salvage_bytes(&bytes, &mut one).unwrap().app.to_bytes();
        let in_steps = normalize(&half, DIR, &mut one).unwrap().document;
        prop_assert_eq!(at_once.root().to_value(), in_steps.root().to_value());
    }

    #[test]
    fn members_of_newer_builds_survive_a_load_as_spelled(
        number in "-?[1-9][0-9]{0,30}(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?",
        escape in "(\\\\u00[4-7][0-9]|\\\\/|é){1,4}",
        leaked in any::<bool>(),
    ) {
        let new = format!(r#""new": {{"n":  {number}, "s": ["{escape}"]}}"#);
        let text = if leaked {
            format!(r#"{{"version":1, "daemon":{{}}, {new}, "networks": [{{"id":"a","network_id":"home",
                {new}}}]}}"#)
        } else {
            format!(r#"{{{new}, "api": {{{new}}}, "cloud_mesh": {{{new}, "networks": [{{"id":"a", {new},
                "topology": {{"kind":"ring", {new}}}, "turn_servers": [{{{new}}}], "prompts": [{{"id":"p",
                {new}}}],
                "agent_permissions": {{{new}, "shell": {{{new}}}}}}}]}}}}"#)
        };
        let given = Document::parse(text.as_bytes()).unwrap().document;
        let loaded = normalize(text.as_bytes(), DIR, &mut ids()).unwrap().document.to_text();
        let mut wanted = Vec::new();
        texts(given.root(), &mut wanted);
        for piece in wanted.iter().filter(|w| **w == number || w.contains(&escape)) {
            prop_assert!(loaded.contains(piece.as_str()), "{} in {}", piece, loaded);
        }
        let pieces = |text: &str| text.matches(&format!("\"{escape}\"")).count();
        prop_assert_eq!(pieces(&loaded), pieces(&text));
        if !leaked {
            // Not moved, so the white space is the user's, too.
            prop_assert_eq!(loaded.matches(&new).count(), text.matches(&new).count());
        }
    }

    #[test]
    fn no_config_makes_anything_panic(config in any_config(), network in any_value()) {
        let bytes = config.to_string().into_bytes();
        if let Ok(loaded) = normalize(&bytes, DIR, &mut ids()) {
            myownllm_config_model::AppConfig::view(&loaded.document);
            myownllm_config_model::DaemonConfig::view(&loaded.document);
            let masked = masking::mask(&loaded.document);
            prop_assert!(Document::parse(&masked.to_bytes()).is_ok());
            for entry in myownllm_config_model::networks::list(&loaded.document) {
                let _ = convert::to_daemon(entry);
                let _ = myownllm_config_model::envelope::Envelope::of_network(entry);
            }
        }
        let alone = Document::of(json!({ "n": network }));
        let _ = convert::to_daemon(alone.get(&["n"]).unwrap());
        let _ = convert::from_daemon(alone.get(&["n"]).unwrap(), "");
        let _ = myownllm_config_model::envelope::Envelope::parse(network.to_string().as_bytes());
    }

    #[test]
    fn no_bytes_make_anything_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = normalize(&bytes, DIR, &mut ids());
    }
}
