use crate::snippet::Snippet;

/// The deepest nesting of arrays and objects that a document may have: eight times the limit of
/// `serde_json`.
pub const MAX_DEPTH: usize = 1024;
/// The longest input that a document may have, in bytes (256 MiB).
pub const MAX_BYTES: usize = 256 << 20;

/// Bytes that are not a document. The message names the place and never quotes the text there,
/// which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot parse JSON: {kind} at line {line}, column {column} (byte {offset}){}",
    if .path.is_empty() { String::new() } else { format!(", in {}", .path) })]
#[non_exhaustive]
pub struct ParseError {
    /// The reason.
    pub kind: ParseErrorKind,
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Offset in the given bytes, from 0.
    pub offset: usize,
    /// JSON Pointer to the value that contains the place; empty for the root.
    pub path: String,
    /// The line, with its values masked.
    pub snippet: Snippet,
}

impl ParseError {
    /// Returns `config.syntax` (also for empty texts and for texts that break off),
    /// `config.not-an-object`, `config.too-deep` or `config.too-large`.
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

    /// Returns a remedy for a person.
    pub fn hint(&self) -> Option<String> {
        Some(match self.kind {
            ParseErrorKind::Syntax(_) => {
                format!("mend the text at line {}, column {}", self.line, self.column)
            }
            ParseErrorKind::TrailingComma => {
                format!("take out the comma at line {}, column {}", self.line, self.column)
            }
            ParseErrorKind::Empty | ParseErrorKind::UnexpectedEnd => {
                "take the whole text, of a file from its backup: a writer was interrupted, or is still writing"
                    .to_owned()
            }
            ParseErrorKind::NotAnObject => "make the root of the text one object, from `{` to `}`".to_owned(),
            ParseErrorKind::TooDeep | ParseErrorKind::TooLarge => {
                "restore a backup of the file: no config is like this one".to_owned()
            }
        })
    }
}

/// The kinds of [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// The text holds nothing but white space.
    #[error("the text is empty")]
    Empty,
    /// The text ends inside a value.
    #[error("the text ends too early")]
    UnexpectedEnd,
    /// The text breaks JSON's grammar. The field names the expected token.
    #[error("expected {0}")]
    Syntax(&'static str),
    /// A comma follows the last member or item. Other languages allow that.
    #[error("nothing comes after this comma")]
    TrailingComma,
    /// The text is JSON, but its root is not an object.
    #[error("the root is not an object")]
    NotAnObject,
    /// The text is nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The text is longer than [`MAX_BYTES`].
    #[error("longer than {MAX_BYTES} bytes")]
    TooLarge,
}
