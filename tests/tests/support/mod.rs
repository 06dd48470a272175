//! The common part of the end-to-end tests: the real program, homes of the kinds that users have,
//! and a snapshot of every file in them.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code on throw-away homes")]

#[cfg(unix)]
pub mod terminal;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

/// The app's home and the daemon home, relative to the user's home.
pub const APP: &str = ".myownllm";
pub const MESH: &str = ".myownllm/.myownmesh";

/// Recognisable secrets, planted in [`Home::with_secrets`]. None may ever be printed.
pub const SECRETS: [&str; 4] = [
    "khseccpmjr6vebd2lkshxcv7af5urobtvjcld57rr2kpjacfq4va",
    "bearer-9f31c2",
    "turn-credential-77ab",
    "turn-password-52ce",
];

/// Returns the root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Returns the program, and builds it if it is missing or older than its sources: cargo does not
/// build another package's program for a test.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned();
        let program = target.join(format!("myownllm-mesh{}", std::env::consts::EXE_SUFFIX));
        let built =
            std::fs::metadata(&program).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if newest_source(&root().join("crates")) > built {
            let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.current_dir(root()).args([
                "build",
                "--quiet",
                "--package=myownllm-mesh",
                "--bin=myownllm-mesh",
            ]);
            if target.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success(), "the program does not build");
        }
        program
    })
}

fn newest_source(dir: &Path) -> SystemTime {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let newest = entries.map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            newest_source(&path)
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "toml") {
            entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH)
        } else {
            SystemTime::UNIX_EPOCH
        }
    });
    newest.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Returns stdout and stderr.
    pub fn all(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Parses the one JSON document on stdout.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON on stdout ({e}): {self:?}"))
    }

    /// Fails the test unless the run ended with `code`.
    #[track_caller]
    pub fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}", self.all());
        self
    }
}

/// Longer than any run may take; a longer run counts as hanging.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs a command to its end, with `input` on stdin.
pub fn run_with(command: &mut Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // Ignores the error: a program may close its input unread.
    std::thread::spawn(move || drop(stdin.write_all(&input)));
    let reader = |mut stream: Box<dyn std::io::Read + Send>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(Box::new(child.stdout.take().unwrap()));
    let stderr = reader(Box::new(child.stderr.take().unwrap()));
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} hangs; it said {:?}", stderr.join());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    run_with(command, b"")
}

/// `PATH` with the directory of the program in front, so that a hint that names the program works in a shell.
pub fn path_with_program() -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directory = program().parent().unwrap().to_owned();
    std::env::join_paths(std::iter::once(directory).chain(std::env::split_paths(&path))).unwrap()
}

/// A user's home in a temporary directory.
#[derive(Debug)]
pub struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    /// Makes an empty home.
    pub fn empty() -> Self {
        // In `/tmp`, because a socket path may have only about a hundred bytes.
        let parent = if cfg!(unix) { PathBuf::from("/tmp") } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("mesh-").tempdir_in(parent).unwrap();
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
        let home = Self::empty();
        for file in [
            ".secrets/identity.json",
            "mesh/rosters/home-mesh.json",
            "mesh/rosters/office-mesh.json",
            "mesh/states/home-mesh.json",
        ] {
            home.put_fixture(file, 0o600);
        }
        let healthy = std::fs::read_to_string(root().join("tests/fixtures/app-config-before.json")).unwrap();
        home.put(&format!("{APP}/config.json"), healthy.as_bytes(), 0o600);
        home
    }

    /// Makes a home that is moved, repaired and complete: nothing is left to do.
    pub fn settled() -> Self {
        let home = Self::legacy();
        home.run(&["launch", "--no-daemon"]).ends_with(0);
        home
    }

    /// Makes a home with a healthy config full of secrets, and a key.
    pub fn with_secrets() -> Self {
        let home = Self::legacy();
        let mut config = home.json(&format!("{APP}/config.json"));
        config["api"]["bearer_token"] = SECRETS[1].into();
        config["cloud_mesh"]["networks"][0]["turn_servers"] = serde_json::json!([
            { "url": "turn:t.example:3478", "username": "u", "credential": SECRETS[2] }
        ]);
        home.put(&format!("{APP}/config.json"), config.to_string().as_bytes(), 0o600);
        home
    }

    fn put_fixture(&self, file: &str, mode: u32) {
        let bytes =
            std::fs::read(root().join("tests/fixtures/daemon-0.1.2/home").join(APP).join(file)).unwrap();
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

    pub fn bytes(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }

    pub fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.bytes(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
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
        command.env("MYOWNMESH_BIN", env!("CARGO_BIN_EXE_stand-in-daemon"));
        command
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        run(&mut self.command(args))
    }

    /// Returns every path with all that a write would change: kind, mode, size, inode, mtime,
    /// ctime, bytes.
    pub fn snapshot(&self) -> BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)> {
        let mut names = BTreeMap::new();
        look(&self.path(""), &mut names);
        names
    }

    /// Returns the bytes of every file.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        self.snapshot().into_values().map(|(_, bytes)| bytes).collect()
    }

    /// Fails the test if no file in the home has exactly these bytes.
    #[track_caller]
    pub fn still_has(&self, bytes: &[u8], what: &str) {
        assert!(self.contents().iter().any(|found| found == bytes), "{what}: the former bytes are nowhere");
    }
}

/// Locks a home as another run does, until the file is dropped. Panics if another run holds the lock.
#[cfg(unix)]
pub fn hold_lock(home: &Path) -> std::fs::File {
    let dir = std::fs::File::open(home).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    dir
}

#[cfg(unix)]
pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[cfg(not(unix))]
pub fn set_mode(_: &Path, _: u32) {}

fn look(path: &Path, names: &mut BTreeMap<PathBuf, (Vec<i64>, Vec<u8>)>) {
    let meta = path.symlink_metadata().unwrap();
    let bytes = if meta.is_file() { std::fs::read(path).unwrap() } else { Vec::new() };
    names.insert(path.to_owned(), (integration_tests::stamp(&meta), bytes));
    if meta.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| look(&entry.unwrap().path(), names));
    }
}
