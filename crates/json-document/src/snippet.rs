//! The line around a place, in a form that anybody may see.

use serde::Serialize;

use crate::mask_text::{MASK, mask_text};

/// The characters of a long line that are shown on either side of the place.
const AROUND: usize = 32;
/// Stands for the rest of a long line.
const CUT: &str = "...";

/// A line of JSON with its values masked: shows the structure, `true`, `false`, `null`, single
/// digits and the names of members.
///
/// After the place of a syntax error nobody can tell a name from a value. There, a string counts as
/// a name only if it stands where a name may stand, and consists of small letters.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Snippet {
    /// The line, or the part of it around the place.
    pub text: String,
    /// The number of characters of `text` before the place.
    pub caret: usize,
}

/// The part of a line that is known to be valid JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Certain {
    BeforePlace,
    All,
}

impl Snippet {
    /// Returns the snippet of `line` for a place `at` bytes into it.
    pub(crate) fn of(line: &str, at: usize, certain: Certain) -> Self {
        let mut shown: Vec<char> = Vec::new();
        let mut caret = None;
        let mut rest = line;
        while !rest.is_empty() {
            let from = line.len() - rest.len();
            if from >= at {
                caret.get_or_insert(shown.len());
            }
            let piece = Piece::first(rest);
            let length = piece.length.max(1);
            let is_certain = certain == Certain::All || from + length <= at;
            let text = piece.shown(&rest[..length], is_certain, &shown);
            if (from + 1..from + length).contains(&at) {
                // Inside a masked word the place would tell the length of the word.
                let inside = if piece.is_verbatim(&text, &rest[..length]) { at - from } else { 0 };
                caret.get_or_insert(shown.len() + inside);
            }
            shown.extend(text.chars());
            rest = &rest[length..];
        }
        let caret = caret.unwrap_or(shown.len());
        let (start, end) = (caret.saturating_sub(AROUND), shown.len().min(caret + AROUND));
        let head = if start > 0 { CUT } else { "" };
        let tail = if end < shown.len() { CUT } else { "" };
        let middle: String = shown[start..end].iter().collect();
        Self { text: format!("{head}{middle}{tail}"), caret: head.len() + caret - start }
    }
}

/// A piece of a line: a run of blanks, a mark, a quoted string, or a word.
struct Piece {
    kind: PieceKind,
    /// In bytes.
    length: usize,
    /// A colon follows.
    is_named: bool,
}

#[derive(PartialEq)]
enum PieceKind {
    Blank,
    Mark,
    Quoted,
    Word,
}

impl Piece {
    fn first(rest: &str) -> Self {
        let length_while = |belongs: fn(char) -> bool| rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let (kind, length) = match rest.chars().next() {
            Some('"') => (PieceKind::Quoted, quoted_length(rest)),
            Some('{' | '}' | '[' | ']' | ':' | ',') => (PieceKind::Mark, 1),
            Some(' ' | '\t' | '\r') => (PieceKind::Blank, length_while(is_blank)),
            _ => (PieceKind::Word, length_while(is_word)),
        };
        Self { kind, length, is_named: rest[length..].trim_start_matches(is_blank).starts_with(':') }
    }

    fn shown(&self, text: &str, is_certain: bool, before: &[char]) -> String {
        match self.kind {
            // One column each, however wide a terminal prints a tab.
            PieceKind::Blank => " ".repeat(text.chars().count()),
            PieceKind::Mark => text.to_owned(),
            PieceKind::Quoted if self.is_named && is_certain && text.chars().all(is_printable) => {
                mask_text(text).unwrap_or_else(|| text.to_owned())
            }
            PieceKind::Quoted if self.is_named && may_open_a_member(before) && is_plain_name(text) => {
                text.to_owned()
            }
            PieceKind::Quoted => format!("\"{MASK}\""),
            PieceKind::Word if is_plain_word(text) => text.to_owned(),
            PieceKind::Word => MASK.to_owned(),
        }
    }

    fn is_verbatim(&self, shown: &str, text: &str) -> bool {
        self.kind == PieceKind::Blank || shown == text
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn is_word(c: char) -> bool {
    !is_blank(c) && !"\"{}[]:,".contains(c)
}

/// Returns false for characters that move the cursor or turn the direction of writing.
fn is_printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        && !matches!(c, '\u{2066}'..='\u{2069}')
}

/// Returns the length of a quoted string, to its end or to the end of the line.
fn quoted_length(text: &str) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns true if the name of a member may follow.
fn may_open_a_member(before: &[char]) -> bool {
    before.iter().rev().find(|c| **c != ' ').is_none_or(|c| matches!(c, '{' | ','))
}

/// Returns true for names as the configs have them; passwords look different.
fn is_plain_name(quoted: &str) -> bool {
    let name = quoted.trim_matches('"');
    quoted.len() == name.len() + 2
        && (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_plain_word(word: &str) -> bool {
    matches!(word, "true" | "false" | "null") || (word.len() == 1 && word.as_bytes()[0].is_ascii_digit())
}
