//! The command line, as data.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::engine::ArgValueCandidates;
use myownllm_launch::LONGEST_DAEMON_WAIT;
use myownllm_migration::{Direction, Keep};

use crate::completion;

/// Give MyOwnLLM's mesh daemon its own home, and repair the config that the shared directory
/// damaged.
///
/// Without a command, print the state of your home in one or two lines, and the commands to run
/// next.
#[derive(Debug, Parser)]
#[command(name = "myownllm-mesh", version = env!("MYOWNLLM_VERSION"), propagate_version = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Work on this user's home directory instead of your own.
    ///
    /// Ignores HOME and MYOWNMESH_HOME.
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) home: Option<PathBuf>,
    /// Print one JSON document on stdout; everything else goes to stderr.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// With --json: print the progress of a move to stderr, as JSON lines.
    #[arg(long, global = true, requires = "json")]
    pub(crate) progress: bool,
    /// Print more: remarks, the code of each warning, and each change; -vv prints every step.
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(crate) verbose: u8,
    /// Print only errors and the requested data.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Use colour: auto (on a terminal, unless NO_COLOR is set), always, or never.
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub(crate) color: ColorChoice,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start up the app: move the daemon's files, load and repair the config, attach to or start
    /// the daemon, and give it the active network.
    ///
    /// Stays in the foreground until the daemon that it started ends, or until Ctrl-C or SIGTERM
    /// stops both. With --json it prints its one document as soon as the daemon is up and has the
    /// active network: `ok` and `data` describe that moment. The exit code describes the end of the
    /// run; stderr has the messages of the time between.
    Launch(LaunchArgs),
    /// Repair everything: move the daemon's files to the daemon home, and restore overwritten
    /// settings.
    ///
    /// Starts no daemon. Keeps each file that it replaces, and prints the path of the copy. Changes
    /// nothing if nothing needs a repair.
    #[command(visible_alias = "fix")]
    Repair {
        /// Stop each daemon that serves the old location or has no reachable socket, then continue.
        #[arg(long)]
        stop_legacy_daemon: bool,
    },
    /// Show the paths, the state of the home, and the steps of the next launch. Changes nothing.
    Status {
        /// Exit 3 if a launch would move or repair something, or if files that differ wait for you.
        #[arg(long)]
        check: bool,
    },
    /// Check everything, and print the evidence and the command that repairs each problem. Changes
    /// nothing.
    ///
    /// Lists the problems first, then the warnings, and last the one command that repairs as much
    /// as possible. With -v it lists the checks that passed too; with -q it prints nothing, and the
    /// exit code says whether there are problems.
    Doctor,
    /// Move the identity file, rosters and states to the daemon home, and nothing else.
    Migrate(MigrateArgs),
    /// Repair a config.json that the daemon overwrote, and nothing else.
    Salvage(SalvageArgs),
    /// Show, change, check and restore the app's config.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List, add, switch, import and export saved networks.
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Print every resolved path and the rule that chose it, or one path alone.
    Paths {
        /// Print this path alone: a name that `paths` lists, such as `daemon_home`, or `socket`.
        #[arg(value_name = "NAME", add = ArgValueCandidates::new(completion::path_names))]
        name: Option<String>,
        /// Show the control socket of this mode alone.
        #[arg(long, value_name = "MODE")]
        mode: Option<ModeArg>,
    },
    /// Print the Device ID, the label, and the path of the identity file. Never prints the secret
    /// key.
    Identity,
    /// Show, stop or restart the daemon of this home, or print its log.
    #[command(subcommand)]
    Daemon(DaemonCommand),
    /// Print the run log: each change that this program made here, with its time.
    Logs {
        /// Show the log of the daemon instead.
        #[arg(long)]
        daemon: bool,
        /// Show the last N lines.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = count::<1_000_000>)]
        lines: usize,
    },
    /// Collect the facts for a support request, without secrets: program, system, checks, backups,
    /// logs, files.
    ///
    /// The user's home is shown as `~`. Changes nothing but the file that --output names.
    Report {
        /// Write the report to this new file, readable only by you, instead of stdout.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Write one page for a browser, with a picture of what a launch would change.
        #[arg(long)]
        html: bool,
    },
    /// Write a completion script for a shell to stdout
    ///
    /// bash: myownllm-mesh completions bash > ~/.local/share/bash-completion/completions/myownllm-mesh
    /// zsh: myownllm-mesh completions zsh > DIR/_myownllm-mesh, in a directory DIR of $fpath
    /// fish: myownllm-mesh completions fish > ~/.config/fish/completions/myownllm-mesh.fish
    /// Make the directory first if it does not exist.
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write the manual page, or that of one command, to stdout.
    Man {
        /// The command, such as `config restore`; the whole program if none is named.
        command: Vec<String>,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct LaunchArgs {
    /// End once the config is loaded; look for no daemon and start none.
    #[arg(long, conflicts_with_all = ["once", "detach"])]
    pub(crate) no_daemon: bool,
    /// Do everything, print the outcome, and stop a daemon that this run started.
    #[arg(long, conflicts_with = "detach")]
    pub(crate) once: bool,
    /// Leave the daemon running and end.
    #[arg(long)]
    pub(crate) detach: bool,
    /// Stop each daemon that serves the old location or has no reachable socket, then continue.
    #[arg(long)]
    pub(crate) stop_legacy_daemon: bool,
    #[command(flatten)]
    pub(crate) wait: DaemonWaitArgs,
}

/// Parses a whole number from 1 to `MOST`.
fn count<const MOST: usize>(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=MOST).contains(number));
    number.ok_or_else(|| format!("not a whole number from 1 to {MOST}"))
}

#[derive(Args, Clone, Copy, Debug, Default)]
pub(crate) struct DaemonWaitArgs {
    /// Wait this many seconds for the daemon to start; 8 by default.
    #[arg(long, value_name = "SECONDS", value_parser = count::<{ LONGEST_DAEMON_WAIT.as_secs() as usize }>)]
    pub(crate) daemon_wait: Option<usize>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DaemonCommand {
    /// Ask the daemon for its state; exit 5 if none answers. Changes nothing.
    Status,
    /// Stop the daemon of this home, even if another program started it; exit 0 if no daemon runs.
    ///
    /// Stops only a process that is seen to serve this home, and never the shared daemon.
    Stop,
    /// Stop the daemon, and start it as `launch --detach` does.
    Restart(DaemonWaitArgs),
    /// Print the end of the daemon's log.
    Logs {
        /// Show the last N lines.
        #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = count::<1_000_000>)]
        lines: usize,
    },
}

#[derive(Args, Clone, Debug)]
pub(crate) struct MigrateArgs {
    /// Say what would move, and move nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Move nothing; exit 3 if something is to be moved.
    #[arg(long)]
    pub(crate) check: bool,
    /// Move everything back to the old location, for an older version of the app.
    #[arg(long)]
    pub(crate) undo: bool,
    /// Resolve files that differ: keep the files of this place, and set the other files aside.
    #[arg(long, value_name = "PLACE")]
    pub(crate) keep: Option<KeepSide>,
    /// Resolve two different identity files: keep the file of this place, and set the other file
    /// aside.
    #[arg(long, value_name = "PLACE")]
    pub(crate) keep_identity: Option<KeepSide>,
    /// Stop each daemon that serves the old location or has no reachable socket, then continue.
    #[arg(long)]
    pub(crate) stop_legacy_daemon: bool,
}

/// The place whose files win, whatever the direction of the move.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum KeepSide {
    /// The old location, in the app's home.
    OldLocation,
    /// The daemon home.
    DaemonHome,
    /// The old word for the old location.
    #[value(hide = true)]
    Source,
    /// The old word for the daemon home.
    #[value(hide = true)]
    Destination,
}

impl KeepSide {
    /// Returns the side of a move that has this place.
    pub(crate) fn keep(self, direction: Direction) -> Keep {
        let is_old_location = matches!(self, Self::OldLocation | Self::Source);
        if is_old_location == (direction == Direction::Forward) { Keep::Source } else { Keep::Destination }
    }

    /// Returns true for a value from the time when `--keep` decided files and identity files
    /// together.
    pub(crate) fn is_old_word(self) -> bool {
        matches!(self, Self::Source | Self::Destination)
    }
}

#[derive(Args, Clone, Debug)]
pub(crate) struct SalvageArgs {
    /// Print what would change, and change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Change nothing; exit 3 if the config needs a repair.
    #[arg(long)]
    pub(crate) check: bool,
    /// Read a config from stdin and write the repaired config to stdout, without defaults; touch no
    /// file.
    #[arg(long, conflicts_with_all = ["dry_run", "check"])]
    pub(crate) stdin: bool,
    /// Stop each daemon that serves the old location or has no reachable socket, then continue.
    #[arg(long)]
    pub(crate) stop_legacy_daemon: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print the config, as a launch would load it, with secrets masked.
    Show {
        /// Print secrets too.
        #[arg(long)]
        with_secrets: bool,
    },
    /// Read a config from stdin and write what a load would save to stdout; touch no file.
    Normalize,
    /// Check the config file: shape, types, and what a load would change.
    Check,
    /// Print the JSON Schema of a config.
    Schema {
        /// The config that the schema describes.
        which: SchemaOf,
    },
    /// Print one setting; a secret is masked.
    Get {
        /// The setting's name, such as `auto_cleanup.models`, or a JSON Pointer.
        #[arg(add = ArgValueCandidates::new(completion::setting_names))]
        key: String,
        /// Print a secret too.
        #[arg(long)]
        with_secrets: bool,
    },
    /// Change settings, all of them or none.
    ///
    /// A value is JSON of the setting's kind: `true`, `7`, `["a"]`. A string needs no quotes.
    Set {
        /// The setting's name and its value, such as `auto_cleanup.models=false`.
        #[arg(required = true, value_name = "KEY=VALUE",
            add = ArgValueCandidates::new(completion::setting_assignments))]
        settings: Vec<String>,
    },
    /// List the backups of the config: when each was made, and why.
    History,
    /// Show the changes that a restore of a backup would make, with secrets masked.
    Diff {
        /// The backup's id, as `config history` lists it.
        #[arg(add = ArgValueCandidates::new(completion::backups))]
        id: String,
    },
    /// Restore a backup; the present config becomes a backup first.
    Restore {
        /// The backup's id, as `config history` lists it.
        #[arg(add = ArgValueCandidates::new(completion::backups))]
        id: String,
        /// Restore the backup even if it is no valid config of the app; the next launch repairs it.
        #[arg(long)]
        as_is: bool,
    },
    /// Accept the present config after a reported loss of settings or networks.
    Accept,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum SchemaOf {
    /// The app's config.
    App,
    /// The daemon's config.
    Daemon,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NetworkCommand {
    /// List the saved networks.
    List,
    /// Print one saved network, secrets masked.
    Show {
        /// Network id or internal id.
        #[arg(add = ArgValueCandidates::new(completion::networks))]
        name: String,
        /// Print secrets too.
        #[arg(long)]
        with_secrets: bool,
    },
    /// Save a network.
    Add {
        /// The network id: 3 to 64 of a-z, 0-9, - and _.
        name: String,
        /// Make it the active network.
        #[arg(long)]
        activate: bool,
    },
    /// Forget a saved network.
    Remove {
        /// Network id or internal id.
        #[arg(add = ArgValueCandidates::new(completion::networks))]
        name: String,
    },
    /// Make a saved network the active one.
    Use {
        /// Network id or internal id.
        #[arg(required_unless_present = "none", conflicts_with = "none",
            add = ArgValueCandidates::new(completion::networks))]
        name: Option<String>,
        /// Make no network active.
        #[arg(long)]
        none: bool,
    },
    /// Write a network's settings as an envelope for another device to stdout.
    Export {
        /// Network id or internal id.
        #[arg(add = ArgValueCandidates::new(completion::networks))]
        name: String,
        /// Include the TURN credentials.
        #[arg(long)]
        with_secrets: bool,
    },
    /// Save the network of a settings envelope, or bring a saved one up to date with it.
    Import {
        /// The envelope's file; `-` reads stdin.
        file: PathBuf,
        /// Make it the active network.
        #[arg(long)]
        activate: bool,
    },
    /// Filter: an app-shape network on stdin, the daemon's shape on stdout.
    ToDaemon,
    /// Filter: an app-shape network on stdin, its settings envelope on stdout.
    ToEnvelope {
        /// Include the TURN credentials.
        #[arg(long)]
        with_secrets: bool,
    },
    /// Filter: the text of an envelope on stdin, the normalised envelope on stdout.
    FromEnvelope,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ModeArg {
    /// The app's own daemon.
    OwnLlm,
    /// The daemon of the stand-alone program.
    Shared,
}

impl Command {
    /// Returns true if the command writes in the home.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::Launch(_) | Self::Repair { .. } => true,
            Self::Daemon(command) => matches!(command, DaemonCommand::Stop | DaemonCommand::Restart(_)),
            Self::Migrate(args) => !args.dry_run && !args.check,
            Self::Salvage(args) => !args.dry_run && !args.check && !args.stdin,
            Self::Config(command) => matches!(
                command,
                ConfigCommand::Restore { .. } | ConfigCommand::Set { .. } | ConfigCommand::Accept
            ),
            Self::Network(command) => matches!(
                command,
                NetworkCommand::Add { .. }
                    | NetworkCommand::Remove { .. }
                    | NetworkCommand::Use { .. }
                    | NetworkCommand::Import { .. }
            ),
            Self::Status { .. }
            | Self::Doctor
            | Self::Paths { .. }
            | Self::Identity
            | Self::Logs { .. }
            | Self::Report { .. }
            | Self::Completions { .. }
            | Self::Man { .. } => false,
        }
    }

    /// Returns true if the command predicts the result of a command that writes.
    pub(crate) fn predicts(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Doctor | Self::Migrate(_) | Self::Salvage(_))
    }
}
