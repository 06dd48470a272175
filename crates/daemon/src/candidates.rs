//! The programs that may be the daemon.
//!
//! An explicit override comes first, then the program that was shipped beside this one, then
//! `PATH`. The list holds every path that was checked, with the reason why it was skipped: "no
//! daemon found" would help nobody.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk as _, Metadata, RealDisk};
use myownllm_paths::HostApp;
use serde::Serialize;

use crate::{
    obstacle::{StartObstacle, obstacle},
    process::PROGRAM_NAME,
};

const SUFFIX: &str = std::env::consts::EXE_SUFFIX;

/// The places to search for the daemon's program.
#[derive(Clone, Debug, Default)]
pub struct ProgramSearch {
    /// The name of the program, without the platform's suffix; `myownmesh` if it is empty.
    pub name: String,
    /// The overrides in order: the name of the variable and its value. An empty value counts as
    /// unset.
    pub overrides: Vec<(String, OsString)>,
    /// The running program: the bundled daemon lies beside it.
    pub program: Option<PathBuf>,
    /// The target triple of the bundled daemon, which may also be named
    /// `myownmesh-x86_64-unknown-linux-gnu`.
    pub triple: Option<String>,
    /// The value of `PATH`.
    pub path: Option<OsString>,
    /// The working directory for relative overrides. Without it they are skipped.
    pub working_dir: Option<PathBuf>,
}

impl ProgramSearch {
    /// Reads the environment of this process: the variables of the app that name the program, the
    /// running program, `PATH`, and the working directory. Only a start of a daemon needs it.
    pub fn from_process(app: &HostApp, triple: Option<&str>) -> Self {
        let overrides = app.daemon_program_variables.iter().filter_map(|name| {
            let value = std::env::var_os(name.as_ref()).filter(|value| !value.is_empty())?;
            Some((name.to_string(), value))
        });
        Self {
            name: app.daemon_program.clone().into_owned(),
            overrides: overrides.collect(),
            program: std::env::current_exe().ok(),
            triple: triple.map(str::to_owned),
            path: std::env::var_os("PATH"),
            working_dir: std::env::current_dir().ok(),
        }
    }
}

/// A program that may be the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Candidate {
    /// The path of the program.
    #[serde(serialize_with = "crate::endpoint::lossy")]
    pub path: PathBuf,
    /// The rule that found it.
    pub origin: Origin,
    /// The result of the check.
    pub verdict: Verdict,
    /// The reason why a usable program will not come up all the same, as far as the file tells. A
    /// start tries it.
    #[serde(skip)]
    pub obstacle: Option<StartObstacle>,
}

impl Candidate {
    /// Makes a candidate and checks it as all others are checked.
    pub fn new(path: impl Into<PathBuf>, origin: Origin) -> Self {
        let path = path.into();
        let verdict = match unusable_reason(&path) {
            Some(reason) => Verdict::Skipped { reason },
            None => Verdict::Usable,
        };
        Self { path, origin, verdict, obstacle: None }
    }

    /// Returns true if it will be started.
    pub fn is_usable(&self) -> bool {
        self.verdict == Verdict::Usable
    }

    /// Returns true if it will be started and nothing about the file keeps it from coming up.
    pub fn is_sound(&self) -> bool {
        self.is_usable() && self.obstacle.is_none()
    }
}

/// The rule that found a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "from", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Origin {
    /// An environment variable names it.
    Override { variable: String },
    /// It lies beside the running program.
    Beside,
    /// It is on `PATH`.
    Path,
    /// The app knows it in another way.
    Given,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Override { variable } => write!(f, "named by {variable}"),
            Self::Beside => f.write_str("beside the running program"),
            Self::Path => f.write_str("on PATH"),
            Self::Given => f.write_str("given by the app"),
        }
    }
}

/// The check of a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "CandidateVerdict"))]
#[serde(tag = "verdict", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Verdict {
    /// It is an executable program.
    Usable,
    /// It will not be started.
    Skipped { reason: String },
}

/// Returns the candidates in the order of their start, skipped ones included.
///
/// Directories on `PATH` without the program are left out. Empty and relative entries of `PATH` are
/// ignored: their meaning depends on the user's working directory.
pub fn candidates(search: &ProgramSearch) -> Vec<Candidate> {
    let name = if search.name.is_empty() { PROGRAM_NAME } else { &search.name };
    let mut found = Vec::new();
    for (variable, value) in &search.overrides {
        if !value.is_empty() {
            found.push(from_override(variable, value, search));
        }
    }
    if let Some(dir) = search.program.as_deref().and_then(Path::parent) {
        let triple = search.triple.as_ref().map(|triple| format!("{name}-{triple}{SUFFIX}"));
        for name in std::iter::once(format!("{name}{SUFFIX}")).chain(triple) {
            found.push(Candidate::new(dir.join(name), Origin::Beside));
        }
    }
    found.extend(on_path(search, name.as_ref(), Origin::Path));
    skip_duplicates(&mut found);
    for candidate in found.iter_mut().filter(|candidate| candidate.is_usable()) {
        candidate.obstacle = obstacle(&candidate.path, search.path.as_deref());
    }
    found
}

/// Finds the program that an override names: a path, or a bare name on `PATH`, as on a command
/// line.
fn from_override(variable: &str, value: &OsString, search: &ProgramSearch) -> Candidate {
    let path = Path::new(value);
    let origin = || Origin::Override { variable: variable.to_owned() };
    if path.is_absolute() {
        return Candidate::new(path, origin());
    }
    let is_bare = path.components().count() == 1
        && matches!(path.components().next(), Some(std::path::Component::Normal(_)));
    if is_bare && let Some(found) = on_path(search, path, origin()).into_iter().next() {
        return found;
    }
    match &search.working_dir {
        Some(dir) => Candidate::new(dir.join(path), origin()),
        None => {
            let reason = "a relative path, without a directory that it is relative to".to_owned();
            let verdict = Verdict::Skipped { reason };
            Candidate { path: path.to_owned(), origin: origin(), verdict, obstacle: None }
        }
    }
}

fn on_path(search: &ProgramSearch, name: &Path, origin: Origin) -> Vec<Candidate> {
    let mut file_name = name.as_os_str().to_owned();
    if name.extension().is_none() {
        file_name.push(SUFFIX);
    }
    let dirs = search.path.as_deref().map(std::env::split_paths).into_iter().flatten();
    dirs.filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(&file_name))
        .filter(|path| !RealDisk.stat(path).is_err_and(|e| e.is_absent()))
        .map(|path| Candidate::new(path, origin.clone()))
        .collect()
}

/// Skips a file that has another name earlier in the list: it would fail in the same way.
fn skip_duplicates(found: &mut [Candidate]) {
    let mut seen: Vec<(PathBuf, PathBuf)> = Vec::new();
    for candidate in found.iter_mut().filter(|candidate| candidate.verdict == Verdict::Usable) {
        let Ok(real) = std::fs::canonicalize(&candidate.path) else { continue };
        match seen.iter().find(|(other, _)| *other == real) {
            Some((_, first)) => {
                let reason = format!("the same file as {}", first.display());
                candidate.verdict = Verdict::Skipped { reason };
            }
            None => seen.push((real, candidate.path.clone())),
        }
    }
}

fn unusable_reason(path: &Path) -> Option<String> {
    let meta = match RealDisk.stat_follow(path) {
        Ok(meta) => meta,
        Err(e) if e.is_absent() && RealDisk.stat(path).is_ok() => {
            return Some("a dangling symlink".to_owned());
        }
        Err(e) if e.is_absent() => return Some("not there".to_owned()),
        Err(e) => return Some(format!("cannot be read: {}", e.io())),
    };
    if meta.is_dir() {
        return Some("a directory".to_owned());
    }
    if !meta.is_file() {
        return Some("not a regular file".to_owned());
    }
    not_executable(path, &meta)
}

#[cfg(unix)]
fn not_executable(path: &Path, meta: &Metadata) -> Option<String> {
    use rustix::{
        fs::{Access, AtFlags, CWD, accessat},
        io::Errno,
    };

    // Only EACCES speaks of the file: a sandbox that does not know the call answers EPERM or
    // ENOSYS.
    let is_denied = accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) == Err(Errno::ACCESS);
    let executable = meta.mode & 0o111 != 0 && !is_denied;
    (!executable).then(|| "not executable".to_owned())
}

#[cfg(not(unix))]
fn not_executable(path: &Path, _: &Metadata) -> Option<String> {
    let is_program = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("exe"));
    (!is_program).then(|| "not a program file (.exe)".to_owned())
}
