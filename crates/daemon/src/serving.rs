//! Which process serves a socket or a home now, as far as `/proc` shows.
//!
//! The credentials of a connection name the process that called `listen`. That process may have handed its socket to
//! another one (a fork after `listen`, socket activation) or may have ended, and its number may belong to another process
//! by now. So a process is signalled only if it is seen here.

use std::{
    ffi::OsStr,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use crate::{home_daemons::HOME_VARIABLE, process};

/// A socket, and the homes of which its daemon is to serve one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketQuery<'a> {
    pub(crate) socket: &'a Path,
    pub(crate) homes: &'a [&'a Path],
    pub(crate) home_variable: &'a str,
}

/// What is seen of a process that serves a socket; the stronger last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ServerEvidence {
    /// It holds the listening socket, its environment or working directory names a home, and it is the daemon's program,
    /// or is suspended: an activator listens, and is neither.
    Listens,
    /// It holds the listening socket and the other end of a connection to it.
    Accepts,
}

/// Why no process is seen to serve a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unverified {
    /// No process that holds the socket is visible from here: it is in another pid namespace.
    OtherNamespace,
    /// The system does not show what the process that called `listen` holds open.
    Hidden(u32),
    /// Of the processes that hold the socket, none is seen to serve a home.
    NoServer,
    /// Several processes are, and nothing tells them apart.
    Several(Vec<u32>),
}

impl SocketQuery<'_> {
    /// The process that serves the socket. `listener` is the process that called `listen`, as a connection says.
    pub(crate) fn process(&self, listener: Option<u32>) -> Result<u32, Unverified> {
        // The usual case, without a look at every process.
        if let Some(pid) = listener.filter(|pid| self.evidence(*pid) == Some(ServerEvidence::Accepts)) {
            return Ok(pid);
        }
        let table = self.table(std::process::id());
        let seen: Vec<(ServerEvidence, u32)> = process::all_pids()
            .filter_map(|pid| {
                // The listener may be in another network namespace, with a table of its own.
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
                None if !process::all_pids().any(|pid| self.listens_in(&table, pid)) => {
                    Unverified::OtherNamespace
                }
                _ => Unverified::NoServer,
            }),
            _ => Err(Unverified::Several(pids)),
        }
    }

    /// What is seen of a process; `None` if nothing speaks for it.
    pub(crate) fn evidence(&self, pid: u32) -> Option<ServerEvidence> {
        self.evidence_in(&self.table(pid), pid)
    }

    fn evidence_in(&self, table: &SocketTable, pid: u32) -> Option<ServerEvidence> {
        let held = self.held(table, pid);
        let listens = held.iter().any(|socket| socket.listens);
        let accepts = held.iter().any(|socket| !socket.listens);
        let is_told = || {
            self.homes
                .iter()
                .any(|home| names_home(pid, home, self.home_variable) || has_working_dir(pid, home))
        };
        // A socket outside says nothing about a home: a config can name any.
        let is_inside = || {
            let dir = self.socket.parent();
            self.homes
                .iter()
                .any(|home| self.socket.starts_with(home) || dir.is_some_and(|dir| is_same_file(dir, home)))
        };
        match (listens, accepts) {
            (true, true) if is_inside() || is_told() => Some(ServerEvidence::Accepts),
            (true, false) if is_told() && (process::is_suspended(pid) || is_daemon(pid)) => {
                Some(ServerEvidence::Listens)
            }
            _ => None,
        }
    }

    fn listens_in(&self, table: &SocketTable, pid: u32) -> bool {
        self.held(table, pid).iter().any(|socket| socket.listens)
    }

    /// The sockets at this address that a process holds open.
    fn held<'t>(&self, table: &'t SocketTable, pid: u32) -> Vec<&'t NamedSocket> {
        let Some(dir) = self.socket.parent() else { return Vec::new() };
        let is_here = |socket: &&NamedSocket| {
            socket
                .path
                .parent()
                .is_some_and(|bound_in| is_same_file(&resolve_for_process(pid, bound_in), dir))
        };
        table.held_by(pid).into_iter().filter(is_here).collect()
    }

    fn table(&self, pid: u32) -> SocketTable {
        SocketTable::of(pid, |path| path.file_name() == self.socket.file_name())
    }
}

/// The process to name for a socket that took a connection from us: the one that serves it; or, where the system does not
/// show that, the one that called `listen`. It is for people to look at, and no proof.
pub(crate) fn likely_server(socket: &Path, listener: Option<u32>) -> Option<u32> {
    let served = SocketQuery { socket, homes: &[socket.parent()?], home_variable: HOME_VARIABLE };
    match served.process(listener) {
        Ok(pid) | Err(Unverified::Hidden(pid)) => Some(pid),
        // The connection may still wait to be accepted.
        Err(_) => listener.filter(|pid| served.listens_in(&served.table(*pid), *pid)),
    }
}

/// The one process that is seen to hold the listening socket: for a socket that took no connection from us.
pub(crate) fn sole_listener(socket: &Path) -> Option<u32> {
    let served = SocketQuery { socket, homes: &[], home_variable: "" };
    let table = served.table(std::process::id());
    let mut all = process::all_pids().filter(|pid| served.listens_in(&table, *pid));
    let first = all.next()?;
    all.next().is_none().then_some(first)
}

/// Whether somebody listens on a socket file that lets us not connect, by the tables of all network namespaces that are
/// visible from here; `None` if these do not tell.
pub(crate) fn has_listener(socket: &Path) -> Option<bool> {
    let served = SocketQuery { socket, homes: &[], home_variable: "" };
    let ourselves = std::process::id();
    if !process::proc_shows_our_namespace() {
        return None;
    }
    let mut seen = Vec::new();
    let mut is_clear = true;
    for pid in std::iter::once(ourselves).chain(process::all_pids()) {
        let Ok(table) = std::fs::metadata(proc_dir(pid).join("net/unix")) else {
            // Another process may have ended; of our own namespace we have to know.
            if pid == ourselves {
                return None;
            }
            continue;
        };
        // Each network namespace has a file of its own.
        if seen.contains(&table.ino()) {
            continue;
        }
        seen.push(table.ino());
        let is_ours = seen.len() == 1;
        for other in served.table(pid).0.iter().filter(|other| other.listens) {
            let meant = match other.holder() {
                _ if is_ours && other.path.is_absolute() => Some(other.path.clone()),
                Some(holder) => Some(resolve_for_process(holder, &other.path)),
                None => None,
            };
            match (meant.as_deref().and_then(Path::parent), socket.parent()) {
                (Some(meant), Some(dir)) if is_same_file(meant, dir) => return Some(true),
                // Read from wherever it stands, a relative path cannot lead here.
                (None, _) if other.path.is_relative() && !socket.ends_with(&other.path) => {}
                (Some(_), _) => {}
                (None, _) => is_clear = false,
            }
        }
    }
    is_clear.then_some(false)
}

/// Whether a process runs the daemon's program, or bears the mark of those that we start.
pub(crate) fn is_daemon(pid: u32) -> bool {
    has_spawn_mark(pid)
        || std::fs::read_link(proc_dir(pid).join("exe")).is_ok_and(|exe| has_daemon_name(&exe))
}

/// Whether a process bears the mark of a program that we started as a daemon: it may not listen yet.
pub(crate) fn has_spawn_mark(pid: u32) -> bool {
    process::has_in_environment(pid, |entry| {
        entry.strip_prefix(crate::spawn::SPAWN_MARK.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
    })
}

/// Whether a program has the name of the daemon's, perhaps with a target triple behind it.
pub(crate) fn has_daemon_name(program: &Path) -> bool {
    program.file_name().is_some_and(|name| name.as_bytes().starts_with(crate::candidates::NAME.as_bytes()))
}

/// Whether the environment of a process names `home` as a daemon's home. A process that has ended shows none, and only
/// one's own processes do (all do to root).
pub(crate) fn names_home(pid: u32, home: &Path, home_variable: &str) -> bool {
    // A home that is not there yet has only its name.
    let is_there = std::fs::metadata(home).is_ok();
    process::has_in_environment(pid, |entry| {
        let value = entry.strip_prefix(home_variable.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
        // The daemon trims it too.
        value.map(|value| as_path(value.trim_ascii())).is_some_and(|named| match is_there {
            true => is_same_file(&resolve_for_process(pid, named), home),
            false => named == home,
        })
    })
}

/// Whether a process works in the directory `home`.
pub(crate) fn has_working_dir(pid: u32, home: &Path) -> bool {
    is_same_file(&proc_dir(pid).join("cwd"), home)
}

/// Whether a process listens on a socket that was bound to a path in `dir`, or to any path. That the name may be gone
/// since makes no difference.
pub(crate) fn listens_in(pid: u32, dir: Option<&Path>) -> bool {
    let table = SocketTable::of(pid, |_| true);
    let is_in = |path: &Path, dir| {
        path.parent().is_some_and(|parent| is_same_file(&resolve_for_process(pid, parent), dir))
    };
    table
        .held_by(pid)
        .into_iter()
        .any(|socket| socket.listens && dir.is_none_or(|dir| is_in(&socket.path, dir)))
}

/// Whether both processes hold one listening socket that was bound to a path.
pub(crate) fn share_listening_socket(one: u32, other: u32) -> bool {
    let table = SocketTable::of(one, |_| true);
    let others = open_sockets(other).unwrap_or_default();
    table.held_by(one).into_iter().any(|socket| socket.listens && others.contains(&socket.inode))
}

/// Whether both lead to one file or directory.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let id = |path: &Path| std::fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()));
    id(a).is_some_and(|a| id(b) == Some(a))
}

/// Where a path of a process leads: from its own root, which a container does not share with us, or its own working
/// directory.
fn resolve_for_process(pid: u32, path: &Path) -> PathBuf {
    match path.strip_prefix("/") {
        Ok(below_root) => proc_dir(pid).join("root").join(below_root),
        Err(_) => proc_dir(pid).join("cwd").join(path),
    }
}

fn proc_dir(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

pub(crate) fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// The inodes of the sockets that a process holds open; `None` if the system does not show them.
fn open_sockets(pid: u32) -> Option<Vec<u64>> {
    let open = std::fs::read_dir(proc_dir(pid).join("fd")).ok()?.flatten();
    let inode = |target: PathBuf| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Some(open.filter_map(|fd| inode(std::fs::read_link(fd.path()).ok()?)).collect())
}

/// Sockets that were bound to a path, and the ends of the connections that they accepted.
#[derive(Debug)]
struct SocketTable(Vec<NamedSocket>);

#[derive(Debug, PartialEq, Eq)]
struct NamedSocket {
    inode: u64,
    /// Whether it takes connections; if not, it is an end of one.
    listens: bool,
    /// As it was passed to `bind`.
    path: PathBuf,
}

impl SocketTable {
    /// The sockets with a path of interest, in the network namespace of `pid`.
    fn of(pid: u32, is_wanted: impl Fn(&Path) -> bool) -> Self {
        if !process::proc_shows_our_namespace() {
            return Self(Vec::new());
        }
        let table = std::fs::read(proc_dir(pid).join("net/unix")).unwrap_or_default();
        let sockets = table.split(|byte| *byte == b'\n').filter_map(NamedSocket::parse);
        Self(sockets.filter(|socket| is_wanted(&socket.path)).collect())
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
    /// A process that is seen to hold it.
    fn holder(&self) -> Option<u32> {
        process::all_pids().find(|pid| open_sockets(*pid).is_some_and(|open| open.contains(&self.inode)))
    }

    /// From a line of `/proc/net/unix`: number, references, protocol, flags, type, state, inode, path.
    fn parse(line: &[u8]) -> Option<Self> {
        /// `__SO_ACCEPTCON` of the kernel: `listen` was called.
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_taken_apart() {
        let socket = |inode, listens, path: &str| Some(NamedSocket { inode, listens, path: path.into() });
        for (line, expected) in [
            (
                "0: 00000002 00000000 00010000 0001 01 42 /h/a b/daemon.sock",
                socket(42, true, "/h/a b/daemon.sock"),
            ),
            ("0: 00000003 00000000 00000000 0001 03  1614 rel/s", socket(1614, false, "rel/s")),
            ("0: 00000003 00000000 00000000 0001 03  1614", None),
            ("0: 00000002 00000000 00010000 0001 01 42 @abstract", None),
            ("Num       RefCount Protocol Flags    Type St Inode Path", None),
            ("", None),
        ] {
            assert_eq!(NamedSocket::parse(line.as_bytes()), expected, "{line}");
        }
    }
}
