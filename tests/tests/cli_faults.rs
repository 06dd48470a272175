//! The program under load and with odd input: many runs at once, files that are no configs, and the
//! cost of a start that has nothing to do.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{APP, Home, MESH, run, run_with};

fn config() -> String {
    format!("{APP}/config.json")
}

/// Runs fifty at once: one does the work, the others wait and find it done. All succeed.
fn fifty(args: &[&str]) {
    let home = Home::after_the_bug();
    let former = home.bytes(&config());
    let state: Vec<_> = [
        ".secrets/identity.json",
        "mesh/rosters/home-mesh.json",
        "mesh/rosters/office-mesh.json",
        "mesh/states/home-mesh.json",
    ]
    .map(|file| (file, home.bytes(&format!("{APP}/{file}"))))
    .into();
    let start = |_| {
        home.command(args)
            .arg("--json")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..50).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    for (file, bytes) in state {
        assert_eq!(home.bytes(&format!("{MESH}/{file}")), bytes, "{file}");
        assert!(!home.has(&format!("{APP}/{file}")), "{file} is left twice");
    }
    home.still_has(&former, "config.json");
    let settled = home.snapshot();
    home.run(args).ends_with(0);
    assert!(home.snapshot() == settled);
}

#[test]
fn fifty_migrations_at_once() {
    fifty(&["migrate"]);
}

#[test]
fn fifty_launches_at_once() {
    fifty(&["launch", "--no-daemon"]);
}

#[test]
fn fifty_of_both_at_once_leave_one_healthy_config() {
    let home = Home::after_the_bug();
    let start = |n: usize| {
        let args: &[&str] = if n.is_multiple_of(2) { &["migrate"] } else { &["launch", "--no-daemon"] };
        home.command(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let children: Vec<_> = (0..50).map(start).collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let config = home.json(&config());
    assert!(config["providers"].is_array() && config.get("networks").is_none(), "{config}");
    home.run(&["status", "--check"]).ends_with(0);
}

/// Files that are no configs, or barely.
fn odd_configs() -> Vec<(String, Vec<u8>)> {
    let healthy = std::fs::read(support::root().join("tests/fixtures/app-config-before.json")).unwrap();
    let leaked =
        std::fs::read(support::root().join("tests/fixtures/daemon-0.3.8/home/.myownllm/config.json"))
            .unwrap();
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
    home.put(&config(), bytes, 0o600);
    for args in [
        &["status", "--json"][..],
        &["doctor"],
        &["config", "show"],
        &["config", "check"],
        &["salvage", "--dry-run"],
    ] {
        let ran = home.run(args);
        assert!(
            ran.code.is_some_and(|code| code <= 8) && !ran.stderr.contains("panicked"),
            "{name}: {args:?}: {ran:?}"
        );
        assert_eq!(home.bytes(&config()), bytes, "{name}: {args:?} wrote");
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
    std::fs::remove_file(home.path(&config())).unwrap();
    assert!(Command::new("mkfifo").arg(home.path(&config())).status().unwrap().success());
    for args in [
        &["status"][..],
        &["doctor"],
        &["config", "show"],
        &["launch", "--no-daemon"],
        &["salvage"],
        &["migrate"],
    ] {
        let ran = home.run(args);
        assert!(
            ran.code.is_some_and(|code| code <= 8) && !ran.stderr.contains("panicked"),
            "{args:?}: {ran:?}"
        );
    }
    use std::os::unix::fs::FileTypeExt as _;
    let kind = home.path(&config()).symlink_metadata().unwrap().file_type();
    assert!(kind.is_fifo(), "what is no file is not replaced");
}

#[cfg(unix)]
#[test]
fn odd_names_and_kinds_in_the_state_are_left_and_reported() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::legacy();
    let odd = std::ffi::OsStr::from_bytes(b"caf\xe9.json");
    std::fs::write(home.path(&format!("{APP}/mesh/rosters")).join(odd), b"{}").unwrap();
    std::fs::create_dir(home.path(&format!("{APP}/mesh/rosters/folder.json"))).unwrap();
    std::os::unix::fs::symlink("/dev/zero", home.path(&format!("{APP}/mesh/states/zero.json"))).unwrap();
    home.put(&format!("{APP}/mesh/rosters/{}.json", "n".repeat(250)), b"{}", 0o600);
    let ran = home.run(&["migrate", "--json"]).ends_with(0);
    assert_eq!(ran.json()["data"]["left"].as_array().map(Vec::len), Some(3), "{}", ran.stdout);
    assert!(
        home.has(&format!("{MESH}/.secrets/identity.json"))
            && home.has(&format!("{MESH}/mesh/rosters/home-mesh.json"))
    );
    assert_eq!(std::fs::read(home.path(&format!("{APP}/mesh/rosters")).join(odd)).unwrap(), b"{}");
    let settled = home.snapshot();
    home.run(&["migrate", "--check"]).ends_with(0);
    home.run(&["migrate"]).ends_with(0);
    assert!(home.snapshot() == settled);
}

/// Ways to damage a key file. A damaged key is kept and named, and no new key hides it.
fn damaged_keys(good: &str) -> Vec<(&'static str, Vec<u8>)> {
    let seed = good.split('"').find(|text| text.starts_with("khsec")).unwrap();
    let seed_as = |other: &str| good.replace(seed, other).into_bytes();
    vec![
        ("empty", vec![]),
        ("NUL", vec![0; good.len()]),
        ("cut", good.as_bytes()[..good.len() / 2].to_vec()),
        ("all but the last byte", good.trim_end().as_bytes()[..good.trim_end().len() - 1].to_vec()),
        ("a byte order mark", format!("\u{feff}{good}").into_bytes()),
        ("no object", format!("[{good}]").into_bytes()),
        ("another's public key", good.replace("\"pt55", "\"qt55").into_bytes()),
        ("a seed of 31 bytes", seed_as(&seed[..50])),
        ("a seed of 33 bytes", seed_as(&format!("{seed}a"))),
        ("no seed", seed_as("")),
        ("a seed in base64", seed_as("UeRBPYxT5UhI+S4kvFX4L+0kXGaqkWP++M6nqQJULwA=")),
        ("a seed in base64url", seed_as("UeRBPYxT5UhI-S4kvFX4L-0kXGaqkWP--M6nqQJULwA")),
        ("a padded seed", seed_as(&format!("{seed}===="))),
        ("a seed with a line end", seed_as(&format!("{seed}\\r\\n"))),
        ("a seed with a space", seed_as(&format!(" {seed}"))),
        ("a seed that is a number", good.replace(&format!("\"{seed}\""), "5").into_bytes()),
        ("twice the public key", good.replacen('{', "{\"public_key\":\"x\",", 1).into_bytes()),
        ("a raw line end in a text", seed_as(&format!("{seed}\r\n"))),
    ]
}

const KEYS: [&str; 2] = [".myownllm/.secrets/identity.json", ".myownllm/.myownmesh/.secrets/identity.json"];

/// Returns all key files of a home, including temporary ones and those that were set aside.
fn keys_of(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let is_key = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("identity.json");
    let files = home.snapshot().into_iter().filter(|(path, _)| path.is_file() && is_key(path));
    files.map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// Makes a home with this key file, at the old location or in the daemon home.
fn with_key(place: &str, bytes: &[u8]) -> Home {
    let home = Home::legacy();
    if place == KEYS[1] {
        home.run(&["migrate"]).ends_with(0);
    }
    home.put(place, bytes, 0o600);
    home
}

#[test]
fn a_damaged_key_is_kept_and_no_daemon_is_started() {
    let good = String::from_utf8(Home::legacy().bytes(KEYS[0])).unwrap();
    for place in KEYS {
        // The check of a key does not depend on its place, so three cases are enough for the second
        // place.
        let all = damaged_keys(&good);
        let some = if place == KEYS[0] { all.len() } else { 3 };
        for (name, bytes) in all.into_iter().take(some) {
            let home = with_key(place, &bytes);
            let ran = run(&mut home.with_daemon(&["launch", "--once"])).ends_with(7);
            assert!(ran.stderr.contains("identity.json is damaged"), "{place}, {name}: {ran:?}");
            assert_eq!(keys_of(&home), [(home.path(place), bytes)], "{place}, {name}");
        }
    }
}

/// White space, line ends, the order of the fields and fields of newer daemons do not make another
/// key.
#[test]
fn a_key_in_other_words_is_the_same_key() {
    let good = String::from_utf8(Home::legacy().bytes(KEYS[0])).unwrap();
    let value: serde_json::Value = serde_json::from_str(&good).unwrap();
    let others = [
        good.replace('\n', "\r\n"),
        value.to_string(),
        format!("\n\t {good}\n\n"),
        good.replacen('{', "{\"sealed_by\": [1, {}],", 1),
    ];
    for place in KEYS {
        for other in &others {
            let home = with_key(place, other.as_bytes());
            run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
            assert_eq!(
                keys_of(&home),
                [(home.path(KEYS[1]), other.clone().into_bytes())],
                "{place}: {other}"
            );
        }
    }
}

/// The power failed after a daemon had written its key in full under a temporary name. Every
/// command that looks or moves prints the command that brings the key back. That command works and
/// destroys nothing, and the next launch succeeds.
#[test]
fn a_complete_temporary_key_beside_a_damaged_one_is_offered_and_comes_back() {
    let good = Home::legacy().bytes(KEYS[0]);
    for place in KEYS {
        for (name, damaged) in [("empty", Some(vec![])), ("NUL", Some(vec![0; 217])), ("none", None)] {
            let home = with_key(place, &damaged.clone().unwrap_or_default());
            let temporary = format!("{place}.tmp");
            home.put(&temporary, &good, 0o600);
            // The name that the command prefers is taken by somebody's only copy.
            home.put(&format!("{place}.set-aside-1"), b"precious", 0o600);
            if damaged.is_none() {
                std::fs::remove_file(home.path(place)).unwrap();
            }
            let before = keys_of(&home);
            let launch = run(&mut home.with_daemon(&["launch", "--once"])).ends_with(7);
            assert_eq!(keys_of(&home), before, "{place}, {name}: a launch touches no key");
            let command = launch
                .stderr
                .lines()
                .find_map(|line| line.trim().strip_prefix("hint: "))
                .unwrap_or_else(|| panic!("{place}, {name}: no command in {launch:?}"));
            for args in [&["doctor"][..], &["status"], &["migrate"]] {
                let said = home.run(args);
                assert!(said.all().contains(command), "{place}, {name}, {args:?}: {said:?}");
            }
            assert!(Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
            let after: Vec<Vec<u8>> = keys_of(&home).into_iter().map(|(_, bytes)| bytes).collect();
            assert!(before.iter().all(|(_, bytes)| after.contains(bytes)), "{command} threw something away");
            run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
            assert_eq!(home.bytes(KEYS[1]), good, "{place}, {name}: it is in force");
            assert!(keys_of(&home).iter().all(|(_, bytes)| before.iter().any(|(_, was)| was == bytes)));
        }
    }
}

/// The calls that change a file.
const WRITES: [&str; 28] = [
    "write",
    "pwrite64",
    "writev",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "fchownat",
    "ftruncate",
    "truncate",
    "utimensat",
    "fallocate",
    "creat",
    "setxattr",
    "fsetxattr",
];

/// The calls that sync, lock, or start a thread or a process.
const FORBIDDEN: [&str; 10] =
    ["fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "flock", "clone", "clone3", "fork", "vfork"];

/// A start that has nothing to do writes nothing, syncs nothing, takes no lock, starts no thread,
/// and makes few calls.
#[test]
fn a_start_with_nothing_to_do_costs_next_to_nothing() {
    let works = Command::new("strace")
        .args(["-o", "/dev/null", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if !works {
        eprintln!("skipped: strace is not here, or may not trace");
        return;
    }
    let home = Home::settled();
    let log = home.path("").with_file_name("strace.log");
    let launch = home.command(&["launch", "--no-daemon"]);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-s", "0", "-o"]).arg(&log).arg(launch.get_program()).args(launch.get_args());
    // Cargo sets a library path for its children; a user's start does not search there.
    strace.env_remove("MYOWNMESH_HOME").env_remove("LD_LIBRARY_PATH").current_dir("/");
    run(&mut strace).ends_with(0);
    let log = std::fs::read_to_string(log).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains('(')).collect();
    let home = home.path("");
    let at_home: Vec<&str> = lines
        .iter()
        .copied()
        .filter(|line| line.contains(home.to_str().unwrap()) && !line.contains("execve("))
        // The standard library checks a descriptor before it closes it, in a build like this one.
        .filter(|line| !line.contains("F_GETFD"))
        .collect();
    let named = |line: &str, calls: &[&str]| {
        let call = line.split_once('(').map_or("", |(head, _)| head).rsplit(' ').next().unwrap_or("");
        calls.contains(&call)
    };
    let wrote: Vec<_> = at_home
        .iter()
        .filter(|line| {
            named(line, &WRITES)
                || line.contains("O_CREAT")
                || line.contains("O_WRONLY")
                || line.contains("O_RDWR")
        })
        .collect();
    assert!(wrote.is_empty(), "{wrote:#?}");
    let forbidden: Vec<_> =
        lines.iter().filter(|line| named(line, &FORBIDDEN) || line.contains("F_SETLK")).collect();
    assert!(forbidden.is_empty(), "{forbidden:#?}");
    assert!(at_home.len() <= 35, "{} calls name the home:\n{}", at_home.len(), at_home.join("\n"));
    assert!(lines.len() <= 200, "{} calls in all:\n{log}", lines.len());
}

/// A fault that repeats leaves one backup of each content.
#[test]
fn a_loop_of_the_bug_leaves_one_copy_of_each_content() {
    let home = Home::after_the_bug();
    let leaked = home.bytes(&config());
    for _ in 0..20 {
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home.put(&config(), &leaked, 0o644);
    }
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    let copies: Vec<_> = home
        .snapshot()
        .into_iter()
        .filter(|(path, (_, bytes))| {
            path.starts_with(home.path(&format!("{APP}/config-backups"))) && *bytes == leaked
        })
        .collect();
    assert_eq!(copies.len(), 1);
}
