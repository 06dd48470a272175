//! `daemon`: the daemon of this home, no matter which process started it.

use myownllm_launch::{
    DaemonStopped, Diagnostic, NOT_RUNNING, daemon_diagnostics, ensure_restartable, stop_daemon,
};
use myownllm_paths::Mode;
use myownllm_report::documents::{Restarted, StoppedDaemon, StoppedDaemons};
use myownllm_report::run_log::Trace;
use myownllm_report::{Page, daemon_status};
use serde_json::json;

use crate::cli::{DaemonCommand, LaunchArgs};
use crate::context::{Context, fresh_ids};
use crate::output::{CommandOutput, Printer};
use crate::{foreground, look};

pub(crate) fn run(
    context: &Context,
    command: &DaemonCommand,
    printer: &Printer,
) -> Result<CommandOutput, Diagnostic> {
    match command {
        DaemonCommand::Status => Ok(status(context)),
        DaemonCommand::Logs { lines } => Ok(look::daemon_log(context, *lines)),
        DaemonCommand::Stop => {
            let stopped = stop(context)?;
            let trace = trace(context, "daemon stop", &stopped);
            let document = StoppedDaemons { stopped: stopped.iter().map(StoppedDaemon::from).collect() };
            Ok(CommandOutput { trace, ..CommandOutput::done(page(&stopped), json!(document)) })
        }
        DaemonCommand::Restart(wait) => {
            let args = LaunchArgs { detach: true, wait: *wait, ..LaunchArgs::default() };
            ensure_restartable(&context.libraries().launch_context(), &context.options(), &mut fresh_ids())?;
            let stopped = stop(context)?;
            let mut answer = foreground::run(context, &args, printer)?;
            let started = std::mem::replace(&mut answer.page, page(&stopped));
            answer.page.page(started);
            answer.data = json!(Restarted {
                launch: answer.data,
                stopped_before: stopped.iter().map(StoppedDaemon::from).collect()
            });
            answer.trace = match (trace(context, "daemon restart", &stopped), answer.trace) {
                (Some(did), Some(started)) => Some(did.and(started)),
                (did, started) => did.or(started),
            };
            Ok(answer)
        }
    }
}

fn stop(context: &Context) -> Result<Vec<DaemonStopped>, Diagnostic> {
    stop_daemon(&context.libraries().launch_context(), &context.options())
}

fn trace(context: &Context, command: &str, stopped: &[DaemonStopped]) -> Option<Trace> {
    let did = stopped.iter().map(|daemon| format!("stopped the daemon (process {})", daemon.pid));
    Trace::of(&context.layout, command, did.collect())
}

fn page(stopped: &[DaemonStopped]) -> Page {
    let mut page = Page::default();
    for DaemonStopped { pid, took_ms, .. } in stopped {
        page.line(format!("Stopped the daemon (process {pid}, after {took_ms} ms)."));
    }
    if stopped.is_empty() {
        page.line("No daemon of this home runs.");
    }
    page
}

fn status(context: &Context) -> CommandOutput {
    let libraries = context.libraries();
    let endpoint = libraries.daemons.endpoint_without_config(Mode::OwnLlm);
    let probe = libraries.daemons.probe(&endpoint);
    let (launch_context, options) = (libraries.launch_context(), context.options());
    let diagnostics = daemon_diagnostics(&launch_context, &options, &mut fresh_ids(), &endpoint, &probe);
    let (page, data) = daemon_status(&libraries.view(), &endpoint, &probe, &diagnostics);
    let mut answer = CommandOutput::data(page, data).with(diagnostics);
    if let Some(diagnostic) =
        answer.diagnostics.pop_if(|diagnostic| diagnostic.code == NOT_RUNNING && diagnostic.causes.is_empty())
    {
        match &diagnostic.hint {
            Some(start) => {
                answer.page.line("To start it:");
                answer.page.command(2, "", start);
            }
            None => answer.page.line("A launch uses the shared daemon."),
        }
        answer.shown_on_page.push(diagnostic);
    }
    answer
}
