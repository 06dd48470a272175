//! Another app, composed of single crates as its example shows. Whatever the condition of the
//! identity file, the app keeps the one key, or refuses with the way out. It never makes a second
//! key.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;

use integration_tests::Builder;
use rstest::rstest;

const DEVICE: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da-2EA55";
const STAND_IN: &str = env!("CARGO_BIN_EXE_stand-in-daemon");
const OLD: &str = ".otherapp/.secrets/identity.json";
const NEW: &str = ".otherapp/mesh-home/.secrets/identity.json";

struct Home {
    dir: tempfile::TempDir,
}

/// The exit code and the output of a run of the app.
type Ended = (Option<i32>, String);

impl Home {
    /// A home in which the app shared a directory with a daemon.
    fn before() -> Self {
        let home = Self { dir: tempfile::Builder::new().prefix("sib-").tempdir_in("/tmp").unwrap() };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/daemon-0.1.2/home/.myownllm");
        for file in [".secrets/identity.json", "mesh/rosters/home-mesh.json", "mesh/states/home-mesh.json"] {
            home.put(&format!(".otherapp/{file}"), &std::fs::read(fixtures.join(file)).unwrap());
        }
        home
    }

    fn empty() -> Self {
        let home = Self::before();
        std::fs::remove_dir_all(home.at(".otherapp/.secrets")).unwrap();
        std::fs::remove_dir_all(home.at(".otherapp/mesh")).unwrap();
        home
    }

    fn after() -> Self {
        let home = Self::before();
        assert_eq!(home.run().0, Some(0));
        home
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn put(&self, path: &str, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.at(path);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }

    fn run(&self) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sibling-app"));
        let ran = command.arg(self.dir.path()).env("MYOWNMESH_BIN", STAND_IN).output().unwrap();
        let said = [ran.stdout, ran.stderr].concat();
        (ran.status.code(), String::from_utf8(said).unwrap())
    }

    /// Returns the public keys in all files of the home.
    fn keys(&self) -> Vec<String> {
        fn walk(dir: &Path, out: &mut Vec<String>) {
            for entry in std::fs::read_dir(dir).unwrap().flatten() {
                if entry.file_type().unwrap().is_dir() {
                    walk(&entry.path(), out);
                } else if let Ok(text) = std::fs::read_to_string(entry.path())
                    && let Some((_, rest)) = text.split_once("\"public_key\": \"")
                {
                    out.push(rest.split('"').next().unwrap().to_owned());
                }
            }
        }
        let mut out = Vec::new();
        walk(self.dir.path(), &mut out);
        out.sort();
        out.dedup();
        out
    }
}

fn is_refused(home: &Home) -> Vec<String> {
    let before = home.keys();
    let (code, said) = home.run();
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("no daemon is started: cannot start a daemon: "), "{said}");
    assert_eq!(home.keys(), before, "no key came into being: {said}");
    let ways = said.lines().filter_map(|line| line.strip_prefix("  way out: "));
    ways.map(str::to_owned).collect()
}

fn keeps_the_key(home: &Home) {
    let (code, said) = home.run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(DEVICE), "{said}");
}

#[test]
fn healthy_homes_keep_their_key_and_an_empty_one_gets_one() {
    let home = Home::before();
    keeps_the_key(&home);
    assert!(home.at(NEW).exists() && !home.at(OLD).exists());
    keeps_the_key(&home);
    let empty = Home::empty();
    assert_eq!(empty.run().0, Some(0));
    let key = empty.keys();
    assert_eq!(key.len(), 1);
    assert_eq!((empty.run().0, empty.keys()), (Some(0), key));
}

#[rstest]
#[case::peers_and_no_key(false)]
#[case::moved_and_gone_later(true)]
fn peers_without_their_key_are_refused_and_a_backup_brings_it_back(#[case] is_moved: bool) {
    let (home, place) = if is_moved { (Home::after(), NEW) } else { (Home::before(), OLD) };
    let key = std::fs::read(home.at(place)).unwrap();
    std::fs::remove_file(home.at(place)).unwrap();
    let ways = is_refused(&home);
    if !is_moved {
        assert!(home.at(".otherapp/mesh/rosters/home-mesh.json").exists(), "nothing moves");
    }
    home.put("backup.json", &key);
    let way = ways[0].replace("/path/to/backup/identity.json", home.at("backup.json").to_str().unwrap());
    assert!(Command::new("sh").args(["-c", &way]).status().unwrap().success(), "{way}");
    keeps_the_key(&home);
}

#[rstest]
#[case::temporary(|key: &Path| std::fs::rename(key, key.with_file_name("identity.json.tmp")).unwrap())]
#[case::backup(|key: &Path| std::fs::rename(key, key.with_file_name("identity.json.bak")).unwrap())]
#[case::conflict(|key: &Path| std::fs::rename(key, key.with_file_name("identity (1).json")).unwrap())]
#[case::letter_case(|key: &Path| std::fs::rename(key, key.with_file_name("IDENTITY.json")).unwrap())]
#[case::cut_beside_a_temporary(|key: &Path| {
    std::fs::copy(key, key.with_file_name("identity.json.tmp")).unwrap();
    std::fs::write(key, &std::fs::read(key).unwrap()[..80]).unwrap();
})]
#[case::byte_order_mark(|key: &Path| std::fs::write(key,
    [b"\xef\xbb\xbf", &*std::fs::read(key).unwrap()].concat()).unwrap())]
fn a_key_under_another_name_or_damaged_is_refused_and_the_way_out_brings_it_back(
    #[case] harm: fn(&Path),
    #[values(false, true)] is_moved: bool,
) {
    let (home, place) = if is_moved { (Home::after(), NEW) } else { (Home::before(), OLD) };
    harm(&home.at(place));
    let ways = is_refused(&home);
    assert!(Command::new("sh").args(["-c", &ways[0]]).status().unwrap().success(), "{ways:?}");
    keeps_the_key(&home);
}

/// The temporary file belongs to the move, and no other file holds the key: the move renames it
/// back.
#[rstest]
fn the_temporary_file_of_a_killed_move_gets_its_name_back(#[values(false, true)] is_moved: bool) {
    let (home, place) = if is_moved { (Home::after(), NEW) } else { (Home::before(), OLD) };
    let key = home.at(place);
    std::fs::rename(&key, key.with_file_name(".durable-fs.9-1.part")).unwrap();
    keeps_the_key(&home);
}

#[rstest]
#[case::cut(b"{\"version\": 1, \"secret")]
#[case::empty(b"")]
fn a_damaged_key_is_refused(#[case] bytes: &[u8], #[values(false, true)] is_moved: bool) {
    let (home, place) = if is_moved { (Home::after(), NEW) } else { (Home::before(), OLD) };
    std::fs::write(home.at(place), bytes).unwrap();
    assert!(!is_refused(&home).is_empty());
    assert_eq!(std::fs::read(home.at(place)).unwrap(), bytes);
}

/// A downgraded app has made another key at the old location.
#[test]
fn a_key_that_an_older_build_made_after_the_move_is_refused() {
    let home = Home::after();
    let other = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    home.put(OLD, &std::fs::read(other).unwrap());
    is_refused(&home);
}

/// The daemon listens at the path in its config: it is used, and no second daemon starts.
#[test]
fn a_daemon_at_the_socket_that_its_config_names_is_attached_to() {
    let home = Home::after();
    let socket = home.at("elsewhere.sock");
    let config =
        serde_json::json!({ "version": 3, "daemon": { "control_socket": socket.to_str().unwrap() } });
    home.put(".otherapp/mesh-home/config.json", config.to_string().as_bytes());
    let daemon = Builder::new(STAND_IN, home.at(".otherapp/mesh-home")).socket(&socket).start().unwrap();
    let (code, said) = home.run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("attached to the own daemon") && said.contains(DEVICE), "{said}");
    drop(daemon);
}
