//! A move as a whole: its order, its report, and what stops it.

use std::cell::RefCell;
#[cfg(unix)]
use std::ffi::OsStr;
use std::fs;
#[cfg(unix)]
use std::os::unix::ffi::OsStrExt;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, symlink};
#[cfg(unix)]
use std::path::Path;
use std::time::Duration;

#[cfg(unix)]
use crate::common::key_file;
use crate::{Home, homes_at};
#[cfg(unix)]
use crate::{chmod, mode};
use myownllm_durable_fs::{Disk, RealDisk};
#[cfg(unix)]
use myownllm_migration::MoveMethod;
use myownllm_migration::{
    Direction, Homes, IdentityState, LiveDaemon, LiveDaemons, LiveKind, MigrationError, Migrator,
    MoveOutcome, MoveStep, NoDaemons, Options, Progress,
};
use rstest::rstest;

#[cfg(unix)]
#[test]
fn everything_moves_and_the_old_places_are_gone() {
    let home = Home::full();
    let before = fs::metadata(home.at("mesh/rosters/one.json")).expect("there");
    for dir in ["mesh", "mesh/states", "mesh/rosters", ".secrets"] {
        chmod(&home.at(dir), 0o755);
    }
    chmod(&home.at(".secrets/identity.json"), 0o644);
    chmod(&home.at("mesh/rosters/one.json"), 0o640);
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.class(), None);
    assert!(home.may_start());
    let names: Vec<_> = home.tree().into_keys().map(|path| path.to_string_lossy().into_owned()).collect();
    assert_eq!(
        names,
        [
            ".myownmesh",
            ".myownmesh/.secrets",
            ".myownmesh/.secrets/custody.json",
            ".myownmesh/.secrets/identity.json",
            ".myownmesh/mesh",
            ".myownmesh/mesh/rosters",
            ".myownmesh/mesh/rosters/one.json",
            ".myownmesh/mesh/states",
            ".myownmesh/mesh/states/one.json",
        ]
    );
    for dir in ["", ".secrets", "mesh", "mesh/rosters", "mesh/states"] {
        assert_eq!(mode(&home.new_home(dir)), 0o700, "{dir}");
    }
    assert_eq!(mode(&home.new_home(".secrets/identity.json")), 0o600);
    assert_eq!(mode(&home.new_home(".secrets/custody.json")), 0o600);
    let after = fs::metadata(home.new_home("mesh/rosters/one.json")).expect("there");
    assert_eq!(after.mode() & 0o777, 0o640, "a roster keeps its mode");
    assert_eq!(after.ino(), before.ino(), "it is the very file");
    let dirs = report.moved.iter().filter(|moved| moved.method == MoveMethod::RenameDir);
    assert_eq!(dirs.count(), 2, "each folder is one rename");
    assert!(!home.pending());
    let changed = |path: &str| fs::metadata(home.at(path)).expect("there").ctime_nsec();
    let stamp = (changed(""), changed(".myownmesh"));
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
    assert_eq!(stamp, (changed(""), changed(".myownmesh")), "nothing is touched");
}

#[test]
fn progress_is_reported_to_a_callback() {
    let home = Home::full();
    let reported = RefCell::new(Vec::new());
    let on_progress = |progress: Progress| reported.borrow_mut().push(progress);
    let migrator = Migrator::new(&RealDisk, home.homes()).with_progress(&on_progress);
    let planned = migrator.plan(&migrator.inspect(Direction::Forward), &Options::forward()).files();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.files_moved(), planned, "a plan and its report count alike");
    let reported = reported.into_inner();
    assert!(reported.windows(2).all(|two| two[0] != two[1]), "nothing is told twice: {reported:?}");
    let reported: Vec<_> = reported.iter().map(|progress| (progress.done, progress.total)).collect();
    assert!(reported.is_sorted() && reported.iter().all(|(_, total)| *total == planned), "{reported:?}");
    assert_eq!(reported.last(), Some(&(planned, planned)), "{reported:?}");
}

#[test]
fn the_report_has_the_promised_fields() {
    let home = Home::full();
    home.put("mesh/rosters/notes.txt", b"x");
    let report = serde_json::to_value(home.run(&Options::forward())).expect("JSON");
    for field in ["moved", "identical_removed", "collisions", "left", "errors", "refusals"] {
        assert!(report[field].is_array(), "{field}: {report:#}");
    }
    for field in ["from", "to", "method"] {
        assert!(report["moved"][0][field].is_string(), "{report:#}");
    }
    assert!(report["left"][0]["reason"].is_string());
}

#[test]
fn undo_and_back_again_is_where_it_began() {
    let home = Home::full();
    home.run(&Options::forward());
    let moved = home.tree();
    fs::write(home.new_home("config.json"), b"the daemon's").expect("written");
    let report = home.run(&Options::undo());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert!(!home.may_start(), "the daemon's home has no key now");
    assert!(home.at(".secrets/identity.json").is_file());
    assert!(!home.new_home(".secrets").exists());
    assert!(home.new_home("config.json").is_file(), "the daemon's own config stays");
    assert!(home.pending(), "the next launch of the new app moves all again");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::Done);
    fs::remove_file(home.new_home("config.json")).expect("there");
    assert_eq!(home.tree(), moved);
}

#[cfg(unix)]
#[test]
fn odd_names_and_kinds_are_left_and_reported() {
    let home = Home::full();
    home.put(Path::new("mesh/rosters").join(OsStr::from_bytes(b"\xff\xfe.json")), b"odd");
    home.put("mesh/rosters/notes.txt", b"notes");
    home.put("mesh/rosters/-rf \n'.json", b"an odd name, but ours");
    home.put("mesh/rosters/one.json.corrupt", b"corrupt");
    fs::create_dir(home.at("mesh/states/folder.json")).expect("made");
    symlink("/etc/hostname", home.at("mesh/states/link.json")).expect("made");
    rustix::fs::mkfifoat(rustix::fs::CWD, home.at("mesh/states/pipe.json"), 0o600.into()).expect("made");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(report.left.len(), 5, "{:#?}", report.left);
    assert!(home.new_home("mesh/rosters/-rf \n'.json").is_file());
    assert!(home.new_home("mesh/rosters/one.json.corrupt").is_file());
    assert!(home.at("mesh/states/pipe.json").symlink_metadata().is_ok());
    assert!(serde_json::to_value(&report).is_ok(), "odd names can be shown");
    assert!(!home.pending(), "what is not ours is not pending");
    assert_eq!(home.run(&Options::forward()).outcome, MoveOutcome::NothingToDo);
}

#[test]
fn names_of_dirs_that_are_files_are_left() {
    let home = Home::empty();
    home.put("mesh/rosters", b"a file");
    home.put(".secrets/identity.json/x", b"a folder");
    let report = home.run(&Options::forward());
    assert_eq!(report.outcome, MoveOutcome::NothingToDo, "{report:#?}");
    assert_eq!(report.left.len(), 2, "{report:#?}");
    assert!(!home.pending());
}

/// The error names the path that is in the way, and not each path below it.
#[test]
fn a_file_in_the_place_of_the_new_home_is_named_once() {
    let home = Home::full();
    home.put(".myownmesh", b"a file");
    let report = home.run(&Options::forward());
    let named: Vec<_> = report.refusals.iter().map(|error| (error.code(), error.path())).collect();
    assert_eq!(named, [("migration.destination-not-folder", home.new_home("").as_path())], "{report:#?}");
    assert!(report.errors.is_empty(), "{report:#?}");
}

struct Alive(LiveDaemon);

impl LiveDaemons for Alive {
    fn live(&self) -> Vec<LiveDaemon> {
        vec![self.0.clone()]
    }

    fn are_of(&self, _: &Homes) -> bool {
        true
    }
}

const STOP: &str = "myownllm-mesh migrate --stop-legacy-daemon";

#[rstest]
#[case::legacy(
    LiveDaemon::new("/x/daemon.sock", Some(77), "0.3.8", LiveKind::Legacy),
    "daemon.legacy-running",
    STOP
)]
#[case::own(
    LiveDaemon::new("/x/daemon.sock", Some(77), "0.3.8", LiveKind::Own),
    "daemon.own-running",
    if cfg!(windows) { STOP } else { "kill 77" }
)]
fn a_live_daemon_stops_the_move(#[case] daemon: LiveDaemon, #[case] code: &str, #[case] hint: &str) {
    let home = Home::full();
    let before = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = Migrator::new(&RealDisk, home.homes()).run(&lock, &Options::forward(), &Alive(daemon));
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:#?}");
    assert_eq!((report.refusals[0].code(), report.refusals[0].hint().as_deref()), (code, Some(hint)));
    assert!(report.refusals[0].to_string().contains("77"));
    assert_eq!(home.tree(), before);
}

#[test]
fn one_of_many_concurrent_runs_moves() {
    let home = Home::full();
    let reports: Vec<MoveOutcome> = std::thread::scope(|scope| {
        let threads: Vec<_> =
            (0..16).map(|_| scope.spawn(|| home.run(&Options::forward()).outcome)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
    });
    assert_eq!(reports.iter().filter(|outcome| **outcome == MoveOutcome::Done).count(), 1);
    assert!(reports.iter().all(|outcome| matches!(outcome, MoveOutcome::Done | MoveOutcome::NothingToDo)));
}

/// A caller puts the homes together by hand, and they are one directory.
#[rstest]
#[case::same("")]
#[case::same_by_dots("mesh/..")]
#[case::above("..")]
fn homes_that_are_not_apart_lose_nothing(#[case] daemon: &str) {
    let home = Home::full();
    let (before, lock) = (home.tree(), RealDisk.lock(&home.app, Duration::ZERO).expect("free"));
    let migrator = Migrator::new(&RealDisk, homes_at(&home.app, &home.app.join(daemon)));
    let report = migrator.run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(home.tree(), before, "{report:#?}");
    assert!(report.moved.is_empty(), "{report:#?}");
}

#[test]
fn a_stale_plan_does_no_harm() {
    let home = Home::full();
    let migrator_homes = home.homes();
    let migrator = Migrator::new(&RealDisk, migrator_homes);
    let options = Options::forward();
    let stale = migrator.plan(&migrator.inspect(options.direction), &options);
    home.run(&options);
    let after = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let _ = migrator.execute(&lock, stale, &NoDaemons);
    assert_eq!(home.tree(), after);
}

#[test]
fn removal_of_a_leftover_removes_no_other_file() {
    let home = Home::full();
    let migrator = Migrator::new(&RealDisk, home.homes());
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let key = home.at(".secrets/identity.json");
    let bytes = fs::read(&key).expect("there");
    let plan = migrator.plan(&migrator.inspect(Direction::Forward), &Options::forward());
    let plan = plan.beginning_with(MoveStep::RemoveLeftover { path: key.clone() });
    let report = migrator.execute(&lock, plan, &NoDaemons);
    assert!(report.leftovers_removed.is_empty(), "{report:?}");
    assert_eq!(report.errors[0].path(), key, "{report:?}");
    assert_eq!(fs::read(&key).expect("an error keeps the key where it is"), bytes);
}

#[test]
fn a_refusal_of_the_callers_own_stops_everything() {
    let home = Home::full();
    let migrator = Migrator::new(&RealDisk, home.homes());
    let options = Options::forward();
    let mut plan = migrator.plan(&migrator.inspect(options.direction), &options);
    plan.refuse(MigrationError::OtherDaemons { path: home.app.clone() });
    let before = home.tree();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let report = migrator.execute(&lock, plan, &NoDaemons);
    assert_eq!(
        (report.outcome, report.refusals[0].code()),
        (MoveOutcome::Refused, "migration.other-daemons")
    );
    assert_eq!(home.tree(), before);
    assert!(matches!(report.identity, IdentityState::AtSource(_)));
}

/// Another program replaces the home by another directory while it is locked.
#[cfg(unix)]
#[test]
fn move_rests_on_the_home_that_is_locked() {
    let home = Home::full();
    let lock = RealDisk.lock(&home.app, Duration::ZERO).expect("free");
    let previous = home.app.with_file_name("former");
    fs::rename(&home.app, &previous).expect("renamed");
    fs::create_dir(&home.app).expect("made");
    home.put("mesh/rosters/theirs.json", b"theirs");
    let before = home.tree();
    let report = Migrator::new(&RealDisk, home.homes()).run(&lock, &Options::forward(), &NoDaemons);
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:#?}");
    assert_eq!(home.tree(), before);
    let moved = fs::read(previous.join(".myownmesh/.secrets/identity.json")).expect("moved");
    assert_eq!(moved, key_file(1, "x"));
    assert!(!previous.join(".myownmesh/mesh/rosters/theirs.json").exists());
}
