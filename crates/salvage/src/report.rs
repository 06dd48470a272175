use myownllm_config_model::{Diagnostic, Document};
use serde::Serialize;

/// The programs that wrote a document. A file that is missing or corrupt has no shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Shape {
    /// The app: the document has a key of the app (`providers`, `active_family`, `cloud_mesh`), and
    /// is not recognised as the daemon's.
    App,
    /// The daemon: the document is recognised as the daemon's, and has no key of the app.
    Daemon,
    /// Both: the document is recognised as the daemon's, and has a key of the app.
    Mixed,
    /// Neither. A repair strips nothing from such a document.
    #[default]
    Unknown,
}

/// The result of a repair.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Salvaged {
    /// The app's half; complete it before writing it. For [`Shape::App`] and [`Shape::Unknown`] it
    /// is the document itself. For [`Shape::Daemon`] it may be the backup unmodified, so compare it
    /// with the file.
    pub app: Document,
    /// The daemon's half, with an empty array of networks, for [`Shape::Daemon`] and
    /// [`Shape::Mixed`]. Always in UTF-8.
    pub daemon: Option<Document>,
    /// The effects of the repair.
    pub report: SalvageReport,
    /// Remarks about the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl Salvaged {
    /// Returns the result of a repair that has changed nothing yet.
    pub fn new(app: Document, shape: Shape) -> Self {
        let report = SalvageReport { shape, ..SalvageReport::default() };
        Self { app, daemon: None, report, diagnostics: Vec::new() }
    }
}

/// The effects of a repair. All arrays are empty if there was nothing to repair.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// The shape of the document.
    pub shape: Shape,
    /// The network ids of the daemon's networks that the app's half gained. They are inactive.
    pub recovered_networks: Vec<String>,
    /// The network ids of the daemon's networks that the app's half had already.
    pub known_networks: Vec<String>,
    /// The indexes of the entries of the daemon's `networks` that name no network.
    pub odd_networks: Vec<usize>,
    /// The daemon's keys that the app's half lost.
    pub stripped_keys: Vec<String>,
    /// The top-level keys of the app's half that come from the backup.
    pub restored_keys: Vec<String>,
    /// The top-level keys of the app's half that come from the document.
    pub kept_keys: Vec<String>,
    /// The keys that completion will set to their defaults: top-level keys, and members of sections
    /// that the document has in part (`auto_cleanup.models`, if the daemon kept
    /// `auto_cleanup.updates` alone).
    pub reset_keys: Vec<String>,
    /// The top-level keys of the daemon's half.
    pub daemon_keys: Vec<String>,
    /// The network id of the first recovered network; `None` if there is none, or if a network is
    /// active.
    pub activate: Option<String>,
}
