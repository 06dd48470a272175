#![doc = include_str!("../README.md")]

mod context;
mod daemons;
mod execute;
mod files;
mod homes;
mod plan;
mod step;
pub mod words;

/// The crates whose types are in this crate's interface, in the versions that fit it.
pub use {
    myownllm_config_model, myownllm_config_store, myownllm_daemon, myownllm_durable_fs, myownllm_identity,
    myownllm_migration, myownllm_paths,
};

pub use context::{Context, LOCK_WAIT, OnWait, Options, fresh_ids, lock_wait};
pub use daemons::networks::{ConnectedDaemon, NetworkBackup, Reconciled, active_network, saved};
pub use daemons::{
    DaemonKind, Daemons, LocalDaemons, ProgramSearch, RunningDaemon, STOP_TIMEOUT, ended_diagnostic,
    log_hint, not_stopped_diagnostic,
};
pub use execute::edit::{
    Edit, Followed, Restore, accept_config, edit_config, export_network, restore_backup,
};
pub use execute::outcome::{Daemon, Outcome, Recurrence, Verdict};
pub use execute::sequence::launch;
pub use execute::single_parts::{ConfigRepair, MoveResult, StateMove, move_state, repair, repair_config};
pub use execute::stop::{DaemonStopped, NOT_RUNNING, daemon_diagnostics, ensure_restartable, stop_daemon};
pub use files::identity::{other_known_identity, scan_identity};
pub use files::losses::{LOSSES, lost_keys, lost_network};
pub use files::moves::COLLISION;
pub use homes::no_access::{merge_access_errors, unreadable_log, with_access};
pub use homes::owner::{foreign_home, missing_home_hint, named_home, sudo_home, user_to_become};
pub use plan::checks::{Check, Checks, Mark, checks};
pub use plan::{LaunchPlan, plan};
pub use step::LaunchStep;
pub use words::LONGEST_NAME;
pub use words::diagnostic::{
    CORRUPT, Class, Diagnostic, LONGEST_DAEMON_WAIT, NEEDS_REPAIR, PROGRAM, Severity, class_of,
    config_diagnostics,
};
