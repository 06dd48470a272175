//! The store under the lock of the app's home.

use std::ops::Deref;
use std::sync::Arc;

use myownllm_durable_fs::{DiskError, LockedDir, Owner, publish_new};
use myownllm_paths::camino::Utf8Path;

use crate::{Store, StoreError};

/// The mode of a file that only its owner can read.
pub(crate) const PRIVATE: u32 = 0o600;

pub(crate) struct Locked<'s> {
    /// The store, which reads through the lock.
    pub(crate) store: Store<'s>,
    pub(crate) dir: Arc<LockedDir>,
}

impl<'s> Deref for Locked<'s> {
    type Target = Store<'s>;

    fn deref(&self) -> &Store<'s> {
        &self.store
    }
}

impl Locked<'_> {
    /// Returns the owner of the app's home, to whom new files belong.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.disk.stat_follow(self.paths.app_home.as_ref()).ok().and_then(|meta| meta.owner)
    }

    /// Creates a new file. The file belongs to the owner of the home if the process may give it
    /// away (only root may).
    pub(crate) fn publish(&self, path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
        match publish_new(&self.dir, path.as_ref(), bytes, mode, self.owner()) {
            // Retries only this refusal: after any other error the file may exist already.
            Err(error) if error.is_about_the_owner() => {
                publish_new(&self.dir, path.as_ref(), bytes, mode, None)
            }
            published => published,
        }
    }

    /// Syncs the config and its directory. A config that is recorded as good, or reported as in
    /// place, must survive a power cut, and its writer (another program, or a killed run) may not
    /// have synced it. A missing config is not an error.
    pub(crate) fn sync_config(&self) -> Result<(), StoreError> {
        let path = &self.paths.config;
        let sync = || {
            let real = match self.dir.admit_target(path.as_ref()) {
                Err(error) if error.is_not_found() => return Ok(()),
                real => real?,
            };
            self.dir.sync_file(&real)?;
            self.dir.sync_dir(real.parent().unwrap_or(&real))
        };
        sync().map_err(StoreError::disk("flush the config", path))
    }
}
