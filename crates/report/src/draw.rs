//! Draws trees. It knows names and marks, and nothing of files: the rig of the tests draws with it
//! as well.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{MAIN_SEPARATOR, MAIN_SEPARATOR_STR, Path};

use myownllm_launch::words::escape_controls;
use textwrap::core::display_width;

const BRANCH: &str = "├─ ";
const LAST: &str = "└─ ";
const TRUNK: &str = "│  ";

/// Returns the text for a screen that shows only ASCII: spells out this program's own signs.
pub(crate) fn in_ascii(text: &str) -> String {
    const SPELLED: [(&str, &str); 9] = [
        (BRANCH, "|- "),
        (LAST, "`- "),
        (TRUNK, "|  "),
        ("→", "->"),
        ("←", "<-"),
        ("…", "..."),
        ("–", "-"),
        ("·", "-"),
        ("✓", "ok"),
    ];
    SPELLED.iter().fold(text.to_owned(), |text, (sign, spelled)| text.replace(sign, spelled))
}

/// The tone of a piece of a line, for its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tone {
    /// A heading.
    Title,
    /// A name.
    Plain,
    /// A name that matters little.
    Dim,
    /// Something that moves.
    Moved,
    /// Something that changes.
    Changed,
    /// Something new.
    Good,
    /// Something wrong.
    Bad,
}

impl Tone {
    /// Returns the name of the tone in a style sheet.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Title => "title",
            Self::Plain => "plain",
            Self::Dim => "dim",
            Self::Moved => "moved",
            Self::Changed => "changed",
            Self::Good => "good",
            Self::Bad => "bad",
        }
    }
}

/// One drawn line, in pieces.
pub type Line = Vec<(Tone, String)>;

/// One name in a tree, and what became of the file.
#[derive(Clone, Debug)]
pub struct Node {
    /// True for a directory.
    pub dir: bool,
    /// The tone, for the colour.
    pub tone: Tone,
    /// A remark on what became of the file.
    pub mark: String,
}

/// A directory with more entries than `CROWD` shows only the first `SHOWN`.
const CROWD: usize = 8;
const SHOWN: usize = 3;

/// The names of a picture, each below its directory.
#[derive(Debug, Default)]
pub struct Names {
    /// The mark of this name; `None` for a directory that is only on the way to others.
    node: Option<Node>,
    below: BTreeMap<OsString, Names>,
}

impl Names {
    /// Puts a name into the picture. Replaces an earlier mark of the name.
    pub fn put(&mut self, path: &Path, node: Node) {
        let mut at = self;
        for name in path {
            at = at.below.entry(name.to_owned()).or_default();
        }
        at.node = Some(node);
    }

    /// Returns true if this name, or a directory on the way to it, has a mark.
    pub(crate) fn covers(&self, path: &Path) -> bool {
        let mut at = Some(self);
        let mut names = path.iter();
        while let Some(here) = at {
            if here.node.is_some() {
                return true;
            }
            at = names.next().and_then(|name| here.below.get(name));
        }
        false
    }

    fn mark(&self) -> (Tone, &str) {
        self.node.as_ref().map_or((Tone::Dim, ""), |node| (node.tone, node.mark.as_str()))
    }
}

/// Draws a tree below its title. Draws a directory without a mark only if there are names below it.
pub fn tree(title: &str, names: &Names) -> Vec<Line> {
    let mut lines = vec![vec![(Tone::Title, title.to_owned())]];
    below(names, "", true, &mut lines);
    if lines.len() == 1 {
        lines.push(vec![(Tone::Dim, "(nothing)".to_owned())]);
    }
    lines
}

fn below(dir: &Names, indent: &str, is_top: bool, lines: &mut Vec<Line>) {
    let entries = &dir.below;
    let shown = if entries.len() > CROWD { SHOWN } else { entries.len() };
    for (at, (name, entry)) in entries.iter().take(shown).enumerate() {
        let last = at + 1 == entries.len();
        let (branch, trunk) = match (is_top, last) {
            (true, _) => ("", ""),
            (_, true) => (LAST, "   "),
            (_, false) => (BRANCH, TRUNK),
        };
        let name = escape_controls(&name.to_string_lossy());
        let is_dir = entry.node.as_ref().is_none_or(|node| node.dir);
        // The root directory is already a separator.
        let slash = if is_dir && !name.ends_with(MAIN_SEPARATOR) { MAIN_SEPARATOR_STR } else { "" };
        let mut line =
            vec![(Tone::Dim, format!("{indent}{branch}")), (Tone::Plain, format!("{name}{slash}"))];
        let (tone, mark) = entry.mark();
        if !mark.is_empty() {
            line.extend([(Tone::Plain, " ".to_owned()), (tone, mark.to_owned())]);
        }
        lines.push(line);
        below(entry, &format!("{indent}{trunk}"), false, lines);
    }
    if shown < entries.len() {
        let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
        for word in entries.values().skip(shown).filter_map(|entry| entry.mark().1.split(' ').next()) {
            *marks.entry(word).or_default() += 1;
        }
        marks.remove("");
        let marks: Vec<_> = marks.iter().map(|(mark, count)| format!("{count} {mark}")).collect();
        let marks = if marks.is_empty() { String::new() } else { format!(" ({})", marks.join(", ")) };
        let more = format!("… and {} more{marks}", entries.len() - shown);
        lines.push(vec![(Tone::Dim, format!("{indent}{LAST}{more}"))]);
    }
}

/// Returns two pictures side by side if `width` allows it, else one after the other.
pub fn beside(
    left: &[Line],
    right: &[Line],
    width: usize,
    unicode: bool,
    paint: &dyn Fn(Tone, &str) -> String,
) -> Vec<String> {
    let spelled = |lines: &[Line]| -> Vec<Line> {
        let piece =
            |(tone, text): &(Tone, String)| (*tone, if unicode { text.clone() } else { in_ascii(text) });
        lines.iter().map(|line| line.iter().map(piece).collect()).collect()
    };
    let (left, right) = (&spelled(left)[..], &spelled(right)[..]);
    let wide = |line: &Line| line.iter().map(|(_, text)| display_width(text)).sum::<usize>();
    let widest = |lines: &[Line]| lines.iter().map(wide).max().unwrap_or(0);
    let painted = |line: &Line| -> String {
        line.iter().filter(|(_, text)| !text.is_empty()).map(|(tone, text)| paint(*tone, text)).collect()
    };
    let column = widest(left) + 3;
    if column + widest(right) > width {
        let gap = std::iter::once(String::new());
        return left.iter().map(painted).chain(gap).chain(right.iter().map(painted)).collect();
    }
    (0..left.len().max(right.len()))
        .map(|at| {
            let beside = right.get(at).map(painted).unwrap_or_default();
            let (text, used) = left.get(at).map_or((String::new(), 0), |line| (painted(line), wide(line)));
            format!("{text}{:pad$}{beside}", "", pad = column - used).trim_end().to_owned()
        })
        .collect()
}
