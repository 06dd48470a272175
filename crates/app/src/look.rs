//! The answers of the commands that only look: the verdict without a command, `status`, `doctor`,
//! `identity`, `config history`, `logs`.

use myownllm_launch::{Checks, Diagnostic, LaunchPlan, Mark, Options, checks, class_of, identity_look, plan};
use myownllm_report::{HomeState, checklist, daemon_log_lines, history as history_page, runs};
use myownllm_report::{identity as identity_page, status as status_page, verdict as verdict_page};

use crate::cli::{LogsArgs, StatusArgs};
use crate::exit::ExitCode;
use crate::output::Answer;
use crate::privileges::{foreseen_refusal, user_to_become};
use crate::world::{World, fresh_ids};

/// The number of lines of each log in a report.
const LOG_LINES: usize = 200;

pub(crate) fn verdict(world: &World) -> Answer {
    let (plan, checks) = examine(world);
    verdict_of(world, &plan, &checks)
}

fn verdict_of(world: &World, plan: &LaunchPlan, checks: &Checks) -> Answer {
    let (page, data) = verdict_page(&world.libraries().view(), plan, checks);
    Answer::done(page, data).exit(match HomeState::new(plan, checks) {
        HomeState::Healthy => ExitCode::Done,
        HomeState::Pending => ExitCode::Pending,
        HomeState::Problem => ExitCode::Problems,
    })
}

pub(crate) fn doctor(world: &World, verbose: bool) -> Answer {
    doctor_of(&examine(world).1, verbose)
}

fn doctor_of(checks: &Checks, verbose: bool) -> Answer {
    let (page, data) = checklist(checks, verbose);
    let exit = if checks.of(Mark::Problem).count() > 0 { ExitCode::Problems } else { ExitCode::Done };
    let diagnostics = checks.list.iter().filter_map(|check| check.diagnostic.clone()).collect();
    Answer { diagnostics, page_tells_diagnostics: true, ..Answer::done(page, data) }.exit(exit)
}

pub(crate) fn status(world: &World, args: StatusArgs) -> Answer {
    status_of(world, plan_of(world), args)
}

fn status_of(world: &World, plan: LaunchPlan, args: StatusArgs) -> Answer {
    let (page, data) = status_page(&world.libraries().view(), &plan);
    let answer = Answer::done(page, data);
    if args.check {
        let is_pending = plan.pending && class_of(&plan.diagnostics).is_none();
        let answer = answer.with(plan.diagnostics);
        return if is_pending { answer.exit(ExitCode::Pending) } else { answer };
    }
    // A status that reports problems has done its work: only `--check` turns problems into an exit
    // code.
    let warned =
        plan.diagnostics.into_iter().map(|told| if told.is_error() { told.as_warning() } else { told });
    Answer { diagnostics: warned.collect(), ..answer }
}

pub(crate) fn identity(world: &World) -> Answer {
    let libraries = world.libraries();
    let look = identity_look(&libraries.context());
    let (page, data, diagnostics) = identity_page(&libraries.view(), &look);
    Answer::data(page, data).with(diagnostics)
}

pub(crate) fn logs(world: &World, args: &LogsArgs) -> Answer {
    let libraries = world.libraries();
    if args.daemon {
        let (page, data, diagnostics) = daemon_log_lines(&libraries.view(), args.lines);
        return Answer { diagnostics, ..Answer::data(page, data) };
    }
    let (page, data) = runs(&libraries.view(), args.lines);
    Answer::data(page, data)
}

/// `config history`.
pub(crate) fn history(world: &World) -> Result<Answer, Diagnostic> {
    let (page, data) = history_page(&world.libraries().view()).map_err(|error| Diagnostic::from(&error))?;
    Ok(Answer::data(page, data))
}

/// Returns the answers of all of these commands, for a report.
pub(crate) fn sections(world: &World) -> Vec<(&'static str, Answer)> {
    let (plan, checks) = examine(world);
    vec![
        ("verdict", verdict_of(world, &plan, &checks)),
        ("doctor", doctor_of(&checks, true)),
        ("status", status_of(world, plan, StatusArgs { check: false })),
        ("identity", identity(world)),
        ("history", history(world).unwrap_or_else(Answer::failed)),
        ("runs", logs(world, &LogsArgs { daemon: false, lines: LOG_LINES })),
        ("daemon log", logs(world, &LogsArgs { daemon: true, lines: LOG_LINES })),
    ]
}

/// Returns what a launch would do.
pub(crate) fn plan_of(world: &World) -> LaunchPlan {
    as_a_launch(world, |options| plan(&world.libraries().context(), options, &mut fresh_ids()))
}

/// Returns what a launch would do, and all checks of that plan.
pub(crate) fn examine(world: &World) -> (LaunchPlan, Checks) {
    as_a_launch(world, |options| {
        let libraries = world.libraries();
        let context = libraries.context();
        let plan = plan(&context, options, &mut fresh_ids());
        let checks = checks(&context, options, &plan);
        (plan, checks)
    })
}

/// Looks with the options of a launch, which changes its user before it changes anything.
fn as_a_launch<T>(world: &World, look: impl FnOnce(&Options<'_>) -> T) -> T {
    let refusal = foreseen_refusal(world);
    look(&Options { refusal: refusal.as_ref(), run_as: user_to_become(world), ..world.options() })
}
