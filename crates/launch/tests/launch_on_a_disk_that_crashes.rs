//! Runs the whole start-up sequence, without a daemon, on the simulated disk. A launch is cut off
//! before every operation and in every state that a power cut may leave, or fails at every
//! operation: the next launch completes the work, and nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use std::path::Path;
use std::time::Duration;

use common::{Captured, On, fixture};
use myownllm_config_model::{Document, SeededIds};
use myownllm_config_store::{Clock, MyOwnLlm, Store, StorePaths};
use myownllm_daemon::{
    ControlError, DaemonControl, Detection, Endpoint, Expected, SpawnError, Spawned, StartPermit, StopError,
    StoppedDaemon,
};
use myownllm_durable_fs::sim::{Fault, SimDisk};
use myownllm_durable_fs::{Disk, sim_path};
use myownllm_launch::{Context, Daemons, Options, Outcome, RunningDaemon, launch};
use myownllm_migration::{Homes, Migrator};
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{CheckedLayout, Env, MYOWNLLM, Mode, PathResolver, Platform, Resolver};
use tracing::Level;

const HOME: &str = sim_path!("/home/u");
const CONFIG: &str = sim_path!("/home/u/.myownllm/config.json");

/// The homes of a user that a daemon of each version has overwritten.
const FIXTURES: [(&str, &str); 2] = [("0.1.2", "0644"), ("0.3.8", "0600")];

const STATE: [&str; 4] = [
    ".secrets/identity.json",
    "mesh/rosters/home-mesh.json",
    "mesh/rosters/office-mesh.json",
    "mesh/states/home-mesh.json",
];

/// Files of another program, which stay at the old location.
const FOREIGN: [&str; 2] = [".myownllm/.secrets/api-key.txt", ".myownllm/mesh/README"];

fn broken_home(version: &str) -> SimDisk {
    let disk = SimDisk::new();
    disk.put_dir(format!("{HOME}/.myownllm"), 0o755);
    disk.put_dir(format!("{HOME}/.myownllm/.secrets"), 0o700);
    for file in STATE {
        disk.put_mode(format!("{HOME}/.myownllm/{file}"), &fixture(version, file), 0o600);
    }
    disk.put_mode(CONFIG, &fixture(version, "config.json"), 0o644);
    if version == "0.3.8" {
        // The key moves by a rename of its own, behind which nothing is left to tidy up.
        FOREIGN.iter().for_each(|file| disk.put_mode(format!("{HOME}/{file}"), b"theirs", 0o600));
        disk.put_dir(format!("{HOME}/.myownllm/.myownmesh"), 0o700);
        disk.put_dir(format!("{HOME}/.myownllm/.myownmesh/.secrets"), 0o700);
    }
    disk.flush_all();
    disk
}

/// No daemon runs, and none is to be started.
struct Nobody;

impl Daemons for Nobody {
    fn are_of(&self, _: &Homes) -> bool {
        true
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
        unreachable!("a launch without a daemon looks for none")
    }
    fn survey(&self, _: Option<&Expected>) -> Detection {
        unreachable!("a launch plans with what it detects")
    }
    fn endpoint(&self, _: Mode) -> Endpoint {
        unreachable!("nobody asks where a daemon would listen")
    }
    fn spawn(&self, _: StartPermit<'_>, _: &dyn Fn() -> bool) -> Result<Spawned, SpawnError> {
        unreachable!("a launch without a daemon starts none")
    }
    fn connect(&self, _: &Endpoint) -> Result<Box<dyn DaemonControl>, ControlError> {
        unreachable!("a launch without a daemon talks to none")
    }
    fn stop(&self, _: &RunningDaemon) -> Result<StoppedDaemon, StopError> {
        unreachable!("nobody runs")
    }
}

/// A clock on which waiting is free.
#[derive(Default)]
struct Skipping(std::sync::Mutex<Duration>);

impl Clock for Skipping {
    fn elapsed(&self) -> Duration {
        *self.0.lock().unwrap()
    }
    fn sleep(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }
}

fn run(disk: &SimDisk) -> Outcome {
    let layout = Resolver::new(MYOWNLLM).for_platform(Platform::Linux).resolve(&Env::explicit(HOME)).unwrap();
    let checked: Result<CheckedLayout, _> = CheckedLayout::new(layout.clone(), &On(disk));
    let clock = Skipping::default();
    let schema = MyOwnLlm::new(layout.conversations.as_str());
    let store = Store::new(disk, &clock, StorePaths::of(&layout), &schema);
    let migrator = Migrator::new(disk, Homes::new(&layout.app_home, &layout.daemon_home));
    let context = Context {
        layout: &layout,
        checked: checked.as_ref(),
        disk,
        migrator: &migrator,
        store: &store,
        daemons: &Nobody,
    };
    let options = Options { daemon: false, lock_wait: Duration::ZERO, ..Options::default() };
    launch(&context, &options, &mut SeededIds::new(1_795_401_077_000, 7))
}

/// Checks that every file of the daemon is complete at the old location or in the daemon home, that
/// the previous config is somewhere byte for byte, and that the config is never absent and never
/// torn.
fn nothing_lost(disk: &SimDisk, version: &str, when: &str) {
    for file in STATE {
        let wanted = fixture(version, file);
        let places = [format!("{HOME}/.myownllm/{file}"), format!("{HOME}/.myownllm/.myownmesh/{file}")];
        let found: Vec<Vec<u8>> = places.iter().filter_map(|place| disk.content(place)).collect();
        assert!(found.contains(&wanted), "{when}: {file} is lost");
        if let Some(at_destination) = disk.content(&places[1]) {
            assert_eq!(at_destination, wanted, "{when}: {file} is torn at its destination");
        }
    }
    let previous = fixture(version, "config.json");
    let config = disk.content(CONFIG).unwrap_or_else(|| panic!("{when}: config.json is absent"));
    assert!(Document::parse(&config).is_ok(), "{when}: config.json is torn");
    let kept = disk.tree().keys().any(|path| disk.content(path).as_ref() == Some(&previous));
    assert!(kept, "{when}: the former config is lost");
    if config != previous {
        let half = format!("{HOME}/.myownllm/.myownmesh/config.json");
        assert!(
            disk.content(half).is_some(),
            "{when}: the config was repaired before the daemon's half was safe"
        );
    }
}

fn complete(disk: &SimDisk, version: &str, when: &str) {
    let outcome = run(disk);
    assert_eq!(outcome.class(), None, "{when}: {:?}", outcome.diagnostics);
    nothing_lost(disk, version, when);
    for file in STATE {
        assert!(
            disk.content(format!("{HOME}/.myownllm/{file}")).is_none(),
            "{when}: {file} was left in the old place"
        );
    }
    for foreign in FOREIGN {
        let is_there = disk.content(format!("{HOME}/{foreign}")).is_some();
        assert_eq!(is_there, version == "0.3.8", "{when}: {foreign}");
        let dir = Path::new(HOME).join(foreign).parent().map(Path::to_owned).unwrap();
        assert!(is_there || disk.stat(&dir).is_err(), "{when}: {} was left", dir.display());
    }
    let config = Document::parse(&disk.content(CONFIG).unwrap()).unwrap().document;
    assert!(
        config.get(&["providers"]).is_some() && config.get(&["daemon"]).is_none(),
        "{when}: not the app's shape"
    );
    // A launch that changes something makes an earlier move durable too.
    let changed = if outcome.steps.is_empty() { Vec::new() } else { disk.crash_states(8, 7) };
    for after in changed {
        for file in STATE {
            let moved = format!("{HOME}/.myownllm/.myownmesh/{file}");
            assert!(after.content(moved).is_some(), "{when}: the move of {file} is not durable");
        }
    }
    // A start with nothing pending touches nothing.
    disk.flush_all();
    disk.reset_ops();
    let again = run(disk);
    assert_eq!(again.class(), None, "{when}: {:?}", again.diagnostics);
    let changes: Vec<_> = disk.ops().into_iter().filter(|op| op.is_change()).collect();
    assert!(changes.is_empty(), "{when}: a start with nothing to do did {changes:?}");
}

#[test]
fn undisturbed_it_moves_and_repairs_and_then_rests() {
    for (version, _) in FIXTURES {
        complete(&broken_home(version), version, version);
    }
}

#[test]
fn cut_off_before_any_operation_in_any_state_that_a_power_cut_may_leave() {
    for (version, _) in FIXTURES {
        let mut cuts = 0;
        for number in 1.. {
            let disk = broken_home(version);
            disk.crash_at(number);
            run(&disk);
            if !disk.has_crashed() {
                break;
            }
            let killed = disk.after_kill();
            nothing_lost(&killed, version, &format!("{version}, killed at {number}"));
            complete(&killed, version, &format!("{version}, killed at {number}"));
            for (state, after) in disk.crash_states(8, number as u64).into_iter().enumerate() {
                let when = format!("{version}, power cut at {number}, state {state}");
                nothing_lost(&after, version, &when);
                complete(&after, version, &when);
            }
            cuts = number;
        }
        assert!(cuts > 40, "only {cuts} operations: the simulation saw too little");
    }
}

#[test]
fn failed_at_any_operation_it_loses_nothing_and_the_next_launch_ends_it() {
    use std::io::ErrorKind::{CrossesDevices, Other, PermissionDenied, StorageFull};
    let version = "0.3.8";
    for kind in [Other, StorageFull, PermissionDenied, CrossesDevices] {
        for number in 1.. {
            let disk = broken_home(version);
            disk.reset_ops();
            disk.fail(Fault::once(number, kind));
            let outcome = run(&disk);
            let when = format!("{kind:?} at operation {number}");
            nothing_lost(&disk, version, &when);
            if outcome.class().is_none() {
                // If a launch reports success, everything is in place.
                for file in STATE {
                    let at_destination = disk.content(format!("{HOME}/.myownllm/.myownmesh/{file}"));
                    assert!(at_destination.is_some(), "{when}: success, but {file} is not in place");
                }
            }
            let done = disk.ops().len() < number;
            disk.clear_faults();
            complete(&disk, version, &when);
            if done {
                break;
            }
        }
    }
}

/// The log names the parts of a launch, and tells at `info` what was moved and repaired, with
/// nothing of the content of a file.
#[test]
fn log_names_each_part_of_a_launch_and_no_content() {
    let disk = broken_home("0.3.8");
    let key = fixture("0.3.8", ".secrets/identity.json");
    let key: serde_json::Value = serde_json::from_slice(&key).unwrap();
    let secret = key["secret_key"].as_str().unwrap();
    let captured = Captured::default();
    captured.during(|| run(&disk));
    let (spans, events) = captured.0.lock().unwrap().clone();
    for name in ["load", "lock", "migrate", "prepare", "move-state", "move-identity", "tidy", "repair"] {
        assert!(spans.iter().any(|span| span.split(' ').next() == Some(name)), "no span {name}: {spans:#?}");
    }
    let infos: Vec<_> = events.iter().filter(|(level, _)| *level == Level::INFO).collect();
    for reported in ["the move has ended", "took a step of the repair"] {
        assert!(
            infos.iter().any(|(_, event)| event.contains(reported)),
            "{reported} is not told: {infos:#?}"
        );
    }
    let all = format!("{spans:?} {events:?}");
    assert!(!secret.is_empty() && !all.contains(secret), "the key is in the log: {all}");
    // A launch with nothing to do has nothing to tell.
    let captured = Captured::default();
    captured.during(|| run(&disk));
    let (_, events) = captured.0.lock().unwrap().clone();
    assert!(events.iter().all(|(level, _)| *level > Level::INFO), "{events:#?}");
}
