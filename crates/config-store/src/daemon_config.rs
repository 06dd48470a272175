//! The daemon's own config in the daemon home: publishes it, and finds and replaces the paths that
//! still lead to the old location of the daemon's files.

use myownllm_config_model::Document;
use myownllm_durable_fs::{Replaced, make_private_dir, replace};
use myownllm_salvage::Rebased;

use crate::store::{Locked, PRIVATE};
use crate::{BackupKind, Store, StoreError, StorePaths};

const WRITE: &str = "write the daemon's config";

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
}

impl Locked<'_> {
    pub(crate) fn mend_paths(&self) -> Result<Vec<Rebased>, StoreError> {
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

    /// Exchanges the daemon's config; its content must be among the backups. Returns `false` if
    /// another program wrote the file meanwhile.
    pub(crate) fn replace_daemon_config(&self, previous: &[u8], bytes: &[u8]) -> Result<bool, StoreError> {
        let path = &self.paths.daemon_config;
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
        let StorePaths { app_home, daemon_home, daemon_config, .. } = &self.paths;
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
        let StorePaths { app_home, daemon_home, daemon_config, .. } = &self.paths;
        let sync = || {
            self.dir.sync_file(daemon_config.as_ref())?;
            self.dir.sync_dir(daemon_home.as_ref())?;
            self.dir.sync_dir(app_home.as_ref())
        };
        sync().map_err(StoreError::disk("flush the daemon's config", daemon_config))
    }
}
