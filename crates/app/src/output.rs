//! What the program says: one answer a command, rendered for a person or as one JSON document.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::{ColorWhen, Global};
use crate::exit::ExitCode;
use crate::notice::{Notice, Severity};

/// Everything that a command has to say.
#[derive(Debug)]
#[must_use]
pub(crate) struct Answer {
    /// How it ends.
    pub(crate) exit: ExitCode,
    /// For a person, on stdout.
    pub(crate) text: String,
    /// For a program: `data` of the envelope.
    pub(crate) data: Value,
    /// Notices, in the order in which they came up.
    pub(crate) notices: Vec<Notice>,
}

impl Answer {
    /// A success.
    pub(crate) fn done(text: impl Into<String>, data: Value) -> Self {
        Self { exit: ExitCode::Done, text: text.into(), data, notices: Vec::new() }
    }

    /// A failure that one error explains.
    pub(crate) fn failed(notice: Notice) -> Self {
        Self { exit: notice.exit, text: String::new(), data: json!({}), notices: vec![notice] }
    }

    /// The end of a command that has printed its answer before.
    pub(crate) fn said_already(exit: ExitCode) -> Self {
        Self { exit, text: String::new(), data: Value::Null, notices: Vec::new() }
    }

    /// Whether all was printed before.
    #[must_use]
    pub(crate) fn is_said(&self) -> bool {
        self.data.is_null()
    }

    /// Adds a notice.
    pub(crate) fn note(mut self, notice: Notice) -> Self {
        self.notices.push(notice);
        self
    }

    /// Ends with this code instead.
    pub(crate) fn exit(mut self, exit: ExitCode) -> Self {
        self.exit = exit;
        self
    }
}

impl From<Notice> for Answer {
    fn from(notice: Notice) -> Self {
        Self::failed(notice)
    }
}

/// Writes answers.
#[derive(Debug)]
pub(crate) struct Printer {
    json: bool,
    verbose: bool,
    quiet: bool,
    color_out: bool,
    color_err: bool,
}

impl Printer {
    /// A printer for these options. `no_color` and `dumb` are what the environment says.
    #[must_use]
    pub(crate) fn new(global: &Global, no_color: bool) -> Self {
        let wants = |terminal: bool| match global.color {
            ColorWhen::Always => true,
            ColorWhen::Never => false,
            ColorWhen::Auto => terminal && !no_color,
        };
        Self {
            json: global.json,
            verbose: global.verbose > 0,
            quiet: global.quiet,
            color_out: wants(io::stdout().is_terminal()),
            color_err: wants(io::stderr().is_terminal()),
        }
    }

    /// A printer of documents, for when the command line itself could not be read.
    #[must_use]
    pub(crate) fn for_json() -> Self {
        Self { json: true, verbose: false, quiet: false, color_out: false, color_err: false }
    }

    /// Prints an answer: the text or the document to stdout, what went wrong to stderr.
    pub(crate) fn print(&self, command: &str, answer: &Answer) {
        if self.json {
            self.to_stdout(&format!("{}\n", envelope(command, answer)));
        } else if !self.quiet && !answer.text.is_empty() {
            let mut text = answer.text.clone();
            if !text.ends_with('\n') {
                text.push('\n');
            }
            self.to_stdout(&if self.color_out { paint_text(&text) } else { text });
        }
        let mut said = String::new();
        for notice in &answer.notices {
            let shown = match notice.severity {
                Severity::Info => self.verbose,
                Severity::Warning => !self.quiet,
                Severity::Error => true,
            };
            if shown {
                said.push_str(&self.render(notice));
            }
        }
        self.to_stderr(&said);
    }

    /// A notice by itself, to stderr.
    pub(crate) fn print_notice(&self, notice: &Notice) {
        self.to_stderr(&self.render(notice));
    }

    /// A line of progress or of the moment, for a person alone.
    pub(crate) fn say(&self, line: &str) {
        if !self.quiet {
            self.to_stderr(&format!("{line}\n"));
        }
    }

    fn render(&self, notice: &Notice) -> String {
        let (label, style) = match notice.severity {
            Severity::Info => ("note", "\x1b[1;36m"),
            Severity::Warning => ("warning", "\x1b[1;33m"),
            Severity::Error => ("error", "\x1b[1;31m"),
        };
        let label = if self.color_err { format!("{style}{label}\x1b[0m") } else { label.to_owned() };
        let mut out = String::new();
        let _ = writeln!(out, "{label}: {}", tame(&notice.message));
        if let Some(path) = notice.path.as_ref().filter(|path| !notice.message.contains(path.as_str())) {
            let _ = writeln!(out, "  at: {}", tame(path));
        }
        for cause in &notice.causes {
            let _ = writeln!(out, "  caused by: {}", tame(cause));
        }
        if let Some(hint) = &notice.hint {
            let _ = writeln!(out, "  hint: {}", tame(hint));
        }
        if notice.severity == Severity::Error || self.verbose {
            let _ = writeln!(out, "  code: {}", notice.code);
        }
        out
    }

    // A reader that went away (`| head`) is no reason to fail, and there is nobody left to tell.
    fn to_stdout(&self, text: &str) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn to_stderr(&self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
}

/// The one shape of every `--json` answer, its members in the order in which they are read.
#[derive(Serialize)]
struct Envelope<'a> {
    schema: String,
    ok: bool,
    data: &'a Value,
    diagnostics: &'a [Notice],
}

fn envelope(command: &str, answer: &Answer) -> String {
    let envelope = Envelope {
        schema: format!("myownllm-mesh.{command}/1"),
        ok: answer.exit.is_ok(),
        data: &answer.data,
        diagnostics: &answer.notices,
    };
    serde_json::to_string_pretty(&envelope).unwrap_or_default()
}

/// Colours the word that a line begins with: marks of checks, the lines of a diff, headings.
fn paint_text(text: &str) -> String {
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
            let _ = write!(out, "{style}{painted}\x1b[0m{}", &line[painted.len()..]);
        }
    }
    out
}

/// A path for a person: below the user's home it begins with `~`.
#[must_use]
pub(crate) fn short(path: &Path, user_home: &Path) -> String {
    tame(&match path.strip_prefix(user_home) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.display().to_string(),
    })
}

/// A text that a file name, or a daemon, had a say in: what would steer the terminal is spelled out.
pub(crate) fn tame(text: &str) -> String {
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

/// A path for a program.
#[must_use]
pub(crate) fn long(path: &Path) -> String {
    path.display().to_string()
}

/// A label and a list, wrapped to a readable width with the continuation below the list.
pub(crate) fn listed(label: &str, items: &[String], after: &str) -> String {
    const WIDTH: usize = 96;
    let indent = " ".repeat(16);
    let mut text = format!("  {label:<14}");
    let mut column = 16;
    let words = items
        .iter()
        .enumerate()
        .map(|(at, item)| if at + 1 < items.len() { format!("{item},") } else { item.clone() });
    for (at, word) in words.chain((!after.is_empty()).then(|| after.to_owned())).enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            text.push_str(&format!("\n{indent}"));
            column = 16;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(&word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::short;

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        let shown = short(Path::new("/home/u/\x1b[31mred\n.json"), Path::new("/home/u"));
        assert_eq!(shown, "~/\\u{1b}[31mred\\n.json");
    }
}
