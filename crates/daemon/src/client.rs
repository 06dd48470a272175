//! The conversation: one JSON object a line, both ways.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use myownllm_config_model::{masking, shorten::shortened};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{
    ControlError, Endpoint,
    connection::{Connection, ReceiveError},
    lines::Line,
    transport::{self, ConnectError, deadline_after},
};

/// How long and how much we listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For a whole answer, counted from the request; nothing that the peer sends extends it.
    pub answer_timeout: Duration,
    /// The longest line in bytes that we take.
    pub max_line_len: usize,
}

impl Default for Limits {
    /// 5 s (a real daemon answers `status` within 1.3 ms, but an add waits for its disk), and 16 MiB: a roster of a
    /// hundred thousand devices.
    fn default() -> Self {
        Self { answer_timeout: Duration::from_secs(5), max_line_len: 16 * 1024 * 1024 }
    }
}

/// How many characters are kept of a version or a Device ID, which has 58.
const MAX_WORD_CHARS: usize = 200;
/// How many characters are kept of the words in which a daemon refuses something.
pub(crate) const MAX_ANSWER_CHARS: usize = 500;

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

impl Status {
    /// Reads the `data` of a `status` answer. An absent or null list of networks is an empty one; keys that we do not
    /// know are kept in [`Status::more`]. Of a version, or a Device ID, that is longer than any, a part is kept. A Device ID has to be there: it says whose daemon it is.
    ///
    /// # Errors
    /// What is missing or of the wrong type, in words.
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
        let version = take_text(&mut object, "version")?;
        let device_id = take_text(&mut object, "device_id")?;
        if device_id.trim().is_empty() {
            return Err("`device_id` is empty".to_owned());
        }
        let short = |text: String| shortened(&text, MAX_WORD_CHARS).into_owned();
        Ok(Self { version: short(version), device_id: short(device_id), joined_networks, more: object })
    }
}

/// What `identity_show` says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Identity {
    /// The Device ID in display form.
    pub device_id: String,
    /// The public key, 52 characters.
    pub pubkey: String,
    /// The user's name for this device.
    pub label: String,
}

impl Identity {
    fn from_data(data: Value) -> Result<Self, String> {
        let mut object = object(data)?;
        Ok(Self {
            device_id: take_text(&mut object, "device_id")?,
            pubkey: take_text(&mut object, "pubkey")?,
            label: take_text(&mut object, "label").unwrap_or_default(),
        })
    }
}

/// One entry of `networks_list`, or what `network_add` says that it added.
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

impl JoinedNetwork {
    fn from_entry(entry: Value) -> Result<Self, String> {
        let text = |key: &str| match entry.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            _ => Err(format!("`{key}` is missing or no text")),
        };
        Ok(Self { config_id: text("config_id")?, network_id: text("network_id")?, raw: entry })
    }
}

/// What `config_show` says: the daemon's whole config. It may hold secrets (TURN credentials).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigShown {
    /// The config as the daemon sent it.
    pub config: Value,
}

impl ConfigShown {
    /// Its networks, daemon-shaped; empty when there are none.
    pub fn networks(&self) -> &[Value] {
        self.config.get("networks").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }
}

/// One line of the event stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// `event_kind` of the event; empty when it has none.
    pub kind: String,
    /// The whole event.
    pub event: Value,
}

/// A daemon that can be asked.
///
/// [`Client`] is one over a socket. A test, or a sibling app with another way to its daemon, brings its own by writing
/// [`DaemonControl::request`] alone; the typed ops are built on it.
pub trait DaemonControl {
    /// Asks `op` with `fields` beside it and returns the `data` of the answer.
    ///
    /// # Errors
    /// [`ControlError`]: the daemon cannot be reached, does not answer, or says no.
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError>;

    /// Called when an answer was none to what was asked: answers may be out of step from here on, so an implementation
    /// that keeps a connection should begin a new one. Does nothing by default.
    fn reset_connection(&mut self) {}

    /// Requests end early, with [`ControlError::Cancelled`], once this is set: by a signal handler, say. An implementation
    /// that never waits long need not care, and by default none does.
    fn set_cancel_flag(&mut self, cancelled: Arc<AtomicBool>) {
        let _ = cancelled;
    }

    /// What is asked from here until [`DaemonControl::end_whole`] belongs together and is not broken off: half of it would be
    /// worse than none. Each answer has its deadline all the same. `op` is the first that will be asked. Whoever brings no
    /// [`DaemonControl::set_cancel_flag`] need not bring this.
    ///
    /// # Errors
    /// [`ControlError::Cancelled`]: it is wanted no more, so nothing of it is to be begun.
    fn begin_whole(&mut self, op: &str) -> Result<(), ControlError> {
        let _ = op;
        Ok(())
    }

    /// Ends what [`DaemonControl::begin_whole`] began: requests can be broken off again.
    fn end_whole(&mut self) {}

    /// Version, Device ID, joined networks.
    ///
    /// # Errors
    /// As [`DaemonControl::request`]; so do all that follow.
    fn status(&mut self) -> Result<Status, ControlError> {
        ask(self, "status", [], Status::from_data)
    }

    /// The daemon's identity.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn identity_show(&mut self) -> Result<Identity, ControlError> {
        ask(self, "identity_show", [], Identity::from_data)
    }

    /// Names this device.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn identity_set_label(&mut self, label: &str) -> Result<Identity, ControlError> {
        ask(self, "identity_set_label", [("label", label.into())], Identity::from_data)
    }

    /// The networks that the daemon runs.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn networks_list(&mut self) -> Result<Vec<JoinedNetwork>, ControlError> {
        ask(self, "networks_list", [], |data| {
            take_list(data, "networks")?.into_iter().map(JoinedNetwork::from_entry).collect()
        })
    }

    /// The daemon's whole config.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn config_show(&mut self) -> Result<ConfigShown, ControlError> {
        ask(self, "config_show", [], |data| match take(data, "config")? {
            config @ Value::Object(_) => Ok(ConfigShown { config }),
            _ => Err("`config` is no object".to_owned()),
        })
    }

    /// Joins a network, given in the daemon's shape.
    ///
    /// # Errors
    /// As [`DaemonControl::request`]; [`ControlError::Refused`] also when its config id or network id is taken.
    fn network_add(&mut self, config: &Value) -> Result<AddedNetwork, ControlError> {
        ask(self, "network_add", [("config", config.clone())], |data| {
            JoinedNetwork::from_entry(take(data, "added")?)
        })
    }

    /// Brings a joined network, named by its config id, up to date; returns what the daemon said.
    ///
    /// # Errors
    /// As [`DaemonControl::request`]; [`ControlError::UnknownOp`] from a daemon that is older than this op.
    fn network_update(&mut self, network: &str, config: &Value) -> Result<Value, ControlError> {
        ask(self, "network_update", [("network", network.into()), ("config", config.clone())], Ok)
    }

    /// Leaves a network, named by its config id or network id; returns the config id that went.
    ///
    /// # Errors
    /// As [`DaemonControl::request`]; [`ControlError::Refused`] when there is none such.
    fn network_remove(&mut self, network: &str) -> Result<String, ControlError> {
        ask(self, "network_remove", [("network", network.into())], |data| {
            text(take(data, "removed")?, "removed")
        })
    }

    /// A fresh network id.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn network_id_generate(&mut self) -> Result<String, ControlError> {
        ask(self, "network_id_generate", [], |data| text(take(data, "network_id")?, "network_id"))
    }

    /// A network id in the daemon's normal form.
    ///
    /// # Errors
    /// As [`DaemonControl::request`]; [`ControlError::Refused`] when it is none.
    fn network_id_normalize(&mut self, input: &str) -> Result<String, ControlError> {
        ask(self, "network_id_normalize", [("input", input.into())], |data| {
            text(take(data, "network_id")?, "network_id")
        })
    }

    /// The roster of a network: its approved devices as the daemon shows them.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn roster_list(&mut self, network: &str) -> Result<Vec<Value>, ControlError> {
        ask(self, "roster_list", [("network", network.into())], |data| take_list(data, "roster"))
    }

    /// Approves a device; returns its id.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn roster_approve(
        &mut self,
        network: &str,
        device_id: &str,
        label: Option<&str>,
    ) -> Result<String, ControlError> {
        let mut fields = vec![("network", network.into()), ("device_id", device_id.into())];
        fields.extend(label.map(|label| ("label", label.into())));
        ask(self, "roster_approve", fields, |data| text(take(data, "approved")?, "approved"))
    }

    /// Takes a device off a roster.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn roster_remove(&mut self, network: &str, device_id: &str) -> Result<Value, ControlError> {
        let fields = [("network", network.into()), ("device_id", device_id.into())];
        ask(self, "roster_remove", fields, |data| take(data, "removed"))
    }

    /// The governance state of a network.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    fn governance_state(&mut self, network: &str) -> Result<Value, ControlError> {
        ask(self, "governance_state", [("network", network.into())], |data| take(data, "state"))
    }
}

/// Asks, and reads the answer; one that is none to this op ends the trust in the connection.
fn ask<D: DaemonControl + ?Sized, T>(
    daemon: &mut D,
    op: &str,
    fields: impl IntoIterator<Item = (&'static str, Value)>,
    read: impl FnOnce(Value) -> Result<T, String>,
) -> Result<T, ControlError> {
    let fields = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let data = daemon.request(op, fields)?;
    read(data).map_err(|problem| {
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

fn take(data: Value, key: &str) -> Result<Value, String> {
    object(data)?.remove(key).ok_or_else(|| format!("`{key}` is missing"))
}

fn text(value: Value, key: &str) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        _ => Err(format!("`{key}` is no text")),
    }
}

fn take_text(object: &mut Map<String, Value>, key: &str) -> Result<String, String> {
    text(object.remove(key).ok_or_else(|| format!("`{key}` is missing"))?, key)
}

fn take_list(data: Value, key: &str) -> Result<Vec<Value>, String> {
    match take(data, key)? {
        Value::Array(list) => Ok(list),
        _ => Err(format!("`{key}` is no list")),
    }
}

/// A connection to a daemon.
///
/// When the conversation breaks (a deadline, half an answer, a closed connection), the connection is given up, because
/// a late answer would be taken for the next one's. The next request makes a new one, to the same process: when
/// another one answers there by then, that is [`ControlError::Replaced`].
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    limits: Limits,
    pid: Option<u32>,
    wire: Option<Connection>,
    cancelled: Option<Arc<AtomicBool>>,
    /// What is asked now belongs together.
    whole: bool,
}

impl Client {
    /// Connects, and looks at whose process answers before a byte is sent. `answer_within` bounds the connecting, and
    /// each whole answer later on.
    ///
    /// # Errors
    /// Nobody listens, or not to us; somebody else's process does; nobody takes the connection in time.
    pub fn connect(endpoint: &Endpoint, answer_within: Duration) -> Result<Self, ControlError> {
        Self::connect_with(endpoint, Limits { answer_timeout: answer_within, ..Limits::default() })
    }

    /// As [`Client::connect`], with limits of one's own.
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub fn connect_with(endpoint: &Endpoint, limits: Limits) -> Result<Self, ControlError> {
        let wire = open(endpoint, limits, deadline_after(limits.answer_timeout))?;
        Ok(Self::over(wire, endpoint, limits))
    }

    /// Goes on over a connection that is there.
    pub(crate) fn over(wire: Connection, endpoint: &Endpoint, limits: Limits) -> Self {
        Self {
            endpoint: endpoint.clone(),
            limits,
            pid: wire.peer().pid,
            wire: Some(wire),
            cancelled: None,
            whole: false,
        }
    }

    /// The process behind the socket, where the system tells.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Who is called.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Turns the connection into a stream of the daemon's events.
    ///
    /// # Errors
    /// As [`DaemonControl::request`].
    pub fn subscribe(mut self) -> Result<EventStream, ControlError> {
        let client_id =
            ask(&mut self, "events_subscribe", [], |data| text(take(data, "client_id")?, "client_id"))?;
        match self.wire.take() {
            Some(wire) => Ok(EventStream { endpoint: self.endpoint, client_id, wire }),
            None => Err(ControlError::Closed { endpoint: self.endpoint, op: "events_subscribe".to_owned() }),
        }
    }

    /// One request and its answer; the wire is kept only when it can be trusted further.
    fn exchange(
        &mut self,
        mut wire: Connection,
        line: &[u8],
        deadline: Instant,
    ) -> Result<Result<Value, String>, ReceiveError> {
        let answer = wire
            .clear(deadline)
            .and_then(|()| wire.send(line, deadline))
            .and_then(|()| wire.answer(deadline))?;
        self.wire = Some(wire);
        Ok(answer)
    }

    /// A new connection to the same process.
    fn open(&self, deadline: Instant) -> Result<Connection, ControlError> {
        let wire = open(&self.endpoint, self.limits, deadline)?;
        match (self.pid, wire.peer().pid) {
            (Some(before), Some(now)) if before != now => {
                Err(ControlError::Replaced { endpoint: self.endpoint.clone(), before, now })
            }
            _ => Ok(wire.set_cancel_flag(self.heeded())),
        }
    }

    /// What breaks a request off, as things are.
    fn heeded(&self) -> Option<Arc<AtomicBool>> {
        self.cancelled.clone().filter(|_| !self.whole)
    }

    /// Has the connection that is there heed it too.
    fn heed(&mut self) {
        let heeded = self.heeded();
        self.wire = self.wire.take().map(|wire| wire.set_cancel_flag(heeded));
    }

    /// # Errors
    /// Somebody has had enough.
    fn check_wanted(&self, op: &str) -> Result<(), ControlError> {
        match self.heeded() {
            Some(cancelled) if cancelled.load(Ordering::Relaxed) => {
                Err(ControlError::Cancelled { op: op.to_owned() })
            }
            _ => Ok(()),
        }
    }

    /// Says it over the connection that is there. A daemon may close that after an answer: what it did not take is said once
    /// more over a new one.
    fn converse(
        &mut self,
        op: &str,
        line: &[u8],
        deadline: Instant,
    ) -> Result<Result<Value, String>, ControlError> {
        let lost =
            |client: &Self, why| lost(&client.endpoint, op, client.limits.answer_timeout, client.pid, why);
        if let Some(wire) = self.wire.take() {
            match self.exchange(wire, line, deadline) {
                Ok(answer) => return Ok(answer),
                Err(ReceiveError::NotDelivered) => {}
                Err(why) => return Err(lost(self, why)),
            }
            let wire = match self.open(deadline) {
                Ok(wire) => wire,
                // It did not only close: it is gone.
                Err(ControlError::Unreachable { .. }) => return Err(lost(self, ReceiveError::NotDelivered)),
                Err(error) => return Err(error),
            };
            return self.exchange(wire, line, deadline).map_err(|why| lost(self, why));
        }
        let wire = self.open(deadline)?;
        self.exchange(wire, line, deadline).map_err(|why| lost(self, why))
    }
}

impl DaemonControl for Client {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let bad = |problem: &str| ControlError::BadRequest { op: op.to_owned(), problem: problem.to_owned() };
        if fields.contains_key("op") {
            return Err(bad("its fields hold an `op` of their own"));
        }
        self.check_wanted(op)?;
        let deadline = deadline_after(self.limits.answer_timeout);
        let secrets = secrets_in(&fields);
        let mut request = fields;
        request.insert("op".to_owned(), op.into());
        let mut line = serde_json::to_vec(&request).map_err(|e| bad(&e.to_string()))?;
        line.push(b'\n');
        self.converse(op, &line, deadline)?.map_err(|message| {
            let message = masking::mask_line(&mask(message, &secrets));
            refusal(op, shortened(&message, MAX_ANSWER_CHARS).into_owned())
        })
    }

    fn reset_connection(&mut self) {
        self.wire = None;
    }

    fn set_cancel_flag(&mut self, cancelled: Arc<AtomicBool>) {
        self.cancelled = Some(cancelled);
        self.heed();
    }

    fn begin_whole(&mut self, op: &str) -> Result<(), ControlError> {
        self.check_wanted(op)?;
        self.whole = true;
        self.heed();
        Ok(())
    }

    fn end_whole(&mut self) {
        self.whole = false;
        self.heed();
    }
}

/// A daemon that does not know an op says so in its parser's words, and names the op; the same words about another name
/// mean a value that it does not know.
fn refusal(op: &str, message: String) -> ControlError {
    let op = op.to_owned();
    if message.starts_with(&format!("parse: unknown variant `{op}`")) {
        ControlError::UnknownOp { op, message }
    } else {
        ControlError::Refused { op, message }
    }
}

/// The secrets in a request: a parser that does not like one quotes it.
fn secrets_in(fields: &Map<String, Value>) -> Vec<String> {
    let mut found = masking::secrets_in(fields);
    // The longest first: one may be part of another.
    found.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    found
}

/// How a secret may stand in somebody's words, and what to write for it: as it is, or as Rust or JSON writes it between
/// quotation marks, or as JSON writes what one of these wrote. A short one is looked for with its quotation marks alone,
/// because it may be part of any word.
fn forms(secret: &str) -> Vec<(String, String)> {
    let inner = |quoted: String| quoted[1..quoted.len() - 1].to_owned();
    let json = |text: &str| inner(Value::from(text).to_string());
    let marked = |text: &str| if secret.len() < 4 { format!("\"{text}\"") } else { text.to_owned() };
    let mut forms = Vec::new();
    for form in [secret.to_owned(), inner(format!("{secret:?}")), json(secret)] {
        let (from, to) = (marked(&form), marked("***"));
        forms.push((json(&from), json(&to)));
        forms.push((from, to));
    }
    // The longest first: one may be part of another.
    forms.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
    forms
}

/// The daemon's words without the secrets, and not longer than a person reads.
fn mask(mut message: String, secrets: &[String]) -> String {
    const LONGEST: usize = 4096;
    for secret in secrets {
        for (from, to) in forms(secret) {
            message = message.replace(&from, &to);
        }
    }
    if message.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
        message.push('…');
    }
    message
}

/// A wire to the daemon, with the reasons for there being none in this module's words.
pub(crate) fn open(
    endpoint: &Endpoint,
    limits: Limits,
    deadline: Instant,
) -> Result<Connection, ControlError> {
    let endpoint = || endpoint.clone();
    match transport::connect(&endpoint(), deadline) {
        Ok(transport) => Ok(Connection::new(transport, limits.max_line_len)),
        Err(
            ConnectError::Absent { source, .. }
            | ConnectError::Closed { source, .. }
            | ConnectError::Failed { source },
        ) => Err(ControlError::Unreachable { endpoint: endpoint(), source }),
        Err(ConnectError::ResourceExhausted { source }) => {
            Err(ControlError::ResourceExhausted { endpoint: endpoint(), source })
        }
        Err(ConnectError::Full { pid }) => {
            let op = "connect".to_owned();
            Err(ControlError::Busy { endpoint: endpoint(), op, waited: limits.answer_timeout, pid })
        }
        Err(ConnectError::ForeignOwner { uid, pid }) => {
            Err(ControlError::ForeignOwner { endpoint: endpoint(), uid, pid })
        }
        Err(ConnectError::PathTooLong { length, limit }) => {
            Err(ControlError::PathTooLong { endpoint: endpoint(), length, limit })
        }
    }
}

/// Why a conversation broke, in the caller's words.
pub(crate) fn lost(
    endpoint: &Endpoint,
    op: &str,
    waited: Duration,
    pid: Option<u32>,
    why: ReceiveError,
) -> ControlError {
    let (endpoint, op) = (endpoint.clone(), op.to_owned());
    match why {
        ReceiveError::TimedOut => ControlError::Busy { endpoint, op, waited, pid },
        ReceiveError::NotDelivered | ReceiveError::Closed { partial: 0 } => {
            ControlError::Closed { endpoint, op }
        }
        ReceiveError::Closed { partial } => {
            let problem = format!("the connection was closed in the middle of a line, after {partial} bytes");
            ControlError::Protocol { op, problem }
        }
        ReceiveError::Bad(bad) => ControlError::Protocol { op, problem: bad.to_string() },
        ReceiveError::Cancelled => ControlError::Cancelled { op },
        ReceiveError::Failed(source) => ControlError::Unreachable { endpoint, source },
    }
}

/// The daemon's events, in order.
#[derive(Debug)]
pub struct EventStream {
    endpoint: Endpoint,
    client_id: String,
    wire: Connection,
}

impl EventStream {
    /// The id that the daemon gave this subscription.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The next event; `None` when none came within `wait`. An event that has begun to come is not lost by that.
    ///
    /// # Errors
    /// The daemon closed the connection, or sent something that is no event: the stream is at its end then.
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<Event>, ControlError> {
        const OP: &str = "events_subscribe";
        let deadline = deadline_after(wait);
        loop {
            match self.wire.next(deadline) {
                Ok(Line::Push(mut line)) if line.get("kind").is_some_and(|kind| kind == "event") => {
                    let event = line.get_mut("event").map(Value::take).unwrap_or_default();
                    let kind = event.get("event_kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                    return Ok(Some(Event { kind, event }));
                }
                // Newer daemons may push other things on the same connection.
                Ok(Line::Push(_)) if Instant::now() > deadline => return Ok(None),
                Ok(Line::Push(_)) => {}
                Ok(Line::Yes(_) | Line::No(_)) => {
                    let problem = "an answer among the events".to_owned();
                    return Err(ControlError::Protocol { op: OP.to_owned(), problem });
                }
                Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => return Ok(None),
                Err(why) => return Err(lost(&self.endpoint, OP, wait, self.wire.peer().pid, why)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_words_about_an_unknown_op_are_told_from_those_about_an_unknown_value() {
        let unknown = "parse: unknown variant `network_update`, expected one of `status` at line 1 column 23";
        assert!(matches!(refusal("network_update", unknown.to_owned()), ControlError::UnknownOp { .. }));
        let value = "parse: unknown variant `silent`, expected `open` or `closed` at line 1 column 90";
        assert!(matches!(refusal("network_add", value.to_owned()), ControlError::Refused { .. }));
        assert!(matches!(refusal("x", "unknown network: x".to_owned()), ControlError::Refused { .. }));
    }

    #[test]
    fn the_daemons_words_carry_no_secret_of_ours() {
        let fields = json!({"config": {"turn_servers": [{"urls": ["u"], "credential": "hunter2"}, {"credential": "c"}]}});
        let Value::Object(fields) = fields else { unreachable!() };
        let secrets = secrets_in(&fields);
        let message = "parse: invalid type: string \"hunter2\", expected c, not \"c\"".to_owned();
        let masked = mask(message, &secrets);
        // The same names as everywhere, and URLs.
        let others =
            json!({"config": {"apiKey": "hunter3", "urls": ["turn:u:hunter4@h", "wss://r/?jwt=hunter5"]}});
        let others = secrets_in(others.as_object().unwrap());
        let told = mask("no hunter3, turn:u:hunter4@h, hunter4, hunter5, turn:".to_owned(), &others);
        assert_eq!(told, "no ***, turn:***@h, ***, ***, turn:");
        assert_eq!(masked, "parse: invalid type: string \"***\", expected c, not \"***\"");
        assert!(mask("x".repeat(100_000), &[]).len() < 5000);
        // However it is quoted.
        for secret in ["ab\"c\\d", "a\tb\u{1}'c", "é\u{200b}xyz", "q\""] {
            let parser = format!("parse: invalid type: string {secret:?}, expected a map");
            for message in
                [parser.clone(), Value::from(parser.as_str()).to_string(), json!({"was": secret}).to_string()]
            {
                let masked = mask(message.clone(), &[secret.to_owned()]);
                assert!(masked.contains("***") && !masked.contains(&secret[..2]), "{message}: {masked}");
            }
        }
    }

    #[test]
    fn a_status_of_a_newer_daemon_is_read_and_its_news_kept() {
        let data = json!({"version": "9", "device_id": "d", "joined_networks": ["a"], "media_lanes": 8});
        let status = Status::from_data(data).unwrap();
        assert_eq!((status.version.as_str(), status.device_id.as_str()), ("9", "d"));
        assert_eq!(status.more.get("media_lanes"), Some(&json!(8)));
        assert_eq!(
            Status::from_data(json!({"version": "9", "device_id": "d"})).unwrap().joined_networks.len(),
            0
        );
        let null = json!({"version": "9", "device_id": "d", "joined_networks": null});
        assert!(Status::from_data(null).unwrap().joined_networks.is_empty());
        for bad in [
            json!(null),
            json!({"device_id": "d"}),
            json!({"version": "1"}),
            json!({"version": 1, "device_id": "d"}),
            json!({"version": "1", "device_id": " "}),
            json!({"version": "1", "device_id": null}),
            json!({"version": "1", "device_id": "d", "joined_networks": "a"}),
            json!({"version": "1", "device_id": "d", "joined_networks": [1]}),
        ] {
            assert!(Status::from_data(bad.clone()).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_trait_needs_one_method_and_is_object_safe() {
        struct Canned(Value, bool);
        impl DaemonControl for Canned {
            fn request(&mut self, _: &str, _: Map<String, Value>) -> Result<Value, ControlError> {
                Ok(self.0.clone())
            }
            fn reset_connection(&mut self) {
                self.1 = true;
            }
        }
        let mut canned = Canned(json!({"removed": "net-1"}), false);
        let daemon: &mut dyn DaemonControl = &mut canned;
        assert_eq!(daemon.network_remove("home").unwrap(), "net-1");
        assert!(matches!(daemon.status(), Err(ControlError::Protocol { .. })));
        assert!(canned.1, "an answer that does not belong ends the trust in the connection");
    }
}
