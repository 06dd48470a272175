//! The sources of a repair: other files that hold the app's config.

use std::path::Path;

use myownllm_config_model::{Diagnostic, Document, Ids, SeededIds};
use myownllm_durable_fs::{DiskError, FileKind, Timestamp, is_new_content};
use myownllm_paths::LayoutPaths;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_salvage::{Salvaged, Shape};

use crate::backups::Listing;
use crate::store::{file_name, warning_at, with_suffix};
use crate::{BackupId, BackupKind, Store, StoreError};

/// The app's config from another place than the config file.
pub(crate) struct Source {
    /// The id of a backup, or the name of a file beside the config.
    pub(crate) name: String,
    pub(crate) document: Document,
}

/// A source, and the time of its last change.
type Dated = (Source, Timestamp);

/// Returns the config in the bytes of a file.
type ConfigOf<S> = fn(&S, &[u8]) -> Option<Document>;

/// The endings that a daemon gives to a config that it cannot parse, or that it is about to write.
const DAEMON_SUFFIXES: [&str; 2] = [".corrupt", ".tmp"];

/// The ending of the name, beside the config, of a config that the user brings back from elsewhere:
/// a repair restores it, with the settings and the networks that the present config has, and takes
/// the file away.
pub const BROUGHT_BACK: &str = ".brought-back";

impl Store<'_> {
    /// Returns the app's config as it was last healthy: the newest intact backup, or the file that
    /// a daemon moved aside if that changed later.
    /// Fails if a source, or one newer than the best readable one, may exist and cannot be read: an
    /// older source, or the defaults, would reset settings that are not lost.
    pub(crate) fn source(
        &self,
        listing: &Result<Listing, DiskError>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Option<Source>, StoreError> {
        match self.readable_source(listing, diagnostics) {
            (found, None) => Ok(found),
            (_, Some(source)) if source.path() == self.paths.backups => {
                Err(StoreError::at_backups("look for the last good backup in", &self.paths.backups, source))
            }
            (_, Some(source)) => Err(StoreError::BackupUnreadable { source }),
        }
    }

    /// Returns the best source that can be read, and the error that hides a newer one.
    pub(crate) fn readable_source(
        &self,
        listing: &Result<Listing, DiskError>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (Option<Source>, Option<DiskError>) {
        if let Some(source) = self.brought_back() {
            return (Some(source), None);
        }
        let mut failed = None;
        let mut damaged = Vec::new();
        let backup = match listing {
            Ok(listing) => self.newest_intact_backup(listing, diagnostics, &mut damaged, &mut failed),
            Err(error) => {
                failed = Some(error.clone());
                None
            }
        };
        let mut unread = None;
        let moved_aside =
            self.renamed_by_daemon(&mut unread).into_iter().chain(self.leftover_source(listing));
        let found = match (backup, moved_aside.max_by_key(|(_, modified)| *modified)) {
            // The file was in use when a daemon, or a killed run, renamed it. If the rename came
            // after the backup, the file has newer settings than the backup; if it came before,
            // older ones. Only the times tell the two cases apart. A file that has lost settings is
            // no better than the config.
            (Some((backup, made)), Some((source, modified)))
                if modified > made && self.loss_since(&backup, &source.document).is_none() =>
            {
                diagnostics.extend(self.preferred_diagnostic(&source, &backup));
                Some(source)
            }
            (Some((source, _)), _) | (None, Some((source, _))) => Some(source),
            (None, None) => self
                .misplaced_source()
                .or_else(|| self.changed_backup(listing, Self::whole_config))
                .or_else(|| self.renamed_config(Self::whole_config))
                .or_else(|| self.kept_backup(listing, Self::parse_app_config))
                .or_else(|| self.usable_leftover())
                .or_else(|| {
                    let torn = self.changed_backup(listing, Self::usable_config)?;
                    diagnostics.extend(self.torn_diagnostic(&torn));
                    Some(torn)
                })
                // The app's half of a mixed config is better than the defaults alone.
                .or_else(|| self.renamed_config(Self::mixed_config))
                .or_else(|| self.kept_backup(listing, Self::mixed_config)),
        };
        // The file that a daemon moved aside mostly has the content of the newest backup, so an
        // unreadable one is an error only if there is no other source.
        let failed = failed.or(unread.filter(|_| found.is_none()));
        let is_used = |id: &BackupId| found.as_ref().is_some_and(|found| found.name == id.to_string());
        diagnostics.extend(damaged.into_iter().map(|id| self.changed_diagnostic(id, is_used(id))));
        (found, failed)
    }

    /// Returns a warning that a file is used although a backup has other settings: a copy of the
    /// home may have given the file a later time.
    fn preferred_diagnostic(&self, used: &Source, backup: &Source) -> Option<Diagnostic> {
        if used.document.root().same_json(&backup.document.root()) {
            return None;
        }
        let number = backup.name.parse::<BackupId>().ok()?.sequence();
        let message = format!(
            "{} is used, as its time is later than that of backup {number}; if it is an old file, the backup \
             has the newer settings",
            used.name
        );
        let hint = Some(format!("{} config restore {number}", self.paths.program));
        Some(Diagnostic { hint, ..self.warning("store.later-file", message) })
    }

    /// Returns the config in the file that the user brought back: it goes before every other source.
    pub(crate) fn brought_back(&self) -> Option<Source> {
        let path = with_suffix(&self.paths.app_config, BROUGHT_BACK);
        let bytes = self.read(&path).ok()?;
        let document = self.whole_config(&bytes).or_else(|| self.mixed_config(&bytes))?;
        Some(Source { name: file_name(&path), document })
    }

    pub(crate) fn is_brought_back(&self, path: &Path) -> bool {
        path == with_suffix(&self.paths.app_config, BROUGHT_BACK)
    }

    fn modified(&self, path: &Path) -> Timestamp {
        self.disk.stat(path).map(|meta| meta.modified).unwrap_or_default()
    }

    /// Returns the newest config under another name than that of the config or of a backup: a sync
    /// program, a file manager, an editor or the user may give it one. It lies beside the config,
    /// among the backups, or in a directory with a name like theirs.
    fn renamed_config(&self, config_of: ConfigOf<Self>) -> Option<Source> {
        let LayoutPaths { app_config, app_home, backups, .. } = &*self.paths;
        let is_like = |path: &Utf8Path, original: &Utf8Path| {
            let (name, stem) =
                (path.file_name().unwrap_or_default(), original.file_stem().unwrap_or_default());
            name.to_lowercase().contains(stem) && Some(name) != original.file_name()
        };
        let among_backups = self.entries(backups, FileKind::File).into_iter();
        let among_backups =
            among_backups.filter(|path| path.file_name().and_then(BackupId::of_file).is_none());
        let beside_config = self.entries(app_home, FileKind::File).into_iter();
        let beside_config = beside_config.filter(|path| is_like(path, app_config));
        let like_backups = self.entries(app_home, FileKind::Dir).into_iter();
        let like_backups = like_backups
            .filter(|path| is_like(path, backups))
            .flat_map(|dir| self.entries(&dir, FileKind::File));
        let found = among_backups.chain(beside_config).chain(like_backups).filter_map(|path| {
            let document = config_of(self, &self.read(&path).ok()?)?;
            let base = if path.starts_with(backups) { backups } else { app_home };
            let name = path.strip_prefix(base).unwrap_or(&path).to_string();
            Some((Source { name, document }, self.modified(path.as_ref())))
        });
        found.max_by_key(|(_, modified)| *modified).map(|(source, _)| source)
    }

    fn entries(&self, dir: &Utf8Path, kind: FileKind) -> Vec<Utf8PathBuf> {
        let entries = self.disk.list(dir.as_ref()).unwrap_or_default().into_iter();
        let names =
            entries.filter(|entry| entry.kind == kind).filter_map(|entry| entry.name.into_string().ok());
        names.map(|name| dir.join(name)).collect()
    }

    /// Returns the app's config, or its complete members, under a name that a daemon gives to a
    /// config that it cannot read, in either home, or torn in the place of the daemon's config.
    fn usable_leftover(&self) -> Option<Source> {
        let LayoutPaths { app_config: config, daemon_config, app_home, .. } = &*self.paths;
        let renamed = [with_suffix(config, ".corrupt"), with_suffix(daemon_config, ".corrupt")];
        let renamed = renamed.into_iter().chain([with_suffix(config, ".tmp")]);
        let usable = |name, bytes: &[u8]| Some(Source { name, document: self.usable_config(bytes)? });
        let mut renamed = renamed.filter_map(|path| usable(file_name(&path), &self.read(&path).ok()?));
        renamed.next().or_else(|| {
            // `misplaced_source` takes a whole one.
            let bytes = self.read(daemon_config).ok().filter(|bytes| Document::parse(bytes).is_err())?;
            let name = daemon_config.strip_prefix(app_home).unwrap_or(daemon_config);
            usable(name.to_string(), &bytes).filter(|_| !self.is_one_config())
        })
    }

    /// Adds the networks of an overwritten config that a daemon could not parse and renamed.
    /// Without a source of the app's, no other file has them.
    pub(crate) fn adopt_corrupt_networks(
        &self,
        salvaged: &mut Salvaged,
        ids: &mut dyn Ids,
    ) -> Option<Diagnostic> {
        let paths = DAEMON_SUFFIXES.map(|suffix| with_suffix(&self.paths.app_config, suffix));
        let read = paths.into_iter().find_map(|path| self.read(&path).ok().map(|bytes| (path, bytes)));
        let (path, bytes) = read?;
        let document = self.parse_or_recover(&bytes)?;
        let known = salvaged.report.recovered_networks.len();
        let is_daemons = self.schema.shape(&document) == Shape::Daemon;
        if !is_daemons || !self.schema.adopt_networks(&document, salvaged, ids) {
            return None;
        }
        salvaged.report.reset_keys = self.schema.missing_keys(&salvaged.app);
        let names = salvaged.report.recovered_networks.get(known..)?.join(", ");
        let message = format!("the networks {names} come from {}", file_name(&path));
        let found = warning_at(&path, "store.recovered", message, None);
        (!names.is_empty()).then_some(found)
    }

    /// Parses a text, or recovers the complete part of a text that is not JSON.
    fn parse_or_recover(&self, bytes: &[u8]) -> Option<Document> {
        let parsed = Document::parse(bytes).map(|parsed| parsed.document);
        parsed.ok().or_else(|| Some(self.recover_config(bytes)?.document))
    }

    /// Returns the app's config that a repair makes of a config with both halves. Its networks have
    /// ids, so the fixed seed is never used.
    fn mixed_config(&self, bytes: &[u8]) -> Option<Document> {
        let mixed = self.parse_or_recover(bytes)?;
        let is_mixed = self.schema.shape(&mixed) == Shape::Mixed;
        is_mixed.then(|| self.schema.salvage(&mixed, None, &mut SeededIds::new(0, 0)).app)
    }

    /// Returns the config under a name that a daemon gives to a config that it cannot parse, or
    /// that it is about to write.
    fn renamed_by_daemon(&self, unread: &mut Option<DiskError>) -> Option<Dated> {
        for path in DAEMON_SUFFIXES.map(|suffix| with_suffix(&self.paths.app_config, suffix)) {
            match self.read(&path) {
                Ok(bytes) => {
                    if let Some(document) = self.whole_config(&bytes).or_else(|| self.mixed_config(&bytes)) {
                        let modified = self.modified(path.as_ref());
                        return Some((Source { name: file_name(&path), document }, modified));
                    }
                }
                // A file that is larger than any config, a directory or a pipe is not a source.
                Err(error) if error.is_not_found() || error.is_no_file() => {}
                Err(error) => *unread = Some(error),
            }
        }
        None
    }

    /// Returns the temporary file of a killed run that holds the newest settings of the user's. The
    /// content that a killed run was about to put in place counts as the oldest of all.
    fn leftover_source(&self, listing: &Result<Listing, DiskError>) -> Option<Dated> {
        let in_backups = listing.iter().flat_map(|listing| listing.leftovers.iter().cloned());
        let found = self.leftovers_near_config().into_iter().chain(in_backups).filter_map(|path| {
            let bytes = self.disk.read(&path, self.limits.config_bytes).ok()?;
            let document = self
                .parse_app_config(&bytes)
                .filter(|document| self.schema.own_settings(document).count() > 0)?;
            let modified =
                if is_new_content(&path, &bytes) { Timestamp::default() } else { self.modified(&path) };
            Some((Source { name: file_name(&path), document }, modified))
        });
        found.max_by_key(|(_, modified)| *modified)
    }

    /// Returns the newest routine backup that another program changed and that has a config all the
    /// same: a sync program that converts line ends leaves every setting in it.
    fn changed_backup(
        &self,
        listing: &Result<Listing, DiskError>,
        config_of: ConfigOf<Self>,
    ) -> Option<Source> {
        let good = listing.as_ref().ok()?.good_newest_first();
        let mut changed = good.filter_map(|id| Some((id, self.backup_bytes(id).ok()??)));
        changed
            .find_map(|(id, bytes)| Some(Source { name: id.to_string(), document: config_of(self, &bytes)? }))
    }

    /// Returns the newest intact config of the app's that was set aside, with settings of the
    /// user's.
    fn kept_backup(&self, listing: &Result<Listing, DiskError>, config_of: ConfigOf<Self>) -> Option<Source> {
        let mut kept = listing.as_ref().ok()?.backups.iter().rev().filter(|id| id.kind == BackupKind::Kept);
        kept.find_map(|id| {
            let document = config_of(self, &self.intact_bytes(id).ok()??)?;
            let has_settings = self.schema.own_settings(&document).count() > 0;
            has_settings.then(|| Source { name: id.to_string(), document })
        })
    }

    pub(crate) fn newest_intact_backup<'l>(
        &self,
        listing: &'l Listing,
        diagnostics: &mut Vec<Diagnostic>,
        damaged: &mut Vec<&'l BackupId>,
        failed: &mut Option<DiskError>,
    ) -> Option<Dated> {
        for id in listing.good_newest_first() {
            match self.intact_bytes(id) {
                Ok(Some(bytes)) => {
                    if let Some(document) = self.parse_app_config(&bytes) {
                        let made = self.modified(self.backup_path(id).as_ref());
                        return Some((Source { name: id.to_string(), document }, made));
                    }
                }
                Ok(None) => damaged.push(id),
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    let message = format!("the backup {id} could not be read: {}", error.io());
                    diagnostics.push(self.warning("store.copy-unreadable", message));
                    failed.get_or_insert(error);
                }
            }
        }
        None
    }
}
