//! The context of a launch, its options, and the lock of the home.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use myownllm_config_model::SeededIds;
use myownllm_config_store::{ConfigStore, LockedStore};
use myownllm_daemon::{SpawnError, SpawnRequest, is_suspended};
use myownllm_durable_fs::{Disk, LockError, Owner};
use myownllm_migration::Migrator;
use myownllm_paths::camino::Utf8Path;
use myownllm_paths::{CheckedLayout, Layout, PathsError};

use crate::daemons::{Daemons, REQUEST_TIMEOUT};
use crate::words::diagnostic::{Class, Diagnostic, PROGRAM};

/// The time that every command waits for another process that holds the home's lock. It is longer
/// than a healthy process holds the lock.
pub const LOCK_WAIT: Duration = lock_wait(SpawnRequest::READY_WITHIN);

/// Returns the time for which a process waits for the lock if it gives a daemon `daemon_wait` to
/// start.
///
/// Under the lock, a healthy process takes longest to start a daemon
/// ([`SpawnRequest::READY_WITHIN`], 8 s, the time that the app of today gives it), and to have the
/// daemon join a network, one answer, which may take `REQUEST_TIMEOUT` (10 s: joining talks to relays).
/// Everything else, even a move or a repair, takes a fraction of a second: 2 s more are for that.
pub const fn lock_wait(daemon_wait: Duration) -> Duration {
    daemon_wait.saturating_add(REQUEST_TIMEOUT).saturating_add(Duration::from_secs(2))
}

/// Everything that a launch needs.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// Every path.
    pub layout: &'a Layout,
    /// The layout again if the two homes are apart, else the reason why they are not. A launch
    /// refuses a layout of other homes (`launch.other-home`).
    pub checked: Result<&'a CheckedLayout, &'a PathsError>,
    /// The disk, for the lock.
    pub disk: &'a dyn Disk,
    /// Moves the daemon's state.
    pub migrator: &'a Migrator<'a>,
    /// Keeps the app's config: `Store::new` with the app's schema, or `Store::without_config`.
    pub store: &'a dyn ConfigStore,
    /// Finds and starts daemons.
    pub daemons: &'a dyn Daemons,
}

impl fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("app_home", &self.layout.app_home).finish_non_exhaustive()
    }
}

/// Returns new ids, from the clock and the system's randomness.
pub fn fresh_ids() -> SeededIds {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    // The standard library seeds its hashers from the system's randomness: good enough for an id
    // that only has to be new within one file.
    let seed = RandomState::new().build_hasher().finish();
    SeededIds::new(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), seed)
}

/// The callback that a run calls once when it waits for another process. The argument is the id of
/// that process, if the system tells it.
#[derive(Clone, Copy)]
pub struct OnWait<'a>(pub &'a dyn Fn(Option<u32>));

impl std::fmt::Debug for OnWait<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnWait")
    }
}

/// The options of a launch.
#[derive(Clone, Copy, Debug)]
pub struct Options<'a> {
    /// True to look for a daemon, and to start one if none runs.
    pub daemon: bool,
    /// True if the launch may end a daemon that runs at the old location.
    pub stop_legacy_daemon: bool,
    /// The longest wait for another process that holds the lock.
    pub lock_wait: Duration,
    /// Set, by a signal handler for example, when the user cancels the launch: the launch ends a
    /// daemon that is starting, starts none, and asks no daemon for anything more.
    pub cancelled: Option<&'a Arc<AtomicBool>>,
    /// The name of the program with the options that lead to this home, for hints; the program of
    /// the context's app by default.
    pub program: &'a str,
    /// The callback for a run that waits for another one.
    pub on_wait: Option<OnWait<'a>>,
    /// The caller's reason why nothing may be changed: the config is loaded, and no daemon is used.
    pub refusal: Option<&'a Diagnostic>,
    /// The user that this process becomes before it changes anything, when root makes a plan. The
    /// plan judges for this user what can be changed in a directory.
    pub run_as: Option<Owner>,
    /// Returns the name of a user by the number.
    pub user_name: fn(u32) -> String,
    /// Returns the backup that the last run of the program restored, if it restored one: the user's
    /// own doing, of which no daemon is suspected.
    pub last_restored: fn(&Layout) -> Option<String>,
    /// Returns the settings that the last repair with losses left at their defaults.
    pub last_losses: fn(&Layout) -> Vec<String>,
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
            last_restored: |_| None,
            last_losses: |_| Vec::new(),
        }
    }
}

impl<'a> Options<'a> {
    /// Returns the options with the program of the context's layout, unless the caller named
    /// another.
    pub(crate) fn of(&self, context: &Context<'a>) -> Self {
        let layout: &'a Layout = context.layout;
        let program = if self.program == PROGRAM { &layout.program } else { self.program };
        Self { program, ..*self }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.is_some_and(|flag| flag.load(Ordering::Relaxed))
    }

    /// Reports once that the run waits: only at the first wait.
    fn report_wait(&self, home: &Utf8Path, waited: Duration) {
        if waited.is_zero() {
            let holder = holder(home.as_ref());
            tracing::info!(%home, holder, "another process holds the lock");
            if let Some(OnWait(tell)) = self.on_wait {
                tell(holder);
            }
        }
    }
}

/// The interval after which a waiting run checks whether there is still something to wait for, and
/// reports that it waits.
const LOCK_STEP: Duration = Duration::from_millis(200);

/// The wait after which a suspended process is no longer waited for. A process that somebody
/// suspends and continues at once is no problem.
const PATIENCE_WITH_SUSPENDED: Duration = Duration::from_secs(1);
const LOCK_HELD: &str = "durable-fs.lock-held";

/// Locks the home. Waits as long as the options say for another process that holds the lock.
/// Fails if the lock is held all that time, if it cannot be taken, or if the user cancels.
pub(crate) fn lock_home<'a>(
    context: &Context<'a>,
    options: &Options<'_>,
) -> Result<Box<dyn LockedStore + 'a>, Diagnostic> {
    let mut waited = Duration::ZERO;
    loop {
        if let Some(lock) = try_lock(context, options, &mut waited)? {
            return Ok(lock);
        }
    }
}

/// Waits a moment for the lock of the home. Returns `None` if another process holds the lock and
/// the caller may try again.
/// Fails as [`lock_home`] does. `waited` is the time of all tries.
pub(crate) fn try_lock<'a>(
    context: &Context<'a>,
    options: &Options<'_>,
    waited: &mut Duration,
) -> Result<Option<Box<dyn LockedStore + 'a>>, Diagnostic> {
    let step = LOCK_STEP.min(options.lock_wait.saturating_sub(*waited));
    match context.store.lock(step) {
        Ok(lock) => {
            // The store may be another home's.
            lock.home_lock().ensure_locks(context.layout.app_home.as_std_path())?;
            Ok(Some(lock))
        }
        Err(LockError::Held { .. }) if options.is_cancelled() => {
            let message = "the wait for another run of this program was broken off, and nothing was changed";
            Err(Diagnostic::error(SpawnError::Cancelled.code(), message))
        }
        Err(LockError::Held { .. }) if *waited + step < options.lock_wait => {
            let home = &context.layout.app_home;
            options.report_wait(home, *waited);
            if *waited >= PATIENCE_WITH_SUSPENDED {
                suspended_holder(home).map_or(Ok(()), Err)?;
            }
            *waited += step;
            Ok(None)
        }
        Err(LockError::Held { home, .. }) => {
            let held = || Diagnostic::from(&LockError::Held { home, waited: *waited + step });
            Err(suspended_holder(&context.layout.app_home).unwrap_or_else(held))
        }
        Err(error) => Err(Diagnostic::from(&error)),
    }
}

/// Reports a process that holds the lock of the home and is suspended: it keeps the lock until
/// somebody continues it.
pub(crate) fn suspended_holder(home: &Utf8Path) -> Option<Diagnostic> {
    let pid = holder(home.as_ref()).filter(|pid| is_suspended(*pid))?;
    let message = format!("cannot lock {home}: process {pid} holds the lock and is suspended");
    let held = Diagnostic::error(LOCK_HELD, message).at(home).hint(format!("kill -CONT {pid}"));
    Some(held.class(Class::Locked))
}

/// Returns the process that holds the lock of a home, according to the kernel's list of locks.
#[cfg(target_os = "linux")]
fn holder(home: &Path) -> Option<u32> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(home).ok()?;
    let dev = meta.dev();
    let place = format!("{:02x}:{:02x}:{}", rustix::fs::major(dev), rustix::fs::minor(dev), meta.ino());
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        // `1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF`; a waiting lock has `->` after the
        // number.
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, at, ..] = words.as_slice() else { return None };
        pid.parse().ok().filter(|pid| *pid > 0 && *at == place)
    })
}

#[cfg(not(target_os = "linux"))]
fn holder(_: &Path) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_wait_exceeds_the_longest_healthy_run() {
        assert!(LOCK_WAIT > SpawnRequest::READY_WITHIN + REQUEST_TIMEOUT);
        assert_eq!(Options::default().lock_wait, LOCK_WAIT);
    }
}
