//! The verdict: the state of this home in a line or two, and the commands that
//! matter now.

use myownllm_config_model::masking;
use myownllm_config_store::FileShape;
use myownllm_identity::{KnownIdentity, Problem, Refusal, WayOut};
use myownllm_launch::words::{count, networks_words};
use myownllm_launch::{COLLISION, Check, Checks, LOSSES, LaunchPlan, Mark, with_access};
use myownllm_migration::{Direction, Keep};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::salvage::recovered;
use crate::screen::Page;
use crate::text::unfilled;
use crate::view::HomeView;

/// The id of the check of the config's shape.
const CONFIG: &str = "config.shape";

/// The code of a config that has lost all of its networks, or nearly all settings.
const WIPED: &str = "config.wiped";

/// The end of a command that looks at a home with other rights: it gives no access for a repair.
pub(crate) const LOOK: &str = " status";

/// The effect of the command that gives access back.
const GIVES_ACCESS: &str = "gives access, which a repair needs";

/// The state of a home, in a word.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum HomeState {
    /// Nothing is wrong, and nothing is pending.
    Healthy,
    /// Nothing is wrong, and a launch would change something.
    Pending,
    /// Something is wrong.
    Problem,
}

impl HomeState {
    /// Returns the state that follows from a plan and its checks.
    pub fn new(plan: &LaunchPlan, checks: &Checks) -> Self {
        match (checks.of(Mark::Problem).count(), plan.pending) {
            (0, false) => Self::Healthy,
            (0, true) => Self::Pending,
            _ => Self::Problem,
        }
    }
}

/// The verdict on a home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Verdict<'a> {
    verdict: HomeState,
    /// The verdict for a person, sentence by sentence.
    summary: &'a [String],
    /// The commands that matter now, the first one first.
    commands: &'a [Command],
    /// True if a launch would move or repair something.
    pending: bool,
    /// The number of problems that `doctor` finds.
    problems: usize,
    /// The number of warnings that `doctor` finds.
    warnings: usize,
}

#[derive(Serialize, JsonSchema)]
struct Command {
    /// The command, to be copied.
    command: String,
    /// The effect of the command, for a person.
    what: String,
}

impl Command {
    fn new(command: impl Into<String>, what: impl Into<String>) -> Self {
        Self { command: command.into(), what: what.into() }
    }
}

/// Returns the verdict that follows from these checks.
pub fn verdict(home: &HomeView<'_>, plan: &LaunchPlan, checks: &Checks) -> (Page, Value) {
    let state = HomeState::new(plan, checks);
    let summary = summary(home, plan, checks, state);
    let commands = commands(home, plan, checks, state);
    let mut page = Page::default();
    for line in &summary {
        page.line(line);
    }
    page.gap();
    page.commands(commands.iter().map(|one| (one.command.clone(), one.what.clone())).collect());
    let document = Verdict {
        verdict: state,
        summary: &summary,
        commands: &commands,
        pending: plan.pending,
        problems: checks.of(Mark::Problem).count(),
        warnings: checks.of(Mark::Warning).count(),
    };
    (page, json!(document))
}

fn summary(view: &HomeView<'_>, plan: &LaunchPlan, checks: &Checks, state: HomeState) -> Vec<String> {
    let home = view.short(&view.layout.app_home);
    let troubles = |result| checks.of(result).collect::<Vec<_>>();
    let lost = losses(checks).filter(|_| state != HomeState::Problem);
    let mut lines = match state {
        HomeState::Healthy if view.disk.stat(view.layout.app_home.as_std_path()).is_err() => {
            vec![format!("MyOwnLLM has not been used here yet: {home} is not there.")]
        }
        HomeState::Healthy => {
            let saved = plan.loaded.as_ref().map(|loaded| networks_words(&masking::mask(&loaded.document)));
            let daemon = if checks.is_daemon_running { "A daemon runs." } else { "No daemon runs." };
            let state = if lost.is_some() { "works" } else { "is healthy" };
            vec![format!("{home} {state}. Networks: {}. {daemon}", saved.unwrap_or_default())]
        }
        HomeState::Pending => {
            let warnings = troubles(Mark::Warning);
            let mended = warnings.iter().find(|check| check.hint == Some(checks.repair()));
            let asked = warnings.iter().find(|check| is_question(check));
            let begun = match lost {
                Some(_) => "a launch would complete the config with defaults",
                None => "a launch would finish what was begun",
            };
            let what = mended.or(asked).map_or(begun, |check| &check.evidence);
            vec![format!("{home} works, and something is pending: {what}.")]
        }
        _ => of_problems(view, &home, plan, checks),
    };
    lines.extend(lost.map(|lost| format!("Warning: {}.", lost.evidence)));
    let is_mended = |check: &Check| {
        let hint = check.hint.as_deref();
        hint == Some(&checks.repair()) || (hint.is_some() && hint == checks.access_command())
    };
    // The losses of a repair are told with the problem that it mends, but for a file that may hold
    // the settings.
    let has_source = source(view, checks).is_some();
    let loss = losses(checks).filter(|_| state != HomeState::Problem || !has_source);
    let is_told = |check: &Check| loss.is_some_and(|loss| std::ptr::eq(loss, check));
    let is_other = |check: &&Check| !is_mended(check) && !is_question(check) && !is_told(check);
    let others = troubles(Mark::Warning).into_iter().filter(is_other);
    match others.collect::<Vec<_>>().as_slice() {
        [] => {}
        [one] => lines.push(format!("Warning: {}.", one.evidence)),
        more => {
            let other = if lost.is_some() { "other " } else { "" };
            lines.push(format!("There are {} {other}warnings.", more.len()));
        }
    }
    lines
}

/// Returns the check of settings, or of a list of networks, that are lost, if it warns.
fn losses(checks: &Checks) -> Option<&Check> {
    let is_loss = |check: &&Check| matches!(check.code.as_deref(), Some(LOSSES | WIPED));
    checks.of(Mark::Warning).find(is_loss)
}

/// Returns the file that may hold the lost settings, and the command that brings it back, if a check
/// names such a file.
fn source<'c>(view: &HomeView<'_>, checks: &'c Checks) -> Option<(&'c str, &'c str)> {
    let lost = losses(checks)?;
    let path = lost.diagnostic.as_ref()?.path.as_deref()?;
    (path != view.layout.app_config).then_some((path, lost.hint.as_deref()?))
}

/// Returns true if a check asks the user which of two files is to stay.
fn is_question(check: &Check) -> bool {
    check.code.as_deref() == Some(COLLISION)
}

/// Describes the overwritten config in its own words, else the topmost problem, and the number of
/// the other problems.
fn of_problems(view: &HomeView<'_>, home: &str, plan: &LaunchPlan, checks: &Checks) -> Vec<String> {
    let problems: Vec<&Check> = checks.of(Mark::Problem).collect();
    let overwritten = problems.iter().any(|check| check.id == CONFIG);
    let loaded = plan.loaded.as_ref().filter(|loaded| overwritten && loaded.pending.repairs());
    let mut lines = match (loaded, problems.as_slice()) {
        (Some(loaded), _) => {
            let what = match loaded.shape {
                FileShape::Daemon => "the mesh daemon wrote over your settings",
                FileShape::Mixed => "the mesh daemon wrote into your settings",
                FileShape::Missing | FileShape::App | FileShape::Unknown
                    if loaded.report.restored_from.is_none() =>
                {
                    "your settings are gone"
                }
                FileShape::Missing => "your settings are gone",
                _ if loaded.report.wiped.is_some() => "nearly all of your settings are gone",
                FileShape::App => "the config that you brought back is not in use",
                _ => "your settings cannot be read",
            };
            let lost = count(loaded.report.reset_keys.len(), "setting");
            match recovered(view, &loaded.report) {
                Some(back) => {
                    let more = format!("No backup has the other {lost}: a repair sets them to the defaults.");
                    let more = Some(more).filter(|_| !loaded.report.reset_keys.is_empty());
                    let back = format!("{home} has a problem: {what}. A repair recovers {back}.");
                    std::iter::once(back).chain(more).collect()
                }
                None => match source(view, checks) {
                    Some((path, _)) => vec![
                        format!("{home} has a problem: {what}, and {} may hold them.", view.short(path)),
                        format!("Without that file, a repair sets {lost} to the defaults."),
                    ],
                    None => vec![
                        format!("{home} has a problem: {what}, and no backup has them."),
                        format!("A repair sets {lost} to the defaults."),
                    ],
                },
            }
        }
        (None, [first, ..]) => {
            vec![format!("{home} has a problem: {}.", evidence(plan, first))]
        }
        (None, []) => Vec::new(),
    };
    let barrier = checks.barrier().filter(|_| loaded.is_some());
    if let Some(barrier) = barrier {
        lines.insert(0, format!("In the way of a repair: {}.", barrier.evidence));
    }
    let is_told = |check: &Check| match loaded {
        Some(_) => check.id == CONFIG || barrier.is_some_and(|barrier| barrier.id == check.id),
        None => std::ptr::eq(check, problems[0]),
    };
    let others: Vec<&Check> = problems.iter().copied().filter(|check| !is_told(check)).collect();
    match others.as_slice() {
        [] => {}
        [one] => lines.push(format!("Another problem: {}.", evidence(plan, one))),
        more => lines.push(format!("There are {} other problems.", more.len())),
    }
    lines
}

/// Returns the evidence of a check; for a refusal the problem alone, as its ways out stand on lines
/// of their own.
fn evidence(plan: &LaunchPlan, check: &Check) -> String {
    refusal_of(plan, check).map_or_else(|| check.evidence.clone(), |refusal| refusal.problem.to_string())
}

/// Returns the refusal of the identity file that a check reports.
fn refusal_of<'p>(plan: &'p LaunchPlan, check: &Check) -> Option<&'p Refusal> {
    plan.identity.refusal().filter(|refusal| check.code.as_deref() == Some(refusal.code()))
}

/// Returns the commands that settle a problem of the identity file, if the user has to choose one.
/// `hint` is the command of the check that reports the problem.
fn choices(home: &HomeView<'_>, refusal: &Refusal, hint: Option<&String>) -> Vec<Command> {
    if let Problem::TwoIdentities { old_location, daemon_home, .. } = &refusal.problem {
        let mut sides = [(Keep::Source, &**old_location), (Keep::Destination, &**daemon_home)];
        sides.sort_by_key(|(_, side)| !side.is_known);
        let keeps = |(keep, side): (Keep, &KnownIdentity)| {
            let command =
                format!("{} migrate --keep-identity {}", home.program, keep.place(Direction::Forward));
            let who = if side.is_known { "this home has known" } else { "if your peers know" };
            Command::new(command, format!("{who} {}", side.key.device_id))
        };
        return sides.map(keeps).into();
    }
    if let Some(WayOut::Choose) = refusal.ways_out.first() {
        let brings_back = |way: &WayOut| match way {
            WayOut::BringBack { device_id, command, .. } => {
                let device_id = device_id.as_deref().unwrap_or("the device of this file");
                Some(Command::new(command, format!("if your peers know {device_id}")))
            }
            _ => None,
        };
        return refusal.ways_out.iter().filter_map(brings_back).collect();
    }
    let given_up = refusal.ways_out.iter().skip(1).find_map(|way| match way {
        WayOut::GiveUpPeers { command } => Some(command.clone()),
        _ => None,
    });
    match (hint, given_up.filter(|_| refusal.is_missing())) {
        (Some(first), Some(given_up)) => vec![
            Command::new(first, if refusal.is_hidden() { "shows the symlink" } else { "brings it back" }),
            Command::new(given_up, "only if it is lost for good: every peer has to approve this device anew"),
        ],
        _ => Vec::new(),
    }
}

fn commands(home: &HomeView<'_>, plan: &LaunchPlan, checks: &Checks, state: HomeState) -> Vec<Command> {
    let ours = |rest: &str| format!("{} {rest}", home.program);
    let repair =
        Command::new(checks.repair(), "puts right what can be put right, and keeps what it replaces");
    let set = losses(checks).and_then(|lost| lost.hint.clone());
    let is_written = plan.config.as_ref().is_none_or(|pending| !pending.writes_config());
    let what =
        if is_written { "ends these consequences" } else { "shows what would be lost, or brings it back" };
    let set = set.map(|set| Command::new(set, what));
    let mut commands = match state {
        HomeState::Healthy => {
            let look = match checks.of(Mark::Warning).next() {
                None => Command::new(ours("status"), "shows where everything is"),
                Some(_) => Command::new(ours("doctor"), "shows every warning and its cure"),
            };
            // Without a daemon program, there is nothing to start.
            let may_start = !checks.is_daemon_running && checks.seen("daemon.program").is_some();
            let start = may_start.then(|| Command::new(ours("launch"), "starts the daemon"));
            set.into_iter().chain([look]).chain(start).collect()
        }
        HomeState::Pending => {
            let mends = checks.list.iter().any(|check| check.hint.as_ref() == Some(&repair.command));
            let asks = checks.list.iter().any(is_question);
            let keeps = |(side, home): (Keep, &str)| {
                let command = ours(&format!("migrate --keep {}", side.place(Direction::Forward)));
                Command::new(command, format!("keeps the files of the {home}, the others beside them"))
            };
            let mut first = match asks && !mends {
                true => {
                    [(Keep::Source, "old location"), (Keep::Destination, "daemon home")].map(keeps).into()
                }
                false => vec![repair],
            };
            first.extend(set);
            first.push(Command::new(ours("status"), "shows what it would do"));
            first
        }
        HomeState::Problem => {
            let of = |check: &&Check| check.hint.as_ref() == Some(&repair.command);
            let problem = checks.of(Mark::Problem).find(|check| check.id == CONFIG);
            let problem = problem.or_else(|| checks.of(Mark::Problem).next()).filter(|check| !of(check));
            let refusal = problem.and_then(|check| refusal_of(plan, check));
            let hint = problem.and_then(|check| check.hint.clone());
            let mut first = refusal.map(|refusal| choices(home, refusal, hint.as_ref())).unwrap_or_default();
            if first.is_empty() {
                first.extend(hint.map(|hint| {
                    let what = match unfilled(&hint) {
                        Some(_) => "after you put the path of your own backup into it",
                        None if hint.ends_with(" --version") => "shows the version to update",
                        None if hint.ends_with(LOOK) => "shows the home with root's rights",
                        None if Some(hint.as_str()) == checks.access_command() => GIVES_ACCESS,
                        None => "for this problem",
                    };
                    Command::new(hint, what)
                }));
            }
            let access = checks.access_command().filter(|command| !command.ends_with(LOOK));
            if let Some(access) = access.filter(|access| first.iter().all(|one| one.command != *access)) {
                first.push(Command::new(access, GIVES_ACCESS));
            }
            // A repair alone would set the settings to the defaults.
            if let Some((_, command)) = source(home, checks).filter(|_| first.is_empty()) {
                first.push(Command::new(command, "brings the settings back"));
            }
            let is_next = access.is_some() || checks.of(Mark::Problem).any(|check| of(&check));
            first.extend(Some(repair).filter(|_| is_next));
            first.push(Command::new(ours("doctor"), "shows all that is wrong"));
            first
        }
    };
    commands.push(Command::new(ours("--help"), "lists all commands"));
    for one in &mut commands {
        let command = std::mem::take(&mut one.command);
        one.command = with_access(home.disk, home.layout, None, command);
    }
    commands
}
