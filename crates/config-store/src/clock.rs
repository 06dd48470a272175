use std::time::{Duration, Instant};

/// The time that waiting for a half-written file needs.
///
/// A trait, because a test has a clock that does not sleep; [`SystemClock`] is the machine's.
pub trait Clock: Send + Sync {
    /// Returns the time since a fixed moment; never goes backwards.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn sleep(&self, time: Duration);
}

/// The machine's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }
}
