//! Decides the two stages of a launch: what it does in the home before anything is changed there,
//! and what it does about a daemon before it uses or starts one.

use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use myownllm_config_model::Document;
use myownllm_config_store::{FileShape, Loaded, Misplaced, Pending, Report, Step, StoreError};
use myownllm_daemon::{Decision, Role};
use myownllm_durable_fs::{Owner, move_aside};
use myownllm_identity::{IdentityPaths, ensure_reachable_peers};
use myownllm_migration::{LiveDaemon, LiveKind, Plan as MovePlan};
use myownllm_paths::Mode;
use myownllm_paths::camino::{Utf8Path, Utf8PathBuf};

use crate::context::{Context, Options};
use crate::daemons::networks::start_needs_backup;
use crate::daemons::{DaemonKind, RunningDaemon, processes_unknown};
use crate::files::corrupt_files::corrupt_files;
use crate::files::daemon_config::shared_config;
use crate::files::identity::identity_answer;
use crate::files::moves::{forward_plan, moved_files};
use crate::files::peers::{replaced_states, unsettled_states};
use crate::files::symlinks::peers_behind_symlink;
use crate::homes::trust::{ensure_own_daemon, trusted_home};
use crate::plan::foreseen::{blocked_backup, is_opened, open_file_limit, unwritable};
use crate::plan::start::{check_socket, check_start, refusal_diagnostic, socket_named_by_config};
use crate::step::LaunchStep;
use crate::words::diagnostic::{Class, Diagnostic, WITHOUT_SOCKET};
use crate::words::process;

/// The pending changes of a home. Cheap to find: every launch does.
#[derive(Debug)]
pub(crate) struct HomeInspection {
    pub(crate) moves: bool,
    /// The step that brings the config in order.
    pub(crate) config: Option<LaunchStep>,
    /// The steps to write the config; `None` if the file must not be touched.
    pub(crate) pending: Option<Pending>,
    /// The file at the path of the daemon's config that is not the daemon's.
    pub(crate) misplaced: Option<Misplaced>,
}

impl HomeInspection {
    pub(crate) fn new(context: &Context<'_>, loaded: Result<&Loaded, &StoreError>) -> Self {
        let touched = loaded.ok().filter(|loaded| loaded.newer.is_none());
        Self {
            moves: context.migrator.is_pending(),
            config: config_step(loaded.ok()),
            pending: touched.map(|loaded| loaded.pending.clone()),
            misplaced: context.store.misplaced(),
        }
    }

    /// Returns true if a launch makes a backup of a config.
    pub(crate) fn makes_backup(&self) -> bool {
        let is_backup = |step: &Step| {
            matches!(
                step,
                Step::KeepPrevious { .. } | Step::KeepDaemonHalf { .. } | Step::KeepLastGood { .. }
            )
        };
        self.misplaced.is_some() || self.pending.iter().flat_map(|pending| &pending.steps).any(is_backup)
    }

    /// Returns true if there is nothing to do, so that no lock is needed.
    pub(crate) fn is_done(&self) -> bool {
        !self.moves && self.pending.as_ref().is_none_or(Pending::is_empty) && self.misplaced.is_none()
    }
}

fn config_step(loaded: Option<&Loaded>) -> Option<LaunchStep> {
    let Some(loaded) = loaded else { return Some(LaunchStep::RunOnFallback) };
    let pending = &loaded.pending;
    let is_missing = loaded.shape == FileShape::Missing;
    if loaded.newer.is_some() {
        Some(LaunchStep::LeaveNewerConfig)
    } else if is_missing && loaded.report.restored_from.is_some() {
        Some(LaunchStep::RestoreConfig { from: loaded.report.restored_from.clone() })
    } else if is_missing && pending.writes_config() {
        Some(LaunchStep::WriteDefaultConfig)
    } else if pending.repairs() {
        Some(LaunchStep::RepairConfig)
    } else if pending.steps.iter().any(|step| matches!(step, Step::ReplaceConfig { .. })) {
        Some(LaunchStep::CompleteConfig)
    } else {
        (!pending.is_empty()).then_some(LaunchStep::BackUpConfig)
    }
}

/// The config with which a daemon is used.
#[derive(Clone, Copy)]
pub(crate) struct ConfigInUse<'d> {
    pub(crate) document: &'d Document,
    /// True if the config may have lost networks.
    pub(crate) is_in_doubt: bool,
    /// True if the launch makes a backup of a config before it starts a daemon.
    pub(crate) is_backed_up: bool,
}

/// The steps of one half of a launch: the changes of the home, or the use of a daemon.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    pub(crate) steps: Vec<LaunchStep>,
    /// The reason why the last step refuses.
    pub(crate) refusal: Option<Diagnostic>,
    pub(crate) warnings: Vec<Diagnostic>,
    pub(crate) pending: Pending,
    /// True if nothing is moved, and the plan of the move tells why.
    pub(crate) is_move_refused: bool,
    pub(crate) live: Vec<RunningDaemon>,
    /// The control socket that an overwritten config names.
    pub(crate) config_socket: Option<Utf8PathBuf>,
}

impl Stage {
    /// Returns a stage that ends the daemons in `live`, in order, up to one that it may not end.
    pub(crate) fn stopping(live: &[RunningDaemon], options: &Options<'_>) -> Self {
        let mut stage = Self::default();
        for daemon in live {
            stage.refusal = live_refusal(daemon, options);
            if stage.refusal.is_some() {
                break;
            }
            stage.steps.push(LaunchStep::StopDaemon { daemon: daemon.clone() });
        }
        stage
    }

    /// Decides the changes of a launch to the home. `migration` is the plan of the move, if
    /// anything is to be moved; `config` is the config to run on, and the report on it.
    pub(crate) fn of_home(
        context: &Context<'_>,
        options: &Options<'_>,
        look: &HomeInspection,
        migration: Option<&MovePlan>,
        (document, report): (&Document, Option<&Report>),
    ) -> Self {
        let config_socket = if look.is_done() { Ok(None) } else { socket_named_by_config(context) };
        let repairs = look.pending.as_ref().is_some_and(|pending| pending.repairs() || pending.daemon_half());
        let key = if look.is_done() { None } else { Some(identity_answer(context)) };
        let missing = key.as_ref().and_then(|key| key.refusal().filter(|refusal| refusal.is_missing()));
        // Without the identity file nothing moves, so a daemon that runs is in nobody's way.
        let moves = look.moves && missing.is_none();
        // Files that differ wait for the user, and empty directories are nobody's.
        let is_idle =
            |plan: &MovePlan| plan.refusals.is_empty() && plan.errors.is_empty() && !plan.touches_files();
        let moves_files = moves && !migration.is_some_and(is_idle);
        let live = match (&config_socket, report.filter(|_| repairs)) {
            (Err(_), _) => Vec::new(),
            (Ok(config_socket), _) if moves_files => context.daemons.live(config_socket.as_deref()),
            (Ok(config_socket), Some(report)) => {
                daemons_blocking_repair(context, report, config_socket.as_deref())
            }
            // A daemon that still runs at the old location would overwrite the config again, and a
            // daemon beside it would be a second writer.
            (Ok(_), None) => context.daemons.live_legacy().into_iter().collect(),
        };
        let mut stage = Self::stopping(&live, options);
        stage.live = live;
        stage.warnings.extend(if look.is_done() { None } else { processes_unknown() });
        stage.config_socket = config_socket.unwrap_or_else(|refusal| {
            stage.refusal = Some(refusal);
            None
        });
        let migration = migration.filter(|_| moves);
        if migration.is_some() && stage.refusal.is_none() {
            stage.refusal = check_socket(context).err();
        }
        if stage.refusal.is_some() {
            stage.steps.push(LaunchStep::Refuse);
            return stage;
        }
        // The key would leave its peers behind, so nothing moves, and no daemon starts.
        stage.refusal = migration.and_then(|plan| peers_behind_symlink(context, plan));
        let migration = migration.filter(|_| stage.refusal.is_none());
        let replaced = migration.map_or_else(Vec::new, |plan| replaced_states(context, plan));
        stage.warnings.extend(missing.map(Diagnostic::from));
        stage.pending = look.pending.clone().unwrap_or_default();
        let moved =
            migration.filter(|plan| plan.refusals.is_empty() && !(plan.is_empty() && replaced.is_empty()));
        stage.is_move_refused = migration.is_some() && moved.is_none();
        // The move brings another file to the place of each.
        let files = replaced.len();
        stage.steps.extend(replaced.into_iter().map(|path| LaunchStep::MendState { path }));
        stage.steps.extend(moved.map(|plan| LaunchStep::Move { files: plan.files() + files }));
        let follows = || {
            let moved = moved_files(moved?);
            let stale =
                context.store.stale_paths(document, &|path| moved.iter().any(|(_, to)| to.as_path() == path));
            stale.iter().any(|path| path.half == "app").then_some(LaunchStep::CompleteConfig)
        };
        stage.steps.extend(match &look.config {
            None | Some(LaunchStep::BackUpConfig) => follows().or_else(|| look.config.clone()),
            step => step.clone(),
        });
        // The repair comes first: if the misplaced file holds the app's config, the repair reads
        // it.
        let is_sound = look.pending.is_some()
            && missing.is_none()
            && stage.refusal.is_none()
            && migration.is_none_or(|plan| plan.refusals.is_empty() && plan.errors.is_empty());
        if look.misplaced.is_some() && is_sound {
            let stopped = |live: &RunningDaemon| {
                stage.live.iter().any(|known| LiveDaemon::from(known) == LiveDaemon::from(live))
            };
            let runs = context.daemons.live(None).iter().any(|live| !stopped(live));
            stage.steps.push(match runs {
                true => LaunchStep::BackUpDaemonConfig,
                false => LaunchStep::SetDaemonConfigAside,
            });
        }
        stage.steps.extend(stage.refusal.as_ref().map(|_| LaunchStep::Refuse));
        stage
    }

    /// Decides how a launch uses a daemon, from the decision of the detection. `migration` is the
    /// plan of the move: a daemon starts on the files that the move brings.
    pub(crate) fn of_daemon(
        context: &Context<'_>,
        options: &Options<'_>,
        decision: &Decision,
        migration: &MovePlan,
        config: ConfigInUse<'_>,
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
            Decision::Spawn => Self::of_start(context, options, migration, config),
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
    fn of_start(
        context: &Context<'_>,
        options: &Options<'_>,
        migration: &MovePlan,
        config: ConfigInUse<'_>,
    ) -> Self {
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
        let moved = moved_files(migration);
        let refused = ensure_sound_homes(context, options, migration, config.is_backed_up)
            .and_then(|()| ensure_own_daemon(context, options.run_as));
        if let Err(refusal) = refused {
            return stage.without_daemon(refusal, None);
        }
        let is_moved = |path: &Path| moved.iter().any(|(_, to)| to == path);
        let stale = context.store.stale_paths(&Document::empty(), &is_moved);
        let members: Vec<String> = stale.into_iter().map(|path| path.pointer).collect();
        // A daemon that is refused the backup after its start would stay in the networks of its
        // config, which the user did not activate.
        if (!members.is_empty() || start_needs_backup(context, config.document, config.is_in_doubt))
            && let Some(refusal) = blocked_backup(context, options.run_as)
        {
            return stage.without_daemon(refusal, None);
        }
        match state_steps(context, migration, &moved) {
            Ok(steps) => stage.steps.extend(steps),
            Err(refusal) => return stage.without_daemon(refusal, None),
        }
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

/// Checks that a daemon may work with the files of the homes.
/// Fails if others can change them, if nothing can be changed in the daemon home, or if a daemon
/// would miss the peers.
fn ensure_sound_homes(
    context: &Context<'_>,
    options: &Options<'_>,
    migration: &MovePlan,
    is_backed_up: bool,
) -> Result<(), Diagnostic> {
    trusted_home(context, is_backed_up, &moved_files(migration))?;
    ensure_usable_home(context, options.run_as, migration)?;
    peers_behind_symlink(context, migration).map_or(Ok(()), Err)
}

/// Checks that the files of the homes keep no daemon from starting, without a look at the daemons.
pub(crate) fn ensure_startable(context: &Context<'_>, options: &Options<'_>) -> Result<(), Diagnostic> {
    let migration = forward_plan(context);
    check_start(context, options.run_as)?;
    ensure_sound_homes(context, options, &migration, false)?;
    state_steps(context, &migration, &moved_files(&migration)).map(drop)
}

/// Returns the daemons in whose presence no repair is made. A repair of a wiped or missing config
/// concerns the app alone: only a daemon that would write over the config again forbids such a
/// repair.
pub(crate) fn daemons_blocking_repair(
    context: &Context<'_>,
    repair: &myownllm_config_store::Report,
    config_socket: Option<&Utf8Path>,
) -> Vec<RunningDaemon> {
    let is_the_apps = matches!(repair.shape, FileShape::App | FileShape::Unknown | FileShape::Missing);
    if (is_the_apps || repair.wiped.is_some()) && repair.daemon_half.is_none() {
        context.daemons.live_legacy().into_iter().collect()
    } else {
        context.daemons.live(config_socket)
    }
}

/// Returns the command that ends a daemon of the old location, puts everything right, and returns:
/// unlike a launch, a repair does not stay with a daemon.
pub(crate) fn stop_legacy_command(program: &str) -> String {
    format!("{program} repair --stop-legacy-daemon")
}

/// Returns the reason why nothing is done while this daemon runs; `None` if the launch may end it.
/// Ends nothing.
pub(crate) fn live_refusal(found: &RunningDaemon, options: &Options<'_>) -> Option<Diagnostic> {
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

/// Reports a process that serves a home and to which no socket leads.
pub(crate) fn orphan_diagnostic(live: &RunningDaemon, options: &Options<'_>) -> Diagnostic {
    let home = live.place();
    let process = live.pid().map_or_else(String::new, |pid| format!(" (process {pid})"));
    let is_elsewhere = matches!(&live.kind, DaemonKind::Orphan { process, .. } if process.socket.is_some());
    let missed = if is_elsewhere { "is not where a launch looks for it" } else { "cannot be reached" };
    let message = format!("a daemon{process} serves {home} and {missed}: {}", live.note());
    // A repair ends only the daemons of the old location.
    let hint = match live.legacy {
        true => stop_legacy_command(options.program),
        false => format!("{} daemon restart", options.program),
    };
    Diagnostic::error(WITHOUT_SOCKET, message).at(&home).hint(hint).class(Class::Refused)
}

/// Checks that a daemon can write in its home, and list its rosters and states: a daemon that
/// cannot takes the device for one without peers. `run_as` is the user that starts the daemon, if
/// that is not the user of this process. `migration` is the move that comes first, and may make the
/// home writable.
/// Fails if nothing can be changed in the daemon home, or if its rosters and states cannot be
/// listed.
pub(crate) fn ensure_usable_home(
    context: &Context<'_>,
    run_as: Option<Owner>,
    migration: &MovePlan,
) -> Result<(), Diagnostic> {
    let layout = context.layout;
    let closed = unwritable(context, run_as, std::slice::from_ref(&layout.daemon_home));
    if let Some(unwritable) = closed.filter(|_| !is_opened(migration, &layout.daemon_home)) {
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
    let mended = damaged.into_iter().map(|state| LaunchStep::MendState { path: state.path_after_move });
    let uncopied = newer.into_iter().filter(|state| state.needs_copy(context.disk));
    let copied = uncopied.map(|state| LaunchStep::CopyNewerState { path: state.path_after_move });
    let restored = migration.restores_names().then(|| LaunchStep::Move { files: migration.files() });
    Ok(restored.into_iter().chain(kept).chain(mended).chain(copied).collect())
}
