//! Runs the store on a real file system, with real threads.
//!
//! Scenes of modes and symlinks are for Unix alone, and so are programs that write without a pause:
//! Windows cannot exchange two names, so a write between the last check and the rename is displaced
//! unseen there.
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test sets its own scene, and plays the programs that know no better"
)]

mod common;

use std::fs;
use std::io::Write;
#[cfg(unix)]
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
#[cfg(unix)]
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{APP, OVERWRITTEN_V1, OVERWRITTEN_V3, SCHEMA, healthy, ids, paths};
#[cfg(unix)]
use myownllm_config_model::Document;
use myownllm_config_store::{
    Applied, ConfigStore, FileShape, Loaded, Store, StoreError, StorePaths, SystemClock,
};
use myownllm_durable_fs::{Disk, RealDisk};
use rstest::rstest;

struct Home {
    _dir: tempfile::TempDir,
    user: PathBuf,
    app: PathBuf,
    config: PathBuf,
    paths: StorePaths,
}

fn home() -> Home {
    home_in(tempfile::tempdir().unwrap())
}

fn home_in(dir: tempfile::TempDir) -> Home {
    let user = RealDisk.canonicalize(dir.path()).unwrap();
    let paths = paths(&user);
    let app = user.join(".myownllm");
    fs::create_dir(&app).unwrap();
    Home { config: app.join("config.json"), app, user, paths, _dir: dir }
}

fn launch(paths: &StorePaths) -> Result<(Loaded, Option<Applied>), StoreError> {
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, paths.clone(), &*SCHEMA);
    let loaded = store.load(&mut ids())?;
    if loaded.pending.is_empty() {
        return Ok((loaded, None));
    }
    store.ensure_home()?;
    let applied = store.lock(Duration::from_secs(20)).unwrap().apply(&mut ids())?;
    Ok((loaded, Some(applied)))
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(unix)]
fn has_mode(path: &Path, mode: u32) -> bool {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777 == mode
}

/// Windows has no modes.
#[cfg(windows)]
fn set_mode(_: &Path, _: u32) {}

#[cfg(windows)]
fn has_mode(_: &Path, _: u32) -> bool {
    true
}

fn backups(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(home.app.join("config-backups"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap()))
        .collect();
    all.sort();
    all
}

/// Returns names, sizes and times: everything that a write would change.
fn fingerprint(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let m = fs::symlink_metadata(&dir).unwrap();
        let stamp = format!("{} {:?} {:?}", m.len(), m.modified(), m.permissions());
        #[cfg(unix)]
        let stamp = format!("{stamp} {} {}", m.ino(), m.ctime_nsec());
        all.push(format!("{} {stamp}", dir.display()));
        if m.is_dir() {
            open.extend(fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[rstest]
#[case::of_0_1_2(OVERWRITTEN_V1, 0o644)]
#[case::of_0_3_8(OVERWRITTEN_V3, 0o600)]
fn the_fixture_homes_are_repaired_and_then_left_alone(#[case] leaked: &[u8], #[case] given: u32) {
    let h = home();
    fs::write(&h.config, leaked).unwrap();
    set_mode(&h.config, given);
    let (_, applied) = launch(&h.paths).unwrap();
    let report = applied.unwrap().report;
    assert!(!report.recovered_networks.is_empty());
    assert!(has_mode(&h.config, given));
    assert!(has_mode(&h.app.join("config-backups"), 0o700));
    assert!(has_mode(&h.app.join(".myownmesh"), 0o700));
    assert!(has_mode(&h.app.join(".myownmesh/config.json"), 0o600));
    assert!(backups(&h).iter().any(|(name, bytes)| name.starts_with("kept-") && bytes == leaked));
    for (name, _) in backups(&h) {
        assert!(has_mode(&h.app.join("config-backups").join(name), 0o600));
    }
    let before = fingerprint(&h.user);
    assert!(launch(&h.paths).unwrap().1.is_none());
    assert_eq!(fingerprint(&h.user), before);
}

/// Another program puts another directory in the place of the home while the home is locked.
#[cfg(unix)]
#[test]
fn change_rests_on_the_home_that_is_locked() {
    let home = home();
    fs::write(&home.config, healthy("locked")).unwrap();
    launch(&home.paths).unwrap();
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, home.paths.clone(), &*SCHEMA);
    let locked = store.lock(Duration::ZERO).unwrap();
    let previous = home.user.join("former");
    fs::rename(&home.app, &previous).unwrap();
    fs::create_dir(&home.app).unwrap();
    fs::write(&home.config, healthy("swapped")).unwrap();
    let mut edit = |document: &mut Document| Ok(document.set(&["edited"], true).is_changed());
    locked.update(&mut ids(), &mut edit).unwrap();
    let text = |path: PathBuf| fs::read_to_string(path).unwrap();
    let written = text(previous.join("config.json"));
    assert!(written.contains("edited") && written.contains("locked") && !written.contains("swapped"));
    assert_eq!(text(home.config.clone()).as_bytes(), healthy("swapped"));
    assert_eq!(fs::read_dir(&home.app).unwrap().count(), 1, "nothing is made beside it");
}

#[cfg(unix)]
#[test]
fn a_pipe_does_not_hang() {
    let h = home();
    assert!(std::process::Command::new("mkfifo").arg(&h.config).status().unwrap().success());
    assert_eq!(launch(&h.paths).unwrap_err().code(), "store.not-regular");
    fs::remove_file(&h.config).unwrap();
    symlink("/dev/zero", &h.config).unwrap();
    assert_eq!(launch(&h.paths).unwrap_err().code(), "store.not-regular");
    fs::remove_file(&h.config).unwrap();
    symlink("config.json", &h.config).unwrap();
    assert_eq!(launch(&h.paths).unwrap_err().code(), "store.unreadable");
}

#[test]
fn a_file_written_in_place_is_waited_for() {
    let h = home();
    fs::write(&h.config, b"").unwrap();
    let whole = healthy("slowly");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().write(true).open(&h.config).unwrap();
            for part in whole.chunks(whole.len() / 4 + 1) {
                std::thread::sleep(Duration::from_millis(100));
                file.write_all(part).unwrap();
            }
        });
        let (loaded, _) = launch(&h.paths).unwrap();
        assert_eq!(loaded.shape, FileShape::App);
    });
    assert_eq!(fs::read(&h.config).unwrap(), whole);
    assert!(backups(&h).iter().all(|(name, _)| name.starts_with("good-")));
}

#[test]
fn many_launches_at_once_make_one_repair() {
    for _ in 0..5 {
        let h = home();
        fs::write(&h.config, OVERWRITTEN_V3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| launch(&h.paths).unwrap());
            }
        });
        let kept = backups(&h);
        assert_eq!(kept.len(), 2, "{:?}", kept.iter().map(|(n, _)| n).collect::<Vec<_>>());
        assert!(launch(&h.paths).unwrap().1.is_none());
        let left = fs::read_dir(&h.app).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.filter(|n| n.starts_with(".durable-fs")).count(), 0);
    }
}

/// A program replaces the config atomically, without a look, ten thousand times while the store
/// updates it. After each hundred writes both stop. Then the config holds the program's last write,
/// alone or with the store's edit on top; or the store reported a conflict, and the last write is
/// among the backups. The store loses no write of the program unseen.
#[cfg(unix)]
#[test]
fn ten_thousand_replacements_meanwhile_and_none_is_lost_unseen() {
    const ROUNDS: u64 = 100;
    const WRITES: u64 = 100;
    // Uses a file system in memory if there is one: this test is about the order of the writes, not
    // about syncs.
    let memory = Path::new("/dev/shm");
    let h = if memory.is_dir() { home_in(tempfile::tempdir_in(memory).unwrap()) } else { home() };
    let their_bytes = |round: u64, n: u64| {
        let mut document = Document::parse(APP).unwrap().document;
        document.set(&["mark"], serde_json::json!(round * WRITES + n));
        document.to_bytes()
    };
    fs::write(&h.config, healthy("0")).unwrap();
    launch(&h.paths).unwrap();
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, h.paths.clone(), &*SCHEMA);
    let (mut met, mut on_top) = (0, 0);
    for round in 0..ROUNDS {
        let at_rest = AtomicBool::new(false);
        let mut behind = false;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..WRITES {
                    let temp = h.app.join("theirs.tmp");
                    fs::write(&temp, their_bytes(round, n)).unwrap();
                    fs::rename(&temp, &h.config).unwrap();
                    // Sleeps not at all, or as long as one or several calls of the store take.
                    std::thread::sleep(Duration::from_micros((n * 37 + round * 11) % 7 * 30));
                }
                at_rest.store(true, Ordering::SeqCst);
            });
            let mut ours = 0;
            while !at_rest.load(Ordering::SeqCst) {
                ours += 1;
                let locked = store.lock(Duration::from_secs(5)).unwrap();
                let edit = &mut |doc: &mut Document| {
                    Ok(doc.set(&["ours"], serde_json::json!([round, ours])).is_changed())
                };
                match locked.update(&mut ids(), edit) {
                    Ok(updated) => met += updated.conflicts,
                    Err(StoreError::Conflict { .. }) => behind = true,
                    Err(error) => panic!("{error}"),
                }
            }
        });
        let last = their_bytes(round, WRITES - 1);
        let now = Document::parse(&fs::read(&h.config).unwrap()).unwrap().document;
        let said = now.get(&["mark"]).map(|mark| mark.to_value());
        let is_theirs = said == Some(serde_json::json!(round * WRITES + WRITES - 1));
        let is_kept = || backups(&h).iter().any(|(_, bytes)| *bytes == last);
        assert!(
            is_theirs || (behind && is_kept()),
            "round {round}: their last write is lost, {said:?} is there"
        );
        met += u32::from(behind);
        on_top += u32::from(is_theirs && now.get(&["ours"]).is_some());
    }
    assert!(met > 20 && on_top > 0, "the two hardly met: {met} {on_top}");
    assert!(launch(&h.paths).is_ok());
}

/// Another program writes once, at a random moment of each update. At the end both writes are
/// there, or the other program's came last.
#[cfg(unix)]
#[test]
fn one_write_at_any_moment_of_an_update_survives() {
    let h = home();
    fs::write(&h.config, healthy("0")).unwrap();
    launch(&h.paths).unwrap();
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, h.paths.clone(), &*SCHEMA);
    let mut met = 0;
    for i in 1..=100u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let temp = h.app.join("theirs.tmp");
                fs::write(&temp, healthy(&i.to_string())).unwrap();
                std::thread::sleep(Duration::from_micros((i * 37) % 4000));
                fs::rename(&temp, &h.config).unwrap();
            });
            let locked = store.lock(Duration::from_secs(5)).unwrap();
            let updated = locked
                .update(&mut ids(), &mut |doc| Ok(doc.set(&["ours"], serde_json::json!(i)).is_changed()))
                .unwrap();
            met += updated.conflicts;
        });
        let now = Document::parse(&fs::read(&h.config).unwrap()).unwrap().document;
        assert_eq!(now.get(&["mark"]).unwrap().as_str().unwrap(), i.to_string(), "round {i}");
    }
    assert!(met > 0, "the two never met: this showed nothing");
}

#[test]
fn a_read_only_home_is_looked_at_and_left_alone() {
    let h = home();
    fs::write(&h.config, APP).unwrap();
    let before = fingerprint(&h.user);
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, h.paths.clone(), &*SCHEMA);
    store.load(&mut ids()).unwrap();
    store.history().unwrap();
    store.fallback(&mut ids());
    assert_eq!(fingerprint(&h.user), before);
}

/// A sparse file can have any size without taking room. No sparse file under one of the store's
/// names makes a launch, or a look at the history, fail.
#[test]
fn files_that_claim_to_be_huge_are_passed_over() {
    let h = home();
    fs::write(&h.config, healthy("one")).unwrap();
    launch(&h.paths).unwrap();
    let hash = "ed".repeat(16);
    let backups = h.app.join("config-backups");
    let planted = [
        h.app.join(".durable-fs.1-0.swap"),
        backups.join(".durable-fs.1-1.swap"),
        backups.join(format!("good-00000007-{hash}.json")),
        h.app.join("config.json.corrupt"),
    ];
    for path in &planted {
        let made = fs::File::create(path).and_then(|file| file.set_len(10 << 40));
        if let Err(error) = made {
            eprintln!("skipped: this file system has no room for what takes none ({error})");
            return;
        }
    }
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, h.paths.clone(), &*SCHEMA);
    assert!(store.history().unwrap().iter().any(|backup| !backup.intact && backup.bytes == 10 << 40));
    let notes = launch(&h.paths).unwrap().1.unwrap().diagnostics;
    assert_eq!(
        notes.iter().filter(|note| note.message.contains("stays where it is")).count(),
        2,
        "{notes:?}"
    );
    // A repair does not fail either, although the files might be its sources.
    fs::write(&h.config, b"{\"torn").unwrap();
    launch(&h.paths).unwrap();
    assert_eq!(fs::read(&h.config).unwrap(), healthy("one"));
    // Only a routine backup may be removed.
    for path in [&planted[0], &planted[1], &planted[3]] {
        assert_eq!(fs::metadata(path).unwrap().len(), 10 << 40, "{}", path.display());
    }
}
