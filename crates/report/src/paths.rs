//! Every path of a home, and the rule that chose it.

use myownllm_launch::Diagnostic;
use myownllm_paths::{ControlSocket, Mode, RealLookup, check_control_socket, check_socket};
use serde_json::{Value, json};

use crate::screen::Page;
use crate::text::long;
use crate::view::HomeView;

/// Returns every path and the control socket of each mode, or the socket of `mode` alone, and what
/// is wrong with the sockets.
#[must_use]
pub fn paths(home: &HomeView<'_>, mode: Option<Mode>) -> (Page, Value, Vec<Diagnostic>) {
    let layout = home.layout;
    let modes = mode.map_or_else(|| vec![Mode::OwnLlm, Mode::Shared], |mode| vec![mode]);
    let mut rows: Vec<(String, String, String)> = Vec::new();
    let mut data = json!({});
    if mode.is_none() {
        for entry in layout.entries() {
            rows.push((entry.name.to_owned(), long(entry.path), entry.rule.to_string()));
        }
        data["paths"] = serde_json::to_value(layout).unwrap_or(Value::Null);
    }
    let mut diagnostics = Vec::new();
    let mut sockets = json!({});
    for mode in modes {
        let mode_home = layout.home_for_mode(mode);
        let said = layout.control_socket(mode, &RealLookup);
        let (socket, rule) = layout.socket_for_mode(mode, said.as_ref().unwrap_or(&ControlSocket::InHome));
        rows.push((format!("socket ({mode})"), socket.to_string(), rule.to_string()));
        sockets[mode.as_str()] =
            json!({ "socket": socket, "home": long(mode_home), "rule": rule, "why": rule.describe() });
        let config = layout.config_for_mode(mode);
        let is_address = |said: ControlSocket| match said.named() {
            Some(named) => check_control_socket(named, layout.platform, config),
            None => Ok(()),
        };
        let checked = said.and_then(is_address).and_then(|()| check_socket(&socket, layout.platform, config));
        diagnostics.extend(checked.err().map(|error| Diagnostic::from(&error).as_warning()));
    }
    data["sockets"] = sockets;
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
    (page, data, diagnostics)
}
