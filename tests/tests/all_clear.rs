//! All-clear means clear: on every home, `doctor` finds a problem that no repair mends exactly
//! where `launch --once` then refuses or fails, and a launch takes the steps that `status` names.

#![cfg(unix)]

mod access;
mod file_systems;
mod keys;
mod processes;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    CONFIG, DAEMON_CONFIG, Home, OLD_KEY, Ran, StandIn, Unlocked, can, can_be_root, fixture, fixture_of_038,
    give, path_with_program, run, set_mode, stand_in,
};
use rstest::rstest;

/// What stays alive while a home is tried: a daemon, or nothing.
type Alive = Option<StandIn>;

const ROSTER: &str = ".myownllm/.myownmesh/mesh/rosters/home-mesh.json";

/// A home after `launch --once`: moved, repaired, complete, with a key that a daemon made or found.
fn settled(change: impl FnOnce(&Home)) -> (Home, Alive) {
    let home = Home::settled();
    change(&home);
    (home, None)
}

/// A home of before the move.
fn legacy(change: impl FnOnce(&Home)) -> (Home, Alive) {
    let home = Home::legacy();
    change(&home);
    (home, None)
}

fn empty(change: impl FnOnce(&Home)) -> (Home, Alive) {
    let home = Home::empty();
    change(&home);
    (home, None)
}

fn remove(home: &Home, path: &str) {
    std::fs::remove_file(home.path(path)).unwrap();
}

fn rename(home: &Home, from: &str, to: &str) {
    std::fs::rename(home.path(from), home.path(to)).unwrap();
}

fn link(home: &Home, target: impl AsRef<Path>, at: &str) {
    std::fs::create_dir_all(home.path(at).parent().unwrap()).unwrap();
    symlink(target, home.path(at)).unwrap();
}

fn pipe(home: &Home, at: &str) {
    assert!(Command::new("mkfifo").arg(home.path(at)).status().unwrap().success());
}

/// Damages each backup of the config.
fn damage_backups(home: &Home) {
    for backup in std::fs::read_dir(home.path(".myownllm/config-backups")).unwrap() {
        std::fs::write(backup.unwrap().path(), b"").unwrap();
    }
}

fn control_socket(home: &Home, socket: &str) {
    let config = serde_json::json!({
        "version": 3, "daemon": { "enabled": true, "control_socket": socket }, "networks": []
    });
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
}

fn active_network_id(home: &Home, id: &str) {
    active_network_member(home, "network_id", id.into());
}

fn active_network_member(home: &Home, member: &str, value: serde_json::Value) {
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"][0][member] = value;
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
}

/// The fleet's command runs alone, so it must not succeed where the next launch refuses.
#[rstest]
#[case::rosters_behind_a_symlink(Home::legacy, |home: &Home| {
    rename(home, ".myownllm/mesh/rosters", "rosters");
    link(home, home.path("rosters"), ".myownllm/mesh/rosters");
}, 7)]
#[case::home_open_to_all(Home::settled, |home: &Home| set_mode(&home.path(".myownllm"), 0o777), 7)]
#[case::file_in_the_place_of_the_socket(Home::legacy, |home: &Home| {
    home.put(".myownllm/.myownmesh/daemon.sock", b"x", 0o600);
}, 5)]
#[case::daemon_config_is_a_directory(Home::legacy, |home: &Home| {
    std::fs::create_dir_all(home.path(DAEMON_CONFIG)).unwrap();
}, 1)]
#[case::home_closed_to_others(Home::legacy, |home: &Home| set_mode(&home.path(".myownllm"), 0o700), 0)]
#[case::symlinked_home(Home::legacy, |home: &Home| {
    rename(home, ".myownllm", "elsewhere");
    link(home, home.path("elsewhere"), ".myownllm");
}, 0)]
fn launch_without_a_daemon_ends_as_the_launch_after_it(
    #[case] home: fn() -> Home,
    #[case] change: fn(&Home),
    #[case] code: i32,
) {
    let home = home();
    change(&home);
    let keeps_key = home.has(OLD_KEY) && code == 7;
    home.run(&["launch", "--no-daemon"]).ends_with(code);
    assert_eq!(home.has(OLD_KEY), keeps_key, "the key moves without its peers");
    home.launch_once().ends_with(code);
}

fn another_key() -> Vec<u8> {
    fixture_of_038(".myownllm/.secrets/identity.json")
}

/// The problems that a launch leaves: those that it mends name `repair` as their cure.
fn problems(ran: &Ran) -> Vec<String> {
    let said = ran.json();
    let checks = said["data"]["checks"].as_array().unwrap_or_else(|| panic!("{said:#}"));
    let is_left = |check: &&serde_json::Value| {
        let hint = check["hint"].as_str().unwrap_or_default();
        check["result"] == "problem" && !hint.ends_with(" repair")
    };
    checks.iter().filter(is_left).map(|check| check.to_string()).collect()
}

/// Follows the hints of `doctor` and of the launch, one after the other, as printed. Each works and
/// loses nothing, and a hint that changes something mends the check for which it is printed.
fn follow_hints(home: &Home) {
    let doctor = || run(&mut home.with_daemon(&["doctor", "--json"])).json();
    let launch = run(&mut home.with_daemon(&["launch", "--once", "--json"])).json();
    let list = |said: &serde_json::Value| said.as_array().cloned().unwrap_or_default();
    let mut followed: Vec<String> = Vec::new();
    let mut reported = list(&launch["diagnostics"]);
    loop {
        let checks = list(&doctor()["data"]["checks"]);
        reported.extend(checks.into_iter().filter(|check| check["result"] != "ok"));
        // What the user has to fill in cannot be run as printed.
        let is_new = |hint: &str| !hint.contains("/path/to/") && !followed.iter().any(|done| done == hint);
        let next = reported.iter().find(|one| one["hint"].as_str().is_some_and(is_new)).cloned();
        let Some(one) = next else { break };
        let hint = one["hint"].as_str().unwrap().to_owned();
        follow(home, &hint);
        if one["id"].is_string() && changes(&hint) {
            let still = list(&doctor()["data"]["checks"]);
            let is_same =
                |check: &serde_json::Value| check["id"] == one["id"] && check["hint"] == one["hint"];
            assert!(!still.iter().any(is_same), "{hint} mends nothing: {one:#}");
        }
        followed.push(hint);
        assert!(followed.len() < 12, "no end of hints: {followed:#?}");
        reported.clear();
    }
}

/// True if a command changes something, and does not only show it.
fn changes(hint: &str) -> bool {
    let looks =
        ["ls", "findmnt", "lsattr", "ps", "pgrep", "fuser", "df", "readlink", "tail", "sed -n", "getfacl"];
    let asks = [
        "doctor",
        "status",
        "paths",
        "config history",
        "--dry-run",
        "network list",
        "network show",
        "config show",
    ];
    !looks.iter().any(|look| hint.starts_with(&format!("{look} ")))
        && !asks.iter().any(|ask| hint.ends_with(ask))
        // The editor of these tests changes nothing.
        && !hint.contains("${EDITOR")
}

/// Runs a hint twice as printed.
fn follow(home: &Home, hint: &str) {
    let is_log =
        |bytes: &[u8]| bytes.is_empty() || bytes.starts_with(b"{\"at\":") || bytes.starts_with(b"[myownllm]");
    let before: Vec<Vec<u8>> = home.contents().into_iter().filter(|bytes| !is_log(bytes)).collect();
    for round in ["first", "second"] {
        let mut shell = Command::new("sh");
        // A launch stays in the foreground, and ends with SIGTERM.
        let seconds = if hint.contains(" launch") { 2 } else { 60 };
        shell.args(["-c", &format!("timeout -s TERM {seconds} sh -c {}", quoted(hint))]).current_dir("/");
        shell.env("PATH", path_with_program()).env("EDITOR", "true").env("HOME", "/nonexistent");
        let ran = run(shell.env("MYOWNMESH_BIN", stand_in()));
        let code = ran.code.unwrap();
        let is_fine = match (changes(hint), hint.contains(" launch"), round) {
            // 124: the launch was ended.
            (true, true, _) => code == 0 || code == 124,
            (true, false, "first") => code == 0,
            // A second `mkdir` or `mv` may find nothing to do; a look may find nothing.
            _ => code < 126,
        };
        assert!(is_fine, "{round} run of {hint}: {ran:?}");
        let after = home.contents();
        for content in &before {
            assert!(after.contains(content), "{hint} loses {:?}", String::from_utf8_lossy(content));
        }
    }
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Compares `doctor` with the launch, and follows every hint.
fn agree_and_follow(home: &Home) {
    agree(home, |_| {});
    follow_hints(home);
}

/// Runs `doctor` and `status`, then `launch --once`, with the stand-in as the daemon's program.
pub(crate) fn agree(home: &Home, adapt: impl Fn(&mut Command)) {
    let said = |args: &[&str]| {
        let mut command = home.with_daemon(args);
        adapt(&mut command);
        run(&mut command)
    };
    let before = home.snapshot();
    let (doctor, status) = (said(&["doctor", "--json"]), said(&["status", "--check", "--json"]));
    assert_eq!(home.snapshot(), before, "a look writes");
    let launch = said(&["launch", "--once", "--json"]);
    same_verdict(&doctor, &launch);
    same_steps(&status, &launch);
    same_code(&status, &launch);
}

/// Fails the test if `status --check` ends with another error than the launch. A change that would
/// fail is pending, which is no error: a release would touch the home.
fn same_code(status: &Ran, launch: &Ran) {
    let is_error = !matches!(status.code, Some(0 | 3));
    assert!(!is_error || status.code == launch.code, "{}{}", status.all(), launch.all());
}

/// Fails the test unless a launch that succeeds took the steps that `status` named, and a launch of
/// which `status` named the refusal took none.
fn same_steps(status: &Ran, launch: &Ran) {
    let planned = status.json()["data"]["launch_steps"].clone();
    let taken = launch.json()["data"]["steps"].clone();
    let refuses = planned == serde_json::json!(["refuse"]);
    if launch.code == Some(0) || (refuses && taken != serde_json::json!([])) {
        assert_eq!(planned, taken, "{}{}", status.all(), launch.all());
    }
}

/// Fails the test unless `doctor` found a problem exactly where the launch refused or failed.
fn same_verdict(doctor: &Ran, launch: &Ran) {
    let found = problems(doctor);
    let all = doctor.json()["data"]["problems"].as_u64().unwrap();
    assert_eq!(doctor.code, Some(if all == 0 { 0 } else { 4 }), "{}", doctor.all());
    assert_eq!(
        !found.is_empty(),
        launch.code != Some(0),
        "doctor finds {found:#?}, and the launch ends with {:?}: {}",
        launch.code,
        launch.all()
    );
}

#[rstest]
#[case::healthy(settled(|_| {}))]
#[case::before_the_move(legacy(|_| {}))]
#[case::overwritten((Home::after_the_bug(), None))]
#[case::empty(empty(|_| {}))]
#[case::moved_with_an_empty_old_location(settled(|home|
    std::fs::create_dir_all(home.path(".myownllm/mesh/rosters")).unwrap()))]
#[case::foreign_file_in_the_old_location(legacy(|home| home.put(".myownllm/mesh/rosters/notes.txt",
    b"mine", 0o600)))]
fn whole_homes(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

#[rstest]
#[case::an_empty_object(settled(|home| home.put(CONFIG, b"{}", 0o600)))]
#[case::an_empty_object_with_a_space(settled(|home| home.put(CONFIG, b"{ }\n", 0o600)))]
#[case::one_key(settled(|home| home.put(CONFIG, br#"{"active_family":"gemma4"}"#, 0o600)))]
#[case::an_empty_object_and_damaged_backups(settled(|home| { home.put(CONFIG, b"{}", 0o600);
    damage_backups(home); }))]
#[case::one_key_and_damaged_backups(settled(|home| { home.put(CONFIG, br#"{"active_family":"x"}"#, 0o600);
    damage_backups(home); }))]
#[case::one_key_and_backups_behind_a_symlink(settled(|home| {
    home.put(CONFIG, br#"{"active_family":"x"}"#, 0o600);
    rename(home, ".myownllm/config-backups", "backups");
    link(home, "../backups", ".myownllm/config-backups");
}))]
#[case::no_bytes(settled(|home| home.put(CONFIG, b"", 0o600)))]
#[case::zero_bytes(settled(|home| home.put(CONFIG, &[0; 64], 0o600)))]
#[case::garbage(settled(|home| home.put(CONFIG, b"not json at all", 0o600)))]
#[case::torn(settled(|home| { let bytes = home.bytes(CONFIG);
    home.put(CONFIG, &bytes[..bytes.len() / 2], 0o600); }))]
#[case::an_array(settled(|home| home.put(CONFIG, b"[1,2]", 0o600)))]
#[case::missing(settled(|home| remove(home, CONFIG)))]
#[case::an_active_network_id_with_a_space(settled(|home| active_network_id(home, "no way")))]
#[case::an_active_network_id_that_is_too_short(settled(|home| active_network_id(home, "ab")))]
#[case::an_active_network_without_an_id(settled(|home| active_network_id(home, "")))]
#[case::an_active_network_with_a_stun_server_that_is_a_number(settled(|home|
    active_network_member(home, "stun_servers", serde_json::json!([5]))))]
#[case::an_active_network_with_a_turn_server_that_is_null(settled(|home|
    active_network_member(home, "turn_servers", serde_json::json!([null]))))]
#[case::an_active_network_with_a_label_that_is_a_number(settled(|home|
    active_network_member(home, "label", serde_json::json!(5))))]
#[case::the_apps_beside_the_daemon_and_backups_that_are_a_file(settled(|home| {
    home.put(DAEMON_CONFIG, &fixture("app-config-before.json"), 0o600);
    rename(home, ".myownllm/config-backups", "backups");
    home.put(".myownllm/config-backups", b"", 0o600);
}))]
#[case::networks_of_the_daemon_alone_and_backups_that_are_a_file(settled(|home| {
    home.put(DAEMON_CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    rename(home, ".myownllm/config-backups", "backups");
    home.put(".myownllm/config-backups", b"", 0o600);
}))]
#[case::a_stale_path_in_the_daemons_and_backups_that_are_a_file(settled(|home| {
    let config = serde_json::json!({"version": 3, "identity_path": home.path(OLD_KEY), "networks": []});
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    rename(home, ".myownllm/config-backups", "backups");
    home.put(".myownllm/config-backups", b"", 0o600);
}))]
#[case::overwritten_behind_a_symlink_into_the_daemon_home(settled(overwritten_in_the_daemon_home))]
#[case::overwritten_and_the_daemons_too(settled(overwritten_and_the_daemons_too))]
#[case::a_directory(settled(|home| { remove(home, CONFIG); std::fs::create_dir(home.path(CONFIG)).unwrap();
    }))]
#[case::a_dangling_symlink(settled(|home| { remove(home, CONFIG);
    link(home, "/nowhere/config.json", CONFIG); }))]
#[case::a_symlink_in_the_home(settled(|home| { rename(home, CONFIG, ".myownllm/real.json");
    link(home, "real.json", CONFIG); }))]
fn configs(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

fn overwritten_in_the_daemon_home(home: &Home) {
    remove(home, CONFIG);
    home.put(".myownllm/.myownmesh/other.json", &fixture_of_038(".myownllm/config.json"), 0o600);
    link(home, ".myownmesh/other.json", CONFIG);
}

fn overwritten_and_the_daemons_too(home: &Home) {
    home.put(CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    link(home, "../config.json", DAEMON_CONFIG);
}

#[rstest]
#[case::into_the_daemon_home(settled(overwritten_in_the_daemon_home))]
#[case::by_the_symlink_of_the_daemon(settled(overwritten_and_the_daemons_too))]
#[case::backups_of_another_user(settled(|home| {
    home.put(CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    if can_be_root() {
        give(&home.path(".myownllm/config-backups"), 1234);
    }
}))]
#[case::immutable(settled(|home| {
    home.put(CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    can("chattr", &["+i", home.path(CONFIG).to_str().unwrap()]);
}))]
fn dry_run_of_a_config_repair_ends_as_the_repair_does(#[case] home: (Home, Alive)) {
    let home = home.0;
    let _unlocked = Unlocked(&home);
    let before = home.bytes(CONFIG);
    let (dry, made) = (home.run(&["salvage", "--dry-run"]), home.run(&["salvage"]));
    assert_eq!(dry.code, made.code, "{}{}", dry.all(), made.all());
    assert_eq!(made.code == Some(0), home.bytes(CONFIG) != before);
}

fn with(home: Home, path: &str, bytes: &[u8]) -> Home {
    home.put(path, bytes, 0o600);
    home
}
