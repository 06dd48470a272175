//! The look of output. `anstream` removes the colours where none are wanted.

use clap::builder::styling::{AnsiColor, Style};

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const CHANGED: Style = AnsiColor::Yellow.on_default();
pub(crate) const TITLE: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// Paints `text`.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Formats a duration for people.
pub(crate) fn took(time: std::time::Duration) -> String {
    match time.as_millis() {
        10_000.. => format!("{:.0} s", time.as_secs_f64()),
        1_000.. => format!("{:.1} s", time.as_secs_f64()),
        short => format!("{short} ms"),
    }
}
