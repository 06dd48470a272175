//! What a launch would do, as data: the one prediction that a status prints, a doctor judges, and a launch carries out.

use std::fmt;

use myownllm_config_model::Ids;
use myownllm_config_store::{FileShape, Loaded, Misplaced, Pending, Step, StoreError};
use myownllm_daemon::{Decision, Detection, Expected, Role};
use myownllm_identity::{Answer, Refusal as IdentityRefusal};
use myownllm_migration::{Direction, LiveDaemon, Options as MoveOptions, Plan as MovePlan};
use serde::Serialize;

use crate::access::{missing_home, unwritable};
use crate::context::{Context, Options};
use crate::daemon_config::{misplaced_diagnostic, shared_config};
use crate::daemon_plan::{DaemonStep, Preparation};
use crate::daemons::RunningDaemon;
use crate::diagnostic::{Class, Diagnostic, add_untold, class_of};
use crate::home::{HomePlan, Work, ensure_permitted, orphan_diagnostic, plan_stops};
use crate::identity::{expected_key, identity_answer};
use crate::moves::collision_diagnostic;
use crate::start::{LEAKED, leaked_socket, missing_program, unusable_log};
use crate::trust::ensure_changeable;
use crate::words::{backup, count, process};

/// The code of a config that is no JSON object.
pub const CORRUPT: &str = "store.corrupt";
/// The code of a config that has lost what its user had set.
pub const WIPED: &str = "config.wiped";
/// The code of a config that a launch would repair.
pub const NEEDS_REPAIR: &str = "config.needs-repair";

/// What a launch would do, and everything that was looked at to decide it.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct LaunchPlan {
    /// The steps, in the order in which a launch would take them.
    pub steps: Vec<LaunchStep>,
    /// What would be moved, what waits for a decision, and what stays.
    pub migration: MovePlan,
    /// Whether the move would be made: nothing is moved without the identity file, or beside a running daemon.
    pub moves: bool,
    /// What would be written of the config.
    pub config: Option<Pending>,
    /// The config as a launch would run on it; `None` when the file cannot be read.
    #[serde(skip)]
    pub loaded: Option<Loaded>,
    /// Why the config cannot be read.
    #[serde(skip)]
    pub unreadable: Option<Diagnostic>,
    /// The file in the place of the daemon's config that is not the daemon's.
    #[serde(skip)]
    pub misplaced: Option<Misplaced>,
    /// Which identity file is in force.
    pub identity: Answer,
    /// The daemons that would be ended first.
    pub stops: Vec<LiveDaemon>,
    /// The daemon that listens at the old location.
    #[serde(skip)]
    pub legacy: Option<RunningDaemon>,
    /// Which places of a daemon were looked at, and what answered.
    pub detection: Detection,
    /// Which daemon a launch would end with.
    pub daemon: DaemonStep,
    /// The network that a daemon would be told to join.
    pub active_network: Option<String>,
    /// Whether something would be moved, repaired or set aside.
    pub pending: bool,
    /// What a launch would tell, each with its class: an error makes it fail or refuse.
    pub diagnostics: Vec<Diagnostic>,
    /// Whether a daemon program is there to be started; `None` when one is, or when that is not known.
    #[serde(skip)]
    pub program: Option<Diagnostic>,
}

impl LaunchPlan {
    /// Returns the class with which a launch would end; `None` when it would succeed.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        class_of(&self.diagnostics)
    }

    /// Whether a launch would start a daemon, were it not for the diagnostics.
    #[must_use]
    pub fn wants_start(&self) -> bool {
        matches!(self.detection.decision, Decision::Spawn)
    }
}

/// One thing that a launch would do.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum LaunchStep {
    /// It refuses to change anything.
    Refuse,
    /// It fails to change what is to be changed.
    Fail,
    /// It moves the daemon's state to the daemon home.
    Move {
        /// How many files.
        files: usize,
    },
    /// It leaves the config, which it cannot read, and runs on another.
    RunOnStandIn,
    /// It leaves a config that a newer version wrote.
    LeaveNewerConfig,
    /// It writes a config that is gone anew.
    RestoreConfig {
        /// From which backup.
        from: Option<String>,
    },
    /// It repairs the config.
    RepairConfig,
    /// It adds what the config lacks.
    CompleteConfig,
    /// It writes a config where there was none.
    WriteDefaultConfig,
    /// It sets aside the file in the place of the daemon's config.
    SetDaemonConfigAside,
    /// It uses no daemon.
    StartNoDaemon {
        /// Why, in a few words, where the diagnostics do not say it.
        why: Option<String>,
    },
    /// It uses the shared daemon.
    AttachToSharedDaemon,
    /// It uses the app's daemon, which runs.
    AttachToOwnDaemon,
    /// It starts the app's daemon.
    StartDaemon,
}

impl LaunchStep {
    /// Returns the stable name, for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Fail => "fail",
            Self::Move { .. } => "move",
            Self::RunOnStandIn => "run-on-stand-in",
            Self::LeaveNewerConfig => "leave-newer-config",
            Self::RestoreConfig { .. } => "restore-config",
            Self::RepairConfig => "repair-config",
            Self::CompleteConfig => "complete-config",
            Self::WriteDefaultConfig => "write-default-config",
            Self::SetDaemonConfigAside => "set-daemon-config-aside",
            Self::StartNoDaemon { .. } => "start-no-daemon",
            Self::AttachToSharedDaemon => "attach-to-shared-daemon",
            Self::AttachToOwnDaemon => "attach-to-own-daemon",
            Self::StartDaemon => "start-daemon",
        }
    }
}

impl fmt::Display for LaunchStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "load the config, refuse to change anything, and start no daemon (see below)",
            Self::Fail => {
                "load the config, fail to change what is to be changed, and start no daemon (see below)"
            }
            Self::Move { files } => {
                return write!(f, "move {} to the daemon's home", count(*files, "file"));
            }
            Self::RunOnStandIn => "run on a stand-in for the config, and leave the file as it is (see below)",
            Self::LeaveNewerConfig => "leave the config as it is: a newer version wrote it",
            Self::RestoreConfig { from: Some(name) } => {
                return write!(f, "write the config anew from {}", backup(name));
            }
            Self::RestoreConfig { from: None } => "write the config anew from a backup",
            Self::RepairConfig => "repair the config, keeping a copy of the former one",
            Self::CompleteConfig => "complete the config with what it lacks",
            Self::WriteDefaultConfig => "write a config with the defaults",
            Self::SetDaemonConfigAside => {
                "set the daemon's config aside, which is not the daemon's (see below)"
            }
            Self::StartNoDaemon { why: Some(why) } => return write!(f, "start no daemon{why}"),
            Self::StartNoDaemon { why: None } => "start no daemon",
            Self::AttachToSharedDaemon => "attach to the shared daemon",
            Self::AttachToOwnDaemon => "attach to the app's daemon, which runs",
            Self::StartDaemon => "start the app's daemon",
        })
    }
}

/// Decides what a launch would do. Looks, and changes nothing.
pub fn plan(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> LaunchPlan {
    Planner::look(context, options, ids).decide()
}

/// What was looked at.
struct Planner<'p, 'a> {
    context: &'p Context<'a>,
    options: &'p Options<'p>,
    migration: MovePlan,
    loaded: Result<Loaded, StoreError>,
    misplaced: Option<Misplaced>,
    identity: Answer,
    home: HomePlan,
    legacy: Option<RunningDaemon>,
    detection: Detection,
    preparation: Preparation,
    orphans: Vec<RunningDaemon>,
    program: Option<Diagnostic>,
}

impl<'p, 'a> Planner<'p, 'a> {
    fn look(context: &'p Context<'a>, options: &'p Options<'p>, ids: &mut dyn Ids) -> Self {
        let migration =
            context.migrator.plan(&context.migrator.inspect(Direction::Forward), &MoveOptions::forward());
        let loaded = context.store.look(ids);
        let pending = loaded.as_ref().ok().filter(|loaded| loaded.newer.is_none());
        let pending = pending.map(|loaded| loaded.pending.clone());
        let identity = identity_answer(context, pending.as_ref());
        let work = Work::look(context, pending);
        let repair = loaded.as_ref().ok().map(|loaded| &loaded.report);
        let home = HomePlan::new(context, options, &work, repair);
        let expected = expected_key(&identity).ok();
        let expected = expected.or_else(|| Some(Expected::key(&identity.key()?.device_id)));
        let detection = context.daemons.survey(expected.as_ref());
        let known = match detection.decision {
            Decision::Attach { pid, .. } => pid,
            _ => None,
        };
        Self {
            misplaced: context.store.misplaced(),
            legacy: context.daemons.live_legacy(),
            orphans: context.daemons.orphans(known),
            preparation: Preparation::new(context, options, &detection.decision),
            program: missing_program(context),
            context,
            options,
            migration,
            loaded,
            identity,
            home,
            detection,
        }
    }

    fn decide(self) -> LaunchPlan {
        let layout = self.context.layout;
        let mut diagnostics = self.state_diagnostics();
        let missing_home = missing_home(self.context);
        // A config that cannot be read was told of, and that it cannot be asked for a socket says nothing more.
        let is_told = |refusal: &Diagnostic| refusal.code == LEAKED && self.loaded.is_err();
        let legacy = plan_stops(self.legacy.iter().cloned().collect(), self.options).1;
        let refusal = self.home.refusal.clone().filter(|refusal| !is_told(refusal));
        legacy.into_iter().chain(refusal).for_each(|refusal| add_new(&mut diagnostics, refusal));
        diagnostics.extend(missing_home.iter().map(Diagnostic::from));
        let untrusted = self.options.refusal.cloned().or_else(|| ensure_changeable(self.context).err());
        let is_trusted = untrusted.is_none();
        if let Some(untrusted) = untrusted {
            // One cause is told once.
            diagnostics.retain(|told| told.path != untrusted.path);
            diagnostics.push(untrusted);
        }
        let is_refused = self.home.refusal.is_some()
            || missing_home.is_some()
            || ensure_permitted(self.context, self.options).is_err();
        let loaded = self.loaded.as_ref().ok();
        let repairs = loaded.is_some_and(|loaded| loaded.pending.repairs());
        let pending = !self.migration.is_empty() || self.misplaced.is_some() || repairs;
        let writes = pending || loaded.is_some_and(|loaded| loaded.pending.writes_config());
        // A launch writes to the app's home when something is to be done there.
        let stuck = unwritable(self.context, self.options.run_as, &layout.app_home).filter(|_| writes);
        let fails = stuck.is_some();
        let is_barred = is_refused || fails || diagnostics.iter().any(Diagnostic::is_error);
        let refusals = match self.options.daemon && self.context.checked.is_ok() && is_trusted {
            true => self.daemon_refusals(),
            false => Vec::new(),
        };
        let daemon = self.daemon_step(is_barred, !refusals.is_empty());
        refusals.into_iter().for_each(|refusal| add_new(&mut diagnostics, refusal));
        diagnostics.extend(stuck);
        let missing_key = self.identity.refusal().is_some_and(IdentityRefusal::is_gone);
        // A config that cannot be asked where its daemon listens forbids the move.
        let moves = self.migration.refusals.is_empty() && leaked_socket(self.context).is_ok() && !missing_key;
        let steps = match (is_refused, fails) {
            (true, _) => vec![LaunchStep::Refuse],
            (false, true) => vec![LaunchStep::Fail],
            (false, false) => self.steps(moves, &daemon),
        };
        let stops = self.home.stops.iter().chain(&self.preparation.stops);
        LaunchPlan {
            steps,
            moves: moves && !is_refused && !fails,
            config: loaded.map(|loaded| loaded.pending.clone()),
            stops: stops.map(LiveDaemon::from).collect(),
            daemon,
            active_network: loaded.and_then(active_network),
            pending,
            diagnostics,
            migration: self.migration,
            misplaced: self.misplaced,
            identity: self.identity,
            legacy: self.legacy,
            detection: self.detection,
            program: self.program,
            unreadable: self.loaded.as_ref().err().map(Diagnostic::from),
            loaded: self.loaded.ok(),
        }
    }

    /// What is wrong with what lies in the homes.
    fn state_diagnostics(&self) -> Vec<Diagnostic> {
        let layout = self.context.layout;
        let mut diagnostics: Vec<Diagnostic> =
            self.context.checked.err().map(Diagnostic::from).into_iter().collect();
        diagnostics.extend(plan_diagnostics(&self.migration, self.options.program));
        match &self.loaded {
            Err(error) => diagnostics.push(Diagnostic::from(error)),
            Ok(loaded) => {
                let newer = loaded.newer;
                diagnostics.extend(newer.map(|version| {
                    Diagnostic::from(&StoreError::Newer { path: layout.app_config.clone(), version })
                }));
                let wiped = loaded.diagnostics.iter().filter(|found| found.code == WIPED);
                diagnostics.extend(wiped.map(Diagnostic::from));
            }
        }
        diagnostics.extend(shared_config(self.context).or_else(|| {
            // A launch puts it right.
            Some(misplaced_diagnostic(self.context, self.misplaced.as_ref()?).as_warning())
        }));
        add_untold(&mut diagnostics, self.identity.refusal().map(Diagnostic::from));
        diagnostics
            .extend(self.orphans.iter().map(|live| orphan_diagnostic(live, self.options).as_warning()));
        diagnostics
    }

    /// What keeps a launch from using a daemon.
    fn daemon_refusals(&self) -> Vec<Diagnostic> {
        let starts = matches!(self.detection.decision, Decision::Spawn);
        let home = || unwritable(self.context, self.options.run_as, &self.context.layout.daemon_home);
        let home = starts.then(home).flatten().map(Diagnostic::as_error);
        let program = self.program.clone().filter(|program| starts && program.is_error());
        let log = starts.then(|| unusable_log(self.context)).flatten();
        self.preparation.refusal.clone().into_iter().chain(home).chain(log).chain(program).collect()
    }

    /// `is_barred` says that no daemon would be looked for, `is_refused` that none of those that were looked for would do.
    fn daemon_step(&self, is_barred: bool, is_refused: bool) -> DaemonStep {
        let see_below = || Some(" (see below)".to_owned());
        let why = match &self.detection.decision {
            _ if !self.options.daemon => None,
            _ if is_barred => see_below(),
            Decision::Attach { role, endpoint, pid, .. } if !is_refused => {
                return DaemonStep::Attach { role: *role, endpoint: endpoint.clone(), pid: *pid };
            }
            Decision::Spawn if !is_refused => {
                let own = self.detection.attempts.iter().find(|attempt| attempt.role == Role::Own);
                match own {
                    Some(own) => return DaemonStep::Start { endpoint: own.endpoint.clone() },
                    None => see_below(),
                }
            }
            Decision::Spawn => match self.orphans.first() {
                Some(orphan) => {
                    Some(format!(", as one serves the home without a socket{}", process(orphan.pid())))
                }
                None => see_below(),
            },
            Decision::Refuse(refusal) => Some(format!(": {refusal}")),
            _ => see_below(),
        };
        DaemonStep::None { why }
    }

    fn steps(&self, moves: bool, daemon: &DaemonStep) -> Vec<LaunchStep> {
        let mut steps = Vec::new();
        // A refused move moves nothing; an identity file that cannot be used stays behind alone. Neither keeps the config from its
        // repair.
        let files = if moves { self.migration.files() } else { 0 };
        steps.extend((files > 0).then_some(LaunchStep::Move { files }));
        steps.extend(config_step(self.loaded.as_ref().ok()));
        steps.extend(self.misplaced.is_some().then_some(LaunchStep::SetDaemonConfigAside));
        if self.options.daemon {
            steps.push(match daemon {
                DaemonStep::Attach { role: Role::Shared, .. } => LaunchStep::AttachToSharedDaemon,
                DaemonStep::Attach { .. } => LaunchStep::AttachToOwnDaemon,
                DaemonStep::Start { .. } => LaunchStep::StartDaemon,
                DaemonStep::None { why } => LaunchStep::StartNoDaemon { why: why.clone() },
            });
        }
        steps
    }
}

fn config_step(loaded: Option<&Loaded>) -> Option<LaunchStep> {
    let Some(loaded) = loaded else { return Some(LaunchStep::RunOnStandIn) };
    let pending = &loaded.pending;
    let is_missing = loaded.shape == FileShape::Missing;
    if loaded.newer.is_some() {
        Some(LaunchStep::LeaveNewerConfig)
    } else if pending.repairs() && is_missing {
        Some(LaunchStep::RestoreConfig { from: loaded.report.restored_from.clone() })
    } else if pending.repairs() {
        Some(LaunchStep::RepairConfig)
    } else if pending.steps.iter().any(|step| matches!(step, Step::ReplaceConfig { .. })) {
        Some(LaunchStep::CompleteConfig)
    } else if is_missing && pending.writes_config() {
        Some(LaunchStep::WriteDefaultConfig)
    } else {
        None
    }
}

fn active_network(loaded: &Loaded) -> Option<String> {
    let shown = myownllm_config_model::masking::mask(&loaded.document);
    let active = myownllm_config_model::networks::active(&shown)?;
    active.get("network_id").and_then(|id| id.as_str().map(|id| id.into_owned()))
}

/// Returns what a launch tells of a move before it is made: files that differ wait for their owner, and the app goes on without
/// them.
fn plan_diagnostics<'a>(plan: &'a MovePlan, program: &'a str) -> impl Iterator<Item = Diagnostic> + 'a {
    let troubles = plan.refusals.iter().chain(&plan.errors).map(Diagnostic::from);
    let collisions = plan.collisions.iter();
    let collisions = collisions.map(move |both| collision_diagnostic(both, plan.direction, program));
    troubles.chain(collisions.map(Diagnostic::as_warning))
}

fn is_same(told: &Diagnostic, other: &Diagnostic) -> bool {
    told.code == other.code && told.message == other.message
}

/// Adds a diagnostic that is not told yet.
fn add_new(diagnostics: &mut Vec<Diagnostic>, more: Diagnostic) {
    // What was a warning by itself may be what makes a launch fail.
    diagnostics.retain(|told| !is_same(told, &more) || told.is_error());
    if !diagnostics.iter().any(|told| is_same(told, &more)) {
        diagnostics.push(more);
    }
}
