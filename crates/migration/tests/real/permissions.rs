//! Modes, access lists and owners.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown, lchown};
use std::path::{Path, PathBuf};

use crate::common::key_file;
use crate::{Home, chmod, mode};
use myownllm_migration::{Class, Keep, MoveOutcome, MoveReport, Options};
use rstest::rstest;

#[test]
fn world_writable_dirs_are_refused_with_the_command_that_mends_it() {
    let home = Home::full();
    chmod(&home.at(".secrets"), 0o777);
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals[0].code(), "migration.unsafe-permissions", "{report:#?}");
    assert!(report.refusals[0].hint().expect("a command").starts_with("chmod 700 "));
    chmod(&home.at(".secrets"), 0o775);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "what the group may write is tightened: {report:#?}");
}

/// The mode of the home is tightened before its files move, and left alone if there is nothing to
/// do.
#[rstest]
#[case::forward(Options::forward())]
#[case::undo(Options::undo())]
fn a_home_that_the_group_may_write_is_tightened_when_something_moves(#[case] direction: Options) {
    let home = Home::full();
    if direction == Options::undo() {
        assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    }
    chmod(&home.app, 0o775);
    let report = home.run(&direction);
    assert_eq!((report.outcome, mode(&home.app)), (MoveOutcome::Done, 0o700), "{report:#?}");
    chmod(&home.app, 0o775);
    let report = home.run(&direction);
    assert_eq!((report.outcome, mode(&home.app)), (MoveOutcome::NothingToDo, 0o775), "{report:#?}");
}

#[test]
fn a_home_that_nobody_else_may_write_keeps_its_mode() {
    let home = Home::full();
    chmod(&home.app, 0o755);
    home.run(&Options::forward());
    assert_eq!(mode(&home.app), 0o755, "nobody else may write there: how it is read is the user's business");
}

/// An access list that grants writing shows in the mode, because the group's bits are the list's
/// mask; clearing the bits removes the grant.
#[cfg(target_os = "linux")]
#[test]
fn an_access_list_that_grants_writing_is_tightened() {
    // Version 2; owner rwx, user 4321 rwx, group ---, mask rwx, others ---: tag, permissions,
    // number.
    let entries =
        [(1_u16, 7_u16, u32::MAX), (2, 7, 4321), (4, 0, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)];
    let list: Vec<u8> = entries
        .iter()
        .flat_map(|(tag, allowed, id)| {
            [tag.to_le_bytes().as_slice(), &allowed.to_le_bytes(), &id.to_le_bytes()].concat()
        })
        .collect();
    let list = [2_u32.to_le_bytes().as_slice(), &list].concat();
    let grant = |path: &Path| {
        rustix::fs::setxattr(path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty())
    };
    let home = Home::full();
    let dirs = [home.app.clone(), home.at(".secrets"), home.at("mesh"), home.at("mesh/rosters")];
    for dir in &dirs {
        chmod(dir, 0o700);
        if let Err(error) = grant(dir) {
            eprintln!("skipped: this file system has no access lists ({error})");
            return;
        }
        assert_eq!(mode(dir), 0o770, "{}", dir.display());
    }
    // The remaining file keeps the directory.
    home.put(".secrets/other", b"x");
    home.put("mesh/other", b"x");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    for dir in [home.app.clone(), home.at(".secrets"), home.at("mesh"), home.new_home("mesh/rosters")] {
        assert_eq!(mode(&dir), 0o700, "{}", dir.display());
        let mut now = [0; 64];
        let length =
            rustix::fs::getxattr(&dir, "system.posix_acl_access", &mut now).expect("it is still there");
        let mask = now[4..length].chunks(8).find(|entry| entry[0] == 0x10).expect("a mask");
        assert_eq!(mask[2], 0, "nothing that is granted by name counts: {}", dir.display());
    }
}

/// A user who may replace the home decides about everything in it.
#[test]
fn directories_above_the_home_must_be_safe_too() {
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    chmod(&above, 0o777);
    let report = home.run(&Options::forward());
    assert_eq!(report.refusals.len(), 1, "{report:#?}");
    assert_eq!(report.refusals[0].hint().as_deref(), Some(&*format!("chmod o-w {}", above.display())));
    chmod(&above, 0o1777);
    assert_eq!(
        home.run(&Options::forward()).outcome,
        MoveOutcome::Done,
        "nobody else can rename what is there"
    );
}

/// A home of another user inside our home, and an identity file of another user in our home.
#[test]
fn file_of_another_user_is_refused_with_a_hint() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    chown(&above, Some(1234), Some(1234)).expect("root may");
    chown(&home.app, Some(4321), Some(4321)).expect("root may");
    let refused = |report: &MoveReport, command: &str| {
        assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
        assert!(report.refusals.iter().any(|r| r.hint().as_deref() == Some(command)), "{report:#?}");
    };
    refused(&home.run(&Options::forward()), &format!("sudo chown -RH 1234:1234 {}", home.app.display()));
    let key = home.at(".secrets/identity.json");
    chown(&home.app, Some(1234), Some(1234)).expect("root may");
    lchown(&key, Some(4321), Some(4321)).expect("root may");
    refused(&home.run(&Options::forward()), &format!("sudo chown -hR 1234:1234 {}", key.display()));
    assert!(key.exists());
    // A directory of another user is not read, so it is refused even if nothing else is pending.
    lchown(&key, Some(1234), Some(1234)).expect("root may");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::create_dir(home.at("mesh")).expect("made");
    chown(home.at("mesh"), Some(4321), Some(4321)).expect("root may");
    refused(
        &home.run(&Options::forward()),
        &format!("sudo chown -hR 1234:1234 {}", home.at("mesh").display()),
    );
}

/// Tells if this is root, which can play another user.
fn is_root() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0);
    if !is_root {
        eprintln!("skipped: only root can play another user");
    }
    is_root
}

/// Checks that a move refuses a file with this command, and changes nothing.
fn refused(home: &Home, options: &Options, file: &Path, command: &str) {
    let before = home.tree();
    let report = home.run(options);
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
    assert_eq!(report.class(), Some(Class::Refused));
    let named = report.refusals.iter().find(|refusal| refusal.path() == file).expect("it is named");
    assert_eq!(named.code(), "migration.unsafe-permissions");
    assert_eq!(named.hint().as_deref(), Some(command));
    assert_eq!(home.tree(), before, "nothing has moved, nothing is changed");
}

#[rstest]
#[case::in_a_sticky_directory(0o1777, 1)]
#[case::in_a_directory_of_the_group(0o775, 1)]
#[case::among_many(0o1777, 3)]
fn a_file_that_another_user_has_planted_is_refused_and_nothing_moves(
    #[case] mode_of_dir: u32,
    #[case] names: u32,
    #[values("mesh/rosters", "mesh/states")] dir: &str,
) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let planted: Vec<PathBuf> =
        (0..names).map(|number| home.at(dir).join(format!("planted{number}.json"))).collect();
    for file in &planted {
        fs::write(file, b"mine").expect("written");
        lchown(file, Some(4321), Some(4321)).expect("root may");
    }
    chmod(&home.at(dir), mode_of_dir);
    let command = match &*planted {
        [one] => format!("sudo chown -hR 0:0 {}", one.display()),
        _ => format!(
            "sudo find {} -maxdepth 1 -type f ! -user 0 ! -user 0 -exec chown -h 0:0 {{}} +",
            home.at(dir).display()
        ),
    };
    refused(&home, &Options::forward(), &planted[0], &command);
    // The command of the error mends the problem.
    for file in &planted {
        lchown(file, Some(0), Some(0)).expect("root may");
    }
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    assert_eq!(fs::read(home.new_home(dir).join("planted0.json")).expect("there"), b"mine");
}

#[rstest]
#[case::legacy_roster("mesh/roster.json", br#"{"version":1,"network_id":"home","authorized_devices":[]}"#)]
#[case::second_factor(".secrets/custody.json", b"custody")]
fn a_file_of_another_user_that_moves_by_itself_is_refused(#[case] name: &str, #[case] bytes: &[u8]) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    home.put(name, bytes);
    lchown(home.at(name), Some(4321), Some(4321)).expect("root may");
    let command = format!("sudo chown -hR 0:0 {}", home.at(name).display());
    refused(&home, &Options::forward(), &home.at(name), &command);
}

#[test]
fn undo_refuses_a_file_that_another_user_has_planted() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    let planted = home.new_home("mesh/rosters/one.json");
    lchown(&planted, Some(4321), Some(4321)).expect("root may");
    chmod(&home.new_home("mesh/rosters"), 0o1777);
    refused(&home, &Options::undo(), &planted, &format!("sudo chown -hR 0:0 {}", planted.display()));
}

#[test]
fn files_of_root_move_in_a_home_of_another_user() {
    if !is_root() {
        return;
    }
    let home = Home::full();
    let above = home.app.parent().expect("a folder").to_owned();
    for path in [&above, &home.app, &home.at("mesh"), &home.at("mesh/rosters"), &home.at(".secrets")] {
        lchown(path, Some(1234), Some(1234)).expect("root may");
    }
    chmod(&home.at("mesh/rosters"), 0o1777);
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
}

#[rstest]
fn file_of_another_user_at_the_destination_is_no_copy(
    #[values("mesh/rosters/one.json", ".secrets/custody.json", "mesh/roster.json")] name: &str,
) {
    if !is_root() {
        return;
    }
    let home = Home::full();
    home.put("mesh/roster.json", br#"{"version":1,"network_id":"home","authorized_devices":[]}"#);
    let there = match name {
        "mesh/roster.json" => home.new_home("mesh/rosters/home.json"),
        _ => home.new_home(name),
    };
    fs::create_dir_all(there.parent().expect("a folder")).expect("made");
    fs::copy(home.at(name), &there).expect("copied");
    lchown(&there, Some(4321), Some(4321)).expect("root may");
    let report = home.run(&Options::forward());
    assert_eq!(report.class(), Some(Class::Refused), "{report:#?}");
    assert!(home.at(name).exists(), "the one that is ours stays: {report:#?}");
    assert!(report.errors.iter().any(|error| error.path() == there), "{report:#?}");
    assert!(home.at(".secrets/identity.json").exists() && !home.may_start());
    lchown(&there, Some(0), Some(0)).expect("root may");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
}

/// The identity file and the second-factor lock end private, whoever made them.
#[rstest]
#[case::identical(None, None)]
#[case::destination_is_kept(Some(key_file(2, "y")), Some(Keep::Destination))]
#[case::source_is_kept(Some(key_file(2, "y")), Some(Keep::Source))]
fn secrets_that_were_at_the_destination_end_private(
    #[case] bytes: Option<Vec<u8>>,
    #[case] keep: Option<Keep>,
    #[values(".secrets/custody.json", ".secrets/identity.json")] name: &str,
) {
    let home = Home::full();
    let there = home.new_home(name);
    fs::create_dir_all(there.parent().expect("a folder")).expect("made");
    fs::write(&there, bytes.unwrap_or_else(|| fs::read(home.at(name)).expect("there"))).expect("written");
    chmod(&there, 0o664);
    chmod(&home.at(name), 0o664);
    let report = home.run(&Options::forward().keeping(keep));
    assert_eq!(report.outcome, MoveOutcome::Done, "{name}: {report:#?}");
    for entry in fs::read_dir(there.parent().expect("a folder")).expect("readable") {
        let path = entry.expect("an entry").path();
        assert_eq!(mode(&path), 0o600, "{}, {keep:?}", path.display());
    }
}
