//! The line that a JSON error is about, fit to be shown to anybody.

use serde::Serialize;

use crate::ParseError;
use crate::secrets::MASK;

/// How much of a long line is shown on either side of the place.
const AROUND: usize = 32;
/// What stands for the rest of a long line.
const CUT: &str = "...";

/// A line of a text that is no JSON, with everything masked that may be a secret: what is shown is the structure,
/// `true`, `false`, `null`, plain small numbers, and names of members that look like names.
///
/// Where the quotes are in disorder nobody can tell a name from a value, so in doubt it is masked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Snippet {
    /// The line, or the part of it around the place.
    pub text: String,
    /// How many characters of `text` are before the place.
    pub caret: usize,
}

/// A place in a text, for whoever shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Offset in bytes, from 0.
    pub offset: usize,
    /// JSON Pointer to the value in which it happened; empty for the root.
    pub json_path: String,
    /// The line itself.
    pub snippet: Snippet,
}

impl From<&ParseError> for Place {
    fn from(error: &ParseError) -> Self {
        Self {
            line: error.line,
            column: error.column,
            offset: error.offset,
            json_path: error.path.clone(),
            snippet: error.snippet.clone(),
        }
    }
}

impl Snippet {
    /// Of `line`, for a place `at` bytes into it. What is before `at` was read as JSON without trouble.
    pub(crate) fn of(line: &str, at: usize) -> Self {
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
            let text = piece.shown(&rest[..length], &shown);
            if (from + 1..from + length).contains(&at) {
                // Inside a masked word the place itself would say how long it is.
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

/// A piece of a line: a run of blanks, a mark, a text in quotes, or a word.
struct Piece {
    kind: Kind,
    /// In bytes.
    length: usize,
    /// A colon follows it.
    named: bool,
}

#[derive(PartialEq)]
enum Kind {
    Blank,
    Mark,
    Quoted,
    Word,
}

impl Piece {
    fn first(rest: &str) -> Self {
        let length_while = |held: fn(char) -> bool| rest.find(|c| !held(c)).unwrap_or(rest.len());
        let (kind, length) = match rest.chars().next() {
            Some('"') => (Kind::Quoted, quoted(rest)),
            Some('{' | '}' | '[' | ']' | ':' | ',') => (Kind::Mark, 1),
            Some(' ' | '\t' | '\r') => (Kind::Blank, length_while(is_blank)),
            _ => (Kind::Word, length_while(is_word)),
        };
        Self { kind, length, named: rest[length..].trim_start_matches(is_blank).starts_with(':') }
    }

    fn shown(&self, text: &str, before: &[char]) -> String {
        match self.kind {
            // One column each, whatever a terminal makes of a tab.
            Kind::Blank => " ".repeat(text.chars().count()),
            Kind::Mark => text.to_owned(),
            Kind::Quoted if self.named && opens(before) && is_name(text) => text.to_owned(),
            Kind::Quoted => format!("\"{MASK}\""),
            Kind::Word if is_plain(text) => text.to_owned(),
            Kind::Word => MASK.to_owned(),
        }
    }

    fn is_verbatim(&self, shown: &str, text: &str) -> bool {
        self.kind == Kind::Blank || shown == text
    }
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r')
}

fn is_word(c: char) -> bool {
    !is_blank(c) && !"\"{}[]:,".contains(c)
}

/// The length of a text in quotes, to its end or to that of the line.
fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether the name of a member may come now.
fn opens(before: &[char]) -> bool {
    before.iter().rev().find(|c| **c != ' ').is_none_or(|c| matches!(c, '{' | ','))
}

/// Names of the configs are words of small letters; nobody's password stands in the place of one.
fn is_name(quoted: &str) -> bool {
    let name = quoted.trim_matches('"');
    quoted.len() == name.len() + 2
        && (1..=40).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

fn is_plain(word: &str) -> bool {
    matches!(word, "true" | "false" | "null") || (word.len() <= 5 && word.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use crate::Document;

    fn drawn(text: &str) -> String {
        let error = Document::parse(text.as_bytes()).expect_err("no JSON");
        format!("{}\n{}^", error.snippet.text, " ".repeat(error.snippet.caret))
    }

    #[test]
    fn the_caret_is_below_the_place() {
        assert_eq!(drawn("{\n  \"api\": {,\n}"), "  \"api\": {,\n          ^");
        assert_eq!(drawn("{\"a\": 1"), "{\"a\": 1\n       ^");
        assert_eq!(drawn("{\"port\": 14x73}"), "{\"port\": ********}\n         ^");
        assert_eq!(drawn("{\"a\": tru}"), "{\"a\": ********}\n              ^");
        assert_eq!(drawn(""), "\n^");
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_shown() {
        for text in [
            "{\"bearer_token\": \"s3cret\" x}",
            "{\"bearer_token\": s3cret}",
            "{\"bearer_token\": \"s3cret",
            "{\"bearer_token\": \"a\"s3cret\", \"b\": 1}",
            "{\"bearer_token\": \"a\": \"s3cret\": 2}",
            "{\"bearer_token\": 'a s3cret word'}",
            "{\"bearer_token\": \"s3cret\\q\"}",
            "{\"s3cret\": }",
            "{\"bearer_token\" \"s3cret\": 1}",
        ] {
            let drawn = drawn(text);
            assert!(!drawn.contains("s3cret"), "{drawn}");
        }
        let drawn = drawn("{\"bearer_token\": 1234567 8}");
        assert!(!drawn.contains("1234567"), "{drawn}");
    }

    #[test]
    fn of_a_long_line_only_the_part_around_the_place_is_shown() {
        let text = format!(
            "{{\"a\": [{}], \"b\": x, \"c\": [{}]}}",
            "1, ".repeat(999) + "1",
            "2, ".repeat(999) + "2"
        );
        let error = Document::parse(text.as_bytes()).expect_err("no JSON");
        assert!(error.snippet.text.chars().count() <= 2 * (super::AROUND + super::CUT.len()));
        let after: String = error.snippet.text.chars().skip(error.snippet.caret).collect();
        assert!(after.starts_with("********, \"c\": ["), "{after}");
    }
}
