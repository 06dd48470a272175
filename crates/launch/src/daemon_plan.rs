//! Decides what a launch does about a daemon, before it uses or starts one.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use myownllm_config_model::Document;
use myownllm_daemon::{Decision, Role};
use myownllm_durable_fs::{Owner, move_aside};
use myownllm_identity::{IdentityPaths, ensure_reachable_peers};
use myownllm_migration::Plan as MovePlan;
use myownllm_paths::Mode;

use crate::context::{Context, Options};
use crate::daemon_config::shared_config;
use crate::daemons::{RunningDaemon, processes_unknown};
use crate::diagnostic::Diagnostic;
use crate::foreseen::{open_file_limit, unwritable};
use crate::home::{Stage, orphan_diagnostic};
use crate::moves::moved_files;
use crate::peers::{corrupt_files, linked_peers, unsettled_states};
use crate::start::{check_start, refusal_diagnostic};
use crate::step::LaunchStep;
use crate::trust::{ensure_own_daemon, trusted_home};
use crate::words::process;

impl Stage {
    /// Decides how a launch uses a daemon, from the decision of the detection. `migration` is the
    /// plan of the move: a daemon starts on the files that the move brings.
    pub(crate) fn of_daemon(
        context: &Context<'_>,
        options: &Options<'_>,
        decision: &Decision,
        migration: &MovePlan,
    ) -> Self {
        if let Some(shared) = shared_config(context) {
            return Self::default().without_daemon(shared, None);
        }
        match decision {
            Decision::Attach { role, endpoint, pid, .. } => {
                let endpoint = endpoint.clone();
                Self::of_attach(context, options, *pid).ending_with(match role {
                    Role::Shared => LaunchStep::AttachToSharedDaemon { endpoint },
                    _ => LaunchStep::AttachToOwnDaemon { endpoint },
                })
            }
            Decision::Spawn => Self::of_start(context, options, migration),
            Decision::Refuse(refusal) => {
                let why = format!(": {refusal}");
                Self::default().without_daemon(refusal_diagnostic(context, refusal), Some(why))
            }
            other => {
                let message = format!("unknown decision {other:?}");
                Self::default().without_daemon(Diagnostic::error("daemon.undecided", message), None)
            }
        }
    }

    /// Decides what a launch does about the other daemons that serve the home when it attaches to
    /// the daemon with process id `pid`: a daemon whose socket was removed while it ran writes the
    /// same home.
    fn of_attach(context: &Context<'_>, options: &Options<'_>, pid: Option<u32>) -> Self {
        let orphans = context.daemons.orphans(pid);
        if options.stop_legacy_daemon {
            return Self::stopping(&orphans, options);
        }
        let warnings = orphans.iter().map(|live| orphan_diagnostic(live, options).as_warning());
        Self { warnings: warnings.collect(), ..Self::default() }
    }

    /// Decides whether a daemon may be started now, and what is to be done before.
    fn of_start(context: &Context<'_>, options: &Options<'_>, migration: &MovePlan) -> Self {
        let refusal = open_file_limit().or_else(|| check_start(context, options.run_as).err());
        if let Some(refusal) = refusal {
            return Self::default().without_daemon(refusal, None);
        }
        // A daemon whose socket was removed while it ran would write the same home, and neither its
        // peers nor this program would see it.
        let orphans = context.daemons.orphans(None);
        let mut stage = Self::stopping(&orphans, options);
        stage.warnings.extend(processes_unknown());
        if stage.refusal.is_some() {
            let pid = orphans.first().and_then(RunningDaemon::pid);
            let why = format!(", as one serves the home without a socket{}", process(pid));
            return stage.ending_with(LaunchStep::StartNoDaemon { why: Some(why) });
        }
        if let Err(refusal) = home_refusal(context, options.run_as) {
            return stage.without_daemon(refusal, None);
        }
        if let Some(refusal) = linked_peers(context, migration) {
            return stage.without_daemon(refusal, None);
        }
        let moved = moved_files(migration);
        match state_steps(context, migration, &moved) {
            Ok(steps) => stage.steps.extend(steps),
            Err(refusal) => return stage.without_daemon(refusal, None),
        }
        let is_moved = |path: &Path| moved.iter().any(|(_, to)| to == path);
        let stale = context.store.stale_paths(&Document::empty(), &is_moved);
        let members: Vec<String> = stale.into_iter().map(|path| path.pointer).collect();
        stage.steps.extend((!members.is_empty()).then_some(LaunchStep::RebasePaths { members }));
        stage.ending_with(LaunchStep::StartDaemon { endpoint: context.daemons.endpoint(Mode::OwnLlm) })
    }

    /// Adds the last step. A stage that refuses uses no daemon.
    fn ending_with(mut self, step: LaunchStep) -> Self {
        self.steps.push(match (&self.refusal, step) {
            (None, step) | (Some(_), step @ LaunchStep::StartNoDaemon { .. }) => step,
            (Some(_), _) => LaunchStep::no_daemon(),
        });
        self
    }

    fn without_daemon(self, refusal: Diagnostic, why: Option<String>) -> Self {
        let step = why.map_or_else(LaunchStep::no_daemon, |why| LaunchStep::StartNoDaemon { why: Some(why) });
        Self { refusal: Some(refusal), ..self }.ending_with(step)
    }
}

fn home_refusal(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    trusted_home(context)?;
    ensure_usable_home(context, run_as)?;
    ensure_own_daemon(context, run_as)
}

/// Checks that a daemon can write in its home, and list its rosters and states: a daemon that
/// cannot takes the device for one without peers. `run_as` is the user that starts the daemon, if
/// that is not the user of this process.
/// Fails if nothing can be changed in the daemon home, or if its rosters and states cannot be
/// listed.
pub(crate) fn ensure_usable_home(context: &Context<'_>, run_as: Option<Owner>) -> Result<(), Diagnostic> {
    let layout = context.layout;
    if let Some(unwritable) = unwritable(context, run_as, std::slice::from_ref(&layout.daemon_home)) {
        return Err(unwritable.as_error());
    }
    ensure_reachable_peers(context.disk, IdentityPaths::of(layout).daemon())?;
    let states = [&layout.daemon_rosters, &layout.daemon_states];
    let above = layout.daemon_rosters.parent().filter(|above| *above != layout.daemon_home);
    for directory in above.into_iter().chain(states.map(|dir| &**dir)) {
        if context.disk.stat_follow(directory.as_ref()).is_ok_and(|meta| !meta.is_dir()) {
            let message = format!("cannot read {directory}: it is no directory");
            let error = Diagnostic::error("state.unreadable", message).at(directory);
            return Err(error.hint(move_aside(directory, "aside")));
        }
        let real = context.disk.canonicalize(directory.as_ref());
        let listed =
            real.and_then(|real| context.disk.for_each_entry(&real, &mut |_| ControlFlow::Break(())));
        // A file in the place of a directory has diagnostics of its own.
        let is_other = |kind| matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory);
        if let Err(error) = listed
            && !is_other(error.kind())
        {
            return Err(Diagnostic::from(&error).at(directory));
        }
    }
    Ok(())
}

/// Decides what a launch does with the rosters and states before it starts a daemon on them.
/// `moved` are the files that the move brings.
pub(crate) fn state_steps(
    context: &Context<'_>,
    migration: &MovePlan,
    moved: &[(PathBuf, PathBuf)],
) -> Result<Vec<LaunchStep>, Diagnostic> {
    let (damaged, newer) = unsettled_states(context, migration, moved)?;
    let corrupt = corrupt_files(context, moved).into_iter();
    let kept = corrupt.map(|path| LaunchStep::KeepCorruptFile { path });
    let mended = damaged.into_iter().map(|state| LaunchStep::MendState { path: state.then });
    let copied = newer.into_iter().map(|state| LaunchStep::CopyNewerState { path: state.then });
    Ok(kept.chain(mended).chain(copied).collect())
}
