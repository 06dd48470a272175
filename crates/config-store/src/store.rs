//! The store, without and with the lock, and the small looks that every operation shares.

use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use myownllm_config_model::{Diagnostic, Document, Severity};
use myownllm_durable_fs::{Disk, DiskError, LockedDir, Metadata, Owner, publish_new};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use myownllm_paths::{Layout, LayoutPaths, MYOWNLLM};
use myownllm_salvage::{AppSchema, NoSchema, Shape};

use crate::{Clock, FileShape, StoreError};

/// The mode of a file that only its owner can read.
pub(crate) const PRIVATE: u32 = 0o600;

/// Limits the room that backups take, and the size of a config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The largest config that is read, in bytes.
    pub config_bytes: u64,
    /// The most routine backups. At least one is always kept.
    pub good_count: usize,
    /// The most bytes of routine backups. The newest is kept whatever its size.
    pub good_bytes: u64,
    /// The most backups that were set aside. A repair that needs one more is refused.
    pub kept_count: usize,
    /// The most bytes of backups that were set aside.
    pub kept_bytes: u64,
}

impl Default for Limits {
    /// A config has some kilobytes. These limits are far above a lifetime of ordinary use, and far
    /// below the size of a disk.
    fn default() -> Self {
        Self {
            config_bytes: 16 << 20,
            good_count: 20,
            good_bytes: 32 << 20,
            kept_count: 500,
            kept_bytes: 256 << 20,
        }
    }
}

/// The disk that a store reads. A locked store reads through its lock: on Unix the lock reaches
/// everything below the app's home by handles, so nobody can swap a directory between a check and
/// the change that follows from it.
#[derive(Clone)]
pub(crate) enum Reader<'a> {
    Unlocked(&'a dyn Disk),
    Locked(Arc<LockedDir>),
}

impl<'a> Deref for Reader<'a> {
    type Target = dyn Disk + 'a;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Unlocked(disk) => *disk,
            Self::Locked(dir) => &**dir,
        }
    }
}

/// The paths that a store works on: those of one layout, which nothing changes.
///
/// ```compile_fail,E0594
/// # use myownllm_config_store::StorePaths;
/// fn of_another_app(mut paths: StorePaths) {
///     paths.app_config = "/home/u/.otherapp/config.json".into(); // wanted: StorePaths::of(&layout)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePaths(Layout);

impl StorePaths {
    /// Returns the paths of a layout.
    pub fn of(layout: &Layout) -> Self {
        Self(layout.clone())
    }
}

impl Deref for StorePaths {
    type Target = LayoutPaths;

    fn deref(&self) -> &LayoutPaths {
        &self.0
    }
}

/// The implementation of [`ConfigStore`](crate::ConfigStore).
#[derive(Clone)]
pub struct Store<'a> {
    pub(crate) disk: Reader<'a>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) schema: &'a dyn AppSchema,
    /// False if the app gives no schema of its own.
    pub(crate) keeps_config: bool,
    /// True if a load looks for leftovers of killed runs in the daemon home too.
    pub(crate) sweeps_daemon_home: bool,
    pub(crate) paths: StorePaths,
    pub(crate) limits: Limits,
}

impl fmt::Debug for Store<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { schema, paths, .. } = self;
        f.debug_struct("Store").field("schema", schema).field("paths", paths).finish_non_exhaustive()
    }
}

impl<'a> Store<'a> {
    /// Returns a store on `disk` for the config of the app with this schema. With the schema of
    /// one app over the paths of another, each operation on the config fails
    /// ([`StoreError::NoSchema`]): a repair would write the keys of one app into the config of the
    /// other.
    pub fn new(
        disk: &'a dyn Disk,
        clock: &'a dyn Clock,
        paths: StorePaths,
        schema: &'a dyn AppSchema,
    ) -> Self {
        let disk = Reader::Unlocked(disk);
        let is_apps = schema.app_name() == paths.app.name;
        let keeps_config = is_apps && schema.is_myownllm() == (paths.app.name == MYOWNLLM.name);
        let (sweeps_daemon_home, limits) = (false, Limits::default());
        Self { disk, clock, schema, keeps_config, sweeps_daemon_home, paths, limits }
    }

    /// Returns a store for an app that gives no schema. The store neither reads nor writes the
    /// app's config, and refuses an edit. It still replaces stale paths in the daemon's config.
    pub fn without_config(disk: &'a dyn Disk, clock: &'a dyn Clock, paths: StorePaths) -> Self {
        Self { keeps_config: false, ..Self::new(disk, clock, paths, &NoSchema) }
    }

    /// Returns the store with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the store that counts the leftovers of killed runs in the daemon home as pending.
    /// Only a change of the daemon's config leaves them there, and a start does not pay for the
    /// look.
    #[must_use]
    pub fn sweeping_daemon_home(self) -> Self {
        Self { sweeps_daemon_home: true, ..self }
    }

    /// Fails if the app gives no schema of its own.
    pub(crate) fn ensure_keeps_config(&self) -> Result<(), StoreError> {
        match self.keeps_config {
            true => Ok(()),
            false => {
                let (path, app) = (self.paths.app_config.clone(), self.paths.app.name.clone().into_owned());
                Err(StoreError::NoSchema { path, app })
            }
        }
    }

    pub(crate) fn repair_pending(&self) -> StoreError {
        StoreError::RepairPending { path: self.paths.app_config.clone(), program: self.paths.program.clone() }
    }

    pub(crate) fn diagnostic(&self, code: &'static str, severity: Severity, message: String) -> Diagnostic {
        Diagnostic::new(code, severity, self.paths.app_config.as_str(), message)
    }

    pub(crate) fn warning(&self, code: &'static str, message: String) -> Diagnostic {
        self.diagnostic(code, Severity::Warning, message)
    }

    pub(crate) fn shape_of(&self, bytes: &[u8]) -> FileShape {
        Document::parse(bytes).map_or(FileShape::Corrupt, |parsed| self.schema.shape(&parsed.document).into())
    }

    /// Returns true if a daemon wrote the document, or a part of it.
    pub(crate) fn has_daemon_half(&self, document: &Document) -> bool {
        matches!(self.schema.shape(document), Shape::Daemon | Shape::Mixed)
    }

    pub(crate) fn parse_app_config(&self, bytes: &[u8]) -> Option<Document> {
        let document = Document::parse(bytes).ok()?.document;
        (self.schema.shape(&document) == Shape::App).then_some(document)
    }

    pub(crate) fn live_bytes(&self) -> Option<Vec<u8>> {
        self.read(&self.paths.app_config).ok()
    }

    pub(crate) fn is_the_config(&self, bytes: &[u8]) -> bool {
        self.disk.content_eq(self.paths.app_config.as_ref(), bytes).unwrap_or(false)
    }

    pub(crate) fn canonical(&self, path: &Utf8Path) -> Option<PathBuf> {
        self.disk.canonicalize(path.as_ref()).ok()
    }

    /// Returns the target of a symlink; `None` for any other entry, and for a broken symlink.
    pub(crate) fn symlink_target(&self, path: &Utf8Path) -> Option<PathBuf> {
        self.disk.stat(path.as_ref()).ok().filter(Metadata::is_symlink).and_then(|_| self.canonical(path))
    }
}

/// The store under the lock of the app's home.
pub(crate) struct Locked<'s> {
    /// The store, which reads through the lock.
    pub(crate) store: Store<'s>,
    pub(crate) dir: Arc<LockedDir>,
}

impl<'s> Deref for Locked<'s> {
    type Target = Store<'s>;

    fn deref(&self) -> &Store<'s> {
        &self.store
    }
}

impl Locked<'_> {
    /// Returns the owner of the app's home, to whom new files belong.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.disk.stat_follow(self.paths.app_home.as_ref()).ok().and_then(|meta| meta.owner)
    }

    /// Creates a new file. The file belongs to the owner of the home if the process may give it
    /// away (only root may).
    pub(crate) fn publish(&self, path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), DiskError> {
        match publish_new(&self.dir, path.as_ref(), bytes, mode, self.owner()) {
            // Retries only this refusal: after any other error the file may exist already.
            Err(error) if error.is_about_the_owner() => {
                publish_new(&self.dir, path.as_ref(), bytes, mode, None)
            }
            published => published,
        }
    }

    /// Syncs the config and its directory. A config that is recorded as good, or reported as in
    /// place, must survive a power cut, and its writer (another program, or a killed run) may not
    /// have synced it. A missing config is not an error.
    pub(crate) fn sync_config(&self) -> Result<(), StoreError> {
        let path = &self.paths.app_config;
        let sync = || {
            let real = match self.dir.admit_target(path.as_ref()) {
                Err(error) if error.is_not_found() => return Ok(()),
                real => real?,
            };
            self.dir.sync_file(&real)?;
            self.dir.sync_dir(real.parent().unwrap_or(&real))
        };
        sync().map_err(StoreError::disk("flush the config", path))
    }
}

pub(crate) fn warning_at(
    path: impl AsRef<Path>,
    code: &'static str,
    message: String,
    hint: Option<String>,
) -> Diagnostic {
    let path = path.as_ref().to_string_lossy();
    Diagnostic { hint, ..Diagnostic::new(code, Severity::Warning, path, message) }
}

pub(crate) fn file_name(path: impl AsRef<Path>) -> String {
    path.as_ref().file_name().map(OsStr::to_string_lossy).unwrap_or_default().into_owned()
}

pub(crate) fn with_suffix(path: &Utf8Path, suffix: &str) -> Utf8PathBuf {
    format!("{path}{suffix}").into()
}
