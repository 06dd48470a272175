//! The disk of this machine.

#[cfg(unix)]
mod attributes;
#[cfg(unix)]
mod handles;
#[cfg(unix)]
pub(crate) mod statx;
#[cfg(unix)]
mod sync;
#[cfg(unix)]
mod unix;
#[cfg(unix)]
mod user_namespace;
#[cfg(windows)]
mod windows;
#[cfg(target_os = "linux")]
mod writers;

use std::{
    io::{self, Read, Write},
    path::Path,
    time::{Duration, Instant},
};

use crate::{DiskError, LockError, Op, Result};

/// The disk of this machine.
///
/// Unix: system calls by way of `rustix`, which follow symlinks only where [`Disk`](crate::Disk)
/// says so, and whose handles no child inherits. Windows: `MoveFileExW` for renames, the standard
/// library for the rest.
///
/// `RealDisk` only reads, and resolves the path anew on each call. Changes are methods of the
/// [`LockedDir`](crate::LockedDir) that [`lock`](crate::Disk::lock) returns.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

/// The limit of threads. More threads mostly wait for each other: the kernel changes the names of
/// one directory one at a time.
const MOST_THREADS: usize = 4;

/// Returns the number of threads that the machine can run at a time, up to the limit.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS)
}

/// The pause between two tries of the lock: short compared with any wait that a person notices.
const POLL: Duration = Duration::from_millis(10);

/// Tries to lock a home until `try_lock` returns true, or until `wait` has passed since `start`.
pub(crate) fn lock_within(
    home: &Path,
    wait: Duration,
    start: Instant,
    mut try_lock: impl FnMut() -> io::Result<bool>,
) -> Result<(), LockError> {
    let failed = |source| LockError::Failed { home: home.to_owned(), source };
    while !try_lock().map_err(failed)? {
        let waited = start.elapsed();
        let Some(rest) = wait.checked_sub(waited).filter(|rest| !rest.is_zero()) else {
            return Err(LockError::Held { home: home.to_owned(), waited });
        };
        std::thread::sleep(POLL.min(rest));
    }
    Ok(())
}

/// Reads a file of the known length `len`. Fails if it has, or grows to, more than `limit` bytes.
fn read_whole(file: impl Read, len: u64, limit: u64) -> io::Result<Vec<u8>> {
    if len > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::new();
    // A sparse file can claim any length, so a failed reservation must be an error and not abort
    // the program.
    let size = usize::try_from(len).unwrap_or(usize::MAX);
    bytes.try_reserve(size.saturating_add(1))?;
    bytes.resize(size.saturating_add(1), 0);
    let mut file = file.take(limit.saturating_add(1));
    let got = fill(&mut file, &mut bytes, len)?;
    bytes.truncate(got);
    // Otherwise the file changes its size while this code reads it.
    if got != size {
        file.read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}

/// The size of the pieces in which files are compared. A smaller file is one piece.
const PIECE: u64 = 64 * 1024;

/// Returns true if both files hold the same bytes to the end, which is expected after `len`.
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

/// Returns a buffer for a file of that length, or for a piece of it: one byte more than expected,
/// so that one read also finds the end.
fn buffer_for(len: u64) -> Vec<u8> {
    vec![0; usize::try_from(len.saturating_add(1).min(PIECE)).unwrap_or(1)]
}

/// Reads until the buffer is full or the file ends. A file ends after its known `len` bytes if a
/// read with more room returns no more than those.
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
