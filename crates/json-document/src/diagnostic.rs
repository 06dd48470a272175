use serde::Serialize;

use crate::Place;

/// How much a [`Diagnostic`] matters to the person who owns the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Something was odd and has been dealt with.
    Warning,
    /// Something could not be used at all.
    Problem,
}

/// One thing that was found in a document, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Stable, for programs: `config.duplicate-key`, `salvage.odd-network`, …
    pub code: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// For a person; holds no secret.
    pub message: String,
    /// Where in the document, as a JSON Pointer (RFC 6901), for example `/cloud_mesh/networks/2/label`.
    pub path: String,
    /// What a person can do about it, when there is something.
    pub hint: Option<String>,
    /// The place in the text, for what is told of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}
