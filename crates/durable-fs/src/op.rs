//! The operations on a disk, as errors and the simulated disk name them.

/// An operation on a disk: a method of [`Disk`](crate::Disk), or a function that makes several of
/// its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Op {
    /// [`Disk::stat`](crate::Disk::stat).
    Stat,
    /// [`Disk::stat_follow`](crate::Disk::stat_follow).
    StatFollow,
    /// [`Disk::for_each_entry`](crate::Disk::for_each_entry).
    ForEachEntry,
    /// [`Disk::read`](crate::Disk::read), and reading for a comparison.
    Read,
    /// [`Disk::same_content`](crate::Disk::same_content).
    SameContent,
    /// Listing extended attributes, for [`Disk::compare_copy`](crate::Disk::compare_copy).
    ListAttributes,
    /// [`Disk::read_link`](crate::Disk::read_link).
    ReadLink,
    /// [`Disk::canonicalize`](crate::Disk::canonicalize).
    Canonicalize,
    /// Following the symlinks of a path, for [`trust`](crate::trust).
    Follow,
    /// [`Disk::open_for_writing`](crate::Disk::open_for_writing).
    OpenForWriting,
    /// Finding the directory that a path is in.
    FindDir,
    /// Using a path that a caller gave.
    Use,
    /// Treating a file as a copy of another, before the copy is removed.
    CompareCopy,
    /// [`LockedDir::make_dir`](crate::LockedDir::make_dir).
    MakeDir,
    /// [`LockedDir::set_mode`](crate::LockedDir::set_mode).
    SetMode,
    /// [`LockedDir::set_owner`](crate::LockedDir::set_owner).
    SetOwner,
    /// [`LockedDir::create`](crate::LockedDir::create).
    Create,
    /// Making a temporary file, which must be removable
    /// ([`Disk::ensure_entries_removable`](crate::Disk::ensure_entries_removable)).
    MakeTemp,
    /// [`LockedDir::copy_new`](crate::LockedDir::copy_new).
    CopyNew,
    /// [`LockedDir::copy_permissions`](crate::LockedDir::copy_permissions).
    CopyPermissions,
    /// [`LockedDir::rename_noreplace`](crate::LockedDir::rename_noreplace).
    RenameNoReplace,
    /// [`rename_or_link`](crate::rename_or_link()), with all of its fallbacks.
    RenameOrLink,
    /// [`LockedDir::rename`](crate::LockedDir::rename).
    Rename,
    /// [`LockedDir::exchange`](crate::LockedDir::exchange).
    Exchange,
    /// [`replace`](crate::replace()).
    Replace,
    /// [`LockedDir::hard_link`](crate::LockedDir::hard_link).
    HardLink,
    /// [`LockedDir::symlink`](crate::LockedDir::symlink).
    Symlink,
    /// Making a relative symlink lead to the same place from a new directory.
    RebaseLink,
    /// [`LockedDir::unlink`](crate::LockedDir::unlink).
    Unlink,
    /// [`LockedDir::remove_dir`](crate::LockedDir::remove_dir).
    RemoveDir,
    /// [`LockedDir::sync_file`](crate::LockedDir::sync_file).
    SyncFile,
    /// [`LockedDir::sync_dir`](crate::LockedDir::sync_dir).
    SyncDir,
    /// [`LockedDir::sync_fs`](crate::LockedDir::sync_fs).
    SyncFs,
    /// [`Disk::lock`](crate::Disk::lock).
    Lock,
    /// [`Disk::pause`](crate::Disk::pause).
    Pause,
}

impl Op {
    /// True if the operation makes, moves or removes a name, so that the permissions of the
    /// directory decide about it.
    pub(crate) fn changes_names(self) -> bool {
        // A copy also reads its source, and the path of a temporary file is its directory, so neither
        // counts.
        matches!(
            self,
            Self::MakeDir
                | Self::Create
                | Self::RenameNoReplace
                | Self::RenameOrLink
                | Self::Rename
                | Self::Exchange
                | Self::Replace
                | Self::HardLink
                | Self::Symlink
                | Self::Unlink
                | Self::RemoveDir
        )
    }
}

impl std::fmt::Display for Op {
    /// Writes a verb phrase that a path can follow: "read", "make a temporary file in".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Stat | Self::StatFollow => "look at",
            Self::ForEachEntry => "list",
            Self::Read => "read",
            Self::SameContent => "compare",
            Self::ListAttributes => "list the attributes of",
            Self::ReadLink => "read the link",
            Self::Canonicalize => "resolve",
            Self::Follow => "follow",
            Self::OpenForWriting => "look for the writers of",
            Self::FindDir => "find the directory of",
            Self::Use => "use",
            Self::CompareCopy => "take for a copy",
            Self::MakeDir => "make the directory",
            Self::SetMode => "set the mode of",
            Self::SetOwner => "set the owner of",
            Self::Create => "write",
            Self::MakeTemp => "make a temporary file in",
            Self::CopyNew => "copy",
            Self::CopyPermissions => "copy the rights of",
            Self::RenameNoReplace | Self::Rename => "rename",
            Self::RenameOrLink => "rename without replacing",
            Self::Exchange => "exchange",
            Self::Replace => "replace",
            Self::HardLink => "link",
            Self::Symlink => "make the link",
            Self::RebaseLink => "re-base the link",
            Self::Unlink => "remove",
            Self::RemoveDir => "remove the directory",
            Self::SyncFile => "flush",
            Self::SyncDir => "flush the directory",
            Self::SyncFs => "flush the file system of",
            Self::Lock => "lock",
            Self::Pause => "wait beside",
        })
    }
}
