//! Files that are on both sides, and the legacy roster, which gets another name.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, symlink};
#[cfg(unix)]
use std::path::Path;

#[cfg(unix)]
use crate::common::key_file;
use crate::{Home, mode};
use myownllm_migration::{Class, Keep, MoveOutcome, Options};
use rstest::rstest;

#[rstest]
#[case::nobody_decides(None)]
#[case::source_is_kept(Some(Keep::Source))]
#[case::destination_is_kept(Some(Keep::Destination))]
fn collisions_stay_until_somebody_decides(#[case] keep: Option<Keep>) {
    let home = Home::full();
    home.put(".myownmesh/mesh/rosters/one.json", b"another roster");
    let report = home.run(&Options::forward().keeping(keep));
    let there = fs::read(home.new_home("mesh/rosters/one.json")).expect("there");
    let aside = home.new_home("mesh/rosters/one.json.set-aside-1");
    match keep {
        None => {
            assert_eq!(report.collisions.len(), 1);
            assert_eq!(report.class(), Some(Class::Refused));
            assert!(home.may_start(), "the key has moved: {report:#?}");
            assert_eq!(there, b"another roster");
            assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("there"), b"roster");
            assert!(home.pending(), "it is still to be decided");
        }
        Some(Keep::Source) => {
            assert_eq!(
                (there, fs::read(&aside).expect("there")),
                (b"roster".into(), b"another roster".into())
            );
        }
        Some(Keep::Destination) => {
            assert_eq!(
                (there, fs::read(&aside).expect("there")),
                (b"another roster".into(), b"roster".into())
            );
        }
    }
    if keep.is_some() {
        assert_eq!(report.class(), None, "{report:#?}");
        assert_eq!(mode(&aside), 0o600);
        assert!(!home.pending());
    }
}

/// One of the two is a symlink that leads to the other, directly or through a third: for every
/// decision the file is kept, under its name.
#[cfg(unix)]
#[rstest]
#[case::forward(Options::forward(), false)]
#[case::forward_through_a_third(Options::forward(), true)]
#[case::undo(Options::undo(), false)]
fn file_is_kept_of_a_symlink_and_its_target(
    #[case] options: Options,
    #[case] by_way: bool,
    #[values(".secrets/identity.json", ".secrets/custody.json", "mesh/rosters/one.json")] name: &str,
    #[values(Keep::Source, Keep::Destination)] keep: Keep,
) {
    let contents = |name: &str| if name.contains("identity") { key_file(1, "x") } else { b"roster".to_vec() };
    let home = Home::full();
    home.put(name, &contents(name));
    if options == Options::undo() {
        assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    }
    let homes = home.homes();
    let source = homes.source(options.direction).join(name);
    let destination = homes.destination(options.direction).join(name);
    let dir = destination.parent().expect("a folder");
    fs::create_dir_all(dir).expect("made");
    if by_way {
        symlink(&source, dir.join("way")).expect("made");
        symlink("way", &destination).expect("made");
    } else {
        let up = "../".repeat(dir.strip_prefix(&home.app).expect("below").components().count());
        let target = Path::new(&up).join(source.strip_prefix(&home.app).expect("below"));
        symlink(target, &destination).expect("made");
    }
    let report = home.run(&options.clone().keeping(Some(keep)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{name} {keep:?}: {report:#?}");
    assert!(fs::symlink_metadata(&destination).expect("there").is_file(), "{name} {keep:?}");
    assert_eq!(fs::read(&destination).expect("there"), contents(name));
    assert_eq!(report.set_aside.len(), 1, "{report:#?}");
    assert_eq!(home.run(&options).outcome, MoveOutcome::NothingToDo);
}

/// Both are symlinks, and one leads to the other.
#[cfg(unix)]
#[rstest]
fn symlink_that_leads_to_the_key_is_kept_of_two(
    #[values(Keep::Source, Keep::Destination)] keep: Keep,
    #[values(Keep::Source, Keep::Destination)] first: Keep,
) {
    let home = Home::full();
    let (here, there) = (home.at(".secrets/identity.json"), home.new_home(".secrets/identity.json"));
    fs::rename(&here, home.at("real.json")).expect("moved");
    fs::create_dir_all(home.new_home(".secrets")).expect("made");
    let (first, second) = if first == Keep::Source { (here, &there) } else { (there.clone(), &here) };
    symlink(home.at("real.json"), &first).expect("made");
    symlink(&first, second).expect("made");
    let report = home.run(&Options::forward().keeping(Some(keep)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{keep:?}: {report:#?}");
    assert_eq!(fs::read(&there).expect("it leads to the key"), key_file(1, "x"));
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
}

#[test]
fn the_legacy_roster_gets_its_network_as_its_name() {
    let good = br#"{"version":1,"network_id":" Home_Mesh ","authorized_devices":[]}"#;
    let home = Home::full();
    home.put("mesh/roster.json", good);
    assert!(home.pending());
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.new_home("mesh/rosters/home_mesh.json")).expect("there"), good);
    assert!(!home.at("mesh").exists());
}

#[rstest]
#[case::empty(b"")]
#[case::an_array(b"[]")]
#[case::of_a_newer_version(br#"{"version":2,"network_id":"home","authorized_devices":[]}"#)]
#[case::of_no_network(br#"{"version":1,"network_id":"","authorized_devices":[]}"#)]
#[case::of_a_network_that_is_a_path(br#"{"version":1,"network_id":"../../etc","authorized_devices":[]}"#)]
#[case::of_a_network_that_has_a_roster(br#"{"version":1,"network_id":"one","authorized_devices":[]}"#)]
fn a_legacy_roster_that_can_have_no_name_stays(#[case] bytes: &[u8]) {
    let home = Home::full();
    home.put("mesh/roster.json", bytes);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.left.len(), 1);
    assert_eq!(fs::read(home.at("mesh/roster.json")).expect("never deleted for being odd"), bytes);
    assert!(!home.pending());
}

#[cfg(unix)]
#[test]
fn two_names_of_one_file_are_recognised() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh/rosters")).expect("made");
    fs::hard_link(home.at("mesh/rosters/one.json"), home.new_home("mesh/rosters/one.json")).expect("linked");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.identical_removed, [home.at("mesh/rosters/one.json")]);
    assert_eq!(fs::metadata(home.new_home("mesh/rosters/one.json")).expect("there").nlink(), 1);
}
