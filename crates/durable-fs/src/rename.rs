//! Renames that cannot replace, by the best means that a file system has.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{
    Disk, DiskError, LockedDir, Op, PART_SUFFIX, Result,
    temp::{dir_of, temp_name, with_temp},
};

/// The support of a directory's file system for a rename that must not replace.
#[derive(Clone, Copy, PartialEq)]
enum NoReplaceSupport {
    Rename,
    /// Only hard links are supported: a second hard link cannot replace a file either.
    Link,
    Neither,
}

/// Finds out, with two temporary files of our own, which of the two the file system of `dir`
/// supports. The error of a rename does not tell if the file system refuses the operation or only
/// that file; this trial does.
fn no_replace_support(disk: &LockedDir, dir: &Path) -> Result<NoReplaceSupport> {
    disk.ensure_entries_removable(dir)?;
    let one = with_temp(dir, |temp| disk.create(temp, b"", 0o600))?;
    let two = temp_name(dir, PART_SUFFIX);
    let found = match disk.rename_noreplace(&one, &two) {
        Ok(()) => Ok(NoReplaceSupport::Rename),
        Err(error) if error.may_be_unsupported() => match disk.hard_link(&one, &two) {
            Ok(()) => Ok(NoReplaceSupport::Link),
            // EMLINK and similar errors: for whatever reason, no link can be made here.
            Err(_) => Ok(NoReplaceSupport::Neither),
        },
        Err(error) => Err(error),
    };
    for temp in [one, two] {
        match disk.unlink(&temp) {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    found
}

/// Renames a file without replacing another: with [`LockedDir::rename_noreplace`] where that is
/// supported, else with a second hard link and the removal of the first name. The latter syncs the
/// destination's directory in between, so that no crash can lose both names.
///
/// A process that was killed between link and removal leaves two names of one file; see
/// [`crate::Metadata::is_same_file`].
///
/// # Errors
/// The name is taken ([`DiskError::is_already_exists`]); the two are on different file systems
/// ([`DiskError::is_cross_device`]); neither rename nor link is supported
/// ([`DiskError::is_no_exclusive_rename`]). On these errors nothing has changed.
pub fn rename_or_link(disk: &LockedDir, from: &Path, to: &Path) -> Result<()> {
    Renamer::new(disk).rename(from, to)
}

/// The way in which a file got a new name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// The file has the new name alone.
    Renamed,
    /// The file has both names: the caller syncs the new one, and then removes the old one.
    Linked,
}

/// Gives files new names without replacing, and remembers for each directory which means its file
/// system supports.
pub(crate) struct Renamer<'a> {
    disk: &'a LockedDir,
    support: Mutex<BTreeMap<PathBuf, NoReplaceSupport>>,
}

impl<'a> Renamer<'a> {
    pub(crate) fn new(disk: &'a LockedDir) -> Self {
        Self { disk, support: Mutex::default() }
    }

    fn known(&self, dir: &Path) -> Option<NoReplaceSupport> {
        self.support.lock().unwrap_or_else(PoisonError::into_inner).get(dir).copied()
    }

    /// Returns the support of the file system, by a trial for the first question about a directory.
    fn support(&self, dir: &Path) -> Result<NoReplaceSupport> {
        if let Some(known) = self.known(dir) {
            return Ok(known);
        }
        let found = no_replace_support(self.disk, dir)?;
        self.support.lock().unwrap_or_else(PoisonError::into_inner).insert(dir.to_owned(), found);
        Ok(found)
    }

    /// Renames with the exclusive rename. Returns false if only hard links are supported, and then
    /// nothing has changed.
    fn rename_exclusively(&self, from: &Path, to: &Path) -> Result<bool> {
        let dir = dir_of(to)?;
        if self.known(dir) == Some(NoReplaceSupport::Link) {
            return Ok(false);
        }
        // A trial touches the directory of the new name, and each start would try again.
        let is_closed = |error: &DiskError, dir: &Path| {
            error.kind() == io::ErrorKind::PermissionDenied && !self.disk.may_write(dir)
        };
        match self.disk.rename_noreplace(from, to) {
            Err(error) if is_closed(&error, dir_of(from)?) => Err(error),
            Err(error) if error.may_be_unsupported() => match self.support(dir)? {
                // The file system supports the rename, so the refusal concerned this file or was
                // temporary. The error of a second try is final.
                NoReplaceSupport::Rename => self.disk.rename_noreplace(from, to).map(|()| true),
                NoReplaceSupport::Link => Ok(false),
                NoReplaceSupport::Neither => Err(DiskError::with_two_paths(
                    Op::RenameOrLink,
                    from,
                    to,
                    io::ErrorKind::Unsupported.into(),
                )),
            },
            result => result.map(|()| true),
        }
    }

    /// Gives a file a new name. Where only hard links are supported, the file keeps the old name
    /// too.
    pub(crate) fn name(&self, from: &Path, to: &Path) -> Result<Named> {
        if self.rename_exclusively(from, to)? {
            return Ok(Named::Renamed);
        }
        self.disk.hard_link(from, to).map(|()| Named::Linked)
    }

    /// [`rename_or_link`], with what is known about the directory.
    pub(crate) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if self.name(from, to)? == Named::Linked {
            self.disk.sync_dir(dir_of(to)?)?;
            self.disk.unlink(from)?;
        }
        Ok(())
    }

    /// Renames a whole directory. Where the file system has no exclusive rename, a plain rename
    /// follows a check: a plain rename never replaces a directory that is not empty.
    pub(crate) fn rename_dir(&self, from: &Path, to: &Path) -> Result<()> {
        if self.rename_exclusively(from, to)? {
            return Ok(());
        }
        match self.disk.stat(to) {
            Err(error) if error.is_not_found() => self.disk.rename(from, to),
            Err(error) => Err(error),
            Ok(_) => {
                Err(DiskError::with_two_paths(Op::Rename, from, to, io::ErrorKind::AlreadyExists.into()))
            }
        }
    }
}
