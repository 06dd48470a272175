//! Diagnostics and times as text.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use myownllm_launch::words::escape_controls;
use myownllm_launch::{Diagnostic, Severity};

use crate::screen::wrap;

/// Returns a diagnostic as it is printed, in lines of at most `width` columns. The text contains
/// the code if the diagnostic is an error, or with `verbose`.
#[must_use]
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
    }
    if diagnostic.severity == Severity::Error || verbose {
        say("  code: ", &diagnostic.code, 4);
    }
    out
}

/// Returns a time to the millisecond, RFC 3339 in UTC; `None` past the year 9999, which RFC 3339
/// cannot express.
#[must_use]
pub fn rfc3339(time: SystemTime) -> Option<String> {
    let mut text = String::new();
    write!(text, "{}", humantime::format_rfc3339_millis(time.max(UNIX_EPOCH))).ok()?;
    Some(text)
}
