//! Homes of the kinds that users have, and a snapshot of every file in them.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use super::{
    control::ask,
    daemon::Builder,
    process::{Ran, Running, eventually, processes, run, started},
    program::{program, root, stand_in},
};

/// The app's home, relative to the user's home.
pub const APP: &str = ".myownllm";
/// The daemon home.
pub const MESH: &str = ".myownllm/.myownmesh";
/// The home of a daemon that is shared with other apps.
pub const SHARED: &str = ".myownmesh";
/// The app's config.
pub const CONFIG: &str = ".myownllm/config.json";
/// The daemon's config.
pub const DAEMON_CONFIG: &str = ".myownllm/.myownmesh/config.json";
/// The identity file before the move.
pub const OLD_KEY: &str = ".myownllm/.secrets/identity.json";
/// The identity file after the move.
pub const NEW_KEY: &str = ".myownllm/.myownmesh/.secrets/identity.json";

/// The daemon's state, which an upgrade moves; relative to its directory.
pub const STATE: [&str; 4] = [
    ".secrets/identity.json",
    "mesh/rosters/home-mesh.json",
    "mesh/rosters/office-mesh.json",
    "mesh/states/home-mesh.json",
];

/// Returns a file of the fixtures.
pub fn fixture(path: &str) -> Vec<u8> {
    std::fs::read(root().join("tests/fixtures").join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Returns a file that daemon 0.3.8 left in the app's home, with another identity than the other
/// fixtures.
pub fn fixture_of_038(path: &str) -> Vec<u8> {
    fixture(&format!("daemon-0.3.8/home/{path}"))
}

/// Recognisable secrets, planted in [`Home::with_secrets`]. None may ever be printed.
pub const SECRETS: [&str; 4] = [
    "khseccpmjr6vebd2lkshxcv7af5urobtvjcld57rr2kpjacfq4va",
    "bearer-9f31c2",
    "turn-credential-77ab",
    "turn-password-52ce",
];

/// A user's home in a temporary directory.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// Makes an empty home.
    pub fn empty() -> Self {
        Self::empty_in("mesh-")
    }

    /// Makes an empty home in a new directory whose name begins with `prefix`.
    pub fn empty_in(prefix: &str) -> Self {
        // In `/tmp`, because a socket path may have only about a hundred bytes.
        let parent = if cfg!(unix) { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent).unwrap();
        let home = Self { dir };
        std::fs::create_dir(home.path("")).unwrap();
        home
    }

    /// Makes a home as daemon 0.1.2 left it: shared with the app, with an overwritten config.
    pub fn after_the_bug() -> Self {
        let home = Self::legacy();
        home.put_fixture("config.json", 0o644);
        home
    }

    /// Makes a home with key, rosters and states at the old location, and a healthy app config.
    pub fn legacy() -> Self {
        Self::empty().with_legacy_files()
    }

    /// Puts key, rosters and states at the old location, and a healthy app config.
    pub fn with_legacy_files(self) -> Self {
        STATE.iter().for_each(|file| self.put_fixture(file, 0o600));
        self.put(CONFIG, &fixture("app-config-before.json"), 0o600);
        self
    }

    /// Makes a home that is moved, repaired and complete: nothing is left to do.
    pub fn settled() -> Self {
        Self::legacy().launched()
    }

    /// Moves and repairs the home as a launch does.
    pub fn launched(self) -> Self {
        self.run(&["launch", "--no-daemon"]).ends_with(0);
        self
    }

    /// Makes a home with a healthy config full of secrets, and a key.
    pub fn with_secrets() -> Self {
        let home = Self::legacy();
        home.edit(CONFIG, |config| {
            config["api"]["bearer_token"] = SECRETS[1].into();
            config["cloud_mesh"]["networks"][0]["turn_servers"] =
                json!([{ "url": "turn:t.example:3478", "username": "u", "credential": SECRETS[2] }]);
        });
        home
    }

    /// Makes a settled home with two saved networks, the first of which is active, and no daemon.
    pub fn with_networks() -> Self {
        let home = Self::settled();
        home.run(&["network", "add", "first-net", "--activate"]).ends_with(0);
        home.run(&["network", "add", "second-net"]).ends_with(0);
        home
    }

    fn put_fixture(&self, file: &str, mode: u32) {
        let bytes = fixture(&format!("daemon-0.1.2/home/{APP}/{file}"));
        self.put(&format!("{APP}/{file}"), &bytes, mode);
    }

    /// Returns a path in the home.
    pub fn path(&self, path: &str) -> PathBuf {
        let home = self.dir.path().join("home");
        if path.is_empty() { home } else { home.join(path) }
    }

    /// Writes a file, and makes the directories above it.
    pub fn put(&self, path: &str, bytes: &[u8], mode: u32) {
        let path = self.path(path);
        let parent = path.parent().unwrap();
        std::fs::create_dir_all(parent).unwrap();
        std::fs::write(&path, bytes).unwrap();
        set_mode(&path, mode);
        if parent.ends_with(".secrets") {
            set_mode(parent, 0o700);
        }
    }

    /// Returns the bytes of a file.
    pub fn bytes(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Parses a file.
    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    /// Changes a JSON file, and leaves it private.
    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut document = self.json(path);
        change(&mut document);
        self.put(path, document.to_string().as_bytes(), 0o600);
    }

    /// Returns true if the path exists, even as a dangling symlink.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).symlink_metadata().is_ok()
    }

    /// Returns the program with these arguments, in an environment that names no daemon and no
    /// other home.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(program());
        command.arg("--home").arg(self.path("")).args(args).current_dir("/");
        for name in ["MYOWNMESH_HOME", "MYOWNLLM_MESH_BIN", "MYOWNMESH_BIN"] {
            command.env_remove(name);
        }
        // `--home` names the home; the program must not write to `HOME`.
        command.env("HOME", "/nonexistent");
        command
    }

    /// As [`Home::command`], with the stand-in as the daemon.
    pub fn with_daemon(&self, args: &[&str]) -> Command {
        let mut command = self.command(args);
        command.env("MYOWNMESH_BIN", stand_in());
        command
    }

    /// Runs the program with these arguments.
    pub fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Returns `launch` with the stand-in, which has the faults of `mode` and records its requests.
    pub fn launch(&self, mode: &str, args: &[&str]) -> Command {
        let mut command = self.with_daemon(&[&["launch"], args].concat());
        command.env("STAND_IN_MODE", mode).env("STAND_IN_TRACE", self.path("trace"));
        command
    }

    /// Runs `launch --once` with the stand-in to its end.
    pub fn launch_once(&self) -> Ran {
        run(&mut self.launch("", &["--once"]))
    }

    /// As [`Home::launch_once`], with a JSON document as the answer.
    pub fn launch_once_json(&self) -> Ran {
        run(&mut self.launch("", &["--once", "--json"]))
    }

    /// Starts a launch that stays with its daemon, and waits until it reports that the daemon runs.
    pub fn app(&self, mode: &str) -> Running {
        let app = started(self.launch(mode, &[]));
        eventually("its daemon runs", || app.errors_so_far().contains("Ctrl-C stops it"));
        self.requests();
        app
    }

    /// Returns a stand-in daemon for a directory of the home, which is made.
    pub fn daemon(&self, dir: &str) -> Builder {
        std::fs::create_dir_all(self.path(dir)).unwrap();
        Builder::new(stand_in(), self.path(dir))
    }

    /// Returns the socket path of the app's own daemon.
    pub fn own_socket(&self) -> PathBuf {
        self.path(MESH).join("daemon.sock")
    }

    /// Returns the networks that the app's own daemon has joined.
    pub fn joined(&self) -> Value {
        ask(&self.own_socket(), "status", Value::Null).unwrap()["joined_networks"].take()
    }

    /// Returns the recorded requests to the daemons of this home, as JSON lines.
    pub fn trace(&self) -> String {
        std::fs::read_to_string(self.path("trace")).unwrap_or_default()
    }

    /// Returns the requests to the daemons of this home since the last call, and the number of
    /// their connections.
    pub fn requests(&self) -> (Vec<String>, usize) {
        let read = |path: &str| {
            let text = std::fs::read_to_string(self.path(path)).unwrap_or_default();
            let _ = std::fs::remove_file(self.path(path));
            text
        };
        let op = |line: &str| serde_json::from_str::<Value>(line).unwrap()["op"].as_str().unwrap().to_owned();
        (read("trace").lines().map(op).collect(), read("trace.connections").lines().count())
    }

    /// Returns all processes with a daemon home below this user's home.
    pub fn serving(&self) -> Vec<u32> {
        let wanted = [b"MYOWNMESH_HOME=", self.path("").as_os_str().as_encoded_bytes()].concat();
        processes(|environment| environment.iter().any(|variable| variable.starts_with(&wanted)))
    }

    /// Returns every path with all that a write would change: kind, mode, size, inode, mtime,
    /// ctime, bytes.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)> {
        let mut names = BTreeMap::new();
        look(&self.path(""), &mut names);
        names
    }

    /// Returns the bytes of every file of the daemon, sorted.
    pub fn state(&self) -> Vec<Vec<u8>> {
        let is_state = |path: &Path| {
            !path.starts_with(self.path(APP).join("config-backups"))
                && !path.ends_with("config.json")
                && !path.ends_with("myownllm-mesh.log")
        };
        let files =
            self.snapshot().into_iter().filter(|(path, (_, bytes))| !bytes.is_empty() && is_state(path));
        let mut all: Vec<_> = files.map(|(_, (_, bytes))| bytes).collect();
        all.sort();
        all
    }

    /// Returns the bytes of every file.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.snapshot().into_values().map(|(_, bytes)| bytes).collect()
    }

    /// Checks that the next run finishes the work, that the daemon's files are these, and that the
    /// run after that changes nothing.
    #[track_caller]
    pub fn converges(&self, state: &[Vec<u8>]) {
        self.run(&["launch", "--no-daemon"]).ends_with(0);
        assert_eq!(self.state(), state, "something of the daemon's is lost or doubled");
        assert!(self.has(NEW_KEY) && !self.has(OLD_KEY));
        let settled = self.snapshot();
        self.run(&["launch", "--no-daemon"]).ends_with(0);
        assert!(self.snapshot() == settled, "the run after that wrote");
    }

    /// Fails the test if no file in the home has exactly these bytes.
    #[track_caller]
    pub fn still_has(&self, bytes: &[u8], what: &str) {
        assert!(self.contents().iter().any(|found| found == bytes), "{what}: the former bytes are nowhere");
    }
}

/// Locks a home as another run does, until the file is dropped. Panics if another run holds the
/// lock.
#[cfg(unix)]
pub fn hold_lock(home: &Path) -> std::fs::File {
    let dir = std::fs::File::open(home).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    dir
}

/// Sets the permissions of a path.
#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Windows has no such permissions.
#[cfg(not(unix))]
pub fn set_mode(_: &Path, _: u32) {}

fn look(path: &Path, names: &mut BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)>) {
    let meta = path.symlink_metadata().unwrap();
    let bytes = if meta.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
    names.insert(path.to_owned(), (stamp(&meta), bytes));
    if meta.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), names));
    }
}

/// Returns what tells a file that was written from one that was not: mode, owner, size, inode and
/// times.
#[cfg(unix)]
pub fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    use std::os::unix::fs::MetadataExt as _;
    vec![
        i64::from(meta.mode()),
        i64::from(meta.uid()),
        i64::from(meta.gid()),
        meta.size().cast_signed(),
        meta.ino().cast_signed(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ]
}

/// The same, as far as this system tells it.
#[cfg(not(unix))]
pub fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    let modified = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    vec![
        meta.len().cast_signed(),
        modified.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
    ]
}
