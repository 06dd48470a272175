//! Copies of the daemon's files: the only ones, and those beside a damaged file.

use super::running::Detached;
use super::{KEY, LOCK, ROSTER, put_owner};
use integration_tests::testkit::{APP, Home, MESH, diagnostic, fixture_of_038, follow, run, stand_in};
use rstest::rstest;
use serde_json::{Value, json};

const DOCTOR: &[&str] = &["doctor", "--json"];
const LAUNCH: &[&str] = &["launch", "--once", "--json"];
const DETACH: &[&str] = &["launch", "--detach", "--json"];
/// A torn roster.
const TORN: &[u8] = b"{\"version\":1,\"network_id\":\"home-mesh\",\"auth";

fn said(home: &Home, args: &[&str]) -> Value {
    run(&mut home.with_daemon(args)).json()
}

fn reported(said: &Value, code: &str) -> Value {
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
        reported(&if by == DETACH { launch } else { said(&home, DOCTOR) }, "state.misnamed")["hint"].clone();
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
    let hint = reported(&if by == DETACH { launch } else { said(&home, by) }, "identity.other-known")["hint"]
        .clone();
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
    let hint = reported(&refused, "daemon.foreign-identity")["hint"].clone();
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
    let damaged = reported(&doctor, "state.damaged")["message"].as_str().unwrap().to_owned();
    assert!(
        damaged.contains("moves ") && damaged.contains(".myownllm/mesh/rosters/home-mesh.json"),
        "{damaged}"
    );
    assert!(diagnostic(&doctor, "migration.collision").is_none(), "{doctor:#}");
    let done = run(&mut home.with_daemon(by)).ends_with(0).json();
    reported(&done, "state.set-aside");
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
        reported(&said, code);
        reported(&said, "migration.collision");
    }
    assert_eq!(devices(&home)[0]["device_id"], "c");
    assert!(home.has(&format!("{APP}/{ROSTER}")));
    home.still_has(torn, "the damaged file");
}

/// The user may have removed the device since the time of the old roster.
#[test]
fn device_that_a_damaged_roster_lacks_is_not_approved_again_unasked() {
    let home = Home::settled();
    let own = copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    let known = devices(&home);
    home.edit(&format!("{APP}/{ROSTER}"), |roster| {
        let mut removed = known[0].clone();
        removed["device_id"] = "b".into();
        roster["authorized_devices"].as_array_mut().unwrap().push(removed);
    });
    home.put(&format!("{MESH}/{ROSTER}"), own.trim_ascii_end().strip_suffix(b"}").unwrap(), 0o600);
    reported(&run(&mut home.with_daemon(LAUNCH)).ends_with(0).json(), "migration.collision");
    assert_eq!(devices(&home), known);
}

/// A daemon that read the roster before the damage has it in memory.
#[test]
fn launch_uses_the_daemon_that_runs_beside_a_damaged_and_an_old_roster() {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), TORN, 0o600);
    reported(&run(&mut home.with_daemon(LAUNCH)).ends_with(0).json(), "migration.collision");
    reported(&said(&home, DOCTOR), "migration.collision");
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
    reported(&run(&mut home.with_daemon(LAUNCH)).ends_with(0).json(), "migration.collision");
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), sound);
    assert!(home.has(&format!("{APP}/{ROSTER}")));
}

#[test]
fn side_of_a_collision_that_is_damaged_is_named_when_it_is_kept() {
    let home = Home::settled();
    copy(&home, ROSTER, &format!("{APP}/{ROSTER}"));
    home.put(&format!("{MESH}/{ROSTER}"), TORN, 0o600);
    let said = home.run(&["migrate", "--keep", "daemon-home", "--json"]).ends_with(0).json();
    reported(&said, "state.damaged");
}

/// Each command that judges the home names the copy before a daemon starts without the content.
#[rstest]
#[case::roster(ROSTER, "home-mesh (1).json", "state.misnamed")]
#[case::roster_of_a_backup(ROSTER, "../../../.myownmesh.bak/mesh/rosters/home-mesh.json", "state.misnamed")]
#[case::state("mesh/states/home-mesh.json", "home-mesh (1).json", "state.misnamed")]
#[case::config("config.json", "config.json.bak", "state.misnamed")]
#[case::custody(".secrets/custody.json", "custody (1).json", "state.damaged")]
fn copy_beside_a_damaged_file_is_named(#[case] file: &str, #[case] name: &str, #[case] code: &str) {
    let home = Home::settled();
    let place = format!("{MESH}/{file}");
    match file {
        "config.json" => {
            home.put(&place, br#"{"version":3,"daemon":{"log_level":"debug"},"networks":[]}"#, 0o600)
        }
        ".secrets/custody.json" => home.put(&place, LOCK, 0o600),
        "mesh/states/home-mesh.json" => {
            home.put(&place, &fixture_of_038(".myownllm/mesh/states/home-mesh.json"), 0o600);
        }
        _ => {}
    }
    let dir = format!("{MESH}/{}", file.rsplit_once('/').map_or("", |(dir, _)| dir));
    let whole = copy(&home, file, &format!("{dir}/{name}"));
    let torn = &whole[..whole.len() / 3];
    let name = name.trim_start_matches("../");
    let names_copy = |said: &Value| reported(said, code)["message"].as_str().unwrap().contains(name);
    for args in [LAUNCH, DOCTOR] {
        home.put(&place, torn, 0o600);
        let said = said(&home, args);
        assert!(names_copy(&said), "{args:?}: {said:#}");
    }
    let said = said(&home, DOCTOR);
    let all = said["diagnostics"].as_array().unwrap();
    let hint = all.iter().find(|reported| {
        reported["code"] == code && reported["hint"].as_str().is_some_and(|it| it.contains(name))
    });
    follow(&hint.unwrap_or_else(|| panic!("{said:#}"))["hint"]);
    let mended = serde_json::from_slice::<Value>(&whole).unwrap();
    assert_eq!(home.json(&place), mended, "{said:#}");
    home.still_has(torn, "the damaged file");
    let doctor = run(&mut home.with_daemon(DOCTOR)).ends_with(0).json();
    assert!(!doctor["diagnostics"].to_string().contains("state."), "{doctor:#}");
}

/// The daemon may have the whole file in memory, so the hint keeps the daemon.
#[test]
fn copy_beside_a_damaged_roster_is_named_while_a_daemon_runs() {
    let home = Home::settled();
    let whole = copy(&home, ROSTER, &format!("{MESH}/mesh/rosters/home-mesh (1).json"));
    let daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/{ROSTER}"), TORN, 0o600);
    follow(&reported(&said(&home, DOCTOR), "state.misnamed")["hint"]);
    assert!(daemon.is_running());
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), whole);
}

/// Adds a device to a roster.
fn approve(home: &Home, roster: &str, device_id: &str) {
    let mut devices = home.json(roster)["authorized_devices"].as_array().unwrap().clone();
    devices.push(json!({"device_id": device_id, "label": "", "approved_at": 1, "role": "member"}));
    let devices = Value::from(devices);
    // A daemon writes the devices last.
    let text = format!(r#"{{"version":1,"network_id":"home-mesh","authorized_devices":{devices}}}"#);
    home.put(roster, text.as_bytes(), 0o600);
}

/// Cuts the roster off in its second device.
fn cut(home: &Home) {
    let roster = format!("{MESH}/{ROSTER}");
    let whole = String::from_utf8(home.bytes(&roster)).unwrap();
    let end = whole.rfind("approved_at").unwrap();
    home.put(&roster, &whole.as_bytes()[..end], 0o600);
}

/// The launch has written the part before the tear: the copy is still the only one with the rest.
#[rstest]
fn copy_of_a_roster_that_a_launch_has_cut_is_named(
    #[values("home-mesh (1).json", "home-mesh.sync-conflict-20261130-120000-ABCDEFG.json")] name: &str,
) {
    let home = Home::settled();
    approve(&home, &format!("{MESH}/{ROSTER}"), "e");
    let peers = devices(&home);
    copy(&home, ROSTER, &format!("{MESH}/mesh/rosters/{name}"));
    cut(&home);
    let damaged = reported(&said(&home, DOCTOR), "state.damaged");
    assert!(damaged["message"].as_str().unwrap().contains("devices may be missing"), "{damaged:#}");
    let launch = run(&mut home.with_daemon(LAUNCH)).ends_with(0).json();
    let aside = reported(&launch, "state.set-aside");
    assert!(aside["message"].as_str().unwrap().contains("devices may be missing"), "{launch:#}");
    assert!(reported(&launch, "state.misnamed")["message"].as_str().unwrap().contains(name), "{launch:#}");
    assert_ne!(devices(&home), peers);
    follow(&reported(&said(&home, DOCTOR), "state.misnamed")["hint"]);
    assert_eq!(devices(&home), peers);
    assert!(diagnostic(&said(&home, DOCTOR), "state.misnamed").is_none());
}

/// An older copy has a device that the user has removed since.
#[rstest]
#[case::sound(|_: &Home| {})]
#[case::whole_but_for_a_mark(|home: &Home| {
    let marked = [b"\xef\xbb\xbf", &home.bytes(&format!("{MESH}/{ROSTER}"))[..]].concat();
    home.put(&format!("{MESH}/{ROSTER}"), &marked, 0o600);
})]
#[case::changed_since_the_cut(|home: &Home| {
    approve(home, &format!("{MESH}/{ROSTER}"), "d");
    cut(home);
    run(&mut home.with_daemon(LAUNCH)).ends_with(0);
    home.edit(&format!("{MESH}/{ROSTER}"), |roster| {
        roster["authorized_devices"][0]["device_id"] = "c".into();
    });
})]
fn older_copy_beside_a_roster_that_lost_nothing_is_not_named(#[case] make: fn(&Home)) {
    let home = Home::settled();
    let copy = format!("{MESH}/mesh/rosters/home-mesh (1).json");
    home.put(&copy, &home.bytes(&format!("{MESH}/{ROSTER}")), 0o600);
    approve(&home, &copy, "e");
    make(&home);
    for args in [DOCTOR, LAUNCH, DOCTOR] {
        let said = run(&mut home.with_daemon(args)).ends_with(0).json();
        assert!(diagnostic(&said, "state.misnamed").is_none(), "{args:?}: {said:#}");
    }
}
