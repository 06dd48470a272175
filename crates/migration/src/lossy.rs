//! Serializes names and modes that JSON cannot hold as they are.

use std::{ffi::OsStr, path::Path};

use serde::{Serialize, Serializer};

pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

pub(crate) fn lossy_all<S: Serializer, T: AsRef<OsStr>>(all: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(all.iter().map(|one| one.as_ref().to_string_lossy()))
}

pub(crate) fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

pub(crate) fn count<S: Serializer, T>(all: &[T], serializer: S) -> Result<S::Ok, S::Error> {
    all.len().serialize(serializer)
}
