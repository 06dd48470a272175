//! Sockets that nobody listens on any more, and that only their owner can use.

use std::path::PathBuf;

use crate::Endpoint;

/// A socket file that lets us not connect and on which nobody listens: another user's daemon left it behind, as a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AbandonedSocket {
    /// The file.
    pub path: PathBuf,
    /// The user whose file it is.
    pub owner: u32,
    /// The command that removes it.
    pub command: String,
}

/// The abandoned socket at an endpoint, if there is one. Where there is no socket, or one of ours that we can connect to,
/// this is one look at its name. Linux alone tells that nobody listens.
#[must_use]
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
    use std::{
        os::unix::fs::{FileTypeExt, MetadataExt},
        path::Path,
        time::Duration,
    };

    use myownllm_durable_fs::quote;
    use rustix::{
        fs::{Access, AtFlags, CWD, accessat},
        process::geteuid,
    };

    use super::*;
    use crate::{Absence, Probe, probe};

    pub(super) fn abandoned_socket(endpoint: &Endpoint) -> Option<AbandonedSocket> {
        let path = endpoint.path()?;
        let file = std::fs::symlink_metadata(path).ok()?;
        let is_open = file.uid() == geteuid().as_raw() && file.mode() & 0o200 != 0;
        if !file.file_type().is_socket() || is_open {
            return None;
        }
        let found = probe(endpoint, Duration::ZERO);
        (found == Probe::Absent { why: Absence::Abandoned }).then(|| AbandonedSocket {
            path: path.to_owned(),
            owner: file.uid(),
            command: format!(
                "{}rm -f {}",
                if can_remove(path, file.uid()) { "" } else { "sudo " },
                quote(path)
            ),
        })
    }

    /// Whether we may remove a file of that owner from its directory.
    fn can_remove(path: &Path, owner: u32) -> bool {
        const STICKY: u32 = 0o1000;
        let us = geteuid().as_raw();
        path.parent().is_some_and(|dir| {
            let is_writable =
                accessat(CWD, dir, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).is_ok();
            let is_ours =
                |dir: std::fs::Metadata| dir.mode() & STICKY == 0 || [dir.uid(), owner].contains(&us);
            is_writable && std::fs::metadata(dir).is_ok_and(is_ours)
        })
    }
}
