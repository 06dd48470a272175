//! Adjustments of the schemas that schemars derives.

use schemars::Schema;
use serde_json::Value;

/// Removes the default of a member whose default depends on the environment or on other members.
pub(crate) fn without_default(schema: &mut Schema) {
    schema.remove("default");
}

/// Removes the defaults of required members: they stand for a wrong type, not for a missing member.
pub(crate) fn without_required_defaults(schema: &mut Schema) {
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    for name in required.iter().filter_map(Value::as_str) {
        if let Some(member) = schema.get_mut("properties").and_then(|p| p[name].as_object_mut()) {
            member.remove("default");
        }
    }
}
