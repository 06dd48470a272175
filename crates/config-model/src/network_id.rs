//! Network ids as the daemon takes them: trimmed, lower case, 3 to 64 of `[a-z0-9_-]`.

/// Fewest characters of a network id.
pub const MIN_LEN: usize = 3;
/// Most characters of a network id.
pub const MAX_LEN: usize = 64;

/// Why a text is no network id. The reason is worded as the daemon's own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network id {why}")]
#[non_exhaustive]
pub struct InvalidNetworkId {
    /// As it was given.
    pub given: String,
    /// What is wrong with it.
    pub why: String,
}

impl InvalidNetworkId {
    /// `network.invalid-id`.
    pub fn code(&self) -> &'static str {
        "network.invalid-id"
    }
    /// An id close to what was given, where there is one.
    pub fn close(&self) -> Option<String> {
        let close: String = normal_form(&self.given)
            .chars()
            .map(|c| if is_allowed(c) { c } else { '-' })
            .take(MAX_LEN)
            .collect();
        let close = close.trim_matches('-');
        (close.len() >= MIN_LEN).then(|| close.to_owned())
    }
    /// What an id may look like, with one close to what was given where there is one.
    pub fn hint(&self) -> Option<String> {
        Some(match self.close() {
            Some(close) => format!("try {close}"),
            None => format!("use {MIN_LEN} to {MAX_LEN} letters, digits, `-` and `_`, for example home-mesh"),
        })
    }
}

/// The normal form of a network id that somebody typed.
///
/// ```
/// use myownllm_config_model::network_id;
/// assert_eq!(network_id::normalize(" Home-Mesh ").unwrap(), "home-mesh");
/// let no = network_id::normalize("bad id!").unwrap_err();
/// assert_eq!(no.to_string(), "network id contains ' '; only letters, digits, '-', and '_' are allowed");
/// ```
///
/// # Errors
/// An id that the daemon would refuse, with its reason.
pub fn normalize(id: &str) -> Result<String, InvalidNetworkId> {
    let normal = normal_form(id);
    let refuse = |why: String| Err(InvalidNetworkId { given: id.to_owned(), why });
    if let Some(odd) = normal.chars().find(|&c| !is_allowed(c)) {
        return refuse(format!("contains {odd:?}; only letters, digits, '-', and '_' are allowed"));
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

/// Whether two saved ids mean the same network: their normal forms are equal. Works for ids that are not valid, too.
pub fn same(a: &str, b: &str) -> bool {
    normal_form(a) == normal_form(b)
}

/// Trimmed and in lower case; nothing is checked. For comparing and as a key; for what a user typed see [`normalize`].
pub fn normal_form(id: &str) -> String {
    id.trim().to_ascii_lowercase()
}

fn is_allowed(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_'
}
