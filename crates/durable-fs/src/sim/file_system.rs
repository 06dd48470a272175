//! The file system of the simulated disk: what is on it, what of it is synced, and what a power cut
//! leaves.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::{OsStr, OsString},
    io::{self, ErrorKind},
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use super::fault::{Fault, OpRecord, Weakening};
use crate::{FileId, FileKind, Metadata, Owner, Timestamp};

pub(super) const ROOT: u64 = 1;

pub(super) const ROOT_PATH: &str = if cfg!(windows) { r"C:\" } else { "/" };

const LINK_LIMIT: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    File(Arc<[u8]>),
    Dir(BTreeMap<OsString, u64>),
    Link(PathBuf),
    Pipe,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) dev: u64,
    pub(super) node: Node,
    pub(super) mode: u32,
    pub(super) owner: Owner,
    pub(super) modified: u64,
    pub(super) changed: u64,
}

/// One change that is written but not synced.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Name { dir: u64, name: OsString, to: Option<u64> },
    Content { ino: u64, bytes: Arc<[u8]> },
    Attributes { ino: u64, mode: u32, owner: Owner, modified: u64 },
}

#[derive(Clone, Debug)]
pub(super) struct Pending {
    /// Changes with the same number are kept or lost together.
    pub(super) unit: u64,
    /// The change is kept only if this unit is kept (or synced already).
    pub(super) requires: Option<u64>,
    pub(super) dev: u64,
    pub(super) change: Change,
}

#[derive(Clone)]
pub(super) struct State {
    pub(super) live: BTreeMap<u64, Inode>,
    pub(super) durable: BTreeMap<u64, Inode>,
    pub(super) pending: Vec<Pending>,
    pub(super) next_ino: u64,
    pub(super) next_dev: u64,
    pub(super) next_unit: u64,
    pub(super) clock: u64,
    pub(super) user: Owner,
    pub(super) ops: Vec<OpRecord>,
    pub(super) faults: Vec<Fault>,
    pub(super) weakening: Option<Weakening>,
    /// The disk that stale looks read.
    pub(super) stale: Option<Box<State>>,
    pub(super) crash_at: Option<usize>,
    pub(super) crashed: bool,
    pub(super) syncs_whole_fs: bool,
    /// True if names that differ in the case of ASCII letters alone are one name.
    pub(super) ignores_case: bool,
    pub(super) threads: usize,
    pub(super) writers: BTreeSet<u64>,
}

impl State {
    /// Returns a copy of what is on the disk, without operations, faults and writers.
    pub(super) fn content(&self) -> Self {
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

    pub(super) fn new() -> Self {
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

    pub(super) fn inode(&self, ino: u64) -> io::Result<&Inode> {
        self.live.get(&ino).ok_or_else(|| ErrorKind::NotFound.into())
    }

    pub(super) fn entries(&self, dir: u64) -> io::Result<&BTreeMap<OsString, u64>> {
        match &self.inode(dir)?.node {
            Node::Dir(entries) => Ok(entries),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// Returns the directory and the name of a path whose last part need not exist.
    pub(super) fn place(&self, path: &Path) -> io::Result<(u64, OsString)> {
        let name = path.file_name().ok_or(ErrorKind::InvalidInput)?.to_owned();
        let dir = self.walk(path.parent().ok_or(ErrorKind::InvalidInput)?, true)?;
        let name = self.spelling(self.entries(dir)?, name);
        Ok((dir, name))
    }

    /// Returns the name of the entry that a name leads to, in the spelling of the directory.
    pub(super) fn spelling(&self, entries: &BTreeMap<OsString, u64>, name: OsString) -> OsString {
        let mut names = entries.keys().filter(|_| self.ignores_case);
        names.find(|known| known.eq_ignore_ascii_case(&name)).cloned().unwrap_or(name)
    }

    /// Returns the inode that a path leads to.
    pub(super) fn walk(&self, path: &Path, follow: bool) -> io::Result<u64> {
        match self.walk_names(path, follow)? {
            Some(ino) => Ok(ino),
            None => self.walk_to(path, follow).map(|(ino, _)| ino),
        }
    }

    /// Does the same without allocations, for a path without symlinks and `..`: almost every path
    /// of almost every run. Returns `None` for any other path.
    pub(super) fn walk_names(&self, path: &Path, follow: bool) -> io::Result<Option<u64>> {
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
    pub(super) fn walk_to(&self, path: &Path, follow: bool) -> io::Result<(u64, PathBuf)> {
        let is_step = |part: &Component<'_>| matches!(part, Component::Normal(_) | Component::ParentDir);
        let steps = |path: &Path| -> Vec<OsString> {
            path.components().rev().filter(is_step).map(|part| part.as_os_str().to_owned()).collect()
        };
        let mut todo = steps(path);
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
                    todo.extend(steps(target));
                }
                _ => at.push((ino, name)),
            }
        }
        let path = at.iter().skip(1).fold(PathBuf::from(ROOT_PATH), |path, (_, name)| path.join(name));
        let &(ino, _) = at.last().ok_or(ErrorKind::NotFound)?;
        Ok((ino, path))
    }

    pub(super) fn unit(&mut self) -> u64 {
        self.next_unit += 1;
        self.next_unit
    }

    pub(super) fn queue_change(&mut self, unit: u64, requires: Option<u64>, change: Change) {
        let of = match &change {
            Change::Name { dir, .. } => dir,
            Change::Content { ino, .. } | Change::Attributes { ino, .. } => ino,
        };
        let dev = self.live.get(of).map_or(0, |inode| inode.dev);
        self.pending.push(Pending { unit, requires, dev, change });
    }

    pub(super) fn name(
        &mut self,
        (unit, requires): (u64, Option<u64>),
        dir: u64,
        name: &OsStr,
        to: Option<u64>,
    ) {
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
        self.queue_change(unit, requires, Change::Name { dir, name: name.to_owned(), to });
    }

    pub(super) fn new_inode(&mut self, dev: u64, node: Node, mode: u32) -> u64 {
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

    pub(super) fn add(&mut self, path: &Path, node: Node, mode: u32) -> io::Result<u64> {
        let (dir, name) = self.place(path)?;
        if self.entries(dir)?.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let dev = self.inode(dir)?.dev;
        let content = if let Node::File(bytes) = &node { Some(bytes.clone()) } else { None };
        let ino = self.new_inode(dev, node, mode);
        if let Some(bytes) = content.filter(|bytes| !bytes.is_empty()) {
            let unit = self.unit();
            self.queue_change(unit, None, Change::Content { ino, bytes });
        }
        let unit = self.unit();
        self.name((unit, None), dir, &name, Some(ino));
        Ok(ino)
    }

    pub(super) fn attributes(&mut self, ino: u64, change: impl FnOnce(&mut Inode)) -> io::Result<()> {
        self.clock += 1;
        let clock = self.clock;
        let inode = self.live.get_mut(&ino).ok_or(ErrorKind::NotFound)?;
        inode.changed = clock;
        change(inode);
        let (mode, owner, modified) = (inode.mode, inode.owner, inode.modified);
        let unit = self.unit();
        self.queue_change(unit, None, Change::Attributes { ino, mode, owner, modified });
        Ok(())
    }

    pub(super) fn is_above(&self, above: u64, ino: u64) -> bool {
        above == ino
            || match self.live.get(&above).map(|inode| &inode.node) {
                Some(Node::Dir(entries)) => entries.values().any(|&below| self.is_above(below, ino)),
                _ => false,
            }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
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
            self.ensure_removable(there, is_dir)?;
        }
        let unit = self.unit();
        self.name((unit, None), to_dir, &to_name, Some(ino));
        // A directory has one name; a file may have both names after a crash, but never neither.
        let (second, requires) = if is_dir { (unit, None) } else { (self.unit(), Some(unit)) };
        self.name((second, requires), from_dir, &from_name, None);
        self.touch(ino);
        Ok(())
    }

    pub(super) fn touch(&mut self, ino: u64) {
        self.clock += 1;
        let clock = self.clock;
        if let Some(inode) = self.live.get_mut(&ino) {
            inode.changed = clock;
        }
    }

    /// Fails unless an entry is an empty directory, or, if `is_dir` is false, no directory.
    fn ensure_removable(&self, ino: u64, is_dir: bool) -> io::Result<()> {
        match (&self.inode(ino)?.node, is_dir) {
            (Node::Dir(entries), true) if entries.is_empty() => Ok(()),
            (Node::Dir(_), true) => Err(ErrorKind::DirectoryNotEmpty.into()),
            (Node::Dir(_), false) => Err(ErrorKind::IsADirectory.into()),
            (_, true) => Err(ErrorKind::NotADirectory.into()),
            (_, false) => Ok(()),
        }
    }

    pub(super) fn remove(&mut self, path: &Path, is_dir: bool) -> io::Result<()> {
        let (dir, name) = self.place(path)?;
        let ino = *self.entries(dir)?.get(&name).ok_or(ErrorKind::NotFound)?;
        self.ensure_removable(ino, is_dir)?;
        let unit = self.unit();
        self.name((unit, None), dir, &name, None);
        Ok(())
    }

    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
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

    pub(super) fn links(&self, ino: u64) -> u64 {
        let names = |inode: &Inode| match &inode.node {
            Node::Dir(entries) => entries.values().filter(|&&to| to == ino).count() as u64,
            _ => 0,
        };
        self.live.values().map(names).sum()
    }

    pub(super) fn meta(&self, ino: u64) -> io::Result<Metadata> {
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

    pub(super) fn file(&self, path: &Path, follow: bool) -> io::Result<Arc<[u8]>> {
        match &self.inode(self.walk(path, follow)?)?.node {
            Node::File(bytes) => Ok(bytes.clone()),
            Node::Dir(_) => Err(ErrorKind::IsADirectory.into()),
            _ => Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    pub(super) fn apply(durable: &mut BTreeMap<u64, Inode>, change: &Change, torn: bool) {
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
    pub(super) fn flush(&mut self, which: impl Fn(&Pending) -> bool) {
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

impl State {
    /// Returns true if the present operation is a sync that must do nothing.
    pub(super) fn skips_sync(&self) -> bool {
        let number = self.ops.len().saturating_sub(1);
        matches!(self.weakening, Some(Weakening::SkipSyncs(first, last)) if (first..=last).contains(&number))
    }

    /// Returns true if the present operation must replace the entry at the new name.
    pub(super) fn replaces(&self) -> bool {
        matches!(self.weakening, Some(Weakening::PlainRename(number)) if number + 1 == self.ops.len())
    }

    /// Keeps the disk for the looks that must be stale, and forgets it after the last of them.
    pub(super) fn become_stale(&mut self) {
        let Some(Weakening::StaleLooks(first, last)) = self.weakening else { return };
        let number = self.ops.len().saturating_sub(1);
        if number == first {
            self.stale = Some(Box::new(self.content()));
        } else if number > last {
            self.stale = None;
        }
    }
}
