#![doc = include_str!("../README.md")]

mod backup_id;
mod backups;
mod change;
mod clock;
mod daemon_config;
mod error;
mod home_trust;
mod leftovers;
mod load;
mod plan;
mod read;
mod recover;
mod report;
mod save;
mod sources;
mod store;
mod traits;
mod wipe;

pub use myownllm_config_model::app_config::Loss;
pub use myownllm_salvage::{AppSchema, MyOwnLlm, NoSchema, Rebased, RestoredSettings, Salvaged, Shape};
pub use serde_json;

pub use crate::backup_id::{BackupId, BackupKind, InvalidBackupId};
pub use crate::clock::{Clock, SystemClock};
pub use crate::error::StoreError;
pub use crate::recover::{LOST_NETWORKS, add_networks_command, lost_networks_message};
pub use crate::report::{
    Accepted, Applied, DaemonHalf, FileShape, HistoryEntry, Loaded, Misplaced, Pending, Report, Restored,
    SetAside, Step, Updated, Wipe,
};
pub use crate::sources::BROUGHT_BACK;
pub use crate::store::{Limits, Store, StorePaths};
pub use crate::traits::{ConfigStore, EditError, LockedStore};
