//! One pass over a JSON text: checks the grammar and leaves the place of every value on a tape.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{MAX_DEPTH, ParseErrorKind};

/// Objects with more members than this get a sorted index, so that neither the search for duplicates nor looking up each
/// member in turn is quadratic.
pub(super) const INDEX_FROM: usize = 24;

/// Top bit of [`Entry::end`]: the string holds an escape. Texts are shorter than 2^31 bytes (`MAX_BYTES`).
const ESCAPED: u32 = 1 << 31;

/// A key or a value. The entries of an object follow it as key, value, key, value; those of a list as values.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    start: u32,
    end_and_flag: u32,
    /// The entry after this one and all that it contains.
    pub(super) next: u32,
}

impl Entry {
    pub(super) fn start(self) -> usize {
        self.start as usize
    }
    pub(super) fn end(self) -> usize {
        (self.end_and_flag & !ESCAPED) as usize
    }
    fn is_escaped(self) -> bool {
        self.end_and_flag & ESCAPED != 0
    }
}

/// A text and its tape. Entry 0 is the root value.
pub(super) struct Source {
    pub(super) text: String,
    pub(super) tape: Vec<Entry>,
    /// Key entries that a later member of the same name overrules, ascending.
    overruled: Vec<u32>,
    /// Object entry -> its key entries, sorted by decoded key, then by place.
    indexes: HashMap<u32, Box<[u32]>>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the text: it may hold a secret.
        f.debug_struct("Source").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// Where and why a scan stopped; `stack` is the way there.
pub(super) struct Stop {
    pub(super) kind: ParseErrorKind,
    pub(super) at: usize,
    pub(super) pointer: String,
}

struct Frame {
    entry: u32,
    is_object: bool,
    /// Where this object's keys begin in the scanner's list of keys.
    keys_from: usize,
    items: u32,
}

impl Source {
    pub(super) fn entry(&self, at: u32) -> Entry {
        self.tape[at as usize]
    }
    pub(super) fn raw(&self, at: u32) -> &str {
        let e = self.entry(at);
        &self.text[e.start()..e.end()]
    }
    pub(super) fn first_byte(&self, at: u32) -> u8 {
        self.text.as_bytes()[self.entry(at).start()]
    }
    /// The text between the quotes, still escaped.
    fn inner(&self, at: u32) -> &str {
        let e = self.entry(at);
        &self.text[e.start() + 1..e.end() - 1]
    }
    /// The decoded bytes of a string; lone surrogates in their three-byte form, so that different texts stay different.
    pub(super) fn decoded(&self, at: u32) -> Cow<'_, [u8]> {
        let inner = self.inner(at);
        if self.entry(at).is_escaped() {
            Cow::Owned(super::text::decode(inner))
        } else {
            Cow::Borrowed(inner.as_bytes())
        }
    }
    pub(super) fn is_overruled(&self, key: u32) -> bool {
        !self.overruled.is_empty() && self.overruled.binary_search(&key).is_ok()
    }
    pub(super) fn overruled(&self) -> &[u32] {
        &self.overruled
    }
    /// The key entries of an object, in file order, overruled ones included.
    pub(super) fn keys(&self, object: u32) -> impl Iterator<Item = u32> + use<'_> {
        let end = self.entry(object).next;
        let mut at = object + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let key = at;
                at = self.entry(key + 1).next;
                key
            })
        })
    }
    /// The item entries of a list.
    pub(super) fn items(&self, list: u32) -> impl Iterator<Item = u32> + use<'_> {
        let end = self.entry(list).next;
        let mut at = list + 1;
        std::iter::from_fn(move || {
            (at < end).then(|| {
                let item = at;
                at = self.entry(item).next;
                item
            })
        })
    }
    /// The key entry that counts for `key`.
    pub(super) fn find(&self, object: u32, key: &[u8]) -> Option<u32> {
        if let Some(sorted) = self.indexes.get(&object) {
            let after = sorted.partition_point(|&k| &*self.decoded(k) <= key);
            let last = *sorted.get(after.checked_sub(1)?)?;
            return (&*self.decoded(last) == key).then_some(last);
        }
        self.keys(object).filter(|&k| self.key_is(k, key)).last()
    }
    fn key_is(&self, at: u32, key: &[u8]) -> bool {
        let e = self.entry(at);
        if e.is_escaped() {
            &*self.decoded(at) == key
        } else {
            e.end() - e.start() - 2 == key.len() && self.inner(at).as_bytes() == key
        }
    }
    /// JSON Pointer of an entry (a value, or a key: then that of its member).
    pub(super) fn pointer_to(&self, wanted: u32) -> String {
        let mut pointer = String::new();
        let mut at = 0;
        while at != wanted {
            match self.first_byte(at) {
                b'{' => {
                    let Some(key) = self.keys(at).find(|&k| wanted < self.entry(k + 1).next) else { break };
                    super::text::push_pointer(&mut pointer, &String::from_utf8_lossy(&self.decoded(key)));
                    if key == wanted {
                        break;
                    }
                    at = key + 1;
                }
                b'[' => {
                    let Some((n, item)) =
                        self.items(at).enumerate().find(|&(_, i)| wanted < self.entry(i).next)
                    else {
                        break;
                    };
                    super::text::push_pointer(&mut pointer, &n.to_string());
                    at = item;
                }
                _ => break,
            }
        }
        pointer
    }
    /// The innermost entry that holds a place in the text.
    pub(super) fn entry_at(&self, offset: usize) -> u32 {
        let mut best = 0;
        let mut at = 0;
        while (at as usize) < self.tape.len() {
            let e = self.entry(at);
            if e.start() > offset {
                break;
            }
            if offset < e.end() {
                best = at;
                at += 1;
            } else {
                at = e.next;
            }
        }
        best
    }
}

/// Scans `text`, which must hold exactly one value (of any type) and white space.
pub(super) fn scan(text: String) -> Result<Source, Stop> {
    let (tape, overruled, indexes) = {
        let mut s = Scanner {
            bytes: text.as_bytes(),
            at: 0,
            // A config has an entry for every dozen bytes or so; a wrong guess costs a copy, not correctness.
            tape: Vec::with_capacity(text.len() / 16 + 4),
            stack: Vec::new(),
            keys: Vec::new(),
            overruled: Vec::new(),
            indexes: HashMap::new(),
        };
        match s.document() {
            Ok(()) => {
                s.overruled.sort_unstable();
                (s.tape, s.overruled, s.indexes)
            }
            Err(kind) => {
                let (at, pointer) = (s.at, s.pointer());
                return Err(Stop { kind, at, pointer });
            }
        }
    };
    Ok(Source { text, tape, overruled, indexes })
}

struct Scanner<'t> {
    bytes: &'t [u8],
    at: usize,
    tape: Vec<Entry>,
    stack: Vec<Frame>,
    /// Key entries of the objects that are open, innermost last.
    keys: Vec<u32>,
    overruled: Vec<u32>,
    indexes: HashMap<u32, Box<[u32]>>,
}

impl Scanner<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_white_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn expected(&self, what: &'static str) -> ParseErrorKind {
        if self.at >= self.bytes.len() { ParseErrorKind::UnexpectedEnd } else { ParseErrorKind::Syntax(what) }
    }

    fn document(&mut self) -> Result<(), ParseErrorKind> {
        self.skip_white_space();
        if self.peek().is_none() {
            return Err(ParseErrorKind::Empty);
        }
        // `value` opens containers; this loop closes them and moves on, so nesting costs heap, never call stack.
        self.value()?;
        while let Some(frame) = self.stack.last_mut() {
            let is_object = frame.is_object;
            let fresh = frame.items == 0;
            frame.items += 1;
            let entry = frame.entry;
            self.skip_white_space();
            match (self.peek(), is_object) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    self.at += 1;
                    self.close(entry);
                    continue;
                }
                (Some(b','), _) if !fresh => {
                    self.at += 1;
                    self.skip_white_space();
                }
                _ if fresh => {}
                (_, true) => return Err(self.expected("`,` or `}`")),
                (_, false) => return Err(self.expected("`,` or `]`")),
            }
            if is_object {
                if self.peek() != Some(b'"') {
                    return Err(self.expected(if fresh {
                        "a key in quotes, or `}`"
                    } else {
                        "a key in quotes"
                    }));
                }
                let key = self.tape.len() as u32;
                self.string()?;
                self.keys.push(key);
                self.skip_white_space();
                if self.peek() != Some(b':') {
                    return Err(self.expected("`:` after a key"));
                }
                self.at += 1;
                self.skip_white_space();
            }
            self.value()?;
        }
        self.skip_white_space();
        if self.at < self.bytes.len() {
            return Err(ParseErrorKind::Syntax("nothing more after the end of the document"));
        }
        Ok(())
    }

    /// One scalar, or the opening of a container.
    fn value(&mut self) -> Result<(), ParseErrorKind> {
        match self.peek() {
            Some(open @ (b'{' | b'[')) => {
                if self.stack.len() == MAX_DEPTH {
                    return Err(ParseErrorKind::TooDeep);
                }
                let entry = self.tape.len() as u32;
                self.push(self.at, self.at + 1, false);
                self.at += 1;
                let keys_from = self.keys.len();
                self.stack.push(Frame { entry, is_object: open == b'{', keys_from, items: 0 });
                Ok(())
            }
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => Err(self.expected("a value")),
        }
    }

    fn push(&mut self, start: usize, end: usize, escaped: bool) {
        let next = self.tape.len() as u32 + 1;
        let flag = if escaped { ESCAPED } else { 0 };
        self.tape.push(Entry { start: start as u32, end_and_flag: end as u32 | flag, next });
    }

    fn word(&mut self, word: &[u8]) -> Result<(), ParseErrorKind> {
        let start = self.at;
        for &b in word {
            if self.peek() != Some(b) {
                return Err(self.expected("`true`, `false` or `null`"));
            }
            self.at += 1;
        }
        self.push(start, self.at, false);
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ParseErrorKind> {
        if !matches!(self.peek(), Some(b'0'..=b'9')) {
            return Err(self.expected("a digit"));
        }
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ParseErrorKind> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return Err(self.expected("a number without a leading zero"));
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        self.push(start, self.at, false);
        Ok(())
    }

    fn string(&mut self) -> Result<(), ParseErrorKind> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            self.at += plain_run(&self.bytes[self.at..]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.push(start, self.at, escaped);
                    return Ok(());
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    match self.peek() {
                        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
                        Some(b'u') => {
                            self.at += 1;
                            for _ in 0..4 {
                                if !self.peek().is_some_and(|b| b.is_ascii_hexdigit()) {
                                    return Err(self.expected("four hex digits after `\\u`"));
                                }
                                self.at += 1;
                            }
                        }
                        _ => return Err(self.expected("an escape that JSON has")),
                    }
                }
                Some(_) => return Err(self.expected("no control character inside a string")),
                None => return Err(ParseErrorKind::UnexpectedEnd),
            }
        }
    }

    fn close(&mut self, entry: u32) {
        let next = self.tape.len() as u32;
        let e = &mut self.tape[entry as usize];
        e.end_and_flag = self.at as u32;
        e.next = next;
        let Some(frame) = self.stack.pop() else { return };
        if frame.is_object {
            let count = self.keys.len() - frame.keys_from;
            if count > INDEX_FROM {
                self.index(entry, frame.keys_from);
            } else {
                self.find_duplicates(frame.keys_from);
            }
            self.keys.truncate(frame.keys_from);
        }
    }

    fn key_bytes(&self, key: u32) -> (&[u8], bool) {
        let e = self.tape[key as usize];
        (&self.bytes[e.start() + 1..e.end() - 1], e.is_escaped())
    }

    fn decoded_key(&self, key: u32) -> Cow<'_, [u8]> {
        match self.key_bytes(key) {
            (inner, false) => Cow::Borrowed(inner),
            (inner, true) => Cow::Owned(super::text::decode(&String::from_utf8_lossy(inner))),
        }
    }

    /// Few members: every pair. Raw texts decide unless one of the two holds an escape.
    fn find_duplicates(&mut self, from: usize) {
        for later in from + 1..self.keys.len() {
            for earlier in from..later {
                let (a, b) = (self.keys[earlier], self.keys[later]);
                let ((x, x_escaped), (y, y_escaped)) = (self.key_bytes(a), self.key_bytes(b));
                let same = if x_escaped || y_escaped {
                    self.decoded_key(a) == self.decoded_key(b)
                } else {
                    x.len() == y.len() && x == y
                };
                if same && !self.overruled.contains(&a) {
                    self.overruled.push(a);
                }
            }
        }
    }

    /// Many members: sorted by key, duplicates side by side in file order.
    fn index(&mut self, object: u32, from: usize) {
        let mut sorted: Vec<(Cow<'_, [u8]>, u32)> =
            self.keys[from..].iter().map(|&k| (self.decoded_key(k), k)).collect();
        sorted.sort_unstable();
        let overruled: Vec<u32> = sorted.windows(2).filter(|w| w[0].0 == w[1].0).map(|w| w[0].1).collect();
        let index = sorted.into_iter().map(|(_, k)| k).collect();
        self.overruled.extend(overruled);
        self.indexes.insert(object, index);
    }

    /// JSON Pointer to where the scan stands.
    fn pointer(&self) -> String {
        let mut pointer = String::new();
        for (n, frame) in self.stack.iter().enumerate() {
            if frame.is_object {
                let keys_to = self.stack.get(n + 1).map_or(self.keys.len(), |inner| inner.keys_from);
                // A frame without a key yet stopped before or inside its first one.
                if keys_to > frame.keys_from {
                    let key = self.decoded_key(self.keys[keys_to - 1]);
                    super::text::push_pointer(&mut pointer, &String::from_utf8_lossy(&key));
                }
            } else if frame.items > 0 {
                super::text::push_pointer(&mut pointer, &(frame.items - 1).to_string());
            }
        }
        pointer
    }
}

/// How many bytes at the front are neither a quote, a backslash nor a control character; eight at a time.
fn plain_run(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let mut run = 0;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let mut eight = [0u8; 8];
        eight.copy_from_slice(chunk);
        let x = u64::from_le_bytes(eight);
        // The classic "has a zero byte" trick on x ^ pattern; a byte below 0x20 borrows when 0x20 is taken from it.
        let quote = x ^ (ONES * u64::from(b'"'));
        let back = x ^ (ONES * u64::from(b'\\'));
        let hit = (x.wrapping_sub(ONES * 0x20) & !x)
            | (quote.wrapping_sub(ONES) & !quote)
            | (back.wrapping_sub(ONES) & !back);
        let hit = hit & HIGHS;
        if hit != 0 {
            // Borrows only spread upwards, so the lowest hit is a true one.
            return run + (hit.trailing_zeros() / 8) as usize;
        }
        run += 8;
    }
    run + chunks.remainder().iter().take_while(|&&b| b >= 0x20 && b != b'"' && b != b'\\').count()
}
