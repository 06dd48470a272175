//! The lossless JSON document.
//!
//! [`Document::parse`] reads the text once and leaves the place of every value on a tape. Reading goes through
//! [`ValueRef`], which borrows from that text. An edit copies the *members* of the objects on the way to it (not their
//! values) into a list; writing puts the untouched pieces of text back exactly as they were read, white space between
//! members included. Values that are put in are laid out like their surroundings: on lines of their own where the
//! members around them are, with the file's indentation (two spaces in a file that has none) and line ends.

use std::sync::Arc;

use crate::edit::Node;
use crate::error::{located, place_in};
use crate::scan::Source;
use crate::value::At;
use crate::warnings::{duplicates, not_utf8};
use crate::{Diagnostic, Fragment, Kind, ParseError, ParseErrorKind, Place, Severity, Snippet, ValueRef};

/// The deepest nesting of lists and objects that [`Document::parse`] accepts; eight times what `serde_json` does.
pub const MAX_DEPTH: usize = 1024;
/// The longest input that [`Document::parse`] accepts, in bytes (256 MiB).
pub const MAX_BYTES: usize = 256 << 20;

/// The byte order mark in UTF-8.
pub(crate) const BOM: &[u8] = b"\xef\xbb\xbf";

/// A JSON document whose root is an object, which writes back what nobody changed byte for byte.
///
/// Cloning is cheap: the text is shared.
#[derive(Clone)]
pub struct Document {
    /// The first is the text that was read; the others were put in since.
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) root: Node,
    pub(crate) modified: bool,
    /// The very bytes, where they are not those of the text (byte order mark, bytes that are not UTF-8).
    pub(crate) original: Option<Arc<Vec<u8>>>,
    /// The text began with a byte order mark.
    pub(crate) bom: bool,
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

/// What [`Document::rewritten`] puts in the place of what is there.
pub(crate) trait Rewrite {
    /// What is known of a value from what it stands in.
    type State: Copy + Default;
    /// The state for the members of an object that has this one.
    fn object(&self, state: Self::State, object: ValueRef<'_>) -> Self::State;
    /// The state of a member's value, from that of the object.
    fn member(&self, state: Self::State, key: &str) -> Self::State;
    /// What comes in place of a key.
    fn key(&self, key: &str) -> Option<Fragment>;
    /// What comes in place of a scalar.
    fn scalar(&self, state: Self::State, value: ValueRef<'_>) -> Option<Fragment>;
}

impl std::fmt::Debug for Document {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Document")
            .field("bytes", &self.sources[0].text.len())
            .field("modified", &self.modified)
            .finish_non_exhaustive()
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
        let source = match crate::scan::scan(text).and_then(Source::rooted_in_an_object) {
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
        Self::of_trusted(Fragment::from_valid_json("{}"))
    }

    /// A new document of one object; other values give `{}`.
    pub fn of(fragment: impl Into<Fragment>) -> Self {
        let fragment = fragment.into();
        if fragment.text().trim_start().starts_with('{') { Self::of_trusted(fragment) } else { Self::empty() }
    }

    fn of_trusted(fragment: Fragment) -> Self {
        let laid_out = crate::write::pretty(&Source::of(fragment));
        let source = Source::of(Fragment::from_valid_json(laid_out));
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

    /// A copy with other scalars and keys. A list hands its state on to its items. Works on the text, so that nothing which it
    /// shows is missed: duplicates that are overruled are in it, too.
    pub(crate) fn rewritten<R: Rewrite>(&self, rewrite: &R) -> Document {
        let of = |text: String, modified: bool| Document {
            sources: vec![Arc::new(Source::of(Fragment::from_valid_json(text)))],
            root: Node::Raw { source: 0, at: 0 },
            modified,
            original: None,
            bom: self.bom,
        };
        let whole = of(self.to_text(), self.modified);
        let source = &*whole.sources[0];
        let (mut out, mut copied) = (String::new(), 0);
        // Nesting costs heap, not call stack.
        let mut replace = |at: u32, instead: Option<Fragment>| {
            let Some(instead) = instead else { return };
            let entry = source.entry(at);
            out.push_str(&source.text[copied..entry.start()]);
            out.push_str(instead.text());
            copied = entry.end();
        };
        type Below<'a> = Box<dyn Iterator<Item = u32> + 'a>;
        let mut open: Vec<(Below<'_>, bool, R::State)> = Vec::new();
        let mut next = Some((0, R::State::default()));
        loop {
            if let Some((at, state)) = next.take() {
                let value = ValueRef { document: &whole, at: At::Raw(source, at) };
                match source.first_byte(at) {
                    b'{' => open.push((Box::new(source.keys(at)), true, rewrite.object(state, value))),
                    b'[' => open.push((Box::new(source.items(at)), false, state)),
                    _ => replace(at, rewrite.scalar(state, value)),
                }
            }
            let Some((entries, is_object, state)) = open.last_mut() else { break };
            match entries.next() {
                Some(key) if *is_object => {
                    let name = source.decoded_text(key);
                    replace(key, rewrite.key(&name));
                    next = Some((key + 1, rewrite.member(*state, &name)));
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
        if path.is_empty() && !value.text().trim_start().starts_with('{') {
            return false;
        }
        crate::edit::set(self, path, value)
    }

    /// Takes a member (of duplicates all) or a list item away. Returns whether there was one.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        crate::edit::remove(self, path)
    }

    /// Appends items to the list at a path, all in one go. Returns whether there is a list, and anything to append.
    pub fn append(&mut self, path: &[&str], items: impl IntoIterator<Item = Fragment>) -> bool {
        crate::edit::append(self, path, items)
    }

    /// Puts values into the items of the list at `list`, all in one go: `value` is given the place of an item and what stands at
    /// `path` in it, and says what comes there, if anything. Items without anything there are passed over. Returns whether the
    /// document changed.
    ///
    /// ```
    /// use myownllm_json_document::Document;
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
        crate::edit::set_in_items(self, list, path, value)
    }

    pub(crate) fn value<'a>(&'a self, node: &'a Node) -> ValueRef<'a> {
        let at = match node {
            Node::Raw { source, at } => At::Raw(&self.sources[*source as usize], *at),
            Node::Object(object) => At::Object(object),
            Node::Array(array) => At::Array(array),
        };
        ValueRef { document: self, at }
    }
}

/// The bytes as text, without a byte order mark; and the bytes themselves, where they are not those of the text.
pub(crate) fn text_of(bytes: Vec<u8>) -> (String, Option<Vec<u8>>) {
    let lossy = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
    match bytes.strip_prefix(BOM).map(lossy) {
        Some(text) => (text, Some(bytes)),
        None => match String::from_utf8(bytes) {
            Ok(text) => (text, None),
            Err(odd) => (lossy(odd.as_bytes()), Some(odd.into_bytes())),
        },
    }
}
