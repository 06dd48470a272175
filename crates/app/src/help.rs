//! The parts of the help and the manual pages that the options do not provide: examples, files,
//! environment, exit codes.

use clap::builder::Styles;
use clap::{Command, CommandFactory as _};

use crate::cli::Cli;
use crate::exit::exit_code_table;

/// A command line or a name, and its effect or meaning.
type Row = (&'static str, &'static str);

/// The examples, files and environment variables.
const TEXTS: &str = include_str!("help.txt");

/// Returns the rows of a section of the texts: of `files`, of `environment`, or the examples of a
/// command. The empty name is the program itself.
fn rows_of(section: &str) -> Vec<Row> {
    let head = format!("[{section}]");
    let lines = TEXTS.lines().skip_while(|line| *line != head).skip(1);
    lines.map_while(|line| line.split_once(" # ")).collect()
}

/// Returns the command line as clap's value, with its examples, files, variables and exit codes:
/// for completions, the man page and tests.
pub fn command_line() -> Command {
    let program = with_examples(Cli::command(), "");
    let styles = program.get_styles().clone();
    let sections = [
        examples(&styles, ""),
        section(&styles, "Files", &rows_of("files")),
        section(&styles, "Environment", &rows_of("environment")),
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
    let rows = rows_of(name);
    if rows.is_empty() { String::new() } else { section(styles, "Examples", &rows) }
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
    let of_program = [("FILES", "files"), ("ENVIRONMENT", "environment")].into_iter();
    let of_program = of_program.filter(|_| name.is_empty());
    for (title, section) in std::iter::once(("EXAMPLES", name)).chain(of_program) {
        let rows = rows_of(section);
        page.push_str(&if rows.is_empty() { String::new() } else { format!(".SH {title}\n") });
        for (name, meaning) in rows {
            page.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", roff_text(name), roff_text(meaning)));
        }
    }
    page
}

/// Escapes a text of this program for roff. The text must not begin with a control character.
fn roff_text(text: &str) -> String {
    text.replace('\\', "\\e").replace('-', "\\-").replace('~', "\\(ti")
}
