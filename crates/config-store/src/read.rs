//! Reads the config, and tells four cases apart: missing, unreadable, not a regular file,
//! half-written.

use std::io::ErrorKind;
use std::time::Duration;

use myownllm_config_model::{Diagnostic, Document, ParseError, Parsed};
use myownllm_durable_fs::trust::foreign_symlink;
use myownllm_durable_fs::{DiskError, FileId, FileKind, Timestamp};
use myownllm_paths::camino::Utf8Path;

use crate::{Store, StoreError};

/// Size, times and inode of an unparsable file must stay the same for this long before the file
/// counts as corrupt: earlier versions of the app, and older daemons, truncate the file and write
/// it in place.
const STABLE_FOR: Duration = Duration::from_millis(250);
/// The interval of the checks meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(25);
/// The longest wait for a file that keeps changing and never parses.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// The content of the config's place.
pub(crate) enum ConfigFile {
    Missing,
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
    pub(crate) fn bytes(&self) -> Option<&[u8]> {
        match self {
            ConfigFile::Missing => None,
            ConfigFile::Corrupt { bytes, .. } => Some(bytes),
            ConfigFile::Json { document, .. } => Some(document.bytes_read()),
        }
    }
}

/// Size, inode and times of a file.
type Signature = (u64, Option<FileId>, Timestamp, Timestamp);

impl Store<'_> {
    pub(crate) fn read_file(&self) -> Result<ConfigFile, StoreError> {
        self.read_config(&self.paths.app_config)
    }

    /// Reads and parses a config. Reads a file that does not parse again until no program writes it
    /// any more.
    pub(crate) fn read_config(&self, path: &Utf8Path) -> Result<ConfigFile, StoreError> {
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

    /// Returns true if the file keeps holding these bytes, untouched, for a while.
    fn is_stable(&self, path: &Utf8Path, bytes: &[u8]) -> Result<bool, StoreError> {
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

    fn signature(&self, path: &Utf8Path) -> Result<Option<Signature>, StoreError> {
        match self.disk.stat_follow(path.as_ref()) {
            Ok(meta) => Ok(Some((meta.len, meta.id, meta.modified, meta.changed))),
            Err(error) if error.is_not_found() => Ok(None),
            Err(source) => Err(unreadable(path, source)),
        }
    }

    /// Returns the bytes of the file; `None` only if no entry has its name.
    fn read_once(&self, path: &Utf8Path) -> Result<Option<Vec<u8>>, StoreError> {
        let limit = self.limits.config_bytes;
        if let Ok(Some(problem)) = foreign_symlink(&*self.disk, path.as_ref()) {
            return Err(self.foreign_link(path, problem));
        }
        let error = match self.disk.read(path.as_ref(), limit) {
            Ok(bytes) => return Ok(Some(bytes)),
            Err(error) => error,
        };
        let not_regular = |what| Err(StoreError::NotRegular { path: path.to_owned(), what });
        match error.kind() {
            // A broken symlink is not "missing": the file's owner keeps the file elsewhere, and its
            // directory is gone.
            ErrorKind::NotFound => match self.disk.stat(path.as_ref()) {
                Ok(meta) if meta.is_symlink() => not_regular("a broken symlink"),
                Err(error) if error.is_not_found() => Ok(None),
                // The file came back in this moment.
                Ok(_) => {
                    self.disk.read(path.as_ref(), limit).map(Some).map_err(|source| unreadable(path, source))
                }
                Err(source) => Err(unreadable(path, source)),
            },
            ErrorKind::FileTooLarge => Err(StoreError::TooLarge { path: path.to_owned(), limit }),
            _ => match self.disk.stat_follow(path.as_ref()).map(|m| m.kind) {
                Ok(FileKind::Dir) => not_regular("a directory"),
                Ok(FileKind::Other) => not_regular("a pipe, a socket or a device"),
                _ => Err(unreadable(path, error)),
            },
        }
    }
}

fn unreadable(path: &Utf8Path, source: DiskError) -> StoreError {
    StoreError::Unreadable { path: path.to_owned(), source }
}
