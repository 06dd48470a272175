//! `man`: the manual page of the program, or of one of its commands.

use std::io::IsTerminal as _;
use std::process::Command as Process;

use clap::Command;
use myownllm_launch::{Class, Diagnostic, PROGRAM};
use myownllm_report::documents::ManualPage;
use serde_json::json;

use crate::exit::ExitCode;
use crate::help;
use crate::output::{CommandOutput, Printer};
use crate::pager::feed;

/// Prints the page of the command that `words` name, such as `config restore`, or the page of the
/// program if `words` is empty. On a terminal, `man` shows the page; without a `man`, the help
/// stands in for it.
pub(crate) fn run(words: &[String], printer: &Printer) -> Result<CommandOutput, Diagnostic> {
    let answer = answer(words)?;
    if printer.is_json || !std::io::stdout().is_terminal() {
        return Ok(answer);
    }
    let page = answer.data["page"].as_str().unwrap_or_default();
    if feed(Process::new("man").args(["-l", "-"]), page).is_ok_and(|end| end.success()) {
        return Ok(CommandOutput::already_printed(ExitCode::Done));
    }
    Ok(CommandOutput { page: help_of(words).into(), ..answer })
}

/// Returns the help of a command, which the parser produces only for `--help`.
fn help_of(words: &[String]) -> String {
    let line = [PROGRAM].into_iter().chain(words.iter().map(String::as_str)).chain(["--help"]);
    crate::command_line().try_get_matches_from(line).err().map_or_else(String::new, |help| help.to_string())
}

fn answer(words: &[String]) -> Result<CommandOutput, Diagnostic> {
    // The help of each command is its own page, so `help` itself has nothing to add.
    let mut program = crate::command_line().disable_help_subcommand(true);
    program.build();
    let mut command = &program;
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| {
            Diagnostic::error("usage", format!("cannot find the command {}", words.join(" ")))
                .hint("myownllm-mesh --help")
                .class(Class::Usage)
        })?;
    }
    let page = page(command, &words.join(" "))
        .map_err(|error| Diagnostic::from_error(&error, "man.failed", None))?;
    let data = json!(ManualPage { page: &page, commands: names(&program, "") });
    Ok(CommandOutput::data(page, data))
}

/// Returns every command below `command`, as a user types it, including nested commands.
fn names(command: &Command, before: &str) -> Vec<String> {
    command
        .get_subcommands()
        .flat_map(|sub| {
            let name = format!("{before}{}", sub.get_name());
            let below = names(sub, &format!("{name} "));
            std::iter::once(name).chain(below)
        })
        .collect()
}

fn page(command: &Command, name: &str) -> std::io::Result<String> {
    // The texts after the help stand in sections of their own.
    let man = clap_mangen::Man::new(command.clone().after_help(None::<&str>).after_long_help(None::<&str>))
        .source(concat!("myownllm-mesh ", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut page = String::from_utf8_lossy(&page).into_owned();
    page.push_str(&help::roff(name));
    page.push_str(".SH \"EXIT STATUS\"\n");
    for code in ExitCode::ALL {
        page.push_str(&format!(".TP\n{}\n{}\n", code.number(), code.meaning().replace('-', "\\-")));
    }
    if !name.is_empty() {
        page.push_str(".SH \"SEE ALSO\"\n\\fBmyownllm\\-mesh\\fR(1)\n");
    }
    Ok(page)
}
