//! The program without rights to the files of the home, and as root in the home of a user.

#![cfg(unix)]

use std::os::unix::fs::{MetadataExt as _, symlink};
use std::{path::PathBuf, process::Command};

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, NOBODY, OLD_KEY, Unlocked, Unprivileged, can, can_be_root, give,
    is_root, run, set_mode, stand_in, within,
};
use rstest::rstest;

#[test]
fn unreadable_file_is_not_absent() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    let before = home.state();
    set_mode(&home.path(OLD_KEY), 0);
    for args in [&["migrate"][..], &["launch", "--once"]] {
        let ran = user.run(&home, args).ends_with(1);
        assert!(
            ran.stderr.contains("migration.unreadable") && ran.stderr.contains(".secrets/identity.json"),
            "{ran:?}"
        );
        assert!(home.has(OLD_KEY) && !home.has(NEW_KEY), "the key stays, and no other is made");
        assert!(home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")), "the rest goes on");
    }
    set_mode(&home.path(OLD_KEY), 0o600);
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(home.state(), before);

    // A directory cannot be read: the key waits for the files that belong to it.
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(&format!("{APP}/mesh")), 0);
    let ran = user.run(&home, &["migrate"]).ends_with(1);
    assert!(ran.stderr.contains("migration.identity-held-back"), "{ran:?}");
    assert!(home.has(OLD_KEY) && !home.has(NEW_KEY));
    // An unreadable roster can still be renamed.
    set_mode(&home.path(&format!("{APP}/mesh")), 0o700);
    set_mode(&home.path(&format!("{APP}/mesh/rosters/home-mesh.json")), 0);
    user.run(&home, &["migrate"]).ends_with(0);

    let home = Home::after_the_bug();
    let Some(user) = Unprivileged::new(&home) else { return };
    let config = home.bytes(CONFIG);
    set_mode(&home.path(CONFIG), 0);
    for args in [&["launch", "--no-daemon"][..], &["salvage"], &["network", "add", "garden"]] {
        let ran = user.run(&home, args).ends_with(1);
        assert!(ran.stderr.contains("Permission denied"), "{args:?}: {ran:?}");
    }
    set_mode(&home.path(CONFIG), 0o600);
    assert_eq!(home.bytes(CONFIG), config, "what cannot be read is not replaced");
}

/// Another user's directory in root's home holds a symlink to a file that only root can read. Root
/// must not write through the symlink, nor back up its target.
#[test]
fn a_link_of_another_users_leads_root_nowhere() {
    if !can_be_root() {
        return;
    }
    let home = Home::empty();
    let secret = b"root:$6$hunter2:1:0::";
    home.put("shadow", secret, 0o600);
    std::fs::create_dir_all(home.path(APP)).unwrap();
    symlink(home.path("shadow"), home.path(CONFIG)).unwrap();
    give(&home.path(APP), NOBODY);
    for args in [&["launch", "--no-daemon"][..], &["salvage"]] {
        let ran = home.run(args).ends_with(7);
        assert!(ran.stderr.contains("store.foreign-link"), "{args:?}: {ran:?}");
    }
    assert_eq!(home.bytes("shadow"), secret);
    let holds_it =
        |(_, (_, bytes)): &(&PathBuf, &(Vec<i64>, Vec<u8>))| bytes.windows(secret.len()).any(|w| w == secret);
    let places: Vec<_> = home.snapshot().iter().filter(holds_it).map(|(path, _)| path.clone()).collect();
    assert!(
        places.iter().all(|path| path.ends_with("shadow") || path.ends_with("config.json")),
        "{places:?}"
    );
}

/// The app ran once as root. Directories of root are no attack, but the program cannot change them
/// either.
#[test]
fn files_left_by_root_are_named_with_a_chown_command() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    let mesh = home.path(&format!("{APP}/mesh"));
    for mode in [0o755, 0o700] {
        give(&mesh, 0);
        set_mode(&mesh, mode);
        let ran = user.run(&home, &["migrate"]);
        assert!(home.has(OLD_KEY) && !home.has(NEW_KEY), "{ran:?}");
        if mode == 0o755 {
            let give_back = format!("sudo chown -RH {NOBODY}:{NOBODY} {}", mesh.display());
            assert!(ran.ends_with(7).stderr.contains(&give_back), "{mode:o}");
        }
    }
    give(&mesh, NOBODY);
    user.run(&home, &["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

#[test]
fn a_home_that_may_not_be_written_is_left_and_said() {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    let named_by_doctor = |home: &Home, dir: &str, result: &str| {
        let check = user.run(home, &["doctor", "--json"]).check("homes.writable");
        assert_eq!(check["result"], result, "{check:#}");
        assert_eq!(check["hint"], format!("chmod u+w {}", home.path(dir).display()), "{check:#}");
    };
    let before = home.state();
    for dir in [APP, ".myownllm/.secrets"] {
        set_mode(&home.path(dir), 0o500);
        for args in [&["migrate"][..], &["launch", "--once"]] {
            let ran = user.run(&home, args).ends_with(1);
            assert!(ran.stderr.contains("Permission denied"), "{dir}: {args:?}: {ran:?}");
            assert!(home.has(OLD_KEY) && !home.has(NEW_KEY), "{dir}: the key stays, and no other is made");
        }
        if dir == APP {
            // `status` predicts the failure, and works in a home that cannot be written.
            let status = user.run(&home, &["status", "--check", "--json"]).ends_with(3).json();
            assert!(status["data"]["launch_would"].to_string().contains("fail to change"), "{status:#}");
            assert_eq!(status["diagnostics"][0]["code"], "paths.unwritable", "{status:#}");
            named_by_doctor(&home, APP, "problem");
        }
        set_mode(&home.path(dir), 0o700);
    }
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(home.state(), before);
    // The move could be done, but the daemon's log cannot be written.
    set_mode(&home.path(MESH), 0o500);
    let status = user.run(&home, &["status"]).ends_with(0);
    assert!(status.stdout.contains("start no daemon"), "{status:?}");
    set_mode(&home.path(MESH), 0o700);
    assert!(user.run(&home, &["status"]).stdout.contains("start the app's daemon"));
    // A backup of the config that the next repair replaces cannot be made.
    let copies = home.path(APP).join("config-backups");
    set_mode(&copies, 0o500);
    named_by_doctor(&home, ".myownllm/config-backups", "warning");
    set_mode(&copies, 0o700);
}

/// The rename is refused because of the directory of the file. No temporary file in the other
/// directory tells more.
#[rstest]
fn move_that_fails_at_each_start_changes_no_time(#[values(".secrets", "mesh")] dir: &str) {
    let home = Home::legacy();
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(&format!("{APP}/{dir}")), 0o500);
    let fail = || drop(user.run(&home, &["launch", "--once"]).ends_with(1));
    fail();
    let before = home.snapshot();
    fail();
    let changed: Vec<_> = home.snapshot().into_iter().filter(|(path, now)| before[path] != *now).collect();
    assert!(changed.is_empty(), "{changed:?}");
}

#[rstest]
fn a_umask_opens_nothing_and_locks_nobody_out(#[values("000", "077", "777")] umask: &str) {
    let home = Home::after_the_bug();
    let before = home.state();
    within(&home, &format!("umask {umask}"), &["launch", "--no-daemon"]).ends_with(0);
    for (path, (stamp, _)) in home.snapshot() {
        if path.starts_with(home.path(MESH)) || path.starts_with(home.path(APP).join("config-backups")) {
            let wanted = if path.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(stamp[0] & 0o777, wanted, "{}", path.display());
        }
    }
    // The daemon's part of the config is a new file.
    assert!(before.iter().all(|file| home.state().contains(file)));
    // The daemon gets the umask too, and makes a socket.
    let daemon = format!("umask {umask}; export MYOWNMESH_BIN='{}'", stand_in());
    within(&home, &daemon, &["launch", "--once"]).ends_with(0);
    let report = home.path("report.txt");
    within(&home, &format!("umask {umask}"), &["report", "--output", report.to_str().unwrap()]).ends_with(0);
    for file in [report, home.path(".myownllm/myownllm-mesh.log")] {
        assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn files_that_root_makes_in_a_users_home_are_the_users() {
    if !can_be_root() {
        return;
    }
    let home = Home::after_the_bug();
    give(&home.path("..").canonicalize().unwrap(), NOBODY);
    let ran = home.run(&["launch", "--no-daemon"]);
    ran.is_sound();
    for path in home.snapshot().into_keys() {
        let uid = path.symlink_metadata().unwrap().uid();
        assert_eq!(uid, NOBODY, "{}: {ran:?}", path.display());
    }
}

#[test]
fn dirs_of_other_users_are_refused() {
    if !can_be_root() {
        return;
    }
    let home = Home::legacy();
    std::os::unix::fs::chown(home.path(&format!("{APP}/.secrets")), Some(1234), Some(1234)).unwrap();
    let before = home.snapshot();
    for args in [&["migrate"][..], &["launch", "--once"]] {
        let ran = run(&mut home.with_daemon(args)).ends_with(7);
        assert!(ran.stderr.contains("chown"), "{ran:?}");
        assert!(home.has(OLD_KEY) && !home.has(NEW_KEY));
    }
    assert_eq!(home.snapshot()[&home.path(OLD_KEY)], before[&home.path(OLD_KEY)]);
}

/// A user who can replace the config is reported by each command that writes a config, and by no
/// other.
#[test]
fn a_config_that_is_written_where_others_can_write_is_said() {
    let reported = |home: &Home, args: &[&str]| {
        let ran = run(&mut home.with_daemon(&[args, &["--json"]].concat()));
        let answer = ran.json();
        let notices = answer["diagnostics"].as_array().unwrap().clone();
        let reported: Vec<_> =
            notices.into_iter().filter(|notice| notice["code"] == "homes.unsafe-permissions").collect();
        for notice in &reported {
            let mend = format!("chmod -R go-w {}", home.path(APP).display());
            assert_eq!(notice["hint"], mend.as_str(), "{args:?}");
        }
        (
            ran.code,
            reported.iter().map(|notice| notice["severity"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    let warned = || (Some(0), vec!["warning".to_owned()]);
    let home = Home::settled();
    let leaked = Home::after_the_bug().bytes(CONFIG);
    set_mode(&home.path(APP), 0o777);
    assert_eq!(reported(&home, &["network", "add", "more"]), warned());
    assert_eq!(reported(&home, &["network", "add", "more"]), (Some(0), vec![]), "nothing was written");
    let first = home.run(&["config", "history", "--json"]).json()["data"]["copies"][0]["id"].clone();
    assert_eq!(reported(&home, &["network", "add", "yet-more"]), warned());
    assert_eq!(reported(&home, &["config", "restore", first.as_str().unwrap()]), warned());
    assert_eq!(reported(&home, &["config", "restore", first.as_str().unwrap()]), (Some(0), vec![]));
    home.put(CONFIG, &leaked, 0o644);
    assert_eq!(reported(&home, &["salvage"]), warned());
    // The launch that starts a daemon next refuses.
    home.put(CONFIG, &leaked, 0o644);
    assert_eq!(reported(&home, &["launch", "--no-daemon"]), (Some(7), vec!["error".to_owned()]));
    // Reported once, as the reason why no daemon starts.
    home.put(CONFIG, &leaked, 0o644);
    assert_eq!(reported(&home, &["launch", "--once"]), (Some(7), vec!["error".to_owned()]));
    set_mode(&home.path(APP), 0o755);
    assert_eq!(reported(&home, &["network", "add", "in-peace"]).1, [""; 0]);
}

#[rstest]
#[case::key("+i", OLD_KEY)]
#[case::secrets("+i", ".myownllm/.secrets")]
#[case::rosters_to_append_to("+a", ".myownllm/mesh/rosters")]
#[case::config("+i", CONFIG)]
#[case::config_to_append_to("+a", CONFIG)]
fn files_that_the_system_keeps_in_place_stay_and_are_named(#[case] attribute: &str, #[case] what: &str) {
    let probe = Home::empty();
    if !is_root() || !can("chattr", &["+i", probe.path("").to_str().unwrap()]) {
        return;
    }
    drop(Unlocked(&probe));
    let home = Home::after_the_bug();
    let unlocked = Unlocked(&home);
    let (before, config) = (home.state(), home.bytes(CONFIG));
    assert!(Command::new("chattr").arg(attribute).arg(home.path(what)).status().unwrap().success());
    let ran = run(&mut home.with_daemon(&["launch", "--once"]));
    assert_ne!(ran.code, Some(0), "{what}: {ran:?}");
    ran.is_sound();
    home.still_has(&config, what);
    let now = home.state();
    assert!(before.iter().all(|file| now.contains(file)), "{what}: {ran:?}");
    assert!(home.has(OLD_KEY) || home.has(NEW_KEY), "{what}");
    drop(unlocked);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    home.run(&["status", "--check"]).ends_with(0);
}

#[rstest]
#[case::of_a_healthy_home(None)]
#[case::of_a_wiped_config(Some("{}"))]
fn backup_that_cannot_be_read_is_not_called_damaged_or_lost(#[case] config: Option<&str>) {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    let backups = home.path(&format!("{APP}/config-backups"));
    for backup in std::fs::read_dir(&backups).unwrap() {
        set_mode(&backup.unwrap().path(), 0);
    }
    if let Some(config) = config {
        std::fs::write(home.path(CONFIG), config).unwrap();
    }
    for args in [&["doctor"][..], &["status"], &["config", "history"], &["launch", "--no-daemon"]] {
        let said = user.run(&home, args).all();
        for false_word in ["DAMAGED", "corrupt", "changed by another program", "no backup has", "accept"] {
            assert!(!said.contains(false_word), "{args:?}: {said}");
        }
    }
    let doctor = user.run(&home, &["doctor", "--json"]).json();
    let mut hints =
        doctor["diagnostics"].as_array().unwrap().iter().filter_map(|reported| reported["hint"].as_str());
    assert!(hints.any(|hint| hint.contains("chmod u+r") && hint.contains("config-backups")), "{doctor:#}");
}

/// A renamed home of another user's, or on a disk that is not there, may hold the key.
#[rstest]
#[case::closed(Some(0))]
#[case::to_list_only(Some(0o600))]
#[case::on_a_missing_disk(None)]
fn renamed_home_that_cannot_be_looked_at_is_not_overlooked(#[case] mode: Option<u32>) {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    let renamed = home.path(".myownllm.old");
    std::fs::rename(home.path(APP), &renamed).unwrap();
    match mode {
        Some(mode) => set_mode(&renamed, mode),
        None => {
            std::fs::rename(&renamed, home.path("elsewhere")).unwrap();
            std::os::unix::fs::symlink("/mnt/missing/.myownllm", &renamed).unwrap();
        }
    }
    for command in [&["doctor"][..], &["identity"], &["launch", "--no-daemon"]] {
        let said = user.run(&home, command);
        assert_ne!(said.code, Some(0), "{command:?}: {said:?}");
        assert!(said.all().contains(".myownllm.old"), "{command:?}: {said:?}");
        assert!(!said.all().contains(".myownllm.old/"), "{command:?}: {said:?}");
    }
    assert!(!home.has(APP), "no new home is made");
}

/// The older app's daemon would make another key beside the peers.
#[rstest]
#[case::key(NEW_KEY, 0)]
#[case::secrets(".myownllm/.myownmesh/.secrets", 0o300)]
fn undo_moves_no_peers_without_a_key_that_cannot_be_read(#[case] path: &str, #[case] mode: u32) {
    let home = Home::settled();
    let Some(user) = Unprivileged::new(&home) else { return };
    set_mode(&home.path(path), mode);
    let before = home.snapshot();
    for args in [&["migrate", "--undo", "--dry-run"][..], &["migrate", "--undo"]] {
        user.run(&home, args).ends_with(1);
        assert_eq!(home.snapshot(), before, "{args:?}");
    }
    set_mode(&home.path(path), if path == NEW_KEY { 0o600 } else { 0o700 });
    user.run(&home, &["migrate", "--undo"]).ends_with(0);
    assert!(home.has(OLD_KEY));
}

/// Absent and unreadable are different: behind a directory that cannot be read, nothing is reported
/// as missing and no daemon as running.
#[test]
fn unreadable_directory_is_not_reported_as_missing() {
    let home = Home::after_the_bug();
    let Some(user) = Unprivileged::new(&home) else { return };
    for door in [home.path(APP), home.path("")] {
        set_mode(&door, 0);
        let status = user.run(&home, &["status"]).ends_with(0);
        assert!(
            !status.stdout.contains("none yet") && !status.stderr.contains("is still running"),
            "{status:?}"
        );
        assert!(status.stderr.contains("warning: cannot use"), "{status:?}");
        let doctor = user.run(&home, &["doctor", "--json"]);
        for id in ["identity.sound", "state.moved"] {
            assert_ne!(doctor.check(id)["result"], "ok", "{doctor:?}");
        }
        set_mode(&door, 0o700);
    }
}

/// Root made the home, as in a volume of a container: the user may not make the app's home there.
#[test]
fn home_of_root_without_the_apps_home_is_mended_by_the_hint() {
    let home = Home::empty();
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    std::os::unix::fs::chown(home.path(""), Some(0), Some(0)).unwrap();
    let app = home.path(APP).display().to_string();
    let hint = format!("sudo install -d -m 700 -o {NOBODY} {app}");
    assert_eq!(user.run(&home, &["doctor", "--json"]).ends_with(4).json()["diagnostics"][0]["hint"], *hint);
    user.run(&home, &["status", "--check"]).ends_with(1);
    let refused = user.run(&home, &["launch", "--once", "--json"]).ends_with(1).json();
    assert_eq!(refused["diagnostics"][0]["hint"], *hint, "{refused:#}");
    let install = hint.strip_prefix("sudo ").unwrap();
    for _ in 0..2 {
        assert!(Command::new("sh").args(["-c", install]).status().unwrap().success());
    }
    user.run(&home, &["launch", "--once"]).ends_with(0);
    user.run(&home, &["status", "--check"]).ends_with(0);
}

/// The config is healthy, so only this warning tells the user that there is no backup.
#[test]
fn a_copy_that_cannot_be_made_is_reported_at_every_start() {
    let home = Home::settled();
    home.run(&["network", "add", "garden"]).ends_with(0);
    let Some(user) = Unprivileged::new(&home) else { return };
    let copies = |home: &Home| user.run(home, &["doctor", "--json"]).check("config.copies");
    assert_eq!(copies(&home)["result"], "ok");
    let config = String::from_utf8(home.bytes(CONFIG)).unwrap().replace("garden", "yard");
    home.put(CONFIG, config.as_bytes(), 0o600);
    let dir = home.path(&format!("{APP}/config-backups"));
    set_mode(&dir, 0o500);
    for _ in 0..2 {
        let reported = user.run(&home, &["launch", "--no-daemon", "--json"]).ends_with(0).json();
        let codes = reported["diagnostics"].as_array().unwrap().iter().map(|reported| &reported["code"]);
        assert_eq!(codes.filter(|code| *code == "store.copy-failed").count(), 1, "{reported:#}");
    }
    let check = copies(&home);
    assert_eq!(check["result"], "warning", "{check:#}");
    assert!(check["hint"].as_str().unwrap().starts_with("chmod u+w "), "{check:#}");
    set_mode(&dir, 0o700);
    user.run(&home, &["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(copies(&home)["result"], "ok");
}

/// The own daemon has another home and another socket than the shared one.
#[rstest]
#[case::home(".myownmesh")]
#[case::config(".myownmesh/config.json")]
fn launch_warns_that_the_shared_daemon_is_unknown_and_starts_the_own_one(#[case] closed: &str) {
    let home = Home::settled();
    home.put(".myownmesh/config.json", br#"{"version":3,"daemon":{},"networks":[]}"#, 0o600);
    let Some(user) = Unprivileged::new(&home).filter(|user| user.is_dropped) else { return };
    set_mode(&home.path(".myownmesh"), 0o700);
    let of_root = home.path(closed);
    std::os::unix::fs::chown(&of_root, Some(0), Some(0)).unwrap();
    let hint = format!("sudo chown -RH {NOBODY}:{NOBODY} {}", of_root.display());
    let launched = user.run(&home, &["launch", "--once", "--json"]).ends_with(0);
    let reported = launched.diagnostic("daemon.unreachable");
    assert_eq!(reported["severity"], "warning", "{reported:#}");
    assert_eq!(launched.json()["data"]["daemon"]["state"], "spawned", "{launched:?}");
    let check = user.run(&home, &["doctor", "--json"]).ends_with(0).check("daemon.shared");
    assert_eq!(check["result"], "warning", "{check:#}");
    assert_eq!((&reported["hint"], &check["hint"]), (&hint.as_str().into(), &hint.as_str().into()));
    give(&of_root, NOBODY);
    let launched = user.run(&home, &["launch", "--once", "--json"]).ends_with(0);
    assert!(!launched.codes().contains(&"daemon.unreachable".to_owned()), "{launched:?}");
}
