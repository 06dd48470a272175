//! A store for another app: its config has its own schema, and nothing of MyOwnLLM's is ever
//! written.
#![allow(clippy::unwrap_used, reason = "a test stops when its scene cannot be set")]

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{FakeClock, OVERWRITTEN_V3, contents, ids};
use myownllm_config_model::{Document, Ids, app_config};
use myownllm_config_store::{
    Accepted, AppSchema, Applied, BackupId, ConfigStore, DaemonHalf, EditError, FileShape, HistoryEntry,
    Loaded, LockedStore, Misplaced, Rebased, Restored, RestoredSettings, Salvaged, SetAside, Shape, Store,
    StoreError, StorePaths, Updated,
};
use myownllm_durable_fs::sim::SimDisk;
use myownllm_durable_fs::{Disk as _, LockError, LockedDir, sim_path};
use myownllm_paths::{Env, HostApp, Layout, MYOWNLLM, PathResolver, Resolver};
use rstest::rstest;
use serde_json::json;

const APP_HOME: &str = sim_path!("/home/u/.otherapp");
const CONFIG: &str = sim_path!("/home/u/.otherapp/config.json");
const DAEMON_CONFIG: &str = sim_path!("/home/u/.otherapp/mesh-home/config.json");
const OWN: &[u8] = br#"{"theme": "dark", "zoom": 2, "fonts": ["a"], "plan": {"x": 1}, "version": 7}"#;

#[derive(Debug)]
struct OtherApp;

impl AppSchema for OtherApp {
    fn app_name(&self) -> &str {
        "OtherApp"
    }

    fn defaults(&self) -> Document {
        let text = br#"{"theme": "light", "zoom": 1, "fonts": [], "plan": {}, "version": 7}"#;
        Document::parse(text).unwrap().document
    }
}

fn other_app() -> HostApp {
    HostApp::new("OtherApp", "otherapp", ".otherapp", "mesh-home")
}

fn third_app() -> HostApp {
    HostApp::new("ThirdApp", "thirdapp", ".thirdapp", "mesh-home")
}

/// An app whose home has the name of MyOwnLLM's, in another directory.
fn in_vendor_dir() -> HostApp {
    HostApp { app_dir: "vendor/.myownllm".into(), ..other_app() }
}

fn layout_of(app: HostApp) -> Layout {
    Resolver::new(app).resolve(&Env::explicit(common::HOME)).unwrap()
}

fn paths() -> StorePaths {
    StorePaths::of(&layout_of(other_app()))
}

fn disk_with(config: Option<&[u8]>) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir(APP_HOME, 0o700);
    if let Some(bytes) = config {
        disk.put(CONFIG, bytes);
    }
    disk
}

/// Does what a launch does, and checks that no file and no message is another app's.
fn launch(disk: &SimDisk) -> (Loaded, Option<Applied>) {
    let before = contents(disk);
    let clock = FakeClock::default();
    let store = Store::new(disk, &clock, paths(), &OtherApp);
    let loaded = store.load(&mut ids()).unwrap();
    let applied =
        (!loaded.pending.is_empty()).then(|| store.lock(Duration::ZERO).unwrap().apply(&mut ids()).unwrap());
    let mut messages = format!("{:?} {:?}", loaded.diagnostics, loaded.report);
    if let Some(applied) = &applied {
        messages += &format!("{:?} {:?} {:?}", applied.diagnostics, applied.report, applied.steps);
    }
    assert!(!messages.to_lowercase().contains("myownllm"), "{messages}");
    let foreign: Vec<_> =
        app_config::keys().filter(|key| !["auto_update", "auto_cleanup"].contains(&&**key)).collect();
    for bytes in contents(disk).difference(&before) {
        let Ok(parsed) = Document::parse(bytes) else { continue };
        for key in &foreign {
            assert!(parsed.document.get(&[key]).is_none(), "{key} in {}", String::from_utf8_lossy(bytes));
        }
    }
    // A second launch finds nothing to do.
    assert!(store.load(&mut ids()).unwrap().pending.is_empty());
    (loaded, applied)
}

/// A schema that delegates to MyOwnLLM's.
#[derive(Debug)]
struct Delegating;

impl AppSchema for Delegating {
    fn app_name(&self) -> &str {
        "OtherApp"
    }

    fn defaults(&self) -> Document {
        common::SCHEMA.defaults()
    }
}

#[rstest]
#[case::myownllm_for_another_app(other_app(), &*common::SCHEMA)]
#[case::delegating_to_myownllm(other_app(), &Delegating)]
#[case::another_app_for_myownllm(MYOWNLLM, &OtherApp)]
#[case::another_app_for_a_third_one(third_app(), &OtherApp)]
#[case::another_app_with_the_name_of_the_home(in_vendor_dir(), &*common::SCHEMA)]
fn schema_for_the_wrong_app_is_refused(#[case] app: HostApp, #[case] schema: &dyn AppSchema) {
    let layout = layout_of(app);
    let disk = SimDisk::new();
    disk.put_dir(&layout.app_home, 0o700);
    disk.put(&layout.app_config, OWN);
    let before = contents(&disk);
    let clock = FakeClock::default();
    let app = format!("the store has no schema of {}", layout.app.name);
    let store = Store::new(&disk, &clock, StorePaths::of(&layout), schema);
    let is_refused = |error: Option<StoreError>| {
        error.is_some_and(|error| {
            error.code() == "store.no-schema" && error.to_string().ends_with(&app) && error.hint().is_some()
        })
    };
    assert!(is_refused(store.load(&mut ids()).err()));
    assert!(store.schema().is_none() && store.fallback(&mut ids()).pending.is_empty());
    let locked = store.lock(Duration::ZERO).unwrap();
    assert!(is_refused(locked.apply(&mut ids()).err()));
    assert!(is_refused(locked.update(&mut ids(), &mut |_| Ok(true)).err()));
    assert_eq!(contents(&disk), before);
}

#[test]
fn schema_of_an_app_whose_home_has_the_name_of_myownllms_is_its_own() {
    let disk = SimDisk::new();
    let layout = layout_of(in_vendor_dir());
    disk.put_dir(&layout.app_home, 0o700);
    disk.put(&layout.app_config, OWN);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, StorePaths::of(&layout), &OtherApp);
    assert_eq!(store.load(&mut ids()).unwrap().shape, FileShape::App);
    store.lock(Duration::ZERO).unwrap().apply(&mut ids()).unwrap();
}

#[rstest]
#[case::of_the_config(CONFIG, "../.myownllm/config.json")]
#[case::of_the_home(APP_HOME, ".myownllm")]
fn symlink_to_the_config_of_myownllm_is_not_written_through(#[case] link: &str, #[case] target: &str) {
    let disk = SimDisk::new();
    disk.put(sim_path!("/home/u/.myownllm/config.json"), br#"{"active_family": "qwen3"}"#);
    disk.put_link(link, target);
    let before = disk.tree();
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, paths(), &OtherApp);
    let locked = store.lock(Duration::ZERO).unwrap();
    assert_eq!(locked.apply(&mut ids()).unwrap_err().code(), "store.no-schema");
    let error = locked.update(&mut ids(), &mut |config| Ok(config.set(&["theme"], "dark").changed()?));
    assert!(error.is_err());
    assert_eq!(disk.tree(), before);
}

fn config(disk: &SimDisk) -> serde_json::Value {
    serde_json::from_slice(&disk.content(CONFIG).unwrap()).unwrap()
}

#[test]
fn a_config_of_another_app_is_left_as_it_is() {
    let disk = disk_with(Some(OWN));
    let (loaded, _) = launch(&disk);
    assert_eq!((loaded.shape, disk.content(CONFIG).unwrap()), (FileShape::App, OWN.to_vec()));
}

#[rstest]
#[case::missing(None, "light")]
#[case::lacks_some(Some(&br#"{"theme": "dark"}"#[..]), "dark")]
#[case::not_json(Some(&b"\x00\x01"[..]), "light")]
fn a_config_gets_the_defaults_of_its_own_app(#[case] bytes: Option<&[u8]>, #[case] theme: &str) {
    let disk = disk_with(bytes);
    launch(&disk);
    let wanted = json!({"theme": theme, "zoom": 1, "fonts": [], "plan": {}, "version": 7});
    assert_eq!(config(&disk), wanted);
    assert!(bytes.is_none_or(|bytes| contents(&disk).contains(bytes)), "the previous bytes are kept");
}

#[test]
fn a_config_that_a_daemon_overwrote_comes_back_and_the_networks_stay_the_daemons() {
    let disk = disk_with(Some(OWN));
    launch(&disk);
    disk.put(CONFIG, OVERWRITTEN_V3);
    let (loaded, applied) = launch(&disk);
    assert_eq!(loaded.shape, FileShape::Daemon);
    assert_eq!(disk.content(CONFIG).unwrap(), OWN);
    let report = applied.unwrap().report;
    assert_eq!(report.daemon_half, Some(DaemonHalf::Written));
    assert!(report.recovered_networks.is_empty());
    // The app saves no networks, so none may be lost from the daemon's config.
    let daemon: serde_json::Value = serde_json::from_slice(&disk.content(DAEMON_CONFIG).unwrap()).unwrap();
    let before: serde_json::Value = serde_json::from_slice(OVERWRITTEN_V3).unwrap();
    assert!(!before["networks"].as_array().unwrap().is_empty());
    assert_eq!(daemon["networks"], before["networks"]);
}

#[test]
fn a_mixed_config_is_taken_apart() {
    let mut mixed: serde_json::Value = serde_json::from_slice(OVERWRITTEN_V3).unwrap();
    mixed["theme"] = json!("dark");
    let bytes = serde_json::to_vec(&mixed).unwrap();
    let disk = disk_with(Some(&bytes));
    let (loaded, _) = launch(&disk);
    assert_eq!(loaded.shape, FileShape::Mixed);
    let config = config(&disk);
    assert_eq!((&config["theme"], &config["zoom"]), (&json!("dark"), &json!(1)));
    assert!(config.get("networks").is_none() && config.get("daemon").is_none());
    assert!(contents(&disk).contains(&bytes));
}

/// The version of the app's config is not that of the daemon's, and not the newest one either.
#[test]
fn key_of_the_app_that_the_daemon_has_too_comes_from_the_backup() {
    let mut own: serde_json::Value = serde_json::from_slice(OWN).unwrap();
    own["version"] = json!(5);
    let disk = disk_with(Some(&serde_json::to_vec(&own).unwrap()));
    launch(&disk);
    let mut mixed: serde_json::Value = serde_json::from_slice(OVERWRITTEN_V3).unwrap();
    for key in ["theme", "zoom", "fonts", "plan"] {
        mixed[key] = own[key].clone();
    }
    mixed["theme"] = json!("blue");
    disk.put(CONFIG, &serde_json::to_vec(&mixed).unwrap());
    let (loaded, applied) = launch(&disk);
    assert_eq!(loaded.shape, FileShape::Mixed);
    assert_eq!((&config(&disk)["theme"], &config(&disk)["version"]), (&json!("blue"), &json!(5)));
    assert_eq!(applied.unwrap().report.restored_keys, ["version"]);
}

/// An app whose own config has a list `networks` does not lose it to the daemon.
#[test]
fn networks_of_the_app_itself_do_not_make_its_config_the_daemons() {
    #[derive(Debug)]
    struct WithNetworks;
    impl AppSchema for WithNetworks {
        fn app_name(&self) -> &str {
            "OtherApp"
        }

        fn defaults(&self) -> Document {
            Document::parse(br#"{"theme": "light", "networks": []}"#).unwrap().document
        }
    }
    let own = br#"{"theme": "dark", "networks": [{"id": "a", "network_id": "home"}]}"#;
    let disk = disk_with(Some(own));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, paths(), &WithNetworks);
    assert_eq!(store.load(&mut ids()).unwrap().shape, FileShape::App);
    store.lock(Duration::ZERO).unwrap().apply(&mut ids()).unwrap();
    assert_eq!(disk.content(CONFIG).unwrap(), own);
    disk.put(CONFIG, OVERWRITTEN_V3);
    assert_eq!(store.load(&mut ids()).unwrap().shape, FileShape::Daemon);
    store.lock(Duration::ZERO).unwrap().apply(&mut ids()).unwrap();
    assert_eq!(disk.content(CONFIG).unwrap(), own);
}

#[test]
fn a_wiped_config_comes_back_with_the_settings_that_are_left() {
    let disk = disk_with(Some(OWN));
    launch(&disk);
    disk.put(CONFIG, br#"{"zoom": 5}"#);
    let (loaded, _) = launch(&disk);
    assert!(loaded.report.wiped.is_some());
    let config = config(&disk);
    assert_eq!((&config["theme"], &config["zoom"]), (&json!("dark"), &json!(5)));
}

#[test]
fn the_apps_config_in_the_daemons_place_is_set_aside() {
    let disk = disk_with(Some(OWN));
    launch(&disk);
    disk.put_dir(sim_path!("/home/u/.otherapp/mesh-home"), 0o700);
    disk.put(DAEMON_CONFIG, br#"{"theme": "dark", "zoom": 9}"#);
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, paths(), &OtherApp);
    assert_eq!(store.misplaced().unwrap().shape, FileShape::App);
    store.lock(Duration::ZERO).unwrap().set_misplaced_aside().unwrap().unwrap();
    assert!(disk.content(DAEMON_CONFIG).is_none());
    assert!(contents(&disk).contains(&br#"{"theme": "dark", "zoom": 9}"#[..]));
}

/// The schema of MyOwnLLM would not know the file, and would add its own keys.
#[test]
fn an_edit_writes_what_the_edit_says() {
    let disk = disk_with(Some(OWN));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, paths(), &OtherApp);
    let locked = store.lock(Duration::ZERO).unwrap();
    locked.update(&mut ids(), &mut |config| Ok(config.set(&["zoom"], 3).is_changed())).unwrap();
    assert_eq!(
        config(&disk),
        json!({"theme": "dark", "zoom": 3, "fonts": ["a"], "plan": {"x": 1}, "version": 7})
    );
    let refused = locked.update(&mut ids(), &mut |_| Err("no".into())).unwrap_err();
    assert!(matches!(refused, StoreError::Edit { .. }), "{refused}");
}

#[test]
fn a_store_can_be_kept_in_the_state_of_a_gui() {
    fn check<T: Send + Sync>(_: &T) {}
    let (disk, clock) = (SimDisk::new(), myownllm_config_store::SystemClock::default());
    check(&Store::new(&disk, &clock, paths(), &OtherApp));
}

/// The settings of a used home are lost, and those of a new home are not there yet.
#[test]
fn bare_config_is_reported_if_a_user_directory_holds_a_file() {
    const NOTES: &str = sim_path!("/home/u/.otherapp/notes");
    #[derive(Debug)]
    struct WithNotes;
    impl AppSchema for WithNotes {
        fn app_name(&self) -> &str {
            "OtherApp"
        }

        fn defaults(&self) -> Document {
            OtherApp.defaults()
        }
        fn user_dirs(&self) -> Vec<PathBuf> {
            vec![NOTES.into()]
        }
    }
    let disk = disk_with(Some(b"{}"));
    let clock = FakeClock::default();
    let store = Store::new(&disk, &clock, paths(), &WithNotes);
    let reports_loss = || {
        let loaded = store.load(&mut ids()).unwrap();
        loaded.diagnostics.iter().any(|found| found.code == "config.wiped")
    };
    disk.put_dir(NOTES, 0o700);
    assert!(!reports_loss());
    disk.put(format!("{NOTES}/first.txt"), b"");
    assert!(reports_loss());
}

/// An app whose own config holds a path into the home that it shared with the daemon.
#[derive(Debug)]
struct WithPath;

impl AppSchema for WithPath {
    fn app_name(&self) -> &str {
        "OtherApp"
    }

    fn defaults(&self) -> Document {
        Document::parse(br#"{"theme": "light", "roster": null}"#).unwrap().document
    }
    fn salvage(&self, document: &Document, last_good: Option<&Document>, _: &mut dyn Ids) -> Salvaged {
        Salvaged::new(last_good.unwrap_or(document).clone(), self.shape(document))
    }
    fn restore_wiped(&self, _: &Document, backup: &Document, _: &mut dyn Ids) -> RestoredSettings {
        RestoredSettings::new(backup.clone())
    }
    fn has_paths(&self, app: &Document) -> bool {
        app.get(&["roster"]).is_some_and(|path| path.as_str().is_some())
    }
    fn rebase_paths(
        &self,
        app: &mut Document,
        from: &str,
        to: &str,
        is_at_new_place: &dyn Fn(&str) -> bool,
    ) -> Vec<Rebased> {
        // Windows has two separators.
        let from = from.replace('\\', "/");
        let old = app.get(&["roster"]).and_then(|path| path.as_str()).map(String::from);
        let new = old.as_ref().and_then(|old| Some(format!("{to}{}", old.strip_prefix(&from)?)));
        let (Some(old), Some(new)) = (old, new.filter(|new| is_at_new_place(new))) else { return Vec::new() };
        app.set(&["roster"], new.as_str());
        vec![Rebased::in_app("/roster".into(), old, new)]
    }
}

#[test]
fn schema_that_overrides_every_repair_is_followed() {
    const OLD: &str = sim_path!("/home/u/.otherapp/mesh/rosters/home-mesh.json");
    const NEW: &str = sim_path!("/home/u/.otherapp/mesh-home/mesh/rosters/home-mesh.json");
    let config = json!({"theme": "dark", "roster": OLD}).to_string();
    let disk = disk_with(Some(config.as_bytes()));
    disk.put(NEW, b"{}");
    let clock = FakeClock::default();
    let loaded = Store::new(&disk, &clock, paths(), &WithPath).load(&mut ids()).unwrap();
    let roster = loaded.document.get(&["roster"]).unwrap().as_str().unwrap().replace('\\', "/");
    assert_eq!(roster, NEW);
    let leaked = Document::parse(OVERWRITTEN_V3).unwrap().document;
    assert_eq!(WithPath.salvage(&leaked, None, &mut ids()).report.shape, Shape::Daemon);
}

/// A store that keeps its config in memory.
struct InMemory<'a>(&'a SimDisk);

struct InMemoryLocked(LockedDir);

fn document() -> Document {
    Document::parse(OWN).unwrap().document
}

fn backup() -> BackupId {
    "good-00000001-0123456789abcdef0123456789abcdef".parse().unwrap()
}

impl ConfigStore for InMemory<'_> {
    fn load(&self, _: &mut dyn Ids) -> Result<Loaded, StoreError> {
        Ok(Loaded::new(document(), FileShape::App))
    }
    fn fallback(&self, _: &mut dyn Ids) -> Loaded {
        Loaded::new(Document::empty(), FileShape::Missing)
    }
    fn ensure_home(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn stale_paths(&self, _: &Document, _: &dyn Fn(&Path) -> bool) -> Vec<Rebased> {
        Vec::new()
    }
    fn misplaced(&self) -> Option<Misplaced> {
        Some(Misplaced::new(FileShape::App, Vec::new()))
    }
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        Ok(vec![HistoryEntry::new(backup(), OWN.len() as u64, CONFIG.into())])
    }
    fn find_backup(&self, _: &str) -> Result<BackupId, StoreError> {
        Ok(backup())
    }
    fn read_backup(&self, _: &BackupId) -> Result<Vec<u8>, StoreError> {
        Ok(OWN.to_vec())
    }
    fn lock(&self, wait: Duration) -> Result<Box<dyn LockedStore + '_>, LockError> {
        Ok(Box::new(InMemoryLocked(self.0.lock(APP_HOME.as_ref(), wait)?)))
    }
}

impl LockedStore for InMemoryLocked {
    fn home_lock(&self) -> &LockedDir {
        &self.0
    }
    fn ensure_durable(&self) -> Result<(), StoreError> {
        Ok(())
    }
    fn apply(&self, _: &mut dyn Ids) -> Result<Applied, StoreError> {
        Ok(Applied::new(document()))
    }
    fn update(
        &self,
        _: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError> {
        let mut edited = document();
        let changed = edit(&mut edited).is_ok_and(|changed| changed);
        Ok(Updated::new(edited, changed))
    }
    fn rebase_daemon_config(&self) -> Result<Vec<Rebased>, StoreError> {
        Ok(Vec::new())
    }
    fn keep_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        Ok(None)
    }
    fn set_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError> {
        Ok(Some(SetAside::new(Misplaced::new(FileShape::App, Vec::new()), backup())))
    }
    fn keep_droppable(&self) -> Result<Option<(BackupId, Vec<String>)>, StoreError> {
        Ok(None)
    }
    fn keep_networks(&self, _: &[serde_json::Value]) -> Result<BackupId, StoreError> {
        Ok(backup())
    }
    fn accept(&self) -> Result<Accepted, StoreError> {
        Ok(Accepted::new(backup(), false))
    }
    fn restore(&self, _: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        Ok(Restored::new(document(), id.clone()))
    }
    fn restore_as_is(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError> {
        self.restore(ids, id)
    }
}

/// An app keeps its config in its own way.
#[test]
fn store_of_another_crate_can_be_written() {
    let disk = disk_with(None);
    let store: &dyn ConfigStore = &InMemory(&disk);
    assert!(store.load(&mut ids()).unwrap().pending.is_empty());
    assert!(store.history().unwrap()[0].is_restorable());
    let locked = store.lock(Duration::ZERO).unwrap();
    assert_eq!(locked.set_misplaced_aside().unwrap().map(|done| done.misplaced), store.misplaced());
    let set = &mut |config: &mut Document| Ok(config.set(&["zoom"], 3).changed()?);
    assert!(locked.update(&mut ids(), set).unwrap().changed);
    assert!(locked.apply(&mut ids()).unwrap().steps.is_empty());
    assert_eq!(locked.restore(&mut ids(), &backup()).unwrap().from, locked.accept().unwrap().backup);
}
