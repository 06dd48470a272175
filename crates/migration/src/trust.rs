//! Whose a file or folder is, and who else can write to it.

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Disk, Meta, Owner, quote};

use crate::MigrationError;

/// Why a file or folder is not to be relied upon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Distrust {
    /// In words that follow its name.
    pub why: String,
    /// The command that mends it.
    pub command: String,
}

impl Distrust {
    /// The refusal to work with it.
    pub(crate) fn of(self, path: &Path) -> MigrationError {
        MigrationError::UnsafePermissions { path: path.to_owned(), why: self.why, command: self.command }
    }
}

/// Others can write to this folder, or could put files of theirs into it.
pub(crate) fn is_loose(meta: &Meta) -> bool {
    meta.owner.is_some() && meta.mode & 0o022 != 0
}

/// The first of these files, all in one folder, that belongs to somebody else. One command mends all of them.
pub(crate) fn foreign_file(
    disk: &dyn Disk,
    folder: &Path,
    files: impl Iterator<Item = PathBuf>,
    home: Option<Owner>,
) -> Option<(PathBuf, Distrust)> {
    let home = home?;
    let mut foreign = files.filter_map(|file| {
        let found = foreign_owner(&file, &disk.stat(&file).ok()?, home)?;
        Some((file, found))
    });
    let (file, first) = foreign.next()?;
    let more = foreign.count();
    if more == 0 {
        return Some((file, first));
    }
    let Owner { uid, gid } = home;
    let all = format!("-maxdepth 1 -type f ! -user {uid} ! -user 0 -exec chown -h {uid}:{gid} {{}} +");
    let found = Distrust {
        why: format!("{}, and {more} more beside it are not the owner's either", first.why),
        command: format!("sudo find {} {all}", quote(folder)),
    };
    Some((file, found))
}

/// It belongs neither to the owner of the home nor to root. Nothing where the system does not tell whose it is.
pub fn foreign_owner(path: &Path, meta: &Meta, home: Owner) -> Option<Distrust> {
    let owner = meta.owner.filter(|owner| owner.uid != home.uid && owner.uid != 0)?;
    Some(Distrust {
        why: format!("belongs to user {}, not to the owner of the home (user {})", owner.uid, home.uid),
        command: format!("sudo chown -h {}:{} {}", home.uid, home.gid, quote(path)),
    })
}

/// It belongs to another than the owner of the home, be it root: trusted or not, the owner may not change it.
pub(crate) fn others(path: &Path, meta: &Meta, home: Owner) -> Option<Distrust> {
    let owner = meta.owner.filter(|owner| owner.uid != home.uid)?;
    Some(Distrust {
        why: format!("belongs to user {}, and the owner of the home may not change it", owner.uid),
        command: format!("sudo chown -R {}:{} {}", home.uid, home.gid, quote(path)),
    })
}

/// Everybody can write to it, and no sticky bit keeps others from what is not theirs. `mend` is the command without the path.
pub fn open_to_all(path: &Path, meta: &Meta, mend: &str) -> Option<Distrust> {
    (meta.owner.is_some() && meta.mode & 0o1002 == 0o002).then(|| Distrust {
        why: format!("can be written to by everybody (mode {:04o})", meta.mode),
        command: format!("{mend} {}", quote(path)),
    })
}
