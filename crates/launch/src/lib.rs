#![doc = include_str!("../README.md")]

mod closed;
mod daemon_config;
mod daemons;
mod diagnostic;
mod hints;
mod identity;
mod losses;
mod networks;
mod no_daemon;
mod relapse;
mod sequence;
mod trust;
mod verdict;
mod waiting;

pub use closed::Closed;
pub use daemon_config::{misplaced_diagnostic, shared_config};
pub use daemons::{
    CONFIG_LIMIT, DaemonKind, Daemons, GRACE, LAST_BREATH, LocalDaemons, OPERATION, ProgramSearch,
    RunningDaemon, abandoned_diagnostic, processes_unknown, read_control_socket,
};
pub use diagnostic::{Class, Diagnostic, Severity, add_untold, class_of};
pub use hints::{PROGRAM, called, edit};
pub use identity::{expected_key, identity_answer, identity_look};
pub use losses::lost_settings;
pub use networks::{ConnectedDaemon, LONGEST_NAME, Reconciled, reconcile, reconcile_diagnostics, saved};
pub use relapse::Relapse;
pub use sequence::{
    COLLISION, Context, Daemon, LOCK_WAIT, Options, Outcome, Watch, check_socket, check_start,
    collision_diagnostic, launch, leaked_socket, live_beside_repair, move_diagnostics, orphan_diagnostic,
    refusal_diagnostic, settle_live,
};
pub use trust::{ensure_changeable, trusted_home, wrote_where_others_can};
pub use verdict::Verdict;
pub use waiting::{OnWait, lock_home};
