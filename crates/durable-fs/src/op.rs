//! The operations on a disk, as errors and the simulated disk name them.

/// An operation on a disk: the method of [`Disk`](crate::Disk) or [`LockedDir`](crate::LockedDir)
/// with this name, or a function that makes several calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the doc of the enum explains them")]
pub enum Op {
    Stat,
    StatFollow,
    ForEachEntry,
    /// [`Disk::read`](crate::Disk::read), and reading for a comparison.
    Read,
    SameContent,
    /// Listing extended attributes, for [`Disk::missing_xattrs`](crate::Disk::missing_xattrs).
    ListAttributes,
    ReadLink,
    Canonicalize,
    /// Following the symlinks of a path, for [`trust`](crate::trust).
    Follow,
    OpenForWriting,
    /// Finding the directory that a path is in.
    FindDir,
    /// Using a path that a caller gave.
    Use,
    /// Treating a file as a copy of another, before the copy is removed.
    CompareCopy,
    MakeDir,
    SetMode,
    SetOwner,
    Create,
    /// Making a temporary file, which must be removable
    /// ([`Disk::ensure_entries_removable`](crate::Disk::ensure_entries_removable)).
    MakeTemp,
    CopyNew,
    CopyPermissions,
    RenameNoReplace,
    /// [`rename_or_link`](crate::rename_or_link()), with all of its fallbacks.
    RenameOrLink,
    Rename,
    Exchange,
    Replace,
    HardLink,
    Symlink,
    /// Making a relative symlink lead to the same place from a new directory.
    RebaseSymlink,
    Unlink,
    RemoveDir,
    SyncFile,
    SyncDir,
    SyncFs,
    Lock,
    Pause,
}

impl Op {
    /// Returns true if the operation makes, moves or removes a name, so that the permissions of the
    /// directory decide about it.
    pub(crate) fn changes_names(self) -> bool {
        // A copy also reads its source, and the path of a temporary file is its directory, so
        // neither counts.
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
            Self::ReadLink => "read the symlink",
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
            Self::CopyPermissions => "copy the permissions of",
            Self::RenameNoReplace | Self::Rename => "rename",
            Self::RenameOrLink => "rename without replacing",
            Self::Exchange => "exchange",
            Self::Replace => "replace",
            Self::HardLink => "link",
            Self::Symlink => "make the symlink",
            Self::RebaseSymlink => "re-base the symlink",
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
