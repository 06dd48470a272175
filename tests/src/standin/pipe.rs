//! The socket on Windows: the one named pipe of all daemons.

use std::{
    io::{self, Read, Write},
    path::Path,
    sync::Arc,
};

use interprocess::local_socket::{
    self, GenericNamespaced, ListenerOptions, ToNsName as _, traits::ListenerExt as _,
};
use myownllm_paths::MYOWNLLM;

use super::mode::Modes;

pub(super) struct Listener(local_socket::Listener);

impl Listener {
    pub(super) fn incoming(&self) -> impl Iterator<Item = io::Result<Stream>> {
        self.0.incoming().map(|stream| stream.map(|stream| Stream(Arc::new(stream))))
    }
}

/// Listens at the pipe; the path of a socket has no effect. Fails if another daemon listens.
pub(super) fn listen(_: &Path, _: &Modes) -> io::Result<Listener> {
    let name = MYOWNLLM.pipe.into_owned().to_ns_name::<GenericNamespaced>()?;
    ListenerOptions::new().name(name).create_sync().map(Listener)
}

pub(super) struct Stream(Arc<local_socket::Stream>);

impl Stream {
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self(Arc::clone(&self.0)))
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self).read(into)
    }
}

impl Read for &Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(into)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Write for &Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
