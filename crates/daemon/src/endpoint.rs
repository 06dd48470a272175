//! Where a daemon listens.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use serde::{Serialize, Serializer, ser::SerializeStruct};

/// The longest path of a socket file in bytes: `sun_path` less its NUL (108 on Linux, 104 on the BSDs and macOS).
#[cfg(unix)]
pub(crate) const PATH_LIMIT: usize =
    if cfg!(any(target_os = "linux", target_os = "android")) { 107 } else { 103 };

/// The address of a daemon's control socket: a path on Unix, the name of a pipe on Windows.
///
/// An endpoint also says whose process may answer there. Without [`Endpoint::owned_by`] that is the user who runs
/// this program and nobody else, root included: a daemon of root's in a user's home writes files that the user
/// cannot read, and a stranger's would be handed our settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    address: Address,
    owner: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Path(PathBuf),
    Pipe(String),
}

impl Endpoint {
    /// The socket file at `path`, which should be absolute: a relative one means another daemon in every working
    /// directory.
    pub fn unix(path: impl Into<PathBuf>) -> Self {
        Self { address: Address::Path(path.into()), owner: None }
    }

    /// The named pipe `name` in the local namespace (`myownmesh.sock` means `\\.\pipe\myownmesh.sock`).
    pub fn pipe(name: impl Into<String>) -> Self {
        Self { address: Address::Pipe(name.into()), owner: None }
    }

    /// Also accepts a daemon that runs as the user `uid`: for root, who looks after somebody else's home.
    #[must_use]
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// The socket's path; `None` for a pipe.
    pub fn path(&self) -> Option<&Path> {
        match &self.address {
            Address::Path(path) => Some(path),
            Address::Pipe(_) => None,
        }
    }

    /// The user who may answer here besides the one who runs this program.
    pub fn owner(&self) -> Option<u32> {
        self.owner
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Whether both lead to the same socket, whoever may answer there; a link leads to where it points.
    pub(crate) fn is_same_place(&self, other: &Self) -> bool {
        self.address == other.address
            || matches!((self.path(), other.path()), (Some(one), Some(two)) if resolved(one) == resolved(two))
    }

    /// Whether a process of the user `uid` may answer here, when we run as `us`.
    #[cfg(unix)]
    pub(crate) fn admits(&self, uid: u32, us: u32) -> bool {
        uid == us || Some(uid) == self.owner
    }
}

/// A path without links, as far as it is there: the file at its end may be still to come.
fn resolved(path: &Path) -> PathBuf {
    let whole = path.canonicalize();
    let dir = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    whole.ok().or_else(dir).unwrap_or_else(|| path.to_owned())
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Path(path) => write!(f, "{}", path.display()),
            Address::Pipe(name) => write!(f, r"\\.\pipe\{name}"),
        }
    }
}

/// As `{"path": …}` or `{"pipe": …}`. A path that is not UTF-8 is shown lossily: a report must not fail on an odd home.
impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Endpoint", 1)?;
        match &self.address {
            Address::Path(path) => out.serialize_field("path", &path.to_string_lossy())?,
            Address::Pipe(name) => out.serialize_field("pipe", name)?,
        }
        out.end()
    }
}

/// For the paths in our reports: `PathBuf`'s own serialisation fails on one that is not UTF-8.
pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
