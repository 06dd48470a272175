//! Who writes in a dir in which no daemon should?

use std::path::{Path, PathBuf};

use serde::Serialize;

/// What leads to whoever uses a dir.
#[derive(Clone, Debug)]
pub struct SuspectSearch<'a> {
    /// The dir.
    pub dir: &'a Path,
    /// The variable by which a daemon is told its home.
    pub home_variable: &'a str,
    /// Files in it that whoever writes there may have open.
    pub files: &'a [PathBuf],
    /// The program whose older versions are known to do it, by the name of its file.
    pub program: &'a str,
    /// The home of the user whose program it would be.
    pub user_home: &'a Path,
}

/// A process that may be the one, and what speaks for it. All of it is seen, none of it concluded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Suspect {
    /// Its process id.
    pub pid: u32,
    /// Its program, where it can be read.
    #[serde(serialize_with = "lossy")]
    pub program: Option<PathBuf>,
    /// What speaks for it.
    pub evidence: Evidence,
}

/// What speaks for a process, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "evidence", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Evidence {
    /// It is a daemon on this dir.
    Serves,
    /// It has one of the files open.
    HoldsOpen {
        /// Which.
        #[serde(serialize_with = "crate::endpoint::lossy")]
        file: PathBuf,
    },
    /// It is the parent of a daemon on this dir.
    ParentOf {
        /// The daemon.
        daemon: u32,
    },
    /// Its environment names the dir as a daemon's home: a daemon that it starts would use it.
    #[serde(rename = "points_there")]
    NamesHome,
    /// It is a program of the given name, in that user's session; whether it is an older version is not known.
    SameName,
}

impl Suspect {
    /// A process that was found in another way than by [`suspects`].
    #[must_use]
    pub fn new(pid: u32, program: Option<PathBuf>, evidence: Evidence) -> Self {
        Self { pid, program, evidence }
    }
}

impl std::fmt::Display for Suspect {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.pid)?;
        if let Some(program) = &self.program {
            write!(f, " ({})", program.display())?;
        }
        match &self.evidence {
            Evidence::Serves => f.write_str(" is a daemon on this folder"),
            Evidence::HoldsOpen { file } => write!(f, " has {} open", file.display()),
            Evidence::ParentOf { daemon } => write!(f, " is the parent of process {daemon}"),
            Evidence::NamesHome => {
                f.write_str(" would start a daemon on this folder: its environment names it")
            }
            Evidence::SameName => f.write_str(" is the app, of this version or an older one"),
        }
    }
}

fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// Every process that leaves one of these traces, each with the strongest. Neither we ourselves nor, where the name is all
/// there is, those who started us. Linux alone tells; the list is empty elsewhere.
#[must_use]
pub fn suspects(traces: &SuspectSearch<'_>) -> Vec<Suspect> {
    #[cfg(target_os = "linux")]
    return platform::suspects(traces);
    #[cfg(not(target_os = "linux"))]
    {
        let _ = traces;
        Vec::new()
    }
}

#[cfg(target_os = "linux")]
mod platform {
    use super::*;
    use crate::{
        process::{self, has_in_environment, parent_of},
        serving::names_home,
        stop::{is_same_dir, orphans_of},
    };

    pub(super) fn suspects(traces: &SuspectSearch<'_>) -> Vec<Suspect> {
        let mut found: Vec<Suspect> = orphans_of(traces.dir, traces.home_variable)
            .into_iter()
            .map(|stray| Suspect::new(stray.pid, stray.program, Evidence::Serves))
            .collect();
        let daemons: Vec<u32> = found.iter().map(|daemon| daemon.pid).collect();
        let ourselves = std::process::id();
        let above_us: Vec<u32> = std::iter::once(ourselves).chain(process::ancestors(ourselves)).collect();
        let files: Vec<PathBuf> = traces.files.iter().map(|file| real(file)).collect();
        let others = process::all_pids().filter(|pid| *pid != ourselves && !daemons.contains(pid));
        for pid in others {
            let program = std::fs::read_link(format!("/proc/{pid}/exe")).ok();
            let daemon = daemons.iter().copied().find(|daemon| parent_of(*daemon) == Some(pid));
            let is_named = || program.as_deref().is_some_and(|path| is_program(path, traces.program));
            let is_users = || {
                has_in_environment(pid, |entry| {
                    entry
                        .strip_prefix(b"HOME=")
                        .is_some_and(|home| is_same_dir(as_path(home), traces.user_home))
                })
            };
            let evidence = if let Some(file) = open_of(pid, &files) {
                Evidence::HoldsOpen { file }
            } else if let Some(daemon) = daemon.filter(|_| pid != 1) {
                Evidence::ParentOf { daemon }
            } else if names_home(pid, traces.dir, traces.home_variable) {
                Evidence::NamesHome
            } else if is_named() && !above_us.contains(&pid) && is_users() {
                Evidence::SameName
            } else {
                continue;
            };
            found.push(Suspect::new(pid, program, evidence));
        }
        found
    }

    /// Whether a process runs a program of that name. One that was replaced while it ran is marked by the system.
    fn is_program(exe: &Path, name: &str) -> bool {
        let file = exe.file_name().map(|file| file.to_string_lossy());
        file.is_some_and(|file| file.strip_suffix(" (deleted)").unwrap_or(&file) == name)
    }

    fn as_path(bytes: &[u8]) -> &Path {
        Path::new(std::os::unix::ffi::OsStrExt::from_bytes(bytes) as &std::ffi::OsStr)
    }

    /// The path without links: the kernel names open files so.
    fn real(file: &Path) -> PathBuf {
        let in_folder = || Some(std::fs::canonicalize(file.parent()?).ok()?.join(file.file_name()?));
        std::fs::canonicalize(file).ok().or_else(in_folder).unwrap_or_else(|| file.to_owned())
    }

    /// Which of the files a process has open.
    fn open_of(pid: u32, files: &[PathBuf]) -> Option<PathBuf> {
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        open.filter_map(|entry| std::fs::read_link(entry.path()).ok()).find(|target| files.contains(target))
    }
}
