//! The life of a daemon as a real process: found, started, used, ended.
#![cfg(target_os = "linux")]

use std::{
    io::Write,
    os::unix::{fs::PermissionsExt, net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
    time::{Duration, Instant},
};

use integration_tests::standin::Version;
use integration_tests::testkit::{
    Builder, Signal, StandIn, can_be_root, eventually, is_alive, processes, send_signal, stand_in,
};
use myownllm_daemon::identity::camino::{Utf8Path, Utf8PathBuf};
use myownllm_daemon::identity::{IdentityPaths, Refusal, start_permit};
use myownllm_daemon::{
    Candidate, CandidateFailure, Client, DaemonControl, DaemonExit, Decision, Endpoint, Expected,
    HomeDaemons, Origin, Probe, Role, ServingProcess, SpawnError, SpawnRequest, Spawned, StartPermit,
    StopError, StoppedDaemon, Target, attach, detect, probe, serving_processes, spawn, spawn_unless,
    stop_daemon, stop_serving_process,
};
use myownllm_durable_fs::{Disk, LockedDir, RealDisk};
use rstest::rstest;
use rustix::fs::{FlockOperation, flock};
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
        self.root().join("mesh")
    }

    fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.path().join("daemon.sock"))
    }

    fn permit_for(&self, home: impl Into<Utf8PathBuf>) -> Result<StartPermit<'_>, Refusal> {
        let lock = self.lock.get_or_init(|| RealDisk.lock(self.dir.path(), SLACK).unwrap());
        start_permit(lock, &IdentityPaths::new(self.root(), home))
    }

    fn request(&self, candidates: Vec<Candidate>) -> SpawnRequest<'_> {
        SpawnRequest::new(self.permit_for(self.path()).unwrap(), self.endpoint(), candidates)
    }

    /// Returns the identity of the home.
    fn expected(&self) -> Expected {
        self.permit_for(self.path()).unwrap().expected().clone()
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

#[test]
fn the_child_gets_its_home_its_own_group_and_no_file_of_ours() {
    let home = Home::new();
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    // The lock of the home is held during a start.
    let lock = std::fs::File::open(home.path()).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    // A program may open files without close-on-exec.
    rustix::io::fcntl_setfd(&lock, rustix::io::FdFlags::empty()).unwrap();
    let blocked: nix::sys::signal::SigSet =
        [nix::sys::signal::SIGTERM, nix::sys::signal::SIGUSR1].into_iter().collect();
    blocked.thread_block().unwrap();
    let spawned = spawn(&home.request(vec![standin()])).unwrap();
    let pid = spawned.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    let link = |name: &str| std::fs::read_link(format!("/proc/{pid}/{name}")).unwrap();
    assert_eq!(link("cwd"), home.path());
    assert_eq!(link("fd/0"), Path::new("/dev/null"));
    assert_eq!(
        (link("fd/1"), link("fd/2")),
        (
            home.path().join("daemon.log").into_std_path_buf(),
            home.path().join("daemon.log").into_std_path_buf()
        )
    );
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap() {
        let target = std::fs::read_link(entry.unwrap().path()).unwrap_or_default();
        assert!(target != home.path(), "it holds the locked directory open");
    }
    assert_eq!(processes_of(&home.path()), [pid], "and we have not changed our own environment");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let group: u32 = stat.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().parse().unwrap();
    assert_eq!(group, pid);
    // After the test's lock is released, nobody holds the lock.
    drop(lock);
    let again = std::fs::File::open(home.path()).unwrap();
    flock(again, FlockOperation::NonBlockingLockExclusive).unwrap();
    end(spawned);
}

#[test]
fn early_exit_is_noticed_at_once_with_status_and_log() {
    let home = Home::new();
    let began = Instant::now();
    let error = spawn(&home.misbehaving("dies-early:7")).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(4), "not the whole 8 s");
    assert_eq!(error.code(), "daemon.not-started");
    let Some(CandidateFailure::Ended { status, log }) = &error.tried()[0].failure else {
        panic!("{error:?}")
    };
    assert!(status.contains('7'), "{status}");
    assert!(log.iter().any(|line| line.contains("told to die early")), "{log:?}");
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn a_slow_start_is_waited_for() {
    let home = Home::new();
    let spawned = spawn(&home.misbehaving("slow-start:300")).unwrap();
    assert!(spawned.took() >= Duration::from_millis(300));
    end(spawned);
}

#[rstest]
#[case::silent("silent")]
#[case::cut_in_its_line("half-line")]
#[case::slow_in_its_line("drip:20")]
#[case::flooding_with_events("flood-events")]
#[case::slow("slow-start:60000")]
#[case::closing("close")]
#[case::silent_and_ignoring_sigterm("silent,ignore-term")]
fn a_silent_start_is_not_waited_for_for_ever(#[case] mode: &str) {
    let home = Home::new();
    let mut request = home.misbehaving(mode);
    request.ready_within = Duration::from_millis(200);
    let error = bounded(Duration::from_millis(700), || spawn(&request)).unwrap_err();
    let failure = error.tried()[0].failure.as_ref().unwrap();
    assert!(
        matches!(failure, CandidateFailure::Silent { .. } | CandidateFailure::Unusable { .. }),
        "{mode}: {failure:?}"
    );
    assert!(processes_of(&home.path()).is_empty(), "{mode}: ended and reaped");
    assert_eq!(zombies(), 0, "{mode}");
}

#[rstest]
fn a_daemon_that_speaks_no_json_is_unusable_at_once(#[values("garbage", "not-utf8", "flood")] mode: &str) {
    let home = Home::new();
    let error = bounded(Duration::ZERO, || spawn(&home.misbehaving(mode))).unwrap_err();
    let failure = error.tried()[0].failure.as_ref().unwrap();
    assert!(matches!(failure, CandidateFailure::Unusable { .. }), "{mode}: {failure:?}");
    assert!(processes_of(&home.path()).is_empty(), "{mode}");
}

fn zombies() -> usize {
    let us = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/self/task/{us}/children")).unwrap_or_default();
    children.split_whitespace().filter(|pid| is_zombie(pid.parse().unwrap())).count()
}

#[test]
fn candidates_are_tried_in_order_and_each_is_named() {
    let home = Home::new();
    let missing = Candidate::new(home.dir.path().join("missing"), Origin::Beside);
    let broken = home.script("broken", "echo this one is broken >&2; exit 4");
    let silent = home.script("silent", "sleep 600 & wait");
    let no_program = {
        let candidate = home.script("text", "");
        std::fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&candidate.path)
            .unwrap()
            .write_all(b"\x7fELF nonsense")
            .unwrap();
        candidate
    };
    let last = home.script("last", "exit 0");
    let mut request = home.request(vec![missing, broken, no_program, silent, standin(), last]);
    request.ready_within = Duration::from_millis(400);
    let spawned = spawn(&request).unwrap();
    let failures: Vec<Option<&CandidateFailure>> =
        spawned.tried().iter().map(|tried| tried.failure.as_ref()).collect();
    assert!(
        matches!(failures[0], Some(CandidateFailure::Skipped { reason }) if reason == "not there"),
        "{failures:?}"
    );
    let Some(CandidateFailure::Ended { status, log }) = failures[1] else { panic!("{failures:?}") };
    assert!(status.contains('4') && log.last().unwrap().contains("broken"), "{status} {log:?}");
    assert!(matches!(failures[2], Some(CandidateFailure::NotStarted { .. })), "{failures:?}");
    let Some(CandidateFailure::Silent { log, .. }) = failures[3] else { panic!("{failures:?}") };
    assert!(!log.iter().any(|line| line.contains("broken")), "each has its own lines: {log:?}");
    assert!(failures[4].is_none());
    assert!(matches!(failures[5], Some(CandidateFailure::Skipped { .. })), "{failures:?}");
    // The silent candidate and its child were ended before the next start.
    assert_eq!(processes_of(&home.path()), [spawned.pid()]);
    end(spawned);

    let error = spawn(&home.request(vec![])).unwrap_err();
    assert_eq!(error.code(), "daemon.not-found");
}

#[test]
fn a_script_that_starts_the_daemon_is_ended_with_it() {
    let home = Home::new();
    let wrapper = home.script("wrapper", &format!("\"{}\" \"$@\" & wait", stand_in()));
    let spawned = spawn(&home.request(vec![wrapper])).unwrap();
    assert_eq!(processes_of(&home.path()).len(), 2);
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
    assert!(std::fs::symlink_metadata(home.path().join("daemon.sock")).is_err(), "it ended cleanly");
}

/// The process that answered counts, whether its script ends with it or runs on.
#[rstest]
#[case::script_ends_with_it("; exit $?", Some(3))]
#[case::script_runs_on("; sleep 600", None)]
fn the_end_of_a_daemon_in_a_script_is_the_daemons(#[case] then: &str, #[case] told: Option<i32>) {
    let home = Home::new();
    let script =
        home.script("wrapper", &format!("STAND_IN_MODE=dies-in:200 \"{}\" \"$@\"{then}", stand_in()));
    let mut spawned = spawn(&home.request(vec![script])).unwrap();
    let wait = spawned.exit_watch().unwrap();
    assert_eq!(spawned.try_wait().unwrap(), None);
    wait.wait().unwrap();
    match spawned.wait_within(SLACK).unwrap().unwrap() {
        DaemonExit::Status(status) => assert_eq!(status.code(), told),
        end => assert_eq!((end, told), (DaemonExit::Unknown, None)),
    }
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn one_that_does_not_end_politely_is_killed() {
    let home = Home::new();
    let spawned = spawn(&home.misbehaving("ignore-term")).unwrap();
    let grace = Duration::from_millis(150);
    let ending = bounded(grace, || spawned.stop(grace)).unwrap();
    assert!(ending.killed && !ending.status.success(), "{ending:?}");
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn an_end_is_seen_and_its_log_can_be_read() {
    let home = Home::new();
    let mut spawned = spawn(&home.misbehaving("dies-in:100")).unwrap();
    assert!(spawned.wait_within(Duration::ZERO).unwrap().is_none());
    let status = bounded(Duration::ZERO, || spawned.wait_within(SLACK)).unwrap().unwrap();
    assert!(matches!(status, DaemonExit::Status(status) if status.code() == Some(3)), "{status}");
    assert!(spawned.log_tail(3).last().unwrap().contains("told to die now"));
    assert_eq!(spawned.try_wait().unwrap(), Some(status), "asked again, it says the same");
    let ending = spawned.stop(GRACE).unwrap();
    assert!(ending.status.code() == Some(3) && !ending.killed, "{ending:?}");
}

#[test]
fn dropped_or_detached_it_lives_on_and_leaves_no_zombie() {
    let home = Home::new();
    let pid = spawn(&home.request(vec![standin()])).unwrap().detach();
    assert!(is_alive(pid));
    assert!(matches!(probe(&home.endpoint(), SLACK), Probe::Answered { .. }));
    let stopped = stop_daemon(&home.endpoint(), GRACE).unwrap();
    assert!(matches!(stopped, StoppedDaemon::Stopped { pid: found, .. } if found == pid));
    eventually("it is reaped", || !is_zombie(pid) && !is_alive(pid));
}

#[rstest]
#[case::that_ends_at_sigterm("")]
#[case::that_ignores_sigterm("ignore-term")]
fn daemon_with_kill_on_drop_ends_when_it_is_dropped(#[case] mode: &str) {
    let home = Home::new();
    let mut request = home.misbehaving(mode);
    request.kill_on_drop = true;
    drop(bounded(SLACK, || spawn(&request)).unwrap());
    assert!(processes_of(&home.path()).is_empty(), "{mode}");
    assert_eq!(zombies(), 0, "{mode}");
}

#[test]
fn daemon_with_kill_on_drop_lives_on_when_it_is_detached() {
    let home = Home::new();
    let mut request = home.request(vec![standin()]);
    request.kill_on_drop = true;
    let pid = spawn(&request).unwrap().detach();
    assert!(is_alive(pid));
    assert!(matches!(stop_daemon(&home.endpoint(), GRACE).unwrap(), StoppedDaemon::Stopped { .. }));
}

#[test]
fn nothing_is_started_beside_somebody_who_listens() {
    let home = Home::new();
    let mut running = home.standin().start().unwrap();
    let error = spawn(&home.request(vec![standin()])).unwrap_err();
    assert!(
        matches!(error, SpawnError::Occupied { .. }) && error.code() == "daemon.already-running",
        "{error:?}"
    );
    assert!(running.is_running());
    drop(running);

    let busy = Home::new();
    let running = busy.standin().mode("silent").start().unwrap();
    let error = bounded(Duration::from_secs(1), || spawn(&busy.request(vec![standin()]))).unwrap_err();
    assert_eq!(error.code(), "daemon.busy");
    assert!(error.hint().unwrap().contains(&running.pid().to_string()));
    assert_eq!(processes_of(&busy.path()), [running.pid()]);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the test takes a home away")]
fn a_home_or_identity_that_would_make_the_daemon_go_astray_is_refused() {
    use std::os::unix::fs::symlink;
    let home = Home::new();
    assert_eq!(home.permit_for("mesh").unwrap_err().code(), "paths.overlap", "a relative home");

    // A dangling symlink: the daemon would make a new key.
    std::fs::DirBuilder::new().recursive(true).create(home.path().join(".secrets")).unwrap();
    let identity = home.path().join(".secrets/identity.json");
    let request = home.request(vec![standin()]);
    symlink("nowhere", &identity).unwrap();
    assert_eq!(spawn(&request).unwrap_err().code(), "migration.identity-unreachable");
    assert!(processes_of(&home.path()).is_empty());
    assert_eq!(home.permit_for(home.path()).unwrap_err().code(), "migration.identity-unreachable");

    let other = Home::new();
    std::fs::DirBuilder::new().create(other.path()).unwrap();
    let request = other.request(vec![standin()]);
    symlink("nowhere", other.path().join(".secrets")).unwrap();
    assert_eq!(spawn(&request).unwrap_err().code(), "migration.identity-unreachable");

    // The key of the permit is gone; then only the rosters know it.
    let empty = Home::new();
    end(spawn(&empty.request(vec![standin()])).unwrap());
    let request = empty.request(vec![standin()]);
    std::fs::remove_dir_all(empty.path()).unwrap();
    assert_eq!(spawn(&request).unwrap_err().code(), "identity.changed");
    assert!(std::fs::symlink_metadata(empty.path()).is_err(), "nothing is made");
    let request = empty.request(vec![standin()]);
    std::fs::DirBuilder::new().recursive(true).create(empty.path().join("mesh/rosters")).unwrap();
    std::fs::write(empty.path().join("mesh/rosters/one.json"), "{}").unwrap();
    assert_eq!(spawn(&request).unwrap_err().code(), "identity.gone");
    std::fs::remove_dir_all(empty.path()).unwrap();

    // A daemon would unlink a file at its socket path.
    std::fs::DirBuilder::new().create(empty.path()).unwrap();
    let precious = empty.path().join("daemon.sock");
    std::fs::OpenOptions::new().create_new(true).write(true).open(&precious).unwrap();
    assert_eq!(spawn(&empty.request(vec![standin()])).unwrap_err().code(), "daemon.not-a-socket");
    assert!(std::fs::symlink_metadata(&precious).is_ok());

    // A path that is too long for a socket.
    let home = Home::new();
    let mut request = home.request(vec![standin()]);
    request.endpoint = Endpoint::unix(format!("/tmp/{}", "x".repeat(120)));
    assert_eq!(spawn(&request).unwrap_err().code(), "daemon.socket-too-long");
}

#[test]
fn a_daemon_with_another_key_is_not_taken() {
    let home = Home::new();
    let spawned = spawn(&home.request(vec![standin()])).unwrap();
    let key = spawned.status().device_id.clone();
    end(spawned);

    let request = home.misbehaving("other-key");
    let error = spawn(&request).unwrap_err();
    let Some(CandidateFailure::ForeignIdentity { expected, found }) = &error.tried()[0].failure else {
        panic!("{error:?}")
    };
    assert!(*expected == key && *found != key);
    assert!(processes_of(&home.path()).is_empty());

    end(spawn(&home.request(vec![standin()])).unwrap());

    // Also if such a daemon runs already.
    let running = home.standin().mode("other-key").start().unwrap();
    let own = Target::own(home.endpoint(), home.expected());
    let Decision::Refuse(refusal) = detect(&[own]).decision else { panic!() };
    assert_eq!(refusal.code(), "daemon.foreign-identity");
    assert!(refusal.to_string().contains(&running.pid().to_string()), "{refusal}");
}

#[test]
fn logs_are_kept_up_to_a_number() {
    let home = Home::new();
    for _ in 0..8 {
        end(spawn(&home.request(vec![standin()])).unwrap());
    }
    let logs = std::fs::read_dir(home.path()).unwrap().flatten();
    let logs = logs.filter(|entry| entry.file_name().to_string_lossy().starts_with("daemon.log")).count();
    assert_eq!(logs, 5);
}

#[test]
fn the_shared_one_first_then_the_own_one_then_none() {
    let (shared, own) = (Home::new(), Home::new());
    let targets = || [Target::shared(shared.endpoint()), Target::own(own.endpoint(), own.expected())];
    assert_eq!(detect(&targets()).decision, Decision::Spawn);
    let running_own = own.standin().start().unwrap();
    assert!(matches!(detect(&targets()).decision,
            Decision::Attach { role: Role::Own, pid, .. } if pid == Some(running_own.pid())));
    let running_shared = shared.standin().version(Version::V012).start().unwrap();
    let found = detect(&targets());
    let Decision::Attach { role: Role::Shared, status, pid, .. } = &found.decision else {
        panic!("{found:?}")
    };
    assert_eq!((status.version.as_str(), *pid), ("0.1.2", Some(running_shared.pid())));
}

#[test]
fn a_newer_and_an_odd_version_are_no_trouble() {
    let home = Home::new();
    let _running = home.standin().mode("wrong-version:99.0.0-beta").start().unwrap();
    let found = probe(&home.endpoint(), SLACK);
    assert_eq!(found.status().unwrap().version, "99.0.0-beta");
}

#[test]
fn a_daemon_that_dies_and_comes_back_is_another_one() {
    let home = Home::new();
    let first = home.standin().start().unwrap();
    let mut client = Client::connect(&home.endpoint(), SLACK).unwrap();
    client.status().unwrap();
    drop(first);
    let error = client.status().unwrap_err();
    assert_eq!(error.code(), "daemon.closed");
    let second = home.standin().start().unwrap();
    let error = client.status().unwrap_err();
    assert!(
        error.code() == "daemon.replaced" && error.to_string().contains(&second.pid().to_string()),
        "{error}"
    );
}

#[test]
fn a_foreign_daemon_is_ended_politely_and_waited_for() {
    let home = Home::new();
    let mut running = home.standin().start().unwrap();
    let (pid, endpoint) = (running.pid(), home.endpoint());
    let stopped = std::thread::spawn(move || stop_daemon(&endpoint, GRACE));
    assert!(running.wait(SLACK).unwrap().success());
    assert!(
        matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { pid: found, .. } if found == pid)
    );
    assert_eq!(stop_daemon(&home.endpoint(), GRACE).unwrap(), StoppedDaemon::WasAbsent);

    // A silent daemon is ended as well.
    let mut running = home.standin().mode("silent").start().unwrap();
    let endpoint = home.endpoint();
    let stopped = std::thread::spawn(move || stop_daemon(&endpoint, GRACE));
    assert!(running.wait(SLACK).unwrap().success());
    stopped.join().unwrap().unwrap();

    // A daemon that ignores SIGTERM.
    let stubborn = home.standin().mode("ignore-term").start().unwrap();
    let within = Duration::from_millis(150);
    let error = bounded(within, || stop_daemon(&home.endpoint(), within)).unwrap_err();
    assert!(matches!(error, StopError::StillThere { .. }), "{error:?}");
    assert!(error.hint().unwrap().contains(&stubborn.pid().to_string()));
}

/// A process that called `listen` and handed its socket over, and the daemon that serves it now.
struct HandedOver {
    innocent: StandIn,
    daemon: u32,
}

impl HandedOver {
    fn start(home: &Home, mode: &str, then: &str) -> Self {
        let innocent = home.standin().mode(mode).env("STAND_IN_THEN", then).start().unwrap();
        // A process that is just being started is not in each list.
        let daemon = std::cell::Cell::new(None);
        eventually("the other one runs", || {
            daemon.set(processes_of(&home.path()).into_iter().find(|pid| *pid != innocent.pid()));
            daemon.get().is_some()
        });
        Self { innocent, daemon: daemon.get().unwrap() }
    }
}

impl Drop for HandedOver {
    fn drop(&mut self) {
        // It may have ended. The process that started it reaps it.
        send_signal(self.daemon, Signal::KILL);
    }
}

/// The peer credentials of a connection name the process that called `listen`. That process may
/// have forked since, or be the activator that started the daemon.
#[rstest]
#[case::parent_that_forked("hands-over")]
#[case::activator_that_keeps_the_socket("hands-over:keep")]
fn a_process_that_handed_its_socket_over_is_never_signalled(
    #[case] mode: &str,
    #[values("", "silent", "garbage", "half-line")] then: &str,
) {
    let home = Home::new();
    let mut both = HandedOver::start(&home, mode, then);
    let found = probe(&home.endpoint(), Duration::from_millis(200));
    assert_eq!(found.pid(), Some(both.daemon), "{then}: {found:?}");
    let stopped = bounded(Duration::ZERO, || stop_daemon(&home.endpoint(), GRACE)).unwrap();
    assert!(
        matches!(stopped, StoppedDaemon::Stopped { pid, .. } if pid == both.daemon),
        "{mode} {then}: {stopped:?}"
    );
    assert!(both.innocent.is_running(), "{mode} {then}");
}

/// Nothing tells the two processes apart until a connection is accepted.
#[test]
fn a_process_that_handed_its_socket_over_is_never_signalled_before_a_connection_is_accepted() {
    let home = Home::new();
    let mut both = HandedOver::start(&home, "hands-over:keep", "slow-start:60000");
    let error = stop_daemon(&home.endpoint(), GRACE).unwrap_err();
    assert_eq!(error.code(), "daemon.not-seen", "{error:?}");
    assert!(error.hint().unwrap().starts_with("sudo fuser -v "), "{error:?}");
    assert!(is_alive(both.daemon) && both.innocent.is_running());
    // A suspended daemon accepts no connection. Its activator still listens after the daemon has
    // ended.
    send_signal(both.daemon, Signal::STOP);
    let within = Duration::from_millis(500);
    let error = bounded(within, || stop_daemon(&home.endpoint(), within)).unwrap_err();
    let (before, now) = (both.daemon, both.innocent.pid());
    assert!(
        matches!(error, StopError::CameBack { before: was, now: is, .. } if (was, is) == (before, now)),
        "{error:?}"
    );
    assert!(both.innocent.is_running());
}

/// A suspended daemon does not answer, and does not end before it is continued.
#[test]
fn a_suspended_daemon_is_named_as_that_and_ends_all_the_same() {
    let home = Home::new();
    let mut running = home.standin().start().unwrap();
    send_signal(running.pid(), Signal::STOP);
    eventually("it is suspended", || probe(&home.endpoint(), WITHIN).code() == "daemon.suspended");
    let own = Target { within: WITHIN, ..Target::own(home.endpoint(), home.expected()) };
    let Decision::Refuse(refusal) = detect(&[own]).decision else { panic!() };
    assert_eq!(refusal.hint(), Some(format!("kill -CONT {}", running.pid())));
    let endpoint = home.endpoint();
    let variable = "MYOWNMESH_HOME";
    let mut homes = HomeDaemons::new(home.root(), home.path(), endpoint);
    homes.answer_within = WITHIN;
    assert_eq!(homes.home_variable, variable);
    let [found] = &homes.running()[..] else { panic!() };
    assert!(found.note().contains("suspended") && found.hint() == refusal.hint(), "{found:?}");
    let found = found.clone();
    let stopped = std::thread::spawn(move || homes.stop(&found));
    assert!(running.wait(SLACK).unwrap().success());
    assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
}

/// A config can name any socket, even the socket of another home's daemon.
#[test]
fn the_daemon_of_another_home_is_not_ended_for_this_one() {
    let (home, other) = (Home::new(), Home::new());
    let mut running = other.standin().start().unwrap();
    let mut homes = HomeDaemons::new(home.root(), home.path(), home.endpoint());
    homes.legacy = vec![other.endpoint()];
    let [found] = &homes.running()[..] else { panic!() };
    assert!(found.legacy && !found.verified, "{found:?}");
    let error = homes.stop(found).unwrap_err();
    assert_eq!(error.code(), "daemon.not-seen", "{error:?}");
    assert!(running.is_running());
    // A daemon that serves this home is ended, wherever it listens.
    drop(running);
    let socket = home.root().join("elsewhere.sock");
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    let config = serde_json::json!({"version": 3, "daemon": {"control_socket": socket}});
    let mut file = std::fs::File::create_new(home.path().join("config.json")).unwrap();
    file.write_all(config.to_string().as_bytes()).unwrap();
    let mut running = home.standin().socket(&socket).start().unwrap();
    homes.own = Endpoint::unix(&socket);
    homes.legacy.clear();
    let [found] = &homes.running()[..] else { panic!() };
    assert!(found.is_own() && found.verified, "{found:?}");
    let found = found.clone();
    let stopped = std::thread::spawn(move || homes.stop(&found));
    assert!(running.wait(SLACK).unwrap().success());
    stopped.join().unwrap().unwrap();
}

/// The path is relative to the daemon's working directory.
#[test]
fn a_daemon_with_a_relative_home_is_found_by_its_working_directory() {
    let home = Home::new();
    let started = |home: &Home, value: &str| {
        std::fs::DirBuilder::new().recursive(true).create(home.path()).unwrap();
        let mut command = Command::new(stand_in());
        command.arg("serve").env("MYOWNMESH_HOME", value).current_dir(home.dir.path());
        command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for value in ["mesh", "./mesh", " mesh\n"] {
        let mut child = started(&home, value.trim());
        let socket = home.path().join("daemon.sock");
        eventually("it listens", || UnixStream::connect(&socket).is_ok());
        let found = probe(&home.endpoint(), SLACK);
        assert_eq!(found.pid(), Some(child.id()), "{found:?}");
        rustix::fs::unlink(socket.as_std_path()).unwrap();
        let strays = serving_processes(&home.path(), "MYOWNMESH_HOME");
        assert_eq!(strays.iter().map(|stray| stray.pid).collect::<Vec<_>>(), [child.id()], "{value}");
        let (path, stray) = (home.path(), strays[0].clone());
        let stopped =
            std::thread::spawn(move || stop_serving_process(&stray, &path, "MYOWNMESH_HOME", GRACE));
        child.wait().unwrap();
        assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
    }
    // The same relative path in another directory names another home.
    let other = Home::new();
    let mut child = started(&other, "mesh");
    eventually("it listens", || UnixStream::connect(other.path().join("daemon.sock")).is_ok());
    assert!(serving_processes(&home.path(), "MYOWNMESH_HOME").is_empty());
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A shell that exports the variable passes it to every program, and many programs have a `serve`
/// command.
#[test]
fn another_program_that_serves_is_no_daemon() {
    let home = Home::new();
    let program = home.dir.path().join("myownmesh-x86_64-unknown-linux-gnu");
    std::fs::copy(stand_in(), &program).unwrap();
    std::fs::create_dir(home.path()).unwrap();
    let started = |name: &str| {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "read line", name, "serve"]).env("MYOWNMESH_HOME", home.path());
        command.stdin(std::process::Stdio::piped()).spawn().unwrap()
    };
    let mut processes = ["ollama", "/var/log/myownmesh.log", "/opt/app/myownmesh"].map(started);
    let mut daemon = Command::new(&program);
    daemon.arg("serve").env("MYOWNMESH_HOME", home.path()).env("STAND_IN_MODE", "slow-start:60000");
    let mut daemon = daemon.stderr(Stdio::null()).spawn().unwrap();
    // The kernel shows a new process before its arguments, and those before its environment.
    eventually("all are there", || processes_of(&home.path()).len() == 4);
    let strays = serving_processes(&home.path(), "MYOWNMESH_HOME");
    assert_eq!(strays.iter().map(|stray| stray.pid).collect::<Vec<_>>(), [daemon.id()]);
    for process in &mut processes {
        let stray = ServingProcess::new(process.id(), None);
        let stopped = stop_serving_process(&stray, &home.path(), "MYOWNMESH_HOME", GRACE).unwrap();
        assert_eq!(stopped, StoppedDaemon::WasAbsent);
        assert!(process.try_wait().unwrap().is_none(), "it was signalled");
        drop(process.stdin.take());
        process.wait().unwrap();
    }
    let (path, stray) = (home.path(), strays[0].clone());
    let stopped = std::thread::spawn(move || stop_serving_process(&stray, &path, "MYOWNMESH_HOME", GRACE));
    daemon.wait().unwrap();
    assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
}

/// The daemon's program may have any name, and listen outside of the home.
#[test]
fn a_daemon_of_another_name_is_found_by_its_mark_its_program_and_its_socket() {
    let home = Home::new();
    let program = home.dir.path().join("meshd");
    std::fs::copy(stand_in(), &program).unwrap();
    let elsewhere = home.root().join("elsewhere.sock");
    let started = |socket: &Utf8Path, mark: Option<&str>| {
        std::fs::DirBuilder::new().recursive(true).create(home.path()).unwrap();
        let config = json!({"version": 3, "daemon": {"control_socket": socket}});
        std::fs::write(home.path().join("config.json"), config.to_string()).unwrap();
        let mut command = Command::new(&program);
        command.arg("serve").env("MYOWNMESH_HOME", home.path()).stdin(Stdio::null()).stderr(Stdio::null());
        let child = command.envs(mark.map(|mark| ("MYOWNMESH_STARTED_BY", mark))).spawn().unwrap();
        eventually("it listens", || UnixStream::connect(socket).is_ok());
        child
    };
    let mut homes = HomeDaemons::new(home.root(), home.path(), home.endpoint());
    homes.answer_within = WITHIN;
    // A process of this name without mark is the daemon only for a caller who names the program.
    for (mark, programs) in [(Some("test"), vec![]), (None, vec![program.clone()]), (None, vec![])] {
        let mut child = started(&elsewhere, mark);
        homes.programs = programs;
        let found = homes.orphans(None);
        if mark.is_none() && homes.programs.is_empty() {
            assert!(found.is_empty(), "{found:?}");
            child.kill().unwrap();
            child.wait().unwrap();
            continue;
        }
        let [orphan] = &found[..] else { panic!("{found:?}") };
        assert_eq!(orphan.pid(), Some(child.id()));
        assert!(orphan.note().contains(&format!("it listens at {elsewhere}")), "{}", orphan.note());
        let (homes, orphan) = (homes.clone(), orphan.clone());
        let stopped = std::thread::spawn(move || homes.stop(&orphan));
        child.wait().unwrap();
        assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
    }
    // The home was moved away with its socket.
    let mut child = started(&home.path().join("daemon.sock"), None);
    std::fs::rename(home.path(), home.root().join("moved")).unwrap();
    let strays = serving_processes(&home.path(), "MYOWNMESH_HOME");
    assert_eq!(strays.iter().map(|stray| stray.pid).collect::<Vec<_>>(), [child.id()]);
    assert_eq!(strays[0].socket, None);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A child of the daemon inherited its socket: the daemon itself has ended, and its PID may belong
/// to another process.
#[test]
fn ended_daemon_whose_socket_a_child_holds_is_told_as_ended() {
    let home = Home::new();
    let mut running = home.standin().mode("leaves-a-child").start().unwrap();
    let daemon = running.pid();
    let (endpoint, within) = (home.endpoint(), Duration::from_millis(300));
    let stopped = std::thread::spawn(move || stop_daemon(&endpoint, within));
    running.wait(SLACK).unwrap();
    let error = stopped.join().unwrap().unwrap_err();
    let StopError::SocketHeld { pid, holder: Some(holder), .. } = error else { panic!("{error:?}") };
    assert!(pid == daemon && holder != pid && is_alive(holder), "{error:?}");
    assert_eq!(error.hint(), Some(format!("ps -fp {holder}")));
}

#[test]
fn a_daemon_without_a_socket_is_found_by_its_environment() {
    let home = Home::new();
    let mut running = home.standin().start().unwrap();
    assert_eq!(serving_processes(&home.path(), "MYOWNMESH_HOME").len(), 1);
    // A second daemon replaced the socket, or somebody removed it.
    let mut second = home.standin().start().unwrap();
    let strays = serving_processes(&home.path(), "MYOWNMESH_HOME");
    let mut expected = [running.pid(), second.pid()];
    expected.sort_unstable();
    assert_eq!(strays.iter().map(|stray| stray.pid).collect::<Vec<_>>(), expected);
    assert!(strays.iter().all(|stray| stray.program.as_deref() == Some(Path::new(stand_in()))));
    let stray = strays.into_iter().find(|stray| stray.pid == running.pid()).unwrap();
    let path = home.path();
    let stopped = std::thread::spawn(move || stop_serving_process(&stray, &path, "MYOWNMESH_HOME", GRACE));
    assert!(running.wait(SLACK).unwrap().success());
    assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
    assert!(second.is_running());
    let nobody = serving_processes(&home.root().join("other"), "MYOWNMESH_HOME");
    assert!(nobody.is_empty());
}

/// Another user's daemon is refused before the first request. Needs root.
#[test]
fn another_users_daemon_is_refused_unless_it_is_the_homes_owner() {
    if !can_be_root() {
        return;
    }
    let nobody = 65534;
    let home = Home::new();
    let trace = home.dir.path().join("trace");
    std::fs::DirBuilder::new().create(home.path()).unwrap();
    for path in [home.dir.path(), home.path().as_std_path()] {
        std::os::unix::fs::chown(path, Some(nobody), Some(nobody)).unwrap();
    }
    // A copy of the program that the other user can run.
    let program = home.dir.path().join("myownmesh");
    let mut copy = std::fs::OpenOptions::new().create_new(true).write(true).open(&program).unwrap();
    std::io::copy(&mut std::fs::File::open(stand_in()).unwrap(), &mut copy).unwrap();
    copy.set_permissions(std::fs::Permissions::from_mode(0o755)).unwrap();
    drop(copy);
    let mut child = Command::new(&program)
        .arg("serve")
        .env("MYOWNMESH_HOME", home.path())
        .env("STAND_IN_TRACE", &trace)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .uid(nobody)
        .gid(nobody)
        .spawn()
        .unwrap();
    let socket = home.path().join("daemon.sock");
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    let found = probe(&home.endpoint(), SLACK);
    assert!(
        matches!(found, Probe::ForeignOwner { uid, pid } if uid == nobody && pid == Some(child.id())),
        "{found:?}"
    );
    let Decision::Refuse(refusal) = detect(&[Target::own(home.endpoint(), home.expected())]).decision else {
        panic!()
    };
    assert_eq!(refusal.code(), "daemon.foreign-owner");
    assert_eq!(Client::connect(&home.endpoint(), SLACK).unwrap_err().code(), "daemon.foreign-owner");
    assert_eq!(stop_daemon(&home.endpoint(), GRACE).unwrap_err().code(), "daemon.foreign-owner");
    assert_eq!(spawn(&home.request(vec![standin()])).unwrap_err().code(), "daemon.foreign-owner");
    assert!(std::fs::symlink_metadata(&trace).is_err(), "it was not asked anything");
    // For root at work in that user's home, it is the right daemon.
    assert!(matches!(probe(&home.endpoint().owned_by(nobody), SLACK), Probe::Answered { .. }));
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A daemon that goes into the background leaves the process group, and its parent ends with
/// success.
#[rstest]
#[case::at_once("")]
#[case::slowly("sleep 0.1; ")]
fn a_daemon_that_goes_into_the_background_is_not_left_there(#[case] before: &str) {
    let home = Home::new();
    // The daemon waits for the exit of its parent: a daemon that answers earlier is a start.
    let parent_exits = "while grep -qs 'State:.[RSD]' /proc/$0/status; do :; done; ";
    let daemon = format!("{parent_exits}{before}exec {} serve", stand_in());
    let forks = home.script("forks", &format!("setsid sh -c \"{}\" $$ & exit 0", daemon.replace('$', "\\$")));
    let error = spawn(&home.request(vec![forks])).map(end).unwrap_err();
    assert!(
        matches!(
            error.tried().first().and_then(|tried| tried.failure.as_ref()),
            Some(CandidateFailure::Ended { .. })
        ),
        "{error:?}"
    );
    assert!(processes_of(&home.path()).is_empty(), "{before}");
    // The next candidate has the home to itself.
    let mut spawned = spawn(&home.request(vec![standin()])).unwrap();
    assert!(spawned.take_client(SLACK).unwrap().status().is_ok() && spawned.take_client(SLACK).is_none());
    end(spawned);
}

#[test]
fn a_daemon_that_goes_into_the_background_is_not_left_there_if_its_parent_ends_later() {
    let home = Home::new();
    let leaves =
        format!("setsid \"{}\" serve & until [ -e \"$MYOWNMESH_HOME/go\" ]; do sleep 0.01; done", stand_in());
    let mut spawned = spawn(&home.request(vec![home.script("leaves", &leaves)])).unwrap();
    std::fs::DirBuilder::new().create(home.path().join("go")).unwrap();
    eventually("its parent goes", || processes_of(&home.path()).len() == 1);
    assert!(spawned.try_wait().unwrap().is_none(), "the daemon itself goes on");
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn a_daemon_that_goes_into_the_background_is_not_left_there_if_its_parent_runs_on() {
    let home = Home::new();
    let wrapper = home.script("wrapper", &format!("setsid \"{}\" serve & sleep 600 & wait", stand_in()));
    let spawned = spawn(&home.request(vec![wrapper])).unwrap();
    eventually("the script, its daemon and what it waits for", || processes_of(&home.path()).len() == 3);
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn a_daemon_that_goes_into_the_background_is_not_left_there_without_its_environment() {
    let home = Home::new();
    let clears = format!("setsid env -i MYOWNMESH_HOME=\"$MYOWNMESH_HOME\" \"{}\" serve & wait", stand_in());
    let spawned = spawn(&home.request(vec![home.script("clears", &clears)])).unwrap();
    assert_eq!(processes_of(&home.path()).len(), 2);
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
}

#[rstest]
fn a_start_that_is_broken_off_leaves_nothing_behind(
    #[values("slow-start:60000", "silent", "silent,ignore-term")] mode: &str,
) {
    let home = Home::new();
    let looks = std::cell::Cell::new(0);
    let cancelled = || {
        looks.set(looks.get() + 1);
        looks.get() > 30
    };
    let error =
        bounded(Duration::from_secs(1), || spawn_unless(&home.misbehaving(mode), &cancelled)).unwrap_err();
    assert!(matches!(error, SpawnError::Cancelled), "{mode}: {error:?}");
    assert!(processes_of(&home.path()).is_empty(), "{mode}");
    assert_eq!(zombies(), 0, "{mode}");
}

/// The connection that found the daemon carries the next requests.
#[test]
fn the_connection_that_found_it_is_the_conversation() {
    let (shared, own) = (Home::new(), Home::new());
    let targets = || [Target::shared(shared.endpoint()), Target::own(own.endpoint(), own.expected())];
    let (found, client) = attach(&targets(), SLACK);
    assert!(found.decision == Decision::Spawn && client.is_none());
    let trace = own.dir.path().join("trace");
    let running = own.standin().trace(&trace).start().unwrap();
    let (found, client) = attach(&targets(), SLACK);
    assert!(matches!(found.decision, Decision::Attach { role: Role::Own, .. }), "{found:?}");
    let mut client = client.unwrap();
    assert_eq!(client.pid(), Some(running.pid()));
    client.config_show().unwrap();
    let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&trace), lines(&own.dir.path().join("trace.connections"))), (2, 1));
}
