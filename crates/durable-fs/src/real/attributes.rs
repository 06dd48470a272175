//! The attributes that the user has set on a file. Labels and access lists do not count: those come
//! from the directory of the copy.

#[cfg(target_os = "linux")]
use std::ffi::CStr;
use std::{ffi::CString, fs::File};

#[cfg(target_os = "linux")]
use rustix::fs::fremovexattr;

use rustix::{
    fs::{XattrFlags, fgetxattr, flistxattr, fsetxattr},
    io::{Errno, Result},
};

#[cfg(target_os = "linux")]
const LIST: &CStr = c"system.posix_acl_access";

/// Reads a value. Linux allows no value larger than the second buffer.
fn read(get: impl Fn(&mut [u8]) -> Result<usize>) -> Result<Vec<u8>> {
    let sized = |size| {
        let mut bytes = vec![0; size];
        let length = get(&mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    };
    match sized(256) {
        Err(Errno::RANGE) => sized(64 * 1024),
        other => other,
    }
}

fn names(file: &File) -> Result<Vec<CString>> {
    let all = match read(|bytes| flistxattr(file, bytes)) {
        Err(Errno::NOTSUP | Errno::NOSYS) => return Ok(Vec::new()),
        other => other?,
    };
    let users =
        |name: &&[u8]| !name.is_empty() && (cfg!(target_vendor = "apple") || name.starts_with(b"user."));
    Ok(all.split(|&byte| byte == 0).filter(users).filter_map(|name| CString::new(name).ok()).collect())
}

fn value(file: &File, name: &CString) -> Result<Vec<u8>> {
    read(|bytes| fgetxattr(file, name, bytes))
}

/// Copies the attributes that the other file system accepts.
pub(super) fn copy(from: &File, to: &File) {
    for name in names(from).unwrap_or_default() {
        if let Ok(value) = value(from, &name) {
            let _ = fsetxattr(to, &name, &value, XattrFlags::empty());
        }
    }
}

/// Gives a file the access list of another file, which has this mode, and returns the mode for
/// the new file. With a list, the group's bits are the most that the list gives to any group or
/// user in it.
#[cfg(target_os = "linux")]
pub(super) fn copy_access(from: &File, to: &File, mode: u32) -> u32 {
    let gone = match read(|bytes| fgetxattr(from, LIST, bytes)) {
        Ok(list) => fsetxattr(to, LIST, &list, XattrFlags::empty()),
        // The directory may have given the new file a default list.
        Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => match fremovexattr(to, LIST) {
            Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            other => other,
        },
        Err(error) => Err(error),
    };
    // Three bits cannot express an access list that gives or denies access to single users, so
    // only the owner gets access.
    if gone.is_ok() { mode } else { mode & 0o700 }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn copy_access(_from: &File, _to: &File, mode: u32) -> u32 {
    mode
}

/// Returns the access list if it gives access to anybody: the group's bits are the most that it
/// gives.
#[cfg(target_os = "linux")]
fn list(file: &File) -> Result<Option<CString>> {
    let lets_in = rustix::fs::fstat(file)?.st_mode & 0o070 != 0;
    Ok((lets_in && read(|bytes| fgetxattr(file, LIST, bytes)).is_ok()).then(|| LIST.to_owned()))
}

#[cfg(not(target_os = "linux"))]
fn list(_file: &File) -> Result<Option<CString>> {
    Ok(None)
}

/// Returns the names of the attributes that the copy lacks or has with another value.
pub(super) fn missing(original: &File, copy: &File) -> Result<Vec<String>> {
    let mut names = names(original)?;
    names.extend(list(original)?);
    names.retain(|name| match value(original, name) {
        Ok(kept) => value(copy, name) != Ok(kept),
        Err(_) => true,
    });
    Ok(names.iter().map(|name| name.to_string_lossy().into_owned()).collect())
}
