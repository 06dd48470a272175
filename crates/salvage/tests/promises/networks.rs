//! The saved networks, as a load brings them into form.

use crate::{STUN, found, ids, load, load_network, load_text};
use myownllm_config_model::networks;
use myownllm_salvage::salvage_bytes;
use serde_json::{Value, json};

#[test]
fn cloud_mesh_is_brought_into_form() {
    let mesh = |value: Value| load(json!({"cloud_mesh": value}))["cloud_mesh"].clone();
    let empty = json!({"enabled": false, "networks": [], "active_network_id": null, "diag_quiet": false});
    for nothing in [
        json!(null),
        json!(0),
        json!(""),
        json!(false),
        json!({}),
        json!(7),
        json!("abc"),
        json!([1]),
        json!(true),
    ] {
        assert_eq!(mesh(nothing), empty);
    }
    assert_eq!(mesh(json!({"enabled": null}))["enabled"], false);
    for kept in [json!("no"), json!(0), json!(""), json!([]), json!(true)] {
        assert_eq!(mesh(json!({"enabled": kept}))["enabled"], kept);
    }
    for odd in [json!(1), json!("true"), json!(null), json!({})] {
        assert_eq!(mesh(json!({"diag_quiet": odd}))["diag_quiet"], false);
    }
    assert_eq!(mesh(json!({"diag_quiet": true}))["diag_quiet"], true);
}

#[test]
fn the_active_network_must_be_one_that_is_saved_under_the_same_type() {
    let active = |id: Value, pointer: Value| {
        load(json!({"cloud_mesh": {"networks": [{"id": id}], "active_network_id": pointer}}))["cloud_mesh"]
            ["active_network_id"]
            .clone()
    };
    assert_eq!(active(json!("a"), json!("a")), "a");
    assert_eq!(active(json!(7), json!(7)), 7);
    assert_eq!(active(json!(7), json!(7.0)), 7.0);
    assert_eq!(active(json!(true), json!(true)), true);
    for (id, pointer) in [
        (json!("7"), json!(7)),
        (json!("a"), json!("b")),
        (json!({"a": 1}), json!({"a": 1})),
        (json!([1]), json!([1])),
        (json!(""), json!("")),
        (json!(0), json!(0)),
    ] {
        assert_eq!(active(id, pointer), json!(null));
    }
    // Spelling does not matter, the text does.
    let (doc, _) = load_text(r#"{"cloud_mesh":{"networks":[{"id":"\u0061"}],"active_network_id":"a"}}"#);
    assert_eq!(doc.get(&["cloud_mesh", "active_network_id"]).unwrap().raw(), "\"a\"");
    // Two lone surrogates are two different ids.
    let (doc, _) = load_text(r#"{"cloud_mesh":{"networks":[{"id":"\ud800"}],"active_network_id":"\ud801"}}"#);
    assert!(doc.get(&["cloud_mesh", "active_network_id"]).unwrap().is_null());
}

#[test]
fn a_flat_network_becomes_the_first_of_the_list_and_the_active_one() {
    let mesh = |value: Value| load(json!({"cloud_mesh": value}))["cloud_mesh"].clone();
    let flat =
        mesh(json!({"network_id": "home", "locked": true, "turn_servers": [{"url": "turn:t"}], "label": "x",
        "prompts": [], "use_public_turn_fallback": true, "enabled": true}));
    let entry = &flat["networks"][0];
    assert_eq!(flat["active_network_id"], entry["id"]);
    assert_eq!(entry["network_id"], "home");
    assert_eq!(entry["turn_servers"], json!([{"url": "turn:t"}]));
    assert_eq!(entry["stun_servers"], json!(STUN));
    assert!(entry.get("label").is_none());
    let keys: Vec<_> = flat.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["active_network_id", "diag_quiet", "enabled", "label", "networks", "prompts"]);
    // Any one marker will do; a number or a boolean is turned into text, a list or an object is
    // not.
    for marker in [
        json!({"locked": false}),
        json!({"stun_servers": []}),
        json!({"accepting": "x"}),
        json!({"networks": {}, "locked": true}),
    ] {
        for (id, text) in [
            (json!(42), "42"),
            (json!(true), "true"),
            (json!(1.5), "1.5"),
            (json!(-0.0), "0"),
            (json!(" "), " "),
        ] {
            let mut section = marker.clone();
            section["network_id"] = id;
            assert_eq!(mesh(section)["networks"][0]["network_id"], text);
        }
        for id in [json!({"toString": 1}), json!(["a"]), json!(null), json!("")] {
            let mut section = marker.clone();
            section["network_id"] = id.clone();
            let got = mesh(section);
            assert_eq!(got["networks"], json!([]), "{id}");
            // Nothing became a network, so nothing goes away.
            assert_eq!(got["network_id"], id);
        }
    }
    let kept = mesh(json!({"network_id": 42}));
    assert_eq!((&kept["networks"], &kept["network_id"]), (&json!([]), &json!(42)));
    assert_eq!(
        mesh(json!({"network_id": "h", "signaling_servers": "wss://x"}))["networks"][0]["signaling_servers"],
        json!([])
    );
    let kept = mesh(json!({"network_id": "", "turn_servers": [{"url": "turn:mine"}]}));
    assert_eq!(kept["turn_servers"], json!([{"url": "turn:mine"}]));
}

#[test]
fn a_network_gets_its_defaults_and_loses_what_is_unusable() {
    let plain = load_network(json!({}));
    let id = plain["id"].as_str().unwrap();
    assert!(id.starts_with("net-") && id.len() == "net-".len() + 8 + 1 + 6, "{id}");
    assert_eq!(
        plain,
        json!({"id": id, "network_id": "", "signaling_servers": [], "stun_servers": STUN, "turn_servers": [],
            "accepting": "available", "auto_gossip": true})
    );
    for falsy in [json!(null), json!(""), json!(0), json!(false)] {
        let got = load_network(json!({"id": falsy, "network_id": falsy}));
        assert!(got["id"].as_str().unwrap().starts_with("net-"));
        assert_eq!(got["network_id"], "");
    }
    let kept = load_network(json!({"id": 7, "network_id": " Home "}));
    assert_eq!((&kept["id"], &kept["network_id"]), (&json!(7), &json!(" Home ")));
    assert_eq!(
        load_network(
            json!({"signaling_servers": ["wss://0.peerjs.com:443/", "WSS://0.peerjs.com:443/", 5, null,
            "wss://0.peerjs.com:443", "wss://mesh.myownllm.net/signal", "wss://0.peerjs.com:443/peerjs"]})
        )["signaling_servers"],
        json!(["WSS://0.peerjs.com:443/", 5, null, "wss://0.peerjs.com:443"])
    );
    for key in ["stun_servers", "turn_servers"] {
        for kept in [json!([]), json!("stun:x"), json!({"a": 1}), json!(0), json!(["x", 1])] {
            assert_eq!(load_network(json!({key: kept}))[key], kept);
        }
    }
    assert_eq!(load_network(json!({"stun_servers": null}))["stun_servers"], json!(STUN));
    assert_eq!(load_network(json!({"turn_servers": null}))["turn_servers"], json!([]));
    assert_eq!(load_network(json!({"accepting": "busy"}))["accepting"], "busy");
    assert_eq!(load_network(json!({"accepting": "Busy"}))["accepting"], "available");
    assert_eq!(load_network(json!({"auto_gossip": 0}))["auto_gossip"], true);
    for (key, odd) in [
        ("auto_approve", json!(1)),
        ("kind", json!("")),
        ("kind", json!(1)),
        ("agent_permissions", json!(0)),
        ("agent_permissions", json!("")),
        ("prompts", json!({})),
        ("prompts", json!(null)),
        ("label", json!(5)),
        ("locked", json!(true)),
        ("use_public_turn_fallback", json!({})),
        ("topology", json!(null)),
        ("topology", json!("ring")),
        ("topology", json!({"kind": 1})),
    ] {
        assert!(load_network(json!({key: odd})).get(key).is_none(), "{key} {odd}");
    }
}

#[test]
fn labels_are_trimmed_as_the_app_does_and_otherwise_spelled_as_they_were() {
    let white =
        "\t\n\u{b}\u{c}\r \u{a0}\u{1680}\u{2000}\u{200a}\u{2028}\u{2029}\u{202f}\u{205f}\u{3000}\u{feff}";
    assert_eq!(load_network(json!({"label": format!("{white}a b{white}")}))["label"], "a b");
    assert!(load_network(json!({"label": white})).get("label").is_none());
    for kept in ['\u{85}', '\u{180e}', '\u{200b}', '\u{2060}', '\u{1c}'] {
        let label = format!("{kept}x{kept}");
        assert_eq!(load_network(json!({"label": label}))["label"], label);
    }
    let (doc, _) =
        load_text(r#"{"cloud_mesh":{"networks":[{"label":"\u0020\ud83d\ude00 \u0041\/\u00a0\t"}]}}"#);
    assert_eq!(
        doc.get(&["cloud_mesh", "networks", "0", "label"]).unwrap().raw(),
        r#""\ud83d\ude00 \u0041\/""#
    );
}

#[test]
fn topologies() {
    let topology = |value: Value| load_network(json!({"topology": value})).get("topology").cloned();
    for (given, kept) in [
        (json!({"kind": "ring", "n_preferred": 3}), json!({"kind": "ring", "n_preferred": 3})),
        (json!({"kind": "ring", "n_preferred": 3.9}), json!({"kind": "ring", "n_preferred": 3})),
        (json!({"kind": "ring", "n_preferred": 1}), json!({"kind": "ring", "n_preferred": 1})),
        (json!({"kind": "ring", "n_preferred": 0.5}), json!({"kind": "ring"})),
        (json!({"kind": "ring", "n_preferred": 0}), json!({"kind": "ring"})),
        (json!({"kind": "ring", "n_preferred": -2}), json!({"kind": "ring"})),
        (json!({"kind": "ring", "n_preferred": null}), json!({"kind": "ring"})),
        (json!({"kind": "ring", "n_preferred": "3", "x": 1}), json!({"kind": "ring", "x": 1})),
        (json!({"kind": "star", "hub": "h", "x": 1}), json!({"kind": "star", "hub": "h", "x": 1})),
        (json!({"kind": "full_mesh", "x": 1}), json!({"kind": "full_mesh", "x": 1})),
        (
            json!({"kind": "hubs", "hubs": ["a"], "n_preferred": 0.5}),
            json!({"kind": "hubs", "hubs": ["a"], "n_preferred": 0.5}),
        ),
    ] {
        assert_eq!(topology(given), Some(kept));
    }
    for gone in [
        json!({"kind": "star"}),
        json!({"kind": "star", "hub": ""}),
        json!({"kind": "star", "hub": 5}),
        json!([]),
        json!({}),
    ] {
        assert_eq!(topology(gone), None);
    }
    let star = json!({"cloud_mesh": {"networks": [{"topology": {"kind": "star"}}]}});
    assert!(found(star).contains(&("config.dropped", "/cloud_mesh/networks/0/topology".to_owned())));
    let (doc, _) = load_text(
        r#"{"cloud_mesh":{"networks":[{"topology":{"kind":"ring","n_preferred":1e400}},
            {"topology":{"kind":"ring","n_preferred":2.0e0}}]}}"#,
    );
    assert!(doc.get(&["cloud_mesh", "networks", "0", "topology", "n_preferred"]).is_none());
    assert_eq!(doc.get(&["cloud_mesh", "networks", "1", "topology", "n_preferred"]).unwrap().raw(), "2.0e0");
}

#[test]
fn prompts() {
    let prompts = |value: Value| load_network(json!({"prompts": value}))["prompts"].clone();
    let all = ["networks", "read_file", "write_file", "shell"];
    assert_eq!(
        prompts(json!([{"id": "p"}])),
        json!([{"id": "p", "name": "", "system_prompt": "", "tools": all, "user_prompt": "",
            "updated_at": 0}])
    );
    let given = json!([{"id": "p", "name": 5, "system_prompt": null, "user_prompt": "u",
        "tools": ["shell", "web_search", "shell", 5, null], "updated_at": 9.7, "tint": "blue"}, {"id": "p"}]);
    let got = prompts(given);
    assert_eq!(
        got[0],
        json!({"id": "p", "name": "", "system_prompt": "", "user_prompt": "u",
            "tools": ["shell", "web_search", "shell"], "updated_at": 9, "tint": "blue"})
    );
    assert_eq!(got[1]["id"], "p");
    assert_eq!(prompts(json!([{"id": "p", "tools": {}, "updated_at": -3}]))[0]["tools"], json!(all));
    assert_eq!(prompts(json!([{"id": "p", "updated_at": -0.5}]))[0]["updated_at"], 0);
    assert_eq!(prompts(json!([{"id": "p", "tools": []}]))[0]["tools"], json!([]));
    assert_eq!(prompts(json!([5, "x", null, [1]])), json!([]));
    // The text of a prompt without an id is not lost.
    for id in [json!(null), json!(""), json!(7)] {
        let got = prompts(json!([{"id": id, "name": "My prompt", "system_prompt": "lots"}]));
        assert!(got[0]["id"].as_str().unwrap().starts_with("prm-"));
        assert_eq!(got[0]["system_prompt"], "lots");
    }
    assert!(
        found(json!({"cloud_mesh": {"networks": [{"prompts": [{"id": "p"}, 7]}]}}))
            .contains(&("config.dropped", "/cloud_mesh/networks/0/prompts/1".to_owned()))
    );
}

#[test]
fn permissions() {
    let permissions =
        |value: Value| load_network(json!({"agent_permissions": value}))["agent_permissions"].clone();
    let fresh = json!({"mode": "ask", "always_accept": [], "updated_at": 0});
    for odd in [json!(7), json!("x"), json!([1]), json!(true), json!({})] {
        assert_eq!(permissions(odd), json!({"shell": fresh, "write_file": fresh}));
    }
    assert_eq!(
        permissions(
            json!({"shell": {"mode": "accept_all", "always_accept": ["ls", 5, null], "updated_at": 4.5,
                "why": "x"}, "browser": {"mode": "denied"}, "note": 1, "by_device": 5})
        ),
        json!({"shell": {"mode": "accept_all", "always_accept": ["ls"], "updated_at": 4, "why": "x"},
            "write_file": fresh, "browser": {"mode": "denied"}, "note": 1, "by_device": 5})
    );
    // Per device: siblings are overruled, the strictly newest record of a tool counts, whole.
    assert_eq!(
        permissions(json!({"shell": {"mode": "denied"}, "x": 1, "by_device": {}})),
        json!({"shell": fresh, "write_file": fresh, "x": 1})
    );
    let (doc, _) = load_text(
        r#"{"cloud_mesh":{"networks":[{"agent_permissions":{"by_device":{
        "b":{"shell":{"mode":"denied","updated_at":5},"write_file":{"mode":"accept_all"}},
        "10":{"shell":{"mode":"accept_all","updated_at":5},"write_file":{"mode":"ask","always_accept":["x"]}},
        "9":{"shell":{"mode":"ask","updated_at":7,"why":"newest"}},
        "c":7, "01":{"write_file":{"mode":"denied"}}}}}]}}"#,
    );
    let got = doc.get(&["cloud_mesh", "networks", "0", "agent_permissions"]).unwrap().to_value();
    assert_eq!(got["shell"], json!({"mode": "ask", "always_accept": [], "updated_at": 7, "why": "newest"}));
    // Without stamps the first in the language's order (9, 10, then file order) is stamped now, and
    // stays.
    assert_eq!(
        got["write_file"],
        json!({"mode": "ask", "always_accept": ["x"], "updated_at": 1_750_000_000_000u64})
    );
    let listed = permissions(json!({"by_device": [{"shell": {"mode": "denied", "updated_at": 1}},
            {"shell": {"mode": "accept_all", "updated_at": 1}}]}));
    assert_eq!(listed["shell"]["mode"], "denied");
}

#[test]
fn legacy_permissions_go_on_every_network_without_its_own() {
    let all = load(json!({"agent_permissions": {"shell": {"mode": "denied"}}, "cloud_mesh": {"networks": [
        {"id": "a"}, {"id": "b", "agent_permissions": {"shell": {"mode": "accept_all"}}},
        {"id": "c", "agent_permissions": 0}]}}));
    assert!(all.get("agent_permissions").is_none());
    let modes: Vec<_> = all["cloud_mesh"]["networks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["agent_permissions"]["shell"]["mode"].clone())
        .collect();
    assert_eq!(modes, ["denied", "accept_all", "denied"]);
    // Onto a flat network, too.
    let flat = load(
        json!({"agent_permissions": {"shell": {"mode": "denied"}}, "cloud_mesh": {"network_id": "home"}}),
    );
    assert_eq!(flat["cloud_mesh"]["networks"][0]["agent_permissions"]["shell"]["mode"], "denied");
    assert!(flat.get("agent_permissions").is_none());
}

#[test]
fn c8_permissions_wait_at_the_top_until_there_is_a_network() {
    let (mut doc, _) = load_text(r#"{"agent_permissions":{"shell":{"mode":"denied"}}}"#);
    assert_eq!(doc.get(&["agent_permissions"]).unwrap().raw(), r#"{"shell":{"mode":"denied"}}"#);
    networks::add(&mut doc, "home", false, &mut ids()).unwrap();
    assert!(doc.get(&["agent_permissions"]).is_none());
    let network = networks::find(&doc, "home").unwrap();
    assert_eq!(network.get("agent_permissions").unwrap().to_value()["shell"]["mode"], "denied");
    assert_eq!(network.get("agent_permissions").unwrap().to_value()["write_file"]["mode"], "ask");
    assert!(load(json!({"agent_permissions": null})).get("agent_permissions").is_none());
}

#[test]
fn c13_stun_absent_is_the_default_and_an_empty_list_is_none() {
    let stun = |network: Value| {
        let given = json!({"networks": [network]}).to_string();
        salvage_bytes(given.as_bytes(), &mut ids())
            .unwrap()
            .app
            .get(&["cloud_mesh", "networks", "0", "stun_servers"])
            .unwrap()
            .to_value()
    };
    assert_eq!(stun(json!({"id": "a", "network_id": "n"})), json!(STUN));
    for given in [json!([]), json!(null), json!("x"), json!([{"urls": []}])] {
        assert_eq!(stun(json!({"id": "a", "network_id": "n", "stun_servers": given})), json!([]));
    }
}

#[test]
fn c17_a_doubled_internal_id_gets_a_new_one() {
    let all = load(json!({"cloud_mesh": {"active_network_id": "d", "networks": [
        {"id": "d", "network_id": "one"}, {"id": "d", "network_id": "two"}, {"id": 7}, {"id": 7.0},
        {"id": {"a": 1}}, {"id": {"a": 1}}]}}));
    let ids: Vec<_> =
        all["cloud_mesh"]["networks"].as_array().unwrap().iter().map(|n| n["id"].clone()).collect();
    assert_eq!(
        (&ids[0], &ids[2], &ids[4], &ids[5]),
        (&json!("d"), &json!(7), &json!({"a": 1}), &json!({"a": 1}))
    );
    assert!(ids[1].as_str().unwrap().starts_with("net-") && ids[3].as_str().unwrap().starts_with("net-"));
    assert_eq!(all["cloud_mesh"]["active_network_id"], "d");
}

#[test]
fn hundreds_of_networks_are_no_trouble() {
    let networks: Vec<_> =
        (0..3_000).map(|n| json!({"id": format!("n{n}"), "network_id": format!("net-{n}")})).collect();
    let all = load(json!({"version": 1, "daemon": {}, "networks": networks}));
    assert_eq!(all["cloud_mesh"]["networks"].as_array().unwrap().len(), 3_000);
}
