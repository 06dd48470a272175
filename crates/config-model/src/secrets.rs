//! Masking what must not be shown.

use crate::change::Edits;
use crate::document::Change;
use crate::{Document, Kind, ValueRef};

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
/// at any depth. Everything else stays byte for byte, so that a diff of two masked documents shows true lines.
pub fn mask(doc: &Document) -> Document {
    let mut copy = doc.clone();
    let change = mask_change(doc.root(), false).unwrap_or_else(|| Edits::default().into_change());
    copy.apply(change);
    copy
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|name| key.contains(name))
}

fn mask_change(value: ValueRef<'_>, is_inside_secret: bool) -> Option<Change> {
    match value.kind() {
        Kind::Object => {
            let mut edits = Edits::default();
            for (key, member) in value.members() {
                let is_secret = is_secret(&key) || (is_inside_secret && !SHOWN.contains(&&*key));
                if let Some(change) = mask_change(member, is_secret) {
                    edits.within(key.into_owned(), change);
                }
            }
            Some(edits.into_change()).filter(|c| !c.is_empty())
        }
        Kind::Array => {
            let items: Vec<_> = value
                .items()
                .enumerate()
                .filter_map(|(n, item)| Some((n, Some(mask_change(item, is_inside_secret)?))))
                .collect();
            Some(Change::Items(items, Vec::new())).filter(|c| !c.is_empty())
        }
        Kind::String | Kind::Number if is_inside_secret && !value.is_falsy() => {
            Some(Change::Replace(MASK.into()))
        }
        _ => None,
    }
}
