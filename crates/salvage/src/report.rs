use myownllm_config_model::{Diagnostic, Document};
use serde::Serialize;

/// Whose shape a document is in. Whether there is one at all (`corrupt`, `missing`) is for whoever reads files to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Shape {
    /// The app's: it has an app key (`providers`, `active_family`, `cloud_mesh`), and is not recognised as the
    /// daemon's.
    App,
    /// The daemon's, without an app key.
    Daemon,
    /// The daemon's, with an app key.
    Mixed,
    /// Neither. Nothing is stripped from such a document.
    Unknown,
}

impl Shape {
    /// As it is printed: `app`, `daemon`, `mixed`, `unknown`.
    pub fn name(self) -> &'static str {
        match self {
            Shape::App => "app",
            Shape::Daemon => "daemon",
            Shape::Mixed => "mixed",
            Shape::Unknown => "unknown",
        }
    }
}

/// What a repair gives.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Salvaged {
    /// The app's half. To be completed before it is written. For the shapes `app` and `unknown` it is the document
    /// itself; for `daemon` it may be the last good copy as it was, so compare it with the file, not with itself.
    pub app: Document,
    /// The daemon's half, with an empty list of networks; for the shapes `daemon` and `mixed`. Plain UTF-8, whatever
    /// the document was.
    pub daemon: Option<Document>,
    /// What was done.
    pub report: SalvageReport,
    /// What was odd.
    pub diagnostics: Vec<Diagnostic>,
}

/// What a repair did, as data. Lists are empty when there was nothing to repair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// What the document was.
    pub shape: Shape,
    /// The network ids of the daemon's networks that the app's catalogue gained. They are inactive.
    pub recovered_networks: Vec<String>,
    /// The network ids of those that the catalogue had already.
    pub known_networks: Vec<String>,
    /// Places in the daemon's list that hold no network.
    pub odd_networks: Vec<usize>,
    /// The daemon's keys that were taken out of the app's half.
    pub stripped_keys: Vec<String>,
    /// The top-level keys of the app's half that come from the last good copy.
    pub restored_keys: Vec<String>,
    /// The top-level keys of the app's half that stood in the document itself.
    pub kept_keys: Vec<String>,
    /// The app's keys that are at their defaults for want of a copy: top-level ones, and members of the app's that a section
    /// lacks which is there, as `auto_cleanup.models` where the daemon has kept its own `auto_cleanup.updates` alone.
    pub reset_keys: Vec<String>,
    /// The top-level keys of the daemon's half.
    pub daemon_keys: Vec<String>,
    /// The network to activate, by its id: the first of the recovered ones; `None` when there is none, or one is active.
    pub activate: Option<String>,
}

impl SalvageReport {
    pub(crate) fn new(shape: Shape) -> Self {
        Self {
            shape,
            recovered_networks: Vec::new(),
            known_networks: Vec::new(),
            odd_networks: Vec::new(),
            stripped_keys: Vec::new(),
            restored_keys: Vec::new(),
            kept_keys: Vec::new(),
            reset_keys: Vec::new(),
            daemon_keys: Vec::new(),
            activate: None,
        }
    }
}
