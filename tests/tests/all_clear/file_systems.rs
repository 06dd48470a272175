//! Symlinks, mounts, full and failing disks, and long paths.

use std::process::Command;

use super::{
    Alive, ROSTER, agree_and_follow, another_key, control_socket, empty, follow, legacy, link, pipe, rename,
    same_verdict, settled,
};
use integration_tests::testkit::{
    APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, Unlocked, can, can_mount, can_trace, fixture_of_038,
    program, run, set_mode, stand_in, wrapped,
};
use rstest::rstest;

/// Moves a file or directory to another disk, with a symlink in its place.
fn elsewhere(home: &Home, path: &str) {
    rename(home, path, "elsewhere");
    link(home, home.path("elsewhere"), path);
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
#[case::daemon_home_is_the_shared_one_that_is_gone(settled(|home| {
    rename(home, MESH, "former");
    link(home, "../.myownmesh", MESH);
}))]
#[case::app_home_is_the_shared_one(legacy(|home| {
    rename(home, APP, ".myownmesh");
    link(home, ".myownmesh", APP);
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
#[case::a_roster_is_a_symlink_to_a_file_beside_it(legacy(|home| {
    let roster = ".myownllm/mesh/rosters/home-mesh.json";
    rename(home, roster, ".myownllm/mesh/rosters/.real.json");
    link(home, ".real.json", roster);
}))]
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

/// The check of the homes knows which command mends a daemon home that leads out of the app's home.
#[test]
fn daemon_home_that_leads_out_is_one_problem() {
    let (home, _) = legacy(|home| {
        home.put(".myownmesh/.secrets/identity.json", &another_key(), 0o600);
        link(home, "../.myownmesh", MESH);
    });
    for args in [&["doctor", "--json"][..], &["status", "--json"], &["--json"]] {
        let said = run(&mut home.with_daemon(args)).json();
        assert!(!said.to_string().contains("migration.destination-outside"), "{args:?}: {said:#}");
        assert!(said.to_string().contains("paths.overlap"), "{args:?}: {said:#}");
    }
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

/// What a healthy home needs at its next change, and a launch does not: `doctor` names it.
#[rstest]
#[case::config("+i", CONFIG)]
#[case::config_of_the_daemon("+i", ".myownllm/.myownmesh/config.json")]
#[case::peers("+i", ".myownllm/.myownmesh/mesh")]
#[case::rosters("+i", ".myownllm/.myownmesh/mesh/rosters")]
#[case::roster("+i", ".myownllm/.myownmesh/mesh/rosters/home-mesh.json")]
fn need_of_the_next_change_is_named_in_a_healthy_home(#[case] attribute: &str, #[case] path: &str) {
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
#[case::overwritten_config_mounted_alone(
    Home::after_the_bug(),
    "cd .myownllm && mount --bind config.json config.json"
)]
#[case::misplaced_daemon_config_mounted_alone(
    Home::settled(),
    "cd .myownllm && cp config.json .myownmesh && mount --bind .myownmesh/config.json .myownmesh/config.json"
)]
#[case::immutable_misplaced_daemon_config(
    Home::settled(),
    "cd .myownllm && chattr -i .myownmesh/config.json 2>/dev/null; cp config.json .myownmesh && \
    chattr +i .myownmesh/config.json"
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
#[case::last_free_file(
    Home::legacy(),
    "rm -rf copy && cp -a .myownllm copy && mount -t tmpfs -o nr_inodes=64,mode=700 none .myownllm && \
    cp -a copy/. .myownllm && { seq -f .myownllm/x%g 64 | xargs -n 1 touch 2>/dev/null || true; } && \
    rm .myownllm/x1"
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
