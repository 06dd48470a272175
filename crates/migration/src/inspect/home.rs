//! Checks the homes themselves.

use std::io;

use myownllm_durable_fs::{DiskError, Metadata, Op, trust::HomeTrust};

use super::inspector::Inspector;
use crate::error::MigrationError;

impl Inspector<'_> {
    pub(super) fn homes(&mut self) {
        for home in [&self.homes.app, &self.homes.daemon].map(|home| home.as_std_path()) {
            if !home.is_absolute() {
                let unusable = DiskError::new(
                    Op::Use,
                    home,
                    io::Error::new(io::ErrorKind::InvalidInput, "not absolute"),
                );
                self.out.refusals.push(MigrationError::Failed { path: home.into(), source: unusable });
            }
        }
        match self.disk.stat_follow(self.homes.app.as_ref()) {
            Ok(meta) => self.home(&meta),
            Err(error) if error.is_not_found() => {}
            Err(error) => self.out.refusals.push(MigrationError::unreadable(self.homes.app.as_ref(), error)),
        }
    }

    /// Checks the app's home itself and the way to it: a user who can replace the home decides
    /// about everything in it.
    fn home(&mut self, home: &Metadata) {
        let path = self.homes.app.as_std_path();
        self.out.owner = home.owner;
        match HomeTrust::inspect(self.disk, path) {
            Ok(trust) => self.out.refusals.extend(trust.problems.into_iter().map(MigrationError::from)),
            Err(error) => self.out.refusals.push(MigrationError::unreadable(path, error)),
        }
        if home.owner.is_some() && home.mode & 0o1022 == 0o020 {
            self.out.modes.push((path.into(), 0o700));
        }
    }
}
