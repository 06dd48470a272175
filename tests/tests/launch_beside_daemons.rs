//! A launch on a home on which a daemon runs already, starts, or ends: the daemon is found, used,
//! or named.

#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

use integration_tests::testkit::{
    APP, Home, MESH, Signal, StandIn, eventually, hold_lock, run, send_signal, set_mode, signal_mask,
    stand_in, started, wrapped,
};
use rstest::rstest;
use serde_json::{Value, json};

#[test]
fn daemon_of_a_killed_app_is_adopted() {
    let home = Home::settled();
    let app = home.app("");
    let daemon = home.serving();
    send_signal(app.id(), Signal::KILL);
    app.ended();
    let said = run(&mut home.launch("", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said}");
    assert_eq!(said["data"]["daemon"]["pid"], daemon[0]);
    assert_eq!(home.serving(), daemon, "nothing was started beside it, and it is not ours to end");
    send_signal(daemon[0], Signal::TERM);
    eventually("it ends", || home.serving().is_empty());
}

/// Another launch that runs once may end the daemon to which this one is attached.
#[rstest]
fn launch_whose_daemon_ends_under_it_looks_again(#[values("dies-after:1", "dies-unanswered:2")] mode: &str) {
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let dying = home.daemon(MESH).mode(mode).start().unwrap();
    let said = home.launch_once_json().ends_with(0).json();
    let daemon = &said["data"]["daemon"];
    assert_eq!(daemon["state"], "spawned", "{said:#}");
    assert_ne!(daemon["pid"], dying.pid(), "{said:#}");
}

#[test]
fn a_daemon_whose_socket_was_removed_is_named_and_ended_only_on_request() {
    let home = Home::settled();
    let running = home.daemon(MESH).start().unwrap();
    std::fs::remove_file(running.socket()).unwrap();
    let pid = running.reaped_elsewhere();
    let ran = home.launch_once().ends_with(7);
    assert!(ran.stderr.contains(&pid.to_string()) && ran.stderr.contains("daemon restart"), "{ran:?}");
    assert!(ran.stderr.contains("its socket was removed under it"), "{ran:?}");
    assert_eq!(home.serving(), [pid]);
    // The two looks do not report that no daemon runs.
    let words = "  runs, and does not answer at its socket";
    let ran = home.run(&["daemon", "status"]).ends_with(5);
    assert!(ran.stdout.contains(words) && ran.stderr.contains("daemon.without-socket"), "{ran:?}");
    assert!(!ran.all().contains("no daemon of this home runs"), "{ran:?}");
    let ran = home.run(&["status"]).ends_with(0);
    assert!(ran.stdout.contains(words), "{ran:?}");
    // A change of the active network does not report that no daemon runs.
    for change in [&["network", "add", "a-net", "--activate"][..], &["network", "use", "--none"]] {
        let ran = home.run(change).ends_with(7);
        assert!(
            ran.stderr.contains("daemon.without-socket") && ran.stderr.contains(&pid.to_string()),
            "{ran:?}"
        );
        assert!(!ran.stdout.contains("No daemon runs"), "{ran:?}");
    }
    run(&mut home.with_daemon(&["daemon", "restart"])).ends_with(0);
    let restarted = home.serving();
    assert!(restarted.len() == 1 && restarted[0] != pid, "{restarted:?}");
    home.run(&["daemon", "stop"]).ends_with(0);
    assert!(home.serving().is_empty());
}

/// Files that differ wait for the user, and an empty directory holds nothing that a daemon writes.
#[rstest]
#[case::files_that_differ(|home: &Home| {
    let other = br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#;
    home.put(&format!("{APP}/mesh/rosters/home-mesh.json"), other, 0o600);
    set_mode(&home.path(&format!("{APP}/mesh")), 0o700);
})]
#[case::empty_directories(|home: &Home| {
    std::fs::create_dir_all(home.path(&format!("{APP}/mesh/rosters"))).unwrap();
    std::fs::create_dir_all(home.path(&format!("{APP}/mesh/states"))).unwrap();
})]
fn own_daemon_is_used_beside_an_old_location_without_files_to_move(#[case] leave: fn(&Home)) {
    let home = Home::settled();
    leave(&home);
    let daemon = home.daemon(MESH).start().unwrap();
    for _ in 0..2 {
        let said = home.launch_once_json().ends_with(0).json();
        assert_eq!(said["data"]["daemon"]["pid"], daemon.pid(), "{said:#}");
    }
    drop(daemon);
    leave(&home);
    // A daemon of the old location would write there.
    let _legacy = home.daemon(APP).start().unwrap();
    let ran = home.launch_once().ends_with(7);
    assert!(ran.stderr.contains("--stop-legacy-daemon"), "{ran:?}");
}

/// A shell that exports the variable passes it to every program, and a log may have the daemon's
/// name.
#[rstest]
#[case::in_the_daemon_home(MESH, &["daemon", "stop"])]
#[case::in_the_old_location(APP, &["repair", "--stop-legacy-daemon"])]
fn process_with_the_words_of_a_daemon_is_never_signalled(#[case] dir: &str, #[case] stop: &[&str]) {
    let home = Home::settled();
    for name in ["myownmesh.log", "serve"] {
        home.put(name, b"", 0o600);
    }
    let mut command = Command::new("tail");
    command.args(["-f", "myownmesh.log", "serve"]).current_dir(home.path(""));
    command.env("MYOWNMESH_HOME", home.path(dir)).stdout(Stdio::null());
    let mut tail = command.spawn().unwrap();
    let environment = format!("/proc/{}/environ", tail.id());
    eventually("it runs", || std::fs::read(&environment).is_ok_and(|bytes| !bytes.is_empty()));
    for args in [&["launch", "--once"][..], &["doctor"], stop] {
        run(&mut home.with_daemon(args)).ends_with(0);
    }
    assert!(tail.try_wait().unwrap().is_none(), "it was signalled");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

/// A process without file descriptors cannot connect. That says nothing about the daemon.
#[rstest]
#[case::doctor(&["doctor"])]
#[case::daemon_status(&["daemon", "status"])]
#[case::first_screen(&[])]
fn daemon_that_cannot_be_looked_for_is_not_reported_as_one_without_socket(#[case] args: &[&str]) {
    let home = Home::settled();
    let _daemon = home.daemon(MESH).start().unwrap();
    let ran = run(&mut wrapped(&["prlimit", "--nofile=4:4"], &home.with_daemon(args)));
    assert!(ran.all().contains("Too many open files"), "{ran:?}");
    for wrong in ["its socket was removed", "daemon restart", "daemon.without-socket"] {
        assert!(!ran.all().contains(wrong), "{wrong}: {ran:?}");
    }
}

/// The socket is renamed after it was bound, so that its path in the kernel's table leads nowhere.
#[test]
fn silent_listener_is_named_by_the_process_of_its_credentials() {
    let home = Home::settled();
    let bound = home.path("daemon.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&bound).unwrap();
    std::fs::rename(&bound, home.path(&format!("{MESH}/daemon.sock"))).unwrap();
    let hint = format!("ps -fp {}", std::process::id());
    for args in [&["doctor"][..], &["daemon", "status"], &["launch", "--once"], &["daemon", "stop"]] {
        let ran = run(&mut home.with_daemon(args));
        assert!(ran.all().contains(&hint) && !ran.all().contains("container"), "{args:?}: {ran:?}");
    }
}

#[test]
fn a_second_daemon_beside_the_one_that_answers_is_named_and_ended_on_request() {
    let home = Home::settled();
    let first = home.daemon(MESH).start().unwrap();
    std::fs::remove_file(first.socket()).unwrap();
    let second = home.daemon(MESH).start().unwrap();
    let [unseen, seen] = [first, second].map(StandIn::reaped_elsewhere);
    for args in [&["launch"][..], &["status"]] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        let found = said["diagnostics"].as_array().unwrap();
        let named: Vec<&Value> = found.iter().filter(|one| one["code"] == "daemon.without-socket").collect();
        assert_eq!(named.len(), 1, "{said}");
        assert!(named[0]["message"].as_str().unwrap().contains(&format!("process {unseen})")), "{said}");
        assert!(named[0]["hint"].as_str().unwrap().ends_with("daemon restart"), "{said}");
    }
    run(&mut home.launch("", &["--detach", "--stop-legacy-daemon"])).ends_with(0);
    let left = home.serving();
    assert!(left.len() == 1 && left[0] != unseen, "{left:?}, {seen}");
    let said = run(&mut home.launch("", &["--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], left[0], "{said}");
    assert!(!said["diagnostics"].to_string().contains("daemon.without-socket"), "{said}");
    send_signal(left[0], Signal::TERM);
    eventually("it ends", || home.serving().is_empty());
}

/// A script that waits for the daemon it started has the daemon's environment, but is no daemon.
#[test]
fn a_script_around_the_daemon_is_no_second_one() {
    let home = Home::settled();
    let script = home.path("myownmesh");
    std::fs::write(&script, format!("#!/bin/sh\n'{}' \"$@\" &\nwait\n", stand_in())).unwrap();
    set_mode(&script, 0o755);
    run(home.launch("", &["--detach"]).env("MYOWNMESH_BIN", &script)).ends_with(0);
    assert_eq!(home.serving().len(), 2);
    let said = run(&mut home.launch("", &["--json"])).ends_with(0).json();
    assert!(!said["diagnostics"].to_string().contains("daemon.without-socket"), "{said}");
    home.serving().into_iter().for_each(|pid| send_signal(pid, Signal::TERM));
    eventually("they end", || home.serving().is_empty());
}

/// A launch recognises its own daemons by a mark in their environment, whatever the program's name.
/// The program calls `listen`, and the process that it has forked serves.
#[test]
fn process_that_a_daemon_has_forked_to_serve_ends_with_the_launch() {
    let home = Home::settled();
    run(&mut home.launch("hands-over", &["--once"])).ends_with(0);
    assert!(home.serving().is_empty(), "{:?}", home.serving());
}

#[test]
fn a_daemon_that_a_killed_launch_left_on_its_way_is_waited_for_and_adopted() {
    let home = Home::settled();
    let app = started(home.launch("slow-start:1500", &[]));
    eventually("it is on its way", || !home.serving().is_empty());
    let daemon = home.serving();
    send_signal(app.id(), Signal::KILL);
    app.ended();
    let said = run(&mut home.launch("", &["--detach", "--json"])).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said}");
    assert_eq!(home.serving(), daemon);
    assert_eq!(said["data"]["daemon"]["pid"], daemon[0], "{said}");
    send_signal(daemon[0], Signal::TERM);
    eventually("it ends", || home.serving().is_empty());
}

/// The daemon that came up first has the key of the home and answers, so it is used.
#[test]
fn a_daemon_that_comes_up_while_ours_is_starting_is_adopted() {
    let home = Home::settled();
    let app = started(home.launch("slow-start:60000", &["--once", "--json"]));
    eventually("ours is on its way", || !home.serving().is_empty());
    let other = home.daemon(MESH).start().unwrap();
    let said = app.ended().ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said:#}");
    assert_eq!(said["data"]["daemon"]["pid"], other.pid(), "{said:#}");
    assert_eq!(home.serving(), [other.pid()], "ours was ended");
}

/// A daemon that gets SIGTERM unlinks its socket first. A start at that moment waits for its end,
/// and does not report it as a daemon without a socket.
#[test]
fn a_daemon_that_is_just_ending_is_waited_for() {
    let home = Home::settled();
    let dying = home.daemon(MESH).mode("lingers:200").start().unwrap();
    let socket = dying.socket().to_owned();
    send_signal(dying.reaped_elsewhere(), Signal::TERM);
    eventually("its socket is gone", || std::fs::symlink_metadata(&socket).is_err());
    let ran = home.launch_once().ends_with(0);
    assert!(ran.stdout.contains("started: version"), "{ran:?}");
}

/// The shared daemon's path leads into the app's home: the daemon that answers there is the app's
/// own.
#[test]
fn the_own_daemon_under_the_shared_ones_name_is_still_the_own_one() {
    let home = Home::with_networks();
    let _daemon = home.daemon(MESH).start().unwrap();
    let role = || {
        let said = home.launch_once_json().ends_with(0).json();
        said["data"]["daemon"]["role"].as_str().unwrap().to_owned()
    };
    std::os::unix::fs::symlink(home.path(MESH), home.path(".myownmesh")).unwrap();
    assert_eq!(role(), "own");
    std::fs::remove_file(home.path(".myownmesh")).unwrap();
    std::fs::create_dir(home.path(".myownmesh")).unwrap();
    std::os::unix::fs::symlink(home.own_socket(), home.path(".myownmesh/daemon.sock")).unwrap();
    assert_eq!(role(), "own");
    assert_eq!(home.joined(), json!(["first-net"]));
}

/// A link to the socket of another home, symbolic or hard, is not the socket of this one.
#[rstest]
fn daemon_behind_a_link_counts_where_its_socket_is(
    #[values(format!("{MESH}/daemon.sock"), format!("{APP}/daemon.sock"))] place: String,
    #[values(false, true)] is_shared: bool,
    #[values(false, true)] is_hard: bool,
) {
    let is_own_socket = !is_shared && place.starts_with(MESH);
    if is_own_socket {
        return;
    }
    let home = Home::with_networks();
    home.launch_once().ends_with(0);
    let office = json!({"networks": [{"network_id": "office-mesh", "label": "Office"}]});
    if is_shared {
        home.put(".myownmesh/config.json", office.to_string().as_bytes(), 0o600);
    }
    let daemon = home.daemon(if is_shared { ".myownmesh" } else { MESH }).start().unwrap();
    match is_hard {
        true => std::fs::hard_link(daemon.socket(), home.path(&place)).unwrap(),
        false => std::os::unix::fs::symlink(daemon.socket(), home.path(&place)).unwrap(),
    }
    let said = home.launch_once_json().ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["role"], if is_shared { "shared" } else { "own" }, "{said:#}");
    let doctor = home.run(&["doctor", "--json"]).ends_with(0).all();
    for said in [said.to_string(), doctor] {
        assert!(!said.contains("networks.not-left") && !said.contains("legacy-running"), "{said}");
    }
}

/// A daemon of the old location is one also if the own socket is a link to its socket.
#[test]
fn daemon_of_the_old_location_behind_a_link_at_the_own_socket_is_refused() {
    let home = Home::settled();
    let daemon = home.daemon(APP).start().unwrap();
    std::os::unix::fs::symlink(daemon.socket(), home.own_socket()).unwrap();
    let said = home.launch_once_json().ends_with(7).json();
    assert!(said.to_string().contains("daemon.legacy-running"), "{said:#}");
}

/// A daemon listens at the path that its config named when it started.
#[test]
fn a_daemon_whose_config_names_another_socket_since_is_found_where_it_was() {
    let home = Home::with_networks();
    let daemon = home.daemon(MESH).start().unwrap();
    home.launch_once().ends_with(0);
    let own = format!("{MESH}/config.json");
    let mut config = home.json(&own);
    config["daemon"]["control_socket"] = json!(home.path("elsewhere.sock"));
    home.put(&own, config.to_string().as_bytes(), 0o600);
    let said = home.launch_once_json().ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], daemon.pid(), "{said:#}");
    let said = home.run(&["status", "--json"]).ends_with(0).json();
    assert!(!said.to_string().contains("daemon.without-socket"), "{said:#}");
    let own = home.run(&["doctor", "--json"]).check("daemon.own");
    assert!(own.to_string().contains("runs: version"), "{own:#}");
    // The next daemon listens at the new path.
    drop(daemon);
    let said = home.launch_once_json().ends_with(0).json();
    assert!(said["data"]["daemon"]["socket"].as_str().unwrap().ends_with("elsewhere.sock"), "{said:#}");
}

#[test]
fn a_detached_daemon_holds_no_lock_and_nothing_else_of_ours() {
    let home = Home::settled();
    run(&mut home.launch("", &["--detach"])).ends_with(0);
    let [pid] = home.serving()[..] else { panic!() };
    drop(hold_lock(&home.path(APP)));
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let held = std::fs::read_link(entry.path()).unwrap_or_default();
        let log = home.path(&format!("{MESH}/daemon.log"));
        assert!(!held.starts_with(home.path("")) || held == log, "{}", held.display());
    }
    send_signal(pid, Signal::TERM);
    eventually("it ends", || home.serving().is_empty());
}

/// The daemon inherits no open file of the shell and no ignored signal.
#[test]
fn a_detached_daemon_inherits_nothing_from_who_started_the_launch() {
    let home = Home::settled();
    let shell = |script: &str| {
        let wrapper = ["bash", "-c", script, "bash"];
        run(wrapped(&wrapper, &home.launch("", &["--detach"])).current_dir(home.path("")))
    };
    let end = || {
        let [pid] = home.serving()[..] else { panic!("{:?}", home.serving()) };
        send_signal(pid, Signal::TERM);
        eventually("it ends", || home.serving().is_empty());
    };
    for number in [3, 4, 9, 10, 77, 255, 700] {
        // The lock is released when the shell ends.
        shell(&format!("exec {number}>lock; flock {number}; \"$@\"")).ends_with(0);
        drop(hold_lock(&home.path("lock")));
        end();
        // The command substitution ends with the launch. If the daemon held the pipe, `run` would
        // time out.
        let ran = shell(&format!("out=$(\"$@\" {number}>&1); echo \"got: $out\"")).ends_with(0);
        assert!(ran.stdout.contains("got: ") && ran.stdout.contains("left running"), "{ran:?}");
        end();
    }
    let all = "HUP INT QUIT ABRT TERM USR1 USR2 ALRM CHLD CONT TSTP TTIN TTOU WINCH";
    shell(&format!("trap '' {all}; \"$@\"")).ends_with(0);
    let [pid] = home.serving()[..] else { panic!() };
    for field in ["SigBlk:", "SigIgn:"] {
        // Every Rust program ignores SIGPIPE; 32 and 33 belong to the C library.
        let others = 1 << (Signal::PIPE.as_raw() - 1) | 0b11 << 31;
        assert_eq!(signal_mask(pid, field) & !others, 0, "{field}");
    }
    end();
}
