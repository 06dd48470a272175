//! The text of the config: what stays byte for byte, and what cannot be read.

use crate::{DIR, found, ids, load, load_text};
use myownllm_config_model::app_config;
use myownllm_salvage::{normalize, salvage_bytes};
use serde_json::json;

fn refused(bytes: &[u8]) -> bool {
    let at_load = normalize(bytes, DIR, &mut ids()).is_err();
    assert_eq!(at_load, salvage_bytes(bytes, &mut ids()).is_err());
    at_load
}

#[test]
fn c1_nothing_unknown_is_dropped() {
    let kept = json!({"deep": [1, {"x": null}]});
    let given = json!({"new": kept, "api": {"new": kept}, "cloud_mesh": {"new": kept, "networks": [{
        "id": "n", "new": kept, "topology": {"kind": "ring", "new": kept},
        "turn_servers": [{"url": "t", "new": kept}],
        "agent_permissions": {"new": kept, "shell": {"new": kept}},
        "prompts": [{"id": "p", "new": kept}]}]}});
    let all = load(given);
    let network = &all["cloud_mesh"]["networks"][0];
    for place in [
        &all["new"],
        &all["api"]["new"],
        &all["cloud_mesh"]["new"],
        &network["new"],
        &network["topology"]["new"],
        &network["turn_servers"][0]["new"],
        &network["agent_permissions"]["new"],
        &network["agent_permissions"]["shell"]["new"],
        &network["prompts"][0]["new"],
    ] {
        assert_eq!(*place, kept);
    }
    // Flat keys beside a list that has networks are unknown keys.
    let beside = load(json!({"cloud_mesh": {"network_id": "old", "locked": true,
            "networks": [{"id": "a", "network_id": "home"}]}}));
    assert_eq!(beside["cloud_mesh"]["networks"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&beside["cloud_mesh"]["network_id"], &beside["cloud_mesh"]["locked"]),
        (&json!("old"), &json!(true))
    );
    assert!(load(json!({"sources": [1]})).get("sources").is_none());
}

#[test]
fn c2_bytes_outside_what_changes_stay_bytes() {
    let complete = load_text(
        r#"{"x":1e5,"y":0.10,"z":123456789012345678901234567890,"w":"\u0041\/",
        "cloud_mesh":{"networks":[{"id":"a","network_id":"\u0068","e":1E+2}]}}"#,
    )
    .0;
    let text = complete.to_text();
    for piece in ["1e5", "0.10", "123456789012345678901234567890", r#""\u0041\/""#, r#""\u0068""#, "1E+2"] {
        assert!(text.contains(piece), "{piece}");
    }
    assert!(text.starts_with(
        r#"{"x":1e5,"y":0.10,"z":123456789012345678901234567890,"w":"\u0041\/",
        "cloud_mesh":{"networks":[{"id":"a","network_id":"\u0068","e":1E+2,"#
    ));
    let again = normalize(text.as_bytes(), DIR, &mut ids()).unwrap().document;
    assert!(!again.is_modified());
    assert_eq!(again.to_text(), text);
    // A new file.
    assert!(
        app_config::defaults(DIR).to_text().starts_with("{\n  \"active_provider\": \"MyOwnLLM Default\",\n")
    );
}

#[test]
fn c3_and_c22_what_is_no_object_is_refused_with_its_place() {
    for bad in ["", " ", "{", "null", "[]", "3", "\"x\"", "true", "{\"a\":1,}", "// x\n{}", "\0\0\0", "{}\0"]
    {
        assert!(refused(bad.as_bytes()), "{bad:?}");
    }
    assert!(refused(b"\xff\xfe{\x00}\x00"));
    let error = normalize(b"{\n \"a\": tru }", DIR, &mut ids()).unwrap_err();
    assert_eq!((error.line, error.column, error.path.as_str()), (2, 10, "/a"));
    assert!(error.to_string().contains("line 2, column 10"));
}

#[test]
fn c20_bom_duplicates_and_foreign_bytes() {
    let normalized =
        normalize(b"\xef\xbb\xbf{\"active_family\":\"a\",\"active_family\":\"B\xfcro\"}", DIR, &mut ids())
            .unwrap();
    assert_eq!(normalized.document.get(&["active_family"]).unwrap().as_str().unwrap(), "B\u{fffd}ro");
    let codes: Vec<_> = normalized.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["config.bom", "config.not-utf8", "config.duplicate-key"]);
    assert!(normalized.document.to_text().starts_with('{'));
}

#[test]
fn c21_artifacts_of_the_apps_language_are_not_reproduced() {
    let all = load(json!({"api": "off", "mic": ["x"], "cloud_mesh": "on"}));
    assert_eq!(all, load(json!({})));
    let found = found(json!({"api": "off", "mic": ["x"], "cloud_mesh": "on"}));
    for path in ["/api", "/mic", "/cloud_mesh"] {
        assert!(found.contains(&("config.replaced", path.to_owned())), "{path}");
    }
}

/// Whoever cleans a config up by a filter is shown where, as whoever has a file is.
#[test]
fn warnings_point_into_the_given_text() {
    let text = "{\n  \"providers\": [],\n  \"api\": {\"port\": \"x\"},\n  \"mic\": 5\n}";
    let found = normalize(text.as_bytes(), DIR, &mut ids()).unwrap().diagnostics;
    let places: Vec<_> = found
        .iter()
        .map(|found| found.place.as_ref().map(|place| (found.path.as_str(), place.line, place.column)))
        .collect();
    assert_eq!(places, [Some(("/api/port", 3, 19)), Some(("/mic", 4, 10))]);
}
