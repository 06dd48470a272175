//! Other programs that write the config during a save or a repair, and displaced files.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{
    CONFIG, FakeClock, OVERWRITTEN_V3, SCHEMA, hash_of, healthy, ids, is_kept, launch, launch_with, locked,
    sim_paths,
};
use crate::{live, load, of_kind, seen_healthy, set_mark, text, with_config};
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, Limits, Store, StoreError, Updated};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{self as durable_fs, Op, swap_name};
use rstest::rstest;

#[test]
fn update_is_repeated_on_top_of_a_concurrent_write() {
    let base = seen_healthy(&healthy("before"));
    let counted = base.clone();
    set_edit(&counted).unwrap();
    let total = counted.ops().len();
    for n in 0..total {
        let disk = base.clone();
        disk.reset_ops();
        disk.set_hook(move |op, foreign| {
            if op.number == n {
                foreign.put(CONFIG, &healthy("theirs"));
            }
        });
        let updated = set_edit(&disk).unwrap();
        assert!(updated.changed);
        assert_eq!(
            text(&live(&disk), "mark").as_deref(),
            Some("theirs"),
            "their write is lost at operation {n}"
        );
        // The other program's write came last, or the edit went on top of it.
        let ours = text(&live(&disk), "ours").is_some();
        assert!(ours || live(&disk) == healthy("theirs"), "at operation {n}");
        assert!(is_kept(&disk, &healthy("before")), "at operation {n}");
        let left: Vec<_> =
            disk.tree().into_keys().filter(|p| p.to_string_lossy().contains(".durable-fs.")).collect();
        assert_eq!(left, Vec::<std::path::PathBuf>::new());
    }
}

fn set_edit(disk: &SimDisk) -> Result<Updated, StoreError> {
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    let locked = store.lock(Duration::ZERO).map_err(|e| StoreError::Conflict { path: e.home().into() })?;
    locked.update(&mut ids(), &mut |doc| Ok(doc.set(&["ours"], serde_json::json!("here")).is_changed()))
}

#[test]
fn repair_keeps_a_concurrent_write() {
    let base = with_config(OVERWRITTEN_V3);
    let counted = base.clone();
    launch(&counted, &sim_paths()).unwrap();
    for n in 0..counted.ops().len() {
        for theirs in [
            healthy("theirs"),
            b"{\"version\":3,\"daemon\":{},\"networks\":[{\"id\":\"n\",\"network_id\":\"other\"}]}".to_vec(),
        ] {
            let disk = base.clone();
            disk.reset_ops();
            let write = theirs.clone();
            disk.set_hook(move |op, foreign| {
                if op.number == n {
                    foreign.put(CONFIG, &write);
                }
            });
            launch(&disk, &sim_paths()).unwrap();
            launch(&disk, &sim_paths()).unwrap();
            assert!(is_kept(&disk, &theirs), "at operation {n}");
            if theirs == healthy("theirs") {
                assert_eq!(
                    live(&disk),
                    theirs,
                    "at operation {n}: a healthy config that came last is the config"
                );
            } else {
                let networks = Document::parse(&live(&disk)).unwrap().document;
                let networks = networks.get(&["cloud_mesh", "networks"]).unwrap();
                let ids: Vec<_> = networks
                    .items()
                    .map(|n| n.get("network_id").unwrap().as_str().unwrap().into_owned())
                    .collect();
                assert!(ids.contains(&"other".to_owned()), "at operation {n}: {ids:?}");
            }
        }
    }
}

#[test]
fn a_writer_that_never_stops_is_a_conflict_and_nothing_of_it_is_lost() {
    let disk = seen_healthy(&healthy("before"));
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    disk.set_hook(move |op, foreign| {
        if op.op == Op::Exchange && !op.path.to_string_lossy().ends_with("config.json") {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            foreign.put(CONFIG, &healthy(&format!("theirs {n}")));
        }
    });
    let error = set_edit(&disk).unwrap_err();
    assert_eq!(error.code(), "store.conflict");
    let written = count.load(Ordering::SeqCst);
    for n in 0..written {
        assert!(is_kept(&disk, &healthy(&format!("theirs {n}"))), "{n} of {written}");
    }
    assert!(text(&live(&disk), "ours").is_none(), "what is in place is theirs");
    assert!(of_kind(&disk, "kept").len() <= 9, "and it is given up before they are many");
}

/// Two other programs write. The first writes in the last moment before the exchange, so our file
/// has its place until the first program's file is back. The second program reads our file just
/// then, and overwrites the first program's file with a change of ours.
#[rstest]
#[case::at_once(true)]
#[case::when_the_first_is_back(false)]
fn config_that_our_file_displaced_for_a_moment_is_never_lost(#[case] at_once: bool) {
    let disk = seen_healthy(&healthy("before"));
    let exchanges = Arc::new(AtomicUsize::new(0));
    let (first, second) = (healthy("first"), healthy("second, which has not seen the first"));
    let hook = (first.clone(), second.clone());
    disk.set_hook(move |op, foreign| {
        let done = exchanges.load(Ordering::SeqCst);
        if op.op == Op::Exchange {
            exchanges.fetch_add(1, Ordering::SeqCst);
        }
        match (op.op, done) {
            (Op::Exchange, 0) => drop(foreign.put(CONFIG, &hook.0)),
            (Op::Exchange, 1) if at_once => drop(foreign.put(CONFIG, &hook.1)),
            // The first program's file is back.
            (Op::SyncDir, 2) if !at_once => drop(foreign.put(CONFIG, &hook.1)),
            _ => {}
        }
    });
    set_edit(&disk).unwrap();
    disk.set_hook(|_, _| {});
    assert_eq!(text(&live(&disk), "mark"), text(&second, "mark"), "the second came last");
    // No number of later saves removes it.
    for i in 0..30 {
        set_mark(&disk, &i.to_string()).unwrap();
    }
    assert!(is_kept(&disk, &first), "at once: {at_once}");
}

/// Other programs read our file in place of theirs until theirs is back, so nothing that waits for
/// the disk may come before the return.
#[test]
fn displaced_file_goes_back_before_any_sync() {
    let disk = seen_healthy(&healthy("before"));
    let wrote = Arc::new(AtomicUsize::new(0));
    disk.set_hook(move |op, foreign| {
        if op.op == Op::Exchange && wrote.fetch_add(1, Ordering::SeqCst) == 0 {
            foreign.put(CONFIG, &healthy("theirs"));
        }
    });
    set_edit(&disk).unwrap();
    let ops: Vec<_> = disk.ops().iter().map(|op| op.op).collect();
    let exchanges: Vec<_> = (0..ops.len()).filter(|&i| ops[i] == Op::Exchange).collect();
    assert_eq!(ops[exchanges[0]..=exchanges[1]], [Op::Exchange, Op::Read, Op::Create, Op::Exchange]);
    // The directory is synced before our file is removed.
    assert_eq!(ops[exchanges[1]..][..3], [Op::Exchange, Op::Read, Op::SyncDir]);
}

#[test]
fn a_storm_of_writes_leaves_room_for_a_repair() {
    let disk = seen_healthy(&healthy("before"));
    let clock = FakeClock::default();
    let limits = Limits { kept_count: 6, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let count = AtomicUsize::new(0);
    disk.set_hook(move |op, foreign| {
        if op.op == Op::Exchange {
            let n = count.fetch_add(1, Ordering::SeqCst);
            if n.is_multiple_of(2) {
                foreign.put(CONFIG, &healthy(&format!("theirs {n}")));
            }
        }
    });
    let error = locked(&store)
        .update(&mut ids(), &mut |doc| Ok(doc.set(&["ours"], serde_json::json!(1)).is_changed()));
    assert_eq!(error.unwrap_err().code(), "store.conflict");
    disk.set_hook(|_, _| {});
    assert_eq!(of_kind(&disk, "kept").len(), 3);
    assert_eq!(of_kind(&disk, "good").len(), 20, "the rest are routine backups");
    disk.put(CONFIG, b"{\"torn");
    launch_with(&store).unwrap();
    assert!(is_kept(&disk, b"{\"torn"));
}

/// A temporary file whose content does not match its name holds another program's bytes.
#[test]
fn displaced_file_is_not_mistaken_for_the_new_one() {
    let disk = seen_healthy(&healthy("one"));
    let swap = || swap_name(Path::new(CONFIG).parent().unwrap(), &healthy("two"));
    disk.put(swap(), &healthy("theirs"));
    disk.put(swap(), &healthy("two"));
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, &healthy("theirs")));
    assert!(!is_kept(&disk, &healthy("two")), "it never was a config");
    assert!(load(&disk).unwrap().pending.is_empty());
}

/// An older version marked the names with another hash. Nothing tells then which content of the two
/// the file holds, so the file is kept.
#[rstest]
#[case::displaced("theirs")]
#[case::about_to_be_put_in_place("two")]
fn file_that_an_older_version_marked_becomes_a_backup(#[case] content: &str) {
    let disk = seen_healthy(&healthy("one"));
    let mark = hash_of(&healthy("two"));
    let swap = format!("/home/u/.myownllm/.durable-fs.1-0.{mark}.swap");
    disk.put(&swap, &healthy(content));
    assert!(!durable_fs::is_new_content(swap.as_ref(), &healthy(content)), "the mark is an older one");
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, &healthy(content)));
    assert_eq!(disk.content(&swap), None);
    assert!(load(&disk).unwrap().pending.is_empty());
}

#[test]
fn write_into_the_displaced_file_before_the_last_read_is_noticed() {
    // A program that had the old file open before the exchange writes into the displaced file.
    let disk = seen_healthy(&healthy("before"));
    let looks = Arc::new(AtomicUsize::new(0));
    disk.set_hook(move |op, foreign| {
        let displaced = op.path.to_string_lossy().ends_with(".swap");
        if op.op == Op::Read && displaced && looks.fetch_add(1, Ordering::SeqCst) == 1 {
            foreign.put(&op.path, &healthy("late"));
        }
    });
    let updated = set_edit(&disk).unwrap();
    assert_eq!(updated.conflicts, 1);
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("late"));
    assert_eq!(text(&live(&disk), "ours").as_deref(), Some("here"));
}

#[test]
fn save_warns_when_the_disk_cannot_exchange_names() {
    let disk = seen_healthy(&healthy("before"));
    disk.fail(Fault::always(Op::Exchange, ErrorKind::InvalidInput));
    let updated = set_edit(&disk).unwrap();
    assert!(updated.changed);
    assert!(updated.diagnostics.iter().any(|d| d.code == "store.no-exchange"));
    assert_eq!(text(&live(&disk), "ours").as_deref(), Some("here"));
    assert!(is_kept(&disk, &healthy("before")));
}

/// If names cannot be exchanged, only a file that another program renames into the place right
/// before our rename is lost. At any other moment the other program's write is kept, the edit goes
/// on top of it, and no conflict is reported.
#[rstest]
#[case::by_rename_with_links(&[Op::Exchange], true)]
#[case::by_rename_without_links(&[Op::Exchange, Op::HardLink], true)]
#[case::in_place_with_links(&[Op::Exchange], false)]
fn without_exchange_an_edit_goes_on_top_of_a_foreign_write(#[case] refused: &[Op], #[case] by_rename: bool) {
    let base = seen_healthy(&healthy("before"));
    for number in 0.. {
        let disk = base.clone();
        disk.reset_ops();
        refused.iter().for_each(|op| disk.fail(Fault::always(*op, ErrorKind::InvalidInput)));
        let theirs = healthy("theirs");
        disk.set_hook(move |op, foreign| {
            if op.number == number {
                if by_rename {
                    foreign.put(CONFIG, &theirs)
                } else {
                    foreign.overwrite(CONFIG, &theirs)
                };
            }
        });
        let updated = set_edit(&disk).unwrap();
        let Some(op) = disk.op_number(number) else { break };
        let at = format!("before {} {}", op.op, op.path.display());
        assert!(updated.diagnostics.iter().any(|d| d.code == "store.no-exchange"), "{at}");
        let hides = op.op == Op::Rename && op.other.as_deref() == Some(Path::new(CONFIG)) && by_rename;
        let there =
            is_kept(&disk, &healthy("theirs")) || text(&live(&disk), "mark").as_deref() == Some("theirs");
        assert!(there || hides, "{at}: what they wrote is gone");
        if live(&disk) != healthy("theirs") {
            assert_eq!(text(&live(&disk), "ours").as_deref(), Some("here"), "{at}");
        }
        let left = disk.tree().into_keys().filter(|path| path.to_string_lossy().contains(".durable-fs."));
        assert_eq!(left.collect::<Vec<_>>(), Vec::<std::path::PathBuf>::new(), "{at}");
    }
}

/// A faster program has its own config in place when the store gives up.
#[test]
fn conflict_without_exchange_leaves_the_other_programs_config() {
    let disk = seen_healthy(&healthy("before"));
    disk.fail(Fault::always(Op::Exchange, ErrorKind::InvalidInput));
    let round = AtomicUsize::new(0);
    disk.set_hook(move |op, foreign| {
        if op.op == Op::Rename && op.other.as_deref() == Some(Path::new(CONFIG)) && is_ours(&op.path) {
            let round = round.fetch_add(1, Ordering::SeqCst);
            foreign.overwrite(CONFIG, &healthy(&format!("theirs {round}")));
        }
    });
    assert_eq!(set_edit(&disk).unwrap_err().code(), "store.conflict");
    assert!(text(&live(&disk), "mark").unwrap().starts_with("theirs"));
    assert_eq!(text(&live(&disk), "ours"), None);
}

/// Returns whether the file waits for its exchange: its name has the hash of its content.
fn is_ours(path: &Path) -> bool {
    path.to_string_lossy().split('.').any(|part| part.len() == 32)
}

#[test]
fn config_that_a_killed_update_displaced_is_kept() {
    // Another program wrote, the store exchanged, and was killed before it looked at the displaced
    // file.
    let base = seen_healthy(&healthy("before"));
    let counted = base.clone();
    set_edit(&counted).unwrap();
    let total = counted.ops().len();
    for n in 0..=total {
        let disk = base.clone();
        disk.reset_ops();
        let writes = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&writes);
        disk.set_hook(move |op, foreign| {
            if op.op == Op::Exchange && foreign.put(CONFIG, &healthy("theirs")) {
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        disk.crash_at(n);
        let _ = set_edit(&disk);
        let wrote = writes.load(Ordering::SeqCst) > 0;
        let state = disk.after_kill();
        launch(&state, &sim_paths()).unwrap();
        assert!(is_kept(&state, &healthy("before")), "at operation {n}");
        if wrote {
            let there = is_kept(&state, &healthy("theirs"))
                || text(&live(&state), "mark").as_deref() == Some("theirs");
            assert!(there, "at operation {n}: what they wrote is gone");
        }
        assert!(launch(&state, &sim_paths()).unwrap().1.is_none());
    }
}
