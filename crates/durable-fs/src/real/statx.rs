//! What `statx` tells of a directory beyond its metadata.

use std::path::Path;

#[cfg(any(target_os = "linux", target_os = "android"))]
use rustix::fs::AtFlags;

use super::handles::Handles;
#[cfg(any(target_os = "linux", target_os = "android"))]
use super::handles::ResolvedName;

/// Tells if a file or directory has this attribute; `None` where the system does not tell (Linux
/// does, since 5.8).
#[cfg(any(target_os = "linux", target_os = "android"))]
fn has(handles: Option<&Handles>, path: &Path, attribute: rustix::fs::StatxAttributes) -> Option<bool> {
    use rustix::fs::{StatxFlags, statx};
    let at = ResolvedName::look(handles, path).ok()?;
    let stat = statx(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).ok()?;
    let is_told = stat.stx_attributes_mask.contains(attribute);
    is_told.then(|| stat.stx_attributes.contains(attribute))
}

/// Tells if a mount begins at a directory.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_mount_root(handles: Option<&Handles>, dir: &Path) -> Option<bool> {
    has(handles, dir, rustix::fs::StatxAttributes::MOUNT_ROOT)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_mount_root(_: Option<&Handles>, _: &Path) -> Option<bool> {
    None
}

/// True if a file or directory cannot be changed at all.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_immutable(handles: Option<&Handles>, path: &Path) -> bool {
    has(handles, path, rustix::fs::StatxAttributes::IMMUTABLE) == Some(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_immutable(_: Option<&Handles>, _: &Path) -> bool {
    false
}

/// True if the entries of a directory can neither be renamed nor removed, though more can be added.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn is_append_only(handles: Option<&Handles>, dir: &Path) -> bool {
    has(handles, dir, rustix::fs::StatxAttributes::APPEND) == Some(true)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn is_append_only(_: Option<&Handles>, _: &Path) -> bool {
    false
}
