//! A launch that stays with its daemon: signals, and the end of the daemon.

#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use integration_tests::testkit::{
    APP, Home, MESH, Signal, ask, eventually, hold_lock, run, send_signal, set_mode, signal_mask, stand_in,
    started, wrapped,
};
use rstest::rstest;
use serde_json::Value;

#[test]
fn a_daemon_that_dies_ends_the_foreground_launch_with_its_last_words() {
    let home = Home::settled();
    // The document describes the moment at which the daemon was up; the exit code and stderr report
    // its end.
    let ran = started(home.launch("dies-in:300", &["--json"])).ended().ends_with(5);
    assert_eq!(ran.json()["ok"], true, "{ran:?}");
    assert_eq!(ran.json()["data"]["daemon"]["state"], "spawned");
    assert!(ran.stderr.contains("daemon.died") && ran.stderr.contains("hint: tail -n 50 "), "{ran:?}");
    let ran = started(home.launch("dies-in:300", &[])).ended().ends_with(5);
    assert!(ran.stdout.contains("started: version"), "{ran:?}");
    for part in ["daemon.died", "exit status: 3", "told to die now"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(home.serving().is_empty());
}

#[rstest]
fn a_daemon_that_dies_during_the_first_requests_ends_the_launch_with_its_last_words(
    #[values("dies-unanswered:2", "dies-after:1", "dies-unanswered:3")] mode: &str,
) {
    let home = Home::with_networks();
    let ran = started(home.launch(mode, &[])).ended().ends_with(5);
    for part in ["daemon.died", "exit status: 3", "told to die"] {
        assert!(ran.stderr.contains(part), "{part}: {}", ran.stderr);
    }
    assert!(home.serving().is_empty());
}

/// Nothing supervises a detached daemon, so the launch that starts it reports its exit.
#[test]
fn daemon_that_dies_on_its_last_request_is_not_reported_as_left_running() {
    let home = Home::with_networks();
    let ran = run(&mut home.launch("dies-after:3", &["--detach", "--json"])).ends_with(5);
    let document = ran.json();
    assert_eq!(document["data"]["daemon"]["ended"], true, "{ran:?}");
    let codes: Vec<&Value> =
        document["diagnostics"].as_array().unwrap().iter().map(|one| &one["code"]).collect();
    assert_eq!(codes, ["daemon.died"], "{ran:?}");
    // The daemon has saved the network, so the second launch sends one request less.
    let text = run(&mut home.launch("dies-after:2", &["--detach"])).ends_with(5);
    assert!(text.stdout.contains(", exited since (see below)"), "{text:?}");
    assert!(!text.stdout.contains("left running"), "{text:?}");
}

/// The user, or another run of this program, asked the daemon to end: nothing has failed.
#[rstest]
#[case::stop("stop")]
#[case::restart("restart")]
fn daemon_that_another_program_stops_ends_the_foreground_launch_with_success(#[case] command: &str) {
    let home = Home::settled();
    let app = home.app("");
    let [daemon] = home.serving()[..] else { panic!() };
    run(&mut home.with_daemon(&["daemon", command])).ends_with(0);
    let ran = app.ended().ends_with(0);
    let reported = format!("another program stopped the daemon (process {daemon})");
    assert!(ran.stderr.contains(&reported) && !ran.stderr.contains("daemon.died"), "{ran:?}");
    home.run(&["daemon", "stop"]).ends_with(0);
}

#[rstest]
#[case::int(Signal::INT)]
#[case::term(Signal::TERM)]
#[case::hup(Signal::HUP)]
#[case::quit(Signal::QUIT)]
fn a_signal_ends_a_foreground_launch_well_and_takes_the_daemon_along(#[case] signal: Signal) {
    let home = Home::settled();
    let app = home.app("");
    let [daemon] = home.serving()[..] else { panic!() };
    send_signal(app.id(), signal);
    let ran = app.ended().ends_with(0);
    assert!(ran.stderr.contains("Ctrl-C"), "{ran:?}");
    assert!(std::fs::symlink_metadata(format!("/proc/{daemon}")).is_err(), "ended and reaped");
    assert!(!home.own_socket().exists(), "politely: it took its socket along");
}

#[test]
fn hangup_that_the_parent_ignores_stays_ignored() {
    let home = Home::settled();
    let nohup = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let app = started(wrapped(&nohup, &home.launch("", &[])));
    eventually("its daemon runs", || app.errors_so_far().contains("Ctrl-C stops it"));
    assert_eq!(signal_mask(app.id(), "SigIgn:") & 1, 1, "still ignored");
    send_signal(app.id(), Signal::TERM);
    let ran = app.ended().ends_with(0);
    assert!(ran.stderr.contains("Ctrl-C"), "{ran:?}");
}

#[test]
fn daemon_that_ignores_sigterm_is_killed() {
    let home = Home::settled();
    let app = home.app("ignore-term");
    send_signal(app.id(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(home.serving().is_empty());
}

#[rstest]
fn a_signal_while_a_daemon_starts_leaves_none_behind(
    #[values("", "--once", "--detach")] flag: &str,
    #[values("slow-start:60000", "silent", "slow-start:60000,ignore-term")] mode: &str,
) {
    let home = Home::settled();
    let args: Vec<&str> = Some(flag).filter(|flag| !flag.is_empty()).into_iter().collect();
    let app = started(home.launch(mode, &args));
    eventually("it is being started", || !home.serving().is_empty());
    send_signal(app.id(), Signal::TERM);
    // Only a launch that stays with its daemon ends in this way when all is well.
    let ran = app.ended().ends_with(i32::from(!flag.is_empty()));
    assert!(ran.all().contains("the start of a daemon was broken off"), "{ran:?}");
    assert!(home.serving().is_empty());
}

#[test]
fn restart_that_a_signal_ends_before_the_new_daemon_answers_fails() {
    let home = Home::settled();
    run(&mut home.launch("", &["--detach"])).ends_with(0);
    let former = home.serving();
    let mut restart = home.with_daemon(&["daemon", "restart"]);
    restart.env("STAND_IN_MODE", "slow-start:60000");
    let restart = started(restart);
    eventually("the new one is being started", || {
        let serving = home.serving();
        !serving.is_empty() && serving.iter().all(|pid| !former.contains(pid))
    });
    send_signal(restart.id(), Signal::TERM);
    let ran = restart.ended().ends_with(1);
    assert!(ran.stderr.contains("daemon.cancelled") && ran.stdout.contains("Stopped the daemon"), "{ran:?}");
    assert!(home.serving().is_empty());
}

/// Another run holds the lock while it starts a daemon, or moves the state.
#[rstest]
#[case::start(Home::settled())]
#[case::move_(Home::legacy())]
fn a_signal_ends_a_launch_that_waits_for_the_lock(#[case] home: Home) {
    let _lock = hold_lock(&home.path(APP));
    let app = started(home.launch("", &["--once"]));
    // By then it has looked for a daemon. A process that waits for the lock keeps the directory
    // open; every other look at the directory ends within one poll.
    let mut looks = 0;
    eventually("it waits", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", app.id())).unwrap().flatten();
        let waits = open.flat_map(|fd| std::fs::read_link(fd.path())).any(|file| file == home.path(APP));
        looks = if waits { looks + 1 } else { 0 };
        looks == 5
    });
    send_signal(app.id(), Signal::TERM);
    app.ended().ends_with(1);
    assert!(home.serving().is_empty());
}

/// A program that started the run reads one document, however the run ends.
#[rstest]
fn a_signal_during_the_wait_for_the_lock_ends_the_run_with_its_document(
    #[values(Signal::INT, Signal::TERM)] signal: Signal,
    #[values(
        "repair",
        "launch --no-daemon",
        "network add third-net",
        "migrate",
        "config set provider=ollama"
    )]
    command: &str,
) {
    let home = Home::legacy();
    let lock = hold_lock(&home.path(APP));
    let before = home.contents();
    let mut args: Vec<&str> = command.split(' ').collect();
    args.push("--json");
    let mut child = home.command(&args);
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(child.stderr.take().unwrap()).lines().next().unwrap().unwrap();
    assert!(said.starts_with("Waiting for another"), "{said}");
    send_signal(child.id(), signal);
    let ended = child.wait_with_output().unwrap();
    drop(lock);
    let document: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((ended.status.code(), document["exit"].as_i64()), (Some(1), Some(1)), "{document:#}");
    let found = document["diagnostics"].as_array().unwrap();
    assert!(found.iter().any(|found| found["code"] == "daemon.cancelled"), "{document:#}");
    assert_eq!(home.contents(), before, "nothing was changed");
}

/// After a signal, a launch does not wait for an answer that may never come.
#[rstest]
#[case::int(Signal::INT, &[])]
#[case::term(Signal::TERM, &["--once"])]
fn a_signal_ends_a_launch_that_waits_for_an_answer(#[case] signal: Signal, #[case] args: &[&str]) {
    let home = Home::with_networks();
    let app = started(home.launch("silent-after:1", args));
    eventually("it was asked", || home.trace().contains("config_show"));
    let asked = Instant::now();
    send_signal(app.id(), signal);
    // Twice, as people press Ctrl-C.
    send_signal(app.id(), signal);
    app.ended().ends_with(i32::from(!args.is_empty()));
    assert!(asked.elapsed() < Duration::from_secs(5), "half of what one answer may take");
    assert!(home.serving().is_empty());
}

/// A supervisor or a GUI may block signals for its children, and a child inherits the mask.
#[test]
fn signals_that_were_blocked_on_entry_are_heard_by_us_and_by_the_daemon() {
    use nix::sys::signal::{SigSet, Signal as Name};
    let blocked: SigSet = [Name::SIGCHLD, Name::SIGTERM, Name::SIGINT].into_iter().collect();
    blocked.thread_block().unwrap();
    let home = Home::settled();
    let ran = started(home.launch("dies-in:300", &[])).ended().ends_with(5);
    assert!(ran.stderr.contains("daemon.died"), "{ran:?}");
    let app = home.app("");
    let [daemon] = home.serving()[..] else { panic!() };
    assert_eq!(signal_mask(daemon, "SigBlk:"), 0, "the daemon can be told to end");
    send_signal(app.id(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(!home.has(&format!("{MESH}/daemon.sock")), "politely: it took its socket along");
}

/// A script that starts the daemon may outlive it, or end before it.
#[test]
fn the_daemon_in_a_script_is_watched_and_not_the_script() {
    let scripted = |home: &Home, body: &str| {
        let script = home.path("myownmesh");
        std::fs::write(&script, format!("#!/bin/sh\n{}\n", body.replace("DAEMON", stand_in()))).unwrap();
        set_mode(&script, 0o755);
        script
    };
    let home = Home::settled();
    let mut command = home.launch("dies-in:300", &[]);
    command.env("MYOWNMESH_BIN", scripted(&home, "'DAEMON' \"$@\"; sleep 600"));
    let ran = started(command).ended().ends_with(5);
    assert!(ran.stderr.contains("daemon.died") && ran.stderr.contains("told to die now"), "{ran:?}");
    assert!(home.serving().is_empty(), "what the script left goes too");

    let home = Home::settled();
    let mut command = home.launch("", &[]);
    command.env("MYOWNMESH_BIN", scripted(&home, "'DAEMON' \"$@\" & sleep 1"));
    let app = started(command);
    eventually("its daemon runs", || app.errors_so_far().contains("Ctrl-C stops it"));
    eventually("the script is gone", || home.serving().len() == 1);
    let daemon = home.serving();
    // The script's end raises SIGCHLD, and the daemon still runs.
    std::thread::sleep(Duration::from_millis(100));
    assert!(!app.errors_so_far().contains("daemon.died"), "{:?}", app.errors_so_far());
    assert!(ask(&home.own_socket(), "status", Value::Null).is_ok());
    send_signal(app.id(), Signal::TERM);
    app.ended().ends_with(0);
    assert!(!home.serving().contains(&daemon[0]) && !home.own_socket().exists(), "it ended with us");
}

/// A process that has ended is not named in a hint.
#[test]
fn a_daemon_that_was_ended_again_is_reported_as_that() {
    let home = Home::with_networks();
    let ran = home.launch_once().ends_with(0);
    let words: Vec<&str> = ran.stdout.split_whitespace().collect();
    assert!(words.join(" ").contains(" ms, and ended again "), "{ran:?}");
    let said = run(&mut home.launch("silent-after:1", &["--json"])).ends_with(5).json();
    assert_eq!(said["data"]["daemon"]["ended"], true, "{said:#}");
    for found in said["diagnostics"].as_array().unwrap() {
        let hint = found["hint"].as_str().unwrap_or_default();
        assert!(!hint.starts_with("ps "), "{said:#}");
    }
    let app = started(home.launch("", &["--json"]));
    eventually("it is up", || app.errors_so_far().contains("Ctrl-C stops it"));
    send_signal(app.id(), Signal::TERM);
    assert_eq!(app.ended().ends_with(0).json()["data"]["daemon"]["ended"], false);
}
