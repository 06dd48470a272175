//! The simulated disk as a test sets it up, makes it fail, and looks at it.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    path::{Component, Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    fault::{Fault, OpRecord, Weakening},
    file_system::{Inode, Node, ROOT, ROOT_PATH, State},
    other_program::OtherProgram,
};
use crate::Owner;

pub(super) type Hook = Box<dyn FnMut(&OpRecord, &mut OtherProgram<'_>) + Send>;

/// The simulated disk. Cloning copies everything except the hook, the locks and the recorded
/// changes.
pub struct SimDisk {
    pub(super) shared: Arc<Shared>,
}

/// The state that a disk shares with the directories that are locked on it.
pub(super) struct Shared {
    state: Mutex<State>,
    pub(super) hook: Mutex<Option<Hook>>,
    /// Each change with the disk before it, if the changes are recorded.
    pub(super) recorded: Mutex<Option<Vec<(OpRecord, State)>>>,
    locks: Mutex<BTreeSet<u64>>,
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

impl SimDisk {
    /// Creates an empty disk.
    pub fn new() -> Self {
        Self::with(State::new())
    }

    pub(super) fn with(state: State) -> Self {
        let shared = Shared {
            state: Mutex::new(state),
            hook: Mutex::new(None),
            recorded: Mutex::new(None),
            locks: Mutex::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(super) fn share(&self) -> Self {
        Self { shared: self.shared.clone() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn locks(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.shared.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- setup and inspection: not counted as operations, never failing by a fault; a setup that
    // the disk cannot have panics

    /// Puts a file there, with the directories above it; replaces any file with that name.
    pub fn put(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        self.put_mode(path, bytes, 0o600);
    }

    /// [`put`](Self::put) with a mode.
    pub fn put_mode(&self, path: impl AsRef<Path>, bytes: &[u8], mode: u32) {
        let _ = self.state().remove(path.as_ref(), false);
        self.put_node(path.as_ref(), Node::File(bytes.into()), mode);
    }

    /// Puts an entry there, with the missing directories above it, and returns its inode.
    fn put_node(&self, path: &Path, node: Node, mode: u32) -> u64 {
        if let Some(parent) = path.parent() {
            self.put_dir(parent, 0o755);
        }
        let made = self.state().add(path, node, mode);
        made.unwrap_or_else(|error| panic!("cannot make {}: {error}", path.display()))
    }

    /// Puts a directory there, with the missing directories above it.
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
    pub fn put_hard_link(&self, file: impl AsRef<Path>, name: impl AsRef<Path>) {
        let name = name.as_ref();
        let linked = self.state().hard_link(file.as_ref(), name);
        assert!(linked.is_ok(), "{} can be made", name.display());
    }

    /// Removes a file or symlink, or an empty directory.
    pub fn remove(&self, path: impl AsRef<Path>) {
        let path = path.as_ref();
        let mut state = self.state();
        let removed = state.remove(path, false).or_else(|_| state.remove(path, true));
        assert!(removed.is_ok(), "{} can be removed", path.display());
    }

    /// Sets the mode of a file or directory.
    pub fn chmod(&self, path: impl AsRef<Path>, mode: u32) {
        self.set_attributes(path.as_ref(), |inode| inode.mode = mode);
    }

    /// Sets the owner of a file, directory or symlink, whoever the user is.
    pub fn chown(&self, path: impl AsRef<Path>, owner: Owner) {
        self.set_attributes(path.as_ref(), |inode| inode.owner = owner);
    }

    fn set_attributes(&self, path: &Path, change: impl FnOnce(&mut Inode)) {
        let mut state = self.state();
        let set = state.walk(path, false).and_then(|ino| state.attributes(ino, change));
        assert!(set.is_ok(), "{} exists", path.display());
    }

    /// Puts a symlink there.
    pub fn put_link(&self, path: impl AsRef<Path>, target: impl AsRef<Path>) {
        self.put_node(path.as_ref(), Node::Link(target.as_ref().to_owned()), 0o777);
    }

    /// Puts a pipe there.
    pub fn put_pipe(&self, path: impl AsRef<Path>) {
        self.put_node(path.as_ref(), Node::Pipe, 0o600);
    }

    /// Mounts a second file system at a new directory.
    pub fn mount(&self, path: impl AsRef<Path>) {
        let ino = self.put_node(path.as_ref(), Node::Dir(BTreeMap::new()), 0o700);
        let state = &mut *self.state();
        for inode in [&mut state.live, &mut state.durable].into_iter().filter_map(|all| all.get_mut(&ino)) {
            inode.dev = state.next_dev;
        }
        state.next_dev += 1;
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
    pub fn clear_faults(&self) {
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

    /// Returns true if the crash has happened.
    pub fn has_crashed(&self) -> bool {
        self.state().crashed
    }

    /// Makes the platform unable to sync a whole file system in one call.
    pub fn without_sync_fs(&self) {
        self.state().syncs_whole_fs = false;
    }

    /// Sets the result of [`Disk::threads`](crate::Disk::threads). It is 1 until then, so that the
    /// operations come in the same order each time.
    pub fn set_threads(&self, threads: usize) {
        self.state().threads = threads;
    }

    /// Makes names that differ in the case of ASCII letters alone one name, as on macOS and
    /// Windows.
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
}
