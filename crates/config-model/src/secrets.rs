//! Masking what must not be shown.

use crate::{Document, Kind};

/// What stands in the place of a secret.
pub const MASK: &str = "********";

/// Parts of key names whose values are secrets, wherever they stand.
const SECRET_NAMES: [&str; 6] = ["credential", "password", "passphrase", "secret", "token", "private_key"];
/// Members that are shown even inside something secret: who, and where, but not the password.
const SHOWN: [&str; 3] = ["username", "url", "urls"];

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

/// A copy for showing: the API's bearer token, TURN credentials, passwords and what else goes by such a name masked,
/// at any depth, and in duplicates of a key that do not count. Everything else stays byte for byte, so that a diff of
/// two masked documents shows true lines.
pub fn mask(doc: &Document) -> Document {
    let within = |is_inside: bool, key: &str| is_secret(key) || (is_inside && !SHOWN.contains(&key));
    doc.with_scalars(false, within, |is_inside, value| {
        let is_masked = is_inside && matches!(value.kind(), Kind::String | Kind::Number) && !value.is_falsy();
        is_masked.then(|| MASK.into())
    })
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|name| key.contains(name))
}
