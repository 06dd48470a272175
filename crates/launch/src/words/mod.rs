//! Words for numbers, names, paths and states, the same in every command.

pub(crate) mod diagnostic;
pub(crate) mod hints;

use std::borrow::Cow;
use std::path::{MAIN_SEPARATOR, Path};

use myownllm_config_model::app_config::Loss;
use myownllm_config_model::shorten::shortened;
use myownllm_config_model::{AppConfig, Document, ValueRef, network_id, networks};
use myownllm_config_store::{FileShape, Report};
use myownllm_daemon::Probe;
pub use myownllm_durable_fs::is_control;
use myownllm_durable_fs::quote;
use myownllm_identity::Answer;
use myownllm_paths::camino::Utf8Path;

use crate::words::diagnostic::{Diagnostic, WITHOUT_SOCKET};

/// Messages cut longer names: no real name is as long.
pub const LONGEST_NAME: usize = 80;

/// Returns `3 networks`, or `1 network`.
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Returns `, process 7`, or an empty string if the system does not tell the process.
pub fn process(pid: Option<u32>) -> String {
    pid.map_or_else(String::new, |pid| format!(", process {pid}"))
}

/// Returns a path for a person: below the user's home it begins with `~`. A path with spaces is
/// quoted for a shell.
pub fn short(path: impl AsRef<Path>, user_home: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let shown = |path: &Path| match path.to_string_lossy() {
        text if text.contains(is_control) => escape_controls(&text),
        text if text.contains(' ') => quote(path),
        text => text.into_owned(),
    };
    match path.strip_prefix(user_home) {
        Ok(rest) if rest.as_os_str().is_empty() => "~".to_owned(),
        Ok(rest) => format!("~{MAIN_SEPARATOR}{}", shown(rest)),
        Err(_) => shown(path),
    }
}

/// Returns a text that can neither steer a terminal nor reverse the text around it: a file name or
/// a daemon may contribute to the text.
pub fn escape_controls(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// The number of names that a line shows. Nobody would read through more.
const NAMED: usize = 12;

/// Joins names in a line. Shows only the first of many.
pub fn listed<S: AsRef<str>>(names: &[S]) -> String {
    in_a_line(names.iter().map(|name| shortened(name.as_ref(), LONGEST_NAME).into_owned()).collect())
}

/// Joins short parts in a line. Shows only the first of many.
pub fn in_a_line(mut parts: Vec<String>) -> String {
    let more = parts.len().saturating_sub(NAMED);
    parts.truncate(NAMED);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join(", ")
}

/// Returns how many settings are at their defaults.
pub fn at_defaults(keys: &[String]) -> String {
    let whose = if keys.len() == 1 { "its default" } else { "their defaults" };
    format!("{} at {whose}", count(keys.len(), "setting"))
}

/// Returns `backup` and the number of a backup; a name that is not a backup's is returned as it is.
pub fn backup(name: &str) -> String {
    let id = name.parse::<myownllm_config_store::BackupId>();
    id.map_or_else(|_| name.to_owned(), |id| format!("backup {}", id.sequence()))
}

/// Describes a config: its shape, or what it has lost.
pub fn state_words(report: &Report) -> &'static str {
    match (report.wiped.as_ref().map(|wipe| wipe.loss), report.shape) {
        (Some(Loss::Networks), _) => "the app's settings, without any of its networks",
        (_, FileShape::Mixed) => "the app's and the daemon's settings mixed",
        (Some(_), _) => "nearly all of its settings are gone",
        (None, FileShape::App) if report.restored_from.is_some() => {
            "the app's settings, and a config to be restored lies beside it"
        }
        (None, FileShape::App) => "the app's settings",
        (None, FileShape::Daemon) => "the daemon wrote over the app's settings",
        (None, FileShape::Unknown) => "neither the app's settings nor the daemon's",
        (None, FileShape::Corrupt) => "not readable as JSON",
        (None, FileShape::Missing) => "missing",
        _ => "of an unknown shape",
    }
}

/// Returns the network id of a saved network.
pub(crate) fn network_id_of(network: ValueRef<'_>) -> Option<String> {
    network_id::of(network).map(Cow::into_owned)
}

/// Returns the network id, or the internal id if no other network id names this network alone.
pub(crate) fn name_of(document: &Document, network: &ValueRef<'_>) -> String {
    let name = network_id_of(*network).unwrap_or_default();
    let id = networks::internal_id(*network);
    match networks::only(document, &name) {
        // The name may be the internal id of another network.
        Ok(named) if networks::internal_id(named) == id => name,
        _ => id.unwrap_or_default().into_owned(),
    }
}

/// Returns the name of a network as an argument of a command. The program would take a name that
/// begins with a hyphen for an option.
pub fn network_argument(name: &str) -> String {
    let options_end = if name.starts_with('-') { "-- " } else { "" };
    format!("{options_end}{}", quote(Path::new(name)))
}

/// Returns the command that makes the first saved network that a daemon can join the active one;
/// `None` if there is none.
pub fn use_first_network(document: &Document, program: &str) -> Option<String> {
    let first = networks::list(document).into_iter().find(|saved| networks::for_daemon(*saved).is_ok())?;
    Some(format!("{program} network use {}", network_argument(&name_of(document, &first))))
}

/// Describes how many networks are saved, and which is active.
pub fn networks_words(document: &Document) -> String {
    let saved = AppConfig::view(document).cloud_mesh.networks;
    let active = networks::active(document).and_then(network_id_of);
    let names: Vec<&str> = saved.iter().map(|network| network.network_id.as_str()).collect();
    match (names.is_empty(), active) {
        (true, _) => "none saved".to_owned(),
        (false, None) => format!("{} saved ({}), none active", names.len(), listed(&names)),
        (false, Some(active)) => format!("{} saved ({}), {active} active", names.len(), listed(&names)),
    }
}

/// Describes the daemon of `home`, as [`daemon_words`]. `beside` are the diagnostics beside the words:
/// a daemon runs although its socket was removed.
pub fn own_daemon_words(
    home: &Utf8Path,
    probe: &Probe,
    user_name: fn(u32) -> String,
    beside: &[Diagnostic],
) -> String {
    let is_of_home = |diagnostic: &Diagnostic| diagnostic.path.as_deref() == Some(home.as_str());
    match probe.is_absent()
        && beside.iter().any(|diagnostic| diagnostic.code == WITHOUT_SOCKET && is_of_home(diagnostic))
    {
        true => "runs, and does not answer at its socket (see below)".to_owned(),
        false => daemon_words(probe, user_name),
    }
}

/// Describes what a probe found. `user_name` returns the name of a user by the number.
pub fn daemon_words(probe: &Probe, user_name: fn(u32) -> String) -> String {
    match probe {
        Probe::Absent { .. } => "does not run".to_owned(),
        Probe::Answered { status, pid } => {
            let joined = match status.joined_networks.as_slice() {
                [] => "no network joined".to_owned(),
                networks => format!("joined {}", listed(networks)),
            };
            format!("runs: version {}{}, {joined}", status.version, process(*pid))
        }
        Probe::Busy { pid, .. } => format!("listens and does not answer{}", process(*pid)),
        Probe::Suspended { pid } => format!("is suspended{}", process(Some(*pid))),
        Probe::ForeignOwner { uid, pid } => {
            format!("runs as another user ({}){}", user_name(*uid), process(*pid))
        }
        Probe::PathTooLong { length, limit } => {
            format!("cannot listen: the socket path has {length} bytes of {limit}")
        }
        Probe::Unusable { problem, pid } => {
            format!("something else listens there{}: {problem}", process(*pid))
        }
        Probe::Unknown { problem } | Probe::ResourceExhausted { problem } => {
            format!("cannot be looked for: {problem}")
        }
        _ => "unknown".to_owned(),
    }
}

/// Says that something may exist but could not be looked for.
pub const UNSEEN: &str = "cannot be looked for (see below)";

/// Describes the active identity file.
pub fn identity_words(key: &Answer) -> String {
    match key {
        Answer::Sound { key, .. } => format!("{}  (in the daemon home)", key.device_id),
        Answer::Pending { key, .. } => format!("{}  (still at the old location)", key.device_id),
        Answer::NoneYet => "none yet; the daemon makes one at its first start".to_owned(),
        Answer::Refused(refusal) => format!("cannot be used: {}", refusal.problem),
        _ => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_of_many_names_are_printed_and_the_others_counted() {
        let names: Vec<String> = (0..15).map(|n| format!("n{n}")).collect();
        assert_eq!(listed(&names[..2]), "n0, n1");
        assert!(listed(&names[..12]).ends_with(", n11"));
        assert!(listed(&names).ends_with(", n11, and 3 more"));
    }

    /// A command takes a name for an internal id first.
    #[test]
    fn network_whose_id_is_the_internal_id_of_another_is_named_by_its_internal_id() {
        let config = br#"{"cloud_mesh":{"networks":[{"id":"home-mesh","network_id":"office-mesh"},
            {"id":"net-b","network_id":"home-mesh"}]}}"#;
        let document = Document::parse(config).expect("JSON").document;
        let names = networks::list(&document).into_iter().map(|network| name_of(&document, &network));
        assert_eq!(names.collect::<Vec<_>>(), ["office-mesh", "net-b"]);
    }

    #[test]
    fn a_file_name_cannot_steer_the_terminal() {
        let shown = short(Path::new("/home/u/\x1b[31mred\n.json"), Path::new("/home/u"));
        assert_eq!(shown, format!("~{MAIN_SEPARATOR}{}", "\\u{1b}[31mred\\n.json"));
        // A daemon's message cannot reverse the text around it.
        assert_eq!(escape_controls("net \u{202e}gpj"), "net \\u{202e}gpj");
        assert_eq!(escape_controls("k\u{fc}che"), "k\u{fc}che");
    }
}
