//! The two example apps: another app, composed of single crates, and the drop-in for MyOwnLLM's
//! back end. Whatever the condition of the identity file, an app keeps the one key, or refuses with
//! the way out. It never makes a second key.
#![cfg(target_os = "linux")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use integration_tests::testkit::{Builder, stand_in};
use myownllm_daemon::{Client, DaemonControl as _, Endpoint};
use rstest::rstest;

const DEVICE: &str = "pt55l5qc3co2jsjdosaqcz55joqfqnf3cfhelmqot5pmhefsz4da-2EA55";
/// An example, with the names of its homes.
#[derive(Clone, Copy, Debug)]
struct App {
    program: &'static str,
    app_dir: &'static str,
    daemon_dir: &'static str,
}

const SIBLING: App = App {
    program: env!("CARGO_BIN_EXE_sibling-app"),
    app_dir: ".otherapp",
    daemon_dir: ".otherapp/mesh-home",
};
const TAURI: App = App {
    program: env!("CARGO_BIN_EXE_tauri-backend"),
    app_dir: ".myownllm",
    daemon_dir: ".myownllm/.myownmesh",
};

const KEY: &str = ".secrets/identity.json";
const ROSTER: &str = "mesh/rosters/home-mesh.json";

struct Home {
    app: App,
    dir: tempfile::TempDir,
}

/// The exit code and the output of a run of the app.
type Ended = (Option<i32>, String);

impl Home {
    /// A home in which the app shared a directory with a daemon.
    fn before(app: App) -> Self {
        let home = Self { app, dir: tempfile::Builder::new().prefix("app-").tempdir_in("/tmp").unwrap() };
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/daemon-0.1.2/home/.myownllm");
        for file in [KEY, ROSTER, "mesh/states/home-mesh.json"] {
            home.put(&home.in_app(file), &std::fs::read(fixtures.join(file)).unwrap());
        }
        home
    }

    fn empty(app: App) -> Self {
        let home = Self::before(app);
        std::fs::remove_dir_all(home.in_app(".secrets")).unwrap();
        std::fs::remove_dir_all(home.in_app("mesh")).unwrap();
        home
    }

    fn after(app: App) -> Self {
        let home = Self::before(app);
        let (code, said) = home.run();
        assert_eq!(code, Some(0), "{said}");
        home
    }

    /// A home before the move, or after it, with the place of the key.
    fn with_key(app: App, is_moved: bool) -> (Self, PathBuf) {
        let home = if is_moved { Self::after(app) } else { Self::before(app) };
        let key = if is_moved { home.in_daemon(KEY) } else { home.in_app(KEY) };
        (home, key)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn in_app(&self, path: &str) -> PathBuf {
        self.at(self.app.app_dir).join(path)
    }

    fn in_daemon(&self, path: &str) -> PathBuf {
        self.at(self.app.daemon_dir).join(path)
    }

    fn put(&self, path: &Path, bytes: &[u8]) {
        use std::os::unix::fs::PermissionsExt as _;
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        std::fs::set_permissions(parent, std::fs::Permissions::from_mode(0o700)).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// The sibling takes its home as an argument, the back end from the environment.
    fn command(&self) -> Command {
        let mut command = Command::new(self.app.program);
        command.arg(self.dir.path()).env("HOME", self.dir.path()).env("MYOWNMESH_BIN", stand_in());
        command
    }

    fn run(&self) -> Ended {
        let ran = self.command().stdin(Stdio::null()).output().unwrap();
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

/// Asserts that the app runs without a daemon and makes no key. Returns the ways out that it shows.
fn is_refused(home: &Home) -> Vec<String> {
    let before = home.keys();
    let (code, said) = home.run();
    assert_eq!(code, Some(7), "{said}");
    assert!(said.contains("cannot start a daemon: ") || said.contains("\"severity\":\"error\""), "{said}");
    assert!(!said.contains("\"kind\":\"status\"") && !said.contains("started "), "{said}");
    assert_eq!(home.keys(), before, "no key came into being: {said}");
    // The move and the permit may refuse the identity file for the same reason.
    let codes = || said.lines().filter_map(|line| Some(line.split_once(" [")?.1.split_once(']')?.0));
    assert!(codes().all(|code| codes().filter(|other| *other == code).count() == 1), "{said}");
    let way_out = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
        Ok(line) => Some(line["diagnostic"]["hint"].as_str()?.to_owned()),
        Err(_) => Some(line.strip_prefix("  way out: ")?.to_owned()),
    };
    said.lines().filter_map(way_out).collect()
}

fn keeps_the_key(home: &Home) {
    let (code, said) = home.run();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains(DEVICE), "{said}");
}

#[rstest]
fn healthy_homes_keep_their_key_and_an_empty_one_gets_one(#[values(SIBLING, TAURI)] app: App) {
    let home = Home::before(app);
    keeps_the_key(&home);
    assert!(home.in_daemon(KEY).exists() && !home.in_app(KEY).exists());
    keeps_the_key(&home);
    let empty = Home::empty(app);
    assert_eq!(empty.run().0, Some(0));
    let key = empty.keys();
    assert_eq!(key.len(), 1);
    assert_eq!((empty.run().0, empty.keys()), (Some(0), key));
}

#[rstest]
#[case::peers_and_no_key(false)]
#[case::moved_and_gone_later(true)]
fn peers_without_their_key_are_refused_and_a_backup_brings_it_back(
    #[case] is_moved: bool,
    #[values(SIBLING, TAURI)] app: App,
) {
    let (home, place) = Home::with_key(app, is_moved);
    let key = std::fs::read(&place).unwrap();
    std::fs::remove_file(&place).unwrap();
    let ways = is_refused(&home);
    if !is_moved {
        assert!(home.in_app(ROSTER).exists(), "nothing moves");
    }
    home.put(&home.at("backup.json"), &key);
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
    #[values(SIBLING, TAURI)] app: App,
) {
    let (home, place) = Home::with_key(app, is_moved);
    harm(&place);
    let ways = is_refused(&home);
    assert!(Command::new("sh").args(["-c", &ways[0]]).status().unwrap().success(), "{ways:?}");
    keeps_the_key(&home);
}

/// The temporary file belongs to the move, and no other file holds the key: the move renames it
/// back.
#[rstest]
fn the_temporary_file_of_a_killed_move_gets_its_name_back(
    #[values(false, true)] is_moved: bool,
    #[values(SIBLING, TAURI)] app: App,
) {
    let (home, key) = Home::with_key(app, is_moved);
    std::fs::rename(&key, key.with_file_name(".durable-fs.9-1.part")).unwrap();
    keeps_the_key(&home);
}

#[rstest]
#[case::cut(b"{\"version\": 1, \"secret")]
#[case::empty(b"")]
fn a_damaged_key_is_refused(
    #[case] bytes: &[u8],
    #[values(false, true)] is_moved: bool,
    #[values(SIBLING, TAURI)] app: App,
) {
    let (home, place) = Home::with_key(app, is_moved);
    std::fs::write(&place, bytes).unwrap();
    assert!(!is_refused(&home).is_empty());
    assert_eq!(std::fs::read(&place).unwrap(), bytes);
}

/// A downgraded app has made another key at the old location.
#[rstest]
fn a_key_that_an_older_build_made_after_the_move_is_refused(#[values(SIBLING, TAURI)] app: App) {
    let home = Home::after(app);
    let other = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures/daemon-0.3.8/home/.myownllm/.secrets/identity.json");
    home.put(&home.in_app(KEY), &std::fs::read(other).unwrap());
    is_refused(&home);
}

/// The daemon listens at the path in its config: it is used, and no second daemon starts.
#[rstest]
fn a_daemon_at_the_socket_that_its_config_names_is_attached_to(#[values(SIBLING, TAURI)] app: App) {
    let home = Home::after(app);
    let socket = home.at("elsewhere.sock");
    let config =
        serde_json::json!({ "version": 3, "daemon": { "control_socket": socket.to_str().unwrap() } });
    home.put(&home.in_daemon("config.json"), config.to_string().as_bytes());
    let mut daemon = Builder::new(stand_in(), home.in_daemon("")).socket(&socket).start().unwrap();
    keeps_the_key(&home);
    assert!(daemon.is_running(), "the app ends no daemon that it did not start");
    assert!(!home.in_daemon("daemon.sock").exists(), "no second daemon came up");
}

#[rstest]
#[case::sibling(SIBLING, "[otherapp]")]
#[case::back_end(TAURI, "[myownllm]")]
fn log_of_a_daemon_names_the_app_that_started_it(#[case] app: App, #[case] name: &str) {
    let log = std::fs::read_to_string(Home::after(app).in_daemon("daemon.log")).unwrap();
    assert!(log.starts_with(name), "{log}");
}

/// Each line that the daemon pushes reaches the window while it is open, and the daemon that the
/// app started ends with it.
#[test]
fn back_end_forwards_events_and_stops_its_daemon_with_the_window() {
    let home = Home::after(TAURI);
    let mut command = home.command();
    let mut app = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(app.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut line_of = |kind: &str| {
        let kind = format!("\"kind\":\"{kind}\"");
        lines.find(|line| line.contains(&kind)).unwrap_or_else(|| panic!("no line of {kind}"))
    };
    let status: serde_json::Value = serde_json::from_str(&line_of("status")).unwrap();
    assert_eq!(status["status"]["daemon_mode"], "own_llm");
    assert_eq!(status["status"]["device_id"], DEVICE);
    assert!(status["status"]["ipc_client_id"].is_string(), "{status}");
    let socket = home.in_daemon("daemon.sock");
    assert_eq!(status["status"]["daemon_socket"], socket.to_str().unwrap());
    let endpoint = Endpoint::unix(socket.to_str().unwrap());
    let mut daemon = Client::connect(&endpoint, Duration::from_secs(10)).unwrap();
    daemon.network_add(&serde_json::json!({"id": "net-1", "network_id": "club"})).unwrap();
    let event: serde_json::Value = serde_json::from_str(&line_of("event")).unwrap();
    assert!(event["event"]["event_kind"].is_string(), "the line as the daemon pushed it: {event}");
    drop(app.stdin.take());
    assert!(app.wait().unwrap().success());
    assert!(Client::connect(&endpoint, Duration::ZERO).is_err(), "the daemon has ended");
}
