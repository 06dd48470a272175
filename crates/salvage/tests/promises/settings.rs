//! The settings beside the networks: defaults, sections and wrong types.

use crate::{DIR, STUN, found, load, load_network, load_text};
use myownllm_config_model::{app_config, masking::MaskedText};
use serde_json::{Value, json};

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
    let stun = view.cloud_mesh.networks[0].stun_servers.iter().map(MaskedText::expose);
    assert_eq!(stun.collect::<Vec<_>>(), STUN);
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
