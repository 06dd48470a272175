//! A disk in memory that keeps synced data apart from written data, and fails or crashes on demand.
//!
//! The model is a journaling file system in the worst case:
//!
//! - Content, mode and owner of a file survive a crash once the file was synced; before that the
//!   content may be complete, half there, or gone, whatever happened to the name.
//! - Each change of a name survives once its directory was synced; before that any subset of the
//!   changes may survive, in no order, with two exceptions that every journaling file system keeps:
//!   a rename never loses the old name without keeping the new one, and the rename of a directory
//!   and the exchange of two names are all or nothing.
//! - Syncing a directory does not sync its own name in the parent directory.
//!
//! ```
//! use myownllm_durable_fs::{Disk, sim::SimDisk};
//! use std::{path::Path, time::Duration};
//!
//! let disk = SimDisk::new();
//! disk.put("/home/a", b"one");
//! disk.flush_all();
//! let home = disk.lock(Path::new("/home"), Duration::ZERO)?;
//! home.create(Path::new("/home/b"), b"two", 0o600)?; // written, not flushed
//! for after in disk.crash_states(100, 1) {
//!     assert_eq!(after.content("/home/a").as_deref(), Some(&b"one"[..]), "flushed: always there");
//! }
//! assert!(disk.crash_states(100, 1).iter().any(|after| after.content("/home/b").is_none()));
//! assert!(disk.crash_states(100, 1).iter().any(|after| after.content("/home/b").as_deref() == Some(b"")));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, ErrorKind},
    ops::ControlFlow,
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

mod weaken;

pub use weaken::{Survey, Sweep, Weakening};

use crate::{
    DirEntry, Disk, DiskError, FileId, FileKind, LockError, LockedDir, LockedDisk, Metadata, Op,
    OpenForWriting, Owner, Permissions, Result, Runner, SyncFs, Timestamp, publish::make_private_dir,
};

const ROOT: u64 = 1;

/// The path of the root directory.
const ROOT_PATH: &str = if cfg!(windows) { r"C:\" } else { "/" };

/// Spells a path of the simulated disk as an absolute path of this platform: `/home/u` becomes
/// `C:/home/u` on Windows, where a path without a drive is not absolute.
///
/// [`SimDisk`](crate::sim::SimDisk) finds an entry by both spellings, and returns its path in the
/// absolute one.
#[macro_export]
macro_rules! sim_path {
    ($path:literal) => {
        if cfg!(windows) { concat!("C:", $path) } else { $path }
    };
}

/// The number of symlinks that a path may lead through.
const LINK_LIMIT: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    File(Arc<[u8]>),
    Dir(BTreeMap<OsString, u64>),
    Link(PathBuf),
    Pipe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Inode {
    dev: u64,
    node: Node,
    mode: u32,
    owner: Owner,
    modified: u64,
    changed: u64,
}

/// One change that is written but not synced.
#[derive(Clone, Debug)]
enum Change {
    Name { dir: u64, name: OsString, to: Option<u64> },
    Content { ino: u64, bytes: Arc<[u8]> },
    Attributes { ino: u64, mode: u32, owner: Owner, modified: u64 },
}

#[derive(Clone, Debug)]
struct Pending {
    /// Changes with the same number are kept or lost together.
    unit: u64,
    /// The change is kept only if this unit is kept (or synced already).
    requires: Option<u64>,
    dev: u64,
    change: Change,
}

/// One operation that a caller made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpRecord {
    /// The number of the operation, from 0.
    pub number: usize,
    /// The kind of the operation.
    pub op: Op,
    /// The path of the operation.
    pub path: PathBuf,
    /// The second path, if the operation has one.
    pub other: Option<PathBuf>,
    /// True if the operation failed.
    pub failed: bool,
}

impl OpRecord {
    /// True if the operation changes or syncs something.
    pub fn is_change(&self) -> bool {
        !self.is_look() && !matches!(self.op, Op::Lock | Op::Pause)
    }

    /// True if the operation only reads.
    pub fn is_look(&self) -> bool {
        matches!(
            self.op,
            Op::Stat
                | Op::StatFollow
                | Op::ForEachEntry
                | Op::Read
                | Op::SameContent
                | Op::ReadLink
                | Op::Canonicalize
                | Op::OpenForWriting
        )
    }

    /// True if the operation syncs something.
    pub fn is_sync(&self) -> bool {
        matches!(self.op, Op::SyncFile | Op::SyncDir | Op::SyncFs)
    }
}

/// Makes operations fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The number of the first operation that fails.
    pub from: usize,
    /// True if all operations after the first fail too.
    pub persistent: bool,
    /// The kind of operation that fails; `None` for every kind.
    pub op: Option<Op>,
    /// The error. `ErrorKind::Other` stands for `EIO`.
    pub kind: ErrorKind,
    /// True if the operation is carried out, and then reported as failed.
    pub performed: bool,
}

impl Fault {
    /// Returns a fault that makes only operation `number` fail.
    pub fn once(number: usize, kind: ErrorKind) -> Self {
        Self { from: number, persistent: false, op: None, kind, performed: false }
    }

    /// Returns a fault that makes every operation of this kind fail.
    pub fn always(op: Op, kind: ErrorKind) -> Self {
        Self { from: 0, persistent: true, op: Some(op), kind, performed: false }
    }

    fn hits(&self, record: &OpRecord) -> bool {
        let number = if self.persistent { record.number >= self.from } else { record.number == self.from };
        number && self.op.is_none_or(|op| op == record.op)
    }
}

type Hook = Box<dyn FnMut(&OpRecord, &mut OtherProgram<'_>) + Send>;

#[derive(Clone)]
struct State {
    live: BTreeMap<u64, Inode>,
    durable: BTreeMap<u64, Inode>,
    pending: Vec<Pending>,
    next_ino: u64,
    next_dev: u64,
    next_unit: u64,
    clock: u64,
    user: Owner,
    ops: Vec<OpRecord>,
    faults: Vec<Fault>,
    weakening: Option<Weakening>,
    /// The disk that stale looks read.
    stale: Option<Box<State>>,
    crash_at: Option<usize>,
    crashed: bool,
    syncs_whole_fs: bool,
    /// True if names that differ in the case of ASCII letters alone are one name.
    ignores_case: bool,
    threads: usize,
    /// The files that another program has open for writing.
    writers: BTreeSet<u64>,
}

/// The simulated disk. Cloning copies everything except the hook, the locks and the recorded changes.
pub struct SimDisk {
    shared: Arc<Shared>,
}

/// The state that a disk shares with the directories that are locked on it.
struct Shared {
    state: Mutex<State>,
    hook: Mutex<Option<Hook>>,
    /// Each change with the disk before it, if the changes are recorded.
    recorded: Mutex<Option<Vec<(OpRecord, State)>>>,
    locks: Mutex<BTreeSet<u64>>,
}

/// The changes of a locked directory.
struct Changes {
    disk: SimDisk,
    /// The inode that dropping this value unlocks; `None` for the changes that need no lock.
    locked: Option<u64>,
}

impl Drop for Changes {
    fn drop(&mut self) {
        if let Some(ino) = self.locked {
            self.disk.locks().remove(&ino);
        }
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl Clone for SimDisk {
    fn clone(&self) -> Self {
        Self::with(State { stale: None, ..self.state().clone() })
    }
}

impl std::fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.tree()).finish()
    }
}

/// The kind and content of an entry, for assertions in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Entry {
    /// A file, with content and mode.
    File(Vec<u8>, u32),
    /// A directory, with its mode.
    Dir(u32),
    /// A symlink, with its target.
    Link(PathBuf),
    /// A pipe.
    Pipe,
}

impl State {
    /// Returns a copy of what is on the disk, without operations, faults and writers.
    fn content(&self) -> Self {
        Self {
            live: self.live.clone(),
            durable: self.durable.clone(),
            pending: self.pending.clone(),
            next_ino: self.next_ino,
            next_dev: self.next_dev,
            next_unit: self.next_unit,
            clock: self.clock,
            user: self.user,
            syncs_whole_fs: self.syncs_whole_fs,
            ignores_case: self.ignores_case,
            threads: self.threads,
            ..Self::new()
        }
    }

    fn new() -> Self {
        let user = Owner { uid: 1000, gid: 1000 };
        let root = Inode {
            dev: 1,
            node: Node::Dir(BTreeMap::new()),
            mode: 0o755,
            owner: user,
            modified: 0,
            changed: 0,
        };
        Self {
            live: BTreeMap::from([(ROOT, root.clone())]),
            durable: BTreeMap::from([(ROOT, root)]),
            pending: Vec::new(),
            next_ino: ROOT + 1,
            next_dev: 2,
            next_unit: 1,
            clock: 1,
            user,
            ops: Vec::new(),
            faults: Vec::new(),
            weakening: None,
            stale: None,
            crash_at: None,
            crashed: false,
            syncs_whole_fs: true,
            threads: 1,
            ignores_case: false,
            writers: BTreeSet::new(),
        }
    }

    fn inode(&self, ino: u64) -> io::Result<&Inode> {
        self.live.get(&ino).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn entries(&self, dir: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match &self.inode(dir)?.node {
            Node::Dir(entries) => Ok(entries),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// Returns the directory and the name of a path whose last part need not exist.
    fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        let dir = self.walk(path.parent().ok_or(ErrorKind::InvalidInput)?, true)?;
        let name = self.spelling(self.entries(dir)?, name);
        Ok((dir, name))
    }

    /// Returns the name of the entry that a name leads to, in the spelling of the directory.
    fn spelling(&self, entries: &BTreeMap<OsString, u64>, name: OsString) -> OsString {
        let mut names = entries.keys().filter(|_| self.ignores_case);
        names.find(|known| known.eq_ignore_ascii_case(&name)).cloned().unwrap_or(name)
    }

    /// Returns the inode that a path leads to.
    fn walk(&self, path: &Path, follow: bool) -> io::Result<u64> {
        match self.walk_names(path, follow)? {
            Some(ino) => Ok(ino),
            None => self.walk_to(path, follow).map(|(ino, _)| ino),
        }
    }

    /// Does the same without allocations, for a path without symlinks and `..`: almost every path
    /// of almost every run. Returns `None` for any other path.
    fn walk_names(&self, path: &Path, follow: bool) -> io::Result<Option<u64>> {
        let mut at = ROOT;
        let mut parts = path.components().peekable();
        while let Some(part) = parts.next() {
            let name = match part {
                Component::Normal(name) if !self.ignores_case => name,
                Component::Normal(_) | Component::ParentDir => return Ok(None),
                _ => continue,
            };
            at = *self.entries(at)?.get(name).ok_or(ErrorKind::NotFound)?;
            if matches!(self.inode(at)?.node, Node::Link(_)) && (follow || parts.peek().is_some()) {
                return Ok(None);
            }
        }
        Ok(Some(at))
    }

    /// Returns the inode that a path leads to, and its path without symlinks.
    fn walk_to(&self, path: &Path, follow: bool) -> io::Result<(u64, PathBuf)> {
        let mut todo: Vec<OsString> = path
            .components()
            .rev()
            .filter_map(|part| match part {
                Component::Normal(name) => Some(name.to_owned()),
                Component::ParentDir => Some("..".into()),
                _ => None,
            })
            .collect();
        let mut at = vec![(ROOT, OsString::new())];
        let mut links = 0;
        while let Some(name) = todo.pop() {
            let &(dir, _) = at.last().ok_or(ErrorKind::NotFound)?;
            if name == ".." {
                if at.len() > 1 {
                    at.pop();
                }
                continue;
            }
            let entries = self.entries(dir)?;
            let name = self.spelling(entries, name);
            let ino = *entries.get(&name).ok_or(ErrorKind::NotFound)?;
            match &self.inode(ino)?.node {
                Node::Link(target) if follow || !todo.is_empty() => {
                    links += 1;
                    if links > LINK_LIMIT {
                        return Err(io::Error::other("too many links"));
                    }
                    if target.has_root() {
                        at.truncate(1);
                    }
                    for part in target.components().rev() {
                        match part {
                            Component::Normal(name) => todo.push(name.to_owned()),
                            Component::ParentDir => todo.push("..".into()),
                            _ => {}
                        }
                    }
                }
                _ => at.push((ino, name)),
            }
        }
        let path = at.iter().skip(1).fold(PathBuf::from(ROOT_PATH), |path, (_, name)| path.join(name));
        let &(ino, _) = at.last().ok_or(ErrorKind::NotFound)?;
        Ok((ino, path))
    }

    fn unit(&mut self) -> u64 {
        self.next_unit += 1;
        self.next_unit
    }

    fn pend(&mut self, unit: u64, requires: Option<u64>, change: Change) {
        let of = match &change {
            Change::Name { dir, .. } => dir,
            Change::Content { ino, .. } | Change::Attributes { ino, .. } => ino,
        };
        let dev = self.live.get(of).map_or(0, |inode| inode.dev);
        self.pending.push(Pending { unit, requires, dev, change });
    }

    fn name(&mut self, (unit, requires): (u64, Option<u64>), dir: u64, name: &OsStr, to: Option<u64>) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(inode) = self.live.get_mut(&dir) {
            inode.modified = clock;
            inode.changed = clock;
            if let Node::Dir(entries) = &mut inode.node {
                match to {
                    Some(ino) => entries.insert(name.to_owned(), ino),
                    None => entries.remove(name),
                };
            }
        }
        self.pend(unit, requires, Change::Name { dir, name: name.to_owned(), to });
    }

    fn new_inode(&mut self, dev: u64, node: Node, mode: u32) -> u64 {
        self.clock += 1;
        let ino = self.next_ino;
        self.next_ino += 1;
        let inode = Inode { dev, node, mode, owner: self.user, modified: self.clock, changed: self.clock };
        let mut blank = inode.clone();
        if let Node::File(bytes) = &mut blank.node {
            *bytes = Arc::from([]);
        }
        self.live.insert(ino, inode);
        self.durable.insert(ino, blank);
        ino
    }

    fn add(&mut self, path: &Path, node: Node, mode: u32) -> io::Result<u64> {
        let (dir, name) = self.place(path)?;
        if self.entries(dir)?.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let dev = self.inode(dir)?.dev;
        let content = if let Node::File(bytes) = &node { Some(bytes.clone()) } else { None };
        let ino = self.new_inode(dev, node, mode);
        if let Some(bytes) = content.filter(|bytes| !bytes.is_empty()) {
            let unit = self.unit();
            self.pend(unit, None, Change::Content { ino, bytes });
        }
        let unit = self.unit();
        self.name((unit, None), dir, &name, Some(ino));
        Ok(ino)
    }

    fn attributes(&mut self, ino: u64, change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        self.clock += 1;
        let clock = self.clock;
        let inode = self.live.get_mut(&ino).ok_or(ErrorKind::NotFound)?;
        inode.changed = clock;
        change(inode);
        let (mode, owner, modified) = (inode.mode, inode.owner, inode.modified);
        let unit = self.unit();
        self.pend(unit, None, Change::Attributes { ino, mode, owner, modified });
        Ok(())
    }

    fn is_above(&self, above: u64, ino: u64) -> bool {
        above == ino
            || match self.live.get(&above).map(|inode| &inode.node) {
                Some(Node::Dir(entries)) => entries.values().any(|&below| self.is_above(below, ino)),
                _ => false,
            }
    }

    fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (from_dir, from_name) = self.place(from)?;
        let (to_dir, to_name) = self.place(to)?;
        let ino = *self.entries(from_dir)?.get(&from_name).ok_or(ErrorKind::NotFound)?;
        let is_dir = matches!(self.inode(ino)?.node, Node::Dir(_));
        let (from_dev, to_dev) = (self.inode(from_dir)?.dev, self.inode(to_dir)?.dev);
        if from_dev != to_dev {
            return Err(ErrorKind::CrossesDevices.into());
        }
        if self.inode(ino)?.dev != from_dev {
            return Err(ErrorKind::ResourceBusy.into());
        }
        if is_dir && self.is_above(ino, to_dir) {
            return Err(ErrorKind::InvalidInput.into());
        }
        if let Some(&there) = self.entries(to_dir)?.get(&to_name) {
            if !replace {
                return Err(ErrorKind::AlreadyExists.into());
            }
            if there == ino {
                // For two names of one file, the system reports success and leaves both.
                return Ok(());
            }
            match (&self.inode(there)?.node, is_dir) {
                (Node::Dir(entries), true) if entries.is_empty() => {}
                (Node::Dir(_), true) => return Err(ErrorKind::DirectoryNotEmpty.into()),
                (Node::Dir(_), false) => return Err(ErrorKind::IsADirectory.into()),
                (_, true) => return Err(ErrorKind::NotADirectory.into()),
                (_, false) => {}
            }
        }
        let unit = self.unit();
        self.name((unit, None), to_dir, &to_name, Some(ino));
        // A directory has one name; a file may have both names after a crash, but never neither.
        let (second, requires) = if is_dir { (unit, None) } else { (self.unit(), Some(unit)) };
        self.name((second, requires), from_dir, &from_name, None);
        self.touch(ino);
        Ok(())
    }

    fn touch(&mut self, ino: u64) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(inode) = self.live.get_mut(&ino) {
            inode.changed = clock;
        }
    }

    fn remove(&mut self, path: &Path, folder: bool) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let ino = *self.entries(dir)?.get(&name).ok_or(ErrorKind::NotFound)?;
        match (&self.inode(ino)?.node, folder) {
            (Node::Dir(entries), true) if entries.is_empty() => {}
            (Node::Dir(_), true) => return Err(ErrorKind::DirectoryNotEmpty.into()),
            (Node::Dir(_), false) => return Err(ErrorKind::IsADirectory.into()),
            (_, true) => return Err(ErrorKind::NotADirectory.into()),
            (_, false) => {}
        }
        let unit = self.unit();
        self.name((unit, None), dir, &name, None);
        Ok(())
    }

    fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ino = self.walk(from, false)?;
        let (dir, name) = self.place(to)?;
        if self.entries(dir)?.contains_key(&name) && !self.replaces() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if self.inode(ino)?.dev != self.inode(dir)?.dev {
            return Err(ErrorKind::CrossesDevices.into());
        }
        if matches!(self.inode(ino)?.node, Node::Dir(_)) {
            return Err(ErrorKind::PermissionDenied.into());
        }
        let unit = self.unit();
        self.name((unit, None), dir, &name, Some(ino));
        self.touch(ino);
        Ok(())
    }

    fn links(&self, ino: u64) -> u64 {
        let names = |inode: &Inode| match &inode.node {
            Node::Dir(entries) => entries.values().filter(|&&to| to == ino).count() as u64,
            _ => 0,
        };
        self.live.values().map(names).sum()
    }

    fn meta(&self, ino: u64) -> io::Result<Metadata> {
        let inode = self.inode(ino)?;
        let (kind, len) = match &inode.node {
            Node::File(bytes) => (FileKind::File, bytes.len() as u64),
            Node::Dir(_) => (FileKind::Dir, 0),
            Node::Link(target) => (FileKind::Symlink, target.as_os_str().len() as u64),
            Node::Pipe => (FileKind::Other, 0),
        };
        let stamp = |at: u64| Timestamp { seconds: i64::try_from(at).unwrap_or(0), nanoseconds: 0 };
        Ok(Metadata {
            kind,
            len,
            mode: inode.mode,
            id: Some(FileId { dev: inode.dev, ino }),
            links: self.links(ino),
            owner: Some(inode.owner),
            modified: stamp(inode.modified),
            changed: stamp(inode.changed),
        })
    }

    fn file(&self, path: &Path, follow: bool) -> io::Result<Arc<[u8]>> {
        match &self.inode(self.walk(path, follow)?)?.node {
            Node::File(bytes) => Ok(bytes.clone()),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    fn apply(durable: &mut BTreeMap<u64, Inode>, change: &Change, torn: bool) {
        match change {
            Change::Name { dir, name, to } => {
                if let Some(Inode { node: Node::Dir(entries), .. }) = durable.get_mut(dir) {
                    match to {
                        Some(ino) => entries.insert(name.clone(), *ino),
                        None => entries.remove(name),
                    };
                }
            }
            Change::Content { ino, bytes } => {
                if let Some(Inode { node: Node::File(kept), .. }) = durable.get_mut(ino) {
                    *kept = if torn { bytes[..bytes.len() / 2].into() } else { bytes.clone() };
                }
            }
            Change::Attributes { ino, mode, owner, modified } => {
                if let Some(inode) = durable.get_mut(ino) {
                    inode.mode = *mode;
                    inode.owner = *owner;
                    inode.modified = *modified;
                }
            }
        }
    }

    /// Makes durable the changes that `which` picks, and the changes that they require.
    fn flush(&mut self, which: impl Fn(&Pending) -> bool) {
        let mut units: BTreeSet<u64> =
            self.pending.iter().filter(|pending| which(pending)).map(|pending| pending.unit).collect();
        loop {
            let needed: Vec<u64> = self
                .pending
                .iter()
                .filter(|pending| units.contains(&pending.unit))
                .filter_map(|pending| pending.requires)
                .filter(|unit| !units.contains(unit))
                .collect();
            if needed.is_empty() {
                break;
            }
            units.extend(needed);
            // A unit that is durable already is in no pending change; it stays in the set and does
            // no harm.
        }
        let (flushed, rest) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition::<Vec<_>, _>(|pending| units.contains(&pending.unit));
        self.pending = rest;
        for pending in &flushed {
            Self::apply(&mut self.durable, &pending.change, false);
        }
    }
}

/// The changes that another program makes to the disk right before an operation. See
/// [`SimDisk::set_hook`].
pub struct OtherProgram<'a>(&'a mut State);

impl OtherProgram<'_> {
    /// Writes a new file under that name and replaces any other. Returns true on success.
    pub fn put(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> bool {
        let path = path.as_ref();
        let _ = self.0.remove(path, false);
        self.0.add(path, Node::File(bytes.into()), 0o644).is_ok()
    }

    /// Opens a file for writing, and keeps the file open under whatever name it gets. Returns the
    /// open file.
    pub fn open(&mut self, path: impl AsRef<Path>) -> Option<u64> {
        let file = self.0.walk(path.as_ref(), false).ok()?;
        self.0.writers.insert(file);
        Some(file)
    }

    /// Closes a file that was opened.
    pub fn close(&mut self, file: u64) {
        self.0.writers.remove(&file);
    }

    /// Writes into a file in place, as a program does that holds the file open. Returns true on
    /// success.
    pub fn overwrite(&mut self, path: impl AsRef<Path>, bytes: &[u8]) -> bool {
        let Ok(ino) = self.0.walk(path.as_ref(), true) else { return false };
        let content: Arc<[u8]> = bytes.into();
        let written = self.0.attributes(ino, |inode| {
            inode.modified = inode.changed;
            inode.node = Node::File(content.clone());
        });
        let unit = self.0.unit();
        self.0.pend(unit, None, Change::Content { ino, bytes: content });
        written.is_ok()
    }

    /// Opens a file for writing and truncates it. Returns the open file, which stays the same when
    /// its name changes.
    pub fn truncate(&mut self, path: impl AsRef<Path>) -> Option<u64> {
        let ino = self.0.walk(path.as_ref(), false).ok()?;
        self.write(ino, b"").then_some(ino)
    }

    /// Overwrites an open file, even a file that has no name any more. Returns true on success.
    pub fn write(&mut self, file: u64, bytes: &[u8]) -> bool {
        self.0.clock += 1;
        let clock = self.0.clock;
        let Some(inode) = self.0.live.get_mut(&file) else { return false };
        let Node::File(content) = &mut inode.node else { return false };
        *content = bytes.into();
        inode.modified = clock;
        inode.changed = clock;
        let unit = self.0.unit();
        self.0.pend(unit, None, Change::Content { ino: file, bytes: bytes.into() });
        true
    }

    /// Makes everything durable that is written by now.
    pub fn flush(&mut self) {
        self.0.flush(|_| true);
    }

    /// Sets the owner of a file or directory. Returns true on success.
    pub fn give(&mut self, path: impl AsRef<Path>, owner: Owner) -> bool {
        let found = self.0.walk(path.as_ref(), false);
        found.is_ok_and(|ino| self.0.attributes(ino, |inode| inode.owner = owner).is_ok())
    }

    /// Makes a directory. Returns true on success.
    pub fn make_dir(&mut self, path: impl AsRef<Path>) -> bool {
        self.0.add(path.as_ref(), Node::Dir(BTreeMap::new()), 0o755).is_ok()
    }

    /// Removes a file. Returns true on success.
    pub fn remove(&mut self, path: impl AsRef<Path>) -> bool {
        self.0.remove(path.as_ref(), false).is_ok()
    }
}

/// A small random generator (splitmix64) that yields the same states for the same seed, on every
/// machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit.max(1)
    }
}

impl SimDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::with(State::new())
    }

    fn with(state: State) -> Self {
        let shared = Shared {
            state: Mutex::new(state),
            hook: Mutex::new(None),
            recorded: Mutex::new(None),
            locks: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Returns another handle to the same disk.
    fn share(&self) -> Self {
        Self { shared: self.shared.clone() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn locks(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.shared.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- setup and inspection: not counted as operations, never failing by a fault

    /// Puts a file there, with the directories above it; replaces any file with that name.
    ///
    /// # Panics
    ///
    /// Panics if a part of the path is a file.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        self.put_mode(path, bytes, 0o600);
    }

    /// [`put`](Self::put) with a mode.
    ///
    /// # Panics
    ///
    /// Panics if a part of the path is a file.
    pub fn put_mode(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) {
        let path = path.as_ref();
        if let Some(parent) = path.parent() {
            self.put_dir(parent, 0o755);
        }
        let mut state = self.state();
        let _ = state.remove(path, false);
        let made = state.add(path, Node::File(bytes.into()), mode);
        assert!(made.is_ok(), "{} can be made", path.display());
    }

    /// Puts a directory there, with the missing directories above it.
    ///
    /// # Panics
    ///
    /// Panics if a part of the path is a file.
    pub fn put_dir(&self, path: impl AsRef<Path>, mode: u32) {
        let mut state = self.state();
        let mut at = PathBuf::from(ROOT_PATH);
        for part in path.as_ref().components() {
            let Component::Normal(name) = part else { continue };
            at.push(name);
            if state.walk(&at, true).is_err() {
                let made = state.add(&at, Node::Dir(BTreeMap::new()), mode);
                assert!(made.is_ok(), "{} can be made", at.display());
            }
        }
    }

    /// Gives a file a second name.
    ///
    /// # Panics
    ///
    /// Panics if the file does not exist, or the name does.
    pub fn put_hard_link(&self, file: impl AsRef<Path>, name: impl AsRef<Path>) {
        let name = name.as_ref();
        let linked = self.state().hard_link(file.as_ref(), name);
        assert!(linked.is_ok(), "{} can be made", name.display());
    }

    /// Removes a file or symlink, or an empty directory.
    ///
    /// # Panics
    ///
    /// Panics if nothing has that name, or the directory is not empty.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let mut state = self.state();
        let removed = state.remove(path, false).or_else(|_| state.remove(path, true));
        assert!(removed.is_ok(), "{} can be removed", path.display());
    }

    /// Sets the mode of a file or directory.
    ///
    /// # Panics
    ///
    /// Panics if nothing has that name.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) {
        self.set_attributes(path.as_ref(), |inode| inode.mode = mode);
    }

    /// Sets the owner of a file, directory or symlink, whoever the user is.
    ///
    /// # Panics
    ///
    /// Panics if nothing has that name.
    pub fn chown(&self, path: impl AsRef<Path>, owner: Owner) {
        self.set_attributes(path.as_ref(), |inode| inode.owner = owner);
    }

    fn set_attributes(&self, path: &Path, change: impl FnOnce(&mut Inode)) {
        let mut state = self.state();
        let set = state.walk(path, false).and_then(|ino| state.attributes(ino, change));
        assert!(set.is_ok(), "{} exists", path.display());
    }

    /// Puts a symlink there.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken.
    pub fn put_link(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        let path = path.as_ref();
        if let Some(parent) = path.parent() {
            self.put_dir(parent, 0o755);
        }
        let made = self.state().add(path, Node::Link(target.as_ref().to_owned()), 0o777);
        assert!(made.is_ok(), "{} can be made", path.display());
    }

    /// Puts a pipe there.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken.
    pub fn put_pipe(&self, path: impl AsRef<Path>) {
        let made = self.state().add(path.as_ref(), Node::Pipe, 0o600);
        assert!(made.is_ok(), "the pipe can be made");
    }

    /// Mounts a second file system at a new directory.
    ///
    /// # Panics
    ///
    /// Panics if the name is taken.
    pub fn mount(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        if let Some(parent) = path.parent() {
            self.put_dir(parent, 0o755);
        }
        let mut state = self.state();
        let dev = state.next_dev;
        state.next_dev += 1;
        let made = state.add(path, Node::Dir(BTreeMap::new()), 0o700);
        if let Some(inode) = made.as_ref().ok().and_then(|ino| state.live.get_mut(ino)) {
            inode.dev = dev;
        }
        if let Some(inode) = made.as_ref().ok().and_then(|ino| state.durable.get_mut(ino)) {
            inode.dev = dev;
        }
        assert!(made.is_ok(), "{} can be made", path.display());
    }

    /// Makes everything durable.
    pub fn flush_all(&self) {
        self.state().flush(|_| true);
    }

    /// Returns the content of a file (symlinks are not followed).
    pub fn content(&self, path: impl AsRef<Path>) -> Option<Vec<u8>> {
        self.state().file(path.as_ref(), false).ok().map(|bytes| bytes.to_vec())
    }

    /// Returns every entry of the disk.
    pub fn tree(&self) -> BTreeMap<PathBuf, Entry> {
        fn visit(state: &State, ino: u64, path: &Path, tree: &mut BTreeMap<PathBuf, Entry>) {
            let Some(inode) = state.live.get(&ino) else { return };
            let entry = match &inode.node {
                Node::File(bytes) => Entry::File(bytes.to_vec(), inode.mode),
                Node::Link(target) => Entry::Link(target.clone()),
                Node::Pipe => Entry::Pipe,
                Node::Dir(entries) => {
                    for (name, &below) in entries {
                        visit(state, below, &path.join(name), tree);
                    }
                    Entry::Dir(inode.mode)
                }
            };
            tree.insert(path.to_owned(), entry);
        }
        let mut tree = BTreeMap::new();
        visit(&self.state(), ROOT, Path::new(ROOT_PATH), &mut tree);
        tree
    }

    /// Returns a number that is the same for two disks with the same names, content, modes and
    /// owners, and the same names for each file. Times do not count. A test uses the number to try
    /// no state twice.
    pub fn fingerprint(&self) -> u64 {
        fn visit(state: &State, ino: u64, seen: &mut BTreeMap<u64, usize>, hasher: &mut impl Hasher) {
            let number = seen.len();
            if let Some(known) = seen.get(&ino) {
                return known.hash(hasher);
            }
            seen.insert(ino, number);
            let Some(inode) = state.live.get(&ino) else { return };
            (number, inode.dev, inode.mode, inode.owner).hash(hasher);
            match &inode.node {
                Node::File(bytes) => bytes.hash(hasher),
                Node::Link(target) => (1, target).hash(hasher),
                Node::Pipe => 2.hash(hasher),
                Node::Dir(entries) => {
                    entries.len().hash(hasher);
                    for (name, &below) in entries {
                        name.hash(hasher);
                        visit(state, below, seen, hasher);
                    }
                }
            }
        }
        let mut hasher = DefaultHasher::new();
        visit(&self.state(), ROOT, &mut BTreeMap::new(), &mut hasher);
        hasher.finish()
    }

    /// Returns the operations so far.
    pub fn ops(&self) -> Vec<OpRecord> {
        self.state().ops.clone()
    }

    /// Returns one operation.
    pub fn op_number(&self, number: usize) -> Option<OpRecord> {
        self.state().ops.get(number).cloned()
    }

    /// Returns the number of operations so far.
    pub fn op_count(&self) -> usize {
        self.state().ops.len()
    }

    /// Forgets the operations so far: counting begins anew.
    pub fn reset_ops(&self) {
        self.state().ops.clear();
    }

    // ---- faults

    /// Adds a fault.
    pub fn fail(&self, fault: Fault) {
        self.state().faults.push(fault);
    }

    /// Removes a guarantee from one operation.
    pub fn weaken(&self, weakening: Weakening) {
        self.state().weakening = Some(weakening);
    }

    /// Removes all faults and the planned crash, and restores every guarantee.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.weakening = None;
        state.stale = None;
        state.crash_at = None;
    }

    /// Makes operation `number` and all operations after it fail without effect, as after a power
    /// cut or a kill.
    pub fn crash_at(&self, number: usize) {
        self.state().crash_at = Some(number);
    }

    /// True if the crash has happened.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Makes the platform unable to sync a whole file system in one call.
    pub fn without_sync_fs(&self) {
        self.state().syncs_whole_fs = false;
    }

    /// Sets the result of [`Disk::threads`]. It is 1 until then, so that the operations come in the
    /// same order each time.
    pub fn set_threads(&self, threads: usize) {
        self.state().threads = threads;
    }

    /// Makes names that differ in the case of ASCII letters alone one name, as on macOS and Windows.
    pub fn ignore_case(&self) {
        self.state().ignores_case = true;
    }

    /// Sets the user who runs the program, to whom new files belong.
    pub fn set_user(&self, user: Owner) {
        self.state().user = user;
    }

    /// Calls `hook` before each operation. The hook can change the disk as another program would.
    pub fn set_hook(&self, hook: impl FnMut(&OpRecord, &mut OtherProgram<'_>) + Send + 'static) {
        *self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(hook));
    }

    /// Returns the disk as a killed process leaves it, with everything that was written.
    pub fn after_kill(&self) -> Self {
        Self::with(self.state().content())
    }

    /// Records from now on, for each change, the disk before it. One run then shows every crash:
    /// [`recorded`](Self::recorded) returns the disks.
    pub fn record(&self) {
        *self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    /// Returns the recorded changes, each with the disk that a crash right before it leaves, and
    /// ends the recording.
    pub fn recorded(&self) -> Vec<(OpRecord, Self)> {
        let recorded = self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).take();
        recorded.into_iter().flatten().map(|(op, state)| (op, Self::with(state))).collect()
    }

    /// Returns the disks that a power cut may leave, with each unsynced change kept or lost: all
    /// combinations if there are no more than `limit`, else `limit` combinations chosen by `seed`,
    /// the extremes among them.
    pub fn crash_states(&self, limit: usize, seed: u64) -> Vec<Self> {
        let state = self.state().content();
        // Each unit may be lost or kept; content may also be torn.
        let mut units: Vec<(u64, u64)> = Vec::new();
        for pending in &state.pending {
            let choices = if matches!(pending.change, Change::Content { .. }) { 3 } else { 2 };
            match units.iter_mut().find(|(unit, _)| *unit == pending.unit) {
                Some((_, most)) => *most = choices.max(*most),
                None => units.push((pending.unit, choices)),
            }
        }
        let total = units.iter().try_fold(1_u64, |total, (_, choices)| total.checked_mul(*choices));
        let mut picks: BTreeSet<Vec<u64>> = BTreeSet::new();
        if let Some(total) = total.filter(|&total| total <= limit as u64) {
            for mut number in 0..total {
                picks.insert(
                    units
                        .iter()
                        .map(|(_, choices)| {
                            let choice = number % choices;
                            number /= choices;
                            choice
                        })
                        .collect(),
                );
            }
        } else {
            let none = vec![0; units.len()];
            let all: Vec<u64> = units.iter().map(|(_, choices)| choices - 1).collect();
            picks.insert(none.clone());
            picks.insert(all.clone());
            let mut random = Random(seed);
            // Adds each change alone, and all changes but one, as far as they fit.
            for (index, (_, choices)) in units.iter().enumerate().take(limit / 4) {
                let (mut alone, mut without) = (none.clone(), all.clone());
                alone[index] = choices - 1;
                without[index] = 0;
                picks.insert(alone);
                picks.insert(without);
            }
            for _ in 0..limit * 4 {
                if picks.len() >= limit {
                    break;
                }
                picks.insert(units.iter().map(|(_, choices)| random.below(*choices)).collect());
            }
        }
        picks.into_iter().map(|pick| state.after_power_cut(&units, &pick)).map(Self::with).collect()
    }

    /// Runs one counted operation: a crash, or the hook and then a fault or the action.
    fn op<T>(
        &self,
        op: Op,
        path: &Path,
        other: Option<&Path>,
        action: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> Result<T> {
        let mut state = self.state();
        let number = state.ops.len();
        let record =
            OpRecord { number, op, path: path.to_owned(), other: other.map(Path::to_owned), failed: false };
        let failed = |source: io::Error| match other {
            Some(other) => DiskError::two(op, path, other, source),
            None => DiskError::new(op, path, source),
        };
        let (is_change, is_look) = (record.is_change(), record.is_look());
        let fault = state.faults.iter().find(|fault| fault.hits(&record)).cloned();
        if state.crashed || state.crash_at.is_some_and(|at| number >= at) {
            state.crashed = true;
            state.ops.push(OpRecord { failed: true, ..record });
            return Err(failed(io::Error::other("the power is off")));
        }
        if is_change
            && let Some(recorded) = &mut *self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner)
        {
            recorded.push((record.clone(), state.content()));
        }
        state.ops.push(record);
        state.become_stale();
        if let Some(hook) = self.shared.hook.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            let record = state.ops[number].clone();
            hook(&record, &mut OtherProgram(&mut state));
        }
        let stale = if is_look { state.stale.take() } else { None };
        let outcome = match (fault, stale) {
            (Some(fault), _) => {
                let performed = if fault.performed { action(&mut state).err() } else { None };
                Err(performed.unwrap_or_else(|| io::Error::new(fault.kind, "injected")))
            }
            (None, Some(mut stale)) => {
                let outcome = action(&mut stale);
                state.stale = Some(stale);
                outcome
            }
            (None, None) => action(&mut state),
        };
        state.ops[number].failed = outcome.is_err();
        outcome.map_err(failed)
    }
}

impl State {
    fn after_power_cut(&self, units: &[(u64, u64)], pick: &[u64]) -> Self {
        let choice: BTreeMap<u64, (u64, u64)> =
            units.iter().zip(pick).map(|((unit, choices), pick)| (*unit, (*pick, *choices))).collect();
        let kept = |unit: u64| choice.get(&unit).is_none_or(|(pick, _)| *pick > 0);
        let mut after = self.content();
        for pending in &self.pending {
            if kept(pending.unit) && pending.requires.is_none_or(kept) {
                let torn = choice.get(&pending.unit).is_some_and(|(pick, choices)| pick + 1 < *choices);
                Self::apply(&mut after.durable, &pending.change, torn);
            }
        }
        after.pending.clear();
        // Removes the inodes that no name leads to.
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(ino) = todo.pop() {
            if let Some(Inode { node: Node::Dir(entries), .. }) = after.durable.get(&ino) {
                todo.extend(entries.values().copied().filter(|&below| reached.insert(below)));
            }
        }
        after.durable.retain(|ino, _| reached.contains(ino));
        after.live = after.durable.clone();
        after
    }
}

impl Disk for SimDisk {
    fn stat(&self, path: &Path) -> Result<Metadata> {
        self.op(Op::Stat, path, None, |state| state.meta(state.walk(path, false)?))
    }

    fn stat_follow(&self, path: &Path) -> Result<Metadata> {
        self.op(Op::StatFollow, path, None, |state| state.meta(state.walk(path, true)?))
    }

    fn for_each_entry(&self, dir: &Path, each: &mut dyn FnMut(DirEntry) -> ControlFlow<()>) -> Result<()> {
        let entries = self.op(Op::ForEachEntry, dir, None, |state| {
            let mut all = Vec::new();
            for (name, &ino) in state.entries(state.walk(dir, false)?)? {
                all.push(DirEntry { name: name.clone(), kind: state.meta(ino)?.kind });
            }
            Ok(all)
        })?;
        // Reverses the order, so that no caller depends on an order.
        for entry in entries.into_iter().rev() {
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, file: &Path, limit: u64) -> Result<Vec<u8>> {
        self.op(Op::Read, file, None, |state| {
            let bytes = state.file(file, true)?;
            if bytes.len() as u64 > limit { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes.to_vec()) }
        })
    }

    fn same_content(&self, a: &Path, b: &Path) -> Result<bool> {
        self.op(Op::SameContent, a, Some(b), |state| Ok(state.file(a, false)? == state.file(b, false)?))
    }

    fn open_for_writing(&self, files: &[&Path]) -> Vec<OpenForWriting> {
        let Some(first) = files.first() else { return Vec::new() };
        let answers = self.op(Op::OpenForWriting, first, None, |state| {
            let answer = |path: &&Path| match state.walk(path, false) {
                Ok(file) if state.writers.contains(&file) => OpenForWriting::Yes,
                Ok(_) => OpenForWriting::No,
                Err(_) => OpenForWriting::Unknown,
            };
            Ok(files.iter().map(answer).collect())
        });
        answers.unwrap_or_else(|_| vec![OpenForWriting::Unknown; files.len()])
    }

    fn read_link(&self, link: &Path) -> Result<PathBuf> {
        self.op(Op::ReadLink, link, None, |state| match &state.inode(state.walk(link, false)?)?.node {
            Node::Link(target) => Ok(target.clone()),
            _ => Err(ErrorKind::InvalidInput.into()),
        })
    }

    fn runner(&self) -> Option<Runner> {
        Some(Runner::new(self.state().user.uid))
    }

    /// True: this disk checks no permissions.
    fn may_write(&self, _: &Path) -> bool {
        true
    }

    fn canonicalize(&self, path: &Path) -> Result<PathBuf> {
        self.op(Op::Canonicalize, path, None, |state| state.walk_to(path, true).map(|(_, path)| path))
    }

    fn pause(&self, _: Duration) {
        // Counted as an operation, so that a hook can play the other program meanwhile.
        let _ = self.op(Op::Pause, Path::new(ROOT_PATH), None, |_| Ok(()));
    }

    fn threads(&self) -> usize {
        self.state().threads
    }

    fn make_home_dir(&self, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
        let changes = Changes { disk: self.share(), locked: None };
        make_private_dir(&LockedDir::new(root, root, self.share(), changes), root, dir, owner)
    }

    fn lock(&self, dir: &Path, wait: Duration) -> Result<LockedDir, LockError> {
        let found = self.op(Op::Lock, dir, None, |state| state.walk_to(dir, true));
        let (ino, real) = found.map_err(|error| LockError::Failed {
            home: dir.to_owned(),
            source: io::Error::new(error.kind(), error),
        })?;
        let start = Instant::now();
        loop {
            if self.locks().insert(ino) {
                let changes = Changes { disk: self.share(), locked: Some(ino) };
                return Ok(LockedDir::new(dir, &real, self.share(), changes));
            }
            if start.elapsed() >= wait {
                return Err(LockError::Held { home: dir.to_owned(), waited: start.elapsed() });
            }
            std::thread::yield_now();
        }
    }
}

impl LockedDisk for Changes {
    fn make_dir(&self, dir: &Path, mode: u32) -> Result<()> {
        self.disk
            .op(Op::MakeDir, dir, None, |state| state.add(dir, Node::Dir(BTreeMap::new()), mode).map(|_| ()))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.disk.op(Op::SetMode, path, None, |state| {
            let ino = state.walk(path, false)?;
            if matches!(state.inode(ino)?.node, Node::Link(_)) {
                return Err(ErrorKind::InvalidInput.into());
            }
            state.attributes(ino, |inode| inode.mode = mode)
        })
    }

    fn set_owner(&self, path: &Path, owner: Owner) -> Result<()> {
        self.disk.op(Op::SetOwner, path, None, |state| {
            if state.user.uid != 0 {
                return Err(ErrorKind::PermissionDenied.into());
            }
            let ino = state.walk(path, false)?;
            state.attributes(ino, |inode| inode.owner = owner)
        })
    }

    fn create(&self, file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        self.disk
            .op(Op::Create, file, None, |state| state.add(file, Node::File(bytes.into()), mode).map(|_| ()))
    }

    fn copy_new(&self, from: &Path, to: &Path, mode: Option<u32>) -> Result<()> {
        self.disk.op(Op::CopyNew, to, Some(from), |state| {
            let bytes = state.file(from, false)?;
            let original = state.inode(state.walk(from, false)?)?.clone();
            let ino = state.add(to, Node::File(bytes), 0o600)?;
            let root = state.user.uid == 0;
            state.attributes(ino, |inode| {
                inode.mode = mode.unwrap_or(original.mode);
                inode.modified = original.modified;
                if root {
                    inode.owner = original.owner;
                }
            })
        })
    }

    fn rename_noreplace(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::RenameNoReplace, from, Some(to), |state| {
            let replace = state.replaces();
            state.rename(from, to, replace)
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::Rename, from, Some(to), |state| state.rename(from, to, true))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<()> {
        self.disk.op(Op::Exchange, a, Some(b), |state| {
            let ((dir_a, name_a), (dir_b, name_b)) = (state.place(a)?, state.place(b)?);
            let ino_a = *state.entries(dir_a)?.get(&name_a).ok_or(ErrorKind::NotFound)?;
            let ino_b = *state.entries(dir_b)?.get(&name_b).ok_or(ErrorKind::NotFound)?;
            if state.inode(dir_a)?.dev != state.inode(dir_b)?.dev {
                return Err(ErrorKind::CrossesDevices.into());
            }
            let unit = state.unit();
            state.name((unit, None), dir_a, &name_a, Some(ino_b));
            state.name((unit, None), dir_b, &name_b, Some(ino_a));
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> Result<()> {
        self.disk.op(Op::HardLink, from, Some(to), |state| state.hard_link(from, to))
    }

    fn symlink(&self, target: &Path, at: &Path) -> Result<()> {
        self.disk.op(Op::Symlink, at, Some(target), |state| {
            state.add(at, Node::Link(target.to_owned()), 0o777).map(|_| ())
        })
    }

    fn unlink(&self, path: &Path) -> Result<()> {
        self.disk.op(Op::Unlink, path, None, |state| state.remove(path, false))
    }

    fn remove_dir(&self, dir: &Path) -> Result<()> {
        self.disk.op(Op::RemoveDir, dir, None, |state| state.remove(dir, true))
    }

    fn sync_file(&self, file: &Path) -> Result<()> {
        self.disk.op(Op::SyncFile, file, None, |state| {
            let ino = state.walk(file, false)?;
            if state.skips_sync() {
                return Ok(());
            }
            state.flush(|pending| match pending.change {
                Change::Content { ino: of, .. } | Change::Attributes { ino: of, .. } => of == ino,
                Change::Name { .. } => false,
            });
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        self.disk.op(Op::SyncDir, dir, None, |state| {
            let ino = state.walk(dir, true)?;
            state.entries(ino)?;
            if state.skips_sync() {
                return Ok(());
            }
            state.flush(|pending| match pending.change {
                Change::Name { dir, .. } => dir == ino,
                Change::Attributes { ino: of, .. } => of == ino,
                Change::Content { .. } => false,
            });
            Ok(())
        })
    }

    fn sync_fs(&self, path: &Path) -> Result<SyncFs> {
        self.disk.op(Op::SyncFs, path, None, |state| {
            let dev = state.inode(state.walk(path, true)?)?.dev;
            if !state.syncs_whole_fs {
                return Ok(SyncFs::Nothing);
            }
            if !state.skips_sync() {
                state.flush(|pending| pending.dev == dev);
            }
            Ok(SyncFs::Everything)
        })
    }

    fn copy_permissions(&self, from: &Path, to: &Path) -> Result<Permissions> {
        self.set_mode(to, self.disk.stat(from)?.mode & 0o777).map(|()| Permissions::Kept)
    }
}
