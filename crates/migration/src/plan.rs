//! The plan of a move, as plain data: a dry run prints it, tests inspect it, and a run executes it.

use std::ffi::OsString;
use std::fmt;
use std::ops::{Deref, Not};
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Owner, quote};
use myownllm_identity::{Identity, KeyInfo, Problem, Refusal};
use serde::Serialize;

use crate::error::MigrationError;
use crate::homes::{Direction, Homes};
use crate::lossy::{count, lossy, lossy_all, octal};

/// One step of the move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "MoveStep"))]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum MoveStep {
    /// Remove a temporary file of a killed run that is not needed.
    RemoveLeftover {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Give a source its name back that a killed run had put aside to remove it.
    #[serde(rename = "restore-claim")]
    RestoreQuarantined {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// Make a directory with mode 0700.
    #[serde(rename = "make-folder")]
    MakeDir {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// Set permission bits.
    SetMode {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        /// The permission bits, octal.
        #[serde(serialize_with = "octal")]
        #[cfg_attr(feature = "schema", schemars(with = "String"))]
        mode: u32,
    },
    /// Give a file that this run made as root to the owner of the home.
    SetOwner {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        uid: u32,
        gid: u32,
    },
    /// Rename a whole directory: every file in it is ours, and the destination does not exist. Only
    /// the attempt tells whether the file system can: if it cannot, these files move one by one
    /// into a directory that is made for them, and the source is removed when it is empty.
    #[serde(rename = "move-folder")]
    MoveDir {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        #[serde(rename = "files", serialize_with = "count")]
        #[cfg_attr(feature = "schema", schemars(with = "usize"))]
        names: Vec<OsString>,
    },
    /// Move some files of a directory, one by one.
    MoveFiles {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        #[serde(serialize_with = "lossy_all")]
        #[cfg_attr(feature = "schema", schemars(with = "Vec<String>"))]
        names: Vec<OsString>,
    },
    /// Move one file.
    MoveFile {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
    },
    /// Move a symlink, and change its target so that it leads to the same file.
    #[serde(rename = "move-link")]
    MoveSymlink {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        #[serde(flatten)]
        symlink: Retarget,
    },
    /// Remove a source file whose bytes are at the destination already.
    RemoveIdentical {
        #[serde(serialize_with = "lossy")]
        source: PathBuf,
        #[serde(serialize_with = "lossy")]
        destination: PathBuf,
        #[serde(skip)]
        symlink_target: Option<PathBuf>,
    },
    /// Set the losing file of a decision aside, under a name that no program reads.
    SetAside {
        #[serde(serialize_with = "lossy")]
        from: PathBuf,
        #[serde(serialize_with = "lossy")]
        to: PathBuf,
        #[serde(flatten)]
        symlink: Option<Retarget>,
    },
    /// Remove the sources that remain in these directories: of files that had to be copied or
    /// linked, and of files that were at the destination already. Each is renamed aside, compared,
    /// and removed, or gets its name back. Then sync the directories. Does nothing after moves by
    /// rename.
    RemoveSources {
        #[serde(serialize_with = "lossy_all")]
        directories: Vec<PathBuf>,
    },
    /// Remove a directory of the source if it is empty.
    #[serde(rename = "remove-folder")]
    RemoveDir {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
    },
    /// A barrier: sync the results of the steps before it, in these directories, before the next
    /// step begins. A failure ends the run. A copy has a barrier of its own before it gets its
    /// name.
    Sync {
        #[serde(serialize_with = "lossy_all")]
        directories: Vec<PathBuf>,
        /// True if the files that the plan moves are synced too: each is durable before a name at
        /// the destination leads to it.
        #[serde(skip_serializing_if = "Not::not")]
        sources: bool,
    },
}

impl MoveStep {
    pub(crate) fn set_owner(path: PathBuf, owner: Owner) -> Self {
        Self::SetOwner { path, uid: owner.uid, gid: owner.gid }
    }

    /// Returns true if the step completes the steps before it, and changes nothing of its own: a
    /// barrier, or the removal of sources that remain.
    pub fn is_barrier(&self) -> bool {
        matches!(self, Self::Sync { .. } | Self::RemoveSources { .. })
    }

    /// Returns the path of the step; for a barrier, its first directory.
    pub fn path(&self) -> &Path {
        match self {
            Self::Sync { directories, .. } | Self::RemoveSources { directories } => {
                directories.first().map_or(Path::new(""), PathBuf::as_path)
            }
            Self::RemoveLeftover { path }
            | Self::MakeDir { path }
            | Self::SetMode { path, .. }
            | Self::SetOwner { path, .. }
            | Self::RemoveDir { path } => path,
            Self::RestoreQuarantined { from, .. }
            | Self::MoveDir { from, .. }
            | Self::MoveFiles { from, .. }
            | Self::MoveFile { from, .. }
            | Self::MoveSymlink { from, .. }
            | Self::SetAside { from, .. } => from,
            Self::RemoveIdentical { source, .. } => source,
        }
    }

    /// Returns the directories in which this step changes names.
    pub fn changed_dirs(&self) -> Vec<PathBuf> {
        match self {
            Self::MoveDir { from, to, .. } => vec![parent(from), parent(to), to.clone()],
            Self::RestoreQuarantined { from, to } => vec![parent(from), parent(to)],
            Self::MakeDir { path }
            | Self::RemoveDir { path }
            | Self::RemoveLeftover { path }
            | Self::RemoveIdentical { source: path, .. } => vec![parent(path)],
            step => step.source_dir().into_iter().chain(step.destination_dir()).collect(),
        }
    }

    /// Returns the directory in which the step may leave a source to remove. For a directory that
    /// moves as a whole, it is that directory: its files move one by one if it cannot be renamed.
    pub(crate) fn source_dir(&self) -> Option<PathBuf> {
        match self {
            Self::MoveDir { from, .. } | Self::MoveFiles { from, .. } => Some(from.clone()),
            Self::MoveFile { from: file, .. }
            | Self::MoveSymlink { from: file, .. }
            | Self::SetAside { from: file, .. }
            | Self::RemoveIdentical { source: file, .. } => Some(parent(file)),
            _ => None,
        }
    }

    /// Returns the directory in which the step gives a file or directory its name.
    pub(crate) fn destination_dir(&self) -> Option<PathBuf> {
        match self {
            Self::MoveFiles { to, .. } => Some(to.clone()),
            Self::MoveDir { to, .. }
            | Self::MoveFile { to, .. }
            | Self::MoveSymlink { to, .. }
            | Self::SetAside { to, .. } => Some(parent(to)),
            _ => None,
        }
    }

    /// Returns the number of files that this step moves.
    pub fn files(&self) -> usize {
        match self {
            Self::MoveDir { names, .. } | Self::MoveFiles { names, .. } => names.len(),
            Self::MoveFile { .. } | Self::MoveSymlink { .. } | Self::SetAside { .. } => 1,
            _ => 0,
        }
    }
}

impl fmt::Display for MoveStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveLeftover { path } => write!(f, "remove the leftover {}", path.display()),
            Self::RestoreQuarantined { from, to } => {
                write!(f, "put {} back to {}", from.display(), to.display())
            }
            Self::MakeDir { path } => write!(f, "make the directory {}", path.display()),
            Self::SetMode { path, mode } => write!(f, "set the mode of {} to {mode:04o}", path.display()),
            Self::SetOwner { path, uid, gid } => write!(f, "give {} to {uid}:{gid}", path.display()),
            Self::MoveDir { from, to, names } => {
                let files = names.len();
                write!(f, "move the directory {} ({files} files) to {}", from.display(), to.display())
            }
            Self::MoveFiles { from, to, names } => {
                write!(f, "move {} files from {} to {}", names.len(), from.display(), to.display())
            }
            Self::MoveFile { from, to } => write!(f, "move {} to {}", from.display(), to.display()),
            Self::MoveSymlink { from, to, symlink } => {
                write!(
                    f,
                    "move the symlink {} to {} (leading to {})",
                    from.display(),
                    to.display(),
                    symlink.target.display()
                )
            }
            Self::RemoveIdentical { source, destination, .. } => {
                write!(f, "remove {}, the same as {}", source.display(), destination.display())
            }
            Self::SetAside { from, to, .. } => write!(f, "set {} aside as {}", from.display(), to.display()),
            Self::RemoveDir { path } => write!(f, "remove the directory {} when it is empty", path.display()),
            Self::Sync { directories, .. } => write!(f, "sync {}", listed(directories)),
            Self::RemoveSources { directories } => {
                write!(f, "remove the sources that remain in {}", listed(directories))
            }
        }
    }
}

pub(crate) fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

fn listed(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The targets of a symlink that moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Retarget {
    /// The present target.
    #[serde(serialize_with = "lossy")]
    pub old_target: PathBuf,
    /// The target with which the symlink leads to the same file from its new place.
    #[serde(serialize_with = "lossy")]
    pub target: PathBuf,
}

/// Two files that differ, of which only one can have the name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Collision {
    /// The file at the source. It stays.
    #[serde(serialize_with = "lossy")]
    pub source: PathBuf,
    /// The file at the destination. It stays too.
    #[serde(serialize_with = "lossy")]
    pub destination: PathBuf,
}

/// An entry that is not ours, and therefore stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct SkippedEntry {
    /// The path.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// The place and state of the identity file, which decide if a daemon may be started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum IdentityState {
    /// Neither side has an identity file: a daemon will make one.
    #[default]
    Absent,
    /// A valid identity file at the destination only, or the same one on both sides.
    AtDestination(KeyInfo),
    /// A valid identity file at the source, which is still to be moved.
    AtSource(KeyInfo),
    /// Neither side has an identity file, but something else has its name, a valid one has another
    /// name, or peers know the device: a daemon would make a new identity.
    #[serde(rename = "odd")]
    Unusable {
        #[serde(serialize_with = "lossy")]
        path: PathBuf,
        why: String,
        command: String,
    },
    /// A file exists, but no valid identity is active; see the errors.
    Blocked { why: String },
}

impl IdentityState {
    /// Returns the valid identity, if one is active.
    pub fn key(&self) -> Option<&KeyInfo> {
        match self {
            Self::AtDestination(key) | Self::AtSource(key) => Some(key),
            _ => None,
        }
    }

    /// Returns the state for a refusal: no daemon may be started, so no identity is active.
    pub fn refused(refusal: &Refusal) -> Self {
        let is_odd = matches!(refusal.problem, Problem::Missing { .. } | Problem::NotAFile { .. });
        if !is_odd {
            return Self::Blocked { why: refusal.problem.to_string() };
        }
        let path = refusal.path().to_owned();
        let look = || format!("ls -la {}", quote(path.parent().unwrap_or(&path)));
        let command = refusal.hint().unwrap_or_else(look);
        Self::Unusable { why: refusal.problem.to_string(), command, path }
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

/// The plan of a move. Only [`Migrator::plan`](crate::Migrator::plan) makes one, and the executor
/// decides nothing, so no caller changes its [`PlanSteps`], and none takes a refusal out:
///
/// ```compile_fail,E0596
/// # use myownllm_migration::Plan;
/// fn force(mut plan: Plan) {
///     plan.refusals.clear(); // wanted: Options::keeping_identity, or another decision of the user
/// }
/// ```
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Plan(pub(crate) PlanSteps);

impl Deref for Plan {
    type Target = PlanSteps;

    fn deref(&self) -> &PlanSteps {
        &self.0
    }
}

impl Plan {
    /// Adds a reason of the caller's why nothing may be done at all.
    pub fn refuse(&mut self, refusal: MigrationError) {
        self.0.refusals.push(refusal);
    }

    /// Returns the plan with a first step that no planner makes. This is for tests alone.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn beginning_with(mut self, step: MoveStep) -> Self {
        self.0.prepare.insert(0, step);
        self
    }
}

/// The steps of a [`Plan`], and what they leave.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct PlanSteps {
    /// The direction.
    pub direction: Direction,
    /// The source.
    #[serde(serialize_with = "lossy")]
    pub source: PathBuf,
    /// The destination.
    #[serde(serialize_with = "lossy")]
    pub destination: PathBuf,
    /// The first steps: leftovers of killed runs, directories, modes. They end with a barrier.
    pub prepare: Vec<MoveStep>,
    /// The next steps: states, rosters and the second-factor lock. Files that are set aside for
    /// them, files that move, and files that are at the destination already, each group with its
    /// barrier.
    pub state: Vec<MoveStep>,
    /// The steps for the identity file, in the same order.
    pub identity_steps: Vec<MoveStep>,
    /// The last steps: emptied directories, and a barrier.
    pub tidy: Vec<MoveStep>,
    /// Files that differ and about which the user has not decided.
    pub collisions: Vec<Collision>,
    /// The entries that are not ours.
    pub left: Vec<SkippedEntry>,
    /// The paths that could not be inspected. They stay, and so does the identity file.
    pub errors: Vec<MigrationError>,
    /// The reasons why nothing may be done at all. If there is one, nothing is executed.
    pub refusals: Vec<MigrationError>,
    /// The present place and state of the identity file.
    pub identity: IdentityState,
    #[serde(skip)]
    pub(crate) writable_by_others: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) secret_dirs: Vec<PathBuf>,
    #[serde(skip)]
    pub(crate) owner: Option<Owner>,
    #[serde(skip)]
    pub(crate) homes: Homes,
}

impl PlanSteps {
    /// Returns all steps, in the order in which they are executed.
    pub fn steps(&self) -> impl Iterator<Item = &MoveStep> {
        self.prepare.iter().chain(&self.state).chain(&self.identity_steps).chain(&self.tidy)
    }

    /// Returns true if there is nothing to do (there may still be collisions, errors and refusals
    /// to report).
    pub fn is_empty(&self) -> bool {
        self.steps().next().is_none()
    }

    /// Returns true if a run would do nothing, and would report nothing but entries that stay.
    pub fn is_settled(&self) -> bool {
        self.is_empty() && self.collisions.is_empty() && self.errors.is_empty() && self.refusals.is_empty()
    }

    /// Returns true if a run would touch a file, and not only remove empty directories at the old
    /// location: that is in the way of no daemon of the daemon home.
    pub fn touches_files(&self) -> bool {
        self.steps().any(|step| !step.is_barrier() && !matches!(step, MoveStep::RemoveDir { .. }))
    }

    /// Returns true if a run would give a file its name back: one that a killed run had put aside,
    /// or whose only copy is in a temporary file.
    pub fn restores_names(&self) -> bool {
        self.steps().any(|step| matches!(step, MoveStep::RestoreQuarantined { .. }))
    }

    /// Returns the number of steps that change something: all but the barriers.
    pub fn changes(&self) -> usize {
        self.steps().filter(|step| !step.is_barrier()).count()
    }

    /// Returns the number of files that would move.
    pub fn files(&self) -> usize {
        self.steps().map(MoveStep::files).sum()
    }

    /// Returns the number of files that would be removed because identical files are in the daemon
    /// home.
    pub fn identical(&self) -> usize {
        self.steps().filter(|step| matches!(step, MoveStep::RemoveIdentical { .. })).count()
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
