//! A client of a daemon: one JSON object a line, both ways.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use myownllm_config_model::shorten::shortened;
use serde_json::{Map, Value};

use crate::{
    ControlError, DaemonControl, Endpoint, EventStream,
    connection::{Connection, MAX_ANSWER_CHARS, ReceiveError, receive_error},
    control::{ask, string, take},
    secrets::Secrets,
    transport::{self, ConnectError},
    wait::deadline_after,
};

/// A client of the daemon at an endpoint.
///
/// A broken conversation (a deadline, half an answer, a closed connection) ends the connection: a
/// late answer would be taken for the answer to the next request. The next request makes a new
/// connection to the same process. If another process answers there, the request fails with
/// [`ControlError::Replaced`].
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    answer_within: Duration,
    pid: Option<u32>,
    connection: Option<Connection>,
    cancelled: Option<Arc<AtomicBool>>,
    interruptible: bool,
}

impl Client {
    /// Connects. Checks the user of the process behind the socket before a byte is sent.
    /// `answer_within` bounds the connecting, and each whole answer: nothing that the peer sends
    /// extends it.
    ///
    /// # Errors
    /// No process of an accepted user listens, or none accepts the connection in time.
    pub fn connect(endpoint: &Endpoint, answer_within: Duration) -> Result<Self, ControlError> {
        let connection = open(endpoint, answer_within, deadline_after(answer_within))?;
        Ok(Self::over(connection, endpoint, answer_within))
    }

    pub(crate) fn over(connection: Connection, endpoint: &Endpoint, answer_within: Duration) -> Self {
        Self {
            endpoint: endpoint.clone(),
            answer_within,
            pid: connection.peer_pid(),
            connection: Some(connection),
            cancelled: None,
            interruptible: true,
        }
    }

    /// Returns the process behind the socket, if the system shows it.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Returns the address of the daemon.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Turns the connection into a stream of the daemon's events.
    pub fn subscribe(mut self) -> Result<EventStream, ControlError> {
        let client_id =
            ask(&mut self, "events_subscribe", [], |data| string(take(data, "client_id")?, "client_id"))?;
        match self.connection.take() {
            Some(connection) => Ok(EventStream { endpoint: self.endpoint, client_id, connection }),
            None => Err(ControlError::Closed { endpoint: self.endpoint, op: "events_subscribe".to_owned() }),
        }
    }

    /// Subscribes to the daemon's events over a second connection to the same process, so that
    /// requests go on over this one.
    pub fn subscribe_beside(&self) -> Result<EventStream, ControlError> {
        let connection = self.reopen(deadline_after(self.answer_within))?;
        let mut beside = Self::over(connection, &self.endpoint, self.answer_within);
        beside.cancelled = self.cancel_flag();
        beside.subscribe()
    }

    /// Sends a request and receives its answer. Keeps the connection only after an answer.
    fn exchange(
        &mut self,
        mut connection: Connection,
        line: &[u8],
        deadline: Instant,
    ) -> Result<Result<Value, String>, ReceiveError> {
        connection.set_cancel_flag(self.cancel_flag());
        let answer = connection
            .clear(deadline)
            .and_then(|()| connection.send(line, deadline))
            .and_then(|()| connection.answer(deadline))?;
        self.connection = Some(connection);
        Ok(answer)
    }

    /// Makes a new connection to the same process.
    fn reopen(&self, deadline: Instant) -> Result<Connection, ControlError> {
        let connection = open(&self.endpoint, self.answer_within, deadline)?;
        match (self.pid, connection.peer_pid()) {
            (Some(before), Some(now)) if before != now => {
                Err(ControlError::Replaced { endpoint: self.endpoint.clone(), before, now })
            }
            _ => Ok(connection),
        }
    }

    /// Returns the cancel flag, unless it has no effect now.
    fn cancel_flag(&self) -> Option<Arc<AtomicBool>> {
        self.cancelled.clone().filter(|_| self.interruptible)
    }

    /// Sends a request over the open connection. A daemon may have closed it after its last answer:
    /// a request that it did not read is sent once more over a new connection.
    fn converse(
        &mut self,
        op: &str,
        line: &[u8],
        deadline: Instant,
    ) -> Result<Result<Value, String>, ControlError> {
        let broken = |client: &Self, error| {
            receive_error(&client.endpoint, op, client.answer_within, client.pid, error)
        };
        let mut was_open = false;
        if let Some(connection) = self.connection.take() {
            match self.exchange(connection, line, deadline) {
                Err(ReceiveError::NotDelivered) => was_open = true,
                answer => return answer.map_err(|error| broken(self, error)),
            }
        }
        let connection = self.reopen(deadline).map_err(|error| match error {
            // The daemon has exited.
            ControlError::Unreachable { .. } if was_open => broken(self, ReceiveError::NotDelivered),
            error => error,
        })?;
        self.exchange(connection, line, deadline).map_err(|error| broken(self, error))
    }
}

impl DaemonControl for Client {
    fn request(&mut self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let bad = |problem: &str| ControlError::BadRequest { op: op.to_owned(), problem: problem.to_owned() };
        if fields.contains_key("op") {
            return Err(bad("its fields hold an `op` of their own"));
        }
        if self.is_cancelled() {
            return Err(ControlError::Cancelled { op: op.to_owned() });
        }
        let deadline = deadline_after(self.answer_within);
        let secrets = Secrets::in_request(&fields);
        let mut request = fields;
        request.insert("op".to_owned(), op.into());
        let mut line = serde_json::to_vec(&request).map_err(|e| bad(&e.to_string()))?;
        line.push(b'\n');
        self.converse(op, &line, deadline)?.map_err(|message| {
            refusal(op, shortened(&secrets.mask_line(&message), MAX_ANSWER_CHARS).into_owned())
        })
    }

    fn reset_connection(&mut self) {
        self.connection = None;
    }

    fn set_cancel_flag(&mut self, cancelled: Arc<AtomicBool>) {
        self.cancelled = Some(cancelled);
    }

    fn set_interruptible(&mut self, interruptible: bool) {
        self.interruptible = interruptible;
    }

    fn is_cancelled(&self) -> bool {
        self.cancel_flag().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed))
    }
}

/// Tells an unknown op, and a file of another version, from other refusals. The daemon's parser uses
/// the same words for an unknown value, so the name of the op is compared too.
fn refusal(op: &str, message: String) -> ControlError {
    let op = op.to_owned();
    if message.starts_with(&format!("parse: unknown variant `{op}`")) {
        ControlError::UnknownOp { op, message }
    } else if message.contains("version") && message.contains("unsupported") {
        ControlError::UnsupportedVersion { op, message }
    } else {
        ControlError::Refused { op, message }
    }
}

fn open(endpoint: &Endpoint, answer_within: Duration, deadline: Instant) -> Result<Connection, ControlError> {
    let endpoint = endpoint.clone();
    Err(match transport::connect(&endpoint, deadline) {
        Ok(transport) => return Ok(Connection::new(transport)),
        Err(
            ConnectError::Absent { source, .. }
            | ConnectError::Denied { source, .. }
            | ConnectError::Failed { source },
        ) => ControlError::Unreachable { endpoint, source },
        Err(ConnectError::ResourceExhausted { source }) => {
            ControlError::ResourceExhausted { endpoint, source }
        }
        Err(ConnectError::Full { pid }) => {
            ControlError::Busy { endpoint, op: "connect".to_owned(), waited: answer_within, pid }
        }
        Err(ConnectError::ForeignOwner { uid, pid }) => ControlError::ForeignOwner { endpoint, uid, pid },
        Err(ConnectError::PathTooLong { length, limit }) => {
            ControlError::PathTooLong { endpoint, length, limit }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_kind() {
        let unknown = "parse: unknown variant `network_update`, expected one of `status` at line 1 column 23";
        assert!(matches!(refusal("network_update", unknown.to_owned()), ControlError::UnknownOp { .. }));
        let value = "parse: unknown variant `silent`, expected `open` or `closed` at line 1 column 90";
        assert!(matches!(refusal("network_add", value.to_owned()), ControlError::Refused { .. }));
        assert!(matches!(refusal("x", "unknown network: x".to_owned()), ControlError::Refused { .. }));
        let version =
            refusal("network_add", "roster version 9 unsupported (this build expects v1)".to_owned());
        assert_eq!((version.code(), version.breaks_connection()), ("daemon.unsupported-version", false));
        let value = refusal("network_add", "topology `ring` is unsupported".to_owned());
        assert_eq!(value.code(), "daemon.refused-op");
    }
}
