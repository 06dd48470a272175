//! Limits of the process, output that nobody reads, and odd values of `HOME`.

#![cfg(unix)]

use std::os::unix::ffi::OsStrExt as _;
use std::{path::Path, process::Command};

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, path_with_program, program, run, stand_in, within,
};
use rstest::rstest;

#[rstest]
#[case::no_stdout("exec >&-")]
#[case::no_stderr("exec 2>&-")]
#[case::neither("exec >&- 2>&-")]
#[case::full_device("exec >/dev/full 2>/dev/full")]
#[case::pipe_without_reader("exec >/dev/null; mkfifo $1/../p; exec 3<>$1/../p 2>$1/../p 3<&-")]
fn closed_output_stops_no_command(#[case] redirect: &str) {
    if redirect.contains("/dev/full") && !Path::new("/dev/full").exists() {
        return;
    }
    let home = Home::after_the_bug();
    let before = home.state();
    // The collision makes the run print an error as well.
    home.put(&format!("{MESH}/mesh/rosters/home-mesh.json"), b"{}", 0o600);
    for args in [&["status"][..], &["doctor"], &["migrate"], &["launch", "--no-daemon"]] {
        let ran = within(&home, redirect, args);
        assert!(ran.code.is_some_and(|code| (0..=8).contains(&code)), "{args:?}: {ran:?}");
    }
    let after = home.state();
    assert!(before.iter().all(|file| after.contains(file)));
}

/// Limits that a shell or a service manager sets.
#[rstest]
#[case::four_handles("ulimit -n 4")]
#[case::five_handles("ulimit -n 5")]
#[case::six_handles("ulimit -n 6")]
#[case::eight_handles("ulimit -n 8")]
#[case::no_file_may_grow("ulimit -f 0")]
#[case::short_files("ulimit -f 1")]
#[case::little_memory("ulimit -v 60000")]
fn limits_of_the_process_lose_nothing(#[case] limit: &str) {
    let home = Home::after_the_bug();
    let before = home.state();
    for args in [&["migrate"][..], &["launch", "--no-daemon"], &["salvage"]] {
        let ran = within(&home, limit, args);
        // With too little memory the loader may be killed before the program starts. Under every
        // other limit the program ends by itself.
        assert!(ran.code.is_some() || limit.contains("-v"), "ended by a signal: {ran:?}");
        assert!(!ran.all().contains("panicked"), "{ran:?}");
        if limit == "ulimit -f 0" && args == ["salvage"] {
            assert_eq!(ran.code, Some(1), "{ran:?}");
            assert!(
                ran.stderr.contains("config-backups") && ran.stderr.contains("File too large"),
                "{ran:?}"
            );
        }
        let after = home.state();
        assert!(before.iter().all(|file| after.contains(file)), "{ran:?}");
    }
    home.converges(&before);
}

#[test]
fn a_home_is_taken_from_home_alone_and_an_odd_one_is_named() {
    let home = Home::legacy();
    let run_in = |value: Option<&std::ffi::OsStr>, args: &[&str]| {
        let mut command = Command::new(program());
        command.args(args).current_dir(home.path("")).env_remove("MYOWNMESH_HOME").env_remove("HOME");
        if let Some(value) = value {
            command.env("HOME", value);
        }
        run(&mut command)
    };
    let before = home.snapshot();
    for odd in ["relative", "."] {
        for args in [&["status"][..], &["migrate"], &["launch", "--no-daemon"]] {
            let ran = run_in(Some(odd.as_ref()), args).ends_with(1);
            assert!(ran.stderr.contains("paths."), "{odd:?}: {ran:?}");
        }
    }
    let absent = home.path("no/such/home");
    for args in [&["migrate"][..], &["launch", "--no-daemon"]] {
        run_in(Some(absent.as_os_str()), args).is_sound();
    }
    assert!(!absent.exists(), "a home that was mistyped is not made");
    assert!(home.snapshot() == before);
    let mut trailing = home.path("").into_os_string();
    trailing.push("//");
    run_in(Some(&trailing), &["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY));
}

/// The daemon reads the path of its home as text, and would use another home.
#[test]
fn home_that_is_not_utf8_is_refused_and_works_through_the_symlink_of_the_hint() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    let legacy = Home::legacy();
    assert!(Command::new("cp").arg("-a").arg(legacy.path("")).arg(&odd).status().unwrap().success());
    let ran_with = |home: &std::ffi::OsStr, args: &[&str]| {
        let mut command = Command::new(program());
        run(command.args(args).env_remove("MYOWNMESH_HOME").env("HOME", home))
    };
    let commands: [&[&str]; 5] = [&["status"], &["doctor"], &["migrate"], &["launch", "--no-daemon"], &[]];
    for args in commands {
        let ran = ran_with(odd.as_os_str(), args).ends_with(7);
        assert_eq!(ran.stderr.matches("is not UTF-8").count(), 1, "{args:?}: {ran:?}");
    }
    let reported = ran_with(odd.as_os_str(), &["status", "--json"]).ends_with(7).json();
    let reported = reported["diagnostics"].as_array().unwrap();
    assert_eq!((reported.len(), &reported[0]["code"]), (1, &"paths.home-not-utf8".into()), "{reported:?}");
    let hint = reported[0]["hint"].as_str().unwrap();
    let mut shell = Command::new("sh");
    let script = hint.replace(" status' ", " status && echo \"$home\"' ");
    assert_ne!(script, hint);
    shell.args(["-c", &script]).env("PATH", path_with_program());
    let shown = run(&mut shell).ends_with(0).stdout;
    let home = Path::new(shown.trim_end().lines().last().unwrap());
    let is_moved = || std::fs::symlink_metadata(odd.join(MESH).join(".secrets/identity.json")).is_ok();
    assert!(home.starts_with("/var/tmp") && !is_moved(), "{shown}");
    ran_with(home.as_os_str(), &["launch", "--no-daemon"]).ends_with(0);
    assert!(is_moved());
    let mut launch = Command::new(program());
    launch.args(["launch", "--once"]).env_remove("MYOWNMESH_HOME").env("HOME", home);
    run(launch.env("MYOWNMESH_BIN", stand_in())).ends_with(0);
    std::fs::remove_file(home).unwrap();
    std::fs::remove_dir(home.parent().unwrap()).unwrap();
}

/// A home that does not exist has no problems; a mistyped path must not pass for a healthy home.
#[test]
fn a_home_that_is_not_there_is_reported() {
    let home = Home::empty();
    let mistyped = home.path("").join("typo");
    for args in
        [&["status"][..], &["doctor"], &["migrate"], &["salvage"], &["config", "check"], &["network", "list"]]
    {
        let mut command = Command::new(program());
        let ran = run(command.arg("--home").arg(&mistyped).args(args).args(["--json"]));
        let reported = ran.json()["diagnostics"].to_string();
        assert!(reported.contains("paths.home-missing"), "{args:?}: {reported}");
        assert!(!home.run(&[args, &["--json"]].concat()).json().to_string().contains("home-missing"));
    }
    assert!(!mistyped.exists());
    let mut status = Command::new(program());
    let reported = run(status.arg("--home").arg(&mistyped).args(["status", "--json"])).json();
    assert_eq!(reported["diagnostics"].as_array().unwrap().len(), 1, "one cause is told once: {reported:#}");
}

/// A completed path may name a file in the home. That is one cause, with the command that was meant.
#[rstest]
#[case::in_the_apps_home(CONFIG)]
#[case::beside_the_apps_home("notes.txt")]
fn a_home_that_is_a_file_is_one_problem(#[case] file: &str) {
    let home = Home::settled();
    home.put("notes.txt", b"mine", 0o600);
    let said = |args: &[&str]| {
        let mut command = Command::new(program());
        run(command.arg("--home").arg(home.path(file)).args(args).arg("--json"))
    };
    let doctor = said(&["doctor"]).ends_with(4).json();
    assert_eq!(doctor["data"]["problems"], 1, "{doctor:#}");
    let is_problem = |check: &&serde_json::Value| check["result"] == "problem";
    let problem = doctor["data"]["checks"].as_array().unwrap().iter().find(is_problem).unwrap();
    let meant = format!("--home {} ", home.path("").display().to_string().trim_end_matches('/'));
    assert!(problem["hint"].as_str().unwrap().contains(&meant), "{problem:#}");
    let launch = said(&["launch", "--no-daemon"]).ends_with(7).json();
    let errors =
        launch["diagnostics"].as_array().unwrap().iter().filter(|reported| reported["severity"] == "error");
    assert_eq!(errors.count(), 1, "{launch:#}");
}

/// `status` predicts a refusal of `launch`.
#[test]
fn a_status_says_that_nothing_moves_to_where_no_daemon_can_listen() {
    let home = Home::after_the_bug();
    let long = home.path(&"long".repeat(25));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(home.path(APP), long.join(APP)).unwrap();
    let here = |args: &[&str]| run(home.command(&[]).args(args).arg("--home").arg(&long));
    let status = here(&["status", "--check", "--json"]).ends_with(7).json();
    assert!(status["data"]["launch_would"].to_string().contains("refuse to change anything"), "{status:#}");
    let launched = here(&["launch", "--no-daemon", "--json"]).ends_with(7).json();
    let codes = |ran: &serde_json::Value| ran["diagnostics"].to_string().contains("paths.socket-too-long");
    assert!(codes(&status) && codes(&launched));
    assert!(long.join(OLD_KEY).exists());
}

/// A service that still passes the old home of the daemon names it by a symlink.
#[rstest]
#[case::home(APP)]
#[case::directory_in_it(MESH)]
fn daemon_home_variable_that_leads_into_the_apps_home_is_passed_over(#[case] target: &str) {
    let home = Home::settled();
    std::os::unix::fs::symlink(home.path(target), home.path("link")).unwrap();
    let shared = home.daemon(".myownmesh").start().unwrap();
    let with_link =
        |command: &mut Command| run(command.env("MYOWNMESH_HOME", home.path("link"))).ends_with(0);
    let paths = with_link(&mut home.command(&["paths", "--json"])).json();
    let expected = home.path(".myownmesh");
    assert_eq!(paths["data"]["paths"]["shared_home"]["path"].as_str(), expected.to_str());
    let said = with_link(&mut home.launch("", &["--once", "--json"])).json();
    assert_eq!(said["data"]["daemon"]["role"], "shared", "{said:#}");
    drop(shared);
}
