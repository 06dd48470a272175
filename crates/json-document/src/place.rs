//! Positions in a text, for people.

use serde::Serialize;

use crate::error::{ParseError, ParseErrorKind};
use crate::mask_text::mask_pointer;
use crate::snippet::{Certain, Snippet};
use crate::source::ScanError;

pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// A place in a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Offset in bytes, from 0.
    pub offset: usize,
    /// JSON Pointer to the value that contains the place; empty for the root.
    pub json_path: String,
    /// The line itself.
    pub snippet: Snippet,
}

impl From<&ParseError> for Place {
    fn from(error: &ParseError) -> Self {
        Self {
            line: error.line,
            column: error.column,
            offset: error.offset,
            json_path: error.path.clone(),
            snippet: error.snippet.clone(),
        }
    }
}

/// The differences between a text and the bytes that it was read from.
#[derive(Clone, Copy, Default)]
pub(crate) struct Origin<'b> {
    pub(crate) has_bom: bool,
    /// The bytes without a byte order mark, if some of them are not UTF-8.
    pub(crate) not_utf8: Option<&'b [u8]>,
}

impl Origin<'_> {
    pub(crate) fn place(self, text: &str, at: usize, pointer: &str, certain: Certain) -> Place {
        let before = text.get(..at).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        let line = text[line_start..].split('\n').next().unwrap_or_default();
        let in_body = self.not_utf8.map_or(at, |body| offset_before_lossy(body, at));
        Place {
            line: before.bytes().filter(|&b| b == b'\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
            offset: in_body + if self.has_bom { BOM.len() } else { 0 },
            json_path: mask_pointer(pointer),
            snippet: Snippet::of(line, before.len() - line_start, certain),
        }
    }

    pub(crate) fn parse_error(self, error: &ScanError, kind: ParseErrorKind) -> ParseError {
        // A document whose root is not an object is JSON all the same.
        let certain = if kind == ParseErrorKind::NotAnObject { Certain::All } else { Certain::BeforePlace };
        let Place { line, column, offset, json_path: path, snippet } =
            self.place(&error.source.text, error.at, &error.pointer, certain);
        ParseError { kind, line, column, offset, path, snippet }
    }
}

/// Converts an offset in lossy text to an offset in the bytes that the text was read from.
fn offset_before_lossy(bytes: &[u8], wanted: usize) -> usize {
    let (mut read, mut written) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        if written + chunk.valid().len() > wanted {
            return read + (wanted - written);
        }
        read += chunk.valid().len() + chunk.invalid().len();
        let replaced = if chunk.invalid().is_empty() { 0 } else { char::REPLACEMENT_CHARACTER.len_utf8() };
        written += chunk.valid().len() + replaced;
        if written > wanted {
            return read - chunk.invalid().len();
        }
    }
    read
}
