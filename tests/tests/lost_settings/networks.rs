//! Networks, and settings of networks, that only the daemon knows.

use super::{follow, without_config_and_backups};
use integration_tests::testkit::{CONFIG, DAEMON_CONFIG, Home, diagnostic, run};
use rstest::rstest;
use serde_json::{Value, json};

const PEER: &str = "a-pinned-peer";

/// A home whose daemon has joined a network, and has a setting of it that no other file has.
fn joined() -> Home {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let mut config = home.json(DAEMON_CONFIG);
    config["networks"][0]["pinned_peers"] = json!([PEER]);
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    home
}

fn without_networks(home: &Home) {
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"] = json!([]);
    config["cloud_mesh"]["active_network_id"] = Value::Null;
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
}

#[cfg(unix)]
#[rstest]
#[case::an_empty_catalogue(without_networks)]
#[case::no_config_and_no_backup(without_config_and_backups)]
fn daemon_leaves_no_network_that_the_config_may_have_lost(#[case] lose: fn(&Home)) {
    let home = joined();
    lose(&home);
    for launch in ["first", "second"] {
        let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
        let kept = &said["data"]["reconcile"]["plan"]["kept"];
        assert_eq!(kept[0]["reason"], "the config may have lost it", "{launch} launch: {said:#}");
        assert_eq!(home.json(DAEMON_CONFIG)["networks"][0]["pinned_peers"][0], PEER);
    }
}

#[cfg(unix)]
#[rstest]
#[case::daemon_has_ended("--once")]
#[case::daemon_runs("--detach")]
fn networks_that_only_the_daemon_has_are_backed_up_before_it_leaves_them(#[case] mode: &str) {
    let home = joined();
    without_networks(&home);
    home.run(&["config", "accept"]).ends_with(0);
    let said = run(&mut home.with_daemon(&["launch", mode, "--json"])).ends_with(0).json();
    assert_eq!(home.json(DAEMON_CONFIG)["networks"], json!([]), "{said:#}");
    let kept = diagnostic(&said, "daemon.networks-kept").unwrap_or_else(|| panic!("{said:#}"));
    assert!(follow(&home, kept["hint"].as_str().unwrap()), "{kept}");
    let network = &home.json(CONFIG)["cloud_mesh"]["networks"][0];
    assert_eq!(network["daemon_settings"]["pinned_peers"][0], PEER, "{network:#}");
    // The config keeps everything now: a later switch needs no backup.
    let id = network["network_id"].as_str().unwrap().to_owned();
    for args in [&["network", "use", &id][..], &["launch", "--once"], &["network", "use", "--none"]] {
        run(&mut home.with_daemon(args)).ends_with(0);
    }
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(home.json(DAEMON_CONFIG)["networks"], json!([]), "{said:#}");
    assert_eq!(diagnostic(&said, "daemon.networks-kept"), None, "{said:#}");
}

fn backups_have(home: &Home, text: &str) -> bool {
    let backups = std::fs::read_dir(home.path(".myownllm/config-backups")).unwrap();
    backups.into_iter().any(|backup| std::fs::read_to_string(backup.unwrap().path()).unwrap().contains(text))
}

#[cfg(unix)]
#[rstest]
#[case::turn("turn_servers", json!([{"urls": ["turn:t"], "username": "u", "credential": "OnlyHere"}]))]
#[case::stun("stun_servers", json!([{"urls": ["stun:OnlyHere"]}]))]
#[case::signaling("signaling", json!({"servers": ["wss://OnlyHere"]}))]
#[case::hub("topology", json!({"kind": "star", "hub": "OnlyHere"}))]
#[case::label("label", json!("OnlyHere"))]
fn value_that_only_the_daemon_has_is_backed_up_before_an_update(#[case] key: &str, #[case] value: Value) {
    let home = joined();
    let mut config = home.json(DAEMON_CONFIG);
    config["networks"][0]["pinned_peers"] = json!([]);
    config["networks"][0][key] = value;
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    assert!(!backups_have(&home, "OnlyHere"));
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(backups_have(&home, "OnlyHere"), "{said:#}");
    assert!(diagnostic(&said, "daemon.networks-kept").is_some(), "{said:#}");
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(diagnostic(&said, "daemon.networks-kept"), None, "{said:#}");
}

/// The backups of the app's config have the former values.
#[cfg(unix)]
#[test]
fn value_that_the_user_changed_needs_no_backup_of_a_network() {
    let home = Home::settled();
    for label in ["Former", "New"] {
        let label = format!("cloud_mesh.networks.0.label={label}");
        let turn = r#"cloud_mesh.networks.0.turn_servers=[{"url":"turn:LABEL","username":"u"}]"#;
        let turn = turn.replace("LABEL", &label);
        home.run(&["config", "set", &label, &turn]).ends_with(0);
        let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
        assert_eq!(diagnostic(&said, "daemon.networks-kept"), None, "{said:#}");
    }
    assert_eq!(home.json(DAEMON_CONFIG)["networks"][0]["label"], "New");
}

/// A daemon that starts may write its config again without the settings that it does not know.
#[cfg(unix)]
#[rstest]
#[case::root(3, "/acl", json!({"deny": ["OnlyHere"]}))]
#[case::service(3, "/services/relay2", json!({"psk": "OnlyHere"}))]
#[case::network(3, "/networks/0/signaling/later", json!("OnlyHere"))]
#[case::first_daemon(1, "/services/turn/credentials", json!([{"username": "u", "password": "OnlyHere"}]))]
fn settings_that_a_daemon_may_drop_are_backed_up_before_it_starts(
    #[case] version: u64,
    #[case] at: &str,
    #[case] value: Value,
) {
    let home = Home::settled();
    let start = || run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(diagnostic(&start(), "daemon.config-newer"), None);
    let mut config = home.json(DAEMON_CONFIG);
    let (parent, key) = at.rsplit_once('/').unwrap();
    config["version"] = version.into();
    if version == 1 {
        config["services"] = json!({"turn": {"enabled": true}});
    }
    config.pointer_mut(parent).unwrap()[key] = value.clone();
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    let said = start();
    let kept = diagnostic(&said, "daemon.config-newer").unwrap_or_else(|| panic!("{said:#}"));
    assert!(kept["message"].as_str().unwrap().contains(at), "{kept}");
    assert!(!said.to_string().contains("OnlyHere") && backups_have(&home, "OnlyHere"));
    // The daemon has written other settings since.
    config["daemon"]["log_level"] = "debug".into();
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    assert_eq!(diagnostic(&start(), "daemon.config-newer"), None);
}
