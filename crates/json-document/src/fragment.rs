use std::borrow::Cow;

use serde::Serialize;

use crate::text::{push_quoted, quote};

/// A piece of JSON text to be inserted into a document. Numbers and escapes keep their spelling.
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
        // The text may hold a secret.
        f.debug_struct("Fragment").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Fragment {
    /// Builds an object with these members, in this order.
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

    /// Builds an array of these items.
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

    /// Serializes `value`, with members in the order of its fields. A value that has no JSON form
    /// becomes `null`.
    pub fn serialize(value: &impl Serialize) -> Self {
        Self::from_valid_json(serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned()))
    }

    /// Wraps a text that the caller knows to be exactly one JSON value; does not check it.
    pub fn from_valid_json(text: impl Into<Cow<'static, str>>) -> Self {
        Self { text: text.into() }
    }

    /// Returns the JSON text.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn into_text(self) -> String {
        self.text.into_owned()
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
