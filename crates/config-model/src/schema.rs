//! JSON Schemas (2020-12) of both configs, from the structs of the typed views.
//!
//! They describe a completed document, for editors and for people. The programs themselves accept
//! documents of any contents (see [`complete`](crate::app_config::complete)), and keep unknown
//! members.

use serde_json::Value;

use crate::app_config::AppConfig;
use crate::daemon_config::DaemonConfig;

/// Returns the schema of the app's config.
pub fn app_schema() -> Value {
    schemars::schema_for!(AppConfig).to_value()
}

/// Returns the schema of the daemon's config, versions 1 to 3.
pub fn daemon_schema() -> Value {
    schemars::schema_for!(DaemonConfig).to_value()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{app_config, daemon_config};

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
    fn daemon_schema_has_the_keys_that_the_conversion_knows() {
        let schema = daemon_schema();
        let network = schema["$defs"]["network"]["properties"].as_object().unwrap();
        assert!(daemon_config::DaemonNetwork::MEMBERS.iter().all(|key| network.contains_key(*key)));
        assert_eq!(network.len(), daemon_config::DaemonNetwork::MEMBERS.len());
        assert!(daemon_config::OWN_KEYS.iter().all(|key| schema["properties"].get(key).is_some()));
        assert_eq!(schema["properties"]["version"]["maximum"], daemon_config::NEWEST_VERSION);
    }

    #[test]
    fn required_members_have_no_default() {
        let schema = app_schema();
        let network = &schema["$defs"]["network"];
        assert_eq!(network["required"], serde_json::json!(["id", "network_id"]));
        assert!(network["properties"]["id"].get("default").is_none());
        assert_eq!(network["properties"]["accepting"]["default"], "available");
        assert_eq!(schema["$defs"]["topology"]["required"], serde_json::json!(["kind"]));
    }
}
