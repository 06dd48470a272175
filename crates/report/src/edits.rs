//! A change of the config by the user for a person and for a program.

use myownllm_config_model::networks;
use myownllm_launch::{Edit, Followed};
use serde_json::{Value, json};

use crate::launches::{networks_did, networks_line};
use crate::run_log::Trace;
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

/// Returns the command that undoes a change; `None` if there is no backup to return to.
#[must_use]
pub fn undo(home: &HomeView<'_>, edit: &Edit) -> Option<String> {
    let backup = edit.backup.as_ref().filter(|_| !edit.change.created)?;
    Some(format!("{} config restore {}", home.program, backup.id.sequence()))
}

/// Returns a change of the saved networks, after the words `what`.
#[must_use]
pub fn network_edit(home: &HomeView<'_>, edit: &Edit, what: &str, undo: Option<&str>) -> (Page, Value) {
    let saved = if edit.updated.changed { "" } else { "  (no change)" };
    let document = &edit.updated.document;
    let mut page = Page::default();
    page.line(format!("{what} {}{saved}", edited_network(edit)).trim_end());
    if what == "Removed" && networks::active(document).is_none() && !networks::list(document).is_empty() {
        page.line("No network is active now. To choose one:");
        page.copied(2, "", format!("{} network use NAME", home.program));
    }
    page.page(aftermath(edit, undo));
    let data = json!({
        "id": edit.change.id,
        "network_id": edit.change.network_id,
        "created": edit.change.created,
        "changed": edit.updated.changed,
        "config": long(&home.layout.app_config),
        "reconcile": reconciled(edit),
        "undo": undo,
    });
    (page, data)
}

/// Returns the name of the network that a change is about, or an empty string.
#[must_use]
pub fn edited_network(edit: &Edit) -> &str {
    edit.change.network_id.as_deref().or(edit.change.id.as_deref()).unwrap_or_default()
}

/// Returns what was changed, for the run log.
#[must_use]
pub fn edit_trace(home: &HomeView<'_>, edit: &Edit, command: &str) -> Option<Trace> {
    let mut did: Vec<String> =
        edit.updated.changed.then(|| "changed the config".to_owned()).into_iter().collect();
    if let Followed::Daemon(reconciled) = &edit.followed {
        did.extend(networks_did(reconciled));
    }
    let backup = edit.backup.as_ref().map(|backup| backup.id.to_string());
    Some(Trace::of(home.layout, command, did)?.before(backup))
}

/// Describes what the daemon did about the change, and the command that undoes it.
#[must_use]
pub fn aftermath(edit: &Edit, undo: Option<&str>) -> Page {
    let mut page = Page::default();
    match &edit.followed {
        Followed::Daemon(reconciled) => page.line(format!("The daemon: {}", networks_line(reconciled))),
        Followed::NoDaemon => page.line("No daemon runs; the next launch follows."),
        Followed::Failed => page.line("It is saved, and the daemon was not told (see below)."),
        Followed::NotAsked => {}
    }
    if let Some(undo) = undo {
        page.line("To undo this:");
        page.copied(2, "", undo);
    }
    page
}

/// Returns what the daemon did about the change, for a program.
#[must_use]
pub fn reconciled(edit: &Edit) -> Value {
    match &edit.followed {
        Followed::Daemon(reconciled) => bounded(reconciled),
        _ => Value::Null,
    }
}
