//! Recorded inputs and their results: loads, repairs, conversions, envelopes, operations on the
//! saved networks, and the networks that a reconcile pushed.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use myownllm_config_model::envelope::Envelope;
use myownllm_config_model::{Document, SeededIds, app_config, convert, networks};
use serde_json::Value;

const DIR: &str = "/home/u/.myownllm/conversations";

fn recorded() -> impl Iterator<Item = Value> {
    include_str!("data/recorded.jsonl").lines().map(|line| serde_json::from_str(line).unwrap())
}

/// The input as it was recorded, key order and all (which serde_json's maps do not keep).
fn input_of(vector: &Value) -> Vec<u8> {
    let input = &vector["input"];
    let line = include_str!("data/recorded.jsonl")
        .lines()
        .find(|line| line.starts_with(&format!("{{\"id\":{}", vector["id"])))
        .unwrap();
    let line = Document::parse(line.as_bytes()).unwrap().document;
    if let Some(text) = input["text"].as_str() {
        return text.as_bytes().to_vec();
    }
    if let Some(bytes) = input["bytes_b64"].as_str() {
        return from_base64(bytes);
    }
    let value = line.get(&["input", "net"]).or_else(|| line.get(&["input", "raw"]));
    // A missing file.
    value.map(|v| v.raw().into_owned()).unwrap_or_default().into_bytes()
}

fn from_base64(text: &str) -> Vec<u8> {
    let digit = |c: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|&d| d == c)
    };
    let digits: Vec<usize> = text.bytes().filter_map(digit).collect();
    let mut bytes = Vec::new();
    for four in digits.chunks(4) {
        let bits = four.iter().enumerate().fold(0, |n, (i, d)| n | d << (18 - 6 * i));
        bytes.extend((0..four.len() - 1).map(|i| (bits >> (16 - 8 * i)) as u8));
    }
    bytes
}

/// Returns the first difference of two values. Compares numbers as f64; `@generated-id` stands for
/// any string, `@now` for any number.
fn difference(want: &Value, got: &Value, path: &str) -> Option<String> {
    let no = || Some(format!("at {path}: wanted {want}, got {got}"));
    match (want, got) {
        (Value::String(w), Value::String(g)) if w == "@generated-id" => g.is_empty().then(no).flatten(),
        (Value::String(w), Value::Number(_)) if w == "@now" => None,
        (Value::Number(w), Value::Number(g)) => (w.as_f64() != g.as_f64()).then(no).flatten(),
        (Value::Array(w), Value::Array(g)) if w.len() == g.len() => {
            w.iter().zip(g).enumerate().find_map(|(n, (w, g))| difference(w, g, &format!("{path}/{n}")))
        }
        (Value::Object(w), Value::Object(g)) => {
            if let Some(key) = g.keys().find(|key| !w.contains_key(*key)) {
                return Some(format!("at {path}: {key} should not be there"));
            }
            w.iter().find_map(|(key, w)| match g.get(key) {
                Some(g) => difference(w, g, &format!("{path}/{key}")),
                None => Some(format!("at {path}: {key} is missing")),
            })
        }
        _ if want == got => None,
        _ => no(),
    }
}

fn filtered(vector: &Value) -> Result<Document, String> {
    let bytes = input_of(vector);
    let mut ids = SeededIds::new(1_750_000_000_000, 42);
    let parse = |bytes: &[u8]| Document::parse(bytes).map(|p| p.document).map_err(|e| e.to_string());
    match vector["op"].as_str().unwrap() {
        "load" => {
            myownllm_salvage::normalize(&bytes, DIR, &mut ids).map(|n| n.document).map_err(|e| e.to_string())
        }
        "salvage" => {
            myownllm_salvage::salvage_bytes(&bytes, &mut ids).map(|s| s.app).map_err(|e| e.to_string())
        }
        "to_daemon" => convert::to_daemon_document(parse(&bytes)?.root()).map_err(|e| e.to_string()),
        "export" => {
            let envelope = Envelope::of_network(parse(&bytes)?.root()).map_err(|e| e.to_string())?;
            Ok(envelope.to_document(true))
        }
        "import" => Envelope::parse(&bytes).map(|e| e.to_document(true)).map_err(|e| e.to_string()),
        other => Err(format!("no filter does {other}")),
    }
}

#[test]
fn the_filters_answer_as_recorded() {
    let mut run = 0;
    for vector in recorded().filter(|v| !v["contract"].is_null() && v["input"]["missing"].is_null()) {
        let id = vector["id"].as_str().unwrap();
        let got = filtered(&vector);
        if vector["contract"]["refuses"] == true {
            assert!(got.is_err(), "{id} should be refused");
        } else {
            let got = got.unwrap_or_else(|e| panic!("{id}: {e}"));
            // Compares the printed text, not the document in memory.
            let printed: Value = serde_json::from_str(&got.to_text()).unwrap();
            if let Some(difference) = difference(&vector["contract"], &printed, "") {
                panic!("{id} {}: {difference}", vector["category"]);
            }
        }
        run += 1;
    }
    assert_eq!(run, 379);
}

#[test]
fn a_missing_file_is_the_defaults() {
    for vector in recorded().filter(|v| v["input"]["missing"] == true) {
        let fresh = app_config::defaults(DIR);
        assert_eq!(difference(&vector["contract"], &fresh.root().to_value(), ""), None);
    }
}

#[test]
fn loaded_config_is_complete_and_needs_no_salvage() {
    for vector in recorded().filter(|v| v["op"] == "load" || v["op"] == "salvage") {
        let mut ids = SeededIds::new(1_750_000_000_000, 1);
        let Ok(first) = myownllm_salvage::normalize(&input_of(&vector), DIR, &mut ids) else { continue };
        let bytes = first.document.to_bytes();
        // An hour later, with other ids.
        let again =
            myownllm_salvage::normalize(&bytes, "/elsewhere", &mut SeededIds::new(1_750_003_600_000, 9))
                .unwrap();
        assert!(!again.document.is_modified(), "{}", vector["id"]);
        assert_eq!(again.document.to_bytes(), bytes, "{}", vector["id"]);
    }
}

#[test]
fn recovery_alone_and_then_the_rest_is_the_same_as_all_at_once() {
    for vector in recorded().filter(|v| v["op"] == "load" || v["op"] == "salvage") {
        let bytes = input_of(&vector);
        let ids = || SeededIds::new(1_750_000_000_000, 3);
        let Ok(at_once) = myownllm_salvage::normalize(&bytes, DIR, &mut ids()) else { continue };
        let mut one = ids();
        let half = myownllm_salvage::salvage_bytes(&bytes, &mut one).unwrap().app.to_bytes();
        let in_steps = myownllm_salvage::normalize(&half, DIR, &mut one).unwrap();
        assert_eq!(
            at_once.document.root().to_value(),
            in_steps.document.root().to_value(),
            "{}",
            vector["id"]
        );
    }
}

#[test]
fn catalogue_operations_do_as_recorded() {
    let (mut run, mut doubled) = (0, 0);
    for vector in recorded().filter(|v| v["op"] == "network_ops") {
        let id = &vector["id"];
        let mut ids = SeededIds::new(1_750_000_000_000, 7);
        let mut doc = Document::parse(&input_of(&vector)).unwrap().document;
        let found = app_config::complete(&mut doc, DIR, &mut ids);
        if found.iter().any(|d| d.code == "network.duplicate-id") {
            // Recorded with both entries under one id, which we tell apart.
            doubled += 1;
            continue;
        }
        for (step, expected) in vector["input"]["steps"]
            .as_array()
            .unwrap()
            .iter()
            .zip(vector["expected"]["steps"].as_array().unwrap())
        {
            let text = |key: &str| step[key].as_str();
            let name = text("id").or(text("id_of")).or(text("network_id"));
            let activate = step["activate"] == true;
            let result = match text("op").unwrap() {
                "add" => networks::add(&mut doc, name.unwrap(), activate, &mut ids),
                "remove" => Ok(networks::remove(&mut doc, name.unwrap())),
                "set_active" => networks::activate(&mut doc, name),
                "update" => networks::update(&mut doc, name.unwrap(), step["patch"].as_object().unwrap()),
                "import_text" => match Envelope::parse(text("text").unwrap().as_bytes()) {
                    Ok(envelope) => networks::import(&mut doc, &envelope, activate, &mut ids),
                    Err(_) => {
                        assert!(expected["created"].is_null(), "{id}");
                        continue;
                    }
                },
                "export" => {
                    let envelope = networks::export(&doc, name.unwrap()).unwrap();
                    assert_eq!(difference(&expected["envelope"], &envelope.to_value(true), ""), None, "{id}");
                    continue;
                }
                other => panic!("{id}: {other}"),
            };
            assert_eq!(result.is_ok(), expected["ok"] == true, "{id} {step}: {result:?}");
            if let (Err(error), Some(theirs)) = (&result, expected["throws"].as_str()) {
                let theirs = theirs.trim_start_matches("Error: ");
                assert!(error.to_string().contains(theirs), "{id}: {error} / {theirs}");
            }
            if let (Ok(change), Some(created)) = (&result, expected["created"].as_bool()) {
                assert_eq!(change.created, created, "{id} {step}");
            }
        }
        if let Some(difference) = difference(&vector["expected"]["file"], &doc.root().to_value(), "") {
            panic!("{id}: {difference}");
        }
        let active = networks::active(&doc).and_then(|a| a.get("network_id")).map(|n| n.to_value());
        assert_eq!(active.unwrap_or_default(), vector["expected"]["active"], "{id}");
        run += 1;
    }
    assert_eq!((run, doubled), (27, 1));
}

#[test]
fn reconcile_sends_the_active_network_in_the_daemons_shape() {
    let mut pushed = 0;
    for vector in recorded().filter(|v| v["op"] == "reconcile") {
        let mut doc = Document::parse(&input_of(&vector)).unwrap().document;
        app_config::complete(&mut doc, DIR, &mut SeededIds::new(1_750_000_000_000, 7));
        let active = networks::active(&doc);
        let returned = active.map(|a| a.to_value()).unwrap_or_default();
        assert_eq!(difference(&vector["expected"]["returns"], &returned, ""), None, "{}", vector["id"]);
        for call in vector["expected"]["calls"].as_array().into_iter().flatten() {
            if call["cmd"] == "mesh_daemon_network_add" {
                let ours = convert::to_daemon(active.unwrap()).unwrap();
                assert_eq!(difference(&call["args"]["config"], &ours, ""), None, "{}", vector["id"]);
                pushed += 1;
            }
        }
    }
    assert!(pushed > 3);
}
