//! The user who runs the program.

pub(crate) const ROOT: u32 = 0;

/// The user who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Runner {
    /// The effective user.
    pub uid: u32,
    /// The uid that the kernel shows for each owner that the user namespace of the process does not
    /// map; `None` where all are mapped. In a container, root of the host is such an owner, and
    /// looks like every other unmapped owner.
    pub unmapped: Option<u32>,
}

impl Runner {
    /// A runner in a user namespace that maps every user.
    pub fn new(uid: u32) -> Self {
        Self { uid, unmapped: None }
    }

    /// Returns true if the runner may change the owner of files, and act for every user.
    pub fn is_root(self) -> bool {
        self.uid == ROOT
    }

    /// Returns true if a directory or symlink of the user `uid` can decide the place of a home of
    /// the user `owner`.
    pub fn trusts(self, uid: u32, owner: Option<u32>) -> bool {
        uid == ROOT || uid == self.uid || Some(uid) == owner || Some(uid) == self.unmapped
    }

    /// Returns true if the user `owner` can use the files that the runner makes in a directory of
    /// `owner`.
    pub(crate) fn can_work_for(self, owner: u32) -> bool {
        self.is_root() || owner == ROOT || owner == self.uid || Some(owner) == self.unmapped
    }
}
