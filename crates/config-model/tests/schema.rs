//! The JSON Schemas of both configs.
#![cfg(feature = "schema")]

use myownllm_config_model::app_config;
use myownllm_config_model::schema::app_schema;
use serde_json::{Value, json};

fn check(schema: &Value, value: &Value, path: &str) {
    if let (Some(properties), Value::Object(value)) = (schema["properties"].as_object(), value) {
        let keys: Vec<_> = value.keys().collect();
        assert_eq!(
            properties.keys().collect::<Vec<_>>(),
            keys,
            "{path}: a fresh config has every member of the schema; an optional one is null, without `as`"
        );
        for (key, value) in value {
            check(&properties[key], value, &format!("{path}/{key}"));
            if let Some(default) = properties[key].get("default") {
                assert_eq!(default, value, "{path}/{key}");
            }
        }
    }
}

#[test]
fn app_schema_has_the_keys_and_defaults_of_a_fresh_config() {
    check(&app_schema(), &app_config::defaults("/c").root().to_value(), "");
}

#[test]
fn app_schema_has_integer_ports() {
    let schema = app_schema();
    for section in ["api", "remote_ui"] {
        let port = &schema["properties"][section]["properties"]["port"];
        assert_eq!((&port["type"], &port["maximum"]), (&"integer".into(), &65535.into()), "{section}");
    }
}

#[test]
fn required_members_have_no_default() {
    let schema = app_schema();
    let network = &schema["$defs"]["network"];
    assert_eq!(network["required"], json!(["id", "network_id"]));
    assert!(network["properties"]["id"].get("default").is_none());
    assert_eq!(network["properties"]["accepting"]["default"], "available");
    assert_eq!(schema["$defs"]["topology"]["required"], json!(["kind"]));
}
