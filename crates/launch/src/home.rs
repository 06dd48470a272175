//! Decides what a launch does in the home, before anything is changed there.

use myownllm_config_store::{FileShape, Misplaced, Pending, Report};
use myownllm_daemon::StoppedDaemon;
use myownllm_durable_fs::quote;
use myownllm_identity::Refusal;
use myownllm_migration::{LiveDaemon, LiveKind};
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::{Context, Options};
use crate::daemon_config::shared_config;
use crate::daemons::{DaemonKind, Daemons, RunningDaemon, processes_unknown};
use crate::diagnostic::{Class, Diagnostic};
use crate::identity::identity_answer;
use crate::start::{check_socket, leaked_socket};
use crate::trust::ensure_changeable;

/// Checks that the home may be changed at all.
///
/// # Errors
/// Fails if the caller refuses, if another user controls the home, or if the two homes are not
/// apart, or were not checked.
pub(crate) fn ensure_permitted(context: &Context<'_>, options: &Options<'_>) -> Result<(), Diagnostic> {
    if let Some(refusal) = options.refusal {
        return Err(refusal.clone());
    }
    ensure_changeable(context)?;
    let checked = context.checked.map_err(Diagnostic::from)?;
    let layout = context.layout;
    if (&checked.app_home, &checked.daemon_home) == (&layout.app_home, &layout.daemon_home) {
        return Ok(());
    }
    let message = format!("cannot use the homes in {}: {} was checked", layout.app_home, checked.app_home);
    Err(Diagnostic::error("launch.other-home", message).at(&layout.app_home))
}

/// The work to do in a home. Cheap to find: every launch looks for it.
#[derive(Debug)]
pub(crate) struct Work {
    /// True if state of the daemon is to be moved.
    pub(crate) moves: bool,
    /// The steps to write the config; `None` if the file must not be touched.
    pub(crate) pending: Option<Pending>,
    /// The file at the path of the daemon's config that is not the daemon's.
    pub(crate) misplaced: Option<Misplaced>,
}

impl Work {
    pub(crate) fn look(context: &Context<'_>, pending: Option<Pending>) -> Self {
        Self { moves: context.migrator.is_pending(), pending, misplaced: context.store.misplaced() }
    }

    /// True if there is nothing to do, so that no lock is needed.
    pub(crate) fn is_done(&self) -> bool {
        !self.moves && self.pending.as_ref().is_none_or(Pending::is_empty) && self.misplaced.is_none()
    }
}

/// The changes of a launch to the home, in this order: it ends the daemons, stops at the refusal,
/// moves the daemon's state, and writes the config.
#[derive(Debug, Default)]
pub(crate) struct HomePlan {
    /// The daemons that the launch ends first.
    pub(crate) stops: Vec<RunningDaemon>,
    /// The reason why nothing is changed after that.
    pub(crate) refusal: Option<Diagnostic>,
    /// True if state of the daemon is moved.
    pub(crate) moves: bool,
    /// Reports that the identity file is missing, so that nothing is moved: the user has to bring
    /// it back first.
    pub(crate) missing_key: Option<Diagnostic>,
    /// Reports that the launch may have missed a daemon.
    pub(crate) unknown_processes: Option<Diagnostic>,
    /// Every daemon that was found.
    pub(crate) live: Vec<RunningDaemon>,
    /// The control socket that an overwritten config names.
    pub(crate) leaked: Option<Utf8PathBuf>,
}

impl HomePlan {
    /// Decides which part of the work a launch does. `repair` is the report on the config.
    pub(crate) fn new(
        context: &Context<'_>,
        options: &Options<'_>,
        work: &Work,
        repair: Option<&Report>,
    ) -> Self {
        let mut plan = Self::default();
        if work.is_done() {
            plan.refusal = options.daemon.then(|| shared_config(context)).flatten();
            if plan.refusal.is_none() {
                // A daemon that still runs at the old location would overwrite the config again,
                // and a daemon beside it would be a second writer.
                plan.live = context.daemons.live_legacy().into_iter().collect();
                (plan.stops, plan.refusal) = plan_stops(plan.live.clone(), options);
            }
            return plan;
        }
        plan.unknown_processes = processes_unknown();
        plan.leaked = match leaked_socket(context) {
            Ok(leaked) => leaked,
            Err(refusal) => {
                plan.refusal = Some(refusal);
                return plan;
            }
        };
        let leaked = plan.leaked.as_deref();
        let repairs = work.pending.as_ref().is_some_and(|pending| pending.repairs() || pending.daemon_half());
        plan.live = match repair.filter(|_| repairs) {
            _ if work.moves => context.daemons.live(leaked),
            Some(repair) => live_beside_repair(context, repair, leaked),
            None => context.daemons.live_legacy().into_iter().collect(),
        };
        (plan.stops, plan.refusal) = plan_stops(plan.live.clone(), options);
        let key = identity_answer(context);
        let missing = key.refusal().filter(|refusal| Refusal::is_missing(refusal));
        plan.moves = work.moves && missing.is_none();
        plan.missing_key = missing.map(Diagnostic::from);
        if plan.moves && plan.refusal.is_none() {
            plan.refusal = check_socket(context).err();
        }
        plan
    }
}

/// Returns the daemons in whose presence no repair is made. A repair of a wiped or missing config
/// concerns the app alone: only a daemon that would write over the config again forbids such a
/// repair.
pub fn live_beside_repair(
    context: &Context<'_>,
    repair: &myownllm_config_store::Report,
    leaked: Option<&Utf8Path>,
) -> Vec<RunningDaemon> {
    let is_the_apps = matches!(repair.shape, FileShape::App | FileShape::Unknown | FileShape::Missing);
    if (is_the_apps || repair.wiped.is_some()) && repair.daemon_half.is_none() {
        context.daemons.live_legacy().into_iter().collect()
    } else {
        context.daemons.live(leaked)
    }
}

/// Returns the command that ends a daemon of the old location, puts everything right, and returns:
/// unlike a launch, a repair does not stay with a daemon.
pub(crate) fn stop_legacy_command(program: &str) -> String {
    format!("{program} repair --stop-legacy-daemon")
}

/// Decides which of the daemons in `live` a launch ends, in order, and why it stops after that.
pub(crate) fn plan_stops(
    live: Vec<RunningDaemon>,
    options: &Options<'_>,
) -> (Vec<RunningDaemon>, Option<Diagnostic>) {
    let mut stops = Vec::new();
    for daemon in live {
        if let Some(refusal) = refusal_of(&daemon, options) {
            return (stops, Some(refusal));
        }
        stops.push(daemon);
    }
    (stops, None)
}

/// Returns the reason why nothing is done while the daemons in `live` run; `None` if the launch may
/// end them all. Ends none.
#[must_use]
pub fn live_refusal(live: Vec<RunningDaemon>, options: &Options<'_>) -> Option<Diagnostic> {
    plan_stops(live, options).1
}

/// Returns the reason why nothing is done while this daemon runs; `None` if the launch may end it.
fn refusal_of(found: &RunningDaemon, options: &Options<'_>) -> Option<Diagnostic> {
    if let Some(refusal) = found.resource_exhausted() {
        return Some(Diagnostic::from(&refusal));
    }
    let daemon = LiveDaemon::from(found);
    if options.stop_legacy_daemon && daemon.kind == LiveKind::Legacy {
        return None;
    }
    if !found.legacy && matches!(found.kind, DaemonKind::Orphan { .. }) {
        return Some(orphan_diagnostic(found, options));
    }
    let command = match daemon.kind {
        LiveKind::Own => format!("{} daemon stop", options.program),
        _ => stop_legacy_command(options.program),
    };
    Some(Diagnostic::from(&daemon.refusal(command, None)))
}

/// Ends the daemons in `stops` in order. Adds those that ran to `stopped`.
///
/// # Errors
/// Fails if a daemon could not be ended.
pub(crate) fn stop_daemons(
    daemons: &dyn Daemons,
    stops: &[RunningDaemon],
    stopped: &mut Vec<LiveDaemon>,
) -> Result<(), Diagnostic> {
    for found in stops {
        let daemon = LiveDaemon::from(found);
        match daemons.stop(found) {
            Ok(StoppedDaemon::WasAbsent) => {}
            Ok(_) => stopped.push(daemon),
            Err(error) => {
                // Replaces the hint: its command, which ends the daemon, has just failed.
                let command = error.hint().unwrap_or_else(|| format!("ls -ld {}", quote(&daemon.socket)));
                return Err(Diagnostic::from(&daemon.refusal(command, Some(error.to_string()))));
            }
        }
    }
    Ok(())
}

/// Ends the daemons of the old location in `live`, and adds them to `stopped`, or refuses.
///
/// # Errors
/// Fails if a daemon may not be ended, or could not be ended.
pub fn settle_live(
    daemons: &dyn Daemons,
    live: Vec<RunningDaemon>,
    options: &Options<'_>,
    stopped: &mut Vec<LiveDaemon>,
) -> Result<(), Diagnostic> {
    let (stops, refusal) = plan_stops(live, options);
    stop_daemons(daemons, &stops, stopped)?;
    refusal.map_or(Ok(()), Err)
}

/// Reports a process that serves a home and to which no socket leads.
pub fn orphan_diagnostic(live: &RunningDaemon, options: &Options<'_>) -> Diagnostic {
    let home = live.place();
    let process = live.pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
    let message = format!("a daemon{process} serves {home} and cannot be reached: {}", live.note());
    // A repair ends only the daemons of the old location.
    let hint = match live.legacy {
        true => stop_legacy_command(options.program),
        false => format!("{} daemon restart", options.program),
    };
    Diagnostic::error("daemon.without-socket", message).at(&home).hint(hint).class(Class::Refused)
}
