//! The lines that a daemon sends, without a connection: framing, the length limit, and parsing.
//!
//! Pure: takes bytes in any portions and returns lines. [`Client`](crate::Client) reads through it;
//! a program with another connection to a daemon, or a fuzzer, can use it alone.
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

use serde_json::Value;

/// A parsed line.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// The `data` of a successful response.
    Yes(Value),
    /// The `error` of a failed response.
    No(String),
    /// A pushed object: it has a `kind` and no `ok`.
    Push(Value),
}

/// The error of a line. It does not quote the bytes: they may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the message of each variant names its fields")]
pub enum BadLine {
    #[error("a line without an end (more than {limit} bytes)")]
    TooLong { limit: usize },
    #[error("not UTF-8 (byte {at})")]
    NotUtf8 { at: usize },
    /// `column` counts from 1.
    #[error("not JSON ({what}, column {column})")]
    NotJson { column: usize, what: &'static str },
    #[error("not a JSON object")]
    NotAnObject,
    #[error("neither an answer (`ok`) nor an event")]
    NotAnAnswer,
    #[error("an answer came before its request")]
    Unasked,
}

/// Splits bytes that come in portions into lines.
///
/// As an iterator it returns `None` while no whole line is there, and goes on after the next
/// [`Lines::push`]. The lines depend on the bytes alone, not on the portions. It skips blank lines
/// and holds at most `limit` bytes and one portion.
#[derive(Clone, Debug)]
pub struct Lines {
    limit: usize,
    bytes: Vec<u8>,
    /// The end of the lines that were returned.
    start: usize,
    /// The end of the bytes that hold no line break.
    scanned: usize,
    /// Set if the rest of a line that was too long is still to come.
    is_skipping: bool,
}

impl Lines {
    /// Splits into lines of at most `limit` bytes, without the line break.
    pub fn new(limit: usize) -> Self {
        Self { limit, bytes: Vec::new(), start: 0, scanned: 0, is_skipping: false }
    }

    /// Appends the next portion.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Returns the buffer, so that a transport can append to it without a copy.
    pub(crate) fn room(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Returns the number of bytes of the unfinished line.
    pub fn begun(&self) -> usize {
        self.bytes.len() - self.start
    }

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
                if self.is_skipping || self.bytes.len() > self.limit {
                    // Prevents the rest of this line from being parsed as lines.
                    self.bytes = Vec::new();
                    self.scanned = 0;
                    let known = std::mem::replace(&mut self.is_skipping, true);
                    return (!known).then_some(Err(too_long));
                }
                return None;
            };
            let end = self.scanned + length;
            let line = &self.bytes[self.start..end];
            let result = match line.len() > self.limit {
                _ if self.is_skipping => None,
                true => Some(Err(too_long.clone())),
                false => parse(line),
            };
            self.is_skipping = false;
            (self.start, self.scanned) = (end + 1, end + 1);
            if result.is_some() {
                return result;
            }
        }
    }
}

/// Parses a line. Returns `None` for a blank one.
fn parse(line: &[u8]) -> Option<Result<Line, BadLine>> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return None;
    }
    Some(parse_object(line))
}

fn parse_object(line: &[u8]) -> Result<Line, BadLine> {
    let text = std::str::from_utf8(line).map_err(|e| BadLine::NotUtf8 { at: e.valid_up_to() })?;
    let value: Value = serde_json::from_str(text).map_err(|e| BadLine::NotJson {
        column: e.column(),
        what: match e.is_eof() {
            true => "cut off",
            // A number such as 1e999 does not fit into an `f64`.
            false if e.to_string().starts_with("number out of range") => "a number out of range",
            false => "malformed",
        },
    })?;
    let Value::Object(mut object) = value else { return Err(BadLine::NotAnObject) };
    match object.get("ok") {
        Some(Value::Bool(true)) => Ok(Line::Yes(object.remove("data").unwrap_or(Value::Null))),
        Some(Value::Bool(false)) => Ok(Line::No(error_text(object.remove("error").unwrap_or_default()))),
        None if matches!(object.get("kind"), Some(Value::String(_))) => Ok(Line::Push(Value::Object(object))),
        _ => Err(BadLine::NotAnAnswer),
    }
}

/// Returns the error text of a failed response: a string, or the `message` of an object, as other
/// protocols have it.
fn error_text(error: Value) -> String {
    let text = match error {
        Value::Null => String::new(),
        Value::String(text) => text,
        Value::Object(mut members) if members.get("message").is_some_and(Value::is_string) => {
            return error_text(members["message"].take());
        }
        other => other.to_string(),
    };
    if text.trim().is_empty() { "no reason given".to_owned() } else { text }
}
