//! The client and the event stream for a program on tokio.
//!
//! A bridge and no second client: each request runs in `spawn_blocking` on the synchronous
//! [`Client`], and a thread feeds the lines of an [`EventStream`] to a channel. So the rules
//! (deadlines, limits, masking, the peer's user) exist once, and hold for both.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread,
    time::Duration,
};

use futures_core::Stream;
use serde_json::{Map, Value};
use tokio::{
    sync::{Mutex, mpsc},
    task::spawn_blocking,
};

use crate::{Client, ControlError, DaemonControl as _, Endpoint, EventStream, Pushed};

/// The longest time from the drop of [`AsyncEvents`] to the end of its thread.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// Bounds the memory that a flooding daemon can fill: a full queue stops the reading.
const MAX_QUEUED_LINES: usize = 16;

/// A client of the daemon at an endpoint, for tokio (feature `tokio`). Clones share one connection,
/// over which one request runs at a time.
///
/// The methods must be called in a tokio runtime. A request is not taken back when its future is
/// dropped: it ends in the background, at its deadline at the latest.
///
/// ```no_run
/// use std::time::Duration;
/// use myownllm_daemon::{AsyncClient, ControlError, DaemonControl as _, Endpoint, Pushed};
///
/// # async fn example() -> Result<(), ControlError> {
/// let endpoint = Endpoint::unix("/home/you/.app/daemon.sock");
/// let daemon = AsyncClient::connect(&endpoint, Duration::from_secs(10)).await?;
/// let status = daemon.run(|client| client.status()).await?; // any typed op
/// let arguments = [("network".to_owned(), "home".into())].into_iter().collect();
/// let peers = daemon.request("peers_list", arguments).await?;
///
/// let mut events = daemon.subscribe().await?; // over a second connection to the same process
/// while let Some(pushed) = events.next().await {
///     match pushed? {
///         Pushed::Event(event) => println!("{}: {}", event.kind, event.event),
///         Pushed::Lagged { .. } => println!("events were lost: ask for the whole state"),
///         other => println!("{other:?}"),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct AsyncClient(Arc<Mutex<Client>>);

impl From<Client> for AsyncClient {
    fn from(client: Client) -> Self {
        Self(Arc::new(Mutex::new(client)))
    }
}

impl AsyncClient {
    /// Connects, as [`Client::connect`].
    pub async fn connect(endpoint: &Endpoint, answer_within: Duration) -> Result<Self, ControlError> {
        let endpoint = endpoint.clone();
        blocking(move || Client::connect(&endpoint, answer_within)).await.map(Self::from)
    }

    /// Sends `op` with `fields` beside it, and returns the `data` of the answer. The deadline
    /// counts from the moment at which the connection is free.
    pub async fn request(&self, op: &str, fields: Map<String, Value>) -> Result<Value, ControlError> {
        let op = op.to_owned();
        self.run(move |client| client.request(&op, fields)).await
    }

    /// Runs requests on the synchronous client, with no other request between them.
    ///
    /// # Errors
    /// Returns the error of `requests`; [`ControlError::Cancelled`] if the runtime shuts down.
    pub async fn run<T: Send + 'static>(
        &self,
        requests: impl FnOnce(&mut Client) -> Result<T, ControlError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let mut client = Arc::clone(&self.0).lock_owned().await;
        blocking(move || requests(&mut client)).await
    }

    /// Subscribes to the daemon's events over a second connection to the same process.
    ///
    /// # Errors
    /// As [`Client::subscribe`]; and the system starts no thread.
    pub async fn subscribe(&self) -> Result<AsyncEvents, ControlError> {
        self.run(|client| AsyncEvents::new(client.subscribe_beside()?)).await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, ControlError> + Send + 'static,
) -> Result<T, ControlError> {
    match spawn_blocking(call).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ControlError::Cancelled { op: "request".to_owned() }),
        },
    }
}

/// The lines that a daemon pushes, in order, for tokio (feature `tokio`): as a [`Stream`], or by
/// [`next`](Self::next).
///
/// At most 16 lines wait for the reader. After that the daemon waits, and tells by
/// [`Pushed::Lagged`] what it dropped. The stream ends after an error. Dropping it ends the
/// subscription and its thread within 250 ms; on Windows, where a read of a pipe cannot be ended,
/// with the next line of the daemon.
#[derive(Debug)]
pub struct AsyncEvents {
    client_id: String,
    lines: mpsc::Receiver<Result<Pushed, ControlError>>,
}

impl AsyncEvents {
    /// Starts the thread that feeds the lines of `events` to the returned stream.
    pub fn new(events: EventStream) -> Result<Self, ControlError> {
        let (client_id, endpoint) = (events.client_id.clone(), events.endpoint.clone());
        let (sender, lines) = mpsc::channel(MAX_QUEUED_LINES);
        thread::Builder::new()
            .name("daemon-events".to_owned())
            .spawn(move || feed(events, &sender))
            .map_err(|source| ControlError::ResourceExhausted { endpoint, source })?;
        Ok(Self { client_id, lines })
    }

    /// Returns the id that the daemon gave this subscription.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Waits for the next line. Returns `None` after an error. If the future is dropped, no line is
    /// lost.
    pub async fn next(&mut self) -> Option<Result<Pushed, ControlError>> {
        self.lines.recv().await
    }
}

impl Stream for AsyncEvents {
    type Item = Result<Pushed, ControlError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lines.poll_recv(context)
    }
}

/// Sends each line, until an error or the drop of the receiver.
fn feed(mut events: EventStream, sender: &mpsc::Sender<Result<Pushed, ControlError>>) {
    while !sender.is_closed() {
        let Some(line) = events.next_within(POLL_INTERVAL).transpose() else { continue };
        let is_last = line.is_err();
        if sender.blocking_send(line).is_err() || is_last {
            return;
        }
    }
}
