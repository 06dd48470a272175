use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Why a copy was made; part of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CopyKind {
    /// A config that a launch, or our own save, saw healthy. Bounded: the oldest go first, the newest never.
    Good,
    /// A config that was set aside: before a repair, before it was completed, or as it was corrupt. Never removed by us.
    Kept,
    /// A daemon's half for which there was no room, as the daemon had a config already. Never removed by us.
    Daemon,
}

/// The name of a copy without its ending: `good-00000012-3fa9…`.
///
/// A sequence number orders copies (the clock may go backwards), and the hash of the content tells, without reading, what is
/// there already.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CopyId {
    pub(crate) kind: CopyKind,
    pub(crate) sequence: u64,
    pub(crate) hash: String,
}

impl CopyId {
    /// Why it was made.
    #[must_use]
    pub fn kind(&self) -> CopyKind {
        self.kind
    }

    /// Its place in the order in which copies were made.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash of its content, in hex.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for CopyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            CopyKind::Good => "good",
            CopyKind::Kept => "kept",
            CopyKind::Daemon => "daemon",
        };
        write!(f, "{kind}-{:08}-{}", self.sequence, self.hash)
    }
}

impl FromStr for CopyId {
    type Err = ();

    fn from_str(_: &str) -> Result<Self, ()> {
        todo!()
    }
}

impl Serialize for CopyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How much room copies may take, and how large a config may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The largest config that is read, in bytes.
    pub config_bytes: u64,
    /// The most routine copies.
    pub good_count: usize,
    /// The most bytes of routine copies (the newest is kept whatever its size).
    pub good_bytes: u64,
    /// The most copies that were set aside; a repair that would need one more is refused.
    pub kept_count: usize,
    /// The most bytes that were set aside.
    pub kept_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            config_bytes: 16 << 20,
            good_count: 20,
            good_bytes: 16 << 20,
            kept_count: 500,
            kept_bytes: 256 << 20,
        }
    }
}
