//! JSON Schemas of both configs.

/// The app's config.
pub fn app_schema() -> serde_json::Value {
    todo!()
}

/// The daemon's config, versions 1 to 3.
pub fn daemon_schema() -> serde_json::Value {
    todo!()
}
