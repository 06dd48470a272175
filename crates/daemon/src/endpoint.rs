//! Where a daemon listens.

use std::path::{Path, PathBuf};

use serde::Serialize;

/// The address of a daemon's control socket: a path on Unix, the name of a pipe on Windows.
///
/// An endpoint also says whose process may answer there. Without [`Endpoint::owned_by`] that is the user who runs this
/// program and nobody else, root included: a daemon of root's in a user's home writes files that the user cannot read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Endpoint {
    address: Address,
    owner: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
enum Address {
    Path(PathBuf),
    Pipe(String),
}

/// Why a text is no address of a daemon.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// The path of a socket has to be absolute: a relative one would mean another daemon in every working directory.
    #[error("the socket path {} is not absolute", path.display())]
    Relative {
        /// The path as it was given.
        path: PathBuf,
    },
}

impl Endpoint {
    /// The socket file at `path`.
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
}
