//! Recovers the complete part of a text that is not JSON: a document with trailing bytes, a text
//! that lacks a comma or a quote, or the members before the place where the text breaks off.

use crate::diagnostic::Diagnostic;
use crate::document::{Document, Parsed, text_of};
use crate::error::{MAX_BYTES, ParseErrorKind};
use crate::place::BOM;
use crate::source::{ScanError, Source};

/// The most slips of a hand edit that are mended in one text. With more of them the result would be
/// a guess.
const MAX_MENDS: usize = 8;
/// The most bytes that are scanned in search of one part: enough for every place of a config.
const MAX_SCANNED_BYTES: usize = 64 << 20;

/// The part of a text that [`recover`] found. Nothing is invented: each member of the document
/// stands in the text.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Recovered {
    /// The document.
    pub document: Document,
    /// The remarks about the document, as in [`Parsed::diagnostics`].
    pub diagnostics: Vec<Diagnostic>,
    /// The part of the text that the document holds.
    pub extent: Extent,
    /// The top-level members that are complete in the text.
    pub whole: Vec<String>,
    /// The top-level member that the text breaks off in; the document has its complete parts.
    pub partial: Option<String>,
    /// The complete members of the item of an array that the text breaks off in. The document does
    /// not have that item.
    pub torn_item: Option<Document>,
}

/// The recovered part of a text, and the reason why the text is not JSON. Lines count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Extent {
    /// A complete document, which ends on this line; `tail` bytes follow it.
    Leading { line: usize, tail: usize },
    /// The whole text, once these slips are mended.
    Corrected(Vec<Correction>),
    /// The complete members before the line on which the text breaks off.
    Torn { line: usize },
    /// The complete members before and behind the line on which the text is damaged.
    Around { line: usize },
    /// A complete document that stands in the text, behind something else, from this line on.
    Inner { line: usize },
    /// The whole text, which is in UTF-16.
    Utf16,
}

/// One slip of a hand edit, and the change that mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Correction {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The change: "insert `,`".
    pub action: &'static str,
}

impl std::fmt::Display for Correction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at line {}, column {}", self.action, self.line, self.column)
    }
}

/// Returns the complete part of bytes that [`Document::parse`] refuses. Returns `None` if no member
/// is complete, or if the bytes are a document.
///
/// ```
/// use myownllm_json_document::{Extent, recover};
/// let torn = recover(br#"{"theme": "dark", "window": {"width": 8"#).unwrap();
/// assert_eq!(torn.document.to_text(), r#"{"theme": "dark"}"#);
/// assert_eq!(torn.extent, Extent::Torn { line: 1 });
///
/// let slip = recover(b"{\n  \"theme\": \"dark\"\n  \"zoom\": 2\n}").unwrap();
/// assert_eq!(slip.whole, ["theme", "zoom"]);
/// let Extent::Corrected(mends) = slip.extent else { panic!() };
/// assert_eq!(mends[0].to_string(), "insert `,` at line 2, column 18");
/// ```
pub fn recover(bytes: &[u8]) -> Option<Recovered> {
    if bytes.len() > MAX_BYTES {
        return None;
    }
    if let Some((text, true)) = from_utf16(bytes) {
        return parse_part(&text, Extent::Utf16, false);
    }
    let (text, _) = text_of(bytes.to_vec());
    let error = Source::scan(text).err()?;
    if let Some((mended, mends)) = mend(&error) {
        return parse_part(&mended, Extent::Corrected(mends), false);
    }
    let text = &error.source.text;
    let cut = TornText::of(&error)?;
    let extent = if cut.is_document {
        Extent::Leading {
            line: line_of(text, cut.text.len()),
            tail: trailing_bytes(bytes, text, cut.text.len()),
        }
    } else {
        Extent::Torn { line: line_of(text, error.at) }
    };
    let torn_item = cut.torn_item.and_then(|item| Some(Document::parse(item.as_bytes()).ok()?.document));
    Some(Recovered { torn_item, ..parse_part(&cut.text, extent, cut.is_partial)? })
}

/// Returns every complete part of bytes that [`Document::parse`] refuses: the part of [`recover`]
/// first, then the members around a place where the text is damaged, and the documents that stand
/// in the text. Of a text with a merge conflict, returns the sides that are documents.
///
/// ```
/// use myownllm_json_document::{Extent, recover_all};
/// let parts = recover_all(br#"{"theme": "dark", "zoom": NaN, "size": 8}"#);
/// assert_eq!(parts[1].whole, ["theme", "size"]);
/// assert_eq!(parts[1].extent, Extent::Around { line: 1 });
///
/// let parts = recover_all(b"{}\n{\"theme\": \"dark\"}\n");
/// assert_eq!(parts[0].extent, Extent::Inner { line: 2 });
/// ```
pub fn recover_all(bytes: &[u8]) -> Vec<Recovered> {
    let mut parts: Vec<Recovered> = recover(bytes).into_iter().collect();
    if bytes.len() > MAX_BYTES {
        return parts;
    }
    if parts.is_empty()
        && let Some((text, _)) = from_utf16(bytes)
    {
        return recover_all(text.as_bytes());
    }
    let Some(error) = Source::scan(text_of(bytes.to_vec()).0).err() else { return parts };
    let sides = conflict_sides(&error.source.text);
    if !sides.is_empty() {
        return sides;
    }
    if !matches!(parts.first().map(|part| &part.extent), Some(Extent::Leading { .. } | Extent::Corrected(_)))
    {
        parts.extend(around(&error, &mut Search::default()));
    }
    parts.extend(inner_documents(&error.source.text, &mut Search::default()));
    parts
}

/// Scans a text from several places on, up to a limit of all scans together.
#[derive(Default)]
struct Search {
    bytes: usize,
}

impl Search {
    /// Scans `opening` and then the text from `at` on. Returns `None` once the limit is reached.
    /// Moves `at` to the next place to scan from. After a text that is nested too deep, that is the
    /// place where the scan failed: a scan from a key before it would only get a level further, and
    /// all of them would take the square of the time.
    fn scan(&mut self, opening: &str, text: &str, at: &mut usize) -> Option<Result<Source, ScanError>> {
        let rest = format!("{opening}{}", &text[*at..]);
        self.bytes += rest.len();
        let scanned = (self.bytes <= MAX_SCANNED_BYTES).then(|| Source::scan(rest))?;
        *at += match &scanned {
            Err(error) if error.kind == ParseErrorKind::TooDeep => error.at - opening.len(),
            _ => 1,
        };
        Some(scanned)
    }
}

/// Returns the complete members before and behind the place where a text is damaged.
fn around(error: &ScanError, search: &mut Search) -> Option<Recovered> {
    let text = &error.source.text;
    let cut = TornText::of(error);
    if cut.as_ref().is_some_and(|cut| cut.is_document) {
        return None;
    }
    let extent = Extent::Around { line: line_of(text, error.at) };
    let before = cut.and_then(|cut| parse_part(&cut.text, extent.clone(), cut.is_partial));
    let starts_member = |at: usize| {
        let line = text[..at].trim_end_matches([' ', '\t']);
        line.is_empty() || line.ends_with(['\n', '\r']) || line.ends_with([',', '{'])
    };
    let mut at = if before.is_some() { error.at } else { 0 };
    let rest = loop {
        at += text[at..].find('"')?;
        if !starts_member(at) {
            at += 1;
        } else if let Ok(rest) = search.scan("{", text, &mut at)? {
            break Document::parse(rest.text.as_bytes()).ok()?;
        }
    };
    let mut found = before.unwrap_or_else(|| Recovered {
        document: Document::empty(),
        diagnostics: Vec::new(),
        extent,
        whole: Vec::new(),
        partial: None,
        torn_item: None,
    });
    for (key, member) in rest.document.root().members() {
        found.document.set(&[&key], member);
        found.whole.retain(|known| *known != key);
        found.whole.push(key.into_owned());
    }
    found.partial = found.partial.filter(|partial| !found.whole.contains(partial));
    found.diagnostics.extend(rest.diagnostics);
    Some(found)
}

/// Returns the two texts that `git` marked as a conflict, as far as they are documents.
fn conflict_sides(text: &str) -> Vec<Recovered> {
    let Some(marker) = text.lines().position(|line| line.starts_with("<<<<<<<")) else { return Vec::new() };
    let side = |ours: bool| {
        let mut takes = true;
        let mut side = String::new();
        for line in text.split_inclusive('\n') {
            match line.get(..7) {
                Some("<<<<<<<") => takes = ours,
                Some("|||||||") => takes = false,
                Some("=======") => takes = !ours,
                Some(">>>>>>>") => takes = true,
                _ if takes => side.push_str(line),
                _ => {}
            }
        }
        let action =
            if ours { "take the upper side of the conflict" } else { "take the lower side of the conflict" };
        let mend = Correction { line: marker + 1, column: 1, action };
        parse_part(&side, Extent::Corrected(vec![mend]), false)
    };
    [side(true), side(false)].into_iter().flatten().collect()
}

/// Returns the documents that begin behind the start of a text and are no part of another value.
fn inner_documents(text: &str, search: &mut Search) -> Vec<Recovered> {
    let (mut found, mut from) = (Vec::new(), 1);
    while let Some(at) = text.get(from..).and_then(|rest| rest.find('{')).map(|at| from + at) {
        from = at;
        // The object is the value of a member, or an item of an array.
        if text[..at].trim_end_matches([' ', '\t']).ends_with([':', ',', '[']) {
            from += 1;
            continue;
        }
        let document = match search.scan("", text, &mut from) {
            None => break,
            Some(Ok(source)) => Some(source.text),
            Some(Err(error)) => TornText::of(&error).filter(|cut| cut.is_document).map(|cut| cut.text),
        };
        let Some(document) = document else { continue };
        from = at + document.len();
        found.extend(parse_part(&document, Extent::Inner { line: line_of(text, at) }, false));
    }
    found
}

/// Parses the text of a part; `None` if it has no member. `is_partial` is true if the last member
/// is incomplete.
fn parse_part(text: &str, extent: Extent, is_partial: bool) -> Option<Recovered> {
    let Parsed { document, diagnostics, .. } = Document::parse(text.as_bytes()).ok()?;
    let mut whole = document.keys();
    let partial = if is_partial { whole.pop() } else { None };
    let found = !whole.is_empty() || partial.is_some();
    found.then_some(Recovered { document, diagnostics, extent, whole, partial, torn_item: None })
}

/// Returns the number of bytes behind a document that ends at `end` of the text.
fn trailing_bytes(bytes: &[u8], text: &str, end: usize) -> usize {
    let mark = if bytes.starts_with(BOM) { BOM.len() } else { 0 };
    // The strings of the document may hold bytes that are not UTF-8, and U+FFFD in the text is
    // longer than such a byte.
    let lossy = text[..end].matches('\u{fffd}').count();
    if lossy == 0 { bytes.len().saturating_sub(mark + end) } else { text.len() - end }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at].iter().filter(|&&b| b == b'\n').count() + 1
}

/// Decodes UTF-16 with a byte order mark, up to the first incomplete character. Also returns true
/// if no character is incomplete.
fn from_utf16(bytes: &[u8]) -> Option<(String, bool)> {
    let (mark, rest) = bytes.split_first_chunk::<2>()?;
    let unit = match mark {
        [0xff, 0xfe] => u16::from_le_bytes,
        [0xfe, 0xff] => u16::from_be_bytes,
        _ => return None,
    };
    let mut is_whole = rest.len() % 2 == 0;
    let units = rest.chunks_exact(2).map(|pair| unit([pair[0], pair[1]]));
    let complete = char::decode_utf16(units).map_while(|c| c.inspect_err(|_| is_whole = false).ok());
    let text = complete.collect();
    Some((text, is_whole))
}

/// The complete part of a text, with an end for each object and array that was open.
struct TornText {
    text: String,
    /// True if the root object has its own end.
    is_document: bool,
    /// True if the last member is incomplete.
    is_partial: bool,
    /// The item of an array that is left out, with an end behind its last complete member.
    torn_item: Option<String>,
}

impl TornText {
    /// Ends the text behind the last complete member before the place where the scan failed. Leaves
    /// out an incomplete item of an array, because half a network is no network, and an object or
    /// array without a complete part.
    fn of(error: &ScanError) -> Option<Self> {
        let (source, open) = (&error.source, &error.open);
        if !source.has_object_root() {
            return None;
        }
        let Some(last) = open.len().checked_sub(1) else {
            let text = source.text[..source.entry(0).end()].to_owned();
            return Some(Self { text, is_document: true, is_partial: false, torn_item: None });
        };
        let is_object = |depth: usize| source.first_byte(open[depth]) == b'{';
        let torn_item = (0..last).find(|&outer| !is_object(outer));
        let innermost = torn_item.unwrap_or(last);
        let whole_to = |depth: usize| source.whole_to(open[depth], open.get(depth + 1).copied());
        let (deepest, end) = (0..=innermost).rev().find_map(|depth| Some((depth, whole_to(depth)?)))?;
        let mut closed = source.text[..end].to_owned();
        let has_lines = closed.contains('\n');
        for depth in (0..=deepest).rev() {
            if has_lines {
                closed.push('\n');
                closed.push_str(&"  ".repeat(depth));
            }
            closed.push(if is_object(depth) { '}' } else { ']' });
        }
        let item = torn_item.map(|outer| outer + 1).filter(|item| is_object(*item));
        let torn_item = item.and_then(|item| {
            let begin = source.entry(open[item]).start();
            Some(format!("{}}}", &source.text[begin..whole_to(item)?]))
        });
        Some(Self { text: closed, is_document: false, is_partial: deepest > 0, torn_item })
    }
}

/// A change of a text: `with` replaces a range.
struct Edit {
    from: usize,
    to: usize,
    with: &'static str,
    action: &'static str,
}

impl Edit {
    fn insert(at: usize, with: &'static str, action: &'static str) -> Self {
        Self { from: at, to: at, with, action }
    }

    fn apply(&self, text: &str) -> String {
        let mut edited = text[..self.from].to_owned();
        edited.push_str(self.with);
        if self.with.is_empty() {
            // Blanks keep the lines and columns of the text behind them.
            edited.extend(text[self.from..self.to].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        edited.push_str(&text[self.to..]);
        edited
    }
}

/// Mends the slips of a hand edit, one after the other, until the text is JSON. Returns `None` if
/// it does not become JSON.
fn mend(error: &ScanError) -> Option<(String, Vec<Correction>)> {
    let mut text = error.source.text.clone();
    let (mut kind, mut at) = (error.kind, error.at);
    let mut mends = Vec::new();
    // The places of inserted bytes, which shift the columns behind them.
    let mut inserted: Vec<usize> = Vec::new();
    while mends.len() < MAX_MENDS {
        // Picks the edit after which the scan gets furthest.
        let tried = possible_edits(&text, kind, at).into_iter().filter_map(|edit| {
            match Source::scan(edit.apply(&text)) {
                Ok(source) => Some((usize::MAX, edit, source.text, kind)),
                Err(next) if next.at > at + edit.with.len() => {
                    Some((next.at, edit, next.source.text, next.kind))
                }
                Err(_) => None,
            }
        });
        let (reached, edit, edited, next_kind) = tried.max_by_key(|(reached, ..)| *reached)?;
        let line_start = text[..edit.from].rfind('\n').map_or(0, |newline| newline + 1);
        let before = inserted.iter().filter(|place| (line_start..edit.from).contains(place)).count();
        mends.push(Correction {
            line: line_of(&text, edit.from),
            column: text[line_start..edit.from].chars().count() + 1 - before,
            action: edit.action,
        });
        inserted.extend((0..edit.with.len()).map(|n| edit.from + n));
        if reached == usize::MAX {
            let is_object = edited.trim_start().starts_with('{');
            return is_object.then_some((edited, mends));
        }
        (text, kind, at) = (edited, next_kind, reached);
    }
    None
}

/// Returns the edits that may mend a text which is JSON up to `at`.
fn possible_edits(text: &str, kind: ParseErrorKind, at: usize) -> Vec<Edit> {
    let rest = &text[at..];
    let before = text[..at].trim_end();
    let remove = |len: usize, action| vec![Edit { from: at, to: at + len, with: "", action }];
    let insert_quote = |at: usize| Edit::insert(at, "\"", "insert `\"`");
    match kind {
        ParseErrorKind::TrailingComma => return remove(1, "remove `,`"),
        ParseErrorKind::Syntax(_) => {}
        _ => return Vec::new(),
    }
    if let Some(len) = comment_len(rest) {
        return remove(len, "remove the comment");
    }
    match rest.as_bytes().first() {
        Some(b',') if before.ends_with([',', '{', '[']) => remove(1, "remove `,`"),
        Some(b'\n' | b'\r') => {
            // An unclosed string: the line's last comma or bracket was meant to follow its quote.
            let inside = before.trim_end_matches(',').trim_end_matches(['}', ']', ' ']);
            [before.trim_end_matches(',').len(), before.len(), inside.len()].map(insert_quote).into()
        }
        Some(_) => {
            // An unclosed key reaches to the next quote, and contains its own colon.
            let key = before.strip_suffix('"').and_then(|key| key.rfind('"'));
            let colon = key.and_then(|key| Some(key + before[key..].find(':')?));
            [Edit::insert(before.len(), ",", "insert `,`"), Edit::insert(at, ":", "insert `:`")]
                .into_iter()
                .chain([Some(at), colon].into_iter().flatten().map(insert_quote))
                .collect()
        }
        None => Vec::new(),
    }
}

/// Returns the length of the comment that a text begins with.
fn comment_len(text: &str) -> Option<usize> {
    if text.starts_with("//") || text.starts_with('#') {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    text.starts_with("/*").then(|| text.find("*/").map(|end| end + 2)).flatten()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::error::MAX_DEPTH;

    /// Each level may begin a member, and a document if it stands on a line of its own.
    #[rstest]
    #[case::on_one_line("{\"x\":")]
    #[case::on_lines("{\"x\":\n")]
    fn deep_text_is_scanned_once_for_each_limit_of_the_depth(#[case] level: &str) {
        const LIMITS: usize = 5;
        let error = Source::scan(level.repeat(LIMITS * MAX_DEPTH)).expect_err("nested too deep");
        // The last levels are too few for the limit. Each of them is scanned.
        let most = LIMITS * error.source.text.len() + MAX_DEPTH * MAX_DEPTH * level.len();
        let mut search = Search::default();
        assert!(around(&error, &mut search).is_none());
        assert!(search.bytes <= most, "{} bytes for members, {most} at most", search.bytes);
        let mut search = Search::default();
        assert!(inner_documents(&error.source.text, &mut search).is_empty());
        assert!(search.bytes <= most, "{} bytes for documents, {most} at most", search.bytes);
    }
}
