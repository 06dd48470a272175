//! Files that a daemon can read or not, and their parts that it can.

use myownllm_config_model::DaemonFile;
use rstest::rstest;
use serde_json::{Value, json};

const ROSTER: &str = r#"{"version":1,"network_id":"home","authorized_devices":[
    {"device_id":"b","label":"laptop","approved_at":1,"role":"member"}]}"#;

#[rstest]
#[case::byte_order_mark(format!("\u{feff}{ROSTER}").into_bytes(), true)]
#[case::trailing_bytes(format!("{ROSTER}\0\0\0").into_bytes(), true)]
#[case::duplicate_member(ROSTER.replace(r#""version":1"#, r#""version":1,"version":1"#).into_bytes(),
    true)]
#[case::latin1(ROSTER.replace("laptop", "caf?").bytes()
    .map(|byte| if byte == b'?' { 0xe9 } else { byte }).collect(), true)]
#[case::utf16(format!("\u{feff}{ROSTER}").encode_utf16().flat_map(u16::to_le_bytes).collect(), true)]
#[case::empty(Vec::new(), false)]
#[case::no_member(b"{}".to_vec(), false)]
#[case::torn(ROSTER.as_bytes()[..30].to_vec(), false)]
fn damaged_roster_keeps_its_peers_where_they_are_whole(#[case] damaged: Vec<u8>, #[case] is_mended: bool) {
    assert!(DaemonFile::Roster.is_readable(ROSTER.as_bytes()));
    assert!(!DaemonFile::Roster.is_readable(&damaged));
    let mended = DaemonFile::Roster.mend(&damaged);
    assert_eq!(mended.is_some(), is_mended);
    if let Some((mended, _)) = mended {
        assert!(DaemonFile::Roster.is_readable(&mended.to_bytes()));
        assert!(mended.get(&["authorized_devices", "0", "device_id"]).is_some());
    }
}

/// One device costs no other its approval.
#[rstest]
#[case::label(r#"{"device_id":"c","label":null,"approved_at":1}"#)]
#[case::no_time(r#"{"device_id":"c","label":"tablet"}"#)]
fn device_that_no_daemon_reads_is_left_out_alone(#[case] odd: &str) {
    let roster = ROSTER.replace(
        r#"[
    "#,
        &format!("[{odd},"),
    );
    let (mended, left_out) = DaemonFile::Roster.mend(roster.as_bytes()).expect("a device is sound");
    assert_eq!(left_out, ["/authorized_devices/0"]);
    assert!(mended.get(&["authorized_devices", "0", "device_id"]).is_some_and(|id| id.is_str("b")));
    let alone = format!(r#"{{"version":1,"network_id":"home","authorized_devices":[{odd}]}}"#);
    assert!(DaemonFile::Roster.mend(alone.as_bytes()).is_none());
}

#[rstest]
#[case::absent(r#""member_log":[]"#)]
#[case::null(r#""pending":null,"splits":null,"member_log":null"#)]
fn state_without_an_empty_member_is_mended(#[case] members: &str) {
    let state = format!(
        r#"{{"version":2,"network_id":"home","kind":"closed","roles":{{"b":"owner"}},
        "transitions":[],{members}}}"#
    );
    assert!(!DaemonFile::State.is_readable(state.as_bytes()));
    let (mended, _) = DaemonFile::State.mend(state.as_bytes()).expect("all that counts is there");
    assert!(DaemonFile::State.is_readable(&mended.to_bytes()));
    assert!(mended.get(&["roles", "b"]).is_some_and(|role| role.is_str("owner")));
}

/// No daemon reads a state with a transition that lacks a member of its kind.
#[rstest]
#[case::kind_change(r#"{"kind":"kind_change","to":"closed"}"#, "to")]
#[case::role_grant(r#"{"kind":"role_grant","target":"b","role":"owner"}"#, "target")]
#[case::granted_role(r#"{"kind":"role_grant","target":"b","role":"owner"}"#, "role")]
#[case::role_revoke(r#"{"kind":"role_revoke","target":"b"}"#, "target")]
#[case::evict(r#"{"kind":"evict","target":"b"}"#, "target")]
#[case::split(r#"{"kind":"split","new_network_id":"n","members":["b"]}"#, "new_network_id")]
#[case::split_members(r#"{"kind":"split","new_network_id":"n","members":["b"]}"#, "members")]
#[case::topology_change(r#"{"kind":"topology_change","to":{"kind":"ring"}}"#, "to")]
fn transition_has_the_members_of_its_kind(#[case] variant: &str, #[case] member: &str) {
    let state = |variant: &Value| {
        let transition = json!({"at": 1, "variant": variant, "signers": [], "signatures": []});
        json!({"version": 2, "network_id": "home", "kind": "closed", "roles": {"b": "owner"},
            "transitions": [transition], "pending": [], "splits": []})
        .to_string()
    };
    let is_readable = |variant: &Value| DaemonFile::State.is_readable(state(variant).as_bytes());
    let mut variant: Value = serde_json::from_str(variant).expect("JSON");
    assert!(is_readable(&variant));
    variant["later"] = json!({"a": 1});
    assert!(is_readable(&variant), "a member of a newer daemon's");
    for odd in [Value::Null, json!(5), json!({})] {
        variant[member] = odd;
        assert!(!is_readable(&variant), "{variant}");
    }
    variant.as_object_mut().expect("an object").remove(member);
    assert!(!is_readable(&variant));
    assert!(DaemonFile::State.mend(state(&variant).as_bytes()).is_none(), "signed as it is");
    variant["kind"] = "later".into();
    assert!(is_readable(&variant), "a kind of a newer daemon's");
}

#[rstest]
#[case::kind(DaemonFile::Config, r#"{"networks":[{"id":"a","network_id":"home","kind":"Closed"}]}"#)]
#[case::role(DaemonFile::Roster, &ROSTER.replace("member", "Member"))]
fn word_in_capitals_is_mended(#[case] file: DaemonFile, #[case] text: &str) {
    assert!(!file.is_readable(text.as_bytes()) && !file.judge(text.as_bytes()).is_newer);
    let (mended, left_out) = file.mend(text.as_bytes()).expect("the words are known");
    assert!(left_out.is_empty() && file.is_readable(&mended.to_bytes()));
    let previous: Value = serde_json::from_str(&text.to_lowercase()).expect("JSON");
    assert_eq!(mended.root().to_value(), previous);
}

#[rstest]
#[case::kind("kind", r#""moderated""#, "/kind")]
#[case::role("roles", r#"{"b":"admin"}"#, "/roles/b")]
#[case::topology("topology", r#"{"kind":"tree"}"#, "/topology/kind")]
#[case::transition(
    "transitions",
    r#"[{"at":1,"variant":{"kind":"kind_change","to":"moderated"},
    "signers":[],"signatures":[]}]"#,
    "/transitions/0/variant/to"
)]
fn word_that_no_known_daemon_knows_is_of_a_newer_one(
    #[case] member: &str,
    #[case] value: &str,
    #[case] at: &str,
) {
    let state = r#"{"version":2,"network_id":"home","kind":"closed","roles":{"b":"owner"},
        "transitions":[{"at":1,"variant":{"kind":"later"},"signers":[],"signatures":[]}],
        "pending":[],"splits":[],"topology":{"kind":"ring"}}"#;
    assert!(DaemonFile::State.is_readable(state.as_bytes()));
    assert_eq!(DaemonFile::State.judge(state.as_bytes()).unknown_value, None);
    let mut newer: Value = serde_json::from_str(state).expect("JSON");
    newer[member] = serde_json::from_str(value).expect("JSON");
    let newer = newer.to_string();
    assert_eq!(DaemonFile::State.judge(newer.as_bytes()).unknown_value.as_deref(), Some(at));
    assert!(DaemonFile::State.judge(newer.as_bytes()).is_newer);
}

#[rstest]
#[case::version(r#"{"version":"3","daemon":{}}"#, &["/version"])]
#[case::log_level(r#"{"version":3,"daemon":{"log_level":5,"enabled":true}}"#, &["/daemon/log_level"])]
#[case::member_of_a_network(
    r#"{"networks":[{"id":"a","network_id":"home","kind":"silent","label":null}]}"#,
    &["/networks/0/label"]
)]
#[case::one_network(r#"{"networks":[{"id":"a"},{"id":"a","network_id":"home"}]}"#, &["/networks/0"])]
#[case::null(r#"{"auto_update":null,"version":3}"#, &["/auto_update"])]
fn member_of_another_type_is_left_out_alone(#[case] config: &str, #[case] left_out: &[&str]) {
    assert!(!DaemonFile::Config.is_readable(config.as_bytes()));
    let (mended, removed) = DaemonFile::Config.mend(config.as_bytes()).expect("a part is whole");
    assert_eq!(removed, left_out);
    assert!(DaemonFile::Config.is_readable(&mended.to_bytes()));
}
