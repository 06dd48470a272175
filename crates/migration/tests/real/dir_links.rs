//! Directories that are symlinks, and directories with two names.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use crate::{Home, chmod};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Direction, Migrator, MoveOutcome, Options, SkippedEntry};
use rstest::rstest;

#[rstest]
#[case::rosters("mesh/rosters", 0o700)]
#[case::states("mesh/states", 0o755)]
#[case::peers("mesh", 0o700)]
#[case::secrets(".secrets", 0o755)]
#[case::secrets_that_the_group_may_write(".secrets", 0o775)]
#[case::daemon_home("", 0o700)]
fn files_moved_through_a_symlink_come_back(#[case] dir: &str, #[case] mode_of_target: u32) {
    let home = Home::full();
    let before = home.tree();
    let link = home.app.join(".myownmesh").join(dir);
    let link = Path::new(link.to_str().expect("text").trim_end_matches('/'));
    fs::create_dir_all(link.parent().expect("a folder")).expect("made");
    fs::create_dir_all(home.at("data/there")).expect("made");
    chmod(&home.at("data"), 0o700);
    chmod(&home.at("data/there"), mode_of_target);
    symlink(home.at("data/there"), link).expect("linked");
    for _ in 0..2 {
        let report = home.run(&Options::forward());
        assert_eq!(report.outcome, MoveOutcome::Done, "{dir}: {report:#?}");
        assert!(home.may_start() && !home.pending(), "{dir}");
        assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"roster", "{dir}");

        let report = home.run(&Options::undo());
        assert_eq!(report.outcome, MoveOutcome::Done, "{dir}: {report:#?}");
        for (path, (_, bytes)) in &before {
            assert_eq!(fs::read(home.at(path)).unwrap_or_default(), *bytes, "{dir}: {path:?}");
        }
        let link_stays = fs::symlink_metadata(link).is_ok_and(|meta| meta.is_symlink());
        assert!(link_stays && home.at("data/there").is_dir(), "{dir}");
        let back = home.run(&Options::undo());
        assert_eq!(back.outcome, MoveOutcome::NothingToDo, "{dir}: {back:#?}");
    }
}

/// In the app's home a symlink is the user's own choice: the files behind it stay there, as at the
/// first move, and the report says so.
#[test]
fn undo_reports_files_behind_a_symlink_in_the_apps_home() {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::create_dir_all(home.at("data/there")).expect("made");
    fs::create_dir_all(home.at("mesh")).expect("made");
    symlink("../data/there", home.at("mesh/rosters")).expect("linked");
    let lock = RealDisk.lock(&home.app, Duration::from_secs(5)).expect("locked");
    let migrator = Migrator::new(&RealDisk, home.homes());
    let plan = migrator.plan(&migrator.inspect(Direction::Undo), &Options::undo());
    drop(lock);
    let said = |left: &[SkippedEntry]| left.iter().any(|left| left.path == home.at("mesh/rosters"));
    assert!(said(&plan.left), "{plan:#?}");
    let report = home.run(&Options::undo());
    assert!(report.outcome == MoveOutcome::Done && said(&report.left), "{report:#?}");
    assert_eq!(fs::read(home.at("data/there/one.json")).expect("there"), b"roster");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.at("data/there/one.json")).expect("there"), b"roster");
}

#[test]
fn undo_does_not_move_a_file_to_its_own_directory() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh")).expect("made");
    symlink("../../mesh/rosters", home.new_home("mesh/rosters")).expect("linked");
    let before = home.tree();
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::NothingToDo);
    assert_eq!(home.tree(), before);
}

#[test]
fn a_dir_link_out_of_the_home_is_refused() {
    let home = Home::full();
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink(outside.path(), home.new_home(".secrets")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.destination-outside", "{report:#?}");
    assert_eq!(home.tree(), before);
    assert_eq!(fs::read_dir(outside.path()).expect("readable").count(), 0);
}

/// The way out of a symlink that leads out keeps what it leads to, also on a disk that is missing.
#[rstest]
#[case::to_a_directory(false)]
#[case::to_a_missing_disk(true)]
fn the_way_out_of_a_dir_link_out_of_the_home_keeps_the_peers(#[case] is_missing: bool) {
    let home = Home::full();
    let outside = tempfile::tempdir().expect("a folder");
    fs::create_dir(outside.path().join("rosters")).expect("made");
    fs::write(outside.path().join("rosters/two.json"), b"peers").expect("written");
    fs::create_dir(home.at(".myownmesh")).expect("made");
    let target = outside.path().join(if is_missing { "missing" } else { "" });
    symlink(&target, home.new_home("mesh")).expect("made");
    let hint = home.run(&Options::forward()).refusals[0].hint().expect("a way out");
    for is_done in [true, false] {
        let ran = std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell");
        assert!(ran.success() == is_done || is_missing, "{hint}");
    }
    let kept = if is_missing { "mesh.aside" } else { "mesh/rosters/two.json" };
    assert!(fs::symlink_metadata(home.new_home(kept)).is_ok(), "{hint}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done, "{hint}");
}

#[test]
fn a_dir_link_back_to_the_source_loses_nothing() {
    let home = Home::full();
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink("../.secrets", home.new_home(".secrets")).expect("made");
    symlink("../mesh", home.new_home("mesh")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert!(report.refusals.iter().any(|error| error.code() == "migration.same-folder"), "{report:#?}");
    assert_eq!(home.tree(), before);
}

/// A directory with two names has one problem and one way out, which works, and its files do not
/// differ from themselves.
#[test]
fn a_dir_with_two_names_is_named_once_with_the_command_that_takes_one_away() {
    let home = Home::full();
    fs::create_dir(home.at(".myownmesh")).expect("made");
    symlink("../mesh", home.new_home("mesh")).expect("made");
    let report = home.run(&Options::forward());
    let [error] = report.refusals.as_slice() else { panic!("{report:#?}") };
    assert_eq!(error.path(), home.new_home("mesh"), "{report:#?}");
    assert!(report.collisions.is_empty() && report.errors.is_empty(), "{report:#?}");
    let hint = error.hint().expect("a way out");
    for is_done in [true, false] {
        let ran = std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell");
        assert_eq!(ran.success(), is_done, "{hint}");
    }
    let report = home.run(&Options::forward());
    assert!(report.refusals.is_empty() && report.errors.is_empty(), "{report:#?}");
    assert!(home.new_home("mesh/rosters/one.json").exists(), "{report:#?}");
}

#[test]
fn a_key_behind_a_dir_link_is_not_taken_away() {
    let home = Home::full();
    let stick = tempfile::tempdir().expect("a folder");
    fs::rename(home.at(".secrets"), stick.path().join("secrets")).expect("moved");
    symlink(stick.path().join("secrets"), home.at(".secrets")).expect("made");
    assert!(home.pending());
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.source-link", "{report:#?}");
    assert!(!home.may_start());
}

#[cfg(unix)]
#[test]
fn roster_stays_when_a_symlink_that_stays_leads_to_it() {
    let home = Home::full();
    let (link, real) = (home.at("mesh/rosters/one.json"), home.at("mesh/rosters/.one-real.json"));
    fs::rename(&link, &real).expect("moved");
    symlink(real.file_name().expect("a name"), &link).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real, "{report:#?}");
    assert!(report.left.iter().any(|left| left.path == real), "{report:#?}");
    assert!(
        report.moved.iter().any(|moved| moved.to == home.new_home(".secrets/identity.json")),
        "{report:#?}"
    );
    assert!(!home.pending());
}
