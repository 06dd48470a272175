//! Masks the parts of a document that are not known to be harmless.
//!
//! Masking is an allow-list: a string or a number is shown if a [`Shown`] names its place.
//! Everything else is masked; booleans, `null`, zero, the empty string and the names of members are
//! shown. In shown strings and in names, [`mask_text`] masks the secrets inside: logins of URLs,
//! headers.
//!
//! Lines of a log have no structure to go by. [`mask_line`] masks by names that announce a secret
//! ([`is_secret_name`]).

use std::collections::HashMap;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

use crate::document::Document;
use crate::fragment::Fragment;
use crate::mask_text::in_text;
pub use crate::mask_text::{MASK, mask_line, mask_pointer, mask_text, strip_secrets};
pub use crate::secret_names::is_secret_name;
use crate::source::Source;
use crate::tree::Tree;
use crate::value::{Kind, ValueRef};

/// Members that name the secret in a `value` beside them.
const NAMING: [&str; 4] = ["name", "key", "header", "field"];
/// Members whose secret a member beside them names.
const NAMED: [&str; 2] = ["value", "values"];
/// Members of a secret object that are no secret themselves.
const HARMLESS: [&str; 3] = ["username", "url", "urls"];

/// The places in a document that are known to hold no secret.
///
/// ```
/// use myownllm_json_document::Document;
/// use myownllm_json_document::masking::{Shown, mask};
/// const SERVER: Shown = Shown::Members(&[("host", Shown::Scalar), ("tags", Shown::Items(&Shown::Scalar))]);
/// let doc = Document::parse(br#"{"host": "h", "newer": "b", "on": true}"#).unwrap().document;
/// assert_eq!(mask(&doc, &SERVER).to_text(), r#"{"host": "h", "newer": "********", "on": true}"#);
/// ```
#[derive(Debug, Clone, Copy)]
pub enum Shown {
    /// A string or a number.
    Scalar,
    /// An array of such items.
    Items(&'static Shown),
    /// An object; members of other names are masked.
    Members(&'static [(&'static str, Shown)]),
    /// An object with members of any name, but for names that announce a secret.
    Entries(&'static Shown),
}

impl Shown {
    fn member(&self, key: &str) -> Option<&'static Shown> {
        match self {
            Shown::Members(members) => members.iter().find(|(name, _)| *name == key).map(|(_, shown)| shown),
            Shown::Entries(shown) => Some(*shown).filter(|_| !is_secret_name(key)),
            Shown::Scalar | Shown::Items(_) => None,
        }
    }

    fn item(&self) -> Option<&'static Shown> {
        if let Shown::Items(shown) = self { Some(shown) } else { None }
    }

    fn shows_scalars(&self) -> bool {
        matches!(self, Shown::Scalar)
    }
}

/// A text that is shown as [`MASK`], so that `{:?}` does not put it into a log.
///
/// Serializes as [`MASK`] as well. Edit the [`Document`] to write a secret.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// A text that may hold a secret, such as a URL with a login. The secret in it is shown as [`MASK`], in
/// `{:?}` and when the text serializes.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct MaskedText(String);

impl MaskedText {
    /// Returns the text as it is, with its secrets.
    pub fn expose(&self) -> &str {
        &self.0
    }

    fn masked(&self) -> String {
        mask_text(&self.0).unwrap_or_else(|| self.0.clone())
    }
}

impl From<&str> for MaskedText {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl std::fmt::Debug for MaskedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.masked().fmt(f)
    }
}

impl Serialize for MaskedText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

/// Returns a masked copy. Shown parts stay byte for byte, so that a diff of two masked documents
/// has true lines; shadowed duplicates are masked as well. Names that are equal after masking get a
/// number.
pub fn mask(document: &Document, shown: &Shown) -> Document {
    let masked = masked_text(document.to_text(), shown);
    masked.map_or_else(|| document.clone(), |text| document.with_text(text))
}

/// Masks a value in place, as [`mask`] masks a document.
pub fn mask_value(value: &mut Value, shown: &Shown) {
    if let Some(text) = masked_text(value.to_string(), shown) {
        let tree = Tree::of(Source::of(Fragment::from_valid_json(text)));
        *value = ValueRef::read(&tree, 0).to_value();
    }
}

/// Returns the masked text of a JSON value; `None` if all of it is shown.
fn masked_text(text: String, shown: &Shown) -> Option<String> {
    let tree = Tree::of(Source::of(Fragment::from_valid_json(text)));
    let source = tree.read();
    let mut masked = Masked { source, text: String::new(), copied: 0 };
    // Nesting costs heap, not call stack.
    let mut open: Vec<Open<'_>> = Vec::new();
    let mut at = 0;
    while at < source.entries() {
        while open.pop_if(|open| open.end <= at).is_some() {}
        let shown = match open.last_mut() {
            None => Some(shown),
            Some(Open { is_object: false, shown, .. }) => shown.and_then(Shown::item),
            Some(Open { names, shown, .. }) => {
                let key = at;
                at += 1;
                let name = source.decoded_text(key);
                let is_shadowed = source.is_shadowed(key);
                let replaced =
                    mask_text(&name).map(|name| if is_shadowed { name } else { numbered(name, names) });
                masked.replace(key, replaced.map(Fragment::from));
                shown.and_then(|object| object.member(&name))
            }
        };
        match source.first_byte(at) {
            first @ (b'{' | b'[') => {
                let (end, is_object) = (source.entry(at).next, first == b'{');
                open.push(Open { end, is_object, shown, names: HashMap::new() });
            }
            _ => masked.replace(at, mask_scalar(ValueRef::read(&tree, at), shown)),
        }
        at += 1;
    }
    (masked.copied > 0).then(|| masked.text + &source.text[masked.copied..])
}

/// An object or array around an entry.
struct Open<'s> {
    /// The entry after it.
    end: u32,
    is_object: bool,
    shown: Option<&'s Shown>,
    /// The number of times that its members got each masked name.
    names: HashMap<String, usize>,
}

/// Returns the name, with a number if `names` has the name already.
fn numbered(mut name: String, names: &mut HashMap<String, usize>) -> String {
    loop {
        let count = names.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 {
            return name;
        }
        name = format!("{name} ({count})");
    }
}

/// A text in which entries are replaced.
struct Masked<'s> {
    source: &'s Source,
    text: String,
    copied: usize,
}

impl Masked<'_> {
    fn replace(&mut self, at: u32, replacement: Option<Fragment>) {
        let Some(replacement) = replacement else { return };
        let entry = self.source.entry(at);
        self.text.push_str(&self.source.text[self.copied..entry.start()]);
        self.text.push_str(replacement.text());
        self.copied = entry.end();
    }
}

fn mask_scalar(value: ValueRef<'_>, shown: Option<&Shown>) -> Option<Fragment> {
    let is_shown = shown.is_some_and(Shown::shows_scalars);
    match value.kind() {
        Kind::String if is_shown => mask_text(&value.as_str()?).map(Fragment::from),
        Kind::String | Kind::Number if !is_shown && !value.is_falsy() => Some(MASK.into()),
        _ => None,
    }
}

/// Returns the strings of a request that its receiver may not quote in an answer: those whose name
/// announces a secret, and the secrets inside of the others.
pub fn secrets_in(members: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    push_members(members, false, &mut found);
    found.retain(|secret| !secret.is_empty());
    found
}

fn push_members(members: &Map<String, Value>, is_secret: bool, found: &mut Vec<String>) {
    let names_a_secret =
        NAMING.iter().any(|key| members.get(*key).is_some_and(|v| v.as_str().is_some_and(is_secret_name)));
    for (key, value) in members {
        let is_secret = is_secret_name(key)
            || (is_secret && !HARMLESS.contains(&key.as_str()))
            || (names_a_secret && NAMED.contains(&key.as_str()));
        push_secrets(value, is_secret, found);
    }
}

fn push_secrets(value: &Value, is_secret: bool, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => push_members(members, is_secret, found),
        // The items of an array have no name of their own.
        Value::Array(items) => items.iter().for_each(|item| push_secrets(item, is_secret, found)),
        Value::String(text) if is_secret => found.push(text.clone()),
        Value::String(text) => {
            for range in in_text(text) {
                let secret = &text[range];
                // A receiver may quote the password without the name before it.
                found.extend(secret.split_once(':').map(|(_, password)| password.to_owned()));
                found.push(secret.to_owned());
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
