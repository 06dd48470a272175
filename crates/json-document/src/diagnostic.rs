//! Diagnostics, and those about the bytes of a document that parses.

use serde::Serialize;

use crate::place::Place;
use crate::source::Source;

/// The number of diagnostics of one kind that are spelled out. The rest is counted.
const MAX_NAMED: usize = 20;

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

pub(crate) fn byte_order_mark() -> Diagnostic {
    Diagnostic::new("config.bom", Severity::Info, "", "the file begins with a byte order mark")
}

pub(crate) fn not_utf8(bytes: &[u8], source: &Source) -> Diagnostic {
    let count = bytes.utf8_chunks().filter(|chunk| !chunk.invalid().is_empty()).count();
    // Up to the first of them, the text is the same as the bytes.
    let first = bytes.utf8_chunks().next().map_or(0, |chunk| chunk.valid().len());
    let sequences = if count == 1 { "sequence is" } else { "sequences are" };
    let message = format!("{count} byte {sequences} not UTF-8 (the first at byte {first}); read as U+FFFD");
    let path = source.pointer_to(source.entry_at(first));
    let hint = Some("save the file as UTF-8".to_owned());
    Diagnostic { hint, ..Diagnostic::new("config.not-utf8", Severity::Warning, path, message) }
}

pub(crate) fn duplicate_keys(source: &Source, diagnostics: &mut Vec<Diagnostic>) {
    let shadowed = source.shadowed();
    let warning = |path, message| Diagnostic::new("config.duplicate-key", Severity::Warning, path, message);
    diagnostics.extend(shadowed.iter().take(MAX_NAMED).map(|&key| {
        let message = "the object has this key more than once; the last one counts".to_owned();
        let hint = Some("keep one of them".to_owned());
        Diagnostic { hint, ..warning(source.pointer_to(key), message) }
    }));
    if let Some(more) = shadowed.len().checked_sub(MAX_NAMED).filter(|&n| n > 0) {
        let message = format!("{more} more keys stand in their object more than once; the last one counts");
        diagnostics.push(warning(String::new(), message));
    }
}
