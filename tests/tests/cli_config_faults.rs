//! The config under faults: killed runs, file systems that lack a feature, torn files.
//!
//! Tests that need strace or root run only where these are available, and print a line when they
//! are skipped.

#![cfg(target_os = "linux")]

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_tests::testkit::{
    APP, CONFIG, Home, MESH, Ran, Unprivileged, can_be_root, can_trace, path_with_program, run, run_with,
    wrapped,
};
use rstest::rstest;

/// Runs the program under strace with these faults. Returns the outcome and the log of the traced
/// calls.
fn traced(home: &Home, args: &[&str], faults: &[String]) -> (Ran, Vec<String>) {
    let log = home.path("../strace.log");
    let faults: Vec<String> = faults.iter().map(|fault| format!("inject={fault}")).collect();
    let mut strace = vec!["strace", "-f", "-y", "-s", "4096", "-e", "trace=fsync,/^rename,unlinkat,linkat"];
    faults.iter().for_each(|fault| strace.extend(["-e", fault]));
    strace.extend(["-o", log.to_str().unwrap()]);
    let ran = run(&mut wrapped(&strace, &home.with_daemon(args)));
    (ran, std::fs::read_to_string(log).unwrap().lines().map(str::to_owned).collect())
}

/// Returns the number of the first `fsync` after the exchange of names. An injected signal arrives
/// before its call.
fn first_sync_after_the_exchange(home: &Home, args: &[&str]) -> usize {
    let (ran, log) = traced(home, args, &[]);
    ran.ends_with(0);
    let exchange = log.iter().position(|line| line.contains("RENAME_EXCHANGE")).unwrap();
    log[..exchange].iter().filter(|line| line.contains("fsync(")).count() + 1
}

/// Another process moves a file between the listing of its directory and the look at the file.
#[rstest]
fn move_looks_again_when_a_file_vanishes_during_the_look(#[values(1, 2, 3, 4)] number: u32) {
    const ROSTER: &str = ".myownllm/mesh/rosters/home-mesh.json";
    if !can_trace() {
        return;
    }
    let home = Home::settled();
    let bytes = home.bytes(".myownllm/.myownmesh/mesh/rosters/home-mesh.json");
    home.put(ROSTER, &bytes, 0o600);
    let program = home.command(&["migrate"]);
    let mut strace = Command::new("strace");
    let fault = format!("inject=statx,newfstatat:error=ENOENT:when={number}");
    strace.args(["-f", "-o", "/dev/null", "-P"]).arg(home.path(ROSTER)).args(["-e", &fault]);
    strace.arg(program.get_program()).args(program.get_args());
    run(strace.env_remove("MYOWNMESH_HOME").current_dir("/")).ends_with(0);
}

fn synced(log: &[String], path: &Path) -> bool {
    let path = format!("<{}>)", path.canonicalize().unwrap().display());
    log.iter().any(|line| line.contains("fsync(") && line.contains(&path) && line.ends_with("= 0"))
}

fn temporaries(home: &Home) -> Vec<String> {
    let names = home.snapshot().into_keys().map(|path| path.to_string_lossy().into_owned());
    names.filter(|path| path.contains("/.durable-fs.")).collect()
}

/// Fills the paths and ids of this home into the arguments.
fn args_in(home: &Home, args: &[&str]) -> Vec<String> {
    let envelope = home.path("envelope.json").to_string_lossy().into_owned();
    let backups = home.path(APP).join("config-backups");
    let names = std::fs::read_dir(backups).into_iter().flatten();
    let mut good: Vec<_> = names
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("good-"))
        .collect();
    good.sort();
    let oldest = good.first().map(|name| name.trim_end_matches(".json").to_owned()).unwrap_or_default();
    args.iter().map(|arg| arg.replace("ENVELOPE", &envelope).replace("OLDEST", &oldest)).collect()
}

fn with_an_envelope() -> Home {
    let home = Home::settled();
    let text = br#"{"kind":"myownllm.network-settings","version":1,"network_id":"imported-net"}"#;
    home.put("envelope.json", text, 0o600);
    home
}

/// A relative path is a file too: the hint opens the file. A text from stdin has no file.
#[rstest]
#[case::list("[{}]", "object")]
#[case::torn("{\"kind\":", "not complete")]
#[case::empty("", "not complete")]
fn hint_for_an_envelope_that_cannot_be_read_can_be_followed(#[case] text: &str, #[case] said: &str) {
    let home = Home::settled();
    home.put("envelope.json", text.as_bytes(), 0o600);
    let file =
        run(home.command(&["network", "import", "envelope.json", "--json"]).current_dir(home.path("")));
    let reported = file.ends_with(1).diagnostic("envelope.parse");
    let path = home.path("envelope.json");
    assert_eq!(reported["path"], path.to_str().unwrap(), "{reported}");
    assert!(reported["hint"].as_str().unwrap().ends_with(path.to_str().unwrap()), "{reported}");
    let stdin = run_with(&mut home.command(&["network", "import", "-", "--json"]), text.as_bytes());
    let reported = stdin.ends_with(1).diagnostic("envelope.parse");
    let hint = reported["hint"].as_str().unwrap();
    assert!(hint.contains(said) && !hint.contains("backup") && !hint.contains("put the text"), "{reported}");
}

fn with_a_later_network() -> Home {
    let home = Home::settled();
    home.run(&["network", "add", "later-net"]).ends_with(0);
    home
}

/// A killed run has made the change and has not synced it. The next run finds the change made, and
/// syncs it before it reports success.
#[rstest]
#[case::add(Home::settled, &["network", "add", "other-net"])]
#[case::use_none(Home::settled, &["network", "use", "--none"])]
#[case::import(with_an_envelope, &["network", "import", "ENVELOPE"])]
#[case::restore(with_a_later_network, &["config", "restore", "OLDEST"])]
#[case::salvage(Home::after_the_bug, &["salvage"])]
fn change_that_a_killed_run_made_is_synced_before_success(
    #[case] home_of: fn() -> Home,
    #[case] args: &[&str],
) {
    if !can_trace() {
        return;
    }
    let (learned, home) = (home_of(), home_of());
    let (args_learned, args) = (args_in(&learned, args), args_in(&home, args));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let args_learned: Vec<&str> = args_learned.iter().map(String::as_str).collect();
    let number = first_sync_after_the_exchange(&learned, &args_learned);

    let before = home.bytes(CONFIG);
    let (killed, _) = traced(&home, &args, &[format!("fsync:signal=KILL:when={number}")]);
    assert_eq!(killed.code, None, "{args:?}: {killed:?}");
    assert!(home.bytes(CONFIG) != before, "{args:?}: it was killed before the exchange");
    assert!(!temporaries(&home).is_empty(), "{args:?}");

    let made = home.bytes(CONFIG);
    let (ran, log) = traced(&home, &args, &[]);
    ran.ends_with(0);
    assert!(home.bytes(CONFIG) == made, "{args:?}: there was nothing left to do");
    assert!(synced(&log, &home.path(CONFIG)), "{args:?}: {log:#?}");
    assert!(synced(&log, &home.path(APP)), "{args:?}: {log:#?}");
    assert_eq!(temporaries(&home), Vec::<String>::new(), "{args:?}");
    home.still_has(&before, "what the killed run replaced");
}

/// As above, if the killed run left no temporary file, or another program made the change.
#[rstest]
#[case::add(Home::settled, &["network", "add", "other-net"])]
#[case::use_none(Home::settled, &["network", "use", "--none"])]
#[case::import(with_an_envelope, &["network", "import", "ENVELOPE"])]
#[case::restore(with_a_later_network, &["config", "restore", "OLDEST"])]
#[case::salvage(Home::after_the_bug, &["salvage"])]
fn change_that_is_made_already_is_synced_before_success(
    #[case] home_of: fn() -> Home,
    #[case] args: &[&str],
) {
    if !can_trace() {
        return;
    }
    let home = home_of();
    let args = args_in(&home, args);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    home.run(&args).ends_with(0);
    let before = home.snapshot();
    let (ran, log) = traced(&home, &args, &[]);
    ran.ends_with(0);
    assert!(synced(&log, &home.path(CONFIG)) && synced(&log, &home.path(APP)), "{args:?}: {log:#?}");
    assert!(home.snapshot() == before, "{args:?}: it wrote");
}

/// A file of others stays at the old location, so nothing there shows that a killed run moved the
/// key and did not sync the move.
#[rstest]
#[case::migrate(&["migrate"])]
#[case::repair(&["repair"])]
#[case::launch_that_starts_a_daemon(&["launch", "--once"])]
fn move_that_a_killed_run_made_is_synced_before_success(#[case] args: &[&str]) {
    if !can_trace() {
        return;
    }
    let home = Home::legacy();
    home.put(".myownllm/.secrets/api-key.txt", b"key", 0o600);
    home.run(&["migrate"]).ends_with(0);
    run(&mut home.with_daemon(args)).ends_with(0);
    let before = home.snapshot();
    let (ran, log) = traced(&home, args, &[]);
    ran.ends_with(0);
    for dir in [".secrets", "mesh/rosters", "mesh/states", "mesh"].map(|dir| home.path(MESH).join(dir)) {
        assert!(synced(&log, &dir), "{}: {log:#?}", dir.display());
    }
    assert!(synced(&log, &home.path(".myownllm/.secrets")), "{log:#?}");
    // A daemon writes files of its own.
    assert!(args.contains(&"--once") || home.snapshot() == before, "it wrote");
}

/// On a file system without RENAME_EXCHANGE, another program renames its config into place during
/// the sync of the backup link. Its config stays, and the edit is made on top of it.
#[test]
fn foreign_rename_before_a_plain_rename_is_not_lost() {
    if !can_trace() {
        return;
    }
    let home = Home::settled();
    let config = home.path(CONFIG);
    let mut theirs = home.json(CONFIG);
    theirs["mark"] = "theirs".into();
    home.put("theirs.json", theirs.to_string().as_bytes(), 0o600);
    let ran = std::thread::scope(|scope| {
        scope.spawn(|| {
            // A second hard link of the config shows that the last check is over and the sync of
            // the directory begins.
            let started = Instant::now();
            while config.metadata().is_ok_and(|meta| meta.nlink() < 2) {
                assert!(started.elapsed() < Duration::from_secs(20), "no second name was made");
                std::thread::sleep(Duration::from_micros(200));
            }
            std::fs::rename(home.path("theirs.json"), &config).unwrap();
        });
        let faults = ["renameat2:error=EINVAL".to_owned(), "fsync:delay_enter=100000".to_owned()];
        traced(&home, &["network", "add", "other-net", "--json"], &faults).0
    })
    .ends_with(0);
    let saved = home.json(CONFIG);
    assert_eq!(saved["mark"], "theirs", "what they wrote is gone");
    assert!(saved["cloud_mesh"]["networks"].to_string().contains("other-net"));
    let reported = ran.json()["diagnostics"].to_string();
    assert_eq!(reported.matches("store.no-exchange").count(), 1, "{reported}");
    assert_eq!(temporaries(&home), Vec::<String>::new());
    let said = traced(&home, &["network", "add", "third-net"], &["renameat2:error=EINVAL".to_owned()]).0;
    assert!(said.ends_with(0).all().contains("cannot exchange"));
}

fn sh(script: &str, home: &Home) {
    let status = Command::new("sh").args(["-ec", script, "sh"]).arg(home.path("")).status().unwrap();
    assert!(status.success(), "{script}");
}

const LINK: &str = "cd $1/.myownllm; mkdir ../../store; mv config.json ../../store/; \
    chmod 444 ../../store/*; chmod 555 ../../store; \
    ln -s ../../store/config.json";
const NO_BACKUPS: &str = "rm -rf $1/.myownllm/config-backups";
const GIVE: &str = "chown -hR 65534:65534 $1/.. ; chown -RH 0:0 $1/../store";
const BACKUPS: &str = "cd $1/.myownllm; rm -rf config-backups; mkdir ../../store; chmod 555 ../../store; \
    ln -s ../../store config-backups";
const READ_ONLY: &str = "rm -rf $1/.myownllm/config-backups; mkdir $1/../store; chown -RH 65534:65534 $1/..; \
    chmod 555 $1/.myownllm";

/// A config or a backup directory in a read-only store does not make a healthy home fail: the run
/// warns that it cannot write, until a change is requested.
#[rstest]
#[case::a_symlink_and_no_backup_yet(true, &[LINK, NO_BACKUPS, GIVE])]
#[case::a_symlink_and_a_backup_of_another_state(true, &[LINK, GIVE])]
#[case::a_symlink_to_a_config_that_lacks_defaults(false, &[LINK, NO_BACKUPS, GIVE])]
#[case::backups_that_are_a_symlink(true, &[BACKUPS, GIVE])]
#[case::a_home_that_nobody_may_write(true, &[READ_ONLY])]
#[case::a_home_that_nobody_may_write_and_no_defaults(false, &[READ_ONLY])]
fn healthy_home_with_its_config_in_a_read_only_store_starts_with_0(
    #[case] is_whole: bool,
    #[case] scripts: &[&str],
) {
    if !can_be_root() {
        return;
    }
    let home = Home::settled();
    if !is_whole {
        let partial =
            br#"{"active_family":"qwen3","providers":[{"name":"Mine","url":"https://x.example/"}]}"#;
        home.put(CONFIG, partial, 0o600);
    }
    let config = home.bytes(CONFIG);
    let Some(user) = Unprivileged::new(&home) else { return };
    scripts.iter().for_each(|script| sh(script, &home));
    for _ in 0..2 {
        let said = user.run(&home, &["launch", "--no-daemon", "--json"]).ends_with(0).json();
        assert_eq!(said["ok"], true);
        assert_eq!(said["data"]["outcome"], "healthy", "nothing is written: {said:#}");
    }
    assert_eq!(home.bytes(CONFIG), config);
    let changed = user.run(&home, &["network", "add", "other-net"]);
    assert!(matches!(changed.code, Some(1 | 7)), "a change has to be written: {changed:?}");
    assert_eq!(home.bytes(CONFIG), config);
}

/// Root does not back up the target of another user's symlink. If nothing has to be written, and
/// everybody may read the target, that is a warning.
#[test]
fn healthy_config_behind_a_foreign_symlink_is_read_with_a_warning() {
    if !can_be_root() {
        return;
    }
    let home = Home::settled();
    sh(
        "cd $1/.myownllm; rm -rf config-backups; mv config.json ../store.json; chmod 644 ../store.json; \
         ln -s ../store.json config.json; \
         chown -h 65534:65534 config.json; chown 65534:65534 .",
        &home,
    );
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    let warning = ran.json()["diagnostics"][0].clone();
    assert_eq!((&warning["code"], &warning["severity"]), (&"store.foreign-link".into(), &"warning".into()));
    assert!(!home.has(".myownllm/config-backups"), "nothing of it is copied");
    assert_eq!(home.run(&["network", "add", "other-net"]).code, Some(7));
}

/// Runs a hint as a person would: in a shell, with the program on PATH.
fn run_hint(home: &Home, hint: &str) -> Ran {
    let mut shell = Command::new("sh");
    shell.args(["-c", hint]).env("PATH", path_with_program()).env_remove("MYOWNMESH_HOME");
    run(shell.env("HOME", home.path("")).current_dir("/"))
}

/// Prints a config with one member a line.
fn pretty(config: &serde_json::Value) -> String {
    serde_json::to_string_pretty(config).unwrap()
}

/// A hand edit lacks a comma. The launch names the line and restores the backup, and its hint
/// brings the edit back, by the number that `config history` shows.
#[test]
fn hand_edit_with_a_typo_is_reported_and_can_be_had_back() {
    let home = Home::settled();
    let before = home.bytes(CONFIG);
    let mut edited = home.json(CONFIG);
    edited["active_family"] = "llama".into();
    let text = pretty(&edited);
    let typo = text.replacen("\"llama\",", "\"llama\"", 1);
    let line = 1 + text[..text.find("\"llama\"").unwrap()].matches('\n').count();
    home.put(CONFIG, typo.as_bytes(), 0o600);

    let said = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    let offer = said.diagnostic("store.recoverable");
    assert!(offer["message"].as_str().unwrap().contains(&format!("insert `,` at line {line}, ")), "{offer}");
    assert!(home.bytes(CONFIG) == before, "the backup is in force");
    home.still_has(typo.as_bytes(), "the edit");

    let listed = home.run(&["config", "history", "--json"]).ends_with(0).json();
    assert_eq!(listed["data"]["copies"][0]["recoverable"], true, "{listed:#}");
    let hint = offer["hint"].as_str().unwrap();
    for _ in 0..2 {
        run_hint(&home, hint).ends_with(0);
        assert_eq!(home.json(CONFIG), edited);
    }
    home.run(&["config", "check"]).ends_with(0);
}

/// Without a backup, the launch recovers the whole part of a half-written config, and names the
/// lost settings and the lost networks whose peers are still known.
#[test]
fn half_written_config_without_a_backup_keeps_what_is_whole() {
    let home = Home::settled();
    let whole = home.json(CONFIG);
    let text = pretty(&whole);
    std::fs::remove_dir_all(home.path(".myownllm/config-backups")).unwrap();
    let torn = &text[..text.find("\"providers\"").unwrap_or(text.len() / 2)];
    home.put(CONFIG, torn.as_bytes(), 0o600);
    let dry = home.run(&["salvage", "--dry-run", "--json"]).ends_with(0);
    assert!(dry.diagnostic("store.recovered")["message"].as_str().unwrap().contains("active_family"));
    assert_eq!(home.bytes(CONFIG), torn.as_bytes());

    let said = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert_eq!(home.json(CONFIG)["active_family"], whole["active_family"]);
    home.still_has(torn.as_bytes(), "the torn file");
    let lost = said.diagnostic("store.networks-lost");
    assert!(lost["message"].as_str().unwrap().contains("office-mesh"), "{lost}");
    for _ in 0..2 {
        run_hint(&home, lost["hint"].as_str().unwrap()).ends_with(0);
    }
    let networks = home.json(CONFIG)["cloud_mesh"]["networks"].to_string();
    assert!(networks.contains("office-mesh"), "{networks}");
    home.run(&["salvage", "--check"]).ends_with(0);
}

#[test]
fn daemons_config_with_an_old_tail_is_repaired_and_reported() {
    let home = Home::after_the_bug();
    let leaked = [&home.bytes(CONFIG)[..], b"\n  \"providers\": []\n}\n"].concat();
    home.put(CONFIG, &leaked, 0o600);
    let said = home.run(&["launch", "--no-daemon", "--json"]).ends_with(0);
    assert!(said.diagnostic("store.recovered")["message"].as_str().unwrap().contains("bytes behind it"));
    assert_ne!(said.json()["data"]["config"]["networks"], serde_json::json!([]));
    home.still_has(&leaked, "the file");
    home.run(&["salvage", "--check"]).ends_with(0);
}

/// The filters fail on invalid JSON and repair nothing.
#[test]
fn filters_refuse_what_is_no_json() {
    let home = Home::empty();
    for text in
        ["{\"active_family\": \"x\"} tail", "{\"active_family\": \"x\", \"kept", "{\"a\": 1 \"b\": 2}"]
    {
        for args in [&["config", "normalize"][..], &["salvage", "--stdin"]] {
            let ran = run_with(&mut home.command(args), text.as_bytes()).ends_with(1);
            assert_eq!(ran.stdout, "", "{args:?}: {text}");
        }
    }
}
