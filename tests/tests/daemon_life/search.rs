//! The search for a running daemon.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{GRACE, Home, SLACK, WITHIN, processes_of};
use integration_tests::standin::Version;
use integration_tests::testkit::{eventually, stand_in};
use myownllm_daemon::identity::camino::Utf8Path;
use myownllm_daemon::{
    Client, DaemonControl, Decision, HomeDaemons, Role, ServingProcess, StoppedDaemon, Target, attach,
    detect, probe, serving_processes, stop_serving_process,
};
use serde_json::json;

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
    for value in ["mesh-home", "./mesh-home", " mesh-home\n"] {
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
    let mut child = started(&other, "mesh-home");
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

/// The user's `~/.myownmesh` leads to the app's daemon home, and the daemon is told no home.
#[test]
fn daemon_that_found_its_home_by_a_symlink_is_found_without_a_socket() {
    let home = Home::new();
    std::fs::create_dir_all(home.path()).unwrap();
    let user_home = home.root().join("user");
    std::fs::create_dir(&user_home).unwrap();
    std::os::unix::fs::symlink(home.path(), user_home.join(".myownmesh")).unwrap();
    let mut command = Command::new(stand_in());
    command.arg("serve").env_remove("MYOWNMESH_HOME").env("HOME", &user_home);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let socket = home.path().join("daemon.sock");
    eventually("it listens", || UnixStream::connect(&socket).is_ok());
    std::fs::remove_file(&socket).unwrap();
    let strays = serving_processes(&home.path(), "MYOWNMESH_HOME");
    assert_eq!(strays.iter().map(|stray| stray.pid).collect::<Vec<_>>(), [child.id()]);
    assert!(serving_processes(home.root(), "MYOWNMESH_HOME").is_empty());
    let (stray, path) = (strays[0].clone(), home.path());
    let stopped = std::thread::spawn(move || stop_serving_process(&stray, &path, "MYOWNMESH_HOME", GRACE));
    child.wait().unwrap();
    assert!(matches!(stopped.join().unwrap().unwrap(), StoppedDaemon::Stopped { .. }));
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
