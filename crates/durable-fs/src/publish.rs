//! Whole files, put in place in one step.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};

use crate::{
    Disk, DiskError, FileKind, LockedDir, Metadata, Op, Owner, PART_SUFFIX, Permissions, RenameMethod,
    Result, SWAP_SUFFIX, TEMP_PREFIX,
};

/// How many names are tried for a temporary file before somebody must be making them on purpose.
const NAME_TRIES: usize = 1000;

/// The folder that a name is in.
fn folder_of(path: &Path) -> Result<&Path> {
    path.parent()
        .ok_or_else(|| DiskError::new(Op::FindDir, path, io::Error::from(io::ErrorKind::InvalidInput)))
}

/// A fresh name for a temporary file in `dir`. Nobody has it yet, as far as we know; the call that makes the file must be
/// exclusive all the same.
pub fn temp_name(dir: &Path, suffix: &str) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    dir.join(format!("{TEMP_PREFIX}{}-{number}{suffix}", std::process::id()))
}

/// Makes a temporary file in `dir` by `make`, under the first name that is free. See [`Disk::ensure_entries_removable`] first.
pub fn with_temp(dir: &Path, mut make: impl FnMut(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut tries = 0;
    loop {
        let temp = temp_name(dir, PART_SUFFIX);
        match make(&temp) {
            Ok(()) => return Ok(temp),
            // Left by a process of the same number, or put there by somebody who guesses our names.
            Err(error) if error.is_already_exists() && error.path() == temp && tries < NAME_TRIES => {
                tries += 1
            }
            Err(error) => return Err(error),
        }
    }
}

/// What a folder's file system offers for a rename that must not replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NoReplaceSupport {
    /// The rename itself.
    Rename,
    /// No such rename, but hard links: a second link cannot replace either.
    Link,
    /// Neither.
    Neither,
}

/// Finds out, with two temporary files of our own, what the file system of `dir` offers. An error of a rename leaves open whether
/// the file system refuses the operation or that very file; this tells the one from the other.
///
/// # Errors
///
/// The trial could not be made: the folder cannot be written to, or the disk is full.
pub fn no_replace_support(disk: &LockedDir, dir: &Path) -> Result<NoReplaceSupport> {
    disk.ensure_entries_removable(dir)?;
    let one = with_temp(dir, |temp| disk.create(temp, b"", 0o600))?;
    let two = temp_name(dir, PART_SUFFIX);
    let found = match disk.rename_noreplace(&one, &two) {
        Ok(()) => Ok(NoReplaceSupport::Rename),
        Err(error) if error.may_be_unsupported() => match disk.hard_link(&one, &two) {
            Ok(()) => Ok(NoReplaceSupport::Link),
            // EMLINK and the like: whatever the reason, it cannot be done here.
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

/// Renames a file without replacing: by [`LockedDir::rename_noreplace`] where that is supported, else by a second link and the
/// removal of the first. The latter flushes the destination's folder in between, so that no crash can take both names away.
///
/// A run that was killed between link and removal leaves two names of one file; see [`crate::Metadata::is_same_file`].
///
/// # Errors
///
/// The name is taken ([`DiskError::is_already_exists`]); the two are on different file systems ([`DiskError::is_cross_device`]); neither rename
/// nor link is supported ([`Unsupported`](io::ErrorKind::Unsupported)). Nothing has changed then.
pub fn rename_or_link(disk: &LockedDir, from: &Path, to: &Path) -> Result<RenameMethod> {
    let refused = match disk.rename_noreplace(from, to) {
        Ok(()) => return Ok(RenameMethod::Rename),
        Err(error) if error.may_be_unsupported() => error,
        Err(error) => return Err(error),
    };
    let dir = folder_of(to)?;
    match no_replace_support(disk, dir)? {
        // It was about that file, or passed by: once more, and then it is final.
        NoReplaceSupport::Rename => {
            let _ = refused;
            disk.rename_noreplace(from, to)?;
            Ok(RenameMethod::Rename)
        }
        NoReplaceSupport::Link => {
            disk.hard_link(from, to)?;
            disk.sync_dir(dir)?;
            disk.unlink(from)?;
            Ok(RenameMethod::LinkUnlink)
        }
        NoReplaceSupport::Neither => {
            Err(DiskError::two(Op::RenameOrLink, from, to, io::ErrorKind::Unsupported.into()))
        }
    }
}

/// Puts a new file in place, complete or not at all: a temporary file in the same folder, flushed, renamed without replacing,
/// the folder flushed. The file gets exactly `mode`, and `owner` when that is given and is not who it belongs to anyway.
///
/// # Errors
///
/// The step that failed; a name that is taken is [`DiskError::is_already_exists`]. The temporary file is removed.
pub fn publish_new(
    disk: &LockedDir,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<RenameMethod> {
    let dir = folder_of(path)?;
    disk.ensure_entries_removable(dir)?;
    let temp = with_temp(dir, |temp| disk.create(temp, bytes, mode))?;
    let publish = || -> Result<RenameMethod> {
        chown_if_needed(disk, &temp, owner)?;
        disk.sync_file(&temp)?;
        let method = rename_or_link(disk, &temp, path)?;
        disk.sync_dir(dir)?;
        Ok(method)
    };
    publish().inspect_err(|_| {
        let _ = disk.unlink(&temp);
    })
}

/// Sets the owner where it is not right already.
fn chown_if_needed(disk: &LockedDir, path: &Path, owner: Option<Owner>) -> Result<()> {
    match owner {
        Some(owner) if disk.stat(path)?.owner != Some(owner) => disk.set_owner(path, owner),
        _ => Ok(()),
    }
}

/// Makes a folder and those above it that are missing, down from `root` (which must be there), each with `mode`, and
/// `owner` when that is given and is not who it belongs to anyway; flushes the parent of each that was made. Returns those
/// that were made.
///
/// # Errors
///
/// The step that failed. What was made until then stays.
pub fn make_dirs(
    disk: &LockedDir,
    root: &Path,
    dir: &Path,
    mode: u32,
    owner: Option<Owner>,
) -> Result<Vec<PathBuf>> {
    let below = dir
        .strip_prefix(root)
        .map_err(|_| DiskError::two(Op::MakeDir, dir, root, io::Error::from(io::ErrorKind::InvalidInput)))?;
    let mut made = Vec::new();
    let mut at = root.to_owned();
    for part in below.components() {
        let parent = at.clone();
        at.push(part);
        match disk.make_dir(&at, mode) {
            Ok(()) => {
                chown_if_needed(disk, &at, owner)?;
                disk.sync_dir(&parent)?;
                made.push(at.clone());
            }
            Err(error) if error.is_already_exists() => {
                if !disk.stat_follow(&at)?.is_dir() {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(made)
}

/// Makes a directory, and those between it and `root` that are missing, for its owner alone; gives each to `owner`, where this
/// process may give a directory away. A directory that exists may be a killed run's: mode and owner are corrected, and the
/// names in `root` are synced in any case.
///
/// # Errors
///
/// The step that failed. What was made until then stays.
pub fn make_private_dir(disk: &LockedDir, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
    match make_dirs(disk, root, dir, 0o700, owner) {
        Err(error) if error.is_about_the_owner() => make_dirs(disk, root, dir, 0o700, None)?,
        made => made?,
    };
    let there = disk.stat_follow(dir)?;
    if there.mode & 0o077 != 0 {
        disk.set_mode(dir, 0o700)?;
    }
    if let Some(owner) = owner.filter(|_| there.owner != owner) {
        // Ignores EPERM: only root can chown, and otherwise the directory is already ours.
        let _ = disk.set_owner(dir, owner);
    }
    disk.sync_dir(root)
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
    /// The place that it was taken out of, links followed.
    pub place: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

impl Displaced {
    /// Removes it. To be called once its content is safe elsewhere.
    pub fn discard(self, disk: &LockedDir) -> Result<()> {
        disk.unlink(&self.path)
    }
}

/// What [`replace`] did.
#[derive(Debug)]
#[non_exhaustive]
pub enum Replaced {
    /// What came out is what was expected. The new content is in place, flushed, and the folder is flushed.
    Expected {
        /// How.
        method: ReplaceMethod,
        /// What came out.
        displaced: Displaced,
        /// What the new file has of the rights of what came out.
        rights: Permissions,
    },
    /// Somebody else wrote between the last look and the exchange: what came out is theirs, and the new content is in their
    /// file's place, where others read it. To be undone at once, so the folder is **not** flushed: exchange the two again,
    /// flush the folder, keep what came out (whoever read the new content meanwhile knows nothing of theirs, and may write
    /// over it), and begin anew.
    Conflict {
        /// How.
        method: ReplaceMethod,
        /// What came out.
        theirs: Displaced,
    },
    /// Somebody else wrote between the caller's read and the last look. What they wrote is in place and nothing has changed.
    Stale,
}

/// Replaces the content of `path`, which the caller has read as `expected`: compare-and-swap.
///
/// A temporary file in the same folder gets `bytes`, and mode, access list and (as root) owner of the file that is there, and no
/// right for anybody who has none on that; it is flushed. If
/// what is in the place is still what was expected, the names are exchanged, and what came out, which may have up to `limit`
/// bytes, is read. The place is never empty, never torn. A link is followed: the file that it leads to is replaced.
///
/// Where names cannot be exchanged, the file that is there gets a second name, and the new file is renamed over the first
/// right after one more look. Only a rename of another program between that look and ours goes unseen
/// ([`ReplaceMethod::CheckedRename`]).
///
/// # Errors
///
/// [`DiskError`] of the step that failed. Nothing has changed then: the temporary file is removed, and what came out is put
/// back. Where that fails too, old and new content are both still on the disk, one of them under a name of [`stale_temps`].
pub fn replace(disk: &LockedDir, path: &Path, bytes: &[u8], expected: &[u8], limit: u64) -> Result<Replaced> {
    let followed;
    let path = if disk.stat(path)?.is_symlink() {
        followed = disk.admit_target(path)?;
        &followed
    } else {
        path
    };
    let there = disk.stat(path)?;
    if !there.is_file() {
        let odd = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(DiskError::new(Op::Replace, path, odd));
    }
    let dir = folder_of(path)?;
    disk.ensure_entries_removable(dir)?;
    let temp = with_temp(dir, |temp| disk.create(temp, bytes, 0o600))?;
    // From here on the name says that it may hold the only copy of something, and which content is not that.
    let swap = temp_name(dir, &format!(".{}{SWAP_SUFFIX}", digest(bytes)));
    let prepared = prepare(disk, &temp, path, &there);
    let (meta, rights) = prepared
        .and_then(|prepared| disk.rename(&temp, &swap).map(|()| prepared))
        .inspect_err(|_| drop(disk.unlink(&temp)))?;
    let ours = Ours { disk, meta, bytes };
    let is_expected = |file: &Path| disk.content_eq(file, expected);
    // The last look: all that takes long is done. What has changed by now need not be taken out of its place at all.
    match disk.content_eq(path, expected) {
        Ok(true) => {}
        other => {
            ours.discard(&swap);
            return other.map(|_| Replaced::Stale);
        }
    }
    let placed = ours.put_in_place(&swap, path, &is_expected).inspect_err(|_| ours.discard(&swap))?;
    let Some((method, out)) = placed else {
        ours.discard(&swap);
        return Ok(Replaced::Stale);
    };
    // Nothing that takes long comes before this: until what is somebody else's is back, others read ours.
    let read = disk.read(&out, limit).inspect_err(|_| ours.undo(&out, path));
    let displaced = Displaced { bytes: read?, path: out, place: path.to_owned() };
    if displaced.bytes != expected {
        return Ok(Replaced::Conflict { method, theirs: displaced });
    }
    disk.sync_dir(dir).inspect_err(|_| ours.undo(&displaced.path, path))?;
    Ok(Replaced::Expected { method, displaced, rights })
}

/// Gives a new file the rights of the one whose place it is to take, and syncs it.
fn prepare(disk: &LockedDir, temp: &Path, path: &Path, there: &Metadata) -> Result<(Metadata, Permissions)> {
    match chown_if_needed(disk, temp, there.owner) {
        // Only root can give a file away; for anybody else it becomes their own.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let ours = disk.stat(temp)?;
    let rights = if ours.owner.map(|owner| owner.gid) == there.owner.map(|owner| owner.gid) {
        disk.copy_permissions(path, temp)?
    } else {
        // What its group may is not for ours, and the others are more by those who were in its group.
        let mode = there.mode & (0o700 | (there.mode >> 3 & 0o007));
        disk.set_mode(temp, mode)?;
        if mode == there.mode & 0o777 { Permissions::Kept } else { Permissions::Narrowed }
    };
    disk.sync_file(temp)?;
    Ok((ours, rights))
}

/// Puts the file `new`, which holds `bytes`, in the place of a file in the same directory: exchanges the names, or, where that is
/// not supported, renames `new` over it once `is_expected` has said yes to what is there. Returns how, and the name under which
/// the displaced file lies now; `None` when `is_expected` said no, and nothing has changed. Syncs neither `new` nor the outcome.
///
/// # Errors
///
/// The step that failed. Nothing has changed then.
pub fn put_in_place(
    disk: &LockedDir,
    new: &Path,
    bytes: &[u8],
    place: &Path,
    is_expected: &dyn Fn(&Path) -> Result<bool>,
) -> Result<Option<(ReplaceMethod, PathBuf)>> {
    let ours = Ours { disk, meta: disk.stat(new)?, bytes };
    ours.put_in_place(new, place, is_expected)
}

/// Renames a file that [`replace`] displaced back over its place, where names cannot be exchanged and the place still holds
/// `ours`. Returns the name under which that lies now; `None` when somebody else has written the place since: their file stays.
///
/// # Errors
///
/// The step that failed. Nothing has changed then.
pub fn rename_back(disk: &LockedDir, displaced: &Displaced, ours: &[u8]) -> Result<Option<PathBuf>> {
    let Displaced { path, place, bytes } = displaced;
    let theirs = Ours { disk, meta: disk.stat(path)?, bytes };
    // Until theirs is back others read ours, so nothing is synced; and ours is no loss.
    theirs.rename_over(path, place, &|file| disk.content_eq(file, ours), false)
}

/// The file that is to take the place. A name tells nothing of what has it after a call that failed; this does.
struct Ours<'a> {
    disk: &'a LockedDir,
    meta: Metadata,
    bytes: &'a [u8],
}

impl Ours<'_> {
    /// Whether it has this name. Where files have no numbers, it is known by its content.
    fn is_at(&self, path: &Path) -> bool {
        match self.disk.stat(path) {
            Ok(there) if there.id.is_some() => there.is_same_file(&self.meta),
            Ok(there) if there.is_file() => self.disk.content_eq(path, self.bytes).unwrap_or(false),
            _ => false,
        }
    }

    /// Whether it has left its own name for that one.
    fn took(&self, place: &Path, own: &Path) -> bool {
        self.is_at(place) && !self.is_at(own)
    }

    /// Removes it, when it has this name; what else may have it is not ours to remove.
    fn discard(&self, path: &Path) {
        if self.is_at(path) {
            let _ = self.disk.unlink(path);
        }
    }

    fn put_in_place(
        &self,
        own: &Path,
        place: &Path,
        is_expected: &dyn Fn(&Path) -> Result<bool>,
    ) -> Result<Option<(ReplaceMethod, PathBuf)>> {
        match self.disk.exchange(own, place) {
            Ok(()) => Ok(Some((ReplaceMethod::Exchange, own.to_owned()))),
            // It happened, whatever was said (a network file system that did not hear the answer): then what lies aside is
            // what was in the place, and may be anybody's.
            Err(_) if self.took(place, own) => Ok(Some((ReplaceMethod::Exchange, own.to_owned()))),
            Err(error) if error.may_be_unsupported() => {
                let second = self.rename_over(own, place, is_expected, true)?;
                Ok(second.map(|second| (ReplaceMethod::CheckedRename, second)))
            }
            Err(error) => Err(error),
        }
    }

    /// Renames it over the place. What is there gets a second name first, so that it is kept, and is looked at by `is_expected`
    /// right before it loses the first. Returns the second name; `None` when `is_expected` said no, or the file there is
    /// another one by then. `durable` syncs the second name, which takes long, before the look.
    fn rename_over(
        &self,
        own: &Path,
        place: &Path,
        is_expected: &dyn Fn(&Path) -> Result<bool>,
        durable: bool,
    ) -> Result<Option<PathBuf>> {
        let disk = self.disk;
        let dir = folder_of(place)?;
        let second = temp_name(dir, SWAP_SUFFIX);
        let mut made = false;
        let mut look = || -> Result<bool> {
            let linked = disk.hard_link(place, &second).is_ok();
            if !linked {
                disk.copy_new(place, &second, Some(0o600))?;
            }
            made = true;
            if !linked {
                disk.sync_file(&second)?;
            }
            if durable {
                disk.sync_dir(dir)?;
            }
            let named = disk.stat(&second)?;
            // The last call before the rename: what another program renames into the place after it goes unseen.
            let is_same = || -> Result<bool> {
                Ok(!linked || named.id.is_none() || disk.stat(place)?.is_same_file(&named))
            };
            Ok(is_expected(place)? && is_same()?)
        };
        let renamed = match look() {
            Ok(true) => disk.rename(own, place).map(|()| true),
            other => other,
        };
        match renamed {
            Ok(true) => Ok(Some(second)),
            Err(_) if self.took(place, own) => Ok(Some(second)),
            other => {
                // The second name, or the copy, goes where its content is known or still in its place. Else it stays for
                // the next run to keep.
                let is_known = || {
                    is_expected(&second).unwrap_or(false)
                        || disk.same_content(place, &second).unwrap_or(false)
                };
                if made && is_known() {
                    let _ = disk.unlink(&second);
                }
                other.map(|_| None)
            }
        }
    }

    /// Takes it out of the place again, and puts back what came out, unless somebody else has written the place since.
    fn undo(&self, out: &Path, place: &Path) {
        if !self.is_at(place) {
            return;
        }
        let _ = self.disk.exchange(out, place);
        if self.is_at(place) {
            let _ = self.disk.rename(out, place);
        } else {
            self.discard(out);
        }
    }
}

/// A file that a killed run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleTemp {
    /// Where.
    pub path: PathBuf,
    /// Whether it can hold something that is nowhere else: the file that a killed [`replace`] took out. Such a one is to be
    /// kept somewhere before it is removed; any other may go at once.
    pub may_be_only_copy: bool,
}

/// What tells one content from another in the name of a file that waits for its exchange.
fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Whether a file of [`stale_temps`] that holds `bytes` still holds what a [`replace`] was about to put in place: then it never
/// was in any place, or is back from it, and nothing is lost with it.
pub fn is_ours(leftover: &Path, bytes: &[u8]) -> bool {
    let name = leftover.file_name().and_then(OsStr::to_str);
    let told = name.and_then(|name| name.strip_suffix(SWAP_SUFFIX)?.rsplit_once('.')).map(|(_, told)| told);
    told == Some(&*digest(bytes))
}

/// The files that killed runs left in this folder, known by their names. Call it under the lock of the home.
pub fn stale_temps(disk: &dyn Disk, dir: &Path) -> Result<Vec<StaleTemp>> {
    let found = disk.list(dir)?.into_iter().filter(|entry| entry.kind == FileKind::File);
    Ok(found
        .filter_map(|entry| {
            may_be_only_copy(&entry.name)
                .map(|may_be_only_copy| StaleTemp { path: dir.join(&entry.name), may_be_only_copy })
        })
        .collect())
}

/// Whether a name is one of our temporary files', and then whether the file may be the only one with its content.
pub fn may_be_only_copy(name: &OsStr) -> Option<bool> {
    let name = name.to_str()?;
    if !name.starts_with(TEMP_PREFIX) {
        None
    } else if name.ends_with(PART_SUFFIX) {
        Some(false)
    } else {
        name.ends_with(SWAP_SUFFIX).then_some(true)
    }
}
