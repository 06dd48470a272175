//! The way between typed configs and documents of any contents.
//!
//! A member of a wrong type reads as the default of its field, an item or an entry of a wrong type
//! is skipped. The structs say so with `#[serde(default)]` alone: the first pass over a document
//! reads a stand-in for each misfit and notes its place, and the second pass skips those places.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use myownllm_json_document::masking::Secret;
use myownllm_json_document::{Kind, ValueRef};
use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use crate::path::Path;

pub(crate) fn read<T: DeserializeOwned + Default>(value: ValueRef<'_>) -> T {
    let (first, misfits) = read_noting(value);
    if misfits.is_empty() { first } else { read_without(value, &misfits, &RefCell::default()) }
}

/// Reads a `T` from a value, with a stand-in for each misfit. Returns their places as JSON
/// Pointers.
pub(crate) fn read_noting<T: DeserializeOwned + Default>(value: ValueRef<'_>) -> (T, HashSet<String>) {
    let misfits = RefCell::default();
    let first = read_without(value, &HashSet::new(), &misfits);
    (first, misfits.into_inner())
}

fn read_without<T: DeserializeOwned + Default>(
    value: ValueRef<'_>,
    skipped: &HashSet<String>,
    misfits: &RefCell<HashSet<String>>,
) -> T {
    T::deserialize(Reader { value, path: &Path::Root, skipped, misfits }).unwrap_or_default()
}

/// Reads an optional string; the empty string counts as absent.
pub(crate) fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

pub(crate) fn non_empty_secret<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<Secret>::deserialize(deserializer)?.filter(|secret| !secret.expose().is_empty()))
}

/// Writes a number without a fraction as an integer, as both programs do.
pub(crate) fn whole_or_fraction<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

#[derive(Clone, Copy)]
struct Reader<'a, 'r> {
    value: ValueRef<'a>,
    path: &'r Path<'r>,
    /// JSON Pointers.
    skipped: &'r HashSet<String>,
    misfits: &'r RefCell<HashSet<String>>,
}

/// The error type that serde asks for. Reading never fails: every misfit has a stand-in.
#[derive(Debug)]
struct Never(String);

impl fmt::Display for Never {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Never {}

impl de::Error for Never {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

impl<'a, 'r> Reader<'a, 'r> {
    fn misfit(&self) {
        self.misfits.borrow_mut().insert(self.path.pointer());
    }

    fn is_skipped(&self, path: &Path<'_>) -> bool {
        !self.skipped.is_empty() && self.skipped.contains(&path.pointer())
    }

    fn or_misfit<T: Default>(&self, read: Option<T>) -> T {
        read.unwrap_or_else(|| {
            self.misfit();
            T::default()
        })
    }

    fn whole(&self, max: u64) -> Option<u64> {
        let raw = self.value.raw();
        let whole = raw.parse().ok().or_else(|| {
            // `1e3` and `80.0` are whole as well.
            let number = self.value.as_f64()?;
            (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
        });
        whole.filter(|number| *number <= max && self.value.kind() == Kind::Number)
    }

    fn members(self, members: Vec<(Cow<'a, str>, ValueRef<'a>)>) -> Members<'a, 'r> {
        Members { reader: self, members: members.into_iter(), next: None }
    }
}

impl<'de, 'a: 'de> Deserializer<'de> for Reader<'a, '_> {
    type Error = Never;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Never> {
        Err(de::Error::custom("the structs of both configs name the types of their fields"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_bool(self.or_misfit(self.value.as_bool()))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_u64(self.or_misfit(self.whole(u16::MAX.into())))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_u64(self.or_misfit(self.whole(u64::MAX)))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_f64(self.or_misfit(self.value.as_f64().filter(|number| number.is_finite())))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_string(self.or_misfit(self.value.as_str().map(Cow::into_owned)))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        if self.value.kind() != Kind::Array {
            self.misfit();
        }
        visitor.visit_seq(Items { reader: self, items: self.value.items().enumerate() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        if self.value.kind() != Kind::Object {
            self.misfit();
        }
        visitor.visit_map(self.members(self.value.members().collect()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Never> {
        if self.value.kind() != Kind::Object {
            self.misfit();
        }
        let members = fields.iter().filter_map(|field| Some((Cow::Borrowed(*field), self.value.get(field)?)));
        visitor.visit_map(self.members(members.collect()))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Never> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u32 u128 f32 char str bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum identifier
    }
}

struct Items<'a, 'r, I: Iterator<Item = (usize, ValueRef<'a>)>> {
    reader: Reader<'a, 'r>,
    items: I,
}

impl<'de, 'a: 'de, I: Iterator<Item = (usize, ValueRef<'a>)>> SeqAccess<'de> for Items<'a, '_, I> {
    type Error = Never;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Never> {
        let reader = self.reader;
        let next = self.items.find(|(n, _)| !reader.is_skipped(&reader.path.item(*n)));
        next.map(|(n, value)| seed.deserialize(Reader { value, path: &reader.path.item(n), ..reader }))
            .transpose()
    }
}

struct Members<'a, 'r> {
    reader: Reader<'a, 'r>,
    members: std::vec::IntoIter<(Cow<'a, str>, ValueRef<'a>)>,
    /// The member whose name was read last.
    next: Option<(Cow<'a, str>, ValueRef<'a>)>,
}

impl<'de, 'a: 'de> MapAccess<'de> for Members<'a, '_> {
    type Error = Never;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Never> {
        let reader = self.reader;
        self.next = self.members.find(|(key, _)| !reader.is_skipped(&reader.path.key(key)));
        let name = self.next.as_ref().map(|(key, _)| key.clone());
        name.map(|name| seed.deserialize(de::value::CowStrDeserializer::new(name))).transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Never> {
        let Some((key, value)) = self.next.take() else {
            return Err(de::Error::custom("a value without a name"));
        };
        seed.deserialize(Reader { value, path: &self.reader.path.key(&key), ..self.reader })
    }
}
