//! The process that serves a socket or a home now, as far as `/proc` shows it.
//!
//! The credentials of a connection name the process that called `listen`. It may have handed the
//! socket over (a fork after `listen`, socket activation), or may have exited, and its PID may
//! belong to another process now. So only a process that is verified here is signalled.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "only Linux ends a process by this"))]

use std::path::{Path, PathBuf};

use myownllm_durable_fs::{DirEntry, Disk as _, RealDisk};
use myownllm_paths::camino::Utf8Path;

use crate::{
    endpoint::is_socket,
    process::{DEFAULT_HOME, HOME_VARIABLE, PROGRAM_NAME, SPAWN_MARK},
    procfs::{self, as_path, entry},
};

/// A socket, and the home that its daemon must serve.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketQuery<'a> {
    pub(crate) socket: &'a Utf8Path,
    pub(crate) home: &'a Utf8Path,
    pub(crate) home_variable: &'a str,
}

/// The evidence that a process serves a socket, the stronger last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerEvidence {
    /// The process holds the listening socket, its environment or working directory names a home,
    /// and it runs the daemon's program or is suspended. An activator listens too, and is neither.
    Listens,
    /// The process holds the listening socket and the other end of a connection to it.
    Accepts,
}

/// The reason why no process is verified to serve a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// The processes that hold the socket are in another PID namespace.
    OtherNamespace,
    /// The system does not show the open files of the process that called `listen`.
    Hidden(u32),
    /// No process that holds the socket is verified to serve a home.
    NoServer,
    /// Several processes have the same evidence.
    Several(Vec<u32>),
}

impl SocketQuery<'_> {
    /// Returns the process that serves the socket. `listener` is the process that called `listen`,
    /// from the credentials of a connection.
    pub(crate) fn process(&self, listener: Option<u32>) -> Result<u32, Unverified> {
        // The usual case needs no scan of all processes.
        if let Some(pid) = listener.filter(|pid| self.evidence(*pid) == Some(ServerEvidence::Accepts)) {
            return Ok(pid);
        }
        let table = self.table(std::process::id());
        let seen: Vec<(ServerEvidence, u32)> = procfs::all_pids()
            .filter_map(|pid| {
                // The listener may be in another network namespace, which has a table of its own.
                let is_listener = Some(pid) == listener;
                let found = if is_listener { self.evidence(pid) } else { self.evidence_in(&table, pid) };
                Some((found?, pid))
            })
            .collect();
        let strongest = seen.iter().map(|(evidence, _)| *evidence).max();
        let pids: Vec<u32> =
            seen.iter().filter(|(evidence, _)| Some(*evidence) == strongest).map(|(_, pid)| *pid).collect();
        match pids[..] {
            [pid] => Ok(pid),
            [] => Err(match listener {
                Some(pid) if open_sockets(pid).is_none() => Unverified::Hidden(pid),
                None if !procfs::all_pids().any(|pid| {
                    table.listens_at(pid, self.socket) || table.is_listener(pid, Path::is_relative)
                }) =>
                {
                    Unverified::OtherNamespace
                }
                _ => Unverified::NoServer,
            }),
            _ => Err(Unverified::Several(pids)),
        }
    }

    /// Returns the evidence that the process serves the socket, if there is any.
    pub(crate) fn evidence(&self, pid: u32) -> Option<ServerEvidence> {
        self.evidence_in(&self.table(pid), pid)
    }

    fn evidence_in(&self, table: &SocketTable, pid: u32) -> Option<ServerEvidence> {
        let held = table.held_at(pid, self.socket);
        let listens = held.iter().any(|socket| socket.listens);
        let accepts = held.iter().any(|socket| !socket.listens);
        let home = self.home;
        let is_told =
            || names_home(pid, home, self.home_variable) || is_same_file(&entry(pid, "cwd"), home.as_ref());
        // A socket outside of the home says nothing about it: a config can name any socket.
        let is_inside = || {
            let dir = self.socket.parent();
            self.socket.starts_with(home) || dir.is_some_and(|dir| is_same_file(dir.as_ref(), home.as_ref()))
        };
        match (listens, accepts) {
            (true, true) if is_inside() || is_told() => Some(ServerEvidence::Accepts),
            (true, false) if is_told() && (procfs::is_suspended(pid) || is_daemon(pid)) => {
                Some(ServerEvidence::Listens)
            }
            _ => None,
        }
    }

    fn table(&self, pid: u32) -> SocketTable {
        SocketTable::of_name(pid, self.socket)
    }
}

/// Returns the process to name to people for a socket that accepted a connection: the process that
/// serves it, or, if the system does not show that one, the process that called `listen`. It is no
/// proof.
pub(crate) fn likely_server(socket: &Utf8Path, listener: Option<u32>) -> Option<u32> {
    let served = SocketQuery { socket, home: socket.parent()?, home_variable: HOME_VARIABLE };
    match served.process(listener) {
        Ok(pid) | Err(Unverified::Hidden(pid)) => Some(pid),
        // The connection may still wait to be accepted. The listener may have bound the socket
        // relative to a working directory that it has left.
        Err(_) => listener.filter(|pid| served.table(*pid).is_listener(*pid, |_| true)),
    }
}

/// Returns the listening process if exactly one holds the socket: for a socket that accepted no
/// connection.
pub(crate) fn sole_listener(socket: &Utf8Path) -> Option<u32> {
    sole(socket, |held| held.listens)
}

/// Returns the process that holds the socket, of whatever kind, if exactly one does.
pub(crate) fn sole_holder(socket: &Utf8Path) -> Option<u32> {
    sole(socket, |_| true)
}

fn sole(socket: &Utf8Path, is_wanted: impl Fn(&NamedSocket) -> bool) -> Option<u32> {
    let table = SocketTable::of_name(std::process::id(), socket);
    let holds = |pid: &u32| table.held_at(*pid, socket).into_iter().any(&is_wanted);
    let mut all = procfs::all_pids().filter(holds);
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Returns whether a process listens on a socket that denies us the connection, from the tables of
/// all visible network namespaces. Returns `None` if the tables do not decide it.
pub(crate) fn has_listener(socket: &Utf8Path) -> Option<bool> {
    let ourselves = std::process::id();
    if !procfs::shows_our_namespace() {
        return None;
    }
    let mut seen = Vec::new();
    let mut is_clear = true;
    for pid in std::iter::once(ourselves).chain(procfs::all_pids()) {
        let Ok(table) = RealDisk.stat_follow(&entry(pid, "net/unix")) else {
            // Another process may have exited meanwhile, but without the table of our own namespace
            // nothing is known.
            if pid == ourselves {
                return None;
            }
            continue;
        };
        // Each network namespace has a table of its own.
        if seen.contains(&table.id) {
            continue;
        }
        seen.push(table.id);
        let is_ours = seen.len() == 1;
        for other in SocketTable::of_name(pid, socket).0.iter().filter(|other| other.listens) {
            let meant = match other.holder() {
                _ if is_ours && other.path.is_absolute() => Some(other.path.clone()),
                Some(holder) => Some(resolve_for_process(holder, &other.path)),
                None => None,
            };
            match (meant.as_deref().and_then(Path::parent), socket.parent()) {
                (Some(meant), Some(dir)) if is_same_file(meant, dir.as_ref()) => return Some(true),
                // This relative path cannot name the socket, whatever directory it is relative to.
                (None, _) if other.path.is_relative() && !socket.ends_with(&other.path) => {}
                (Some(_), _) => {}
                (None, _) => is_clear = false,
            }
        }
    }
    is_clear.then_some(false)
}

/// Returns true if a process runs the daemon's program, or bears the mark of
/// [`spawn`](crate::spawn).
pub(crate) fn is_daemon(pid: u32) -> bool {
    has_spawn_mark(pid) || runs_daemon(pid, &[])
}

/// Returns true if [`spawn`](crate::spawn) started a process, here or in another program. It may
/// not listen yet.
pub(crate) fn has_spawn_mark(pid: u32) -> bool {
    procfs::has_in_environment(pid, &[SPAWN_MARK], |_| true)
}

/// Returns true if a program has the daemon's name, perhaps with a target triple.
pub(crate) fn has_daemon_name(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PROGRAM_NAME.as_bytes()))
}

/// Returns true if a process runs a program with the daemon's name, or one of `programs`.
pub(crate) fn runs_daemon(pid: u32, programs: &[PathBuf]) -> bool {
    let is_one = |exe: &Path| {
        programs.iter().any(|one| one.file_name() == exe.file_name() || is_same_file(one, &entry(pid, "exe")))
    };
    procfs::program(pid).is_some_and(|exe| has_daemon_name(&exe) || is_one(&exe))
}

/// Returns true if the environment of a process names `home` as a daemon's home, by the variable of
/// the app or by the daemon's own: a daemon reads the latter, whatever name an app gives to it.
pub(crate) fn names_home(pid: u32, home: &Utf8Path, home_variable: &str) -> bool {
    // A home that does not exist yet can only be compared by name.
    let is_there = std::fs::metadata(home).is_ok();
    procfs::has_in_environment(pid, &[home_variable, HOME_VARIABLE], |value| {
        // The daemon trims the value too.
        let named = as_path(value.trim_ascii());
        match is_there {
            true => led_to(pid, named, home.as_ref()),
            false => named == home,
        }
    })
}

/// Returns true if `home` is the home of a daemon that is told none: it may lie behind a symlink in
/// the home of the daemon's user.
pub(crate) fn is_default_home(pid: u32, home: &Utf8Path, home_variable: &str) -> bool {
    let is_set = |value: &[u8]| !value.trim_ascii().is_empty();
    let is_home = |user_home: &[u8]| led_to(pid, &as_path(user_home).join(DEFAULT_HOME), home.as_ref());
    !procfs::has_in_environment(pid, &[home_variable, HOME_VARIABLE], is_set)
        && procfs::has_in_environment(pid, &["HOME"], is_home)
}

/// Returns true if a path of a process leads to `home`, or did so before its last component, a symlink,
/// was moved aside: the daemon goes on serving the home.
fn led_to(pid: u32, path: &Path, home: &Path) -> bool {
    let path = resolve_for_process(pid, path);
    let is_moved = || std::fs::symlink_metadata(&path).is_err();
    let (Some(dir), Some(name)) = (path.parent(), path.file_name()) else { return is_same_file(&path, home) };
    let was_it = |entry: &DirEntry| {
        let ending = entry.name.as_encoded_bytes().strip_prefix(name.as_encoded_bytes());
        ending.is_some_and(|ending| ending.starts_with(b".")) && is_same_file(&dir.join(&entry.name), home)
    };
    is_same_file(&path, home) || (is_moved() && RealDisk.list(dir).unwrap_or_default().iter().any(was_it))
}

/// Returns true if a process listens on a socket that was bound to a path in `dir`, or, without
/// `dir`, to any path. The path may have been unlinked since.
pub(crate) fn listens_in(pid: u32, dir: Option<&Path>) -> bool {
    let table = SocketTable::of(pid, |_| true);
    // A directory that was removed can only be compared by name.
    let is_in =
        |path: &Path, dir| path.parent().is_some_and(|parent| parent == dir || led_to(pid, parent, dir));
    table.is_listener(pid, |path| dir.is_none_or(|dir| is_in(path, dir)))
}

/// Returns the path of a socket on which a process listens, if the path still leads to it: the
/// socket file is there, and no other socket was bound to the path since.
pub(crate) fn socket_of(pid: u32) -> Option<PathBuf> {
    let table = SocketTable::of(pid, |path| path.is_absolute());
    let leads_to_it = |socket: &&NamedSocket| {
        let same = table.0.iter().filter(|other| other.listens && other.path == socket.path);
        socket.listens
            && same.count() == 1
            && std::fs::symlink_metadata(resolve_for_process(pid, &socket.path))
                .is_ok_and(|file| is_socket(&file))
    };
    table.held_by(pid).into_iter().find(leads_to_it).map(|socket| socket.path.clone())
}

/// Returns true if both processes hold one listening socket that was bound to a path.
pub(crate) fn share_listening_socket(one: u32, other: u32) -> bool {
    let table = SocketTable::of(one, |_| true);
    let others = open_sockets(other).unwrap_or_default();
    table.held_by(one).into_iter().any(|socket| socket.listens && others.contains(&socket.inode))
}

/// Returns true if both paths lead to one file or directory.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let stat = |path| RealDisk.stat_follow(path);
    matches!((stat(a), stat(b)), (Ok(a), Ok(b)) if a.is_same_file(&b))
}

/// Resolves a path of another process: against its root, which differs in a container, or against
/// its working directory.
fn resolve_for_process(pid: u32, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(below_root) => entry(pid, "root").join(below_root),
        Err(_) => entry(pid, "cwd").join(path),
    }
}

/// Returns the inodes of the sockets that a process holds open, or `None` if the system does not
/// show them.
fn open_sockets(pid: u32) -> Option<Vec<u64>> {
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Some(procfs::open_files(pid)?.filter_map(inode).collect())
}

/// Sockets that were bound to a path, and the ends of the connections that they accepted.
#[derive(Debug)]
struct SocketTable(Vec<NamedSocket>);

#[derive(Debug, PartialEq, Eq)]
struct NamedSocket {
    inode: u64,
    /// Set for a listening socket, and not for the end of a connection.
    listens: bool,
    /// The path that was passed to `bind`.
    path: PathBuf,
}

impl SocketTable {
    /// Reads the sockets with a wanted path in the network namespace of `pid`.
    fn of(pid: u32, is_wanted: impl Fn(&Path) -> bool) -> Self {
        if !procfs::shows_our_namespace() {
            return Self(Vec::new());
        }
        let table = std::fs::read(entry(pid, "net/unix")).unwrap_or_default();
        let sockets = table.split(|byte| *byte == b'\n').filter_map(NamedSocket::parse);
        Self(sockets.filter(|socket| is_wanted(&socket.path)).collect())
    }

    /// Reads the sockets that have the file name of `socket`.
    fn of_name(pid: u32, socket: &Utf8Path) -> Self {
        Self::of(pid, |path| path.file_name() == socket.as_std_path().file_name())
    }

    /// Returns the sockets at the address `socket` that a process holds open.
    fn held_at(&self, pid: u32, socket: &Utf8Path) -> Vec<&NamedSocket> {
        let Some(dir) = socket.parent() else { return Vec::new() };
        let mut held = self.held_by(pid);
        held.retain(|socket| {
            let bound_in = socket.path.parent();
            bound_in.is_some_and(|bound_in| is_same_file(&resolve_for_process(pid, bound_in), dir.as_ref()))
        });
        held
    }

    fn listens_at(&self, pid: u32, socket: &Utf8Path) -> bool {
        self.held_at(pid, socket).iter().any(|socket| socket.listens)
    }

    /// Returns true if a process holds a listening socket that was bound to a wanted path. It may
    /// have left the working directory of a relative one since.
    fn is_listener(&self, pid: u32, is_wanted: impl Fn(&Path) -> bool) -> bool {
        self.held_by(pid).into_iter().any(|socket| socket.listens && is_wanted(&socket.path))
    }

    fn held_by(&self, pid: u32) -> Vec<&NamedSocket> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let open = open_sockets(pid).unwrap_or_default();
        self.0.iter().filter(|socket| open.contains(&socket.inode)).collect()
    }
}

impl NamedSocket {
    fn holder(&self) -> Option<u32> {
        procfs::all_pids().find(|pid| open_sockets(*pid).is_some_and(|open| open.contains(&self.inode)))
    }

    /// Parses a line of `/proc/net/unix`: number, references, protocol, flags, type, state, inode,
    /// path.
    fn parse(line: &[u8]) -> Option<Self> {
        /// The kernel's `__SO_ACCEPTCON`: `listen` was called.
        const LISTENS: u32 = 1 << 16;

        let mut fields = line.splitn(7, |byte| *byte == b' ');
        let flags = u32::from_str_radix(std::str::from_utf8(fields.nth(3)?).ok()?, 16).ok()?;
        // The inode is padded with spaces on its left.
        let rest = fields.nth(2)?.trim_ascii_start();
        let (inode, path) = rest.split_at(rest.iter().position(|byte| *byte == b' ')?);
        let inode = std::str::from_utf8(inode).ok()?.parse().ok()?;
        // An abstract name begins with `@`.
        let path = path.strip_prefix(b" ").filter(|path| !path.starts_with(b"@"))?;
        Some(Self { inode, listens: flags & LISTENS != 0, path: as_path(path).to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::listener_whose_path_has_a_space(
        "0: 00000002 00000000 00010000 0001 01 42 /h/a b/daemon.sock",
        Some((42, true, "/h/a b/daemon.sock"))
    )]
    #[case::padded_inode("0: 00000003 00000000 00000000 0001 03  1614 rel/s", Some((1614, false, "rel/s")))]
    #[case::no_path("0: 00000003 00000000 00000000 0001 03  1614", None)]
    #[case::abstract_name("0: 00000002 00000000 00010000 0001 01 42 @abstract", None)]
    #[case::header("Num       RefCount Protocol Flags    Type St Inode Path", None)]
    #[case::empty("", None)]
    fn line_of_the_socket_table_is_parsed(#[case] line: &str, #[case] expected: Option<(u64, bool, &str)>) {
        let expected =
            expected.map(|(inode, listens, path)| NamedSocket { inode, listens, path: path.into() });
        assert_eq!(NamedSocket::parse(line.as_bytes()), expected);
    }
}
