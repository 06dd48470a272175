//! Doing what the plan says.
use myownllm_durable_fs::{Disk, HomeLock};
use crate::{LiveDaemons, Plan, Report};
pub(crate) fn execute(disk: &dyn Disk, lock: &HomeLock, plan: Plan, daemons: &dyn LiveDaemons) -> Report { let _ = (disk, lock, plan, daemons); todo!() }
