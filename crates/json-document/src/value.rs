//! Reading a document: a value in it, whether it stands in the text or was put in since.

use std::borrow::Cow;

use crate::Document;
use crate::edit::{Arr, Member, Node, Obj, State};
use crate::scan::{Entries, Source};

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

/// A value in a [`Document`].
#[derive(Clone, Copy)]
pub struct ValueRef<'a> {
    pub(crate) document: &'a Document,
    pub(crate) at: At<'a>,
}

/// What is still to come of a list or an object; the items of a list come with an empty key.
type Children<'a> = Box<dyn Iterator<Item = (String, ValueRef<'a>)> + 'a>;

#[derive(Clone, Copy)]
pub(crate) enum At<'a> {
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

/// The name of a member.
#[derive(Clone, Copy)]
pub(crate) enum Name<'a> {
    /// As a key in a text.
    Read(&'a Source, u32),
    Given(&'a str),
}

impl<'a> Name<'a> {
    /// Lone surrogates in their three-byte form.
    #[inline]
    pub(crate) fn bytes(self) -> Cow<'a, [u8]> {
        match self {
            Name::Read(source, key) => source.decoded(key),
            Name::Given(text) => Cow::Borrowed(text.as_bytes()),
        }
    }
    /// Lone surrogates as U+FFFD.
    fn text(self) -> Cow<'a, str> {
        match self {
            Name::Read(source, key) => source.decoded_text(key),
            Name::Given(text) => Cow::Borrowed(text),
        }
    }
}

/// See [`ValueRef::members`].
enum Members<'a> {
    None,
    Raw { document: &'a Document, source: &'a Source, keys: Entries<'a> },
    Edited { document: &'a Document, object: &'a Obj, members: std::slice::Iter<'a, Member> },
}

impl<'a> Iterator for Members<'a> {
    type Item = (Name<'a>, ValueRef<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Members::None => None,
            Members::Raw { document, source, keys } => {
                let key = keys.find(|&key| !source.is_overruled(key))?;
                Some((Name::Read(source, key), ValueRef { document, at: At::Raw(source, key + 1) }))
            }
            Members::Edited { document, object, members } => {
                let member = members.find(|member| member.state == State::Live)?;
                Some((object.name(&document.sources, member), document.value(&member.value)))
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
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'"' => Some(source.decoded_text(at)),
            _ => None,
        }
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
        self.get_decoded(key.as_bytes())
    }

    /// Returns what [`ValueRef::get`] returns for each of these keys, from one walk over the members.
    pub fn get_many<const N: usize>(&self, keys: [&str; N]) -> [Option<ValueRef<'a>>; N] {
        self.get_many_beside(keys, |_, _| {})
    }

    /// Like [`ValueRef::get_many`]; calls `other` for every other member, in file order.
    #[inline]
    pub fn get_many_beside<const N: usize>(
        &self,
        keys: [&str; N],
        mut other: impl FnMut(Cow<'a, str>, ValueRef<'a>),
    ) -> [Option<ValueRef<'a>>; N] {
        match self.at {
            At::Raw(source, at) => {
                let found =
                    source.get_many(at, keys, |k| other(source.decoded_text(k), self.within(source, k + 1)));
                found.map(|k| k.map(|k| self.within(source, k + 1)))
            }
            At::Object(_) | At::Array(_) => {
                let others = self.members().filter(|(key, _)| !keys.contains(&&**key));
                others.for_each(|(key, value)| other(key, value));
                keys.map(|key| self.get(key))
            }
        }
    }

    /// The members of an object in file order, without overruled duplicates; nothing for other kinds. A lone surrogate in a key
    /// comes out as U+FFFD; the member cannot be asked for by that.
    pub fn members(&self) -> impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)> + use<'a> {
        self.named().map(|(name, value)| (name.text(), value))
    }

    /// [`ValueRef::members`], their names not decoded yet.
    fn named(&self) -> Members<'a> {
        let document = self.document;
        match self.at {
            At::Raw(source, at) if source.first_byte(at) == b'{' => {
                Members::Raw { document, source, keys: source.keys(at) }
            }
            At::Object(object) => Members::Edited { document, object, members: object.members.iter() },
            At::Raw(..) | At::Array(_) => Members::None,
        }
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
                    if a.named().count() != b.named().count() {
                        return false;
                    }
                    for (name, value) in a.named() {
                        let Some(other) = b.get_decoded(&name.bytes()) else { return false };
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
    pub fn strictly_equals(&self, other: &ValueRef<'_>) -> bool {
        !matches!(self.kind(), Kind::Array | Kind::Object)
            && self.kind() == other.kind()
            && match self.kind() {
                Kind::Number => self.as_f64() == other.as_f64(),
                _ => self.decoded() == other.decoded() && self.as_bool() == other.as_bool(),
            }
    }

    /// The kind, and bytes that are equal for values of it that [`ValueRef::strictly_equals`] calls equal; `None` for
    /// lists and objects.
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
