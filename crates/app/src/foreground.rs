//! `launch`: the start-up sequence as a command, and the daemon that it started and runs in the
//! foreground.

use std::sync::atomic::Ordering;

use myownllm_launch::{Daemon, Diagnostic, Options, STOP_TIMEOUT, launch, log_hint, not_stopped_diagnostic};
use myownllm_report::run_log::Trace;
use myownllm_report::{AfterLaunch, launch_data, launch_trace, launched};
use serde_json::json;

use crate::cli::LaunchArgs;
use crate::context::{Context, fresh_ids};
use crate::output::{CommandOutput, Printer};
use crate::signals::Signals;

pub(crate) fn run(
    context: &Context,
    args: &LaunchArgs,
    printer: &Printer,
) -> Result<CommandOutput, Diagnostic> {
    // Listens before anything runs, so that an early signal ends the daemon too.
    let signal_failed = |error| Diagnostic::from_error(&error, "launch.signals", None);
    let listen = || Signals::listen(&context.cancelled).map_err(signal_failed);
    let signals = if args.no_daemon { None } else { Some(listen()?) };
    let libraries = context.libraries();
    let options =
        Options { daemon: !args.no_daemon, stop_legacy_daemon: args.stop_legacy_daemon, ..context.options() };
    let mut outcome = launch(&libraries.launch_context(), &options, &mut fresh_ids());
    let asked_to_end = context.cancelled.load(Ordering::Relaxed);
    let is_done =
        outcome.reconciled.is_some() && (args.once || matches!(outcome.daemon, Daemon::Attached { .. }));
    if asked_to_end && (args.once || args.detach) && !is_done {
        outcome.fail_as_cancelled(args.detach);
    }
    let mut daemon = std::mem::take(&mut outcome.daemon);
    let lost = outcome.has_lost_daemon();
    let fate = match args {
        LaunchArgs { detach: true, .. } if !asked_to_end => AfterLaunch::LeftRunning,
        // Ends a daemon that no process will look after, or that does not answer. A daemon that
        // refused a request is healthy.
        LaunchArgs { once, detach, .. } if *once || *detach || lost => AfterLaunch::Ended,
        _ => AfterLaunch::Supervised,
    };
    if let (Daemon::Spawned(spawned), AfterLaunch::Ended) = (&mut daemon, fate) {
        match spawned.end(STOP_TIMEOUT) {
            Ok(_) => {
                // The process that a hint looks at has ended, and only its log is left.
                let look = Some(format!("ps -fp {}", spawned.pid()));
                let on_daemon = outcome.diagnostics.iter_mut().filter(|diagnostic| diagnostic.hint == look);
                on_daemon.for_each(|diagnostic| diagnostic.hint = Some(log_hint(spawned.log())));
            }
            Err(error) => outcome.diagnostics.push(not_stopped_diagnostic(&error)),
        }
    }
    let home = libraries.view();
    let page = launched(&home, &outcome, Some(&daemon).filter(|_| !args.no_daemon), fate);
    let data = if printer.is_json { launch_data(&home, &outcome, &daemon, fate) } else { json!({}) };
    let trace = launch_trace(&home, &command_line(args), &outcome, &daemon);
    let answer = CommandOutput { trace, ..CommandOutput::done(page, data).with(outcome.diagnostics) };
    let Daemon::Spawned(spawned) = daemon else { return Ok(answer) };
    if let AfterLaunch::LeftRunning = fate {
        spawned.detach();
        return Ok(answer);
    }
    let (AfterLaunch::Supervised, Some(mut signals)) = (fate, signals) else { return Ok(answer) };
    printer.print("launch", &answer);
    answer.log(printer.started);
    printer.say(&format!("The daemon runs (process {}). Ctrl-C stops it.", spawned.pid()));
    let ended = signals.wait(spawned);
    // The document went out already, for a program that waits for the daemon to come up. A run
    // prints one document, so later events go to stderr and into the exit code.
    let (how, mut last) = match ended {
        None => ("stopped the daemon".to_owned(), CommandOutput::already_printed(answer.exit)),
        Some(diagnostic) => {
            printer.print_diagnostic(&diagnostic);
            let is_error = diagnostic.is_error();
            let exit = if is_error { diagnostic.class.into() } else { answer.exit };
            let said = CommandOutput::already_printed(exit);
            (diagnostic.message.clone(), CommandOutput { diagnostics: vec![diagnostic], ..said })
        }
    };
    last.trace = Trace::of(&context.layout, command_line(args), vec![how]);
    Ok(last)
}

/// Returns the command as it was typed.
fn command_line(args: &LaunchArgs) -> String {
    let flags = [(args.no_daemon, " --no-daemon"), (args.once, " --once"), (args.detach, " --detach")];
    let flags = flags.into_iter().filter(|(is_given, _)| *is_given).map(|(_, flag)| flag);
    std::iter::once("launch").chain(flags).collect()
}
