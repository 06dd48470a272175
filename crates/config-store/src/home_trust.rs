//! The checks before a change: who decides about the home, and what a write would overwrite.

use std::path::Path;

use myownllm_config_model::Document;
use myownllm_durable_fs::trust::{
    HomeTrust, OwnershipProblem, OwnershipProblemKind, check_symlink_target, read_for_display,
};
use myownllm_durable_fs::{DiskError, DiskLookup};
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{LayoutPaths, MYOWNLLM, check_overlap};

use crate::{Store, StoreError};

impl Store<'_> {
    /// Checks that only the home's owner and root decide where a change of the home goes, and that
    /// the daemon home is a directory of its own: the config of a daemon in the app's home would be
    /// the app's.
    pub(crate) fn check_trust(&self) -> Result<HomeTrust, StoreError> {
        let home = &self.paths.app_home;
        let trust = HomeTrust::inspect(&*self.disk, home.as_ref())
            .map_err(StoreError::disk("look at the app's home", home))?;
        if let Some(problem) = trust.forbids_change() {
            return Err(StoreError::Untrusted { problem: problem.clone() });
        }
        let disk = DiskLookup(&*self.disk);
        check_overlap(home, &self.paths.daemon_home, &disk).map_err(StoreError::Homes)?;
        Ok(trust)
    }

    /// Checks that no symlink makes the app's config the daemon's config, or puts it into the
    /// daemon home: each program would overwrite the other's data. Also checks that no other user
    /// decides where a symlink leads: for root, the target could be anywhere.
    pub(crate) fn check_apart(&self) -> Result<(), StoreError> {
        let LayoutPaths { app_config: config, daemon_config, daemon_home, .. } = &*self.paths;
        match check_symlink_target(&*self.disk, config.as_ref()) {
            Ok(None) => {}
            Ok(Some(problem)) => return Err(self.foreign_link(config, problem)),
            Err(source) => return Err(StoreError::Unreadable { path: config.clone(), source }),
        }
        let shared = |link: &Utf8Path| StoreError::Shared { path: config.clone(), link: link.to_owned() };
        if let (Some(target), Some(home)) = (self.symlink_target(config), self.canonical(daemon_home))
            && target.starts_with(&home)
        {
            return Err(shared(config));
        }
        // The config of MyOwnLLM, which has another schema.
        let ours = Path::new(&*MYOWNLLM.app_dir).join(&*MYOWNLLM.config_file);
        let is_anothers = self.keeps_config && !self.schema.is_myownllm() && !config.ends_with(&ours);
        if is_anothers && self.canonical(config).is_some_and(|file| file.ends_with(ours)) {
            return Err(StoreError::NoSchema { path: config.clone(), app: MYOWNLLM.name.into_owned() });
        }
        if self.symlink_target(daemon_config).is_some_and(|target| self.canonical(config) == Some(target)) {
            return Err(shared(daemon_config));
        }
        Ok(())
    }

    /// Reads a config or a backup, whose content may be shown.
    pub(crate) fn read(&self, path: impl AsRef<Path>) -> Result<Vec<u8>, DiskError> {
        read_for_display(&*self.disk, path.as_ref(), self.limits.config_bytes)
    }

    pub(crate) fn foreign_link(&self, path: &Utf8Path, problem: OwnershipProblem) -> StoreError {
        let path = path.to_owned();
        let file = self.disk.stat_follow(path.as_ref()).ok().and_then(|meta| meta.owner);
        match (&problem.kind, file) {
            (&OwnershipProblemKind::ForeignSymlink { uid: by }, Some(file)) => {
                StoreError::ForeignLink { path, by, of: file.uid }
            }
            _ => StoreError::Untrusted { problem },
        }
    }

    /// Checks that `bytes` may replace the config, before anything is changed. With `is_json`, also
    /// checks that `bytes` parses. Fails with [`StoreError::ConfigIsBackup`],
    /// [`StoreError::Shared`], [`StoreError::ForeignLink`]; with [`StoreError::TooMuch`] if `bytes`
    /// could not be read again.
    pub(crate) fn check_replacing(&self, bytes: &[u8], is_json: bool) -> Result<(), StoreError> {
        self.check_apart()?;
        let LayoutPaths { app_config: config, backups, .. } = &*self.paths;
        let limit = self.limits.config_bytes;
        let too_much = |why| StoreError::TooMuch { path: config.clone(), why };
        if bytes.len() as u64 > limit {
            return Err(too_much(format!("it would have more than {} MiB", limit >> 20)));
        }
        if let (Some(backup), Some(dir)) = (self.symlink_target(config), self.canonical(backups))
            && backup.parent() == Some(&*dir)
        {
            return Err(StoreError::ConfigIsBackup { path: config.clone(), backup });
        }
        match Document::parse(bytes) {
            Err(error) if is_json => Err(too_much(error.kind.to_string())),
            _ => Ok(()),
        }
    }
}
