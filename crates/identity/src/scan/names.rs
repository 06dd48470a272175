//! The names that people and programs give to copies of homes and of identity files.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, set_aside_name};
use myownllm_paths::camino::Utf8Path;

/// The common part of the names of secrets directories.
pub(super) const SECRETS: &str = "secrets";
/// The common part of the names of copies of the identity file.
pub(super) const IDENTITY: &str = "identity";
/// The words that people and programs add to the name of a copy.
const WORDS: [&str; 12] = [
    "backup", "bak", "back", "before", "broken", "copy", "corrupt", "damage", "former", "old", "orig", "save",
];

/// Returns true if the name of a copied home, or of another renamed directory, is that of an
/// archive of it. Without its dot, the name of a home is that of the program too, and needs a word
/// that says so, and no version.
pub(super) fn is_archived_copy(path: &Path) -> bool {
    let name = name_of(path);
    let (stem, _) = name.rsplit_once('.').unwrap_or((&name, ""));
    let stem = stem.trim_end_matches(".tar");
    let has_version = stem.split('.').zip(stem.split('.').skip(1)).any(|(before, after)| {
        before.ends_with(|c: char| c.is_ascii_digit()) && after.starts_with(|c: char| c.is_ascii_digit())
    });
    let is_copy = name.starts_with('.') || !has_version && WORDS.iter().any(|word| stem.ends_with(word));
    is_copy && is_archive_name(&name)
}

/// Returns true if the name, in lower case, is one of an archive, or of a compressed or encrypted
/// file.
pub(super) fn is_archive_name(name: &str) -> bool {
    const ENDS: [&str; 11] = ["7z", "age", "bz2", "gpg", "gz", "rar", "tar", "tgz", "xz", "zip", "zst"];
    name.rsplit_once('.').is_some_and(|(_, end)| ENDS.contains(&end))
}

/// Returns the name of a file in lower case.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or(OsStr::new("")).to_string_lossy().to_lowercase()
}

/// Returns the name of a directory in lower case, without a leading dot, or that of a JSON file
/// without its end: the trash of a desktop puts a number before it.
pub(super) fn stem_of(original: &Utf8Path) -> String {
    let name = original.file_name().unwrap_or_default().trim_start_matches('.').to_lowercase();
    name.strip_suffix(".json").map_or(name.clone(), str::to_owned)
}

/// Returns true if the name of `path` is one that people and programs give to a renamed or copied
/// directory `original`. Another word behind a hyphen makes the name of another app.
pub(super) fn is_name_of_copy(path: &Path, original: &Utf8Path) -> bool {
    let name = name_of(path);
    let Some((before, after)) = name.split_once(&stem_of(original)) else { return false };
    let word = after.trim_start_matches(['-', '_']);
    // Without a separator, only a whole word counts: `myownllmold`, not `myownllmolder`.
    let is_of_copy = |known: &&str| if word == after { word == *known } else { word.contains(*known) };
    // A time stamp begins with a digit.
    let is_other_word = word.starts_with(char::is_alphabetic) && !WORDS.iter().any(is_of_copy);
    !before.ends_with(char::is_alphanumeric) && !is_other_word
}

/// Returns true if the name of a file, or of a directory on the way to it, suggests an identity
/// file.
pub(super) fn suggests_identity(path: &Path) -> bool {
    name_of(path).contains(IDENTITY) || is_in_secrets(path)
}

pub(super) fn is_in_secrets(path: &Path) -> bool {
    path.iter().any(|part| part.to_string_lossy().to_lowercase().contains(SECRETS))
}

/// Returns a free name beside `path` that no program reads.
pub(super) fn free_beside(disk: &dyn Disk, path: &Path) -> PathBuf {
    free_name(disk, |number| set_aside_name(path, number.into()))
}

pub(super) fn free_name(disk: &dyn Disk, name: impl Fn(u32) -> PathBuf) -> PathBuf {
    let is_free = |path: &PathBuf| disk.stat(path).is_err_and(|error| error.is_absent());
    (1..1000).map(&name).find(is_free).unwrap_or_else(|| name(1000))
}
