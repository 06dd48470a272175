//! Decides from the bytes that were read which steps a config needs. Nothing here writes.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use myownllm_config_model::app_config::NETWORK;
use myownllm_config_model::{DaemonFile, Diagnostic, Document, Ids, ParseError, Parsed, Place, Severity};
use myownllm_durable_fs::{DiskError, quote};
use myownllm_paths::camino::Utf8PathBuf;
use myownllm_salvage::{Rebased, Salvaged, Shape, app_half, rebase_paths};

use crate::backups::Listing;
use crate::read::ConfigFile;
use crate::sources::Source;
use crate::store::{file_name, warning_at};
use crate::wipe::DetectedWipe;
use crate::{BackupKind, DaemonHalf, FileShape, Loaded, Pending, Report, Step, Store, StoreError};

/// The newest version of a daemon's config that this crate can split into its halves.
pub(crate) const NEWEST_VERSION: f64 = myownllm_config_model::daemon_config::NEWEST_VERSION as f64;

/// A loaded config, and the bytes that its steps write.
pub(crate) struct Plan {
    pub(crate) loaded: Loaded,
    /// The file as it was read.
    pub(crate) previous: ConfigFile,
    /// The bytes to write as the app's config; `None` if the file stays.
    pub(crate) config: Option<Vec<u8>>,
    /// The daemon's half of an overwritten config.
    pub(crate) daemon_half: Option<Vec<u8>>,
    /// True if the newest backup holds the bytes that were read.
    backed_up: bool,
    /// True if the settings of a used home are gone, and no source has them.
    is_unrecoverable: bool,
}

impl Plan {
    fn without_writes(document: Document, report: Report, diagnostics: Vec<Diagnostic>) -> Self {
        let shape = report.shape;
        let loaded = Loaded { report, diagnostics, ..Loaded::new(document, shape) };
        let previous = ConfigFile::Missing;
        Self { loaded, previous, config: None, daemon_half: None, backed_up: false, is_unrecoverable: false }
    }

    pub(crate) fn writing_config(document: Document, report: Report, diagnostics: Vec<Diagnostic>) -> Self {
        let config = Some(document.to_bytes());
        Self { config, ..Self::without_writes(document, report, diagnostics) }
    }

    /// Returns the name of the source that the plan restores settings from, or compares the config
    /// with.
    pub(crate) fn source(&self) -> Option<&str> {
        let report = &self.loaded.report;
        report.restored_from.as_deref().or(report.wiped.as_ref().map(|wipe| wipe.backup.as_str()))
    }
}

impl Store<'_> {
    pub(crate) fn plan(&self, ids: &mut dyn Ids) -> Result<Plan, StoreError> {
        if !self.keeps_config {
            // Another app passed MyOwnLLM's schema. That is a bug in the app, so every load fails.
            if !self.schema.marks().is_empty() {
                self.ensure_keeps_config()?;
            }
            return Ok(self.plan_without_config());
        }
        let file = self.read_file()?;
        let mut leftovers = self.leftovers_near_config();
        if self.sweeps_daemon_home {
            let dir = self.paths.daemon_home.as_std_path();
            leftovers.extend(self.temps_among(dir, self.disk.list(dir).unwrap_or_default()));
        }
        self.plan_file(file, &self.list_backups(), &leftovers, ids)
    }

    /// Plans for the file alone, without the backups, so that the app has a config to run on.
    /// Returns `None` if the file cannot be read either.
    pub(crate) fn plan_without_backups(&self, ids: &mut dyn Ids) -> Option<Plan> {
        if !self.keeps_config {
            return Some(self.plan_without_config());
        }
        let Parsed { document, diagnostics, .. } = Document::parse_vec(self.live_bytes()?).ok()?;
        let file = ConfigFile::Json { document, diagnostics };
        self.plan_file(file, &Ok(Listing::default()), &[], ids).ok()
    }

    /// Returns the plan for an app that gives no schema: no step.
    fn plan_without_config(&self) -> Plan {
        Plan::without_writes(Document::empty(), Report::new(FileShape::Unknown), Vec::new())
    }

    fn plan_file(
        &self,
        file: ConfigFile,
        listing: &Result<Listing, DiskError>,
        leftovers: &[PathBuf],
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let (mut plan, found) = match &file {
            ConfigFile::Missing => (self.plan_from_source(FileShape::Missing, listing, ids)?, Vec::new()),
            ConfigFile::Corrupt { bytes, error } => {
                (self.plan_corrupt(bytes, listing, ids)?, vec![self.not_json_diagnostic(error)])
            }
            ConfigFile::Json { document, diagnostics } => {
                let plan = match self.schema.shape(document) {
                    shape @ (Shape::Daemon | Shape::Mixed) => {
                        self.plan_overwritten(document, shape, listing, ids)?
                    }
                    shape => {
                        let is_there = leftovers.iter().any(|path| self.is_brought_back(path));
                        match is_there.then(|| self.brought_back()).flatten() {
                            Some(source) => self.plan_restored(document, shape.into(), &source, ids),
                            None => self.plan_app_config(document, shape, listing, ids)?,
                        }
                    }
                };
                (plan, diagnostics.clone())
            }
        };
        plan.loaded.diagnostics.splice(0..0, found);
        plan.previous = file;
        // A config of a newer version is read and never written: not even a backup is made.
        if plan.loaded.newer.is_none() {
            self.add_steps(&mut plan, listing, leftovers);
            self.add_diagnostics(&mut plan, listing);
        }
        Ok(plan)
    }

    pub(crate) fn plan_app_config(
        &self,
        read: &Document,
        shape: Shape,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let backed_up = self.newest_backup_has(listing, read.bytes_read());
        let mut wipe = if backed_up { None } else { self.detect_wipe(read, listing)? };
        let mut diagnostics: Vec<Diagnostic> = self.schema.remarks(read);
        diagnostics.extend(wipe.iter_mut().flat_map(|wipe| wipe.diagnostics.drain(..)));
        let shape = FileShape::from(shape);
        if let Some(wipe) = wipe.as_ref().filter(|wipe| wipe.is_restored()) {
            let mut plan = self.plan_restored(read, shape, &wipe.source, ids);
            plan.loaded.report.wiped = Some(wipe.wipe.clone());
            plan.loaded.diagnostics.splice(0..0, diagnostics);
            return Ok(plan);
        }
        let mut document = read.clone();
        diagnostics.extend(self.schema.complete(&mut document, ids));
        if !backed_up {
            diagnostics.extend(self.restore_networks(&mut document, listing));
        }
        let mut report = Report::new(shape);
        report.rebased = self.rebase_rosters(&mut document);
        report.completed_keys = self.schema.missing_keys(read);
        // Does not complete a config that has lost its networks: the write would hide the loss.
        let completes = document.is_modified() && wipe.is_none();
        let config = completes.then(|| document.to_bytes()).filter(|new| new != read.bytes_read());
        // A damaged backup is no source.
        let found = match wipe {
            None if !backed_up => self.readable_source(listing, &mut Vec::new()).0,
            _ => None,
        };
        let has_no_source = !backed_up && wipe.is_none() && found.is_none();
        if has_no_source {
            report.reset_keys.clone_from(&report.completed_keys);
        }
        if let Some(source) = found.as_ref().or(wipe.as_ref().map(|wipe| &wipe.source)) {
            report.gone_keys = self.gone_keys(source, read, &report.completed_keys);
        }
        let has_lost_networks = wipe.is_none() && report.gone_keys.iter().any(|key| key.starts_with(NETWORK));
        let own = has_no_source.then(|| self.schema.own_settings(read));
        // A short config with two or more settings may be written by hand: that is no loss.
        let is_unrecoverable =
            own.as_ref().is_some_and(|own| own.is_bare() && own.count() < 2) && self.is_used(listing);
        if is_unrecoverable {
            // Fails if a backup cannot be read: it may hold the settings.
            self.source(listing, &mut diagnostics)?;
            diagnostics.push(self.no_backup_of_settings());
        }
        report.wiped = wipe.map(|wipe| wipe.wipe);
        let mut plan = Plan {
            config,
            backed_up,
            is_unrecoverable,
            ..Plan::without_writes(document, report, diagnostics)
        };
        if has_lost_networks || own.is_some_and(|own| own.networks.is_empty()) {
            self.report_lost_networks(&mut plan);
        }
        Ok(plan)
    }

    /// Gives the networks the settings that only a daemon has, from the newest backup: another
    /// program, such as an older version of the app, has dropped them from the config, and the
    /// backup may be gone when a daemon joins the network.
    fn restore_networks(
        &self,
        document: &mut Document,
        listing: &Result<Listing, DiskError>,
    ) -> Option<Diagnostic> {
        let newest = listing.as_ref().ok()?.newest_good()?;
        let previous = Document::parse(&self.intact_bytes(newest).ok()??).ok()?.document;
        let message = format!(
            "the settings that only a daemon has for saved networks were missing, and are those of backup {}",
            newest.sequence()
        );
        let info =
            || Diagnostic::new("network.settings-restored", Severity::Info, "/cloud_mesh/networks", message);
        self.schema.restore_networks(document, &previous, None).then(info)
    }

    /// Plans to restore a config from `source`: a backup, or the file that the user brought back. Keeps
    /// the user's settings and the networks of the present config.
    fn plan_restored(&self, read: &Document, shape: FileShape, source: &Source, ids: &mut dyn Ids) -> Plan {
        let mut report = Report::new(shape);
        let (mut document, found) = self.restore_lost(read, source, &mut report, ids);
        report.rebased = self.rebase_rosters(&mut document);
        Plan::writing_config(document, report, without_places(found).collect())
    }

    /// Returns true if the app has been used in this home: it holds an identity file, rosters,
    /// states, conversations or backups.
    fn is_used(&self, listing: &Result<Listing, DiskError>) -> bool {
        let paths = &self.paths;
        let identities = [&paths.daemon_identity, &paths.legacy_identity];
        let peers =
            [&paths.daemon_rosters, &paths.legacy_rosters, &paths.daemon_states, &paths.legacy_states];
        let has_entry = |dir: &Path| {
            let mut found = false;
            let _ = self.disk.for_each_entry(dir, &mut |_| {
                found = true;
                ControlFlow::Break(())
            });
            found
        };
        listing.as_ref().is_ok_and(|listing| !listing.backups.is_empty())
            || identities.iter().any(|identity| self.disk.stat(identity.as_ref()).is_ok())
            || peers.iter().any(|dir| has_entry(dir.as_ref()))
            || self.schema.user_dirs().iter().any(|dir| has_entry(dir))
    }

    fn newest_backup_has(&self, listing: &Result<Listing, DiskError>, bytes: &[u8]) -> bool {
        let newest = listing.as_ref().ok().and_then(Listing::newest_good);
        newest.is_some_and(|id| self.is_durable_backup_of(id, bytes))
    }

    /// Plans for an overwritten config: the app's half and the daemon's half become two configs.
    pub(crate) fn plan_overwritten(
        &self,
        read: &Document,
        shape: Shape,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut diagnostics = Vec::new();
        let mut report = Report::new(shape.into());
        let mut may_lack_networks = false;
        let lost = match shape {
            Shape::Mixed => self.detect_wipe(&app_half(read), listing)?.filter(DetectedWipe::is_restored),
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
                let mut salvaged = self.schema.salvage(read, backup, ids);
                if source.is_none() {
                    diagnostics.extend(self.adopt_corrupt_networks(&mut salvaged, ids));
                    // A user may have removed a network that an app's half with others lacks.
                    may_lack_networks = self.schema.own_settings(&app_half(read)).networks.is_empty();
                }
                let used = shape == Shape::Daemon || !salvaged.report.restored_keys.is_empty();
                report.restored_from = source.filter(|_| used).map(|source| source.name);
                report.restored_keys.clone_from(&salvaged.report.restored_keys);
                report.kept_keys.clone_from(&salvaged.report.kept_keys);
                salvaged
            }
        };
        let (mut app, mut daemon, salvage_report) = (salvaged.app, salvaged.daemon, salvaged.report);
        diagnostics.extend(salvaged.diagnostics);
        // The completed document may come from a backup: a place in it is no place in the file.
        diagnostics.extend(without_places(self.schema.complete(&mut app, ids)));
        report.rebased = self.rebase_where(&mut app, daemon.as_mut(), &|_, new| self.is_there(new));
        diagnostics.extend(report.rebased.iter().filter(|path| !path.rebased).map(|path| {
            let message = format!(
                "cannot correct {} from {} to {}: the new path does not exist",
                path.pointer, path.from, path.to
            );
            self.warning("store.path-not-rebased", message)
        }));
        let daemon_half = daemon.map(|daemon| self.readable_half(&daemon, &mut diagnostics));
        report.recovered_networks = salvage_report.recovered_networks;
        report.stripped_keys = salvage_report.stripped_keys;
        report.reset_keys = salvage_report.reset_keys;
        report.daemon_half = daemon_half.as_deref().map(|half| self.daemon_half_action(half));
        let version = read.get(&["version"]).and_then(|version| version.as_f64());
        let newer = version.filter(|version| *version > NEWEST_VERSION);
        diagnostics.extend(newer.map(|version| {
            let message = format!(
                "the config has format {version}, and this program knows formats up to {NEWEST_VERSION}: it \
                 reads the config and never writes it"
            );
            self.diagnostic("store.newer", Severity::Problem, message)
        }));
        let mut plan = Plan { daemon_half, ..Plan::writing_config(app, report, diagnostics) };
        plan.config = plan.config.filter(|_| newer.is_none());
        plan.loaded.newer = newer.map(|version| version as u64);
        if may_lack_networks && newer.is_none() {
            self.report_lost_networks(&mut plan);
        }
        Ok(plan)
    }

    /// Returns the daemon's half as a daemon reads it. Leaves out what no daemon reads, for which a
    /// daemon would rename the file and start at its defaults. The backup of the overwritten config
    /// has all of it.
    fn readable_half(&self, half: &Document, diagnostics: &mut Vec<Diagnostic>) -> Vec<u8> {
        let bytes = half.to_bytes();
        let mended = match DaemonFile::Config.is_readable(&bytes) {
            true => None,
            false => DaemonFile::Config.mend(&bytes),
        };
        let Some((mended, left_out)) = mended else { return bytes };
        if !left_out.is_empty() {
            let message = format!(
                "the daemon's config is written without {}, which no daemon can read; a backup has all of it",
                left_out.join(", ")
            );
            diagnostics.push(self.warning("store.half-left-out", message));
        }
        mended.to_bytes()
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
            plan.is_unrecoverable = true;
            if plan.loaded.report.recovered_networks.is_empty() {
                plan.loaded.report.reset_keys = self.schema.defaults().keys();
            }
            self.report_lost_networks(&mut plan);
        }
        Ok(plan)
    }

    /// Returns a plan for the source's config, completed; without a source, for the networks of a
    /// file that a daemon renamed and the defaults.
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
                report.restored_keys = source.document.keys();
                report.restored_from = Some(source.name);
                source.document
            }
            None => {
                let mut salvaged = Salvaged::new(Document::empty(), Shape::Unknown);
                if let Some(adopted) = self.adopt_corrupt_networks(&mut salvaged, ids) {
                    diagnostics.push(adopted);
                    report.recovered_networks = salvaged.report.recovered_networks;
                    report.reset_keys = salvaged.report.reset_keys;
                    salvaged.app
                } else {
                    let defaults = self.schema.defaults();
                    if shape != FileShape::Missing {
                        report.reset_keys = defaults.keys();
                    }
                    defaults
                }
            }
        };
        diagnostics.extend(self.schema.complete(&mut document, ids));
        Plan::writing_config(document, report, diagnostics)
    }

    /// Returns true if the bytes are a config of the app's that lacks nothing.
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
    /// touches the app's config. This function does not fail, so that the app still gets the
    /// readable part of its config.
    fn daemon_half_action(&self, half: &[u8]) -> DaemonHalf {
        let path = &self.paths.daemon_config;
        match self.disk.stat(path.as_ref()) {
            Ok(meta) if meta.is_file() && self.disk.content_eq(path.as_ref(), half).unwrap_or(false) => {
                DaemonHalf::Exists
            }
            Ok(_) => DaemonHalf::Kept,
            Err(_) => DaemonHalf::Written,
        }
    }

    /// Replaces the roster paths in networks of the app's if the rosters have moved since: a repair
    /// that ran before the move could not know the new paths.
    fn rebase_rosters(&self, app: &mut Document) -> Vec<Rebased> {
        // Every start runs this code, so it resolves no symlink unless the config holds a path.
        if !self.schema.has_paths(app) {
            return Vec::new();
        }
        let mut found = self.rebase_where(app, None, &|old, new| self.is_there(new) && !self.is_there(old));
        found.retain(|path| path.rebased);
        found
    }

    pub(crate) fn is_there(&self, path: &str) -> bool {
        self.disk.stat(Path::new(path)).is_ok()
    }

    /// Replaces the paths that lead into the app's home by paths into the daemon home, for each
    /// known spelling of the app's home, if `has_moved` returns true; `has_moved` gets the old path
    /// and the new one.
    pub(crate) fn rebase_where(
        &self,
        app: &mut Document,
        mut daemon: Option<&mut Document>,
        has_moved: &dyn Fn(&str, &str) -> bool,
    ) -> Vec<Rebased> {
        let home = &self.paths.app_home;
        let to = self.paths.daemon_home.as_str();
        // The daemon reads paths as text, so a path that is not UTF-8 cannot stand in a config.
        let real = self.canonical(home).and_then(|real| Utf8PathBuf::from_path_buf(real).ok());
        let mut all: Vec<Rebased> = Vec::new();
        for from in
            std::iter::once(home).chain(real.as_ref().filter(|real| *real != home)).map(|home| home.as_str())
        {
            let moved = |new: &str| {
                let rest = new.strip_prefix(to).unwrap_or_default();
                has_moved(&format!("{from}{rest}"), new)
            };
            let mut found = rebase_paths(&mut Document::empty(), daemon.as_deref_mut(), from, to, &moved);
            found.extend(self.schema.rebase_paths(app, from, to, &moved));
            found.retain(|new| !all.iter().any(|old| old.half == new.half && old.pointer == new.pointer));
            all.extend(found);
        }
        all
    }

    fn add_steps(&self, plan: &mut Plan, listing: &Result<Listing, DiskError>, leftovers: &[PathBuf]) {
        let paths = &self.paths;
        let Loaded { report, shape, .. } = &plan.loaded;
        let in_backups = listing.iter().flat_map(|listing| listing.leftovers.iter());
        // The source of a repair goes last: a killed repair is repeated from it.
        let (brought_back, leftovers): (Vec<_>, Vec<_>) =
            leftovers.iter().chain(in_backups).partition(|path| self.is_brought_back(path));
        let clear = |path: &PathBuf| Step::ClearLeftover { path: path.clone() };
        let mut steps: Vec<Step> = leftovers.into_iter().map(clear).collect();
        if plan.config.is_some()
            && let Some(previous) = plan.previous.bytes()
        {
            steps.push(Step::KeepPrevious {
                from: paths.app_config.clone(),
                to: paths.backups.clone(),
                bytes: previous.len() as u64,
            });
        }
        match report.daemon_half {
            Some(DaemonHalf::Written) => {
                steps.push(Step::PublishDaemonHalf { to: paths.daemon_config.clone() });
            }
            Some(DaemonHalf::Kept) => steps.push(Step::KeepDaemonHalf {
                existing: paths.daemon_config.clone(),
                to: paths.backups.clone(),
            }),
            Some(DaemonHalf::Exists) | None => {}
        }
        if plan.config.is_some() {
            let path = paths.app_config.clone();
            let restored = report.restored_from.is_some();
            let is_sound = matches!(shape, FileShape::App | FileShape::Unknown | FileShape::Missing);
            let repair = !is_sound || restored || plan.is_unrecoverable;
            steps.push(match plan.previous {
                ConfigFile::Missing => Step::WriteConfig { path, repair, restored },
                _ => Step::ReplaceConfig { path, repair },
            });
        }
        if let Ok(listing) = listing {
            let content = plan.config.as_deref().or(plan.previous.bytes());
            // A config without any key of the app's may belong to another program, so it is not
            // a good state to return to.
            let ours = plan.config.is_some() || *shape == FileShape::App;
            // A config that has lost something must not become the newest good state before the
            // user accepts the loss.
            let wiped = report.wiped.is_some() && report.restored_from.is_none();
            let is_kept = |bytes: &[u8]| {
                (plan.backed_up && plan.config.is_none())
                    || listing.newest_good().is_some_and(|id| self.is_durable_backup_of(id, bytes))
            };
            if ours && !wiped && content.is_some_and(|bytes| !is_kept(bytes)) {
                steps.push(Step::KeepLastGood { to: paths.backups.clone() });
            }
        }
        let (restored, unused): (Vec<_>, Vec<_>) =
            brought_back.into_iter().partition(|path| report.restored_from == Some(file_name(path)));
        steps.extend(restored.into_iter().map(clear));
        let unused: Vec<_> = unused.into_iter().map(|path| self.unused_diagnostic(path)).collect();
        plan.loaded.diagnostics.extend(unused);
        let (previous, half) = (plan.previous.bytes(), plan.daemon_half.as_deref());
        let kept = steps.iter().filter_map(|step| match step {
            Step::KeepPrevious { .. } => Some((BackupKind::Kept, previous?)),
            Step::KeepDaemonHalf { .. } => Some((BackupKind::DaemonPart, half?)),
            _ => None,
        });
        let kept: Vec<_> = kept.collect();
        plan.loaded.full = listing.as_ref().ok().and_then(|listing| self.lack_of_room(listing, &kept));
        plan.loaded.pending = Pending { steps };
    }

    /// Returns the warning about a file that the user brought back and that this plan leaves alone.
    fn unused_diagnostic(&self, path: &Path) -> Diagnostic {
        let (name, program) = (file_name(path), &self.paths.program);
        let (why, hint) = match self.brought_back() {
            Some(_) => ("a repair restores it first", format!("{program} repair")),
            None => ("it cannot be read, or is no config of the app's", format!("ls -l {}", quote(path))),
        };
        let message = format!("{name} is not restored: {why}");
        warning_at(path, "store.leftover", message, Some(hint))
    }

    fn add_diagnostics(&self, plan: &mut Plan, listing: &Result<Listing, DiskError>) {
        let Loaded { report, shape, diagnostics, .. } = &mut plan.loaded;
        if let Err(error) = listing {
            let message = format!("no backup of the config is kept: {error}: {}", error.io());
            let found = warning_at(&self.paths.backups, "store.backups-unreadable", message, error.hint());
            diagnostics.push(found);
        }
        diagnostics.extend(report.wiped.as_ref().map(|wipe| self.wiped_diagnostic(wipe, *shape, None)));
        if let Some(from) = &report.restored_from {
            let message = format!("the app's settings come from {from}");
            diagnostics.push(self.diagnostic("store.restored", Severity::Info, message));
        } else if *shape == FileShape::Corrupt && report.kept_keys.is_empty() {
            let message =
                "there is no good backup of the config, so its settings begin at their defaults".to_owned();
            diagnostics.push(self.diagnostic("store.defaults", Severity::Info, message));
        }
    }

    fn not_json_diagnostic(&self, error: &ParseError) -> Diagnostic {
        let place = if error.path.is_empty() { String::new() } else { format!(", in {}", error.path) };
        let (kind, line, column) = (&error.kind, error.line, error.column);
        let message =
            format!("the config is not a JSON object: {kind}, at line {line}, column {column}{place}");
        Diagnostic {
            place: Some(Place::from(error)),
            ..self.diagnostic("store.corrupt", Severity::Problem, message)
        }
    }
}

/// Removes the places of diagnostics about a document that is not the file.
fn without_places(found: Vec<Diagnostic>) -> impl Iterator<Item = Diagnostic> {
    found.into_iter().map(|found| Diagnostic { place: None, ..found })
}
