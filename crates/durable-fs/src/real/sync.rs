//! The syncs of Unix systems, and the file systems that do not pass a sync on.

use std::{os::fd::AsFd, path::Path};

use rustix::io::{Errno, retry_on_intr};

use crate::SyncFs;

#[cfg(target_vendor = "apple")]
pub(super) fn flush(fd: impl AsFd) -> rustix::io::Result<()> {
    // Apple's fsync leaves the data in the cache of the drive; F_FULLFSYNC does not. File systems
    // without F_FULLFSYNC (network file systems) answer ENOTSUP or a similar error, and then fsync
    // is the only choice.
    match retry_on_intr(|| rustix::fs::fcntl_fullfsync(&fd)) {
        Err(Errno::NOTSUP | Errno::INVAL | Errno::NOTTY | Errno::NODEV) => {
            retry_on_intr(|| rustix::fs::fsync(&fd))
        }
        other => other,
    }
}

#[cfg(not(target_vendor = "apple"))]
pub(super) fn flush(fd: impl AsFd) -> rustix::io::Result<()> {
    retry_on_intr(|| rustix::fs::fsync(&fd))
}

/// The file systems whose `syncfs` is known to reach the disk, by the magic numbers of `statfs(2)`.
///
/// FUSE answers `syncfs` with success and never passes it on to the server that holds the data
/// (`fuse_sync_fs` sends a request to virtiofs alone). A stacked file system (overlay, ecryptfs)
/// passes it on to the file system below, which may be FUSE. A network file system answers for its
/// own pages, not for the server's disk.
#[cfg(target_os = "linux")]
const PASSES_SYNCFS_ON: [u64; 14] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x9123_683e, // btrfs
    0xf2f5_2010, // F2FS
    0xca45_1a4e, // bcachefs
    0x2fc1_2fc1, // ZFS
    0x3153_464a, // JFS
    0x5265_4973, // ReiserFS
    0x3434,      // NILFS2
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS3
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
];

/// Returns true if a successful `syncfs` means that everything on the file system of `fd` is on the
/// disk. Returns false for an unknown file system.
#[cfg(target_os = "linux")]
fn passes_syncfs_on(fd: impl AsFd) -> bool {
    retry_on_intr(|| rustix::fs::fstatfs(&fd)).is_ok_and(|found| PASSES_SYNCFS_ON.contains(&magic(&found)))
}

/// Returns the magic number of a file system. The type of `f_type` differs between platforms; the
/// numbers have at most 32 bits.
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "a bit pattern, not a quantity")]
fn magic(found: &rustix::fs::StatFs) -> u64 {
    found.f_type as u64 & 0xffff_ffff
}

pub(super) const FUSE: u64 = 0x6573_5546;

/// The file systems whose modes may come from the options of the mount.
pub(super) const MAY_LACK_MODES: [u64; 8] = [
    FUSE,
    0x4d44,      // FAT
    0x2011_bab0, // exFAT
    0x7366_746e, // NTFS3
    0xff53_4d42, // CIFS
    0xfe53_4d42, // SMB2
    0x0102_1997, // 9p
    0x786f_4256, // vboxsf
];

/// Returns true if a path is on a file system of these kinds, by their magic numbers on Linux:
/// other systems have other, smaller numbers.
pub(super) fn is_of(path: &Path, kinds: &[u64]) -> bool {
    retry_on_intr(|| rustix::fs::statfs(path)).is_ok_and(|found| kinds.contains(&magic(&found)))
}

#[cfg(target_os = "linux")]
pub(super) fn flush_fs(fd: impl AsFd) -> rustix::io::Result<SyncFs> {
    match retry_on_intr(|| rustix::fs::syncfs(&fd)) {
        Ok(()) if passes_syncfs_on(&fd) => Ok(SyncFs::Everything),
        Ok(()) | Err(Errno::NOSYS) => Ok(SyncFs::Nothing),
        Err(error) => Err(error),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn flush_fs(_fd: impl AsFd) -> rustix::io::Result<SyncFs> {
    Ok(SyncFs::Nothing)
}

/// Syncs a directory.
///
/// A FUSE server may do nothing on `fsync` of a directory (the kernel then reports success). If the
/// file system is not known to sync, `sync(2)` also syncs the file systems below it. `sync(2)`
/// reports no errors, so it comes last, after the call that reports them.
pub(super) fn flush_dir(fd: impl AsFd) -> rustix::io::Result<()> {
    let flushed = match flush(&fd) {
        // A file system that cannot sync one directory may be able to sync itself.
        Err(Errno::INVAL) => flush_fs(&fd).map(|flushed| flushed == SyncFs::Everything),
        other => other.map(|()| true),
    }?;
    #[cfg(target_os = "linux")]
    if !passes_syncfs_on(&fd) {
        rustix::fs::sync();
        return Ok(());
    }
    if flushed { Ok(()) } else { Err(Errno::INVAL) }
}
