//! The processes that may write to a directory in which no daemon should write.

use std::path::{Path, PathBuf};

use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::{
    endpoint::resolved,
    procfs::{self, as_path, has_in_environment},
    serving::{is_same_file, names_home},
    stop::serving_processes,
};

/// The traces by which a process is found.
#[derive(Clone, Debug)]
pub struct SuspectSearch<'a> {
    /// The directory.
    pub dir: &'a Utf8Path,
    /// The variable that tells a daemon its home.
    pub home_variable: &'a str,
    /// Files in the directory that a writer may have open.
    pub files: &'a [Utf8PathBuf],
    /// The file name of the program whose older versions are known to write there.
    pub program: &'a str,
    /// The home of the user to whom the program belongs.
    pub user_home: &'a Utf8Path,
}

/// A process that may be the writer, with the evidence for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Suspect {
    /// The process ID.
    pub pid: u32,
    /// The path of the program, if it is readable.
    #[serde(serialize_with = "lossy")]
    pub program: Option<PathBuf>,
    /// The evidence.
    pub evidence: Evidence,
}

/// The evidence against a process, the strongest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "evidence", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Evidence {
    /// The process is a daemon on this directory.
    Serves,
    /// The process has one of the files open.
    HoldsOpen {
        #[serde(serialize_with = "crate::endpoint::lossy")]
        file: PathBuf,
    },
    /// The process is the parent of a daemon on this directory.
    ParentOf { daemon: u32 },
    /// The environment of the process names the directory as a daemon's home: a daemon that it
    /// starts would use it.
    #[serde(rename = "points_there")]
    NamesHome,
    /// The process runs a program of this name, in a session of this user. Its version is unknown.
    SameName,
}

impl Suspect {
    /// Makes a suspect that was found in another way than by [`suspects`].
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
            Evidence::Serves => f.write_str(" is a daemon on this directory"),
            Evidence::HoldsOpen { file } => write!(f, " has {} open", file.display()),
            Evidence::ParentOf { daemon } => write!(f, " is the parent of process {daemon}"),
            Evidence::NamesHome => {
                f.write_str(" would start a daemon on this directory: its environment names it")
            }
            Evidence::SameName => f.write_str(" is the app, of this version or an older one"),
        }
    }
}

fn lossy<S: serde::Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    path.as_ref().map(|path| path.to_string_lossy()).serialize(serializer)
}

/// Returns the processes that leave traces, each with its strongest evidence. Leaves out this
/// process, and, if the name is the only evidence, its ancestors. Only Linux shows traces;
/// elsewhere the list is empty.
pub fn suspects(traces: &SuspectSearch<'_>) -> Vec<Suspect> {
    let mut found: Vec<Suspect> = serving_processes(traces.dir, traces.home_variable)
        .into_iter()
        .map(|daemon| Suspect::new(daemon.pid, daemon.program, Evidence::Serves))
        .collect();
    let daemons: Vec<u32> = found.iter().map(|daemon| daemon.pid).collect();
    let ourselves = std::process::id();
    let ancestors: Vec<u32> = std::iter::once(ourselves).chain(procfs::ancestors(ourselves)).collect();
    // The kernel names open files without symlinks.
    let files: Vec<PathBuf> = traces.files.iter().map(|file| resolved(file)).collect();
    let others = procfs::all_pids().filter(|pid| *pid != ourselves && !daemons.contains(pid));
    for pid in others {
        let program = procfs::program(pid);
        let daemon = daemons.iter().copied().find(|daemon| procfs::parent(*daemon) == Some(pid));
        let is_named = || program.as_deref().is_some_and(|path| is_program(path, traces.program));
        let is_home = |home: &[u8]| is_same_file(as_path(home), traces.user_home.as_ref());
        let is_users = || has_in_environment(pid, &["HOME"], is_home);
        let evidence = if let Some(file) = open_file_of(pid, &files) {
            Evidence::HoldsOpen { file }
        } else if let Some(daemon) = daemon.filter(|_| pid != 1) {
            Evidence::ParentOf { daemon }
        } else if names_home(pid, traces.dir, traces.home_variable) {
            Evidence::NamesHome
        } else if is_named() && !ancestors.contains(&pid) && is_users() {
            Evidence::SameName
        } else {
            continue;
        };
        found.push(Suspect::new(pid, program, evidence));
    }
    found
}

/// Returns true if a process runs a program of this name. The kernel marks a program that was
/// replaced since.
fn is_program(exe: &Path, name: &str) -> bool {
    let file = exe.file_name().map(|file| file.to_string_lossy());
    file.is_some_and(|file| file.strip_suffix(" (deleted)").unwrap_or(&file) == name)
}

/// Returns the first of the files that the process has open.
fn open_file_of(pid: u32, files: &[PathBuf]) -> Option<PathBuf> {
    procfs::open_files(pid)?.find(|target| files.contains(target))
}
