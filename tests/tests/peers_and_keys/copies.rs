//! Copies of the daemon's files: the only ones, and those beside a damaged file.

use super::running::Detached;
use super::{KEY, ROSTER, put_owner};
use integration_tests::testkit::{APP, Home, MESH, diagnostic, fixture_of_038, follow, run, stand_in};
use rstest::rstest;
use serde_json::Value;

const DOCTOR: &[&str] = &["doctor", "--json"];
const LAUNCH: &[&str] = &["launch", "--once", "--json"];
const DETACH: &[&str] = &["launch", "--detach", "--json"];
/// A torn roster.
const TORN: &[u8] = b"{\"version\":1,\"network_id\":\"home-mesh\",\"auth";

fn said(home: &Home, args: &[&str]) -> Value {
    run(&mut home.with_daemon(args)).json()
}

fn told(said: &Value, code: &str) -> Value {
    diagnostic(said, code).unwrap_or_else(|| panic!("no {code}: {said:#}")).clone()
}

fn devices(home: &Home) -> Value {
    home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"].clone()
}

/// Copies a file in the daemon home, and returns the bytes.
fn copy(home: &Home, file: &str, to: &str) -> Vec<u8> {
    let bytes = home.bytes(&format!("{MESH}/{file}"));
    home.put(to, &bytes, 0o600);
    bytes
}

/// A daemon writes its roster from memory, over a file that came meanwhile.
#[rstest]
fn hint_that_brings_a_roster_ends_the_daemon_that_would_write_over_it(
    #[values(DETACH, DOCTOR)] by: &[&str],
    #[values(false, true)] has_written: bool,
) {
    let home = Home::settled();
    let roster = home.path(&format!("{MESH}/{ROSTER}"));
    let (peers, whole) = (devices(&home), home.bytes(&format!("{MESH}/{ROSTER}")));
    let copy = roster.with_file_name("home-mesh (1).json");
    std::fs::rename(&roster, &copy).unwrap();
    let launch = said(&home, DETACH);
    let daemon = Detached::of(&launch);
    let written =
        br#"{"version":1,"network_id":"home-mesh","authorized_devices":[{"device_id":"b","approved_at":1}]}"#;
    let hint =
        told(&if by == DETACH { launch } else { said(&home, DOCTOR) }, "state.misnamed")["hint"].clone();
    if has_written {
        home.put(&format!("{MESH}/{ROSTER}"), written, 0o600);
    }
    follow(&hint);
    assert!(!daemon.is_running(), "{hint}");
    assert_eq!(devices(&home), peers, "{hint}");
    assert_eq!(std::fs::read(&copy).unwrap(), whole, "the copy stays: {hint}");
    if has_written {
        home.still_has(written, "what the daemon wrote meanwhile");
    }
    let before = home.bytes(&format!("{MESH}/{ROSTER}"));
    follow(&hint);
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), before, "run again, it did something: {hint}");
    assert!(diagnostic(&said(&home, LAUNCH), "state.misnamed").is_none());
}

/// A daemon keeps the key with which it started.
#[rstest]
fn hint_that_brings_a_key_ends_the_daemon_first(
    #[values(DETACH, DOCTOR, &["identity", "--json"])] by: &[&str],
) {
    let home = Home::settled();
    let own = home.bytes(KEY);
    let id = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    put_owner(&home, id.as_str().unwrap());
    home.put(&format!("{MESH}/.secrets/identity (1).json"), &own, 0o600);
    home.put(KEY, &fixture_of_038(".myownllm/.secrets/identity.json"), 0o600);
    std::fs::remove_file(home.path(&format!("{APP}/myownllm-mesh.log"))).ok();
    let launch = said(&home, DETACH);
    let daemon = Detached::of(&launch);
    let hint =
        told(&if by == DETACH { launch } else { said(&home, by) }, "identity.other-known")["hint"].clone();
    follow(&hint);
    assert!(!daemon.is_running() && home.bytes(KEY) == own, "{hint}");
    run(&mut home.with_daemon(LAUNCH)).ends_with(0);
}

/// The key in the home was replaced under the daemon.
#[test]
fn hint_of_a_launch_beside_a_daemon_with_another_key_restarts_the_daemon() {
    let home = Home::settled();
    let own = home.bytes(KEY);
    let id = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    put_owner(&home, id.as_str().unwrap());
    home.put(KEY, &fixture_of_038(".myownllm/.secrets/identity.json"), 0o600);
    let _daemon = Detached::start(&home, stand_in());
    home.put(KEY, &own, 0o600);
    let refused = run(&mut home.with_daemon(LAUNCH)).ends_with(7).json();
    let hint = told(&refused, "daemon.foreign-identity")["hint"].clone();
    let restart = hint.as_str().unwrap().to_owned();
    assert!(restart.ends_with(" daemon restart"), "{restart}");
    let restarted = run(std::process::Command::new("sh")
        .args(["-c", &restart])
        .env("PATH", integration_tests::testkit::path_with_program())
        .env("MYOWNMESH_BIN", stand_in()));
    assert_eq!(restarted.code, Some(0), "{restarted:?}");
    run(&mut home.with_daemon(LAUNCH)).ends_with(0);
    home.run(&["daemon", "stop"]).ends_with(0);
}

/// A power cut has torn the file in the daemon home, and a backup was restored to the old location.
#[rstest]
fn damaged_roster_gives_way_to_the_whole_one_at_the_old_location(
    #[values(LAUNCH, &["repair", "--json"])] by: &[&str],
    #[values(b"", TORN)] torn: &[u8],
) {
    let home = Home::settled();
    let peers = devices(&home);
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), torn, 0o600);
    let doctor = said(&home, DOCTOR);
    let damaged = told(&doctor, "state.damaged")["message"].as_str().unwrap().to_owned();
    assert!(
        damaged.contains("moves ") && damaged.contains(".myownllm/mesh/rosters/home-mesh.json"),
        "{damaged}"
    );
    assert!(diagnostic(&doctor, "migration.collision").is_none(), "{doctor:#}");
    let done = run(&mut home.with_daemon(by)).ends_with(0).json();
    told(&done, "state.set-aside");
    assert_eq!(devices(&home), peers, "{done:#}");
    assert!(!home.has(&format!("{APP}/{ROSTER}")), "{done:#}");
    home.still_has(torn, "the damaged file");
    let doctor = said(&home, DOCTOR);
    assert!(!doctor.to_string().contains("collision"), "{doctor:#}");
}

/// The damaged file has a device that the one at the old location lacks: the user decides.
#[test]
fn damaged_roster_with_a_device_of_its_own_is_named_beside_the_collision() {
    let home = Home::settled();
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    let torn = br#"{"version":1,"network_id":"home-mesh","authorized_devices":[
        {"device_id":"c","label":"","approved_at":1,"role":"member"},{"device_id":"d"#;
    home.put(&format!("{MESH}/{ROSTER}"), torn, 0o600);
    for (args, code) in [(DOCTOR, "state.damaged"), (LAUNCH, "state.set-aside")] {
        let said = run(&mut home.with_daemon(args)).ends_with(0).json();
        told(&said, code);
        told(&said, "migration.collision");
    }
    assert_eq!(devices(&home)[0]["device_id"], "c");
    assert!(home.has(&format!("{APP}/{ROSTER}")));
    home.still_has(torn, "the damaged file");
}

/// A daemon that read the roster before the damage has it in memory.
#[test]
fn launch_uses_the_daemon_that_runs_beside_a_damaged_and_an_old_roster() {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), TORN, 0o600);
    run(&mut home.with_daemon(LAUNCH)).ends_with(0);
    assert!(daemon.is_running());
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), TORN);
}

/// A sound roster that differs is no damage: both stay, and a daemon starts.
#[rstest]
#[case::fewer_devices(br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#)]
#[case::of_a_newer_version(br#"{"version":9,"network_id":"home-mesh","authorized_devices":[]}"#)]
fn sound_roster_does_not_give_way_to_the_one_at_the_old_location(#[case] sound: &[u8]) {
    let home = Home::settled();
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), sound, 0o600);
    told(&run(&mut home.with_daemon(LAUNCH)).ends_with(0).json(), "migration.collision");
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), sound);
    assert!(home.has(&format!("{APP}/{ROSTER}")));
}

#[test]
fn side_of_a_collision_that_is_damaged_is_named_when_it_is_kept() {
    let home = Home::settled();
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), TORN, 0o600);
    let said = home.run(&["migrate", "--keep", "daemon-home", "--json"]).ends_with(0).json();
    told(&said, "state.damaged");
}
