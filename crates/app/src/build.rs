//! Which build of the program this is, and when its run began.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// A build of the program, as every document and every report names it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Build {
    pub(crate) version: &'static str,
    /// `unknown` where the sources came without their history.
    pub(crate) commit: &'static str,
    pub(crate) target: &'static str,
}

/// This build.
pub(crate) const BUILD: Build = Build {
    version: env!("CARGO_PKG_VERSION"),
    commit: env!("MYOWNLLM_COMMIT"),
    target: env!("MYOWNLLM_TARGET"),
};

/// The beginning of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Started {
    at: SystemTime,
    instant: Instant,
}

impl Started {
    pub(crate) fn now() -> Self {
        Self { at: SystemTime::now(), instant: Instant::now() }
    }

    /// The time of day, RFC 3339 in UTC.
    pub(crate) fn at(self) -> String {
        rfc3339(self.at).unwrap_or_default()
    }

    /// Milliseconds since then.
    pub(crate) fn took_ms(self) -> u64 {
        u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A time to the millisecond, RFC 3339 in UTC; `None` past the year 9999, which has no such form.
pub(crate) fn rfc3339(time: SystemTime) -> Option<String> {
    use std::fmt::Write as _;
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_millis(time.max(UNIX_EPOCH))).ok()?;
    Some(text)
}
