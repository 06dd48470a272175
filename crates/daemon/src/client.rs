//! The conversation: one JSON object a line, both ways.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::{ControlError, Endpoint};

/// How long and how much we listen.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a whole answer, counted from the request; nothing that the peer sends extends it.
    pub answer: Duration,
    /// The longest line in bytes that we take.
    pub line: usize,
}

/// What `status` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its Device ID in display form.
    pub device_id: String,
    /// The network ids that it has joined, in its order.
    pub joined_networks: Vec<String>,
    /// Whatever else it said: newer daemons say more.
    pub more: Map<String, Value>,
}

/// What `identity_show` says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Identity {
    /// The Device ID in display form.
    pub device_id: String,
    /// The public key, 52 characters.
    pub pubkey: String,
    /// The user's name for this device.
    pub label: String,
}

/// One entry of `networks_list`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JoinedNetwork {
    /// The entry's id in the daemon's config.
    pub config_id: String,
    /// The network's id.
    pub network_id: String,
    /// The entry as the daemon sent it.
    pub raw: Value,
}

/// What `network_add` says.
pub type AddedNetwork = JoinedNetwork;

/// What `config_show` says: the daemon's whole config.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigShown {
    /// The config as the daemon sent it.
    pub config: Value,
}

impl ConfigShown {
    /// Its networks, daemon-shaped; empty when there are none.
    pub fn networks(&self) -> &[Value] {
        todo!()
    }
}

/// One line of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// `event_kind` of the event.
    pub kind: String,
    /// The whole event.
    pub event: Value,
}

/// A daemon that can be asked.
///
/// [`Client`] is one over a socket; a test or a sibling app brings its own by writing [`DaemonControl::request`] alone.
pub trait DaemonControl {
    /// Asks `op` with `fields` beside it and returns the `data` of the answer.
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError>;

    /// Version, Device ID, joined networks.
    fn status(&mut self) -> Result<Status, ControlError> {
        todo!()
    }
    /// The daemon's identity.
    fn identity_show(&mut self) -> Result<Identity, ControlError> {
        todo!()
    }
    /// Names this device.
    fn identity_set_label(&mut self, _label: &str) -> Result<Identity, ControlError> {
        todo!()
    }
    /// The networks that the daemon runs.
    fn networks_list(&mut self) -> Result<Vec<JoinedNetwork>, ControlError> {
        todo!()
    }
    /// The daemon's config.
    fn config_show(&mut self) -> Result<ConfigShown, ControlError> {
        todo!()
    }
    /// Joins a network, given in the daemon's shape.
    fn network_add(&mut self, _config: &Value) -> Result<AddedNetwork, ControlError> {
        todo!()
    }
    /// Changes a joined network; unknown to daemons before 0.3.
    fn network_update(&mut self, _config: &Value) -> Result<Value, ControlError> {
        todo!()
    }
    /// Leaves a network, named by its config id or network id; returns the config id that went.
    fn network_remove(&mut self, _network: &str) -> Result<String, ControlError> {
        todo!()
    }
    /// A fresh network id.
    fn network_id_generate(&mut self) -> Result<String, ControlError> {
        todo!()
    }
    /// A network id in the daemon's normal form.
    fn network_id_normalize(&mut self, _input: &str) -> Result<String, ControlError> {
        todo!()
    }
    /// The roster of a network.
    fn roster_list(&mut self, _network: &str) -> Result<Vec<Value>, ControlError> {
        todo!()
    }
    /// Approves a device.
    fn roster_approve(
        &mut self,
        _network: &str,
        _device_id: &str,
        _label: Option<&str>,
    ) -> Result<String, ControlError> {
        todo!()
    }
    /// Takes a device off a roster.
    fn roster_remove(&mut self, _network: &str, _device_id: &str) -> Result<String, ControlError> {
        todo!()
    }
    /// The governance state of a network.
    fn governance_state(&mut self, _network: &str) -> Result<Value, ControlError> {
        todo!()
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub struct Client {}

impl Client {
    /// Connects, and looks at whose process answers before a byte is sent.
    pub fn connect(_endpoint: &Endpoint, _answer_within: Duration) -> Result<Self, ControlError> {
        todo!()
    }
    /// As [`Client::connect`], with limits of one's own.
    pub fn connect_with(_endpoint: &Endpoint, _limits: Limits) -> Result<Self, ControlError> {
        todo!()
    }
    /// The process behind the socket, where the system tells.
    pub fn pid(&self) -> Option<u32> {
        todo!()
    }
    /// Turns the connection into a stream of the daemon's events.
    pub fn subscribe(self) -> Result<EventStream, ControlError> {
        todo!()
    }
}

impl DaemonControl for Client {
    fn request(&mut self, _op: &str, _fields: Map<String, Value>) -> Result<Value, ControlError> {
        todo!()
    }
}

/// The daemon's events, in order.
#[derive(Debug)]
pub struct EventStream {}

impl EventStream {
    /// The id that the daemon gave this subscription.
    pub fn client_id(&self) -> &str {
        todo!()
    }
    /// The next event; `None` when none came within `wait`.
    pub fn next_within(&mut self, _wait: Duration) -> Result<Option<Event>, ControlError> {
        todo!()
    }
}
