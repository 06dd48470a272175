//! The attributes of files that only `statx` of Linux (since 5.8) shows.

use std::{os::fd::AsFd, path::Path};

/// The attributes of a file or directory that `Metadata` lacks.
#[derive(Default)]
pub(crate) struct Attributes {
    /// True if a mount begins here; `None` where the system does not tell.
    pub(crate) is_mount_root: Option<bool>,
    pub(crate) is_immutable: bool,
    /// True if the entries of the directory can neither be renamed nor removed, though more can be
    /// added.
    pub(crate) is_append_only: bool,
}

impl Attributes {
    /// Returns true if the file or directory can be neither renamed nor removed.
    pub(crate) fn is_protected(&self) -> bool {
        self.is_immutable || self.is_append_only
    }
}

#[cfg(target_os = "linux")]
pub(crate) fn attributes(dir: impl AsFd, name: &Path) -> Attributes {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let stat = statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE).ok();
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
pub(crate) fn attributes(_: impl AsFd, _: &Path) -> Attributes {
    Attributes::default()
}
