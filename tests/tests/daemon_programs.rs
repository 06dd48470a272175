//! A daemon program that cannot be started: the cause is told, and the printed command mends it.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]
#![allow(clippy::print_stderr, reason = "a test that is skipped says so")]

mod support;

use std::process::Command;

use rstest::rstest;
use serde_json::Value;
use support::{Home, run};

const STAND_IN: &str = env!("CARGO_BIN_EXE_stand-in-daemon");

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
#[case::windows_line_endings(&format!("#!/bin/sh\r\nexec '{STAND_IN}' \"$@\"\r\n"), "Windows line endings")]
#[case::missing_interpreter(
    "#!/opt/no-such-shell -e\n",
    "the interpreter of the script, /opt/no-such-shell, is missing"
)]
fn a_script_that_does_not_start_is_told_with_its_cause(#[case] script: &str, #[case] cause: &str) {
    let told = refused(&Home::settled(), script);
    assert_eq!(told["code"], "daemon.not-started");
    assert!(told["causes"].to_string().contains(cause), "{told:#}");
}

#[test]
fn windows_line_endings_are_mended_by_the_printed_command() {
    let home = Home::settled();
    let script = format!("#!/bin/sh\r\nexec '{STAND_IN}' \"$@\"\r\n");
    let told = refused(&home, &script);
    let hint = told["hint"].as_str().unwrap();
    run(Command::new("/bin/sh").args(["-c", hint])).ends_with(0);
    assert_eq!(home.bytes("bin/daemon script.bak"), script.as_bytes(), "the former script is kept");
    let launch = &mut home.command(&["launch", "--once"]);
    run(launch.env("MYOWNMESH_BIN", home.path("bin/daemon script"))).ends_with(0);
}

/// Some sandboxes answer EPERM to a call that they do not know.
#[rstest]
#[case::eperm("EPERM")]
#[case::enosys("ENOSYS")]
fn a_sandbox_that_refuses_the_question_does_not_make_the_program_unusable(#[case] errno: &str) {
    let home = Home::settled();
    let program = home.with_daemon(&["launch", "--once"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("inject=faccessat2:error={errno}")]);
    let traced = strace.arg(program.get_program()).args(program.get_args()).env("MYOWNMESH_BIN", STAND_IN);
    traced.env_remove("MYOWNMESH_HOME").current_dir("/");
    let can_trace = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    if !can_trace.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: strace is not here, or may not trace");
    }
    run(traced).ends_with(0);
}
