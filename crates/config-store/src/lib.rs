#![doc = include_str!("../README.md")]

mod backups;
mod clock;
mod daemons_half;
mod error;
mod locked;
mod misplaced;
mod plan;
mod read;
mod recover;
mod report;
mod save;
mod store;
mod store_paths;
mod wipe;

pub use myownllm_config_model::app_config::Loss;
pub use myownllm_salvage::{AppSchema, MyOwnLlm, NoSchema};

pub use crate::backups::{BackupId, BackupKind, InvalidBackupId, Limits};
pub use crate::clock::{Clock, SystemClock};
pub use crate::error::StoreError;
pub use crate::locked::LockedStore;
pub use crate::recover::LOST_NETWORKS;
pub use crate::report::{
    Accepted, Applied, DaemonHalf, FileShape, HistoryEntry, Loaded, Misplaced, Pending, Report, Restored,
    SetAside, Step, Updated, Wipe,
};
pub use crate::store::{ConfigStore, EditError, Store};
pub use crate::store_paths::StorePaths;
