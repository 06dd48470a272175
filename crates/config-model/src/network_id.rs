//! Network ids as the daemon takes them: trimmed, lower case, 3 to 64 of `[a-z0-9_-]`.

/// Why a text is no network id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("network id {given:?} {why}")]
pub struct InvalidNetworkId {
    /// As it was given.
    pub given: String,
    /// What is wrong with it, in the daemon's words.
    pub why: String,
}

impl InvalidNetworkId {
    /// `network.invalid-id`.
    pub fn code(&self) -> &'static str {
        "network.invalid-id"
    }
}

/// The normal form of a network id that somebody typed.
///
/// # Errors
/// An id that the daemon would refuse, with its reason.
pub fn normalize(id: &str) -> Result<String, InvalidNetworkId> {
    let _ = id;
    todo!()
}

/// Whether two saved ids mean the same network: their normal forms are equal, or, where one has none, the texts.
pub fn same(a: &str, b: &str) -> bool {
    let _ = (a, b);
    todo!()
}
