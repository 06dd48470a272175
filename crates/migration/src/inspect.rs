//! Inspects the two homes. Writes nothing, decides nothing.

mod destination;
mod files;
mod home;
mod identity_files;
mod inspector;
mod source;

pub(crate) use identity_files::key_targets;
use inspector::Inspector;
use myownllm_durable_fs::Disk;

use crate::{
    homes::{Direction, Homes},
    inventory::Inventory,
};

/// Inspects both homes. Takes no lock, writes nothing.
pub fn inspect(disk: &dyn Disk, homes: &Homes, direction: Direction) -> Inventory {
    let mut inspector = Inspector::new(disk, homes, direction);
    inspector.homes();
    inspector.key_targets();
    inspector.source_dirs();
    inspector.destination_dirs();
    inspector.same_dirs();
    inspector.contents();
    inspector.legacy_roster();
    inspector.custody();
    inspector.identity();
    inspector.finish_source();
    inspector.out
}
