//! A launch starts no daemon where the daemon would do harm or could not be found.

#![cfg(target_os = "linux")]

use std::{
    os::unix::fs::PermissionsExt as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use integration_tests::standin::Version;
use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, SHARED, ask, can_trace, fixture_of_038, follow,
    hold_lock, path_with_program, run, set_mode, wrapped,
};
use rstest::rstest;
use serde_json::{Value, json};

#[rstest]
fn a_silent_daemon_is_busy_and_nothing_is_started_beside_it(#[values(MESH, SHARED)] dir: &str) {
    let home = Home::settled();
    let silent = home.daemon(dir).mode("silent").start().unwrap();
    let ran = home.launch_once_json().ends_with(5);
    let said = ran.json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.busy", "{said}");
    assert!(said["diagnostics"][0]["message"].to_string().contains(&silent.pid().to_string()), "{said}");
    assert_eq!(said["data"]["daemon"]["state"], "none");
    assert!(said["data"]["config"]["networks"].is_array(), "the config is there all the same");
    assert_eq!(home.serving(), [silent.pid()]);
    // The error alone says why.
    let ran = home.launch_once().ends_with(5);
    let line = ran.stdout.lines().find(|line| line.starts_with("daemon ")).unwrap();
    assert!(line.ends_with("none was started (see below)"), "{line}");
    assert!(ran.stderr.contains(&silent.pid().to_string()), "{ran:?}");
}

/// A daemon that starts on its config joins the networks in it.
fn with_networks_of_the_daemon_alone() -> Home {
    let home = Home::settled();
    home.put(DAEMON_CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    home
}

#[test]
fn launch_without_a_place_for_the_backup_of_the_daemons_networks_starts_no_daemon() {
    let home = with_networks_of_the_daemon_alone();
    std::fs::rename(home.path(".myownllm/config-backups"), home.path("backups")).unwrap();
    home.put(".myownllm/config-backups", b"", 0o600);
    run(&mut home.with_daemon(&["doctor"])).ends_with(4);
    let ran = run(&mut home.launch("", &["--detach"])).ends_with(7);
    assert!(ran.stderr.contains("store.copies-unsafe"), "{ran:?}");
    assert!(home.serving().is_empty());
    assert!(!home.has(&format!("{MESH}/daemon.log")), "none was started");
}

#[test]
fn launch_that_cannot_back_up_the_daemons_networks_ends_the_daemon_that_it_started() {
    if !can_trace() {
        return;
    }
    let home = with_networks_of_the_daemon_alone();
    let quota = ["strace", "-o", "/dev/null", "-e", "inject=linkat,renameat2:error=EDQUOT"];
    let ran = run(&mut wrapped(&quota, &home.launch("", &["--detach"]))).ends_with(1);
    assert!(home.serving().is_empty(), "{ran:?}");
    assert!(home.has(&format!("{MESH}/daemon.log")), "one was started: {ran:?}");
}

#[test]
fn a_daemon_with_another_key_is_refused_and_both_keys_are_named() {
    let home = Home::settled();
    let mut foreign = home.daemon(MESH).mode("other-key").start().unwrap();
    let ran = home.launch_once_json().ends_with(7);
    let said = ran.json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.foreign-identity", "{said}");
    let message = said["diagnostics"][0]["message"].as_str().unwrap();
    let other = ask(foreign.socket(), "status", Value::Null).unwrap()["device_id"].take();
    for part in [
        &*foreign.pid().to_string(),
        other.as_str().unwrap(),
        "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da",
    ] {
        assert!(message.contains(part), "{message}");
    }
    assert!(foreign.is_running());
    assert_eq!(home.serving(), [foreign.pid()]);
}

#[test]
fn no_daemon_is_started_in_a_home_that_others_can_write_to() {
    let home = Home::settled();
    for dir in [APP, MESH, ".myownllm/.myownmesh/.secrets"] {
        let mode = home.path(dir).metadata().unwrap().permissions().mode();
        set_mode(&home.path(dir), 0o777);
        let refused = home.launch_once().ends_with(7);
        let mend = format!("hint: chmod -R go-w {}", home.path(dir).display());
        assert!(refused.stderr.contains(&mend), "{dir}: {refused:?}");
        assert!(home.run(&["status"]).stdout.contains("start no daemon"), "{dir}");
        assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  homes.private"), "{dir}");
        // The sticky bit keeps other users from replacing files.
        set_mode(&home.path(dir), 0o1777);
        home.launch_once().ends_with(0);
        set_mode(&home.path(dir), mode);
    }
}

/// Who writes there approves a device, leads the daemon to another network, or plants a backup.
#[test]
fn no_daemon_is_started_on_peers_or_configs_that_others_can_write_to() {
    let home = Home::settled();
    home.put(DAEMON_CONFIG, b"{\"version\": 3}", 0o600);
    let peers = ["mesh", "mesh/rosters", "mesh/states", "config.json"];
    let mut paths: Vec<String> = peers.iter().map(|path| format!("{MESH}/{path}")).collect();
    paths.extend([format!("{APP}/config-backups"), CONFIG.to_owned()]);
    for path in paths {
        let mode = home.path(&path).metadata().unwrap().permissions().mode();
        set_mode(&home.path(&path), mode | 0o022);
        let refused = home.launch_once().ends_with(7);
        let mend = format!("hint: chmod -R go-w {}", home.path(&path).display());
        assert!(refused.stderr.contains(&mend), "{path}: {refused:?}");
        assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  homes.private"), "{path}");
        set_mode(&home.path(&path), mode);
    }
    home.launch_once().ends_with(0);
}

#[test]
fn an_open_secret_is_named_and_ends_private_before_a_daemon_starts() {
    let home = Home::settled();
    home.put(&format!("{MESH}/.secrets/custody.json"), b"{\"version\": 1}", 0o600);
    for (file, mode) in [("identity.json", 0o644), ("identity.json", 0o666), ("custody.json", 0o640)] {
        let secret = home.path(&format!("{MESH}/.secrets/{file}"));
        set_mode(&secret, mode);
        let doctor = home.run(&["doctor"]).ends_with(0).stdout;
        let mend = doctor.lines().find(|line| line.contains("-> chmod 600"));
        assert!(mend.is_some_and(|line| line.ends_with(file)), "{doctor}");
        home.launch_once().ends_with(0);
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file} {mode:o}");
    }
    let backups = home.path(".myownllm/config-backups");
    set_mode(&backups, 0o755);
    assert!(home.run(&["doctor"]).ends_with(0).stdout.contains("-> chmod 700"));
    home.launch_once().ends_with(0);
    assert_eq!(backups.metadata().unwrap().permissions().mode() & 0o777, 0o700);
}

/// The app leaves the mode of its config as it is.
#[rstest]
#[case::with_a_secret(Home::with_secrets(), true)]
#[case::without_a_secret(Home::empty(), false)]
fn open_config_with_a_secret_is_a_warning_of_doctor(#[case] home: Home, #[case] is_named: bool) {
    let home = home.launched();
    let config = home.path(CONFIG);
    set_mode(&config, 0o644);
    let mend = format!("chmod 600 {}", config.display());
    set_mode(&home.path(".."), 0o700);
    assert!(!home.run(&["doctor"]).ends_with(0).all().contains(&mend), "nobody reaches it");
    for dir in [home.path(".."), home.path(""), home.path(".myownllm")] {
        set_mode(&dir, 0o755);
    }
    assert_eq!(home.run(&["doctor"]).ends_with(0).all().contains(&mend), is_named);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(config.metadata().unwrap().permissions().mode() & 0o777, 0o644);
    set_mode(&config, 0o600);
    assert!(!home.run(&["doctor"]).ends_with(0).all().contains(&mend));
}

/// A launch changes nothing outside of the home.
#[rstest]
#[case::reached(0o755, true)]
#[case::closed(0o700, false)]
fn open_secret_behind_a_symlink_is_named_if_others_reach_it(#[case] dir: u32, #[case] is_named: bool) {
    let home = Home::settled();
    let [key, keys, target] = [NEW_KEY, "keys", "keys/id.json"].map(|path| home.path(path));
    std::fs::create_dir(&keys).unwrap();
    std::fs::rename(&key, &target).unwrap();
    std::os::unix::fs::symlink(&target, &key).unwrap();
    set_mode(&target, 0o644);
    for (path, mode) in [(home.path(".."), 0o755), (home.path(""), 0o755), (keys, dir)] {
        set_mode(&path, mode);
    }
    let mend = format!("chmod 600 {}", target.display());
    assert_eq!(home.run(&["doctor"]).ends_with(0).all().contains(&mend), is_named);
    assert_eq!(home.launch_once().ends_with(0).all().contains(&mend), is_named);
    assert_eq!(target.metadata().unwrap().permissions().mode() & 0o777, 0o644);
}

/// What is behind a symlink is not a secret of the home because of its place.
#[rstest]
#[case::device("/dev/null", NEW_KEY)]
#[case::file_of_the_system("/etc/passwd", NEW_KEY)]
#[case::directory("/", ".myownllm/config-backups")]
fn no_hint_closes_what_holds_no_secret(#[case] target: &str, #[case] place: &str) {
    let home = Home::settled();
    let place = home.path(place);
    std::fs::rename(&place, home.path("former")).unwrap();
    std::os::unix::fs::symlink(target, &place).unwrap();
    let said = home.run(&["doctor"]).all() + &home.launch_once().all();
    assert!(!said.contains("chmod"), "{said}");
}

/// The config is on a disk that is missing: a daemon would replace the symlink.
#[rstest]
#[case::broken("/mnt/missing/config.json", "it is a broken symlink")]
#[case::in_a_loop("config.json", "it is a symlink loop")]
fn a_daemon_config_behind_a_broken_symlink_is_no_absent_one(#[case] target: &str, #[case] is: &str) {
    let home = Home::settled();
    let own = home.path(DAEMON_CONFIG);
    std::os::unix::fs::symlink(target, &own).unwrap();
    let said = home.launch_once_json();
    assert_ne!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.contains("daemon.config-unreadable") && said.stdout.contains(is), "{said:?}");
    assert!(said.stdout.contains(&format!("mv -n {}", own.display())), "{said:?}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  daemon.config"));
    assert!(own.is_symlink());
}

/// A daemon with such a socket path would start where nobody finds it, and the launch would wait
/// for it in vain.
#[rstest]
#[case::relative("mesh.sock", "paths.control-socket")]
#[case::empty("", "paths.control-socket")]
#[case::relative_to_here("./mesh.sock", "paths.control-socket")]
#[case::nul("/tmp/mesh\0sock", "paths.control-socket")]
#[case::directory("/tmp/", "paths.control-socket")]
#[case::parent("/tmp/..", "paths.control-socket")]
#[case::too_long(&format!("/tmp/{}", "s".repeat(200)), "paths.socket-too-long")]
fn a_control_socket_that_is_no_address_is_refused_before_a_daemon_is_started(
    #[case] socket: &str,
    #[case] code: &str,
) {
    let home = Home::settled();
    let own = home.path(DAEMON_CONFIG);
    std::fs::write(&own, json!({ "version": 3, "daemon": { "control_socket": socket } }).to_string())
        .unwrap();
    let said = home.launch_once_json().ends_with(7).json();
    let found = &said["diagnostics"][0];
    assert_eq!(found["code"], code, "{socket:?}: {said:#}");
    let reported = found["message"].to_string() + &found["hint"].to_string();
    assert!(reported.contains("control_socket") && reported.contains(own.to_str().unwrap()), "{reported}");
    assert!(!home.path(MESH).join("daemon.log").exists(), "{socket:?}: a daemon was started");
    assert_eq!(home.requests().1, 0);
    // `status`, `doctor` and `paths` predict the refusal.
    let status = home.run(&["status", "--check", "--json"]).ends_with(7).json();
    assert_eq!(status["diagnostics"][0]["code"], code, "{socket:?}: {status:#}");
    assert!(home.run(&["status"]).ends_with(0).stdout.contains("start no daemon"), "{socket:?}");
    let doctor = home.run(&["doctor"]).ends_with(4).stdout;
    assert!(doctor.contains("problem  socket.length"), "{doctor}");
    assert!(home.run(&["paths"]).ends_with(0).stderr.contains("control_socket"), "{socket:?}");
}

/// `status` and `doctor` predict that something blocks the socket path, and the hint removes it.
#[test]
fn file_in_place_of_the_socket_is_foreseen() {
    let home = Home::settled();
    std::fs::write(home.own_socket(), "precious").unwrap();
    let status = home.run(&["status", "--check", "--json"]).ends_with(5).json();
    assert_eq!(status["diagnostics"][0]["code"], "daemon.not-a-socket", "{status:#}");
    assert!(home.run(&["doctor"]).ends_with(4).stdout.contains("problem  socket.length"));
    let said = home.launch_once_json().ends_with(5).json();
    assert_eq!(said["diagnostics"][0]["code"], "daemon.not-a-socket", "{said:#}");
    follow(&said["diagnostics"][0]["hint"]);
    home.launch_once().ends_with(0);
    home.still_has(b"precious", "what was in the way");
}

/// A file outside of the home belongs to somebody else: no hint moves it away.
#[rstest]
#[case::a_directory("/tmp")]
#[case::a_device("/dev/null")]
#[case::a_system_file("/etc/passwd")]
fn control_socket_that_names_another_file_is_refused_with_the_config(#[case] named: &str) {
    let home = Home::settled();
    let config = json!({ "version": 3, "daemon": { "control_socket": named }, "networks": [] });
    home.put(DAEMON_CONFIG, config.to_string().as_bytes(), 0o600);
    let status = home.run(&["status", "--check", "--json"]).ends_with(7).json();
    assert_eq!(status["diagnostics"][0]["code"], "paths.control-socket", "{status:#}");
    let said = home.launch_once_json().ends_with(7).json();
    let found = &said["diagnostics"][0];
    assert_eq!(found["code"], "paths.control-socket", "{said:#}");
    assert!(!found["hint"].as_str().unwrap().contains("mv "), "{found}");
    home.run(&["doctor"]).ends_with(4);
}

/// An invalid socket path in the overwritten config does not stop the repair, which writes it into
/// the daemon's config.
#[test]
fn a_leaked_control_socket_that_is_no_address_keeps_nothing_from_being_moved_and_repaired() {
    let home = Home::after_the_bug();
    let mut config = home.json(CONFIG);
    config["daemon"]["control_socket"] = "mesh.sock".into();
    std::fs::write(home.path(APP).join("config.json"), config.to_string()).unwrap();
    let foreseen = home.run(&["status", "--json"]).ends_with(0).json();
    let named = home.path(APP).join("config.json");
    assert!(foreseen["diagnostics"].to_string().contains(named.to_str().unwrap()), "{foreseen:#}");
    let said = home.launch_once_json().ends_with(7).json();
    assert_eq!(said["data"]["config"]["shape"], "daemon");
    assert!(home.has(NEW_KEY), "moved");
    let found =
        said["diagnostics"].as_array().unwrap().iter().find(|one| one["severity"] == "error").unwrap();
    assert_eq!(found["code"], "paths.control-socket", "{said:#}");
    assert_eq!(found["path"], home.path(DAEMON_CONFIG).to_str().unwrap());
    assert!(!home.run(&["salvage", "--check"]).ends_with(0).all().contains("pending"));
}

/// A config with which the daemon does not start is found before the start.
#[test]
fn a_daemons_config_on_which_none_starts_is_named_by_doctor() {
    let home = Home::settled();
    let check = || {
        let check = home.run(&["doctor", "--json"]).check("daemon.config");
        (check["result"].as_str().unwrap().to_owned(), check["hint"].as_str().unwrap_or_default().to_owned())
    };
    let own = home.path(DAEMON_CONFIG);
    assert_eq!(check().0, "ok");
    let running = home.daemon(MESH).start().unwrap();
    std::fs::write(&own, "{\"version\": 9}").unwrap();
    assert_eq!(check().0, "warning", "a daemon that runs has read its config");
    drop(running);
    std::fs::write(&own, "{\"version\": 9}").unwrap();
    assert!(matches!(check(), (mark, hint) if mark == "problem" && hint.starts_with("mv -n ")));
    std::fs::write(&own, "{\"version\": 3, ").unwrap();
    let (mark, hint) = check();
    assert_eq!(mark, "problem");
    let mut repair = Command::new("sh");
    assert!(
        repair.args(["-c", &hint]).env("PATH", path_with_program()).status().unwrap().success(),
        "{hint}"
    );
    assert_eq!(check().0, "ok");
    std::fs::remove_file(&own).unwrap();
    std::os::unix::fs::symlink("../config.json", &own).unwrap();
    assert_eq!(check().0, "problem", "the app's config is not the daemon's");
}

#[rstest]
#[case::v012(Version::V012, 3, "config version 3 unsupported (this build expects v1)")]
#[case::v038(Version::V038, 4, "is newer than this daemon's 3")]
fn a_daemon_config_that_is_newer_than_its_daemon_has_its_own_words(
    #[case] version: Version,
    #[case] found: u32,
    #[case] words: &str,
) {
    let home = Home::settled();
    let bytes = json!({"version": found, "networks": []}).to_string();
    home.put(DAEMON_CONFIG, bytes.as_bytes(), 0o600);
    let mut command = home.launch("", &["--once", "--json"]);
    let said = run(command.env("STAND_IN_VERSION", version.name())).ends_with(5).json();
    let first = &said["diagnostics"][0];
    assert_eq!(first["code"], "daemon.config-newer", "{said}");
    assert!(first["path"].as_str().unwrap().ends_with(DAEMON_CONFIG), "{first}");
    assert!(first["message"].as_str().unwrap().contains(&format!("is of version {found}")), "{first}");
    assert_eq!(said["data"]["daemon"]["candidates"][0]["failure"]["failure"], "ended", "{said}");
    // The daemon's message is reported as well.
    assert!(said["diagnostics"].to_string().contains(words), "{said}");
    assert_eq!(home.bytes(DAEMON_CONFIG), bytes.as_bytes(), "and nobody touched it");
    assert!(home.serving().is_empty());
    // From then on `doctor` knows it, and the printed command is a way out.
    let as_version = |mut command: Command| run(command.env("STAND_IN_VERSION", version.name()));
    let foreseen = as_version(home.with_daemon(&["doctor", "--json"])).ends_with(4).json();
    assert!(foreseen["diagnostics"].to_string().contains("daemon.config-newer"), "{foreseen}");
    follow(&first["hint"]);
    as_version(home.launch("", &["--once"])).ends_with(0);
    as_version(home.with_daemon(&["doctor"])).ends_with(0);
}

#[test]
fn early_end_of_a_daemon_is_not_blamed_on_the_version_of_its_config() {
    let home = Home::settled();
    home.put(DAEMON_CONFIG, br#"{"version": 3, "networks": []}"#, 0o600);
    let said = run(&mut home.launch("dies-early", &["--once", "--json"])).ends_with(5).json();
    assert!(!said["diagnostics"].to_string().contains("config-newer"), "{said}");
}

#[test]
fn a_leaked_config_that_is_newer_than_we_are_is_read_and_left() {
    let home = Home::settled();
    let bytes = br#"{"version": 99, "daemon": {"enabled": true}, "networks": [{"id": "n",
        "network_id": "office-mesh"}]}"#;
    home.put(CONFIG, bytes, 0o600);
    let before = home.snapshot();
    let ran = home.launch_once_json().ends_with(8);
    let said = ran.json();
    assert_eq!(said["diagnostics"][0]["code"], "store.newer", "{said}");
    assert!(said["diagnostics"][0]["message"].as_str().unwrap().contains("99"), "{said}");
    assert!(said["data"]["config"]["networks"].to_string().contains("home-mesh"), "{said}");
    home.run(&["config", "accept"]).ends_with(8);
    assert!(home.snapshot() == before, "nothing was written");
    assert!(home.serving().is_empty());
}

/// The holder of the lock may be starting the daemon, so no second one starts meanwhile.
#[test]
fn no_daemon_is_started_while_another_holds_the_lock() {
    let home = Home::settled();
    let dir = hold_lock(&home.path(APP));
    let log = home.path(&format!("{MESH}/daemon.log"));
    let mut waiting = home.launch("", &["--once"]).stdout(Stdio::null()).spawn().unwrap();
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until && !log.exists() {
        assert!(waiting.try_wait().unwrap().is_none(), "it waits for the lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!log.exists(), "a start was begun");
    drop(dir);
    assert!(waiting.wait().unwrap().success());
    assert!(log.exists());
}
