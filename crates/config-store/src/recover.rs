//! Plans for a config that is not JSON: takes its complete part if there is no good backup, else
//! offers it. Also names the networks that a config has lost.

use myownllm_config_model::app_config::NETWORK;
use myownllm_config_model::{
    Correction, Diagnostic, Document, Extent, Fragment, Ids, Recovered, network_id, recover_all,
};
use myownllm_durable_fs::{DiskError, FileKind};
use myownllm_salvage::Shape;

use crate::backups::Listing;
use crate::plan::Plan;
use crate::read::ConfigFile;
use crate::sources::Source;
use crate::store::{file_name, warning_at};
use crate::{BackupId, FileShape, Loaded, Report, Store, StoreError};

/// The code of members that a restore could take from a file that is not JSON.
const OFFER: &str = "store.recoverable";
/// The stable code of networks that a config has lost.
pub const LOST_NETWORKS: &str = "store.networks-lost";
/// The words of an offer before the file is a backup with a number.
const PENDING: &str = "once the file is among the backups";

impl Store<'_> {
    /// Plans for a file that is not JSON. A complete document in the file is used as the config,
    /// and a daemon's document is repaired. If the text breaks off or has typing errors, a good
    /// backup goes first, and the complete members are offered.
    pub(crate) fn plan_corrupt(
        &self,
        bytes: &[u8],
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let found = self.recover_config(bytes);
        let shape = found.as_ref().map(|found| self.schema.shape(&found.document));
        let mut plan = match (&found, shape) {
            (Some(found), Some(shape @ (Shape::Daemon | Shape::Mixed))) => {
                let mut plan = self.plan_overwritten(&found.document, shape, listing, ids)?;
                plan.loaded.diagnostics.insert(0, self.recovered_diagnostic(found));
                plan
            }
            (Some(found), Some(Shape::App)) if is_complete(found) => {
                self.plan_complete_document(found, listing, ids)?
            }
            (found, _) => {
                let mut plan = self.plan_from_source(FileShape::Corrupt, listing, ids)?;
                if let Some(found) = found {
                    if plan.loaded.report.restored_from.is_some() {
                        plan.loaded.diagnostics.extend(self.offer(found, &plan.loaded.document));
                        return Ok(plan);
                    }
                    plan = self.plan_complete_members(found, ids);
                }
                plan
            }
        };
        self.report_lost_networks(&mut plan);
        Ok(plan)
    }

    fn plan_complete_document(
        &self,
        found: &Recovered,
        listing: &Result<Listing, DiskError>,
        ids: &mut dyn Ids,
    ) -> Result<Plan, StoreError> {
        let mut plan = self.plan_app_config(&found.document, Shape::App, listing, ids)?;
        // Writes the document even if nothing in it changes: the trailing bytes must go.
        plan.config.get_or_insert_with(|| found.document.to_bytes());
        plan.loaded.shape = FileShape::Corrupt;
        let report = &mut plan.loaded.report;
        report.shape = FileShape::Corrupt;
        if report.restored_from.is_none() {
            report.kept_keys = keys_of(found);
        }
        plan.loaded.diagnostics.insert(0, self.recovered_diagnostic(found));
        Ok(plan)
    }

    /// Plans for a config of the complete members, with defaults for the others.
    fn plan_complete_members(&self, found: &Recovered, ids: &mut dyn Ids) -> Plan {
        let mut document = found.document.clone();
        let mut diagnostics = vec![self.recovered_diagnostic(found)];
        diagnostics.extend(found.diagnostics.iter().cloned());
        diagnostics.extend(self.schema.complete(&mut document, ids));
        // The places of these diagnostics are not places in the file.
        diagnostics.iter_mut().for_each(|diagnostic| diagnostic.place = None);
        let report = Report {
            kept_keys: keys_of(found),
            reset_keys: self.schema.missing_keys(&found.document),
            ..Report::new(FileShape::Corrupt)
        };
        Plan::writing_config(document, report, diagnostics)
    }

    /// Returns the complete part of bytes that are not JSON, if the part has a member of a config.
    pub(crate) fn recover_config(&self, bytes: &[u8]) -> Option<Recovered> {
        let defaults = self.schema.defaults();
        let is_setting = |key: &String| defaults.get(&[key]).is_some();
        let is_config = |found: &Recovered| {
            self.schema.shape(&found.document) != Shape::Unknown
                || found.whole.iter().chain(&found.partial).any(is_setting)
        };
        let mut parts = recover_all(bytes).into_iter().filter(is_config);
        let first = self.with_begun_networks(parts.next()?, bytes);
        // A daemon's document at the beginning is the newest content of the file.
        if is_complete(&first) && self.has_daemon_half(&first.document) {
            return Some(first);
        }
        let richness =
            |found: &Recovered| (self.schema.own_settings(&found.document).count(), found.whole.len());
        Some(parts.fold(first, |best, found| if richness(&found) > richness(&best) { found } else { best }))
    }

    /// Adds the list of a daemon's networks to a daemon's config that breaks off in the first of
    /// them: without the list, the daemon's settings would become settings of the app.
    fn with_begun_networks(&self, mut found: Recovered, bytes: &[u8]) -> Recovered {
        let mut document = found.document.clone();
        let is_torn = matches!(found.extent, Extent::Torn { .. }) && document.get(&["networks"]).is_none();
        if is_torn && Document::parse(bytes).is_err_and(|error| error.path.starts_with("/networks/")) {
            document.set(&["networks"], Fragment::array::<Fragment>([]));
            if self.has_daemon_half(&document) {
                found.document = document;
            }
        }
        found
    }

    /// Returns true if a file, or the complete part of a file that is not JSON, has the daemon's
    /// shape.
    pub(crate) fn holds_daemon_half(&self, file: &ConfigFile) -> bool {
        match file {
            ConfigFile::Missing => false,
            ConfigFile::Json { document, .. } => self.has_daemon_half(document),
            ConfigFile::Corrupt { bytes, .. } => {
                self.recover_config(bytes).is_some_and(|found| self.has_daemon_half(&found.document))
            }
        }
    }

    /// Adds the commands that work only after the repair. `previous` is the backup of the file that
    /// was not JSON.
    pub(crate) fn complete_hints(
        &self,
        lost_networks: &[String],
        previous: Option<&BackupId>,
        diagnostics: &mut [Diagnostic],
    ) {
        let program = &self.paths.program;
        for found in diagnostics {
            match (found.code, previous) {
                (OFFER, Some(previous)) => {
                    let number = previous.sequence();
                    found.message = found.message.replace(PENDING, &format!("from backup {number}"));
                    found.hint = Some(format!("{program} config restore {number}"));
                }
                (LOST_NETWORKS, _) => {
                    found.hint = Some(add_networks_command(program, lost_networks));
                }
                _ => {}
            }
        }
    }

    /// Offers the complete members of a file that is restored from a backup. `config` is the
    /// restored config. Returns `None` if `config` has them too.
    fn offer(&self, found: &Recovered, config: &Document) -> Option<Diagnostic> {
        let in_use = |key: &String| {
            let used = config.get(&[key]);
            used.zip(found.document.get(&[key])).is_some_and(|(used, found)| used.same_json(&found))
        };
        let message = format!("{}; {} can be restored {PENDING}", extent_words(found), offer_words(found));
        (!found.whole.iter().all(in_use)).then(|| self.warning(OFFER, message))
    }

    /// Names the networks that have a roster and that the config lacks, if no backup restored it.
    pub(crate) fn report_lost_networks(&self, plan: &mut Plan) {
        let Loaded { document, report, diagnostics, .. } = &mut plan.loaded;
        if report.restored_from.is_some() || diagnostics.iter().any(|found| found.code == LOST_NETWORKS) {
            return;
        }
        report.lost_networks = self.lost_networks(document);
        let gone = &report.gone_keys;
        report.lost_networks.retain(|id| gone.is_empty() || gone.contains(&format!("{NETWORK}{id}")));
        if !report.lost_networks.is_empty() {
            let message = lost_networks_message(&report.lost_networks);
            // Nothing has to be repaired before the command works.
            let add = || add_networks_command(&self.paths.program, &report.lost_networks);
            let hint = (!report.gone_keys.is_empty()).then(add);
            let found = self.warning(LOST_NETWORKS, message);
            diagnostics.push(Diagnostic { hint, ..found });
        }
    }

    fn recovered_diagnostic(&self, found: &Recovered) -> Diagnostic {
        let message = format!("{}; {} taken", extent_words(found), taken_words(found));
        self.warning("store.recovered", message)
    }

    /// Returns the config that a backup that is not JSON contains: its complete document, or the
    /// current config with its complete members.
    pub(crate) fn recover_backup(&self, bytes: &[u8], ids: &mut dyn Ids) -> Option<(Document, Diagnostic)> {
        let found = self.recover_config(bytes).filter(|found| self.is_restorable(found))?;
        let diagnostic = self.recovered_diagnostic(&found);
        if !is_part(&found) {
            return Some((found.document, diagnostic));
        }
        let mut document = match self.live_bytes().and_then(|bytes| self.parse_app_config(&bytes)) {
            Some(mut current) => {
                for key in &found.whole {
                    if let Some(value) = found.document.get(&[key]) {
                        current.set(&[key], value);
                    }
                }
                current
            }
            None => found.document,
        };
        self.schema.complete(&mut document, ids);
        Some((document, diagnostic))
    }

    /// Returns the app's config that a text is, or is but for its encoding or a few characters.
    pub(crate) fn whole_config(&self, bytes: &[u8]) -> Option<Document> {
        let mended = || {
            let found = self.recover_config(bytes).filter(|found| !is_part(found))?;
            (self.schema.shape(&found.document) == Shape::App).then_some(found.document)
        };
        self.parse_app_config(bytes).or_else(mended)
    }

    /// Returns the app's config that a text is, or its complete members.
    pub(crate) fn usable_config(&self, bytes: &[u8]) -> Option<Document> {
        let part = || Some(self.recover_config(bytes).filter(|found| self.is_restorable(found))?.document);
        self.whole_config(bytes).or_else(part)
    }

    /// Names the complete members of a torn backup that is used.
    pub(crate) fn torn_diagnostic(&self, torn: &Source) -> Option<Diagnostic> {
        let path = self.backup_path(&torn.name.parse().ok()?);
        let found = self.recover_config(&self.read(&path).ok()?)?;
        let message =
            format!("{}: {}; {} taken", file_name(&path), extent_words(&found), taken_words(&found));
        Some(warning_at(&path, "store.recovered", message, None))
    }

    pub(crate) fn changed_diagnostic(&self, id: &BackupId, is_used: bool) -> Diagnostic {
        let use_of_it = if is_used { "its settings are used all the same" } else { "it is not used" };
        let number = id.sequence();
        let message = format!("another program changed backup {number} after it was made; {use_of_it}");
        self.warning("store.copy-damaged", message)
    }

    pub(crate) fn is_restorable(&self, found: &Recovered) -> bool {
        !found.whole.is_empty() && !self.has_daemon_half(&found.document)
    }

    fn lost_networks(&self, config: &Document) -> Vec<String> {
        let Some(saved) = self.schema.saved_networks(config) else { return Vec::new() };
        let saved: Vec<String> =
            saved.iter().map(|network| network_id::normal_form(&network.network_id)).collect();
        // A daemon names the file by the normal form of the id.
        let is_id = |stem: &str| network_id::normalize(stem).is_ok_and(|id| id == stem);
        let mut names = Vec::new();
        for dir in [&self.paths.daemon_rosters, &self.paths.legacy_rosters] {
            let entries = self.disk.list(dir.as_ref()).unwrap_or_default();
            let files = entries.iter().filter(|entry| entry.kind == FileKind::File);
            let stems = files.filter_map(|entry| entry.name.to_str()?.strip_suffix(".json"));
            names.extend(stems.filter(|stem| is_id(stem)).map(str::to_owned));
        }
        names.retain(|name| !saved.contains(name));
        names.sort();
        names.dedup();
        names
    }
}

/// Returns the message about lost networks.
#[must_use]
pub fn lost_networks_message(names: &[String]) -> String {
    format!(
        "the config has lost networks of which rosters are still there: {} (`network add` saves them with \
         the default settings)",
        names.join(", ")
    )
}

/// Returns the command that saves networks again.
#[must_use]
pub fn add_networks_command(program: &str, names: &[String]) -> String {
    let add: Vec<String> = names.iter().map(|name| format!("{program} network add {name}")).collect();
    add.join(" && ")
}

fn keys_of(found: &Recovered) -> Vec<String> {
    found.whole.iter().chain(&found.partial).cloned().collect()
}

fn is_complete(found: &Recovered) -> bool {
    matches!(found.extent, Extent::Leading { .. } | Extent::Utf16)
}

/// Returns the reason why the text is not JSON.
fn extent_words(found: &Recovered) -> String {
    match &found.extent {
        Extent::Leading { line, tail } => {
            let bytes = if *tail == 1 { "1 byte".to_owned() } else { format!("{tail} bytes") };
            format!("a complete config ends at line {line}, and {bytes} behind it do not belong to it")
        }
        Extent::Corrected(mends) => {
            let mends: Vec<String> = mends.iter().map(Correction::to_string).collect();
            format!("the text is JSON with these changes: {}", mends.join("; "))
        }
        Extent::Torn { line } => {
            let network = found.torn_item.as_ref().and_then(|item| network_id::of(item.root()));
            let network = network.filter(|id| network_id::normalize(id).is_ok());
            let inside = network.map_or_else(String::new, |id| format!(", inside the network {id}"));
            format!("the text breaks off at line {line}{inside}")
        }
        Extent::Around { line } => format!("the text is damaged at line {line}"),
        Extent::Inner { line } => format!("a complete config begins at line {line}, behind something else"),
        _ => "the text is in UTF-16".to_owned(),
    }
}

fn is_part(found: &Recovered) -> bool {
    matches!(found.extent, Extent::Torn { .. } | Extent::Around { .. })
}

fn offer_words(found: &Recovered) -> String {
    match is_part(found) {
        true => format!("its complete members ({})", found.whole.join(", ")),
        false => "all of it".to_owned(),
    }
}

fn taken_words(found: &Recovered) -> String {
    match (&found.partial, found.whole.is_empty()) {
        _ if !is_part(found) => "all of it is".to_owned(),
        (Some(partial), true) => format!("the beginning of {partial} is"),
        (Some(partial), false) => format!("{} and the beginning of {partial} are", offer_words(found)),
        (None, _) => format!("{} are", offer_words(found)),
    }
}
