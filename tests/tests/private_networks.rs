//! Networks that must not be announced, and whose settings an older version of the app has dropped
//! from the config.
#![cfg(unix)]

use integration_tests::testkit::{CONFIG, DAEMON_CONFIG, Home, Unprivileged, set_mode};
use serde_json::{Value, json};

const BACKUPS: &str = ".myownllm/config-backups";

/// A settled home with two networks. The network `silent` of them does not announce itself, and its
/// settings are in a backup alone.
fn with_dropped_settings(silent: &str) -> Home {
    let home = Home::with_networks();
    let change = |what: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        home.edit(CONFIG, |config| {
            let networks = config["cloud_mesh"]["networks"].as_array_mut().unwrap();
            let network = networks.iter_mut().find(|one| one["network_id"] == silent).unwrap();
            what(network.as_object_mut().unwrap());
        });
    };
    change(&|network| {
        network.insert("kind".into(), "silent".into());
        network.insert("daemon_settings".into(), json!({ "signaling": { "listen_only": true } }));
    });
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    change(&|network| {
        network.remove("kind");
        network.remove("daemon_settings");
    });
    home
}

#[test]
fn settings_of_an_inactive_network_are_back_before_its_backup_can_go() {
    let home = with_dropped_settings("second-net");
    let said = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    said.diagnostic("network.settings-restored");
    let networks = home.json(CONFIG)["cloud_mesh"]["networks"].clone();
    let network = networks.as_array().unwrap().iter().find(|one| one["network_id"] == "second-net").unwrap();
    assert_eq!(network["kind"], "silent");
    assert_eq!(network["daemon_settings"]["signaling"]["listen_only"], true);
}

/// The backup may say that the network is silent: what cannot be read is not absent.
#[test]
fn network_is_not_joined_while_a_backup_cannot_be_read() {
    let home = with_dropped_settings("first-net");
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(BACKUPS), 0);
    let found = user.run(&home, &["doctor", "--json"]).ends_with(4).json();
    assert!(found["data"]["problems"].as_u64() > Some(0), "{found:#}");
    let refused = user.run(&home, &["launch", "--once"]);
    assert_ne!(refused.code, Some(0), "{}", refused.all());
    assert!(!home.has(DAEMON_CONFIG), "a daemon writes its config when it joins a network");
    set_mode(&home.path(BACKUPS), 0o700);
    user.run(&home, &["launch", "--once"]).ends_with(0);
    let network = home.json(DAEMON_CONFIG)["networks"][0].clone();
    assert_eq!((&network["kind"], &network["signaling"]["listen_only"]), (&json!("silent"), &json!(true)));
}

/// A repair gives the network settings of another kind: they are no reason to leave out those that
/// keep it silent.
#[test]
fn network_that_the_daemon_wrote_with_two_turn_urls_stays_silent() {
    let home = with_dropped_settings("first-net");
    let mut of_daemon =
        serde_json::from_slice::<Value>(&integration_tests::testkit::fixture_of_038(CONFIG)).unwrap();
    let network = &mut of_daemon["networks"][0];
    network["network_id"] = "first-net".into();
    network["kind"] = "open".into();
    network["turn_servers"] =
        json!([{ "urls": ["turn:a.example", "turns:a.example"], "username": "u", "credential": "c" }]);
    home.put(CONFIG, of_daemon.to_string().as_bytes(), 0o600);
    home.run(&["repair"]).ends_with(0);
    home.run(&["network", "use", "first-net"]).ends_with(0);
    home.launch_once().ends_with(0);
    let network = home.json(DAEMON_CONFIG)["networks"][0].clone();
    assert_eq!((&network["kind"], &network["signaling"]["listen_only"]), (&json!("silent"), &json!(true)));
}
