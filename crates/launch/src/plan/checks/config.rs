//! Checks the app's config, its backups, and the files that a daemon left beside it.

use std::path::Path;

use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{DaemonFile, ValueRef, masking, networks};
use myownllm_config_store::{LOST_NETWORKS, Loaded, Step};
use myownllm_durable_fs::move_aside;
use myownllm_paths::camino::Utf8PathBuf;

use super::{Check, Examiner, LEFTOVER, Mark};
use crate::daemons::networks::{active_network, unreconciled};
use crate::files::daemon_config::shared_config;
use crate::files::losses::{LOSSES, may_have_lost_networks};
use crate::homes::no_access::unreadable_file;
use crate::plan::foreseen::{blocked_backup, unwritable};
use crate::words::diagnostic::{CORRUPT, Diagnostic, NEEDS_REPAIR, WIPED};
use crate::words::hints::edit;
use crate::words::{
    LONGEST_NAME, count, network_argument, network_id_of, short, state_words, use_first_network,
};

impl Examiner<'_, '_> {
    pub(super) fn config(&mut self) {
        let Some(loaded) = &self.plan.loaded else {
            self.checks.diagnostics("config.readable", self.plan.unreadable.clone());
            return self.copies(None);
        };
        self.shape(loaded);
        let diagnostics = &self.plan.diagnostics;
        let lost = |code| diagnostics.iter().filter(move |diagnostic| diagnostic.code == code).cloned();
        self.checks.diagnostics("config.losses", lost(LOSSES));
        // `config.shape` and `config.copies` report these codes already.
        let reported = [CORRUPT, WIPED, "store.defaults", "store.newer", "store.backups-unreadable"];
        for found in &loaded.diagnostics {
            if found.severity != myownllm_config_model::Severity::Info && !reported.contains(&found.code) {
                let diagnostic = finding(found, self.context.layout.app_config.as_std_path());
                self.checks.diagnostic("config.findings", diagnostic);
            }
        }
        self.active_network(loaded);
        self.checks.diagnostics("networks.active", lost(LOST_NETWORKS));
        if !loaded.pending.repairs() && !may_have_lost_networks(&loaded.report, &loaded.diagnostics) {
            let detection = &self.plan.detection;
            let found = unreconciled(self.context, detection, &loaded.document, self.options.program);
            self.checks.diagnostics("networks.active", found);
        }
        self.leftovers(loaded);
        self.unfinished(loaded);
        self.copies(Some(loaded));
    }

    fn active_network(&mut self, loaded: &Loaded) {
        const ID: &str = "networks.active";
        let shown = masking::mask(&loaded.document);
        let saved = networks::list(&shown).len();
        match networks::active(&shown) {
            _ if loaded.pending.repairs() => {
                let evidence = format!("{} will be saved after the repair", count(saved, "network"));
                self.checks.skipped(ID, evidence);
            }
            _ if loaded.newer.is_some() => {
                self.checks.skipped(ID, "the config is of a newer version, and left as it is");
            }
            Some(network) => match active_network(self.context, &loaded.document) {
                Err(refused) => self.checks.diagnostic(ID, refused),
                Ok(wanted) => {
                    let name = network_id_of(network).unwrap_or_default();
                    match wanted.and_then(|wanted| unknown_value(&wanted, network)) {
                        None => self.checks.ok(ID, format!("{saved} saved, {name} is active")),
                        Some(word) => {
                            let message = format!(
                                "{name} has {word}, which only a newer daemon knows, if any: another \
                                 one does not take it"
                            );
                            let show =
                                format!("{} network show {}", self.options.program, network_argument(&name));
                            let unknown = Diagnostic::warning("network.unknown-kind", message);
                            self.checks.diagnostic(ID, unknown.hint(show));
                        }
                    }
                }
            },
            None if saved == 0 => self.checks.ok(ID, "no network is saved"),
            None => {
                let evidence = format!("{} saved and none active", count(saved, "network"));
                let diagnostic = Diagnostic::warning("network.none-active", evidence);
                let hint = use_first_network(&loaded.document, self.options.program);
                self.checks.diagnostic(ID, Diagnostic { hint, ..diagnostic });
            }
        }
    }

    fn shape(&mut self, loaded: &Loaded) {
        const ID: &str = "config.shape";
        let layout = self.context.layout;
        let path = &layout.app_config;
        let repair = self.checks.repair();
        let evidence = format!("{}: {}", short(path, &layout.user_home), state_words(&loaded.report));
        let wiped = loaded.diagnostics.iter().find(|found| found.code == WIPED).map(Diagnostic::from);
        if let Some(error) = loaded.newer_error(path) {
            self.checks.diagnostic(ID, Diagnostic::from(&error));
        } else if let Some(found) = loaded.diagnostics.iter().find(|found| found.code == CORRUPT) {
            let corrupt = Diagnostic::error(CORRUPT, &found.message).at(path).hint(repair);
            self.checks.diagnostic(ID, Diagnostic { place: found.place.clone().map(Box::new), ..corrupt });
            let lacks_copy = loaded.report.restored_from.is_none() && loaded.report.kept_keys.is_empty();
            if let Some(check) = self.checks.list.last_mut().filter(|_| lacks_copy) {
                check.evidence.push_str("; there is no good backup, so its settings begin at their defaults");
            }
        } else if let Some(mut diagnostic) = wiped {
            if loaded.pending.repairs() {
                diagnostic = diagnostic.as_error().hint(repair);
            }
            self.checks.diagnostic(ID, diagnostic);
        } else if loaded.pending.repairs() {
            self.checks.diagnostic(ID, Diagnostic::error(NEEDS_REPAIR, evidence).at(path).hint(repair));
        } else {
            self.checks.ok(ID, evidence);
        }
    }

    /// Reports the files that a daemon left beside the config. A healthy config does not need them.
    fn leftovers(&mut self, loaded: &Loaded) {
        const ID: &str = "config.daemons-leftover";
        let layout = self.context.layout;
        for name in ["corrupt", "tmp"] {
            let sibling = Utf8PathBuf::from(format!("{}.{name}", layout.app_config));
            if self.context.disk.stat(sibling.as_ref()).is_err() {
                continue;
            }
            let left = format!("a daemon left {}", short(&sibling, &layout.user_home));
            let is_source = loaded.report.restored_from.as_deref() == sibling.file_name();
            let (evidence, hint) = if loaded.pending.repairs() && is_source {
                (format!("{left}; a repair takes the app's settings from it"), self.checks.repair())
            } else if loaded.diagnostics.iter().any(|found| found.path == sibling) {
                (format!("{left}; a repair takes networks from it"), self.checks.repair())
            } else if loaded.pending.repairs() {
                (format!("{left}; a repair takes nothing from it"), move_aside(&sibling, "aside"))
            } else {
                (format!("{left}; the config is well without it"), move_aside(&sibling, "aside"))
            };
            self.checks.diagnostic(ID, Diagnostic::warning(ID, evidence).at(&sibling).hint(hint));
        }
    }

    /// Reports what killed runs left in the daemon home: no launch looks for it.
    fn unfinished(&mut self, loaded: &Loaded) {
        let layout = self.context.layout;
        let mut left = loaded.pending.steps.iter().filter_map(|step| match step {
            Step::ClearLeftover { path, .. } => Some(path),
            _ => None,
        });
        let Some(path) = left.find(|path| path.parent() == Some(layout.daemon_home.as_std_path())) else {
            return;
        };
        let evidence = format!("a killed run left {}; a repair removes it", short(path, &layout.user_home));
        let found = Diagnostic::warning(LEFTOVER, evidence).at(path);
        self.checks.diagnostic("daemon.config", found.hint(self.checks.repair()));
    }

    fn copies(&mut self, loaded: Option<&Loaded>) {
        const ID: &str = "config.copies";
        const UNREADABLE: &str = "store.copy-unreadable";
        let copies = match self.context.store.history() {
            Ok(copies) => copies,
            Err(error) => {
                // A launch that needs no backup goes on.
                let diagnostic = Diagnostic::from(&error);
                let is_same = |other: &Diagnostic| other.is_error() && other.code == diagnostic.code;
                let is_needed = self.plan.diagnostics.iter().any(is_same);
                let is_sound = !is_needed && loaded.is_some_and(|loaded| !loaded.pending.repairs());
                let is_reported = |check: &Check| {
                    check.result == Mark::Problem && check.code.as_ref() == Some(&diagnostic.code)
                };
                if self.checks.list.iter().any(is_reported) {
                    return self.checks.skipped(ID, "not looked at before what is named above is settled");
                }
                let diagnostic = if is_sound { diagnostic.as_warning() } else { diagnostic };
                return self.checks.diagnostic(ID, diagnostic);
            }
        };
        let changed = copies.iter().filter(|copy| copy.readable && !copy.intact);
        let damaged: Vec<String> = changed.map(|copy| copy.id.sequence().to_string()).collect();
        if let Some(unread) = copies.iter().find(|copy| !copy.readable) {
            if self.checks.list.iter().any(|check| check.code.as_deref() == Some(UNREADABLE)) {
                return self.checks.skipped(ID, "not looked at before what is named above is settled");
            }
            let (disk, layout) = (self.context.disk, self.context.layout);
            let evidence = format!("backup {} cannot be read", unread.id.sequence());
            let diagnostic = Diagnostic::warning(UNREADABLE, evidence).at(&unread.path);
            let error = disk.read(unread.path.as_ref(), 0).err();
            let hint = error.and_then(|error| unreadable_file(disk, layout, &error).hint);
            self.checks.diagnostic(ID, Diagnostic { hint, ..diagnostic });
        } else if !damaged.is_empty() {
            let evidence = format!("changed by another program after they were made: {}", damaged.join(", "));
            let diagnostic =
                Diagnostic::warning("store.backup-damaged", evidence).at(&self.context.layout.backups);
            let hint = format!("{} config history", self.options.program);
            self.checks.diagnostic(ID, diagnostic.hint(hint));
        } else if loaded.is_some_and(lacks_its_copy) {
            let evidence = "no backup holds the config as it is: a repair could not bring its changes back";
            let (context, run_as) = (self.context, self.options.run_as);
            let home = std::slice::from_ref(&context.layout.app_home);
            let is_missing = context.disk.stat(context.layout.backups.as_ref()).is_err();
            let blocked = shared_config(context).or_else(|| blocked_backup(context, run_as));
            let blocked = blocked.or_else(|| unwritable(context, run_as, home).filter(|_| is_missing));
            let hint = blocked.map_or_else(|| Some(self.checks.repair()), |blocked| blocked.hint);
            let diagnostic = Diagnostic::warning("store.no-backup", evidence);
            self.checks.diagnostic(ID, Diagnostic { hint, ..diagnostic });
        } else if copies.is_empty() {
            self.checks.ok(ID, "none kept yet");
        } else {
            let number = if copies.len() == 1 { "backup" } else { "backups" };
            self.checks.ok(ID, format!("{} {number} kept, all intact", copies.len()));
        }
    }
}

/// Returns the kind or the topology of a network, in the daemon's shape, that no known daemon
/// version (0.1.2 to 0.3.8) reads. `shown` is the network, masked.
fn unknown_value(network: &serde_json::Value, shown: ValueRef<'_>) -> Option<String> {
    let config = serde_json::json!({ "networks": [network] }).to_string();
    let at = DaemonFile::Config.judge(config.as_bytes()).unknown_value?;
    let at = at.strip_prefix("/networks/0/")?;
    let value = at.split('/').try_fold(shown, |value, key| value.get(key))?;
    Some(format!("{at} {}", shortened(&value.as_str()?, LONGEST_NAME)))
}

/// Returns a diagnostic that names the member it is about, and the command that opens the config
/// there.
fn finding(found: &myownllm_config_model::Diagnostic, config: &Path) -> Diagnostic {
    let mut diagnostic = Diagnostic::from(found);
    if let Some(place) = diagnostic.path.as_ref().filter(|place| !diagnostic.message.contains(place.as_str()))
    {
        diagnostic.message = format!("{place}: {}", diagnostic.message);
    }
    if diagnostic.code.starts_with("config.") {
        diagnostic.hint = Some(edit(config, diagnostic.place.as_ref().map(|place| place.line)));
    }
    diagnostic
}

/// Returns true if a launch would make no change to a healthy config except a backup of it.
fn lacks_its_copy(loaded: &Loaded) -> bool {
    let mut steps = loaded.pending.steps.iter();
    steps.any(|step| matches!(step, Step::KeepLastGood { .. })) && !loaded.pending.writes_config()
}
