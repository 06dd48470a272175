//! The settings of the active network: which differ, and how a change reaches the daemon.

use crate::{Model, asked, labelled, model, plan_of, pushed, reword, saved};
use myownllm_daemon::reconcile::{Action, NOT_APPLIED, StepResult, differing_keys, reconcile};
use myownllm_daemon::{ControlError, DaemonControl, Role};
use rstest::rstest;
use serde_json::{Map, Value, json};

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
