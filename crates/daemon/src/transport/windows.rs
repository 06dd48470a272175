//! A named pipe.
//!
//! Named pipes have no timeouts: a read waits until there is something. So a thread reads and hands on what it got, and
//! another writes; this end waits for them with a deadline. A thread that waits for a silent daemon ends when the daemon
//! answers, closes the pipe or ends.

use std::{
    io::{self, Read, Write},
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel},
    },
    time::Instant,
};

use interprocess::local_socket::{
    ConnectOptions, GenericNamespaced, Stream, ToNsName, traits::StreamCommon as _,
};

use super::{ConnectError, Peer, Transport};
use crate::{Absence, Endpoint, endpoint::Address};

/// How much is read at once.
const CHUNK: usize = 64 * 1024;
/// How many chunks may wait for us: a peer that floods us is stopped by the pipe, not by our memory.
const MAX_QUEUED_CHUNKS: usize = 4;
/// `ERROR_PIPE_BUSY`: every instance of the pipe is in use.
const PIPE_BUSY: i32 = 231;

#[derive(Debug)]
struct PipeTransport {
    peer: Peer,
    chunks: Receiver<io::Result<Vec<u8>>>,
    lines: Sender<Vec<u8>>,
    written: Receiver<io::Result<()>>,
    ended: bool,
}

pub(super) fn connect(endpoint: &Endpoint, deadline: Instant) -> Result<Box<dyn Transport>, ConnectError> {
    let failed = |source: io::Error| ConnectError::Failed { source };
    let name = match endpoint.address() {
        Address::Pipe(name) => name.clone(),
        Address::Path(_) => {
            return Err(failed(io::Error::new(io::ErrorKind::Unsupported, "socket files are for Unix")));
        }
    };
    let mut pause = std::time::Duration::from_millis(1);
    let stream: Stream = loop {
        let name = name.clone().to_ns_name::<GenericNamespaced>().map_err(failed)?;
        match ConnectOptions::new().name(name).connect_sync() {
            Ok(stream) => break stream,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ConnectError::Absent { why: Absence::NoSocket, source: e });
            }
            Err(e) if e.raw_os_error() == Some(PIPE_BUSY) => {
                let now = Instant::now();
                if now >= deadline {
                    return Err(ConnectError::Full { pid: None });
                }
                std::thread::sleep(pause.min(deadline - now));
                pause = (pause * 2).min(std::time::Duration::from_millis(5));
            }
            Err(e) => return Err(failed(e)),
        }
    };
    let pid = stream.peer_creds().ok().and_then(|credentials| credentials.pid());
    let stream = Arc::new(stream);
    let reader = Arc::clone(&stream);

    let (hand_on, chunks) = sync_channel(MAX_QUEUED_CHUNKS);
    spawn("daemon-read", move || read_all(&mut &*reader, &hand_on)).map_err(failed)?;
    let (lines, to_write) = channel::<Vec<u8>>();
    let (report, written) = channel();
    spawn("daemon-write", move || {
        while let Ok(line) = to_write.recv() {
            if report.send((&*stream).write_all(&line)).is_err() {
                return;
            }
        }
    })
    .map_err(failed)?;
    Ok(Box::new(PipeTransport { peer: Peer { pid, uid: None }, chunks, lines, written, ended: false }))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map(drop)
}

/// Reads until the end, an error, or until nobody listens to us.
fn read_all(reader: &mut impl Read, hand_on: &SyncSender<io::Result<Vec<u8>>>) {
    loop {
        let mut chunk = vec![0; CHUNK];
        let result = match reader.read(&mut chunk) {
            Ok(length) => {
                chunk.truncate(length);
                Ok(chunk)
            }
            // The daemon is gone: for the protocol that is the end of the stream.
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

impl Transport for PipeTransport {
    fn peer(&self) -> Peer {
        self.peer
    }

    fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        self.lines.send(bytes.to_vec()).map_err(|_| gone())?;
        match self.written.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => Err(io::ErrorKind::TimedOut.into()),
            Err(RecvTimeoutError::Disconnected) => Err(gone()),
        }
    }

    fn receive(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<usize> {
        if self.ended {
            return Ok(0);
        }
        match self.chunks.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
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
