//! A snapshot of a directory, and its differences from another snapshot. The program's own code
//! draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use clap::builder::styling::Style;
use myownllm_report::draw::{self, Names, Node, Tone};

use crate::fixture::APP;
use crate::{Fallible, style};

/// The kind of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Dir,
    /// A regular file, with a hash of its bytes.
    File(u64),
    Link(PathBuf),
    Socket,
    Other,
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    /// All metadata that stays the same if nothing is written: mode, owner, size, inode, mtime,
    /// ctime (with nanoseconds).
    pub(crate) stamp: Vec<i64>,
}

/// Every path below a directory, relative to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tree(pub(crate) BTreeMap<PathBuf, Entry>);

impl Tree {
    /// Reads everything below `root`, without following symlinks, and opens only regular files.
    pub(crate) fn of(root: &Path) -> Fallible<Self> {
        let mut tree = Self::default();
        let mut dirs = vec![PathBuf::new()];
        while let Some(dir) = dirs.pop() {
            let say = |e: std::io::Error| format!("cannot look at {}: {e}", root.join(&dir).display());
            for entry in std::fs::read_dir(root.join(&dir)).map_err(say)? {
                let entry = entry.map_err(say)?;
                let path = dir.join(entry.file_name());
                let meta = entry.metadata().map_err(say)?;
                let kind = if meta.is_dir() {
                    dirs.push(path.clone());
                    Kind::Dir
                } else if meta.is_file() {
                    Kind::File(hash(&std::fs::read(entry.path()).map_err(say)?))
                } else if meta.is_symlink() {
                    Kind::Link(std::fs::read_link(entry.path()).map_err(say)?)
                } else if is_socket(&meta) {
                    Kind::Socket
                } else {
                    Kind::Other
                };
                tree.0.insert(path, Entry { kind, stamp: integration_tests::testkit::stamp(&meta) });
            }
        }
        Ok(tree)
    }

    /// Returns the paths that differ from `other`, stamps included; empty if nothing was written in
    /// between.
    pub(crate) fn touched(&self, other: &Self) -> Vec<PathBuf> {
        let names: BTreeSet<_> = self.0.keys().chain(other.0.keys()).collect();
        names.into_iter().filter(|name| self.0.get(*name) != other.0.get(*name)).cloned().collect()
    }

    fn files(&self) -> impl Iterator<Item = (&PathBuf, &Kind)> {
        self.0.iter().filter(|(_, entry)| entry.kind != Kind::Dir).map(|(path, entry)| (path, &entry.kind))
    }
}

/// Hashes a file's bytes, to tell files apart. Not for security.
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

/// The fate of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Same,
    Changed,
    Moved(PathBuf),
    /// Only in this tree: new in an after, gone in a before.
    Alone,
}

/// The fates of the paths of two trees.
#[derive(Debug)]
pub(crate) struct Fates {
    pub(crate) before: BTreeMap<PathBuf, Fate>,
    pub(crate) after: BTreeMap<PathBuf, Fate>,
}

/// Compares by content: a file is moved if its bytes are at another path afterwards, and no longer
/// at the old one.
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
            // Of several files with the same bytes, the one with the same name is the likelier
            // target.
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

/// Returns the drawn form of a tree. `gone` tells a before (alone = gone) from an after (alone =
/// new).
fn nodes(tree: &Tree, fates: &BTreeMap<PathBuf, Fate>, gone: bool) -> Names {
    let mut names = Names::default();
    for (path, entry) in &tree.0 {
        let dir = entry.kind == Kind::Dir;
        let (tone, mark) = match fates.get(path) {
            Some(Fate::Moved(to)) if gone => (Tone::Moved, format!("→ {}", shorten(path, to))),
            Some(Fate::Moved(from)) => (Tone::Moved, format!("← {}", shorten(path, from))),
            Some(Fate::Changed) => (Tone::Changed, "~ changed".to_owned()),
            // An emptied directory shows nothing that its files do not show.
            Some(Fate::Alone) if dir => (Tone::Dim, String::new()),
            Some(Fate::Alone) if gone => (Tone::Bad, "- gone".to_owned()),
            Some(Fate::Alone) => (Tone::Good, "+ new".to_owned()),
            Some(Fate::Same) if !dir => (Tone::Dim, "=".to_owned()),
            _ => (Tone::Dim, String::new()),
        };
        names.put(path, Node { dir, tone, mark });
    }
    names
}

/// Shortens the other place of a moved file: to its directory, or to its name if the directory is
/// the same.
fn shorten(here: &Path, there: &Path) -> String {
    if here.parent() == there.parent() {
        return there.file_name().unwrap_or_default().to_string_lossy().into_owned();
    }
    let folder = there.parent().unwrap_or(Path::new(""));
    let own = folder.strip_prefix(APP).ok().filter(|own| *own != Path::new("")).unwrap_or(folder);
    format!("{}{MAIN_SEPARATOR}", own.display())
}

/// Draws both trees side by side if `width` allows, otherwise one after the other.
pub(crate) fn picture(
    before: &Tree,
    after: &Tree,
    titles: [&str; 2],
    width: usize,
    unicode: bool,
) -> Vec<String> {
    let fates = compare(before, after);
    let left = draw::tree(titles[0], &nodes(before, &fates.before, true));
    let right = draw::tree(titles[1], &nodes(after, &fates.after, false));
    draw::beside(&left, &right, width, unicode, &|tone, text| style::paint(style_of(tone), text))
}

fn style_of(tone: Tone) -> Style {
    match tone {
        Tone::Title => style::TITLE,
        Tone::Plain => Style::new(),
        Tone::Dim => style::DIM,
        Tone::Moved => style::MOVED,
        Tone::Changed => style::CHANGED,
        Tone::Good => style::GOOD,
        Tone::Bad => style::BAD,
    }
}

/// Returns both trees for machines: each path with its fate.
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
            for dir in path.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty()) {
                tree.0.insert(dir.to_owned(), Entry { kind: Kind::Dir, stamp: vec![] });
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
    fn a_crowded_dir_is_summed_up() {
        let files: Vec<_> = (0..20).map(|n| format!("d/{n:02}")).collect();
        let files: Vec<_> = files.iter().map(|name| (name.as_str(), "x")).collect();
        let lines = picture(&tree(&files), &tree(&files), ["before", "after"], 100, true);
        assert!(lines.iter().any(|line| line.contains("and 17 more (17 =)")), "{lines:#?}");
    }
}
