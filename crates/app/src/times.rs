//! Times, for people and for documents, and the start of a run.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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

    /// Returns the time of day, RFC 3339 in UTC.
    pub(crate) fn at(self) -> String {
        rfc3339(self.at).unwrap_or_default()
    }

    /// Returns the milliseconds since the start.
    pub(crate) fn took_ms(self) -> u64 {
        u64::try_from(self.instant.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Returns a time for people, to the minute.
pub(crate) fn utc_minutes(ms: u64) -> String {
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(UNIX_EPOCH);
    // A file can have any time.
    let text = rfc3339(time).and_then(|text| Some(text.get(..16)?.replace('T', " ")));
    text.unwrap_or_else(|| "unknown".to_owned())
}

/// Returns how long ago a time is, in one unit; empty if the time is in the future.
pub(crate) fn ago(ms: u64, now_ms: u64) -> String {
    let Some(seconds) = now_ms.checked_sub(ms).map(|ms| ms / 1000) else { return String::new() };
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3600 => format!("{} min ago", seconds / 60),
        3600..172_800 => format!("{} h ago", seconds / 3600),
        _ => format!("{} days ago", seconds / 86400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_to_the_minute() {
        assert_eq!(utc_minutes(1_795_401_077_000), "2026-11-23 02:31");
        assert_eq!(utc_minutes(999_999_999_999_000), "unknown");
        assert_eq!(utc_minutes(u64::MAX), "unknown");
    }

    #[test]
    fn age_is_told_in_one_unit() {
        let told = [0, 59_999, 60_000, 3_599_000, 3_600_000, 172_799_000, 172_800_000].map(|ms| ago(0, ms));
        assert_eq!(
            told,
            ["0 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "47 h ago", "2 days ago"]
        );
        assert_eq!(ago(5_000, 4_000), "");
    }
}
