//! Why bytes are no document, and where in them.

use crate::document::BOM;
use crate::scan::Stop;
use crate::{MAX_BYTES, MAX_DEPTH, Place, Snippet, secrets};

/// Why bytes are no document. Names the place; never quotes what stands there, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("read a JSON document: {kind}, at line {line}, column {column} (byte {offset}){}", if .path.is_empty() { String::new() } else { format!(", in {}", .path) })]
#[non_exhaustive]
pub struct ParseError {
    /// What is wrong.
    pub kind: ParseErrorKind,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Offset in the bytes given, from 0.
    pub offset: usize,
    /// JSON Pointer to the value in which it happened; empty for the root.
    pub path: String,
    /// The line, with what may be a secret masked.
    pub snippet: Snippet,
}

impl ParseError {
    /// `config.syntax` (also for empty and cut off texts), `config.not-an-object`, `config.too-deep`,
    /// `config.too-large`.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ParseErrorKind::Empty
            | ParseErrorKind::UnexpectedEnd
            | ParseErrorKind::TrailingComma
            | ParseErrorKind::Syntax(_) => "config.syntax",
            ParseErrorKind::NotAnObject => "config.not-an-object",
            ParseErrorKind::TooDeep => "config.too-deep",
            ParseErrorKind::TooLarge => "config.too-large",
        }
    }
    /// What a person can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self.kind {
            ParseErrorKind::Syntax(_) => {
                format!("mend the text at line {}, column {}", self.line, self.column)
            }
            ParseErrorKind::TrailingComma => {
                format!("take out the comma at line {}, column {}", self.line, self.column)
            }
            ParseErrorKind::Empty | ParseErrorKind::UnexpectedEnd => {
                "restore a copy of the file: it was cut off, or is still being written".to_owned()
            }
            ParseErrorKind::NotAnObject => "put what it is in `{` and `}`: a config is an object".to_owned(),
            ParseErrorKind::TooDeep | ParseErrorKind::TooLarge => {
                "restore a copy of the file: this is no config".to_owned()
            }
        })
    }
    /// Whether a writer that is caught in the middle can have left such a text, so that reading it again may help.
    pub fn may_be_half_written(&self) -> bool {
        !matches!(self.kind, ParseErrorKind::NotAnObject | ParseErrorKind::TooLarge)
    }
}

/// The kinds of [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but white space.
    #[error("nothing there")]
    Empty,
    /// The text ends inside a value.
    #[error("the text ends too early")]
    UnexpectedEnd,
    /// Not what the grammar of JSON has at this place; says what it would have.
    #[error("not JSON: expected {0}")]
    Syntax(&'static str),
    /// A comma after the last member or item, which other languages allow.
    #[error("not JSON: nothing comes after this comma")]
    TrailingComma,
    /// JSON, but its root is not an object.
    #[error("the root is not an object")]
    NotAnObject,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// Longer than [`MAX_BYTES`].
    #[error("longer than {MAX_BYTES} bytes")]
    TooLarge,
}

/// The error for a scan that stopped, and the text. `not_all_utf8`: what was read, without a byte order mark, where the
/// text has something else in the place of some of it.
pub(crate) fn located(stop: Stop, bom: bool, not_all_utf8: Option<&[u8]>) -> (ParseError, String) {
    let Stop { kind, at, pointer, text } = stop;
    let Place { line, column, offset, json_path: path, snippet } =
        place_in(&text, at, bom, not_all_utf8, pointer);
    (ParseError { kind, line, column, offset, path, snippet }, text)
}

pub(crate) fn place_in(
    text: &str,
    at: usize,
    bom: bool,
    not_all_utf8: Option<&[u8]>,
    json_path: String,
) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].split('\n').next().unwrap_or_default();
    let in_body = not_all_utf8.map_or(at, |body| offset_before_lossy(body, at));
    Place {
        line: before.bytes().filter(|&b| b == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        offset: in_body + if bom { BOM.len() } else { 0 },
        json_path: secrets::shown_pointer(&json_path),
        snippet: Snippet::of(line, before.len() - line_start),
    }
}

/// The offset in bytes that are not all UTF-8 for an offset in their lossy text.
fn offset_before_lossy(bytes: &[u8], wanted: usize) -> usize {
    let (mut read, mut written) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        if written + chunk.valid().len() > wanted {
            return read + (wanted - written);
        }
        read += chunk.valid().len() + chunk.invalid().len();
        written += chunk.valid().len() + if chunk.invalid().is_empty() { 0 } else { 3 };
        if written > wanted {
            return read - chunk.invalid().len();
        }
    }
    read
}
