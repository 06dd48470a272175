//! `launch`: the start-up sequence as a command, and the daemon that it started and runs in the
//! foreground.

use std::sync::atomic::Ordering;

use myownllm_daemon::{Role, Spawned};
use myownllm_launch::words::{count, escape_controls, process, short};
use myownllm_launch::{Class, Daemon, Diagnostic, GRACE, LAST_BREATH, Options, Outcome, launch};
use serde_json::json;

use crate::cli::LaunchArgs;
use crate::exit::exit_of;
use crate::output::{Answer, Printer};
use crate::run_log::Trace;
use crate::signals::{Ended, Signals, died, log_hint, not_stopped};
use crate::told::{Fate, Tense, choice, config_line, data, networks_line, report_lines, stopped, trace};
use crate::world::{World, fresh_ids};
use myownllm_report::SHOWN;

pub(crate) fn run(world: &World, args: &LaunchArgs, printer: &Printer) -> Result<Answer, Diagnostic> {
    // Listens before anything runs, so that an early signal ends the daemon too.
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
        // The daemon came up and died on the first requests: this is the reason for everything else
        // that went wrong.
        outcome.diagnostics.push(died(spawned, &status.to_string()));
    }
    let fate = match args {
        LaunchArgs { detach: true, .. } if !asked_to_end => Fate::LeftRunning,
        // Ends a daemon that no process will look after, or that does not answer. A daemon that
        // refused a request is healthy.
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
    // The document went out already, for a program that waits for the daemon to come up. A run
    // prints one document, so later events go to stderr and into the exit code.
    let (how, mut last) = match ended {
        Ended::ConnectedDaemon => ("stopped the daemon".to_owned(), Answer::said_already(answer.exit)),
        Ended::Died(diagnostic) => {
            printer.print_diagnostic(&diagnostic);
            let said = Answer::said_already(diagnostic.class.into());
            (diagnostic.message.clone(), Answer { diagnostics: vec![diagnostic], ..said })
        }
    };
    last.trace = Trace::of(&world.layout, told(args), vec![how]);
    Ok(last)
}

/// Returns the command as it was typed.
fn told(args: &LaunchArgs) -> String {
    let flags = [(args.no_daemon, " --no-daemon"), (args.once, " --once"), (args.detach, " --detach")];
    let flags = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag);
    std::iter::once("launch").chain(flags).collect()
}

/// Replaces a hint that looks at a process: this process has ended, and only its log is left.
fn look_at_the_log(diagnostic: &mut Diagnostic, ended: &Spawned) {
    if diagnostic.hint == Some(format!("ps -fp {}", ended.pid())) {
        diagnostic.hint = Some(log_hint(ended));
    }
}

fn signal_failed(error: std::io::Error) -> Diagnostic {
    Diagnostic::from_error(&error, "launch.signals", None)
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
        // Shows entries that stay: if such an entry is the daemon's, the daemon will miss it.
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

/// Says that there is no daemon, and gives the gravest reason in the words of its diagnostic, which
/// is printed below.
fn not_started(outcome: &Outcome) -> String {
    let mut reasons: Vec<&Diagnostic> =
        outcome.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    reasons.sort_by_key(|diagnostic| std::cmp::Reverse(diagnostic.class));
    let broken_off = || outcome.diagnostics.iter().find(|diagnostic| diagnostic.code == "daemon.cancelled");
    match reasons.first().copied().or_else(broken_off) {
        Some(reason) => format!("none was started: {}", escape_controls(&reason.message)),
        None => "none was started".to_owned(),
    }
}
