//! The conversion of a network to the daemon's shape and back.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::Document;
use myownllm_config_model::convert::{self, ConvertError};
use rstest::rstest;
use serde_json::{Value, json};

fn converted(network: Value) -> Result<Value, ConvertError> {
    convert::to_daemon(Document::of(json!({ "n": network })).get(&["n"]).unwrap())
}

#[test]
fn network_without_settings_gets_the_daemons_defaults() {
    assert_eq!(
        converted(json!({"network_id": "n"})).unwrap(),
        json!({"network_id": "n", "label": "", "kind": "open",
            "topology": {"kind": "ring", "n_preferred": null},
            "signaling": {"strategy": "nostr", "servers": []}, "stun_servers": [], "turn_servers": [],
            "auto_approve": false})
    );
}

#[test]
fn values_of_a_wrong_type_pass_through() {
    let network = json!({"id": 7, "network_id": "n", "label": 5, "kind": "x", "topology": "t",
        "signaling_servers": "s", "auto_approve": 1,
        "stun_servers": "stun:x",
        "turn_servers": [{}, {"url": 7, "username": "", "credential": "c"}, "turn:x"], "accepting": "busy",
        "prompts": []});
    assert_eq!(
        converted(network).unwrap(),
        json!({"id": 7, "network_id": "n", "label": 5, "kind": "x", "topology": "t",
            "signaling": {"strategy": "nostr", "servers": "s"}, "auto_approve": 1,
            "stun_servers": [{"urls": "stun:x"}],
            "turn_servers": [{"urls": [null]}, {"urls": [7], "credential": "c"}, {"urls": [null]}]})
    );
}

#[rstest]
#[case(json!(7))]
#[case(json!({"a": 1}))]
#[case(json!(""))]
#[case(json!([]))]
fn stun_servers_without_a_url_make_no_group(#[case] servers: Value) {
    assert_eq!(
        converted(json!({"network_id": "n", "stun_servers": servers})).unwrap()["stun_servers"],
        json!([])
    );
}

#[rstest]
#[case::null(json!(null), "bridge.not-an-object")]
#[case::array(json!([]), "bridge.not-an-object")]
#[case::string(json!("x"), "bridge.not-an-object")]
#[case::nothing(json!({}), "bridge.not-a-network")]
#[case::something_else(json!({"a": 1}), "bridge.not-a-network")]
#[case::internal_id_alone(json!({"id": "a"}), "bridge.not-a-network")]
#[case::network_id_of_a_wrong_type(json!({"id": "a", "network_id": null}), "bridge.not-a-network")]
#[case::object_of_turn_servers(json!({"network_id": "n", "turn_servers": {}}), "bridge.malformed")]
#[case::string_of_turn_servers(json!({"network_id": "n", "turn_servers": ""}), "bridge.malformed")]
#[case::null_turn_server(json!({"network_id": "n", "turn_servers": [null]}), "bridge.malformed")]
#[case::string_of_settings(json!({"network_id": "n", "daemon_settings": "silent"}), "bridge.malformed")]
#[case::string_of_signaling(json!({"network_id": "n", "daemon_settings": {"signaling": "none"}}),
    "bridge.malformed")]
#[case::array_of_signaling(json!({"network_id": "n", "daemon_settings": {"signaling": ["none"]}}),
    "bridge.malformed")]
#[case::strategy_outside_of_signaling(json!({"network_id": "n", "daemon_settings": {"strategy": "none"}}),
    "bridge.malformed")]
#[case::number_of_turn_groups(json!({"network_id": "n", "daemon_settings": {"turn_servers": 5}}),
    "bridge.malformed")]
fn to_daemon_refuses_what_is_no_network(#[case] value: Value, #[case] code: &str) {
    let error = converted(value).unwrap_err();
    assert_eq!(error.code(), code);
    assert!(error.to_string().starts_with("cannot convert network: "), "{error}");
    assert!(error.hint().is_some());
}

#[test]
fn malformed_turn_servers_are_named() {
    let error = converted(json!({"network_id": "n", "turn_servers": [{}, null]})).unwrap_err();
    assert_eq!(
        (error.code(), error.to_string().contains("/turn_servers/1 is null")),
        ("bridge.malformed", true)
    );
}

#[test]
fn daemon_settings_go_back_without_replacing_what_the_app_says() {
    let kept = converted(json!({"network_id": "n", "signaling_servers": ["a"],
        "daemon_settings": {"signaling": {"mdns": false, "servers": ["x"]},
        "network_id": "other", "kind": "open", "label": "x", "pinned_peers": ["p"], "roster_path": "/r",
        "later": [1], "turn_servers": [5]}}))
    .unwrap();
    assert_eq!(kept["signaling"], json!({"strategy": "nostr", "servers": ["a"], "mdns": false}));
    assert_eq!(
        (&kept["network_id"], &kept["label"], &kept["turn_servers"]),
        (&json!("n"), &json!(""), &json!([]))
    );
    assert_eq!(
        (&kept["pinned_peers"], &kept["roster_path"], &kept["later"]),
        (&json!(["p"]), &json!("/r"), &json!([1]))
    );
}

/// A daemon that reads neither joins the network with its defaults: as an announced one.
#[rstest]
#[case::string(json!("none"))]
#[case::array(json!(["none"]))]
fn signaling_of_a_wrong_type_is_kept_and_refused(#[case] signaling: Value) {
    let doc = Document::of(json!({ "n": {"id": "a", "network_id": "home", "signaling": signaling} }));
    let (entry, _) = convert::from_daemon(doc.get(&["n"]).unwrap(), "");
    let entry = Document::of(entry);
    assert_eq!(entry.root().to_value()["daemon_settings"], json!({ "signaling": signaling }));
    assert_eq!(convert::to_daemon(entry.root()).unwrap_err().code(), "bridge.malformed");
}

#[test]
fn numbers_keep_their_spelling() {
    let doc = Document::parse(
        br#"{"network_id":"n","topology":{"kind":"ring","n_preferred":9007199254740993},
            "daemon_settings":{"x":1e5}}"#,
    )
    .unwrap()
    .document;
    let text = convert::to_daemon_document(doc.root()).unwrap().to_text();
    assert!(text.contains("9007199254740993") && text.contains("1e5"));
}

#[test]
fn topology_that_the_daemon_leaves_out_stays_out() {
    let doc = Document::of(json!({ "n": {"id": "a", "network_id": "home"} }));
    let (entry, _) = convert::from_daemon(doc.get(&["n"]).unwrap(), "");
    assert!(Document::of(entry).get(&["topology"]).is_none());
}

/// An empty group and a whole group with an unknown member lose nothing.
#[test]
fn part_of_a_group_that_the_app_does_not_have_is_named() {
    let network = json!({"id": "a", "network_id": "n",
        "stun_servers": [{"urls": ["stun:a"]}, {"urls": []}, null, {"urls": ["stun:b", 7], "weight": 1},
            {"urls": "stun:c"}],
        "turn_servers": [{"urls": ["turn:a"], "username": "u", "credential": ""},
            {"urls": ["turn:a", "turn:b"], "new": 1}, {"urls": ["turn:c"], "username": 5, "tls_ca": "x"},
            {"urls": [""], "credential": "c"}, "turn:d"]});
    let network = Document::of(json!({ "n": network }));
    let (_, diagnostics) = convert::from_daemon(network.get(&["n"]).unwrap(), "/networks/0");
    let named: Vec<_> = diagnostics.iter().map(|found| (found.code, found.path.as_str())).collect();
    let expected = [
        "stun_servers/3/urls",
        "stun_servers/3/weight",
        "stun_servers/4/urls",
        "turn_servers/2/tls_ca",
        "turn_servers/2/username",
        "turn_servers/3/credential",
        "turn_servers/3/urls",
        "turn_servers/4",
    ]
    .map(|at| format!("/networks/0/{at}"));
    assert_eq!(named, expected.each_ref().map(|at| ("salvage.odd-member", at.as_str())));
}
