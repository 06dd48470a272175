//! Keys that lie elsewhere or belong to another device, and the way out that brings them back.

use crate::Put::*;
use crate::common::{Home, key_file, public_key, short};
use crate::{NEW, OLD, Put, ROSTER, SAVED, STATE, USED, home_of, pending, sh, sound};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_identity::{Answer, IdentityPaths, Refusal, Side, StartPermit, WayOut, scan};
use rstest::rstest;

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
#[case::name_that_tells_nothing_beside_the_rosters(&[Key("mesh/mesh/keys/id.json", 1), Known], "identity.gone",
    &sound(1))]
#[case::name_that_tells_nothing_beside_saved_networks(&[Key("mesh/keys/id.json", 1),
    Bytes("config.json", SAVED)], "identity.gone", &sound(1))]
#[case::name_that_tells_nothing_in_a_directory_of_the_users_own(&[Shaped("keys/a/id", utf16),
    Bytes("config.json", USED)], "identity.gone", &pending(1))]
#[case::name_that_tells_nothing_beside_a_damaged_key(&[Cut(NEW, 1), Key("keys/id.json", 1), Known],
    "migration.identity-damaged", &sound(1))]
#[case::known_name_beside_another_programs_key(&[Key(".secrets/identity.bak", 1), Key("keys/id.json", 2),
    KnownBefore], "identity.gone", &pending(1))]
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
#[case::file_in_the_trash_beside_a_fresh_config(&[Dir("mesh"), Key("../.Trash/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::secrets_in_the_trash_beside_an_empty_config(&[Bytes("config.json", b"{}"), Dir("mesh"),
    Key("../.local/share/Trash/files/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::file_in_the_trash_beside_an_overwritten_config(&[Bytes("config.json", USED), Dir("mesh"),
    Key("../.Trash/identity.json", 1)], "identity.gone", &sound(1))]
#[case::file_in_the_trash_beside_the_rosters(&[Known, Key("../.Trash/identity.json", 1)], "identity.gone",
    &sound(1))]
#[case::daemon_home_renamed_beside_the_apps_with_rosters_before(&[KnownBefore,
    Key("../mesh.old/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::file_that_the_trash_of_gnome_has_numbered(&[Dir("mesh"), Bytes("config.json", SAVED),
    Key("../.local/share/Trash/files/identity.2.json", 1)], "identity.gone", &sound(1))]
#[case::file_that_the_trash_of_kde_has_numbered(&[Dir("mesh"), Bytes("config.json", SAVED),
    Key("../.local/share/Trash/files/identity (1).json", 1)], "identity.gone", &sound(1))]
#[case::file_that_the_trash_of_macos_has_numbered(&[Dir("mesh"), Bytes("config.json", SAVED),
    Key("../.Trash/identity 12.00.00.json", 1)], "identity.gone", &sound(1))]
#[case::renamed_home_with_a_time_stamp(&[Key("../my app-20261130T1053/mesh/.secrets/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::renamed_home_with_a_date_and_a_time(
    &[Key("../my app-2026-11-30_10h53/mesh/.secrets/identity.json", 1)], "identity.gone", &sound(1))]
#[case::renamed_home_that_is_broken(&[Key("../my app-broken/mesh/.secrets/identity.json", 1)],
    "identity.gone", &sound(1))]
#[case::copy_of_the_home_that_the_docs_make(&[Key("../my app-before/.secrets/identity.json", 1)],
    "identity.gone", &pending(1))]
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
    let refused = StartPermit::for_places(&lock, &home.places()).unwrap_err();
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

/// An emptied trash lets the first start begin, unless something else shows that there was a key.
#[rstest]
#[case::file(&[Dir("mesh"), Key("../.Trash/identity.json", 1)], true)]
#[case::home(&[Key("../.local/share/Trash/files/my app/mesh/.secrets/identity.json", 1)], true)]
#[case::file_beside_rosters(&[Known, Key("../.Trash/identity.json", 1)], false)]
#[case::file_and_a_renamed_home(&[Dir("mesh"), Key("../.Trash/identity.json", 1),
    Key("../my app.old/mesh/.secrets/identity.json", 1)], false)]
fn empty_trash_is_named_as_a_way_to_start_anew(#[case] parts: &[Put], #[case] is_named: bool) {
    let home = home_of(parts);
    let reported = home.answer().refusal().unwrap().to_string();
    assert_eq!(reported.contains("to start anew, empty the trash"), is_named, "{reported}");
    for trash in ["../.Trash", "../.local"] {
        let _ = std::fs::remove_dir_all(home.at(trash));
    }
    assert_eq!(home.answer().expected().is_ok(), is_named);
}

#[rstest]
#[case::at_the_old_location(OLD)]
#[case::in_a_temporary_of_a_killed_move("mesh/.secrets/.durable-fs.1-1.part")]
#[case::set_aside("mesh/.secrets/identity.json.set-aside-1")]
fn key_of_another_device_than_the_run_log_shows_is_not_used_unasked(
    #[case] path: &'static str,
    #[values(52, 20)] bytes_of_the_key: usize,
) {
    let shown = public_key(1)[..bytes_of_the_key].to_owned();
    let home_with = |key: u8| {
        let home = home_of(&[Key(path, key), Known]);
        let end = if bytes_of_the_key == 52 { "-00000\"}\n" } else { "" };
        std::fs::write(home.at("myownllm-mesh.log"), format!("{{\"device_id\":\"{shown}{end}")).unwrap();
        home
    };
    let home = home_with(2);
    let Answer::Refused(refusal) = home.answer() else { panic!("{:?}", home.answer()) };
    assert_eq!(refusal.code(), "identity.gone");
    let reported = refusal.to_string();
    assert!([&shown, &public_key(2)].iter().all(|key| reported.contains(*key)), "{reported}");
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

/// The run log shows whose home a directory was.
#[rstest]
#[case::name_of_another_app(".app-laptop", None, None)]
#[case::source_of_the_app("app-laptop", None, None)]
#[case::name_without_the_dot("app-laptop", Some("myownllm-mesh.log"), Some("identity.gone"))]
#[case::name_within_another_one("My App before", None, Some("identity.gone"))]
#[case::name_of_another_app_with_the_run_log(".app-laptop", Some("myownllm-mesh.log"), Some("identity.gone"))]
fn copy_with_a_sound_key_is_distinguished_from_the_home_of_another_app(
    #[case] copy: &str,
    #[case] log: Option<&str>,
    #[case] code: Option<&str>,
) {
    let home = home_of(&[]);
    let original = home.user().join(".app");
    let places = IdentityPaths::new(original.to_str().unwrap(), original.join("mesh").to_str().unwrap());
    home.put(&format!("../{copy}/mesh/readme"), b"no key");
    log.into_iter().for_each(|log| home.put(&format!("../{copy}/{log}"), b""));
    assert!(scan(&RealDisk, &places).answer().refusal().is_none());
    home.put(&format!("../{copy}/mesh/.secrets/identity.json"), &key_file(1, "x"));
    let answer = scan(&RealDisk, &places).answer();
    assert_eq!(answer.refusal().map(Refusal::code), code);
    let Some(hint) = answer.refusal().and_then(|refusal| refusal.hint()) else { return };
    let Some(_) = sh(&hint) else { return };
    assert_eq!(short(&scan(&RealDisk, &places).answer()), sound(1), "{hint}");
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
