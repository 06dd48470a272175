//! Masking what must not be shown: the one rule for what a secret is, by the name of a member and inside of a URL.
//!
//! # Names
//! The value of a member is a secret, with all texts and numbers inside of it, when its name
//!
//! 1. holds `credential`, `password`, `passphrase`, `secret`, `token` or `private_key`, whatever else is in it; or
//! 2. is not *about* a secret (`key_path`, `auth_type`, `cookie_name`: the last word says so), and has a word like `pass`,
//!    `psk`, `jwt`, `bearer`, `auth`, `cookie`, holds a compound like `api_key`, or ends in the word `key`.
//!
//! Words end at anything that is no letter and at humps (`privKey`, `APIKey`), case does not count, nor do separators inside a
//! compound (`apikey`, `X-Api-Key`). A `key` that is public by its name (`public_key`) stays readable, and so do `keys` that
//! are no compound, and every word that merely begins alike: `keyboard`, `passive`, `author`. In doubt one too many is masked.
//!
//! An object that names something beside its `value` (`{"name": "Authorization", "value": …}`) is as a member of that name.
//!
//! # Texts
//! In every other text, and in every key, these are masked, and the rest stays readable:
//!
//! 1. the user's part of a URL (`turn:USER:PASSWORD@host`), and the values of query and fragment parameters that have a secret's
//!    name (`?api_key=…`);
//! 2. what follows a secret's name at the beginning of a line (`Authorization: Bearer …`, `API_KEY=…`);
//! 3. what follows the word `Bearer` or `Basic` where it ends a line or a quotation, and, after `Basic`, is no plain word.
//!
//! # Lines
//! What a program says of its own accord ([`mask_line`]) is nobody's text to be kept readable. There, in addition, it is masked
//! what follows a secret's name anywhere (`… credential=… …`, `{"secret_key": …`), and the value that a parser quotes because it
//! is of the wrong type.

use std::ops::Range;

use serde_json::{Map, Value};

use crate::document::Rewrite;
use crate::shorten::{shortened, shortened_pointer};
use crate::{Document, Fragment, Kind, ValueRef};

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Parts of key names whose values are secrets, whatever the rest of the name says; without separators.
const ALWAYS: [&str; 6] = ["credential", "password", "passphrase", "secret", "token", "privatekey"];
/// Compounds that name a secret; without separators.
const COMPOUNDS: [&str; 10] = [
    "apikey",
    "authkey",
    "joinkey",
    "accesskey",
    "privkey",
    "sharedkey",
    "signingkey",
    "encryptionkey",
    "sessionkey",
    "masterkey",
];
/// Words that name a secret.
const WORDS: [&str; 23] = [
    "pass",
    "passwd",
    "passcode",
    "passkey",
    "pw",
    "pwd",
    "psk",
    "pin",
    "jwt",
    "bearer",
    "auth",
    "oauth",
    "authorization",
    "authentication",
    "cookie",
    "cookies",
    "cred",
    "creds",
    "otp",
    "totp",
    "mnemonic",
    "sig",
    "signature",
];
/// Words before `key` that make it one which anybody may see.
const PUBLIC: [&str; 14] = [
    "public",
    "pub",
    "verify",
    "verifying",
    "authorized",
    "trusted",
    "host",
    "peer",
    "hot",
    "short",
    "shortcut",
    "sort",
    "primary",
    "foreign",
];
/// Last words that say something about a secret without being one.
const ABOUT: [&str; 20] = [
    "id", "ids", "type", "kind", "method", "mode", "name", "label", "url", "urls", "uri", "host", "port",
    "path", "file", "dir", "env", "enabled", "required", "limit",
];
/// Members that are shown even inside something secret: who, and where, but not the password.
const SHOWN: [&str; 3] = ["username", "url", "urls"];
/// Schemes whose `name@place` is an address and no login.
const ADDRESSES: [&str; 5] = ["mailto", "sip", "sips", "xmpp", "acct"];

/// Members that name what stands in a `value` beside them.
const NAMING: [&str; 4] = ["name", "key", "header", "field"];
/// Members that hold what another one names.
const NAMED: [&str; 2] = ["value", "values"];
/// Words before the credentials of an HTTP header.
const SCHEMES: [&str; 2] = ["bearer", "basic"];
/// A place in a document is shown with so many names, and characters; a person finds it by line and column.
const POINTER: (usize, usize) = (32, 400);

/// A text that is shown as [`MASK`], so that it does not get into a log by way of a `{:?}`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
    /// The text, for whoever must send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(MASK)
    }
}

/// A copy for showing: what goes by a secret's name masked, and the logins in URLs, at any depth, and in duplicates of a key
/// that do not count. Everything else stays byte for byte, so that a diff of two masked documents shows true lines.
pub fn mask(doc: &Document) -> Document {
    doc.rewritten(&Mask)
}

struct Mask;

impl Rewrite for Mask {
    type State = State;

    fn object(&self, state: State, object: ValueRef<'_>) -> State {
        let text = |key: &str| object.get(key).and_then(|value| value.as_str().map(|text| text.into_owned()));
        State { names: names_a_secret(text), ..state }
    }

    fn member(&self, state: State, key: &str) -> State {
        state.of_member(key)
    }

    fn key(&self, key: &str) -> Option<Fragment> {
        mask_text(key).map(|masked| masked.as_str().into())
    }

    fn scalar(&self, state: State, value: ValueRef<'_>) -> Option<Fragment> {
        match value.kind() {
            Kind::String | Kind::Number if state.is_secret => (!value.is_falsy()).then(|| MASK.into()),
            Kind::String => mask_text(&value.as_str()?).map(|masked| masked.as_str().into()),
            _ => None,
        }
    }
}

/// What is known of a value from where it stands.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// It is a secret, or inside of one.
    is_secret: bool,
    /// Of an object: it names a secret, which is its `value`.
    names: bool,
}

impl State {
    fn of_member(self, key: &str) -> Self {
        let is_secret = is_secret_name(key)
            || (self.is_secret && !SHOWN.contains(&key))
            || (self.names && NAMED.contains(&key));
        Self { is_secret, names: false }
    }
}

/// Whether an object, of which `text` gives the texts, names a secret.
fn names_a_secret(text: impl Fn(&str) -> Option<String>) -> bool {
    NAMING.iter().any(|key| text(key).is_some_and(|name| is_secret_name(&name)))
}

/// [`mask`] for a value, in place.
pub fn mask_value(value: &mut Value) {
    each_scalar(value, State::default(), &mut |scalar, is_secret| match scalar {
        Value::String(text) if is_secret && !text.is_empty() => *text = MASK.to_owned(),
        Value::String(text) if !is_secret => *text = mask_text(text).unwrap_or_else(|| std::mem::take(text)),
        Value::Number(number) if is_secret && number.as_f64() != Some(0.0) => *scalar = MASK.into(),
        _ => {}
    });
    mask_keys(value);
}

/// Masks in the keys what [`mask`] masks there. Two that are the same then are told apart by a number.
fn mask_keys(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.values_mut().for_each(mask_keys);
            if members.keys().all(|key| mask_text(key).is_none()) {
                return;
            }
            for (key, value) in std::mem::take(members) {
                let masked = mask_text(&key).unwrap_or(key);
                let free = |key: &String| !members.contains_key(key);
                let numbered = (2..).map(|number| format!("{masked} ({number})"));
                let key = std::iter::once(masked.clone()).chain(numbered).find(free);
                members.extend(key.map(|key| (key, value)));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask_keys),
        _ => {}
    }
}

/// A JSON Pointer for showing: what is a secret in a key is masked, and of very many names those in the middle are left out.
pub fn shown_pointer(pointer: &str) -> String {
    let name = |name: &str| match mask_text(&name.replace("~1", "/").replace("~0", "~")) {
        Some(masked) => masked.replace('~', "~0").replace('/', "~1"),
        None => name.to_owned(),
    };
    let short = shortened_pointer(pointer, POINTER.0);
    let names: Vec<String> = short.split('/').map(name).collect();
    shortened(&names.join("/"), POINTER.1).into_owned()
}

/// The texts that [`mask`] would not show: whoever may quote these members is not to be quoted with one of them.
pub fn found_in(members: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let mut members = Value::Object(members.clone());
    each_scalar(&mut members, State::default(), &mut |scalar, is_secret| match scalar {
        Value::String(text) if is_secret && !text.is_empty() => found.push(std::mem::take(text)),
        Value::String(text) if !is_secret => {
            for range in in_text(text) {
                let secret = &text[range];
                // The name before a password is quoted without it, or the other way round.
                found.extend(secret.split_once(':').map(|(_, password)| password.to_owned()));
                found.push(secret.to_owned());
            }
        }
        _ => {}
    });
    found.retain(|secret| !secret.is_empty());
    found
}

fn each_scalar(value: &mut Value, state: State, visit: &mut dyn FnMut(&mut Value, bool)) {
    match value {
        Value::Object(members) => {
            let names = names_a_secret(|key| members.get(key)?.as_str().map(str::to_owned));
            let state = State { names, ..state };
            members.iter_mut().for_each(|(key, value)| each_scalar(value, state.of_member(key), visit));
        }
        // A list hands on what it is itself: its items have no name.
        Value::Array(items) => items.iter_mut().for_each(|item| each_scalar(item, state, visit)),
        scalar => visit(scalar, state.is_secret),
    }
}

/// Whether the value of a member, or of a parameter of a URL, is a secret by its name.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let (compact, words): (String, Vec<&str>) = (words.concat(), words.iter().map(String::as_str).collect());
    let holds = |parts: &[&str]| parts.iter().any(|part| compact.contains(part));
    holds(&ALWAYS)
        || match *words.as_slice() {
            [] => false,
            [.., last] if ABOUT.contains(&last) => false,
            [.., before, "key"] if PUBLIC.contains(&before) => false,
            [.., "key"] => true,
            _ => holds(&COMPOUNDS) || words.iter().any(|word| WORDS.contains(word)),
        }
}

/// The words of a name in small letters: `X-Api-Key`, `apiKey2` and `APIKey` have two or three.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut chars = name.chars().peekable();
    let mut before = ' ';
    while let Some(c) = chars.next() {
        let ends_capitals = before.is_ascii_uppercase() && chars.peek().is_some_and(char::is_ascii_lowercase);
        let is_hump = c.is_ascii_uppercase() && (!before.is_ascii_uppercase() || ends_capitals);
        if is_hump || !c.is_ascii_alphabetic() {
            words.push(String::new());
        }
        if let (true, Some(word)) = (c.is_ascii_alphabetic(), words.last_mut()) {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

/// A line that a program wrote, for showing.
pub fn mask_line(line: &str) -> String {
    let mut found = in_text(line);
    found.extend(named_anywhere(line));
    found.extend(quoted_by_a_parser(line));
    masked(line, apart(found)).unwrap_or_else(|| line.to_owned())
}

/// The text with the secrets in it masked; nothing where there are none.
fn mask_text(text: &str) -> Option<String> {
    masked(text, in_text(text))
}

fn masked(text: &str, secrets: Vec<Range<usize>>) -> Option<String> {
    let mut masked = String::new();
    let mut copied = 0;
    for range in secrets {
        masked.push_str(&text[copied..range.start]);
        masked.push_str(MASK);
        copied = range.end;
    }
    (copied > 0).then(|| masked + &text[copied..])
}

/// Where the secrets in a text are, in order and apart from each other.
fn in_text(text: &str) -> Vec<Range<usize>> {
    let mut found = in_pieces(
        text,
        |c| c.is_whitespace() || matches!(c, '"' | '<' | '>'),
        |piece| {
            let mut here = logins(piece);
            here.extend(parameters(piece));
            here
        },
    );
    found.extend(in_pieces(
        text,
        |c| matches!(c, '\n' | '\r'),
        |line| {
            let mut here = credentials(line);
            here.extend(named_at_its_beginning(line));
            here
        },
    ));
    apart(found)
}

/// In order, and those that overlap as one.
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

/// What `look` finds in the pieces of a text between those characters.
fn in_pieces(
    text: &str,
    is_between: impl Fn(char) -> bool,
    look: impl Fn(&str) -> Vec<Range<usize>>,
) -> Vec<Range<usize>> {
    let (mut found, mut start) = (Vec::new(), 0);
    for piece in text.split_inclusive(&is_between) {
        let here = look(piece.strip_suffix(&is_between).unwrap_or(piece));
        found.extend(here.into_iter().map(|range| start + range.start..start + range.end));
        start += piece.len();
    }
    found
}

/// What stands in a line that begins with a secret's name: `Authorization: …`, `API_KEY=…`.
fn named_at_its_beginning(line: &str) -> Option<Range<usize>> {
    let at = line.find([':', '='])?;
    let name = line[..at].trim_matches([' ', '\t', '"', '\'', '-']);
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    let rest = &line[at + 1..];
    let value = rest.trim();
    let start = at + 1 + (rest.len() - rest.trim_start().len());
    (is_name && !value.is_empty() && is_secret_name(name)).then(|| start..start + value.len())
}

/// What follows a secret's name, wherever in the line: to the end of the quotation or of the word, and all of a list or an object.
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

/// The value in ``invalid type: integer `1`, expected a string``.
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

/// What follows a word that announces credentials.
fn credentials(line: &str) -> Vec<Range<usize>> {
    let small = line.to_ascii_lowercase();
    let found = SCHEMES.iter().flat_map(|scheme| small.match_indices(scheme).map(|(at, _)| (at, *scheme)));
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
    // `Basic mesh` is a name; what is encoded looks otherwise.
    let is_plain = word[1.min(length)..length].bytes().all(|b| b.is_ascii_lowercase());
    (is_word && is_last && !(scheme == "basic" && is_plain)).then(|| start..start + length)
}

/// The users' parts of the URLs in a piece of text, without the `@`.
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

/// The user's part at the beginning of a place, which is `offset` bytes into its text.
fn login(place: &str, offset: usize) -> Option<Range<usize>> {
    let authority = place.split(['/', '?', '#']).next().unwrap_or_default();
    let end = authority.rfind('@').or_else(|| {
        // What is before a slash may be half a password; a port is none.
        let (_, port) = authority.split_once(':')?;
        (!port.bytes().all(|digit| digit.is_ascii_digit())).then(|| place.rfind('@'))?
    })?;
    (end > 0).then(|| offset..offset + end)
}

/// The values of the parameters with a secret's name.
fn parameters(url: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let query = url.find(['?', '#']).unwrap_or(url.len());
    for (mark, _) in url[query..].match_indices(['?', '#', '&', ';']) {
        let name = query + mark + 1;
        if found.last().is_some_and(|range| name < range.end) {
            continue;
        }
        let Some(length) = url[name..].find(['=', '?', '#', '&', ';']) else { continue };
        let value = name + length + 1;
        if url.as_bytes()[name + length] != b'=' || !is_secret_name(&decoded(&url[name..name + length])) {
            continue;
        }
        let end = url[value..].find(['&', '#']).map_or(url.len(), |length| value + length);
        if end > value {
            found.push(value..end);
        }
    }
    found
}

/// A parameter's name without its percent signs.
fn decoded(name: &str) -> String {
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
