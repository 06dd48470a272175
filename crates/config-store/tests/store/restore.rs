//! The list of the backups, and the restore of one.

use std::io::ErrorKind;

use crate::common::{
    BACKUPS, CONFIG, FakeClock, OVERWRITTEN_V3, SCHEMA, contents, healthy, ids, is_kept, launch, launch_with,
    locked, sim_paths, spelled,
};
use crate::{live, of_kind, seen_healthy, set_mark, text, with_crlf};
use myownllm_config_store::{BackupKind, ConfigStore, FileShape, Limits, LockedStore, Store, StoreError};
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::Fault;
use rstest::rstest;

#[test]
fn backup_that_another_program_changed_can_be_restored_and_is_never_evicted_as_the_only_one() {
    let disk = seen_healthy(&healthy("mine"));
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), &with_crlf(&bytes));
    for number in 0..25 {
        disk.put(CONFIG, &healthy(&format!("other {number}")));
        launch(&disk, &sim_paths()).unwrap();
    }
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let id = store.find_backup("1").unwrap();
    let entry = store.history().unwrap().into_iter().find(|entry| entry.id == id).unwrap();
    assert_eq!((entry.intact, entry.is_restorable(), entry.shape), (false, true, FileShape::App));
    let restored = locked(&store).restore(&mut ids(), &id).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
    assert!(restored.diagnostics.iter().any(|d| d.code == "store.copy-damaged"));
}

#[test]
fn history_lists_each_backup_and_a_restore_can_be_undone() {
    let disk = seen_healthy(&healthy("one"));
    set_mark(&disk, "two").unwrap();
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let history = store.history().unwrap();
    assert!(history.windows(2).all(|w| w[0].id.sequence() > w[1].id.sequence()), "the newest first");
    assert!(history.iter().all(|h| h.intact));
    assert_eq!(history.iter().filter(|h| h.current).count(), 1);
    assert_eq!(history.iter().filter(|h| h.shape == FileShape::Corrupt).count(), 1);

    let two = live(&disk);
    let one =
        history.iter().find(|h| store.read_backup(&h.id).unwrap() == healthy("one")).unwrap().id.clone();
    for name in
        [one.to_string(), format!("{one}.json"), one.sequence().to_string(), one.hash()[..8].to_owned()]
    {
        assert_eq!(store.find_backup(&name).unwrap(), one, "{name}");
    }
    let restored = locked(&store).restore(&mut ids(), &one).unwrap();
    assert!(restored.changed);
    assert_eq!(store.find_backup(&one.to_string()).unwrap(), one, "a number stays");
    assert_eq!(live(&disk), healthy("one"));
    let back = restored.backup.unwrap();
    assert_eq!(back.kind(), BackupKind::Kept);
    assert_eq!(store.read_backup(&back).unwrap(), two);
    locked(&store).restore(&mut ids(), &back).unwrap();
    assert_eq!(live(&disk), two);
    assert!(!locked(&store).restore(&mut ids(), &back).unwrap().changed);
    disk.reset_ops();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none(), "what was restored is the last good one now");
}

#[test]
fn only_an_intact_backup_of_the_apps_config_can_be_restored() {
    let disk = seen_healthy(&healthy("one"));
    disk.put(CONFIG, OVERWRITTEN_V3);
    launch(&disk, &sim_paths()).unwrap();
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    let before = live(&disk);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let history = store.history().unwrap();
    for shape in [FileShape::Daemon, FileShape::Corrupt] {
        let id = &history.iter().find(|h| h.shape == shape).unwrap().id;
        assert_eq!(locked(&store).restore(&mut ids(), id).unwrap_err().code(), "store.bad-copy");
    }
    let good = &history.iter().find(|h| h.kind == BackupKind::Good).unwrap().id;
    disk.put(format!("{BACKUPS}/{good}.json"), b"{}");
    assert_eq!(locked(&store).restore(&mut ids(), good).unwrap_err().code(), "store.bad-copy");
    assert!(!store.history().unwrap().iter().find(|h| h.id == *good).unwrap().intact);
    assert_eq!(live(&disk), before);
    for name in ["nothing", "", "0000", "99"] {
        let error = store.find_backup(name).unwrap_err();
        assert_eq!(error.code(), "store.no-such-copy", "{name}");
        assert_eq!(error.hint().as_deref(), Some("myownllm-mesh config history"));
    }
}

#[rstest]
#[case::complete(b"")]
#[case::with_an_old_tail(b"\n \"providers\": []\n}")]
fn a_restore_over_a_leaked_config_waits_for_the_repair(#[case] tail: &[u8]) {
    let disk = seen_healthy(&healthy("one"));
    let leaked = [OVERWRITTEN_V3, tail].concat();
    disk.put(CONFIG, &leaked);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let id = store.history().unwrap()[0].id.clone();
    assert_eq!(locked(&store).restore(&mut ids(), &id).unwrap_err().code(), "store.repair-pending");
    assert_eq!(live(&disk), leaked);
}

#[rstest]
#[case::missing(None)]
#[case::corrupt(Some(b"{\"torn".as_slice()))]
fn restore_replaces_a_missing_or_corrupt_config(#[case] bad: Option<&[u8]>) {
    let disk = seen_healthy(&healthy("one"));
    match bad {
        Some(bytes) => disk.put(CONFIG, bytes),
        None => disk.remove(CONFIG),
    }
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let id = store.history().unwrap()[0].id.clone();
    let restored = locked(&store).restore(&mut ids(), &id).unwrap();
    assert_eq!(restored.backup.is_some(), bad.is_some());
    assert_eq!(live(&disk), healthy("one"));
}

#[test]
fn restore_sets_a_too_large_config_aside() {
    let healthy = healthy("x");
    let mut large = healthy.clone();
    large.extend(b" ".repeat(100));
    let clock = FakeClock::default();
    let limits = Limits { config_bytes: healthy.len() as u64 + 10, ..Limits::default() };
    fn restore(locked: &dyn LockedStore, store: &Store<'_>) -> Result<Vec<String>, StoreError> {
        let id = store.find_backup("1")?;
        let restored = locked.restore(&mut ids(), &id)?;
        assert!(restored.changed);
        Ok(restored.diagnostics.into_iter().map(|d| format!("{}: {}", d.code, d.message)).collect())
    }
    let aside = format!("{BACKUPS}/too-large-1.json");
    let base = seen_healthy(&healthy);
    base.put(CONFIG, &large);
    base.flush_all();
    base.reset_ops();
    let disk = base.clone();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let reported = restore(&*locked(&store), &store).unwrap();
    assert!(
        reported.iter().any(|note| note.starts_with("store.set-aside: ") && note.contains(&spelled(&aside))),
        "{reported:?}"
    );
    assert_eq!((live(&disk), disk.content(&aside)), (healthy.clone(), Some(large.clone())));
    assert!(launch_with(&store).unwrap().1.is_none(), "and all is well");
    // The next large file gets another name.
    disk.put(CONFIG, &large);
    restore(&*locked(&store), &store).unwrap();
    assert_eq!(disk.content(format!("{BACKUPS}/too-large-2.json")), Some(large.clone()));

    // Killed at any operation: one of the two is in place, and the large file is whole somewhere.
    for exchanges in [true, false] {
        let base = base.clone();
        if !exchanges {
            base.fail(Fault::always(Op::Exchange, ErrorKind::InvalidInput));
        }
        let count = {
            let disk = base.clone();
            let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
            let reported = restore(&*locked(&store), &store).unwrap();
            assert_eq!(reported.iter().any(|note| note.starts_with("store.no-exchange")), !exchanges);
            disk.op_count()
        };
        for n in 0..count {
            let disk = base.clone();
            let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
            let locked_before = locked(&store);
            disk.crash_at(n);
            let _ = restore(&*locked_before, &store);
            for state in disk.crash_states(64, 7).into_iter().chain([disk.after_kill()]) {
                assert!(contents(&state).contains(&large), "at operation {n}");
                assert!([&large, &healthy].contains(&&live(&state)), "at operation {n}");
                // The next run does not lose it either.
                let store = Store::new(&state, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
                if live(&state) == large {
                    restore(&*locked(&store), &store).unwrap();
                }
                launch_with(&store).unwrap();
                assert!(contents(&state).contains(&large), "at operation {n}, after the next run");
            }
        }
    }

    // Another program puts a small file there meanwhile. The store keeps it like any displaced
    // file.
    let disk = base.clone();
    disk.set_hook(|op, foreign| if op.op == Op::Exchange && foreign.put(CONFIG, b"{\"theirs") {});
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let _ = restore(&*locked(&store), &store);
    assert!(is_kept(&disk, b"{\"theirs"));

    // A file that is nested too deep is set aside like a file that is not JSON.
    let deep = [&b"["[..]; 2000].concat();
    let disk = seen_healthy(&healthy);
    disk.put(CONFIG, &deep);
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    restore(&*locked(&store), &store).unwrap();
    assert_eq!(live(&disk), healthy);
    assert!(is_kept(&disk, &deep));
}
