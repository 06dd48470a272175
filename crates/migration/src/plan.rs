//! What is to be done, as plain data: what a dry run prints, what the tests look at and what is executed is one value.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Owner, quote};
use myownllm_identity::{Identity, KeyInfo, Problem, Refusal};
use serde::{Serialize, Serializer};

use crate::{
    error::MigrationError,
    homes::{Direction, Homes},
};

pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

fn lossy_names<S: Serializer>(names: &[OsString], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(|name| name.to_string_lossy()))
}

fn lossy_paths<S: Serializer>(paths: &[PathBuf], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(paths.iter().map(|path| path.to_string_lossy()))
}

fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

/// One step of the move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// Remove what a killed run left half-done and that is not needed.
    RemoveLeftover {
        /// The file.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Give back its name to a source that a killed run had put aside in order to remove it.
    RestoreClaim {
        /// Where it lies.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// Its name.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// Make a folder, 0700.
    MakeFolder {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Set permission bits.
    SetMode {
        /// Of what.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// To what.
        #[serde(serialize_with = "octal")]
        mode: u32,
    },
    /// Give what we made, as root, to whom the home belongs.
    SetOwner {
        /// What.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The owner of the home.
        uid: u32,
        /// And the group.
        gid: u32,
    },
    /// Rename a whole folder: all in it is ours, and nothing is where it goes.
    MoveFolder {
        /// From here.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// To here.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// How many files it holds.
        files: usize,
    },
    /// Move some files of a folder, one by one.
    MoveFiles {
        /// From this folder.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// To this folder.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// These.
        #[serde(serialize_with = "lossy_names")]
        names: Vec<OsString>,
    },
    /// Move one file.
    MoveFile {
        /// From here.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// To here.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// Move a link; what it says is changed so that it leads to the same file.
    MoveLink {
        /// From here.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// To here.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        /// What it says now.
        #[serde(serialize_with = "lossy")]
        old_target: PathBuf,
        /// What it will say.
        #[serde(serialize_with = "lossy")]
        target: PathBuf,
    },
    /// Remove a source whose bytes are at the destination already.
    RemoveIdentical {
        /// The one to remove.
        #[serde(serialize_with = "lossy")]
        source: PathBuf,
        /// The one that stays.
        #[serde(serialize_with = "lossy")]
        destination: PathBuf,
    },
    /// Set the losing side of a decision aside, under a name that no program reads.
    SetAside {
        /// From here.
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        /// To here, beside the winner.
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// Remove a folder of the source once it is empty; never otherwise.
    RemoveFolder {
        /// The folder.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// A barrier: sync what the steps before it have done, in these directories, before the next step begins. A failure ends
    /// the run. A file that had to be copied, because it could not be renamed, has barriers of its own.
    Sync {
        /// The directories, and the file systems that they are on.
        #[serde(serialize_with = "lossy_paths")]
        directories: Vec<PathBuf>,
    },
}

impl Step {
    pub(crate) fn set_owner(path: PathBuf, owner: Owner) -> Self {
        Self::SetOwner { path, uid: owner.uid, gid: owner.gid }
    }

    /// Whether it is a barrier, which changes nothing.
    #[must_use]
    pub fn is_barrier(&self) -> bool {
        matches!(self, Self::Sync { .. })
    }

    /// What it is about; of a barrier, its first directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sync { directories } => directories.first().map_or(Path::new(""), PathBuf::as_path),
            Self::RemoveLeftover { path }
            | Self::MakeFolder { path }
            | Self::SetMode { path, .. }
            | Self::SetOwner { path, .. }
            | Self::RemoveFolder { path } => path,
            Self::RestoreClaim { from, .. }
            | Self::MoveFolder { from, .. }
            | Self::MoveFiles { from, .. }
            | Self::MoveFile { from, .. }
            | Self::MoveLink { from, .. }
            | Self::SetAside { from, .. } => from,
            Self::RemoveIdentical { source, .. } => source,
        }
    }

    /// How many files this step moves.
    pub fn files(&self) -> usize {
        match self {
            Self::MoveFolder { files, .. } => *files,
            Self::MoveFiles { names, .. } => names.len(),
            Self::MoveFile { .. } | Self::MoveLink { .. } | Self::SetAside { .. } => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveLeftover { path } => write!(f, "remove the leftover {}", path.display()),
            Self::RestoreClaim { from, to } => write!(f, "put {} back to {}", from.display(), to.display()),
            Self::MakeFolder { path } => write!(f, "make the folder {}", path.display()),
            Self::SetMode { path, mode } => write!(f, "set the mode of {} to {mode:04o}", path.display()),
            Self::SetOwner { path, uid, gid } => write!(f, "give {} to {uid}:{gid}", path.display()),
            Self::MoveFolder { from, to, files } => {
                write!(f, "move the folder {} ({files} files) to {}", from.display(), to.display())
            }
            Self::MoveFiles { from, to, names } => {
                write!(f, "move {} files from {} to {}", names.len(), from.display(), to.display())
            }
            Self::MoveFile { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
            Self::MoveLink { from, to, target, .. } => {
                write!(
                    f,
                    "move the link {} to {} (leading to {})",
                    from.display(),
                    to.display(),
                    target.display()
                )
            }
            Self::RemoveIdentical { source, destination } => {
                write!(f, "remove {}, the same as {}", source.display(), destination.display())
            }
            Self::SetAside { from, to } => write!(f, "set {} aside as {}", from.display(), to.display()),
            Self::RemoveFolder { path } => write!(f, "remove the folder {} when it is empty", path.display()),
            Self::Sync { directories } => {
                let paths: Vec<_> = directories.iter().map(|path| path.display().to_string()).collect();
                write!(f, "sync {}", paths.join(", "))
            }
        }
    }
}

/// Two files that differ, where there should be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Collision {
    /// The one at the source. It stays.
    #[serde(serialize_with = "lossy")]
    pub source: PathBuf,
    /// The one at the destination. It stays too.
    #[serde(serialize_with = "lossy")]
    pub destination: PathBuf,
}

/// Something that is not ours, and so was left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Left {
    /// What.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// Where the key is, and in what state: what decides whether a daemon may be spawned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum IdentityState {
    /// There is none on either side: a daemon will make one.
    Absent,
    /// A sound key at the destination alone, or the same key on both sides.
    AtDestination(KeyInfo),
    /// At the source, still to be moved.
    AtSource(KeyInfo),
    /// There is no key on either side, but something in its place, a sound one under another name, or somebody who knows the device: a
    /// daemon would make a new key.
    Odd {
        /// What.
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// Why it cannot be used.
        why: String,
        /// A command that mends it, or shows what is there.
        command: String,
    },
    /// There is something, but no sound key in force; see the errors.
    Blocked {
        /// In a few words.
        why: String,
    },
}

impl IdentityState {
    /// The sound key, if there is one in force.
    pub fn key(&self) -> Option<&KeyInfo> {
        match self {
            Self::AtDestination(key) | Self::AtSource(key) => Some(key),
            _ => None,
        }
    }

    /// No daemon may be started, so there is none in force.
    #[must_use]
    pub fn refused(refusal: &Refusal) -> Self {
        let is_odd = matches!(
            refusal.problem,
            Problem::Gone { .. } | Problem::Odd { .. } | Problem::NamedElsewhere { .. }
        );
        if !is_odd {
            return Self::Blocked { why: refusal.problem.to_string() };
        }
        let path = refusal.path().to_owned();
        let look = || format!("ls -la {}", quote(path.parent().unwrap_or(&path)));
        let command = refusal.hint().unwrap_or_else(look);
        Self::Odd { why: refusal.problem.to_string(), command, path }
    }

    pub(crate) fn of(identity: &Identity, at_destination: bool) -> Self {
        match identity {
            Identity::Valid(key) if at_destination => Self::AtDestination(key.clone()),
            Identity::Valid(key) => Self::AtSource(key.clone()),
            Identity::Damaged { why, .. } => Self::Blocked { why: format!("damaged: {why}") },
            Identity::Newer { version } => {
                Self::Blocked { why: format!("of version {version}, which is newer") }
            }
        }
    }
}

/// What is to be done. Made by [`crate::plan`], executed by [`crate::Migrator`].
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Plan {
    /// Which way.
    pub direction: Direction,
    /// From here.
    #[serde(serialize_with = "lossy")]
    pub source: PathBuf,
    /// To here.
    #[serde(serialize_with = "lossy")]
    pub destination: PathBuf,
    /// First: what killed runs left, folders, modes. Ends with a barrier.
    pub prepare: Vec<Step>,
    /// Then states, rosters and the second-factor lock: what gives way to them, what moves, and what is at the destination
    /// already, each with the barrier that it wants.
    pub state: Vec<Step>,
    /// Then the key, in the same order.
    pub identity_steps: Vec<Step>,
    /// At last: emptied folders, and a barrier.
    pub tidy: Vec<Step>,
    /// Files that differ and that nobody has decided about.
    pub collisions: Vec<Collision>,
    /// What is not ours.
    pub left: Vec<Left>,
    /// What could not be looked at. It stays, and so does the key.
    pub errors: Vec<MigrationError>,
    /// Why nothing may be done at all. When there is one, nothing is executed.
    pub refusals: Vec<MigrationError>,
    /// Where the key is now.
    pub identity: IdentityState,
    /// Whether a daemon that is in the way may be stopped.
    #[serde(skip)]
    pub(crate) stop_legacy_daemon: bool,
    /// Folders of the source that others can write to until they are tightened.
    #[serde(skip)]
    pub(crate) loose: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) secret_folders: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) owner: Option<Owner>,
    #[serde(skip)]
    pub(crate) app_home: PathBuf,
    #[serde(skip)]
    pub(crate) homes: Homes,
}

impl Plan {
    /// All steps, in the order in which they are executed.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.prepare.iter().chain(&self.state).chain(&self.identity_steps).chain(&self.tidy)
    }

    /// There is nothing to be done (there may still be collisions, errors and refusals to be reported).
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }

    /// How many steps change something: all but the barriers.
    pub fn changes(&self) -> usize {
        self.steps().filter(|step| !step.is_barrier()).count()
    }

    /// How many files would move.
    pub fn files(&self) -> usize {
        self.steps().map(Step::files).sum()
    }

    /// Adds a refusal of the caller's own: something that must be settled before anything moves, such as a socket path that would
    /// be too long at the destination.
    pub fn refuse(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        path: &Path,
        hint: Option<String>,
    ) {
        self.refusals.push(MigrationError::Caller {
            code,
            message: message.into(),
            path: path.to_owned(),
            hint,
        });
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in self.steps() {
            writeln!(f, "{step}")?;
        }
        Ok(())
    }
}
