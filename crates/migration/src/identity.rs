//! The daemon's key file: is it one, whose is it, and is it sound?
//!
//! The secret is decoded, checked against the public key and dropped; nothing here keeps or prints it.

use data_encoding::BASE32_NOPAD;
use ed25519_dalek::SigningKey;
use serde::{Serialize, de::IgnoredAny};
use sha2::{Digest, Sha256};

/// The newest `version` of the file that this crate understands.
pub const KNOWN_VERSION: u64 = 1;

/// What a key file turned out to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Identity {
    /// A sound key.
    Valid(KeyInfo),
    /// It does not parse, or its public key does not belong to its seed.
    Damaged {
        /// What is wrong with it, without a word of its content.
        why: String,
    },
    /// Of a version newer than [`KNOWN_VERSION`]: not ours to judge or to touch.
    Newer {
        /// That version.
        version: u64,
    },
}

/// What may be told of a sound key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KeyInfo {
    /// The Device ID as people see it: the public key, a dash and five digits to check it by.
    pub device_id: String,
    /// The public key, base32.
    pub public_key: String,
    /// The label that the user gave to this device.
    pub label: String,
    /// When it was made, as the file says: `@` and seconds since 1970.
    pub created_at: Option<String>,
}

impl Identity {
    /// The sound key's data, if it is one.
    pub fn key(&self) -> Option<&KeyInfo> {
        match self {
            Self::Valid(key) => Some(key),
            _ => None,
        }
    }
}

/// The alphabet is RFC 4648's; the daemon writes it in lower case.
fn decode32(text: &str) -> Option<[u8; 32]> {
    BASE32_NOPAD.decode(text.to_ascii_uppercase().as_bytes()).ok()?.try_into().ok()
}

/// The Device ID of a public key, as people see it.
pub fn device_id(public_key: &[u8; 32]) -> String {
    display_id(&BASE32_NOPAD.encode(public_key).to_ascii_lowercase())
}

/// The Device ID of a public key that is base32 already: adds the dash and the first five hex digits of its SHA-256.
fn display_id(public_key: &str) -> String {
    let digest = Sha256::digest(public_key.as_bytes());
    format!("{public_key}-{:02X}{:02X}{:X}", digest[0], digest[1], digest[2] >> 4)
}

/// Judges the bytes of a key file.
pub fn inspect(bytes: &[u8]) -> Identity {
    let damaged = |why: &str| Identity::Damaged { why: why.to_owned() };
    if bytes.is_empty() {
        return damaged("the file is empty");
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return damaged("the file holds nothing but zero bytes");
    }
    // Fields of the wrong type must be told apart from a file that is no JSON, hence the two steps.
    #[derive(serde::Deserialize)]
    struct Raw<'a> {
        #[serde(borrow, default)]
        version: Option<&'a serde_json::value::RawValue>,
        #[serde(default)]
        created_at: Option<serde_json::Value>,
        #[serde(borrow, default)]
        secret_key: Option<&'a serde_json::value::RawValue>,
        #[serde(default)]
        public_key: Option<serde_json::Value>,
        #[serde(default)]
        label: Option<serde_json::Value>,
    }
    // No allowance is made that the daemon does not make: a byte order mark, say. It would not read the key, and end.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Identity::Damaged {
            why: format!("the file is not JSON (line {}, column {})", error.line(), error.column()),
        };
    }
    // serde_json's message could quote what it stumbled over, so it is not shown.
    let Ok(raw) = serde_json::from_slice::<Raw<'_>>(bytes) else {
        return damaged("the file is not a JSON object with each field once");
    };
    let Some(version) = raw.version.and_then(|version| version.get().parse::<u64>().ok()) else {
        return damaged("`version` is not a whole number");
    };
    if version > KNOWN_VERSION {
        return Identity::Newer { version };
    }
    if version != KNOWN_VERSION {
        return damaged("`version` is not 1");
    }
    let text = |value: &Option<serde_json::Value>| value.as_ref().and_then(|v| v.as_str().map(str::to_owned));
    let Some(public_text) = text(&raw.public_key) else {
        return damaged("`public_key` is not a text");
    };
    let Some(public) = decode32(&public_text) else {
        return damaged("`public_key` is not 32 bytes in base32");
    };
    let Some(secret) =
        raw.secret_key.and_then(|raw| serde_json::from_str::<std::borrow::Cow<'_, str>>(raw.get()).ok())
    else {
        return damaged("`secret_key` is not a text");
    };
    let Some(seed) = decode32(&secret) else {
        return damaged("`secret_key` is not 32 bytes in base32");
    };
    if SigningKey::from_bytes(&seed).verifying_key().to_bytes() != public {
        return damaged("`public_key` does not belong to `secret_key`");
    }
    Identity::Valid(KeyInfo {
        device_id: device_id(&public),
        public_key: BASE32_NOPAD.encode(&public).to_ascii_lowercase(),
        label: text(&raw.label).unwrap_or_default(),
        created_at: text(&raw.created_at),
    })
}
