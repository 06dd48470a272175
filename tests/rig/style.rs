//! The look of output: colour only on a terminal that wants it, plain ASCII on a terminal that
//! cannot show more.

use std::io::IsTerminal as _;

use clap::builder::styling::{AnsiColor, Style};
use myownllm_report::Screen;

/// The signs of a report.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signs {
    /// True if the terminal can show more than ASCII.
    pub(crate) unicode: bool,
    pub(crate) yes: &'static str,
    pub(crate) no: &'static str,
    pub(crate) skip: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) to: &'static str,
    pub(crate) from: &'static str,
}

const UNICODE: Signs =
    Signs { unicode: true, yes: "✓", no: "✗", skip: "○", rule: "─", to: "→", from: "←" };

const ASCII: Signs =
    Signs { unicode: false, yes: "ok ", no: "NOT OK", skip: "skip", rule: "-", to: "->", from: "<-" };

/// Returns the screen on which the rig reports.
fn screen() -> Screen {
    #[cfg(unix)]
    let columns = rustix::termios::tcgetwinsize(std::io::stdout()).ok().map(|size| size.ws_col.into());
    #[cfg(not(unix))]
    let columns = None;
    Screen::new(columns.filter(|columns| *columns >= 40), std::io::stdout().is_terminal(), |name| {
        std::env::var_os(name)
    })
}

/// Returns the signs that this terminal can show.
pub(crate) fn signs() -> Signs {
    if screen().unicode { UNICODE } else { ASCII }
}

pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(crate) const CHANGED: Style = AnsiColor::Yellow.on_default();
pub(crate) const MOVED: Style = AnsiColor::Cyan.on_default();
pub(crate) const TITLE: Style = Style::new().bold();
pub(crate) const DIM: Style = Style::new().dimmed();

/// Paints `text`. `anstream` removes the colours where none are wanted.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Returns the number of columns.
pub(crate) fn width() -> usize {
    screen().width
}

/// Wraps `text` between words at `width` characters.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > width {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Formats a duration for people.
pub(crate) fn took(time: std::time::Duration) -> String {
    if time.as_secs() >= 10 {
        format!("{:.0} s", time.as_secs_f64())
    } else if time.as_millis() >= 1000 {
        format!("{:.1} s", time.as_secs_f64())
    } else {
        format!("{} ms", time.as_millis())
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn a_dumb_terminal_gets_ascii_and_a_pipe_does_not_care() {
        let plain = |term: Option<&str>, is_terminal| {
            !Screen::new(None, is_terminal, |name| term.filter(|_| name == "TERM").map(OsString::from))
                .unicode
        };
        assert!(plain(Some("dumb"), true));
        assert!(plain(Some("dumb"), false));
        assert!(!plain(Some("xterm"), true));
        assert!(!plain(None, false));
        assert!(
            [ASCII.yes, ASCII.no, ASCII.skip, ASCII.rule, ASCII.to, ASCII.from]
                .iter()
                .all(|sign| sign.is_ascii())
        );
    }

    #[test]
    fn words_are_never_broken() {
        assert_eq!(wrap("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrap("", 7), [""]);
    }
}
