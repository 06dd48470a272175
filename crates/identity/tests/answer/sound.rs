//! Homes whose identity file can be used, or that have none yet.

use crate::Put::*;
use crate::common::short;
use crate::{NEW, OLD, Put, ROSTER, home_of, pending, sound};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_identity::StartPermit;
use rstest::rstest;

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
    let permit = StartPermit::for_places(&lock, &home.places());
    assert_eq!(permit.is_ok(), !wanted.starts_with("pending"), "{permit:?}");
    if let Ok(permit) = permit {
        let expected = wanted.split(' ').nth(1).filter(|key| *key != "yet");
        assert_eq!(permit.expected().public_key(), expected);
        assert_eq!(permit.daemon_home(), home.daemon());
    }
}
