//! The networks of the app and of its daemon: what a launch and a change of the active network
//! request, and what is left if one of the two programs dies in between.

#![cfg(target_os = "linux")]

mod interrupted;

use integration_tests::testkit::{
    CONFIG, Home, MESH, NEW_KEY, Signal, ask, eventually, follow, run, send_signal,
};
use rstest::rstest;
use serde_json::{Value, json};

#[test]
fn each_step_costs_the_requests_that_it_needs_over_one_connection() {
    let home = Home::settled();
    home.run(&["network", "use", "--none"]).ends_with(0);
    let daemon = home.app("");
    // Attaching to a daemon that needs no change costs one round trip.
    home.launch_once().ends_with(0);
    assert_eq!(home.requests(), (vec!["status".to_owned()], 1));
    // Joining, switching and leaving need the daemon's config and the changes.
    let steps: [(&[&str], &[&str]); 4] = [
        (&["network", "add", "first-net", "--activate"], &["status", "config_show", "network_add"]),
        (
            &["network", "add", "second-net", "--activate"],
            &["status", "config_show", "network_add", "network_remove"],
        ),
        (&["network", "use", "first-net"], &["status", "config_show", "network_add", "network_remove"]),
        (&["network", "use", "--none"], &["status", "config_show", "network_remove"]),
    ];
    for (args, ops) in steps {
        home.run(args).ends_with(0);
        assert_eq!(home.requests(), (ops.iter().map(|op| (*op).to_owned()).collect(), 1), "{args:?}");
    }
    drop(daemon);
    eventually("nobody answers", || {
        home.serving().into_iter().for_each(|pid| send_signal(pid, Signal::KILL));
        home.serving().is_empty()
    });
    // On a start, the request that finds the daemon ready is the first one of the conversation.
    home.launch_once().ends_with(0);
    assert_eq!(home.requests(), (vec!["status".to_owned()], 1));
}

/// The daemon stays in a network that is not saved, as the active one was refused.
#[test]
fn network_that_the_daemon_did_not_leave_is_not_reported_as_left() {
    let home = Home::with_networks();
    let daemon = home.daemon(MESH).start().unwrap();
    home.run(&["network", "use", "--none"]).ends_with(0);
    let foreign = json!({ "config": { "id": "net-foreign", "network_id": "foreign-net" } });
    ask(&home.own_socket(), "network_add", foreign).unwrap();
    drop(daemon);
    home.edit(CONFIG, |changed| {
        let mesh = &mut changed["cloud_mesh"];
        mesh["active_network_id"] = mesh["networks"][0]["id"].clone();
    });
    let _refuses = home.daemon(MESH).mode("refuse-add:no").start().unwrap();
    let said = run(&mut home.launch("", &["--once", "--json"])).ends_with(1);
    assert_eq!(home.joined(), json!(["foreign-net"]));
    assert!(!said.all().contains("the daemon left"), "{said:?}");
    let kept = said.diagnostic("daemon.networks-kept");
    assert!(kept["message"].as_str().unwrap().contains("that only the daemon had"), "{kept}");
}

/// The user removed the network while no daemon ran.
#[test]
fn network_that_the_user_removed_is_left_without_a_warning() {
    let home = Home::with_networks();
    run(&mut home.launch("", &["--once"])).ends_with(0);
    home.run(&["network", "remove", "first-net"]).ends_with(0);
    let kept = home.launch_once_json().ends_with(0).diagnostic("daemon.networks-kept");
    assert_eq!(kept["severity"], "info", "{kept}");
    assert!(kept["message"].as_str().unwrap().contains("first-net, which is saved no more"), "{kept}");
}

/// The daemon did not answer when the user left the network, or the app wrote the config itself.
#[test]
fn network_that_the_running_daemon_has_not_left_is_named() {
    let home = Home::with_networks();
    let daemon = home.app("");
    let is_told = || {
        let doctor = home.run(&["doctor", "--json"]).json();
        let reported = doctor["diagnostics"].as_array().unwrap().iter();
        reported
            .filter(|reported| reported["code"] == "networks.not-left")
            .map(|reported| reported["hint"].clone())
            .next()
    };
    assert_eq!(is_told(), None);
    home.edit(CONFIG, |changed| changed["cloud_mesh"]["active_network_id"] = Value::Null);
    let hint = is_told().expect("told");
    follow(&hint);
    assert_eq!(is_told(), None);
    daemon.stop().unwrap();
}

/// The daemon did not answer when the user removed its network, or joined another one.
#[rstest]
#[case::removed_network("networks.not-left")]
#[case::network_that_is_not_joined("networks.not-joined")]
fn running_daemon_that_was_not_reported_is_named(#[case] code: &str) {
    let home = Home::with_networks();
    if code == "networks.not-joined" {
        home.run(&["network", "use", "--none"]).ends_with(0);
    }
    let daemon = home.app("");
    home.edit(CONFIG, |changed| {
        let mesh = &mut changed["cloud_mesh"];
        let first = mesh["networks"][0]["id"].clone();
        if code == "networks.not-joined" {
            mesh["active_network_id"] = first;
        } else {
            mesh["networks"].as_array_mut().unwrap().retain(|network| network["network_id"] != "first-net");
            mesh["active_network_id"] = Value::Null;
        }
    });
    let is_told = || {
        let doctor = home.run(&["doctor", "--json"]).json();
        let reported = doctor["diagnostics"].as_array().unwrap().iter();
        reported.filter(|reported| reported["code"] == code).map(|reported| reported["hint"].clone()).next()
    };
    follow(&is_told().expect("told"));
    assert_eq!(is_told(), None);
    daemon.stop().unwrap();
}

/// A launch and a change of the networks ask the shared daemon alone.
#[test]
fn own_daemon_beside_the_shared_one_is_named_in_a_network_that_was_left() {
    let home = Home::with_networks();
    let _own = home.app("");
    let _shared = home.daemon(".myownmesh").start().unwrap();
    let reported = |args: &[&str]| {
        let said = home.run(args).ends_with(0).json();
        let reported = said["diagnostics"].as_array().unwrap().iter();
        reported
            .filter(|reported| reported["code"] == "networks.not-left")
            .map(|reported| reported["hint"].clone())
            .next()
    };
    let hint = reported(&["network", "use", "--none", "--json"]).expect("the change tells it");
    assert_eq!(reported(&["doctor", "--json"]), Some(hint.clone()));
    let said = run(&mut home.launch("", &["--json"])).ends_with(0).all();
    assert!(said.contains("networks.not-left"), "{said}");
    follow(&hint);
    assert_eq!(reported(&["doctor", "--json"]), None);
}

/// A launch with the daemon of today fails on it.
#[rstest]
#[case::kind("kind", json!("moderated"))]
#[case::topology("topology", json!({"kind": "tree"}))]
fn active_network_of_a_kind_that_no_daemon_knows_is_named(#[case] member: &str, #[case] value: Value) {
    let home = Home::with_networks();
    home.edit(CONFIG, |changed| {
        for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
            network[member] = value.clone();
        }
    });
    let doctor = home.run(&["doctor", "--json"]).json();
    let mut reported = doctor["diagnostics"].as_array().unwrap().iter();
    assert!(reported.any(|reported| reported["code"] == "network.unknown-kind"), "{doctor:#}");
}

/// The message names the network that cannot be sent to the daemon, and the hint opens the config
/// there.
#[rstest]
// No relay at all would be the daemon's own choice of relays.
#[case::relays("signaling_servers", json!([{ "url": "wss://mine" }]), "/signaling_servers/0 is not a server")]
#[case::settings("daemon_settings", json!("silent"), "/daemon_settings is not an object")]
#[case::signaling("daemon_settings", json!({ "signaling": "none" }),
    "/daemon_settings/signaling is not an object")]
#[case::member_of_signaling("daemon_settings", json!({ "signaling": { "listen_only": "true" } }),
    "/daemon_settings/signaling/listen_only is not true or false")]
fn an_active_network_that_no_daemon_would_understand_is_named(
    #[case] member: &str,
    #[case] value: Value,
    #[case] finding: &str,
) {
    let home = Home::with_networks();
    home.edit(CONFIG, |changed| {
        let active = changed["cloud_mesh"]["active_network_id"].clone();
        let networks = changed["cloud_mesh"]["networks"].as_array_mut().unwrap();
        let network = networks.iter_mut().find(|network| network["id"] == active).unwrap();
        network[member] = value.clone();
    });
    let said = home.launch_once_json().ends_with(1).json();
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["severity"] == "error").unwrap();
    assert_eq!(found["code"], "bridge.malformed", "{said:#}");
    assert!(found["message"].as_str().unwrap().starts_with("the active network first-net: "), "{found}");
    let hint = found["hint"].as_str().unwrap();
    let text = String::from_utf8(home.bytes(CONFIG)).unwrap();
    let at = text.lines().position(|line| line.contains("first-net")).unwrap();
    let line: usize =
        hint.split_once(" +").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap();
    assert!(line <= at + 1 && line + 5 > at && hint.ends_with("config.json"), "{found} {text}");
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.contains("problem  networks.active") && doctor.contains(finding), "{doctor}");
    home.run(&["config", "check"]).ends_with(1);
}

/// The value stays in the file, and the daemon gets the default.
#[rstest]
#[case::string("stun_servers", json!("stun:x"), "/stun_servers/0/urls/0", json!("stun:stun.l.google.com:19302"))]
#[case::number("stun_servers", json!(7), "/stun_servers/0/urls/0", json!("stun:stun.l.google.com:19302"))]
#[case::entry("stun_servers", json!([7, "stun:x"]), "/stun_servers", json!([{ "urls": ["stun:x"] }]))]
#[case::object("turn_servers", json!({ "url": "turn:t" }), "/turn_servers", json!([]))]
#[case::null_server("turn_servers", json!([null, { "url": "turn:t" }]), "/turn_servers/0/urls/0", json!("turn:t"))]
#[case::no_url("turn_servers", json!([{ "username": "u" }]), "/turn_servers", json!([]))]
#[case::relay("signaling_servers", json!([{}, "wss://r"]), "/signaling/servers", json!(["wss://r"]))]
fn active_network_with_servers_of_a_wrong_type_is_joined(
    #[case] member: &str,
    #[case] value: Value,
    #[case] pushed: &str,
    #[case] as_value: Value,
) {
    let home = Home::with_networks();
    let ids = home.json(CONFIG)["cloud_mesh"]["networks"].as_array().unwrap().clone();
    let active = ids.iter().position(|network| network["network_id"] == "first-net").unwrap();
    home.edit(CONFIG, |changed| changed["cloud_mesh"]["networks"][active][member] = value.clone());
    let launched = home.launch_once_json().ends_with(0);
    let reported = launched.diagnostic("config.wrong-type");
    assert!(
        reported["message"].as_str().unwrap().contains(&format!("/networks/{active}/{member}")),
        "{reported:#}"
    );
    let trace = home.trace();
    let mut requests = trace.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let added = requests.find(|request| request["op"] == "network_add").unwrap();
    assert_eq!(added["config"].pointer(pushed), Some(&as_value), "{added:#}");
    assert_eq!(home.json(CONFIG)["cloud_mesh"]["networks"][active][member], value);
    home.run(&["doctor"]).ends_with(0);
}

/// A failing step names the network and the daemon, in the JSON document as well.
#[test]
fn failed_request_is_reported_with_the_network_and_the_daemon() {
    let home = Home::with_networks();
    home.edit(CONFIG, |changed| {
        for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
            if network["network_id"] == "second-net" {
                network["label"] = "Second one".into();
            }
        }
    });
    let use_second = || home.run(&["network", "use", "second-net", "--json"]);
    let found = |said: &Value| said["diagnostics"][0].clone();
    let refused = home.daemon(MESH).mode("refuse-add:no").start().unwrap();
    let said = use_second().ends_with(1).json();
    let wanted =
        format!("the app's daemon (process {}) did not join second-net (Second one): ", refused.pid());
    assert!(found(&said)["message"].as_str().unwrap().starts_with(&wanted), "{said:#}");
    assert_eq!(found(&said)["path"], home.own_socket().to_str().unwrap());
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" network show second-net"), "{said:#}");
    let daemon = &said["data"]["reconcile"]["daemon"];
    assert_eq!((&daemon["role"], &daemon["pid"]), (&json!("own"), &json!(refused.pid())), "{daemon}");
    drop(refused);
    // A daemon that dies during the request.
    let dying = home.daemon(MESH).mode("dies-unanswered:3").start().unwrap();
    let said = use_second().ends_with(5).json();
    assert!(
        found(&said)["message"]
            .to_string()
            .contains(&format!("process {}) did not join second-net", dying.pid()))
    );
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" status"), "{said:#}");
    drop(dying);
    let silent = home.daemon(MESH).mode("silent").start().unwrap();
    let ran = home.run(&["network", "use", "first-net"]).ends_with(5);
    assert!(ran.stdout.contains("Saved, and the daemon was not told (see below)."), "{ran:?}");
    drop(silent);
    // A network that the daemon does not leave waits for the next launch.
    let _stays = home.daemon(MESH).mode("refuse-remove:busy now").start().unwrap();
    use_second().ends_with(0);
    let said = home.run(&["network", "use", "first-net", "--json"]).ends_with(0).json();
    assert_eq!(found(&said)["severity"], "warning", "{said:#}");
    assert!(found(&said)["message"].to_string().contains("did not leave second-net"), "{said:#}");
    assert!(found(&said)["hint"].as_str().unwrap().ends_with(" launch --once"), "{said:#}");
}

/// The printed command that undoes a change reaches the daemon as well.
#[test]
fn restored_config_brings_a_running_daemon_in_line() {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let _daemon = home.daemon(MESH).start().unwrap();
    let before = home.joined();
    let removed = home.run(&["network", "remove", "first-net", "--json"]).ends_with(0).json();
    assert_ne!(home.joined(), before);
    follow(&removed["data"]["undo"]);
    assert_eq!(home.joined(), before);
    // So does an import of other servers for the active network.
    let envelope = json!({"kind": "myownllm.network-settings", "version": 1, "network_id": "first-net",
        "signaling_servers": [], "stun_servers": ["stun:new.example:1"], "turn_servers": [],
        "accepting": "available"});
    home.put("envelope.json", envelope.to_string().as_bytes(), 0o600);
    home.run(&["network", "import", home.path("envelope.json").to_str().unwrap()]).ends_with(0);
    assert!(home.json(&format!("{MESH}/config.json")).to_string().contains("stun:new.example:1"));
}

/// A network that the user made silent in the daemon alone stays silent when the mesh is switched
/// off and on.
#[rstest]
fn silent_network_is_silent_again_after_off_and_on(#[values(false, true)] is_daemon_running: bool) {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let config = format!("{MESH}/config.json");
    let mut of_daemon = home.json(&config);
    let network = &mut of_daemon["networks"][0];
    network["signaling"]["strategy"] = "none".into();
    network["signaling"]["listen_only"] = true.into();
    network["pinned_peers"] = json!(["b".repeat(52)]);
    let silent = network.clone();
    home.put(&config, of_daemon.to_string().as_bytes(), 0o600);
    let _daemon = is_daemon_running.then(|| home.daemon(MESH).start().unwrap());
    for change in [&["network", "use", "--none"][..], &["network", "use", "first-net"]] {
        home.run(change).ends_with(0);
        home.launch_once().ends_with(0);
    }
    let network = home.json(&config)["networks"][0].clone();
    for member in ["network_id", "signaling", "pinned_peers"] {
        assert_eq!(network[member], silent[member], "{network:#}");
    }
}

/// The app's config names no kind of it.
#[test]
fn closed_network_is_closed_again_after_off_and_on() {
    let home = Home::with_networks();
    home.edit(CONFIG, |changed| {
        for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
            network.as_object_mut().unwrap().remove("kind");
        }
    });
    home.launch_once().ends_with(0);
    let config = format!("{MESH}/config.json");
    home.edit(&config, |of_daemon| of_daemon["networks"][0]["kind"] = "closed".into());
    for change in [&["network", "use", "--none"][..], &["network", "use", "first-net"]] {
        home.run(change).ends_with(0);
        home.launch_once().ends_with(0);
    }
    assert_eq!(home.json(&config)["networks"][0]["kind"], "closed");
}

/// No daemon reads its config any more, and the app knows nothing of the settings that it had
/// alone.
#[rstest]
#[case::odd_member(|text: &str| text.replacen("\"label\":", "\"label\":null,\"was\":", 1), "")]
#[case::put_aside(|text: &str| text.replacen("[{", "[,{", 1), ".corrupt")]
fn silent_network_of_a_damaged_config_stays_silent(#[case] damage: fn(&str) -> String, #[case] end: &str) {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let config = format!("{MESH}/config.json");
    let mut of_daemon = home.json(&config);
    of_daemon["networks"][0]["signaling"]["strategy"] = "none".into();
    of_daemon["networks"][0]["signaling"]["listen_only"] = true.into();
    let damaged = damage(&of_daemon.to_string());
    home.edit(&config, |of_daemon| of_daemon["networks"] = json!([]));
    home.put(&format!("{config}{end}"), damaged.as_bytes(), 0o600);
    home.launch_once().ends_with(0);
    let network = home.json(&config)["networks"][0].clone();
    assert_eq!(network["signaling"]["listen_only"], true, "{network:#}");
}

/// An older version of the app drops these settings from the config, and a network that is removed
/// takes them along.
#[rstest]
#[case::dropped_by_an_older_app(|home: &Home| off_and_on(home, |network| {
    assert!(network.as_object_mut().unwrap().remove("daemon_settings").is_some());
}))]
#[case::removed_and_restored(|home: &Home| {
    let said = home.run(&["network", "remove", "first-net"]).ends_with(0).stdout;
    let undo = said.lines().find_map(|line| line.split_once("config restore ")).expect("an undo").1;
    home.run(&["config", "restore", undo.trim()]).ends_with(0);
})]
#[case::removed_and_added(|home: &Home| {
    home.run(&["network", "remove", "first-net"]).ends_with(0);
    home.run(&["network", "add", "first-net", "--activate"]).ends_with(0);
})]
fn silent_network_is_silent_again_without_its_settings_in_the_config(#[case] lose: fn(&Home)) {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let config = format!("{MESH}/config.json");
    home.edit(&config, |of_daemon| {
        let network = &mut of_daemon["networks"][0];
        network["signaling"]["strategy"] = "none".into();
        network["signaling"]["listen_only"] = true.into();
        network["pinned_peers"] = json!(["b".repeat(52)]);
    });
    let silent = home.json(&config)["networks"][0].clone();
    let _daemon = home.daemon(MESH).start().unwrap();
    lose(&home);
    home.launch_once().ends_with(0);
    let networks = home.json(&config)["networks"].clone();
    let network = networks.as_array().unwrap().iter().find(|one| one["network_id"] == "first-net").unwrap();
    for member in ["signaling", "pinned_peers"] {
        assert_eq!(network[member], silent[member], "{network:#}");
    }
    // The user took away what the config lacks beside other settings: no backup brings it back.
    off_and_on(&home, |network| {
        assert!(network["daemon_settings"].as_object_mut().unwrap().remove("pinned_peers").is_some());
    });
    let networks = home.json(&config)["networks"].clone();
    let network = networks.as_array().unwrap().iter().find(|one| one["network_id"] == "first-net").unwrap();
    assert_eq!(network["signaling"], silent["signaling"], "{network:#}");
    assert_ne!(network["pinned_peers"], silent["pinned_peers"], "{network:#}");
}

/// Changes the saved network `first-net` while no daemon is in it.
fn off_and_on(home: &Home, change: fn(&mut Value)) {
    home.run(&["network", "use", "--none"]).ends_with(0);
    home.edit(CONFIG, |config| {
        let networks = config["cloud_mesh"]["networks"].as_array_mut().unwrap();
        change(networks.iter_mut().find(|one| one["network_id"] == "first-net").unwrap());
    });
    home.run(&["network", "use", "first-net"]).ends_with(0);
}

/// The shared daemon has a key of its own, so each problem is reported, whatever is wrong with this home's
/// key.
#[test]
fn shared_daemon_leaves_a_network_while_the_own_key_is_missing() {
    let home = Home::with_networks();
    let _shared = home.daemon(".myownmesh").start().unwrap();
    let socket = home.path(".myownmesh/daemon.sock");
    let joined = || ask(&socket, "status", Value::Null).unwrap()["joined_networks"].take();
    home.launch_once().ends_with(0);
    assert_eq!(joined(), json!(["first-net"]));
    std::fs::remove_file(home.path(NEW_KEY)).unwrap();
    home.run(&["network", "use", "--none"]).ends_with(0);
    assert_eq!(joined(), json!([]));
}

#[test]
fn network_that_the_shared_daemon_has_not_left_is_named() {
    let home = Home::with_networks();
    let _shared = home.daemon(".myownmesh").start().unwrap();
    let socket = home.path(".myownmesh/daemon.sock");
    ask(&socket, "network_add", json!({"config": {"id": "gui-1", "network_id": "theirs"}})).unwrap();
    home.launch_once().ends_with(0);
    let reported = || {
        let doctor = home.run(&["doctor", "--json"]).json();
        let reported = doctor["diagnostics"].as_array().unwrap().iter();
        reported.filter(|reported| reported["code"] == "networks.not-left").cloned().collect::<Vec<_>>()
    };
    assert_eq!(reported(), Vec::<Value>::new());
    let words = "as the shared daemon has them; it stays in theirs, which the app did not add";
    assert!(home.launch_once().ends_with(0).stdout.contains(words));
    home.edit(CONFIG, |changed| changed["cloud_mesh"]["active_network_id"] = Value::Null);
    let [left] = &reported()[..] else { panic!("{:?}", reported()) };
    assert!(left["message"].as_str().unwrap().contains("first-net"), "{left}");
    follow(&left["hint"]);
    assert_eq!(reported(), Vec::<Value>::new());
}

/// The daemon is healthy: it only refused one network.
#[test]
fn a_daemon_that_refuses_a_network_is_stayed_with() {
    let home = Home::with_networks();
    let app = home.app("refuse-add:the disk is full");
    let [daemon] = home.serving()[..] else { panic!() };
    // The message names the network, the daemon and the cause, and the hint says what to do.
    let said = app.errors_so_far();
    let program = format!("myownllm-mesh --home {}", home.path("").display());
    for part in [
        format!("error: the app's daemon (process {daemon}) did not join first-net: "),
        "the disk is full".to_owned(),
        "  at: ~/.myownllm/.myownmesh/daemon.sock".to_owned(),
        format!("  hint: {} network show first-net", program.trim_end_matches('/')),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    send_signal(app.id(), Signal::TERM);
    app.ended().ends_with(1);
    assert!(!home.serving().contains(&daemon));
}

/// Members that only one version knows, or that no version knows yet, are no failure.
#[test]
fn a_daemon_of_a_later_year_is_no_trouble() {
    let home = Home::with_networks();
    let _daemon = home.daemon(MESH).mode("says-more,wrong-version:9.9.9").start().unwrap();
    let said = run(&mut home.launch("", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["version"], "9.9.9", "{said}");
    assert_eq!(home.joined(), json!(["first-net"]));
    home.run(&["network", "use", "second-net"]).ends_with(0);
    assert_eq!(home.joined(), json!(["second-net"]));
}

/// If a daemon lacks an op, the launch uses other ops; if the op fails, the launch reports the
/// daemon's message.
#[rstest]
#[case::lacking("no-update", 0, &["network_update", "network_remove", "network_add"])]
#[case::failing("refuse-update:the disk is full", 1, &["network_update"])]
fn a_daemon_that_lacks_an_op_is_distinguished_from_one_that_fails_at_it(
    #[case] mode: &str,
    #[case] code: i32,
    #[case] ops: &[&str],
) {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    // The label of the active network differs from the daemon's.
    home.edit(CONFIG, |config| {
        let networks = config["cloud_mesh"]["networks"].as_array_mut().unwrap();
        let network = networks.iter_mut().find(|network| network["network_id"] == "first-net").unwrap();
        network["label"] = "Another".into();
    });
    home.requests();
    let ran = run(&mut home.launch(mode, &["--once"])).ends_with(code);
    assert_eq!(changes(&home), ops, "{ran:?}");
    assert_eq!(ran.stderr.contains("the disk is full"), code == 1, "{ran:?}");
}

/// Returns the changes that were requested since the last look.
fn changes(home: &Home) -> Vec<String> {
    home.requests().0.into_iter().filter(|op| op.starts_with("network_")).collect()
}

/// The other form means the same, so there is no change to request and nothing to report.
#[test]
fn a_daemon_that_writes_addresses_in_a_form_of_its_own_is_reported_once() {
    let home = Home::settled();
    home.edit(CONFIG, |changed| {
        let networks = changed["cloud_mesh"]["networks"].as_array_mut().unwrap();
        networks[0]["signaling_servers"] = json!(["wss://relay.example"]);
        networks[0]["turn_servers"] =
            json!([{ "url": "turn:t.example", "username": "u", "credential": "Secret" }]);
        changed["cloud_mesh"]["active_network_id"] = networks[0]["id"].clone();
    });
    let _daemon = home.daemon(MESH).mode("rewords").trace(home.path("trace")).start().unwrap();
    let said = home.launch_once_json().ends_with(0).json();
    assert_eq!(said["diagnostics"], json!([]), "{said:#}");
    assert!(home.trace().contains("wss://relay.example"), "it was told");
    let kept = ask(&home.own_socket(), "config_show", Value::Null).unwrap().to_string();
    assert!(kept.contains("WSS://RELAY.EXAMPLE:443/"), "{kept}");
    home.requests();
    home.launch_once().ends_with(0);
    assert_eq!(home.requests().0, ["status", "config_show"]);
}

#[test]
fn first_of_many_left_networks_are_printed_and_the_others_counted() {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    home.run(&["network", "use", "--none"]).ends_with(0);
    let own = format!("{MESH}/config.json");
    let mut config = home.json(&own);
    let networks = config["networks"].as_array_mut().unwrap();
    for number in 1..40 {
        let mut network = networks[0].clone();
        (network["id"], network["network_id"]) =
            (json!(format!("n{number}")), json!(format!("net-{number}")));
        networks.push(network);
    }
    home.put(&own, config.to_string().as_bytes(), 0o600);
    let ran = home.launch_once().ends_with(0);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains("left net-11, and 28 more"), "{ran:?}");
}

/// An older daemon refuses a network whose roster or state a newer daemon wrote.
#[rstest]
#[case::state("network_state version 2", "states")]
#[case::roster("roster version 9", "rosters")]
fn file_that_an_older_daemon_cannot_read_is_named_with_the_command_that_sets_it_aside(
    #[case] what: &str,
    #[case] dir: &str,
) {
    let home = Home::settled();
    let file = home.path(&format!("{MESH}/mesh/{dir}/home-mesh.json"));
    let before = std::fs::read(&file).unwrap();
    let mode = format!("refuse-add:join: {what} unsupported (this build expects v1)");
    let refused = run(&mut home.launch(&mode, &["--once", "--json"])).ends_with(1);
    let newer = refused.diagnostic("daemon.unsupported-version");
    assert_eq!(newer["path"], file.to_str().unwrap(), "{newer:#}");
    follow(&newer["hint"]);
    assert!(!file.exists());
    assert_eq!(std::fs::read(file.with_extension("json.newer")).unwrap(), before);
    run(&mut home.launch("", &["--once"])).ends_with(0);
}
