//! Network ids, as the daemon accepts them: trimmed, lower case, 3 to 64 of `[a-z0-9_-]`.

use std::borrow::Cow;

use myownllm_json_document::ValueRef;

const MIN_LEN: usize = 3;
const MAX_LEN: usize = 64;

/// A text that is no network id. The reason has the daemon's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network id {why}")]
#[non_exhaustive]
pub struct InvalidNetworkId {
    /// The text, as it was given.
    pub given: String,
    /// The reason.
    pub why: String,
}

impl InvalidNetworkId {
    /// Returns `network.invalid-id`.
    pub fn code(&self) -> &'static str {
        "network.invalid-id"
    }
    /// Returns a valid id close to the given text, if there is one.
    pub fn close(&self) -> Option<String> {
        let close: String = normal_form(&self.given)
            .chars()
            .map(|c| if is_allowed(c) { c } else { '-' })
            .take(MAX_LEN)
            .collect();
        let close = close.trim_matches('-');
        (close.len() >= MIN_LEN).then(|| close.to_owned())
    }
    /// Returns a remedy for a person: an id close to the given text, or the rule.
    pub fn hint(&self) -> Option<String> {
        Some(match self.close() {
            Some(close) => format!("try {close}"),
            None => format!("use {MIN_LEN} to {MAX_LEN} letters, digits, `-` and `_`, for example home-mesh"),
        })
    }
}

/// Returns the network id of a network in either shape, as it stands there; `None` if it is no
/// string.
pub fn of(network: ValueRef<'_>) -> Option<Cow<'_, str>> {
    network.get("network_id")?.as_str()
}

/// Returns the normal form of a network id that a user typed.
///
/// ```
/// use myownllm_config_model::network_id;
/// assert_eq!(network_id::normalize(" Home-Mesh ").unwrap(), "home-mesh");
/// let no = network_id::normalize("bad id!").unwrap_err();
/// assert_eq!(no.to_string(), "network id contains ' '; only letters, digits, '-', and '_' are allowed");
/// ```
///
/// # Errors
/// Fails for an id that the daemon refuses, with the daemon's reason.
pub fn normalize(id: &str) -> Result<String, InvalidNetworkId> {
    let normal = normal_form(id);
    let refuse = |why: String| Err(InvalidNetworkId { given: id.to_owned(), why });
    if let Some(invalid) = normal.chars().find(|&c| !is_allowed(c)) {
        return refuse(format!("contains {invalid:?}; only letters, digits, '-', and '_' are allowed"));
    }
    match normal.len() {
        0 => refuse("is empty".to_owned()),
        n if n < MIN_LEN => {
            let characters = if n == 1 { "character" } else { "characters" };
            refuse(format!("is too short: {n} {characters}, at least {MIN_LEN} are needed"))
        }
        n if n > MAX_LEN => refuse(format!("is too long: {n} characters, at most {MAX_LEN} are allowed")),
        _ => Ok(normal),
    }
}

/// Returns true if two saved ids mean the same network: if their normal forms are equal. Accepts
/// invalid ids as well.
pub fn same(a: &str, b: &str) -> bool {
    normal_form(a) == normal_form(b)
}

/// Returns the id trimmed and in lower case, without checking it: for comparing, and as a key. See
/// [`normalize`] for ids that a user typed.
pub fn normal_form(id: &str) -> String {
    id.trim().to_ascii_lowercase()
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
