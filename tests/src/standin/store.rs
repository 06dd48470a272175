//! The home on disk. It is written as the real daemons write it, not as this workspace writes.
#![expect(
    clippy::disallowed_methods,
    reason = "the stand-in writes as the real daemons do, with their faults"
)]

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use super::Version;

/// The directory named by `MYOWNMESH_HOME`.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    home: PathBuf,
    version: Version,
}

impl Store {
    pub(crate) fn open(home: &Path, version: Version) -> io::Result<Self> {
        make_dirs(home, 0o755)?;
        Ok(Self { home: home.to_owned(), version })
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("config.json")
    }

    pub(crate) fn identity(&self) -> PathBuf {
        self.home.join(".secrets").join("identity.json")
    }

    pub(crate) fn roster(&self, network_id: &str) -> PathBuf {
        self.home.join("mesh").join("rosters").join(format!("{network_id}.json"))
    }

    pub(crate) fn state(&self, network_id: &str) -> PathBuf {
        self.home.join("mesh").join("states").join(format!("{network_id}.json"))
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.home.join("daemon.sock")
    }

    /// Returns the bytes of a file; `None` if it does not exist, which includes a dangling symlink.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        if fs::metadata(path).is_err() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        File::open(path)?.read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Renames a file that 0.3.8 cannot read; the daemon goes on with defaults.
    pub(crate) fn set_aside_corrupt(&self, path: &Path) -> io::Result<()> {
        let mut name = path.as_os_str().to_owned();
        name.push(".corrupt");
        fs::rename(path, name)
    }

    /// Writes the config. 0.1.2 writes in place and readable by all; 0.3.8 writes through a
    /// temporary file that only the owner can read.
    pub(crate) fn write_config(&self, text: &str) -> io::Result<()> {
        match self.version {
            Version::V012 => write(&self.config(), text, 0o644),
            Version::V038 => self.write_through_tmp(&self.config(), text),
        }
    }

    /// Leaves what [`Store::write_config`] leaves if the daemon dies after `bytes` bytes.
    pub(crate) fn write_torn_config(&self, text: &str, bytes: u64) {
        let end = usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len());
        let (path, mode) = match self.version {
            Version::V012 => (self.config(), 0o644),
            Version::V038 => (temporary(&self.config()), 0o600),
        };
        let _ = write(&path, &text[..end], mode);
    }

    /// Writes a file under `.secrets` or `mesh`.
    pub(crate) fn write_private(&self, path: &Path, text: &str) -> io::Result<()> {
        if let Some(dir) = path.parent() {
            let mode = if dir.ends_with(".secrets") { 0o700 } else { 0o755 };
            make_dirs(dir, mode)?;
        }
        match self.version {
            Version::V012 => write(path, text, 0o600),
            Version::V038 => self.write_through_tmp(path, text),
        }
    }

    fn write_through_tmp(&self, path: &Path, text: &str) -> io::Result<()> {
        let tmp = temporary(path);
        write(&tmp, text, 0o600)?;
        fs::rename(&tmp, path)
    }
}

fn temporary(path: &Path) -> PathBuf {
    let mut tmp = path.as_os_str().to_owned();
    tmp.push(".tmp");
    PathBuf::from(tmp)
}

/// Unlinks a socket path, even if another daemon listens there.
#[cfg(unix)]
pub(crate) fn unlink(path: &Path) {
    let _ = fs::remove_file(path);
}

fn make_dirs(dir: &Path, mode: u32) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, mode);
    #[cfg(not(unix))]
    let _ = mode;
    builder.create(dir)
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options.open(path)?.write_all(text.as_bytes())
}
