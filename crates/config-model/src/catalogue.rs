//! The saved networks: list, find, add, remove, activate, update, import, export.

use crate::{Document, Ids, ValueRef, envelope::Envelope, network_id::InvalidNetworkId};

/// What an operation on the catalogue can refuse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CatalogueError {
    /// No saved network has that name.
    #[error("find a saved network: unknown network id: {name}")]
    Unknown {
        /// As the user typed it.
        name: String,
    },
    /// The new network's id is not one.
    #[error("add a network")]
    Invalid(#[source] InvalidNetworkId),
}

impl CatalogueError {
    /// `network.unknown`, `network.invalid-id`.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

/// What an operation did.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The internal id of the network concerned.
    pub id: Option<String>,
    /// Its network id.
    pub network_id: Option<String>,
    /// A new entry was made.
    pub created: bool,
    /// The document changed (and needs to be saved).
    pub changed: bool,
}

/// All saved networks, in file order.
pub fn list(doc: &Document) -> Vec<ValueRef<'_>> {
    let _ = doc;
    todo!()
}

/// By internal id first, then by normalised network id.
pub fn find<'a>(doc: &'a Document, name: &str) -> Option<ValueRef<'a>> {
    let _ = (doc, name);
    todo!()
}

/// The active network, if one is set and saved.
pub fn active(doc: &Document) -> Option<ValueRef<'_>> {
    let _ = doc;
    todo!()
}

/// Adds a network; one that is there already is left as it is.
///
/// # Errors
/// An id that the daemon would not take.
pub fn add(
    doc: &mut Document,
    network_id: &str,
    activate: bool,
    ids: &mut dyn Ids,
) -> Result<Change, CatalogueError> {
    let _ = (doc, network_id, activate, ids);
    todo!()
}

/// Takes one entry away, and clears the active pointer when it was that one.
///
/// # Errors
/// Unknown name.
pub fn remove(doc: &mut Document, name: &str) -> Result<Change, CatalogueError> {
    let _ = (doc, name);
    todo!()
}

/// Sets the active network, or none.
///
/// # Errors
/// Unknown name.
pub fn activate(doc: &mut Document, name: Option<&str>) -> Result<Change, CatalogueError> {
    let _ = (doc, name);
    todo!()
}

/// Lays the members of `patch` over one entry.
///
/// # Errors
/// Unknown name.
pub fn update(
    doc: &mut Document,
    name: &str,
    patch: &serde_json::Map<String, serde_json::Value>,
) -> Result<Change, CatalogueError> {
    let _ = (doc, name, patch);
    todo!()
}

/// Applies a settings envelope: to the entry of that network id, or as a new one.
///
/// # Errors
/// An id that the daemon would not take.
pub fn import(
    doc: &mut Document,
    envelope: &Envelope,
    activate: bool,
    ids: &mut dyn Ids,
) -> Result<Change, CatalogueError> {
    let _ = (doc, envelope, activate, ids);
    todo!()
}

/// The settings envelope of a saved network.
///
/// # Errors
/// Unknown name.
pub fn export(doc: &Document, name: &str) -> Result<Envelope, CatalogueError> {
    let _ = (doc, name);
    todo!()
}
