//! Reads of `/proc`, which is Linux's: on other systems no process is found. Environments and open
//! files are readable for this user's own processes alone, and for root.
//!
//! The crate `procfs` does not serve here: it cuts a socket's path at the first space, and fails on
//! one that is not UTF-8.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux ends and watches by `/proc`"))]

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{Disk as _, RealDisk};

/// Returns the path of `name` in the directory of a process.
pub(crate) fn entry(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    #[cfg(unix)]
    return Path::new(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(bytes));
    #[cfg(not(unix))]
    Path::new(std::str::from_utf8(bytes).unwrap_or_default())
}

/// Returns true if `/proc` shows the PID namespace of this process. Otherwise its PIDs name other
/// processes here.
pub(crate) fn shows_our_namespace() -> bool {
    let ourselves = std::fs::read_link("/proc/self");
    ourselves.is_ok_and(|number| number.to_str() == Some(&std::process::id().to_string()))
}

/// Returns the PIDs of all processes, or none if `/proc` shows another PID namespace.
pub(crate) fn all_pids() -> impl Iterator<Item = u32> {
    let processes = shows_our_namespace().then(|| RealDisk.list("/proc".as_ref()).ok()).flatten();
    processes.into_iter().flatten().filter_map(|entry| entry.name.to_str()?.parse().ok())
}

/// Returns true if the environment of a process has the variable `name` with a wanted value. The
/// environment of a process that has exited is empty.
pub(crate) fn has_in_environment(pid: u32, names: &[&str], is_wanted: impl Fn(&[u8]) -> bool) -> bool {
    let environment = std::fs::read(entry(pid, "environ")).unwrap_or_default();
    let entries = environment.split(|byte| *byte == 0);
    let value_of = |entry, name: &str| <[u8]>::strip_prefix(entry, name.as_bytes())?.strip_prefix(b"=");
    entries.flat_map(|entry| names.iter().filter_map(move |name| value_of(entry, name))).any(is_wanted)
}

pub(crate) fn program(pid: u32) -> Option<PathBuf> {
    std::fs::read_link(entry(pid, "exe")).ok()
}

/// Returns the targets of the open file descriptors of a process, or `None` if the system does not
/// show them.
pub(crate) fn open_files(pid: u32) -> Option<impl Iterator<Item = PathBuf>> {
    let dir = entry(pid, "fd");
    let files = RealDisk.list(&dir).ok()?;
    Some(files.into_iter().filter_map(move |file| std::fs::read_link(dir.join(file.name)).ok()))
}

/// The fields of `/proc/PID/stat` that are used here. (`getpgid` answers 0 for a group of another
/// PID namespace, which rustix does not expect.)
pub(crate) struct Stat {
    state: char,
    parent: u32,
    pub(crate) group: u32,
    /// In ticks since the boot: together with it, a PID names one process for ever.
    pub(crate) start: u64,
}

impl Stat {
    /// Returns true if the process has exited, reaped or not.
    pub(crate) fn has_exited(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

pub(crate) fn stat(pid: u32) -> Option<Stat> {
    let stat = std::fs::read_to_string(entry(pid, "stat")).ok()?;
    // "pid (name) state ppid pgrp …", the start time 22nd. A name may hold spaces and parentheses,
    // so the fields are counted from its end.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        start: fields.nth(16)?.parse().ok()?,
    })
}

pub(crate) fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

/// Returns true if a process is stopped (SIGSTOP, Ctrl-Z). Until it is continued it does not even
/// exit. False where the system does not show it.
pub fn is_suspended(pid: u32) -> bool {
    shows_our_namespace() && stat(pid).is_some_and(|stat| stat.state == 'T')
}

/// Returns the parent of a process, if the parent is in the same PID namespace.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent).filter(|parent| *parent != 0)
}

/// Returns the parent of a process, the parent's parent, and so on.
pub(crate) fn ancestors(pid: u32) -> impl Iterator<Item = u32> {
    /// Bounds the walk: PIDs that are reused meanwhile could form a circle.
    const MAX_DEPTH: usize = 1000;
    std::iter::successors(parent(pid), |pid| parent(*pid)).take(MAX_DEPTH)
}
