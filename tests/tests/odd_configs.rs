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

/// Files that are no configs, or barely.
fn odd_configs() -> Vec<(String, Vec<u8>)> {
    let healthy = fixture("app-config-before.json");
    let leaked = fixture_of_038(CONFIG);
    let text = String::from_utf8(healthy.clone()).unwrap();
    let utf16 = |little: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if little { unit.to_le_bytes() } else { unit.to_be_bytes() }).collect()
    };
    let mut odd: Vec<(String, Vec<u8>)> = vec![
        ("empty".into(), vec![]),
        ("white space".into(), b" \n\t ".to_vec()),
        ("all NUL".into(), vec![0; healthy.len()]),
        ("NUL behind".into(), [&healthy[..], &[0; 64]].concat()),
        ("NUL before".into(), [&[0; 64], &healthy[..]].concat()),
        ("UTF-16 LE".into(), utf16(true)),
        ("UTF-16 BE".into(), utf16(false)),
        ("two documents".into(), [&healthy[..], &healthy].concat()),
        ("a list".into(), b"[1,2]".to_vec()),
        ("null".into(), b"null".to_vec()),
        ("a string".into(), b"\"x\"".to_vec()),
        ("a number".into(), b"1e400".to_vec()),
        ("trailing comma".into(), b"{\"active_family\":\"qwen3\",}".to_vec()),
        ("comment".into(), b"{\"active_family\":\"qwen3\"} // mine".to_vec()),
        ("deep lists".into(), [&b"{\"x\":"[..], &b"[".repeat(100_000), &b"]".repeat(100_000), b"}"].concat()),
        ("deep objects".into(), [b"{\"x\":".repeat(5_000), b"1".to_vec(), b"}".repeat(5_000)].concat()),
        ("unclosed".into(), b"[".repeat(100_000)),
        (
            "null network".into(),
            br#"{"kept_models":["m"],"cloud_mesh":{"networks":[{"id":"a",
                "network_id":"home"},null]}}"#
                .to_vec(),
        ),
        (
            "null daemon network".into(),
            br#"{"version":3,"daemon":{},"networks":[null,{"id":"a","network_id":"home"}]}"#.to_vec(),
        ),
        ("networks an object".into(), br#"{"cloud_mesh":{"networks":{}}}"#.to_vec()),
        ("lone surrogate".into(), br#"{"active_family":"\ud800"}"#.to_vec()),
        ("Latin-1".into(), b"{\"active_family\":\"B\xfcro\"}".to_vec()),
        ("BOM".into(), [&b"\xef\xbb\xbf"[..], &healthy].concat()),
        ("duplicates".into(), br#"{"active_family":"a","active_family":{"b":1}}"#.to_vec()),
        (
            "odd names".into(),
            br#"{"__proto__":1,"":2,"$serde_json::private::Number":"3","providers":null}"#.to_vec(),
        ),
        (
            "all wrong types".into(),
            br#"{"providers":5,"active_family":[],"cloud_mesh":"x","api":"off","mic":7,
                "tracked_modes":{"length":0}}"#
                .to_vec(),
        ),
    ];
    for (name, bytes) in [("app", &healthy), ("daemon", &leaked)] {
        let step = bytes.len() / 14;
        odd.extend(
            (1..14).map(|n| (format!("{name} config cut at byte {}", n * step), bytes[..n * step].to_vec())),
        );
    }
    odd
}

/// Launches with each odd config, twelve at once, because a config that may be half written delays
/// a run. No run panics or hangs, each exit code is of the contract, the former bytes are kept, the
/// config is readable, and the next launch changes nothing.
#[test]
fn odd_configs_lose_no_byte() {
    let odd = odd_configs();
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                while let Some((name, bytes)) =
                    odd.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
                {
                    odd_config(name, bytes);
                }
            });
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
