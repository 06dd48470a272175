//! What a launch works on, and what it is asked to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use myownllm_config_store::ConfigStore;
use myownllm_daemon::SpawnRequest;
use myownllm_durable_fs::{Disk, Owner};
use myownllm_migration::StateMigrator;
use myownllm_paths::{CheckedLayout, Layout, PathsError};

use crate::daemons::{Daemons, OPERATION};
use crate::diagnostic::{Diagnostic, PROGRAM};

/// How long every command waits for another process that holds the home's lock: longer than one that is well may take.
///
/// The longest that such a one does under the lock is to start a daemon, which may take [`SpawnRequest::READY_WITHIN`] (8 s,
/// what the app of today gives it), and to have it join a network, one answer, which may take `OPERATION` (10 s: joining talks to
/// relays). Everything else, a move or a repair too, takes a fraction of a second: 2 s more are for that.
pub const LOCK_WAIT: Duration =
    SpawnRequest::READY_WITHIN.saturating_add(OPERATION).saturating_add(Duration::from_secs(2));
/// Everything that a launch needs.
#[allow(missing_debug_implementations, reason = "traits")]
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Every path.
    pub layout: &'a Layout,
    /// The layout again if the homes were found apart, else why they were not.
    pub checked: Result<&'a CheckedLayout, &'a PathsError>,
    /// The disk, for the lock.
    pub disk: &'a dyn Disk,
    /// Moves the daemon's state.
    pub migrator: &'a dyn StateMigrator,
    /// Keeps the app's config.
    pub store: &'a dyn ConfigStore,
    /// Finds and starts daemons.
    pub daemons: &'a dyn Daemons,
}

/// Whom to tell, once, that a run waits for another process, whose id is given where the system tells.
#[derive(Clone, Copy)]
pub struct OnWait<'a>(pub &'a dyn Fn(Option<u32>));

impl std::fmt::Debug for OnWait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnWait")
    }
}

/// What a launch is to do.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// Look for a daemon, and start one if there is none.
    pub daemon: bool,
    /// A daemon that runs in the old place may be ended.
    pub stop_legacy_daemon: bool,
    /// How long to wait for another process that holds the lock.
    pub lock_wait: Duration,
    /// Set, by a signal handler say, when the user has had enough: a daemon that is starting is ended, none is started, and
    /// none is asked for anything more.
    pub cancelled: Option<&'a Arc<AtomicBool>>,
    /// How the program is called in hints, with what leads to this home.
    pub program: &'a str,
    /// Whom to tell that the run waits for another one.
    pub on_wait: Option<OnWait<'a>>,
    /// A reason of the caller's why nothing may be changed: the config is loaded, and no daemon is used.
    pub refusal: Option<&'a Diagnostic>,
    /// The user that this process becomes before it changes anything, when a plan is made as root: whether a directory can be
    /// changed is asked for that user.
    pub run_as: Option<Owner>,
    /// Names a user by the number.
    pub user_name: fn(u32) -> String,
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self {
            daemon: true,
            stop_legacy_daemon: false,
            lock_wait: LOCK_WAIT,
            cancelled: None,
            program: PROGRAM,
            on_wait: None,
            refusal: None,
            run_as: None,
            user_name: |uid| uid.to_string(),
        }
    }
}

impl Options<'_> {
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_for_the_lock_waits_longer_than_one_that_is_well_holds_it() {
        assert!(LOCK_WAIT > SpawnRequest::READY_WITHIN + OPERATION);
        assert_eq!(Options::default().lock_wait, LOCK_WAIT);
    }
}
