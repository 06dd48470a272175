//! Tests a table of homes against their answers, and runs each way out.
//!
//! Homes with symlinks and pipes are for Unix alone. On Windows, no way out is run: each is a
//! command of a POSIX shell.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::disallowed_methods, reason = "tests may write as they like")]

mod common;

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::process::{Command, ExitStatus};

use common::{Home, key_file, public_key, short};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_identity::{Answer, Problem, Refusal, Side, WayOut, scan_everywhere, start_permit};
#[cfg(unix)]
use myownllm_identity::{Class, IdentityPaths, ensure_reachable_peers, scan};
use rstest::rstest;

/// The identity file of the daemon home and of the old location.
const NEW: &str = "mesh/.secrets/identity.json";
const OLD: &str = ".secrets/identity.json";

/// A roster and a state in the form that a daemon writes.
const ROSTER: &[u8] = br#"{"version": 1, "network_id": "home", "authorized_devices": []}"#;
const STATE: &[u8] = br#"{"version": 2, "network_id": "home", "transitions": []}"#;
/// A config of an app that saves a network.
const SAVED: &[u8] = br#"{"cloud_mesh": {"networks": [{"network_id": "home"}]}}"#;
/// A config that a daemon has written after it had joined a network.
const USED: &[u8] = br#"{"version": 3, "daemon": {}, "networks": [{"network_id": "home"}]}"#;

/// The content of one path of a home.
#[derive(Clone, Copy, Debug)]
enum Put {
    Key(&'static str, u8),
    Bytes(&'static str, &'static [u8]),
    Cut(&'static str, u8),
    /// The key of seed 1 in another form.
    Shaped(&'static str, fn(Vec<u8>) -> Vec<u8>),
    Newer(&'static str),
    #[cfg(unix)]
    Link(&'static str, &'static str),
    Dir(&'static str),
    #[cfg(unix)]
    Pipe(&'static str),
    /// A config that names an identity file. A relative path lies in the user's home.
    Names(&'static str, &'static str),
    /// A key in the user's home.
    Outside(&'static str, u8),
    /// A roster in the daemon's home.
    Known,
    /// A roster at the old location.
    KnownBefore,
    State,
    OneRoster(&'static str),
    /// A roster or state that names these seeds: owner, member, signer.
    Peers(&'static str, [u8; 3]),
}
use Put::*;

fn home_of(parts: &[Put]) -> Home {
    let home = Home::new();
    for part in parts {
        match *part {
            Key(path, seed) => home.put(path, &key_file(seed, "x")),
            Bytes(path, bytes) => home.put(path, bytes),
            Cut(path, seed) => home.put(path, &key_file(seed, "x")[..90]),
            Shaped(path, shape) => home.put(path, &shape(key_file(1, "x"))),
            Newer(path) => home.put(path, b"{\"version\": 2}"),
            #[cfg(unix)]
            Link(path, target) => {
                std::fs::create_dir_all(home.at(path).parent().unwrap()).unwrap();
                symlink(target, home.at(path)).unwrap();
            }
            Dir(path) => std::fs::create_dir_all(home.at(path)).unwrap(),
            #[cfg(unix)]
            Pipe(path) => {
                std::fs::create_dir_all(home.at(path).parent().unwrap()).unwrap();
                assert!(Command::new("mkfifo").arg(home.at(path)).status().unwrap().success());
            }
            Names(config, named) => {
                let named = if named.starts_with("./") { named.into() } else { home.user().join(named) };
                let text = format!(
                    "{{\n  \"version\": 3,\n  \"identity_path\": {:?},\n  \"daemon\": {{}}\n}}\n",
                    named
                );
                home.put(config, text.as_bytes());
            }
            Outside(path, seed) => home.put(&format!("../{path}"), &key_file(seed, "x")),
            Known => home.put("mesh/mesh/rosters/home.json", b"{}"),
            KnownBefore => home.put("mesh/rosters/home.json", b"{}"),
            State => home.put("mesh/mesh/states/home.json", b"{}"),
            OneRoster(path) => home.put(path, b"{}"),
            Peers(path, seeds) => {
                let [owner, member, signer] = seeds.map(public_key);
                let text = serde_json::json!({
                    "network_id": "home",
                    "authorized_devices": [
                        {"device_id": member, "role": "member"},
                        {"device_id": owner, "role": "owner"},
                    ],
                    "roles": {owner: "owner", member: "member"},
                    "transitions": [{"signers": [signer], "signatures": []}],
                });
                home.put(path, text.to_string().as_bytes());
            }
        }
    }
    home
}

/// Runs a way out. Returns `None` on Windows, which need not have a shell.
fn sh(command: &str) -> Option<ExitStatus> {
    cfg!(unix).then(|| Command::new("sh").args(["-c", command]).status().unwrap())
}

fn utf16(key: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(key).unwrap();
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

fn marked(key: Vec<u8>) -> Vec<u8> {
    [b"\xef\xbb\xbf".as_slice(), &key].concat()
}

fn with_zeros(key: Vec<u8>) -> Vec<u8> {
    [key, vec![0; 100_000]].concat()
}

fn with_tail(key: Vec<u8>) -> Vec<u8> {
    [key, b"\"}\n".to_vec()].concat()
}

fn padded(key: Vec<u8>) -> Vec<u8> {
    [key, vec![0; 2 << 20]].concat()
}

fn sound(seed: u8) -> String {
    format!("sound {}", public_key(seed))
}

fn pending(seed: u8) -> String {
    format!("pending {}", public_key(seed))
}

#[rstest]
#[case::empty_home(&[], "none yet")]
#[case::empty_directories(&[Dir(".secrets"), Dir("mesh/.secrets"), Dir("mesh/mesh/rosters"),
    Dir("mesh/states")], "none yet")]
#[case::other_files_beside(&[Bytes(".secrets/api-key.txt", b"secret"),
    Bytes("mesh/.secrets/s3.json", b"{\"secret_key\": \"x\"}")], "none yet")]
#[case::fresh_home_beside_a_copy_of_another_daemons(
    &[Bytes("config.json", b"{\"cloud_mesh\": {\"networks\": []}}"),
    Key("../mesh.bak/.secrets/identity.json", 1)],
    "none yet"
)]
#[case::empty_temporary_of_the_first_start(&[Bytes("mesh/.secrets/identity.json.tmp", b"")], "none yet")]
#[case::json_of_another_program(&[Bytes(".secrets/tokens.json", b"{\"version\": 2}")], "none yet")]
#[case::home_of_another_app(&[Key("../my app-beta/mesh/.secrets/identity.json", 1),
    Key("../my apple/mesh/.secrets/identity.json", 1), Key("../thy app/.secrets/identity.json", 1)],
    "none yet")]
#[case::source_tree_of_the_app(&[Key("../my app.git/tests/home/.app/mesh/.secrets/identity.json", 1),
    Bytes("../my app.git/tests/home/.app/mesh/mesh/rosters/home.json", ROSTER)], "none yet")]
#[case::model_with_the_name(&[Bytes("models/a/identity.json", b"{}"), Bytes("identity.gguf", b"model")],
    "none yet")]
#[case::roster_that_is_named_and_gone(&[Bytes("mesh/config.json",
    b"{\"networks\": [{\"roster_path\": \"/gone.json\"}]}")], "none yet")]
#[case::no_roster_in_the_rosters(&[Bytes("mesh/rosters/.DS_Store", b"x"),
    Bytes("mesh/mesh/rosters/notes.txt", b"x")], "none yet")]
#[case::directories_of_the_app_with_such_names(&[Bytes("models/mesh/states/home.json", b"{}"),
    Bytes("views/states/home.json", b"{\"network_id\": \"home\"}")], "none yet")]
#[case::sound(&[Key(NEW, 1), Known], &sound(1))]
#[case::sound_without_peers(&[Key(NEW, 1)], &sound(1))]
#[cfg_attr(unix, case::sound_behind_a_symlink(&[Key("keys/id.json", 1), Link(NEW, "../../keys/id.json")],
    &sound(1)))]
#[cfg_attr(windows, case::another_letter_case(&[Key(".secrets/Identity.JSON", 1), KnownBefore],
    &pending(1)))]
#[cfg_attr(windows, case::another_letter_case_of_the_directory(
    &[Key("mesh/.Secrets/identity.json", 1), Known], &sound(1)
))]
#[case::sound_in_both_homes(&[Key(NEW, 1), Key(OLD, 1)], &sound(1))]
#[case::sound_beside_other_names(&[Key(NEW, 1), Key("mesh/.secrets/identity (1).json", 2)], &sound(1))]
#[case::sound_beside_a_damaged_one_of_before(&[Key(NEW, 1), Cut(OLD, 1)], &sound(1))]
#[case::sound_beside_something_odd_of_before(&[Key(NEW, 1), Dir(OLD)], &sound(1))]
#[case::at_the_old_location(&[Key(OLD, 1), KnownBefore], &pending(1))]
#[case::quarantined_by_a_killed_move(&[Key(".secrets/.durable-fs.claimed/identity.json", 1), KnownBefore],
    &pending(1))]
#[case::temporary_of_a_killed_move(&[Key("mesh/.secrets/.durable-fs.123-10.part", 1), Known], &pending(1))]
#[case::temporary_of_a_killed_move_before(&[Key(".secrets/.durable-fs.123-10.part", 1)], &pending(1))]
#[case::named_elsewhere_beside_one_in_the_home(&[Names("mesh/config.json", "k/id.json"),
    Outside("k/id.json", 1), Key(NEW, 2)], &sound(2))]
#[case::named_and_gone_with_one_in_the_home(&[Names("mesh/config.json", "k/id.json"), Key(NEW, 1), Known],
    &sound(1))]
#[case::named_in_a_renamed_home(&[Names("mesh/config.json", "old home/mesh/.secrets/identity.json"),
    Key(NEW, 1)], &sound(1))]
#[case::named_relative_with_one_in_the_home(&[Names("mesh/config.json", "./identity.json"), Key(NEW, 1)],
    &sound(1))]
#[case::named_damaged_with_one_in_the_home(&[Names("mesh/config.json", "bad.json"),
    Bytes("../bad.json", b"{}"), Key(NEW, 1)], &sound(1))]
#[case::named_at_the_old_location_and_moved(&[Names("mesh/config.json", "my app/.secrets/identity.json"),
    Key(NEW, 1)], &sound(1))]
#[case::named_at_the_old_location(&[Names("mesh/config.json", "my app/.secrets/identity.json"),
    Key(OLD, 1)], &pending(1))]
#[case::named_where_it_is(&[Names("mesh/config.json", "my app/mesh/.secrets/identity.json"), Key(NEW, 1)],
    &sound(1))]
#[case::config_that_is_no_json(&[Bytes("mesh/config.json", b"{\"identity_path\": 5"), Key(NEW, 1)],
    &sound(1))]
fn a_home_without_trouble(#[case] parts: &[Put], #[case] wanted: &str) {
    let home = home_of(parts);
    assert_eq!(short(&home.answer()), wanted);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let permit = start_permit(&lock, &home.places());
    assert_eq!(permit.is_ok(), !wanted.starts_with("pending"), "{permit:?}");
    if let Ok(permit) = permit {
        let expected = wanted.split(' ').nth(1).filter(|key| *key != "yet");
        assert_eq!(permit.expected().public_key(), expected);
        assert_eq!(permit.daemon_home(), home.daemon());
    }
}

/// Each home is refused with its code, and the first way out leads to the key.
#[rstest]
#[case::numbered_copy(&[Key(".secrets/identity (1).json", 1)], "identity.gone", &pending(1))]
#[case::dropbox_conflict(&[Key("mesh/.secrets/identity (Ann's conflicted copy 2026-01-02).json", 1)],
    "identity.gone", &sound(1))]
#[case::syncthing_conflict(&[Key(".secrets/identity.sync-conflict-20260102-030405-ABCDEFG.json", 1),
    KnownBefore], "identity.gone", &pending(1))]
#[case::editor_copy(&[Key("mesh/.secrets/identity.json~", 1), Known], "identity.gone", &sound(1))]
#[case::emacs_autosave(&[Key("mesh/.secrets/#identity.json#", 1)], "identity.gone", &sound(1))]
#[case::bak(&[Key(".secrets/identity.bak", 1)], "identity.gone", &pending(1))]
#[case::orig(&[Key("mesh/.secrets/identity.json.orig", 1), State], "identity.gone", &sound(1))]
#[case::name_that_tells_nothing(&[Key("mesh/.secrets/old", 1)], "identity.gone", &sound(1))]
#[case::temporary_of_the_daemon(&[Key("mesh/.secrets/identity.json.tmp", 1)], "identity.gone", &sound(1))]
#[case::temporary_of_ours_beside_a_copy(
    &[Key("mesh/.secrets/.durable-fs.123-10.part", 1), Key("mesh/.secrets/identity.json.bak", 1), Known],
    "identity.gone", &sound(1)
)]
#[case::set_aside(&[Key("mesh/.secrets/identity.json.set-aside-1", 1)], "identity.gone", &sound(1))]
#[cfg_attr(target_os = "linux", case::letter_case(&[Key(".secrets/Identity.JSON", 1), KnownBefore],
    "identity.gone", &pending(1)))]
#[cfg_attr(target_os = "linux", case::letter_case_of_the_directory(
    &[Key("mesh/.Secrets/identity.json", 1), Known], "identity.gone", &sound(1)
))]
#[case::copy_of_the_directory(&[Key(".secrets.bak/identity.json", 1), KnownBefore], "identity.gone",
    &pending(1))]
#[case::in_the_home_itself(&[Key("mesh/identity.json", 1)], "identity.gone", &sound(1))]
#[case::copy_in_the_home_itself(&[Key("identity-backup.json", 1)], "identity.gone", &pending(1))]
#[case::any_name_in_the_home_itself(&[Key("key", 1)], "identity.gone", &pending(1))]
#[case::swap_file_in_the_home_itself(&[Key("mesh/.identity.json.swp", 1)], "identity.gone", &sound(1))]
#[case::among_the_backups_of_configs(&[Key("config-backups/identity.json", 1)], "identity.gone", &pending(1))]
#[case::any_name_among_the_backups(&[Key("config-backups/key.json", 1)], "identity.gone", &pending(1))]
#[case::beside_the_rosters(&[Key("mesh/mesh/Copy of identity.json", 1)], "identity.gone", &sound(1))]
#[case::directory_of_the_users_own(&[Key("backup/2026/identity.json.part", 1)], "identity.gone", &pending(1))]
#[case::deep_directory_of_the_users_own(&[Key("backup/2026/a/b/identity.json", 1)], "identity.gone",
    &pending(1))]
#[case::copy_of_the_home(&[Key("old/home/.secrets/key", 1)], "identity.gone", &pending(1))]
#[case::versions_directory(&[Key("mesh/.secrets/.stversions/identity~20260102.json", 1)], "identity.gone",
    &sound(1))]
#[cfg_attr(unix, case::symlink_under_another_name(&[Key("k.json", 1),
    Link("mesh/.secrets/identity.link", "../../k.json")], "identity.gone", &sound(1)))]
#[case::named_by_the_apps_config(&[Names("config.json", "k/id.json"), Outside("k/id.json", 1), Known],
    "identity.gone", &sound(1))]
#[case::named_by_a_backup(&[Names("config-backups/daemon-7-abc.json", "k/id.json"),
    Outside("k/id.json", 1)], "identity.gone", &sound(1))]
#[case::named_by_a_corrupt_config(&[Names("mesh/config.json.corrupt", "k/id.json"),
    Outside("k/id.json", 1)], "identity.gone", &sound(1))]
#[case::directory_with_the_files_name(&[Key("mesh/.secrets/identity.json/identity.json", 1), Known],
    "migration.identity-damaged", &sound(1))]
#[case::directory_with_the_files_name_before(&[Key(".secrets/identity.json/key", 1)],
    "migration.identity-damaged", &pending(1))]
#[case::directory_before_a_key_of_before(&[Dir(NEW), Key(OLD, 1)], "migration.identity-damaged", &pending(1))]
#[case::file_for_the_directory(&[Bytes("mesh/.secrets", b"x"), Key(OLD, 1)], "migration.identity-damaged",
    &pending(1))]
#[cfg_attr(unix, case::pipe_and_a_copy(&[Pipe(NEW), Key("mesh/.secrets/identity.json.bak", 1)],
    "migration.identity-damaged", &sound(1)))]
#[case::cut_with_a_temporary(&[Cut(NEW, 1), Key("mesh/.secrets/identity.json.tmp", 1), Known],
    "migration.identity-damaged", &sound(1))]
#[case::empty_with_a_copy_of_before(&[Bytes(NEW, b""), Key(".secrets/identity.json.bak", 1)],
    "migration.identity-damaged", &sound(1))]
#[case::empty_before_with_a_copy(&[Bytes(OLD, b""), Key(".secrets/identity.json.bak", 1), KnownBefore],
    "migration.identity-damaged", &pending(1))]
#[case::named_by_the_config(&[Names("mesh/config.json", "k/id.json"), Outside("k/id.json", 1)],
    "identity.gone", &sound(1))]
#[case::named_relative_to_the_apps_home(&[Names("config.json", "./keys/id.json"), Key("keys/id.json", 1)],
    "identity.gone", &pending(1))]
#[case::named_relative_to_the_daemons_home(&[Names("mesh/config.json", "./keys/id.json"),
    Key("mesh/keys/id.json", 1)], "identity.gone", &sound(1))]
#[case::named_relative_to_the_users_home(&[Names("mesh/config.json", "./keys/id.json"),
    Outside("keys/id.json", 1)], "identity.gone", &sound(1))]
#[case::named_in_utf16(&[Names("mesh/config.json", "k/id"), Shaped("../k/id", utf16), Known],
    "identity.gone", &sound(1))]
#[case::named_and_gone_with_a_copy(&[Names("mesh/config.json", "k/id.json"),
    Key("mesh/.secrets/identity.bak", 1)], "identity.gone", &sound(1))]
#[case::named_at_the_old_location_with_a_copy(&[Names("mesh/config.json", "my app/.secrets/identity.json"),
    Key(".secrets/identity.bak", 1)], "identity.gone", &pending(1))]
#[case::copy_in_utf16(&[Shaped(".secrets/identity.json.bak", utf16)], "identity.gone", &pending(1))]
#[case::copy_behind_a_byte_order_mark(&[Shaped("mesh/.secrets/copy", marked)], "identity.gone", &sound(1))]
#[case::copy_with_zero_bytes(&[Shaped("mesh/.secrets/identity.json.bak", with_zeros), Known],
    "identity.gone", &sound(1))]
#[case::copy_with_a_tail(&[Shaped("identity.json.bak", with_tail)], "identity.gone", &pending(1))]
#[case::copy_in_utf16_beside_a_cut_one(&[Cut(NEW, 1), Shaped("mesh/.secrets/identity.json.bak", utf16)],
    "migration.identity-damaged", &sound(1))]
#[case::key_with_the_directorys_name(&[Key(".secrets", 1)], "identity.gone", &pending(1))]
#[case::key_in_utf16_with_the_directorys_name(&[Shaped(".secrets", utf16)], "identity.gone", &pending(1))]
#[case::key_with_the_directorys_name_in_the_daemons_home(&[Key("mesh/.secrets", 1)],
    "migration.identity-damaged", &sound(1))]
#[cfg_attr(unix, case::directory_is_a_symlink_to_the_key(&[Outside("k", 1), Link(".secrets", "../k")],
    "identity.gone", &pending(1)))]
#[case::nested_in_the_secrets(&[Key("mesh/.secrets/old/2025/identity.json", 1)], "identity.gone", &sound(1))]
#[case::nested_deeply_in_the_secrets(&[Key(".secrets/a/b/c/d/key", 1)], "identity.gone", &pending(1))]
#[case::nested_in_a_copy_of_the_secrets(&[Key(".secrets.bak/2023/identity.json", 1)], "identity.gone",
    &pending(1))]
#[case::nested_in_a_copy_beside_the_home(&[Key("old/secrets/2023/q1/identity.json", 1)], "identity.gone",
    &pending(1))]
#[case::file_for_the_directory_and_a_copy(
    &[Bytes("mesh/.secrets", b""), Key("mesh/.secrets.bak/identity.json", 1), Known],
    "migration.identity-damaged", &sound(1)
)]
#[case::file_for_the_directory_and_a_copy_in_utf16(
    &[Bytes("mesh/.secrets", b"x"), Shaped("mesh/identity.json.bak", utf16)],
    "migration.identity-damaged", &sound(1)
)]
#[case::file_for_the_directory_and_a_copy_of_before(
    &[Bytes("mesh/.secrets", b"x"), Key("identity.json.bak", 1)],
    "migration.identity-damaged", &sound(1)
)]
#[case::file_for_the_directory_of_before(&[Bytes(".secrets", b"x"), Key("identity.json.bak", 1)],
    "identity.gone", &pending(1))]
#[case::named_by_the_rosters_beside_a_newer_stranger(
    &[Key("mesh/.secrets/z", 1), Key("mesh/.secrets/identity.json.bak", 2),
        Peers("mesh/mesh/rosters/a.json", [1, 2, 3])],
    "identity.gone", &sound(1)
)]
#[case::named_by_the_states_of_the_other_home(
    &[Key("mesh/.secrets/z", 1), Key(".secrets/identity.json.bak", 2), Peers("mesh/states/a.json", [9, 2,
        1])],
    "identity.gone", &sound(1)
)]
#[case::named_in_utf16_beside_a_stranger(
    &[Shaped("mesh/.secrets/z", utf16), Key("mesh/.secrets/identity.json.bak", 2),
        Peers("mesh/mesh/states/a.json", [1, 8, 9])],
    "identity.gone", &sound(1)
)]
#[case::named_beside_a_cut_key(
    &[Cut(NEW, 1), Key("mesh/.secrets/z", 1), Key("mesh/.secrets/identity.json.bak", 2),
        Peers("mesh/mesh/states/a.json", [1, 8, 9])],
    "migration.identity-damaged", &sound(1)
)]
#[case::renamed_home(&[Key("../my app (1)/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::copy_of_the_home_from_before_the_move(&[Key("../my app.bak/.secrets/identity.json", 1)],
    "identity.gone", &pending(1))]
#[case::copy_of_the_home_with_a_word(&[Key("../my app-old/mesh/.secrets/identity.json", 1), Known],
    "identity.gone", &sound(1))]
#[case::home_in_the_trash_of_a_desktop(
    &[Key("../.local/share/Trash/files/my app/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::daemon_home_in_the_trash(&[Bytes("config.json", SAVED),
    Key("../.local/share/Trash/files/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::daemon_home_renamed_beside_the_apps(
    &[Bytes("config.json", SAVED), Key("../mesh.old/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::under_another_name_in_a_renamed_home(&[Key("../my app.old/mesh/.secrets/identity.json.bak", 1)],
    "identity.gone", &sound(1))]
#[case::under_another_name_in_a_renamed_home_of_before(&[Key("../my app.old/.secrets/identity.bak", 1)],
    "identity.gone", &pending(1))]
#[case::renamed_daemon_home_in_a_renamed_home(&[Bytes("config.json", b"{}"),
    Key("../my app.old/mesh.bak/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::daemon_home_in_the_trash_beside_a_fresh_one(&[Bytes("config.json", SAVED), Dir("mesh"),
    Key("../.local/share/Trash/files/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::secrets_in_the_trash(&[Bytes("config.json", SAVED), Known,
    Key("../.local/share/Trash/files/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::secrets_in_the_trash_before_the_move(&[Bytes("config.json", SAVED), KnownBefore,
    Key("../.Trash/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::file_in_the_trash(&[Bytes("config.json", SAVED), Dir("mesh/.secrets"),
    Key("../.Trash/identity.json", 1)], "identity.gone", &sound(1))]
#[case::renamed_home_with_a_time_stamp(&[Key("../my app-20261130T1053/mesh/.secrets/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::renamed_home_with_a_date_and_a_time(
    &[Key("../my app-2026-11-30_10h53/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::renamed_home_that_is_broken(&[Key("../my app-broken/mesh/.secrets/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::renamed_home_without_a_hyphen(&[Key("../my appOLD/mesh/.secrets/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::beside_the_key_of_another_device_before(
    &[Key(OLD, 2), Key("mesh/.secrets/identity.json.bak", 1), Peers("mesh/mesh/rosters/a.json", [1, 8, 9])],
    "identity.gone", "migration.two-identities"
)]
#[case::at_the_old_location_beside_the_key_of_another_device(
    &[Key(OLD, 2), Key(".secrets/identity.json.bak", 1), Peers("mesh/states/a.json", [8, 9, 1])],
    "identity.gone", "migration.two-identities"
)]
#[case::renamed_daemon_home_beside_the_key_of_another_device(
    &[Key(OLD, 2), Key("mesh.bak/.secrets/identity.json", 1),
        Peers("mesh.bak/mesh/rosters/a.json", [1, 8, 9])],
    "identity.gone", "migration.two-identities"
)]
#[case::daemon_home_in_the_trash_beside_the_key_of_another_device(
    &[Bytes("config.json", SAVED), Key(OLD, 2),
        Key("../.local/share/Trash/files/mesh/.secrets/identity.json", 1),
        Peers("../.local/share/Trash/files/mesh/mesh/rosters/a.json", [1, 8, 9])],
    "identity.gone", "migration.two-identities"
)]
#[case::beside_a_damaged_one_and_the_key_of_another_device(
    &[Bytes(NEW, b""), Key(OLD, 2), Key("mesh/.secrets/identity.json.bak", 1),
        Peers("mesh/mesh/states/a.json", [1, 8, 9])],
    "migration.identity-damaged", "migration.two-identities"
)]
#[case::with_a_comment(&[Shaped("mesh/.secrets/identity.json.bak", |key| [b"// mine\n".to_vec(), key]
    .concat())], "identity.gone", &sound(1))]
#[case::beside_json_of_another_program(&[Key("mesh/.secrets/identity.json.bak", 1),
    Bytes(".secrets/tokens.json", b"{\"version\": 2}")], "identity.gone", &sound(1))]
#[case::several_copies_of_one_key(&[Key("mesh/.secrets/z", 1), Key("mesh/.secrets/identity.json.bak", 1)],
    "identity.gone", &sound(1))]
#[case::temporary_in_the_apps_home(&[Key(".durable-fs.5-5.part", 1)], "identity.gone", &pending(1))]
#[case::quarantined_in_the_daemons_home(&[Key("mesh/.durable-fs.claimed/x", 1)], "identity.gone", &sound(1))]
fn a_key_elsewhere_is_refused_and_the_first_way_out_brings_it_back(
    #[case] parts: &[Put],
    #[case] code: &str,
    #[case] wanted: &str,
) {
    let home = home_of(parts);
    let before = home.contents();
    let Answer::Refused(refusal) = home.answer() else { panic!("{:?}", home.answer()) };
    assert_eq!(refusal.code(), code, "{refusal}");
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let refused = start_permit(&lock, &home.places()).unwrap_err();
    assert_eq!(refused.to_string(), refusal.to_string());
    let command = refusal.hint().unwrap();
    for round in 0..2 {
        let Some(status) = sh(&command) else { return };
        assert!(status.success() || round > 0, "{command}");
        assert_eq!(short(&home.answer()), wanted, "round {round}: {refusal}\n{command}");
        let after = home.contents();
        assert!(before.iter().all(|bytes| after.contains(bytes)), "{command} lost something");
    }
}

/// No key is found: the first way out names the place for a backup, and the last gives up the
/// peers.
#[rstest]
#[case::rosters(&[Known], "identity.gone", NEW)]
#[case::states(&[State], "identity.gone", NEW)]
#[case::rosters_of_before(&[KnownBefore], "identity.gone", OLD)]
#[case::rosters_in_both(&[Known, KnownBefore], "identity.gone", NEW)]
#[case::one_roster_of_the_time_before_networks(&[OneRoster("mesh/roster.json")], "identity.gone", OLD)]
#[case::one_roster_in_the_daemons_home(&[OneRoster("mesh/mesh/roster.json")], "identity.gone", NEW)]
#[case::roster_that_no_daemon_could_read(&[OneRoster("mesh/rosters/home.json.corrupt")], "identity.gone",
    OLD)]
#[case::damaged_copies_alone(&[Known, Cut("mesh/.secrets/identity.json.tmp", 1)], "identity.gone", NEW)]
#[case::cut(&[Cut(NEW, 1), Known], "migration.identity-damaged", NEW)]
#[case::empty(&[Bytes(NEW, b"")], "migration.identity-damaged", NEW)]
#[case::empty_of_before(&[Bytes(OLD, b""), KnownBefore], "migration.identity-damaged", OLD)]
#[cfg_attr(unix, case::pipe(&[Pipe(NEW), Known], "migration.identity-damaged", NEW))]
#[case::named_and_gone(&[Names("mesh/config.json", "k/id.json"), Known], "identity.gone", NEW)]
#[case::custody(&[Bytes("mesh/.secrets/custody.json", b"{}")], "identity.gone", NEW)]
#[case::custody_of_before(&[Bytes(".secrets/custody.json", b"{}")], "identity.gone", OLD)]
#[case::copy_of_the_rosters(&[OneRoster("mesh/rosters.bak/home.json")], "identity.gone", OLD)]
#[case::copy_of_their_directory(&[OneRoster("mesh.old/rosters/home.json")], "identity.gone", OLD)]
#[case::copy_of_a_roster(&[OneRoster("mesh/rosters/home.json.bak")], "identity.gone", OLD)]
#[case::temporary_with_a_roster(&[Bytes("mesh/rosters/.durable-fs.1-1.part",
    b"{\"authorized_devices\": [")], "identity.gone", OLD)]
#[case::roster_that_a_config_names(&[OneRoster("r/one"),
    Bytes("config.json", b"{\"networks\": [{\"roster_path\": \"r/one\"}]}")], "identity.gone", OLD)]
#[case::cut_copy(&[Cut(".secrets/identity.json.bak", 1)], "identity.gone", NEW)]
#[case::cut_copy_with_another_name(&[Cut("mesh/.secrets/key", 1)], "identity.gone", NEW)]
#[case::file_for_the_directory(&[Bytes("mesh/.secrets", b""), Known], "migration.identity-damaged", NEW)]
#[cfg_attr(unix, case::pipe_for_the_directory(&[Pipe("mesh/.secrets"), State],
    "migration.identity-damaged", NEW))]
#[case::file_for_the_directory_of_before(&[Bytes(".secrets", b""), KnownBefore], "identity.gone", OLD)]
#[case::run_log(&[Bytes("myownllm-mesh.log", b"{\"at\":\"t\",\"device_id\":\"k-1\"}\n{\"at\":\"t\"}\n")],
    "identity.gone", NEW)]
#[case::run_log_behind_zero_bytes(&[Bytes("myownllm-mesh.log", b"\0\0{\"device_id\":\"k-1\"}\n")],
    "identity.gone", NEW)]
#[case::overwritten_config(&[Bytes("config.json", USED)], "identity.gone", NEW)]
#[case::config_of_the_daemon(&[Bytes("mesh/config.json", USED)], "identity.gone", NEW)]
#[case::backup_of_an_overwritten_config(&[Bytes("config-backups/kept-000001-00.json", USED)],
    "identity.gone", NEW)]
#[case::config_that_names_a_key_on_a_missing_disk(&[Names("mesh/config.json", "k/id.json")], "identity.gone",
    NEW)]
#[case::padded_copy(&[Shaped(".secrets/identity.json.bak", padded)], "identity.gone", NEW)]
#[case::peers_in_another_directory(&[Bytes("trash/mesh/rosters/home.json", ROSTER)], "identity.gone", OLD)]
#[case::peers_deep_in_another_directory(&[Bytes("backup/2026/x/mesh/home.json", STATE)], "identity.gone",
    OLD)]
#[case::rosters_in_another_directory(&[Bytes("mesh/backup/rosters (1)/home.json", ROSTER)], "identity.gone",
    NEW)]
#[case::peers_in_the_secrets(&[Bytes(".secrets/mesh/states/home.json", STATE)], "identity.gone", OLD)]
#[case::peers_in_two_directories_of_one_name(&[Bytes("trash/mesh/rosters/home.json", ROSTER),
    Bytes("backup/mesh/rosters/home.json", ROSTER)], "identity.gone", OLD)]
#[case::directory_for_a_roster(&[Dir("mesh/rosters/home.json")], "identity.gone", OLD)]
#[cfg_attr(unix, case::pipe_for_a_state(&[Pipe("mesh/mesh/states/home.json")], "identity.gone", NEW))]
#[case::directory_for_the_roster_of_the_time_before_networks(&[Dir("mesh/roster.json")], "identity.gone",
    OLD)]
#[cfg_attr(unix, case::pipe_for_the_rosters(&[Pipe("mesh/rosters")], "identity.gone", OLD))]
#[case::file_for_the_peers(&[Bytes("mesh/mesh", b"")], "identity.gone", NEW)]
fn without_a_key_anywhere_a_backup_comes_first_and_the_peers_are_given_up_last(
    #[case] parts: &[Put],
    #[case] code: &str,
    #[case] place: &str,
) {
    let home = home_of(parts);
    let Answer::Refused(refusal) = home.answer() else { panic!("{:?}", home.answer()) };
    assert_eq!(refusal.code(), code, "{refusal}");
    let Some(WayOut::Restore { command, .. }) = refusal.ways_out.first() else { panic!("{refusal:?}") };

    // Puts the user's backup at the path that the command names.
    let backup = home.user().join("my backup.json");
    std::fs::write(&backup, key_file(1, "x")).unwrap();
    let command =
        command.replace("/path/to/backup/identity.json", &format!("{:?}", backup.display().to_string()));
    let Some(status) = sh(&command) else { return };
    assert!(status.success(), "{command}");
    assert_eq!(std::fs::read(home.at(place)).unwrap(), key_file(1, "x"), "{command}");
    assert_eq!(home.answer().key().unwrap().public_key, public_key(1), "{command}");
    std::fs::remove_file(home.at(place)).unwrap();
    std::fs::remove_file(&backup).unwrap();

    let home = home_of(parts);
    let before = home.contents();
    let refusal = home.answer().refusal().unwrap().clone();
    let last = refusal.ways_out.last().unwrap().command().unwrap().to_owned();
    for _ in 0..2 {
        let Some(_) = sh(&last) else { return };
        assert_eq!(short(&home.answer()), "none yet", "{last}");
        let after = home.contents();
        assert!(before.iter().all(|bytes| after.contains(bytes)), "{last} lost something");
    }
}

#[rstest]
#[case::at_the_old_location(OLD)]
#[case::in_a_temporary_of_a_killed_move("mesh/.secrets/.durable-fs.1-1.part")]
#[case::set_aside("mesh/.secrets/identity.json.set-aside-1")]
fn key_of_another_device_than_the_run_log_shows_is_not_used_unasked(#[case] path: &'static str) {
    let home_with = |key: u8| {
        let home = home_of(&[Key(path, key), Known]);
        let log = format!("{{\"device_id\":\"{}-00000\"}}\n", public_key(1));
        std::fs::write(home.at("myownllm-mesh.log"), log).unwrap();
        home
    };
    let home = home_with(2);
    let Answer::Refused(refusal) = home.answer() else { panic!("{:?}", home.answer()) };
    assert_eq!(refusal.code(), "identity.gone");
    let told = refusal.to_string();
    assert!([1, 2].iter().all(|key| told.contains(&public_key(*key))), "{told}");
    assert!(matches!(refusal.ways_out.first(), Some(WayOut::Restore { .. })), "{refusal:?}");
    // A user who wants the other device gets it.
    let is_other = |way: &&WayOut| matches!(way, WayOut::BringBack { .. });
    let command = refusal.ways_out.iter().find(is_other).unwrap().command().unwrap();
    let Some(status) = sh(command) else { return };
    assert!(status.success(), "{command}");
    assert!(home.answer().expected().is_ok());
    assert_eq!(home.answer().key().unwrap().public_key, public_key(2));
    // The key of this home is used, or offered first.
    let home = home_with(1);
    let first = |refusal: &Refusal| matches!(refusal.ways_out.first(), Some(WayOut::BringBack { .. }));
    assert!(home.answer().key().is_some() || first(home.answer().refusal().unwrap()));
}

#[test]
fn backup_of_a_damaged_key_comes_before_the_key_of_another_device() {
    let home = home_of(&[Bytes(NEW, b""), Key(OLD, 2), Known]);
    let kinds = |home: &Home| {
        let ways = home.answer().refusal().unwrap().ways_out.clone();
        ways.iter().map(|way| format!("{way:?}").split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kinds(&home), ["Keep", "GiveUpPeers"]);
    home.put("myownllm-mesh.log", format!("{{\"device_id\":\"{}-00000\"}}\n", public_key(1)).as_bytes());
    assert_eq!(kinds(&home), ["Restore", "Keep", "GiveUpPeers"]);
}

/// An editor saved this home's key with a byte order mark, and another key lies at the other place.
#[rstest]
#[case::own_key_in_the_daemon_home(NEW, OLD)]
#[case::own_key_at_the_old_location(OLD, NEW)]
fn damaged_key_of_this_home_is_mended_before_another_device_is_used(
    #[case] own: &'static str,
    #[case] other: &'static str,
) {
    let home = home_of(&[Key(other, 2), Known]);
    home.put(own, &marked(key_file(1, "x")));
    home.put("myownllm-mesh.log", format!("{{\"device_id\":\"{}-00000\"}}\n", public_key(1)).as_bytes());
    let refusal = home.answer().refusal().unwrap().clone();
    assert_eq!(refusal.path(), home.at(own));
    let command = refusal.ways_out[0].command().unwrap();
    let Some(status) = sh(command) else { return };
    assert!(status.success(), "{command}");
    // Both are sound now, and the user chooses.
    let refusal = home.answer().refusal().unwrap().clone();
    assert_eq!(refusal.code(), "migration.two-identities");
    let side = if own == OLD { Side::OldLocation } else { Side::DaemonHome };
    assert!(matches!(refusal.ways_out[0], WayOut::Keep { side: Some(kept) } if kept == side), "{refusal:?}");
}

#[test]
fn renamed_home_with_two_keys_comes_back_by_one_command() {
    let home = home_of(&[]);
    for (path, seed) in [(NEW, 1), (OLD, 2)] {
        home.put(&format!("../my app.old/{path}"), &key_file(seed, "x"));
    }
    std::fs::remove_dir(home.app()).unwrap();
    let refusal = home.answer().refusal().unwrap().clone();
    let commands: Vec<_> = refusal.ways_out.iter().filter_map(WayOut::command).collect();
    assert!(matches!(refusal.ways_out[0], WayOut::BringBack { .. }), "{refusal:?}");
    assert_eq!(commands.iter().filter(|command| command.starts_with("test -e")).count(), 1, "{commands:?}");
    let Some(status) = sh(commands[0]) else { return };
    assert!(status.success(), "{}", commands[0]);
    assert_eq!(short(&home.answer()), "migration.two-identities");
}

/// The home with the rosters and states comes back, and then its key is restored or given up.
#[rstest]
#[case::rosters(&[], &[Bytes("../my app.old/mesh/mesh/rosters/home.json", ROSTER)])]
#[case::states_of_before(&[], &[Bytes("../my app.old/mesh/states/home.json", STATE)])]
#[case::beside_a_damaged_key(&[], &[Bytes("../my app.old/mesh/.secrets/identity.json", b""),
    Bytes("../my app.old/mesh/mesh/rosters/home.json", ROSTER)])]
#[case::of_a_renamed_daemon_home(&[], &[Bytes("../my app.old/mesh.bak/mesh/rosters/home.json", ROSTER)])]
#[case::in_the_place_of_a_fresh_home(&[Bytes("config.json", b"{}")],
    &[Bytes("../my app.old/mesh/mesh/rosters/home.json", ROSTER)])]
fn renamed_home_without_a_key_comes_back_before_a_key_is_made(
    #[case] fresh: &[Put],
    #[case] renamed: &[Put],
) {
    let home_of = || {
        let home = home_of(&[fresh, renamed].concat());
        // Only an empty directory is removed.
        let _ = std::fs::remove_dir(home.app());
        home
    };
    let home = home_of();
    let before = home.contents();
    let refusal = home.answer().refusal().unwrap().clone();
    assert_eq!(refusal.code(), "identity.gone");
    assert!(refusal.to_string().contains("my app.old"), "{refusal}");
    let hint = refusal.hint().unwrap();
    for _ in 0..2 {
        let Some(_) = sh(&hint) else { return };
        assert!(home.app().is_dir() && !home.user().join("my app.old").exists(), "{hint}");
        assert!(home.answer().refusal().is_some());
        assert!(before.iter().all(|bytes| home.contents().contains(bytes)), "{hint} lost something");
    }
    let home = home_of();
    let refusal = home.answer().refusal().unwrap().clone();
    let Some(WayOut::GiveUpPeers { command }) = refusal.ways_out.last() else { panic!("{refusal:?}") };
    let Some(_) = sh(command) else { return };
    assert_eq!(short(&home.answer()), "none yet", "{command}");
    assert!(before.iter().all(|bytes| home.contents().contains(bytes)), "{command} lost something");
}

/// Nearly every file system limits a name to 255 bytes.
#[cfg(unix)]
#[test]
fn key_under_the_longest_name_comes_back() {
    let home = Home::new();
    let name = "m".repeat(250);
    home.put(&name, &key_file(1, "x"));
    let places = IdentityPaths::new(home.app().to_str().unwrap(), home.at(&name).to_str().unwrap());
    let hint = scan(&RealDisk, &places).answer().refusal().unwrap().hint().unwrap();
    assert!(sh(&hint).unwrap().success(), "{hint}");
    assert_eq!(short(&scan(&RealDisk, &places).answer()), sound(1), "{hint}");
}

/// Many files have a version, and a first start must not fail because of them.
#[rstest]
#[case::tokens(".secrets/tokens.json", true)]
#[case::in_the_apps_home("window-state.json", true)]
#[case::temporary(".secrets/custody.json.part", false)]
fn other_files_of_a_newer_version_are_no_keys(#[case] path: &'static str, #[case] is_first_start: bool) {
    let home = home_of(&[Bytes(path, br#"{"version": 2, "tokens": ["abc"]}"#)]);
    assert_ne!(short(&home.answer()), "migration.identity-newer");
    if is_first_start {
        assert_eq!(short(&home.answer()), "none yet");
    }
}

#[test]
fn key_of_a_newer_version_is_known_by_its_members() {
    let sealed = br#"{"version": 2, "public_key": "k", "secret_key": {"sealed": "abc"}}"#;
    let answer = home_of(&[Bytes(".secrets/sealed.json", sealed)]).answer();
    assert_eq!(short(&answer), "migration.identity-newer");
}

#[test]
fn file_of_a_newer_version_beside_a_damaged_one_is_not_called_sound() {
    let home = home_of(&[Newer("mesh/.secrets/identity.json.bak"), Cut("mesh/.secrets/identity.old", 1)]);
    let message = home.answer().refusal().unwrap().to_string();
    assert!(message.contains("missing, and one of a newer version lies at "), "{message}");
    assert!(message.contains(", and another at ") && !message.contains("sound"), "{message}");
}

#[rstest]
#[case::newer(&[Newer(NEW)], "migration.identity-newer")]
#[case::newer_before(&[Newer(OLD), Key(NEW, 1)], "migration.identity-newer")]
#[case::newer_under_another_name(&[Newer("mesh/.secrets/identity.json.bak")], "migration.identity-newer")]
#[case::two(&[Key(NEW, 1), Key(OLD, 2), KnownBefore], "migration.two-identities")]
#[case::run_log_that_cannot_be_read(&[Dir("myownllm-mesh.log")], "migration.unreadable")]
#[case::damaged_here_and_sound_before(&[Cut(NEW, 1), Key(OLD, 1)], "migration.identity-damaged")]
#[case::damaged_in_both(&[Cut(NEW, 1), Cut(OLD, 2)], "migration.identity-damaged")]
fn other_troubles_are_refused(#[case] parts: &[Put], #[case] code: &str) {
    refuses(parts, code);
}

#[cfg(unix)]
#[rstest]
#[case::symlink_to_nothing(&[Link(NEW, "/mnt/stick/identity.json")], "migration.identity-unreachable")]
#[case::symlink_to_nothing_before(&[Link(OLD, "nowhere"), Key(NEW, 1)], "migration.identity-unreachable")]
#[case::directory_to_nothing(&[Link("mesh/.secrets", "nowhere"), Known], "migration.identity-unreachable")]
#[case::home_to_nothing(&[Link("mesh", "nowhere")], "migration.identity-unreachable")]
#[case::symlink_to_nothing_under_another_name(&[Link("mesh/.secrets/identity.json.lnk", "nowhere")],
    "migration.identity-unreachable")]
#[case::named_symlink_to_nothing(&[Names("mesh/config.json", "k.json"), Link("../k.json", "nowhere")],
    "migration.identity-unreachable")]
#[case::peers_to_nothing(&[Link("mesh/mesh", "/mnt/stick/mesh")], "identity.peers-unreachable")]
#[case::peers_to_nothing_before(&[Link("mesh/peers", "nowhere"), Link("mesh.bak", "/mnt/stick/mesh")],
    "identity.peers-unreachable")]
#[case::rosters_to_nothing(&[Link("mesh/mesh/rosters", "nowhere"), Dir("mesh/mesh/states")],
    "identity.peers-unreachable")]
#[case::states_to_nothing_before(&[Link("mesh/states", "nowhere")], "identity.peers-unreachable")]
#[case::one_roster_to_nothing(&[Link("mesh/mesh/roster.json", "nowhere")], "identity.peers-unreachable")]
#[case::peers_to_themselves(&[Link("mesh/mesh", "mesh")], "identity.peers-unreachable")]
#[case::rosters_to_themselves_before(&[Link("mesh/rosters", "rosters")], "identity.peers-unreachable")]
#[case::symlink_to_itself(&[Link(NEW, "identity.json")], "migration.unreadable")]
fn broken_symlinks_are_refused(#[case] parts: &[Put], #[case] code: &str) {
    refuses(parts, code);
}

/// Checks the code of a refusal, that it has ways out, and that it shows no secret.
#[track_caller]
fn refuses(parts: &[Put], code: &str) {
    let home = home_of(parts);
    let answer = home.answer();
    assert_eq!(short(&answer), code);
    let refusal = answer.refusal().unwrap();
    assert!(!refusal.ways_out.is_empty(), "{refusal:?}");
    let shown = format!("{refusal}{refusal:?}{}", serde_json::to_string(refusal).unwrap());
    let secret = String::from_utf8(key_file(1, "x")).unwrap();
    let secret = secret.split('"').nth(9).unwrap();
    assert!(secret.len() == 52 && !shown.contains(secret), "{shown}");
}

/// The symlink to the peers is set aside only by the last way out, and then a daemon may create a
/// key. With a key in its place, the peers have to be reachable too.
#[cfg(unix)]
#[rstest]
#[case::daemon_home(Link("mesh/mesh", "/mnt/stick/mesh"), true)]
#[case::rosters(Link("mesh/mesh/rosters", "nowhere"), true)]
#[case::circle(Link("mesh/mesh/states", "states"), true)]
#[case::old_location(Link("mesh/rosters", "nowhere"), false)]
fn peers_behind_a_broken_symlink_are_given_up_last(#[case] link: Put, #[case] in_daemon_home: bool) {
    let home = home_of(&[link, Key(NEW, 1)]);
    assert_eq!(short(&home.answer()), sound(1));
    let reachable = ensure_reachable_peers(&RealDisk, home.places().daemon());
    assert_eq!(reachable.is_err(), in_daemon_home, "{reachable:?}");
    if let Err(refusal) = reachable {
        assert_eq!(refusal.code(), "identity.peers-unreachable");
        let last = refusal.ways_out.last().unwrap().command().unwrap();
        let Some(status) = sh(last) else { return };
        assert!(status.success(), "{last}");
        ensure_reachable_peers(&RealDisk, home.places().daemon()).unwrap();
    }
    let home = home_of(&[link]);
    let refusal = home.answer().refusal().unwrap().clone();
    assert!(refusal.hint().unwrap().starts_with("ls -ld "), "{refusal}");
    let last = refusal.ways_out.last().unwrap().command().unwrap();
    assert!(refusal.to_string().ends_with("give up the peers"), "{refusal}");
    for _ in 0..2 {
        let Some(_) = sh(last) else { return };
        assert_eq!(short(&home.answer()), "none yet", "{last}");
    }
}

#[test]
fn of_two_identities_the_one_that_peers_know_is_to_be_kept() {
    let side = |parts: &[Put]| {
        let Answer::Refused(refusal) = home_of(parts).answer() else { panic!() };
        let Problem::TwoIdentities { old_location, daemon_home } = refusal.problem else { panic!() };
        assert_eq!(old_location.key.public_key, public_key(2));
        assert_eq!(daemon_home.key.public_key, public_key(1));
        serde_json::to_value(&refusal.ways_out[0]).unwrap()["side"].clone()
    };
    assert_eq!(side(&[Key(NEW, 1), Key(OLD, 2), KnownBefore]), "old-location");
    assert_eq!(side(&[Key(NEW, 1), Key(OLD, 2), State]), "daemon-home");
    assert_eq!(side(&[Key(NEW, 1), Key(OLD, 2), Known, KnownBefore]), serde_json::Value::Null);
    assert_eq!(side(&[Key(NEW, 1), Key(OLD, 2)]), serde_json::Value::Null);
    assert_eq!(
        side(&[Key(NEW, 1), Key(OLD, 2), Peers("mesh/mesh/states/a.json", [2, 8, 9])]),
        "old-location"
    );
}

/// A key in its place that the rosters and states do not name, while a copy of the named one lies
/// elsewhere, is told, with the command that exchanges the two.
#[test]
fn key_that_the_peers_do_not_name_is_told_if_another_file_has_the_named_one() {
    let named = Peers("mesh/mesh/states/a.json", [1, 8, 9]);
    let copy = Key("mesh/.secrets/identity.json.bak", 1);
    let told = |parts: &[Put]| {
        let home = home_of(parts);
        let scan = scan_everywhere(&RealDisk, &home.places());
        let command = scan.better_known().map(|(_, command)| command);
        (home, command)
    };
    let (home, command) = told(&[Key(NEW, 2), copy, named]);
    let before = home.contents();
    let command = command.unwrap();
    for _ in 0..2 {
        let Some(_) = sh(&command) else { return };
        assert_eq!(short(&home.answer()), sound(1), "{command}");
        assert!(before.iter().all(|bytes| home.contents().contains(bytes)), "{command} lost something");
    }
    assert_eq!(told(&[Key(NEW, 1), Key("mesh/.secrets/identity.json.bak", 2), named]).1, None);
    assert_eq!(told(&[Key(NEW, 2), named]).1, None);
    assert_eq!(told(&[Key(NEW, 9), copy, named]).1, None);
    assert_eq!(told(&[Key(NEW, 2), copy, Known]).1, None);
}

/// With the identity file come the rosters and states beside it, out of a home that was moved away.
/// If the home is gone, the renamed one gets its name back.
#[rstest]
#[case::moved_into_a_directory(&[Key("trash/mesh/.secrets/identity.json", 1),
    OneRoster("trash/mesh/mesh/rosters/home.json")], ".secrets/identity.json", "mesh/rosters/home.json")]
#[case::beside_a_home_with_other_peers(&[Key("old/.secrets/identity.json", 1), Dir("mesh/mesh/rosters"),
    OneRoster("mesh/mesh/rosters/other.json"), Key("mesh/old/.secrets/identity.json", 1),
    OneRoster("mesh/old/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
#[case::second_factors_lock(&[Key("mesh/.secrets.bak/identity.json", 1),
    OneRoster("mesh/.secrets.bak/custody.json")], NEW, "mesh/.secrets/custody.json")]
#[case::second_factors_lock_of_another_home(&[Key("../my app~/mesh/.secrets/identity.json", 1),
    OneRoster("../my app~/mesh/.secrets/custody.json")], NEW, "mesh/.secrets/custody.json")]
#[case::copied_home(&[Key("../my app~/mesh/.secrets/identity.json", 1),
    OneRoster("../my app~/mesh/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
#[case::home_in_the_trash(&[Key("../.Trash/my app/mesh/.secrets/identity.json", 1),
    OneRoster("../.Trash/my app/mesh/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
#[case::renamed_home(&[Key("../my app (1)/mesh/.secrets/identity.json", 1),
    OneRoster("../my app (1)/mesh/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
#[case::renamed_home_beside_a_new_one(&[Bytes("config.json", b"{}"),
    Key("../my app.old/mesh/.secrets/identity.json", 1),
    OneRoster("../my app.old/mesh/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
#[case::daemon_home_in_the_trash(&[Bytes("config.json", SAVED),
    Key("../.Trash/mesh/.secrets/identity.json", 1),
    OneRoster("../.Trash/mesh/mesh/rosters/home.json")], NEW, "mesh/mesh/rosters/home.json")]
fn peers_come_back_with_the_key(#[case] parts: &[Put], #[case] key: &str, #[case] roster: &str) {
    let home = home_of(parts);
    // Only an empty directory is removed.
    let _ = std::fs::remove_dir(home.app());
    let before = home.contents();
    let hint = home.answer().refusal().unwrap().hint().unwrap();
    for _ in 0..2 {
        let Some(_) = sh(&hint) else { return };
        assert_eq!(std::fs::read(home.at(key)).unwrap(), key_file(1, "x"), "{hint}");
        assert_eq!(std::fs::read(home.at(roster)).unwrap(), b"{}", "{hint}");
        assert!(before.iter().all(|bytes| home.contents().contains(bytes)), "{hint} lost something");
    }
}

#[cfg(unix)]
#[test]
fn hint_for_a_broken_symlink_shows_the_target() {
    let home = home_of(&[Link(NEW, "/mnt/stick/keys/identity.json")]);
    let hint = home.answer().refusal().unwrap().hint().unwrap();
    let shown = Command::new("sh").args(["-c", &hint]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "/mnt/stick/keys/identity.json\n", "{hint}");
    assert!(shown.status.success(), "{hint}");
}

#[test]
fn search_in_a_large_tree_is_bounded_and_says_so() {
    let home = home_of(&[Dir(".secrets")]);
    for number in 0..5000 {
        home.put(&format!(".secrets/{}/{number}", number % 7), b"x");
    }
    assert_eq!(short(&home.answer()), "migration.unreadable");
}

/// If the rosters and states do not tell the right one of several keys, no command chooses: each
/// file has its own, with its Device ID.
#[rstest]
#[case::nobody_is_named(&[Known])]
#[case::both_are_named(&[Peers("mesh/mesh/rosters/a.json", [1, 9, 2])])]
#[case::one_is_a_mere_member(&[Peers("mesh/mesh/rosters/a.json", [8, 1, 9])])]
fn several_sound_files_are_all_named(#[case] peers: &[Put]) {
    let keys = [Key("mesh/.secrets/identity.json.set-aside-1", 1), Key("mesh/.secrets/identity.bak", 2)];
    let home = home_of(&[&keys, peers].concat());
    let refusal = home.answer().refusal().unwrap().clone();
    let text = refusal.to_string();
    assert!(text.contains(&public_key(1)) && text.contains(&public_key(2)), "{text}");
    assert_eq!(refusal.hint(), None);
    let [WayOut::Choose, one @ .., _] = refusal.ways_out.as_slice() else { panic!("{refusal:?}") };
    let offered = one.iter().map(|way| match way {
        WayOut::BringBack { device_id: Some(device_id), command, .. } => (device_id.clone(), command.clone()),
        _ => panic!("{refusal:?}"),
    });
    let offered: Vec<(String, String)> = offered.collect();
    assert_eq!(offered.len(), 2, "{refusal:?}");
    let refused = home;
    for (device_id, command) in offered {
        let home = home_of(&[&keys, peers].concat());
        let command = command.replace(refused.user().to_str().unwrap(), home.user().to_str().unwrap());
        let Some(status) = sh(&command) else { return };
        assert!(status.success(), "{command}");
        assert_eq!(home.answer().key().unwrap().device_id, device_id, "{command}");
    }
    // A given-up file is not found again, and not lost.
    let home = refused;
    let before = home.contents();
    let last = refusal.ways_out.last().unwrap().command().unwrap();
    let Some(status) = sh(last) else { return };
    assert!(status.success(), "{last}");
    assert_eq!(short(&home.answer()), "none yet", "{last}");
    let after = home.contents();
    assert!(before.iter().all(|bytes| after.contains(bytes)), "{last} lost something");
}

#[test]
fn a_permit_needs_the_lock_of_the_apps_home_and_holds_for_one_key() {
    let home = home_of(&[Key(NEW, 1)]);
    let other = RealDisk.lock(home.user(), std::time::Duration::ZERO).unwrap();
    let refusal = start_permit(&other, &home.places()).unwrap_err();
    assert_eq!(refusal.code(), "durable-fs.outside-lock");
    assert!(refusal.to_string().starts_with("cannot start a daemon: the given lock is not "), "{refusal}");
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let permit = start_permit(&lock, &home.places()).unwrap();
    permit.check().unwrap();
    home.put(NEW, &key_file(2, "y"));
    assert_eq!(permit.check().unwrap_err().code(), "identity.changed");
    std::fs::remove_file(home.at(NEW)).unwrap();
    assert_eq!(permit.check().unwrap_err().code(), "identity.changed");
    // A daemon that failed has created a key.
    let permit = start_permit(&lock, &home.places()).unwrap();
    home.put(NEW, &key_file(3, "z"));
    permit.check().unwrap();
    home.put(NEW, b"");
    assert_eq!(permit.check().unwrap_err().code(), "migration.identity-damaged");
}

/// A caller takes the paths of a layout that nobody has checked. The daemon would overwrite the
/// `config.json` of the directory that it gets.
#[cfg(unix)]
#[rstest]
#[case::the_apps_home(".", "is the same directory as")]
#[case::the_users_home("..", "lies above")]
#[case::another_apps_home("../other", "leads out of")]
fn permit_refuses_a_daemon_home_that_is_not_of_its_own(#[case] target: &str, #[case] relation: &str) {
    let home = home_of(&[Key(OLD, 1)]);
    std::fs::create_dir(home.user().join("other")).unwrap();
    std::os::unix::fs::symlink(target, home.daemon()).unwrap();
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let refusal = start_permit(&lock, &home.places()).unwrap_err();
    assert_eq!((refusal.code(), refusal.class()), ("paths.overlap", Class::Refused));
    assert!(refusal.to_string().contains(relation), "{refusal}");
    // The way out ends the refusal.
    let hint = refusal.hint().unwrap();
    let Some(status) = sh(&hint) else { return };
    assert!(status.success(), "{hint}");
    assert_ne!(start_permit(&lock, &home.places()).unwrap_err().code(), "paths.overlap", "{hint}");
}

#[cfg(unix)]
#[test]
fn permit_check_refuses_a_daemon_home_that_became_the_apps() {
    let home = home_of(&[Key(OLD, 1), Key(NEW, 1)]);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    let permit = start_permit(&lock, &home.places()).unwrap();
    std::fs::rename(home.daemon(), home.at("aside")).unwrap();
    std::os::unix::fs::symlink(".", home.daemon()).unwrap();
    assert_eq!(permit.check().unwrap_err().code(), "paths.overlap");
}

/// Another program puts another directory in the place of the home while the home is locked.
#[cfg(unix)]
#[test]
fn permit_rests_on_the_home_that_is_locked() {
    let home = home_of(&[Key(NEW, 1)]);
    let lock = RealDisk.lock(&home.app(), std::time::Duration::ZERO).unwrap();
    std::fs::rename(home.app(), home.user().join("former")).unwrap();
    home.put(NEW, &key_file(2, "theirs"));
    let permit = start_permit(&lock, &home.places()).unwrap();
    assert_eq!(short(&scan(&lock, &home.places()).answer()), sound(1));
    assert_ne!(short(&home.answer()), sound(1));
    permit.check().unwrap();
    assert!(permit.expected().device_id().is_some_and(|id| id.starts_with(&public_key(1))), "{permit:?}");
}
