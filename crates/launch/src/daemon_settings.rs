//! Puts back the settings that only a daemon has for a network, before a daemon joins it: an older
//! version of the app drops them from the config, and a network that is removed takes them along.

use myownllm_config_model::{Document, Ids, networks};
use myownllm_config_store::{BackupId, ConfigStore, LockedStore, StoreError};

use crate::diagnostic::unless_failed;

/// Gives the saved networks the settings that only a daemon had for them, from the newest backup
/// that has some, if the config has none for the active one: without them, a silent network would be
/// joined as one that announces itself. Returns the backup.
/// Fails if a backup cannot be read: it may hold these settings.
pub(crate) fn restore_daemon_settings(
    (store, document): (&dyn ConfigStore, &mut Document),
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
) -> Result<Option<BackupId>, StoreError> {
    let Some(schema) = store.schema() else { return Ok(None) };
    for (id, former) in former_configs(store, document)? {
        let mut edit = |config: &mut Document| Ok(schema.restore_networks(config, &former));
        if schema.restore_networks(&mut document.clone(), &former)
            && let Some(applied) = unless_failed(lock.update(ids, &mut edit), "the edit of the config")
        {
            *document = applied.document;
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// Returns the configs of the backups, the newest first; none if the config itself says how a daemon
/// announces the active network.
/// Fails if a backup cannot be read.
pub(crate) fn former_configs(
    store: &dyn ConfigStore,
    document: &Document,
) -> Result<Vec<(BackupId, Document)>, StoreError> {
    if !networks::active(document).is_some_and(networks::lacks_signaling_settings) {
        return Ok(Vec::new());
    }
    let backups = store.history()?.into_iter().filter(|backup| backup.intact || !backup.readable);
    let read = backups.map(|backup| Ok((store.read_backup(&backup.id)?, backup.id)));
    let read: Vec<(Vec<u8>, BackupId)> = read.collect::<Result<_, StoreError>>()?;
    Ok(read
        .into_iter()
        .filter_map(|(bytes, id)| Some((id, Document::parse(&bytes).ok()?.document)))
        .collect())
}
