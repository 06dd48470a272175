//! Finds the files that other programs have open for writing, from `/proc`.
//!
//! A read lease (`F_SETLEASE`) would ask the kernel about one file; no safe wrapper offers it.
//! `/proc` also answers on FUSE and NFS, which have no leases. It does not show processes of other
//! users (except to root), processes of another pid namespace, and memory maps whose file is
//! closed.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
};

use crate::{DirEntry, Disk, FileId, RealDisk};

/// The suffix that `/proc` adds to the path of an open file that has no name any more.
const DELETED: &[u8] = b" (deleted)";

/// Returns for each file if a process is seen that has it open for writing. A file without an id
/// does not exist.
pub(super) fn open_for_writing(files: &[(&Path, Option<FileId>)]) -> Vec<bool> {
    let mut answers = vec![false; files.len()];
    let mut by_name: BTreeMap<&OsStr, Vec<(FileId, usize)>> = BTreeMap::new();
    for (place, (path, id)) in files.iter().enumerate() {
        if let (Some(name), Some(id)) = (path.file_name(), *id) {
            by_name.entry(name).or_default().push((id, place));
        }
    }
    let proc = Path::new("/proc");
    let processes = RealDisk.list(proc).unwrap_or_default().into_iter();
    for process in processes.filter(|entry| entry.name.as_bytes().iter().all(u8::is_ascii_digit)) {
        let process = proc.join(process.name);
        let handles = process.join("fd");
        for DirEntry { name, .. } in RealDisk.list(&handles).unwrap_or_default() {
            let handle = handles.join(&name);
            // The name is read first: a `stat` of every handle would hang on a file of a dead
            // network file system.
            let Ok(target) = fs::read_link(&handle) else { continue };
            let candidates = names_of(&target).into_iter().filter_map(|name| by_name.get(name.as_os_str()));
            let candidates: Vec<_> = candidates.flatten().collect();
            if candidates.is_empty() || !writes(&process, &name) {
                continue;
            }
            let Ok(open) = fs::metadata(&handle) else { continue };
            let open = FileId { dev: open.dev(), ino: open.ino() };
            for (_, place) in candidates.into_iter().filter(|(id, _)| *id == open) {
                answers[*place] = true;
            }
        }
    }
    answers
}

/// Returns the names that the file of this handle may have.
fn names_of(target: &Path) -> Vec<OsString> {
    let name = target.file_name().unwrap_or_default();
    let without = name.as_bytes().strip_suffix(DELETED).map(|name| OsStr::from_bytes(name).to_owned());
    [Some(name.to_owned()), without].into_iter().flatten().collect()
}

/// Returns true if a handle of a process can write.
fn writes(process: &Path, handle: &OsStr) -> bool {
    const ACCESS_MODE: u32 = 0o3;
    let info = fs::read_to_string(process.join("fdinfo").join(handle)).unwrap_or_default();
    let flags =
        info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    flags.is_some_and(|flags| flags & ACCESS_MODE != 0)
}
