//! The lookups of a launch on a simulated disk, and the files of real daemons.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use myownllm_durable_fs::sim::SimDisk;
use myownllm_durable_fs::{Disk, DiskError, FileKind, Metadata};
use myownllm_paths::{FileInfo, Kind, Lookup};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};

/// Answers the lookups of `CheckedLayout::new` from the simulated disk.
pub(crate) struct On<'a>(pub(crate) &'a SimDisk);

impl On<'_> {
    fn node(meta: Result<Metadata, DiskError>) -> io::Result<FileInfo> {
        let meta = meta.map_err(|error| io::Error::from(error.kind()))?;
        let kind = match meta.kind {
            FileKind::Dir => Kind::Dir,
            FileKind::File => Kind::File,
            FileKind::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        Ok(FileInfo { kind, id: meta.id.map(|id| (id.dev, id.ino)) })
    }
}

impl Lookup for On<'_> {
    fn stat(&self, path: &Path) -> io::Result<FileInfo> {
        Self::node(self.0.stat(path))
    }
    fn stat_follow(&self, path: &Path) -> io::Result<FileInfo> {
        Self::node(self.0.stat_follow(path))
    }
    fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.read_link(path).map_err(|error| io::Error::from(error.kind()))
    }
    fn canonicalize(&self, path: &Path) -> io::Result<PathBuf> {
        self.0.canonicalize(path).map_err(|error| io::Error::from(error.kind()))
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path, u64::MAX).map_err(|error| io::Error::from(error.kind()))
    }
}

/// Returns a file of the app's home that a real daemon of this version left.
pub(crate) fn fixture(version: &str, file: &str) -> Vec<u8> {
    let path =
        format!("{}/../../tests/fixtures/daemon-{version}/home/.myownllm/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(path).unwrap()
}

/// Keeps the names of the spans, and the level and the fields of the events.
#[derive(Clone, Default)]
pub(crate) struct Captured(pub(crate) Arc<Mutex<(Vec<String>, Vec<Told>)>>);

pub(crate) type Told = (Level, String);

impl Captured {
    /// Runs with this subscriber, beside a second one: if there is only one, a call site that
    /// another test's thread reaches first stays off in this thread too.
    pub(crate) fn during<T>(&self, run: impl FnOnce() -> T) -> T {
        let _second = tracing::Dispatch::new(Self::default());
        tracing::subscriber::with_default(self.clone(), run)
    }
}

impl Subscriber for Captured {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("myownllm")
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut captured = self.0.lock().unwrap();
        captured.0.push(format!("{} {:?}", span.metadata().name(), span.values()));
        Id::from_u64(captured.0.len() as u64)
    }
    fn event(&self, event: &Event<'_>) {
        self.0.lock().unwrap().1.push((*event.metadata().level(), format!("{event:?}")));
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
