//! A stream socket in the file system.
//!
//! The socket is non-blocking and every wait is one `poll` with what is left until the deadline: a socket's own
//! timeouts start anew with each call, so that a peer which sends a byte a second would hold us for ever.

use std::{
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    time::{Duration, Instant},
};

use interprocess::{local_socket::traits::StreamCommon, os::unix::uds_local_socket};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, SendFlags, SocketAddrUnix, SocketType},
};

use super::{ConnectError, Peer, Transport};
use crate::{
    Absence, Endpoint,
    endpoint::{Address, PATH_LIMIT},
};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
struct UnixTransport {
    stream: UnixStream,
    peer: Peer,
}

pub(super) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Box<dyn Transport>, ConnectError> {
    let path = match endpoint.address() {
        Address::Path(path) => path,
        Address::Pipe(_) => {
            let source = io::Error::new(io::ErrorKind::Unsupported, "named pipes are for Windows");
            return Err(ConnectError::Failed { source });
        }
    };
    let length = path.as_os_str().len();
    if length > PATH_LIMIT {
        return Err(ConnectError::PathTooLong { length, limit: PATH_LIMIT });
    }
    let address = SocketAddrUnix::new(path.as_path()).map_err(|e| failed(e.into()))?;
    let mut pause = Duration::from_millis(1);
    let socket = loop {
        let socket = new_socket().map_err(failed)?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => break socket,
            Err(Errno::INTR) => {}
            // The queue of connections that nobody took yet is full. Waiting inside `connect` would have no bound.
            Err(Errno::AGAIN) => {
                let now = Instant::now();
                if now >= deadline {
                    return Err(ConnectError::Full { pid: listener_pid(path) });
                }
                std::thread::sleep(pause.min(deadline - now));
                pause = (pause * 2).min(Duration::from_millis(5));
            }
            Err(e @ (Errno::NOENT | Errno::NOTDIR)) => {
                return Err(ConnectError::Absent { why: Absence::NoSocket, source: e.into() });
            }
            Err(e @ Errno::CONNREFUSED) => {
                return Err(ConnectError::Absent { why: Absence::Refused, source: e.into() });
            }
            Err(e @ Errno::ACCESS) => return Err(closed(endpoint, path, e.into())),
            Err(e) => return Err(failed(e.into())),
        }
    };
    let stream = UnixStream::from(socket);
    let peer = peer_of(&stream, path).map_err(failed)?;
    match peer.uid {
        Some(uid) if !admits(endpoint, uid) => Err(ConnectError::ForeignOwner { uid, pid: peer.pid }),
        _ => Ok(Box::new(UnixTransport { stream, peer })),
    }
}

fn admits(endpoint: &Endpoint, uid: u32) -> bool {
    endpoint.admits(uid, rustix::process::geteuid().as_raw())
}

/// What is known of a socket to which the system does not let us connect. That it does not proves nothing: a daemon that
/// was killed leaves its socket behind, with its owner and mode.
fn closed(endpoint: &Endpoint, path: &Path, source: io::Error) -> ConnectError {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let file = match std::fs::metadata(path) {
        Ok(file) if file.file_type().is_socket() => file,
        _ => return ConnectError::Failed { source },
    };
    match has_listener(path) {
        Some(false) => ConnectError::Absent { why: Absence::Abandoned, source },
        Some(true) if !admits(endpoint, file.uid()) => {
            ConnectError::ForeignOwner { uid: file.uid(), pid: listener_pid(path) }
        }
        Some(true) => ConnectError::Closed { pid: listener_pid(path), source },
        None => ConnectError::Failed { source },
    }
}

/// Why the system refused: for what we are, or for what we lack.
fn failed(source: io::Error) -> ConnectError {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS];
    match Errno::from_io_error(&source) {
        Some(errno) if lacks.contains(&errno) => ConnectError::ResourceExhausted { source },
        _ => ConnectError::Failed { source },
    }
}

/// A non-blocking socket that no child inherits.
#[cfg(not(any(target_vendor = "apple")))]
fn new_socket() -> io::Result<OwnedFd> {
    use rustix::net::SocketFlags;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?)
}

/// A non-blocking socket that no child inherits (but for one that another thread starts between the two calls: the
/// platform cannot do both at once), and that raises no signal when the peer is gone.
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

/// The process that listens, by the credentials that the kernel kept when it began to; when the kernel does not tell
/// (the peer lives in another pid namespace), the owner of the socket file stands in.
fn peer_of(stream: &UnixStream, path: &Path) -> io::Result<Peer> {
    let credentials = uds_local_socket::Stream::from(stream.try_clone()?).peer_creds();
    let (pid, uid) = match &credentials {
        Ok(credentials) => (credentials.pid().and_then(|pid| u32::try_from(pid).ok()), credentials.euid()),
        Err(_) => (None, None),
    };
    let uid = match uid {
        Some(uid) => Some(uid),
        None => Some(std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(path)?)),
    };
    Ok(Peer { pid: pid.filter(|pid| *pid != 0), uid })
}

/// Waits until the socket is ready for `flags` or the deadline has come (`TimedOut`).
fn wait_for(stream: &UnixStream, flags: PollFlags, deadline: Instant) -> io::Result<()> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(stream, flags)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) if left.is_zero() => return Err(io::ErrorKind::TimedOut.into()),
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => return Ok(()),
            Err(e) => return Err(e.into()),
        }
    }
}

impl Transport for UnixTransport {
    fn peer(&self) -> Peer {
        self.peer
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

/// The process that listens at `path` and takes no connection, which therefore shows no credentials.
#[cfg(target_os = "linux")]
fn listener_pid(path: &Path) -> Option<u32> {
    crate::serving::sole_listener(path)
}

/// Nobody tells elsewhere.
#[cfg(not(target_os = "linux"))]
fn listener_pid(_path: &Path) -> Option<u32> {
    None
}

/// Whether somebody listens at `path`; `None` if the system does not tell.
#[cfg(target_os = "linux")]
fn has_listener(path: &Path) -> Option<bool> {
    crate::serving::has_listener(path)
}

#[cfg(not(target_os = "linux"))]
fn has_listener(_path: &Path) -> Option<bool> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_lack_ourselves_says_nothing_about_a_daemon() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS] {
            assert!(matches!(failed(errno.into()), ConnectError::ResourceExhausted { .. }), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::PERM, Errno::PROTOTYPE] {
            assert!(matches!(failed(errno.into()), ConnectError::Failed { .. }), "{errno}");
        }
    }
}
