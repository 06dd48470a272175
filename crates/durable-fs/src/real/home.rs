//! Work below a locked home goes through folder handles.
//!
//! A path is looked up anew by every call that is given it, and between two calls somebody who may write to a folder on the way
//! can put another one in its place. So while the lock of a home is held, the lock's own handle is where every path below it
//! begins: each folder on the way is opened from the one above it, no link followed unseen, and looked at through its handle;
//! one that belongs to somebody else is not gone through. The call itself is then made on the last folder's handle and one name.
//!
//! This is one way for every Unix, and asks more than `openat2` would: that tells where a path stays, not whose its folders are.

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

use crate::{FileId, Untrusted, trust::Runner};

/// The homes whose lock this process holds. Like the lock itself they are the process's, so that no value of `RealDisk` can
/// be used to get around the handles that another one holds.
static LOCKED: RwLock<Vec<Weak<Home>>> = RwLock::new(Vec::new());

/// The folders that are held open for a run of calls, see [`Disk::hold`](crate::Disk::hold).
static HELD: RwLock<Vec<Weak<HeldFolder>>> = RwLock::new(Vec::new());

/// How many folders are kept open: those that a move goes back and forth between.
const KEPT_OPEN: usize = 6;

/// How many links a path may lead through: as many as Linux follows.
const LINK_LIMIT: usize = 40;

/// A folder that is gone through need not be readable, where the system has a handle for that.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PASS: OFlags = OFlags::PATH;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PASS: OFlags = OFlags::RDONLY;

/// An open folder.
pub(super) struct Folder {
    handle: OwnedFd,
    id: FileId,
    /// Where it was found, without links.
    real: PathBuf,
}

/// A home whose lock is held.
pub(super) struct Home {
    /// As whoever took the lock named it.
    named: PathBuf,
    top: Arc<Folder>,
    owner: u32,
    /// Folders below it that were used last.
    open: Mutex<VecDeque<(PathBuf, Arc<Folder>)>>,
}

/// A folder under the name that a caller has for it.
pub(super) struct HeldFolder {
    named: PathBuf,
    place: ResolvedDir,
}

/// A folder, and the locked home that it was found in.
#[derive(Clone)]
struct ResolvedDir {
    folder: Arc<Folder>,
    home: Option<Arc<Home>>,
}

/// How far a path may lead.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// To look, out of the home too, by links of the home's owner.
    Anywhere,
    /// Whoever changes something does it in the home.
    Home,
}

enum Found {
    Inside(Arc<Folder>),
    Outside(PathBuf),
}

#[allow(clippy::unnecessary_cast, reason = "how wide these numbers are is a matter of the system")]
pub(super) fn id_of(stat: &Stat) -> FileId {
    FileId { dev: stat.st_dev as u64, ino: stat.st_ino as u64 }
}

pub(super) fn kind_of(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn folder_flags() -> OFlags {
    PASS | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

impl Home {
    /// From now on, and until it is dropped, work below this folder goes through its handle. `None` when the name leads to
    /// another folder by now.
    pub(super) fn enter(named: &Path, handle: OwnedFd) -> io::Result<Option<Arc<Self>>> {
        let stat = rustix::fs::fstat(&handle)?;
        let real = std::fs::canonicalize(named)?;
        if id_of(&rustix::fs::lstat(&real)?) != id_of(&stat) {
            return Ok(None);
        }
        let home = Arc::new(Self {
            named: named.to_owned(),
            top: Arc::new(Folder { handle, id: id_of(&stat), real }),
            owner: stat.st_uid,
            open: Mutex::default(),
        });
        let mut locked = LOCKED.write().unwrap_or_else(PoisonError::into_inner);
        locked.retain(|home| home.strong_count() > 0);
        locked.push(Arc::downgrade(&home));
        Ok(Some(home))
    }

    /// The folder itself, which is what is locked.
    pub(super) fn handle(&self) -> BorrowedFd<'_> {
        self.top.handle.as_fd()
    }

    /// The home that this path is in, and the rest of the path. Of one in another it is the inner one, whichever was locked first.
    fn of(path: &Path) -> Option<(Arc<Self>, &Path)> {
        let locked = LOCKED.read().unwrap_or_else(PoisonError::into_inner);
        let homes = locked.iter().filter_map(Weak::upgrade).filter_map(|home| {
            let below = path.strip_prefix(&home.named).or_else(|_| path.strip_prefix(&home.top.real)).ok()?;
            Some((home, below))
        });
        homes.min_by_key(|(_, below)| below.components().count())
    }

    /// Whether this is the name of a locked home, and a symlink to it.
    fn is_symlink_to_one(path: &Path) -> bool {
        let locked = LOCKED.read().unwrap_or_else(PoisonError::into_inner);
        let mut named = locked.iter().filter_map(Weak::upgrade).filter(|home| home.named == path);
        named.any(|home| home.named != home.top.real)
            && rustix::fs::lstat(path).is_ok_and(|stat| kind_of(&stat) == FileType::Symlink)
    }

    /// Whether somebody who owns something on the way may decide where it leads.
    fn trust(&self, stat: &Stat, path: &Path) -> io::Result<()> {
        let uid = stat.st_uid;
        if Runner::new(rustix::process::geteuid().as_raw()).trusts(uid, Some(self.owner)) {
            Ok(())
        } else {
            Err(Untrusted::Foreign { path: path.to_owned(), user: uid, owner: self.owner }.into())
        }
    }

    /// The folder below the home, by its handle.
    fn folder(&self, below: &Path, scope: Scope) -> io::Result<Found> {
        if below.as_os_str().is_empty() {
            return Ok(Found::Inside(self.top.clone()));
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(known, _)| known == below) {
            let folder = open[at].1.clone();
            // A handle outlives the folder's name: it counts only while the name leads to it.
            match rustix::fs::statat(&self.top.handle, below, AtFlags::empty()) {
                Ok(now) if id_of(&now) == folder.id => return Ok(Found::Inside(folder)),
                _ => drop(open.remove(at)),
            }
        }
        let found = self.walk(below, scope)?;
        if let Found::Inside(folder) = &found {
            open.truncate(KEPT_OPEN - 1);
            open.push_front((below.to_owned(), folder.clone()));
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
            match retry_on_intr(|| rustix::fs::openat(&at.handle, &name, folder_flags(), Mode::empty())) {
                Ok(handle) => {
                    let stat = rustix::fs::fstat(&handle)?;
                    self.trust(&stat, &path)?;
                    at = Arc::new(Folder { handle, id: id_of(&stat), real: path });
                }
                // A link, or no folder at all.
                Err(no_folder @ (Errno::NOTDIR | Errno::LOOP | Errno::MLINK)) => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(Errno::LOOP.into());
                    }
                    let target = self.resolve_symlink(&at, Path::new(&name))?.ok_or(no_folder)?;
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

    /// Where the link of that name leads, without links; `None` when it is no link. Inside the home the answer is only where to
    /// look: the way there is gone by handles again.
    fn resolve_symlink(&self, folder: &Folder, name: &Path) -> io::Result<Option<PathBuf>> {
        let Some((stat, text)) = read_link(folder, name)? else { return Ok(None) };
        self.trust(&stat, &folder.real.join(name))?;
        // The folder's own path has no links, so steps upwards are plain. The system would take them from whatever has the
        // folder's name by now.
        let (mut from, mut rest) = (folder.real.as_path(), text.as_path());
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
fn read_link(folder: &Folder, name: &Path) -> io::Result<Option<(Stat, PathBuf)>> {
    let stat = rustix::fs::statat(&folder.handle, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if kind_of(&stat) != FileType::Symlink {
        return Ok(None);
    }
    let (stat, text) = read_that_link(folder, name, stat)?;
    Ok(Some((stat, OsString::from_vec(text.into_bytes()).into())))
}

/// Here a link can be opened itself, so that owner and text are those of one link.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn read_that_link(folder: &Folder, name: &Path, _: Stat) -> rustix::io::Result<(Stat, CString)> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let link = retry_on_intr(|| rustix::fs::openat(&folder.handle, name, flags, Mode::empty()))?;
    Ok((rustix::fs::fstat(&link)?, rustix::fs::readlinkat(&link, "", Vec::new())?))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn read_that_link(folder: &Folder, name: &Path, stat: Stat) -> rustix::io::Result<(Stat, CString)> {
    Ok((stat, rustix::fs::readlinkat(&folder.handle, name, Vec::new())?))
}

/// Opens a folder for a run of calls. `None` when it cannot be opened, or is not to be gone through: each call says so itself.
pub(super) fn hold(named: &Path) -> Option<Arc<HeldFolder>> {
    let place = match Home::of(named) {
        Some((home, below)) if is_plain(below) => match home.walk(below, Scope::Home).ok()? {
            Found::Inside(folder) => ResolvedDir { folder, home: Some(home) },
            Found::Outside(_) => return None,
        },
        Some(_) => return None,
        None => {
            let flags = PASS | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let handle = retry_on_intr(|| rustix::fs::open(named, flags, Mode::empty())).ok()?;
            let id = id_of(&rustix::fs::fstat(&handle).ok()?);
            ResolvedDir { folder: Arc::new(Folder { handle, id, real: named.to_owned() }), home: None }
        }
    };
    let held = Arc::new(HeldFolder { named: named.to_owned(), place });
    let mut all = HELD.write().unwrap_or_else(PoisonError::into_inner);
    all.retain(|held| held.strong_count() > 0);
    all.push(Arc::downgrade(&held));
    Some(held)
}

/// The held folder that a path names something in, and that name.
fn held(path: &Path) -> Option<(ResolvedDir, &OsStr)> {
    let all = HELD.read().unwrap_or_else(PoisonError::into_inner);
    if all.is_empty() {
        return None;
    }
    let (folder, name) = (path.parent()?.as_os_str(), path.file_name()?);
    let held = all.iter().rev().filter_map(Weak::upgrade).find(|held| held.named.as_os_str() == folder)?;
    Some((held.place.clone(), name))
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// What a system call is told in place of a path: a folder's handle, and a name in it. Outside of locked homes it is the path,
/// unless the folder is held.
pub(super) struct ResolvedName {
    place: Option<ResolvedDir>,
    name: PathBuf,
}

impl ResolvedName {
    /// To look at this very name.
    pub(super) fn look(path: &Path) -> io::Result<Self> {
        Self::find(path, Scope::Anywhere)
    }

    /// To look at this very name, which may be that of a symlink: one that leads to a locked home is no part of that home.
    pub(super) fn look_unfollowed(path: &Path) -> io::Result<Self> {
        if Home::is_symlink_to_one(path) { Ok(Self::by_path(path.to_owned())) } else { Self::look(path) }
    }

    /// To change what has this name, or to give it to something.
    pub(super) fn change(path: &Path) -> io::Result<Self> {
        Self::find(path, Scope::Home)
    }

    /// To look at what this name leads to.
    pub(super) fn followed(path: &Path) -> io::Result<Self> {
        let at = Self::look(path)?;
        let Some((home, folder)) = at.inside() else { return Ok(at) };
        match home.resolve_symlink(folder, &at.name)? {
            None => Ok(at),
            Some(target) if target.starts_with(&home.top.real) => Self::look(&target),
            Some(target) => Ok(Self::by_path(target)),
        }
    }

    fn by_path(path: PathBuf) -> Self {
        Self { place: None, name: path }
    }

    fn find(path: &Path, scope: Scope) -> io::Result<Self> {
        if let Some((place, name)) = held(path) {
            return Ok(Self { place: Some(place), name: name.into() });
        }
        let Some((home, below)) = Home::of(path) else { return Ok(Self::by_path(path.to_owned())) };
        if !is_plain(below) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path goes upwards"));
        }
        let (Some(parent), Some(name)) = (below.parent(), below.file_name()) else {
            let folder = home.top.clone();
            return Ok(Self { place: Some(ResolvedDir { folder, home: Some(home) }), name: ".".into() });
        };
        Ok(match home.folder(parent, scope)? {
            Found::Inside(folder) => {
                Self { place: Some(ResolvedDir { folder, home: Some(home) }), name: name.into() }
            }
            Found::Outside(folder) => Self::by_path(folder.join(name)),
        })
    }

    /// The locked home and the folder in it.
    fn inside(&self) -> Option<(&Home, &Folder)> {
        let place = self.place.as_ref()?;
        Some((place.home.as_ref()?, &place.folder))
    }

    /// The folder, for the call.
    pub(super) fn dir(&self) -> BorrowedFd<'_> {
        self.place.as_ref().map_or(CWD, |place| place.folder.handle.as_fd())
    }

    /// The name in it.
    pub(super) fn name(&self) -> &Path {
        &self.name
    }

    /// Where a link of that name has been followed already, the call must not follow another one.
    pub(super) fn follow(&self) -> bool {
        self.inside().is_none()
    }

    /// The path, as far as it is known.
    pub(super) fn path(&self) -> PathBuf {
        self.place.as_ref().map_or_else(|| self.name.clone(), |place| place.folder.real.join(&self.name))
    }

    /// The path without links, when it is known.
    pub(super) fn real(&self) -> Option<PathBuf> {
        let (_, folder) = self.inside()?;
        Some(if self.name == Path::new(".") { folder.real.clone() } else { folder.real.join(&self.name) })
    }

    /// A folder that is handed on with all that it holds has to be the home's as well.
    pub(super) fn trust_folder(&self) -> io::Result<()> {
        let Some((home, folder)) = self.inside() else { return Ok(()) };
        let stat = rustix::fs::statat(&folder.handle, &self.name, AtFlags::SYMLINK_NOFOLLOW)?;
        match kind_of(&stat) {
            FileType::Directory => home.trust(&stat, &folder.real.join(&self.name)),
            _ => Ok(()),
        }
    }

    /// The same for one that is open.
    pub(super) fn trust_open(&self, folder: impl AsFd) -> io::Result<()> {
        let Some((home, parent)) = self.inside() else { return Ok(()) };
        home.trust(&rustix::fs::fstat(folder)?, &parent.real.join(&self.name))
    }
}
