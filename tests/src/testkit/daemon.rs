//! A stand-in daemon as a process of a test.

use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::process::{Signal, send_signal};
use crate::standin::Version;

/// The settings with which a stand-in starts.
#[derive(Clone, Debug)]
pub struct Builder {
    program: PathBuf,
    home: PathBuf,
    socket: PathBuf,
    version: Version,
    mode: String,
    trace: Option<PathBuf>,
    env: Vec<(OsString, OsString)>,
}

impl Builder {
    /// Builds a stand-in for the daemon home `home`; `program` is
    /// `env!("CARGO_BIN_EXE_stand-in-daemon")`.
    pub fn new(program: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        let home = home.into();
        Self {
            program: program.into(),
            socket: home.join("daemon.sock"),
            home,
            version: Version::V038,
            mode: String::new(),
            trace: None,
            env: Vec::new(),
        }
    }

    /// Sets the daemon version that the stand-in imitates.
    #[must_use]
    pub fn version(mut self, version: Version) -> Self {
        self.version = version;
        self
    }

    /// Sets the faults of the stand-in, as `STAND_IN_MODE`.
    #[must_use]
    pub fn mode(mut self, mode: &str) -> Self {
        self.mode = mode.to_owned();
        self
    }

    /// Sets the socket path, for a config that names another one than `daemon.sock` in the home.
    #[must_use]
    pub fn socket(mut self, socket: impl Into<PathBuf>) -> Self {
        self.socket = socket.into();
        self
    }

    /// Sets the file to which the stand-in appends each request line.
    #[must_use]
    pub fn trace(mut self, trace: impl Into<PathBuf>) -> Self {
        self.trace = Some(trace.into());
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts the stand-in and waits until it listens.
    ///
    /// # Errors
    /// Fails if the stand-in ends, or does not listen within ten seconds.
    pub fn start(self) -> io::Result<StandIn> {
        let mut command = Command::new(&self.program);
        command
            .arg("serve")
            .env("MYOWNMESH_HOME", &self.home)
            .env("STAND_IN_VERSION", self.version.name())
            .env("STAND_IN_MODE", &self.mode)
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some(trace) = &self.trace {
            command.env("STAND_IN_TRACE", trace);
        }
        // Another stand-in may listen at this path already; the new one replaces its socket. A test
        // must not connect to the old one.
        let before = made(&self.socket);
        let mut standin = StandIn { child: command.spawn()?, home: self.home, socket: self.socket };
        let deadline = Instant::now() + Duration::from_secs(10);
        while (cfg!(unix) && made(&standin.socket) == before) || !standin.listens() {
            if let Some(status) = standin.child.try_wait()? {
                return Err(io::Error::other(format!("the stand-in ended: {status}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(standin)
    }
}

/// Identifies the socket at a path. The kernel may reuse the inode at once, so the ctime counts as
/// well.
#[cfg(unix)]
fn made(socket: &Path) -> Option<(u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::symlink_metadata(socket).ok().map(|meta| (meta.ino(), meta.ctime(), meta.ctime_nsec()))
}

#[cfg(not(unix))]
fn made(_socket: &Path) -> Option<()> {
    None
}

/// A running stand-in. Drop kills and reaps it.
#[derive(Debug)]
pub struct StandIn {
    child: Child,
    home: PathBuf,
    socket: PathBuf,
}

impl StandIn {
    /// Returns the process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the daemon home.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Returns the socket path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns true while the process runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits at most `within` for the end of the process, which somebody else ends; `None` if it
    /// still runs.
    pub fn wait(&mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                _ if Instant::now() > deadline => return None,
                _ => std::thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Reaps the daemon in a thread, and returns its process id. A daemon that the program ends
    /// would otherwise stay a zombie child of the test, and the program would wait for it.
    pub fn reaped_elsewhere(mut self) -> u32 {
        let pid = self.pid();
        std::thread::spawn(move || self.wait(Duration::from_secs(60)));
        pid
    }

    /// Sends SIGTERM and waits for the end of the process.
    pub fn terminate(&mut self) -> Option<std::process::ExitStatus> {
        if cfg!(unix) {
            send_signal(self.pid(), Signal::TERM);
        }
        self.wait(Duration::from_secs(5))
    }

    #[cfg(unix)]
    fn listens(&self) -> bool {
        std::os::unix::net::UnixStream::connect(&self.socket).is_ok()
    }

    #[cfg(not(unix))]
    fn listens(&self) -> bool {
        let pipe = myownllm_daemon::Endpoint::pipe(myownllm_paths::MYOWNLLM.pipe);
        !myownllm_daemon::probe(&pipe, Duration::from_millis(200)).is_absent()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
