//! `man`: the manual page of the program, or of one of its commands.

use clap::Command;
use myownllm_launch::{Class, Notice};
use serde_json::json;

use crate::exit::ExitCode;
use crate::output::Answer;

/// The page of the command that `words` name, such as `config restore`; of the program when there are none.
pub(crate) fn run(words: &[String]) -> Result<Answer, Notice> {
    // The help of each command is its own page; `help` itself has nothing to add.
    let mut program = crate::command_line().disable_help_subcommand(true);
    program.build();
    let mut command = &program;
    for word in words {
        command = command.find_subcommand(word).ok_or_else(|| {
            Notice::error("usage", format!("there is no command {:?}", words.join(" ")))
                .hint("myownllm-mesh --help")
                .class(Class::Usage)
        })?;
    }
    let page =
        page(command, words.is_empty()).map_err(|error| Notice::from_error(&error, "man.failed", None))?;
    let data = json!({ "page": page, "commands": names(&program, "") });
    Ok(Answer::data(page, data))
}

/// Every command below `command`, as it is typed, those with commands of their own included.
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

fn page(command: &Command, is_program: bool) -> std::io::Result<String> {
    // The exit codes stand in a section of their own instead, on every page.
    let man = clap_mangen::Man::new(command.clone().after_help(None::<&str>))
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
    page.push_str(".SH \"EXIT STATUS\"\n");
    for code in ExitCode::ALL {
        page.push_str(&format!(".TP\n{}\n{}\n", code.number(), code.meaning().replace('-', "\\-")));
    }
    if !is_program {
        page.push_str(".SH \"SEE ALSO\"\n\\fBmyownllm\\-mesh\\fR(1)\n");
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: crate::screen::Screen = crate::screen::Screen { width: 200, unicode: true };

    #[test]
    fn every_command_has_a_page_with_its_options_and_all_exit_codes() {
        let mut program = crate::command_line().disable_help_subcommand(true);
        program.build();
        let names = names(&program, "");
        for name in ["launch", "config", "config restore", "network from-envelope", "man"] {
            assert!(names.iter().any(|found| found == name), "{name} is not among {names:?}");
        }
        for name in names {
            let words: Vec<String> = name.split(' ').map(str::to_owned).collect();
            let page = run(&words)
                .map(|answer| answer.page.laid_out(WIDE, &|_, text| text.to_owned()))
                .unwrap_or_default();
            assert!(page.contains(&format!(".TH myownllm-mesh-{} 1", name.replace(' ', "-"))), "{page}");
            assert!(page.contains("\\-\\-json") && page.contains("SEE ALSO"), "{page}");
            for code in ExitCode::ALL {
                assert!(page.contains(&format!("\n{}\n{}", code.number(), &code.meaning()[..4])), "{page}");
            }
        }
        let unknown = run(&["config".to_owned(), "nonsense".to_owned()]);
        assert!(unknown.is_err_and(|notice| notice.class == Class::Usage));
    }
}
