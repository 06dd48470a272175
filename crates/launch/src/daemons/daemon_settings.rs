//! Puts back the settings that only a daemon has for a network, before a daemon joins it: an older
//! version of the app drops them from the config, and a network that is removed takes them along.

use myownllm_config_model::{Document, Ids, networks};
use myownllm_config_store::{BackupId, ConfigStore, LockedStore, StoreError};

use crate::words::network_id_of;

/// Gives the active network the settings that only a daemon had for it, from the backups, if the
/// config does not say how a daemon announces it: without them, a silent network would be joined as
/// one that announces itself. A newer backup wins. Returns the last backup that was used.
/// Fails if a backup cannot be read that may hold these settings.
pub(crate) fn former_settings(
    store: &dyn ConfigStore,
    document: &mut Document,
) -> Result<Option<BackupId>, StoreError> {
    let Some(schema) = store.schema() else { return Ok(None) };
    let lacking = |document: &Document| {
        networks::active(document)
            .filter(|active| networks::lacks_signaling_settings(*active))
            .and_then(network_id_of)
    };
    let Some(id) = lacking(document) else { return Ok(None) };
    let mut used = None;
    for backup in store.history()?.into_iter().filter(|backup| backup.intact || !backup.readable) {
        let bytes = store.read_backup(&backup.id)?;
        let former = Document::parse(&bytes).map(|parsed| parsed.document);
        if former.is_ok_and(|former| schema.restore_networks(document, &former, Some(&id))) {
            used = Some(backup.id);
        }
        if lacking(document).is_none() {
            break;
        }
    }
    Ok(used)
}

/// Does what [`former_settings`] does, in the config on the disk as well. If that cannot be written,
/// the daemon gets the settings all the same.
pub(crate) fn restore_daemon_settings(
    (store, document): (&dyn ConfigStore, &mut Document),
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
) -> Result<Option<BackupId>, StoreError> {
    let Some(backup) = former_settings(store, document)? else { return Ok(None) };
    let restored = document.clone();
    let id = networks::active(&restored).and_then(network_id_of);
    let mut edit = |config: &mut Document| {
        Ok(store.schema().is_some_and(|schema| schema.restore_networks(config, &restored, id.as_deref())))
    };
    match lock.update(ids, &mut edit) {
        Ok(applied) => *document = applied.document,
        Err(error) => tracing::warn!(%error, "the settings of a network are not in the config"),
    }
    Ok(Some(backup))
}
