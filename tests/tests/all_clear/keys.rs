//! Homes whose identity file or peers are odd or missing.

use std::process::Command;

use super::{
    Alive, ROSTER, agree_and_follow, another_key, empty, legacy, link, remove, rename, settled, with,
};
use integration_tests::testkit::{APP, CONFIG, DAEMON_CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Unlocked, run};
use rstest::rstest;

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
