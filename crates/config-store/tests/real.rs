//! The same on a real file system, with real threads.
#![cfg(unix)]
#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test sets its own scene, and plays the programs that know no better"
)]

mod common;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common::{APP, LEAKED_V1, LEAKED_V3, healthy, ids, places};
use myownllm_config_model::Document;
use myownllm_config_store::{
    Applied, ConfigStore, FileShape, Loaded, Places, Store, StoreError, SystemClock,
};
use myownllm_durable_fs::{Disk, RealDisk};

struct Home {
    _dir: tempfile::TempDir,
    user: PathBuf,
    app: PathBuf,
    config: PathBuf,
    places: Places,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let user = dir.path().canonicalize().unwrap();
    let places = places(&user);
    let app = user.join(".myownllm");
    fs::create_dir(&app).unwrap();
    Home { config: app.join("config.json"), app, user, places, _dir: dir }
}

fn launch(places: &Places) -> Result<(Loaded, Option<Applied>), StoreError> {
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, places.clone());
    let loaded = store.look(&mut ids())?;
    if loaded.pending.is_empty() {
        return Ok((loaded, None));
    }
    store.ensure_home()?;
    let lock = RealDisk.lock(&places.app_home, Duration::from_secs(20)).unwrap();
    let applied = store.apply(&lock, &mut ids())?;
    Ok((loaded, Some(applied)))
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn copies(home: &Home) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<_> = fs::read_dir(home.app.join("config-backups"))
        .unwrap()
        .map(|e| e.unwrap())
        .map(|e| (e.file_name().to_string_lossy().into_owned(), fs::read(e.path()).unwrap()))
        .collect();
    all.sort();
    all
}

/// Names, sizes, times: everything that a write would change.
fn fingerprint(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let m = fs::symlink_metadata(&dir).unwrap();
        all.push(format!("{} {} {} {} {}", dir.display(), m.ino(), m.mode(), m.mtime_nsec(), m.ctime_nsec()));
        if m.is_dir() {
            open.extend(fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[test]
fn the_fixture_homes_are_repaired_and_then_left_alone() {
    for (leaked, given) in [(LEAKED_V1, 0o644), (LEAKED_V3, 0o600)] {
        let h = home();
        fs::write(&h.config, leaked).unwrap();
        fs::set_permissions(&h.config, fs::Permissions::from_mode(given)).unwrap();
        let (_, applied) = launch(&h.places).unwrap();
        let report = applied.unwrap().report;
        assert!(!report.recovered_networks.is_empty());
        assert_eq!(mode(&h.config), given);
        assert_eq!(mode(&h.app.join("config-backups")), 0o700);
        assert_eq!(mode(&h.app.join(".myownmesh")), 0o700);
        assert_eq!(mode(&h.app.join(".myownmesh/config.json")), 0o600);
        assert!(copies(&h).iter().any(|(name, bytes)| name.starts_with("kept-") && bytes == leaked));
        for (name, _) in copies(&h) {
            assert_eq!(mode(&h.app.join("config-backups").join(name)), 0o600);
        }
        let before = fingerprint(&h.user);
        assert!(launch(&h.places).unwrap().1.is_none());
        assert_eq!(fingerprint(&h.user), before);
    }
}

#[test]
fn a_pipe_does_not_hang() {
    let h = home();
    assert!(std::process::Command::new("mkfifo").arg(&h.config).status().unwrap().success());
    assert_eq!(launch(&h.places).unwrap_err().code(), "store.not-regular");
    fs::remove_file(&h.config).unwrap();
    symlink("/dev/zero", &h.config).unwrap();
    assert_eq!(launch(&h.places).unwrap_err().code(), "store.not-regular");
    fs::remove_file(&h.config).unwrap();
    symlink("config.json", &h.config).unwrap();
    assert_eq!(launch(&h.places).unwrap_err().code(), "store.unreadable");
}

#[test]
fn a_home_that_is_not_utf8_works() {
    use std::os::unix::ffi::OsStringExt;
    let dir = tempfile::tempdir().unwrap();
    let user = dir.path().canonicalize().unwrap().join(std::ffi::OsString::from_vec(b"\xffhome".to_vec()));
    if fs::create_dir(&user).is_err() {
        return; // a file system that takes UTF-8 alone
    }
    let places = places(&user);
    launch(&places).unwrap();
    fs::write(&places.config, LEAKED_V3).unwrap();
    launch(&places).unwrap();
    assert!(launch(&places).unwrap().1.is_none());
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
        let (loaded, _) = launch(&h.places).unwrap();
        assert_eq!(loaded.shape, FileShape::App);
    });
    assert_eq!(fs::read(&h.config).unwrap(), whole);
    assert!(copies(&h).iter().all(|(name, _)| name.starts_with("good-")));
}

#[test]
fn many_launches_at_once_make_one_repair() {
    for _ in 0..5 {
        let h = home();
        fs::write(&h.config, LEAKED_V3).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| launch(&h.places).unwrap());
            }
        });
        let kept = copies(&h);
        assert_eq!(kept.len(), 2, "{:?}", kept.iter().map(|(n, _)| n).collect::<Vec<_>>());
        assert!(launch(&h.places).unwrap().1.is_none());
        let left = fs::read_dir(&h.app).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
        assert_eq!(left.filter(|n| n.starts_with(".durable-fs")).count(), 0);
    }
}

/// A program that replaces the config atomically, without looking, while we update it. Whatever it writes last is what the
/// config says in the end, alone or with our edit on top; nothing that it wrote is thrown away by us unseen.
#[test]
fn a_program_that_replaces_the_file_meanwhile_loses_nothing() {
    let h = home();
    fs::write(&h.config, healthy("0")).unwrap();
    launch(&h.places).unwrap();
    let round = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let (mut conflicts, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let wrote = scope.spawn(|| {
            let mut n = 0u64;
            while !stop.load(Ordering::SeqCst) {
                n += 1;
                let temp = h.app.join("theirs.tmp");
                fs::write(&temp, healthy(&n.to_string())).unwrap();
                fs::rename(&temp, &h.config).unwrap();
                // Sometimes at once, sometimes after a while that one of our saves takes.
                if !n.is_multiple_of(3) {
                    let now = round.load(Ordering::SeqCst);
                    for _ in 0..(n % 7) * 200 {
                        if round.load(Ordering::SeqCst) != now {
                            break;
                        }
                        std::thread::sleep(Duration::from_micros(10));
                    }
                }
            }
            n
        });
        let clock = SystemClock::default();
        let store = Store::new(&RealDisk, &clock, h.places.clone());
        for i in 0..80 {
            let lock = RealDisk.lock(&h.app, Duration::from_secs(5)).unwrap();
            match store.update(&lock, &mut ids(), &mut |doc| Ok(doc.set(&["ours"], serde_json::json!(i)))) {
                Ok(updated) => conflicts += updated.conflicts,
                Err(StoreError::Conflict { .. }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
            round.fetch_add(1, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
        let last = wrote.join().unwrap();
        let now = Document::parse(&fs::read(&h.config).unwrap()).unwrap().document;
        let mark = now.get(&["mark"]).unwrap().as_str().unwrap().into_owned();
        assert_eq!(mark, last.to_string(), "their last write is lost");
    });
    assert!(conflicts + refused > 0, "the two never met: this showed nothing");
    assert!(launch(&h.places).is_ok());
}

/// One foreign write at a random moment of each update: in the end both are there, or theirs came last.
#[test]
fn one_write_at_any_moment_of_an_update_survives() {
    let h = home();
    fs::write(&h.config, healthy("0")).unwrap();
    launch(&h.places).unwrap();
    let clock = SystemClock::default();
    let store = Store::new(&RealDisk, &clock, h.places.clone());
    let mut met = 0;
    for i in 1..=100u64 {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let temp = h.app.join("theirs.tmp");
                fs::write(&temp, healthy(&i.to_string())).unwrap();
                std::thread::sleep(Duration::from_micros((i * 37) % 4000));
                fs::rename(&temp, &h.config).unwrap();
            });
            let lock = RealDisk.lock(&h.app, Duration::from_secs(5)).unwrap();
            let updated = store
                .update(&lock, &mut ids(), &mut |doc| Ok(doc.set(&["ours"], serde_json::json!(i))))
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
    let store = Store::new(&RealDisk, &clock, h.places.clone());
    store.look(&mut ids()).unwrap();
    store.history().unwrap();
    store.stand_in(&mut ids());
    assert_eq!(fingerprint(&h.user), before);
}
