//! Waiting until a deadline. A deadline is a point in time, so that no byte of a slow peer extends
//! it.

use std::time::{Duration, Instant};

/// Returns the point in time `wait` from now, at most thirty years ahead.
pub(crate) fn deadline_after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + Duration::from_secs(60 * 60 * 24 * 365 * 30))
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Grows the pause between two looks, for events of which the system does not notify.
pub(crate) struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(longest: Duration) -> Self {
        Self { next: Duration::from_millis(1), longest }
    }

    /// Sleeps for the next pause, but not beyond the deadline.
    pub(crate) fn wait(&mut self, deadline: Instant) {
        let end = self.next_end(deadline);
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
    }

    /// Returns the end of the next pause, for callers that wait for something else meanwhile.
    pub(crate) fn next_end(&mut self, deadline: Instant) -> Instant {
        let end = deadline.min(Instant::now() + self.next);
        self.next = (self.next * 3 / 2).min(self.longest);
        end
    }
}

/// Waits until `fd` is ready. Returns `false` if the deadline came first, or if a signal handler of
/// this program ran.
#[cfg(unix)]
pub(crate) fn poll_until(
    fd: &impl std::os::fd::AsFd,
    flags: rustix::event::PollFlags,
    deadline: Instant,
) -> std::io::Result<bool> {
    use rustix::event::{PollFd, Timespec, poll};

    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(fd, flags)], Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(e) => Err(e.into()),
    }
}
