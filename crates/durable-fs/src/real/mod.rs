//! The disk of this machine.

#[cfg(unix)]
mod handles;
#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod writers;

use std::{
    io::{self, Read, Write},
    path::Path,
};

use crate::{DiskError, Op, Result};

/// The disk of this machine.
///
/// Unix: system calls by way of `rustix`, no link followed but where [`Disk`](crate::Disk) says so, no handle inherited by a
/// child. Windows: `MoveFileExW` for renames, the standard library for the rest.
///
/// It only reads. Changing is for the [`LockedDir`](crate::LockedDir) that [`lock`](crate::Disk::lock) returns.
///
/// # Below a locked directory
///
/// On Unix, a [`LockedDir`](crate::LockedDir) reaches everything below its directory through the handle that holds the lock: each
/// directory on the way is opened from the one above, and has to belong to the owner of the locked directory, to root, or to
/// whoever runs the program, and so has each symlink on the way. A second user who puts a directory or symlink of their own in
/// the place of another, at whatever moment, gets an error out of us ([`Untrusted`](crate::Untrusted)) and nothing else:
/// nothing is made, renamed or removed behind it, nothing behind it is read. No change leaves the directory, whoever made the
/// symlink. Whether the directories *should* be writable for others is not asked here.
///
/// `RealDisk` itself, and a [`LockedDir`](crate::LockedDir) on Windows, resolve a path by each call.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// More than these mostly wait for each other: all names in a folder change one at a time.
const MOST_THREADS: usize = 4;

/// As many as the machine can run at a time, within bounds.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

/// Files are compared in pieces of this size, or in one if they are smaller.
const PIECE: u64 = 64 * 1024;

/// Whether both hold the same bytes to the end, which is expected after `len`.
fn same_bytes(a: (&Path, impl Read), b: (&Path, impl Read), len: u64) -> Result<bool> {
    let ((path_a, mut a), (path_b, mut b)) = (a, b);
    let (mut buffer_a, mut buffer_b) = (buffer_for(len), buffer_for(len));
    loop {
        let got_a = fill(&mut a, &mut buffer_a, len).map_err(|e| DiskError::new(Op::Read, path_a, e))?;
        let got_b = fill(&mut b, &mut buffer_b, len).map_err(|e| DiskError::new(Op::Read, path_b, e))?;
        if buffer_a[..got_a] != buffer_b[..got_b] {
            return Ok(false);
        }
        if got_a < buffer_a.len() {
            return Ok(true);
        }
    }
}

/// Whether these bytes, as many as the file is known to have, are all that is to be read.
#[cfg(unix)]
fn reads(mut file: impl Read, bytes: &[u8]) -> io::Result<bool> {
    let len = bytes.len() as u64;
    let mut buffer = buffer_for(len);
    let mut expected = bytes;
    loop {
        let got = fill(&mut file, &mut buffer, len)?;
        match expected.strip_prefix(&buffer[..got]) {
            None => return Ok(false),
            Some(rest) if got < buffer.len() => return Ok(rest.is_empty()),
            Some(rest) => expected = rest,
        }
    }
}

/// Copies to the end of the file, which is expected after `len`.
fn copy_bytes(from: &mut impl Read, to: &mut impl Write, len: u64) -> io::Result<()> {
    let mut buffer = buffer_for(len);
    loop {
        let got = fill(from, &mut buffer, len)?;
        to.write_all(&buffer[..got])?;
        if got < buffer.len() {
            return Ok(());
        }
    }
}

/// Room for a file of that length, or for a piece of it: one byte more than is expected, so that the end is seen at once.
fn buffer_for(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len.saturating_add(1).min(PIECE)).unwrap_or(1)]
}

/// Reads until the buffer is full or the file ends. A file that has given the `len` bytes which it is known to have, and no more
/// although there was room, has ended.
fn fill(file: &mut impl Read, buffer: &mut [u8], len: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(more) => {
                filled += more;
                if filled as u64 == len {
                    break;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
