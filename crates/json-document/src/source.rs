//! A JSON text with the positions of its values.

use std::borrow::Cow;

use crate::error::ParseErrorKind;
use crate::scanner::{Entry, ScanFailure, Tape, scan};
use crate::text::{decode, lossy, push_pointer};

/// A text and its tape. Entry 0 is the root of a text that was read; a text of inserted values has
/// many roots.
pub(crate) struct Source {
    pub(crate) text: String,
    tape: Tape,
}

/// A text that cannot be scanned, and the place where the scan failed.
pub(crate) struct ScanError {
    pub(crate) kind: ParseErrorKind,
    pub(crate) at: usize,
    pub(crate) pointer: String,
    /// The entries of the objects and arrays that are open there, outermost first.
    pub(crate) open: Vec<u32>,
    /// The text, with the positions of the values before the place.
    pub(crate) source: Source,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text may hold a secret.
        f.debug_struct("Source").field("bytes", &self.text.len()).finish_non_exhaustive()
    }
}

impl Source {
    /// Scans `text`, which must hold exactly one value (of any type) and white space.
    pub(crate) fn scan(text: String) -> Result<Self, ScanError> {
        // A config has an entry for every dozen bytes or so. A wrong guess costs one copy.
        let entries = Vec::with_capacity(text.len() / 16 + 4);
        let mut tape = Tape { entries, ..Tape::default() };
        let scanned = scan(&text, 0, &mut tape);
        let source = Self { text, tape };
        match scanned {
            Ok(()) => Ok(source),
            Err(ScanFailure { kind, at, pointer, open }) => {
                Err(ScanError { kind, at, pointer, open, source })
            }
        }
    }

    pub(crate) fn rooted_in_an_object(self) -> Result<Self, ScanError> {
        if self.has_object_root() {
            return Ok(self);
        }
        let (kind, at) = (ParseErrorKind::NotAnObject, self.entry(0).start());
        Err(ScanError { kind, at, pointer: String::new(), open: Vec::new(), source: self })
    }

    pub(crate) fn has_object_root(&self) -> bool {
        self.entries() > 0 && self.first_byte(0) == b'{'
    }

    /// A text for inserted values.
    pub(crate) fn empty() -> Self {
        Self { text: String::new(), tape: Tape::default() }
    }

    /// Appends a value and returns its entry; `None` if `value` is not a JSON value.
    pub(crate) fn push(&mut self, value: &str) -> Option<u32> {
        let (from, at) = (self.text.len(), self.entries());
        self.text.push_str(value);
        scan(&self.text, from, &mut self.tape).ok().map(|()| at)
    }

    /// Returns the number of entries.
    pub(crate) fn entries(&self) -> u32 {
        self.tape.entries.len() as u32
    }

    pub(crate) fn entry(&self, at: u32) -> Entry {
        self.tape.entries[at as usize]
    }

    /// Returns true for scalars and for empty containers.
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

    /// Returns the text between the quotes, still escaped.
    fn inner(&self, at: u32) -> &str {
        let e = self.entry(at);
        &self.text[e.start() + 1..e.end() - 1]
    }

    /// Returns the decoded text of a string, with each lone surrogate as U+FFFD.
    pub(crate) fn decoded_text(&self, at: u32) -> Cow<'_, str> {
        if self.entry(at).is_escaped() {
            Cow::Owned(lossy(decode(self.inner(at))))
        } else {
            Cow::Borrowed(self.inner(at))
        }
    }

    /// Returns the decoded bytes of a string. Lone surrogates keep their three-byte form, so that
    /// different strings stay different.
    #[inline]
    pub(crate) fn decoded(&self, at: u32) -> Cow<'_, [u8]> {
        let e = self.entry(at);
        let inner = &self.text.as_bytes()[e.start() + 1..e.end() - 1];
        if e.is_escaped() { Cow::Owned(decode(self.inner(at))) } else { Cow::Borrowed(inner) }
    }

    #[inline]
    pub(crate) fn text_is(&self, at: u32, text: &[u8]) -> bool {
        *self.decoded(at) == *text
    }

    #[inline]
    pub(crate) fn is_shadowed(&self, key: u32) -> bool {
        !self.tape.shadowed.is_empty() && self.tape.shadowed.binary_search(&key).is_ok()
    }

    pub(crate) fn shadowed(&self) -> &[u32] {
        &self.tape.shadowed
    }

    /// Returns the key entries of an object (in file order, shadowed ones included), or the items
    /// of an array; nothing for a scalar.
    pub(crate) fn children(&self, at: u32) -> Entries<'_> {
        let to_value = u32::from(self.first_byte(at) == b'{');
        Entries { source: self, at: at + 1, end: self.entry(at).next, to_value }
    }

    /// Returns the end of the last complete member or item of an object or array in which the scan
    /// failed. `inner` is the object or array in it that is open as well.
    pub(crate) fn whole_to(&self, open: u32, inner: Option<u32>) -> Option<usize> {
        let to_value = u32::from(self.first_byte(open) == b'{');
        let end = inner.unwrap_or(self.entries());
        // A last key has no value.
        let whole_end = end.saturating_sub(to_value);
        let entries = Entries { source: self, at: open + 1, end: whole_end, to_value };
        entries
            .map(|entry| entry + to_value)
            .filter(|&value| self.is_whole(value))
            .last()
            .map(|value| self.entry(value).end())
    }

    /// Returns false for a value that may go on where the scan failed: a number at the end of the
    /// text may lack digits, and a string before a letter may have lost a quote.
    fn is_whole(&self, value: u32) -> bool {
        let first = self.first_byte(value);
        match self.text.as_bytes().get(self.entry(value).end()) {
            _ if matches!(first, b'{' | b'[') => true,
            Some(after) => b" \n\r\t,:]}".contains(after),
            None => !matches!(first, b'-' | b'0'..=b'9'),
        }
    }

    /// Returns the key entry that counts for `key`.
    pub(crate) fn find(&self, object: u32, key: &[u8]) -> Option<u32> {
        if let Some(sorted) = self.tape.indexes.get(&object) {
            let after = sorted.partition_point(|&k| &*self.decoded(k) <= key);
            let last = *sorted.get(after.checked_sub(1)?)?;
            return (&*self.decoded(last) == key).then_some(last);
        }
        let mut named = self.children(object).filter(|&k| self.text_is(k, key));
        // The last duplicate counts; most documents have none.
        if self.tape.shadowed.is_empty() { named.next() } else { named.last() }
    }

    /// Returns for each of `keys` what [`Source::find`] returns, from one walk over the members.
    /// Finds nothing in other kinds of values.
    #[inline]
    pub(crate) fn get_many<const N: usize>(&self, object: u32, keys: [&str; N]) -> [Option<u32>; N] {
        let mut found = [None; N];
        if self.first_byte(object) != b'{' {
            return found;
        }
        for at in self.children(object).filter(|&k| !self.is_shadowed(k)) {
            let name = self.decoded(at);
            if let Some(n) = keys.iter().position(|key| *key.as_bytes() == *name) {
                found[n] = Some(at);
            }
        }
        found
    }

    /// Returns the JSON Pointer of an entry: of a value, or of the member that a key belongs to.
    pub(crate) fn pointer_to(&self, wanted: u32) -> String {
        let mut pointer = String::new();
        let mut at = 0;
        while at != wanted {
            match self.first_byte(at) {
                b'{' => {
                    let Some(key) = self.children(at).find(|&k| wanted < self.entry(k + 1).next) else {
                        break;
                    };
                    push_pointer(&mut pointer, &String::from_utf8_lossy(&self.decoded(key)));
                    if key == wanted {
                        break;
                    }
                    at = key + 1;
                }
                b'[' => {
                    let Some((n, item)) =
                        self.children(at).enumerate().find(|&(_, i)| wanted < self.entry(i).next)
                    else {
                        break;
                    };
                    push_pointer(&mut pointer, &n.to_string());
                    at = item;
                }
                _ => break,
            }
        }
        pointer
    }

    /// Returns the innermost entry around a position in the text.
    pub(crate) fn entry_at(&self, offset: usize) -> u32 {
        let mut innermost = 0;
        let mut at = 0;
        while at < self.entries() {
            let e = self.entry(at);
            if e.start() > offset {
                break;
            }
            if offset < e.end() {
                innermost = at;
                at += 1;
            } else {
                at = e.next;
            }
        }
        innermost
    }
}

/// The keys of an object, or the items of an array.
#[derive(Clone)]
pub(crate) struct Entries<'s> {
    source: &'s Source,
    at: u32,
    end: u32,
    /// Distance from a returned entry to the entry whose `next` leads on: 1 from a key to its
    /// value.
    to_value: u32,
}

impl<'s> Entries<'s> {
    pub(crate) fn none(source: &'s Source) -> Self {
        Self { source, at: 0, end: 0, to_value: 0 }
    }
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
