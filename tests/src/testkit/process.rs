//! Programs that run, and programs that have ended.

use std::{
    fs::File,
    io::{Read as _, Write as _},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

/// The result of a step: a value, or a sentence with the reason of the failure.
pub type Fallible<T> = Result<T, String>;

/// The outcome of a run.
#[derive(Debug)]
pub struct Ran {
    /// The exit status.
    pub status: ExitStatus,
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// The output.
    pub stdout: String,
    /// The messages.
    pub stderr: String,
    /// The duration.
    pub took: Duration,
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

    /// Fails the test if the program panicked, or ended with an exit code that no page names.
    #[track_caller]
    pub fn is_sound(&self) {
        let is_known = self.code.is_some_and(|code| (0..=8).contains(&code));
        assert!(is_known && !self.all().contains("panicked"), "{self:?}");
    }

    /// Returns the first diagnostic with this code.
    #[track_caller]
    pub fn diagnostic(&self, code: &str) -> Value {
        let said = self.json();
        diagnostic(&said, code).unwrap_or_else(|| panic!("{code}: {said:#}"))
    }

    /// Returns the first check of `doctor --json` with this id or code.
    #[track_caller]
    pub fn check(&self, name: &str) -> Value {
        let said = self.json();
        let mut checks = said["data"]["checks"].as_array().unwrap().iter();
        let found = checks.find(|check| check["id"] == name || check["code"] == name);
        found.unwrap_or_else(|| panic!("{name}: {said:#}")).clone()
    }

    /// Returns the codes of all diagnostics.
    pub fn codes(&self) -> Vec<String> {
        let said = self.json();
        let all = said["diagnostics"].as_array().unwrap().iter();
        all.map(|one| one["code"].as_str().unwrap().to_owned()).collect()
    }
}

/// Returns the first diagnostic with this code in a document of `--json`.
pub fn diagnostic(said: &Value, code: &str) -> Option<Value> {
    said["diagnostics"].as_array().unwrap().iter().find(|one| one["code"] == code).cloned()
}

/// Longer than any run takes, also while another program writes much to the same disk; a longer run
/// counts as hanging.
const LONGEST_RUN: Duration = Duration::from_secs(180);

/// A running program. Its output goes to unnamed files: a daemon that inherits a pipe would keep it
/// open and block the reader. Drop kills the program.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
    name: String,
}

impl Running {
    /// Starts a program.
    ///
    /// # Errors
    ///
    /// Fails if the program cannot be started.
    pub fn start(command: &mut Command) -> Fallible<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let say = |e: std::io::Error| format!("cannot start {name}: {e}");
        let (stdout, stderr) = (tempfile::tempfile().map_err(say)?, tempfile::tempfile().map_err(say)?);
        command.stdin(Stdio::null());
        command.stdout(stdout.try_clone().map_err(say)?).stderr(stderr.try_clone().map_err(say)?);
        let started = Instant::now();
        let child = command.spawn().map_err(say)?;
        Ok(Self { child, stdout, stderr, started, name })
    }

    /// Returns the process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns true while the program runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end. After `patience` the program is killed.
    ///
    /// # Errors
    ///
    /// Fails if the program does not end in time.
    pub fn wait(mut self, patience: Duration) -> Fallible<Ran> {
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                // Drop kills it.
                Ok(None) if self.started.elapsed() > patience => {
                    return Err(format!("{} did not end within {} s", self.name, patience.as_secs()));
                }
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Err(e) => return Err(format!("cannot wait for {}: {e}", self.name)),
            }
        };
        let took = self.started.elapsed();
        let (stdout, stderr) = (text(&self.stdout)?, text(&self.stderr)?);
        Ok(Ran { status, code: status.code(), stdout, stderr, took })
    }

    /// Waits for the end, which has to come soon.
    #[track_caller]
    pub fn ended(mut self) -> Ran {
        self.started = Instant::now();
        self.wait(SLACK).unwrap()
    }

    /// Sends SIGTERM, as a shutdown does, and waits for the end.
    ///
    /// # Errors
    ///
    /// Fails if the program does not end in time.
    pub fn stop(mut self) -> Fallible<Ran> {
        send_signal(self.id(), Signal::TERM);
        self.started = Instant::now();
        self.wait(Duration::from_secs(20))
    }

    /// Kills the program, like a crash.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Returns the stderr of the program so far.
    pub fn errors_so_far(&self) -> String {
        text(&self.stderr).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program.
pub fn started(mut command: Command) -> Running {
    Running::start(&mut command).unwrap()
}

/// Longer than any step of a test takes, and far shorter than the waits that the program must not
/// make.
pub const SLACK: Duration = Duration::from_secs(if cfg!(windows) { 20 } else { 10 });

/// Waits until `check` returns true, and fails the test after [`SLACK`].
#[track_caller]
pub fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + SLACK;
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Returns a mask of signals in the status of a process: `SigIgn:`, `SigBlk:`.
#[cfg(target_os = "linux")]
pub fn signal_mask(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix(field)).unwrap().trim();
    u64::from_str_radix(mask, 16).unwrap()
}

/// Returns true if the process exists and is no zombie.
#[cfg(target_os = "linux")]
pub fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Returns the other processes whose environment `is_wanted` accepts: a list of `NAME=value`. Only
/// Linux has `/proc`.
pub fn processes(is_wanted: impl Fn(&[&[u8]]) -> bool) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    all.filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
            *pid != std::process::id() && is_wanted(&variables)
        })
        .collect()
}

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
        if started.elapsed() > LONGEST_RUN {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} hangs; it said {:?}", stderr.join());
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    Ran { status, code: status.code(), stdout, stderr, took: started.elapsed() }
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Ran {
    run_with(command, b"")
}

#[cfg(unix)]
pub use rustix::process::Signal;

/// Windows has no signals: each ends the process.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names of Unix")]
pub enum Signal {
    STOP,
    CONT,
    INT,
    TERM,
    HUP,
    KILL,
}

/// Sends a signal to one process, and ignores that it may be gone.
#[cfg(unix)]
pub fn send_signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Ends the process, and ignores that it may be gone.
#[cfg(not(unix))]
pub fn send_signal(pid: u32, _: Signal) {
    let _ = Command::new("taskkill").args(["/f", "/pid", &pid.to_string()]).output();
}

/// Returns true if this process runs as root.
pub fn is_root() -> bool {
    #[cfg(unix)]
    return rustix::process::geteuid().is_root();
    #[cfg(not(unix))]
    false
}

/// Returns the content of `file`. The child shares the file position, so on Unix the position is
/// not changed.
fn text(file: &File) -> Fallible<String> {
    let mut bytes = Vec::new();
    #[cfg(unix)]
    let read = {
        use std::os::unix::fs::FileExt as _;
        let length = file.metadata().map_or(0, |meta| meta.len());
        bytes.resize(usize::try_from(length).unwrap_or(0), 0);
        file.read_exact_at(&mut bytes, 0)
    };
    #[cfg(not(unix))]
    let read = {
        use std::io::Seek as _;
        let mut file = file;
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map(drop)
    };
    read.map_err(|e| format!("cannot read output: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
