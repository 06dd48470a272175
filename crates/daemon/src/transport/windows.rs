//! A named pipe.
//!
//! Named pipes have no timeouts, so one thread reads and another one writes, and this end waits for
//! them with a deadline. A thread that waits for a silent daemon ends once the daemon answers,
//! closes the pipe or exits.

use std::{
    ffi::OsStr,
    io::{self, Read, Write},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    time::Instant,
};

use interprocess::{
    ConnectWaitMode,
    os::windows::named_pipe::{DuplexPipeStream, pipe_mode::Bytes},
};
use winsafe::{ConvertSidToStringSid, HPROCESS, SysResult, TokenInfo, co};

use myownllm_paths::Socket;

use super::{Absence, ConnectError, Transport};
use crate::Endpoint;

type Stream = DuplexPipeStream<Bytes>;

const CHUNK: usize = 64 * 1024;
/// Bounds the memory that a flooding peer can fill: a full queue stops the pipe.
const MAX_QUEUED_CHUNKS: usize = 4;

#[derive(Debug)]
struct PipeTransport {
    peer_pid: u32,
    /// A mutex makes the transport `Sync`.
    chunks: Mutex<Receiver<io::Result<Vec<u8>>>>,
    lines: Sender<Vec<u8>>,
    written: Mutex<Receiver<io::Result<()>>>,
    ended: bool,
}

/// Connects before the deadline. Checks the user of the process at the other end before a byte is
/// sent.
pub(crate) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Box<dyn Transport>, ConnectError> {
    let failed = |source: io::Error| ConnectError::Failed { source };
    let path = match endpoint.address() {
        Socket::Pipe(_) => endpoint.to_string(),
        Socket::Path(_) => {
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, "socket files are for Unix")));
        }
    };
    let wait = ConnectWaitMode::Timeout(deadline.saturating_duration_since(Instant::now()));
    let stream = match Stream::connect_by_path_with_wait_mode(OsStr::new(&path), wait) {
        Ok(stream) => stream,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(ConnectError::Absent { why: Absence::NoSocket, source: e });
        }
        // Every instance of the pipe was in use.
        Err(e) if e.kind() == io::ErrorKind::TimedOut => return Err(ConnectError::Full { pid: None }),
        Err(e) => return Err(failed(e)),
    };
    let pid = stream.peer_process_id().map_err(failed)?;
    if !runs_as_us(pid).unwrap_or(false) {
        let source = io::Error::new(io::ErrorKind::PermissionDenied, "the process runs as another user");
        return Err(ConnectError::Denied { pid: Some(pid), source });
    }
    let stream = Arc::new(stream);
    let reader = Arc::clone(&stream);

    let (hand_on, chunks) = sync_channel(MAX_QUEUED_CHUNKS);
    spawn("daemon-read", move || read_all(&mut &*reader, &hand_on)).map_err(failed)?;
    let (lines, to_write) = channel::<Vec<u8>>();
    let (report, written) = channel();
    spawn("daemon-write", move || {
        while let Ok(line) = to_write.recv() {
            let result = (&*stream).write_all(&line);
            // Otherwise a dropped connection stays open until the daemon has read the line.
            stream.assume_flushed();
            if report.send(result).is_err() {
                return;
            }
        }
    })
    .map_err(failed)?;
    let (chunks, written) = (Mutex::new(chunks), Mutex::new(written));
    Ok(Box::new(PipeTransport { peer_pid: pid, chunks, lines, written, ended: false }))
}

/// Returns true if a process has the user of this process. Any user can make the pipe before our
/// daemon does.
fn runs_as_us(pid: u32) -> SysResult<bool> {
    let user = |process: &HPROCESS| {
        let token = process.OpenProcessToken(co::TOKEN::QUERY)?;
        match token.GetTokenInformation(co::TOKEN_INFORMATION_CLASS::User)? {
            TokenInfo::User(user) => user.User.Sid().map(|sid| ConvertSidToStringSid(sid)).transpose(),
            _ => Ok(None),
        }
    };
    let other = HPROCESS::OpenProcess(co::PROCESS::QUERY_LIMITED_INFORMATION, false, pid)?;
    let other = user(&other)?;
    Ok(other.is_some() && other == user(&HPROCESS::GetCurrentProcess())?)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Reads until the end of the stream, an error, or the drop of the receiver.
fn read_all(reader: &mut impl Read, hand_on: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let result = match reader.read(&mut chunk) {
            Ok(length) => {
                chunk.truncate(length);
                Ok(chunk)
            }
            // The daemon has exited: for the protocol this is the end of the stream.
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(Vec::new()),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => Err(e),
        };
        let is_last = !matches!(&result, Ok(chunk) if !chunk.is_empty());
        if hand_on.send(result).is_err() || is_last {
            return;
        }
    }
}

fn receiver<T>(receiver: &mut Mutex<Receiver<T>>) -> &mut Receiver<T> {
    receiver.get_mut().unwrap_or_else(PoisonError::into_inner)
}

impl Transport for PipeTransport {
    fn peer_pid(&self) -> Option<u32> {
        Some(self.peer_pid)
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.lines.send(bytes.to_vec()).map_err(|_| gone())?;
        match receiver(&mut self.written).recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        match receiver(&mut self.chunks).recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(chunk)) => {
                self.ended = chunk.is_empty();
                into.extend_from_slice(&chunk);
                Ok(chunk.len())
            }
            Ok(Err(e)) => Err(e),
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Ok(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The process 4 is the system.
    #[test]
    fn only_a_process_of_this_user_is_ours() {
        assert_eq!(runs_as_us(std::process::id()), Ok(true));
        assert_ne!(runs_as_us(4), Ok(true));
    }
}
