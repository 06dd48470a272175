//! `paths`: every path, and the rule that chose it.

use myownllm_launch::{Class, Diagnostic, PROGRAM};
use myownllm_paths::{ControlSocket, Mode, RealLookup, check_control_socket, check_socket};
use serde_json::{Value, json};

use crate::cli::{ModeArg, PathsArgs};
use crate::output::{Answer, long};
use crate::world::World;
use myownllm_report::Page;

/// Prints every path, or the path that the user asks for.
pub(crate) fn run(world: &World, args: &PathsArgs) -> Result<Answer, Diagnostic> {
    let Some(name) = &args.name else { return Ok(all(world, args)) };
    let mode = if args.mode == Some(ModeArg::Shared) { Mode::Shared } else { Mode::OwnLlm };
    let (found, rule) = match name.as_str() {
        "socket" => {
            let said = world.layout.control_socket(mode, &RealLookup);
            let said = said.map_err(|error| Diagnostic::from(&error))?;
            let (socket, rule) = world.layout.socket_for_mode(mode, &said);
            (socket.to_string(), rule)
        }
        name => match world.layout.entries().into_iter().find(|entry| entry.name == name) {
            Some(entry) => (long(entry.path), entry.rule),
            None => return Err(unknown(world, name)),
        },
    };
    let data = json!({ "name": name, "path": found, "rule": rule, "why": rule.describe() });
    let mut page = Page::default();
    page.raw(format!("{found}\n"));
    Ok(Answer::data(page, data))
}

fn unknown(world: &World, name: &str) -> Diagnostic {
    let mut names: Vec<&str> = world.layout.entries().iter().map(|entry| entry.name).collect();
    names.push("socket");
    let message = format!("there is no path {name:?}; the names are {}", names.join(", "));
    Diagnostic::error("usage", message).hint(format!("{PROGRAM} paths")).class(Class::Usage)
}

fn all(world: &World, args: &PathsArgs) -> Answer {
    let layout = &world.layout;
    let modes = match args.mode {
        Some(ModeArg::OwnLlm) => vec![Mode::OwnLlm],
        Some(ModeArg::Shared) => vec![Mode::Shared],
        None => vec![Mode::OwnLlm, Mode::Shared],
    };
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let mut data = json!({});
    if args.mode.is_none() {
        for entry in layout.entries() {
            rows.push((entry.name.to_owned(), long(entry.path), entry.rule.to_string()));
        }
        data["paths"] = serde_json::to_value(layout).unwrap_or(Value::Null);
    }
    let mut diagnostics = Vec::new();
    let mut sockets = json!({});
    for mode in modes {
        let said = layout.control_socket(mode, &RealLookup);
        let (socket, rule) = layout.socket_for_mode(mode, said.as_ref().unwrap_or(&ControlSocket::InHome));
        let home = layout.home_for_mode(mode);
        rows.push((format!("socket ({mode})"), socket.to_string(), rule.to_string()));
        sockets[mode.as_str()] =
            json!({ "socket": socket, "home": long(home), "rule": rule, "why": rule.describe() });
        let config = layout.config_for_mode(mode);
        let is_address = |said: ControlSocket| match said.named() {
            Some(named) => check_control_socket(named, layout.platform, config),
            None => Ok(()),
        };
        let checked = said.and_then(is_address).and_then(|()| check_socket(&socket, layout.platform, config));
        diagnostics.extend(checked.err().map(|error| Diagnostic::from(&error).as_warning()));
    }
    data["sockets"] = sockets;
    if let Err(error) = &world.checked {
        diagnostics.push(Diagnostic::from_error(error, error.code(), error.hint()).as_warning());
    }
    let column = 4 + rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let mut page = Page::default();
    let mut said = "";
    for (name, path, rule) in &rows {
        if rule != said {
            page.line(format!("{rule}:"));
            said = rule;
        }
        page.row(format!("  {name}"), column, path);
    }
    Answer { diagnostics, ..Answer::data(page, data) }
}
