//! Executes the plan in phases: prepare, sync; publish, sync; only then remove sources; the
//! identity file last.
//!
//! No step here can replace or remove a file that it has not just checked. A source is removed only
//! if the destination holds its bytes, in a file and under a name that were synced. A failed step
//! is recorded and the other steps go on, but a failed sync ends the run, and after any failure the
//! identity file stays.

mod steps;

use std::{cell::Cell, collections::HashSet, hash::Hash, io::ErrorKind, path::PathBuf};

use myownllm_durable_fs::{Disk, LockedDir, TransferProgress};
use steps::carry_out;

use crate::{
    classify::relative_dirs,
    error::{LiveDaemon, LiveKind, MigrationError},
    homes::{Homes, Options},
    inspect::inspect,
    live::LiveDaemons,
    plan::{IdentityState, MoveStep, Plan},
    planner::plan as plan_rest,
    report::{MoveOutcome, MoveReport, Phase, Progress},
};

pub(crate) fn execute(
    disk: &LockedDir,
    plan: Plan,
    daemons: &dyn LiveDaemons,
    on_progress: &dyn Fn(Progress),
) -> MoveReport {
    let mut report = MoveReport::new(plan.direction, plan.identity.clone());
    report.left.clone_from(&plan.left);
    report.collisions.clone_from(&plan.collisions);
    report.errors.clone_from(&plan.errors);
    report.refusals.clone_from(&plan.refusals);
    if report.refusals.is_empty()
        && !plan.is_empty()
        && let Err(refusals) = check_preconditions(disk, &plan, daemons)
    {
        report.refusals = refusals;
    }
    if !report.refusals.is_empty() {
        report.outcome = MoveOutcome::Refused;
        return report;
    }
    if plan.is_empty() {
        report.errors.extend(ensure_durable(disk, &plan.homes).err());
        report.outcome =
            if report.errors.is_empty() { MoveOutcome::NothingToDo } else { MoveOutcome::Partial };
        return report;
    }
    let progress = Cell::new(Progress::new(Phase::Moving, 0, plan.files()));
    let report_event = |event| {
        let before = progress.get();
        // Each sync of a run is an event of the same phase.
        if advance(&progress, event) != before {
            on_progress(progress.get());
        }
    };
    let stopped = carry_out(disk, &plan, &mut report, &report_event).is_err();
    if stopped && report.moved.is_empty() && report.errors.is_empty() {
        report.outcome = MoveOutcome::Refused;
    } else {
        verify_outcome(disk, &plan, &mut report);
    }
    let has_changed =
        !(report.moved.is_empty() && report.set_aside.is_empty() && report.identical_removed.is_empty());
    for home in [&plan.homes.app, &plan.homes.daemon].into_iter().filter(|_| has_changed) {
        if !disk.confirms_sync(home.as_ref()) {
            report.sync_unconfirmed.push(home.clone());
        }
    }
    report
}

/// Syncs the directories of both homes in which a move changes names. A killed run may have moved
/// the last file without syncing the move, and nothing shows that run.
pub(crate) fn ensure_durable(disk: &LockedDir, homes: &Homes) -> Result<(), MigrationError> {
    for home in [&homes.daemon, &homes.app] {
        for dir in relative_dirs(homes).into_iter().rev().map(|dir| home.join(dir)).chain([home.clone()]) {
            let path = PathBuf::from(dir);
            if !disk.stat_follow(&path).is_ok_and(|meta| meta.is_dir()) {
                continue;
            }
            match disk.sync_dir(&path) {
                // A run of this user cannot have moved a file from or to a directory that it may not
                // open.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    tracing::debug!(path = %path.display(), %error, "a directory was not synced");
                }
                synced => synced.map_err(|source| MigrationError::FlushFailed { path, source })?,
            }
        }
    }
    Ok(())
}

/// Returns the progress after an event. The files count once; each other phase counts anew.
fn advance(progress: &Cell<Progress>, event: TransferProgress) -> Progress {
    let Progress { done, total, .. } = progress.get();
    let phase =
        |phase, phase_done, phase_total| Progress { phase, phase_done, phase_total, ..progress.get() };
    let now = match event {
        TransferProgress::Files(files) => Progress::new(Phase::Moving, total.min(done + files), total),
        TransferProgress::Comparing { done, total } => phase(Phase::Comparing, done, total),
        TransferProgress::Removing { done, total } => phase(Phase::Removing, done, total),
        _ => phase(Phase::Syncing, 0, 0),
    };
    progress.set(now);
    now
}

/// Checks that the right lock is held and that no daemon writes the homes.
fn check_preconditions(
    disk: &LockedDir,
    plan: &Plan,
    daemons: &dyn LiveDaemons,
) -> Result<(), Vec<MigrationError>> {
    disk.ensure_locks(plan.homes.app.as_ref()).map_err(|error| vec![MigrationError::OutsideLock(error)])?;
    if !daemons.are_of(&plan.homes) {
        return Err(vec![MigrationError::OtherDaemons { path: plan.homes.app.clone().into() }]);
    }
    let refusal = |daemon: LiveDaemon| {
        let command = match daemon.pid {
            Some(pid) if daemon.kind != LiveKind::Legacy && !cfg!(windows) => format!("kill {pid}"),
            _ => format!("{} migrate --stop-legacy-daemon", plan.homes.program),
        };
        daemon.refusal(command, None)
    };
    let mut live = daemons.live();
    live.retain(|daemon| plan.touches_files() || daemon.kind != LiveKind::Own);
    if live.is_empty() { Ok(()) } else { Err(live.into_iter().map(refusal).collect()) }
}

/// Determines the outcome of the run by a second inspection: another program may have added files,
/// a call may have reported success without effect, and a second identity file may have appeared.
fn verify_outcome(disk: &dyn Disk, plan: &Plan, report: &mut MoveReport) {
    let after = inspect(disk, &plan.homes, plan.direction);
    let rest = plan_rest(&plan.homes, &after, &Options::default()).0;
    report.identity = rest.identity;
    let is_gone = matches!(report.identity, IdentityState::Absent | IdentityState::Unusable { .. });
    if plan.identity.key().is_some() && is_gone {
        // A daemon that is started now would make a second identity.
        let path = plan.source.join(plan.homes.identity());
        report.identity =
            IdentityState::Blocked { why: "the identity file disappeared while the move ran".to_owned() };
        report.errors.push(MigrationError::Vanished { path });
    }
    let errors = rest.errors.into_iter().chain(rest.refusals);
    add_new(&mut report.errors, errors, |error| (error.code(), error.path().to_owned()));
    add_new(&mut report.collisions, rest.collisions, |collision| collision.source.clone());
    add_new(&mut report.left, rest.left, |left| (left.path.clone(), left.reason.clone()));
    // An empty directory that could not be removed has been reported, and its parents stay with it.
    let is_reported = |step: &&MoveStep| report.left.iter().any(|left| left.path.starts_with(step.path()));
    let empty = rest.tidy.iter().filter(|step| !is_reported(step));
    let mut steps = rest.prepare.iter().chain(&rest.state).chain(&rest.identity_steps).chain(empty);
    let unfinished = steps.find(|step| !step.is_barrier()).cloned();
    if let Some(step) = unfinished.filter(|_| report.errors.is_empty()) {
        report.errors.push(MigrationError::Changed { path: step.path().to_owned() });
    }
    report.outcome = if report.errors.is_empty() { MoveOutcome::Done } else { MoveOutcome::Partial };
}

/// Adds what a second inspection found and the report does not have. A directory may hold very many
/// foreign files, so the report is not searched for each.
fn add_new<T, K: Eq + Hash>(known: &mut Vec<T>, found: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) {
    let mut keys: HashSet<K> = known.iter().map(&key).collect();
    known.extend(found.into_iter().filter(|new| keys.insert(key(new))));
}
