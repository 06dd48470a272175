//! The identity files: odd ones, two of them, and the ones that are symlinks.

use std::fs;
#[cfg(unix)]
use std::os::unix::fs::symlink;
#[cfg(unix)]
use std::path::Path;

use crate::common::key_file;
use crate::{Home, mode};
#[cfg(unix)]
use myownllm_migration::IdentityState;
use myownllm_migration::{Keep, MigrationError, MoveOutcome, Options};
use rstest::rstest;

#[cfg(unix)]
#[test]
fn a_pipe_as_a_key_hangs_nobody() {
    let home = Home::empty();
    fs::create_dir(home.at(".secrets")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.at(".secrets/identity.json"), 0o600.into()).expect("made");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    assert!(!home.pending());
}

/// An entry that has the name of the identity file and is none stays, is no error of the move, and
/// prevents the start of a daemon.
#[cfg(unix)]
#[rstest]
#[case::pipe("identity.json", |path: &Path|
    rustix::fs::mkfifoat(rustix::fs::CWD, path, 0o600.into()).expect("made"))]
#[case::directory("identity.json", |path: &Path| fs::create_dir(path).expect("made"))]
#[case::device("identity.json", |path: &Path| symlink("/dev/null", path).expect("made"))]
#[case::key_in_capitals("Identity.JSON", |path: &Path| fs::write(path, key_file(1, "x")).expect("written"))]
#[case::temporary_key("identity.json.tmp", |path: &Path| fs::write(path, key_file(1, "x")).expect("written"))]
fn nothing_odd_in_the_keys_place_is_hidden_behind_a_new_key(
    #[case] name: &str,
    #[case] make: fn(&Path),
    #[values(".secrets", ".myownmesh/.secrets")] side: &str,
) {
    let home = Home::empty();
    home.put("mesh/rosters/one.json", b"roster");
    let path = home.at(side).join(name);
    fs::create_dir_all(path.parent().expect("a folder")).expect("made");
    make(&path);
    let report = home.run(&Options::forward());
    // A valid identity file under another name is restored first; then everything moves.
    let is_key = name != "identity.json";
    assert_eq!(home.new_home("mesh/rosters/one.json").exists(), !is_key, "{side}/{name}: {report:#?}");
    assert_eq!(report.refusals.is_empty(), !is_key, "{side}/{name}: {report:#?}");
    assert!(path.symlink_metadata().is_ok(), "{side}/{name} stays");
    assert!(!home.may_start(), "{side}/{name}: {:?}", report.identity);
    let code = if is_key { "identity.gone" } else { "migration.identity-damaged" };
    let refusal = home.answer().refusal().expect("a refusal").clone();
    assert_eq!(refusal.code(), code, "{side}/{name}");
    assert!(refusal.path().starts_with(home.at(side)), "{side}/{name}: {refusal:?}");
    assert!(!matches!(report.identity, IdentityState::Absent), "{side}/{name}: {report:#?}");
}

#[cfg(unix)]
#[rstest]
#[case::below_the_secrets("keys/real.json")]
#[case::beside_the_secrets("../elsewhere/real.json")]
fn a_linked_key_leads_to_the_same_file_afterwards(#[case] target: &str) {
    let home = Home::full();
    fs::remove_file(home.at(".secrets/identity.json")).expect("there");
    let real = Path::new(".secrets").join(target);
    home.put(&real, &key_file(1, "x"));
    symlink(target, home.at(".secrets/identity.json")).expect("made");
    let real_file = fs::canonicalize(home.at(".secrets/identity.json")).expect("there");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let link = home.new_home(".secrets/identity.json");
    assert!(fs::read_link(&link).expect("a link").is_relative());
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real_file);
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read_link(home.at(".secrets/identity.json")).expect("a link"), Path::new(target));
}

/// The target of the symlink has the name of a state, of a roster or of the second-factor lock: it
/// is an identity file in any case, and stays.
#[cfg(unix)]
#[rstest]
fn a_key_among_the_states_stays_where_its_link_leads(
    #[values("mesh/states/key.json", "mesh/rosters/key.json", ".secrets/custody.json")] name: &str,
    #[values("", ".myownmesh")] side: &str,
) {
    let home = Home::full();
    let real = home.at(name);
    fs::rename(home.at(".secrets/identity.json"), &real).expect("moved");
    let link = home.at(side).join(".secrets/identity.json");
    fs::create_dir_all(link.parent().expect("a folder")).expect("made");
    let up = if side.is_empty() { "../" } else { "../../" };
    symlink(Path::new(up).join(name), &link).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{name}: {report:#?}");
    assert!(home.may_start(), "{name}: {report:#?}");
    let link = home.new_home(".secrets/identity.json");
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real, "{name}");
    assert!(report.left.iter().any(|left| left.path == real), "{name}: {report:#?}");
    assert!(!home.pending(), "{name}");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    home.put("mesh/states/new.json", b"a state that comes later");
    assert!(home.pending(), "{name}");
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    let link = home.at(".secrets/identity.json");
    assert_eq!(fs::canonicalize(&link).expect("it leads somewhere"), real, "{name}");
}

#[cfg(unix)]
#[test]
fn a_linked_key_that_leads_nowhere_is_no_missing_key() {
    let home = Home::full();
    fs::remove_file(home.at(".secrets/identity.json")).expect("there");
    symlink("/mnt/stick/identity.json", home.at(".secrets/identity.json")).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.errors[0].code(), "migration.identity-unreachable", "{report:#?}");
    assert!(!home.may_start());
    assert!(home.pending());
}

#[cfg(unix)]
#[rstest]
#[case::nowhere("/mnt/stick/identity.json")]
#[case::itself("identity.json")]
#[case::below_a_file("custody.json/identity.json")]
fn broken_symlink_gives_way_to_the_sound_key_of_the_daemon_home(#[case] target: &str) {
    let home = Home::full();
    let (link, key) = (home.at(".secrets/identity.json"), home.new_home(".secrets/identity.json"));
    fs::create_dir_all(key.parent().expect("a directory")).expect("made");
    fs::rename(&link, &key).expect("moved");
    let expected = fs::read(&key).expect("there");
    symlink(target, &link).expect("made");
    let report = home.run(&Options::forward());
    let error = report.errors.iter().find(|error| error.code() == "migration.identity-unreachable");
    let hint = error.and_then(MigrationError::hint).expect("a way out");
    assert!(hint.ends_with("migrate --keep-identity daemon-home"), "{hint}");
    assert!(link.is_symlink());

    let mut options = Options::forward();
    options.keep_identity = Some(Keep::Destination);
    let report = home.run(&options);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(!link.is_symlink() && home.at(".secrets/identity.json.set-aside-1").is_symlink());
    assert_eq!(fs::read(&key).expect("there"), expected);
    assert!(home.may_start() && !home.pending());
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
}

#[test]
fn two_keys_stop_everything_until_somebody_decides() {
    let home = Home::full();
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "minted"));
    let before = home.tree();
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Refused);
    assert_eq!(report.refusals[0].code(), "migration.two-identities");
    assert_eq!(
        report.refusals[0].hint().as_deref(),
        Some("myownllm-mesh migrate --keep-identity old-location")
    );
    assert!(!home.may_start());
    assert_eq!(home.tree(), before, "nothing is touched");
    let shown = serde_json::to_value(&report.refusals[0]).expect("JSON");
    assert_eq!(shown["sides"][0]["rosters"], 1, "{shown:#}");
    assert_eq!(shown["sides"][1]["states"], 0, "{shown:#}");

    let report = home.run(&Options::forward().keeping(Some(Keep::Source)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), key_file(1, "x"));
    let aside = home.new_home(".secrets/identity.json.set-aside-1");
    assert_eq!(fs::read(&aside).expect("there"), key_file(2, "minted"));
    assert_eq!(mode(&aside), 0o600);
}

#[test]
fn a_decision_on_rosters_is_none_on_keys() {
    let home = Home::full();
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "minted"));
    home.put(".myownmesh/mesh/rosters/one.json", b"another roster");
    let before = home.tree();
    let report = home.run(&Options::forward().keeping_files(Some(Keep::Source)));
    assert_eq!(report.refusals[0].code(), "migration.two-identities", "{report:#?}");
    assert_eq!(home.tree(), before, "nothing is touched");
    // The reverse: the identities are settled, the rosters stay unchanged.
    let report = home.run(&Options::forward().keeping_identity(Some(Keep::Source)));
    assert_eq!(report.collisions.len(), 1, "{report:#?}");
    assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), key_file(1, "x"));
    assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"another roster");
    let report = home.run(&Options::forward().keeping_files(Some(Keep::Source)));
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(fs::read(home.new_home("mesh/rosters/one.json")).expect("there"), b"roster");
}

/// Peers know the identity that lies with rosters or states; if both identities do, or neither,
/// none is chosen.
#[rstest]
#[case::at_the_old_location(&[""], "--keep-identity old-location")]
#[case::in_the_daemon_home(&[".myownmesh/"], "--keep-identity daemon-home")]
#[case::both(&["", ".myownmesh/"], "--dry-run")]
#[case::neither(&[], "--dry-run")]
fn hint_keeps_the_key_beside_rosters_of_two(#[case] sides: &[&str], #[case] option: &str) {
    let home = Home::empty();
    home.put(".secrets/identity.json", &key_file(1, "x"));
    home.put(".myownmesh/.secrets/identity.json", &key_file(2, "y"));
    for side in sides {
        home.put(format!("{side}mesh/states/of-one.json"), b"state");
    }
    let report = home.run(&Options::forward());
    let hint = report.refusals[0].hint().expect("a command");
    assert_eq!(hint, format!("myownllm-mesh migrate {option}"), "{report:#?}");
}

const DAMAGED: &[u8] = b"";
const NEWER: &[u8] = b"{\"version\":2}";

#[rstest]
#[case::damaged(DAMAGED.into(), None, "migration.identity-damaged", false)]
#[case::damaged_here(DAMAGED.into(), Some(key_file(1, "x")), "migration.identity-damaged", true)]
#[case::damaged_there(key_file(1, "x"), Some(DAMAGED.into()), "migration.identity-damaged", false)]
#[case::newer(NEWER.into(), None, "migration.identity-newer", false)]
#[case::newer_there(key_file(1, "x"), Some(NEWER.into()), "migration.identity-newer", false)]
#[case::newer_here(NEWER.into(), Some(key_file(1, "x")), "migration.identity-newer", false)]
fn damaged_and_newer_keys_are_kept_and_named(
    #[case] source: Vec<u8>,
    #[case] destination: Option<Vec<u8>>,
    #[case] code: &str,
    #[case] may_spawn: bool,
) {
    let home = Home::full();
    home.put(".secrets/identity.json", &source);
    if let Some(destination) = &destination {
        home.put(".myownmesh/.secrets/identity.json", destination);
    }
    let report = home.run(&Options::forward());
    let codes: Vec<_> = report.errors.iter().chain(&report.refusals).map(|error| error.code()).collect();
    assert!(codes.contains(&code), "{codes:?}");
    assert_eq!(home.may_start(), may_spawn, "{codes:?} {:?}", report.identity);
    assert_eq!(fs::read(home.at(".secrets/identity.json")).expect("there"), source);
    if let Some(destination) = destination {
        assert_eq!(fs::read(home.new_home(".secrets/identity.json")).expect("there"), destination);
    }
}

/// The key would go back alone, and the next move would be refused.
#[cfg(unix)]
#[test]
fn an_undo_that_would_part_the_key_from_its_peers_is_refused() {
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    let outside = tempfile::tempdir().expect("a folder");
    fs::rename(home.new_home("mesh"), outside.path().join("mesh")).expect("moved");
    symlink(outside.path().join("mesh"), home.new_home("mesh")).expect("made");
    let before = home.tree();
    let report = home.run(&Options::undo());
    assert_eq!(report.refusals[0].code(), "migration.destination-outside", "{report:#?}");
    assert_eq!(home.tree(), before);
    let hint = report.refusals[0].hint().expect("a way out");
    assert!(std::process::Command::new("sh").args(["-c", &hint]).status().expect("a shell").success());
    assert_eq!(home.run(&Options::undo()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.at("mesh/rosters/one.json")).expect("there"), b"roster");
}
