use myownllm_config_model::{Document, Ids};
use myownllm_durable_fs::{Disk, HomeLock};
use myownllm_salvage::{ConfigSalvager, Salvager};

use crate::{Applied, Clock, CopyId, HistoryEntry, Limits, Loaded, Places, Restored, StoreError, Updated};

/// A caller's error in an edit; comes back as the source of [`StoreError::Edit`].
pub type EditError = Box<dyn std::error::Error + Send + Sync>;

/// The front door: the app's config on disk.
pub trait ConfigStore {
    /// Reads the config, repairs and completes it in memory, and says what is to be written. Writes nothing, takes no lock.
    ///
    /// # Errors
    /// Only when the file is there and cannot be told: [`StoreError::Unreadable`], [`NotRegular`](StoreError::NotRegular),
    /// [`TooLarge`](StoreError::TooLarge), [`Unstable`](StoreError::Unstable), or a folder of copies that cannot be read
    /// while a repair depends on it. [`stand_in`](Self::stand_in) gives something to run on then.
    fn look(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError>;

    /// A config to run on when [`look`](Self::look) failed: the last known good copy, else the defaults. Nothing is
    /// pending: it is never to be written.
    fn stand_in(&self, ids: &mut dyn Ids) -> Loaded;

    /// Makes the app's home when it is missing, so that it can be locked.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::Disk`].
    fn ensure_home(&self) -> Result<(), StoreError>;

    /// Looks again, under the lock, and does what is pending. The order is: the copy of the former file, the daemon's half,
    /// the config, the routine copy; each is on the disk before the next begins, and each is found done when a killed run is
    /// run again.
    ///
    /// # Errors
    /// Any; what is done so far stays, and the next run goes on from there.
    fn apply(&self, lock: &HomeLock, ids: &mut dyn Ids) -> Result<Applied, StoreError>;

    /// Reads the config, has `edit` change it, and saves it when it changed. `edit` says whether it changed anything, and may
    /// be called again, on what somebody else wrote meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Edit`] with the caller's error; [`RepairPending`](StoreError::RepairPending) for a config that needs a
    /// repair; [`Newer`](StoreError::Newer); [`Conflict`](StoreError::Conflict); and those of reading and writing.
    fn update(
        &self,
        lock: &HomeLock,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError>;

    /// All copies, the newest first.
    ///
    /// # Errors
    /// When the folder of copies is there and cannot be read.
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError>;

    /// The copy that `name` stands for: its whole id, its sequence number, or the beginning of its hash (at least 4 digits).
    ///
    /// # Errors
    /// [`StoreError::NoSuchCopy`].
    fn find_copy(&self, name: &str) -> Result<CopyId, StoreError>;

    /// The bytes of a copy.
    ///
    /// # Errors
    /// [`StoreError::NoSuchCopy`], or that of reading it.
    fn read_copy(&self, id: &CopyId) -> Result<Vec<u8>, StoreError>;

    /// Puts a copy in the config's place. What is there is among the copies first, so this can be undone.
    ///
    /// # Errors
    /// [`StoreError::BadCopy`] for one that is not intact or not of the app's shape.
    fn restore(&self, lock: &HomeLock, ids: &mut dyn Ids, id: &CopyId) -> Result<Restored, StoreError>;
}

/// The store of this crate.
pub struct Store<'a> {
    disk: &'a dyn Disk,
    clock: &'a dyn Clock,
    salvager: &'a dyn ConfigSalvager,
    places: Places,
    limits: Limits,
}

impl<'a> Store<'a> {
    /// A store on that disk, with the crate's own salvager and limits.
    #[must_use]
    pub fn new(disk: &'a dyn Disk, clock: &'a dyn Clock, places: Places) -> Self {
        Self { disk, clock, salvager: &Salvager, places, limits: Limits::default() }
    }

    /// The same with another repair.
    #[must_use]
    pub fn with_salvager(mut self, salvager: &'a dyn ConfigSalvager) -> Self {
        self.salvager = salvager;
        self
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The paths that it works on.
    #[must_use]
    pub fn places(&self) -> &Places {
        &self.places
    }
}

impl ConfigStore for Store<'_> {
    fn look(&self, _: &mut dyn Ids) -> Result<Loaded, StoreError> {
        let _ = (self.disk, self.clock, self.salvager, self.limits);
        todo!()
    }
    fn stand_in(&self, _: &mut dyn Ids) -> Loaded {
        todo!()
    }
    fn ensure_home(&self) -> Result<(), StoreError> {
        todo!()
    }
    fn apply(&self, _: &HomeLock, _: &mut dyn Ids) -> Result<Applied, StoreError> {
        todo!()
    }
    fn update(
        &self,
        _: &HomeLock,
        _: &mut dyn Ids,
        _: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError> {
        todo!()
    }
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError> {
        todo!()
    }
    fn find_copy(&self, _: &str) -> Result<CopyId, StoreError> {
        todo!()
    }
    fn read_copy(&self, _: &CopyId) -> Result<Vec<u8>, StoreError> {
        todo!()
    }
    fn restore(&self, _: &HomeLock, _: &mut dyn Ids, _: &CopyId) -> Result<Restored, StoreError> {
        todo!()
    }
}
