//! `repair`: `launch --no-daemon` in plain words for people.

use myownllm_launch::{Daemon, Options, launch};
use myownllm_report::{Fate, launch_data, launch_trace, repaired};
use serde_json::json;

use crate::cli::RepairArgs;
use crate::output::{Answer, Printer};
use crate::world::{World, fresh_ids};

pub(crate) fn run(world: &World, args: &RepairArgs, printer: &Printer) -> Answer {
    let libraries = world.libraries();
    let options = Options { daemon: false, stop_legacy_daemon: args.stop_legacy_daemon, ..world.options() };
    let outcome = launch(&libraries.context(), &options, &mut fresh_ids());
    let home = libraries.view();
    let data = match printer.is_json() {
        true => launch_data(&home, &outcome, &Daemon::None, Fate::Ended),
        false => json!({}),
    };
    let trace = launch_trace(&home, "repair", &outcome, &Daemon::None);
    Answer { trace, ..Answer::done(repaired(&home, &outcome), data).with(outcome.diagnostics) }
}
