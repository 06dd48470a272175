//! The answers of the commands that only look: the verdict without a command, `status`, `doctor`,
//! `identity`, `config history`, `logs`.

use std::io::ErrorKind::PermissionDenied;

use myownllm_launch::{
    Checks, Diagnostic, LaunchPlan, Mark, Options, checks, foreign_home, other_known_identity, plan,
    scan_identity,
};
use myownllm_report::{HomeState, SECTIONS, checklist, daemon_log_lines, history as history_page, runs};
use myownllm_report::{identity as identity_page, status as status_page, verdict as verdict_page};

use crate::context::{Context, fresh_ids};
use crate::exit::ExitCode;
use crate::output::CommandOutput;
use crate::users::may_change_user;

/// The number of lines of each log in a report.
const LOG_LINES: usize = 200;

pub(crate) fn verdict(context: &Context, (plan, checks): &(LaunchPlan, Checks)) -> CommandOutput {
    let (page, data) = verdict_page(&context.libraries().view(), plan, checks);
    let shown_on_page = checks.list.iter().filter_map(|check| check.diagnostic.clone()).collect();
    CommandOutput { shown_on_page, ..CommandOutput::done(page, data) }.exit(
        match HomeState::new(plan, checks) {
            HomeState::Healthy => ExitCode::Done,
            HomeState::Pending => ExitCode::Pending,
            HomeState::Problem => ExitCode::Problems,
        },
    )
}

pub(crate) fn doctor(checks: &Checks, verbose: bool) -> CommandOutput {
    let (page, data) = checklist(checks, verbose);
    let exit = if checks.of(Mark::Problem).count() > 0 { ExitCode::Problems } else { ExitCode::Done };
    let shown_on_page = checks.list.iter().filter_map(|check| check.diagnostic.clone()).collect();
    CommandOutput { shown_on_page, ..CommandOutput::done(page, data) }.exit(exit)
}

pub(crate) fn status(context: &Context, check: bool) -> CommandOutput {
    if !check {
        return status_of(context, plan_of(context), false);
    }
    let (plan, checks) = examine(context);
    let is_told = |code: &str| plan.diagnostics.iter().any(|diagnostic| diagnostic.code == code);
    // The page tells what is pending in words; a program needs the codes.
    let pending = checks.list.iter().filter(|check| check.hint == Some(checks.repair()));
    let pending =
        pending.filter_map(|check| check.diagnostic.clone()).filter(|diagnostic| !is_told(&diagnostic.code));
    let shown_on_page = pending.map(Diagnostic::as_warning).collect();
    CommandOutput { shown_on_page, ..status_of(context, plan, true) }
}

fn status_of(context: &Context, plan: LaunchPlan, check: bool) -> CommandOutput {
    let (page, data) = status_page(&context.libraries().view(), &plan);
    let answer = CommandOutput { is_data: !check, ..CommandOutput::done(page, data) };
    if check {
        let (is_pending, class) = (plan.pending, plan.class());
        let exit = class.map_or(ExitCode::Done, ExitCode::from);
        return answer.with(plan.diagnostics).exit(exit).pending_if(is_pending);
    }
    // A status that reports problems has done its work: only `--check` turns problems into an exit
    // code.
    let warned = plan
        .diagnostics
        .into_iter()
        .map(|diagnostic| if diagnostic.is_error() { diagnostic.as_warning() } else { diagnostic });
    CommandOutput { diagnostics: warned.collect(), ..answer }
}

pub(crate) fn identity(context: &Context) -> CommandOutput {
    let libraries = context.libraries();
    let look = scan_identity(&libraries.launch_context());
    let (page, data, mut diagnostics) = identity_page(&libraries.view(), &look);
    diagnostics.extend(other_known_identity(&libraries.launch_context()));
    CommandOutput::data(page, data).with(diagnostics)
}

/// `logs`.
pub(crate) fn run_log(context: &Context, lines: usize) -> CommandOutput {
    let (page, data, diagnostics) = runs(&context.libraries().view(), lines);
    CommandOutput { diagnostics, ..CommandOutput::data(page, data) }
}

/// `logs --daemon`, `daemon logs`.
pub(crate) fn daemon_log(context: &Context, lines: usize) -> CommandOutput {
    let (page, data, diagnostics) = daemon_log_lines(&context.libraries().view(), lines);
    CommandOutput { diagnostics, ..CommandOutput::data(page, data) }
}

/// `config history`.
pub(crate) fn history(context: &Context) -> Result<CommandOutput, Diagnostic> {
    let (page, data) = history_page(&context.libraries().view())?;
    Ok(CommandOutput::data(page, data))
}

/// Returns the answers of all of these commands, for the sections of a report.
pub(crate) fn sections(context: &Context) -> [CommandOutput; SECTIONS.len()] {
    let examined = examine(context);
    [
        verdict(context, &examined),
        doctor(&examined.1, true),
        status_of(context, examined.0, false),
        identity(context),
        history(context).unwrap_or_else(CommandOutput::failed),
        run_log(context, LOG_LINES),
        daemon_log(context, LOG_LINES),
    ]
}

/// Returns what a launch would do.
pub(crate) fn plan_of(context: &Context) -> LaunchPlan {
    as_a_launch(context, |options| plan(&context.libraries().launch_context(), options, &mut fresh_ids()))
}

/// Returns what a launch would do, and all checks of that plan.
pub(crate) fn examine(context: &Context) -> (LaunchPlan, Checks) {
    as_a_launch(context, |options| {
        let libraries = context.libraries().sweeping();
        let launch_context = libraries.launch_context();
        let plan = plan(&launch_context, options, &mut fresh_ids());
        let mut checks = checks(&launch_context, options, &plan);
        if context.is_for_root {
            checks.complete_hints_for_root();
        }
        (plan, checks)
    })
}

/// Looks with the options of a launch, which changes its user before it changes anything.
fn as_a_launch<T>(context: &Context, look: impl FnOnce(&Options<'_>) -> T) -> T {
    let run_as = context.user_to_become();
    let refused = run_as.filter(|_| !may_change_user());
    let refusal = refused.map(|owner| foreign_home(&context.layout, owner, &PermissionDenied.into()));
    look(&Options { refusal: refusal.as_ref(), run_as, ..context.options() })
}
