//! The lossless JSON document.
//!
//! [`Document::parse`] reads the text once and leaves the place of every value on a tape. Reading goes through
//! [`ValueRef`], which borrows from that text. An edit copies the *members* of the objects on the way to it (not their
//! values) into a list; writing puts the untouched pieces of text back exactly as they were read, white space between
//! members included. Values that are put in are laid out like their surroundings: on lines of their own where the
//! members around them are, with the file's indentation (two spaces in a file that has none) and line ends.

mod edit;
mod scan;
mod text;
mod write;

use std::borrow::Cow;
use std::sync::Arc;

pub(crate) use edit::Change;
use edit::{Arr, Node, Obj};
use scan::{Entries, Source, Stop};
use text::push_quoted;
pub(crate) use text::{push_pointer, quote, trim_raw};

use crate::{Diagnostic, Place, Severity, Snippet};

/// The deepest nesting of lists and objects that [`Document::parse`] accepts; eight times what `serde_json` does.
pub const MAX_DEPTH: usize = 1024;
/// The longest input that [`Document::parse`] accepts, in bytes (256 MiB).
pub const MAX_BYTES: usize = 256 << 20;

/// The byte order mark in UTF-8.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// So many diagnostics of one kind are spelled out; the rest is counted.
const MAX_NAMED: usize = 20;

/// A JSON document whose root is an object, which writes back what nobody changed byte for byte.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone)]
pub struct Document {
    /// The first is the text that was read; the others were put in since.
    sources: Vec<Arc<Source>>,
    root: Node,
    modified: bool,
    /// The very bytes, where they are not those of the text (byte order mark, bytes that are not UTF-8).
    original: Option<Arc<Vec<u8>>>,
    /// The text began with a byte order mark.
    bom: bool,
}

/// What [`Document::parse`] gives: the document, and what was odd about its bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// Duplicate keys (`config.duplicate-key`), a byte order mark (`config.bom`), bytes that are not UTF-8
    /// (`config.not-utf8`).
    pub diagnostics: Vec<Diagnostic>,
}

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
                "the file was cut off, or is still being written: restore a copy of it".to_owned()
            }
            ParseErrorKind::NotAnObject => "a config starts with `{`".to_owned(),
            ParseErrorKind::TooDeep | ParseErrorKind::TooLarge => {
                "this is no config; restore a copy of it".to_owned()
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

/// The type of a JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Bool,
    /// A number, of any size and precision.
    Number,
    /// A string.
    String,
    /// A list.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// The type's name for messages: "a list", "an object", …
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a text",
            Kind::Array => "a list",
            Kind::Object => "an object",
        }
    }
}

/// A piece of JSON text to be put into a document; numbers and escapes in it stay spelled as they are.
///
/// ```
/// use myownllm_config_model::{Document, Fragment};
/// let from = Document::parse(br#"{"n": 1e5}"#).unwrap().document;
/// let mut to = Document::empty();
/// to.set(&["copy"], Fragment::array([from.get(&["n"]).unwrap()]));
/// assert!(to.to_text().contains("1e5"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Always one valid JSON value.
    text: String,
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the text: it may hold a secret.
        f.debug_struct("Fragment").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.sources[0].text.len())
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

impl Fragment {
    /// An object of these members, in this order.
    pub fn object<K: AsRef<str>, F: Into<Fragment>>(members: impl IntoIterator<Item = (K, F)>) -> Self {
        let mut text = String::from("{");
        for (key, value) in members {
            if text.len() > 1 {
                text.push(',');
            }
            push_quoted(&mut text, key.as_ref());
            text.push(':');
            text.push_str(&value.into().text);
        }
        text.push('}');
        Self { text }
    }
    /// A list of these items.
    pub fn array<F: Into<Fragment>>(items: impl IntoIterator<Item = F>) -> Self {
        let mut text = String::from("[");
        for item in items {
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&item.into().text);
        }
        text.push(']');
        Self { text }
    }
    /// A text that is known to be one JSON value.
    pub(crate) fn trusted(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

/// An object that is written member by member: [`Fragment::object`] without a text for each value.
pub(crate) struct ObjectText {
    text: String,
}

impl ObjectText {
    /// Room for so many bytes; none is taken before something is put in.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes) }
    }
    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_quoted(&mut self.text, key);
        self.text.push(':');
    }
    pub(crate) fn put(&mut self, key: &str, value: &str) {
        // With the quotes, the comma or brace, the colon, and the brace at the end.
        self.text.reserve(key.len() + value.len() + 5);
        self.key(key);
        self.text.push_str(value);
    }
    pub(crate) fn put_list<'a>(&mut self, key: &str, items: impl Iterator<Item = ValueRef<'a>>) {
        self.key(key);
        self.text.push('[');
        for (n, item) in items.enumerate() {
            if n > 0 {
                self.text.push(',');
            }
            self.text.push_str(&item.raw());
        }
        self.text.push(']');
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
    pub(crate) fn into_fragment(mut self) -> Fragment {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        Fragment { text: self.text }
    }
}

impl From<serde_json::Value> for Fragment {
    fn from(value: serde_json::Value) -> Self {
        Self { text: value.to_string() }
    }
}

impl From<&str> for Fragment {
    fn from(text: &str) -> Self {
        Self { text: quote(text) }
    }
}

impl From<String> for Fragment {
    fn from(text: String) -> Self {
        Self { text: quote(&text) }
    }
}

impl From<bool> for Fragment {
    fn from(value: bool) -> Self {
        Self { text: value.to_string() }
    }
}

impl From<u64> for Fragment {
    fn from(value: u64) -> Self {
        Self { text: value.to_string() }
    }
}

impl From<ValueRef<'_>> for Fragment {
    fn from(value: ValueRef<'_>) -> Self {
        Self { text: value.raw().into_owned() }
    }
}

impl From<&Document> for Fragment {
    fn from(doc: &Document) -> Self {
        doc.root().into()
    }
}

impl Document {
    /// Reads one JSON text: strict RFC 8259, at most [`MAX_DEPTH`] deep and [`MAX_BYTES`] long, one leading byte order
    /// mark allowed, bytes that are not UTF-8 read as U+FFFD the way `String::from_utf8_lossy` does.
    ///
    /// # Errors
    /// Anything but one JSON object within the limits; the error names the place.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
        Self::parse_vec(bytes.to_vec()).map_err(|(error, _)| error)
    }

    /// [`Document::parse`] without a copy: the document keeps the bytes, and lends them as [`Document::bytes_read`].
    ///
    /// # Errors
    /// The same, with the bytes.
    pub fn parse_vec(bytes: Vec<u8>) -> Result<Parsed, (ParseError, Vec<u8>)> {
        if bytes.len() > MAX_BYTES {
            let (kind, path) = (ParseErrorKind::TooLarge, String::new());
            let snippet = Snippet::default();
            return Err((ParseError { kind, line: 1, column: 1, offset: 0, path, snippet }, bytes));
        }
        let bom = bytes.starts_with(BOM);
        let (text, original) = text_of(bytes);
        let body = original.as_deref().map(|bytes| bytes.strip_prefix(BOM).unwrap_or(bytes));
        let not_all_utf8 = body.filter(|body| std::str::from_utf8(body).is_err());
        let source = match scan::scan(text).and_then(Source::rooted_in_an_object) {
            Ok(source) => source,
            Err(mut stop) => {
                let bytes = original.as_deref().unwrap_or(stop.text.as_bytes());
                if matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]) {
                    stop.kind = ParseErrorKind::Syntax("text in UTF-8, not UTF-16");
                }
                let (error, text) = located(stop, bom, not_all_utf8);
                return Err((error, original.unwrap_or_else(|| text.into_bytes())));
            }
        };
        let mut diagnostics = Vec::new();
        if bom {
            diagnostics.push(Diagnostic {
                code: "config.bom",
                severity: Severity::Info,
                message: "the file begins with a byte order mark".to_owned(),
                path: String::new(),
                hint: None,
                place: None,
            });
        }
        if let Some(body) = not_all_utf8 {
            diagnostics.push(not_utf8(body, &source));
        }
        duplicates(&source, &mut diagnostics);
        let document = Document {
            sources: vec![Arc::new(source)],
            root: Node::Raw { source: 0, at: 0 },
            modified: false,
            original: original.map(Arc::new),
            bom,
        };
        Ok(Parsed { document, diagnostics })
    }

    /// The very bytes that were read, whatever has changed since.
    pub fn bytes_read(&self) -> &[u8] {
        self.original.as_deref().map_or(self.sources[0].text.as_bytes(), Vec::as_slice)
    }

    /// Where the value at a JSON Pointer stands in the text that was read; nothing where there is none, or it was put in
    /// since. Each call walks over the text before it.
    pub fn place(&self, pointer: &str) -> Option<Place> {
        let mut value = self.root();
        for step in pointer.split('/').skip(1) {
            let key = step.replace("~1", "/").replace("~0", "~");
            value = match value.kind() {
                Kind::Array => value.items().nth(key.parse().ok()?)?,
                _ => value.get(&key)?,
            };
        }
        let At::Raw(source, at) = value.at else { return None };
        if !std::ptr::eq(source, &*self.sources[0]) {
            return None;
        }
        let body = self.original.as_ref().map(|bytes| bytes.strip_prefix(BOM).unwrap_or(bytes));
        let start = source.tape[at as usize].start();
        Some(place_in(&source.text, start, self.bom, body, pointer.to_owned()))
    }

    /// `{}`, not modified. What is put into it is written with two-space indentation.
    pub fn empty() -> Self {
        Self::of_trusted(Fragment::trusted("{}"))
    }

    /// A new document of one object; other values give `{}`.
    pub fn of(fragment: impl Into<Fragment>) -> Self {
        let fragment = fragment.into();
        if fragment.text.trim_start().starts_with('{') { Self::of_trusted(fragment) } else { Self::empty() }
    }

    fn of_trusted(fragment: Fragment) -> Self {
        let laid_out = write::pretty(&Source::of(fragment));
        let source = Source::of(Fragment::trusted(laid_out));
        Document {
            sources: vec![Arc::new(source)],
            root: Node::Raw { source: 0, at: 0 },
            modified: false,
            original: None,
            bom: false,
        }
    }

    /// The bytes to write: the very bytes that were read while nothing has changed. A byte order mark stays; bytes that
    /// are not UTF-8 stay only as long as nothing has changed.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.original {
            Some(original) if !self.modified => Vec::clone(original),
            _ => {
                let mut out = String::with_capacity(self.sources[0].text.len() + 256);
                if self.bom {
                    out.push('\u{feff}');
                }
                self.write_to(&mut out);
                out.into_bytes()
            }
        }
    }

    /// The same document in plain UTF-8: without the byte order mark, and without the bytes that were none. For handing
    /// it to a reader that is less patient.
    #[must_use]
    pub fn into_utf8(self) -> Self {
        Self { original: None, bom: false, ..self }
    }

    /// The text, without a byte order mark.
    pub fn to_text(&self) -> String {
        let mut out = String::with_capacity(self.sources[0].text.len() + 256);
        self.write_to(&mut out);
        out
    }

    /// A copy with other scalars. `within` gives for each key the state of its value, from that of the object; a list
    /// hands its own on. `replacement` says, by state, what comes in place of a scalar. Works on the text, so that
    /// nothing which it shows is missed: duplicates that are overruled are in it, too.
    pub(crate) fn with_scalars<S: Copy>(
        &self,
        state: S,
        within: impl Fn(S, &str) -> S,
        replacement: impl Fn(S, ValueRef<'_>) -> Option<Fragment>,
    ) -> Document {
        let of = |text: String, modified: bool| Document {
            sources: vec![Arc::new(Source::of(Fragment::trusted(text)))],
            root: Node::Raw { source: 0, at: 0 },
            modified,
            original: None,
            bom: self.bom,
        };
        let whole = of(self.to_text(), self.modified);
        let source = &*whole.sources[0];
        let (mut out, mut copied) = (String::new(), 0);
        // Nesting costs heap, not call stack.
        let mut open: Vec<(Box<dyn Iterator<Item = u32> + '_>, bool, S)> = Vec::new();
        let mut next = Some((0, state));
        loop {
            if let Some((at, state)) = next.take() {
                match source.first_byte(at) {
                    b'{' => open.push((Box::new(source.keys(at)), true, state)),
                    b'[' => open.push((Box::new(source.items(at)), false, state)),
                    _ => {
                        let value = ValueRef { document: &whole, at: At::Raw(source, at) };
                        if let Some(instead) = replacement(state, value) {
                            let entry = source.entry(at);
                            out.push_str(&source.text[copied..entry.start()]);
                            out.push_str(&instead.text);
                            copied = entry.end();
                        }
                    }
                }
            }
            let Some((entries, is_object, state)) = open.last_mut() else { break };
            match entries.next() {
                Some(key) if *is_object => {
                    next = Some((key + 1, within(*state, &text::lossy(source.decoded(key)))));
                }
                Some(item) => next = Some((item, *state)),
                None => drop(open.pop()),
            }
        }
        if copied == 0 {
            return self.clone();
        }
        out.push_str(&source.text[copied..]);
        of(out, true)
    }

    /// Whether anything differs from what was read.
    pub fn is_modified(&self) -> bool {
        self.modified
    }

    /// The root object.
    pub fn root(&self) -> ValueRef<'_> {
        self.value(&self.root)
    }

    /// The value at a path of keys; a list is entered by an index in decimal.
    pub fn get(&self, path: &[&str]) -> Option<ValueRef<'_>> {
        path.iter().try_fold(self.root(), |value, step| match value.kind() {
            Kind::Array => value.items().nth(step.parse().ok()?),
            _ => value.get(step),
        })
    }

    /// Puts a value at a path. Missing objects on the way are made; in a list, the index must be there, or be its
    /// length (then the value is appended). Returns whether the document changed: it does not when an equal value was
    /// there already (its bytes stay), or when something that is neither object nor list stands in the way. An empty
    /// path replaces the root, by an object.
    pub fn set(&mut self, path: &[&str], value: impl Into<Fragment>) -> bool {
        let value = value.into();
        // The root is an object, always.
        if path.is_empty() && !value.text.trim_start().starts_with('{') {
            return false;
        }
        edit::set(self, path, value)
    }

    /// Takes a member (of duplicates all) or a list item away. Returns whether there was one.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        edit::remove(self, path)
    }

    /// Appends items to the list at a path, all in one go. Returns whether there is a list, and anything to append.
    pub fn append(&mut self, path: &[&str], items: impl IntoIterator<Item = Fragment>) -> bool {
        let items: Vec<Fragment> = items.into_iter().collect();
        if items.is_empty() || self.get(path).is_none_or(|list| list.kind() != Kind::Array) {
            return false;
        }
        edit::append(self, path, items)
    }

    /// Puts values into the items of the list at `list`, all in one go: `value` is given the place of an item and what stands at
    /// `path` in it, and says what comes there, if anything. Items without anything there are passed over. Returns whether the
    /// document changed.
    ///
    /// ```
    /// use myownllm_config_model::Document;
    /// let mut doc = Document::parse(br#"{"n": [{"on": 0}, {}, {"on": 1}]}"#).unwrap().document;
    /// assert!(doc.set_in_items(&["n"], &["on"], |n, on| on.is_falsy().then(|| (n == 0).into())));
    /// assert_eq!(doc.to_text(), r#"{"n": [{"on": true}, {}, {"on": 1}]}"#);
    /// ```
    pub fn set_in_items(
        &mut self,
        list: &[&str],
        path: &[&str],
        value: impl FnMut(usize, ValueRef<'_>) -> Option<Fragment>,
    ) -> bool {
        edit::set_in_items(self, list, path, value)
    }

    fn value<'a>(&'a self, node: &'a Node) -> ValueRef<'a> {
        let at = match node {
            Node::Raw { source, at } => At::Raw(&self.sources[*source as usize], *at),
            Node::Object(object) => At::Object(object),
            Node::Array(array) => At::Array(array),
        };
        ValueRef { document: self, at }
    }
}

/// The bytes as text, without a byte order mark; and the bytes themselves, where they are not those of the text.
fn text_of(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    let lossy = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    match bytes.strip_prefix(BOM).map(lossy) {
        Some(text) => (text, Some(bytes)),
        None => match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(odd) => (lossy(odd.as_bytes()), Some(odd.into_bytes())),
        },
    }
}

/// The error for a scan that stopped, and the text. `not_all_utf8`: what was read, without a byte order mark, where the
/// text has something else in the place of some of it.
fn located(stop: Stop, bom: bool, not_all_utf8: Option<&[u8]>) -> (ParseError, String) {
    let Stop { kind, at, pointer, text } = stop;
    let Place { line, column, offset, json_path: path, snippet } =
        place_in(&text, at, bom, not_all_utf8, pointer);
    (ParseError { kind, line, column, offset, path, snippet }, text)
}

fn place_in(text: &str, at: usize, bom: bool, not_all_utf8: Option<&[u8]>, json_path: String) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |n| n + 1);
    let line = text[line_start..].split('\n').next().unwrap_or_default();
    let in_body = not_all_utf8.map_or(at, |body| offset_before_lossy(body, at));
    Place {
        line: before.bytes().filter(|&b| b == b'\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        offset: in_body + if bom { BOM.len() } else { 0 },
        json_path,
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

fn not_utf8(bytes: &[u8], source: &Source) -> Diagnostic {
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

fn duplicates(source: &Source, diagnostics: &mut Vec<Diagnostic>) {
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

/// A value in a [`Document`].
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    document: &'a Document,
    at: At<'a>,
}

/// What is still to come of a list or an object; the items of a list come with an empty key.
type Children<'a> = Box<dyn Iterator<Item = (String, ValueRef<'a>)> + 'a>;

#[derive(Clone, Copy)]
enum At<'a> {
    Raw(&'a Source, u32),
    Object(&'a Obj),
    Array(&'a Arr),
}

/// See [`ValueRef::items`].
enum Items<'a> {
    None,
    Raw { document: &'a Document, source: &'a Source, entries: Entries<'a> },
    Edited { document: &'a Document, nodes: std::slice::Iter<'a, Option<Node>> },
}

impl<'a> Iterator for Items<'a> {
    type Item = ValueRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<ValueRef<'a>> {
        match self {
            Items::None => None,
            Items::Raw { document, source, entries } => {
                Some(ValueRef { document, at: At::Raw(source, entries.next()?) })
            }
            Items::Edited { document, nodes } => {
                nodes.by_ref().flatten().next().map(|node| document.value(node))
            }
        }
    }
}

impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the text: it may hold a secret.
        f.debug_struct("ValueRef").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<'a> ValueRef<'a> {
    /// Its type.
    pub fn kind(&self) -> Kind {
        match self.at {
            At::Object(_) => Kind::Object,
            At::Array(_) => Kind::Array,
            At::Raw(source, at) => match source.first_byte(at) {
                b'{' => Kind::Object,
                b'[' => Kind::Array,
                b'"' => Kind::String,
                b't' | b'f' => Kind::Bool,
                b'n' => Kind::Null,
                _ => Kind::Number,
            },
        }
    }

    /// Its JSON text: the very text that was read or put in, unless something inside it has been changed since.
    pub fn raw(&self) -> Cow<'a, str> {
        match self.at {
            At::Raw(source, at) => Cow::Borrowed(source.raw(at)),
            At::Object(_) | At::Array(_) => {
                let mut out = String::new();
                self.document.write_value(self, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// The decoded bytes of a string.
    fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'"' => Some(source.decoded(at)),
            _ => None,
        }
    }

    /// The decoded text of a string; a lone surrogate comes out as U+FFFD.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        self.decoded().map(text::lossy)
    }

    /// Whether it is a string of exactly this text.
    pub fn is_str(&self, text: &str) -> bool {
        match self.at {
            At::Raw(source, at) => source.first_byte(at) == b'"' && source.text_is(at, text.as_bytes()),
            At::Object(_) | At::Array(_) => false,
        }
    }

    /// The value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| *self.raw() == *"true")
    }

    /// The value of a number; one too large for an `f64` is infinite.
    pub fn as_f64(&self) -> Option<f64> {
        if self.kind() == Kind::Number { self.raw().parse().ok() } else { None }
    }

    /// Whether it is `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Whether the app's language takes it for false: `null`, `false`, a zero, the empty text.
    pub fn is_falsy(&self) -> bool {
        match self.kind() {
            Kind::Null => true,
            Kind::Bool => self.as_bool() == Some(false),
            Kind::Number => self.as_f64() == Some(0.0),
            Kind::String => self.decoded().is_some_and(|d| d.is_empty()),
            Kind::Array | Kind::Object => false,
        }
    }

    /// The member of an object; of duplicates the last.
    pub fn get(&self, key: &str) -> Option<ValueRef<'a>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'{' => {
                source.find(at, key.as_bytes()).map(|k| self.within(source, k + 1))
            }
            At::Object(object) => object.get(self.document, key.as_bytes()).map(|n| self.document.value(n)),
            _ => None,
        }
    }

    /// What [`ValueRef::get`] gives for each of these keys, found in one walk over the members.
    pub(crate) fn pick<const N: usize>(&self, keys: [&str; N]) -> [Option<ValueRef<'a>>; N] {
        match self.at {
            At::Raw(source, at) => source.pick(at, keys).map(|k| k.map(|k| self.within(source, k + 1))),
            At::Object(_) | At::Array(_) => keys.map(|key| self.get(key)),
        }
    }

    /// The members of an object in file order, without overruled duplicates; nothing for other kinds. A lone surrogate in a key
    /// comes out as U+FFFD; the member cannot be asked for by that.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)> + use<'a> {
        self.members_decoded().map(|(key, value)| (text::lossy(key), value))
    }

    /// [`ValueRef::members`] with the keys' decoded bytes.
    fn members_decoded(&self) -> impl Iterator<Item = (Cow<'a, [u8]>, ValueRef<'a>)> + use<'a> {
        let (this, document) = (*self, self.document);
        let raw = match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'{' => Some(
                source
                    .keys(at)
                    .filter(|&k| !source.is_overruled(k))
                    .map(move |k| (source.decoded(k), this.within(source, k + 1))),
            ),
            _ => None,
        };
        let edited = match self.at {
            At::Object(object) => {
                Some(object.live(document).map(move |(key, node)| (key, document.value(node))))
            }
            _ => None,
        };
        raw.into_iter().flatten().chain(edited.into_iter().flatten())
    }

    /// The items of a list; nothing for other kinds.
    pub fn items(&self) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'[' => {
                Items::Raw { document: self.document, source, entries: source.items(at) }
            }
            At::Array(array) => Items::Edited { document: self.document, nodes: array.items.iter() },
            At::Raw(..) | At::Object(_) => Items::None,
        }
    }

    fn within(&self, source: &'a Source, at: u32) -> ValueRef<'a> {
        ValueRef { document: self.document, at: At::Raw(source, at) }
    }

    /// The value as serde_json has it: whole numbers as `u64` or `i64` where they fit, others as `f64`, one too large
    /// for that as `null`; lone surrogates as U+FFFD.
    pub fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        // Nesting costs heap, not call stack: the containers that are open, each with what is still to come of it.
        let mut open: Vec<(Children<'a>, String, Value)> = Vec::new();
        let mut next = Some(*self);
        loop {
            let mut done = match next.take().map(|value| (value, value.kind())) {
                None => None,
                Some((list, Kind::Array)) => {
                    let items = list.items().map(|item| (String::new(), item));
                    open.push((Box::new(items), String::new(), Value::Array(Vec::new())));
                    None
                }
                Some((object, Kind::Object)) => {
                    let members = object.members().map(|(key, value)| (key.into_owned(), value));
                    open.push((Box::new(members), String::new(), Value::Object(serde_json::Map::new())));
                    None
                }
                Some((scalar, _)) => Some(scalar.scalar_to_value()),
            };
            while next.is_none() {
                let Some((rest, key, container)) = open.last_mut() else { return done.unwrap_or_default() };
                match (done.take(), container) {
                    (Some(value), Value::Array(list)) => list.push(value),
                    (Some(value), Value::Object(map)) => {
                        map.insert(std::mem::take(key), value);
                    }
                    _ => {}
                }
                match rest.next() {
                    Some((its_key, value)) => (*key, next) = (its_key, Some(value)),
                    None => done = open.pop().map(|(_, _, container)| container),
                }
            }
        }
    }

    /// [`ValueRef::to_value`] of what is no list and no object.
    fn scalar_to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self.kind() {
            Kind::Bool => Value::Bool(self.as_bool() == Some(true)),
            Kind::Number => {
                let raw = self.raw();
                if let Ok(n) = raw.parse::<u64>() {
                    Value::from(n)
                } else if let Ok(n) = raw.parse::<i64>() {
                    Value::from(n)
                } else {
                    self.as_f64().map_or(Value::Null, Value::from)
                }
            }
            Kind::String => Value::String(self.as_str().unwrap_or_default().into_owned()),
            Kind::Null | Kind::Array | Kind::Object => Value::Null,
        }
    }

    /// Whether two values mean the same JSON: key order and spelling of strings and numbers set aside, numbers compared
    /// exactly where both are whole, else as `f64`.
    pub fn same_json(&self, other: &ValueRef<'_>) -> bool {
        // Nesting costs heap, not call stack.
        let mut pairs = vec![(*self, *other)];
        while let Some((a, b)) = pairs.pop() {
            if a.kind() != b.kind() {
                return false;
            }
            match a.kind() {
                Kind::Array => {
                    let (mut left, mut right) = (a.items(), b.items());
                    loop {
                        match (left.next(), right.next()) {
                            (None, None) => break,
                            (Some(a), Some(b)) => pairs.push((a, b)),
                            _ => return false,
                        }
                    }
                }
                Kind::Object => {
                    if a.members_decoded().count() != b.members_decoded().count() {
                        return false;
                    }
                    for (key, value) in a.members_decoded() {
                        let Some(other) = b.get_decoded(&key) else { return false };
                        pairs.push((value, other));
                    }
                }
                _ if !a.same_scalar(&b) => return false,
                _ => {}
            }
        }
        true
    }

    /// [`ValueRef::same_json`] of two of one kind that is neither list nor object.
    fn same_scalar(&self, other: &ValueRef<'_>) -> bool {
        match self.kind() {
            Kind::Bool => self.as_bool() == other.as_bool(),
            Kind::Number => {
                let (a, b) = (self.raw(), other.raw());
                match (a.parse::<i128>(), b.parse::<i128>()) {
                    _ if a == b => true,
                    (Ok(a), Ok(b)) => a == b,
                    _ => {
                        let (a, b) = (self.as_f64().unwrap_or(f64::NAN), other.as_f64().unwrap_or(f64::NAN));
                        a.is_finite() && a == b
                    }
                }
            }
            Kind::String => self.decoded() == other.decoded(),
            Kind::Null | Kind::Array | Kind::Object => true,
        }
    }

    fn get_decoded(&self, key: &[u8]) -> Option<ValueRef<'a>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'{' => {
                source.find(at, key).map(|k| self.within(source, k + 1))
            }
            At::Object(object) => object.get(self.document, key).map(|n| self.document.value(n)),
            _ => None,
        }
    }

    /// Strict equality as the app's language has it: same type, same value; lists and objects never.
    pub(crate) fn strictly_equals(&self, other: &ValueRef<'_>) -> bool {
        !matches!(self.kind(), Kind::Array | Kind::Object)
            && self.kind() == other.kind()
            && match self.kind() {
                Kind::Number => self.as_f64() == other.as_f64(),
                _ => self.decoded() == other.decoded() && self.as_bool() == other.as_bool(),
            }
    }

    /// The kind, and bytes that are equal for values of it that [`ValueRef::strictly_equals`] calls equal; `None` for
    /// lists and objects.
    pub(crate) fn identity_key(&self) -> Option<(Kind, Cow<'a, [u8]>)> {
        let key = match self.kind() {
            Kind::Array | Kind::Object => return None,
            Kind::String => self.decoded()?,
            Kind::Number => Cow::Owned(format!("{:?}", self.as_f64()? + 0.0).into_bytes()),
            Kind::Null => Cow::Borrowed(&b"null"[..]),
            Kind::Bool => Cow::Borrowed(if self.as_bool()? { &b"true"[..] } else { b"false" }),
        };
        Some((self.kind(), key))
    }
}
