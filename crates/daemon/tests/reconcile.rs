//! Reconcile against a model of the daemon: from every state, with every failure.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;

use myownllm_daemon::{
    ControlError, DaemonControl, Endpoint, Role,
    reconcile::{
        Action, NOT_APPLIED, Plan, ReconcileInput, SavedNetwork, StepResult, differing_keys, execute, gather,
        plan, reconcile,
    },
};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Map, Value, json};

/// A model of a daemon's networks.
#[derive(Clone, Debug, Default)]
struct Model {
    /// The networks of its config; the flag is set for a joined network.
    networks: Vec<(Value, bool)>,
    knows_update: bool,
    /// The refusals (`Some`) of the next adds, removes and updates.
    add_says: Vec<Option<String>>,
    remove_says: Vec<Option<String>>,
    update_says: Vec<Option<String>>,
    update_lies: bool,
    /// Set if the daemon writes URLs in another form.
    rewords: bool,
    hides_config: bool,
    /// Set if the config cannot be saved: the daemon refuses a change that it has made.
    cannot_save: bool,
    asked: Vec<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn take(says: &mut Vec<Option<String>>) -> Option<String> {
    if says.is_empty() { None } else { says.remove(0) }
}

impl Model {
    fn joined(&self) -> Vec<String> {
        let joined = self.networks.iter().filter(|(_, joined)| *joined);
        joined.map(|(network, _)| text(network, "network_id").to_owned()).collect()
    }

    /// Fills in the defaults, as a daemon does.
    fn filled(config: &Value) -> Value {
        let mut network = config.clone();
        network["network_id"] = text(config, "network_id").trim().to_lowercase().into();
        let members = network.as_object_mut().unwrap();
        for (key, value) in [
            ("label", json!("")),
            ("kind", json!("open")),
            ("topology", json!({"kind": "full_mesh"})),
            ("stun_servers", json!([{"urls": ["stun:default"]}])),
            ("turn_servers", json!([])),
            ("signaling", json!({})),
            ("auto_approve", json!(false)),
            ("roster_path", json!(null)),
            ("pinned_peers", json!([])),
        ] {
            members.entry(key).or_insert(value);
        }
        let signaling = members["signaling"].as_object_mut().unwrap();
        for (key, value) in [("strategy", json!("nostr")), ("servers", json!([])), ("redundancy", json!(5))] {
            signaling.entry(key).or_insert(value);
        }
        let topology = members["topology"].as_object_mut().unwrap();
        if topology["kind"] == "ring" {
            topology.entry("n_preferred").or_insert(Value::Null);
        }
        network
    }

    /// Returns the entry that this daemon keeps for a pushed network.
    fn kept(&self, config: &Value) -> Value {
        let mut network = Self::filled(config);
        if self.rewords {
            for key in ["stun_servers", "turn_servers", "signaling"] {
                reword(&mut network[key]);
            }
        }
        network
    }

    fn answer(&mut self, op: &str, fields: &Map<String, Value>) -> Result<Value, String> {
        match op {
            "status" => Ok(json!({"version": "1", "device_id": "d", "joined_networks": self.joined()})),
            "config_show" if self.hides_config => Err("not shown".to_owned()),
            "config_show" => {
                let networks: Vec<&Value> = self.networks.iter().map(|(network, _)| network).collect();
                Ok(json!({"config": {"version": 3, "networks": networks}}))
            }
            "network_add" => {
                if let Some(no) = take(&mut self.add_says) {
                    return Err(no);
                }
                let network = self.kept(&fields["config"]);
                if self.networks.iter().any(|(n, _)| n["id"] == network["id"]) {
                    return Err(format!("config id '{}' already in use", text(&network, "id")));
                }
                if self.networks.iter().any(|(n, joined)| *joined && n["network_id"] == network["network_id"])
                {
                    let id = text(&network, "network_id");
                    return Err(format!("network id '{id}' already joined under a different config"));
                }
                let added = json!({"config_id": network["id"], "network_id": network["network_id"]});
                self.networks.push((network, true));
                if self.cannot_save {
                    return Err("network joined but config.json save failed".to_owned());
                }
                Ok(json!({"added": added}))
            }
            "network_update" if !self.knows_update => {
                Err("parse: unknown variant `network_update`, expected one of `status` at line 1".to_owned())
            }
            "network_update" => {
                if let Some(no) = take(&mut self.update_says) {
                    return Err(no);
                }
                let network = self.kept(&fields["config"]);
                let held = self.networks.iter_mut().find(|(n, _)| n["id"] == network["id"]);
                let held = held.ok_or("unknown network")?;
                if !self.update_lies {
                    held.0 = network;
                }
                Ok(json!({"updated": {}}))
            }
            "network_remove" => {
                if let Some(no) = take(&mut self.remove_says) {
                    return Err(no);
                }
                let name = fields["network"].as_str().unwrap();
                let by = |key: &str| self.networks.iter().position(|(n, _)| text(n, key) == name);
                let at = by("id").or_else(|| by("network_id")).ok_or(format!("unknown network: {name}"))?;
                let (network, _) = self.networks.remove(at);
                if self.cannot_save {
                    return Err("network left but config.json save failed".to_owned());
                }
                Ok(json!({"removed": network["id"]}))
            }
            other => panic!("{other}"),
        }
    }
}

impl DaemonControl for Model {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let what = match fields.get("network").or_else(|| fields.get("config")?.get("network_id")) {
            Some(what) => format!("{op} {}", what.as_str().unwrap()),
            None => op.to_owned(),
        };
        self.asked.push(what);
        self.answer(op, &fields).map_err(|message| {
            let op = op.to_owned();
            match message.as_str() {
                "lost" => ControlError::Closed { endpoint: Endpoint::unix("/nowhere"), op },
                _ if message.starts_with(&format!("parse: unknown variant `{op}`")) => {
                    ControlError::UnknownOp { op, message }
                }
                _ => ControlError::Refused { op, message },
            }
        })
    }
}

/// Writes each URL in another form that means the same.
fn reword(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(reword),
        Value::Array(items) => items.iter_mut().for_each(reword),
        Value::String(url) => {
            *url = url.replace("wss://relay.example", "WSS://Relay.Example:443/");
            *url = url.replace("stun:", "STUN:").replace("turn:t", "turn:T:3478");
        }
        _ => {}
    }
}

fn pushed(id: &str, network_id: &str) -> Value {
    json!({
        "id": id,
        "network_id": network_id,
        "label": "",
        "kind": "open",
        "topology": {"kind": "ring", "n_preferred": null},
        "signaling": {"strategy": "nostr", "servers": ["wss://relay.example"]},
        "stun_servers": [{"urls": ["stun:a", "stun:b"]}],
        "turn_servers": [{"urls": ["turn:t"], "username": "u", "credential": "c"}],
        "auto_approve": false,
    })
}

fn model(networks: &[(&str, &str)]) -> Model {
    let networks =
        networks.iter().map(|(id, network_id)| (Model::filled(&pushed(id, network_id)), true)).collect();
    Model { networks, knows_update: true, ..Model::default() }
}

fn saved(id: &str, network_id: &str) -> SavedNetwork {
    SavedNetwork { id: id.to_owned(), network_id: network_id.to_owned() }
}

fn asked(model: &Model) -> Vec<&str> {
    model.asked.iter().map(String::as_str).filter(|op| op.starts_with("network_")).collect()
}

fn view_of(model: &mut Model, role: Role, active: Option<Value>, saved: Vec<SavedNetwork>) -> ReconcileInput {
    let status = model.status().unwrap();
    gather(model, status, role, active, saved).unwrap()
}

fn plan_of(model: &Model, role: Role, active: Option<Value>, saved: Vec<SavedNetwork>) -> Plan {
    plan(&view_of(&mut model.clone(), role, active, saved))
}

fn labelled(id: &str, network_id: &str) -> Value {
    let mut network = pushed(id, network_id);
    network["label"] = "Home".into();
    network
}

#[test]
fn active_network_is_joined_before_the_others_are_left() {
    let mut daemon = model(&[("n1", "old-1"), ("n2", "old-2")]);
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n3", "new")), vec![]).unwrap();
    assert!(outcome.is_complete());
    assert_eq!(asked(&daemon), ["network_add new", "network_remove old-1", "network_remove old-2"]);
}

#[test]
fn without_an_active_network_an_own_daemon_leaves_all_and_a_shared_one_only_ours() {
    let mut own = model(&[("n1", "one"), ("n2", "two")]);
    reconcile(&mut own, Role::Own, None, vec![]).unwrap();
    assert!(own.joined().is_empty());

    let mut shared = model(&[("n1", "one"), ("theirs", "two"), ("n3", "three")]);
    // The app saved "two" as well, but the other program joined it.
    let ours = vec![saved("n1", "one"), saved("n2", "two"), saved("n3", "another")];
    let (plan, _) = reconcile(&mut shared, Role::Shared, None, ours).unwrap();
    assert_eq!(shared.joined(), ["two", "three"]);
    assert_eq!(plan.kept.len(), 2);
}

#[test]
fn shared_daemon_that_hides_its_config_keeps_all_networks() {
    let mut shared = model(&[("n1", "one")]);
    shared.hides_config = true;
    reconcile(&mut shared, Role::Shared, Some(pushed("n2", "two")), vec![saved("n1", "one")]).unwrap();
    assert_eq!(shared.joined(), ["one", "two"]);
}

/// The user made a network silent, and pinned a peer, in the daemon's own window. The app does not
/// know these settings.
#[rstest]
#[case::joined_and_followed(true, true, "Home")]
#[case::joined_without_update_op(true, false, "Home")]
#[case::known_but_not_joined(false, true, "Home")]
#[case::unchanged(true, true, "")]
fn settings_that_the_daemon_alone_has_stay(
    #[case] is_joined: bool,
    #[case] knows_update: bool,
    #[case] label: &str,
) {
    let mut daemon = model(&[("n1", "home")]);
    daemon.knows_update = knows_update;
    let (network, joined) = &mut daemon.networks[0];
    *joined = is_joined;
    network["signaling"]["strategy"] = "none".into();
    network["signaling"]["listen_only"] = true.into();
    network["pinned_peers"] = json!(["peer"]);
    let mut wanted = pushed("n1", "home");
    wanted["label"] = label.into();
    let (plan, outcome) = reconcile(&mut daemon, Role::Own, Some(wanted), vec![]).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(plan.is_empty(), is_joined && label.is_empty());
    let network = &daemon.networks[0].0;
    assert_eq!(network["label"], label);
    assert_eq!(network["signaling"]["strategy"], "none");
    assert_eq!(network["signaling"]["listen_only"], true);
    assert_eq!(network["signaling"]["servers"], json!(["wss://relay.example"]));
    assert_eq!(network["pinned_peers"], json!(["peer"]));
}

/// A kind that the app does not name is the daemon's: a silent network is not made an open one.
#[rstest]
#[case::joined(true, Some("silent"), "silent")]
#[case::in_the_config(false, Some("silent"), "silent")]
#[case::new(false, None, "open")]
fn kind_that_the_app_does_not_name_stays(
    #[case] is_joined: bool,
    #[case] kind: Option<&str>,
    #[case] expected: &str,
) {
    let mut daemon = model(if kind.is_some() { &[("n1", "home")] } else { &[] });
    if let (Some(kind), Some((network, joined))) = (kind, daemon.networks.first_mut()) {
        *joined = is_joined;
        network["kind"] = kind.into();
    }
    let mut wanted = pushed("n1", "home");
    wanted["label"] = "new".into();
    wanted.as_object_mut().unwrap().remove("kind");
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(wanted), vec![]).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    let network = &daemon.networks[0].0;
    assert_eq!((&network["kind"], &network["label"]), (&json!(expected), &json!("new")));
}

/// A strategy of the network's own `daemon_settings` is the user's choice in the app.
#[test]
fn strategy_of_the_app_replaces_the_daemons() {
    let mut daemon = model(&[("n1", "home")]);
    let mut wanted = pushed("n1", "home");
    wanted["signaling"]["strategy"] = "none".into();
    reconcile(&mut daemon, Role::Own, Some(wanted), vec![]).unwrap();
    assert_eq!(daemon.networks[0].0["signaling"]["strategy"], "none");
}

/// The daemon is in the new network and not in the former one, although it refused both requests.
#[test]
fn daemon_that_cannot_save_its_config_leaves_the_former_network() {
    let mut daemon = Model { cannot_save: true, ..model(&[("n1", "old")]) };
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n2", "new")), vec![]).unwrap();
    assert_eq!(daemon.joined(), ["new"]);
    for done in &outcome.steps {
        assert!(
            matches!(&done.result, StepResult::Failed { code, message, .. }
            if code == NOT_APPLIED && message.contains("save failed")),
            "{done:?}"
        );
    }
}

#[test]
fn failed_add_keeps_the_joined_networks() {
    for no in ["join: no", "lost"] {
        let mut daemon = model(&[("n1", "old")]);
        daemon.add_says = vec![Some(no.to_owned())];
        let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n2", "new")), vec![]).unwrap();
        assert_eq!(daemon.joined(), ["old"], "{no}");
        assert!(outcome.failed_join().is_some());
        assert!(matches!(outcome.steps[1].result, StepResult::Skipped { .. }));
        reconcile(&mut daemon, Role::Own, Some(pushed("n2", "new")), vec![]).unwrap();
        assert_eq!(daemon.joined(), ["new"], "the next pass goes through");
    }
}

#[test]
fn lost_answer_to_an_add_is_resolved_by_the_status() {
    struct Deaf(Model);
    impl DaemonControl for Deaf {
        fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
            let answer = self.0.request(op, fields)?;
            if op == "network_add" {
                return Err(ControlError::Closed { endpoint: Endpoint::unix("/nowhere"), op: op.to_owned() });
            }
            Ok(answer)
        }
    }
    let mut daemon = Deaf(model(&[("n1", "old")]));
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n2", "new")), vec![]).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(daemon.0.joined(), ["new"]);
}

#[test]
fn already_joined_is_success_and_a_taken_config_id_is_not() {
    let mut raced = model(&[]);
    // Another client joined the network after the plan.
    let view = view_of(&mut raced, Role::Own, Some(pushed("n1", "home")), vec![]);
    raced.networks.push((Model::filled(&pushed("x", "home")), true));
    assert_eq!(execute(&mut raced, &plan(&view)).steps[0].result, StepResult::Already);

    let mut clash = model(&[]);
    let view = view_of(&mut clash, Role::Own, Some(pushed("n1", "home")), vec![]);
    clash.networks.push((Model::filled(&pushed("n1", "other")), true));
    let outcome = execute(&mut clash, &plan(&view));
    assert!(outcome.failed_join().is_some(), "{outcome:?}");
    // The next pass replaces the other network.
    let (_, outcome) = reconcile(&mut clash, Role::Own, Some(pushed("n1", "home")), vec![]).unwrap();
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_eq!(clash.joined(), ["home"]);
}

#[test]
fn taken_config_id_in_a_shared_daemon_costs_no_network() {
    let mut shared = model(&[("n1", "theirs")]);
    let active = || Some(pushed("n1", "home"));
    reconcile(&mut shared, Role::Shared, active(), vec![saved("n1", "home")]).unwrap();
    assert_eq!(shared.joined(), ["theirs", "home"]);
    assert!(plan_of(&shared, Role::Shared, active(), vec![saved("n1", "home")]).is_empty());
    // The app recognises the network under the fallback id.
    reconcile(&mut shared, Role::Shared, None, vec![saved("n1", "home")]).unwrap();
    assert_eq!(shared.joined(), ["theirs"]);
}

/// A daemon's own command takes the network id as config id, and a recovered network keeps that id.
#[test]
fn config_id_that_equals_the_network_id_is_no_proof_in_a_shared_daemon() {
    let ours = || vec![saved("home", "home"), saved("office", "office")];
    let mut shared = model(&[("office", "office")]);
    reconcile(&mut shared, Role::Shared, Some(pushed("home", "home")), ours()).unwrap();
    assert_eq!(shared.joined(), ["office", "home"]);
    reconcile(&mut shared, Role::Shared, None, ours()).unwrap();
    assert_eq!(shared.joined(), ["office"]);
}

#[test]
fn replaced_network_is_added_back_when_the_join_fails() {
    let mut daemon = model(&[("n1", "other")]);
    daemon.add_says = vec![Some("join: no".to_owned())];
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n1", "home")), vec![]).unwrap();
    assert_eq!(daemon.joined(), ["other"]);
    assert!(matches!(outcome.failed_join().unwrap().result, StepResult::Failed { intact: true, .. }));
}

#[test]
fn network_is_left_by_its_config_id_when_its_network_id_is_ambiguous() {
    // The daemon keeps the active network under the config id "home", and another network has the
    // id "home".
    let mut daemon = model(&[("home", "lab"), ("n2", "home")]);
    reconcile(&mut daemon, Role::Own, Some(pushed("home", "lab")), vec![]).unwrap();
    assert_eq!(daemon.joined(), ["lab"]);
}

#[test]
fn network_ids_are_equal_in_normal_form() {
    let daemon = model(&[("n1", "home")]);
    assert!(plan_of(&daemon, Role::Own, Some(pushed("n1", "  Home ")), vec![]).is_empty());
}

#[test]
fn change_is_pushed_by_update_when_the_daemon_knows_the_op() {
    let mut daemon = model(&[("n1", "home")]);
    let (plan, outcome) = reconcile(&mut daemon, Role::Own, Some(labelled("n1", "home")), vec![]).unwrap();
    assert!(matches!(&plan.steps[0].action, Action::Update { differs, .. } if differs == &["label"]));
    assert!(outcome.is_complete());
    assert_eq!(asked(&daemon), ["network_update n1"]);
    assert!(plan_of(&daemon, Role::Own, Some(labelled("n1", "home")), vec![]).is_empty());
}

#[test]
fn change_is_pushed_by_rejoining_when_update_is_unknown_or_ignored() {
    for (knows_update, update_lies, says) in [
        (false, false, None),
        (true, true, None),
        (true, false, Some("parse: missing field `patch`".to_owned())),
        (true, false, Some("unknown network: n1".to_owned())),
    ] {
        let mut daemon = model(&[("n1", "home")]);
        (daemon.knows_update, daemon.update_lies) = (knows_update, update_lies);
        daemon.update_says = vec![says];
        let mut changed = pushed("n1", "home");
        changed["turn_servers"] = json!([]);
        let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(changed.clone()), vec![]).unwrap();
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_eq!(asked(&daemon), ["network_update n1", "network_remove n1", "network_add home"]);
        assert!(plan_of(&daemon, Role::Own, Some(changed), vec![]).is_empty());
    }
}

/// The daemon normalised the value, and would do so again.
#[test]
fn network_is_not_left_when_the_daemon_normalises_a_value() {
    struct Loud(Model);
    impl DaemonControl for Loud {
        fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
            let mut answer = self.0.request(op, fields)?;
            for network in answer["config"]["networks"].as_array_mut().into_iter().flatten() {
                if let Some(label) = network["label"].as_str() {
                    network["label"] = label.to_uppercase().into();
                }
            }
            Ok(answer)
        }
    }
    let mut daemon = Loud(model(&[("n1", "home"), ("n2", "other")]));
    daemon.0.knows_update = true;
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(labelled("n1", "home")), vec![]).unwrap();
    let StepResult::Failed { code, intact: true, .. } = &outcome.steps[0].result else {
        panic!("{outcome:?}")
    };
    assert_eq!(code, NOT_APPLIED);
    assert_eq!(asked(&daemon.0), ["network_update n1", "network_remove other"]);
    assert_eq!(daemon.0.joined(), ["home"]);
}

#[test]
fn old_entry_is_added_back_when_the_rejoin_fails() {
    let mut daemon = model(&[("n1", "home"), ("n2", "other")]);
    daemon.knows_update = false;
    daemon.add_says = vec![Some("join: no".to_owned())];
    let before = daemon.networks[0].0.clone();
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(labelled("n1", "home")), vec![]).unwrap();
    assert!(matches!(outcome.failed_join().unwrap().result, StepResult::Failed { intact: true, .. }));
    assert!(daemon.networks.iter().any(|(network, joined)| *joined && *network == before));
    assert!(!daemon.joined().contains(&"other".to_owned()), "the active one is joined, so the other may go");
}

#[test]
fn others_stay_when_the_old_entry_cannot_be_added_back() {
    let mut daemon = model(&[("n1", "home"), ("n2", "other")]);
    daemon.knows_update = false;
    daemon.add_says = vec![Some("join: no".to_owned()), Some("join: never".to_owned())];
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(labelled("n1", "home")), vec![]).unwrap();
    let failed = outcome.failed_join().unwrap();
    let StepResult::Failed { intact: false, message, .. } = &failed.result else { panic!("{failed:?}") };
    assert!(message.contains("join: no") && message.contains("join: never"), "{message}");
    assert_eq!(daemon.joined(), ["other"]);
}

#[test]
fn active_network_of_a_shared_daemon_is_not_updated() {
    let daemon = model(&[("n1", "home")]);
    let ours = vec![saved("n1", "home")];
    assert!(plan_of(&daemon, Role::Shared, Some(labelled("n1", "home")), ours).is_empty());
}

#[test]
fn failed_remove_is_retried_by_the_next_pass() {
    let mut daemon = model(&[("n1", "one"), ("n2", "two"), ("n3", "three")]);
    daemon.remove_says = vec![Some("busy right now".to_owned())];
    let (_, outcome) = reconcile(&mut daemon, Role::Own, Some(pushed("n3", "three")), vec![]).unwrap();
    assert!(!outcome.is_complete() && outcome.failed_join().is_none());
    assert_eq!(daemon.joined(), ["one", "three"]);
    reconcile(&mut daemon, Role::Own, Some(pushed("n3", "three")), vec![]).unwrap();
    assert_eq!(daemon.joined(), ["three"]);
}

#[test]
fn config_is_asked_for_only_when_the_plan_depends_on_it() {
    let active = || Some(pushed("n1", "home"));
    let ops = |before: &[(&str, &str)], role, active: Option<Value>| {
        let mut daemon = model(before);
        reconcile(&mut daemon, role, active, vec![]).unwrap();
        daemon.asked.join(", ")
    };
    assert_eq!(ops(&[], Role::Own, None), "status");
    assert_eq!(ops(&[], Role::Shared, None), "status");
    assert_eq!(ops(&[("n1", "home")], Role::Shared, active()), "status");
    assert_eq!(ops(&[("n1", "home")], Role::Own, active()), "status, config_show");
    assert_eq!(
        ops(&[("n2", "old")], Role::Own, active()),
        "status, config_show, network_add home, network_remove old"
    );
    assert_eq!(ops(&[("n2", "old")], Role::Own, None), "status, config_show, network_remove old");
}

#[test]
fn reconcile_does_nothing_without_a_status() {
    struct Mute;
    impl DaemonControl for Mute {
        fn request(&mut self, op: &str, _: Map<String, Value>) -> Result<Value, ControlError> {
            assert_eq!(op, "status");
            Err(ControlError::Refused { op: op.to_owned(), message: "no".to_owned() })
        }
    }
    assert!(reconcile(&mut Mute, Role::Own, Some(pushed("n1", "home")), vec![]).is_err());
}

#[test]
fn keys_differ_only_if_pushed_and_reported() {
    let base = pushed("n1", "home");
    let after = |change: &dyn Fn(&mut Value, &mut Value)| {
        let (mut mine, mut theirs) = (base.clone(), Model::filled(&base));
        change(&mut mine, &mut theirs);
        differing_keys(&mine, &theirs)
    };
    let grouped = json!([{"urls": ["stun:a"]}, {"urls": ["stun:b"]}, {"urls": []}]);
    type Change<'a> = &'a dyn Fn(&mut Value, &mut Value);
    let alike: [Change<'_>; 11] = [
        // Members that the daemon fills in.
        &|_, _| {},
        &|mine, _| mine["topology"] = json!({"kind": "ring"}),
        // Members that the daemon does not report.
        &|mine, _| mine["signaling"]["listen_only"] = json!(true),
        &|mine, _| mine["future"] = json!(1),
        &|_, theirs| drop(theirs.as_object_mut().unwrap().remove("label")),
        &|_, theirs| theirs["turn_servers"] = json!([{"urls": ["turn:t"]}]),
        // Members that are not pushed.
        &|_, theirs| theirs["signaling"]["mdns"] = json!(false),
        &|_, theirs| theirs["roster_path"] = json!("/x"),
        // URLs in another form.
        &|_, theirs| reword(theirs),
        // Other groups of URLs, and other forms of "none".
        &|_, theirs| theirs["stun_servers"] = grouped.clone(),
        &|mine, theirs| {
            mine["turn_servers"] = json!([{"urls": ["t1", "t2"]}]);
            theirs["turn_servers"] =
                json!([{"urls": ["t1"], "username": null}, {"urls": ["t2"], "credential": ""}]);
        },
    ];
    for (number, change) in alike.into_iter().enumerate() {
        assert_eq!(after(change), Vec::<String>::new(), "{number}");
    }
    let different: [(Change<'_>, &str); 10] = [
        (&|mine, _| mine["label"] = json!("x"), "label"),
        (&|mine, _| mine["kind"] = json!("closed"), "kind"),
        (&|mine, _| mine["topology"] = json!({"kind": "star", "hub": "h"}), "topology"),
        (&|_, theirs| theirs["topology"]["n_preferred"] = json!(3), "topology"),
        // A ring without `n_preferred` equals a ring with null.
        (
            &|mine, theirs| {
                mine["topology"] = json!({"kind": "ring"});
                theirs["topology"] = json!({"kind": "ring", "n_preferred": 4});
            },
            "topology",
        ),
        (&|mine, _| mine["signaling"]["servers"] = json!(["wss://x"]), "signaling"),
        (&|mine, _| mine["stun_servers"] = json!([]), "stun_servers"),
        (&|mine, _| mine["turn_servers"][0]["credential"] = json!("other"), "turn_servers"),
        (
            &|mine, _| drop(mine["turn_servers"][0].as_object_mut().unwrap().remove("username")),
            "turn_servers",
        ),
        (&|mine, _| mine["auto_approve"] = json!(true), "auto_approve"),
    ];
    for (change, key) in different {
        assert_eq!(after(change), [key]);
    }
}

#[test]
fn masked_plan_holds_no_credential() {
    let daemon = model(&[("n1", "home")]);
    let mut changed = pushed("n1", "home");
    changed["turn_servers"] =
        json!([{"urls": ["turn:u:hunter2@t"], "credential": "hunter2", "apiKey": "hunter2"}]);
    let plan = plan_of(&daemon, Role::Own, Some(changed), vec![]).masked();
    let shown = serde_json::to_string(&plan).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
}

const CONFIG_IDS: &[&str] = &["n1", "n2", "n3", "bbb"];
const NETWORK_IDS: &[&str] = &["aaa", "bbb", "ccc", "ddd", "n1x"];
const TYPED: &[&str] = &["aaa", "BBB", " ccc ", "ddd", "eee"];

fn any_network(ids: &'static [&'static str]) -> impl Strategy<Value = Value> {
    (
        prop::sample::select(CONFIG_IDS),
        prop::sample::select(ids),
        any::<[bool; 3]>(),
        prop::option::of(prop::sample::select(&["full_mesh", "ring"][..])),
    )
        .prop_map(|(id, network_id, [label, closed, turn], topology)| {
            let mut network = if label { labelled(id, network_id) } else { pushed(id, network_id) };
            if closed {
                network["kind"] = "closed".into();
            }
            if let Some(topology) = topology {
                network["topology"] = json!({"kind": topology});
            }
            if !turn {
                network["turn_servers"] = json!([]);
            }
            network
        })
}

fn any_model() -> impl Strategy<Value = Model> {
    let networks = prop::collection::vec((any_network(NETWORK_IDS), prop::bool::weighted(0.85)), 0..5);
    (networks, any::<[bool; 3]>()).prop_map(|(networks, [knows_update, update_lies, rewords])| {
        let mut model = Model { knows_update, update_lies, rewords, ..Model::default() };
        let mut taken: BTreeSet<String> = BTreeSet::new();
        for (network, joined) in networks {
            let keys = [format!("i {}", text(&network, "id")), format!("n {}", text(&network, "network_id"))];
            if keys.iter().all(|key| !taken.contains(key)) {
                taken.extend(keys);
                model.networks.push((model.kept(&network), joined));
            }
        }
        model
    })
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(&[Role::Own, Role::Shared][..])
}

fn any_saved() -> impl Strategy<Value = Vec<SavedNetwork>> {
    let pair = (prop::sample::select(CONFIG_IDS), prop::sample::select(NETWORK_IDS));
    prop::collection::vec(pair.prop_map(|(id, network_id)| saved(id, network_id)), 0..4)
}

/// A conversation that breaks at its `left`-th request, which the daemon executes or not.
struct Cut<'a> {
    daemon: &'a mut Model,
    left: usize,
    carried_out: bool,
}

impl DaemonControl for Cut<'_> {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let lost = || ControlError::Closed { endpoint: Endpoint::unix("/nowhere"), op: op.to_owned() };
        match self.left {
            0 => return Err(lost()),
            1 if !self.carried_out => {}
            _ => {
                let answer = self.daemon.request(op, fields);
                if self.left > 1 {
                    self.left -= 1;
                    return answer;
                }
            }
        }
        self.left = 0;
        Err(lost())
    }
}

fn same_id(a: &str, b: &str) -> bool {
    a.trim().to_lowercase() == b.trim().to_lowercase()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None,
        ..ProptestConfig::default() })]

    #[test]
    fn reconcile_converges_from_every_state(
        before in any_model(),
        role in any_role(),
        active in prop::option::of(any_network(TYPED)),
        mut ours in any_saved(),
    ) {
        if let Some(active) = &active {
            ours.push(saved(text(active, "id"), text(active, "network_id")));
        }
        let mut daemon = before.clone();
        let (_, outcome) = reconcile(&mut daemon, role, active.clone(), ours.clone()).unwrap();
        prop_assert!(outcome.is_complete(), "{outcome:?}");
        let joined = daemon.joined();
        let is_active = |id: &str| {
            active.as_ref().is_some_and(|active| same_id(id, text(active, "network_id")))
        };
        if active.is_some() {
            prop_assert!(joined.iter().any(|id| is_active(id)), "{joined:?}");
        }
        match role {
            Role::Own => {
                prop_assert!(joined.iter().all(|id| is_active(id)), "{joined:?}");
                if let Some(active) = &active {
                    let entry =
                        daemon.networks.iter().find(|(n, joined)| {
                            *joined && is_active(text(n, "network_id"))
                        });
                    prop_assert_eq!(differing_keys(active, &entry.unwrap().0), Vec::<String>::new());
                }
            }
            Role::Shared => {
                for (network, _) in before.networks.iter().filter(|(_, joined)| *joined) {
                    let (id, network_id) = (text(network, "id"), text(network, "network_id"));
                    let is_ours = ours.iter().any(|s| same_id(&s.network_id, network_id)
                        && (s.id == id || format!("{}-{}", s.id, s.network_id) == id));
                    if !is_ours {
                        let is_there = daemon.networks.iter().any(|(n, joined)| *joined && n == network);
                        prop_assert!(is_there, "{network}");
                    }
                }
            }
        }
        let changes = asked(&daemon).len();
        let (second, _) = reconcile(&mut daemon, role, active, ours).unwrap();
        prop_assert!(second.is_empty(), "{second:?}");
        prop_assert_eq!(asked(&daemon).len(), changes);
    }

    #[test]
    fn no_network_is_lost_before_the_active_one_is_joined(
        before in any_model(),
        role in any_role(),
        active in any_network(TYPED),
        fails in prop::collection::vec(prop::option::of(prop::sample::select(&["join: no", "lost"][..])),
            0..2),
        removes in prop::collection::vec(prop::option::of(Just("no")), 0..4),
    ) {
        let ours = vec![saved(text(&active, "id"), text(&active, "network_id"))];
        let mut daemon = before.clone();
        daemon.add_says = fails.iter().map(|no| no.map(str::to_owned)).collect();
        daemon.remove_says = removes.iter().map(|no| no.map(str::to_owned)).collect();
        let (_, outcome) = reconcile(&mut daemon, role, Some(active.clone()), ours.clone()).unwrap();
        let joined = daemon.joined();
        let is_active = |id: &String| same_id(id, text(&active, "network_id"));
        if !joined.iter().any(is_active) {
            prop_assert!(outcome.failed_join().is_some());
            for id in before.joined() {
                prop_assert!(joined.contains(&id), "{id} was lost: {outcome:?}");
            }
        }
        // The next pass has no failure and converges.
        daemon.add_says.clear();
        daemon.remove_says.clear();
        reconcile(&mut daemon, role, Some(active.clone()), ours.clone()).unwrap();
        prop_assert!(daemon.joined().iter().any(is_active));
        let (last, _) = reconcile(&mut daemon, role, Some(active), ours).unwrap();
        prop_assert!(last.is_empty(), "{last:?}");
    }

    /// The app or the daemon is killed at any request: the next pass finds a partly executed plan.
    #[test]
    fn next_pass_converges_after_a_cut_off_at_any_request(
        before in any_model(),
        role in any_role(),
        active in prop::option::of(any_network(TYPED)),
        mut ours in any_saved(),
        left in 0_usize..9,
        carried_out in any::<bool>(),
    ) {
        if let Some(active) = &active {
            ours.push(saved(text(active, "id"), text(active, "network_id")));
        }
        let mut daemon = before.clone();
        let _ = reconcile(&mut Cut { daemon: &mut daemon, left, carried_out }, role, active.clone(),
            ours.clone());
        let (_, outcome) = reconcile(&mut daemon, role, active.clone(), ours.clone()).unwrap();
        prop_assert!(outcome.is_complete(), "{outcome:?}");
        let joined = daemon.joined();
        let is_active = |id: &str| {
            active.as_ref().is_some_and(|active| same_id(id, text(active, "network_id")))
        };
        prop_assert_eq!(active.is_some(), joined.iter().any(|id| is_active(id)));
        if role == Role::Own {
            prop_assert!(joined.iter().all(|id| is_active(id)), "{joined:?}");
        }
        for (network, _) in before.networks.iter().filter(|(_, joined)| *joined && role == Role::Shared) {
            let (id, network_id) = (text(network, "id"), text(network, "network_id"));
            let is_ours = ours.iter().any(|s| same_id(&s.network_id, network_id)
                && (s.id == id || format!("{}-{}", s.id, s.network_id) == id));
            prop_assert!(is_ours || joined.iter().any(|joined| joined == network_id), "{network}");
        }
        let changes = asked(&daemon).len();
        let (second, _) = reconcile(&mut daemon, role, active, ours).unwrap();
        prop_assert!(second.is_empty(), "{second:?}");
        prop_assert_eq!(asked(&daemon).len(), changes);
    }
}
