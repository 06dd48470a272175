//! Changes of the config that a command makes, with their report and the command that undoes them.

use myownllm_config_model::{Document, networks};
use myownllm_launch::{Diagnostic, Edit, Followed, edit_config};
use serde_json::{Value, json};

use crate::exit::exit_of;
use crate::output::{Answer, bounded, long};
use crate::run_log::Trace;
use crate::told::{networks_did, networks_line};
use crate::world::{World, fresh_ids};
use myownllm_report::Page;

/// A change of the config, and the command that undoes it.
pub(crate) struct Change {
    pub(crate) edit: Edit,
    /// The config's path.
    config: String,
    /// The command that undoes the change.
    pub(crate) undo: Option<String>,
}

impl Change {
    pub(crate) fn told(self, world: &World, command: &str, what: &str) -> Answer {
        let saved = if self.edit.updated.changed { "" } else { "  (no change)" };
        let known =
            self.edit.change.network_id.clone().or_else(|| self.edit.change.id.clone()).unwrap_or_default();
        let mut page = Page::default();
        page.line(format!("{what} {known}{saved}").trim_end());
        let is_none_active = networks::active(&self.edit.updated.document).is_none();
        if what == "Removed" && is_none_active && !networks::list(&self.edit.updated.document).is_empty() {
            page.line("No network is active now. To choose one:");
            page.copied(2, "", format!("{} network use NAME", world.program));
        }
        page.page(self.aftermath());
        let data = json!({
            "id": self.edit.change.id,
            "network_id": self.edit.change.network_id,
            "created": self.edit.change.created,
            "changed": self.edit.updated.changed,
            "config": self.config,
            "reconcile": self.reconciled(),
            "undo": self.undo,
        });
        let exit = exit_of(&self.edit.diagnostics);
        let trace = self.trace(world, &format!("{command} {known}"));
        Answer { diagnostics: self.edit.diagnostics, trace, ..Answer::done(page, data) }.exit(exit)
    }

    /// Returns what was changed, for the run log.
    pub(crate) fn trace(&self, world: &World, command: &str) -> Option<Trace> {
        let mut did: Vec<String> =
            self.edit.updated.changed.then(|| "changed the config".to_owned()).into_iter().collect();
        if let Followed::Daemon(reconciled) = &self.edit.followed {
            did.extend(networks_did(reconciled));
        }
        let backup = self.edit.backup.as_ref().map(|backup| backup.id.to_string());
        Some(Trace::of(&world.layout, command, did)?.before(backup))
    }

    /// Describes what the daemon did about the change, and the command that undoes it.
    pub(crate) fn aftermath(&self) -> Page {
        let mut page = Page::default();
        match &self.edit.followed {
            Followed::Daemon(reconciled) => page.line(format!("The daemon: {}", networks_line(reconciled))),
            Followed::NoDaemon => page.line("No daemon runs; the next launch follows."),
            Followed::Failed => page.line("It is saved, and the daemon was not told (see below)."),
            Followed::NotAsked => {}
        }
        if let Some(undo) = &self.undo {
            page.line("To undo this:");
            page.copied(2, "", undo);
        }
        page
    }

    pub(crate) fn reconciled(&self) -> Value {
        match &self.edit.followed {
            Followed::Daemon(reconciled) => bounded(reconciled),
            _ => Value::Null,
        }
    }
}

/// Changes the config, and with `follows` brings a running daemon in line with it.
pub(crate) fn change(
    world: &World,
    follows: bool,
    edit: &mut dyn FnMut(&mut Document) -> Result<networks::Change, Diagnostic>,
) -> Result<Change, Diagnostic> {
    let wired = world.wire();
    let edit = edit_config(&wired.context(), &world.options(), &mut fresh_ids(), follows, edit)?;
    let backup = edit.backup.as_ref().filter(|_| !edit.change.created);
    let undo = backup.map(|backup| format!("{} config restore {}", world.program, backup.id.sequence()));
    Ok(Change { edit, config: long(&world.layout.app_config), undo })
}
