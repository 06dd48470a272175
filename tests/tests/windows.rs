//! `launch` and the daemon on Windows, end to end: the real program, and the stand-in daemon on the
//! one named pipe of all daemons. So the tests run one at a time.
#![cfg(windows)]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use integration_tests::standin::Version;
use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, STATE, StandIn, eventually, fixture, run,
};
use myownllm_daemon::{Endpoint, probe};
use rstest::rstest;
use serde_json::{Value, json};

const DEVICE: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da";

/// Waits for the turn of a test, and for the end of the daemon of the one before.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    eventually("nobody listens", is_silent);
    turn
}

fn is_silent() -> bool {
    probe(&Endpoint::pipe("myownmesh.sock"), Duration::from_secs(1)).is_absent()
}

fn daemon_on(home: &Home, dir: &str) -> StandIn {
    home.daemon(dir).version(Version::V012).start().unwrap()
}

fn ask(request: &Value) -> Value {
    let mut pipe =
        std::fs::OpenOptions::new().read(true).write(true).open(r"\\.\pipe\myownmesh.sock").unwrap();
    pipe.write_all(format!("{request}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(pipe).read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap()
}

fn joined() -> Value {
    ask(&json!({"op": "status"}))["data"]["joined_networks"].take()
}

/// Runs `launch --once` with the stand-in, which has the faults of `mode`.
fn launch_once(home: &Home, mode: &str) -> Command {
    let mut command = home.with_daemon(&["launch", "--once", "--json"]);
    command.env("STAND_IN_MODE", mode);
    command
}

/// Checks that no path in an output has two kinds of separators.
#[track_caller]
fn has_one_separator(home: &Home, output: &str) {
    let home = home.path("").to_str().unwrap().to_owned();
    for output in [output.to_owned(), output.replace(r"\\", r"\")] {
        for after in output.split(&home).skip(1) {
            let path = after.split(['"', '\'', ' ', ',', ')', '\n', '\r', ';']).next().unwrap();
            assert!(!path.contains('/'), "{home}{path}\n{output}");
        }
    }
}

/// A launch that stays in the foreground. Drop kills it.
struct Foreground(Child);

impl Foreground {
    fn start(home: &Home, mode: &str) -> Self {
        let mut command = home.with_daemon(&["launch"]);
        command.env("STAND_IN_MODE", mode).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self(command.spawn().unwrap());
        eventually("its daemon listens", || !is_silent());
        started
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn config_that_a_daemon_overwrites_is_repaired_with_what_it_kept() {
    let _turn = alone();
    let home = Home::legacy();
    let before = home.bytes(CONFIG);
    let daemon = daemon_on(&home, APP);
    let added = ask(&json!({"op": "network_add", "config": {"id": "n1", "network_id": "new-net"}}));
    assert_eq!(added["ok"], true, "{added}");
    let overwritten = home.bytes(CONFIG);
    assert_ne!(overwritten, before);
    assert!(!String::from_utf8_lossy(&overwritten).contains("providers"), "the bug");
    drop(daemon);
    eventually("the daemon is gone", is_silent);
    let ran = run(&mut launch_once(&home, "")).ends_with(0);
    has_one_separator(&home, &ran.stdout);
    home.still_has(&overwritten, "the overwritten config");
    let config = home.json(CONFIG);
    let networks = config["cloud_mesh"]["networks"].as_array().unwrap();
    assert!(networks.iter().any(|network| network["network_id"] == "new-net"), "{config:#}");
    assert!(is_silent(), "the daemon of `--once` has ended");
}

#[test]
fn fresh_and_upgraded_homes_start_a_daemon_with_their_key() {
    let _turn = alone();
    let fresh = Home::empty();
    let said = run(&mut launch_once(&fresh, "")).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "spawned", "{said:#}");
    eventually("its daemon has ended", is_silent);

    let home = Home::legacy();
    let key = home.bytes(OLD_KEY);
    let ran = run(&mut launch_once(&home, "")).ends_with(0);
    has_one_separator(&home, &ran.stdout);
    assert!(ran.json()["data"]["daemon"]["device_id"].as_str().unwrap().starts_with(DEVICE), "{ran:?}");
    assert_eq!(home.bytes(NEW_KEY), key);
    assert!(!home.has(OLD_KEY));
}

#[test]
fn networks_are_saved_activated_and_switched_with_a_running_daemon() {
    let _turn = alone();
    let home = Home::settled();
    home.run(&["network", "use", "--none"]).ends_with(0);
    let _launch = Foreground::start(&home, "");
    for (args, expected) in [
        (&["network", "add", "first-net", "--activate"][..], json!(["first-net"])),
        (&["network", "add", "second-net", "--activate"], json!(["second-net"])),
        (&["network", "use", "first-net"], json!(["first-net"])),
        (&["network", "use", "--none"], json!([])),
    ] {
        run(&mut home.command(args)).ends_with(0);
        assert_eq!(joined(), expected, "{args:?}");
        let shape = home.run(&["salvage", "--dry-run", "--json"]).ends_with(0).json();
        assert_eq!(shape["data"]["shape"], "app", "{args:?}: the app's config stays the app's");
    }
}

#[test]
fn daemons_of_both_modes_on_one_pipe_are_distinguished_apart_by_their_key() {
    let _turn = alone();
    let home = Home::settled();
    let shared = daemon_on(&home, ".myownmesh");
    let said = run(&mut launch_once(&home, "")).ends_with(0).json();
    assert_eq!(
        (&said["data"]["daemon"]["state"], &said["data"]["daemon"]["role"]),
        (&json!("attached"), &json!("shared")),
        "{said:#}"
    );
    drop(shared);
    eventually("the shared daemon is gone", is_silent);
    let _own = daemon_on(&home, MESH);
    let said = run(&mut launch_once(&home, "")).ends_with(0).json();
    assert_eq!(
        (&said["data"]["daemon"]["state"], &said["data"]["daemon"]["role"]),
        (&json!("attached"), &json!("own")),
        "{said:#}"
    );
}

/// Makes a home as that daemon left it: shared with the app, with an overwritten config.
fn home_of(daemon: &str) -> Home {
    let home = Home::empty();
    for file in STATE.into_iter().chain(["config.json"]) {
        home.put(&format!("{APP}/{file}"), &fixture(&format!("{daemon}/home/{APP}/{file}")), 0o600);
    }
    home
}

#[rstest]
fn six_launches_at_once_on_an_overwritten_home_lose_nothing_and_all_succeed(
    #[values("daemon-0.1.2", "daemon-0.3.8")] daemon: &str,
) {
    let _turn = alone();
    let home = home_of(daemon);
    let before = home.contents();
    let commands: Vec<_> = (0..6)
        .map(|_| {
            let mut command = home.command(&["launch", "--no-daemon", "--json"]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for child in commands {
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        has_one_separator(&home, &said);
    }
    for bytes in &before {
        home.still_has(bytes, "a file of before");
    }
    for (args, place) in [(&["migrate", "--undo", "--json"][..], APP), (&["launch", "--no-daemon"], MESH)] {
        let ran = home.run(args).ends_with(0);
        has_one_separator(&home, &ran.all());
        assert!(home.has(&format!("{place}/.secrets/identity.json")), "{args:?}");
        for bytes in &before {
            home.still_has(bytes, "a file of before");
        }
    }
}

#[test]
fn two_launches_at_once_start_one_daemon() {
    let _turn = alone();
    let home = Home::after_the_bug();
    let first = Foreground::start(&home, "");
    let said = run(&mut launch_once(&home, "")).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["state"], "attached", "{said:#}");
    assert!(!is_silent());
    drop(first);
}

#[test]
fn daemon_that_dies_is_reported_by_the_launch_that_waits_for_it() {
    let _turn = alone();
    let home = Home::settled();
    let mut launch = Foreground::start(&home, "dies-in:1500");
    eventually("the launch ends", || launch.0.try_wait().unwrap().is_some());
    assert_eq!(launch.0.wait().unwrap().code(), Some(5));
}

#[test]
fn killed_launch_leaves_no_daemon_and_a_detached_daemon_stays() {
    let _turn = alone();
    let home = Home::settled();
    drop(Foreground::start(&home, ""));
    eventually("the daemon has ended with the launch", is_silent);

    // Without pipes: the daemon inherits the output of the launch, and keeps it open.
    let mut command = home.with_daemon(&["launch", "--detach"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    std::thread::sleep(Duration::from_millis(500));
    let found = probe(&Endpoint::pipe("myownmesh.sock"), Duration::from_secs(1));
    let pid = found.pid().expect("it still listens").to_string();
    let killed = Command::new("taskkill").args(["/f", "/pid", &pid]).output().unwrap();
    eventually("the daemon is killed", is_silent);
    drop(killed);
}

#[test]
fn junction_in_the_place_of_the_daemons_state_loses_nothing() {
    let _turn = alone();
    let home = Home::legacy();
    std::fs::create_dir_all(home.path(MESH)).unwrap();
    let [link, target] =
        [format!("{MESH}/mesh"), format!("{APP}/mesh")].map(|path| native(&home.path(&path)));
    let made = Command::new("cmd").args(["/c", "mklink", "/J", &link, &target]).output();
    if !made.is_ok_and(|output| output.status.success()) || std::fs::symlink_metadata(&link).is_err() {
        // wine makes no junctions.
        return;
    }
    let before = home.contents();
    home.run(&["migrate"]).ends_with(7);
    for bytes in &before {
        home.still_has(bytes, "a file of before");
    }
}

fn native(path: &Path) -> String {
    path.components().collect::<std::path::PathBuf>().to_str().unwrap().to_owned()
}
