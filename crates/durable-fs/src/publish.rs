//! Whole files, put in place in one step.

use std::path::{Path, PathBuf};

use crate::{Disk, DiskError, Method, Owner, Result};

/// Renames without replacing: by [`Disk::rename_exclusive`] where that is supported, else by a second link and the removal of
/// the first. The latter flushes the destination's folder in between, so that no crash can take both names away.
///
/// A run that was killed between link and removal leaves two names of one file; see [`crate::Meta::is_same_file`].
pub fn rename_noreplace(disk: &dyn Disk, from: &Path, to: &Path) -> Result<Method> {
    let _ = (disk, from, to);
    todo!()
}

/// Puts a new file in place, complete or not at all: a temporary file in the same folder, flushed, renamed without replacing,
/// the folder flushed. A name that is taken is an error ([`DiskError::is_taken`]).
pub fn publish_new(disk: &dyn Disk, path: &Path, bytes: &[u8], mode: u32, owner: Option<Owner>) -> Result<Method> {
    let _ = (disk, path, bytes, mode, owner);
    todo!()
}

/// Makes a folder and those above it that are missing, down from `root` (which must be there), each with `mode`, and
/// `owner` when we are root; flushes the parent of each that was made. Returns those that were made.
pub fn make_dirs(disk: &dyn Disk, root: &Path, dir: &Path, mode: u32, owner: Option<Owner>) -> Result<Vec<PathBuf>> {
    let _ = (disk, root, dir, mode, owner);
    todo!()
}

/// How a file was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplaceMethod {
    /// The names were exchanged, and what came out was looked at: no write of somebody else's went unseen.
    Exchange,
    /// Looked at, then renamed over: the platform or the file system cannot exchange. A write by somebody else between
    /// look and rename (some microseconds) is not seen; the file that was there at the look is kept.
    CheckedRename,
}

/// What [`replace`] took out of the place.
#[derive(Debug)]
#[must_use = "what came out is still on the disk: keep it, then discard it"]
pub struct Displaced {
    /// Where it lies now: beside the place, under a name that ends in [`crate::SWAP_SUFFIX`].
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Displaced {
    /// Removes it. To be called once its content is safe elsewhere.
    pub fn discard(self, disk: &dyn Disk) -> Result<()> {
        disk.unlink(&self.path)
    }
}

/// What [`replace`] did. In each case the new content is in place, flushed, and the folder is flushed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Replaced {
    /// What came out is what was expected.
    Expected {
        /// How.
        method: ReplaceMethod,
        /// What came out.
        displaced: Displaced,
    },
    /// Somebody else wrote between the caller's read and this call: what came out is theirs. Keep it, make the same
    /// edit to it, and replace again (expecting the bytes of this call).
    Foreign {
        /// How.
        method: ReplaceMethod,
        /// What came out.
        displaced: Displaced,
    },
}

/// Replaces the content of `path`, which the caller has read as `expected`: compare-and-swap.
///
/// A temporary file in the same folder gets `bytes`, and mode and (as root) owner of the file that is there; it is flushed, the
/// names are exchanged, the folder is flushed, and what came out is read. The place is never empty, never torn. A link is
/// followed: the file that it leads to is replaced.
///
/// # Errors
///
/// [`DiskError`] of the step that failed. Up to the exchange nothing has changed, and the temporary file is removed; when a
/// later step fails, old and new content are both still on the disk, one of them under a name of [`leftovers`].
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8], expected: &[u8]) -> Result<Replaced, DiskError> {
    let _ = (disk, path, bytes, expected);
    todo!()
}

/// A file that a killed run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftover {
    /// Where.
    pub path: PathBuf,
    /// Whether it can hold something that is nowhere else: the file that a killed [`replace`] took out. Such a one is to be
    /// kept somewhere before it is removed; any other may go at once.
    pub precious: bool,
}

/// The files that killed runs left in this folder, known by their names. Call it under the lock of the home.
pub fn leftovers(disk: &dyn Disk, dir: &Path) -> Result<Vec<Leftover>> {
    let _ = (disk, dir);
    todo!()
}
