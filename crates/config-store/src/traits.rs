//! The operations of a store, without and with the lock of the app's home.

use std::path::Path;
use std::time::Duration;

use myownllm_config_model::{Document, Ids};
use myownllm_durable_fs::{LockError, LockedDir};
use myownllm_salvage::{AppSchema, Rebased};

use crate::{
    Accepted, Applied, BackupId, HistoryEntry, Loaded, Misplaced, Restored, SetAside, StoreError, Updated,
};

/// A caller's error in an edit. It becomes the source of [`StoreError::Edit`].
pub type EditError = Box<dyn std::error::Error + Send + Sync>;

/// The entry point of the crate: the app's config on disk.
///
/// [`Store`](crate::Store) is a JSON file with backups. An app that keeps its config in another way
/// implements this trait and [`LockedStore`].
pub trait ConfigStore: Send + Sync {
    /// Reads the config, repairs and completes it in memory, and lists the steps to write it.
    /// Writes nothing, takes no lock.
    ///
    /// # Errors
    /// Fails if the file exists and its content cannot be determined: [`StoreError::Unreadable`],
    /// [`NotRegular`](StoreError::NotRegular), [`TooLarge`](StoreError::TooLarge),
    /// [`Unstable`](StoreError::Unstable); or if a repair needs a backup directory that cannot be
    /// read. [`fallback`](Self::fallback) then returns a config to run on.
    fn load(&self, ids: &mut dyn Ids) -> Result<Loaded, StoreError>;

    /// Returns a config to run on after [`load`](Self::load) failed: the readable part of the file
    /// (a repair that lacks its backups is made in memory), else the last good backup, else the
    /// defaults. Nothing is pending: the config must never be written.
    fn fallback(&self, ids: &mut dyn Ids) -> Loaded;

    /// Creates the app's home if it is missing, so that it can be locked.
    ///
    /// # Errors
    /// [`StoreError::NoHome`], [`StoreError::Untrusted`], [`StoreError::Disk`].
    fn ensure_home(&self) -> Result<(), StoreError>;

    /// Returns the paths in the daemon's own config that lead to the old location of the daemon's
    /// files, with the new paths: a repair that ran before the move could not know them. A move is
    /// about to bring a file to each path for which `arrives` returns true: paths to these files in
    /// the app's config `app` are returned too. Writes nothing.
    fn stale_paths(&self, app: &Document, arrives: &dyn Fn(&Path) -> bool) -> Vec<Rebased>;

    /// Returns the file in the place of the daemon's config if it is not, or not only, the
    /// daemon's: a daemon would drop its other keys. Returns `None` for a file that cannot be read.
    /// Writes nothing.
    fn misplaced(&self) -> Option<Misplaced>;

    /// Returns all backups, the newest first.
    ///
    /// # Errors
    /// Fails if the backup directory exists and cannot be read.
    fn history(&self) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Checks that another backup can be kept, as far as a look shows. Writes nothing.
    ///
    /// # Errors
    /// Fails as a change that needs a backup would.
    fn check_backups(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Checks that the pending steps of a [`load`](Self::load) can be carried out, as far as a look
    /// shows. Writes nothing.
    ///
    /// # Errors
    /// Fails as [`LockedStore::apply`] would.
    fn check_apply(&self, _loaded: &Loaded) -> Result<(), StoreError> {
        Ok(())
    }

    /// Returns the schema of the app's config; `None` if the app gives none. Then neither the
    /// config nor the networks of a daemon are changed.
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
    /// change files. A process that holds the lock already waits in vain, as for another process:
    /// it uses [`LockedStore::home_lock`].
    ///
    /// # Errors
    /// Fails if another process holds the lock for the whole wait, or if it cannot be taken.
    fn lock(&self, wait: Duration) -> Result<Box<dyn LockedStore + '_>, LockError>;
}

/// A [`ConfigStore`] that holds the lock of the app's home until it is dropped.
///
/// Without the lock nothing can be changed:
///
/// ```compile_fail
/// use myownllm_config_model::SeededIds;
/// use myownllm_config_store::{ConfigStore, LockedStore};
///
/// fn repair(store: &dyn ConfigStore) {
///     let _ = store.apply(&mut SeededIds::new(0, 0)); // wanted: store.lock(wait)?.apply(…)
/// }
/// ```
pub trait LockedStore {
    /// Returns the lock, for other changes of the home under the same lock.
    fn home_lock(&self) -> &LockedDir;

    /// Syncs the config and its directory. A command that finds its change already made calls this:
    /// the killed run, or the other program, that made the change may not have synced it. Writes
    /// nothing.
    ///
    /// # Errors
    /// [`StoreError::Disk`]. A missing config is not an error.
    fn ensure_durable(&self) -> Result<(), StoreError>;

    /// Reads the config again, under the lock, and carries out the pending steps, in this order:
    /// the backup of the previous file, the daemon's part, the config, the routine backup. Each
    /// step is on the disk before the next starts, and a run after a killed one finds the completed
    /// steps done. Call it while no daemon runs in the app's home: the daemon would write its
    /// config over the repaired one. `repair_config` of the crate `myownllm-launch` looks for such
    /// a daemon first.
    ///
    /// # Errors
    /// Any. The completed steps stay, and the next run continues from there.
    fn apply(&self, ids: &mut dyn Ids) -> Result<Applied, StoreError>;

    /// Reads the config, calls `edit` to change it, and saves a changed config. `edit` returns
    /// whether it changed anything:
    /// [`SetOutcome::changed`](myownllm_config_model::SetOutcome::changed) does, and fails where
    /// the config cannot hold the value. `edit` may be called again, on the content that another
    /// program wrote meanwhile. An unchanged config is synced: a killed run may have made the same
    /// change without syncing it.
    ///
    /// # Errors
    /// [`StoreError::Edit`] with the caller's error; [`RepairPending`](StoreError::RepairPending)
    /// if the config needs a repair; [`Newer`](StoreError::Newer);
    /// [`Conflict`](StoreError::Conflict); and the errors of reading and writing.
    fn update(
        &self,
        ids: &mut dyn Ids,
        edit: &mut dyn FnMut(&mut Document) -> Result<bool, EditError>,
    ) -> Result<Updated, StoreError>;

    /// Replaces the paths in the daemon's config that lead to the old location of the daemon's
    /// files: a repair that ran before the move could not know the new ones. Call it while no
    /// daemon runs, because a daemon keeps its config in memory. The previous config becomes a
    /// backup first.
    ///
    /// # Errors
    /// The errors of writing; [`StoreError::Conflict`] if another program wrote the config
    /// meanwhile.
    fn rebase_daemon_config(&self) -> Result<Vec<Rebased>, StoreError>;

    /// Makes a backup of a [misplaced](ConfigStore::misplaced) file, and leaves the file in
    /// its place. Call it while a daemon runs: the daemon keeps its config in memory and writes it
    /// over the file.
    ///
    /// # Errors
    /// The errors of writing a backup.
    fn keep_misplaced(&self) -> Result<Option<SetAside>, StoreError>;

    /// Makes a backup of a [misplaced](ConfigStore::misplaced) file, and removes the file
    /// from its place. Call it while no daemon runs. The daemon's own part stays in the place;
    /// without one, the newest daemon's half among the backups takes the place, if there is one.
    ///
    /// # Errors
    /// The errors of writing; [`StoreError::Shared`] if a symlink makes the file the app's config
    /// as well.
    fn set_misplaced_aside(&self) -> Result<Option<SetAside>, StoreError>;

    /// Makes a backup of the daemon's config if the config has
    /// [settings that a daemon may drop](myownllm_config_model::droppable_settings) and no backup
    /// has them. Call it before a daemon starts. Returns the backup and the JSON Pointers of these
    /// settings.
    ///
    /// # Errors
    /// The errors of writing a backup.
    fn keep_droppable(&self) -> Result<Option<(BackupId, Vec<String>)>, StoreError>;

    /// Makes a backup of networks of a daemon that the config does not keep, before the daemon
    /// leaves them. A restore of the backup [as it is](Self::restore_as_is), and the repair after
    /// it, bring the networks back to the config.
    ///
    /// # Errors
    /// The errors of writing a backup.
    fn keep_networks(&self, networks: &[serde_json::Value]) -> Result<BackupId, StoreError>;

    /// Records the current config as the newest good backup. A user who intends a loss that
    /// [`load`](ConfigStore::load) reports ([`Report::wiped`](crate::Report)) calls this
    /// once. Saving an edit, and restoring a backup, record the same.
    ///
    /// # Errors
    /// [`StoreError::RepairPending`] if the config is not the app's; the errors of reading and of
    /// writing a backup.
    fn accept(&self) -> Result<Accepted, StoreError>;

    /// Puts a backup in the config's place. The current config becomes a backup first, so a restore
    /// can be undone. From a backup that is not JSON, restores the complete part: a document with
    /// trailing bytes, a text whose typing errors can be corrected, or the members before the place
    /// where the text breaks off, which are put into the current config.
    ///
    /// # Errors
    /// [`StoreError::BadBackup`] if the backup is not intact or not of the app's shape;
    /// [`StoreError::TornBackup`] if it has no complete member.
    fn restore(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError>;

    /// [`restore`](Self::restore) for a backup of any shape: undoes a change of a config that was
    /// not sound before. The next launch repairs the config.
    ///
    /// # Errors
    /// [`StoreError::BadBackup`] if the backup is not intact, or is the daemon's half.
    fn restore_as_is(&self, ids: &mut dyn Ids, id: &BackupId) -> Result<Restored, StoreError>;
}
