//! Tests the results of a look, of a repair and of a save, on the simulated disk.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

mod common;

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::*;
use myownllm_config_model::{Document, SeededIds};
use myownllm_config_store::{
    BackupKind, ConfigStore, DaemonHalf, FileShape, Limits, Loaded, LockedStore, Step, Store, StoreError,
    Updated,
};
use myownllm_durable_fs::sim::{Entry, Fault, SimDisk};
use myownllm_durable_fs::{self as durable_fs, Disk, Op, Owner, sim_path, swap_name};
use rstest::rstest;
use serde_json::json;

const SIBLING: &str = sim_path!("/home/u/.myownllm/config.json.corrupt");

fn home() -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk
}

fn with_config(bytes: &[u8]) -> SimDisk {
    let disk = home();
    disk.put(CONFIG, bytes);
    disk.flush_all();
    disk.reset_ops();
    disk
}

/// Returns a home whose config was healthy at the last launch.
fn seen_healthy(bytes: &[u8]) -> SimDisk {
    let disk = with_config(bytes);
    launch(&disk, &sim_paths()).unwrap();
    disk.reset_ops();
    disk
}

fn load(disk: &SimDisk) -> Result<Loaded, StoreError> {
    let clock = FakeClock::default();
    Store::new(disk, &clock, sim_paths(), &*SCHEMA).load(&mut ids())
}

fn locked<'s>(store: &'s Store<'_>) -> Box<dyn LockedStore + 's> {
    store.lock(Duration::ZERO).unwrap()
}

fn set_mark(disk: &SimDisk, mark: &str) -> Result<Updated, StoreError> {
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    locked(&store).update(&mut ids(), &mut |doc| Ok(doc.set(&["mark"], serde_json::json!(mark)).is_changed()))
}

fn text(bytes: &[u8], key: &str) -> Option<String> {
    Document::parse(bytes).unwrap().document.get(&[key])?.as_str().map(|s| s.into_owned())
}

fn live(disk: &SimDisk) -> Vec<u8> {
    disk.content(CONFIG).unwrap()
}

fn mode(disk: &SimDisk, path: &str) -> u32 {
    // On Windows, the home has the drive of the path.
    match disk.tree().get(&Path::new(HOME).join(path)) {
        Some(Entry::File(_, mode) | Entry::Dir(mode)) => *mode,
        other => panic!("{path}: {other:?}"),
    }
}

fn of_kind(disk: &SimDisk, kind: &str) -> Vec<(String, Vec<u8>)> {
    let all =
        backups(disk).into_iter().map(|(p, b)| (p.file_name().unwrap().to_str().unwrap().to_owned(), b));
    all.filter(|(name, _)| kind_of(name) == kind).collect()
}

#[rstest]
#[case::app(APP, FileShape::App)]
#[case::daemon_v1(LEAKED_V1, FileShape::Daemon)]
#[case::daemon_v3(LEAKED_V3, FileShape::Daemon)]
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

#[test]
fn an_apply_with_nothing_to_do_writes_nothing() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let applied = locked(&store).apply(&mut ids()).unwrap();
    assert_eq!(applied.steps, []);
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[test]
fn healthy_config_is_backed_up_once_and_again_after_a_change() {
    let disk = with_config(&healthy("one"));
    launch(&disk, &sim_paths()).unwrap();
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(of_kind(&disk, "good").len(), 1);
    assert_eq!(live(&disk), healthy("one"), "the config itself is not written");
    disk.put(CONFIG, &healthy("two"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert!(!loaded.pending.writes_config() && !loaded.pending.repairs());
    assert!(matches!(loaded.pending.steps[..], [Step::KeepLastGood { .. }]));
    assert_eq!(of_kind(&disk, "good").len(), 2);
}

#[test]
fn a_missing_config_is_written_once_private_with_the_defaults() {
    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.shape, FileShape::Missing);
    assert!(loaded.pending.writes_config() && !loaded.pending.repairs());
    assert!(matches!(applied.unwrap().steps[0], Step::WriteConfig { restored: false, .. }));
    assert_eq!(mode(&disk, CONFIG), 0o600);
    assert_eq!(mode(&disk, "/home/u/.myownllm"), 0o700);
    assert_eq!(mode(&disk, BACKUPS), 0o700);
    assert_eq!(
        text(&live(&disk), "conversation_dir"),
        Some(common::spelled(sim_path!("/home/u/.myownllm/conversations")))
    );
    disk.reset_ops();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn a_users_home_that_is_not_there_is_not_made() {
    let disk = SimDisk::new();
    disk.put_dir("/home", 0o755);
    disk.reset_ops();
    let error = launch(&disk, &sim_paths()).unwrap_err();
    assert_eq!(error.code(), "store.no-home");
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[test]
fn a_config_that_appears_while_the_defaults_are_written_is_not_replaced() {
    let base = home();
    base.flush_all();
    let counted = base.clone();
    launch(&counted, &sim_paths()).unwrap();
    for n in 0..counted.ops().len() {
        let disk = base.clone();
        disk.reset_ops();
        disk.set_hook(move |op, foreign| {
            if op.number == n {
                foreign.put(CONFIG, &healthy("theirs"));
            }
        });
        let _ = launch(&disk, &sim_paths()).unwrap();
        assert_eq!(text(&live(&disk), "mark").as_deref(), Some("theirs"), "at operation {n}");
    }
}

#[rstest]
#[case::leaked_by_0_1_2(LEAKED_V1, 0o644)]
#[case::leaked_by_0_3_8(LEAKED_V3, 0o600)]
#[case::empty(b"{}", 0o640)]
fn the_mode_of_a_config_is_kept(#[case] bytes: &[u8], #[case] given: u32) {
    let disk = home();
    disk.put_mode(CONFIG, bytes, given);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(mode(&disk, CONFIG), given);
    set_mark(&disk, "x").unwrap();
    assert_eq!(mode(&disk, CONFIG), given);
    assert_eq!(mode(&disk, BACKUPS), 0o700);
    for (path, _) in backups(&disk) {
        assert_eq!(mode(&disk, path.to_str().unwrap()), 0o600);
    }
}

#[test]
fn backup_directory_that_others_can_read_is_made_private() {
    let disk = with_config(APP);
    disk.put_dir(BACKUPS, 0o755);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(mode(&disk, BACKUPS), 0o700);
}

#[test]
fn symlinked_config_is_written_through_its_symlink() {
    let disk = home();
    disk.put_dir("/home/u/dotfiles", 0o755);
    disk.put_mode("/home/u/dotfiles/llm.json", LEAKED_V1, 0o644);
    disk.put_link(CONFIG, "../dotfiles/llm.json");
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "through").unwrap();
    assert!(matches!(disk.tree().get(std::path::Path::new(CONFIG)),
            Some(Entry::Link(to)) if to == std::path::Path::new("../dotfiles/llm.json")));
    let there = disk.content("/home/u/dotfiles/llm.json").unwrap();
    assert_eq!(text(&there, "mark").as_deref(), Some("through"));
    assert_eq!(mode(&disk, "/home/u/dotfiles/llm.json"), 0o644);
    assert_eq!(disk.list("/home/u/dotfiles".as_ref()).unwrap().len(), 1, "nothing is left beside it");
}

#[test]
fn what_root_makes_belongs_to_the_homes_owner() {
    let them = Owner { uid: 1000, gid: 1000 };
    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    disk.put_dir("/home/u/.myownllm", 0o755);
    disk.put(CONFIG, LEAKED_V3);
    disk.set_user(Owner { uid: 0, gid: 0 });
    for path in [HOME, "/home/u/.myownllm", CONFIG] {
        disk.chown(path, them);
    }
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "x").unwrap();
    for path in disk.tree().keys().filter(|p| p.starts_with(HOME)) {
        assert_eq!(disk.stat(path).unwrap().owner, Some(them), "{}", path.display());
    }
    let fresh = SimDisk::new();
    fresh.put_dir(HOME, 0o755);
    fresh.set_user(Owner { uid: 0, gid: 0 });
    fresh.chown(HOME, them);
    launch(&fresh, &sim_paths()).unwrap();
    for path in fresh.tree().keys().filter(|p| p.starts_with(HOME)) {
        assert_eq!(fresh.stat(path).unwrap().owner, Some(them), "{}", path.display());
    }
}

#[test]
fn repair_succeeds_when_the_process_may_not_change_owners() {
    let disk = home();
    disk.put(CONFIG, LEAKED_V3);
    disk.set_user(Owner { uid: 4711, gid: 4711 });
    disk.fail(Fault::always(Op::SetOwner, ErrorKind::PermissionDenied));
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, LEAKED_V3));
    assert!(load(&disk).unwrap().pending.is_empty());
    assert_eq!(of_kind(&disk, "kept").len(), 1);
}

/// The store also stops a caller that composes the crates, and takes the lock without a check of
/// the way to the home.
#[test]
fn home_that_another_user_controls_is_not_written() {
    let disk = home();
    disk.put(CONFIG, LEAKED_V3);
    let loaded = load(&disk).unwrap();
    assert!(loaded.pending.repairs());
    disk.set_user(Owner { uid: 0, gid: 0 });
    disk.chown(HOME, Owner { uid: 4711, gid: 4711 });
    let before = disk.tree();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let held = locked(&store);
    let errors = [
        store.ensure_home().unwrap_err(),
        held.apply(&mut ids()).unwrap_err(),
        held.update(&mut ids(), &mut |doc| Ok(doc.set(&["x"], serde_json::json!(1)).is_changed()))
            .unwrap_err(),
    ];
    let hint = format!("sudo chown -RH 4711:4711 {}", shown(sim_path!("/home/u/.myownllm")));
    for error in errors {
        assert_eq!(error.code(), "homes.unsafe-permissions", "{error}");
        assert_eq!(error.hint().as_deref(), Some(&*hint));
    }
    assert_eq!(disk.tree(), before);
}

/// The config belongs to a group that the process is not in. The new file cannot get that group, so
/// its group bits are dropped.
#[rstest]
#[case::none(0o600, None)]
#[case::to_read(0o640, Some(0o600))]
#[case::to_write(0o666, Some(0o606))]
fn permissions_that_the_new_file_lacks_are_reported(#[case] mode: u32, #[case] narrowed: Option<u32>) {
    let disk = home();
    disk.put_mode(CONFIG, &healthy("before"), mode);
    disk.set_user(Owner { uid: 0, gid: 0 });
    for path in [HOME, "/home/u/.myownllm", CONFIG] {
        disk.chown(path, Owner { uid: 4711, gid: 50 });
    }
    disk.set_user(Owner { uid: 4711, gid: 4711 });
    let told =
        |updated: &Updated| updated.diagnostics.iter().filter(|d| d.code == "store.rights-narrowed").count();
    let updated = set_mark(&disk, "after").unwrap();
    assert_eq!(told(&updated), usize::from(narrowed.is_some()), "{mode:o}: {:?}", updated.diagnostics);
    assert_eq!(disk.stat(CONFIG.as_ref()).unwrap().mode, narrowed.unwrap_or(mode), "{mode:o}");
    // The config has the process's own group now.
    assert_eq!(told(&set_mark(&disk, "again").unwrap()), 0, "{mode:o}");
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
    let disk = with_config(LEAKED_V3);
    for kind in [ErrorKind::PermissionDenied, ErrorKind::Other, ErrorKind::InvalidInput] {
        disk.fail(Fault::always(Op::Read, kind));
        refused(&disk, "store.unreadable");
        disk.heal();
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
    let disk = with_config(LEAKED_V3);
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

#[test]
fn overwritten_config_is_repaired_from_the_last_good_backup() {
    let disk = seen_healthy(APP);
    disk.put(CONFIG, LEAKED_V3);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(loaded.pending.repairs() && loaded.pending.daemon_half());
    let applied = applied.unwrap();
    let report = applied.report;
    let good = of_kind(&disk, "good");
    assert_eq!(report.restored_from.as_deref(), good[0].0.strip_suffix(".json"));
    let kept = of_kind(&disk, "kept");
    assert_eq!(kept.last().unwrap().1, LEAKED_V3);
    assert_eq!(report.backup.as_deref(), kept.last().unwrap().0.strip_suffix(".json"));
    assert_eq!(report.daemon_half, Some(DaemonHalf::Written));
    assert!(report.stripped_keys.iter().any(|k| k == "networks"));
    let now = live(&disk);
    assert_eq!(now, applied.document.to_bytes());
    assert_eq!(text(&now, "active_family").as_deref(), Some("qwen3"));
    for key in ["version", "daemon", "networks", "identity_path", "services"] {
        assert!(Document::parse(&now).unwrap().document.get(&[key]).is_none(), "{key} is still there");
    }
    assert_eq!((mode(&disk, DAEMON_HOME), mode(&disk, DAEMON_CONFIG)), (0o700, 0o600));
    // The repaired config is the last good one now.
    assert_eq!(of_kind(&disk, "good").last().unwrap().1, now);
}

#[test]
fn existing_daemon_config_is_never_replaced() {
    let disk = with_config(LEAKED_V3);
    disk.put(DAEMON_CONFIG, b"{\"mine\":true}");
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    let report = applied.unwrap().report;
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"mine\":true}");
    assert_eq!(report.daemon_half, Some(DaemonHalf::Kept));
    let half = of_kind(&disk, "daemon");
    assert_eq!(report.daemon_half_backup.as_deref(), half[0].0.strip_suffix(".json"));
    assert_eq!(Document::parse(&half[0].1).unwrap().document.get(&["networks"]).unwrap().items().count(), 0);
}

#[test]
fn daemon_config_that_appears_during_the_repair_is_never_replaced() {
    let base = with_config(LEAKED_V3);
    let counted = base.clone();
    launch(&counted, &sim_paths()).unwrap();
    for n in 0..counted.ops().len() {
        let disk = base.clone();
        disk.reset_ops();
        let done = Arc::new(AtomicUsize::new(0));
        let put = Arc::clone(&done);
        disk.set_hook(move |op, foreign| {
            if op.number >= n
                && put.load(Ordering::SeqCst) == 0
                && foreign.put(DAEMON_CONFIG, b"{\"theirs\":1}")
            {
                put.store(1, Ordering::SeqCst);
            }
        });
        let (_, applied) = launch(&disk, &sim_paths()).unwrap();
        if done.load(Ordering::SeqCst) == 1 {
            assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"theirs\":1}", "at operation {n}");
        }
        // At any moment of the other program's write: the daemon's half was in place before, or is
        // among the backups.
        if applied.unwrap().report.daemon_half == Some(DaemonHalf::Kept) {
            assert_eq!(of_kind(&disk, "daemon").len(), 1, "at operation {n}");
        }
    }
}

/// The daemon's config appears right before the half gets its name: the daemon's config stays, the
/// half becomes a backup, and the report says so.
#[test]
fn daemon_half_becomes_a_backup_when_the_daemon_config_appears_first() {
    let disk = with_config(LEAKED_V3);
    disk.set_hook(|op, foreign| {
        if op.op == Op::RenameNoReplace && op.other.as_deref() == Some(std::path::Path::new(DAEMON_CONFIG)) {
            foreign.put(DAEMON_CONFIG, b"{\"theirs\":1}");
        }
    });
    let (_, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(applied.unwrap().report.daemon_half, Some(DaemonHalf::Kept));
    assert_eq!(of_kind(&disk, "daemon").len(), 1);
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), b"{\"theirs\":1}");
}

#[test]
fn daemon_config_that_cannot_be_inspected_is_not_absent() {
    let disk = with_config(LEAKED_V3);
    disk.set_hook(|_, _| {});
    disk.fail(Fault::always(Op::Stat, ErrorKind::PermissionDenied));
    // The app has the settings of its own file, but nothing is repaired before the daemon's half is
    // in place.
    assert!(!load(&disk).unwrap().report.recovered_networks.is_empty());
    assert_eq!(launch(&disk, &sim_paths()).unwrap_err().code(), "store.disk");
    assert_eq!(disk.content(CONFIG).unwrap(), LEAKED_V3);
}

#[test]
fn corrupt_config_is_replaced_by_the_last_good_backup_else_by_defaults() {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, b"{\"torn");
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert!(loaded.pending.repairs());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(applied.unwrap().report.restored_from.is_some());
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"torn"));

    let disk = with_config(b"{\"torn");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, None);
    assert!(loaded.report.reset_keys.iter().any(|k| k == "providers"));
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.defaults"));
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"torn"));
}

#[test]
fn damaged_backup_is_skipped_for_an_older_one() {
    let disk = seen_healthy(&healthy("old"));
    disk.put(CONFIG, &healthy("new"));
    launch(&disk, &sim_paths()).unwrap();
    let newest = format!("{BACKUPS}/{}", of_kind(&disk, "good").last().unwrap().0);
    disk.put(&newest, b"{\"rot\"");
    disk.put(CONFIG, b"");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("old"));
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.copy-damaged"));
}

/// Converts line ends, as a sync program does.
fn with_crlf(config: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(config).replace(',', ",\r\n").into_bytes()
}

fn with_bom(config: &[u8]) -> Vec<u8> {
    [b"\xef\xbb\xbf", config].concat()
}

fn in_utf16(config: &[u8]) -> Vec<u8> {
    let text = format!("\u{feff}{}", String::from_utf8_lossy(config));
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

#[rstest]
#[case::line_ends(with_crlf)]
#[case::byte_order_mark(with_bom)]
#[case::utf16(in_utf16)]
fn backup_that_another_program_changed_is_used_if_no_other_has_the_settings(
    #[case] change: fn(&[u8]) -> Vec<u8>,
    #[values(LEAKED_V3, b"", b"{\"torn", b"{}")] config: &[u8],
) {
    let disk = seen_healthy(&healthy("mine"));
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), &change(&bytes));
    disk.put(CONFIG, config);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
    let told = loaded.diagnostics.iter().filter(|d| d.code == "store.copy-damaged").count();
    assert_eq!((told, loaded.report.reset_keys.as_slice()), (1, &[][..]));
}

#[rstest]
fn backup_under_another_name_is_used_if_no_other_has_the_settings(
    #[values("{} (1).json", "{}.JSON", "{}.json.bak", "Copy of {}.json")] renamed: &str,
    #[values(LEAKED_V3, b"")] config: &[u8],
) {
    let disk = seen_healthy(&healthy("mine"));
    let (name, bytes) = of_kind(&disk, "good").remove(0);
    let renamed = renamed.replace("{}", name.strip_suffix(".json").unwrap());
    disk.remove(format!("{BACKUPS}/{name}"));
    disk.put(format!("{BACKUPS}/{renamed}"), &bytes);
    disk.put(CONFIG, config);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, Some(renamed));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
}

#[rstest]
fn copy_of_the_config_under_another_name_is_used_if_no_backup_has_the_settings(
    #[values(
        "config.json.bak",
        "config.json~",
        "Config (1).json",
        "Copy of config.json",
        "config-backups (1)/any",
        "config-backups.bak/000001-good-0.json"
    )]
    name: &str,
    #[values(LEAKED_V3, b"", b"{}")] config: &[u8],
) {
    let disk = with_config(config);
    let path = Path::new(CONFIG).with_file_name(name);
    disk.put_dir(path.parent().unwrap(), 0o700);
    disk.put(&path, &healthy("mine"));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(name));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("mine"));
    assert_eq!(disk.content(&path), Some(healthy("mine")), "the copy stays");
}

/// A comma too many, as a hand leaves it.
fn with_comma(config: &[u8]) -> Vec<u8> {
    [&config[..config.iter().rposition(|byte| *byte == b'}').unwrap()], b",}"].concat()
}

fn cut_off(config: &[u8]) -> Vec<u8> {
    config[..config.len() - 12].to_vec()
}

/// Puts a config of the user's at `path` and checks that a launch takes the settings from it, under
/// the name `source`.
#[track_caller]
fn check_source(config: &[u8], (path, source): (&str, &str), change: fn(&[u8]) -> Vec<u8>) {
    let disk = with_config(config);
    disk.put_dir("/home/u/.myownllm/.myownmesh", 0o700);
    let mut lost = Document::parse(&healthy("mine")).unwrap().document;
    lost.set(&["active_family"], json!("of the user"));
    lost.set(&["last"], json!(true));
    disk.put(path, &change(&lost.to_bytes()));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(source));
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("of the user"));
}

/// The daemon's parser refuses a whole config of the app's too.
#[rstest]
fn config_that_a_daemon_could_not_parse_and_renamed_is_used(
    #[values("/home/u/.myownllm/config.json.corrupt", "/home/u/.myownllm/.myownmesh/config.json.corrupt")]
    path: &str,
    #[values(<[u8]>::to_vec, with_comma, cut_off, in_utf16)] change: fn(&[u8]) -> Vec<u8>,
    #[values(LEAKED_V3, b"")] config: &[u8],
) {
    check_source(config, (path, "config.json.corrupt"), change);
}

/// An app, or a sync, may have put a part of the app's config there.
#[rstest]
#[case::about_to_be_written("/home/u/.myownllm/config.json.tmp", "config.json.tmp")]
#[case::in_the_daemons_place("/home/u/.myownllm/.myownmesh/config.json", ".myownmesh/config.json")]
fn torn_config_in_another_place_gives_its_members(
    #[case] path: &str,
    #[case] name: &str,
    #[values(with_comma, cut_off)] change: fn(&[u8]) -> Vec<u8>,
) {
    check_source(b"", (path, name), change);
}

#[test]
fn later_file_that_is_used_instead_of_a_backup_is_named() {
    let disk = seen_healthy(&healthy("newest"));
    disk.put("/home/u/.myownllm/config.json.corrupt", &healthy("a year old"));
    disk.put(CONFIG, LEAKED_V3);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some("config.json.corrupt"));
    let told = loaded.diagnostics.iter().find(|found| found.code == "store.later-file").unwrap();
    assert!(told.message.contains("backup 1"), "{told:?}");
    assert_eq!(told.hint.as_deref(), Some("myownllm-mesh config restore 1"));
}

/// The renamed file holds both halves: it is repaired as the config itself would be.
#[rstest]
fn mixed_config_that_a_daemon_renamed_is_used(
    #[values("corrupt", "tmp")] ending: &str,
    #[values(<[u8]>::to_vec, with_comma)] change: fn(&[u8]) -> Vec<u8>,
) {
    let mut lost = Document::parse(&healthy("mine")).unwrap().document;
    let networks = json!([{"id": "n1", "network_id": "office"}]);
    for (key, value) in [("version", json!(3)), ("daemon", json!({})), ("networks", networks)] {
        lost.set(&[key], value);
    }
    lost.set(&["active_family"], json!("of the user"));
    let disk = with_config(br#"{"version": 3, "daemon": {}, "networks": []}"#);
    disk.put(format!("/home/u/.myownllm/config.json.{ending}"), &change(&lost.to_bytes()));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    let name = format!("config.json.{ending}");
    assert_eq!(loaded.report.restored_from.as_deref(), Some(&*name));
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("of the user"));
    let config = Document::parse(&live(&disk)).unwrap().document;
    let saved = myownllm_config_model::networks::saved(&config);
    assert!(saved.iter().any(|network| network.network_id == "office"), "{saved:?}");
}

/// A daemon had overwritten the config already when a second one could not parse it. Then that
/// daemon wrote a new one, or it did not.
#[rstest]
fn networks_of_an_overwritten_config_that_a_daemon_renamed_come_back(
    #[values(<[u8]>::to_vec, with_comma, cut_off)] change: fn(&[u8]) -> Vec<u8>,
    #[values(Some(r#"{"version": 3, "daemon": {}, "networks": []}"#), Some(""), None)] config: Option<&str>,
    #[values("corrupt", "tmp")] ending: &str,
) {
    let lost = json!({"version": 3, "daemon": {}, "networks": [{"id": "n1", "network_id": "office"}],
        "identity_path": null, "last": true});
    let disk = home();
    if let Some(config) = config {
        disk.put(CONFIG, config.as_bytes());
    }
    disk.put(format!("/home/u/.myownllm/config.json.{ending}"), &change(lost.to_string().as_bytes()));
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.recovered_networks, ["office"]);
    let config = Document::parse(&live(&disk)).unwrap().document;
    let saved = myownllm_config_model::networks::saved(&config);
    assert_eq!(saved.iter().map(|network| &*network.network_id).collect::<Vec<_>>(), ["office"]);
}

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
fn damaged_backup_does_not_count_as_a_backup() {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    let (name, _) = of_kind(&disk, "kept").remove(0);
    disk.put(format!("{BACKUPS}/{name}"), b"{\"to");
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, b"{\"torn"));
}

#[rstest]
#[case::torn(b"{\"torn")]
#[case::leaked(LEAKED_V1)]
fn unreadable_backup_does_not_cause_defaults(#[case] bad: &[u8]) {
    let disk = seen_healthy(&healthy("good"));
    disk.put(CONFIG, bad);
    disk.fail(Fault::always(Op::ForEachEntry, ErrorKind::PermissionDenied));
    // The look fails already: the store does not guess about unreadable backups.
    assert_eq!(load(&disk).unwrap_err().code(), "store.disk");
    assert_eq!(launch(&disk, &sim_paths()).unwrap_err().code(), "store.disk");
    assert_eq!(live(&disk), bad);
    disk.heal();
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
#[case::alone(None)]
#[case::beside_a_leaked_config(Some(LEAKED_V3))]
#[case::beside_an_empty_config(Some(b"".as_slice()))]
fn file_that_a_daemon_moved_aside_is_a_source(
    #[case] leaked: Option<&[u8]>,
    #[values(".corrupt", ".tmp")] end: &str,
) {
    let disk = home();
    disk.put(format!("{CONFIG}{end}"), APP);
    if let Some(bytes) = leaked {
        disk.put(CONFIG, bytes);
    }
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from.as_deref(), Some(format!("config.json{end}").as_str()));
    assert!(loaded.pending.repairs(), "it is not a fresh install");
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("qwen3"));
    assert_eq!(disk.content(format!("{CONFIG}{end}")).unwrap(), APP, "it stays");
}

#[rstest]
#[case::leaked(LEAKED_V3)]
#[case::torn(b"{")]
#[case::empty(b"{}")]
fn file_that_a_daemon_moved_aside_is_no_source_unless_it_is_the_apps(#[case] bytes: &[u8]) {
    let disk = home();
    disk.put(SIBLING, bytes);
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!(loaded.report.restored_from, None);
}

#[test]
fn newer_of_backup_and_moved_aside_file_wins() {
    let later = seen_healthy(&healthy("copied"));
    later.put(SIBLING, &healthy("changed since"));
    later.remove(CONFIG);
    launch(&later, &sim_paths()).unwrap();
    assert_eq!(text(&live(&later), "mark").as_deref(), Some("changed since"));

    let earlier = with_config(&healthy("copied"));
    earlier.put(SIBLING, &healthy("lay there before"));
    launch(&earlier, &sim_paths()).unwrap();
    earlier.remove(CONFIG);
    launch(&earlier, &sim_paths()).unwrap();
    assert_eq!(text(&live(&earlier), "mark").as_deref(), Some("copied"));
}

#[test]
fn paths_into_the_old_location_follow_moved_files() {
    let in_home = |path: &str| spelled(&format!("{HOME}/.myownllm/{path}"));
    let network = |id: &str| {
        json!({"id": id, "network_id": id,
        "roster_path": in_home(&format!("mesh/rosters/{id}.json"))})
    };
    let leaked = json!({"version": 3, "identity_path": in_home(".secrets/identity.json"),
        "daemon": {"enabled": true},
        "networks": [network("home"), network("work")]});
    let disk = with_config(leaked.to_string().as_bytes());
    disk.put("/home/u/.myownllm/.myownmesh/.secrets/identity.json", b"{}");
    disk.put("/home/u/.myownllm/.myownmesh/mesh/rosters/home.json", b"{}");
    let (loaded, _) = launch(&disk, &sim_paths()).unwrap();
    let half = disk.content(DAEMON_CONFIG).unwrap();
    assert_eq!(text(&half, "identity_path"), Some(in_home(".myownmesh/.secrets/identity.json")));
    let now = Document::parse(&live(&disk)).unwrap().document;
    let roster = |n: &str| {
        now.get(&["cloud_mesh", "networks", n, "daemon_settings", "roster_path"])
            .unwrap()
            .as_str()
            .unwrap()
            .into_owned()
    };
    assert_eq!(roster("0"), in_home(".myownmesh/mesh/rosters/home.json"));
    assert_eq!(roster("1"), in_home("mesh/rosters/work.json"), "its file is not at the new place");
    assert_eq!(loaded.report.rebased.len(), 3);
    assert!(loaded.diagnostics.iter().any(|d| d.code == "store.path-not-rebased"));
}

#[rstest]
#[case::config_to_the_daemons(CONFIG, DAEMON_CONFIG)]
#[case::config_of_the_daemon_to_the_apps(DAEMON_CONFIG, CONFIG)]
#[case::into_the_daemon_home(CONFIG, sim_path!("/home/u/.myownllm/.myownmesh/app.json"))]
fn configs_that_a_symlink_makes_one_file_are_not_written(
    #[case] link: &str,
    #[case] target: &str,
    #[values(LEAKED_V3, &healthy("before"))] content: &[u8],
) {
    let disk = home();
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(target, content);
    disk.put_link(link, target);
    let before = disk.tree();
    let mut errors = vec![set_mark(&disk, "after").map(drop)];
    if load(&disk).unwrap().pending.repairs() {
        // The config needs a repair before it can be edited.
        errors = vec![launch(&disk, &sim_paths()).map(drop)];
    }
    for error in errors.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.code(), "store.shared", "{link}: {error}");
        assert_eq!(error.hint().unwrap(), replaces_link(link));
    }
    assert_eq!(disk.tree(), before, "{link}");
    // Does the same as the hint.
    disk.remove(link);
    disk.put(link, content);
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "after").unwrap();
    if target != CONFIG {
        assert_eq!(disk.content(target).unwrap(), content, "{link}: the other one is as it was");
    }
}

/// The first write separates two hard links of one file.
#[test]
fn configs_that_are_hard_links_of_one_file_are_separated() {
    let disk = home();
    disk.put_dir(DAEMON_HOME, 0o700);
    disk.put(CONFIG, LEAKED_V3);
    disk.put_hard_link(CONFIG, DAEMON_CONFIG);
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(disk.content(DAEMON_CONFIG).unwrap(), LEAKED_V3);
    assert!(load(&disk).unwrap().pending.is_empty());
}

/// A repair ran before the move. At the next start the paths follow, if the file is at the new
/// location and no longer at the old one.
#[test]
fn rosters_that_have_moved_since_the_repair_are_followed() {
    let in_home = |path: &str| spelled(&format!("{HOME}/.myownllm/{path}"));
    let (old, new) = (in_home("mesh/rosters/home.json"), in_home(".myownmesh/mesh/rosters/home.json"));
    let leaked = json!({"version": 3, "daemon": {"enabled": true},
        "networks": [{"id": "a", "network_id": "home", "roster_path": old}]});
    let disk = with_config(leaked.to_string().as_bytes());
    disk.put(&old, b"{}");
    launch(&disk, &sim_paths()).unwrap();
    let says = || {
        let now = Document::parse(&live(&disk)).unwrap().document;
        let path = now.get(&["cloud_mesh", "networks", "0", "daemon_settings", "roster_path"]).unwrap();
        path.as_str().unwrap().into_owned()
    };
    let unchanged = |why: &str| {
        let before = live(&disk);
        launch(&disk, &sim_paths()).unwrap();
        assert_eq!(live(&disk), before, "{why}");
    };
    assert_eq!(says(), old);
    unchanged("it has not moved");
    disk.put(&new, b"{}");
    unchanged("it is in both places, and nobody has chosen");
    disk.remove(&old);
    let before = live(&disk);
    let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
    assert_eq!((loaded.report.rebased.len(), says()), (1, new));
    assert!(applied.is_some() && backups(&disk).iter().any(|(_, bytes)| *bytes == before));
    unchanged("it is done");
}

#[test]
fn routine_backups_are_bounded_and_the_newest_stays() {
    let disk = home();
    let clock = FakeClock::default();
    let limits = Limits { good_count: 3, good_bytes: 1 << 20, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    for i in 0..20 {
        disk.put(CONFIG, &healthy(&i.to_string()));
        launch_with(&store).unwrap();
        let good = of_kind(&disk, "good");
        assert!(good.len() <= 3);
        assert_eq!(good.last().unwrap().1, healthy(&i.to_string()), "the newest is the last good one");
    }
    let marks: Vec<_> = of_kind(&disk, "good").iter().map(|(_, b)| text(b, "mark").unwrap()).collect();
    assert_eq!(marks, ["17", "18", "19"], "the oldest went first");

    let one = Limits { good_count: 0, good_bytes: 0, ..limits };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(one);
    disk.put(CONFIG, &healthy("last"));
    launch_with(&store).unwrap();
    let good = of_kind(&disk, "good");
    assert_eq!(good.len(), 1, "the last good one stays, whatever the bounds say");
    assert_eq!(text(&good[0].1, "mark").as_deref(), Some("last"));
}

#[test]
fn alternating_edits_do_not_use_up_the_routine_backups() {
    let disk = seen_healthy(&healthy("treasure"));
    let (clock, mut seen) = (FakeClock::default(), Vec::new());
    for i in 0..100 {
        disk.put(CONFIG, &healthy(["a", "b"][i % 2]));
        launch(&disk, &sim_paths()).unwrap();
        let newest = of_kind(&disk, "good").last().unwrap().0.clone();
        seen.push(newest.strip_suffix(".json").unwrap().to_owned());
    }
    // An id that was removed stands for a later backup of its content.
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    for id in &seen {
        assert_eq!(store.find_backup(id).unwrap().hash(), id.rsplit('-').next().unwrap());
    }
    assert_eq!(store.find_backup(&seen[99]).unwrap().to_string(), seen[99]);
    assert!(of_kind(&disk, "good").iter().any(|(_, b)| text(b, "mark").as_deref() == Some("treasure")));
    assert!(of_kind(&disk, "good").len() <= 20);
}

/// The user puts an old config back by hand and edits it: its old backup would be the next to be
/// removed.
#[test]
fn replaced_config_becomes_a_backup_even_if_an_old_backup_holds_it() {
    let old = healthy("of old");
    let full = seen_healthy(&old);
    for i in 0..19 {
        set_mark(&full, &i.to_string()).unwrap();
    }
    let good = of_kind(&full, "good");
    assert_eq!((good.len(), &good[0].1), (20, &old), "the scene is not what it says");

    let disk = full.clone();
    disk.put(CONFIG, &old);
    set_mark(&disk, "edited").unwrap();
    assert!(is_kept(&disk, &old));
    for i in 0..18 {
        set_mark(&disk, &format!("then {i}")).unwrap();
    }
    assert!(is_kept(&disk, &old), "it goes when its turn comes, and not before");

    // The same holds for the file that a killed run displaced.
    let disk = full;
    disk.put("/home/u/.myownllm/.durable-fs.1-1.swap", &old);
    set_mark(&disk, "edited").unwrap();
    assert!(is_kept(&disk, &old));
}

#[test]
fn a_clock_that_goes_backwards_does_not_change_the_order() {
    // The simulated disk gives later and later times to its files. The order must come from the
    // names alone, so two backups get names and times that disagree.
    let disk = seen_healthy(&healthy("old"));
    disk.put(CONFIG, &healthy("new"));
    launch(&disk, &sim_paths()).unwrap();
    let good = of_kind(&disk, "good");
    disk.put(format!("{BACKUPS}/{}", good[0].0), &good[0].1); // written again: it has the later time now
    disk.put(CONFIG, b"");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("new"));
}

#[test]
fn kept_backups_are_never_evicted_and_a_repair_fails_at_the_limit() {
    let disk = home();
    let clock = FakeClock::default();
    let limits = Limits { kept_count: 3, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let bad = |i: usize| format!("{{ torn {i}").into_bytes();
    for i in 0..3 {
        disk.put(CONFIG, &bad(i));
        launch_with(&store).unwrap();
    }
    disk.put(CONFIG, &bad(3));
    let foreseen = || store.load(&mut ids()).unwrap().full_error(&sim_paths().backups);
    assert_eq!(foreseen().unwrap().code(), "store.backups-full");
    let error = launch_with(&store).unwrap_err();
    assert_eq!(error.code(), "store.backups-full");
    assert!(error.hint().unwrap().contains("config-backups"));
    assert_eq!(live(&disk), bad(3), "it is not replaced without a copy");
    for i in 0..3 {
        assert!(is_kept(&disk, &bad(i)));
    }
    // A backup that exists already needs no more room.
    disk.put(CONFIG, &bad(1));
    assert!(foreseen().is_none());
    launch_with(&store).unwrap();
    // The app has a config to run on in any case.
    disk.put(CONFIG, &bad(4));
    assert!(store.load(&mut ids()).unwrap().document.get(&["providers"]).is_some());

    let by_size = Limits { kept_bytes: 30, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(by_size);
    assert_eq!(launch_with(&store).unwrap_err().code(), "store.backups-full");
}

#[test]
fn thousand_starts_with_alternating_corruption_add_two_backups() {
    let disk = seen_healthy(&healthy("good"));
    for i in 0..1000 {
        disk.put(CONFIG, if i % 2 == 0 { b"" } else { b"{\"torn" });
        launch(&disk, &sim_paths()).unwrap();
    }
    assert_eq!(of_kind(&disk, "kept").len(), 2);
    assert_eq!(of_kind(&disk, "good").len(), 1);
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
}

#[test]
fn a_planted_name_does_not_use_up_the_numbers() {
    let disk = seen_healthy(&healthy("one"));
    let hash = "0".repeat(32);
    disk.put(format!("{BACKUPS}/good-18446744073709551615-{hash}.json"), b"{}");
    disk.put(format!("{BACKUPS}/good-1000000000000-{hash}.json"), b"{}");
    disk.put(format!("{BACKUPS}/notes.txt"), b"mine");
    disk.put(CONFIG, &healthy("two"));
    launch(&disk, &sim_paths()).unwrap();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
    disk.put(CONFIG, b"");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("two"));
    assert_eq!(disk.content(format!("{BACKUPS}/notes.txt")).unwrap(), b"mine");

    // A name with the last possible number does not count without the bytes of its hash.
    let disk = seen_healthy(&healthy("one"));
    let planted = format!("{BACKUPS}/good-999999999999-{hash}.json");
    disk.put(&planted, b"{}");
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
    disk.put(CONFIG, b"{\"torn");
    launch(&disk, &sim_paths()).unwrap();
    assert!(is_kept(&disk, b"{\"torn"));
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("one"));
    assert_eq!(disk.content(&planted).as_deref(), Some(&b"{}"[..]), "what is not ours is not removed");

    // With these bytes the file is a backup, and counts as an old one: saving cannot reach its
    // number, and new backups still get numbers.
    for number in ["999999999999", "998999999999", "1500000000"] {
        let far = healthy("far");
        let planted = format!("good-{number}-{}.json", hash_of(&far));
        for near in [true, false] {
            let disk = if near { seen_healthy(&healthy("one")) } else { with_config(&healthy("one")) };
            disk.put_dir(BACKUPS, 0o700);
            disk.put(format!("{BACKUPS}/{planted}"), &far);
            set_mark(&disk, "two").unwrap();
            assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
            disk.put(CONFIG, b"{\"torn");
            launch(&disk, &sim_paths()).unwrap();
            assert_eq!(text(&live(&disk), "mark").as_deref(), Some("two"));
            let expected = ["good-00000001", "good-00000002", "kept-00000003"];
            let names = backup_names(&disk);
            for (name, begin) in names.iter().filter(|name| **name != planted).zip(expected) {
                assert!(name.starts_with(begin), "{names:?}");
            }
            assert_eq!(names.len(), 4);
        }
    }
}

#[rstest]
#[case::of_a_good_config(&healthy("one"), "good")]
#[case::of_a_kept_config(&healthy("one"), "kept")]
#[case::of_a_leaked_config(LEAKED_V3, "kept")]
fn symlink_to_a_backup_is_not_written_and_the_backup_does_not_count(
    #[case] bytes: &[u8],
    #[case] kind: &str,
) {
    let disk = home();
    disk.put_dir(BACKUPS, 0o700);
    let backup = format!("{BACKUPS}/{kind}-00000001-{}.json", hash_of(bytes));
    disk.put(&backup, bytes);
    disk.put_link(CONFIG, backup.strip_prefix(sim_path!("/home/u/.myownllm/")).unwrap());
    let refused = [launch(&disk, &sim_paths()).map(drop), set_mark(&disk, "x").map(drop)];
    let leaked = bytes == LEAKED_V3;
    assert_eq!(refused[0].is_err(), leaked, "a repair is refused, and a copy of its own is made");
    assert!(refused[1].is_err());
    for error in refused.into_iter().filter_map(Result::err).filter(|e| e.code() != "store.repair-pending") {
        assert_eq!(error.code(), "store.config-is-a-copy");
        assert_eq!(error.hint().unwrap(), replaces_link(CONFIG));
    }
    assert_eq!(disk.content(&backup).unwrap(), bytes);
    assert_eq!(disk.content(DAEMON_CONFIG), None, "nothing of a repair is made");
    assert_eq!(load(&disk).unwrap().shape, if leaked { FileShape::Daemon } else { FileShape::App });
    // A program that writes through the symlink changes that backup. The content is not lost,
    // because another backup holds it.
    disk.put(&backup, b"{}");
    assert!(leaked || backups(&disk).iter().any(|(_, kept)| *kept == bytes));
    // Eviction does not remove the file that the config leads to.
    disk.put(&backup, bytes);
    for i in 0..30 {
        let id = format!("{BACKUPS}/good-{:08}-{}.json", i + 10, hash_of(&healthy(&i.to_string())));
        disk.put(id, &healthy(&i.to_string()));
    }
    let _ = launch(&disk, &sim_paths());
    assert_eq!(disk.content(&backup).unwrap(), bytes);
}

/// A deduplication tool makes config and backup two hard links of one file; then an editor writes
/// into the file.
#[test]
fn backup_that_is_a_hard_link_of_the_config_does_not_count() {
    let disk = seen_healthy(&healthy("one"));
    let backup = format!("{BACKUPS}/{}", of_kind(&disk, "good")[0].0);
    disk.remove(&backup);
    disk.put_hard_link(CONFIG, &backup);
    launch(&disk, &sim_paths()).unwrap();
    let alone =
        |disk: &SimDisk, name: &str| disk.stat(format!("{BACKUPS}/{name}").as_ref()).unwrap().links == 1;
    assert!(
        of_kind(&disk, "good").iter().any(|(name, bytes)| *bytes == healthy("one") && alone(&disk, name))
    );
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none(), "and that is enough");

    // A backup that is a hard link of any other file does not count either.
    let disk = seen_healthy(&healthy("one"));
    let backup = format!("{BACKUPS}/{}", of_kind(&disk, "good")[0].0);
    disk.put_hard_link(&backup, "/home/u/elsewhere");
    launch(&disk, &sim_paths()).unwrap();
    assert!(
        of_kind(&disk, "good").iter().any(|(name, bytes)| *bytes == healthy("one") && alone(&disk, name))
    );

    // The same holds for the bytes that are about to be replaced.
    let disk = with_config(LEAKED_V3);
    disk.put_dir(BACKUPS, 0o700);
    let backup = format!("{BACKUPS}/kept-00000001-{}.json", hash_of(LEAKED_V3));
    disk.put_hard_link(CONFIG, &backup);
    disk.put_hard_link(CONFIG, "/home/u/elsewhere");
    launch(&disk, &sim_paths()).unwrap();
    assert_eq!(of_kind(&disk, "kept").len(), 2);
}

#[test]
fn an_update_that_changes_nothing_writes_nothing() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let edits: [&mut dyn FnMut(&mut Document) -> bool; 3] =
        [&mut |_| false, &mut |_| true, &mut |doc| doc.set(&["mark"], serde_json::json!("x")).is_changed()];
    for edit in edits {
        let updated = locked(&store).update(&mut ids(), &mut |doc| Ok(edit(doc))).unwrap();
        assert!(!updated.changed);
    }
    // A killed run may have written the config that this update finds, so the update syncs it.
    let home = spelled(sim_path!("/home/u/.myownllm"));
    let synced = [format!("SyncFile {}", spelled(CONFIG)), format!("SyncDir {home}")];
    assert_eq!(changes(&disk), [synced.clone(), synced.clone(), synced].concat());
}

#[rstest]
#[case::in_the_home("/home/u/.myownllm")]
#[case::among_the_backups(BACKUPS)]
fn update_that_changes_nothing_clears_leftovers_of_a_killed_run(#[case] dir: &str) {
    let disk = seen_healthy(&healthy("x"));
    let left = format!("{dir}/.durable-fs.1-0.part");
    disk.put(&left, &healthy("x"));
    assert!(!set_mark(&disk, "x").unwrap().changed);
    assert_eq!(disk.content(&left), None);
    for state in disk.crash_states(8, 1) {
        assert_eq!(state.content(&left), None, "it is back after a power cut");
    }
}

/// A temporary file may hold the only copy of what belongs to the daemon.
#[rstest]
#[case::key(b"{\"version\": 1, \"secret_key\": \"aa\", \"public_key\": \"bb\"}")]
#[case::cut_key(b"{\"version\": 1, \"secret_key\": \"a")]
#[case::roster(b"{\"network_id\": \"n\", \"authorized_devices\": []}")]
#[case::state(b"{\"network_id\": \"n\", \"seq\": 3}")]
fn a_temporary_with_a_key_a_roster_or_a_state_stays(
    #[case] content: &[u8],
    #[values("/home/u/.myownllm", BACKUPS, "/home/u/.myownllm/.myownmesh")] dir: &str,
) {
    let disk = with_config(&healthy("x"));
    let left = format!("{dir}/.durable-fs.1-0.part");
    disk.put(&left, content);
    launch(&disk, &sim_paths()).unwrap();
    set_mark(&disk, "y").unwrap();
    assert_eq!(disk.content(&left).as_deref(), Some(content), "{left}");
    assert_eq!(load(&disk).unwrap().pending.steps, [], "{left}");
}

#[test]
fn update_keeps_the_previous_and_the_new_config() {
    let disk = with_config(&healthy("never launched"));
    let updated = set_mark(&disk, "new").unwrap();
    assert!(updated.changed);
    assert_eq!(updated.document.to_bytes(), live(&disk));
    assert!(is_kept(&disk, &healthy("never launched")));
    assert_eq!(of_kind(&disk, "good").last().unwrap().1, live(&disk), "our own save, read back");
    disk.reset_ops();
    assert!(launch(&disk, &sim_paths()).unwrap().1.is_none());
}

#[test]
fn an_update_completes_a_config_and_makes_a_missing_one() {
    let disk = with_config(b"{\"active_family\":\"mine\"}");
    set_mark(&disk, "new").unwrap();
    assert_eq!(load(&disk).unwrap().pending.steps, []);
    assert!(of_kind(&disk, "kept").iter().any(|(_, b)| b == b"{\"active_family\":\"mine\"}"));
    let disk = home();
    set_mark(&disk, "new").unwrap();
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("new"));
    assert!(load(&disk).unwrap().pending.is_empty());
}

#[test]
fn an_update_whose_edit_fails_leaves_everything() {
    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let error = locked(&store)
        .update(&mut ids(), &mut |doc| {
            doc.set(&["mark"], serde_json::json!("half done"));
            Err("no such network".into())
        })
        .unwrap_err();
    assert_eq!(error.code(), "store.edit");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "no such network");
    assert_eq!(changes(&disk), Vec::<String>::new());
}

#[rstest]
#[case::leaked(LEAKED_V3)]
#[case::torn(b"{\"torn")]
#[case::empty(b"")]
fn a_config_that_needs_a_repair_is_not_edited(#[case] bytes: &[u8]) {
    let disk = with_config(bytes);
    let error = set_mark(&disk, "x").unwrap_err();
    assert_eq!(error.code(), "store.repair-pending");
    assert_eq!(error.hint().as_deref(), Some("myownllm-mesh repair"));
    assert_eq!(live(&disk), bytes);
    assert_eq!(changes(&disk), Vec::<String>::new());
}

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
    let base = with_config(LEAKED_V3);
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

/// A run that is killed before its exchange leaves a file that never was a config, with other
/// generated ids each time.
#[test]
fn loop_of_killed_repairs_with_new_ids_adds_at_most_one_backup() {
    let mut base = Document::parse(&healthy("before")).unwrap().document;
    base.set(&["cloud_mesh", "networks"], serde_json::json!([{"id": "", "network_id": "home"}]));
    let base = with_config(&base.to_bytes());
    let run = |disk: &SimDisk, seed| {
        let clock = FakeClock::default();
        let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
        let _ = locked(&store).apply(&mut SeededIds::new(1_700_000_000_000, seed));
    };
    let counted = base.clone();
    run(&counted, 0);
    let exchanged = counted.ops().iter().position(|op| op.op == Op::Exchange).unwrap();
    assert!(load(&counted).unwrap().pending.is_empty());
    // The first operation takes the lock.
    for n in 1..counted.ops().len() {
        let mut disk = base.clone();
        for seed in 1..9 {
            disk.reset_ops();
            disk.crash_at(n);
            run(&disk, seed);
            disk = disk.after_kill();
        }
        assert!(of_kind(&disk, "kept").len() <= 1, "killed at {n}, the exchange is {exchanged}: {disk:?}");
        launch(&disk, &sim_paths()).unwrap();
        assert!(of_kind(&disk, "kept").len() <= 1, "killed at {n}");
    }
}

/// A backup, or a file that a daemon moved aside, is no source if it is larger than any config.
#[test]
fn file_larger_than_the_limit_is_no_source() {
    let long = healthy(&"long".repeat(1000));
    for path in [SIBLING.to_owned(), format!("{BACKUPS}/good-00000009-{}.json", hash_of(&long))] {
        let disk = with_config(b"{\"torn");
        disk.put(&path, &long);
        let clock = FakeClock::default();
        let limits = Limits { config_bytes: long.len() as u64 - 1, ..Limits::default() };
        let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
        launch_with(&store).unwrap();
        assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("gemma4"), "{path}");
        assert!(is_kept(&disk, b"{\"torn"));
    }
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
fn locked_store_holds_the_lock_of_its_own_home() {
    let disk = seen_healthy(&healthy("x"));
    disk.put_dir("/home/v/.myownllm", 0o700);
    disk.put_link("/home/link", "u");
    let is_free = |home: &str| disk.lock(home.as_ref(), Duration::ZERO).is_ok();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA);
    let held = locked(&store);
    assert_eq!(held.home_lock().path(), Path::new(sim_path!("/home/u/.myownllm")));
    assert!(!is_free("/home/u/.myownllm") && is_free("/home/v/.myownllm"));
    // Another path to the same home counts as the same home.
    assert!(!is_free("/home/link/.myownllm"));
    assert!(store.lock(Duration::ZERO).is_err());
    drop(held);
    assert!(is_free("/home/u/.myownllm"));
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
    disk.put(CONFIG, LEAKED_V3);
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
    let leaked = [LEAKED_V3, tail].concat();
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

fn told<'a>(loaded: &'a Loaded, code: &str) -> &'a myownllm_config_model::Diagnostic {
    let found = loaded.diagnostics.iter().find(|d| d.code == code);
    found.unwrap_or_else(|| panic!("no {code}: {:?}", loaded.diagnostics))
}

/// Launches on a file that is not JSON. Asserts that the file is kept byte for byte, and that the
/// next launch changes nothing.
fn launch_on_no_json(disk: &SimDisk, bytes: &[u8]) -> Loaded {
    launch_and_tell(disk, bytes).0
}

/// Does the same as [`launch_on_no_json`], and also returns the command that restores the file's
/// own settings.
fn launch_and_tell(disk: &SimDisk, bytes: &[u8]) -> (Loaded, Option<String>) {
    disk.put(CONFIG, bytes);
    let (loaded, applied) = launch(disk, &sim_paths()).unwrap();
    assert!(of_kind(disk, "kept").iter().any(|(_, kept)| kept == bytes), "the file is not kept");
    assert!(loaded.pending.repairs());
    assert_eq!(loaded.document.to_bytes(), live(disk));
    let codes =
        |found: &[myownllm_config_model::Diagnostic]| found.iter().map(|d| d.code).collect::<Vec<_>>();
    let said = applied.unwrap().diagnostics;
    assert_eq!(codes(&said), codes(&loaded.diagnostics));
    assert!(told(&loaded, "store.corrupt").place.is_some());
    assert!(launch(disk, &sim_paths()).unwrap().1.is_none());
    // Before the repair there is no backup that the command could name.
    let of_offer = |found: &[myownllm_config_model::Diagnostic]| {
        found.iter().find(|d| d.code == "store.recoverable").and_then(|offer| offer.hint.clone())
    };
    assert_eq!(of_offer(&loaded.diagnostics), None);
    (loaded, of_offer(&said))
}

/// Restores the backup that a hint names, twice.
fn run_hint(disk: &SimDisk, hint: &str) -> Result<Vec<u8>, StoreError> {
    let name = hint.strip_prefix("myownllm-mesh config restore ").unwrap();
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, sim_paths(), &*SCHEMA);
    let id = store.find_backup(name)?;
    locked(&store).restore(&mut ids(), &id)?;
    let restored = live(disk);
    assert!(!locked(&store).restore(&mut ids(), &id)?.changed);
    assert_eq!(live(disk), restored);
    Ok(restored)
}

#[rstest]
#[case::a_tail(b"\n  \"stale\": true\n}\n", "bytes behind it")]
#[case::a_brace(b"}", "1 byte behind it")]
#[case::zeros(b"\0\0\0\0", "4 bytes behind it")]
#[case::another_document(b"{\"active_family\": \"old\"}", "bytes behind it")]
fn complete_config_with_a_foreign_tail_is_that_config(
    #[case] tail: &[u8],
    #[case] said: &str,
    #[values(true, false)] seen: bool,
) {
    let disk = if seen { seen_healthy(&healthy("good")) } else { home() };
    let newer = healthy("newer");
    let loaded = launch_on_no_json(&disk, &[newer.trim_ascii_end(), tail].concat());
    assert_eq!(live(&disk), newer.trim_ascii_end());
    assert_eq!(loaded.report.restored_from, None);
    assert!(loaded.report.kept_keys.iter().any(|key| key == "mark"));
    assert!(told(&loaded, "store.recovered").message.contains(said), "{:?}", loaded.diagnostics);
    assert!(loaded.diagnostics.iter().all(|d| d.code != "store.defaults"));
}

#[rstest]
#[case::of_0_1_2(LEAKED_V1)]
#[case::of_0_3_8(LEAKED_V3)]
fn daemons_config_with_an_old_tail_is_repaired(#[case] leaked: &[u8]) {
    let tail = b"   \"providers\": []\n}";
    let disk = seen_healthy(&healthy("good"));
    let loaded = launch_on_no_json(&disk, &[leaked, tail].concat());
    assert_eq!(loaded.shape, FileShape::Daemon);
    assert!(!loaded.report.recovered_networks.is_empty());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(disk.content(DAEMON_CONFIG).is_some());
    told(&loaded, "store.recovered");
}

#[test]
fn daemons_config_that_breaks_off_gives_its_complete_networks() {
    let leaked = std::str::from_utf8(LEAKED_V1).unwrap();
    let networks = Document::parse(LEAKED_V1).unwrap().document;
    let ids: Vec<String> = networks
        .get(&["networks"])
        .unwrap()
        .items()
        .map(|n| n.get("network_id").unwrap().as_str().unwrap().into_owned())
        .collect();
    assert!(ids.len() > 1, "the scene is not what it says");
    let last = leaked.rfind(&ids[ids.len() - 1]).unwrap();
    let disk = seen_healthy(&healthy("good"));
    let loaded = launch_on_no_json(&disk, &leaked.as_bytes()[..last + 4]);
    assert_eq!(loaded.report.recovered_networks, ids[..ids.len() - 1]);
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("good"));
    assert!(told(&loaded, "store.recovered").message.contains("breaks off"));
}

#[test]
fn torn_config_gives_its_complete_members_without_a_backup() {
    let text_of = String::from_utf8(APP.to_vec()).unwrap();
    let at = text_of.find("\"api\"").unwrap();
    let disk = home();
    let loaded = launch_on_no_json(&disk, &text_of.as_bytes()[..at + 20]);
    assert_eq!(text(&live(&disk), "active_family").as_deref(), Some("qwen3"));
    assert!(loaded.report.kept_keys.iter().any(|key| key == "active_family"));
    assert!(loaded.report.reset_keys.iter().any(|key| key == "providers"));
    assert!(!loaded.report.reset_keys.iter().any(|key| key == "active_family"));
    let recovered = told(&loaded, "store.recovered");
    assert!(recovered.message.contains("active_family"), "{recovered:?}");
    assert!(loaded.diagnostics.iter().all(|d| d.code != "store.defaults"));
}

#[test]
fn torn_config_is_restored_from_the_backup_and_its_members_are_offered() {
    let disk = seen_healthy(&healthy("good"));
    let newer = String::from_utf8(healthy("newer")).unwrap().replace("qwen3\"", "llama\"");
    let at = newer.find("\"providers\"").unwrap();
    let torn = &newer.as_bytes()[..at];
    let (loaded, hint) = launch_and_tell(&disk, torn);
    assert_eq!(live(&disk), healthy("good"));
    let offer = told(&loaded, "store.recoverable");
    assert!(offer.message.contains("breaks off") && offer.message.contains("active_family"), "{offer:?}");
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().any(|entry| entry.recoverable && entry.shape == FileShape::Corrupt));
    let restored = run_hint(&disk, &hint.unwrap()).unwrap();
    assert_eq!(text(&restored, "active_family").as_deref(), Some("llama"), "what is whole is the file's");
    assert_eq!(text(&restored, "mark").as_deref(), Some("good"), "and the rest stays");
    assert_eq!(load(&disk).unwrap().shape, FileShape::App);
    assert!(is_kept(&disk, &healthy("good")) && is_kept(&disk, torn));
}

#[test]
fn members_that_the_restored_backup_has_are_not_offered() {
    let bytes = healthy("good");
    let disk = seen_healthy(&bytes);
    let (loaded, hint) = launch_and_tell(&disk, &bytes[..bytes.len() / 2]);
    assert_eq!((live(&disk), hint), (bytes, None));
    assert!(loaded.diagnostics.iter().all(|found| found.code != "store.recoverable"));
}

#[rstest]
#[case::a_comma("\"qwen3\",", "\"qwen3\"", "insert `,` at line")]
#[case::a_quote("\"qwen3\",", "\"qwen3,", "insert `\"` at line")]
#[case::a_comma_too_many("\"qwen3\",", "\"qwen3\",,", "remove `,` at line")]
fn slip_of_a_hand_edit_is_named_and_its_text_can_be_had(
    #[case] right: &str,
    #[case] wrong: &str,
    #[case] mend: &str,
) {
    let pretty = |mark: &str| {
        let value: serde_json::Value = serde_json::from_slice(&healthy(mark)).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let edited = pretty("edited");
    assert!(edited.contains(right), "the scene is not what it says");
    let typo = edited.replacen(right, wrong, 1);
    let line = 1 + edited[..edited.find(right).unwrap()].matches('\n').count();

    let disk = seen_healthy(&healthy("good"));
    let (loaded, hint) = launch_and_tell(&disk, typo.as_bytes());
    assert_eq!(live(&disk), healthy("good"));
    let offer = told(&loaded, "store.recoverable");
    assert!(offer.message.contains(&format!("{mend} {line}, column")), "{offer:?}");
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().any(|entry| entry.recoverable && entry.shape == FileShape::Corrupt));
    let restored = run_hint(&disk, &hint.unwrap()).unwrap();
    let value = |bytes: &[u8]| serde_json::from_slice::<serde_json::Value>(bytes).unwrap();
    assert_eq!(value(&restored), value(edited.as_bytes()));

    // Without a backup, the corrected text is the only source.
    let disk = home();
    let loaded = launch_on_no_json(&disk, typo.as_bytes());
    assert_eq!(text(&live(&disk), "mark").as_deref(), Some("edited"));
    assert!(told(&loaded, "store.recovered").message.contains(mend));
    assert_eq!(loaded.report.reset_keys, Vec::<String>::new());
}

/// Returns a text of the config `mark` with something else around it.
fn mixed_up(how: &str) -> Vec<u8> {
    let pretty = |mark: &str| {
        let value: serde_json::Value = serde_json::from_slice(&healthy(mark)).unwrap();
        serde_json::to_string_pretty(&value).unwrap()
    };
    let (whole, other) = (pretty("mine"), r#"{"active_family":"other"}"#);
    match how {
        "an empty object before" => format!("{{}}{whole}").into_bytes(),
        "an object before" => format!("{{\"a\":1}}\n{whole}").into_bytes(),
        "a poorer config before" => format!("{other}\n{whole}").into_bytes(),
        "text before" => format!("saved by hand:\n{whole}\nend\n").into_bytes(),
        "a conflict of two documents" => {
            format!("<<<<<<< HEAD\n{other}\n=======\n{whole}\n>>>>>>> theirs\n").into_bytes()
        }
        "a conflict in a document" => whole
            .replacen('{', "{\n<<<<<<< HEAD\n  \"x\": 1,\n=======\n  \"x\": 2,\n>>>>>>> theirs", 1)
            .into_bytes(),
        "no first brace" => whole.replacen('{', "", 1).into_bytes(),
        "a value that is no JSON" => {
            let (before, rest) = whole.split_once("\"model_cleanup_days\": ").unwrap();
            let rest = &rest[rest.find(',').unwrap()..];
            format!("{before}\"model_cleanup_days\": NaN{rest}").into_bytes()
        }
        _ => {
            let units = std::iter::once(0xfeff).chain(whole.encode_utf16());
            let mut bytes: Vec<u8> = units.flat_map(u16::to_le_bytes).collect();
            bytes.truncate(bytes.len() - 7);
            bytes
        }
    }
}

/// Without a backup, the settings that stand in the text come before the defaults.
#[rstest]
fn the_richest_config_in_a_text_is_taken_where_there_is_no_backup(
    #[values(
        "an empty object before",
        "an object before",
        "a poorer config before",
        "text before",
        "a conflict of two documents",
        "a conflict in a document",
        "no first brace",
        "a value that is no JSON",
        "UTF-16 that breaks off"
    )]
    how: &str,
) {
    let disk = home();
    let loaded = launch_on_no_json(&disk, &mixed_up(how));
    let whole = healthy("mine");
    let mut same = Document::parse(&whole).unwrap().document.root().to_value();
    let mut now = Document::parse(&live(&disk)).unwrap().document.root().to_value();
    for value in [&mut same, &mut now] {
        let members = value.as_object_mut().unwrap();
        members.remove("x");
        if how.contains("no JSON") {
            members.remove("model_cleanup_days");
        }
        if how.contains("UTF-16") {
            members.retain(|key, _| loaded.report.kept_keys.contains(key));
            assert!(members.len() > 12, "{members:?}");
        }
    }
    assert_eq!(now, same, "{:?}", loaded.diagnostics);
    told(&loaded, "store.recovered");
}

#[test]
fn config_in_utf16_is_taken() {
    let newer = healthy("newer");
    let units = std::iter::once(0xfeff).chain(std::str::from_utf8(&newer).unwrap().encode_utf16());
    let disk = seen_healthy(&healthy("good"));
    launch_on_no_json(&disk, &units.flat_map(u16::to_le_bytes).collect::<Vec<u8>>());
    assert_eq!(live(&disk), newer);
}

/// The rosters in the daemon home outlive the config that named the networks.
#[test]
fn networks_that_rosters_still_show_are_named() {
    let disk = home();
    disk.put(format!("{DAEMON_HOME}/mesh/rosters/home-mesh.json"), b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/office-mesh.json", b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/office-mesh.json.corrupt", b"{}");
    disk.put("/home/u/.myownllm/mesh/rosters/$(reboot).json", b"{}");
    let lost = |bytes: &[u8]| {
        let disk = disk.clone();
        disk.put(CONFIG, bytes);
        let (loaded, applied) = launch(&disk, &sim_paths()).unwrap();
        // Before the repair no network can be added.
        assert!(loaded.diagnostics.iter().all(|d| d.code != "store.networks-lost" || d.hint.is_none()));
        let said = applied.unwrap().diagnostics;
        said.into_iter().find(|d| d.code == "store.networks-lost").map(|d| (d.message, d.hint.unwrap()))
    };
    let (message, hint) = lost(b"{\"providers\": [{\"na").unwrap();
    assert!(message.ends_with("still there: home-mesh, office-mesh"), "{message}");
    assert_eq!(hint, "myownllm-mesh network add home-mesh && myownllm-mesh network add office-mesh");
    // Recovered networks do not count as lost.
    let saved = b"{\"cloud_mesh\": {\"networks\": [{\"id\": \"a\", \"network_id\": \"Home-Mesh\"}]}, \"x";
    assert!(lost(saved).unwrap().0.ends_with("still there: office-mesh"));
    assert_eq!(lost(&healthy("whole")), None);
}

#[rstest]
#[case::torn(b"{\n\"providers\": [{\"na")]
#[case::zero_bytes(b"\0\0\0")]
fn backup_without_a_complete_member_is_reported_with_a_command_that_shows_it(#[case] torn: &[u8]) {
    let disk = with_config(torn);
    launch(&disk, &sim_paths()).unwrap();
    let listed = Store::new(&disk, &FakeClock::default(), sim_paths(), &*SCHEMA).history().unwrap();
    assert!(listed.iter().all(|entry| !entry.recoverable));
    let id = hash_of(torn);
    let error = run_hint(&disk, &format!("myownllm-mesh config restore {id}")).unwrap_err();
    assert_eq!(error.code(), "store.bad-copy");
    let hint = error.hint().unwrap();
    assert!(hint.starts_with("sed -n ") && hint.contains(&id), "{hint}");
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

#[test]
fn a_plan_can_be_printed() {
    let disk = with_config(LEAKED_V3);
    let loaded = load(&disk).unwrap();
    let json = serde_json::to_value(&loaded.pending).unwrap();
    let steps: Vec<_> = json.as_array().unwrap().iter().map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["keep-former", "publish-daemon-half", "replace-config", "keep-last-good"]);
    assert_eq!(json[2]["path"], spelled(CONFIG));
    let report = serde_json::to_value(&loaded.report).unwrap();
    assert_eq!(report["shape"], "daemon");
    assert_eq!(report["daemon_half"], "written");
    assert!(report["restored_from"].is_null() && report["backup"].is_null());
}

/// The unknown members of a network are nested two levels deeper in the app's config.
#[test]
fn content_that_could_not_be_read_again_is_not_written() {
    let (lists, ends) = ("[".repeat(1020), "]".repeat(1020));
    let deep =
        format!(r#"{{"providers":[],"networks":[{{"id":"a","network_id":"home","x":{lists}{ends}}}]}}"#);
    let disk = with_config(deep.as_bytes());
    let loaded = load(&disk).unwrap();
    assert_eq!(loaded.shape, FileShape::Mixed, "the scene is not what it says");
    let refused = launch(&disk, &sim_paths()).unwrap_err();
    assert_eq!(refused.code(), "store.too-much");
    assert!(refused.to_string().contains("nested"), "{refused}");
    assert_eq!((live(&disk), backups(&disk)), (deep.into_bytes(), Vec::new()), "nothing has changed");
    assert_eq!(disk.content(DAEMON_CONFIG), None);
    assert_eq!(loaded.report.recovered_networks, ["home"], "and it can be run on all the same");

    let disk = seen_healthy(&healthy("x"));
    let clock = FakeClock::default();
    let limits = Limits { config_bytes: live(&disk).len() as u64 + 3, ..Limits::default() };
    let store = Store::new(&disk, &clock, sim_paths(), &*SCHEMA).with_limits(limits);
    let edit = |mark: &str| {
        locked(&store)
            .update(&mut ids(), &mut |doc| Ok(doc.set(&["mark"], serde_json::json!(mark)).is_changed()))
    };
    edit("1234").unwrap();
    let before = disk.tree();
    assert_eq!(edit("12345").unwrap_err().code(), "store.too-much");
    assert_eq!(disk.tree(), before, "nothing has changed");
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
    let told = restore(&*locked(&store), &store).unwrap();
    assert!(
        told.iter().any(|note| note.starts_with("store.set-aside: ") && note.contains(&spelled(&aside))),
        "{told:?}"
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
            let told = restore(&*locked(&store), &store).unwrap();
            assert_eq!(told.iter().any(|note| note.starts_with("store.no-exchange")), !exchanges);
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

#[rstest]
#[case::torn(b"{\"torn")]
#[case::leaked(LEAKED_V1)]
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

/// A container that gets the file alone has such a mount.
#[test]
fn config_that_is_a_mount_point_is_reported_as_one() {
    let disk = seen_healthy(&healthy("x"));
    disk.fail(Fault::always(Op::Exchange, ErrorKind::ResourceBusy));
    let error = set_mark(&disk, "y").unwrap_err();
    assert_eq!((error.code(), error.path()), ("store.mounted", Path::new(CONFIG)));
    assert_eq!(error.hint().unwrap(), format!("findmnt {}", shown(CONFIG)));
    assert_eq!(live(&disk), healthy("x"));
}
