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
mod repair;
mod salvage;
mod status;
mod verdict;

use clap_complete::generate;
use myownllm_durable_fs::{Disk as _, quote};
use myownllm_launch::Notice;
use serde_json::json;

use crate::cli::{Cli, Command, ConfigCommand, NetworkCommand};
use crate::output::{Answer, Printer};
use crate::privileges::{self, BecomeUser};
use crate::world::World;

/// Does what the command line says.
pub(crate) fn run(cli: &Cli, printer: &Printer, become_user: BecomeUser<'_>) -> Result<Answer, Notice> {
    let Some(command) = &cli.command else {
        return Ok(verdict::run(&world(cli, become_user)?.with_program_search()));
    };
    match command {
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
    let world = world(cli, become_user)?.telling(printer.progress());
    let missing = cli.global.home.as_ref().and_then(|_| missing_home(command, &world));
    let answer = match command {
        Command::Launch(args) => launch::run(&world.with_program_search(), args, printer),
        Command::Repair(args) => Ok(repair::run(&world, args, printer)),
        Command::Status(args) => Ok(status::run(&world, *args)),
        Command::Doctor => Ok(doctor::run(&world.with_program_search(), printer.is_verbose())),
        Command::Migrate(args) => migrate::run(&world, args),
        Command::Salvage(args) => salvage::run(&world, args),
        Command::Config(ConfigCommand::Normalize) => filters::normalize(&world.conversation_dir()),
        Command::Config(command) => config::run(&world, command),
        Command::Network(command) => network::run(&world, command),
        Command::Paths(args) => Ok(paths::run(&world, *args)),
        Command::Identity => Ok(identity::run(&world)),
        Command::Completions { .. } | Command::Man { .. } => Ok(Answer::done("", json!({}))),
    };
    answer.map(|mut answer| {
        answer.notices.extend(missing);
        answer
    })
}

/// Looks at the home; for a command that writes there, as the owner of the home.
fn world(cli: &Cli, become_user: BecomeUser<'_>) -> Result<World, Notice> {
    let home = cli.global.home.as_deref();
    let world = World::new(home)?;
    let writes = cli.command.as_ref().is_some_and(privileges::writes);
    let Some(owner) = privileges::user_to_become(&world).filter(|_| writes) else {
        return Ok(world);
    };
    match become_user(owner.uid, owner.gid) {
        // What root saw is not what the owner sees.
        Ok(()) => World::new(home),
        Err(error) => {
            let refusal = privileges::refusal(&world, owner, &error);
            match cli.command {
                // The app comes up all the same.
                Some(Command::Launch(_) | Command::Repair(_)) => Ok(world.refusing(refusal)),
                _ => Err(refusal),
            }
        }
    }
}

/// That the home which was named is not there: of nothing, nothing is wrong, and a name that was mistyped would pass for a sound home.
fn missing_home(command: &Command, world: &World) -> Option<Notice> {
    let is_asked = !matches!(
        command,
        Command::Launch(_) | Command::Paths(_) | Command::Config(ConfigCommand::Normalize)
    );
    let home = &world.layout.user_home;
    let is_missing = is_asked && world.disk.stat_follow(home).is_err_and(|error| error.is_not_found());
    is_missing.then(|| {
        let above = home.ancestors().skip(1).find(|above| world.disk.stat_follow(above).is_ok());
        Notice::warning("paths.home-missing", format!("there is no home {}", home.display()))
            .at(home)
            .hint(format!("ls -la {}", quote(above.unwrap_or(home))))
    })
}

fn completions(shell: clap_complete::Shell) -> Answer {
    let mut script = Vec::new();
    generate(shell, &mut crate::command_line(), "myownllm-mesh", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let data = json!({ "shell": shell.to_string(), "script": script });
    Answer::done(script, data)
}
