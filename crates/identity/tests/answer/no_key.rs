//! Homes without a usable key anywhere: broken symlinks, and files of a newer version.

#[cfg(unix)]
use std::process::Command;

use crate::Put::*;
use crate::common::{key_file, public_key, short};
#[cfg(unix)]
use crate::sound;
use crate::{NEW, OLD, Put, ROSTER, SAVED, STATE, USED, home_of, sh};
use data_encoding::{BASE32_NOPAD, BASE64, HEXLOWER};
#[cfg(unix)]
use myownllm_durable_fs::RealDisk;
#[cfg(unix)]
use myownllm_identity::ensure_reachable_peers;
use myownllm_identity::{Answer, WayOut};
use rstest::rstest;

#[cfg(unix)]
const LOGGED: Put = Bytes("myownllm-mesh.log", b"{\"at\":\"t\",\"device_id\":\"k-1\"}\n");

/// The seed of the key 1 in text, in lines as programs break them.
fn in_lines(text: String) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.as_bytes().chunks(40).collect();
    [lines.join(&b'\n'), b"\n".to_vec()].concat()
}

fn in_hex(_: Vec<u8>) -> Vec<u8> {
    in_lines(HEXLOWER.encode(&[1; 32]))
}

fn in_base64(_: Vec<u8>) -> Vec<u8> {
    in_lines(BASE64.encode(&[1; 32]))
}

fn in_base32(_: Vec<u8>) -> Vec<u8> {
    in_lines(BASE32_NOPAD.encode(&[1; 32]).to_ascii_lowercase())
}

fn padded(key: Vec<u8>) -> Vec<u8> {
    [key, vec![0; 2 << 20]].concat()
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
#[case::run_log_with_a_torn_line(&[Bytes("myownllm-mesh.log", b"{\"at\":\"t\",\"device_id\":\"k-1\",\"co")],
    "identity.gone", NEW)]
#[case::run_log_torn_within_the_device_id(&[Bytes("myownllm-mesh.log", b"{\"at\":\"t\",\"device_id\":\"k")],
    "identity.gone", NEW)]
#[case::log_of_the_daemon(&[Bytes("mesh/daemon.log", b"t INFO identity ready device_id=k-1\n")],
    "identity.gone", NEW)]
#[case::coloured_log_of_the_daemon(&[Bytes("mesh/daemon.log",
    b"\x1b[32m INFO\x1b[0m mesh opened \x1b[3mdevice_id\x1b[0m\x1b[2m=\x1b[0mk-1\n")], "identity.gone", NEW)]
#[case::log_of_the_daemon_beside_the_run_log(&[Bytes("mesh/daemon.log", b"t INFO mesh opened device_id=k-1\n"),
    Bytes("myownllm-mesh.log", b"{\"at\":\"t\",\"device_id\":\"k-1\"}\n")], "identity.gone", NEW)]
#[case::rotated_log_of_the_daemon(&[Bytes("mesh/daemon.log.1", b"t INFO mesh opened device_id=k-1\n"),
    Bytes("mesh/daemon.log", b"[app] t serve\n")], "identity.gone", NEW)]
#[case::overwritten_config(&[Bytes("config.json", USED)], "identity.gone", NEW)]
#[case::config_of_the_daemon(&[Bytes("mesh/config.json", USED)], "identity.gone", NEW)]
#[case::backup_of_an_overwritten_config(&[Bytes("config-backups/kept-000001-00.json", USED)],
    "identity.gone", NEW)]
#[case::config_that_names_a_key_on_a_missing_disk(&[Names("mesh/config.json", "k/id.json")], "identity.gone",
    NEW)]
#[case::archive_of_the_secrets(&[Bytes(".secrets.tar.gz", b"\x1f\x8b\x08\0")], "identity.gone", NEW)]
#[case::encrypted_secrets_in_the_daemons_home(&[Bytes("mesh/secrets-2026.gpg", b"\x85\x01")],
    "identity.gone", NEW)]
#[case::archive_of_the_daemons_home(&[Bytes("mesh.zip", b"PK\x03\x04")], "identity.gone", NEW)]
#[case::archive_of_the_apps_home(&[Bytes("../my app-backup.zip", b"PK\x03\x04")], "identity.gone", NEW)]
#[case::archive_of_the_apps_home_in_the_trash(
    &[Bytes("../.local/share/Trash/files/my app.bak.tar.gz", b"\x1f\x8b\x08\0")], "identity.gone", NEW)]
#[case::padded_copy(&[Shaped(".secrets/identity.json.bak", padded)], "identity.gone", NEW)]
#[case::seed_in_hex(&[Shaped(".secrets/k", in_hex), Peers("mesh/mesh/rosters/home.json", [1, 2, 3])],
    "identity.gone", NEW)]
#[case::compressed_key_under_another_name(&[Bytes("mesh/.secrets/k", b"\x1f\x8b\x08\0"), Known],
    "identity.gone", NEW)]
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

/// An archive of the program has the name of the home too, and a version instead of a word.
#[rstest]
#[case::program("../my app-1.2.0-linux.tar.gz")]
#[case::source("../my app.zip")]
#[case::source_of_a_distribution("../my app_1.2.0.orig.tar.gz")]
#[case::old_version_of_the_program("../my app-v1.2-old.zip")]
#[case::another_program("../my app-backup-tool.zip")]
#[case::home_of_another_app("../.my app-dev.tar.gz")]
fn archive_of_another_name_is_no_key(#[case] path: &'static str) {
    assert_eq!(short(&home_of(&[Bytes(path, b"PK\x03\x04")]).answer()), "none yet");
}

/// The key of this home in another form is named by its Device ID; nothing else is.
#[rstest]
#[case::hex(&[Shaped(".secrets/k", in_hex)], ".secrets/k", "it holds the seed of the key alone")]
#[case::base64(&[Shaped("mesh/.secrets/old/k", in_base64)], "mesh/.secrets/old/k",
    "it holds the seed of the key alone")]
#[case::base32(&[Shaped("mesh/.secrets/identity", in_base32)], "mesh/.secrets/identity",
    "it holds the seed of the key alone")]
#[case::bytes(&[Shaped(".secrets/k", |_| vec![1; 32])], ".secrets/k", "it holds the seed of the key alone")]
#[case::compressed(&[Bytes(".secrets/k", b"\x1f\x8b\x08\0")], ".secrets/k", "it is an archive")]
fn other_form_of_the_key_is_named_in_a_home_that_knows_it(
    #[case] parts: &[Put],
    #[case] path: &str,
    #[case] why: &str,
) {
    let token = Bytes(".secrets/token", b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    let known = [token, Peers("mesh/mesh/rosters/home.json", [1, 2, 3])];
    let home = home_of(&[parts, &known].concat());
    let reported = home.answer().refusal().unwrap().to_string();
    assert!(reported.contains(&format!("a damaged one lies at {}", home.at(path).display())), "{reported}");
    assert!(reported.contains(why) && !reported.contains("token"), "{reported}");
    assert_eq!(reported.contains(&public_key(1)), why.contains("seed"), "{reported}");
}

/// Other programs keep keys and tokens of the same length, and a first start has no trace of a key.
#[rstest]
#[case::token_in_hex(&[Shaped(".secrets/token", in_hex)], "none yet")]
#[case::token_in_base64(&[Shaped("mesh/.secrets/token", in_base64)], "none yet")]
#[case::token_of_32_bytes(&[Shaped(".secrets/token", |_| vec![1; 32])], "none yet")]
#[case::compressed(&[Bytes(".secrets/a.json", b"\x1f\x8b\x08\0")], "none yet")]
#[case::token_beside_saved_networks(&[Shaped(".secrets/token", in_hex), Bytes("config.json", SAVED)],
    "none yet")]
#[case::compressed_beside_saved_networks(&[Bytes(".secrets/a", b"\x1f\x8b\x08\0"),
    Bytes("config.json", SAVED)], "none yet")]
#[case::key_of_another_program(&[Key("mesh/keys/id.json", 1)], "none yet")]
#[case::notes_on_a_key_beside_saved_networks(&[Bytes("notes/a.txt",
    b"{\"version\": 1, \"secret_key\": \"...\"}"), Bytes("config.json", SAVED)], "none yet")]
#[case::sealed_file_beside_saved_networks(&[Bytes("keys/a.json", b"{\"version\": 2, \"secret_key\": {}}"),
    Bytes("config.json", SAVED)], "none yet")]
#[case::key_among_the_conversations(&[Key("conversations/a", 1), Bytes("config.json", SAVED)], "none yet")]
#[case::other_key_beside_the_own(&[Key(NEW, 1), Key("mesh/keys/id.json", 2), Known,
    Bytes("config.json", SAVED)], "sound")]
#[case::other_key_beside_the_own_that_waits(&[Key(OLD, 1), Key("keys/id.json", 2), KnownBefore], "pending")]
#[case::identity_of_another_program_in_the_trash(&[Dir("mesh"), Bytes("../.Trash/identity.json",
    b"{\"version\": 2, \"secret_key\": {}}")], "none yet")]
#[case::papers_in_the_trash(&[Dir("mesh"), Bytes("../.Trash/identity card.pdf", b"%PDF"),
    Bytes("../.Trash/identity (1).json", b"{}"), Bytes("config.json", SAVED)], "none yet")]
#[case::home_of_another_daemon_beside_a_fresh_one(&[Dir("mesh"), Key("../mesh.old/.secrets/identity.json", 1)],
    "none yet")]
#[case::log_from_before_the_key_was_given_up(&[Dir("given-up-1"), Dir("mesh/given-up-1"),
    Bytes("mesh/daemon.log", b"t INFO mesh opened device_id=k-1\n")], "none yet")]
#[case::directory_for_the_log_of_the_daemon(&[Dir("mesh/daemon.log")], "none yet")]
#[case::daemon_that_failed_before_its_key(&[Bytes("mesh/daemon.log", b"[app] t serve\nno device_id yet\n")],
    "none yet")]
fn files_that_prove_nothing_prevent_no_start(#[case] parts: &[Put], #[case] answer: &str) {
    let home = home_of(parts);
    assert!(short(&home.answer()).starts_with(answer), "{:?}", home.answer());
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
#[case::symlink_to_itself(&[Link(NEW, "identity.json")], "migration.identity-unreachable")]
fn broken_symlinks_are_refused(#[case] parts: &[Put], #[case] code: &str) {
    refuses(parts, code);
}

/// The directory behind the symlink is empty, as the mount point of a missing disk is, and the home
/// was in use. The disk may come back; only the last way out gives it up.
#[cfg(unix)]
#[rstest]
#[case::secrets_beside_rosters(Link("mesh/.secrets", "../../disk"), Known)]
#[case::secrets_of_before_beside_rosters(Link(".secrets", "../disk"), KnownBefore)]
#[case::secrets_beside_a_run_log(Link("mesh/.secrets", "../../disk"), LOGGED)]
#[case::secrets_beside_a_used_config(Link(".secrets", "../disk"), Bytes("mesh/config.json", USED))]
#[case::secrets_beside_saved_networks(Link("mesh/.secrets", "../../disk"), Bytes("config.json", SAVED))]
#[case::secrets_beside_a_renamed_home(
    Link("mesh/.secrets", "../../disk"),
    Bytes("../my app.bak/mesh/rosters/home.json", ROSTER)
)]
#[case::secrets_beside_a_cut_copy(Link("mesh/.secrets", "../../disk"), Cut("mesh/identity.json.bak", 1))]
#[case::peers_beside_saved_networks(Link("mesh/mesh", "../../disk"), Bytes("config.json", SAVED))]
#[case::rosters_beside_saved_networks(
    Link("mesh/mesh/rosters", "../../../disk"),
    Bytes("config.json", SAVED)
)]
#[case::states_of_before_beside_saved_networks(
    Link("mesh/states", "../../disk"),
    Bytes("config.json", SAVED)
)]
fn empty_directory_for_a_disk_is_refused_in_a_home_that_was_in_use(#[case] link: Put, #[case] trace: Put) {
    let home = home_of(&[Dir("../disk"), link, trace]);
    let before = home.contents();
    let refusal = home.answer().refusal().unwrap().clone();
    let reported = refusal.to_string();
    assert_eq!(refusal.code(), "identity.disk-missing", "{reported}");
    assert!(reported.contains(" leads to an empty directory, ../"), "{reported}");
    assert!(reported.contains("its disk may be missing; bring the target back"), "{reported}");
    let hint = refusal.hint().unwrap();
    let shown = Command::new("sh").args(["-c", &hint]).output().unwrap().stdout;
    assert!(String::from_utf8_lossy(&shown).ends_with("../disk\n"), "{hint}");
    let WayOut::GiveUpPeers { command } = refusal.ways_out.last().unwrap() else { panic!("{refusal:?}") };
    for _ in 0..2 {
        let Some(_) = sh(command) else { return };
        assert_eq!(short(&home.answer()), "none yet", "{command}");
        let after = home.contents();
        assert!(before.iter().all(|bytes| after.contains(bytes)), "{command} lost something");
    }
    // The disk is back.
    let home = home_of(&[Dir("../disk"), link, trace]);
    let Link(path, _) = link else { return };
    home.put(if path.ends_with(".secrets") { "../disk/identity.json" } else { NEW }, &key_file(1, "x"));
    assert_eq!(home.answer().key().unwrap().public_key, public_key(1));
}

/// The user made the directory, or it is of no use any more.
#[cfg(unix)]
#[rstest]
#[case::first_start(&[Dir("../disk"), Link("mesh/.secrets", "../../disk")], "none yet")]
#[case::first_start_with_peers_elsewhere(&[Dir("../disk"), Link("mesh/mesh", "../../disk"),
    Bytes("config.json", b"{\"cloud_mesh\": {\"networks\": []}}")], "none yet")]
#[case::home_that_was_given_up(&[Dir("../disk"), Link("mesh/.secrets", "../../disk"), Dir("given-up-1"),
    Bytes("config.json", SAVED)], "none yet")]
#[case::disk_that_is_there(&[Dir("../disk/lost+found"), Link("mesh/.secrets", "../../disk"),
    Bytes("config.json", SAVED)], "none yet")]
#[case::directory_of_the_home(&[Dir("mine"), Link("mesh/.secrets", "../mine"), Bytes("config.json", SAVED)],
    "none yet")]
#[case::old_symlink_beside_the_key(&[Dir("../disk"), Link(".secrets", "../disk"), Key(NEW, 1), Known,
    Bytes("config.json", SAVED)], "sound")]
#[case::old_symlink_to_peers_beside_the_key(&[Dir("../disk"), Link("mesh/rosters", "../../disk"), Key(NEW, 1),
    Bytes("config.json", SAVED)], "sound")]
#[case::new_symlink_to_rosters_beside_the_key(&[Dir("../disk"), Link("mesh/mesh/rosters", "../../../disk"),
    Key(NEW, 1), State, Bytes("config.json", SAVED)], "sound")]
#[case::symlink_beside_the_key_that_waits(&[Dir("../disk"), Link("mesh/.secrets", "../../disk"), Key(OLD, 1),
    KnownBefore], "pending")]
fn symlinks_to_empty_directories_prevent_no_start(#[case] parts: &[Put], #[case] answer: &str) {
    let home = home_of(parts);
    assert!(short(&home.answer()).starts_with(answer), "{:?}", home.answer());
    ensure_reachable_peers(&RealDisk, home.places().daemon()).unwrap();
}

/// The roster that is there shows that the key was not on the disk of the states.
#[cfg(unix)]
#[test]
fn missing_key_beside_a_symlink_to_empty_states_is_restored_from_a_backup() {
    let home = home_of(&[Dir("../disk"), Link("mesh/mesh/states", "../../../disk"), Known]);
    let refusal = home.answer().refusal().unwrap().clone();
    assert_eq!(refusal.code(), "identity.gone");
    assert!(matches!(refusal.ways_out.first(), Some(WayOut::Restore { .. })), "{refusal:?}");
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

#[cfg(unix)]
#[test]
fn hint_for_a_broken_symlink_shows_the_target() {
    let home = home_of(&[Link(NEW, "/mnt/stick/keys/identity.json")]);
    let hint = home.answer().refusal().unwrap().hint().unwrap();
    let shown = Command::new("sh").args(["-c", &hint]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shown.stdout), "/mnt/stick/keys/identity.json\n", "{hint}");
    assert!(shown.status.success(), "{hint}");
}
