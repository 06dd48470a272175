//! Injects every crash at every operation, and lets other programs write meanwhile: nothing is
//! lost, nothing is torn, and the next run completes the move.

mod common;

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use common::{APP, DAEMON, cases::*, homes, key_file, with_slashes};
use myownllm_durable_fs::{
    Disk, Op, Owner,
    sim::{Fault, SimDisk},
    sim_path,
};
use myownllm_migration::identity::{IdentityPaths, scan};
use myownllm_migration::{Class, Direction, Migrator, MoveOutcome, NoDaemons, Options};
use rstest::rstest;

#[rstest]
fn every_crash_recovers(#[values(0, 1, 2, 3)] part: usize) {
    for case in cases().iter().skip(part).step_by(4).flat_map(hard) {
        let wanted = finished(&case);
        let before = contents(&case.disk);
        let mut seen = BTreeSet::new();
        let disk = case.disk.clone();
        disk.record();
        let report = run(&disk, &case.options).expect("the lock is free");
        assert_eq!(report.outcome, MoveOutcome::Done, "{}: {report:#?}", case.name);
        durable(&disk, &case, &before, "done");
        for (op, cut) in disk.recorded() {
            let at = format!("crash before operation {op:?}");
            // The next run may find the move complete and not synced.
            let killed = cut.after_kill();
            if case.flushed {
                killed.clear_faults();
                run(&killed, &case.options).expect("the lock is free");
                durable(&killed, &case, &before, &format!("the run after a kill before {op:?}"));
            }
            let mut states = cut.crash_states(states(), op.number as u64);
            states.push(cut.after_kill());
            // Temporary names differ from run to run; every other state is tried once.
            states.retain(|after| seen.insert(after.fingerprint()));
            for after in states {
                intact(&before, &after, &case, &at);
                if case.flushed {
                    converges(&after, &wanted, &case, &at);
                }
            }
        }
    }
}

/// Several threads move many files to another file system: the operations come in another order
/// each time, and in every order nothing is lost.
#[test]
fn every_crash_of_several_threads_recovers() {
    let disk = SimDisk::new();
    full(&disk);
    for number in 0..40 {
        disk.put(format!("{APP}/mesh/rosters/{number}.json"), format!("roster {number}").as_bytes());
    }
    disk.mount(DAEMON);
    started(&disk);
    // A file that needs no copy and is only removed.
    disk.put(format!("{DAEMON}/mesh/rosters/7.json"), b"roster 7");
    disk.flush_all();
    disk.set_threads(3);
    let case = Case { name: "several threads", disk, options: Options::forward(), flushed: true };
    let wanted = finished(&case);
    let before = contents(&case.disk);
    let mut threads = 0;
    for round in 0..4 {
        let disk = case.disk.clone();
        let ids = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = ids.clone();
        disk.set_hook(move |record, _| {
            let mut seen = seen.lock().expect("nobody panics");
            seen.insert(format!("{:?}", thread::current().id()));
            // The copies would be made before another thread has started.
            if record.op == Op::CopyNew && seen.len() == 1 {
                thread::sleep(Duration::from_millis(5));
            }
        });
        disk.record();
        run(&disk, &case.options);
        threads = threads.max(ids.lock().expect("nobody panics").len());
        durable(&disk, &case, &before, "done");
        for (op, cut) in disk.recorded().into_iter().skip(round).step_by(8) {
            let at = format!("crash before operation {op:?}");
            for after in cut.crash_states(2, op.number as u64).into_iter().chain([cut.after_kill()]) {
                intact(&before, &after, &case, &at);
                converges(&after, &wanted, &case, &at);
            }
        }
    }
    assert!(threads > 1, "all was done by one thread");
}

#[rstest]
fn a_crash_while_recovering_from_a_crash_recovers(#[values(0, 1)] part: usize) {
    let cases = cases();
    for case in cases.iter().filter(|case| case.flushed).skip(part).step_by(2).flat_map(hard) {
        let wanted = finished(&case);
        let before = contents(&case.disk);
        let mut seen = BTreeSet::new();
        let disk = case.disk.clone();
        disk.record();
        run(&disk, &case.options);
        for (first, killed) in disk.recorded().into_iter().step_by(2 * stride(&case)) {
            killed.record();
            run(&killed, &case.options);
            for (second, cut) in killed.recorded().into_iter().step_by(4) {
                for after in cut.crash_states(2, second.number as u64) {
                    if !seen.insert(after.fingerprint()) {
                        continue;
                    }
                    let at = format!("crash {}, then {}", first.number, second.number);
                    intact(&before, &after, &case, &at);
                    converges(&after, &wanted, &case, &at);
                }
            }
        }
    }
}

#[test]
fn the_key_moves_last_and_after_a_flush() {
    for case in cases().into_iter().filter(|case| case.options.keep.is_none() && case.flushed) {
        let disk = case.disk.clone();
        disk.reset_ops();
        run(&disk, &case.options);
        let destination = if case.options.direction == Direction::Forward { DAEMON } else { APP };
        let key = format!("{destination}/.secrets/identity.json");
        let ops = disk.ops();
        let moved = |op: &myownllm_durable_fs::sim::OpRecord| {
            op.op == Op::RenameNoReplace
                && op.other.as_ref().is_some_and(|to| {
                    to.ends_with(".json") || to.ends_with("states") || to.ends_with("rosters")
                })
        };
        let Some(at) = ops.iter().position(|op| moved(op) && op.other.as_deref() == Some(Path::new(&key)))
        else {
            continue;
        };
        let later: Vec<_> = ops[at + 1..].iter().filter(|op| moved(op)).collect();
        assert!(later.is_empty(), "{}: after the key: {later:?}", case.name);
        let before = ops[..at].iter().rposition(moved);
        if let Some(before) = before {
            let flushed = ops[before..at].iter().any(|op| op.op == Op::SyncFs || op.op == Op::SyncDir);
            assert!(flushed, "{}: what went before the key is flushed", case.name);
        }
    }
}

/// Another program makes the destination right before each rename.
#[test]
fn a_destination_that_appears_is_never_replaced() {
    for case in cases().into_iter().filter(|case| case.flushed && case.options == Options::forward()) {
        for refused in [None, Some(Op::RenameNoReplace)] {
            let disk = case.disk.clone();
            if let Some(op) = refused {
                disk.fail(Fault::always(op, ErrorKind::Unsupported));
            }
            disk.set_hook(move |record, foreign| {
                let publishes = [Op::RenameNoReplace, Op::HardLink].contains(&record.op);
                let Some(to) = record.other.as_ref().filter(|_| publishes) else { return };
                let name = with_slashes(to);
                if name.starts_with(DAEMON) && name.ends_with(".json") && !name.contains("/.durable-fs.") {
                    foreign.put(to, format!("foreign {name}").as_bytes());
                } else if name.ends_with("/rosters") || name.ends_with("/states") {
                    foreign.make_dir(to);
                }
            });
            let before = contents(&disk);
            let report = run(&disk, &case.options).expect("the lock is free");
            let after = contents(&disk);
            for bytes in &before {
                assert!(after.contains(bytes), "{}: lost {:?}", case.name, String::from_utf8_lossy(bytes));
            }
            let foreign =
                disk.ops().iter().filter(|op| [Op::RenameNoReplace, Op::HardLink].contains(&op.op)).any(
                    |op| {
                        op.other
                            .as_ref()
                            .is_some_and(|to| disk.content(to).is_some_and(|b| b.starts_with(b"foreign")))
                    },
                );
            assert!(foreign, "{}: what the other program wrote is still there", case.name);
            assert!(!report.collisions.is_empty(), "{}: {report:#?}", case.name);
            let places = IdentityPaths::new(APP, DAEMON);
            let answer = scan(&disk, &places).answer();
            assert!(answer.expected().is_err(), "{}: a foreign key is in the way: {report:#?}", case.name);
        }
    }
}

/// A write to a source after its copy survives.
#[test]
fn a_source_that_changes_after_its_copy_is_not_removed() {
    let case = cases().into_iter().find(|case| case.name == "two file systems").expect("it is there");
    for number in 0.. {
        let disk = case.disk.clone();
        let path = format!("{APP}/mesh/rosters/one.json");
        let (could, put) = (Arc::new(AtomicBool::new(false)), path.clone());
        let wrote = could.clone();
        disk.set_hook(move |record, foreign| {
            if record.number == number {
                wrote.store(foreign.put(&put, b"written meanwhile"), Ordering::Relaxed);
            }
        });
        run(&disk, &case.options);
        let there = contents(&disk).contains(&b"written meanwhile"[..]);
        let op = disk.op_number(number);
        assert!(
            there || !could.load(Ordering::Relaxed),
            "before operation {number} ({op:?}): {path} is gone"
        );
        if op.is_none() {
            break;
        }
    }
}

/// The writer looks for the file under its name, so the name must not be missing while all other
/// files are processed.
#[test]
fn a_source_that_changed_is_back_before_the_next_is_touched() {
    let case = cases().into_iter().find(|case| case.name == "two file systems").expect("it is there");
    let path = format!("{APP}/mesh/rosters/one.json");
    case.disk.set_hook(move |record, foreign| {
        if record.op == Op::Rename && record.path == Path::new(&path) {
            foreign.put(&path, b"written meanwhile");
        }
    });
    run(&case.disk, &case.options);
    let number_of = |op: Op, end: &str| {
        let ops = case.disk.ops();
        ops.into_iter()
            .find(|record| record.op == op && record.path.ends_with(end))
            .expect("it is done")
            .number
    };
    let back = number_of(Op::RenameNoReplace, "mesh/rosters/.durable-fs.claimed/one.json");
    assert!(back < number_of(Op::Rename, "mesh/rosters/two.json"), "{:#?}", case.disk.ops());
}

/// Cuts the power after that: the data that the other program wrote and synced still exist.
#[test]
fn a_source_that_changes_survives_a_crash_too() {
    let case = cases().into_iter().find(|case| case.name == "two file systems").expect("it is there");
    survives_a_change_and_a_crash(&case);
    // Where the rename that cannot replace is missing, a hard link restores the name.
    case.disk.fail(Fault::always(Op::RenameNoReplace, ErrorKind::InvalidInput));
    survives_a_change_and_a_crash(&case);
}

fn survives_a_change_and_a_crash(case: &Case) {
    let probe = case.disk.clone();
    run(&probe, &case.options);
    let quarantined = |op: &myownllm_durable_fs::sim::OpRecord| {
        op.op == Op::Rename && op.path.ends_with("mesh/rosters/one.json")
    };
    let made = |op: &myownllm_durable_fs::sim::OpRecord| {
        op.op == Op::MakeDir && op.path.ends_with("mesh/rosters/.durable-fs.claimed")
    };
    let number_of = |wanted: &dyn Fn(&myownllm_durable_fs::sim::OpRecord) -> bool| {
        probe.ops().into_iter().find(|op| wanted(op)).expect("it is taken aside").number
    };
    // Starts before the directory exists to which the file is moved.
    for number in number_of(&made)..=number_of(&quarantined) {
        let disk = case.disk.clone();
        disk.set_hook(move |record, foreign| {
            if record.number == number {
                foreign.put(format!("{APP}/mesh/rosters/one.json"), b"written meanwhile");
                foreign.flush();
            }
        });
        disk.record();
        run(&disk, &case.options);
        for (crash, cut) in disk.recorded().into_iter().filter(|(crash, _)| crash.number > number) {
            for after in cut.crash_states(64, crash.number as u64) {
                let there = contents(&after).contains(&b"written meanwhile"[..]);
                assert!(there, "written before operation {number}, cut before {crash:?}\n{after:#?}");
            }
        }
    }
}

/// A killed run had claimed a source, a new file has its name, and neither can get another name:
/// the removal of the new file must not replace the claimed one, which is the only copy.
#[test]
fn file_held_by_a_killed_run_is_not_replaced() {
    let case = cases().into_iter().find(|case| case.name == "two file systems").expect("it is there");
    let disk = case.disk.clone();
    disk.put(format!("{APP}/mesh/rosters/.durable-fs.claimed/one.json"), b"in a killed run's hands");
    disk.flush_all();
    let probe = disk.clone();
    run(&probe, &case.options);
    let set_aside = |op: &myownllm_durable_fs::sim::OpRecord| {
        op.op == Op::RenameNoReplace
            && op.other.as_ref().is_some_and(|to| to.ends_with("one.json.set-aside-1"))
    };
    let number = probe.ops().into_iter().find(set_aside).expect("it is kept beside the new one").number;
    disk.fail(Fault::once(number, ErrorKind::Other));
    run(&disk, &case.options);
    assert!(contents(&disk).contains(&b"in a killed run's hands"[..]), "{disk:#?}");
    disk.clear_faults();
    run(&disk, &case.options);
    assert!(contents(&disk).contains(&b"in a killed run's hands"[..]), "{disk:#?}");
}

/// A copy that differs from its source is never published.
#[test]
fn a_bad_copy_is_thrown_away() {
    let case = cases().into_iter().find(|case| case.name == "two file systems").expect("it is there");
    let disk = case.disk.clone();
    let mut copy = None;
    disk.set_hook(move |record, foreign| {
        if let Some(temp) = copy.take() {
            foreign.put(temp, b"something else");
        }
        if record.op == Op::CopyNew {
            copy = Some(record.path.clone());
        }
    });
    let report = run(&disk, &case.options).expect("the lock is free");
    assert_eq!(report.outcome, MoveOutcome::Partial);
    assert!(report.moved.is_empty(), "{report:#?}");
    assert!(!contents(&disk).contains(&b"something else"[..]), "{disk:#?}");
    assert!(report.errors.iter().any(|error| error.code() == "migration.changed"));
    assert_eq!(shape(&disk), shape(&case.disk));
}

/// Another program adds a file to the old location during the run: the run does not report that
/// everything has moved.
#[test]
fn file_that_appears_at_the_old_location_is_not_reported_as_moved() {
    let disk = SimDisk::new();
    disk.put(format!("{APP}/mesh/rosters/one.json"), b"\"roster one\"");
    disk.put(format!("{APP}/.secrets/identity.json"), &key_file(1, "laptop"));
    disk.flush_all();
    let late = format!("{APP}/.secrets/custody.json");
    let (put, done) = (late.clone(), Arc::new(AtomicBool::new(false)));
    let wrote = done.clone();
    disk.set_hook(move |record, foreign| {
        let key_moves = record.op == Op::RenameNoReplace && record.path.ends_with("identity.json");
        if key_moves && !wrote.load(Ordering::Relaxed) {
            wrote.store(foreign.put(&put, b"late"), Ordering::Relaxed);
        }
    });
    let report = run(&disk, &Options::forward()).expect("the lock is free");
    assert!(done.load(Ordering::Relaxed), "the other program could write");
    assert_eq!(report.outcome, MoveOutcome::Partial, "{report:?}");
    assert!(disk.content(&late).is_some());
    let report = run(&disk, &Options::forward()).expect("the lock is free");
    assert_eq!(report.outcome, MoveOutcome::Done, "{report:?}");
}

/// A directory of another user, or the lock of another home, does not allow a move.
#[test]
fn foreign_dirs_and_foreign_locks_stop_everything() {
    let disk = SimDisk::new();
    full(&disk);
    disk.put_dir(sim_path!("/home/eve"), 0o700);
    disk.flush_all();
    let before = contents(&disk);
    // The lock of a parent directory is not the lock of the app's home, though every change is
    // below it.
    for other in [sim_path!("/home/eve"), sim_path!("/home"), sim_path!("/")] {
        let lock = disk.lock(Path::new(other), Duration::ZERO).expect("free");
        let report = Migrator::new(&disk, homes()).run(&lock, &Options::forward(), &NoDaemons);
        assert_eq!(report.outcome, MoveOutcome::Refused, "{report:?}");
        assert_eq!(report.refusals[0].code(), "durable-fs.outside-lock");
        assert_eq!(contents(&disk), before);
    }
    let secrets = format!("{APP}/.secrets");
    let secrets = Path::new(&secrets);
    let mine = disk.stat(secrets).expect("there").owner.expect("known");
    disk.set_user(myownllm_durable_fs::Owner { uid: 0, gid: 0 });
    let eve = myownllm_durable_fs::Owner { uid: mine.uid + 1, gid: mine.gid };
    disk.chown(secrets, eve);
    let report = run(&disk, &Options::forward()).expect("the lock is free");
    assert_eq!(report.outcome, MoveOutcome::Refused, "{report:?}");
    assert_eq!(report.refusals[0].code(), "migration.unsafe-permissions");
    assert_eq!(contents(&disk), before);
    disk.chown(secrets, mine);
    assert_eq!(run(&disk, &Options::forward()).expect("the lock is free").outcome, MoveOutcome::Done);
}

#[test]
fn file_planted_before_a_directory_is_tightened_does_not_move() {
    let disk = SimDisk::new();
    disk.put(format!("{APP}/mesh/rosters/one.json"), b"roster");
    disk.put(format!("{APP}/.secrets/identity.json"), &key_file(1, "x"));
    disk.chmod(format!("{APP}/mesh/rosters"), 0o770);
    disk.flush_all();
    disk.set_hook(|record, others| {
        if record.op == Op::SetMode && record.path.ends_with("mesh/rosters") {
            others.put(format!("{APP}/mesh/rosters/planted.json"), b"mine");
            others.give(format!("{APP}/mesh/rosters/planted.json"), Owner { uid: 4321, gid: 4321 });
        }
    });
    let report = run(&disk, &Options::forward()).expect("the lock is free");
    assert_eq!(report.class(), Some(Class::Refused), "{report:#?}");
    assert!(report.moved.is_empty(), "{report:#?}");
    assert_eq!(disk.content(format!("{APP}/mesh/rosters/planted.json")).as_deref(), Some(b"mine".as_slice()));
}

/// A writer truncates a roster and rewrites it a moment later, through the same handle. Before
/// whichever operation the truncation comes, the written data exist afterwards: the run gives an
/// empty file that moment.
#[test]
fn a_writer_that_truncates_and_writes_later_loses_nothing() {
    const WRITTEN: &[u8] = b"{\"written\":\"later\"}";
    let subjects = ["two file systems", "the folders are there"];
    for case in cases().into_iter().filter(|case| subjects.contains(&case.name)) {
        let path = format!("{APP}/mesh/rosters/one.json");
        let probe = case.disk.clone();
        run(&probe, &case.options);
        for truncated in 0..probe.op_count() {
            let disk = case.disk.clone();
            let (at, open) = (path.clone(), Arc::new(Mutex::new(None)));
            let handle = open.clone();
            disk.set_hook(move |record, foreign| {
                let mut handle = handle.lock().expect("nobody panics");
                if record.number == truncated {
                    *handle = foreign.truncate(&at);
                } else if record.op == Op::Pause
                    && let Some(file) = handle.take()
                {
                    foreign.write(file, WRITTEN);
                }
            });
            run(&disk, &case.options);
            // The run did not wait, so the write comes after it.
            let mut late = open.lock().expect("nobody panics").take();
            let opened = late.is_some() || contents(&disk).contains(WRITTEN);
            disk.set_hook(move |_, foreign| {
                if let Some(file) = late.take() {
                    foreign.write(file, WRITTEN);
                }
            });
            let _ = disk.stat(Path::new("/"));
            assert!(
                !opened || contents(&disk).contains(WRITTEN),
                "{}: truncated before operation {truncated}: {:?}",
                case.name,
                disk.op_number(truncated)
            );
        }
    }
}

/// A program has a complete roster open before any operation, and writes it through that handle
/// during the wait or after it. The written data exist afterwards, and the run after the close of
/// the file completes the move.
#[test]
fn a_writer_that_holds_a_complete_file_open_loses_nothing() {
    const WRITTEN: &[u8] = b"{\"written\":\"through an old handle\"}";
    let (mut kept, mut tried) = (0, 0);
    for (case, patient) in cases().into_iter().flat_map(|case| {
        let again = Case { disk: case.disk.clone(), options: case.options.clone(), ..case };
        [(case, true), (again, false)]
    }) {
        let path = format!("{APP}/mesh/rosters/one.json");
        let probe = case.disk.clone();
        run(&probe, &case.options);
        for opened in 0..probe.op_count() {
            let disk = case.disk.clone();
            let (at, open) = (path.clone(), Arc::new(Mutex::new(None)));
            let handle = open.clone();
            disk.set_hook(move |record, foreign| {
                let mut handle = handle.lock().expect("nobody panics");
                if record.number == opened {
                    *handle = foreign.open(&at);
                } else if record.op == Op::Pause
                    && !patient
                    && let Some(file) = handle.take()
                {
                    foreign.write(file, WRITTEN);
                    foreign.close(file);
                }
            });
            let report = run(&disk, &case.options).expect("the lock is free");
            let mut late = open.lock().expect("nobody panics").take();
            let was_open = late.is_some() || contents(&disk).contains(WRITTEN);
            disk.set_hook(move |_, foreign| {
                if let Some(file) = late.take() {
                    foreign.write(file, WRITTEN);
                    foreign.close(file);
                }
            });
            let _ = disk.stat(Path::new("/"));
            let label = || format!("{}: opened before operation {opened}: {report:#?}", case.name);
            assert!(!was_open || contents(&disk).contains(WRITTEN), "{}", label());
            kept += usize::from(report.errors.iter().any(|error| error.code() == "migration.changed"));
            tried += 1;
        }
    }
    assert!(kept > 50 && kept < tried, "{kept} of {tried}");
}
