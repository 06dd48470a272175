//! Ends: which process is signalled, and what is seen of its end.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::{GRACE, Home, SLACK, WITHIN, bounded, is_zombie, processes_of, standin, zombies};
use integration_tests::testkit::{Signal, StandIn, can_be_root, eventually, is_alive, send_signal, stand_in};
use myownllm_daemon::{
    Client, DaemonExit, Decision, Endpoint, HomeDaemons, Probe, StopError, StoppedDaemon, Target, detect,
    probe, spawn, stop_daemon,
};
use rstest::rstest;

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
fn the_end_of_a_daemon_in_a_script_is_the_daemons(#[case] then: &str, #[case] reported: Option<i32>) {
    let home = Home::new();
    let script =
        home.script("wrapper", &format!("STAND_IN_MODE=dies-in:200 \"{}\" \"$@\"{then}", stand_in()));
    let mut spawned = spawn(&home.request(vec![script])).unwrap();
    let wait = spawned.exit_watch().unwrap();
    assert_eq!(spawned.try_wait().unwrap(), None);
    wait.wait().unwrap();
    match spawned.wait_within(SLACK).unwrap().unwrap() {
        DaemonExit::Status(status) => assert_eq!(status.code(), reported),
        end => assert_eq!((end, reported), (DaemonExit::Unknown, None)),
    }
    spawned.stop(GRACE).unwrap();
    assert!(processes_of(&home.path()).is_empty());
}

#[test]
fn daemon_that_ignores_sigterm_is_killed() {
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

/// A child of the daemon inherited its socket: the daemon itself has ended, and its PID may belong
/// to another process.
#[test]
fn ended_daemon_whose_socket_a_child_holds_is_reported_as_ended() {
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
