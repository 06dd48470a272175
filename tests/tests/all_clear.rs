//! All-clear means clear: on every home, `doctor` finds a problem that no repair mends exactly
//! where `launch --once` then refuses or fails, and a launch takes the steps that `status` names.

#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Ran, StandIn, Unlocked, Unprivileged, can,
    can_mount, can_trace, fixture_of_038, path_with_program, program, run, set_mode, stand_in, wrapped,
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

/// Moves a file or directory to another disk, with a symlink in its place.
fn elsewhere(home: &Home, path: &str) {
    rename(home, path, "elsewhere");
    link(home, home.path("elsewhere"), path);
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

/// A socket's file that nobody listens on any more.
fn stale_socket(home: &Home, path: &str) {
    std::fs::create_dir_all(home.path(path).parent().unwrap()).unwrap();
    drop(std::os::unix::net::UnixListener::bind(home.path(path)).unwrap());
}

fn active_network_id(home: &Home, id: &str) {
    active_network_member(home, "network_id", id.into());
}

fn active_network_member(home: &Home, member: &str, value: serde_json::Value) {
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"][0][member] = value;
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
}

fn without_rosters(home: &Home, base: &str) {
    std::fs::remove_dir_all(home.path(&format!("{base}/mesh"))).unwrap();
}

/// Takes away the key and the files that know it, and the run log.
fn without_key_and_peers(home: &Home, base: &str) {
    for dir in [".secrets", "mesh"] {
        std::fs::remove_dir_all(home.path(&format!("{base}/{dir}"))).unwrap();
    }
    let _ = std::fs::remove_file(home.path(".myownllm/myownllm-mesh.log"));
}

/// Replaces a directory of peers by a symlink to a disk that is missing; one below another by a
/// symlink to itself.
fn missing_disk(home: &Home, base: &str, dir: &str) {
    let at = format!("{base}/{dir}");
    rename(home, &at, "disk");
    link(home, dir.strip_prefix("mesh/").unwrap_or("/mnt/missing/mesh"), &at);
}

fn key_field(home: &Home, path: &str, field: &str, value: serde_json::Value) {
    let mut key = home.json(path);
    key[field] = value;
    home.put(path, key.to_string().as_bytes(), 0o600);
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
    let mut told = list(&launch["diagnostics"]);
    loop {
        let checks = list(&doctor()["data"]["checks"]);
        told.extend(checks.into_iter().filter(|check| check["result"] != "ok"));
        // What the user has to fill in cannot be run as printed.
        let is_new = |hint: &str| !hint.contains("/path/to/") && !followed.iter().any(|done| done == hint);
        let next = told.iter().find(|one| one["hint"].as_str().is_some_and(is_new)).cloned();
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
        told.clear();
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
fn agree(home: &Home, adapt: impl Fn(&mut Command)) {
    let said = |args: &[&str]| {
        let mut command = home.with_daemon(args);
        adapt(&mut command);
        run(&mut command)
    };
    let before = home.snapshot();
    let (doctor, status) = (said(&["doctor", "--json"]), said(&["status", "--json"]));
    assert_eq!(home.snapshot(), before, "a look writes");
    let launch = said(&["launch", "--once", "--json"]);
    same_verdict(&doctor, &launch);
    same_steps(&status, &launch);
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
#[case::a_directory(settled(|home| { remove(home, CONFIG); std::fs::create_dir(home.path(CONFIG)).unwrap();
    }))]
#[case::a_dangling_symlink(settled(|home| { remove(home, CONFIG);
    link(home, "/nowhere/config.json", CONFIG); }))]
#[case::a_symlink_in_the_home(settled(|home| { rename(home, CONFIG, ".myownllm/real.json");
    link(home, "real.json", CONFIG); }))]
fn configs(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

/// Symlinks into the daemon home, which a user made for an older program after the move.
#[rstest]
#[case::peers("mesh", ".myownmesh/mesh")]
#[case::rosters("mesh/rosters", "../.myownmesh/mesh/rosters")]
#[case::secrets(".secrets", ".myownmesh/.secrets")]
fn symlinks_into_the_daemon_home_keep_nothing_back(#[case] symlink: &str, #[case] target: &str) {
    let home = Home::settled();
    let path = home.path(&format!("{APP}/{symlink}"));
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink(target, path).unwrap();
    home.run(&["doctor"]).ends_with(0);
    agree_and_follow(&home);
    assert!(home.has(NEW_KEY) && home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")));
}

#[rstest]
#[case::gone_before_the_move(legacy(|home| remove(home, OLD_KEY)))]
#[case::gone_after_the_move(settled(|home| remove(home, NEW_KEY)))]
#[case::gone_with_nobody_who_knows_it(legacy(|home| { remove(home, OLD_KEY); without_rosters(home, APP); }))]
#[case::renamed(legacy(|home| rename(home, OLD_KEY, ".myownllm/.secrets/identity (1).json")))]
#[case::renamed_with_nobody_who_knows_it(legacy(|home| {
    rename(home, OLD_KEY, ".myownllm/.secrets/identity (1).json");
    without_rosters(home, APP);
}))]
#[case::an_editor_backup(settled(|home| rename(home, NEW_KEY, &format!("{NEW_KEY}~"))))]
#[case::a_temporary_of_ours(settled(|home| rename(home, NEW_KEY,
    ".myownllm/.myownmesh/.secrets/.durable-fs.123-10.part")))]
#[case::cut(settled(|home| {
    let bytes = home.bytes(NEW_KEY);
    home.put(NEW_KEY, &bytes[..bytes.len() / 2], 0o600);
}))]
#[case::no_bytes(settled(|home| home.put(NEW_KEY, b"", 0o600)))]
#[case::of_another_seed(settled(|home| key_field(home, NEW_KEY, "public_key", "a".repeat(52).into())))]
#[case::with_a_label_of_null(settled(|home| key_field(home, NEW_KEY, "label", serde_json::Value::Null)))]
#[case::with_a_numeric_time_before_the_move(legacy(|home| key_field(home, OLD_KEY, "created_at", 5.into())))]
#[case::in_capital_letters(settled(|home| {
    let public = home.json(NEW_KEY)["public_key"].as_str().unwrap().to_uppercase();
    key_field(home, NEW_KEY, "public_key", public.into());
}))]
#[case::below_a_file(settled(|home| {
    rename(home, ".myownllm/.myownmesh/.secrets", ".myownllm/.myownmesh/lost.secrets");
    home.put(".myownllm/.myownmesh/.secrets", b"", 0o600);
}))]
#[case::several_that_the_peers_do_not_tell_apart(settled(|home| {
    without_rosters(home, MESH);
    rename(home, NEW_KEY, &format!("{NEW_KEY}~"));
    home.put(".myownllm/.secrets/identity.json.bak", &another_key(), 0o600);
}))]
#[case::of_a_newer_version(settled(|home| key_field(home, NEW_KEY, "version", 9.into())))]
#[case::two_different(settled(|home| home.put(OLD_KEY, &another_key(), 0o600)))]
#[case::the_same_twice(settled(|home| {
    let bytes = home.bytes(NEW_KEY);
    home.put(OLD_KEY, &bytes, 0o600);
}))]
#[case::a_dangling_symlink(settled(|home| {
    remove(home, NEW_KEY);
    link(home, "/nowhere/id.json", NEW_KEY);
}))]
#[case::a_symlink(settled(|home| {
    rename(home, NEW_KEY, "id.json");
    link(home, home.path("id.json"), NEW_KEY);
}))]
#[case::a_directory(settled(|home| {
    remove(home, NEW_KEY);
    std::fs::create_dir(home.path(NEW_KEY)).unwrap();
}))]
#[case::a_device(settled(|home| { remove(home, NEW_KEY); link(home, "/dev/null", NEW_KEY); }))]
#[case::gone_with_its_peers_on_a_missing_disk(settled(|home| {
    remove(home, NEW_KEY);
    missing_disk(home, MESH, "mesh");
}))]
#[case::gone_with_its_rosters_in_a_circle(settled(|home| {
    remove(home, NEW_KEY);
    missing_disk(home, MESH, "mesh/rosters");
}))]
#[case::gone_with_its_peers_on_a_missing_disk_before_the_move(legacy(|home| {
    remove(home, OLD_KEY);
    missing_disk(home, APP, "mesh");
}))]
#[case::sound_with_its_peers_on_a_missing_disk(settled(|home| missing_disk(home, MESH, "mesh")))]
#[case::sound_with_its_states_in_a_circle(settled(|home| missing_disk(home, MESH, "mesh/states")))]
#[case::gone_with_its_peers_in_a_trash(legacy(|home| {
    remove(home, OLD_KEY);
    std::fs::create_dir(home.path(".myownllm/Trash")).unwrap();
    rename(home, ".myownllm/mesh", ".myownllm/Trash/mesh");
}))]
#[case::gone_with_a_directory_for_a_roster(legacy(|home| {
    remove(home, OLD_KEY);
    without_rosters(home, APP);
    std::fs::create_dir_all(home.path(".myownllm/mesh/rosters/home-mesh.json")).unwrap();
}))]
#[case::before_the_move_with_its_peers_on_a_missing_disk(legacy(|home| missing_disk(home, APP, "mesh")))]
#[case::in_capitals(settled(|home| rename(home, NEW_KEY, ".myownllm/.myownmesh/.secrets/IDENTITY.JSON")))]
#[case::named_elsewhere_and_missing(settled(|home| {
    let config = br#"{"version":3,"identity_path":"/nowhere/id.json","daemon":{},"networks":[]}"#;
    home.put(DAEMON_CONFIG, config, 0o600);
}))]
#[case::of_another_daemon_beside_no_home((with(
    Home::empty(),
    ".myownmesh.bak/.secrets/identity.json",
    &another_key()
), None))]
#[case::in_a_renamed_home(settled(|home| rename(home, APP, ".myownllm (1)")))]
#[case::in_a_renamed_home_beside_a_new_one(settled(|home| {
    rename(home, APP, "myownllm.old");
    home.put(CONFIG, b"{}", 0o600);
}))]
#[case::lost_with_the_daemon_home(settled(|home| rename(home, MESH, "elsewhere")))]
#[case::lost_beside_the_config_that_a_daemon_overwrote({ let home = Home::after_the_bug();
    without_key_and_peers(&home, APP); (home, None) })]
#[case::lost_beside_the_config_of_its_daemon(settled(|home| {
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    without_key_and_peers(home, MESH);
}))]
#[case::with_a_comment(settled(|home| { let bytes = home.bytes(NEW_KEY);
    home.put(NEW_KEY, &[b"// mine\n".as_slice(), &bytes].concat(), 0o600); }))]
#[case::none_yet_beside_json_of_another_program(empty(|home| home.put(".myownllm/.secrets/tokens.json",
    br#"{"version":2}"#, 0o600)))]
fn identities(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

#[rstest]
#[case::a_roster_that_differs(settled(|home| home.put(".myownllm/mesh/rosters/home-mesh.json", b"{}",
    0o600)))]
#[case::mesh_is_a_file(settled(|home| home.put(".myownllm/mesh", b"", 0o600)))]
#[case::rosters_is_a_file(empty(|home| home.put(".myownllm/mesh/rosters", b"", 0o600)))]
#[case::daemon_home_is_a_file(legacy(|home| home.put(MESH, b"", 0o600)))]
#[case::daemon_home_is_a_symlink_out(legacy(|home| { std::fs::create_dir(home.path("out")).unwrap();
    link(home, home.path("out"), MESH); }))]
#[case::daemon_home_is_the_shared_one(legacy(|home| {
    home.put(".myownmesh/.secrets/identity.json", &another_key(), 0o600);
    link(home, "../.myownmesh", MESH);
}))]
#[case::daemon_home_is_the_app_home(legacy(|home| link(home, ".", MESH)))]
#[case::app_home_is_a_dangling_symlink(empty(|home| link(home, "/nowhere/app", APP)))]
#[case::app_home_is_a_symlink(legacy(|home| { rename(home, APP, "data"); link(home, "data", APP); }))]
#[case::app_home_is_a_file(empty(|home| home.put(APP, b"", 0o600)))]
#[case::everybody_may_write_in_the_app_home(settled(|home| set_mode(&home.path(APP), 0o777)))]
#[case::everybody_may_write_in_the_secrets(settled(|home|
    set_mode(&home.path(".myownllm/.myownmesh/.secrets"), 0o777)))]
#[case::everybody_may_write_in_the_old_secrets(legacy(|home| set_mode(&home.path(".myownllm/.secrets"),
    0o777)))]
#[case::everybody_may_write_an_old_roster(legacy(|home|
    set_mode(&home.path(".myownllm/mesh/rosters/home-mesh.json"), 0o666)))]
#[case::mesh_is_a_file_after_the_move(settled(|home| {
    rename(home, ".myownllm/.myownmesh/mesh", ".myownllm/.myownmesh/mesh.bak");
    home.put(".myownllm/.myownmesh/mesh", b"", 0o600);
}))]
#[case::rosters_are_a_pipe_after_the_move(settled(|home| {
    rename(home, ".myownllm/.myownmesh/mesh/rosters", ".myownllm/.myownmesh/mesh/rosters.bak");
    pipe(home, ".myownllm/.myownmesh/mesh/rosters");
}))]
#[case::peers_are_a_symlink(legacy(|home| elsewhere(home, ".myownllm/mesh")))]
#[case::rosters_are_a_symlink(legacy(|home| elsewhere(home, ".myownllm/mesh/rosters")))]
#[case::states_are_a_symlink(legacy(|home| elsewhere(home, ".myownllm/mesh/states")))]
#[case::a_roster_is_a_symlink(legacy(|home| elsewhere(home, ".myownllm/mesh/rosters/home-mesh.json")))]
#[case::a_damaged_roster_behind_a_symlink(settled(|home| {
    home.put(ROSTER, b"{\"version\": 1", 0o600);
    elsewhere(home, ".myownllm/.myownmesh/mesh");
}))]
#[case::a_roster_that_a_daemon_put_aside_behind_a_symlink(settled(|home| {
    rename(home, ROSTER, &format!("{ROSTER}.corrupt"));
    elsewhere(home, ".myownllm/.myownmesh/mesh");
}))]
#[case::a_readable_key(settled(|home| set_mode(&home.path(NEW_KEY), 0o644)))]
fn places(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

/// The way out of too many backups works in a home of any name.
#[rstest]
#[case::plain("mesh-")]
#[case::letters_of_placeholders("F-I-mesh-")]
#[case::characters_of_the_shell("a b'c$d;*-mesh-")]
fn full_backups(#[case] prefix: &str) {
    let home = Home::empty_in(prefix).with_legacy_files().launched();
    for number in 100..600 {
        let name = format!("kept-{number:08}-{number:032x}.json");
        home.put(&format!(".myownllm/config-backups/{name}"), b"{}", 0o600);
    }
    home.put(CONFIG, &fixture_of_038(".myownllm/config.json"), 0o600);
    agree_and_follow(&home);
    assert_eq!(run(&mut home.with_daemon(&["launch", "--once"])).code, Some(0));
}

/// The limit of open files is one for `doctor` and the launch.
#[rstest]
fn few_open_files(#[values(7, 8, 10, 12, 14, 15, 16, 17, 23, 24, 25)] limit: u32) {
    let home = Home::settled();
    let said = |args: &[&str]| {
        let script = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
        run(&mut wrapped(&["sh", "-c", &script], &home.with_daemon(args)))
    };
    same_verdict(&said(&["doctor", "--json"]), &said(&["launch", "--once", "--json"]));
}

#[rstest]
#[case::a_config_that_is_a_symlink_to_nothing(settled(|home| link(home, "/mnt/missing/config.json",
    DAEMON_CONFIG)))]
#[case::a_newer_roster(settled(|home| { let mut roster = home.json(ROSTER); roster["version"] = 9.into();
    home.put(ROSTER, roster.to_string().as_bytes(), 0o600); }))]
#[case::an_unreadable_config(settled(|home| home.put(DAEMON_CONFIG, b"{ not json", 0o600)))]
#[case::the_config_of_a_newer_daemon(settled(|home| home.put(DAEMON_CONFIG,
    br#"{"version":99,"daemon":{},"networks":[]}"#, 0o600)))]
#[case::the_config_of_the_app(settled(|home| { let bytes = home.bytes(CONFIG);
    home.put(DAEMON_CONFIG, &bytes, 0o600); }))]
#[case::a_stale_socket(settled(|home| stale_socket(home, ".myownllm/.myownmesh/daemon.sock")))]
#[case::a_stale_socket_in_the_old_location(settled(|home| stale_socket(home, ".myownllm/daemon.sock")))]
#[case::a_stale_shared_socket(settled(|home| stale_socket(home, ".myownmesh/daemon.sock")))]
#[case::a_file_in_the_place_of_the_socket(settled(|home| home.put(".myownllm/.myownmesh/daemon.sock", b"",
    0o600)))]
#[case::a_socket_in_a_circle(settled(|home| link(home, "daemon.sock", ".myownllm/.myownmesh/daemon.sock")))]
#[case::a_socket_in_a_circle_in_the_old_location(settled(|home| link(home, "daemon.sock",
    ".myownllm/daemon.sock")))]
#[case::a_shared_socket_in_a_circle(settled(|home| link(home, "daemon.sock", ".myownmesh/daemon.sock")))]
#[case::a_control_socket_in_the_place_of_the_key(settled(|home| control_socket(home,
    home.path(NEW_KEY).to_str().unwrap())))]
#[case::a_control_socket_in_the_place_of_the_config(settled(|home| control_socket(home,
    home.path(CONFIG).to_str().unwrap())))]
#[case::a_control_socket_in_proc(settled(|home| control_socket(home, "/proc/d.sock")))]
#[case::a_relative_control_socket(settled(|home| control_socket(home, "run/daemon.sock")))]
#[case::a_control_socket_that_is_too_long(settled(|home| control_socket(home,
    &format!("/tmp/{}/d.sock", "x".repeat(110)))))]
#[case::a_control_socket_in_no_directory(settled(|home| control_socket(home,
    "/tmp/no-such-directory-of-this-test/d.sock")))]
#[case::a_control_socket_below_a_file(settled(|home| control_socket(home, "/etc/passwd/d.sock")))]
#[case::a_control_socket_in_a_directory_of_the_daemon_home_that_is_missing(settled(|home| {
    control_socket(home, home.path(".myownllm/.myownmesh/run/d.sock").to_str().unwrap());
}))]
#[case::a_control_socket_behind_a_dangling_symlink(settled(|home| {
    link(home, "/nowhere/run", "run");
    control_socket(home, home.path("run/d.sock").to_str().unwrap());
}))]
#[case::a_control_socket_in_the_daemon_home(settled(|home| {
    control_socket(home, home.path(".myownllm/.myownmesh/own.sock").to_str().unwrap());
}))]
#[case::an_overwritten_config_that_names_a_socket_in_no_directory(legacy(|home| {
    let config = serde_json::json!({
        "version": 3, "daemon": { "control_socket": "/tmp/no-such-directory-of-this-test/d.sock" },
        "networks": []
    });
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
}))]
#[case::a_directory_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    std::fs::create_dir(home.path(DAEMON_CONFIG)).unwrap();
}))]
#[case::a_directory_in_the_place_of_a_roster(settled(|home| {
    remove(home, ROSTER);
    std::fs::create_dir(home.path(ROSTER)).unwrap();
}))]
#[case::a_pipe_in_the_place_of_a_roster(settled(|home| { remove(home, ROSTER); pipe(home, ROSTER); }))]
#[case::a_roster_with_a_byte_order_mark(settled(|home| {
    let roster = [b"\xef\xbb\xbf".to_vec(), home.bytes(ROSTER)].concat();
    home.put(ROSTER, &roster, 0o600);
}))]
#[case::an_empty_roster(settled(|home| home.put(ROSTER, b"", 0o600)))]
#[case::a_config_with_a_byte_order_mark(settled(|home|
    home.put(DAEMON_CONFIG, b"\xef\xbb\xbf{\"version\":3,\"networks\":[]}", 0o600)))]
#[case::a_config_of_another_type(settled(|home|
    home.put(DAEMON_CONFIG, br#"{"version":"3","services":{"turn":{"port":"x"}}}"#, 0o600)))]
#[case::a_pipe_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    pipe(home, DAEMON_CONFIG);
}))]
#[case::a_device_in_the_place_of_the_config(settled(|home| {
    std::fs::remove_file(home.path(DAEMON_CONFIG)).ok();
    link(home, "/dev/null", DAEMON_CONFIG);
}))]
#[case::a_directory_in_the_place_of_the_former_log(settled(|home| {
    std::fs::create_dir(home.path(".myownllm/.myownmesh/daemon.log.1")).unwrap();
}))]
#[case::a_directory_in_the_place_of_the_log(settled(|home| {
    std::fs::remove_file(home.path(".myownllm/.myownmesh/daemon.log")).ok();
    std::fs::create_dir(home.path(".myownllm/.myownmesh/daemon.log")).unwrap();
}))]
#[case::a_control_socket_elsewhere(settled(|home| control_socket(home,
    home.path("d.sock").to_str().unwrap())))]
fn daemons(#[case] home: (Home, Alive)) {
    agree_and_follow(&home.0);
}

/// Nothing can listen behind a symlink loop.
#[rstest]
#[case::in_the_old_location(".myownllm/daemon.sock")]
#[case::in_the_shared_home(".myownmesh/daemon.sock")]
fn socket_in_a_symlink_loop_is_no_daemon(#[case] path: &str) {
    let home = Home::settled();
    link(&home, "daemon.sock", path);
    for args in [&["doctor"][..], &["launch", "--once"]] {
        run(&mut home.with_daemon(args)).ends_with(0);
    }
}

/// A control socket that names a file of the home: the config must name another path, and the file
/// stays.
#[rstest]
#[case::the_key(NEW_KEY)]
#[case::the_config_of_the_app(CONFIG)]
#[case::the_config_of_the_daemon(DAEMON_CONFIG)]
fn control_socket_that_names_a_file_is_edited(#[case] file: &str) {
    let home = Home::settled();
    control_socket(&home, home.path(file).to_str().unwrap());
    let config = home.path(DAEMON_CONFIG);
    let editor = format!("sh -c '${{EDITOR:-vi}} \"$0\"' {}", config.display());
    for args in [&["doctor"][..], &["launch", "--once"]] {
        let ran = run(&mut home.with_daemon(args));
        assert!(ran.all().contains(&editor) && !ran.all().contains("mv -n"), "{args:?}: {ran:?}");
    }
}

/// A daemon that runs in the old location, or in the daemon's home.
#[rstest]
#[case::in_the_old_location_before_the_move(Home::legacy(), APP)]
#[case::in_the_old_location_of_a_settled_home(Home::settled(), APP)]
#[case::in_the_daemon_home(Home::settled(), MESH)]
#[case::in_the_shared_home(Home::settled(), ".myownmesh")]
fn running_daemons(#[case] home: Home, #[case] place: &str) {
    std::fs::create_dir_all(home.path(place)).unwrap();
    let _daemon = home.daemon(place).start().unwrap();
    agree(&home, |_| {});
}

#[test]
fn running_daemon_behind_a_symlink() {
    let home = Home::settled();
    let _daemon = home.daemon(MESH).start().unwrap();
    let socket = ".myownllm/.myownmesh/daemon.sock";
    rename(&home, socket, "real.sock");
    link(&home, home.path("real.sock"), socket);
    agree(&home, |_| {});
}

/// The program that is to be started.
#[rstest]
#[case::is_not_there("/nowhere/myownmesh")]
#[case::is_no_program("/etc/passwd")]
#[case::is_a_directory("/tmp")]
#[case::is_a_relative_path_to_nothing("no/such/myownmesh")]
#[case::is_a_name_that_is_nowhere("no-such-myownmesh")]
#[case::is_not_executable("{home}/plain")]
#[case::is_a_dangling_symlink("{home}/dangling")]
#[case::is_the_daemon("{home}/daemon")]
#[case::has_windows_line_endings("{home}/windows")]
#[case::has_a_windows_line_ending_behind_an_option("{home}/windows-option")]
#[case::lacks_its_interpreter("{home}/no-shell")]
#[case::has_an_interpreter_that_is_not_executable("{home}/plain-shell")]
#[case::has_a_directory_for_an_interpreter("{home}/directory-shell")]
#[case::names_no_interpreter("{home}/nameless")]
#[case::lacks_the_interpreter_that_env_looks_for("{home}/env")]
#[case::is_started_by_env("{home}/env-sh")]
#[case::is_started_by_env_with_options("{home}/env-options")]
#[case::is_a_script("{home}/script")]
#[case::is_empty("{home}/empty")]
#[case::is_text("{home}/text")]
#[case::is_no_format_that_is_known("{home}/bytes")]
#[case::is_cut("{home}/cut")]
#[case::is_cut_in_its_headers("{home}/stump")]
#[case::is_for_another_processor("{home}/foreign")]
#[case::lacks_its_loader("{home}/loader")]
fn programs(#[case] program: &str) {
    let home = Home::settled();
    home.put("plain", b"#!/bin/sh\n", 0o644);
    link(&home, "/nowhere/myownmesh", "dangling");
    link(&home, stand_in(), "daemon");
    odd_programs(&home);
    let program = program.replace("{home}", home.path("").to_str().unwrap().trim_end_matches('/'));
    agree(&home, |command| {
        command.env("MYOWNMESH_BIN", &program).env("PATH", "/usr/bin:/bin");
    });
}

/// Programs that may be executed; the system can start some of them.
fn odd_programs(home: &Home) {
    let serve = format!("exec '{}' \"$@\"\n", stand_in());
    let plain = home.path("plain").display().to_string();
    let here = home.path("").display().to_string();
    for (name, first_line) in [
        ("windows", "#!/bin/sh\r"),
        ("windows-option", "#!/bin/sh -e\r"),
        ("no-shell", "#!/opt/no-such-shell -e"),
        ("plain-shell", &format!("#!{plain}")),
        ("directory-shell", &format!("#!{here}")),
        ("nameless", "#! "),
        ("env", "#!/usr/bin/env no-such-shell"),
        ("env-sh", "#!/usr/bin/env sh"),
        ("env-options", "#!/usr/bin/env -S sh -e"),
        ("script", "#! /bin/sh -e"),
    ] {
        home.put(name, format!("{first_line}\n{serve}").as_bytes(), 0o755);
    }
    let daemon = std::fs::read(stand_in()).unwrap();
    let mut foreign = daemon.clone();
    foreign[18..20].copy_from_slice(&[8, 0]);
    let mut loader = daemon.clone();
    let at = loader.windows(8).position(|bytes| bytes == b"/ld-linu").unwrap();
    loader[at..at + 8].copy_from_slice(b"/no-such");
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("text", b"myownmesh, version 0.3.8\n"),
        ("bytes", &[0xfe, 0xed, 0xfa, 0xcf, 0, 0, 0, 0]),
        ("cut", &daemon[..daemon.len() / 2]),
        ("stump", &daemon[..80]),
        ("foreign", &foreign),
        ("loader", &loader),
    ] {
        home.put(name, bytes, 0o755);
    }
}

/// A program that is named and cannot be started is no problem where another one is found.
#[rstest]
#[case::and_is_not_there("/nowhere/myownmesh")]
#[case::and_is_empty("{home}/empty")]
#[case::and_has_windows_line_endings("{home}/windows")]
fn program_that_is_found_stands_in_for_one_that_is_named(#[case] named: &str) {
    let home = Home::settled();
    link(&home, stand_in(), "bin/myownmesh");
    odd_programs(&home);
    let named = named.replace("{home}", home.path("").to_str().unwrap());
    agree(&home, |command| {
        command.env("MYOWNMESH_BIN", &named).env("PATH", home.path("bin"));
    });
}

/// A program that no variable names, but that lies on `PATH`.
#[rstest]
#[case::has_windows_line_endings("windows")]
#[case::is_empty("empty")]
#[case::is_a_script("script")]
fn programs_on_the_search_path(#[case] name: &str) {
    let home = Home::settled();
    odd_programs(&home);
    link(&home, home.path(name), "bin/myownmesh");
    agree(&home, |command| {
        command.env_remove("MYOWNMESH_BIN").env("PATH", home.path("bin"));
    });
}

/// What a user may not do in the homes, or in the directory of the socket.
#[rstest]
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
    let launch = user.run(&home, &["launch", "--once", "--json"]);
    set_mode(&home.path(path), 0o700);
    same_verdict(&doctor, &launch);
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

fn with(home: Home, path: &str, bytes: &[u8]) -> Home {
    home.put(path, bytes, 0o600);
    home
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

/// What a healthy home needs at its next change, and a launch does not: `doctor` names it.
#[rstest]
#[case::config("+i", CONFIG)]
#[case::config_of_the_daemon("+i", ".myownllm/.myownmesh/config.json")]
#[case::peers("+i", ".myownllm/.myownmesh/mesh")]
#[case::rosters("+i", ".myownllm/.myownmesh/mesh/rosters")]
#[case::roster("+i", ".myownllm/.myownmesh/mesh/rosters/home-mesh.json")]
fn what_the_next_change_needs_is_named_in_a_healthy_home(#[case] attribute: &str, #[case] path: &str) {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let _unlocked = Unlocked(&home);
    if !can("chattr", &[attribute, home.path(path).to_str().unwrap()]) {
        return;
    }
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let warned = doctor["data"]["checks"].as_array().unwrap().iter();
    let warned: Vec<_> = warned.filter(|check| check["id"] == "homes.writable").collect();
    assert_eq!(warned[0]["result"], "warning", "{doctor:#}");
    let hint = warned[0]["hint"].as_str().unwrap();
    let hint = hint.trim_start_matches("sudo ");
    assert!(hint.starts_with("chattr -ia "), "{hint}");
    follow(&home, hint);
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let checks = doctor["data"]["checks"].as_array().unwrap();
    assert!(
        checks.iter().all(|check| check["id"] != "homes.writable" || check["result"] == "ok"),
        "{doctor:#}"
    );
}

/// The key would stay in the daemon home, and its peers would not: the older app would make
/// another.
#[rstest]
#[case::key(NEW_KEY)]
#[case::secrets(".myownllm/.myownmesh/.secrets")]
fn undo_without_the_key_moves_nothing(#[case] path: &str) {
    let home = Home::settled();
    let _unlocked = Unlocked(&home);
    if !Command::new("chattr").arg("+i").arg(home.path(path)).output().is_ok_and(|ran| ran.status.success()) {
        return eprintln!("skipped: no chattr here");
    }
    let before = home.snapshot();
    for args in [&["migrate", "--undo", "--dry-run"][..], &["migrate", "--undo"]] {
        let ran = home.run(args).ends_with(1);
        assert!(ran.stderr.contains("chattr -ia "), "{ran:?}");
        assert_eq!(home.snapshot(), before, "{args:?}");
    }
}

#[rstest]
#[case::a_dangling_symlink_in_its_place(|home: &Home| link(home, "/nowhere/key", OLD_KEY))]
#[case::a_directory_in_its_place(|home: &Home| std::fs::create_dir_all(home.path(OLD_KEY)).unwrap())]
#[case::a_byte_order_mark(|home: &Home| home.put(NEW_KEY,
    &[b"\xef\xbb\xbf", home.bytes(NEW_KEY).as_slice()].concat(), 0o600))]
#[case::a_damaged_key(|home: &Home| home.put(NEW_KEY, &home.bytes(NEW_KEY)[..100], 0o600))]
fn undo_moves_no_peers_without_their_key(#[case] make: fn(&Home)) {
    let home = Home::settled();
    make(&home);
    home.run(&["migrate", "--undo"]).is_sound();
    assert!(home.has(ROSTER) && home.has(NEW_KEY));
    assert!(!home.has(".myownllm/mesh/rosters/home-mesh.json"));
}

/// Homes with mounts that only a namespace of its own shows. `script` runs in the user's home
/// first.
#[rstest]
#[case::key_mounted_alone(
    Home::legacy(),
    "mount --bind .myownllm/.secrets/identity.json .myownllm/.secrets/identity.json"
)]
#[case::full_disk(
    Home::settled(),
    "cd .myownllm && cp -a .myownmesh copy && mount -t tmpfs -o size=256k,mode=700 \
    none .myownmesh && cp -a copy/. .myownmesh && \
    { head -c 999999 /dev/zero >.myownmesh/fill 2>/dev/null || true; }"
)]
#[case::no_free_file(
    Home::settled(),
    "cd .myownllm && cp -a .myownmesh copy && mount -t tmpfs -o \
    nr_inodes=64,mode=700 none .myownmesh && cp -a copy/. .myownmesh && \
    { seq -f .myownmesh/x%g 64 | xargs -n 1 touch 2>/dev/null || true; }"
)]
#[case::log_mounted_alone(
    Home::settled(),
    "cd .myownllm/.myownmesh && echo x >daemon.log && mount --bind daemon.log daemon.log && \
    mount -o remount,ro,bind daemon.log"
)]
#[case::former_log_mounted_alone(
    Home::settled(),
    "cd .myownllm/.myownmesh && echo x | tee daemon.log >daemon.log.1 && \
    mount --bind daemon.log.1 daemon.log.1"
)]
#[case::too_little_room(
    Home::legacy(),
    "cd .myownllm && head -c 400000 /dev/zero | tr '\\0' ' ' >>mesh/rosters/home-mesh.json && \
    mkdir -m 700 .myownmesh && mount -t tmpfs -o size=200k,mode=700 none .myownmesh"
)]
#[case::old_secrets_without_a_free_file(
    Home::legacy(),
    "cd .myownllm && cp -a .secrets t && mount -t tmpfs -o nr_inodes=8,mode=700 none .secrets && \
    cp -a t/. .secrets && rm -r t && { seq -f .secrets/f%g 8 | xargs -n 1 touch 2>/dev/null || true; }"
)]
#[case::too_few_free_files(
    Home::legacy(),
    "cd .myownllm && mkdir -m 700 .myownmesh && mount -t tmpfs -o nr_inodes=5,mode=700 none .myownmesh"
)]
#[case::immutable_roster_that_is_to_be_copied(
    Home::legacy(),
    "cd .myownllm && mkdir -m 700 -p .myownmesh && mount -t tmpfs -o mode=700 none .myownmesh && \
    chattr +i mesh/rosters/home-mesh.json"
)]
fn mounts(#[case] home: Home, #[case] script: &str) {
    if !can_mount() {
        return;
    }
    let _unlocked = Unlocked(&home);
    let said = |args: &[&str]| {
        let script = format!("({script}) && exec \"$@\"");
        let unshare = ["unshare", "-m", "--propagation", "private", "sh", "-c", &script, "sh"];
        run(wrapped(&unshare, &home.with_daemon(args)).current_dir(home.path("")))
    };
    same_verdict(&said(&["doctor", "--json"]), &said(&["launch", "--once", "--json"]));
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

/// An empty directory of root at the old location can be removed by the owner of the home.
#[test]
fn an_empty_old_directory_of_root() {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    std::fs::create_dir(home.path(".myownllm/.secrets")).unwrap();
    set_mode(&home.path(".myownllm/.secrets"), 0o755);
    same_verdict(&user.run(&home, &["doctor", "--json"]), &user.run(&home, &["launch", "--once", "--json"]));
}

/// A disk that fails where a part of the home lies.
#[rstest]
#[case::mesh(".myownllm/.myownmesh/mesh", "openat,statx,newfstatat")]
#[case::rosters(".myownllm/.myownmesh/mesh/rosters", "openat,statx,newfstatat")]
#[case::states(".myownllm/.myownmesh/mesh/states", "getdents64")]
#[case::backups(".myownllm/config-backups", "openat,statx,newfstatat")]
#[case::list_of_backups(".myownllm/config-backups", "getdents64")]
#[case::key(NEW_KEY, "openat,statx,newfstatat")]
#[case::content_of_the_key(NEW_KEY, "read")]
#[case::config(CONFIG, "openat,statx,newfstatat")]
#[case::daemon_config(DAEMON_CONFIG, "openat,statx,newfstatat")]
#[case::old_location(".myownllm/.secrets", "statx,newfstatat")]
#[case::close_of_the_list_of_processes("/proc", "close")]
fn failing_disks(#[case] path: &str, #[case] calls: &str) {
    if !can_trace() {
        return;
    }
    let home = Home::settled();
    control_socket(&home, home.path("d.sock").to_str().unwrap());
    let (fault, path) = (format!("inject={calls}:error=EIO"), home.path(path));
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path.to_str().unwrap(), "-e", &fault];
    let said = |args: &[&str]| run(&mut wrapped(&strace, &home.with_daemon(args)));
    same_verdict(&said(&["doctor", "--json"]), &said(&["launch", "--once", "--json"]));
}

/// A user's home whose path is so long that the default socket cannot be bound.
#[rstest]
#[case::without_a_way_out(None)]
#[case::with_a_short_control_socket(Some("/tmp/mesh-all-clear.sock"))]
fn a_long_home(#[case] socket: Option<&str>) {
    let home = Home::empty();
    let deep = "d".repeat(90);
    std::fs::create_dir(home.path(&deep)).unwrap();
    std::fs::rename(Home::legacy().path(APP), home.path(&format!("{deep}/{APP}"))).unwrap();
    if let Some(socket) = socket {
        let config =
            serde_json::json!({ "version": 3, "daemon": { "control_socket": socket }, "networks": [] });
        home.put(&format!("{deep}/{DAEMON_CONFIG}"), config.to_string().as_bytes(), 0o600);
    }
    let path = home.path(&deep);
    let said = |args: &[&str]| {
        let mut command = Command::new(program());
        command.arg("--home").arg(&path).args(args).current_dir("/").env("HOME", "/nonexistent");
        run(command.env("MYOWNMESH_BIN", stand_in()))
    };
    same_verdict(&said(&["doctor", "--json"]), &said(&["launch", "--once", "--json"]));
}
