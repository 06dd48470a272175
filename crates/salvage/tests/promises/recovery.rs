//! The networks and settings that a repair brings back.

use crate::{DIR, doc, found, ids, load};
use myownllm_config_model::{Document, app_config, networks};
use myownllm_salvage::{
    app_half, restore_wiped, salvage, salvage_bytes, unrecognised_networks, with_app_half,
};
use serde_json::json;

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
    // An unknown key stays, with any value. A key of the daemon does not.
    let unknown = restored(r#"{"off":false,"none":null,"x":2,"services":{"turn":1},"version":3}"#);
    assert_eq!(unknown.kept, ["x", "off", "none"]);
    let app = unknown.app.root().to_value();
    assert_eq!((&app["off"], &app["x"], app.get("services")), (&json!(false), &json!(2), None));
    assert!(app.get("none").is_some());
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
