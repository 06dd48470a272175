//! Settings that are suddenly gone: a wiped config, and settings that are in no backup.

mod brought_back;
mod networks;
mod reset;

use std::process::Command;

use integration_tests::testkit::{APP, CONFIG, Home, Ran, diagnostic, run};
use rstest::rstest;
use serde_json::{Value, json};

const APP_CONFIG: &[u8] = include_bytes!("../fixtures/app-config-before.json");
const OVERWRITTEN_V3: &[u8] = include_bytes!("../fixtures/daemon-0.3.8/home/.myownllm/config.json");

const KEPT: &str = ".myownllm/config-backups";
const DOCTOR: &[&str] = &["doctor", "--json"];
const LAUNCH: &[&str] = &["launch", "--no-daemon", "--json"];

#[track_caller]
fn wiped(ran: &Ran) -> Value {
    diagnostic(&ran.json(), "config.wiped").unwrap_or_else(|| panic!("no config.wiped: {ran:?}"))
}

/// Runs a hint as a person would: in a shell, with the program on PATH.
fn follow(home: &Home, hint: &str) -> bool {
    let program = home.command(&[]).get_program().to_owned();
    let dir = std::path::Path::new(&program).parent().unwrap().to_owned();
    let path = std::env::join_paths([dir, "/usr/bin".into(), "/bin".into()]).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", hint]).env("PATH", path).env("EDITOR", "cat").env_remove("MYOWNMESH_HOME");
    run(&mut shell).code == Some(0)
}

/// Returns the codes of lost settings and networks that a command reports.
fn reported_losses(home: &Home, args: &[&str]) -> Vec<String> {
    let mut codes = home.run(args).ends_with(0).codes();
    codes.retain(|code| ["salvage.defaults", "store.networks-lost", "config.wiped"].contains(&&**code));
    codes
}

fn without_config_and_backups(home: &Home) {
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    std::fs::remove_dir_all(home.path(".myownllm/config-backups")).unwrap();
}

/// Returns the last command in a message.
fn command_in(message: &str) -> String {
    message.rsplit_once(": ").unwrap().1.to_owned()
}

#[rstest]
#[case::empty("{}")]
#[case::blank("{ }\n")]
#[case::one_key(r#"{"active_family":"qwen3"}"#)]
#[case::empty_catalogue(r#"{"cloud_mesh":{"networks":[]}}"#)]
fn a_wiped_config_is_seen_by_every_command_and_restored_by_the_next_launch(#[case] bytes: &str) {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    home.put(CONFIG, bytes.as_bytes(), 0o600);
    let tree = home.snapshot();
    for args in
        [&["status", "--json"][..], &["salvage", "--dry-run", "--json"], &["config", "show", "--json"]]
    {
        let found = wiped(&home.run(args).ends_with(0));
        let message = found["message"].as_str().unwrap();
        assert!(
            message.contains("in backup 1 ") && command_in(message).ends_with(" config accept"),
            "{message}"
        );
        assert!(found["hint"].as_str().unwrap().ends_with(" repair"), "{found}");
    }
    for (args, code) in [
        (&["salvage", "--check", "--json"][..], 3),
        (&["status", "--check", "--json"], 3),
        (&["config", "check", "--json"], 1),
    ] {
        wiped(&home.run(args).ends_with(code));
    }
    let check = home.run(&["doctor", "--json"]).ends_with(4).check("config.shape");
    assert_eq!(check["code"], "config.wiped");
    let history = home.run(&["config", "history", "--json"]).json();
    let recommended =
        history["data"]["copies"].as_array().unwrap().iter().find(|copy| copy["recommended"] == true);
    assert_eq!(recommended.unwrap()["kind"], "good");
    home.run(&["network", "add", "on-top"]).ends_with(1);
    assert_eq!(home.snapshot(), tree, "nothing is written by looking");

    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["outcome"], "repaired");
    let message = wiped(&ran)["message"].as_str().unwrap().to_owned();
    assert_eq!(home.bytes(CONFIG), before);
    home.still_has(bytes.as_bytes(), "the wiped config");
    // A user who wiped the config on purpose accepts it once, with the command in the message.
    assert!(follow(&home, &command_in(&message)), "{message}");
    assert_eq!(home.bytes(CONFIG), bytes.as_bytes());
    for _ in 0..2 {
        let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
        assert_eq!(diagnostic(&ran.json(), "config.wiped"), None, "{ran:?}");
    }
}

/// What the user gives up by a command of this program is given up.
#[rstest]
#[case::all_networks(&["cloud_mesh={}"])]
#[case::nearly_all_settings(&[
    "providers=[]", "cloud_mesh={}", "active_family=gemma4", "active_mode=transcribe", "model_cleanup_days=1",
    "kept_models=[]", "cleanup_warning_suppressed_families=[]", "tracked_modes=[\"transcribe\"]",
    "api.bearer_token=null", "auto_update={}", "auto_cleanup={}",
])]
fn loss_that_the_user_has_set_is_no_wipe(#[case] settings: &[&str]) {
    let home = Home::settled();
    home.run(&[&["config", "set"], settings].concat()).ends_with(0);
    let set = home.bytes(CONFIG);
    for args in [&["doctor", "--json"][..], &["launch", "--no-daemon", "--json"], &["repair", "--json"]] {
        let ran = home.run(args).ends_with(0);
        assert_eq!(diagnostic(&ran.json(), "config.wiped"), None, "{ran:?}");
    }
    assert_eq!(home.bytes(CONFIG), set);
}

#[test]
fn repair_without_a_backup_settles_the_loss_and_offers_no_empty_backup() {
    let home = Home::after_the_bug();
    home.put(CONFIG, b"{}", 0o600);
    wiped(&home.run(&["status", "--json"]));
    let ran = home.run(&["repair", "--json"]).ends_with(0);
    assert_eq!(diagnostic(&ran.json(), "config.wiped"), None, "{ran:?}");
    assert!(diagnostic(&ran.json(), "salvage.defaults").is_some(), "{ran:?}");
    let history = home.run(&["config", "history", "--json"]).json();
    let copies = history["data"]["copies"].as_array().unwrap();
    assert!(copies.len() == 2 && copies.iter().all(|copy| copy["recommended"] != true), "{history:#}");
}

#[test]
fn no_number_of_changes_after_an_accepted_wipe_evicts_the_backup_from_before() {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    home.put(CONFIG, b"{}", 0o600);
    let found = wiped(&home.run(&["status", "--json"]));
    assert!(follow(&home, &command_in(found["message"].as_str().unwrap())));
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    for n in 0..25 {
        home.run(&["network", "add", &format!("net-{n}")]).ends_with(0);
    }
    let backup = home.snapshot().into_iter().find(|(path, (_, bytes))| {
        path.starts_with(home.path(&format!("{APP}/config-backups"))) && *bytes == before
    });
    assert!(backup.is_some(), "the backup from before the wipe is evicted");
}

#[cfg(unix)]
#[test]
fn lost_networks_are_named_with_the_command_that_brings_them_back() {
    let home = Home::settled();
    let mut config = home.json(CONFIG);
    config["cloud_mesh"]["networks"] = json!([]);
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    for _ in 0..2 {
        let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
        assert!(wiped(&ran)["message"].as_str().unwrap().contains("all of its networks"));
        assert_eq!(home.json(CONFIG)["cloud_mesh"]["networks"], json!([]), "a user may have removed them");
    }
    let check = home.run(&["doctor", "--json"]).ends_with(0).check("config.shape");
    assert_eq!(check["result"], "warning");
    assert!(follow(&home, check["hint"].as_str().unwrap()));
    assert_eq!(home.json(CONFIG)["cloud_mesh"]["networks"][0]["network_id"], "home-mesh");
    assert_eq!(diagnostic(&home.run(&["launch", "--no-daemon", "--json"]).json(), "config.wiped"), None);
}

/// Returns the last diagnostic, which is the last one that a person reads.
fn last(ran: &Ran) -> Value {
    ran.json()["diagnostics"].as_array().unwrap().last().cloned().unwrap_or_default()
}

#[rstest]
#[case::launch(&["launch", "--no-daemon"], true)]
#[case::repair(&["repair"], true)]
#[case::salvage(&["salvage"], true)]
#[case::salvage_dry_run(&["salvage", "--dry-run"], false)]
fn settings_that_no_backup_has_are_the_last_warning_and_the_harmful_ones_its_first(
    #[case] args: &[&str],
    #[case] written: bool,
    #[values(OVERWRITTEN_V3, b"{\"torn", b"{}")] bytes: &[u8],
) {
    let home = Home::after_the_bug();
    home.put(CONFIG, bytes, 0o600);
    let ran = home.run(&[args, &["--json"]].concat()).ends_with(0);
    assert_eq!(ran.json()["ok"], true);
    let found = last(&ran);
    assert_eq!(
        (&found["code"], &found["severity"]),
        (&json!("salvage.defaults"), &json!("warning")),
        "{ran:?}"
    );
    let message = found["message"].as_str().unwrap();
    let at = |part: &str| message.find(part).unwrap_or_else(|| panic!("{part}: {message}"));
    let harm = [
        "deletes old conversations",
        "deletes models that are not used for a day",
        "answers without a token",
        "mesh is switched off",
    ];
    assert!(harm.map(at).is_sorted() && at(harm[3]) < at("active_provider"), "{message}");
    let hint = found["hint"].as_str().unwrap();
    assert!(follow(&home, hint), "{hint}");
    assert_eq!(hint.contains(" config set auto_cleanup.conversations=false "), written, "{hint}");
    // The first screen and the checks tell the loss until it is written, and its consequences ended.
    for command in [&["--json"][..], &["doctor", "--json"], &["status", "--json"]] {
        let codes = home.run(command).codes();
        let is_told = codes.iter().any(|code| code == "salvage.defaults");
        assert_eq!(is_told, !written, "{command:?}: {codes:?}");
    }
    if written {
        let now = home.json(CONFIG);
        let undone =
            [&now["auto_cleanup"]["conversations"], &now["auto_cleanup"]["models"], &now["api"]["enabled"]];
        assert_eq!(undone, [false, false, false]);
        // Once the settings are set, or are in a backup, there is nothing to report.
        let again = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
        assert_ne!(last(&again)["code"], "salvage.defaults");
    }
}

/// The user sees the losses of a repair, and the command that ends their consequences, for as long
/// as the consequences last.
#[rstest]
#[case::repair(&["repair"])]
#[case::launch(&["launch", "--no-daemon"])]
#[case::salvage(&["salvage"])]
fn losses_of_a_repair_are_reported_until_the_settings_are_set(#[case] repair: &[&str]) {
    let home = Home::after_the_bug();
    home.run(repair).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    home.run(&["network", "use", "office-mesh"]).ends_with(0);
    let reported = |args: &[&str]| diagnostic(&home.run(args).ends_with(0).json(), "salvage.defaults");
    for args in [&["--json"][..], &["doctor", "--json"], &["status", "--json"]] {
        let reported = reported(args).unwrap_or_else(|| panic!("{args:?} tells no loss"));
        assert!(reported["message"].as_str().unwrap().contains("deletes old conversations; "), "{reported}");
    }
    let screen = home.run(&["--json"]).json()["data"].take();
    assert!(!screen["summary"].to_string().contains("healthy"), "{screen}");
    let command = screen["commands"][0]["command"].as_str().unwrap();
    assert!(command.contains(" config set auto_cleanup.conversations=false "), "{command}");
    // A move that is pending hides none.
    home.run(&["migrate", "--undo"]).ends_with(0);
    let pending = home.run(&["--json"]).ends_with(3).json()["data"].take();
    assert!(pending["summary"].to_string().contains("deletes old conversations; "), "{pending}");
    assert!(pending["commands"].to_string().contains(command), "{pending}");
    home.run(&["migrate"]).ends_with(0);
    home.run(&["config", "set", "auto_cleanup.conversations=false"]).ends_with(0);
    let left = reported(&["--json"]).unwrap();
    assert!(!left["message"].as_str().unwrap().contains("conversations"), "{left}");
    assert!(follow(&home, left["hint"].as_str().unwrap()), "{left}");
    assert_eq!(reported(&["--json"]), None);
    assert!(home.run(&[]).stdout.contains(" is healthy. "));
}

/// The user decides on a lost setting by setting it, also to its default. The other members of its
/// section stay lost.
#[rstest]
#[case::setting("auto_cleanup.conversations=true", "deletes old conversations", true)]
#[case::pointer("/auto_cleanup/conversations=true", "deletes old conversations", true)]
#[case::section(r#"auto_cleanup={"conversations":true}"#, "deletes old conversations", true)]
#[case::member_of_a_lost_section("api.bearer_token=null", "answers without a token", true)]
#[case::other_member_of_a_lost_section("api.port=1473", "answers without a token", false)]
#[case::mesh("cloud_mesh.enabled=false", "the mesh is switched off", true)]
fn lost_setting_that_the_user_sets_to_its_default_is_reported_no_more(
    #[case] set: &str,
    #[case] consequence: &str,
    #[case] settles: bool,
) {
    let home = Home::after_the_bug();
    home.run(&["repair"]).ends_with(0);
    let is_told = || {
        let reported = diagnostic(&home.run(&["doctor", "--json"]).ends_with(0).json(), "salvage.defaults");
        reported.unwrap()["message"].as_str().unwrap().contains(consequence)
    };
    assert!(is_told());
    home.run(&["config", "set", set]).ends_with(0);
    assert_eq!(is_told(), !settles);
}

/// After the repair, another network is active.
#[rstest]
#[case::saved_again(&["network add home-mesh"])]
#[case::saved_again_and_removed(&["network add home-mesh", "network remove home-mesh"])]
#[case::accepted(&["config accept"])]
fn network_that_a_repair_lost_is_reported_until_the_user_decides(
    #[case] decision: &[&str],
    #[values("repair", "salvage")] repair: &str,
) {
    let home = Home::after_the_bug();
    home.run(&[repair]).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    home.run(&["network", "use", "office-mesh"]).ends_with(0);
    // The roster of a network that the user removed is no loss.
    home.run(&["network", "add", "left-mesh"]).ends_with(0);
    let roster = json!({ "version": 1, "network_id": "left-mesh", "authorized_devices": [] });
    let path = ".myownllm/.myownmesh/mesh/rosters/left-mesh.json";
    home.put(path, roster.to_string().as_bytes(), 0o600);
    home.run(&["network", "remove", "left-mesh"]).ends_with(0);
    let reported = |args: &[&str]| diagnostic(&home.run(args).ends_with(0).json(), "store.networks-lost");
    for args in [&["--json"][..], &["doctor", "--json"], &["status", "--json"]] {
        let reported = reported(args).unwrap_or_else(|| panic!("{args:?} tells no loss"));
        let (message, hint) = (reported["message"].as_str().unwrap(), reported["hint"].as_str().unwrap());
        assert!(message.contains(" still there: home-mesh ("), "{reported}");
        assert!(message.contains("; if that is intended, "), "{reported}");
        assert!(hint.ends_with(" network add home-mesh"), "{reported}");
    }
    for command in decision {
        home.run(&command.split(' ').collect::<Vec<_>>()).ends_with(0);
    }
    assert_eq!(reported(&["doctor", "--json"]), None);
}

#[test]
fn settings_that_a_backup_has_and_keys_of_a_newer_app_are_no_loss() {
    let home = Home::settled();
    home.put(CONFIG, OVERWRITTEN_V3, 0o600);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(diagnostic(&ran.json(), "salvage.defaults"), None, "{ran:?}");
    // The config of an older app, seen for the first time.
    let home = Home::after_the_bug();
    let mut config: Value =
        serde_json::from_slice(include_bytes!("../fixtures/app-config-before.json")).unwrap();
    config.as_object_mut().unwrap().remove("remote_ui");
    home.put(CONFIG, config.to_string().as_bytes(), 0o600);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(diagnostic(&ran.json(), "salvage.defaults"), None, "{ran:?}");
}

/// Returns a used home without any backup.
fn home_without_backups() -> Home {
    let home = Home::settled();
    std::fs::remove_dir_all(home.path(&format!("{APP}/config-backups"))).unwrap();
    home
}

#[rstest]
#[case::no_config(None)]
#[case::empty(Some("{}"))]
#[case::one_key(Some(r#"{"active_family":"qwen3"}"#))]
fn settings_that_are_gone_from_a_used_home_are_reported_by_every_command(#[case] bytes: Option<&str>) {
    let home = home_without_backups();
    match bytes {
        Some(bytes) => home.put(CONFIG, bytes.as_bytes(), 0o600),
        None => std::fs::remove_file(home.path(CONFIG)).unwrap(),
    }
    let first = home.run(&["--json"]).ends_with(4).json();
    assert!(first["data"]["summary"][0].as_str().unwrap().contains("your settings are gone"), "{first}");
    home.run(&["doctor"]).ends_with(4);
    home.run(&["salvage", "--check"]).ends_with(3);
    home.run(&["status", "--check"]).ends_with(3);

    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["outcome"], "repaired-with-losses");
    let lost = diagnostic(&ran.json(), "store.networks-lost").unwrap();
    assert!(lost["message"].as_str().unwrap().contains("home-mesh"), "{lost}");
    let message = last(&ran);
    assert_eq!(message["code"], "salvage.defaults");
    assert!(message["message"].as_str().unwrap().contains("deletes old conversations"), "{message}");
    for _ in 0..2 {
        assert!(follow(&home, lost["hint"].as_str().unwrap()), "{lost}");
    }
    home.run(&["salvage", "--check"]).ends_with(0);
}

/// A repair alone would set the settings to the defaults, although a file has them.
#[cfg(unix)]
#[test]
fn first_screen_brings_gone_settings_back_from_a_renamed_home() {
    let home = home_without_backups();
    let healthy = home.json(CONFIG);
    std::fs::create_dir(home.path(".myownllm.old")).unwrap();
    std::fs::rename(home.path(CONFIG), home.path(".myownllm.old/config.json")).unwrap();
    let first = home.run(&["--json"]).ends_with(4).json();
    let summary = first["data"]["summary"][0].as_str().unwrap();
    assert!(summary.contains("~/.myownllm.old/config.json may hold them"), "{first:#}");
    let command = first["data"]["commands"][0]["command"].as_str().unwrap();
    assert!(follow(&home, command), "{command}");
    assert_eq!(home.json(CONFIG)["active_family"], healthy["active_family"]);
    home.run(&["--json"]).ends_with(0);
}

/// A launch that may not repair a wiped config never calls that config healthy.
#[cfg(unix)]
#[rstest]
#[case::no_backup(home_without_backups())]
#[case::a_backup(Home::settled())]
fn wiped_config_that_is_left_is_not_called_healthy(#[case] home: Home) {
    home.put(CONFIG, br#"{"active_family":"qwen3"}"#, 0o600);
    let _daemon = home.daemon(APP).start().unwrap();
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(7);
    assert!(ran.stdout.contains("has lost settings or networks (see below)"), "{ran:?}");
    assert!(ran.stderr.contains("the config has lost nearly all of its settings"), "{ran:?}");
}

#[rstest]
fn the_only_config_in_a_temporary_file_is_restored(
    #[values(".durable-fs.123-10.part", ".durable-fs.1-1.swap", "config-backups/.durable-fs.4-2.part")]
    name: &str,
    #[values(None, Some(""), Some("{}"))] bytes: Option<&str>,
) {
    let home = home_without_backups();
    let before = home.bytes(CONFIG);
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    home.put(&format!("{APP}/{name}"), &before, 0o600);
    bytes.into_iter().for_each(|bytes| home.put(CONFIG, bytes.as_bytes(), 0o600));
    home.run(&["doctor"]).ends_with(4);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["outcome"], "repaired");
    assert_eq!(diagnostic(&ran.json(), "salvage.defaults"), None, "{ran:?}");
    assert_eq!(home.bytes(CONFIG), before);
    assert!(!home.has(&format!("{APP}/{name}")));
}

/// A daemon may have put aside a config that had lost its settings.
#[test]
fn later_file_with_fewer_settings_is_not_preferred_to_a_backup() {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    home.put(&format!("{CONFIG}.corrupt"), br#"{"active_family":"qwen3"}"#, 0o600);
    let ran = home.run(&["repair", "--json"]).ends_with(0);
    assert_eq!(diagnostic(&ran.json(), "salvage.defaults"), None, "{ran:?}");
    assert_eq!(home.bytes(CONFIG), before);
}

/// A repair takes nothing from the trash, where the user may have thrown the settings away on
/// purpose, nor from a copy of the home, which may be old.
#[rstest]
#[case::config_in_the_trash(CONFIG, ".local/share/Trash/files/config.json")]
#[case::backups_in_the_trash(KEPT, ".local/share/Trash/files/config-backups")]
#[case::config_in_a_copy_of_the_home(CONFIG, ".myownllm.bak/config.json")]
#[case::backups_in_a_copy_of_the_home(KEPT, ".myownllm-old/config-backups")]
#[case::config_in_a_copy_in_the_trash(CONFIG, ".local/share/Trash/files/.myownllm/config.json")]
#[case::config_in_another_directory(CONFIG, ".myownllm/backup/config.json")]
#[case::config_in_the_daemons_home(CONFIG, ".myownllm/.myownmesh/config.json.bak")]
fn lost_settings_that_a_repair_does_not_take_are_named(#[case] lost: &str, #[case] at: &str) {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    std::fs::create_dir_all(home.path(at).parent().unwrap()).unwrap();
    std::fs::rename(home.path(lost), home.path(at)).unwrap();
    match lost == KEPT {
        true => home.put(CONFIG, b"{}", 0o600),
        false => std::fs::remove_dir_all(home.path(KEPT)).unwrap(),
    }
    let mut hint = String::new();
    for (args, code) in [("doctor", 4), ("repair", 0), ("doctor", 0)] {
        let ran = home.run(&[args, "--json"]).ends_with(code);
        let lost = diagnostic(&ran.json(), "salvage.defaults").unwrap_or_else(|| panic!("{args}: {ran:?}"));
        assert!(lost["message"].as_str().unwrap().contains(at), "{lost:#}");
        lost["hint"].as_str().unwrap().clone_into(&mut hint);
    }
    assert!(follow(&home, &hint), "{hint}");
    assert_eq!(home.bytes(CONFIG), before);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert_eq!(home.bytes(CONFIG), before);
}

/// No launch reads a compressed file. The hint brings the config back, or lists the archive.
#[rstest]
#[case::config("cd .myownllm && gzip config.json", true, ".myownllm/config.json.gz")]
#[case::copy(
    "cd .myownllm && gzip -k config.json && echo '{}' >config.json",
    true,
    ".myownllm/config.json.gz"
)]
#[case::home("tar -czf .myownllm.tar.gz .myownllm && rm .myownllm/config.json", false, ".myownllm.tar.gz")]
#[case::backup(
    "tar -cf myownllm-backup.tar .myownllm && rm .myownllm/config.json",
    false,
    "myownllm-backup.tar"
)]
fn lost_settings_in_a_compressed_file_are_named(
    #[case] script: &str,
    #[case] comes_back: bool,
    #[case] at: &str,
) {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    run(Command::new("sh").args(["-c", script]).current_dir(home.path(""))).ends_with(0);
    std::fs::remove_dir_all(home.path(KEPT)).unwrap();
    for (args, code) in [("doctor", 4), ("repair", 0)] {
        let lost = home.run(&[args, "--json"]).ends_with(code).diagnostic("salvage.defaults");
        assert!(lost["message"].as_str().unwrap().contains(at), "{lost:#}");
        let compressed = home.bytes(at);
        let hint = lost["hint"].as_str().unwrap();
        assert!(follow(&home, hint), "{hint}");
        assert_eq!(home.bytes(at), compressed);
        assert!(!comes_back || home.bytes(CONFIG) == before, "{hint}");
        if comes_back {
            home.put(CONFIG, b"{}", 0o600);
            std::fs::remove_dir_all(home.path(KEPT)).unwrap();
        }
    }
}

#[test]
fn damaged_compressed_config_leaves_the_home_as_it_was() {
    let home = Home::settled();
    let script = "cd .myownllm && gzip config.json && truncate -s 300 config.json.gz && rm -r config-backups";
    run(Command::new("sh").args(["-c", script]).current_dir(home.path(""))).ends_with(0);
    let lost = home.run(&["repair", "--json"]).ends_with(0).diagnostic("salvage.defaults");
    let before = home.state();
    assert!(!follow(&home, lost["hint"].as_str().unwrap()), "{lost:#}");
    assert_eq!(home.state(), before, "{lost:#}");
}

#[test]
fn mixed_config_in_the_trash_is_named() {
    let home = Home::settled();
    let mut config = home.json(CONFIG);
    let family = config["active_family"].clone();
    config["version"] = json!(3);
    config["daemon"] = json!({});
    config["networks"] = json!([{"id": "q", "network_id": "q-net"}]);
    home.put(".Trash/config.json", config.to_string().as_bytes(), 0o600);
    without_config_and_backups(&home);
    let ran = home.run(&["repair", "--json"]).ends_with(0);
    let lost = diagnostic(&ran.json(), "salvage.defaults").unwrap();
    assert!(lost["message"].as_str().unwrap().contains(".Trash/config.json"), "{lost:#}");
    assert!(follow(&home, lost["hint"].as_str().unwrap()), "{lost:#}");
    home.run(&["repair"]).ends_with(0);
    assert_eq!(home.json(CONFIG)["active_family"], family);
}

/// A launch that waits for another one reports nothing that the other has repaired meanwhile.
#[rstest]
#[case::wiped(true, b"{}")]
#[case::overwritten_without_a_backup(false, OVERWRITTEN_V3)]
fn only_launches_that_repair_report_the_damage(#[case] has_backup: bool, #[case] bytes: &[u8]) {
    let home = if has_backup { Home::settled() } else { home_without_backups() };
    home.put(CONFIG, bytes, 0o600);
    let start = |_| {
        let mut command = home.command(&["launch", "--no-daemon", "--json"]);
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap()
    };
    let running: Vec<_> = (0..8).map(start).collect();
    let mut repaired = 0;
    for child in running {
        let said: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
        if said["data"]["outcome"] == "healthy" {
            for code in ["config.wiped", "salvage.defaults", "store.networks-lost"] {
                assert_eq!(diagnostic(&said, code), None, "{said}");
            }
        } else {
            repaired += 1;
        }
    }
    assert_eq!(repaired, 1);
}

/// The config was completed, not repaired, and most of its settings are gone all the same.
#[rstest]
#[case::a_setting(r#"{"active_family":"qwen3"}"#)]
#[case::the_networks(r#"{"cloud_mesh":{"enabled":true,"networks":[]}}"#)]
fn launch_that_completes_a_config_tells_its_losses(#[case] config: &str) {
    let home = Home::settled();
    std::fs::remove_dir_all(home.path(".myownllm/config-backups")).unwrap();
    home.put(CONFIG, config.as_bytes(), 0o600);
    let said = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0).json();
    assert!(diagnostic(&said, "salvage.defaults").is_some(), "{said:#}");
    assert_eq!(said["data"]["outcome"], "repaired-with-losses");
    let doctor = home.run(&["doctor", "--json"]).json();
    assert!(diagnostic(&doctor, "salvage.defaults").is_some(), "{doctor:#}");
}

/// Without a backup, `status` and `doctor` tell before a launch which settings it will lose.
#[rstest]
#[case::completed(
    r#"{"active_family":"qwen3","kept_models":["a:1"],"cloud_mesh":{"enabled":true,"networks":[]},
    "mode_overrides":{"text":"a:1"},"active_mode":"text","mic":{"device_name":"m"},"model_cleanup_days":9}"#
)]
#[case::overwritten(r#"{"version":3,"daemon":{},"networks":[{"id":"q","network_id":"q-net"}]}"#)]
#[case::not_json("not JSON")]
fn losses_of_a_launch_are_reported_before(#[case] config: &str) {
    let home = Home::settled();
    std::fs::remove_dir_all(home.path(KEPT)).unwrap();
    home.put(CONFIG, config.as_bytes(), 0o600);
    let reported = |args: &[&str]| {
        let ran = home.run(args).json();
        let lost = diagnostic(&ran, "salvage.defaults").unwrap_or_else(|| panic!("{args:?}: {ran:#}"));
        lost["message"].as_str().unwrap().replace("would be", "are")
    };
    let [status, doctor] = [reported(&["status", "--json"]), reported(&["doctor", "--json"])];
    home.run(&["status", "--check"]).ends_with(3);
    let launch = reported(&["launch", "--no-daemon", "--json"]);
    assert_eq!([&status, &doctor], [&launch; 2]);
    home.run(&["status", "--check"]).ends_with(0);
}

/// A launch that failed between the backup and the config had set the config aside.
#[test]
fn config_that_was_set_aside_is_a_source_if_there_is_no_other() {
    let home = Home::settled();
    let before = home.json(CONFIG);
    let backups = home.path(".myownllm/config-backups");
    for backup in std::fs::read_dir(&backups).unwrap().map(|entry| entry.unwrap().path()) {
        let name = backup.file_name().unwrap().to_str().unwrap().replacen("good-", "kept-", 1);
        std::fs::rename(&backup, backups.join(name)).unwrap();
    }
    home.put(CONFIG, OVERWRITTEN_V3, 0o600);
    let said = home.run(&["repair", "--json"]).ends_with(0).json();
    assert_eq!(diagnostic(&said, "salvage.defaults"), None, "{said:#}");
    assert_eq!(home.json(CONFIG)["api"], before["api"]);
}
