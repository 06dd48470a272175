//! Pieces of JSON text to be put into a document.

use std::borrow::Cow;

use crate::text::{push_quoted, quote};
use crate::{Document, ValueRef};

/// A piece of JSON text to be put into a document; numbers and escapes in it stay spelled as they are.
///
/// ```
/// use myownllm_json_document::{Document, Fragment};
/// let from = Document::parse(br#"{"n": 1e5}"#).unwrap().document;
/// let mut to = Document::empty();
/// to.set(&["copy"], Fragment::array([from.get(&["n"]).unwrap()]));
/// assert!(to.to_text().contains("1e5"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    /// Always one valid JSON value.
    text: Cow<'static, str>,
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the text: it may hold a secret.
        f.debug_struct("Fragment").field("bytes", &self.text.len()).finish_non_exhaustive()
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
        Self::from_valid_json(text)
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
        Self::from_valid_json(text)
    }
    /// Wraps a text that the caller knows to be exactly one JSON value; it is not checked.
    pub fn from_valid_json(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into() }
    }
    /// The JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }
    pub(crate) fn into_text(self) -> String {
        self.text.into_owned()
    }
}

/// Writes an object member by member: [`Fragment::object`] without a text for each value.
#[derive(Debug)]
pub struct ObjectText {
    text: String,
}

impl ObjectText {
    /// Reserves room for `bytes` bytes.
    pub fn with_capacity(bytes: usize) -> Self {
        Self { text: String::with_capacity(bytes) }
    }
    fn key(&mut self, key: &str) {
        self.text.push(if self.text.is_empty() { '{' } else { ',' });
        push_quoted(&mut self.text, key);
        self.text.push(':');
    }
    /// Appends a member; `value` is one JSON value.
    pub fn put(&mut self, key: &str, value: &str) {
        // With the quotes, the comma or brace, the colon, and the brace at the end.
        self.text.reserve(key.len() + value.len() + 5);
        self.key(key);
        self.text.push_str(value);
    }
    /// Appends a member that holds an array; each item is one JSON value.
    pub fn put_list<'a>(&mut self, key: &str, items: impl Iterator<Item = Cow<'a, str>>) {
        self.key(key);
        self.text.push('[');
        for (n, item) in items.enumerate() {
            if n > 0 {
                self.text.push(',');
            }
            self.text.push_str(&item);
        }
        self.text.push(']');
    }
    /// Whether no member was appended.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
    /// Closes the object and returns its text.
    pub fn into_text(mut self) -> String {
        self.text.push_str(if self.text.is_empty() { "{}" } else { "}" });
        self.text
    }
}

impl From<serde_json::Value> for Fragment {
    fn from(value: serde_json::Value) -> Self {
        Self::from_valid_json(value.to_string())
    }
}

impl From<&str> for Fragment {
    fn from(text: &str) -> Self {
        Self::from_valid_json(quote(text))
    }
}

impl From<String> for Fragment {
    fn from(text: String) -> Self {
        Self::from_valid_json(quote(&text))
    }
}

impl From<bool> for Fragment {
    fn from(value: bool) -> Self {
        Self::from_valid_json(if value { "true" } else { "false" })
    }
}

impl From<u64> for Fragment {
    fn from(value: u64) -> Self {
        Self::from_valid_json(value.to_string())
    }
}

impl From<ValueRef<'_>> for Fragment {
    fn from(value: ValueRef<'_>) -> Self {
        Self::from_valid_json(value.raw().into_owned())
    }
}

impl From<&Document> for Fragment {
    fn from(doc: &Document) -> Self {
        doc.root().into()
    }
}
