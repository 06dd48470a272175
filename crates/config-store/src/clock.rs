use std::time::{Duration, Instant};

/// Time, as far as waiting for a half-written file needs it.
///
/// A trait because there are two: the machine's ([`SystemClock`]), and that of a test, which does not sleep.
pub trait Clock: Send + Sync {
    /// Time since some fixed moment; never goes backwards.
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
