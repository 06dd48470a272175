//! Puts back the settings that only a daemon has for a network, before a daemon joins it: an older
//! version of the app drops them from the config, and a network that is removed takes them along.

use myownllm_config_model::{Document, Ids, ValueRef, network_id, networks};
use myownllm_config_store::{BackupId, ConfigStore, LockedStore};

use crate::diagnostic::unless_failed;
use crate::words::network_id_of;

/// Gives the active network the settings that only a daemon had for it, from the newest backup that
/// has some, if the config has none: without them, a silent network would be joined as one that
/// announces itself. Returns the backup.
pub(crate) fn restore_daemon_settings(
    (store, document): (&dyn ConfigStore, &mut Document),
    (lock, ids): (&dyn LockedStore, &mut dyn Ids),
) -> Option<BackupId> {
    let schema = store.schema()?;
    let active = networks::active(document)?;
    let id = network_id_of(active).filter(|_| active.get("daemon_settings").is_none())?;
    let is_active =
        |network: &ValueRef<'_>| network_id::of(*network).is_some_and(|other| network_id::same(&other, &id));
    let backups = unless_failed(store.history(), "the list of the backups")?;
    backups.into_iter().filter(|backup| backup.intact).find_map(|backup| {
        let bytes = unless_failed(store.read_backup(&backup.id), "the look at a backup")?;
        let config = Document::parse(&bytes).ok()?.document;
        let saved = networks::list(&config).into_iter().filter(is_active);
        let saved = saved
            .filter_map(|network| networks::for_daemon(network).ok())
            .map(|network| Document::parse(network.to_string().as_bytes()).map(|parsed| parsed.document));
        let of_daemon = config.get(&["networks"]).into_iter().flat_map(|networks| networks.items());
        let of_daemon = of_daemon.filter(is_active).map(Document::of);
        let entries: Vec<Document> = saved.flatten().chain(of_daemon).collect();
        let keep =
            |config: &mut Document| entries.iter().any(|entry| schema.keep_network(config, entry.root()));
        keep(&mut document.clone()).then_some(())?;
        let mut edit = |config: &mut Document| Ok(keep(config));
        *document = unless_failed(lock.update(ids, &mut edit), "the edit of the config")?.document;
        Some(backup.id)
    })
}
