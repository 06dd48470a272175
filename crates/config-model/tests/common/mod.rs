//! The shared helpers of the tests of saved networks.
#![allow(unreachable_pub, reason = "a module of several test programs")]
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::{Document, SeededIds, app_config};
use serde_json::{Value, json};

pub fn ids() -> SeededIds {
    SeededIds::new(1_750_000_000_000, 5)
}

/// Returns a config with these networks, as it is after it was saved and read again.
pub fn saved(networks: Value, active: Value) -> Document {
    let mut doc = Document::of(json!({"cloud_mesh": {"networks": networks, "active_network_id": active}}));
    app_config::complete(&mut doc, "/c", &mut ids());
    Document::parse(&doc.to_bytes()).unwrap().document
}
