//! The id of a backup, which is the name of its file.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The digits of a hash in a name: 128 bits of SHA-256, enough to rule out a collision by chance.
const HASH_DIGITS: usize = 32;
/// The most digits of a sequence number. A name with more digits is not a backup: a planted huge
/// number must not use up the sequence.
const SEQUENCE_DIGITS: usize = 12;
/// The first number that no name can have.
pub(crate) const END_OF_SEQUENCE: u64 = 10u64.pow(SEQUENCE_DIGITS as u32);

/// The reason for a backup; part of the backup's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum BackupKind {
    /// A config that a launch or a save of this crate found healthy. Bounded: the oldest are
    /// removed first, the newest never.
    Good,
    /// A config that was set aside: before a repair, before it was completed, or because it was
    /// corrupt. This crate never removes it.
    Kept,
    /// A daemon's half that could not become the daemon's config because the daemon had one. This
    /// crate never removes it.
    #[serde(rename = "daemon")]
    DaemonPart,
}

impl BackupKind {
    const ALL: [Self; 3] = [Self::Good, Self::Kept, Self::DaemonPart];

    const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Kept => "kept",
            Self::DaemonPart => "daemon",
        }
    }
}

/// The name of a backup without its extension: `good-00000012-3fa9…`.
///
/// The sequence number orders the backups, because the clock may go backwards. The hash of the
/// content finds an existing backup of the same bytes without a read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(with = "String"))]
pub struct BackupId {
    pub(crate) kind: BackupKind,
    pub(crate) sequence: u64,
    pub(crate) hash: String,
}

impl BackupId {
    /// Returns the id of the backup that a file of this name is.
    pub(crate) fn of_file(name: &str) -> Option<Self> {
        name.strip_suffix(".json")?.parse().ok()
    }

    /// Returns the reason for the backup.
    pub fn kind(&self) -> BackupKind {
        self.kind
    }

    /// Returns the position of the backup in the order in which the backups were made.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Returns the hash of the content, in hex.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:08}-{}", self.kind.word(), self.sequence, self.hash)
    }
}

/// The text is not the id of a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read the id of a backup: it is not of the form KIND-NUMBER-HASH")]
pub struct InvalidBackupId;

impl FromStr for BackupId {
    type Err = InvalidBackupId;

    fn from_str(text: &str) -> Result<Self, InvalidBackupId> {
        let parse = || {
            let (word, rest) = text.split_once('-')?;
            let (number, hash) = rest.split_once('-')?;
            let is_number = (8..=SEQUENCE_DIGITS).contains(&number.len())
                && number.bytes().all(|digit| digit.is_ascii_digit());
            let is_hash = hash.len() == HASH_DIGITS
                && hash.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            let kind = BackupKind::ALL.into_iter().find(|kind| kind.word() == word)?;
            let sequence = number.parse().ok().filter(|_| is_number && is_hash)?;
            Some(Self { kind, sequence, hash: hash.to_owned() })
        };
        parse().ok_or(InvalidBackupId)
    }
}

impl Serialize for BackupId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Returns the hash of a content, in the form that the names of backups use.
pub(crate) fn content_hash(bytes: &[u8]) -> String {
    let mut text = HEXLOWER.encode(&Sha256::digest(bytes));
    text.truncate(HASH_DIGITS);
    text
}
