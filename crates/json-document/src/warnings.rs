//! What is odd about bytes that are a document all the same.

use crate::scan::Source;
use crate::{Diagnostic, Severity};

/// So many diagnostics of one kind are spelled out; the rest is counted.
const MAX_NAMED: usize = 20;

/// `config.not-utf8`.
pub(crate) fn not_utf8(bytes: &[u8], source: &Source) -> Diagnostic {
    let (mut offset, mut in_text, mut count, mut first) = (0, 0, 0, None);
    for chunk in bytes.utf8_chunks() {
        offset += chunk.valid().len();
        in_text += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            count += 1;
            first = first.or(Some((offset, in_text)));
            offset += chunk.invalid().len();
            in_text += 3;
        }
    }
    let (offset, in_text) = first.unwrap_or_default();
    Diagnostic {
        code: "config.not-utf8",
        severity: Severity::Warning,
        message: format!(
            "{count} byte sequence{} not UTF-8 (the first at byte {offset}); read as U+FFFD",
            if count == 1 { " is" } else { "s are" }
        ),
        path: source.pointer_to(source.entry_at(in_text)),
        hint: Some("save the file as UTF-8".to_owned()),
        place: None,
    }
}

/// `config.duplicate-key`.
pub(crate) fn duplicates(source: &Source, diagnostics: &mut Vec<Diagnostic>) {
    let overruled = source.overruled();
    diagnostics.extend(overruled.iter().take(MAX_NAMED).map(|&key| Diagnostic {
        code: "config.duplicate-key",
        severity: Severity::Warning,
        message: "this key is there more than once; the last one counts".to_owned(),
        path: source.pointer_to(key),
        hint: Some("keep one of them".to_owned()),
        place: None,
    }));
    if let Some(more) = overruled.len().checked_sub(MAX_NAMED).filter(|&n| n > 0) {
        diagnostics.push(Diagnostic {
            code: "config.duplicate-key",
            severity: Severity::Warning,
            message: format!("{more} more keys are there more than once; of each the last one counts"),
            path: String::new(),
            hint: None,
            place: None,
        });
    }
}
