//! The inside of JSON strings, and JSON Pointers.

use crate::bytes::plain_end;

/// Decodes the inside of a valid JSON string.
///
/// A lone surrogate becomes its three-byte form (WTF-8), which no valid text contains: two strings
/// are equal exactly if their decoded bytes are.
pub(crate) fn decode(inner: &str) -> Vec<u8> {
    let bytes = inner.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let b = bytes[at];
        if b != b'\\' {
            out.push(b);
            at += 1;
            continue;
        }
        let (code, length) = first_escape(&inner[at..]);
        at += length;
        push_code(&mut out, code);
    }
    out
}

/// Returns the code of the escape at the front of `text`, and its length in bytes. A surrogate pair
/// is one code.
fn first_escape(text: &str) -> (u32, usize) {
    let bytes = text.as_bytes();
    match bytes.get(1) {
        Some(b'b') => (8, 2),
        Some(b'f') => (12, 2),
        Some(b'n') => (10, 2),
        Some(b'r') => (13, 2),
        Some(b't') => (9, 2),
        Some(b'u') => {
            let high = hex(bytes, 2);
            if (0xd800..0xdc00).contains(&high) && bytes.get(6) == Some(&b'\\') && bytes.get(7) == Some(&b'u')
            {
                let low = hex(bytes, 8);
                if (0xdc00..0xe000).contains(&low) {
                    return (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), 12);
                }
            }
            (high, 6)
        }
        Some(&other) => (u32::from(other), 2),
        None => (u32::from(b'\\'), 1),
    }
}

fn hex(bytes: &[u8], from: usize) -> u32 {
    (from..from + 4)
        .filter_map(|i| bytes.get(i))
        .fold(0, |n, &b| n * 16 + char::from(b).to_digit(16).unwrap_or_default())
}

fn push_code(out: &mut Vec<u8>, code: u32) {
    if let Some(c) = char::from_u32(code) {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    } else {
        out.extend([0xe0 | (code >> 12) as u8, 0x80 | (code >> 6 & 0x3f) as u8, 0x80 | (code & 0x3f) as u8]);
    }
}

/// Converts decoded bytes to text. Each lone surrogate becomes one U+FFFD.
pub(crate) fn lossy(decoded: Vec<u8>) -> String {
    String::from_utf8(decoded).unwrap_or_else(|error| {
        let mut out = String::new();
        for chunk in error.as_bytes().utf8_chunks() {
            out.push_str(chunk.valid());
            // A lone surrogate's three bytes are three invalid chunks; only the first counts.
            if chunk.invalid().first().is_some_and(|&b| b == 0xed) {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
        out
    })
}

pub(crate) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}

pub(crate) fn push_quoted(out: &mut String, text: &str) {
    if plain_end(text.as_bytes(), 0) == text.len() {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    }
}

/// Appends a step to a JSON Pointer (RFC 6901).
pub fn push_pointer(pointer: &mut String, step: &str) {
    pointer.push('/');
    for c in step.chars() {
        match c {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            c => pointer.push(c),
        }
    }
}

pub(crate) fn unescape_pointer(step: &str) -> String {
    step.replace("~1", "/").replace("~0", "~")
}

/// Tells white space as ECMAScript's `trim` does: U+FEFF counts, and U+0085 does not.
fn is_trimmed(code: u32) -> bool {
    char::from_u32(code).is_some_and(|c| c == '\u{feff}' || c.is_whitespace() && c != '\u{85}')
}

/// Returns the raw JSON string without white space at its ends, and with the rest spelled as
/// before, escapes included. Returns `None` if there is nothing to trim.
pub fn trim_raw(raw: &str) -> Option<String> {
    let inner = raw.get(1..raw.len().checked_sub(1)?)?;
    let is_plain_end = |b: Option<&u8>| b.is_some_and(|b| (0x21..0x7f).contains(b));
    let bytes = inner.as_bytes();
    if is_plain_end(bytes.first()) && is_plain_end(bytes.last()) && !bytes.contains(&b'\\') {
        return None;
    }
    let (mut from, mut to, mut at) = (inner.len(), 0, 0);
    while let Some(c) = inner[at..].chars().next() {
        let (code, length) =
            if c == '\\' { first_escape(&inner[at..]) } else { (u32::from(c), c.len_utf8()) };
        if !is_trimmed(code) {
            from = from.min(at);
            to = at + length;
        }
        at += length;
    }
    if from == 0 && to == inner.len() {
        return None;
    }
    Some(if from >= to { "\"\"".to_owned() } else { format!("\"{}\"", &inner[from..to]) })
}
