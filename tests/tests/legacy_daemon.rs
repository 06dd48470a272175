//! A legacy daemon on the app's home is ended on request, and no other process is.

#![cfg(target_os = "linux")]

use std::process::Command;

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Signal, ask, can, eventually, follow, is_alive, program, run,
    send_signal, stand_in, started,
};
use rstest::rstest;
use serde_json::{Value, json};

#[test]
fn stop_and_status_name_the_legacy_daemon_and_the_command_that_ends_it() {
    let home = Home::legacy();
    let legacy = home.daemon(APP).start().unwrap().reaped_elsewhere();
    for (args, exit) in [(["daemon", "stop"], 7), (["daemon", "status"], 7)] {
        let ran = run(&mut home.with_daemon(&args)).ends_with(exit);
        for reported in [&legacy.to_string(), "repair --stop-legacy-daemon"] {
            assert!(ran.all().contains(reported), "{args:?}: {ran:?}");
        }
        assert!(!ran.all().contains("launch --detach"), "{ran:?}");
    }
    assert_eq!(home.serving(), [legacy]);
    run(&mut home.with_daemon(&["repair", "--stop-legacy-daemon"])).ends_with(0);
    assert!(home.serving().is_empty());
}

/// A symlink makes the homes one, and a daemon that found its home by it has lost its socket. The
/// daemon has to end before the symlink is moved, and is still found if the symlink is moved first.
#[rstest]
#[case::default_home_that_is_the_apps(".myownmesh", ".myownllm", "")]
#[case::daemon_home_that_is_the_apps(MESH, ".", "MYOWNMESH_HOME")]
fn daemon_behind_a_symlink_ends_before_the_symlink_is_moved(
    #[case] symlink: &str,
    #[case] target: &str,
    #[case] variable: &str,
    #[values(false, true)] is_moved_first: bool,
) {
    let home = Home::legacy();
    std::os::unix::fs::symlink(target, home.path(symlink)).unwrap();
    let mut builder = home.daemon(symlink).env("HOME", home.path(""));
    if variable.is_empty() {
        builder = builder.env("MYOWNMESH_HOME", "");
    }
    let mut daemon = builder.start().unwrap();
    std::fs::remove_file(daemon.socket()).unwrap();
    let apart = || home.run(&["doctor", "--json"]).ends_with(4).check("homes.apart");
    if !is_moved_first {
        let kill = format!("kill {}", daemon.pid());
        assert_eq!(apart()["hint"], kill);
        for args in
            [&["launch", "--once", "--json"][..], &["daemon", "stop", "--json"], &["repair", "--json"]]
        {
            let found = run(&mut home.with_daemon(args)).ends_with(7).diagnostic("paths.overlap");
            assert_eq!(found["hint"], kill, "{args:?}");
        }
        follow(&json!(kill));
        daemon.wait(std::time::Duration::from_secs(10)).expect("it ends");
        follow(&apart()["hint"]);
        run(&mut home.launch("", &["--once"])).ends_with(0);
        return;
    }
    std::fs::rename(home.path(symlink), home.path(&format!("{symlink}.aside"))).unwrap();
    let before = home.snapshot();
    run(&mut home.launch("", &["--once"])).ends_with(7);
    assert!(home.snapshot() == before);
    let pid = daemon.reaped_elsewhere();
    assert!(home.run(&["doctor"]).ends_with(4).all().contains(&pid.to_string()));
    run(&mut home.with_daemon(&["repair", "--stop-legacy-daemon"])).ends_with(0);
    assert!(!is_alive(pid));
}

/// A daemon of the user's own whose home was removed serves no home of the app's, and keeps no launch
/// from its work.
#[test]
fn daemon_of_another_home_that_was_removed_is_no_obstacle() {
    let home = Home::legacy();
    let _daemon = home.daemon(".myownmesh").start().unwrap();
    std::fs::rename(home.path(".myownmesh"), home.path(".myownmesh.old")).unwrap();
    std::os::unix::fs::symlink(".myownllm", home.path(".myownllm.link")).unwrap();
    run(&mut home.launch("", &["--once"])).ends_with(0);
}

/// The daemon does not end when it is asked to: the message says so, and the hint ends it. The hint
/// is not the command that has just failed.
#[test]
fn a_daemon_that_does_not_end_when_asked_is_reported_so() {
    let home = Home::legacy();
    // It ignores SIGTERM, and SIGKILL was not requested.
    let legacy = home.daemon(APP).mode("ignore-term").start().unwrap();
    let pid = legacy.pid();
    let ran = home.run(&["migrate", "--stop-legacy-daemon", "--json"]).ends_with(7);
    let found = ran.diagnostic("daemon.legacy-running");
    assert!(found["message"].as_str().unwrap().contains("was not ended"), "{found}");
    let ran = run(&mut home.launch("", &["--once", "--stop-legacy-daemon"])).ends_with(7);
    assert!(ran.stderr.contains("was not ended") && !ran.stderr.contains("hint: myownllm-mesh"), "{ran:?}");
    assert!(ran.stderr.contains(&pid.to_string()), "{ran:?}");
}

/// `--stop-legacy-daemon` ends only the legacy daemon, and reports it.
#[rstest]
#[case::launch(&["launch", "--no-daemon"])]
#[case::migrate(&["migrate"])]
#[case::salvage(&["salvage"])]
fn the_daemon_of_the_daemon_home_is_not_ended_as_a_legacy_one(#[case] command: &[&str]) {
    let home = Home::after_the_bug();
    let key = home.bytes(OLD_KEY);
    home.put(NEW_KEY, &key, 0o600);
    let legacy = home.daemon(APP).start().unwrap().reaped_elsewhere();
    let mut own = home.daemon(MESH).start().unwrap();
    // Both daemons block the run, and neither is ended without a request.
    let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
    assert_eq!(said["diagnostics"].to_string().matches("daemon.legacy-running").count(), 1, "{said:#}");
    assert!(is_alive(legacy));
    let said = home.run(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(7).json();
    assert!(own.is_running() && !is_alive(legacy), "{said:#}");
    let stopped = &said["data"]["stopped"];
    assert_eq!((&stopped[0]["pid"], &stopped[0]["kind"]), (&json!(legacy), &json!("legacy")), "{said:#}");
    assert_eq!(stopped.as_array().unwrap().len(), 1, "{said:#}");
    let refused = &said["diagnostics"][0];
    assert_eq!(refused["code"], "daemon.own-running", "{said:#}");
    assert!(refused["message"].as_str().unwrap().contains(&own.pid().to_string()), "{said:#}");
    // The hint works.
    let own = own.reaped_elsewhere();
    follow(&refused["hint"]);
    eventually("it ends", || !is_alive(own));
    home.run(command).ends_with(0);
}

#[rstest]
#[case::launch(&["launch", "--no-daemon"])]
#[case::migrate(&["migrate"])]
#[case::salvage(&["salvage"])]
#[case::repair(&["repair"])]
fn legacy_daemon_that_was_ended_is_named_in_the_text(#[case] command: &[&str]) {
    let home = Home::after_the_bug();
    let legacy = home.daemon(APP).start().unwrap().reaped_elsewhere();
    let ran = home.run(&[command, &["--stop-legacy-daemon"]].concat()).ends_with(0);
    let reported = format!("the daemon, process {legacy} at ~/.myownllm/daemon.sock");
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(&format!("stopped {reported}")), "{ran:?}");
}

#[test]
fn first_screen_names_a_legacy_daemon_before_the_repair_that_ends_it() {
    let home = Home::after_the_bug();
    let legacy = home.daemon(APP).start().unwrap().reaped_elsewhere();
    let page = home.run(&[]).ends_with(4).stdout;
    assert!(page.lines().next().unwrap().contains(&legacy.to_string()), "{page}");
    let said = home.run(&["--json"]).ends_with(4).json();
    assert!(said["diagnostics"].to_string().contains("daemon.legacy-running"), "{said:#}");
    let command = &said["data"]["commands"][0]["command"];
    assert!(command.as_str().unwrap().ends_with(" repair --stop-legacy-daemon"), "{said:#}");
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.trim_end().ends_with(command.as_str().unwrap()), "{doctor}");
    for refused in [&["repair", "--json"][..], &["network", "use", "--none", "--json"]] {
        let said = home.run(refused).ends_with(7).json();
        assert_eq!(said["diagnostics"][0]["hint"], *command, "{said:#}");
    }
    follow(command);
    eventually("it ends", || !is_alive(legacy));
    home.run(&["status", "--check"]).ends_with(0);
}

#[test]
fn an_undo_under_the_new_daemon_says_which_daemon_it_is() {
    let home = Home::settled();
    let own = home.daemon(MESH).start().unwrap().reaped_elsewhere();
    for flags in [&["--json"][..], &["--json", "--stop-legacy-daemon"], &["--json", "--dry-run"]] {
        let said = home.run(&[&["migrate", "--undo"], flags].concat()).ends_with(7).json();
        assert_eq!(said["diagnostics"][0]["code"], "daemon.own-running", "{said:#}");
        assert!(is_alive(own));
    }
    let said = home.run(&["migrate", "--undo", "--json"]).ends_with(7).json();
    follow(&said["diagnostics"][0]["hint"]);
    eventually("it ends", || !is_alive(own));
    home.run(&["migrate", "--undo"]).ends_with(0);
}

/// The hint first continues the daemon, then ends it: neither hint repeats.
#[rstest]
#[case::launch(&["launch", "--no-daemon"])]
#[case::migrate(&["migrate"])]
#[case::salvage(&["salvage"])]
fn a_suspended_legacy_daemon_is_continued_before_it_is_ended(#[case] command: &[&str]) {
    let home = Home::after_the_bug();
    let legacy = home.daemon(APP).start().unwrap().reaped_elsewhere();
    send_signal(legacy, Signal::STOP);
    let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
    let refused = &said["diagnostics"][0];
    assert!(refused["message"].as_str().unwrap().contains("suspended"), "{said:#}");
    assert_eq!(refused["hint"], format!("kill -CONT {legacy}"), "{said:#}");
    follow(&refused["hint"]);
    let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
    let refused = &said["diagnostics"][0];
    assert!(!refused["message"].as_str().unwrap().contains("suspended"), "{said:#}");
    send_signal(legacy, Signal::STOP);
    // Or both in one step.
    home.run(&[command, &["--stop-legacy-daemon"]].concat()).ends_with(0);
    assert!(!is_alive(legacy));
}

/// A suspended daemon that a launch would use is reported as well.
#[test]
fn suspended_daemon_of_the_daemon_home_is_continued_by_the_hint() {
    let home = Home::settled();
    let own = home.daemon(MESH).start().unwrap();
    send_signal(own.pid(), Signal::STOP);
    let said = home.launch_once_json().ends_with(5).json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.suspended", "{said:#}");
    assert!(home.run(&["doctor"]).stdout.contains(&format!("kill -CONT {}", own.pid())));
    follow(&said["diagnostics"][0]["hint"]);
    let said = home.launch_once_json().ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["pid"], own.pid(), "{said:#}");
}

/// In a container, a daemon outside has no process id; its number belongs to another process.
#[rstest]
#[case::with_proc_of_the_namespace(&["--mount-proc"])]
#[case::with_proc_of_the_outside(&[])]
fn a_daemon_in_another_pid_namespace_is_reported_as_that_and_nobody_is_signalled(#[case] flags: &[&str]) {
    if !can("unshare", &["--pid", "--fork", "--mount-proc", "true"]) {
        return;
    }
    let home = Home::legacy();
    let mut legacy = home.daemon(APP).start().unwrap();
    let inside = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--kill-child"]).args(flags).arg("--").arg(program());
        run(command.arg("--home").arg(home.path("")).args(args).env("HOME", "/nonexistent"))
    };
    for command in [&["launch", "--no-daemon"][..], &["migrate"]] {
        let said = inside(&[command, &["--json"]].concat()).ends_with(7).json();
        let refused = &said["diagnostics"][0];
        assert!(refused["message"].as_str().unwrap().contains("container"), "{said:#}");
        assert!(!refused["hint"].as_str().unwrap().contains("myownllm-mesh"), "{said:#}");
        let said = inside(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(7).json();
        let refused = &said["diagnostics"][0];
        assert!(refused["message"].as_str().unwrap().contains("namespace"), "{said:#}");
        assert!(!refused["hint"].as_str().unwrap().contains("myownllm-mesh"), "{said:#}");
    }
    assert!(legacy.is_running());
}

/// The daemon's former parent, or its activator, has no part in it any more.
#[rstest]
#[case::launch(&["launch", "--no-daemon"])]
#[case::migrate(&["migrate"])]
#[case::salvage(&["salvage"])]
fn a_legacy_daemon_is_ended_and_the_process_that_handed_it_the_socket_is_not(
    #[case] command: &[&str],
    #[values("hands-over", "hands-over:keep")] mode: &str,
) {
    let home = Home::after_the_bug();
    let mut innocent = home.daemon(APP).mode(mode).start().unwrap();
    eventually("the other one runs", || home.serving().len() == 2);
    let daemon = home.serving().into_iter().find(|pid| *pid != innocent.pid()).unwrap();
    let said = home.run(&[command, &["--json"]].concat()).ends_with(7).json();
    let message = said["diagnostics"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("(process {daemon})")), "{said:#}");
    let said = home.run(&[command, &["--stop-legacy-daemon", "--json"]].concat()).ends_with(0).json();
    assert_eq!(said["data"]["stopped"][0]["pid"], daemon, "{said:#}");
    assert!(innocent.is_running() && !is_alive(daemon));
}

#[test]
fn a_legacy_daemon_with_a_relative_home_is_found_though_its_socket_is_gone() {
    let home = Home::legacy();
    // Relative to a directory so far above that no other home has such a path.
    let above = home.path("../..").canonicalize().unwrap();
    let relative = home.path(APP).strip_prefix(&above).unwrap().to_owned();
    let mut daemon = Command::new(stand_in());
    daemon.arg("serve").env("MYOWNMESH_HOME", relative).current_dir(above);
    let daemon = started(daemon);
    let socket = home.path(APP).join("daemon.sock");
    eventually("it listens", || ask(&socket, "status", Value::Null).is_ok());
    std::fs::remove_file(socket).unwrap();
    let said = home.run(&["migrate", "--json"]).ends_with(7).json();
    let message = said["diagnostics"][0]["message"].as_str().unwrap();
    let pid = daemon.id();
    assert!(message.contains(&format!("process {pid})")), "{said:#}");
    assert!(home.has(OLD_KEY), "nothing moved under its hands");
    let stopped = std::thread::spawn(move || home.run(&["migrate", "--stop-legacy-daemon"]));
    daemon.ended();
    stopped.join().unwrap().ends_with(0);
}

/// An overwritten config can name any socket, and another program may listen there.
#[test]
fn process_that_does_not_answer_as_a_daemon_is_not_ended() {
    let home = Home::after_the_bug();
    let other = home.daemon("other").mode("silent").start().unwrap();
    let socket = home.path("other/daemon.sock");
    home.edit(CONFIG, |config| config["daemon"]["control_socket"] = json!(socket));
    let ran = home.run(&["salvage", "--stop-legacy-daemon"]).ends_with(7);
    assert!(ran.stderr.contains("does not answer as a daemon does"), "{ran:?}");
    assert!(ran.stderr.contains(&format!("ps -fp {}", other.pid())), "{ran:?}");
    assert!(is_alive(other.pid()));
}
