//! Lines on a connection: what was asked, what belongs to it, and when time is up.

use std::{io, time::Instant};

use serde_json::Value;

use crate::{
    lines::{BadLine, Line, Lines},
    transport::{Peer, Transport},
};

/// A connection that carries lines.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Box<dyn Transport>,
    lines: Lines,
    /// The next line began to come before the last request was sent.
    stale: bool,
}

/// Why there is no line.
#[derive(Debug)]
pub(crate) enum NoLine {
    /// The deadline came first. What has come so far is kept.
    TimedOut,
    /// The peer closed the connection, perhaps in the middle of a line.
    Closed { partial: usize },
    /// The line is longer than the limit, or is not what a daemon sends.
    Bad(BadLine),
    /// The system failed us.
    Failed(io::Error),
}

impl Wire {
    pub(crate) fn new(transport: Box<dyn Transport>, limit: usize) -> Self {
        Self { transport, lines: Lines::new(limit), stale: false }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.transport.peer()
    }

    pub(crate) fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), NoLine> {
        self.stale = self.lines.begun() > 0;
        self.transport.send(line, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => NoLine::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => NoLine::Closed { partial: 0 },
            _ => NoLine::Failed(e),
        })
    }

    /// The next line. What has come already is looked at even when the deadline has passed; but a peer that goes on
    /// sending, blank lines for example, does not extend it.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Line, NoLine> {
        let mut received = false;
        loop {
            if let Some(line) = self.lines.next() {
                let stale = std::mem::take(&mut self.stale);
                return match line {
                    Ok(Line::Yes(_) | Line::No(_)) if stale => Err(NoLine::Bad(BadLine::Unasked)),
                    line => line.map_err(NoLine::Bad),
                };
            }
            if received && Instant::now() > deadline {
                return Err(NoLine::TimedOut);
            }
            match self.transport.receive(self.lines.room(), deadline) {
                Ok(0) => return Err(NoLine::Closed { partial: self.lines.begun() }),
                Ok(_) => received = true,
                Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(NoLine::TimedOut),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(NoLine::Closed { partial: self.lines.begun() });
                }
                Err(e) => return Err(NoLine::Failed(e)),
            }
        }
    }

    /// Takes what came unasked before a request is sent: events are passed over, anything else means that what comes
    /// next may be the answer to something else.
    pub(crate) fn clear(&mut self, deadline: Instant) -> Result<(), NoLine> {
        let now = Instant::now();
        loop {
            match self.next(now) {
                Ok(Line::Push(_)) if Instant::now() > deadline => return Err(NoLine::TimedOut),
                Ok(Line::Push(_)) => {}
                Ok(Line::Yes(_) | Line::No(_)) => return Err(NoLine::Bad(BadLine::Unasked)),
                Err(NoLine::TimedOut) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    /// The answer to what was sent; events in between are passed over.
    pub(crate) fn answer(&mut self, deadline: Instant) -> Result<Result<Value, String>, NoLine> {
        loop {
            match self.next(deadline)? {
                Line::Yes(data) => return Ok(Ok(data)),
                Line::No(error) => return Ok(Err(error)),
                Line::Push(_) if Instant::now() > deadline => return Err(NoLine::TimedOut),
                Line::Push(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, time::Duration};

    use super::*;

    /// Hands out its chunks one by one, then waits for ever.
    #[derive(Debug)]
    struct Chunks {
        chunks: VecDeque<Vec<u8>>,
        endless: Option<Vec<u8>>,
        closes: bool,
        asked: usize,
    }

    impl Transport for Chunks {
        fn peer(&self) -> Peer {
            Peer::default()
        }
        fn send(&mut self, _: &[u8], _: Instant) -> io::Result<()> {
            Ok(())
        }
        fn receive(&mut self, into: &mut Vec<u8>, _: Instant) -> io::Result<usize> {
            self.asked += 1;
            match self.chunks.pop_front().or_else(|| self.endless.clone()) {
                Some(chunk) => {
                    into.extend_from_slice(&chunk);
                    Ok(chunk.len())
                }
                None if self.closes => Ok(0),
                None => Err(io::ErrorKind::TimedOut.into()),
            }
        }
        #[cfg(unix)]
        fn is_hung_up(&self) -> bool {
            self.closes
        }
    }

    fn wire(chunks: &[&[u8]], limit: usize) -> Wire {
        let chunks = chunks.iter().map(|chunk| chunk.to_vec()).collect();
        Wire::new(Box::new(Chunks { chunks, endless: None, closes: false, asked: 0 }), limit)
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    #[test]
    fn what_came_before_a_timeout_is_kept() {
        let mut wire = wire(&[b"{\"ok\":"], 100);
        assert!(matches!(wire.next(soon()), Err(NoLine::TimedOut)));
        assert_eq!(wire.lines.begun(), 6);
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let endless = Some(vec![b'x'; 1000]);
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), 10_000);
        let result = wire.next(soon());
        assert!(matches!(result, Err(NoLine::Bad(BadLine::TooLong { limit: 10_000 }))), "{result:?}");
    }

    #[test]
    fn a_peer_that_goes_on_sending_does_not_extend_the_deadline() {
        let endless = Some(b"{\"kind\":\"event\",\"event\":{}}\n".to_vec());
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), 10_000);
        let result = wire.answer(Instant::now() + Duration::from_millis(20));
        assert!(matches!(result, Err(NoLine::TimedOut)), "{result:?}");
        let result = wire.clear(Instant::now() + Duration::from_millis(20));
        assert!(matches!(result, Err(NoLine::TimedOut)), "{result:?}");
    }

    #[test]
    fn blank_lines_without_end_do_not_extend_the_deadline() {
        let endless = Some(b"\n \r\n".to_vec());
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), 10_000);
        let result = wire.answer(Instant::now() + Duration::from_millis(20));
        assert!(matches!(result, Err(NoLine::TimedOut)), "{result:?}");
    }

    #[test]
    fn a_line_that_began_before_the_question_is_no_answer_to_it() {
        let mut late = wire(&[b"{\"ok\":true,"], 100);
        assert!(late.clear(soon()).is_ok());
        late.send(b"{}\n", soon()).unwrap();
        late.lines.push(b"\"data\":1}\n");
        assert!(matches!(late.answer(soon()), Err(NoLine::Bad(BadLine::Unasked))));
        // An event that came in two halves, one before and one after, is in nobody's way.
        let mut event = wire(&[b"{\"kind\":\"event\","], 100);
        assert!(event.clear(soon()).is_ok());
        event.send(b"{}\n", soon()).unwrap();
        event.lines.push(b"\"event\":{}}\n{\"ok\":true,\"data\":2}\n");
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 2));
    }

    #[test]
    fn bytes_without_a_line_break_do_not_extend_the_deadline() {
        let endless = Some(b"x".to_vec());
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), usize::MAX);
        let result = wire.next(Instant::now() + Duration::from_millis(20));
        assert!(matches!(result, Err(NoLine::TimedOut)), "{result:?}");
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_noticed_before_the_next_request() {
        let mut both = wire(&[b"{\"ok\":true,\"data\":1}\n{\"ok\":true,\"data\":2}\n"], 100);
        assert!(matches!(both.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(matches!(both.clear(soon()), Err(NoLine::Bad(BadLine::Unasked))));
        let mut event = wire(&[b"{\"ok\":true,\"data\":1}\n{\"kind\":\"event\",\"event\":{}}\n"], 100);
        assert!(matches!(event.answer(soon()), Ok(Ok(data)) if data == 1));
        assert!(event.clear(soon()).is_ok());
    }

    #[test]
    fn an_end_in_the_middle_of_a_line_is_an_end() {
        let chunks =
            Chunks { chunks: VecDeque::from([b"{\"ok\"".to_vec()]), endless: None, closes: true, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), 100);
        assert!(matches!(wire.next(soon()), Err(NoLine::Closed { partial: 5 })));
    }
}
