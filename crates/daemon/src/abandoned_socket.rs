//! Sockets without a listener that only their owner can use.

use myownllm_paths::camino::Utf8PathBuf;

use crate::Endpoint;

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

/// Returns the abandoned socket at `endpoint`, if there is one. Costs one `lstat` where no socket
/// exists, or where this user may connect. Only Linux shows that a socket has no listener.
pub fn abandoned_socket(endpoint: &Endpoint) -> Option<AbandonedSocket> {
    #[cfg(unix)]
    return platform::abandoned_socket(endpoint);
    #[cfg(not(unix))]
    {
        let _ = endpoint;
        None
    }
}

#[cfg(unix)]
mod platform {
    use std::{os::unix::fs::MetadataExt, time::Duration};

    use myownllm_durable_fs::quote;
    use myownllm_paths::camino::Utf8Path;
    use rustix::{
        fs::{Access, AtFlags, CWD, accessat},
        process::geteuid,
    };

    use super::*;
    use crate::{Absence, Probe, endpoint::is_socket, probe};

    pub(super) fn abandoned_socket(endpoint: &Endpoint) -> Option<AbandonedSocket> {
        let path = endpoint.path()?;
        let file = std::fs::symlink_metadata(path).ok()?;
        let is_ours_to_use = file.uid() == geteuid().as_raw() && file.mode() & 0o200 != 0;
        if !is_socket(&file) || is_ours_to_use {
            return None;
        }
        let found = probe(endpoint, Duration::ZERO);
        (found == Probe::Absent { why: Absence::Abandoned }).then(|| {
            let sudo = if can_remove(path, file.uid()) { "" } else { "sudo " };
            let command = format!("{sudo}rm -f {}", quote(path));
            AbandonedSocket { path: path.to_owned(), owner: file.uid(), command }
        })
    }

    /// Returns true if this user may remove a file of `owner` from its directory.
    fn can_remove(path: &Utf8Path, owner: u32) -> bool {
        const STICKY: u32 = 0o1000;
        let us = geteuid().as_raw();
        path.parent().is_some_and(|dir| {
            let is_writable =
                accessat(CWD, dir.as_std_path(), Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
                    .is_ok();
            let allows_us =
                |dir: std::fs::Metadata| dir.mode() & STICKY == 0 || [dir.uid(), owner].contains(&us);
            is_writable && std::fs::metadata(dir).is_ok_and(allows_us)
        })
    }
}
