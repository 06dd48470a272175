//! Keys that only a running daemon has, and peers that no daemon sees.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    APP, Home, MESH, Signal, Unprivileged, fixture_of_038, follow, is_alive, run, send_signal, set_mode,
    stand_in,
};
use rstest::rstest;
use serde_json::{Value, json};

const ROSTER: &str = "mesh/rosters/home-mesh.json";
const KEY: &str = ".myownllm/.myownmesh/.secrets/identity.json";
const CONFIG: &str = ".myownllm/config.json";
const LOCK: &[u8] =
    br#"{"networks":{"home-mesh":{"secret_b32":"JBSW","recovery_hashes":["aa"],"created_at":1}}}"#;

/// A daemon that a launch left running; ended when the test is over.
struct Detached(u32);

impl Detached {
    fn start(home: &Home, program: impl AsRef<OsStr>) -> Self {
        let mut launch = home.command(&["launch", "--detach", "--json"]);
        let said = run(launch.env("MYOWNMESH_BIN", program)).ends_with(0).json();
        Self(said["data"]["daemon"]["pid"].as_u64().unwrap().try_into().unwrap())
    }

    fn is_running(&self) -> bool {
        is_alive(self.0)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        send_signal(self.0, Signal::KILL);
    }
}

fn diagnostic<'a>(said: &'a Value, code: &str) -> Option<&'a Value> {
    said["diagnostics"].as_array().unwrap().iter().find(|told| told["code"] == code)
}

/// The daemon's program may have any name, so its mark tells what it is.
#[rstest]
#[case::by_the_directory(|home: &Home| std::fs::remove_dir_all(home.path(APP)).unwrap())]
#[case::moved_away(|home: &Home| std::fs::rename(home.path(APP), home.path("elsewhere")).unwrap())]
fn daemon_of_a_home_that_is_gone_keeps_a_second_key_from_being_made(#[case] take_away: fn(&Home)) {
    let home = Home::settled();
    let program = home.path("meshd");
    std::fs::copy(stand_in(), &program).unwrap();
    let daemon = Detached::start(&home, &program);
    take_away(&home);
    let mut doctor = home.command(&["doctor", "--json"]);
    let said = run(doctor.env("MYOWNMESH_BIN", stand_in())).ends_with(4).json();
    assert!(diagnostic(&said, "identity.held").is_some(), "{said:#}");
    for command in [&["launch", "--once"][..], &["daemon", "restart"]] {
        let said = run(&mut home.with_daemon(&[command, &["--json"]].concat())).ends_with(7).json();
        let told = diagnostic(&said, "identity.held").unwrap_or_else(|| panic!("{said:#}"));
        assert!(told["message"].as_str().unwrap().contains(&format!("process {}", daemon.0)), "{said:#}");
        assert!(!said.to_string().contains("daemon stop"), "{said:#}");
        assert!(daemon.is_running() && !home.has(APP), "{command:?}");
    }
}

#[test]
fn daemon_at_a_former_socket_is_told_where_it_listens() {
    let home = Home::settled();
    let socket = home.path("d.sock");
    let config = json!({"version": 3, "daemon": {"control_socket": socket}});
    home.put(&format!("{MESH}/config.json"), config.to_string().as_bytes(), 0o600);
    let daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/config.json"), b"{\"version\": 3}", 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    let told = diagnostic(&said, "daemon.without-socket").unwrap_or_else(|| panic!("{said:#}"));
    let message = told["message"].as_str().unwrap();
    assert!(message.contains(&format!("it listens at {}", socket.display())), "{message}");
    run(&mut home.with_daemon(&["daemon", "stop"])).ends_with(0);
    assert!(!daemon.is_running());
}

#[rstest]
#[case::no_program(|_: &Home, restart: &mut Command| { restart.env("MYOWNMESH_BIN", "/nonexistent"); }, 5)]
#[case::open_peers(|home: &Home, _: &mut Command| set_mode(&home.path(&format!("{MESH}/mesh")), 0o777), 7)]
#[case::no_socket_path(|home: &Home, _: &mut Command| {
    let config = json!({"version": 3, "daemon": {"control_socket": "rel/x"}});
    home.put(&format!("{MESH}/config.json"), config.to_string().as_bytes(), 0o600);
}, 7)]
#[case::key_gone(|home: &Home, _: &mut Command| std::fs::remove_file(home.path(KEY)).unwrap(), 7)]
fn restart_ends_no_daemon_that_it_cannot_replace(#[case] harm: fn(&Home, &mut Command), #[case] exit: i32) {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    let mut restart = home.with_daemon(&["daemon", "restart"]);
    restart.env("PATH", "/usr/bin:/bin");
    harm(&home, &mut restart);
    let ran = run(&mut restart).ends_with(exit);
    assert!(daemon.is_running(), "{ran:?}");
    assert!(ran.all().contains(&daemon.0.to_string()), "{ran:?}");
}

#[test]
fn restart_replaces_a_daemon() {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    let said = run(&mut home.with_daemon(&["daemon", "restart", "--json"])).ends_with(0).json();
    let pid = said["data"]["daemon"]["pid"].as_u64().unwrap();
    let second = Detached(pid.try_into().unwrap());
    assert!(!daemon.is_running() && second.is_running(), "{said:#}");
}

#[test]
fn missing_key_is_told_before_its_daemon_and_no_hint_ends_that_daemon() {
    let home = Home::settled();
    let daemon = Detached::start(&home, stand_in());
    std::fs::remove_file(home.path(KEY)).unwrap();
    for (args, exit) in [(&["launch", "--once"][..], 7), (&["doctor"], 4), (&["status"], 0)] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(exit).json();
        for code in ["identity.gone", "identity.held"] {
            assert!(diagnostic(&said, code).is_some(), "{args:?}: no {code}: {said:#}");
        }
        assert!(diagnostic(&said, "daemon.own-running").is_none(), "{args:?}: {said:#}");
        let text = said.to_string();
        assert!(!text.contains("daemon stop") && !text.contains("daemon restart"), "{args:?}: {said:#}");
    }
    assert!(daemon.is_running());
}

/// The state of the active network names `device_id` as its owner.
fn put_owner(home: &Home, device_id: &str) {
    let state = json!({"roles": {device_id.split('-').next().unwrap(): "owner"}});
    home.put(&format!("{MESH}/mesh/states/home-mesh.json"), state.to_string().as_bytes(), 0o600);
}

#[rstest]
#[case::state_names_it(true)]
#[case::run_log_shows_it(false)]
fn no_hint_ends_the_daemon_that_is_the_device_of_this_home(#[case] is_named: bool) {
    let home = Home::settled();
    let own = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    let own = own.as_str().unwrap();
    if is_named {
        put_owner(&home, own);
    } else {
        std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).unwrap();
    }
    let daemon = Detached::start(&home, stand_in());
    if is_named {
        std::fs::remove_file(home.path(&format!("{APP}/myownllm-mesh.log"))).unwrap();
    }
    let backup = home.path("identity.json");
    std::fs::copy(home.path(KEY), &backup).unwrap();
    home.put(KEY, &fixture_of_038(".myownllm/.secrets/identity.json"), 0o600);
    for (args, exit) in
        [(&["launch", "--once"][..], 7), (&["doctor"], 4), (&["status"], 0), (&["daemon", "restart"], 7)]
    {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(exit).json();
        let told = diagnostic(&said, "identity.held").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(told["message"].as_str().unwrap().contains(own), "{args:?}: {said:#}");
        let text = said.to_string();
        assert!(!text.contains("daemon stop") && !text.contains("daemon restart"), "{args:?}: {said:#}");
        assert!(daemon.is_running(), "{args:?}");
    }
    // A launch uses the shared daemon, and that is no reason to be silent.
    let shared = home.daemon(".myownmesh").start().unwrap();
    let said = home.run(&["doctor", "--json"]).ends_with(0).json();
    assert!(diagnostic(&said, "identity.held").is_some(), "{said:#}");
    drop(shared);
    let said = home.run(&["doctor", "--json"]).ends_with(4).json();
    let hint = diagnostic(&said, "identity.held").unwrap()["hint"].as_str().unwrap();
    let hint = hint.replace("/path/to/backup/identity.json", backup.to_str().unwrap());
    run(Command::new("sh").args(["-c", &hint])).ends_with(0);
    let said = home.run(&["doctor", "--json"]).ends_with(0).json();
    assert!(!said.to_string().contains("identity.other-known"), "{said:#}");
    home.run(&["daemon", "stop"]).ends_with(0);
}

#[test]
fn restart_ends_a_daemon_with_another_key_than_the_peers_know() {
    let home = Home::settled();
    let own = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].clone();
    let kept = home.bytes(KEY);
    home.put(KEY, &fixture_of_038(".myownllm/.secrets/identity.json"), 0o600);
    put_owner(&home, own.as_str().unwrap());
    let daemon = Detached::start(&home, stand_in());
    home.put(KEY, &kept, 0o600);
    let said = run(&mut home.with_daemon(&["daemon", "restart", "--json"])).ends_with(0).json();
    assert!(!daemon.is_running(), "{said:#}");
    home.run(&["daemon", "stop"]).ends_with(0);
}

#[rstest]
#[case::before_the_move(Home::legacy(), APP, None)]
#[case::after_the_move(Home::settled(), MESH, None)]
#[case::beside_an_empty_one(
    Home::settled(),
    MESH,
    Some(r#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#)
)]
fn roster_that_a_daemon_has_put_aside_comes_back(
    #[case] home: Home,
    #[case] of: &str,
    #[case] in_place: Option<&str>,
) {
    let roster = format!("{of}/{ROSTER}");
    let peers = home.bytes(&roster);
    let corrupt = [b"\xef\xbb\xbf", &peers[..]].concat();
    std::fs::remove_file(home.path(&roster)).unwrap();
    home.put(&format!("{roster}.corrupt"), &corrupt, 0o600);
    in_place.inspect(|empty| home.put(&roster, empty.as_bytes(), 0o600));
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).json();
    assert!(diagnostic(&said, "state.damaged").is_some(), "{said:#}");
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.set-aside").is_some(), "{said:#}");
    let there: Value = serde_json::from_slice(&peers).unwrap();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
    home.still_has(&corrupt, "the file that the daemon put aside");
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.damaged").is_none(), "{said:#}");
}

#[test]
fn devices_of_a_roster_that_a_daemon_has_put_aside_are_named_beside_another_roster() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let mut peers = home.json(&roster);
    let mut lost = peers["authorized_devices"][0].clone();
    lost["device_id"] = json!("lostdevice");
    peers["authorized_devices"].as_array_mut().unwrap().push(lost);
    let before = home.bytes(&roster);
    let corrupt = format!("\u{feff}{peers}");
    home.put(&format!("{roster}.corrupt"), corrupt.as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.set-aside").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["message"].as_str().unwrap().contains("lostdevice"), "{said:#}");
    assert_eq!(home.bytes(&roster), before);
    home.still_has(corrupt.as_bytes(), "the file that the daemon put aside");
}

/// A repair takes the steps that `status` names, also about a file whose devices are all in place.
#[test]
fn repair_keeps_a_file_that_a_daemon_has_put_aside_as_status_says() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let before = home.bytes(&roster);
    let corrupt = [b"\xef\xbb\xbf", &before[..]].concat();
    home.put(&format!("{roster}.corrupt"), &corrupt, 0o600);
    let is_named =
        || run(&mut home.with_daemon(&["status", "--json"])).ends_with(0).all().contains("keep-corrupt-file");
    assert!(is_named());
    run(&mut home.with_daemon(&["repair"])).ends_with(0);
    assert!(!is_named());
    assert_eq!(home.bytes(&roster), before);
    home.still_has(&corrupt, "the file that the daemon put aside");
}

#[rstest]
#[case::letter_case("HOME-MESH.json")]
#[case::sync_conflict("home-mesh (1).json")]
#[case::backup("home-mesh.json.bak")]
fn roster_of_the_active_network_under_another_name_is_named(
    #[case] name: &str,
    #[values(APP, MESH)] of: &str,
) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let roster = home.path(&format!("{of}/{ROSTER}"));
    let peers = home.bytes(&format!("{of}/{ROSTER}"));
    std::fs::rename(&roster, roster.with_file_name(name)).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{of}: {said:#}"));
    let hint = told["hint"].as_str().unwrap().to_owned();
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.misnamed").is_some(), "{of}: {said:#}");
    if of == MESH {
        run(Command::new("sh").args(["-c", &hint])).ends_with(0);
        run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
        let there: Value = serde_json::from_slice(&peers).unwrap();
        assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
    }
}

#[rstest]
#[case::both("mesh", "mesh.bak", "mesh.bak/rosters/home-mesh.json")]
#[case::letter_case("mesh", "Mesh", "Mesh/rosters/home-mesh.json")]
#[case::copy("mesh/rosters", "mesh/rosters (1)", "mesh/rosters (1)/home-mesh.json")]
#[case::backup_of_the_daemon_home(
    "mesh",
    "../.myownmesh.bak/mesh",
    ".myownmesh.bak/mesh/rosters/home-mesh.json"
)]
#[case::both_in_the_trash(
    "mesh",
    "../../.local/share/Trash/files/mesh",
    "Trash/files/mesh/rosters/home-mesh.json"
)]
#[case::directory_in_the_trash("mesh/rosters", "../../.Trash/rosters", ".Trash/rosters/home-mesh.json")]
#[case::roster_in_the_trash(ROSTER, "../../.Trash/home-mesh.json", ".Trash/home-mesh.json")]
#[case::both_copied_into_themselves("mesh", "mesh/mesh", "mesh/mesh/rosters/home-mesh.json")]
#[case::directory_copied_into_itself(
    "mesh/rosters",
    "mesh/rosters/rosters",
    "rosters/rosters/home-mesh.json"
)]
#[case::roster_one_level_up(ROSTER, "mesh/home-mesh.json", "mesh/home-mesh.json")]
fn roster_in_a_directory_under_another_name_is_named(
    #[case] dir: &str,
    #[case] renamed: &str,
    #[case] now: &str,
) {
    let home = Home::settled();
    let peers = home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"].clone();
    let renamed = home.path(MESH).join(renamed);
    std::fs::rename(home.path(&format!("{MESH}/{dir}")), home.path("renamed")).unwrap();
    std::fs::create_dir_all(renamed.parent().unwrap()).unwrap();
    std::fs::rename(home.path("renamed"), renamed).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["message"].as_str().unwrap().contains(now), "{said:#}");
    let hint = told["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers, "{said:#}");
}

/// A copy with another key is another device's.
#[rstest]
fn roster_in_a_copy_of_the_home_is_named(#[values(true, false)] is_of_this_device: bool) {
    let home = Home::settled();
    let peers = home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"].clone();
    let copy = format!("{APP}.bak");
    run(Command::new("cp").arg("-a").args([home.path(APP), home.path(&copy)])).ends_with(0);
    std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).unwrap();
    if !is_of_this_device {
        home.put(&KEY.replace(APP, &copy), b"{}", 0o600);
    }
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed");
    assert_eq!(told.is_some(), is_of_this_device, "{said:#}");
    let Some(told) = told else { return };
    run(Command::new("sh").args(["-c", told["hint"].as_str().unwrap()])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers);
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
    let told = diagnostic(&said, code).unwrap_or_else(|| panic!("{said:#}"));
    let hint = told["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    assert!(!renamed.exists() && home.has(APP) || home.has(KEY), "{hint}");
}

/// An app keeps its daemon running: a launch does not say it again.
#[test]
fn roster_in_a_directory_under_another_name_is_named_while_a_daemon_runs() {
    let home = Home::settled();
    std::fs::rename(home.path(&format!("{MESH}/mesh")), home.path(&format!("{MESH}/mesh.old"))).unwrap();
    let _daemon = Detached::start(&home, stand_in());
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["message"].as_str().unwrap().ends_with("after `daemon restart`"), "{told:#}");
}

/// The daemon that runs may have the only copy of a file that was damaged since, so no hint ends
/// it.
#[rstest]
#[case::roster("rosters/home-mesh.json", b"", "cp -pn /path/to/backup/home-mesh.json ")]
#[case::state("states/home-mesh.json", br#"{"version":2,"#, "cp -pn /path/to/backup/home-mesh.json ")]
#[case::put_aside(
    "rosters/office-mesh.json.corrupt",
    b"\xef\xbb\xbf{\"version\":1,\"network_id\":\"office-mesh\",\"authorized_devices\":\
      [{\"device_id\":\"b\",\"label\":\"laptop\",\"approved_at\":1}]}",
    "daemon restart"
)]
fn damaged_peers_beside_a_daemon_are_told(#[case] file: &str, #[case] bytes: &[u8], #[case] hint: &str) {
    let home = Home::settled();
    let _daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/mesh/{file}"), bytes, 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.damaged").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["path"].as_str().unwrap().ends_with(file), "{said:#}");
    assert!(told["hint"].as_str().unwrap().contains(hint), "{said:#}");
}

/// The shared daemon has files of its own. The app's daemon reads these once it runs alone.
#[rstest]
#[case::damaged(|home: &Home| home.put(&format!("{MESH}/{ROSTER}"), b"", 0o600), "state.damaged")]
#[case::misnamed(|home: &Home| {
    std::fs::rename(home.path(&format!("{MESH}/mesh")), home.path(&format!("{MESH}/mesh.old"))).unwrap();
}, "state.misnamed")]
#[case::no_directory(|home: &Home| {
    std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).unwrap();
    home.put(&format!("{MESH}/mesh"), b"", 0o600);
}, "")]
#[case::control_socket(|home: &Home| {
    home.put(&format!("{MESH}/config.json"), br#"{"version":3,"daemon":{"control_socket":"rel"}}"#, 0o600);
}, "paths.control-socket")]
fn files_that_the_own_daemon_will_read_are_judged_beside_the_shared_one(
    #[case] spoil: fn(&Home),
    #[case] code: &str,
) {
    let home = Home::settled();
    let _shared = home.daemon(".myownmesh").start().unwrap();
    spoil(&home);
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0);
    let said = doctor.json();
    match code {
        "" => assert!(said["diagnostics"].to_string().contains(&format!("{MESH}/mesh")), "{said:#}"),
        code => assert!(diagnostic(&said, code).is_some(), "{said:#}"),
    }
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
}

/// A move refuses beside the daemon.
#[rstest]
#[case::collision(|home: &Home| home.put(&format!("{APP}/{ROSTER}"), b"{}", 0o600), "migration.collision")]
#[case::leftover(|home: &Home| {
    home.put(&format!("{MESH}/.secrets/.durable-fs.77-1.part"), &home.bytes(KEY), 0o600);
}, "migration.pending")]
fn hint_that_moves_ends_the_daemon_first(#[case] leave: fn(&Home), #[case] code: &str) {
    let home = Home::settled();
    let _daemon = Detached::start(&home, stand_in());
    leave(&home);
    let said = || run(&mut home.with_daemon(&["doctor", "--json"])).json();
    let first = said();
    let hint = diagnostic(&first, code).unwrap_or_else(|| panic!("{first:#}"))["hint"].clone();
    follow(&hint);
    assert!(diagnostic(&said(), code).is_none(), "{hint}: {:#}", said());
}

/// The move leaves it, and the daemon starts without the devices in it.
#[rstest]
#[case::byte_order_mark("roster.json", |text: String| format!("\u{feff}{text}"))]
#[case::comma("roster.json", |text: String| text.replacen('[', "[,", 1))]
#[case::copy("roster (1).json", |text| text)]
fn roster_of_the_time_before_networks_that_stays_is_named(
    #[case] name: &str,
    #[case] shape: fn(String) -> String,
) {
    let home = Home::legacy();
    let text = String::from_utf8(home.bytes(&format!("{APP}/{ROSTER}"))).unwrap();
    std::fs::remove_dir_all(home.path(&format!("{APP}/mesh/rosters"))).unwrap();
    home.put(&format!("{APP}/mesh/{name}"), shape(text.clone()).as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["message"].as_str().unwrap().contains(name), "{said:#}");
    assert!(diagnostic(&said, "migration.left").is_none(), "{said:#}");
    let hint = told["hint"].as_str().unwrap();
    run(Command::new("sh").args(["-c", hint])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let there: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], there["authorized_devices"]);
}

#[test]
fn sound_roster_of_the_time_before_networks_is_not_named() {
    let home = Home::legacy();
    let [rosters, single] = ["mesh/rosters", "mesh/roster.json"].map(|path| format!("{APP}/{path}"));
    home.put(&single, &home.bytes(&format!("{APP}/{ROSTER}")), 0o600);
    std::fs::remove_dir_all(home.path(&rosters)).unwrap();
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.misnamed").is_none(), "{said:#}");
}

/// A daemon that was started too early has written the roster in its place.
#[rstest]
fn sound_roster_of_the_time_before_networks_is_named_beside_an_empty_one(#[values(APP, MESH)] of: &str) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let roster = format!("{of}/{ROSTER}");
    let peers = home.json(&roster)["authorized_devices"].clone();
    home.put(&format!("{APP}/mesh/roster.json"), &home.bytes(&roster), 0o600);
    home.put(&roster, br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#, 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(diagnostic(&said, "migration.left").is_none(), "{said:#}");
    run(Command::new("sh").args(["-c", told["hint"].as_str().unwrap()])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.json(&format!("{MESH}/{ROSTER}"))["authorized_devices"], peers);
}

/// A daemon reads nothing of such a file, and writes over it.
#[rstest]
#[case::roster(MESH, "mesh/rosters")]
#[case::state(MESH, "mesh/states")]
#[case::roster_that_moves(APP, "mesh/rosters")]
fn file_with_another_spelling_of_its_network_is_mended(#[case] of: &str, #[case] dir: &str) {
    let home = if of == MESH { Home::settled() } else { Home::legacy() };
    let file = format!("{of}/{dir}/home-mesh.json");
    let before = home.bytes(&file);
    let text = String::from_utf8(before).unwrap().replace("\"home-mesh\"", "\" Home-Mesh\"");
    home.put(&file, text.as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(diagnostic(&said, "state.set-aside").is_some(), "{said:#}");
    assert_eq!(home.json(&format!("{MESH}/{dir}/home-mesh.json"))["network_id"], "home-mesh");
    home.still_has(text.as_bytes(), "the file as it was");
}

#[test]
fn roster_of_another_network_in_the_place_of_the_active_one_is_named() {
    let home = Home::settled();
    home.put(
        &format!("{MESH}/{ROSTER}"),
        &home.bytes(&format!("{MESH}/mesh/rosters/office-mesh.json")),
        0o600,
    );
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    assert!(told["message"].as_str().unwrap().contains("another network"), "{said:#}");
}

#[rstest]
#[case::letter_case("CUSTODY.JSON")]
#[case::sync_conflict("custody (1).json")]
#[case::backup("custody.json.bak")]
#[case::directory("../.secrets.bak/custody.json")]
#[case::directory_at_the_old_location("../../.secrets.bak/custody.json")]
#[case::backup_of_the_daemon_home("../../.myownmesh.bak/.secrets/custody.json")]
#[case::temporary_file(".durable-fs.123-10.part")]
fn lock_of_the_second_factor_under_another_name_is_named(#[case] name: &str) {
    let home = Home::settled();
    home.put(&format!("{MESH}/.secrets/{name}"), LOCK, 0o600);
    for args in [&["doctor"][..], &["launch", "--once"]] {
        let said = run(&mut home.with_daemon(&[args, &["--json"]].concat())).ends_with(0).json();
        let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(told["message"].as_str().unwrap().contains(name.trim_start_matches("../")), "{said:#}");
    }
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
        diagnostic(&said, "state.misnamed").map(|told| told["hint"].as_str().unwrap().to_owned())
    };
    assert_eq!(is_told(&["doctor"]), None);
    std::fs::rename(&right, &renamed).unwrap();
    let hint = is_told(&["doctor"]).expect("told");
    run(Command::new("sh").args(["-c", &hint])).ends_with(0);
    assert!(right.exists() && !renamed.exists());
    std::fs::rename(&right, &renamed).unwrap();
    assert_eq!(is_told(&["launch", "--once"]), Some(hint));
}

/// A power cut can leave nothing else of a file.
#[test]
fn lock_of_the_second_factor_in_a_temporary_file_is_named() {
    for (home, dir) in [(Home::legacy(), APP), (Home::settled(), MESH)] {
        let lock =
            br#"{"networks":{"home-mesh":{"secret_b32":"JBSWY3DP","recovery_hashes":[],"created_at":1}}}"#;
        home.put(&format!("{dir}/.secrets/.durable-fs.123-10.part"), lock, 0o600);
        for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
            let said = run(&mut home.with_daemon(args)).ends_with(0).json();
            let told = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
            assert!(told["hint"].as_str().unwrap().ends_with("custody.json"), "{said:#}");
        }
    }
}

#[rstest]
#[case::empty(b"")]
#[case::with_a_byte_order_mark(b"\xef\xbb\xbf{\"networks\":{}}")]
#[case::torn(br#"{"networks":{"home-mesh":{"secret_b32":"JBSW"#)]
#[case::zero_bytes(&[0; 120])]
#[case::odd_entry(
    br#"{"networks":{"home-mesh":{"secret_b32":"JBSW","recovery_hashes":[],"created_at":"1"}}}"#
)]
#[case::capitals(br#"{"networks":{"Home-Mesh":{"secret_b32":"JBSW","recovery_hashes":[],"created_at":1}}}"#)]
#[case::array(br#"{"networks":[1]}"#)]
fn damaged_lock_of_the_second_factor_is_named(#[case] bytes: &[u8]) {
    let (old, moved) = (Home::legacy(), Home::settled());
    for (home, place) in [(&old, format!("{APP}/.secrets")), (&moved, format!("{MESH}/.secrets"))] {
        home.put(&format!("{place}/custody.json"), bytes, 0o600);
        let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        let launch = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
        for said in [doctor, launch] {
            let told = diagnostic(&said, "state.damaged").unwrap_or_else(|| panic!("{place}: {said:#}"));
            assert!(told["message"].as_str().unwrap().contains("custody.json"), "{said:#}");
        }
        let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        let hint = diagnostic(&said, "state.damaged").unwrap()["hint"].as_str().unwrap().to_owned();
        assert!(Command::new("sh").args(["-c", &hint]).status().unwrap().success(), "{hint}");
        let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
        assert!(diagnostic(&said, "state.damaged").is_none(), "{said:#}");
        home.still_has(bytes, "custody.json");
    }
}

#[test]
fn broken_symlink_or_an_empty_file_in_the_locks_place_is_named() {
    for (make, code) in [
        ((|home, at| symlink("/nowhere/lock", home.path(at)).unwrap()) as fn(&Home, &str), "state.damaged"),
        (
            |home, at| {
                home.put(at, br#"{"networks":{}}"#, 0o600);
                home.put(&format!("{at}.bak"), LOCK, 0o600);
            },
            "state.misnamed",
        ),
    ] {
        let home = Home::settled();
        make(&home, &format!("{MESH}/.secrets/custody.json"));
        for args in [&["doctor", "--json"][..], &["launch", "--once", "--json"]] {
            let said = run(&mut home.with_daemon(args)).ends_with(0).json();
            let told = diagnostic(&said, code).unwrap_or_else(|| panic!("{said:#}"));
            assert!(told["message"].as_str().unwrap().contains("custody.json"), "{said:#}");
        }
    }
}

/// The target of a broken symlink may exist on a disk that is missing.
#[rstest]
#[case::roster("rosters", "/nowhere/home-mesh.json", "it is a broken symlink")]
#[case::state("states", "/nowhere/home-mesh.json", "it is a broken symlink")]
#[case::in_a_loop("rosters", "home-mesh.json", "it is a symlink loop")]
fn no_daemon_starts_on_a_roster_or_a_state_behind_a_broken_symlink(
    #[case] dir: &str,
    #[case] target: &str,
    #[case] is: &str,
) {
    let home = Home::settled();
    let file = home.path(&format!("{MESH}/mesh/{dir}/home-mesh.json"));
    std::fs::remove_file(&file).unwrap();
    symlink(target, &file).unwrap();
    for (args, code) in [(&["doctor", "--json"][..], 4), (&["launch", "--once", "--json"], 1)] {
        let said = run(&mut home.with_daemon(args)).ends_with(code).json();
        let found = diagnostic(&said, "state.unreadable").unwrap_or_else(|| panic!("{said:#}"));
        assert!(found["message"].as_str().unwrap().ends_with(is), "{said:#}");
    }
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
        let told = diagnostic(&said, "identity.other-known").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(told["message"].as_str().unwrap().contains(own), "{said:#}");
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
        let told = diagnostic(&said, "identity.replaced").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(told["message"].as_str().unwrap().contains(&former), "{said:#}");
        let hint = told["hint"].as_str().unwrap();
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
fn run_log_that_cannot_be_read_is_told(#[case] spoil: fn(&Path), #[case] hint: &str) {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    spoil(&home.path(&format!("{APP}/myownllm-mesh.log")));
    for args in [&["doctor"][..], &["identity"], &["launch", "--once"], &["logs"]] {
        let said = user.run(&home, &[args, &["--json"]].concat()).ends_with(0).json();
        let told = diagnostic(&said, "log.unreadable").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(told["hint"].as_str().unwrap().contains(hint), "{said:#}");
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

/// `mkdir` is of no use where no directory can be made.
#[test]
fn socket_in_a_directory_that_nobody_can_make_leads_to_the_config() {
    let home = Home::settled();
    let config = json!({"version": 3, "daemon": {"control_socket": "/proc/mesh/d.sock"}});
    home.put(&format!("{MESH}/config.json"), config.to_string().as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    let told = diagnostic(&said, "paths.control-socket").unwrap_or_else(|| panic!("{said:#}"));
    let hint = told["hint"].as_str().unwrap();
    assert!(hint.starts_with("sh -c '${EDITOR:-vi}") && hint.ends_with("config.json"), "{hint}");
}

/// A first screen and a check by a script say that something is pending, as the plan does.
#[test]
fn roster_that_a_launch_mends_is_pending() {
    let home = Home::settled();
    let roster = format!("{MESH}/{ROSTER}");
    let text = String::from_utf8(home.bytes(&roster)).unwrap();
    home.put(&roster, text.replacen(',', "", 1).as_bytes(), 0o600);
    let first = home.run(&[]).ends_with(3).stdout;
    assert!(first.contains(" repair  puts right"), "{first}");
    home.run(&["status", "--check"]).ends_with(3);
    home.run(&["repair"]).ends_with(0);
    assert_eq!(
        serde_json::from_slice::<Value>(&home.bytes(&roster)).unwrap(),
        serde_json::from_str::<Value>(&text).unwrap()
    );
    home.run(&["status", "--check"]).ends_with(0);
}
