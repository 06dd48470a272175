//! Every check of a home as data: the evidence, the result, and the command that mends a problem.
//!
//! The checks judge the plan of a launch. If they find no problem on a home, a launch on it neither
//! refuses nor fails. For what a launch mends by itself, the hint is `repair`.

mod config;
mod homes;
mod state;

use myownllm_config_model::Place;
use serde::Serialize;

use crate::context::{Context, Options, suspended_holder};
use crate::files::identity::{HELD, ends_daemon};
use crate::homes::no_access::{NoAccess, UNWRITABLE, adapt_hint_to_runner};
use crate::plan::LaunchPlan;
use crate::plan::stage::stop_legacy_command;
use crate::plan::start::stop_alone;
use crate::step::LaunchStep;
use crate::words::diagnostic::{Diagnostic, Severity};

/// The code of a file that a killed run left.
const LEFTOVER: &str = "store.leftover";

/// The result of a check, in the order in which people read the results.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// A launch refuses or fails because of the problem, or mends it.
    Problem,
    /// Worth a look. A launch goes on.
    Warning,
    /// The check was not made.
    Skipped,
    /// All is well.
    Ok,
}

impl Mark {
    /// Returns the mark as one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
            Self::Ok => "ok",
        }
    }
}

/// One check.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[non_exhaustive]
pub struct Check {
    /// A stable name, for programs.
    pub id: &'static str,
    /// The result.
    pub result: Mark,
    /// The evidence that the check saw.
    pub evidence: String,
    /// The command that mends the problem.
    pub hint: Option<String>,
    /// The stable code of a problem or a warning.
    pub code: Option<String>,
    /// The place of a syntax error in a text that is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Box<Place>>,
    /// The problem or the warning, as the JSON document repeats it in `diagnostics`.
    #[serde(skip)]
    pub diagnostic: Option<Diagnostic>,
}

impl Check {
    /// Returns true if the check found a problem because the user may not use a path.
    fn is_denied(&self) -> bool {
        self.result == Mark::Problem
            && self.diagnostic.as_ref().is_some_and(|diagnostic| diagnostic.is_denied)
    }

    fn new(id: &'static str, result: Mark, evidence: impl Into<String>) -> Self {
        Self { id, result, evidence: evidence.into(), hint: None, code: None, place: None, diagnostic: None }
    }
}

/// All checks of a home.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checks {
    /// The checks. The checks of the homes come first.
    pub list: Vec<Check>,
    /// True if the app's daemon, or the shared daemon, answers.
    pub is_daemon_running: bool,
    /// The name of the program with its options, for hints.
    program: String,
    /// The command that mends everything that a launch can mend.
    repair: String,
    /// The problem that a repair waits for.
    barrier: Option<Check>,
}

impl Checks {
    /// Returns the command that mends everything that a launch can mend.
    pub fn repair(&self) -> String {
        self.repair.clone()
    }

    /// Returns the problem that has to be settled before a repair can finish.
    pub fn barrier(&self) -> Option<&Check> {
        self.barrier.as_ref()
    }

    /// Returns the command that gives access back, if a repair waits for access.
    pub fn access_command(&self) -> Option<&str> {
        let denied = self.barrier.as_ref().filter(|check| check.is_denied());
        denied.and_then(|check| check.hint.as_deref())
    }

    /// Drops `sudo` from the hints, for a user who is root.
    pub fn complete_hints_for_root(&mut self) {
        for check in self.list.iter_mut().chain(&mut self.barrier) {
            let Some(diagnostic) = &mut check.diagnostic else { continue };
            diagnostic.complete_hint_for_root();
            check.hint.clone_from(&diagnostic.hint);
        }
    }

    /// Returns the checks with this result.
    pub fn of(&self, result: Mark) -> impl Iterator<Item = &Check> {
        self.list.iter().filter(move |check| check.result == result)
    }

    /// Returns the evidence of the check with this id, if its result is `ok`.
    pub fn seen(&self, id: &str) -> Option<&str> {
        self.of(Mark::Ok).find(|check| check.id == id).map(|check| check.evidence.as_str())
    }

    fn ok(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.list.push(Check::new(id, Mark::Ok, evidence));
    }

    fn skipped(&mut self, id: &'static str, evidence: impl Into<String>) {
        self.list.push(Check::new(id, Mark::Skipped, evidence));
    }

    fn diagnostics(&mut self, id: &'static str, found: impl IntoIterator<Item = Diagnostic>) {
        found.into_iter().for_each(|diagnostic| self.diagnostic(id, diagnostic));
    }

    fn diagnostic(&mut self, id: &'static str, mut diagnostic: Diagnostic) {
        diagnostic.complete_hint(&self.program);
        // The other checks name the cause.
        let itself = format!("{} doctor", self.program);
        diagnostic.hint = diagnostic.hint.filter(|hint| *hint != itself);
        let is_error = diagnostic.severity == Severity::Error;
        let evidence = std::iter::once(&diagnostic.message).chain(&diagnostic.causes);
        let evidence = evidence.map(String::as_str).collect::<Vec<_>>().join(": ");
        self.list.push(Check {
            hint: diagnostic.hint.clone(),
            code: Some(diagnostic.code.clone()),
            place: diagnostic.place.clone(),
            diagnostic: Some(diagnostic),
            ..Check::new(id, if is_error { Mark::Problem } else { Mark::Warning }, evidence)
        });
    }

    /// Reports one problem for all checks that failed because a directory may not be used, and
    /// marks those checks as skipped.
    fn merge_access_errors(&mut self, context: &Context<'_>) {
        for check in &mut self.list {
            let Some(diagnostic) = &mut check.diagnostic else { continue };
            adapt_hint_to_runner(context.disk, context.layout, diagnostic);
            check.hint.clone_from(&diagnostic.hint);
        }
        let troubles = self.list.iter().filter_map(|check| check.diagnostic.as_ref());
        let Some(closed) = NoAccess::of(context.disk, context.layout, troubles) else { return };
        let is_covered = |check: &&mut Check| {
            check.diagnostic.as_ref().is_some_and(|diagnostic| closed.covers(diagnostic))
        };
        let mut covered: Vec<&mut Check> = self.list.iter_mut().filter(is_covered).collect();
        if let [check] = covered.as_mut_slice() {
            check.hint.clone_from(&closed.diagnostic.hint);
            let diagnostic = check.diagnostic.iter_mut();
            diagnostic.for_each(|diagnostic| diagnostic.hint.clone_from(&closed.diagnostic.hint));
            return;
        }
        for check in covered {
            let evidence = "not looked at before what is named above can be used";
            *check = Check::new(check.id, Mark::Skipped, evidence);
        }
        self.diagnostic("homes.access", closed.diagnostic);
        self.list.rotate_right(1);
    }

    /// Reports a suspended process that holds the lock, as a problem if the next launch needs the
    /// lock: to change the home, to start a daemon, or to have a daemon join a network.
    fn lock(&mut self, context: &Context<'_>, plan: &LaunchPlan) {
        let Some(held) = suspended_holder(&context.layout.app_home) else { return };
        let is_foreseen = plan.diagnostics.iter().any(|diagnostic| diagnostic.code == held.code);
        let joins = |check: &Check| check.id == "networks.active" && check.result == Mark::Warning;
        let is_needed = is_foreseen || self.list.iter().any(joins);
        let held = if is_needed { held } else { held.as_warning() };
        self.diagnostic("homes.suspended-run", held);
    }

    /// Adds each error that would make a launch refuse or fail and that no check has reported.
    fn foresee(&mut self, plan: &LaunchPlan) {
        for error in plan.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()) {
            let is_reported = |check: &Check| {
                let diagnostic = check.diagnostic.as_ref();
                // A repair fails by the error: a check that names the repair does not tell the
                // error.
                let is_mended = check.hint.as_ref() == Some(&self.repair);
                let is_same =
                    |diagnostic: &Diagnostic| diagnostic.code == error.code || diagnostic.path == error.path;
                check.result == Mark::Problem && !is_mended && diagnostic.is_some_and(is_same)
            };
            if !self.list.iter().any(is_reported) {
                self.diagnostic("launch.foreseen", error.clone());
            }
        }
    }

    /// Replaces the hints that end a daemon that may have the only copy of the key.
    fn protect_held_key(&mut self, plan: &LaunchPlan) {
        let Some(holder) = plan.diagnostics.iter().find(|diagnostic| diagnostic.code == HELD) else { return };
        for check in &mut self.list {
            if let Some(diagnostic) = check.diagnostic.as_mut().filter(|diagnostic| ends_daemon(diagnostic)) {
                diagnostic.hint.clone_from(&holder.hint);
                check.hint.clone_from(&holder.hint);
            }
        }
    }

    /// Gives the checks that a repair would mend the hint of the problem that keeps a repair from
    /// mending them: a hint that fails mends nothing.
    fn put_barrier_first(&mut self, plan: &LaunchPlan, stops_legacy: bool) {
        let is_barred = matches!(plan.steps.as_slice(), [LaunchStep::Refuse | LaunchStep::Fail]);
        let repair = self.repair();
        let is_error = |check: &Check, diagnostic: &Diagnostic| {
            check.code.as_deref() == Some(&*diagnostic.code)
                && (check.result == Mark::Problem || !diagnostic.is_error())
        };
        let blocks = |diagnostic: &&Diagnostic| diagnostic.is_error() || diagnostic.code == UNWRITABLE;
        let bars = |check: &&Check| {
            let mut errors = plan.diagnostics.iter().filter(blocks);
            check.is_denied() || (is_barred && errors.any(|diagnostic| is_error(check, diagnostic)))
        };
        let is_mended = |check: &Check| check.hint.as_ref() == Some(&repair);
        let barrier = self.list.iter().filter(bars).find(|check| stops_legacy == is_mended(check)).cloned();
        // A repair that ends with an error leaves the files on which a daemon starts as they are.
        let is_late = |check: &Check| {
            ["daemon.config", "state.sound"].contains(&check.id) && check.code.as_deref() != Some(LEFTOVER)
        };
        let fails = |check: &&Check| {
            let is_told = |named: &String| plan.barriers.contains(named);
            let path = check.diagnostic.as_ref().and_then(|diagnostic| diagnostic.path.as_ref());
            let is_told = check.code.iter().chain(path).any(is_told);
            check.result == Mark::Problem && !is_mended(check) && is_told
        };
        let late_barrier = self.list.iter().find(fails).cloned();
        for check in self.list.iter_mut().filter(|check| is_mended(check)) {
            let first = barrier.as_ref().or(late_barrier.as_ref().filter(|_| is_late(check)));
            let Some(first) = first else { continue };
            check.hint.clone_from(&first.hint);
            if let Some(diagnostic) = &mut check.diagnostic {
                diagnostic.hint.clone_from(&first.hint);
            }
        }
        self.barrier = barrier;
    }
}

struct Examiner<'e, 'a> {
    context: &'e Context<'a>,
    options: &'e Options<'e>,
    plan: &'e LaunchPlan,
    checks: Checks,
}

/// Makes all checks, and changes nothing. `plan` is the plan of a launch on this home.
pub fn checks(context: &Context<'_>, options: &Options<'_>, plan: &LaunchPlan) -> Checks {
    let options = &options.of(context);
    // A plain repair would refuse beside a daemon that this command ends.
    let stop_legacy = stop_legacy_command(options.program);
    let stops_legacy =
        plan.diagnostics.iter().any(|diagnostic| diagnostic.hint.as_ref() == Some(&stop_legacy));
    let repair = if stops_legacy { stop_legacy } else { format!("{} repair", options.program) };
    let checks = Checks {
        list: Vec::new(),
        is_daemon_running: false,
        program: options.program.to_owned(),
        repair,
        barrier: None,
    };
    let mut examiner = Examiner { context, options, plan, checks };
    examiner.homes();
    examiner.state();
    if context.store.schema().is_some() {
        examiner.config();
    }
    examiner.daemons();
    let mut checks = examiner.checks;
    checks.lock(context, plan);
    checks.foresee(plan);
    for Check { hint, diagnostic, .. } in &mut checks.list {
        let hints = std::iter::once(hint).chain(diagnostic.iter_mut().map(|diagnostic| &mut diagnostic.hint));
        stop_alone(plan.missing_program.as_ref(), hints);
    }
    checks.protect_held_key(plan);
    checks.merge_access_errors(context);
    checks.put_barrier_first(plan, stops_legacy);
    checks
}
