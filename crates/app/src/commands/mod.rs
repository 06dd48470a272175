//! One module for each command: it calls the libraries, and words the answer.

mod config;
mod daemon;
mod man;
mod migrate;
mod network;
mod paths;
mod repair;
mod report;
mod salvage;

use std::sync::Arc;
use std::time::Duration;

use myownllm_durable_fs::RealDisk;
use myownllm_launch::{Diagnostic, foreign_home, merge_access_errors, missing_home_hint, named_home};
use myownllm_paths::PathsError;
use myownllm_report::Tilde;
use myownllm_report::documents::Script;
use serde_json::json;

use crate::cli::{Cli, Command, ConfigCommand, DaemonCommand, LaunchArgs, NetworkCommand};
use crate::context::Context;
use crate::output::{CommandOutput, Printer};
use crate::users::BecomeUser;
use crate::{completion, filters, foreground, look};

/// The stable code of a user's home that does not exist.
pub(crate) const NO_HOME: &str = "store.no-home";

/// Runs the command of the command line.
pub(crate) fn run(
    cli: &Cli,
    printer: &Printer,
    become_user: BecomeUser<'_>,
) -> Result<CommandOutput, Diagnostic> {
    let Some(command) = &cli.command else {
        let context = context(cli, printer, become_user)?;
        let mut answer = look::verdict(&context, &look::examine(&context));
        answer.diagnostics.extend(wrong_home(cli, &context));
        return Ok(answer);
    };
    match command {
        // These commands need no home.
        Command::Completions { shell } => return Ok(completions(*shell)),
        Command::Man { command } => return man::run(command, printer),
        Command::Salvage(args) if args.stdin => return filters::salvage(),
        Command::Config(ConfigCommand::Schema { which }) => return Ok(config::schema(*which)),
        Command::Network(NetworkCommand::ToDaemon) => return filters::to_daemon(),
        Command::Network(NetworkCommand::ToEnvelope { with_secrets }) => {
            return filters::to_envelope(*with_secrets);
        }
        Command::Network(NetworkCommand::FromEnvelope) => return filters::from_envelope(),
        _ => {}
    }
    // A launch handles the signal itself, and ends its daemon as well.
    let ends_on_interrupt = !matches!(command, Command::Launch(args) if !args.no_daemon);
    let mut context = context(cli, printer, become_user)?;
    context.tell = printer.progress(ends_on_interrupt);
    context.wait = printer.waits(ends_on_interrupt.then(|| Arc::clone(&context.cancelled)));
    context.daemon_wait = match command {
        Command::Launch(LaunchArgs { wait, .. }) | Command::Daemon(DaemonCommand::Restart(wait)) => {
            wait.daemon_wait.map(|seconds| Duration::from_secs(seconds as u64))
        }
        _ => None,
    };
    let layout = &context.layout;
    let wrong_home = wrong_home(cli, &context);
    let answer = match command {
        Command::Launch(args) => foreground::run(&context, args, printer),
        Command::Repair { stop_legacy_daemon } => Ok(repair::run(&context, *stop_legacy_daemon, printer)),
        Command::Status { check } => Ok(look::status(&context, *check)),
        Command::Doctor => Ok(look::doctor(&look::examine(&context).1, printer.is_verbose)),
        Command::Migrate(args) => migrate::run(&context, args),
        Command::Salvage(args) => salvage::run(&context, args),
        Command::Config(command) => config::run(&context, command),
        Command::Network(command) => network::run(&context, command),
        Command::Paths { name, mode } => paths::run(&context, name.as_deref(), *mode),
        Command::Identity => Ok(look::identity(&context)),
        Command::Daemon(command) => daemon::run(&context, command, printer),
        Command::Logs { daemon: true, lines } => Ok(look::daemon_log(&context, *lines)),
        Command::Logs { lines, .. } => Ok(look::run_log(&context, *lines)),
        Command::Report { output, html } => report::run(&context, output.as_deref(), *html, printer.started),
        Command::Completions { .. } | Command::Man { .. } => Ok(CommandOutput::done("", json!({}))),
    };
    let mut answer = answer.map_err(|failed| {
        let mut diagnostics = vec![failed];
        merge_access_errors(&RealDisk, layout, &mut diagnostics);
        diagnostics.remove(0)
    })?;
    merge_access_errors(&RealDisk, layout, &mut answer.diagnostics);
    if let Some(wrong_home) = wrong_home {
        // A status foresees the failure of a launch, for the same cause.
        answer.diagnostics.retain(|diagnostic| diagnostic.is_error() || diagnostic.code != NO_HOME);
        answer.diagnostics.push(wrong_home);
    }
    if cli.global.home.is_some() {
        let missing = answer.diagnostics.iter_mut().filter(|diagnostic| diagnostic.code == NO_HOME);
        missing.for_each(|diagnostic| diagnostic.hint = Some(missing_home_hint(&RealDisk, layout)));
    }
    Ok(answer)
}

/// Looks at the home: as the owner of the home for a command that writes there, or that predicts
/// what such a command finds.
fn context(cli: &Cli, printer: &Printer, become_user: BecomeUser<'_>) -> Result<Context, Diagnostic> {
    let home = cli.global.home.as_deref();
    let context = Context::new(home)?;
    // Below `sudo`, the home is root's, and the shell another user's.
    let is_home_of_shell = home.is_none() && context.caller.is_none();
    printer.shorten_paths(Tilde::new(context.layout.user_home.as_ref(), is_home_of_shell));
    let writes = cli.command.as_ref().is_some_and(Command::writes);
    // A command that only looks reports the error itself, and a filter needs no home.
    let says_so = matches!(
        cli.command,
        None | Some(
            Command::Status { .. }
                | Command::Doctor
                | Command::Report { .. }
                | Command::Paths { .. }
                | Command::Config(ConfigCommand::Normalize)
        )
    );
    // One level too deep, a look would find nothing, and report nothing wrong.
    let refusal = match &context.checked {
        Err(error @ PathsError::AppHome { .. }) if !says_so => Some(Diagnostic::from(error)),
        _ => context.sudo_home().filter(|_| writes),
    };
    let refuse = |mut context: Context, refusal: Diagnostic| match cli.command {
        // The app comes up all the same.
        Some(Command::Launch(_) | Command::Repair { .. }) => {
            context.refusal = Some(refusal);
            Ok(context)
        }
        _ => Err(refusal),
    };
    if let Some(refusal) = refusal {
        return refuse(context, refusal);
    }
    let predicts = cli.command.as_ref().is_none_or(Command::predicts);
    let Some(owner) = context.user_to_become().filter(|_| writes || predicts) else {
        return Ok(context);
    };
    match become_user(owner.uid, owner.gid) {
        // The owner does not see everything that root saw.
        Ok(()) => {
            let mut seen = Context::new(home)?;
            seen.is_for_root = context.is_for_root;
            Ok(seen)
        }
        // A prediction reports the error itself.
        Err(_) if !writes => Ok(context),
        Err(error) => {
            let refusal = foreign_home(&context.layout, owner, &error);
            refuse(context, refusal)
        }
    }
}

/// Reports that the home does not exist, or is not the home that the user meant.
fn wrong_home(cli: &Cli, context: &Context) -> Option<Diagnostic> {
    if matches!(cli.command, Some(Command::Launch(_) | Command::Config(ConfigCommand::Normalize))) {
        return None;
    }
    if cli.global.home.is_some() {
        return named_home(&RealDisk, &context.layout, context.checked.as_ref().err());
    }
    let writes = cli.command.as_ref().is_some_and(Command::writes);
    context.sudo_home().filter(|_| !writes).map(Diagnostic::as_warning)
}

fn completions(shell: clap_complete::Shell) -> CommandOutput {
    let script = completion::script(shell);
    let data = json!(Script { shell: shell.to_string(), script: &script });
    CommandOutput::data(script, data)
}
