//! Looking, and deciding what follows.
use myownllm_durable_fs::Disk;
use crate::{MigrationError, Homes, Direction, Options, Plan};
/// What lies in the two homes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Inventory {}
/// Whether a run would have anything to do: a handful of looks, no lock, no write.
pub fn is_pending(disk: &dyn Disk, homes: &Homes) -> Result<bool, MigrationError> { let _ = (disk, homes); todo!() }
/// Looks at both homes.
pub fn inspect(disk: &dyn Disk, homes: &Homes, direction: Direction) -> Inventory { let _ = (disk, homes, direction); todo!() }
pub(crate) fn plan(homes: &Homes, inventory: &Inventory, options: &Options) -> Plan { let _ = (homes, inventory, options); todo!() }
