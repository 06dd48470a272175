//! Whose a file or folder is, and who else can write to it.

use std::path::Path;

use myownllm_durable_fs::{Meta, Owner, quote};

/// Why a file or folder is not to be relied upon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distrust {
    /// In words that follow its name.
    pub why: String,
    /// The command that mends it.
    pub command: String,
}

/// It belongs neither to the owner of the home nor to root. Nothing where the system does not tell whose it is.
pub fn foreign_owner(path: &Path, meta: &Meta, home: Owner) -> Option<Distrust> {
    let owner = meta.owner.filter(|owner| owner.uid != home.uid && owner.uid != 0)?;
    Some(Distrust {
        why: format!("belongs to user {}, not to the owner of the home (user {})", owner.uid, home.uid),
        command: format!("sudo chown -h {}:{} {}", home.uid, home.gid, quote(path)),
    })
}

/// Everybody can write to it, and no sticky bit keeps others from what is not theirs. `mend` is the command without the path.
pub fn open_to_all(path: &Path, meta: &Meta, mend: &str) -> Option<Distrust> {
    (meta.owner.is_some() && meta.mode & 0o1002 == 0o002).then(|| Distrust {
        why: format!("can be written to by everybody (mode {:04o})", meta.mode),
        command: format!("{mend} {}", quote(path)),
    })
}
