//! Cleaning up whatever happens: processes that we started end with us, temporary homes go away with us, on a failed
//! check, on a panic (through `Drop`) and on Ctrl-C (through the thread started here).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The mark in the environment of every process that we start; what they start themselves inherits it, and that is how
/// a daemon whose parent was killed is found again.
pub(crate) const MARK: &str = "MYOWNLLM_MESH_XTASK";

static FOLDERS: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    FOLDERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets pass who is about to start a process; nobody, once we are ending.
pub(crate) fn gate() {
    drop(folders());
}

/// The value of [`MARK`] in everything that this very process starts.
pub(crate) fn mark() -> String {
    std::env::var(MARK).unwrap_or_else(|_| std::process::id().to_string())
}

/// A temporary folder with a short path (socket paths are limited to some hundred bytes), gone when dropped or when
/// we are interrupted.
#[derive(Debug)]
pub(crate) struct Folder {
    folder: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Folder {
    pub(crate) fn new(within: Option<&Path>) -> crate::Fallible<Self> {
        let short = Path::new("/tmp");
        let parent = match within {
            Some(within) => within.to_owned(),
            None if cfg!(unix) && short.metadata().is_ok() => short.to_owned(),
            None => std::env::temp_dir(),
        };
        let folder = tempfile::Builder::new()
            .prefix("mesh-")
            .tempdir_in(&parent)
            .map_err(|e| format!("cannot make a temporary folder in {}: {e}", parent.display()))?;
        // A link in the way (macOS: /tmp) would make paths look different from what processes report.
        let path =
            folder.path().canonicalize().map_err(|e| format!("cannot resolve {}: {e}", parent.display()))?;
        folders().insert(path.clone());
        Ok(Self { folder: Some(folder), path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the folder where it is, for somebody to look at.
    pub(crate) fn keep(mut self) -> PathBuf {
        folders().remove(&self.path);
        if let Some(folder) = self.folder.take() {
            let _ = folder.keep();
        }
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.folder.is_some() {
            end_processes_of(&self.path);
            folders().remove(&self.path);
        }
    }
}

/// Cleans up on SIGINT, SIGTERM and SIGHUP, and ends with the exit code that a shell expects.
pub(crate) fn install() {
    #[cfg(unix)]
    {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]) else { return };
        std::thread::spawn(move || {
            if let Some(signal) = signals.forever().next() {
                // With the list held, nobody starts another process; who is in the middle of something gets a moment.
                let folders = folders();
                for _ in 0..3 {
                    end_marked_processes();
                    folders.iter().for_each(|folder| discard(folder));
                    std::thread::sleep(std::time::Duration::from_millis(20));
                }
                std::process::exit(128 + signal);
            }
        });
    }
}

/// Removes something of ours that is not needed any more.
#[allow(clippy::disallowed_methods, reason = "throw-away homes below our own temporary folders")]
pub(crate) fn discard(folder: &Path) {
    let _ = std::fs::remove_dir_all(folder);
}

/// Removes a file that a story wants gone.
#[allow(clippy::disallowed_methods, reason = "throw-away homes below our own temporary folders")]
pub(crate) fn discard_file(file: &Path) {
    let _ = std::fs::remove_file(file);
}

/// SIGKILL for the process of this id.
pub(crate) fn kill(pid: &str) {
    #[cfg(unix)]
    if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    #[cfg(not(unix))]
    let _ = pid;
}

/// Ends every process whose environment holds this variable with this value: a program, and all that it started.
pub(crate) fn end_processes_with(name: &str, value: &str) {
    let entry = format!("{name}={value}");
    end_processes(|environment| environment.contains(&entry.as_bytes()));
}

/// Ends every process that carries our mark.
#[cfg(unix)]
fn end_marked_processes() {
    let mark = format!("{MARK}={}", mark());
    end_processes(|environment| environment.contains(&mark.as_bytes()));
}

/// Ends every process that carries our mark and was given a daemon home below `folder`.
pub(crate) fn end_processes_of(folder: &Path) {
    let mark = format!("{MARK}={}", mark());
    let home = [b"MYOWNMESH_HOME=", folder.as_os_str().as_encoded_bytes()].concat();
    end_processes(|environment| {
        environment.contains(&mark.as_bytes())
            && environment.iter().any(|variable| variable.starts_with(&home))
    });
}

/// SIGKILL for every process whose environment `is_ours` recognises. Other platforms than Linux have no /proc; there the
/// children that we hold ourselves are ended by their handles, and a daemon that lost its parent stays.
fn end_processes(is_ours: impl Fn(&[&[u8]]) -> bool) {
    #[cfg(target_os = "linux")]
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name();
        let Some(pid) =
            name.to_str().filter(|name| name.parse::<u32>().is_ok_and(|pid| pid != std::process::id()))
        else {
            continue;
        };
        let Ok(environment) = std::fs::read(entry.path().join("environ")) else { continue };
        let variables: Vec<&[u8]> = environment.split(|byte| *byte == 0).collect();
        if is_ours(&variables) {
            kill(pid);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = is_ours;
}
