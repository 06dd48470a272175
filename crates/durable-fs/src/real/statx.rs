//! The attributes of files that only `statx` of Linux (since 5.8) shows.

use std::path::Path;

use super::handles::Handles;

/// The attributes of a file or directory that `Metadata` lacks.
#[derive(Default)]
pub(super) struct Attributes {
    /// True if a mount begins here; `None` where the system does not tell.
    pub(super) is_mount_root: Option<bool>,
    pub(super) is_immutable: bool,
    /// True if the entries of the directory can neither be renamed nor removed, though more can be
    /// added.
    pub(super) is_append_only: bool,
}

#[cfg(target_os = "linux")]
pub(super) fn attributes(handles: Option<&Handles>, path: &Path) -> Attributes {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let stat = super::handles::ResolvedName::resolve(handles, path)
        .ok()
        .and_then(|at| statx(at.dir(), at.name(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).ok());
    let has = |attribute: StatxAttributes| {
        let stat = stat.as_ref().filter(|stat| stat.stx_attributes_mask.contains(attribute))?;
        Some(stat.stx_attributes.contains(attribute))
    };
    Attributes {
        is_mount_root: has(StatxAttributes::MOUNT_ROOT),
        is_immutable: has(StatxAttributes::IMMUTABLE) == Some(true),
        is_append_only: has(StatxAttributes::APPEND) == Some(true),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn attributes(_: Option<&Handles>, _: &Path) -> Attributes {
    Attributes::default()
}
