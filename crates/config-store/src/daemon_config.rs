//! The daemon's own config in the daemon home. Publishes it, and replaces the paths that still lead
//! to the old location of the daemon's files. Finds a file in its place that is not the daemon's:
//! the app's config, both in one file, no config at all, or one that no daemon can read. A daemon
//! that starts on such a file drops the keys that it does not know, or the whole file.

use myownllm_config_model::{DaemonFile, Document, Parsed, daemon_config, droppable_settings, recover};
use myownllm_durable_fs::{Replaced, make_private_dir, rename_or_link, replace};
use myownllm_paths::LayoutPaths;
use myownllm_paths::camino::Utf8Path;
use myownllm_salvage::{Rebased, SHARED_KEYS, Shape};

use crate::plan::NEWEST_VERSION;
use crate::read::ConfigFile;
use crate::report::{Misplaced, SetAside};
use crate::save::MAX_ATTEMPTS;
use crate::sources::Source;
use crate::store::{Locked, PRIVATE, with_suffix};
use crate::{BackupId, BackupKind, FileShape, Store, StoreError};

const WRITE: &str = "write the daemon's config";

/// A misplaced file, and its part that is the daemon's.
pub(crate) struct MisplacedConfig {
    pub(crate) misplaced: Misplaced,
    previous: Vec<u8>,
    /// The daemon's own part.
    daemon: Option<Vec<u8>>,
}

impl Store<'_> {
    /// Returns the daemon's config as it is and as it should be, and the paths that differ, once
    /// the files for which `arrives` returns true are at their new paths. Returns `None` if the
    /// config is missing or cannot be read.
    pub(crate) fn read_stale_paths(
        &self,
        arrives: &dyn Fn(&str, &str) -> bool,
    ) -> Option<(Vec<u8>, Document, Vec<Rebased>)> {
        let previous = self.read(&self.paths.daemon_config).ok()?;
        let mut document = Document::parse(&previous).ok()?.document;
        let is_new = |old: &str, new: &str| arrives(old, new) || self.is_there(new);
        let found = self.rebase_where(&mut Document::empty(), Some(&mut document), &is_new);
        Some((previous, document, found.into_iter().filter(|path| path.rebased).collect()))
    }

    /// Judges the file in the daemon's place. Returns `None` if the file is the daemon's config, is
    /// missing, cannot be read, or is the app's config by a symlink.
    pub(crate) fn judge_daemon_config(&self) -> Option<MisplacedConfig> {
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
        Some(MisplacedConfig { misplaced, previous, daemon })
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
    pub(crate) fn is_one_config(&self) -> bool {
        let daemon_config = self.canonical(&self.paths.daemon_config);
        daemon_config.is_some() && daemon_config == self.canonical(&self.paths.app_config)
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
    pub(crate) fn rebase_daemon_paths(&self) -> Result<Vec<Rebased>, StoreError> {
        self.check_trust()?;
        let stale = self.read_stale_paths(&|_, _| false).filter(|(_, _, found)| !found.is_empty());
        let Some((previous, document, found)) = stale else { return Ok(Vec::new()) };
        self.check_apart()?;
        self.keep(&previous, &[BackupKind::Kept], BackupKind::Kept)?;
        match self.replace_daemon_config(&previous, &document.to_bytes())? {
            true => Ok(found),
            false => Err(StoreError::conflict(&self.paths.daemon_config)),
        }
    }

    /// Exchanges the daemon's config; its content must be among the backups. Removes what a killed
    /// run left beside it first. Returns `false` if another program wrote the file meanwhile.
    pub(crate) fn replace_daemon_config(&self, previous: &[u8], bytes: &[u8]) -> Result<bool, StoreError> {
        let path = &self.paths.daemon_config;
        self.clear_leftovers(None, &mut Vec::new());
        let replaced = replace(&self.dir, path.as_ref(), bytes, previous, self.limits.config_bytes);
        match replaced.map_err(StoreError::disk(WRITE, path))? {
            Replaced::Expected { displaced, .. } => {
                // The content of the displaced file is among the backups.
                if let Err(error) = displaced.discard(&self.dir) {
                    tracing::warn!(%path, %error, "a displaced file was not removed");
                }
                Ok(true)
            }
            Replaced::Conflict { theirs: displaced, .. } => {
                self.restore_displaced(bytes, displaced)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    /// Returns `false` if a config of the daemon's has appeared meanwhile.
    pub(crate) fn publish_daemon_half(&self, half: &[u8]) -> Result<bool, StoreError> {
        let LayoutPaths { app_home, daemon_home, daemon_config, .. } = &*self.paths;
        let failed = StoreError::disk(WRITE, daemon_config);
        make_private_dir(&self.dir, app_home.as_ref(), daemon_home.as_ref(), self.owner())
            .map_err(&failed)?;
        match self.publish(daemon_config, half, PRIVATE) {
            Ok(()) => Ok(true),
            Err(error) if error.is_already_exists() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    pub(crate) fn sync_daemon_half(&self) -> Result<(), StoreError> {
        let LayoutPaths { app_home, daemon_home, daemon_config, .. } = &*self.paths;
        let sync = || {
            self.dir.sync_file(daemon_config.as_ref())?;
            self.dir.sync_dir(daemon_home.as_ref())?;
            self.dir.sync_dir(app_home.as_ref())
        };
        sync().map_err(StoreError::disk("flush the daemon's config", daemon_config))
    }

    pub(crate) fn back_up_misplaced(&self) -> Result<Option<SetAside>, StoreError> {
        self.check_trust()?;
        let Some(MisplacedConfig { misplaced, previous, .. }) = self.judge_daemon_config() else {
            return Ok(None);
        };
        let backup = self.put(BackupKind::Kept, &previous)?;
        Ok(Some(SetAside { misplaced, backup, restored_from: None }))
    }

    pub(crate) fn back_up_droppable(&self) -> Result<Option<(BackupId, Vec<String>)>, StoreError> {
        let Ok(bytes) = self.read(&self.paths.daemon_config) else { return Ok(None) };
        let Ok(Parsed { document, .. }) = Document::parse(&bytes) else { return Ok(None) };
        let settings = droppable_settings(&document);
        if settings.is_empty() {
            return Ok(None);
        }
        self.check_trust()?;
        // The daemon may have written other settings since.
        let file = document.root().to_value();
        let has_all = |id: &BackupId| {
            let bytes = self.intact_bytes(id).ok()??;
            let backup = Document::parse(&bytes).ok()?.document.root().to_value();
            Some(settings.iter().all(|at| backup.pointer(at) == file.pointer(at)))
        };
        let listing = self.list_backups().map_err(|error| self.backup_failed(error))?;
        let mut kept = listing.backups.iter().filter(|id| id.kind == BackupKind::Kept);
        if kept.any(|id| has_all(id) == Some(true)) {
            return Ok(None);
        }
        Ok(Some((self.put(BackupKind::Kept, &bytes)?, settings)))
    }

    pub(crate) fn move_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError> {
        self.check_trust()?;
        let path = &self.paths.daemon_config;
        for _ in 0..MAX_ATTEMPTS {
            let Some(MisplacedConfig { misplaced, previous, daemon }) = self.judge_daemon_config() else {
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
