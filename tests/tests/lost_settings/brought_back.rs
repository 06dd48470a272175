//! A config that is brought back from elsewhere (`config.json.brought-back`).

use super::{APP_CONFIG, DOCTOR, LAUNCH, OVERWRITTEN_V3, follow, reported_losses};
use integration_tests::testkit::{CONFIG, DAEMON_CONFIG, Home, run};
use rstest::rstest;
use serde_json::Value;
use std::process::Command;

/// A file of that name that no repair restores stays, and is named.
#[rstest]
#[case::of_the_daemon(OVERWRITTEN_V3)]
#[case::no_json(b"{")]
#[case::empty(b"")]
fn file_that_is_brought_back_and_is_no_config_stays(#[case] bytes: &[u8]) {
    const BROUGHT_BACK: &str = ".myownllm/config.json.brought-back";
    let home = Home::settled();
    home.put(BROUGHT_BACK, bytes, 0o600);
    let config = home.bytes(CONFIG);
    let reported = home.run(LAUNCH).ends_with(0).diagnostic("store.leftover");
    assert!(reported["message"].as_str().unwrap().contains("is no config of the app's"), "{reported}");
    assert_eq!((home.bytes(BROUGHT_BACK), home.bytes(CONFIG)), (bytes.to_vec(), config));
}

/// `doctor` says why a healthy config needs a repair, and the target of the symlink stays.
#[cfg(unix)]
#[test]
fn config_is_brought_back_by_a_symlink() {
    const BROUGHT_BACK: &str = ".myownllm/config.json.brought-back";
    let home = Home::settled();
    let before: Value = serde_json::from_slice(APP_CONFIG).unwrap();
    home.edit(CONFIG, |config| drop(config.as_object_mut().unwrap().remove("api")));
    home.put("former.json", APP_CONFIG, 0o600);
    std::os::unix::fs::symlink("../former.json", home.path(BROUGHT_BACK)).unwrap();
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.contains("a config to be restored lies beside it"), "{doctor}");
    let verdict = home.run(&[]).ends_with(4).stdout;
    assert!(verdict.contains("the config that you brought back is not in use"), "{verdict}");
    home.run(&["repair"]).ends_with(0);
    assert_eq!(home.json(CONFIG)["api"], before["api"]);
    assert!(std::fs::symlink_metadata(home.path(BROUGHT_BACK)).is_err());
    assert_eq!(home.bytes("former.json"), APP_CONFIG);
    home.run(&["doctor"]).ends_with(0);
}

/// The present config has settings of its own in a file that a daemon wrote into.
#[test]
fn config_is_brought_back_for_a_mixed_one() {
    const BROUGHT_BACK: &str = ".myownllm/config.json.brought-back";
    let home = Home::settled();
    home.edit(CONFIG, |config| {
        config["version"] = 3.into();
        config["networks"] = Value::Array(Vec::new());
        config["active_family"] = "of the user".into();
    });
    home.put(BROUGHT_BACK, APP_CONFIG, 0o600);
    for _ in 0..2 {
        home.run(&["repair"]).ends_with(0);
    }
    let before: Value = serde_json::from_slice(APP_CONFIG).unwrap();
    assert_eq!(home.json(CONFIG)["api"], before["api"]);
    assert!(!home.has(BROUGHT_BACK));
}

/// A config from the trash or from a copy comes back beside the present one: the networks and the
/// daemon's half that a daemon wrote over it stay in use.
#[cfg(unix)]
#[rstest]
fn config_that_is_brought_back_keeps_the_networks_of_the_present_one(
    #[values(
        ".local/share/Trash/files/config.json",
        ".myownllm/.Trash-0/files/config.json",
        ".myownllm.bak/config.json",
        ".myownllm/old/config.json",
        ".myownllm/config.json.gz"
    )]
    at: &str,
    #[values("before a repair", "after a repair", "after an edit")] when: &str,
) {
    let home = Home::after_the_bug();
    let before: Value = serde_json::from_slice(APP_CONFIG).unwrap();
    home.put(at.trim_end_matches(".gz"), APP_CONFIG, 0o600);
    if at.ends_with(".gz") {
        run(Command::new("gzip").arg(home.path(at.trim_end_matches(".gz")))).ends_with(0);
        home.put(CONFIG, OVERWRITTEN_V3, 0o600);
    }
    let mut networks = vec!["home-mesh", "office-mesh", "ev-mesh"];
    if when != "before a repair" {
        home.run(&["repair"]).ends_with(0);
    }
    if when == "after an edit" {
        home.run(&["network", "add", "own-mesh"]).ends_with(0);
        networks.push("own-mesh");
    }
    let source = home.bytes(at);
    let reported = home.run(DOCTOR).diagnostic("salvage.defaults");
    assert!(reported["message"].as_str().unwrap().contains(at), "{reported}");
    for _ in 0..2 {
        assert!(follow(&home, reported["hint"].as_str().unwrap()), "{reported}");
        let config = home.json(CONFIG);
        let saved: Vec<_> = config["cloud_mesh"]["networks"].as_array().unwrap().iter().collect();
        for id in &networks {
            assert!(saved.iter().any(|network| network["network_id"] == *id), "{id}: {config:#}");
        }
        for key in ["auto_cleanup", "api", "providers", "model_cleanup_days", "active_family"] {
            assert_eq!(config[key], before[key], "{key}");
        }
        assert!(home.has(DAEMON_CONFIG) && !home.has(".myownllm/config.json.brought-back"));
        assert_eq!(home.bytes(at), source);
        for args in [DOCTOR, LAUNCH, DOCTOR] {
            assert_eq!(reported_losses(&home, args), [""; 0], "{args:?}");
        }
    }
}
