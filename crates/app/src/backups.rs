//! Finds the backup that a name on the command line means.

use myownllm_config_store::{ConfigStore as _, CopyId};
use myownllm_launch::Diagnostic;

use crate::run_log;
use crate::world::World;

/// Returns the id of the backup with this name. If the content of an older backup was backed up
/// again since, its newest backup has another number and stands in for the older one: a number that
/// a run once printed goes on to work.
pub(crate) fn find_backup(world: &World, name: &str) -> Result<CopyId, Diagnostic> {
    let store = world.wire().store;
    let error = match store.find_copy(name) {
        Ok(id) => return Ok(id),
        Err(error) => error,
    };
    let told = run_log::read(&run_log::path(&world.layout)).into_iter().rev();
    let told = told.flat_map(|run| [run.before, run.restored]).flatten();
    let mut told = told.filter_map(|id| id.parse::<CopyId>().ok());
    let former = told.find(|id| id.sequence().to_string() == name || id.to_string() == name);
    let entries = store.history().unwrap_or_default();
    let same = former.and_then(|id| entries.into_iter().find(|entry| entry.id.hash() == id.hash()));
    same.map(|entry| entry.id).ok_or_else(|| Diagnostic::from(&error))
}
