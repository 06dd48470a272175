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
    use crate::daemon_config;

    #[test]
    fn daemon_schema_has_the_keys_that_the_conversion_knows() {
        let schema = daemon_schema();
        let network = schema["$defs"]["network"]["properties"].as_object().unwrap();
        assert!(daemon_config::DaemonNetwork::MEMBERS.iter().all(|key| network.contains_key(*key)));
        assert_eq!(network.len(), daemon_config::DaemonNetwork::MEMBERS.len());
        assert!(daemon_config::OWN_KEYS.iter().all(|key| schema["properties"].get(key).is_some()));
        assert_eq!(schema["properties"]["version"]["maximum"], daemon_config::NEWEST_VERSION);
    }
}
