//! Inspects the two homes. Writes nothing, decides nothing.

mod destination;
mod files;
mod home;
mod identity_files;
mod inspector;
mod source;

use inspector::Inspector;
use myownllm_durable_fs::{Disk, QUARANTINE_DIR};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::{
    classify::relative_dirs,
    homes::{Direction, Homes},
    inventory::Inventory,
};

/// Returns true if nothing of the daemon's can be at the old location, and the daemon home has its
/// identity file or no directory for one. Every start asks this first: an inspection lists the
/// directories of the daemon home too. A killed undo leaves files quarantined in the daemon home.
pub(crate) fn is_moved(disk: &dyn Disk, homes: &Homes) -> bool {
    let is_free = |path: &Utf8Path| disk.stat(path.as_ref()).is_err_and(|error| error.is_not_found());
    let is_top = |dir: &Utf8PathBuf| dir.components().count() == 1;
    let key = homes.daemon.join(homes.identity());
    let mut leaves = homes.dirs().into_iter().chain(homes.identity().parent().map(Utf8Path::to_owned));
    relative_dirs(homes).iter().filter(|dir| is_top(dir)).all(|dir| is_free(&homes.app.join(dir)))
        && (!is_free(&key) || key.parent().is_some_and(is_free))
        && leaves.all(|dir| is_free(&homes.daemon.join(dir).join(QUARANTINE_DIR)))
}

pub(crate) fn inspect(disk: &dyn Disk, homes: &Homes, direction: Direction) -> Inventory {
    let mut inspector = Inspector::new(disk, homes, direction);
    inspector.homes();
    inspector.key_targets();
    inspector.source_dirs();
    inspector.keep_symlink_targets();
    inspector.destination_dirs();
    inspector.same_dirs();
    inspector.contents();
    inspector.legacy_roster();
    inspector.custody();
    inspector.identity();
    inspector.finish_source();
    inspector.out
}
