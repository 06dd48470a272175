//! The guarantees of a load: the rules of the app's schema, and the guarantees beyond them.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod promises {
    mod daemons_half;
    mod networks;
    mod recovery;
    mod settings;
    mod text;
}

use myownllm_config_model::{Diagnostic, Document, SeededIds};
use myownllm_salvage::normalize;
use serde_json::{Value, json};

const DIR: &str = "/home/u/.myownllm/conversations";
const STUN: [&str; 2] = ["stun:stun.l.google.com:19302", "stun:stun1.l.google.com:19302"];

fn ids() -> SeededIds {
    SeededIds::new(1_750_000_000_000, 5)
}

fn doc(text: impl AsRef<str>) -> Document {
    Document::parse(text.as_ref().as_bytes()).unwrap().document
}

fn load_text(text: &str) -> (Document, Vec<Diagnostic>) {
    let normalized = normalize(text.as_bytes(), DIR, &mut ids()).unwrap();
    let (document, diagnostics) = (normalized.document, normalized.diagnostics);
    // Every load is final, whatever it was given.
    let again = normalize(&document.to_bytes(), DIR, &mut SeededIds::new(1_760_000_000_000, 77)).unwrap();
    assert!(!again.document.is_modified(), "a second load changes {text}");
    (document, diagnostics)
}

fn load(value: Value) -> Value {
    load_text(&value.to_string()).0.root().to_value()
}

fn found(value: Value) -> Vec<(&'static str, String)> {
    load_text(&value.to_string()).1.into_iter().map(|d| (d.code, d.path)).collect()
}

/// The one network of a config after a load.
fn load_network(network: Value) -> Value {
    load(json!({"cloud_mesh": {"networks": [network]}}))["cloud_mesh"]["networks"][0].clone()
}
