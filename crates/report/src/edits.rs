//! The saved networks, and a change of the config by the user.

use myownllm_config_model::{AppConfig, Document, masking, networks, settings};
use myownllm_launch::{Edit, Followed};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use textwrap::core::display_width;

use crate::launches::{networks_did, networks_line, offer_a_network};
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

/// A change of the saved networks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NetworkChange<'a> {
    /// The internal id of the network that was meant; null if there is none.
    id: Option<&'a str>,
    network_id: Option<&'a str>,
    /// True if the network was not saved before.
    created: bool,
    #[serde(flatten)]
    edited: Edited<'a>,
}

/// The members that the documents of all changes of the config have.
#[derive(Serialize, JsonSchema)]
struct Edited<'a> {
    /// True if the config was written.
    changed: bool,
    /// The path of the config.
    config: String,
    /// The changes of the daemon's networks; null if no daemon was asked.
    #[schemars(with = "Option<myownllm_launch::Reconciled>")]
    reconcile: Value,
    /// The command that undoes the change.
    undo: Option<&'a str>,
}

impl<'a> Edited<'a> {
    fn new(home: &HomeView<'_>, edit: &Edit, undo: Option<&'a str>) -> Self {
        let config = long(&home.layout.app_config);
        Self { changed: edit.updated.changed, config, reconcile: reconciled(&edit.followed), undo }
    }
}

/// The saved networks.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Networks<'a> {
    networks: Vec<NetworkRow>,
    /// The internal id of the active network.
    active: Option<&'a str>,
    /// True if the mesh is switched on.
    enabled: bool,
}

#[derive(Serialize, JsonSchema)]
struct NetworkRow {
    /// The internal id; empty if the next launch chooses it.
    id: String,
    /// The network id, as peers know it.
    network_id: String,
    label: Option<String>,
    /// The kind of the network; null is `open`.
    kind: Option<String>,
    /// True for the active network.
    active: bool,
}

/// A change of settings.
#[derive(Serialize, JsonSchema)]
pub(crate) struct SettingsChange<'a> {
    settings: Vec<SettingChange<'a>>,
    #[serde(flatten)]
    edited: Edited<'a>,
}

#[derive(Serialize, JsonSchema)]
struct SettingChange<'a> {
    key: &'a str,
    /// The value before; a secret is masked.
    before: Value,
    /// The value now; a secret is masked.
    value: Value,
}

/// Returns the command that undoes a change; `None` if there is no backup to return to.
pub fn undo(home: &HomeView<'_>, edit: &Edit) -> Option<String> {
    let backup = edit.backup.as_ref().filter(|_| !edit.change.created)?;
    let backups = home.backups();
    let entry = backups.iter().find(|entry| entry.id == backup.id);
    let name = entry.map_or_else(|| backup.id.sequence().to_string(), |entry| entry.short_name(&backups));
    Some(format!("{} config restore {name}", home.program))
}

/// Returns a change of the saved networks, after the words `what`.
pub fn network_edit(home: &HomeView<'_>, edit: &Edit, what: &str, undo: Option<&str>) -> (Page, Value) {
    let saved = if edit.updated.changed { "" } else { "  (no change)" };
    let document = &edit.updated.document;
    let mut page = Page::default();
    page.line(format!("{}{saved}", format!("{what} {}", edited_network(edit)).trim_end()));
    if what == "Removed" {
        let now = if edit.active_before.is_some() { " now" } else { "" };
        offer_a_network(home, document, &format!("No network is active{now}."), &mut page);
    }
    page.page(aftermath(edit, undo));
    let document = NetworkChange {
        id: edit.change.id.as_deref(),
        network_id: edit.change.network_id.as_deref(),
        created: edit.change.created,
        edited: Edited::new(home, edit, undo),
    };
    (page, json!(document))
}

/// Returns the name of the network that a change is about, or an empty string.
pub fn edited_network(edit: &Edit) -> &str {
    edit.change.network_id.as_deref().or(edit.change.id.as_deref()).unwrap_or_default()
}

/// Returns what was changed, for the run log.
pub fn edit_trace(home: &HomeView<'_>, edit: &Edit, command: &str) -> Option<Trace> {
    let mut did: Vec<String> =
        edit.updated.changed.then(|| "changed the config".to_owned()).into_iter().collect();
    if let Followed::Daemon(reconciled) = &edit.followed {
        did.extend(networks_did(reconciled));
    }
    // A user who sets a lost setting to its default changes nothing, and has decided all the same.
    if did.is_empty() && run_log::settles_losses(home.layout, command) {
        did.push("kept what a repair has left".to_owned());
    }
    let mut trace = Trace::of(home.layout, command, did)?;
    trace.entry.before = edit.backup.as_ref().map(|backup| backup.id.to_string());
    trace.entry.lost.clone_from(&edit.updated.gone_keys);
    Some(trace.decided(home, &edit.updated.document, &[]))
}

/// Describes what the daemon did about the change, and the command that undoes it.
fn aftermath(edit: &Edit, undo: Option<&str>) -> Page {
    let mut page = match edit.followed {
        // Nothing was changed, so the next launch has nothing to apply.
        Followed::NoDaemon if !edit.updated.changed => Page::default(),
        _ => followed_page(&edit.followed),
    };
    if let Some(undo) = undo {
        page.offer("To undo this:", undo);
    }
    page
}

/// Describes what the daemon did about a change.
pub(crate) fn followed_page(followed: &Followed) -> Page {
    let mut page = Page::default();
    match followed {
        Followed::Daemon(reconciled) => page.line(format!("The daemon: {}", networks_line(reconciled))),
        Followed::NoDaemon => page.line("No daemon runs: the next launch applies the change."),
        Followed::Failed => page.line("Saved, and the daemon was not told (see below)."),
        Followed::NotAsked => {}
    }
    page
}

/// Returns what the daemon did about the change, for a program.
pub(crate) fn reconciled(followed: &Followed) -> Value {
    match followed {
        Followed::Daemon(reconciled) => bounded(reconciled),
        _ => Value::Null,
    }
}

/// The beginning of the ids that a look gives to networks without an id: the time in them is 0.
pub const NO_ID: &str = "net-0-";

/// Returns the saved networks of a config, with secrets masked.
pub fn saved_networks(home: &HomeView<'_>, document: &Document) -> (Page, Value) {
    // Labels and ids are free text, so a user may have put a login into one.
    let document = masking::mask(document);
    let mesh = AppConfig::view(&document).cloud_mesh;
    let active = networks::active(&document).and_then(networks::internal_id);
    let mut page = Page::default();
    let mut rows = Vec::new();
    let width = mesh.networks.iter().map(|network| display_width(&network.network_id)).max().unwrap_or(0);
    for (network, saved) in mesh.networks.iter().zip(networks::saved(&document)) {
        let is_active = active.as_deref() == Some(&*saved.id);
        let mark = if is_active { "*" } else { " " };
        let (kind, label) = (network.kind.as_deref().unwrap_or("open"), network.label.as_deref());
        let label =
            label.filter(|label| !label.is_empty()).map_or_else(String::new, |label| format!("{label}  "));
        // The next launch chooses an id for a network that has none.
        let id = if saved.id.starts_with(NO_ID) { "no id yet" } else { &saved.id };
        let active_word = if is_active { "  active" } else { "" };
        let text = format!("{kind:<8}{label}({id}){active_word}");
        page.row(format!("{mark} {}", network.network_id), width + 4, text);
        let id = if saved.id.starts_with(NO_ID) { "" } else { &saved.id };
        rows.push(NetworkRow {
            id: id.to_owned(),
            network_id: network.network_id.clone(),
            label: network.label.clone(),
            kind: network.kind.clone(),
            active: is_active,
        });
    }
    if rows.is_empty() {
        page.line("No networks are saved. The command `network add` saves one.");
    } else {
        offer_a_network(home, &document, "None is active.", &mut page);
    }
    let document = Networks { networks: rows, active: active.as_deref(), enabled: mesh.enabled };
    (page, json!(document))
}

/// Returns a change of the settings with these names. `before` is the config before the change.
pub fn settings_edit(home: &HomeView<'_>, edit: &Edit, before: &Document, keys: &[&str]) -> (Page, Value) {
    let (before, after) = (masking::mask(before), masking::mask(&edit.updated.document));
    let value = |document: &Document, key: &str| {
        settings::get(document, key).map_or(Value::Null, |value| value.to_value())
    };
    let mut page = Page::default();
    let mut rows = Vec::new();
    for key in keys {
        let (was, is) = (value(&before, key), value(&after, key));
        page.line(match () {
            () if !edit.updated.changed => format!("{key}: {is}  (no change)"),
            () if was == is => format!("{key}: {is}"),
            () => format!("{key}: {was} -> {is}"),
        });
        rows.push(SettingChange { key, before: was, value: is });
    }
    let is_on = |document: &Document| AppConfig::view(document).cloud_mesh.enabled;
    if is_on(&before) && !is_on(&after) && networks::active(&after).is_some() {
        let leave = format!("{} network use --none", home.program);
        page.offer("A launch joins the active network all the same. To leave the network:", leave);
    }
    let undo = undo(home, edit);
    page.page(aftermath(edit, undo.as_deref()));
    let edited = Edited::new(home, edit, undo.as_deref());
    (page, json!(SettingsChange { settings: rows, edited }))
}
