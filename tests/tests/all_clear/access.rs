//! Modes, owners and protected files.

use std::process::Command;

use super::{agree, control_socket, follow, same_code, same_verdict, with};
use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Unlocked, Unprivileged, can, fixture_of_038,
    run, set_mode,
};
use rstest::rstest;

/// What a user may not do in the homes, or in the directory of the socket.
#[rstest]
#[case::home_may_not_be_entered("", 0o000)]
#[case::daemon_home_may_not_be_entered(MESH, 0o000)]
#[case::daemon_home_may_not_be_written(MESH, 0o500)]
#[case::app_home_may_not_be_listed(APP, 0o300)]
#[case::secrets_may_not_be_entered(".myownllm/.myownmesh/.secrets", 0o600)]
#[case::app_home_may_not_be_written(APP, 0o500)]
#[case::socket_directory_may_not_be_written("run", 0o500)]
#[case::socket_directory_may_not_be_entered("run", 0o600)]
#[case::program_may_not_be_executed("../daemon", 0o644)]
#[case::secrets_may_not_be_listed(".myownllm/.myownmesh/.secrets", 0o300)]
#[case::mesh_may_not_be_entered(".myownllm/.myownmesh/mesh", 0o000)]
#[case::mesh_may_not_be_listed(".myownllm/.myownmesh/mesh", 0o300)]
#[case::rosters_may_not_be_entered(".myownllm/.myownmesh/mesh/rosters", 0o000)]
#[case::rosters_may_not_be_listed(".myownllm/.myownmesh/mesh/rosters", 0o300)]
#[case::states_may_not_be_entered(".myownllm/.myownmesh/mesh/states", 0o000)]
#[case::backups_may_not_be_entered(".myownllm/config-backups", 0o000)]
#[case::backups_may_not_be_written(".myownllm/config-backups", 0o500)]
#[case::config_may_not_be_read(CONFIG, 0o000)]
#[case::config_may_not_be_written(CONFIG, 0o400)]
#[case::key_may_not_be_read(NEW_KEY, 0o000)]
#[case::daemon_config_may_not_be_read(DAEMON_CONFIG, 0o000)]
fn modes(#[case] path: &str, #[case] mode: u32) {
    let home = Home::settled();
    std::fs::create_dir(home.path("run")).unwrap();
    control_socket(&home, home.path("run/d.sock").to_str().unwrap());
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(path), mode);
    let doctor = user.run(&home, &["doctor", "--json"]);
    let status = user.run(&home, &["status", "--check", "--json"]);
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    set_mode(&home.path(path), 0o700);
    same_verdict(&doctor, &launch);
    same_code(&status, &launch);
}

/// A move makes the daemon home writable before it changes something there.
#[rstest]
#[case::key_at_both_places(|home: &Home| home.put(OLD_KEY, &home.bytes(NEW_KEY), 0o600), 0)]
#[case::nothing_to_move(|_: &Home| {}, 1)]
fn daemon_home_that_a_move_makes_writable(#[case] change: fn(&Home), #[case] code: i32) {
    let home = Home::settled();
    change(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(MESH), 0o500);
    let doctor = user.run(&home, &["doctor", "--json"]);
    let status = user.run(&home, &["status", "--check", "--json"]);
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    same_verdict(&doctor, &launch);
    same_code(&status, &launch);
    assert_eq!(launch.code, Some(code), "{}", launch.all());
}

/// The move opens the daemon home, and not the file in it.
#[test]
fn roster_that_nobody_may_read_in_a_daemon_home_that_a_move_makes_writable() {
    let home = Home::settled();
    home.put(OLD_KEY, &home.bytes(NEW_KEY), 0o600);
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(&format!("{MESH}/mesh/rosters/home-mesh.json")), 0o000);
    set_mode(&home.path(MESH), 0o500);
    let doctor = user.run(&home, &["doctor", "--json"]);
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    set_mode(&home.path(MESH), 0o700);
    same_verdict(&doctor, &launch);
    assert_ne!(launch.code, Some(0), "{}", launch.all());
}

/// A damaged roster or state is set aside by a launch, so its directory has to let the user do
/// that. In one that may only be listed nobody can tell what a roster or a state is.
#[rstest]
fn damaged_state_in_a_closed_directory(
    #[values("rosters", "states")] dir: &str,
    #[values(0o500, 0o600, 0o400)] mode: u32,
) {
    let home = Home::settled();
    home.put(&format!("{MESH}/mesh/{dir}/home-mesh.json"), &[0; 40], 0o600);
    let Some(user) = Unprivileged::new(&home) else { return };
    let dir = home.path(&format!("{MESH}/mesh/{dir}"));
    set_mode(&dir, mode);
    let doctor = user.run(&home, &["doctor", "--json"]);
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    set_mode(&dir, 0o700);
    same_verdict(&doctor, &launch);
    assert_ne!(doctor.code, Some(0), "{}", doctor.all());
}

/// A move opens a directory before it moves the files in it. Nobody can judge them before.
#[rstest]
fn state_in_a_closed_directory_at_the_old_location(
    #[values("rosters", "states")] dir: &str,
    #[values(0o600, 0o400)] mode: u32,
    #[values(false, true)] is_damaged: bool,
) {
    let home = Home::legacy();
    if is_damaged {
        home.put(&format!("{APP}/mesh/{dir}/home-mesh.json"), &[0; 40], 0o600);
    }
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(&format!("{APP}/mesh/{dir}")), mode);
    let doctor = user.run(&home, &["doctor", "--json"]);
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    same_verdict(&doctor, &launch);
    assert_eq!(launch.code, Some(0), "{}", launch.all());
}

/// A launch that makes a backup closes the directory of the backups before it starts a daemon.
#[rstest]
#[case::misplaced_daemon_config(|home: &Home| home.put(DAEMON_CONFIG, &home.bytes(CONFIG), 0o600))]
#[case::overwritten_config(|home: &Home| {
    home.put(CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
})]
#[case::changed_config(|home: &Home| home.edit(CONFIG, |config| config["active_family"] = "other".into()))]
#[case::incomplete_config(|home: &Home| {
    home.edit(CONFIG, |config| drop(config.as_object_mut().unwrap().remove("mic")));
})]
#[case::config_overwritten_as_before(|home: &Home| {
    let overwritten = fixture_of_038(".myownllm/config.json");
    home.put(CONFIG, &overwritten, 0o600);
    home.run(&["repair"]).ends_with(0);
    home.put(CONFIG, &overwritten, 0o600);
})]
#[case::nothing_to_back_up(|_: &Home| {})]
fn backups_that_everybody_may_write(#[case] change: fn(&Home)) {
    let home = Home::settled();
    change(&home);
    set_mode(&home.path(".myownllm/config-backups"), 0o777);
    agree(&home, |_| {});
}

/// A directory that is closed to others covers the files in it.
#[test]
fn roster_that_everybody_may_write_is_no_problem_in_a_closed_directory() {
    const OLD_ROSTER: &str = ".myownllm/mesh/rosters/home-mesh.json";
    let home = Home::legacy();
    set_mode(&home.path(OLD_ROSTER), 0o666);
    assert_eq!(run(&mut home.with_daemon(&["launch", "--once"])).code, Some(0));
    for dir in [MESH, ".myownllm/.myownmesh/mesh", ".myownllm/.myownmesh/mesh/rosters"] {
        set_mode(&home.path(dir), 0o755);
    }
    assert_eq!(run(&mut home.with_daemon(&["launch", "--once"])).code, Some(7));
}

/// Files that nobody may rename or remove. The hint, run as printed but without `sudo`, mends.
#[rstest]
#[case::old_key(Home::legacy(), "+i", OLD_KEY)]
#[case::old_rosters(Home::legacy(), "+a", ".myownllm/mesh/rosters")]
#[case::log(
    with(Home::settled(), ".myownllm/.myownmesh/daemon.log", b"x\n"),
    "+i",
    ".myownllm/.myownmesh/daemon.log"
)]
#[case::log_to_append_to(
    with(Home::settled(), ".myownllm/.myownmesh/daemon.log", b"x\n"),
    "+a",
    ".myownllm/.myownmesh/daemon.log"
)]
#[case::daemon_home(Home::settled(), "+a", MESH)]
#[case::damaged_old_roster(
    with(Home::legacy(), ".myownllm/mesh/rosters/home-mesh.json", b"{"),
    "+a",
    ".myownllm/mesh/rosters/home-mesh.json"
)]
#[case::app_home_without_a_daemon_home(with(Home::empty(), CONFIG, b"{}"), "+i", APP)]
fn protected_files(#[case] home: Home, #[case] attribute: &str, #[case] path: &str) {
    let _unlocked = Unlocked(&home);
    if !can("chattr", &[attribute, home.path(path).to_str().unwrap()]) {
        return;
    }
    agree(&home, |_| {});
    let launch = run(&mut home.with_daemon(&["launch", "--once"]));
    assert!(launch.stderr.contains("chattr -ia "), "{launch:?}");
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).json();
    // Root needs no `sudo`.
    let is_mend = |hint: &&str| hint.trim_start_matches("sudo ").starts_with("chattr ");
    let checks = doctor["data"]["checks"].as_array().unwrap();
    let hint = checks.iter().filter_map(|check| check["hint"].as_str()).find(is_mend).unwrap();
    follow(&home, hint.trim_start_matches("sudo "));
    assert_eq!(run(&mut home.with_daemon(&["launch", "--once"])).code, Some(0));
}

/// The hint of a damaged key first lifts what keeps everybody from changing the file.
#[rstest]
#[case::key("+i", NEW_KEY)]
#[case::key_to_append_to("+a", NEW_KEY)]
#[case::secrets("+i", ".myownllm/.myownmesh/.secrets")]
fn damaged_key_that_nobody_may_change(#[case] attribute: &str, #[case] path: &str) {
    let home = Home::settled();
    home.put(NEW_KEY, &[b"\xef\xbb\xbf", &home.bytes(NEW_KEY)[..]].concat(), 0o600);
    let _unlocked = Unlocked(&home);
    if !can("chattr", &[attribute, home.path(path).to_str().unwrap()]) {
        return;
    }
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"]));
    let hint = doctor.diagnostic("migration.identity-damaged")["hint"].as_str().unwrap().to_owned();
    follow(&home, hint.trim_start_matches("sudo "));
    assert_eq!(run(&mut home.with_daemon(&["launch", "--once"])).code, Some(0), "{hint}");
}

/// Files that root left in the user's home, readable for everybody.
#[rstest]
#[case::old_key(OLD_KEY, 0o644)]
#[case::old_rosters(".myownllm/mesh/rosters", 0o755)]
#[case::old_roster(".myownllm/mesh/rosters/home-mesh.json", 0o644)]
#[case::old_secrets(".myownllm/.secrets", 0o755)]
#[case::empty_directory(".myownllm/.myownmesh/updates", 0o755)]
fn files_of_root(#[case] path: &str, #[case] mode: u32) {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    std::fs::create_dir_all(home.path(".myownllm/.myownmesh/updates")).unwrap();
    Command::new("chown").args(["-h", "0:0"]).arg(home.path(path)).status().unwrap();
    set_mode(&home.path(path), mode);
    same_verdict(&user.run(&home, &["doctor", "--json"]), &user.run(&home, &["launch", "--once", "--json"]));
}

/// A roster or a state of a third user in the old location, which a daemon would have to trust.
#[rstest]
fn peers_of_another_user_before_the_move(#[values("rosters", "states")] dir: &str) {
    let home = Home::legacy();
    let file = format!(".myownllm/mesh/{dir}/home-mesh.json");
    home.put(&file, &fixture_of_038(&file), 0o644);
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    assert!(can("chown", &["64203", home.path(&file).to_str().unwrap()]));
    let (doctor, launch) =
        (user.run(&home, &["doctor", "--json"]), user.run(&home, &["launch", "--once", "--json"]));
    same_verdict(&doctor, &launch);
    assert_eq!(launch.code, Some(7), "{}", launch.all());
}

/// The launch cannot read the key, and does not get as far as the daemon, which would have to trust
/// the owner of the key.
#[test]
fn key_of_another_user() {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    assert!(can("chown", &["64203", home.path(NEW_KEY).to_str().unwrap()]));
    let status = user.run(&home, &["status", "--check", "--json"]);
    same_code(&status, &user.run(&home, &["launch", "--once", "--json"]));
    assert_eq!(status.code, Some(1), "{}", status.all());
}

/// A daemon would join the networks of its own config, which no backup has.
#[rstest]
fn backups_that_cannot_be_made(#[values("chmod 500", "chattr +i")] close: &str) {
    let home = Home::settled();
    home.put(DAEMON_CONFIG, &fixture_of_038(CONFIG), 0o600);
    std::fs::remove_dir_all(home.path(".myownllm/config-backups")).unwrap();
    let _unlocked = Unlocked(&home);
    let Some(user) = Unprivileged::new(&home) else { return };
    if !can("sh", &["-c", &format!("cd '{}' && {close} .myownllm", home.path("").display())]) {
        return;
    }
    let (doctor, launch) =
        (user.run(&home, &["doctor", "--json"]), user.run(&home, &["launch", "--once", "--json"]));
    same_verdict(&doctor, &launch);
    assert_eq!(launch.code, Some(1), "{}", launch.all());
}

/// Homes in which a move, or a move back, refuses or fails.
#[rstest]
#[case::app_home_may_not_be_written(Home::legacy(), "chmod 500 .myownllm", &["migrate"])]
#[case::app_home_is_immutable(Home::legacy(), "chattr +i .myownllm", &["migrate"])]
#[case::custody_of_root(with(Home::legacy(), ".myownllm/.secrets/custody.json", b"{\"version\":1}"),
    "cd .myownllm/.secrets; chown 0:0 custody.json; chmod 644 custody.json", &["migrate"])]
#[case::daemon_home_of_root(Home::legacy(), "mkdir -m 700 .myownllm/.myownmesh", &["migrate"])]
#[case::undo_without_a_key(Home::settled(), "rm .myownllm/.myownmesh/.secrets/identity.json; \
    chattr +i .myownllm/.myownmesh", &["migrate", "--undo"])]
fn dry_run_of_a_move_ends_as_the_move_does(#[case] home: Home, #[case] close: &str, #[case] args: &[&str]) {
    let _unlocked = Unlocked(&home);
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    if !can("sh", &["-ec", &format!("cd '{}'; {close}", home.path("").display())]) {
        return;
    }
    let dry = user.run(&home, &[args, &["--dry-run"]].concat());
    let made = user.run(&home, args);
    assert!(dry.code == made.code && made.code != Some(0), "{}{}", dry.all(), made.all());
}

/// The owner of the home may move a roster of root, which holds no secret.
#[test]
fn single_roster_of_root_moves() {
    let home = Home::legacy();
    let roster = ".myownllm/mesh/roster.json";
    let third = String::from_utf8(fixture_of_038(".myownllm/mesh/rosters/home-mesh.json")).unwrap();
    home.put(roster, third.replace("home-mesh", "third-mesh").as_bytes(), 0o644);
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    assert!(can("chown", &["0:0", home.path(roster).to_str().unwrap()]));
    let (doctor, launch) =
        (user.run(&home, &["doctor", "--json"]), user.run(&home, &["launch", "--once", "--json"]));
    same_verdict(&doctor, &launch);
    assert_eq!(launch.code, Some(0), "{}", launch.all());
}

/// An empty directory of root at the old location can be removed by the owner of the home.
#[test]
fn an_empty_old_directory_of_root() {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    std::fs::create_dir(home.path(".myownllm/.secrets")).unwrap();
    set_mode(&home.path(".myownllm/.secrets"), 0o755);
    same_verdict(&user.run(&home, &["doctor", "--json"]), &user.run(&home, &["launch", "--once", "--json"]));
}
