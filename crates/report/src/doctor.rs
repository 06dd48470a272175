//! The checks of a home, with the evidence and the command that mends each problem.

use myownllm_launch::words::count;
use myownllm_launch::{Check, Checks, Mark};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::screen::Page;
use crate::text::unfilled;
use crate::verdict::LOOK;

/// The checks of a home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Checklist<'a> {
    checks: &'a [Check],
    /// The number of problems; with one or more the exit code is 4.
    problems: usize,
    /// The number of warnings.
    warnings: usize,
}

/// Returns the checks, those that passed only with `verbose`.
pub fn checklist(checks: &Checks, verbose: bool) -> (Page, Value) {
    let (problems, warnings) = (checks.of(Mark::Problem).count(), checks.of(Mark::Warning).count());
    let data = json!(Checklist { checks: &checks.list, problems, warnings });
    (page(checks, verbose), data)
}

/// Lists problems, then warnings, then the number of checks that passed, and the one command that
/// mends everything that a launch can mend.
fn page(checks: &Checks, verbose: bool) -> Page {
    let mut shown: Vec<&Check> =
        checks.list.iter().filter(|check| verbose || check.result <= Mark::Warning).collect();
    shown.sort_by_key(|check| check.result);
    let column = 11 + shown.iter().map(|check| check.id.len()).max().unwrap_or(0);
    let repair = checks.repair();
    let access = checks.access_command();
    let mut page = Page::default();
    for check in &shown {
        page.row(format!("{:<9}{}", check.result.word(), check.id), column, &check.evidence);
        if let Some(place) = &check.place {
            page.command(column, "", format!("{} | {}", place.line, place.snippet.text));
            let indent = place.line.to_string().len();
            page.command(column, "", format!("{:indent$} | {:2$}^", "", "", place.snippet.caret));
        }
        // The last lines show the repair command.
        if let Some(hint) = check.hint.as_deref().filter(|hint| *hint != repair && Some(*hint) != access) {
            page.command(column, "-> ", hint);
            if let Some(place) = unfilled(hint) {
                page.row("", column, format!("with your own path in the place of {place}"));
            }
        }
    }
    if !shown.is_empty() {
        page.gap();
    }
    page.line(counted(checks, verbose));
    let troubles = checks.list.iter().filter(|check| check.result <= Mark::Warning).count();
    let first = access.unwrap_or(&repair);
    match checks.list.iter().filter(|check| check.hint.as_deref() == Some(first)).count() {
        0 => return page,
        _ if first.ends_with(LOOK) => page.line("To see all of it:"),
        1 if troubles == 1 => page.line("To put it right:"),
        all if all == troubles => page.line("To put all of this right:"),
        some => page.line(format!("To put {some} of these {troubles} right:")),
    }
    page.command(2, "", first);
    if access.is_some_and(|access| !access.ends_with(LOOK)) {
        page.command(2, "", repair);
    }
    page
}

/// Returns a line such as `1 problem, 2 warnings, 13 checks passed`.
fn counted(checks: &Checks, verbose: bool) -> String {
    let number = |result| checks.of(result).count();
    let mut parts: Vec<String> = [(Mark::Problem, "problem"), (Mark::Warning, "warning")]
        .into_iter()
        .filter(|(result, _)| number(*result) > 0)
        .map(|(result, word)| count(number(result), word))
        .collect();
    parts.push(format!("{} passed", count(number(Mark::Ok), "check")));
    let skipped = number(Mark::Skipped);
    if skipped > 0 {
        parts.push(format!("{skipped} skipped"));
    }
    let more = if verbose { "" } else { " (-v lists them)" };
    format!("{}{more}", parts.join(", "))
}
