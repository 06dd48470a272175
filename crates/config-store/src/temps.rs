//! Temporary files that killed runs left.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use myownllm_durable_fs::{DirEntry, FileKind, may_be_only_copy};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::Store;

impl Store<'_> {
    /// Returns the temporary files of killed runs, beside the config and beside the target of a
    /// symlink. A directory that cannot be listed may hide one, which then waits for a later run.
    pub(crate) fn leftovers_near_config(&self) -> Vec<PathBuf> {
        let config = &self.paths.config;
        let Some(dir) = config.parent().map(Utf8Path::as_std_path) else { return Vec::new() };
        let entries = self.disk.list(dir).unwrap_or_default();
        let is_config = |entry: &&DirEntry| entry.name.to_str() == config.file_name();
        let is_symlink = entries.iter().find(is_config).is_some_and(|entry| entry.kind == FileKind::Symlink);
        let target = if is_symlink { self.canonical(config) } else { None };
        let mut found = self.temps_among(dir, entries);
        if let Some(other) = target.as_deref().and_then(Path::parent).filter(|other| *other != dir) {
            found.extend(self.temps_among(other, self.disk.list(other).unwrap_or_default()));
        }
        found.sort();
        found
    }

    /// Returns the temporary files among the entries of a directory, without those of the daemon.
    pub(crate) fn temps_among(&self, dir: &Path, entries: Vec<DirEntry>) -> Vec<PathBuf> {
        let is_temp =
            |entry: &DirEntry| entry.kind == FileKind::File && may_be_only_copy(&entry.name).is_some();
        let temps = entries.into_iter().filter(is_temp).map(|entry| dir.join(entry.name));
        temps.filter(|path| !self.is_daemon_state(path)).collect()
    }

    /// Returns true if a temporary file holds an identity, a roster or a state, whole or torn. No
    /// run of this crate leaves such a file, and it may be the only copy: it must stay.
    pub(crate) fn is_daemon_state(&self, path: &Path) -> bool {
        const LIMIT: u64 = 1 << 20;
        let Ok(bytes) = self.disk.read(path, LIMIT) else { return false };
        let contains = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
        let is_state = || {
            let value = serde_json::from_slice::<serde_json::Value>(&bytes);
            value.is_ok_and(|value| value.get("network_id").is_some())
        };
        contains(b"\"secret_key\"") || contains(b"\"authorized_devices\"") || is_state()
    }
}

pub(crate) fn file_name(path: impl AsRef<Path>) -> String {
    path.as_ref().file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

/// Returns the path of a file beside `path`, with a longer name.
pub(crate) fn with_suffix(path: &Utf8Path, suffix: &str) -> Utf8PathBuf {
    format!("{path}{suffix}").into()
}
