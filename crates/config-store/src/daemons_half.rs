//! The daemon's own config in the daemon home: finds and replaces the paths that still lead to the
//! old location of the daemon's files.

use myownllm_config_model::Document;
use myownllm_durable_fs::{Replaced, replace};
use myownllm_salvage::Rebased;

use crate::backups::BackupKind;
use crate::error::StoreError;
use crate::locked::Locked;
use crate::store::Store;

impl Store<'_> {
    /// Returns the daemon's config as it is and as it should be, and the paths that differ. Returns
    /// `None` if the config is missing or cannot be read.
    fn read_stale_paths(&self) -> Option<(Vec<u8>, Document, Vec<Rebased>)> {
        let previous = self.disk.read(&self.paths.daemon_config, self.limits.config_bytes).ok()?;
        let mut document = Document::parse(&previous).ok()?.document;
        let found = self.rebase(&mut Document::empty(), Some(&mut document));
        Some((previous, document, found.into_iter().filter(|path| path.rebased).collect()))
    }

    pub(crate) fn find_stale_paths(&self) -> Vec<Rebased> {
        self.read_stale_paths().map(|(_, _, found)| found).unwrap_or_default()
    }
}

impl Locked<'_> {
    pub(crate) fn mend_paths(&self) -> Result<Vec<Rebased>, StoreError> {
        self.check_trust()?;
        let path = &self.paths.daemon_config;
        let Some((previous, document, found)) =
            self.read_stale_paths().filter(|(_, _, found)| !found.is_empty())
        else {
            return Ok(Vec::new());
        };
        self.check_apart()?;
        self.keep(&previous, &[BackupKind::Kept], BackupKind::Kept)?;
        if self.replace_daemon_config(&previous, &document.to_bytes())? {
            Ok(found)
        } else {
            Err(StoreError::Conflict { path: path.clone() })
        }
    }

    /// Exchanges the daemon's config; its content must be among the backups. Returns `false` if
    /// another program wrote the file meanwhile.
    pub(crate) fn replace_daemon_config(&self, previous: &[u8], bytes: &[u8]) -> Result<bool, StoreError> {
        let path = &self.paths.daemon_config;
        let failed =
            |source| StoreError::Disk { doing: "write the daemon's config", path: path.clone(), source };
        match replace(&self.dir, path, bytes, previous, self.limits.config_bytes).map_err(failed)? {
            Replaced::Expected { displaced, .. } => {
                // The content of the displaced file is among the backups.
                let _ = displaced.discard(&self.dir);
                Ok(true)
            }
            Replaced::Conflict { theirs: displaced, .. } => {
                self.restore_displaced(bytes, displaced)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}
