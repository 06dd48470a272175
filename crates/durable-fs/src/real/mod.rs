//! The disk of this machine.

#[cfg(unix)]
mod home;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

use std::{
    io::{self, Read},
    path::Path,
};

use crate::{DiskError, Result};

/// The disk of this machine.
///
/// Unix: system calls by way of `rustix`, no link followed but where [`Disk`](crate::Disk) says so, no handle inherited by a
/// child. Windows: `MoveFileExW` for renames, the standard library for the rest.
///
/// # While a home is locked
///
/// On Unix, everything below a home whose [lock](crate::HomeLock) this process holds is done through the handle that holds
/// the lock: each folder on the way is opened from the one above, and has to belong to the owner of the home, to root, or to whoever
/// runs the program, and so has each link on the way. A second user who puts a folder or link of their own in the place of
/// one of the home's, at whatever moment, gets an error out of us ([`Untrusted`](crate::Untrusted)) and nothing else:
/// nothing is made, renamed or removed behind it, nothing behind it is read. What changes anything does not leave the home at all,
/// whoever made the link. Whether the folders *should* be writable for others is not asked here.
///
/// Without the lock, and on Windows, a path is a path.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// Files are compared in pieces of this size, or in one if they are smaller.
const PIECE: u64 = 64 * 1024;

/// Whether both hold the same bytes to the end, which is expected after about `len`.
fn same_bytes(a: (&Path, impl Read), b: (&Path, impl Read), len: u64) -> Result<bool> {
    let ((path_a, mut a), (path_b, mut b)) = (a, b);
    // One byte more than is expected, so that the end is seen at once.
    let piece = usize::try_from(len.saturating_add(1).min(PIECE)).unwrap_or(1);
    let (mut buffer_a, mut buffer_b) = (vec![0; piece], vec![0; piece]);
    loop {
        let got_a = fill(&mut a, &mut buffer_a).map_err(|e| DiskError::new("read", path_a, e))?;
        let got_b = fill(&mut b, &mut buffer_b).map_err(|e| DiskError::new("read", path_b, e))?;
        if buffer_a[..got_a] != buffer_b[..got_b] {
            return Ok(false);
        }
        if got_a < piece {
            return Ok(true);
        }
    }
}

/// Whether these bytes are all that is to be read.
#[cfg(unix)]
fn reads(mut file: impl Read, bytes: &[u8]) -> io::Result<bool> {
    // One byte more than is expected, so that the end is seen at once.
    let mut buffer = vec![0; bytes.len().saturating_add(1).min(PIECE as usize)];
    let mut expected = bytes;
    loop {
        let got = fill(&mut file, &mut buffer)?;
        match expected.strip_prefix(&buffer[..got]) {
            None => return Ok(false),
            Some(rest) if got < buffer.len() => return Ok(rest.is_empty()),
            Some(rest) => expected = rest,
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => filled += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
