//! `migrate`: the move on its own.

use myownllm_launch::{Diagnostic, MoveResult, Options, move_state};
use myownllm_migration::{Direction, Options as MoveOptions};
use myownllm_report::{move_trace, state_move};

use crate::cli::MigrateArgs;
use crate::context::Context;
use crate::output::CommandOutput;

pub(crate) fn run(context: &Context, args: &MigrateArgs) -> Result<CommandOutput, Diagnostic> {
    let direction = if args.undo { Direction::Undo } else { Direction::Forward };
    // The old words of `--keep` chose the identity file as well.
    let identity = args.keep_identity.or(args.keep.filter(|side| side.is_old_word()));
    let wanted = if args.undo { MoveOptions::undo() } else { MoveOptions::forward() }
        .keeping_files(args.keep.map(|side| side.keep(direction)))
        .keeping_identity(identity.map(|side| side.keep(direction)));
    let is_dry = args.dry_run || args.check;
    let libraries = context.libraries();
    let options = Options { stop_legacy_daemon: args.stop_legacy_daemon, ..context.options() };
    let moved = move_state(&libraries.launch_context(), &options, &wanted, is_dry)?;
    let home = libraries.view();
    let (page, data) = state_move(&home, &moved, is_dry);
    let (trace, is_pending) = match &moved.result {
        MoveResult::Made(report) => (move_trace(&home, report), false),
        MoveResult::Planned(plan) => (None, args.check && !plan.is_empty()),
    };
    let answer = CommandOutput {
        trace,
        is_data: args.dry_run,
        ..CommandOutput::done(page, data).with(moved.diagnostics)
    };
    Ok(answer.pending_if(is_pending))
}
