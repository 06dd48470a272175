//! Identity files that are damaged, spelled differently, or no files.

#[cfg(unix)]
use std::os::unix::fs::symlink;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

use integration_tests::testkit::{APP, Home, MESH, NEW_KEY, OLD_KEY, SECRETS, diagnostic, follow, run};
use rstest::{Context, rstest};

const KEYS: [&str; 2] = [OLD_KEY, NEW_KEY];

/// Returns all key files of a home, including temporary ones and those that were set aside.
fn keys_of(home: &Home) -> Vec<(PathBuf, Vec<u8>)> {
    let is_key = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("identity.json");
    let files = home.snapshot().into_iter().filter(|(path, _)| path.is_file() && is_key(path));
    files.map(|(path, (_, bytes))| (path, bytes)).collect()
}

/// Makes a home with this key file, at the old location or in the daemon home.
fn with_key(place: &str, bytes: &[u8]) -> Home {
    let home = Home::legacy();
    if place == NEW_KEY {
        home.run(&["migrate"]).ends_with(0);
    }
    home.put(place, bytes, 0o600);
    home
}

/// The key under another name is reported once: as the sound one that it is.
#[test]
fn key_under_another_name_is_no_file_that_stays() {
    let home = Home::legacy();
    std::fs::rename(home.path(OLD_KEY), home.path(".myownllm/.secrets/identity (1).json")).unwrap();
    home.put(".myownllm/mesh/rosters/notes.txt", b"mine", 0o600);
    let said = home.run(&["doctor", "--json"]).ends_with(4).json();
    assert!(diagnostic(&said, "identity.gone").is_some(), "{said:#}");
    let left = diagnostic(&said, "migration.left").unwrap();
    assert!(left["message"].as_str().unwrap().contains("notes.txt"), "{said:#}");
}

/// Returns the identity file of the homes.
fn good() -> String {
    String::from_utf8(Home::legacy().bytes(OLD_KEY)).unwrap()
}

/// Returns the identity file with another seed, spelled as in JSON.
fn with_seed(seed: &str) -> String {
    good().replace(SEED, seed)
}

/// The seed in the identity file of the homes.
const SEED: &str = SECRETS[0];

/// A damaged key is kept and named, and no new key hides it. The check of a key does not depend on
/// its place, so three cases are enough for the second place.
#[rstest]
#[case::empty(String::new())]
#[case::nul("\0".repeat(good().len()))]
#[case::cut(good()[..good().len() / 2].to_owned())]
#[case::without_its_last_byte(good().trim_end().strip_suffix('}').unwrap().to_owned())]
#[case::with_a_byte_order_mark(format!("\u{feff}{}", good()))]
#[case::no_object(format!("[{}]", good()))]
#[case::public_key_of_another(good().replace("\"pt55", "\"qt55"))]
#[case::seed_of_31_bytes(with_seed(&SEED[..50]))]
#[case::seed_of_33_bytes(with_seed(&format!("{SEED}a")))]
#[case::no_seed(with_seed(""))]
#[case::seed_in_base64(with_seed("UeRBPYxT5UhI+S4kvFX4L+0kXGaqkWP++M6nqQJULwA="))]
#[case::seed_in_base64url(with_seed("UeRBPYxT5UhI-S4kvFX4L-0kXGaqkWP--M6nqQJULwA"))]
#[case::padded_seed(with_seed(&format!("{SEED}====")))]
#[case::seed_with_a_line_end(with_seed(&format!("{SEED}\\r\\n")))]
#[case::seed_with_a_space(with_seed(&format!(" {SEED}")))]
#[case::seed_that_is_a_number(good().replace(&format!("\"{SEED}\""), "5"))]
#[case::two_public_keys(good().replacen('{', "{\"public_key\":\"x\",", 1))]
#[case::raw_line_end(with_seed(&format!("{SEED}\r\n")))]
fn a_damaged_key_is_kept_and_no_daemon_is_started(#[context] context: Context, #[case] damaged: String) {
    for place in KEYS.into_iter().take(if context.case <= Some(3) { 2 } else { 1 }) {
        let home = with_key(place, damaged.as_bytes());
        let ran = run(&mut home.with_daemon(&["launch", "--once"])).ends_with(7);
        assert!(ran.stderr.contains("identity.json is damaged"), "{place}: {ran:?}");
        assert_eq!(keys_of(&home), [(home.path(place), damaged.clone().into_bytes())], "{place}");
    }
}

/// White space, line ends, the order of the fields and fields of newer daemons do not make another
/// key.
#[rstest]
#[case::windows_line_ends(good().replace('\n', "\r\n"))]
#[case::one_line(serde_json::from_str::<serde_json::Value>(&good()).unwrap().to_string())]
#[case::white_space(format!("\n\t {}\n\n", good()))]
#[case::newer_field(good().replacen('{', "{\"sealed_by\": [1, {}],", 1))]
fn a_key_in_other_words_is_the_same_key(#[values(OLD_KEY, NEW_KEY)] place: &str, #[case] other: String) {
    let home = with_key(place, other.as_bytes());
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
    assert_eq!(keys_of(&home), [(home.path(NEW_KEY), other.into_bytes())]);
}

/// The power failed after a daemon had written its key in full under a temporary name. Every
/// command that looks or moves prints the command that brings the key back. That command works and
/// destroys nothing, and the next launch succeeds.
#[test]
fn a_complete_temporary_key_beside_a_damaged_one_is_offered_and_comes_back() {
    let good = good().into_bytes();
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
            let mut hints = launch.stderr.lines().filter_map(|line| line.trim().strip_prefix("hint: "));
            let command = hints.next().unwrap_or_else(|| panic!("{place}, {name}: no hint in {launch:?}"));
            for args in [&["doctor"][..], &["status"], &["migrate"]] {
                let said = home.run(args);
                assert!(said.all().contains(command), "{place}, {name}, {args:?}: {said:?}");
            }
            follow(&command.into());
            let after: Vec<Vec<u8>> = keys_of(&home).into_iter().map(|(_, bytes)| bytes).collect();
            assert!(before.iter().all(|(_, bytes)| after.contains(bytes)), "{command} threw something away");
            run(&mut home.with_daemon(&["launch", "--once"])).ends_with(0);
            assert_eq!(home.bytes(NEW_KEY), good, "{place}, {name}: it is in force");
            assert!(keys_of(&home).iter().all(|(_, bytes)| before.iter().any(|(_, was)| was == bytes)));
        }
    }
}

#[cfg(unix)]
#[rstest]
#[case::a_symlink_to_itself(|key: &Path| symlink("identity.json", key).unwrap())]
#[case::a_symlink_to_nothing(|key: &Path| symlink("/nowhere/at/all", key).unwrap())]
#[case::a_symlink_to_a_device(|key: &Path| symlink("/dev/zero", key).unwrap())]
#[case::a_pipe(|key: &Path| assert!(Command::new("mkfifo").arg(key).status().unwrap().success()))]
#[case::a_socket(|key: &Path| drop(std::os::unix::net::UnixListener::bind(key).unwrap()))]
#[case::a_directory(|key: &Path| std::fs::create_dir(key).unwrap())]
fn a_key_that_is_no_file_hangs_nobody_and_stays(#[case] make: fn(&Path)) {
    let home = Home::legacy();
    std::fs::remove_file(home.path(OLD_KEY)).unwrap();
    make(&home.path(OLD_KEY));
    let kind = home.path(OLD_KEY).symlink_metadata().unwrap().file_type();
    for args in [&["status"][..], &["doctor"], &["identity"], &["migrate"], &["launch", "--no-daemon"]] {
        home.run(args).is_sound();
    }
    // The daemon would not see the key, and would make a second one.
    let started = run(&mut home.with_daemon(&["launch", "--once"]));
    assert!([Some(1), Some(7)].contains(&started.code), "{started:?}");
    assert_eq!(home.path(OLD_KEY).symlink_metadata().unwrap().file_type(), kind, "it stays");
    assert!(!home.has(NEW_KEY), "no key comes into being");
    assert!(home.has(&format!("{MESH}/mesh/rosters/home-mesh.json")), "the rest has moved");
}

#[cfg(unix)]
#[test]
fn no_daemon_is_started_beside_a_key_in_another_letter_case() {
    let home = Home::legacy();
    std::fs::rename(home.path(OLD_KEY), home.path(".myownllm/.secrets/Identity.json")).unwrap();
    run(&mut home.with_daemon(&["launch", "--once"])).ends_with(7);
    assert!(!home.has(NEW_KEY), "no key comes into being");
}

/// A file name of full length has to be shortened to be set aside. One key in two spellings is no
/// second identity.
#[test]
fn collisions_of_long_names_and_of_one_key_written_twice_are_settled() {
    let home = Home::legacy();
    let long = format!("{}.json", "n".repeat(250));
    let roster = |label| {
        serde_json::json!({"version": 1, "network_id": "n", "authorized_devices": [], "label": label})
            .to_string()
    };
    let (old, new) = (roster("old"), roster("new"));
    home.put(&format!("{APP}/mesh/rosters/{long}"), old.as_bytes(), 0o600);
    home.put(&format!("{MESH}/mesh/rosters/{long}"), new.as_bytes(), 0o600);
    let other = home.json(OLD_KEY).to_string();
    home.put(NEW_KEY, other.as_bytes(), 0o600);
    let former = home.bytes(OLD_KEY);
    let ran = home.run(&["migrate"]).ends_with(7);
    assert!(!ran.stderr.contains("two-identities"), "{ran:?}");
    home.run(&["launch", "--no-daemon"]).ends_with(0);
    assert!(home.has(OLD_KEY) && home.has(NEW_KEY), "both stay until somebody decides");
    home.run(&["migrate", "--keep", "source"]).ends_with(0);
    assert_eq!(home.bytes(NEW_KEY), former);
    assert_eq!(home.bytes(&format!("{MESH}/mesh/rosters/{long}")), old.as_bytes());
    home.still_has(new.as_bytes(), "the roster that was set aside");
    home.still_has(other.as_bytes(), "the key that was set aside");
    home.run(&["status", "--check"]).ends_with(0);
}
