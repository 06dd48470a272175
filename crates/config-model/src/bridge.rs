//! A network in the app's words, and in the daemon's.

use crate::{Diagnostic, Document, Fragment, ValueRef};

/// Why a network cannot be put in the daemon's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// It is no object.
    #[error("map a network to the daemon's shape: it is not an object")]
    NotAnObject,
    /// `turn_servers` is no list, or holds something that is no object.
    #[error("map a network to the daemon's shape: {path} is {found}")]
    Malformed {
        /// JSON Pointer within the network.
        path: String,
        /// What stands there.
        found: &'static str,
    },
}

impl BridgeError {
    /// `bridge.not-an-object`, `bridge.malformed`.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

/// The app's network as the daemon's `network_add` wants it; `daemon_settings` goes back out.
///
/// # Errors
/// See [`BridgeError`].
pub fn to_daemon(network: ValueRef<'_>) -> Result<serde_json::Value, BridgeError> {
    to_daemon_document(network).map(|d| d.root().to_value())
}

/// [`to_daemon`], with number texts and escapes kept.
///
/// # Errors
/// See [`BridgeError`].
pub fn to_daemon_document(network: ValueRef<'_>) -> Result<Document, BridgeError> {
    let _ = network;
    todo!()
}

/// The daemon's network as the app saves it. `path` is where it stands, for diagnostics.
pub fn from_daemon(network: ValueRef<'_>, path: &str) -> (Fragment, Vec<Diagnostic>) {
    let _ = (network, path);
    todo!()
}
