//! Colours, for a terminal that can show them.

use myownllm_launch::Severity;

use crate::draw::Tone;

/// Returns the text of a diagnostic with its label in a colour.
pub fn colored_diagnostic(text: &str, severity: Severity) -> String {
    let style = match severity {
        Severity::Info => "1;36",
        Severity::Warning => "1;33",
        Severity::Error => "1;31",
    };
    match text.split_once(':') {
        Some((label, rest)) => format!("\x1b[{style}m{label}\x1b[0m:{rest}"),
        None => text.to_owned(),
    }
}

/// Returns a piece of a picture in the colour of its tone.
pub(crate) fn painted(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Title => "1",
        Tone::Dim => "2",
        Tone::Moved => "36",
        Tone::Changed => "33",
        Tone::Good => "32",
        Tone::Bad => "31",
    };
    format!("\x1b[{style}m{text}\x1b[0m")
}

/// Colours the first word of each line: marks of checks, the lines of a diff, headings.
pub(crate) fn paint_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for line in text.split_inclusive('\n') {
        let body = line.trim_end_matches('\n');
        let word = body.split(' ').next().unwrap_or_default();
        let (style, painted) = match word {
            "ok" => ("\x1b[32m", word),
            "warning" => ("\x1b[33m", word),
            "problem" => ("\x1b[31m", word),
            _ if body.starts_with('+') && !body.starts_with("+++") => ("\x1b[32m", body),
            _ if body.starts_with('-') && !body.starts_with("---") => ("\x1b[31m", body),
            _ if !body.starts_with(' ') && body.ends_with(':') => ("\x1b[1m", body),
            _ => ("", ""),
        };
        if painted.is_empty() {
            out.push_str(line);
        } else {
            let rest = &line[painted.len()..];
            out.push_str(&format!("{style}{painted}\x1b[0m{rest}"));
        }
    }
    out
}
