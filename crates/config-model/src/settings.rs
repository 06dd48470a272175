//! Single settings of the app's config, under the names that a person types: `auto_cleanup.models`,
//! or `/providers/0/name`.
//!
//! The functions expect a completed document (see [`complete`]).

use myownllm_json_document::{Document, Kind, Severity, ValueRef};
use serde_json::{Value, json};

use crate::app_config::{AppConfig, complete, defaults};
use crate::ids::SeededIds;
use crate::lenient::read_noting;
use crate::masking::mask;
use crate::path::{Path, child};
use crate::similar::closest;
use crate::{network_id, networks};

/// A setting that cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum SettingError {
    /// No setting has the name that the user typed; `close` is a setting with a close name.
    #[error("cannot find a setting {key:?} in the config")]
    #[non_exhaustive]
    Unknown { key: String, close: Option<String> },
    /// The value is of another kind than the setting's, which is `wanted`: `true or false`, `a
    /// number`, … The value is as the user typed it, and masked unless the setting is known to be
    /// harmless.
    #[error("cannot set {key} to {given:?}: the setting takes {wanted}")]
    #[non_exhaustive]
    WrongType { key: String, given: String, wanted: &'static str },
    /// A launch would not use the config as it is edited.
    #[error("cannot save the settings: a launch would not take them as they are: {why}")]
    #[non_exhaustive]
    Unusable { why: String },
}

impl SettingError {
    /// Returns `config.unknown-setting`, `config.wrong-setting` or `config.unusable-setting`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unknown { .. } => "config.unknown-setting",
            Self::WrongType { .. } => "config.wrong-setting",
            Self::Unusable { .. } => "config.unusable-setting",
        }
    }

    /// Returns a remedy for a person: a setting with a close name, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { close, .. } => close.as_ref().map(|close| format!("try {close}")),
            Self::WrongType { .. } | Self::Unusable { .. } => None,
        }
    }
}

fn path(key: &str) -> Vec<String> {
    match key.strip_prefix('/') {
        Some(pointer) => pointer.split('/').map(|name| name.replace("~1", "/").replace("~0", "~")).collect(),
        None => key.split('.').map(str::to_owned).collect(),
    }
}

fn at<'a>(doc: &'a Document, key: &str) -> Option<ValueRef<'a>> {
    let path = path(key);
    doc.get(&path.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Returns a setting.
///
/// # Errors
/// Fails for an unknown name.
pub fn get<'a>(doc: &'a Document, key: &str) -> Result<ValueRef<'a>, SettingError> {
    at(doc, key).ok_or_else(|| unknown(doc, key))
}

/// Sets a setting to a value that a person typed: JSON of the setting's kind, or the text itself
/// for a string; a network id gets its normal form. Adds a member of the schema that the document
/// lacks. Returns true if the document changed.
///
/// ```
/// use myownllm_config_model::{app_config, settings};
/// let mut doc = app_config::defaults("/c");
/// assert!(settings::set(&mut doc, "auto_cleanup.models", "false").unwrap());
/// assert!(settings::set(&mut doc, "api.bearer_token", "12345").unwrap());
/// assert!(settings::get(&doc, "api.bearer_token").unwrap().is_str("12345"));
/// assert!(settings::set(&mut doc, "auto_cleanup.models", "no").is_err());
/// ```
///
/// # Errors
/// Fails for an unknown name, and for a value of another kind.
pub fn set(doc: &mut Document, key: &str, text: &str) -> Result<bool, SettingError> {
    let names = path(key);
    let path: Vec<&str> = names.iter().map(String::as_str).collect();
    let fitting = fitting(doc, &path);
    // In an array, a new item would be a network without an id.
    let is_new = || {
        let there = (0..path.len()).rev().find_map(|count| doc.get(&path[..count]));
        there.is_some_and(|there| there.kind() == Kind::Object)
    };
    let now = match at(doc, key) {
        Some(value) => value.to_value(),
        None if fitting.is_some() && is_new() => Value::Null,
        None => return Err(unknown(doc, key)),
    };
    let default = at(&defaults(""), key).map_or(Value::Null, |value| value.to_value());
    let mut examples = fitting.unwrap_or_else(|| vec![now]);
    examples.push(default);
    let value = value_of(&examples, text).ok_or_else(|| {
        let given = if examples[0].is_boolean() { text.to_owned() } else { masked(doc, &path, text) };
        SettingError::WrongType { key: key.to_owned(), given, wanted: wanted(&examples[0]) }
    })?;
    let before = doc.clone();
    doc.set(&path, value);
    for number in (0..networks::list(doc).len()).map(|number| number.to_string()) {
        let place = ["cloud_mesh", "networks", &number, "network_id"];
        let is_typed = path.iter().zip(place).all(|(typed, step)| *typed == step);
        let id = doc.get(&place).filter(|_| is_typed).and_then(|id| id.as_str());
        if let Some(id) = id.and_then(|id| network_id::normalize(&id).ok()) {
            doc.set(&place, id);
        }
    }
    Ok(!doc.root().same_json(&before.root()))
}

/// Returns a value of each kind that the schema takes at a place; `None` if it takes any kind
/// there, as it does for a member that it does not know.
fn fitting(doc: &Document, path: &[&str]) -> Option<Vec<Value>> {
    let pointer = path.iter().fold(String::new(), |at, step| child(&at, step));
    let fits = |value: &Value| {
        let mut copy = doc.clone();
        copy.set(path, value.clone());
        !read_noting::<AppConfig>(copy.root()).1.contains_key(&pointer)
    };
    let kinds = [json!(""), json!(false), json!(0), json!([]), json!({})];
    let fitting: Vec<Value> = kinds.iter().filter(|kind| fits(kind)).cloned().collect();
    (fitting.len() < kinds.len()).then_some(fitting)
}

/// Checks an edited document, which was completed before the edit.
///
/// ```
/// use myownllm_config_model::{app_config, settings};
/// let before = app_config::defaults("/c");
/// let mut after = before.clone();
/// settings::set(&mut after, "api.port", "99999999").unwrap();
/// assert!(settings::ensure_usable(&before, &after).is_err());
/// ```
///
/// # Errors
/// Fails if the edit brought in a value that a load leaves out or replaces, that counts as its
/// default, or that no daemon takes.
pub fn ensure_usable(before: &Document, after: &Document) -> Result<(), SettingError> {
    let known = problems(before);
    match problems(after).into_iter().find(|problem| !known.contains(problem)) {
        Some(why) => Err(SettingError::Unusable { why }),
        None => Ok(()),
    }
}

fn problems(doc: &Document) -> Vec<String> {
    let mut completed = doc.clone();
    // With `/` as the default, an empty `conversation_dir` differs from its completed form.
    let found = complete(&mut completed, "/", &mut SeededIds::new(0, 0)).into_iter();
    let mut replaced = Vec::new();
    note_replaced(doc.root(), Some(completed.root()), &Path::Root, &mut replaced);
    let found = found.filter(|found| found.severity != Severity::Info).map(|found| found.message);
    let (_, misfits) = read_noting::<AppConfig>(doc.root());
    let is_null = |pointer: &str| at(doc, pointer).is_none_or(|value| value.is_null());
    let mut misfits: Vec<_> = misfits.into_iter().filter(|(pointer, _)| !is_null(pointer)).collect();
    misfits.sort();
    let misfits = misfits.into_iter().map(|(pointer, wanted)| format!("{pointer} takes {wanted}"));
    let refused = networks::list(doc).into_iter().enumerate().filter_map(|(number, network)| {
        let found = networks::for_daemon(network).err()?;
        Some(format!("/cloud_mesh/networks/{number}: {}", found.message))
    });
    let ids: Vec<_> =
        networks::saved(doc).iter().map(|saved| network_id::normal_form(&saved.network_id)).collect();
    let is_taken = |number: &usize| ids[..*number].contains(&ids[*number]);
    let taken = (0..ids.len()).filter(is_taken).map(|number| {
        format!("/cloud_mesh/networks/{number}/network_id: another network has this network id")
    });
    found.chain(replaced).chain(misfits).chain(refused).chain(taken).collect()
}

/// Notes the values of a document that its completed form does not have.
fn note_replaced(
    value: ValueRef<'_>,
    completed: Option<ValueRef<'_>>,
    at: &Path<'_>,
    replaced: &mut Vec<String>,
) {
    let kinds = completed.map(|completed| (value.kind(), completed.kind()));
    let is_kept = match (kinds, completed) {
        (Some((Kind::Object, Kind::Object)), Some(completed)) => {
            for (key, member) in value.members() {
                note_replaced(member, completed.get(&key), &at.key(&key), replaced);
            }
            true
        }
        (Some((Kind::Array, Kind::Array)), Some(completed)) => {
            for (number, (item, completed)) in value.items().zip(completed.items()).enumerate() {
                note_replaced(item, Some(completed), &at.item(number), replaced);
            }
            value.items().count() == completed.items().count()
        }
        (_, Some(completed)) => value.same_json(&completed),
        // An empty label is no label.
        (_, None) => value.is_str(""),
    };
    if !is_kept {
        replaced.push(format!("{} is replaced or left out", at.pointer()));
    }
}

/// Returns the text, masked unless the setting is known to be harmless.
fn masked(doc: &Document, path: &[&str], text: &str) -> String {
    let mut copy = doc.clone();
    copy.set(path, text);
    let shown = mask(&copy);
    shown.get(path).and_then(|value| value.as_str()).unwrap_or_default().into_owned()
}

/// Reads the text as a value of the kind of one of the examples. A setting without a value takes a
/// string.
fn value_of(examples: &[Value], text: &str) -> Option<Value> {
    let is_like = |value: &Value| {
        examples.iter().any(|example| std::mem::discriminant(example) == std::mem::discriminant(value))
    };
    let takes_text = examples.iter().any(Value::is_string) || examples.iter().all(Value::is_null);
    serde_json::from_str(text).ok().filter(is_like).or_else(|| takes_text.then(|| text.into()))
}

fn wanted(example: &Value) -> &'static str {
    match example {
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::Array(_) => "a JSON array",
        Value::Object(_) => "a JSON object",
        Value::Null | Value::String(_) => "a string",
    }
}

fn unknown(doc: &Document, key: &str) -> SettingError {
    let names = names(doc);
    let close = closest(key, names.iter().map(String::as_str)).map(str::to_owned);
    SettingError::Unknown { key: key.to_owned(), close }
}

/// Returns the names of the settings in a document: its members, and those of its sections.
pub fn names(doc: &Document) -> Vec<String> {
    let mut names = Vec::new();
    for (key, value) in doc.root().members() {
        names.extend(value.members().map(|(member, _)| format!("{key}.{member}")));
        names.push(key.into_owned());
    }
    names
}
