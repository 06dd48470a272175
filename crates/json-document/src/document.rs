//! The lossless JSON document.
//!
//! [`Document::parse`] scans the text once and leaves the position of every value on a tape.
//! Readers go through [`ValueRef`], which borrows from that text. An edit copies the *members* of
//! the objects on the way to the edited value (not their values) into a tree; writing puts the
//! untouched pieces of text back as they were read, the white space between members included.
//! Inserted values follow the layout around them: lines of their own where the neighbours have
//! lines of their own, the file's indentation (two spaces in a file without any) and the file's
//! line ends.

use crate::diagnostic::{Diagnostic, byte_order_mark, duplicate_keys, not_utf8};
use crate::edit::{self, Change, SetOutcome};
use crate::error::{MAX_BYTES, ParseError, ParseErrorKind};
use crate::fragment::Fragment;
use crate::place::{BOM, Origin, Place};
use crate::snippet::{Certain, Snippet};
use crate::source::Source;
use crate::text::unescape_pointer;
use crate::tree::Tree;
use crate::value::ValueRef;
use crate::write::{pretty, write_document};

/// A JSON document whose root is an object. Writes back unchanged parts byte for byte.
///
/// Cloning is cheap: clones share the text.
#[derive(Clone)]
pub struct Document {
    tree: Tree,
    is_modified: bool,
    /// The bytes that were read, where they differ from the text (a byte order mark, bytes that are
    /// not UTF-8).
    original: Option<std::sync::Arc<Vec<u8>>>,
    has_bom: bool,
}

/// The result of [`Document::parse`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Parsed {
    /// The document.
    pub document: Document,
    /// Duplicate keys (`config.duplicate-key`), a byte order mark (`config.bom`), bytes that are
    /// not UTF-8 (`config.not-utf8`).
    pub diagnostics: Vec<Diagnostic>,
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold a secret.
        f.debug_struct("Document")
            .field("bytes", &self.tree.read().text.len())
            .field("modified", &self.is_modified)
            .finish_non_exhaustive()
    }
}

impl Document {
    /// Parses one JSON text: strict RFC 8259, at most [`MAX_DEPTH`](crate::MAX_DEPTH) deep and
    /// [`MAX_BYTES`] long. Accepts one leading byte order mark, and reads bytes that are not UTF-8
    /// as U+FFFD, as `String::from_utf8_lossy` does.
    ///
    /// # Errors
    /// Fails for anything but one JSON object within the limits.
    pub fn parse(bytes: &[u8]) -> Result<Parsed, ParseError> {
        Self::parse_vec(bytes.to_vec()).map_err(|(error, _)| error)
    }

    /// Does the same as [`Document::parse`] without a copy: the document keeps the bytes, and lends
    /// them as [`Document::bytes_read`].
    ///
    /// # Errors
    /// Fails as [`Document::parse`] does, and returns the bytes.
    pub fn parse_vec(bytes: Vec<u8>) -> Result<Parsed, (ParseError, Vec<u8>)> {
        if bytes.len() > MAX_BYTES {
            let (kind, path) = (ParseErrorKind::TooLarge, String::new());
            let snippet = Snippet::default();
            return Err((ParseError { kind, line: 1, column: 1, offset: 0, path, snippet }, bytes));
        }
        let has_bom = bytes.starts_with(BOM);
        let (text, original) = text_of(bytes);
        let body = original.as_deref().map(|bytes| bytes.strip_prefix(BOM).unwrap_or(bytes));
        let origin = Origin { has_bom, not_utf8: body.filter(|body| std::str::from_utf8(body).is_err()) };
        let source = match Source::scan(text).and_then(Source::rooted_in_an_object) {
            Ok(source) => source,
            Err(error) => {
                let bytes = original.as_deref().unwrap_or(error.source.text.as_bytes());
                let is_utf16 =
                    matches!(bytes, [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [b'{', 0, ..] | [0, b'{', ..]);
                let kind =
                    if is_utf16 { ParseErrorKind::Syntax("text in UTF-8, not UTF-16") } else { error.kind };
                let parse_error = origin.parse_error(&error, kind);
                return Err((parse_error, original.unwrap_or_else(|| error.source.text.into_bytes())));
            }
        };
        let mut diagnostics = Vec::new();
        if has_bom {
            diagnostics.push(byte_order_mark());
        }
        if let Some(body) = origin.not_utf8 {
            diagnostics.push(not_utf8(body, &source));
        }
        duplicate_keys(&source, &mut diagnostics);
        let original = original.map(std::sync::Arc::new);
        let document = Document { tree: Tree::of(source), is_modified: false, original, has_bom };
        Ok(Parsed { document, diagnostics })
    }

    /// Returns the bytes that were read, regardless of later edits.
    pub fn bytes_read(&self) -> &[u8] {
        self.original.as_deref().map_or(self.tree.read().text.as_bytes(), Vec::as_slice)
    }

    /// Returns the place of the value at a JSON Pointer in the text that was read; `None` if there
    /// is no such value, or if it was inserted or touched since. Each call walks over the text
    /// before the value.
    pub fn place(&self, pointer: &str) -> Option<Place> {
        let value = self.root().at_path(pointer.split('/').skip(1).map(unescape_pointer))?;
        let not_utf8 = self.original.as_ref().map(|bytes| bytes.strip_prefix(BOM).unwrap_or(bytes));
        let origin = Origin { has_bom: self.has_bom, not_utf8 };
        Some(origin.place(&self.tree.read().text, value.start_as_read()?, pointer, Certain::All))
    }

    /// Returns an unmodified `{}`. Inserted members get two-space indentation.
    pub fn empty() -> Self {
        Self::of_text("{}".to_owned())
    }

    /// Returns a new document with one object; `{}` for any other value.
    pub fn of(fragment: impl Into<Fragment>) -> Self {
        let fragment = fragment.into();
        if !fragment.text().trim_start().starts_with('{') {
            return Self::empty();
        }
        Self::of_text(pretty(&Source::of(fragment)))
    }

    /// An unmodified document with a text that is valid JSON.
    pub(crate) fn of_text(text: String) -> Self {
        let tree = Tree::of(Source::of(Fragment::from_valid_json(text)));
        Document { tree, is_modified: false, original: None, has_bom: false }
    }

    /// The same document with another text, which is valid JSON.
    pub(crate) fn with_text(&self, text: String) -> Self {
        Document { is_modified: true, has_bom: self.has_bom, ..Self::of_text(text) }
    }

    /// Returns the bytes to write. Without edits, these are the bytes that were read. A byte order
    /// mark stays; bytes that are not UTF-8 stay until the first edit.
    pub fn to_bytes(&self) -> Vec<u8> {
        match &self.original {
            Some(original) if !self.is_modified => Vec::clone(original),
            _ => self.written_after(if self.has_bom { "\u{feff}" } else { "" }).into_bytes(),
        }
    }

    /// Returns the document in plain UTF-8, without a byte order mark, for readers that accept
    /// nothing else.
    #[must_use]
    pub fn into_utf8(self) -> Self {
        Self { original: None, has_bom: false, ..self }
    }

    /// Returns the text, without a byte order mark.
    pub fn to_text(&self) -> String {
        self.written_after("")
    }

    fn written_after(&self, mark: &str) -> String {
        let mut out = String::with_capacity(self.tree.read().text.len() + 256);
        out.push_str(mark);
        write_document(&self.tree, &mut out);
        out
    }

    /// Returns the text with one value a line, indented by two spaces. Keys, strings and numbers
    /// keep their spelling.
    pub fn to_indented_text(&self) -> String {
        pretty(&Source::of(Fragment::from_valid_json(self.to_text())))
    }

    /// Returns true if the document differs from the text that was read.
    pub fn is_modified(&self) -> bool {
        self.is_modified
    }

    /// Returns the root object.
    pub fn root(&self) -> ValueRef<'_> {
        ValueRef::of(&self.tree, &self.tree.root)
    }

    /// Returns the keys of the root object, in file order.
    pub fn keys(&self) -> Vec<String> {
        self.root().members().map(|(key, _)| key.into_owned()).collect()
    }

    /// Returns the value at a path of keys. In an array, a step is a decimal index.
    pub fn get(&self, path: &[&str]) -> Option<ValueRef<'_>> {
        self.root().at_path(path)
    }

    /// Puts a value at a path, and makes missing objects on the way. In an array, a step is an
    /// existing index, or the length to append. An empty path replaces the root, by an object.
    ///
    /// ```
    /// use myownllm_json_document::{Document, SetOutcome};
    /// let mut doc = Document::parse(br#"{"port": 80, "tags": []}"#).unwrap().document;
    /// assert_eq!(doc.set(&["port"], 80u64), SetOutcome::Equal);
    /// assert_eq!(doc.set(&["port", "number"], 80u64), SetOutcome::Blocked);
    /// assert_eq!(doc.set(&["tags", "0"], "new"), SetOutcome::Changed);
    /// ```
    pub fn set(&mut self, path: &[&str], value: impl Into<Fragment>) -> SetOutcome {
        let value = value.into();
        // The root is always an object.
        if path.is_empty() && !value.text().trim_start().starts_with('{') {
            return SetOutcome::Blocked;
        }
        match edit::set(self.root(), path, value) {
            Ok(change) => {
                self.apply(change);
                SetOutcome::Changed
            }
            Err(outcome) => outcome,
        }
    }

    /// Removes a member (all duplicates of it) or an array item. Returns true if there was one.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let change = edit::remove(self.root(), path);
        change.map(|change| self.apply(change)).is_some()
    }

    /// Appends items to the array at a path in one go. Returns false if there is no array, or no
    /// item.
    pub fn append(&mut self, path: &[&str], items: impl IntoIterator<Item = Fragment>) -> bool {
        let change = edit::append(self.root(), path, items.into_iter().collect());
        change.map(|change| self.apply(change)).is_some()
    }

    /// Sets `path` in the items of the array at `array`, in one go. `value` gets the index of an
    /// item and the value at `path` in it, and returns the new value, if any. Items without a value
    /// at `path` are skipped. Returns true if the document changed.
    ///
    /// ```
    /// use myownllm_json_document::Document;
    /// let mut doc = Document::parse(br#"{"n": [{"on": 0}, {}, {"on": 1}]}"#).unwrap().document;
    /// assert!(doc.set_in_items(&["n"], &["on"], |n, on| on.is_falsy().then(|| (n == 0).into())));
    /// assert_eq!(doc.to_text(), r#"{"n": [{"on": true}, {}, {"on": 1}]}"#);
    /// ```
    pub fn set_in_items(
        &mut self,
        array: &[&str],
        path: &[&str],
        value: impl FnMut(usize, ValueRef<'_>) -> Option<Fragment>,
    ) -> bool {
        let change = edit::set_in_items(self.root(), array, path, value);
        change.map(|change| self.apply(change)).is_some()
    }

    /// Applies a JSON merge patch (RFC 7396): a `null` removes a member, an object patches a
    /// member, any other value replaces one. Members that the patch leaves as they are keep their
    /// bytes. Returns true if the document changed.
    ///
    /// ```
    /// use myownllm_json_document::Document;
    /// let mut doc = Document::parse(br#"{"api": {"port": 8e1, "host": "h"}}"#).unwrap().document;
    /// let patch = Document::parse(br#"{"api": {"host": null, "on": true}}"#).unwrap().document;
    /// assert!(doc.merge_patch(&patch));
    /// assert_eq!(doc.to_text(), r#"{"api": {"port": 8e1, "on": true}}"#);
    /// ```
    pub fn merge_patch(&mut self, patch: &Document) -> bool {
        let change = edit::merge_patch(self.root(), patch.root());
        let is_changed = !change.is_empty();
        self.apply(change);
        is_changed
    }

    /// Applies edits to the root.
    pub fn apply(&mut self, change: Change) {
        if !change.is_empty() {
            self.is_modified = true;
            self.tree.apply(change);
        }
    }
}

impl From<&Document> for Fragment {
    fn from(document: &Document) -> Self {
        document.root().into()
    }
}

/// Splits bytes into their text without a byte order mark, and the bytes themselves where they
/// differ from the text.
pub(crate) fn text_of(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    let lossy = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    match bytes.strip_prefix(BOM).map(lossy) {
        Some(text) => (text, Some(bytes)),
        None => match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(error) => (lossy(error.as_bytes()), Some(error.into_bytes())),
        },
    }
}
