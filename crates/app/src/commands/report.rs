//! `report`: everything that a helper has to know of a home, in one text without secrets.

use std::path::Path;

use myownllm_durable_fs::{Disk as _, RealDisk};
use myownllm_launch::Diagnostic;
use myownllm_report::{Page, Picture, Report, SECTIONS, Screen, Section, diagnostic_text, long, write_new};

use crate::context::Context;
use crate::look;
use crate::output::{BUILD, CommandOutput, Started};

/// The layout of a report, the same on every screen.
const SCREEN: Screen = Screen { width: 100, unicode: true, wraps: false };

pub(crate) fn run(
    context: &Context,
    output: Option<&Path>,
    html: bool,
    started: Started,
) -> Result<CommandOutput, Diagnostic> {
    let sections = SECTIONS.into_iter().zip(look::sections(context));
    let sections = sections.map(|(name, answer)| section(context, name, answer)).collect();
    let libraries = context.libraries();
    let home = libraries.view();
    let program = format!("myownllm-mesh {} ({}, {})", BUILD.version, BUILD.commit, BUILD.target);
    let report = Report::collect(&home, started.at(), program, sections);
    let text = match html {
        true => {
            let plan = look::plan_of(context);
            report.page(&Picture::from(&plan.migration).two_trees(&home, plan.config.as_ref()))
        }
        false => report.plain_text(),
    };
    let Some(file) = output.filter(|file| *file != Path::new("-")) else {
        return Ok(CommandOutput::data(text, report.data(None)));
    };
    let command = format!("{} report{}", context.layout.program, if html { " --html" } else { "" });
    write_new(&context.layout, file, &text, &command, context.owner.filter(|_| is_in_home(context, file)))?;
    let mut page = Page::default();
    let file = long(file);
    page.line(format!("The report is in {file}. It holds no secrets; look at it before you send it."));
    Ok(CommandOutput::done(page, report.data(Some(&file))))
}

/// Returns true if a new file lies in the user's home: what root makes there belongs to the owner
/// of the home.
fn is_in_home(context: &Context, file: &Path) -> bool {
    let dir = file.parent().filter(|dir| *dir != Path::new("")).unwrap_or(Path::new("."));
    let real = |path: &Path| RealDisk.canonicalize(path).ok();
    real(context.layout.user_home.as_ref())
        .is_some_and(|home| real(dir).is_some_and(|dir| dir.starts_with(home)))
}

/// Returns the answer of a command as the command prints it.
fn section(context: &Context, name: &'static str, mut answer: CommandOutput) -> Section {
    let diagnostics = answer.shown_on_page.iter_mut().chain(&mut answer.diagnostics);
    diagnostics.for_each(|diagnostic| diagnostic.complete_hint(&context.layout.program));
    let mut text = answer.page.plain(SCREEN);
    answer.diagnostics.iter().for_each(|diagnostic| text.push_str(&diagnostic_text(diagnostic, None, false)));
    let diagnostics = [answer.shown_on_page, answer.diagnostics].concat();
    Section { name, exit: answer.exit.number(), data: answer.data, diagnostics, text }
}
