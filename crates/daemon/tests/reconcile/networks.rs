//! Joins and leaves: which networks a daemon has after a pass.

use crate::{Model, asked, model, plan_of, pushed, saved, view_of};
use myownllm_daemon::reconcile::{NOT_APPLIED, StepResult, execute, plan, reconcile};
use myownllm_daemon::{ControlError, DaemonControl, Endpoint, Role};
use serde_json::{Map, Value, json};

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

/// The daemon is in the new network and not in the previous one, although it refused both requests.
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
fn masked_plan_holds_no_credential() {
    let daemon = model(&[("n1", "home")]);
    let mut changed = pushed("n1", "home");
    changed["turn_servers"] =
        json!([{"urls": ["turn:u:hunter2@t"], "credential": "hunter2", "apiKey": "hunter2"}]);
    let plan = plan_of(&daemon, Role::Own, Some(changed), vec![]).masked();
    let shown = serde_json::to_string(&plan).unwrap();
    assert!(!shown.contains("hunter2") && shown.contains("***"), "{shown}");
}
