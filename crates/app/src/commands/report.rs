//! `report`: everything that a helper has to know of a home, in one text without secrets.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use myownllm_durable_fs::quote;
use myownllm_launch::Diagnostic;
use myownllm_report::{Page, Picture, Report, Screen, Section, diagnostic_text, long};
use serde_json::json;

use crate::build::BUILD;
use crate::cli::ReportArgs;
use crate::look;
use crate::output::Answer;
use crate::times::Started;
use crate::world::World;

/// The layout of a report, the same on every screen.
const SCREEN: Screen = Screen { width: 100, unicode: true };

pub(crate) fn run(world: &World, args: &ReportArgs, started: Started) -> Result<Answer, Diagnostic> {
    let sections = look::sections(world).into_iter();
    let sections = sections.map(|(name, answer)| section(world, name, answer)).collect();
    let libraries = world.libraries();
    let home = libraries.view();
    let program = format!("myownllm-mesh {} ({}, {})", BUILD.version, BUILD.commit, BUILD.target);
    let report = Report::look(&home, started.at(), program, sections);
    let text = match args.html {
        true => {
            let plan = look::plan_of(world);
            report.page(&Picture::from(&plan.migration).two_trees(&home, plan.config.as_ref()))
        }
        false => report.plain_text(),
    };
    let mut data = report.data();
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

/// Returns the answer of a command as the command prints it.
fn section(world: &World, name: &'static str, mut answer: Answer) -> Section {
    answer.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.complete_hint(&world.program));
    let mut text = answer.page.laid_out(SCREEN, &|_, text| text.to_owned());
    if !answer.page_tells_diagnostics {
        answer.diagnostics.iter().for_each(|told| text.push_str(&diagnostic_text(told, None, false)));
    }
    Section { name, exit: answer.exit.number(), data: answer.data, diagnostics: answer.diagnostics, text }
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
