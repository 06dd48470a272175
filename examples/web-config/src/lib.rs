//! The app's config for a web front end: `config.json` read, repaired and edited by the crates
//! `myownllm-salvage` and `myownllm-config-model`, as WebAssembly.
//!
//! Every function takes the content of the file as a string or as bytes, and returns a plain object
//! (`types.d.ts`). None touches a file: reading and writing stay with the caller.

use js_sys::{Date, Error, JSON, Math, Reflect, Uint8Array};
use myownllm_config_model::envelope::{Envelope, EnvelopeError};
use myownllm_config_model::networks::{self, Change, NetworksError};
use myownllm_config_model::{Document, Ids as _, Kind, ParseError, SeededIds, app_config, convert};
use serde_json::{Map, Value, json};
use wasm_bindgen::prelude::*;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = include_str!("types.d.ts");

#[wasm_bindgen]
extern "C" {
    /// The content of a file.
    #[wasm_bindgen(typescript_type = "string | Uint8Array")]
    pub type Input;
    #[wasm_bindgen(typescript_type = "Normalized")]
    pub type Normalized;
    #[wasm_bindgen(typescript_type = "Salvaged")]
    pub type Salvaged;
    #[wasm_bindgen(typescript_type = "Checked")]
    pub type Checked;
    #[wasm_bindgen(typescript_type = "Edited")]
    pub type Edited;
}

type Fallible<T> = Result<T, Error>;

/// Parses, repairs and completes a config, as the app's start does.
///
/// Throws for a text that is no JSON object, and resets nothing.
#[wasm_bindgen]
pub fn normalize(input: &Input, conversation_dir: &str) -> Fallible<Normalized> {
    let loaded = myownllm_salvage::normalize(&bytes(input), conversation_dir, &mut ids()).map_err(parse)?;
    plain(json!({
        "text": loaded.document.to_text(), "changed": loaded.document.is_modified(), "report": loaded.report,
        "diagnostics": loaded.diagnostics,
    }))
}

/// Returns the config of a fresh install.
#[wasm_bindgen]
pub fn defaults(conversation_dir: &str) -> String {
    app_config::defaults(conversation_dir).to_text()
}

/// Separates a config that a daemon overwrote into the app's half and the daemon's, without
/// completing the app's. `backup` is the newest good copy of the app's config, if there is one.
#[wasm_bindgen]
pub fn salvage(input: &Input, backup: Option<Input>) -> Fallible<Salvaged> {
    let backup = backup.map(|backup| document(&backup)).transpose()?;
    let parsed = Document::parse(&bytes(input)).map_err(parse)?;
    let salvaged = myownllm_salvage::salvage(&parsed.document, backup.as_ref(), &mut ids());
    let diagnostics = [parsed.diagnostics, salvaged.diagnostics].concat();
    plain(json!({
        "app": salvaged.app.to_text(), "daemon": salvaged.daemon.map(|half| half.to_text()),
        "report": salvaged.report, "diagnostics": diagnostics,
    }))
}

/// Returns what a load would find and change. A text that is no JSON object is a diagnostic too.
#[wasm_bindgen]
pub fn check(input: &Input) -> Fallible<Checked> {
    let (changed, diagnostics) = match myownllm_salvage::normalize(&bytes(input), "", &mut ids()) {
        Ok(loaded) => (loaded.document.is_modified(), json!(loaded.diagnostics)),
        Err(error) => {
            let place = json!({ "line": error.line, "column": error.column, "offset": error.offset });
            let found = json!([{
                "code": error.code(), "severity": "problem", "message": error.to_string(),
                "path": error.path, "hint": error.hint(), "place": place,
            }]);
            return plain(json!({ "ok": false, "changed": false, "diagnostics": found }));
        }
    };
    plain(json!({ "ok": true, "changed": changed, "diagnostics": diagnostics }))
}

/// Applies the difference of two configs (JSON objects) to the content of the file, which may have
/// changed since `before` was read. What does not differ keeps its bytes, so numbers that
/// JavaScript cannot hold stay as they are.
#[wasm_bindgen(js_name = applyChanges)]
pub fn apply_changes(input: &Input, before: &str, after: &str) -> Fallible<Edited> {
    let mut doc = document(input)?;
    apply(&mut doc, &[], &members(before)?, &members(after)?);
    edited(&doc, Change::default())
}

/// Appends a network, unless it is saved already.
#[wasm_bindgen(js_name = addNetwork)]
pub fn add_network(input: &Input, network_id: &str, activate: bool) -> Fallible<Edited> {
    edit(input, |doc| networks::add(doc, network_id, activate, &mut ids()))
}

/// Sets members (a JSON object) of the network with this internal id, or network id.
#[wasm_bindgen(js_name = updateNetwork)]
pub fn update_network(input: &Input, name: &str, patch: &str) -> Fallible<Edited> {
    let patch = members(patch)?;
    edit(input, |doc| networks::update(doc, name, &patch))
}

/// Removes a network; without one of that name, changes nothing.
#[wasm_bindgen(js_name = removeNetwork)]
pub fn remove_network(input: &Input, name: &str) -> Fallible<Edited> {
    edit(input, |doc| networks::remove(doc, name))
}

/// Makes a network the active one; without a name, makes none active.
#[wasm_bindgen(js_name = setActiveNetwork)]
pub fn set_active_network(input: &Input, name: Option<String>) -> Fallible<Edited> {
    edit(input, |doc| networks::activate(doc, name.as_deref()))
}

/// Adds or updates the network of a settings envelope.
#[wasm_bindgen(js_name = importNetwork)]
pub fn import_network(input: &Input, envelope: &Input, activate: bool) -> Fallible<Edited> {
    let envelope = Envelope::parse(&bytes(envelope)).map_err(|error| of_envelope(&error))?;
    edit(input, |doc| networks::import(doc, &envelope, activate, &mut ids()))
}

/// Returns the settings envelope of a saved network.
#[wasm_bindgen(js_name = exportNetwork)]
pub fn export_network(input: &Input, name: &str, with_secrets: bool) -> Fallible<String> {
    let envelope = networks::export(&document(input)?, name).map_err(|error| of_networks(&error))?;
    Ok(envelope.to_document(with_secrets).to_text())
}

/// Returns the active network, or nothing.
#[wasm_bindgen(js_name = activeNetwork)]
pub fn active_network(input: &Input) -> Fallible<Option<String>> {
    Ok(networks::active(&document(input)?).map(|network| network.raw().into_owned()))
}

/// Returns a network of the app in the daemon's shape.
#[wasm_bindgen(js_name = toDaemon)]
pub fn to_daemon(network: &Input) -> Fallible<String> {
    let converted = convert::to_daemon_document(document(network)?.root());
    converted.map(|network| network.to_text()).map_err(|error| thrown(&error, error.code(), error.hint()))
}

/// Returns the settings envelope of a network of the app.
#[wasm_bindgen(js_name = toEnvelope)]
pub fn to_envelope(network: &Input, with_secrets: bool) -> Fallible<String> {
    let envelope = Envelope::of_network(document(network)?.root()).map_err(|error| of_envelope(&error))?;
    Ok(envelope.to_document(with_secrets).to_text())
}

/// Checks a settings envelope, and returns it in its normal form.
#[wasm_bindgen(js_name = parseEnvelope)]
pub fn parse_envelope(envelope: &Input) -> Fallible<String> {
    let envelope = Envelope::parse(&bytes(envelope)).map_err(|error| of_envelope(&error))?;
    Ok(envelope.to_document(true).to_text())
}

/// Returns a new internal id of a network.
#[wasm_bindgen(js_name = newNetworkInternalId)]
pub fn new_network_internal_id() -> String {
    ids().network_id()
}

fn bytes(input: &Input) -> Vec<u8> {
    input.as_string().map_or_else(|| Uint8Array::new(input).to_vec(), String::into_bytes)
}

fn document(input: &Input) -> Fallible<Document> {
    Ok(Document::parse(&bytes(input)).map_err(parse)?.document)
}

/// The present, and a seed that no other call has.
fn ids() -> SeededIds {
    SeededIds::new(Date::now() as u64, (Math::random() * (1u64 << 53) as f64) as u64)
}

fn edit(
    input: &Input,
    operation: impl FnOnce(&mut Document) -> Result<Change, NetworksError>,
) -> Fallible<Edited> {
    let mut doc = document(input)?;
    let change = operation(&mut doc).map_err(|error| of_networks(&error))?;
    edited(&doc, change)
}

fn edited(doc: &Document, change: Change) -> Fallible<Edited> {
    plain(json!({
        "text": doc.to_text(), "changed": doc.is_modified(), "created": change.created, "id": change.id,
        "network_id": change.network_id,
    }))
}

/// Sets and removes the members in which two objects differ.
fn apply(doc: &mut Document, path: &[&str], before: &Map<String, Value>, after: &Map<String, Value>) {
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        doc.remove(&[path, &[key]].concat());
    }
    for (key, new) in after {
        let path = [path, &[key]].concat();
        let is_object = doc.get(&path).is_some_and(|there| there.kind() == Kind::Object);
        match (before.get(key), new) {
            (Some(old), new) if old == new => {}
            (Some(Value::Object(old)), Value::Object(new)) if is_object => apply(doc, &path, old, new),
            _ => {
                doc.set(&path, new.clone());
            }
        }
    }
}

/// Returns the members of a text that holds one JSON object.
fn members(text: &str) -> Fallible<Map<String, Value>> {
    let parsed = Document::parse(text.as_bytes()).map_err(parse)?.document;
    Ok(parsed.root().members().map(|(key, value)| (key.into_owned(), value.to_value())).collect())
}

/// Returns a value as a plain object of JavaScript.
fn plain<T: JsCast>(value: Value) -> Fallible<T> {
    JSON::parse(&value.to_string()).map(JsCast::unchecked_into).map_err(JsCast::unchecked_into)
}

fn parse(error: ParseError) -> Error {
    let thrown = thrown(&error, error.code(), error.hint());
    member(&thrown, "line", error.line as f64);
    member(&thrown, "column", error.column as f64);
    thrown
}

fn of_networks(error: &NetworksError) -> Error {
    thrown(error, error.code(), error.hint())
}

fn of_envelope(error: &EnvelopeError) -> Error {
    thrown(error, error.code(), error.hint())
}

/// Returns an error with its causes in one sentence.
fn thrown(error: &dyn std::error::Error, code: &str, hint: Option<String>) -> Error {
    let mut message = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        message = format!("{message}: {cause}");
        source = cause.source();
    }
    let thrown = Error::new(&message);
    member(&thrown, "code", code);
    if let Some(hint) = hint {
        member(&thrown, "hint", hint);
    }
    thrown
}

fn member(error: &Error, name: &str, value: impl Into<JsValue>) {
    // A new error takes every member.
    let _ = Reflect::set(error, &name.into(), &value.into());
}
