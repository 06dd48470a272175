//! What a folder holds, at one moment; what became of it at another; and how both are drawn.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};

use clap::builder::styling::Style;

use crate::Fallible;
use crate::style::{self, Signs};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Folder,
    /// A regular file, with a hash of its bytes.
    File(u64),
    Link(PathBuf),
    Socket,
    Other,
}

/// One name in a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// Everything that must stay as it is when nothing is written: mode, owner, size, inode, mtime, ctime (with
    /// nanoseconds).
    pub(crate) stamp: Vec<i64>,
}

/// Every name below a folder, by its path relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Looks at everything below `root`, without following links and without opening anything but regular files.
    pub(crate) fn of(root: &Path) -> Fallible<Self> {
        let mut tree = Self::default();
        let mut folders = vec![PathBuf::new()];
        while let Some(folder) = folders.pop() {
            let say = |e: std::io::Error| format!("cannot look at {}: {e}", root.join(&folder).display());
            for entry in std::fs::read_dir(root.join(&folder)).map_err(say)? {
                let entry = entry.map_err(say)?;
                let path = folder.join(entry.file_name());
                let meta = entry.metadata().map_err(say)?;
                let kind = if meta.is_dir() {
                    folders.push(path.clone());
                    Kind::Folder
                } else if meta.is_file() {
                    Kind::File(hash(&std::fs::read(entry.path()).map_err(say)?))
                } else if meta.is_symlink() {
                    Kind::Link(std::fs::read_link(entry.path()).map_err(say)?)
                } else if is_socket(&meta) {
                    Kind::Socket
                } else {
                    Kind::Other
                };
                tree.0.insert(path, Entry { kind, stamp: stamp(&meta) });
            }
        }
        Ok(tree)
    }

    /// What differs from `other`, name by name, stamps included; empty when nothing was written in between.
    pub(crate) fn touched(&self, other: &Self) -> Vec<PathBuf> {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }

    fn files(&self) -> impl Iterator<Item = (&PathBuf, &Kind)> {
        self.0.iter().filter(|(_, entry)| entry.kind != Kind::Folder).map(|(path, entry)| (path, &entry.kind))
    }
}

/// The hash of a file's bytes; for telling files apart, not for security.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[cfg(unix)]
fn is_socket(meta: &std::fs::Metadata) -> bool {
    std::os::unix::fs::FileTypeExt::is_socket(&meta.file_type())
}

#[cfg(not(unix))]
fn is_socket(_: &std::fs::Metadata) -> bool {
    false
}

#[cfg(unix)]
fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    use std::os::unix::fs::MetadataExt as _;
    vec![
        i64::from(meta.mode()),
        i64::from(meta.uid()),
        i64::from(meta.gid()),
        meta.size().cast_signed(),
        meta.ino().cast_signed(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec(),
    ]
}

#[cfg(not(unix))]
fn stamp(meta: &std::fs::Metadata) -> Vec<i64> {
    let modified = meta.modified().ok().and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
    vec![
        meta.len().cast_signed(),
        modified.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)),
    ]
}

/// What became of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Same,
    Changed,
    Moved(PathBuf),
    /// Only here: new in an after, gone in a before.
    Alone,
}

/// The fates of two trees' names, each tree's own.
#[derive(Debug)]
pub(crate) struct Fates {
    pub(crate) before: BTreeMap<PathBuf, Fate>,
    pub(crate) after: BTreeMap<PathBuf, Fate>,
}

/// Compares by content: a file is moved when its bytes lie under another name afterwards, and no longer under the old.
pub(crate) fn compare(before: &Tree, after: &Tree) -> Fates {
    let mut fates = Fates { before: BTreeMap::new(), after: BTreeMap::new() };
    let arrived: Vec<_> = after.files().filter(|(path, _)| !before.0.contains_key(*path)).collect();
    for (path, entry) in &before.0 {
        let same_content = |(to, kind): &&(&PathBuf, &Kind)| {
            matches!(kind, Kind::File(_) | Kind::Link(_))
                && **kind == entry.kind
                && !fates.after.contains_key(*to)
        };
        let fate = match after.0.get(path) {
            Some(now) if now.kind == entry.kind => Fate::Same,
            Some(_) => Fate::Changed,
            // Of several files with the same bytes the one that kept its name is the likelier.
            None => {
                let same_name = |to: &&(&PathBuf, &Kind)| to.0.file_name() == path.file_name();
                let to = arrived.iter().filter(same_content).find(same_name);
                match to.or_else(|| arrived.iter().find(same_content)) {
                    Some((to, _)) => Fate::Moved((*to).clone()),
                    None => Fate::Alone,
                }
            }
        };
        match &fate {
            Fate::Moved(to) => drop(fates.after.insert(to.clone(), Fate::Moved(path.clone()))),
            Fate::Same | Fate::Changed => drop(fates.after.insert(path.clone(), fate.clone())),
            Fate::Alone => {}
        }
        fates.before.insert(path.clone(), fate);
    }
    for path in after.0.keys() {
        fates.after.entry(path.clone()).or_insert(Fate::Alone);
    }
    fates
}

/// One drawn line: the text, how many columns it takes, and the text with its colours.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    width: usize,
    painted: String,
}

impl Line {
    fn new(parts: &[(Style, &str)]) -> Self {
        let width = parts.iter().map(|(_, text)| text.chars().count()).sum();
        let shown = parts.iter().filter(|(_, text)| !text.is_empty());
        let painted = shown.map(|(style, text)| style::paint(*style, text)).collect();
        Self { width, painted }
    }
}

/// In a folder with more entries than `CROWD`, the first `SHOWN` stand for all.
const CROWD: usize = 8;
const SHOWN: usize = 3;

/// Draws a tree; `gone` tells a before (alone = gone) from an after (alone = new).
fn draw(tree: &Tree, fates: &BTreeMap<PathBuf, Fate>, gone: bool, signs: Signs) -> Vec<Line> {
    let mut children: BTreeMap<&Path, Vec<&PathBuf>> = BTreeMap::new();
    for path in tree.0.keys() {
        children.entry(path.parent().unwrap_or(Path::new(""))).or_default().push(path);
    }
    let mut lines = Vec::new();
    draw_below(
        Path::new(""),
        "",
        &children,
        &mut lines,
        &|path| {
            let folder = tree.0.get(path).is_some_and(|entry| entry.kind == Kind::Folder);
            let slash = if folder { "/" } else { "" };
            let name = format!("{}{slash}", path.file_name().unwrap_or_default().to_string_lossy());
            let (style, mark) = match fates.get(path) {
                Some(Fate::Moved(to)) if gone => {
                    (style::MOVED, format!("{} {}", signs.to, shorten(path, to)))
                }
                Some(Fate::Moved(from)) => (style::MOVED, format!("{} {}", signs.from, shorten(path, from))),
                Some(Fate::Changed) => (style::CHANGED, "~ changed".to_owned()),
                // An emptied folder says nothing that its files do not say.
                Some(Fate::Alone) if folder => (style::DIM, String::new()),
                Some(Fate::Alone) if gone => (style::BAD, "- gone".to_owned()),
                Some(Fate::Alone) => (style::GOOD, "+ new".to_owned()),
                Some(Fate::Same) if !folder => (style::DIM, "=".to_owned()),
                _ => (style::DIM, String::new()),
            };
            (name, style, mark)
        },
        signs,
    );
    if lines.is_empty() {
        lines.push(Line::new(&[(style::DIM, "(nothing)")]));
    }
    lines
}

fn draw_below(
    folder: &Path,
    indent: &str,
    children: &BTreeMap<&Path, Vec<&PathBuf>>,
    lines: &mut Vec<Line>,
    describe: &dyn Fn(&Path) -> (String, Style, String),
    signs: Signs,
) {
    let Some(entries) = children.get(folder) else { return };
    let shown = if entries.len() > CROWD { SHOWN } else { entries.len() };
    for (at, path) in entries.iter().take(shown).enumerate() {
        let last = at + 1 == entries.len();
        let (branch, trunk) = if folder.as_os_str().is_empty() {
            ("", "")
        } else if last {
            (signs.last, "   ")
        } else {
            (signs.branch, signs.trunk)
        };
        let (name, style, mark) = describe(path);
        let stem = format!("{indent}{branch}");
        lines.push(Line::new(&[
            (style::DIM, &stem),
            (Style::new(), &name),
            (Style::new(), if mark.is_empty() { "" } else { " " }),
            (style, &mark),
        ]));
        draw_below(path, &format!("{indent}{trunk}"), children, lines, describe, signs);
    }
    if shown < entries.len() {
        let mut marks: BTreeMap<String, usize> = BTreeMap::new();
        for path in &entries[shown..] {
            let mark = describe(path).2;
            let mark = mark.split(' ').next().unwrap_or_default().to_owned();
            *marks.entry(mark).or_default() += 1;
        }
        let marks: Vec<_> = marks.iter().map(|(mark, count)| format!("{count} {mark}")).collect();
        let more = format!("{} and {} more ({})", signs.more, entries.len() - shown, marks.join(", "));
        let stem = format!("{indent}{}", signs.last);
        lines.push(Line::new(&[(style::DIM, &stem), (style::DIM, &more)]));
    }
}

/// The other place of a moved file, for a mark: the folder that matters, or the name when the folder is the same.
fn shorten(here: &Path, there: &Path) -> String {
    if here.parent() == there.parent() {
        return there.file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
    let folder = there.parent().unwrap_or(Path::new("")).to_string_lossy();
    let own = folder.strip_prefix(".myownllm/").unwrap_or(&folder);
    format!("{own}/")
}

/// Draws both trees: side by side where `width` allows, one after the other where not.
pub(crate) fn picture(
    before: &Tree,
    after: &Tree,
    titles: [&str; 2],
    width: usize,
    signs: Signs,
) -> Vec<String> {
    let fates = compare(before, after);
    let left = draw(before, &fates.before, true, signs);
    let right = draw(after, &fates.after, false, signs);
    let heading = |title: &str| Line::new(&[(style::TITLE, title)]);
    let left: Vec<_> = std::iter::once(heading(titles[0])).chain(left).collect();
    let right: Vec<_> = std::iter::once(heading(titles[1])).chain(right).collect();
    let widest = |lines: &[Line]| lines.iter().map(|line| line.width).max().unwrap_or(0);
    let column = widest(&left) + 3;
    if column + widest(&right) > width {
        let gap = std::iter::once(String::new());
        return left
            .into_iter()
            .map(|line| line.painted)
            .chain(gap)
            .chain(right.into_iter().map(|line| line.painted))
            .collect();
    }
    (0..left.len().max(right.len()))
        .map(|at| {
            let (text, used) = left.get(at).map_or(("", 0), |line| (line.painted.as_str(), line.width));
            let beside = right.get(at).map_or("", |line| line.painted.as_str());
            format!("{text}{:pad$}{beside}", "", pad = column - used).trim_end().to_owned()
        })
        .collect()
}

/// Both trees for machines: each name with what became of it.
pub(crate) fn as_json(before: &Tree, after: &Tree) -> [serde_json::Value; 2] {
    let fates = compare(before, after);
    let list = |fates: &BTreeMap<PathBuf, Fate>, alone: &str| {
        let name = |(path, fate): (&PathBuf, &Fate)| {
            let mark = match fate {
                Fate::Moved(_) => "moved",
                Fate::Same => "unchanged",
                Fate::Changed => "changed",
                Fate::Alone => alone,
            };
            let other = if let Fate::Moved(other) = fate { Some(other.to_string_lossy()) } else { None };
            serde_json::json!({ "path": path.to_string_lossy(), "mark": mark, "other": other })
        };
        fates.iter().map(name).collect()
    };
    [list(&fates.before, "gone"), list(&fates.after, "new")]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let mut tree = Tree::default();
        for (path, content) in files {
            let path = PathBuf::from(path);
            for folder in path.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
                tree.0.insert(folder.to_owned(), Entry { kind: Kind::Folder, stamp: vec![] });
            }
            tree.0.insert(path, Entry { kind: Kind::File(hash(content.as_bytes())), stamp: vec![] });
        }
        tree
    }

    #[test]
    fn a_file_is_moved_when_its_bytes_are_elsewhere_and_only_there() {
        let before = tree(&[("a/key", "k"), ("a/config", "1"), ("a/old", "o"), ("a/stays", "s")]);
        let after = tree(&[("b/key", "k"), ("a/config", "2"), ("a/stays", "s"), ("b/copy", "s")]);
        let fates = compare(&before, &after);
        assert_eq!(fates.before[Path::new("a/key")], Fate::Moved("b/key".into()));
        assert_eq!(fates.after[Path::new("b/key")], Fate::Moved("a/key".into()));
        assert_eq!(fates.before[Path::new("a/config")], Fate::Changed);
        assert_eq!(fates.before[Path::new("a/old")], Fate::Alone);
        assert_eq!(fates.before[Path::new("a/stays")], Fate::Same);
        assert_eq!(fates.after[Path::new("b/copy")], Fate::Alone);
    }

    #[test]
    fn two_files_with_the_same_bytes_keep_their_names() {
        let before = tree(&[("a/one", "x"), ("a/two", "x")]);
        let after = tree(&[("b/one", "x"), ("b/two", "x")]);
        let fates = compare(&before, &after);
        assert_eq!(fates.before[Path::new("a/one")], Fate::Moved("b/one".into()));
        assert_eq!(fates.before[Path::new("a/two")], Fate::Moved("b/two".into()));
    }

    #[test]
    fn a_crowded_folder_is_summed_up() {
        let files: Vec<_> = (0..20).map(|n| format!("d/{n:02}")).collect();
        let files: Vec<_> = files.iter().map(|name| (name.as_str(), "x")).collect();
        let lines = picture(&tree(&files), &tree(&files), ["before", "after"], 100, style::signs());
        assert!(lines.iter().any(|line| line.contains("and 17 more (17 =)")), "{lines:#?}");
    }
}
