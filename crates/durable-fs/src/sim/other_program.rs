//! The changes that another program makes on the simulated disk during a run.

use std::{collections::BTreeMap, path::Path};

use super::file_system::{Change, Node, State};
use crate::Owner;

/// The changes that another program makes to the disk right before an operation. See
/// [`SimDisk::set_hook`](super::SimDisk::set_hook).
pub struct OtherProgram<'a>(pub(super) &'a mut State);

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
        let found = self.0.walk(path.as_ref(), true);
        found.is_ok_and(|file| self.write(file, bytes))
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
        self.0.queue_change(unit, None, Change::Content { ino: file, bytes: bytes.into() });
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
