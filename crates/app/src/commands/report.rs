//! `report`: everything that a helper has to know of a home, in one text without secrets.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use myownllm_config_store::ConfigStore as _;
use myownllm_durable_fs::{Disk as _, FileKind, Metadata, quote};
use myownllm_launch::Diagnostic;
use myownllm_launch::words::{escape_controls, short};
use myownllm_migration::{Direction, Options as MoveOptions, StateMigrator as _};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::build::BUILD;
use crate::cli::ReportArgs;
use crate::output::{Answer, long, plain};
use crate::picture::Picture;
use crate::screen::{Page, Screen};
use crate::times::{Started, rfc3339};
use crate::world::{World, fresh_ids};

/// The number of files that a report lists. A home holds fewer, unless something is wrong with it.
const MOST_FILES: usize = 500;

/// The layout of a report, the same on every screen.
const SCREEN: Screen = Screen { width: 100, unicode: true };

/// The answer of another command about the home.
pub(crate) struct Section {
    pub(crate) name: &'static str,
    pub(crate) answer: Answer,
}

/// The machine that the home is on.
#[derive(Serialize)]
struct System {
    os: String,
    arch: &'static str,
    /// The kind of the file system of each home.
    file_systems: Vec<FileSystem>,
}

#[derive(Serialize)]
struct FileSystem {
    path: String,
    kind: String,
}

/// One entry of a directory. The report never reads the content.
#[derive(Serialize)]
struct File {
    path: String,
    kind: &'static str,
    size: u64,
    mode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

/// A report, before it is formatted.
struct Report {
    at: String,
    system: System,
    files: Vec<File>,
    sections: Vec<Section>,
}

pub(crate) fn run(
    world: &World,
    args: &ReportArgs,
    started: Started,
    mut sections: Vec<Section>,
) -> Result<Answer, Diagnostic> {
    let diagnostics = sections.iter_mut().flat_map(|section| &mut section.answer.diagnostics);
    diagnostics.for_each(|diagnostic| diagnostic.complete_hint(&world.program));
    let report = Report { at: started.at(), system: system(world), files: files(world), sections };
    let names = Names::of(world);
    let text = match args.html {
        true => names.hide(&html(&report, &pictures(world))),
        false => names.hide(&report.text()),
    };
    let mut data = names.hide_in(report.document());
    let Some(file) = &args.output else {
        return Ok(Answer::data(text, data));
    };
    write_new(file, &text, &format!("{} report{}", world.program, if args.html { " --html" } else { "" }))?;
    data["output"] = json!(long(file));
    let mut page = Page::default();
    page.line(format!(
        "The report is in {}. It holds no secrets; look at it before you send it.",
        long(file)
    ));
    Ok(Answer::done(page, data))
}

impl Report {
    fn document(&self) -> Value {
        let sections = self.sections.iter().map(|Section { name, answer }| {
            let exit = answer.exit.number();
            let section = json!({ "exit": exit, "data": answer.data, "diagnostics": answer.diagnostics });
            ((*name).to_owned(), section)
        });
        json!({
            "system": self.system,
            "files": self.files,
            "sections": sections.collect::<Map<String, Value>>(),
        })
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
            ("program", format!("myownllm-mesh {} ({}, {})", BUILD.version, BUILD.commit, BUILD.target)),
            ("system", format!("{os}, {arch}")),
        ];
        let places = file_systems.iter();
        head.extend(places.map(|place| ("file system", format!("{} of {}", place.kind, place.path))));
        head
    }

    /// Returns the sections, each as its command prints it.
    fn texts(&self) -> Vec<(&'static str, String)> {
        let sections = self.sections.iter().map(|Section { name, answer }| {
            let mut text = answer.page.laid_out(SCREEN, &|_, text| text.to_owned());
            if !answer.page_tells_diagnostics {
                answer.diagnostics.iter().for_each(|diagnostic| text.push_str(&plain(diagnostic)));
            }
            (*name, text)
        });
        let mut listing = String::new();
        for file in &self.files {
            let modified = file.modified.as_deref().unwrap_or("unknown");
            let kind = match file.kind {
                "directory" => "/",
                "symlink" => "@",
                _ => "",
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

/// The names that a text may have for the user's home.
struct Names(Vec<String>);

impl Names {
    fn of(world: &World) -> Self {
        let home = &world.layout.user_home;
        let real = std::fs::canonicalize(home).ok();
        let mut names: Vec<String> =
            std::iter::once(home.clone()).chain(real).map(|path| long(&path)).collect();
        // `/` as the home would match every path.
        names.retain(|name| name.len() > 1);
        // A name that contains another name comes first.
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        names.dedup();
        Self(names)
    }

    /// Replaces the user's home by `~`, so that the text does not tell who the user is.
    fn hide(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, name| replaced(&text, name))
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

/// Replaces a path by `~`, but not inside a longer name: `/home/ann` is no part of `/home/anna`.
fn replaced(text: &str, path: &str) -> String {
    let mut parts = text.split(path);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let goes_on = part.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.'));
        out.push_str(if goes_on { path } else { "~" });
        out.push_str(part);
    }
    out
}

fn system(world: &World) -> System {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = read("/etc/os-release");
    let named = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let kernel = read("/proc/sys/kernel/osrelease");
    let words = [named.map(|name| name.trim_matches('"')), Some(std::env::consts::OS), Some(kernel.trim())];
    let os = words.into_iter().flatten().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(", ");
    let mounts = read("/proc/self/mounts");
    let homes = [&world.layout.user_home, &world.layout.app_home, &world.layout.daemon_home];
    let mut file_systems: Vec<FileSystem> = Vec::new();
    for home in homes {
        // A home that does not exist yet will be on the file system of its closest existing
        // ancestor.
        let real = home.ancestors().find_map(|path| std::fs::canonicalize(path).ok());
        if let Some(kind) = real.and_then(|real| file_system(&mounts, &real))
            && file_systems.last().is_none_or(|last| last.kind != kind)
        {
            file_systems.push(FileSystem { path: short(home, &world.layout.user_home), kind });
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
fn files(world: &World) -> Vec<File> {
    let layout = &world.layout;
    let mut files = Vec::new();
    list(world, &layout.app_home, false, &mut files);
    let mesh = layout.legacy_rosters.parent().map(Path::to_owned);
    let secrets = layout.legacy_identity.parent().map(Path::to_owned);
    let known = [Some(layout.backups.clone()), mesh, secrets, Some(layout.daemon_home.clone())];
    for directory in known.into_iter().flatten() {
        list(world, &directory, true, &mut files);
    }
    files.truncate(MOST_FILES);
    files
}

fn list(world: &World, directory: &Path, is_deep: bool, files: &mut Vec<File>) {
    let mut paths: Vec<PathBuf> = world
        .disk
        .list(directory)
        .unwrap_or_default()
        .into_iter()
        .map(|entry| directory.join(entry.name))
        .collect();
    paths.sort();
    for path in paths {
        let Ok(meta) = world.disk.stat(&path) else { continue };
        let is_dir = meta.is_dir();
        files.push(file(world, &path, &meta));
        if is_deep && is_dir && files.len() < MOST_FILES {
            list(world, &path, true, files);
        }
    }
}

fn file(world: &World, path: &Path, meta: &Metadata) -> File {
    let seconds = u64::try_from(meta.modified.seconds).ok();
    let modified = seconds.and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)));
    File {
        path: short(path, &world.layout.user_home),
        kind: match meta.kind {
            FileKind::File => "file",
            FileKind::Dir => "directory",
            FileKind::Symlink => "symlink",
            _ => "other",
        },
        size: meta.len,
        mode: format!("{:04o}", meta.mode),
        modified: modified.and_then(rfc3339),
    }
}

/// Returns the tree of the app's home as it is, and as a launch would leave it.
fn pictures(world: &World) -> [Vec<crate::draw::Line>; 2] {
    let wired = world.wire();
    let plan = wired.migrator.plan(&wired.migrator.inspect(Direction::Forward), &MoveOptions::forward());
    let loaded = wired.store.look(&mut fresh_ids()).ok();
    Picture::from(&plan).two_trees(world, loaded.as_ref().map(|loaded| &loaded.pending))
}

/// Writes a new file that only its owner can read; fails if the file exists. `command` is the
/// command that the user gave.
fn write_new(path: &Path, text: &str, command: &str) -> Result<(), Diagnostic> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|error| {
        let message = format!("cannot write the report {}: {error}", path.display());
        let hint = match error.kind() {
            ErrorKind::AlreadyExists => {
                format!("{command} --output {}", quote(&free_name(path)))
            }
            _ => format!(
                "ls -ld {}",
                quote(path.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new(".")))
            ),
        };
        Diagnostic::error("report.failed", message).at(path).hint(hint)
    })
}

/// Returns the first of `report-2.txt`, `report-3.txt` and so on that does not exist.
fn free_name(path: &Path) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let end = path.extension().map_or_else(String::new, |end| format!(".{}", end.to_string_lossy()));
    let named = |number: u32| path.with_file_name(format!("{stem}-{number}{end}"));
    (2..).map(named).find(|path| std::fs::symlink_metadata(path).is_err()).unwrap_or_else(|| path.to_owned())
}

/// Returns one page that holds everything that it shows.
fn html(report: &Report, trees: &[Vec<crate::draw::Line>; 2]) -> String {
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
    let pictures: String = trees.iter().map(|tree| format!("<figure>{}</figure>\n", svg(tree))).collect();
    include_str!("./report.html")
        .replace("{{head}}", &head)
        .replace("{{pictures}}", &pictures)
        .replace("{{sections}}", &sections)
}

fn svg(lines: &[crate::draw::Line]) -> String {
    const LINE: usize = 20;
    let columns = |line: &crate::draw::Line| line.iter().map(|(_, text)| text.chars().count()).sum::<usize>();
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
        let names = Names(vec!["/home/ann".to_owned()]);
        assert_eq!(
            names.hide("/home/ann/.myownllm, /home/anna and '/home/ann'"),
            "~/.myownllm, /home/anna and '~'"
        );
    }

    #[test]
    fn the_deepest_mount_decides() {
        let mounts = "/dev/a / ext4 rw 0 0\ntmpfs /home tmpfs rw 0 0\nb /home/u\\040v xfs rw 0 0\n";
        for (path, kind) in [("/etc", "ext4"), ("/home/x", "tmpfs"), ("/home/u v/.x", "xfs")] {
            assert_eq!(file_system(mounts, Path::new(path)).as_deref(), Some(kind));
        }
    }
}
