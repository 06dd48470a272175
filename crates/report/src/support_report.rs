//! The report for a helper: one text, or one HTML page, without secrets.

use std::collections::BTreeMap;
use std::path::{MAIN_SEPARATOR_STR, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use myownllm_durable_fs::{FileKind, Metadata};
use myownllm_launch::Diagnostic;
use myownllm_launch::words::{escape_controls, short};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use textwrap::core::display_width;

use crate::draw::Line;
use crate::text::rfc3339;
use crate::view::HomeView;

/// The number of files that a report lists. A home holds fewer, unless something is wrong with it.
const MOST_FILES: usize = 500;

/// The titles of the sections.
pub const SECTIONS: [&str; 7] = ["verdict", "doctor", "status", "identity", "history", "runs", "daemon log"];

/// The answer of a command about the home.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Section {
    /// The title, one of [`SECTIONS`].
    #[serde(skip)]
    pub name: &'static str,
    /// The exit code of the command.
    pub exit: u8,
    /// The command's document.
    #[schemars(with = "serde_json::Map<String, Value>")]
    pub data: Value,
    /// The diagnostics of the command.
    pub diagnostics: Vec<Diagnostic>,
    /// The text that the command prints.
    #[serde(skip)]
    pub text: String,
}

/// The facts about a home. In all texts `~` stands for the user's home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Facts<'a> {
    system: &'a System,
    /// The files in the homes, 500 entries at most.
    files: &'a [File],
    /// The answer of each command that only looks, by its name.
    #[schemars(schema_with = "every_section")]
    sections: BTreeMap<&'static str, &'a Section>,
}

/// Returns the schema of all sections by their titles.
fn every_section(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    crate::members::named::<Section>(generator, SECTIONS)
}

/// The report.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Bundle<'a> {
    /// With `--output`: the file that was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<&'a str>,
    #[serde(flatten)]
    #[schemars(with = "Facts<'static>")]
    facts: Value,
}

/// The machine that the home is on.
#[derive(Debug, Serialize, JsonSchema)]
struct System {
    /// The operating system, with its version if it is known.
    os: String,
    /// The architecture of the processor.
    arch: &'static str,
    /// The file system of the user's home, and of the homes of app and daemon if those are of
    /// another kind; empty if it is not known.
    file_systems: Vec<FileSystem>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FileSystem {
    path: String,
    kind: String,
}

/// One entry of a directory. The report never reads the content.
#[derive(Debug, Serialize, JsonSchema)]
struct File {
    path: String,
    kind: EntryKind,
    /// The size in bytes.
    size: u64,
    /// The permission bits, octal.
    mode: String,
    /// The time of the last change, RFC 3339 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum EntryKind {
    File,
    Directory,
    Symlink,
    Other,
}

/// A report, before it is formatted.
#[derive(Debug)]
pub struct Report {
    at: String,
    program: String,
    system: System,
    files: Vec<File>,
    sections: Vec<Section>,
    names: Names,
}

impl Report {
    /// Collects the facts about the system, and lists the files of the homes. `at` is the time,
    /// `program` the program's name and version.
    pub fn collect(home: &HomeView<'_>, at: String, program: String, sections: Vec<Section>) -> Self {
        Self { at, program, system: system(home), files: files(home), sections, names: Names::of(home) }
    }

    /// Returns the report as data. `output` is the file that holds it, if any.
    pub fn data(&self, output: Option<&str>) -> Value {
        let sections = self.sections.iter().map(|section| (section.name, section)).collect();
        let facts = json!(Facts { system: &self.system, files: &self.files, sections });
        json!(Bundle { output, facts: self.names.hide_in(facts) })
    }

    /// Returns the report as one text.
    pub fn plain_text(&self) -> String {
        self.names.hide(&self.text())
    }

    /// Returns the report as one page for a browser, with pictures of the home.
    pub fn page(&self, trees: &[Vec<Line>; 2]) -> String {
        html(self, trees)
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (label, line) in self.head() {
            text.push_str(&format!("{label:<14}{line}\n"));
        }
        for (title, section) in self.texts() {
            text.push_str(&format!("\n=== {title} ===\n{section}"));
        }
        text
    }

    /// Returns the program and the system that the report is about.
    fn head(&self) -> Vec<(&'static str, String)> {
        let System { os, arch, file_systems } = &self.system;
        let mut head = vec![
            ("report of", self.at.clone()),
            ("program", self.program.clone()),
            ("system", format!("{os}, {arch}")),
        ];
        let places = file_systems.iter();
        head.extend(places.map(|place| ("file system", format!("{} of {}", place.kind, place.path))));
        head
    }

    /// Returns the sections, each as its command prints it.
    fn texts(&self) -> Vec<(&'static str, String)> {
        let sections = self.sections.iter().map(|section| (section.name, section.text.clone()));
        let mut listing = String::new();
        for file in &self.files {
            let modified = file.modified.as_deref().unwrap_or("unknown");
            let kind = match file.kind {
                EntryKind::Directory => MAIN_SEPARATOR_STR,
                EntryKind::Symlink => "@",
                EntryKind::File | EntryKind::Other => "",
            };
            listing.push_str(&format!(
                "{} {:>10}  {modified}  {}{kind}\n",
                file.mode,
                file.size,
                escape_controls(&file.path)
            ));
        }
        sections.chain([("files", listing)]).collect()
    }
}

/// The names that a text may have for the user: the paths of the home, and the login name. Each has
/// the words that come before it.
#[derive(Debug)]
struct Names(Vec<(&'static str, String)>);

impl Names {
    fn of(home: &HomeView<'_>) -> Self {
        let user_home = &home.layout.user_home;
        let real = std::fs::canonicalize(user_home).ok();
        let real = real.map(|path| path.display().to_string());
        let mut names: Vec<String> = std::iter::once(user_home.to_string()).chain(real).collect();
        // `/` as the home would match every path.
        names.retain(|name| name.len() > 1);
        // A name that contains another name comes first.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        let mut names: Vec<_> = names.into_iter().map(|name| ("", name)).collect();
        let owner = home.disk.stat_follow(user_home.as_ref()).ok().and_then(|home| home.owner);
        // `root` tells nothing about the user. Hides a login name only behind `/` or `owner `:
        // elsewhere in a text, it may be another word.
        if let Some(owner) = owner.filter(|owner| owner.uid != 0) {
            let login = (home.user_name)(owner.uid);
            names.extend(["/", "owner "].map(|before| (before, login.clone())));
        }
        Self(names)
    }

    /// Replaces each name of the user by `~`, so that the text does not tell who the user is.
    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (before, name)| replaced(&text, before, name))
    }

    fn hide_in(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.hide(&text)),
            Value::Array(items) => items.into_iter().map(|item| self.hide_in(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (self.hide(&name), self.hide_in(value))).collect()
            }
            other => other,
        }
    }
}

/// Replaces a name after the words `before` by `~`, but not inside a longer name: `/home/ann` is no
/// part of `/home/anna`.
fn replaced(text: &str, before: &str, name: &str) -> String {
    let whole = format!("{before}{name}");
    let mut parts = text.split(&whole);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let goes_on = part.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        out.push_str(before);
        out.push_str(if goes_on { name } else { "~" });
        out.push_str(part);
    }
    out
}

fn system(home: &HomeView<'_>) -> System {
    let user_home = &home.layout.user_home;
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let named = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = read("/proc/sys/kernel/osrelease");
    let words = [named.map(|name| name.trim_matches('"')), Some(std::env::consts::OS), Some(kernel.trim())];
    let os = words.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    let mounts = read("/proc/self/mounts");
    let homes = [user_home, &home.layout.app_home, &home.layout.daemon_home];
    let mut file_systems: Vec<FileSystem> = Vec::new();
    for home in homes {
        // A home that does not exist yet will be on the file system of its closest existing
        // ancestor.
        let real = home.ancestors().find_map(|path| std::fs::canonicalize(path).ok());
        if let Some(kind) = real.and_then(|real| file_system(&mounts, &real))
            && file_systems.last().is_none_or(|last| last.kind != kind)
        {
            file_systems.push(FileSystem { path: short(home, user_home), kind });
        }
    }
    System { os, arch: std::env::consts::ARCH, file_systems }
}

/// Returns the kind of a path's file system: of all mounts above the path, the deepest and newest
/// one counts.
fn file_system(mounts: &str, path: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        // `/proc/mounts` writes a blank in a mount point in octal.
        Some((fields.next()?.replace("\\040", " "), fields.next()?))
    });
    let above = mounts.filter(|(point, _)| path.starts_with(point));
    above.max_by_key(|(point, _)| point.len()).map(|(_, kind)| kind.to_owned())
}

/// Lists the entries of the homes: names, sizes and modes.
fn files(home: &HomeView<'_>) -> Vec<File> {
    let layout = home.layout;
    let mut files = Vec::new();
    list(home, layout.app_home.as_std_path(), false, &mut files);
    let (mesh, secrets) = (layout.legacy_rosters.parent(), layout.legacy_identity.parent());
    let known = [Some(&*layout.backups), mesh, secrets, Some(&*layout.daemon_home)];
    for directory in known.into_iter().flatten() {
        list(home, directory.as_std_path(), true, &mut files);
    }
    files.truncate(MOST_FILES);
    files
}

fn list(home: &HomeView<'_>, directory: &Path, is_deep: bool, files: &mut Vec<File>) {
    let mut paths: Vec<PathBuf> = home
        .disk
        .list(directory)
        .unwrap_or_default()
        .into_iter()
        .map(|entry| directory.join(entry.name))
        .collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = home.disk.stat(&path) else { continue };
        let is_dir = meta.is_dir();
        files.push(file(home, &path, &meta));
        if is_deep && is_dir && files.len() < MOST_FILES {
            list(home, &path, true, files);
        }
    }
}

fn file(home: &HomeView<'_>, path: &Path, meta: &Metadata) -> File {
    let seconds = u64::try_from(meta.modified.seconds).ok();
    let modified = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    File {
        path: short(path, &home.layout.user_home),
        kind: match meta.kind {
            FileKind::File => EntryKind::File,
            FileKind::Dir => EntryKind::Directory,
            FileKind::Symlink => EntryKind::Symlink,
            _ => EntryKind::Other,
        },
        size: meta.len,
        mode: format!("{:04o}", meta.mode),
        modified: modified.and_then(rfc3339),
    }
}

/// Returns one page that holds everything that it shows.
fn html(report: &Report, trees: &[Vec<Line>; 2]) -> String {
    // Hides names before it escapes the text: escaping changes a name with `&` or `<`.
    let escaped = |text: &str| escaped(&report.names.hide(text));
    let head = report.head().into_iter();
    let head: String =
        head.map(|(label, line)| format!("<dt>{label}</dt><dd>{}</dd>\n", escaped(&line))).collect();
    let sections: String = report
        .texts()
        .into_iter()
        .map(|(title, text)| {
            let open = if matches!(title, "verdict" | "status" | "doctor") { " open" } else { "" };
            format!("<details{open}><summary>{title}</summary><pre>{}</pre></details>\n", escaped(&text))
        })
        .collect();
    let pictures: String =
        trees.iter().map(|tree| format!("<figure>{}</figure>\n", svg(tree, &escaped))).collect();
    include_str!("./report.html")
        .replace("{{head}}", &head)
        .replace("{{pictures}}", &pictures)
        .replace("{{sections}}", &sections)
}

fn svg(lines: &[Line], escaped: &dyn Fn(&str) -> String) -> String {
    const LINE: usize = 20;
    let columns = |line: &Line| line.iter().map(|(_, text)| display_width(text)).sum::<usize>();
    // A character of the page's font is 8.4 px wide.
    let width = lines.iter().map(columns).max().unwrap_or(0) * 17 / 2 + 16;
    let height = lines.len() * LINE + 16;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n"
    );
    for (number, line) in lines.iter().enumerate() {
        let y = (number + 1) * LINE;
        out.push_str(&format!("<text x=\"8\" y=\"{y}\" xml:space=\"preserve\">"));
        for (tone, text) in line {
            out.push_str(&format!("<tspan class=\"{}\">{}</tspan>", tone.name(), escaped(text)));
        }
        out.push_str("</text>\n");
    }
    out + "</svg>"
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_hidden_and_a_longer_name_is_not_cut() {
        let login = ["/", "owner "].map(|before| (before, "ann".to_owned()));
        let names = Names([("", "/home/ann".to_owned())].into_iter().chain(login).collect());
        for (text, hidden) in [
            ("/home/ann/.myownllm, /home/anna and '/home/ann'", "~/.myownllm, /home/anna and '~'"),
            ("/srv/ann/x of owner ann, owner anna", "/srv/~/x of owner ~, owner anna"),
            ("ann-mesh", "ann-mesh"),
        ] {
            assert_eq!(names.hide(text), hidden);
        }
    }

    #[test]
    fn the_deepest_mount_decides() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /home tmpfs rw 0 0\nb /home/u\\040v xfs rw 0 0\n";
        for (path, kind) in [("/etc", "ext4"), ("/home/x", "tmpfs"), ("/home/u v/.x", "xfs")] {
            assert_eq!(file_system(mounts, Path::new(path)).as_deref(), Some(kind));
        }
    }
}
