//! Daemons that run: the keys that only they have, and the hints that end or keep them.

use std::ffi::OsStr;
use std::process::Command;

use super::{KEY, ROSTER, put_owner};
use integration_tests::testkit::{
    APP, Home, MESH, Signal, diagnostic, fixture_of_038, follow, is_alive, run, send_signal, set_mode,
    stand_in,
};
use rstest::rstest;
use serde_json::{Value, json};

/// A daemon that a launch left running; ended when the test is over.
pub(super) struct Detached(u32);

impl Detached {
    pub(super) fn start(home: &Home, program: impl AsRef<OsStr>) -> Self {
        let mut launch = home.command(&["launch", "--detach", "--json"]);
        Self::of(&run(launch.env("MYOWNMESH_BIN", program)).ends_with(0).json())
    }

    /// Returns the daemon of a launch that has reported this.
    pub(super) fn of(said: &Value) -> Self {
        Self(said["data"]["daemon"]["pid"].as_u64().unwrap().try_into().unwrap())
    }

    pub(super) fn is_running(&self) -> bool {
        is_alive(self.0)
    }
}

impl Drop for Detached {
    fn drop(&mut self) {
        send_signal(self.0, Signal::KILL);
    }
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
    for command in [&["launch", "--once"][..], &["daemon", "restart"], &["daemon", "stop"]] {
        let said = run(&mut home.with_daemon(&[command, &["--json"]].concat())).ends_with(7).json();
        let reported = diagnostic(&said, "identity.held").unwrap_or_else(|| panic!("{said:#}"));
        assert!(reported["message"].as_str().unwrap().contains(&format!("process {}", daemon.0)), "{said:#}");
        assert!(!said.to_string().contains("daemon stop"), "{said:#}");
        assert!(daemon.is_running() && !home.has(APP), "{command:?}");
    }
}

#[test]
fn daemon_at_a_former_socket_is_reported_where_it_listens() {
    let home = Home::settled();
    let socket = home.path("d.sock");
    let config = json!({"version": 3, "daemon": {"control_socket": socket}});
    home.put(&format!("{MESH}/config.json"), config.to_string().as_bytes(), 0o600);
    let daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/config.json"), b"{\"version\": 3}", 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    let reported = diagnostic(&said, "daemon.without-socket").unwrap_or_else(|| panic!("{said:#}"));
    let message = reported["message"].as_str().unwrap();
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
fn missing_key_is_reported_before_its_daemon_and_no_hint_ends_that_daemon() {
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
        let reported = diagnostic(&said, "identity.held").unwrap_or_else(|| panic!("{args:?}: {said:#}"));
        assert!(reported["message"].as_str().unwrap().contains(own), "{args:?}: {said:#}");
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
    let reported = diagnostic(&said, "identity.held").unwrap();
    let hint = reported["hint"].as_str().unwrap();
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

/// An app keeps its daemon running: a launch does not say it again.
#[test]
fn roster_in_a_directory_under_another_name_is_named_while_a_daemon_runs() {
    let home = Home::settled();
    let peers = home.bytes(&format!("{MESH}/{ROSTER}"));
    std::fs::rename(home.path(&format!("{MESH}/mesh")), home.path(&format!("{MESH}/mesh.old"))).unwrap();
    let daemon = Detached::start(&home, stand_in());
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.misnamed").unwrap_or_else(|| panic!("{said:#}"));
    follow(&reported["hint"]);
    assert!(!daemon.is_running(), "{reported:#}");
    assert_eq!(home.bytes(&format!("{MESH}/{ROSTER}")), peers, "{reported:#}");
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
fn damaged_peers_beside_a_daemon_are_reported(#[case] file: &str, #[case] bytes: &[u8], #[case] hint: &str) {
    let home = Home::settled();
    let _daemon = Detached::start(&home, stand_in());
    home.put(&format!("{MESH}/mesh/{file}"), bytes, 0o600);
    let said = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = diagnostic(&said, "state.damaged").unwrap_or_else(|| panic!("{said:#}"));
    assert!(reported["path"].as_str().unwrap().ends_with(file), "{said:#}");
    assert!(reported["hint"].as_str().unwrap().contains(hint), "{said:#}");
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

/// `mkdir` is of no use where no directory can be made.
#[test]
fn socket_in_a_directory_that_nobody_can_make_leads_to_the_config() {
    let home = Home::settled();
    let config = json!({"version": 3, "daemon": {"control_socket": "/proc/mesh/d.sock"}});
    home.put(&format!("{MESH}/config.json"), config.to_string().as_bytes(), 0o600);
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7).json();
    let reported = diagnostic(&said, "paths.control-socket").unwrap_or_else(|| panic!("{said:#}"));
    let hint = reported["hint"].as_str().unwrap();
    assert!(hint.starts_with("sh -c '${EDITOR:-vi}") && hint.ends_with("config.json"), "{hint}");
}
