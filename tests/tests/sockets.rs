//! The daemon's socket path, and the way out if it is too long.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::testkit::{APP, Home, MESH, Ran, program, run, set_mode, stand_in};
use serde_json::Value;

/// Makes a home whose path has this many bytes, with the daemon's state still in the app's home.
fn long_home(length: usize) -> (Home, PathBuf) {
    let home = Home::after_the_bug();
    let missing = length - home.path("").as_os_str().len() - 1;
    let long = home.path(&"l".repeat(missing));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(home.path(APP), long.join(APP)).unwrap();
    assert_eq!(long.as_os_str().len(), length);
    (home, long)
}

fn on(home: &Path, args: &[&str]) -> Ran {
    let mut command = Command::new(program());
    command.env_remove("MYOWNMESH_HOME").env_remove("MYOWNLLM_MESH_BIN").env("HOME", "/nonexistent");
    command.env("MYOWNMESH_BIN", stand_in()).current_dir("/");
    run(command.arg("--home").arg(home).args(args))
}

/// Runs a hint as printed, with an editor that writes `writes` into the file.
fn follow(hint: &str, home: &Home, writes: &str) {
    let editor = home.path("editor");
    std::fs::write(&editor, format!("#!/bin/sh\ncat > \"$1\" <<'END'\n{writes}\nEND\n")).unwrap();
    set_mode(&editor, 0o755);
    let ran = run(Command::new("sh").args(["-c", hint]).env("EDITOR", &editor));
    assert_eq!(ran.code, Some(0), "{hint}: {ran:?}");
}

fn refusal(said: &Value) -> &Value {
    let refusal = &said["diagnostics"][0];
    assert_eq!(refusal["code"], "paths.socket-too-long", "{said:#}");
    refusal
}

/// Only the length of the socket path in the daemon's config counts; the length of the default path
/// does not.
#[test]
fn a_short_control_socket_is_the_way_out_of_a_home_that_is_too_deep() {
    // Too long in the daemon home; also in the stand-alone daemon's home; also at the old location.
    for length in [79, 88, 120] {
        let (home, long) = long_home(length);
        let foreseen = on(&long, &["doctor", "--json"]).ends_with(4).check("socket.length");
        let said = on(&long, &["launch", "--once", "--json"]).ends_with(7).json();
        let hint = refusal(&said)["hint"].as_str().unwrap().to_owned();
        assert_eq!(foreseen["hint"], hint.as_str(), "{length}: {foreseen:#}");
        assert!(!long.join(MESH).exists(), "{length}: nothing was made");

        let socket = home.path("short.sock");
        for _ in 0..2 {
            follow(&hint, &home, &format!(r#"{{"daemon": {{"control_socket": "{}"}}}}"#, socket.display()));
        }
        let foreseen = on(&long, &["doctor", "--json"]).check("socket.length");
        assert_eq!(foreseen["result"], "ok", "{length}: {foreseen:#}");
        let said = on(&long, &["launch", "--once", "--json"]).ends_with(0).json();
        assert_eq!(said["data"]["daemon"]["socket"], socket.to_str().unwrap(), "{length}: {said:#}");
        assert!(long.join(MESH).join(".secrets/identity.json").exists(), "{length}: the key has moved");
        on(&long, &["doctor"]).ends_with(0);
        let status = on(&long, &["status"]).ends_with(0);
        assert!(status.stdout.contains("start the app's daemon"), "{length}: {status:?}");
        let paths = on(&long, &["paths", "--mode", "own-llm", "--json"]).ends_with(0).json();
        assert_eq!(paths["data"]["sockets"]["own-llm"]["socket"], socket.to_str().unwrap());
        assert!(!paths["diagnostics"].to_string().contains("too-long"), "{length}: {paths:#}");
        // A running daemon at that path is found and used.
        let said = on(&long, &["launch", "--detach", "--json"]).ends_with(0).json();
        let pid = said["data"]["daemon"]["pid"].as_u64().unwrap();
        let said = on(&long, &["launch", "--once", "--json"]).ends_with(0).json();
        assert_eq!(said["data"]["daemon"]["pid"], pid, "{length}: {said:#}");
        run(Command::new("kill").arg(pid.to_string())).ends_with(0);
    }
}

/// The repair gives the daemon its socket.
#[test]
fn short_control_socket_of_an_overwritten_config_is_judged_alone() {
    let (home, long) = long_home(79);
    let socket = home.path("short.sock");
    let config = std::fs::read_to_string(long.join(APP).join("config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&config).unwrap();
    config["daemon"]["control_socket"] = socket.to_str().unwrap().into();
    std::fs::write(long.join(APP).join("config.json"), config.to_string()).unwrap();
    let doctor = on(&long, &["doctor", "--json"]).ends_with(4);
    for check in ["socket.length", "daemon.own"] {
        assert_eq!(doctor.check(check)["result"], "ok", "{doctor:?}");
    }
    let said = on(&long, &["launch", "--once", "--json"]).ends_with(0).json();
    assert_eq!(said["data"]["daemon"]["socket"], socket.to_str().unwrap(), "{said:#}");
}

/// A daemon's config that cannot be read is not treated as an empty one.
#[test]
fn a_daemons_config_that_cannot_be_read_is_the_reason_that_is_reported() {
    let home = Home::settled();
    let config = home.path(MESH).join("config.json");
    std::os::unix::fs::symlink("config.json", &config).unwrap();
    let said = on(&home.path(""), &["launch", "--once", "--json"]).ends_with(1).json();
    let found = &said["diagnostics"][0];
    assert_eq!(
        (&found["code"], &found["path"]),
        (&"daemon.config-unreadable".into(), &config.to_str().unwrap().into()),
        "{said:#}"
    );
    on(&home.path(""), &["doctor", "--json"]).ends_with(4).check("daemon.config-unreadable");
    let paths = on(&home.path(""), &["paths"]).ends_with(0);
    assert!(paths.stderr.contains(config.to_str().unwrap()), "{paths:?}");
}
