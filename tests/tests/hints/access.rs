//! The hints of homes in which the user may not do everything, and of causes that several files
//! share.

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::process::Command;

use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, NOBODY, OLD_KEY, Ran, Unlocked, Unprivileged, can,
    can_be_root, can_mount, fixture_of_038, follow, give, path_with_program, run, set_mode, with_mounts,
    within, wrapped,
};
use rstest::rstest;
use serde_json::Value;

const SECRETS: &str = ".myownllm/.myownmesh/.secrets";
const ROSTERS: &str = ".myownllm/.myownmesh/mesh/rosters";

/// Returns the checks that did not pass.
fn failed_checks(doctor: &Ran) -> Vec<Value> {
    let all = doctor.json()["data"]["checks"].as_array().unwrap().clone();
    let failed = |check: &Value| check["result"] == "problem" || check["result"] == "warning";
    all.into_iter().filter(failed).collect()
}

fn hints(checks: &[Value], result: &str) -> Vec<String> {
    let wanted = checks.iter().filter(|check| check["result"] == result);
    let mut hints: Vec<String> =
        wanted.filter_map(|check| check["hint"].as_str()).map(str::to_owned).collect();
    hints.dedup();
    hints
}

/// Follows a hint as the user, in whose home the program runs.
fn follow_as(user: &Unprivileged, home: &Home, hint: &str) {
    if hint.ends_with(" repair") {
        user.run(home, &["repair"]).ends_with(0);
        return;
    }
    let mut command = Command::new("sh");
    command.args(["-c", hint]).current_dir("/").env("PATH", path_with_program());
    if user.is_dropped {
        let nobody = NOBODY.to_string();
        command = wrapped(&["setpriv", "--reuid", &nobody, "--regid", &nobody, "--clear-groups"], &command);
    }
    run(&mut command).ends_with(0);
}

fn mesh_behind_a_symlink(home: &Home) {
    home.run(&["migrate", "--undo"]).ends_with(0);
    std::fs::rename(home.path(".myownllm/mesh"), home.path("meshdata")).unwrap();
    symlink("../meshdata", home.path(".myownllm/mesh")).unwrap();
    set_mode(&home.path("meshdata/rosters/home-mesh.json"), 0);
}

fn daemon_home_behind_a_symlink(home: &Home) {
    std::fs::rename(home.path(MESH), home.path("daemon-home")).unwrap();
    symlink("../daemon-home", home.path(MESH)).unwrap();
    set_mode(&home.path("daemon-home/mesh/rosters/home-mesh.json"), 0);
}

fn key_with_a_mark(home: &Home) {
    home.put(NEW_KEY, &[b"\xef\xbb\xbf".to_vec(), home.bytes(NEW_KEY)].concat(), 0o600);
    set_mode(&home.path(SECRETS), 0o500);
}

fn key_with_another_name(home: &Home) {
    std::fs::rename(home.path(NEW_KEY), home.path(&format!("{SECRETS}/identity (1).json"))).unwrap();
    set_mode(&home.path(SECRETS), 0o500);
}

fn closed_rosters(home: &Home) {
    home.put(&format!("{ROSTERS}/other-mesh.json"), &home.bytes(&format!("{ROSTERS}/home-mesh.json")), 0);
    set_mode(&home.path(&format!("{ROSTERS}/home-mesh.json")), 0);
    set_mode(&home.path(".myownllm/.myownmesh/mesh/states/home-mesh.json"), 0);
}

/// People give all rights to all of the home where a permission is missing.
fn open_to_everybody(home: &Home) {
    assert!(can("chmod", &["-R", "777", home.path(APP).to_str().unwrap()]));
}

fn key_in_a_closed_directory_with_another_name(home: &Home) {
    std::fs::rename(home.path(SECRETS), home.path(&format!("{SECRETS}.old"))).unwrap();
    set_mode(&home.path(&format!("{SECRETS}.old")), 0o500);
}

/// Each hint works for the user of the home, and the last one leaves nothing to put right.
#[rstest]
#[case::mesh_behind_a_symlink(mesh_behind_a_symlink, 3)]
#[case::daemon_home_behind_a_symlink(daemon_home_behind_a_symlink, 2)]
#[case::key_with_a_mark(key_with_a_mark, 1)]
#[case::key_with_another_name(key_with_another_name, 1)]
#[case::closed_rosters(closed_rosters, 1)]
#[case::open_to_everybody(open_to_everybody, 1)]
#[case::key_in_a_closed_directory_with_another_name(key_in_a_closed_directory_with_another_name, 1)]
fn hint_works_for_a_user_who_may_not_do_everything(#[case] make: fn(&Home), #[case] rounds: usize) {
    let home = Home::settled();
    make(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    for _ in 0..rounds {
        let doctor = user.run(&home, &["doctor", "--json"]);
        hints(&failed_checks(&doctor), "problem").iter().for_each(|hint| follow_as(&user, &home, hint));
    }
    user.run(&home, &["repair"]).ends_with(0);
    user.run(&home, &["doctor"]).ends_with(0);
    let names: Vec<_> = std::fs::read_dir(home.path(".myownllm")).unwrap().collect();
    assert!(
        !names.iter().flatten().any(|entry| entry.path().to_string_lossy().contains(".copy")),
        "{names:?}"
    );
}

/// The first screen of a home without its key names the same commands.
#[test]
fn first_screen_names_a_command_that_works_in_a_closed_directory() {
    let home = Home::settled();
    key_with_another_name(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    let verdict = user.run(&home, &["--json"]).ends_with(4).json();
    follow_as(&user, &home, verdict["data"]["commands"][0]["command"].as_str().unwrap());
    user.run(&home, &["doctor"]).ends_with(0);
}

/// Two identities are the first problem, and a repair fails before the backup can be read.
#[test]
fn first_screen_names_the_access_that_a_repair_needs() {
    let home = Home::settled();
    home.put(CONFIG, &fixture_of_038(CONFIG), 0o600);
    home.put(OLD_KEY, &fixture_of_038(OLD_KEY), 0o600);
    for backup in std::fs::read_dir(home.path(".myownllm/config-backups")).unwrap() {
        set_mode(&backup.unwrap().path(), 0);
    }
    let Some(user) = Unprivileged::new(&home) else { return };
    let verdict = user.run(&home, &["--json"]).ends_with(4).json();
    let commands = verdict["data"]["commands"].as_array().unwrap();
    let at = |word: &str| commands.iter().position(|one| one["command"].as_str().unwrap().contains(word));
    let (choice, access, repair) = (at("--keep-identity"), at("chmod u+r"), at(" repair"));
    assert!(choice == Some(0) && choice < access && access < repair, "{commands:#?}");
}

/// What root makes in the home of a user would be root's.
#[rstest]
#[case::doctor(&["doctor", "--json"])]
#[case::launch(&["launch", "--once", "--json"])]
fn hint_for_root_gives_what_it_makes_to_the_owner_of_the_home(#[case] args: &[&str]) {
    if !can_be_root() {
        return;
    }
    let home = Home::settled();
    std::fs::rename(home.path(SECRETS), home.path(&format!("{SECRETS}.old"))).unwrap();
    let Some(user) = Unprivileged::new(&home) else { return };
    let said = run(&mut home.with_daemon(args));
    follow(&said.diagnostic("identity.gone")["hint"]);
    assert_eq!(std::fs::metadata(home.path(SECRETS)).unwrap().uid(), NOBODY);
    user.run(&home, &["doctor"]).ends_with(0);
}

/// A whole tree of another user is one cause, and takes one command.
#[test]
fn daemon_home_of_another_user_takes_one_command() {
    if !can_be_root() {
        return;
    }
    let home = Home::settled();
    give(&home.path(MESH), NOBODY);
    let checks = failed_checks(&home.run(&["doctor", "--json"]).ends_with(4));
    follow(&hints(&checks, "problem")[0].clone().into());
    home.run(&["doctor"]).ends_with(0);
    assert_eq!(std::fs::metadata(home.path(NEW_KEY)).unwrap().uid(), 0);
}

/// Only root may change the mode of a file of root's.
#[test]
fn modes_of_files_of_root_are_changed_by_root() {
    if !can_be_root() {
        return;
    }
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    give(&home.path(SECRETS), 0);
    for (path, mode) in [(SECRETS, 0o755), (NEW_KEY, 0o644), (MESH, 0o755), (".myownllm", 0o755), ("", 0o755)]
    {
        set_mode(&home.path(path), mode);
    }
    let checks = failed_checks(&user.run(&home, &["doctor", "--json"]));
    let of_secrets: Vec<_> = checks.iter().filter(|check| check["id"] == "homes.secrets").collect();
    assert!(!of_secrets.is_empty(), "{checks:#?}");
    for check in of_secrets {
        assert!(check["hint"].as_str().unwrap().starts_with("sudo "), "{check:#}");
    }
}

/// `doctor` names `repair` for what a repair puts right, and for nothing else.
#[rstest]
#[case::app_home_closed(|home: &Home| set_mode(&home.path(APP), 0o500), None)]
#[case::app_home_immutable(|_: &Home| (), Some("+i"))]
#[case::config_is_one_file(|home: &Home| symlink("../config.json", home.path(DAEMON_CONFIG)).unwrap(), None)]
#[case::open_home_with_a_damaged_roster(|home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    home.put(".myownllm/mesh/rosters/home-mesh.json", b"{\"version\": 1,", 0o600);
    set_mode(&home.path(APP), 0o777);
}, None)]
fn repair_puts_right_everything_for_which_doctor_names_it(
    #[case] make: fn(&Home),
    #[case] attribute: Option<&str>,
) {
    let home = Home::settled();
    let _unlocked = Unlocked(&home);
    std::fs::remove_dir_all(home.path(".myownllm/config-backups")).unwrap();
    make(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    if attribute.is_some_and(|attribute| !can("chattr", &[attribute, home.path(APP).to_str().unwrap()])) {
        return;
    }
    let before = failed_checks(&user.run(&home, &["doctor", "--json"]));
    let mended = |check: &&Value| check["hint"].as_str().is_some_and(|hint| hint.ends_with(" repair"));
    user.run(&home, &["repair"]);
    let left = failed_checks(&user.run(&home, &["doctor", "--json"]));
    for check in before.iter().filter(mended) {
        assert!(!left.iter().any(|left| left["code"] == check["code"]), "{check:#}\n{left:#?}");
    }
    assert!(!before.is_empty());
}

/// Backups of two copies of a home were put into one directory.
#[test]
fn backup_whose_number_another_one_has_is_named_by_its_hash() {
    let home = Home::settled();
    let backups = home.path(".myownllm/config-backups");
    let first = std::fs::read_dir(&backups).unwrap().next().unwrap().unwrap().path();
    let name = first.file_name().unwrap().to_str().unwrap();
    let number: u64 = name.split('-').nth(1).unwrap().parse().unwrap();
    let config = String::from_utf8(home.bytes(CONFIG)).unwrap();
    let other = config.replace("qwen3", "other");
    assert_ne!(other, config);
    home.put(CONFIG, other.as_bytes(), 0o600);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let made = std::fs::read_dir(&backups).unwrap().flatten().map(|entry| entry.path());
    let made = made.max_by_key(|path| path.file_name().unwrap().to_owned()).unwrap();
    let hash = made.file_name().unwrap().to_str().unwrap().rsplit('-').next().unwrap().to_owned();
    std::fs::rename(&made, backups.join(format!("good-{number:08}-{hash}"))).unwrap();
    home.put(CONFIG, config.as_bytes(), 0o600);
    let ran = home.run(&["config", "history"]).ends_with(0);
    let command = ran.stdout.lines().find(|line| line.contains(" config restore ")).unwrap();
    follow(&command.trim().into());
    assert_eq!(String::from_utf8(home.bytes(CONFIG)).unwrap(), other, "{command}");
}

#[test]
fn doctor_names_the_command_for_a_newer_config_of_the_daemon() {
    let home = Home::settled();
    home.put(DAEMON_CONFIG, br#"{"version": 12, "daemon": {}, "networks": []}"#, 0o600);
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(4);
    follow(&doctor.check("daemon.config")["hint"]);
    run(&mut home.with_daemon(&["doctor"])).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
}

/// What cannot be read as a config is one problem, and the first screen names the way out.
#[rstest]
#[case::symlink_loop(|home: &Home| symlink("config.json", home.path(CONFIG)).unwrap())]
#[case::socket(|home: &Home| drop(std::os::unix::net::UnixListener::bind(home.path(CONFIG)).unwrap()))]
#[case::too_large(|home: &Home| {
    let config = format!(r#"{{"version": 3, "daemon": {{}}, "networks": [], "blob": "{}"}}"#, "x".repeat(70_000_000));
    home.put(CONFIG, config.as_bytes(), 0o600);
})]
fn first_screen_leads_out_of_a_config_that_cannot_be_read(#[case] make: fn(&Home)) {
    let home = Home::settled();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    make(&home);
    let checks = failed_checks(&run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(4));
    let problems: Vec<_> = checks.iter().filter(|check| check["result"] == "problem").collect();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let verdict = run(&mut home.with_daemon(&["--json"])).json();
    follow(&verdict["data"]["commands"][0]["command"]);
    home.run(&["repair"]).ends_with(0);
    run(&mut home.with_daemon(&["doctor"])).ends_with(0);
}

/// The daemon home has yet to be made, so only the disk above it can be shown.
#[test]
fn hint_of_a_full_disk_names_a_directory_that_exists() {
    if !can_mount() {
        return;
    }
    let home = Home::legacy();
    std::fs::rename(
        home.path(".myownllm/.secrets/identity.json"),
        home.path(".myownllm/.secrets/id.json.bak"),
    )
    .unwrap();
    let full = "cp -a \"$1/.myownllm\" \"$1/../copy\"; mount -t tmpfs -o size=1m,mode=700 none \"$1\"; \
                cp -a \"$1/../copy\" \"$1/.myownllm\"; cat /dev/zero > \"$1/fill\" 2>/dev/null || true";
    let doctor = with_mounts(&home, full, &["doctor", "--json"]);
    let checks = failed_checks(&doctor);
    let shown: Vec<_> =
        checks.iter().filter_map(|check| check["hint"].as_str()?.strip_prefix("df -h ")).collect();
    assert!(!shown.is_empty(), "{checks:#?}");
    assert!(shown.iter().all(|dir| std::path::Path::new(dir).exists()), "{shown:?}");
}

/// A report that cannot be written whole leaves no file that a helper could take for one.
#[test]
fn report_on_a_full_disk_leaves_nothing_under_its_name() {
    let home = Home::settled();
    std::fs::create_dir(home.path("out")).unwrap();
    let out = home.path("out/r.html");
    let args = ["report", "--html", "--json", "--output", out.to_str().unwrap()];
    within(&home, "ulimit -f 1; trap '' XFSZ", &args).ends_with(1);
    assert!(!out.exists());
    if can_mount() {
        let full = "mount -t tmpfs -o size=8k none \"$1/out\"; head -c 4096 /dev/zero > \"$1/out/fill\"";
        let reported = with_mounts(&home, full, &args).ends_with(1).diagnostic("report.failed");
        assert!(reported["hint"].as_str().unwrap().starts_with("df -h "), "{reported:#}");
    }
}

/// A file system without sockets, such as sshfs: the daemon says so and ends, or goes on without.
#[rstest]
#[case("Error: bind /h/daemon.sock: Operation not permitted (os error 1)")]
#[case("WARN control socket exited with error: create_tokio: Operation not permitted (os error 1)")]
fn daemon_without_a_socket_is_led_to_another_place(#[case] words: &str) {
    let home = Home::settled();
    let program = home.path("program");
    std::fs::write(&program, format!("#!/bin/sh\necho \"{words}\" >&2\nexit 1\n")).unwrap();
    set_mode(&program, 0o700);
    let ran = run(home.command(&["launch", "--once", "--json"]).env("MYOWNMESH_BIN", &program)).ends_with(5);
    let reported = ran.diagnostic("paths.control-socket");
    assert!(reported["message"].as_str().unwrap().contains("/daemon/control_socket"), "{reported:#}");
    assert!(reported["hint"].as_str().unwrap().contains("EDITOR"), "{reported:#}");
}
