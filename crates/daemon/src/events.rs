//! The stream of the lines that a daemon pushes.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::{
    ControlError, Endpoint,
    connection::{Connection, ReceiveError, receive_error},
    lines::Line,
    wait::deadline_after,
};

/// A line that a daemon pushed. No line is dropped: kinds that this version does not know arrive as
/// [`Pushed::Other`].
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "pushed", rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Pushed {
    /// An event: `kind` is `event`.
    Event(Event),
    /// The daemon dropped events because this client read too slowly: `kind` is `lagged`.
    Lagged { line: Value },
    /// A line of another kind, for example `rpc_inbound`.
    Other { kind: String, line: Value },
}

impl Pushed {
    fn parse(mut line: Value) -> Self {
        let kind = line.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
        match kind.as_str() {
            "event" => {
                let event = line.get_mut("event").map(Value::take).unwrap_or_default();
                let kind = event.get("event_kind").and_then(Value::as_str).unwrap_or_default().to_owned();
                Self::Event(Event { kind, event })
            }
            "lagged" => Self::Lagged { line },
            _ => Self::Other { kind, line },
        }
    }

    /// Returns the line, to be forwarded.
    pub fn into_line(self) -> Value {
        match self {
            Self::Event(Event { event, .. }) => serde_json::json!({"kind": "event", "event": event}),
            Self::Lagged { line } | Self::Other { line, .. } => line,
        }
    }
}

/// An event of the daemon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// The `event_kind`; empty if the event has none.
    pub kind: String,
    /// The whole event.
    pub event: Value,
}

/// The lines that a daemon pushes, in order. See [`Client::subscribe`](crate::Client::subscribe).
#[derive(Debug)]
pub struct EventStream {
    pub(crate) endpoint: Endpoint,
    pub(crate) client_id: String,
    pub(crate) connection: Connection,
}

impl EventStream {
    /// Returns the id that the daemon gave this subscription.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns the next line, or `None` if no whole line came within `wait`. The beginning of a
    /// line is kept for the next call.
    ///
    /// # Errors
    /// The daemon closed the connection, or sent something that is not pushed. The stream has ended
    /// then.
    pub fn next_within(&mut self, wait: Duration) -> Result<Option<Pushed>, ControlError> {
        const OP: &str = "events_subscribe";
        match self.connection.next(deadline_after(wait)) {
            Ok(Line::Push(line)) => Ok(Some(Pushed::parse(line))),
            Ok(Line::Yes(_) | Line::No(_)) => {
                let problem = "an answer came among the events".to_owned();
                Err(ControlError::Protocol { op: OP.to_owned(), problem })
            }
            Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => Ok(None),
            Err(error) => Err(receive_error(&self.endpoint, OP, wait, self.connection.peer_pid(), error)),
        }
    }
}
