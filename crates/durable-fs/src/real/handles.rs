//! Work below a locked directory goes through directory handles.
//!
//! Every call resolves its path anew, and between two calls a user who may write to a directory on
//! the way can replace it. So every path below a [`LockedDir`](crate::LockedDir) begins at the
//! handle that holds the lock: each directory on the way is opened from its parent, without
//! following a symlink unseen, and checked through its handle. A directory of another user is an
//! error. The call itself then gets the handle of the last directory and one name.
//!
//! This works on every Unix, and checks more than `openat2`: that call limits where a path leads,
//! but does not check who owns the directories.

use std::{
    collections::VecDeque,
    ffi::{CString, OsStr, OsString},
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat},
    io::{Errno, retry_on_intr},
};

use crate::{FileId, OutsideLock, Runner, Untrusted};

/// The number of directories that stay open, enough for those between which a move alternates.
const KEPT_OPEN: usize = 6;

/// The number of symlinks that a path may lead through, as on Linux.
const LINK_LIMIT: usize = 40;

/// A directory on the way need not be readable, if the system has handles that only pass through.
#[cfg(target_os = "linux")]
const PASS: OFlags = OFlags::PATH;
#[cfg(not(target_os = "linux"))]
const PASS: OFlags = OFlags::RDONLY;

pub(super) struct OpenDir {
    handle: OwnedFd,
    id: FileId,
    /// The path without symlinks under which the directory was found.
    real: PathBuf,
}

/// The handles of one lock. Each [`LockedDir`](crate::LockedDir) has its own, and no call uses the
/// handles of another lock.
pub(super) struct Handles {
    /// The locked directory, by the path that the caller locked.
    named: PathBuf,
    top: Arc<OpenDir>,
    owner: u32,
    /// The directories below the locked one that were used last.
    recent: Mutex<VecDeque<(PathBuf, Arc<OpenDir>)>>,
    /// Directories that a caller keeps open
    /// ([`LockedDir::keep_open`](crate::LockedDir::keep_open)), and those that were admitted.
    kept: RwLock<Vec<Weak<KeptDir>>>,
    /// Keeps directories outside open that were admitted, see
    /// [`LockedDir::admit_target`](crate::LockedDir::admit_target).
    admitted: Mutex<Vec<Arc<KeptDir>>>,
}

/// An open directory under the name that a caller has for it.
pub(super) struct KeptDir {
    named: PathBuf,
    place: ResolvedDir,
}

/// An open directory, and if it is below the locked one.
#[derive(Clone)]
struct ResolvedDir {
    dir: Arc<OpenDir>,
    is_inside: bool,
}

/// The limit on where a path may lead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// A read may leave the locked directory, through symlinks of its owner.
    Anywhere,
    /// A change stays in the locked directory.
    Locked,
}

enum Found {
    Inside(Arc<OpenDir>),
    Outside(PathBuf),
}

#[allow(clippy::unnecessary_cast, reason = "how wide these numbers are is a matter of the system")]
pub(super) fn id_of(stat: &Stat) -> FileId {
    FileId { dev: stat.st_dev as u64, ino: stat.st_ino as u64 }
}

pub(super) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn dir_flags() -> OFlags {
    PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl Handles {
    /// Takes the handle that holds the lock of the directory `named`. Returns `None` if the path
    /// leads to another directory by now.
    pub(super) fn of(named: &Path, handle: OwnedFd) -> io::Result<Option<Self>> {
        let stat = rustix::fs::fstat(&handle)?;
        let real = std::fs::canonicalize(named)?;
        if id_of(&rustix::fs::lstat(&real)?) != id_of(&stat) {
            return Ok(None);
        }
        Ok(Some(Self {
            named: named.to_owned(),
            top: Arc::new(OpenDir { handle, id: id_of(&stat), real }),
            owner: stat.st_uid,
            recent: Mutex::default(),
            kept: RwLock::default(),
            admitted: Mutex::default(),
        }))
    }

    pub(super) fn top(&self) -> BorrowedFd<'_> {
        self.top.handle.as_fd()
    }

    pub(super) fn real(&self) -> &Path {
        &self.top.real
    }

    /// Returns the rest of a path below the locked directory; `None` for a path elsewhere.
    fn below<'p>(&self, path: &'p Path) -> Option<&'p Path> {
        path.strip_prefix(&self.named).or_else(|_| path.strip_prefix(&self.top.real)).ok()
    }

    /// Returns true if this path is the name of the locked directory and a symlink to it.
    fn is_symlink_to_top(&self, path: &Path) -> bool {
        self.named == path
            && self.named != self.top.real
            && rustix::fs::lstat(path).is_ok_and(|stat| kind_of(&stat) == FileType::Symlink)
    }

    /// Opens a directory for many calls. Returns `None` if it cannot be opened or is not trusted:
    /// each call then returns its own error.
    pub(super) fn keep_open(&self, named: &Path) -> Option<Arc<KeptDir>> {
        let below = self.below(named).filter(|below| is_plain(below))?;
        let Found::Inside(dir) = self.walk(below, Scope::Locked).ok()? else { return None };
        Some(self.keep(named, ResolvedDir { dir, is_inside: true }))
    }

    fn keep(&self, named: &Path, place: ResolvedDir) -> Arc<KeptDir> {
        let kept = Arc::new(KeptDir { named: named.to_owned(), place });
        let mut all = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|kept| kept.strong_count() > 0);
        all.push(Arc::downgrade(&kept));
        kept
    }

    /// Opens a directory outside, which stays open as long as the lock is held.
    pub(super) fn admit(&self, named: &Path) -> io::Result<()> {
        if self.kept_dir(named).is_some() {
            return Ok(());
        }
        let flags = PASS | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = retry_on_intr(|| rustix::fs::open(named, flags, Mode::empty()))?;
        let id = id_of(&rustix::fs::fstat(&handle)?);
        let dir = Arc::new(OpenDir { handle, id, real: named.to_owned() });
        let admitted = self.keep(named, ResolvedDir { dir, is_inside: false });
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner).push(admitted);
        Ok(())
    }

    fn kept_dir(&self, named: &Path) -> Option<ResolvedDir> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        let mut newest_first = kept.iter().rev().filter_map(Weak::upgrade);
        let found = newest_first.find(|known| known.named.as_os_str() == named.as_os_str());
        found.map(|known| known.place.clone())
    }

    /// Fails unless the owner of a directory or symlink on the way is trusted to decide where it
    /// leads.
    fn trust(&self, stat: &Stat, path: &Path) -> io::Result<()> {
        let uid = stat.st_uid;
        if Runner::new(rustix::process::geteuid().as_raw()).trusts(uid, Some(self.owner)) {
            Ok(())
        } else {
            Err(Untrusted::Foreign { path: path.to_owned(), user: uid, owner: self.owner }.into())
        }
    }

    /// Returns the handle of a directory below the locked one.
    fn dir(&self, below: &Path, scope: Scope) -> io::Result<Found> {
        if below.as_os_str().is_empty() {
            return Ok(Found::Inside(self.top.clone()));
        }
        let mut open = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| known == below) {
            let dir = open[at].1.clone();
            // A handle outlives the directory's name: use the handle only while the name leads to
            // the same directory.
            match rustix::fs::statat(&self.top.handle, below, AtFlags::empty()) {
                Ok(now) if id_of(&now) == dir.id => return Ok(Found::Inside(dir)),
                _ => drop(open.remove(at)),
            }
        }
        let found = self.walk(below, scope)?;
        if let Found::Inside(dir) = &found {
            open.truncate(KEPT_OPEN - 1);
            open.push_front((below.to_owned(), dir.clone()));
        }
        Ok(found)
    }

    fn walk(&self, below: &Path, scope: Scope) -> io::Result<Found> {
        let names = |path: &Path| path.iter().rev().map(OsStr::to_owned).collect::<Vec<OsString>>();
        let mut at = self.top.clone();
        let mut todo = names(below);
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let path = at.real.join(&name);
            match retry_on_intr(|| rustix::fs::openat(&at.handle, &name, dir_flags(), Mode::empty())) {
                Ok(handle) => {
                    let stat = rustix::fs::fstat(&handle)?;
                    self.trust(&stat, &path)?;
                    at = Arc::new(OpenDir { handle, id: id_of(&stat), real: path });
                }
                // The name is a symlink, or no directory at all.
                Err(not_a_dir @ (Errno::NOTDIR | Errno::LOOP | Errno::MLINK)) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP.into());
                    }
                    let target = self.resolve_symlink(&at, Path::new(&name))?.ok_or(not_a_dir)?;
                    match target.strip_prefix(&self.top.real) {
                        Ok(inside) => {
                            todo.extend(names(inside));
                            at = self.top.clone();
                        }
                        Err(_) if scope == Scope::Anywhere => {
                            return Ok(Found::Outside(
                                todo.iter().rfold(target, |path, name| path.join(name)),
                            ));
                        }
                        Err(_) => return Err(Untrusted::LeadsOut { path }.into()),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Found::Inside(at))
    }

    /// Returns the target of the symlink with this name, without symlinks; `None` if the name is no
    /// symlink. Inside the home the target is only a path: the caller walks to it by handles again.
    fn resolve_symlink(&self, dir: &OpenDir, name: &Path) -> io::Result<Option<PathBuf>> {
        let Some((stat, text)) = read_link(dir, name)? else { return Ok(None) };
        self.trust(&stat, &dir.real.join(name))?;
        // The directory's own path has no symlinks, so a step upwards is its parent path. The
        // system would instead start from whatever directory has that name by now.
        let (mut from, mut rest) = (dir.real.as_path(), text.as_path());
        loop {
            if let Ok(above) = rest.strip_prefix("..") {
                (from, rest) = (from.parent().unwrap_or(from), above);
            } else if let Ok(here) = rest.strip_prefix(".") {
                rest = here;
            } else {
                break;
            }
        }
        std::fs::canonicalize(from.join(rest)).map(Some)
    }
}

/// Returns the metadata and the target of a symlink; `None` for anything else.
fn read_link(dir: &OpenDir, name: &Path) -> io::Result<Option<(Stat, PathBuf)>> {
    let stat = rustix::fs::statat(&dir.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind_of(&stat) != FileType::Symlink {
        return Ok(None);
    }
    let (stat, text) = read_symlink_of(dir, name, stat)?;
    Ok(Some((stat, OsString::from_vec(text.into_bytes()).into())))
}

/// Opens the symlink itself, so that owner and target come from the same symlink.
#[cfg(target_os = "linux")]
fn read_symlink_of(dir: &OpenDir, name: &Path, _: Stat) -> rustix::io::Result<(Stat, CString)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = retry_on_intr(|| rustix::fs::openat(&dir.handle, name, flags, Mode::empty()))?;
    Ok((rustix::fs::fstat(&link)?, rustix::fs::readlinkat(&link, "", Vec::new())?))
}

#[cfg(not(target_os = "linux"))]
fn read_symlink_of(dir: &OpenDir, name: &Path, stat: Stat) -> rustix::io::Result<(Stat, CString)> {
    Ok((stat, rustix::fs::readlinkat(&dir.handle, name, Vec::new())?))
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The arguments of a system call in place of a path: the handle of a directory, and a name in it.
/// Without a lock, and outside of the locked directory, `name` is the whole path.
pub(super) struct ResolvedName<'l> {
    handles: Option<&'l Handles>,
    place: Option<ResolvedDir>,
    name: PathBuf,
}

impl<'l> ResolvedName<'l> {
    /// Resolves the path for reading the entry with this name.
    pub(super) fn resolve(handles: Option<&'l Handles>, path: &Path) -> io::Result<Self> {
        Self::find(handles, path, Scope::Anywhere)
    }

    /// Resolves the path for reading the entry with this name, which may be a symlink. A symlink
    /// that leads to the locked directory is read by its path, because it lies outside of that
    /// directory.
    pub(super) fn resolve_unfollowed(handles: Option<&'l Handles>, path: &Path) -> io::Result<Self> {
        match handles {
            Some(handles) if handles.is_symlink_to_top(path) => Ok(Self::by_path(path.to_owned())),
            _ => Self::resolve(handles, path),
        }
    }

    /// Resolves the path for changing the entry with this name, or for making it.
    pub(super) fn change(handles: Option<&'l Handles>, path: &Path) -> io::Result<Self> {
        Self::find(handles, path, Scope::Locked)
    }

    /// Resolves the path for reading the file that it leads to.
    pub(super) fn followed(handles: Option<&'l Handles>, path: &Path) -> io::Result<Self> {
        let at = Self::resolve(handles, path)?;
        let Some((lock, dir)) = at.inside() else { return Ok(at) };
        match lock.resolve_symlink(dir, &at.name)? {
            None => Ok(at),
            Some(target) if target.starts_with(lock.real()) => Self::resolve(handles, &target),
            Some(target) => Ok(Self::by_path(target)),
        }
    }

    fn by_path(path: PathBuf) -> Self {
        Self { handles: None, place: None, name: path }
    }

    fn find(handles: Option<&'l Handles>, path: &Path, scope: Scope) -> io::Result<Self> {
        let Some(lock) = handles else { return Ok(Self::by_path(path.to_owned())) };
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name())
            && let Some(place) = lock.kept_dir(dir)
        {
            return Ok(Self { handles, place: Some(place), name: name.into() });
        }
        let below = match (lock.below(path), scope) {
            (Some(below), _) if is_plain(below) => below,
            (None, Scope::Anywhere) => return Ok(Self::by_path(path.to_owned())),
            // Refuses `..` too: the kernel would take the step upwards from whatever directory has
            // the name by then.
            _ => return Err(OutsideLock { dir: lock.named.clone() }.into()),
        };
        let inside = |dir, name: &OsStr| {
            let place = Some(ResolvedDir { dir, is_inside: true });
            Self { handles, place, name: name.into() }
        };
        let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
            return Ok(inside(lock.top.clone(), OsStr::new(".")));
        };
        Ok(match lock.dir(parent, scope)? {
            Found::Inside(dir) => inside(dir, name),
            Found::Outside(dir) => Self::by_path(dir.join(name)),
        })
    }

    /// Returns the lock, and the directory below the locked one.
    fn inside(&self) -> Option<(&'l Handles, &OpenDir)> {
        let place = self.place.as_ref().filter(|place| place.is_inside)?;
        Some((self.handles?, &place.dir))
    }

    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.place.as_ref().map_or(CWD, |place| place.dir.handle.as_fd())
    }

    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Returns true if the call may follow a symlink. Returns false if this code has followed one
    /// already: the call must not follow another one.
    pub(super) fn follow(&self) -> bool {
        self.inside().is_none()
    }

    /// Returns the path, as far as it is known.
    pub(super) fn path(&self) -> PathBuf {
        self.place.as_ref().map_or_else(|| self.name.clone(), |place| place.dir.real.join(&self.name))
    }

    /// Returns the path without symlinks, if it is known.
    pub(super) fn real(&self) -> Option<PathBuf> {
        let (_, dir) = self.inside()?;
        Some(if self.name == Path::new(".") { dir.real.clone() } else { dir.real.join(&self.name) })
    }

    /// Fails if the name is a directory of an untrusted user. For calls that move a directory with
    /// everything in it.
    pub(super) fn trust_dir(&self) -> io::Result<()> {
        let Some((lock, dir)) = self.inside() else { return Ok(()) };
        let stat = rustix::fs::statat(&dir.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kind_of(&stat) {
            FileType::Directory => lock.trust(&stat, &dir.real.join(&self.name)),
            _ => Ok(()),
        }
    }

    /// Fails if the open file belongs to an untrusted user.
    pub(super) fn trust_open(&self, open: impl AsFd) -> io::Result<()> {
        let Some((lock, dir)) = self.inside() else { return Ok(()) };
        lock.trust(&rustix::fs::fstat(open)?, &dir.real.join(&self.name))
    }
}
