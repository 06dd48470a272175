//! `paths`: every path, and the rule that chose it.

use myownllm_config_model::similar::closest;
use myownllm_launch::{Class, Diagnostic};
use myownllm_paths::{Mode, RealLookup};
use myownllm_report::{long, named_path, paths};

use crate::cli::ModeArg;
use crate::context::Context;
use crate::output::CommandOutput;

/// Prints every path, or the path that the user asks for.
pub(crate) fn run(
    context: &Context,
    name: Option<&str>,
    mode: Option<ModeArg>,
) -> Result<CommandOutput, Diagnostic> {
    let mode = mode.map(|mode| if mode == ModeArg::Shared { Mode::Shared } else { Mode::OwnLlm });
    let Some(name) = name else {
        let (page, data, mut diagnostics) = paths(&context.libraries().view(), mode);
        let overlap = context.checked.as_ref().err();
        diagnostics.extend(
            overlap.map(|error| Diagnostic::from_error(error, error.code(), error.hint()).as_warning()),
        );
        return Ok(CommandOutput { diagnostics, ..CommandOutput::data(page, data) });
    };
    let (found, rule) = match name {
        "socket" => {
            let mode = mode.unwrap_or(Mode::OwnLlm);
            let said = context.layout.control_socket(mode, &RealLookup)?;
            let (socket, rule) = context.layout.socket_for_mode(mode, &said);
            (socket.to_string(), rule)
        }
        name => match context.layout.entries().into_iter().find(|entry| entry.name == name) {
            Some(entry) => (long(entry.path), entry.rule),
            None => return Err(unknown(context, name)),
        },
    };
    let (page, data) = named_path(name, found, rule);
    Ok(CommandOutput::data(page, data))
}

fn unknown(context: &Context, name: &str) -> Diagnostic {
    let entries = context.layout.entries();
    let close = closest(name, entries.iter().map(|entry| entry.name).chain(["socket"]));
    let meant = close.map_or_else(String::new, |close| format!("; did you mean {close}?"));
    let message = format!("cannot find the path {name}: no path has that name{meant}");
    let hint = format!("{} paths {}", context.layout.program, close.unwrap_or_default());
    Diagnostic::error("usage", message).hint(hint.trim_end()).class(Class::Usage)
}
