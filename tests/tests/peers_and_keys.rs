//! Keys that only a running daemon has, and peers that no daemon sees.
#![cfg(target_os = "linux")]

mod copies;
mod rosters;
mod running;
mod second_factor;

use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    APP, Home, MESH, Unprivileged, diagnostic, fixture_of_038, follow, run, set_mode, stand_in,
};
use rstest::rstest;
use serde_json::json;

const ROSTER: &str = "mesh/rosters/home-mesh.json";
const KEY: &str = ".myownllm/.myownmesh/.secrets/identity.json";
const CONFIG: &str = ".myownllm/config.json";
const LOCK: &[u8] =
    br#"{"networks":{"home-mesh":{"secret_b32":"JBSW","recovery_hashes":["aa"],"created_at":1}}}"#;

/// The state of the active network names `device_id` as its owner.
fn put_owner(home: &Home, device_id: &str) {
    let state = json!({"roles": {device_id.split('-').next().unwrap(): "owner"}});
    home.put(&format!("{MESH}/mesh/states/home-mesh.json"), state.to_string().as_bytes(), 0o600);
}

/// A new home would have a new key, and the settings of a fresh one.
#[rstest]
#[case::damaged(|home: &Home| home.put(KEY, b"", 0o600), ".myownllm.old", "identity.gone")]
#[case::gone(|home: &Home| std::fs::remove_file(home.path(KEY)).unwrap(), ".myownllm.old", "identity.gone")]
#[case::gone_with_the_config(|home: &Home| {
    std::fs::remove_file(home.path(KEY)).unwrap();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
}, ".myownllm.old", "identity.gone")]
#[case::settings_alone(|home: &Home| std::fs::remove_dir_all(home.path(MESH)).unwrap(), ".myownllm.bak",
    "homes.renamed")]
#[case::settings_that_a_daemon_renamed(|home: &Home| {
    std::fs::remove_dir_all(home.path(MESH)).unwrap();
    std::fs::rename(home.path(CONFIG), home.path(&format!("{CONFIG}.corrupt"))).unwrap();
}, ".myownllm.bak", "homes.renamed")]
#[case::daemon_home_renamed_too(|home: &Home| {
    std::fs::rename(home.path(MESH), home.path(&format!("{APP}/.myownmesh.bak"))).unwrap();
}, ".local/share/Trash/files/.myownllm", "identity.gone")]
fn renamed_home_without_a_sound_key_is_not_overlooked(
    #[case] spoil: fn(&Home),
    #[case] renamed: &str,
    #[case] code: &str,
    #[values(false, true)] is_fresh_home_there: bool,
) {
    let home = Home::settled();
    spoil(&home);
    let renamed = home.path(renamed);
    std::fs::create_dir_all(renamed.parent().unwrap()).unwrap();
    std::fs::rename(home.path(APP), &renamed).unwrap();
    if is_fresh_home_there && code == "identity.gone" {
        home.put(CONFIG, b"{}", 0o600);
    }
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(4).json();
    assert!(diagnostic(&said, code).is_some(), "{said:#}");
    let changes = [&["config", "set", "active_family=other"][..], &["network", "add", "other"], &["repair"]];
    for change in changes.iter().filter(|_| !home.path(APP).exists()) {
        home.run(change).ends_with(7);
        assert!(!home.path(APP).exists(), "{change:?}");
    }
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    let reported = diagnostic(&said, code).unwrap_or_else(|| panic!("{said:#}"));
    let hint = reported["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    assert!(!renamed.exists() && home.has(APP) || home.has(KEY), "{hint}");
}

#[rstest]
#[case::backup("config.json.bak")]
#[case::letter_case("Config.json")]
#[case::sync_conflict("config (1).json")]
fn config_of_the_daemon_under_another_name_is_named(#[case] name: &str) {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let [right, renamed] = ["config.json", name].map(|name| home.path(&format!("{MESH}/{name}")));
    let is_told = |args: &[&str]| {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        diagnostic(&said, "state.misnamed").map(|reported| reported["hint"].as_str().unwrap().to_owned())
    };
    assert_eq!(is_told(&["doctor"]), None);
    std::fs::rename(&right, &renamed).unwrap();
    let hint = is_told(&["doctor"]).expect("told");
    run(Command::new("sh").args(["-c", &hint])).ends_with(0);
    assert!(right.exists() && !renamed.exists());
    let settings = json!({"version": 3, "daemon": {"log_level": "debug"}, "networks": []});
    std::fs::remove_file(&right).unwrap();
    home.put(&format!("{MESH}/{name}"), settings.to_string().as_bytes(), 0o600);
    // The daemon that the launch started has written a config of its own.
    let hint = is_told(&["launch", "--once"]).expect("told");
    assert!(right.exists());
    follow(&hint.into());
    assert_eq!(home.json(&format!("{MESH}/config.json")), settings);
    assert_eq!(is_told(&["launch", "--once"]), None);
}

/// A launch writes the Device ID of the key in use into the run log. That does not make it the one
/// that the peers know.
#[test]
fn own_key_beside_another_one_is_named_before_and_after_a_launch() {
    let home = Home::settled();
    let own = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    let own = own.as_str().unwrap();
    put_owner(&home, own);
    std::fs::rename(home.path(KEY), home.path(&format!("{KEY}.bak"))).unwrap();
    home.put(KEY, &fixture_of_038(".myownllm/.secrets/identity.json"), 0o600);
    for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"], &["doctor", "--json"]] {
        let said = run(&mut home.with_daemon(args)).ends_with(0).json();
        let reported =
            diagnostic(&said, "identity.other-known").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(reported["message"].as_str().unwrap().contains(own), "{said:#}");
    }
}

#[test]
fn key_in_the_place_of_the_one_that_the_run_log_shows_is_named() {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let former = run(&mut home.with_daemon(&["identity", "--json"])).json();
    let former = former["data"]["device_id"].as_str().unwrap().to_owned();
    let kept = home.bytes(KEY);
    std::fs::remove_file(home.path(KEY)).unwrap();
    // A daemon that another program starts makes another key.
    let mesh = home.path(MESH);
    let other = tempfile::tempdir_in("/tmp").unwrap();
    let mut daemon = Command::new(stand_in());
    let mut daemon = daemon.arg("serve").env("MYOWNMESH_HOME", other.path()).spawn().unwrap();
    let made = other.path().join(".secrets/identity.json");
    while std::fs::metadata(&made).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    std::fs::copy(&made, mesh.join(".secrets/identity.json")).unwrap();
    set_mode(&mesh.join(".secrets/identity.json"), 0o600);
    for args in [&["doctor"][..], &["identity"], &["launch", "--once"]] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        let reported = diagnostic(&said, "identity.replaced").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(reported["message"].as_str().unwrap().contains(&former), "{said:#}");
        let hint = reported["hint"].as_str().unwrap();
        assert!(hint.contains("cp -pn /path/to/backup/identity.json"), "{hint}");
    }
    // The backup of the former key ends the matter.
    home.put(KEY, &kept, 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "identity.replaced").is_none(), "{said:#}");
}

/// Whoever has the key in use may have taken the place of the one that the log shows.
#[rstest]
#[case::no_permission(|log: &Path| set_mode(log, 0o200), "chmod u+rw ")]
#[case::directory(|log: &Path| {
    std::fs::remove_file(log).unwrap();
    std::fs::create_dir(log).unwrap();
}, "mv -n ")]
fn run_log_that_cannot_be_read_is_reported(#[case] spoil: fn(&Path), #[case] hint: &str) {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    spoil(&home.path(&format!("{APP}/myownllm-mesh.log")));
    for args in [&["doctor"][..], &["identity"], &["launch", "--once"], &["logs"]] {
        let said = user.run(&home, &[args, &["--json"]].concat()).ends_with(0).json();
        let reported = diagnostic(&said, "log.unreadable").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(reported["hint"].as_str().unwrap().contains(hint), "{said:#}");
    }
    let logs = user.run(&home, &["logs"]).ends_with(0);
    assert!(!logs.all().contains("changed nothing"), "{logs:?}");
}

/// Needs root, which alone can make files for another user.
#[test]
fn report_in_the_home_of_another_user_belongs_to_that_user() {
    use std::os::unix::fs::MetadataExt as _;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: needs root");
        return;
    }
    let home = Home::legacy();
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(2001), Some(2001)).unwrap();
    home.snapshot().keys().for_each(|path| own(&home.path("").join(path)));
    let elsewhere = tempfile::tempdir_in("/tmp").unwrap();
    for (file, owner) in [(home.path("report.txt"), 2001), (elsewhere.path().join("report.txt"), 0)] {
        home.run(&["report", "--output", file.to_str().unwrap()]).ends_with(0);
        assert_eq!(std::fs::metadata(&file).unwrap().uid(), owner, "{}", file.display());
    }
}
