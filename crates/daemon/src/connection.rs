//! Lines over a transport: requests, their answers, and deadlines.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    ControlError, Endpoint,
    lines::{BadLine, Line, Lines},
    transport::Transport,
};

/// A transport with line framing.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    lines: Lines,
    /// Set if the unfinished line began before the last request was sent.
    stale: bool,
    /// Ends a wait early, once it is set.
    cancelled: Option<Arc<AtomicBool>>,
}

/// The longest line: the roster of a hundred thousand devices fits.
const MAX_LINE_BYTES: usize = 16 * 1024 * 1024;
pub(crate) const MAX_ANSWER_CHARS: usize = 500;
/// The longest wait before the cancel flag is checked again.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The deadline came first. The bytes so far are kept.
    TimedOut,
    /// The peer closed the connection before it read the request, so the request has no effect.
    NotDelivered,
    /// The peer closed the connection, after `partial` bytes of a line.
    Closed {
        partial: usize,
    },
    Cancelled,
    /// The peer sent something else than an answer.
    Bad(BadLine),
    Failed(io::Error),
}

impl Connection {
    pub(crate) fn new(transport: Box<dyn Transport>) -> Self {
        Self::with_limit(transport, MAX_LINE_BYTES)
    }

    fn with_limit(transport: Box<dyn Transport>, limit: usize) -> Self {
        Self { transport, lines: Lines::new(limit), stale: false, cancelled: None }
    }

    /// Ends each wait early, once `cancelled` is set.
    pub(crate) fn set_cancel_flag(&mut self, cancelled: Option<Arc<AtomicBool>>) {
        self.cancelled = cancelled;
    }

    pub(crate) fn peer_pid(&self) -> Option<u32> {
        self.transport.peer_pid()
    }

    pub(crate) fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), ReceiveError> {
        self.stale = self.lines.begun() > 0;
        self.transport.send(line, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => ReceiveError::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ReceiveError::NotDelivered,
            _ => ReceiveError::Failed(e),
        })
    }

    /// Receives the next line. Lines that have already arrived are returned even after the
    /// deadline, but a peer that keeps sending, blank lines for example, does not extend it.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Line, ReceiveError> {
        let mut received = false;
        loop {
            if let Some(line) = self.lines.next() {
                let stale = std::mem::take(&mut self.stale);
                return match line {
                    Ok(Line::Yes(_) | Line::No(_)) if stale => Err(ReceiveError::Bad(BadLine::Unasked)),
                    line => line.map_err(ReceiveError::Bad),
                };
            }
            if received && Instant::now() > deadline {
                return Err(ReceiveError::TimedOut);
            }
            let until = match &self.cancelled {
                Some(_) => deadline.min(Instant::now() + POLL_INTERVAL),
                None => deadline,
            };
            match self.transport.receive(self.lines.room(), until) {
                Ok(0) => return Err(ReceiveError::Closed { partial: self.lines.begun() }),
                Ok(_) => received = true,
                Err(e) if e.kind() == io::ErrorKind::TimedOut => {
                    if self.cancelled.as_ref().is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
                        return Err(ReceiveError::Cancelled);
                    }
                    if until >= deadline {
                        return Err(ReceiveError::TimedOut);
                    }
                }
                // The system reports a reset if the peer closed the connection without reading all
                // of our bytes. The daemon reads a whole line before it acts.
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset && self.lines.begun() == 0 => {
                    return Err(ReceiveError::NotDelivered);
                }
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(ReceiveError::Closed { partial: self.lines.begun() });
                }
                Err(e) => return Err(ReceiveError::Failed(e)),
            }
        }
    }

    /// Discards events that arrived before a request is sent. Fails on anything else: the next line
    /// could be the answer to another request.
    pub(crate) fn clear(&mut self, deadline: Instant) -> Result<(), ReceiveError> {
        let now = Instant::now();
        loop {
            match self.next(now) {
                Ok(Line::Push(_)) if Instant::now() > deadline => return Err(ReceiveError::TimedOut),
                Ok(Line::Push(_)) => {}
                Ok(Line::Yes(_) | Line::No(_)) => return Err(ReceiveError::Bad(BadLine::Unasked)),
                Err(ReceiveError::TimedOut | ReceiveError::Cancelled) => return Ok(()),
                Err(ReceiveError::Closed { partial: 0 }) => return Err(ReceiveError::NotDelivered),
                Err(other) => return Err(other),
            }
        }
    }

    /// Receives the answer to the request. Skips events.
    pub(crate) fn answer(&mut self, deadline: Instant) -> Result<Result<Value, String>, ReceiveError> {
        loop {
            match self.next(deadline)? {
                Line::Yes(data) => return Ok(Ok(data)),
                Line::No(error) => return Ok(Err(error)),
                Line::Push(_) if Instant::now() > deadline => return Err(ReceiveError::TimedOut),
                Line::Push(_) => {}
            }
        }
    }
}

/// Converts the error of a broken conversation.
pub(crate) fn receive_error(
    endpoint: &Endpoint,
    op: &str,
    waited: Duration,
    pid: Option<u32>,
    error: ReceiveError,
) -> ControlError {
    let (endpoint, op) = (endpoint.clone(), op.to_owned());
    match error {
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use super::*;

    /// Returns its chunks one by one, then closes or stays silent.
    #[derive(Debug)]
    struct Chunks {
        chunks: VecDeque<Vec<u8>>,
        closes: bool,
    }

    impl Chunks {
        /// Repeats a chunk longer than any reader that obeys the deadline would listen, but not for
        /// ever: a reader that ignores the deadline must fail and not hang.
        fn repeating(chunk: &[u8], limit: usize) -> Connection {
            let chunks = std::iter::repeat_n(chunk.to_vec(), 2000).collect();
            Connection::with_limit(Box::new(Self { chunks, closes: true }), limit)
        }
    }

    impl Transport for Chunks {
        fn peer_pid(&self) -> Option<u32> {
            None
        }
        fn send(&mut self, _: &[u8], _: Instant) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, into: &mut Vec<u8>, _: Instant) -> io::Result<usize> {
            match self.chunks.pop_front() {
                Some(chunk) => {
                    into.extend_from_slice(&chunk);
                    Ok(chunk.len())
                }
                None if self.closes => Ok(0),
                None => Err(io::ErrorKind::TimedOut.into()),
            }
        }
    }

    fn connection(chunks: &[&[u8]], limit: usize) -> Connection {
        let chunks = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        Connection::with_limit(Box::new(Chunks { chunks, closes: false }), limit)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn next_keeps_bytes_that_came_before_a_timeout() {
        let mut connection = connection(&[b"{\"ok\":"], 100);
        assert!(matches!(connection.next(soon()), Err(ReceiveError::TimedOut)));
        assert_eq!(connection.lines.begun(), 6);
    }

    #[test]
    fn next_fails_when_a_line_exceeds_the_limit() {
        let mut connection = Chunks::repeating(&[b'x'; 1000], 10_000);
        let result = connection.next(soon());
        assert!(matches!(result, Err(ReceiveError::Bad(BadLine::TooLong { limit: 10_000 }))), "{result:?}");
    }

    #[test]
    fn answer_and_clear_time_out_while_events_keep_coming() {
        let events = || Chunks::repeating(b"{\"kind\":\"event\",\"event\":{}}\n", 10_000);
        let result = events().answer(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
        let result = events().clear(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn answer_times_out_while_blank_lines_keep_coming() {
        let result = Chunks::repeating(b"\n \r\n", 10_000).answer(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn next_times_out_while_bytes_keep_coming() {
        let result = Chunks::repeating(b"x", usize::MAX).next(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn answer_fails_when_its_line_began_before_the_request() {
        let mut late = connection(&[b"{\"ok\":true,"], 100);
        assert!(late.clear(soon()).is_ok());
        late.send(b"{}\n", soon()).unwrap();
        late.lines.push(b"\"data\":1}\n");
        assert!(matches!(late.answer(soon()), Err(ReceiveError::Bad(BadLine::Unasked))));
        // An event that arrives in two halves, before and after the request, does no harm.
        let mut event = connection(&[b"{\"kind\":\"event\","], 100);
        assert!(event.clear(soon()).is_ok());
        event.send(b"{}\n", soon()).unwrap();
        event.lines.push(b"\"event\":{}}\n{\"ok\":true,\"data\":2}\n");
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 2));
    }

    #[test]
    fn clear_fails_when_an_unasked_answer_has_come() {
        let mut both = connection(&[b"{\"ok\":true,\"data\":1}\n{\"ok\":true,\"data\":2}\n"], 100);
        assert!(matches!(both.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(matches!(both.clear(soon()), Err(ReceiveError::Bad(BadLine::Unasked))));
        let mut event = connection(&[b"{\"ok\":true,\"data\":1}\n{\"kind\":\"event\",\"event\":{}}\n"], 100);
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(event.clear(soon()).is_ok());
    }

    #[test]
    fn next_reports_a_close_in_the_middle_of_a_line() {
        let chunks = Chunks { chunks: VecDeque::from([b"{\"ok\"".to_vec()]), closes: true };
        let mut connection = Connection::with_limit(Box::new(chunks), 100);
        assert!(matches!(connection.next(soon()), Err(ReceiveError::Closed { partial: 5 })));
    }
}
