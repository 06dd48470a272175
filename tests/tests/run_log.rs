//! The run log: each change is in it, and nothing else is.

use integration_tests::testkit::{CONFIG, Home, run};
use rstest::rstest;
use serde_json::json;

const LOG: &str = ".myownllm/myownllm-mesh.log";
const ROSTER: &str = ".myownllm/.myownmesh/mesh/rosters/home-mesh.json";

#[test]
fn run_log_names_the_settings_that_a_repair_lost() {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    for command in ["logs", "report"] {
        let said = home.run(&[command]).ends_with(0).stdout;
        assert!(said.contains("at their defaults: ") && said.contains("auto_cleanup"), "{said}");
    }
}

#[test]
fn run_log_tells_what_was_changed_and_is_written_by_nothing_else() {
    let home = Home::after_the_bug();
    for args in [&["doctor"][..], &["status"], &[], &["migrate", "--dry-run"], &["config", "show"], &["logs"]]
    {
        home.run(args);
        assert!(!home.has(LOG), "{args:?} wrote the run log");
    }
    home.run(&["repair"]).ends_with(0);
    home.run(&["network", "use", "office-mesh"]).ends_with(0);
    home.run(&["config", "set", "api.bearer_token=hunter2"]).ends_with(0);
    let before = home.snapshot();
    for args in [
        &["repair"][..],
        &["launch", "--no-daemon"],
        &["migrate"],
        &["network", "use", "office-mesh"],
        &["network", "use", "nope"],
        &["config", "set", "api.bearer_token=hunter2"],
        &["logs"],
    ] {
        home.run(args);
        assert!(home.snapshot() == before, "{args:?} changed nothing, and wrote");
    }
    let text = String::from_utf8(home.bytes(LOG)).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let said = home.run(&["logs", "--json"]).ends_with(0).json();
    let entries = said["data"]["entries"].as_array().unwrap();
    let commands: Vec<&str> = entries.iter().map(|entry| entry["command"].as_str().unwrap()).collect();
    assert_eq!(commands, ["repair", "network use office-mesh", "config set api.bearer_token"]);
    let did = entries[0]["did"].to_string();
    assert!(did.contains("moved 4 files") && did.contains("repaired the config"), "{did}");
    assert!(entries[0]["before"].as_str().unwrap().starts_with("kept-00000001-"), "{said}");
    let page = home.run(&["logs", "-n", "1"]).ends_with(0).stdout;
    assert!(page.contains("config set api.bearer_token") && page.lines().count() < 3, "{page}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = std::fs::metadata(home.path(LOG)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[rstest]
#[case::damaged_roster("repair", |home: &Home| home.put(ROSTER, b"", 0o600), "set aside")]
#[case::newer_roster("repair", |home: &Home| home.edit(ROSTER, |roster| roster["version"] = 9.into()), "copied")]
#[case::corrupt_roster("repair", |home: &Home| home.put(&format!("{ROSTER}.corrupt"), b"{", 0o600), "renamed")]
#[case::accepted_config("config accept", |home: &Home| home.put(CONFIG, b"{}", 0o600), "backup")]
#[case::empty_directory("repair", |home: &Home| std::fs::create_dir_all(home.path(".myownllm/mesh/rosters")).unwrap(), "removed empty")]
fn run_log_names_each_kind_of_change(
    #[case] command: &str,
    #[case] damage: fn(&Home),
    #[case] expected: &str,
) {
    let home = Home::settled();
    damage(&home);
    let args: Vec<&str> = command.split(' ').collect();
    home.run(&args);
    let said = home.run(&["logs", "-n", "1"]).ends_with(0).stdout;
    assert!(said.contains(command) && said.contains(expected), "{said}");
}

/// What the user chose is no loss, although it is the default.
#[rstest]
#[case::settings_set(&[
    "config set auto_cleanup.conversations=false auto_cleanup.models=false api.enabled=false cloud_mesh.enabled=true",
    "config set auto_cleanup.conversations=true auto_cleanup.models=true model_cleanup_days=9 cloud_mesh.enabled=false",
])]
#[case::all_accepted(&["config accept"])]
fn losses_that_the_user_has_decided_on_are_reported_no_more(#[case] decision: &[&str]) {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    home.run(&["doctor", "--json"]).check("config.losses");
    for command in decision {
        home.run(&command.split(' ').collect::<Vec<_>>()).ends_with(0);
    }
    let said = home.run(&["doctor"]);
    assert!(!said.stdout.contains("config.losses"), "{}", said.all());
}

/// The line that a rotation writes first repeats the losses, and is the decision itself.
#[test]
fn losses_stay_accepted_if_the_log_is_rotated_meanwhile() {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    let padding = [home.bytes(LOG), b"x".repeat(257 << 10)].concat();
    home.put(LOG, &padding, 0o600);
    home.run(&["config", "accept"]).ends_with(0);
    assert!(!home.run(&["doctor"]).stdout.contains("config.losses"));
}

/// A launch knows from the log that the home had a key, and `doctor` which settings were lost.
#[test]
fn run_log_keeps_the_key_and_the_losses_through_rotations() {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    for port in ["2001", "2002", "2003"] {
        let padding = [home.bytes(LOG), b"x".repeat(257 << 10)].concat();
        home.put(LOG, &padding, 0o600);
        home.run(&["config", "set", &format!("api.port={port}")]).ends_with(0);
    }
    home.run(&["doctor", "--json"]).check("config.losses");
    std::fs::remove_dir_all(home.path(".myownllm/.myownmesh")).unwrap();
    let launch = home.launch_once_json().ends_with(7);
    launch.diagnostic("identity.gone");
}

#[test]
fn run_log_of_a_daemon_tells_its_start_and_its_end() {
    let home = Home::settled();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    let said = home.run(&["logs"]).ends_with(0).stdout;
    assert!(said.contains("launch --once") && said.contains("started the daemon (process "), "{said}");
    let said = home.run(&["logs", "--daemon"]).ends_with(0).stdout;
    let first = said.lines().next().unwrap();
    assert!(first.starts_with("[myownllm] 2") && first.ends_with(" serve"), "{said}");
}

#[test]
fn run_log_that_cannot_be_written_changes_no_outcome() {
    let home = Home::after_the_bug();
    std::fs::create_dir(home.path(LOG)).unwrap();
    home.run(&["repair"]).ends_with(0);
    assert_eq!(home.run(&["logs", "--json"]).ends_with(0).json()["data"]["entries"], json!([]));
}

#[rstest]
#[case::of_this_program(&["logs", "-n", "0"])]
#[case::of_the_daemon(&["daemon", "logs", "-n", "0"])]
fn log_of_no_lines_is_a_usage_error(#[case] args: &[&str]) {
    Home::settled().run(args).ends_with(2);
}
