//! `salvage`: the repair of the config on its own.

use myownllm_launch::{Diagnostic, Options, repair_config};
use myownllm_report::{config_repair, repair_trace};

use crate::cli::SalvageArgs;
use crate::context::{Context, fresh_ids};
use crate::output::CommandOutput;

pub(crate) fn run(context: &Context, args: &SalvageArgs) -> Result<CommandOutput, Diagnostic> {
    let libraries = context.libraries();
    let is_dry = args.dry_run || args.check;
    let options = Options { stop_legacy_daemon: args.stop_legacy_daemon, ..context.options() };
    let repair = repair_config(&libraries.launch_context(), &options, &mut fresh_ids(), is_dry)?;
    let home = libraries.view();
    let (page, data) = config_repair(&home, &repair, args.dry_run);
    let is_pending = args.check && repair.loaded.pending.repairs();
    let trace = repair_trace(&home, &repair);
    let answer = CommandOutput {
        trace,
        is_data: args.dry_run,
        ..CommandOutput::done(page, data).with(repair.diagnostics)
    };
    Ok(answer.pending_if(is_pending))
}
