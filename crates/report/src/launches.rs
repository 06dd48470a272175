//! A launch for a person and for a program, and `repair`, which is one without a daemon.

use myownllm_config_model::networks::SavedNetwork;
use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{Document, masking, networks};
use myownllm_config_store::{FileShape, Report, Step};
use myownllm_daemon::reconcile::{Action, NOT_ADDED, NOT_APPLIED, StepResult};
use myownllm_daemon::{CandidateFailure, CandidateOutcome, Role, Rule};
use myownllm_launch::words::{at_defaults, backup, count, in_a_line, listed, process, use_first_network};
use myownllm_launch::{
    Daemon, LONGEST_NAME, LaunchStep, Outcome, Reconciled, Recurrence, Verdict, lost_keys, saved,
};
use myownllm_migration::{LiveDaemon, MoveReport};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::moves::{choice, stopped};
use crate::picture::SHOWN;
use crate::run_log::{self, Trace};
use crate::salvage::{Repair, are_losses_reported, recovered, report_lines};
use crate::screen::Page;
use crate::text::{bounded, long};
use crate::view::HomeView;

pub(crate) fn config_line(home: &HomeView<'_>, outcome: &Outcome) -> String {
    let path = home.short(&home.layout.app_config);
    let networks = networks::list(&outcome.document).len();
    if outcome.is_fallback && outcome.shape == FileShape::Unknown {
        return format!(
            "{path}: could not be read; running on a fallback config, and the file is left as it is"
        );
    }
    let lacked = &outcome.config.completed_keys;
    // A backup changes nothing in the config file.
    let is_current = !outcome.config_steps.iter().any(Step::writes_config);
    let what = match (outcome.shape, is_current) {
        (FileShape::Missing, true) if outcome.is_repaired_by_another => "another process wrote it meanwhile",
        (_, true) if outcome.is_repaired_by_another => "another process repaired it meanwhile",
        (FileShape::App | FileShape::Unknown, true) if outcome.has_lost_settings() => {
            "has lost settings or networks (see below), and is left as it is"
        }
        (FileShape::App | FileShape::Unknown, false) if outcome.has_repaired() => "repaired",
        (FileShape::App | FileShape::Unknown, false) if !lacked.is_empty() => {
            &format!("completed, {}", at_defaults(lacked))
        }
        (FileShape::App, true) => "healthy",
        (FileShape::App | FileShape::Unknown, false) => "brought up to date",
        (FileShape::Unknown, true) => "completed in memory alone",
        (FileShape::Missing, false) if !outcome.has_repaired() => "written with the defaults",
        (_, false) => "repaired",
        (FileShape::Missing, true) if outcome.class().is_none() => "another process wrote it meanwhile",
        (FileShape::Missing, true) => "missing; running on defaults",
        (_, true) if outcome.class().is_none() => "another process repaired it meanwhile",
        (_, true) => "not repaired (see below), and left as it is",
    };
    format!("{path}: {what}, {} saved", count(networks, "network"))
}

/// Describes a reconciliation in one line.
pub(crate) fn networks_line(reconciled: &Reconciled) -> String {
    let parts = networks_did(reconciled);
    if !parts.is_empty() {
        return in_a_line(parts);
    }
    if reconciled.daemon.role != Role::Shared {
        return "as saved already".to_owned();
    }
    let kept = reconciled.plan.kept.iter().filter(|kept| kept.reason == NOT_ADDED);
    let kept: Vec<&str> = kept.map(|kept| kept.network.as_str()).collect();
    let stays = match kept.is_empty() {
        true => String::new(),
        false => format!("; it stays in {}, which the app did not add", listed(&kept)),
    };
    // Nobody has compared the settings.
    format!("as the shared daemon has them{stays}")
}

/// Describes a reconciliation, network by network.
pub(crate) fn networks_did(reconciled: &Reconciled) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    for done in &reconciled.outcome.steps {
        let (did, to_do) = match &done.step.action {
            Action::Add { .. } => ("joined", "join"),
            Action::Update { .. } | Action::Replace { .. } => ("updated", "update"),
            Action::Remove { .. } => ("left", "leave"),
            _ => continue,
        };
        let network = shortened(done.step.action.network_id(), LONGEST_NAME);
        parts.push(match &done.result {
            StepResult::Failed { code, .. } if code == NOT_APPLIED => format!("{did} {network} in part"),
            StepResult::Failed { .. } => format!("could not {to_do} {network}"),
            StepResult::Skipped { .. } => format!("did not try to {to_do} {network}"),
            _ => format!("{did} {network}"),
        });
    }
    parts
}

/// The fate of a daemon that a launch started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterLaunch {
    /// The launch stays with the daemon.
    Supervised,
    /// The daemon outlives the launch.
    LeftRunning,
    /// The launch ended the daemon before it reported anything of it.
    Ended,
}

/// Returns the changes of a launch, for the run log.
pub fn launch_trace(home: &HomeView<'_>, command: &str, outcome: &Outcome, daemon: &Daemon) -> Option<Trace> {
    let mut did: Vec<String> = run_log::of_stopped(&outcome.stopped).collect();
    did.extend(outcome.migration.iter().flat_map(run_log::of_move));
    did.extend(run_log::of_config(&outcome.config_steps));
    let repaired = Some(&outcome.config).filter(|config| {
        outcome.has_repaired() || outcome.has_lost_for_good() || !config.gone_keys.is_empty()
    });
    did.extend(repaired.and_then(run_log::of_losses));
    if outcome.diagnostics.iter().any(|diagnostic| diagnostic.code == "daemon.path-rebased") {
        did.push("pointed the daemon's config to its identity file".to_owned());
    }
    if outcome.has_set_daemon_config_aside() {
        did.push("set the daemon's config aside".to_owned());
    }
    did.extend(run_log::of_file_steps(home, &outcome.file_steps));
    if let Daemon::Spawned(spawned) = daemon {
        did.push(format!("started the daemon (process {})", spawned.pid()));
    }
    let is_skipped =
        |tried: &&CandidateOutcome| !matches!(tried.failure, Some(CandidateFailure::Skipped { .. }));
    match outcome.tried.iter().filter(is_skipped).count() {
        0 => {}
        tried => did.push(format!("started {} that did not become a daemon", count(tried, "program"))),
    }
    did.extend(outcome.reconciled.iter().flat_map(networks_did));
    let mut trace = Trace::of(home.layout, command, did)?.device_of(home);
    trace.entry.before = outcome.config.backup.clone();
    trace.entry.lost = repaired.map(lost_keys).unwrap_or_default();
    match outcome.is_fallback {
        true => Some(trace),
        false => Some(trace.decided(home, &outcome.document, &outcome.config.restored_keys)),
    }
}

/// A launch, and a repair.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Launch<'a> {
    outcome: Verdict,
    /// The steps that the launch began, as `status` names them in `launch_steps`, in order.
    #[schemars(schema_with = "crate::members::launch_steps")]
    steps: Vec<String>,
    config: LaunchConfig<'a>,
    /// Set if the config was healthy before, and a daemon wrote over it again.
    relapse: &'a Option<Recurrence>,
    /// The daemons of the old location, or without a socket, that were ended.
    stopped: &'a [LiveDaemon],
    /// The move; null if nothing was pending.
    migration: &'a Option<MoveReport>,
    daemon: UsedDaemon<'a>,
    /// The daemons that the launch looked for, and the answers.
    #[schemars(with = "Option<myownllm_daemon::Detection>")]
    detection: Value,
    /// The changes of the daemon's networks; null if no daemon was asked.
    #[schemars(with = "Option<Reconciled>")]
    reconcile: Value,
}

#[derive(Serialize, JsonSchema)]
struct LaunchConfig<'a> {
    path: String,
    /// The shape before the launch.
    shape: FileShape,
    report: &'a Report,
    /// The steps that wrote the config.
    steps: &'a [Step],
    networks: Vec<SavedNetwork>,
    /// The internal id of the active network.
    active_network_id: Option<&'a str>,
}

/// The daemon that the launch ended with.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "state", rename_all = "kebab-case")]
enum UsedDaemon<'a> {
    /// No daemon is used.
    None {
        /// The programs that were tried.
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        candidates: &'a [CandidateOutcome],
    },
    /// A daemon that ran already.
    Attached {
        role: Role,
        socket: String,
        pid: Option<u32>,
        /// The rule that chose the daemon.
        rule: Rule,
        version: &'a str,
        device_id: &'a str,
    },
    /// A daemon that this run started.
    Spawned {
        role: Role,
        socket: String,
        pid: u32,
        version: &'a str,
        device_id: &'a str,
        /// The time until the daemon answered, in milliseconds.
        ready_ms: u128,
        /// The path of the daemon's log.
        log: String,
        /// The programs that were tried, the last one with success.
        candidates: &'a [CandidateOutcome],
        /// True if the daemon exited, or was stopped, before this document was printed.
        ended: bool,
    },
}

impl<'a> UsedDaemon<'a> {
    fn new(daemon: &'a Daemon, outcome: &'a Outcome, fate: AfterLaunch) -> Self {
        match daemon {
            Daemon::None => Self::None { candidates: &outcome.tried },
            Daemon::Attached { role, endpoint, status, pid, rule } => Self::Attached {
                role: *role,
                socket: endpoint.to_string(),
                pid: *pid,
                rule: *rule,
                version: &status.version,
                device_id: &status.device_id,
            },
            Daemon::Spawned(spawned) => Self::Spawned {
                role: Role::Own,
                socket: spawned.endpoint().to_string(),
                pid: spawned.pid(),
                version: &spawned.status().version,
                device_id: &spawned.status().device_id,
                ready_ms: spawned.took().as_millis(),
                log: long(spawned.log()),
                candidates: spawned.tried(),
                ended: fate == AfterLaunch::Ended || outcome.has_exited_daemon(),
            },
        }
    }
}

/// Returns the outcome of a launch for a program.
pub fn launch_data(home: &HomeView<'_>, outcome: &Outcome, daemon: &Daemon, fate: AfterLaunch) -> Value {
    let shown = masking::mask(&outcome.document);
    let active = shown.get(&["cloud_mesh", "active_network_id"]).and_then(|id| id.as_str());
    json!(Launch {
        outcome: outcome.verdict(),
        steps: outcome.steps.iter().map(LaunchStep::code).collect(),
        config: LaunchConfig {
            path: long(&home.layout.app_config),
            shape: outcome.shape,
            report: &outcome.config,
            steps: &outcome.config_steps,
            networks: saved(&shown),
            active_network_id: active.as_deref().filter(|id| !id.is_empty()),
        },
        relapse: &outcome.recurrence,
        stopped: &outcome.stopped,
        migration: &outcome.migration,
        daemon: UsedDaemon::new(daemon, outcome, fate),
        detection: bounded(&outcome.detection),
        reconcile: bounded(&outcome.reconciled),
    })
}

/// Returns the outcome of a launch for a person. `daemon` is the daemon of the launch; `None` if
/// the launch was to use no daemon.
pub fn launched(home: &HomeView<'_>, outcome: &Outcome, daemon: Option<&Daemon>, fate: AfterLaunch) -> Page {
    const COLUMN: usize = 12;
    let mut page = stopped(home, &outcome.stopped, COLUMN);
    if let Some(report) = &outcome.migration {
        if !report.moved.is_empty() {
            let place = home.short(&home.layout.daemon_home);
            page.row("moved", COLUMN, format!("{} to {place}", count(report.files_moved(), "file")));
        }
        // Shows entries that stay: if such an entry is the daemon's, the daemon will miss it.
        for left in report.left.iter().take(SHOWN) {
            page.row("left", COLUMN, format!("{}  ({})", home.short(&left.path), left.reason));
        }
        if report.left.len() > SHOWN {
            page.row("", COLUMN, format!("and {} more", report.left.len() - SHOWN));
        }
        page.page(choice(home, report.refusals.iter().chain(&report.errors)));
    }
    page.row("config", COLUMN, config_line(home, outcome));
    if outcome.has_repaired() {
        let Outcome { config: report, config_steps: steps, document, diagnostics, .. } = outcome;
        page.page(report_lines(home, &Repair { report, steps, document, done: true, diagnostics }));
    }
    let mut line = |label: &str, what: &str| page.row(label, COLUMN, what);
    match daemon {
        None => {}
        Some(Daemon::None) => line("daemon", &not_started(outcome)),
        Some(Daemon::Attached { role, endpoint, status, pid, .. }) => {
            let whose = if *role == Role::Shared {
                "the shared daemon"
            } else {
                "the app's daemon, which ran already"
            };
            line("daemon", &format!("{whose}: version {}{}, at {endpoint}", status.version, process(*pid)));
            line("Device ID", &status.device_id);
        }
        Some(Daemon::Spawned(spawned)) => {
            let status = spawned.status();
            let then = match fate {
                _ if outcome.has_exited_daemon() => ", exited since (see below)",
                AfterLaunch::Supervised => "",
                AfterLaunch::LeftRunning => ", left running",
                AfterLaunch::Ended => ", and ended again",
            };
            line(
                "daemon",
                &format!(
                    "started: version {}, process {}, at {}, ready after {} ms{then}",
                    status.version,
                    spawned.pid(),
                    spawned.endpoint(),
                    spawned.took().as_millis(),
                ),
            );
            line("Device ID", &status.device_id);
        }
    }
    if let Some(reconciled) = &outcome.reconciled {
        line("networks", &networks_line(reconciled));
    }
    page
}

/// Says that there is no daemon. An error, which is printed below, tells the reason; a start that
/// the user broke off is no error.
fn not_started(outcome: &Outcome) -> String {
    let broken_off = outcome.diagnostics.iter().find(|diagnostic| diagnostic.code == "daemon.cancelled");
    match broken_off {
        _ if outcome.class().is_some() => "none was started (see below)".to_owned(),
        Some(reason) => format!("none was started: {}", reason.message),
        None => "none was started".to_owned(),
    }
}

/// Returns the outcome of a repair in plain words.
pub fn repaired(home: &HomeView<'_>, outcome: &Outcome) -> Page {
    let is_ok = outcome.class().is_none();
    let mut page = Page::default();
    let moved = outcome.migration.as_ref().map_or(0, |report| report.files_moved());
    if moved > 0 {
        let place = home.short(&home.layout.daemon_home);
        page.line(format!("Moved: {} of the daemon's, to its own directory {place}.", count(moved, "file")));
    }
    if let Some(report) = &outcome.migration {
        page.page(choice(home, report.refusals.iter().chain(&report.errors)));
    }
    if outcome.has_repaired() {
        of_config(home, outcome, &mut page);
    } else if is_ok && !outcome.config_steps.is_empty() {
        page.line(format!("The config {}.", config_line(home, outcome)));
    }
    if outcome.has_set_daemon_config_aside() {
        page.line("Set aside what was in the place of the daemon's config (see below).");
    }
    if outcome.has_set_states_aside() {
        page.line("Set aside what a daemon cannot read of its rosters and states (see below).");
    }
    if page.is_empty()
        && let Some(trace) = launch_trace(home, "repair", outcome, &Daemon::None)
    {
        page.line(format!("Done: {}.", in_a_line(trace.entry.did)));
    } else if !outcome.stopped.is_empty() {
        let rest = std::mem::replace(&mut page, stopped(home, &outcome.stopped, 9));
        page.page(rest);
    }
    // A launch goes on without the files that differ.
    let differs = |report: &MoveReport| !report.collisions.is_empty();
    match (is_ok && !outcome.migration.as_ref().is_some_and(differs), page.is_empty()) {
        (true, true) => {
            page.line(format!("Nothing to put right: {} is healthy.", home.short(&home.layout.app_home)));
        }
        (true, false) => {}
        (false, true) => page.line("Nothing was changed, and something is left to put right (see below)."),
        (false, false) => page.line("Something is left to put right (see below)."),
    }
    page
}

/// Reports the settings: those that came back, the backup that was kept, those that are lost and
/// the consequences of the loss.
fn of_config(home: &HomeView<'_>, outcome: &Outcome, page: &mut Page) {
    let report = &outcome.config;
    let back = recovered(home, report).unwrap_or_else(|| "none of them, as there is no backup".to_owned());
    page.line(format!("Repaired your settings: recovered {back}."));
    let backups = home.short(&home.layout.backups);
    if let Some(kept) = &report.backup {
        page.line(format!("Kept: the file as it was, as {} in {backups}.", backup(kept)));
    }
    // A warning tells losses that do harm last on the screen, with the consequences and the command
    // that sets the settings.
    if !report.reset_keys.is_empty() && !are_losses_reported(&outcome.diagnostics) {
        page.line(format!("Lost, as no backup has them: {}.", at_defaults(&report.reset_keys)));
    }
    offer_a_network(home, &outcome.document, "No network is active.", page);
}

/// Tells how to choose a network, if none is active.
pub(crate) fn offer_a_network(home: &HomeView<'_>, document: &Document, what: &str, page: &mut Page) {
    let first = || use_first_network(document, home.program);
    if let Some(command) = networks::active(document).is_none().then(first).flatten() {
        page.offer(format!("{what} To choose one:"), command);
    }
}
