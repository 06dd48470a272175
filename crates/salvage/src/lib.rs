#![doc = include_str!("../README.md")]

mod rebase;
mod report;
mod restore_wiped;
mod schema;

use std::collections::HashSet;

use myownllm_config_model::{
    Diagnostic, Document, Fragment, Ids, Kind, ParseError, Severity, ValueRef, app_config, convert,
    daemon_config, network_id, networks as saved_networks,
};

pub use serde_json;

pub use rebase::{Rebased, rebase_paths};
pub use report::{SalvageReport, Salvaged, Shape};
pub use restore_wiped::{RestoredSettings, app_half, own_part, restore_wiped, with_app_half};
pub use schema::{AppSchema, MyOwnLlm, NoSchema};

/// Keys that only the app writes. One of them shows that a document has a part of the app.
const APP_MARKS: [&str; 3] = ["providers", "active_family", "cloud_mesh"];
/// The path of the saved networks in the app's config.
const NETWORKS: [&str; 2] = ["cloud_mesh", "networks"];
/// The member of a saved network that keeps what only the daemon knows of it.
const DAEMON_SETTINGS: &str = "daemon_settings";
/// Top-level keys that both schemas have.
pub const SHARED_KEYS: [&str; 2] = ["auto_update", "auto_cleanup"];

/// Returns true for a key of the daemon's schema.
fn is_daemon_key(key: &str) -> bool {
    daemon_config::OWN_KEYS.contains(&key) || SHARED_KEYS.contains(&key)
}

/// Returns true if an entry of the daemon's `networks` names a network.
fn is_network(entry: ValueRef<'_>) -> bool {
    ["id", "network_id"].iter().all(|key| entry.get(key).is_some_and(|v| v.kind() == Kind::String))
}

/// Returns a warning if the document has networks of the daemon that [`salvage`] does not recover.
///
/// [`salvage`] does not recognise a document as the daemon's if an entry of `networks` names no
/// network. All networks then stay at the top level, where the app does not read them.
pub fn unrecognised_networks(doc: &Document) -> Option<Diagnostic> {
    let networks = doc
        .get(&["networks"])
        .filter(|n| n.kind() == Kind::Array && !is_recognised(doc, &APP_MARKS, true))?;
    let count = networks.items().filter(|entry| is_network(*entry)).count();
    let odd = networks.items().position(|entry| !is_network(entry)).filter(|_| count > 0)?;
    let path = format!("/networks/{odd}");
    let subject = match count {
        1 => "a network of the daemon stays".to_owned(),
        many => format!("{many} networks of the daemon stay"),
    };
    Some(Diagnostic {
        code: "salvage.not-recognised",
        severity: Severity::Warning,
        message: format!(
            "{subject} at the top of the config, where the app does not look: {path} names no network (a \
             string id and network_id), so the config is not taken for the daemon's"
        ),
        place: doc.place(&path),
        path,
        hint: None,
    })
}

fn has_mark(doc: &Document, marks: &[impl AsRef<str>]) -> bool {
    marks.iter().any(|key| doc.get(&[key.as_ref()]).is_some())
}

/// Returns true if the daemon wrote a document, wholly or in part. `marks` are the keys that only
/// the app writes. Either of two signs proves it:
///
/// - Each entry of the top-level array `networks` names a network, and there is at least one. This
///   counts only if `only_daemon_has_networks`.
/// - The document has a number `version`, an object `daemon`, an array `networks`, and no mark.
fn is_recognised(doc: &Document, marks: &[impl AsRef<str>], only_daemon_has_networks: bool) -> bool {
    let Some(networks) = doc.get(&["networks"]).filter(|n| n.kind() == Kind::Array) else { return false };
    let is = |key: &str, kind: Kind| doc.get(&[key]).is_some_and(|v| v.kind() == kind);
    let names_networks = networks.items().next().is_some() && networks.items().all(is_network);
    (names_networks && only_daemon_has_networks)
        || (is("version", Kind::Number) && is("daemon", Kind::Object) && !has_mark(doc, marks))
}

/// Returns the shape of a document of MyOwnLLM or its daemon.
///
/// ```
/// use myownllm_config_model::Document;
/// use myownllm_salvage::{Shape, shape};
/// let of = |text: &str| shape(&Document::parse(text.as_bytes()).unwrap().document);
/// assert_eq!(of(r#"{"version":3,"daemon":{},"networks":[]}"#), Shape::Daemon);
/// assert_eq!(of(r#"{"networks":[{"id":"a","network_id":"home"}],"providers":[]}"#), Shape::Mixed);
/// assert_eq!(of(r#"{"active_family":"qwen3"}"#), Shape::App);
/// assert_eq!(of("{}"), Shape::Unknown);
/// ```
pub fn shape(doc: &Document) -> Shape {
    shape_by(doc, &APP_MARKS, true)
}

fn shape_by(doc: &Document, marks: &[impl AsRef<str>], only_daemon_has_networks: bool) -> Shape {
    match (is_recognised(doc, marks, only_daemon_has_networks), has_mark(doc, marks)) {
        (true, false) => Shape::Daemon,
        (true, true) => Shape::Mixed,
        (false, true) => Shape::App,
        (false, false) => Shape::Unknown,
    }
}

/// Repairs a document of MyOwnLLM's; see [`AppSchema::salvage`].
///
/// - [`Shape::Daemon`], with a backup: the app's half is the backup.
/// - [`Shape::Daemon`] without a backup, and [`Shape::Mixed`]: the app's half is the document
///   without the daemon's keys.
///
/// In both cases the app's half gains the daemon's networks that it lacks. Two networks are the
/// same if their network ids have the same normal form. Ignores a backup that is not
/// [`Shape::App`].
pub fn salvage(doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged {
    salvage_as(&MyOwnLlm::default(), doc, last_good, ids)
}

fn salvage_as<S: AppSchema + ?Sized>(
    schema: &S,
    doc: &Document,
    last_good: Option<&Document>,
    ids: &mut dyn Ids,
) -> Salvaged {
    let shape = schema.shape(doc);
    let mut salvaged = Salvaged::new(doc.clone(), shape);
    if !matches!(shape, Shape::Daemon | Shape::Mixed) {
        return salvaged;
    }
    let Salvaged { app, report, .. } = &mut salvaged;
    let last_good = last_good.filter(|backup| schema.shape(backup) == Shape::App);
    let base = last_good.filter(|_| shape == Shape::Daemon);
    // A shared key that this app has may be the app's own.
    let defaults = schema.defaults();
    let foreign = SHARED_KEYS.into_iter().filter(|key| defaults.get(&[key]).is_none());

    for key in daemon_config::OWN_KEYS.into_iter().chain(foreign) {
        if app.remove(&[key]) {
            report.stripped_keys.push(key.to_owned());
        }
    }
    if let Some(base) = base {
        let rest = std::mem::replace(app, base.clone());
        report.restored_keys = base.keys();
        keep_unknown(app, &rest, &mut report.kept_keys);
    } else {
        report.kept_keys = app.keys();
        // The daemon has overwritten the app's value of these keys.
        for key in report.stripped_keys.iter().filter(|key| defaults.get(&[key]).is_some()) {
            if let Some(value) = last_good.and_then(|backup| backup.get(&[key])) {
                app.set(&[key], value);
                report.restored_keys.push(key.clone());
            }
        }
    }
    let are_adopted = schema.adopt_networks(doc, &mut salvaged, ids);
    salvaged.report.reset_keys = schema.missing_keys(&salvaged.app);
    let mut daemon = daemon_half(doc, shape);
    if are_adopted {
        daemon.set(&["networks"], Fragment::array::<Fragment>([]));
    }
    salvaged.report.daemon_keys = daemon.keys();
    Salvaged { daemon: Some(daemon), ..salvaged }
}

/// Adds the keys of `from` that the app's half lacks, except the known keys of the daemon: a newer
/// app or daemon may know the others.
fn keep_unknown(app: &mut Document, from: &Document, kept: &mut Vec<String>) {
    for (key, value) in from.root().members() {
        if app.get(&[&key]).is_none() && !daemon_config::OWN_KEYS.contains(&&*key) {
            app.set(&[&key], value);
            kept.push(key.into_owned());
        }
    }
}

fn has_active(app: &Document) -> bool {
    app.get(&["cloud_mesh", "active_network_id"]).is_some_and(|id| !id.is_falsy())
}

/// Appends the daemon's networks that the app's half lacks, converted to the app's shape.
fn adopt_networks(doc: &Document, into: &mut Salvaged, ids: &mut dyn Ids) {
    let Salvaged { app, report, diagnostics, .. } = into;
    let networks = doc.get(&["networks"]).filter(|n| n.items().next().is_some());
    let Some(networks) = networks else { return };
    let replaced = ensure_networks_array(app, ids);
    let known: HashSet<String> = app
        .get(&NETWORKS)
        .into_iter()
        .flat_map(|list| list.items())
        .filter_map(|entry| Some(network_id::normal_form(&network_id::of(entry)?)))
        .collect();
    let (mut missing, mut more_of_known) = (Vec::new(), Vec::new());
    for (n, network) in networks.items().enumerate() {
        let path = format!("/networks/{n}");
        if !is_network(network) {
            report.odd_networks.push(n);
            let message = format!(
                "{path} is {} that names no network (a string id and network_id); it is in the backup only",
                network.kind().name()
            );
            diagnostics.push(Diagnostic::new("salvage.odd-network", Severity::Warning, path, message));
            continue;
        }
        let (entry, found) = convert::from_daemon(network, &path);
        diagnostics.extend(found);
        let network_id = network_id::of(network).unwrap_or_default();
        if known.contains(&network_id::normal_form(&network_id)) {
            report.known_networks.push(network_id.into_owned());
            more_of_known.push(network);
        } else {
            report.recovered_networks.push(network_id.into_owned());
            missing.push(entry);
        }
    }
    app.append(&NETWORKS, missing);
    // Without its settings from the daemon, the daemon would join a silent network as an open one
    // that announces itself.
    saved_networks::keep_daemon_settings(app, more_of_known);
    diagnostics.extend(replaced);
    if !has_active(app) {
        report.activate = report.recovered_networks.first().cloned();
    }
}

/// Makes an array of networks in the app's half, unless there is one. Returns a warning for each
/// value that the array replaces.
fn ensure_networks_array(app: &mut Document, ids: &mut dyn Ids) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mesh = app.get(&["cloud_mesh"]);
    if let Some(odd) = mesh.filter(|m| m.kind() != Kind::Object) {
        if !odd.is_falsy() {
            diagnostics.push(replaced_by_networks("/cloud_mesh", odd.kind()));
        }
        app.remove(&["cloud_mesh"]);
    }
    let list = app.get(&NETWORKS);
    if let Some(odd) = list.filter(|l| l.kind() != Kind::Array) {
        if !odd.is_null() {
            diagnostics.push(replaced_by_networks("/cloud_mesh/networks", odd.kind()));
        }
        app.remove(&NETWORKS);
    }
    // An array hides a network in the single-network form beside it, so that network goes into the
    // array first.
    let flat = app.get(&["cloud_mesh"]).and_then(|m| app_config::flat_network(m, ids));
    if let Some(flat) = flat {
        let odd = app.get(&NETWORKS).into_iter().flat_map(|l| l.items()).map(Fragment::from);
        let list = Fragment::array(std::iter::once(flat.entry).chain(odd));
        app.set(&NETWORKS, list);
        app.set(&["cloud_mesh", "active_network_id"], flat.id);
        for key in flat.keys {
            app.remove(&["cloud_mesh", key]);
        }
    } else if app.get(&NETWORKS).is_none() {
        app.set(&NETWORKS, Fragment::array::<Fragment>([]));
    }
    diagnostics
}

fn replaced_by_networks(path: &str, found: Kind) -> Diagnostic {
    let found = found.name();
    let message = format!(
        "{path} was {found}; the daemon's networks are there now, and the value is in the backup only"
    );
    Diagnostic::new("config.replaced", Severity::Warning, path, message)
}

/// Returns the daemon's half of a document.
///
/// A [`Shape::Daemon`] document belongs to the daemon as a whole, with the keys of a newer daemon.
/// A [`Shape::Mixed`] one has only the keys of the daemon's schema in its daemon's half.
fn daemon_half(doc: &Document, shape: Shape) -> Document {
    let mut half = doc.clone().into_utf8();
    if shape == Shape::Mixed {
        for key in doc.keys() {
            if !is_daemon_key(&key) {
                half.remove(&[&key]);
            }
        }
    }
    half
}

/// The result of [`normalize`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Normalized {
    /// The document that a load would save.
    pub document: Document,
    /// The effects of the repair.
    pub report: SalvageReport,
    /// Remarks about the bytes, the repair and the completion.
    pub diagnostics: Vec<Diagnostic>,
}

/// Parses, salvages and completes a config, and returns the document that a load would save if it
/// found no backup: what the file lost is at its default. `conversation_dir` is the default of that
/// name. For MyOwnLLM's config alone: the config of another app gets MyOwnLLM's keys.
///
/// # Errors
/// Fails for bytes that are not a JSON object.
pub fn normalize(bytes: &[u8], conversation_dir: &str, ids: &mut dyn Ids) -> Result<Normalized, ParseError> {
    let Salvaged { app: mut document, report, mut diagnostics, .. } = salvage_bytes(bytes, ids)?;
    diagnostics.extend(app_config::complete(&mut document, conversation_dir, ids));
    Ok(Normalized { document, report, diagnostics })
}

/// Parses and salvages a config without a backup, and does not complete it. For MyOwnLLM's config
/// alone: another app calls [`AppSchema::salvage`].
///
/// # Errors
/// Fails for bytes that are not a JSON object.
pub fn salvage_bytes(bytes: &[u8], ids: &mut dyn Ids) -> Result<Salvaged, ParseError> {
    let parsed = Document::parse(bytes)?;
    let mut salvaged = salvage(&parsed.document, None, ids);
    salvaged.diagnostics.splice(0..0, parsed.diagnostics);
    Ok(salvaged)
}
