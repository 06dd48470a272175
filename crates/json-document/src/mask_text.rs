//! Finds the secrets inside of texts: in URLs, in headers and in lines of a log.

use std::ops::Range;

use crate::secret_names::is_secret_name;
use crate::shorten::{shortened, shortened_pointer};
use crate::text::unescape_pointer;

/// Stands in the place of a secret.
pub const MASK: &str = "********";

/// Schemes whose `name@host` is an address, not a login.
const ADDRESSES: [&str; 5] = ["mailto", "sip", "sips", "xmpp", "acct"];
/// Schemes of URLs without `//`.
const SERVERS: [&str; 4] = ["stun:", "stuns:", "turn:", "turns:"];
/// URL parameters with harmless values.
const HARMLESS_PARAMETERS: [&str; 1] = ["transport"];
/// Words before the credentials of an HTTP header.
const AUTH_SCHEMES: [&str; 2] = ["bearer", "basic"];
/// The most names of a JSON Pointer that are shown. A person finds the place by line and column.
const POINTER_NAMES: usize = 32;
const POINTER_LENGTH: usize = 400;

/// Masks the secrets in a line of a log.
///
/// Masks what [`mask_text`] masks. In addition, masks the text after a name that announces a secret
/// (`credential=…`, `{"secret_key": …`), and values that a parser quotes because they have the
/// wrong type. Removes the sequences that colour a terminal: between a name and its value they
/// would hide the secret.
pub fn mask_line(line: &str) -> String {
    let line = &without_colours(line);
    let mut found = in_text(line);
    found.extend(named_anywhere(line));
    found.extend(quoted_by_a_parser(line));
    replaced(line, apart(found), MASK).unwrap_or_else(|| line.to_owned())
}

/// Removes the control sequences with which a program colours its output.
fn without_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let after = sequence.trim_start_matches(|c| matches!(c, ' '..='?'));
        rest = after.strip_prefix(|c| matches!(c, '@'..='~')).unwrap_or(after);
    }
    plain + rest
}

/// Masks the secrets in a text; returns `None` if it has none.
///
/// Masks
///
/// 1. the login of a URL (`turn:USER:PASSWORD@host`), and the values of its parameters but for
///    plain ones (`?transport=udp`, `?page=2`);
/// 2. the text after a name that announces a secret, at the beginning of a line
///    (`Authorization: Bearer …`, `API_KEY=…`);
/// 3. the word after `Bearer` or `Basic` at the end of a line or a quotation (a plain word after
///    `Basic` stays).
pub fn mask_text(text: &str) -> Option<String> {
    replaced(text, in_text(text), MASK)
}

/// Returns a text without the secrets that [`mask_text`] masks, and without the `@` after a login;
/// `None` if it has none.
pub fn strip_secrets(text: &str) -> Option<String> {
    let end = |range: &Range<usize>| range.end + usize::from(text[range.end..].starts_with('@'));
    replaced(text, in_text(text).iter().map(|range| range.start..end(range)), "")
}

/// Returns a JSON Pointer that can be shown: masks the secrets in its names, and leaves out the
/// middle of a very long one.
pub fn mask_pointer(pointer: &str) -> String {
    let name = |name: &str| match mask_text(&unescape_pointer(name)) {
        Some(masked) => masked.replace('~', "~0").replace('/', "~1"),
        None => name.to_owned(),
    };
    let short = shortened_pointer(pointer, POINTER_NAMES);
    let names: Vec<String> = short.split('/').map(name).collect();
    shortened(&names.join("/"), POINTER_LENGTH).into_owned()
}

fn replaced(text: &str, secrets: impl IntoIterator<Item = Range<usize>>, by: &str) -> Option<String> {
    let (mut replaced, mut copied) = (String::new(), 0);
    for range in secrets {
        replaced.push_str(&text[copied..range.start]);
        replaced.push_str(by);
        copied = range.end;
    }
    (copied > 0).then(|| replaced + &text[copied..])
}

/// Returns the ranges of the secrets in a text, in order and apart from each other.
pub(crate) fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut found = in_pieces(
        text,
        |c| c.is_whitespace() || matches!(c, '"' | '<' | '>'),
        |piece| {
            let mut here = logins(piece);
            // A `?` in a password begins no parameter.
            let mut outside = parameters(piece);
            outside.retain(|parameter| !here.iter().any(|login| login.contains(&parameter.start)));
            here.extend(outside);
            here
        },
    );
    found.extend(in_pieces(
        text,
        |c| matches!(c, '\n' | '\r'),
        |line| {
            let mut here = credentials(line);
            here.extend(named_at_the_beginning(line));
            here
        },
    ));
    apart(found)
}

/// Sorts ranges, and joins those that overlap.
fn apart(mut found: Vec<Range<usize>>) -> Vec<Range<usize>> {
    found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut apart: Vec<Range<usize>> = Vec::new();
    for range in found {
        match apart.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => apart.push(range),
        }
    }
    apart
}

/// Calls `find` for the pieces of a text between separators.
fn in_pieces(
    text: &str,
    is_separator: impl Fn(char) -> bool,
    find: impl Fn(&str) -> Vec<Range<usize>>,
) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), 0);
    for piece in text.split_inclusive(&is_separator) {
        let here = find(piece.strip_suffix(&is_separator).unwrap_or(piece));
        found.extend(here.into_iter().map(|range| start + range.start..start + range.end));
        start += piece.len();
    }
    found
}

/// Finds the value in a line that begins with a secret's name: `Authorization: …`, `API_KEY=…`.
fn named_at_the_beginning(line: &str) -> Option<Range<usize>> {
    let at = line.find([':', '='])?;
    let name = line[..at].trim_matches([' ', '\t', '"', '\'', '-']);
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let rest = &line[at + 1..];
    let value = rest.trim();
    let start = at + 1 + (rest.len() - rest.trim_start().len());
    (is_name && !value.is_empty() && is_secret_name(name)).then(|| start..start + value.len())
}

/// Finds the values after a secret's name, anywhere in the line: to the end of the quotation or of
/// the word, and the whole of an array or an object.
fn named_anywhere(line: &str) -> Vec<Range<usize>> {
    let named = |(at, _): (usize, &str)| {
        let name = line[..at].trim_end_matches([' ', '\t', '"', '\'', '`', '\\']);
        let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = &name[name.trim_end_matches(is_part).len()..];
        let value = line[at + 1..].trim_start_matches([' ', '\t', '\\']);
        let mut start = line.len() - value.len();
        let length = match value.chars().next()? {
            '[' | '{' => value.len(),
            quote @ ('"' | '\'' | '`') => {
                start += 1;
                value[1..].find(quote).unwrap_or(value.len() - 1)
            }
            _ => value.find(|c: char| c.is_whitespace() || ",;)]}\"'`&".contains(c)).unwrap_or(value.len()),
        };
        (length > 0 && is_secret_name(name)).then(|| start..start + length)
    };
    line.match_indices([':', '=']).filter_map(named).collect()
}

/// Finds the value in ``invalid type: integer `1`, expected a string``.
fn quoted_by_a_parser(line: &str) -> Vec<Range<usize>> {
    let announced = ["invalid type: ", "invalid value: "];
    let starts = announced.iter().flat_map(|words| line.match_indices(words).map(|(at, it)| at + it.len()));
    let quoted = |start: usize| {
        let said = &line[start..];
        let said = &said[..said.find(", expected").unwrap_or(said.len())];
        let open = said.find(['"', '`'])?;
        let close = said.rfind(['"', '`']).filter(|close| *close > open).unwrap_or(said.len());
        (close > open + 1).then(|| start + open + 1..start + close)
    };
    starts.filter_map(quoted).collect()
}

/// Finds the words after a word that announces credentials.
fn credentials(line: &str) -> Vec<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let found =
        AUTH_SCHEMES.iter().flat_map(|scheme| lower.match_indices(scheme).map(|(at, _)| (at, *scheme)));
    found.filter_map(|(at, scheme)| credential_after(line, at, scheme)).collect()
}

fn credential_after(line: &str, at: usize, scheme: &str) -> Option<Range<usize>> {
    let rest = &line[at + scheme.len()..];
    let word = rest.trim_start_matches([' ', '\t']);
    let start = line.len() - word.len();
    let length =
        word.find(|c: char| !(c.is_ascii_alphanumeric() || "-._~+/=".contains(c))).unwrap_or(word.len());
    let after = word[length..].trim_start_matches([' ', '\t']);
    let is_word =
        !line[..at].ends_with(|c: char| c.is_alphanumeric()) && word.len() < rest.len() && length > 0;
    let is_last = after.is_empty() || after.starts_with(['"', '\'', '`', ',', ';', ')', ']', '}']);
    // `Basic mesh` is a name; encoded credentials look different.
    let is_plain = word[1.min(length)..length].bytes().all(|b| b.is_ascii_lowercase());
    (is_word && is_last && !(scheme == "basic" && is_plain)).then(|| start..start + length)
}

/// Finds the logins of the URLs in a piece of text, without the `@`.
fn logins(piece: &str) -> Vec<Range<usize>> {
    const MARK: &str = "://";
    let starts: Vec<usize> = piece.match_indices(MARK).map(|(at, _)| at + MARK.len()).collect();
    if starts.is_empty() {
        // `turn:u:pw@host`, and a login without a scheme.
        let Some((scheme, place)) = piece.split_once(':') else { return Vec::new() };
        let is_address = ADDRESSES.contains(&scheme.to_ascii_lowercase().as_str());
        if is_address || place.starts_with(['/', '\\']) {
            return Vec::new();
        }
        return login(place, scheme.len() + 1).into_iter().collect();
    }
    let ends = starts.iter().skip(1).copied().chain([piece.len()]);
    starts.iter().zip(ends).filter_map(|(start, end)| login(&piece[*start..end], *start)).collect()
}

/// Finds the login at the beginning of `place`, which is `offset` bytes into its text.
fn login(place: &str, offset: usize) -> Option<Range<usize>> {
    let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
    let end = authority.rfind('@').or_else(|| {
        // The part before a slash may be half a password; a port is not.
        let (_, port) = authority.split_once(':')?;
        (!port.bytes().all(|digit| digit.is_ascii_digit())).then(|| place.rfind('@'))?
    })?;
    (end > 0).then(|| offset..offset + end)
}

/// Finds the values of a URL's parameters. In other texts, finds those with a secret's name.
fn parameters(piece: &str) -> Vec<Range<usize>> {
    let is_url = piece.contains("://") || SERVERS.iter().any(|scheme| piece.starts_with(scheme));
    let mut found: Vec<Range<usize>> = Vec::new();
    let query = piece.find(['?', '#']).unwrap_or(piece.len());
    for (mark, separator) in piece[query..].match_indices(['?', '#', '&', ';']) {
        let start = query + mark + 1;
        if found.last().is_some_and(|range| start < range.end) {
            continue;
        }
        let length = piece[start..].find(['=', '?', '#', '&', ';']).unwrap_or_else(|| piece[start..].len());
        let name = &piece[start..start + length];
        let value = if piece[start + length..].starts_with('=') {
            let from = start + length + 1;
            from..piece[from..].find(['&', '#']).map_or(piece.len(), |length| from + length)
        } else if separator == "?" || separator == "&" {
            start..start + length
        } else {
            continue;
        };
        let is_plain = !is_url || is_plain_parameter(name, &piece[value.clone()]);
        let is_named = value.start > start && is_secret_name(&percent_decoded(name));
        if !value.is_empty() && (is_named || !is_plain) {
            found.push(value);
        }
    }
    found
}

/// Returns true for parameters that cannot be a secret: flags, short numbers, and known names.
fn is_plain_parameter(name: &str, value: &str) -> bool {
    let is_short_number = value.len() <= 5 && value.bytes().all(|b| b.is_ascii_digit());
    is_short_number || matches!(value, "true" | "false") || HARMLESS_PARAMETERS.contains(&name)
}

fn percent_decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let code = digits.filter(|_| *byte == b'%').and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(code.unwrap_or(*byte));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
