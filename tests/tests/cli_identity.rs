//! The identity file, and the permission to start a daemon. Every command gives the same answer
//! before anything moves, and the hint leads back to the key.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use integration_tests::testkit::{APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Ran, fixture_of_038, root, run};
use rstest::rstest;
use serde_json::Value;

const DEVICE: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da-2EA55";

/// The place of the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// At the old location.
    Before,
    /// In the daemon's home.
    After,
}
use State::{After, Before};

/// The condition of the identity file.
#[derive(Clone, Copy, Debug)]
enum Key {
    Sound,
    Gone,
    /// Renamed, in the same directory.
    Named(&'static str),
    /// Moved to another path of the user's home.
    At(&'static str),
    Cut,
    Empty,
    Utf8WithMark,
    Utf16,
    ZerosBehind,
    /// Cut off, with a sound key under this name beside it.
    CutBeside(&'static str),
    /// Inside a directory that has the file's name.
    InDirectory,
}
use Key::{At, Cut, CutBeside, Empty, Gone, InDirectory, Named, Sound, Utf8WithMark, Utf16, ZerosBehind};

fn home_with(state: State, key: Key, peers: bool) -> Home {
    let home = if state == Before { Home::legacy() } else { Home::settled() };
    if state == Before {
        // A healthy config: only the move is pending.
        home.put(CONFIG, &Home::settled().bytes(CONFIG), 0o600);
    }
    let side = if state == Before { APP } else { MESH };
    if !peers {
        std::fs::remove_dir_all(home.path(&format!("{side}/mesh"))).unwrap();
    }
    let path = format!("{side}/.secrets/identity.json");
    let at = home.path(&path);
    let sound = home.bytes(&path);
    let put = |bytes: &[u8]| home.put(&path, bytes, 0o600);
    match key {
        Sound => {}
        Gone => std::fs::remove_file(at).unwrap(),
        Named(name) => std::fs::rename(&at, at.with_file_name(name)).unwrap(),
        At(place) => {
            std::fs::create_dir_all(home.path(place).parent().unwrap()).unwrap();
            std::fs::rename(&at, home.path(place)).unwrap();
        }
        Cut => put(&sound[..100]),
        Empty => put(b""),
        Utf8WithMark => put(&[b"\xef\xbb\xbf", sound.as_slice()].concat()),
        Utf16 => {
            let text = format!("\u{feff}{}", String::from_utf8(sound).unwrap());
            put(&text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
        }
        ZerosBehind => put(&[sound.as_slice(), &[0; 4096]].concat()),
        CutBeside(name) => {
            put(&sound[..100]);
            std::fs::write(at.with_file_name(name), sound).unwrap();
        }
        InDirectory => {
            std::fs::rename(&at, at.with_file_name("aside")).unwrap();
            std::fs::create_dir(&at).unwrap();
            std::fs::rename(at.with_file_name("aside"), at.join("identity.json")).unwrap();
        }
    }
    home
}

/// Runs the commands, each with its exit code where no daemon may be started.
fn runs(home: &Home) -> Vec<(&'static str, i32, Ran)> {
    let program = |args: &[&str]| run(&mut home.with_daemon(&[args, &["--json"]].concat()));
    vec![
        ("status", 7, program(&["status", "--check"])),
        ("doctor", 4, program(&["doctor"])),
        ("identity", 7, program(&["identity"])),
        ("migrate --check", 7, program(&["migrate", "--check"])),
        ("migrate", 7, program(&["migrate"])),
        ("launch --no-daemon", 7, program(&["launch", "--no-daemon"])),
        ("launch", 7, program(&["launch", "--once"])),
    ]
}

/// Returns the one diagnostic with this code.
fn finding<'a>(name: &str, said: &'a Value, code: &str) -> &'a Value {
    let list = match name {
        "doctor" => said["data"]["checks"].as_array().unwrap(),
        _ => said["diagnostics"].as_array().unwrap(),
    };
    let found: Vec<&Value> = list.iter().filter(|one| one["code"] == code).collect();
    assert_eq!(found.len(), 1, "{name}: {said:#}");
    found[0]
}

/// Returns every regular file of the two homes, except logs and backups of configs.
fn files(home: &Home) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let all = home.snapshot().into_iter().filter(|(path, _)| path.is_file());
    let all = all.filter(|(path, _)| !path.to_string_lossy().contains("config-backups"));
    let all = all.filter(|(path, _)| !path.file_name().unwrap().to_string_lossy().contains(".log"));
    all.map(|(path, (_, bytes))| (path, bytes)).collect()
}

fn sh(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).status().unwrap().success()
}

fn has_device(home: &Home) {
    let started = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(started["data"]["daemon"]["device_id"], DEVICE, "{started:#}");
}

#[rstest]
#[case::sound_before(Before, Sound)]
#[case::sound_after(After, Sound)]
fn a_sound_key_is_no_trouble_for_any_command(#[case] state: State, #[case] key: Key) {
    let home = home_with(state, key, true);
    for (name, _, ran) in runs(&home) {
        let pending = state == Before && ["status", "migrate --check"].contains(&name);
        let said = ran.ends_with(if pending { 3 } else { 0 }).json();
        assert!(!said["diagnostics"].to_string().contains("identity"), "{name}: {said:#}");
        assert!(name != "doctor" || said["data"]["problems"] == 0, "{name}: {said:#}");
    }
    has_device(&home);
}

/// Nothing moves, no key is made, and the hint brings the key back.
#[rstest]
#[case::gone_before(Before, Gone, true)]
#[case::gone_after(After, Gone, true)]
#[case::numbered_copy(Before, Named("identity (1).json"), false)]
#[case::numbered_copy_with_peers(Before, Named("identity (1).json"), true)]
#[case::numbered_copy_after(After, Named("identity (1).json"), true)]
#[case::dropbox_conflict(Before, Named("identity (Ann's conflicted copy 2026-01-02).json"), true)]
#[case::syncthing_conflict(After, Named("identity.sync-conflict-20260102-030405-ABCDEFG.json"), false)]
#[case::editor_copy(After, Named("identity.json~"), true)]
#[case::emacs_autosave(Before, Named("#identity.json#"), true)]
#[case::bak(After, Named("identity.json.bak"), false)]
#[case::orig(Before, Named("identity.json.orig"), true)]
#[case::name_that_tells_nothing(After, Named("old"), true)]
#[case::temporary_of_the_daemon(Before, Named("identity.json.tmp"), false)]
#[case::letter_case(Before, Named("Identity.JSON"), true)]
#[case::copy_of_the_directory(After, At(".myownllm/.myownmesh/.secrets.bak/identity.json"), true)]
#[case::in_the_home_itself(Before, At(".myownllm/identity.json"), true)]
#[case::among_the_backups_of_configs(Before, At(".myownllm/config-backups/identity.json"), false)]
#[case::among_the_backups_of_configs_after(After, At(".myownllm/config-backups/identity (1).json"), false)]
#[case::swap_file_in_the_home_itself(Before, At(".myownllm/.identity.json.swp"), false)]
#[case::download_in_the_daemons_home(After, At(".myownllm/.myownmesh/identity.json.part"), false)]
#[case::directory_of_the_users_own(After, At(".myownllm/backup/identity.json.bak"), false)]
#[case::copy_of_a_home(Before, At(".myownllm/old/.secrets/identity.json"), false)]
#[case::versions_of_a_sync_program(
    Before,
    At(".myownllm/.secrets/.stversions/identity~20260102.json"),
    false
)]
fn a_missing_key_is_one_problem_in_every_command_before_anything_moves(
    #[case] state: State,
    #[case] key: Key,
    #[case] peers: bool,
) {
    const CODE: &str = "identity.gone";
    let home = home_with(state, key, peers);
    let before = files(&home);
    let mut reported: Vec<(String, String)> = Vec::new();
    for (name, code, ran) in runs(&home) {
        let said = ran.ends_with(code).json();
        let found = finding(name, &said, CODE);
        let message = found["message"].as_str().or(found["evidence"].as_str()).unwrap().to_owned();
        reported.push((message, found["hint"].as_str().unwrap().to_owned()));
        match name {
            "doctor" => assert_eq!(said["data"]["problems"], 1, "{said:#}"),
            "status" => {
                assert!(said["data"]["launch_would"].to_string().contains("start no daemon"), "{said:#}");
                assert_eq!(said["data"]["identity"]["state"], "odd", "{said:#}");
            }
            "launch" | "launch --no-daemon" => {
                assert_eq!(said["data"]["config"]["shape"], "app", "the config is loaded: {said:#}");
                assert_eq!(said["data"]["daemon"]["state"], "none", "{said:#}");
            }
            _ => {}
        }
        assert_eq!(files(&home), before, "{name} changed something");
    }
    assert!(reported.iter().all(|one| *one == reported[0]), "one answer: {reported:#?}");
    let text = home.run(&["status"]).ends_with(0).all();
    assert!(!text.contains("none yet") && !text.contains("start the app's daemon"), "{text}");

    let hint = match key {
        Gone => {
            let backup = home.path("backup.json");
            let sound = if state == Before { Home::legacy() } else { Home::settled() };
            let side = if state == Before { APP } else { MESH };
            std::fs::write(&backup, sound.bytes(&format!("{side}/.secrets/identity.json"))).unwrap();
            reported[0].1.replace("/path/to/backup/identity.json", backup.to_str().unwrap())
        }
        _ => reported[0].1.clone(),
    };
    assert!(sh(&hint), "{hint}");
    let _ = sh(&hint);
    has_device(&home);
    for (name, _, ran) in runs(&home) {
        assert_eq!(ran.code, Some(0), "{name}: {ran:?}");
    }
    for (path, bytes) in before {
        home.still_has(&bytes, &path.display().to_string());
    }
}

/// A power cut can leave the key under a temporary name if the file system does not persist the
/// sync of a directory. No command reports "none yet", and a launch renames the key.
#[rstest]
fn the_temporary_file_of_a_killed_move_is_pending(
    #[values(Before, After)] state: State,
    #[values(false, true)] peers: bool,
) {
    let home = home_with(state, Named(".durable-fs.123-10.part"), peers);
    let status = home.run(&["status", "--check"]).ends_with(3);
    assert!(status.all().contains(DEVICE), "{status:?}");
    assert!(!home.run(&["identity"]).ends_with(0).all().contains("no identity yet"));
    assert_eq!(home.run(&["doctor", "--json"]).ends_with(0).json()["data"]["problems"], 0);
    has_device(&home);
    assert!(home.has(NEW_KEY));
}

/// The key is damaged, or no daemon can read it: it stays, and no other key is made.
#[rstest]
#[case::cut_before(Before, Cut)]
#[case::cut_after(After, Cut)]
#[case::empty(After, Empty)]
#[case::byte_order_mark_before(Before, Utf8WithMark)]
#[case::byte_order_mark(After, Utf8WithMark)]
#[case::utf16_before(Before, Utf16)]
#[case::utf16(After, Utf16)]
#[case::zero_bytes_behind(After, ZerosBehind)]
#[case::cut_with_a_temporary(After, CutBeside("identity.json.tmp"))]
#[case::cut_with_a_conflict_copy(Before, CutBeside("identity (1).json"))]
#[case::in_a_directory_of_its_name_before(Before, InDirectory)]
#[case::in_a_directory_of_its_name(After, InDirectory)]
fn a_key_that_no_daemon_can_read_is_one_problem_in_every_command(#[case] state: State, #[case] key: Key) {
    const CODE: &str = "migration.identity-damaged";
    let home = home_with(state, key, true);
    let before = files(&home);
    let mut hints = Vec::new();
    for (name, code, ran) in runs(&home) {
        let said = ran.ends_with(code).json();
        hints.push(finding(name, &said, CODE)["hint"].as_str().unwrap().to_owned());
        if name == "doctor" {
            assert_eq!(said["data"]["problems"], 1, "{said:#}");
        }
    }
    assert!(hints.iter().all(|hint| *hint == hints[0]), "one answer: {hints:#?}");
    let keys = |files: &[(std::path::PathBuf, Vec<u8>)]| {
        let is_key = |path: &Path| path.to_string_lossy().contains(".secrets");
        files.iter().filter(|(path, _)| is_key(path)).cloned().collect::<Vec<_>>()
    };
    assert_eq!(keys(&files(&home)), keys(&before), "no key is touched, and none is made");

    let backup = home.path("backup.json");
    std::fs::write(&backup, Home::legacy().bytes(OLD_KEY)).unwrap();
    let hint = hints[0].replace("/path/to/backup/identity.json", backup.to_str().unwrap());
    assert!(sh(&hint), "{hint}");
    let _ = sh(&hint);
    has_device(&home);
    for (path, bytes) in before {
        home.still_has(&bytes, &path.display().to_string());
    }
}

/// The message names an encoding that no daemon reads.
#[test]
fn the_encoding_of_a_key_is_named() {
    for (key, name) in [(Utf8WithMark, "byte order mark"), (Utf16, "UTF-16"), (ZerosBehind, "zero bytes")] {
        let said = home_with(After, key, true).run(&["identity"]).ends_with(7);
        assert!(said.all().contains(name), "{said:?}");
    }
}

/// No daemon reads the path of a key in a config: every command names the file, before anything
/// moves.
#[test]
fn a_key_that_only_a_config_names_is_missing_in_every_command() {
    let other = Home::legacy();
    std::fs::rename(other.path(OLD_KEY), other.path("key.json")).unwrap();
    let mut config = other.json(CONFIG);
    config["identity_path"] = other.path("key.json").to_str().unwrap().into();
    other.put(CONFIG, config.to_string().as_bytes(), 0o600);
    for args in [&["migrate"][..], &["launch", "--no-daemon"], &["identity"]] {
        let said = other.run(args).ends_with(7);
        assert!(said.stderr.contains("identity.gone"), "{args:?}: {said:?}");
        assert!(said.stderr.contains("key.json"), "{args:?}: {said:?}");
        assert!(other.has(&format!("{APP}/mesh/rosters/home-mesh.json")), "{args:?}: nothing moves");
    }
}

/// `migrate --undo` refuses in the same way: rosters without their key stay where they are.
#[test]
fn a_missing_key_stops_the_way_back_too() {
    let home = home_with(After, Gone, true);
    let before = files(&home);
    let said = home.run(&["migrate", "--undo"]).ends_with(7);
    assert!(said.stderr.contains("identity.gone"), "{said:?}");
    assert_eq!(files(&home), before);
}

/// Puts the key of another device beside the key of a settled home.
fn with_stranger(home: &Home, at: &str) {
    let fixture = root().join("tests/fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    home.put(at, &std::fs::read(fixture).unwrap(), 0o600);
}

const STRANGER: &str = "ap7lkm5uwdc3hseaymkfwl2dnv2ibke2lvu64yxqoaslf2ikgmlq-0A355";

#[test]
fn keys_that_the_peers_do_not_tell_apart_are_shown_for_a_choice() {
    let home = home_with(After, Named("identity (1).json"), false);
    with_stranger(&home, &format!("{APP}/.secrets/identity.json.bak"));
    // The run log would tell them apart.
    std::fs::remove_file(home.path(&format!("{APP}/myownllm-mesh.log"))).unwrap();
    for (command, code) in [("identity", 7), ("status", 0), ("doctor", 4)] {
        let ran = home.run(&[command]).ends_with(code);
        assert!(ran.all().contains(DEVICE) && ran.all().contains(STRANGER), "{}", ran.all());
        let json = home.run(&[command, "--json"]).ends_with(code).json();
        let reported = json["diagnostics"].as_array().unwrap();
        let reported = reported.iter().find(|reported| reported["code"] == "identity.gone");
        let hint =
            reported.and_then(|reported| reported["hint"].as_str()).unwrap_or("myownllm-mesh identity");
        let shows = hint.starts_with("myownllm-mesh ") && hint.ends_with(" identity");
        assert!(shows, "no command chooses: {json:#}");
    }
    // The page to which the hint leads has the commands.
    assert!(home.run(&["identity"]).stdout.matches("mv -n ").count() >= 2);
    let ways = home.run(&["identity", "--json"]).json()["data"]["ways_out"].take();
    let actions: Vec<_> =
        ways.as_array().unwrap().iter().map(|way| way["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["choose", "bring-back", "bring-back", "give-up-peers"], "{ways:#}");
}

#[test]
fn page_shows_the_way_that_keeps_the_key_before_the_one_that_gives_it_up() {
    let page = home_with(Before, Named("identity (1).json"), true).run(&["identity"]).ends_with(7).stdout;
    let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text} is not in {page}"));
    assert!(place("mv -n") < place("Only if it is lost for good"), "{page}");
    assert!(page.lines().nth(2).is_some_and(|line| line.ends_with(".secrets/identity.json")), "{page}");
}

/// Returns a home with the key of a stranger in the place of the one that its state names.
fn with_stranger_in_place() -> Home {
    let home = home_with(After, Named("identity (1).json"), true);
    let named = serde_json::json!({"roles": {DEVICE.split('-').next().unwrap(): "owner"}});
    home.put(&format!("{MESH}/mesh/states/home-mesh.json"), named.to_string().as_bytes(), 0o600);
    with_stranger(&home, &format!("{MESH}/.secrets/identity.json"));
    home
}

/// Later launches do not: by then the run log shows the stranger.
#[test]
fn launch_that_starts_a_daemon_warns_of_a_key_that_the_peers_do_not_name() {
    let home = with_stranger_in_place();
    let said = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert!(said["diagnostics"].to_string().contains("identity.other-known"), "{said:#}");
}

#[test]
fn key_that_the_peers_do_not_name_is_a_warning() {
    let home = with_stranger_in_place();
    let mut hint = Value::Null;
    for command in ["doctor", "identity"] {
        let json = home.run(&[command, "--json"]).ends_with(0).json();
        let reported = json["diagnostics"].as_array().unwrap();
        let reported = reported.iter().find(|reported| reported["code"] == "identity.other-known").unwrap();
        assert_eq!(reported["severity"], "warning");
        assert!(reported["message"].as_str().unwrap().contains(DEVICE), "{reported:#}");
        hint = reported["hint"].clone();
    }
    assert!(run(Command::new("sh").args(["-c", hint.as_str().unwrap()])).code == Some(0), "{hint}");
    let json = home.run(&["identity", "--json"]).ends_with(0).json();
    assert_eq!(json["data"]["device_id"], DEVICE);
    assert_eq!(json["diagnostics"], serde_json::json!([]));
}

/// Nobody can tell who knows this device while the disk of its peers is missing: no daemon starts,
/// with the key in its place or without it.
#[rstest]
#[case::peers_without_the_key(After, "mesh", "/mnt/missing/mesh", false)]
#[case::rosters_without_the_key(After, "mesh/rosters", "/mnt/missing/rosters", false)]
#[case::states_in_a_circle_without_the_key(After, "mesh/states", "states", false)]
#[case::peers_of_before_without_the_key(Before, "mesh", "/mnt/missing/mesh", false)]
#[case::peers_with_the_key(After, "mesh", "/mnt/missing/mesh", true)]
#[case::rosters_in_a_circle_with_the_key(After, "mesh/rosters", "rosters", true)]
fn no_daemon_starts_while_the_disk_of_its_peers_is_missing(
    #[case] state: State,
    #[case] dir: &str,
    #[case] target: &str,
    #[case] has_key: bool,
) {
    let home = home_with(state, if has_key { Sound } else { Gone }, true);
    let at = home.path(&format!("{}/{dir}", if state == Before { APP } else { MESH }));
    let others = at.parent().unwrap().to_owned();
    std::fs::rename(&at, home.path("disk")).unwrap();
    for beside in ["rosters", "states"].map(|name| others.join(name)) {
        let _ = std::fs::remove_dir_all(beside);
    }
    std::os::unix::fs::symlink(target, &at).unwrap();
    let commands: &[(&[&str], i32)] = &[
        (&["doctor", "--json"], 4),
        (&["status", "--json"], 0),
        (&["identity", "--json"], i32::from(!has_key)),
        (&["launch", "--once", "--json"], 1),
    ];
    for (arguments, code) in commands {
        let ran = run(&mut home.with_daemon(arguments)).ends_with(*code);
        let reported = ran.json()["diagnostics"].take();
        let is_told = reported
            .as_array()
            .unwrap()
            .iter()
            .any(|reported| reported["code"] == "identity.peers-unreachable");
        assert!(is_told || has_key && arguments[0] == "identity", "{arguments:?}: {reported:#}");
    }
    let keys = [APP, MESH].map(|side| home.path(&format!("{side}/.secrets/identity.json")));
    assert_eq!(keys.iter().any(|key| key.exists()), has_key, "a daemon made a key");
}

/// The home was in use, and the directory behind the symlink is empty, as a mount point is.
#[rstest]
#[case::secrets(&[".secrets"])]
#[case::secrets_and_peers(&[".secrets", "mesh"])]
fn no_daemon_starts_while_the_disk_of_its_key_is_missing(#[case] dirs: &[&str]) {
    let on_a_missing_disk = || {
        let home = home_with(After, Sound, true);
        for dir in dirs {
            let (at, mount) = (home.path(&format!("{MESH}/{dir}")), home.path(&format!("mnt-{dir}")));
            std::fs::rename(&at, home.path(&format!("disk-{dir}"))).unwrap();
            std::fs::create_dir(&mount).unwrap();
            std::os::unix::fs::symlink(&mount, at).unwrap();
        }
        home
    };
    let reported = |home: &Home, arguments: &[&str], code| {
        let ran = run(&mut home.with_daemon(arguments)).ends_with(code);
        ran.json()["diagnostics"]
            .as_array()
            .unwrap()
            .iter()
            .any(|reported| reported["code"] == "identity.disk-missing")
    };
    let home = on_a_missing_disk();
    let commands: [(&[&str], _); 4] = [
        (&["doctor", "--json"], 4),
        (&["status", "--json"], 0),
        (&["identity", "--json"], 1),
        (&["launch", "--once", "--json"], 1),
    ];
    for (arguments, code) in commands {
        assert!(reported(&home, arguments, code), "{arguments:?}");
    }
    assert!(!home.path(NEW_KEY).exists(), "a daemon made a key");
    for dir in dirs {
        std::fs::remove_dir(home.path(&format!("mnt-{dir}"))).unwrap();
        std::fs::rename(home.path(&format!("disk-{dir}")), home.path(&format!("mnt-{dir}"))).unwrap();
    }
    let json = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0).json();
    assert_eq!(json["data"]["daemon"]["device_id"], DEVICE, "{json:#}");
    // Gives the disk up.
    let home = on_a_missing_disk();
    let ways = home.run(&["identity", "--json"]).json()["data"]["ways_out"].take();
    let last = ways.as_array().unwrap().last().unwrap()["command"].as_str().unwrap();
    assert!(run(Command::new("sh").args(["-c", last])).code == Some(0), "{last}");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(home.path(NEW_KEY).exists());
}

/// Nothing shows that a disk is missing: a user may have made a directory for the rosters.
#[test]
fn doctor_alone_warns_of_an_empty_directory_for_rosters_beside_the_key() {
    let home = home_with(After, Sound, true);
    let rosters = home.path(&format!("{MESH}/mesh/rosters"));
    std::fs::remove_dir_all(&rosters).unwrap();
    std::fs::create_dir(home.path("mnt")).unwrap();
    std::os::unix::fs::symlink(home.path("mnt"), &rosters).unwrap();
    let json = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(0).json();
    let reported = json["diagnostics"].as_array().unwrap();
    let reported: Vec<_> =
        reported.iter().filter(|reported| reported["code"] == "identity.disk-missing").collect();
    assert_eq!((reported.len(), &reported[0]["severity"]), (1, &"warning".into()), "{json:#}");
    let shown = run(Command::new("sh").args(["-c", reported[0]["hint"].as_str().unwrap()]));
    assert_eq!(shown.stdout.trim_end(), home.path("mnt").to_str().unwrap());
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
}

/// The run log and the peers show the other key.
#[test]
fn identity_that_a_move_back_keeps_is_moved_by_the_next_launch() {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let chosen = fixture_of_038(".myownllm/.secrets/identity.json");
    home.put(OLD_KEY, &chosen, 0o600);
    home.run(&["migrate", "--undo", "--keep-identity", "old-location"]).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), chosen);
}

/// The rosters are beside the key of a stranger, and the run log shows the former one.
#[test]
fn identity_that_the_home_has_known_is_named_of_two() {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let own = home.bytes(NEW_KEY);
    for (old, new) in [(&own, &fixture_of_038(OLD_KEY)), (&fixture_of_038(OLD_KEY), &own)] {
        home.put(OLD_KEY, old, 0o600);
        home.put(NEW_KEY, new, 0o600);
        let said = home.run(&["migrate", "--dry-run"]).stdout;
        assert!(said.contains(&format!("This home has known {DEVICE}:")), "{said}");
        for args in [&[][..], &["doctor"], &["identity"], &["status"]] {
            let said = home.run(args).all();
            let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(words.contains(&format!("this home has known {DEVICE}")), "{args:?}: {said}");
        }
        let side = if *old == own { "old-location" } else { "daemon-home" };
        let said = home.run(&["--json"]).json();
        let first = said["data"]["commands"][0]["command"].as_str().unwrap();
        assert!(first.ends_with(&format!("migrate --keep-identity {side}")), "{said}");
    }
}

/// A choice between rosters refuses before the choice between keys is made.
#[test]
fn files_that_differ_are_shown_alone_while_two_identities_wait() {
    let home = Home::settled();
    home.put(OLD_KEY, &fixture_of_038(OLD_KEY), 0o600);
    home.put(&format!("{APP}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
    for args in [&["doctor", "--json"][..], &["migrate", "--dry-run", "--json"]] {
        let reported = home.run(args).diagnostic("migration.collision");
        assert!(reported["hint"].as_str().unwrap().starts_with("ls -l "), "{args:?}: {reported}");
    }
    home.run(&["migrate", "--keep-identity", "daemon-home"]).ends_with(7);
    let reported = home.run(&["migrate", "--dry-run", "--json"]).diagnostic("migration.collision");
    assert!(reported["hint"].as_str().unwrap().ends_with("migrate --keep daemon-home"), "{reported}");
}

/// A torn copy has the place of the key in the daemon home, and the sound key is where it was.
#[test]
fn every_screen_of_a_damaged_key_begins_with_the_sound_one_at_the_old_location() {
    let home = home_with(Before, Sound, true);
    home.put(NEW_KEY, &home.bytes(OLD_KEY)[..90], 0o600);
    let way = "migrate --keep-identity old-location";
    let launched = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7);
    assert!(launched.diagnostic("migration.identity-damaged")["hint"].as_str().unwrap().ends_with(way));
    for args in [&["identity", "--json"][..], &["doctor", "--json"]] {
        let reported = home.run(args).diagnostic("migration.identity-damaged");
        assert!(reported["hint"].as_str().unwrap().ends_with(way), "{args:?}: {reported}");
    }
    let said = home.run(&["--json"]).json();
    assert!(said["data"]["commands"][0]["command"].as_str().unwrap().ends_with(way), "{said}");
    let said = home.run(&["identity"]).stdout;
    let lost = said.find("Only if it is lost for good").unwrap();
    assert!(said.find(way).is_some_and(|at| at < lost), "{said}");
    home.run(&["migrate", "--keep-identity", "old-location"]).ends_with(0);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
}

/// The disk of the key was cleaned up, or the dotfiles came back without it.
#[rstest]
#[case::broken_symlink("/nowhere/identity.json", ".secrets/identity.json.bak", true)]
#[case::symlink_loop("identity.json", ".secrets/identity.json.bak", true)]
#[case::copy_in_another_directory("/nowhere/identity.json", "old/identity.json", true)]
#[case::key_of_another_device("/nowhere/identity.json", ".secrets/identity.json.bak", false)]
fn sound_key_beside_a_symlink_to_nothing_is_named(
    #[case] target: &str,
    #[case] copy: &str,
    #[case] is_own: bool,
) {
    let home = home_with(After, Sound, true);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let key = if is_own { home.bytes(NEW_KEY) } else { fixture_of_038(OLD_KEY) };
    home.put(&format!("{MESH}/{copy}"), &key, 0o600);
    std::fs::remove_file(home.path(NEW_KEY)).unwrap();
    std::os::unix::fs::symlink(target, home.path(NEW_KEY)).unwrap();
    let hint = |args: &[&str]| {
        let ran = run(&mut home.with_daemon(args));
        ran.diagnostic("migration.identity-unreachable")["hint"].as_str().unwrap().to_owned()
    };
    let first = hint(&["launch", "--once", "--json"]);
    for args in [&["doctor", "--json"][..], &["identity", "--json"], &["migrate", "--dry-run", "--json"]] {
        assert_eq!(hint(args), first, "{args:?}");
    }
    let said = home.run(&["identity"]).stdout;
    assert!(said.contains(copy) && said.contains("readlink "), "{said}");
    assert_eq!(first.starts_with("readlink "), !is_own, "{first}");
    if is_own {
        assert!(run(Command::new("sh").args(["-c", &first])).code == Some(0), "{first}");
        run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
        assert_eq!(home.bytes(NEW_KEY), key);
    }
}

/// The target of the symlink was removed.
#[rstest]
#[case::daemon_home_before_the_move(Home::legacy, MESH)]
#[case::app_home_before_the_first_start(Home::empty, APP)]
fn symlink_to_nothing_in_the_place_of_a_home_is_moved_out_of_the_way(
    #[case] home: fn() -> Home,
    #[case] place: &str,
) {
    let home = home();
    std::fs::write(home.path("other"), "x").unwrap();
    let key = home.has(OLD_KEY).then(|| home.bytes(OLD_KEY));
    std::os::unix::fs::symlink(home.path("gone"), home.path(place)).unwrap();
    let ran = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(7);
    let reported = ran.json()["diagnostics"][0].clone();
    let hint = reported["hint"].as_str().unwrap();
    assert!(hint.starts_with("mv -n ") && reported["message"].as_str().unwrap().contains(hint), "{reported}");
    assert!(reported["message"].as_str().unwrap().contains("bring its target back, or"), "{reported}");
    assert!(run(Command::new("sh").args(["-c", hint])).code == Some(0), "{hint}");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(key.is_none_or(|key| home.bytes(NEW_KEY) == key));
    assert!(home.path(&format!("{place}.aside")).is_symlink());
}

/// The user has moved the daemon home to the place of the stand-alone daemon's.
#[rstest]
#[case::own_key(true)]
#[case::key_of_the_stand_alone_daemon(false)]
fn known_key_in_the_home_of_the_stand_alone_daemon_is_copied_back(#[case] is_own: bool) {
    let home = home_with(After, Sound, true);
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let key = home.bytes(NEW_KEY);
    std::fs::rename(home.path(MESH), home.path(".myownmesh")).unwrap();
    if !is_own {
        home.put(".myownmesh/.secrets/identity.json", &fixture_of_038(OLD_KEY), 0o600);
    }
    let reported = home.run(&["identity", "--json"]).ends_with(7).diagnostic("identity.gone");
    let hint = reported["hint"].as_str().unwrap();
    if !is_own {
        assert!(hint.contains("/path/to/backup/"), "{hint}");
        return;
    }
    assert!(run(Command::new("sh").args(["-c", hint])).code == Some(0), "{hint}");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(home.bytes(NEW_KEY) == key && home.bytes(".myownmesh/.secrets/identity.json") == key);
    assert!(home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")));
}

/// A killed run has set the key of the daemon home aside, and not yet moved the chosen one.
#[test]
fn killed_decision_for_the_other_identity_is_finished_by_the_same_command() {
    let home = Home::settled();
    let own = home.bytes(NEW_KEY);
    std::fs::rename(home.path(NEW_KEY), home.path(&format!("{NEW_KEY}.set-aside-1"))).unwrap();
    let chosen = fixture_of_038(".myownllm/.secrets/identity.json");
    home.put(OLD_KEY, &chosen, 0o600);
    // Without the decision, no key of another device is used.
    for args in [&["migrate"][..], &["migrate", "--keep", "old-location"], &["launch", "--once"]] {
        assert!(run(&mut home.with_daemon(args)).ends_with(7).all().contains("identity.gone"), "{args:?}");
    }
    home.run(&["migrate", "--keep-identity", "old-location", "--dry-run"]).ends_with(0);
    home.run(&["migrate", "--keep-identity", "old-location"]).ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), chosen);
    home.still_has(&own, "the key that was set aside");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
}
