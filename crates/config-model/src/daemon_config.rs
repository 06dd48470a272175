//! The daemon's config, versions 1 to 3: a typed view.

use crate::Document;

/// The newest version of the daemon's config that this crate knows.
pub const NEWEST_VERSION: u64 = 3;

/// What callers read from the daemon's config.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DaemonConfig {
    /// Schema version, when it is a whole number.
    pub version: Option<u64>,
    /// Where the identity lies, when set.
    pub identity_path: Option<String>,
    /// `daemon.enabled`.
    pub enabled: bool,
    /// `daemon.control_socket`, when set.
    pub control_socket: Option<String>,
    /// `daemon.log_level`.
    pub log_level: String,
    /// The networks.
    pub networks: Vec<DaemonNetwork>,
}

/// One network of the daemon's.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct DaemonNetwork {
    /// Config id.
    pub id: String,
    /// The id that all peers share.
    pub network_id: String,
}

impl DaemonConfig {
    /// Reads the view; cannot fail.
    pub fn view(doc: &Document) -> Self {
        let _ = doc;
        todo!()
    }
}
