//! Names and kinds of files in the state that no daemon writes, and the way back.

#![cfg(unix)]

use std::os::unix::fs::{MetadataExt as _, symlink};

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, fixture, fixture_of_038, follow, run, wrapped,
};

#[test]
fn odd_names_and_kinds_in_the_state_are_left_and_reported() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::legacy();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.json");
    std::fs::write(home.path(&format!("{APP}/mesh/rosters")).join(odd), b"{}").unwrap();
    std::fs::create_dir(home.path(&format!("{APP}/mesh/rosters/folder.json"))).unwrap();
    std::os::unix::fs::symlink("/dev/zero", home.path(&format!("{APP}/mesh/states/zero.json"))).unwrap();
    home.put(&format!("{APP}/mesh/rosters/{}.json", "n".repeat(250)), b"{}", 0o600);
    let ran = home.run(&["migrate", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["left"].as_array().map(Vec::len), Some(3), "{}", ran.stdout);
    assert!(home.has(NEW_KEY) && home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")));
    assert_eq!(std::fs::read(home.path(&format!("{APP}/mesh/rosters")).join(odd)).unwrap(), b"{}");
    let settled = home.snapshot();
    home.run(&["migrate", "--check"]).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    assert!(home.snapshot() == settled);
}

#[test]
fn large_and_odd_state_moves_and_a_huge_config_is_left() {
    let home = Home::legacy();
    let rosters = home.path(&format!("{APP}/mesh/rosters"));
    std::fs::File::create(rosters.join("sparse.json")).unwrap().set_len(1 << 30).unwrap();
    let odd = [
        "-rf.json",
        "two\nlines.json",
        "con.json",
        "dot. .json",
        "caf\u{e9}.json",
        "cafe\u{301}.json",
        "x.JSON",
    ];
    for name in odd {
        std::fs::write(rosters.join(name), name).unwrap();
    }
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    std::fs::File::options().append(true).open(home.path(OLD_KEY)).unwrap().set_modified(later).unwrap();
    home.run(&["migrate"]).ends_with(0);
    let moved = home.path(&format!("{MESH}/mesh/rosters"));
    for name in odd {
        // Only the exact ending `.json` belongs to the daemon.
        let at = if name.ends_with(".json") { &moved } else { &rosters };
        assert_eq!(std::fs::read(at.join(name)).unwrap(), name.as_bytes());
    }
    let sparse = moved.join("sparse.json").metadata().unwrap();
    assert_eq!(sparse.len(), 1 << 30);
    assert!(sparse.blocks() < 1000, "it stays sparse");
    assert!(home.has(NEW_KEY));

    let home = Home::settled();
    let huge = [&b"{\"x\":\""[..], &vec![b'a'; 17 << 20], b"\"}"].concat();
    home.put(CONFIG, &huge, 0o600);
    for args in [&["launch", "--no-daemon"][..], &["salvage"], &["network", "list"]] {
        let ran = home.run(args);
        assert!(ran.code == Some(1) || args[0] == "network", "{args:?}: {ran:?}");
        ran.is_sound();
    }
    assert!(home.bytes(CONFIG) == huge);
    // The way out needs no backup.
    std::fs::remove_dir_all(home.path(&format!("{APP}/config-backups"))).unwrap();
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(1);
    let hint = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("hint: ")).unwrap();
    follow(&hint.into());
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.bytes(&format!("{CONFIG}.aside")) == huge);
}

/// A killed daemon leaves a dead socket, the number of an ended process, and a lock file.
#[test]
fn stale_sockets_numbers_and_locks_are_in_nobodys_way() {
    let home = Home::legacy();
    let before = home.state();
    drop(std::os::unix::net::UnixListener::bind(home.path(&format!("{APP}/daemon.sock"))).unwrap());
    for name in ["daemon.pid", ".lock", "daemon.lock"] {
        home.put(&format!("{APP}/{name}"), b"1\n", 0o600);
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(NEW_KEY) && !home.has(OLD_KEY));
    let after = home.state();
    assert!(before.iter().all(|file| after.contains(file)));
}

/// Symlinks to another file occupy the names that the program would like to use.
#[test]
fn names_that_somebody_guessed_are_not_written_through() {
    let home = Home::after_the_bug();
    home.put("victim", b"untouched", 0o600);
    // The names contain the process id and a counter, so the test occupies a whole range.
    let dir = home.path(APP);
    let script = "for f in \"$1/.myownllm\" \"$1/.myownllm/config-backups\" \"$1/.myownllm/.myownmesh\"; do mkdir -p -m700 $f
        for n in 0 1 2 3 4 5; do for e in part swap; do ln -s \"$1/victim\" $f/.durable-fs.$$-$n.$e; done; done; done
        shift; exec \"$@\"";
    let user_home = home.path("");
    let shell = ["sh", "-c", script, "sh", user_home.to_str().unwrap()];
    let ran = run(&mut wrapped(&shell, &home.command(&["launch", "--no-daemon"])));
    ran.is_sound();
    assert_eq!(home.bytes("victim"), b"untouched");
    assert!(dir.join("config.json").symlink_metadata().unwrap().is_file(), "{ran:?}");
}

/// A fault in the daemon home must not keep the config from the app.
#[test]
fn a_file_in_place_of_the_daemons_home_costs_the_app_nothing() {
    let home = Home::after_the_bug();
    home.put(MESH, b"not a directory", 0o600);
    let former = home.bytes(CONFIG);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(7).json();
    assert!(!ran["data"]["config"]["networks"].as_array().unwrap().is_empty(), "{ran:#}");
    assert_eq!(ran["data"]["config"]["shape"], "daemon");
    assert_eq!(home.bytes(CONFIG), former);
    assert!(home.run(&["status"]).stdout.contains("2 saved"));
    // The next launch moves and repairs everything once the file is out of the way.
    std::fs::rename(home.path(MESH), home.path(APP).join("aside")).unwrap();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

/// A symlink does not move. The user has to hear that the daemon will not find the second factor or
/// the roster behind it.
#[test]
fn a_launch_tells_what_stays_in_the_old_place() {
    let home = Home::after_the_bug();
    home.put("notes.json", b"{}", 0o600);
    symlink(home.path("notes.json"), home.path(&format!("{APP}/mesh/rosters/notes.json"))).unwrap();
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(
        ran.stdout.contains("left        ~/.myownllm/mesh/rosters/notes.json  (it is a symlink)"),
        "{ran:?}"
    );
}

/// The key would move without the lock of the second factor. The config is repaired all the same.
#[test]
fn key_does_not_move_while_the_second_factor_stays_behind_a_symlink() {
    let home = Home::after_the_bug();
    home.put("custody.json", b"{}", 0o600);
    symlink(home.path("custody.json"), home.path(&format!("{APP}/.secrets/custody.json"))).unwrap();
    let steps = home.run(&["status", "--json"]).json()["data"]["launch_steps"].clone();
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(7);
    assert_eq!(ran.json()["data"]["steps"], steps, "{ran:?}");
    ran.diagnostic("migration.peers-link");
    assert!(home.has(OLD_KEY) && !home.has(NEW_KEY));
    assert!(home.json(CONFIG)["cloud_mesh"].is_object(), "the config is not repaired");
    home.run(&["launch", "--no-daemon"]).ends_with(7);
}

#[test]
fn down_and_up_ten_times_is_where_it_was() {
    let home = Home::after_the_bug();
    let (leaked, before) = (home.bytes(CONFIG), home.state());
    let mut copies = None;
    for round in 0..10 {
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.run(&["migrate", "--undo"]).ends_with(0);
        assert!(home.has(OLD_KEY) && !home.has(NEW_KEY), "round {round}");
        // The old app runs, and its daemon overwrites the config again.
        home.put(CONFIG, &leaked, 0o644);
        let now = std::fs::read_dir(home.path(&format!("{APP}/config-backups"))).unwrap().count();
        assert_eq!(*copies.get_or_insert(now), now, "round {round}: copies pile up");
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let after = home.state();
    assert!(before.iter().all(|file| after.contains(file)));
}

/// `migrate --undo` swaps source and destination: a hint for the forward move would activate the
/// wrong key.
#[test]
fn printed_command_settles_what_an_undo_refuses() {
    let home = Home::after_the_bug();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let key = home.bytes(NEW_KEY);
    home.put(OLD_KEY, &fixture_of_038(OLD_KEY), 0o600);
    let roster = "mesh/rosters/office-mesh.json";
    home.put(&format!("{APP}/{roster}"), b"{}", 0o600);
    let asked = home.run(&["migrate", "--undo"]).ends_with(7);
    assert!(asked.stdout.contains("migrate --undo --keep-identity daemon-home"), "{asked:?}");
    for line in asked.all().lines() {
        assert!(!line.contains("migrate --keep"), "{line}");
    }
    let json = home.run(&["migrate", "--undo", "--json"]).ends_with(7).json();
    for found in json["diagnostics"].as_array().unwrap() {
        assert!(!found["hint"].to_string().contains("migrate --keep"), "{found}");
    }
    // `--keep` names the same place in both directions, and `--keep` for rosters does not decide
    // between keys.
    home.run(&["migrate", "--undo", "--keep", "daemon-home"]).ends_with(7);
    home.run(&["migrate", "--undo", "--keep", "daemon-home", "--keep-identity", "daemon-home"]).ends_with(0);
    assert_eq!(home.bytes(OLD_KEY), key);
    assert_eq!(home.bytes(&format!("{APP}/{roster}.set-aside-1")), b"{}");
}

/// Without a key the run log is asked for the last one. Unreadable is not absent.
#[test]
fn directory_in_the_run_logs_place_is_set_aside_by_the_hint() {
    let home = Home::empty();
    home.put(CONFIG, &fixture("app-config-before.json"), 0o600);
    home.put(&format!("{APP}/myownllm-mesh.log/notes.txt"), b"somebody's", 0o600);
    let refused = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(1);
    follow(&refused.diagnostic("migration.unreadable")["hint"]);
    home.still_has(b"somebody's", "the file in the directory");
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert!(home.has(NEW_KEY));
}
