//! Catalogue operations, envelopes, the mapping to the daemon, network ids, masking, views.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::app_config::Topology;
use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{
    AppConfig, DaemonConfig, Document, Ids, SeededIds, app_config, convert, network_id, networks,
};
use serde_json::{Value, json};

fn ids() -> SeededIds {
    SeededIds::new(1_750_000_000_000, 5)
}

fn saved(networks: Value, active: Value) -> Document {
    let mut doc = Document::of(json!({"cloud_mesh": {"networks": networks, "active_network_id": active}}));
    app_config::complete(&mut doc, "/c", &mut ids());
    // As it is after it was saved and read again.
    Document::parse(&doc.to_bytes()).unwrap().document
}

fn value(doc: &Document, path: &[&str]) -> Value {
    doc.get(path).map(|v| v.to_value()).unwrap_or_default()
}

#[test]
fn a_name_is_an_internal_id_first_and_then_a_network_id_in_any_spelling() {
    let doc = saved(
        json!([{"id": "home", "network_id": "office"}, {"id": "b", "network_id": "home"}, {"id": "c", "network_id": "Lab"}]),
        json!(null),
    );
    let found =
        |name: &str| networks::find(&doc, name).map(|n| n.get("id").unwrap().as_str().unwrap().into_owned());
    assert_eq!(found("home").as_deref(), Some("home"));
    assert_eq!(found(" HOME ").as_deref(), Some("b"));
    assert_eq!(found("lab").as_deref(), Some("c"));
    assert_eq!(found("nope"), None);
    assert_eq!(networks::list(&doc).len(), 3);
}

#[test]
fn adding_checks_the_id_and_finds_what_is_saved_in_any_spelling() {
    let mut doc = saved(json!([{"id": "a", "network_id": "Home"}]), json!(null));
    let bytes = doc.to_bytes();
    let change = networks::add(&mut doc, " hOmE", false, &mut ids()).unwrap();
    assert!(!change.created && !change.changed && change.id.as_deref() == Some("a"));
    assert_eq!(doc.to_bytes(), bytes);
    assert!(networks::add(&mut doc, "home", true, &mut ids()).unwrap().changed);
    assert!(!networks::add(&mut doc, "home", true, &mut ids()).unwrap().changed);
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
    let change = networks::add(&mut doc, " Lab_7 ", false, &mut ids()).unwrap();
    assert!(change.created && change.changed);
    assert_eq!(change.network_id.as_deref(), Some("lab_7"));
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
    assert_eq!(
        value(&doc, &["cloud_mesh", "networks", "1"]),
        json!({"id": change.id, "network_id": "lab_7", "signaling_servers": [], "turn_servers": [], "accepting": "available",
            "stun_servers": ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"], "auto_gossip": true})
    );
    // The others' bytes are the same.
    assert!(String::from_utf8(doc.to_bytes()).unwrap().contains("\"network_id\": \"Home\""));
    for bad in ["", "ab", "a b", "home!", "Zürich", &"x".repeat(65)] {
        let error = networks::add(&mut doc, bad, true, &mut ids()).unwrap_err();
        assert_eq!(error.code(), "network.invalid-id");
        assert!(error.hint().is_some());
    }
    let error = networks::add(&mut doc, "my mesh", true, &mut ids()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "save a network: network id contains ' '; only letters, digits, '-', and '_' are allowed"
    );
    assert_eq!(error.hint().as_deref(), Some("try my-mesh"));
}

#[test]
fn removing_takes_one_entry_and_clears_the_pointer() {
    // Not completed, so the internal ids are still doubled.
    let mut doc = Document::of(json!({"cloud_mesh": {"active_network_id": "d", "networks": [
        {"id": "d", "network_id": "one"}, {"id": "d", "network_id": "two"}, {"id": "e", "network_id": "three"}]}}));
    assert!(networks::remove(&mut doc, "d").unwrap().changed);
    assert_eq!(networks::list(&doc).len(), 2);
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), json!(null));
    assert_eq!(value(&doc, &["cloud_mesh", "networks", "0", "network_id"]), "two");
    assert_eq!(networks::remove(&mut doc, "THREE").unwrap().id.as_deref(), Some("e"));
    let change = networks::remove(&mut doc, "nope").unwrap();
    assert!(!change.changed && change.id.is_none());
}

#[test]
fn activating_and_updating() {
    let mut doc =
        saved(json!([{"id": "a", "network_id": "home"}, {"id": 7, "network_id": "seven"}]), json!(null));
    assert!(networks::activate(&mut doc, Some("HOME")).unwrap().changed);
    assert!(!networks::activate(&mut doc, Some("a")).unwrap().changed);
    assert_eq!(networks::active(&doc).unwrap().get("network_id").unwrap().as_str().unwrap(), "home");
    networks::activate(&mut doc, Some("seven")).unwrap();
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), 7);
    assert!(networks::activate(&mut doc, None).unwrap().changed);
    assert!(networks::active(&doc).is_none());
    let error = networks::activate(&mut doc, Some("nope")).unwrap_err();
    assert!(error.to_string().ends_with("unknown network id: nope"));
    assert_eq!(error.code(), "network.unknown");

    let patch = json!({"label": "New", "stun_servers": [], "x": {"y": 1}});
    let change = networks::update(&mut doc, "home", patch.as_object().unwrap()).unwrap();
    assert!(change.changed);
    assert_eq!(value(&doc, &["cloud_mesh", "networks", "0", "x"]), json!({"y": 1}));
    assert!(!networks::update(&mut doc, "home", patch.as_object().unwrap()).unwrap().changed);
    assert!(networks::update(&mut doc, "nope", patch.as_object().unwrap()).is_err());
}

#[test]
fn importing_over_an_entry_and_as_a_new_one() {
    let mut doc = saved(
        json!([{"id": "a", "network_id": "home", "label": "Mine", "kind": "silent", "auto_gossip": false, "prompts": [], "accepting": "busy",
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "c", "new": 1}, {"url": "turn:gone"}]}]),
        json!(null),
    );
    let envelope = Envelope::parse(br#"{"kind":"myownllm.network-settings","network_id":"HOME","label":" Theirs ","stun_servers":["stun:s"],
        "turn_servers":[{"url":"turn:t"},{"url":"turn:new","username":"x"}]}"#).unwrap();
    let change = networks::import(&mut doc, &envelope, true, &mut ids()).unwrap();
    assert!(change.changed && !change.created);
    assert_eq!(
        value(&doc, &["cloud_mesh", "networks", "0"]),
        json!({"id": "a", "network_id": "home", "label": "Theirs", "kind": "silent", "auto_gossip": false, "prompts": [],
            "accepting": "available", "signaling_servers": [], "stun_servers": ["stun:s"],
            // Left out of an envelope is not taken away.
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "c", "new": 1}, {"url": "turn:new", "username": "x"}]})
    );
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
    assert!(!networks::import(&mut doc, &envelope, true, &mut ids()).unwrap().changed);

    let new = Envelope::parse(br#"{"kind":"myownmesh.network-settings","network_id":"Lab","network_kind":"closed","auto_approve":true}"#).unwrap();
    let change = networks::import(&mut doc, &new, false, &mut ids()).unwrap();
    assert!(change.created);
    let entry = value(&doc, &["cloud_mesh", "networks", "1"]);
    assert_eq!(
        (&entry["network_id"], &entry["kind"], &entry["auto_approve"]),
        (&json!("lab"), &json!("closed"), &json!(true))
    );
    assert_eq!((&entry["stun_servers"], &entry["auto_gossip"]), (&json!([]), &json!(true)));
    let bad = Envelope::parse(br#"{"kind":"myownmesh.network-settings","network_id":""}"#).unwrap();
    assert_eq!(networks::import(&mut doc, &bad, false, &mut ids()).unwrap_err().code(), "network.invalid-id");
}

#[test]
fn an_export_leaves_credentials_out_unless_asked() {
    let doc = saved(
        json!([{"id": "a", "network_id": "home", "label": "L", "kind": "silent", "topology": {"kind": "hubs"}, "auto_approve": false,
            "prompts": [{"id": "p"}], "agent_permissions": {}, "daemon_settings": {"roster_path": "/r"},
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "s3cret", "new": 1}, {"url": "turn:v", "username": ""}]}]),
        json!(null),
    );
    let envelope = networks::export(&doc, "home").unwrap();
    let head = json!({"kind": "myownllm.network-settings", "version": 1, "network_id": "home", "label": "L", "network_kind": "silent",
        "topology": {"kind": "hubs"}, "auto_approve": false, "signaling_servers": [], "accepting": "available",
        "stun_servers": ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"]});
    let with = |turn: Value| {
        let mut all = head.clone();
        all["turn_servers"] = turn;
        all
    };
    assert_eq!(envelope.to_value(false), with(json!([{"url": "turn:t"}, {"url": "turn:v"}])));
    assert_eq!(
        envelope.to_value(true),
        with(json!([{"url": "turn:t", "username": "u", "credential": "s3cret"}, {"url": "turn:v"}]))
    );
    assert!(!format!("{envelope:?}").contains("s3cret"));
    assert!(networks::export(&doc, "nope").is_err());
    for bad in [
        json!({}),
        json!({"signaling_servers": [], "stun_servers": []}),
        json!({"signaling_servers": [], "stun_servers": [], "turn_servers": {}}),
        json!({"signaling_servers": null, "stun_servers": [], "turn_servers": []}),
        json!({"signaling_servers": [], "stun_servers": [], "turn_servers": [null]}),
    ] {
        assert!(Envelope::of_network(Document::of(bad).root()).is_err());
    }
    // There and back.
    let text = envelope.to_document(true).to_text();
    assert!(Envelope::parse(text.as_bytes()).unwrap() == envelope);
}

#[test]
fn envelopes_are_recognised_and_normalised() {
    let parse = |text: &str| Envelope::parse(text.as_bytes());
    for none in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"kind":"x","network_id":"home"}"#,
        r#"{"kind":"myownllm.network-settings"}"#,
        r#"{"kind":"myownllm.network-settings","network_id":5}"#,
        r#"{"kind":["myownllm.network-settings"],"network_id":"a"}"#,
        r#"{"kind":"myownllm.network-settings","network_id":"a"} x"#,
    ] {
        assert!(parse(none).is_err(), "{none}");
    }
    let got = parse("\u{feff}{\"kind\":\"myownmesh.network-settings\",\"version\":9,\"network_id\":\"\",\"topology\":{\"kind\":\"ring\",\"n_preferred\":0.5},\"network_kind\":\"\",\"auto_approve\":1,\"stun_servers\":null,\"id\":\"x\"}").unwrap();
    assert_eq!(
        got.to_value(true),
        json!({"kind": "myownllm.network-settings", "version": 1, "network_id": "", "topology": {"kind": "ring"},
            "signaling_servers": [], "stun_servers": [], "turn_servers": [], "accepting": "available"})
    );
    let turn = parse(r#"{"kind":"myownllm.network-settings","network_id":"a","turn_servers":[{"url":"","username":"","credential":"c"},{"username":"u"},7,null,"x"],"label":" "}"#).unwrap();
    assert_eq!(turn.to_value(true)["turn_servers"], json!([{"url": "", "credential": "c"}]));
    assert!(turn.to_value(true).get("label").is_none());
    let dead = parse(
        r#"{"kind":"myownllm.network-settings","network_id":"a","signaling_servers":["wss://0.peerjs.com:443/",7,"wss://a"]}"#,
    );
    assert_eq!(dead.unwrap().to_value(true)["signaling_servers"], json!(["wss://a"]));
}

#[test]
fn mapping_to_the_daemon() {
    let map = |network: Value| convert::to_daemon(Document::of(json!({ "n": network })).get(&["n"]).unwrap());
    assert_eq!(
        map(json!({})).unwrap(),
        json!({"label": "", "kind": "open", "topology": {"kind": "ring", "n_preferred": null}, "signaling": {"strategy": "nostr", "servers": []},
            "stun_servers": [], "turn_servers": [], "auto_approve": false})
    );
    let odd = map(json!({"id": 7, "network_id": "n", "label": 5, "kind": "x", "topology": "t", "signaling_servers": "s", "auto_approve": 1,
        "stun_servers": "stun:x", "turn_servers": [{}, {"url": 7, "username": "", "credential": "c"}, "turn:x"], "accepting": "busy", "prompts": []}))
    .unwrap();
    assert_eq!(
        odd,
        json!({"id": 7, "network_id": "n", "label": 5, "kind": "x", "topology": "t", "signaling": {"strategy": "nostr", "servers": "s"}, "auto_approve": 1,
            "stun_servers": [{"urls": "stun:x"}], "turn_servers": [{"urls": [null]}, {"urls": [7], "credential": "c"}, {"urls": [null]}]})
    );
    for none in [json!(7), json!({"a": 1}), json!(""), json!([])] {
        assert_eq!(map(json!({"stun_servers": none})).unwrap()["stun_servers"], json!([]));
    }
    for bad in [
        json!(null),
        json!([]),
        json!("x"),
        json!({"turn_servers": {}}),
        json!({"turn_servers": ""}),
        json!({"turn_servers": [null]}),
    ] {
        assert!(map(bad).is_err());
    }
    let error = map(json!({"turn_servers": [{}, null]})).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("/turn_servers/1 is null")),
        ("bridge.malformed", true)
    );
    // Settings go out, but never in the place of what the app says.
    let kept = map(json!({"network_id": "n", "signaling_servers": ["a"], "daemon_settings": {"signaling": {"mdns": false, "servers": ["x"]},
        "network_id": "other", "kind": "open", "label": "x", "pinned_peers": ["p"], "roster_path": "/r", "later": [1], "turn_servers": 5}}))
    .unwrap();
    assert_eq!(kept["signaling"], json!({"strategy": "nostr", "servers": ["a"], "mdns": false}));
    assert_eq!(
        (&kept["network_id"], &kept["label"], &kept["turn_servers"]),
        (&json!("n"), &json!(""), &json!([]))
    );
    assert_eq!(
        (&kept["pinned_peers"], &kept["roster_path"], &kept["later"]),
        (&json!(["p"]), &json!("/r"), &json!([1]))
    );
    // Numbers stay spelled as they are.
    let doc = Document::parse(
        br#"{"topology":{"kind":"ring","n_preferred":9007199254740993},"daemon_settings":{"x":1e5}}"#,
    )
    .unwrap()
    .document;
    let text = convert::to_daemon_document(doc.root()).unwrap().to_text();
    assert!(text.contains("9007199254740993") && text.contains("1e5"));
}

#[test]
fn a_topology_that_the_daemon_leaves_out_stays_out() {
    let doc = Document::of(json!({ "n": {"id": "a", "network_id": "home"} }));
    let (entry, _) = convert::from_daemon(doc.get(&["n"]).unwrap(), "");
    assert!(Document::of(entry).get(&["topology"]).is_none());
}

#[test]
fn network_ids_are_those_that_the_daemon_takes() {
    for (given, normal) in [(" Home-Mesh ", "home-mesh"), ("abc", "abc"), ("A_1", "a_1"), ("\tx-y\n", "x-y")]
    {
        assert_eq!(network_id::normalize(given).unwrap(), normal);
    }
    assert!(network_id::normalize(&"x".repeat(64)).is_ok());
    for bad in ["", "  ", "ab", "a.b", "a/b", "é€x", "home mesh", "\u{212a}elvin"] {
        assert!(network_id::normalize(bad).is_err(), "{bad}");
    }
    assert!(network_id::normalize("a").unwrap_err().to_string().contains("too short: 1 character, "));
    assert!(network_id::normalize("ab").unwrap_err().to_string().contains("too short: 2 characters, "));
    assert!(network_id::same(" HOME", "home") && network_id::same("not valid!", "NOT valid!"));
    assert!(!network_id::same("home", "office"));
}

#[test]
fn the_place_of_an_error_deep_down_is_told_in_a_line() {
    let deep = format!("{}1", "{\"member\":[".repeat(600));
    let error = Document::parse(deep.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 600, "{error}");
    assert!(error.path.starts_with("/member/0/member/0/") && error.path.contains("/…/"), "{}", error.path);
    let long = format!("{{\"{}\": x}}", "n".repeat(100_000));
    let error = Document::parse(long.as_bytes()).unwrap_err();
    assert!(error.to_string().len() < 600, "{error}");
}

#[test]
fn views_read_defaults_where_there_is_nothing_to_read() {
    let fresh = AppConfig::view(&app_config::defaults("/c"));
    let mut nothing = AppConfig::view(&Document::empty());
    nothing.conversation_dir = "/c".to_owned();
    assert_eq!(nothing, fresh);
    let daemon = DaemonConfig::view(
        &Document::parse(
            br#"{"version":2,"identity_path":"","daemon":{"control_socket":"/s","enabled":5},
        "networks":[null,{"id":"a","network_id":"home","signaling":{"denylist":[]}}]}"#,
        )
        .unwrap()
        .document,
    );
    assert_eq!((daemon.version, daemon.enabled, daemon.log_level.as_str()), (Some(2), true, "info"));
    assert_eq!((daemon.control_socket.as_deref(), daemon.identity_path), (Some("/s"), None));
    let network = &daemon.networks[0];
    assert_eq!(network.topology, Topology::FullMesh);
    assert_eq!((network.kind.as_str(), network.mdns, network.denylist.len()), ("open", true, 0));
    for odd in ["{}", r#"{"version":"3"}"#, r#"{"version":1.5}"#, r#"{"version":-1}"#] {
        assert_eq!(DaemonConfig::view(&Document::parse(odd.as_bytes()).unwrap().document).version, None);
    }
}

#[test]
fn seeded_ids_are_pure_and_in_the_apps_form() {
    let run = |seed| {
        let mut ids = SeededIds::new(1_750_000_000_000, seed);
        (ids.network_id(), ids.prompt_id(), ids.network_id(), ids.now_ms())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let (network, prompt, _, now) = run(1);
    assert_eq!(now, 1_750_000_000_000);
    for (id, prefix) in [(network, "net"), (prompt, "prm")] {
        let parts: Vec<_> = id.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[2].len()), (prefix, "mbxstdz4", 6));
        assert!(parts[2].chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()));
    }
    assert!(SeededIds::new(0, 0).network_id().starts_with("net-0-"));
}
