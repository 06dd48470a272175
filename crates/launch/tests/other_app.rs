//! A launch of another app: its state moves and its daemon is used. Neither its config nor the
//! networks of its daemon are touched unless it gives a schema, and no message names MyOwnLLM.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Captured, On, fixture};
use myownllm_config_model::{Document, SeededIds};
use myownllm_config_store::{AppSchema, ConfigStore, Store, StoreError, StorePaths, SystemClock};
use myownllm_daemon::{
    ControlError, DaemonControl, Detection, Endpoint, Expected, Probe, SpawnError, Spawned, StartPermit,
    Status, StopError, StoppedDaemon, Target, decide,
};
use myownllm_durable_fs::sim::SimDisk;
use myownllm_durable_fs::sim_path;
use myownllm_launch::{
    Context, Daemon, Daemons, LOSSES, LaunchStep, Options, Outcome, RunningDaemon, checks, launch, plan,
};
use myownllm_migration::{Homes, Migrator};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{CheckedLayout, Env, HostApp, Layout, Mode, PathResolver, Platform, Resolver};
use serde_json::{Map, Value, json};

const HOME: &str = sim_path!("/home/u");
const APP_HOME: &str = sim_path!("/home/u/.otherapp");
const CONFIG: &str = sim_path!("/home/u/.otherapp/config.json");
const DEVICE: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da-2EA55";

/// A config with which a launch has nothing to do but to make a routine backup.
const OWN: &[u8] = br#"{"theme": "dark", "zoom": 1}"#;

#[derive(Debug)]
struct OtherApp;

impl AppSchema for OtherApp {
    fn app_name(&self) -> &str {
        "OtherApp"
    }

    fn defaults(&self) -> Document {
        Document::parse(br#"{"theme": "light", "zoom": 1}"#).unwrap().document
    }
}

fn layout() -> Layout {
    let app = HostApp::new("OtherApp", "otherapp", ".otherapp", "mesh-home");
    Resolver::new(app).for_platform(Platform::Linux).resolve(&Env::explicit(HOME)).unwrap()
}

/// The home of an app that shared a directory with a daemon.
fn disk(config: Option<&[u8]>) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir(APP_HOME, 0o700);
    for file in [".secrets/identity.json", "mesh/rosters/home-mesh.json", "mesh/states/home-mesh.json"] {
        disk.put(format!("{APP_HOME}/{file}"), &fixture("0.1.2", file));
    }
    if let Some(bytes) = config {
        disk.put(CONFIG, bytes);
    }
    disk
}

/// The names of the requests that the daemon got.
type Requests = Arc<Mutex<Vec<String>>>;

fn status() -> Value {
    json!({"version": "0.3.8", "device_id": DEVICE, "joined_networks": ["home-mesh", "club"]})
}

/// The daemon of this daemon home. It runs and has joined two networks, or cannot be started.
#[derive(Clone)]
struct Stub {
    requests: Requests,
    daemon_home: Utf8PathBuf,
    runs: bool,
}

impl DaemonControl for Stub {
    fn request(&mut self, op: &str, _: Map<String, Value>) -> Result<Value, ControlError> {
        self.requests.lock().unwrap().push(op.to_owned());
        Ok(if op == "status" { status() } else { json!({"networks": []}) })
    }
}

impl Stub {
    fn detection(&self) -> Detection {
        if !self.runs {
            return Detection::new(Vec::new(), decide(&[]));
        }
        let target = Target::own(self.endpoint(Mode::OwnLlm), Expected::key(DEVICE));
        let probe = Probe::Answered { status: Status::from_data(status()).unwrap(), pid: None };
        Detection::new(Vec::new(), decide(&[(target, probe)]))
    }
}

impl Daemons for Stub {
    fn are_of(&self, homes: &Homes) -> bool {
        homes.daemon() == self.daemon_home
    }
    fn live(&self, _: Option<&Utf8Path>) -> Vec<RunningDaemon> {
        Vec::new()
    }
    fn live_legacy(&self) -> Option<RunningDaemon> {
        None
    }
    fn orphans(&self, _: Option<u32>) -> Vec<RunningDaemon> {
        Vec::new()
    }
    fn detect(&self, _: &Expected) -> (Detection, Option<Box<dyn DaemonControl>>) {
        (self.detection(), self.runs.then(|| Box::new(self.clone()) as Box<dyn DaemonControl>))
    }
    fn survey(&self, _: Option<&Expected>) -> Detection {
        self.detection()
    }
    fn endpoint(&self, _: Mode) -> Endpoint {
        Endpoint::unix(sim_path!("/home/u/.otherapp/mesh-home/daemon.sock"))
    }
    fn spawn(&self, _: StartPermit<'_>, _: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
        assert!(!self.runs, "a daemon runs");
        self.requests.lock().unwrap().push("spawn".to_owned());
        Err(SpawnError::Cancelled)
    }
    fn connect(&self, _: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError> {
        Ok(Box::new(self.clone()))
    }
    fn stop(&self, _: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        unreachable!("nobody is in the way")
    }
}

/// The layouts of the parts of a launch, which may have other homes than the launch itself.
struct Parts {
    checked: Layout,
    daemons: Layout,
    migrator: Layout,
    store: Layout,
}

impl Default for Parts {
    fn default() -> Self {
        Self { checked: layout(), daemons: layout(), migrator: layout(), store: layout() }
    }
}

/// Launches the app, and returns the requests to the daemon as well. No plan, check or outcome
/// names MyOwnLLM.
fn run(disk: &SimDisk, schema: Option<&dyn AppSchema>) -> (Outcome, Vec<String>) {
    run_with(disk, schema, Parts::default())
}

fn run_with(disk: &SimDisk, schema: Option<&dyn AppSchema>, parts: Parts) -> (Outcome, Vec<String>) {
    let (layout, clock) = (layout(), SystemClock::default());
    let checked = CheckedLayout::new(parts.checked, &On(disk));
    let places = StorePaths::of(&parts.store);
    let store = match schema {
        Some(schema) => Store::new(disk, &clock, places, schema),
        None => Store::without_config(disk, &clock, places),
    };
    let migrator = Migrator::new(disk, Homes::of(&parts.migrator));
    let daemon_home = parts.daemons.daemon_home.clone();
    let daemons = Stub { requests: Requests::default(), daemon_home, runs: true };
    let context = Context {
        layout: &layout,
        checked: checked.as_ref(),
        disk,
        migrator: &migrator,
        store: &store,
        daemons: &daemons,
    };
    let options = Options { lock_wait: Duration::ZERO, ..Options::default() };
    let ids = &mut SeededIds::new(1_795_401_077_000, 7);
    let plan = plan(&context, &options, ids);
    let mut words = serde_json::to_string(&plan).unwrap();
    words += &serde_json::to_string(&checks(&context, &options, &plan).list).unwrap();
    let outcome = launch(&context, &options, ids);
    words += &serde_json::to_string(&outcome.diagnostics).unwrap();
    if outcome.class().is_none() {
        let steps = |steps: &[LaunchStep]| serde_json::to_value(steps).unwrap();
        assert_eq!(steps(&outcome.steps), steps(&plan.steps), "a launch takes the steps of its plan");
    }
    assert!(!words.to_lowercase().contains("myownllm"), "{words}");
    let requests = daemons.requests.lock().unwrap().clone();
    (outcome, requests)
}

fn paths(disk: &SimDisk) -> Vec<String> {
    disk.tree().keys().map(|path| path.display().to_string()).collect()
}

#[test]
fn app_without_a_schema_gets_its_state_moved_and_its_daemon_and_nothing_else() {
    let own = b"theme = dark # not even JSON";
    let disk = disk(Some(own));
    let (outcome, requests) = run(&disk, None);
    assert_eq!(outcome.class(), None, "{:?}", outcome.diagnostics);
    assert!(outcome.migration.is_some());
    let moved = disk.content(sim_path!("/home/u/.otherapp/mesh-home/.secrets/identity.json"));
    assert_eq!(moved.unwrap(), fixture("0.1.2", ".secrets/identity.json"));
    assert_eq!(disk.content(CONFIG).unwrap(), own);
    assert!(!paths(&disk).iter().any(|path| path.contains("config-backups")), "{:?}", paths(&disk));
    assert!(!requests.iter().any(|op| op.starts_with("network")), "no network is left: {requests:?}");
    // Nor does a second launch find anything to do.
    let before = paths(&disk);
    assert_eq!(run(&disk, None).0.class(), None);
    assert_eq!(paths(&disk), before);
}

/// The log names the part of a launch that uses a daemon, and each step.
#[test]
fn log_names_the_steps_and_the_reconciliation() {
    let captured = Captured::default();
    captured.during(|| run(&disk(None), None));
    let (spans, events) = captured.0.lock().unwrap().clone();
    assert!(spans.iter().any(|span| span.starts_with("reconcile ")), "{spans:#?}");
    for step in ["move", "attach-to-own-daemon"] {
        assert!(events.iter().any(|(_, event)| event.contains(&format!("{step:?}"))), "{step}: {events:#?}");
    }
}

#[test]
fn app_without_a_config_gets_none() {
    let disk = disk(None);
    assert_eq!(run(&disk, None).0.class(), None);
    assert!(disk.content(CONFIG).is_none());
}

#[test]
fn app_without_a_schema_gets_a_home_before_its_first_daemon() {
    let disk = SimDisk::new();
    disk.put_dir(HOME, 0o755);
    let (layout, clock) = (layout(), SystemClock::default());
    let daemon_home = layout.daemon_home.clone();
    let daemons = Stub { requests: Requests::default(), daemon_home, runs: false };
    let checked = CheckedLayout::new(layout.clone(), &On(&disk));
    let context = Context {
        layout: &layout,
        checked: checked.as_ref(),
        disk: &disk,
        migrator: &Migrator::new(&disk, Homes::of(&layout)),
        store: &Store::without_config(&disk, &clock, StorePaths::of(&layout)),
        daemons: &daemons,
    };
    let outcome = launch(&context, &Options::default(), &mut SeededIds::new(0, 0));
    let codes: Vec<_> = outcome.diagnostics.iter().map(|found| &*found.code).collect();
    assert_eq!(codes, ["daemon.cancelled"]);
    assert_eq!(*daemons.requests.lock().unwrap(), ["spawn"]);
}

#[test]
fn app_with_a_schema_gets_its_own_settings_and_keeps_the_networks_of_its_daemon() {
    let disk = disk(Some(br#"{"theme": "dark"}"#));
    let (outcome, requests) = run(&disk, Some(&OtherApp));
    assert_eq!(outcome.class(), None, "{:?}", outcome.diagnostics);
    let config: Value = serde_json::from_slice(&disk.content(CONFIG).unwrap()).unwrap();
    assert_eq!(config, json!({"theme": "dark", "zoom": 1}));
    assert!(!requests.iter().any(|op| op.starts_with("network")), "no network is left: {requests:?}");
}

#[derive(Debug)]
struct OneSetting;

impl AppSchema for OneSetting {
    fn app_name(&self) -> &str {
        "OtherApp"
    }

    fn defaults(&self) -> Document {
        Document::parse(br#"{"theme": "light"}"#).unwrap().document
    }
}

#[test]
fn loss_of_one_setting_is_reported_in_the_singular() {
    let disk =
        disk(Some(br#"{"version": 3, "daemon": {}, "networks": [{"id": "a", "network_id": "home"}]}"#));
    let (outcome, _) = run(&disk, Some(&OneSetting));
    let lost = outcome.diagnostics.iter().find(|found| found.code == LOSSES).unwrap();
    assert_eq!(
        lost.message,
        "1 setting is lost, as no backup has it, and is at its default. Settings: theme"
    );
}

/// The ways out of a refusal name the other app's program.
#[test]
fn refusal_names_the_program_of_the_app() {
    let disk = disk(None);
    disk.put(
        sim_path!("/home/u/.otherapp/mesh-home/.secrets/identity.json"),
        &fixture("0.1.2", ".secrets/identity.json")[..80],
    );
    let (outcome, _) = run(&disk, None);
    assert!(outcome.class().is_some());
    let hints: Vec<_> = outcome.diagnostics.iter().filter_map(|found| found.hint.clone()).collect();
    assert!(!hints.is_empty());
}

fn layout_of(app_dir: &'static str, daemon_dir: &'static str) -> Layout {
    let other = HostApp::new("OtherApp", "otherapp", app_dir, daemon_dir);
    Resolver::new(other).for_platform(Platform::Linux).resolve(&Env::explicit(HOME)).unwrap()
}

#[test]
fn launch_refuses_what_is_of_other_homes() {
    let other = || layout_of(".otherapp", "other-home");
    let second = || layout_of(".secondapp", "mesh-home");
    for (code, parts) in [
        ("launch.other-home", Parts { checked: other(), ..Parts::default() }),
        ("launch.other-home", Parts { daemons: other(), ..Parts::default() }),
        ("migration.other-daemons", Parts { migrator: other(), ..Parts::default() }),
        ("durable-fs.outside-lock", Parts { migrator: second(), ..Parts::default() }),
        ("durable-fs.outside-lock", Parts { store: second(), ..Parts::default() }),
    ] {
        let disk = disk(Some(OWN));
        // The home of a second app, whose config lacks a key, and whose state is to be moved.
        disk.put(sim_path!("/home/u/.secondapp/config.json"), br#"{"theme": "dark"}"#);
        let key = fixture("0.1.2", ".secrets/identity.json");
        disk.put(sim_path!("/home/u/.secondapp/.secrets/identity.json"), &key);
        let before = disk.tree();
        let (outcome, requests) = run_with(&disk, Some(&OtherApp), parts);
        let codes: Vec<_> = outcome.diagnostics.iter().map(|found| &*found.code).collect();
        assert!(codes.contains(&code), "{code}: {codes:?}");
        assert!(matches!(outcome.daemon, Daemon::None), "{:?}", outcome.daemon);
        assert!(requests.is_empty(), "{code}: {requests:?}");
        // The app's own healthy config may get its routine backup.
        let backups = sim_path!("/home/u/.otherapp/config-backups");
        let after = disk.tree();
        let changed = after.iter().filter(|(path, file)| before.get(*path) != Some(*file));
        let changed: Vec<_> = changed.filter(|(path, _)| !path.starts_with(backups)).collect();
        assert!(changed.is_empty(), "{code}: {changed:?}");
        assert!(before.keys().all(|path| after.contains_key(path)), "{code}");
    }
}

#[test]
fn store_without_a_schema_refuses_an_edit() {
    let disk = disk(Some(br#"{"theme": "dark"}"#));
    let clock = SystemClock::default();
    let store = Store::without_config(&disk, &clock, StorePaths::of(&layout()));
    let locked = store.lock(Duration::ZERO).unwrap();
    let ids = &mut SeededIds::new(0, 0);
    let edited = locked.update(ids, &mut |config| Ok(config.set(&["zoom"], 3).is_changed()));
    assert!(matches!(edited, Err(StoreError::NoSchema { .. })));
    assert!(matches!(locked.accept(), Err(StoreError::NoSchema { .. })));
    assert!(locked.apply(ids).unwrap().steps.is_empty());
    assert_eq!(disk.content(CONFIG).unwrap(), br#"{"theme": "dark"}"#);
}
