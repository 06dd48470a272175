//! The address of a daemon.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use myownllm_durable_fs::{Disk, RealDisk};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{CheckedLayout, ControlSocket, Mode, PathsError, RealLookup, Socket};
use serde::{Serialize, Serializer};

/// The longest path of a socket file in bytes: `sun_path` less its NUL (108 on Linux, 104 on the
/// BSDs and macOS).
#[cfg(unix)]
pub(crate) const PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// The address of a daemon's control socket: a path on Unix, the name of a pipe on Windows.
///
/// An endpoint also names the users whose processes may answer there. Without
/// [`Endpoint::owned_by`] this is the user of this process alone, not even root: root's daemon in a
/// user's home writes files that the user cannot read, and another user's daemon would receive our
/// settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "schema",
    derive(schemars::JsonSchema),
    schemars(with = "Address<'static>", description = "The socket of a daemon.")
)]
pub struct Endpoint {
    address: Socket,
    owner: Option<u32>,
}

impl From<Socket> for Endpoint {
    fn from(socket: Socket) -> Self {
        Self { address: socket, owner: None }
    }
}

impl Endpoint {
    /// Returns the endpoint of the daemon of that mode: in its home, or where its own config says.
    ///
    /// # Errors
    /// Fails if that config cannot be read, or if no daemon can be reached at the address that it
    /// names.
    pub fn of(layout: &CheckedLayout, mode: Mode) -> Result<Self, PathsError> {
        Ok(layout.socket(mode, &RealLookup)?.0.into())
    }

    /// Returns the endpoint of the socket file at `path`. The path should be absolute: a relative
    /// path names another daemon in every working directory.
    pub fn unix(path: impl Into<Utf8PathBuf>) -> Self {
        Socket::Path(path.into()).into()
    }

    /// Returns the endpoint of the named pipe `name` in the local namespace (`myownmesh.sock` is
    /// `\\.\pipe\myownmesh.sock`).
    pub fn pipe(name: impl Into<String>) -> Self {
        Socket::Pipe(name.into()).into()
    }

    /// Accepts a daemon of the user `uid` too: root needs this for another user's home.
    #[must_use]
    pub fn owned_by(mut self, uid: u32) -> Self {
        self.owner = Some(uid);
        self
    }

    /// Returns the path of the socket, or `None` for a pipe.
    pub fn path(&self) -> Option<&Utf8Path> {
        self.address.path()
    }

    pub(crate) fn address(&self) -> &Socket {
        &self.address
    }

    /// Returns true if both endpoints name the same socket, symlinks and hard links resolved,
    /// whichever users they accept.
    #[must_use]
    pub fn is_same_place(&self, other: &Self) -> bool {
        self.address == other.address || self.is_link_to(other)
    }

    /// Returns true if another path than this one names the same socket.
    pub(crate) fn is_link_to(&self, other: &Self) -> bool {
        let (Some(one), Some(two)) = (self.path(), other.path()) else { return false };
        let stat = |path: &Utf8Path| RealDisk.stat_follow(path.as_std_path()).ok();
        let is_one_file = || stat(one).zip(stat(two)).is_some_and(|(one, two)| one.is_same_file(&two));
        one != two && (resolved(one) == resolved(two) || is_one_file())
    }

    /// Returns true if a process of the user `uid` may answer here, if this process runs as the
    /// user `us`.
    #[cfg(unix)]
    pub(crate) fn admits(&self, uid: u32, us: u32) -> bool {
        uid == us || Some(uid) == self.owner
    }
}

/// Resolves symlinks in as much of the path as exists: the daemon may not have bound its socket
/// yet.
pub(crate) fn resolved(path: &Utf8Path) -> PathBuf {
    let path = path.as_std_path();
    let whole = path.canonicalize();
    let in_dir = || Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?));
    whole.ok().or_else(in_dir).unwrap_or_else(|| path.to_owned())
}

/// Returns true for a socket file, which Unix alone has.
pub(crate) fn is_socket(file: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::FileTypeExt::is_socket(&file.file_type());
    #[cfg(not(unix))]
    {
        let _ = file;
        false
    }
}

/// Returns the socket at which a daemon with this config listens: the one that the config names, or
/// else `default`.
pub(crate) fn socket_of(config: &Utf8Path, default: Utf8PathBuf) -> Result<Utf8PathBuf, PathsError> {
    let named = ControlSocket::read(config, &RealLookup)?;
    Ok(named.named().map_or(default, Utf8Path::to_owned))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

/// The socket of a daemon as data.
#[derive(Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Endpoint"))]
#[serde(rename_all = "lowercase")]
enum Address<'e> {
    /// The path of a socket on Unix.
    Path(&'e str),
    /// The name of a pipe on Windows.
    Pipe(&'e str),
}

impl Serialize for Endpoint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let address = match &self.address {
            Socket::Path(path) => Address::Path(path.as_str()),
            Socket::Pipe(name) => Address::Pipe(name),
        };
        address.serialize(serializer)
    }
}

/// Serialises a path lossily: `PathBuf` itself fails on a path that is not UTF-8.
pub(crate) fn lossy<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}
