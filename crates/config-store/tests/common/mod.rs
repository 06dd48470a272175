//! Homes, a clock that does not sleep, and the checks that all tests share.
#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

pub mod scenes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use myownllm_config_model::{Document, SeededIds};
use myownllm_config_store::{
    AppSchema as _, Applied, Clock, ConfigStore, Loaded, LockedStore, MyOwnLlm, Store, StoreError, StorePaths,
};
use myownllm_durable_fs::sim::{Entry, SimDisk};
use myownllm_durable_fs::{Disk, quote, sim_path};
use myownllm_paths::{Env, PathResolver, Resolver};

pub const HOME: &str = sim_path!("/home/u");
pub const CONFIG: &str = sim_path!("/home/u/.myownllm/config.json");
pub const BACKUPS: &str = sim_path!("/home/u/.myownllm/config-backups");
pub const DAEMON_HOME: &str = sim_path!("/home/u/.myownllm/.myownmesh");
pub const DAEMON_CONFIG: &str = sim_path!("/home/u/.myownllm/.myownmesh/config.json");

pub const OVERWRITTEN_V1: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/daemon-0.1.2/home/.myownllm/config.json"
));
pub const OVERWRITTEN_V3: &[u8] = include_bytes!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../tests/fixtures/daemon-0.3.8/home/.myownllm/config.json"
));
pub const APP: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/app-config-before.json"));

/// A clock whose sleep returns at once.
#[derive(Default)]
pub struct FakeClock {
    /// The current time.
    pub now: Mutex<Duration>,
    /// Called at each sleep.
    pub tick: Option<Box<dyn Fn(Duration) + Send + Sync>>,
}

impl Clock for FakeClock {
    fn elapsed(&self) -> Duration {
        *self.now.lock().unwrap()
    }
    fn sleep(&self, time: Duration) {
        let now = {
            let mut now = self.now.lock().unwrap();
            *now += time;
            *now
        };
        if let Some(tick) = &self.tick {
            tick(now);
        }
    }
}

pub static SCHEMA: LazyLock<MyOwnLlm> = LazyLock::new(|| {
    let layout = Resolver::default().resolve(&Env::explicit(HOME)).unwrap();
    MyOwnLlm::new(layout.conversations.as_str())
});

pub fn ids() -> SeededIds {
    SeededIds::new(1_700_000_000_000, 7)
}

pub fn paths(home: &Path) -> StorePaths {
    StorePaths::of(&Resolver::default().resolve(&Env::system(Some(home.into()))).unwrap())
}

pub fn sim_paths() -> StorePaths {
    paths(Path::new(HOME))
}

/// Returns the path as the layout spells it on this platform.
pub fn spelled(path: &str) -> String {
    Path::new(path).components().collect::<PathBuf>().to_str().unwrap().to_owned()
}

/// Returns the path as a hint shows it.
pub fn shown(path: &str) -> String {
    quote(Path::new(&spelled(path)))
}

/// Returns the hint that puts a copy of a symlink's target in the place of the symlink.
pub fn replaces_link(link: &str) -> String {
    let link = shown(link);
    let copy = r#"c=$0.copy-$$ && cp -RLpn "$0" "$c" && rm "$0" && mv -n "$c" "$0""#;
    format!("test -L {link} && sh -c '{copy}' {link}")
}

/// Returns a config of the app's that lacks nothing, with a mark.
pub fn healthy(mark: &str) -> Vec<u8> {
    let mut doc = Document::parse(APP).unwrap().document;
    doc.set(&["mark"], serde_json::json!(mark));
    SCHEMA.complete(&mut doc, &mut ids());
    let bytes = doc.to_bytes();
    let mut again = Document::parse(&bytes).unwrap().document;
    SCHEMA.complete(&mut again, &mut ids());
    assert!(!again.is_modified(), "the scene is not what it says");
    bytes
}

/// Does the same as a launch of the app.
pub fn launch(disk: &dyn Disk, paths: &StorePaths) -> Result<(Loaded, Option<Applied>), StoreError> {
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, paths.clone(), &*SCHEMA);
    launch_with(&store)
}

pub fn launch_with(store: &Store<'_>) -> Result<(Loaded, Option<Applied>), StoreError> {
    let loaded = store.load(&mut ids())?;
    if loaded.pending.is_empty() {
        return Ok((loaded, None));
    }
    store.ensure_home()?;
    let locked = store.lock(Duration::ZERO).map_err(|e| StoreError::Conflict { path: e.home().into() })?;
    let applied = locked.apply(&mut ids())?;
    Ok((loaded, Some(applied)))
}

pub fn locked<'s>(store: &'s Store<'_>) -> Box<dyn LockedStore + 's> {
    store.lock(Duration::ZERO).unwrap()
}

/// Returns the contents of all files on the disk.
pub fn contents(disk: &SimDisk) -> BTreeSet<Vec<u8>> {
    disk.tree()
        .into_values()
        .filter_map(|e| if let Entry::File(bytes, _) = e { Some(bytes) } else { None })
        .collect()
}

pub fn backups(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    disk.tree()
        .into_iter()
        .filter(|(path, _)| path.parent() == Some(Path::new(BACKUPS)))
        .filter_map(|(path, e)| if let Entry::File(bytes, _) = e { Some((path, bytes)) } else { None })
        .collect()
}

pub fn backup_names(disk: &SimDisk) -> Vec<String> {
    backups(disk).into_iter().map(|(p, _)| p.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Returns whether the bytes are in the config or among the backups.
pub fn is_kept(disk: &SimDisk, bytes: &[u8]) -> bool {
    disk.content(CONFIG).as_deref() == Some(bytes) || backups(disk).iter().any(|(_, b)| b == bytes)
}

pub fn changes(disk: &SimDisk) -> Vec<String> {
    disk.ops()
        .iter()
        .filter(|op| op.is_change())
        .map(|op| format!("{:?} {}", op.op, spelled(op.path.to_str().unwrap())))
        .collect()
}

pub fn kind_of(name: &str) -> &str {
    name.split('-').next().unwrap()
}

/// Returns the hash of a content, in the form that the names of backups use.
pub fn hash_of(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().take(16).map(|b| format!("{b:02x}")).collect()
}
