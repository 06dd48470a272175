//! Lines on a connection: what came, where a line ends, how long one may be, when time is up.

use std::{fmt, io, time::Instant};

use serde_json::Value;

use crate::transport::{Peer, Transport};

/// A connection that carries lines.
#[derive(Debug)]
pub(crate) struct Wire {
    transport: Box<dyn Transport>,
    limit: usize,
    /// What came and was not handed out yet.
    buffer: Vec<u8>,
    /// Up to here `buffer` holds no line break.
    scanned: usize,
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

/// What is wrong with a line. Its bytes are not quoted: they may hold secrets.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BadLine {
    TooLong { limit: usize },
    NotUtf8 { at: usize },
    NotJson { column: usize, what: &'static str },
    NotAnObject,
    NotAnAnswer,
    Unasked,
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { limit } => write!(f, "a line without an end (more than {limit} bytes)"),
            Self::NotUtf8 { at } => write!(f, "not UTF-8 (byte {at})"),
            Self::NotJson { column, what } => write!(f, "not JSON ({what}, column {column})"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NotAnAnswer => f.write_str("neither an answer (`ok`) nor an event"),
            Self::Unasked => f.write_str("there was an answer that nobody had asked for"),
        }
    }
}

/// One line, understood.
#[derive(Debug)]
pub(crate) enum Line {
    /// `ok` and `data`.
    Yes(Value),
    /// Not `ok`, and `error`.
    No(String),
    /// Something that the daemon pushes: an object with a `kind` and without `ok`.
    Push(Value),
}

impl Wire {
    pub(crate) fn new(transport: Box<dyn Transport>, limit: usize) -> Self {
        Self { transport, limit, buffer: Vec::new(), scanned: 0 }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.transport.peer()
    }

    pub(crate) fn send(&mut self, line: &[u8], deadline: Instant) -> Result<(), NoLine> {
        self.transport.send(line, deadline).map_err(|e| match e.kind() {
            io::ErrorKind::TimedOut => NoLine::TimedOut,
            io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => NoLine::Closed { partial: 0 },
            _ => NoLine::Failed(e),
        })
    }

    /// The next line. What has come already is looked at even when the deadline has passed; but a peer that goes on
    /// sending does not extend it.
    pub(crate) fn next(&mut self, deadline: Instant) -> Result<Line, NoLine> {
        loop {
            if let Some(end) = self.buffer[self.scanned..].iter().position(|byte| *byte == b'\n') {
                let end = self.scanned + end;
                let line = understand(&self.buffer[..end]);
                self.buffer.drain(..=end);
                self.scanned = 0;
                match line {
                    Some(line) => return line.map_err(NoLine::Bad),
                    None => continue,
                }
            }
            self.scanned = self.buffer.len();
            if self.buffer.len() > self.limit {
                // What follows of this line would be taken for answers: forget it all.
                self.buffer = Vec::new();
                self.scanned = 0;
                return Err(NoLine::Bad(BadLine::TooLong { limit: self.limit }));
            }
            match self.transport.receive(&mut self.buffer, deadline) {
                Ok(0) => return Err(NoLine::Closed { partial: self.buffer.len() }),
                Ok(_) if Instant::now() > deadline && !self.buffer[self.scanned..].contains(&b'\n') => {
                    return Err(NoLine::TimedOut);
                }
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(NoLine::TimedOut),
                Err(e) if e.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(NoLine::Closed { partial: self.buffer.len() });
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

/// What a line says; `None` for an empty one.
fn understand(line: &[u8]) -> Option<Result<Line, BadLine>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    Some(parse(line))
}

fn parse(line: &[u8]) -> Result<Line, BadLine> {
    let text = std::str::from_utf8(line).map_err(|e| BadLine::NotUtf8 { at: e.valid_up_to() })?;
    let value: Value = serde_json::from_str(text).map_err(|e| BadLine::NotJson {
        column: e.column(),
        what: if e.is_eof() { "cut off" } else { "malformed" },
    })?;
    let Value::Object(mut object) = value else { return Err(BadLine::NotAnObject) };
    match object.get("ok") {
        Some(Value::Bool(true)) => Ok(Line::Yes(object.remove("data").unwrap_or(Value::Null))),
        Some(Value::Bool(false)) => Ok(Line::No(match object.remove("error") {
            Some(Value::String(error)) => error,
            Some(other) => other.to_string(),
            None => "no reason given".to_owned(),
        })),
        None if matches!(object.get("kind"), Some(Value::String(_))) => Ok(Line::Push(Value::Object(object))),
        _ => Err(BadLine::NotAnAnswer),
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
    fn a_line_may_come_in_pieces_and_several_at_once() {
        let mut wire = wire(&[b"{\"ok\":tr", b"ue,\"data\":1}\n{\"ok\":true,\"da", b"ta\":2}\r\n\n"], 100);
        assert!(matches!(wire.next(soon()), Ok(Line::Yes(data)) if data == 1));
        assert!(matches!(wire.next(soon()), Ok(Line::Yes(data)) if data == 2));
        assert!(matches!(wire.next(soon()), Err(NoLine::TimedOut)));
    }

    #[test]
    fn what_came_before_a_timeout_is_kept() {
        let mut wire = wire(&[b"{\"ok\":"], 100);
        assert!(matches!(wire.next(soon()), Err(NoLine::TimedOut)));
        assert_eq!(wire.buffer, b"{\"ok\":");
    }

    #[test]
    fn a_line_without_end_is_bounded() {
        let endless = Some(vec![b'x'; 1000]);
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), 10_000);
        let result = wire.next(soon());
        assert!(matches!(result, Err(NoLine::Bad(BadLine::TooLong { limit: 10_000 }))), "{result:?}");
        assert!(wire.buffer.capacity() < 20_000);
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
    fn bytes_without_a_line_break_do_not_extend_the_deadline() {
        let endless = Some(b"x".to_vec());
        let chunks = Chunks { chunks: VecDeque::new(), endless, closes: false, asked: 0 };
        let mut wire = Wire::new(Box::new(chunks), usize::MAX);
        let result = wire.next(Instant::now() + Duration::from_millis(20));
        assert!(matches!(result, Err(NoLine::TimedOut)), "{result:?}");
    }

    #[test]
    fn lines_that_no_daemon_sends_are_told_apart() {
        for (line, bad) in [
            (b"garbage\n".as_slice(), BadLine::NotJson { column: 1, what: "malformed" }),
            (b"{\"ok\":\n", BadLine::NotJson { column: 6, what: "cut off" }),
            (b"{\"ok\":true,\"data\":\"\xff\"}\n", BadLine::NotUtf8 { at: 19 }),
            (b"[1]\n", BadLine::NotAnObject),
            (b"{\"data\":1}\n", BadLine::NotAnAnswer),
            (b"{\"ok\":\"true\"}\n", BadLine::NotAnAnswer),
            (b"{\"ok\":null,\"kind\":\"event\"}\n", BadLine::NotAnAnswer),
        ] {
            match wire(&[line], 100).next(soon()) {
                Err(NoLine::Bad(found)) => assert_eq!(found, bad),
                other => panic!("{:?} gave {other:?}", String::from_utf8_lossy(line)),
            }
        }
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let line = [b"{\"ok\":true,\"data\":".as_slice(), &vec![b'['; 100_000], b"\n"].concat();
        assert!(matches!(wire(&[&line], 1 << 20).next(soon()), Err(NoLine::Bad(BadLine::NotJson { .. }))));
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

    #[test]
    fn a_refusal_without_a_text_is_still_one() {
        assert!(matches!(wire(&[b"{\"ok\":false}\n"], 100).next(soon()), Ok(Line::No(_))));
        assert!(matches!(wire(&[b"{\"ok\":true}\n"], 100).next(soon()), Ok(Line::Yes(Value::Null))));
    }
}
