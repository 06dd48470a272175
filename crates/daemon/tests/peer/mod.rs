//! A peer at a socket file or a named pipe, with a script of its own, and the bounds of its tests.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test binary uses a part")]

use std::{
    io::{BufRead, BufReader, Write},
    thread,
    time::{Duration, Instant},
};

use interprocess::local_socket::{GenericFilePath, GenericNamespaced, Listener, ListenerOptions, prelude::*};
pub use interprocess::{TryClone, local_socket::Stream};
use myownllm_daemon::identity::camino::Utf8PathBuf;
use myownllm_daemon::{Client, Endpoint};

/// Long enough for a loaded machine, short enough to notice a missing bound.
pub const SLACK: Duration = Duration::from_secs(5);
pub const WITHIN: Duration = Duration::from_millis(150);

pub const STATUS: &str =
    r#"{"ok":true,"data":{"version":"0.3.8","device_id":"d-1","joined_networks":["a"]}}"#;

/// True if the system names the process at the other end.
pub const SHOWS_PEER: bool = cfg!(any(target_os = "linux", windows));

pub struct Peer {
    pub dir: tempfile::TempDir,
}

impl Peer {
    /// Listens and runs `talk` for each connection, in a thread that ends with the connection.
    pub fn new(talk: impl Fn(Stream) + Send + Sync + Clone + 'static) -> Self {
        let peer = Self::absent();
        let listener = peer.listen();
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
        let parent = if cfg!(windows) { std::env::temp_dir() } else { "/tmp".into() };
        Self { dir: tempfile::Builder::new().prefix("d").tempdir_in(parent).unwrap() }
    }

    pub fn path(&self) -> Utf8PathBuf {
        Utf8PathBuf::try_from(self.dir.path().join("s")).unwrap()
    }

    /// Returns the name of the pipe, which only this peer has.
    pub fn pipe(&self) -> String {
        self.dir.path().file_name().unwrap().to_str().unwrap().to_owned()
    }

    pub fn listen(&self) -> Listener {
        let name = match cfg!(windows) {
            true => self.pipe().to_ns_name::<GenericNamespaced>(),
            false => self.path().into_std_path_buf().to_fs_name::<GenericFilePath>(),
        };
        ListenerOptions::new().name(name.unwrap()).create_sync().unwrap()
    }

    pub fn endpoint(&self) -> Endpoint {
        if cfg!(windows) { Endpoint::pipe(self.pipe()) } else { Endpoint::unix(self.path()) }
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

pub fn wait_for_ever(stream: Stream) {
    let _ = std::io::copy(&mut &stream, &mut std::io::sink());
}
