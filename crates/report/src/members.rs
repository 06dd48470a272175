//! The JSON Schemas of members whose names or values the code chooses.

use myownllm_launch::LaunchStep;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value};

/// Returns the schema of the codes of a launch's steps.
pub(crate) fn launch_steps(_: &mut SchemaGenerator) -> Schema {
    let step = schemars::schema_for!(LaunchStep).to_value();
    let steps = step["oneOf"].as_array().into_iter().flatten();
    let codes: Vec<_> = steps.map(|step| &step["properties"]["step"]["const"]).collect();
    json_schema!({ "type": "array", "items": { "enum": codes } })
}

/// Returns the schema of an object whose members have these names and the type `T`.
pub(crate) fn named<T: JsonSchema>(
    generator: &mut SchemaGenerator,
    names: impl IntoIterator<Item = &'static str>,
) -> Schema {
    let member = generator.subschema_for::<T>().to_value();
    let members: Map<String, Value> =
        names.into_iter().map(|name| (name.to_owned(), member.clone())).collect();
    let required: Vec<_> = members.keys().collect();
    json_schema!({ "type": "object", "required": required, "properties": members })
}
