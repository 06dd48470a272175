//! The commands that show and change the config: settings, networks and backups.

use super::app_config;
use integration_tests::testkit::{APP, CONFIG, Home};
use rstest::rstest;
use serde_json::json;

#[test]
fn settings_are_read_and_changed_one_by_one() {
    let home = Home::with_secrets();
    home.run(&["repair"]).ends_with(0);
    let get = |key: &str| home.run(&["config", "get", key]).ends_with(0).stdout;
    assert_eq!(
        (get("model_cleanup_days"), get("/auto_cleanup/conversations")),
        ("7\n".into(), "false\n".into())
    );
    let before = home.bytes(CONFIG);
    let said =
        home.run(&["config", "set", "auto_cleanup.models=false", "active_family=gemma4"]).ends_with(0).stdout;
    assert!(said.contains("auto_cleanup.models: true -> false"), "{said}");
    assert_eq!((get("auto_cleanup.models"), get("active_family")), ("false\n".into(), "gemma4\n".into()));
    let undo = said.lines().last().unwrap().trim().to_owned();
    let words: Vec<&str> = undo.split(' ').skip(3).collect();
    home.run(&words).ends_with(0);
    assert_eq!(home.bytes(CONFIG), before, "{undo}");
    // A failing `set` changes nothing, and its message says what would work.
    let ran = home.run(&["config", "set", "api.port=1", "auto_cleanup.model=false"]).ends_with(1);
    assert!(ran.stderr.contains("config get auto_cleanup.models"), "{ran:?}");
    let ran = home.run(&["config", "set", "auto_cleanup.models=never"]).ends_with(2);
    assert!(ran.stderr.contains("true or false"), "{ran:?}");
    home.run(&["config", "set", "auto_cleanup.models"]).ends_with(2);
    assert_eq!(home.bytes(CONFIG), before);
    // A secret can be set, and is never printed.
    let said = home.run(&["config", "set", "api.bearer_token=hunter2"]).ends_with(0).all();
    assert!(!said.contains("hunter2") && !said.contains("bearer-9f31c2"), "{said}");
    assert!(!get("api").contains("hunter2"));
    assert_eq!(home.json(CONFIG)["api"]["bearer_token"], "hunter2");
    let shown = home.run(&["config", "get", "api.bearer_token", "--with-secrets"]).ends_with(0).stdout;
    assert_eq!(shown, "hunter2\n");
    let diff = home.run(&["config", "diff", "1"]).ends_with(0).stdout;
    assert!(diff.contains("differ only in secrets"), "{diff}");
    home.run(&["config", "set", "active_family=gemma4"]).ends_with(0);
    let diff = home.run(&["config", "diff", "1"]).ends_with(0).stdout;
    assert!(diff.contains("-  \"active_family\": \"gemma4\"") && !diff.contains("hunter2"), "{diff}");
}

#[test]
fn network_of_an_unknown_or_ambiguous_name_is_left_alone() {
    let home = Home::settled();
    home.run(&["network", "add", "garden-mesh"]).ends_with(0);
    let before = home.snapshot();
    for command in ["remove", "use", "show", "export"] {
        let ran = home.run(&["network", command, "gadren-mesh"]).ends_with(1);
        assert!(ran.stderr.contains("did you mean garden-mesh?"), "{ran:?}");
    }
    assert!(home.snapshot() == before, "a typo changed something");
    let path = format!("{APP}/config.json");
    let mut config = home.json(&path);
    let mut twin = config["cloud_mesh"]["networks"][1].clone();
    twin["id"] = "net-twin".into();
    config["cloud_mesh"]["networks"].as_array_mut().unwrap().push(twin);
    home.put(&path, config.to_string().as_bytes(), 0o600);
    let ran = home.run(&["network", "remove", "Garden-Mesh"]).ends_with(1);
    assert!(ran.stderr.contains("net-twin") && ran.stderr.contains("network.ambiguous"), "{ran:?}");
    home.run(&["network", "remove", "net-twin"]).ends_with(0);
    // Removing the active network leaves none active; the output says so and how to undo it.
    let before = home.json(&path);
    let said = home.run(&["network", "remove", "home-mesh"]).ends_with(0).stdout;
    assert!(said.contains("No network is active now.") && said.contains("To undo this:"), "{said}");
    let undo = said.lines().last().unwrap().trim().to_owned();
    home.run(&undo.split(' ').skip(3).collect::<Vec<_>>()).ends_with(0);
    assert_eq!(home.json(&path), before, "{undo}");
    let said = home.run(&["network", "use", "garden-mesh"]).ends_with(0).stdout;
    assert!(said.trim_end().ends_with("network use home-mesh"), "{said}");
}

#[test]
fn export_names_the_settings_that_an_envelope_cannot_carry() {
    let home = Home::settled();
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"][0]["daemon_settings"] =
        json!({"signaling": {"strategy": "none"}, "pinned_peers": ["p"]});
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let said = home.run(&["network", "export", "home-mesh", "--json"]).ends_with(0).json();
    let reported = said["diagnostics"].as_array().unwrap().iter();
    let reported: Vec<_> =
        reported.filter(|reported| reported["code"] == "network.settings-left-out").collect();
    assert!(reported[0]["message"].as_str().unwrap().contains("pinned_peers, signaling"), "{said:#}");
}

#[test]
fn history_tells_why_a_backup_was_made_and_its_number_stays() {
    let home = Home::settled();
    let config = format!("{APP}/config.json");
    let healthy = home.bytes(&config);
    home.run(&["network", "add", "garden-mesh"]).ends_with(0);
    home.run(&["config", "set", "api.port=7"]).ends_with(0);
    let before = home.run(&["config", "history", "--json"]).ends_with(0).json();
    let said = home.run(&["config", "history"]).ends_with(0).stdout;
    let line = |number: usize| {
        let start = format!("{number:>6}  ");
        said.lines().find(|line| line.starts_with(&start)).unwrap_or_else(|| panic!("{number}: {said}"))
    };
    assert!(line(1).contains("before: network add garden-mesh") && line(1).contains(" s ago"), "{said}");
    assert!(line(2).contains("before: config set api.port"), "{said}");
    assert!(line(3).contains("a healthy config  <- now"), "{said}");
    // The number of a backup stays, however often its content comes back.
    for _ in 0..2 {
        home.run(&["config", "restore", "1"]).ends_with(0);
        assert_eq!(home.bytes(&config), healthy);
        home.run(&["config", "restore", "3"]).ends_with(0);
    }
    let said = home.run(&["config", "history", "--json"]).ends_with(0).json();
    let copies = said["data"]["copies"].as_array().unwrap();
    for copy in before["data"]["copies"].as_array().unwrap() {
        assert!(copies.iter().any(|now| now["id"] == copy["id"]), "{copy}: {said}");
    }
    home.run(&["config", "restore", "77"]).ends_with(1);
    // Nor does the reason change when the same bytes are set aside again.
    for copy in before["data"]["copies"].as_array().unwrap().iter().skip(1) {
        let now = copies.iter().find(|now| now["id"] == copy["id"]).unwrap();
        assert_eq!(now["reason"], copy["reason"], "{said:#}");
    }
}

#[test]
fn unsound_config_is_restored_only_as_is() {
    let home = Home::settled();
    let config = format!("{APP}/config.json");
    let broken = b"{\"active_family\": ";
    app_config(&home, broken);
    let said = home.run(&["config", "restore", "1"]).ends_with(0).stdout;
    let undo = said.lines().last().unwrap().trim();
    assert!(undo.ends_with(" --as-is"), "{said}");
    let undo: Vec<&str> = undo.split(' ').skip(3).collect();
    home.run(&undo[..undo.len() - 1]).ends_with(1);
    home.run(&undo).ends_with(0);
    assert_eq!(home.bytes(&config), broken, "{undo:?}");
    home.run(&["repair"]).ends_with(0);
    home.run(&["doctor"]).ends_with(0);
}

/// A restore alone does not replace a config that holds the daemon's half.
#[test]
fn restore_of_an_overwritten_config_can_be_undone() {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    let repaired = home.bytes(CONFIG);
    let listed = home.run(&["config", "history", "--json"]).ends_with(0).json();
    let copies = listed["data"]["copies"].as_array().unwrap();
    let overwritten = copies.iter().find(|copy| copy["shape"] == "daemon").unwrap();
    let id = overwritten["id"].as_str().unwrap();
    let said = home.run(&["config", "restore", id, "--as-is"]).ends_with(0).stdout;
    for command in said.lines().last().unwrap().trim().split(" && ") {
        home.run(&command.split(' ').skip(3).collect::<Vec<_>>()).ends_with(0);
    }
    assert_eq!(home.bytes(CONFIG), repaired, "{said}");
}

#[test]
fn mesh_that_is_switched_off_is_left_only_by_a_command_that_is_named() {
    let home = Home::settled();
    let said = home.run(&["config", "set", "cloud_mesh.enabled=false"]).ends_with(0).stdout;
    assert!(!said.contains("the next launch applies the change"), "{said}");
    assert!(said.contains("joins the active network all the same"), "{said}");
    let leave = said.lines().find(|line| line.ends_with("network use --none")).expect("a command");
    let said = home.run(&leave.trim().split(' ').skip(3).collect::<Vec<_>>()).ends_with(0).stdout;
    assert!(said.contains("the next launch applies the change"), "{said}");
}

#[test]
fn backup_of_the_future_is_reported_without_an_age() {
    let home = Home::settled();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(1 << 30);
    for entry in std::fs::read_dir(home.path(APP).join("config-backups")).unwrap() {
        let backup = std::fs::File::options().append(true).open(entry.unwrap().path()).unwrap();
        backup.set_modified(later).unwrap();
    }
    app_config(&home, b"{}");
    let said = home.run(&["repair"]).ends_with(0).stdout;
    assert!(said.contains(" UTC)"), "{said}");
}

#[rstest]
#[case::bytes(b"\"label\":\"B\xfcro\"", "config.not-utf8")]
#[case::member(br#""network_id":"other-net""#, "config.duplicate-key")]
fn import_tells_what_it_changes(#[case] member: &[u8], #[case] code: &str) {
    let home = Home::settled();
    let text =
        [&br#"{"kind":"myownllm.network-settings","network_id":"late-net","#[..], member, b"}"].concat();
    home.put("envelope.json", &text, 0o600);
    let file = home.path("envelope.json");
    let said = home.run(&["network", "import", file.to_str().unwrap(), "--json"]).ends_with(0).json();
    let reported = said["diagnostics"].as_array().unwrap();
    assert!(reported.iter().any(|reported| reported["code"] == code), "{said:#}");
}

#[test]
fn network_without_an_id_is_shown_the_same_at_each_look() {
    let home = Home::legacy();
    app_config(&home, br#"{"cloud_mesh": {"networks": [{"network_id": "home-mesh"}]}}"#);
    for args in [&["network", "list"][..], &["network", "show", "home-mesh"], &["config", "show"]] {
        let [first, second] = [0, 1].map(|_| home.run(args).ends_with(0).stdout);
        assert_eq!(first, second, "{args:?}");
        assert!(args[0] == "config" || !first.contains("net-0"), "{first}");
    }
    assert!(home.run(&["network", "list"]).stdout.contains("(no id yet)"));
}

#[test]
fn setting_that_a_launch_would_not_use_is_refused() {
    let home = Home::settled();
    let before = home.snapshot();
    for (setting, why) in [
        ("api.port=70000", "/api/port takes a whole number from 0 to 65535"),
        ("remote_ui.port=-1", "/remote_ui/port takes a whole number from 0 to 65535"),
        ("cloud_mesh.networks.0.network_id=UP", ""),
    ] {
        let ran = home.run(&["config", "set", setting]).ends_with(2);
        assert!(ran.stderr.contains("config.unusable-setting") && ran.stderr.contains(why), "{ran:?}");
        assert!(home.snapshot() == before, "{setting}");
    }
}

#[test]
fn newer_config_is_reported_once() {
    let home = Home::settled();
    app_config(&home, br#"{"version": 99, "daemon": {}, "networks": []}"#);
    for args in [&["repair"][..], &["launch", "--no-daemon"], &["config", "check"], &["salvage", "--dry-run"]]
    {
        let ran = home.run(&[args, &["-v"]].concat()).ends_with(8);
        assert_eq!(ran.stderr.matches("code: store.newer").count(), 1, "{args:?}: {ran:?}");
        assert!(ran.stderr.contains("it has format 99, and this program knows up to 3"), "{ran:?}");
        // The config is never written, so nothing is lost.
        assert!(!ran.stderr.contains("lost"), "{args:?}: {ran:?}");
    }
}
