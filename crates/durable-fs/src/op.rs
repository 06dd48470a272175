//! The operations on a disk, as errors and the simulated disk name them.

/// Defines the operations, each with its words in an error.
macro_rules! operations {
    ($($(#[$doc:meta])* $op:ident = $words:literal,)*) => {
        /// An operation on a disk: the method of [`Disk`](crate::Disk) or
        /// [`LockedDir`](crate::LockedDir) with this name, or a function that makes several calls.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        #[allow(missing_docs, reason = "the doc of the enum explains them")]
        pub enum Op {
            $($(#[$doc])* $op,)*
        }

        impl std::fmt::Display for Op {
            /// Writes a verb phrase that a path can follow: "read", "make a temporary file in".
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match self {
                    $(Self::$op => $words,)*
                })
            }
        }
    };
}

operations! {
    Stat = "look at",
    StatFollow = "look at",
    ForEachEntry = "list",
    /// [`Disk::read`](crate::Disk::read), and reading for a comparison.
    Read = "read",
    SameContent = "compare",
    /// Listing extended attributes, for [`Disk::missing_xattrs`](crate::Disk::missing_xattrs).
    ListAttributes = "list the attributes of",
    ReadLink = "read the symlink",
    Canonicalize = "resolve",
    /// Following the symlinks of a path, for [`trust`](crate::trust).
    Follow = "follow",
    OpenForWriting = "look for the writers of",
    FindDir = "find the directory of",
    Use = "use",
    /// Treating a file as a copy of another, before the copy is removed.
    CompareCopy = "take for a copy",
    MakeDir = "make the directory",
    SetMode = "set the mode of",
    SetOwner = "set the owner of",
    Create = "write",
    /// Making a temporary file, which must be removable
    /// ([`Disk::ensure_entries_removable`](crate::Disk::ensure_entries_removable)).
    MakeTemp = "make a temporary file in",
    CopyNew = "copy",
    CopyPermissions = "copy the permissions of",
    RenameNoReplace = "rename",
    /// [`rename_or_link`](crate::rename_or_link()), with all of its fallbacks.
    RenameOrLink = "rename without replacing",
    Rename = "rename",
    Exchange = "exchange",
    Replace = "replace",
    HardLink = "link",
    Symlink = "make the symlink",
    /// Making a relative symlink lead to the same place from a new directory.
    RebaseSymlink = "re-base the symlink",
    Unlink = "remove",
    RemoveDir = "remove the directory",
    SyncFile = "flush",
    SyncDir = "flush the directory",
    SyncFs = "flush the file system of",
    Lock = "lock",
    Pause = "wait beside",
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
