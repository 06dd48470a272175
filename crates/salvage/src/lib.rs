#![doc = include_str!("../README.md")]

mod rebase;
mod report;
mod wiped;

use std::collections::HashSet;

use myownllm_config_model::{
    Diagnostic, Document, Fragment, Ids, Kind, ParseError, Severity, ValueRef, app_config, convert,
    daemon_config, network_id,
};

pub use rebase::{Rebased, rebase_paths};
pub use report::{SalvageReport, Salvaged, Shape};
pub use wiped::{Restored, app_half, restore_wiped, with_app_half};

/// The app's keys that a document of the daemon's never has; one of them is enough to tell an app's half.
const APP_MARKS: [&str; 3] = ["providers", "active_family", "cloud_mesh"];
/// Where the app has its networks.
const NETWORKS: [&str; 2] = ["cloud_mesh", "networks"];
/// Top-level keys that both schemas have.
const SHARED_KEYS: [&str; 2] = ["auto_update", "auto_cleanup"];

/// The front door: whose shape is this, and how does one get the app's back.
///
/// A trait so that `launch` can take another implementation: a sibling app's, whose config has other keys.
pub trait ConfigSalvager: Sync {
    /// Whose shape a document is in.
    fn shape(&self, doc: &Document) -> Shape;
    /// Repairs a document. `last_good` is the newest healthy copy of the app's config, when there is one.
    ///
    /// A document that is neither daemon-shaped nor mixed comes back as it is, with no daemon's half.
    fn salvage(&self, doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged;
}

/// The implementation for MyOwnLLM and its daemon, over the functions [`shape`] and [`salvage`].
#[derive(Debug, Clone, Copy, Default)]
pub struct Salvager;

impl ConfigSalvager for Salvager {
    fn shape(&self, doc: &Document) -> Shape {
        shape(doc)
    }
    fn salvage(&self, doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged {
        salvage(doc, last_good, ids)
    }
}

/// An entry of the daemon's list that names a network.
fn is_network(entry: ValueRef<'_>) -> bool {
    ["id", "network_id"].iter().all(|key| entry.get(key).is_some_and(|v| v.kind() == Kind::String))
}

/// Networks of the daemon's in a document that is not taken for one of its own, because another entry of the list names none: they
/// stay where no app sees them. Told, as nothing may be stripped from such a document.
pub fn unrecognised_networks(doc: &Document) -> Option<Diagnostic> {
    let networks = doc.get(&["networks"]).filter(|n| n.kind() == Kind::Array && !is_recognised(doc))?;
    let hidden = networks.items().filter(|entry| is_network(*entry)).count();
    let odd = networks.items().position(|entry| !is_network(entry)).filter(|_| hidden > 0)?;
    let path = format!("/networks/{odd}");
    let those = match hidden {
        1 => "a network of the daemon's stays".to_owned(),
        many => format!("{many} networks of the daemon's stay"),
    };
    Some(Diagnostic {
        code: "salvage.not-recognised",
        severity: Severity::Warning,
        message: format!(
            "{those} at the top of the config, where the app does not look: as {path} names no network (a text id and \
             network_id), this is not taken for the daemon's"
        ),
        place: doc.place(&path),
        path,
        hint: None,
    })
}

fn has_app_mark(doc: &Document) -> bool {
    APP_MARKS.iter().any(|key| doc.get(&[key]).is_some())
}

/// Whether a document is the daemon's, wholly or in part.
///
/// Either every entry of a non-empty top-level `networks` list names a network; or it is the daemon's beyond doubt: a
/// number `version`, an object `daemon`, a list `networks`, and none of the app's marks.
fn is_recognised(doc: &Document) -> bool {
    let Some(networks) = doc.get(&["networks"]).filter(|n| n.kind() == Kind::Array) else { return false };
    let is = |key: &str, kind: Kind| doc.get(&[key]).is_some_and(|v| v.kind() == kind);
    let is_seeded = networks.items().next().is_some() && networks.items().all(is_network);
    is_seeded || (is("version", Kind::Number) && is("daemon", Kind::Object) && !has_app_mark(doc))
}

/// Whose shape a document is in.
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
    match (is_recognised(doc), has_app_mark(doc)) {
        (true, false) => Shape::Daemon,
        (true, true) => Shape::Mixed,
        (false, true) => Shape::App,
        (false, false) => Shape::Unknown,
    }
}

/// Repairs a document; see [`ConfigSalvager::salvage`].
///
/// - From a daemon-shaped document with a last good copy: the copy, plus the daemon's networks that it lacks.
/// - Without a copy, and from a mixed document: the document without the daemon's keys, plus those networks.
///
/// Networks are the same when their network ids are, in normal form. A copy that is not app-shaped itself does not
/// count.
pub fn salvage(doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged {
    let shape = shape(doc);
    let mut report = SalvageReport::new(shape);
    let mut diagnostics = Vec::new();
    if !matches!(shape, Shape::Daemon | Shape::Mixed) {
        return Salvaged { app: doc.clone(), daemon: None, report, diagnostics };
    }
    let copy = last_good.filter(|copy| shape == Shape::Daemon && self::shape(copy) == Shape::App);
    let own_keys = daemon_config::OWN_KEYS;

    let mut app = doc.clone();
    for key in own_keys {
        if app.remove(&[key]) {
            report.stripped_keys.push(key.to_owned());
        }
    }
    if let Some(copy) = copy {
        let rest = std::mem::replace(&mut app, copy.clone());
        report.restored_keys = keys_of(copy);
        for (key, value) in rest.root().members() {
            // What the daemon's document has beyond both is nobody's to throw away.
            if copy.get(&[&key]).is_none() {
                app.set(&[&key], value);
                report.kept_keys.push(key.into_owned());
            }
        }
    } else {
        report.kept_keys = keys_of(&app);
    }
    recover(doc, &mut app, ids, &mut report, &mut diagnostics);
    report.reset_keys = app_config::missing_keys(&app);
    if let (Some(first), false) = (report.recovered_networks.first(), has_active(&app)) {
        report.activate = Some(first.clone());
    }
    let daemon = daemon_half(doc, shape);
    report.daemon_keys = keys_of(&daemon);
    Salvaged { app, daemon: Some(daemon), report, diagnostics }
}

fn keys_of(doc: &Document) -> Vec<String> {
    doc.root().members().map(|(key, _)| key.into_owned()).collect()
}

fn has_active(app: &Document) -> bool {
    app.get(&["cloud_mesh", "active_network_id"]).is_some_and(|id| !id.is_falsy())
}

/// Puts into the app's half the networks that it lacks, in its words.
fn recover(
    doc: &Document,
    app: &mut Document,
    ids: &mut dyn Ids,
    report: &mut SalvageReport,
    diagnostics: &mut Vec<Diagnostic>,
) {
    let networks = doc.get(&["networks"]).filter(|n| n.items().next().is_some());
    let Some(networks) = networks else { return };
    let gave_way = make_list(app, ids);
    let known: HashSet<String> = app
        .get(&NETWORKS)
        .into_iter()
        .flat_map(|list| list.items())
        .filter_map(|entry| Some(network_id::normal_form(&entry.get("network_id")?.as_str()?)))
        .collect();
    let lacking = networks.items().enumerate().filter_map(|(n, network)| {
        let path = format!("/networks/{n}");
        if !is_network(network) {
            report.odd_networks.push(n);
            diagnostics.push(Diagnostic {
                code: "salvage.odd-network",
                severity: Severity::Warning,
                message: format!(
                    "{path} is {} that names no network (a text id and network_id); it is in the copy of the former file alone",
                    network.kind().name()
                ),
                path,
                hint: None,
                place: None,
            });
            return None;
        }
        let (entry, found) = convert::from_daemon(network, &path);
        diagnostics.extend(found);
        let network_id = network.get("network_id").and_then(|id| id.as_str()).unwrap_or_default();
        let is_known = !known.is_empty() && known.contains(&network_id::normal_form(&network_id));
        let names = if is_known { &mut report.known_networks } else { &mut report.recovered_networks };
        names.push(network_id.into_owned());
        (!is_known).then_some(entry)
    });
    app.append(&NETWORKS, lacking);
    diagnostics.extend(gave_way);
}

/// Makes a list of networks in the app's half, unless there is one; says what gave way to it.
fn make_list(app: &mut Document, ids: &mut dyn Ids) -> Vec<Diagnostic> {
    let mut diagnostics = Vec::new();
    let mesh = app.get(&["cloud_mesh"]);
    if let Some(odd) = mesh.filter(|m| m.kind() != Kind::Object) {
        if !odd.is_falsy() {
            diagnostics.push(gave_way("/cloud_mesh", odd.kind()));
        }
        app.remove(&["cloud_mesh"]);
    }
    let list = app.get(&NETWORKS);
    if let Some(odd) = list.filter(|l| l.kind() != Kind::Array) {
        if !odd.is_null() {
            diagnostics.push(gave_way("/cloud_mesh/networks", odd.kind()));
        }
        app.remove(&NETWORKS);
    }
    // A network in the form of earlier days would be hidden by a list beside it: it goes into the list first.
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

fn gave_way(path: &str, found: Kind) -> Diagnostic {
    Diagnostic {
        code: "config.replaced",
        severity: Severity::Warning,
        message: format!(
            "{path} was {}; the daemon's networks are there now, and it is in the copy of the former file alone",
            found.name()
        ),
        path: path.to_owned(),
        hint: None,
        place: None,
    }
}

/// What of a document is the daemon's own: its keys, with an empty list of networks.
///
/// A document that only the daemon has written belongs to it in full, keys of a newer daemon's included; from a mixed
/// one only the keys that its schema has are taken.
fn daemon_half(doc: &Document, shape: Shape) -> Document {
    let mut half = doc.clone().into_utf8();
    if shape == Shape::Mixed {
        for key in keys_of(doc) {
            if !daemon_config::OWN_KEYS.contains(&&*key) && !SHARED_KEYS.contains(&&*key) {
                half.remove(&[&key]);
            }
        }
    }
    half.set(&["networks"], Fragment::array::<Fragment>([]));
    half
}

/// What [`normalize`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Normalized {
    /// What a load would save.
    pub document: Document,
    /// What the recovery did.
    pub report: SalvageReport,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// Salvage, legacy migrations and defaults, from bytes to document: what a load would save. `conversation_dir` is the
/// default of that name.
///
/// # Errors
/// Bytes that are not a JSON object.
pub fn normalize(bytes: &[u8], conversation_dir: &str, ids: &mut dyn Ids) -> Result<Normalized, ParseError> {
    let Salvaged { app: mut document, report, mut diagnostics, .. } = salvage_bytes(bytes, ids)?;
    diagnostics.extend(app_config::complete(&mut document, conversation_dir, ids));
    Ok(Normalized { document, report, diagnostics })
}

/// The recovery step alone, from bytes to document: no defaults filled in, no copy to start from.
///
/// # Errors
/// Bytes that are not a JSON object.
pub fn salvage_bytes(bytes: &[u8], ids: &mut dyn Ids) -> Result<Salvaged, ParseError> {
    let parsed = Document::parse(bytes)?;
    let mut salvaged = salvage(&parsed.document, None, ids);
    salvaged.diagnostics.splice(0..0, parsed.diagnostics);
    Ok(salvaged)
}
