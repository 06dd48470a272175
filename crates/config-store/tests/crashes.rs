//! Runs each launch on the simulated disk, and kills it, cuts its power, or fails it at each of its
//! operations.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]
#![expect(
    clippy::excessive_nesting,
    reason = "each loop adds one more circumstance under which a launch is cut off"
)]

mod common;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use common::scenes::*;
use common::*;
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, Store};
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::{Fault, OpRecord, SimDisk};
use rstest::rstest;

fn operations(scene: &Scene) -> usize {
    let disk = scene.disk.clone();
    disk.reset_ops();
    launch(&disk, &sim_paths()).unwrap();
    disk.ops().len()
}

#[test]
fn undisturbed_launch_succeeds() {
    for scene in scenes() {
        let before = config(&scene.disk);
        check_end(&scene, &scene.disk.clone(), before.as_deref(), "undisturbed");
    }
}

#[test]
fn killed_or_cut_off_at_every_operation() {
    scenes().iter().for_each(cut_off_anywhere);
}

#[rstest]
fn killed_or_cut_off_where_names_cannot_be_exchanged(#[values(0, 1)] limits: usize) {
    let refused = LIMITED[limits];
    for scene in scenes() {
        let disk = restricted(scene.disk.clone(), refused);
        cut_off_anywhere(&Scene { disk, refused, ..scene });
    }
}

/// Runs a launch, and returns its changes, each with the disk before it.
fn recorded_launch(disk: &SimDisk) -> Vec<(OpRecord, SimDisk)> {
    disk.reset_ops();
    disk.record();
    let _ = launch(disk, &sim_paths());
    disk.recorded()
}

fn cut_off_anywhere(scene: &Scene) {
    let before = config(&scene.disk);
    let mut seen = BTreeSet::new();
    for (op, cut) in recorded_launch(&scene.disk.clone()) {
        let n = op.number;
        let mut states = vec![cut.after_kill()];
        states.extend(cut.crash_states(64, n as u64));
        states.retain(|state| seen.insert(state.fingerprint()));
        for (i, state) in states.into_iter().enumerate() {
            let state = restricted(state, scene.refused);
            let at = format!("operation {n}, state {i}, without {:?}", scene.refused);
            check_always(scene, &state, before.as_deref(), &at);
            check_end(scene, &state, before.as_deref(), &at);
        }
    }
}

#[test]
fn repair_survives_two_kills() {
    for scene in scenes() {
        let before = config(&scene.disk);
        let mut seen = BTreeSet::new();
        for (op, cut) in recorded_launch(&scene.disk.clone()) {
            let n = op.number;
            for (i, state) in cut.crash_states(3, n as u64).into_iter().enumerate() {
                for (op, again) in recorded_launch(&state).into_iter().skip(n % 4).step_by(4) {
                    let m = op.number;
                    for (j, last) in again.crash_states(2, m as u64).into_iter().enumerate() {
                        if !seen.insert(last.fingerprint()) {
                            continue;
                        }
                        let at = format!("operations {n} and {m}, states {i} and {j}");
                        check_always(&scene, &last, before.as_deref(), &at);
                        check_end(&scene, &last, before.as_deref(), &at);
                    }
                }
            }
        }
    }
}

/// Checks that a reported success lasts.
fn check_lasting(scene: &Scene, state: &SimDisk, at: &str) {
    let live = config(state).unwrap_or_else(|| panic!("{}: {at}: a reported success is gone", scene.name));
    let end = std::panic::catch_unwind(|| (scene.ends)(&Document::parse(&live).unwrap().document));
    assert!(end.is_ok(), "{}: {at}: a reported success is none", scene.name);
}

#[test]
fn failed_at_every_operation() {
    let kinds =
        [ErrorKind::Other, ErrorKind::StorageFull, ErrorKind::PermissionDenied, ErrorKind::InvalidInput];
    for scene in scenes() {
        let before = config(&scene.disk);
        let total = operations(&scene);
        for n in 0..total {
            for kind in kinds {
                for (persistent, performed) in [(false, false), (false, true), (true, false)] {
                    // Only the kind of the error changes the next steps, so one kind is enough for
                    // persistent and for performed faults.
                    if (persistent || performed) && kind != ErrorKind::Other {
                        continue;
                    }
                    let at = format!(
                        "operation {n} of {total}, {kind:?}, persistent {persistent}, performed {performed}"
                    );
                    let disk = scene.disk.clone();
                    disk.reset_ops();
                    let mut fault = Fault::once(n, kind);
                    (fault.persistent, fault.performed) = (persistent, performed);
                    disk.fail(fault);
                    let outcome = launch(&disk, &sim_paths());
                    let op = disk.ops().get(n).map(|op| format!("{} {}", op.op, op.path.display()));
                    let at = format!("{at}: {}", op.unwrap_or_default());
                    disk.clear_faults();
                    check_always(&scene, &disk, before.as_deref(), &at);
                    // The power goes after the failure.
                    for state in disk.crash_states(4, n as u64) {
                        check_always(&scene, &state, before.as_deref(), &at);
                        if let Ok((_, Some(applied))) = &outcome
                            && applied.steps.iter().any(|s| format!("{s:?}").contains("Config"))
                        {
                            check_lasting(&scene, &state, &at);
                        }
                    }
                    check_end(&scene, &disk, before.as_deref(), &at);
                    let contents: BTreeSet<_> = backups(&disk)
                        .into_iter()
                        .map(|(path, bytes)| {
                            (kind_of(path.file_name().unwrap().to_str().unwrap()).to_owned(), bytes)
                        })
                        .collect();
                    assert_eq!(contents.len(), backups(&disk).len(), "{}: {at}: a copy twice", scene.name);
                }
            }
        }
    }
}

#[test]
fn loop_of_crashing_starts_adds_at_most_one_backup() {
    for scene in scenes() {
        for n in 0..operations(&scene) {
            let mut disk = scene.disk.clone();
            let mut most = 0;
            for round in 0..8 {
                disk.reset_ops();
                disk.crash_at(n);
                let _ = launch(&disk, &sim_paths());
                disk = disk.crash_states(2, round).pop().unwrap();
                for kind in ["good", "kept", "daemon"] {
                    let of_kind =
                        |disk: &SimDisk| backup_names(disk).iter().filter(|n| kind_of(n) == kind).count();
                    most = most.max(of_kind(&disk) - of_kind(&scene.disk));
                }
            }
            // At most one of each kind: the file that was set aside, the daemon's half, the routine
            // backup of the current config.
            assert!(
                most <= 1,
                "{}: {most} backups from crashes at operation {n}: {:?}",
                scene.name,
                backup_names(&disk)
            );
        }
    }
}

#[test]
fn edit_and_restore_cut_off_anywhere_leave_one_config_or_the_other() {
    changes_by_hand().iter().for_each(|by_hand| one_or_the_other(by_hand, CAPABLE));
}

#[test]
fn edit_and_restore_cut_off_where_names_cannot_be_exchanged_leave_one_or_the_other() {
    for refused in LIMITED {
        for by_hand in changes_by_hand() {
            let disk = restricted(by_hand.disk.clone(), refused);
            one_or_the_other(&Change { disk, ..by_hand }, refused);
        }
    }
}

fn one_or_the_other(by_hand: &Change, refused: &[Op]) {
    for number in 0.. {
        let disk = by_hand.disk.clone();
        disk.reset_ops();
        disk.crash_at(number);
        let outcome = change(by_hand, &disk);
        let all = !disk.has_crashed();
        let killed = if all { Vec::new() } else { vec![disk.after_kill()] };
        for (i, state) in killed.into_iter().chain(disk.crash_states(64, number as u64)).enumerate() {
            let state = restricted(state, refused);
            let at = format!("operation {number}, state {i}, without {refused:?}");
            let mark = check_change(by_hand, &state, &at);
            if all {
                outcome.as_ref().unwrap();
                assert_eq!(mark, by_hand.marks[1], "{}: {at}: a reported success is none", by_hand.name);
                continue;
            }
            // A launch cleans up, and does not change the content of the config.
            launch(&state, &sim_paths()).unwrap_or_else(|e| panic!("{}: {at}: {e}", by_hand.name));
            assert_eq!(check_change(by_hand, &state, &at), mark, "{}: {at}", by_hand.name);
            state.reset_ops();
            let (loaded, applied) = launch(&state, &sim_paths()).unwrap();
            assert!(applied.is_none(), "{}: {at}: not idle: {:?}", by_hand.name, loaded.pending);
            assert_eq!(changes(&state), Vec::<String>::new(), "{}: {at}", by_hand.name);
            // The user repeats the change.
            change(by_hand, &state).unwrap_or_else(|e| panic!("{}: {at}: {e}", by_hand.name));
            assert_eq!(check_change(by_hand, &state, &at), by_hand.marks[1], "{}: {at}", by_hand.name);
        }
        if all {
            break;
        }
    }
}

#[test]
fn change_repeated_after_a_kill_survives_a_power_cut() {
    for by_hand in changes_by_hand() {
        for number in 0.. {
            let disk = by_hand.disk.clone();
            disk.reset_ops();
            disk.crash_at(number);
            let outcome = change(&by_hand, &disk);
            if !disk.has_crashed() {
                outcome.unwrap();
                break;
            }
            let killed = disk.after_kill();
            change(&by_hand, &killed).unwrap_or_else(|e| panic!("{}: killed at {number}: {e}", by_hand.name));
            for (i, state) in killed.crash_states(64, number as u64).into_iter().enumerate() {
                let at = format!("killed at operation {number}, state {i}");
                let mark = check_change(&by_hand, &state, &at);
                assert_eq!(mark, by_hand.marks[1], "{}: {at}: a reported success is none", by_hand.name);
                assert_eq!(precious_temporaries(&state), Vec::<PathBuf>::new(), "{}: {at}", by_hand.name);
            }
        }
    }
}

#[test]
fn change_that_another_program_made_survives_a_power_cut() {
    let by_hand = &changes_by_hand()[0];
    let disk = by_hand.disk.clone();
    disk.put(CONFIG, &healthy("new"));
    change(by_hand, &disk).unwrap();
    for state in disk.crash_states(64, 1) {
        assert_eq!(check_change(by_hand, &state, "after the power cut"), "new");
    }
}

#[test]
fn launch_after_a_killed_change_survives_a_power_cut() {
    for by_hand in changes_by_hand() {
        for number in 0.. {
            let disk = by_hand.disk.clone();
            disk.reset_ops();
            disk.crash_at(number);
            let _ = change(&by_hand, &disk);
            if !disk.has_crashed() {
                break;
            }
            let killed = disk.after_kill();
            launch(&killed, &sim_paths()).unwrap();
            let seen = check_change(&by_hand, &killed, "after the launch");
            for (i, state) in killed.crash_states(64, number as u64).into_iter().enumerate() {
                let at = format!("killed at operation {number}, state {i}");
                assert_eq!(check_change(&by_hand, &state, &at), seen, "{}: {at}", by_hand.name);
                assert_eq!(precious_temporaries(&state), Vec::<PathBuf>::new(), "{}: {at}", by_hand.name);
                // The launch's last good backup is durable.
                let newest = backup_names(&killed).into_iter().rfind(|name| kind_of(name) == "good");
                let newest = newest.unwrap();
                assert!(backup_names(&state).contains(&newest), "{}: {at}: {newest}", by_hand.name);
            }
        }
    }
}

/// One program writes right before the exchange, another one reads our file before the first
/// program's file is back, and overwrites that file. Killed at any operation in between: the first
/// program's bytes are in place or among the backups.
#[test]
fn config_that_our_file_displaced_is_kept_when_the_run_is_killed() {
    let theirs = healthy("theirs");
    for killed_at in 0.. {
        let disk = home();
        disk.put(CONFIG, &healthy("before"));
        launch(&disk, &sim_paths()).unwrap();
        disk.reset_ops();
        let mut wrote = false;
        let hook = theirs.clone();
        disk.set_hook(move |op, foreign| {
            if op.op == Op::Exchange && !wrote {
                wrote = foreign.put(CONFIG, &hook);
            }
        });
        disk.crash_at(killed_at);
        let clock = FakeClock::default();
        let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
        if let Ok(locked) = store.lock(Duration::ZERO) {
            let _ = locked.update(&mut ids(), &mut |doc| {
                Ok(doc.set(&["mark"], serde_json::json!("ours")).is_changed())
            });
        }
        let at = format!("killed before operation {killed_at}: {:?}", disk.op_number(killed_at));
        let crashed = disk.has_crashed();
        let was_exchanged = disk.ops().iter().any(|op| op.op == Op::Exchange && op.number < killed_at);
        let after = disk.after_kill();
        if was_exchanged {
            after.put(CONFIG, &healthy("of one who had seen ours"));
            launch(&after, &sim_paths()).unwrap();
            // A launch on a healthy config does not clear the leftovers; the next change does.
            let store = Store::new(&after, &clock, sim_paths(), &*SCHEMA);
            let locked = store.lock(Duration::ZERO).unwrap();
            locked
                .update(&mut ids(), &mut |doc| Ok(doc.set(&["mark"], serde_json::json!("next")).is_changed()))
                .unwrap();
            assert!(is_kept(&after, &theirs), "{at}\n{after:#?}");
            assert_eq!(temporaries(&after), Vec::<PathBuf>::new(), "{at}");
        }
        if !crashed {
            assert!(was_exchanged);
            break;
        }
    }
}
