//! Cleanup on every exit: started processes end and temporary homes are removed after a failed
//! check, on a panic (through `Drop`) and on Ctrl-C (through the thread started here).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use integration_tests::testkit::{Ran, Running, Signal, processes, send_signal};

use crate::Fallible;

/// The mark in the environment of every started process. Its children inherit the mark, so a daemon
/// whose parent was killed can be found.
pub(crate) const MARK: &str = "MYOWNLLM_MESH_XTASK";

static DIRS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn dirs() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    DIRS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program with the mark, unless the cleanup runs.
pub(crate) fn start(command: &mut Command) -> Fallible<Running> {
    drop(dirs());
    Running::start(command.env(MARK, mark()))
}

/// Runs a program to its end, with a deadline, so that no program can hang the rig.
pub(crate) fn run(command: &mut Command, patience: Duration) -> Fallible<Ran> {
    start(command)?.wait(patience)
}

/// Returns the value of [`MARK`] for the processes of this run.
pub(crate) fn mark() -> String {
    std::env::var(MARK).unwrap_or_else(|_| std::process::id().to_string())
}

/// A temporary directory with a short path, because a socket path may have only about a hundred
/// bytes. Drop or a signal removes it.
#[derive(Debug)]
pub(crate) struct Dir {
    dir: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Dir {
    pub(crate) fn new(within: Option<&Path>) -> crate::Fallible<Self> {
        let short = Path::new("/tmp");
        let parent = match within {
            Some(within) => within.to_owned(),
            None if cfg!(unix) && short.metadata().is_ok() => short.to_owned(),
            None => std::env::temp_dir(),
        };
        let dir = tempfile::Builder::new()
            .prefix("mesh-")
            .tempdir_in(&parent)
            .map_err(|e| format!("cannot make a temporary directory in {}: {e}", parent.display()))?;
        // A symlink in the path (/tmp on macOS) would make the path differ from the one that
        // processes report.
        let path = if cfg!(unix) { dir.path().canonicalize() } else { Ok(dir.path().to_owned()) };
        let path = path.map_err(|e| format!("cannot resolve {}: {e}", parent.display()))?;
        dirs().insert(path.clone());
        Ok(Self { dir: Some(dir), path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps the directory for a person to inspect.
    pub(crate) fn keep(mut self) -> PathBuf {
        dirs().remove(&self.path);
        if let Some(dir) = self.dir.take() {
            let _ = dir.keep();
        }
        self.path.clone()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.dir.is_some() {
            end_processes_of(&self.path);
            dirs().remove(&self.path);
        }
    }
}

/// Cleans up on SIGINT, SIGTERM and SIGHUP, and exits with the code that a shell expects.
pub(crate) fn install() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // The held list keeps other threads from starting processes. Three rounds catch a
                // process that was just starting.
                let dirs = dirs();
                for _ in 0..3 {
                    end_marked_processes();
                    dirs.iter().for_each(|dir| discard(dir));
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                std::process::exit(128 + signal);
            }
        });
    }
}

/// Removes a directory of this run.
#[allow(clippy::disallowed_methods, reason = "throw-away homes below our own temporary directories")]
pub(crate) fn discard(dir: &Path) {
    let _ = std::fs::remove_dir_all(dir);
}

/// Removes a file for a scenario.
#[allow(clippy::disallowed_methods, reason = "throw-away homes below our own temporary directories")]
pub(crate) fn discard_file(file: &Path) {
    let _ = std::fs::remove_file(file);
}

/// Kills every process with the mark.
#[cfg(unix)]
fn end_marked_processes() {
    let mark = format!("{MARK}={}", mark());
    end_processes(|environment| environment.contains(&mark.as_bytes()));
}

/// Kills every process with the mark and a daemon home below `dir`.
pub(crate) fn end_processes_of(dir: &Path) {
    let mark = format!("{MARK}={}", mark());
    let home = [b"MYOWNMESH_HOME=", dir.as_os_str().as_encoded_bytes()].concat();
    end_processes(|environment| {
        environment.contains(&mark.as_bytes())
            && environment.iter().any(|variable| variable.starts_with(&home))
    });
}

/// Kills every process whose environment `is_ours` accepts. Without `/proc` the handles end the
/// direct children, and a daemon without its parent stays.
fn end_processes(is_ours: impl Fn(&[&[u8]]) -> bool) {
    processes(is_ours).into_iter().for_each(|pid| send_signal(pid, Signal::KILL));
}
