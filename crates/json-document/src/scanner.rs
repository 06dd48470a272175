//! The grammar: one pass over a JSON text leaves the position of every value on a tape.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::bytes::{fingerprint, plain_end, skip_white_space};
use crate::error::{MAX_DEPTH, ParseErrorKind};
use crate::text::{decode, push_pointer};

/// Objects with more members get a sorted index. Without it, finding duplicates and looking up each
/// member in turn would be quadratic.
pub(crate) const INDEX_FROM: usize = 24;

/// Top bit of [`Entry::end_and_flag`]: the string holds an escape. Texts are shorter than 2^31
/// bytes (`MAX_BYTES`).
const ESCAPED: u32 = 1 << 31;

/// A key or a value. The entries of an object follow it as key, value, key, value; those of an
/// array as values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    end_and_flag: u32,
    /// The entry after this one and its contents.
    pub(crate) next: u32,
}

impl Entry {
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }

    pub(crate) fn end(self) -> usize {
        (self.end_and_flag & !ESCAPED) as usize
    }

    pub(crate) fn is_escaped(self) -> bool {
        self.end_and_flag & ESCAPED != 0
    }
}

#[derive(Default)]
pub(crate) struct Tape {
    pub(crate) entries: Vec<Entry>,
    /// Key entries that a later member of the same name shadows, ascending.
    pub(crate) shadowed: Vec<u32>,
    /// Object entry -> its key entries, sorted by decoded key, then by position.
    pub(crate) indexes: HashMap<u32, Box<[u32]>>,
}

struct Frame {
    entry: u32,
    is_object: bool,
    /// Index of this object's first key in [`Scanner::keys`].
    keys_from: usize,
    items: u32,
}

#[derive(Clone, Copy)]
struct Key {
    entry: u32,
    /// Tells most different names apart without a look at the text.
    fingerprint: u64,
}

/// The place where a scan failed.
pub(crate) struct ScanFailure {
    pub(crate) kind: ParseErrorKind,
    pub(crate) at: usize,
    pub(crate) pointer: String,
    /// The entries of the objects and arrays that are open there, outermost first.
    pub(crate) open: Vec<u32>,
}

/// Scans `text` from `from` on, which must hold one value (of any type) and white space, and
/// appends its entries to `tape`.
///
/// On failure, the entries scanned so far stay on the tape, where nothing leads to them.
pub(crate) fn scan(text: &str, from: usize, tape: &mut Tape) -> Result<(), ScanFailure> {
    let known = tape.shadowed.len();
    let (stack, keys) = (Vec::new(), Vec::new());
    let mut s = Scanner { bytes: text.as_bytes(), at: from, tape, stack, keys };
    let result = s.document().map_err(|kind| {
        let open = s.stack.iter().map(|frame| frame.entry).collect();
        ScanFailure { kind, at: s.at, pointer: s.pointer(), open }
    });
    // The keys of earlier values all come before those of this one.
    tape.shadowed[known..].sort_unstable();
    result
}

struct Scanner<'t> {
    bytes: &'t [u8],
    /// The position where the scan begins; on failure, where it stopped.
    at: usize,
    tape: &'t mut Tape,
    stack: Vec<Frame>,
    /// The keys of the open objects, innermost last.
    keys: Vec<Key>,
}

/// The position after a step of the scan.
type Step = Result<usize, ParseErrorKind>;

impl Scanner<'_> {
    fn fail<T>(&mut self, at: usize, kind: ParseErrorKind) -> Result<T, ParseErrorKind> {
        self.at = at;
        Err(kind)
    }

    #[cold]
    fn expected(&mut self, at: usize, token: &'static str) -> Step {
        let is_end = at >= self.bytes.len();
        self.fail(at, if is_end { ParseErrorKind::UnexpectedEnd } else { ParseErrorKind::Syntax(token) })
    }

    fn document(&mut self) -> Result<(), ParseErrorKind> {
        let bytes = self.bytes;
        let mut at = skip_white_space(bytes, self.at);
        if at >= bytes.len() {
            return self.fail(at, ParseErrorKind::Empty);
        }
        // `value` opens containers; this loop closes them and moves on. Nesting costs heap, never
        // call stack.
        at = self.value(at)?;
        while let Some(frame) = self.stack.last_mut() {
            let is_object = frame.is_object;
            let is_first = frame.items == 0;
            frame.items += 1;
            at = skip_white_space(bytes, at);
            match (bytes.get(at), is_object) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    at += 1;
                    self.close(at);
                    continue;
                }
                (Some(b','), _) if !is_first => {
                    let comma = at;
                    at = skip_white_space(bytes, at + 1);
                    if let Some(b'}' | b']') = bytes.get(at) {
                        return self.fail(comma, ParseErrorKind::TrailingComma);
                    }
                }
                _ if is_first => {}
                (_, true) => return self.expected(at, "`,` or `}`").map(drop),
                (_, false) => return self.expected(at, "`,` or `]`").map(drop),
            }
            if is_object {
                if bytes.get(at) != Some(&b'"') {
                    let token = if is_first { "a key in quotes, or `}`" } else { "a key in quotes" };
                    return self.expected(at, token).map(drop);
                }
                at = self.key(at)?;
                at = skip_white_space(bytes, at);
                if bytes.get(at) != Some(&b':') {
                    return self.expected(at, "`:` after a key").map(drop);
                }
                at = skip_white_space(bytes, at + 1);
            }
            at = self.value(at)?;
        }
        at = skip_white_space(bytes, at);
        if at < bytes.len() {
            return self.fail(at, ParseErrorKind::Syntax("nothing more after the end of the document"));
        }
        Ok(())
    }

    /// Scans one scalar, or the opening of a container.
    #[inline]
    fn value(&mut self, at: usize) -> Step {
        match self.bytes.get(at) {
            Some(b'"') => self.string(at),
            Some(open @ (b'{' | b'[')) => {
                if self.stack.len() == MAX_DEPTH {
                    return self.fail(at, ParseErrorKind::TooDeep);
                }
                let entry = self.tape.entries.len() as u32;
                self.push(at, at + 1, false);
                let keys_from = self.keys.len();
                self.stack.push(Frame { entry, is_object: *open == b'{', keys_from, items: 0 });
                Ok(at + 1)
            }
            Some(b'-' | b'0'..=b'9') => self.number(at),
            Some(b't') => self.word(at, b"true"),
            Some(b'f') => self.word(at, b"false"),
            Some(b'n') => self.word(at, b"null"),
            _ => self.expected(at, "a value"),
        }
    }

    #[inline]
    fn push(&mut self, start: usize, end: usize, is_escaped: bool) {
        let next = self.tape.entries.len() as u32 + 1;
        let flag = if is_escaped { ESCAPED } else { 0 };
        self.tape.entries.push(Entry { start: start as u32, end_and_flag: end as u32 | flag, next });
    }

    fn word(&mut self, start: usize, word: &[u8]) -> Step {
        let same = self.bytes[start..].iter().zip(word).take_while(|(a, b)| a == b).count();
        let at = start + same;
        if same < word.len() {
            return self.expected(at, "`true`, `false` or `null`");
        }
        self.push(start, at, false);
        Ok(at)
    }

    fn digits(&mut self, at: usize) -> Step {
        let count = self.bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 { self.expected(at, "a digit") } else { Ok(at + count) }
    }

    fn number(&mut self, start: usize) -> Step {
        let bytes = self.bytes;
        let mut at = start;
        if bytes.get(at) == Some(&b'-') {
            at += 1;
        }
        if bytes.get(at) == Some(&b'0') {
            at += 1;
            if matches!(bytes.get(at), Some(b'0'..=b'9')) {
                return self.expected(at, "a number without a leading zero");
            }
        } else {
            at = self.digits(at)?;
        }
        if bytes.get(at) == Some(&b'.') {
            at = self.digits(at + 1)?;
        }
        if let Some(b'e' | b'E') = bytes.get(at) {
            at += 1;
            if let Some(b'+' | b'-') = bytes.get(at) {
                at += 1;
            }
            at = self.digits(at)?;
        }
        self.push(start, at, false);
        Ok(at)
    }

    #[inline]
    fn key(&mut self, start: usize) -> Step {
        let entry = self.tape.entries.len() as u32;
        let at = self.string(start)?;
        let fingerprint = match self.tape.entries[entry as usize].is_escaped() {
            false => fingerprint(self.bytes, start + 1, at - 1),
            true => {
                let decoded = self.decoded_key(entry);
                fingerprint(&decoded, 0, decoded.len())
            }
        };
        self.keys.push(Key { entry, fingerprint });
        Ok(at)
    }

    #[inline]
    fn string(&mut self, start: usize) -> Step {
        let at = plain_end(self.bytes, start + 1);
        if self.bytes.get(at) == Some(&b'"') {
            self.push(start, at + 1, false);
            return Ok(at + 1);
        }
        self.escaped_string(start, at)
    }

    /// Scans a string that is plain up to `at` only.
    #[inline(never)]
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Step {
        let bytes = self.bytes;
        loop {
            match bytes.get(at) {
                Some(b'"') => {
                    self.push(start, at + 1, true);
                    return Ok(at + 1);
                }
                Some(b'\\') => match bytes.get(at + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                    Some(b'u') => {
                        let hex =
                            bytes[at + 2..].iter().take(4).take_while(|b| b.is_ascii_hexdigit()).count();
                        at += 2 + hex;
                        if hex < 4 {
                            return self.expected(at, "four hex digits after `\\u`");
                        }
                    }
                    _ => return self.expected(at + 1, "an escape that JSON has"),
                },
                Some(_) => return self.expected(at, "no control character inside a string"),
                None => return self.fail(at, ParseErrorKind::UnexpectedEnd),
            }
            at = plain_end(bytes, at);
        }
    }

    /// Closes the innermost container. `end` is the position after its bracket.
    fn close(&mut self, end: usize) {
        let Some(frame) = self.stack.pop() else { return };
        let next = self.tape.entries.len() as u32;
        let e = &mut self.tape.entries[frame.entry as usize];
        e.end_and_flag = end as u32;
        e.next = next;
        if frame.is_object {
            if self.keys.len() - frame.keys_from > INDEX_FROM {
                self.index(frame.entry, frame.keys_from);
            } else {
                self.find_duplicates(frame.keys_from);
            }
            self.keys.truncate(frame.keys_from);
        }
    }

    fn decoded_key(&self, key: u32) -> Cow<'_, [u8]> {
        let e = self.tape.entries[key as usize];
        let inner = &self.bytes[e.start() + 1..e.end() - 1];
        if e.is_escaped() {
            Cow::Owned(decode(&String::from_utf8_lossy(inner)))
        } else {
            Cow::Borrowed(inner)
        }
    }

    /// Compares every pair of keys of an object with few members.
    fn find_duplicates(&mut self, from: usize) {
        // Skips the duplicates of other objects: a document may have very many of them.
        let known = self.tape.shadowed.len();
        for later in from..self.keys.len() {
            let b = self.keys[later];
            if self.keys[from..later].iter().all(|a| a.fingerprint != b.fingerprint) {
                continue;
            }
            for earlier in from..later {
                let a = self.keys[earlier];
                if a.fingerprint == b.fingerprint
                    && self.decoded_key(a.entry) == self.decoded_key(b.entry)
                    && !self.tape.shadowed[known..].contains(&a.entry)
                {
                    self.tape.shadowed.push(a.entry);
                }
            }
        }
    }

    /// Sorts the keys of an object with many members; duplicates then stand side by side in file
    /// order.
    fn index(&mut self, object: u32, from: usize) {
        let mut sorted: Vec<(Cow<'_, [u8]>, u32)> =
            self.keys[from..].iter().map(|k| (self.decoded_key(k.entry), k.entry)).collect();
        sorted.sort_unstable();
        let shadowed: Vec<u32> = sorted.windows(2).filter(|w| w[0].0 == w[1].0).map(|w| w[0].1).collect();
        let index = sorted.into_iter().map(|(_, k)| k).collect();
        self.tape.shadowed.extend(shadowed);
        self.tape.indexes.insert(object, index);
    }

    /// Returns the JSON Pointer to the value that the scan is in.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for (n, frame) in self.stack.iter().enumerate() {
            if frame.is_object {
                let keys_to = self.stack.get(n + 1).map_or(self.keys.len(), |inner| inner.keys_from);
                // A frame without a key failed before or inside its first key.
                if keys_to > frame.keys_from {
                    let key = self.decoded_key(self.keys[keys_to - 1].entry);
                    push_pointer(&mut pointer, &String::from_utf8_lossy(&key));
                }
            } else if frame.items > 0 {
                push_pointer(&mut pointer, &(frame.items - 1).to_string());
            }
        }
        pointer
    }
}
