//! Completion in a shell. The script of [`script`] has the shell ask this program for the next
//! words, so that names that only the home knows are completed too.

use std::ffi::OsString;
use std::path::PathBuf;

use clap_complete::engine::CompletionCandidate;
use clap_complete::env::{CompleteEnv, Shells};
use myownllm_config_model::{network_id, networks as saved_networks, settings};
use myownllm_config_store::{ConfigStore as _, Loaded};
use myownllm_launch::PROGRAM;

use crate::context::Context;

/// The variable in which the script says that a shell asks, and which shell.
const VARIABLE: &str = "MYOWNLLM_MESH_COMPLETE";

/// Prints the possible next words if a shell asks for them. Returns false if this is an ordinary
/// run.
///
/// # Errors
/// Fails if the shell is unknown, or if the answer could not be printed.
pub(crate) fn answer(args: &[OsString]) -> clap::error::Result<bool> {
    let current_dir = std::env::current_dir().ok();
    CompleteEnv::with_factory(crate::command_line)
        .var(VARIABLE)
        .try_complete(args.to_vec(), current_dir.as_deref())
}

/// Returns the script that makes a shell ask.
pub(crate) fn script(shell: clap_complete::Shell) -> String {
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&shell.to_string()) {
        // A write to a vector never fails.
        let _ = shell.write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script);
    }
    String::from_utf8_lossy(&script).into_owned()
}

/// Returns the saved networks.
pub(crate) fn networks() -> Vec<CompletionCandidate> {
    let Some(loaded) = loaded() else { return Vec::new() };
    let saved = saved_networks::list(&loaded.document).into_iter();
    let names = saved.filter_map(|network| Some(network_id::of(network)?.into_owned()));
    names.map(CompletionCandidate::new).collect()
}

/// Returns the ids of the config's backups, with the size of each.
pub(crate) fn backups() -> Vec<CompletionCandidate> {
    let entries = context().and_then(|context| context.libraries().store.history().ok()).unwrap_or_default();
    let backup = |entry: &myownllm_config_store::HistoryEntry| {
        let bytes = format!("{} bytes", entry.bytes);
        CompletionCandidate::new(entry.short_name(&entries)).help(Some(bytes.into()))
    };
    entries.iter().map(backup).collect()
}

/// Returns the names of the paths.
pub(crate) fn path_names() -> Vec<CompletionCandidate> {
    let Some(context) = context() else { return Vec::new() };
    let names = context.layout.entries().into_iter().map(|entry| entry.name).chain(["socket"]);
    names.map(CompletionCandidate::new).collect()
}

/// Returns the names of the settings.
pub(crate) fn setting_names() -> Vec<CompletionCandidate> {
    let Some(loaded) = loaded() else { return Vec::new() };
    settings::names(&loaded.document).into_iter().map(CompletionCandidate::new).collect()
}

/// Returns the names of the settings, each with the `=` before its value.
pub(crate) fn setting_assignments() -> Vec<CompletionCandidate> {
    let Some(loaded) = loaded() else { return Vec::new() };
    let names = settings::names(&loaded.document).into_iter();
    names.map(|name| CompletionCandidate::new(format!("{name}="))).collect()
}

fn loaded() -> Option<Loaded> {
    context()?.load().ok()
}

/// Returns the home that the command line names so far.
fn context() -> Option<Context> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let given = words.windows(2).find_map(|pair| match pair[1].to_str()?.strip_prefix("--home=") {
        Some(home) => Some(PathBuf::from(home)),
        None => (pair[0] == "--home").then(|| PathBuf::from(&pair[1])),
    });
    // The shell has not expanded `~` yet.
    let home = given.map(|home| match home.strip_prefix("~") {
        Ok(rest) => std::env::home_dir().unwrap_or_default().join(rest),
        Err(_) => home,
    });
    Context::new(home.as_deref()).ok()
}
