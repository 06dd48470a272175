//! Diagnostics about the bytes of a document that can be read.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Source;

/// The number of diagnostics of one kind that are spelled out. The rest is counted.
const MAX_NAMED: usize = 20;

pub(crate) fn byte_order_mark() -> Diagnostic {
    Diagnostic {
        code: "config.bom",
        severity: Severity::Info,
        message: "the file begins with a byte order mark".to_owned(),
        path: String::new(),
        hint: None,
        place: None,
    }
}

pub(crate) fn not_utf8(bytes: &[u8], source: &Source) -> Diagnostic {
    let (mut offset, mut in_text, mut count, mut first) = (0, 0, 0, None);
    for chunk in bytes.utf8_chunks() {
        offset += chunk.valid().len();
        in_text += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            count += 1;
            first = first.or(Some((offset, in_text)));
            offset += chunk.invalid().len();
            in_text += char::REPLACEMENT_CHARACTER.len_utf8();
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

pub(crate) fn duplicate_keys(source: &Source, diagnostics: &mut Vec<Diagnostic>) {
    let shadowed = source.shadowed();
    diagnostics.extend(shadowed.iter().take(MAX_NAMED).map(|&key| Diagnostic {
        code: "config.duplicate-key",
        severity: Severity::Warning,
        message: "the object has this key more than once; the last one counts".to_owned(),
        path: source.pointer_to(key),
        hint: Some("keep one of them".to_owned()),
        place: None,
    }));
    if let Some(more) = shadowed.len().checked_sub(MAX_NAMED).filter(|&n| n > 0) {
        diagnostics.push(Diagnostic {
            code: "config.duplicate-key",
            severity: Severity::Warning,
            message: format!("{more} more keys stand in their object more than once; the last one counts"),
            path: String::new(),
            hint: None,
            place: None,
        });
    }
}
