//! The look of output: colour only on a terminal that wants it, plain ASCII on a terminal that
//! cannot show more.

use std::io::IsTerminal as _;

use clap::builder::styling::{AnsiColor, Style};

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

/// Returns the signs that this terminal can show.
pub(crate) fn signs() -> Signs {
    if plain(|name| std::env::var(name).ok(), std::io::stdout().is_terminal()) { ASCII } else { UNICODE }
}

/// Returns true if only ASCII is safe: a dumb terminal, one without a name, or the C locale.
fn plain(var: impl Fn(&str) -> Option<String>, terminal: bool) -> bool {
    let term = var("TERM").unwrap_or_default();
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| var(name)).find(|value| !value.is_empty());
    term == "dumb"
        || (terminal && term.is_empty() && !cfg!(windows))
        || (terminal && locale.is_some_and(|locale| locale == "C" || locale == "POSIX"))
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
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(std::io::stdout())
        && size.ws_col >= 40
    {
        return size.ws_col.into();
    }
    std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).unwrap_or(100)
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
    use super::*;

    #[test]
    fn a_dumb_terminal_gets_ascii_and_a_pipe_does_not_care() {
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert!(plain(dumb, true));
        assert!(plain(dumb, false));
        assert!(!plain(|name: &str| (name == "TERM").then(|| "xterm".to_owned()), true));
        assert!(!plain(|_: &str| None, false));
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
