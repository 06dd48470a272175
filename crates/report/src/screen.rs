//! The abilities of a screen, and text laid out for it.
//!
//! A command tells headings, lines and rows apart; this module decides where lines end. A text to
//! copy is never broken: no path, no id, no command.

use std::borrow::Cow;
use std::ffi::OsString;
use std::fmt::Write as _;

use myownllm_launch::words::{escape_controls, is_control};
use textwrap::core::{Word, display_width};
use textwrap::{Options, WordSeparator, WordSplitter};

use crate::color::{paint_text, painted};
use crate::draw::{self, Line, in_ascii};

/// The longest line of prose, in columns: longer lines are hard to read, even in a wide window.
const MAX_PROSE_WIDTH: usize = 120;
/// The width if no source tells the width of the screen: for a pipe or a file.
const DEFAULT_WIDTH: usize = 100;
/// The least width: a narrower screen cannot show a layout.
const MIN_WIDTH: usize = 40;
/// The least room beside a label: with less room, a text begins below its label.
const MIN_WIDTH_BESIDE_LABEL: usize = 30;
/// The length up to which a remark in brackets is kept together.
const MAX_REMARK_LEN: usize = 28;
/// The indentation of a text below its label.
const INDENT_BELOW_LABEL: usize = 4;

/// Returns a JSON text without characters that steer a terminal. All such characters are in its
/// strings, in which an escape such as `\u009b` means the same.
pub fn escape_json_controls(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if is_control(c) && !matches!(c, '\n' | '\r' | '\t') {
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

/// Returns the lines that differ between two texts, with three lines of context.
pub fn unified_diff(before: &str, after: &str, before_name: &str, after_name: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(3).header(before_name, after_name).to_string()
}

/// The abilities of a screen.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// The width, in columns.
    pub width: usize,
    /// True if the screen can show more than ASCII.
    pub unicode: bool,
    /// True if lines of prose end at the width. In a pipe or a file, a broken line hides words from
    /// a search.
    pub wraps: bool,
}

impl Screen {
    /// Returns the screen behind an output. Its width is `terminal`, which the terminal reported,
    /// or else the value of `COLUMNS`.
    pub fn new(terminal: Option<usize>, is_terminal: bool, var: impl Fn(&str) -> Option<OsString>) -> Self {
        let columns = || var("COLUMNS")?.to_str()?.parse().ok();
        let known = terminal.filter(|width| *width > 0).or_else(columns);
        let width = known.unwrap_or(DEFAULT_WIDTH).max(MIN_WIDTH);
        Self { width, unicode: !needs_ascii(is_terminal, var), wraps: is_terminal || known.is_some() }
    }

    fn prose_width(self) -> usize {
        if self.wraps { self.width.min(MAX_PROSE_WIDTH) } else { usize::MAX }
    }
}

/// Returns true if only ASCII is safe: on a dumb terminal, on a terminal without a name, or in the
/// locale `C` or `POSIX`.
fn needs_ascii(is_terminal: bool, var: impl Fn(&str) -> Option<OsString>) -> bool {
    let term = var("TERM").unwrap_or_default();
    let locale =
        ["LC_ALL", "LC_CTYPE", "LANG"].iter().filter_map(|name| var(name)).find(|value| !value.is_empty());
    term == "dumb"
        || (is_terminal && term.is_empty() && !cfg!(windows))
        || (is_terminal && locale.is_some_and(|locale| locale == "C" || locale == "POSIX"))
}

/// The output of a command for a person, before its layout.
#[derive(Clone, Debug, Default)]
pub struct Page(Vec<Block>);

#[derive(Clone, Debug)]
enum Block {
    /// Text that is printed as it is: a document, a script, a diff.
    Raw(String),
    /// An indented text. Its further lines are indented by two more columns.
    Line { indent: usize, text: String },
    /// A label, and a text from this column on. `keeps_paths` is true if no path in the text is
    /// shortened.
    Row { label: String, column: usize, text: String, keeps_paths: bool },
    /// A text to copy, at this column if it fits.
    Command { column: usize, lead: &'static str, text: String },
    /// Commands to copy, with the effect of each.
    Commands(Vec<(String, String)>),
    /// Two pictures side by side, or one below the other.
    Pair(Vec<Line>, Vec<Line>),
}

impl Page {
    /// Adds an empty line.
    pub fn gap(&mut self) {
        self.raw("\n");
    }

    /// Adds a text that is printed as it is.
    pub fn raw(&mut self, text: impl Into<String>) {
        self.push(Block::Raw(text.into()));
    }

    /// Adds a line.
    pub fn line(&mut self, text: impl Into<String>) {
        self.indented(0, text);
    }

    /// Adds an indented line.
    pub fn indented(&mut self, indent: usize, text: impl Into<String>) {
        self.push(Block::Line { indent, text: text.into() });
    }

    /// Adds a label, and its text from this column on.
    pub fn row(&mut self, label: impl Into<String>, column: usize, text: impl Into<String>) {
        self.push(Block::Row { label: label.into(), column, text: text.into(), keeps_paths: false });
    }

    /// Adds a label, and its text from this column on, in which no path is shortened.
    pub fn whole_row(&mut self, label: impl Into<String>, column: usize, text: impl Into<String>) {
        self.push(Block::Row { label: label.into(), column, text: text.into(), keeps_paths: true });
    }

    /// Adds a command to copy, after `lead`.
    pub fn command(&mut self, column: usize, lead: &'static str, text: impl Into<String>) {
        self.push(Block::Command { column, lead, text: text.into() });
    }

    /// Adds a line that tells what a command does, and the command.
    pub(crate) fn offer(&mut self, effect: impl Into<String>, command: impl Into<String>) {
        self.line(effect);
        self.command(2, "", command);
    }

    /// Adds commands to copy, with the effect of each.
    pub fn commands(&mut self, commands: Vec<(String, String)>) {
        self.push(Block::Commands(commands));
    }

    /// Adds two pictures.
    pub fn pair(&mut self, left: Vec<Line>, right: Vec<Line>) {
        self.push(Block::Pair(left, right));
    }

    /// Adds the content of another page.
    pub fn page(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    fn push(&mut self, block: Block) {
        self.0.push(block);
    }

    /// Returns true if there is nothing to print.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|block| matches!(block, Block::Raw(text) if text.is_empty()))
    }

    /// Returns the page with its texts and its commands to copy replaced. Leaves raw texts,
    /// pictures, and rows that keep their paths.
    pub(crate) fn map_texts(
        &self,
        map_text: &dyn Fn(&str) -> String,
        map_command: &dyn Fn(&str) -> String,
    ) -> Self {
        let mut page = self.clone();
        for block in &mut page.0 {
            match block {
                Block::Row { keeps_paths: true, .. } | Block::Raw(_) | Block::Pair(..) => {}
                Block::Line { text, .. } | Block::Row { text, .. } => *text = map_text(text),
                Block::Command { text, .. } => *text = map_command(text),
                Block::Commands(commands) => {
                    commands.iter_mut().for_each(|(command, _)| *command = map_command(command));
                }
            }
        }
        page
    }

    /// Returns the text, laid out for a screen without colours.
    pub fn plain(&self, screen: Screen) -> String {
        self.render(screen, &|_, text| text.to_owned())
    }

    /// Returns the text, laid out for a screen with colours.
    pub fn colored(&self, screen: Screen) -> String {
        paint_text(&self.render(screen, &painted))
    }

    /// Returns the text, laid out for a screen. `paint` gives a piece of a picture its colour.
    fn render(&self, screen: Screen, paint: &dyn Fn(draw::Tone, &str) -> String) -> String {
        let mut out = String::new();
        // Leaves raw texts and commands: a sign in them may be part of a name that the user chose.
        let drawable = |text: &str| if screen.unicode { text.to_owned() } else { in_ascii(text) };
        for block in &self.0 {
            match block {
                Block::Raw(text) => out.push_str(text),
                Block::Line { indent, text } => {
                    let text = &drawable(&escape_controls(text));
                    let lead = " ".repeat(*indent);
                    write_wrapped(&mut out, &lead, indent + 2, text, screen);
                }
                Block::Row { label, column, text, .. } => {
                    write_row(&mut out, &drawable(label), *column, &drawable(text), screen);
                }
                Block::Commands(commands) => {
                    let widest = commands.iter().map(|(command, _)| display_width(command)).max();
                    let column = 4 + widest.unwrap_or(0);
                    for (command, effect) in commands {
                        let (label, effect) = (&format!("  {command}"), &drawable(effect));
                        if column + MIN_WIDTH_BESIDE_LABEL <= MAX_PROSE_WIDTH {
                            write_row(&mut out, label, column, effect, screen);
                        } else {
                            write_below(&mut out, &escape_controls(label), effect, screen);
                        }
                    }
                }
                Block::Command { column, lead, text } => {
                    let end = column + lead.len() + display_width(text);
                    let fits = end <= screen.width || !screen.wraps;
                    let column = if fits { *column } else { INDENT_BELOW_LABEL.min(*column) };
                    let _ = writeln!(out, "{:column$}{lead}{}", "", escape_controls(text));
                }
                Block::Pair(left, right) => {
                    for line in draw::beside(left, right, screen.width, screen.unicode, paint) {
                        let _ = writeln!(out, "{line}");
                    }
                }
            }
        }
        if !out.is_empty() && !out.ends_with('\n') {
            out.push('\n');
        }
        out
    }
}

impl From<String> for Page {
    fn from(text: String) -> Self {
        Self(vec![Block::Raw(text)])
    }
}

impl From<&str> for Page {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

/// Writes a label and the text beside it, or below it if there is no room beside it.
fn write_row(out: &mut String, label: &str, column: usize, text: &str, screen: Screen) {
    let (label, text) = (&escape_controls(label), &escape_controls(text));
    let column = column.max(display_width(label) + 2);
    let widest = unbreakable_words(text).map(|word| display_width(word.word)).max().unwrap_or(0);
    if screen.prose_width() < column + widest.max(MIN_WIDTH_BESIDE_LABEL).min(display_width(text)) {
        write_below(out, label, text, screen);
    } else {
        write_wrapped(out, &padded(label, column), column, text, screen);
    }
}

/// Writes a label and the text below it. Both are escaped already.
fn write_below(out: &mut String, label: &str, text: &str, screen: Screen) {
    let _ = writeln!(out, "{}", label.trim_end());
    write_wrapped(out, &" ".repeat(INDENT_BELOW_LABEL), INDENT_BELOW_LABEL, text, screen);
}

/// Returns a text with blanks behind it, up to this column.
pub(crate) fn padded(text: &str, column: usize) -> String {
    text.to_owned() + &" ".repeat(column.saturating_sub(display_width(text)))
}

/// Writes `lead` and then `text` in lines that fit. The further lines begin at column `hang`.
fn write_wrapped(out: &mut String, lead: &str, hang: usize, text: &str, screen: Screen) {
    for line in wrap(lead, hang, text, screen.prose_width()) {
        let _ = writeln!(out, "{line}");
    }
}

/// Returns `text` after `lead`, in lines of at most `width`. A word that is longer than a line is
/// never broken, and stands alone. The lines after the first begin at column `hang`.
pub(crate) fn wrap(lead: &str, hang: usize, text: &str, width: usize) -> Vec<String> {
    let hang = " ".repeat(hang);
    let text = text.trim_start_matches(' ');
    if text.is_empty() {
        return vec![lead.trim_end().to_owned()];
    }
    // The first word goes below `lead` if it fits there and not beside it.
    let first = unbreakable_words(text).next().map_or(0, |word| display_width(word.word));
    let is_below = display_width(lead) + first > width && hang.len() + first <= width;
    let options = Options::new(width)
        .initial_indent(if is_below { &hang } else { lead })
        .subsequent_indent(&hang)
        .word_separator(WordSeparator::Custom(|text| Box::new(unbreakable_words(text))))
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    let lead = is_below.then(|| lead.trim_end().to_owned());
    lead.into_iter().chain(textwrap::wrap(text, options).into_iter().map(Cow::into_owned)).collect()
}

/// Splits a text into words. A quoted text, a short remark in brackets at the end, and an arrow
/// with its target each count as one word, with the blanks in them.
fn unbreakable_words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = first_word_len(rest);
        let gap = rest[end..].len() - rest[end..].trim_start_matches(' ').len();
        let (word, after) = rest.split_at(end + gap);
        rest = after;
        (!word.is_empty()).then(|| Word::from(word))
    })
}

/// Returns the length of the first word in bytes.
fn first_word_len(text: &str) -> usize {
    if text.starts_with('(') && text.len() <= MAX_REMARK_LEN {
        return text.len();
    }
    if let Some(after) = text.strip_prefix("-> ") {
        let target = after.trim_start_matches(' ');
        return text.len() - target.len() + first_word_len(target);
    }
    let mut previous = ' ';
    let mut skip_until = 0;
    for (at, c) in text.char_indices() {
        if at < skip_until {
            continue;
        }
        if c == ' ' {
            return at;
        }
        if c == '\'' && !previous.is_alphanumeric() {
            skip_until = text[at + 1..].find('\'').map_or(0, |close| at + close + 2);
        }
        previous = c;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_at(width: usize, page: &Page) -> Vec<String> {
        let screen = Screen { width, unicode: true, wraps: true };
        page.plain(screen).lines().map(str::to_owned).collect()
    }

    fn split_words(text: &str) -> Vec<&str> {
        unbreakable_words(text).map(|word| word.word).collect()
    }

    #[test]
    fn escaped_json_has_no_controls_and_the_same_value() {
        let json = "{\n  \"a\u{9b}2J\u{7f}\": \"\u{202e}é\"\n}";
        let text = escape_json_controls(json);
        assert_eq!(text, "{\n  \"a\\u009b2J\\u007f\": \"\\u202eé\"\n}");
        let value = |json| serde_json::from_str::<serde_json::Value>(json).unwrap();
        assert_eq!(value(&text), value(json));
    }

    #[test]
    fn row_wraps_between_words_within_the_width() {
        let mut page = Page::default();
        page.row("ok  check", 12, "one two three four five six seven eight nine ten eleven");
        assert_eq!(
            lines_at(45, &page),
            ["ok  check   one two three four five six seven", "            eight nine ten eleven"]
        );
        for width in 60..=200 {
            assert!(lines_at(width, &page).iter().all(|line| display_width(line) <= width), "{width}");
        }
    }

    #[test]
    fn wrap_of_empty_text_returns_the_lead() {
        assert_eq!(wrap("  hint: rm  'a b' ", 4, "", 10), ["  hint: rm  'a b'"]);
    }

    #[test]
    fn wide_characters_take_two_columns() {
        let mut page = Page::default();
        page.row("* 家の網", 12, "open");
        page.row("* home", 12, "目次 目次 目次 目次 目次 目次 目次 目次 目次");
        assert_eq!(
            lines_at(45, &page),
            ["* 家の網    open", "* home      目次 目次 目次 目次 目次 目次", "            目次 目次 目次"]
        );
    }

    #[test]
    fn pipe_breaks_no_line() {
        let mut page = Page::default();
        page.row("warning  config.findings", 34, "word ".repeat(60));
        page.command(34, "-> ", format!("myownllm-mesh --home /{} status", "x".repeat(90)));
        let pipe = Screen::new(None, false, |_| None);
        let text = page.plain(pipe);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.lines().nth(1).unwrap().starts_with(&format!("{:34}-> my", "")), "{text}");
    }

    #[test]
    fn long_path_moves_below_the_label_unbroken() {
        let mut page = Page::default();
        let path = format!("/{}", "x".repeat(45));
        page.row("label", 14, format!("it is {path} (here)"));
        assert_eq!(lines_at(50, &page), ["label", "    it is", &format!("    {path}"), "    (here)"]);
    }

    #[test]
    fn arrow_with_target_and_short_remark_are_one_word_each() {
        assert_eq!(split_words("~/a  ->  ~/b  (2 files)"), ["~/a", "->  ~/b", "(2 files)"]);
    }

    #[test]
    fn text_without_room_goes_below_its_label() {
        let mut page = Page::default();
        page.row("warning  state.moved", 34, "four files of the daemon's are there");
        page.command(34, "-> ", "myownllm-mesh --home /home/anna migrate");
        assert_eq!(
            lines_at(60, &page),
            [
                "warning  state.moved",
                "    four files of the daemon's are there",
                "    -> myownllm-mesh --home /home/anna migrate"
            ]
        );
        assert_eq!(lines_at(90, &page).len(), 2);
    }

    #[test]
    fn quoted_text_is_one_word() {
        assert_eq!(
            split_words("the app's home  '/a b/c d' is"),
            ["the", "app's", "home", "'/a b/c d'", "is"]
        );
    }

    #[test]
    fn the_terminal_counts_then_columns_and_a_dumb_one_gets_ascii() {
        let var = |name: &'static str, value: &'static str| {
            move |asked: &str| (asked == name).then(|| OsString::from(value))
        };
        assert_eq!(Screen::new(Some(132), true, var("COLUMNS", "70")).width, 132);
        assert_eq!(Screen::new(None, false, var("COLUMNS", "70")).width, 70);
        assert_eq!(Screen::new(Some(0), true, var("COLUMNS", "nonsense")).width, DEFAULT_WIDTH);
        assert_eq!(Screen::new(Some(3), true, |_: &str| None).width, MIN_WIDTH);
        let wraps = |is_terminal, name, value| Screen::new(None, is_terminal, var(name, value)).wraps;
        assert!(wraps(true, "TERM", "xterm") && wraps(false, "COLUMNS", "70"));
        assert!(!wraps(false, "COLUMNS", "nonsense"));
        assert!(!Screen::new(None, false, var("TERM", "dumb")).unicode);
        assert!(Screen::new(None, true, var("TERM", "xterm")).unicode);
        assert!(Screen::new(None, false, |_: &str| None).unicode);
        let mut page = Page::default();
        page.line("wait…");
        assert_eq!(page.plain(Screen { width: 80, unicode: false, wraps: true }), "wait...\n");
        let mut page = Page::from("{\"a\": \"…\"}\n".to_owned());
        page.command(2, "-> ", "cat '/home/a – b'");
        let ascii = page.plain(Screen { width: 80, unicode: false, wraps: true });
        assert_eq!(ascii, "{\"a\": \"…\"}\n  -> cat '/home/a – b'\n");
    }
}
