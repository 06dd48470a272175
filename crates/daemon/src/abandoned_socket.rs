//! Sockets without a listener that only their owner can use.

use std::time::Duration;

use myownllm_durable_fs::{Disk as _, FileKind, Metadata, RealDisk, quote};
use myownllm_paths::camino::Utf8PathBuf;

use crate::{Absence, Endpoint, Probe, probe};

/// A socket file that denies this user the connection and has no listener: usually a leftover of
/// another user's daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbandonedSocket {
    /// The path of the socket file.
    pub path: Utf8PathBuf,
    /// The user ID of the file's owner.
    pub owner: u32,
    /// The command that removes the file.
    pub command: String,
}

impl AbandonedSocket {
    /// Returns a socket file at `path` of the user `owner`, which `command` removes.
    pub fn new(path: impl Into<Utf8PathBuf>, owner: u32, command: impl Into<String>) -> Self {
        Self { path: path.into(), owner, command: command.into() }
    }
}

/// Returns the abandoned socket at `endpoint`, if there is one. Costs one `lstat` where no socket
/// exists, or where this user may connect. Only Linux shows that a socket has no listener.
pub fn abandoned_socket(endpoint: &Endpoint) -> Option<AbandonedSocket> {
    const STICKY: u32 = 0o1000;
    let path = endpoint.path()?;
    let file = RealDisk.stat(path.as_ref()).ok().filter(|file| file.kind == FileKind::Other)?;
    let (owner, us) = (file.owner?.uid, RealDisk.runner()?.uid);
    let is_ours_to_use = owner == us && file.mode & 0o200 != 0;
    if is_ours_to_use || probe(endpoint, Duration::ZERO) != (Probe::Absent { why: Absence::Abandoned }) {
        return None;
    }
    let dir = path.parent()?.as_std_path();
    let allows_us =
        |dir: Metadata| dir.mode & STICKY == 0 || dir.owner.is_some_and(|dir| [dir.uid, owner].contains(&us));
    let can_remove = RealDisk.may_write(dir) && RealDisk.stat_follow(dir).is_ok_and(allows_us);
    let command = format!("{}rm -f {}", if can_remove { "" } else { "sudo " }, quote(path));
    Some(AbandonedSocket::new(path, owner, command))
}
