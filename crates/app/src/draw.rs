//! The one drawer of trees. It knows names and marks, and nothing of files: `cargo xtask` draws with this file as well.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const BRANCH: &str = "├─ ";
const LAST: &str = "└─ ";
const TRUNK: &str = "│  ";

/// The text for a screen that shows ASCII alone: our own signs are spelled out.
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

/// What a piece of a line is, for its colour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Tone {
    Title,
    Plain,
    Dim,
    Moved,
    Changed,
    Good,
    Bad,
}

/// One drawn line, in pieces.
pub(crate) type Line = Vec<(Tone, String)>;

/// One name in a tree, and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) folder: bool,
    pub(crate) tone: Tone,
    pub(crate) mark: String,
}

/// In a folder with more entries than `CROWD`, the first `SHOWN` stand for all.
const CROWD: usize = 8;
const SHOWN: usize = 3;

/// Draws a tree below its title; folders that are not among the names are drawn where names are below them.
pub(crate) fn tree(title: &str, names: &BTreeMap<PathBuf, Node>) -> Vec<Line> {
    let mut children: BTreeMap<&Path, Vec<&Path>> = BTreeMap::new();
    for name in names.keys() {
        for path in name.ancestors().filter(|path| !path.as_os_str().is_empty()) {
            let beside = children.entry(path.parent().unwrap_or(Path::new(""))).or_default();
            if let Err(place) = beside.binary_search(&path) {
                beside.insert(place, path);
            }
        }
    }
    let mut lines = vec![vec![(Tone::Title, title.to_owned())]];
    below(Path::new(""), "", &Names { names, children }, &mut lines);
    if lines.len() == 1 {
        lines.push(vec![(Tone::Dim, "(nothing)".to_owned())]);
    }
    lines
}

struct Names<'a> {
    names: &'a BTreeMap<PathBuf, Node>,
    children: BTreeMap<&'a Path, Vec<&'a Path>>,
}

impl Names<'_> {
    fn mark(&self, path: &Path) -> (Tone, &str) {
        self.names.get(path).map_or((Tone::Dim, ""), |node| (node.tone, node.mark.as_str()))
    }
}

fn below(folder: &Path, indent: &str, all: &Names<'_>, lines: &mut Vec<Line>) {
    let Some(entries) = all.children.get(folder) else { return };
    let shown = if entries.len() > CROWD { SHOWN } else { entries.len() };
    for (at, path) in entries.iter().take(shown).enumerate() {
        let last = at + 1 == entries.len();
        let (branch, trunk) = match (folder.as_os_str().is_empty(), last) {
            (true, _) => ("", ""),
            (_, true) => (LAST, "   "),
            (_, false) => (BRANCH, TRUNK),
        };
        let is_folder = all.names.get(*path).is_none_or(|node| node.folder);
        let slash = if is_folder { "/" } else { "" };
        let name = tamed(&path.file_name().unwrap_or_default().to_string_lossy());
        let mut line =
            vec![(Tone::Dim, format!("{indent}{branch}")), (Tone::Plain, format!("{name}{slash}"))];
        let (tone, mark) = all.mark(path);
        if !mark.is_empty() {
            line.extend([(Tone::Plain, " ".to_owned()), (tone, mark.to_owned())]);
        }
        lines.push(line);
        below(path, &format!("{indent}{trunk}"), all, lines);
    }
    if shown < entries.len() {
        let mut marks: BTreeMap<&str, usize> = BTreeMap::new();
        for path in &entries[shown..] {
            let word = all.mark(path).1.split(' ').next().unwrap_or_default();
            *marks.entry(word).or_default() += 1;
        }
        let marks: Vec<_> = marks.iter().map(|(mark, count)| format!("{count} {mark}")).collect();
        let more = format!("… and {} more ({})", entries.len() - shown, marks.join(", "));
        lines.push(vec![(Tone::Dim, format!("{indent}{LAST}{more}"))]);
    }
}

/// A text that cannot steer a terminal, nor turn what is around it about.
pub(crate) fn tamed(text: &str) -> String {
    text.chars().map(|c| if steers(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Control characters, and those of Unicode that end lines or set the direction of writing.
pub(crate) fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Two pictures side by side where `width` allows, one after the other where not.
pub(crate) fn beside(
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
    let wide = |line: &Line| line.iter().map(|(_, text)| text.chars().count()).sum::<usize>();
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
