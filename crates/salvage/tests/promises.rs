//! The guarantees of a load: the rules of the app's schema, and the guarantees beyond them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::{Diagnostic, Document, SeededIds, app_config, convert, networks};
use myownllm_salvage::{
    AppSchema, MyOwnLlm, Shape, app_half, normalize, restore_wiped, salvage, salvage_bytes, shape,
    unrecognised_networks, with_app_half,
};
use rstest::rstest;
use serde_json::{Value, json};

const DIR: &str = "/home/u/.myownllm/conversations";
const STUN: [&str; 2] = ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"];

fn ids() -> SeededIds {
    SeededIds::new(1_750_000_000_000, 5)
}

fn doc(text: impl AsRef<str>) -> Document {
    Document::parse(text.as_ref().as_bytes()).unwrap().document
}

fn load_text(text: &str) -> (Document, Vec<Diagnostic>) {
    let normalized = normalize(text.as_bytes(), DIR, &mut ids()).unwrap();
    let (document, diagnostics) = (normalized.document, normalized.diagnostics);
    // Every load is final, whatever it was given.
    let again = normalize(&document.to_bytes(), DIR, &mut SeededIds::new(1_760_000_000_000, 77)).unwrap();
    assert!(!again.document.is_modified(), "a second load changes {text}");
    (document, diagnostics)
}

fn load(value: Value) -> Value {
    load_text(&value.to_string()).0.root().to_value()
}

fn found(value: Value) -> Vec<(&'static str, String)> {
    load_text(&value.to_string()).1.into_iter().map(|d| (d.code, d.path)).collect()
}

/// The one network of a config after a load.
fn load_network(network: Value) -> Value {
    load(json!({"cloud_mesh": {"networks": [network]}}))["cloud_mesh"]["networks"][0].clone()
}

fn refused(bytes: &[u8]) -> bool {
    let at_load = normalize(bytes, DIR, &mut ids()).is_err();
    assert_eq!(at_load, salvage_bytes(bytes, &mut ids()).is_err());
    at_load
}

#[test]
fn top_level_defaults_and_what_counts_as_absent() {
    let fresh = load(json!({}));
    assert_eq!(fresh, app_config::defaults(DIR).root().to_value());
    let keys: Vec<String> = load_text("{}").0.root().members().map(|(key, _)| key.into_owned()).collect();
    assert_eq!(keys, app_config::keys().collect::<Vec<_>>());
    // Kept whatever it is, null included.
    for key in ["active_provider", "model_cleanup_days"] {
        for value in [json!(null), json!(7), json!(""), json!([1]), json!({"a": 1}), json!(false)] {
            assert_eq!(load(json!({key: value}))[key], value, "{key}");
        }
    }
    // Falsy gives way, other types stay.
    for falsy in [json!(null), json!(""), json!(0), json!(-0.0), json!(false)] {
        assert_eq!(load(json!({"active_family": falsy}))["active_family"], "gemma4");
        assert_eq!(load(json!({"conversation_dir": falsy}))["conversation_dir"], DIR);
    }
    assert_eq!(
        load_text("{\"active_family\":0e5}").0.get(&["active_family"]).unwrap().as_str().unwrap(),
        "gemma4"
    );
    assert_eq!(load(json!({"active_family": []}))["active_family"], json!([]));
    assert_eq!(load(json!({"conversation_dir": {"a": 1}}))["conversation_dir"], json!({"a": 1}));
    for key in ["cleanup_warning_suppressed_families", "kept_models"] {
        assert_eq!(load(json!({key: null}))[key], json!([]));
        assert_eq!(load(json!({key: ""}))[key], "");
        assert_eq!(load(json!({key: 0}))[key], 0);
    }
    for key in ["mode_overrides", "family_overrides"] {
        assert_eq!(load(json!({key: null}))[key], json!({}));
        assert_eq!(load(json!({key: [1]}))[key], json!([1]));
    }
    assert_eq!(load(json!({"providers": []}))["providers"], json!([]));
    assert_eq!(load(json!({"providers": "x"}))["providers"], "x");
    assert_eq!(load(json!({"providers": null}))["providers"], fresh["providers"]);
}

#[test]
fn tracked_modes_are_the_active_mode_when_there_are_none() {
    for none in [json!([]), json!(null), json!(""), json!(0), json!(false), json!({"length": 0})] {
        assert_eq!(
            load(json!({"active_mode": "text", "tracked_modes": none}))["tracked_modes"],
            json!(["text"])
        );
    }
    for mode in [json!(null), json!({"a": [1]}), json!(5)] {
        assert_eq!(load(json!({"active_mode": mode}))["tracked_modes"], json!([mode]));
    }
    for kept in
        [json!({"length": 1}), json!({}), json!("x"), json!([null]), json!(true), json!({"length": "0"})]
    {
        assert_eq!(load(json!({"tracked_modes": kept}))["tracked_modes"], kept);
    }
}

#[test]
fn sections_are_filled_in_and_what_is_no_object_counts_as_absent() {
    let fresh = load(json!({}));
    for section in ["auto_cleanup", "api", "auto_update", "remote_ui", "mic"] {
        for nothing in [
            json!(null),
            json!(7),
            json!(0),
            json!(true),
            json!(""),
            json!([]),
            json!("off"),
            json!(["x", 1]),
        ] {
            assert_eq!(load(json!({section: nothing}))[section], fresh[section], "{section} {nothing}");
        }
        let mut filled = fresh[section].clone();
        filled["x"] = json!({"deep": [1, null]});
        assert_eq!(load(json!({section: {"x": {"deep": [1, null]}}}))[section], filled);
    }
    let api = load(json!({"api": {"port": null, "enabled": "no", "bearer_token": 5}}))["api"].clone();
    assert_eq!(
        api,
        json!({"port": null, "enabled": "no", "bearer_token": 5, "host": "127.0.0.1",
            "cors_allow_all": false})
    );
}

#[test]
fn the_speech_model_moves_when_there_is_no_override() {
    let moved = |mic: Value, overrides: Value| {
        let all = load(json!({"mic": mic, "mode_overrides": overrides}));
        assert!(all["mic"].get("whisper_model").is_none());
        all["mode_overrides"].clone()
    };
    assert_eq!(moved(json!({"whisper_model": "w"}), json!({"a": "b"})), json!({"a": "b", "transcribe": "w"}));
    for falsy in [json!(null), json!(""), json!(0), json!(false)] {
        assert_eq!(
            moved(json!({"whisper_model": "w"}), json!({"transcribe": falsy})),
            json!({"transcribe": "w"})
        );
        assert_eq!(moved(json!({"whisper_model": falsy}), json!({})), json!({}));
    }
    assert_eq!(moved(json!({"whisper_model": "w"}), json!({"transcribe": "t"})), json!({"transcribe": "t"}));
    assert_eq!(moved(json!({"whisper_model": {"a": 1}}), json!(null)), json!({"transcribe": {"a": 1}}));
    assert_eq!(moved(json!({"whisper_model": "w"}), json!("abc")), json!({"transcribe": "w"}));
}

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

// The guarantees beyond the app's own load.

#[test]
fn c1_nothing_unknown_is_dropped() {
    let kept = json!({"deep": [1, {"x": null}]});
    let given = json!({"new": kept, "api": {"new": kept}, "cloud_mesh": {"new": kept, "networks": [{
        "id": "n", "new": kept, "topology": {"kind": "ring", "new": kept},
        "turn_servers": [{"url": "t", "new": kept}],
        "agent_permissions": {"new": kept, "shell": {"new": kept}},
        "prompts": [{"id": "p", "new": kept}]}]}});
    let all = load(given);
    let network = &all["cloud_mesh"]["networks"][0];
    for place in [
        &all["new"],
        &all["api"]["new"],
        &all["cloud_mesh"]["new"],
        &network["new"],
        &network["topology"]["new"],
        &network["turn_servers"][0]["new"],
        &network["agent_permissions"]["new"],
        &network["agent_permissions"]["shell"]["new"],
        &network["prompts"][0]["new"],
    ] {
        assert_eq!(*place, kept);
    }
    // Flat keys beside a list that has networks are unknown keys.
    let beside = load(json!({"cloud_mesh": {"network_id": "old", "locked": true,
            "networks": [{"id": "a", "network_id": "home"}]}}));
    assert_eq!(beside["cloud_mesh"]["networks"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&beside["cloud_mesh"]["network_id"], &beside["cloud_mesh"]["locked"]),
        (&json!("old"), &json!(true))
    );
    assert!(load(json!({"sources": [1]})).get("sources").is_none());
}

#[test]
fn c2_bytes_outside_what_changes_stay_bytes() {
    let complete = load_text(
        r#"{"x":1e5,"y":0.10,"z":123456789012345678901234567890,"w":"\u0041\/",
        "cloud_mesh":{"networks":[{"id":"a","network_id":"\u0068","e":1E+2}]}}"#,
    )
    .0;
    let text = complete.to_text();
    for piece in ["1e5", "0.10", "123456789012345678901234567890", r#""\u0041\/""#, r#""\u0068""#, "1E+2"] {
        assert!(text.contains(piece), "{piece}");
    }
    assert!(text.starts_with(
        r#"{"x":1e5,"y":0.10,"z":123456789012345678901234567890,"w":"\u0041\/",
        "cloud_mesh":{"networks":[{"id":"a","network_id":"\u0068","e":1E+2,"#
    ));
    let again = normalize(text.as_bytes(), DIR, &mut ids()).unwrap().document;
    assert!(!again.is_modified());
    assert_eq!(again.to_text(), text);
    // A new file.
    assert!(
        app_config::defaults(DIR).to_text().starts_with("{\n  \"active_provider\": \"MyOwnLLM Default\",\n")
    );
}

#[test]
fn c3_and_c22_what_is_no_object_is_refused_with_its_place() {
    for bad in ["", " ", "{", "null", "[]", "3", "\"x\"", "true", "{\"a\":1,}", "// x\n{}", "\0\0\0", "{}\0"]
    {
        assert!(refused(bad.as_bytes()), "{bad:?}");
    }
    assert!(refused(b"\xff\xfe{\x00}\x00"));
    let error = normalize(b"{\n \"a\": tru }", DIR, &mut ids()).unwrap_err();
    assert_eq!((error.line, error.column, error.path.as_str()), (2, 10, "/a"));
    assert!(error.to_string().contains("line 2, column 10"));
}

#[test]
fn c4_one_bad_part_does_not_take_the_rest_down() {
    let given = json!({"kept_models": ["m"],
        "cloud_mesh": {"networks": [{"id": "a", "network_id": "home"}, null, 5, "x", [1],
        {"id": "b", "signaling_servers": {"a": 1}}]}});
    let all = load(given.clone());
    assert_eq!(all["kept_models"], json!(["m"]));
    let ids: Vec<_> =
        all["cloud_mesh"]["networks"].as_array().unwrap().iter().map(|n| n["id"].clone()).collect();
    assert_eq!(ids, ["a", "b"]);
    let found = found(given);
    for path in [
        "/cloud_mesh/networks/1",
        "/cloud_mesh/networks/2",
        "/cloud_mesh/networks/3",
        "/cloud_mesh/networks/4",
    ] {
        assert!(found.contains(&("config.dropped", path.to_owned())), "{path}");
    }
    assert!(found.contains(&("config.replaced", "/cloud_mesh/networks/5/signaling_servers".to_owned())));
    for odd in [json!({}), json!("x"), json!(7), json!(true), json!({"0": {"id": "a"}})] {
        let given = json!({"cloud_mesh": {"enabled": true, "networks": odd, "active_network_id": "a"}});
        let mesh = &load(given.clone())["cloud_mesh"];
        assert_eq!(
            (&mesh["networks"], &mesh["active_network_id"], &mesh["enabled"]),
            (&json!([]), &json!(null), &json!(true))
        );
        assert!(self::found(given).contains(&("config.replaced", "/cloud_mesh/networks".to_owned())));
    }
}

#[test]
fn c5_wrong_types_stay_on_disk_with_a_diagnostic_and_read_as_defaults() {
    let given = json!({"active_provider": 5, "api": {"port": "x"}, "kept_models": {"a": 1},
        "cloud_mesh": {"enabled": "no",
        "networks": [{"id": "n", "network_id": {"a": 1}, "stun_servers": "stun:x", "turn_servers": 7}]}});
    let found = found(given.clone());
    for path in [
        "/active_provider",
        "/api/port",
        "/kept_models",
        "/cloud_mesh/enabled",
        "/cloud_mesh/networks/0/network_id",
        "/cloud_mesh/networks/0/stun_servers",
        "/cloud_mesh/networks/0/turn_servers",
    ] {
        assert!(found.contains(&("config.wrong-type", path.to_owned())), "{path}: {found:?}");
    }
    let (doc, _) = load_text(&given.to_string());
    assert_eq!(doc.get(&["api", "port"]).unwrap().raw(), "\"x\"");
    let view = myownllm_config_model::AppConfig::view(&doc);
    assert_eq!(view.active_provider, "MyOwnLLM Default");
    assert_eq!(view.api.port, 1473);
    assert!(!view.cloud_mesh.enabled && view.kept_models.is_empty());
    assert_eq!(view.cloud_mesh.networks[0].stun_servers, STUN);
    assert!(view.cloud_mesh.networks[0].turn_servers.is_empty());
}

#[test]
fn c6_newer_kinds_are_kept() {
    let got = load_network(
        json!({"kind": "silent", "topology": {"kind": "hubs", "hubs": ["a"], "spoke_redundancy": 2}}),
    );
    assert_eq!(got["kind"], "silent");
    assert_eq!(got["topology"], json!({"kind": "hubs", "hubs": ["a"], "spoke_redundancy": 2}));
    assert_eq!(load_network(json!({"kind": " "}))["kind"], " ");
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
fn c9_shapes() {
    let net = json!({"id": "d", "network_id": "n"});
    for (given, wanted) in [
        (json!({"networks": [net]}), Shape::Daemon),
        (json!({"networks": [{"id": "", "network_id": ""}]}), Shape::Daemon),
        (json!({"networks": [net], "active_family": null}), Shape::Mixed),
        (json!({"networks": [net], "cloud_mesh": 5}), Shape::Mixed),
        (json!({"networks": [net], "active_mode": "text"}), Shape::Daemon),
        (json!({"version": 3, "daemon": {}, "networks": []}), Shape::Daemon),
        (json!({"version": 0.5, "daemon": {}, "networks": [null, 5]}), Shape::Daemon),
        (json!({"version": 3, "daemon": {}, "networks": [], "providers": null}), Shape::App),
        (json!({"version": 3, "daemon": {}, "networks": [net, null], "cloud_mesh": {}}), Shape::App),
        (json!({"version": "3", "daemon": {}, "networks": []}), Shape::Unknown),
        (json!({"version": 3, "daemon": null, "networks": []}), Shape::Unknown),
        (json!({"version": 3, "daemon": [], "networks": []}), Shape::Unknown),
        (json!({"version": 3, "daemon": {}, "networks": {}}), Shape::Unknown),
        (json!({"version": 3, "daemon": {}}), Shape::Unknown),
        (json!({"networks": []}), Shape::Unknown),
        (json!({"networks": [net, {"id": 7, "network_id": "x"}]}), Shape::Unknown),
        (json!({"networks": [net, {"id": "x"}], "active_family": "q"}), Shape::App),
        (json!({"active_family": ""}), Shape::App),
        (json!({}), Shape::Unknown),
    ] {
        let document = doc(given.to_string());
        assert_eq!(shape(&document), wanted, "{given}");
        let salvaged = salvage(&document, None, &mut ids());
        let is_daemons = matches!(wanted, Shape::Daemon | Shape::Mixed);
        assert_eq!(salvaged.daemon.is_some(), is_daemons);
        if !is_daemons {
            // Nothing is stripped from what is not recognised.
            assert_eq!(salvaged.app.to_text(), given.to_string());
        }
    }
}

#[test]
fn config_of_another_app_is_left_as_it_is() {
    let bytes = br#"{"theme": "dark",  "zoom": 2e0, "networks": ["a"], "version": 7}"#;
    let salvaged = salvage_bytes(bytes, &mut ids()).unwrap();
    assert_eq!(salvaged.report.shape, Shape::Unknown);
    assert_eq!(salvaged.app.to_bytes(), bytes);
    assert!(salvaged.daemon.is_none() && salvaged.report.reset_keys.is_empty());
}

#[test]
fn c9_the_good_networks_are_recovered_and_the_odd_ones_named() {
    let given = doc(r#"{"version":1,"daemon":{},"networks":[null,{"id":"a","network_id":"home"},{"id":7,
            "network_id":"x"}]}"#);
    let salvaged = salvage(&given, None, &mut ids());
    assert_eq!(salvaged.report.recovered_networks, ["home"]);
    assert_eq!(salvaged.report.odd_networks, [0, 2]);
    let odd: Vec<_> = salvaged.diagnostics.iter().map(|d| (d.code, d.path.as_str())).collect();
    assert_eq!(odd, [("salvage.odd-network", "/networks/0"), ("salvage.odd-network", "/networks/2")]);
    assert_eq!(salvaged.app.get(&["cloud_mesh", "networks"]).unwrap().items().count(), 1);
}

#[test]
fn c10_what_is_stripped_and_what_stays() {
    let given = doc(concat!(
        r#"{"version":3,"identity_path":null,"auto_update":{"enabled":true,"stable_url":null},"#,
        r#""auto_cleanup":{"updates":false},"daemon":{},"services":{"turn":{}},"networks":[],"#,
        r#""new":1e5}"#
    ));
    let salvaged = salvage(&given, None, &mut ids());
    assert_eq!(
        salvaged.app.to_text(),
        r#"{"auto_update":{"enabled":true,"stable_url":null},"auto_cleanup":{"updates":false},"new":1e5}"#
    );
    assert_eq!(salvaged.report.stripped_keys, ["version", "identity_path", "daemon", "services", "networks"]);
    assert!(salvaged.report.reset_keys.contains(&"providers".to_owned()));
    let (cleanup, update) = ("auto_cleanup.", "auto_update");
    let of = |name: &str| -> Vec<&str> {
        salvaged.report.reset_keys.iter().map(String::as_str).filter(|key| key.starts_with(name)).collect()
    };
    // What the daemon has not kept of the sections that both have is at its default too: deletions
    // are on again.
    let lost = ["models", "transcribe_buffer", "legacy", "conversations"];
    assert_eq!(of(cleanup), lost.map(|member| format!("{cleanup}{member}")));
    assert_eq!(
        of(update),
        ["channel", "auto_apply", "check_interval_hours"].map(|m| format!("{update}.{m}"))
    );
    assert_eq!(of("mic"), ["mic"]);
}

#[test]
fn c11_the_daemons_half_and_what_the_daemon_knows_of_a_network() {
    let text = concat!(
        r#"{"version":3,"identity_path":"/i","auto_update":{"x":1e5},"auto_cleanup":{"updates":true},"#,
        r#""daemon":{"control_socket":"/s"},"services":{"a":0.10},"networks":["#,
        "\n",
        r#"      {"id":"a","network_id":"home","label":"H","kind":"silent","topology":{"kind":"hubs","#,
        r#""hubs":["x"]},"#,
        "\n",
        r#"       "signaling":{"strategy":"none","mdns":true,"servers":["wss://a"],"redundancy":5,"#,
        r#""denylist":["chorus.pjv.me","relay.damus.io"],"public_fallback":false,"listen_only":true,"#,
        r#""later":1},"#,
        "\n",
        r#"       "stun_servers":[{"urls":["stun:a","stun:b"]},{"urls":["stun:c",5]},7],"#,
        "\n",
        r#"       "turn_servers":[{"urls":["","turn:1"],"username":"u","credential":""},"#,
        r#"{"urls":["turn:2","turn:3"],"username":null,"credential":"c"},{"urls":[]},{"urls":"turn:x"},"#,
        r#"null],"#,
        "\n",
        r#"       "roster_path":"/r","pinned_peers":["p"],"auto_approve":true,"accepting":"busy","#,
        r#""auto_gossip":false,"prompts":[],"agent_permissions":{},"future":[1e2]}],"unknown":1}"#
    );
    let given = doc(text);
    let salvaged = salvage(&given, None, &mut ids());
    let half = salvaged.daemon.unwrap();
    let (before, after) = (text.split("[\n").next().unwrap(), r#"[],"unknown":1}"#);
    assert_eq!(half.to_text(), format!("{before}{after}"));
    assert_eq!(
        salvaged.app.get(&["cloud_mesh", "networks", "0"]).unwrap().to_value(),
        json!({"id": "a", "network_id": "home", "label": "H", "kind": "silent",
            "topology": {"kind": "hubs", "hubs": ["x"]},
            "signaling_servers": ["wss://a"], "stun_servers": ["stun:a", "stun:b", "stun:c"],
            "turn_servers": [{"url": "turn:1", "username": "u", "credential": ""},
            {"url": "turn:2", "credential": "c"}],
            "auto_approve": true,
            "daemon_settings": {
                "signaling": {"strategy": "none", "denylist": ["chorus.pjv.me", "relay.damus.io"],
                "public_fallback": false, "listen_only": true, "later": 1},
                "turn_servers": [{"urls": ["turn:2", "turn:3"], "username": null, "credential": "c"}],
                "pinned_peers": ["p"], "roster_path": "/r", "future": [1e2]}})
    );
    // Left out is what is empty or null, not what is of another type.
    for (value, stays) in [
        (json!(null), false),
        (json!(""), false),
        (json!([]), false),
        (json!({}), false),
        (json!(false), true),
        (json!(0), true),
    ] {
        for key in ["roster_path", "pinned_peers"] {
            let mut network = json!({"id": "a", "network_id": "home"});
            network[key] = value.clone();
            let kept = load(json!({"networks": [network]}))["cloud_mesh"]["networks"][0]
                .get("daemon_settings")
                .map(|settings| settings[key].clone());
            assert_eq!(kept, stays.then(|| value.clone()), "{key} {value}");
        }
    }
    // From a mixed document only the daemon's own keys, and those that both have.
    let mixed = doc(concat!(
        r#"{"providers":[],"version":1,"daemon":{},"auto_update":{},"secret_of_the_app":1,"#,
        r#""networks":[{"id":"a","network_id":"home"}]}"#
    ));
    let half = salvage(&mixed, None, &mut ids()).daemon.unwrap();
    assert_eq!(half.to_text(), r#"{"version":1,"daemon":{},"auto_update":{},"networks":[]}"#);
    // A reader that is less patient than we are.
    let odd = Document::parse(b"\xef\xbb\xbf{\"version\":1,\"daemon\":{\"x\":\"\xff\"},\"networks\":[]}")
        .unwrap()
        .document;
    assert_eq!(
        salvage(&odd, None, &mut ids()).daemon.unwrap().to_bytes(),
        "{\"version\":1,\"daemon\":{\"x\":\"\u{fffd}\"},\"networks\":[]}".as_bytes()
    );
}

/// The settings that only the daemon has come along although the backup has the network: without
/// them the daemon would announce it.
#[rstest]
#[case::daemon_shaped(r#"{"version":3,"daemon":{}"#)]
#[case::mixed(
    r#"{"cloud_mesh":{"networks":[{"id":"a","network_id":"Home","kind":"open","daemon_settings":
    {"signaling":{"mdns":true},"pinned_peers":["q"]}}]},"providers":[],"version":3,"daemon":{}"#
)]
fn silent_network_that_the_app_has_already_stays_silent(#[case] begin: &str) {
    let file = doc(format!(
        r#"{begin},"networks":[{{"id":"a","network_id":"home","label":"daemon's","kind":"silent","roster_path":"/r",
        "signaling":{{"strategy":"none","listen_only":true,"mdns":false,"servers":["wss://daemon"]}},
        "pinned_peers":["p"]}}]}}"#
    ));
    let backup = doc(
        r#"{"cloud_mesh":{"networks":[{"id":"b","network_id":"other"},{"id":"a","network_id":"Home","kind":"open",
        "label":"app's","signaling_servers":["wss://app"],"daemon_settings":{"signaling":{"mdns":true},
        "pinned_peers":["q"]}}]}}"#,
    );
    let salvaged = salvage(&file, Some(&backup), &mut ids());
    assert_eq!(salvaged.report.known_networks, ["home"]);
    let home = networks::find(&salvaged.app, "home").unwrap();
    assert!(home.get("kind").unwrap().is_str("silent"), "{}", home.raw());
    assert!(home.get("label").is_none_or(|label| label.is_str("app's")), "{}", home.raw());
    // The app's own settings stay.
    assert_eq!(
        home.get("daemon_settings").unwrap().to_value(),
        json!({"signaling": {"mdns": true, "strategy": "none", "listen_only": true}, "pinned_peers": ["q"],
            "roster_path": "/r"})
    );
}

#[test]
fn c12_a_turn_group_goes_back_whole_until_its_entry_is_changed() {
    let group = json!({"urls": ["", "turn:1", "turn:2"], "username": "u", "credential": null});
    let given = json!({"networks": [{"id": "a", "network_id": "home",
        "turn_servers": [group, group, {"urls": ["turn:3"]}]}]});
    let (mut loaded, _) = load_text(&given.to_string());
    let pushed = |doc: &Document| {
        convert::to_daemon(networks::find(doc, "home").unwrap()).unwrap()["turn_servers"].clone()
    };
    assert_eq!(pushed(&loaded), json!([group, group, {"urls": ["turn:3"]}]));
    let turn = ["cloud_mesh", "networks", "0", "turn_servers"];
    loaded.set(&[&turn[..], &["0", "username"]].concat(), "v");
    assert_eq!(pushed(&loaded), json!([{"urls": ["turn:1"], "username": "v"}, group, {"urls": ["turn:3"]}]));
    loaded.remove(&[&turn[..], &["1"]].concat());
    assert_eq!(pushed(&loaded), json!([{"urls": ["turn:1"], "username": "v"}, {"urls": ["turn:3"]}]));
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
fn c14_recovery_alone_connects_to_nothing() {
    let all = load(json!({"version": 3, "daemon": {}, "networks": [{"id": "a", "network_id": "home"}]}));
    assert_eq!(
        (&all["cloud_mesh"]["active_network_id"], &all["cloud_mesh"]["enabled"]),
        (&json!(null), &json!(false))
    );
    let report =
        salvage_bytes(br#"{"networks":[{"id":"a","network_id":"home"}]}"#, &mut ids()).unwrap().report;
    assert_eq!(report.activate.as_deref(), Some("home"));
    // Unless the app's own half names it.
    let mixed = load(json!({"networks": [{"id": "a", "network_id": "home"}],
            "cloud_mesh": {"enabled": true, "active_network_id": "a"}}));
    assert_eq!(
        (&mixed["cloud_mesh"]["active_network_id"], &mixed["cloud_mesh"]["enabled"]),
        (&json!("a"), &json!(true))
    );
}

#[test]
fn c15_a_repair_starts_from_the_last_good_copy() {
    let copy =
        doc(r#"{"providers":[{"name":"Mine"}],"active_family":"qwen3","auto_update":{"channel":"beta"},
            "cloud_mesh":{"enabled":true,"active_network_id":"net-m1","networks":[{"id":"net-m1",
            "network_id":"home-mesh","label":"mine"}]},"x":1e5}"#);
    let given = doc(
        r#"{"version":3,"daemon":{},"auto_update":{"channel":"stable"},"new":1,"networks":[{"id":"net-m1",
            "network_id":" HOME-mesh","label":"theirs"},{"id":"net-m1","network_id":"other"}]}"#,
    );
    let salvaged = salvage(&given, Some(&copy), &mut ids());
    let app = salvaged.app.root().to_value();
    assert_eq!(app["active_family"], "qwen3");
    assert_eq!(app["auto_update"]["channel"], "beta");
    assert_eq!(app["new"], 1);
    assert!(salvaged.app.to_text().contains("1e5"));
    let networks = app["cloud_mesh"]["networks"].as_array().unwrap();
    assert_eq!(networks.len(), 2);
    assert_eq!((&networks[0]["label"], &networks[1]["network_id"]), (&json!("mine"), &json!("other")));
    let report = &salvaged.report;
    assert_eq!(report.recovered_networks, ["other"]);
    assert_eq!(report.known_networks, [" HOME-mesh"]);
    assert_eq!(report.restored_keys, ["providers", "active_family", "auto_update", "cloud_mesh", "x"]);
    assert_eq!(report.kept_keys, ["new"]);
    assert!(
        report.reset_keys.contains(&"mic".to_owned()) && !report.reset_keys.contains(&"providers".to_owned())
    );
    assert_eq!(report.activate, None);
    // Completed, the doubled internal id is a new one, and the active one is still the user's.
    let mut done = salvaged.app;
    app_config::complete(&mut done, DIR, &mut ids());
    assert_eq!(networks::active(&done).unwrap().get("network_id").unwrap().as_str().unwrap(), "home-mesh");
    // A copy that is the daemon's itself is no copy.
    assert_eq!(salvage(&given, Some(&given), &mut ids()).report.restored_keys, Vec::<String>::new());

    // Mixed: the app's half stands as it is.
    let mixed = doc(r#"{"providers":[],"cloud_mesh":{"networks":[{"id":"a","network_id":"home","x":0.10}]},
            "networks":[{"id":"b","network_id":"HOME "},{"id":"c","network_id":"new"}]}"#);
    let salvaged = salvage(&mixed, Some(&copy), &mut ids());
    assert_eq!(salvaged.report.recovered_networks, ["new"]);
    assert!(salvaged.report.restored_keys.is_empty());
    assert!(salvaged.app.to_text().starts_with(
        r#"{"providers":[],"cloud_mesh":{"networks":[{"id":"a","network_id":"home","x":0.10},{"#
    ));
}

#[test]
fn c16_a_flat_network_beside_the_daemons_or_an_empty_list_is_a_network_too() {
    let all = load(json!({"networks": [{"id": "d", "network_id": "n"}],
            "cloud_mesh": {"network_id": "flat", "locked": true}}));
    let networks = all["cloud_mesh"]["networks"].as_array().unwrap();
    assert_eq!((&networks[0]["network_id"], &networks[1]["network_id"]), (&json!("flat"), &json!("n")));
    assert_eq!(all["cloud_mesh"]["active_network_id"], networks[0]["id"]);
    assert!(all["cloud_mesh"].get("network_id").is_none() && all["cloud_mesh"].get("locked").is_none());
    let all = load(json!({"cloud_mesh": {"network_id": "home", "locked": true, "networks": []}}));
    assert_eq!(all["cloud_mesh"]["networks"][0]["network_id"], "home");
    assert_eq!(all["cloud_mesh"]["active_network_id"], all["cloud_mesh"]["networks"][0]["id"]);
    // An entry that does not stay in the array hides no network, and a second load changes nothing.
    for beside in [json!({}), json!({"networks": [{"id": "d", "network_id": "n"}]})] {
        let mut given = json!({"cloud_mesh": {"network_id": "flat", "locked": true, "networks": [5, null]}});
        given.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
        let all = load(given.clone());
        let networks = all["cloud_mesh"]["networks"].as_array().unwrap();
        assert_eq!(networks[0]["network_id"], "flat");
        assert_eq!(networks.len(), if beside == json!({}) { 1 } else { 2 });
        assert!(all["cloud_mesh"].get("network_id").is_none());
        assert_eq!(load(all.clone()), all);
        assert_eq!(found(given).iter().filter(|(code, _)| *code == "config.dropped").count(), 2);
    }
    // The same network in both: the app's counts.
    let all = load(json!({"networks": [{"id": "d", "network_id": "Flat"}],
            "cloud_mesh": {"network_id": "flat", "locked": true}}));
    assert_eq!(all["cloud_mesh"]["networks"].as_array().unwrap().len(), 1);
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
fn c20_bom_duplicates_and_foreign_bytes() {
    let normalized =
        normalize(b"\xef\xbb\xbf{\"active_family\":\"a\",\"active_family\":\"B\xfcro\"}", DIR, &mut ids())
            .unwrap();
    assert_eq!(normalized.document.get(&["active_family"]).unwrap().as_str().unwrap(), "B\u{fffd}ro");
    let codes: Vec<_> = normalized.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["config.bom", "config.not-utf8", "config.duplicate-key"]);
    assert!(normalized.document.to_text().starts_with('{'));
}

#[test]
fn c21_artifacts_of_the_apps_language_are_not_reproduced() {
    let all = load(json!({"api": "off", "mic": ["x"], "cloud_mesh": "on"}));
    assert_eq!(all, load(json!({})));
    let found = found(json!({"api": "off", "mic": ["x"], "cloud_mesh": "on"}));
    for path in ["/api", "/mic", "/cloud_mesh"] {
        assert!(found.contains(&("config.replaced", path.to_owned())), "{path}");
    }
}

#[test]
fn c23_a_wiped_config_comes_back_from_the_backup_with_what_was_left_in_it() {
    let backup = doc(
        r#"{"active_family":"qwen3","api":{"port":1,"bearer_token":"t"},"x":1e5,"cloud_mesh":{"enabled":true,
        "active_network_id":"a","networks":[{"id":"a","network_id":"home"},{"id":"b",
        "network_id":"office"}]}}"#,
    );
    let restored = |wiped: &str| restore_wiped(&doc(wiped), &backup, DIR, &mut ids());
    // Of nothing nothing is left: what is restored is the backup, completed.
    let mut whole = backup.clone();
    app_config::complete(&mut whole, DIR, &mut ids());
    for nothing in
        ["{}", "{ \n}", r#"{"cloud_mesh":{"networks":[]}}"#, r#"{"active_family":5,"providers":[]}"#]
    {
        let restored = restored(nothing);
        assert_eq!(restored.app.to_bytes(), whole.to_bytes(), "{nothing}");
        assert_eq!(restored.kept, Vec::<String>::new(), "{nothing}");
    }
    // What the user has set since stands, and a network of the same internal id is not mistaken for
    // another.
    let left = restored(
        r#"{"active_family":"llama","api":{"host":"::1"},"y":0.10,"cloud_mesh":{"active_network_id":"a",
        "networks":[{"id":"a","network_id":"new"},{"id":"z","network_id":"OFFICE"}]}}"#,
    );
    assert_eq!(left.kept, ["active_family", "api.host", "y", "new"]);
    assert!(left.app.to_text().contains("1e5") && left.app.to_text().contains("0.10"));
    let app = left.app.root().to_value();
    assert_eq!(
        (&app["active_family"], &app["api"]["port"], &app["api"]["host"]),
        (&json!("llama"), &json!(1), &json!("::1"))
    );
    assert_eq!(networks::list(&left.app).len(), 3);
    assert_eq!(networks::active(&left.app).unwrap().get("network_id").unwrap().as_str().unwrap(), "new");
    assert_eq!(networks::find(&left.app, "home").unwrap().get("id").unwrap().as_str().unwrap(), "a");
    let mut again = left.app.clone();
    app_config::complete(&mut again, DIR, &mut ids());
    assert_eq!(again.to_bytes(), left.app.to_bytes(), "it is complete");
}

#[test]
fn c23_the_daemons_keys_of_a_mixed_document_outlast_the_restoring_of_the_apps_half() {
    let mixed = doc(r#"{"version":3,"daemon":{},"auto_update":{"auto_apply":"all"},"active_family":"gemma4",
            "networks":[{"id":"d","network_id":"theirs"}]}"#);
    assert_eq!(app_half(&mixed).to_text(), r#"{"active_family":"gemma4"}"#);
    let whole =
        with_app_half(&mixed, &doc(r#"{"active_family":"qwen3","auto_update":{"auto_apply":"patch"}}"#));
    let salvaged = salvage(&whole, None, &mut ids());
    assert_eq!(salvaged.report.recovered_networks, ["theirs"]);
    let app = salvaged.app.root().to_value();
    assert_eq!(
        (&app["active_family"], &app["auto_update"]["auto_apply"]),
        (&json!("qwen3"), &json!("patch"))
    );
    assert_eq!(salvaged.report.stripped_keys, ["version", "daemon", "networks"]);
}

#[test]
fn c25_a_flat_network_stands_first_among_the_recovered_ones_and_stays_active() {
    let flat = r#""cloud_mesh":{"network_id":"flat","locked":true}"#;
    let networks = r#""networks":[{"id":"d","network_id":"n"},{"id":"e","network_id":"Flat"}]"#;
    let ids_of = |app: &Document| -> Vec<String> {
        networks::list(app)
            .iter()
            .map(|n| n.get("network_id").unwrap().as_str().unwrap().into_owned())
            .collect()
    };
    let active = |app: &Document| {
        networks::active(app).unwrap().get("network_id").unwrap().as_str().unwrap().into_owned()
    };
    // In the document itself, in a backup that is in the form of earlier days, and in a document
    // that was wiped.
    let mixed = doc(format!("{{{flat},{networks}}}"));
    let leaked = doc(format!(r#"{{"version":3,"daemon":{{}},{networks}}}"#));
    let legacy = doc(format!(r#"{{"active_family":"qwen3",{flat}}}"#));
    for (given, backup) in [(&mixed, None), (&mixed, Some(&legacy)), (&leaked, Some(&legacy))] {
        let salvaged = salvage(given, backup, &mut ids());
        assert_eq!(
            (ids_of(&salvaged.app), active(&salvaged.app)),
            (vec!["flat".into(), "n".into()], "flat".into())
        );
        assert_eq!(salvaged.report.activate, None);
    }
    let backup =
        doc(r#"{"cloud_mesh":{"active_network_id":"h","networks":[{"id":"h","network_id":"home"}]}}"#);
    let half = restore_wiped(&app_half(&mixed), &backup, DIR, &mut ids()).app;
    let salvaged = salvage(&with_app_half(&mixed, &half), None, &mut ids());
    assert_eq!(
        (ids_of(&salvaged.app), active(&salvaged.app)),
        (vec!["home".into(), "flat".into(), "n".into()], "flat".into())
    );
}

#[test]
fn hundreds_of_networks_are_no_trouble() {
    let networks: Vec<_> =
        (0..3_000).map(|n| json!({"id": format!("n{n}"), "network_id": format!("net-{n}")})).collect();
    let all = load(json!({"version": 1, "daemon": {}, "networks": networks}));
    assert_eq!(all["cloud_mesh"]["networks"].as_array().unwrap().len(), 3_000);
}

#[test]
fn paths_into_the_old_home_follow_the_files() {
    let mut app = doc(concat!(
        r#"{"cloud_mesh":{"networks":[{"daemon_settings":"#,
        r#"{"roster_path":"/home/u/.myownllm/mesh/rosters/a.json"}},"#,
        r#"{},"#,
        "\n",
        r#"        {"daemon_settings":{"roster_path":"/home/u/.myownllm/.myownmesh/b.json"}},"#,
        "\n",
        r#"        {"daemon_settings":{"roster_path":"/home/u/.myownllm-2/c.json"}},"#,
        "\n",
        r#"        {"daemon_settings":{"roster_path":5}}]}}"#
    ));
    let mut daemon = doc(
        r#"{"identity_path":"/home/u/.myownllm/gone.json","daemon":{"control_socket":"/run/mesh.sock"}}"#,
    );
    let (from, to) = ("/home/u/.myownllm/", "/home/u/.myownllm/.myownmesh");
    let there = |path: &str| path == "/home/u/.myownllm/.myownmesh/mesh/rosters/a.json";
    let found = myownllm_salvage::rebase_paths(&mut app, Some(&mut daemon), from, to, &there);
    let found: Vec<_> = found.iter().map(|r| (r.half, r.pointer.as_str(), r.rebased)).collect();
    assert_eq!(
        found,
        [
            ("daemon", "/identity_path", false),
            ("app", "/cloud_mesh/networks/0/daemon_settings/roster_path", true)
        ]
    );
    assert!(!daemon.is_modified());
    let path = app.get(&["cloud_mesh", "networks", "0", "daemon_settings", "roster_path"]).unwrap();
    assert_eq!(path.as_str().unwrap(), "/home/u/.myownllm/.myownmesh/mesh/rosters/a.json");
    // Done once, it is done; both kinds of slashes separate.
    assert_eq!(myownllm_salvage::rebase_paths(&mut app, None, from, to, &there), []);
    for spelled in [r"C:\Users\u\.myownllm\keys\id.json", r"C:\Users\u\.myownllm/keys/id.json"] {
        let mut daemon = Document::empty();
        daemon.set(&["identity_path"], spelled);
        let (from, to) = (r"C:\Users\u\.myownllm", r"D:\new");
        let found = myownllm_salvage::rebase_paths(&mut app, Some(&mut daemon), from, to, &|_| true);
        assert_eq!(found[0].to, r"D:\new\keys\id.json", "{spelled}: one separator");
    }
    // A path may be spelled in many ways. One that goes upwards leads who knows where.
    for (spelled, to) in [
        ("//home/u/./.myownllm//.secrets/id.json", Some("/n/.secrets/id.json")),
        ("/home/u/.myownllm/.secrets//id.json", Some("/n/.secrets//id.json")),
        ("/home/u/.myownllm/mesh/../.secrets/id.json", None),
        ("/home/u/x/../.myownllm/id.json", None),
        ("home/u/.myownllm/id.json", None),
        ("/home/u/.myownllm/", None),
        ("/home/u/.myownllm/.", None),
        ("/home/u/.myownllmx/id.json", None),
        ("/", None),
        ("", None),
    ] {
        let mut daemon = Document::empty();
        daemon.set(&["identity_path"], spelled);
        let found = myownllm_salvage::rebase_paths(&mut app, Some(&mut daemon), from, "/n/", &|_| true);
        assert_eq!(found.first().map(|path| path.to.as_str()), to, "{spelled}");
    }
}

/// Whoever cleans a config up by a filter is shown where, as whoever has a file is.
#[test]
fn what_is_odd_is_pointed_at_in_the_text_that_was_given() {
    let text = "{\n  \"providers\": [],\n  \"api\": {\"port\": \"x\"},\n  \"mic\": 5\n}";
    let found = normalize(text.as_bytes(), DIR, &mut ids()).unwrap().diagnostics;
    let places: Vec<_> = found
        .iter()
        .map(|found| found.place.as_ref().map(|place| (found.path.as_str(), place.line, place.column)))
        .collect();
    assert_eq!(places, [Some(("/api/port", 3, 19)), Some(("/mic", 4, 10))]);
}

/// One odd entry keeps a document from being taken for the daemon's; the networks beside it are not
/// passed over in silence.
#[test]
fn networks_that_nothing_recovers_are_named() {
    let parse = |text: &str| Document::parse(text.as_bytes()).unwrap().document;
    let of = |text: &str| unrecognised_networks(&parse(text));
    let found = of(r#"{"active_family":"q","networks":[{"id":"a","network_id":"home"},{"id":1}]}"#).unwrap();
    assert_eq!((found.code, found.path.as_str()), ("salvage.not-recognised", "/networks/1"));
    assert!(found.place.is_some() && found.message.starts_with("a network of the daemon stays"));
    for nothing in [
        r#"{"networks":[{"id":"a","network_id":"home"}]}"#,
        r#"{"active_family":"q","networks":[{"id":1}]}"#,
        r#"{"active_family":"q","networks":[]}"#,
        r#"{"version":3,"daemon":{},"networks":[{"id":"a","network_id":"home"},{"id":1}]}"#,
    ] {
        assert!(of(nothing).is_none(), "{nothing}");
    }
}

/// Otherwise a silent network, whose kind only the daemon knows, would be joined as an open one.
#[rstest]
#[case::none(Value::Null, None)]
#[case::open(json!("open"), Some("open"))]
#[case::closed(json!("closed"), Some("closed"))]
fn active_network_leaves_a_kind_that_the_app_does_not_name_to_the_daemon(
    #[case] kind: Value,
    #[case] wanted: Option<&str>,
) {
    let mut network = json!({"id": "n1", "network_id": "home-mesh"});
    if !kind.is_null() {
        network["kind"] = kind;
    }
    let mesh = json!({"enabled": true, "active_network_id": "n1", "networks": [network]});
    let app = doc(json!({ "cloud_mesh": mesh }).to_string());
    let active = MyOwnLlm::new(DIR).active_network(&app).unwrap().unwrap();
    assert_eq!(active.get("kind").and_then(Value::as_str), wanted, "{active}");
}
