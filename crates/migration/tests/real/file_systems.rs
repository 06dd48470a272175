//! Moves from one file system to another, and what the other one refuses.

use std::cell::RefCell;
use std::fs;
#[cfg(target_os = "linux")]
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::common::{Mount, key_file};
#[cfg(target_os = "linux")]
use crate::homes_at;
use crate::{Home, chmod};
use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_migration::{Migrator, MoveMethod, MoveOutcome, NoDaemons, Options, Progress};

/// Puts an identity file into a home: without an identity file, rosters do not move.
fn put_key(home: &Path) {
    fs::create_dir_all(home.join(".secrets")).expect("made");
    chmod(home, 0o700);
    chmod(&home.join(".secrets"), 0o700);
    fs::write(home.join(".secrets/identity.json"), key_file(1, "x")).expect("written");
    chmod(&home.join(".secrets/identity.json"), 0o600);
}

#[test]
fn across_real_file_systems() {
    let home = Home::full();
    let daemon = home.new_home("");
    let Some(_other) = Mount::memory(&daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    chmod(&home.at("mesh/rosters/one.json"), 0o640);
    let before = fs::metadata(home.at("mesh/rosters/one.json")).expect("there");
    let homes = home.homes();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let reported = RefCell::new(Vec::new());
    let on_progress = |progress: Progress| reported.borrow_mut().push(progress.done);
    let migrator = Migrator::new(&RealDisk, homes).with_progress(&on_progress);
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(report.moved.iter().all(|moved| moved.method == MoveMethod::Copy), "{report:#?}");
    assert_eq!(reported.borrow().last(), Some(&report.files_moved()), "{reported:?}");
    let after = fs::metadata(daemon.join("mesh/rosters/one.json")).expect("there");
    assert_eq!(
        (after.mode(), after.mtime(), after.mtime_nsec()),
        (before.mode(), before.mtime(), before.mtime_nsec())
    );
    assert!(!home.at("mesh").exists() && !home.at(".secrets").exists());
    let report = migrator.run(&lock, &Options::undo(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(home.at(".secrets/identity.json").is_file());
}

/// Gives a file an attribute. False where the file system has none.
#[cfg(target_os = "linux")]
fn note(path: &Path, name: &str, value: &[u8]) -> bool {
    let noted = rustix::fs::setxattr(path, name, value, rustix::fs::XattrFlags::empty());
    noted.inspect_err(|error| eprintln!("skipped: {name} on {}: {error}", path.display())).is_ok()
}

/// Attributes that the other file system does not accept are lost with the original, and the report
/// says so.
#[cfg(target_os = "linux")]
#[test]
fn attributes_that_the_other_file_system_refuses_are_reported() {
    // The file system in memory accepts more than ext4 does.
    let (Ok(memory), Ok(disk)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else { return };
    let app = memory.path().join("app");
    let daemon = app.join(".myownmesh");
    let Some(_mount) = Mount::bind(disk.path(), &daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    let roster = app.join("mesh/rosters/one.json");
    fs::create_dir_all(app.join("mesh/rosters")).expect("made");
    for dir in [&app, &app.join("mesh"), &app.join("mesh/rosters")] {
        chmod(dir, 0o700);
    }
    fs::write(&roster, "roster").expect("written");
    put_key(&daemon);
    let secret = "never to be said ".repeat(400);
    if !note(&roster, "user.short", b"phone") || !note(&roster, "user.long", secret.as_bytes()) {
        return;
    }
    fs::write(disk.path().join("probe"), "").expect("written");
    if !note(&disk.path().join("probe"), "user.short", b"phone")
        || rustix::fs::setxattr(
            disk.path().join("probe"),
            "user.long",
            secret.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        )
        .is_ok()
    {
        eprintln!("skipped: the file system of {} takes all of it, or nothing", disk.path().display());
        return;
    }
    let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
    let migrator = Migrator::new(&RealDisk, homes_at(&app, &daemon));
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    let lost = &report.attributes_lost;
    let moved = daemon.join("mesh/rosters/one.json");
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!((&lost[0].path, &lost[0].names), (&moved, &vec!["user.long".to_owned()]));
    assert!(!format!("{report:?}").contains("never to be said"));
    let mut value = [0; 16];
    let length = rustix::fs::getxattr(&moved, "user.short", &mut value).expect("it came along");
    assert_eq!(&value[..length], b"phone");
}

/// The report is the same if another run made the copy and was killed before its report.
#[cfg(target_os = "linux")]
#[test]
fn attributes_of_an_original_that_is_there_already_are_reported() {
    let home = Home::full();
    fs::create_dir_all(home.new_home("mesh/rosters")).expect("made");
    for dir in [".myownmesh", ".myownmesh/mesh", ".myownmesh/mesh/rosters"] {
        chmod(&home.at(dir), 0o700);
    }
    fs::write(home.new_home("mesh/rosters/one.json"), "roster").expect("written");
    if !note(&home.at("mesh/rosters/one.json"), "user.origin", b"phone") {
        return;
    }
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.identical_removed, [home.at("mesh/rosters/one.json")]);
    let lost: Vec<_> = report.attributes_lost.iter().map(|lost| (&lost.path, &lost.names)).collect();
    assert_eq!(lost, [(&home.new_home("mesh/rosters/one.json"), &vec!["user.origin".to_owned()])]);
}

/// No copy is begun in an append-only directory.
#[cfg(target_os = "linux")]
#[test]
fn an_append_only_destination_on_another_disk_does_not_fill_up() {
    let (Ok(memory), Ok(disk)) = (tempfile::tempdir_in("/dev/shm"), tempfile::tempdir()) else { return };
    let app = memory.path().join("app");
    let daemon = app.join(".myownmesh");
    let Some(_mount) = Mount::bind(disk.path(), &daemon) else {
        eprintln!("skipped: only root can mount another file system");
        return;
    };
    let rosters = daemon.join("mesh/rosters");
    fs::create_dir_all(app.join("mesh/rosters")).expect("made");
    fs::create_dir_all(&rosters).expect("made");
    put_key(&daemon);
    for dir in [&daemon, &daemon.join("mesh"), &rosters] {
        chmod(dir, 0o700);
    }
    for name in ["one", "two"] {
        fs::write(app.join(format!("mesh/rosters/{name}.json")), "roster").expect("written");
    }
    let chattr = |what: &str| {
        let done = std::process::Command::new("chattr").arg(what).arg(&rosters).status();
        done.is_ok_and(|status| status.success())
    };
    if !chattr("+a") {
        eprintln!("skipped: no folder can be made append-only here");
        return;
    }
    let run = || {
        let lock = RealDisk.lock(&app, Duration::ZERO).expect("free");
        let migrator = Migrator::new(&RealDisk, homes_at(&app, &daemon));
        migrator.run(&lock, &Options::forward(), &NoDaemons)
    };
    let reports = [run(), run(), run()];
    let names = fs::read_dir(&rosters).expect("readable").count();
    assert!(chattr("-a"), "it can be removed again");
    assert_eq!(names, 0, "{reports:#?}");
    for report in reports {
        assert_eq!(report.errors.len(), 2, "{report:#?}");
        let hint = Some(format!("lsattr -d {}", rosters.display()));
        assert!(report.errors.iter().all(|error| error.hint() == hint), "{report:#?}");
    }
    assert_eq!(run().outcome, MoveOutcome::Done);
    assert!(rosters.join("two.json").exists());
}
