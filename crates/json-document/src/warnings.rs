//! Diagnostics about the bytes of a document that can be read.

use crate::diagnostic::{Diagnostic, Severity};
use crate::source::Source;

/// The number of diagnostics of one kind that are spelled out. The rest is counted.
const MAX_NAMED: usize = 20;

pub(crate) fn byte_order_mark() -> Diagnostic {
    Diagnostic::new("config.bom", Severity::Info, "", "the file begins with a byte order mark")
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
    let sequences = if count == 1 { "sequence is" } else { "sequences are" };
    let message = format!("{count} byte {sequences} not UTF-8 (the first at byte {offset}); read as U+FFFD");
    let path = source.pointer_to(source.entry_at(in_text));
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
