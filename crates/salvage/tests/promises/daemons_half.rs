//! The shapes of a config, and what the app's and the daemon's half get.

use crate::{DIR, doc, ids, load, load_text};
use myownllm_config_model::{Document, convert, networks};
use myownllm_salvage::{AppSchema, MyOwnLlm, Shape, salvage, salvage_bytes, shape};
use rstest::rstest;
use serde_json::{Value, json};

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

/// The app's part of the mesh's settings is at its defaults too, beside the recovered networks.
#[test]
fn reset_keys_name_the_members_of_the_mesh_beside_recovered_networks() {
    let given = doc(r#"{"version":3,"daemon":{},"networks":[{"id":"a","network_id":"home"}]}"#);
    let salvaged = salvage(&given, None, &mut ids());
    let reset = salvaged.report.reset_keys;
    let reset: Vec<&str> = reset.iter().filter_map(|key| key.strip_prefix("cloud_mesh")).collect();
    assert_eq!(reset, [".enabled", ".active_network_id", ".diag_quiet"]);
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
