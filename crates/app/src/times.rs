//! The start of a run.

use std::time::{Instant, SystemTime};

use myownllm_report::rfc3339;

/// The start of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: SystemTime,
    instant: Instant,
}

impl Started {
    pub(crate) fn now() -> Self {
        Self { at: SystemTime::now(), instant: Instant::now() }
    }

    /// Returns the time of day, RFC 3339 in UTC; the last one of RFC 3339 if the clock is past it.
    pub(crate) fn at(self) -> String {
        rfc3339(self.at).unwrap_or_else(|| "9999-12-31T23:59:59.999Z".to_owned())
    }

    /// Returns the milliseconds since the start.
    pub(crate) fn took_ms(self) -> u64 {
        u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
