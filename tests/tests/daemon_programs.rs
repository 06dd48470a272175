//! A daemon program that cannot be started: the cause is reported, and the printed command mends
//! it.

#![cfg(target_os = "linux")]

use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::testkit::{Home, can_trace, path_with_program, run, stand_in, wrapped};
use rstest::rstest;
use serde_json::Value;

/// Runs a launch with a script of this text as the daemon's program; returns its first diagnostic.
fn refused(home: &Home, script: &str) -> Value {
    home.put("bin/daemon script", script.as_bytes(), 0o755);
    let ran = run(home
        .command(&["launch", "--once", "--json"])
        .env("MYOWNMESH_BIN", home.path("bin/daemon script")));
    let ran = ran.ends_with(5);
    ran.json()["diagnostics"][0].clone()
}

#[rstest]
#[case::windows_line_endings(
    &format!("#!/bin/sh\r\nexec '{}' \"$@\"\r\n", stand_in()),
    "Windows line endings"
)]
#[case::missing_interpreter(
    "#!/opt/no-such-shell -e\n",
    "the interpreter of the script, /opt/no-such-shell, is missing"
)]
#[case::empty("", "the file is empty")]
#[case::text("myownmesh 0.3.8\n", "the file is no program")]
#[case::no_interpreter("#!\n", "the script names no interpreter")]
#[case::interpreter_that_is_not_executable("#!/etc/passwd\n", "/etc/passwd, is not executable")]
#[case::header_alone("\x7fELF\x02\x01\x01", "the program file is incomplete")]
fn a_script_that_does_not_start_is_reported_with_its_cause(#[case] script: &str, #[case] cause: &str) {
    let reported = refused(&Home::settled(), script);
    assert_eq!(reported["code"], "daemon.not-started");
    assert!(reported["causes"].to_string().contains(cause), "{reported:#}");
}

#[test]
fn program_that_writes_without_end_is_given_up_and_its_log_is_cut() {
    let home = Home::settled();
    let reported = refused(&home, "#!/bin/sh\nexec yes\n");
    assert!(reported["causes"].to_string().contains("it writes into its log without end"), "{reported:#}");
    let log = home.bytes(".myownllm/.myownmesh/daemon.log");
    assert!(log.len() < 2 << 20 && log.ends_with(b"y\n"), "{}", log.len());
}

/// An older daemon than the one that the user names drops what it does not know.
#[rstest]
#[case::missing(None, true)]
#[case::no_program(Some(""), true)]
#[case::ends(Some("#!/bin/sh\nexit 3\n"), false)]
fn program_of_a_variable_that_another_one_replaces_is_named(
    #[case] script: Option<&str>,
    #[case] is_foreseen: bool,
) {
    let home = Home::settled();
    let named = home.path("bin/named");
    script.into_iter().for_each(|script| home.put("bin/named", script.as_bytes(), 0o755));
    let warning = |args: &[&str]| {
        let said = run(home.with_daemon(args).env("MYOWNLLM_MESH_BIN", &named)).ends_with(0).json();
        let mut reported = said["diagnostics"].as_array().unwrap().clone().into_iter();
        reported.find(|reported| reported["code"] == "daemon.override-skipped")
    };
    assert_eq!(warning(&["doctor", "--json"]).is_some(), is_foreseen);
    let reported = warning(&["launch", "--once", "--json"]).expect("the launch names it");
    assert!(reported["message"].as_str().unwrap().contains(named.to_str().unwrap()), "{reported:#}");
    assert!(!reported["causes"].as_array().unwrap().is_empty(), "{reported:#}");
}

#[test]
fn windows_line_endings_are_mended_by_the_printed_command() {
    let home = Home::settled();
    let script = format!("#!/bin/sh\r\nexec '{}' \"$@\"\r\n", stand_in());
    let reported = refused(&home, &script);
    let hint = reported["hint"].as_str().unwrap();
    run(Command::new("/bin/sh").args(["-c", hint])).ends_with(0);
    assert_eq!(home.bytes("bin/daemon script.bak"), script.as_bytes(), "the former script is kept");
    let launch = &mut home.command(&["launch", "--once"]);
    run(launch.env("MYOWNMESH_BIN", home.path("bin/daemon script"))).ends_with(0);
}

/// A machine on which the daemon takes longer to start than the app of today waits.
fn slow(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap();
    command.env("MYOWNMESH_BIN", stand_in()).env("STAND_IN_MODE", "slow-start:2500").env("PATH", path)
}

#[test]
fn a_daemon_that_starts_slowly_is_given_the_time_by_the_printed_command() {
    let home = Home::settled();
    let mut launch = home.command(&["launch", "--detach", "--daemon-wait", "1", "--json"]);
    let reported = run(slow(&mut launch)).ends_with(5).json()["diagnostics"][0].clone();
    assert_eq!(reported["code"], "daemon.not-started");
    assert!(reported["causes"].to_string().contains("did not answer within 1000 ms"), "{reported:#}");
    let hint = reported["hint"].as_str().unwrap();
    assert!(hint.ends_with(" launch --daemon-wait 4"), "{hint}");
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("exec {hint}")]).current_dir("/");
    let mut shell = slow(&mut shell).env("PATH", path_with_program()).spawn().unwrap();
    let ready = Instant::now() + Duration::from_secs(20);
    while home.run(&["daemon", "status"]).code != Some(0) {
        assert!(Instant::now() < ready, "no daemon after {hint}");
        std::thread::sleep(Duration::from_millis(50));
    }
    run(Command::new("kill").arg(shell.id().to_string())).ends_with(0);
    assert!(shell.wait().unwrap().success());
    assert_eq!(home.run(&["daemon", "status"]).code, Some(5));
}

#[test]
fn a_restart_gives_a_slow_daemon_the_time_that_is_asked_for() {
    let home = Home::settled();
    run(slow(&mut home.command(&["daemon", "restart", "--daemon-wait", "1"]))).ends_with(5);
    run(slow(&mut home.command(&["daemon", "restart", "--daemon-wait", "20"]))).ends_with(0);
    home.run(&["daemon", "stop"]).ends_with(0);
}

#[rstest]
#[case::nothing("0")]
#[case::more_than_the_lock_may_be_held("601")]
#[case::words("soon")]
fn a_wait_that_makes_no_sense_is_a_usage_error(#[case] seconds: &str) {
    let home = Home::settled();
    home.run(&["launch", "--once", "--daemon-wait", seconds]).ends_with(2);
}

/// Some sandboxes answer EPERM to a call that they do not know.
#[rstest]
#[case::eperm("EPERM")]
#[case::enosys("ENOSYS")]
fn a_sandbox_that_refuses_the_question_does_not_make_the_program_unusable(#[case] errno: &str) {
    let home = Home::settled();
    if !can_trace() {
        return;
    }
    let fault = format!("inject=faccessat2:error={errno}");
    let strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &fault];
    run(&mut wrapped(&strace, &home.with_daemon(&["launch", "--once"]))).ends_with(0);
}
