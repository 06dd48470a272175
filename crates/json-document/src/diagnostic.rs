use serde::Serialize;

use crate::place::Place;

/// The weight of a finding for the person who owns the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "FindingSeverity"))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// A value was unusual, and the program has dealt with it.
    Warning,
    /// A value cannot be used at all.
    Problem,
}

/// A fact that was found in a document, and the program's response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Finding"))]
pub struct Diagnostic {
    /// Stable, for programs: `config.duplicate-key`, `salvage.odd-network`, …
    pub code: &'static str,
    /// The weight of the fact.
    pub severity: Severity,
    /// For a person; holds no secret.
    pub message: String,
    /// The place in the document, as a JSON Pointer (RFC 6901): `/cloud_mesh/networks/2/label`.
    pub path: String,
    /// A remedy for a person.
    pub hint: Option<String>,
    /// The place in the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

impl Diagnostic {
    /// Returns a diagnostic without a hint, and without a place in the text.
    pub fn new(
        code: &'static str,
        severity: Severity,
        path: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { code, severity, message: message.into(), path: path.into(), hint: None, place: None }
    }
}
