//! Runs the commands that the program prints as hints. Each works as printed, does no harm when it
//! runs again, and repairs the problem for which it is printed.

#![cfg(unix)]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::testkit::{
    CONFIG, Home, MESH, NEW_KEY, follow, path_with_program, program, root, run,
};
use rstest::rstest;

/// A problem of a home, with the command that reports it.
struct Trouble {
    name: &'static str,
    args: &'static [&'static str],
    code: &'static str,
    /// A name that the hint could choose, and that is taken.
    decoy: &'static str,
    make: fn(&Home),
}

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

const TROUBLES: &[Trouble] = &[
    Trouble {
        name: "a directory in the config's place",
        args: LAUNCH,
        code: "store.not-regular",
        decoy: ".myownllm/config.json.aside",
        make: |home| {
            std::fs::rename(home.path(CONFIG), home.path("former.json")).unwrap();
            make_dir(home, CONFIG);
        },
    },
    Trouble {
        name: "a file in the backups' place",
        args: &["salvage", "--json"],
        code: "store.copies-unsafe",
        decoy: ".myownllm/config-backups.aside",
        make: |home| {
            std::fs::remove_dir_all(home.path(BACKUPS)).unwrap();
            home.put(BACKUPS, b"no directory", 0o600);
            home.put(CONFIG, b"not JSON", 0o600);
        },
    },
    Trouble {
        name: "a config that is a link to a backup",
        args: &["network", "add", "one-more", "--json"],
        code: "store.config-is-a-copy",
        decoy: ".myownllm/config.json.copy",
        make: |home| {
            let backup = std::fs::read_dir(home.path(BACKUPS)).unwrap().next().unwrap().unwrap().path();
            std::fs::remove_file(home.path(CONFIG)).unwrap();
            symlink(backup, home.path(CONFIG)).unwrap();
        },
    },
    Trouble {
        name: "a daemon's config that is a link to the app's",
        args: &["network", "add", "one-more", "--json"],
        code: "store.shared",
        decoy: ".myownllm/.myownmesh/config.json.copy",
        make: |home| symlink(home.path(CONFIG), home.path(OWN_CONFIG)).unwrap(),
    },
    Trouble {
        name: "a daemon's config that is a link to the app's, as doctor tells it",
        args: DOCTOR,
        code: "daemon.config-is-the-apps",
        decoy: ".myownllm/.myownmesh/config.json.copy",
        make: |home| symlink(home.path(CONFIG), home.path(OWN_CONFIG)).unwrap(),
    },
    Trouble {
        name: "no socket in the socket's place",
        args: LAUNCH,
        code: "daemon.not-a-socket",
        decoy: ".myownllm/.myownmesh/daemon.sock.aside",
        make: |home| home.put(&format!("{MESH}/daemon.sock"), b"no socket", 0o600),
    },
    Trouble {
        name: "a damaged config of the daemon's",
        args: DOCTOR,
        code: "daemon.config-damaged",
        decoy: ".myownllm/.myownmesh/config.json.aside",
        make: |home| home.put(OWN_CONFIG, b"{\"version\": 3,", 0o600),
    },
    Trouble {
        name: "what a daemon left beside a sound config",
        args: DOCTOR,
        code: "config.daemons-leftover",
        decoy: ".myownllm/config.json.corrupt.aside",
        make: |home| home.put(".myownllm/config.json.corrupt", b"{\"half\":", 0o600),
    },
    Trouble {
        name: "a file in the place of the daemon home",
        args: LAUNCH,
        code: "paths.not-a-folder",
        decoy: ".myownllm/.myownmesh.aside",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            std::fs::remove_dir_all(home.path(MESH)).unwrap();
            home.put(MESH, b"no directory", 0o600);
        },
    },
    Trouble {
        name: "a daemon home that is a link out of the app's",
        args: LAUNCH,
        code: "paths.overlap",
        decoy: ".myownllm/.myownmesh.copy",
        make: |home| link_elsewhere(home, MESH),
    },
    Trouble {
        name: "a daemon home that is a link to the app's",
        args: DOCTOR,
        code: "paths.overlap",
        decoy: ".myownllm/.myownmesh.aside",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            std::fs::remove_dir_all(home.path(MESH)).unwrap();
            symlink(".", home.path(MESH)).unwrap();
        },
    },
    Trouble {
        name: "a file in the place of a directory of the daemon's",
        args: &["migrate", "--json"],
        code: "migration.destination-not-folder",
        decoy: ".myownllm/.myownmesh/mesh.aside",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            std::fs::remove_dir_all(home.path(MESH)).unwrap();
            home.put(&format!("{MESH}/mesh"), b"no directory", 0o600);
        },
    },
    Trouble {
        name: "a directory of the daemon's that is a link out of the home",
        args: &["migrate", "--json"],
        code: "migration.destination-outside",
        decoy: ".myownllm/.myownmesh/mesh.aside",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            make_dir(home, &format!("{MESH}/mesh"));
            link_elsewhere(home, &format!("{MESH}/mesh"));
        },
    },
    Trouble {
        name: "a key behind a link",
        args: &["migrate", "--json"],
        code: "migration.source-link",
        decoy: ".myownllm/.secrets.copy",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            link_elsewhere(home, ".myownllm/.secrets");
        },
    },
    Trouble {
        name: "rosters and states behind a link",
        args: LAUNCH,
        code: "migration.peers-link",
        decoy: ".myownllm/mesh.copy",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            link_elsewhere(home, ".myownllm/mesh");
        },
    },
    Trouble {
        name: "a roster behind a link",
        args: DOCTOR,
        code: "migration.peers-link",
        decoy: ".myownllm/mesh/rosters/home-mesh.json.copy",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            link_elsewhere(home, ".myownllm/mesh/rosters/home-mesh.json");
        },
    },
    Trouble {
        name: "a second factor's lock behind a link",
        args: LAUNCH,
        code: "migration.peers-link",
        decoy: ".myownllm/.secrets/custody.json.copy",
        make: |home| {
            home.run(&["migrate", "--undo"]).ends_with(0);
            home.put(".myownllm/.secrets/custody.json", b"{}", 0o600);
            link_elsewhere(home, ".myownllm/.secrets/custody.json");
        },
    },
];

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

#[test]
fn each_hint_mends_its_trouble_and_takes_nothing_when_it_is_run_again() {
    for Trouble { name, args, code, decoy, make } in TROUBLES {
        for kind in ["none", "file", "directory", "symlink"] {
            let what = format!("{name}, decoy: {kind}");
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
            let hint = hint_of(&said, code).unwrap_or_else(|| panic!("{what}: {said:#}"));
            // The run log grows.
            let is_log = |bytes: &[u8]| bytes.starts_with(b"{\"at\":");
            let before: Vec<Vec<u8>> =
                home.contents().into_iter().filter(|bytes| !bytes.is_empty() && !is_log(bytes)).collect();
            let follow = || {
                run(Command::new("sh").args(["-c", &hint]).current_dir("/").env("PATH", path_with_program()))
            };
            let first = follow();
            assert_eq!(first.code, Some(0), "{what}: {hint}: {first:?}");
            nothing_is_lost(&before, &home, &format!("{what}: {hint}"));
            let mended = names(&home);
            follow();
            assert_eq!(names(&home), mended, "{what}: run again, it did something: {hint}");
            if kind == "symlink" {
                assert_eq!(at.read_link().unwrap(), Path::new("nowhere"), "{what}");
            }
            let said = on();
            assert_eq!(hint_of(&said, code), None, "{what}: {hint}: {said:#}");
            // The identity is the same after the hint.
            let device = &home.run(&["identity", "--json"]).ends_with(0).json()["data"]["device_id"];
            assert_eq!(device, &former, "{what}: {hint}");
        }
    }
}

/// Returns every path with its content.
fn names(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    home.snapshot().into_iter().map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// A `mv` or `cp` in a hint replaces no file.
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

/// Runs a hint as printed.
/// The mode of a device is for all of its users.
#[test]
fn no_hint_changes_the_mode_of_a_device() {
    for args in [&["doctor"][..], &["status"], &["launch", "--once"], &["repair"]] {
        let home = Home::empty();
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
