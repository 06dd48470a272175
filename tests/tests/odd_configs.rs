//! Files in the place of the config that are no configs, or barely.

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use integration_tests::testkit::{
    APP, CONFIG, Home, NEW_KEY, OLD_KEY, SECRETS, fixture, fixture_of_038, follow, run, run_with,
};
use rstest::rstest;
use serde_json::{Value, json};

fn healthy() -> Vec<u8> {
    fixture("app-config-before.json")
}

/// Returns the healthy config as UTF-16, with a byte order mark.
fn utf16(to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = String::from_utf8(healthy()).unwrap();
    std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(to_bytes).collect()
}

/// A family of files that are no configs, or barely, with their names.
type Odd = Vec<(String, Vec<u8>)>;

fn odd(family: &[(&str, &[u8])]) -> Odd {
    family.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())).collect()
}

fn cuts(bytes: &[u8]) -> Odd {
    let step = bytes.len() / 14;
    (1..14).map(|n| (format!("cut at byte {}", n * step), bytes[..n * step].to_vec())).collect()
}

/// Launches with each odd config, a family at once, because a config that may be half written
/// delays a run. No run panics or hangs, each exit code is of the contract, the former bytes are
/// kept, the config is readable, and the next launch changes nothing.
#[rstest]
#[case::without_content(odd(&[
    ("empty", b""),
    ("white space", b" \n\t "),
    ("all NUL", &vec![0; healthy().len()]),
]))]
#[case::zero_bytes_around_a_config(odd(&[
    ("NUL behind", &[&healthy()[..], &[0; 64]].concat()),
    ("NUL before", &[&[0; 64], &healthy()[..]].concat()),
]))]
#[case::other_encodings(odd(&[
    ("UTF-16 LE", &utf16(u16::to_le_bytes)),
    ("UTF-16 BE", &utf16(u16::to_be_bytes)),
    ("Latin-1", b"{\"active_family\":\"B\xfcro\"}"),
    ("BOM", &[&b"\xef\xbb\xbf"[..], &healthy()].concat()),
]))]
#[case::no_objects(odd(&[
    ("a list", b"[1,2]"),
    ("null", b"null"),
    ("a string", b"\"x\""),
    ("a number", b"1e400"),
]))]
#[case::slips_of_a_hand_edit(odd(&[
    ("two documents", &healthy().repeat(2)),
    ("trailing comma", b"{\"active_family\":\"qwen3\",}"),
    ("comment", b"{\"active_family\":\"qwen3\"} // mine"),
    ("duplicates", br#"{"active_family":"a","active_family":{"b":1}}"#),
]))]
#[case::deep(odd(&[
    ("deep lists", &[&b"{\"x\":"[..], &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat()),
    ("deep objects", &[b"{\"x\":".repeat(5_000), b"1".to_vec(), b"}".repeat(5_000)].concat()),
    ("unclosed", &b"[".repeat(100_000)),
]))]
#[case::odd_networks(odd(&[
    ("null network",
        br#"{"kept_models":["m"],"cloud_mesh":{"networks":[{"id":"a","network_id":"home"},null]}}"#),
    ("null daemon network", br#"{"version":3,"daemon":{},"networks":[null,{"id":"a","network_id":"home"}]}"#),
    ("networks an object", br#"{"cloud_mesh":{"networks":{}}}"#),
]))]
#[case::odd_members(odd(&[
    ("lone surrogate", br#"{"active_family":"\ud800"}"#),
    ("odd names", br#"{"__proto__":1,"":2,"$serde_json::private::Number":"3","providers":null}"#),
    ("all wrong types", br#"{"providers":5,"active_family":[],"cloud_mesh":"x","api":"off","mic":7,
        "tracked_modes":{"length":0}}"#),
]))]
#[case::cut_configs_of_the_app(cuts(&healthy()))]
#[case::cut_configs_of_a_daemon(cuts(&fixture_of_038(CONFIG)))]
fn odd_configs_lose_no_byte(#[case] odd: Odd) {
    std::thread::scope(|scope| {
        for (name, bytes) in &odd {
            scope.spawn(move || odd_config(name, bytes));
        }
    });
}

fn odd_config(name: &str, bytes: &[u8]) {
    let home = Home::legacy();
    home.put(CONFIG, bytes, 0o600);
    for args in [
        &["status", "--json"][..],
        &["doctor"],
        &["config", "show"],
        &["config", "check"],
        &["salvage", "--dry-run"],
    ] {
        home.run(args).is_sound();
        assert_eq!(home.bytes(CONFIG), bytes, "{name}: {args:?} wrote");
    }
    for filter in [&["config", "normalize"][..], &["salvage", "--stdin"]] {
        let ran = run_with(&mut home.command(filter), bytes);
        assert!(
            matches!(ran.code, Some(0 | 1)) && !ran.stderr.contains("panicked"),
            "{name}: {filter:?}: {ran:?}"
        );
    }
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(!ran.stderr.contains("panicked"), "{name}: {ran:?}");
    home.still_has(bytes, name);
    home.run(&["status", "--check"]).ends_with(0);
    let settled = home.snapshot();
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.snapshot() == settled, "{name}: the next launch wrote");
}

#[cfg(unix)]
#[test]
fn a_fifo_for_a_config_hangs_nobody() {
    let home = Home::legacy();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    assert!(Command::new("mkfifo").arg(home.path(CONFIG)).status().unwrap().success());
    for args in [
        &["status"][..],
        &["doctor"],
        &["config", "show"],
        &["launch", "--no-daemon"],
        &["salvage"],
        &["migrate"],
    ] {
        home.run(args).is_sound();
    }
    use std::os::unix::fs::FileTypeExt as _;
    let kind = home.path(CONFIG).symlink_metadata().unwrap().file_type();
    assert!(kind.is_fifo(), "what is no file is not replaced");
}

/// Something else under the config's name does not keep the key from moving.
#[test]
fn a_dir_for_a_config_does_not_keep_the_key_from_its_place() {
    let home = Home::legacy();
    std::fs::remove_file(home.path(CONFIG)).unwrap();
    std::fs::create_dir(home.path(CONFIG)).unwrap();
    home.run(&["migrate"]).ends_with(0);
    assert!(home.has(NEW_KEY) && !home.has(OLD_KEY));
    let ran = home.run(&["launch", "--no-daemon"]).ends_with(1);
    assert!(ran.stderr.contains("store.not-regular"), "{ran:?}");
}

/// A fault that repeats leaves one backup of each content.
#[test]
fn a_loop_of_the_bug_leaves_one_copy_of_each_content() {
    let home = Home::after_the_bug();
    let leaked = home.bytes(CONFIG);
    for _ in 0..20 {
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.put(CONFIG, &leaked, 0o644);
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let backups = home.path(APP).join("config-backups");
    let is_copy =
        |(path, (_, bytes)): &(PathBuf, (_, Vec<u8>))| path.starts_with(&backups) && *bytes == leaked;
    assert_eq!(home.snapshot().into_iter().filter(is_copy).count(), 1);
}

#[rstest]
#[case::negative(json!(-1))]
#[case::a_word(json!("three"))]
#[case::a_fraction(json!(0.5))]
fn an_odd_version_of_a_leaked_config_is_an_old_one(#[case] version: Value) {
    let home = Home::after_the_bug();
    home.edit(CONFIG, |config| config["version"] = version);
    let former = home.bytes(CONFIG);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    home.still_has(&former, "the former config");
    assert!(home.json(CONFIG)["cloud_mesh"]["networks"].as_array().is_some_and(|all| !all.is_empty()));
}

/// A network name in an overwritten config may contain a login or a shell command.
#[test]
fn names_of_networks_are_shown_without_logins_and_copied_without_harm() {
    let home = Home::settled();
    let turn = json!([{"urls": ["turn:t"], "username": "u", "credential": "c"}]);
    home.edit(CONFIG, |config| {
        config["cloud_mesh"]["networks"] = json!([
            {"id": "net-1", "network_id": "https://u:hunter2@h", "label": "wss://u:hunter2@h"},
            {"id": "net-2", "network_id": "$(touch PWNED)", "turn_servers": turn},
        ]);
        config["cloud_mesh"]["active_network_id"] = "net-1".into();
    });
    for args in [&["network", "list"][..], &["status"], &["doctor"], &["launch", "--no-daemon"]] {
        for json in [&[][..], &["--json"]] {
            let ran = home.run(&[args, json].concat());
            assert!(!ran.all().contains("hunter2"), "{ran:?}");
        }
    }
    let ran = home.run(&["network", "export", "$(touch PWNED)"]).ends_with(0);
    assert!(ran.stderr.contains("network export --with-secrets '$(touch PWNED)'"), "{ran:?}");
}

/// A launch reports the networks that it sent to the daemon, without their credentials.
#[test]
fn a_launch_tells_of_networks_without_their_credentials() {
    let home = Home::with_secrets();
    home.run(&["network", "use", "home-mesh"]);
    let ran = run(&mut home.with_daemon(&["launch", "--once", "--json"])).ends_with(0);
    let plan = ran.json()["data"]["reconcile"]["plan"].to_string();
    assert!(plan.contains("turn:t.example:3478"), "the network is told of: {plan}");
    for secret in SECRETS {
        assert!(!ran.all().contains(secret), "{secret} is told");
    }
}

/// A config with control characters is printed without them, and the output parses to the same
/// config.
#[test]
fn a_config_that_is_shown_steers_nothing() {
    let home = Home::settled();
    let mark = "\u{9b}2J\u{7f}\u{202e}";
    home.edit(CONFIG, |config| config["active_provider"] = mark.into());
    let shown = home.run(&["config", "show"]).ends_with(0);
    let answered = home.run(&["config", "show", "--json"]).ends_with(0);
    for text in [&shown.stdout, &answered.stdout] {
        assert!(!text.contains(|c: char| mark.contains(c) && !c.is_ascii_alphanumeric()), "{text:?}");
    }
    assert_eq!(shown.json()["active_provider"], mark);
    assert_eq!(answered.json()["data"]["config"]["active_provider"], mark);
}

/// A hint that sets the backups aside would make the next repair call their settings lost.
#[cfg(unix)]
#[rstest]
#[case::in_a_directory_of_another_user(|backups: &Path| std::os::unix::fs::chown(backups, Some(65_534), None))]
#[case::behind_a_symlink(|backups: &Path| {
    std::fs::rename(backups, backups.with_file_name("elsewhere"))?;
    symlink("elsewhere", backups)
})]
fn hint_for_a_dir_of_backups_that_is_not_used_keeps_them_in_reach(
    #[case] spoil: fn(&Path) -> std::io::Result<()>,
) {
    let home = Home::settled();
    home.put(CONFIG, b"{ }", 0o600);
    if spoil(&home.path(APP).join("config-backups")).is_err() {
        return eprintln!("skipped: not root");
    }
    let refusal =
        home.run(&["launch", "--no-daemon", "--json"]).ends_with(7).diagnostic("store.copies-unsafe");
    follow(&refusal["hint"]);
    let said = home.run(&["repair"]).ends_with(0).all();
    assert!(!said.contains("no backup"), "{said}");
    assert_eq!(
        home.json(CONFIG)["active_family"],
        serde_json::from_slice::<Value>(&healthy()).unwrap()["active_family"]
    );
}

#[cfg(unix)]
#[rstest]
#[case::a_file(|copies: &Path| std::fs::write(copies, b"not ours"))]
#[case::a_symlink_out_of_the_home(|copies: &Path| symlink("/tmp", copies))]
#[case::a_symlink_to_nothing(|copies: &Path| symlink("/nowhere/at/all", copies))]
fn a_dir_of_copies_that_is_none_stops_the_repair_and_not_the_app(
    #[case] make: fn(&Path) -> std::io::Result<()>,
) {
    let home = Home::after_the_bug();
    let former = home.bytes(CONFIG);
    make(&home.path(APP).join("config-backups")).unwrap();
    let ran = home.run(&["launch", "--no-daemon", "--json"]).ends_with(7);
    let refusal = ran.diagnostic("store.copies-unsafe");
    assert_eq!(home.bytes(CONFIG), former, "what cannot be kept is not replaced");
    // The launch still returns the user's networks, not the defaults.
    let networks = &ran.json()["data"]["config"]["networks"];
    assert_eq!(networks.as_array().map(Vec::len), Some(2), "{networks:#}");
    follow(&refusal["hint"]);
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    home.still_has(&former, "the overwritten config");
}
