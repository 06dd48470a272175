//! Homes for the faults: copies of a template, on one file system or two.

use std::path::{Path, PathBuf};

use super::subject::{Place, Prepared};
use crate::fixture::{self, MESH};
use crate::{Fallible, guard};

/// A copy of a template. Drop unmounts and removes it.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) home: PathBuf,
    mounts: Vec<PathBuf>,
    keep: bool,
}

impl Site {
    /// Makes a copy of the template at `home`.
    pub(crate) fn new(prepared: &Prepared, home: PathBuf) -> Fallible<Self> {
        let mut site = Self { home, mounts: Vec::new(), keep: false };
        fixture::dir(&site.home)?;
        if prepared.subject.place == Place::Other {
            let mesh = site.home.join(MESH);
            fixture::dir(&mesh)?;
            mount_tmpfs(&mesh)?;
            site.mounts.push(mesh);
        }
        copy(&prepared.template, &site.home)?;
        Ok(site)
    }

    /// Keeps the home on drop.
    pub(crate) fn keep(&mut self) {
        self.keep = true;
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for mount in self.mounts.iter().rev() {
            unmount(mount);
        }
        guard::discard(&self.home);
    }
}

/// Copies everything below `from` into `to`, with modes.
#[allow(clippy::disallowed_methods, reason = "copies of throw-away homes")]
pub(crate) fn copy(from: &Path, to: &Path) -> Fallible<()> {
    let say = |e: std::io::Error| format!("cannot copy {} to {}: {e}", from.display(), to.display());
    for entry in std::fs::read_dir(from).map_err(say)? {
        let entry = entry.map_err(say)?;
        let (path, there) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata().map_err(say)?;
        if meta.is_dir() {
            fixture::dir(&there)?;
            copy(&path, &there)?;
            std::fs::set_permissions(&there, meta.permissions()).map_err(say)?;
        } else {
            std::fs::copy(&path, &there).map_err(say)?;
        }
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn mount_tmpfs(at: &Path) -> Fallible<()> {
    rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), Some(c"mode=0700"))
        .map_err(|e| format!("cannot mount a tmpfs at {}: {e}", at.display()))
}

#[cfg(target_os = "linux")]
pub(crate) fn unmount(at: &Path) {
    // Detaches lazily, because a process may still use the mount.
    let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
}

#[cfg(not(target_os = "linux"))]
fn mount_tmpfs(_: &Path) -> Fallible<()> {
    Err("mounting is done on Linux only".to_owned())
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn unmount(_: &Path) {}

/// Returns true if a tmpfs can be mounted here.
pub(crate) fn can_mount(dir: &Path) -> bool {
    let probe = dir.join("can-mount");
    let can = fixture::dir(&probe).and_then(|()| mount_tmpfs(&probe)).is_ok();
    if can {
        unmount(&probe);
    }
    guard::discard(&probe);
    can
}
