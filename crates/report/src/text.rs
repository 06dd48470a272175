//! Diagnostics, times, paths and values as text.

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use myownllm_config_model::shorten::shortened;
use myownllm_identity::BACKUP_PLACEHOLDER;
use myownllm_launch::words::escape_controls;
use myownllm_launch::{Diagnostic, Severity};
use serde::Serialize;
use serde_json::{Value, json};

use crate::screen::wrap;

/// Returns a diagnostic as it is printed, in lines of at most `width` columns. The text contains
/// the code if the diagnostic is an error, or with `verbose`.
pub fn diagnostic_text(diagnostic: &Diagnostic, width: Option<usize>, verbose: bool) -> String {
    let label = match diagnostic.severity {
        Severity::Info => "note",
        Severity::Warning => "warning",
        Severity::Error => "error",
    };
    let mut out = String::new();
    let mut say = |lead: &str, text: &str, hang: usize| {
        for line in wrap(lead, hang, &escape_controls(text), width.unwrap_or(usize::MAX)) {
            out.push_str(&line);
            out.push('\n');
        }
    };
    say(&format!("{label}: "), &diagnostic.message, 2);
    if let Some(path) = diagnostic.path.as_ref().filter(|path| !diagnostic.message.contains(path.as_str())) {
        say(&format!("  at: {}", escape_controls(path)), "", 0);
    }
    for cause in &diagnostic.causes {
        say("  caused by: ", cause, 4);
    }
    if let Some(place) = diagnostic.place.as_ref().filter(|place| !place.snippet.text.is_empty()) {
        let number = place.line.to_string();
        let gutter = " ".repeat(number.len());
        say(&format!("  {number} | {}", place.snippet.text), "", 0);
        say(&format!("  {gutter} | {}^", " ".repeat(place.snippet.caret)), "", 0);
    }
    // Never breaks a hint: the user copies it.
    if let Some(hint) = &diagnostic.hint {
        say(&format!("  hint: {}", escape_controls(hint)), "", 0);
        if let Some(place) = unfilled(hint) {
            say("  Put your own path in the place of ", place, 2);
        }
    }
    if diagnostic.severity == Severity::Error || verbose {
        say("  code: ", &diagnostic.code, 4);
    }
    out
}

/// Returns the path in a command that only the user can fill in.
pub(crate) fn unfilled(command: &str) -> Option<&'static str> {
    command.contains(BACKUP_PLACEHOLDER).then_some(BACKUP_PLACEHOLDER)
}

/// Returns a time to the millisecond, RFC 3339 in UTC; `None` past the year 9999, which RFC 3339
/// cannot express.
pub fn rfc3339(time: SystemTime) -> Option<String> {
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_millis(time.max(UNIX_EPOCH))).ok()?;
    Some(text)
}

/// Returns a time for people, to the minute.
pub(crate) fn utc_minutes(ms: u64) -> String {
    // A file can have any time, and a system may know fewer years than a file.
    let time = UNIX_EPOCH.checked_add(Duration::from_millis(ms));
    let text = time.and_then(rfc3339).and_then(|text| Some(text.get(..16)?.replace('T', " ")));
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

/// The limit for a text from another program in a document, in characters. `MOST_ITEMS` is the
/// limit for items or members.
const LONGEST_TEXT: usize = 500;
const MOST_ITEMS: usize = 1000;

/// Returns a value from a daemon for a document, cut to the limits: a daemon may send any amount.
pub fn bounded(value: &impl Serialize) -> Value {
    let mut value = json!(value);
    bound(&mut value);
    value
}

fn bound(value: &mut Value) {
    match value {
        Value::String(text) => *text = shortened(text, LONGEST_TEXT).into_owned(),
        Value::Array(items) => {
            items.truncate(MOST_ITEMS);
            items.iter_mut().for_each(bound);
        }
        Value::Object(members) => {
            let few = std::mem::take(members).into_iter().filter(|(key, _)| key.len() <= LONGEST_TEXT);
            *members = few.take(MOST_ITEMS).collect();
            members.values_mut().for_each(bound);
        }
        _ => {}
    }
}

/// Returns a path for a program.
pub fn long(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
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
    fn only_the_placeholder_of_a_backup_is_unfilled() {
        assert_eq!(unfilled(&format!("cp -pn {BACKUP_PLACEHOLDER} /h/x")), Some(BACKUP_PLACEHOLDER));
        assert_eq!(unfilled("ls -ld /home/path/to/.myownllm"), None);
    }

    #[test]
    fn age_is_reported_in_one_unit() {
        let ages = [0, 59_999, 60_000, 3_599_000, 3_600_000, 172_799_000, 172_800_000].map(|ms| ago(0, ms));
        assert_eq!(
            ages,
            ["0 s ago", "59 s ago", "1 min ago", "59 min ago", "1 h ago", "47 h ago", "2 days ago"]
        );
        assert_eq!(ago(5_000, 4_000), "");
    }
}
