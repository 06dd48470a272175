//! The life of a daemon as a real process: found, started, used, ended.
#![cfg(target_os = "linux")]

mod end;
mod search;
mod start;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use integration_tests::testkit::{Builder, is_alive, processes, stand_in};
use myownllm_daemon::identity::camino::{Utf8Path, Utf8PathBuf};
use myownllm_daemon::identity::{Refusal, start_permit};
use myownllm_daemon::{
    Candidate, Client, DaemonControl, Endpoint, Expected, Origin, SpawnRequest, Spawned, StartPermit, probe,
    spawn,
};
use myownllm_durable_fs::{Disk, LockedDir, RealDisk};
use myownllm_paths::{CheckedLayout, Env, HostApp, PathResolver as _, RealLookup, Resolver};
use serde_json::{Value, json};

const SLACK: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_millis(150);
const GRACE: Duration = Duration::from_secs(5);

struct Home {
    dir: tempfile::TempDir,
    lock: OnceLock<LockedDir>,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("h").tempdir_in("/tmp").unwrap();
        Self { dir, lock: OnceLock::new() }
    }

    fn root(&self) -> &Utf8Path {
        Utf8Path::from_path(self.dir.path()).unwrap()
    }

    fn path(&self) -> Utf8PathBuf {
        self.root().join("mesh-home")
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.path().join("daemon.sock"))
    }

    fn permit(&self) -> Result<StartPermit<'_>, Refusal> {
        let lock = self.lock.get_or_init(|| RealDisk.lock(self.dir.path(), SLACK).unwrap());
        let app_dir = self.root().file_name().unwrap().to_owned();
        let resolver = Resolver::new(HostApp::new("Life", "life-mesh", app_dir, "mesh-home"));
        let layout = resolver.resolve(&Env::explicit(self.root().parent().unwrap())).unwrap();
        start_permit(lock, &CheckedLayout::new(layout, &RealLookup).unwrap())
    }

    fn request(&self, candidates: Vec<Candidate>) -> SpawnRequest<'_> {
        SpawnRequest::new(self.permit().unwrap(), self.endpoint(), candidates)
    }

    /// Returns the identity of the home.
    fn expected(&self) -> Expected {
        self.permit().unwrap().expected().clone()
    }

    fn misbehaving(&self, mode: &str) -> SpawnRequest<'_> {
        let mut request = self.request(vec![standin()]);
        request.env.push(("STAND_IN_MODE".into(), mode.into()));
        request
    }

    fn script(&self, name: &str, text: &str) -> Candidate {
        let path = self.dir.path().join(name);
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
        file.write_all(format!("#!/bin/sh\n{text}\n").as_bytes()).unwrap();
        file.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
        drop(file);
        Candidate::new(path, Origin::Beside)
    }

    fn standin(&self) -> Builder {
        std::fs::DirBuilder::new().recursive(true).create(self.path()).unwrap();
        Builder::new(stand_in(), self.path())
    }
}

fn standin() -> Candidate {
    Candidate::new(stand_in(), Origin::Override { variable: "MYOWNMESH_BIN".to_owned() })
}

fn bounded<T>(within: Duration, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = run();
    assert!(began.elapsed() < within + SLACK, "took {:?} instead of {within:?}", began.elapsed());
    result
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}

/// Returns all own processes that name this home in their environment.
fn processes_of(home: &Utf8Path) -> Vec<u32> {
    let wanted = format!("MYOWNMESH_HOME={home}");
    processes(|environment| environment.contains(&wanted.as_bytes()))
}

fn end(spawned: Spawned) {
    let pid = spawned.pid();
    let ending = bounded(GRACE, || spawned.stop(GRACE)).unwrap();
    assert!(ending.status.success() && !ending.killed, "{ending:?}");
    assert!(!Path::new(&format!("/proc/{pid}")).is_dir_now(), "reaped");
}

trait IsDirNow {
    fn is_dir_now(&self) -> bool;
}

impl IsDirNow for Path {
    fn is_dir_now(&self) -> bool {
        std::fs::metadata(self).is_ok_and(|meta| meta.is_dir())
    }
}

#[test]
fn started_talked_to_and_ended() {
    let home = Home::new();
    let spawned = spawn(&home.request(vec![standin()])).unwrap();
    assert_eq!(spawned.status().version, "0.3.8");
    assert!(is_alive(spawned.pid()));
    // The home and the log are private, and the child writes the log itself.
    let mode = |path: Utf8PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(home.path()), 0o700);
    assert_eq!(mode(home.path().join("daemon.log")), 0o600);
    assert!(spawned.log_tail(5).iter().any(|line| line.contains("listening")), "{:?}", spawned.log_tail(5));

    let mut client = Client::connect(&home.endpoint(), SLACK).unwrap();
    assert_eq!(client.pid(), Some(spawned.pid()));
    let mut raw = |op: &str, fields: Value| client.request(op, fields.as_object().unwrap().clone()).unwrap();
    let identity = raw("identity_show", json!({}));
    assert!(spawned.status().device_id.starts_with(identity["pubkey"].as_str().unwrap()));
    let network = json!({"id": "n1", "network_id": "home-mesh"});
    assert_eq!(client.network_add(&network).unwrap()["config_id"], "n1");
    let mut raw = |op: &str, fields: Value| client.request(op, fields.as_object().unwrap().clone()).unwrap();
    assert_eq!(raw("networks_list", json!({}))["networks"][0]["network_id"], "home-mesh");
    assert_eq!(client.config_show().unwrap().networks().len(), 1);
    let mut raw = |op: &str, fields: Value| client.request(op, fields.as_object().unwrap().clone()).unwrap();
    let approval = json!({"network": "home-mesh", "device_id": "abcd", "label": "x"});
    assert_eq!(raw("roster_approve", approval.clone())["approved"], "abcd");
    assert_eq!(raw("roster_list", json!({"network": "home-mesh"}))["roster"].as_array().unwrap().len(), 1);
    raw("roster_remove", approval);
    assert_eq!(raw("governance_state", json!({"network": "home-mesh"}))["state"]["kind"], "open");
    assert_eq!(raw("identity_set_label", json!({"label": "me"}))["label"], "me");
    assert_eq!(raw("network_id_generate", json!({}))["network_id"].as_str().unwrap().len(), 8);
    assert_eq!(raw("network_id_normalize", json!({"input": " Home "}))["network_id"], "home");
    assert_eq!(client.network_remove("home-mesh").unwrap(), "n1");
    end(spawned);
    assert!(probe(&home.endpoint(), SLACK).is_absent());
}

fn zombies() -> usize {
    let us = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/self/task/{us}/children")).unwrap_or_default();
    children.split_whitespace().filter(|pid| is_zombie(pid.parse().unwrap())).count()
}
