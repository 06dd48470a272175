//! The program as people, release engineers and support volunteers meet it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]

mod support;

use serde_json::{Value, json};
use support::{APP, Home, run};

fn app_config(home: &Home, bytes: &[u8]) {
    home.put(&format!("{APP}/config.json"), bytes, 0o600);
}

#[test]
fn document_names_the_build_the_time_and_the_duration() {
    let before = humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string();
    for args in [&["status", "--json"][..], &["nonsense", "--json"], &["network", "show", "nope", "--json"]] {
        let ran = Home::settled().run(args);
        let said = ran.json();
        assert_eq!(said["exit"], ran.code.unwrap(), "{args:?}");
        let at = said["at"].as_str().unwrap();
        assert!(at >= before.as_str() && at.len() == before.len() && at.ends_with('Z'), "{before}: {at}");
        assert!(said["took_ms"].as_u64().unwrap() < 30_000, "{said}");
        assert_eq!(said["program"]["version"], env!("CARGO_PKG_VERSION"), "{said}");
        let target = said["program"]["target"].as_str().unwrap();
        assert!(target.starts_with(std::env::consts::ARCH), "{target}");
    }
}

#[test]
fn version_names_the_commit_its_date_and_the_target() {
    let said = Home::empty().run(&["status", "--json"]).json()["program"].clone();
    let commit = said["commit"].as_str().unwrap();
    // A copy of the sources has no history.
    let from = if support::root().join(".git").symlink_metadata().is_ok() {
        let mut git = std::process::Command::new("git");
        let ran =
            git.args(["log", "-1", "--format=%cs", commit]).current_dir(support::root()).output().unwrap();
        assert!(ran.status.success(), "{commit} is not in the history: {ran:?}");
        format!("{} {}", &commit[..9], String::from_utf8(ran.stdout).unwrap().trim())
    } else {
        assert_eq!(commit, "unknown", "{said}");
        "commit unknown".to_owned()
    };
    let version = Home::empty().run(&["--version"]).ends_with(0).stdout;
    let (number, target) = (env!("CARGO_PKG_VERSION"), said["target"].as_str().unwrap());
    assert_eq!(version, format!("myownllm-mesh {number} ({from}, {target})\n"));
}

#[test]
fn launch_says_in_one_word_what_it_came_to() {
    let outcome =
        |home: &Home| home.run(&["launch", "--no-daemon", "--json"]).json()["data"]["outcome"].clone();
    assert_eq!(outcome(&Home::settled()), "healthy");
    let legacy = Home::legacy();
    assert_eq!((outcome(&legacy), outcome(&legacy)), (json!("moved"), json!("healthy")));
    assert_eq!(outcome(&Home::after_the_bug()), "repaired-with-losses");
    let restored = Home::settled();
    app_config(&restored, &Home::after_the_bug().bytes(&format!("{APP}/config.json")));
    assert_eq!(outcome(&restored), "repaired");
    let refused = Home::legacy();
    refused.put(&format!("{APP}/.secrets/identity.json"), b"{}", 0o600);
    assert_eq!(outcome(&refused), "refused");
    let newer = Home::settled();
    app_config(&newer, br#"{"version": 99, "daemon": {}, "networks": []}"#);
    assert_eq!(outcome(&newer), "refused");
    let failed = Home::settled();
    let failed = run(failed
        .command(&["launch", "--once", "--json"])
        .env("MYOWNMESH_BIN", "/nonexistent")
        .env("PATH", "/nonexistent"));
    assert_eq!(failed.json()["data"]["outcome"], Value::from("failed"), "{failed:?}");
}
