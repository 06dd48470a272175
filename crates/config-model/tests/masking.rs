//! Masking of both configs.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::masking::{self, MASK};
use myownllm_config_model::{AppConfig, DaemonConfig, Document};
use rstest::rstest;
use serde_json::{Value, json};

fn masked(config: Value) -> String {
    masking::mask(&Document::of(config)).to_text()
}

#[rstest]
#[case::app(include_str!("../../../tests/fixtures/app-config-before.json"))]
#[case::daemon(include_str!("../../../tests/fixtures/daemon-0.3.8/home/.myownllm/config.json"))]
fn members_of_the_schemas_are_shown_but_for_their_secrets(#[case] text: &str) {
    // One member a line.
    let doc = Document::of(Document::parse(text.as_bytes()).unwrap().document.root().to_value());
    let (before, after) = (doc.to_text(), masking::mask(&doc).to_text());
    for (before, after) in before.lines().zip(after.lines()).filter(|(before, after)| before != after) {
        let name = before.trim().split('"').nth(1).unwrap();
        assert!(
            ["bearer_token", "credential", "password"].contains(&name),
            "masking.rs has no {name}: {before} -> {after}"
        );
    }
}

#[rstest]
#[case::bearer_token(json!({"api": {"bearer_token": "s3cret"}}))]
#[case::turn_credential(json!({"cloud_mesh": {"networks": [{"turn_servers": [{"url": "turn:t",
    "credential": "s3cret"}]}]}}))]
#[case::credential_of_a_group(json!({"cloud_mesh": {"networks":
    [{"daemon_settings": {"turn_servers": [{"urls": [], "credential": "s3cret"}]}}]}}))]
#[case::password_of_a_service(json!({"services": {"turn": {"credentials": [{"username": "u",
    "password": "s3cret"}]}}}))]
#[case::unknown_name(json!({"x_newer": "s3cret"}))]
#[case::unknown_number(json!({"x_newer": 53_637_265}))]
#[case::unknown_array(json!({"x_newer": ["s3cret", [53_637_265]]}))]
#[case::known_name_below_an_unknown_one(json!({"x_newer": {"label": "s3cret", "network_id": 53_637_265}}))]
#[case::unknown_name_in_a_network(json!({"cloud_mesh": {"networks": [{"id": "a", "x_newer": "s3cret"}]}}))]
#[case::string_instead_of_a_network(json!({"cloud_mesh": {"networks": ["s3cret"]}}))]
#[case::string_instead_of_an_array(json!({"cloud_mesh": {"networks": [{"signaling_servers": "s3cret"}]}}))]
#[case::string_instead_of_a_section(json!({"api": "s3cret", "mic": [53_637_265]}))]
#[case::unknown_daemon_setting(json!({"cloud_mesh": {"networks":
    [{"daemon_settings": {"later": {"pw": "s3cret"}}}]}}))]
#[case::unknown_member_of_a_daemon_network(json!({"networks": [{"network_id": "n", "join": "s3cret"}]}))]
#[case::unknown_service(json!({"services": {"vault": {"port": 53_637_265}}}))]
#[case::entry_that_announces_a_secret(json!({"mode_overrides": {"api_key": "s3cret"}}))]
#[case::login_in_a_provider(json!({"providers": [{"name": "p", "url": "https://u:s3cret@h/"}]}))]
#[case::parameter_of_a_relay(json!({"cloud_mesh": {"networks":
    [{"signaling_servers": ["wss://h/?session=s3cret"]}]}}))]
#[case::accepted_command(json!({"cloud_mesh": {"networks": [{"agent_permissions":
    {"shell": {"always_accept": ["curl -H 'Authorization: Bearer s3cret'"]}}}]}}))]
fn everything_else_is_masked(#[case] config: Value) {
    let text = masked(config);
    assert!(!text.contains("s3cret") && !text.contains("53637265") && text.contains(MASK), "{text}");
}

/// A view in a log, or in the JSON for a front end.
#[rstest]
#[case::provider(json!({"providers": [{"name": "p", "url": "https://u:s3cret@h/"}]}))]
#[case::relay_of_the_app(json!({"cloud_mesh": {"networks": [{"signaling_servers": ["wss://u:s3cret@h"]}]}}))]
#[case::stun_of_the_app(json!({"cloud_mesh": {"networks": [{"stun_servers": ["stun://u:s3cret@h"]}]}}))]
#[case::turn_of_the_app(json!({"cloud_mesh": {"networks":
    [{"turn_servers": [{"url": "turn://u:s3cret@h", "credential": "s3cret"}]}]}}))]
#[case::accepted_command(json!({"cloud_mesh": {"networks": [{"agent_permissions":
    {"shell": {"always_accept": ["curl -H 'Authorization: Bearer s3cret'"]}}}]}}))]
#[case::prompt(json!({"cloud_mesh": {"networks": [{"prompts": [{"id": "p", "user_prompt": "read https://u:s3cret@h",
    "system_prompt": "read https://u:s3cret@h"}]}]}}))]
#[case::relay_of_the_daemon(json!({"networks": [{"signaling": {"servers": ["wss://u:s3cret@h"]}}]}))]
#[case::denied_relay(json!({"networks": [{"signaling": {"denylist": ["wss://u:s3cret@h"]}}]}))]
#[case::stun_of_the_daemon(json!({"networks": [{"stun_servers": [{"urls": ["stun://u:s3cret@h"]}]}]}))]
#[case::turn_of_the_daemon(json!({"networks":
    [{"turn_servers": [{"urls": ["turn://u:s3cret@h"], "credential": "s3cret"}]}]}))]
#[case::updates_of_the_daemon(json!({"auto_update":
    {"stable_url": "https://u:s3cret@h/", "beta_url": "https://u:s3cret@h/"}}))]
fn view_shows_no_secret(#[case] config: Value) {
    let config = Document::of(config);
    let (app, daemon) = (AppConfig::view(&config), DaemonConfig::view(&config));
    let shown = format!("{app:?} {daemon:?} {} {}", json!(app), json!(daemon));
    assert!(!shown.contains("s3cret") && shown.contains(MASK), "{shown}");
}

#[test]
fn daemon_network_is_masked_in_place() {
    let mut network = json!({"id": "a", "network_id": "home",
        "signaling": {"strategy": "nostr", "servers": ["wss://u:s3cret@r"]},
        "turn_servers": [{"urls": ["turn:t"], "username": "u", "credential": "s3cret"}], "later": "s3cret",
        "auto_approve": true});
    masking::mask_daemon_network(&mut network);
    assert_eq!(
        network,
        json!({"id": "a", "network_id": "home",
            "signaling": {"strategy": "nostr", "servers": [format!("wss://{MASK}@r")]},
            "turn_servers": [{"urls": ["turn:t"], "username": "u", "credential": MASK}], "later": MASK,
            "auto_approve": true})
    );
}

/// Returns a value with every member of a schema, and an unmistakable one at each string and
/// number.
#[cfg(feature = "schema")]
fn sample(root: &Value, schema: &Value) -> Value {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        return sample(root, root.pointer(&target[1..]).expect("a schema refers to its own parts"));
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => &kinds[0],
        kind => kind,
    };
    match kind.as_str().expect("every member has a type") {
        "object" => {
            let members = schema["properties"].as_object().into_iter().flatten();
            let mut members: serde_json::Map<_, _> =
                members.map(|(key, schema)| (key.clone(), sample(root, schema))).collect();
            if let Some(schema) = schema.get("additionalProperties") {
                members.insert("any".to_owned(), sample(root, schema));
            }
            Value::Object(members)
        }
        "array" => json!([sample(root, &schema["items"])]),
        "string" => json!("a string"),
        "number" | "integer" => json!(4711),
        "boolean" => json!(true),
        other => panic!("no member has the type {other}"),
    }
}

#[cfg(feature = "schema")]
#[test]
fn every_member_of_both_schemas_is_shown_or_known_to_be_secret() {
    use myownllm_config_model::schema;
    for schema in [schema::app_schema(), schema::daemon_schema()] {
        let document = Document::of(sample(&schema, &schema));
        let (text, masked) = (document.to_text(), masking::mask(&document).to_text());
        let masked_names: Vec<_> = text
            .lines()
            .zip(masked.lines())
            .filter(|(before, after)| before != after)
            .map(|(before, _)| before.trim().split('"').nth(1).unwrap_or_default())
            .collect();
        let unnamed: Vec<_> =
            masked_names.iter().filter(|name| !["bearer_token", "credential"].contains(*name)).collect();
        assert!(unnamed.is_empty(), "the allow-list of masking.rs has no {unnamed:?}");
        assert!(!masked_names.is_empty());
    }
}
