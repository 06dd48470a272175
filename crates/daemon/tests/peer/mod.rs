//! A peer at a socket file, with a script of its own, and the bounds of its tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
    time::{Duration, Instant},
};

use myownllm_daemon::identity::camino::Utf8PathBuf;
use myownllm_daemon::{Client, Endpoint};

/// Long enough for a loaded machine, short enough to notice a missing bound.
pub const SLACK: Duration = Duration::from_secs(5);
pub const WITHIN: Duration = Duration::from_millis(150);

pub const STATUS: &str =
    r#"{"ok":true,"data":{"version":"0.3.8","device_id":"d-1","joined_networks":["a"]}}"#;

pub struct Peer {
    pub dir: tempfile::TempDir,
}

impl Peer {
    /// Listens and runs `talk` for each connection, in a thread that ends with the connection.
    pub fn new(talk: impl Fn(UnixStream) + Send + Sync + Clone + 'static) -> Self {
        let peer = Self::absent();
        let listener = UnixListener::bind(peer.path()).unwrap();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let talk = talk.clone();
                thread::spawn(move || talk(stream));
            }
        });
        peer
    }

    /// Answers each request line with the result of `answer`.
    pub fn answering(answer: impl Fn(&str) -> Vec<u8> + Send + Sync + Clone + 'static) -> Self {
        Self::new(move |stream| {
            let mut to = stream.try_clone().unwrap();
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { return };
                if to.write_all(&answer(&line)).is_err() {
                    return;
                }
            }
        })
    }

    pub fn absent() -> Self {
        Self { dir: tempfile::Builder::new().prefix("d").tempdir_in("/tmp").unwrap() }
    }

    pub fn path(&self) -> Utf8PathBuf {
        Utf8PathBuf::try_from(self.dir.path().join("s")).unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::unix(self.path())
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.endpoint(), WITHIN).unwrap()
    }
}

/// Runs the closure and asserts that it ends in time.
pub fn bounded<T>(within: Duration, run: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = run();
    let took = began.elapsed();
    assert!(took < within + SLACK, "took {took:?} instead of {within:?}");
    result
}

pub fn wait_for_ever(stream: UnixStream) {
    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
}
