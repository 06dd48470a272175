//! Waits for the lock of the home, and reports the process that holds it.

use std::path::Path;
use std::time::Duration;

use myownllm_config_store::LockedStore;
use myownllm_daemon::SpawnError;
use myownllm_durable_fs::LockError;
use myownllm_paths::camino::Utf8Path;

use crate::context::{Context, OnWait, Options};
use crate::diagnostic::Diagnostic;

/// The interval after which a waiting run checks whether there is still something to wait for, and
/// reports that it waits.
const LOCK_STEP: Duration = Duration::from_millis(200);

/// Locks the home. Waits as long as the options say for another process that holds the lock.
///
/// # Errors
/// Fails if the lock is held all that time, if it cannot be taken, or if the user cancels.
pub fn lock_home<'a>(
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
            Err(Diagnostic::from(&SpawnError::Cancelled))
        }
        Err(LockError::Held { .. }) if *waited + step < options.lock_wait => {
            options.report_wait(&context.layout.app_home, *waited);
            *waited += step;
            Ok(None)
        }
        Err(LockError::Held { home, .. }) => {
            Err(Diagnostic::from(&LockError::Held { home, waited: *waited + step }))
        }
        Err(error) => Err(Diagnostic::from(&error)),
    }
}

impl Options<'_> {
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
