//! The ops of a daemon and their answers.

use std::sync::{Arc, atomic::AtomicBool};

use myownllm_config_model::shorten::shortened;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::ControlError;

/// The longest version or Device ID that is kept whole. A Device ID has 58 characters.
const MAX_WORD_CHARS: usize = 200;

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "DaemonStatus"))]
pub struct Status {
    /// The version of the daemon.
    pub version: String,
    /// The Device ID in display form.
    pub device_id: String,
    /// The network ids of the joined networks, in the daemon's order.
    pub joined_networks: Vec<String>,
    /// All other keys: newer daemons add some.
    pub more: Map<String, Value>,
}

impl Status {
    /// Parses the `data` of a `status` answer. An absent or null list of networks is empty. A
    /// version or a Device ID of excessive length is shortened.
    ///
    /// # Errors
    /// A value is missing or has the wrong type. An answer without a Device ID would not show whose
    /// daemon it is.
    pub fn from_data(data: Value) -> Result<Self, String> {
        let mut object = object(data)?;
        let joined_networks = match object.remove("joined_networks") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(ids)) => ids
                .into_iter()
                .map(|id| match id {
                    Value::String(id) => Ok(id),
                    _ => Err("`joined_networks` holds something that is no text".to_owned()),
                })
                .collect::<Result<_, _>>()?,
            Some(_) => return Err("`joined_networks` is no list".to_owned()),
        };
        let version = take_string(&mut object, "version")?;
        let device_id = take_string(&mut object, "device_id")?;
        if device_id.trim().is_empty() {
            return Err("`device_id` is empty".to_owned());
        }
        let short = |text: String| shortened(&text, MAX_WORD_CHARS).into_owned();
        Ok(Self { version: short(version), device_id: short(device_id), joined_networks, more: object })
    }
}

/// The answer to `config_show`: the daemon's whole config. It may hold secrets (TURN credentials).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigShown {
    /// The config.
    pub config: Value,
}

impl ConfigShown {
    /// Returns the networks of the config, in the daemon's shape.
    pub fn networks(&self) -> &[Value] {
        self.config.get("networks").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// A daemon that answers requests.
///
/// [`Client`](crate::Client) is a daemon behind a socket. A test, or an app with another connection
/// to its daemon, implements [`DaemonControl::request`] alone. The ops of this crate's own work
/// have typed methods; for any other op of the protocol, such as `roster_list`, use
/// [`DaemonControl::request`].
#[allow(unused_variables, reason = "the names of the parameters of defaults are their doc")]
pub trait DaemonControl: Send + Sync {
    /// Sends `op` with `fields` beside it, and returns the `data` of the answer.
    ///
    /// # Errors
    /// The daemon cannot be reached, does not answer, or refuses.
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError>;

    /// Called after an answer that does not belong to its request: an implementation with a
    /// connection should make a new one, because later answers may be out of step too.
    fn reset_connection(&mut self) {}

    /// Makes requests fail with [`ControlError::Cancelled`] once `cancelled` is set, for example by
    /// a signal handler. An implementation that never waits long need not do so.
    fn set_cancel_flag(&mut self, cancelled: Arc<AtomicBool>) {}

    /// Switches the reaction to the cancel flag off and on again, for requests that must not be
    /// separated. Needed only beside [`DaemonControl::set_cancel_flag`].
    fn set_interruptible(&mut self, interruptible: bool) {}

    /// Returns true if the cancel flag is set.
    fn is_cancelled(&self) -> bool {
        false
    }

    /// Returns version, Device ID and joined networks.
    ///
    /// # Errors
    /// As [`DaemonControl::request`], as for all typed ops; and [`ControlError::Protocol`] for an
    /// unexpected answer.
    fn status(&mut self) -> Result<Status, ControlError> {
        ask(self, "status", [], Status::from_data)
    }

    /// Returns the daemon's whole config.
    fn config_show(&mut self) -> Result<ConfigShown, ControlError> {
        ask(self, "config_show", [], |data| match take(data, "config")? {
            config @ Value::Object(_) => Ok(ConfigShown { config }),
            _ => Err("`config` is no object".to_owned()),
        })
    }

    /// Joins a network in the daemon's shape, and returns its summary.
    ///
    /// # Errors
    /// As [`DaemonControl::status`]; [`ControlError::Refused`] also if its config id or network id
    /// is taken.
    fn network_add(&mut self, config: &Value) -> Result<Value, ControlError> {
        ask(self, "network_add", [("config", config.clone())], |data| take(data, "added"))
    }

    /// Updates a joined network, named by its config id, and returns the answer.
    ///
    /// # Errors
    /// As [`DaemonControl::status`]; [`ControlError::UnknownOp`] from a daemon that is older than
    /// this op.
    fn network_update(&mut self, network: &str, config: &Value) -> Result<Value, ControlError> {
        ask(self, "network_update", [("network", network.into()), ("config", config.clone())], Ok)
    }

    /// Leaves a network, named by its config id or network id, and returns its config id.
    ///
    /// # Errors
    /// As [`DaemonControl::status`]; [`ControlError::Refused`] for an unknown network.
    fn network_remove(&mut self, network: &str) -> Result<String, ControlError> {
        ask(self, "network_remove", [("network", network.into())], |data| {
            string(take(data, "removed")?, "removed")
        })
    }
}

/// Runs requests that must not be separated: until `run` returns or panics, the cancel flag has no
/// effect on them. Each answer still has its deadline. `op` is the first of the requests.
///
/// # Errors
/// [`ControlError::Cancelled`] if the cancel flag is already set. Then `run` was not called.
pub fn uninterruptible<T>(
    daemon: &mut dyn DaemonControl,
    op: &str,
    run: impl FnOnce(&mut dyn DaemonControl) -> T,
) -> Result<T, ControlError> {
    struct Shield<'d>(&'d mut dyn DaemonControl);
    impl Drop for Shield<'_> {
        fn drop(&mut self) {
            self.0.set_interruptible(true);
        }
    }
    if daemon.is_cancelled() {
        return Err(ControlError::Cancelled { op: op.to_owned() });
    }
    daemon.set_interruptible(false);
    let shield = Shield(daemon);
    Ok(run(&mut *shield.0))
}

/// Sends a request and parses the answer. An answer of another shape may belong to another request,
/// so it resets the connection.
pub(crate) fn ask<D: DaemonControl + ?Sized, T>(
    daemon: &mut D,
    op: &str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
    parse: impl FnOnce(Value) -> Result<T, String>,
) -> Result<T, ControlError> {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let data = daemon.request(op, fields)?;
    parse(data).map_err(|problem| {
        daemon.reset_connection();
        ControlError::Protocol { op: op.to_owned(), problem }
    })
}

fn object(data: Value) -> Result<Map<String, Value>, String> {
    match data {
        Value::Object(object) => Ok(object),
        _ => Err("`data` is no object".to_owned()),
    }
}

pub(crate) fn take(data: Value, key: &str) -> Result<Value, String> {
    object(data)?.remove(key).ok_or_else(|| format!("`{key}` is missing"))
}

pub(crate) fn string(value: Value, key: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("`{key}` is no text")),
    }
}

fn take_string(object: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    string(object.remove(key).ok_or_else(|| format!("`{key}` is missing"))?, key)
}
