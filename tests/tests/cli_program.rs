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

#[test]
fn verdict_is_0_on_a_healthy_home_3_on_a_pending_move_and_4_on_a_problem() {
    let verdict = |home: &Home, code| {
        let said = home.run(&["--json"]).ends_with(code).json()["data"].clone();
        let commands = said["commands"].as_array().unwrap().iter();
        let commands: Vec<String> = commands.map(|way| way["command"].as_str().unwrap().to_owned()).collect();
        let page = home.run(&[]).ends_with(code).stdout;
        assert!(commands.iter().all(|command| page.contains(command)), "{commands:?}: {page}");
        assert!((2..=4).contains(&commands.len()) && page.lines().count() < 12, "{page}");
        (said["verdict"].as_str().unwrap().to_owned(), commands[0].clone(), page)
    };
    let named = |home: &Home, command: &str| {
        let path = home.path("");
        format!("myownllm-mesh --home {} {command}", path.to_str().unwrap().trim_end_matches('/'))
    };
    let settled = Home::settled();
    let (word, _, page) = verdict(&settled, 0);
    assert_eq!(word, "healthy");
    assert!(page.contains("is healthy") && page.contains("home-mesh active"), "{page}");
    let legacy = Home::legacy();
    let (word, first, page) = verdict(&legacy, 3);
    assert_eq!((word.as_str(), first), ("pending", named(&legacy, "repair")), "{page}");
    let bug = Home::after_the_bug();
    let (word, first, page) = verdict(&bug, 4);
    assert_eq!((word.as_str(), first), ("problem", named(&bug, "repair")), "{page}");
    assert!(page.contains("wrote over your settings") && page.contains("office-mesh"), "{page}");
    let damaged = Home::legacy();
    damaged.put(&format!("{APP}/.secrets/identity.json"), b"{}", 0o600);
    let (word, first, page) = verdict(&damaged, 4);
    assert_eq!(word, "problem");
    assert!(!first.contains("repair") && page.contains("identity.json"), "{page}");
    bug.run(&["repair"]).ends_with(0);
    assert_eq!(verdict(&bug, 0).0, "healthy");
}

#[test]
fn repair_puts_everything_right_and_says_what_it_kept_and_what_is_lost() {
    let home = Home::after_the_bug();
    let overwritten = home.bytes(&format!("{APP}/config.json"));
    let said = home.run(&["fix"]).ends_with(0).stdout;
    for told in [
        "Moved: 4 files",
        "Repaired your settings: recovered 2 networks (office-mesh, ev-mesh)",
        "Kept: the file as it was, as backup 1 in ~/.myownllm/config-backups.",
        "Lost, as no backup has them: ",
        "The app deletes old conversations.",
        "config set auto_cleanup.conversations=false",
        "The mesh is switched off.",
        "network use office-mesh",
    ] {
        assert!(said.split_whitespace().collect::<Vec<_>>().join(" ").contains(told), "{told}: {said}");
    }
    home.still_has(&overwritten, "the overwritten config");
    let before = home.snapshot();
    let said = home.run(&["repair"]).ends_with(0).stdout;
    assert_eq!(said, "Nothing to put right: ~/.myownllm is healthy.\n");
    assert!(home.snapshot() == before);
    // With a backup nothing is lost, and so nothing is warned of.
    let home = Home::settled();
    app_config(&home, &overwritten);
    let said = home.run(&["repair"]).ends_with(0).stdout;
    assert!(said.contains("17 settings from backup 1") && !said.contains("Lost"), "{said}");
    // What waits for a decision is said, and the rest is done.
    let home = Home::after_the_bug();
    home.put(&format!("{APP}/.secrets/identity.json"), b"{}", 0o600);
    let ran = home.run(&["repair"]).ends_with(7);
    assert!(ran.stdout.contains("Something is left to put right"), "{ran:?}");
    assert!(ran.stderr.contains("code: migration.identity-damaged"), "{ran:?}");
}

#[test]
fn doctor_tells_problems_first_and_ends_with_the_one_command() {
    let home = Home::after_the_bug();
    let said = home.run(&["doctor"]).ends_with(4).stdout;
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("problem  config.shape"), "{said}");
    assert!(said.find("warning  state.moved") > said.find("problem  config.shape"), "{said}");
    assert!(!said.contains("\nok ") && said.contains(" checks passed"), "{said}");
    let last = format!("  myownllm-mesh --home {} repair", home.path("").display());
    assert_eq!(lines.last().unwrap().trim_end_matches('/'), last.trim_end_matches('/'), "{said}");
    let all = home.run(&["doctor", "-v"]).ends_with(4).stdout;
    assert!(all.contains("\nok       homes.apart"), "{all}");
    let document = home.run(&["doctor", "--json"]).ends_with(4).json();
    let checks = document["data"]["checks"].as_array().unwrap();
    for check in
        checks.iter().filter(|check| ["problem", "warning"].contains(&check["result"].as_str().unwrap()))
    {
        let code = check["code"].as_str().unwrap_or_else(|| panic!("no code: {check}"));
        let told = document["diagnostics"].as_array().unwrap().iter();
        assert!(told.map(|found| found["code"].as_str()).any(|found| found == Some(code)), "{check}");
    }
    assert!(checks.iter().any(|check| check["code"] == "config.needs-repair"), "{document}");
    home.run(&["repair"]).ends_with(0);
    let said = home.run(&["doctor"]).ends_with(0).stdout;
    assert!(!said.contains("problem") && !said.contains("repair"), "{said}");
}

#[test]
fn status_tells_with_codes_what_a_launch_would_do() {
    let steps = |home: &Home| home.run(&["status", "--json"]).json()["data"]["launch_steps"].clone();
    assert_eq!(steps(&Home::after_the_bug()), json!(["move", "repair-config", "start-daemon"]));
    assert_eq!(steps(&Home::settled()), json!(["start-daemon"]));
    let gone = Home::settled();
    std::fs::remove_file(gone.path(&format!("{APP}/config.json"))).unwrap();
    assert_eq!(steps(&gone), json!(["restore-config", "start-daemon"]));
    let said = gone.run(&["status"]).stdout;
    assert!(said.contains("write the config anew from backup 1"), "{said}");
    assert!(!said.contains("needs a repair"), "{said}");
}
