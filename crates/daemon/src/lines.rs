//! What a daemon sends, without the connection: where a line ends, how long one may be, what it says.
//!
//! Pure: bytes go in as they come, lines come out. [`Client`](crate::Client) reads through it; who has another way to a
//! daemon, or wants to try what odd bytes do, can use it alone.
//!
//! ```
//! use myownllm_daemon::lines::{Line, Lines};
//!
//! let mut lines = Lines::new(1024);
//! lines.push(b"{\"ok\":true,\"data\":");
//! assert!(lines.next().is_none(), "half a line");
//! lines.push(b"7}\n{\"ok\":false,\"error\":\"no\"}\n");
//! assert_eq!(lines.next(), Some(Ok(Line::Yes(7.into()))));
//! assert_eq!(lines.next(), Some(Ok(Line::No("no".to_owned()))));
//! ```

use std::fmt;

use serde_json::Value;

/// One line, understood.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// `ok` and `data`.
    Yes(Value),
    /// Not `ok`, and `error`.
    No(String),
    /// Something that the daemon pushes: an object with a `kind` and without `ok`.
    Push(Value),
}

/// What is wrong with a line. Its bytes are not quoted: they may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BadLine {
    /// No line break came within the limit.
    TooLong {
        /// The limit in bytes.
        limit: usize,
    },
    /// It is no text.
    NotUtf8 {
        /// The first byte that is none.
        at: usize,
    },
    /// It is no JSON.
    NotJson {
        /// Where, counted from 1.
        column: usize,
        /// What, in a word.
        what: &'static str,
    },
    /// It is JSON, and no object.
    NotAnObject,
    /// It is neither an answer nor an event.
    NotAnAnswer,
    /// It is an answer, and was sent before the question.
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

impl std::error::Error for BadLine {}

/// Lines out of bytes that come in portions.
///
/// As an iterator it is at its end (`None`) whenever no whole line is there, and goes on after the next portion. What it
/// gives depends on the bytes alone, not on how they were portioned. Blank lines are passed over. It holds no more than the
/// limit and one portion.
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    bytes: Vec<u8>,
    /// Up to here all was handed out.
    start: usize,
    /// Up to here there is no line break.
    scanned: usize,
    /// The rest of a line that was too long is still to come.
    skipping: bool,
}

impl Lines {
    /// For lines of at most `limit` bytes, the break not counted.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), start: 0, scanned: 0, skipping: false }
    }

    /// Takes the next portion.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Where the next portion can be appended without a copy.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many bytes there are of a line whose end has not come.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Lets go of all that was handed out.
    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.scanned = self.bytes.len();
    }
}

impl Iterator for Lines {
    type Item = Result<Line, BadLine>;

    fn next(&mut self) -> Option<Self::Item> {
        let too_long = BadLine::TooLong { limit: self.limit };
        loop {
            let Some(length) = self.bytes[self.scanned..].iter().position(|byte| *byte == b'\n') else {
                self.compact();
                if self.skipping || self.bytes.len() > self.limit {
                    // The rest of this line must not be taken for lines of their own.
                    self.bytes = Vec::new();
                    self.scanned = 0;
                    let known = std::mem::replace(&mut self.skipping, true);
                    return (!known).then_some(Err(too_long));
                }
                return None;
            };
            let end = self.scanned + length;
            let line = &self.bytes[self.start..end];
            let result = match line.len() > self.limit {
                _ if self.skipping => None,
                true => Some(Err(too_long.clone())),
                false => understand(line),
            };
            self.skipping = false;
            (self.start, self.scanned) = (end + 1, end + 1);
            if result.is_some() {
                return result;
            }
        }
    }
}

/// What a line says; `None` for a blank one.
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
        what: match e.is_eof() {
            true => "cut off",
            // Which no reader holds that makes numbers of the machine's own of it.
            false if e.to_string().starts_with("number out of range") => "a number out of range",
            false => "malformed",
        },
    })?;
    let Value::Object(mut object) = value else { return Err(BadLine::NotAnObject) };
    match object.get("ok") {
        Some(Value::Bool(true)) => Ok(Line::Yes(object.remove("data").unwrap_or(Value::Null))),
        Some(Value::Bool(false)) => Ok(Line::No(reason(object.remove("error").unwrap_or_default()))),
        None if matches!(object.get("kind"), Some(Value::String(_))) => Ok(Line::Push(Value::Object(object))),
        _ => Err(BadLine::NotAnAnswer),
    }
}

/// Why a daemon says no: a text, or an object that holds one, as other protocols have it.
fn reason(error: Value) -> String {
    let text = match error {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Object(mut members) if members.get("message").is_some_and(Value::is_string) => {
            return reason(members["message"].take());
        }
        other => other.to_string(),
    };
    if text.trim().is_empty() { "no reason given".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(limit: usize, portions: &[&[u8]]) -> Vec<Result<Line, BadLine>> {
        let mut lines = Lines::new(limit);
        let mut found = Vec::new();
        for portion in portions {
            lines.push(portion);
            found.extend(lines.by_ref());
        }
        found
    }

    #[test]
    fn a_line_may_come_in_pieces_and_several_at_once() {
        let found = all(100, &[b"{\"ok\":tr", b"ue,\"data\":1}\n{\"ok\":true,\"da", b"ta\":2}\r\n\n"]);
        assert_eq!(found, [Ok(Line::Yes(1.into())), Ok(Line::Yes(2.into()))]);
    }

    #[test]
    fn a_line_without_end_is_said_once_and_its_rest_is_none() {
        let yes = b"{\"ok\":true}";
        let long = [b"x".repeat(20).as_slice(), yes, b"\n", yes, b"\n"].concat();
        let whole = all(15, &[&long]);
        assert_eq!(whole, [Err(BadLine::TooLong { limit: 15 }), Ok(Line::Yes(Value::Null))]);
        let mut lines = Lines::new(15);
        for _ in 0..1000 {
            lines.push(&[b'x'; 1000]);
            let _ = lines.next();
            assert!(lines.bytes.capacity() < 4000 && lines.next().is_none());
        }
    }

    #[test]
    fn lines_that_no_daemon_sends_are_told_apart() {
        for (line, bad) in [
            (b"garbage\n".as_slice(), BadLine::NotJson { column: 1, what: "malformed" }),
            (b"{\"ok\":\n", BadLine::NotJson { column: 6, what: "cut off" }),
            (b"{\"ok\":true,\"data\":\"\xff\"}\n", BadLine::NotUtf8 { at: 19 }),
            (b"[1e999]\n", BadLine::NotJson { column: 6, what: "a number out of range" }),
            (b"[1]\n", BadLine::NotAnObject),
            (b"{\"data\":1}\n", BadLine::NotAnAnswer),
            (b"{\"ok\":\"true\"}\n", BadLine::NotAnAnswer),
            (b"{\"ok\":null,\"kind\":\"event\"}\n", BadLine::NotAnAnswer),
        ] {
            assert_eq!(all(100, &[line]), [Err(bad)]);
        }
    }

    #[test]
    fn a_refusal_without_a_text_is_still_one() {
        for (error, reason) in [
            ("", "no reason given"),
            (r#","error":null"#, "no reason given"),
            (r#","error":" ""#, "no reason given"),
            (r#","error":{}"#, "{}"),
            (r#","error":{"code":7,"message":"the disk is full"}"#, "the disk is full"),
            (r#","error":{"message":7}"#, r#"{"message":7}"#),
            (r#","error":["a"]"#, r#"["a"]"#),
            (r#","error":false"#, "false"),
        ] {
            let line = format!("{{\"ok\":false{error}}}\n");
            assert_eq!(all(100, &[line.as_bytes()]), [Ok(Line::No(reason.to_owned()))], "{error}");
        }
        assert_eq!(all(100, &[b"{\"ok\":true}\n"]), [Ok(Line::Yes(Value::Null))]);
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_crash() {
        let line = [b"{\"ok\":true,\"data\":".as_slice(), &vec![b'['; 100_000], b"\n"].concat();
        assert!(matches!(all(1 << 20, &[&line])[0], Err(BadLine::NotJson { .. })));
    }

    /// Bytes of which lines may be made, and some of which none can.
    fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
        let pieces: &[&[u8]] = &[
            b"\n",
            b"\n",
            b"\r\n",
            b" ",
            b"{\"ok\":true}",
            b"{\"ok\":true,\"data\":",
            b"[[1,2]]}",
            b"\xff\xfe",
            b"{\"ok\":false,\"error\":\"no\"}",
            b"{\"kind\":\"event\",\"event\":{}}",
            b"{",
            b"}",
            b"\"",
            b"x",
            b"\0",
        ];
        prop::collection::vec(prop::sample::select(pieces), 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn how_the_bytes_are_portioned_means_nothing(
            bytes in any_bytes(),
            cuts in prop::collection::vec(0_usize..200, 0..8),
            limit in 0_usize..60,
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let portions: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(all(limit, &portions), all(limit, &[&bytes]));
        }
    }
}
