//! Settings envelopes.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::saved;
use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Document, networks};
use rstest::rstest;
use serde_json::{Value, json};

#[test]
fn export_leaves_credentials_out_unless_asked() {
    let doc = saved(
        json!([{"id": "a", "network_id": "home", "label": "L", "kind": "silent",
            "topology": {"kind": "hubs"}, "auto_approve": false,
            "prompts": [{"id": "p"}], "agent_permissions": {}, "daemon_settings": {"roster_path": "/r"},
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "s3cret", "new": 1},
            {"url": "turn:v", "username": ""}]}]),
        json!(null),
    );
    let envelope = networks::export(&doc, "home").unwrap();
    let head = json!({"kind": "myownllm.network-settings", "version": 1, "network_id": "home",
        "label": "L", "network_kind": "silent",
        "topology": {"kind": "hubs"}, "auto_approve": false, "signaling_servers": [],
        "accepting": "available",
        "stun_servers": ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"]});
    let with = |turn: Value| {
        let mut all = head.clone();
        all["turn_servers"] = turn;
        all
    };
    assert_eq!(envelope.to_value(false), with(json!([{"url": "turn:t"}, {"url": "turn:v"}])));
    assert_eq!(
        envelope.to_value(true),
        with(json!([{"url": "turn:t", "username": "u", "credential": "s3cret"}, {"url": "turn:v"}]))
    );
    assert!(!format!("{envelope:?}").contains("s3cret"));
    assert!(networks::export(&doc, "nope").is_err());
    let text = envelope.to_document(true).to_text();
    assert!(Envelope::parse(text.as_bytes()).unwrap() == envelope);
}

#[test]
fn export_leaves_the_logins_of_urls_out_unless_asked() {
    let servers = json!({"signaling_servers": ["wss://u:s3cret@r/", "wss://r/?token=s3cret"],
        "stun_servers": ["stun:u:s3cret@s"],
        "turn_servers": [{"url": "turn:u:s3cret@t:3478?transport=udp"}]});
    let envelope = Envelope::of_network(Document::of(servers.clone()).root()).unwrap();
    let without = envelope.to_value(false);
    assert_eq!(without["signaling_servers"], json!(["wss://r/", "wss://r/?token="]));
    assert_eq!(without["stun_servers"], json!(["stun:s"]));
    assert_eq!(without["turn_servers"], json!([{"url": "turn:t:3478?transport=udp"}]));
    assert_eq!(envelope.to_value(true)["turn_servers"], servers["turn_servers"]);
}

#[test]
fn export_leaves_unknown_members_of_a_topology_out_unless_asked() {
    let topology = json!({"kind": "hubs", "hubs": ["a"], "spoke_redundancy": 2, "later": "s3cret"});
    let network = json!({"topology": topology, "label": "ask https://u:s3cret@h/", "signaling_servers": [],
        "stun_servers": [], "turn_servers": []});
    let envelope = Envelope::of_network(Document::of(network).root()).unwrap();
    let without = envelope.to_value(false);
    assert_eq!(without["topology"], json!({"kind": "hubs", "hubs": ["a"], "spoke_redundancy": 2}));
    assert_eq!(without["label"], "ask https://h/");
    assert_eq!(envelope.to_value(true)["topology"], topology);
}

#[rstest]
#[case::no_servers(json!({}))]
#[case::no_turn_servers(json!({"signaling_servers": [], "stun_servers": []}))]
#[case::object_of_servers(json!({"signaling_servers": [], "stun_servers": [], "turn_servers": {}}))]
#[case::null_of_servers(json!({"signaling_servers": null, "stun_servers": [], "turn_servers": []}))]
#[case::null_server(json!({"signaling_servers": [], "stun_servers": [], "turn_servers": [null]}))]
fn network_without_servers_has_no_envelope(#[case] network: Value) {
    let error = Envelope::of_network(Document::of(network).root()).unwrap_err();
    assert_eq!(error.code(), "envelope.not-exportable");
}

#[rstest]
fn parse_refuses_other_texts(
    #[values(
        "",
        "{",
        "[]",
        "null",
        "{}",
        r#"{"kind":"x","network_id":"home"}"#,
        r#"{"kind":"myownllm.network-settings"}"#,
        r#"{"kind":"myownllm.network-settings","network_id":5}"#,
        r#"{"kind":["myownllm.network-settings"],"network_id":"a"}"#,
        r#"{"kind":"myownllm.network-settings","network_id":"a"} x"#
    )]
    text: &str,
) {
    assert!(Envelope::parse(text.as_bytes()).is_err());
}

fn parsed(text: &str) -> Value {
    Envelope::parse(text.as_bytes()).unwrap().to_value(true)
}

#[test]
fn parse_leaves_out_what_an_envelope_does_not_carry() {
    assert_eq!(
        parsed(
            "\u{feff}{\"kind\":\"myownmesh.network-settings\",\"version\":9,\"network_id\":\"\",\
            \"topology\":{\"kind\":\"ring\",\"n_preferred\":0.5},\"network_kind\":\"\",\
            \"auto_approve\":1,\"stun_servers\":null,\"id\":\"x\"}"
        ),
        json!({"kind": "myownllm.network-settings", "version": 1, "network_id": "",
            "topology": {"kind": "ring"},
            "signaling_servers": [], "stun_servers": [], "turn_servers": [], "accepting": "available"})
    );
}

#[test]
fn parse_keeps_turn_servers_with_a_url() {
    let turn = parsed(
        r#"{"kind":"myownllm.network-settings","network_id":"a","turn_servers":[{"url":"","username":"",
            "credential":"c"},{"username":"u"},7,null,"x"],"label":" "}"#,
    );
    assert_eq!(turn["turn_servers"], json!([{"url": "", "credential": "c"}]));
    assert!(turn.get("label").is_none());
}

#[test]
fn parse_leaves_out_retired_servers() {
    let retired = parsed(
        r#"{"kind":"myownllm.network-settings","network_id":"a",
            "signaling_servers":["wss://0.peerjs.com:443/",7,"wss://a"]}"#,
    );
    assert_eq!(retired["signaling_servers"], json!(["wss://a"]));
}

#[rstest]
#[case::not_utf8(b"\"label\":\"B\xfcro\"", "config.not-utf8")]
#[case::duplicate(br#""network_id":"b""#, "config.duplicate-key")]
#[case::label(br#""label":5"#, "config.dropped")]
#[case::servers(br#""stun_servers":"stun:s""#, "config.dropped")]
#[case::server(br#""stun_servers":[5]"#, "config.dropped")]
#[case::turn_server(br#""turn_servers":[{"url":5},{"url":"turn:t"}]"#, "config.dropped")]
#[case::topology(br#""topology":{"kind":"star"}"#, "config.dropped")]
fn parse_tells_what_it_changes(#[case] member: &[u8], #[case] code: &str) {
    let text = [&br#"{"kind":"myownllm.network-settings","network_id":"a","#[..], member, b"}"].concat();
    let envelope = Envelope::parse(&text).unwrap();
    assert_eq!(envelope.diagnostics().iter().map(|reported| reported.code).collect::<Vec<_>>(), [code]);
}
