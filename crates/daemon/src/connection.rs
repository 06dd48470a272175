//! Lines on a connection: what was asked, what belongs to it, and when time is up.

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
    lines::{BadLine, Line, Lines},
    transport::{Peer, Transport},
};

/// A connection that carries lines.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Box<dyn Transport>,
    lines: Lines,
    /// The next line began to come before the last request was sent.
    stale: bool,
    /// Set when nobody wants the answer any more.
    cancelled: Option<Arc<AtomicBool>>,
}

/// How long a wait lasts before it is asked whether the answer is still wanted.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum ReceiveError {
    /// The deadline came first. What has come so far is kept.
    TimedOut,
    /// The peer had closed the connection before it took what we had to say: it is as if nothing had been said.
    NotDelivered,
    /// The peer closed the connection, perhaps in the middle of a line.
    Closed { partial: usize },
    /// Nobody wants the answer any more.
    Cancelled,
    /// The line is longer than the limit, or is not what a daemon sends.
    Bad(BadLine),
    /// The system failed us.
    Failed(io::Error),
}

impl Connection {
    pub(crate) fn new(transport: Box<dyn Transport>, limit: usize) -> Self {
        Self { transport, lines: Lines::new(limit), stale: false, cancelled: None }
    }

    /// Gives up waiting once this is set.
    pub(crate) fn set_cancel_flag(mut self, cancelled: Option<Arc<AtomicBool>>) -> Self {
        self.cancelled = cancelled;
        self
    }

    pub(crate) fn peer(&self) -> Peer {
        self.transport.peer()
    }

    pub(crate) fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), ReceiveError> {
        self.stale = self.lines.begun() > 0;
        self.transport.send(line, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => ReceiveError::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => ReceiveError::NotDelivered,
            _ => ReceiveError::Failed(e),
        })
    }

    /// The next line. What has come already is looked at even when the deadline has passed; but a peer that goes on
    /// sending, blank lines for example, does not extend it.
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
                // What the system says of a connection that was closed with something of ours in it that nobody read: and
                // a request is not read before its end is.
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

    /// Takes what came unasked before a request is sent: events are passed over, anything else means that what comes
    /// next may be the answer to something else.
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

    /// The answer to what was sent; events in between are passed over.
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

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use super::*;

    /// Hands out its chunks one by one, then closes, or is silent.
    #[derive(Debug)]
    struct Chunks {
        chunks: VecDeque<Vec<u8>>,
        closes: bool,
    }

    impl Chunks {
        /// A peer that goes on sending the same: not for ever, because a reader that does not look at the clock is to be
        /// found out and not to hang, but longer than any reader that does would listen.
        fn repeating(chunk: &[u8], limit: usize) -> Connection {
            let chunks = std::iter::repeat_n(chunk.to_vec(), 2000).collect();
            Connection::new(Box::new(Self { chunks, closes: true }), limit)
        }
    }

    impl Transport for Chunks {
        fn peer(&self) -> Peer {
            Peer::default()
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

    fn wire(chunks: &[&[u8]], limit: usize) -> Connection {
        let chunks = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        Connection::new(Box::new(Chunks { chunks, closes: false }), limit)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn what_came_before_a_timeout_is_kept() {
        let mut wire = wire(&[b"{\"ok\":"], 100);
        assert!(matches!(wire.next(soon()), Err(ReceiveError::TimedOut)));
        assert_eq!(wire.lines.begun(), 6);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let mut wire = Chunks::repeating(&[b'x'; 1000], 10_000);
        let result = wire.next(soon());
        assert!(matches!(result, Err(ReceiveError::Bad(BadLine::TooLong { limit: 10_000 }))), "{result:?}");
    }

    /// The deadline is now: what comes after is too late, however much of it there is.
    #[test]
    fn a_peer_that_goes_on_sending_does_not_extend_the_deadline() {
        let events = || Chunks::repeating(b"{\"kind\":\"event\",\"event\":{}}\n", 10_000);
        let result = events().answer(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
        let result = events().clear(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn blank_lines_do_not_extend_the_deadline() {
        let result = Chunks::repeating(b"\n \r\n", 10_000).answer(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn bytes_without_a_line_break_do_not_extend_the_deadline() {
        let result = Chunks::repeating(b"x", usize::MAX).next(Instant::now());
        assert!(matches!(result, Err(ReceiveError::TimedOut)), "{result:?}");
    }

    #[test]
    fn a_line_that_began_before_the_question_is_no_answer_to_it() {
        let mut late = wire(&[b"{\"ok\":true,"], 100);
        assert!(late.clear(soon()).is_ok());
        late.send(b"{}\n", soon()).unwrap();
        late.lines.push(b"\"data\":1}\n");
        assert!(matches!(late.answer(soon()), Err(ReceiveError::Bad(BadLine::Unasked))));
        // An event that came in two halves, one before and one after, is in nobody's way.
        let mut event = wire(&[b"{\"kind\":\"event\","], 100);
        assert!(event.clear(soon()).is_ok());
        event.send(b"{}\n", soon()).unwrap();
        event.lines.push(b"\"event\":{}}\n{\"ok\":true,\"data\":2}\n");
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 2));
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_noticed_before_the_next_request() {
        let mut both = wire(&[b"{\"ok\":true,\"data\":1}\n{\"ok\":true,\"data\":2}\n"], 100);
        assert!(matches!(both.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(matches!(both.clear(soon()), Err(ReceiveError::Bad(BadLine::Unasked))));
        let mut event = wire(&[b"{\"ok\":true,\"data\":1}\n{\"kind\":\"event\",\"event\":{}}\n"], 100);
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(event.clear(soon()).is_ok());
    }

    #[test]
    fn an_end_in_the_middle_of_a_line_is_an_end() {
        let chunks = Chunks { chunks: VecDeque::from([b"{\"ok\"".to_vec()]), closes: true };
        let mut wire = Connection::new(Box::new(chunks), 100);
        assert!(matches!(wire.next(soon()), Err(ReceiveError::Closed { partial: 5 })));
    }
}
