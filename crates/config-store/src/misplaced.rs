//! Finds a file with the name of the daemon's config that is not the daemon's: the app's config,
//! both in one file, no config at all, or one that no daemon can read. A daemon that starts on such
//! a file drops the keys that it does not know, or the whole file.

use myownllm_config_model::{DaemonFile, Document, daemon_config, recover};
use myownllm_durable_fs::rename_or_link;
use myownllm_paths::camino::Utf8Path;
use myownllm_salvage::{SHARED_KEYS, Shape};

use crate::plan::NEWEST_VERSION;
use crate::read::ConfigFile;
use crate::report::{Misplaced, SetAside};
use crate::save::MAX_ATTEMPTS;
use crate::sources::Source;
use crate::store::{Locked, with_suffix};
use crate::{BackupId, BackupKind, FileShape, Store, StoreError};

/// A misplaced file, and its part that is the daemon's.
pub(crate) struct JudgedFile {
    pub(crate) misplaced: Misplaced,
    previous: Vec<u8>,
    /// The daemon's own part.
    daemon: Option<Vec<u8>>,
}

impl Store<'_> {
    /// Judges the file in the daemon's place. Returns `None` if the file is the daemon's config, is
    /// missing, cannot be read, or is the app's config by a symlink.
    pub(crate) fn judge_daemon_config(&self) -> Option<JudgedFile> {
        if !self.keeps_config {
            return None;
        }
        let path = &self.paths.daemon_config;
        // Every start runs this code, and mostly this one stat is enough.
        self.disk.stat(path.as_ref()).ok()?;
        let file = self.read_config(path).ok()?;
        let previous = file.bytes()?.to_vec();
        let (shape, daemon) = match &file {
            ConfigFile::Json { document, .. } => self.split_daemon_config(document)?,
            // The complete members may say where the identity file is.
            _ => (FileShape::Corrupt, recover(&previous).map(|found| self.without_app_keys(&found.document))),
        };
        if self.is_one_config() {
            return None;
        }
        let daemon = daemon.and_then(|daemon| DaemonFile::Config.mend(&daemon.to_bytes()));
        let (daemon, left_out) = daemon.unzip();
        let own = |keys: &[&str]| daemon.as_ref().map_or_else(Vec::new, |daemon| present_keys(daemon, keys));
        let mut daemon_keys = own(&daemon_config::OWN_KEYS);
        if shape == FileShape::Daemon {
            daemon_keys.extend(own(&SHARED_KEYS));
        }
        let daemon = daemon.filter(|_| !daemon_keys.is_empty()).map(|daemon| daemon.to_bytes());
        let misplaced = Misplaced { shape, daemon_keys, left_out: left_out.unwrap_or_default() };
        Some(JudgedFile { misplaced, previous, daemon })
    }

    /// Returns the shape of a document in the place of the daemon's config, and its part that is
    /// the daemon's. Returns `None` if the document is the daemon's alone, and a daemon can read
    /// it. One key of the daemon's makes the document the daemon's in part: the key may say where
    /// the identity file is.
    fn split_daemon_config(&self, document: &Document) -> Option<(FileShape, Option<Document>)> {
        let is_the_apps = matches!(self.schema.shape(document), Shape::App | Shape::Mixed);
        let has = |keys: &[&str]| !present_keys(document, keys).is_empty();
        let shape = match (is_the_apps, has(&daemon_config::OWN_KEYS)) {
            (true, true) => FileShape::Mixed,
            (true, false) => return Some((FileShape::App, None)),
            (false, false) if !has(&SHARED_KEYS) => return Some((FileShape::Unknown, None)),
            (false, _) if DaemonFile::Config.is_readable(document.bytes_read()) => return None,
            (false, _) => FileShape::Daemon,
        };
        Some((shape, Some(self.without_app_keys(document))))
    }

    fn without_app_keys(&self, document: &Document) -> Document {
        let mut daemon = document.clone().into_utf8();
        let is_daemons = |key: &str| daemon_config::OWN_KEYS.contains(&key) || SHARED_KEYS.contains(&key);
        for (key, _) in self.schema.defaults().root().members().filter(|(key, _)| !is_daemons(key)) {
            daemon.remove(&[&key]);
        }
        daemon
    }

    /// Returns true if a symlink makes the configs of the app and of the daemon one file.
    fn is_one_config(&self) -> bool {
        let daemon_config = self.canonical(&self.paths.daemon_config);
        daemon_config.is_some() && daemon_config == self.canonical(&self.paths.config)
    }

    /// Returns the app's config from the place of the daemon's, without the daemon's keys: the last
    /// source of a repair.
    pub(crate) fn misplaced_source(&self) -> Option<Source> {
        let path = &self.paths.daemon_config;
        let Ok(ConfigFile::Json { mut document, .. }) = self.read_config(path) else { return None };
        let is_the_apps = matches!(self.schema.shape(&document), Shape::App | Shape::Mixed);
        if !is_the_apps || self.is_one_config() {
            return None;
        }
        for key in daemon_config::OWN_KEYS {
            document.remove(&[key]);
        }
        let name = path.strip_prefix(&self.paths.app_home).unwrap_or(path);
        Some(Source { name: name.to_string(), document })
    }
}

impl Locked<'_> {
    pub(crate) fn back_up_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        self.check_trust()?;
        let Some(JudgedFile { misplaced, previous, .. }) = self.judge_daemon_config() else {
            return Ok(None);
        };
        let backup = self.put(BackupKind::Kept, &previous)?;
        Ok(Some(SetAside { misplaced, backup, restored_from: None }))
    }

    pub(crate) fn clear_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        self.check_trust()?;
        let path = &self.paths.daemon_config;
        for _ in 0..MAX_ATTEMPTS {
            let Some(JudgedFile { misplaced, previous, daemon }) = self.judge_daemon_config() else {
                return Ok(None);
            };
            self.check_apart()?;
            let backup = self.put(BackupKind::Kept, &previous)?;
            let (restored_from, daemon) = match daemon {
                Some(own) => (None, Some(own)),
                None => self.newest_daemon_part().unzip(),
            };
            let is_cleared = match &daemon {
                Some(daemon) => self.replace_daemon_config(&previous, daemon)?,
                None => self.move_aside(path, &previous)?,
            };
            if is_cleared {
                tracing::info!(%backup, shape = ?misplaced.shape, "set the daemon's config aside");
                return Ok(Some(SetAside { misplaced, backup, restored_from }));
            }
        }
        Err(StoreError::conflict(path))
    }

    /// Returns the newest daemon's half among the backups, and its bytes.
    fn newest_daemon_part(&self) -> Option<(BackupId, Vec<u8>)> {
        let listing = self.list_backups().ok()?;
        let parts = listing.backups.into_iter().rev().filter(|id| id.kind == BackupKind::DaemonPart);
        let is_known = |bytes: &[u8]| {
            let version = Document::parse(bytes).ok()?.document.get(&["version"])?.as_f64();
            version.filter(|version| *version <= NEWEST_VERSION)
        };
        parts
            .filter_map(|id| Some((self.intact_bytes(&id).ok()??, id)))
            .find(|(bytes, _)| is_known(bytes).is_some())
            .map(|(bytes, id)| (id, bytes))
    }

    /// Removes a file whose content is among the backups from its place. Returns `false` if the
    /// place holds another file by now; that file is moved back. A symlink is kept beside its
    /// place, and its target is not touched.
    fn move_aside(&self, path: &Utf8Path, previous: &[u8]) -> Result<bool, StoreError> {
        let failed = StoreError::disk("move aside the daemon's config", path);
        let is_symlink = self.disk.stat(path.as_ref()).map_err(&failed)?.is_symlink();
        let mut aside = with_suffix(path, ".aside");
        for number in 2.. {
            match rename_or_link(&self.dir, path.as_ref(), aside.as_ref()) {
                Ok(()) => break,
                Err(error) if error.is_already_exists() => {
                    aside = with_suffix(path, &format!(".aside-{number}"));
                }
                Err(error) if error.is_not_found() => return Ok(false),
                Err(error) => return Err(failed(error)),
            }
        }
        let is_it = self.disk.content_eq(aside.as_ref(), previous).unwrap_or(false);
        if !is_it {
            // If a newer file has the place meanwhile, the file stays beside it.
            if let Err(error) = rename_or_link(&self.dir, aside.as_ref(), path.as_ref()) {
                tracing::warn!(path = %aside, %error, "a displaced config stays beside its place");
            }
        } else if !is_symlink {
            self.dir.unlink(aside.as_ref()).map_err(&failed)?;
        }
        self.dir.sync_dir(self.paths.daemon_home.as_ref()).map_err(&failed)?;
        Ok(is_it)
    }
}

fn present_keys(document: &Document, keys: &[&str]) -> Vec<String> {
    keys.iter().filter(|key| document.get(&[key]).is_some()).map(|key| (*key).to_owned()).collect()
}
