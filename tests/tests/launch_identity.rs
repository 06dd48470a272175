//! The identity with which a launch starts a daemon: no daemon makes a second key beside the first.

#![cfg(target_os = "linux")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use integration_tests::testkit::{APP, CONFIG, DAEMON_CONFIG, Home, NEW_KEY, OLD_KEY, fixture, follow};
use rstest::rstest;
use serde_json::json;

/// The released daemons parse `identity_path` and never read it.
#[test]
fn the_key_in_its_place_is_the_key_whatever_a_config_names() {
    let keys = |home: &Home| {
        let found = Command::new("find").arg(home.path("")).args(["-name", "identity*"]).output().unwrap();
        String::from_utf8(found.stdout).unwrap().lines().count()
    };
    let naming = |home: &Home, file: &str, key: &str| {
        home.edit(file, |config| config["identity_path"] = json!(key));
    };

    // The repair runs before the move, so the daemon's config names the old location of the key.
    let home = Home::after_the_bug();
    naming(&home, CONFIG, home.path(OLD_KEY).to_str().unwrap());
    home.run(&["salvage"]).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    let former = home.bytes(DAEMON_CONFIG);
    let device = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    let started = home.launch_once_json().ends_with(0).json();
    assert_eq!(started["data"]["daemon"]["device_id"], device);
    assert_eq!(started["diagnostics"][0]["code"], "daemon.path-rebased", "{started:#}");
    assert_eq!(keys(&home), 1);
    home.still_has(&former, "the former config of the daemon");
    let again = home.launch_once_json().ends_with(0).json();
    assert_eq!(again["diagnostics"], json!([]));

    // A path to nothing; paths that depend on the directory in which the daemon starts; a file that
    // is no key; another key.
    std::fs::write(home.path("damaged"), "{}").unwrap();
    let other = fixture("daemon-0.1.2/home/.myownllm/.secrets/identity.json");
    std::fs::write(home.path("other"), other).unwrap();
    let names = ["gone/identity.json", "damaged", "other"].map(|name| home.path(name));
    let names = names.iter().map(|path| path.to_str().unwrap());
    for named in names.chain(["identity.json", "~/.myownllm/identity.json", "../../x"]) {
        naming(&home, DAEMON_CONFIG, named);
        let started = home.launch_once_json().ends_with(0).json();
        assert_eq!(started["data"]["daemon"]["device_id"], device, "{named}");
        assert_eq!(keys(&home), 1, "{named}");
        let said = home.run(&["doctor"]).ends_with(0);
        let shown = named.replace(home.path("").to_str().unwrap(), "~");
        assert!(said.stdout.contains("identity.named") && said.stdout.contains(&shown), "{named}: {said:?}");
    }
}

/// A daemon makes a new key if it finds none. If peers know a former key, no daemon starts, and the
/// hint is the way out.
#[test]
fn no_second_key_comes_into_being_beside_the_peers_of_the_first() {
    let home = Home::settled();
    let new_key = home.path(NEW_KEY);
    std::fs::remove_file(&new_key).unwrap();
    let foreseen = home.run(&["status", "--json"]).json();
    assert!(foreseen["diagnostics"].to_string().contains("identity.gone"), "{foreseen:#}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  identity.sound"));
    let found = home.launch_once_json().ends_with(7).diagnostic("identity.gone");
    assert!(!new_key.exists());
    // The key comes first: the hint says where to copy a backup of the key.
    assert!(found["hint"].as_str().unwrap().contains("cp -pn /path/to/backup/identity.json"), "{found}");
    let ways = home.run(&["identity", "--json"]).ends_with(7).json()["data"]["ways_out"].take();
    let last = ways.as_array().unwrap().last().unwrap();
    assert_eq!(last["action"], "give-up-peers", "{ways:#}");
    let way_out = last["command"].as_str().unwrap();
    assert!(found["message"].as_str().unwrap().contains("give up the peers"), "{found}");
    let shown = home.run(&["identity"]).ends_with(7).stdout;
    assert!(shown.contains(&format!("\n  {way_out}\n")), "{shown}");
    follow(&last["command"]);
    home.launch_once().ends_with(0);
    assert!(new_key.exists() && home.run(&["doctor", "-v"]).stdout.contains("ok       identity.sound"));
    // Without peers, a new key is a stranger to nobody.
    Home::empty().launch_once().ends_with(0);
}

/// A home after the bug, with the key outside of both homes: only the overwritten config names the
/// key.
fn home_with_key_elsewhere() -> (Home, PathBuf) {
    let home = Home::after_the_bug();
    let key = home.path("keys/identity.json");
    std::fs::create_dir(home.path("keys")).unwrap();
    std::fs::rename(home.path(OLD_KEY), &key).unwrap();
    for dir in ["rosters", "states"] {
        std::fs::remove_dir_all(home.path(&format!("{APP}/mesh/{dir}"))).unwrap();
    }
    home.edit(CONFIG, |leaked| {
        leaked["identity_path"] = key.to_str().unwrap().into();
    });
    (home, key)
}

/// Only a config names a key outside of the homes.
#[rstest]
#[case::app_config_with_a_path_that_a_daemon_left(|home: &Home, key: &Path| {
    home.put(CONFIG, &fixture("app-config-before.json"), 0o600);
    home.edit(CONFIG, |config| config["identity_path"] = json!(key));
})]
#[case::config_without_its_beginning(|home: &Home, _: &Path| {
    home.put(CONFIG, &[b"\0\0\0\0\0", &home.bytes(CONFIG)[5..]].concat(), 0o600);
})]
#[case::daemon_part_that_is_set_aside(|home: &Home, _: &Path| {
    // The daemon has a config already.
    home.put(DAEMON_CONFIG, br#"{"version": 3}"#, 0o600);
})]
#[case::config_that_is_cut_off(|home: &Home, _: &Path| {
    let whole = home.bytes(CONFIG);
    home.put(CONFIG, &whole[..whole.len() - 5], 0o600);
})]
#[case::config_of_the_daemon(|home: &Home, _: &Path| {
    home.run(&["salvage"]).ends_with(0);
    std::fs::remove_dir_all(home.path(APP).join("config-backups")).unwrap();
})]
#[case::whole_config(|_: &Home, _: &Path| {})]
fn no_second_key_comes_into_being_because_a_config_names_the_first_elsewhere(
    #[case] change: fn(&Home, &Path),
) {
    let (home, key) = home_with_key_elsewhere();
    change(&home, &key);
    let device = std::fs::read(&key).unwrap();
    let found = home.launch_once_json().ends_with(7).diagnostic("identity.gone");
    assert!(found["message"].as_str().unwrap().contains(key.to_str().unwrap()), "{found}");
    follow(&found["hint"]);
    home.launch_once().ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), device);
}
