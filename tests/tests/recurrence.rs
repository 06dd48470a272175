//! A config that a daemon overwrites again: the launch says so, and names the processes that may
//! have written it.

#![cfg(target_os = "linux")]

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use integration_tests::testkit::{APP, CONFIG, Home, MESH, NEW_KEY, OLD_KEY, Ran, program, run, stand_in};
use serde_json::{Value, json};

/// The config that a daemon writes over the app's, if both share a directory.
const OVERWRITTEN: &[u8] =
    br#"{"version": 3, "identity_path": null, "daemon": {"enabled": true}, "networks": [{"id": "n",
        "network_id": "ev-mesh"}]}"#;

fn recurrence_of(ran: &Ran) -> Value {
    let said = ran.json();
    let reported = said["diagnostics"].as_array().unwrap().iter().any(|one| one["code"] == "launch.relapse");
    assert_eq!(reported, !said["data"]["relapse"].is_null(), "{said}");
    said["data"]["relapse"].clone()
}

/// A process that runs until it is dropped.
struct Bystander(Child);

impl Bystander {
    fn new(command: &mut Command) -> Self {
        Self(command.arg("600").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

#[test]
fn config_that_the_user_restored_is_no_recurrence() {
    let home = Home::after_the_bug();
    let overwritten = home.bytes(CONFIG);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    home.run(&["config", "restore", "1", "--as-is"]).ends_with(0);
    // Another command that is logged.
    home.run(&["migrate", "--undo"]).ends_with(0);
    assert_eq!(home.bytes(CONFIG), overwritten);
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["outcome"], "repaired");
    assert!(recurrence_of(&ran).is_null());
    // A daemon that writes the same bytes later is one.
    home.put(CONFIG, &overwritten, 0o600);
    assert!(!recurrence_of(&home.run(&["launch", "--no-daemon", "--json"]).ends_with(0)).is_null());
}

#[test]
fn recurrence_is_distinguished_from_the_first_time() {
    let quiet = &["launch", "--no-daemon", "--json"];
    // The first time: this program never saw the config healthy, also if a daemon moved the app's
    // config aside.
    let home = Home::after_the_bug();
    assert!(recurrence_of(&home.run(quiet).ends_with(0)).is_null());
    let home = Home::legacy();
    let healthy = home.bytes(CONFIG);
    home.put(&format!("{CONFIG}.corrupt"), &healthy, 0o600);
    home.put(CONFIG, OVERWRITTEN, 0o600);
    assert!(recurrence_of(&home.run(quiet).ends_with(0)).is_null());
    // The launch has repaired the config, so it was healthy from then on.
    assert!(recurrence_of(&home.run(quiet).ends_with(0)).is_null());
    home.put(CONFIG, OVERWRITTEN, 0o600);
    let recurrence = recurrence_of(&home.run(quiet).ends_with(0));
    assert!(recurrence["healthy_copy"].as_str().unwrap().starts_with("good-"), "{recurrence}");
    assert_eq!(recurrence["suspects"], json!([]), "nobody is named who leaves no trace");
    // A partly overwritten config counts as well.
    home.edit(CONFIG, |mixed| {
        mixed["version"] = json!(3);
        mixed["daemon"] = json!({"enabled": true});
        mixed["networks"] = json!([{"id": "n", "network_id": "ev-mesh"}]);
    });
    assert!(!recurrence_of(&home.run(quiet).ends_with(0)).is_null());
    // A corrupt or missing config is not blamed on a daemon.
    for broken in [&b"{"[..], b"{}"] {
        home.put(CONFIG, broken, 0o600);
        assert!(recurrence_of(&home.run(quiet).ends_with(0)).is_null());
    }
    // The text output reports it as well.
    home.put(CONFIG, OVERWRITTEN, 0o600);
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(
        ran.stderr.contains("was healthy before") && ran.stderr.contains("no such daemon runs now"),
        "{ran:?}"
    );
}

/// Checks that a process that has the config open is named, under any spelling of the home: the
/// kernel names an open file without symlinks.
fn names_an_editor_under_any_spelling(home: &Home, alias: &Path) {
    std::os::unix::fs::symlink(home.path(""), alias).unwrap();
    home.put(CONFIG, OVERWRITTEN, 0o600);
    let editor = Bystander::new(Command::new("sleep").stdin(std::fs::File::open(home.path(CONFIG)).unwrap()));
    let mut spelled = Command::new(program());
    spelled.arg("--home").arg(alias).args(["launch", "--no-daemon", "--json"]);
    let found = recurrence_of(&run(&mut spelled).ends_with(0))["suspects"].clone();
    assert_eq!(found[0]["pid"], editor.0.id(), "{found}");
}

#[test]
fn only_the_process_that_still_writes_is_named() {
    let home = Home::settled();
    let app_home = home.path(APP);
    let named = |args: &[&str], code| {
        home.put(CONFIG, OVERWRITTEN, 0o600);
        let ran = home.run(&[&["launch", "--no-daemon", "--json"], args].concat()).ends_with(code);
        recurrence_of(&ran)["suspects"].clone()
    };
    // Bystanders: a daemon elsewhere, the app of another home, a process with the daemon's
    // variable.
    let elsewhere = tempfile::tempdir().unwrap();
    let app = elsewhere.path().join("myownllm");
    std::fs::copy("/bin/sleep", &app).unwrap();
    let _others = [
        Bystander::new(Command::new("sleep").env("MYOWNMESH_HOME", home.path(MESH))),
        Bystander::new(Command::new("sleep").env("MYOWNLLM_HOME", &app_home)),
        Bystander::new(Command::new(&app).env("HOME", elsewhere.path())),
        Bystander::new(Command::new("sleep").env("HOME", home.path(""))),
    ];
    let _daemon_elsewhere = home.daemon(".myownmesh").start().unwrap();
    assert_eq!(named(&[], 0), json!([]));

    // An app of that name, in this user's session.
    let older = Bystander::new(Command::new(&app).env("HOME", home.path("")));
    let same_name = json!([{"pid": older.0.id(), "program": app, "evidence": {"evidence": "same_name"}}]);
    assert_eq!(named(&[], 0), same_name);
    // It runs on while its program file is replaced, as in an upgrade.
    std::fs::remove_file(&app).unwrap();
    std::fs::copy("/bin/sleep", &app).unwrap();
    let replaced = named(&[], 0);
    assert_eq!(
        (&replaced[0]["pid"], &replaced[0]["evidence"]["evidence"]),
        (&json!(older.0.id()), &json!("same_name")),
        "{replaced}"
    );
    drop(older);
    // The app that runs this program is not named.
    home.put(CONFIG, OVERWRITTEN, 0o600);
    let today = elsewhere.path().join("today/myownllm");
    std::fs::create_dir(today.parent().unwrap()).unwrap();
    std::fs::copy("/bin/sh", &today).unwrap();
    let mut above = Command::new(&today);
    above.args(["-c", "\"$@\"; exit $?", "sh"]).arg(program()).arg("--home").arg(home.path(""));
    above.args(["launch", "--no-daemon", "--json"]).env("HOME", home.path(""));
    assert_eq!(recurrence_of(&run(&mut above).ends_with(0))["suspects"], json!([]));
    // A process that would start a daemon there.
    let shell = Bystander::new(Command::new("sleep").env("MYOWNMESH_HOME", &app_home));
    let found = named(&[], 0);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(shell.0.id()), &json!("points_there"))
    );
    drop(shell);
    // A process that has the file open. The repair replaces the file, so the check comes before the
    // repair.
    home.put(CONFIG, OVERWRITTEN, 0o600);
    let editor = Bystander::new(Command::new("sleep").stdin(std::fs::File::open(home.path(CONFIG)).unwrap()));
    let found = named(&[], 0);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(editor.0.id()), &json!("holds_open"))
    );
    drop(editor);
    names_an_editor_under_any_spelling(&home, &elsewhere.path().join("alias"));

    // A daemon on the app's home, with the key that the device always had, and its parent. The
    // config is not repaired while it runs, but the daemon is named.
    let key = home.bytes(NEW_KEY);
    home.put(OLD_KEY, &key, 0o600);
    let legacy = home.daemon(APP).start().unwrap();
    let us = json!(std::process::id());
    let found = named(&[], 7);
    assert_eq!(
        (&found[0]["pid"], &found[0]["evidence"]["evidence"]),
        (&json!(legacy.pid()), &json!("serves"))
    );
    assert_eq!((&found[1]["pid"], &found[1]["evidence"]["evidence"]), (&us, &json!("parent_of")), "{found}");
    assert_eq!(home.bytes(CONFIG), OVERWRITTEN);
    // After it was ended on request, the daemon is still named.
    let pid = legacy.reaped_elsewhere();
    // A dry run predicts the refusal.
    for args in [&["salvage", "--dry-run"][..], &["salvage"]] {
        assert!(home.run(args).ends_with(7).stderr.contains("daemon.legacy-running"), "{args:?}");
    }
    let ran = home.run(&["launch", "--no-daemon", "--stop-legacy-daemon"]).ends_with(0);
    assert!(
        ran.stderr.contains(&format!("process {pid} ({}) is a daemon on this directory", stand_in())),
        "{ran:?}"
    );
    assert!(!home.run(&["launch", "--no-daemon"]).ends_with(0).stderr.contains("healthy before"));
}
