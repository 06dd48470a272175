//! `repair`: `launch --no-daemon` in plain words for people.

use myownllm_launch::{Daemon, Options, repair};
use myownllm_report::{AfterLaunch, launch_data, launch_trace, repaired};
use serde_json::json;

use crate::context::{Context, fresh_ids};
use crate::output::{CommandOutput, Printer};

pub(crate) fn run(context: &Context, stop_legacy_daemon: bool, printer: &Printer) -> CommandOutput {
    let libraries = context.libraries().sweeping();
    let options = Options { stop_legacy_daemon, ..context.options() };
    let outcome = repair(&libraries.launch_context(), &options, &mut fresh_ids());
    let home = libraries.view();
    let data = match printer.is_json {
        true => launch_data(&home, &outcome, &Daemon::None, AfterLaunch::Ended),
        false => json!({}),
    };
    let trace = launch_trace(&home, "repair", &outcome, &Daemon::None);
    CommandOutput { trace, ..CommandOutput::done(repaired(&home, &outcome), data).with(outcome.diagnostics) }
}
