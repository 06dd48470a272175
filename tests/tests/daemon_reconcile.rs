//! Reconcile against the stand-in, as 0.1.2 and as 0.3.8; and the bug of the daemon.
#![cfg(unix)]

use std::{io::Write, path::Path, time::Duration};

use integration_tests::standin::Version;
use integration_tests::testkit::{Builder, StandIn, stand_in};
use myownllm_daemon::identity::camino::{Utf8Path, Utf8PathBuf};
use myownllm_daemon::{
    Client, DaemonControl, Endpoint, Pushed, Role,
    reconcile::{Action, DROPPED, Outcome, Plan, SavedNetwork, StepResult, reconcile},
};
use rstest::rstest;
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(10);

fn endpoint_of(standin: &StandIn) -> Endpoint {
    Endpoint::unix(Utf8Path::from_path(standin.socket()).unwrap())
}

struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::Builder::new().prefix("c").tempdir_in("/tmp").unwrap())
    }

    fn path(&self) -> Utf8PathBuf {
        Utf8PathBuf::try_from(self.0.path().join("mesh")).unwrap()
    }

    fn start(&self, version: Version, mode: &str) -> (StandIn, Client) {
        let builder = Builder::new(stand_in(), self.path()).version(version);
        let standin = builder.mode(mode).trace(self.0.path().join("trace")).start().unwrap();
        let client = Client::connect(&endpoint_of(&standin), WITHIN).unwrap();
        (standin, client)
    }

    /// Returns the ops that change networks, in order.
    fn changes(&self) -> Vec<String> {
        let trace = std::fs::read_to_string(self.0.path().join("trace")).unwrap();
        let ops = trace
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["op"].as_str().unwrap().to_owned());
        ops.filter(|op| op.starts_with("network_")).collect()
    }
}

/// Returns the daemon-shape network that the app sends for a network with default settings.
fn pushed(id: &str, network_id: &str) -> Value {
    json!({
        "id": id,
        "network_id": network_id,
        "label": "",
        "kind": "open",
        "topology": {"kind": "ring", "n_preferred": null},
        "signaling": {"strategy": "nostr", "servers": []},
        "stun_servers": [{"urls": ["stun:a:1", "stun:b:2"]}],
        "turn_servers": [{"urls": ["turn:t:3"], "username": "u", "credential": "c"},
        {"urls": ["turn:free:4"]}],
        "auto_approve": false,
    })
}

fn pass(client: &mut Client, role: Role, active: Option<&Value>, ours: &[(&str, &str)]) -> (Plan, Outcome) {
    let saved = ours.iter().map(|(id, network_id)| SavedNetwork::new(*id, *network_id));
    reconcile(client, role, active.cloned(), saved.collect()).unwrap()
}

#[rstest]
fn the_active_network_is_joined_and_followed_and_a_second_pass_does_nothing(
    #[values(Version::V012, Version::V038)] version: Version,
) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    let own = Role::Own;
    let one = pushed("n1", "one");
    assert!(pass(&mut client, own, Some(&one), &[]).1.is_complete());
    assert!(pass(&mut client, own, Some(&one), &[]).0.is_empty(), "{}", version.name());

    let two = pushed("n2", "two");
    assert!(pass(&mut client, own, Some(&two), &[]).1.is_complete());
    assert_eq!(client.status().unwrap().joined_networks, ["two"]);
    assert!(pass(&mut client, own, Some(&two), &[]).0.is_empty());

    pass(&mut client, own, None, &[]);
    assert!(client.status().unwrap().joined_networks.is_empty());
    assert_eq!(home.changes(), ["network_add", "network_add", "network_remove", "network_remove"]);
}

#[rstest]
fn a_change_reaches_the_daemon_and_its_file(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    let before = pushed("n1", "home");
    pass(&mut client, Role::Own, Some(&before), &[]);
    let changes: [(&str, Value); 6] = [
        ("label", json!("Home")),
        ("topology", json!({"kind": "full_mesh"})),
        ("signaling", json!({"strategy": "nostr", "servers": ["wss://relay.example.org"]})),
        ("stun_servers", json!([])),
        ("turn_servers", json!([{"urls": ["turn:t:3"], "username": "u", "credential": "new"}])),
        ("auto_approve", json!(true)),
    ];
    let mut active = before;
    for (key, value) in changes {
        active[key] = value.clone();
        let (plan, outcome) = pass(&mut client, Role::Own, Some(&active), &[]);
        assert!(
            matches!(&plan.steps[0].action, Action::Update { differs, .. } if differs == &[key]),
            "{plan:?}"
        );
        assert!(outcome.is_complete(), "{outcome:?}");
        let file: Value =
            serde_json::from_slice(&std::fs::read(home.path().join("config.json")).unwrap()).unwrap();
        match key {
            "signaling" => assert_eq!(file["networks"][0][key]["servers"], value["servers"]),
            _ => assert_eq!(file["networks"][0][key], value),
        }
        assert!(pass(&mut client, Role::Own, Some(&active), &[]).0.is_empty(), "{} {key}", version.name());
    }
    let by_update = home.changes().iter().filter(|op| *op == "network_remove").count() == 0;
    assert_eq!(by_update, version == Version::V038);
}

#[rstest]
fn members_of_a_newer_daemon_are_no_difference(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    let mut active = pushed("n1", "home");
    active["signaling"]["mdns"] = false.into();
    active["pinned_peers"] = json!(["a"]);
    active["future"] = json!({"x": 1});
    assert!(pass(&mut client, Role::Own, Some(&active), &[]).1.is_complete());
    // 0.1.2 reports none of these members, 0.3.8 two; in both cases no change is left.
    assert!(pass(&mut client, Role::Own, Some(&active), &[]).0.is_empty(), "{}", version.name());
}

/// 0.1.2 knows no `listen_only`, so the network would be announced.
#[rstest]
fn daemon_that_drops_listen_only_leaves_the_network_again(
    #[values(Version::V012, Version::V038)] version: Version,
) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    // An older launch has joined the network before.
    pass(&mut client, Role::Own, Some(&pushed("n1", "home")), &[]);
    let mut active = pushed("n1", "home");
    active["signaling"]["listen_only"] = true.into();
    for _ in 0..2 {
        let outcome = pass(&mut client, Role::Own, Some(&active), &[]).1;
        let is_known = version == Version::V038;
        assert_eq!(outcome.is_complete(), is_known, "{outcome:?}");
        assert_eq!(client.status().unwrap().joined_networks.len(), usize::from(is_known));
        let failed = outcome.failed_join().map(|step| &step.result);
        let is_dropped =
            |result: &StepResult| matches!(result, StepResult::Failed { code, .. } if code == DROPPED);
        assert_eq!(failed.is_some_and(is_dropped), !is_known, "{failed:?}");
    }
}

#[rstest]
fn a_refused_add_leaves_what_was_joined(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    let (standin, mut client) = home.start(version, "");
    pass(&mut client, Role::Own, Some(&pushed("n1", "old")), &[]);
    drop(standin);
    let (_standin, mut client) = home.start(version, "refuse-add:join: told to");
    assert_eq!(
        client.status().unwrap().joined_networks,
        ["old"],
        "its config's networks are joined at start"
    );
    let (_, outcome) = pass(&mut client, Role::Own, Some(&pushed("n2", "new")), &[]);
    let StepResult::Failed { code, message, intact: true } = &outcome.failed_join().unwrap().result else {
        panic!()
    };
    assert!(code == "daemon.refused-op" && message.contains("told to"), "{message}");
    assert_eq!(client.status().unwrap().joined_networks, ["old"]);
}

#[test]
fn a_topology_that_the_old_one_does_not_know_costs_no_network() {
    let home = Home::new();
    let (_standin, mut client) = home.start(Version::V012, "");
    pass(&mut client, Role::Own, Some(&pushed("n1", "home")), &[]);
    let mut newer = pushed("n1", "home");
    newer["topology"] = json!({"kind": "hubs", "hubs": ["a"]});
    let (_, outcome) = pass(&mut client, Role::Own, Some(&newer), &[]);
    assert!(
        matches!(outcome.failed_join().unwrap().result, StepResult::Failed { intact: true, .. }),
        "{outcome:?}"
    );
    assert_eq!(client.status().unwrap().joined_networks, ["home"], "what was there was added back");
}

#[test]
fn an_update_that_is_none_is_followed_by_leaving_and_joining() {
    let home = Home::new();
    for (mode, id) in [("lying-update", "n1"), ("no-update", "n2")] {
        let (_standin, mut client) = home.start(Version::V038, mode);
        pass(&mut client, Role::Own, Some(&pushed(id, "home")), &[]);
        let mut active = pushed(id, "home");
        active["label"] = mode.into();
        assert!(pass(&mut client, Role::Own, Some(&active), &[]).1.is_complete());
        assert!(pass(&mut client, Role::Own, Some(&active), &[]).0.is_empty());
        pass(&mut client, Role::Own, None, &[]);
    }
}

#[rstest]
fn a_shared_daemon_keeps_what_is_not_ours(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    client.network_add(&pushed("gui-1", "theirs")).unwrap();
    client.network_add(&pushed("gui-2", "also-saved-here")).unwrap();
    let ours = [("n1", "one"), ("n2", "two"), ("n3", "also-saved-here")];
    pass(&mut client, Role::Shared, Some(&pushed("n1", "one")), &ours);
    assert_eq!(client.status().unwrap().joined_networks, ["theirs", "also-saved-here", "one"]);
    pass(&mut client, Role::Shared, Some(&pushed("n2", "two")), &ours);
    assert_eq!(client.status().unwrap().joined_networks, ["theirs", "also-saved-here", "two"]);
    assert!(pass(&mut client, Role::Shared, Some(&pushed("n2", "two")), &ours).0.is_empty());
}

#[test]
fn a_daemon_that_dies_in_the_middle_is_brought_in_line_by_the_next_pass() {
    for answers in 1..8 {
        let home = Home::new();
        let (standin, mut client) = home.start(Version::V012, "");
        pass(&mut client, Role::Own, Some(&pushed("n1", "home")), &[]);
        client.network_add(&pushed("n9", "other")).unwrap();
        drop(standin);
        let mut active = pushed("n1", "home");
        active["label"] = "Home".into();
        {
            let (_standin, mut client) = home.start(Version::V012, &format!("dies-after:{answers}"));
            let _ = reconcile(&mut client, Role::Own, Some(active.clone()), vec![]);
        }
        let (_standin, mut client) = home.start(Version::V012, "");
        assert!(pass(&mut client, Role::Own, Some(&active), &[]).1.is_complete());
        assert_eq!(client.status().unwrap().joined_networks, ["home"], "died after {answers}");
        assert!(pass(&mut client, Role::Own, Some(&active), &[]).0.is_empty());
    }
}

#[rstest]
fn the_stand_in_has_the_bug(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    let before = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/app-config-before.json");
    let config = home.path().join("config.json");
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(&config).unwrap();
    file.write_all(&std::fs::read(before).unwrap()).unwrap();
    let (_standin, mut client) = home.start(version, "");
    client.network_add(&pushed("n1", "home")).unwrap();
    let after: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    assert!(after.get("providers").is_none() && after.get("cloud_mesh").is_none());
    assert_eq!(after["auto_update"]["channel"], "beta", "what both schemas know stays");
    assert_eq!(after["networks"][0]["network_id"], "home");
}

#[test]
fn newer_daemon_renames_an_unreadable_file_and_the_older_one_refuses_it() {
    let home = Home::new();
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    let config = home.path().join("config.json");
    let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(&config).unwrap();
    file.write_all(b"{\"auto_update\": 5}").unwrap();
    let builder = || Builder::new(stand_in(), home.path());
    assert!(builder().version(Version::V012).start().is_err());
    let _running = builder().start().unwrap();
    assert!(std::fs::symlink_metadata(home.path().join("config.json.corrupt")).is_ok());
    assert!(std::fs::symlink_metadata(&config).is_err());
}

#[test]
fn the_socket_of_its_config_is_where_it_listens() {
    let home = Home::new();
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    let socket = home.path().with_file_name("elsewhere.sock");
    let mut file = std::fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(home.path().join("config.json"))
        .unwrap();
    file.write_all(json!({"daemon": {"control_socket": socket}}).to_string().as_bytes()).unwrap();
    let _running = Builder::new(stand_in(), home.path()).socket(&socket).start().unwrap();
    let mut client = Client::connect(&Endpoint::unix(&socket), WITHIN).unwrap();
    assert!(client.status().unwrap().joined_networks.is_empty());
}

#[rstest]
fn events_of_another_connection(#[values(Version::V012, Version::V038)] version: Version) {
    let home = Home::new();
    let (_standin, mut client) = home.start(version, "");
    let socket = Endpoint::unix(home.path().join("daemon.sock"));
    let mut events = Client::connect(&socket, WITHIN).unwrap().subscribe().unwrap();
    client.network_add(&pushed("n1", "home")).unwrap();
    let Some(Pushed::Event(event)) = events.next_within(WITHIN).unwrap() else { panic!() };
    assert_eq!((event.kind.as_str(), &event.event["network_id"]), ("diag", &json!("home")));
}
