//! Reads the config, and tells four cases apart: missing, unreadable, not a regular file,
//! half-written.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use myownllm_config_model::{Diagnostic, Document, ParseError, Parsed};
use myownllm_durable_fs::{
    DirEntry, Disk, DiskError, FileId, FileKind, Metadata, PART_SUFFIX, SWAP_SUFFIX, TEMP_PREFIX, Timestamp,
};

use crate::{Store, StoreError};

/// Size, times and inode of an unparsable file must stay the same for this long before the file
/// counts as corrupt: former versions of the app, and older daemons, truncate the file and write it
/// in place.
const STABLE_FOR: Duration = Duration::from_millis(250);
/// The interval of the looks meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The longest wait for a file that keeps changing and never parses.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The content of the config's place.
pub(crate) enum ConfigFile {
    Missing,
    /// Not a JSON object.
    Corrupt {
        bytes: Vec<u8>,
        error: ParseError,
    },
    /// A JSON object, with the diagnostics about its bytes.
    Json {
        document: Document,
        diagnostics: Vec<Diagnostic>,
    },
}

impl ConfigFile {
    /// Returns the bytes of the file; `None` if it is missing.
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            ConfigFile::Missing => None,
            ConfigFile::Corrupt { bytes, .. } => Some(bytes),
            ConfigFile::Json { document, .. } => Some(document.bytes_read()),
        }
    }
}

#[derive(PartialEq)]
struct Signature(u64, Option<FileId>, Timestamp, Timestamp);

impl Signature {
    fn of(meta: &Metadata) -> Self {
        Self(meta.len, meta.id, meta.modified, meta.changed)
    }
}

impl Store<'_> {
    /// Reads and parses the app's config.
    pub(crate) fn read_file(&self) -> Result<ConfigFile, StoreError> {
        self.read_config(&self.paths.config)
    }

    /// Reads and parses a config. Reads a file that does not parse again until no program writes it
    /// any more.
    pub(crate) fn read_config(&self, path: &Path) -> Result<ConfigFile, StoreError> {
        let begin = self.clock.elapsed();
        loop {
            let Some(bytes) = self.read_once(path)? else { return Ok(ConfigFile::Missing) };
            match Document::parse_vec(bytes) {
                Ok(Parsed { document, diagnostics, .. }) => {
                    return Ok(ConfigFile::Json { document, diagnostics });
                }
                Err((error, bytes)) if self.is_stable(path, &bytes)? => {
                    return Ok(ConfigFile::Corrupt { bytes, error });
                }
                Err(_) => {}
            }
            if self.clock.elapsed().saturating_sub(begin) > READ_TIMEOUT {
                return Err(StoreError::Unstable { path: path.to_owned() });
            }
        }
    }

    /// Returns whether the file keeps holding these bytes, untouched, for a while.
    fn is_stable(&self, path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
        let Some(first) = self.signature(path)? else { return Ok(false) };
        // The file may have changed between the read and the stat.
        if self.read_once(path)?.as_deref() != Some(bytes) {
            self.clock.sleep(POLL_INTERVAL);
            return Ok(false);
        }
        let since = self.clock.elapsed();
        while self.clock.elapsed().saturating_sub(since) < STABLE_FOR {
            self.clock.sleep(POLL_INTERVAL);
            if self.signature(path)?.as_ref() != Some(&first) {
                return Ok(false);
            }
        }
        // Two writes within one tick of the file system's clock have the same time.
        Ok(self.read_once(path)?.as_deref() == Some(bytes))
    }

    fn signature(&self, path: &Path) -> Result<Option<Signature>, StoreError> {
        match self.disk.stat_follow(path) {
            Ok(meta) => Ok(Some(Signature::of(&meta))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(unreadable(path, source)),
        }
    }

    /// Returns the bytes of the file; `None` only if no entry has its name.
    fn read_once(&self, path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
        let limit = self.limits.config_bytes;
        let error = match self.disk.read(path, limit) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        let not_regular = |what| Err(StoreError::NotRegular { path: path.to_owned(), what });
        match error.kind() {
            // A broken symlink is not "missing": the file's owner keeps the file elsewhere, and its
            // directory is gone.
            ErrorKind::NotFound => match self.disk.stat(path) {
                Ok(meta) if meta.is_symlink() => not_regular("a link to nothing"),
                Err(error) if error.is_not_found() => Ok(None),
                // The file came back in this moment.
                Ok(_) => self.disk.read(path, limit).map(Some).map_err(|source| unreadable(path, source)),
                Err(source) => Err(unreadable(path, source)),
            },
            ErrorKind::FileTooLarge => Err(StoreError::TooLarge { path: path.to_owned(), limit }),
            _ => match self.disk.stat_follow(path).map(|m| m.kind) {
                Ok(FileKind::Dir) => not_regular("a directory"),
                Ok(FileKind::Other) => not_regular("a pipe, a socket or a device"),
                _ => Err(unreadable(path, error)),
            },
        }
    }

    /// Returns the names that a daemon gives to a config that it cannot parse, or that it is about
    /// to write: sources for a repair.
    pub(crate) fn daemon_leftovers(&self) -> impl Iterator<Item = PathBuf> {
        [".corrupt", ".tmp"].into_iter().filter_map(|end| {
            let mut name = self.paths.config.file_name()?.to_owned();
            name.push(end);
            Some(self.paths.config.with_file_name(name))
        })
    }

    /// Returns the temporary files of killed runs, beside the config and beside the target of a
    /// symlink.
    pub(crate) fn leftovers_near_config(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let config = &self.paths.config;
        let Some((dir, name)) = config.parent().zip(config.file_name()) else { return found };
        let mut linked = false;
        // A directory that cannot be listed may hide a temporary file, which then only waits for a
        // later run.
        let _ = self.disk.for_each_entry(dir, &mut |entry| {
            if is_temporary(&entry) {
                found.push(dir.join(&entry.name));
            } else if entry.name == name {
                linked = entry.kind == FileKind::Symlink;
            }
            ControlFlow::Continue(())
        });
        if linked
            && let Ok(real) = self.disk.canonicalize(config)
            && let Some(other) = real.parent().filter(|p| *p != dir)
        {
            let _ = self.disk.for_each_entry(other, &mut |entry| {
                if is_temporary(&entry) {
                    found.push(other.join(&entry.name));
                }
                ControlFlow::Continue(())
            });
        }
        found.sort();
        found.retain(|path| !is_daemon_state(&*self.disk, path));
        found
    }
}

fn unreadable(path: &Path, source: DiskError) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), source }
}

/// Returns whether [`myownllm_durable_fs::stale_temps`] would return the entry.
pub(crate) fn is_temporary(entry: &DirEntry) -> bool {
    entry.kind == FileKind::File
        && entry.name.to_str().is_some_and(|n| {
            n.starts_with(TEMP_PREFIX) && (n.ends_with(PART_SUFFIX) || n.ends_with(SWAP_SUFFIX))
        })
}

/// Returns true if a temporary file holds an identity, a roster or a state, whole or torn. No run of
/// this crate leaves such a file, and it may be the only copy: it must stay.
pub(crate) fn is_daemon_state(disk: &dyn Disk, path: &Path) -> bool {
    const LIMIT: u64 = 1 << 20;
    let Ok(bytes) = disk.read(path, LIMIT) else { return false };
    let holds = |mark: &[u8]| bytes.windows(mark.len()).any(|window| window == mark);
    let is_state = || {
        let value = serde_json::from_slice::<serde_json::Value>(&bytes);
        value.is_ok_and(|value| value.get("network_id").is_some())
    };
    holds(b"\"secret_key\"") || holds(b"\"authorized_devices\"") || is_state()
}

/// Returns a path as JSON and messages show it.
pub(crate) fn shown(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
