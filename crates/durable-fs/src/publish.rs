//! Writes files atomically and durably: publishes a new file, or replaces the content of an
//! existing one.

use std::{
    ffi::OsStr,
    io,
    path::{Path, PathBuf},
};

use crate::{
    Disk, DiskError, FileKind, LockedDir, Metadata, Op, Owner, PART_SUFFIX, Permissions, Result, SET_ASIDE,
    SWAP_SUFFIX, TEMP_PREFIX,
    rename::rename_or_link,
    temp::{dir_of, temp_name, with_temp},
};

/// Puts a new file in place, complete or not at all: writes a temporary file in the same directory,
/// syncs it, renames it without replacing, and syncs the directory. The file gets exactly `mode`,
/// and `owner` if one is given and the file has another owner.
///
/// # Errors
/// The error of the step that failed. [`DiskError::is_already_exists`] is true if the name is
/// taken. The temporary file is removed.
pub fn publish_new(
    disk: &LockedDir,
    path: &Path,
    bytes: &[u8],
    mode: u32,
    owner: Option<Owner>,
) -> Result<()> {
    let dir = dir_of(path)?;
    disk.ensure_entries_removable(dir)?;
    let temp = with_temp(dir, |temp| disk.create(temp, bytes, mode))?;
    let publish = || {
        chown_if_needed(disk, &temp, owner)?;
        disk.sync_file(&temp)?;
        rename_or_link(disk, &temp, path)?;
        disk.sync_dir(dir)
    };
    publish().inspect_err(|_| {
        let _ = disk.unlink(&temp);
    })
}

fn chown_if_needed(disk: &LockedDir, path: &Path, owner: Option<Owner>) -> Result<()> {
    match owner {
        Some(owner) if disk.stat(path)?.owner != Some(owner) => disk.set_owner(path, owner),
        _ => Ok(()),
    }
}

/// Makes a directory and the missing directories between `root` (which must exist) and it, each
/// with `mode`, and with `owner` if one is given and the directory has another owner. Syncs the
/// parent of each directory that it makes. Returns the directories that it made.
///
/// # Errors
/// The error of the step that failed. Directories made until then stay.
pub fn make_dirs(
    disk: &LockedDir,
    root: &Path,
    dir: &Path,
    mode: u32,
    owner: Option<Owner>,
) -> Result<Vec<PathBuf>> {
    let below = dir.strip_prefix(root).map_err(|_| {
        DiskError::with_two_paths(Op::MakeDir, dir, root, io::Error::from(io::ErrorKind::InvalidInput))
    })?;
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

/// Makes a directory, and the missing directories between `root` and it, with access for its owner
/// only. Gives each to `owner` if this process may give directories away. ([`ensure_private_dir`]
/// makes a single one.) A killed run may have made the directory, so the call corrects the mode and
/// owner of an existing one, and always syncs the names in `root`.
///
/// # Errors
/// The error of the step that failed. Directories made until then stay.
pub fn make_private_dir(disk: &LockedDir, root: &Path, dir: &Path, owner: Option<Owner>) -> Result<()> {
    match make_dirs(disk, root, dir, 0o700, owner) {
        Err(error) if error.is_about_the_owner() => make_dirs(disk, root, dir, 0o700, None)?,
        made => made?,
    };
    let present = disk.stat_follow(dir)?;
    if present.mode & 0o077 != 0 {
        disk.set_mode(dir, 0o700)?;
    }
    if let Some(owner) = owner.filter(|_| present.owner != owner) {
        // Ignores EPERM: only root can chown, and otherwise the directory is already ours.
        let _ = disk.set_owner(dir, owner);
    }
    disk.sync_dir(root)
}

/// Makes one directory with access for its owner only, or corrects the mode of an existing one.
/// Accepts a directory after a failed call: the call itself, or another process, may have made it.
///
/// # Errors
/// The directory could not be made, or could not get its mode or owner.
pub fn ensure_private_dir(disk: &LockedDir, dir: &Path, owner: Option<Owner>) -> Result<()> {
    if let Err(error) = disk.make_dir(dir, 0o700)
        && !disk.stat(dir).is_ok_and(|meta| meta.is_dir())
    {
        return Err(error);
    }
    let made = disk.stat(dir)?;
    if made.owner.is_some() && made.mode & 0o777 != 0o700 {
        disk.set_mode(dir, 0o700)?;
    }
    match owner {
        // Root made the directory in another user's home.
        Some(owner) if made.owner.is_some_and(|made| made.uid != owner.uid) => disk.set_owner(dir, owner),
        _ => Ok(()),
    }
}

/// Returns the name under which the file with this path is set aside. Nearly every file system
/// limits a name to 255 bytes.
pub fn set_aside_name(path: &Path, number: u64) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let suffix = format!("{SET_ASIDE}{number}");
    let mut keep = name.len().min(255 - suffix.len());
    while !name.is_char_boundary(keep) {
        keep -= 1;
    }
    path.with_file_name(format!("{}{suffix}", &name[..keep]))
}

/// Calls `take` with one [set-aside name](set_aside_name) after the other, until a name is free,
/// and returns this name.
///
/// # Errors
/// The error of `take`, also if a thousand names are taken.
pub fn with_free_name(path: &Path, mut take: impl FnMut(&Path) -> Result<()>) -> Result<PathBuf> {
    let mut number = 1;
    loop {
        let name = set_aside_name(path, number);
        match take(&name) {
            Err(error) if error.is_already_exists() && number < 1000 => number += 1,
            taken => return taken.map(|()| name),
        }
    }
}

/// The method by which a file was replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReplaceMethod {
    /// The names were exchanged and the displaced file was read, so no write of another program
    /// went unseen.
    Exchange,
    /// The file was checked, then the new file was renamed over it: the platform or the file system
    /// cannot exchange names. A file that another program renames into the place between check and
    /// rename (some microseconds) is overwritten unseen; the checked file is kept, with what is
    /// written into it.
    CheckedRename,
}

/// The file that [`replace`] took out of its place.
#[derive(Debug)]
#[must_use = "the displaced file is still on the disk: keep its content, then discard it"]
pub struct Displaced {
    /// The present path: beside the place, under a name that ends in [`crate::SWAP_SUFFIX`].
    pub path: PathBuf,
    /// The path that the file had before, with symlinks followed.
    pub place: PathBuf,
    /// The content of the file.
    pub bytes: Vec<u8>,
}

impl Displaced {
    /// Removes the displaced file. Call this after its content is safe elsewhere.
    pub fn discard(self, disk: &LockedDir) -> Result<()> {
        disk.unlink(&self.path)
    }
}

/// The outcome of [`replace`].
#[derive(Debug)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the types of the fields explain them")]
pub enum Replaced {
    /// The displaced file holds the expected bytes. The new content is in place and synced, and so
    /// is the directory.
    Expected { method: ReplaceMethod, displaced: Displaced, permissions: Permissions },
    /// Another program wrote between the last check and the exchange: the displaced file is theirs,
    /// and other programs now read our new content in its place. The caller must undo this at once,
    /// so the directory is **not** synced. To undo: exchange the two again, sync the directory,
    /// keep the file that comes out (a program that has read the new content meanwhile may write it
    /// back without the other program's change), and start over.
    Conflict { method: ReplaceMethod, theirs: Displaced },
    /// Another program wrote between the caller's read and the last check. Its file is in place and
    /// nothing has changed.
    Stale,
}

/// Replaces the content of `path`, which the caller has read as `expected`: compare-and-swap.
///
/// A temporary file in the same directory gets `bytes` and the mode, access list and (as root)
/// owner of the present file; nobody gets more access than the present file gives. The file is
/// synced. If the place still holds the expected bytes, the names are exchanged, and the displaced
/// file, of up to `limit` bytes, is read. The place is never empty and never torn. If `path` is a
/// symlink, the file that it leads to is replaced.
///
/// Where names cannot be exchanged, the present file gets a second name, and the new file is
/// renamed over the first name right after one more check. Only a rename by another program between
/// that check and our rename goes unseen ([`ReplaceMethod::CheckedRename`]).
///
/// # Errors
/// [`DiskError`] of the step that failed. Nothing has changed then: the temporary file is removed,
/// and the displaced file is put back. If putting it back fails too, old and new content are both
/// still on the disk, one of them under a name of [`stale_temps`].
pub fn replace(disk: &LockedDir, path: &Path, bytes: &[u8], expected: &[u8], limit: u64) -> Result<Replaced> {
    let followed;
    let path = if disk.stat(path)?.is_symlink() {
        followed = disk.admit_target(path)?;
        &followed
    } else {
        path
    };
    let present = disk.stat(path)?;
    if !present.is_file() {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        return Err(DiskError::new(Op::Replace, path, error));
    }
    let dir = dir_of(path)?;
    disk.ensure_entries_removable(dir)?;
    let temp = with_temp(dir, |temp| disk.create(temp, bytes, 0o600))?;
    // From here on, the name tells a later run that the file may be the only copy of its content,
    // and which content the run may delete: the one with this hash.
    let swap = swap_name(dir, bytes);
    let prepare = || {
        let inherited = inherit_permissions(disk, &temp, path, &present)?;
        disk.sync_file(&temp)?;
        disk.rename(&temp, &swap).map(|()| inherited)
    };
    let (meta, permissions) = prepare().inspect_err(|_| drop(disk.unlink(&temp)))?;
    let ours = KnownFile { disk, meta, bytes };
    let is_expected = |file: &Path| disk.content_eq(file, expected);
    // The last check, after every slow step: if the content has changed by now, the file stays in
    // its place.
    let placed = match is_expected(path) {
        Ok(true) => ours.put_in_place(&swap, path, &is_expected),
        other => other.map(|_| None),
    };
    let Ok(Some((method, out))) = placed else {
        ours.discard(&swap);
        return placed.map(|_| Replaced::Stale);
    };
    // Reads before every slow step: if the displaced file belongs to another program, other
    // programs read our content until the caller undoes the exchange.
    let read = disk.read(&out, limit).inspect_err(|_| ours.undo(&out, path));
    let displaced = Displaced { bytes: read?, path: out, place: path.to_owned() };
    if displaced.bytes != expected {
        return Ok(Replaced::Conflict { method, theirs: displaced });
    }
    disk.sync_dir(dir).inspect_err(|_| ours.undo(&displaced.path, path))?;
    Ok(Replaced::Expected { method, displaced, permissions })
}

/// Gives a new file the owner and the permissions of the file that it replaces. Returns the new
/// file's metadata.
fn inherit_permissions(
    disk: &LockedDir,
    temp: &Path,
    path: &Path,
    present: &Metadata,
) -> Result<(Metadata, Permissions)> {
    match chown_if_needed(disk, temp, present.owner) {
        // Only root can chown; for any other user the file becomes their own.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
        _ => {}
    }
    let ours = disk.stat(temp)?;
    let permissions = if ours.owner.map(|owner| owner.gid) == present.owner.map(|owner| owner.gid) {
        disk.copy_permissions(path, temp)?
    } else {
        // The new file has another group. Drops the group bits and caps `other` at the old group's
        // bits: old group members now count as `other`.
        let mode = present.mode & (0o700 | (present.mode >> 3 & 0o007));
        disk.set_mode(temp, mode)?;
        if mode == present.mode & 0o777 { Permissions::Kept } else { Permissions::Narrowed }
    };
    Ok((ours, permissions))
}

/// Puts the file `new`, which holds `bytes`, in the place of a file in the same directory.
/// Exchanges the names; where that is not supported, renames `new` over the place if `is_expected`
/// accepts the present file. Returns the method and the present name of the displaced file. Returns
/// `None` if `is_expected` refused, and nothing has changed. Syncs neither `new` nor the outcome.
pub fn put_in_place(
    disk: &LockedDir,
    new: &Path,
    bytes: &[u8],
    place: &Path,
    is_expected: &dyn Fn(&Path) -> Result<bool>,
) -> Result<Option<(ReplaceMethod, PathBuf)>> {
    let ours = KnownFile { disk, meta: disk.stat(new)?, bytes };
    ours.put_in_place(new, place, is_expected)
}

/// Renames a file that [`replace`] displaced back over its place, if the place still holds `ours`.
/// This undoes a replacement on a file system that cannot exchange names. Returns the present name
/// of `ours`, or `None` if another program has written the place since: its file stays.
pub fn rename_back(disk: &LockedDir, displaced: &Displaced, ours: &[u8]) -> Result<Option<PathBuf>> {
    let Displaced { path, place, bytes } = displaced;
    let theirs = KnownFile { disk, meta: disk.stat(path)?, bytes };
    // Does not sync our content first, because other programs read it until the rename. A power cut
    // may lose it.
    theirs.rename_over(path, place, &|file| disk.content_eq(file, ours), false)
}

/// A file with its metadata and content: after a failed call, a name alone does not tell which file
/// has that name.
struct KnownFile<'a> {
    disk: &'a LockedDir,
    meta: Metadata,
    bytes: &'a [u8],
}

impl KnownFile<'_> {
    /// Returns true if the file has this name. On a file system without file ids, compares the
    /// content.
    fn is_at(&self, path: &Path) -> bool {
        match self.disk.stat(path) {
            Ok(present) if present.id.is_some() => present.is_same_file(&self.meta),
            Ok(present) if present.is_file() => self.disk.content_eq(path, self.bytes).unwrap_or(false),
            _ => false,
        }
    }

    /// Returns true if the file has moved from `own` to `place`.
    fn has_moved(&self, place: &Path, own: &Path) -> bool {
        self.is_at(place) && !self.is_at(own)
    }

    /// Removes the file if it has this name. Leaves any other file.
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
            // The exchange happened although the call failed (a network file system lost the
            // answer). The displaced file is the one from the place, and may belong to another
            // program.
            Err(_) if self.has_moved(place, own) => Ok(Some((ReplaceMethod::Exchange, own.to_owned()))),
            Err(error) if error.may_be_unsupported() => {
                let second_name = self.rename_over(own, place, is_expected, true)?;
                Ok(second_name.map(|second_name| (ReplaceMethod::CheckedRename, second_name)))
            }
            Err(error) => Err(error),
        }
    }

    /// Renames the file over the place. First gives the present file a second name, so that it is
    /// kept, and calls `is_expected` right before the rename. Returns the second name, or `None` if
    /// `is_expected` refused or another file is in the place by then. If `durable`, syncs the
    /// second name before the check, because a sync is slow.
    fn rename_over(
        &self,
        own: &Path,
        place: &Path,
        is_expected: &dyn Fn(&Path) -> Result<bool>,
        durable: bool,
    ) -> Result<Option<PathBuf>> {
        let disk = self.disk;
        let dir = dir_of(place)?;
        let second_name = temp_name(dir, SWAP_SUFFIX);
        let mut has_second_name = false;
        let mut keep_second_name = || -> Result<bool> {
            let linked = disk.hard_link(place, &second_name).is_ok();
            if !linked {
                disk.copy_new(place, &second_name, Some(0o600))?;
            }
            has_second_name = true;
            if !linked {
                disk.sync_file(&second_name)?;
            }
            if durable {
                disk.sync_dir(dir)?;
            }
            let named = disk.stat(&second_name)?;
            // This is the last call before the rename: a file that another program renames into the
            // place after this call goes unseen.
            let is_same = || -> Result<bool> {
                Ok(!linked || named.id.is_none() || disk.stat(place)?.is_same_file(&named))
            };
            Ok(is_expected(place)? && is_same()?)
        };
        let renamed = match keep_second_name() {
            Ok(true) => disk.rename(own, place).map(|()| true),
            other => other,
        };
        match renamed {
            Ok(true) => Ok(Some(second_name)),
            Err(_) if self.has_moved(place, own) => Ok(Some(second_name)),
            other => {
                // Removes the second name, or the copy, if its content is known or still in its
                // place. Otherwise the next run keeps the content.
                let is_known = || {
                    is_expected(&second_name).unwrap_or(false)
                        || disk.same_content(place, &second_name).unwrap_or(false)
                };
                if has_second_name && is_known() {
                    let _ = disk.unlink(&second_name);
                }
                other.map(|_| None)
            }
        }
    }

    /// Takes the file out of the place again and puts the displaced file back, unless another
    /// program has written the place since.
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

/// A temporary file that a killed run left behind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StaleTemp {
    /// The path.
    pub path: PathBuf,
    /// True if the file can be the only copy of its content: a file that a killed [`replace`]
    /// displaced. Such a file must be kept elsewhere before it is removed; any other can be removed
    /// at once.
    pub may_be_only_copy: bool,
}

/// Returns a fresh name in `dir`, with a hash of `bytes`, for the new file of a [`replace`]. If the
/// run is killed, the file with this name is the new file or the displaced one; [`is_new_content`]
/// tells which.
pub fn swap_name(dir: &Path, bytes: &[u8]) -> PathBuf {
    temp_name(dir, &format!(".{}{SWAP_SUFFIX}", content_hash(bytes)))
}

/// Returns a hash of the content: FNV-1a, 128 bits. If a displaced file has the hash of the new
/// content and the run is killed, the next run deletes the file. No accident makes two such
/// contents, and a program that makes them on purpose loses only its own file.
fn content_hash(bytes: &[u8]) -> String {
    const BASIS: u128 = 0x6c62272e07bb014262b821756295c58d;
    const PRIME: u128 = 0x0000000001000000000000000000013b;
    let hash = bytes.iter().fold(BASIS, |hash, &byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    format!("{hash:032x}")
}

/// Returns true if the name of a stale temporary file says that `bytes`, its content, is the new
/// content of a killed [`replace`]: deleting the file loses nothing. Returns false for a name of an
/// older version of this crate, which has another kind of hash: the caller then keeps the content.
pub fn is_new_content(leftover: &Path, bytes: &[u8]) -> bool {
    let name = leftover.file_name().and_then(OsStr::to_str);
    let hash = name.and_then(|name| name.strip_suffix(SWAP_SUFFIX)?.rsplit_once('.')).map(|(_, hash)| hash);
    hash == Some(&*content_hash(bytes))
}

/// Returns the temporary files that killed runs left in this directory, recognized by their names.
/// Call this under the lock of the home.
pub fn stale_temps(disk: &dyn Disk, dir: &Path) -> Result<Vec<StaleTemp>> {
    let found = disk.list(dir)?.into_iter().filter(|entry| entry.kind == FileKind::File);
    Ok(found
        .filter_map(|entry| {
            may_be_only_copy(&entry.name)
                .map(|may_be_only_copy| StaleTemp { path: dir.join(&entry.name), may_be_only_copy })
        })
        .collect())
}

/// Returns whether the temporary file with this name may be the only copy of its content; `None` if
/// the name is not ours.
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
