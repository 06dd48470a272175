//! A move as a person sees it: the same lines and the same trees for a plan and for a report.

use std::path::{MAIN_SEPARATOR, Path, PathBuf};

use myownllm_config_store::Pending;
use myownllm_durable_fs::FileKind;
use myownllm_launch::words::{count, short};
use myownllm_migration::{Collision, MoveMethod, MoveReport, MoveStep, Plan, SkippedEntry};

use crate::draw::{self, Line, Names, Node, Tone};
use crate::screen::Page;
use crate::view::HomeView;

/// The column at which the texts begin.
const COLUMN: usize = 17;

/// The number of lines that a list shows. Nobody reads more.
pub(crate) const SHOWN: usize = 12;

/// The changes that a plan would make, or that a report says were made.
#[derive(Debug)]
pub struct Picture<'a> {
    /// True if the changes were made.
    done: bool,
    moved: Vec<Moving>,
    /// Files that are gone because an identical file is elsewhere.
    removed: Vec<&'a Path>,
    /// Each path and its new path.
    aside: Vec<(&'a Path, &'a Path)>,
    collisions: &'a [Collision],
    left: &'a [SkippedEntry],
}

/// A file or a directory that moves.
#[derive(Debug)]
struct Moving {
    from: PathBuf,
    to: PathBuf,
    /// The number of files, if a whole directory moves.
    dir: Option<usize>,
}

impl Moving {
    fn file(from: &Path, to: &Path) -> Self {
        Self { from: from.to_owned(), to: to.to_owned(), dir: None }
    }
}

impl<'a> From<&'a Plan> for Picture<'a> {
    fn from(plan: &'a Plan) -> Self {
        let (mut moved, mut removed, mut aside) = (Vec::new(), Vec::new(), Vec::new());
        for step in plan.steps() {
            match step {
                MoveStep::MoveDir { from, to, names } => {
                    moved.push(Moving { dir: Some(names.len()), ..Moving::file(from, to) });
                }
                MoveStep::MoveFile { from, to } | MoveStep::MoveSymlink { from, to, .. } => {
                    moved.push(Moving::file(from, to))
                }
                MoveStep::MoveFiles { from, to, names } => {
                    moved.extend(names.iter().map(|name| Moving::file(&from.join(name), &to.join(name))));
                }
                MoveStep::RemoveIdentical { source, .. } => removed.push(source.as_path()),
                MoveStep::SetAside { from, to, .. } => aside.push((from.as_path(), to.as_path())),
                _ => {}
            }
        }
        Self { done: false, moved, removed, aside, collisions: &plan.collisions, left: &plan.left }
    }
}

impl<'a> From<&'a MoveReport> for Picture<'a> {
    fn from(report: &'a MoveReport) -> Self {
        let moved = report.moved.iter().map(|moved| {
            let dir = (moved.method == MoveMethod::RenameDir).then_some(moved.files);
            Moving { dir, ..Moving::file(&moved.from, &moved.to) }
        });
        let aside = report.set_aside.iter().map(|moved| (moved.from.as_path(), moved.to.as_path()));
        Self {
            done: true,
            moved: moved.collect(),
            removed: report.identical_removed.iter().map(PathBuf::as_path).collect(),
            aside: aside.collect(),
            collisions: &report.collisions,
            left: &report.left,
        }
    }
}

impl Picture<'_> {
    /// Returns true if something is moved, removed or set aside.
    pub fn changes(&self) -> bool {
        !(self.moved.is_empty() && self.removed.is_empty() && self.aside.is_empty())
    }

    /// Returns the move line by line: what moves to which place, and what stays.
    pub fn lines(&self, home: &HomeView<'_>) -> Page {
        let path = |path: &Path| short(path, &home.layout.user_home);
        let verb = |done: &'static str, would: &'static str| if self.done { done } else { would };
        let mut page = Page::default();
        let mut row = |verb: &str, text: String| page.row(verb, COLUMN, text);
        for one in self.moved.iter().take(SHOWN) {
            let dir = one.dir.map_or_else(String::new, |files| format!("  ({})", count(files, "file")));
            row(verb("moved", "would move"), format!("{}  ->  {}{dir}", path(&one.from), path(&one.to)));
        }
        if self.moved.len() > SHOWN {
            row("", format!("and {} more", self.moved.len() - SHOWN));
        }
        for gone in &self.removed {
            row(verb("removed", "would remove"), format!("{}  (an identical file is there)", path(gone)));
        }
        for (from, to) in &self.aside {
            row(verb("set aside", "would set aside"), format!("{}  as  {}", path(from), path(to)));
            if let Some(kept) = kept(from, to) {
                row(verb("kept", "would keep"), path(&kept));
            }
        }
        for both in self.collisions {
            row(
                "both stay",
                format!("{}  and  {}  (until you choose)", path(&both.source), path(&both.destination)),
            );
        }
        for left in self.left {
            row("left", format!("{}  ({})", path(&left.path), left.reason));
        }
        page
    }

    /// Returns two trees of the app's home: as it is and as it would be, or as it was and as it is.
    /// `repair` is what would also be done to the config.
    pub fn trees(&self, home: &HomeView<'_>, repair: Option<&Pending>) -> Page {
        let [before, after] = self.two_trees(home, repair);
        let mut page = Page::default();
        page.pair(before, after);
        page
    }

    /// Returns the two trees as drawings.
    pub fn two_trees(&self, view: &HomeView<'_>, repair: Option<&Pending>) -> [Vec<Line>; 2] {
        let home = view.layout.app_home.as_std_path();
        let mut sides = Sides { home, before: Names::default(), after: Names::default() };
        for Moving { from, to, dir } in &self.moved {
            let many = dir.map_or_else(String::new, |files| format!("({}) ", count(files, "file")));
            let mark = |sign: &str, here: &Path, there: &Path| {
                format!("{many}{sign} {}", other_place(home, here, there))
            };
            sides.before(from, dir.is_some(), Tone::Moved, mark("→", from, to));
            sides.after(to, dir.is_some(), Tone::Moved, mark("←", to, from));
        }
        for gone in &self.removed {
            sides.before(gone, false, Tone::Dim, "= is there too".to_owned());
        }
        for (from, to) in &self.aside {
            sides.before(from, false, Tone::Changed, format!("→ {}", file_name(to).to_string_lossy()));
            sides.after(to, false, Tone::Changed, "+ set aside".to_owned());
            if let Some(kept) = kept(from, to) {
                sides.before(&kept, false, Tone::Dim, "= stays".to_owned());
                sides.after(&kept, false, Tone::Dim, "= stays".to_owned());
            }
        }
        for both in self.collisions {
            for path in [&both.source, &both.destination] {
                sides.before(path, false, Tone::Bad, "! differs".to_owned());
                sides.after(path, false, Tone::Bad, "! differs".to_owned());
            }
        }
        for left in self.left {
            sides.before(&left.path, false, Tone::Dim, "= stays".to_owned());
            sides.after(&left.path, false, Tone::Dim, "= stays".to_owned());
        }
        sides.stays(view);
        for step in repair.map_or(&[][..], |pending| &pending.steps) {
            use myownllm_config_store::Step;
            match step {
                Step::KeepPrevious { to, .. } => {
                    sides.after(to.as_std_path(), true, Tone::Good, "+ the previous config".to_owned())
                }
                Step::PublishDaemonHalf { to, .. } => {
                    sides.after(to.as_std_path(), false, Tone::Good, "+ the daemon's part".to_owned());
                }
                Step::WriteConfig { path, restored, .. } => {
                    let source = if *restored { "a backup" } else { "the defaults" };
                    sides.after(path.as_std_path(), false, Tone::Good, format!("+ from {source}"));
                }
                Step::ReplaceConfig { path, .. } => {
                    sides.before(path.as_std_path(), false, Tone::Bad, "! needs a repair".to_owned());
                    sides.after(path.as_std_path(), false, Tone::Changed, "~ repaired".to_owned());
                }
                _ => {}
            }
        }
        let [before, after] = if self.done { ["was", "is"] } else { ["is", "would be"] };
        let title = |word: &str| format!("{}, as it {word}", short(home, &view.layout.user_home));
        [draw::tree(&title(before), &sides.before), draw::tree(&title(after), &sides.after)]
    }
}

/// Returns the path that stays in place when `from` is set aside as `to`. If the destination's side
/// loses, nothing stays: the file makes room for the file that moves.
fn kept(from: &Path, to: &Path) -> Option<PathBuf> {
    (from.parent() != to.parent()).then(|| to.with_file_name(file_name(from)))
}

fn file_name(path: &Path) -> &std::ffi::OsStr {
    path.file_name().unwrap_or_default()
}

/// Returns the other place of a path that moves, for its mark: the directory, or the name if the
/// directory is the same.
fn other_place(home: &Path, here: &Path, there: &Path) -> String {
    if here.parent() == there.parent() {
        return file_name(there).to_string_lossy().into_owned();
    }
    let dir = there.parent().unwrap_or(there);
    format!("{}{MAIN_SEPARATOR}", dir.strip_prefix(home).unwrap_or(dir).display())
}

struct Sides<'a> {
    home: &'a Path,
    before: Names,
    after: Names,
}

impl Sides<'_> {
    /// Adds paths in the known places that are in neither picture yet: they were there before, and
    /// are there afterwards.
    fn stays(&mut self, home: &HomeView<'_>) {
        let l = home.layout;
        let alone = [
            &l.app_config,
            &l.legacy_identity,
            &l.legacy_custody,
            &l.daemon_identity,
            &l.daemon_custody,
            &l.daemon_config,
        ]
        .map(|path| path.as_std_path());
        let mut there: Vec<PathBuf> =
            alone.into_iter().filter(|path| home.disk.stat(path).is_ok()).map(Path::to_owned).collect();
        for dir in [&l.legacy_rosters, &l.legacy_states, &l.daemon_rosters, &l.daemon_states] {
            let dir = dir.as_std_path();
            let inside = home.disk.list(dir).unwrap_or_default();
            there.extend(
                inside
                    .into_iter()
                    .filter(|entry| entry.kind == FileKind::File)
                    .map(|entry| dir.join(entry.name)),
            );
        }
        for path in there {
            let name = path.strip_prefix(self.home).unwrap_or(&path);
            if !self.before.covers(name) && !self.after.covers(name) {
                self.before(&path, false, Tone::Dim, String::new());
                self.after(&path, false, Tone::Dim, String::new());
            }
        }
    }

    fn before(&mut self, path: &Path, dir: bool, tone: Tone, mark: String) {
        let name = path.strip_prefix(self.home).unwrap_or(path);
        self.before.put(name, Node { dir, tone, mark });
    }

    fn after(&mut self, path: &Path, dir: bool, tone: Tone, mark: String) {
        let name = path.strip_prefix(self.home).unwrap_or(path);
        self.after.put(name, Node { dir, tone, mark });
    }
}
