//! The operations that the simulated disk counts, and the faults that hit them.

use std::{io::ErrorKind, path::PathBuf};

use crate::Op;

/// One operation that a caller made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpRecord {
    /// The number of the operation, from 0.
    pub number: usize,
    /// The kind of the operation.
    pub op: Op,
    /// The path of the operation.
    pub path: PathBuf,
    /// The second path, if the operation has one.
    pub other: Option<PathBuf>,
    /// True if the operation failed.
    pub failed: bool,
}

impl OpRecord {
    /// Returns true if the operation changes or syncs something.
    pub fn is_change(&self) -> bool {
        !self.is_read() && !matches!(self.op, Op::Lock | Op::Pause)
    }

    /// Returns true if the operation only reads.
    pub fn is_read(&self) -> bool {
        matches!(
            self.op,
            Op::Stat
                | Op::StatFollow
                | Op::ForEachEntry
                | Op::Read
                | Op::SameContent
                | Op::ReadLink
                | Op::Canonicalize
                | Op::OpenForWriting
        )
    }

    /// Returns true if the operation syncs something.
    pub fn is_sync(&self) -> bool {
        matches!(self.op, Op::SyncFile | Op::SyncDir | Op::SyncFs)
    }
}

/// Makes operations fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The number of the first operation that fails.
    pub from: usize,
    /// True if all operations after the first fail too.
    pub persistent: bool,
    /// The kind of operation that fails; `None` for every kind.
    pub op: Option<Op>,
    /// The error. `ErrorKind::Other` stands for `EIO`.
    pub kind: ErrorKind,
    /// True if the operation is carried out, and then reported as failed.
    pub performed: bool,
}

impl Fault {
    /// Returns a fault that makes only operation `number` fail.
    pub fn once(number: usize, kind: ErrorKind) -> Self {
        Self { from: number, persistent: false, op: None, kind, performed: false }
    }

    /// Returns a fault that makes every operation of this kind fail.
    pub fn always(op: Op, kind: ErrorKind) -> Self {
        Self { from: 0, persistent: true, op: Some(op), kind, performed: false }
    }

    pub(super) fn matches(&self, record: &OpRecord) -> bool {
        let number = if self.persistent { record.number >= self.from } else { record.number == self.from };
        number && self.op.is_none_or(|op| op == record.op)
    }
}

/// A guarantee of the disk that a run loses while every call still reports success. If no crash and
/// no write of another program reveals a weakening, the call is superfluous or a test is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Weakening {
    /// No sync syncs anything from the first of these numbers to the second: a barrier may be
    /// several calls.
    SkipSyncs(usize, usize),
    /// The exclusive rename, or the hard link, with this number replaces what is at the new name.
    PlainRename(usize),
    /// From the first of these numbers to the second, every look answers as the disk was right
    /// before the first: the run does not look again.
    StaleLooks(usize, usize),
}

impl Weakening {
    /// Returns the numbers of the first and the last operation that are weakened.
    pub fn span(self) -> (usize, usize) {
        match self {
            Self::SkipSyncs(first, last) | Self::StaleLooks(first, last) => (first, last),
            Self::PlainRename(number) => (number, number),
        }
    }
}
