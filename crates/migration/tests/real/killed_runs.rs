//! The files that a killed run leaves: temporary files and claimed files.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(unix)]
use std::path::Path;

use crate::Home;
#[cfg(unix)]
use crate::chmod;
use crate::common::key_file;
use myownllm_migration::{MoveOutcome, Options};
use rstest::rstest;

const TEMPORARY: &str = ".durable-fs.123-10.part";

/// A power cut leaves only the temporary file where the sync of a directory has no effect.
#[rstest]
#[case::at_the_old_location("")]
#[case::in_the_daemon_home(".myownmesh/")]
fn a_temporary_that_holds_the_only_copy_gets_its_name_back(#[case] side: &str) {
    let roster = br#"{"version":1,"network_id":"home-mesh","authorized_devices":[]}"#;
    let state = br#"{"version":2,"network_id":"home-mesh","roles":{}}"#;
    let home = Home::empty();
    home.put(format!("{side}.secrets/{TEMPORARY}"), &key_file(1, "x"));
    home.put(format!("{side}mesh/rosters/{TEMPORARY}"), roster);
    home.put(format!("{side}mesh/states/{TEMPORARY}"), state);
    assert!(home.pending(), "{side}");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{side}: {report:#?}");
    let there = |name: &str| fs::read(home.new_home(name)).unwrap_or_default();
    assert_eq!(there(".secrets/identity.json"), key_file(1, "x"), "{side}");
    assert_eq!(there("mesh/rosters/home-mesh.json"), roster, "{side}");
    assert_eq!(there("mesh/states/home-mesh.json"), state, "{side}");
    assert!(!home.pending(), "{side}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo, "{side}");
}

#[rstest]
#[case::cut(b"half a ros")]
#[case::network_id_that_is_a_path(br#"{"network_id":"../x"}"#)]
#[case::network_that_has_a_roster(br#"{"network_id":"one","other":1}"#)]
fn a_temporary_whose_content_is_nowhere_else_stays_and_is_named(
    #[case] content: &[u8],
    #[values("", ".myownmesh/")] side: &str,
) {
    let home = Home::full();
    let temporary = format!("{side}mesh/rosters/{TEMPORARY}");
    home.put(&temporary, content);
    let report = home.run(&Options::forward());
    let named = report.left.iter().any(|left| left.path == home.at(&temporary));
    assert!(named, "{side}: {report:#?}");
    assert_eq!(fs::read(home.at(&temporary)).expect("kept"), content, "{side}");
    assert!(!home.pending(), "{side}");
}

#[rstest]
#[case::empty(b"")]
#[case::whole(b"roster")]
#[case::cut(b"rost")]
fn a_temporary_whose_content_is_elsewhere_goes(
    #[case] content: &[u8],
    #[values("", ".myownmesh/")] side: &str,
) {
    let home = Home::full();
    let temporary = format!("{side}mesh/rosters/{TEMPORARY}");
    home.put(&temporary, content);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{side}: {report:#?}");
    assert!(!home.at(&temporary).exists(), "{side}");
}

/// A run that is killed while it removes the old symlink leaves the symlink in the claim directory.
#[cfg(unix)]
#[rstest]
#[case::before_the_new_one_is_made(false)]
#[case::after_the_new_one_is_made(true)]
fn a_relative_symlink_that_a_killed_run_took_aside_is_resolved_from_where_it_belonged(#[case] moved: bool) {
    let home = Home::full();
    let key = home.at(".secrets/identity.json");
    fs::create_dir(home.at("keys")).expect("made");
    fs::rename(&key, home.at("keys/id.json")).expect("moved");
    fs::create_dir(home.at(".secrets/.durable-fs.claimed")).expect("made");
    symlink("../keys/id.json", home.at(".secrets/.durable-fs.claimed/identity.json")).expect("made");
    if moved {
        fs::create_dir_all(home.new_home(".secrets")).expect("made");
        symlink("../../keys/id.json", home.new_home(".secrets/identity.json")).expect("made");
    }
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let there = fs::canonicalize(home.new_home(".secrets/identity.json")).expect("it leads somewhere");
    assert_eq!(there, fs::canonicalize(home.at("keys/id.json")).expect("there"));
    assert!(!home.at(".secrets").exists());
}

#[cfg(unix)]
#[rstest]
fn a_file_that_a_killed_undo_has_claimed_is_pending_and_comes_back(
    #[values(".secrets/identity.json", "mesh/rosters/one.json", "mesh/states/one.json")] file: &str,
) {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert!(!home.pending());
    let claimed = home.new_home(file).parent().expect("a folder").join(".durable-fs.claimed");
    fs::create_dir(&claimed).expect("made");
    chmod(&claimed, 0o700);
    let name = Path::new(file).file_name().expect("a name");
    fs::rename(home.new_home(file), claimed.join(name)).expect("claimed");
    assert!(home.pending(), "{file}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done, "{file}");
    assert!(home.new_home(file).is_file() && !home.pending(), "{file}");
}

/// A killed run had claimed a roster with the longest possible name, and another file has that name
/// now.
#[test]
fn file_held_by_a_killed_run_is_set_aside_under_a_fitting_name() {
    let home = Home::full();
    let name = format!("{}.json", "n".repeat(250));
    home.put(format!("mesh/rosters/.durable-fs.claimed/{name}"), b"held");
    home.put(format!("mesh/rosters/{name}"), b"new");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(!home.pending());
    assert_eq!(fs::read(home.new_home("mesh/rosters").join(&name)).expect("moved"), b"new");
    let aside = fs::read_dir(home.at("mesh/rosters"))
        .expect("there")
        .next()
        .expect("set aside")
        .expect("an entry")
        .path();
    assert_eq!(fs::read(aside).expect("kept"), b"held");
}
