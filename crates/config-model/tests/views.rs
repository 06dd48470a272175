//! Typed views of documents of any contents.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::app_config::{Network, Topology};
use myownllm_config_model::{AppConfig, DaemonConfig, Document, SeededIds, app_config};
use rstest::rstest;
use serde_json::{Value, json};

fn doc(text: &str) -> Document {
    Document::parse(text.as_bytes()).unwrap().document
}

#[test]
#[allow(clippy::field_reassign_with_default, reason = "the struct is non-exhaustive")]
fn view_of_nothing_reads_the_defaults_of_a_fresh_config() {
    let fresh = AppConfig::view(&app_config::defaults("/c"));
    let mut nothing = AppConfig::view(&Document::empty());
    nothing.conversation_dir = "/c".to_owned();
    assert_eq!(nothing, fresh);
    let mut default = AppConfig::default();
    default.conversation_dir = "/c".to_owned();
    assert_eq!(nothing, default);
}

/// Each member of the defaults, so that a new field of the structs cannot be forgotten.
#[test]
fn absent_member_is_missing_and_comes_back() {
    let defaults = app_config::defaults("/c").root().to_value();
    let sections =
        defaults.as_object().unwrap().iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
    for (section, members) in sections {
        for member in members.keys() {
            let mut config = defaults.clone();
            config[section].as_object_mut().unwrap().remove(member);
            let mut config = Document::of(config);
            assert_eq!(app_config::missing_keys(&config), [format!("{section}.{member}")]);
            app_config::complete(&mut config, "/c", &mut SeededIds::new(0, 0));
            assert_eq!(config.root().to_value(), defaults, "{section}.{member}");
        }
    }
}

/// The single network becomes these members: they are not at their defaults.
#[test]
fn single_network_of_an_older_version_is_not_missing() {
    let missing = app_config::missing_keys(&doc(r#"{"cloud_mesh": {"network_id": "home", "locked": true}}"#));
    let missing: Vec<&str> = missing.iter().filter_map(|key| key.strip_prefix("cloud_mesh.")).collect();
    assert_eq!(missing, ["enabled", "diag_quiet"]);
}

/// Each case breaks one member; the others read as they are.
#[rstest]
#[case::boolean("/auto_cleanup/models", json!("no"))]
#[case::port_of_a_wrong_type("/api/port", json!("80"))]
#[case::port_out_of_range("/api/port", json!(70_000))]
#[case::port_with_a_fraction("/api/port", json!(80.5))]
#[case::negative_port("/remote_ui/port", json!(-1))]
#[case::string("/active_provider", json!(5))]
#[case::empty_family("/active_family", json!(""))]
#[case::number("/model_cleanup_days", json!("1"))]
#[case::section("/mic", json!([1]))]
#[case::array("/providers", json!({"name": "x"}))]
#[case::null("/providers", json!(null))]
#[case::map("/mode_overrides", json!([1]))]
#[case::secret("/api/bearer_token", json!(7))]
fn member_of_a_wrong_type_reads_as_its_default(#[case] pointer: &str, #[case] value: Value) {
    let mut config = app_config::defaults("/c").root().to_value();
    config["kept_models"] = json!(["kept"]);
    let expected = AppConfig::view(&Document::of(config.clone()));
    *config.pointer_mut(pointer).unwrap() = value;
    let view = AppConfig::view(&Document::of(config));
    assert_eq!(view, expected);
    assert_eq!(view.kept_models, ["kept"]);
}

#[test]
fn items_and_entries_of_a_wrong_type_are_skipped() {
    let view = AppConfig::view(&doc(
        r#"{"kept_models": ["a", 5, null, "b"], "mode_overrides": {"text": "m", "x": null, "y": [1]},
            "family_overrides": {"f": {"text": "m", "x": 5}, "g": 7}, "providers": [7, {"name": "p",
            "url": 5}],
            "cloud_mesh": {"networks": [null, {"id": "a", "auto_gossip": "no",
            "turn_servers": [{"username": "u"}, {"url": "turn:t"}, 5]}]}}"#,
    ));
    assert_eq!(view.kept_models, ["a", "b"]);
    assert_eq!(view.mode_overrides.into_iter().collect::<Vec<_>>(), [("text".to_owned(), "m".to_owned())]);
    assert_eq!(view.family_overrides.keys().collect::<Vec<_>>(), ["f"]);
    assert_eq!(view.family_overrides["f"].len(), 1);
    assert_eq!(
        (view.providers.len(), &*view.providers[0].name, view.providers[0].url.expose()),
        (1, "p", "")
    );
    let [network] = &*view.cloud_mesh.networks else { panic!("one network is an object") };
    assert_eq!((&*network.id, network.auto_gossip, network.turn_servers.len()), ("a", true, 1));
}

#[test]
fn tracked_modes_follow_the_active_mode() {
    assert_eq!(AppConfig::view(&doc(r#"{"active_mode": "text"}"#)).tracked_modes, ["text"]);
    assert_eq!(
        AppConfig::view(&doc(r#"{"active_mode": "text", "tracked_modes": []}"#)).tracked_modes,
        ["text"]
    );
    assert_eq!(
        AppConfig::view(&doc(r#"{"active_mode": "text", "tracked_modes": ["x"]}"#)).tracked_modes,
        ["x"]
    );
}

#[rstest]
#[case(json!({"kind": "ring", "n_preferred": 3}), Some(Topology::Ring { n_preferred: Some(3) }))]
#[case(json!({"kind": "ring", "n_preferred": "x"}), Some(Topology::Ring { n_preferred: None }))]
#[case(json!({"kind": "star", "hub": "h"}), Some(Topology::Star { hub: "h".to_owned() }))]
#[case(json!({"kind": "star"}), None)]
#[case(json!({"kind": "full_mesh"}), Some(Topology::FullMesh))]
#[case(json!({"kind": "hubs", "hubs": 7}), Some(Topology::Other { kind: "hubs".to_owned() }))]
#[case(json!({"kind": 5}), None)]
#[case(json!("ring"), None)]
fn topology_is_read_or_left_out(#[case] value: Value, #[case] expected: Option<Topology>) {
    let network = Document::of(json!({ "topology": value }));
    assert_eq!(Network::view(network.root()).topology, expected);
    assert_eq!(Topology::view(network.get(&["topology"]).unwrap()), expected);
}

#[test]
fn secrets_are_read_and_never_printed() {
    let config = doc(r#"{"api": {"bearer_token": "s3cret"}, "cloud_mesh": {"networks": [{"id": "a",
        "turn_servers": [{"url": "turn:t", "credential": "s3cret"}],
        "daemon_settings": {"turn_servers": [{"urls": ["turn:a", "turn:b"], "credential": "s3cret"}]}}]}}"#);
    let view = AppConfig::view(&config);
    assert!(!format!("{view:?}").contains("s3cret"));
    assert!(!serde_json::to_string(&view).unwrap().contains("s3cret"));
    assert_eq!(view.api.bearer_token.unwrap().expose(), "s3cret");
    let network = &view.cloud_mesh.networks[0];
    assert_eq!(network.turn_servers[0].credential.as_ref().unwrap().expose(), "s3cret");
    let settings = network.daemon_settings.as_ref().unwrap();
    assert_eq!(settings.turn_servers[0].credential.as_ref().unwrap().expose(), "s3cret");
}

#[test]
fn daemon_view_reads_defaults_of_the_files_version() {
    let daemon = DaemonConfig::view(&doc(
        r#"{"version":2,"identity_path":"","daemon":{"control_socket":"/s","enabled":5},
        "networks":[null,{"id":"a","network_id":"home","signaling":{"denylist":[]}}]}"#,
    ));
    assert_eq!(
        (daemon.version, daemon.daemon.enabled, daemon.daemon.log_level.as_str()),
        (Some(2), true, "info")
    );
    assert_eq!((daemon.daemon.control_socket.as_deref(), daemon.identity_path), (Some("/s"), None));
    let network = &daemon.networks[0];
    assert_eq!(network.topology, Topology::FullMesh);
    assert_eq!(
        (network.kind.as_str(), network.signaling.mdns, network.signaling.denylist.len()),
        ("open", true, 0)
    );
    assert!(network.stun_servers.is_none());
}

#[rstest]
#[case("{}")]
#[case(r#"{"version":"3"}"#)]
#[case(r#"{"version":1.5}"#)]
#[case(r#"{"version":-1}"#)]
fn daemon_version_is_a_whole_number(#[case] text: &str) {
    assert_eq!(DaemonConfig::view(&doc(text)).version, None);
    let networks = DaemonConfig::view(&doc(r#"{"networks":[{"id":"a"}]}"#)).networks;
    assert_eq!(networks[0].topology, Topology::Ring { n_preferred: None });
}
