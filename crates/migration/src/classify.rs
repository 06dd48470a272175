//! Classifies names and derives new ones. Does not access the disk.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    path::{Component, Path, PathBuf},
};

use myownllm_durable_fs::{FileKind, QUARANTINE_DIR, SET_ASIDE, TEMP_PREFIX, may_be_only_copy};
use myownllm_paths::{
    camino::{Utf8Path, Utf8PathBuf},
    normalize_lexically,
};

use crate::homes::Homes;

pub(crate) enum EntryClass {
    Ours,
    /// A killed run left the file, and nothing needs it.
    Leftover,
    Quarantines,
    Foreign(&'static str),
}

/// Returns the class of a name in a directory of `.json` files.
pub(crate) fn classify_entry(name: &OsStr, kind: FileKind) -> EntryClass {
    let Some(text) = name.to_str() else { return EntryClass::Foreign("its name is not UTF-8") };
    if text == QUARANTINE_DIR && kind == FileKind::Dir {
        return EntryClass::Quarantines;
    }
    if text.starts_with(TEMP_PREFIX) {
        return match (may_be_only_copy(name), kind) {
            (Some(false), FileKind::File | FileKind::Symlink) => EntryClass::Leftover,
            _ => EntryClass::Foreign("it is not a .json file"),
        };
    }
    if text.rsplit_once(SET_ASIDE).is_some_and(|(_, number)| number.bytes().all(|b| b.is_ascii_digit())) {
        return EntryClass::Foreign("it was set aside");
    }
    // A roster or state that a daemon could not parse, or was writing when it died, moves with its
    // neighbour.
    let stem = text.strip_suffix(".corrupt").or_else(|| text.strip_suffix(".tmp"));
    if !stem.unwrap_or(text).ends_with(".json") {
        return EntryClass::Foreign("it is not a .json file");
    }
    match kind {
        FileKind::File => EntryClass::Ours,
        FileKind::Symlink => EntryClass::Foreign("it is a symlink"),
        FileKind::Dir => EntryClass::Foreign("it is a directory with the name of a file"),
        _ => EntryClass::Foreign("it is neither a file nor a directory"),
    }
}

/// Returns the directories, relative to a home, that hold files that move; parents first.
pub(crate) fn relative_dirs(homes: &Homes) -> Vec<Utf8PathBuf> {
    let (dirs, files) = (homes.dirs(), [homes.legacy_roster(), homes.custody(), homes.identity()]);
    let mut all = BTreeSet::new();
    for dir in dirs.iter().map(|dir| &**dir).chain(files.iter().filter_map(|file| file.parent())) {
        all.extend(dir.ancestors().filter(|part| !part.as_str().is_empty()).map(Utf8Path::to_owned));
    }
    // A parent sorts before its entries.
    all.into_iter().collect()
}

/// Returns the target with which a symlink in `new_dir` leads to the same path as `target` from
/// `old_dir`.
pub(crate) fn rebase(target: &Path, old_dir: &Path, new_dir: &Path) -> PathBuf {
    if target.is_absolute() || old_dir == new_dir {
        return target.to_owned();
    }
    let target = normalize_lexically(&old_dir.join(target));
    let common = target.components().zip(new_dir.components()).take_while(|(a, b)| a == b).count();
    let up = new_dir.components().skip(common).map(|_| Component::ParentDir);
    up.chain(target.components().skip(common)).collect()
}

/// Returns a daemon's normal form of a network id: trimmed, lower case, 3 to 64 of `[a-z0-9_-]`.
pub(crate) fn network_id(text: &str) -> Option<String> {
    let id = text.trim().to_ascii_lowercase();
    let fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    ((3..=64).contains(&id.len()) && id.bytes().all(fine)).then_some(id)
}

/// Returns the network of a legacy roster, or the reason why the roster cannot be used.
pub(crate) fn legacy_network(bytes: &[u8]) -> Result<String, &'static str> {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) else { return Err("it is not JSON") };
    if value.get("version").and_then(serde_json::Value::as_u64) != Some(1) {
        return Err("its version is not 1");
    }
    if !value.get("authorized_devices").is_some_and(serde_json::Value::is_array) {
        return Err("it is not a roster");
    }
    let id = value.get("network_id").and_then(serde_json::Value::as_str).and_then(network_id);
    id.ok_or("its network_id is not one")
}

/// Returns true if two paths are in one directory and differ at most in letter case.
pub(crate) fn is_spelled_alike(one: &Path, other: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
    one.parent() == other.parent() && name(one) == name(other)
}
