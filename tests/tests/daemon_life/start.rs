//! Starts: which program is started, what it gets, and what is left of a start that fails.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{GRACE, Home, SLACK, bounded, end, processes_of, standin, zombies};
use integration_tests::testkit::{eventually, stand_in};
use myownllm_daemon::{
    Candidate, CandidateFailure, DaemonControl, Decision, Endpoint, Origin, SpawnError, Target, detect,
    spawn, spawn_unless,
};
use rstest::rstest;
use rustix::fs::{FlockOperation, flock};

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

    // A dangling symlink: the daemon would make a new key.
    std::fs::DirBuilder::new().recursive(true).create(home.path().join(".secrets")).unwrap();
    let identity = home.path().join(".secrets/identity.json");
    let request = home.request(vec![standin()]);
    symlink("nowhere", &identity).unwrap();
    assert_eq!(spawn(&request).unwrap_err().code(), "migration.identity-unreachable");
    assert!(processes_of(&home.path()).is_empty());
    assert_eq!(home.permit().unwrap_err().code(), "migration.identity-unreachable");

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
