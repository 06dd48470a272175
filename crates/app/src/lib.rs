#![doc = include_str!("../README.md")]

mod cli;
mod commands;
mod completion;
pub mod context;
pub mod exit;
mod filters;
mod foreground;
mod help;
mod look;
mod output;
mod pager;
mod signals;
mod subscriber;
mod users;

use std::ffi::OsString;
use std::io::IsTerminal as _;

use clap::error::ErrorKind;
use clap::{ArgMatches, ColorChoice, Command, CommandFactory as _, FromArgMatches as _};
use myownllm_durable_fs::{Disk as _, RealDisk, Runner, quote};
use myownllm_launch::{Class, Diagnostic, PROGRAM};
use myownllm_report::documents::ProgramText;

use crate::cli::{Cli, GlobalArgs};
pub use crate::exit::ExitCode;
pub use crate::help::command_line;
use crate::output::{CommandOutput, Printer, Started};
pub use crate::users::BecomeUser;

/// Runs the program: reads the command line, executes it, prints the answer, and returns the exit
/// code. As root in the home of another user, calls `become_user` before anything is written.
pub fn main_with(args: impl IntoIterator<Item = OsString>, become_user: BecomeUser<'_>) -> ExitCode {
    let started = Started::now();
    let args: Vec<OsString> = args.into_iter().collect();
    match completion::answer(&args) {
        Ok(false) => {}
        Ok(true) => return ExitCode::Done,
        Err(error) => return usage(&error, &args, started),
    }
    let parse = |program: Command| {
        // To free its parts takes as long as to make them, and the process ends soon.
        let mut program = std::mem::ManuallyDrop::new(program.color(color_of(&args)));
        let matches = program.try_get_matches_from_mut(&args)?;
        Ok((Cli::from_arg_matches(&matches)?, command_name(&matches)))
    };
    // The texts of the help cost as much as the rest of a start with nothing to do.
    let (cli, name) = match parse(Cli::command()).or_else(|_| parse(command_line())) {
        Ok(parsed) => parsed,
        Err(error) => return usage(&error, &args, started),
    };
    let printer = Printer::new(&cli.global, started);
    // A command that writes may become another user than the user who reads its hints.
    let is_root = RealDisk.runner().is_some_and(Runner::is_root);
    if let Some(problem) = subscriber::subscribe(cli.global.verbose) {
        printer.print_diagnostic(&Diagnostic::warning("usage", problem));
    }
    let mut answer = commands::run(&cli, &printer, become_user).unwrap_or_else(CommandOutput::failed);
    let program = match &cli.global.home {
        Some(home) => {
            let home = std::path::absolute(home).unwrap_or_else(|_| home.clone());
            format!("{PROGRAM} --home {}", quote(&home))
        }
        None => PROGRAM.to_owned(),
    };
    answer.shown_on_page.iter_mut().chain(&mut answer.diagnostics).for_each(|diagnostic| {
        diagnostic.complete_hint(&program);
        if is_root {
            diagnostic.complete_hint_for_root();
        }
        diagnostic.repeat_command(&args);
    });
    if !answer.is_printed() {
        printer.print(&name, &answer);
    }
    answer.log(started);
    printer.outcome(answer.exit)
}

/// Returns the colours of help and of usage errors: the parser prints them itself, before this
/// program could look at `--color`.
fn color_of(args: &[OsString]) -> ColorChoice {
    let said = args.windows(2).find_map(|pair| match pair[1].to_str()?.strip_prefix("--color=") {
        None if pair[0] == "--color" => pair[1].to_str(),
        said => said,
    });
    let said = said.and_then(|said| said.parse().ok()).unwrap_or_default();
    let is_piped = || std::env::var_os("CLICOLOR_FORCE").is_some() && !std::io::stdout().is_terminal();
    match output::color_choice(said) {
        // The parser takes `CLICOLOR_FORCE=0` for a request for colour.
        ColorChoice::Auto if is_piped() => ColorChoice::Never,
        choice => choice,
    }
}

/// Prints the parser's message: help and version are answers, everything else is wrong usage.
fn usage(error: &clap::Error, args: &[OsString], started: Started) -> ExitCode {
    let is_json = args.iter().any(|arg| arg == "--json");
    if is_json && !error.use_stderr() {
        let name = if error.kind() == ErrorKind::DisplayVersion { "version" } else { "help" };
        let printer = Printer::new(&GlobalArgs { json: true, ..GlobalArgs::default() }, started);
        let text = error.to_string();
        let data = serde_json::json!(ProgramText { text: text.trim_end() });
        printer.print(name, &CommandOutput::data("", data));
        return ExitCode::Done;
    }
    if !error.use_stderr() {
        return match error.print() {
            Err(failed) if failed.kind() != std::io::ErrorKind::BrokenPipe => {
                Printer::new(&GlobalArgs::default(), started)
                    .print_diagnostic(&output::write_failed(&failed));
                ExitCode::Failed
            }
            _ => ExitCode::Done,
        };
    }
    let is_help = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if is_help && !is_json {
        // The parser prints the help itself.
        let _ = error.print();
    }
    let message = match is_help || error.kind() == ErrorKind::MissingSubcommand {
        true => "a command is missing".to_owned(),
        false => usage_message(&error.to_string()),
    };
    let diagnostic = Diagnostic::error("usage", message).hint(usage_hint(args)).class(Class::Usage);
    let global = GlobalArgs { json: is_json, color: color_of(args), ..GlobalArgs::default() };
    let printer = Printer::new(&global, started);
    printer.print("usage", &CommandOutput::failed(diagnostic).exit(ExitCode::Usage));
    ExitCode::Usage
}

/// Returns everything that the parser says before the usage, in one line: the lines after the first
/// may name the argument.
fn usage_message(text: &str) -> String {
    let lines = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage: ") && !line.starts_with("For more information"));
    let lines: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").replace(" tip: ", "; ")
}

/// Returns the help of the command that was called, else the help of the program.
fn usage_hint(args: &[OsString]) -> String {
    let mut program = command_line();
    program.build();
    let (mut command, mut name) = (&program, PROGRAM.to_owned());
    let mut words = args.iter().skip(1);
    while let Some(word) = words.next() {
        if word == "--home" || word == "--color" {
            words.next();
        } else if let Some(sub) = command.find_subcommand(word) {
            command = sub;
            name = format!("{name} {}", sub.get_name());
        } else if let Some(meant) = meant_by(&word.to_string_lossy()).filter(|_| name == PROGRAM) {
            return format!("{PROGRAM} {meant}");
        } else if !word.to_string_lossy().starts_with('-') {
            // The word is not a command: the following words belong to it.
            break;
        }
    }
    format!("{name} --help")
}

/// Returns the command that people mean by a word that is no command.
fn meant_by(word: &str) -> Option<&'static str> {
    match word.to_lowercase().as_str() {
        "help-me" | "mend" | "recover" | "rescue" | "restore" => Some("repair"),
        "undo" | "revert" | "rollback" | "downgrade" => Some("migrate --undo --dry-run"),
        "check" | "diagnose" => Some("doctor"),
        _ => None,
    }
}

/// Returns the command as the envelope's `schema` names it, such as `config-show`; without a
/// command, the verdict.
fn command_name(matches: &ArgMatches) -> String {
    let below = std::iter::successors(matches.subcommand(), |(_, below)| below.subcommand());
    let words: Vec<&str> = below.map(|(name, _)| name).collect();
    if words.is_empty() { "verdict".to_owned() } else { words.join("-") }
}
