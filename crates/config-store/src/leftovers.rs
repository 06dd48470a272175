//! Finds the temporary files that killed runs left, and removes them. Keeps the content that is
//! nowhere else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use myownllm_config_model::{Diagnostic, Document, is_daemon_state};
use myownllm_durable_fs::{
    DirEntry, DiskError, FileKind, SWAP_SUFFIX, is_new_content, may_be_only_copy, stale_temps,
};
use myownllm_paths::camino::Utf8Path;
use myownllm_salvage::Shape;

use crate::plan::Plan;
use crate::store::{Locked, file_name, warning_at};
use crate::{BackupId, BackupKind, Step, Store, StoreError};

impl Store<'_> {
    /// Returns the temporary files of killed runs, beside the config and beside the target of a
    /// symlink. A directory that cannot be listed may hide one, which then waits for a later run.
    pub(crate) fn leftovers_near_config(&self) -> Vec<PathBuf> {
        let config = &self.paths.app_config;
        let Some(dir) = config.parent().map(Utf8Path::as_std_path) else { return Vec::new() };
        let entries = self.disk.list(dir).unwrap_or_default();
        let is_config = |entry: &&DirEntry| entry.name.to_str() == config.file_name();
        let is_symlink = entries.iter().find(is_config).is_some_and(|entry| entry.kind == FileKind::Symlink);
        let target = if is_symlink { self.canonical(config) } else { None };
        let mut found = self.temps_among(dir, entries);
        if let Some(other) = target.as_deref().and_then(Path::parent).filter(|other| *other != dir) {
            found.extend(self.temps_among(other, self.disk.list(other).unwrap_or_default()));
        }
        found.sort();
        found
    }

    /// Returns the temporary files among the entries of a directory, without those of the daemon.
    pub(crate) fn temps_among(&self, dir: &Path, entries: Vec<DirEntry>) -> Vec<PathBuf> {
        let is_temp = |entry: &DirEntry| {
            let is_file = entry.kind == FileKind::File;
            (is_file && may_be_only_copy(&entry.name).is_some())
                // The user may bring the file back as a symlink to it.
                || ((is_file || entry.kind == FileKind::Symlink)
                    && self.is_brought_back(&dir.join(&entry.name)))
        };
        let temps = entries.into_iter().filter(is_temp).map(|entry| dir.join(entry.name));
        temps.filter(|path| !self.is_daemon_state(path)).collect()
    }

    /// Returns true if a temporary file holds state of the daemon's. No run of this crate leaves
    /// such a file, and it may be the only copy: it must stay.
    pub(crate) fn is_daemon_state(&self, path: &Path) -> bool {
        const LIMIT: u64 = 1 << 20;
        self.disk.read(path, LIMIT).is_ok_and(|bytes| is_daemon_state(&bytes))
    }
}

impl Locked<'_> {
    /// Removes the leftovers of killed runs beside the config, among the backups and in the daemon
    /// home. A leftover that may be the only copy of its content becomes a backup first; the one
    /// that is the source of the `repair` becomes the newest good backup.
    pub(crate) fn clear_leftovers(
        &self,
        repair: Option<&Plan>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Vec<Step> {
        let source = repair.and_then(Plan::source);
        let planned = repair.map(|repair| &repair.loaded.document);
        let paths = &self.paths;
        let target = self.dir.admit_target(paths.app_config.as_ref()).ok();
        let beside_config = [Some(paths.app_config.as_std_path()), target.as_deref()].into_iter().flatten();
        let mut dirs = BTreeSet::from(
            [&paths.app_home, &paths.backups, &paths.daemon_home].map(|dir| dir.as_std_path()),
        );
        dirs.extend(beside_config.filter_map(|config| config.parent()));
        let mut steps = Vec::new();
        for dir in dirs {
            let mut found = stale_temps(&*self.dir, dir).unwrap_or_default();
            found.retain(|leftover| !self.is_daemon_state(&leftover.path));
            // A killed run may not have synced its new names. These names must be durable before
            // the leftover is removed, and the removal must be durable before a run reports that
            // all is done.
            let sync = |diagnostics: &mut Vec<Diagnostic>| {
                let synced = self.dir.sync_dir(dir);
                synced.map_err(|error| diagnostics.push(leftover_diagnostic(dir, &error))).is_ok()
            };
            if found.is_empty() || !sync(diagnostics) {
                continue;
            }
            let before = steps.len();
            for leftover in found {
                let path = leftover.path;
                let is_source = source.is_some_and(|source| file_name(&path) == source);
                let kept = match leftover.may_be_only_copy {
                    true => self.keep_displaced(&path, is_source),
                    false => self.keep_unfinished(&path, is_source, planned),
                };
                match kept {
                    Ok(message) => {
                        diagnostics
                            .extend(message.map(|message| self.warning("store.displaced-kept", message)));
                    }
                    Err(error) => {
                        diagnostics.push(kept_diagnostic(&path, &error));
                        continue;
                    }
                }
                match self.dir.unlink(&path) {
                    Ok(()) => steps.push(Step::ClearLeftover { path }),
                    Err(error) => diagnostics.push(leftover_diagnostic(&path, &error)),
                }
            }
            if steps.len() > before {
                sync(diagnostics);
            }
        }
        steps
    }

    /// Removes the file that the user brought back, which the repair has restored. Its content
    /// becomes a backup first.
    pub(crate) fn clear_brought_back(&self, path: &Path) -> Result<(), Diagnostic> {
        let kept = self.read_leftover(path).and_then(|bytes| self.keep_leftover(&bytes, false));
        kept.map_err(|error| kept_diagnostic(path, &error))?;
        self.dir.unlink(path).map_err(|error| leftover_diagnostic(path, &error))
    }

    /// Ensures that the content of a displaced file is also elsewhere; returns a message about a
    /// new backup. Makes no backup of the bytes that a killed run was about to put in place, unless
    /// they are the source of a repair: they never were a config, and a loop of such runs, each
    /// with other generated ids, would pile up backups.
    fn keep_displaced(&self, path: &Path, is_source: bool) -> Result<Option<String>, StoreError> {
        debug_assert!(path.to_string_lossy().ends_with(SWAP_SUFFIX), "only these may be only copies");
        let bytes = self.read_leftover(path)?;
        if !is_source && (is_new_content(path, &bytes) || self.is_the_config(&bytes)) {
            return Ok(None);
        }
        let kept = self.keep_leftover(&bytes, is_source)?;
        Ok(kept.map(|id| {
            format!("a killed run had taken a config out of its place; it is backup {}", id.sequence())
        }))
    }

    /// Ensures that the content of a file that a killed run did not put in its place is also
    /// elsewhere, if it is worth it: a config, or the complete part of one, with settings of the
    /// user's; the daemon's config if the daemon has none, or an overwritten config if the app has
    /// none. Returns a message about a new backup.
    fn keep_unfinished(
        &self,
        path: &Path,
        is_source: bool,
        planned: Option<&Document>,
    ) -> Result<Option<String>, StoreError> {
        let bytes = self.read_leftover(path)?;
        if !is_source && self.is_the_config(&bytes) {
            return Ok(None);
        }
        let (document, is_whole) = match Document::parse(&bytes) {
            Ok(parsed) => (Some(parsed.document), true),
            Err(_) => (self.recover_config(&bytes).map(|found| found.document), false),
        };
        let shape = document.as_ref().map(|document| self.schema.shape(document));
        let is_the_apps = match shape {
            Some(Shape::App | Shape::Mixed) => true,
            shape => !is_whole && shape != Some(Shape::Daemon),
        };
        let is_worth_it = |document: &Document| {
            self.schema.own_settings(document).count() > 0 && !self.is_covered(document, planned)
        };
        let kept = if is_source || (is_the_apps && document.as_ref().is_some_and(is_worth_it)) {
            self.keep_leftover(&bytes, is_source)?
        } else if is_whole
            && matches!(shape, Some(Shape::Daemon | Shape::Mixed))
            && path.parent() == Some(self.paths.daemon_home.as_std_path())
            && self.disk.stat(self.paths.daemon_config.as_ref()).is_err()
            && !self.is_overwritten()
        {
            self.keep(&bytes, &[BackupKind::DaemonPart, BackupKind::Kept], BackupKind::DaemonPart)?
        } else if shape == Some(Shape::Daemon) && self.has_no_config() {
            self.keep(&bytes, &[BackupKind::DaemonPart, BackupKind::Kept], BackupKind::Kept)?
        } else {
            None
        };
        Ok(kept.map(|id| {
            format!("a killed run had left a config in {}; it is backup {}", path.display(), id.sequence())
        }))
    }

    fn read_leftover(&self, path: &Path) -> Result<Vec<u8>, StoreError> {
        self.disk.read(path, self.limits.config_bytes).map_err(StoreError::disk("keep", path))
    }

    /// Returns true if the planned config, the config, its complete part, or the newest good backup
    /// has the settings of a file that a killed run did not put in its place. Such a file is most
    /// often a repair of this config with other generated ids, and a loop of killed runs would pile
    /// up backups.
    fn is_covered(&self, unfinished: &Document, planned: Option<&Document>) -> bool {
        let unfinished = self.schema.own_settings(unfinished);
        let has_all = |document: &Document| self.schema.own_settings(document).covers(&unfinished);
        let live = || {
            let live = self.live_bytes()?;
            self.parse_app_config(&live).or_else(|| Some(self.recover_config(&live)?.document))
        };
        // Not the best source: that may be this very file.
        let backup = || {
            let listing = self.list_backups().ok()?;
            self.newest_intact_backup(&listing, &mut Vec::new(), &mut Vec::new(), &mut None)
        };
        planned.is_some_and(has_all)
            || live().is_some_and(|live| has_all(&live))
            || backup().is_some_and(|(backup, _)| has_all(&backup.document))
    }

    fn has_no_config(&self) -> bool {
        self.disk.stat(self.paths.app_config.as_ref()).is_err_and(|error| error.is_not_found())
    }

    /// Returns true if the app's config still holds the daemon's half, which the repair publishes.
    fn is_overwritten(&self) -> bool {
        let live = self.live_bytes().and_then(|bytes| Document::parse(&bytes).ok());
        live.is_some_and(|live| self.has_daemon_half(&live.document))
    }

    /// Makes a backup of a leftover, unless there is one of its content. The `source` of a repair
    /// becomes the newest good backup in any case, so that the next run restores it if this one is
    /// killed.
    fn keep_leftover(&self, bytes: &[u8], is_source: bool) -> Result<Option<BackupId>, StoreError> {
        match is_source {
            true => self.put(BackupKind::Good, bytes).map(Some),
            false => self.keep(bytes, &[BackupKind::Good, BackupKind::Kept], BackupKind::Kept),
        }
    }
}

fn kept_diagnostic(path: &Path, error: &StoreError) -> Diagnostic {
    let message = format!("{} stays where it is: {error}", file_name(path));
    warning_at(path, error.code(), message, error.hint())
}

fn leftover_diagnostic(path: &Path, error: &DiskError) -> Diagnostic {
    let message = format!("cannot remove {}: {error}: {}", file_name(path), error.io());
    warning_at(path, "store.leftover", message, error.hint())
}
