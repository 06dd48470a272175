//! Runs the commands that the program prints as hints. Each works as printed, does no harm when it
//! runs again, and repairs the problem for which it is printed.

#![cfg(unix)]

mod access;

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::testkit::{
    CONFIG, Home, MESH, NEW_KEY, follow, path_with_program, program, root, run,
};
use rstest::rstest;

fn make_dir(home: &Home, path: &str) {
    std::fs::create_dir_all(home.path(path)).unwrap();
}

/// Moves a directory out of the app's home and leaves a symlink to it.
fn link_elsewhere(home: &Home, path: &str) {
    std::fs::rename(home.path(path), home.path("elsewhere")).unwrap();
    symlink(home.path("elsewhere"), home.path(path)).unwrap();
}

const BACKUPS: &str = ".myownllm/config-backups";
const OWN_CONFIG: &str = ".myownllm/.myownmesh/config.json";
const LAUNCH: &[&str] = &["launch", "--once", "--json"];
const DOCTOR: &[&str] = &["doctor", "--json"];

/// Returns the hint for a code, from a diagnostic or a check.
fn hint_of(said: &serde_json::Value, code: &str) -> Option<String> {
    let lists = [&said["diagnostics"], &said["data"]["checks"]];
    let mut all = lists.into_iter().filter_map(serde_json::Value::as_array).flatten();
    let is_it = |one: &&serde_json::Value| {
        one["code"] == code || (one["id"] == code && one["result"] != "ok" && one["result"] != "skipped")
    };
    let found = all.find(is_it)?;
    Some(found["hint"].as_str().unwrap_or_else(|| panic!("{found:#}")).to_owned())
}

/// Checks that each former content still exists, in at least as many files as before.
#[track_caller]
fn nothing_is_lost(before: &[Vec<u8>], home: &Home, what: &str) {
    let now = home.contents();
    for content in before {
        let count = |all: &[Vec<u8>]| all.iter().filter(|one| *one == content).count();
        assert!(count(&now) >= count(before), "{what}: lost: {:?}", String::from_utf8_lossy(content));
    }
}

/// The hint could choose the name `decoy`, and an entry of the kind `kind` has it.
#[rstest]
#[case::directory_in_the_place_of_the_config(LAUNCH, "store.not-regular",
    ".myownllm/config.json.aside", |home: &Home| {
    std::fs::rename(home.path(CONFIG), home.path("former.json")).unwrap();
    make_dir(home, CONFIG);
})]
#[case::file_in_the_place_of_the_backups(&["salvage", "--json"], "store.copies-unsafe",
    ".myownllm/config-backups.aside", |home: &Home| {
    std::fs::remove_dir_all(home.path(BACKUPS)).unwrap();
    home.put(BACKUPS, b"no directory", 0o600);
    home.put(CONFIG, b"not JSON", 0o600);
})]
#[case::config_that_is_a_symlink_to_a_backup(&["network", "add", "one-more", "--json"],
    "store.config-is-a-copy", ".myownllm/config.json.copy", |home: &Home| {
    let backup = std::fs::read_dir(home.path(BACKUPS)).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    symlink(backup, home.path(CONFIG)).unwrap();
})]
#[case::daemon_config_that_is_a_symlink_to_the_apps(&["network", "add", "one-more", "--json"], "store.shared",
    ".myownllm/.myownmesh/config.json.copy",
    |home: &Home| symlink(home.path(CONFIG), home.path(OWN_CONFIG)).unwrap())]
#[case::daemon_config_that_is_a_symlink_to_the_apps_for_doctor(DOCTOR, "daemon.config-is-the-apps",
    ".myownllm/.myownmesh/config.json.copy",
    |home: &Home| symlink(home.path(CONFIG), home.path(OWN_CONFIG)).unwrap())]
#[case::file_in_the_place_of_the_socket(LAUNCH, "daemon.not-a-socket",
    ".myownllm/.myownmesh/daemon.sock.aside",
    |home: &Home| home.put(&format!("{MESH}/daemon.sock"), b"no socket", 0o600))]
#[case::damaged_daemon_config(DOCTOR, "daemon.config-damaged",
    ".myownllm/.myownmesh/config.json.aside", |home: &Home| home.put(OWN_CONFIG, b"{\"version\": 3,", 0o600))]
#[case::leftover_of_a_daemon_beside_a_sound_config(DOCTOR, "config.daemons-leftover",
    ".myownllm/config.json.corrupt.aside",
    |home: &Home| home.put(".myownllm/config.json.corrupt", b"{\"half\":", 0o600))]
#[case::file_in_the_place_of_the_daemon_home(LAUNCH, "paths.not-a-folder",
    ".myownllm/.myownmesh.aside", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    std::fs::remove_dir_all(home.path(MESH)).unwrap();
    home.put(MESH, b"no directory", 0o600);
})]
#[case::daemon_home_that_is_a_symlink_out_of_the_apps(LAUNCH, "paths.overlap",
    ".myownllm/.myownmesh.copy", |home: &Home| link_elsewhere(home, MESH))]
#[case::daemon_home_that_is_a_symlink_to_the_apps(DOCTOR, "paths.overlap",
    ".myownllm/.myownmesh.aside", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    std::fs::remove_dir_all(home.path(MESH)).unwrap();
    symlink(".", home.path(MESH)).unwrap();
})]
#[case::file_in_the_place_of_the_peers(&["migrate", "--json"], "migration.destination-not-folder",
    ".myownllm/.myownmesh/mesh.aside", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    std::fs::remove_dir_all(home.path(MESH)).unwrap();
    home.put(&format!("{MESH}/mesh"), b"no directory", 0o600);
})]
#[case::peers_that_are_a_symlink_out_of_the_home(&["migrate", "--json"], "migration.destination-outside",
    ".myownllm/.myownmesh/mesh.aside", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    make_dir(home, &format!("{MESH}/mesh"));
    link_elsewhere(home, &format!("{MESH}/mesh"));
})]
#[case::peers_that_are_a_symlink_above_the_home(&["migrate", "--json"], "migration.destination-outside",
    ".myownllm/.myownmesh/mesh.aside", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    make_dir(home, MESH);
    std::fs::remove_dir_all(home.path(&format!("{MESH}/mesh"))).ok();
    symlink("../..", home.path(&format!("{MESH}/mesh"))).unwrap();
})]
#[case::key_behind_a_symlink(&["migrate", "--json"], "migration.source-link",
    ".myownllm/.secrets.copy", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    link_elsewhere(home, ".myownllm/.secrets");
})]
#[case::old_peers_behind_a_symlink(LAUNCH, "migration.peers-link", ".myownllm/mesh.copy", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    link_elsewhere(home, ".myownllm/mesh");
})]
#[case::old_roster_behind_a_symlink(DOCTOR, "migration.peers-link",
    ".myownllm/mesh/rosters/home-mesh.json.copy", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    link_elsewhere(home, ".myownllm/mesh/rosters/home-mesh.json");
})]
#[case::old_second_factor_behind_a_symlink(LAUNCH, "migration.peers-link",
    ".myownllm/.secrets/custody.json.copy", |home: &Home| {
    home.run(&["migrate", "--undo"]).ends_with(0);
    home.put(".myownllm/.secrets/custody.json", b"{}", 0o600);
    link_elsewhere(home, ".myownllm/.secrets/custody.json");
})]
fn each_hint_mends_its_trouble_and_takes_nothing_when_it_is_run_again(
    #[case] args: &[&str],
    #[case] code: &str,
    #[case] decoy: &str,
    #[case] make: fn(&Home),
    #[values("none", "file", "directory", "symlink")] kind: &str,
) {
    let home = Home::settled();
    let former = home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"].take();
    make(&home);
    let at = home.path(decoy);
    match kind {
        "file" => home.put(decoy, b"somebody's", 0o600),
        "directory" => home.put(&format!("{decoy}/inside"), b"somebody's", 0o600),
        "symlink" => symlink("nowhere", &at).unwrap(),
        _ => {}
    }
    let on = || run(&mut home.with_daemon(args)).json();
    let said = on();
    let hint = hint_of(&said, code).unwrap_or_else(|| panic!("{said:#}"));
    // The run log grows.
    let is_log = |bytes: &[u8]| bytes.starts_with(b"{\"at\":");
    let before: Vec<Vec<u8>> =
        home.contents().into_iter().filter(|bytes| !bytes.is_empty() && !is_log(bytes)).collect();
    let follow =
        || run(Command::new("sh").args(["-c", &hint]).current_dir("/").env("PATH", path_with_program()));
    let first = follow();
    assert_eq!(first.code, Some(0), "{hint}: {first:?}");
    nothing_is_lost(&before, &home, &hint);
    let mended = names(&home);
    follow();
    assert_eq!(names(&home), mended, "run again, it did something: {hint}");
    if kind == "symlink" {
        assert_eq!(at.read_link().unwrap(), Path::new("nowhere"));
    }
    let said = on();
    assert_eq!(hint_of(&said, code), None, "{hint}: {said:#}");
    // The identity is the same after the hint.
    let device = &home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"];
    assert_eq!(device, &former, "{hint}");
}

/// Returns every path with its content.
fn names(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    home.snapshot().into_iter().map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// The program would take a name that begins with a hyphen for an option.
#[test]
fn hints_name_a_network_that_begins_with_a_hyphen() {
    let home = Home::settled();
    let active = || home.json(CONFIG)["cloud_mesh"]["active_network_id"].clone();
    home.run(&["network", "add", "--activate", "--", "-net"]).ends_with(0);
    let before = active();
    let undo = home.run(&["network", "use", "--none", "--json"]).ends_with(0).json()["data"]["undo"].clone();
    assert!(active().is_null() || active() == "");
    follow(&undo);
    assert_eq!(active(), before);
    home.run(&["network", "use", "--none"]).ends_with(0);
    home.run(&["network", "remove", "home-mesh"]).ends_with(0);
    let doctor = home.run(&["doctor", "--json"]).json();
    follow(&hint_of(&doctor, "network.none-active").unwrap().into());
    assert_eq!(active(), before);
}

/// The first launch moves the identity file, and applies the change too.
#[rstest]
#[case::use_none(&["network", "use", "--none"])]
#[case::add(&["network", "add", "a-net", "--activate"])]
fn change_before_the_first_launch_waits_for_it(#[case] change: &[&str]) {
    let home = Home::legacy();
    let ran = home.run(change).ends_with(0);
    assert!(ran.stdout.contains("No daemon runs: the next launch applies the change."), "{ran:?}");
    assert!(!ran.all().contains("warning: cannot start"), "{ran:?}");
}

/// A network that every daemon refuses is not proposed, and the command that makes it the active
/// one says so.
#[test]
fn hint_proposes_a_network_that_a_daemon_can_join() {
    let home = Home::settled();
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"][0]["network_id"] = "Home Mesh!".into();
    config["cloud_mesh"]["active_network_id"] = serde_json::Value::Null;
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let ran = home.run(&["doctor"]).ends_with(0);
    assert!(ran.stdout.contains("none active") && !ran.stdout.contains("network use"), "{ran:?}");
    home.run(&["network", "add", "work-net"]).ends_with(0);
    let doctor = home.run(&["doctor", "--json"]).ends_with(0).json();
    let hint = hint_of(&doctor, "network.none-active").unwrap();
    assert!(hint.ends_with(" network use work-net"), "{hint}");
    follow(&hint.into());
    home.run(&["doctor"]).ends_with(0);
    let used = home.run(&["network", "use", "Home Mesh!", "--json"]).ends_with(0).json();
    assert!(hint_of(&used, "network.invalid-id").unwrap().ends_with(" network use --none"), "{used:#}");
}

/// The mode of a device is for all of its users.
#[test]
fn no_hint_changes_the_mode_of_a_device() {
    let home = Home::empty();
    for args in [&["doctor"][..], &["status"], &["launch", "--once"], &["repair"]] {
        let mut command = Command::new(program());
        command.args(["--home", "/dev/null"]).args(args).env("HOME", home.path(""));
        let ran = run(&mut command);
        assert!(!ran.all().contains("chmod"), "{ran:?}");
    }
}

/// An empty temporary file in the daemon home is no work of a launch, and `migrate` removes it.
#[test]
fn temporary_file_in_the_daemon_home_is_not_pending_for_ever() {
    let home = Home::settled();
    let part = format!("{MESH}/.secrets/.durable-fs.123-10.part");
    home.put(&part, b"", 0o600);
    home.run(&["status", "--check"]).ends_with(0);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let doctor = home.run(&["doctor", "--json"]).ends_with(0).json();
    follow(&hint_of(&doctor, "migration.pending").unwrap().into());
    assert!(!home.has(&part));
}

/// One file in two places is no file that differs.
#[test]
fn key_behind_a_symlink_to_the_old_location_is_one_file() {
    let home = Home::settled();
    make_dir(&home, ".myownllm/.secrets");
    std::fs::rename(home.path(NEW_KEY), home.path(".myownllm/.secrets/identity.json")).unwrap();
    symlink("../../.secrets/identity.json", home.path(NEW_KEY)).unwrap();
    let doctor = home.run(DOCTOR).ends_with(0).json();
    assert!(doctor.to_string().contains("are one file, by a symlink"), "{doctor:#}");
    follow(&hint_of(&doctor, "migration.collision").unwrap().into());
    assert_eq!(hint_of(&home.run(DOCTOR).ends_with(0).json(), "migration.collision"), None);
    assert!(!home.has(".myownllm/.secrets"));
}

/// A damaged file has no devices and counts as empty, however long it is. No state has devices.
#[rstest]
fn hint_keeps_the_sound_side_of_a_collision(
    #[values(4096, 297)] length: usize,
    #[values("rosters", "states")] dir: &str,
    #[values(false, true)] is_own_damaged: bool,
) {
    let home = Home::settled();
    let [old, own] = [".myownllm", MESH].map(|of| format!("{of}/mesh/{dir}/home-mesh.json"));
    let bytes = home.bytes(&own);
    let zeros = vec![0; length.max(bytes.len())];
    let (old_bytes, own_bytes) = if is_own_damaged { (&bytes, &zeros) } else { (&zeros, &bytes) };
    home.put(&old, old_bytes, 0o600);
    home.put(&own, own_bytes, 0o600);
    let doctor = home.run(DOCTOR).ends_with(0).json();
    // A repair sets a damaged file in the daemon home aside, and moves the sound one.
    let code = if is_own_damaged { "state.damaged" } else { "migration.collision" };
    follow(&hint_of(&doctor, code).unwrap().into());
    assert_eq!(home.bytes(&own), bytes);
    home.still_has(&zeros, "the damaged file");
    assert_eq!(hint_of(&home.run(DOCTOR).ends_with(0).json(), "migration.collision"), None);
}

/// Neither side has all devices of the other: the user has to look.
#[test]
fn no_side_of_a_collision_is_kept_for_its_size() {
    let home = Home::settled();
    let label = "x".repeat(4000);
    let other = format!(
        r#"{{"version":1,"network_id":"home-mesh","authorized_devices":
            [{{"device_id":"cccc","label":"{label}","approved_at":1}}]}}"#
    );
    home.put(".myownllm/mesh/rosters/home-mesh.json", other.as_bytes(), 0o600);
    let hint = hint_of(&home.run(DOCTOR).ends_with(0).json(), "migration.collision").unwrap();
    assert!(hint.starts_with("ls -l "), "{hint}");
}

/// A launch that has nothing to do does not look for it.
#[rstest]
fn temporary_file_of_the_daemons_config_is_named_and_removed(
    #[values("10.part", "10.0f.swap")] end: &str,
    #[values(false, true)] is_mended: bool,
) {
    let home = Home::settled();
    let left = format!("{MESH}/.durable-fs.123-{end}");
    for file in [&left, OWN_CONFIG] {
        home.put(file, br#"{"version": 3, "daemon": {}}"#, 0o600);
    }
    if is_mended {
        home.put(OWN_CONFIG, b"\xef\xbb\xbf{\"version\": 3, \"daemon\": {}}", 0o600);
        home.run(&["launch", "--no-daemon"]).ends_with(0);
    } else {
        let doctor = home.run(DOCTOR).ends_with(0).json();
        follow(&hint_of(&doctor, "store.leftover").unwrap().into());
    }
    assert!(!home.has(&left));
    assert_eq!(hint_of(&home.run(DOCTOR).ends_with(0).json(), "store.leftover"), None);
}

/// A `mv` or `cp` in a hint replaces no file.
#[test]
fn no_source_holds_a_hint_that_could_replace_something() {
    let mut sources = Vec::new();
    collect(&root().join("crates"), &mut sources);
    assert!(sources.len() > 100, "{}", sources.len());
    let mut found = 0;
    for source in sources {
        let text = std::fs::read_to_string(&source).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for (number, line) in
            code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            for command in commands(line) {
                found += 1;
                let options = command.split(' ').nth(1).unwrap_or_default();
                let keeps = options.starts_with('-') && options.contains('n');
                assert!(keeps, "{}:{}: {command}", source.display(), number + 1);
            }
        }
    }
    assert!(found >= 5, "{found}");
}

/// Returns each `mv` and `cp` in the string literals of a line, with the rest of the literal.
fn commands(line: &str) -> Vec<&str> {
    let inside = line.split('"').skip(1).step_by(2);
    let starts = inside.flat_map(|literal| {
        ["mv ", "cp "]
            .into_iter()
            .flat_map(move |command| literal.match_indices(command))
            .map(move |(at, _)| (literal, at))
    });
    starts
        .filter(|(literal, at)| literal[..*at].is_empty() || literal[..*at].ends_with(' '))
        .map(|(literal, at)| &literal[at..])
        .collect()
}

fn collect(dir: &Path, sources: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("target") {
            collect(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
}

/// The shell of a user may be one of those for which the program has completions.
#[rstest]
fn hint_works_in_each_shell(
    #[values("sh", "bash", "zsh", "fish")] shell: &str,
    #[values(an_editor_with_arguments, a_key_with_its_lock)] make: fn(&Home) -> Wanted,
) {
    let home = Home::settled();
    let wanted = make(&home);
    let hint = hint_of(&run(&mut home.with_daemon(LAUNCH)).json(), wanted.code).unwrap();
    let editor = format!("{} --wait", home.path("editor").display());
    let mut command = Command::new(shell);
    command.args(["-c", &hint]).current_dir("/").env("PATH", path_with_program()).env("EDITOR", editor);
    let ran = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: no {shell} here");
            return;
        }
        ran => ran.unwrap(),
    };
    assert!(ran.status.success(), "{hint}: {ran:?}");
    assert!(home.has(wanted.file), "{hint}: {ran:?}");
}

/// The code of a problem, and the file that its hint brings.
struct Wanted {
    code: &'static str,
    file: &'static str,
}

fn an_editor_with_arguments(home: &Home) -> Wanted {
    home.put(OWN_CONFIG, br#"{"version":3,"daemon":{"control_socket":"run/d.sock"},"networks":[]}"#, 0o600);
    home.put("editor", b"#!/bin/sh\n[ \"$1\" = --wait ] && touch \"${2%config.json}edited\"\n", 0o755);
    Wanted { code: "paths.control-socket", file: ".myownllm/.myownmesh/edited" }
}

fn a_key_with_its_lock(home: &Home) -> Wanted {
    let secrets = home.path(&format!("{MESH}/.secrets"));
    std::fs::rename(&secrets, secrets.with_file_name(".secrets.bak")).unwrap();
    home.put(&format!("{MESH}/.secrets.bak/custody.json"), br#"{"version":1}"#, 0o600);
    Wanted { code: "identity.gone", file: NEW_KEY }
}

#[test]
fn hint_names_an_input_file_whose_name_is_not_utf8() {
    let home = Home::settled();
    let file = home.path("").join(std::ffi::OsStr::from_bytes(b"caf\xe9.json"));
    let hint = || {
        let said = run(home.command(&["network", "import", "--json"]).arg(&file)).json();
        said["diagnostics"][0]["hint"].as_str().unwrap().to_owned()
    };
    let named = r"caf\351.json";
    // The closest directory that is there.
    assert_eq!(hint(), format!("ls -ld {}", home.path("").display().to_string().trim_end_matches('/')));
    std::fs::create_dir(&file).unwrap();
    let dir = hint();
    assert!(dir.starts_with("ls -ld ") && dir.contains(named), "{dir}");
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, "{\"kind\": 1,}").unwrap();
    let odd = hint();
    assert!(odd.contains("EDITOR") && odd.contains(named), "{odd}");
    let report = run(home.command(&["report", "--json", "--output"]).arg(&file)).json();
    let free = hint_of(&report, "report.failed").unwrap();
    assert!(free.contains(r"caf\351-2.json"), "{free}");
}
