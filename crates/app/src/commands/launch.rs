//! `launch`: the start-up sequence as a command, and the foreground life of a daemon that it started.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{masking, networks};
use myownllm_config_store::{FileShape, Step};
use myownllm_daemon::reconcile::{Action, NOT_APPLIED, StepResult};
use myownllm_daemon::{CandidateFailure, CandidateOutcome, Role, Spawned};
use myownllm_durable_fs::quote;
use myownllm_launch::{
    Class, Daemon, Diagnostic, GRACE, LAST_BREATH, LONGEST_NAME, Options, Outcome, Reconciled, launch, saved,
};
use myownllm_migration::LiveDaemon;
use serde_json::{Value, json};

use super::migrate::choice;
use super::picture::SHOWN;
use super::salvage::{Tense, at_defaults, report_lines};
use super::status::in_a_line;
use crate::cli::LaunchArgs;
use crate::exit::exit_of;
use crate::output::{Answer, Printer, bounded, long, short, tame};
use crate::run_log::{self, Trace};
use crate::screen::Page;
use crate::world::{World, fresh_ids};

/// Lines of the daemon's log that an error shows.
const LOG_LINES: usize = 10;

pub(crate) fn run(world: &World, args: &LaunchArgs, printer: &Printer) -> Result<Answer, Diagnostic> {
    // Before anything runs, so that a signal that comes early ends the daemon too.
    let mut signals = if args.no_daemon { None } else { Some(Signals::listen().map_err(signal_failed)?) };
    let wired = world.wire();
    let options = Options {
        daemon: !args.no_daemon,
        stop_legacy_daemon: args.stop_legacy_daemon,
        cancelled: signals.as_ref().map(|signals| &signals.asked),
        ..world.options()
    };
    let mut outcome = launch(&wired.context(), &options, &mut fresh_ids());
    let asked_to_end = options.cancelled.is_some_and(|asked| asked.load(Ordering::Relaxed));
    let mut daemon = std::mem::take(&mut outcome.daemon);
    let lost = outcome
        .diagnostics
        .iter()
        .any(|diagnostic| diagnostic.is_error() && diagnostic.class == Class::Daemon);
    if let Daemon::Spawned(spawned) = &mut daemon
        && lost
        && let Ok(Some(status)) = spawned.wait_within(LAST_BREATH)
    {
        // It came up and died on the first requests: that is the reason for whatever else went wrong.
        outcome.diagnostics.push(died(spawned, &status.to_string()));
    }
    let fate = match args {
        LaunchArgs { detach: true, .. } if !asked_to_end => Fate::LeftRunning,
        // A daemon that nobody will look after, or that does not answer, is not left behind. One that said no is healthy.
        LaunchArgs { once, detach, .. } if *once || *detach || lost => Fate::Ended,
        _ => Fate::LookedAfter,
    };
    if let (Daemon::Spawned(spawned), Fate::Ended) = (&mut daemon, fate) {
        match spawned.end(GRACE) {
            Ok(_) => {
                outcome.diagnostics.iter_mut().for_each(|diagnostic| look_at_the_log(diagnostic, spawned))
            }
            Err(error) => outcome.diagnostics.push(not_stopped(&error)),
        }
    }
    let mut answer = answer(world, args, printer, &outcome, &daemon, fate);
    answer.trace = trace(world, &told(args), &outcome, &daemon);
    let Daemon::Spawned(spawned) = daemon else { return Ok(answer) };
    match fate {
        Fate::LookedAfter => {}
        Fate::LeftRunning => {
            spawned.detach();
            return Ok(answer);
        }
        Fate::Ended => return Ok(answer),
    }
    printer.print("launch", &answer);
    if let Some(trace) = &answer.trace {
        trace.write(printer.started(), answer.exit, &answer.diagnostics);
    }
    printer.say(&format!("The daemon runs (process {}). Ctrl-C stops it.", spawned.pid()));
    let ended = match &mut signals {
        Some(signals) => signals.wait(spawned),
        None => return Ok(answer),
    };
    // The document went out already, for whoever waits for a daemon that is up. There is one document a run, so what happened
    // since goes to stderr and into the exit code.
    let (how, mut last) = match ended {
        Ended::Asked => ("stopped the daemon".to_owned(), Answer::said_already(answer.exit)),
        Ended::Died(diagnostic) => {
            printer.print_diagnostic(&diagnostic);
            let said = Answer::said_already(diagnostic.class.into());
            (diagnostic.message.clone(), Answer { diagnostics: vec![diagnostic], ..said })
        }
    };
    last.trace = Trace::of(&world.layout, told(args), vec![how]);
    Ok(last)
}

/// The command as it was typed.
fn told(args: &LaunchArgs) -> String {
    let flags = [(args.no_daemon, " --no-daemon"), (args.once, " --once"), (args.detach, " --detach")];
    let flags = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag);
    std::iter::once("launch").chain(flags).collect()
}

/// What becomes of a daemon that a launch started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The launch stays with it.
    LookedAfter,
    /// It outlives the launch.
    LeftRunning,
    /// It was ended before anything was told of it.
    Ended,
}

/// Of a process that has ended nothing can be looked at any more but what it wrote.
fn look_at_the_log(diagnostic: &mut Diagnostic, ended: &Spawned) {
    if diagnostic.hint == Some(format!("ps -fp {}", ended.pid())) {
        diagnostic.hint = Some(log_hint(ended));
    }
}

fn log_hint(spawned: &Spawned) -> String {
    format!("tail -n 50 {}", quote(spawned.log()))
}

fn not_stopped(error: &std::io::Error) -> Diagnostic {
    Diagnostic::from_error(error, "daemon.not-stopped", None).class(Class::Daemon)
}

fn signal_failed(error: std::io::Error) -> Diagnostic {
    Diagnostic::from_error(&error, "launch.signals", None)
}

enum Ended {
    /// By Ctrl-C, Ctrl-\ or SIGTERM; the daemon was stopped.
    #[cfg_attr(windows, allow(dead_code, reason = "there is nothing to hear"))]
    Asked,
    /// The daemon ended by itself.
    Died(Diagnostic),
}

fn died(spawned: &Spawned, status: &str) -> Diagnostic {
    let mut diagnostic =
        Diagnostic::error("daemon.died", format!("the daemon (process {}) ended: {status}", spawned.pid()))
            .at(spawned.log())
            .hint(log_hint(spawned))
            .class(Class::Daemon);
    diagnostic.causes = spawned.log_tail(LOG_LINES);
    diagnostic
}

/// The signals that matter to a launch, waited for without polling; with a thread only for a daemon in a script, of whose end no
/// signal tells.
#[cfg(not(windows))]
struct Signals {
    /// Whether one came that asks us to end: for the time when nobody waits.
    asked: Arc<AtomicBool>,
    all: signal_hook::iterator::Signals,
}

#[cfg(not(windows))]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
        let asked = Arc::new(AtomicBool::new(false));
        let ignored = ignored_signals();
        let mut heard = vec![SIGTERM];
        // Whoever started us and ignores these (`nohup`, a script's `&`) wants us to outlive them.
        heard.extend([SIGINT, SIGHUP, SIGQUIT].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0));
        for signal in &heard {
            signal_hook::flag::register(*signal, Arc::clone(&asked))?;
        }
        heard.push(SIGCHLD);
        let all = signal_hook::iterator::Signals::new(heard)?;
        // Whoever started us may have left them blocked: we would hear nothing, and the daemon, which inherits that, could
        // never be asked to end.
        nix::sys::signal::SigSet::empty().thread_set_mask()?;
        Ok(Self { asked, all })
    }

    fn wait(&mut self, mut spawned: Spawned) -> Ended {
        use signal_hook::consts::SIGCHLD;
        if let Some(end) = spawned.exit_watch() {
            let waker = self.all.handle();
            // One that cannot be made leaves the script's end to be noticed.
            let _ = std::thread::Builder::new().name("daemon-watch".to_owned()).spawn(move || {
                let _ = end.wait();
                waker.close();
            });
        }
        loop {
            // A child that ended before we listened sends no second SIGCHLD: look first, then wait.
            if let Ok(Some(end)) = spawned.try_wait() {
                let diagnostic = died(&spawned, &end.to_string());
                // Where a script had started it, what the script left behind goes too.
                let _ = spawned.stop(GRACE);
                return Ended::Died(diagnostic);
            }
            if self.all.wait().any(|signal| signal != SIGCHLD) {
                return match spawned.stop(GRACE) {
                    Ok(_) => Ended::Asked,
                    Err(error) => Ended::Died(not_stopped(&error)),
                };
            }
        }
    }
}

/// The signals that are ignored as we start, a bit for each; none where the system does not tell.
#[cfg(not(windows))]
pub(crate) fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

/// Windows ends a console program on Ctrl-C by itself, and the daemon in its console with it; here the daemon's end is
/// waited for.
#[cfg(windows)]
struct Signals {
    /// Never set: there is nothing to hear.
    asked: Arc<AtomicBool>,
}

#[cfg(windows)]
impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self { asked: Arc::new(AtomicBool::new(false)) })
    }

    fn wait(&mut self, mut spawned: Spawned) -> Ended {
        loop {
            match spawned.wait_within(std::time::Duration::from_secs(3600)) {
                Ok(Some(status)) => return Ended::Died(died(&spawned, &status.to_string())),
                Ok(None) => {}
                Err(error) => return Ended::Died(not_stopped(&error)),
            }
        }
    }
}

fn answer(
    world: &World,
    args: &LaunchArgs,
    printer: &Printer,
    outcome: &Outcome,
    daemon: &Daemon,
    fate: Fate,
) -> Answer {
    let exit = exit_of(&outcome.diagnostics);
    const COLUMN: usize = 12;
    let mut page = stopped(world, &outcome.stopped, COLUMN);
    if let Some(report) = &outcome.migration {
        if !report.moved.is_empty() {
            let home = short(&world.layout.daemon_home, &world.layout.user_home);
            page.row("moved", COLUMN, format!("{} to {home}", count(report.files_moved(), "file")));
        }
        // What stays is what the daemon will miss, should it be the daemon's.
        for left in report.left.iter().take(SHOWN) {
            let path = short(&left.path, &world.layout.user_home);
            page.row("left", COLUMN, format!("{path}  ({})", left.reason));
        }
        if report.left.len() > SHOWN {
            page.row("", COLUMN, format!("and {} more", report.left.len() - SHOWN));
        }
        page.page(choice(world, report.refusals.iter().chain(&report.errors)));
    }
    page.row("config", COLUMN, config_line(world, outcome));
    if outcome.has_repaired() {
        let steps = &outcome.config_steps;
        page.page(report_lines(world, &outcome.config, steps, &outcome.document, Tense::Done));
    }
    let mut line = |label: &str, what: &str| page.row(label, COLUMN, what);
    match daemon {
        Daemon::None if args.no_daemon => {}
        Daemon::None => line("daemon", &not_started(outcome)),
        Daemon::Attached { role, endpoint, status, pid, .. } => {
            let whose = if *role == Role::Shared {
                "the shared daemon"
            } else {
                "the app's daemon, which ran already"
            };
            line("daemon", &format!("{whose}: version {}{}, at {endpoint}", status.version, process(*pid)));
            line("Device ID", &status.device_id);
        }
        Daemon::Spawned(spawned) => {
            let status = spawned.status();
            let then = match fate {
                Fate::LookedAfter => "",
                Fate::LeftRunning => ", left running",
                Fate::Ended => ", and ended again",
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
    let data = if printer.is_json() { data(world, outcome, daemon, fate) } else { json!({}) };
    Answer { diagnostics: outcome.diagnostics.clone(), ..Answer::done(page, data) }.exit(exit)
}

/// The daemons that were ended because they were in the way.
pub(crate) fn stopped(world: &World, daemons: &[LiveDaemon], column: usize) -> Page {
    let mut page = Page::default();
    for daemon in daemons {
        let place = short(&daemon.socket, &world.layout.user_home);
        page.row(
            "stopped",
            column,
            format!("the daemon{} at {place}  ({})", process(daemon.pid), daemon.note),
        );
    }
    page
}

/// That there is no daemon, and why: the gravest reason, in the words in which it is told below.
fn not_started(outcome: &Outcome) -> String {
    let mut reasons: Vec<&Diagnostic> =
        outcome.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    reasons.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.class));
    let broken_off = || outcome.diagnostics.iter().find(|diagnostic| diagnostic.code == "daemon.cancelled");
    match reasons.first().copied().or_else(broken_off) {
        Some(reason) => format!("none was started: {}", tame(&reason.message)),
        None => "none was started".to_owned(),
    }
}

pub(crate) fn config_line(world: &World, outcome: &Outcome) -> String {
    let path = short(&world.layout.app_config, &world.layout.user_home);
    let networks = networks::list(&outcome.document).len();
    if outcome.stand_in && outcome.shape == FileShape::Unknown {
        return format!("{path}: could not be read; running on a stand-in, and the file is left as it is");
    }
    let lacked = &outcome.config.completed_keys;
    // A backup changes nothing of the file.
    let is_current = !outcome.config_steps.iter().any(Step::writes_config);
    let what = match (outcome.shape, is_current) {
        (FileShape::App | FileShape::Unknown, true) if outcome.config.wiped.is_some() => {
            "has lost settings or networks (see below), and is left as it is"
        }
        (FileShape::App | FileShape::Unknown, false) if outcome.config.wiped.is_some() => "repaired",
        (FileShape::App | FileShape::Unknown, false) if !lacked.is_empty() => {
            &format!("completed, {}", at_defaults(lacked))
        }
        (FileShape::App, true) => "healthy",
        (FileShape::App | FileShape::Unknown, false) => "brought up to date",
        (FileShape::Unknown, true) => "completed in memory alone",
        (FileShape::Missing, false) => "written new",
        (_, false) => "repaired",
        (FileShape::Missing, true) if outcome.class().is_none() => "another process wrote it meanwhile",
        (FileShape::Missing, true) => "missing; running on defaults",
        (_, true) if outcome.class().is_none() => "another process repaired it meanwhile",
        (_, true) => "not repaired (see below), and left as it is",
    };
    format!("{path}: {what}, {} saved", count(networks, "network"))
}

/// `3 networks`, `1 network`.
pub(crate) fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

pub(crate) fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}

/// A reconciliation in one line.
pub(crate) fn networks_line(reconciled: &Reconciled) -> String {
    let parts = networks_did(reconciled);
    if parts.is_empty() { "in line already".to_owned() } else { in_a_line(parts) }
}

/// A reconciliation, network by network.
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

/// What a launch changed, for the run log.
pub(crate) fn trace(world: &World, command: &str, outcome: &Outcome, daemon: &Daemon) -> Option<Trace> {
    let mut did: Vec<String> = run_log::of_stopped(&outcome.stopped).collect();
    did.extend(outcome.migration.iter().flat_map(run_log::of_move));
    did.extend(run_log::of_config(&outcome.config_steps));
    if outcome.diagnostics.iter().any(|diagnostic| diagnostic.code == "daemon.path-rebased") {
        did.push("pointed the daemon's config to its identity file".to_owned());
    }
    if outcome.has_set_daemon_config_aside() {
        did.push("set the daemon's config aside".to_owned());
    }
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
    Some(Trace::of(&world.layout, command, did)?.before(outcome.config.backup.clone()))
}

pub(crate) fn data(world: &World, outcome: &Outcome, daemon: &Daemon, fate: Fate) -> Value {
    let daemon = match daemon {
        Daemon::None if outcome.tried.is_empty() => json!({ "state": "none" }),
        Daemon::None => json!({ "state": "none", "candidates": outcome.tried }),
        Daemon::Attached { role, endpoint, status, pid, rule } => json!({
            "state": "attached", "role": role, "socket": endpoint.to_string(), "pid": pid, "rule": rule,
            "version": status.version, "device_id": status.device_id,
        }),
        Daemon::Spawned(spawned) => json!({
            "state": "spawned", "role": Role::Own, "socket": spawned.endpoint().to_string(), "pid": spawned.pid(),
            "version": spawned.status().version, "device_id": spawned.status().device_id,
            "ready_ms": spawned.took().as_millis(), "log": long(spawned.log()), "candidates": spawned.tried(),
            "ended": fate == Fate::Ended,
        }),
    };
    let shown = masking::mask(&outcome.document);
    let active = shown.get(&["cloud_mesh", "active_network_id"]).and_then(|id| id.as_str());
    json!({
        "outcome": outcome.verdict(),
        "config": {
            "path": long(&world.layout.app_config),
            "shape": outcome.shape,
            "report": outcome.config,
            "steps": outcome.config_steps,
            "networks": saved(&shown)
                .iter()
                .map(|network| json!({ "id": network.id, "network_id": network.network_id }))
                .collect::<Vec<Value>>(),
            "active_network_id": active.filter(|id| !id.is_empty()),
        },
        "relapse": outcome.relapse,
        "stopped": outcome.stopped,
        "migration": outcome.migration,
        "daemon": daemon,
        "detection": bounded(&outcome.detection),
        "reconcile": bounded(&outcome.reconciled),
    })
}
