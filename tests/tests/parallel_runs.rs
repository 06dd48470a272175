//! Many runs at once on one home: one does the work, and all succeed.

use std::process::{Command, Stdio};

use integration_tests::testkit::{APP, CONFIG, Home, MESH};

/// Runs fifty at once: one does the work, the others wait and find it done. All succeed.
fn fifty(args: &[&str]) {
    let home = Home::after_the_bug();
    let former = home.bytes(CONFIG);
    let state: Vec<_> = [
        ".secrets/identity.json",
        "mesh/rosters/home-mesh.json",
        "mesh/rosters/office-mesh.json",
        "mesh/states/home-mesh.json",
    ]
    .map(|file| (file, home.bytes(&format!("{APP}/{file}"))))
    .into();
    let start = |_| {
        home.command(args)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..50).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (file, bytes) in state {
        assert_eq!(home.bytes(&format!("{MESH}/{file}")), bytes, "{file}");
        assert!(!home.has(&format!("{APP}/{file}")), "{file} is left twice");
    }
    home.still_has(&former, "config.json");
    let settled = home.snapshot();
    home.run(args).ends_with(0);
    assert!(home.snapshot() == settled);
}

#[test]
fn fifty_migrations_at_once() {
    fifty(&["migrate"]);
}

#[test]
fn fifty_launches_at_once() {
    fifty(&["launch", "--no-daemon"]);
}

#[test]
fn fifty_of_both_at_once_leave_one_healthy_config() {
    let home = Home::after_the_bug();
    let start = |n: usize| {
        let args: &[&str] = if n.is_multiple_of(2) { &["migrate"] } else { &["launch", "--no-daemon"] };
        home.command(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..50).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let config = home.json(CONFIG);
    assert!(config["providers"].is_array() && config.get("networks").is_none(), "{config}");
    home.run(&["status", "--check"]).ends_with(0);
}

/// Twelve launches start at once, with a slow daemon: one daemon starts, with one key, and all use
/// it.
#[cfg(unix)]
#[test]
fn one_of_many_concurrent_launches_starts_the_daemon() {
    let home = Home::settled();
    let launches: Vec<_> = (0..12)
        .map(|_| {
            let mut command = home.with_daemon(&["launch", "--detach", "--json"]);
            command.env("STAND_IN_MODE", "slow-start:400");
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let ended: Vec<_> = launches.into_iter().map(|launch| launch.wait_with_output().unwrap()).collect();
    let mut started = Vec::new();
    let mut attached = 0;
    for output in &ended {
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let daemon = &answer["data"]["daemon"];
        match daemon["state"].as_str() {
            Some("spawned") => started.push(daemon["pid"].to_string()),
            Some("attached") => attached += 1,
            _ => {}
        }
    }
    for pid in &started {
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
    }
    // A daemon unlinks its socket as it ends, and the walk below must not meet a name that goes.
    let begun = std::time::Instant::now();
    while home.has(&format!("{MESH}/daemon.sock")) && begun.elapsed().as_secs() < 10 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(ended.iter().all(|output| output.status.success()), "{ended:?}");
    assert_eq!((started.len(), attached), (1, 11), "{ended:?}");
    // No second daemon was started and ended again: each start writes a line, and an earlier log
    // would be a file of its own.
    let logs = home.snapshot().into_iter().filter(|(path, _)| path.to_string_lossy().contains("daemon.log"));
    let logs: Vec<_> = logs.map(|(_, (_, bytes))| String::from_utf8_lossy(&bytes).into_owned()).collect();
    let starts: usize = logs.iter().map(|log| log.matches("[myownllm] ").count()).sum();
    assert_eq!((logs.len(), starts), (1, 1), "{logs:?}");
}

/// A person pressed Ctrl-Z in a run that held the lock. It releases the lock when it is continued.
#[cfg(target_os = "linux")]
#[test]
fn suspended_holder_of_the_lock_is_named_with_the_command_that_continues_it() {
    use integration_tests::testkit::{Signal, eventually, follow, run, send_signal, started};
    let home = Home::legacy();
    let mut command = Command::new("flock");
    command.arg(home.path(APP)).args(["sleep", "2"]);
    let holder = started(command);
    let lock = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    let dir = std::fs::File::open(home.path(APP)).unwrap();
    // A lock that this takes by itself goes again before the next try.
    let try_lock = || {
        rustix::fs::flock(&dir, lock)
            .and_then(|()| rustix::fs::flock(&dir, rustix::fs::FlockOperation::Unlock))
    };
    eventually("the lock is held", || try_lock().is_err());
    send_signal(holder.id(), Signal::STOP);
    let hint = format!("kill -CONT {}", holder.id());
    let doctor = run(&mut home.with_daemon(&["doctor", "--json"])).ends_with(4);
    assert_eq!(doctor.check("homes.suspended-run")["hint"], hint, "{doctor:?}");
    let refused = run(&mut home.launch("", &["--once", "--json"])).ends_with(6);
    assert_eq!(refused.diagnostic("durable-fs.lock-held")["hint"], hint, "{refused:?}");
    follow(&hint.into());
    // The holder ends meanwhile, so the run gets the lock.
    run(&mut home.launch("", &["--once"])).ends_with(0);
    run(&mut home.with_daemon(&["doctor"])).ends_with(0);
    holder.ended();
}
