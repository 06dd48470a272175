//! Settings that the app has reset, and those that the user has.

use super::{DOCTOR, LAUNCH, follow, last, reported_losses};
use integration_tests::testkit::{CONFIG, Home};
use myownllm_config_model::app_config::defaults;
use rstest::rstest;
use serde_json::{Value, json};

/// Returns the config that the app of today writes over one that it cannot read, after the user has
/// chosen a family and a mode, and saved a network.
fn reset_by_the_app(home: &Home) -> Value {
    let defaults = defaults(home.path(".myownllm/conversations").to_str().unwrap());
    let mut config: Value = serde_json::from_slice(&defaults.to_bytes()).unwrap();
    config["active_family"] = json!("llama3");
    config["active_mode"] = json!("text");
    config["cloud_mesh"]["enabled"] = json!(true);
    config["cloud_mesh"]["networks"] = json!([{"id": "net-n", "network_id": "new-mesh", "signaling_servers": [],
        "stun_servers": [], "turn_servers": [], "accepting": "available", "auto_gossip": true}]);
    config["cloud_mesh"]["active_network_id"] = json!("net-n");
    config
}

const BOTH: [&str; 2] = ["salvage.defaults", "store.networks-lost"];

#[rstest]
#[case::a_few_choices("")]
#[case::one_choice_more("kept_models")]
#[case::an_edit_comes_first("edit")]
fn settings_that_the_app_reset_are_reported_until_the_user_decides(
    #[case] then: &str,
    #[values("hints", "accept", "restore")] decision: &str,
) {
    let home = Home::settled();
    let mut config = reset_by_the_app(&home);
    if then == "kept_models" {
        config[then] = json!(["llama3:8b"]);
    }
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let bytes = home.bytes(CONFIG);
    assert_eq!(reported_losses(&home, DOCTOR), ["salvage.defaults", "store.networks-lost"]);
    if then == "edit" {
        home.run(&["network", "add", "third-mesh"]).ends_with(0);
    } else {
        let said = home.run(LAUNCH).ends_with(0);
        assert_eq!((&said.json()["data"]["outcome"], home.bytes(CONFIG)), (&json!("healthy"), bytes));
        assert_eq!(last(&said)["code"], "salvage.defaults");
    }
    for _ in 0..2 {
        let doctor = home.run(DOCTOR).ends_with(0);
        let lost = doctor.diagnostic("salvage.defaults")["message"].as_str().unwrap().to_owned();
        for part in ["deletes old conversations", "without a token", " config diff 1`", " config restore 1`"]
        {
            assert!(lost.contains(part), "{part}: {lost}");
        }
        assert!(!lost.contains("s3cret"), "{lost}");
        let networks = doctor.diagnostic("store.networks-lost");
        assert!(networks["message"].as_str().unwrap().contains(": home-mesh"), "{networks}");
        assert_eq!(reported_losses(&home, LAUNCH), [""; 0]);
    }
    match decision {
        "hints" => {
            for code in BOTH {
                let reported = home.run(DOCTOR).ends_with(0).diagnostic(code);
                assert!(follow(&home, reported["hint"].as_str().unwrap()), "{reported}");
            }
            let config = home.json(CONFIG);
            assert_eq!(config["auto_cleanup"]["conversations"], false);
            let days = if then == "kept_models" { 7 } else { 1 };
            assert_eq!(
                (&config["model_cleanup_days"], &config["active_family"]),
                (&json!(days), &json!("llama3"))
            );
        }
        "accept" => drop(home.run(&["config", "accept"]).ends_with(0)),
        _ => drop(home.run(&["config", "restore", "1"]).ends_with(0)),
    }
    for args in [DOCTOR, LAUNCH, DOCTOR] {
        assert_eq!(reported_losses(&home, args), [""; 0], "{args:?}");
    }
    // From now on, the user's own changes in the app are no losses.
    home.edit(CONFIG, |config| {
        config["api"]["bearer_token"] = json!("own");
        config["auto_cleanup"]["conversations"] = json!(false);
    });
    home.run(LAUNCH).ends_with(0);
    home.edit(CONFIG, |config| {
        config["api"]["bearer_token"] = Value::Null;
        config["auto_cleanup"]["conversations"] = json!(true);
    });
    for args in [DOCTOR, LAUNCH, DOCTOR] {
        assert_eq!(reported_losses(&home, args), [""; 0], "{args:?}");
    }
}

/// A user who gives a lost setting its value in the app, and then its default, has decided on it.
#[test]
fn lost_setting_that_the_config_had_again_is_the_users_to_drop() {
    let home = Home::settled();
    home.put(CONFIG, reset_by_the_app(&home).to_string().as_bytes(), 0o600);
    home.run(LAUNCH).ends_with(0);
    let before = home.json(CONFIG);
    home.edit(CONFIG, |config| {
        config["api"]["bearer_token"] = json!("own");
        let networks = config["cloud_mesh"]["networks"].as_array_mut().unwrap();
        networks.push(json!({"id": "net-h", "network_id": "home-mesh"}));
    });
    home.run(LAUNCH).ends_with(0);
    home.put(CONFIG, before.to_string().as_bytes(), 0o600);
    home.run(LAUNCH).ends_with(0);
    assert_eq!(reported_losses(&home, DOCTOR), ["salvage.defaults"]);
    let lost = home.run(DOCTOR).diagnostic("salvage.defaults")["message"].to_string();
    assert!(lost.contains("deletes old conversations") && !lost.contains("token"), "{lost}");
}

/// The changes of a user in the app, each at the end of a day on which the app was started.
#[rstest]
#[case::a_token("api/bearer_token")]
#[case::all_that_does_harm("api/bearer_token auto_cleanup cloud_mesh model_cleanup_days")]
#[case::one_a_day(
    "api/bearer_token, auto_cleanup/conversations, model_cleanup_days, kept_models, auto_update, active_mode, \
     providers, auto_cleanup"
)]
#[case::three_a_day("api/bearer_token auto_cleanup kept_models, model_cleanup_days cloud_mesh active_mode")]
fn settings_that_the_user_resets_one_by_one_are_not_reported(#[case] days: &str) {
    let home = Home::settled();
    let defaults = defaults(home.path(".myownllm/conversations").to_str().unwrap());
    let defaults: Value = serde_json::from_slice(&defaults.to_bytes()).unwrap();
    for day in days.split(", ") {
        home.edit(CONFIG, |config| {
            for at in day.split(' ').map(|at| format!("/{at}")) {
                let default = defaults.pointer(&at).unwrap().clone();
                // The user has another network by now: the loss of the last one is always reported.
                let mesh = json!({"enabled": false, "networks": [{"id": "o", "network_id": "office-mesh"}]});
                *config.pointer_mut(&at).unwrap() = if at == "/cloud_mesh" { mesh } else { default };
            }
        });
        for args in [DOCTOR, LAUNCH, DOCTOR] {
            assert_eq!(reported_losses(&home, args), [""; 0], "{day:?}: {args:?}");
        }
    }
}

/// The app always writes all members, so a config without some has lost them.
#[rstest]
#[case::two_sections_gone(|config: &mut Value| {
    config.as_object_mut().unwrap().retain(|key, _| !["api", "auto_cleanup"].contains(&&**key));
})]
#[case::two_sections_null(|config: &mut Value| {
    config["api"] = Value::Null;
    config["auto_cleanup"] = Value::Null;
})]
#[case::most_members_gone(|config: &mut Value| {
    let kept = ["providers", "mic", "cloud_mesh", "remote_ui", "auto_update"];
    config.as_object_mut().unwrap().retain(|key, _| kept.contains(&&**key));
})]
fn members_that_are_gone_and_that_a_backup_has_are_reported(#[case] lose: fn(&mut Value)) {
    let home = Home::settled();
    home.edit(CONFIG, lose);
    let reported = home.run(DOCTOR).ends_with(0).diagnostic("salvage.defaults");
    let said = home.run(LAUNCH).ends_with(0);
    assert_eq!(said.json()["data"]["outcome"], "repaired-with-losses");
    for lost in [reported, last(&said), home.run(DOCTOR).ends_with(0).diagnostic("salvage.defaults")] {
        let message = lost["message"].as_str().unwrap();
        assert!(
            message.contains("deletes old conversations; ") && message.contains("without a token"),
            "{lost}"
        );
        assert!(message.contains(" config restore 1`") && message.contains("api.bearer_token"), "{lost}");
        let hint = lost["hint"].as_str().unwrap();
        assert!(hint.contains(" config set auto_cleanup.conversations=false "), "{hint}");
    }
    let lost = home.run(DOCTOR).diagnostic("salvage.defaults");
    assert!(follow(&home, lost["hint"].as_str().unwrap()), "{lost}");
    assert_eq!(reported_losses(&home, DOCTOR), [""; 0]);
}

/// Harmless members, and those that the backup has at their defaults too.
#[rstest]
#[case::harmless(&["remote_ui", "mic", "active_family", "providers"])]
#[case::at_its_default_in_the_backup(&["api"])]
fn members_that_are_gone_and_do_no_harm_are_not_reported(#[case] gone: &[&str]) {
    let home = Home::settled();
    home.run(&["config", "set", "api.bearer_token=null"]).ends_with(0);
    home.edit(CONFIG, |config| config.as_object_mut().unwrap().retain(|key, _| !gone.contains(&&**key)));
    for args in [DOCTOR, LAUNCH, DOCTOR] {
        assert_eq!(reported_losses(&home, args), [""; 0], "{args:?}");
    }
}
