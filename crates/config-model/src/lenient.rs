//! The way between typed configs and documents of any contents.
//!
//! A member of a wrong type reads as the default of its field, an item or an entry of a wrong type
//! is skipped. The structs say so with `#[serde(default)]` alone: the first pass over a document
//! reads a stand-in for each misfit and notes its place, and the second pass skips those places.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use myownllm_json_document::masking::Secret;
use myownllm_json_document::{Kind, ValueRef};
use serde::de::value::{Error, MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

use crate::path::Path;

/// The places of the misfits as JSON Pointers, and the values that fit there.
type Misfits = HashMap<String, &'static str>;

pub(crate) fn read<T: DeserializeOwned + Default>(value: ValueRef<'_>) -> T {
    let (first, misfits) = read_noting(value);
    if misfits.is_empty() { first } else { read_without(value, &misfits, &RefCell::default()) }
}

/// Reads a `T` from a value, with a stand-in for each misfit. Returns the misfits.
pub(crate) fn read_noting<T: DeserializeOwned + Default>(value: ValueRef<'_>) -> (T, Misfits) {
    let misfits = RefCell::default();
    let first = read_without(value, &Misfits::new(), &misfits);
    (first, misfits.into_inner())
}

fn read_without<T: DeserializeOwned + Default>(
    value: ValueRef<'_>,
    skipped: &Misfits,
    misfits: &RefCell<Misfits>,
) -> T {
    T::deserialize(Reader { value, path: Path::Root, skipped, misfits }).unwrap_or_default()
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
    path: Path<'r>,
    skipped: &'r Misfits,
    misfits: &'r RefCell<Misfits>,
}

impl<'a> Reader<'a, '_> {
    fn misfit(&self, wanted: &'static str) {
        self.misfits.borrow_mut().insert(self.path.pointer(), wanted);
    }

    fn is_read(&self) -> bool {
        self.skipped.is_empty() || !self.skipped.contains_key(&self.path.pointer())
    }

    fn or_misfit<T: Default>(&self, read: Option<T>, wanted: &'static str) -> T {
        read.unwrap_or_else(|| {
            self.misfit(wanted);
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

    fn visit_members<'de, V: Visitor<'de>>(
        &self,
        members: impl Iterator<Item = (Cow<'a, str>, ValueRef<'a>)>,
        visitor: V,
    ) -> Result<V::Value, Error>
    where
        'a: 'de,
    {
        if self.value.kind() != Kind::Object {
            self.misfit("an object");
        }
        let members: Vec<_> = members.collect();
        let readers = members
            .iter()
            .map(|(key, value)| (&**key, Reader { value: *value, path: self.path.key(key), ..*self }));
        visitor.visit_map(MapDeserializer::new(readers.filter(|(_, reader)| reader.is_read())))
    }
}

impl<'de, 'a: 'de> IntoDeserializer<'de> for Reader<'a, '_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Reading never fails: every misfit has a stand-in.
impl<'de, 'a: 'de> Deserializer<'de> for Reader<'a, '_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("the structs of both configs name the types of their fields"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_bool(self.or_misfit(self.value.as_bool(), "true or false"))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        const WANTED: &str = "a whole number from 0 to 65535";
        visitor.visit_u64(self.or_misfit(self.whole(u16::MAX.into()), WANTED))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_u64(self.or_misfit(self.whole(u64::MAX), "a whole number"))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let number = self.value.as_f64().filter(|number| number.is_finite());
        visitor.visit_f64(self.or_misfit(number, "a number"))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_string(self.or_misfit(self.value.as_str().map(Cow::into_owned), "a string"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.value.kind() != Kind::Array {
            self.misfit("an array");
        }
        let items = self.value.items().enumerate();
        let readers = items.map(|(n, value)| Reader { value, path: self.path.item(n), ..self });
        visitor.visit_seq(SeqDeserializer::new(readers.filter(Reader::is_read)))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.visit_members(self.value.members(), visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let members = fields.iter().filter_map(|field| Some((Cow::Borrowed(*field), self.value.get(field)?)));
        self.visit_members(members, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u32 u128 f32 char str bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct enum identifier
    }
}
