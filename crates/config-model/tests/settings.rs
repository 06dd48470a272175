//! Tests which edits of single settings a launch could use.

use myownllm_config_model::{Document, SeededIds, app_config, networks, settings};
use rstest::rstest;

/// Returns a completed config with two networks, the first one active, and internal ids `a`, `b`.
fn config() -> Document {
    let mut doc = app_config::defaults("/c");
    let mut ids = SeededIds::new(1_700_000_000_000, 1);
    for name in ["home", "office"] {
        networks::add(&mut doc, name, name == "home", &mut ids).expect("added");
    }
    for (key, id) in [("networks.0.id", "a"), ("networks.1.id", "b"), ("active_network_id", "a")] {
        settings::set(&mut doc, &format!("cloud_mesh.{key}"), id).expect("set");
    }
    doc
}

fn is_usable(edits: &[(&str, &str)]) -> bool {
    let before = config();
    let mut after = before.clone();
    for (key, text) in edits {
        settings::set(&mut after, key, text).expect("set");
    }
    settings::ensure_usable(&before, &after).is_ok()
}

#[rstest]
#[case::another_spelling("cloud_mesh.networks.0.network_id", "HOME", false)]
#[case::another_id("cloud_mesh.networks.0.network_id", "Other", true)]
#[case::another_spelling_of_a_number("api.port", "1473.0", false)]
fn edit_is_a_change_only_if_the_document_changes(#[case] key: &str, #[case] text: &str, #[case] is: bool) {
    assert_eq!(settings::set(&mut config(), key, text).expect("set"), is);
}

#[rstest]
#[case::port_out_of_range("api.port", "99999999")]
#[case::port_with_a_fraction("remote_ui.port", "80.5")]
#[case::member_of_another_type("api", r#"{"port": "x"}"#)]
#[case::item_of_another_type("providers", "[5]")]
#[case::network_id_too_short("cloud_mesh.networks.1.network_id", "UP")]
#[case::network_id_with_a_space("cloud_mesh.networks.0.network_id", "my home")]
#[case::network_without_an_id("cloud_mesh.networks", r#"[{"id": "a"}]"#)]
#[case::internal_id_of_another_network("cloud_mesh.networks.1.id", "a")]
#[case::internal_id_of_the_active_network("cloud_mesh.networks.0.id", "c")]
#[case::active_network_that_is_not_saved("cloud_mesh.active_network_id", "c")]
#[case::word_out_of_a_list("cloud_mesh.networks.0.accepting", "never")]
#[case::turn_server_that_is_none("cloud_mesh.networks.0.turn_servers", "[null]")]
#[case::turn_server_of_another_type("cloud_mesh.networks.1.turn_servers", r#"[{"url": 5}]"#)]
#[case::network_id_of_another_network("cloud_mesh.networks.1.network_id", "HOME")]
#[case::empty_family("active_family", "")]
#[case::empty_directory("conversation_dir", "")]
#[case::no_mode("tracked_modes", "[]")]
#[case::null_of_servers("cloud_mesh.networks.0.stun_servers", "null")]
#[case::retired_server("cloud_mesh.networks.0.signaling_servers", r#"["wss://0.peerjs.com:443/"]"#)]
#[case::retired_member("mic", r#"{"whisper_model": "m"}"#)]
#[case::label_of_white_space("cloud_mesh.networks.0.label", " ")]
#[case::silent_by_a_string("cloud_mesh.networks.0.daemon_settings", r#"{"signaling": "none"}"#)]
fn edit_that_a_launch_does_not_use_is_refused(#[case] key: &str, #[case] text: &str) {
    assert!(!is_usable(&[(key, text)]));
}

#[rstest]
#[case::port(&[("api.port", "8080")])]
#[case::network_id(&[("cloud_mesh.networks.0.network_id", "Other-Home")])]
#[case::no_active_network(&[("cloud_mesh.active_network_id", "null")])]
#[case::override_without_a_model(&[("mode_overrides", r#"{"text": null}"#)])]
#[case::edits_that_are_right_together(&[("cloud_mesh.networks.0.id", "c"),
    ("cloud_mesh.active_network_id", "c")])]
#[case::no_label(&[("cloud_mesh.networks.0.label", "")])]
#[case::silent(&[("cloud_mesh.networks.0.daemon_settings", r#"{"signaling": {"listen_only": true}}"#),
    ("cloud_mesh.networks.0.kind", "silent")])]
#[case::turn_server(&[("cloud_mesh.networks.0.turn_servers", r#"[{"url": "turn:x", "username": "u"}]"#)])]
fn edit_that_a_launch_uses_is_accepted(#[case] edits: &[(&str, &str)]) {
    assert!(is_usable(edits));
}

/// The user mends one setting after the other.
#[test]
fn problem_that_was_there_before_does_not_block_an_edit() {
    let mut before = config();
    settings::set(&mut before, "api.port", "99999999").expect("set");
    let mut after = before.clone();
    settings::set(&mut after, "active_mode", "text").expect("set");
    assert_eq!(settings::ensure_usable(&before, &after), Ok(()));
}

/// The value in the file may be the wrong one.
#[rstest]
#[case::array("turn_servers", "[]", true)]
#[case::object_for_an_array("turn_servers", r#"{"url": "turn:y"}"#, false)]
#[case::object("agent_permissions", "{}", true)]
#[case::array_for_an_object("agent_permissions", "[]", false)]
#[case::absent_boolean("auto_approve", "true", true)]
#[case::string_for_an_absent_boolean("auto_approve", "yes", false)]
#[case::absent_string("label", "Home", true)]
#[case::absent_object("topology", r#"{"kind": "full_mesh"}"#, true)]
#[case::member_of_an_absent_object("topology.kind", "full_mesh", true)]
#[case::unknown_member("color", "red", false)]
fn kind_of_a_setting_is_that_of_the_schema(#[case] member: &str, #[case] text: &str, #[case] is_set: bool) {
    let mut doc = config();
    for (key, wrong) in [("turn_servers", r#"{"url": "turn:x"}"#), ("agent_permissions", "[1]")] {
        let wrong = Document::parse(format!(r#"{{"v": {wrong}}}"#).as_bytes()).expect("JSON").document;
        doc.set(&["cloud_mesh", "networks", "0", key], wrong.get(&["v"]).expect("there"));
    }
    let set = settings::set(&mut doc, &format!("cloud_mesh.networks.0.{member}"), text);
    assert_eq!(set.is_ok(), is_set, "{set:?}");
}

#[test]
fn setting_of_a_network_that_is_not_there_is_unknown() {
    let before = config();
    let mut doc = before.clone();
    let error = settings::set(&mut doc, "cloud_mesh.networks.2.label", "Third").expect_err("refused");
    assert_eq!((error.code(), doc.to_bytes()), ("config.unknown-setting", before.to_bytes()));
}

#[rstest]
#[case::id("cloud_mesh.networks.0.network_id", " Garden-Mesh ")]
#[case::networks("cloud_mesh.networks", r#"[{"id": "a", "network_id": "Garden-Mesh"}]"#)]
fn typed_network_id_gets_its_normal_form(#[case] key: &str, #[case] text: &str) {
    let mut doc = config();
    assert!(settings::set(&mut doc, key, text).expect("set"));
    assert_eq!(networks::saved(&doc)[0].network_id, "garden-mesh");
}
