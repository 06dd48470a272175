//! The plan of a launch, as data: the one prediction that `status` prints, `doctor` judges, and a
//! launch carries out.

pub(crate) mod checks;
pub(crate) mod foreseen;
pub(crate) mod stage;
pub(crate) mod start;

use std::path::PathBuf;

use myownllm_config_model::{Document, Ids};
use myownllm_config_store::{Loaded, Misplaced, Pending};
use myownllm_daemon::{Decision, Detection, Expected};
use myownllm_identity::{Answer, Refusal};
use myownllm_migration::Plan as MovePlan;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;

use crate::context::{Context, Options, suspended_holder};
use crate::daemons::RunningDaemon;
use crate::daemons::networks::{active_network, unreadable_backup};
use crate::files::daemon_config::{misplaced_diagnostic, newer_config, shared_config};
use crate::files::identity::{ensure_no_new_home, identity_answer, protect_held_key};
use crate::files::losses::{LOSSES, lasting_losses, lasting_network_losses, may_have_lost_networks};
use crate::files::moves::{collision_as_warning, forward_plan, is_about_overlap, plan_diagnostics};
use crate::homes::checked_layout;
use crate::homes::no_access::{UNWRITABLE, merge_access_errors};
use crate::homes::owner::missing_home;
use crate::homes::trust::{ensure_changeable, ensure_permitted};
use crate::plan::foreseen::{
    blocked_backup, blocked_change, blocked_repair, changed_dirs, fixed_config, full_disk, no_room,
    unlockable_home, unmendable_peers, unusable_log, unwritable,
};
use crate::plan::stage::{ConfigInUse, HomeInspection, Stage, live_refusal, orphan_diagnostic};
use crate::plan::start::{CONFIG_SOCKET_UNREADABLE, missing_program, socket_named_by_config, stop_alone};
use crate::step::LaunchStep;
use crate::words::diagnostic::{Class, Diagnostic, WIPED, add_new, add_unreported, class_of};

/// The actions of a launch, and everything that decided them.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct LaunchPlan {
    /// The steps, in the order in which a launch would take them.
    pub steps: Vec<LaunchStep>,
    /// The files that would be moved, that wait for a decision, and that stay.
    pub migration: MovePlan,
    /// True if the move would be made: nothing is moved without the identity file, or beside a
    /// running daemon.
    pub moves: bool,
    /// The steps that would write the config.
    pub config: Option<Pending>,
    /// The config that a launch would run on; `None` if the file cannot be read.
    #[serde(skip)]
    pub loaded: Option<Loaded>,
    /// The reason why the config cannot be read.
    #[serde(skip)]
    pub unreadable: Option<Diagnostic>,
    /// The file at the path of the daemon's config that is not the daemon's.
    #[serde(skip)]
    pub misplaced: Option<Misplaced>,
    /// The active identity file.
    pub identity: Answer,
    /// The daemon that listens at the old location.
    #[serde(skip)]
    pub legacy: Option<RunningDaemon>,
    /// The endpoints at which the plan looked for a daemon, and the answers.
    pub detection: Detection,
    /// True if a launch would move, repair or set aside something, or if files that differ wait for
    /// the user's decision.
    pub pending: bool,
    /// The diagnostics of a launch, each with its class: an error makes the launch fail or refuse.
    pub diagnostics: Vec<Diagnostic>,
    /// The codes and paths of the errors that keep a repair from mending the files on which a daemon
    /// starts.
    #[serde(skip)]
    pub(crate) barriers: Vec<String>,
    /// True if a launch makes a backup of a config.
    #[serde(skip)]
    pub(crate) makes_backup: bool,
    /// The class of the errors that a launch meets; `None` if it meets none.
    #[serde(skip)]
    class: Option<Class>,
    /// Reports that no daemon program can be started; `None` if one can be started, or if that is
    /// not known.
    #[serde(skip)]
    pub missing_program: Option<Diagnostic>,
}

impl LaunchPlan {
    /// Returns the class with which a launch would end; `None` if it would succeed.
    pub fn class(&self) -> Option<Class> {
        self.class
    }

    /// Returns true if a launch would start a daemon unless a diagnostic prevents it.
    pub fn wants_start(&self) -> bool {
        matches!(self.detection.decision, Decision::Spawn)
    }

    /// Returns the reason why a launch would use no daemon.
    pub(crate) fn obstacle(&self) -> Option<Diagnostic> {
        let error = self.diagnostics.iter().find(|diagnostic| diagnostic.is_error());
        error.or(self.missing_program.as_ref().filter(|_| self.wants_start())).cloned()
    }
}

/// Decides what a launch would do. Only looks, and changes nothing.
pub fn plan(context: &Context<'_>, options: &Options<'_>, ids: &mut dyn Ids) -> LaunchPlan {
    let options = options.of(context);
    let mut plan = Planner::inspect(context, &options, ids).decide();
    plan.diagnostics.iter_mut().for_each(|diagnostic| diagnostic.complete_hint(options.program));
    plan
}

/// The plan in the making, and everything that decides it beside what the plan shows.
struct Planner<'p, 'a> {
    context: &'p Context<'a>,
    options: &'p Options<'p>,
    plan: LaunchPlan,
    /// True if a launch looks at what is to be moved, and finds something.
    moves: bool,
    home: Stage,
    daemon: Stage,
    orphans: Vec<RunningDaemon>,
}

impl<'p, 'a> Planner<'p, 'a> {
    fn inspect(context: &'p Context<'a>, options: &'p Options<'p>, ids: &mut dyn Ids) -> Self {
        let migration = forward_plan(context);
        let loaded = context.store.load(ids);
        let identity = identity_answer(context);
        let look = HomeInspection::new(context, loaded.as_ref());
        let empty = Document::empty();
        let (document, report) = match &loaded {
            Ok(loaded) => (&loaded.document, Some(&loaded.report)),
            Err(_) => (&empty, None),
        };
        let moved = Some(&migration).filter(|_| look.moves);
        let home = Stage::of_home(context, options, &look, moved, (document, report));
        let makes_backup = look.makes_backup()
            && unwritable(context, options.run_as, std::slice::from_ref(&context.layout.backups)).is_none();
        let config = ConfigInUse {
            document,
            is_in_doubt: loaded
                .as_ref()
                .is_ok_and(|loaded| may_have_lost_networks(&loaded.report, &loaded.diagnostics)),
            is_backed_up: makes_backup,
        };
        let expected = identity.expected().ok();
        let expected = expected.or_else(|| Some(Expected::key(&identity.key()?.device_id)));
        let detection = context.daemons.survey(expected.as_ref());
        let known = match detection.decision {
            Decision::Attach { pid, .. } => pid,
            _ => None,
        };
        let mut daemon = Stage::of_daemon(context, options, &detection.decision, &migration, config);
        let is_move = |step: &LaunchStep| matches!(step, LaunchStep::Move { .. });
        if home.steps.iter().any(is_move) {
            let mends = |path: &PathBuf| {
                home.steps.iter().any(|step| matches!(step, LaunchStep::MendState { path: by } if by == path))
            };
            let is_done = |step: &LaunchStep| matches!(step, LaunchStep::MendState { path } if mends(path));
            daemon.steps.retain(|step| !is_move(step) && !is_done(step));
        }
        let restores = options.daemon && daemon.steps.iter().any(is_move);
        Self {
            context,
            options,
            // A launch waits for the move of an identity file that is not in its place.
            moves: !migration.is_empty()
                && (look.moves || restores || matches!(identity, Answer::Pending { .. })),
            home,
            daemon,
            orphans: context.daemons.orphans(known),
            plan: LaunchPlan {
                steps: Vec::new(),
                moves: false,
                config: loaded.as_ref().ok().map(|loaded| loaded.pending.clone()),
                unreadable: loaded.as_ref().err().map(Diagnostic::from),
                loaded: loaded.ok(),
                misplaced: look.misplaced,
                legacy: context.daemons.live_legacy(),
                pending: false,
                diagnostics: Vec::new(),
                barriers: Vec::new(),
                makes_backup,
                class: None,
                missing_program: missing_program(context),
                migration,
                identity,
                detection,
            },
        }
    }

    fn decide(self) -> LaunchPlan {
        let (context, options) = (self.context, self.options);
        let mut diagnostics = self.state_diagnostics();
        let missing_home = missing_home(context);
        let legacy = self.plan.legacy.as_ref().and_then(|live| live_refusal(live, options));
        let refusal = self.home.refusal.clone().filter(|refusal| self.adds_to_load(refusal));
        legacy.into_iter().chain(refusal).for_each(|refusal| add_new(&mut diagnostics, refusal));
        diagnostics.extend(missing_home.iter().map(Diagnostic::from));
        let untrusted = options.refusal.cloned().or_else(|| ensure_changeable(context).err());
        let is_trusted = untrusted.is_none();
        if let Some(untrusted) = untrusted {
            // Reports one cause once.
            diagnostics.retain(|diagnostic| diagnostic.path != untrusted.path);
            diagnostics.push(untrusted);
        }
        let new_home = ensure_no_new_home(context);
        let barrier = ensure_permitted(context, options)
            .err()
            .or_else(|| missing_home.as_ref().map(Diagnostic::from))
            .or_else(|| new_home.as_ref().err().cloned());
        // A stage that refuses may repair the config first.
        let is_permitted = barrier.is_none();
        let barrier = barrier.or_else(|| self.home.refusal.clone());
        let is_refused = barrier.is_some();
        let repairs = self.plan.config.as_ref().is_some_and(Pending::repairs);
        let pending = self.moves || self.plan.misplaced.is_some() || repairs;
        let stuck = self.foreseen_failure(pending, repairs);
        let fails = stuck.is_some();
        let is_barred = is_refused || fails || diagnostics.iter().any(Diagnostic::is_error);
        let class = self.class_of_home(barrier, &diagnostics);
        let errors = diagnostics.iter().chain(&stuck).filter(|diagnostic| diagnostic.is_error());
        let barriers = errors.flat_map(|error| [Some(error.code.clone()), error.path.clone()]);
        let barriers = barriers.flatten().collect();
        let refusals = match options.daemon && context.checked.is_ok() && is_trusted {
            true => self.daemon_refusals(),
            false => Vec::new(),
        };
        let daemon = match is_barred || (self.daemon.refusal.is_none() && !refusals.is_empty()) {
            true => vec![LaunchStep::no_daemon()],
            false => self.daemon.steps,
        };
        // A launch that fails to change the homes has told this.
        let is_new = |refusal: &Diagnostic| !fails || refusal.code != UNWRITABLE;
        refusals.into_iter().filter(is_new).for_each(|refusal| add_new(&mut diagnostics, refusal));
        add_unreported(&mut diagnostics, new_home.err());
        // A launch finds a daemon, and fails to bring its networks in line.
        let is_used = !daemon.iter().any(|step| matches!(step, LaunchStep::StartNoDaemon { .. }));
        if let Some(Loaded { document, .. }) = self.plan.loaded.as_ref().filter(|_| is_used) {
            let unread = || unreadable_backup(context, &self.plan.detection, document);
            let cannot_join = active_network(context, document).err().or_else(unread);
            cannot_join.into_iter().for_each(|failure| add_new(&mut diagnostics, failure));
        }
        stuck.into_iter().for_each(|stuck| add_new(&mut diagnostics, stuck));
        let hints = diagnostics.iter_mut().map(|diagnostic| &mut diagnostic.hint);
        stop_alone(self.plan.missing_program.as_ref(), hints);
        protect_held_key(context, &mut diagnostics);
        merge_access_errors(context.disk, context.layout, &mut diagnostics);
        let mut plan = self.plan;
        plan.class = class.or_else(|| class_of(&diagnostics));
        plan.diagnostics = diagnostics;
        plan.barriers = barriers;
        let mends = daemon
            .iter()
            .any(|step| matches!(step, LaunchStep::MendState { .. } | LaunchStep::KeepCorruptFile { .. }));
        // A launch that completes a config with losses has repaired it.
        let completes = plan.config.as_ref().is_some_and(Pending::writes_config)
            && plan.diagnostics.iter().any(|diagnostic| diagnostic.code == LOSSES);
        plan.pending = pending || mends || completes || !plan.migration.collisions.is_empty();
        plan.steps = match (is_refused, fails) {
            (true, _) if is_permitted => self.home.steps,
            (true, _) => vec![LaunchStep::Refuse],
            (false, true) => vec![LaunchStep::Fail],
            (false, false) => {
                self.home.steps.into_iter().chain(daemon.into_iter().filter(|_| options.daemon)).collect()
            }
        };
        if plan.pending || plan.wants_start() {
            plan.diagnostics.extend(suspended_holder(&context.layout.app_home));
            plan.class = plan.class.or_else(|| class_of(&plan.diagnostics));
        }
        let missing_key = plan.identity.refusal().is_some_and(Refusal::is_missing);
        // If the config cannot be read for the socket at which its daemon listens, nothing may be
        // moved.
        plan.moves = plan.migration.refusals.is_empty()
            && socket_named_by_config(context).is_ok()
            && !(missing_key || is_refused || fails);
        plan
    }

    /// Returns false for the socket that the config may name, if the config cannot be read: the plan
    /// reports the config.
    fn adds_to_load(&self, refusal: &Diagnostic) -> bool {
        refusal.code != CONFIG_SOCKET_UNREADABLE || self.plan.unreadable.is_none()
    }

    /// Returns the class of the errors that a launch meets before it looks for a daemon. A launch
    /// ends at the first part that fails, and does not meet the errors of the others. `barrier` is
    /// the refusal of any change of the home, `errors` are the errors of all parts.
    fn class_of_home(&self, barrier: Option<Diagnostic>, errors: &[Diagnostic]) -> Option<Class> {
        let after_load = |part: Option<Diagnostic>| {
            let part = part.filter(|refusal| self.adds_to_load(refusal));
            class_of(&self.load_errors().chain(part).collect::<Vec<_>>())
        };
        let identity = || after_load(self.plan.identity.refusal().map(Diagnostic::from));
        match barrier {
            Some(barrier) => after_load(Some(barrier)),
            None => identity().filter(|_| !self.moves).or_else(|| class_of(errors)),
        }
    }

    /// Returns a failure that a launch would meet when it changes something. `pending` is true if
    /// the launch moves, repairs or sets aside something.
    fn foreseen_failure(&self, pending: bool, repairs: bool) -> Option<Diagnostic> {
        let context = self.context;
        let writes = pending || self.plan.config.as_ref().is_some_and(Pending::writes_config);
        let misplaced = self.plan.misplaced.as_ref();
        // A launch writes to the app's home only if there is something to do there.
        let keeps_backup = repairs || misplaced.is_some();
        let dirs = changed_dirs(context.layout, &self.plan.migration, keeps_backup);
        let changed = if writes { dirs } else { Vec::new() };
        let all = [&*changed, &self.state_dirs()].concat();
        // A launch goes on without a config in its home, and not without its home.
        let is_home_missing = || context.disk.stat(context.layout.app_home.as_ref()).is_err();
        let blocked = blocked_change(context, self.options, &all, &self.plan.migration);
        blocked
            .map(|diagnostic| if is_home_missing() { diagnostic.as_error() } else { diagnostic })
            .or_else(|| misplaced.and_then(|_| blocked_backup(context, self.options.run_as)))
            .or_else(|| self.fixed_daemon_config())
            .or_else(|| blocked_repair(context, self.plan.loaded.as_ref().filter(|_| repairs)?))
            .or_else(|| full_disk(context).filter(|_| writes))
            .or_else(|| no_room(context, &changed, &self.plan.migration))
    }

    /// Reports a daemon's config that a launch would set aside or write, and cannot.
    fn fixed_daemon_config(&self) -> Option<Diagnostic> {
        let daemon = self.daemon.steps.iter().filter(|_| self.options.daemon);
        let is_changed =
            self.home.steps.iter().chain(daemon).any(|step| {
                matches!(step, LaunchStep::SetDaemonConfigAside | LaunchStep::RebasePaths { .. })
            });
        let layout = self.context.layout;
        fixed_config(self.context, &layout.daemon_home, &layout.daemon_config).filter(|_| is_changed)
    }

    /// Returns the directories in which a launch keeps, mends or copies rosters and states.
    fn state_dirs(&self) -> Vec<Utf8PathBuf> {
        let steps = self.daemon.steps.iter().filter(|_| self.options.daemon);
        let dirs = steps.filter_map(|step| match step {
            LaunchStep::KeepCorruptFile { path }
            | LaunchStep::MendState { path }
            | LaunchStep::CopyNewerState { path } => Utf8Path::from_path(path)?.parent(),
            _ => None,
        });
        dirs.map(Utf8Path::to_owned).collect()
    }

    /// Returns the error because of which a launch does not run on the config in the file, or does
    /// not write it.
    fn load_errors(&self) -> impl Iterator<Item = Diagnostic> + use<'_, 'p, 'a> {
        let newer = |loaded: &Loaded| loaded.newer_error(&self.context.layout.app_config);
        let newer = self.plan.loaded.as_ref().and_then(newer);
        self.plan.unreadable.clone().into_iter().chain(newer.map(Diagnostic::from))
    }

    fn state_diagnostics(&self) -> Vec<Diagnostic> {
        let (context, options, plan) = (self.context, self.options, &self.plan);
        let mut diagnostics: Vec<Diagnostic> = checked_layout(context).err().into_iter().collect();
        let migration = plan_diagnostics(context.disk, &plan.migration, options.program).into_iter();
        let migration = migration.filter(|diagnostic| !is_about_overlap(context, diagnostic));
        diagnostics.extend(migration.map(collision_as_warning));
        diagnostics.extend(self.load_errors());
        if let Some(loaded) = &plan.loaded {
            let wiped = loaded.diagnostics.iter().filter(|found| found.code == WIPED);
            diagnostics.extend(wiped.map(Diagnostic::from));
            diagnostics.extend(lasting_losses(context, options, loaded));
            diagnostics.extend(lasting_network_losses(context, options, loaded));
        }
        diagnostics.extend(shared_config(context).or_else(|| {
            // A launch corrects a misplaced config, so this is only a warning.
            Some(misplaced_diagnostic(context, plan.misplaced.as_ref()?, &self.home.steps).as_warning())
        }));
        add_unreported(&mut diagnostics, plan.identity.refusal().map(Diagnostic::from));
        diagnostics.extend(self.orphans.iter().map(|live| orphan_diagnostic(live, options).as_warning()));
        diagnostics
    }

    /// Returns the diagnostics that keep a launch from using a daemon.
    fn daemon_refusals(&self) -> Vec<Diagnostic> {
        let context = self.context;
        let starts = self.plan.wants_start();
        let missing = self.plan.missing_program.clone().filter(|missing| starts && missing.is_error());
        let foreseen = || {
            newer_config(context)
                .or_else(|| unmendable_peers(context, &self.plan.migration))
                .or_else(|| unlockable_home(context))
                .or_else(|| full_disk(context))
                .or_else(|| unusable_log(context))
        };
        let log = starts.then(foreseen).flatten();
        self.daemon.refusal.clone().into_iter().chain(log).chain(missing).collect()
    }
}
