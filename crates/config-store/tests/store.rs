//! Loads, repairs, saves and restores on the simulated disk.
#![expect(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

mod common;

mod store {
    mod backups;
    mod conflicts;
    mod defaults;
    mod links;
    mod load;
    mod permissions;
    mod recovery;
    mod repair;
    mod restore;
    mod sources;
    mod update;
}

use std::path::Path;

use common::scenes::home;
use common::{CONFIG, FakeClock, HOME, SCHEMA, backups, ids, kind_of, launch, locked, sim_paths};
use myownllm_config_model::Document;
use myownllm_config_store::{ConfigStore, Loaded, Store, StoreError, Updated};
use myownllm_durable_fs::sim::{Entry, SimDisk};

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

/// Converts line ends, as a sync program does.
fn with_crlf(config: &[u8]) -> Vec<u8> {
    String::from_utf8_lossy(config).replace(',', ",\r\n").into_bytes()
}

fn reported<'a>(loaded: &'a Loaded, code: &str) -> &'a myownllm_config_model::Diagnostic {
    let found = loaded.diagnostics.iter().find(|d| d.code == code);
    found.unwrap_or_else(|| panic!("no {code}: {:?}", loaded.diagnostics))
}
