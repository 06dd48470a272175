//! The JSON Schemas (2020-12) of the documents, from their types.

use std::collections::BTreeMap;

use myownllm_config_store::Accepted;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema, transform};
use serde_json::{Map, Value, json};

use crate::doctor::Checklist;
use crate::documents::{
    ConfigChecked, ConfigSchema, ConfigShown, Differences, Envelope, Filtered, ManualPage, NetworkEnvelope,
    NetworkShown, ProgramText, Restarted, Script, Setting, StoppedDaemons,
};
use crate::edits::{NetworkChange, Networks, SettingsChange};
use crate::history::{History, RestoredConfig};
use crate::identity::IdentityFiles;
use crate::launches::Launch;
use crate::logs::{DaemonLog, DaemonState, Runs};
use crate::moves::{MadeMove, PlannedMove};
use crate::paths::{NamedPath, Paths};
use crate::salvage::RepairedConfig;
use crate::status::Status;
use crate::support_report::Bundle;
use crate::verdict::Verdict;

/// The file of the envelope, to which the other files refer.
const ENVELOPE: &str = "envelope.schema.json";

/// Marks a member that is absent or null.
const NULLABLE: &str = "nullable";

/// Returns the schema of a type.
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The commands, each with the types of its data.
const COMMANDS: &[(&str, &[SchemaOf])] = &[
    ("completions", &[of::<Script<'_>>]),
    ("config-accept", &[of::<Accepted>]),
    ("config-check", &[of::<ConfigChecked<'_>>]),
    ("config-diff", &[of::<Differences>]),
    ("config-get", &[of::<Setting<'_>>]),
    ("config-history", &[of::<History<'_>>]),
    ("config-normalize", &[of::<Filtered>]),
    ("config-restore", &[of::<RestoredConfig<'_>>]),
    ("config-schema", &[of::<ConfigSchema>]),
    ("config-set", &[of::<SettingsChange<'_>>]),
    ("config-show", &[of::<ConfigShown>]),
    ("daemon-logs", &[of::<DaemonLog>]),
    ("daemon-restart", &[of::<Restarted>]),
    ("daemon-status", &[of::<DaemonState>]),
    ("daemon-stop", &[of::<StoppedDaemons>]),
    ("doctor", &[of::<Checklist<'_>>]),
    ("help", &[of::<ProgramText<'_>>]),
    ("identity", &[of::<IdentityFiles<'_>>]),
    ("launch", &[of::<Launch<'_>>]),
    ("logs", &[of::<Runs<'_>>, of::<DaemonLog>]),
    ("man", &[of::<ManualPage<'_>>]),
    ("migrate", &[of::<MadeMove<'_>>, of::<PlannedMove<'_>>]),
    ("network-add", &[of::<NetworkChange<'_>>]),
    ("network-export", &[of::<NetworkEnvelope>]),
    ("network-from-envelope", &[of::<NetworkEnvelope>]),
    ("network-import", &[of::<NetworkChange<'_>>]),
    ("network-list", &[of::<Networks<'_>>]),
    ("network-remove", &[of::<NetworkChange<'_>>]),
    ("network-show", &[of::<NetworkShown>]),
    ("network-to-daemon", &[of::<Filtered>]),
    ("network-to-envelope", &[of::<NetworkEnvelope>]),
    ("network-use", &[of::<NetworkChange<'_>>]),
    ("paths", &[of::<Paths>, of::<NamedPath<'_>>]),
    ("repair", &[of::<Launch<'_>>]),
    ("report", &[of::<Bundle<'_>>]),
    ("salvage", &[of::<RepairedConfig<'_>>, of::<Filtered>]),
    ("status", &[of::<Status<'_>>]),
    ("usage", &[]),
    ("verdict", &[of::<Verdict<'_>>]),
    ("version", &[of::<ProgramText<'_>>]),
];

fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// Returns the schema of each command's document and of the envelope, by file name.
pub fn schemas() -> BTreeMap<String, Value> {
    let envelope = generator().into_root_schema_for::<Envelope<'_>>();
    let mut envelope = envelope.to_value();
    envelope["$id"] = json!(ENVELOPE);
    let commands = COMMANDS.iter().map(|(name, types)| (format!("{name}.schema.json"), command(name, types)));
    commands.chain([(ENVELOPE.to_owned(), envelope)]).collect()
}

fn generator() -> SchemaGenerator {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    settings.with_transform(transform::RecursiveTransform(open)).into_generator()
}

/// Returns the schema of a command's document: the envelope, with data of one of these types.
fn command(name: &str, types: &[SchemaOf]) -> Value {
    let mut generator = generator();
    let none = json_schema!({
        "description": "The command failed before it had an answer.",
        "type": "object",
        "maxProperties": 0
    });
    let data: Vec<Schema> = [none].into_iter().chain(types.iter().map(|of| of(&mut generator))).collect();
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("{name}.schema.json"),
        "title": format!("{name} --json"),
        "allOf": [{ "$ref": ENVELOPE }],
        "properties": {
            "schema": { "const": format!("myownllm-mesh.{name}/1") },
            "data": { "anyOf": data },
        },
        "$defs": generator.take_definitions(true),
    })
}

/// Leaves objects open, as a later version may add members. The tag of a variant stands beside the
/// schema of the variant's content, so both go on as parts of one object. A member that may be
/// absent is never null. The line breaks of a comment are none of a description.
fn open(schema: &mut Schema) {
    if schema.get("additionalProperties").is_some_and(Value::is_boolean) {
        schema.remove("additionalProperties");
    }
    if schema.get("properties").is_some()
        && let Some(variants) = schema.remove("oneOf")
    {
        schema.insert("allOf".to_owned(), json!([{ "oneOf": variants }]));
    }
    if let Some(Value::String(text)) = schema.get_mut("description") {
        let paragraphs = text.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *text = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let members = schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (_, member) in members.filter(|(name, _)| !required.contains(&json!(name))) {
        if let Some(member) = member.as_object_mut() {
            without_null(member);
        }
    }
}

/// Takes null out of the kinds of a member that is absent instead, unless it is marked
/// [`NULLABLE`].
fn without_null(member: &mut Map<String, Value>) {
    if member.remove(NULLABLE).is_some() {
        return;
    }
    if let Some(Value::Array(kinds)) = member.get_mut("type") {
        kinds.retain(|kind| kind != "null");
    }
    if let Some(Value::Array(kinds)) = member.get_mut("anyOf") {
        kinds.retain(|kind| kind["type"] != "null");
    }
}
