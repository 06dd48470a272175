//! Runs a program to its end, with a deadline, so that no program can hang xtask.

use std::fs::File;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Fallible;

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) took: Duration,
}

impl Finished {
    /// Returns the exit code; `None` if a signal ended the program.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// A running program. Its output goes to unnamed files: a daemon that inherits a pipe would keep it
/// open and block the reader.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    stdout: File,
    stderr: File,
    started: Instant,
    name: String,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Fallible<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let say = |e: std::io::Error| format!("cannot start {name}: {e}");
        let (stdout, stderr) = (tempfile::tempfile().map_err(say)?, tempfile::tempfile().map_err(say)?);
        command.stdin(Stdio::null());
        command.stdout(stdout.try_clone().map_err(say)?).stderr(stderr.try_clone().map_err(say)?);
        command.env(crate::guard::MARK, crate::guard::mark());
        crate::guard::gate();
        let started = Instant::now();
        let child = command.spawn().map_err(say)?;
        Ok(Self { child, stdout, stderr, started, name })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns true while the program runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for the end. After `patience` the program is killed and the result is an error.
    pub(crate) fn wait(mut self, patience: Duration) -> Fallible<Finished> {
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
        let (stdout, stderr) = (text(&mut self.stdout)?, text(&mut self.stderr)?);
        Ok(Finished { status, stdout, stderr, took })
    }

    /// Sends SIGTERM, as a shutdown does, and waits for the end.
    pub(crate) fn stop(mut self) -> Fallible<Finished> {
        ask_to_end(&mut self.child);
        self.started = Instant::now();
        self.wait(Duration::from_secs(20))
    }

    /// Kills the program, like a crash.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
    }

    /// Returns the stderr of the program so far.
    pub(crate) fn errors_so_far(&mut self) -> String {
        text(&mut self.stderr).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub(crate) fn run(command: &mut Command, patience: Duration) -> Fallible<Finished> {
    Running::start(command)?.wait(patience)
}

#[cfg(unix)]
fn ask_to_end(child: &mut Child) {
    signal(child.id(), TERMINATE);
}

#[cfg(not(unix))]
fn ask_to_end(child: &mut Child) {
    let _ = child.kill();
}

#[cfg(unix)]
mod signals {
    use rustix::process::{Pid, Signal, kill_process};

    pub(crate) const STOP: Signal = Signal::STOP;
    pub(crate) const CONTINUE: Signal = Signal::CONT;
    pub(crate) const INTERRUPT: Signal = Signal::INT;
    pub(crate) const TERMINATE: Signal = Signal::TERM;
    pub(crate) const HANG_UP: Signal = Signal::HUP;
    pub(crate) const KILL: Signal = Signal::KILL;

    /// Sends a signal to one process, and ignores that it may be gone.
    pub(crate) fn signal(pid: u32, signal: Signal) {
        if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    pub(crate) fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }
}

/// No signals here: a process can only be killed. The scenarios that need another signal are skipped.
#[cfg(not(unix))]
mod signals {
    pub(crate) const STOP: () = ();
    pub(crate) const CONTINUE: () = ();
    pub(crate) const INTERRUPT: () = ();
    pub(crate) const TERMINATE: () = ();
    pub(crate) const HANG_UP: () = ();
    pub(crate) const KILL: () = ();

    pub(crate) fn signal(pid: u32, (): ()) {
        let pid = pid.to_string();
        let _ = std::process::Command::new("taskkill").args(["/f", "/pid", &pid]).output();
    }

    pub(crate) fn is_root() -> bool {
        false
    }
}

pub(crate) use signals::*;

/// Returns the content of `file`. The child shares the file position, so on Unix the position is
/// not changed.
fn text(file: &mut File) -> Fallible<String> {
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
        use std::io::{Read as _, Seek as _};
        file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map(drop)
    };
    read.map_err(|e| format!("cannot read output: {e}"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
