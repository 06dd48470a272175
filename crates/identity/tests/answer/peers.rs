//! The peers that know a key decide between keys, and come back with theirs.

use crate::Put::*;
use crate::common::{key_file, public_key, short};
use crate::{NEW, OLD, Put, SAVED, home_of, sh, sound};
use myownllm_durable_fs::RealDisk;
use myownllm_identity::{Answer, Problem, scan_everywhere};
use rstest::rstest;

#[test]
fn identity_that_peers_know_is_kept_of_two() {
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
/// elsewhere, is reported, with the command that exchanges the two.
#[test]
fn key_that_the_peers_do_not_name_is_reported_if_another_file_has_the_named_one() {
    let named = Peers("mesh/mesh/states/a.json", [1, 8, 9]);
    let copy = Key("mesh/.secrets/identity.json.bak", 1);
    let reported = |parts: &[Put]| {
        let home = home_of(parts);
        let scan = scan_everywhere(&RealDisk, &home.places());
        let command = scan.better_known().map(|(_, command)| command);
        (home, command)
    };
    let (home, command) = reported(&[Key(NEW, 2), copy, named]);
    let before = home.contents();
    let command = command.unwrap();
    for _ in 0..2 {
        let Some(_) = sh(&command) else { return };
        assert_eq!(short(&home.answer()), sound(1), "{command}");
        assert!(before.iter().all(|bytes| home.contents().contains(bytes)), "{command} lost something");
    }
    assert_eq!(reported(&[Key(NEW, 1), Key("mesh/.secrets/identity.json.bak", 2), named]).1, None);
    assert_eq!(reported(&[Key(NEW, 2), named]).1, None);
    assert_eq!(reported(&[Key(NEW, 9), copy, named]).1, None);
    assert_eq!(reported(&[Key(NEW, 2), copy, Known]).1, None);
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
