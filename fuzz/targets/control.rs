//! Feeds bytes to the reader of a daemon's socket, to the typed requests, and to reconcile.

use std::collections::VecDeque;

use myownllm_daemon::lines::{BadLine, Line, Lines};
use myownllm_daemon::{ControlError, DaemonControl, Role, reconcile};
use serde_json::{Map, Value, json};

/// Checks all guarantees for these bytes; panics if one does not hold. The first two bytes are the
/// limit of a line, and the size of the portions in which the others arrive.
pub fn control(data: &[u8]) {
    let [limit, portion, sent @ ..] = data else { return };
    let (limit, portion) = (usize::from(*limit) * 8, usize::from(*portion).max(1));
    let found = read(sent, limit, portion);
    assert_eq!(found, expected(sent, limit));
    for bad in found.iter().filter_map(|line| line.as_ref().err()) {
        assert!(bad.to_string().len() < 100, "an error quotes nothing: {bad}");
    }
    let answers: VecDeque<Line> = found.into_iter().flatten().collect();
    everything_can_be_asked(&answers);
    a_network_is_brought_in_line(answers);
}

fn read(sent: &[u8], limit: usize, portion: usize) -> Vec<Result<Line, BadLine>> {
    let mut lines = Lines::new(limit);
    let mut found = Vec::new();
    for portion in sent.chunks(portion) {
        lines.push(portion);
        found.extend(lines.by_ref());
        assert!(lines.begun() <= limit, "no more is kept than a line may have");
    }
    found
}

/// Returns the same result, computed in the simplest way from the whole input at once.
fn expected(sent: &[u8], limit: usize) -> Vec<Result<Line, BadLine>> {
    let mut lines: Vec<&[u8]> = sent.split(|byte| *byte == b'\n').collect();
    let rest = lines.pop().unwrap_or_default();
    let mut all: Vec<_> = lines.into_iter().filter_map(|line| meaning(line, limit)).collect();
    if rest.len() > limit {
        all.push(Err(BadLine::TooLong { limit }));
    }
    all
}

fn meaning(line: &[u8], limit: usize) -> Option<Result<Line, BadLine>> {
    if line.len() > limit {
        return Some(Err(BadLine::TooLong { limit }));
    }
    if line.trim_ascii().is_empty() {
        return None;
    }
    Some(match std::str::from_utf8(line) {
        Err(error) => Err(BadLine::NotUtf8 { at: error.valid_up_to() }),
        Ok(text) => match serde_json::from_str::<Value>(text) {
            Err(error) => Err(BadLine::NotJson {
                column: error.column(),
                what: match error.is_eof() {
                    true => "cut off",
                    false if error.to_string().contains("out of range") => "a number out of range",
                    false => "malformed",
                },
            }),
            Ok(Value::Object(said)) => match (said.get("ok"), said.get("kind")) {
                (Some(Value::Bool(true)), _) => Ok(Line::Yes(said.get("data").cloned().unwrap_or_default())),
                (Some(Value::Bool(false)), _) => {
                    let error = said.get("error").unwrap_or(&Value::Null);
                    let words = error.get("message").and_then(Value::as_str).or(error.as_str());
                    Ok(Line::No(match (error, words) {
                        (Value::Null, _) => "no reason given".to_owned(),
                        (_, Some(text)) if text.trim().is_empty() => "no reason given".to_owned(),
                        (_, Some(text)) => text.to_owned(),
                        (other, None) => other.to_string(),
                    }))
                }
                (None, Some(Value::String(_))) => Ok(Line::Push(Value::Object(said))),
                _ => Err(BadLine::NotAnAnswer),
            },
            Ok(_) => Err(BadLine::NotAnObject),
        },
    })
}

/// A daemon that answers every request with the next of the given lines; after the last one it
/// refuses every request.
struct Parrot(VecDeque<Line>);

impl DaemonControl for Parrot {
    fn request(&mut self, op: &str, _: Map<String, Value>) -> Result<Value, ControlError> {
        match self.0.pop_front() {
            Some(Line::Yes(data)) => Ok(data),
            Some(Line::No(message)) => Err(ControlError::Refused { op: op.to_owned(), message }),
            Some(Line::Push(event)) => Err(ControlError::Protocol {
                op: op.to_owned(),
                problem: format!("{} members", event.as_object().map_or(0, Map::len)),
            }),
            None => Err(ControlError::UnknownOp { op: op.to_owned(), message: "no more".to_owned() }),
        }
    }
}

/// Tries each answer as the answer to each request.
fn everything_can_be_asked(answers: &VecDeque<Line>) {
    let config = json!({ "id": "a", "network_id": "home" });
    let ask: [&dyn Fn(&mut Parrot); 5] = [
        &|daemon| drop(daemon.status()),
        &|daemon| drop(daemon.config_show().map(|shown| shown.networks().len())),
        &|daemon| drop(daemon.network_add(&config)),
        &|daemon| drop(daemon.network_update("a", &config)),
        &|daemon| drop(daemon.network_remove("a")),
    ];
    for answer in answers {
        for ask in ask {
            ask(&mut Parrot(VecDeque::from([answer.clone()])));
        }
    }
}

fn a_network_is_brought_in_line(answers: VecDeque<Line>) {
    let active = json!({ "id": "a", "network_id": "home", "label": "",
        "turn_servers": [{ "urls": ["turn:a"], "credential": "c" }] });
    let saved = reconcile::SavedNetwork::new("a", "home");
    for role in [Role::Own, Role::Shared] {
        let daemon = &mut Parrot(answers.clone());
        if let Ok((plan, outcome)) =
            reconcile::reconcile(daemon, role, Some(active.clone()), vec![saved.clone()])
        {
            assert!(outcome.steps.len() <= plan.steps.len(), "no step is taken that was not planned");
            assert!(!format!("{:?}", plan.masked()).contains("\"credential\": String(\"c\")"));
        }
    }
}
