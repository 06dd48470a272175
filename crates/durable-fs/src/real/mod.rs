//! The disk of this machine.

#[cfg(unix)]
mod unix;
#[cfg(not(unix))]
mod windows;

/// The disk of this machine.
///
/// Unix: system calls by way of `rustix`, no link followed but where [`Disk`](crate::Disk) says so, no handle inherited by a
/// child. Windows: `MoveFileExW` for renames, the standard library for the rest.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;
