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

use common::*;
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, LockedStore, Store, StoreError};
use myownllm_durable_fs::sim::{Fault, SimDisk, Survey, Sweep};
use myownllm_durable_fs::{Disk, Op, sim::OpRecord};
use myownllm_salvage::{Shape, shape};
use rstest::rstest;

/// A home, and the expected result.
struct Scene {
    name: &'static str,
    disk: SimDisk,
    /// The bytes that must be in the config or among the backups at every instant.
    precious: Vec<Vec<u8>>,
    /// Checks the config at the end.
    ends: fn(&Document),
    /// True if the daemon's half must be in place at the end, and before the config changes.
    daemon_half: bool,
    /// The operations that the file system refuses.
    refused: &'static [Op],
}

/// Refuses nothing.
const CAPABLE: &[Op] = &[];
/// The operations that some file systems refuse: the exchange of names, and hard links as well.
const LIMITED: [&[Op]; 2] = [&[Op::Exchange], &[Op::Exchange, Op::HardLink]];

/// Returns the disk without faults, except that its file system refuses some operations.
fn restricted(disk: SimDisk, refused: &[Op]) -> SimDisk {
    refused.iter().for_each(|op| disk.fail(Fault::always(*op, ErrorKind::InvalidInput)));
    disk
}

fn home() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk
}

fn text(doc: &Document, path: &[&str]) -> Option<String> {
    doc.get(path).and_then(|v| v.as_str()).map(|s| s.into_owned())
}

#[allow(clippy::too_many_lines, reason = "a table: each scene stands alone")]
fn scenes() -> Vec<Scene> {
    let mut all = Vec::new();
    let mut scene = |name, disk: SimDisk, ends, daemon_half| {
        disk.flush_all();
        let precious = contents(&disk).into_iter().collect();
        all.push(Scene { name, disk, precious, ends, daemon_half, refused: CAPABLE });
    };
    let recovered: fn(&Document) = |doc| {
        assert_eq!(shape(doc), Shape::App);
        assert!(doc.get(&["cloud_mesh", "networks"]).unwrap().items().count() > 0, "no network came back");
        assert_eq!(text(doc, &["active_family"]).as_deref(), Some("gemma4"));
    };

    for (name, leaked) in [("leaked by 0.1.2", LEAKED_V1), ("leaked by 0.3.8", LEAKED_V3)] {
        let disk = home();
        disk.put_mode(CONFIG, leaked, 0o644);
        scene(name, disk, recovered, true);
    }

    let disk = home();
    disk.put(CONFIG, APP);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, LEAKED_V3);
    scene(
        "leaked, with a good copy",
        disk,
        |doc| {
            assert_eq!(text(doc, &["active_family"]).as_deref(), Some("qwen3"));
            assert_eq!(text(doc, &["auto_update", "channel"]).as_deref(), Some("beta"));
            assert_eq!(doc.get(&["providers"]).unwrap().items().count(), 2);
        },
        true,
    );

    let disk = home();
    disk.put(CONFIG, LEAKED_V1);
    disk.put(DAEMON_CONFIG, b"{\"version\":3,\"networks\":[]}");
    scene("leaked, and the daemon has a config", disk, recovered, false);

    let disk = home();
    disk.put(CONFIG, b"{\"providers\":[],\"active_family\":\"");
    scene(
        "torn, without a copy",
        disk,
        |doc| assert_eq!(text(doc, &["active_family"]).as_deref(), Some("gemma4")),
        false,
    );

    let disk = home();
    disk.put(CONFIG, b"{\"active_family\": \"mine\", \"kept_models\": [\"a\", \"b\"], \"api\": {\"po");
    scene(
        "torn, with members that are whole",
        disk,
        |doc| {
            assert_eq!(text(doc, &["active_family"]).as_deref(), Some("mine"));
            assert_eq!(doc.get(&["kept_models"]).unwrap().items().count(), 2);
        },
        false,
    );

    let disk = home();
    disk.put(CONFIG, &[&healthy("with a tail")[..], b"}"].concat());
    scene(
        "whole, with a tail",
        disk,
        |doc| assert_eq!(text(doc, &["mark"]).as_deref(), Some("with a tail")),
        false,
    );

    let disk = home();
    disk.put(CONFIG, &[LEAKED_V3, b" old tail"].concat());
    scene("leaked, with a tail", disk, recovered, true);

    let disk = home();
    disk.put(CONFIG, APP);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, b"");
    scene(
        "empty, with a good copy",
        disk,
        |doc| assert_eq!(text(doc, &["active_family"]).as_deref(), Some("qwen3")),
        false,
    );

    let disk = home();
    disk.put("/home/u/.myownllm/config.json.corrupt", APP);
    scene(
        "moved aside by a daemon",
        disk,
        |doc| assert_eq!(text(doc, &["active_family"]).as_deref(), Some("qwen3")),
        false,
    );

    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    scene(
        "a fresh install",
        disk,
        |doc| assert_eq!(text(doc, &["active_family"]).as_deref(), Some("gemma4")),
        false,
    );

    let disk = home();
    disk.put(CONFIG, b"{\"active_family\": \"mine\", \"x\": 1e5}");
    scene(
        "lacks defaults",
        disk,
        |doc| {
            assert_eq!(text(doc, &["active_family"]).as_deref(), Some("mine"));
            assert_eq!(doc.get(&["x"]).unwrap().raw(), "1e5");
        },
        false,
    );

    let disk = home();
    disk.put(CONFIG, &healthy("healthy"));
    scene(
        "healthy, seen for the first time",
        disk,
        |doc| assert_eq!(text(doc, &["mark"]).as_deref(), Some("healthy")),
        false,
    );

    // The config, its backups and the daemon's half are on one file system, or on three that crash
    // independently.
    for apart in [false, true] {
        let disk = home();
        if apart {
            disk.mount(DAEMON_HOME);
            disk.mount("/home/u/dotfiles");
        }
        disk.put("/home/u/dotfiles/app.json", LEAKED_V3);
        disk.put_link(CONFIG, "../dotfiles/app.json");
        scene(
            if apart { "a link to a leaked one, three disks" } else { "a link to a leaked one" },
            disk,
            recovered,
            true,
        );
    }
    all
}

fn config(disk: &SimDisk) -> Option<Vec<u8>> {
    disk.read(CONFIG.as_ref(), 1 << 20).ok()
}

/// Checks the guarantees of every instant, in any state that a crash leaves on the disk.
fn check_always(scene: &Scene, disk: &SimDisk, before: Option<&[u8]>, at: &str) {
    let everywhere = contents(disk);
    let live = config(disk);
    let kept: BTreeSet<Vec<u8>> =
        backups(disk).into_iter().map(|(_, bytes)| bytes).chain(live.clone()).collect();
    for bytes in &scene.precious {
        // A repair does not move files outside the config's place.
        let somewhere =
            if Some(bytes.as_slice()) == before { kept.contains(bytes) } else { everywhere.contains(bytes) };
        assert!(somewhere, "{}: {at}: former bytes are gone", scene.name);
    }
    let Some(live) = live else {
        assert!(before.is_none(), "{}: {at}: the config is absent", scene.name);
        return;
    };
    if Some(live.as_slice()) != before {
        let doc =
            Document::parse(&live).unwrap_or_else(|e| panic!("{}: {at}: torn: {e}", scene.name)).document;
        assert_eq!(shape(&doc), Shape::App, "{}: {at}", scene.name);
        if scene.daemon_half {
            let half = disk.content(DAEMON_CONFIG);
            assert!(
                half.is_some(),
                "{}: {at}: the config is repaired and the daemon's half is not in place",
                scene.name
            );
        }
    }
    if let Some(half) = disk.content(DAEMON_CONFIG) {
        assert!(Document::parse(&half).is_ok(), "{}: {at}: the daemon's config is torn", scene.name);
    }
    for (path, bytes) in backups(disk) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if let Ok(id) = name.trim_end_matches(".json").parse::<myownllm_config_store::BackupId>() {
            let again = hash_of(&bytes);
            assert_eq!(id.hash(), again, "{}: {at}: {name} is torn", scene.name);
        }
    }
}

/// Runs an undisturbed launch, and checks the guarantees of its end.
fn check_end(scene: &Scene, disk: &SimDisk, before: Option<&[u8]>, at: &str) {
    let launched = launch(disk, &sim_paths());
    launched.unwrap_or_else(|e| panic!("{}: {at}: {e}", scene.name));
    check_always(scene, disk, before, at);
    let live = config(disk).unwrap_or_else(|| panic!("{}: {at}: no config in the end", scene.name));
    (scene.ends)(&Document::parse(&live).unwrap().document);
    if scene.daemon_half {
        let half = Document::parse(&disk.content(DAEMON_CONFIG).unwrap()).unwrap().document;
        assert_eq!(half.get(&["networks"]).unwrap().items().count(), 0);
        assert!(half.get(&["version"]).is_some());
    }
    // A launch with nothing to do syncs nothing, so a killed run must leave a trace of everything
    // that it did not sync.
    for state in disk.crash_states(4, 1) {
        // A reported result must survive a power cut. A temporary file may be back; the next run
        // removes it.
        check_always(scene, &state, before, at);
        assert_eq!(precious_temporaries(&state), Vec::<PathBuf>::new(), "{}: {at}", scene.name);
        assert_eq!(backup_names(&state), backup_names(disk), "{}: {at}", scene.name);
        let live =
            config(&state).unwrap_or_else(|| panic!("{}: {at}: no config after the power went", scene.name));
        let doc = Document::parse(&live)
            .unwrap_or_else(|e| panic!("{}: {at}: after the power went: {e}", scene.name));
        let end = std::panic::catch_unwind(|| (scene.ends)(&doc.document));
        assert!(end.is_ok(), "{}: {at}: a reported success is none after the power went", scene.name);
    }
    disk.reset_ops();
    let (loaded, applied) = launch(disk, &sim_paths()).unwrap();
    assert!(applied.is_none(), "{}: {at}: the second run is not idle: {:?}", scene.name, loaded.pending);
    assert_eq!(changes(disk), Vec::<String>::new(), "{}: {at}", scene.name);
}

fn temporaries(disk: &SimDisk) -> Vec<PathBuf> {
    disk.tree().into_keys().filter(|path| path.to_string_lossy().contains(".durable-fs.")).collect()
}

/// Returns the temporary files whose content is nowhere else.
fn precious_temporaries(disk: &SimDisk) -> Vec<PathBuf> {
    let mut found = temporaries(disk);
    found.retain(|path| !is_kept(disk, &disk.content(path).unwrap()));
    found
}

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
                    disk.heal();
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

/// A change by the user, and the config's mark before and after it.
struct Change {
    name: &'static str,
    disk: SimDisk,
    act: fn(&Store<'_>, &dyn LockedStore) -> Result<(), StoreError>,
    marks: [&'static str; 2],
}

fn changes_by_hand() -> Vec<Change> {
    fn edit(_: &Store<'_>, locked: &dyn LockedStore) -> Result<(), StoreError> {
        let edit = &mut |doc: &mut Document| Ok(doc.set(&["mark"], "new").is_changed());
        locked.update(&mut ids(), edit).map(drop)
    }
    fn go_back(store: &Store<'_>, locked: &dyn LockedStore) -> Result<(), StoreError> {
        for entry in store.history()? {
            if store.read_backup(&entry.id)? == healthy("new") {
                return locked.restore(&mut ids(), &entry.id).map(drop);
            }
        }
        panic!("the copy is gone")
    }
    let seen = |marks: &[&str]| {
        let disk = home();
        for mark in marks {
            disk.put(CONFIG, &healthy(mark));
            launch(&disk, &sim_paths()).unwrap();
        }
        disk
    };
    let unseen = home();
    unseen.put(CONFIG, &healthy("old"));
    let apart = seen(&["older"]);
    apart.mount("/home/u/dotfiles");
    apart.put("/home/u/dotfiles/app.json", &healthy("old"));
    apart.remove(CONFIG);
    apart.put_link(CONFIG, "../dotfiles/app.json");
    let of = |name, disk: SimDisk, act, marks| {
        disk.flush_all();
        Change { name, disk, act, marks }
    };
    vec![
        of("an edit", seen(&["older", "old"]), edit, ["old", "new"]),
        of("an edit of what was never seen", unseen, edit, ["old", "new"]),
        of("an edit on another disk", apart, edit, ["old", "new"]),
        of("a restore", seen(&["new", "old"]), go_back, ["old", "new"]),
    ]
}

fn change(change: &Change, disk: &SimDisk) -> Result<(), StoreError> {
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    let locked =
        store.lock(std::time::Duration::ZERO).map_err(|e| StoreError::Conflict { path: e.home().into() })?;
    (change.act)(&store, &*locked)
}

/// The config is whole, and is the previous or the new one. The previous one is not lost in either
/// case.
fn check_change(change: &Change, disk: &SimDisk, at: &str) -> String {
    let previous = config(&change.disk).unwrap();
    let live = config(disk).unwrap_or_else(|| panic!("{}: {at}: the config is absent", change.name));
    let doc = Document::parse(&live).unwrap_or_else(|e| panic!("{}: {at}: torn: {e}", change.name)).document;
    let mark = text(&doc, &["mark"]).unwrap();
    assert!(change.marks.contains(&&*mark), "{}: {at}: {mark}", change.name);
    assert!(
        live == previous || backups(disk).iter().any(|(_, b)| *b == previous),
        "{}: {at}: it is lost",
        change.name
    );
    mark
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

/// Calls whose lack nothing reveals, and the reason why they stay.
const SUPERFLUOUS: [(&str, &str); 13] = [
    ("start > Sync", UNSYNCED),
    ("Unlink * > Sync", UNSYNCED),
    ("SetMode good-… > Sync", UNSYNCED),
    ("RenameNoReplace * > SyncDir .myownllm, SyncFile config.json", UNSYNCED),
    ("CopyNew * > SyncFile *, SyncDir dotfiles", DOUBLED),
    ("HardLink app.json > SyncDir dotfiles", DOUBLED),
    ("Rename * > SyncDir ", DOUBLED),
    ("Exchange * > SyncDir ", DOUBLED),
    (
        "Rename * > Read ",
        "leaves a file that changed in its place; without it, the file is taken out and kept",
    ),
    ("SetMode good-… > Stat good-…", "no other program writes a backup"),
    ("start > Stat good-…", "no other program writes a backup"),
    ("Unlink * > Read *, Read config.json", "no other program writes a temporary file of ours"),
    ("a write before Rename of *", "the moment that `CheckedRename` tells of"),
];
/// The tests of changes that are repeated after a kill show what these syncs are for.
const UNSYNCED: &str = "syncs what a killed run, or another program, has written and not synced";
const DOUBLED: &str = "the backup is durable by then, and the directory is synced again";

fn holds(check: impl Fn()) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok()
}

/// Returns the disk, and some disks that a killed run leaves: everything is written, not everything
/// is synced.
fn with_killed(disk: &SimDisk, run: &dyn Fn(&SimDisk), refused: &[Op]) -> Vec<SimDisk> {
    let killed = restricted(disk.clone(), refused);
    killed.record();
    run(&killed);
    let cuts = killed.recorded();
    let stride = cuts.len().div_ceil(2).max(1);
    let mut disks: Vec<_> = cuts.into_iter().rev().step_by(stride).map(|(_, cut)| cut).collect();
    disks.push(disk.clone());
    disks.into_iter().map(|disk| restricted(disk, refused)).collect()
}

/// Each sync, each exclusive rename and each check of a repair is needed.
#[rstest]
fn every_guarantee_of_a_repair_is_needed(#[values(0, 1, 2)] limits: usize, #[values(0, 1)] part: usize) {
    let refused = [CAPABLE, LIMITED[0], LIMITED[1]][limits];
    let run = |disk: &SimDisk| drop(launch(disk, &sim_paths()));
    let mut survey = Survey::default();
    for scene in scenes().into_iter().skip(part).step_by(2) {
        let before = config(&scene.disk);
        for disk in with_killed(&scene.disk, &run, refused) {
            let wanted = disk.clone();
            run(&wanted);
            let is_sound = |state: &SimDisk, done: bool| {
                holds(|| {
                    check_always(&scene, state, before.as_deref(), "weakened");
                    if done {
                        (scene.ends)(&Document::parse(&config(state).unwrap()).unwrap().document);
                        assert_eq!(backup_names(state), backup_names(&wanted));
                        assert_eq!(precious_temporaries(state), Vec::<PathBuf>::new());
                    }
                })
            };
            let sweep = Sweep { disk: &disk, run: &run, holds: &is_sound, written: Some(CONFIG.as_ref()) };
            survey.add(&sweep, |_| true);
        }
    }
    assert!(survey.check(&SUPERFLUOUS) >= 9, "{survey:#?}");
}

/// Each sync, each exclusive rename and each check of an edit and a restore is needed.
#[rstest]
fn every_guarantee_of_a_change_is_needed(#[values(0, 1, 2)] limits: usize) {
    let refused = [CAPABLE, LIMITED[0], LIMITED[1]][limits];
    let mut survey = Survey::default();
    for by_hand in changes_by_hand() {
        let run = |disk: &SimDisk| drop(change(&by_hand, disk));
        for disk in with_killed(&by_hand.disk, &run, refused) {
            let is_sound = |state: &SimDisk, done: bool| {
                holds(|| {
                    let mark = check_change(&by_hand, state, "weakened");
                    assert!(!done || mark == by_hand.marks[1]);
                    assert!(!done || precious_temporaries(state).is_empty());
                })
            };
            let sweep = Sweep { disk: &disk, run: &run, holds: &is_sound, written: Some(CONFIG.as_ref()) };
            survey.add(&sweep, |_| true);
        }
    }
    assert!(survey.check(&SUPERFLUOUS) > 6, "{survey:#?}");
}
