//! One module a command: it asks the libraries, and words the answer.

mod config;
mod doctor;
mod filters;
mod identity;
mod launch;
mod man;
mod migrate;
mod network;
mod paths;
mod picture;
mod salvage;
mod status;

use clap_complete::generate;
use serde_json::json;

use crate::cli::{Cli, Command, ConfigCommand, NetworkCommand};
use crate::notice::Notice;
use crate::output::{Answer, Printer};
use crate::world::World;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, printer: &Printer) -> Result<Answer, Notice> {
    match &cli.command {
        // These need no home at all.
        Command::Completions { shell } => return Ok(completions(*shell)),
        Command::Man { command } => return man::run(command),
        Command::Salvage(args) if args.stdin => return filters::salvage(),
        Command::Config(ConfigCommand::Schema { which }) => return Ok(config::schema(*which)),
        Command::Network(NetworkCommand::ToDaemon) => return filters::to_daemon(),
        Command::Network(NetworkCommand::ToEnvelope { with_secrets }) => {
            return filters::to_envelope(*with_secrets);
        }
        Command::Network(NetworkCommand::FromEnvelope) => return filters::from_envelope(),
        _ => {}
    }
    let world = World::new(cli.global.home.as_deref())?.telling(printer.progress());
    match &cli.command {
        Command::Launch(args) => launch::run(&world.with_program_search(), args, printer),
        Command::Status(args) => Ok(status::run(&world, *args)),
        Command::Doctor => Ok(doctor::run(&world.with_program_search())),
        Command::Migrate(args) => migrate::run(&world, args),
        Command::Salvage(args) => salvage::run(&world, args),
        Command::Config(ConfigCommand::Normalize) => filters::normalize(&world.conversation_dir()),
        Command::Config(command) => config::run(&world, command),
        Command::Network(command) => network::run(&world, command),
        Command::Paths(args) => Ok(paths::run(&world, *args)),
        Command::Identity => Ok(identity::run(&world)),
        Command::Completions { .. } | Command::Man { .. } => Ok(Answer::done("", json!({}))),
    }
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    generate(shell, &mut crate::command_line(), "myownllm-mesh", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let data = json!({ "shell": shell.to_string(), "script": script });
    Answer::done(script, data)
}
