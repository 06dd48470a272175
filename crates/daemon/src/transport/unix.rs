//! A stream socket in the file system.
//!
//! The socket is non-blocking, and every wait is one `poll` until the deadline: the timeouts of a
//! socket start anew with each call, so a peer that sends a byte a second would hold this program
//! for ever.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant},
};

use interprocess::{local_socket::traits::StreamCommon, os::unix::uds_local_socket};
use myownllm_paths::{Socket, camino::Utf8Path};
use rustix::{
    event::PollFlags,
    io::Errno,
    net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType},
};

use super::{Absence, ConnectError, Transport};
use crate::{
    Endpoint,
    endpoint::{PATH_LIMIT, is_socket},
    serving::{has_listener, sole_holder, sole_listener},
    wait::{Backoff, poll_until},
};

const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
struct UnixTransport {
    stream: UnixStream,
    peer_pid: Option<u32>,
}

/// Connects before the deadline. Checks the user of the process at the other end before a byte is
/// sent.
pub(crate) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Box<dyn Transport>, ConnectError> {
    let path = match endpoint.address() {
        Socket::Path(path) => path,
        Socket::Pipe(_) => {
            let source = io::Error::new(io::ErrorKind::Unsupported, "named pipes are for Windows");
            return Err(ConnectError::Failed { source });
        }
    };
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(ConnectError::PathTooLong { length, limit: PATH_LIMIT });
    }
    let address = SocketAddrUnix::new(path.as_std_path()).map_err(|e| connect_error(e.into()))?;
    let mut backoff = Backoff::new(Duration::from_millis(5));
    let mut saw_listener = false;
    let socket = loop {
        let socket = new_socket().map_err(connect_error)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break socket,
            Err(Errno::INTR) => {}
            // The queue of connections is full. A blocking `connect` would wait without a bound.
            Err(Errno::AGAIN) => {
                if Instant::now() >= deadline {
                    return Err(ConnectError::Full { pid: sole_listener(path) });
                }
                backoff.wait(deadline);
            }
            // Nothing can listen behind a symlink loop or a broken symlink.
            Err(e @ (Errno::NOENT | Errno::NOTDIR | Errno::LOOP)) => {
                return Err(ConnectError::Absent { why: Absence::NoSocket, source: e.into() });
            }
            Err(e @ Errno::CONNREFUSED) => {
                return Err(ConnectError::Absent { why: Absence::Refused, source: e.into() });
            }
            // A daemon that starts replaces the socket that another user left. The first denial may
            // come from the replaced socket, although the listener found afterwards has the new
            // one: connects once more before it blames the listener.
            Err(e @ Errno::ACCESS) => match denial_error(endpoint, path, e.into()) {
                ConnectError::Denied { .. } | ConnectError::ForeignOwner { .. } if !saw_listener => {
                    saw_listener = true;
                }
                error => return Err(error),
            },
            // Another program has bound a socket of another kind, for datagrams for example.
            Err(e @ Errno::PROTOTYPE) => {
                return Err(ConnectError::Denied { pid: sole_holder(path), source: e.into() });
            }
            Err(e) => return Err(connect_error(e.into())),
        }
    };
    let stream = UnixStream::from(socket);
    let (peer_pid, uid) = peer_of(&stream, path).map_err(connect_error)?;
    match admits(endpoint, uid) {
        true => Ok(Box::new(UnixTransport { stream, peer_pid })),
        false => Err(ConnectError::ForeignOwner { uid, pid: peer_pid }),
    }
}

fn admits(endpoint: &Endpoint, uid: u32) -> bool {
    endpoint.admits(uid, rustix::process::geteuid().as_raw())
}

/// Classifies a socket to which the system denies the connection. The denial proves no daemon: a
/// killed daemon leaves its socket behind.
fn denial_error(endpoint: &Endpoint, path: &Utf8Path, source: io::Error) -> ConnectError {
    use std::os::unix::fs::MetadataExt as _;
    let file = match std::fs::metadata(path) {
        Ok(file) if is_socket(&file) => file,
        _ => return ConnectError::Failed { source },
    };
    match has_listener(path) {
        Some(false) => ConnectError::Absent { why: Absence::Abandoned, source },
        Some(true) if !admits(endpoint, file.uid()) => {
            ConnectError::ForeignOwner { uid: file.uid(), pid: sole_listener(path) }
        }
        Some(true) => ConnectError::Denied { pid: sole_listener(path), source },
        None => ConnectError::Failed { source },
    }
}

/// Tells exhausted resources of this process from other failures.
fn connect_error(source: io::Error) -> ConnectError {
    const EXHAUSTED: [Errno; 4] = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    match Errno::from_io_error(&source) {
        Some(errno) if EXHAUSTED.contains(&errno) => ConnectError::ResourceExhausted { source },
        _ => ConnectError::Failed { source },
    }
}

/// Makes a non-blocking socket that no child inherits.
#[cfg(not(target_vendor = "apple"))]
fn new_socket() -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// Makes a non-blocking socket that raises no SIGPIPE and that no child inherits, unless another
/// thread starts a child between the calls: macOS cannot set both at once.
#[cfg(target_vendor = "apple")]
fn new_socket() -> io::Result<OwnedFd> {
    let socket = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&socket, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    rustix::net::sockopt::set_socket_nosigpipe(&socket, true)?;
    Ok(socket)
}

#[cfg(not(target_vendor = "apple"))]
const SEND_FLAGS: SendFlags = SendFlags::NOSIGNAL;
#[cfg(target_vendor = "apple")]
const SEND_FLAGS: SendFlags = SendFlags::empty();

/// Returns the process that called `listen`, and its user, from the credentials that the kernel
/// keeps. In another PID namespace the kernel hides them; then the owner of the socket file stands
/// in.
fn peer_of(stream: &UnixStream, path: &Utf8Path) -> io::Result<(Option<u32>, u32)> {
    let credentials = uds_local_socket::Stream::from(stream.try_clone()?).peer_creds().ok();
    let pid = credentials.as_ref().and_then(|peer| u32::try_from(peer.pid()?).ok()).filter(|pid| *pid != 0);
    let uid = match credentials.and_then(|peer| peer.euid()) {
        Some(uid) => uid,
        None => std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path)?),
    };
    Ok((pid, uid))
}

/// Waits until the socket is ready, or fails with `TimedOut` at the deadline.
fn wait_for(stream: &UnixStream, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    while !poll_until(stream, flags, deadline)? {
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
    Ok(())
}

impl Transport for UnixTransport {
    fn peer_pid(&self) -> Option<u32> {
        self.peer_pid
    }

    fn send(&mut self, mut bytes: &[u8], deadline: Instant) -> io::Result<()> {
        while !bytes.is_empty() {
            match rustix::net::send(self.stream.as_fd(), bytes, SEND_FLAGS) {
                Ok(sent) => bytes = &bytes[sent..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => wait_for(&self.stream, PollFlags::OUT, deadline)?,
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        let before = into.len();
        loop {
            into.resize(before + CHUNK, 0);
            let result = self.stream.read(&mut into[before..]);
            into.truncate(before + *result.as_ref().unwrap_or(&0));
            match result {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&self.stream, PollFlags::IN, deadline)?;
                }
                other => return other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    fn exhausted_resources_of_this_process_say_nothing_about_a_daemon(
        #[values(Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS)] errno: Errno,
    ) {
        assert!(matches!(connect_error(errno.into()), ConnectError::ResourceExhausted { .. }));
    }

    #[rstest]
    fn other_errors_are_failures(#[values(Errno::ACCESS, Errno::PERM, Errno::PROTOTYPE)] errno: Errno) {
        assert!(matches!(connect_error(errno.into()), ConnectError::Failed { .. }));
    }
}
