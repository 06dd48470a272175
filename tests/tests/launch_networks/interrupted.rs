//! Changes of networks while a program is killed, is down, or runs twice.

use super::changes;
use integration_tests::standin::Version;
use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, Signal, ask, eventually, hold_lock, run, send_signal, started,
};
use rstest::rstest;
use serde_json::{Value, json};

/// The app or the daemon is killed during any request, before or after the answer. The next launch
/// brings both configs in line.
#[rstest]
#[case::the_other_is_used("second-net", &["network", "use", "second-net"])]
#[case::a_third_is_added("third-net", &["network", "add", "third-net", "--activate"])]
#[case::none_is_used("", &["network", "use", "--none"])]
fn whatever_is_killed_in_between_both_stores_agree_afterwards(
    #[case] wanted: &str,
    #[case] change: &[&str],
    #[values(Version::V012, Version::V038)] version: Version,
    #[values("kills-peer", "dies-unanswered", "dies-after")] fault: &str,
) {
    let launch = |home: &Home, args: &[&str]| {
        let mut command = home.launch("", args);
        command.env("STAND_IN_VERSION", version.name());
        command
    };
    for number in 1..5 {
        let home = Home::with_networks();
        run(&mut launch(&home, &["--once"])).ends_with(0);
        let daemon = home.daemon(MESH).version(version).mode(&format!("{fault}:{number}")).start().unwrap();
        let ran = home.run(change);
        drop(daemon);
        assert!(home.serving().is_empty());
        let label = format!("{number}: {ran:?}");
        // The app's config was changed before the first request to the daemon.
        let app = started(launch(&home, &[]));
        let expected = if wanted.is_empty() { json!([]) } else { json!([wanted]) };
        let answers = || ask(&home.own_socket(), "status", Value::Null);
        eventually(&label, || answers().is_ok_and(|status| status["joined_networks"] == expected));
        send_signal(app.id(), Signal::TERM);
        app.ended().ends_with(0);
        let store = home.json(DAEMON_CONFIG);
        let kept = store["networks"].as_array().unwrap().iter().map(|network| &network["network_id"]);
        assert_eq!(json!(kept.collect::<Vec<_>>()), expected, "{label}");
        // No change is left to request.
        home.requests();
        run(&mut launch(&home, &["--once"])).ends_with(0);
        assert!(changes(&home).is_empty(), "{label}");
    }
}

/// The daemon dies while it writes its config. 0.1.2 writes in place, so the file is torn; 0.3.8
/// leaves a temporary file beside it.
#[rstest]
fn a_daemon_that_is_killed_over_its_own_config_is_brought_in_line(
    #[values(Version::V012, Version::V038)] version: Version,
    #[values(0, 1, 40, 300)] bytes: usize,
) {
    let home = Home::with_networks();
    let launch = |args: &[&str]| {
        let mut command = home.launch("", args);
        run(command.env("STAND_IN_VERSION", version.name()))
    };
    launch(&["--once"]).ends_with(0);
    let mode = format!("dies-writing:{bytes}");
    let dying = home.daemon(MESH).version(version).mode(&mode).start().unwrap();
    home.run(&["network", "use", "second-net"]).ends_with(5);
    drop(dying);
    let left = home.bytes(DAEMON_CONFIG);
    assert_eq!(serde_json::from_slice::<Value>(&left).is_err(), version == Version::V012);
    let said = launch(&["--once", "--json"]).ends_with(0).json();
    let codes: Vec<_> =
        said["diagnostics"].as_array().unwrap().iter().map(|reported| &reported["code"]).collect();
    match version {
        Version::V012 => assert_eq!(codes, ["daemon.config-set-aside"], "{said}"),
        _ => assert_eq!(codes, [&Value::Null; 0], "{said}"),
    }
    if version == Version::V012 {
        home.still_has(&left, "the torn config");
    }
    let kept = home.json(DAEMON_CONFIG)["networks"].clone();
    assert_eq!((&kept[0]["network_id"], kept.as_array().unwrap().len()), (&json!("second-net"), 1));
    home.requests();
    launch(&["--once"]).ends_with(0);
    assert!(changes(&home).is_empty());
}

/// The requests follow the config as it is under the lock. Neither a launch that read the config
/// earlier nor a second change may leave a network joined that is not active.
#[test]
fn two_that_change_the_active_network_at_once_leave_one() {
    let home = Home::with_networks();
    // So slow that, without the lock, the second run would plan before the first has joined its
    // network.
    let daemon = home.daemon(MESH).mode("slow-answer:150").trace(home.path("trace")).start().unwrap();
    let one = home.command(&["network", "use", "first-net"]);
    let one = started(one);
    eventually("it has asked", || home.trace().contains("status"));
    home.run(&["network", "use", "second-net"]).ends_with(0);
    one.ended().ends_with(0);
    assert_eq!(home.joined(), json!(["second-net"]));
    drop(daemon);

    // The active network changes after a launch has read the config and planned a change.
    let home = Home::with_networks();
    let daemon = home.daemon(MESH).trace(home.path("trace")).start().unwrap();
    let lock = hold_lock(&home.path(APP));
    let app = started(home.launch("", &["--once"]));
    eventually("it has planned", || home.trace().contains("config_show"));
    home.edit(CONFIG, |changed| {
        let networks = changed["cloud_mesh"]["networks"].as_array().unwrap();
        let second = networks.iter().find(|network| network["network_id"] == "second-net").unwrap();
        changed["cloud_mesh"]["active_network_id"] = second["id"].clone();
    });
    drop(lock);
    app.ended().ends_with(0);
    assert_eq!(home.joined(), json!(["second-net"]));
    assert!(!home.trace().contains("first-net"), "{}", home.trace());
    // A launch without a change to request does not wait for the lock.
    home.launch_once().ends_with(0);
    let _lock = hold_lock(&home.path(APP));
    home.launch_once().ends_with(0);
    drop(daemon);
}

/// A shared daemon keeps its networks; the app leaves the networks that it once joined there.
#[test]
fn a_shared_daemon_leaves_what_was_removed_while_it_was_down() {
    let home = Home::with_networks();
    let shared = || home.daemon(".myownmesh").start().unwrap();
    let socket = home.path(".myownmesh/daemon.sock");
    let joined = || ask(&socket, "status", Value::Null).unwrap()["joined_networks"].take();
    let mut daemon = shared();
    ask(&socket, "network_add", json!({"config": {"id": "gui-1", "network_id": "theirs"}})).unwrap();
    home.run(&["network", "use", "first-net"]).ends_with(0);
    assert_eq!(joined(), json!(["theirs", "first-net"]));
    daemon.terminate().unwrap();
    home.run(&["network", "remove", "first-net"]).ends_with(0);
    let daemon = shared();
    assert_eq!(joined(), json!(["theirs", "first-net"]));
    run(&mut home.launch("", &[])).ends_with(0);
    assert_eq!(joined(), json!(["theirs"]));
    drop(daemon);
}

/// Leaving and joining again is one uninterruptible step: after a signal in the middle, the network
/// is joined again.
#[test]
fn a_signal_between_leaving_and_joining_anew_costs_no_network() {
    let home = Home::with_networks();
    let mode = "no-update,slow-answer:200";
    let daemon = home.daemon(MESH).trace(home.path("trace")).mode(mode).start().unwrap();
    home.launch_once().ends_with(0);
    for (signal, label) in [(Signal::INT, "Another"), (Signal::TERM, "A third")] {
        home.edit(CONFIG, |changed| {
            for network in changed["cloud_mesh"]["networks"].as_array_mut().unwrap() {
                network["label"] = label.into();
            }
        });
        home.requests();
        let app = started(home.launch("", &["--once"]));
        eventually("it leaves", || home.trace().contains("network_remove"));
        send_signal(app.id(), signal);
        app.ended().ends_with(0);
        assert_eq!(home.joined(), json!(["first-net"]), "joined again");
    }
    drop(daemon);
}
