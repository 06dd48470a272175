//! The lossless JSON document.

use std::borrow::Cow;

use crate::Diagnostic;

/// The deepest nesting that [`Document::parse`] accepts.
pub const MAX_DEPTH: usize = 512;
/// The longest input that [`Document::parse`] accepts, in bytes.
pub const MAX_BYTES: usize = 256 << 20;

/// A JSON document whose root is an object, which writes back what nobody changed byte for byte.
#[derive(Debug, Clone)]
pub struct Document {
    _p: (),
}

/// What [`Document::parse`] gives: the document, and what was odd about its bytes.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// Duplicate keys, a byte order mark, bytes that are not UTF-8.
    pub diagnostics: Vec<Diagnostic>,
}

/// Why bytes are no document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("parse a config: {kind} at line {line}, column {column} (byte {offset}), in {}", if .path.is_empty() { "the root" } else { .path })]
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
}

impl ParseError {
    /// `config.syntax`, `config.not-an-object`, `config.too-deep`, `config.too-large`.
    pub fn code(&self) -> &'static str {
        todo!()
    }
    /// What to do.
    pub fn hint(&self) -> Option<String> {
        todo!()
    }
}

/// The kinds of [`ParseError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseErrorKind {
    /// Nothing but white space.
    #[error("no JSON at all: the file is empty")]
    Empty,
    /// The text ends inside a value.
    #[error("the text ends in the middle of a value")]
    UnexpectedEnd,
    /// Not what the grammar of JSON has at this place.
    #[error("not JSON")]
    Syntax,
    /// JSON, but its root is not an object.
    #[error("the root is not an object")]
    NotAnObject,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nested too deep")]
    TooDeep,
    /// Longer than [`MAX_BYTES`].
    #[error("too large")]
    TooLarge,
}

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// A piece of JSON text to be put into a document; number texts and escapes stay as they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    _p: (),
}

impl Fragment {
    /// An object of these members, in this order.
    pub fn object<K: AsRef<str>, F: Into<Fragment>>(members: impl IntoIterator<Item = (K, F)>) -> Self {
        let _ = members.into_iter().map(|(k, f)| (k.as_ref().len(), f.into())).count();
        todo!()
    }
    /// A list of these items.
    pub fn array<F: Into<Fragment>>(items: impl IntoIterator<Item = F>) -> Self {
        let _ = items.into_iter().map(Into::into).count();
        todo!()
    }
}

impl From<serde_json::Value> for Fragment {
    fn from(_: serde_json::Value) -> Self {
        todo!()
    }
}

impl From<ValueRef<'_>> for Fragment {
    fn from(_: ValueRef<'_>) -> Self {
        todo!()
    }
}

impl Document {
    /// Reads one JSON text.
    ///
    /// # Errors
    /// Anything but one strict JSON object within the limits; the error names the place.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
        let _ = bytes;
        todo!()
    }
    /// `{}`, not modified.
    pub fn empty() -> Self {
        todo!()
    }
    /// The bytes to write: the very bytes that were read while nothing has changed.
    pub fn to_bytes(&self) -> Vec<u8> {
        todo!()
    }
    /// The text without a byte order mark.
    pub fn to_text(&self) -> String {
        todo!()
    }
    /// Whether anything differs from what was read.
    pub fn is_modified(&self) -> bool {
        todo!()
    }
    /// The root object.
    pub fn root(&self) -> ValueRef<'_> {
        todo!()
    }
    /// The value at a path of keys; a list is entered by an index in decimal.
    pub fn get(&self, path: &[&str]) -> Option<ValueRef<'_>> {
        let _ = path;
        todo!()
    }
    /// Puts a value at a path; missing objects on the way are made. Returns whether the document changed: it does not when the
    /// value was there already, or when something that is no object stands in the way.
    pub fn set(&mut self, path: &[&str], value: impl Into<Fragment>) -> bool {
        let _ = (path, value.into());
        todo!()
    }
    /// Takes a member (all of that name) or a list item away. Returns whether there was one.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let _ = path;
        todo!()
    }
}

/// A value in a [`Document`].
#[derive(Debug, Clone, Copy)]
pub struct ValueRef<'a> {
    _p: &'a (),
}

impl<'a> ValueRef<'a> {
    /// Its type.
    pub fn kind(&self) -> Kind {
        todo!()
    }
    /// Its JSON text, exactly as it stands in the document.
    pub fn raw(&self) -> Cow<'a, str> {
        todo!()
    }
    /// The decoded text of a string; a lone surrogate comes out as U+FFFD.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        todo!()
    }
    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        todo!()
    }
    /// The value of a number; one too large for an `f64` is infinite.
    pub fn as_f64(&self) -> Option<f64> {
        todo!()
    }
    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        todo!()
    }
    /// The member of an object; of duplicates the last.
    pub fn get(&self, key: &str) -> Option<ValueRef<'a>> {
        let _ = key;
        todo!()
    }
    /// The members of an object in file order, without overruled duplicates; nothing for other kinds.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)> + use<'a> {
        std::iter::empty()
    }
    /// The items of a list; nothing for other kinds.
    pub fn items(&self) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
        std::iter::empty()
    }
    /// The value as serde_json has it: numbers as `u64`, `i64` or `f64`.
    pub fn to_value(&self) -> serde_json::Value {
        todo!()
    }
}
