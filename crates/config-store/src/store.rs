use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use myownllm_config_model::app_config::OwnSettings;
use myownllm_config_model::{Diagnostic, Document, Ids, Severity};
use myownllm_durable_fs::{
    Disk, LockError, LockedDir, Permissions, SYNC_UNCONFIRMED, quote, sync_unconfirmed_message,
};
use myownllm_salvage::{AppSchema, NoSchema, Rebased, Shape};

use crate::backups::hash;
use crate::locked::Locked;
use crate::read::ConfigFile;
use crate::wipe::recommend;
use crate::{
    BackupId, BackupKind, Clock, FileShape, HistoryEntry, Limits, Loaded, LockedStore, Misplaced, Pending,
    StoreError, StorePaths,
};

/// A caller's error in an edit. It becomes the source of [`StoreError::Edit`].
pub type EditError = Box<dyn std::error::Error + Send + Sync>;

/// The entry point of the crate: the app's config on disk.
pub trait ConfigStore {
    /// Reads the config, repairs and completes it in memory, and lists the steps to write it.
    /// Writes nothing, takes no lock.
    ///
    /// # Errors
    /// Fails if the file exists and its content cannot be determined: [`StoreError::Unreadable`],
    /// [`NotRegular`](StoreError::NotRegular), [`TooLarge`](StoreError::TooLarge),
    /// [`Unstable`](StoreError::Unstable); or if a repair needs a backup directory that cannot be
    /// read. [`fallback`](Self::stand_in) then returns a config to run on.
    fn load(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError>;

    /// Returns a config to run on after [`load`](Self::look) failed: the file's own as far as the
    /// file can be read (a repair that lacks its backups is made in memory), else the last good
    /// backup, else the defaults. Nothing is pending: the config must never be written.
    fn fallback(&self, ids: &mut dyn Ids) -> Loaded;

    /// Creates the app's home if it is missing, so that it can be locked.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::Untrusted`], [`StoreError::Disk`].
    fn ensure_home(&self) -> Result<(), StoreError>;

    /// Returns the paths in the daemon's own config that lead to the old location of the daemon's
    /// files, with the new paths: a repair that ran before the move could not know them. Writes
    /// nothing.
    fn stale_paths(&self) -> Vec<Rebased>;

    /// Returns the file in the place of the daemon's config if it is not, or not only, the
    /// daemon's: a daemon would drop its other keys. Returns `None` for a file that cannot be read.
    /// Writes nothing.
    fn misplaced(&self) -> Option<Misplaced>;

    /// Returns all backups, the newest first.
    ///
    /// # Errors
    /// Fails if the backup directory exists and cannot be read.
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Returns the schema of the app's config; `None` if the app gives none. Then neither the config
    /// nor the networks of a daemon are changed.
    fn schema(&self) -> Option<&dyn AppSchema> {
        None
    }

    /// Returns the backup that `name` stands for: its whole id, its sequence number, or the start
    /// of its hash (at least 4 digits). If no backup has that id any more, returns one of the same
    /// content.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBackup`].
    fn find_backup(&self, name: &str) -> Result<BackupId, StoreError>;

    /// Returns the bytes of a backup.
    ///
    /// # Errors
    /// [`StoreError::NoSuchBackup`], or the error of the read.
    fn read_backup(&self, id: &BackupId) -> Result<Vec<u8>, StoreError>;

    /// Takes the lock of the app's home, and waits at most `wait` for it. Only the locked store can
    /// change files.
    ///
    /// # Errors
    /// Fails if another process holds the lock for the whole wait, or if it cannot be taken.
    fn lock(&self, wait: Duration) -> Result<Box<dyn LockedStore + '_>, LockError>;
}

/// The disk that a store reads. A locked store reads through its lock: on Unix the lock reaches
/// everything below the app's home by handles, so nobody can swap a directory between a look and
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

/// The implementation of [`ConfigStore`].
#[derive(Clone)]
pub struct Store<'a> {
    pub(crate) disk: Reader<'a>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) schema: &'a dyn AppSchema,
    /// False if the app gives no schema.
    pub(crate) keeps_config: bool,
    pub(crate) paths: StorePaths,
    pub(crate) limits: Limits,
}

impl<'a> Store<'a> {
    /// Returns a store on `disk` for the config of the app with this schema.
    #[must_use]
    pub fn new(
        disk: &'a dyn Disk,
        clock: &'a dyn Clock,
        paths: StorePaths,
        schema: &'a dyn AppSchema,
    ) -> Self {
        let disk = Reader::Unlocked(disk);
        Self { disk, clock, schema, keeps_config: true, paths, limits: Limits::default() }
    }

    /// Returns a store for an app that gives no schema. The store neither reads nor writes the app's
    /// config, and refuses an edit. It still replaces stale paths in the daemon's config.
    #[must_use]
    pub fn without_config(disk: &'a dyn Disk, clock: &'a dyn Clock, paths: StorePaths) -> Self {
        Self { keeps_config: false, ..Self::new(disk, clock, paths, &NoSchema) }
    }

    /// Returns the store with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Returns the paths that the store works on.
    #[must_use]
    pub fn paths(&self) -> &StorePaths {
        &self.paths
    }
}

impl ConfigStore for Store<'_> {
    fn load(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError> {
        let loaded = self.plan(ids).map(|plan| plan.loaded)?;
        tracing::debug!(shape = ?loaded.shape, pending = loaded.pending.steps.len(), "looked at the config");
        Ok(loaded)
    }

    fn fallback(&self, ids: &mut dyn Ids) -> Loaded {
        self.fallback_plan(ids)
    }

    fn schema(&self) -> Option<&dyn AppSchema> {
        self.keeps_config.then_some(self.schema)
    }

    fn ensure_home(&self) -> Result<(), StoreError> {
        let StorePaths { user_home, app_home, .. } = &self.paths;
        if self.check_trust()?.exists {
            return Ok(());
        }
        let owner = match self.disk.stat_follow(user_home) {
            Ok(meta) => meta.owner,
            Err(error) if error.is_not_found() => return Err(StoreError::NoHome { path: user_home.clone() }),
            Err(source) => {
                return Err(StoreError::Disk {
                    doing: "look at the user's home",
                    path: user_home.clone(),
                    source,
                });
            }
        };
        self.disk.make_home_dir(user_home, app_home, owner).map_err(|source| StoreError::Disk {
            doing: "make the app's home",
            path: app_home.clone(),
            source,
        })
    }

    fn stale_paths(&self) -> Vec<Rebased> {
        self.find_stale_paths()
    }

    fn lock(&self, wait: Duration) -> Result<Box<dyn LockedStore + '_>, LockError> {
        let dir = Arc::new(self.disk.lock(&self.paths.app_home, wait)?);
        Ok(Box::new(Locked { store: Self { disk: Reader::Locked(dir.clone()), ..self.clone() }, dir }))
    }

    fn misplaced(&self) -> Option<Misplaced> {
        self.find_misplaced()
    }

    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        let backups = self.backups();
        let listing = backups.list().map_err(|e| self.listing_failed(e))?;
        let live = self.disk.read(&self.paths.config, self.limits.config_bytes).ok().map(|b| hash(&b));
        let (mut entries, mut measured) = (Vec::new(), Vec::new());
        for id in listing.backups.iter().rev() {
            let path = backups.path(id);
            let meta = match self.disk.stat(&path) {
                Ok(meta) => meta,
                Err(error) if error.is_not_found() => continue,
                Err(error) => return Err(self.listing_failed(error)),
            };
            let (shape, intact, recoverable, own) = match backups.read(id) {
                Ok((bytes, true)) => {
                    let shape = self.shape_of(&bytes);
                    let recoverable = shape == FileShape::Corrupt && self.is_recoverable(&bytes);
                    (shape, true, recoverable, self.own_settings_of(id, &bytes))
                }
                _ => (FileShape::Corrupt, false, false, None),
            };
            let stamp = meta.modified;
            let made_ms = u64::try_from(stamp.seconds).unwrap_or(0).saturating_mul(1000)
                + u64::from(stamp.nanoseconds / 1_000_000);
            entries.push(HistoryEntry {
                current: intact && live.as_deref() == Some(id.hash()),
                kind: id.kind(),
                id: id.clone(),
                bytes: meta.len,
                made_ms,
                shape,
                intact,
                settings: own.as_ref().map(OwnSettings::count),
                recommended: false,
                recoverable,
                path,
            });
            measured.push(own);
        }
        recommend(&mut entries, &measured);
        Ok(entries)
    }

    fn find_backup(&self, name: &str) -> Result<BackupId, StoreError> {
        let listing = self.backups().list().map_err(|e| self.listing_failed(e))?;
        let wanted = name.strip_suffix(".json").unwrap_or(name);
        let none = |several| StoreError::NoSuchBackup {
            path: self.paths.backups.clone(),
            id: name.to_owned(),
            several,
            program: self.paths.program.clone(),
        };
        let by_number = || wanted.parse::<u64>().ok().filter(|_| wanted.len() <= 12);
        // A removed backup whose content came back: a newer backup has it.
        let of_old = wanted.parse::<BackupId>().ok();
        let rules: [&dyn Fn(&BackupId) -> bool; 4] = [
            &|id| id.to_string() == wanted,
            &|id| by_number() == Some(id.sequence),
            &|id| wanted.len() >= 4 && id.hash.starts_with(wanted),
            &|id| of_old.as_ref().is_some_and(|old| old.hash == id.hash),
        ];
        for rule in rules {
            let mut found = listing.backups.iter().filter(|id| rule(id));
            if let Some(id) = found.next() {
                // Several backups of one content count as one: the newest.
                let same = found.clone().all(|other| other.hash == id.hash);
                return if same { Ok(found.last().unwrap_or(id).clone()) } else { Err(none(true)) };
            }
        }
        Err(none(false))
    }

    fn read_backup(&self, id: &BackupId) -> Result<Vec<u8>, StoreError> {
        let backups = self.backups();
        let path = backups.path(id);
        match backups.read(id) {
            Ok((bytes, true)) => Ok(bytes),
            Ok((_, false)) => {
                Err(StoreError::BadBackup { path, why: "its bytes are not those that its name says" })
            }
            Err(error) if error.is_not_found() => Err(StoreError::NoSuchBackup {
                path: self.paths.backups.clone(),
                id: id.to_string(),
                several: false,
                program: self.paths.program.clone(),
            }),
            Err(source) => Err(StoreError::Disk { doing: "read the backup", path, source }),
        }
    }
}

impl Store<'_> {
    /// Adds the warnings that belong to a completed save.
    pub(crate) fn add_save_warnings(
        &self,
        unseen_possible: bool,
        rights: Permissions,
        diagnostics: &mut Vec<Diagnostic>,
    ) {
        if rights == Permissions::Narrowed {
            let narrowed = self.diagnostic(
                "store.rights-narrowed",
                Severity::Warning,
                "others could use the config by its group or its access list, which the new file could not \
                    be given: \
                 they cannot any more"
                    .to_owned(),
            );
            let hint = Some(format!("getfacl {}", quote(&self.paths.config)));
            diagnostics.push(Diagnostic { hint, ..narrowed });
        }
        if unseen_possible {
            diagnostics.push(
                self.diagnostic(
                    "store.no-exchange",
                    Severity::Warning,
                    "this file system cannot exchange two files, so a write of another program in the last \
                    microseconds before \
                 ours would have gone unseen"
                        .to_owned(),
                ),
            );
        }
        let config = &self.paths.config;
        if !self.disk.confirms_sync(config) {
            let unconfirmed =
                self.diagnostic(SYNC_UNCONFIRMED, Severity::Warning, sync_unconfirmed_message(config));
            let hint = Some(format!("findmnt --target {}", quote(config)));
            diagnostics.push(Diagnostic { hint, ..unconfirmed });
        }
    }

    fn fallback_plan(&self, ids: &mut dyn Ids) -> Loaded {
        let plan = self.plan_without_backups(ids).unwrap_or_else(|| {
            let mut diagnostics = Vec::new();
            let (source, _) = self.readable_source(&self.backups().list(), &mut diagnostics);
            let mut plan = self.complete_source(source, FileShape::Unknown, diagnostics, ids);
            // Nothing is known about the file, so no setting in it is known to be lost.
            plan.loaded.report.reset_keys.clear();
            plan
        });
        Loaded { pending: Pending::default(), ..plan.loaded }
    }

    /// Returns the config that a backup holds, and the bytes to write. With `as_is`, returns the
    /// backup's own bytes, whatever their shape.
    pub(crate) fn restorable(
        &self,
        id: &BackupId,
        ids: &mut dyn Ids,
        as_is: bool,
    ) -> Result<(Document, Vec<u8>, Vec<Diagnostic>), StoreError> {
        let bytes = self.read_backup(id)?;
        let path = self.backups().path(id);
        let is_daemons = matches!(self.shape_of(&bytes), FileShape::Daemon | FileShape::Mixed);
        if id.kind == BackupKind::DaemonPart || (is_daemons && !as_is) {
            return Err(StoreError::BadBackup { path, why: "it is not a config of the app's" });
        }
        match Document::parse(&bytes) {
            Ok(parsed) => Ok((parsed.document, bytes, Vec::new())),
            Err(_) if as_is => Ok((Document::empty(), bytes, Vec::new())),
            Err(error) => {
                let found = self.recover_backup(&bytes, ids);
                let (document, diagnostic) = found.ok_or(StoreError::TornBackup { path, error })?;
                let bytes = document.to_bytes();
                Ok((document, bytes, vec![diagnostic]))
            }
        }
    }

    /// Returns whether a file, or the complete part of a file that is not JSON, has the daemon's
    /// shape.
    pub(crate) fn has_daemon_half(&self, file: &ConfigFile) -> bool {
        let is_daemons = |read: &Document| matches!(self.schema.shape(read), Shape::Daemon | Shape::Mixed);
        match file {
            ConfigFile::Missing => false,
            ConfigFile::Json { document, .. } => is_daemons(document),
            ConfigFile::Corrupt { bytes, .. } => {
                self.recover_config(bytes).is_some_and(|found| is_daemons(&found.document))
            }
        }
    }

    /// Fails if the app gives no schema.
    pub(crate) fn ensure_keeps_config(&self) -> Result<(), StoreError> {
        match self.keeps_config {
            true => Ok(()),
            false => Err(StoreError::NoSchema { path: self.paths.config.clone() }),
        }
    }

    pub(crate) fn repair_pending(&self) -> StoreError {
        StoreError::RepairPending { path: self.paths.config.clone(), program: self.paths.program.clone() }
    }

    pub(crate) fn shape_of(&self, bytes: &[u8]) -> FileShape {
        Document::parse(bytes).map_or(FileShape::Corrupt, |parsed| self.schema.shape(&parsed.document).into())
    }

    fn listing_failed(&self, source: myownllm_durable_fs::DiskError) -> StoreError {
        StoreError::at_backups("list the backups in", &self.paths.backups, source)
    }
}
