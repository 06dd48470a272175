//! The app's config: completing it (legacy migrations, defaults), and a typed view of it.

use crate::{Diagnostic, Document, Ids};

/// Brings a document to the app's present form: legacy migrations, then defaults.
/// `conversation_dir` is the default of that name. Idempotent.
pub fn complete(doc: &mut Document, conversation_dir: &str, ids: &mut dyn Ids) -> Vec<Diagnostic> {
    let _ = (doc, conversation_dir, ids);
    todo!()
}

/// The app's config as a fresh install has it.
pub fn defaults(conversation_dir: &str) -> Document {
    let _ = conversation_dir;
    todo!()
}

/// What callers read from the app's config: a member of a wrong type reads as its default.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct AppConfig {
    /// The provider in use.
    pub active_provider: String,
    /// The model family in use.
    pub active_family: String,
    /// The mode in use.
    pub active_mode: String,
    /// Names of the providers.
    pub providers: Vec<Provider>,
    /// The mesh section.
    pub cloud_mesh: CloudMesh,
}

/// A provider of models.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Provider {
    /// Name.
    pub name: String,
    /// Manifest.
    pub url: String,
}

/// The saved networks.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct CloudMesh {
    /// Whether the mesh is switched on.
    pub enabled: bool,
    /// Saved networks in file order.
    pub networks: Vec<Network>,
    /// The internal id of the active one.
    pub active_network_id: Option<String>,
}

/// One saved network.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Network {
    /// The internal id.
    pub id: String,
    /// The id that all peers share.
    pub network_id: String,
    /// The name shown to the user.
    pub label: Option<String>,
    /// `open`, `closed`, or a newer daemon's.
    pub kind: Option<String>,
    /// Signaling relays.
    pub signaling_servers: Vec<String>,
}

impl AppConfig {
    /// Reads the view; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let _ = doc;
        todo!()
    }
}
