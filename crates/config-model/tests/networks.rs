//! Operations on the saved networks, network ids, and new ids.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{ids, saved};
use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Document, Ids, SeededIds, network_id, networks};
use rstest::rstest;
use serde_json::{Value, json};

fn value(doc: &Document, path: &[&str]) -> Value {
    doc.get(path).map(|v| v.to_value()).unwrap_or_default()
}

#[rstest]
#[case::internal_id_first("home", Some("home"))]
#[case::network_id_in_any_spelling(" HOME ", Some("b"))]
#[case::saved_network_id_in_any_spelling("lab", Some("c"))]
#[case::unknown("nope", None)]
fn find_prefers_the_internal_id(#[case] name: &str, #[case] id: Option<&str>) {
    let doc = saved(
        json!([{"id": "home", "network_id": "office"}, {"id": "b", "network_id": "home"},
            {"id": "c", "network_id": "Lab"}]),
        json!(null),
    );
    let found = networks::find(&doc, name).map(|n| n.get("id").unwrap().as_str().unwrap().into_owned());
    assert_eq!(found.as_deref(), id);
    assert_eq!(networks::list(&doc).len(), 3);
}

/// The source of ids of another crate.
struct Counting(u64);

impl Ids for Counting {
    fn network_id(&mut self) -> String {
        self.0 += 1;
        format!("net-{}", self.0)
    }
    fn prompt_id(&mut self) -> String {
        format!("prm-{}", self.0)
    }
    fn now_ms(&self) -> u64 {
        self.0
    }
}

#[test]
fn ids_of_another_crate_can_be_written() {
    let mut doc = saved(json!([]), json!(null));
    let ids: &mut dyn Ids = &mut Counting(6);
    assert_eq!(networks::add(&mut doc, "home", false, ids).unwrap().id.as_deref(), Some("net-7"));
}

#[test]
fn add_leaves_a_saved_network_alone() {
    let mut doc = saved(json!([{"id": "a", "network_id": "Home"}]), json!(null));
    let bytes = doc.to_bytes();
    let change = networks::add(&mut doc, " hOmE", false, &mut ids()).unwrap();
    assert!(!change.created && !change.changed && change.id.as_deref() == Some("a"));
    assert_eq!(doc.to_bytes(), bytes);
    assert!(networks::add(&mut doc, "home", true, &mut ids()).unwrap().changed);
    assert!(!networks::add(&mut doc, "home", true, &mut ids()).unwrap().changed);
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
}

#[test]
fn add_appends_a_completed_network() {
    let mut doc = saved(json!([{"id": "a", "network_id": "Home"}]), json!("a"));
    let change = networks::add(&mut doc, " Lab_7 ", false, &mut ids()).unwrap();
    assert!(change.created && change.changed);
    assert_eq!(change.network_id.as_deref(), Some("lab_7"));
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
    assert_eq!(
        value(&doc, &["cloud_mesh", "networks", "1"]),
        json!({"id": change.id, "network_id": "lab_7", "signaling_servers": [], "turn_servers": [],
            "accepting": "available",
            "stun_servers": ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"],
            "auto_gossip": true})
    );
    // The bytes of the other network stay.
    assert!(String::from_utf8(doc.to_bytes()).unwrap().contains("\"network_id\": \"Home\""));
}

#[rstest]
fn add_refuses_what_the_daemon_refuses(
    #[values("", "ab", "a b", "home!", "Zürich", &"x".repeat(65))] id: &str,
) {
    let mut doc = saved(json!([]), json!(null));
    let error = networks::add(&mut doc, id, true, &mut ids()).unwrap_err();
    assert_eq!(error.code(), "network.invalid-id");
    assert!(error.hint().is_some());
    assert!(!doc.is_modified());
}

#[test]
fn add_names_an_id_close_to_a_refused_one() {
    let mut doc = saved(json!([]), json!(null));
    let error = networks::add(&mut doc, "my mesh", true, &mut ids()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot save network: network id contains ' '; only letters, digits, '-', and '_' are allowed"
    );
    assert_eq!(error.hint().as_deref(), Some("try my-mesh"));
}

#[test]
fn remove_takes_one_entry_and_clears_the_active_id() {
    // Without completion, the internal ids are still duplicates.
    let mut doc = Document::of(json!({"cloud_mesh": {"active_network_id": "d", "networks": [
        {"id": "d", "network_id": "one"}, {"id": "d", "network_id": "two"},
        {"id": "e", "network_id": "three"}]}}));
    assert!(networks::remove(&mut doc, "d").changed);
    assert_eq!(networks::list(&doc).len(), 2);
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), json!(null));
    assert_eq!(value(&doc, &["cloud_mesh", "networks", "0", "network_id"]), "two");
    assert_eq!(networks::remove(&mut doc, "THREE").id.as_deref(), Some("e"));
    let change = networks::remove(&mut doc, "nope");
    assert!(!change.changed && change.id.is_none());
}

#[test]
fn activate_sets_the_active_network() {
    let mut doc =
        saved(json!([{"id": "a", "network_id": "home"}, {"id": 7, "network_id": "seven"}]), json!(null));
    assert!(networks::activate(&mut doc, Some("HOME")).unwrap().changed);
    assert!(!networks::activate(&mut doc, Some("a")).unwrap().changed);
    assert_eq!(networks::active(&doc).unwrap().get("network_id").unwrap().as_str().unwrap(), "home");
    networks::activate(&mut doc, Some("seven")).unwrap();
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), 7);
    assert!(networks::activate(&mut doc, None).unwrap().changed);
    assert!(networks::active(&doc).is_none());
    let error = networks::activate(&mut doc, Some("nope")).unwrap_err();
    assert!(error.to_string().ends_with("the network: unknown network id: nope"));
    assert_eq!(error.code(), "network.unknown");
}

#[test]
fn network_whose_id_is_a_number_is_found_by_its_text() {
    let mut doc = saved(json!([{"id": 7, "network_id": "seven"}]), json!(7));
    assert!(!networks::add(&mut doc, "Seven", true, &mut ids()).unwrap().changed);
    assert_eq!(networks::saved(&doc)[0].id, "7");
    assert!(networks::only(&doc, "7").is_ok());
    let change = networks::remove(&mut doc, "7");
    assert!(change.changed && change.id.as_deref() == Some("7"));
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), json!(null));
}

#[test]
fn update_sets_the_members_of_one_entry() {
    let mut doc = saved(json!([{"id": "a", "network_id": "home"}]), json!(null));
    let patch = json!({"label": "New", "stun_servers": [], "x": {"y": 1}});
    let change = networks::update(&mut doc, "home", patch.as_object().unwrap()).unwrap();
    assert!(change.changed);
    assert_eq!(value(&doc, &["cloud_mesh", "networks", "0", "x"]), json!({"y": 1}));
    assert!(!networks::update(&mut doc, "home", patch.as_object().unwrap()).unwrap().changed);
    assert!(networks::update(&mut doc, "nope", patch.as_object().unwrap()).is_err());
}

#[test]
fn import_over_an_entry_keeps_what_the_envelope_lacks() {
    let mut doc = saved(
        json!([{"id": "a", "network_id": "home", "label": "Mine", "kind": "silent", "auto_gossip": false,
            "prompts": [], "accepting": "busy",
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "c", "new": 1},
            {"url": "turn:gone"}]}]),
        json!(null),
    );
    let envelope = Envelope::parse(
        br#"{"kind":"myownllm.network-settings","network_id":"HOME",
        "label":" Theirs ","stun_servers":["stun:s"],
        "turn_servers":[{"url":"turn:t"},{"url":"turn:new","username":"x"}]}"#,
    )
    .unwrap();
    let change = networks::import(&mut doc, &envelope, true, &mut ids()).unwrap();
    assert!(change.changed && !change.created);
    assert_eq!(
        value(&doc, &["cloud_mesh", "networks", "0"]),
        json!({"id": "a", "network_id": "home", "label": "Theirs", "kind": "silent", "auto_gossip": false,
            "prompts": [],
            "accepting": "available", "signaling_servers": [], "stun_servers": ["stun:s"],
            // The known login stays.
            "turn_servers": [{"url": "turn:t", "username": "u", "credential": "c", "new": 1},
            {"url": "turn:new", "username": "x"}]})
    );
    assert_eq!(value(&doc, &["cloud_mesh", "active_network_id"]), "a");
    assert!(!networks::import(&mut doc, &envelope, true, &mut ids()).unwrap().changed);
}

/// Two TURN servers have one URL, and each keeps its login.
#[test]
fn import_of_an_own_export_without_secrets_changes_nothing() {
    let mut doc = saved(
        json!([{"id": "a", "network_id": "home", "label": "wss://me:pw0@x.example",
            "topology": {"kind": "ring", "token": "pw1"}, "accepting": "busy",
            "signaling_servers": ["wss://ann:pw2@relay.example/x", "wss://relay.example/x",
                "wss://r2.example/?token=pw3"],
            "stun_servers": ["stun:ann:pw4@s.example:3478"],
            "turn_servers": [{"url": "turn:ann:pw5@t.example:3478"}, {"url": "turn:ann:pw6@t.example:3478"},
                {"url": "turn:t2", "username": "u", "credential": "pw7"},
                {"url": "turn:t2", "username": "v", "credential": "pw8", "new": 1}]}]),
        json!(null),
    );
    let bare = networks::export(&doc, "home").unwrap().to_document(false);
    assert!(!bare.to_text().contains("pw"), "{}", bare.to_text());
    let previous = doc.to_text();
    let envelope = Envelope::parse(bare.to_text().as_bytes()).unwrap();
    assert!(!networks::import(&mut doc, &envelope, false, &mut ids()).unwrap().changed);
    assert_eq!(doc.to_text(), previous);
    let with_login = bare.to_text().replace("wss://r2", "wss://bob:new@r2").replace("turn:t2", "turn:t3");
    let envelope = Envelope::parse(with_login.as_bytes()).unwrap();
    assert!(networks::import(&mut doc, &envelope, false, &mut ids()).unwrap().changed);
    let network = value(&doc, &["cloud_mesh", "networks", "0"]);
    assert_eq!(network["signaling_servers"][0], "wss://ann:pw2@relay.example/x");
    assert_eq!(network["turn_servers"][2], json!({"url": "turn:t3"}));
    assert!(network["signaling_servers"][2].as_str().unwrap().starts_with("wss://bob:new@r2"));
}

#[test]
fn import_of_a_new_network_appends_an_entry() {
    let mut doc = saved(json!([{"id": "a", "network_id": "home"}]), json!(null));
    let new = Envelope::parse(
        br#"{"kind":"myownmesh.network-settings","network_id":"Lab",
        "network_kind":"closed","auto_approve":true}"#,
    )
    .unwrap();
    let change = networks::import(&mut doc, &new, false, &mut ids()).unwrap();
    assert!(change.created);
    let entry = value(&doc, &["cloud_mesh", "networks", "1"]);
    assert_eq!(
        (&entry["network_id"], &entry["kind"], &entry["auto_approve"]),
        (&json!("lab"), &json!("closed"), &json!(true))
    );
    assert_eq!((&entry["stun_servers"], &entry["auto_gossip"]), (&json!([]), &json!(true)));
    let bad = Envelope::parse(br#"{"kind":"myownmesh.network-settings","network_id":""}"#).unwrap();
    assert_eq!(networks::import(&mut doc, &bad, false, &mut ids()).unwrap_err().code(), "network.invalid-id");
}

#[rstest]
#[case(" Home-Mesh ", "home-mesh")]
#[case("abc", "abc")]
#[case("A_1", "a_1")]
#[case("\tx-y\n", "x-y")]
#[case::longest(&"x".repeat(64), &"x".repeat(64))]
fn normalize_accepts_what_the_daemon_accepts(#[case] id: &str, #[case] normal: &str) {
    assert_eq!(network_id::normalize(id).unwrap(), normal);
}

#[rstest]
fn normalize_refuses_what_the_daemon_refuses(
    #[values("", "  ", "ab", "a.b", "a/b", "é€x", "home mesh", "\u{212a}elvin")] id: &str,
) {
    assert!(network_id::normalize(id).is_err());
}

#[test]
fn normalize_counts_characters() {
    assert!(network_id::normalize("a").unwrap_err().to_string().contains("too short: 1 character, "));
    assert!(network_id::normalize("ab").unwrap_err().to_string().contains("too short: 2 characters, "));
}

#[test]
fn same_compares_normal_forms() {
    assert!(network_id::same(" HOME", "home") && network_id::same("not valid!", "NOT valid!"));
    assert!(!network_id::same("home", "office"));
}

#[test]
fn seeded_ids_repeat_and_have_the_apps_form() {
    let run = |seed| {
        let mut ids = SeededIds::new(1_750_000_000_000, seed);
        (ids.network_id(), ids.prompt_id(), ids.network_id(), ids.now_ms())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
    let (network, prompt, _, now) = run(1);
    assert_eq!(now, 1_750_000_000_000);
    for (id, prefix) in [(network, "net"), (prompt, "prm")] {
        let parts: Vec<_> = id.split('-').collect();
        assert_eq!((parts[0], parts[1], parts[2].len()), (prefix, "mbxstdz4", 6));
        assert!(parts[2].chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()));
    }
    assert!(SeededIds::new(0, 0).network_id().starts_with("net-0-"));
}
