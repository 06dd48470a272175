//! One pass over a JSON text: checks the grammar and leaves the place of every value on a tape.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::{MAX_DEPTH, ParseErrorKind};

/// Objects with more members than this get a sorted index, so that neither the search for duplicates nor looking up each
/// member in turn is quadratic.
pub(crate) const INDEX_FROM: usize = 24;

/// Top bit of [`Entry::end`]: the string holds an escape. Texts are shorter than 2^31 bytes (`MAX_BYTES`).
const ESCAPED: u32 = 1 << 31;

/// A key or a value. The entries of an object follow it as key, value, key, value; those of a list as values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    start: u32,
    end_and_flag: u32,
    /// The entry after this one and all that it contains.
    pub(crate) next: u32,
}

impl Entry {
    pub(crate) fn start(self) -> usize {
        self.start as usize
    }
    pub(crate) fn end(self) -> usize {
        (self.end_and_flag & !ESCAPED) as usize
    }
    fn is_escaped(self) -> bool {
        self.end_and_flag & ESCAPED != 0
    }
}

/// A text and its tape. Entry 0 is the root value of what was read; what was put in since stands in texts of many values.
pub(crate) struct Source {
    pub(crate) text: String,
    pub(crate) tape: Vec<Entry>,
    /// Key entries that a later member of the same name overrules, ascending.
    overruled: Vec<u32>,
    /// Object entry -> its key entries, sorted by decoded key, then by place.
    indexes: HashMap<u32, Box<[u32]>>,
    /// Room for the next scan: kept, as values that are put in come by the thousand, and most are a word.
    room: Room,
}

/// What a scan holds of the containers that are open.
#[derive(Default)]
struct Room {
    stack: Vec<Frame>,
    /// The keys of the objects, innermost last.
    keys: Vec<Key>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Not the text: it may hold a secret.
        f.debug_struct("Source").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

/// Where and why a scan stopped; `stack` is the way there.
pub(crate) struct Stop {
    pub(crate) kind: ParseErrorKind,
    pub(crate) at: usize,
    pub(crate) pointer: String,
    /// What was scanned.
    pub(crate) text: String,
}

struct Frame {
    entry: u32,
    is_object: bool,
    /// Where this object's keys begin in the scanner's list of keys.
    keys_from: usize,
    items: u32,
}

impl Source {
    pub(crate) fn rooted_in_an_object(self) -> Result<Self, Stop> {
        if self.first_byte(0) == b'{' {
            return Ok(self);
        }
        let (kind, at) = (ParseErrorKind::NotAnObject, self.entry(0).start());
        Err(Stop { kind, at, pointer: String::new(), text: self.text })
    }
    /// A text of many values, without any as yet.
    pub(crate) fn empty() -> Self {
        Self::of_text(String::new(), Vec::new())
    }
    fn of_text(text: String, tape: Vec<Entry>) -> Self {
        Self { text, tape, overruled: Vec::new(), indexes: HashMap::new(), room: Room::default() }
    }
    /// Puts one more value behind those that are there, and says where it is; nothing for a text that is no value.
    pub(crate) fn push(&mut self, value: &str) -> Option<u32> {
        let (from, at) = (self.text.len(), self.tape.len() as u32);
        self.text.push_str(value);
        // What was scanned of a text that is no value stays on the tape, where nothing leads to it.
        self.scan_from(from).ok().map(|()| at)
    }
    /// Scans the text from there on, which must be one value and white space.
    fn scan_from(&mut self, from: usize) -> Result<(), (ParseErrorKind, usize, String)> {
        let known = self.overruled.len();
        let Room { stack, keys } = std::mem::take(&mut self.room);
        let mut s = Scanner {
            bytes: self.text.as_bytes(),
            at: from,
            tape: std::mem::take(&mut self.tape),
            stack,
            keys,
            overruled: std::mem::take(&mut self.overruled),
            indexes: std::mem::take(&mut self.indexes),
        };
        let scanned = s.document().map_err(|kind| (kind, s.at, s.pointer()));
        s.stack.clear();
        s.keys.clear();
        self.room = Room { stack: s.stack, keys: s.keys };
        (self.tape, self.overruled, self.indexes) = (s.tape, s.overruled, s.indexes);
        // Those of earlier values come before all of this one.
        self.overruled[known..].sort_unstable();
        scanned
    }
    pub(crate) fn entry(&self, at: u32) -> Entry {
        self.tape[at as usize]
    }
    /// Whether nothing is in it.
    pub(crate) fn is_leaf(&self, at: u32) -> bool {
        self.entry(at).next == at + 1
    }
    pub(crate) fn raw(&self, at: u32) -> &str {
        let e = self.entry(at);
        &self.text[e.start()..e.end()]
    }
    pub(crate) fn first_byte(&self, at: u32) -> u8 {
        self.text.as_bytes()[self.entry(at).start()]
    }
    /// The text between the quotes, still escaped.
    fn inner(&self, at: u32) -> &str {
        let e = self.entry(at);
        &self.text[e.start() + 1..e.end() - 1]
    }
    /// [`Source::decoded`] as text, lone surrogates as U+FFFD.
    pub(crate) fn decoded_text(&self, at: u32) -> Cow<'_, str> {
        if self.entry(at).is_escaped() {
            Cow::Owned(crate::text::lossy(crate::text::decode(self.inner(at))))
        } else {
            Cow::Borrowed(self.inner(at))
        }
    }
    /// The decoded bytes of a string; lone surrogates in their three-byte form, so that different texts stay different.
    #[inline]
    pub(crate) fn decoded(&self, at: u32) -> Cow<'_, [u8]> {
        let e = self.entry(at);
        let inner = &self.text.as_bytes()[e.start() + 1..e.end() - 1];
        if e.is_escaped() { Cow::Owned(crate::text::decode(self.inner(at))) } else { Cow::Borrowed(inner) }
    }
    #[inline]
    pub(crate) fn is_overruled(&self, key: u32) -> bool {
        !self.overruled.is_empty() && self.overruled.binary_search(&key).is_ok()
    }
    pub(crate) fn overruled(&self) -> &[u32] {
        &self.overruled
    }
    /// The key entries of an object, in file order, overruled ones included.
    pub(crate) fn keys(&self, object: u32) -> Entries<'_> {
        Entries { source: self, at: object + 1, end: self.entry(object).next, to_value: 1 }
    }
    /// The item entries of a list.
    pub(crate) fn items(&self, list: u32) -> Entries<'_> {
        Entries { source: self, at: list + 1, end: self.entry(list).next, to_value: 0 }
    }
    /// The key entry that counts for `key`.
    pub(crate) fn find(&self, object: u32, key: &[u8]) -> Option<u32> {
        if let Some(sorted) = self.indexes.get(&object) {
            let after = sorted.partition_point(|&k| &*self.decoded(k) <= key);
            let last = *sorted.get(after.checked_sub(1)?)?;
            return (&*self.decoded(last) == key).then_some(last);
        }
        let mut named = self.keys(object).filter(|&k| self.text_is(k, key));
        // Of the duplicates the last counts; mostly there are none.
        if self.overruled.is_empty() { named.next() } else { named.last() }
    }
    /// What [`Source::find`] gives for each of these keys; the other members are told to `other`. Nothing where there is no object.
    #[inline]
    pub(crate) fn get_many<const N: usize>(
        &self,
        object: u32,
        keys: [&str; N],
        mut other: impl FnMut(u32),
    ) -> [Option<u32>; N] {
        let mut found = [None; N];
        if self.first_byte(object) != b'{' {
            return found;
        }
        // Who writes the file and who asks mostly have the same order: then the next to be found is the first to be tried.
        let mut next = 0;
        for at in self.keys(object).filter(|&k| !self.is_overruled(k)) {
            let name = self.decoded(at);
            let is = |n: &usize| is_same(keys[*n].as_bytes(), &name);
            match (next..N).find(is).or_else(|| (0..next).find(is)) {
                Some(n) => {
                    found[n] = Some(at);
                    next = n + 1;
                }
                None => other(at),
            }
        }
        found
    }
    /// Whether a string is of this text.
    #[inline]
    pub(crate) fn text_is(&self, at: u32, text: &[u8]) -> bool {
        is_same(&self.decoded(at), text)
    }
    /// JSON Pointer of an entry (a value, or a key: then that of its member).
    pub(crate) fn pointer_to(&self, wanted: u32) -> String {
        let mut pointer = String::new();
        let mut at = 0;
        while at != wanted {
            match self.first_byte(at) {
                b'{' => {
                    let Some(key) = self.keys(at).find(|&k| wanted < self.entry(k + 1).next) else { break };
                    crate::text::push_pointer(&mut pointer, &String::from_utf8_lossy(&self.decoded(key)));
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
                    crate::text::push_pointer(&mut pointer, &n.to_string());
                    at = item;
                }
                _ => break,
            }
        }
        pointer
    }
    /// The innermost entry that holds a place in the text.
    pub(crate) fn entry_at(&self, offset: usize) -> u32 {
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

/// The keys of an object, or the items of a list.
#[derive(Clone)]
pub(crate) struct Entries<'s> {
    source: &'s Source,
    at: u32,
    end: u32,
    /// From the entry that is handed out to the one that says where the next is: from a key to its value.
    to_value: u32,
}

impl Iterator for Entries<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.at >= self.end {
            return None;
        }
        let entry = self.at;
        self.at = self.source.entry(entry + self.to_value).next;
        Some(entry)
    }
}

/// Scans `text`, which must hold exactly one value (of any type) and white space.
pub(crate) fn scan(text: String) -> Result<Source, Stop> {
    // A config has an entry for every dozen bytes or so; a wrong guess costs a copy, not correctness.
    let tape = Vec::with_capacity(text.len() / 16 + 4);
    let mut source = Source::of_text(text, tape);
    match source.scan_from(0) {
        Ok(()) => {
            // Nothing is put behind what was read.
            source.room = Room::default();
            Ok(source)
        }
        Err((kind, at, pointer)) => Err(Stop { kind, at, pointer, text: source.text }),
    }
}

struct Scanner<'t> {
    bytes: &'t [u8],
    /// Where the scan begins, and where it stopped.
    at: usize,
    tape: Vec<Entry>,
    stack: Vec<Frame>,
    /// The keys of the objects that are open, innermost last.
    keys: Vec<Key>,
    overruled: Vec<u32>,
    indexes: HashMap<u32, Box<[u32]>>,
}

/// A key of an object that is open.
#[derive(Clone, Copy)]
struct Key {
    entry: u32,
    /// The same for keys of the same name: so different ones are told apart without a look at the text.
    print: u64,
}

/// How far a step of the scan got.
type Reached = Result<usize, ParseErrorKind>;

impl Scanner<'_> {
    fn stop<T>(&mut self, at: usize, kind: ParseErrorKind) -> Result<T, ParseErrorKind> {
        self.at = at;
        Err(kind)
    }

    #[cold]
    fn expected(&mut self, at: usize, what: &'static str) -> Reached {
        let is_end = at >= self.bytes.len();
        self.stop(at, if is_end { ParseErrorKind::UnexpectedEnd } else { ParseErrorKind::Syntax(what) })
    }

    fn document(&mut self) -> Result<(), ParseErrorKind> {
        let bytes = self.bytes;
        let mut at = after_white_space(bytes, self.at);
        if at >= bytes.len() {
            return self.stop(at, ParseErrorKind::Empty);
        }
        // `value` opens containers; this loop closes them and moves on, so nesting costs heap, never call stack.
        at = self.value(at)?;
        while let Some(frame) = self.stack.last_mut() {
            let is_object = frame.is_object;
            let fresh = frame.items == 0;
            frame.items += 1;
            at = after_white_space(bytes, at);
            match (bytes.get(at), is_object) {
                (Some(b'}'), true) | (Some(b']'), false) => {
                    at += 1;
                    self.close(at);
                    continue;
                }
                (Some(b','), _) if !fresh => {
                    let comma = at;
                    at = after_white_space(bytes, at + 1);
                    if let Some(b'}' | b']') = bytes.get(at) {
                        return self.stop(comma, ParseErrorKind::TrailingComma);
                    }
                }
                _ if fresh => {}
                (_, true) => return self.expected(at, "`,` or `}`").map(drop),
                (_, false) => return self.expected(at, "`,` or `]`").map(drop),
            }
            if is_object {
                if bytes.get(at) != Some(&b'"') {
                    let what = if fresh { "a key in quotes, or `}`" } else { "a key in quotes" };
                    return self.expected(at, what).map(drop);
                }
                at = self.key(at)?;
                at = after_white_space(bytes, at);
                if bytes.get(at) != Some(&b':') {
                    return self.expected(at, "`:` after a key").map(drop);
                }
                at = after_white_space(bytes, at + 1);
            }
            at = self.value(at)?;
        }
        at = after_white_space(bytes, at);
        if at < bytes.len() {
            return self.stop(at, ParseErrorKind::Syntax("nothing more after the end of the document"));
        }
        Ok(())
    }

    /// One scalar, or the opening of a container.
    #[inline]
    fn value(&mut self, at: usize) -> Reached {
        match self.bytes.get(at) {
            Some(b'"') => self.string(at),
            Some(open @ (b'{' | b'[')) => {
                if self.stack.len() == MAX_DEPTH {
                    return self.stop(at, ParseErrorKind::TooDeep);
                }
                let entry = self.tape.len() as u32;
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
    fn push(&mut self, start: usize, end: usize, escaped: bool) {
        let next = self.tape.len() as u32 + 1;
        let flag = if escaped { ESCAPED } else { 0 };
        self.tape.push(Entry { start: start as u32, end_and_flag: end as u32 | flag, next });
    }

    fn word(&mut self, start: usize, word: &[u8]) -> Reached {
        let same = self.bytes[start..].iter().zip(word).take_while(|(a, b)| a == b).count();
        let at = start + same;
        if same < word.len() {
            return self.expected(at, "`true`, `false` or `null`");
        }
        self.push(start, at, false);
        Ok(at)
    }

    fn digits(&mut self, at: usize) -> Reached {
        let count = self.bytes[at..].iter().take_while(|b| b.is_ascii_digit()).count();
        if count == 0 { self.expected(at, "a digit") } else { Ok(at + count) }
    }

    fn number(&mut self, start: usize) -> Reached {
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
    fn key(&mut self, start: usize) -> Reached {
        let entry = self.tape.len() as u32;
        let at = self.string(start)?;
        let print = match self.tape[entry as usize].is_escaped() {
            false => print_of(self.bytes, start + 1, at - 1),
            true => {
                let decoded = self.decoded_key(entry);
                print_of(&decoded, 0, decoded.len())
            }
        };
        self.keys.push(Key { entry, print });
        Ok(at)
    }

    #[inline]
    fn string(&mut self, start: usize) -> Reached {
        let at = plain_end(self.bytes, start + 1);
        if self.bytes.get(at) == Some(&b'"') {
            self.push(start, at + 1, false);
            return Ok(at + 1);
        }
        self.odd_string(start, at)
    }

    /// A string that is plain up to `at` only.
    #[inline(never)]
    fn odd_string(&mut self, start: usize, mut at: usize) -> Reached {
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
                None => return self.stop(at, ParseErrorKind::UnexpectedEnd),
            }
            at = plain_end(bytes, at);
        }
    }

    /// Closes the innermost container; `end` is the place after its bracket.
    fn close(&mut self, end: usize) {
        let Some(frame) = self.stack.pop() else { return };
        let next = self.tape.len() as u32;
        let e = &mut self.tape[frame.entry as usize];
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
        let e = self.tape[key as usize];
        let inner = &self.bytes[e.start() + 1..e.end() - 1];
        if e.is_escaped() {
            Cow::Owned(crate::text::decode(&String::from_utf8_lossy(inner)))
        } else {
            Cow::Borrowed(inner)
        }
    }

    /// Few members: every pair.
    fn find_duplicates(&mut self, from: usize) {
        // What was found in other objects is not looked through: there may be very many of them.
        let known = self.overruled.len();
        // One bit for each print that came by. Where it is not set, the name is new; else it mostly is, too.
        let mut seen = 0_u64;
        for later in from..self.keys.len() {
            let b = self.keys[later];
            let bit = 1 << (b.print.wrapping_mul(SPREAD) >> 58);
            let is_new = seen & bit == 0 || self.keys[from..later].iter().all(|a| a.print != b.print);
            seen |= bit;
            if is_new {
                continue;
            }
            for earlier in from..later {
                let a = self.keys[earlier];
                if a.print == b.print
                    && self.decoded_key(a.entry) == self.decoded_key(b.entry)
                    && !self.overruled[known..].contains(&a.entry)
                {
                    self.overruled.push(a.entry);
                }
            }
        }
    }

    /// Many members: sorted by key, duplicates side by side in file order.
    fn index(&mut self, object: u32, from: usize) {
        let mut sorted: Vec<(Cow<'_, [u8]>, u32)> =
            self.keys[from..].iter().map(|k| (self.decoded_key(k.entry), k.entry)).collect();
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
                    let key = self.decoded_key(self.keys[keys_to - 1].entry);
                    crate::text::push_pointer(&mut pointer, &String::from_utf8_lossy(&key));
                }
            } else if frame.items > 0 {
                crate::text::push_pointer(&mut pointer, &(frame.items - 1).to_string());
            }
        }
        pointer
    }
}

/// Eight bytes from `at` on, the first of them lowest.
#[inline]
fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The first place from `at` on that holds no white space.
#[inline]
fn after_white_space(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(at) {
        at += 1;
        // Indentation: as many of the next eight bytes as are spaces.
        if let Some(word) = word_at(bytes, at) {
            at += ((word ^ u64::from_le_bytes([b' '; 8])).trailing_zeros() / 8) as usize;
        }
    }
    at
}

/// The first place from `at` on that holds a quote, a backslash or a control character; the end where there is none.
#[inline]
pub(crate) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    let is_plain = |b: u8| (b >= 0x20) & (b != b'"') & (b != b'\\');
    // Keys and names end within the first words; prompts are worth the wider step, which compilers make vectors of.
    for _ in 0..2 {
        match word_at(bytes, at).map(odd_in) {
            Some(8) => at += 8,
            Some(odd) => return at + odd,
            None => break,
        }
    }
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<32>)
        && block.iter().fold(true, |plain, &b| plain & is_plain(b))
    {
        at += 32;
    }
    while let Some(word) = word_at(bytes, at) {
        let odd = odd_in(word);
        at += odd;
        if odd < 8 {
            return at;
        }
    }
    at + bytes.get(at..).map_or(0, |rest| rest.iter().take_while(|&&b| is_plain(b)).count())
}

/// Which of the eight bytes is the first that is a quote, a backslash or a control character; 8: none.
#[inline]
fn odd_in(word: u64) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    // The classic "has a zero byte" trick on word ^ pattern; a byte below 0x20 borrows when 0x20 is taken from it.
    let quote = word ^ (ONES * u64::from(b'"'));
    let back = word ^ (ONES * u64::from(b'\\'));
    let odd = word.wrapping_sub(ONES * 0x20) | quote.wrapping_sub(ONES) | back.wrapping_sub(ONES);
    // Neither pattern has the high bit, so what has it is none of the three. Borrows only spread upwards, so the lowest hit is a
    // true one.
    ((odd & !word & HIGHS).trailing_zeros() / 8) as usize
}

/// Multiplied by this, every bit of a number has a part in the highest ones of the product: 2^64 over the golden ratio, as Fibonacci
/// hashing has it.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Whether two names are the same. They are short, so that a call to compare them would cost more than the comparison.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        // The two overlap, or meet.
        (Some(first), Some(last), Some(its_first), Some(its_last)) if a.len() <= 16 => {
            first == its_first && last == its_last
        }
        (Some(_), ..) => a == b,
        _ => a.iter().eq(b),
    }
}

/// The first bytes of a text and its length.
#[inline]
fn print_of(bytes: &[u8], from: usize, to: usize) -> u64 {
    let length = to - from;
    let first = match word_at(bytes, from) {
        Some(word) if length >= 8 => word,
        Some(word) => word & ((1 << (8 * length)) - 1),
        None => bytes[from..to].iter().rev().fold(0, |print, &b| print << 8 | u64::from(b)),
    };
    first ^ (length as u64) << 56
}
