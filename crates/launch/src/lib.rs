#![doc = include_str!("../README.md")]

mod alone;
mod checks;
mod closed;
mod context;
mod daemon_config;
mod daemon_settings;
mod daemons;
mod diagnostic;
mod edit;
mod foreseen;
mod hints;
mod identity;
mod losses;
mod misnamed;
mod moves;
mod networks;
mod outcome;
mod owner;
mod peers;
mod plan;
mod recurrence;
mod sequence;
mod stage;
mod start;
mod step;
mod stop;
mod trust;
pub mod words;

/// The crates whose types are in this crate's interface, in the versions that fit it.
pub use {
    myownllm_config_model, myownllm_config_store, myownllm_daemon, myownllm_durable_fs, myownllm_identity,
    myownllm_migration, myownllm_paths,
};

pub use alone::{ConfigRepair, MoveResult, StateMove, move_state, repair, repair_config};
pub use checks::{Check, Checks, Mark, checks};
pub use closed::{name_one_cause, unreadable_log, with_access};
pub use context::{Context, LOCK_WAIT, OnWait, Options, fresh_ids, lock_wait};
pub use daemons::{DaemonKind, Daemons, GRACE, LocalDaemons, ProgramSearch, RunningDaemon};
pub use diagnostic::{
    CORRUPT, Class, Diagnostic, LONGEST_DAEMON_WAIT, NEEDS_REPAIR, PROGRAM, Severity, class_of,
    config_diagnostics,
};
pub use edit::{Edit, Followed, Restore, accept_config, edit_config, restore_backup};
pub use identity::{other_known_identity, scan_identity};
pub use losses::{LOSSES, lost_keys, lost_network};
pub use moves::COLLISION;
pub use networks::{ConnectedDaemon, NetworkBackup, Reconciled, active_network, export_network, saved};
pub use outcome::{Daemon, Outcome, Verdict};
pub use owner::{foreign_home, missing_home_hint, named_home, sudo_home, user_to_become};
pub use plan::{LaunchPlan, plan};
pub use recurrence::Recurrence;
pub use sequence::launch;
pub use step::LaunchStep;
pub use stop::{
    EndedDaemon, NOT_RUNNING, daemon_diagnostics, died_diagnostic, ensure_restartable, log_hint,
    not_stopped_diagnostic, stop_daemon,
};
pub use words::LONGEST_NAME;
