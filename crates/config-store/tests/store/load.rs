//! Loads of a config: its shape, the errors, the waits, and the config to run on after an error.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::scenes::home;
use crate::common::{
    APP, BACKUPS, CONFIG, FakeClock, OVERWRITTEN_V1, OVERWRITTEN_V3, SCHEMA, changes, healthy, ids, is_kept,
    kind_of, launch, locked, shown, sim_paths,
};
use crate::{live, load, of_kind, seen_healthy, set_mark, with_config};
use myownllm_config_store::{ConfigStore, FileShape, Limits, Store, StoreError};
use myownllm_durable_fs::Op;
use myownllm_durable_fs::sim::{Fault, SimDisk};
use rstest::rstest;
use serde_json::json;

#[rstest]
#[case::app(APP, FileShape::App)]
#[case::daemon_v1(OVERWRITTEN_V1, FileShape::Daemon)]
#[case::daemon_v3(OVERWRITTEN_V3, FileShape::Daemon)]
#[case::mixed(br#"{"providers":[],"networks":[{"id":"a","network_id":"home"}]}"#, FileShape::Mixed)]
#[case::unknown(br#"{"hello":1}"#, FileShape::Unknown)]
#[case::nothing_in_it(b"{}", FileShape::Unknown)]
#[case::empty(b"", FileShape::Corrupt)]
#[case::white_space(b" \n", FileShape::Corrupt)]
#[case::nul(b"\0\0\0\0", FileShape::Corrupt)]
#[case::torn(br#"{"providers":[{"na"#, FileShape::Corrupt)]
#[case::utf16(b"\xff\xfe{\0}\0", FileShape::Corrupt)]
#[case::list(b"[1,2]", FileShape::Corrupt)]
#[case::null(b"null", FileShape::Corrupt)]
#[case::comma(br#"{"active_family":"x",}"#, FileShape::Corrupt)]
fn a_look_tells_the_shape_and_writes_nothing(#[case] bytes: &[u8], #[case] shape: FileShape) {
    let disk = with_config(bytes);
    let loaded = load(&disk).unwrap();
    assert_eq!((loaded.shape, loaded.report.shape), (shape, shape));
    assert_eq!(changes(&disk), Vec::<String>::new());
    // Every shape gives a complete config to run on.
    for key in ["active_provider", "active_family", "providers", "cloud_mesh", "mic"] {
        assert!(loaded.document.get(&[key]).is_some(), "{key} is missing");
    }
    // After the launch the previous bytes are in the config or among the backups.
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, bytes));
    assert_eq!(load(&disk).unwrap().shape, FileShape::App);
    assert!(load(&disk).unwrap().pending.is_empty());
}

#[test]
fn deep_nesting_is_corrupt_and_not_a_crash() {
    let mut bytes = b"{\"a\":".to_vec();
    bytes.extend([b'['; 100_000]);
    let disk = with_config(&bytes);
    assert_eq!(load(&disk).unwrap().shape, FileShape::Corrupt);
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, &bytes));
}

#[test]
fn a_start_with_nothing_to_do_asks_little_and_writes_nothing() {
    let disk = seen_healthy(&healthy("x"));
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(applied.is_none());
    let ops = disk.ops();
    assert!(ops.len() <= 5, "{ops:?}");
    assert!(ops.iter().all(|op| !op.is_change() && op.op != Op::Lock));
}

fn refused(disk: &SimDisk, code: &str) -> StoreError {
    let before = disk.tree();
    let error = load(disk).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.hint().is_some() && error.to_string().contains("config.json"));
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    locked(&store).apply(&mut ids()).unwrap_err();
    locked(&store)
        .update(&mut ids(), &mut |doc| Ok(doc.set(&["x"], serde_json::json!(1)).is_changed()))
        .unwrap_err();
    assert_eq!(disk.tree(), before, "nothing is written");
    // The app still has a config to run on, which must never be written.
    let loaded = store.fallback(&mut ids());
    assert!(loaded.pending.is_empty());
    assert!(loaded.document.get(&["providers"]).is_some());
    error
}

#[test]
fn config_that_is_not_a_regular_file_is_an_error_and_not_a_hang() {
    let disk = home();
    disk.put_pipe(CONFIG);
    refused(&disk, "store.not-regular");
    let disk = home();
    disk.put_dir(CONFIG, 0o755);
    refused(&disk, "store.not-regular");
    let disk = home();
    disk.put_link(CONFIG, "/mnt/gone/config.json");
    assert!(refused(&disk, "store.not-regular").to_string().contains("a broken symlink"));
}

#[test]
fn a_config_that_cannot_be_read_is_not_missing() {
    let disk = with_config(OVERWRITTEN_V3);
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Other, ErrorKind::InvalidInput] {
        disk.fail(Fault::always(Op::Read, kind));
        refused(&disk, "store.unreadable");
        disk.clear_faults();
    }
}

#[test]
fn fallback_reports_no_loss_for_an_unreadable_config() {
    let disk = with_config(&healthy("x"));
    disk.fail(Fault::always(Op::Read, ErrorKind::PermissionDenied));
    let error = load(&disk).unwrap_err();
    if cfg!(unix) {
        assert_eq!(error.hint().unwrap(), format!("chmod u+rw {CONFIG}"));
    }
    let clock = FakeClock::default();
    let loaded = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).fallback(&mut ids());
    assert!(loaded.report.reset_keys.is_empty() && loaded.pending.is_empty());
}

#[test]
fn fallback_is_the_last_good_backup() {
    let disk = seen_healthy(&healthy("before"));
    disk.put(CONFIG, b"{");
    let clock = FakeClock::default();
    let loaded = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).fallback(&mut ids());
    assert_eq!(loaded.document.get(&["mark"]).unwrap().as_str().as_deref(), Some("before"));
    assert_eq!(loaded.report.restored_from.as_deref().map(kind_of), Some("good"));
}

#[test]
fn fallback_is_the_readable_config_when_backups_are_unreadable() {
    let disk = with_config(OVERWRITTEN_V3);
    disk.put_dir(BACKUPS, 0o700);
    disk.fail(Fault::always(Op::ForEachEntry, ErrorKind::PermissionDenied));
    load(&disk).unwrap_err();
    let clock = FakeClock::default();
    let loaded = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).fallback(&mut ids());
    assert!(loaded.pending.is_empty(), "a repair that might have had more is not to be written");
    assert!(!loaded.report.recovered_networks.is_empty());
    assert_eq!(loaded.shape, FileShape::Daemon);
}

#[test]
fn a_config_over_the_limit_is_an_error() {
    let disk = with_config(&healthy("x"));
    let clock = FakeClock::default();
    let limits = Limits { config_bytes: 100, ..Limits::default() };
    let error =
        Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits).load(&mut ids()).unwrap_err();
    assert_eq!(error.code(), "store.too-large");
}

#[test]
fn a_half_written_file_is_waited_for() {
    let disk = Arc::new(with_config(b""));
    let whole = healthy("written");
    let writer = Arc::clone(&disk);
    let parts = whole.clone();
    let clock = FakeClock {
        tick: Some(Box::new(move |now| {
            // Writes one part every 200 ms: the file is never quiet for 250 ms.
            let part = (now.as_millis() / 200).min(5) as usize;
            writer.put(CONFIG, &parts[..parts.len() * part / 5]);
        })),
        ..FakeClock::default()
    };
    let loaded = Store::new(&*disk, &clock, sim_paths(), &*SCHEMA).load(&mut ids()).unwrap();
    assert_eq!(loaded.shape, FileShape::App);
    assert_eq!(loaded.document.get(&["mark"]).unwrap().as_str().as_deref(), Some("written"));
}

#[test]
fn file_that_keeps_changing_is_an_error_after_the_timeout() {
    let disk = Arc::new(with_config(b"{"));
    let writer = Arc::clone(&disk);
    let clock = FakeClock {
        tick: Some(Box::new(move |now| writer.put(CONFIG, format!("{{{}", now.as_millis()).as_bytes()))),
        ..FakeClock::default()
    };
    let store = Store::new(&*disk, &clock, sim_paths(), &*SCHEMA);
    assert_eq!(store.load(&mut ids()).unwrap_err().code(), "store.unstable");
    use myownllm_config_store::Clock as _;
    assert!(clock.elapsed() < Duration::from_secs(6));
}

#[test]
fn a_corrupt_file_is_waited_for_a_quarter_of_a_second() {
    use myownllm_config_store::Clock as _;
    let disk = with_config(b"{");
    let clock = FakeClock::default();
    Store::new(&disk, &clock, sim_paths(), &*SCHEMA).load(&mut ids()).unwrap();
    assert!(clock.elapsed() >= Duration::from_millis(250), "{:?}", clock.elapsed());
    assert!(clock.elapsed() < Duration::from_millis(600), "{:?}", clock.elapsed());
}

#[test]
fn a_newer_daemons_config_is_read_and_never_written() {
    let newer = br#"{"version":4,"daemon":{"enabled":true},"networks":[{"id":"a","network_id":"home"}]}"#;
    let disk = with_config(newer);
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.newer, Some(4));
    assert!(loaded.pending.is_empty());
    assert_eq!(loaded.report.recovered_networks, ["home"]);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    assert_eq!(locked(&store).apply(&mut ids()).unwrap_err().code(), "store.newer");
    assert_eq!(set_mark(&disk, "x").unwrap_err().code(), "store.newer");
    assert_eq!(live(&disk), newer);
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[rstest]
#[case::torn(b"{\"torn")]
#[case::leaked(OVERWRITTEN_V1)]
fn unreadable_backup_does_not_cause_defaults(#[case] bad: &[u8]) {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, bad);
    disk.fail(Fault::always(Op::ForEachEntry, ErrorKind::PermissionDenied));
    // The look fails already: the store does not guess about unreadable backups.
    assert_eq!(load(&disk).unwrap_err().code(), "store.disk");
    assert_eq!(launch(&disk, &sim_paths()).unwrap_err().code(), "store.disk");
    assert_eq!(live(&disk), bad);
    disk.clear_faults();
    launch(&disk, &sim_paths()).unwrap();
}

#[test]
fn healthy_config_loads_without_readable_backups() {
    let disk = seen_healthy(&healthy("good"));
    disk.fail(Fault::always(Op::ForEachEntry, ErrorKind::PermissionDenied));
    let loaded = load(&disk).unwrap();
    assert!(loaded.pending.is_empty());
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.backups-unreadable"));
}

#[rstest]
#[case::torn(b"{\"torn")]
#[case::leaked(OVERWRITTEN_V1)]
fn unreadable_newest_backup_is_not_replaced_by_an_older_one(#[case] bad: &[u8]) {
    let base = seen_healthy(&healthy("old"));
    base.put(CONFIG, &healthy("new"));
    launch(&base, &sim_paths()).unwrap();
    let newest = format!("{BACKUPS}/{}", of_kind(&base, "good")[1].0);
    base.put(CONFIG, bad);
    base.reset_ops();
    load(&base).unwrap();
    let read = base.ops().iter().position(|op| op.op == Op::Read && op.path == Path::new(&newest)).unwrap();
    let disk = base.clone();
    disk.reset_ops();
    disk.fail(Fault::once(read, ErrorKind::PermissionDenied));
    let error = load(&disk).unwrap_err();
    assert_eq!((error.code(), error.path()), ("store.copy-unreadable", Path::new(&newest)));
    assert_eq!(error.hint().unwrap(), format!("chmod u+r {}", shown(&newest)));
}

#[test]
fn store_error_serialises_as_every_failure() {
    let error = StoreError::Newer { path: "/h/config.json".into(), version: 9 };
    let expected = json!({
        "code": "store.newer", "class": "newer", "path": "/h/config.json", "message": error.to_string(),
        "hint": "use the newest version of this program", "causes": [],
    });
    assert_eq!(serde_json::to_value(&error).unwrap(), expected);
}
