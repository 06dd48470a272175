//! Decides from the bytes that were read which steps a config needs. Nothing here writes.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use myownllm_config_model::{Diagnostic, Document, Ids, ParseError, Parsed, Place, Severity};
use myownllm_durable_fs::{DiskError, Timestamp, is_ours};
use myownllm_salvage::{Rebased, Shape, app_half, rebase_paths};

use crate::backups::{BackupKind, Listing};
use crate::read::{ConfigFile, shown};
use crate::wipe::DetectedWipe;
use crate::{DaemonHalf, FileShape, Loaded, Pending, Report, Step, Store, StoreError};

/// The newest version of a daemon's config that this crate can split into its halves.
pub(crate) const NEWEST_VERSION: f64 = myownllm_config_model::daemon_config::NEWEST_VERSION as f64;

/// A look at the config, and the bytes that its steps write.
pub(crate) struct Plan {
    pub(crate) loaded: Loaded,
    /// The file as it was read.
    pub(crate) previous: ConfigFile,
    /// The new content of the config.
    pub(crate) config: Option<Vec<u8>>,
    /// The daemon's half.
    pub(crate) daemon: Option<Vec<u8>>,
    /// True if the newest backup holds the bytes that were read.
    backed_up: bool,
    /// True if the settings of a used home are gone, and no source has them.
    is_lost: bool,
}

/// The app's config from another place than the config file.
pub(crate) struct Source {
    /// The id of a backup, or the name of a file beside the config.
    pub(crate) name: String,
    pub(crate) document: Document,
}

impl Report {
    pub(crate) fn new(shape: FileShape) -> Self {
        Self {
            shape,
            recovered_networks: Vec::new(),
            restored_from: None,
            stripped_keys: Vec::new(),
            reset_keys: Vec::new(),
            completed_keys: Vec::new(),
            restored_keys: Vec::new(),
            kept_keys: Vec::new(),
            backup: None,
            daemon_half: None,
            daemon_half_backup: None,
            rebased: Vec::new(),
            wiped: None,
        }
    }
}

impl Store<'_> {
    /// Reads the config and decides the steps.
    pub(crate) fn plan(&self, ids: &mut dyn Ids) -> Result<Plan, StoreError> {
        if !self.keeps_config {
            return Ok(Plan::without_config());
        }
        let file = self.read_file()?;
        let listing = self.backups().list();
        let beside = self.leftovers_near_config();
        self.plan_file(file, &listing, &beside, ids)
    }

    /// Plans for the file alone, without the backups, so that the app has a config to run on.
    /// Returns `None` if the file cannot be read either.
    pub(crate) fn plan_without_backups(&self, ids: &mut dyn Ids) -> Option<Plan> {
        if !self.keeps_config {
            return Some(Plan::without_config());
        }
        let bytes = self.disk.read(&self.paths.config, self.limits.config_bytes).ok()?;
        let Parsed { document, diagnostics, .. } = Document::parse_vec(bytes).ok()?;
        self.plan_file(ConfigFile::Json { document, diagnostics }, &Ok(Listing::default()), &[], ids).ok()
    }

    fn plan_file(
        &self,
        file: ConfigFile,
        listing: &Result<Listing, DiskError>,
        beside: &[PathBuf],
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut plan = match &file {
            ConfigFile::Missing => self.plan_from_source(FileShape::Missing, listing, ids)?,
            ConfigFile::Corrupt { bytes, error } => {
                let mut plan = self.plan_corrupt(bytes, listing, ids)?;
                plan.loaded.diagnostics.insert(0, self.not_json(error));
                plan
            }
            ConfigFile::Json { document, diagnostics } => {
                let mut plan = match self.schema.shape(document) {
                    shape @ (Shape::Daemon | Shape::Mixed) => {
                        self.plan_overwritten(document, shape, listing, ids)?
                    }
                    shape => self.plan_app_config(document, shape, listing, ids)?,
                };
                plan.loaded.diagnostics.splice(0..0, diagnostics.iter().cloned());
                plan
            }
        };
        plan.previous = file;
        self.finish(&mut plan, listing, beside);
        Ok(plan)
    }

    pub(crate) fn plan_app_config(
        &self,
        read: &Document,
        shape: Shape,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let backed_up = self.is_newest_good(listing, read.bytes_read());
        let mut lost = if backed_up { None } else { self.find_loss(read, listing)? };
        let mut diagnostics: Vec<Diagnostic> = self.schema.remarks(read);
        diagnostics.extend(lost.iter_mut().flat_map(|lost| lost.diagnostics.drain(..)));
        if let Some(lost) = lost.as_ref().filter(|lost| lost.is_restored()) {
            let mut plan = self.plan_wiped(read, shape, lost, ids);
            plan.loaded.diagnostics.splice(0..0, diagnostics);
            return Ok(plan);
        }
        let mut document = read.clone();
        diagnostics.extend(self.schema.complete(&mut document, ids));
        let rebased = self.follow_rosters(&mut document);
        // Does not complete a config that has lost its networks: the write would hide the loss.
        let completes = document.is_modified() && lost.is_none();
        let config = completes.then(|| document.to_bytes()).filter(|new| new != read.bytes_read());
        let shape = FileShape::from(shape);
        let mut report = Report::new(shape);
        report.completed_keys = self.schema.missing_keys(read);
        report.rebased = rebased;
        let is_first = !backed_up && lost.is_none() && !self.has_source(listing);
        if is_first {
            report.reset_keys.clone_from(&report.completed_keys);
        }
        let own = is_first.then(|| self.schema.own_settings(read));
        // A person who writes a short config by hand sets more than one thing.
        let is_lost =
            own.as_ref().is_some_and(|own| own.is_bare() && own.count() < 2) && self.is_used(listing);
        if is_lost {
            // Fails if a backup cannot be read: it may hold the settings.
            self.source(listing, &mut diagnostics)?;
            diagnostics.push(self.no_backup_of_settings());
        }
        report.wiped = lost.map(|lost| lost.wipe);
        let mut plan = Plan { config, backed_up, is_lost, ..Plan::of(document, shape, report, diagnostics) };
        if own.is_some_and(|own| own.networks.is_empty()) {
            self.name_lost_networks(&mut plan);
        }
        Ok(plan)
    }

    /// Plans for a wiped config: the backup takes its place, with the settings of the user's that
    /// the wiped config still holds.
    fn plan_wiped(&self, read: &Document, shape: Shape, lost: &DetectedWipe, ids: &mut dyn Ids) -> Plan {
        let shape = FileShape::from(shape);
        let mut report = Report::new(shape);
        let (mut document, found) = self.restore_lost(read, lost, &mut report, ids);
        let diagnostics = found.into_iter().map(|found| Diagnostic { place: None, ..found }).collect();
        report.rebased = self.follow_rosters(&mut document);
        let config = Some(document.to_bytes());
        Plan { config, ..Plan::of(document, shape, report, diagnostics) }
    }

    /// Returns whether there is a source to restore settings from. A damaged backup is none.
    fn has_source(&self, listing: &Result<Listing, DiskError>) -> bool {
        self.readable_source(listing, &mut Vec::new()).0.is_some()
    }

    /// Returns whether the app has been used in this home: the home holds a key, or files of networks,
    /// of conversations or of backups. A user's settings belong to such a home.
    fn is_used(&self, listing: &Result<Listing, DiskError>) -> bool {
        let paths = &self.paths;
        let holds = |dir: PathBuf| {
            let mut found = false;
            let _ = self.disk.for_each_entry(&dir, &mut |_| {
                found = true;
                ControlFlow::Break(())
            });
            found
        };
        let is_home_used = |home: &PathBuf| {
            let mesh = home.join("mesh");
            self.disk.stat(&home.join(".secrets").join("identity.json")).is_ok()
                || holds(mesh.join("rosters"))
                || holds(mesh.join("states"))
        };
        listing.as_ref().is_ok_and(|listing| !listing.backups.is_empty())
            || [&paths.daemon_home, &paths.app_home].into_iter().any(is_home_used)
            || self.schema.user_dirs().into_iter().any(holds)
    }

    fn is_newest_good(&self, listing: &Result<Listing, DiskError>, bytes: &[u8]) -> bool {
        let newest = listing.as_ref().ok().and_then(Listing::newest_good);
        newest.is_some_and(|id| self.backups().is_of(id, bytes))
    }

    pub(crate) fn plan_overwritten(
        &self,
        read: &Document,
        shape: Shape,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut diagnostics = Vec::new();
        let file_shape = FileShape::from(shape);
        let mut report = Report::new(file_shape);
        let lost = match shape {
            Shape::Mixed => self.find_loss(&app_half(read), listing)?.filter(DetectedWipe::is_restored),
            _ => None,
        };
        let salvaged = match &lost {
            Some(lost) => {
                diagnostics.extend(lost.diagnostics.iter().cloned());
                self.salvage_wiped_half(read, lost, &mut report, ids)
            }
            None => {
                let source = self.source(listing, &mut diagnostics)?;
                let backup = source.as_ref().map(|source| &source.document);
                let salvaged = self.schema.salvage(read, backup, ids);
                let used = shape == Shape::Daemon || !salvaged.report.restored_keys.is_empty();
                report.restored_from = source.filter(|_| used).map(|source| source.name);
                report.restored_keys.clone_from(&salvaged.report.restored_keys);
                report.kept_keys.clone_from(&salvaged.report.kept_keys);
                salvaged
            }
        };
        let (mut app, mut daemon) = (salvaged.app, salvaged.daemon);
        diagnostics.extend(salvaged.diagnostics);
        let found = self.schema.complete(&mut app, ids);
        // The completed document may come from a backup, so these places are not places in the
        // file.
        diagnostics.extend(found.into_iter().map(|found| Diagnostic { place: None, ..found }));
        let rebased = self.rebase(&mut app, daemon.as_mut());
        for path in rebased.iter().filter(|r| !r.rebased) {
            diagnostics.push(self.diagnostic(
                "store.path-not-rebased",
                Severity::Warning,
                format!("{} still says {}: {} is not there", path.pointer, path.from, path.to),
            ));
        }
        let found = salvaged.report;
        let daemon = daemon.map(|d| d.to_bytes());
        report.recovered_networks = found.recovered_networks;
        report.stripped_keys = found.stripped_keys;
        report.reset_keys = found.reset_keys;
        report.rebased = rebased;
        report.daemon_half = daemon.as_deref().map(|half| self.daemon_part_action(half));
        let newer = read.get(&["version"]).and_then(|v| v.as_f64()).filter(|v| *v > NEWEST_VERSION);
        if let Some(version) = newer {
            diagnostics.push(self.diagnostic(
                "store.newer",
                Severity::Problem,
                format!(
                    "the config is a daemon's of version {version}, newer than this program: it is \
                    read, and left as it is"
                ),
            ));
        }
        let config = newer.is_none().then(|| app.to_bytes());
        let mut plan = Plan { config, daemon, ..Plan::of(app, file_shape, report, diagnostics) };
        plan.loaded.newer = newer.map(|v| v as u64);
        Ok(plan)
    }

    /// Plans for a missing file, or for a file with nothing to keep: the config comes from a
    /// backup, or holds the defaults.
    pub(crate) fn plan_from_source(
        &self,
        shape: FileShape,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut diagnostics = Vec::new();
        let source = self.source(listing, &mut diagnostics)?;
        let mut plan = self.complete_source(source, shape, diagnostics, ids);
        if shape == FileShape::Missing && plan.loaded.report.restored_from.is_none() && self.is_used(listing)
        {
            plan.is_lost = true;
            plan.loaded.report.reset_keys = keys_of(&self.schema.defaults());
            self.name_lost_networks(&mut plan);
        }
        Ok(plan)
    }

    /// Returns a plan for the source's config, completed, or for the defaults.
    pub(crate) fn complete_source(
        &self,
        source: Option<Source>,
        shape: FileShape,
        mut diagnostics: Vec<Diagnostic>,
        ids: &mut dyn Ids,
    ) -> Plan {
        let mut report = Report::new(shape);
        let mut document = match source {
            Some(source) => {
                report.restored_keys = keys_of(&source.document);
                report.restored_from = Some(source.name);
                source.document
            }
            None => {
                let defaults = self.schema.defaults();
                if shape != FileShape::Missing {
                    report.reset_keys = keys_of(&defaults);
                }
                defaults
            }
        };
        diagnostics.extend(self.schema.complete(&mut document, ids));
        let bytes = document.to_bytes();
        Plan { config: Some(bytes), ..Plan::of(document, shape, report, diagnostics) }
    }

    /// Returns the app's config as it was last healthy: the newest intact backup, or the file that
    /// a daemon moved aside if that changed later.
    ///
    /// # Errors
    /// Fails if a source, or a newer one, may exist but cannot be read. An older source or the
    /// defaults would reset settings that are not lost.
    fn source(
        &self,
        listing: &Result<Listing, DiskError>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> Result<Option<Source>, StoreError> {
        let (found, unread) = self.readable_source(listing, diagnostics);
        match unread {
            Some(source) if source.path().parent() == Some(&self.paths.backups) => {
                Err(StoreError::BackupUnreadable { path: source.path().to_owned(), source })
            }
            Some(source) => {
                let doing = "look for the last good backup in";
                Err(StoreError::at_backups(doing, &self.paths.backups, source))
            }
            None => Ok(found),
        }
    }

    /// Returns the best source that can be read, and the error that hides a newer one.
    pub(crate) fn readable_source(
        &self,
        listing: &Result<Listing, DiskError>,
        diagnostics: &mut Vec<Diagnostic>,
    ) -> (Option<Source>, Option<DiskError>) {
        let mut failed = None;
        let backup = match listing {
            Ok(listing) => self.newest_usable(listing, diagnostics, &mut failed),
            Err(error) => {
                failed = Some(error.clone());
                None
            }
        };
        let (mut aside, mut unread) = (None, None);
        for path in self.daemon_leftovers() {
            match self.disk.read(&path, self.limits.config_bytes) {
                Ok(bytes) => {
                    if let Some(document) = self.parse_app_config(&bytes) {
                        let modified = self.disk.stat(&path).map(|m| m.modified).unwrap_or_default();
                        aside = Some((path, document, modified));
                        break;
                    }
                }
                // A file that is larger than any config is not a source.
                Err(error) if error.is_not_found() || error.kind() == ErrorKind::FileTooLarge => {}
                Err(error) => unread = Some(error),
            }
        }
        let aside = [aside, self.leftover_source(listing)].into_iter().flatten();
        let found = match (backup, aside.max_by_key(|(_, _, modified)| *modified)) {
            // Both exist. The daemon, or a killed run, moved aside the file that was in use, so the
            // file differs from the backup by changes after the backup was made, unless the file was
            // moved aside before that. Only the clock can tell the two cases apart.
            (Some((_, made, _)), Some((path, document, modified))) if modified > made => {
                Some(Source { name: file_name(&path), document })
            }
            (Some((name, _, document)), _) => Some(Source { name, document }),
            (None, Some((path, document, _))) => Some(Source { name: file_name(&path), document }),
            (None, None) => self.misplaced_source(),
        };
        // The file that a daemon moved aside mostly has the content of the newest backup, so an
        // unreadable one is an error only if there is no other source.
        let failed = failed.or(unread.filter(|_| found.is_none()));
        (found, failed)
    }

    /// Returns the temporary file of a killed run that holds the newest settings of the user's. The
    /// content that a killed run was about to put in place counts as the oldest of all.
    fn leftover_source(
        &self,
        listing: &Result<Listing, DiskError>,
    ) -> Option<(PathBuf, Document, Timestamp)> {
        let in_backups = listing.iter().flat_map(|listing| listing.leftovers.iter().cloned());
        let found = self.leftovers_near_config().into_iter().chain(in_backups).filter_map(|path| {
            let bytes = self.disk.read(&path, self.limits.config_bytes).ok()?;
            let document = self
                .parse_app_config(&bytes)
                .filter(|document| self.schema.own_settings(document).count() > 0)?;
            let modified = match is_ours(&path, &bytes) {
                true => Timestamp::default(),
                false => self.disk.stat(&path).map(|meta| meta.modified).unwrap_or_default(),
            };
            Some((path, document, modified))
        });
        found.max_by_key(|(_, _, modified)| *modified)
    }

    fn newest_usable(
        &self,
        listing: &Listing,
        diagnostics: &mut Vec<Diagnostic>,
        failed: &mut Option<DiskError>,
    ) -> Option<(String, Timestamp, Document)> {
        let backups = self.backups();
        for id in listing.backups.iter().rev().filter(|c| c.kind == BackupKind::Good) {
            match backups.read(id) {
                Ok((bytes, true)) => {
                    if let Some(document) = self.parse_app_config(&bytes) {
                        let made = self.disk.stat(&backups.path(id)).map(|m| m.modified).unwrap_or_default();
                        return Some((id.to_string(), made, document));
                    }
                }
                Ok((_, false)) => diagnostics.push(self.diagnostic(
                    "store.copy-damaged",
                    Severity::Warning,
                    format!("the backup {id} does not hold what its name says; an older one is used"),
                )),
                Err(error) if error.is_not_found() => {}
                Err(error) => {
                    diagnostics.push(self.diagnostic(
                        "store.copy-unreadable",
                        Severity::Warning,
                        format!("the backup {id} could not be read: {}", error.io()),
                    ));
                    failed.get_or_insert(error);
                }
            }
        }
        None
    }

    /// Returns the document if the bytes are a config of the app's.
    pub(crate) fn parse_app_config(&self, bytes: &[u8]) -> Option<Document> {
        let document = Document::parse(bytes).ok()?.document;
        (self.schema.shape(&document) == Shape::App).then_some(document)
    }

    /// Returns whether the bytes are a config of the app's that lacks nothing.
    pub(crate) fn is_healthy(&self, bytes: &[u8], ids: &mut dyn Ids) -> bool {
        self.parse_app_config(bytes).is_some_and(|mut document| {
            self.schema.complete(&mut document, ids);
            !document.is_modified() || document.to_bytes() == bytes
        })
    }

    /// Returns the planned outcome for the daemon's half. Looks at the name itself: a broken
    /// symlink or an unreadable file counts as the daemon's config, which is not ours to replace.
    ///
    /// If the name cannot be looked at, the later write fails too, and the repair stops before it
    /// touches the app's config. The look itself does not fail, so that the app still gets the
    /// readable part of its config.
    fn daemon_part_action(&self, half: &[u8]) -> DaemonHalf {
        let path = &self.paths.daemon_config;
        match self.disk.stat(path) {
            Ok(meta) if meta.is_file() && meta.len == half.len() as u64 => {
                let same = self.disk.content_eq(path, half).unwrap_or(false);
                if same { DaemonHalf::Exists } else { DaemonHalf::Kept }
            }
            Ok(_) => DaemonHalf::Kept,
            Err(_) => DaemonHalf::Written,
        }
    }

    /// Replaces the roster paths in networks of the app's if the rosters have moved since: a repair
    /// that ran before the move could not know the new paths.
    fn follow_rosters(&self, app: &mut Document) -> Vec<Rebased> {
        // Every start runs this code.
        if !self.schema.has_paths(app) {
            return Vec::new();
        }
        let mut found = self.rebase_where(app, None, &|old, new| self.is_there(new) && !self.is_there(old));
        found.retain(|path| path.rebased);
        found
    }

    fn is_there(&self, path: &str) -> bool {
        self.disk.stat(Path::new(path)).is_ok()
    }

    /// Replaces the paths that lead into the app's home by paths into the daemon home, for each
    /// known spelling of the app's home.
    pub(crate) fn rebase(&self, app: &mut Document, daemon: Option<&mut Document>) -> Vec<Rebased> {
        self.rebase_where(app, daemon, &|_, new| self.is_there(new))
    }

    /// Replaces only the paths for which `has_moved` returns true; `has_moved` gets the old path
    /// and the new one.
    fn rebase_where(
        &self,
        app: &mut Document,
        mut daemon: Option<&mut Document>,
        has_moved: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<Rebased> {
        let paths = &self.paths;
        // The daemon reads paths as text, so a path that is not UTF-8 cannot stand in a config.
        let Some(to) = paths.daemon_home.to_str() else { return Vec::new() };
        let real = self.disk.canonicalize(&paths.app_home).ok().filter(|real| *real != paths.app_home);
        let mut all: Vec<Rebased> = Vec::new();
        for from in
            [Some(paths.app_home.as_path()), real.as_deref()].into_iter().flatten().filter_map(Path::to_str)
        {
            let moved = |new: &str| {
                let rest = new.strip_prefix(to).unwrap_or_default();
                has_moved(&format!("{from}{rest}"), new)
            };
            let mut found = rebase_paths(&mut Document::empty(), daemon.as_deref_mut(), from, to, &moved);
            found.extend(self.schema.rebase_paths(app, from, to, &moved));
            let new =
                found.into_iter().filter(|r| !all.iter().any(|a| a.half == r.half && a.pointer == r.pointer));
            all.extend(new.collect::<Vec<_>>());
        }
        all
    }

    /// Adds the steps to the plan.
    fn finish(&self, plan: &mut Plan, listing: &Result<Listing, DiskError>, beside: &[PathBuf]) {
        let paths = &self.paths;
        let mut steps = Vec::new();
        if plan.loaded.newer.is_some() {
            // A config of a newer version is read and never written: not even a backup is made.
            plan.loaded.pending = Pending::default();
            return;
        }
        let in_backups = listing.iter().flat_map(|l| l.leftovers.iter());
        for path in beside.iter().chain(in_backups) {
            steps.push(Step::ClearLeftover { path: path.clone() });
        }
        if plan.config.is_some()
            && let Some(previous) = plan.previous.bytes()
        {
            steps.push(Step::KeepPrevious {
                from: paths.config.clone(),
                to: paths.backups.clone(),
                bytes: previous.len() as u64,
            });
        }
        match plan.loaded.report.daemon_half {
            Some(DaemonHalf::Written) => {
                steps.push(Step::PublishDaemonHalf { to: paths.daemon_config.clone() });
            }
            Some(DaemonHalf::Kept) => steps.push(Step::KeepDaemonHalf {
                existing: paths.daemon_config.clone(),
                to: paths.backups.clone(),
            }),
            Some(DaemonHalf::Exists) | None => {}
        }
        let shape = plan.loaded.shape;
        match (&plan.config, plan.previous.bytes()) {
            (Some(_), Some(_)) => steps.push(Step::ReplaceConfig {
                path: paths.config.clone(),
                repair: !matches!(shape, FileShape::App | FileShape::Unknown)
                    || plan.loaded.report.restored_from.is_some()
                    || plan.is_lost,
            }),
            (Some(_), None) => steps.push(Step::WriteConfig {
                path: paths.config.clone(),
                repair: plan.loaded.report.restored_from.is_some() || plan.is_lost,
                restored: plan.loaded.report.restored_from.is_some(),
            }),
            (None, _) => {}
        }
        match listing {
            Ok(listing) => {
                let content = plan.config.as_deref().or(plan.previous.bytes());
                // A config without any key of the app's may belong to another program, so it is not
                // a good state to return to.
                let ours = plan.config.is_some() || shape == FileShape::App;
                // A config that has lost something must not become the newest good state before the
                // user accepts the loss.
                let wiped = plan.loaded.report.wiped.is_some() && plan.loaded.report.restored_from.is_none();
                let backups = self.backups();
                let is_kept = |bytes: &[u8]| {
                    (plan.backed_up && plan.config.is_none())
                        || listing.newest_good().is_some_and(|id| backups.is_of(id, bytes))
                };
                if ours && !wiped && content.is_some_and(|bytes| !is_kept(bytes)) {
                    steps.push(Step::KeepLastGood { to: paths.backups.clone() });
                }
            }
            Err(error) => plan.loaded.diagnostics.push(Diagnostic {
                code: "store.backups-unreadable",
                severity: Severity::Warning,
                message: format!("no backup of the config is kept: {error}: {}", error.io()),
                path: shown(&paths.backups),
                hint: error.hint(),
                place: None,
            }),
        }
        if let Some(wipe) = &plan.loaded.report.wiped {
            plan.loaded.diagnostics.push(self.wiped_diagnostic(wipe, shape, None));
        }
        if let Some(from) = &plan.loaded.report.restored_from {
            let message = format!("the app's settings come from {from}");
            plan.loaded.diagnostics.push(self.diagnostic("store.restored", Severity::Info, message));
        } else if plan.loaded.shape == FileShape::Corrupt && plan.loaded.report.kept_keys.is_empty() {
            let message =
                "there is no good backup of the config, so its settings begin at their defaults".to_owned();
            plan.loaded.diagnostics.push(self.diagnostic("store.defaults", Severity::Info, message));
        }
        plan.loaded.pending = Pending { steps };
    }

    fn not_json(&self, error: &ParseError) -> Diagnostic {
        let place = if error.path.is_empty() { String::new() } else { format!(", in {}", error.path) };
        let (kind, line, column) = (&error.kind, error.line, error.column);
        let message =
            format!("the config is not a JSON object: {kind}, at line {line}, column {column}{place}");
        Diagnostic {
            place: Some(Place::from(error)),
            ..self.diagnostic("store.corrupt", Severity::Problem, message)
        }
    }

    pub(crate) fn diagnostic(&self, code: &'static str, severity: Severity, message: String) -> Diagnostic {
        Diagnostic { code, severity, message, path: shown(&self.paths.config), hint: None, place: None }
    }
}

impl Plan {
    /// Returns the name of the source that the plan restores settings from, or compares the config
    /// with.
    pub(crate) fn source(&self) -> Option<&str> {
        let report = &self.loaded.report;
        report.restored_from.as_deref().or(report.wiped.as_ref().map(|wipe| wipe.backup.as_str()))
    }

    /// Returns the plan for an app that gives no schema: no step.
    fn without_config() -> Self {
        let shape = FileShape::Unknown;
        Self::of(Document::empty(), shape, Report::new(shape), Vec::new())
    }

    pub(crate) fn of(
        document: Document,
        shape: FileShape,
        report: Report,
        diagnostics: Vec<Diagnostic>,
    ) -> Self {
        let loaded =
            Loaded { document, shape, newer: None, pending: Pending::default(), report, diagnostics };
        Self {
            loaded,
            previous: ConfigFile::Missing,
            config: None,
            daemon: None,
            backed_up: false,
            is_lost: false,
        }
    }
}

fn keys_of(doc: &Document) -> Vec<String> {
    doc.root().members().map(|(key, _)| key.into_owned()).collect()
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default()
}
