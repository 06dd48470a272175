//! The parts of the help and the manual pages that the options do not provide: examples, files,
//! environment, exit codes.

use clap::builder::Styles;
use clap::{Command, CommandFactory as _};

use crate::cli::Cli;
use crate::exit::exit_code_table;

/// A command line or a name, and its effect or meaning.
type Row = (&'static str, &'static str);

/// The files that the program reads or writes; `~` is the user's home.
const FILES: [Row; 8] = [
    ("~/.myownllm/config.json", "the app's settings"),
    ("~/.myownllm/config-backups/", "backups of the settings; routine ones are bounded, 20 of them"),
    ("~/.myownllm/.myownmesh/", "the daemon home: its config, identity file, rosters and states"),
    (
        "~/.myownllm/.myownmesh/.secrets/identity.json",
        "the identity file of this device; it holds the secret key",
    ),
    ("~/.myownllm/.myownmesh/daemon.log", "the log of a daemon that this program started"),
    ("~/.myownllm/myownllm-mesh.log", "the run log: what this program changed, and when"),
    ("~/.myownllm/.secrets/, ~/.myownllm/mesh/", "the old location of the identity file, rosters and states"),
    ("~/.myownmesh/", "the home of the shared daemon of MyOwnMesh, which this program never changes"),
];

/// The environment variables that the program reads.
const ENVIRONMENT: [Row; 10] = [
    ("HOME", "the user's home; on Windows USERPROFILE"),
    ("MYOWNMESH_HOME", "the home of the shared daemon; it never moves the app's own"),
    ("MYOWNLLM_MESH_BIN", "the daemon's program, before any other place"),
    ("MYOWNMESH_BIN", "the same, after MYOWNLLM_MESH_BIN"),
    ("PATH", "the last place in which the daemon's program is looked for"),
    ("MYOWNLLM_LOG", "a filter for tracing on stderr, such as debug or myownllm_migration=trace"),
    ("NO_COLOR", "no colour, unless --color always"),
    ("CLICOLOR_FORCE", "colour also in a pipe, unless NO_COLOR is set or --color never"),
    ("COLUMNS", "the width of the lines where no terminal tells it"),
    ("TERM", "dumb: plain ASCII and no colour"),
];

/// Examples by command. The empty name is the program itself.
const EXAMPLES: [(&str, &[Row]); 36] = [
    (
        "",
        &[
            ("myownllm-mesh", "how this home is, and what to do next"),
            ("myownllm-mesh repair", "put everything right"),
            ("myownllm-mesh --home /mnt/disk/home/ann doctor", "look at the home on another disk"),
            ("myownllm-mesh report --output report.txt", "a file for somebody who helps, without secrets"),
        ],
    ),
    (
        "launch",
        &[
            ("myownllm-mesh launch", "start up, and stay until Ctrl-C"),
            ("myownllm-mesh launch --detach", "start the daemon and leave it running"),
            ("myownllm-mesh launch --once --json", "try everything once, for a script"),
            ("myownllm-mesh launch --daemon-wait 60", "on a slow machine"),
        ],
    ),
    (
        "repair",
        &[
            ("myownllm-mesh repair", "put everything right"),
            ("myownllm-mesh repair --stop-legacy-daemon", "also when a daemon runs in the old location"),
        ],
    ),
    (
        "status",
        &[
            ("myownllm-mesh status", "where everything is"),
            ("myownllm-mesh status --check", "exit 3 when a launch would change something"),
        ],
    ),
    (
        "doctor",
        &[
            ("myownllm-mesh doctor", "every problem and its cure"),
            ("myownllm-mesh doctor --json", "the same for a script"),
        ],
    ),
    (
        "migrate",
        &[
            ("myownllm-mesh migrate --dry-run", "what would move, as two trees"),
            ("myownllm-mesh migrate --undo", "back to the old location, for an older app"),
            (
                "myownllm-mesh migrate --keep daemon-home",
                "settle files that differ: those in the daemon home stay",
            ),
        ],
    ),
    (
        "salvage",
        &[
            ("myownllm-mesh salvage --dry-run", "the repair as a diff"),
            ("myownllm-mesh salvage --stdin < config.json > repaired.json", "repair a copy; touch no file"),
        ],
    ),
    (
        "config",
        &[
            ("myownllm-mesh config show", "all settings, secrets masked"),
            ("myownllm-mesh config history", "the backups, and why each was made"),
        ],
    ),
    ("config show", &[("myownllm-mesh config show", "all settings, secrets masked")]),
    ("config normalize", &[("myownllm-mesh config normalize < config.json", "what a load would save")]),
    ("config check", &[("myownllm-mesh config check", "shape, kinds, and what a load would change")]),
    ("config schema", &[("myownllm-mesh config schema app > app-config.schema.json", "for an editor")]),
    ("config get", &[("myownllm-mesh config get auto_cleanup.models", "one setting")]),
    (
        "config set",
        &[
            ("myownllm-mesh config set auto_cleanup.models=false", "one setting"),
            ("myownllm-mesh config set api.enabled=true api.port=1473", "two, or neither"),
        ],
    ),
    ("config history", &[("myownllm-mesh config history", "each backup with its id, time and reason")]),
    ("config diff", &[("myownllm-mesh config diff 2", "what restoring the backup 2 would change")]),
    ("config restore", &[("myownllm-mesh config restore 2", "bring the backup 2 back")]),
    ("config accept", &[("myownllm-mesh config accept", "the settings are meant to be as they are")]),
    (
        "network",
        &[
            ("myownllm-mesh network list", "the saved networks"),
            ("myownllm-mesh network use home-mesh", "switch"),
        ],
    ),
    ("network list", &[("myownllm-mesh network list", "the saved networks")]),
    ("network show", &[("myownllm-mesh network show home-mesh", "one network, secrets masked")]),
    ("network add", &[("myownllm-mesh network add home-mesh --activate", "save it and join it")]),
    (
        "network remove",
        &[("myownllm-mesh network remove home-mesh", "forget it; the answer says how to undo that")],
    ),
    (
        "network use",
        &[
            ("myownllm-mesh network use home-mesh", "switch"),
            ("myownllm-mesh network use --none", "leave the active one"),
        ],
    ),
    (
        "network export",
        &[(
            "myownllm-mesh network export home-mesh > home-mesh.txt",
            "for another device, without credentials",
        )],
    ),
    ("network import", &[("myownllm-mesh network import home-mesh.txt --activate", "on the other device")]),
    (
        "paths",
        &[
            ("myownllm-mesh paths", "every path and its rule"),
            ("myownllm-mesh paths daemon_home", "one path alone, for a script"),
        ],
    ),
    ("identity", &[("myownllm-mesh identity", "the Device ID to give to others")]),
    (
        "daemon",
        &[
            ("myownllm-mesh daemon status", "how the daemon of this home is"),
            ("myownllm-mesh daemon restart", "end it and start it anew"),
        ],
    ),
    ("daemon status", &[("myownllm-mesh daemon status", "exit 5 when none answers")]),
    ("daemon stop", &[("myownllm-mesh daemon stop", "end the daemon of this home")]),
    ("daemon restart", &[("myownllm-mesh daemon restart", "end it and start it anew")]),
    ("daemon logs", &[("myownllm-mesh daemon logs -n 20", "its last 20 lines")]),
    (
        "logs",
        &[
            ("myownllm-mesh logs -n 20", "the last 20 runs that changed something"),
            ("myownllm-mesh logs --daemon", "the end of the daemon's log"),
        ],
    ),
    (
        "report",
        &[
            ("myownllm-mesh report --output report.txt", "as text"),
            ("myownllm-mesh report --html --output report.html", "as one page with pictures"),
        ],
    ),
    (
        "man",
        &[
            ("myownllm-mesh man", "the page of the program"),
            ("myownllm-mesh man config restore > config-restore.1", "one command's page, for a packager"),
        ],
    ),
];

/// Returns the command line with its examples, files, variables and exit codes.
pub(crate) fn command_line() -> Command {
    let program = with_examples(Cli::command(), "");
    let styles = program.get_styles().clone();
    let sections = [
        examples(&styles, ""),
        section(&styles, "Files", &FILES),
        section(&styles, "Environment", &ENVIRONMENT),
        exit_code_table(),
    ];
    program.after_long_help(sections.join("\n"))
}

/// Adds the examples to a command with the name `name`, and to the commands below it.
fn with_examples(command: Command, name: &str) -> Command {
    let styles = command.get_styles().clone();
    let (brief, long) = match examples(&styles, name) {
        rows if rows.is_empty() => (String::new(), ELSEWHERE.to_owned()),
        rows => (rows.clone(), format!("{rows}\n{ELSEWHERE}")),
    };
    command.after_help(brief).after_long_help(long).mut_subcommands(|sub| {
        let name = format!("{name} {}", sub.get_name());
        with_examples(sub, name.trim_start())
    })
}

/// The line in the help of a command that leads to the parts that apply to every command.
const ELSEWHERE: &str = "Files, environment and exit codes: myownllm-mesh --help";

fn examples(styles: &Styles, name: &str) -> String {
    rows_of(name).map_or_else(String::new, |rows| section(styles, "Examples", rows))
}

fn rows_of(name: &str) -> Option<&'static [Row]> {
    EXAMPLES.iter().find(|(command, _)| *command == name).map(|(_, rows)| *rows)
}

fn section(styles: &Styles, title: &str, rows: &[Row]) -> String {
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut text = format!("{header}{title}:{header:#}\n");
    for (name, meaning) in rows {
        text.push_str(&format!("  {literal}{name}{literal:#}\n          {meaning}\n"));
    }
    text
}

/// Returns the sections of the manual page of the command `name`, as roff.
pub(crate) fn roff(name: &str) -> String {
    let mut page = String::new();
    let mut add = |title: &str, rows: &[Row]| {
        page.push_str(&format!(".SH {title}\n"));
        for (name, meaning) in rows {
            page.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", roff_text(name), roff_text(meaning)));
        }
    };
    rows_of(name).into_iter().for_each(|rows| add("EXAMPLES", rows));
    if name.is_empty() {
        add("FILES", &FILES);
        add("ENVIRONMENT", &ENVIRONMENT);
    }
    page
}

/// Escapes a text of this program for roff. The text must not begin with a control character.
fn roff_text(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(command: &Command, name: &str, found: &mut Vec<String>) {
        for sub in command.get_subcommands() {
            let name = format!("{name} {}", sub.get_name()).trim_start().to_owned();
            commands(sub, &name, found);
            found.push(name);
        }
    }

    #[test]
    fn every_example_is_a_command_line_of_its_command() {
        for (command, rows) in EXAMPLES {
            for (line, _) in rows {
                let words = line.split(' ').take_while(|word| !["<", ">"].contains(word));
                let words: Vec<&str> = words.collect();
                let parsed = command_line().try_get_matches_from(&words);
                assert!(parsed.is_ok(), "{line}: {parsed:?}");
                let is_its = words[1..].join(" ").starts_with(command);
                assert!(is_its, "{line} is no example of {command}");
            }
        }
    }

    #[test]
    fn every_command_has_examples_or_is_a_filter() {
        let mut all = Vec::new();
        commands(&command_line(), "", &mut all);
        let without: Vec<&String> = all.iter().filter(|name| rows_of(name).is_none()).collect();
        assert_eq!(
            without,
            ["network to-daemon", "network to-envelope", "network from-envelope", "completions"]
        );
        for (command, _) in EXAMPLES.iter().skip(1) {
            assert!(all.iter().any(|name| name == command), "{command} is no command");
        }
    }
}
