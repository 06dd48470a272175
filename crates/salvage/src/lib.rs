#![doc = include_str!("../README.md")]

use myownllm_config_model::{Diagnostic, Document, Ids, ParseError};
use serde::Serialize;

/// Whose shape a document is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Shape {
    /// The app's.
    App,
    /// The daemon's.
    Daemon,
    /// The daemon's, with keys of the app's.
    Mixed,
    /// Neither.
    Unknown,
}

/// The front door: whose shape is this, and how does one get the app's back.
pub trait ConfigSalvager: Sync {
    /// Whose shape a document is in.
    fn shape(&self, doc: &Document) -> Shape;
    /// Repairs a document. `last_good` is the newest healthy copy of the app's config, when there is one.
    /// A document that is not the daemon's or mixed comes back as it is.
    fn salvage(&self, doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged;
}

/// The implementation for the app and its daemon, over the functions [`shape`] and [`salvage`].
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

/// What a repair gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Salvaged {
    /// The app's half; not modified when there was nothing to repair.
    pub app: Document,
    /// The daemon's half, with an empty list of networks; present for daemon-shaped and mixed documents.
    pub daemon: Option<Document>,
    /// What was done.
    pub report: SalvageReport,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a repair did, as data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// What the document was.
    pub shape: Shape,
    /// The network ids of the daemon's networks that the app's catalogue gained.
    pub recovered_networks: Vec<String>,
    /// The daemon's keys that were taken out of the app's half.
    pub stripped_keys: Vec<String>,
    /// The app's top-level keys that will be at their defaults for want of a copy.
    pub reset_keys: Vec<String>,
    /// The app's top-level keys that came from the last good copy.
    pub restored_keys: Vec<String>,
    /// The app's top-level keys that stood in the document itself.
    pub kept_keys: Vec<String>,
    /// Positions in the daemon's list that hold no network.
    pub odd_networks: Vec<usize>,
}

/// Whose shape a document is in.
pub fn shape(doc: &Document) -> Shape {
    let _ = doc;
    todo!()
}

/// Repairs a document; see [`ConfigSalvager::salvage`].
pub fn salvage(doc: &Document, last_good: Option<&Document>, ids: &mut dyn Ids) -> Salvaged {
    let _ = (doc, last_good, ids);
    todo!()
}

/// One path that pointed into the old home.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Rebased {
    /// JSON Pointer; `half` says in which document.
    pub pointer: String,
    /// `app` or `daemon`.
    pub half: &'static str,
    /// The path as it was.
    pub from: String,
    /// The path in the new home.
    pub to: String,
    /// It now says `to`; else the file is not there, and the old path stays.
    pub rebased: bool,
}

/// Points the paths that lead into the home `from` (identity, control socket, rosters) to `to`, where the file is at the new place.
pub fn rebase_paths(
    app: &mut Document,
    daemon: Option<&mut Document>,
    from: &str,
    to: &str,
    is_at_new_place: &dyn Fn(&str) -> bool,
) -> Vec<Rebased> {
    let _ = (app, daemon, from, to, is_at_new_place);
    todo!()
}

/// What [`normalize`] gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Normalized {
    /// What a load would save.
    pub document: Document,
    /// What was done.
    pub report: SalvageReport,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// Salvage, legacy migrations and defaults, from bytes to document.
///
/// # Errors
/// Bytes that are not a JSON object.
pub fn normalize(bytes: &[u8], conversation_dir: &str, ids: &mut dyn Ids) -> Result<Normalized, ParseError> {
    let _ = (bytes, conversation_dir, ids);
    todo!()
}

/// The recovery step alone, from bytes to document.
///
/// # Errors
/// Bytes that are not a JSON object.
pub fn salvage_stdin(bytes: &[u8], ids: &mut dyn Ids) -> Result<Salvaged, ParseError> {
    let _ = (bytes, ids);
    todo!()
}
