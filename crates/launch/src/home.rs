//! What a launch does in the home, decided before anything is changed there.

use std::path::{Path, PathBuf};

use myownllm_config_store::{Pending, Report};
use myownllm_daemon::StoppedDaemon;
use myownllm_durable_fs::quote;
use myownllm_identity::Refusal;
use myownllm_migration::{LiveDaemon, LiveKind};

use crate::context::{Context, Options};
use crate::daemon_config::shared_config;
use crate::daemons::{DaemonKind, Daemons, RunningDaemon, processes_unknown};
use crate::diagnostic::{Class, Diagnostic};
use crate::identity::identity_answer;
use crate::start::{check_socket, leaked_socket};
use crate::trust::ensure_changeable;

/// Says why nothing may be changed in the home, whatever there is to do.
///
/// # Errors
/// The caller refuses, somebody else decides about the home, or the two homes are not apart.
pub(crate) fn ensure_permitted(context: &Context<'_>, options: &Options<'_>) -> Result<(), Diagnostic> {
    if let Some(refusal) = options.refusal {
        return Err(refusal.clone());
    }
    ensure_changeable(context)?;
    context.checked.map_err(Diagnostic::from).map(drop)
}

/// What there is to do in a home. Looking for it is cheap: every launch does.
#[derive(Debug)]
pub(crate) struct Work {
    /// Whether state of the daemon is to be moved.
    moves: bool,
    /// What is to be written of the config; `None` when the file must not be touched.
    pub(crate) pending: Option<Pending>,
    /// Whether the file in the place of the daemon's config is not the daemon's.
    is_misplaced: bool,
}

impl Work {
    pub(crate) fn look(context: &Context<'_>, pending: Option<Pending>) -> Self {
        // What cannot be looked at counts: the move itself then says what is wrong with it.
        let moves = context.migrator.is_pending().unwrap_or(true);
        Self { moves, pending, is_misplaced: context.store.misplaced().is_some() }
    }

    /// Whether there is nothing to do, so that no lock is needed.
    pub(crate) fn is_done(&self) -> bool {
        !self.moves && self.pending.as_ref().is_none_or(Pending::is_empty) && !self.is_misplaced
    }
}

/// What a launch does in the home, in this order: it ends the daemons, stops at the refusal, moves, and writes the config.
#[derive(Debug, Default)]
pub(crate) struct HomePlan {
    /// The daemons that are ended first.
    pub(crate) stops: Vec<RunningDaemon>,
    /// Why nothing is changed after that.
    pub(crate) refusal: Option<Diagnostic>,
    /// Whether state of the daemon is moved.
    pub(crate) moves: bool,
    /// That the identity file is missing, so that nothing is moved: it has to be brought back first.
    pub(crate) missing_key: Option<Diagnostic>,
    /// That a daemon may have gone unseen.
    pub(crate) unknown_processes: Option<Diagnostic>,
    /// Every daemon that was looked for and found.
    pub(crate) live: Vec<RunningDaemon>,
    /// The control socket that an overwritten config names.
    pub(crate) leaked: Option<PathBuf>,
}

impl HomePlan {
    /// Decides what is done of the work. `repair` is what was seen of the config.
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
                // A daemon that still runs in the old place would make the same mess again, and one beside it a second
                // writer.
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
        let key = identity_answer(context, work.pending.as_ref());
        let missing = key.refusal().filter(|refusal| Refusal::is_gone(refusal));
        plan.moves = work.moves && missing.is_none();
        plan.missing_key = missing.map(Diagnostic::from);
        if plan.moves && plan.refusal.is_none() {
            plan.refusal = check_socket(context).err();
        }
        plan
    }
}

/// The daemons in whose presence a repair is not made. One that restores a wiped config concerns the app alone: only a daemon that
/// would write over the config again forbids it.
pub fn live_beside_repair(
    context: &Context<'_>,
    repair: &myownllm_config_store::Report,
    leaked: Option<&Path>,
) -> Vec<RunningDaemon> {
    if repair.wiped.is_some() && repair.daemon_half.is_none() {
        context.daemons.live_legacy().into_iter().collect()
    } else {
        context.daemons.live(leaked)
    }
}

/// Decides which of the daemons that are in the way are ended, in order, and why the run stops after that.
pub(crate) fn plan_stops(
    live: Vec<RunningDaemon>,
    options: &Options<'_>,
) -> (Vec<RunningDaemon>, Option<Diagnostic>) {
    let mut stops = Vec::new();
    for daemon in live {
        if let Some(refusal) = live_refusal(&daemon, options) {
            return (stops, Some(refusal));
        }
        stops.push(daemon);
    }
    (stops, None)
}

/// Says why nothing is done beside this daemon; `None` when it may be ended.
fn live_refusal(found: &RunningDaemon, options: &Options<'_>) -> Option<Diagnostic> {
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
    let command = match (daemon.kind, daemon.pid) {
        (LiveKind::Own, Some(pid)) if !cfg!(windows) => format!("kill {pid}"),
        _ => format!("{} launch --stop-legacy-daemon", options.program),
    };
    Some(Diagnostic::from(&daemon.refusal(command, None)))
}

/// Ends these daemons in order; `stopped` names those that ran.
///
/// # Errors
/// One could not be ended.
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
                // The command that has just failed is no way out.
                let command = error.hint().unwrap_or_else(|| format!("ls -ld {}", quote(&daemon.socket)));
                return Err(Diagnostic::from(&daemon.refusal(command, Some(error.to_string()))));
            }
        }
    }
    Ok(())
}

/// Ends the daemons of the old location that are in the way, which `stopped` names then, or refuses.
///
/// # Errors
/// A daemon is in the way that may not be ended, or was not.
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

/// A process serves a home, and no socket leads to it.
pub fn orphan_diagnostic(live: &RunningDaemon, options: &Options<'_>) -> Diagnostic {
    let home = live.place();
    let process = live.pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
    let message =
        format!("a daemon{process} serves {} and cannot be reached: {}", home.display(), live.note());
    Diagnostic::error("daemon.without-socket", message)
        .at(&home)
        .hint(format!("{} launch --stop-legacy-daemon", options.program))
        .class(Class::Refused)
}
