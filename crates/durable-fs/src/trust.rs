//! Decides who besides the owner can change what a path leads to.
//!
//! [`trace`] walks a path name by name, as the kernel resolves it, and records the metadata of
//! every directory and symlink on the way. The rules themselves are pure functions over that record
//! ([`Trace::home_trust`]), so a test states them as a table.
//!
//! The rules of the way to a home:
//!
//! - Every directory belongs to root, to the user who runs the program, or to the owner of the
//!   home. Nobody else can write to it, unless its sticky bit keeps others from names that are not
//!   theirs. Its group may write to it: the owner chooses the members of the group.
//! - A symlink belongs to root, to the runner, or to the owner of the home that it leads to. In a
//!   sticky directory that everybody can write to, it belongs to root, to the runner, or to the
//!   directory's owner: the rule of the kernel's `protected_symlinks`. In a directory without the
//!   sticky bit no symlink is followed, because anybody can swap it.
//! - The home belongs to the runner or to root, unless root runs the program. A home that does not
//!   exist yet is made only in a directory that belongs to the runner or to root, unless root runs
//!   the program.
//!
//! Nobody untrusted can change a directory that was found trusted, so judging the names from the
//! top down leaves no gap between the judgement and the use.

use std::{
    ffi::OsString,
    io,
    path::{Component, Path, PathBuf},
};

use crate::{
    Disk, DiskError, Metadata, Op, Owner, RealDisk, Result, Runner, error::quote_all, quote, runner::ROOT,
};

/// The number of symlinks that a path may lead through, as on Linux.
const SYMLINK_LIMIT: usize = 40;

/// The command that shows the mount of a path, without the path.
const SHOW_MOUNT: &str = "findmnt --target";

/// One directory, symlink or file on the way to a path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step {
    /// The path, which leads through no symlink.
    pub path: PathBuf,
    /// The metadata of the entry itself.
    pub meta: Metadata,
}

/// The way to a path, as [`trace`] found it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The entries that the kernel passes on the way, in its order. The root directory comes first.
    pub steps: Vec<Step>,
    /// The first name on the way that does not exist, if any.
    pub missing: Option<PathBuf>,
}

/// Walks a path as the kernel resolves it, and follows each symlink. Writes nothing.
///
/// # Errors
/// A name cannot be looked at, or the path leads through too many symlinks. A name that does not
/// exist is no error.
pub fn trace(disk: &dyn Disk, path: &Path) -> Result<Trace> {
    let names = |path: &Path| path.components().rev().filter_map(name_of).collect::<Vec<OsString>>();
    let mut at = PathBuf::from("/").join(root_of(path));
    let mut steps = vec![Step { meta: disk.stat(&at)?, path: at.clone() }];
    let mut todo = names(path);
    let mut symlinks = 0;
    while let Some(name) = todo.pop() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let meta = match disk.stat(&next) {
            Ok(meta) => meta,
            Err(error) if error.is_absent() => return Ok(Trace { steps, missing: Some(next) }),
            Err(error) => return Err(error),
        };
        if meta.is_symlink() {
            symlinks += 1;
            if symlinks > SYMLINK_LIMIT {
                return Err(DiskError::new(
                    Op::Follow,
                    path,
                    io::Error::other("it leads through too many symlinks"),
                ));
            }
            let target = disk.read_link(&next)?;
            if target.has_root() {
                at.push(root_of(&target));
            }
            todo.extend(names(&target));
        } else {
            at.clone_from(&next);
        }
        steps.push(Step { path: next, meta });
    }
    Ok(Trace { steps, missing: None })
}

/// Returns the root directory of an absolute path, on Windows with its drive.
fn root_of(path: &Path) -> PathBuf {
    path.components().take_while(|part| matches!(part, Component::Prefix(_) | Component::RootDir)).collect()
}

fn name_of(component: Component<'_>) -> Option<OsString> {
    match component {
        Component::Normal(_) | Component::ParentDir => Some(component.as_os_str().to_owned()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    }
}

/// The reason why a directory, symlink or file is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OwnershipProblem {
    /// The path of the directory, symlink or file.
    pub path: PathBuf,
    /// The kind of the problem.
    pub kind: OwnershipProblemKind,
}

/// A problem with the owner of a path, or with the users who can write to the path. `uid` is the
/// owner of the path, `home` the owner of the home, and `mend` a command without its path.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of the enum explains the fields")]
pub enum OwnershipProblemKind {
    /// A directory on the way belongs to a user who can put another home in its place.
    ForeignDirectory { uid: u32 },
    /// A symlink on the way belongs to a user who can let it lead anywhere.
    ForeignSymlink { uid: u32 },
    /// A symlink on the way lies in a directory where every user can swap it.
    SwappableSymlink { directory: PathBuf, mend: &'static str },
    /// The home belongs neither to the owner of the directory that holds it, nor to root, nor to
    /// the runner.
    ForeignHome { uid: u32, parent_dir: Owner },
    /// The home, or the directory that is to hold it, belongs to a user for whom the runner cannot
    /// work.
    NotTheRunners { owner: Owner, runner: u32 },
    /// A part of the home belongs neither to the owner of the home nor to root.
    ForeignPart { uid: u32, home: Owner },
    /// Several files in one directory belong neither to the owner of the home nor to root.
    ForeignFiles { uid: u32, more: usize, directory: PathBuf, home: Owner },
    /// A part of the home belongs to another user, so that the owner of the home cannot change it.
    Unchangeable { uid: u32, home: Owner },
    /// Every user can write to a directory, and no sticky bit protects the files of other users.
    WorldWritable { mode: u32, mend: &'static str },
}

impl OwnershipProblem {
    fn new(path: &Path, kind: OwnershipProblemKind) -> Self {
        Self { path: path.to_owned(), kind }
    }

    /// Returns the problem with a command that shows the mount, if the mount decides the mode:
    /// `chmod` would change nothing.
    #[must_use]
    pub fn as_mounted(mut self, disk: &dyn Disk) -> Self {
        let directory = match &self.kind {
            OwnershipProblemKind::SwappableSymlink { directory, .. } => directory.clone(),
            _ => self.path.clone(),
        };
        if let OwnershipProblemKind::SwappableSymlink { mend, .. }
        | OwnershipProblemKind::WorldWritable { mend, .. } = &mut self.kind
            && disk.has_modes_of_mount(&directory)
        {
            *mend = SHOW_MOUNT;
        }
        self
    }

    /// Returns true if nothing at all may be changed behind the path. Else the path only must not
    /// hold a key or a daemon.
    pub fn forbids_every_change(&self) -> bool {
        !matches!(self.kind, OwnershipProblemKind::WorldWritable { .. })
    }

    /// Returns the reason, in words that follow the path.
    pub fn reason(&self) -> String {
        use OwnershipProblemKind as Kind;
        match &self.kind {
            Kind::ForeignDirectory { uid } => {
                format!("belongs to user {uid}, who can put something else in its place")
            }
            Kind::ForeignSymlink { uid } => {
                format!("is a symlink of user {uid}, who can let it lead anywhere")
            }
            Kind::SwappableSymlink { .. } => {
                "is a symlink in a directory that everybody can write to: anybody can swap it".to_owned()
            }
            Kind::ForeignHome { uid, parent_dir } => format!(
                "belongs to user {uid}, not to the owner of the directory that it is in (user {})",
                parent_dir.uid
            ),
            Kind::NotTheRunners { owner, runner } => format!(
                "belongs to user {}, who could not use what user {runner}, who runs this program, makes \
                    there",
                owner.uid
            ),
            Kind::ForeignPart { uid, home } => {
                format!("belongs to user {uid}, not to the owner of the home (user {})", home.uid)
            }
            Kind::ForeignFiles { uid, more, home, .. } => format!(
                "belongs to user {uid}, not to the owner of the home (user {}), and {more} more beside it \
                    are not the owner's either",
                home.uid
            ),
            Kind::Unchangeable { uid, .. } => {
                format!("belongs to user {uid}, and the owner of the home may not change it")
            }
            Kind::WorldWritable { mode, mend } => {
                let by = if *mend == SHOW_MOUNT { ", by the options of its mount" } else { "" };
                format!("can be written to by everybody (mode {mode:04o}){by}")
            }
        }
    }

    /// Returns the command that mends the problem, or that shows the problem if no command can mend
    /// it.
    pub fn command(&self) -> String {
        use OwnershipProblemKind as Kind;
        let path = quote(&self.path);
        match &self.kind {
            Kind::ForeignDirectory { .. } | Kind::ForeignSymlink { .. } | Kind::NotTheRunners { .. } => {
                format!("ls -ld {path}")
            }
            Kind::SwappableSymlink { directory, mend } => format!("{mend} {}", quote(directory)),
            Kind::ForeignHome { parent_dir: owner, .. } | Kind::Unchangeable { home: owner, .. } => {
                chown_command(&RealDisk, *owner, &[&self.path])
            }
            // Most entries of another user's directory are that user's too.
            Kind::ForeignPart { home, .. } => format!("sudo chown -hR {}:{} {path}", home.uid, home.gid),
            Kind::ForeignFiles { directory, home: Owner { uid, gid }, .. } => format!(
                "sudo find {} -maxdepth 1 -type f ! -user {uid} ! -user 0 -exec chown -h {uid}:{gid} {{}} +",
                quote(directory)
            ),
            Kind::WorldWritable { mend, .. } => format!("{mend} {path}"),
        }
    }
}

/// Returns the command that lets paths be renamed, given away and changed again; `None` if none of
/// them is [protected](Disk::is_protected).
pub fn unprotect(disk: &dyn Disk, paths: &[&Path]) -> Option<String> {
    crate::error::unprotect(paths, |path| disk.is_protected(path))
}

/// Returns the command that gives paths to a user. First lifts a protection, which would forbid
/// that to root too.
pub fn chown_command(disk: &dyn Disk, owner: Owner, paths: &[&Path]) -> String {
    let give = format!("sudo chown -RH {}:{} {}", owner.uid, owner.gid, quote_all(paths));
    match unprotect(disk, paths) {
        Some(unprotect) => format!("{unprotect} && {give}"),
        None => give,
    }
}

/// The result of looking at the way to a home.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HomeTrust {
    /// The owner of the home; for a home that does not exist, the owner of the directory that is to
    /// hold it. `None` where the platform has no owners.
    pub owner: Option<Owner>,
    /// True if the home exists.
    pub exists: bool,
    /// True if the modes on the way let the owner reach the home.
    pub is_reachable: bool,
    /// The problems, from the root directory downwards.
    pub problems: Vec<OwnershipProblem>,
}

impl HomeTrust {
    /// Inspects the directories on the way to a home.
    pub fn inspect(disk: &dyn Disk, home: &Path) -> Result<Self> {
        let Some(runner) = disk.runner() else {
            return Ok(Self {
                exists: disk.stat_follow(home).is_ok(),
                is_reachable: true,
                ..Self::default()
            });
        };
        let may_write = |path: &Path| disk.may_write(path);
        let mut trust = trace(disk, home)?.home_trust(runner, &may_write);
        trust.problems = trust.problems.into_iter().map(|problem| problem.as_mounted(disk)).collect();
        Ok(trust)
    }

    /// Returns the first problem that forbids every change. For a home that does not exist, every
    /// problem forbids making it.
    #[must_use]
    pub fn forbids_change(&self) -> Option<&OwnershipProblem> {
        self.problems.iter().find(|problem| !self.exists || problem.forbids_every_change())
    }
}

/// Looks at the way from a home to a directory in it, also through symlinks. Every part must belong
/// to the owner of the home or to root, and no other user may write to it. Returns `None` if the
/// home does not exist.
pub fn check_below_home(disk: &dyn Disk, home: &Path, directory: &Path) -> Result<Option<OwnershipProblem>> {
    let Some(runner) = disk.runner() else { return Ok(None) };
    let above = trace(disk, home)?;
    let owner = above.steps.last().and_then(|home| home.meta.owner).filter(|_| above.missing.is_none());
    let Some(owner) = owner else { return Ok(None) };
    let found = trace(disk, directory)?.problem_beyond(&above, runner, owner.uid, |step| {
        let mend = chmod_command(true, runner, &step.meta);
        foreign_part(&step.path, &step.meta, owner).or_else(|| world_writable(&step.path, &step.meta, mend))
    });
    Ok(found.map(|problem| problem.as_mounted(disk)))
}

/// Looks at the way from a symlink to its file. Each symlink and each directory must belong to
/// root, to the runner, or to the owner of the file. Returns `None` if the path is no symlink, does
/// not exist, or leads to nothing.
pub fn check_symlink_target(disk: &dyn Disk, symlink: &Path) -> Result<Option<OwnershipProblem>> {
    Ok(problem_behind(disk, symlink)?.map(|(problem, _)| problem))
}

/// Returns the problem of [`check_symlink_target`], and the way to the file.
fn problem_behind(disk: &dyn Disk, symlink: &Path) -> Result<Option<(OwnershipProblem, Trace)>> {
    let Some(runner) = disk.runner() else { return Ok(None) };
    match disk.stat(symlink) {
        Ok(meta) if meta.is_symlink() => {}
        Ok(_) => return Ok(None),
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    }
    let way = trace(disk, symlink)?;
    let above = trace(disk, symlink.parent().unwrap_or(symlink))?;
    let owner = way.steps.last().and_then(|file| file.meta.owner).filter(|_| way.missing.is_none());
    let Some(owner) = owner.map(|owner| owner.uid) else { return Ok(None) };
    let found = way.problem_beyond(&above, runner, owner, |step| {
        let uid = step.meta.owner?.uid;
        let kind = OwnershipProblemKind::ForeignDirectory { uid };
        (!way.trusts(runner, uid, Some(owner))).then(|| OwnershipProblem::new(&step.path, kind))
    });
    Ok(found.map(|problem| (problem.as_mounted(disk), way)))
}

/// Reads a file whose content will be shown, as [`Disk::read`] does. Root reads no file that
/// another user put in the way by a symlink: that user may not be able to read it.
///
/// # Errors
/// Fails as [`Disk::read`] does, and as root for a symlink that [`foreign_symlink`] names.
pub fn read_for_display(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Vec<u8>> {
    match foreign_symlink(disk, path)? {
        Some(problem) => {
            let why = io::Error::new(io::ErrorKind::PermissionDenied, problem.reason());
            Err(DiskError::new(Op::Read, path, why))
        }
        None => disk.read(path, limit),
    }
}

/// For root, returns the problem of [`check_symlink_target`], unless everybody may read the file; `None` for
/// other users.
///
/// # Errors
/// Fails as [`check_symlink_target`] does.
pub fn foreign_symlink(disk: &dyn Disk, path: &Path) -> Result<Option<OwnershipProblem>> {
    const SEARCH: u32 = 0o001;
    const READ: u32 = 0o004;
    if disk.runner().is_none_or(|runner| runner.uid != 0) {
        return Ok(None);
    }
    let Some((problem, way)) = problem_behind(disk, path)? else { return Ok(None) };
    let may_pass = |step: &Step| {
        step.meta.is_symlink() || step.meta.mode & if step.meta.is_dir() { SEARCH } else { READ } != 0
    };
    Ok(Some(problem).filter(|_| !way.steps.iter().all(may_pass)))
}

impl Trace {
    /// Judges the way to a home. `may_write` tells if the file system lets the runner write to a
    /// directory, whatever owner it shows. It is called only if the file system shows another user
    /// as the owner.
    #[must_use]
    pub fn home_trust(&self, runner: Runner, may_write: &dyn Fn(&Path) -> bool) -> HomeTrust {
        let exists = self.missing.is_none();
        let last = self.steps.last();
        let owner = last.and_then(|step| step.meta.owner);
        // A home that the runner is about to make will belong to the runner.
        let home_owner = owner.filter(|_| exists || runner.is_root()).map(|owner| owner.uid);
        let parent_dir = last.filter(|_| exists).and_then(|home| self.parent_dir(home));
        let mut problems = Vec::new();
        for step in &self.steps {
            let Some(uid) = step.meta.owner.map(|owner| owner.uid) else { continue };
            let is_last = last.is_some_and(|last| std::ptr::eq(last, step));
            // The check of the home decides if the home or its parent directory has the wrong
            // owner.
            let is_holder = parent_dir.is_some_and(|parent_dir| std::ptr::eq(parent_dir, step));
            if step.meta.is_symlink() {
                problems.extend(self.symlink_problem(step, runner, home_owner));
            } else if is_last {
                problems.extend(self.end_problem(step, parent_dir, runner, may_write));
            } else if !is_holder && !self.trusts(runner, uid, home_owner) {
                let kind = OwnershipProblemKind::ForeignDirectory { uid };
                problems.push(OwnershipProblem::new(&step.path, kind));
            }
            let mend = chmod_command(is_last && exists, runner, &step.meta);
            // The mode of a device is for all of its users, and nothing is below it.
            problems.extend(world_writable(&step.path, &step.meta, mend).filter(|_| step.meta.is_dir()));
        }
        let is_reachable =
            owner.is_none_or(|owner| self.steps.iter().all(|step| may_traverse(&step.meta, owner)));
        HomeTrust { owner, exists, is_reachable, problems }
    }

    /// Returns true if the user is trusted. The owner of the root directory, whatever their uid,
    /// decides about everything below it.
    fn trusts(&self, runner: Runner, uid: u32, owner: Option<u32>) -> bool {
        let top = self.steps.first().and_then(|step| step.meta.owner);
        runner.trusts(uid, owner) || top.is_some_and(|top| top.uid == uid)
    }

    fn parent_dir(&self, step: &Step) -> Option<&Step> {
        let parent_dir = step.path.parent()?;
        self.steps.iter().find(|step| step.path == parent_dir)
    }

    /// Returns the first problem of the steps that the way `above` does not have: of a symlink, or
    /// of another step the one that `judge` finds. `owner` is the owner of the end.
    fn problem_beyond(
        &self,
        above: &Trace,
        runner: Runner,
        owner: u32,
        judge: impl Fn(&Step) -> Option<OwnershipProblem>,
    ) -> Option<OwnershipProblem> {
        let is_new = |step: &&Step| !above.steps.iter().any(|known| known.path == step.path);
        self.steps.iter().filter(is_new).find_map(|step| match step.meta.is_symlink() {
            true => self.symlink_problem(step, runner, Some(owner)),
            false => judge(step),
        })
    }

    fn symlink_problem(
        &self,
        symlink: &Step,
        runner: Runner,
        owner: Option<u32>,
    ) -> Option<OwnershipProblem> {
        let uid = symlink.meta.owner?.uid;
        let parent_dir = self.parent_dir(symlink)?;
        let is_trusted = match parent_dir.meta.mode & 0o1002 {
            0o0002 => {
                let mend = chmod_command(false, runner, &parent_dir.meta);
                let kind =
                    OwnershipProblemKind::SwappableSymlink { directory: parent_dir.path.clone(), mend };
                return Some(OwnershipProblem::new(&symlink.path, kind));
            }
            0o1002 => self.trusts(runner, uid, parent_dir.meta.owner.map(|owner| owner.uid)),
            _ => self.trusts(runner, uid, owner),
        };
        let kind = OwnershipProblemKind::ForeignSymlink { uid };
        (!is_trusted).then(|| OwnershipProblem::new(&symlink.path, kind))
    }

    /// Judges the end of the way: the home with the directory that holds it, or the directory that
    /// is to hold the home.
    fn end_problem(
        &self,
        end: &Step,
        parent_dir: Option<&Step>,
        runner: Runner,
        may_write: &dyn Fn(&Path) -> bool,
    ) -> Option<OwnershipProblem> {
        let owner = end.meta.owner?;
        let directory = parent_dir;
        let parent_dir = parent_dir.and_then(|parent_dir| parent_dir.meta.owner);
        let problem = |kind| Some(OwnershipProblem::new(&end.path, kind));
        let foreign = |parent_dir| problem(OwnershipProblemKind::ForeignHome { uid: owner.uid, parent_dir });
        if let Some(parent_dir) =
            parent_dir.filter(|parent_dir| !self.trusts(runner, parent_dir.uid, Some(owner.uid)))
        {
            // The runner's home must not be given away: the directory has the wrong owner.
            if let Some(directory) = directory.filter(|_| owner.uid == runner.uid && !runner.is_root()) {
                let kind = OwnershipProblemKind::ForeignDirectory { uid: parent_dir.uid };
                return Some(OwnershipProblem::new(&directory.path, kind));
            }
            return foreign(parent_dir);
        }
        // A network or FUSE mount without a mapping of users shows another owner than the user to
        // whom it gives access.
        let is_owner_in_effect = || end.meta.mode & 0o022 == 0 && may_write(&end.path);
        if runner.can_work_for(owner.uid) || is_owner_in_effect() {
            return None;
        }
        match parent_dir {
            Some(parent_dir) if parent_dir.uid == runner.uid => foreign(parent_dir),
            _ => problem(OwnershipProblemKind::NotTheRunners { owner, runner: runner.uid }),
        }
    }
}

/// Returns the command that removes the write permission of other users: in the home, from all that
/// is below as well, as one `chmod -R` most often gave it.
fn chmod_command(is_home: bool, runner: Runner, meta: &Metadata) -> &'static str {
    let may_change = runner.is_root() || meta.owner.is_some_and(|owner| owner.uid == runner.uid);
    match (is_home, may_change) {
        (true, true) => "chmod -R go-w",
        (true, false) => "sudo chmod -R go-w",
        (false, true) => "chmod o-w",
        (false, false) => "sudo chmod o-w",
    }
}

/// Returns true if a user may pass a directory, by its mode alone.
fn may_traverse(meta: &Metadata, user: Owner) -> bool {
    let search = match meta.owner {
        Some(owner) if owner.uid == user.uid => 0o100,
        Some(owner) if owner.gid == user.gid => 0o010,
        _ => 0o001,
    };
    !meta.is_dir() || user.uid == ROOT || meta.mode & search != 0
}

/// Returns a problem if every user can write to a directory and no sticky bit protects the files of
/// other users. `mend` is the command without the path.
#[must_use]
pub fn world_writable(path: &Path, meta: &Metadata, mend: &'static str) -> Option<OwnershipProblem> {
    // The mode of a device or of a pipe is for all of its users.
    let has_content = meta.is_dir() || meta.is_file();
    (meta.owner.is_some() && has_content && meta.mode & 0o1002 == 0o002)
        .then(|| OwnershipProblem::new(path, OwnershipProblemKind::WorldWritable { mode: meta.mode, mend }))
}

/// Returns a problem if a part of a home belongs neither to the owner of the home nor to root.
/// Returns `None` where the platform has no owners.
#[must_use]
pub fn foreign_part(path: &Path, meta: &Metadata, home: Owner) -> Option<OwnershipProblem> {
    let owner = meta.owner.filter(|owner| owner.uid != home.uid && owner.uid != ROOT)?;
    Some(OwnershipProblem::new(path, OwnershipProblemKind::ForeignPart { uid: owner.uid, home }))
}

/// Returns the first of these files, all in one directory, that belongs to another user, with one
/// command that mends all of them.
pub fn foreign_file(
    disk: &dyn Disk,
    directory: &Path,
    files: impl Iterator<Item = PathBuf>,
    home: Option<Owner>,
) -> Option<OwnershipProblem> {
    let home = home?;
    let mut foreign = files.filter_map(|file| foreign_part(&file, &disk.stat(&file).ok()?, home));
    let first = foreign.next()?;
    let OwnershipProblemKind::ForeignPart { uid, .. } = first.kind else { return Some(first) };
    let kind = match foreign.count() {
        0 => first.kind,
        more => OwnershipProblemKind::ForeignFiles { uid, more, directory: directory.to_owned(), home },
    };
    Some(OwnershipProblem { kind, ..first })
}

/// Returns a problem if a part of a home belongs to another user than the owner of the home, even
/// to root: trusted or not, the owner cannot change it.
#[must_use]
pub fn unchangeable_part(path: &Path, meta: &Metadata, home: Owner) -> Option<OwnershipProblem> {
    let owner = meta.owner.filter(|owner| owner.uid != home.uid)?;
    Some(OwnershipProblem::new(path, OwnershipProblemKind::Unchangeable { uid: owner.uid, home }))
}
