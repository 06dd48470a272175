//! Every path of a home, and the rule that chose it.

use std::collections::BTreeMap;

use myownllm_launch::Diagnostic;
use myownllm_paths::{ControlSocket, Mode, PathEntry, RealLookup, Rule, check_control_socket, check_socket};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::screen::Page;
use crate::text::long;
use crate::view::HomeView;

/// Every path of a home.
#[derive(Serialize, JsonSchema)]
pub(crate) struct Paths {
    /// Every path by its name; not there with `--mode`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "every_path")]
    paths: Option<BTreeMap<&'static str, ChosenPath>>,
    sockets: Sockets,
}

/// Returns the schema of all paths by their names.
fn every_path(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    use myownllm_paths::{Env, MYOWNLLM, PathResolver as _, Resolver};

    let layout = Resolver::new(MYOWNLLM).resolve(&Env::explicit("/home/user"));
    let entries = layout.iter().flat_map(|layout| layout.entries()).map(|entry| entry.name);
    crate::members::named::<ChosenPath>(generator, entries)
}

/// A path, and the rule that chose it.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ChosenPath {
    path: String,
    #[serde(flatten)]
    rule: ShownRule,
}

/// The sockets of the daemons by mode; with `--mode`, the one of that mode alone.
#[derive(Default, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
struct Sockets {
    #[serde(skip_serializing_if = "Option::is_none")]
    own_llm: Option<ModeSocket>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<ModeSocket>,
}

/// The socket of the daemon of a mode.
#[derive(Serialize, JsonSchema)]
struct ModeSocket {
    socket: String,
    /// The home of the daemon.
    home: String,
    #[serde(flatten)]
    rule: ShownRule,
}

#[derive(Serialize, JsonSchema)]
struct ShownRule {
    /// The rule that chose the path, for programs.
    rule: Rule,
    /// The rule, for a person.
    why: &'static str,
}

/// The one path that was asked for.
#[derive(Serialize, JsonSchema)]
pub(crate) struct NamedPath<'a> {
    name: &'a str,
    #[serde(flatten)]
    chosen: ChosenPath,
}

impl ChosenPath {
    fn new(path: String, rule: Rule) -> Self {
        Self { path, rule: rule.into() }
    }
}

impl From<Rule> for ShownRule {
    fn from(rule: Rule) -> Self {
        Self { rule, why: rule.describe() }
    }
}

/// Returns the one path with this name.
pub fn named_path(name: &str, path: String, rule: Rule) -> (Page, Value) {
    let mut page = Page::default();
    page.raw(format!("{path}\n"));
    (page, json!(NamedPath { name, chosen: ChosenPath::new(path, rule) }))
}

/// Returns every path and the control socket of each mode, or the socket of `mode` alone, and what
/// is wrong with the sockets.
pub fn paths(home: &HomeView<'_>, mode: Option<Mode>) -> (Page, Value, Vec<Diagnostic>) {
    let layout = home.layout;
    let modes = mode.map_or_else(|| vec![Mode::OwnLlm, Mode::Shared], |mode| vec![mode]);
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let paths = mode.is_none().then(|| {
        let chosen = |PathEntry { name, path, rule }: PathEntry<'_>| {
            rows.push((name.to_owned(), long(path), rule.to_string()));
            (name, ChosenPath::new(long(path), rule))
        };
        layout.entries().into_iter().map(chosen).collect()
    });
    let mut diagnostics = Vec::new();
    let mut sockets = Sockets::default();
    for mode in modes {
        let mode_home = layout.home_for_mode(mode);
        let said = layout.control_socket(mode, &RealLookup);
        let (socket, rule) = layout.socket_for_mode(mode, said.as_ref().unwrap_or(&ControlSocket::InHome));
        rows.push((format!("socket ({mode})"), socket.to_string(), rule.to_string()));
        let shown = ModeSocket { socket: socket.to_string(), home: long(mode_home), rule: rule.into() };
        match mode {
            Mode::OwnLlm => sockets.own_llm = Some(shown),
            Mode::Shared => sockets.shared = Some(shown),
        }
        let config = layout.config_for_mode(mode);
        let is_address = |said: ControlSocket| match said.named() {
            Some(named) => check_control_socket(named, layout.platform, config),
            None => Ok(()),
        };
        let checked = said.and_then(is_address).and_then(|()| check_socket(&socket, layout.platform, config));
        diagnostics.extend(checked.err().map(|error| Diagnostic::from(&error).as_warning()));
    }
    let column = 4 + rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
    let mut page = Page::default();
    let mut said = "";
    for (name, path, rule) in &rows {
        if rule != said {
            page.line(format!("{rule}:"));
            said = rule;
        }
        // The user asked for the whole paths.
        page.whole_row(format!("  {name}"), column, path);
    }
    (page, json!(Paths { paths, sockets }), diagnostics)
}
