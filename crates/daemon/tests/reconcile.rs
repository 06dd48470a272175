//! Reconcile against a model of the daemon: from every state, with every failure.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod reconcile {
    mod networks;
    mod properties;
    mod settings;
}

use myownllm_daemon::reconcile::{Plan, ReconcileInput, SavedNetwork, gather, plan};
use myownllm_daemon::{ControlError, DaemonControl, Endpoint, Role};
use serde_json::{Map, Value, json};

/// A model of a daemon's networks.
#[derive(Clone, Debug, Default)]
struct Model {
    /// The networks of its config; the flag is set for a joined network.
    networks: Vec<(Value, bool)>,
    knows_update: bool,
    /// The refusals (`Some`) of the next adds, removes and updates.
    add_says: Vec<Option<String>>,
    remove_says: Vec<Option<String>>,
    update_says: Vec<Option<String>>,
    update_lies: bool,
    /// Set if the daemon writes URLs in another form.
    rewords: bool,
    hides_config: bool,
    /// Set if the config cannot be saved: the daemon refuses a change that it has made.
    cannot_save: bool,
    asked: Vec<String>,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn take(says: &mut Vec<Option<String>>) -> Option<String> {
    if says.is_empty() { None } else { says.remove(0) }
}

impl Model {
    fn joined(&self) -> Vec<String> {
        let joined = self.networks.iter().filter(|(_, joined)| *joined);
        joined.map(|(network, _)| text(network, "network_id").to_owned()).collect()
    }

    /// Fills in the defaults, as a daemon does.
    fn filled(config: &Value) -> Value {
        let mut network = config.clone();
        network["network_id"] = text(config, "network_id").trim().to_lowercase().into();
        let members = network.as_object_mut().unwrap();
        for (key, value) in [
            ("label", json!("")),
            ("kind", json!("open")),
            ("topology", json!({"kind": "full_mesh"})),
            ("stun_servers", json!([{"urls": ["stun:default"]}])),
            ("turn_servers", json!([])),
            ("signaling", json!({})),
            ("auto_approve", json!(false)),
            ("roster_path", json!(null)),
            ("pinned_peers", json!([])),
        ] {
            members.entry(key).or_insert(value);
        }
        let signaling = members["signaling"].as_object_mut().unwrap();
        for (key, value) in [("strategy", json!("nostr")), ("servers", json!([])), ("redundancy", json!(5))] {
            signaling.entry(key).or_insert(value);
        }
        let topology = members["topology"].as_object_mut().unwrap();
        if topology["kind"] == "ring" {
            topology.entry("n_preferred").or_insert(Value::Null);
        }
        network
    }

    /// Returns the entry that this daemon keeps for a pushed network.
    fn kept(&self, config: &Value) -> Value {
        let mut network = Self::filled(config);
        if self.rewords {
            for key in ["stun_servers", "turn_servers", "signaling"] {
                reword(&mut network[key]);
            }
        }
        network
    }

    fn answer(&mut self, op: &str, fields: &Map<String, Value>) -> Result<Value, String> {
        match op {
            "status" => Ok(json!({"version": "1", "device_id": "d", "joined_networks": self.joined()})),
            "config_show" if self.hides_config => Err("not shown".to_owned()),
            "config_show" => {
                let networks: Vec<&Value> = self.networks.iter().map(|(network, _)| network).collect();
                Ok(json!({"config": {"version": 3, "networks": networks}}))
            }
            "network_add" => {
                if let Some(no) = take(&mut self.add_says) {
                    return Err(no);
                }
                let network = self.kept(&fields["config"]);
                if self.networks.iter().any(|(n, _)| n["id"] == network["id"]) {
                    return Err(format!("config id '{}' already in use", text(&network, "id")));
                }
                if self.networks.iter().any(|(n, joined)| *joined && n["network_id"] == network["network_id"])
                {
                    let id = text(&network, "network_id");
                    return Err(format!("network id '{id}' already joined under a different config"));
                }
                let added = json!({"config_id": network["id"], "network_id": network["network_id"]});
                self.networks.push((network, true));
                if self.cannot_save {
                    return Err("network joined but config.json save failed".to_owned());
                }
                Ok(json!({"added": added}))
            }
            "network_update" if !self.knows_update => {
                Err("parse: unknown variant `network_update`, expected one of `status` at line 1".to_owned())
            }
            "network_update" => {
                if let Some(no) = take(&mut self.update_says) {
                    return Err(no);
                }
                let network = self.kept(&fields["config"]);
                let held = self.networks.iter_mut().find(|(n, _)| n["id"] == network["id"]);
                let held = held.ok_or("unknown network")?;
                if !self.update_lies {
                    held.0 = network;
                }
                Ok(json!({"updated": {}}))
            }
            "network_remove" => {
                if let Some(no) = take(&mut self.remove_says) {
                    return Err(no);
                }
                let name = fields["network"].as_str().unwrap();
                let by = |key: &str| self.networks.iter().position(|(n, _)| text(n, key) == name);
                let at = by("id").or_else(|| by("network_id")).ok_or(format!("unknown network: {name}"))?;
                let (network, _) = self.networks.remove(at);
                if self.cannot_save {
                    return Err("network left but config.json save failed".to_owned());
                }
                Ok(json!({"removed": network["id"]}))
            }
            other => panic!("{other}"),
        }
    }
}

impl DaemonControl for Model {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let what = match fields.get("network").or_else(|| fields.get("config")?.get("network_id")) {
            Some(what) => format!("{op} {}", what.as_str().unwrap()),
            None => op.to_owned(),
        };
        self.asked.push(what);
        self.answer(op, &fields).map_err(|message| {
            let op = op.to_owned();
            match message.as_str() {
                "lost" => ControlError::Closed { endpoint: Endpoint::unix("/nowhere"), op },
                _ if message.starts_with(&format!("parse: unknown variant `{op}`")) => {
                    ControlError::UnknownOp { op, message }
                }
                _ => ControlError::Refused { op, message },
            }
        })
    }
}

/// Writes each URL in another form that means the same.
fn reword(value: &mut Value) {
    match value {
        Value::Object(members) => members.values_mut().for_each(reword),
        Value::Array(items) => items.iter_mut().for_each(reword),
        Value::String(url) => {
            *url = url.replace("wss://relay.example", "WSS://Relay.Example:443/");
            *url = url.replace("stun:", "STUN:").replace("turn:t", "turn:T:3478");
        }
        _ => {}
    }
}

fn pushed(id: &str, network_id: &str) -> Value {
    json!({
        "id": id,
        "network_id": network_id,
        "label": "",
        "kind": "open",
        "topology": {"kind": "ring", "n_preferred": null},
        "signaling": {"strategy": "nostr", "servers": ["wss://relay.example"]},
        "stun_servers": [{"urls": ["stun:a", "stun:b"]}],
        "turn_servers": [{"urls": ["turn:t"], "username": "u", "credential": "c"}],
        "auto_approve": false,
    })
}

fn model(networks: &[(&str, &str)]) -> Model {
    let networks =
        networks.iter().map(|(id, network_id)| (Model::filled(&pushed(id, network_id)), true)).collect();
    Model { networks, knows_update: true, ..Model::default() }
}

fn saved(id: &str, network_id: &str) -> SavedNetwork {
    SavedNetwork::new(id, network_id)
}

fn asked(model: &Model) -> Vec<&str> {
    model.asked.iter().map(String::as_str).filter(|op| op.starts_with("network_")).collect()
}

fn view_of(model: &mut Model, role: Role, active: Option<Value>, saved: Vec<SavedNetwork>) -> ReconcileInput {
    let status = model.status().unwrap();
    gather(model, status, role, active, saved).unwrap()
}

fn plan_of(model: &Model, role: Role, active: Option<Value>, saved: Vec<SavedNetwork>) -> Plan {
    plan(&view_of(&mut model.clone(), role, active, saved))
}

fn labelled(id: &str, network_id: &str) -> Value {
    let mut network = pushed(id, network_id);
    network["label"] = "Home".into();
    network
}
