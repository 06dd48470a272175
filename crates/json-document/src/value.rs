//! Reading a document.

use std::borrow::Cow;

use crate::fragment::Fragment;
use crate::source::{Entries, Source};
use crate::tree::{Child, Container, Name, Node, Tree};
use crate::write::write_container;

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
    /// An array.
    Array,
    /// An object.
    Object,
}

impl Kind {
    /// Returns the type's name for messages: "an array", "an object", …
    pub fn name(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Bool => "a boolean",
            Kind::Number => "a number",
            Kind::String => "a string",
            Kind::Array => "an array",
            Kind::Object => "an object",
        }
    }
}

/// A value in a document.
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    tree: &'a Tree,
    at: At<'a>,
}

#[derive(Clone, Copy)]
enum At<'a> {
    /// A value as a text has it.
    Raw(&'a Source, u32),
    Edited(&'a Container),
}

/// The members of an object, or the items of an array.
enum Children<'a> {
    Raw { tree: &'a Tree, source: &'a Source, entries: Entries<'a>, to_value: u32 },
    Edited { tree: &'a Tree, container: &'a Container, children: std::slice::Iter<'a, Child> },
}

impl<'a> Iterator for Children<'a> {
    /// The name of an item means nothing.
    type Item = (Name<'a>, ValueRef<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Children::Raw { tree, source, entries, to_value } => {
                let entry = entries.find(|&entry| !source.is_shadowed(entry))?;
                Some((Name::Read(source, entry), ValueRef { tree, at: At::Raw(source, entry + *to_value) }))
            }
            Children::Edited { tree, container, children } => {
                let child = children.find(|child| child.is_live())?;
                Some((container.name(&tree.sources, child), ValueRef::of(tree, &child.value)))
            }
        }
    }
}

impl std::fmt::Debug for ValueRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold a secret.
        f.debug_struct("ValueRef").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl<'a> ValueRef<'a> {
    pub(crate) fn of(tree: &'a Tree, node: &'a Node) -> Self {
        let at = match node {
            Node::Raw { source, at } => At::Raw(&tree.sources[*source as usize], *at),
            Node::Edited(container) => At::Edited(container),
        };
        Self { tree, at }
    }

    pub(crate) fn read(tree: &'a Tree, at: u32) -> Self {
        Self { tree, at: At::Raw(tree.read(), at) }
    }

    /// Returns the value's position in the text that was read; `None` if the value was inserted or
    /// touched since.
    pub(crate) fn start_as_read(&self) -> Option<usize> {
        match self.at {
            At::Raw(source, at) if std::ptr::eq(source, self.tree.read()) => Some(source.entry(at).start()),
            _ => None,
        }
    }

    /// Returns the type.
    pub fn kind(&self) -> Kind {
        match self.at {
            At::Edited(container) if container.is_object => Kind::Object,
            At::Edited(_) => Kind::Array,
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

    /// Returns the JSON text: as it was read or inserted, unless an edit has touched something
    /// inside the value.
    pub fn raw(&self) -> Cow<'a, str> {
        match self.at {
            At::Raw(source, at) => Cow::Borrowed(source.raw(at)),
            At::Edited(container) => Cow::Owned(write_container(self.tree, container)),
        }
    }

    fn decoded(&self) -> Option<Cow<'a, [u8]>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'"' => Some(source.decoded(at)),
            _ => None,
        }
    }

    /// Returns the decoded text of a string. A lone surrogate reads as U+FFFD.
    pub fn as_str(&self) -> Option<Cow<'a, str>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'"' => Some(source.decoded_text(at)),
            _ => None,
        }
    }

    /// Returns true for a string that decodes to `text`.
    pub fn is_str(&self, text: &str) -> bool {
        match self.at {
            At::Raw(source, at) => source.first_byte(at) == b'"' && source.text_is(at, text.as_bytes()),
            At::Edited(_) => false,
        }
    }

    /// Returns the value of a boolean.
    pub fn as_bool(&self) -> Option<bool> {
        (self.kind() == Kind::Bool).then(|| *self.raw() == *"true")
    }

    /// Returns the value of a number; infinity for a number beyond `f64`.
    pub fn as_f64(&self) -> Option<f64> {
        if self.kind() == Kind::Number { self.raw().parse().ok() } else { None }
    }

    /// Returns true for `null`.
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// Returns true for the values that JavaScript takes for false: `null`, `false`, zero, the
    /// empty string.
    pub fn is_falsy(&self) -> bool {
        match self.kind() {
            Kind::Null => true,
            Kind::Bool => self.as_bool() == Some(false),
            Kind::Number => self.as_f64() == Some(0.0),
            Kind::String => self.decoded().is_some_and(|d| d.is_empty()),
            Kind::Array | Kind::Object => false,
        }
    }

    /// Returns the member of an object; of duplicates the last.
    pub fn get(&self, key: &str) -> Option<ValueRef<'a>> {
        self.get_decoded(key.as_bytes())
    }

    /// Returns for each of `keys` what [`ValueRef::get`] returns, from one walk over the members.
    #[inline]
    pub fn get_many<const N: usize>(&self, keys: [&str; N]) -> [Option<ValueRef<'a>>; N] {
        match self.at {
            At::Raw(source, at) => source.get_many(at, keys).map(|k| k.map(|k| self.within(source, k + 1))),
            At::Edited(_) => keys.map(|key| self.get(key)),
        }
    }

    /// Returns the members of an object in file order, without shadowed duplicates; nothing for
    /// other kinds. A lone surrogate in a key reads as U+FFFD; [`ValueRef::get`] does not find such
    /// a member.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)> + use<'a> {
        self.children(Kind::Object).map(|(name, value)| (name.text(), value))
    }

    /// Returns the items of an array; nothing for other kinds.
    pub fn items(&self) -> impl Iterator<Item = ValueRef<'a>> + use<'a> {
        self.children(Kind::Array).map(|(_, item)| item)
    }

    /// Returns the children of a value; nothing if it is of another kind.
    fn children(&self, kind: Kind) -> Children<'a> {
        let (tree, is_it) = (self.tree, self.kind() == kind);
        match self.at {
            At::Raw(source, at) => {
                let entries = if is_it { source.children(at) } else { Entries::none(source) };
                Children::Raw { tree, source, entries, to_value: u32::from(kind == Kind::Object) }
            }
            At::Edited(container) => {
                let children = if is_it { container.children.iter() } else { [].iter() };
                Children::Edited { tree, container, children }
            }
        }
    }

    /// Returns the value at a path of keys below this one. In an array, a step is a decimal index.
    pub fn at_path<S: AsRef<str>>(self, path: impl IntoIterator<Item = S>) -> Option<ValueRef<'a>> {
        path.into_iter().try_fold(self, |value, step| match value.kind() {
            Kind::Array => value.items().nth(step.as_ref().parse().ok()?),
            _ => value.get(step.as_ref()),
        })
    }

    fn within(&self, source: &'a Source, at: u32) -> ValueRef<'a> {
        ValueRef { tree: self.tree, at: At::Raw(source, at) }
    }

    /// Converts to a `serde_json` value: whole numbers to `u64` or `i64` where they fit, others to
    /// `f64`, numbers beyond `f64` to `null`, lone surrogates to U+FFFD.
    pub fn to_value(&self) -> serde_json::Value {
        use serde_json::Value;
        match self.kind() {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(self.as_bool() == Some(true)),
            Kind::Number => {
                let raw = self.raw();
                let whole =
                    raw.parse::<u64>().map(Value::from).or_else(|_| raw.parse::<i64>().map(Value::from));
                whole.unwrap_or_else(|_| self.as_f64().map_or(Value::Null, Value::from))
            }
            Kind::String => Value::String(self.as_str().unwrap_or_default().into_owned()),
            // Loops keep the frame of each level small, in a build without optimisation too.
            Kind::Array => {
                let mut array = Vec::new();
                for item in self.items() {
                    array.push(item.to_value());
                }
                Value::Array(array)
            }
            Kind::Object => {
                let mut map = serde_json::Map::new();
                for (key, value) in self.members() {
                    map.insert(key.into_owned(), value.to_value());
                }
                Value::Object(map)
            }
        }
    }

    /// Returns true if two values are the same JSON, regardless of key order and of the spelling of
    /// strings and numbers. Compares whole numbers exactly, others as `f64`.
    pub fn same_json(&self, other: &ValueRef<'_>) -> bool {
        let kind = self.kind();
        if kind != other.kind() {
            return false;
        }
        match kind {
            Kind::Null => true,
            Kind::Bool => self.as_bool() == other.as_bool(),
            Kind::Number => self.same_number(other),
            Kind::String => self.decoded() == other.decoded(),
            _ if self.children(kind).count() != other.children(kind).count() => false,
            _ => {
                let mut items = other.items();
                for (name, value) in self.children(kind) {
                    let there = match kind {
                        Kind::Array => items.next(),
                        _ => other.get_decoded(&name.bytes()),
                    };
                    if !there.is_some_and(|there| value.same_json(&there)) {
                        return false;
                    }
                }
                true
            }
        }
    }

    fn same_number(&self, other: &ValueRef<'_>) -> bool {
        let (a, b) = (self.raw(), other.raw());
        match (a.parse::<i128>(), b.parse::<i128>()) {
            _ if a == b => true,
            (Ok(a), Ok(b)) => a == b,
            _ => self.as_f64().is_some_and(|a| a.is_finite() && other.as_f64() == Some(a)),
        }
    }

    fn get_decoded(&self, key: &[u8]) -> Option<ValueRef<'a>> {
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'{' => {
                source.find(at, key).map(|k| self.within(source, k + 1))
            }
            At::Edited(object) if object.is_object => {
                let member = &object.children[object.position(&self.tree.sources, key)?];
                Some(Self::of(self.tree, &member.value))
            }
            _ => None,
        }
    }

    /// Compares as JavaScript's `===` does: equal type and value; arrays and objects are never
    /// equal.
    pub fn strictly_equals(&self, other: &ValueRef<'_>) -> bool {
        self.identity_key().is_some_and(|key| other.identity_key() == Some(key))
    }

    /// Returns the kind, and bytes that are equal for values that [`ValueRef::strictly_equals`]
    /// calls equal; `None` for arrays and objects.
    pub fn identity_key(&self) -> Option<(Kind, Cow<'a, [u8]>)> {
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

impl From<ValueRef<'_>> for Fragment {
    fn from(value: ValueRef<'_>) -> Self {
        Self::from_valid_json(value.raw().into_owned())
    }
}
