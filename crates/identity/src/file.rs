//! Parses and verifies the identity file, and derives its Device ID.
//!
//! The secret is decoded, checked against the public key and dropped; nothing here keeps or prints
//! it.

use std::{borrow::Cow, path::Path};

use data_encoding::{BASE32_NOPAD, BASE64, BASE64_NOPAD, HEXUPPER};
use ed25519_dalek::SigningKey;
use myownllm_durable_fs::quote;
use serde::{Deserialize, Serialize, de::IgnoredAny};
use serde_json::{Value, value::RawValue};
use sha2::{Digest, Sha256};

const KNOWN_VERSION: u64 = 1;

/// The state of an identity file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the doc of each variant names its fields")]
pub enum Identity {
    /// A sound key.
    Valid(KeyInfo),
    /// The file does not parse, or its public key does not belong to its seed.
    /// The reason has no content of the file. The flaw keeps a daemon from reading the key, if the
    /// file holds a sound key all the same.
    Damaged { why: String, flaw: Option<Flaw> },
    /// A version newer than this crate knows: it neither judges nor changes the file.
    Newer { version: u64 },
}

/// The public data of a sound key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[non_exhaustive]
pub struct KeyInfo {
    /// The Device ID in its displayed form: the public key, a dash and a checksum of five digits.
    pub device_id: String,
    /// The public key in base32.
    pub public_key: String,
    /// The user's label for this device.
    pub label: String,
    /// The time of creation that the file names: `@` and seconds since 1970.
    pub created_at: Option<String>,
}

impl Identity {
    /// Returns the data of the key, if the file holds a sound one.
    pub fn key(&self) -> Option<&KeyInfo> {
        match self {
            Self::Valid(key) => Some(key),
            _ => None,
        }
    }

    pub(crate) fn damaged(why: impl Into<String>) -> Self {
        Self::Damaged { why: why.into(), flaw: None }
    }
}

/// Returns true if no command can make a sound key of the file.
pub(crate) fn is_lost(identity: &Identity) -> bool {
    matches!(identity, Identity::Damaged { flaw: None, .. })
}

/// The reason why a daemon cannot read a file with a sound key, if a command can correct the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Flaw {
    /// UTF-8 behind a byte order mark.
    ByteOrderMark,
    /// UTF-16 behind a byte order mark.
    Utf16,
    /// UTF-16, little-endian, without a byte order mark.
    Utf16Le,
    /// UTF-16, big-endian, without a byte order mark.
    Utf16Be,
    /// UTF-32 behind a byte order mark.
    Utf32,
    /// UTF-32, little-endian, without a byte order mark.
    Utf32Le,
    /// UTF-32, big-endian, without a byte order mark.
    Utf32Be,
    /// Zero bytes before, in or after the text.
    ZeroBytes,
    /// Bytes after the whole key: the tail of a longer file that was overwritten.
    Tail {
        /// The number of bytes of the key.
        length: usize,
    },
    /// An encoding with one byte per character, such as ISO-8859-1.
    EightBit,
    /// A member beside the secret key is missing, of the wrong type, or a public key in another
    /// spelling than the daemon's. The daemon does not parse such a file, or shows the public key
    /// as it is spelled: to the peers, another device.
    Members {
        /// The offset of the secret key in the file, with its quotes.
        secret_at: usize,
        /// The length of the secret key.
        secret_length: usize,
        /// The text before the secret key, and after it, in a file that the daemon parses.
        around: [String; 2],
    },
    /// Two flaws: the second one is in the text without the first one.
    Both(Box<[Flaw; 2]>),
}

impl Flaw {
    /// The flaws, in the order in which they are tried: removing zero bytes would read UTF-16 too.
    const ALL: [Self; 9] = [
        Self::ByteOrderMark,
        Self::Utf32,
        Self::Utf16,
        Self::Utf32Le,
        Self::Utf32Be,
        Self::Utf16Le,
        Self::Utf16Be,
        Self::ZeroBytes,
        Self::EightBit,
    ];

    /// Returns the reason, in words that follow "the file"; `None` if the parser's reason says it.
    fn why(&self) -> Option<String> {
        Some(match self {
            Self::ByteOrderMark => "begins with a byte order mark".to_owned(),
            Self::Utf16 | Self::Utf16Le | Self::Utf16Be => "is UTF-16 text instead of UTF-8".to_owned(),
            Self::Utf32 | Self::Utf32Le | Self::Utf32Be => "is UTF-32 text instead of UTF-8".to_owned(),
            Self::ZeroBytes => "holds zero bytes beside the key".to_owned(),
            Self::Tail { length } => format!("goes on behind the key, which ends after {length} bytes"),
            Self::EightBit => "is text in an 8-bit encoding instead of UTF-8".to_owned(),
            Self::Members { .. } => return None,
            Self::Both(flaws) => {
                let [first, second] = flaws.each_ref().map(Self::why);
                let second = second.unwrap_or_else(|| "has a member that a daemon cannot read".to_owned());
                format!("{}, and {second}", first?)
            }
        })
    }

    /// Returns the command that reads the key from `file` and writes it to standard output.
    pub(crate) fn filter(&self, file: &Path) -> String {
        self.filter_from(&format!(" {}", quote(file)))
    }

    /// Returns the command that reads the key from ` FILE`, or from standard input if `file` is
    /// empty.
    fn filter_from(&self, file: &str) -> String {
        let iconv = |from: &str| format!("iconv -f {from} -t UTF-8{file}");
        match self {
            Self::ByteOrderMark => format!("tail -c +4{file}"),
            Self::Utf16 => iconv("UTF-16"),
            Self::Utf16Le => iconv("UTF-16LE"),
            Self::Utf16Be => iconv("UTF-16BE"),
            Self::Utf32 => iconv("UTF-32"),
            Self::Utf32Le => iconv("UTF-32LE"),
            Self::Utf32Be => iconv("UTF-32BE"),
            Self::ZeroBytes if file.is_empty() => "tr -d '\\000'".to_owned(),
            Self::ZeroBytes => format!("tr -d '\\000' <{file}"),
            Self::Tail { length } => format!("head -c {length}{file}"),
            Self::EightBit => iconv("ISO-8859-1"),
            Self::Members { secret_at, secret_length, around } => {
                let [before, after] = around.each_ref().map(|text| quote(Path::new(text)));
                let secret = format!("tail -c +{}{file} | head -c {secret_length}", secret_at + 1);
                format!("{{ printf %s {before}; {secret}; printf %s {after}; }}")
            }
            Self::Both(flaws) => {
                let [first, second] = &**flaws;
                format!("{} | {}", first.filter_from(file), second.filter_from(""))
            }
        }
    }

    /// Returns the bytes that the command of [`filter`](Self::filter) writes.
    fn read(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let text = |text: Option<String>| text.map(String::into_bytes);
        match self {
            Self::ByteOrderMark => bytes.strip_prefix(b"\xef\xbb\xbf").map(<[u8]>::to_vec),
            Self::Utf16 => match bytes {
                [0xff, 0xfe, rest @ ..] => text(utf16(rest, u16::from_le_bytes)),
                [0xfe, 0xff, rest @ ..] => text(utf16(rest, u16::from_be_bytes)),
                _ => None,
            },
            Self::Utf16Le => text(utf16(bytes, u16::from_le_bytes)),
            Self::Utf16Be => text(utf16(bytes, u16::from_be_bytes)),
            Self::Utf32 => match bytes {
                [0xff, 0xfe, 0, 0, rest @ ..] => text(utf32(rest, u32::from_le_bytes)),
                [0, 0, 0xfe, 0xff, rest @ ..] => text(utf32(rest, u32::from_be_bytes)),
                _ => None,
            },
            Self::Utf32Le => text(utf32(bytes, u32::from_le_bytes)),
            Self::Utf32Be => text(utf32(bytes, u32::from_be_bytes)),
            Self::ZeroBytes => Some(bytes.iter().copied().filter(|&byte| byte != 0).collect()),
            Self::Tail { length } => bytes.get(..*length).map(<[u8]>::to_vec),
            Self::EightBit => text(Some(bytes.iter().map(|&byte| char::from(byte)).collect())),
            Self::Members { secret_at, secret_length, around: [before, after] } => {
                let secret = bytes.get(*secret_at..secret_at + secret_length)?;
                Some([before.as_bytes(), secret, after.as_bytes()].concat())
            }
            Self::Both(flaws) => {
                let [first, second] = &**flaws;
                second.read(&first.read(bytes)?)
            }
        }
    }

    /// Returns the members that a daemon parses, around a secret key with which no other public key
    /// stands.
    fn members(bytes: &[u8]) -> Option<Self> {
        Self::from_members(serde_json::from_slice(bytes).ok()?, bytes)
    }

    /// Returns the members that a daemon parses, around the secret key of a file that is not JSON
    /// by a slip of a hand edit.
    fn from_hand_edited(bytes: &[u8]) -> Option<Self> {
        Self::from_members(RawMembers::in_text(bytes)?, bytes)
    }

    fn from_members(raw: RawMembers<'_>, bytes: &[u8]) -> Option<Self> {
        let secret = raw.secret_key?.get();
        let key = public_key(&seed(&serde_json::from_str::<Cow<'_, str>>(secret).ok()?)?);
        let named = raw.public_key.as_ref().and_then(Value::as_str);
        let version = raw.version?.get().trim_matches('"').parse::<f64>();
        if version != Ok(1.0) || named.is_some_and(|named| !named.eq_ignore_ascii_case(&key)) {
            return None;
        }
        // A screen shows such a character as an escape: the command has to work as it is shown.
        let ascii = |c: char| match c == ' ' || c.is_ascii_graphic() {
            true => c.to_string(),
            false => c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        };
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Value::String(text).to_string().chars().map(ascii).collect(),
            _ => "\"\"".to_owned(),
        };
        let (created_at, label) = (text(raw.created_at), text(raw.label));
        let around = [
            format!("{{\"version\": 1, \"created_at\": {created_at}, \"secret_key\": "),
            format!(", \"public_key\": \"{key}\", \"label\": {label}}}"),
        ];
        let secret_at = secret.as_ptr() as usize - bytes.as_ptr() as usize;
        Some(Self::Members { secret_at, secret_length: secret.len(), around })
    }

    /// Returns the flaw, or the two flaws, that keep a daemon from reading a sound key in these
    /// bytes.
    fn of(bytes: &[u8]) -> Option<Self> {
        let both = |first: Self| {
            let text = first.read(bytes).filter(|text| text != bytes)?;
            Some(Self::Both(Box::new([first, Self::one_of(&text)?])))
        };
        let firsts = Self::ALL.into_iter().chain(Self::tail(bytes));
        let slip = || Self::from_hand_edited(bytes).filter(|slip| slip.leads_to_a_key(bytes));
        Self::one_of(bytes).or_else(|| firsts.filter_map(both).next()).or_else(slip)
    }

    /// Returns the one flaw that keeps a daemon from reading a sound key in these bytes.
    fn one_of(bytes: &[u8]) -> Option<Self> {
        let mut all = Self::ALL.into_iter().chain(Self::tail(bytes)).chain(Self::members(bytes));
        all.find(|flaw| flaw.leads_to_a_key(bytes))
    }

    fn leads_to_a_key(&self, bytes: &[u8]) -> bool {
        self.read(bytes).is_some_and(|text| matches!(judge(&text), Identity::Valid(_)))
    }

    fn tail(bytes: &[u8]) -> Option<Self> {
        let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
        values.next()?.ok().map(|_| Self::Tail { length: values.byte_offset() })
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = bytes.chunks_exact(2);
    if !units.remainder().is_empty() {
        return None;
    }
    let units = units.map(|pair| unit([pair[0], pair[1]]));
    char::decode_utf16(units).collect::<Result<String, _>>().ok()
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Option<String> {
    let units = bytes.chunks_exact(4);
    if !units.remainder().is_empty() {
        return None;
    }
    units.map(|four| char::from_u32(unit([four[0], four[1], four[2], four[3]]))).collect()
}

/// Returns the seed of a secret key, which a daemon reads in any letter case.
fn seed(text: &str) -> Option<[u8; 32]> {
    BASE32_NOPAD.decode(text.to_uppercase().as_bytes()).ok()?.try_into().ok()
}

/// Returns the public key of a seed as a daemon writes it.
fn public_key(seed: &[u8; 32]) -> String {
    let key = SigningKey::from_bytes(seed).verifying_key();
    BASE32_NOPAD.encode(key.as_bytes()).to_ascii_lowercase()
}

/// Returns the Device ID of a public key in its displayed form.
pub fn device_id(public_key: &[u8; 32]) -> String {
    display_id(&BASE32_NOPAD.encode(public_key).to_ascii_lowercase())
}

/// Returns the Device ID of a public key in base32: adds the dash and the first five hex digits of
/// the key's SHA-256.
fn display_id(public_key: &str) -> String {
    let digest = Sha256::digest(public_key.as_bytes());
    format!("{public_key}-{:02X}{:02X}{:X}", digest[0], digest[1], digest[2] >> 4)
}

/// Judges the bytes of an identity file.
pub fn inspect(bytes: &[u8]) -> Identity {
    match judge(bytes) {
        Identity::Damaged { why, .. } => {
            let flaw = Flaw::of(bytes);
            let flawed = flaw.as_ref().and_then(Flaw::why).map(|why| format!("the file {why}"));
            Identity::Damaged { why: flawed.unwrap_or(why), flaw }
        }
        other => other,
    }
}

/// Returns the key of a file, also if a flaw keeps a daemon from reading it.
pub(crate) fn readable_key(identity: &Identity, bytes: &[u8]) -> Option<KeyInfo> {
    match identity {
        Identity::Damaged { flaw: Some(flaw), .. } => judge(&flaw.read(bytes)?).key().cloned(),
        other => other.key().cloned(),
    }
}

/// Returns the key of a file that is the seed alone: its 32 bytes, or their text in hex, base32 or
/// base64. Any token of this length looks like a seed, so the file proves nothing by itself.
pub(crate) fn key_of_seed(bytes: &[u8]) -> Option<KeyInfo> {
    let text: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let upper = text.to_ascii_uppercase();
    let in_text = [HEXUPPER.decode(&upper), BASE32_NOPAD.decode(&upper), BASE64.decode(&text)];
    let decoded = in_text.into_iter().chain([BASE64_NOPAD.decode(&text), Ok(bytes.to_vec())]).flatten();
    let public_key = public_key(&decoded.into_iter().find_map(|seed| seed.try_into().ok())?);
    let (device_id, label) = (display_id(&public_key), String::new());
    Some(KeyInfo { device_id, public_key, label, created_at: None })
}

/// The members of the file, of any type: the message of serde_json could quote the secret, so this
/// crate says itself which member is wrong.
#[derive(Deserialize)]
struct RawMembers<'a> {
    #[serde(borrow, default)]
    version: Option<&'a RawValue>,
    #[serde(default)]
    created_at: Option<Value>,
    #[serde(borrow, default)]
    secret_key: Option<&'a RawValue>,
    #[serde(default)]
    public_key: Option<Value>,
    #[serde(default)]
    label: Option<Value>,
}

impl<'a> RawMembers<'a> {
    /// Reads the members from a text that a slip of a hand edit keeps from being a JSON object: a
    /// comment, a missing comma, a member twice. The public key proves that the secret key is
    /// whole.
    fn in_text(bytes: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let member = |name: &str| {
            let key = format!("\"{name}\"");
            let value = |at: usize| {
                let value = text[at + key.len()..].trim_start().strip_prefix(':')?;
                serde_json::Deserializer::from_str(value).into_iter::<&RawValue>().next()?.ok()
            };
            let mut values = text.match_indices(&key).map(|(at, _)| value(at));
            let first = values.next()??;
            values.all(|other| other.is_some_and(|other| other.get() == first.get())).then_some(first)
        };
        let value = |name: &str| serde_json::from_str(member(name)?.get()).ok();
        Some(Self {
            version: member("version"),
            created_at: value("created_at"),
            secret_key: member("secret_key"),
            public_key: Some(value("public_key")?),
            label: value("label"),
        })
    }
}

/// Judges the bytes as a daemon does, without tolerance for anything that the daemon rejects, such
/// as a byte order mark or a missing label: the daemon would not read the key, and would exit.
fn judge(bytes: &[u8]) -> Identity {
    if bytes.is_empty() {
        return Identity::damaged("the file is empty");
    }
    if bytes.iter().all(|&byte| byte == 0) {
        return Identity::damaged("the file holds nothing but zero bytes");
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return Identity::damaged("the file is not UTF-8 text");
    };
    if let Err(error) = serde_json::from_str::<IgnoredAny>(text) {
        let (line, column) = (error.line(), error.column());
        return Identity::damaged(format!("the file is not JSON (line {line}, column {column})"));
    }
    let Ok(raw) = serde_json::from_str::<RawMembers<'_>>(text) else {
        return Identity::damaged("the file is not a JSON object with each field once");
    };
    match raw.version.map(|version| version.get().parse::<u64>()) {
        Some(Ok(1)) => {}
        Some(Ok(version)) if version > KNOWN_VERSION => return Identity::Newer { version },
        Some(Ok(_)) => return Identity::damaged("`version` is not 1"),
        _ => return Identity::damaged("`version` is not a whole number"),
    }
    let string = |member: &Option<Value>| member.as_ref().and_then(Value::as_str).map(str::to_owned);
    let Some(public) = string(&raw.public_key) else {
        return Identity::damaged("`public_key` is not a string");
    };
    let Some(secret) = raw.secret_key.and_then(|raw| serde_json::from_str::<Cow<'_, str>>(raw.get()).ok())
    else {
        return Identity::damaged("`secret_key` is not a string");
    };
    let Some(seed) = seed(&secret) else {
        return Identity::damaged("`secret_key` is not 32 bytes in base32");
    };
    let key = public_key(&seed);
    if key != public {
        let is_same = key.eq_ignore_ascii_case(&public);
        let why = if is_same { "is not in lower case" } else { "does not belong to `secret_key`" };
        return Identity::damaged(format!("`public_key` {why}"));
    }
    let Some(created_at) = string(&raw.created_at) else {
        return Identity::damaged("`created_at` is not a string");
    };
    let Some(label) = string(&raw.label) else {
        return Identity::damaged("`label` is not a string");
    };
    Identity::Valid(KeyInfo {
        device_id: display_id(&public),
        public_key: public,
        label,
        created_at: Some(created_at),
    })
}

/// Returns true if a Device ID, or the part of one that a torn run log has, belongs to this public
/// key. A shorter part may be that of another key.
pub(crate) fn is_id_of(device_id: &str, public_key: &str) -> bool {
    const SHORTEST: usize = 12;
    let part = public_key_of(device_id);
    part.len() >= SHORTEST && public_key.starts_with(&part)
}

pub(crate) fn public_key_of(device_id: &str) -> String {
    device_id.split('-').next().unwrap_or_default().to_lowercase()
}
